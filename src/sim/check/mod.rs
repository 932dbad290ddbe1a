//! What must always hold, apart from the world that it watches; and what an enumeration covered.
//!
//! ```text
//! invariants  by name and number                        watch     watches them over one scenario run
//! coverage    figures, failures, the matrix             planted   which invariant must catch which planted bug
//! decisions   about a disk that a power cut left        visible_effects  what can be seen of a run from outside
//! traps       whether an install that ended on an untrustworthy machine was a mistake
//! last_word   the last event of a run
//! ```

pub mod coverage;
pub mod decisions;
pub mod invariants;
pub mod last_word;
#[cfg(feature = "planted")]
pub mod planted;
pub mod traps;
pub mod visible_effects;
pub mod watch;
