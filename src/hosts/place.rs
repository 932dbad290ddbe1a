//! Finds the places in a flake's syntax tree that define its hosts.
//!
//! A form that is not recognised is not a place. Nothing is guessed from names alone if a value can be examined. `flake` makes the
//! text.

use super::syntax::{self, Bindings, bare, call, called, looked_up, names};
use rnix::SyntaxNode;
use rnix::ast::{self, BinOpKind, Expr, HasEntry};
use rowan::ast::AstNode;

/// Longest chain of names that is followed.
const DEPTH_MAX: usize = 24;

/// How the function of the outputs can be given what it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) this: Option<String>,
    pub(crate) landfall: Option<String>,
    pub(crate) nixpkgs: Option<String>,
}

/// A set that becomes outputs of the flake.
#[derive(Debug, Clone)]
pub(crate) struct OutputSet {
    pub(crate) set: ast::AttrSet,
    /// What stands before the names of outputs there: nothing, or `flake`.
    pub(crate) prefix: Vec<String>,
}

impl OutputSet {
    pub(crate) fn bindings(&self) -> Bindings {
        Bindings::Set(self.set.clone())
    }

    /// The path of an output there.
    pub(crate) fn path(&self, rest: &[&str]) -> Vec<String> {
        let rest = rest.iter().map(|name| (*name).to_owned());
        self.prefix.iter().cloned().chain(rest).collect()
    }

    /// What stands there for an output, with the rest of its path.
    pub(crate) fn entries(&self, output: &str) -> Vec<(Option<Vec<String>>, ast::AttrpathValue)> {
        let wanted = self.path(&[output]);
        let mut found = vec![];
        for entry in self.set.attrpath_values() {
            let Some(path) = entry.attrpath() else { continue };
            let attrs: Vec<Option<String>> = path.attrs().map(|attr| syntax::name(&attr)).collect();
            let begins = wanted
                .iter()
                .enumerate()
                .all(|(n, name)| attrs.get(n).is_some_and(|attr| attr.as_deref() == Some(name)));
            if begins {
                let rest = attrs.get(wanted.len()..).unwrap_or_default();
                found.push((rest.iter().cloned().collect(), entry));
            }
        }
        found
    }

    pub(crate) fn inherits(&self, output: &str) -> bool {
        self.prefix.is_empty() && self.bindings().inherited(output).is_some()
    }
}

/// A flake, as far as it is understood.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) inputs: Vec<String>,
    pub(crate) references: References,
    /// The expression that is the outputs.
    pub(crate) body: Expr,
    pub(crate) sets: Vec<OutputSet>,
    /// Parts of the outputs that cannot be looked into.
    pub(crate) opaque: Vec<Expr>,
}

impl Outline {
    /// Reads a flake.nix.
    pub(crate) fn of(text: &str) -> Result<Outline, String> {
        let Expr::AttrSet(root) = bare(syntax::parse(text)?) else {
            return Err("it is not an attribute set".to_owned());
        };
        let bindings = Bindings::Set(root.clone());
        let Some(Expr::Lambda(outputs)) = bindings.value(&["outputs"]).map(bare) else {
            return Err("its outputs are not a function in this file".to_owned());
        };
        let references = references(&outputs);
        let body = outputs.body().ok_or("its outputs have no body")?;
        let mut outline = Outline {
            inputs: inputs(&bindings),
            references,
            body: body.clone(),
            sets: vec![],
            opaque: vec![],
        };
        outline.collect(body, 0);
        Ok(outline)
    }

