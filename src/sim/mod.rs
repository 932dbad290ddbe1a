//! The simulated world: the same driver, on a machine that can die anywhere. Law: deterministic; a case and a schedule
//! decide everything, and the same two give the same trace (I24).
//!
//! ```text
//! case      what is installed, on what, who agrees      contents what a finished disk holds
//! faults    what goes wrong, and when                   saves    the checkpoint's slots under power cuts
//! disk      volatile and durable contents               machine  disks, tmpfs, attachments; the two deaths
//! world     one run; the one door for every effect      manners  survey, consent, slots, the end of a run
//! attach    mounts, mapping, slots                      around   the network, and the machine around
//! steps     table and volumes                           target   clone, store, boot loader, keys, landing
//! superblock  root's, torn and mended
//! checks    the invariants, apart from the world        bugs     planted, to see that the checks notice
//! story     run, die, resume                            harness  a case and its fault-free run
//! between   what people do between two runs
//! explore   every death, every fault, every pair        digest   when two machines are the same
//! tally     figures, failures, the matrix               random   stories by chance
//! effects  what can be seen of a run from outside       traps    machines that must not be believed
//! seen     what a disk says to whoever looks
//! boot_installer  what runs behind the profile             shown    parts of it, for people
//! trust    who wrote a record, what the remote names, and somebody who forges
//! ```
//!
//! Absent: bytes of filesystems, processes, network protocols, a clock. What the kernel does below the named effects was
//! measured apart; where it promises less than one would think, less is promised here.

pub mod around;
pub mod attach;
pub mod between;
mod boot_installer;
pub mod bugs;
pub mod case;
pub mod checks;
pub mod contents;
pub mod decisions;
pub mod digest;
pub mod disk;
pub mod effects;
pub mod explore;
pub mod faults;
pub mod harness;
pub mod landing;
pub mod leftovers;
pub mod machine;
pub mod manners;
pub mod random;
pub mod saves;
mod seen;
mod shown;
pub mod steps;
pub mod story;
pub mod superblock;
pub mod tally;
pub mod target;
pub mod traps;
pub mod trust;
pub mod world;
