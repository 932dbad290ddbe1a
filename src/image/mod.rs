//! Images of a root filesystem: one file of chunks, each compressed and with its own digest.
//!
//! Bytes of an image are written only after their digest was checked. What was written counts only after a flush, and is trusted only
//! after it was read back from the device.
//!
//! `real::nix::pack` and `real::volume::root_image` run the programs that make and check a filesystem. The format is in `manifest`.

pub mod bytes;
pub mod disk;
pub mod ext4;
mod flusher;
pub mod manifest;
pub mod open;
pub mod pack;
pub mod pool;
pub mod verify;
pub mod write;

use crate::os_error::said;
use landfall_states::image::READS_MAX;
use std::io;

/// Bytes of a block: the unit of everything in an image.
pub const BLOCK_BYTES: usize = 4_096;
/// The most plain bytes of one chunk. Large enough that a disk works at its own speed, small enough that a handful of them
/// are a small memory.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
/// The most bytes of a packed chunk: what does not get smaller grows by a little (`ZSTD_compressBound`).
pub const PACKED_BYTES_MAX: usize = CHUNK_BYTES_MAX + (CHUNK_BYTES_MAX >> 8) + 4_096;
/// Most threads that unpack at once.
pub const WORKERS_MAX: usize = 8;
/// Unpacked chunks that may wait for the disk, or be unpacked: disk and processors each work on while the other is slow for a
/// moment. Measured on two processors: 6 of them reach 0.66 of a disk's speed, 16 of them 0.87, 26 no more.
const PLAIN_BUFFERS: usize = 16;
/// Packed chunks that wait to be unpacked, beside one for every worker.
const PACKED_BUFFERS_MORE: usize = 2;
/// Memory for all buffers of a writer.
pub const STOCK_BYTES_MAX: usize = 116 << 20;
const _: () = assert!(
    (PLAIN_BUFFERS + 1) * (CHUNK_BYTES_MAX + pool::ALIGNMENT_BYTES)
        + (WORKERS_MAX + PACKED_BUFFERS_MORE) * (PACKED_BYTES_MAX + pool::ALIGNMENT_BYTES)
        <= STOCK_BYTES_MAX
);
const _: () = assert!(PLAIN_BUFFERS > WORKERS_MAX);

/// What is done to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Zeroing.
    Zero,
    /// Flushing.
    Flush,
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Zero => "zeroing",
            Verb::Flush => "flush",
        })
    }
}

/// Why something with an image could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image at all.
    #[error("it is not a landfall image: it does not begin with {}", manifest::MAGIC)]
    Foreign,
    /// Shorter than it says.
    #[error("it is incomplete: it has {found} bytes, and its header states {wanted}")]
    Truncated {
        /// Bytes that are there.
        found: u64,
        /// Bytes that it ought to have.
        wanted: u64,
    },
    /// Of a newer landfall.
    #[error(
        "it has format version {version}, and this landfall reads version {}",
        manifest::FORMAT_VERSION
    )]
    Newer {
        /// The version.
        version: u32,
    },
    /// Header or manifest are wrong.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The image file cannot be read.
    #[error(
        "{part} of the image cannot be read after {READS_MAX} attempts: {}",
        said(error)
    )]
    SourceRead {
        /// What of it.
        part: String,
        /// The last error.
        error: io::Error,
    },
    /// The image file gives other bytes than it was made of.
    #[error(
        "{part} of the image does not match its digest after {READS_MAX} reads: the medium with the image is bad"
    )]
    SourceBytes {
        /// What of it.
        part: String,
    },
    /// The device failed.
    #[error("{verb} of {bytes} bytes at byte {at} of the target: {}", said(error))]
    Target {
        /// What was done.
        verb: Verb,
        /// Where, in bytes.
        at: u64,
        /// How many.
        bytes: u64,
        /// Why.
        error: io::Error,
    },
    /// The device does not keep what is written to it.
    #[error(
        "{part} was written twice and still reads back wrong, while the image is right: the target disk is bad"
    )]
    TargetBytes {
        /// What.
        part: String,
    },
    /// The device cannot read a part of it.
    #[error("{part} cannot be read from the target: {}", said(error))]
    TargetRead {
        /// What.
        part: String,
        /// Why.
        error: io::Error,
    },
    /// The device holds something else. Nothing says that it is broken.
    #[error("it differs from the image in {part}")]
    Differs {
        /// What.
        part: String,
    },
    /// Nothing has that name.
    #[error("this file does not exist")]
    Missing,
    /// Nothing that can be an image.
    #[error("it is a {0}; an image is a file or a block device")]
    NoFile(&'static str),
    /// The device is too small.
    #[error("it has {found} bytes, and the image's filesystem needs {wanted}")]
    TooSmall {
        /// Bytes of the device.
        found: u64,
        /// Bytes of the filesystem.
        wanted: u64,
    },
    /// Not a filesystem that an image can be made of.
    #[error("landfall cannot make an image of this filesystem: {0}")]
    NotExt4(String),
    /// Another input or output error.
    #[error("{what}: {}", said(error))]
    Io {
        /// Of what.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// A thread ended without a word.
    #[error("a worker thread ended early; this is a defect of landfall")]
    Worker,
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |error| Error::Io { what, error }
    }
}

/// Threads for unpacking: what the machine has, bounded.
pub fn workers() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKERS_MAX)
}
