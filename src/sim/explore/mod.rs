//! Cases run to their end.
//!
//! ```text
//! run       run, crash, resume                          harness   a case and its fault-free run
//! enumerate every crash, every fault, every pair        state_hash  when two machines are the same
//! random    scenarios by chance                         operator  what people do between two runs
//! traps     machines that must not be believed          decisions about every disk that a power cut left
//! slots     the checkpoint's slots under power cuts
//! ```

pub mod decisions;
pub mod enumerate;
pub mod harness;
pub mod operator;
pub mod random;
pub mod run;
pub mod slots;
pub mod state_hash;
pub mod traps;
