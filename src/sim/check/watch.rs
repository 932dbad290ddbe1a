//! Watches the invariants over one scenario run.
//!
//! A check sees what was done and what is on the disks. It asks neither the driver nor the states for their opinion. A breach
//! names its invariant. It is recorded, not prevented, and the scenario continues.

use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::model::contents::{AGE_IDENTITY, CANARY, LOST, PASSPHRASE, REMOTE_TOKEN};
use crate::sim::model::disk::{Disk, Fs, Header, Key, Region, Value};
use crate::sim::model::machine::Machine;
use crate::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, Record, choose};
use landfall_states::consent::Erasure;
use landfall_states::names::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// How an effect found what it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// By the disk's identity, and the PARTUUID on it.
    ByIdentity,
    /// By a label.
    ByLabel,
}

/// What is written, as the checks see it.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// On which of the machine's disks.
    pub disk: &'a Disk,
    /// How it was found.
    pub found: Found,
    /// Where.
    pub key: Key,
    /// What.
    pub value: Option<&'a Value>,
}

/// A saved record that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    sequence: u64,
    phase: Phase,
}

/// Watches one scenario, over all its runs.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// What was broken, once for each invariant.
    pub breaches: Vec<Breach>,
    /// Consents given in this run.
    consented: bool,
    /// Consents given in former runs.
    consented_before: bool,
    identified: bool,
    /// Whether the planned table was durable when the order began.
    table_durable: bool,
    acknowledged: Option<Acknowledged>,
    /// Digests and sequence numbers of every record written, so that the chain can be followed.
    written: Rc<BTreeMap<Digest, u64>>,
    /// Regions whose planned volume was once durable under the table that is there.
    finished: BTreeSet<Region>,
    /// Writes since the last look that put a torn superblock back as its copies have it.
    repaired: u64,
    /// A repair of the root filesystem took something away that was there at this phase: this run does not know, and what it saves of later
    /// ones counts for nothing.
    lost_at: Option<Phase>,
    /// An order is carried out for the second time without a look between: that it makes again what it made is its
    /// meaning, and only the end counts (I23).
    pub again: bool,
    /// Every record written to a slot, for scenarios about strange slots.
    pub records: Rc<Vec<Rc<[u8]>>>,
    /// Destructive effects on the target, for comparing scenarios.
    pub destroyed: BTreeSet<Key>,
}

impl Checks {
    /// Writes a breach down; the first of each invariant tells most.
    pub fn breach(&mut self, invariant: Invariant, how: impl Into<String>) {
        if !self.breaches.iter().any(|b| b.invariant == invariant) {
            self.breaches.push(Breach {
                invariant,
                how: how.into(),
            });
        }
    }

    /// What decides the checks to come, where the slots hold `believed`: its sequence number and digest.
    pub fn digest(&self, trusted: Option<(u64, &Digest)>, hasher: &mut impl Hasher) {
        let breaches: Vec<Invariant> = self.breaches.iter().map(|b| b.invariant).collect();
        let order = self.acknowledged.as_ref().map(|acknowledged| {
            let sequence = trusted.map_or(0, |(sequence, _)| sequence);
            (acknowledged.phase, sequence.cmp(&acknowledged.sequence))
        });
        let chained = trusted.is_some_and(|(_, digest)| self.written.contains_key(digest));
        (self.consented || self.consented_before, order, &self.finished).hash(hasher);
        (breaches, chained, self.written.is_empty()).hash(hasher);
    }

    /// A run begins.
    pub fn run_begins(&mut self) {
        self.again = false;
        self.repaired = 0;
        self.lost_at = None;
        self.consented_before |= self.consented;
        self.consented = false;
        self.identified = false;
    }

    /// Somebody is asked.
    pub fn asked(&mut self, setting: &Setting, target: &Disk, erasure: &Erasure) {
        if erasure.extent == "the whole disk" && target.has_table(&setting.plan.table) {
            self.breach(
                Invariant::TableOnce,
                "consent to erase the disk was asked for over our own table",
            );
        }
    }

