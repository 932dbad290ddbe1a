//! Who uses what of whom: the one resolver of names that every check of imports asks.
//!
//! Sources are parsed. A name is followed through `use`, aliases, lists, globs, `super` and whatever a head hands on, to the file that
//! defines it. A method that a file adds to a type of another file is found by its name, if no other function has it. What is compiled for
//! tests alone does not count.

use super::source::{attributes, attributes_in_impl, only_tests};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// A crate: where its files are, and its name in the other crates.
const CRATES: [(&str, &str); 2] = [("src", "landfall"), ("states", "landfall_states")];

/// One use of a name of another file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The crate's folder.
    pub folder: &'static str,
    /// The module and the item as they are defined: `real`, `disk`, `sysfs`, `Sysfs`.
    pub path: Vec<String>,
    /// The path from the crate's root as it was written.
    pub written: Vec<String>,
    /// The file that defines it; a sample may not have it.
    pub file: Option<String>,
    /// A method that the file adds to the user's own type: no path leads to it.
    pub is_method: bool,
}

/// A module, or a part of a file in braces.
#[derive(Default)]
struct Module {
    folder: &'static str,
    path: Vec<String>,
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    /// A name that is brought in, and its path.
    named: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
    /// Every path that its code has.
    paths: Vec<Vec<String>>,
    /// Methods that a type calls on itself: the type's name and the method's.
    calls: BTreeSet<(String, String)>,
    /// Methods that this module adds to a type of another one.
    added: BTreeSet<(String, String)>,
}

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Module(usize),
    /// An item of a module.
    Item(usize, String),
    /// Below a module that has no such name here.
    Unknown(&'static str, Vec<String>),
}

/// The sources of both crates.
pub struct Tree {
    modules: Vec<Module>,
    roots: BTreeMap<&'static str, usize>,
}

/// The place of a file as a module: the words of its path. `src/sim/model/disk.rs` → `sim`, `model`, `disk`.
fn place(name: &str) -> Option<(&'static str, Vec<String>)> {
    let (folder, inside) = CRATES.iter().find_map(|(folder, _)| {
        let inside = name.strip_prefix(folder)?.strip_prefix('/')?;
        Some((*folder, inside.strip_suffix(".rs")?))
    })?;
    let mut words: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if words
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        words.pop();
    }
    // `image/image.rs`, named by a path attribute, is `image` itself.
    if let [.., above, last] = words.as_slice()
        && above == last
    {
        words.pop();
    }
    Some((folder, words))
}

