//! What can go wrong with a stick, in words. Law: the thing, what is wrong, and the next command; made here and nowhere else.
//!
//! Absent: faults of devices and locks, which landfall has for its installs too (`landfall_states::fault`).

use super::verdict::Verdict;
use crate::exit::Exit;
use crate::os::said;
use landfall_states::fault::{Fault, Remedy};
use nix::errno::Errno;
use std::io;

/// Why a stick was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of a device or a lock, as installs have it.
    #[error("{}: {}", .0.what(), .0.why())]
    Fault(Box<Fault>),
    /// The image cannot be read.
    #[error("image {path}: it cannot be read at byte {at}: {}", said(.error))]
    Source {
        /// The image.
        path: String,
        /// Bytes of its file that were read.
        at: u64,
        /// What the operating system said.
        error: io::Error,
    },
    /// A packed image that cannot be unpacked.
    #[error(
        "image {path}: it cannot be unpacked ({packing}): {reason}, after {at} bytes; the file is cut off or damaged"
    )]
    Packed {
        /// The image.
        path: String,
        /// How it is packed.
        packing: &'static str,
        /// What the library said.
        reason: String,
        /// Unpacked bytes before it.
        at: u64,
    },
    /// No image that can be written as it is.
    #[error("image {path}: {reason}")]
    NoImage {
        /// The image.
        path: String,
        /// What it is instead.
        reason: String,
        /// What to do.
        next: String,
    },
    /// The digest that was published is another one.
    #[error("image {path}: its SHA-256 is {found}, but {list} says {expected}; the stick was not touched")]
    Digest {
        /// The image.
        path: String,
        /// The list of digests.
        list: String,
        /// What the list says.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The list of digests beside the image says nothing of it.
    #[error("list of digests {list}: {reason}")]
    List {
        /// The list.
        list: String,
        /// Why it says nothing.
        reason: String,
    },
    /// The image reads differently from before.
    #[error(
        "image {path}: its medium gave other bytes this time, at byte {at}; the stick is not to blame, and it is left without a \
         boot sector"
    )]
    Changed {
        /// The image.
        path: String,
        /// The first byte of the chunk that differs.
        at: u64,
    },
    /// The stick is smaller than the image.
    #[error("{stick}: it has {has_bytes} bytes, and the image has {}{wanted_bytes}", if *.is_all { "" } else { "at least " })]
    TooSmall {
        /// The stick.
        stick: String,
        /// Its size.
        has_bytes: u64,
        /// What is wanted.
        wanted_bytes: u64,
        /// The image was read to its end.
        is_all: bool,
    },
    /// The stick reports an error.
    #[error("{stick}: it cannot be {doing} at byte {at}: {}", said(.error))]
    Stick {
        /// The stick.
        stick: String,
        /// `read`, `written`, `flushed`.
        doing: &'static str,
        /// Where.
        at: u64,
        /// What the operating system said.
        error: io::Error,
    },
    /// The stick was pulled out.
    #[error("{stick}: it was unplugged at byte {at} of {total_bytes}")]
    Gone {
        /// The stick.
        stick: String,
        /// How far it came.
        at: u64,
        /// Bytes of the image.
        total_bytes: u64,
        /// The command that goes on.
        again: String,
    },
    /// What is read back differs.
    #[error("{stick}: what is read back is not what was written: {verdict}")]
    Differs {
        /// The stick.
        stick: String,
        /// Where, how much, and what it means.
        verdict: Verdict,
    },
    /// Somebody stopped it.
    #[error("stopped at byte {at} of {total_bytes}; the stick has no boot sector")]
    Stopped {
        /// How far it came.
        at: u64,
        /// Bytes of the image.
        total_bytes: u64,
        /// The command that goes on.
        again: String,
    },
    /// Somebody stopped it while keys were overwritten.
    #[error(
        "{stick}: stopped while keys on it were overwritten with zeros; what lies before byte {at} of them is still there"
    )]
    KeysLeft {
        /// The stick.
        stick: String,
        /// Up to where they are there.
        at: u64,
        /// The command that goes on.
        again: String,
    },
    /// Somebody stopped it before the first write.
    #[error("stopped while {doing}; nothing was written")]
    StoppedBefore {
        /// What was being done.
        doing: String,
    },
    /// It may not be taken.
    #[error("{stick}: it is not written to: {}", .reasons.join("; "))]
    Refused {
        /// The stick.
        stick: String,
        /// Why.
        reasons: Vec<String>,
        /// What to do.
        next: String,
        /// Whether the running system is on it.
        is_systems: bool,
    },
    /// The name means no stick.
    #[error("{given}: {reason}")]
    Name {
        /// What was given.
        given: String,
        /// Why it means none.
        reason: String,
    },
    /// An option that means nothing without an image.
    #[error("{option} says how an image is flashed, and no image was named")]
    NoneNamed {
        /// The option.
        option: &'static str,
    },
    /// Nobody agreed.
    #[error("{stick}: nobody agreed: {reason}")]
    NoConsent {
        /// The stick.
        stick: String,
        /// Why not.
        reason: String,
        /// What to do.
        next: String,
        /// A person said no.
        declined: bool,
    },
    /// There is nothing to go on with.
    #[error("{stick}: {reason}")]
    NoRecord {
        /// The stick.
        stick: String,
        /// Why.
        reason: String,
        /// What to do.
        next: String,
    },
    /// The keys cannot be put on the stick.
    #[error("keys for the stick: {reason}")]
    Keys {
        /// Why.
        reason: String,
        /// What to do.
        next: String,
    },
    /// The record of how far it came cannot be kept or read.
    #[error("record {path}: {}", said(.error))]
    Record {
        /// The file.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// Memory or threads cannot be had.
    #[error("landfall itself: {}", said(.0))]
    Internal(io::Error),
}

