//! Reads a configuration from text.
//!
//! A refusal names the option, the value, what is allowed, and line and column. The rules are those of the types; there is no second
//! list of rules here.
//!
//! `super::check` checks whether the values fit together.

use super::Config;
use super::advice;
use super::finder::{position_of, text_of};
use super::notation::{Notation, ron_options, without_mark};
use super::problem::{MISSING, Position, Problem, json_problem, ron_problem};
use super::refused::{self, Refusal};
use super::tolerant::{self, Out, Tolerant};
use crate::safe_open::{self, Links, Refused};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::ConfigFault;
use landfall_states::remote::redact;
use landfall_states::untrusted_text::Shown;
use std::fmt;
use std::io::ErrorKind;

/// Longest configuration.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration is refused. Every problem that could be seen at once is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, if it came from one.
    pub file: Option<Utf8PathBuf>,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Whatever a text says is told without the passwords and tokens that URLs in it may carry, and cut where it is long.
    pub(super) fn of(problems: Vec<Problem>) -> Self {
        let told = |Problem { option, at, why, fix }| Problem {
            option: Shown::name(&redact(&option)).into(),
            at,
            why: Shown::line(&redact(&why)).into(),
            fix: fix.map(|fix| redact(&fix)),
        };
        ConfigError {
            file: None,
            problems: problems.into_iter().map(told).collect(),
        }
    }

    pub(super) fn in_file(self, path: &Utf8Path) -> Self {
        ConfigError {
            file: Some(path.to_owned()),
            problems: self.problems,
        }
    }
}

impl From<ConfigError> for ConfigFault {
    fn from(error: ConfigError) -> ConfigFault {
        let ConfigError { file, problems } = error;
        let said = |problem: &Problem| {
            let Problem { option, at, why, fix } = problem;
            let at = at.map_or(String::new(), |Position { line, column }| {
                format!("{line}:{column}: ")
            });
            let option = if option.is_empty() {
                String::new()
            } else {
                format!("{option}: ")
            };
            let fix = fix
                .as_ref()
                .map_or(String::new(), |fix| format!(" (next: {fix})"));
            format!("{at}{option}{why}{fix}")
        };
        ConfigFault::Invalid {
            file: file.map(|file| Shown::line(file.as_str()).into()),
            problems: problems.iter().map(said).collect(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file may be called anything.
        let file = self.file.as_ref().map_or("configuration".to_owned(), |file| {
            Shown::line(file.as_str()).into()
        });
        for (number, Problem { option, at, why, fix }) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&file)?;
            if let Some(Position { line, column }) = at {
                write!(f, ":{line}:{column}")?;
            }
            if !option.is_empty() {
                write!(f, ": {option}")?;
            }
            write!(f, ": {why}")?;
            if let Some(fix) = fix {
                write!(f, "\n    next: {fix}")?;
            }
        }
        Ok(())
    }
}

/// A file's text.
pub(super) fn text(path: &Utf8Path) -> Result<String, ConfigError> {
    let refuse = |why: String, fix: &str| {
        ConfigError::of(vec![Problem {
            option: String::new(),
            at: None,
            why,
            fix: Some(fix.to_owned()),
        }])
        .in_file(path)
    };
    let bytes = safe_open::read(path, Links::Follow, TEXT_BYTES_MAX).map_err(|refused| match refused {
        Refused::Absent => refuse(
            "it cannot be read: No such file or directory".into(),
            "name an existing file (its contents: docs/reference/configuration.md)",
        ),
        Refused::NotRegular(kind) | Refused::NoStorage(kind) => refuse(
            format!("it is not a file: it is a {kind}"),
            "name a configuration file, such as install.ron",
        ),
        Refused::TooLong { max } => refuse(
            format!("it has more than {max} bytes; a configuration has at most {max}"),
            "name the configuration file, such as install.ron",
        ),
        Refused::Os(e) => refuse(
            format!("it cannot be read: {}", plainly(&e)),
            if e.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) {
                "name an existing file: the link leads back to itself"
            } else {
                "make it readable for the user that runs landfall"
            },
        ),
    })?;
    if let Some(encoding) = wide(&bytes) {
        return Err(refuse(format!("it is {encoding}"), "save the file as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        refuse(
            format!("byte {} is not UTF-8", e.utf8_error().valid_up_to()),
            "save the file as UTF-8",
        )
    })?;
    let nothing = |c: char| c.is_whitespace() || c == '\0';
    if without_mark(&text).chars().all(nothing) {
        let what = if text.is_empty() {
            "it is empty"
        } else {
            "it has only spaces"
        };
        return Err(refuse(
            what.into(),
            "write a configuration into it, starting from a file in docs/examples (its contents: docs/reference/configuration.md)",
        ));
    }
    Ok(text)
}

