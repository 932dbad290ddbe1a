//! Adds a host's public key to the rules file of agenix, or to the file of keys that it imports.
//!
//! A key is added beside the keys of other hosts. A list of recipients gets it only if the named neighbour is in the list, or if the
//! list is named as that of all hosts. If several places are possible, nothing is written.
//!
//! `literal` and `evaluate` read the rules, `rekey` handles the secrets.

mod kind;
mod owners;

use super::literal::{self, Read, Value};
use super::names::{attribute, is_identifier, quoted};
use super::syntax::{self, Bindings, Insertion, call, called, names};
use camino::{Utf8Path, Utf8PathBuf};
use rnix::ast::{self, Expr};
use rowan::ast::AstNode;
use std::collections::BTreeMap;

pub(crate) use kind::{Kind, imports, kind};
use owners::ALL_USERS;
pub(crate) use owners::Owners;

/// Names that a set, or a list, of all hosts has.
const ALL_HOSTS: [&str; 10] = [
    "hosts",
    "systems",
    "machines",
    "servers",
    "nodes",
    "allHosts",
    "allSystems",
    "allMachines",
    "hostKeys",
    "systemKeys",
];
/// What a public key begins with.
const KEYS: [&str; 5] = ["age1", "ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];

/// Where rules files are looked for.
pub(crate) const PLACES: [&str; 3] = ["secrets/secrets.nix", "secrets.nix", "secrets/keys.nix"];

/// Who may read a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Rule {
    #[serde(rename = "publicKeys")]
    pub(crate) public_keys: Vec<String>,
    #[serde(rename = "armor")]
    pub(crate) armor: bool,
}

/// The rules by the names of secrets.
pub(crate) type Rules = BTreeMap<String, Rule>;

/// What the rules say, as far as it stands there.
pub(crate) fn as_written(path: &Utf8Path, read: Read<'_>) -> Result<Rules, String> {
    let Value::Set(set) = literal::file(path, read)? else {
        return Err("it is not an attribute set".to_owned());
    };
    let mut rules = Rules::new();
    for (secret, rule) in set {
        let Value::Set(mut rule) = rule else { continue };
        let armor = matches!(rule.remove("armor"), Some(Value::Bool(true)));
        let Some(Value::List(keys)) = rule.remove("publicKeys") else {
            continue;
        };
        let key = |key: Value| match key {
            Value::Text(text) => Ok(text),
            _ => Err(format!("a key of {secret} is not a string")),
        };
        let public_keys = keys.into_iter().map(key).collect::<Result<_, _>>()?;
        rules.insert(secret, Rule { public_keys, armor });
    }
    Ok(rules)
}

/// Files with a new host's key in them.
pub(crate) type Edited = Vec<(Utf8PathBuf, String)>;

/// What comes of writing the key.
#[derive(Debug, Default)]
pub(crate) struct WithKey {
    /// Empty when it is there already.
    pub(crate) edited: Edited,
    /// Lists with a name of all hosts that are not of all of them, and do not get the key.
    pub(crate) of_some: Vec<String>,
}

/// A new host's key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewKey<'a> {
    pub(crate) host: &'a str,
    pub(crate) public: &'a str,
    /// A host whose secrets it shall have, too.
    pub(crate) like: Option<&'a str>,
    /// Hosts that are there.
    pub(crate) hosts: &'a [String],
}

/// Why the key is not written.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// A file that does not parse.
    Parse(Utf8PathBuf, String),
    /// Its form is not one that is edited.
    Form(Utf8PathBuf, String),
    /// The name has another key.
    Taken(Utf8PathBuf, String),
    /// Several sets have keys of hosts; `NewKey::like` tells them apart.
    Several(Utf8PathBuf, String),
}

