//! The allowed ranges of numbers, for messages about a value that is not such a number.
//!
//! They are the ranges of `check`; a test compares every number of a configuration. `check` does the checking.

use landfall_states::recovery::NONCE_MAX;

/// Every option that is a whole number, its least and its greatest value.
const RANGES: [(&str, u64, u64); 11] = [
    ("luks.iteration_time_ms", 100, 60_000),
    ("reinstall", 0, NONCE_MAX as u64),
    ("nix.stalled_download_timeout_s", 1, 3_600),
    ("nix.connect_timeout_s", 1, 3_600),
    ("nix.deadline_s", 1, 7 * 86_400),
    ("ssh.generate_wait_s", 1, 7 * 86_400),
    ("retry.phase_attempts_max", 1, 10_000),
    ("retry.total_attempts_max", 1, 100_000),
    ("retry.retries_per_run_max", 0, 1_000),
    ("retry.backoff_first_ms", 1, 3_600_000),
    ("retry.backoff_max_ms", 1, 3_600_000),
];

/// The least and the greatest value of an option.
pub(super) fn of(option: &str) -> Option<(u64, u64)> {
    RANGES
        .iter()
        .find(|(known, _, _)| *known == option)
        .map(|(_, min, max)| (*min, *max))
}

/// What is allowed.
pub(super) fn words(option: &str) -> String {
    match of(option) {
        Some((min, max)) => from_to(min, max),
        None => "a whole number".to_owned(),
    }
}

/// A range, in words.
pub(super) fn from_to(min: u64, max: u64) -> String {
    format!("a whole number from {min} to {max}")
}

/// What to write in place of a number that is not in its range. Every number has a default.
pub(super) fn advice(min: u64, max: u64) -> String {
    format!("write {}, or leave it out to use the default", from_to(min, max))
}

/// What to write in place of a text, or of a value of another type; `number`: the one in the text.
pub(super) fn without_quotes(option: &str, number: Option<u64>) -> String {
    let is_right = |number: &u64| of(option).is_none_or(|(min, max)| (min..=max).contains(number));
    match number.filter(is_right) {
        Some(number) => format!("write {number}, without quotes"),
        None => format!("write {}, without quotes", words(option)),
    }
}

/// As [`advice`], of an option.
pub(super) fn advice_of(option: &str) -> String {
    format!("write {}, or leave it out to use the default", words(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Notation};
    use serde_json::{Value, json};

    fn numbers(value: &Value, option: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(options) => {
                for (name, value) in options {
                    let inner = if option.is_empty() {
                        name.clone()
                    } else {
                        format!("{option}.{name}")
                    };
                    numbers(value, &inner, found);
                }
            }
            Value::Number(_) => found.push(option.to_owned()),
            _ => {}
        }
    }

    #[test]
    fn the_words_about_a_number_are_those_of_its_check() {
        let smallest = json!({"host": "web", "labels": {"efi": "E", "root": "r"}, "repository": {"remote": "/r"}, "system": "Flake"});
        let normal = Config::parse(&smallest.to_string(), Notation::Json).unwrap();
        let mut options = vec![];
        numbers(&serde_json::to_value(&normal).unwrap(), "", &mut options);
        assert!(options.len() >= 10, "{options:?}");
        for option in options {
            let (min, max) = of(&option).unwrap_or_else(|| panic!("{option} has no range here"));
            for (number, is_right) in [
                (Some(min), true),
                (Some(max), true),
                (max.checked_add(1), false),
                (min.checked_sub(1), false),
            ] {
                let Some(number) = number else { continue };
                let mut config = smallest.clone();
                match option.split_once('.') {
                    Some((outer, inner)) => config[outer] = json!({inner: number}),
                    None => config[&option] = number.into(),
                }
                let said = Config::parse(&config.to_string(), Notation::Json)
                    .err()
                    .map(|error| error.to_string());
                let about_it = said.as_deref().is_some_and(|said| said.contains(&words(&option)));
                assert_eq!(about_it, !is_right, "{option}: {number}: {said:?}");
            }
        }
    }
}