    fn collect(&mut self, expr: Expr, depth: usize) {
        let expr = result(expr);
        if depth > DEPTH_MAX {
            self.opaque.push(expr);
            return;
        }
        match &expr {
            Expr::AttrSet(set) => self.sets.push(OutputSet {
                set: set.clone(),
                prefix: vec![],
            }),
            Expr::BinOp(op) if op.operator() == Some(BinOpKind::Update) => {
                for side in [op.lhs(), op.rhs()].into_iter().flatten() {
                    self.collect(side, depth + 1);
                }
            }
            Expr::Ident(ident) => match looked_up(ident.syntax(), &ident.to_string()) {
                Some(value) => self.collect(value, depth + 1),
                None => self.opaque.push(expr),
            },
            Expr::Apply(apply) => {
                let (head, mut arguments) = call(apply);
                let is_parts =
                    arguments.len() == 2 && head.as_ref().and_then(called).as_deref() == Some("mkFlake");
                let module = arguments.pop().filter(|_| is_parts).map(module_body);
                match module {
                    Some(Expr::AttrSet(set)) => self.flake_parts(set),
                    _ => self.opaque.push(expr),
                }
            }
            _ => self.opaque.push(expr),
        }
    }

    /// The module of flake-parts: outputs stand below `flake`.
    fn flake_parts(&mut self, set: ast::AttrSet) {
        if let Some(Expr::AttrSet(inner)) = Bindings::Set(set.clone()).value(&["flake"]).map(result) {
            self.sets.push(OutputSet {
                set: inner,
                prefix: vec![],
            });
        } else {
            self.sets.push(OutputSet {
                set,
                prefix: vec!["flake".to_owned()],
            });
        }
    }

    /// Every part of the text that the outputs are made of, for what is looked for by its form.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = SyntaxNode> {
        self.body.syntax().descendants()
    }
}

/// A module that may be a function.
fn module_body(expr: Expr) -> Expr {
    let mut expr = result(expr);
    while let Expr::Lambda(lambda) = &expr {
        match lambda.body() {
            Some(body) => expr = result(body),
            None => break,
        }
    }
    expr
}

/// What an expression is the value of: without `let`, `with`, `assert` and parentheses around it.
pub(crate) fn result(expr: Expr) -> Expr {
    let mut expr = expr;
    loop {
        let inner = match &expr {
            Expr::LetIn(inner) => inner.body(),
            Expr::With(inner) => inner.body(),
            Expr::Assert(inner) => inner.body(),
            Expr::Paren(inner) => inner.expr(),
            _ => None,
        };
        match inner {
            Some(inner) => expr = inner,
            None => return expr,
        }
    }
}

fn inputs(root: &Bindings) -> Vec<String> {
    let mut found = vec![];
    for entry in root.values() {
        let Some(path) = entry.attrpath().and_then(|path| names(&path)) else {
            continue;
        };
        match (path.first().map(String::as_str), path.get(1), entry.value()) {
            (Some("inputs"), Some(name), _) => found.push(name.clone()),
            (Some("inputs"), None, Some(Expr::AttrSet(set))) => {
                let first = |entry: ast::AttrpathValue| syntax::name(&entry.attrpath()?.attrs().next()?);
                found.extend(set.attrpath_values().filter_map(first));
            }
            _ => {}
        }
    }
    found
}

fn references(outputs: &ast::Lambda) -> References {
    let (mut whole, mut given, mut is_open) = (None, vec![], false);
    match outputs.param() {
        Some(ast::Param::IdentParam(param)) => {
            whole = param.ident().map(|ident| ident.to_string());
            is_open = true;
        }
        Some(ast::Param::Pattern(pattern)) => {
            whole = pattern
                .pat_bind()
                .and_then(|bind| bind.ident())
                .map(|ident| ident.to_string());
            given = pattern
                .pat_entries()
                .filter_map(|entry| entry.ident())
                .map(|ident| ident.to_string())
                .collect();
            is_open = pattern.ellipsis_token().is_some();
        }
        None => {}
    }
    let by = |name: &str| {
        if given.iter().any(|found| found == name) {
            return Some(name.to_owned());
        }
        // A closed pattern that does not name an input is refused by Nix when the flake has it.
        let whole = whole.as_ref().filter(|_| is_open)?;
        Some(format!("{whole}.{name}"))
    };
    References {
        this: by("self"),
        landfall: by("landfall"),
        nixpkgs: by("nixpkgs"),
    }
}

