//! The classic partition table in a disk's first sector, with its logical partitions.
//!
//! No bytes on a disk make reading panic or run for long. A table that does not say which size of sectors it counts can be
//! read for each size. Source: Linux 6.12 (`block/partitions/msdos.c`).
//!
//! `table::gpt` reads GPT, and `disk::contents` decides which of the sizes is meant.

use std::io::{self, Read, Seek, SeekFrom};

/// Sector sizes that a table may have been written for.
pub const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];
/// Most logical partitions of one chain.
const LOGICAL_MAX: u32 = 128;

/// An entry of a classic MBR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrEntry {
    /// Number, 1 to 4; from 5 on for logical partitions.
    pub number: u32,
    /// Type byte.
    pub kind: u8,
    /// Whether it is marked active.
    pub active: bool,
    /// First sector.
    pub first_lba: u64,
    /// Length in sectors.
    pub sectors: u64,
}

impl MbrEntry {
    /// Whether it holds a chain of logical partitions, and nothing else.
    pub fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }
}

/// The entries of a classic MBR, its first sector being at hand, and the logical ones, all counted in sectors of this size.
///
/// # Errors
/// The device reports an error.
pub fn classic(
    disk: &mut (impl Read + Seek + ?Sized),
    first: &[u8],
    sector_bytes: u32,
) -> io::Result<Vec<MbrEntry>> {
    let sector = u64::from(sector_bytes);
    let sectors = length(disk)?.checked_div(sector).unwrap_or(0);
    let mut entries = primary(first);
    // The entry that protects a GPT is no partition; what a hybrid one names beside it is.
    let protects = protects(&entries);
    entries.retain(|e| !(protects && e.kind == 0xEE));
    for extended in entries.clone().iter().filter(|e| e.is_extended()) {
        let from = 5 + entries.iter().filter(|e| e.number > 4).count() as u32;
        let (found, _) = logical(disk, sector, sectors, extended, from)?;
        entries.extend(found);
    }
    Ok(entries)
}

/// The sectors that lead to the logical partitions of these entries, all counted in sectors of this size.
///
/// # Errors
/// The device reports an error.
pub fn links(
    disk: &mut (impl Read + Seek + ?Sized),
    entries: &[MbrEntry],
    sector_bytes: u32,
) -> io::Result<Vec<u64>> {
    let sector = u64::from(sector_bytes);
    let sectors = length(disk)?.checked_div(sector).unwrap_or(0);
    let mut links = vec![];
    for extended in entries.iter().filter(|e| e.is_extended()) {
        let (_, found) = logical(disk, sector, sectors, extended, 5)?;
        links.extend(found);
    }
    Ok(links)
}

/// The same table as it would be if it counted sectors of the other sizes: a classic MBR does not say which it counts.
///
/// # Errors
/// The device reports an error.
pub fn classic_of_other_sizes(
    disk: &mut (impl Read + Seek + ?Sized),
    sector_bytes: u32,
) -> io::Result<Vec<(u32, Vec<MbrEntry>)>> {
    let first = read_at(disk, 0, 512)?;
    let mut found = vec![];
    for size in SECTOR_SIZES.into_iter().filter(|size| *size != sector_bytes) {
        found.push((size, classic(disk, &first, size)?));
    }
    Ok(found)
}

/// Whether one of the entries protects a GPT.
pub fn protects(entries: &[MbrEntry]) -> bool {
    entries.iter().any(|e| e.kind == 0xEE && e.first_lba == 1)
}

/// Whether a first sector ends as an MBR does, and has no entry at all.
pub fn is_empty(sector: &[u8]) -> bool {
    sector
        .get(446..512)
        .is_some_and(|table| table.ends_with(&[0x55, 0xAA]) && table[..64].iter().all(|b| *b == 0))
}

/// The used entries of a first sector that ends as an MBR does. A FAT's or NTFS's boot sector ends so too: its bytes
/// there make no sense as a table (the status byte must be 0x00 or 0x80).
pub fn primary(sector: &[u8]) -> Vec<MbrEntry> {
    if sector.len() < 512 || sector[510..512] != [0x55, 0xAA] {
        return vec![];
    }
    let mut entries = Vec::new();
    for number in 0..4_usize {
        let at = 446 + 16 * number;
        let raw = &sector[at..at + 16];
        if raw[0] & 0x7F != 0 {
            return vec![];
        }
        let word = |at: usize| {
            u64::from(u32::from_le_bytes([
                raw[at],
                raw[at + 1],
                raw[at + 2],
                raw[at + 3],
            ]))
        };
        if raw[4] != 0 && word(12) != 0 {
            entries.push(MbrEntry {
                number: number as u32 + 1,
                kind: raw[4],
                active: raw[0] == 0x80,
                first_lba: word(8),
                sectors: word(12),
            });
        }
    }
    entries
}

/// The logical partitions within an extended one, from a number on. Each has a sector before it, whose first used entry is the
/// partition, counted from that sector, and whose entry of an extended type leads to the next one, counted from the start of
/// the extended partition. A chain that leads backwards, out of the disk or too far ends there. The partitions, and those
/// sectors, as far as they are such sectors.
fn logical(
    disk: &mut (impl Read + Seek + ?Sized),
    sector: u64,
    sectors: u64,
    extended: &MbrEntry,
    from: u32,
) -> io::Result<(Vec<MbrEntry>, Vec<u64>)> {
    let (mut found, mut links): (Vec<MbrEntry>, Vec<u64>) = (vec![], vec![]);
    let mut at = extended.first_lba;
    for _ in 0..LOGICAL_MAX {
        if at >= sectors {
            break;
        }
        let mut next = None;
        let read = read_at(disk, at * sector, 512)?;
        if read.ends_with(&[0x55, 0xAA]) {
            links.push(at);
        }
        for entry in primary(&read) {
            if entry.is_extended() {
                next = next.or(Some(extended.first_lba.saturating_add(entry.first_lba)));
                continue;
            }
            let first_lba = at.saturating_add(entry.first_lba);
            if first_lba < sectors && found.len() < LOGICAL_MAX as usize {
                found.push(MbrEntry {
                    number: from + found.len() as u32,
                    first_lba,
                    ..entry
                });
            }
        }
        match next {
            Some(next) if next > at => at = next,
            Some(_) | None => break,
        }
    }
    Ok((found, links))
}

/// Length in bytes, found by seeking.
///
/// # Errors
/// The device reports an error.
pub fn length(disk: &mut (impl Seek + ?Sized)) -> io::Result<u64> {
    disk.seek(SeekFrom::End(0))
}

/// So many bytes from a place on.
///
/// # Errors
/// The device reports an error, or ends before.
pub fn read_at(disk: &mut (impl Read + Seek + ?Sized), at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut buffer = vec![0; size];
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(&mut buffer)?;
    Ok(buffer)
}
