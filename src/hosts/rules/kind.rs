//! Tells a rules file from other files with a usual name.
//!
//! A rules file gives secrets their `publicKeys`. A function is a module of NixOS, whatever its name is.
//!
//! `hosts::rules` edits it.

use super::related;
use crate::hosts::literal::Read;
use crate::hosts::place::result;
use crate::hosts::syntax::{self, Bindings};
use camino::{Utf8Path, Utf8PathBuf};
use rnix::ast::{self, Expr};
use rowan::ast::AstNode;

/// What a file is that may have the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It gives secrets their public keys.
    Rules,
    /// It names keys, and has no secret yet.
    NoSecretYet,
    /// It is text and no Nix.
    NotNix,
    /// Something else: a function (a module of NixOS), keys alone, data.
    Other,
}

/// What a file is, by its form.
pub(crate) fn kind(path: &Utf8Path, read: Read<'_>) -> Kind {
    // Text has no NUL; what git-crypt wrote has.
    let Some(text) = read(path).filter(|text| !text.contains('\0')) else {
        return Kind::Other;
    };
    let Ok(expr) = syntax::parse(&text) else {
        return Kind::NotNix;
    };
    let value = result(expr.clone());
    if matches!(value, Expr::Lambda(_)) {
        return Kind::Other;
    }
    let has_rules = |path: &Utf8PathBuf| {
        let text = read(path).unwrap_or_default();
        syntax::parse(&text).is_ok_and(|expr| gives_keys(&expr))
    };
    if related(path, read).unwrap_or_default().iter().any(has_rules) {
        return Kind::Rules;
    }
    match (&expr, value) {
        (Expr::LetIn(_) | Expr::With(_), Expr::AttrSet(set)) if Bindings::Set(set.clone()).is_empty() => {
            Kind::NoSecretYet
        }
        _ => Kind::Other,
    }
}

/// Whether something there has `publicKeys`.
fn gives_keys(expr: &Expr) -> bool {
    let is_it =
        |attr: Option<ast::Attr>| attr.and_then(|attr| syntax::name(&attr)).as_deref() == Some("publicKeys");
    expr.syntax().descendants().any(|node| {
        let bound = ast::AttrpathValue::cast(node.clone()).and_then(|entry| entry.attrpath());
        let inherited = ast::Inherit::cast(node);
        bound.is_some_and(|path| is_it(path.attrs().last()))
            || inherited.is_some_and(|inherit| inherit.attrs().any(|attr| is_it(Some(attr))))
    })
}

/// Whether one file reads the other.
pub(crate) fn imports(file: &Utf8Path, other: &Utf8Path, read: Read<'_>) -> bool {
    file != other
        && related(file, read)
            .unwrap_or_default()
            .iter()
            .any(|path| path == other)
}
