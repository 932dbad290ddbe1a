//! Parts of the simulated world, for people. Law: no text of Rust's own (Debug) reaches them.
//!
//! Absent: events, which are told as the log has them.

use super::disk::{Fs, Key, Region};
use super::story::End;
use crate::driver::Outcome;
use landfall_states::checkpoint::Choice;
use landfall_states::recovery::Rule;
use std::fmt;

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Region::Esp => "the ESP",
            Region::Root => "the root partition",
            Region::Swap => "the swap partition",
            Region::Inner => "the inside of the container",
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Mbr => f.write_str("the protective MBR"),
            Key::Primary => f.write_str("the GPT at the start"),
            Key::Backup => f.write_str("the GPT at the end"),
            Key::Header(region) => write!(f, "the header of {region}"),
            Key::Copies => f.write_str("the copies of root's superblock"),
            Key::Body(region) => write!(f, "the body of {region}"),
            Key::Chunk(number) => write!(f, "chunk {number} of the image"),
            Key::Keyslot => f.write_str("the key slot"),
            Key::Directory => f.write_str("the root directory of the ESP"),
            Key::SlotFile(slot) => write!(f, "the file of slot {slot}"),
            Key::Sector(slot, sector) => write!(f, "sector {sector} of slot {slot}"),
            Key::File(Fs::Esp, name) => write!(f, "{name} on the ESP"),
            Key::File(Fs::Root, name) => write!(f, "{name} on root"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Said(Ok(Outcome::Landed { .. })) => f.write_str("it landed"),
            End::Said(Ok(Outcome::AlreadyLanded { .. })) => f.write_str("it says that it had landed before"),
            End::Said(Ok(Outcome::NothingToResume { .. })) => f.write_str("it finds nothing to resume"),
            End::Said(Err(halt)) => write!(f, "it stops: {}", halt.fault),
            End::Died(death) => write!(f, "it died by {death}"),
        }
    }
}

/// A rule of recovery, for people.
pub(super) fn rule_name(rule: Option<Rule>) -> String {
    rule.map_or("no rule".to_owned(), |rule| format!("rule {}", rule.number()))
}

/// What is left of the slots where no record is believed.
pub(super) fn left(choice: &Choice) -> &'static str {
    match choice {
        Choice::Believed { .. } => "a record is left",
        Choice::Neither(_) => "no record is left",
        Choice::Fork { .. } => "two records that do not follow one another are left",
        Choice::Newer(_) => "a record of a newer format is left",
    }
}
