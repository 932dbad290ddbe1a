//! Every link leads somewhere: the file is there, and so is the heading. Every document that a text of the program, a test or the Nix
//! files names is there. Every document is found from README.md.

use super::{files, root};
use std::collections::{BTreeMap, BTreeSet};

/// Documents of other projects, which have a folder `docs` too, and a repository that a test makes.
const ELSEWHERE: [(&str, &str); 3] = [
    ("src/real/", "docs/spec.md"),
    ("tests/lab/src/qmp.rs", "docs/interop/"),
    ("tests/host_new_git.rs", "docs/a.md"),
];

/// Texts that may name a document.
fn texts() -> Vec<(String, String)> {
    files(
        &[
            "src",
            "states",
            "tests",
            "docs",
            "nix",
            "fuzz/fuzz_targets",
            "templates",
            "examples",
            "flake.nix",
            "default.nix",
            "deny.toml",
            "Cargo.toml",
            "README.md",
            "ARCHITECTURE.md",
            "SECURITY.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
        ],
        &["rs", "md", "nix", "toml", "txt"],
    )
}

fn documents() -> Vec<(String, String)> {
    texts()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".md"))
        .collect()
}

/// The lines of a document that are no code: fenced blocks are left out.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
        .collect()
}

/// The names by which a forge lets links reach the headings: lower case, blanks as `-`, other signs left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeMap::<String, usize>::new();
    let mut all = BTreeSet::new();
    for line in prose(text) {
        let Some(heading) = line
            .strip_prefix('#')
            .map(|rest| rest.trim_start_matches('#'))
            .and_then(|rest| rest.strip_prefix(' '))
        else {
            continue;
        };
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect();
        let before = found.entry(slug.clone()).or_default();
        all.insert(if *before == 0 {
            slug
        } else {
            format!("{slug}-{before}")
        });
        *before += 1;
    }
    all
}

/// The targets of a document's links: `](target)`, and of pictures.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push(rest[..end].to_owned());
            }
        }
        for (at, _) in line
            .match_indices("src=\"")
            .chain(line.match_indices("srcset=\""))
        {
            let rest = line[at..].split_once('"').map_or("", |(_, rest)| rest);
            found.push(rest.split('"').next().unwrap_or("").to_owned());
        }
    }
    found
}

/// `a/b/../c` → `a/c`.
fn resolved(from: &str, target: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Links of a document that lead nowhere. `there` knows files and folders; `of` the headings of a document.
fn dead_links(
    name: &str,
    text: &str,
    there: &dyn Fn(&str) -> bool,
    of: &dyn Fn(&str) -> BTreeSet<String>,
) -> Vec<String> {
    let mut dead = Vec::new();
    for link in targets(text) {
        if link.starts_with("https://") || link.starts_with("http://") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let file = if path.is_empty() {
            name.to_owned()
        } else {
            resolved(name, path)
        };
        if !there(&file) {
            dead.push(format!("links to {link}, and {file} is not there"));
        } else if !anchor.is_empty() && !of(&file).contains(anchor) {
            dead.push(format!("links to {link}, and {file} has no such heading"));
        }
    }
    dead
}

#[test]
fn every_link_leads_somewhere() {
    let all: BTreeMap<String, String> = documents().into_iter().collect();
    let there = |file: &str| root().join(file).exists();
    let of = |file: &str| all.get(file).map(|text| anchors(text)).unwrap_or_default();
    let mut dead = Vec::new();
    let mut links = 0;
    for (name, text) in &all {
        links += targets(text).len();
        dead.extend(
            dead_links(name, text, &there, &of)
                .into_iter()
                .map(|d| format!("{name} {d}")),
        );
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
    assert!(links > 50, "only {links} links were found");
    // The controls: a file that is not there, a heading that is not there, and good ones.
    let of = |_: &str| anchors("# Title\n\n## It's `code`: twice\n## A\n## A\n");
    let bad = "[a](../nowhere.md) [b](#absent) ![c](gone.svg)";
    assert_eq!(dead_links("docs/a.md", bad, &|f| f == "docs/a.md", &of).len(), 3);
    let good = "[b](#its-code-twice) [c](#a-1) [d](https://x.example/#y)\n```\n[e](gone.md)\n```\n";
    assert_eq!(
        dead_links("docs/a.md", good, &|_| true, &of),
        Vec::<String>::new()
    );
}

/// Names of documents in a text, as `docs/…` from the root.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, word) in text.match_indices("docs/") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c)) {
            continue;
        }
        let rest: String = text[at + word.len()..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "/._-".contains(*c))
            .collect();
        found.insert(format!("docs/{}", rest.trim_end_matches(['.', '/'])));
    }
    found
}

fn absent(name: &str, text: &str) -> Vec<String> {
    named(text)
        .into_iter()
        .filter(|document| {
            let other = ELSEWHERE
                .iter()
                .any(|(file, there)| name.starts_with(file) && document.starts_with(there));
            !other && document != "docs/" && !root().join(document).exists()
        })
        .map(|document| format!("{name} names {document}, which is not there"))
        .collect()
}

