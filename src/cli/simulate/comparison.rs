//! `landfall simulate --writes` and `--decisions`: the data that a recording of a real disk is compared with.
//!
//! Both describe the run without faults, in a fixed order, so the same configuration prints the same text. The laboratory makes the
//! recording.

use crate::cli::Failure;
use crate::exit::Exit;
use crate::sim::check::decisions::Verdict;
use crate::sim::explore::harness::Harness;
use serde_json::json;
use std::io::Write;

/// What the run without faults writes.
pub(super) fn writes(harness: &Harness, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let effects: Vec<String> = harness.effects().iter().map(ToString::to_string).collect();
    if json {
        writeln!(out, "{}", json!({ "writes": effects }))?;
    } else {
        for effect in effects {
            writeln!(out, "{effect}")?;
        }
    }
    Ok(Exit::Ok)
}

/// What is decided about every disk that a power cut may leave of the run without faults.
pub(super) fn decisions(harness: &Harness, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let decisions = harness.decisions();
    if json {
        let all: Vec<_> = decisions
            .iter()
            .map(|(seen, verdicts)| json!({ "seen": seen, "verdicts": verdicts }))
            .collect();
        writeln!(out, "{}", json!({ "decisions": all }))?;
        return Ok(Exit::Ok);
    }
    for (seen, verdicts) in decisions {
        for Verdict {
            decision,
            rules,
            claimed,
        } in verdicts
        {
            let seen = if seen.is_empty() {
                "nothing".to_owned()
            } else {
                seen.join(", ")
            };
            let claimed = claimed.map_or(String::new(), |phase| {
                format!(", the record of {phase} is trusted")
            });
            let rules = match rules.as_slice() {
                [] => String::new(),
                rules => {
                    let numbers: Vec<String> = rules.iter().map(ToString::to_string).collect();
                    format!(" (rules {})", numbers.join(", "))
                }
            };
            writeln!(out, "{seen}: {decision}{claimed}{rules}")?;
        }
    }
    Ok(Exit::Ok)
}
