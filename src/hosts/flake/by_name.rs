//! Finds the files of a host that a flake makes of the host's name.
//!
//! A path with a name in it, such as `./hosts/${name}`, is the hosts' only if the host's name gets there through the calls that make the
//! hosts. Such a path elsewhere (`./home/${user}.nix`) is another's. Without a proof, nothing but an evaluation can tell.
//!
//! `hosts::flake` puts the files there.

use crate::hosts::place::{Outline, result};
use crate::hosts::syntax::{self, Bindings, call, called, looked_up, names};
use rnix::SyntaxNode;
use rnix::ast::{self, BinOpKind, Expr, HasEntry};
use rowan::ast::AstNode;
use std::collections::BTreeSet;

/// Longest chain of calls that is followed.
const DEPTH_MAX: usize = 16;
/// Folders of users: what has a name in its path there is a user's.
const OF_USERS: [&str; 6] = [
    "home",
    "homes",
    "users",
    "user",
    "home-manager",
    "homeConfigurations",
];
/// What a host's name is called where a whole set is handed on.
const NAMES: [&str; 6] = ["name", "host", "hostName", "hostname", "machine", "node"];
/// Files of a host that are not its main one.
const NOT_MAIN: [&str; 3] = ["installer.nix", "hardware-configuration.nix", "hardware.nix"];

/// A path that is made of a name: what stands before and behind it, such as `hosts/` and `/default.nix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ByName {
    pub(super) before: String,
    pub(super) behind: String,
}

/// The paths of a flake that are made of a name.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// The name of a host gets there.
    pub(super) proven: Vec<ByName>,
    /// Nobody knows whose name.
    pub(super) others: Vec<ByName>,
}

/// Where the hosts are made.
#[derive(Debug, Clone)]
pub(super) enum Made {
    /// A neighbour's value, and its name.
    Value(Expr, String),
    /// What makes hosts of a table or of a list of names.
    Table(Expr),
}

/// The paths that the new host may have its files at.
pub(super) fn paths(outline: &Outline, made: &Made, of_hosts: &[&str]) -> Paths {
    let mut walk = Walk {
        body: outline.body.syntax(),
        host: None,
        found: vec![],
        seen: BTreeSet::new(),
        tables: BTreeSet::new(),
    };
    let none = Env::new();
    match made {
        Made::Value(value, host) => {
            walk.host = Some(host.clone());
            walk.node(value.syntax(), &none, false, 0);
        }
        Made::Table(whole) => walk.node(result(whole.clone()).syntax(), &none, true, 0),
    }
    let order = |path: &ByName| {
        let is_of_hosts = path.before.split('/').any(|part| of_hosts.contains(&part));
        let is_main = ["", ".nix", "/default.nix", "/configuration.nix"].contains(&path.behind.as_str());
        (!is_of_hosts, !is_main)
    };
    let mut proven = walk.found;
    proven.sort_by_key(order);
    let mut others: Vec<ByName> = vec![];
    for path in outline.nodes().filter_map(by_name) {
        if !proven.contains(&path) && !others.contains(&path) {
            others.push(path);
        }
    }
    others.sort_by_key(order);
    Paths { proven, others }
}

/// A node that is such a path, and not that of users or of another file of the host.
fn by_name(node: SyntaxNode) -> Option<ByName> {
    let text = match (ast::Path::cast(node.clone()), ast::BinOp::cast(node)) {
        (Some(path), _) => path.syntax().text().to_string(),
        (None, Some(op)) if op.operator() == Some(BinOpKind::Add) => {
            let (Some(Expr::Path(left)), Some(Expr::Str(right))) = (op.lhs(), op.rhs()) else {
                return None;
            };
            let right = right.syntax().text().to_string();
            format!("{}{}", left.syntax().text(), right.trim_matches('"'))
        }
        _ => return None,
    };
    let (before, rest) = text.strip_prefix("./")?.split_once("${")?;
    let (_, behind) = rest.split_once('}')?;
    let is_file = !behind.contains("${") && (behind.is_empty() || behind.ends_with(".nix"));
    let is_other = NOT_MAIN.iter().any(|other| behind.ends_with(other))
        || before.split('/').any(|part| OF_USERS.contains(&part));
    (is_file && !is_other).then(|| ByName {
        before: before.to_owned(),
        behind: behind.to_owned(),
    })
}

