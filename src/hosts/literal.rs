//! Evaluates the simple parts of Nix expressions: strings, lists, sets, names, `++`, `//`, `with`, `inherit`, `import` of a file
//! beside it, `attrValues`.
//!
//! Everything else is refused; nothing is guessed. `evaluate` asks Nix where Nix is installed.

use super::place::result;
use super::syntax::{self, Bindings, call, called, names};
use camino::{Utf8Path, Utf8PathBuf};
use rnix::ast::{self, BinOpKind, Expr, HasEntry};
use rowan::ast::AstNode;
use std::collections::BTreeMap;

/// Deepest Nix expression that is looked into.
const DEPTH_MAX: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    List(Vec<Value>),
    Set(BTreeMap<String, Value>),
}

/// Reads a file below the repository.
pub(crate) type Read<'a> = &'a dyn Fn(&Utf8Path) -> Option<String>;

/// The value of a file.
pub(crate) fn file(path: &Utf8Path, read: Read<'_>) -> Result<Value, String> {
    Reader { read }.file(path, 0)
}

struct Reader<'a> {
    read: Read<'a>,
}

/// A path beside a file, without `..`; `None`: it leads out of the repository.
pub(crate) fn beside(file: &Utf8Path, relative: &str) -> Option<Utf8PathBuf> {
    if relative.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = file.parent()?.components().map(|part| part.as_str()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.iter().collect())
}

impl Reader<'_> {
    fn file(&self, path: &Utf8Path, depth: usize) -> Result<Value, String> {
        let text = (self.read)(path).ok_or_else(|| format!("{path} cannot be read"))?;
        let expr = syntax::parse(&text).map_err(|reason| format!("{path} is not valid Nix: {reason}"))?;
        self.value(expr, path, depth + 1)
    }

    fn value(&self, expr: Expr, path: &Utf8Path, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err("names refer to each other in a loop".to_owned());
        }
        let expr = result(expr);
        let of = |expr: Option<Expr>| {
            expr.ok_or_else(|| "a part is missing".to_owned())
                .and_then(|expr| self.value(expr, path, depth + 1))
        };
        match &expr {
            Expr::Str(text) => syntax::string(text)
                .map(Value::Text)
                .ok_or_else(|| computed(&expr)),
            Expr::List(list) => list
                .items()
                .map(|item| self.value(item, path, depth + 1))
                .collect::<Result<_, _>>()
                .map(Value::List),
            Expr::AttrSet(set) => self.set(set, path, depth),
            Expr::Ident(ident) => self.name(ident, path, depth),
            Expr::Select(select) if select.default_expr().is_none() => {
                let steps = select
                    .attrpath()
                    .and_then(|path| names(&path))
                    .ok_or_else(|| computed(&expr))?;
                steps
                    .iter()
                    .try_fold(of(select.expr())?, |value, step| selected(value, step))
            }
            Expr::BinOp(op) => match (op.operator(), of(op.lhs())?, of(op.rhs())?) {
                (Some(BinOpKind::Concat), Value::List(mut left), Value::List(right)) => {
                    left.extend(right);
                    Ok(Value::List(left))
                }
                (Some(BinOpKind::Update), Value::Set(mut left), Value::Set(right)) => {
                    left.extend(right);
                    Ok(Value::Set(left))
                }
                _ => Err(computed(&expr)),
            },
            Expr::Apply(apply) => {
                let (head, arguments) = call(apply);
                match (head.as_ref().and_then(called).as_deref(), arguments.as_slice()) {
                    (Some("import"), [file]) => {
                        let text = file.syntax().text().to_string();
                        let found = beside(path, &text)
                            .filter(|_| text.starts_with('.') && !text.contains("${"))
                            .ok_or_else(|| computed(&expr))?;
                        self.file(&found, depth + 1)
                    }
                    (Some("attrValues"), [set]) => match of(Some(set.clone()))? {
                        Value::Set(set) => Ok(Value::List(set.into_values().collect())),
                        _ => Err(computed(&expr)),
                    },
                    _ => Err(computed(&expr)),
                }
            }
            _ => Err(computed(&expr)),
        }
    }

    fn set(&self, set: &ast::AttrSet, path: &Utf8Path, depth: usize) -> Result<Value, String> {
        let mut found = BTreeMap::new();
        for entry in set.attrpath_values() {
            let steps = entry.attrpath().and_then(|path| names(&path));
            let (Some(steps), Some(value)) = (steps, entry.value()) else {
                return Err("a name in a set is computed".to_owned());
            };
            insert(&mut found, &steps, self.value(value, path, depth + 1)?)?;
        }
        for inherit in set.inherits() {
            for attr in inherit.attrs() {
                let name = syntax::name(&attr).ok_or("a name that is inherited is computed")?;
                let value = match inherit.from().and_then(|from| from.expr()) {
                    Some(from) => selected(self.value(from, path, depth + 1)?, &name)?,
                    None => self.bound(set.syntax(), &name, path, depth)?,
                };
                found.insert(name, value);
            }
        }
        Ok(Value::Set(found))
    }

    fn name(&self, ident: &ast::Ident, path: &Utf8Path, depth: usize) -> Result<Value, String> {
        match ident.to_string().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            name => self.bound(ident.syntax(), name, path, depth),
        }
    }

    /// What a name is bound to around a place.
    fn bound(
        &self,
        from: &rnix::SyntaxNode,
        name: &str,
        path: &Utf8Path,
        depth: usize,
    ) -> Result<Value, String> {
        for node in from.ancestors().skip(1) {
            let bindings = match ast::LetIn::cast(node.clone()) {
                Some(found) => Bindings::Let(found),
                None => match ast::AttrSet::cast(node.clone()) {
                    Some(found) if found.rec_token().is_some() => Bindings::Set(found),
                    _ => continue,
                },
            };
            if let Some(value) = bindings.value(&[name]) {
                return self.value(value, path, depth + 1);
            }
            if let Some(Some(from)) = bindings.inherited(name) {
                return selected(self.value(from, path, depth + 1)?, name);
            }
        }
        for with in from.ancestors().filter_map(ast::With::cast) {
            let namespace = with.namespace().ok_or("a part is missing")?;
            if let Value::Set(mut set) = self.value(namespace, path, depth + 1)?
                && let Some(value) = set.remove(name)
            {
                return Ok(value);
            }
        }
        Err(format!("{name} is not defined there"))
    }
}

