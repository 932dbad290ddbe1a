//! What a disk holds outside the partitions that its tables name.
//!
//! No range of a disk is left out: what is in no partition is looked at like a disk without a table. What is recognised is
//! reported with its place, so that a person can find it again. The sectors of a table are not data, and neither is the code
//! of a boot loader that `loader` knows.
//!
//! `blank` reads a range, and `signature` recognises what is in it.

use super::blank::{self, Blankness, Extent, Look};
use super::loader::Code;
use super::partitions::Place;
use super::signature::{HEAD, Signature, begins, describe, sniff};
use crate::real::table::gpt::{self, OnDisk};
use crate::real::table::mbr;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::plan::DiskIdentity;
use std::io::{self, Read, Seek, SeekFrom};

const MIB: u64 = 1 << 20;
/// Entries of a GPT, 128 of 128 bytes.
const GPT_ENTRIES_BYTES: u64 = 16 << 10;
/// Bytes that are looked at of what begins somewhere: its end is not known.
const BEGIN_BYTES: u64 = 8 * MIB;
/// Most things that are reported of one range outside of partitions.
const FOUND_MAX: usize = 8;

/// A range that is in no partition, and what it holds.
#[derive(Debug, Clone)]
pub struct Outside {
    /// First byte.
    pub from: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// What was recognised, by its first byte on the disk.
    pub found: Vec<(u64, Vec<Signature>)>,
    /// What its bytes say.
    pub looked: Blankness,
}

/// The ranges of a disk that are in no partition, in order: from and length. `places`: its partitions; `tables`: from
/// and to, what the tables themselves and known code take.
fn ranges(on_disk: &OnDisk, places: &[Place], tables: &[(u64, u64)], disk: &DiskIdentity) -> Vec<(u64, u64)> {
    let size = disk.size_bytes;
    // The tables, and what belongs to them.
    let mut taken = vec![(0, 512.min(size))];
    if has_gpt(on_disk) {
        let other = on_disk.other.as_ref().map(|other| other.sector_bytes);
        for sector in [Some(disk.sector_bytes), other]
            .into_iter()
            .flatten()
            .map(u64::from)
        {
            taken.push((0, (2 * sector + GPT_ENTRIES_BYTES).min(size)));
            taken.push((size.saturating_sub(sector + GPT_ENTRIES_BYTES), size));
        }
    }
    taken.extend(
        places
            .iter()
            .filter(|place| !place.is_extended())
            .map(|p| (p.from, p.from.saturating_add(p.bytes))),
    );
    taken.extend(tables);
    taken.push((size, size));
    taken.sort_unstable();
    let (mut free, mut reached) = (vec![], 0);
    for (from, to) in taken {
        if from > reached {
            free.push((reached, from - reached));
        }
        reached = reached.max(to);
    }
    free
}

/// Whether there is a GPT, or was one.
fn has_gpt(on_disk: &OnDisk) -> bool {
    on_disk.protective_mbr
        || on_disk.other.is_some()
        || [&on_disk.primary, &on_disk.backup]
            .into_iter()
            .any(|copy| *copy != GptCopy::Absent)
}

/// The same of a disk that something lies on as a whole, such as an image of a CD: beside its partitions, and where partitions are
/// aligned, there are pieces of that.
fn larger_ranges(ranges: Vec<(u64, u64)>, size: u64) -> Vec<(u64, u64)> {
    let within = |(from, bytes): (u64, u64)| {
        let (from, to) = (
            from.max(MIB),
            from.saturating_add(bytes).min(size.saturating_sub(MIB)),
        );
        (to.saturating_sub(from) > MIB).then(|| (from, to - from))
    };
    ranges.into_iter().filter_map(within).collect()
}

/// Whether a range is one of those whose number decides how much is read of each.
pub fn is_large((_, bytes): &(u64, u64)) -> bool {
    *bytes > MIB
}

