//! Adds an entry to a partition table, and removes one.
//!
//! The entry is behind the image, in space that nothing else uses. Every other byte of the table's sector stays, including
//! boot code and signature. A table that is not understood is not touched.
//!
//! Two kinds of images: xorriso's hybrid ISO, as NixOS makes it (`-isohybrid-mbr -isohybrid-gpt-basdat`), has a classic table
//! with two entries (the whole ISO from sector 0 on, of type 0, and the EFI image inside it) and a GPT header without a
//! protective entry, which Linux and firmware ignore: there the classic table gets the entry. An image of a disk has a
//! protective entry and a GPT of its own size: there the GPT gets the entry, its second copy moves to the end of the stick,
//! and the place of the old one is left unchanged.
//!
//! `flash::keys` writes to the stick.

use super::{HEAD_BYTES, TAIL_BYTES};
use crate::real::table::gpt::{self, OnDisk};
use crate::real::table::mbr::MbrEntry;
use landfall_states::actions::partition_disk::GptCopy;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Bytes of the partition with keys.
pub const KEYS_BYTES: u64 = 8 << 20;
/// Partitions begin at multiples of this, in bytes.
const GRAIN_BYTES: u64 = 1 << 20;
/// FAT with LBA addresses: what firmware and every system mount.
const KIND_FAT: u8 = 0x0E;
/// Where the four entries of a classic table begin, and how long one is (Linux 6.12, `include/linux/msdos_partition.h`).
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const ENTRIES: usize = 4;

/// Which table gets the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The classic one: which of its four places, from 0 on.
    Classic(usize),
    /// A GPT: which entry, from 1 on.
    Gpt(u32),
    /// None: it was lost, or does not name the place yet.
    None,
}

/// Where a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The table that names it.
    pub table: Table,
    /// Its first byte.
    pub from: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The start of an image as its whole: what is behind is not asked for.
struct Front<'a> {
    head: Cursor<&'a [u8]>,
    length: u64,
}

impl Read for Front<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.head.position();
        let read = self.head.read(buffer)?;
        if read > 0 || at >= self.length {
            return Ok(read);
        }
        // Zeros behind the start: at most what was asked for.
        let rest = usize::try_from(self.length - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        buffer[..rest].fill(0);
        self.head.set_position(at + rest as u64);
        Ok(rest)
    }
}

impl Seek for Front<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.head.position().checked_add_signed(by),
        };
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.head.set_position(at);
        Ok(at)
    }
}

/// Where the partition with keys will be, told from the start of the image. Why not, where it cannot be.
///
/// # Errors
/// There is no room behind the image, or no place in its table.
pub fn planned(head: &[u8], image_bytes: u64, stick_bytes: u64, sector_bytes: u32) -> Result<Place, String> {
    let mut front = Front {
        head: Cursor::new(&head[..head.len().min(HEAD_BYTES)]),
        length: image_bytes,
    };
    let found =
        gpt::read(&mut front, sector_bytes).map_err(|error| format!("its table cannot be read: {error}"))?;
    let sector = u64::from(sector_bytes);
    let (table, ends) = where_free(head, &found, sector_bytes)?;
    let end = ends
        .iter()
        .map(|sectors| sectors.saturating_mul(sector))
        .chain([image_bytes])
        .max()
        .unwrap_or(image_bytes);
    let from = end.next_multiple_of(GRAIN_BYTES);
    // The end of the stick is left to the second copy of a GPT.
    let room = stick_bytes.saturating_sub(TAIL_BYTES as u64);
    if from.saturating_add(KEYS_BYTES) > room {
        return Err(format!(
            "the stick is too small for it: the image ends at byte {end}, the partition needs {KEYS_BYTES} bytes, and the stick has {stick_bytes}"
        ));
    }
    if matches!(table, Table::Classic(_)) && (from + KEYS_BYTES) / sector > u64::from(u32::MAX) {
        return Err("the image is too large for a classic partition table".into());
    }
    Ok(Place {
        table,
        from,
        bytes: KEYS_BYTES,
    })
}

