//! What can go wrong, by what may be done about it. Law: the class alone decides whether a retry is allowed, and the
//! budget alone decides how often; both are pure, so that a run can be replayed.
//!
//! Absent: a clock and randomness. The wait is computed from the attempt's number and a seed that the caller holds.

use crate::Phase;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What may be done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultClass {
    /// Network, busy device, server trouble: retried within the budget.
    #[serde(rename = "Transient")]
    Transient,
    /// Something outside has to change (clock, space, passphrase, a missing tool): stop and say what.
    #[serde(rename = "NeedsChange")]
    NeedsChange,
    /// The same again would fail the same way (revision gone, evaluation error): stop, keep everything.
    #[serde(rename = "Permanent")]
    Permanent,
    /// The device reports errors: stop, no more writes.
    #[serde(rename = "Hardware")]
    Hardware,
    /// Identity, fork, foreign data: stop, never retried.
    #[serde(rename = "Unsafe")]
    Unsafe,
    /// A person or a signal asked to stop: everything is saved.
    #[serde(rename = "Interrupted")]
    Interrupted,
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultClass::Transient => "transient",
            FaultClass::NeedsChange => "needs a change",
            FaultClass::Permanent => "permanent",
            FaultClass::Hardware => "hardware",
            FaultClass::Unsafe => "unsafe",
            FaultClass::Interrupted => "interrupted",
        })
    }
}

/// One fault: what failed, why, and the next thing to do. Texts hold no secrets; they are kept in checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Fault {
    /// What may be done.
    #[serde(rename = "class")]
    pub class: FaultClass,
    /// The thing and its value, e.g. `clone of https://…`.
    #[serde(rename = "what")]
    pub what: String,
    /// The reason.
    #[serde(rename = "why")]
    pub why: String,
    /// The next command or change, as a person would type or do it.
    #[serde(rename = "next")]
    pub next: String,
    /// How long the other side asked to wait, in seconds (HTTP `Retry-After`).
    #[serde(rename = "retry_after_s")]
    pub retry_after_s: Option<u64>,
}

impl Fault {
    /// A fault of a class.
    pub fn new(
        class: FaultClass,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Fault {
            class,
            what: what.into(),
            why: why.into(),
            next: next.into(),
            retry_after_s: None,
        }
    }
    /// See [`FaultClass::Transient`].
    pub fn transient(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(FaultClass::Transient, what, why, "landfall resume")
    }
    /// See [`FaultClass::NeedsChange`].
    pub fn needs_change(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(FaultClass::NeedsChange, what, why, next)
    }
    /// See [`FaultClass::Permanent`].
    pub fn permanent(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(FaultClass::Permanent, what, why, next)
    }
    /// See [`FaultClass::Hardware`].
    pub fn hardware(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(
            FaultClass::Hardware,
            what,
            why,
            "replace the device, then landfall resume",
        )
    }
    /// See [`FaultClass::Unsafe`].
    pub fn unsafe_(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(FaultClass::Unsafe, what, why, next)
    }

    /// The same with another next thing to do.
    pub fn with_next(self, next: impl Into<String>) -> Self {
        Fault {
            next: next.into(),
            ..self
        }
    }

    /// The fault with its texts cut to what a checkpoint has room for.
    pub fn abridged(&self, bytes_max: usize) -> Self {
        let cut = |text: &str| {
            let mut end = text.len().min(bytes_max);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            if end < text.len() {
                format!("{}…", &text[..end])
            } else {
                text.to_owned()
            }
        };
        Fault {
            what: cut(&self.what),
            why: cut(&self.why),
            next: cut(&self.next),
            ..self.clone()
        }
    }
}

/// How often each phase, and the whole install, may be tried. Persisted, so that reboots do not refill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Attempts at one phase.
    pub phase_attempts_max: u32,
    /// Attempts in total.
    pub total_attempts_max: u32,
    /// Retries without a reboot or a new command, in one run, of one phase.
    pub retries_per_run_max: u32,
    /// The first wait, in milliseconds; doubled each time.
    pub backoff_first_ms: u64,
    /// The longest wait, in milliseconds.
    pub backoff_max_ms: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            phase_attempts_max: 50,
            total_attempts_max: 200,
            retries_per_run_max: 10,
            backoff_first_ms: 1_000,
            backoff_max_ms: 60_000,
        }
    }
}

/// Attempts made so far, by phase. Raised and saved *before* an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts(BTreeMap<Phase, u32>);

