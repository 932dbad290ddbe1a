//! Licences: every crate that the workspace is built of has a licence that deny.toml allows, to all or to it by name.
//!
//! cargo-deny looks too, where it is installed, without the network; here the same list is compared with what Cargo says.
//! Only cargo-deny reads licence texts inside the crates. Advisories, which come over the network, are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;
use toml_edit::{DocumentMut, Item};

use super::{Found, Tree, version};
use crate::command;

/// Looks at every package.
pub(super) fn check(tree: &Tree) -> Result<Found> {
    let rules = Rules::of(&tree.read("deny.toml")?)?;
    let mut packages = BTreeMap::new();
    for target in &rules.targets {
        let metadata = version::metadata_with(tree, &["--filter-platform", target])?;
        packages.extend(self::packages(&metadata));
    }
    let mut wrong: Vec<String> = packages
        .values()
        .filter_map(|package| rules.refuses(package))
        .collect();
    if packages.len() < 50 {
        wrong.push(format!("Cargo names only {} packages", packages.len()));
    }
    let mut by = "cargo-deny is not installed";
    if command::find("cargo-deny").is_some() {
        by = "cargo-deny agrees";
        let output = tree
            .cargo(
                &tree.root,
                &["deny", "--offline", "check", "licenses", "bans", "sources"],
            )
            .output()?;
        if output.status != 0 {
            wrong.push(format!("cargo-deny: {}", command::tail(&output.error_text(), 20)));
        }
    }
    Ok(Found::of(wrong, || {
        format!(
            "{} packages, each with a licence that deny.toml allows; {by}",
            packages.len()
        )
    }))
}

/// A package that is not the workspace's own.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
}

/// Those that are built for the platform that Cargo was asked about, by their ids.
fn packages(metadata: &Value) -> BTreeMap<String, Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let own = metadata["workspace_members"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let built: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["id"].as_str())
        .collect();
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| !own.contains(&package["id"]))
        .filter_map(|package| {
            let id = text(&package["id"]).filter(|id| built.contains(id.as_str()))?;
            let package = Package {
                name: text(&package["name"]).unwrap_or_default(),
                version: text(&package["version"]).unwrap_or_default(),
                licence: text(&package["license"]),
            };
            Some((id, package))
        })
        .collect()
}

/// What deny.toml allows.
struct Rules {
    /// The platforms that are looked at.
    targets: BTreeSet<String>,
    allowed: BTreeSet<String>,
    /// By name of the crate.
    exceptions: BTreeMap<String, BTreeSet<String>>,
}

fn names(item: &Item) -> BTreeSet<String> {
    item.as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

impl Rules {
    fn of(text: &str) -> Result<Rules> {
        let document: DocumentMut = text.parse().context("deny.toml is no TOML")?;
        let licences = &document["licenses"];
        let exceptions = licences["exceptions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|value| value.as_inline_table())
            .filter_map(|table| {
                let allowed = table
                    .get("allow")?
                    .as_array()?
                    .iter()
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect();
                Some((table.get("crate")?.as_str()?.to_owned(), allowed))
            })
            .collect();
        Ok(Rules {
            targets: names(&document["graph"]["targets"]),
            allowed: names(&licences["allow"]),
            exceptions,
        })
    }

    fn refuses(&self, package: &Package) -> Option<String> {
        let Package {
            name,
            version,
            licence,
        } = package;
        let Some(licence) = licence else {
            return Some(format!(
                "{name} {version} names no licence: look at its source, and leave it out unless it has one"
            ));
        };
        let allows = |id: &str| {
            self.allowed.contains(id) || self.exceptions.get(name).is_some_and(|ids| ids.contains(id))
        };
        match Expression::of(licence).map(|expression| expression.holds(&allows)) {
            Some(true) => None,
            Some(false) => Some(format!(
                "{name} {version} is under {licence}, which deny.toml does not allow: leave the crate out, or add the licence with its reason"
            )),
            None => Some(format!(
                "{name} {version} has the licence {licence:?}, which is no SPDX expression"
            )),
        }
    }
}

/// An SPDX expression (SPDX 2.3, annex D); `/` stands for `OR`, as in old manifests.
#[derive(Debug, PartialEq, Eq)]
enum Expression {
    Id(String),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    fn of(text: &str) -> Option<Expression> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let (expression, rest) = any(&words)?;
        rest.is_empty().then_some(expression)
    }

    fn holds(&self, allows: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Expression::Id(id) => allows(id),
            Expression::All(of) => of.iter().all(|one| one.holds(allows)),
            Expression::Any(of) => of.iter().any(|one| one.holds(allows)),
        }
    }
}