/// The first place that is free in the table that counts, and where the others' partitions end, in sectors.
fn where_free(head: &[u8], found: &OnDisk, sector_bytes: u32) -> Result<(Table, Vec<u64>), String> {
    match (&found.primary, found.protective_mbr) {
        (GptCopy::Complete(table), true) => {
            let used: Vec<u32> = table.entries.iter().map(|entry| entry.number).collect();
            let entries =
                gpt::entries_of(head, sector_bytes).ok_or("landfall cannot change a GPT of this form")?;
            let number = (1..=entries).find(|number| !used.contains(number));
            let number =
                number.ok_or_else(|| format!("all {entries} entries of the image's GPT are used"))?;
            let ends = table
                .entries
                .iter()
                .map(|entry| entry.last_lba.saturating_add(1))
                .collect();
            Ok((Table::Gpt(number), ends))
        }
        (_, true) => Err("the image has a protective partition table, but no valid GPT".into()),
        (_, false) => {
            let sector = head
                .get(..512)
                .ok_or("the image has no sector for a partition table")?;
            if sector[510..] != [0x55, 0xAA] || is_boot_sector(sector) {
                return Err("the image has no partition table that can take another entry".into());
            }
            let slot =
                (0..ENTRIES).find(|slot| entry(sector, *slot).is_some_and(|raw| raw == [0; ENTRY_BYTES]));
            let slot = slot.ok_or("all four entries of the image's partition table are used")?;
            let end = |entry: &MbrEntry| entry.first_lba.saturating_add(entry.sectors);
            Ok((Table::Classic(slot), found.mbr.iter().map(end).collect()))
        }
    }
}

/// A filesystem's boot sector ends in the same signature as a table.
fn is_boot_sector(sector: &[u8]) -> bool {
    let is = |at: usize, text: &[u8]| sector.get(at..at + text.len()) == Some(text);
    is(54, b"FAT") || is(82, b"FAT32") || is(3, b"NTFS    ") || is(3, b"EXFAT   ")
}

fn entry(sector: &[u8], slot: usize) -> Option<&[u8]> {
    let at = ENTRIES_AT + slot * ENTRY_BYTES;
    sector.get(at..at + ENTRY_BYTES)
}

/// Puts the entry into a sector with a classic table; one that is taken by something else is an error.
///
/// # Errors
/// The entry is taken by something else, or the place does not fit into it.
pub fn put_classic(sector: &mut [u8], slot: usize, place: &Place, sector_bytes: u32) -> Result<(), String> {
    let wanted = classic_entry(place, sector_bytes);
    match entry(sector, slot) {
        Some(raw) if raw == [0; ENTRY_BYTES] || raw == wanted => {}
        Some(_) | None => return Err("the partition table on the stick is not the image's".into()),
    }
    let at = ENTRIES_AT + slot * ENTRY_BYTES;
    sector[at..at + ENTRY_BYTES].copy_from_slice(&wanted);
    Ok(())
}

/// Takes it out again.
///
/// # Errors
/// The entry is something else's.
pub fn take_classic(sector: &mut [u8], slot: usize, place: &Place, sector_bytes: u32) -> Result<(), String> {
    let wanted = classic_entry(place, sector_bytes);
    let found = entry(sector, slot);
    // What made it may have given it another kind; the place must be the one that was zeroed.
    if found.is_none_or(|raw| raw[8..] != wanted[8..]) {
        return Err("the partition table on the stick has changed".into());
    }
    let at = ENTRIES_AT + slot * ENTRY_BYTES;
    sector[at..at + ENTRY_BYTES].fill(0);
    Ok(())
}

fn classic_entry(place: &Place, sector_bytes: u32) -> [u8; ENTRY_BYTES] {
    let sectors = |bytes: u64| u32::try_from(bytes / u64::from(sector_bytes)).unwrap_or(u32::MAX);
    // Addresses by cylinders that are out of reach, as every tool writes them.
    let mut raw = [
        0, 0xFE, 0xFF, 0xFF, KIND_FAT, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    raw[8..12].copy_from_slice(&sectors(place.from).to_le_bytes());
    raw[12..].copy_from_slice(&sectors(place.bytes).to_le_bytes());
    raw
}

/// Every partition that the table on a stick names.
pub fn places(found: &OnDisk, sector_bytes: u32) -> Vec<Place> {
    let sector = u64::from(sector_bytes);
    let bytes = |sectors: u64| sectors.saturating_mul(sector);
    if let (Some(table), true) = (found.table(), found.protective_mbr) {
        return table
            .entries
            .iter()
            .map(|entry| Place {
                table: Table::Gpt(entry.number),
                from: bytes(entry.first_lba),
                bytes: bytes(entry.sectors()),
            })
            .collect();
    }
    found
        .mbr
        .iter()
        .filter(|entry| (1..=ENTRIES as u32).contains(&entry.number))
        .map(|entry| Place {
            table: Table::Classic(entry.number as usize - 1),
            from: bytes(entry.first_lba),
            bytes: bytes(entry.sectors),
        })
        .collect()
}
