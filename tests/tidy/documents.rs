//! What is written down stays true: the reference, the formats, the commands, options and kinds that the documents name.

use super::{assert_tidy, files, is_word, root, rust};
use expect_test::expect_file;
use fs_err as fs;

#[test]
fn the_reference_is_what_help_prints() {
    // `UPDATE_EXPECT=1 cargo test --test tidy` writes the files again.
    expect_file!["../../docs/reference/cli.md"].assert_eq(&landfall::cli::reference::markdown());
    expect_file!["../../docs/design/formats.md"].assert_eq(&landfall::formats::markdown());
    expect_file!["../../docs/reference/exit-codes.md"]
        .assert_eq(&landfall::cli::reference::exit_codes_markdown());
    // The control: an option that is not in the reference would be seen.
    assert!(landfall::cli::reference::markdown().contains("--erase-disk <NAME>"));
    assert!(
        !landfall::cli::reference::markdown().contains("--run-dir"),
        "hidden"
    );
}

/// Types that are serialised and whose names may follow Rust's: what holds them instead.
const NAMED_BY_RUST: [(&str, &str); 5] = [
    ("src/config.rs", "the configuration; nix/tests/golden"),
    (
        "src/cli/plan.rs",
        "the answer of `landfall plan --json`, kept by nobody",
    ),
    (
        "src/real/disk/mod.rs",
        "the answer of `landfall disks --json`, kept by nobody",
    ),
    (
        "src/sim/check/decisions.rs",
        "the answer of `landfall simulate`, kept by nobody",
    ),
    (
        "src/cli/report.rs: Report",
        "the answer of `landfall status --json`, kept by nobody",
    ),
];
/// Likewise in states/plan.rs, where one type is part of a format.
const ONLY_IN_ANSWERS: [&str; 13] = [
    "Machine",
    "Layout",
    "Reference",
    "RepositorySource",
    "Repository",
    "SystemSource",
    "Payload",
    "Role",
    "GptEntry",
    "GptTable",
    "Volume",
    "Plan",
    "Image",
];

/// Fields and variants of serialised types whose name in the bytes is Rust's own, so that renaming one changes a format.
fn implicit_names(name: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    let mut complaints = Vec::new();
    let (mut derived, mut inside, mut renamed, mut is_enum) = (false, None::<String>, false, false);
    for line in code.lines() {
        let word = line.trim();
        if let Some(of) = &inside {
            let depth = line.len() - line.trim_start().len();
            if line == "}" {
                (inside, derived, renamed) = (None, false, false);
            } else if word.starts_with("#[serde(") {
                // What is untagged or flattened has no name: those of the type inside are looked at there.
                renamed |= ["rename = \"", "flatten", "untagged"]
                    .iter()
                    .any(|way| word.contains(way));
            } else if !word.is_empty()
                && !word.starts_with("//")
                && !word.starts_with("#[")
                && !word.starts_with('}')
            {
                let what: String = word
                    .trim_start_matches("pub ")
                    .chars()
                    .take_while(|c| is_word(*c))
                    .collect();
                let names_one = word.contains(':') || (is_enum && depth == 4);
                if names_one && !renamed {
                    complaints.push(format!(
                        "{of}::{what} has no name of its own in the bytes (#[serde(rename = …)])"
                    ));
                }
                renamed = false;
            }
        } else if word.starts_with("#[derive(") {
            derived = word.contains("Serialize") && !word.starts_with("#[derive(Deserialize");
        } else if derived && word.ends_with('{') && !word.starts_with("#[") {
            is_enum = word.contains("enum ");
            let of = word.rsplit(' ').nth(1).unwrap_or_default().to_owned();
            let exempt = NAMED_BY_RUST
                .iter()
                .any(|(place, _)| *place == name || *place == format!("{name}: {of}"))
                || (name == "states/plan.rs" || name == "states/image.rs") && ONLY_IN_ANSWERS.contains(&of.as_str())
                // The configuration's.
                || name == "states/fault/budget.rs" && of == "Budget";
            if exempt {
                derived = false;
            } else {
                inside = Some(of);
            }
        } else if derived && word.ends_with(';') {
            derived = false;
        }
    }
    complaints
}

