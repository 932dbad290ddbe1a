//! What single items owe their readers: a function fits on a screen, `# Errors` says something, and a `pub` has a user.
//!
//! clippy looks at the first two as well. It stops counting at a text with `/*` in it, and an empty section is enough for it.

use super::source::{attributes, attributes_in_impl, only_tests, without_comments};
use super::{assert_tidy, is_word, rust};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// Lines of a function between its braces, without blank ones and comments. The same number is in `clippy.toml`.
const FUNCTION_LINES_MAX: usize = 80;

/// Reads every function of a file.
struct Functions<'t> {
    lines: Vec<&'t str>,
    complaints: Vec<String>,
}

impl Functions<'_> {
    fn count(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], block: &syn::Block) {
        let span = block.brace_token.span;
        let (first, last) = (span.open().start().line, span.close().start().line);
        let inside = self.lines.get(first..last.saturating_sub(1)).unwrap_or_default();
        let count = inside.iter().filter(|line| !line.trim().is_empty()).count();
        let is_expected = attributes.iter().any(|attribute| {
            attribute.path().is_ident("expect")
                && matches!(&attribute.meta, syn::Meta::List(list) if {
                    let tokens = list.tokens.to_string();
                    tokens.contains("too_many_lines") && tokens.contains("reason")
                })
        });
        if count > FUNCTION_LINES_MAX && !is_expected {
            self.complaints.push(format!(
                "{name} has {count} lines, at most {FUNCTION_LINES_MAX}; divide it, or say why in #[expect(clippy::too_many_lines, reason = …)]"
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.count(&item.sig.ident, &item.attrs, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.count(&item.sig.ident, &item.attrs, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.count(&item.sig.ident, &item.attrs, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn long_functions(_: &str, text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut functions = Functions {
        lines: code.lines().collect(),
        complaints: vec![],
    };
    functions.visit_file(&syn::parse_file(text).unwrap());
    functions.complaints
}

#[test]
fn functions_fit_on_a_screen() {
    assert_tidy(&rust(&["src", "states", "tests", "fuzz"]), long_functions);
    let function = |lines: &str, count: usize| format!("fn f() {{\n{}}}\n", lines.repeat(count));
    for bad in [
        function("    g();\n", FUNCTION_LINES_MAX + 1),
        // clippy counts nothing behind such a text.
        function(
            "    g(\"+refs/heads/*:refs/remotes/*\");\n",
            FUNCTION_LINES_MAX + 1,
        ),
        format!("impl A {{ {} }}", function("    g();\n", FUNCTION_LINES_MAX + 1)),
        format!(
            "mod t {{ async {} }}",
            function("    g();\n", FUNCTION_LINES_MAX + 1)
        ),
        format!(
            "#[expect(clippy::too_many_lines)]\n{}",
            function("    g();\n", FUNCTION_LINES_MAX + 1)
        ),
    ] {
        assert_eq!(long_functions("", &bad).len(), 1, "{bad}");
    }
    for good in [
        function("    g();\n", FUNCTION_LINES_MAX),
        function("    // g();\n\n", FUNCTION_LINES_MAX + 1),
        format!(
            "#[expect(clippy::too_many_lines, reason = \"a table\")]\n{}",
            function("    g();\n", FUNCTION_LINES_MAX + 1)
        ),
    ] {
        assert_eq!(long_functions("", &good), Vec::<String>::new(), "{good}");
    }
    let clippy = fs_err::read_to_string(super::root().join("clippy.toml")).unwrap();
    assert!(clippy.contains(&format!("too-many-lines-threshold = {FUNCTION_LINES_MAX}\n")));
}

/// Whether a function with this type can fail: a `Result`, or a future of one, in a box or not.
fn is_fallible(of: &syn::Type) -> bool {
    let bounds = match of {
        syn::Type::Path(path) => {
            let Some(last) = path.path.segments.last() else {
                return false;
            };
            let inner = match &last.arguments {
                syn::PathArguments::AngleBracketed(inner) => inner.args.iter().collect(),
                _ => vec![],
            };
            let is_box = last.ident == "Pin" || last.ident == "Box";
            let holds = |inner: &&syn::GenericArgument| matches!(inner, syn::GenericArgument::Type(of) if is_fallible(of));
            return last.ident.to_string().ends_with("Result") || is_box && inner.iter().any(holds);
        }
        syn::Type::ImplTrait(of) => &of.bounds,
        syn::Type::TraitObject(of) => &of.bounds,
        _ => return false,
    };
    bounds.iter().any(|bound| {
        let syn::TypeParamBound::Trait(bound) = bound else {
            return false;
        };
        bound.path.segments.iter().any(|segment| match &segment.arguments {
            syn::PathArguments::AngleBracketed(inner) => inner.args.iter().any(|inner| {
                matches!(inner, syn::GenericArgument::AssocType(of) if of.ident == "Output" && is_fallible(&of.ty))
            }),
            _ => false,
        })
    })
}

/// Whether a documentation says what goes wrong.
fn names_errors(attributes: &[syn::Attribute]) -> bool {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines
        .skip_while(|line| line != "# Errors")
        .skip(1)
        .take_while(|line| !line.starts_with("# "))
        .any(|line| line.contains(is_word))
}

/// Public functions that can fail, and do not say how.
fn silent_errors(_: &str, text: &str) -> Vec<String> {
    struct Silent(Vec<String>);
    impl Silent {
        fn look(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute]) {
            let syn::ReturnType::Type(_, of) = &signature.output else {
                return;
            };
            if is_fallible(of) && !names_errors(attributes) {
                self.0.push(format!(
                    "{} can fail, and no text stands below `# Errors`",
                    signature.ident
                ));
            }
        }
    }
    impl<'ast> Visit<'ast> for Silent {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if !only_tests(attributes(item)) {
                visit::visit_item(self, item);
            }
        }
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            if matches!(item.vis, syn::Visibility::Public(_)) {
                self.look(&item.sig, &item.attrs);
            }
        }
        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            if matches!(item.vis, syn::Visibility::Public(_)) {
                self.look(&item.sig, &item.attrs);
            }
        }
        fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
            if matches!(item.vis, syn::Visibility::Public(_)) {
                visit::visit_item_trait(self, item);
            }
        }
        fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
            self.look(&item.sig, &item.attrs);
        }
    }
    let mut silent = Silent(vec![]);
    silent.visit_file(&syn::parse_file(text).unwrap());
    silent.0
}

#[test]
fn errors_are_described() {
    let sources: Vec<_> = rust(&["src", "states"])
        .into_iter()
        .filter(|(name, _)| !super::is_test(name))
        .collect();
    assert_tidy(&sources, silent_errors);
    for bad in [
        "pub fn f() -> Result<(), E> {}",
        "/// # Errors\npub fn f() -> io::Result<()> {}",
        "/// # Errors\n///\n/// # Panics\n/// Never.\npub fn f() -> Result<(), E> {}",
        "/// # Errors\npub fn f() -> Pin<Box<dyn Future<Output = Result<(), E>> + Send>> {}",
        "pub fn f() -> impl Future<Output = Result<(), E>> {}",
        "impl A {\n/// # Errors\npub async fn f() -> Result<(), E> {} }",
        "pub trait A { fn f() -> Result<(), E>; }",
    ] {
        assert_eq!(silent_errors("", bad).len(), 1, "{bad}");
    }
    for good in [
        "/// F.\n///\n/// # Errors\n/// It is gone.\npub fn f() -> Result<(), E> {}",
        "fn f() -> Result<(), E> {}",
        "pub fn f() -> Vec<Result<(), E>> {}",
        "impl A for B { fn f() -> Result<(), E> {} }",
        "#[cfg(test)]\npub fn f() -> Result<(), E> {}",
    ] {
        assert_eq!(silent_errors("", good), Vec::<String>::new(), "{good}");
    }
}

/// The `pub` items of a file, and the names that are in what they show.
#[derive(Default)]
struct Shown {
    items: Vec<String>,
    /// Names in signatures, fields, variants and traits: who uses those uses these.
    beside: BTreeSet<String>,
}

fn names(tokens: TokenStream, all: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => drop(all.insert(name.to_string())),
            TokenTree::Group(group) => names(group.stream(), all),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

impl Shown {
    fn shows(&mut self, part: &impl quote::ToTokens) {
        names(part.to_token_stream(), &mut self.beside);
    }

    fn item(&mut self, name: &syn::Ident) {
        self.items.push(name.to_string());
    }
}

impl<'ast> Visit<'ast> for Shown {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item as I;
        if only_tests(attributes(item)) {
            return;
        }
        let is_public = |vis: &syn::Visibility| matches!(vis, syn::Visibility::Public(_));
        match item {
            I::Const(item) if is_public(&item.vis) => {
                self.item(&item.ident);
                self.shows(&item.ty);
            }
            I::Static(item) if is_public(&item.vis) => {
                self.item(&item.ident);
                self.shows(&item.ty);
            }
            I::Type(item) if is_public(&item.vis) => {
                self.item(&item.ident);
                self.shows(&item.ty);
            }
            I::Fn(item) if is_public(&item.vis) => {
                self.item(&item.sig.ident);
                self.shows(&item.sig.inputs);
                self.shows(&item.sig.output);
                self.shows(&item.sig.generics);
            }
            I::Struct(item) if is_public(&item.vis) => {
                self.item(&item.ident);
                let fields = item.fields.iter().filter(|field| is_public(&field.vis));
                fields.for_each(|field| self.shows(&field.ty));
            }
            I::Enum(item) if is_public(&item.vis) => {
                self.item(&item.ident);
                item.variants
                    .iter()
                    .for_each(|variant| self.shows(&variant.fields));
            }
            I::Trait(item) if is_public(&item.vis) => {
                self.item(&item.ident);
                item.items.iter().for_each(|inner| self.shows(inner));
            }
            I::Impl(item) => {
                if let Some((_, of, _)) = &item.trait_ {
                    self.shows(of);
                }
                visit::visit_item_impl(self, item);
            }
            I::Mod(item) => visit::visit_item_mod(self, item),
            _ => {}
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if only_tests(attributes_in_impl(item)) {
            return;
        }
        match item {
            syn::ImplItem::Fn(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
                self.item(&item.sig.ident);
                self.shows(&item.sig.inputs);
                self.shows(&item.sig.output);
                self.shows(&item.sig.generics);
            }
            syn::ImplItem::Const(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
                self.item(&item.ident);
                self.shows(&item.ty);
            }
            syn::ImplItem::Type(item) => self.shows(&item.ty),
            _ => {}
        }
    }
}

/// What stays without a user, and why.
const KEPT: [(&str, &str, &str); 1] = [(
    "states/actions/install_boot_loader.rs",
    "still_flawed",
    "the text and the remedy of a kind that logs of other versions have",
)];

/// Whether a file is the other one's, which has its tests.
fn is_tests_of(tests: &str, file: &str) -> bool {
    tests
        .strip_suffix("_tests.rs")
        .is_some_and(|tested| file.strip_suffix(".rs") == Some(tested))
}

/// `pub` items that no other file names, of these folders.
fn unused(files: &[(String, String)], folders: &[&str]) -> Vec<String> {
    let mut users: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, text) in files {
        for word in without_comments(text).split(|c| !is_word(c)) {
            if !users.get(word).is_some_and(|users| users.contains(name.as_str())) {
                users.entry(word.to_owned()).or_default().insert(name);
            }
        }
    }
    let of = |name: &str| folders.iter().any(|folder| name.starts_with(folder)) && !super::is_test(name);
    let mut complaints = vec![];
    for (name, text) in files.iter().filter(|(name, _)| of(name)) {
        let mut shown = Shown::default();
        shown.visit_file(&syn::parse_file(text).unwrap());
        let is_kept = |item: &str| KEPT.iter().any(|(file, kept, _)| file == name && *kept == item);
        let items = shown.items.iter().filter(|item| !is_kept(item));
        for item in items.filter(|item| !shown.beside.contains(*item)) {
            let others = users.get(item).into_iter().flatten();
            if others
                .filter(|other| **other != name && !is_tests_of(other, name))
                .count()
                == 0
            {
                complaints.push(format!("{name}: {item} is pub, and no other file names it"));
            }
        }
    }
    complaints
}

#[test]
fn every_pub_item_has_a_user() {
    let found = unused(&rust(&["src", "states", "tests", "fuzz"]), &["src/", "states/"]);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let sample = |a: &str, b: &str| {
        let files = super::uses::sample(&[
            ("src/a.rs", a),
            ("src/a_tests.rs", "fn t() { f() }"),
            ("src/b.rs", b),
        ]);
        unused(&files, &["src/"]).len()
    };
    for bad in [
        "pub fn f() {} fn g() { f() }",
        "pub const F: u8 = 1;",
        "pub mod a { pub fn f() {} }",
        "impl A { pub fn f() {} }",
        "pub struct F;",
    ] {
        assert_eq!(sample(bad, "// f F\nfn g() {}"), 1, "{bad}");
    }
    for (good, user) in [
        ("pub fn f() {}", "fn g() { super::a::f() }"),
        ("fn f() {}", ""),
        ("pub(crate) fn f() {}", ""),
        ("pub struct F; pub fn g() -> F {}", "fn h() { g() }"),
        ("#[cfg(test)]\npub fn f() {}", ""),
    ] {
        assert_eq!(sample(good, user), 0, "{good}");
    }
}