#[test]
fn every_document_that_is_named_is_there() {
    let this = "tests/tidy/links.rs";
    let (mut gone, mut count) = (Vec::new(), 0);
    for (name, text) in texts() {
        // The dumps of machines name pages of other people; this file has the controls.
        if name == this || name.starts_with("tests/disks/") {
            continue;
        }
        count += named(&text).len();
        gone.extend(absent(&name, &text));
    }
    assert!(gone.is_empty(), "\n{}", gone.join("\n"));
    assert!(count > 50, "only {count} names were found");
    assert_eq!(absent("src/a.rs", "see docs/nowhere.md.").len(), 1);
    assert_eq!(absent("src/a.rs", "see docs/examples, docs.rs").len(), 0);
    assert_eq!(absent("src/real/lfs.rs", "docs/spec.md").len(), 0);
    assert_eq!(absent("src/cli/lfs.rs", "docs/spec.md").len(), 1);
}

/// Documents below `docs/` that no chain of links from the first one reaches.
fn unreached(all: &BTreeMap<String, String>, first: &str) -> Vec<String> {
    let mut reached = BTreeSet::from([first.to_owned()]);
    let mut next = vec![first.to_owned()];
    while let Some(name) = next.pop() {
        for link in targets(all.get(&name).map_or("", String::as_str)) {
            let path = link.split('#').next().unwrap_or("");
            let file = resolved(&name, path);
            if all.contains_key(&file) && reached.insert(file.clone()) {
                next.push(file);
            }
        }
    }
    all.keys()
        .filter(|name| name.starts_with("docs/") && !reached.contains(*name))
        .cloned()
        .collect()
}

#[test]
fn every_document_is_found_from_the_readme() {
    let mut all: BTreeMap<String, String> = documents().into_iter().collect();
    assert_eq!(unreached(&all, "README.md"), Vec::<String>::new());
    all.insert("docs/operate/lost.md".to_owned(), String::new());
    assert_eq!(unreached(&all, "README.md"), ["docs/operate/lost.md"]);
}

/// Files of the source that a document names in code, as `src/….rs`.
fn sources_named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src/", "states/", "tests/", "nix/", "fuzz/"] {
        for (at, word) in text.match_indices(folder) {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c)) {
                continue;
            }
            let rest: String = text[at + word.len()..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "/._-".contains(*c))
                .collect();
            if [".rs", ".nix", ".txt"].iter().any(|end| rest.ends_with(end)) {
                found.insert(format!("{folder}{rest}"));
            }
        }
    }
    found
}

/// `tests/x.rs` stands for any test, in the legend of the failure model.
const STANDS_FOR_ANY: &str = "tests/x.rs";

fn gone(name: &str, text: &str) -> Vec<String> {
    sources_named(text)
        .into_iter()
        .filter(|file| file != STANDS_FOR_ANY && !root().join(file).exists())
        .map(|file| format!("{name} names {file}, which is not there"))
        .collect()
}

#[test]
fn every_source_that_a_document_names_is_there() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, text) in documents() {
        count += sources_named(&text).len();
        wrong.extend(gone(&name, &text));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count > 100, "only {count} names were found");
    assert_eq!(
        gone("docs/a.md", "see `src/attic.rs` and `src/event.rs`").len(),
        1
    );
    assert_eq!(
        gone("docs/a.md", "`../src/attic.rs`, tests/x.rs, a src/folder").len(),
        0
    );
}

/// Tests that a document names as `module::test`, or as `module::` for all of a module.
fn tests_named(text: &str) -> BTreeSet<(String, String)> {
    let is_name = |part: &str| {
        part.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| {
            let (path, test) = code.rsplit_once("::")?;
            let module = path.rsplit("::").next()?;
            (is_name(test) && path.split("::").all(|part| !part.is_empty() && is_name(part)))
                .then(|| (module.to_owned(), test.to_owned()))
        })
        .collect()
}

/// Whether a source is the module of this name: by its file, by its folder, or as the file of its tests.
fn is_module(file: &str, module: &str) -> bool {
    let mut parts = file.trim_end_matches(".rs").rsplit('/');
    let name = match parts.next() {
        Some("mod") => parts.next(),
        name => name,
    };
    name.is_some_and(|name| name == module || name.strip_suffix("_tests") == Some(module))
}

/// Named tests that no source has.
fn tests_gone(text: &str, sources: &[(String, String)]) -> Vec<String> {
    // In the legend of the failure model it stands for any test.
    let stands_for_any = ("file".to_owned(), "test".to_owned());
    tests_named(text)
        .into_iter()
        .filter(|named| *named != stands_for_any)
        .filter(|(module, test)| {
            !sources.iter().any(|(file, source)| {
                let has = match test.is_empty() {
                    true => ["#[test]", "#[tokio::test", "proptest!", "_tests.rs\"]"]
                        .iter()
                        .any(|mark| source.contains(mark)),
                    false => source.contains(&format!("fn {test}(")),
                };
                is_module(file, module) && has
            })
        })
        .map(|(module, test)| format!("{module}::{test}"))
        .collect()
}

#[test]
fn every_test_that_the_failure_model_names_is_there() {
    let sources = files(&["src", "states", "tests"], &["rs"]);
    let model = super::fs::read_to_string(root().join("docs/design/failure-model.md")).unwrap();
    let count = tests_named(&model).len();
    assert!(count > 150, "only {count} names were found");
    assert_eq!(tests_gone(&model, &sources), Vec::<String>::new());
    // The controls: a module that is gone, a test that is gone, and one of another module.
    let sources = [(
        "src/real/git/mod.rs".to_owned(),
        "#[test]\nfn it_holds() {}".to_owned(),
    )];
    assert_eq!(
        tests_gone(
            "`git::it_holds` `git::`, `git::Name`, `rooted::`, `git::it_fails`, `other::it_holds`",
            &sources
        ),
        ["git::it_fails", "other::it_holds", "rooted::"]
    );
}
