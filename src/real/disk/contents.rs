//! Finds out what is on a disk.
//!
//! Three sources are asked: our own readers, `blkid`'s low-level probing, and the bytes themselves. The strongest objection
//! wins: a disk is blank if none of them finds anything, and what is not understood is data of an unknown kind. Nothing is
//! written, and every read is bounded. The same disk gives the same lines, whatever the kernel or udev say, because a consent
//! is bound to these lines.
//!
//! `select` decides, and `usage` says who uses the disk.

use super::blank::{Blankness, Look, Medium};
use super::extent::End;
use super::loader;
use super::outside::{self, Outside};
use super::partitions::{EXTENDED, Kind, of_partition};
pub use super::partitions::{Place, places};
use super::signature::{Signature, describe, sniff};
use super::unlisted::{Known, has_table};
use super::{amount, lsblk};
use crate::event::Reporter;
use crate::real::disk::locked::forget_cache;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::table::gpt::{self, OnDisk};
use crate::real::table::mbr;
use crate::real::volume::probe;
use crate::real::volume::slots::{self, Slots};
use camino::Utf8Path;
use landfall_states::Probe;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::quoted;
use landfall_states::plan::{DiskIdentity, GptTable, Plan};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek};

/// Most pieces of a disk that `blkid` is asked about.
const PIECES_MAX: usize = 128;
const MIB: u64 = 1 << 20;

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
    /// What is in no partition.
    outside: Vec<Outside>,
    /// What begins in no partition where no range of its own is, by its first byte.
    begun: Vec<(u64, Vec<Signature>)>,
    /// Whose code lies beside the table.
    code: Option<&'static str>,
    /// Whether the table is one of a plan's.
    planned: bool,
    sector_bytes: u32,
}

/// Looks at what is on an open disk. `plan`: whose install's slots are worth a long search.
///
/// # Errors
/// The disk reports an error.
pub fn contents(file: &mut File, disk: &DiskIdentity, plan: Option<&Plan>) -> io::Result<Contents> {
    forget_cache(file)?;
    let medium = Medium::of(file)?;
    let ahead = file.try_clone()?;
    let seen = seen_on(file, (medium, Some(ahead)), disk, plan)?;
    forget_cache(file)?;
    Ok(seen)
}

/// As [`contents`], of anything that can be read.
///
/// # Errors
/// What is read reports an error.
pub fn seen<D: Read + Seek>(file: &mut D, disk: &DiskIdentity, plan: Option<&Plan>) -> io::Result<Contents> {
    seen_on(file, (Medium::Quick, None), disk, plan)
}

fn seen_on<D: Read + Seek>(
    file: &mut D,
    (medium, ahead): (Medium, Option<File>),
    disk: &DiskIdentity,
    plan: Option<&Plan>,
) -> io::Result<Contents> {
    let size = disk.size_bytes;
    let mut on_disk = gpt::read(file, disk.sector_bytes)?;
    repair_unit(file, disk, &mut on_disk)?;
    let places = places(&on_disk, disk);
    let planned = plan
        .filter(|p| on_disk.table().is_some_and(|t| t.disk_guid == p.table.disk_guid))
        .is_some();
    let whole = sniff(file, 0, size)?;
    // The boot sector of a filesystem ends as an MBR does.
    on_disk.empty_mbr &= whole.is_empty();
    let Parts {
        found: parts,
        slots,
        folders,
    } = Parts::of(file, &places, planned)?;
    let code = match on_disk.mbr.is_empty() {
        true => None,
        false => loader::behind_mbr(file)?,
    };
    let known = Known {
        disk,
        on_disk: &on_disk,
        places: &places,
        whole: &whole,
    };
    let end = known.end(file)?;
    // An install of this plan that was cut off has old bytes where nothing is made yet.
    let unlisted = if planned {
        vec![]
    } else {
        known.unlisted(file, &end, code.as_ref())?
    };
    let ranges = parts.iter().filter(|part| is_unknown(part)).count()
        + unlisted.iter().filter(|range| outside::is_large(range)).count();
    let how = Look::new(medium, size, ranges).telling(ahead);
    let mut begun = vec![];
    let looked = known.bytes(file, &how)?;
    if let Some(Blankness::Data(_)) = looked {
        begun.extend(outside::recognised(file, 0, size)?);
    }
    let mut bytes = vec![looked];
    bytes.extend(bytes_of(file, &how, &parts)?);
    let mut outside = vec![];
    for (from, bytes) in unlisted {
        outside.push(outside::look(file, &how, from, bytes)?);
    }
    if !places.is_empty() {
        begun.extend(outside::beside_table(file, &places, size)?);
    }
    explain(&mut outside, &mut begun);
    if end == End::Unknown {
        let others = outside::recognised(file, 0, size)?;
        begun.extend(others.into_iter().filter(|(at, _)| *at > 0));
    }
    let mut signatures = vec![(None, whole)];
    signatures.extend(
        parts
            .into_iter()
            .map(|(place, found)| (Some(place.number), found)),
    );
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
        outside,
        begun,
        code: code.map(|code| code.words),
        planned,
        sector_bytes: disk.sector_bytes,
    };
    contents.judge();
    Ok(contents)
}

