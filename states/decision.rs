//! The types of a decision about recovery.
//!
//! A decision names its rules and the record that it trusts, so that two decisions can be compared.
//!
//! `recovery` decides.

use crate::authentic::Authenticity;
use crate::checkpoint::{Mark, Record};
use crate::fault::{Attempts, Budget, Fault, LastEnding};
use crate::image::ImageProgress;
use crate::names::{Revision, StorePath};
use crate::phase::Phase;
use crate::plan::{Plan, Reference};
use std::fmt;

/// The revision that a run goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pin {
    /// It; `None`: the reference is resolved.
    pub revision: Option<Revision>,
    /// Whether nothing but the record asks for it.
    pub is_wish: bool,
    /// What the record asks for and does not get, because the configuration names another one.
    pub overruled: Option<Revision>,
}

/// A recovery rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// One slot bad: the other is used, the bad one repaired at the next save.
    OneSlotBad = 1,
    /// Both bad, but the table carries our ids: look upward, never rewrite the table.
    SlotsLost = 2,
    /// Both bad, no table of ours: a fresh start with full consent.
    Fresh = 3,
    /// The GPT copies differ and one is ours: not durable, the same table is written again under consent.
    HalfTable = 4,
    /// Fork, gap or parent mismatch: neither slot's phase is trusted.
    Fork = 5,
    /// A slot of another disk: foreign data.
    OtherDisk = 6,
    /// A slot of another host: stop and ask.
    OtherHost = 7,
    /// The layout differs: stop.
    OtherLayout = 8,
    /// A newer format: stop.
    Newer = 9,
    // Rule 10, the clock, decides nothing here: records have no time. Preflight refuses an absurd one.
    /// The table was edited by hand: stop.
    Edited = 11,
    /// Two disks carry installs: the named one, or stop.
    TwoDisks = 12,
    /// The same install on two disks: stop.
    Clone = 13,
    /// The disk is behind its checkpoint: the disk wins.
    Behind = 14,
    /// The disk is ahead of its checkpoint: what verifies is skipped.
    Ahead = 15,
    /// Landed: nothing is touched.
    Landed = 16,
    /// Attempt limits reached: stop.
    Exhausted = 17,
    /// The slots are readable though the ESP's filesystem is not: go on from the raw slots.
    RawSlots = 18,
    /// A record whose code is wrong: nothing that it asks for is believed, and its revision is resolved again.
    Forged = 19,
}

impl Rule {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Rule::OneSlotBad => "OneSlotBad",
            Rule::SlotsLost => "SlotsLost",
            Rule::Fresh => "Fresh",
            Rule::HalfTable => "HalfTable",
            Rule::Fork => "Fork",
            Rule::OtherDisk => "OtherDisk",
            Rule::OtherHost => "OtherHost",
            Rule::OtherLayout => "OtherLayout",
            Rule::Newer => "Newer",
            Rule::Edited => "Edited",
            Rule::TwoDisks => "TwoDisks",
            Rule::Clone => "Clone",
            Rule::Behind => "Behind",
            Rule::Ahead => "Ahead",
            Rule::Landed => "Landed",
            Rule::Exhausted => "Exhausted",
            Rule::RawSlots => "RawSlots",
            Rule::Forged => "Forged",
        };
        write!(f, "rule {} ({name})", self.number())
    }
}

/// Where the believed record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRecord {
    /// The record.
    pub record: Record,
    /// Its bytes, for the chain.
    pub bytes: Vec<u8>,
    /// Its slot, or `None` when it is the one in tmpfs.
    pub slot: Option<usize>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A new install; the disk's contents need consent.
    Begin(ResumePlan),
    /// An install that is under way.
    Continue(ResumePlan),
    /// An install that is finished. Nothing may be touched.
    Landed {
        /// What it says of itself.
        record: Box<Record>,
        /// For a person.
        why: String,
    },
    /// Nothing may be touched.
    Stop {
        /// The rule that says so, when one does.
        rule: Option<Rule>,
        /// Why, and what to do.
        fault: Fault,
    },
}

/// How to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePlan {
    /// The plan.
    pub plan: Box<Plan>,
    /// The record believed, if any.
    pub trusted: Option<Box<TrustedRecord>>,
    /// The rules that applied.
    pub rules: Vec<Rule>,
    /// For a person.
    pub why: String,
    /// The highest sequence number seen on the disk, believed or not.
    pub sequence_seen: u64,
    /// Who wrote the record. Until a key is at hand nothing proves one that lies on a disk.
    pub authenticity: Authenticity,
}