impl Tree {
    /// The tree of these files; other files than those of the two crates are left out.
    pub fn of(files: &[(String, String)]) -> Tree {
        let mut parsed: Vec<(&'static str, Vec<String>, &str, syn::File)> = files
            .iter()
            .filter(|(name, _)| !name.ends_with("_tests.rs"))
            .filter_map(|(name, text)| {
                let (folder, path) = place(name)?;
                let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{name} is not read: {e}"));
                Some((folder, path, name.as_str(), file))
            })
            .collect();
        // Files that are named for tests alone.
        let tests: BTreeSet<(&str, Vec<String>)> = parsed
            .iter()
            .flat_map(|(folder, path, _, file)| {
                file.items.iter().filter_map(move |item| match item {
                    syn::Item::Mod(item) if only_tests(&item.attrs) => {
                        Some((*folder, [path.as_slice(), &[item.ident.to_string()]].concat()))
                    }
                    _ => None,
                })
            })
            .collect();
        parsed.retain(|(folder, path, _, _)| {
            !(1..=path.len()).any(|length| tests.contains(&(*folder, path[..length].to_vec())))
        });
        parsed.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut tree = Tree {
            modules: vec![],
            roots: BTreeMap::new(),
        };
        let places: Vec<usize> = parsed
            .iter()
            .map(|(folder, path, name, _)| {
                let module = tree.module(folder, path);
                (*name).clone_into(&mut tree.modules[module].file);
                module
            })
            .collect();
        for (module, (_, _, _, file)) in places.into_iter().zip(&parsed) {
            let mut reader = Reader {
                tree: &mut tree,
                module,
                own: None,
            };
            reader.visit_file(file);
        }
        tree
    }

    /// The module with this path; it and those above it are made.
    fn module(&mut self, folder: &'static str, path: &[String]) -> usize {
        let mut at = match self.roots.get(folder) {
            Some(root) => *root,
            None => {
                self.modules.push(Module {
                    folder,
                    ..Module::default()
                });
                self.roots.insert(folder, self.modules.len() - 1);
                self.modules.len() - 1
            }
        };
        for word in path {
            at = self.child(at, word);
        }
        at
    }

    fn child(&mut self, parent: usize, word: &str) -> usize {
        if let Some(child) = self.modules[parent].children.get(word) {
            return *child;
        }
        let child = self.modules.len();
        let Module {
            folder, path, file, ..
        } = &self.modules[parent];
        let module = Module {
            folder,
            path: path.iter().cloned().chain([word.to_owned()]).collect(),
            file: file.clone(),
            parent: Some(parent),
            ..Module::default()
        };
        self.modules.push(module);
        self.modules[parent].children.insert(word.to_owned(), child);
        child
    }

    /// What a name of a module stands for. A module and a function may have the same one.
    fn lookup(&self, module: usize, name: &str, seen: &mut BTreeSet<(usize, String)>) -> BTreeSet<Found> {
        let mut found = BTreeSet::new();
        if !seen.insert((module, name.to_owned())) {
            return found;
        }
        let here = &self.modules[module];
        found.extend(here.children.get(name).map(|child| Found::Module(*child)));
        if here.items.contains(name) {
            found.insert(Found::Item(module, name.to_owned()));
        }
        for (_, path) in here.named.iter().filter(|(named, _)| named == name) {
            found.extend(self.follow(module, path, seen).0);
        }
        if found.is_empty() {
            for glob in &here.globs {
                for from in self.follow(module, glob, seen).0 {
                    if let Found::Module(from) = from {
                        found.extend(self.lookup(from, name, seen));
                    }
                }
            }
        }
        found
    }

    /// What a path of a module leads to, and the same path from the root of its crate.
    fn follow(
        &self,
        module: usize,
        path: &[String],
        seen: &mut BTreeSet<(usize, String)>,
    ) -> (BTreeSet<Found>, Vec<String>) {
        let Some((first, mut rest)) = path.split_first() else {
            return (BTreeSet::new(), vec![]);
        };
        let here = &self.modules[module];
        let mut written = vec![];
        let mut found: BTreeSet<Found> = match first.as_str() {
            "crate" => BTreeSet::from([Found::Module(self.roots[here.folder])]),
            "self" | "super" => {
                let mut at = if first == "self" {
                    Some(module)
                } else {
                    here.parent
                };
                while let Some((next, behind)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    let _: &String = next;
                    (at, rest) = (at.and_then(|at| self.modules[at].parent), behind);
                }
                written = at.map_or(vec![], |at| self.modules[at].path.clone());
                at.map(Found::Module).into_iter().collect()
            }
            name => {
                let mut found = self.lookup(module, name, seen);
                if found.is_empty()
                    && let Some((folder, _)) = CRATES.iter().find(|(_, krate)| *krate == name)
                {
                    found.insert(match self.roots.get(folder) {
                        Some(root) => Found::Module(*root),
                        None => Found::Unknown(folder, vec![]),
                    });
                } else if let Some(Found::Module(at)) = found.first() {
                    written.clone_from(&self.modules[*at].path);
                } else {
                    written.extend(here.path.iter().cloned().chain([name.to_owned()]));
                }
                found
            }
        };
        for word in rest {
            written.push(word.clone());
            let mut next = BTreeSet::new();
            for at in found {
                match at {
                    Found::Module(at) => {
                        let mut below = self.lookup(at, word, seen);
                        if below.is_empty() {
                            let Module { folder, path, .. } = &self.modules[at];
                            let path = path.iter().cloned().chain([word.clone()]).collect();
                            below.insert(Found::Unknown(folder, path));
                        }
                        next.extend(below);
                    }
                    Found::Unknown(folder, mut path) => {
                        path.push(word.clone());
                        next.insert(Found::Unknown(folder, path));
                    }
                    item @ Found::Item(..) => {
                        next.insert(item);
                    }
                }
            }
            found = next;
        }
        (found, written)
    }

    /// What every file uses of other files.
    pub fn uses(&self) -> BTreeMap<String, BTreeSet<Use>> {
        let mut uses: BTreeMap<String, BTreeSet<Use>> = BTreeMap::new();
        let added: Vec<(&(String, String), usize)> = self
            .modules
            .iter()
            .enumerate()
            .flat_map(|(at, module)| module.added.iter().map(move |method| (method, at)))
            .collect();
        for (at, module) in self
            .modules
            .iter()
            .enumerate()
            .filter(|(_, module)| !module.file.is_empty())
        {
            let used = uses.entry(module.file.clone()).or_default();
            let named = module.named.iter().map(|(_, path)| (path, true, false));
            let globs = module.globs.iter().map(|path| (path, true, true));
            let paths = module.paths.iter().map(|path| (path, path.len() > 1, false));
            for (path, may_be_module, is_glob) in named.chain(globs).chain(paths) {
                let (found, written) = self.follow(at, path, &mut BTreeSet::new());
                for found in found {
                    let Some(one) = self.found(found, &written, may_be_module) else {
                        continue;
                    };
                    // What a head hands on is resolved where it is used; a glob of it says nothing yet.
                    let of_head =
                        is_glob && one.file.as_ref().is_some_and(|file| is_head(file, &module.file));
                    if one.file.as_ref() != Some(&module.file) && !of_head {
                        used.insert(one);
                    }
                }
            }
            for (method, of) in &added {
                if module.calls.contains(*method) && self.modules[*of].file != module.file {
                    let one = self.found(Found::Item(*of, method.1.clone()), &[], false);
                    used.extend(one.map(|one| Use {
                        is_method: true,
                        ..one
                    }));
                }
            }
        }
        uses
    }

    fn found(&self, found: Found, written: &[String], may_be_module: bool) -> Option<Use> {
        let (folder, path, file) = match found {
            Found::Module(at) if may_be_module => {
                let Module {
                    folder, path, file, ..
                } = &self.modules[at];
                (
                    *folder,
                    path.clone(),
                    Some(file.clone()).filter(|file| !file.is_empty()),
                )
            }
            Found::Module(_) => return None,
            Found::Item(at, name) => {
                let Module {
                    folder, path, file, ..
                } = &self.modules[at];
                let path = path.iter().cloned().chain([name]).collect();
                (*folder, path, Some(file.clone()).filter(|file| !file.is_empty()))
            }
            Found::Unknown(folder, path) => {
                // The innermost file whose name the path has.
                let mut at = self.roots.get(folder).copied();
                let mut file = None;
                for word in &path {
                    file = at.map(|at| self.modules[at].file.clone()).or(file);
                    at = at.and_then(|at| self.modules[at].children.get(word).copied());
                }
                (folder, path, file.filter(|file| !file.is_empty()))
            }
        };
        Some(Use {
            folder,
            path,
            written: written.to_vec(),
            file,
            is_method: false,
        })
    }
}

/// Whether a file is the head of the folder in which the other one lies.
pub fn is_head(head: &str, other: &str) -> bool {
    let folder = head
        .strip_suffix("/mod.rs")
        .or_else(|| head.strip_suffix("/lib.rs"))
        .or_else(|| head.strip_suffix(".rs"));
    folder.is_some_and(|folder| {
        other
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Reads a file into its modules.
struct Reader<'t> {
    tree: &'t mut Tree,
    module: usize,
    /// The type whose `impl` is read.
    own: Option<String>,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        &mut self.tree.modules[self.module]
    }

    fn import(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| -> Vec<String> {
            // `self` in a list is the path itself.
            let own = (ident != "self" || before.is_empty()).then(|| ident.to_string());
            before.iter().cloned().chain(own).collect()
        };
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => {
                let path = with(&name.ident);
                let named = path.last().cloned().unwrap_or_default();
                self.here().named.push((named, path));
            }
            syn::UseTree::Rename(renamed) => {
                let path = with(&renamed.ident);
                self.here().named.push((renamed.rename.to_string(), path));
            }
            syn::UseTree::Glob(_) => self.here().globs.push(before.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before)),
        }
    }

