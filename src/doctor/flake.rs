//! Asking Nix about a flake. Law: nothing is built, no lock file is written, no cache of evaluations is kept, and what is a fault is
//! said with Nix's own last words.
//!
//! Absent: what the answers mean (`operator`).

use super::{Outcome, Scene};
use crate::real::command::Program;
use crate::real::memory::Memory;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::FaultClass;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The longest that one evaluation may take.
const DEADLINE: Duration = Duration::from_secs(590);
/// Lines of Nix's words that are kept.
const LINES_MAX: usize = 12;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There is no Nix.
    NoNix,
    /// The flake has no such attribute.
    NoAttribute(Vec<String>),
    /// The evaluation failed: Nix's last words.
    Failed(Vec<String>),
    /// What came is no answer.
    Strange(String),
}

impl NoAnswer {
    /// As the outcome of a check of this attribute.
    pub fn outcome(self, what: &str, next: &str) -> Outcome {
        match self {
            NoAnswer::NoNix => Outcome::skipped("nix is not in PATH"),
            NoAnswer::NoAttribute(said) | NoAnswer::Failed(said) => {
                Outcome::wrong_list(FaultClass::Permanent, what, "Nix cannot evaluate it", said, next)
            }
            NoAnswer::Strange(why) => Outcome::skipped(why),
        }
    }
}

/// The flake's directory as Nix is told it.
fn reference(dir: &Utf8Path) -> String {
    dir.as_str()
        .bytes()
        .map(|b| match b {
            b'/' | b'.' | b'_' | b'-' | b'~' | b'+' => char::from(b).to_string(),
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

/// A name as an attribute in a path of attributes.
pub(super) fn attribute(name: &str) -> String {
    format!("\"{name}\"")
}

/// Evaluates an attribute of the flake, and a function of it.
pub(super) async fn ask<T: DeserializeOwned>(
    scene: &Scene,
    dir: &Utf8Path,
    attribute: &str,
    function: &str,
) -> Result<T, NoAnswer> {
    let asked = Program::new("nix")
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["eval", "--json", "--read-only", "--no-write-lock-file"])
        .args(["--option", "eval-cache", "false"])
        .arg(format!("{}#{attribute}", reference(dir)))
        .args(["--apply", function])
        .memory(Memory::Nix)
        .dir("/")
        .deadline(DEADLINE);
    let ended = match scene.hands.run(asked).await {
        Ok(ended) => ended,
        Err(fault) if is_missing(&fault) => return Err(NoAnswer::NoNix),
        Err(fault) => return Err(NoAnswer::Failed(vec![fault.why()])),
    };
    if !ended.success() {
        let said = last_words(&ended.stderr);
        let is_absent = ended.stderr.contains("does not provide attribute");
        return Err(if is_absent {
            NoAnswer::NoAttribute(said)
        } else {
            NoAnswer::Failed(said)
        });
    }
    serde_json::from_str(&ended.stdout)
        .map_err(|e| NoAnswer::Strange(format!("Nix's answer is not understood: {e}")))
}

/// Whether a program could not be started.
pub(super) fn is_missing(fault: &landfall_states::fault::Fault) -> bool {
    use landfall_states::fault::{Kind, MachineFault};
    matches!(&*fault.kind, Kind::Machine(MachineFault::ToolNotStarted { .. }))
}

/// What Nix said last: from its last `error:` on, without the trace.
fn last_words(stderr: &str) -> Vec<String> {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with("error:"))
        .unwrap_or(lines.len().saturating_sub(LINES_MAX));
    lines
        .iter()
        .skip(from)
        .take(LINES_MAX)
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The flake that is looked at.
pub(super) fn dir(scene: &Scene) -> Result<&Utf8PathBuf, Outcome> {
    scene
        .flake
        .as_ref()
        .ok_or_else(|| Outcome::skipped("no flake was given: --flake DIR"))
}