impl ResumePlan {
    /// The revision that the record asks for, where it is of this payload. It is a wish: the record was believed for its place.
    pub fn wish(&self) -> Option<&Revision> {
        let record = &self.trusted.as_ref()?.record;
        (record.payload == self.plan.payload_digest && self.authenticity != Authenticity::Forged)
            .then_some(&record.revision)
    }

    /// What follows from the wish: a revision that the configuration names decides.
    pub fn pin(&self, reference: &Reference) -> Pin {
        let wish = self.wish().cloned();
        match reference {
            Reference::Default | Reference::Branch(_) => Pin {
                is_wish: wish.is_some(),
                revision: wish,
                overruled: None,
            },
            Reference::Revision(named) => {
                let same = wish.as_ref() == Some(named);
                Pin {
                    revision: wish.clone().filter(|_| same),
                    is_wish: false,
                    overruled: wish.filter(|_| !same),
                }
            }
        }
    }

    /// The system that a proved record says this revision comes to.
    pub fn vouched(&self, revision: &Revision) -> Option<&StorePath> {
        let record = &self.trusted.as_ref()?.record;
        (self.authenticity == Authenticity::Proved
            && record.payload == self.plan.payload_digest
            && record.revision == *revision)
            .then(|| record.claim.system())
            .flatten()
    }

    /// The attempts made so far, and a count that stands there and that no run made. Then nothing of the counts is believed, so that
    /// a forged one stops nothing for ever. Proved counts are a former run's own, whatever its budget was.
    pub fn attempts(&self, budget: &Budget) -> (Attempts, Option<u32>) {
        let Some(trusted) = &self.trusted else {
            return (Attempts::default(), None);
        };
        let attempts = &trusted.record.attempts;
        match self.authenticity {
            Authenticity::Proved => (attempts.clone(), None),
            Authenticity::Forged => (Attempts::default(), None),
            Authenticity::Unproved => match attempts.impossible(budget) {
                None => (attempts.clone(), None),
                Some(count) => (Attempts::default(), Some(count)),
            },
        }
    }

    /// How far the writing of an image has come, as the record says.
    pub fn image_progress(&self) -> Option<&ImageProgress> {
        let trusted = self.trusted.as_ref()?;
        let image_progress = trusted.record.image_progress.as_ref();
        image_progress.filter(|_| self.authenticity != Authenticity::Forged)
    }

    /// How the last attempt ended, where it is an ending that is tried once more only.
    pub fn last_ending(&self) -> LastEnding {
        self.trusted
            .as_ref()
            .filter(|_| self.authenticity != Authenticity::Forged)
            .map(|b| LastEnding::recorded(b.record.phase(), b.record.last_fault.as_ref()))
            .unwrap_or_default()
    }

    /// What the believed record claims.
    pub fn claimed(&self) -> Option<Phase> {
        self.trusted.as_ref().map(|b| b.record.phase())
    }

    /// Whether the last writer may have been cut off: then contents are verified before they are trusted. That it stopped in good
    /// order counts only when it is proved who says so.
    pub fn unclean(&self) -> bool {
        self.authenticity != Authenticity::Proved
            || self
                .trusted
                .as_ref()
                .is_none_or(|b| b.record.mark != Mark::Stopped)
    }
}

impl Decision {
    /// `begin`, `continue`, `landed` or `stop`.
    pub fn name(&self) -> &'static str {
        match self {
            Decision::Begin(_) => "begin",
            Decision::Continue(_) => "continue",
            Decision::Landed { .. } => "landed",
            Decision::Stop { .. } => "stop",
        }
    }

    /// The record that is believed.
    pub fn trusted(&self) -> Option<&Record> {
        match self {
            Decision::Begin(resume_plan) | Decision::Continue(resume_plan) => {
                resume_plan.trusted.as_ref().map(|trusted| &trusted.record)
            }
            Decision::Landed { record, .. } => Some(record),
            Decision::Stop { .. } => None,
        }
    }

    /// The rules that applied.
    pub fn rules(&self) -> Vec<Rule> {
        match self {
            Decision::Begin(resume_plan) | Decision::Continue(resume_plan) => resume_plan.rules.clone(),
            Decision::Landed { .. } => vec![Rule::Landed],
            Decision::Stop { rule, .. } => rule.iter().copied().collect(),
        }
    }
}
