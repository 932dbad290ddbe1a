//! The lines of a neighbour, as a template for a new host.
//!
//! Where the neighbour's name is a word, there is a mark for the new name, but not in a path that may belong to another module.
//! Everything else that may belong to that one machine is reported, unless a second neighbour has it too.
//!
//! `hosts::flake` chooses the neighbour.

use super::NAME;
use crate::hosts::syntax::{self, Bindings};
use rnix::ast::{self, Expr};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode;

/// Stands for the mark where a text has to parse: a word that no flake has.
const PARSED_NAME: &str = "landfall0new0host";
/// Lists of modules, and other values that hosts share: what is in them is named only where it says what the machine is.
const SHARED: [&str; 4] = ["modules", "imports", "specialArgs", "extraSpecialArgs"];

/// Whether a string goes over several lines.
pub(super) fn has_long_string(node: &SyntaxNode) -> bool {
    node.descendants()
        .filter_map(ast::Str::cast)
        .any(|text| text.syntax().text().contains_char('\n'))
}

/// The names of the hosts in a set; one that is computed as it is written.
pub(super) fn hosts_below(bindings: &Bindings, prefix: &[String]) -> Vec<String> {
    let mut found = vec![];
    for entry in bindings.values() {
        let attrs: Vec<ast::Attr> = entry
            .attrpath()
            .into_iter()
            .flat_map(|path| path.attrs())
            .collect();
        let is_below = prefix
            .iter()
            .enumerate()
            .all(|(n, part)| attrs.get(n).and_then(syntax::name).as_ref() == Some(part));
        let Some(host) = attrs.get(prefix.len()).filter(|_| is_below) else {
            continue;
        };
        let host = syntax::name(host).unwrap_or_else(|| host.syntax().text().to_string());
        if !found.contains(&host) {
            found.push(host);
        }
    }
    found
}

