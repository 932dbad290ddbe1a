//! Compares what the simulation decides about a disk, by what can be seen on it, with what landfall decides about a real one.
//!
//! The simulation knows what every real crash state shows, and comes to the same decision.
//!
//! `conformance` has the crash states.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::Program;

/// The recovery rule that says how slots were found; the simulated slots have places, and are always found.
const RULE_SCANNED: u8 = 18;

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Verdict {
    /// `begin`, `continue`, `landed` or `stop`.
    pub decision: String,
    /// The recovery rules that say so.
    pub rules: Vec<u8>,
    /// What the believed checkpoint claims.
    pub claimed: Option<String>,
}

impl Verdict {
    /// The decision and what the record claims.
    pub fn in_words(&self) -> String {
        format!("{} {}", self.decision, self.claimed.as_deref().unwrap_or("-"))
    }

    fn comparable(&self) -> Verdict {
        let mut same = self.clone();
        same.rules.retain(|rule| *rule != RULE_SCANNED);
        same
    }
}

/// What is seen, in order of the text, and what is decided about it.
#[derive(Debug, Clone, Default)]
pub struct Decisions(BTreeMap<Vec<String>, BTreeSet<Verdict>>);

impl Decisions {
    /// What the simulation says of a configuration on a blank disk.
    pub fn simulated(program: &Path, config: &Path) -> Result<Decisions> {
        #[derive(Deserialize)]
        struct Told {
            decisions: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            seen: Vec<String>,
            verdicts: Vec<Verdict>,
        }
        let output = Program::new(program)
            .args([
                "simulate",
                "--decisions",
                "--json",
                "--before",
                "blank",
                "--config",
            ])
            .arg(config)
            .run()?;
        let text = output.text();
        let told: Told =
            serde_json::from_str(&text).with_context(|| format!("not a list of decisions: {text}"))?;
        let mut decisions = Decisions::default();
        for One { seen, verdicts } in told.decisions {
            let verdicts = verdicts.iter().map(Verdict::comparable);
            decisions.0.entry(seen).or_default().extend(verdicts);
        }
        Ok(decisions)
    }

    /// How many kinds of disk are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The simulation knows such a disk, and this is what it decides about it.
    pub fn agree(&self, seen: &[String], verdict: &Verdict) -> Result<()> {
        let known = self
            .0
            .get(seen)
            .with_context(|| format!("no simulated power cut leaves a disk that shows just {seen:?}"))?;
        ensure!(
            known.contains(&verdict.comparable()),
            "of a disk that shows {seen:?} the simulation says {known:?}"
        );
        Ok(())
    }

    /// Whether the same decision would be right of a disk without its checkpoints: a decision that would is no proof that
    /// they are read.
    pub fn is_without_slots(&self, seen: &[String], verdict: &Verdict) -> bool {
        let without: Vec<String> = seen
            .iter()
            .filter(|what| !what.starts_with("checkpoint "))
            .cloned()
            .collect();
        self.0
            .get(&without)
            .is_some_and(|known| known.contains(&verdict.comparable()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(decision: &str, rules: &[u8], claimed: Option<&str>) -> Verdict {
        Verdict {
            decision: decision.to_owned(),
            rules: rules.to_vec(),
            claimed: claimed.map(str::to_owned),
        }
    }

    #[test]
    fn another_decision_and_an_unknown_disk_are_told() {
        let seen = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let with = seen(&["checkpoint Formatted Begun", "table primary"]);
        let decisions = Decisions(BTreeMap::from([
            (
                with.clone(),
                BTreeSet::from([verdict("continue", &[], Some("Formatted"))]),
            ),
            (
                seen(&["table primary"]),
                BTreeSet::from([verdict("continue", &[2], None)]),
            ),
        ]));
        let right = verdict("continue", &[18], Some("Formatted"));
        decisions.agree(&with, &right).unwrap();
        assert!(!decisions.is_without_slots(&with, &right));
        assert!(decisions.is_without_slots(&with, &verdict("continue", &[2], None)));
        let other = decisions.agree(&with, &verdict("begin", &[], None)).unwrap_err();
        assert!(other.to_string().contains("the simulation says"), "{other}");
        let unknown = decisions.agree(&seen(&["volume 1 planned"]), &right).unwrap_err();
        assert!(
            unknown.to_string().contains("no simulated power cut"),
            "{unknown}"
        );
    }
}
