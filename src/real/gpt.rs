//! GUID partition tables. Law: each of the two copies is read on its own and written on its own, with a flush after each
//! (gptman writes both in one go and flushes neither); the same table written again gives the same bytes; no bytes on a
//! disk make reading panic, run for long or take more than a few kilobytes.
//!
//! Absent: devices, locks, the kernel's view (see `table`, `disk::held`). Source: UEFI 2.10, chapter 5.

use gptman::{GPT, GPTHeader, GPTPartitionEntry};
use landfall_states::plan::{GptEntry, GptTable};
use landfall_states::planned::GptCopy;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

/// Entries in a table: what every tool makes, and what UEFI asks for at least. Other tables are shown as damaged.
const ENTRIES: u32 = 128;
/// Bytes of one entry.
const ENTRY_BYTES: u32 = 128;
/// Entry arrays longer than this are not read.
const ARRAY_BYTES_MAX: u64 = 1 << 20;
/// No smaller disk holds two copies, in sectors.
const SECTORS_MIN: u64 = 80;

/// Both copies and the protective MBR, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// The copy at the start.
    pub primary: GptCopy,
    /// The copy at the end.
    pub backup: GptCopy,
    /// Whether the first sector holds a protective MBR.
    pub protective_mbr: bool,
    /// The entries of a classic MBR that is not protective.
    pub mbr: Vec<MbrEntry>,
    /// The 32-bit signature in the MBR, which firmware uses to name partitions of such disks. 0: none.
    pub mbr_signature: u32,
}

impl OnDisk {
    /// The copy that tools would use: the first, else the second.
    pub fn table(&self) -> Option<&GptTable> {
        self.primary.table().or_else(|| self.backup.table())
    }
}

/// An entry of a classic MBR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrEntry {
    /// Number, 1 to 4.
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

/// Length in bytes, found by seeking.
fn length(disk: &mut (impl Seek + ?Sized)) -> io::Result<u64> {
    disk.seek(SeekFrom::End(0))
}

fn read_at(disk: &mut (impl Read + Seek + ?Sized), at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut buffer = vec![0; size];
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(&mut buffer)?;
    Ok(buffer)
}

/// GUIDs are stored with their first three fields little-endian.
fn guid(bytes: [u8; 16]) -> Uuid {
    Uuid::from_bytes_le(bytes)
}

/// Reads everything. An error is an I/O error of the device; bad contents are facts.
pub fn read(disk: &mut (impl Read + Seek + ?Sized), sector_bytes: u32) -> io::Result<OnDisk> {
    let sector = u64::from(sector_bytes);
    let sectors = length(disk)?.checked_div(sector).unwrap_or(0);
    if sectors < SECTORS_MIN {
        return Ok(OnDisk {
            primary: GptCopy::Absent,
            backup: GptCopy::Absent,
            protective_mbr: false,
            mbr: vec![],
            mbr_signature: 0,
        });
    }
    let first = read_at(disk, 0, 512)?;
    let mbr = mbr(&first);
    let protective_mbr = mbr.iter().any(|e| e.kind == 0xEE && e.first_lba == 1);
    Ok(OnDisk {
        primary: copy(disk, sector_bytes, sectors, 1)?,
        backup: copy(disk, sector_bytes, sectors, sectors - 1)?,
        protective_mbr,
        mbr: if protective_mbr { vec![] } else { mbr },
        mbr_signature: u32::from_le_bytes([first[440], first[441], first[442], first[443]]),
    })
}