/// Whether nothing was recognised in a partition.
fn is_unknown((place, found): &(&Place, Vec<Signature>)) -> bool {
    found.is_empty() && !place.is_extended()
}

/// What the bytes of partitions say in which nothing was recognised.
fn bytes_of<D: Read + Seek>(
    file: &mut D,
    how: &Look,
    parts: &[(&Place, Vec<Signature>)],
) -> io::Result<Vec<Option<Blankness>>> {
    let looked = |part: &(&Place, Vec<Signature>)| {
        is_unknown(part)
            .then(|| of_partition(file, how, part.0))
            .transpose()
    };
    parts.iter().map(looked).collect()
}

/// What is in the partitions of a disk.
struct Parts<'p> {
    /// The signatures of each.
    found: Vec<(&'p Place, Vec<Signature>)>,
    slots: Slots,
    folders: Vec<String>,
}

impl<'p> Parts<'p> {
    fn of<D: Read + Seek>(file: &mut D, places: &'p [Place], planned: bool) -> io::Result<Self> {
        let mut parts = Parts {
            found: vec![],
            slots: Slots::default(),
            folders: vec![],
        };
        for place in places {
            let found = if place.is_extended() {
                vec![]
            } else {
                sniff(file, place.from, place.bytes)?
            };
            if place.esp {
                let folders = slots::folders(file, place.from, place.bytes);
                parts.folders.extend(folders);
            }
            if place.esp && parts.slots.bytes == [None, None] {
                parts.slots = slots::read(file, place.from, place.bytes, planned)?;
            }
            parts.found.push((place, found));
        }
        Ok(parts)
    }
}

/// What begins in a range says what the bytes of the range are.
fn explain(outside: &mut [Outside], begun: &mut Vec<(u64, Vec<Signature>)>) {
    for range in outside {
        let end = range.from.saturating_add(range.bytes);
        let within = |(at, _): &mut (u64, Vec<Signature>)| (range.from..end).contains(at);
        if matches!(range.looked, Blankness::Data(_)) && range.found.is_empty() && range.from < MIB {
            range.found = begun.extract_if(.., within).collect();
        }
    }
}