/// Where hosts stand.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In a set: one binding for each. A table's values are no systems, but what a function makes systems of.
    Set {
        bindings: Bindings,
        /// What stands before a host's name in the path of its binding.
        prefix: Vec<String>,
        is_table: bool,
        /// Certain by the names of what is called alone.
        is_sure: bool,
    },
    /// In a list of names.
    Names { list: ast::List, is_sure: bool },
    /// In a folder that is read.
    Folder {
        path: String,
        /// Certain by the names of what is called alone.
        is_sure: bool,
    },
}

impl Place {
    /// Whether its entries are no systems, but what something makes systems of.
    fn makes_hosts(&self) -> bool {
        match self {
            Place::Set { is_table, .. } => *is_table,
            Place::Names { .. } | Place::Folder { .. } => true,
        }
    }
}

/// Where the hosts of an expression stand.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The one for a new host.
    pub(crate) place: Place,
    /// What it is called.
    called: String,
    /// The others, by what they are called.
    pub(crate) others: Vec<(String, Place)>,
    /// Nothing says which of them is for a new host.
    pub(crate) is_open: bool,
}

impl Places {
    fn of(place: Place, expr: &Expr) -> Places {
        let text = expr.syntax().text().to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        let cut: String = words.join(" ").chars().take(CALLED_CHARS_MAX).collect();
        Places {
            place,
            called: if cut.len() < words.join(" ").len() {
                format!("{cut}…")
            } else {
                cut
            },
            others: vec![],
            is_open: false,
        }
    }

    /// What each is called, the one for a new host first.
    pub(crate) fn called(&self) -> Vec<String> {
        let others = self.others.iter().map(|(called, _)| called.clone());
        std::iter::once(self.called.clone()).chain(others).collect()
    }

    fn beside(mut self, other: Places) -> Places {
        self.others.push((other.called, other.place));
        self.others.extend(other.others);
        self
    }
}

/// Characters of an expression that are shown.
const CALLED_CHARS_MAX: usize = 40;

/// Where the hosts of an expression stand.
pub(crate) fn places(expr: &Expr) -> Option<Places> {
    resolve(
        expr.clone(),
        Context {
            is_table: false,
            is_sure: true,
        },
        0,
    )
}

#[derive(Debug, Clone, Copy)]
struct Context {
    is_table: bool,
    is_sure: bool,
}

fn resolve(expr: Expr, context: Context, depth: usize) -> Option<Places> {
    if depth > DEPTH_MAX {
        return None;
    }
    let expr = result(expr);
    let Context { is_table, is_sure } = context;
    match &expr {
        Expr::AttrSet(set) => {
            let place = Place::Set {
                bindings: Bindings::Set(set.clone()),
                prefix: vec![],
                is_table,
                is_sure,
            };
            Some(Places::of(place, &expr))
        }
        Expr::List(list) if is_table => {
            let is_name = |item: Expr| matches!(item, Expr::Str(text) if syntax::string(&text).is_some());
            let place = Place::Names {
                list: list.clone(),
                is_sure,
            };
            list.items().all(is_name).then(|| Places::of(place, &expr))
        }
        Expr::BinOp(op) if matches!(op.operator(), Some(BinOpKind::Update | BinOpKind::Concat)) => {
            resolve_joined(op, context, depth)
        }
        Expr::Ident(ident) => {
            let value = looked_up(ident.syntax(), &ident.to_string())?;
            let mut found = resolve(value, context, depth + 1)?;
            if found.others.is_empty() {
                found.called = ident.to_string();
            }
            Some(found)
        }
        Expr::Apply(apply) => resolve_call(apply, &expr, is_sure, depth),
        _ => None,
    }
}

