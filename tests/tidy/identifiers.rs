//! Names in the sources: no identifier has a word of the private vocabulary that this project once had.
//!
//! `words` has the same for the texts that people read.

use super::{assert_tidy, is_word, rust};
use crate::source::code_alone;
use std::collections::BTreeSet;

/// Words of identifiers, and what is written instead.
const FORBIDDEN: [(&str, &str); 18] = [
    ("mend", "repair"),
    ("mends", "repairs"),
    ("mended", "repaired"),
    ("mending", "repair"),
    ("heal", "repair"),
    ("heals", "repairs"),
    ("healed", "repaired"),
    ("misfortune", "fault"),
    ("misfortunes", "faults"),
    ("vault", "credentials"),
    ("hands", "context"),
    ("strangers", "others"),
    ("complain", "print_error"),
    ("farewell", "(what ends)"),
    ("voyage", "install"),
    ("squatter", "conflict"),
    ("stories", "scenarios"),
    ("pace", "(the interval)"),
];

/// The words of an identifier: `mend_esp`, `MendEsp` and `MEND_ESP` have the same.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![];
    for part in identifier.split('_') {
        let mut was_lower = false;
        let mut word = String::new();
        for c in part.chars() {
            if c.is_uppercase() && was_lower {
                words.push(std::mem::take(&mut word));
            }
            was_lower = c.is_lowercase();
            word.extend(c.to_lowercase());
        }
        words.push(word);
    }
    words
}

fn forbidden(_: &str, text: &str) -> Vec<String> {
    let code = code_alone(text);
    let identifiers: BTreeSet<&str> = code.split(|c| !is_word(c)).collect();
    identifiers
        .iter()
        .flat_map(|identifier| {
            let words = words(identifier);
            FORBIDDEN
                .iter()
                .filter(move |(word, _)| words.iter().any(|of| of == word))
                .map(move |(word, instead)| {
                    format!("{identifier}: \"{word}\" is a private word (say: {instead})")
                })
        })
        .collect()
}

#[test]
fn no_identifier_has_a_private_word() {
    assert_tidy(&rust(&["src", "states", "tests", "fuzz"]), forbidden);
    for bad in [
        "fn mend_esp() {}",
        "struct MendedEsp;",
        "const STORIES_MAX: u8 = 1;",
        "fn f() { a.heal() }",
        "const A: &str = \"https://a\"; fn mended() {}",
    ] {
        assert_eq!(forbidden("", bad).len(), 1, "{bad}");
    }
    for good in [
        "fn recommends() {}",
        "// fn mend() {}",
        "const A: &str = \"mended\";",
        "fn amend() {}",
    ] {
        assert_eq!(forbidden("", good), Vec::<String>::new(), "{good}");
    }
}
