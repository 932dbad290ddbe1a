//! What a prober saw on a partition, and what that means for a planned volume.
//!
//! The id decides. A volume that is neither ours nor blank is foreign, and is never overwritten.

use crate::consent::{Consent, Erasure};
use crate::fault::{Fault, Kind, Remedy};
use crate::plan::{DiskIdentity, GptEntry};
use crate::step::Verdict;
use std::fmt;

/// What a filesystem prober saw on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// No signature that any prober knows.
    Blank,
    /// One signature.
    Found(Signature),
    /// More than one signature, or one that contradicts itself.
    Ambiguous(String),
}

/// A signature as `blkid` reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// `TYPE`, e.g. `ext4`, `vfat`, `swap`, `crypto_LUKS`.
    pub kind: String,
    /// `UUID`, as printed.
    pub id: Option<String>,
    /// `LABEL`.
    pub label: Option<String>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Blank => f.write_str("blank"),
            Probe::Ambiguous(why) => write!(f, "ambiguous ({why})"),
            Probe::Found(Signature { kind, id, label }) => write!(
                f,
                "{kind} {} {}",
                label.as_deref().unwrap_or("without label"),
                id.as_deref().unwrap_or("without id")
            ),
        }
    }
}

/// What a probe means for a planned volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// Ours and whole.
    Complete,
    /// Ours, begun and not finished: nothing of worth is in it.
    Incomplete,
    /// Nothing there.
    Blank,
    /// Not ours.
    Foreign,
}

impl Probe {
    /// Compares a probe with a planned volume of type `kind`, whose ids are written as `id` and `provisional`.
    pub fn compare(&self, kind: &str, id: &str, provisional: &str, label: &str) -> VolumeState {
        match self {
            Probe::Blank => VolumeState::Blank,
            Probe::Ambiguous(_) => VolumeState::Foreign,
            Probe::Found(found) => {
                let is = |id: &str| {
                    found.kind == kind && found.id.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(id))
                };
                let mixed = || {
                    found.kind == kind
                        && found
                            .id
                            .as_deref()
                            .is_some_and(|f| is_mixture(f, id, provisional))
                };
                if is(provisional) {
                    VolumeState::Incomplete
                } else if is(id) && found.label.as_deref() == Some(label) {
                    VolumeState::Complete
                } else if !is(id) && mixed() {
                    VolumeState::Incomplete
                } else {
                    VolumeState::Foreign
                }
            }
        }
    }
}

/// Whether every two bytes of an id are those of the one or of the other. `tune2fs` writes of a superblock only the 16-bit
/// words that change, in several writes; killed between two of them, it leaves such an id.
fn is_mixture(found: &str, one: &str, other: &str) -> bool {
    const WORD: usize = 4;
    let digits = |text: &str| -> Vec<u8> {
        text.bytes()
            .filter(|b| *b != b'-')
            .map(|b| b.to_ascii_lowercase())
            .collect()
    };
    let (found, one, other) = (digits(found), digits(one), digits(other));
    found.len() == one.len()
        && found.len() == other.len()
        && found.len() > 2 * WORD
        && found
            .chunks(WORD)
            .zip(one.chunks(WORD).zip(other.chunks(WORD)))
            .all(|(found, (one, other))| found == one || found == other)
}

/// A partition of ours that is blank, or was begun and not finished, may be formatted, unless the checkpoint says that it
/// was whole: then the disk is behind its checkpoint (rule 14), and somebody has to agree.
pub(crate) fn blank<P, O>(
    disk: &DiskIdentity,
    partition: &GptEntry,
    claimed: bool,
    consent: &Option<Consent>,
    order: impl FnOnce() -> O,
) -> Verdict<P, O> {
    if !claimed {
        return Verdict::Todo(order());
    }
    let erasure = Erasure {
        disk: disk.clone(),
        extent: format!("partition {} ({})", partition.number, partition.name),
        contents: vec![
            "it is blank, although the checkpoint states that it was made: something erased it".into(),
        ],
        finished_work: false,
    };
    match consent {
        Some(consent) if consent.covers(&erasure) => Verdict::Todo(order()),
        Some(_) | None => Verdict::NeedsConsent(erasure),
    }
}

/// The refusal for a partition of ours that holds what is not ours.
pub(crate) fn foreign(partition: &GptEntry, probe: &Probe) -> Fault {
    Fault::of(
        Kind::ForeignPartition {
            number: partition.number,
            name: partition.name.clone(),
            found: probe.to_string(),
        },
        Remedy::words("save its contents, then start a new install: landfall install --reinstall"),
    )
}
