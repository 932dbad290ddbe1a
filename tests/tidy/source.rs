//! A Rust source as the checks read it: its product (what is compiled without `test`), its code without comments, and its texts.

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Whether a source's item is compiled for tests alone: `#[test]`, or a `cfg` that is false without `test`.
pub fn only_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return attribute.path().is_ident("test");
        };
        list.path.is_ident("cfg")
            && syn::parse2::<syn::Meta>(list.tokens.clone()).is_ok_and(|meta| holds(&meta) == Some(false))
    })
}

/// Whether a `cfg` holds when nothing is tested; `None` if that depends on something else.
fn holds(meta: &syn::Meta) -> Option<bool> {
    let list = match meta {
        syn::Meta::Path(path) if path.is_ident("test") => return Some(false),
        syn::Meta::List(list) => list,
        _ => return None,
    };
    let inner: Vec<Option<bool>> = list
        .parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated)
        .map(|inner| inner.iter().map(holds).collect())
        .unwrap_or_default();
    if list.path.is_ident("not") {
        inner.first().copied().flatten().map(|inner| !inner)
    } else if list.path.is_ident("all") {
        inner.contains(&Some(false)).then_some(false)
    } else {
        (list.path.is_ident("any") && inner.iter().all(|inner| *inner == Some(false))).then_some(false)
    }
}

/// The attributes of an item.
pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item as I;
    match item {
        I::Const(item) => &item.attrs,
        I::Enum(item) => &item.attrs,
        I::ExternCrate(item) => &item.attrs,
        I::Fn(item) => &item.attrs,
        I::ForeignMod(item) => &item.attrs,
        I::Impl(item) => &item.attrs,
        I::Macro(item) => &item.attrs,
        I::Mod(item) => &item.attrs,
        I::Static(item) => &item.attrs,
        I::Struct(item) => &item.attrs,
        I::Trait(item) => &item.attrs,
        I::Type(item) => &item.attrs,
        I::Union(item) => &item.attrs,
        I::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of what stands in an `impl`.
pub fn attributes_in_impl(item: &syn::ImplItem) -> &[syn::Attribute] {
    match item {
        syn::ImplItem::Const(item) => &item.attrs,
        syn::ImplItem::Fn(item) => &item.attrs,
        syn::ImplItem::Type(item) => &item.attrs,
        syn::ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// A source with spaces in the place of its tests, and of its comments. Lines keep their numbers.
pub fn product(text: &str) -> String {
    without_comments(&without_tests(text))
}

/// A source with spaces in the place of its tests.
pub fn without_tests(text: &str) -> String {
    #[derive(Default)]
    struct Tests(Vec<(LineColumn, LineColumn)>);
    impl Tests {
        fn add(&mut self, span: Span) {
            self.0.push((span.start(), span.end()));
        }
    }
    impl<'ast> Visit<'ast> for Tests {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if only_tests(attributes(item)) {
                self.add(item.span());
            } else {
                visit::visit_item(self, item);
            }
        }
        fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
            if only_tests(attributes_in_impl(item)) {
                self.add(item.span());
            } else {
                visit::visit_impl_item(self, item);
            }
        }
        fn visit_local(&mut self, local: &'ast syn::Local) {
            if only_tests(&local.attrs) {
                self.add(local.span());
            } else {
                visit::visit_local(self, local);
            }
        }
    }
    let mut tests = Tests::default();
    // A sample of a few statements is read as the body of a function; what is no Rust at all has no tests.
    match syn::parse_file(text) {
        Ok(file) => tests.visit_file(&file),
        Err(_) => return text.to_owned(),
    }
    let mut kept = String::new();
    let (mut line, mut column) = (1, 0);
    for c in text.chars() {
        let here = LineColumn { line, column };
        let is_test = tests.0.iter().any(|(start, end)| *start <= here && here < *end);
        kept.push(if is_test && c != '\n' { ' ' } else { c });
        if c == '\n' {
            (line, column) = (line + 1, 0);
        } else {
            column += 1;
        }
    }
    kept
}

/// What a part of a source is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    /// A text or a character, with its quotation marks.
    Text,
}

