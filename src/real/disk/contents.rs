//! What is on a disk. Law: three witnesses are asked, our own readers, `blkid`'s low-level probing and the bytes themselves,
//! and the strongest objection wins: a disk is blank when none of them finds anything, and what is not understood is data of an
//! unknown kind. Nothing is written; every look is bounded; the same disk gives the same lines, whatever the kernel or udev
//! think, because a consent is bound to them.
//!
//! Absent: deciding (`select`), who uses it (`usage`).

use super::blank::{self, Blankness};
use super::held::forget_cache;
use super::signature::{Signature, describe, sniff};
use super::{lsblk, select};
use crate::event::Reporter;
use crate::real::command::Program;
use crate::real::gpt::{self, OnDisk};
use crate::real::mbr;
use crate::real::probe;
use crate::real::slots::{self, Slots};
use crate::real::stop::Stop;
use camino::Utf8Path;
use landfall_states::Probe;
use landfall_states::names::quoted;
use landfall_states::plan::{DiskIdentity, GptTable, Plan, TYPE_ESP};
use landfall_states::planned::GptCopy;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use uuid::{Uuid, uuid};

/// Pieces that `blkid` is asked of, and whose bytes are looked at.
const PIECES_MAX: usize = 128;
const MIB: u64 = 1 << 20;

/// Partitions of these types hold bytes without a signature by their nature: BIOS boot, PReP, Microsoft reserved, ChromeOS
/// kernel.
const TYPES_RAW: [(Uuid, &str); 4] = [
    (uuid!("21686148-6449-6e6f-744e-656564454649"), "BIOS boot code"),
    (uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b"), "PReP boot code"),
    (
        uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
        "Microsoft reserved",
    ),
    (uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309"), "ChromeOS kernel"),
];

/// The contents of one disk.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Tables.
    pub on_disk: OnDisk,
    /// Signatures on the whole disk (`None`) and on its partitions.
    pub signatures: Vec<(Option<u32>, Vec<Signature>)>,
    /// Where its partitions lie, old ones as well, by place.
    pub places: Vec<Place>,
    /// The slots on its ESP.
    pub slots: Slots,
    /// The folders in `EFI` on its ESPs.
    pub folders: Vec<String>,
    /// For people, one line each. The same disk gives the same lines, whatever the kernel or udev think.
    pub lines: Vec<String>,
    /// Whether it was proved that nothing at all is on it.
    pub blank: bool,
    /// What is on it that is not understood, one line each.
    pub unknown: Vec<String>,
    /// What the bytes of each piece say, in the order of `signatures`; only where nothing was recognised.
    bytes: Vec<Option<Blankness>>,
    /// Whether the table is one of a plan's.
    planned: bool,
    sector_bytes: u32,
}

/// A partition's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub number: u32,
    /// First byte.
    pub from: u64,
    /// Length in bytes, within the disk.
    pub bytes: u64,
    name: String,
    esp: bool,
    /// What it is by its type, where that says more than its bytes.
    kind: Option<&'static str>,
}

/// Looks at what is on an open disk. `plan`: whose install's slots are worth a long search.
pub fn contents(file: &mut File, disk: &DiskIdentity, plan: Option<&Plan>) -> io::Result<Contents> {
    forget_cache(file)?;
    let seen = seen(file, disk, plan)?;
    forget_cache(file)?;
    Ok(seen)
}

