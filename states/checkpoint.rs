//! The checkpoint: what is written down, how, and which of two copies is trusted.
//!
//! A slot is trusted only as a whole (magic, length, digest over every other byte). Order is by sequence number and chain,
//! never by clock. No secret can be in it, because no secret type can be serialised.
//!
//! A slot is 4,096 bytes of text: a header line, a RON body a person can read, line feeds up to the end; and as its last
//! line, if there is a key, a code over all of it ([`authentic`](crate::authentic)). The digest finds damage, the code finds
//! forgery.
//!
//! ```text
//! LANDFALL-CHECKPOINT 2 seq=00000000000000000007 len=000612 sha256=…64 digits…
//! (
//!     host: "web",
//!     …
//! mac=container:…64 digits…
//! ```
//!
//! Format 1 had no code. The header's form is the same in every version to come, so that a slot of a newer landfall can be
//! told from a damaged one.
//!
//! The program's `checkpoint_store` reads and writes slots.

use crate::authentic::{Authenticity, KeySource, RecordKey, RecordKeys};
use crate::fault::{Attempts, FaultRecord};
use crate::image::ImageProgress;
use crate::names::{Digest, HostName, Revision};
use crate::phase::{Phase, RecordedPhase};
use crate::plan::{DiskIdentity, InstallId};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 4_096;
/// The format that is written.
pub const FORMAT_VERSION: u32 = 2;
/// The highest sequence number that is read. No install comes near it; a forged one must not end the counting.
const SEQUENCE_MAX: u64 = u64::MAX / 2;
/// The highest sequence number from which counting continues: one save each nanosecond reaches it in a century. After a higher one,
/// which no landfall wrote, counting starts again from the beginning, so that no save gets a number that is not read.
pub const SEQUENCE_COUNTED_MAX: u64 = SEQUENCE_MAX / 2;
/// How a slot begins.
pub const MAGIC: &str = "LANDFALL-CHECKPOINT";
/// `MAGIC 1 seq=<20> len=<6> sha256=<64>\n`.
const DIGEST_DIGITS: usize = 64;
/// `mac=container:<64>\n`, the last line of a slot; all names of sources are equally long.
const CODE_START: &str = "mac=";
/// Bytes of that line. They are kept free where there is no code, so that what fits does not depend on a key.
const CODE_LINE_BYTES: usize = CODE_START.len() + KeySource::Container.name().len() + 1 + DIGEST_DIGITS + 1;

/// How far the action that leads on from the claimed state has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The state was reached; nothing further was begun.
    #[serde(rename = "Reached")]
    Reached,
    /// An attempt at the next action was begun; how it ended is not known.
    #[serde(rename = "Begun")]
    Begun,
    /// The run stopped in good order: everything written was flushed and detached.
    #[serde(rename = "Stopped")]
    Stopped,
}

/// Everything that is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Rises by one with every save.
    #[serde(rename = "sequence")]
    pub sequence: u64,
    /// Digest of the slot that this one follows.
    #[serde(rename = "parent")]
    pub parent: Option<Digest>,
    /// The host.
    #[serde(rename = "host")]
    pub host: HostName,
    /// The install.
    #[serde(rename = "install")]
    pub install: InstallId,
    /// The reinstall nonce that is in the install's id.
    #[serde(rename = "nonce")]
    pub nonce: u32,
    /// Digest of the layout.
    #[serde(rename = "layout")]
    pub layout: Digest,
    /// Digest of the payload.
    #[serde(rename = "payload")]
    pub payload: Digest,
    /// The disk.
    #[serde(rename = "disk")]
    pub disk: DiskIdentity,
    /// The pinned revision.
    #[serde(rename = "revision")]
    pub revision: Revision,
    /// The state.
    #[serde(rename = "claim")]
    pub claim: RecordedPhase,
    /// How far the next action has come.
    #[serde(rename = "mark")]
    pub mark: Mark,
    /// Attempts so far.
    #[serde(rename = "attempts")]
    pub attempts: Attempts,
    /// The boot in which this was written.
    #[serde(rename = "boot")]
    pub boot: String,
    /// The last fault, if the last attempt failed.
    #[serde(rename = "last_fault")]
    pub last_fault: Option<FaultRecord>,
    /// How far the writing of an image has come. Records of before there were images have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "landing")]
    pub image_progress: Option<ImageProgress>,
}