/// A classic MBR does not say which sectors it counts. Where nothing is known at the places that it names, and something is at
/// those that sectors of another size make of them, it was written for that size.
fn repair_unit<D: Read + Seek>(file: &mut D, disk: &DiskIdentity, on_disk: &mut OnDisk) -> io::Result<()> {
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
        if !place.is_extended() && !sniff(file, place.from, place.bytes)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
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
            GptCopy::Absent | GptCopy::Complete(_) => None,
        });
    let mbr = if on_disk.protective_mbr {
        "protective MBR"
    } else {
        "no MBR"
    };
    match (&on_disk.other, unusable) {
        (Some(other), _) => {
            let and = if on_disk.protective_mbr { "but" } else { "and" };
            let mut line = format!(
                "{mbr}, {and} no GPT at this sector size (there is one at {})",
                other.sector_bytes
            );
            match &other.copy {
                GptCopy::Complete(table) => line = format!("{line}: {}", counted(table)),
                GptCopy::Damaged(why) => line = format!("{line}, which is not valid: {why}"),
                GptCopy::Absent => {}
            }
            let why = format!("its GPT was written for sectors of {} bytes", other.sector_bytes);
            (line, Some(why))
        }
        (None, Some(why)) => (
            format!("a GPT that is not valid: {why}"),
            Some("its GPT is not understood".into()),
        ),
        (None, None) if on_disk.protective_mbr => (
            "protective MBR, but no GPT".into(),
            Some("its protective MBR has no GPT after it".into()),
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
        (None, None) if on_disk.empty_mbr => ("MBR with 0 partitions".to_owned(), None),
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
const BLANK_WHERE_READ: &str = "blank where it was read (not all of it was read)";

/// What a piece is, in which nothing was recognised, in words; and what speaks against the disk because of it.
fn of_bytes(
    bytes: Option<&Blankness>,
    kind: Option<Kind>,
    is_partition: bool,
    what: &str,
) -> (Option<String>, Option<String>) {
    let titled = |words: &str| match kind {
        Some(kind) => format!("{}, {words}", kind.words),
        None => words.to_owned(),
    };
    match (bytes, kind) {
        (None, Some(kind)) if kind == EXTENDED => (Some(kind.words.to_owned()), None),
        (None, _) if !is_partition => (None, None),
        (None, _) => (
            Some(titled("not examined")),
            Some(format!("{what} was not examined")),
        ),
        (Some(Blankness::Blank | Blankness::BlankWhereRead), Some(kind)) => {
            (Some(kind.words.to_owned()), None)
        }
        (Some(Blankness::Blank), None) => (is_partition.then(|| "blank".to_owned()), None),
        (Some(Blankness::BlankWhereRead), None) => (Some(BLANK_WHERE_READ.to_owned()), None),
        (Some(Blankness::Data(_)), _) => (Some(titled(UNKNOWN)), Some(format!("{what} holds {UNKNOWN}"))),
        (Some(Blankness::Unreadable(at, why)), _) => (
            Some(titled(&format!("cannot be read at byte {at}: {why}"))),
            Some(format!("{what} cannot be read at byte {at}: {why}")),
        ),
    }
}

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
            let kind = place.and_then(|p| p.kind);
            let is_known = number.is_none() && !self.begun.is_empty() && bytes.is_some();
            let (words, doubt) = match describe(found) {
                Some(words) => (Some(words), None),
                // What it is, is told behind.
                None if is_known => (None, None),
                None => of_bytes(bytes, kind, number.is_some(), &what),
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
                    amount::size(place.bytes),
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
        lines.extend(self.code.map(|words| format!("in no partition: {words}")));
        for (line, doubt) in self.in_no_partition() {
            lines.push(line);
            unknown.extend(Some(doubt).filter(|_| !self.planned));
        }
        self.blank = !has_table(&self.on_disk)
            && !self.on_disk.empty_mbr
            && self.signatures.iter().all(|(_, found)| found.is_empty())
            && matches!(self.bytes.first(), Some(Some(looked)) if looked.is_blank());
        self.lines = lines;
        self.unknown = unknown;
    }

    /// What is in no partition: a line for people, and the objection.
    fn in_no_partition(&self) -> Vec<(String, String)> {
        let begins = |(at, found): &(u64, Vec<Signature>)| {
            let what = describe(found).unwrap_or_default();
            (
                format!("in no partition, at byte {at}: {what}"),
                format!("it holds {what} at byte {at}, in no partition"),
            )
        };
        let mut told: Vec<(String, String)> = self.begun.iter().map(begins).collect();
        for Outside {
            from,
            bytes,
            found,
            looked,
        } in &self.outside
        {
            let range = format!("in no partition, {} from byte {from} on", amount::size(*bytes));
            match looked {
                Blankness::Blank | Blankness::BlankWhereRead => {}
                Blankness::Data(_) if !found.is_empty() => told.extend(found.iter().map(begins)),
                Blankness::Data(at) => told.push((
                    format!("{range}: {UNKNOWN}"),
                    format!(
                        "it holds {UNKNOWN} at byte {}, in no partition",
                        from.saturating_add(*at)
                    ),
                )),
                Blankness::Unreadable(at, why) => {
                    let at = from.saturating_add(*at);
                    told.push((
                        format!("{range}: cannot be read at byte {at}: {why}"),
                        format!("it cannot be read at byte {at}: {why}"),
                    ));
                }
            }
        }
        told
    }

    /// Takes in what another witness says of a piece that was not recognised.
    fn add(&mut self, index: usize, signature: Signature) {
        if let Some((_, found)) = self.signatures.get_mut(index) {
            found.push(signature);
        }
    }
}

/// Asks `blkid` of every piece that our own readers do not know, and takes in what it says.
///
/// # Errors
/// The run is to stop.
pub async fn ask_blkid(
    device: &Utf8Path,
    size_bytes: u64,
    contents: &mut Contents,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    let has_table = has_table(&contents.on_disk) || contents.on_disk.empty_mbr;
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
                .filter(|p| !p.is_extended())
                .map(|p| (index, p.from, p.bytes, false)),
        })
        .take(PIECES_MAX)
        .collect();
    for (index, from, bytes, whole) in pieces {
        let ended = Program::that_looks("blkid")
            .args(["-p", "-o", "export", "-O", &from.to_string()])
            .args(["-S", &bytes.to_string(), device.as_str()])
            .run(reporter, stop)
            .await;
        let said = match ended {
            Ok(ended) => opinion(ended.code, &ended.stdout, whole && has_table),
            Err(fault) if fault.class == FaultClass::Interrupted => return Err(fault),
            Err(fault) => Err(fault.to_string()),
        };
        match said {
            Ok(None) => {}
            Ok(Some(signature)) => contents.add(index, signature),
            Err(why) => {
                tracing::warn!(%device, from, why, "blkid");
                contents.add(index, Signature::of("something that blkid cannot examine"));
            }
        }
    }
    contents.judge();
    Ok(())
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
            Some(Probe::Ambiguous(kinds)) => Ok(Some(Signature::of(kinds))),
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