/// The encoding of a text whose characters have two or four bytes: by its mark, or by the zeros beside its letters.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    let is_of_four = bytes.starts_with(&[0xFF, 0xFE, 0, 0]) || bytes.starts_with(&[0, 0, 0xFE, 0xFF]);
    let is_of_two = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    if is_of_four || is_of_two {
        return Some(if is_of_four { "UTF-32" } else { "UTF-16" });
    }
    // The more bytes a character has, the rarer is a byte that is none.
    let most = |size: usize, is_letter: fn(&[u8]) -> bool| {
        let all = bytes.chunks_exact(size).len();
        let letters = bytes.chunks_exact(size).filter(|bytes| is_letter(bytes)).count();
        letters > 1 && letters * 2 > all
    };
    let four = most(4, |c| matches!(c, [1..=255, 0, 0, 0])) || most(4, |c| matches!(c, [0, 0, 0, 1..=255]));
    let two = most(2, |c| matches!(c, [1..=255, 0])) || most(2, |c| matches!(c, [0, 1..=255]));
    match (four, two) {
        (true, _) => Some("UTF-32"),
        (false, true) => Some("UTF-16"),
        (false, false) => None,
    }
}

/// What the system says of an error; where it is plain without the path, which stands before it already.
fn plainly(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => "Permission denied".into(),
        _ => error.to_string(),
    }
}

/// Most problems of a configuration that are reported together.
pub(super) const PROBLEMS_MAX: usize = 64;

/// How often a text is read to find its problems.
const ROUNDS_MAX: usize = 4 * PROBLEMS_MAX;

/// That there are more problems than are told; `more`: how many, where that is known.
pub(super) fn and_more(more: Option<usize>) -> Problem {
    Problem {
        option: String::new(),
        at: None,
        why: match more {
            Some(1) => "… and 1 more problem".to_owned(),
            Some(more) => format!("… and {more} more problems"),
            None => "… and there may be more problems that were not checked".to_owned(),
        },
        fix: Some("correct these first, then: landfall check FILE".to_owned()),
    }
}

/// An option that has two values.
fn given_again(text: &str, notation: Notation, option: &str, at: Option<Position>) -> Problem {
    let first = position_of(text, notation, option).map_or(String::new(), |Position { line, column }| {
        format!(" (first at {line}:{column})")
    });
    Problem {
        option: option.to_owned(),
        at,
        why: format!("it is given more than once{first}, and only one value can be used"),
        fix: Some("keep the right one, and remove the others".to_owned()),
    }
}

/// Why the values cannot be read.
enum Unread {
    /// One of them is not what its option allows.
    Value(Problem),
    /// The text is not in its notation.
    Notation(Problem),
}

fn json_unread(path: String, error: &serde_json::Error) -> Unread {
    // serde_json says so of a value of another type, too, where one of some names belongs.
    let is_value = error.is_data() || ["on_success", "system"].contains(&path.as_str());
    let problem = json_problem(path, error);
    if is_value || error.to_string().starts_with("recursion limit") {
        Unread::Value(problem)
    } else {
        Unread::Notation(problem)
    }
}

/// What RON's reader says of a value that it could read, and what it says of the notation.
fn ron_unread(path: String, error: ron::error::SpannedError, text: &str) -> Unread {
    use ron::Error::*;
    let is_notation = matches!(
        error.code,
        Eof | ExpectedArrayEnd
            | ExpectedAttribute
            | ExpectedAttributeEnd
            | ExpectedComma
            | ExpectedMapColon
            | ExpectedMapEnd
            | ExpectedOptionEnd
            | ExpectedStringEnd
            | ExpectedStructLikeEnd
            | InvalidEscape(_)
            | TrailingCharacters
            | UnclosedBlockComment
            | UnexpectedChar(_)
            | UnclosedLineComment
    );
    let problem = ron_problem(path, error, text);
    if is_notation {
        Unread::Notation(problem)
    } else {
        Unread::Value(problem)
    }
}

