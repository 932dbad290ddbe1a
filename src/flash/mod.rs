//! `landfall flash`: writes an installer image to a stick, and proves that the stick has it.
//!
//! Nothing is written before the whole image was read once and its digests are known. The first MiB comes last, after
//! everything behind it was read back from the stick and found equal, so that a stick without that proof never looks
//! bootable. A difference is reported with its cause. Nothing that a record says is trusted.
//!
//! | file | what it knows |
//! |---|---|
//! | `sticks` | which disks may be used, and why not: pure |
//! | `kind` | what a file is, by its first bytes: pure |
//! | `source` | images, packed or not, as chunks with their digests |
//! | `loops` | the file behind a loop device |
//! | `listed` | a list of digests beside an image: pure |
//! | `chunks` | bytes from one thread to the next, in a fixed number of buffers |
//! | `write` | wiping, writing, flushing, the first MiB |
//! | `verdict` | reading back, and the cause of a difference |
//! | `difference` | the cause of a difference, in words |
//! | `record` | how far it came, for the next run |
//! | `keys` | the partition with keys behind the image |
//! | `keys_left` | where keys are, also those that an interrupted run left |
//! | `table` | one more entry in a partition table, and one less: pure |
//! | `seeking` | a stick as readers and writers of tables need it |
//! | `eject` | powering a stick off |
//! | `error` | what can go wrong, in words, with what to do |
//!
//! `cli::flash` has the command line, the questions and the order of it all; `real::disk` the names, uses and locks of disks.

pub mod chunks;
pub mod difference;
pub mod eject;
pub mod error;
pub mod keys;
pub mod keys_left;
pub mod kind;
pub mod listed;
pub mod loops;
pub mod record;
pub mod seeking;
pub mod source;
pub mod sticks;
pub mod table;
pub mod verdict;
pub mod write;

/// Bytes of a chunk: what is written at once, and what differences are told in.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Bytes at the start of a stick that are written last: every boot sector, partition table and superblock of a boot medium that
/// firmware looks for first lies in them.
pub const HEAD_BYTES: usize = 1 << 20;
/// Bytes at the end of a stick that are wiped: the second GPT, labels of ZFS, superblocks of md, the copy of NTFS's boot sector.
pub const TAIL_BYTES: usize = 1 << 20;

/// What a run tells and asks while it works.
pub trait Watch: Sync {
    /// So many bytes of so many of this part of the work are done.
    fn progress(&self, what: &'static str, done: u64, total: u64);
    /// Whether somebody wants it to stop.
    fn stops(&self) -> bool;
}