/// The rules file and what it imports, with the new key in them.
#[expect(
    clippy::indexing_slicing,
    reason = "`group.file` and `n` count `files`, which stay as they are; `insertions` has an element for each"
)]
pub(crate) fn with_key(rules: &Utf8Path, key: NewKey<'_>, read: Read<'_>) -> Result<WithKey, NotWritten> {
    let mut files = vec![];
    for path in related(rules, read)? {
        let text = read(&path).unwrap_or_default();
        let expr = syntax::parse(&text).map_err(|reason| NotWritten::Parse(path.clone(), reason))?;
        files.push(File { path, text, expr });
    }
    let groups: Vec<Group> = files
        .iter()
        .enumerate()
        .flat_map(|(n, file)| file.groups(n))
        .collect();
    // Somebody may have written it there: under another name, or into the lists themselves.
    if is_key_of_host(&groups, &files, key)? || files.iter().any(|file| file.has(key.public)) {
        return Ok(WithKey::default());
    }
    let is_read_whole = files
        .iter()
        .any(|file| WHOLE.iter().any(|word| file.text.contains(word)));
    let group = chosen(&groups, key, is_read_whole, rules)?;
    let mut insertions: Vec<Vec<Insertion>> = files.iter().map(|_| vec![]).collect();
    insertions[group.file].extend(bound(group, &files[group.file], key)?);
    let mut of_some = vec![];
    for (n, file) in files.iter().enumerate() {
        let like = key
            .like
            .map(|like| file.lists_with(like, key.host))
            .unwrap_or_default();
        let Lists { all, some } = if n == group.file {
            file.lists_of_all(group, key)
        } else {
            Lists::default()
        };
        of_some.extend(some);
        // A list gets it once.
        let mut done = vec![];
        for (list, insertion) in like.into_iter().chain(all) {
            if !done.contains(&list) {
                done.push(list);
                insertions[n].push(insertion);
            }
        }
    }
    let mut edited = vec![];
    for (file, insertions) in files.iter().zip(insertions) {
        if !insertions.is_empty() {
            let text = syntax::apply(&file.text, &insertions)
                .map_err(|reason| NotWritten::Form(file.path.clone(), reason))?;
            edited.push((file.path.clone(), text));
        }
    }
    Ok(WithKey { edited, of_some })
}

/// Whether the host has this key already. Another host's key, or another key of this host, is refused.
fn is_key_of_host(groups: &[Group], files: &[File], key: NewKey<'_>) -> Result<bool, NotWritten> {
    for group in groups {
        for (name, public) in &group.keys {
            let same_key = same(public, key.public);
            if same_key && name == key.host {
                return Ok(true);
            }
            let is_of_user = group.is_called(&ALL_USERS);
            if same_key && key.hosts.contains(name) || !same_key && name == key.host && !is_of_user {
                let reason = if same_key {
                    format!("this key already belongs to {name}")
                } else {
                    format!("{name} has another key there: {public}")
                };
                let path = files.get(group.file).map(|file| file.path.clone());
                return Err(NotWritten::Taken(path.unwrap_or_default(), reason));
            }
        }
    }
    Ok(false)
}

/// The key with its name, beside the others of a group.
fn bound(group: &Group, file: &File, key: NewKey<'_>) -> Result<Option<Insertion>, NotWritten> {
    if group.binds(key.host) {
        return Err(NotWritten::Form(
            file.path.clone(),
            format!("the name {} has another meaning beside the keys", key.host),
        ));
    }
    let path: Vec<String> = group
        .prefix
        .iter()
        .map(String::as_str)
        .chain([key.host])
        .map(attribute)
        .collect();
    let line = format!("{} = {};", path.join("."), quoted(key.public));
    Ok(group.bindings.bind(&file.text, &[line], group.last.as_ref()))
}

/// Keys are the same by their first two words; the third is a comment.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let words = |key: &str| {
        key.split_whitespace()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    words(one) == words(other)
}

