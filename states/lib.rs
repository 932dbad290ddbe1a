//! The install as a typed state machine. Law: everything here is a pure function of its arguments; the same inputs give
//! the same verdicts on every machine and at every time.
//!
//! Absent: input and output, clocks, randomness, async, the operating system. Cargo enforces it: nothing of the kind
//! is a dependency of this crate.
//!
//! ```text
//!  Planned ─PartitionDisk→ Partitioned ─AnchorCheckpoint→ Anchored ─EncryptVolumes→ Encrypted ─FormatVolumes→
//!  Formatted ─CloneConfiguration→ Cloned ─RealiseSystem→ Realised ─InstallSystem→ Installed ─InstallBootLoader→
//!  Bootable ─ProvisionSecrets→ Provisioned ─Land→ Landed
//! ```
//!
//! A *state* is a fact that survives a power cut. It is a struct with private fields; the only way to the next one is
//! `advance(self, proof)`, and a proof comes only from judging facts that were looked at. An *action* is data. The world
//! looks ([`Step::Facts`]) and acts ([`Step::Order`]); whether the work is done is judged here, from the facts alone.
//! So the driver's rhythm is: look, judge, act, look again, judge again.

pub mod authentic;
pub mod checkpoint;
pub mod consent;
mod decision;
pub mod disk_name;
pub mod fault;
pub mod identity;
pub mod image;
pub mod names;
pub mod plan;
pub mod recovery;
pub mod remote;
pub mod shown;
pub mod taken;
pub mod token;
pub mod utc;

pub mod anchored;
pub mod bootable;
pub mod cloned;
pub mod encrypted;
pub mod formatted;
pub mod installed;
pub mod landed;
pub mod partitioned;
pub mod planned;
pub mod provisioned;
pub mod realised;

use consent::Erasure;
use fault::Fault;
use names::{Revision, StorePath};
use plan::Plan;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a state, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Disk identified and consent held; every id fixed.
    #[serde(rename = "Planned")]
    Planned,
    /// Our GPT, both copies, flushed.
    #[serde(rename = "Partitioned")]
    Partitioned,
    /// The checkpoint lives on the ESP.
    #[serde(rename = "Anchored")]
    Anchored,
    /// LUKS headers are ours and the passphrase opens them.
    #[serde(rename = "Encrypted")]
    Encrypted,
    /// Filesystems and swap are ours.
    #[serde(rename = "Formatted")]
    Formatted,
    /// The pinned revision is whole on the target.
    #[serde(rename = "Cloned")]
    Cloned,
    /// The system path is known; its closure is valid on the target.
    #[serde(rename = "Realised")]
    Realised,
    /// Profile set, activation prepared.
    #[serde(rename = "Installed")]
    Installed,
    /// Loader, entries, kernel and initrd re-read from the ESP and equal to the store.
    #[serde(rename = "Bootable")]
    Bootable,
    /// Everything first boot needs is there.
    #[serde(rename = "Provisioned")]
    Provisioned,
    /// Finished, flushed; nothing leads out.
    #[serde(rename = "Landed")]
    Landed,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 11] = [
        Phase::Planned,
        Phase::Partitioned,
        Phase::Anchored,
        Phase::Encrypted,
        Phase::Formatted,
        Phase::Cloned,
        Phase::Realised,
        Phase::Installed,
        Phase::Bootable,
        Phase::Provisioned,
        Phase::Landed,
    ];

    /// The action that leads on, by name.
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Phase::Planned => Some("PartitionDisk"),
            Phase::Partitioned => Some("AnchorCheckpoint"),
            Phase::Anchored => Some("EncryptVolumes"),
            Phase::Encrypted => Some("FormatVolumes"),
            Phase::Formatted => Some("CloneConfiguration"),
            Phase::Cloned => Some("RealiseSystem"),
            Phase::Realised => Some("InstallSystem"),
            Phase::Installed => Some("InstallBootLoader"),
            Phase::Bootable => Some("ProvisionSecrets"),
            Phase::Provisioned => Some("Land"),
            Phase::Landed => None,
        }
    }

    /// Whether the checkpoint must be on the ESP in this phase.
    pub const fn is_anchored(self) -> bool {
        self as u8 >= Phase::Anchored as u8
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Planned => "Planned",
            Phase::Partitioned => "Partitioned",
            Phase::Anchored => "Anchored",
            Phase::Encrypted => "Encrypted",
            Phase::Formatted => "Formatted",
            Phase::Cloned => "Cloned",
            Phase::Realised => "Realised",
            Phase::Installed => "Installed",
            Phase::Bootable => "Bootable",
            Phase::Provisioned => "Provisioned",
            Phase::Landed => "Landed",
        })
    }
}