/// Why a record could not be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It does not fit a slot.
    #[error("a checkpoint of {0} bytes does not fit {SLOT_BYTES}")]
    TooLong(usize),
    /// The notation failed.
    #[error("the checkpoint cannot be written as RON: {0}")]
    Notation(String),
}

/// Why a slot is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Never written, or not readable at all.
    #[error("empty")]
    Empty,
    /// Does not begin with the magic.
    #[error("not a checkpoint")]
    NoMagic,
    /// The header is not of its form.
    #[error("damaged header")]
    Header,
    /// Not 4,096 bytes, or the body is longer than the slot.
    #[error("wrong length")]
    Length,
    /// Some byte differs from what was written.
    #[error("digest does not match")]
    Digest,
    /// Whole, but of a newer format.
    #[error("format version {0}; this landfall reads version {FORMAT_VERSION}")]
    Newer(u32),
    /// Whole, but the body is not a record.
    #[error("body: {0}")]
    Body(String),
}

impl Record {
    /// The slot's bytes, without a code.
    ///
    /// # Errors
    /// The record is longer than a slot.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.encode_with(None)
    }

    /// The slot's bytes, with a code where there is a key.
    ///
    /// # Errors
    /// The record is longer than a slot.
    pub fn encode_with(&self, key: Option<&RecordKey>) -> Result<Vec<u8>, EncodeError> {
        // A long fault text gives way first.
        for fault_bytes_max in [600, 200, 60] {
            match self.abridged(fault_bytes_max).encode_as_is(key) {
                Err(EncodeError::TooLong(_)) => {}
                done => return done,
            }
        }
        self.abridged(0).encode_as_is(key)
    }

    /// The record with the fault's texts cut.
    fn abridged(&self, fault_bytes_max: usize) -> Record {
        let cut = |fault: &FaultRecord| fault.abridged(fault_bytes_max);
        Record {
            last_fault: self.last_fault.as_ref().map(cut),
            ..self.clone()
        }
    }

    fn encode_as_is(&self, key: Option<&RecordKey>) -> Result<Vec<u8>, EncodeError> {
        let pretty = ron::ser::PrettyConfig::new().new_line("\n").indentor("  ");
        let body =
            ron::ser::to_string_pretty(self, pretty).map_err(|e| EncodeError::Notation(e.to_string()))?;
        seal(FORMAT_VERSION, self.sequence, body.as_bytes(), key)
    }

    /// Reads a slot.
    ///
    /// # Errors
    /// What the slot holds instead: nothing, damage, or a record of a newer landfall.
    pub fn decode(slot: &[u8]) -> Result<Record, SlotError> {
        let body = open(slot)?;
        let text = std::str::from_utf8(body.text).map_err(|e| SlotError::Body(e.to_string()))?;
        let record: Record = ron::from_str(text).map_err(|e| SlotError::Body(e.to_string()))?;
        if record.sequence != body.sequence {
            return Err(SlotError::Body("its sequence number is not the header's".into()));
        }
        Ok(record)
    }

    /// The digest that the next record names as its parent.
    pub fn digest_of(slot: &[u8]) -> Digest {
        Digest::of(slot)
    }
}