/// The file and those that it imports by a path that is written there.
fn related(rules: &Utf8Path, read: Read<'_>) -> Result<Vec<Utf8PathBuf>, NotWritten> {
    let mut found = vec![rules.to_owned()];
    let text =
        read(rules).ok_or_else(|| NotWritten::Form(rules.to_owned(), "it cannot be read".to_owned()))?;
    let expr = syntax::parse(&text).map_err(|reason| NotWritten::Parse(rules.to_owned(), reason))?;
    for apply in expr.syntax().descendants().filter_map(ast::Apply::cast) {
        let (head, arguments) = call(&apply);
        if head.as_ref().and_then(called).as_deref() != Some("import") {
            continue;
        }
        let path = arguments
            .first()
            .map(|file| file.syntax().text().to_string())
            .filter(|text| text.starts_with('.'))
            .and_then(|text| literal::beside(rules, &text))
            // A folder is read by its default.nix.
            .map(|path| match path.extension() {
                Some("nix") => path,
                _ => path.join("default.nix"),
            });
        if let Some(path) = path.filter(|path| !found.contains(path) && read(path).is_some()) {
            found.push(path);
        }
    }
    Ok(found)
}

struct File {
    path: Utf8PathBuf,
    text: String,
    expr: Expr,
}

/// Keys that stand beside one another.
struct Group {
    file: usize,
    bindings: Bindings,
    /// What stands before a name in the path of its binding.
    prefix: Vec<String>,
    /// What the set is called.
    called: Option<String>,
    keys: Vec<(String, String)>,
    last: Option<rnix::SyntaxNode>,
}

impl Group {
    fn is_called(&self, names: &[&str]) -> bool {
        self.called
            .as_deref()
            .is_some_and(|called| names.contains(&called))
    }

    /// Whether a name stands there for something.
    fn binds(&self, name: &str) -> bool {
        let is_it = |path: Vec<String>| {
            path.strip_prefix(self.prefix.as_slice())
                .and_then(<[String]>::first)
                .is_some_and(|first| first == name)
        };
        let inherited = self.prefix.is_empty() && self.bindings.inherited(name).is_some();
        inherited
            || self
                .bindings
                .values()
                .iter()
                .any(|entry| entry.attrpath().and_then(|path| names(&path)).is_some_and(is_it))
    }
}

/// Where a list stands in its text, and what is put into it.
type InList = (rowan::TextRange, Insertion);

/// Lists with a name of all hosts.
#[derive(Debug, Default)]
struct Lists {
    /// Those that have every one of them, with the new one in them.
    all: Vec<InList>,
    /// The names of the others: a role may be called so, too.
    some: Vec<String>,
}

impl File {
    /// Whether this key stands somewhere in it.
    fn has(&self, public: &str) -> bool {
        let strings = self.expr.syntax().descendants().filter_map(ast::Str::cast);
        strings
            .filter_map(|text| syntax::string(&text))
            .any(|text| text.lines().any(|line| same(line, public)))
    }

    fn groups(&self, n: usize) -> Vec<Group> {
        let mut found: Vec<Group> = vec![];
        for node in self.expr.syntax().descendants() {
            let bindings = match (ast::LetIn::cast(node.clone()), ast::AttrSet::cast(node)) {
                (Some(set), _) => Bindings::Let(set),
                (None, Some(set)) => Bindings::Set(set),
                (None, None) => continue,
            };
            let mut by_prefix: Vec<Group> = vec![];
            for entry in bindings.values() {
                let Some(path) = entry.attrpath().and_then(|path| names(&path)) else {
                    continue;
                };
                let Some(Expr::Str(text)) = entry.value() else {
                    continue;
                };
                let key =
                    syntax::string(&text).filter(|text| KEYS.iter().any(|begin| text.starts_with(begin)));
                let (Some(key), Some((name, prefix))) = (key, path.split_last()) else {
                    continue;
                };
                let at = by_prefix.iter().position(|group| group.prefix == prefix);
                let at = at.unwrap_or_else(|| {
                    by_prefix.push(Group {
                        file: n,
                        called: prefix.last().cloned().or_else(|| name_of(bindings.node())),
                        bindings: bindings.clone(),
                        prefix: prefix.to_vec(),
                        keys: vec![],
                        last: None,
                    });
                    by_prefix.len() - 1
                });
                if let Some(group) = by_prefix.get_mut(at) {
                    group.keys.push((name.clone(), key));
                    group.last = Some(entry.syntax().clone());
                }
            }
            found.extend(by_prefix);
        }
        found
    }

