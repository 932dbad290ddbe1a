//! One problem of a configuration: which option, where, why, and what to write.
//!
//! A value is named, and no more of the text is repeated.
//!
//! `config::parse` and `config::check` find problems.

use super::notation::{Notation, another_notation, json_notation};
use super::refused::{self, Refusal};
use super::tolerant;
use landfall_states::names::quoted;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The option's dotted path, such as `labels.efi`; empty when the file as a whole is meant.
    pub option: String,
    /// Where.
    pub at: Option<Position>,
    /// The value and what is allowed.
    pub why: String,
    /// What to do.
    pub fix: Option<String>,
}

/// The words for values within values within values, which no option has.
fn too_deep(option: String, at: Option<Position>) -> Problem {
    Problem {
        option,
        at,
        why: "values are nested more than a hundred levels deep here; no option has more than three levels"
            .to_owned(),
        fix: Some(
            "look for brackets that are not closed, or too many brackets (examples: docs/reference/configuration.md)"
                .to_owned(),
        ),
    }
}

pub(super) fn json_problem(path: String, error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    let text = text.strip_suffix(&place).unwrap_or(&text);
    // serde's own words, fixed since its first release: "unknown field `x`, expected one of `a`, `b`".
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let at = (line > 0).then_some(Position { line, column });
    if text.starts_with("unknown field ")
        && let [found, known @ ..] = quoted.as_slice()
    {
        return unknown(path, at, found, known);
    }
    if text.starts_with("unknown variant ")
        && let [found, known @ ..] = quoted.as_slice()
    {
        return not_one_of(path, at, found, known);
    }
    if text.starts_with(tolerant::AGAIN) || text.starts_with("duplicate field ") {
        return once_more(path, at, quoted.first().copied().unwrap_or_default());
    }
    if text == "recursion limit exceeded" {
        return too_deep(path, at);
    }
    if text.starts_with("missing field ")
        && let [field] = quoted.as_slice()
    {
        return missing(path, at, field);
    }
    // Where one of some names belongs, serde_json speaks of the notation for everything that cannot be a name.
    if text == "expected value" && ["on_success", "system"].contains(&path.as_str()) {
        let why = format!(
            "the value has the wrong type; allowed is {}",
            refused::allowed(&path, "enum", Notation::Json)
        );
        let fix = Some("write one of these names in double quotes".to_owned());
        return Problem {
            option: path,
            at,
            why,
            fix,
        };
    }
    if !error.is_data() {
        let (why, fix) = json_notation(text);
        return Problem {
            option: path,
            at,
            why,
            fix: Some(fix.to_owned()),
        };
    }
    let Refusal { why, fix } = Refusal::of_words(&path, text, Notation::Json);
    Problem {
        option: path,
        at,
        why,
        fix,
    }
}

pub(super) fn ron_problem(path: String, error: ron::error::SpannedError, text: &str) -> Problem {
    let start = error.span.start;
    let at = Some(Position {
        line: start.line,
        column: start.col,
    });
    // ron's error type grows with its releases: what is not named here has words of ours, without anything of the text.
    let there = refused::there(text, &error.span);
    let refusal = match &error.code {
        ron::Error::NoSuchStructField { expected, found, .. } if there.is_named() => {
            return unknown(path, at, found, expected);
        }
        ron::Error::NoSuchStructField { expected, found, .. } => {
            let Refusal { why, fix } = Refusal::unnamed(expected);
            let outer = path.strip_suffix(&**found).unwrap_or(&path);
            return Problem {
                option: outer.trim_end_matches('.').to_owned(),
                at,
                why,
                fix,
            };
        }
        ron::Error::NoSuchEnumVariant { expected, found, .. } => {
            return not_one_of(path, at, found, expected);
        }
        ron::Error::MissingStructField { field, .. } => return missing(path, at, field),
        ron::Error::DuplicateStructField { field, .. } => return once_more(path, at, field),
        ron::Error::ExceededRecursionLimit => return too_deep(path, at),
        ron::Error::Message(text) if text.starts_with(tolerant::AGAIN) => {
            return once_more(path, at, text.split('`').nth(1).unwrap_or_default());
        }
        code => Refusal::of_ron(&path, code, &there),
    };
    let Refusal { why, fix } = refusal;
    let unclear = [Some(refused::BRACKETS), Some(refused::COMPARE)];
    let begins_otherwise = path.is_empty() && unclear.contains(&fix.as_deref());
    let other = begins_otherwise.then(|| another_notation(text)).flatten();
    Problem {
        option: path,
        at,
        why,
        fix: other.map(str::to_owned).or(fix),
    }
}

/// Given once more: `name` is what `tolerant` calls it, or that of a field of a variant.
fn once_more(path: String, at: Option<Position>, name: &str) -> Problem {
    let option = match tolerant::given_again(name) {
        Some(_) => name.to_owned(),
        None if path.rsplit('.').next() == Some(name) => path,
        None if path.is_empty() => name.to_owned(),
        None => format!("{path}.{name}"),
    };
    Problem {
        option,
        at,
        why: "it is given more than once, and only one value can be used".to_owned(),
        fix: Some("keep the right one, and remove the others".to_owned()),
    }
}

fn unknown(path: String, at: Option<Position>, found: &str, known: &[&str]) -> Problem {
    // The path ends with the unknown name itself where the notation's reader had already entered it.
    let option = match path.rsplit('.').next() {
        Some(last) if last == found => path,
        _ if path.is_empty() => found.to_owned(),
        _ => format!("{path}.{found}"),
    };
    let outer = option
        .strip_suffix(found)
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned();
    let named = match refused::is_name(found) {
        true => format!(" {}", quoted(found)),
        false => " of that name".to_owned(),
    };
    Problem {
        option,
        at,
        why: format!(
            "there is no option{named} here; the options are: {}",
            known.join(", ")
        ),
        fix: Some(match near_miss(found, known) {
            Some(near) => format!("write {near}, if you mean that"),
            None => refused::way_of_unknown(&outer, found)
                .unwrap_or_else(|| "remove it, or write the option that you mean".to_owned()),
        }),
    }
}

fn not_one_of(path: String, at: Option<Position>, found: &str, known: &[&str]) -> Problem {
    // Only what was probably meant is repeated: anything else may be a secret.
    let near = near_miss(found, known);
    let shown = near.map_or("the value".to_owned(), |_| quoted(found));
    Problem {
        option: path,
        at,
        why: format!("{shown} is not allowed: it must be one of {}", known.join(", ")),
        fix: Some(match near {
            Some(near) => format!("write {near}, if you mean that"),
            None => "write one of these names".to_owned(),
        }),
    }
}

/// Why an option without a default is a problem.
pub(super) const MISSING: &str = "it is missing and has no default";

fn missing(path: String, at: Option<Position>, field: &str) -> Problem {
    Problem {
        option: if path.is_empty() {
            field.to_owned()
        } else {
            format!("{path}.{field}")
        },
        at,
        why: MISSING.to_owned(),
        fix: Some(format!("add {field} (examples: docs/reference/configuration.md)")),
    }
}

/// The known name that was probably meant. Camel case counts as its snake case.
fn near_miss<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let found = plain(found);
    known
        .iter()
        .map(|name| (strsim::osa_distance(&found, &plain(name)), *name))
        .filter(|(distance, _)| *distance <= 1 + found.len() / 4)
        .min()
        .map(|(_, name)| name)
}

pub(super) fn problem(option: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem {
        option: option.into(),
        at: None,
        why: why.into(),
        fix: Some(fix.into()),
    }
}