    /// What was done from a phase on is done again: another payload is asked for, or the ESP lost the boot loader with its directory.
    pub fn done_again_from(&mut self, phase: Phase) {
        if let Some(acknowledged) = &mut self.acknowledged {
            acknowledged.phase = acknowledged.phase.min(phase);
        }
    }

    /// A repair took something away.
    pub fn lost(&mut self, phase: Phase) {
        self.lost_at = Some(phase);
        self.done_again_from(phase);
    }

    /// A new install is asked for: everything is done again, under new consent.
    pub fn begins_anew(&mut self) {
        self.consented_before = false;
        if let Some(acknowledged) = &mut self.acknowledged {
            acknowledged.phase = Phase::Planned;
        }
    }

    /// Somebody agreed, being asked in this run.
    pub fn consented(&mut self) {
        self.consented = true;
    }

    /// An order begins to be carried out.
    pub fn order_begins(&mut self, setting: &Setting, target: &Disk, phase: Phase) {
        self.identified = false;
        let durable = |key| match target.durable().get(&key) {
            Some(Value::Table(table)) => **table == setting.plan.table,
            Some(_) | None => false,
        };
        self.table_durable =
            durable(Key::Primary) && durable(Key::Backup) && target.durable().contains_key(&Key::Mbr);
        if let Some(acknowledged) = &self.acknowledged
            && phase < acknowledged.phase
        {
            let how = format!(
                "{phase} was left again after {} had been saved",
                acknowledged.phase
            );
            self.breach(Invariant::NothingTwice, how);
        }
    }

    /// The disk was identified.
    pub fn identified(&mut self) {
        self.identified = true;
    }

    /// Somebody else wrote the slots: what follows them has a parent.
    pub fn somebody_wrote(&mut self, target: &Disk) {
        for bytes in [0, 1].into_iter().filter_map(|which| target.slot(which)) {
            let sequence = Record::decode(&bytes).map_or(0, |record| record.sequence);
            self.knows(&bytes, sequence);
        }
    }

    /// Something was used that the configuration does not name.
    pub fn not_named(&mut self, how: &str) {
        self.breach(Invariant::OnlyTheNamed, how);
    }

    /// A program without a deadline.
    pub fn waits_for_ever(&mut self, label: &str) {
        self.breach(Invariant::Ends, format!("{label} waits for ever"));
    }

    /// Something is written while a program of a former run is at work.
    pub fn second_writer(&mut self, key: Key) {
        self.breach(
            Invariant::OneWriter,
            format!("{key} was written while a program of a killed run was running"),
        );
    }

    /// A second landfall begins on the disk while one is at work there.
    pub fn another_landfall(&mut self) {
        self.breach(
            Invariant::OneWriter,
            "another landfall started on the disk while this one was using it",
        );
    }

    /// A program was run because somebody wrote its name into what lies on the disk.
    pub fn took_orders(&mut self, of: &str) {
        self.breach(
            Invariant::TakesNoOrders,
            format!("a program was run that {of} names"),
        );
    }

    /// An effect is about to be had.
    pub fn writing(&mut self, setting: &Setting, write: Write<'_>) {
        let Write {
            disk,
            found,
            key,
            value,
        } = write;
        if disk.identity != setting.plan.disk {
            self.breach(
                Invariant::OnlyTheTarget,
                format!("{key} was written on {}", disk.identity),
            );
        }
        if found == Found::ByLabel {
            self.breach(Invariant::ByIdentity, format!("{key} was found by its label"));
        }
        match (key, value) {
            (Key::Mbr | Key::Primary | Key::Backup, _)
            | (Key::Header(_) | Key::Body(_) | Key::Chunk(_) | Key::Sector(..), None) => {
                self.writing_table(key);
            }
            (Key::Copies, None) => self.clearing_copies(setting, disk),
            // What was torn is there again, as the copies have it.
            (Key::Header(region), Some(value @ Value::Header(_)))
                if disk.see(Key::Copies) == Some(value) && disk.see(key) == Some(&Value::Torn) =>
            {
                self.repaired += u64::from(setting.root_region() == region);
            }
            (Key::Directory, Some(_)) => {
                let planned = setting.volume(Region::Esp).map(|(_, _, id, _)| id);
                self.repaired += u64::from(disk.lost_directory_of(planned).is_some());
            }
            (Key::File(Fs::Root, _), Some(Value::Text(_, text))) if **text == *LOST => self.repaired += 1,
            (Key::Header(region), Some(Value::Header(header))) => {
                self.making(setting, disk, region, header);
            }
            (
                Key::Header(_)
                | Key::Copies
                | Key::Body(_)
                | Key::Chunk(_)
                | Key::Keyslot
                | Key::Directory
                | Key::SlotFile(_)
                | Key::Sector(..)
                | Key::File(..),
                _,
            ) => {}
        }
    }

