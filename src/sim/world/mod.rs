//! One run on the machine, and the traits that the driver asks.
//!
//! ```text
//! run       one run; the one function for every effect  perform   a step's counterpart, and how it is carried out
//! world_trait  survey, consent, events, the end         media     tmpfs and the two slots
//! attach    mounts and the mapping                      slots     what slots and tables say without a step
//! files     files of the target                         repair    root's superblock, the ESP's root directory
//! remote    what the remote names                       preflight what is looked at before the first write
//! environment  how network and machine fail             events    every text of an event
//! ```

pub mod attach;
pub mod environment;
pub mod events;
pub mod files;
pub mod media;
pub mod perform;
pub mod preflight;
pub mod remote;
pub mod repair;
pub mod run;
pub mod slots;
pub mod world_trait;
