//! The errors of `landfall flash`: the text, the next command and the exit code of each.
//!
//! No other file makes texts about sticks. Faults of devices and locks are the same as those of an install, and come from
//! `landfall_states::fault`.

use super::difference::Verdict;
use crate::exit::Exit;
use crate::os_error::said;
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
        "image {path}: it cannot be unpacked ({packing}): {reason}, after {at} bytes; the file is incomplete or damaged"
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
    #[error(
        "image {path}: its SHA-256 is {found}, but {list} states {expected}; nothing was written to the stick"
    )]
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
        "image {path}: it read differently the second time, at byte {at}; the stick is not the cause; the stick is left without a \
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
    #[error("{stick}: the data read back differs from the data written: {verdict}")]
    Differs {
        /// The stick.
        stick: String,
        /// Where, how much, and what it means.
        verdict: Verdict,
    },
    /// Somebody stopped it.
    #[error("flash: stopped at byte {at} of {total_bytes}; the stick has no boot sector")]
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
        "{stick}: stopped while the keys on it were overwritten with zeros; the keys before byte {at} are still there"
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
    #[error("flash: stopped while {doing}; nothing was written")]
    StoppedBefore {
        /// What was being done.
        doing: String,
    },
    /// It may not be taken.
    #[error("{stick}: landfall does not write to it: {}", .reasons.join("; "))]
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
    #[error("{option}: this option needs an image, and no image was named")]
    NoneNamed {
        /// The option.
        option: &'static str,
    },
    /// Nobody agreed to the erasure.
    #[error("{stick}: nobody agreed to erase it: {reason}")]
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
        crate::os_error::errno(error).map(Errno::from_raw),
        Some(Errno::ENOSPC | Errno::EDQUOT)
    )
}

/// A remedy of the install's, for a command that is no install.
fn of_flash(next: &str) -> String {
    if next == Remedy::replace_device().to_string() {
        return "use another stick, then run the same command".to_owned();
    }
    next.replace("sudo landfall resume", "the same command with sudo")
        .replace("then: landfall resume", "then run the same command")
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
                "copy the image to another disk (the copy fails if the file is damaged), or download it again".into()
            }
            Error::Packed { .. } => "download or copy the image again, then run the same command".into(),
            Error::NoImage { next, .. }
            | Error::Refused { next, .. }
            | Error::NoConsent { next, .. }
            | Error::NoRecord { next, .. }
            | Error::Keys { next, .. } => next.clone(),
            Error::Digest { list, .. } => {
                format!("download the image again; remove {list} only if it belongs to another image")
            }
            Error::List { list, .. } => {
                format!("download {list} again, or remove it; without it landfall writes the image without this check")
            }
            Error::Changed { .. } => {
                "copy the image to another disk, compare the copies (sha256sum), and flash the correct one; the memory of this \
                 computer can also be the cause"
                    .into()
            }
            Error::TooSmall { .. } => "use a larger stick".into(),
            Error::Stick { error, .. } if has_no_room(error) => {
                "free space where its data is stored (the file of a loop device, the pool of a thin volume), then run the same command (for an image with --resume)"
                    .into()
            }
            Error::Stick { .. } => {
                "use another USB port or card reader, then run the same command (for an image with --resume); if it happens again, the \
                 stick is worn out: use another one"
                    .into()
            }
            Error::Gone { again, .. } => format!("plug it in again, then: {again}"),
            Error::Stopped { again, .. } | Error::KeysLeft { again, .. } => again.clone(),
            Error::StoppedBefore { .. } => "run the same command again".into(),
            Error::Differs { verdict, .. } => verdict.next().into(),
            Error::Name { .. } => "landfall flash (it lists the sticks)".into(),
            Error::NoneNamed { option } => {
                format!("landfall flash IMAGE DEVICE {option} … (without arguments it lists the sticks)")
            }
            Error::Record { path, .. } => {
                format!("make {path} writable, or use another directory: XDG_STATE_HOME=DIR landfall flash …")
            }
            Error::Internal(_) => "close other programs, then run the same command".into(),
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
        assert!(of(Errno::ENOSPC).next().contains("free space"));
        assert_eq!(of(Errno::EIO).exit(), Exit::Hardware);
        assert!(of(Errno::EIO).next().contains("worn out"));
    }
}