    /// Lists that are named as those of all hosts, and have names of this group alone, or none yet. One is of all hosts where it has every
    /// key that a host of the flake, or another such list, has.
    fn lists_of_all(&self, group: &Group, key: NewKey<'_>) -> Lists {
        if !group.prefix.is_empty() || !is_identifier(key.host) {
            return Lists::default();
        }
        let is_scope = match &group.bindings {
            Bindings::Let(_) => true,
            Bindings::Set(set) => set.rec_token().is_some(),
        };
        let named = |entry: ast::AttrpathValue| {
            let mut path = names(&entry.attrpath()?)?;
            let name = path.pop().filter(|_| path.is_empty())?;
            match entry.value() {
                Some(Expr::List(list)) if ALL_HOSTS.contains(&name.as_str()) => Some((name, list)),
                _ => None,
            }
        };
        let is_key = |name: &String| group.keys.iter().any(|(key, _)| key == name);
        let members = |list: &ast::List| -> Option<Vec<String>> {
            let name = |item: Expr| match item {
                Expr::Ident(ident) => Some(ident.to_string()).filter(|name| is_key(name)),
                _ => None,
            };
            list.items().map(name).collect()
        };
        let lists: Vec<(String, ast::List, Vec<String>)> = group
            .bindings
            .values()
            .into_iter()
            .filter(|_| is_scope)
            .filter_map(named)
            .filter_map(|(name, list)| Some((name, list.clone(), members(&list)?)))
            .collect();
        let in_lists = lists.iter().flat_map(|(_, _, members)| members);
        let of_hosts: Vec<&String> = in_lists
            .chain(key.hosts.iter().filter(|host| is_key(host)))
            .collect();
        // Of several empty lists none says that it waits for the first host.
        let are_several_empty = self
            .expr
            .syntax()
            .descendants()
            .filter_map(ast::List::cast)
            .filter(|list| list.items().next().is_none())
            .count()
            > 1;
        let mut found = Lists::default();
        for (name, list, members) in &lists {
            if !of_hosts.iter().all(|host| members.contains(host)) || members.is_empty() && are_several_empty
            {
                found.some.push(name.clone());
            } else if let Some(insertion) = syntax::append(&self.text, list, key.host, None) {
                found.all.push((list.syntax().text_range(), insertion));
            }
        }
        found
    }

    /// Lists that have a neighbour: the new host behind it, said as the neighbour is.
    fn lists_with(&self, like: &str, host: &str) -> Vec<InList> {
        let mut found = vec![];
        for list in self.expr.syntax().descendants().filter_map(ast::List::cast) {
            for item in list.items() {
                let said = match &item {
                    Expr::Ident(ident) if ident.to_string() == like && is_identifier(host) => {
                        Some(host.to_owned())
                    }
                    Expr::Select(select) => select.attrpath().and_then(|path| {
                        let last = path.attrs().last()?;
                        (syntax::name(&last).as_deref() == Some(like)).then(|| {
                            let whole = item.syntax().text().to_string();
                            let end = last.syntax().text().to_string();
                            format!(
                                "{}{}",
                                whole.strip_suffix(&end).unwrap_or(&whole),
                                attribute(host)
                            )
                        })
                    }),
                    _ => None,
                };
                let behind = item.syntax().clone();
                let insertion = said.and_then(|said| syntax::append(&self.text, &list, &said, Some(&behind)));
                found.extend(insertion.map(|insertion| (list.syntax().text_range(), insertion)));
            }
        }
        found
    }
}

