//! The simulated world: the same driver, on a machine that can crash anywhere.
//!
//! Deterministic: a case and a schedule decide everything, and the same two give the same trace (I24).
//!
//! ```text
//! model     the disk, the machine, what lies on them, the case that decides them
//! inject    what goes wrong, and when: faults, schedules, people, planted bugs
//! check     the invariants, apart from the world that they watch; coverage
//! world     one run; the one function for every effect; the traits that the driver asks
//! actions   one file per action: the counterparts of `real/steps`
//! explore   cases run to their end: every crash, every fault, every pair; chance; people between two runs
//! ```
//!
//! The lowest module comes first: a module imports only modules above it in this list.
//!
//! Bytes of filesystems, processes, network protocols and a clock are not simulated. What the kernel does below the named
//! effects was measured separately; where it promises less than one expects, the simulation promises less.

pub mod actions;
pub mod check;
pub mod explore;
pub mod inject;
pub mod model;
pub mod world;