    /// The paths of a macro's words; of an attribute's texts as well, which `serde` reads as paths.
    fn tokens(&mut self, tokens: TokenStream, with_texts: bool) {
        let mut path: Vec<String> = vec![];
        let mut colons = 0;
        let (mut is_method, mut is_own) = (false, false);
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 || path.is_empty() {
                        let path = std::mem::take(&mut path);
                        self.here()
                            .paths
                            .extend(Some(path).filter(|path| !path.is_empty()));
                    }
                    // What is behind a point is a field or a method: of `self`, a method of this type.
                    if is_method {
                        self.call(&word.to_string(), is_own);
                    } else {
                        path.push(word.to_string());
                    }
                    is_own = !is_method && word == "self";
                    (colons, is_method) = (0, false);
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
                other => {
                    let taken = std::mem::take(&mut path);
                    self.here()
                        .paths
                        .extend(Some(taken).filter(|path| !path.is_empty()));
                    colons = 0;
                    is_method = false;
                    match other {
                        TokenTree::Group(group) => self.tokens(group.stream(), with_texts),
                        TokenTree::Punct(sign) => is_method = sign.as_char() == '.',
                        TokenTree::Literal(text) if with_texts => {
                            let text: Option<syn::LitStr> = syn::parse_str(&text.to_string()).ok();
                            if let Some(path) = text.and_then(|text| text.parse::<syn::Path>().ok()) {
                                self.path(&path);
                            }
                        }
                        TokenTree::Literal(_) | TokenTree::Ident(_) => {}
                    }
                }
            }
        }
        self.here()
            .paths
            .extend(Some(path).filter(|path| !path.is_empty()));
    }

    fn path(&mut self, path: &syn::Path) {
        let words = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect::<Vec<_>>();
        if let [own, method] = words.as_slice() {
            if own == "Self" {
                self.call(method, true);
            } else {
                self.here().calls.insert((own.clone(), method.clone()));
            }
        }
        self.here().paths.push(words);
    }

    fn call(&mut self, method: &str, is_own: bool) {
        if let Some(own) = self.own.clone().filter(|_| is_own) {
            self.here().calls.insert((own, method.to_owned()));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item as I;
        if only_tests(attributes(item)) {
            return;
        }
        let name = match item {
            I::Const(item) => Some(&item.ident),
            I::Enum(item) => Some(&item.ident),
            I::Fn(item) => Some(&item.sig.ident),
            I::Macro(item) => item.ident.as_ref(),
            I::Static(item) => Some(&item.ident),
            I::Struct(item) => Some(&item.ident),
            I::Trait(item) => Some(&item.ident),
            I::Type(item) => Some(&item.ident),
            I::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            self.here().items.insert(name.to_string());
        }
        match item {
            I::Mod(item) if item.content.is_some() => {
                let outer = self.module;
                self.module = self.tree.child(outer, &item.ident.to_string());
                visit::visit_item_mod(self, item);
                self.module = outer;
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[]);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let own = match &*item.self_ty {
            syn::Type::Path(of) => of.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        // The type may stand behind its `impl` in the file: what is of another file is what the file brings in.
        let is_added = item.trait_.is_none()
            && own
                .as_ref()
                .is_some_and(|own| self.here().named.iter().any(|(named, _)| named == own));
        let methods = item.items.iter().filter_map(|inner| match inner {
            syn::ImplItem::Fn(inner) => Some(inner.sig.ident.to_string()),
            _ => None,
        });
        if is_added {
            let own = own.clone().unwrap_or_default();
            self.here()
                .added
                .extend(methods.map(|method| (own.clone(), method)));
        }
        let outer = std::mem::replace(&mut self.own, own);
        visit::visit_item_impl(self, item);
        self.own = outer;
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !only_tests(attributes_in_impl(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !only_tests(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !only_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !only_tests(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    /// Who may see an item is no use of what is named there.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone(), true);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_own = matches!(&*call.receiver, syn::Expr::Path(path) if path.path.is_ident("self"));
        self.call(&call.method.to_string(), is_own);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.path(&called.path);
        self.tokens(called.tokens.clone(), false);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(path);
        visit::visit_path(self, path);
    }
}

/// Files of a sample.
pub fn sample(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

/// What every file of these uses of other files.
pub fn uses(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<Use>> {
    Tree::of(files).uses()
}

/// Complaints about what single files use, each with its file.
pub fn complaints(
    files: &[(String, String)],
    check: impl Fn(&str, &BTreeSet<Use>) -> Vec<String>,
) -> Vec<String> {
    let uses = uses(files);
    assert!(!uses.is_empty(), "nothing was looked at");
    uses.iter()
        .flat_map(|(name, uses)| {
            check(name, uses)
                .into_iter()
                .map(move |what| format!("{name}: {what}"))
        })
        .collect()
}