    /// A table is about to be written, or something that only a new table takes away.
    fn writing_table(&mut self, key: Key) {
        self.destroys(key);
        if self.table_durable {
            self.breach(
                Invariant::TableOnce,
                format!("{key} was written over the planned table"),
            );
        }
        self.permitted(key);
        self.finished.clear();
        self.acknowledged = None;
    }

    /// The copies of the root's superblock are about to be cleared.
    fn clearing_copies(&mut self, setting: &Setting, disk: &Disk) {
        self.destroys(Key::Copies);
        let region = setting.root_region();
        let planned = setting.volume(region).map(|(_, _, id, _)| id);
        let there = disk.header(region).map(|header| header.id.to_string());
        if !self.table_durable {
            self.permitted(Key::Copies);
        } else if there.is_some() && there == planned && !self.again {
            self.breach(
                Invariant::FormatOnce,
                "the copies of a finished root's superblock were cleared",
            );
        }
    }

    /// A volume is about to be made, which begins with a header under the provisional id.
    fn making(&mut self, setting: &Setting, disk: &Disk, region: Region, header: &Header) {
        let Some((_, _, id, provisional)) = setting.volume(region) else {
            self.breach(
                Invariant::ConsentFirst,
                format!("no volume is planned in {region}"),
            );
            return;
        };
        if *header.id != *provisional {
            return;
        }
        self.destroys(Key::Header(region));
        if !self.identified {
            self.breach(
                Invariant::IdentityAgain,
                format!("{region} was made without identifying the disk"),
            );
        }
        if self.again {
            return;
        }
        let there = disk.header(region).map(|h| h.id.to_string());
        let ours = disk.has_table(&setting.plan.table);
        if self.finished.contains(&region) || there.as_ref() == Some(&id) {
            self.breach(
                Invariant::FormatOnce,
                format!("{region} was finished and made again"),
            );
        } else if there.is_some_and(|there| there != provisional) || !ours {
            self.breach(
                Invariant::ConsentFirst,
                format!("{region} was made over something else"),
            );
        }
    }

    fn destroys(&mut self, key: Key) {
        self.destroyed.insert(key);
    }

    fn permitted(&mut self, key: Key) {
        if !self.consented {
            let invariant = if self.consented_before {
                Invariant::ConsentLives
            } else {
                Invariant::ConsentFirst
            };
            self.breach(invariant, format!("{key} was written without a question"));
        }
        if !self.identified {
            self.breach(
                Invariant::IdentityAgain,
                format!("{key} was written without identifying the disk"),
            );
        }
    }

    /// Something became durable.
    pub fn flushed(&mut self, setting: &Setting, target: &Disk) {
        for region in Region::ALL {
            if let Some((_, _, id, _)) = setting.volume(region)
                && let Some(Value::Header(header)) = target.durable().get(&Key::Header(region))
                && *header.id == *id
            {
                self.finished.insert(region);
            }
        }
    }

    fn knows(&mut self, bytes: &[u8], sequence: u64) {
        Rc::make_mut(&mut self.written).insert(Record::digest_of(bytes), sequence);
    }

