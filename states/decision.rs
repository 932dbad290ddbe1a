//! What follows from what was seen: the words of [`recovery`](crate::recovery). Law: a decision names its rules and the
//! record that it believes, so that two of them can be compared.
//!
//! Absent: deciding.

use crate::Phase;
use crate::checkpoint::{Mark, Record};
use crate::fault::Fault;
use crate::plan::Plan;
use std::fmt;

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
        };
        write!(f, "rule {} ({name})", self.number())
    }
}

/// Where the believed record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
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
    Begin(Course),
    /// An install that is under way.
    Continue(Course),
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
pub struct Course {
    /// The plan.
    pub plan: Box<Plan>,
    /// The record believed, if any.
    pub believed: Option<Box<Believed>>,
    /// The rules that applied.
    pub rules: Vec<Rule>,
    /// For a person.
    pub why: String,
    /// The highest sequence number seen on the disk, believed or not.
    pub sequence_seen: u64,
}

impl Course {
    /// What the believed record claims.
    pub fn claimed(&self) -> Option<Phase> {
        self.believed.as_ref().map(|b| b.record.phase())
    }

    /// Whether the last writer may have been cut off: then contents are verified before they are trusted.
    pub fn unclean(&self) -> bool {
        self.believed
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
    pub fn believed(&self) -> Option<&Record> {
        match self {
            Decision::Begin(course) | Decision::Continue(course) => {
                course.believed.as_ref().map(|believed| &believed.record)
            }
            Decision::Landed { record, .. } => Some(record),
            Decision::Stop { .. } => None,
        }
    }

    /// The rules that applied.
    pub fn rules(&self) -> Vec<Rule> {
        match self {
            Decision::Begin(course) | Decision::Continue(course) => course.rules.clone(),
            Decision::Landed { .. } => vec![Rule::Landed],
            Decision::Stop { rule, .. } => rule.iter().copied().collect(),
        }
    }
}