/// What facts mean for an action.
#[derive(Debug)]
pub enum Verdict<Proof, Order> {
    /// The work is done; the proof opens the next state.
    Done(Proof),
    /// The work, or the rest of it, is to be done: exactly this.
    Todo(Order),
    /// The work would destroy something that nobody has agreed to lose: this.
    NeedsConsent(Erasure),
    /// Nothing may be done.
    Refuse(Fault),
}

/// One step of the install: an action with the facts it is judged by.
///
/// Contract for worlds: *observe* changes nothing that a power cut would keep (on a dirty filesystem, journal replay
/// excepted); *perform* is idempotent: carrying out an order twice, or carrying it out after it was cut off anywhere,
/// leaves what carrying it out once leaves, as far as the facts tell. Neither decides anything.
pub trait Step {
    /// The state it leads on from.
    const PHASE: Phase;
    /// What the world sees.
    type Facts: fmt::Debug;
    /// That the work is done. Only [`Step::judge`] makes one.
    type Proof;
    /// What is left to do. Only [`Step::judge`] makes one.
    type Order: fmt::Debug;

    /// Judges.
    fn judge(&self, facts: &Self::Facts) -> Verdict<Self::Proof, Self::Order>;
    /// What the action does, for `landfall plan`, in one line.
    fn describe(&self) -> String;
    /// What an order of it says is left to do, for people, in one line.
    fn remaining(&self, _order: &Self::Order) -> String {
        self.describe()
    }
    /// How far an action that is carried out in slices has come. A slice that brought it further is no attempt of its own,
    /// and is no success that did nothing.
    fn landing(&self, _facts: &Self::Facts) -> Option<image::Landing> {
        None
    }
}

/// What a filesystem prober saw on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// No signature that any prober knows.
    Blank,
    /// One signature.
    Found(Signature),
    /// More than one signature, or one that contradicts itself.
    Ambivalent(String),
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
            Probe::Ambivalent(why) => write!(f, "ambivalent ({why})"),
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
    Whole,
    /// Ours, begun and not finished: nothing of worth is in it.
    InTheMaking,
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
            Probe::Ambivalent(_) => VolumeState::Foreign,
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
                    VolumeState::InTheMaking
                } else if is(id) && found.label.as_deref() == Some(label) {
                    VolumeState::Whole
                } else if !is(id) && mixed() {
                    VolumeState::InTheMaking
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

/// A state, as a checkpoint states it. A claim says where to look; it opens no state and permits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// See [`Phase::Planned`].
    #[serde(rename = "Planned")]
    Planned,
    /// See [`Phase::Partitioned`].
    #[serde(rename = "Partitioned")]
    Partitioned,
    /// See [`Phase::Anchored`].
    #[serde(rename = "Anchored")]
    Anchored,
    /// See [`Phase::Encrypted`].
    #[serde(rename = "Encrypted")]
    Encrypted,
    /// See [`Phase::Formatted`].
    #[serde(rename = "Formatted")]
    Formatted,
    /// See [`Phase::Cloned`].
    #[serde(rename = "Cloned")]
    Cloned,
    /// See [`Phase::Realised`].
    #[serde(rename = "Realised")]
    Realised(StorePath),
    /// See [`Phase::Installed`].
    #[serde(rename = "Installed")]
    Installed(StorePath),
    /// See [`Phase::Bootable`].
    #[serde(rename = "Bootable")]
    Bootable(StorePath),
    /// See [`Phase::Provisioned`].
    #[serde(rename = "Provisioned")]
    Provisioned(StorePath),
    /// See [`Phase::Landed`].
    #[serde(rename = "Landed")]
    Landed(StorePath),
}

