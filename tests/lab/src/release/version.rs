//! One version: that of the workspace, of each of its packages, of the lock file, of the newest entry of the changelog, and of the Nix
//! package, which reads it from Cargo.toml.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Found, Tree};

/// What the Nix package says, so that it has no version of its own.
const NIX: [&str; 2] = [
    "manifest = (lib.importTOML ../../Cargo.toml).workspace.package;",
    "inherit (manifest) version;",
];

/// Compares them.
pub(super) fn check(tree: &Tree) -> Result<Found> {
    let manifest: toml_edit::DocumentMut = tree.read("Cargo.toml")?.parse()?;
    let version = manifest["workspace"]["package"]["version"]
        .as_str()
        .context("Cargo.toml has no workspace.package.version")?
        .to_owned();
    let metadata = metadata(tree)?;
    let mut wrong = packages(&version, &metadata);
    wrong.extend(changelog(&version, &tree.read("CHANGELOG.md")?));
    wrong.extend(nix(&tree.read("nix/packages/landfall.nix")?));
    let tags = tree.git(&["tag", "--list"]).run()?.text();
    let here = tree.git(&["tag", "--points-at", "HEAD"]).run()?.text();
    wrong.extend(tagged(&version, &tags, &here));
    Ok(Found::of(wrong, || version))
}

/// What Cargo says of the workspace; `--locked` refuses a lock file that is not in step with the manifests.
pub(super) fn metadata(tree: &Tree) -> Result<Value> {
    metadata_with(tree, &[])
}

/// The same with more arguments.
pub(super) fn metadata_with(tree: &Tree, more: &[&str]) -> Result<Value> {
    let output = tree
        .cargo(&tree.root, &["metadata", "--format-version", "1", "--locked"])
        .args(more)
        .run()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn packages(version: &str, metadata: &Value) -> Vec<String> {
    let own = metadata["workspace_members"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let all = metadata["packages"].as_array().cloned().unwrap_or_default();
    let mut wrong: Vec<String> = all
        .iter()
        .filter(|package| own.contains(&package["id"]) && package["version"] != version)
        .map(|package| {
            format!(
                "the package {} has the version {}, the workspace {version}: write version.workspace = true into its Cargo.toml",
                package["name"].as_str().unwrap_or_default(),
                package["version"].as_str().unwrap_or_default()
            )
        })
        .collect();
    if own.is_empty() {
        wrong.push("Cargo names no package of the workspace".to_owned());
    }
    wrong
}

/// The newest entry is `## VERSION (YYYY-MM-DD)`.
fn changelog(version: &str, text: &str) -> Option<String> {
    let newest = text.lines().find_map(|line| line.strip_prefix("## "));
    let Some(newest) = newest else {
        return Some(format!(
            "CHANGELOG.md has no entry: begin one with ## {version} (YYYY-MM-DD)"
        ));
    };
    let wrong = match newest
        .split_once(" (")
        .and_then(|(v, date)| Some((v, date.strip_suffix(')')?)))
    {
        None => "it has no date".to_owned(),
        Some((named, _)) if named != version => format!("Cargo.toml says {version}"),
        Some((_, date)) if !is_date(date) => format!("{date} is no date"),
        Some(_) => return None,
    };
    Some(format!(
        "the newest entry of CHANGELOG.md is \"{newest}\", and {wrong}: it begins with ## {version} (YYYY-MM-DD)"
    ))
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| {
            if at == 4 || at == 7 {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        })
}

fn nix(text: &str) -> Vec<String> {
    NIX.iter()
        .filter(|line| !text.contains(*line))
        .map(|line| {
            format!("nix/packages/landfall.nix does not take its version from Cargo.toml any more ({line})")
        })
        .collect()
}

/// A version that was released is not released again from another commit.
fn tagged(version: &str, tags: &str, here: &str) -> Option<String> {
    let tag = format!("v{version}");
    let is_in = |list: &str| list.lines().any(|line| line == tag);
    (is_in(tags) && !is_in(here))
        .then(|| format!("{tag} is released already, from another commit: raise the version in Cargo.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_package_with_a_version_of_its_own_is_named() {
        let metadata = json!({
            "workspace_members": ["a", "b"],
            "packages": [
                {"id": "a", "name": "landfall", "version": "1.0.0"},
                {"id": "b", "name": "lab", "version": "1.0.1"},
                {"id": "c", "name": "serde", "version": "1.0.229"},
            ],
        });
        let wrong = packages("1.0.0", &metadata);
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("lab has the version 1.0.1"), "{wrong:?}");
        assert_eq!(packages("1.0.0", &json!({})).len(), 1);
    }

    #[test]
    fn the_changelog_names_the_version_and_its_day() {
        assert_eq!(
            changelog(
                "1.0.0",
                "# Changelog\n\n## 1.0.0 (2026-11-28)\n\n## 0.9.0 (2026-01-01)\n"
            ),
            None
        );
        for wrong in [
            "# Changelog\n",
            "## Unreleased\n",
            "## 1.0.0\n",
            "## 1.0.0 (soon)\n",
            "## 0.9.0 (2026-01-01)\n\n## 1.0.0 (2026-11-28)\n",
        ] {
            assert!(changelog("1.0.0", wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn the_nix_package_has_no_version_of_its_own() {
        assert_eq!(nix(&NIX.join("\n")), Vec::<String>::new());
        assert_eq!(nix("version = \"1.0.0\";").len(), 2);
    }

    #[test]
    fn a_version_is_released_once() {
        assert_eq!(tagged("1.0.0", "v0.9.0\n", ""), None);
        assert_eq!(tagged("1.0.0", "v0.9.0\nv1.0.0\n", "v1.0.0\n"), None);
        assert!(tagged("1.0.0", "v0.9.0\nv1.0.0\n", "").is_some());
        assert_eq!(tagged("1.0.0", "v1.0.0-rc1\n", ""), None);
    }
}