/// The used entries of a first sector that ends as an MBR does. A FAT's or NTFS's boot sector ends so too: its bytes
/// there make no sense as a table (the status byte must be 0x00 or 0x80).
pub fn mbr(sector: &[u8]) -> Vec<MbrEntry> {
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

/// One copy. Every number that the disk states is checked before it is used: gptman believes them.
fn copy(
    disk: &mut (impl Read + Seek + ?Sized),
    sector_bytes: u32,
    sectors: u64,
    lba: u64,
) -> io::Result<GptCopy> {
    let sector = u64::from(sector_bytes);
    let raw = read_at(disk, lba * sector, sector)?;
    if !raw.starts_with(b"EFI PART") {
        return Ok(GptCopy::Absent);
    }
    let damaged = |why: String| Ok(GptCopy::Damaged(why));
    let header = match GPTHeader::read_from(&mut Cursor::new(&raw)) {
        Ok(header) => header,
        Err(why) => return damaged(why.to_string()),
    };
    if header.primary_lba != lba {
        return damaged(format!(
            "it says that it lies in sector {}, and lies in {lba}",
            header.primary_lba
        ));
    }
    if (header.number_of_partition_entries, header.size_of_partition_entry) != (ENTRIES, ENTRY_BYTES) {
        return damaged(format!(
            "{} entries of {} bytes are not supported",
            header.number_of_partition_entries, header.size_of_partition_entry
        ));
    }
    let array_bytes = (u64::from(ENTRIES) * u64::from(ENTRY_BYTES)).min(ARRAY_BYTES_MAX);
    let array_end = array_bytes
        .div_ceil(sector)
        .checked_add(header.partition_entry_lba)
        .filter(|end| *end <= sectors && header.partition_entry_lba >= 2);
    if array_end.is_none() {
        return damaged(format!(
            "its entries would begin in sector {}",
            header.partition_entry_lba
        ));
    }
    let mut array = read_at(disk, header.partition_entry_lba * sector, array_bytes)?;
    // gptman 3.1 reads as many bytes as its own structure has in memory, which is more than an entry has.
    array.resize(array.len() + 512, 0);
    // gptman seeks to where the header says: for it, the array begins at the start of what was read.
    let local = GPTHeader {
        partition_entry_lba: 0,
        ..header.clone()
    };
    let found = match local.read_partitions(&mut Cursor::new(&array), sector) {
        Ok(found) => found,
        Err(why) => return damaged(why.to_string()),
    };
    let mut entries = Vec::new();
    for (number, entry) in (1_u32..).zip(&found) {
        if entry.is_unused() {
            continue;
        }
        if entry.starting_lba > entry.ending_lba || entry.ending_lba >= sectors {
            return damaged(format!(
                "partition {number} reaches from sector {} to {}, the disk has {sectors}",
                entry.starting_lba, entry.ending_lba
            ));
        }
        entries.push(GptEntry {
            number,
            type_guid: guid(entry.partition_type_guid),
            partuuid: guid(entry.unique_partition_guid),
            first_lba: entry.starting_lba,
            last_lba: entry.ending_lba,
            name: entry.partition_name.as_str().to_owned(),
        });
    }
    Ok(GptCopy::Whole(GptTable {
        disk_guid: guid(header.disk_guid),
        sector_bytes,
        entries,
    }))
}

/// A planned table, made ready for one disk.
#[derive(Debug)]
pub struct Prepared {
    sector: u64,
    primary: GPTHeader,
    backup: GPTHeader,
    entries: Vec<GPTPartitionEntry>,
}

/// What about a table cannot be written to a disk.
fn unfit(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

/// Checks a table against a disk: bounds, overlap, numbers, names. Writes nothing.
pub fn prepare(disk: &mut (impl Read + Seek), table: &GptTable) -> io::Result<Prepared> {
    let sector = u64::from(table.sector_bytes);
    if sector != 512 && sector != 4096 {
        return Err(unfit(format!("sectors of {sector} bytes")));
    }
    if length(disk)? / sector < SECTORS_MIN {
        return Err(unfit("the disk is too small for a partition table"));
    }
    let made = GPT::new_from(disk, sector, table.disk_guid.to_bytes_le()).map_err(io::Error::other)?;
    let primary = made.header;
    let mut backup = primary.clone();
    backup.primary_lba = primary.backup_lba;
    backup.backup_lba = primary.primary_lba;
    backup.partition_entry_lba = primary.last_usable_lba + 1;
    let mut entries = vec![GPTPartitionEntry::empty(); ENTRIES as usize];
    let mut spans: Vec<(u64, u64, u32)> = vec![];
    for entry in &table.entries {
        let GptEntry {
            number,
            type_guid,
            partuuid,
            first_lba,
            last_lba,
            name,
        } = entry;
        let place = usize::try_from(*number)
            .map_err(io::Error::other)?
            .checked_sub(1)
            .and_then(|index| entries.get_mut(index))
            .ok_or_else(|| unfit(format!("partition number {number}")))?;
        if place.is_used() || type_guid.is_nil() || name.encode_utf16().count() > 36 {
            return Err(unfit(format!("partition {number} ({name})")));
        }
        if first_lba > last_lba
            || *first_lba < primary.first_usable_lba
            || *last_lba > primary.last_usable_lba
        {
            return Err(unfit(format!(
                "partition {number}: sectors {first_lba}–{last_lba}, usable are {}–{}",
                primary.first_usable_lba, primary.last_usable_lba
            )));
        }
        if let Some((_, _, other)) = spans
            .iter()
            .find(|(from, to, _)| first_lba <= to && from <= last_lba)
        {
            return Err(unfit(format!("partitions {other} and {number} overlap")));
        }
        spans.push((*first_lba, *last_lba, *number));
        *place = GPTPartitionEntry {
            partition_type_guid: type_guid.to_bytes_le(),
            unique_partition_guid: partuuid.to_bytes_le(),
            starting_lba: *first_lba,
            ending_lba: *last_lba,
            attribute_bits: 0,
            partition_name: name.as_str().into(),
        };
    }
    Ok(Prepared {
        sector,
        primary,
        backup,
        entries,
    })
}

/// Writes a prepared table: protective MBR and first copy, flush, second copy, flush. `flush` must make everything
/// written so far durable.
pub fn write<D: Read + Write + Seek>(
    disk: &mut D,
    prepared: &mut Prepared,
    mut flush: impl FnMut(&mut D) -> io::Result<()>,
) -> io::Result<()> {
    let Prepared {
        sector,
        primary,
        backup,
        entries,
    } = prepared;
    // Boot code of a former system goes as well; a disk signature of the old kind would contradict the GPT.
    disk.seek(SeekFrom::Start(0))?;
    disk.write_all(&vec![0; usize::try_from(*sector).map_err(io::Error::other)?])?;
    GPT::write_protective_mbr_into(disk, *sector).map_err(io::Error::other)?;
    write_copy(disk, primary, *sector, entries)?;
    flush(disk)?;
    write_copy(disk, backup, *sector, entries)?;
    flush(disk)
}

/// One copy, in whole sectors: array and header are made in memory first, so that the device sees two writes instead of
/// 129 small ones.
fn write_copy(
    disk: &mut (impl Write + Seek),
    header: &mut GPTHeader,
    sector: u64,
    entries: &[GPTPartitionEntry],
) -> io::Result<()> {
    let array_bytes = (u64::from(ENTRIES) * u64::from(ENTRY_BYTES)).next_multiple_of(sector);
    let (header_at, array_at) = (header.primary_lba, header.partition_entry_lba);
    // For gptman: the array in front, the header behind it, in a small image of its own.
    let size = usize::try_from(array_bytes + sector).map_err(io::Error::other)?;
    let mut image = Cursor::new(vec![0; size]);
    header.update_partition_entry_array_crc32(entries);
    header.update_crc32_checksum();
    {
        // The header's check sum covers its place; so it is written with its true place and caught by an offset.
        let mut window = Window {
            image: &mut image,
            header_at: header_at * sector,
            array_at: array_at * sector,
            array_bytes,
            position: 0,
        };
        header
            .write_into(&mut window, sector, entries)
            .map_err(io::Error::other)?;
    }
    let image = image.into_inner();
    let (array_image, header_image) =
        image.split_at(image.len() - usize::try_from(sector).map_err(io::Error::other)?);
    disk.seek(SeekFrom::Start(array_at * sector))?;
    disk.write_all(array_image)?;
    disk.seek(SeekFrom::Start(header_at * sector))?;
    disk.write_all(header_image)
}

/// Maps the two places that gptman writes to into one small image: the array first, then the header's sector.
struct Window<'a> {
    image: &'a mut Cursor<Vec<u8>>,
    header_at: u64,
    array_at: u64,
    array_bytes: u64,
    position: u64,
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = if self.position >= self.array_at && self.position < self.array_at + self.array_bytes {
            self.position - self.array_at
        } else if self.position >= self.header_at {
            self.position - self.header_at + self.array_bytes
        } else {
            return Err(unfit("a write outside of the table"));
        };
        let end = at + bytes.len() as u64;
        if end > self.image.get_ref().len() as u64 {
            return Err(unfit("a write outside of the table"));
        }
        self.image.set_position(at);
        self.image.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.position = at,
            SeekFrom::End(_) | SeekFrom::Current(_) => return Err(unfit("only absolute places")),
        }
        Ok(self.position)
    }
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
