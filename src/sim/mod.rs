//! The simulated world: the same driver, on a machine that can crash anywhere. Law: deterministic; a case and a schedule
//! decide everything, and the same two give the same trace (I24).
//!
//! ```text
//! explore   cases run to their end: every crash, every fault, every pair; chance; people between two runs
//! actions   one file per action: the twins of `real/steps`
//! world     one run; the one function for every effect; the traits that the driver asks
//! check     the invariants, apart from the world that they watch; coverage
//! inject    what goes wrong, and when: faults, schedules, people, planted bugs
//! model     the disk, the machine, what lies on them, the case that decides them
//! ```
//!
//! A room imports only rooms below it.
//!
//! Absent: bytes of filesystems, processes, network protocols, a clock. What the kernel does below the named effects was
//! measured apart; where it promises less than one would think, less is promised here.

pub mod actions;
pub mod check;
pub mod explore;
pub mod inject;
pub mod model;
pub mod world;
