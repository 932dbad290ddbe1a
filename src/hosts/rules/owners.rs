//! Tells whose the keys of the rules are, as far as their names say so.
//!
//! A key of which nothing is known may be another host's, unless every host of the flake has a key of its name.
//!
//! `new::gained` asks.

use super::{ALL_HOSTS, File, Group, Rule, Rules, related, same};
use crate::hosts::literal::Read;
use crate::hosts::syntax::{self, names};
use camino::Utf8Path;
use rnix::ast;
use rowan::ast::AstNode;

/// Names that a set, or a list, of users has.
pub(super) const ALL_USERS: [&str; 14] = [
    "users",
    "admins",
    "operators",
    "people",
    "humans",
    "owners",
    "team",
    "ops",
    "user",
    "admin",
    "allUsers",
    "allAdmins",
    "userKeys",
    "adminKeys",
];

/// Whose the keys of the rules are, as far as their names say so.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Keys of hosts, by their names.
    hosts: Vec<(String, String)>,
    users: Vec<String>,
    /// Names of all keys.
    names: Vec<(String, String)>,
    /// Keys in lists beside those of hosts: somebody groups machines there.
    listed: Vec<String>,
    /// Every host of the flake has a key of its name: a key of which nothing is known is none of theirs.
    is_complete: bool,
}

impl Owners {
    /// Reads the rules and what they import.
    pub(crate) fn of(rules: &Utf8Path, new: &str, hosts: &[String], read: Read<'_>) -> Owners {
        let mut files = vec![];
        for path in related(rules, read).unwrap_or_default() {
            let text = read(&path).unwrap_or_default();
            // Whoever writes the key has told of one that does not parse.
            let Ok(expr) = syntax::parse(&text) else {
                continue;
            };
            files.push(File { path, text, expr });
        }
        let groups: Vec<Group> = files
            .iter()
            .enumerate()
            .flat_map(|(n, file)| file.groups(n))
            .collect();
        let in_lists = |called: &[&str]| {
            files
                .iter()
                .flat_map(|file| file.named_in(called))
                .collect::<Vec<_>>()
        };
        let (host_lists, user_lists) = (in_lists(&ALL_HOSTS), in_lists(&ALL_USERS));
        let is_host = |name: &String| name != new && hosts.contains(name);
        let mut found = Owners::default();
        for group in &groups {
            let is_of_users = group.is_called(&ALL_USERS);
            // A set with a name, and not a `let` with all keys in it.
            let is_of_hosts = group.is_called(&ALL_HOSTS)
                || group.called.is_some() && !is_of_users && group.keys.iter().any(|(name, _)| is_host(name));
            for (name, key) in &group.keys {
                found.names.push((name.clone(), key.clone()));
                if is_host(name) && !is_of_users || is_of_hosts || host_lists.contains(name) {
                    found.hosts.push((name.clone(), key.clone()));
                } else if is_of_users || user_lists.contains(name) {
                    found.users.push(key.clone());
                }
            }
        }
        let lists = files.iter().flat_map(File::lists_of_names);
        for names in lists.filter(|names| names.iter().all(|name| !is_host(name) && name != new)) {
            let of_list = found.names.iter().filter(|(name, _)| names.contains(name));
            found.listed.extend(of_list.map(|(_, key)| key.clone()));
        }
        let has_key = |host: &String| found.hosts.iter().any(|(name, _)| name == host);
        let mut others = hosts.iter().filter(|host| *host != new).peekable();
        found.is_complete = others.peek().is_some() && others.all(has_key);
        found
    }

    /// A key that is, or may be, another host's, and cannot read what this rule is for; by its name.
    pub(crate) fn without(&self, rule: &Rule, before: &Rules, new: &str) -> Option<String> {
        let has = |keys: &[String], key: &str| keys.iter().any(|known| same(known, key));
        let may_read = |key: &str| has(&rule.public_keys, key) || same(key, new);
        if let Some((name, _)) = self.hosts.iter().find(|(_, key)| !may_read(key)) {
            return Some(name.clone());
        }
        let mut unknown = before
            .values()
            .flat_map(|rule| &rule.public_keys)
            .filter(|key| !self.is_complete || has(&self.listed, key))
            .filter(|key| !may_read(key) && !has(&self.users, key));
        let key = unknown.next()?;
        let named = self.names.iter().find(|(_, known)| same(known, key));
        Some(named.map_or(key, |(name, _)| name).clone())
    }
}

impl File {
    /// Lists of nothing but names that have a name of their own, and not that of users.
    fn lists_of_names(&self) -> Vec<Vec<String>> {
        let entries = self
            .expr
            .syntax()
            .descendants()
            .filter_map(ast::AttrpathValue::cast);
        let list = |entry: ast::AttrpathValue| {
            let path = entry.attrpath().and_then(|path| names(&path))?;
            let is_of_hosts = |name: &String| name != "publicKeys" && !ALL_USERS.contains(&name.as_str());
            let (true, Some(ast::Expr::List(list))) = (
                matches!(path.as_slice(), [name] if is_of_hosts(name)),
                entry.value(),
            ) else {
                return None;
            };
            let name = |item| match item {
                ast::Expr::Ident(ident) => Some(ident.to_string()),
                _ => None,
            };
            list.items().map(name).collect()
        };
        entries.filter_map(list).collect()
    }

    /// The names in what is bound to one of these names.
    fn named_in(&self, called: &[&str]) -> Vec<String> {
        let entries = self
            .expr
            .syntax()
            .descendants()
            .filter_map(ast::AttrpathValue::cast);
        let is_it = |entry: &ast::AttrpathValue| {
            let path = entry.attrpath().and_then(|path| names(&path));
            matches!(path.as_deref(), Some([name]) if called.contains(&name.as_str()))
        };
        let values = entries.filter(is_it).filter_map(|entry| entry.value());
        values
            .flat_map(|value| {
                value
                    .syntax()
                    .descendants()
                    .filter_map(ast::Ident::cast)
                    .collect::<Vec<_>>()
            })
            .map(|ident| ident.to_string())
            .collect()
    }
}