#[test]
fn a_renamed_field_changes_no_format() {
    let sources = rust(&["src", "states"]);
    assert_tidy(&sources, implicit_names);
    let bad = "#[derive(Debug, Serialize)]\npub struct A {\n    /// It.\n    pub b: u8,\n    #[serde(rename = \"c\")]\n    pub c: u8,\n}\n";
    assert_eq!(implicit_names("src/a.rs", bad).len(), 1);
    let bad = "#[derive(Serialize)]\n#[serde(tag = \"x\")]\nenum A {\n    #[serde(rename = \"b\")]\n    B,\n    C(u8),\n    #[serde(rename = \"d\")]\n    D {\n        e: u8,\n    },\n}\n";
    assert_eq!(
        implicit_names("src/a.rs", bad).len(),
        2,
        "{:?}",
        implicit_names("src/a.rs", bad)
    );
    // A field of a real format, taken out of its name in a copy of the source, is seen.
    let (name, text) = sources
        .iter()
        .find(|(name, _)| name == "states/checkpoint.rs")
        .unwrap();
    let copy = text.replace("    #[serde(rename = \"parent\")]\n", "");
    assert_ne!(&copy, text);
    assert_eq!(implicit_names(name, &copy).len(), 1);
    // And what is exempt is still there.
    for (place, _) in NAMED_BY_RUST {
        let file = place.split(':').next().unwrap();
        assert!(
            sources
                .iter()
                .any(|(name, text)| name == file && text.contains("Serialize")),
            "{place}"
        );
    }
}

/// Commands that a text's code spans and blocks name and that landfall does not have.
fn unknown_commands(text: &str) -> Vec<String> {
    let known: Vec<String> = landfall::cli::command()
        .get_subcommands()
        .map(|c| c.get_name().to_owned())
        .collect();
    let mut unknown = Vec::new();
    for (index, span) in text.split('`').enumerate() {
        // Odd pieces are code, for spans and fenced blocks alike.
        if index % 2 == 0 {
            continue;
        }
        for line in span.lines() {
            let line = line.trim_start_matches(['$', '#', ' ']);
            let Some(rest) = line.strip_prefix("landfall ") else {
                continue;
            };
            let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase()).collect();
            let is_command = rest[word.len()..].starts_with([' ', '\n']) || rest.len() == word.len();
            if !word.is_empty() && is_command && !known.contains(&word) {
                unknown.push(format!("names `landfall {word}`, which does not exist"));
            }
        }
    }
    unknown
}

#[test]
fn documents_name_commands_that_exist() {
    // The generated reference has prose in its blocks, and cannot name what does not exist.
    assert_tidy(
        &files(&["docs", "README.md", "ARCHITECTURE.md"], &["md"]),
        |name, text| {
            if name == "docs/reference/cli.md" {
                vec![]
            } else {
                unknown_commands(text)
            }
        },
    );
    assert_eq!(unknown_commands("run `landfall instal` now").len(), 1);
    assert_eq!(
        unknown_commands("run `landfall install --reset-attempts`, landfall flies").len(),
        0
    );
}

/// Dotted names of every option.
fn options(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) if path != "system" => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                options(value, &path, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

fn undocumented(options: &[String], document: &str) -> Vec<String> {
    options
        .iter()
        .filter(|option| !document.contains(&format!("| `{option}` |")))
        .cloned()
        .collect()
}

#[test]
fn every_option_is_documented() {
    let text = fs::read_to_string(root().join("docs/examples/generated.json")).unwrap();
    let config = landfall::config::Config::parse(&text, landfall::config::Notation::Json).unwrap();
    let mut all = Vec::new();
    options(&serde_json::to_value(&config).unwrap(), "", &mut all);
    assert!(all.len() > 30, "{all:?}");
    let document = fs::read_to_string(root().join("docs/reference/configuration.md")).unwrap();
    assert_eq!(undocumented(&all, &document), Vec::<String>::new());
    assert_eq!(
        undocumented(&["labels.efi".to_owned()], "| `labels.root` |"),
        ["labels.efi"]
    );
    // And the generated example says everything, as the NixOS module does.
    let mut written = Vec::new();
    options(&serde_json::from_str(&text).unwrap(), "", &mut written);
    all.sort();
    written.sort();
    assert_eq!(all, written);
}

/// Names in the bytes of the variants in a source of kinds: attributes one level in.
pub fn kinds_in(text: &str) -> Vec<String> {
    let code = text.split("/// What the operating system said.\n#[derive").next();
    code.unwrap_or("")
        .lines()
        .filter_map(|line| line.strip_prefix("    #[serde(rename = \"")?.strip_suffix("\")]"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_kind_of_fault_is_documented() {
    let mut kinds = Vec::new();
    for (name, text) in rust(&["states/fault"]) {
        if name == "states/fault/kind.rs" || name.starts_with("states/fault/kind/") {
            kinds.extend(kinds_in(&text));
        }
    }
    assert!(kinds.len() > 100, "{kinds:?}");
    let document = fs::read_to_string(root().join("docs/reference/faults.md")).unwrap();
    assert_eq!(undocumented(&kinds, &document), Vec::<String>::new());
    let rows = document.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, kinds.len(), "the document has a kind that is none");
}

/// What landfall refuses is refused before an image is built.
#[test]
fn the_module_knows_every_place_of_the_target_that_others_use() {
    let types = fs::read_to_string(root().join("nix/lib/types.nix")).unwrap();
    for place in landfall_states::reserved_paths::places() {
        assert!(types.contains(&format!("\"{place}\"\n")), "{place}");
    }
}