impl Attempts {
    /// Attempts at the action that leads on from `phase`.
    pub fn of(&self, phase: Phase) -> u32 {
        self.0.get(&phase).copied().unwrap_or(0)
    }
    /// Attempts in total.
    pub fn total(&self) -> u32 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }
    /// One more attempt at `phase`; returns its number, from 1.
    pub fn raise(&mut self, phase: Phase) -> u32 {
        let count = self.0.entry(phase).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }
    /// A new start by a person's word: the count begins again.
    pub fn forgive(&mut self) {
        self.0.clear();
    }
    /// Phases tried so far with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, u32)> + '_ {
        self.0.iter().map(|(phase, count)| (*phase, *count))
    }
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterFault {
    /// Try again after this wait.
    RetryIn(Duration),
    /// Stop with the fault as it is.
    Stop,
    /// Stop: the budget is spent. The text names the limit.
    Exhausted(String),
}

impl Budget {
    /// Whether one more attempt at `phase` may begin (recovery rule 17).
    pub fn admits(&self, attempts: &Attempts, phase: Phase) -> Result<(), Fault> {
        let limit = |name: &str, made: u32, max: u32| {
            Err(Fault::new(
                FaultClass::Permanent,
                format!("attempt limit ({phase})"),
                format!("{made} attempts {name} were made, the limit is {max}"),
                "mend the cause (landfall log), then landfall resume --forgive",
            ))
        };
        if attempts.of(phase) >= self.phase_attempts_max {
            return limit("at this phase", attempts.of(phase), self.phase_attempts_max);
        }
        if attempts.total() >= self.total_attempts_max {
            return limit("in total", attempts.total(), self.total_attempts_max);
        }
        Ok(())
    }

    /// What follows a fault of the `retry`-th retry (from 0) in this run. `seed` spreads the waits.
    pub fn after(&self, fault: &Fault, retry: u32, seed: u64) -> AfterFault {
        match fault.class {
            FaultClass::Transient => {}
            FaultClass::NeedsChange
            | FaultClass::Permanent
            | FaultClass::Hardware
            | FaultClass::Unsafe
            | FaultClass::Interrupted => return AfterFault::Stop,
        }
        if retry >= self.retries_per_run_max {
            return AfterFault::Exhausted(format!("{} retries in this run", self.retries_per_run_max));
        }
        let full = self
            .backoff_first_ms
            .saturating_mul(1_u64.checked_shl(retry).unwrap_or(u64::MAX))
            .min(self.backoff_max_ms);
        // Half fixed, half spread: peers that failed together do not come back together.
        let spread = splitmix(seed ^ u64::from(retry)) % (full / 2 + 1);
        let asked = fault
            .retry_after_s
            .map_or(0, |s| s.saturating_mul(1_000))
            .min(15 * 60 * 1_000);
        AfterFault::RetryIn(Duration::from_millis((full / 2 + spread).max(asked)))
    }
}