/// What is behind a device that has no bytes of its own can be full, which is no fault of a stick.
fn has_no_room(error: &io::Error) -> bool {
    matches!(
        crate::os::errno(error).map(Errno::from_raw),
        Some(Errno::ENOSPC | Errno::EDQUOT)
    )
}

/// A remedy of the install's, for a command that is no install.
fn of_flash(next: &str) -> String {
    next.replace("sudo landfall resume", "sudo, and the same command")
        .replace("then: landfall resume", "then the same command")
        .replace("landfall resume", "the same command")
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let remedy = Remedy::Words(of_flash(&fault.next()));
        Error::Fault(Box::new(Fault { remedy, ..fault }))
    }
}

impl Error {
    /// What to do, in a command where there is one.
    pub fn next(&self) -> String {
        match self {
            Error::Fault(fault) => fault.next(),
            Error::Source { .. } => {
                "copy the image to another disk (the copy fails where the file is damaged), or download it again".into()
            }
            Error::Packed { .. } => "download or copy the image again, then the same command".into(),
            Error::NoImage { next, .. }
            | Error::Refused { next, .. }
            | Error::NoConsent { next, .. }
            | Error::NoRecord { next, .. }
            | Error::Keys { next, .. } => next.clone(),
            Error::Digest { list, .. } => {
                format!("download the image again; remove {list} only if it belongs to another image")
            }
            Error::List { list, .. } => {
                format!("download {list} again, or remove it: without it the image is written as it is")
            }
            Error::Changed { .. } => {
                "copy the image to another disk, compare the copies (sha256sum), then flash the one that is right; the memory of this \
                 computer may be at fault as well"
                    .into()
            }
            Error::TooSmall { .. } => "use a larger stick".into(),
            Error::Stick { error, .. } if has_no_room(error) => {
                "make room where its bytes really are (the file of a loop device, the pool of a thin volume), then the same command (an image with --resume)"
                    .into()
            }
            Error::Stick { .. } => {
                "another USB port or card reader, then the same command (an image with --resume); if it happens again, the stick is worn out: \
                 use another one"
                    .into()
            }
            Error::Gone { again, .. } => format!("put it back, then: {again}"),
            Error::Stopped { again, .. } | Error::KeysLeft { again, .. } => again.clone(),
            Error::StoppedBefore { .. } => "the same command again".into(),
            Error::Differs { verdict, .. } => verdict.next().into(),
            Error::Name { .. } => "landfall flash (lists the sticks)".into(),
            Error::NoneNamed { option } => {
                format!("landfall flash IMAGE DEVICE {option} … (without image and options it lists the sticks)")
            }
            Error::Record { path, .. } => {
                format!("make it possible to write {path}, or name another folder: XDG_STATE_HOME=DIR landfall flash …")
            }
            Error::Internal(_) => "end other programs, then the same command".into(),
        }
    }

    /// How landfall ends.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Fault(fault) => Exit::of(fault),
            Error::Stick { error, .. } if has_no_room(error) => Exit::NeedsChange,
            Error::Source { .. } | Error::Stick { .. } | Error::Differs { .. } => Exit::Hardware,
            Error::Packed { .. }
            | Error::NoImage { .. }
            | Error::Digest { .. }
            | Error::List { .. }
            | Error::Changed { .. }
            | Error::TooSmall { .. }
            | Error::Gone { .. }
            | Error::Keys { .. } => Exit::NeedsChange,
            Error::Refused { is_systems: true, .. } => Exit::Unsafe,
            Error::Refused { .. } => Exit::NeedsChange,
            Error::NoConsent { declined: true, .. }
            | Error::Stopped { .. }
            | Error::KeysLeft { .. }
            | Error::StoppedBefore { .. } => Exit::Interrupted,
            Error::NoConsent { .. } => Exit::NeedsChange,
            Error::Name { .. } | Error::NoneNamed { .. } => Exit::Usage,
            Error::NoRecord { .. } => Exit::NothingToResume,
            Error::Record { .. } | Error::Internal(_) => Exit::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_behind_a_device_is_no_worn_out_stick() {
        let of = |errno: Errno| Error::Stick {
            stick: "stick".into(),
            doing: "written",
            at: 0,
            error: errno.into(),
        };
        assert_eq!(of(Errno::ENOSPC).exit(), Exit::NeedsChange);
        assert!(of(Errno::ENOSPC).next().contains("make room"));
        assert_eq!(of(Errno::EIO).exit(), Exit::Hardware);
        assert!(of(Errno::EIO).next().contains("worn out"));
    }
}