/// A system of Nix with Linux, as `x86_64-linux`.
fn is_system(text: &str) -> bool {
    text.strip_suffix("-linux")
        .is_some_and(|cpu| !cpu.is_empty() && cpu.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// The systems that stand there as texts, once each.
pub(super) fn systems(node: &SyntaxNode) -> Vec<String> {
    let mut found = vec![];
    for text in node.descendants().filter_map(ast::Str::cast) {
        let system = syntax::string(&text).filter(|text| is_system(text));
        found.extend(system.filter(|system| !found.contains(system)));
    }
    found
}

/// The same text for another system; and which one it had, where that was another.
pub(super) fn of_system(value: &str, wanted: &str) -> (String, Option<String>) {
    let parsed = rnix::Root::parse(&value.replace(NAME, PARSED_NAME));
    let other = systems(&parsed.syntax())
        .into_iter()
        .filter(|system| system != wanted)
        .collect::<Vec<_>>();
    // Several are a list of systems, and not that of a host.
    match other.as_slice() {
        [other] => (
            value.replace(&format!("\"{other}\""), &format!("\"{wanted}\"")),
            Some(other.clone()),
        ),
        _ => (value.to_owned(), None),
    }
}

/// What may be of one host alone: texts, numbers, truths, paths from the root, and what is named after hardware or after the host. By the
/// name that is bound to it, or as it stands.
pub(super) fn own_values(value: &str, host: &str) -> Vec<String> {
    let Ok(parsed) = syntax::parse(&value.replace(NAME, PARSED_NAME)) else {
        return vec![];
    };
    let mut found: Vec<String> = vec![];
    for node in parsed.syntax().descendants() {
        let Some(expr) = Expr::cast(node.clone()) else {
            continue;
        };
        let is_in_name = node
            .ancestors()
            .any(|above| above.kind() == SyntaxKind::NODE_ATTRPATH);
        let path = names_above(&node);
        let is_shared = path.iter().any(|name| SHARED.contains(&name.as_str()));
        let is_named_so = is_named_after(&expr, host);
        if is_in_name || !is_named_so && !is_own(&expr, is_shared) {
            continue;
        }
        let bound = path.join(".");
        let is_known = matches!(
            path.last().map(String::as_str),
            Some("system" | "hostPlatform" | "stateVersion")
        );
        let shown = match bound.as_str() {
            "" => node.text().to_string(),
            _ if is_shared || !is_own(&expr, is_shared) => node.text().to_string(),
            _ => bound,
        };
        let shown = shown.replace(PARSED_NAME, "NAME");
        if !is_known && !found.contains(&shown) {
            found.push(shown);
        }
    }
    let inherited = parsed.syntax().descendants().filter_map(ast::Inherit::cast);
    for attr in inherited.flat_map(|inherit| inherit.attrs().collect::<Vec<_>>()) {
        let name = attr.syntax().text().to_string();
        if has_word(&name, host) && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// Parts of the names of files that describe one machine.
const OF_MACHINE: [&str; 3] = ["hardware", "disk", "configuration.nix"];

/// A path, or a name of something, that is called after the host or after a machine's hardware.
fn is_named_after(expr: &Expr, host: &str) -> bool {
    let text = expr.syntax().text().to_string();
    let is_of_machine = || {
        OF_MACHINE
            .iter()
            .any(|part| text.to_ascii_lowercase().contains(part))
    };
    let is_adapted = text.contains(PARSED_NAME);
    match expr {
        Expr::Path(_) => has_word(&text, host) || !is_adapted && is_of_machine(),
        // `"${self}/hardware-configuration.nix"`
        Expr::Str(text_of) => {
            syntax::string(text_of).is_none() && (has_word(&text, host) || !is_adapted && is_of_machine())
        }
        Expr::Ident(_) | Expr::Select(_) => has_word(&text, host),
        _ => false,
    }
}

/// Whether a word stands in a name, as a part of it that begins and ends by case or by a sign: `web` in `webModules`, `my-web`, `ofWeb`.
fn has_word(text: &str, word: &str) -> bool {
    let (lower, word) = (text.to_ascii_lowercase(), word.to_ascii_lowercase());
    lower.match_indices(&word).any(|(at, found)| {
        let first = text.get(at..).and_then(|rest| rest.chars().next());
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let behind = text
            .get(at + found.len()..)
            .and_then(|behind| behind.chars().next());
        let begins = before.is_none_or(|c| {
            !c.is_alphanumeric() || c.is_lowercase() && first.is_some_and(char::is_uppercase)
        });
        begins && behind.is_none_or(|c| !c.is_lowercase())
    })
}

/// The names of the bindings that a value is in, the outermost first.
fn names_above(node: &SyntaxNode) -> Vec<String> {
    let entries = node.ancestors().filter_map(ast::AttrpathValue::cast);
    let mut paths: Vec<String> = entries
        .filter_map(|entry| Some(entry.attrpath()?.syntax().text().to_string()))
        .collect();
    paths.reverse();
    paths
        .iter()
        .flat_map(|path| path.split('.').map(str::to_owned))
        .collect()
}

/// Whether a value may be of one host alone. One with the host's name in it is the new one's, unless it has a number besides.
fn is_own(expr: &Expr, is_shared: bool) -> bool {
    let text = expr.syntax().text().to_string();
    let rest = text.replace(PARSED_NAME, "");
    let is_adapted = rest != text && !rest.bytes().any(|b| b.is_ascii_digit());
    match expr {
        Expr::Str(plain) => {
            let is_plain = syntax::string(plain).is_some();
            let is_nothing = text.trim_matches('"').is_empty() || is_system(text.trim_matches('"'));
            !is_adapted && !is_nothing && (!is_shared || is_plain)
        }
        Expr::Literal(_) => true,
        // `true`, `false` and `null` are names for Nix.
        Expr::Ident(_) => !is_shared && matches!(text.as_str(), "true" | "false"),
        Expr::Path(_) => !is_adapted && (text.starts_with(['/', '~']) || !is_shared),
        Expr::Select(_) => text.to_ascii_lowercase().contains("hardware"),
        _ => false,
    }
}

/// The text of a neighbour's value, with a mark where its name is a word of a string, of a path of attributes, or of a path of files that is
/// the host's. Line ends are those of Unix.
pub(super) fn renamed(node: &SyntaxNode, host: &str, is_of_host: &dyn Fn(&str) -> bool) -> String {
    let plain = syntax::without_comments(node).replace('\r', "");
    let parsed = rnix::Root::parse(&plain);
    let mut out = String::new();
    for token in parsed
        .syntax()
        .descendants_with_tokens()
        .filter_map(rowan::NodeOrToken::into_token)
    {
        let is_name = match token.kind() {
            SyntaxKind::TOKEN_PATH => is_of_host(token.text()),
            SyntaxKind::TOKEN_STRING_CONTENT => match whole_path(&token) {
                Some(path) => is_of_host(&path),
                None => true,
            },
            SyntaxKind::TOKEN_IDENT => {
                let mut above = token.parent_ancestors();
                let path = above.find(|node| node.kind() == SyntaxKind::NODE_ATTRPATH);
                let selected = path
                    .as_ref()
                    .and_then(SyntaxNode::parent)
                    .and_then(ast::Select::cast);
                match (path, selected) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    // `nixosModules.web` as a path: it is the host's below `hosts` alone.
                    (Some(_), Some(select)) => {
                        let whole = select.syntax().text().to_string().replace('.', "/");
                        is_of_host(&whole)
                    }
                }
            }
            _ => false,
        };
        if is_name {
            out.push_str(&word_replaced(token.text(), host));
        } else {
            out.push_str(token.text());
        }
    }
    out
}

/// A text of several names as a path of files: `./modules + "/web.nix"`, `"${self}/modules/web.nix"`.
fn whole_path(token: &rnix::SyntaxToken) -> Option<String> {
    let text = token.text();
    if !text.contains('/') {
        return None;
    }
    let string = token.parent()?;
    let sum = string.parent().and_then(ast::BinOp::cast);
    let left = sum
        .and_then(|sum| sum.lhs())
        .filter(|left| left.syntax() != &string);
    let before = left
        .map(|left| left.syntax().text().to_string())
        .unwrap_or_default();
    Some(format!("{}{text}", before.trim_end_matches('/')))
}

fn word_replaced(text: &str, word: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let (mut out, mut from) = (String::new(), 0);
    for (at, found) in text.match_indices(word) {
        let (before, behind) = (text.get(..at), text.get(at + found.len()..));
        let is_word = before.is_some_and(|before| !before.ends_with(is_part))
            && behind.is_some_and(|behind| !behind.starts_with(is_part));
        if is_word && at >= from {
            out.push_str(text.get(from..at).unwrap_or_default());
            out.push_str(NAME);
            from = at + found.len();
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_of_one_machine_is_named() {
        for (value, own) in [
            ("make \"web\" \"10.0.0.5\"", "\"10.0.0.5\""),
            ("make \"web\" 5 true", "5, true"),
            ("{ disk = /dev/disk/by-id/x-1; }", "disk"),
            ("{ keys = [ \"ssh-ed25519 A\" \"b\" ]; }", "keys"),
            ("{ surname = \"surname\"; a.b = \"x\"; }", "surname, a.b"),
            ("{ net = { ip = \"10.0.0.1\"; mask = 24; }; }", "net.ip, net.mask"),
            ("{ vm = false; gui = null; }", "vm"),
            ("{ file = ./disks/thin.nix; }", "file"),
            ("{ ip = \"10.0.0.${toString 5}\"; }", "ip"),
            ("{ mail = \"web at 10.0.0.1\"; }", "mail"),
            ("{ url = https://forge.example/x; }", "url"),
            ("f { modules = [ hw.nixosModules.lenovo ]; }", ""),
            (
                "f { modules = [ ./hosts/web ./hardware-configuration.nix ./disks/web-disk.nix ]; }",
                "./hardware-configuration.nix, ./disks/web-disk.nix",
            ),
            (
                "f { modules = [ (./modules + \"/web.nix\") \"${self}/disks.nix\" ]; }",
                "\"/web.nix\", \"${self}/disks.nix\"",
            ),
            ("f \"web\" webModules ofWeb website", "webModules, ofWeb"),
            (
                "f { inherit webModules; modules = [ self.nixosModules.web ./modules/web.nix ]; }",
                "webModules, self.nixosModules.web, ./modules/web.nix",
            ),
            (
                "f { modules = [ nixos-hardware.nixosModules.x1 { net.ip = \"10.0.0.1\"; } ]; }",
                "nixos-hardware.nixosModules.x1, \"10.0.0.1\"",
            ),
            // What every host of the flake has.
            (
                "f { system = \"x86_64-linux\"; modules = [ ./hosts/web ./common.nix ]; }",
                "",
            ),
            (
                "f { specialArgs = { inherit inputs; }; modules = [ \"${inputs.a}/b.nix\" ]; }",
                "",
            ),
            (
                "{ system.stateVersion = \"25.05\"; name = \"web\"; dns = \"web.example\"; }",
                "",
            ),
        ] {
            let parsed = rnix::Root::parse(value);
            let text = renamed(&parsed.syntax(), "web", &|path| path.contains("hosts/"));
            assert_eq!(own_values(&text, "web").join(", "), own, "{value}");
        }
    }

    #[test]
    fn a_value_is_written_for_the_system_that_is_wanted() {
        let arm = "{ system = \"aarch64-linux\"; }";
        let (text, other) = of_system(arm, "x86_64-linux");
        assert_eq!(
            (text.as_str(), other.as_deref()),
            ("{ system = \"x86_64-linux\"; }", Some("aarch64-linux"))
        );
        assert_eq!(of_system(arm, "aarch64-linux"), (arm.to_owned(), None));
        let several = "f [ \"aarch64-linux\" \"riscv64-linux\" ]";
        assert_eq!(of_system(several, "x86_64-linux"), (several.to_owned(), None));
    }
}
