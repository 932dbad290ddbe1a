//! How a command reports its failure: a text for people and, with `--json`, one object as the last line of standard output.
//!
//! The texts come with each error.

use crate::config::ConfigError;
use crate::exit::Exit;
use clap::error::ErrorKind;
use landfall_states::fault::Fault;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write;

/// What stands before what to do.
const NEXT: &str = "next: ";

/// Why a command could not do what it was asked; printed on standard error.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// The text; may be empty when everything was said.
    pub text: String,
}

impl Failure {
    /// With a text.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Failure {
            exit,
            text: text.into(),
        }
    }

    /// The same for programs: the lines that say what to do are apart.
    pub fn told(&self) -> Value {
        let (mut why, mut next): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
        for line in self.text.lines() {
            match line.trim_start().strip_prefix(NEXT) {
                Some(what) if !next.contains(&what) => next.push(what),
                Some(_) => {}
                None => why.push(line),
            }
        }
        let next = (!next.is_empty()).then(|| next.join("; "));
        object(why.join("\n").trim_end(), next.as_deref(), self.exit)
    }
}

/// The object of a failure.
pub(super) fn object(why: &str, next: Option<&str>, exit: Exit) -> Value {
    json!({ "result": "failed", "why": why, "next": next, "exit": exit.code() })
}

/// Ends on a command line that is not understood, or shows the help that was asked for. `words`: the command line.
pub(super) fn refuse(error: &clap::Error, words: &[OsString]) -> Exit {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.exit();
    }
    let json = words.iter().any(|word| word == "--json");
    let failure = usage(error, words);
    tell(json, &failure.told(), &mut std::io::stdout());
    super::print_error(&format!("landfall: {}", failure.text));
    failure.exit
}

/// A command line that is not understood, in the form of every other refusal.
fn usage(error: &clap::Error, words: &[OsString]) -> Failure {
    let text = error.to_string();
    let why = text.split("\n\nUsage:").next().unwrap_or_default();
    let why = why.split("\n\nFor more information").next().unwrap_or_default();
    let why = why
        .trim_start_matches("error: ")
        .trim()
        .replace("\n\n  tip: ", "; ");
    let next = match error.kind() {
        ErrorKind::InvalidUtf8 => {
            "give the file a name in UTF-8 (mv), or a link of such a name (ln -s)".to_owned()
        }
        _ => format!("{} --help", command_of(words)),
    };
    Failure::new(Exit::Usage, format!("{why}\n    next: {next}"))
}

/// The command of a command line, with the one below it: `landfall image write`.
fn command_of(words: &[OsString]) -> String {
    let (mut name, mut command) = ("landfall".to_owned(), super::command());
    for word in words.iter().skip(1) {
        let below = word
            .to_str()
            .and_then(|word| command.find_subcommand(word))
            .cloned();
        let Some(below) = below else { break };
        name.push_str(&format!(" {}", below.get_name()));
        command = below;
    }
    name
}

/// With `--json`, the last line of a command that failed. Where nobody reads it the failure itself still counts.
pub(super) fn tell(json: bool, told: &Value, out: &mut dyn Write) {
    if json && let Err(error) = writeln!(out, "{told}") {
        tracing::debug!(%error, "the last line");
    }
}

/// The same of a whole command.
pub(super) fn told(json: bool, ended: Result<Exit, Failure>, out: &mut dyn Write) -> Result<Exit, Failure> {
    if let Err(failure) = &ended {
        // A reader that has seen enough reads no more.
        tell(json && failure.exit != Exit::Ok, &failure.told(), out);
    }
    ended
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::new(Exit::Usage, error.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let (why, list) = fault.reasons();
        let colon = if list.is_empty() { "" } else { ":" };
        let mut text = format!("{}: {why} ({}){colon}", fault.what(), fault.class);
        for line in &list {
            text.push_str(&format!("\n        {line}"));
        }
        text.push_str(&format!("\n    next: {}", fault.next()));
        Failure::new(Exit::of(&fault), text)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that has seen enough (`landfall log | head`) is no failure.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Failure::new(Exit::Ok, "")
        } else if error.get_ref().is_some_and(|inner| inner.is::<OutputError>()) {
            Failure::new(
                Exit::Internal,
                format!(
                    "{}\n    next: run the command again with its output on a terminal, or in a file on a filesystem with free space (> FILE)",
                    crate::os_error::said(&error)
                ),
            )
        } else {
            Failure::new(Exit::Internal, crate::os_error::said(&error))
        }
    }
}

/// Why standard output did not take what was written to it.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {}", crate::os_error::said(.0))]
pub(super) struct OutputError(pub(super) std::io::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_for_programs_has_what_to_do_apart() {
        let told = |text: &str| Failure::new(Exit::NeedsChange, text).told();
        assert_eq!(
            told("a: b\n    next: c"),
            json!({ "result": "failed", "why": "a: b", "next": "c", "exit": 6 })
        );
        assert_eq!(told("a")["next"], Value::Null);
        let several = told(
            "nothing was changed\n    a\n        next: x\n    b\n        next: x\n    c\n        next: y",
        );
        assert_eq!(several["next"], "x; y");
        assert_eq!(several["why"], "nothing was changed\n    a\n    b\n    c");
    }

    #[test]
    fn the_last_line_is_there_for_programs_alone() {
        for (json, exit, wanted) in [
            (true, Exit::Usage, 1),
            (false, Exit::Usage, 0),
            // A pipe that was closed.
            (true, Exit::Ok, 0),
        ] {
            let mut out = vec![];
            let ended = super::told(json, Err(Failure::new(exit, "x")), &mut out);
            assert_eq!(ended.map_err(|failure| failure.exit), Err(exit));
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), wanted);
        }
    }

    #[test]
    fn a_command_line_is_refused_like_everything_else() {
        let refused = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            match super::super::command().try_get_matches_from(&words) {
                Ok(_) => panic!("{line}: it is accepted"),
                Err(error) => usage(&error, &words).text,
            }
        };
        assert_eq!(
            refused("landfall image write i d --threads 9"),
            "invalid value '9' for '--threads <1-8>': give a whole number from 1 to 8\n    next: landfall image write --help"
        );
        let unknown = refused("landfall status --wach");
        assert!(
            unknown.contains("--watch") && unknown.ends_with("next: landfall status --help"),
            "{unknown}"
        );
        assert_eq!(
            refused("landfall statsu"),
            "unrecognized subcommand 'statsu'; a similar subcommand exists: 'status'\n    next: landfall --help"
        );
    }
}
