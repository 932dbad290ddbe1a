//! The install as a typed state machine. Law: everything here is a pure function of its arguments; the same inputs give
//! the same verdicts on every machine and at every time.
//!
//! Absent: input and output, clocks, randomness, async, the operating system. Cargo enforces it: nothing of the kind
//! is a dependency of this crate.
//!
//! ```text
//!  Planned ─PartitionDisk→ Partitioned ─AnchorCheckpoint→ Anchored ─EncryptVolumes→ Encrypted ─FormatVolumes→
//!  Formatted ─CloneConfiguration→ Cloned ─RealiseSystem→ Realised ─InstallSystem→ Installed ─InstallBootLoader→
//!  Bootable ─ProvisionSecrets→ Provisioned ─Land→ Landed
//! ```
//!
//! A *state* is a fact that survives a power cut. It is a struct with private fields; the only way to the next one is
//! `advance(self, proof)`, and a proof comes only from judging facts that were looked at. An *action* is data. The world
//! looks ([`Step::Facts`]) and acts ([`Step::Order`]); whether the work is done is judged here, from the facts alone.
//! So the driver's rhythm is: look, judge, act, look again, judge again.

// Tests beside the code may have helpers of any kind.
#![cfg_attr(not(test), warn(unreachable_pub))]

pub mod actions;
pub mod authentic;
pub mod checkpoint;
pub mod consent;
mod decision;
pub mod disk_name;
pub mod fault;
pub mod identity;
pub mod image;
pub mod names;
pub mod phase;
pub mod plan;
pub mod recovery;
pub mod remote;
pub mod reserved_paths;
pub mod secret_token;
pub mod state;
pub mod step;
pub mod untrusted_text;
pub mod utc;
pub mod volume;

pub use phase::{Phase, RecordedPhase};
pub use state::State;
pub use step::{Step, StepProgress, Verdict};
pub use volume::{Probe, Signature, VolumeState};

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