/// Steele, Lea and Flood's SplitMix64 finaliser: a well-mixed number from a seed, no state.
fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_next_thing_replaces_the_first_and_nothing_else() {
        let fault = Fault::transient("disk", "gone");
        let other = fault.clone().with_next("attach it");
        assert_eq!(other.next, "attach it");
        assert_eq!(other.with_next(fault.next.clone()), fault);
    }

    #[test]
    fn only_transient_faults_are_retried() {
        let budget = Budget::default();
        for class in [
            FaultClass::NeedsChange,
            FaultClass::Permanent,
            FaultClass::Hardware,
            FaultClass::Unsafe,
            FaultClass::Interrupted,
        ] {
            assert_eq!(
                budget.after(&Fault::new(class, "", "", ""), 0, 1),
                AfterFault::Stop,
                "{class}"
            );
        }
        assert!(matches!(
            budget.after(&Fault::transient("", ""), 0, 1),
            AfterFault::RetryIn(_)
        ));
    }

    #[test]
    fn waits_grow_are_bounded_and_obey_the_server() {
        let budget = Budget::default();
        let wait = |fault: &Fault, retry| match budget.after(fault, retry, 7) {
            AfterFault::RetryIn(wait) => wait.as_millis() as u64,
            other => panic!("{other:?}"),
        };
        let plain = Fault::transient("", "");
        for retry in 0..budget.retries_per_run_max {
            let full = (1_000 << retry).min(60_000);
            assert!((full / 2..=full).contains(&wait(&plain, retry)), "retry {retry}");
        }
        let asked = Fault {
            retry_after_s: Some(90),
            ..plain.clone()
        };
        assert_eq!(wait(&asked, 0), 90_000);
        assert!(matches!(
            budget.after(&plain, budget.retries_per_run_max, 7),
            AfterFault::Exhausted(_)
        ));
    }

    #[test]
    fn the_budget_ends_by_phase_and_in_total() {
        let budget = Budget {
            phase_attempts_max: 2,
            total_attempts_max: 3,
            ..Budget::default()
        };
        let mut attempts = Attempts::default();
        assert!(budget.admits(&attempts, Phase::Formatted).is_ok());
        attempts.raise(Phase::Formatted);
        assert_eq!(attempts.raise(Phase::Formatted), 2);
        assert!(budget.admits(&attempts, Phase::Formatted).is_err());
        assert!(budget.admits(&attempts, Phase::Cloned).is_ok());
        attempts.raise(Phase::Cloned);
        assert!(budget.admits(&attempts, Phase::Realised).is_err());
        attempts.forgive();
        assert!(budget.admits(&attempts, Phase::Formatted).is_ok());
    }

    /// The waits of one retry over many seeds.
    fn waits(budget: &Budget, fault: &Fault, retry: u32) -> Vec<u64> {
        let wait = |seed| match budget.after(fault, retry, seed) {
            AfterFault::RetryIn(wait) => wait.as_millis() as u64,
            other => panic!("{other:?}"),
        };
        (0..64).map(wait).collect()
    }

    #[test]
    fn a_wait_is_half_fixed_and_half_spread_by_seed_and_retry() {
        let short = Budget {
            backoff_first_ms: 2,
            backoff_max_ms: 2,
            ..Budget::default()
        };
        let plain = Fault::transient("", "");
        let mut seen = waits(&short, &plain, 0);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(
            seen,
            [1, 2],
            "both ends of the spread are reached, and nothing beyond them"
        );
        // Peers that failed together, and one peer's retries at the longest wait, differ.
        let budget = Budget::default();
        assert_ne!(waits(&budget, &plain, 6)[7], waits(&budget, &plain, 7)[7]);
        assert_ne!(waits(&budget, &plain, 0)[1], waits(&budget, &plain, 0)[2]);
    }

    #[test]
    fn a_server_is_obeyed_for_a_quarter_of_an_hour_at_most() {
        let asked = |s| Fault {
            retry_after_s: Some(s),
            ..Fault::transient("", "")
        };
        let budget = Budget::default();
        assert_eq!(waits(&budget, &asked(900), 0)[0], 900_000);
        assert_eq!(waits(&budget, &asked(u64::MAX), 0)[0], 900_000);
        assert!(
            waits(&budget, &asked(1), 6)[0] >= 30_000,
            "a short wish shortens nothing"
        );
    }

    #[test]
    fn the_mixing_is_the_published_one() {
        // The first numbers of SplitMix64 for the seeds 0 and 1234567.
        assert_eq!(splitmix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(splitmix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn attempts_are_counted_by_phase() {
        let mut attempts = Attempts::default();
        for phase in [Phase::Formatted, Phase::Planned, Phase::Formatted] {
            attempts.raise(phase);
        }
        let counts: Vec<_> = attempts.iter().collect();
        assert_eq!(counts, [(Phase::Planned, 1), (Phase::Formatted, 2)]);
        assert_eq!(
            (
                attempts.of(Phase::Formatted),
                attempts.of(Phase::Cloned),
                attempts.total()
            ),
            (2, 0, 3)
        );
    }

    #[test]
    fn a_limit_that_is_reached_says_how_to_go_on() {
        let mut attempts = Attempts::default();
        attempts.raise(Phase::Cloned);
        let budget = Budget {
            phase_attempts_max: 1,
            ..Budget::default()
        };
        let fault = budget.admits(&attempts, Phase::Cloned).unwrap_err();
        assert_eq!(fault.class, FaultClass::Permanent);
        assert_eq!(
            fault.to_string(),
            "attempt limit (Cloned): 1 attempts at this phase were made, the limit is 1"
        );
        assert!(fault.next.contains("landfall resume --forgive"));
    }

    #[test]
    fn every_class_has_its_name() {
        let faults = [
            Fault::transient("", ""),
            Fault::needs_change("", "", ""),
            Fault::permanent("", "", ""),
            Fault::hardware("", ""),
            Fault::unsafe_("", "", ""),
            Fault::new(FaultClass::Interrupted, "", "", ""),
        ];
        assert_eq!(
            faults.map(|fault| fault.class.to_string()),
            [
                "transient",
                "needs a change",
                "permanent",
                "hardware",
                "unsafe",
                "interrupted"
            ]
        );
    }

    #[test]
    fn an_abridged_fault_keeps_whole_characters() {
        let fault = Fault {
            next: "n".repeat(8),
            ..Fault::transient("ééééé", "x".repeat(500))
        };
        let short = fault.abridged(7);
        assert_eq!(short.what, "ééé…");
        assert_eq!(short.why, format!("{}…", "x".repeat(7)));
        assert_eq!(short.next, format!("{}…", "n".repeat(7)));
        assert_eq!(fault.abridged(500), fault, "what has room is left as it is");
        assert_eq!(fault.abridged(8).next, fault.next);
    }
}