/// Names that stand for the host's name, or for a set with it.
type Env = BTreeSet<String>;

/// What an argument has of a host's name.
#[derive(Debug, Default)]
struct Carried {
    is_whole: bool,
    /// The attributes of a set that have it, where a set is written there.
    parts: Option<Vec<String>>,
}

impl Carried {
    fn whole(is_whole: bool) -> Carried {
        Carried {
            is_whole,
            parts: None,
        }
    }

    fn is_some(&self) -> bool {
        self.is_whole || self.parts.as_ref().is_some_and(|parts| !parts.is_empty())
    }
}

struct Walk<'a> {
    body: &'a SyntaxNode,
    host: Option<String>,
    found: Vec<ByName>,
    /// Functions that were looked into, and with which names.
    seen: BTreeSet<(u32, Env)>,
    /// Values that were looked into as tables, and with which names.
    tables: BTreeSet<(u32, Env)>,
}

/// Every name in an expression.
fn idents(node: &SyntaxNode) -> impl Iterator<Item = String> {
    node.descendants()
        .filter_map(ast::Ident::cast)
        .map(|ident| ident.to_string())
}

fn has_any(node: &SyntaxNode, env: &Env) -> bool {
    idents(node).any(|name| env.contains(&name))
}

/// The names that a parameter binds.
fn bound(param: &ast::Param) -> Vec<String> {
    match param {
        ast::Param::IdentParam(param) => param.ident().map(|ident| ident.to_string()).into_iter().collect(),
        ast::Param::Pattern(pattern) => {
            let whole = pattern.pat_bind().and_then(|bind| bind.ident());
            let entries = pattern.pat_entries().filter_map(|entry| entry.ident());
            entries.chain(whole).map(|ident| ident.to_string()).collect()
        }
    }
}

/// Those of them that stand for the host's name, if this is what is given.
fn given(param: &ast::Param, carried: &Carried) -> Vec<String> {
    if !carried.is_some() {
        return vec![];
    }
    let ast::Param::Pattern(pattern) = param else {
        return bound(param);
    };
    let has_it = |name: &String| match &carried.parts {
        Some(parts) => parts.contains(name),
        None => NAMES.contains(&name.as_str()),
    };
    let whole = pattern.pat_bind().and_then(|bind| bind.ident());
    let entries = pattern.pat_entries().filter_map(|entry| entry.ident());
    let entries = entries.map(|ident| ident.to_string()).filter(has_it);
    entries.chain(whole.map(|ident| ident.to_string())).collect()
}

