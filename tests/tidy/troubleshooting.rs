//! What docs/operate/troubleshooting.md quotes is printed: a reader searches the page for what stands on the screen. A part of `tidy.rs`.
//!
//! A quotation of the first column is looked up in the generated list of messages and, since notices and the lines of `landfall disks`
//! are not in it, in the texts of the sources. Words in CAPITALS, `…`, paths and names with dots stand for values.

use super::messages::messages;
use super::words::literals;
use super::{root, rust};
use fs_err as fs;

/// What other programs print, and who.
const OF_OTHERS: [(&str, &str); 7] = [
    ("A definition for option … is not of type …", "Nix"),
    ("the option … does not exist", "Nix"),
    ("Host key verification failed", "ssh"),
    ("Permission denied (publickey)", "ssh"),
    ("certificate is not yet valid", "Git, Nix"),
    ("No space left on device", "every program"),
    ("permission denied", "every program"),
];
/// Programs whose command lines are quoted as well.
const PROGRAMS: [&str; 2] = ["landfall ", "nix "];

/// The quoted texts of the first columns: what has a space in it, and is no command.
fn quoted(page: &str) -> Vec<String> {
    let mut found = vec![];
    for row in page.lines().filter_map(|line| line.strip_prefix("| ")) {
        let column = row.split(" | ").next().unwrap_or_default();
        for text in column.split('`').skip(1).step_by(2) {
            let is_command = PROGRAMS.iter().any(|program| text.starts_with(program));
            if text.contains(' ') && !is_command && !OF_OTHERS.iter().any(|(other, _)| *other == text) {
                found.push(text.to_owned());
            }
        }
    }
    found
}

/// A text without what stands for a value.
fn fixed_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in text.split_inclusive([' ', ':', ')', '(', ',']) {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let is_value = word.contains('…')
            || word.starts_with('/')
            || bare.contains('.')
            || !bare.is_empty() && bare.chars().all(|c| c.is_ascii_uppercase());
        match parts.last_mut() {
            Some(last) if !is_value => last.push_str(word),
            _ => parts.push(String::new()),
        }
    }
    parts
        .into_iter()
        .map(|part| part.trim().to_owned())
        .filter(|part| part.len() > 3)
        .collect()
}

/// Whether a printed text has all parts, in order.
fn has(printed: &str, parts: &[String]) -> bool {
    let mut rest = printed;
    parts.iter().all(|part| match rest.find(part.as_str()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn unprinted(page: &str, printed: &[String]) -> Vec<String> {
    quoted(page)
        .into_iter()
        .filter(|text| {
            let parts = fixed_parts(text);
            parts.is_empty() || !printed.iter().any(|printed| has(printed, &parts))
        })
        .collect()
}

#[test]
fn every_message_that_troubleshooting_quotes_is_printed() {
    let mut printed: Vec<String> = messages().into_iter().map(|message| message.text).collect();
    for (name, source) in rust(&["src", "states"]) {
        if !name.ends_with("_tests.rs") && !name.starts_with("src/sim/") {
            printed.extend(literals(&source).into_iter().map(|(_, text)| text));
        }
    }
    // Messages of the NixOS module.
    for (_, source) in super::files(&["nix/modules", "nix/lib"], &["nix"]) {
        printed.push(source.replace("\\\"", "\""));
    }
    let page = fs::read_to_string(root().join("docs/operate/troubleshooting.md")).unwrap();
    assert!(quoted(&page).len() > 10, "{:?}", quoted(&page));
    assert_eq!(unprinted(&page, &printed), Vec::<String>::new());
    // The controls: a text that is nearly one, one with its values, a command and a word.
    let controls = [
        ("| `the stick is smaller than it says` | it is forged |", 1),
        (
            "| the stick: `the stick is smaller than it reports` | it is forged |",
            0,
        ),
        ("| `attempt limit (PHASE): N attempts` | too often |", 0),
        ("| `landfall disks` says `blank` | a disk |", 0),
        ("| `certificate is not yet valid` | the clock |", 0),
    ];
    for (row, count) in controls {
        assert_eq!(unprinted(row, &printed).len(), count, "{row}");
    }
}