fn computed(expr: &Expr) -> String {
    let text: String = expr
        .syntax()
        .text()
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let cut: String = text.chars().take(60).collect();
    format!("only Nix can evaluate this: {cut}")
}

fn selected(value: Value, step: &str) -> Result<Value, String> {
    match value {
        Value::Set(mut set) => set.remove(step).ok_or_else(|| format!("a set has no {step}")),
        _ => Err(format!("{step} is selected from something that is not a set")),
    }
}

fn insert(set: &mut BTreeMap<String, Value>, steps: &[String], value: Value) -> Result<(), String> {
    match steps {
        [] => Err("a name is missing".to_owned()),
        [last] => {
            set.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => match set
            .entry(first.clone())
            .or_insert_with(|| Value::Set(BTreeMap::new()))
        {
            Value::Set(inner) => insert(inner, rest, value),
            _ => Err(format!("{first} is defined twice")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<Value, String> {
        let read = |path: &Utf8Path| match path.as_str() {
            "secrets/secrets.nix" => Some(text.to_owned()),
            "secrets/keys.nix" => Some("rec { web = \"age1w\"; all = [ web ]; }".to_owned()),
            _ => None,
        };
        file(Utf8Path::new("secrets/secrets.nix"), &read)
    }

    fn keys(text: &str) -> Vec<Value> {
        let Value::Set(set) = value(text).unwrap() else {
            panic!()
        };
        let Value::Set(rule) = &set["a.age"] else { panic!() };
        let Value::List(list) = &rule["publicKeys"] else {
            panic!()
        };
        list.clone()
    }

    #[test]
    fn the_common_forms_of_rules_are_read() {
        let text = |names: &[&str]| {
            names
                .iter()
                .map(|name| Value::Text((*name).to_owned()))
                .collect::<Vec<_>>()
        };
        for (rules, wanted) in [
            ("{ \"a.age\".publicKeys = [ \"age1x\" ]; }", vec!["age1x"]),
            (
                "let u = \"age1u\"; s = [ u ]; in { \"a.age\".publicKeys = s ++ [ u ]; }",
                vec!["age1u", "age1u"],
            ),
            (
                "let k = import ./keys.nix; in { \"a.age\".publicKeys = [ k.web ] ++ k.all; }",
                vec!["age1w", "age1w"],
            ),
            (
                "with import ./keys.nix; { \"a.age\" = { publicKeys = all; armor = true; }; }",
                vec!["age1w"],
            ),
            (
                "let inherit (import ./keys.nix) web; in { \"a.age\".publicKeys = [ web ]; }",
                vec!["age1w"],
            ),
            (
                "let h = { b = \"2\"; a = \"1\"; }; in { \"a.age\".publicKeys = builtins.attrValues h; }",
                vec!["1", "2"],
            ),
        ] {
            assert_eq!(keys(rules), text(&wanted), "{rules}");
        }
    }

    #[test]
    fn what_has_to_be_computed_is_no_value() {
        for rules in [
            "{ \"a.age\".publicKeys = map f [ 1 ]; }",
            "{ \"a.age\".publicKeys = [ \"${x}\" ]; }",
            "let a = b; b = a; in { \"a.age\".publicKeys = a; }",
            "{ \"a.age\".publicKeys = [ nobody ]; }",
            "{ \"a.age\".publicKeys = import ../../x.nix; }",
            "{ ${x} = 1; }",
        ] {
            assert!(value(rules).is_err(), "{rules}");
        }
    }
}