/// As [`contents`], of anything that can be read.
pub fn seen<D: Read + Seek>(file: &mut D, disk: &DiskIdentity, plan: Option<&Plan>) -> io::Result<Contents> {
    let size = disk.size_bytes;
    let mut on_disk = gpt::read(file, disk.sector_bytes)?;
    mend_unit(file, disk, &mut on_disk)?;
    let places = places(&on_disk, disk);
    let planned = plan
        .filter(|p| on_disk.table().is_some_and(|t| t.disk_guid == p.table.disk_guid))
        .is_some();
    let whole = sniff(file, 0, size)?;
    let no_table = !has_table(&on_disk);
    let mut bytes = vec![match (whole.is_empty() && places.is_empty(), no_table) {
        (false, _) => None,
        (true, true) => Some(blank::proof(file, 0, size, blank::PIECES_DISK)),
        // A table of no partitions: what it would have described.
        (true, false) => {
            let from = MIB.min(size);
            let length = size.saturating_sub(2 * MIB);
            Some(blank::proof(file, from, length, blank::PIECES_DISK))
        }
    }];
    let mut signatures = vec![(None, whole)];
    let mut slots = Slots::default();
    let mut folders = vec![];
    for place in &places {
        let found = if place.kind == Some(EXTENDED) {
            vec![]
        } else {
            sniff(file, place.from, place.bytes)?
        };
        let looked = (found.is_empty() && place.kind.is_none() && bytes.len() < PIECES_MAX)
            .then(|| blank::proof(file, place.from, place.bytes, blank::PIECES_PARTITION));
        bytes.push(looked);
        signatures.push((Some(place.number), found));
        if place.esp {
            folders.extend(slots::folders(file, place.from, place.bytes));
        }
        if place.esp && slots.bytes == [None, None] {
            slots = slots::read(file, place.from, place.bytes, planned)?;
        }
    }
    let mut contents = Contents {
        on_disk,
        signatures,
        places,
        slots,
        folders,
        lines: vec![],
        blank: false,
        unknown: vec![],
        bytes,
        planned,
        sector_bytes: disk.sector_bytes,
    };
    contents.judge();
    Ok(contents)
}

/// A classic MBR does not say which sectors it counts. Where nothing is known at the places that it names, and something is at
/// those that sectors of another size make of them, it was written for that size.
fn mend_unit<D: Read + Seek>(file: &mut D, disk: &DiskIdentity, on_disk: &mut OnDisk) -> io::Result<()> {
    if on_disk.mbr.is_empty() || on_disk.table().is_some() || knows_one(file, disk, on_disk)? {
        return Ok(());
    }
    for (size, entries) in mbr::classic_of_other_sizes(file, disk.sector_bytes)? {
        let other = OnDisk {
            mbr: entries,
            mbr_sector_bytes: size,
            ..on_disk.clone()
        };
        if knows_one(file, disk, &other)? {
            *on_disk = other;
            break;
        }
    }
    Ok(())
}