/// The ranges in no partition; `bare`: nothing lies on the disk as a whole.
///
/// # Errors
/// The device reports an error.
pub fn beside<D: Read + Seek>(
    file: &mut D,
    on_disk: &OnDisk,
    places: &[Place],
    disk: &DiskIdentity,
    code: Option<&Code>,
    bare: bool,
) -> io::Result<Vec<(u64, u64)>> {
    let mut taken = tables(file, on_disk, disk.sector_bytes)?;
    taken.extend(code.iter().flat_map(|code| code.places.iter().copied()));
    let free = ranges(on_disk, places, &taken, disk);
    Ok(if bare {
        free
    } else {
        larger_ranges(free, disk.size_bytes)
    })
}

/// What the tables themselves take, from and to: the copies of a GPT, and the sectors that lead to logical partitions.
fn tables<D: Read + Seek>(file: &mut D, on_disk: &OnDisk, sector_bytes: u32) -> io::Result<Vec<(u64, u64)>> {
    let mut tables = gpt::own_places(file, on_disk, sector_bytes)?;
    let sector = u64::from(on_disk.mbr_sector_bytes).max(512);
    let links = mbr::links(file, &on_disk.mbr, on_disk.mbr_sector_bytes)?;
    tables.extend(links.into_iter().map(|lba| {
        (
            lba.saturating_mul(sector),
            lba.saturating_add(1).saturating_mul(sector),
        )
    }));
    Ok(tables)
}

/// Looks at one range.
///
/// # Errors
/// The device reports an error.
pub fn look<D: Read + Seek>(device: &mut D, how: &Look, from: u64, bytes: u64) -> io::Result<Outside> {
    let looked = how.proof(device, from, bytes, Extent::Unlisted);
    let found = match looked {
        Blankness::Data(_) => recognised(device, from, bytes)?,
        Blankness::Blank | Blankness::BlankWhereRead | Blankness::Unreadable(..) => vec![],
    };
    Ok(Outside {
        from,
        bytes,
        found,
        looked,
    })
}

/// What begins in the first MiB, beside a table, in no partition.
///
/// # Errors
/// The device reports an error.
pub fn beside_table<D: Read + Seek>(
    device: &mut D,
    places: &[Place],
    size: u64,
) -> io::Result<Vec<(u64, Vec<Signature>)>> {
    let mut found = vec![];
    let listed = || places.iter().filter(|p| !p.is_extended());
    // The table itself is in the first 34 sectors.
    for at in blank::starts(0, MIB.min(size))
        .into_iter()
        .filter(|at| *at >= 34 * 512)
    {
        let is_listed = listed().any(|p| (p.from..p.from.saturating_add(p.bytes)).contains(&at));
        let next = listed().map(|p| p.from).filter(|from| *from > at).min();
        if !is_listed {
            add(device, at, next.unwrap_or(size), &mut found)?;
        }
    }
    Ok(found)
}

/// What begins in a range.
///
/// # Errors
/// The device reports an error.
pub fn recognised<D: Read + Seek>(
    device: &mut D,
    from: u64,
    bytes: u64,
) -> io::Result<Vec<(u64, Vec<Signature>)>> {
    let mut found = vec![];
    for at in blank::starts(from, bytes) {
        add(device, from + at, from + bytes, &mut found)?;
        if found.len() == FOUND_MAX {
            break;
        }
    }
    Ok(found)
}

/// Takes in what begins at a place, where it was not known.
fn add<D: Read + Seek>(
    device: &mut D,
    at: u64,
    end: u64,
    found: &mut Vec<(u64, Vec<Signature>)>,
) -> io::Result<()> {
    let size = end.saturating_sub(at).min(BEGIN_BYTES);
    let mut head = Vec::with_capacity(HEAD);
    device.seek(SeekFrom::Start(at))?;
    (&mut *device)
        .take(size.min(HEAD as u64))
        .read_to_end(&mut head)?;
    if blank::stranger(&head).is_none() || !begins(&head) {
        return Ok(());
    }
    let seen = sniff(device, at, size)?;
    let is_new = !seen.is_empty() && found.iter().all(|(_, known)| describe(known) != describe(&seen));
    if is_new {
        found.push((at, seen));
    }
    Ok(())
}
