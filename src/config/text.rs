//! Checks the texts of a configuration.
//!
//! No text has a character that controls a terminal, ends a C string, or is invisible, so a reader of the configuration sees what it
//! says. The rule is the same for every option.
//!
//! The options have their own rules. Shell commands can have several lines; the operator is responsible for them.

use super::{Config, Problem};
use landfall_states::untrusted_text::is_hidden;
use serde_json::Value;

/// Options whose texts may have several lines.
const LINES: &str = "extra_post_mount_commands[";

/// Everything that is wrong.
pub(super) fn problems(config: &Config, found: &mut Vec<Problem>) {
    // A configuration is made of texts, numbers, lists and maps with names: it can be written as JSON.
    match serde_json::to_value(config) {
        Ok(value) => walk(&value, "", found),
        Err(e) => found.push(Problem {
            option: String::new(),
            at: None,
            why: format!("it cannot be written: {e}"),
            fix: None,
        }),
    }
}

fn walk(value: &Value, option: &str, found: &mut Vec<Problem>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => found.extend(objection(text, option)),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                walk(value, &format!("{option}[{index}]"), found);
            }
        }
        Value::Object(values) => {
            for (name, value) in values {
                let option = if option.is_empty() {
                    name.clone()
                } else {
                    format!("{option}.{name}")
                };
                walk(value, &option, found);
            }
        }
    }
}

fn objection(text: &str, option: &str) -> Option<Problem> {
    let has_lines = option.starts_with(LINES);
    let at = text
        .chars()
        .position(|c| is_hidden(c) && !(has_lines && matches!(c, '\n' | '\t')))?;
    let code = text.chars().nth(at).map_or(0, u32::from);
    Some(Problem {
        option: option.to_owned(),
        at: None,
        why: format!(
            "character {} of the text is a control character or an invisible character (U+{code:04X})",
            at + 1
        ),
        fix: Some("remove it (it may come from copied text)".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_has_what_cannot_be_seen() {
        for (text, option, at) in [
            ("/x\0y", "repository.bundle", Some("character 3 ")),
            ("/a\u{1b}[31m", "ssh.known_hosts", Some("U+001B")),
            ("/a\u{202e}b", "ssh.key", Some("U+202E")),
            ("zero\u{200b}width", "unattended.disk", Some("U+200B")),
            ("\u{9b}", "host", Some("U+009B")),
            ("a\nb", "ssh.key", Some("U+000A")),
            ("a\n\tb", "extra_post_mount_commands[3]", None),
            ("a\u{1b}b", "extra_post_mount_commands[3]", Some("U+001B")),
            ("/srv/käse/€", "repository.bundle", None),
        ] {
            let said = objection(text, option).map(|problem| problem.why);
            assert_eq!(said.is_some(), at.is_some(), "{text:?}: {said:?}");
            assert!(
                said.unwrap_or_default().contains(at.unwrap_or_default()),
                "{text:?}"
            );
        }
    }
}