/// Whether something is recognised at the first byte of a partition.
fn knows_one<D: Read + Seek>(file: &mut D, disk: &DiskIdentity, on_disk: &OnDisk) -> io::Result<bool> {
    for place in places(on_disk, disk).iter().take(PIECES_MAX) {
        if place.kind != Some(EXTENDED) && !sniff(file, place.from, place.bytes)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

const EXTENDED: &str = "extended, with logical partitions";

/// Whether there is a table of the kinds that are read, whatever is in it.
fn has_table(on_disk: &OnDisk) -> bool {
    let OnDisk {
        primary,
        backup,
        protective_mbr,
        mbr,
        mbr_sector_bytes: _,
        mbr_signature: _,
        other,
    } = on_disk;
    *protective_mbr
        || !mbr.is_empty()
        || other.is_some()
        || [primary, backup].into_iter().any(|copy| *copy != GptCopy::Absent)
}

/// Every partition that any table names, old ones as well: by place, with the number and name of the first table that has it.
pub(crate) fn places(on_disk: &OnDisk, disk: &DiskIdentity) -> Vec<Place> {
    let size = disk.size_bytes;
    let mut places: BTreeMap<u64, Place> = BTreeMap::new();
    let mut add = |place: Place| {
        let room = size.saturating_sub(place.from).min(place.bytes);
        if room > 0 {
            places.entry(place.from).or_insert(Place { bytes: room, ..place });
        }
    };
    let other = on_disk.other.as_ref().map(|other| &other.copy);
    let copies = [Some(&on_disk.primary), Some(&on_disk.backup), other];
    for table in copies.into_iter().flatten().filter_map(GptCopy::table) {
        let sector = u64::from(table.sector_bytes);
        for entry in &table.entries {
            add(Place {
                number: entry.number,
                from: entry.first_lba.saturating_mul(sector),
                bytes: entry.sectors().saturating_mul(sector),
                name: entry.name.clone(),
                esp: entry.type_guid == TYPE_ESP,
                kind: TYPES_RAW
                    .iter()
                    .find(|(kind, _)| *kind == entry.type_guid)
                    .map(|(_, words)| *words),
            });
        }
    }
    let sector = u64::from(on_disk.mbr_sector_bytes).max(512);
    for entry in &on_disk.mbr {
        add(Place {
            number: entry.number,
            from: entry.first_lba.saturating_mul(sector),
            bytes: entry.sectors.saturating_mul(sector),
            name: String::new(),
            esp: entry.kind == 0xEF,
            kind: entry.is_extended().then_some(EXTENDED),
        });
    }
    places.into_values().collect()
}

fn counted(table: &GptTable) -> String {
    format!("GPT {} with {} partitions", table.disk_guid, table.entries.len())
}

/// The tables in words, and what about them is not understood.
fn table_line(on_disk: &OnDisk, sector_bytes: u32) -> (String, Option<String>) {
    if let Some(table) = on_disk.table() {
        return (counted(table), None);
    }
    let unusable = [&on_disk.primary, &on_disk.backup]
        .into_iter()
        .find_map(|copy| match copy {
            GptCopy::Damaged(why) => Some(why.as_str()),
            GptCopy::Absent | GptCopy::Whole(_) => None,
        });
    let mbr = if on_disk.protective_mbr {
        "protective MBR"
    } else {
        "no MBR"
    };
    match (&on_disk.other, unusable) {
        (Some(other), _) => {
            let mut line = format!(
                "{mbr}, but no GPT at this sector size (there is one at {})",
                other.sector_bytes
            );
            match &other.copy {
                GptCopy::Whole(table) => line = format!("{line}: {}", counted(table)),
                GptCopy::Damaged(why) => line = format!("{line}, which cannot be used: {why}"),
                GptCopy::Absent => {}
            }
            let why = format!("its GPT was written for sectors of {} bytes", other.sector_bytes);
            (line, Some(why))
        }
        (None, Some(why)) => (
            format!("a GPT that cannot be used: {why}"),
            Some("its GPT is not understood".into()),
        ),
        (None, None) if on_disk.protective_mbr => (
            "protective MBR, but no GPT".into(),
            Some("its MBR protects a GPT that is not there".into()),
        ),
        (None, None) if !on_disk.mbr.is_empty() => {
            let line = format!("MBR with {} partitions", on_disk.mbr.len());
            let size = on_disk.mbr_sector_bytes;
            if size == sector_bytes {
                (line, None)
            } else {
                (
                    format!("{line}, counted in sectors of {size} bytes"),
                    Some(format!("its MBR was written for sectors of {size} bytes")),
                )
            }
        }
        (None, None) => ("no partition table".to_owned(), None),
    }
}

/// Kinds of signatures that are tables which landfall does not read.
fn is_other_table(kind: &str) -> bool {
    [
        "Apple partition map",
        "BSD disklabel",
        "Sun disk label",
        "SGI disk label",
        "AIX volume",
        "DragonFly disklabel",
        "Amiga partition table",
    ]
    .contains(&kind)
        || kind.starts_with("table ")
}

const UNKNOWN: &str = "data of an unknown kind";

impl Contents {
    /// Makes the lines, and says what is blank and what is not understood.
    fn judge(&mut self) {
        let (line, not_understood) = table_line(&self.on_disk, self.sector_bytes);
        let mut lines = vec![line];
        let mut unknown: Vec<String> = not_understood.into_iter().collect();
        for (index, (number, found)) in self.signatures.iter().enumerate() {
            let bytes = self.bytes.get(index).and_then(Option::as_ref);
            let place = number.and_then(|_| self.places.get(index.saturating_sub(1)));
            let what = number.map_or("it".to_owned(), |n| format!("partition {n}"));
            let (words, doubt) = match (describe(found), bytes, place.and_then(|p| p.kind)) {
                (Some(words), _, _) => (Some(words), None),
                (None, _, Some(kind)) => (Some(kind.to_owned()), None),
                (None, None, None) if number.is_none() => (None, None),
                (None, None, None) => (Some("not looked at".to_owned()), None),
                (None, Some(Blankness::Blank), None) => (number.map(|_| "blank".to_owned()), None),
                (None, Some(Blankness::Data(_)), None) => {
                    (Some(UNKNOWN.to_owned()), Some(format!("{what} holds {UNKNOWN}")))
                }
                (None, Some(Blankness::Unreadable(at, why)), None) => (
                    Some(format!("cannot be read at byte {at}: {why}")),
                    Some(format!("{what} cannot be read at byte {at}: {why}")),
                ),
            };
            // An install of this plan that was cut off has old bytes in partitions that are not made yet.
            unknown.extend(doubt.filter(|_| !self.planned));
            for kind in found.iter().map(|s| &s.kind).filter(|kind| is_other_table(kind)) {
                unknown.push(format!("{what} has a table of another kind: {kind}"));
            }
            match (place, words) {
                (None, Some(words)) => lines.push(format!("whole disk: {words}")),
                (None, None) => {}
                (Some(place), words) => lines.push(format!(
                    "partition {}{}: {}, {}",
                    place.number,
                    if place.name.is_empty() {
                        String::new()
                    } else {
                        format!(" {}", quoted(&place.name))
                    },
                    select::size(place.bytes),
                    words.unwrap_or_default()
                )),
            }
            if place.is_some_and(|p| p.esp)
                && self
                    .slots
                    .bytes
                    .iter()
                    .flatten()
                    .any(|s| s.starts_with(slots::MAGIC))
            {
                let landed = if slots::finished_work(&self.slots.bytes) {
                    "a finished install"
                } else {
                    "an unfinished install"
                };
                let line = format!("landfall's checkpoint of {landed}");
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        self.blank = !has_table(&self.on_disk)
            && self.signatures.iter().all(|(_, found)| found.is_empty())
            && self.bytes.first() == Some(&Some(Blankness::Blank));
        self.lines = lines;
        self.unknown = unknown;
    }

    /// Takes in what another witness says of a piece that was not recognised.
    fn add(&mut self, index: usize, signature: Signature) {
        if let Some((_, found)) = self.signatures.get_mut(index) {
            found.push(signature);
        }
    }
}

/// Asks `blkid` of every piece that our own readers do not know, and takes in what it says.
pub async fn ask_blkid(
    device: &Utf8Path,
    size_bytes: u64,
    contents: &mut Contents,
    reporter: &Reporter,
    stop: &Stop,
) {
    let has_table = has_table(&contents.on_disk);
    let pieces: Vec<(usize, u64, u64, bool)> = contents
        .signatures
        .iter()
        .enumerate()
        .filter(|(_, (_, found))| found.is_empty())
        .filter_map(|(index, (number, _))| match number {
            None => Some((index, 0, size_bytes, true)),
            Some(_) => contents
                .places
                .get(index.saturating_sub(1))
                .filter(|p| p.kind != Some(EXTENDED))
                .map(|p| (index, p.from, p.bytes, false)),
        })
        .take(PIECES_MAX)
        .collect();
    for (index, from, bytes, whole) in pieces {
        let ended = Program::new("blkid")
            .args(["-p", "-o", "export", "-O", &from.to_string()])
            .args(["-S", &bytes.to_string(), device.as_str()])
            .run(reporter, stop)
            .await;
        let said = match ended {
            Ok(ended) => opinion(ended.code, &ended.stdout, whole && has_table),
            Err(fault) => Err(fault.to_string()),
        };
        match said {
            Ok(None) => {}
            Ok(Some(signature)) => contents.add(index, signature),
            Err(why) => {
                tracing::warn!(%device, from, why, "blkid");
                contents.add(index, Signature::of("something that blkid cannot look at"));
            }
        }
    }
    contents.judge();
}

/// What `blkid -p -o export` says, by its exit code and output: nothing, or a signature. ZFS is left to our own reader, because
/// blkid counts what a former life left.
fn opinion(code: Option<i32>, stdout: &str, table_known: bool) -> Result<Option<Signature>, String> {
    const NOTHING: i32 = 2;
    const AMBIVALENT: i32 = 8;
    match code {
        Some(NOTHING) => Ok(None),
        Some(AMBIVALENT) => Ok(Some(Signature::of("several signatures at once"))),
        Some(0) => match probe::parse(stdout) {
            None => Ok(Some(Signature::of("something that blkid knows"))),
            Some(Probe::Blank) => Ok(None),
            Some(Probe::Ambivalent(kinds)) => Ok(Some(Signature::of(kinds))),
            Some(Probe::Found(found)) if found.kind == "zfs_member" => Ok(None),
            Some(Probe::Found(found)) if table_known && found.kind.starts_with("table ") => Ok(None),
            Some(Probe::Found(found)) => Ok(Some(Signature {
                label: found.label,
                member_of: lsblk::membership(&found.kind),
                ..Signature::of(Cow::Owned(found.kind))
            })),
        },
        Some(code) => Err(format!("exit code {code}")),
        None => Err("it was killed".into()),
    }
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