/// The values, and every problem with one of them. Where there is a problem, the values are no configuration.
pub(super) fn all_values(text: &str, notation: Notation) -> (Option<Config>, Vec<Problem>, Out) {
    let (mut out, mut found) = (Out::new(), Vec::<Problem>::new());
    // What is left out may not be what is wrong, as where the name of an option has dots in it.
    for _ in 0..ROUNDS_MAX {
        match values(text, notation, &out) {
            Ok(config) => return (Some(config), found, out),
            // Behind what is not in the notation nothing is read, whatever is left out.
            Err(Unread::Notation(problem)) => {
                let mut problem = Problem {
                    option: refused::names_of_path(&problem.option),
                    ..problem
                };
                repaired_system(&mut problem, text, notation);
                // A value of another kind is told already.
                if !found.iter().any(|known| known.at == problem.at) {
                    found.push(problem);
                }
                break;
            }
            Err(Unread::Value(mut problem)) => {
                problem.option = tolerant::in_the_text(&out, &problem.option);
                if let Some(Refusal { why, fix }) =
                    text_of(text, notation, &problem.option).and_then(|value| {
                        advice::of_refused(&refused::names_of_path(&problem.option), &value, &problem.why)
                    })
                {
                    problem = Problem { why, fix, ..problem };
                }
                // Everything that is missing from one level is missing at one place.
                let is_missing = problem.why == MISSING;
                let is_new = !found.iter().any(|known| {
                    known.at == problem.at
                        && known.why == problem.why
                        && (!is_missing || known.option == problem.option)
                });
                let goes_on =
                    found.len() + 1 < PROBLEMS_MAX && tolerant::leave_out(&mut out, &problem.option);
                problem.option = refused::names_of_path(&problem.option);
                repaired_system(&mut problem, text, notation);
                if is_new {
                    if let Some(option) = tolerant::given_again(&problem.option) {
                        problem = given_again(text, notation, option, problem.at);
                    }
                    found.push(problem);
                }
                if !goes_on {
                    break;
                }
            }
        }
    }
    (None, found, out)
}

/// What to write for `system`, where it has one of its forms in another way.
fn repaired_system(problem: &mut Problem, text: &str, notation: Notation) {
    let Some(Position { line, column }) = problem.at else {
        return;
    };
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let at = line
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(line.len(), |(at, _)| at);
    let (before, rest) = line.split_at(at);
    if let Some(fix) = advice::form_of_system(&problem.option, &problem.why, before, rest, notation) {
        problem.fix = Some(fix);
    }
}

/// The values, without the options that are left `out`.
fn values(text: &str, notation: Notation, out: &Out) -> Result<Config, Unread> {
    match notation {
        Notation::Json => {
            let mut json = serde_json::Deserializer::from_str(text);
            let config = serde_path_to_error::deserialize(Tolerant::new(&mut json, out))
                .map_err(|e| json_unread(dotted(e.path()), e.inner()))?;
            json.end().map_err(|e| json_unread(String::new(), &e))?;
            Ok(config)
        }
        Notation::Ron => {
            let mut ron = ron::Deserializer::from_str_with_options(text, &ron_options())
                .map_err(|e| Unread::Notation(ron_problem(String::new(), e, text)))?;
            let made: Result<Config, _> = serde_path_to_error::deserialize(Tolerant::new(&mut ron, out));
            let config = match made {
                Ok(config) => config,
                Err(e) => {
                    let path = dotted(e.path());
                    return Err(ron_unread(path, ron.span_error(e.into_inner()), text));
                }
            };
            match ron.end() {
                Ok(()) => Ok(config),
                Err(e) => Err(ron_unread(String::new(), ron.span_error(e), text)),
            }
        }
    }
}

/// `.` stands for the whole file, `?` for what could not be named.
fn dotted(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    let path = path.trim_end_matches(['?', '.']);
    path.to_owned()
}
