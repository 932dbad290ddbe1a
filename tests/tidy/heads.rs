//! What the head of a file says, and where a file is expected.
//!
//! Heads have no labels, and name modules and items that exist; every folder is in ARCHITECTURE.md; every saved failure of proptest has
//! its source.

use super::{assert_tidy, files, is_word, root, rust};
use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders whose files have a head.
const FOLDERS: [&str; 4] = ["src", "states", "tests", "fuzz"];
/// Lower-case words in the last sentence of a head that name a program, a driver or a device, and no module.
const OTHERS: [&str; 10] = [
    "ahci",
    "blkid",
    "e2fsck",
    "fdinfo",
    "mke2fs",
    "sd_shutdown",
    "sda",
    "vda",
    "vdb",
    "vmd",
];

/// Modules and items of the sources.
#[derive(Default)]
struct Names {
    /// Every file and folder, as the words of its path. `src/sim/model/disk.rs` → `src`, `sim`, `model`, `disk`.
    modules: Vec<Vec<String>>,
    /// Functions, types and constants, with the modules that have them.
    items: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    fn of(files: &[(String, String)]) -> Names {
        let mut names = Names::default();
        let mut modules = BTreeSet::new();
        for (name, text) in files {
            let mut words: Vec<String> = name
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned)
                .collect();
            if words
                .last()
                .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
            {
                words.pop();
            }
            // An item belongs to its file and to every folder around it; tests in a file of their own to the file that they test.
            let mut around = words.clone();
            if let Some(tested) = words.last().and_then(|last| last.strip_suffix("_tests")) {
                around.push(tested.to_owned());
            }
            while !words.is_empty() {
                modules.insert(words.clone());
                words.pop();
            }
            let mut words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
            while let Some(word) = words.next() {
                if ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"].contains(&word)
                    && let Some(item) = words.clone().next()
                {
                    names
                        .items
                        .entry(item.to_owned())
                        .or_default()
                        .extend(around.iter().cloned());
                }
            }
        }
        names.modules = modules.into_iter().collect();
        names
    }

    /// Whether a path, from wherever it begins, leads to a module, or to an item of one.
    fn have(&self, path: &str) -> bool {
        let words: Vec<&str> = path.split("::").collect();
        let is_module = |words: &[&str]| {
            self.modules.iter().any(|module| {
                module.len() >= words.len()
                    && module[module.len() - words.len()..]
                        .iter()
                        .zip(words)
                        .all(|(a, b)| a == b)
            })
        };
        match words.as_slice() {
            [] => false,
            [one] => is_module(&[one]) || self.items.contains_key(*one),
            [above @ .., last] => {
                is_module(&words)
                    || is_module(above)
                        && self
                            .items
                            .get(*last)
                            .is_some_and(|modules| above.last().is_some_and(|m| modules.contains(*m)))
            }
        }
    }
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Whether a word has the form of a module's path.
fn is_path(word: &str) -> bool {
    word.split("::").all(|part| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    })
}

