//! A block device in memory.
//!
//! A write is volatile until the device is flushed. A power cut keeps any subset of the volatile writes, in order, and may
//! tear one. Contents are named places, not bytes, except for the checkpoint slots, which are real sectors.
//!
//! There are two kinds of volatile data: what the device's cache holds and a flush makes durable, and what a mounted
//! filesystem holds back until it is written out. A power cut treats both alike, because the kernel may write back at any
//! time; a flush reaches only the first kind. FAT has no barrier: writing it back flushes nothing.
//!
//! The states judge what a table or a header means.

use crate::sim::model::crash::Keep;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::checkpoint::SLOT_BYTES;
use landfall_states::plan::{DiskIdentity, GptTable};
use landfall_states::{Probe, Signature};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;

/// Sectors of a slot.
pub const SLOT_SECTORS: usize = SLOT_BYTES / SECTOR_BYTES;

/// Where something that can be probed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// The first planned partition.
    Esp,
    /// The second planned partition.
    Root,
    /// The third planned partition.
    Swap,
    /// The inside of the container on the second one.
    Inner,
}

impl Region {
    /// Every region.
    pub const ALL: [Region; 4] = [Region::Esp, Region::Root, Region::Swap, Region::Inner];
}

/// A filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fs {
    /// The ESP's.
    Esp,
    /// The root's.
    Root,
}

/// A named place on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The protective MBR.
    Mbr,
    /// The GPT at the start.
    Primary,
    /// The GPT at the end.
    Backup,
    /// A superblock or LUKS header: what a prober sees.
    Header(Region),
    /// The copies of the root filesystem's superblock, which are written before it.
    Copies,
    /// Everything else that making a volume writes.
    Body(Region),
    /// A chunk of an image in the root filesystem.
    Chunk(u64),
    /// The key slot of the container.
    Keyslot,
    /// The root directory of the ESP, with its label: without it nothing in the filesystem is found.
    Directory,
    /// That a slot file is allocated.
    SlotFile(usize),
    /// A sector of a slot.
    Sector(usize, usize),
    /// A file.
    File(Fs, &'static str),
}

/// Chunks of an image.
pub const CHUNKS: u64 = 3;

/// What a prober sees of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// `TYPE`.
    pub kind: &'static str,
    /// `UUID`.
    pub id: Rc<str>,
    /// `LABEL`.
    pub label: Rc<str>,
    /// Which making of the volume it is; files and bodies of another making do not belong to it.
    pub making: u32,
    /// Which making of the container it lies in; 0 outside.
    pub within: u32,
}

/// What a place holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A protective MBR.
    Mbr,
    /// A whole copy of a GPT.
    Table(Rc<GptTable>),
    /// A header.
    Header(Header),
    /// Belongs to this making.
    Of(u32),
    /// A file's contents, in this making of its filesystem.
    Text(u32, Rc<str>),
    /// A sector.
    Sector(Rc<[u8]>),
    /// A write that was torn.
    Torn,
}

/// What holds a write back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// The device's cache (and the page cache of the device itself).
    Device,
    /// A mounted filesystem.
    Mount(Fs),
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Mbr | Value::Torn => {}
            // Every table here has a GUID of its own.
            Value::Table(table) => table.disk_guid.hash(state),
            Value::Header(header) => header.hash(state),
            Value::Of(making) => making.hash(state),
            Value::Text(making, text) => (making, text).hash(state),
            Value::Sector(bytes) => bytes.hash(state),
        }
    }
}

/// A write that is not durable yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pending {
    /// What holds it.
    pub held: Held,
    /// Where.
    pub key: Key,
    /// What; `None` erases.
    pub value: Option<Value>,
}

impl Hash for Disk {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Disk {
            identity,
            durable,
            pending,
            writes: _, // a count, not contents
        } = self;
        (identity, durable, pending).hash(state);
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What it says of itself.
    pub identity: DiskIdentity,
    durable: BTreeMap<Key, Value>,
    pending: Vec<Pending>,
    /// Rises with every write; looking must leave it as it was.
    writes: u64,
}

impl Disk {
    /// A disk with these contents, all durable.
    pub fn new(identity: DiskIdentity, contents: impl IntoIterator<Item = (Key, Value)>) -> Self {
        Disk {
            identity,
            durable: contents.into_iter().collect(),
            pending: vec![],
            writes: 0,
        }
    }

    /// What whoever reads it now sees.
    pub fn see(&self, key: Key) -> Option<&Value> {
        match self.pending.iter().rev().find(|p| p.key == key) {
            Some(pending) => pending.value.as_ref(),
            None => self.durable.get(&key),
        }
    }

    /// What is there after a power cut that keeps nothing.
    pub fn durable(&self) -> &BTreeMap<Key, Value> {
        &self.durable
    }

    /// What is not durable.
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Whether it is this disk, and holds what that one holds, whatever becomes of what is not durable yet.
    pub fn has_contents_of(&self, other: &Disk) -> bool {
        let is_same = |write: &Pending| self.durable.get(&write.key) == write.value.as_ref();
        self.identity == other.identity && self.durable == other.durable && self.pending.iter().all(is_same)
    }

