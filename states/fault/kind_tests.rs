//! Tests of the kinds that are about one thing: class, words and remedy of each, and what foreign text may do to them.

use super::examples::examples;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The names in the bytes of the variants in a source: attributes one level in.
fn names_in(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("    #[serde(rename = \"")?.strip_suffix("\")]"))
}

fn name(fault: &Fault) -> String {
    let value = serde_json::to_value(&*fault.kind).unwrap();
    value["kind"].as_str().unwrap().to_owned()
}

fn said(fault: &Fault) -> String {
    format!(
        "{} · {}: {fault}; next: {}",
        name(fault),
        fault.class,
        fault.next()
    )
}

#[test]
fn every_kind_of_one_thing_is_among_the_examples() {
    let sources = [
        include_str!("kind/config.rs"),
        include_str!("kind/device.rs"),
        include_str!("kind/image.rs"),
        include_str!("kind/machine.rs"),
        include_str!("kind/place.rs"),
        include_str!("kind/room.rs"),
        include_str!("kind/secret.rs"),
        include_str!("kind/source.rs"),
        include_str!("kind/store.rs"),
    ];
    let listed: Vec<&str> = sources.iter().flat_map(|source| names_in(source)).collect();
    let names: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(names.len(), listed.len(), "a name is that of one kind");
    let made: Vec<String> = examples(&str::to_owned).iter().map(name).collect();
    assert_eq!(made.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
    // And none is that of a kind that has no thing of its own.
    let general: BTreeSet<&str> = names_in(include_str!("kind.rs")).collect();
    assert!(general.contains("os") && general.is_disjoint(&names));
}

#[test]
fn every_kind_of_one_thing_has_its_class_its_words_and_its_remedy() {
    let said: Vec<String> = examples(&str::to_owned).iter().map(said).collect();
    // `UPDATE_EXPECT=1 cargo test --package landfall-states` writes it again, for a person to read.
    expect_test::expect_file!["examples.txt"].assert_eq(&(said.join("\n") + "\n"));
}

#[test]
fn a_kind_says_every_text_that_it_has() {
    for fault in examples(&|field| format!("<{field}>")) {
        let value = serde_json::to_value(&*fault.kind).unwrap();
        let said = said(&fault);
        for (field, value) in value["values"].as_object().unwrap() {
            if let Some(text) = value.as_str() {
                assert!(said.contains(text), "{field} is not in: {said}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_foreign_text_breaks_a_line_or_moves_a_cursor(hostile in "[a\\n\\r\\t\\x1b\\x00\\u{85}\\u{9b}]{0,8}") {
        let foreign = |field: &str| format!("{hostile}{field}{hostile}");
        let injected = Fault::injected(FaultClass::Transient, foreign("on"), foreign("reason"));
        for fault in examples(&foreign).into_iter().chain([injected]) {
            let (why, list) = fault.reasons();
            let texts = [fault.what(), fault.why(), fault.next(), why, fault.to_string()];
            for text in texts.iter().chain(&list) {
                prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            }
        }
    }
}