/// The head of a file, without its code and tables.
fn head(name: &str, text: &str) -> String {
    let mark = if name.ends_with(".rs") { "//!" } else { "#" };
    let mut fenced = false;
    text.lines()
        .take_while(|line| line.starts_with(mark))
        .map(|line| line[mark.len()..].trim())
        .filter(|line| {
            fenced ^= line.starts_with("```");
            !fenced && !line.starts_with("```") && !line.starts_with('|')
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a head must not have.
fn labels(name: &str, text: &str) -> Vec<String> {
    let head = head(name, text);
    ["Law", "Absent"]
        .into_iter()
        .filter(|label| {
            // `Law of every file here:` is one as well.
            head.split(['.', ':'])
                .zip(head.match_indices(['.', ':']))
                .any(|(sentence, (_, end))| end == ":" && sentence.trim().split(' ').next() == Some(label))
        })
        .map(|label| format!("its head has the label {label}: say it in a sentence"))
        .collect()
}

/// Names in a head that lead nowhere: every path of modules, and a word of the last sentence.
fn lost(names: &Names, name: &str, text: &str) -> Vec<String> {
    let head = head(name, text);
    let last = head.trim_end_matches('.').rsplit(". ").next().unwrap_or("");
    let of_last: BTreeSet<&str> = quoted(last).into_iter().collect();
    quoted(&head)
        .into_iter()
        .filter(|word| is_path(word) && (word.contains("::") || of_last.contains(word)))
        .filter(|word| !OTHERS.contains(word))
        .map(|word| {
            word.split("::")
                .skip_while(|part| ["crate", "super", "landfall"].contains(part))
                .map(|part| if part == "landfall_states" { "states" } else { part })
                .collect::<Vec<_>>()
                .join("::")
        })
        .filter(|word| !names.have(word))
        .map(|word| format!("its head names `{word}`, which is neither a module nor an item"))
        .collect()
}

#[test]
fn heads_are_sentences() {
    let mut all = rust(&FOLDERS);
    all.extend(files(&["nix", "examples", "tests/lab"], &["nix"]));
    assert_tidy(&all, labels);
    for (name, bad) in [
        ("src/a.rs", "//! Disks. Law: pure.\n"),
        (
            "src/a.rs",
            "//! Disks.\n//!\n//! Absent: looking (`scan`).\nuse a;\n",
        ),
        ("src/a.rs", "//! Disks: all. Law of every file here: pure.\n"),
        (
            "src/a.rs",
            "//! Disks.\n//!\n//! Absent in every file here: judging.\n",
        ),
        ("nix/a.nix", "# Types.\n# Absent: defaults.\n{ }\n"),
    ] {
        assert_eq!(labels(name, bad).len(), 1, "{bad}");
    }
    let good = "//! Disks. A law is a law.\n\n// Law: in the code\n";
    assert_eq!(labels("src/a.rs", good), Vec::<String>::new());
}

#[test]
fn heads_name_what_exists() {
    let all = rust(&FOLDERS);
    let names = Names::of(&all);
    assert_tidy(&all, |name, text| lost(&names, name, text));

    let few = [
        ("src/real/disk/scan.rs".to_owned(), "pub fn look() {}".to_owned()),
        ("src/real/fs/mod.rs".to_owned(), "pub struct Root;".to_owned()),
    ];
    let names = Names::of(&few);
    for bad in [
        "//! Disks.\n//!\n//! `gather` looks.\n",
        "//! Disks, as in `real::gather`. It decides.\n",
        "//! Disks. `real::scan` looks.\n",
        "//! Disks. `disk::scan::read` reads.\n",
    ] {
        assert_eq!(lost(&names, "src/a.rs", bad).len(), 1, "{bad}");
    }
    for good in [
        "//! Disks.\n//!\n//! `scan` looks, and `disk::scan::look` too; `real::fs` has `Root`.\n",
        "//! Disks, which `gather` had. `look` looks.\n",
        "//! Disks.\n//!\n//! `blkid -p` probes.\n",
        "//! Disks.\n//! ```text\n//! `gather`\n//! ```\n",
    ] {
        assert_eq!(lost(&names, "src/a.rs", good), Vec::<String>::new(), "{good}");
    }
}

/// Folders with sources that a text does not name, as `src/real/disk/` in backticks.
fn unmapped(folders: &BTreeSet<String>, text: &str) -> Vec<String> {
    let named: BTreeSet<&str> = text.lines().flat_map(quoted).collect();
    folders
        .iter()
        .filter(|folder| !named.contains(folder.as_str()))
        .cloned()
        .collect()
}

#[test]
fn every_folder_is_on_the_map() {
    let folders: BTreeSet<String> = rust(&["src", "states", "tests/lab/src"])
        .iter()
        .filter_map(|(name, _)| Some(format!("{}/", name.rsplit_once('/')?.0)))
        .collect();
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let missing = unmapped(&folders, &map);
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:?}");
    let sample = BTreeSet::from(["src/real/".to_owned(), "src/real/attic/".to_owned()]);
    assert_eq!(unmapped(&sample, "| `src/real/` | all |"), ["src/real/attic/"]);
}

/// Whether a file of proptest's has a source at the mirrored path, as `proptest` looks it up: from the folder of `lib.rs` on.
fn is_replayed(saved: &str, there: impl Fn(&str) -> bool) -> bool {
    saved
        .strip_prefix("proptest-regressions/")
        .and_then(|path| path.strip_suffix(".txt"))
        .is_some_and(|path| {
            ["src", "states"]
                .iter()
                .any(|top| there(&format!("{top}/{path}.rs")))
        })
}

#[test]
fn saved_failures_are_replayed() {
    let there = |path: &str| root().join(Path::new(path)).is_file();
    let saved = files(&["proptest-regressions"], &["txt"]);
    assert_tidy(&saved, |name, _| {
        let complaint = "no source has this path: proptest does not replay it";
        if is_replayed(name, there) {
            vec![]
        } else {
            vec![complaint.to_owned()]
        }
    });
    let sample = |path: &str| path == "src/real/table/gpt_tests.rs";
    assert!(is_replayed(
        "proptest-regressions/real/table/gpt_tests.txt",
        sample
    ));
    assert!(!is_replayed("proptest-regressions/real/gpt_tests.txt", sample));
}