    /// A record goes to tmpfs.
    pub fn kept_in_tmpfs(&mut self, bytes: &[u8]) {
        if self.records.last().is_some_and(|record| **record == *bytes) {
            // The copy of what went to a slot just now.
            return;
        }
        match Record::decode(bytes) {
            Ok(record) => self.knows(bytes, record.sequence),
            Err(error) => self.breach(
                Invariant::Chain,
                format!("what went to tmpfs is no record: {error}"),
            ),
        }
        self.searched("the record in tmpfs", bytes);
    }

    /// A slot is about to be written.
    pub fn slot_written(&mut self, setting: &Setting, target: &Disk, which: usize, bytes: &[u8]) {
        let other = 1 - which.min(1);
        if target
            .pending()
            .iter()
            .any(|p| matches!(p.key, Key::Sector(slot, _) if slot == other))
        {
            self.breach(
                Invariant::OneSlotAtATime,
                format!("slot {which} was written before slot {other} was flushed"),
            );
        }
        self.searched("a slot", bytes);
        let record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.breach(
                    Invariant::Chain,
                    format!("what was written is no record: {error}"),
                );
                return;
            }
        };
        if let Some(last) = &self.acknowledged
            && record.sequence <= last.sequence
        {
            let how = format!("record {} after record {}", record.sequence, last.sequence);
            self.breach(Invariant::Chain, how);
        }
        if let Some(parent) = &record.parent
            && !self.written.is_empty()
            && self.written.get(parent).map(|s| s + 1) != Some(record.sequence)
        {
            let how = format!("record {} names a parent that was never written", record.sequence);
            self.breach(Invariant::Chain, how);
        }
        self.knows(bytes, record.sequence);
        Rc::make_mut(&mut self.records).push(bytes.into());
        if record.phase() == Phase::Landed {
            self.landed(setting, target, which);
        }
    }

    /// A save was acknowledged.
    pub fn saved(&mut self, sequence: u64, phase: Phase, place: &str) {
        if place != "tmpfs" {
            // A resume looks from the beginning and says where it is; what was once reached counts.
            let phase = self.lost_at.map_or(phase, |lost_at| lost_at.min(phase));
            let phase = self.acknowledged.as_ref().map_or(phase, |a| a.phase.max(phase));
            self.acknowledged = Some(Acknowledged { sequence, phase });
        }
    }

    /// A run crashed, and the machine is what the crash left.
    pub fn run_over(&mut self, setting: &Setting, machine: &Machine) {
        let target = machine.disk(machine.target(setting));
        // A disk that somebody took away keeps what it has, out of sight.
        if target.identity == setting.plan.disk {
            self.after_crash(target);
        }
        self.foreign_mappings(machine);
    }

    /// A run is over.
    pub fn foreign_mappings(&mut self, machine: &Machine) {
        if !machine.foreign_mapping {
            self.breach(
                Invariant::ForeignMappingsStay,
                "a mapping that was there before is gone",
            );
        }
    }

    fn after_crash(&mut self, target: &Disk) {
        let Some(acknowledged) = &self.acknowledged else {
            return;
        };
        let slots = [target.slot(0), target.slot(1)];
        let how = match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Trusted { record, .. } if record.sequence >= acknowledged.sequence => return,
            Choice::Trusted { record, .. } => format!("only record {} is left", record.sequence),
            other => left(&other).to_owned(),
        };
        let how = format!("record {} was acknowledged: {how}", acknowledged.sequence);
        self.breach(Invariant::SavedIsKept, how);
    }

    /// Somebody begins to look: what an order repaired on its way is not this look's.
    pub fn looks(&mut self) {
        self.repaired = 0;
    }

    /// Somebody looked. That may make one of the repairs, and writes nothing else.
    pub fn looked(&mut self, phase: Phase, writes_before: u64, writes_after: u64) {
        let writes = writes_after - writes_before - std::mem::take(&mut self.repaired);
        if writes > 0 {
            self.breach(
                Invariant::Idempotent,
                format!("looking at {phase} wrote {writes} times"),
            );
        }
    }

    /// Something was told.
    pub fn told(&mut self, text: &str) {
        self.searched("an event", text.as_bytes());
    }

    fn searched(&mut self, what: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes.trim_ascii_end());
        // All begin so, and almost nothing else does.
        if !text.contains(CANARY) {
            return;
        }
        for secret in [PASSPHRASE, AGE_IDENTITY, REMOTE_TOKEN] {
            if text.contains(secret) {
                self.breach(Invariant::NoSecrets, format!("{what} holds {secret}"));
            }
        }
    }

    /// The claim to have landed is being written into a slot; that slot alone may have been tried before, and not flushed.
    fn landed(&mut self, setting: &Setting, target: &Disk, which: usize) {
        let tried = |key: &Key| matches!(key, Key::Sector(slot, _) if *slot == which);
        if let Some(pending) = target.pending().iter().find(|p| !tried(&p.key)) {
            let how = format!("{} was not durable when the landing was claimed", pending.key);
            self.breach(Invariant::LandedIsWhole, how);
        }
        for (fs, name, text) in setting.files() {
            let region = match fs {
                Fs::Esp => Region::Esp,
                Fs::Root => setting.root_region(),
            };
            let found = target.text(fs, region, name);
            // Declared: firmware without an entry starts the fallback, and then the loader's own binary is not needed.
            if name == "loader" && found.is_none() {
                continue;
            }
            if found != Some(text.as_str()) {
                let how = format!(
                    "{name} holds {} when the landing is claimed",
                    found.unwrap_or("nothing")
                );
                self.breach(Invariant::LandedIsWhole, how);
            }
        }
    }

    /// The scenario is over and landed.
    pub fn ended(&mut self, setting: &Setting, disks: &[Rc<Disk>], reference: &BTreeMap<Key, String>) {
        for disk in disks {
            if disk.identity == setting.plan.disk {
                let end = state(disk);
                for key in end.keys().chain(reference.keys()) {
                    let spare = *key == Key::File(Fs::Esp, "loader") && !end.contains_key(key);
                    if end.get(key) != reference.get(key) && !spare {
                        let how = format!(
                            "{key} is {}, without faults it is {}",
                            end.get(key).map_or("not there", String::as_str),
                            reference.get(key).map_or("not there", String::as_str)
                        );
                        self.breach(Invariant::SameEnd, how);
                    }
                }
                for (key, value) in disk.durable() {
                    if let Value::Text(_, text) = value
                        && *key != Key::File(Fs::Root, "age")
                    {
                        self.searched("a file of the target", text.as_bytes());
                    }
                }
            }
        }
        self.others(setting, disks);
    }

    /// The scenario is over, or a run is.
    pub fn others(&mut self, setting: &Setting, disks: &[Rc<Disk>]) {
        for before in setting.disks.iter().skip(1) {
            if !disks.iter().any(|disk| disk.has_contents_of(before)) {
                self.breach(
                    Invariant::OthersUntouched,
                    format!("{} was changed", before.identity),
                );
            }
        }
    }
}

/// What is durable on a disk, but for what may differ from run to run: the records in the slots, and which making of a
/// volume it is.
pub fn state(disk: &Disk) -> BTreeMap<Key, String> {
    disk.durable()
        .iter()
        .filter_map(|(key, value)| {
            let text = match value {
                Value::Mbr => "protective MBR".to_owned(),
                Value::Table(table) => table.disk_guid.to_string(),
                Value::Header(header) => format!("{} {} {}", header.kind, header.id, header.label),
                Value::Of(_) => String::new(),
                Value::Text(_, text) => text.to_string(),
                Value::Sector(_) => return None,
                Value::Torn => "torn".to_owned(),
            };
            Some((*key, text))
        })
        .collect()
}

/// What is left of the slots where no record is believed.
pub(crate) fn left(choice: &Choice) -> &'static str {
    match choice {
        Choice::Trusted { .. } => "a record is left",
        Choice::Neither(_) => "no record is left",
        Choice::Fork { .. } => "two records that do not follow one another are left",
        Choice::Newer(_) => "a record of a newer format is left",
    }
}
