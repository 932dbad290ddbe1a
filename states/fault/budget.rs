//! How often something may be tried.
//!
//! The class of a fault decides whether it is tried again, and the budget alone decides how often. Both are pure, so that a
//! run can be replayed. There is no clock and no randomness: the wait is computed from the attempt's number and a seed of the
//! caller.

use super::kind::{Kind, Limit};
use super::{Fault, FaultClass, Remedy};
use crate::phase::Phase;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// The highest count that a run with this budget would not have made: who wrote it was no run. A run stops at the limit, so that
    /// it never goes beyond one. `None`: all of them could be.
    pub fn impossible(&self, budget: &Budget) -> Option<u32> {
        let by_phase = self
            .0
            .values()
            .copied()
            .max()
            .filter(|n| *n > budget.phase_attempts_max);
        let in_total = Some(self.total()).filter(|n| *n > budget.total_attempts_max);
        by_phase.max(in_total)
    }
    /// A new start by a person's word: the count begins again.
    pub fn reset(&mut self) {
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
    /// Stop: the retries of this run are spent. How many there were.
    Exhausted(u32),
}

impl Budget {
    /// Whether one more attempt at `phase` may begin (recovery rule 17).
    ///
    /// # Errors
    /// The fault that ends the run: the attempts at the phase, or all of them, are used up.
    pub fn admits(&self, attempts: &Attempts, phase: Phase) -> Result<(), Fault> {
        let limit = |limit, made, max| {
            Err(Fault::of(
                Kind::AttemptLimit {
                    phase,
                    limit,
                    made,
                    max,
                },
                Remedy::Change {
                    first: "fix the cause (landfall log)".into(),
                    command: "landfall resume --reset-attempts".into(),
                },
            ))
        };
        if attempts.of(phase) >= self.phase_attempts_max {
            return limit(Limit::Phase, attempts.of(phase), self.phase_attempts_max);
        }
        if attempts.total() >= self.total_attempts_max {
            return limit(Limit::Total, attempts.total(), self.total_attempts_max);
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
            return AfterFault::Exhausted(self.retries_per_run_max);
        }
        let full = self
            .backoff_first_ms
            .saturating_mul(1_u64.checked_shl(retry).unwrap_or(u64::MAX))
            .min(self.backoff_max_ms);
        // Half fixed, half spread: peers that failed together do not come back together.
        let spread = splitmix(seed ^ u64::from(retry)) % (full / 2 + 1);
        let asked = fault
            .wait_s
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
#[path = "budget_tests.rs"]
mod tests;