impl Walk<'_> {
    /// Looks for paths below a node. `is_table`: it makes hosts of their names, and not of one.
    fn node(&mut self, node: &SyntaxNode, env: &Env, is_table: bool, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        if has_any(node, env)
            && let Some(path) = by_name(node.clone())
            && !self.found.contains(&path)
        {
            self.found.push(path);
        }
        let (mut env, mut is_table) = (env.clone(), is_table);
        if let Some(lambda) = ast::Lambda::cast(node.clone()) {
            let hidden = lambda.param().map(|param| bound(&param)).unwrap_or_default();
            env.retain(|name| !hidden.contains(name));
            is_table = false;
        }
        if let Some(set) = ast::LetIn::cast(node.clone()) {
            for entry in set.attrpath_values() {
                let path = entry.attrpath().and_then(|path| names(&path));
                if let (Some([name]), Some(value)) = (path.as_deref(), entry.value())
                    && !matches!(value, Expr::Lambda(_))
                    && self.carried(value, &env, false).is_whole
                {
                    env.insert(name.clone());
                }
            }
        }
        if let Some(apply) = ast::Apply::cast(node.clone()) {
            let is_head = |parent: ast::Apply| parent.lambda().is_some_and(|head| head.syntax() == node);
            if !node.parent().and_then(ast::Apply::cast).is_some_and(is_head) {
                self.apply(&apply, &env, is_table, depth);
            }
        }
        // Each value once: values may name one another, and as often as they like.
        if is_table
            && let Some(ident) = ast::Ident::cast(node.clone())
            && !node
                .parent()
                .is_some_and(|parent| ast::Attrpath::can_cast(parent.kind()))
            && let Some(value) = looked_up(node, &ident.to_string()).map(result)
            && !matches!(value, Expr::Lambda(_))
            && self
                .tables
                .insert((value.syntax().text_range().start().into(), env.clone()))
        {
            self.node(value.syntax(), &env, true, depth + 1);
        }
        for child in node.children() {
            self.node(&child, &env, is_table, depth);
        }
    }

    /// A call: what is called with a host's name, and the functions among its arguments where it goes over names.
    fn apply(&mut self, apply: &ast::Apply, env: &Env, is_table: bool, depth: usize) {
        let (Some(head), arguments) = call(apply) else {
            return;
        };
        let of = |walk: &Self, arguments: &[Expr]| -> Vec<Carried> {
            arguments
                .iter()
                .map(|argument| walk.carried(argument.clone(), env, is_table))
                .collect()
        };
        let carried = of(self, &arguments);
        let goes_over_names = is_table || carried.iter().any(Carried::is_some);
        if let Some((lambda, before)) = self.function(&head, depth) {
            let all = of(self, &before).into_iter().chain(carried).collect();
            self.body_of(lambda, all, depth);
        }
        if !goes_over_names {
            return;
        }
        let is_fold = called(&head).is_some_and(|name| name.starts_with("fold"));
        for argument in &arguments {
            if let Some((lambda, before)) = self.function(argument, depth) {
                let mut all = of(self, &before);
                all.push(Carried::whole(true));
                if is_fold {
                    all.push(Carried::whole(true));
                }
                self.body_of(lambda, all, depth);
            }
        }
    }

    fn body_of(&mut self, lambda: ast::Lambda, carried: Vec<Carried>, depth: usize) {
        let start = lambda.syntax().text_range().start().into();
        let mut env = Env::new();
        let mut body = Expr::Lambda(lambda);
        for carried in carried {
            let Expr::Lambda(next) = result(body.clone()) else {
                break;
            };
            let (Some(param), Some(inner)) = (next.param(), next.body()) else {
                return;
            };
            env.extend(given(&param, &carried));
            body = inner;
        }
        if !env.is_empty() && self.seen.insert((start, env.clone())) {
            self.node(body.syntax(), &env, false, depth + 1);
        }
    }

    /// The function of the flake that an expression is, and the arguments that it has already.
    fn function(&self, expr: &Expr, depth: usize) -> Option<(ast::Lambda, Vec<Expr>)> {
        if depth > DEPTH_MAX {
            return None;
        }
        match result(expr.clone()) {
            Expr::Lambda(lambda) => Some((lambda, vec![])),
            Expr::Ident(ident) => {
                let name = ident.to_string();
                let value = looked_up(ident.syntax(), &name).or_else(|| self.called_so(&name))?;
                self.function(&value, depth + 1)
            }
            Expr::Select(select) => {
                let name = called(&Expr::Select(select))?;
                self.function(&self.called_so(&name)?, depth + 1)
            }
            Expr::Apply(apply) => {
                let (head, arguments) = call(&apply);
                let (lambda, mut before) = self.function(&head?, depth + 1)?;
                before.extend(arguments);
                let mut inner = Expr::Lambda(lambda.clone());
                for _ in &before {
                    let Expr::Lambda(next) = result(inner) else {
                        return None;
                    };
                    inner = next.body()?;
                }
                matches!(result(inner), Expr::Lambda(_)).then_some((lambda, before))
            }
            _ => None,
        }
    }

    /// A function that is bound to a name somewhere in the outputs, as `lib.mkHost`.
    fn called_so(&self, name: &str) -> Option<Expr> {
        let entries = self.body.descendants().filter_map(ast::AttrpathValue::cast);
        let mut values = entries.filter_map(|entry| {
            let last = names(&entry.attrpath()?)?.pop()?;
            (last == name).then(|| entry.value())?
        });
        values.find(|value| matches!(result(value.clone()), Expr::Lambda(_)))
    }

    /// What an expression has of a host's name.
    fn carried(&self, expr: Expr, env: &Env, is_table: bool) -> Carried {
        match result(expr) {
            Expr::Str(text) => {
                let is_host = self.host.is_some() && syntax::string(&text) == self.host;
                Carried::whole(is_host || has_any(text.syntax(), env))
            }
            Expr::Ident(ident) => {
                let name = ident.to_string();
                let is_list = || {
                    let value = looked_up(ident.syntax(), &name).map(result);
                    matches!(
                        value,
                        Some(Expr::List(_) | Expr::AttrSet(_) | Expr::Apply(_) | Expr::BinOp(_))
                    )
                };
                Carried::whole(env.contains(&name) || is_table && is_list())
            }
            Expr::Select(select) => Carried::whole(has_any(select.syntax(), env)),
            Expr::List(list) => {
                let has_it = |item| self.carried(item, env, false).is_whole;
                Carried::whole(is_table || list.items().any(has_it))
            }
            Expr::AttrSet(set) => self.of_set(&set, env, is_table),
            Expr::BinOp(op) => {
                let sides = [op.lhs(), op.rhs()].into_iter().flatten();
                let mut both = Carried::default();
                for side in sides.map(|side| self.carried(side, env, is_table)) {
                    both.is_whole |= side.is_whole;
                    if let Some(parts) = side.parts {
                        both.parts.get_or_insert_default().extend(parts);
                    }
                }
                both
            }
            Expr::Apply(apply) => {
                let has_it = |argument: Expr| self.carried(argument, env, is_table).is_whole;
                Carried::whole(call(&apply).1.into_iter().any(has_it))
            }
            _ => Carried::default(),
        }
    }

    fn of_set(&self, set: &ast::AttrSet, env: &Env, is_table: bool) -> Carried {
        let mut parts = vec![];
        for entry in Bindings::Set(set.clone()).values() {
            let first = entry
                .attrpath()
                .and_then(|path| syntax::name(&path.attrs().next()?));
            if let (Some(first), Some(value)) = (first, entry.value())
                && self.carried(value, env, is_table).is_some()
            {
                parts.push(first);
            }
        }
        for inherit in set.inherits() {
            let is_from = inherit.from().is_some_and(|from| has_any(from.syntax(), env));
            let attrs = inherit.attrs().filter_map(|attr| syntax::name(&attr));
            parts.extend(attrs.filter(|name| is_from || inherit.from().is_none() && env.contains(name)));
        }
        Carried {
            is_whole: is_table,
            parts: Some(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables that a flake makes its hosts of may name one another, and as often as they like.
    #[test]
    fn tables_that_name_one_another_are_walked_once() {
        // Eight times in each: sixteen calls deep that would be 2 to the power of 48 walks.
        let table = |of: &str| format!("{{ {} }}", format!("inherit ({of}) x; a = {of}; ").repeat(4));
        let text = format!(
            "{{ outputs = {{ self, nixpkgs }}: let\n  make = name: import ./hosts/${{name}}.nix;\n  one = {};\n  two = {};\nin {{\n  \
             nixosConfigurations = builtins.mapAttrs (name: _: make name) (one // two);\n}}; }}",
            table("two"),
            table("one")
        );
        let outline = Outline::of(&text).unwrap();
        let value = outline.sets[0].entries("nixosConfigurations")[0]
            .1
            .value()
            .unwrap();
        let paths = paths(&outline, &Made::Table(value), &["hosts"]);
        let found = ByName {
            before: "hosts/".to_owned(),
            behind: ".nix".to_owned(),
        };
        assert_eq!((paths.proven, paths.others), (vec![found], vec![]));
    }
}