type Parsed<'a> = Option<(Expression, &'a [&'a str])>;

fn any<'a>(words: &'a [&'a str]) -> Parsed<'a> {
    list(words, "OR", all, Expression::Any)
}

fn all<'a>(words: &'a [&'a str]) -> Parsed<'a> {
    list(words, "AND", one, Expression::All)
}

fn list<'a>(
    words: &'a [&'a str],
    between: &str,
    part: fn(&'a [&'a str]) -> Parsed<'a>,
    made: fn(Vec<Expression>) -> Expression,
) -> Parsed<'a> {
    let (first, mut rest) = part(words)?;
    let mut parts = vec![first];
    while rest.first() == Some(&between) {
        let (next, after) = part(&rest[1..])?;
        parts.push(next);
        rest = after;
    }
    let expression = if parts.len() == 1 {
        parts.remove(0)
    } else {
        made(parts)
    };
    Some((expression, rest))
}

fn one<'a>(words: &'a [&'a str]) -> Parsed<'a> {
    match words {
        ["(", inside @ ..] => {
            let (expression, rest) = any(inside)?;
            (rest.first() == Some(&")")).then(|| (expression, &rest[1..]))
        }
        [")" | "AND" | "OR" | "WITH", ..] | [] => None,
        [id, "WITH", exception, rest @ ..] => Some((Expression::Id(format!("{id} WITH {exception}")), rest)),
        [id, rest @ ..] => Some((Expression::Id((*id).to_owned()), rest)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const DENY: &str = r#"
[graph]
targets = ["x86_64-unknown-linux-gnu"]

[licenses]
allow = ["MIT", "Apache-2.0 WITH LLVM-exception"]
exceptions = [
    # Why.
    { crate = "crypt", allow = ["LGPL-3.0"] },
]
"#;

    fn refused(name: &str, licence: Option<&str>) -> bool {
        Rules::of(DENY)
            .unwrap()
            .refuses(&Package {
                name: name.to_owned(),
                version: "1.0.0".to_owned(),
                licence: licence.map(str::to_owned),
            })
            .is_some()
    }

    #[test]
    fn a_licence_is_allowed_to_all_or_by_name() {
        assert!(!refused("a", Some("MIT")));
        assert!(!refused("a", Some("MIT/Apache-2.0")));
        assert!(!refused("a", Some("GPL-3.0-only OR (MIT AND MIT)")));
        assert!(!refused("a", Some("Apache-2.0 WITH LLVM-exception")));
        assert!(!refused("crypt", Some("LGPL-3.0")));
        // The controls.
        assert!(refused("a", Some("LGPL-3.0")));
        assert!(refused("a", Some("MIT AND GPL-3.0-only")));
        assert!(refused("a", Some("Apache-2.0")));
        assert!(refused("a", Some("MIT OR")));
        assert!(refused("a", Some("(MIT")));
        assert!(refused("a", None));
    }

    #[test]
    fn and_binds_more_than_or() {
        let allows = |id: &str| id == "A";
        assert!(Expression::of("A OR B AND C").unwrap().holds(&allows));
        assert!(!Expression::of("(A OR B) AND C").unwrap().holds(&allows));
    }

    #[test]
    fn own_packages_and_those_of_other_platforms_are_not_looked_at() {
        let metadata = serde_json::json!({
            "workspace_members": ["own"],
            "packages": [
                {"id": "own", "name": "landfall", "version": "1.0.0", "license": "GPL-3.0-or-later"},
                {"id": "other", "name": "serde", "version": "1.0.0", "license": "MIT"},
                {"id": "elsewhere", "name": "windows", "version": "1.0.0", "license": "MIT"},
            ],
            "resolve": {"nodes": [{"id": "own"}, {"id": "other"}]},
        });
        let found: Vec<String> = packages(&metadata)
            .into_values()
            .map(|package| package.name)
            .collect();
        assert_eq!(found, ["serde"]);
        let targets = Rules::of(DENY).unwrap().targets;
        assert!(targets.contains("x86_64-unknown-linux-gnu"), "{targets:?}");
    }
}