/// Puts a body under a header, and the code behind it. The code is over everything but the digest's digits and its own; the digest is
/// over everything but its own digits, and so over the code as well.
fn seal(version: u32, sequence: u64, body: &[u8], key: Option<&RecordKey>) -> Result<Vec<u8>, EncodeError> {
    let head = format!(
        "{MAGIC} {version} seq={sequence:020} len={:06} sha256=",
        body.len()
    );
    let kept_free = if version == 1 { 0 } else { CODE_LINE_BYTES };
    let total = head.len() + DIGEST_DIGITS + 1 + body.len() + kept_free;
    if total > SLOT_BYTES {
        return Err(EncodeError::TooLong(total));
    }
    let mut tail = vec![b'\n'];
    tail.extend_from_slice(body);
    tail.resize(SLOT_BYTES - head.len() - DIGEST_DIGITS - kept_free, b'\n');
    if let Some(key) = key {
        tail.extend_from_slice(format!("{CODE_START}{}:", key.source().name()).as_bytes());
        if let Some(code) = key.code([head.as_bytes(), &tail]) {
            tail.extend_from_slice(code.as_str().as_bytes());
        }
    }
    tail.resize(SLOT_BYTES - head.len() - DIGEST_DIGITS, b'\n');
    let mut slot = head.clone().into_bytes();
    slot.extend_from_slice(digest_around(head.as_bytes(), &tail).as_str().as_bytes());
    slot.extend_from_slice(&tail);
    Ok(slot)
}

/// SHA-256 over everything but the digest's own digits.
fn digest_around(head: &[u8], tail: &[u8]) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update(head);
    hash.update(tail);
    Digest::from_raw(&hash.finalize())
}

struct Body<'a> {
    sequence: u64,
    text: &'a [u8],
    code: Option<Code<'a>>,
}

/// The code of a slot, and what it is over.
struct Code<'a> {
    source: KeySource,
    over: [&'a [u8]; 2],
    code: Digest,
}

/// The code in the last line; `Err`: what stands there is neither one nor nothing.
fn code<'a>(head: &'a [u8], tail: &'a [u8]) -> Result<Option<Code<'a>>, SlotError> {
    let (before, line) = tail
        .split_at_checked(tail.len().saturating_sub(CODE_LINE_BYTES))
        .ok_or(SlotError::Length)?;
    if line.iter().all(|b| *b == b'\n') {
        return Ok(None);
    }
    let bad = || SlotError::Body("its last line is not the code of a record".into());
    let text = std::str::from_utf8(line).map_err(|_| bad())?;
    let (start, digits) = text
        .strip_suffix('\n')
        .and_then(|text| text.rsplit_once(':'))
        .ok_or_else(bad)?;
    let name = start.strip_prefix(CODE_START).ok_or_else(bad)?;
    let source = KeySource::ALL
        .into_iter()
        .find(|source| source.name() == name)
        .ok_or_else(bad)?;
    let over = tail.get(..before.len() + start.len() + 1).ok_or_else(bad)?;
    Ok(Some(Code {
        source,
        over: [head, over],
        code: digits.parse().map_err(|_| bad())?,
    }))
}

/// Who wrote a whole slot, as far as these keys tell. `own_copy` is this boot's copy of the last record, in memory that only root
/// can write.
pub fn authenticity(slot: &[u8], own_copy: Option<&[u8]>, keys: &RecordKeys) -> Authenticity {
    if own_copy == Some(slot) {
        return Authenticity::Proved;
    }
    let Ok(Body { code: Some(code), .. }) = open(slot) else {
        return Authenticity::Unproved;
    };
    match keys.of(code.source) {
        None => Authenticity::Unproved,
        Some(key) if key.verifies(code.over, &code.code) => Authenticity::Proved,
        Some(_) => Authenticity::Forged,
    }
}