/// The public keys that the rules have under a name.
pub(crate) fn keys_of(rules: &Utf8Path, name: &str, read: Read<'_>) -> Result<Vec<String>, NotWritten> {
    let (mut found, mut of_users) = (vec![], vec![]);
    for path in related(rules, read)? {
        let text = read(&path).unwrap_or_default();
        let expr = syntax::parse(&text).map_err(|reason| NotWritten::Parse(path.clone(), reason))?;
        // `web = "…"`, `web.key = "…"` and `web = [ "…" ]` alike.
        let named = expr
            .syntax()
            .descendants()
            .filter_map(ast::AttrpathValue::cast)
            .filter(|entry| {
                let path = entry.attrpath().and_then(|path| names(&path));
                path.is_some_and(|path| path.iter().any(|part| part == name))
            });
        for entry in named {
            let Some(value) = entry.value() else { continue };
            let strings = value.syntax().descendants().filter_map(ast::Str::cast);
            let keys = strings
                .filter_map(|text| syntax::string(&text))
                .filter(|text| KEYS.iter().any(|begin| text.starts_with(begin)));
            match is_below_users(entry.syntax()) {
                true => of_users.extend(keys),
                false => found.extend(keys),
            }
        }
    }
    // A user's key may be called after the host that it is used on.
    Ok(if found.is_empty() { of_users } else { found })
}

/// Whether a binding stands in what is named as that of users.
fn is_below_users(node: &rnix::SyntaxNode) -> bool {
    let entries = node.ancestors().filter_map(ast::AttrpathValue::cast);
    let mut paths = entries.filter_map(|entry| names(&entry.attrpath()?));
    paths.any(|path| path.iter().any(|part| ALL_USERS.contains(&part.as_str())))
}

/// The name that a set is bound to.
fn name_of(set: &rnix::SyntaxNode) -> Option<String> {
    let entry = ast::AttrpathValue::cast(set.parent()?)?;
    names(&entry.attrpath()?)?.pop()
}

/// What makes a list of all that is in a set, whatever it is called there.
const WHOLE: [&str; 3] = ["attrValues", "mapAttrs", "attrsToList"];

/// The group of the hosts' keys: the one that has the host of `--like`, or the only one that has a host, or the only one with a name of all
/// hosts. One of which nothing says that it is theirs is taken where it only gives names to keys, and not where a key in it could be one
/// of users.
fn chosen<'a>(
    groups: &'a [Group],
    key: NewKey<'_>,
    is_read_whole: bool,
    rules: &Utf8Path,
) -> Result<&'a Group, NotWritten> {
    let form = |reason: String| NotWritten::Form(rules.to_owned(), reason);
    let has = |group: &Group, host: &str| group.keys.iter().any(|(name, _)| name == host);
    // A user's key may be called after the host that it is used on.
    let of_hosts = || groups.iter().filter(|group| !group.is_called(&ALL_USERS));
    let of_like = of_hosts().filter(|group| key.like.is_some_and(|like| has(group, like)));
    let with_host = of_hosts().filter(|group| key.hosts.iter().any(|host| has(group, host)));
    let named = groups.iter().filter(|group| group.is_called(&ALL_HOSTS));
    for found in [of_like.collect::<Vec<_>>(), with_host.collect(), named.collect()] {
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one),
            several => {
                // A set of all hosts has every one that any of them has.
                let has_all = |group: &&&Group| {
                    let mut hosts = key.hosts.iter();
                    hosts.all(|host| has(group, host) || !several.iter().any(|other| has(other, host)))
                };
                let of_all = several
                    .iter()
                    .filter(|group| group.is_called(&ALL_HOSTS))
                    .filter(has_all);
                if let [one] = of_all.collect::<Vec<_>>().as_slice() {
                    return Ok(one);
                }
                let shown: Vec<&str> = several
                    .iter()
                    .filter_map(|group| group.called.as_deref())
                    .collect();
                let shown = if shown.len() == several.len() {
                    format!(" ({})", shown.join(", "))
                } else {
                    String::new()
                };
                return Err(NotWritten::Several(
                    rules.to_owned(),
                    format!(
                        "it has several sets of keys of hosts{shown}, and landfall cannot tell which one the new host belongs to"
                    ),
                ));
            }
        }
    }
    match groups {
        [] => Err(form(
            "it has no set or let of public keys written as strings".to_owned(),
        )),
        [group] if is_read_whole || group.called.is_some() => Err(form(format!(
            "landfall cannot tell whether the keys in {} belong to hosts",
            group.called.as_deref().unwrap_or("it")
        ))),
        [group] => Ok(group),
        _ => Err(form(
            "it has several sets of public keys, and landfall cannot tell which one is for hosts".to_owned(),
        )),
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
