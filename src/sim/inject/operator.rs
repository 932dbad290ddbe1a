//! What people do between two runs: another payload, another layout, a request to start again, an edited table, a disk that
//! is away, another one beside it, a copy of it, a wrong clock, a firmware that forgot, a command in the clone's settings,
//! forged records.
//!
//! `explore::operator` says what must follow.

use crate::sim::model::case::Mode;
use crate::sim::model::contents::record_text;
use crate::sim::model::disk::{Disk, Fs, Key, Value};
use crate::sim::model::facts::revision;
use crate::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, Record, SLOT_BYTES, choose};
use landfall_states::names::{Digest, quoted};
use std::hash::Hash;
use std::str::FromStr;

/// What is done between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorAction {
    /// Another branch, and what is built of it.
    Payload,
    /// Another layout.
    Layout,
    /// A person asks for a new install, and loses power while it is made.
    Anew,
    /// The table is edited by hand.
    Edit,
    /// The disk is taken away.
    Away,
    /// A disk with another install of this host is attached.
    Second,
    /// A copy of the disk is attached.
    Copy,
    /// The clock is in 1970.
    Clock,
    /// The firmware forgets its entries.
    Firmware,
    /// Somebody who has the disk writes a command into the settings of the clone.
    Orders,
    /// Somebody who has the disk makes the records ask for a commit of his, and keeps their codes.
    Forged,
    /// The same without codes, as before there were any.
    Stripped,
    /// The remote's reference moves on to a descendant.
    MovedOn,
    /// It is pushed somewhere else by force.
    MovedAway,
}

impl OperatorAction {
    /// Everything.
    pub const ALL: [OperatorAction; 14] = [
        OperatorAction::Payload,
        OperatorAction::Layout,
        OperatorAction::Anew,
        OperatorAction::Edit,
        OperatorAction::Away,
        OperatorAction::Second,
        OperatorAction::Copy,
        OperatorAction::Clock,
        OperatorAction::Firmware,
        OperatorAction::Orders,
        OperatorAction::Forged,
        OperatorAction::Stripped,
        OperatorAction::MovedOn,
        OperatorAction::MovedAway,
    ];

    /// Its name, as the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            OperatorAction::Payload => "payload",
            OperatorAction::Layout => "layout",
            OperatorAction::Anew => "reinstall",
            OperatorAction::Edit => "edit",
            OperatorAction::Away => "away",
            OperatorAction::Second => "second",
            OperatorAction::Copy => "copy",
            OperatorAction::Clock => "clock",
            OperatorAction::Firmware => "firmware",
            OperatorAction::Orders => "orders",
            OperatorAction::Forged => "forged",
            OperatorAction::Stripped => "stripped",
            OperatorAction::MovedOn => "moved-on",
            OperatorAction::MovedAway => "moved-away",
        }
    }
}

impl OperatorAction {
    /// What is plugged and edited is so while the machine is off.
    pub(crate) fn is_done_off(self) -> bool {
        match self {
            OperatorAction::Edit
            | OperatorAction::Away
            | OperatorAction::Copy
            | OperatorAction::Second
            | OperatorAction::Orders
            | OperatorAction::Forged
            | OperatorAction::Stripped
            | OperatorAction::MovedOn
            | OperatorAction::MovedAway => true,
            OperatorAction::Payload
            | OperatorAction::Layout
            | OperatorAction::Anew
            | OperatorAction::Clock
            | OperatorAction::Firmware => false,
        }
    }
}

impl FromStr for OperatorAction {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // "anew" is the former name of "reinstall"; scripts have it.
        let name = if text == "anew" { "reinstall" } else { text };
        let found = OperatorAction::ALL
            .into_iter()
            .find(|action| action.name() == name);
        found.ok_or_else(|| {
            let all = OperatorAction::ALL.map(OperatorAction::name).join(", ");
            format!("{} is not an operator action; use {all}", quoted(text))
        })
    }
}

/// A commit that the server has, and no reference names.
pub const EVIL_DIGIT: &str = "e";

/// What somebody has put into the store under a name of its own.
const EVIL_SYSTEM: &str = "/nix/store/3123456789abcdfghijklmnpqrsvwxyz-nixos-system-web";

/// Where the code of a slot begins, from its end: `container:` or `installer:`, 64 digits, a line feed.
const CODE_LINE_BYTES: usize = 79;

/// How somebody without a key writes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// With the code that stood there.
    OldCode,
    /// Without a code.
    NoCode,
}

/// Somebody has the disk for a while: both slots ask for a commit of his choice and count more attempts than anybody makes, all
/// digests right; and outside of a container the target names a system of his.
///
/// # Errors
/// A plan that is not possible, or a defect of the simulation.
pub fn forge(disk: &mut Disk, setting: &Setting, how: Forgery) -> Result<(), String> {
    let slots = [disk.slot(0), disk.slot(1)];
    let Choice::Trusted { record, slot, .. } = choose([slots[0].as_deref(), slots[1].as_deref()]) else {
        // There is nothing to be forged yet.
        return Ok(());
    };
    let mut record = Record {
        revision: revision(EVIL_DIGIT).ok_or("no revision")?,
        parent: None,
        ..*record
    };
    // Counts that no run makes, where nothing tells that they are forged.
    if how == Forgery::NoCode {
        for _ in 0..=setting.request.budget.phase_attempts_max {
            record.attempts.raise(Phase::Formatted);
        }
    }
    let old = slots.get(slot).cloned().flatten().unwrap_or_default();
    let code = match how {
        Forgery::OldCode => old.get(SLOT_BYTES - CODE_LINE_BYTES..).unwrap_or_default(),
        Forgery::NoCode => &[],
    };
    let newer = record.sequence;
    record.sequence = newer.saturating_sub(1);
    let first = with_code(record.encode().map_err(|e| e.to_string())?, code);
    record.parent = Some(Record::digest_of(&first));
    record.sequence = newer;
    let second = with_code(record.encode().map_err(|e| e.to_string())?, code);
    disk.put_slots(&[first, second]);
    // What has landed is left alone, whoever changes it.
    let is_open =
        setting.plan.luks.is_none() && setting.case.mode == Mode::Flake && record.phase() != Phase::Landed;
    if is_open && let Some(Value::Text(making, _)) = disk.durable().get(&Key::File(Fs::Root, "record")) {
        let making = *making;
        let system = EVIL_SYSTEM.parse().map_err(|e| format!("{e}"))?;
        let text = record_text(&setting.plan, &setting.revision, &system);
        disk.put(Key::File(Fs::Root, "record"), Value::Text(making, text.into()));
    }
    Ok(())
}

/// A slot with this last line, and the digest over all of it.
#[expect(clippy::indexing_slicing, reason = "after `sha256=` a record has 64 digits")]
fn with_code(mut slot: Vec<u8>, code: &[u8]) -> Vec<u8> {
    let at = slot.len().saturating_sub(code.len());
    slot.truncate(at);
    slot.extend_from_slice(code);
    let name = b"sha256=";
    let digest = slot.windows(name.len()).position(|window| window == name);
    if let Some(from) = digest.map(|at| at + name.len()) {
        let to = from + 64;
        let all = [&slot[..from], &slot[to..]].concat();
        slot[from..to].copy_from_slice(Digest::of(&all).as_str().as_bytes());
    }
    slot
}
