//! Adds a host's public key to the rules file of agenix, or to the file of keys that it imports.
//!
//! A key is added beside the keys of other hosts. A list of recipients gets it only if the named neighbour is in the list, or if the
//! list is named as that of all hosts. If several places are possible, nothing is written.
//!
//! `literal` and `evaluate` read the rules, `rekey` handles the secrets.

use super::literal::{self, Read, Value};
use super::names::{attribute, is_identifier, quoted};
use super::syntax::{self, Bindings, Insertion, call, called, names};
use camino::{Utf8Path, Utf8PathBuf};
use rnix::ast::{self, Expr};
use rowan::ast::AstNode;
use std::collections::BTreeMap;

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
}

/// The rules file and what it imports, with the new key in them; empty when it is there already.
pub(crate) fn with_key(rules: &Utf8Path, key: NewKey<'_>, read: Read<'_>) -> Result<Edited, NotWritten> {
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
    for group in &groups {
        for (name, public) in &group.keys {
            let same_key = same(public, key.public);
            if same_key && name == key.host {
                return Ok(vec![]);
            }
            if same_key && key.hosts.contains(name) || !same_key && name == key.host {
                let reason = if same_key {
                    format!("this key already belongs to {name}")
                } else {
                    format!("{name} has another key there: {public}")
                };
                return Err(NotWritten::Taken(files[group.file].path.clone(), reason));
            }
        }
    }
    // Somebody wrote it there: under another name, or into the lists themselves.
    if files.iter().any(|file| file.has(key.public)) {
        return Ok(vec![]);
    }
    let is_read_whole = files
        .iter()
        .any(|file| WHOLE.iter().any(|word| file.text.contains(word)));
    let group = chosen(&groups, key.hosts, is_read_whole)
        .map_err(|reason| NotWritten::Form(rules.to_owned(), reason))?;
    let mut insertions: Vec<Vec<Insertion>> = files.iter().map(|_| vec![]).collect();
    let file = &files[group.file];
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
    let bound = group.bindings.bind(&file.text, &[line], group.last.as_ref());
    insertions[group.file].extend(bound);
    for (n, file) in files.iter().enumerate() {
        let like = key
            .like
            .map(|like| file.lists_with(like, key.host))
            .unwrap_or_default();
        let all = if n == group.file {
            file.lists_of_all(group, key.host)
        } else {
            vec![]
        };
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
    Ok(edited)
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

    /// Lists that are named as those of all hosts, and have names of this group alone, or none yet.
    fn lists_of_all(&self, group: &Group, host: &str) -> Vec<InList> {
        if !group.prefix.is_empty() || !is_identifier(host) {
            return vec![];
        }
        let known = |item: &Expr| matches!(item, Expr::Ident(ident) if group.keys.iter().any(|(name, _)| *name == ident.to_string()));
        let is_scope = match &group.bindings {
            Bindings::Let(_) => true,
            Bindings::Set(set) => set.rec_token().is_some(),
        };
        let lists = group
            .bindings
            .values()
            .into_iter()
            .filter(|_| is_scope)
            .filter_map(|entry| {
                let path = names(&entry.attrpath()?)?;
                let is_all = path.len() == 1 && ALL_HOSTS.contains(&path.first()?.as_str());
                match entry.value() {
                    Some(Expr::List(list)) if is_all => Some(list),
                    _ => None,
                }
            });
        lists
            .filter(|list| list.items().all(|item| known(&item)))
            .filter_map(|list| {
                let insertion = syntax::append(&self.text, &list, host, None)?;
                Some((list.syntax().text_range(), insertion))
            })
            .collect()
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
    let mut found = vec![];
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
        let strings = named.filter_map(|entry| entry.value()).flat_map(|value| {
            value
                .syntax()
                .descendants()
                .filter_map(ast::Str::cast)
                .collect::<Vec<_>>()
        });
        found.extend(
            strings
                .filter_map(|text| syntax::string(&text))
                .filter(|text| KEYS.iter().any(|begin| text.starts_with(begin))),
        );
    }
    Ok(found)
}

/// The name that a set is bound to.
fn name_of(set: &rnix::SyntaxNode) -> Option<String> {
    let entry = ast::AttrpathValue::cast(set.parent()?)?;
    names(&entry.attrpath()?)?.pop()
}

/// What makes a list of all that is in a set, whatever it is called there.
const WHOLE: [&str; 3] = ["attrValues", "mapAttrs", "attrsToList"];

/// The group of the hosts' keys. One of which nothing says that it is theirs is taken where it only gives names to keys, and not where
/// a key in it could be one of users.
fn chosen<'a>(groups: &'a [Group], hosts: &[String], is_read_whole: bool) -> Result<&'a Group, String> {
    let worth = |group: &Group| {
        let is_named = group
            .called
            .as_deref()
            .is_some_and(|called| ALL_HOSTS.contains(&called));
        let has_host = group.keys.iter().any(|(name, _)| hosts.contains(name));
        (has_host, is_named)
    };
    let Some(best) = groups.iter().map(worth).max() else {
        return Err("it has no set or let of public keys written as strings".to_owned());
    };
    let mut of_best = groups.iter().filter(|group| worth(group) == best);
    match (of_best.next(), of_best.next()) {
        (Some(group), None) if best == (false, false) && (is_read_whole || group.called.is_some()) => {
            Err(format!(
                "landfall cannot tell whether the keys in {} belong to hosts",
                group.called.as_deref().unwrap_or("it")
            ))
        }
        (Some(group), None) => Ok(group),
        _ => Err(
            "it has several sets of public keys, and landfall cannot tell which one is for hosts".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(
        rules: &str,
        keys: &str,
        like: Option<&str>,
        hosts: &[&str],
    ) -> Result<Vec<(String, String)>, NotWritten> {
        let read = |path: &Utf8Path| match path.as_str() {
            "secrets/secrets.nix" => Some(rules.to_owned()),
            "secrets/keys.nix" if !keys.is_empty() => Some(keys.to_owned()),
            _ => None,
        };
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = NewKey {
            host: "web",
            public: "age1new",
            like,
            hosts: &hosts,
        };
        let edited = with_key(Utf8Path::new("secrets/secrets.nix"), key, &read)?;
        Ok(edited
            .into_iter()
            .map(|(path, text)| (path.to_string(), text))
            .collect())
    }

    fn one(rules: &str, like: Option<&str>, hosts: &[&str]) -> String {
        edited(rules, "", like, hosts).unwrap().remove(0).1
    }

    /// A set of users that is read whole: a key in it would be one of theirs.
    #[test]
    fn a_hosts_key_is_none_of_the_users() {
        let whole = "let k = import ./keys.nix; in { \"a.age\".publicKeys = builtins.attrValues k.users; }";
        for (rules, keys) in [
            (whole, "{ users = { alice = \"ssh-ed25519 AAAA\"; }; }"),
            (whole, "{ users.alice = \"ssh-ed25519 AAAA\"; }"),
            (
                "let k = import ./keys.nix; in { \"a.age\".publicKeys = [ k.users.alice ]; }",
                "{ users.alice = \"ssh-ed25519 AAAA\"; }",
            ),
            (
                "let k = import ./keys.nix; in { \"a.age\".publicKeys = builtins.attrValues k; }",
                "{ alice = \"ssh-ed25519 AAAA\"; }",
            ),
        ] {
            let refused = edited(rules, keys, None, &[]);
            assert!(
                matches!(refused, Err(NotWritten::Form(..))),
                "{keys}: {refused:?}"
            );
        }
        // Where a host's key is in it, it is theirs.
        let hosts = "{ hosts = { db = \"ssh-ed25519 BBBB\"; }; }";
        let rules = "let k = import ./keys.nix; in { \"a.age\".publicKeys = builtins.attrValues k.hosts; }";
        assert_eq!(edited(rules, hosts, None, &["db"]).unwrap().len(), 1);
    }

    #[test]
    fn the_first_host_goes_into_the_list_that_waits_for_it() {
        let before = "let\n  op = \"ssh-ed25519 AAAA\";\n  systems = [ ];\nin\n{ \"a.age\".publicKeys = [ op ] ++ systems; }\n";
        let after = edited(before, "", None, &[]).unwrap().remove(0).1;
        assert!(
            after.contains("systems = [ web ];") && after.contains("web = \"age1"),
            "{after}"
        );
    }

    #[test]
    fn the_form_of_the_agenix_tutorial_gets_the_key_and_the_list() {
        let before = "let\n  alice = \"ssh-ed25519 AAAA\";\n  users = [ alice ];\n\n  db = \"ssh-ed25519 BBBB\";\n  systems = [ db ];\nin\n{\n  \
                      \"a.age\".publicKeys = users ++ systems;\n  \"b.age\".publicKeys = [ db ];\n}\n";
        let after = one(before, None, &["db"]);
        assert_eq!(
            after,
            before
                .replace("BBBB\";\n", "BBBB\";\n  web = \"age1new\";\n")
                .replace("[ db ];\nin", "[ db web ];\nin")
        );
        let read = |_: &Utf8Path| Some(after.clone());
        let rules = as_written(Utf8Path::new("secrets.nix"), &read).unwrap();
        assert!(rules["a.age"].public_keys.contains(&"age1new".to_owned()));
        assert!(
            !rules["b.age"].public_keys.contains(&"age1new".to_owned()),
            "nobody asked for it"
        );
        let like = one(before, Some("db"), &["db"]);
        assert!(like.contains("\"b.age\".publicKeys = [ db web ];"), "{like}");
        assert_eq!(like.matches("[ db web ]").count(), 2, "{like}");
    }

    #[test]
    fn a_file_of_keys_that_is_imported_gets_the_key() {
        let rules = "let keys = import ./keys.nix; in {\n  \"a.age\".publicKeys = [ keys.users.op keys.hosts.db ];\n}\n";
        let keys = "{\n  users.op = \"ssh-ed25519 AAAA\";\n  hosts = {\n    db = \"age1db\"; # the database\n  };\n}\n";
        let after = edited(rules, keys, Some("db"), &[]).unwrap();
        assert_eq!(after.len(), 2);
        assert_eq!(
            after[0].1,
            rules.replace("keys.hosts.db", "keys.hosts.db keys.hosts.web")
        );
        assert_eq!(
            after[1].1,
            keys.replace("# the database\n", "# the database\n    web = \"age1new\";\n")
        );
        let dotted = "{\n  users.op = \"ssh-ed25519 AAAA\";\n  hosts.db = \"age1db\";\n}\n";
        let after = edited(rules, dotted, None, &[]).unwrap();
        assert_eq!(
            after,
            [(
                "secrets/keys.nix".to_owned(),
                dotted.replace("age1db\";\n", "age1db\";\n  hosts.web = \"age1new\";\n")
            )]
        );
    }

    #[test]
    fn a_key_that_is_there_is_not_written_again() {
        let there = "let web = \"age1new\"; in { \"a.age\".publicKeys = [ web ]; }";
        assert!(edited(there, "", None, &[]).unwrap().is_empty());
        let other = "let web = \"age1other\"; in { \"a.age\".publicKeys = [ web ]; }";
        assert!(matches!(edited(other, "", None, &[]), Err(NotWritten::Taken(..))));
        let db = "let db = \"age1new\"; in { \"a.age\".publicKeys = [ db ]; }";
        assert!(matches!(
            edited(db, "", None, &["db"]),
            Err(NotWritten::Taken(..))
        ));
    }

    #[test]
    fn what_somebody_wrote_by_hand_is_taken_as_it_is() {
        for rules in [
            "{ \"a.age\".publicKeys = [ \"age1x\" \"age1new\" ]; }",
            "let web.key = \"age1new\"; db.key = \"age1x\"; in { \"a.age\".publicKeys = [ web.key ]; }",
            "let of_web = \"age1new\"; web = [ of_web ]; in { \"a.age\".publicKeys = web; }",
        ] {
            assert!(edited(rules, "", None, &["db"]).unwrap().is_empty(), "{rules}");
            // The control: with another key the same rules are not edited.
            let other = rules.replace("age1new", "age1other");
            assert!(edited(&other, "", None, &["db"]).is_err(), "{other}");
        }
    }

    #[test]
    fn a_name_that_stands_for_something_else_is_not_bound_again() {
        for rules in [
            "let op = \"age1x\"; web = [ op ]; in { \"a.age\".publicKeys = web; }",
            "let op = \"age1x\"; web.x = 1; in { \"a.age\".publicKeys = [ op ]; }",
            "let op = \"age1x\"; inherit (import ./x.nix) web; in { \"a.age\".publicKeys = [ op ]; }",
        ] {
            let said = edited(rules, "", None, &["op"]);
            assert!(
                matches!(&said, Err(NotWritten::Form(_, why)) if why.contains("another meaning")),
                "{rules}: {said:?}"
            );
        }
    }

    #[test]
    fn a_list_gets_the_host_once_beside_its_neighbour() {
        let rules = "let\n  db = \"age1y\";\n  old = \"age1z\";\n  systems = [ db old ];\nin { \"a.age\".publicKeys = systems; }";
        let text = one(rules, Some("db"), &["db", "old"]);
        assert!(text.contains("systems = [ db web old ];"), "{text}");
    }

    #[test]
    fn where_several_places_are_possible_nothing_is_written() {
        for rules in [
            "{ \"a.age\".publicKeys = [ \"age1x\" ]; }",
            "let a = { x = \"age1x\"; }; b = { y = \"age1y\"; }; in { \"a.age\".publicKeys = [ a.x ]; }",
        ] {
            assert!(
                matches!(edited(rules, "", None, &[]), Err(NotWritten::Form(..))),
                "{rules}"
            );
        }
        assert!(matches!(
            edited("let a = ; in a", "", None, &[]),
            Err(NotWritten::Parse(..))
        ));
        // One of them has a host that is there.
        let two =
            "let a = { x = \"age1x\"; }; b = { db = \"age1y\"; }; in { \"a.age\".publicKeys = [ a.x ]; }";
        assert!(one(two, None, &["db"]).contains("db = \"age1y\"; web = \"age1new\";"));
    }
}