/// Takes a slot apart. The digest is checked before the version, so that a flipped bit is damage, never "newer".
fn open(slot: &[u8]) -> Result<Body<'_>, SlotError> {
    if slot.iter().all(|&b| matches!(b, 0 | b'\n' | 0xFF)) {
        return Err(SlotError::Empty);
    }
    if !slot.starts_with(MAGIC.as_bytes()) {
        return Err(SlotError::NoMagic);
    }
    if slot.len() != SLOT_BYTES {
        return Err(SlotError::Length);
    }
    let end = slot
        .iter()
        .take(200)
        .position(|&b| b == b'\n')
        .ok_or(SlotError::Header)?;
    let line = std::str::from_utf8(&slot[..end]).map_err(|_| SlotError::Header)?;
    let mut words = line.split(' ').skip(1);
    let version: u32 = words
        .next()
        .and_then(|w| w.parse().ok())
        .ok_or(SlotError::Header)?;
    let mut field = |name: &str| {
        words
            .next()
            .and_then(|w| w.strip_prefix(name))
            .ok_or(SlotError::Header)
    };
    let sequence: u64 = field("seq=")?.parse().map_err(|_| SlotError::Header)?;
    if sequence > SEQUENCE_MAX {
        return Err(SlotError::Header);
    }
    let length: usize = field("len=")?.parse().map_err(|_| SlotError::Header)?;
    let digest: Digest = field("sha256=")?.parse().map_err(|_| SlotError::Header)?;
    if words.next().is_some() {
        return Err(SlotError::Header);
    }
    let head = end - DIGEST_DIGITS;
    if digest_around(&slot[..head], &slot[end..]) != digest {
        return Err(SlotError::Digest);
    }
    let (code, kept_free) = match version {
        1 => (None, 0),
        FORMAT_VERSION => (code(&slot[..head], &slot[end..])?, CODE_LINE_BYTES),
        // No landfall has written it.
        0 => return Err(SlotError::Header),
        _ => return Err(SlotError::Newer(version)),
    };
    let text = slot
        .get(end + 1..SLOT_BYTES - kept_free)
        .and_then(|room| room.get(..length))
        .ok_or(SlotError::Length)?;
    Ok(Body { sequence, text, code })
}

/// Which slot is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Neither holds a record: why, for each.
    Neither([SlotError; 2]),
    /// One record.
    Trusted {
        /// It.
        record: Box<Record>,
        /// Its slot.
        slot: usize,
        /// Why the other one is not, if it is bad.
        other: Option<SlotError>,
    },
    /// Two whole records that do not follow one another (recovery rule 5).
    Fork {
        /// Why they do not.
        why: String,
        /// The higher of their sequence numbers: what is written next goes beyond it.
        sequence: u64,
    },
    /// A whole slot of a newer landfall (recovery rule 9).
    Newer(u32),
}

/// Chooses. `None` is a slot that could not be read at all.
pub fn choose(slots: [Option<&[u8]>; 2]) -> Choice {
    let decoded = slots.map(|slot| slot.map_or(Err(SlotError::Empty), Record::decode));
    for slot in &decoded {
        if let Err(SlotError::Newer(version)) = slot {
            return Choice::Newer(*version);
        }
    }
    match decoded {
        [Err(a), Err(b)] => Choice::Neither([a, b]),
        [Ok(record), Err(other)] => Choice::Trusted {
            record: Box::new(record),
            slot: 0,
            other: Some(other),
        },
        [Err(other), Ok(record)] => Choice::Trusted {
            record: Box::new(record),
            slot: 1,
            other: Some(other),
        },
        [Ok(a), Ok(b)] => {
            let (newer, older, slot) = if a.sequence > b.sequence {
                (a, b, 0)
            } else {
                (b, a, 1)
            };
            if let Some(why) = unchained(&newer, &older, slots[1 - slot].unwrap_or_default()) {
                return Choice::Fork {
                    why,
                    sequence: newer.sequence,
                };
            }
            Choice::Trusted {
                record: Box::new(newer),
                slot,
                other: None,
            }
        }
    }
}

/// Why `newer` does not follow `older`.
fn unchained(newer: &Record, older: &Record, older_slot: &[u8]) -> Option<String> {
    if newer.install != older.install {
        return Some(format!(
            "the slots belong to two installs, {} and {}",
            newer.install, older.install
        ));
    }
    if newer.disk != older.disk {
        return Some(format!(
            "the slots belong to two disks, {} and {}",
            newer.disk, older.disk
        ));
    }
    if older.sequence.checked_add(1) != Some(newer.sequence) {
        return Some(format!(
            "sequence {} does not follow {}",
            newer.sequence, older.sequence
        ));
    }
    if newer.parent.as_ref() != Some(&Record::digest_of(older_slot)) {
        return Some(format!(
            "record {} does not name record {} as its parent",
            newer.sequence, older.sequence
        ));
    }
    None
}

impl Record {
    /// The phase claimed.
    pub fn phase(&self) -> Phase {
        self.claim.phase()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} on {} (record {})",
            self.phase(),
            self.host,
            self.disk.name(),
            self.sequence
        )
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
pub(crate) mod tests;