impl Claim {
    /// The phase claimed.
    pub fn phase(&self) -> Phase {
        match self {
            Claim::Planned => Phase::Planned,
            Claim::Partitioned => Phase::Partitioned,
            Claim::Anchored => Phase::Anchored,
            Claim::Encrypted => Phase::Encrypted,
            Claim::Formatted => Phase::Formatted,
            Claim::Cloned => Phase::Cloned,
            Claim::Realised(_) => Phase::Realised,
            Claim::Installed(_) => Phase::Installed,
            Claim::Bootable(_) => Phase::Bootable,
            Claim::Provisioned(_) => Phase::Provisioned,
            Claim::Landed(_) => Phase::Landed,
        }
    }

    /// The system path claimed.
    pub fn system(&self) -> Option<&StorePath> {
        match self {
            Claim::Planned
            | Claim::Partitioned
            | Claim::Anchored
            | Claim::Encrypted
            | Claim::Formatted
            | Claim::Cloned => None,
            Claim::Realised(system)
            | Claim::Installed(system)
            | Claim::Bootable(system)
            | Claim::Provisioned(system)
            | Claim::Landed(system) => Some(system),
        }
    }
}

/// What travels along with every state.
#[derive(Debug, Clone)]
pub(crate) struct Voyage {
    pub(crate) plan: Plan,
    pub(crate) revision: Revision,
    /// What the checkpoint claimed when this run began. Makes judging stricter, never laxer.
    pub(crate) claimed: Option<Phase>,
    /// Whether the last writer stopped uncleanly: contents are verified before they are trusted.
    pub(crate) unclean: bool,
    /// Whether nothing but a record that nobody proved asks for the revision. Makes judging stricter, never laxer.
    pub(crate) is_wish: bool,
    /// The system that a proved record says the revision comes to.
    pub(crate) vouched: Option<StorePath>,
}

impl Voyage {
    /// Whether the checkpoint claimed that `phase` was reached.
    pub(crate) fn claims(&self, phase: Phase) -> bool {
        self.claimed.is_some_and(|claimed| claimed >= phase)
    }
}

/// Where the install is.
#[derive(Debug)]
pub enum State {
    /// See [`planned`].
    Planned(planned::Planned),
    /// See [`partitioned`].
    Partitioned(partitioned::Partitioned),
    /// See [`anchored`].
    Anchored(anchored::Anchored),
    /// See [`encrypted`].
    Encrypted(encrypted::Encrypted),
    /// See [`formatted`].
    Formatted(formatted::Formatted),
    /// See [`cloned`].
    Cloned(cloned::Cloned),
    /// See [`realised`].
    Realised(realised::Realised),
    /// See [`installed`].
    Installed(installed::Installed),
    /// See [`bootable`].
    Bootable(bootable::Bootable),
    /// See [`provisioned`].
    Provisioned(provisioned::Provisioned),
    /// See [`landed`].
    Landed(landed::Landed),
}

impl State {
    /// The state as a checkpoint states it.
    pub fn claim(&self) -> Claim {
        match self {
            State::Planned(_) => Claim::Planned,
            State::Partitioned(_) => Claim::Partitioned,
            State::Anchored(_) => Claim::Anchored,
            State::Encrypted(_) => Claim::Encrypted,
            State::Formatted(_) => Claim::Formatted,
            State::Cloned(_) => Claim::Cloned,
            State::Realised(s) => Claim::Realised(s.system().clone()),
            State::Installed(s) => Claim::Installed(s.system().clone()),
            State::Bootable(s) => Claim::Bootable(s.system().clone()),
            State::Provisioned(s) => Claim::Provisioned(s.system().clone()),
            State::Landed(s) => Claim::Landed(s.system().clone()),
        }
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.claim().phase()
    }
}

#[cfg(test)]
#[path = "voyage_tests.rs"]
mod tests;
