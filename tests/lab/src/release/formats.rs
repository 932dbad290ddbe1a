//! Formats: every golden file has the digest that is written down for it, every version in docs/design/formats.md has golden files, and no
//! golden file of a former release was changed or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use sha2::{Digest, Sha256};

use super::{Found, Tree};

const GOLDEN: &str = "tests/golden";

/// Digests by file.
type Sums = BTreeMap<String, String>;

/// Compares them.
pub(super) fn check(tree: &Tree) -> Result<Found> {
    let sums = sums(&tree.read("tests/golden/SHA256SUMS")?);
    let files = digests(&tree.root.join(GOLDEN))?;
    let versions = versions(&tree.read("docs/design/formats.md")?);
    let mut wrong = not_as_written(&sums, &files);
    wrong.extend(without_files(&versions, &files));
    let tags = tree
        .git(&["tag", "--list", "v*", "--sort=-creatordate"])
        .run()?
        .text();
    let last = tags.lines().next();
    if let Some(tag) = last {
        let then = tree
            .git(&["show", &format!("{tag}:tests/golden/SHA256SUMS")])
            .run()?
            .text();
        wrong.extend(moved(tag, &self::sums(&then), &sums));
    }
    Ok(Found::of(wrong, || {
        let released = last.map_or("no release before".to_owned(), |tag| {
            format!("those of {tag} unchanged")
        });
        format!(
            "{} formats, {} golden files; {released}",
            versions.len(),
            files.len()
        )
    }))
}

/// What `sha256sum` writes.
fn sums(text: &str) -> Sums {
    text.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(digest, file)| (file.trim_start_matches("./").to_owned(), digest.to_owned()))
        .collect()
}

/// Every file below the folder, without the list itself.
fn digests(folder: &Path) -> Result<Sums> {
    let mut found = Sums::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            if name != "SHA256SUMS" {
                let digest: String = Sha256::digest(fs::read(&path)?)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                found.insert(name, digest);
            }
        }
    }
    Ok(found)
}

/// Format and version of each row of the document.
fn versions(document: &str) -> BTreeMap<String, u32> {
    document
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let name = cells.next()?.to_owned();
            Some((name, cells.next()?.parse().ok()?))
        })
        .collect()
}

fn not_as_written(sums: &Sums, files: &Sums) -> Vec<String> {
    let names: BTreeSet<&String> = sums.keys().chain(files.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (sums.get(name), files.get(name)) {
            (Some(written), Some(is)) if written == is => None,
            (Some(_), Some(_)) => Some(format!(
                "{GOLDEN}/{name} was changed: put it back, and give the new bytes a version of their own"
            )),
            (Some(_), None) => Some(format!("{GOLDEN}/{name} is not there any more: put it back")),
            _ => Some(format!("{GOLDEN}/{name} is not in {GOLDEN}/SHA256SUMS: add it")),
        })
        .collect()
}

/// Every version from the first golden one of a format to today's has a folder with files, and nothing newer has.
fn without_files(versions: &BTreeMap<String, u32>, files: &Sums) -> Vec<String> {
    let mut golden = BTreeMap::<&str, BTreeSet<u32>>::new();
    let mut wrong = Vec::new();
    for file in files.keys() {
        let folder = file.split('/').next().unwrap_or("");
        match folder
            .rsplit_once('-')
            .and_then(|(name, version)| Some((name, version.parse().ok()?)))
        {
            Some((name, version)) if versions.contains_key(name) => {
                golden.entry(name).or_default().insert(version);
            }
            _ => wrong.push(format!(
                "{GOLDEN}/{folder} is of no format in docs/design/formats.md"
            )),
        }
    }
    for (name, version) in versions {
        let have = golden.remove(name.as_str()).unwrap_or_default();
        let first = have.first().copied().unwrap_or(*version);
        for wanted in first..=*version {
            if !have.contains(&wanted) {
                wrong.push(format!(
                    "{name} is of version {version}, and {GOLDEN}/{name}-{wanted} has no file: make it as docs/design/formats.md says"
                ));
            }
        }
        if let Some(newer) = have.last().filter(|newest| *newest > version) {
            wrong.push(format!(
                "{GOLDEN}/{name}-{newer} is newer than the version {version} in docs/design/formats.md"
            ));
        }
    }
    wrong.dedup();
    wrong
}

/// What a former release had and is not the same now.
fn moved(tag: &str, then: &Sums, now: &Sums) -> Vec<String> {
    then.iter()
        .filter(|(file, digest)| now.get(*file) != Some(*digest))
        .map(|(file, _)| format!("{GOLDEN}/{file} is not as {tag} released it: put it back (git checkout {tag} -- {GOLDEN}/{file})"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(&str, &str)]) -> Sums {
        rows.iter()
            .map(|(file, digest)| ((*file).to_owned(), (*digest).to_owned()))
            .collect()
    }

    #[test]
    fn a_changed_a_removed_and_an_unlisted_file_are_named() {
        let written = sums("aa  ./marks-1/a\nbb  marks-1/b\n");
        assert_eq!(not_as_written(&written, &written), Vec::<String>::new());
        let files = of(&[("marks-1/a", "ac"), ("marks-1/c", "cc")]);
        let wrong = not_as_written(&written, &files);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("was changed"), "{wrong:?}");
        assert!(wrong[1].contains("not there any more"), "{wrong:?}");
        assert!(wrong[2].contains("SHA256SUMS: add it"), "{wrong:?}");
    }

    #[test]
    fn every_version_has_golden_files() {
        let document = "| format | version |\n|---|---|\n| marks | 2 | x |\n| kernel-settings | 1 | y |\n";
        let versions = versions(document);
        assert_eq!(versions.len(), 2, "{versions:?}");
        let good = of(&[("marks-1/a", ""), ("marks-2/a", ""), ("kernel-settings-1/a", "")]);
        assert_eq!(without_files(&versions, &good), Vec::<String>::new());
        let only_old = of(&[("marks-1/a", ""), ("kernel-settings-1/a", "")]);
        assert_eq!(without_files(&versions, &only_old).len(), 1);
        let newer = of(&[("marks-2/a", ""), ("kernel-settings-2/a", "")]);
        assert_eq!(without_files(&versions, &newer).len(), 1);
        let gap = of(&[("marks-0/a", ""), ("marks-2/a", ""), ("kernel-settings-1/a", "")]);
        assert_eq!(without_files(&versions, &gap).len(), 1);
        let stray = of(&[("marks-2/a", ""), ("kernel-settings-1/a", ""), ("odd/a", "")]);
        assert_eq!(without_files(&versions, &stray).len(), 1);
    }

    #[test]
    fn what_was_released_stays() {
        let then = of(&[("marks-1/a", "aa"), ("marks-1/b", "bb")]);
        let now = of(&[("marks-1/a", "aa"), ("marks-1/b", "bc"), ("marks-2/a", "dd")]);
        assert_eq!(moved("v1.0.0", &then, &then), Vec::<String>::new());
        assert_eq!(moved("v1.0.0", &then, &now).len(), 1);
    }
}