/// Of two that are joined: a table of hosts rather than a system that is written there, and a set that is written there rather than one
/// of its kind that is made; of two tables nobody can say.
fn resolve_joined(op: &ast::BinOp, context: Context, depth: usize) -> Option<Places> {
    let (left, right) = (result(op.lhs()?), result(op.rhs()?));
    let is_written = |side: &Expr| matches!(side, Expr::AttrSet(_) | Expr::List(_));
    let (first, second) = match is_written(&left) && !is_written(&right) {
        true => (left, right),
        false => (right, left),
    };
    let is_one_written = is_written(&first) && !is_written(&second);
    let first = resolve(first, context, depth + 1);
    match (first, resolve(second, context, depth + 1)) {
        (Some(first), Some(second)) => {
            // What is joined inside a table is a table, too.
            let is_told = is_one_written && !context.is_table;
            // A system by itself, as an installer's, is no place for a host where others stand in a table.
            let (first, second) = match is_told && second.place.makes_hosts() {
                true => (second, first),
                false => (first, second),
            };
            let is_open = !is_told || first.is_open;
            let both = first.beside(second);
            Some(Places { is_open, ..both })
        }
        (first, second) => first.or(second),
    }
}

/// Of a call: the folder that it reads, or the tables among its arguments.
fn resolve_call(apply: &ast::Apply, expr: &Expr, is_sure: bool, depth: usize) -> Option<Places> {
    let (head, arguments) = call(apply);
    let function = head.as_ref().and_then(called).unwrap_or_default();
    if function == "readDir" {
        let path = folder(arguments.first()?)?;
        return Some(Places::of(Place::Folder { path, is_sure }, expr));
    }
    let known = [
        "mapAttrs",
        "mapAttrs'",
        "genAttrs",
        "listToAttrs",
        "map",
        "attrNames",
        "filterAttrs",
    ];
    let inner = Context {
        is_table: true,
        is_sure: is_sure && known.contains(&function.as_str()),
    };
    // What is taken out of a set or a list is no host.
    let tables = match function.as_str() {
        "removeAttrs" => arguments.first().cloned().into_iter().collect(),
        "subtractLists" | "remove" => arguments.last().cloned().into_iter().collect(),
        _ => arguments,
    };
    let not_functions = tables
        .into_iter()
        .rev()
        .filter(|argument| !matches!(result(argument.clone()), Expr::Lambda(_)));
    let found = not_functions.filter_map(|argument| {
        let is_named = matches!(result(argument.clone()), Expr::Ident(_));
        Some((is_named, resolve(argument, inner, depth + 1)?))
    });
    let mut found = found.filter(|(_, found)| !is_settings(&found.place));
    let (_, mut first) = found.next()?;
    // A set that is written there are settings of the function.
    for (is_named, other) in found {
        if is_named || !matches!(other.place, Place::Set { .. }) {
            first = first.beside(other);
        }
    }
    Some(first)
}

/// A set of arguments that only passes things on (`{ inherit inputs; }`) is no table of hosts.
fn is_settings(place: &Place) -> bool {
    match place {
        Place::Set {
            bindings, is_table, ..
        } => *is_table && bindings.values().is_empty() && !bindings.is_empty(),
        Place::Names { .. } | Place::Folder { .. } => false,
    }
}

fn folder(argument: &Expr) -> Option<String> {
    let text = bare(argument.clone()).syntax().text().to_string();
    let path = text.strip_prefix("./")?.trim_end_matches('/').to_owned();
    (!path.contains("${")).then_some(path)
}

/// The folders that a flake reads, wherever it does.
pub(crate) fn folders_read(outline: &Outline) -> Vec<String> {
    let mut found = vec![];
    for apply in outline.nodes().filter_map(ast::Apply::cast) {
        let (head, arguments) = call(&apply);
        if head.as_ref().and_then(called).as_deref() == Some("readDir")
            && let Some(path) = arguments.first().and_then(folder)
            && !found.contains(&path)
        {
            found.push(path);
        }
    }
    found
}
