//! Where a stick differs from the image, by how much, and what that looks like: the words for each cause.
//!
//! `flash::verdict` finds the cause.

use std::fmt;

/// What a difference looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The image's medium gave other bytes than the first time.
    ImageChanged,
    /// Two addresses are one: a pattern written to `written` is read at `read`.
    Wraps {
        /// Where it was written.
        written: u64,
        /// Where it is read.
        read: u64,
        /// What the stick really has.
        real_bytes: u64,
    },
    /// From this byte on nothing is kept.
    EndsAt(u64),
    /// Reading again gives other bytes.
    Unsteady,
    /// What was written is not there.
    Lost,
}

/// Where, how much, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The first byte of the first sector that differs; of the first piece that did, where none does any more.
    pub first: u64,
    /// Bytes of sectors that differ; none where only the first reading differed.
    pub bytes: u64,
    /// Chunks that they are in, of how many.
    pub chunks: (u64, u64),
    /// What the stick says that it has.
    pub says_bytes: u64,
    /// Why.
    pub cause: Cause,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            first,
            bytes,
            chunks: (chunks, of),
            says_bytes,
            cause,
        } = self;
        if *bytes > 0 {
            write!(
                f,
                "{bytes} bytes differ, the first at byte {first}, in {chunks} of {of} blocks of 4 MiB; "
            )?;
        } else {
            write!(
                f,
                "{chunks} of {of} blocks of 4 MiB differed, the first at byte {first}, but were right when they were read again; "
            )?;
        }
        match cause {
            Cause::ImageChanged => write!(
                f,
                "the image read differently the second time, so the stick is not the cause"
            ),
            Cause::Wraps {
                written,
                read,
                real_bytes,
            } => write!(
                f,
                "the stick is smaller than it reports: data written to byte {written} is read at byte {read}; it has {real_bytes} bytes, and reports {says_bytes}"
            ),
            Cause::EndsAt(at) => write!(
                f,
                "the stick is smaller than it reports, or worn out after byte {at}: it does not store data there; it reports {says_bytes} bytes"
            ),
            Cause::Unsteady => write!(
                f,
                "the stick reads differently each time: the stick, its port or its cable is bad"
            ),
            Cause::Lost => write!(f, "the stick lost what was written"),
        }
    }
}

impl Verdict {
    /// What to do.
    pub fn next(&self) -> &'static str {
        match self.cause {
            Cause::ImageChanged => {
                "copy the image to another disk, compare the copies (sha256sum), and flash the correct one"
            }
            Cause::Wraps { .. } | Cause::EndsAt(_) => {
                "use another stick, and store nothing on this one (it is left without a boot sector)"
            }
            Cause::Unsteady => {
                "use another USB port or card reader, without a hub, then run the same command; if it happens again, use another stick"
            }
            Cause::Lost => {
                "run the same command again; if it happens again, use another port, then another stick (this one is left without a boot sector)"
            }
        }
    }

    /// A word for programs.
    pub fn word(&self) -> &'static str {
        match self.cause {
            Cause::ImageChanged => "image-changed",
            Cause::Wraps { .. } => "smaller-wraps",
            Cause::EndsAt(_) => "smaller-ends",
            Cause::Unsteady => "unsteady",
            Cause::Lost => "lost",
        }
    }
}