/// A source in parts, one behind the other.
fn parts(text: &str) -> Vec<(Part, &str)> {
    let mut parts = Vec::new();
    let (mut rest, mut is_in_word) = (text, false);
    while let Some(c) = rest.chars().next() {
        let (part, length) = if rest.starts_with("//") {
            (Part::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (Part::Comment, block_comment(rest))
        } else if let Some(length) = (!is_in_word).then(|| raw_text(rest)).flatten() {
            (Part::Text, length)
        } else if c == '"' {
            (Part::Text, quoted(rest, '"'))
        } else if let Some(length) = (c == '\'').then(|| character(rest)).flatten() {
            (Part::Text, length)
        } else {
            (Part::Code, c.len_utf8())
        };
        is_in_word = c.is_alphanumeric() || c == '_';
        let (taken, behind) = rest.split_at(length);
        parts.push((part, taken));
        rest = behind;
    }
    parts
}

/// The length of a comment, and of those inside it.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of a raw text: `r"…"`, `br#"…"#`.
fn raw_text(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let signs = inner.len() - inner.trim_start_matches('#').len();
    let begin = text.len() - inner.len() + signs + 1;
    inner[signs..].starts_with('"').then_some(())?;
    let end = format!("\"{}", "#".repeat(signs));
    Some(
        text[begin..]
            .find(&end)
            .map_or(text.len(), |at| begin + at + end.len()),
    )
}

/// The length of a text up to its closing sign.
fn quoted(text: &str, sign: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == sign {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a character; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.chars().skip(1);
    match chars.next()? {
        '\\' => Some(quoted(text, '\'')),
        c => (chars.next() == Some('\'')).then(|| 2 + c.len_utf8()),
    }
}

/// Spaces for what is left out, so that lines and columns stay.
fn left_out(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

/// A source with spaces in the place of its comments.
pub fn without_comments(text: &str) -> String {
    let parts = parts(text).into_iter();
    parts
        .map(|(part, text)| match part {
            Part::Comment => left_out(text),
            Part::Code | Part::Text => text.to_owned(),
        })
        .collect()
}

/// A source with spaces in the place of its comments and texts.
pub fn code_alone(text: &str) -> String {
    let parts = parts(text).into_iter();
    parts
        .map(|(part, text)| match part {
            Part::Comment | Part::Text => left_out(text),
            Part::Code => text.to_owned(),
        })
        .collect()
}

#[test]
fn the_product_is_all_but_tests_and_comments() {
    for (source, kept) in [
        ("#[cfg(test)]\nuse x;\nfn f() { g() }", "fn f() { g() }"),
        (
            "#[cfg(all(test, unix))]\nmod t { fn f() {} }\nfn g() {}",
            "fn g() {}",
        ),
        ("#[cfg(not(test))]\nfn f() {}", "#[cfg(not(test))] fn f() {}"),
        (
            "#[cfg(any(test, unix))]\nfn f() {}",
            "#[cfg(any(test, unix))] fn f() {}",
        ),
        ("#[test]\nfn f() {}\nfn g() {}", "fn g() {}"),
        (
            "impl A {\n#[cfg(test)]\nfn f() {}\nfn g() {} }",
            "impl A { fn g() {} }",
        ),
        (
            "const A: &str = \"https://a\"; // b",
            "const A: &str = \"https://a\";",
        ),
        (
            "const A: &str = r#\"\"//\"#; /* b /* c */ d */ fn f() {}",
            "const A: &str = r#\"\"//\"#; fn f() {}",
        ),
        ("const A: char = '\"'; // \"", "const A: char = '\"';"),
        (
            "const A: &[u8] = &[b'\\'', b'\"']; // b",
            "const A: &[u8] = &[b'\\'', b'\"'];",
        ),
        ("fn f<'a>(a: &'a str) {} // 'a", "fn f<'a>(a: &'a str) {}"),
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&product(source)), words(kept), "{source}");
        assert_eq!(
            product(source).lines().count(),
            source.lines().count(),
            "{source}"
        );
    }
}