    /// How many writes it has taken.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Writes.
    pub fn write(&mut self, held: Held, key: Key, value: Option<Value>) {
        self.writes += 1;
        if key == Key::Directory && self.lost_directory() {
            self.forget_esp_files();
        }
        self.pending.push(Pending { held, key, value });
    }

    /// What is there is on its way once more: it changes nothing, and is no write of anybody's but the kernel's; a cut can tear it.
    pub fn rewrite(&mut self, key: Key) {
        if let Some(value) = self.see(key).cloned() {
            let (held, value) = (Held::Device, Some(value));
            self.pending.push(Pending { held, key, value });
        }
    }

    /// A mounted filesystem writes out what it holds back.
    pub fn write_back(&mut self, fs: Fs) {
        for pending in &mut self.pending {
            if pending.held == Held::Mount(fs) {
                pending.held = Held::Device;
            }
        }
    }

    /// One file is written out.
    pub fn write_back_file(&mut self, key: Key) {
        for pending in &mut self.pending {
            if pending.key == key {
                pending.held = Held::Device;
            }
        }
    }

    /// The device makes durable what it has.
    pub fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for write in pending {
            match write.held {
                Held::Device => self.settle(write.key, write.value),
                Held::Mount(_) => self.pending.push(write),
            }
        }
    }

    /// The power goes.
    pub fn cut(&mut self, keep: Keep) {
        for (index, write) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match keep {
                Keep::Torn(this) | Keep::TornWith(this, _) if this == index => {
                    let torn = self.tear(&write);
                    self.settle(write.key, torn);
                }
                Keep::Ruined(this) | Keep::RuinedWith(this, _) if this == index => self.ruin(&write),
                _ if keep.keeps(index) => self.settle(write.key, write.value),
                _ => {}
            }
        }
    }

    /// A sector is written whole or not at all, so most headers cannot be half there; what is longer can.
    fn tear(&self, write: &Pending) -> Option<Value> {
        match (write.key, &write.value) {
            (Key::Sector(..), _) => Some(Value::Sector(vec![0xA5; SECTOR_BYTES].into())),
            // One sector each: FAT's boot sector, and the first 512 bytes of LUKS2's binary header hold its check sum.
            (Key::Header(Region::Esp) | Key::Directory | Key::Mbr, _) => {
                self.durable.get(&write.key).cloned()
            }
            // A rename is one entry of a journal.
            (Key::File(_, "clone"), _) | (_, None) => self.durable.get(&write.key).cloned(),
            (_, Some(Value::Header(header))) if header.kind == "crypto_LUKS" => {
                self.durable.get(&write.key).cloned()
            }
            (_, Some(_)) => Some(Value::Torn),
        }
    }

    /// A block of 4 KiB is gone with the sector that was being written in it. Each slot has a block of its own, and so has
    /// either copy of a LUKS2 header; the table's first sectors share one with the protective MBR.
    fn ruin(&mut self, write: &Pending) {
        match write.key {
            Key::Sector(slot, _) => {
                for sector in 0..SLOT_SECTORS {
                    let noise = Value::Sector(vec![0xA5; SECTOR_BYTES].into());
                    self.settle(Key::Sector(slot, sector), Some(noise));
                }
            }
            Key::Mbr | Key::Primary => {
                self.settle(Key::Mbr, None);
                self.settle(Key::Primary, Some(Value::Torn));
            }
            Key::Header(Region::Esp) | Key::Directory => self.settle(write.key, Some(Value::Torn)),
            Key::Backup
            | Key::Header(_)
            | Key::Copies
            | Key::Body(_)
            | Key::Chunk(_)
            | Key::Keyslot
            | Key::SlotFile(_)
            | Key::File(..) => {
                let torn = self.tear(write);
                self.settle(write.key, torn);
            }
        }
    }

    fn settle(&mut self, key: Key, value: Option<Value>) {
        match value {
            Some(value) => self.durable.insert(key, value),
            None => self.durable.remove(&key),
        };
    }

    /// A copy of the GPT, as read.
    pub fn copy(&self, key: Key) -> GptCopy {
        match self.see(key) {
            None => GptCopy::Absent,
            Some(Value::Table(table)) => GptCopy::Complete((**table).clone()),
            Some(_) => GptCopy::Damaged("check sum".into()),
        }
    }

    /// Whether both copies are this table.
    pub fn has_table(&self, table: &GptTable) -> bool {
        [Key::Primary, Key::Backup]
            .iter()
            .all(|key| matches!(self.see(*key), Some(Value::Table(found)) if **found == *table))
            && self.see(Key::Mbr).is_some()
    }

    /// The header of a region, unless it lies in a container that was made again since.
    pub fn header(&self, region: Region) -> Option<&Header> {
        let Some(Value::Header(header)) = self.see(Key::Header(region)) else {
            return None;
        };
        if region == Region::Inner && self.header(Region::Root).map(|h| h.making) != Some(header.within) {
            return None;
        }
        Some(header)
    }

    /// The header that a torn one of the root's is repaired from: the copies', where they have this id, and nobody else has put
    /// anything there.
    pub fn proved_by_copies(&self, region: Region, id: &str) -> Option<&Header> {
        let Some(Value::Header(copy)) = self.see(Key::Copies) else {
            return None;
        };
        let container = self.header(Region::Root).map(|header| header.making);
        let is_here = region != Region::Inner || container == Some(copy.within);
        (is_here && *copy.id == *id && self.header(region).is_none()).then_some(copy)
    }

    /// Whether the ESP lost its root directory.
    pub fn lost_directory(&self) -> bool {
        let making = self.header(Region::Esp).map(|header| header.making);
        making.is_some_and(|making| self.see(Key::Directory) != Some(&Value::Of(making)))
    }

    /// The making of a finished ESP with this id that lost its root directory.
    pub fn lost_directory_of(&self, id: Option<String>) -> Option<u32> {
        let header = self.header(Region::Esp).filter(|_| self.lost_directory())?;
        (id.as_deref() == Some(&*header.id)).then_some(header.making)
    }

    /// Whether a slot's file is in a directory of the ESP that is there now.
    pub fn has_slot_file(&self, which: usize) -> bool {
        let making = self.header(Region::Esp).map(|header| header.making);
        let is_of = |making| self.see(Key::SlotFile(which)) == Some(&Value::Of(making));
        making.is_some_and(is_of) && !self.lost_directory()
    }

    /// What was in a directory that is lost is in none any more; the one that is written in its place has the slots' directory alone.
    fn forget_esp_files(&mut self) {
        let is_file = |key: &Key| matches!(key, Key::File(Fs::Esp, _));
        self.durable.retain(|key, _| !is_file(key));
        self.pending.retain(|write| !is_file(&write.key));
    }

    /// What a prober says. A torn superblock has a wrong check sum, which the prober takes for no superblock.
    pub fn probe(&self, region: Region) -> Probe {
        self.header(region).map_or(Probe::Blank, |header| {
            Probe::Found(Signature {
                kind: header.kind.to_owned(),
                id: Some(header.id.to_string()),
                label: Some(header.label.to_string()),
            })
        })
    }

    /// Whether what belongs to a header is there.
    pub fn is_mountable(&self, region: Region) -> bool {
        self.header(region).is_some_and(|header| {
            let of = Some(&Value::Of(header.making));
            let is_there = |n: &u64| match self.see(Key::Chunk(*n)) {
                Some(Value::Text(making, _)) => *making == header.making,
                _ => false,
            };
            let chunks = (0..CHUNKS).filter(is_there).count() as u64;
            let is_root = matches!(region, Region::Root | Region::Inner);
            // Made empty, or from all of an image.
            self.see(Key::Body(region)) == of && (!is_root || chunks == 0 || chunks == CHUNKS)
        })
    }

    /// A file's text, in the filesystem that is there now.
    pub fn text(&self, fs: Fs, region: Region, name: &'static str) -> Option<&str> {
        let making = self.header(region)?.making;
        if fs == Fs::Esp && self.lost_directory() {
            return None;
        }
        match self.see(Key::File(fs, name)) {
            Some(Value::Text(of, text)) if *of == making => Some(text),
            Some(Value::Torn) => Some("torn"),
            Some(_) | None => None,
        }
    }

    /// Puts something at a place, durably and behind everybody's back; for scenarios in which somebody edits the disk.
    pub fn put(&mut self, key: Key, value: Value) {
        self.settle(key, Some(value));
    }

    /// Somebody takes something away, durably.
    pub fn remove(&mut self, key: Key) {
        self.settle(key, None);
    }

    /// Puts bytes where the slots are, durably; for scenarios about strange slots.
    pub fn put_slots(&mut self, slots: &[Vec<u8>; 2]) {
        for (which, bytes) in slots.iter().enumerate() {
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                self.settle(Key::Sector(which, index), Some(Value::Sector(sector.into())));
            }
        }
    }

    /// A slot's bytes, wherever its sectors are readable at all.
    pub fn slot(&self, which: usize) -> Option<Vec<u8>> {
        Self::join(which, |key| self.see(key))
    }

    /// A slot's bytes as a power cut that keeps nothing leaves them.
    pub fn durable_slot(&self, which: usize) -> Option<Vec<u8>> {
        Self::join(which, |key| self.durable.get(&key))
    }

    fn join<'a>(which: usize, look: impl Fn(Key) -> Option<&'a Value>) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        for index in 0..SLOT_SECTORS {
            match look(Key::Sector(which, index)) {
                Some(Value::Sector(sector)) => bytes.extend_from_slice(sector),
                Some(_) | None if index == 0 => return None,
                Some(_) | None => bytes.extend_from_slice(&[b'\n'; SECTOR_BYTES]),
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
