//! Partition tables: GPT in both copies, with what a classic MBR (`mbr`) says beside it.
//!
//! Each of the two copies is read and written separately, with a flush after each write (gptman writes both at once and
//! flushes neither). Every table that UEFI allows is read, even one that was written for sectors of another size. The same
//! table written again gives the same bytes. No bytes on a disk make reading panic, run for long or take more than a few
//! megabytes. Source: UEFI 2.10, chapter 5.
//!
//! `steps::partition` has the kernel's view, `disk::locked` the locks, and `disk::signature` tables of other kinds.

use super::mbr::{self, MbrEntry, SECTOR_SIZES, length, read_at};
use crc::{CRC_32_ISO_HDLC, Crc};
use gptman::{GPT, GPTHeader, GPTPartitionEntry};
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::plan::{GptEntry, GptTable};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

/// Entries in a table that is written: what every tool makes, and what UEFI asks for at least.
const ENTRIES: u32 = 128;
/// Bytes of one entry in a table that is written.
const ENTRY_BYTES: u32 = 128;
/// Longest array of partition entries that is read: 65,536 entries of the usual size.
const ARRAY_BYTES_MAX: u64 = 8 << 20;
/// Most partitions that are reported.
const ENTRIES_USED_MAX: usize = 1024;
/// Bytes of a header that are always there.
const HEADER_BYTES: usize = 92;
/// Smallest disk that holds two copies of the table, in sectors.
const SECTORS_MIN: u64 = 80;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Both copies and the protective MBR, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// The copy at the start.
    pub primary: GptCopy,
    /// The copy at the end.
    pub backup: GptCopy,
    /// Whether the first sector holds a protective MBR.
    pub protective_mbr: bool,
    /// The entries of a classic MBR, logical partitions behind the others. Where a GPT can be read and the MBR is protective:
    /// none.
    pub mbr: Vec<MbrEntry>,
    /// The size in bytes of the sectors that they count.
    pub mbr_sector_bytes: u32,
    /// Whether the first sector ends as an MBR does, and has no entry: a table of no partitions.
    pub empty_mbr: bool,
    /// The 32-bit signature in the MBR, which firmware uses to name partitions of such disks. 0: none.
    pub mbr_signature: u32,
    /// A table that was written for sectors of another size, where there is none for this size.
    pub other: Option<OtherSize>,
}

/// A GPT for sectors of another size than the disk has now: it was written while something else stood between it and the
/// disk, as bridges from USB to SATA do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSize {
    /// The size in bytes.
    pub sector_bytes: u32,
    /// What is there.
    pub copy: GptCopy,
}

impl OnDisk {
    /// Nothing at all.
    pub(in crate::real) const NONE: OnDisk = OnDisk {
        primary: GptCopy::Absent,
        backup: GptCopy::Absent,
        protective_mbr: false,
        mbr: vec![],
        mbr_sector_bytes: 512,
        empty_mbr: false,
        mbr_signature: 0,
        other: None,
    };

    /// The copy that tools would use: the first, else the second.
    pub fn table(&self) -> Option<&GptTable> {
        self.primary.table().or_else(|| self.backup.table())
    }
}

/// Reads everything. An error is an I/O error of the device; bad contents are facts.
///
/// # Errors
/// The device reports an error.
pub fn read(disk: &mut (impl Read + Seek + ?Sized), sector_bytes: u32) -> io::Result<OnDisk> {
    let sector = u64::from(sector_bytes);
    let bytes = length(disk)?;
    let sectors = bytes.checked_div(sector).unwrap_or(0);
    if sectors < SECTORS_MIN {
        return Ok(OnDisk::NONE);
    }
    let first = read_at(disk, 0, 512)?;
    let protective_mbr = mbr::protects(&mbr::primary(&first));
    let primary = copy(disk, sector_bytes, sectors, 1)?;
    let backup = copy(disk, sector_bytes, sectors, sectors - 1)?;
    let whole = primary.table().is_some() || backup.table().is_some();
    let classic = if protective_mbr && whole {
        vec![]
    } else {
        mbr::classic(disk, &first, sector_bytes)?
    };
    let other = if whole {
        None
    } else {
        other_size(disk, sector_bytes, bytes)?
    };
    Ok(OnDisk {
        primary,
        backup,
        protective_mbr,
        mbr: classic,
        mbr_sector_bytes: sector_bytes,
        empty_mbr: mbr::is_empty(&first),
        mbr_signature: u32::from_le_bytes([first[440], first[441], first[442], first[443]]),
        other,
    })
}

/// A table for sectors of another size: one that can be read, else one that cannot.
fn other_size(
    disk: &mut (impl Read + Seek + ?Sized),
    sector_bytes: u32,
    bytes: u64,
) -> io::Result<Option<OtherSize>> {
    let mut unusable = None;
    for size in SECTOR_SIZES.into_iter().filter(|size| *size != sector_bytes) {
        let sectors = bytes / u64::from(size);
        if sectors < 4 {
            continue;
        }
        for lba in [1, sectors - 1] {
            let found = OtherSize {
                sector_bytes: size,
                copy: copy(disk, size, sectors, lba)?,
            };
            match found.copy {
                GptCopy::Complete(_) => return Ok(Some(found)),
                GptCopy::Damaged(_) => unusable = unusable.or(Some(found)),
                GptCopy::Absent => {}
            }
        }
    }
    Ok(unusable)
}

/// One copy. Every number that the disk states is checked before it is used.
fn copy(
    disk: &mut (impl Read + Seek + ?Sized),
    sector_bytes: u32,
    sectors: u64,
    lba: u64,
) -> io::Result<GptCopy> {
    let sector = u64::from(sector_bytes);
    let raw = read_at(disk, lba * sector, sector)?;
    let Some(found) = Header::parse(&raw) else {
        return Ok(GptCopy::Absent);
    };
    let bounds = found.and_then(|header| {
        let bytes = header.bounds(lba, sector, sectors)?;
        Ok((header, bytes))
    });
    let (header, bytes) = match bounds {
        Ok(both) => both,
        Err(why) => return Ok(GptCopy::Damaged(why)),
    };
    let array = read_at(disk, header.array_lba * sector, bytes)?;
    Ok(match header.entries(&array, sectors) {
        Ok(entries) => GptCopy::Complete(GptTable {
            disk_guid: header.disk_guid,
            sector_bytes,
            entries,
        }),
        Err(why) => GptCopy::Damaged(why),
    })
}

/// The bytes that the tables themselves take, from and to: headers and entries of both copies, and of the one that the first
/// names, which is not at the end where a smaller disk's bytes were copied to this one.
///
/// # Errors
/// The device reports an error.
pub fn own_places(
    disk: &mut (impl Read + Seek + ?Sized),
    on_disk: &OnDisk,
    sector_bytes: u32,
) -> io::Result<Vec<(u64, u64)>> {
    let bytes = length(disk)?;
    let mut found = vec![];
    let other = on_disk.other.as_ref().map(|other| other.sector_bytes);
    for size in [Some(sector_bytes), other].into_iter().flatten() {
        let sector = u64::from(size);
        let sectors = bytes.checked_div(sector).unwrap_or(0);
        if sectors < SECTORS_MIN {
            continue;
        }
        let mut headers = vec![1, sectors - 1];
        let mut index = 0;
        while let Some(lba) = headers.get(index).copied() {
            index += 1;
            let raw = read_at(disk, lba * sector, sector)?;
            let Some(Ok(header)) = Header::parse(&raw) else {
                continue;
            };
            let Ok(length) = header.bounds(lba, sector, sectors) else {
                continue;
            };
            found.push((lba * sector, (lba + 1) * sector));
            found.push((header.array_lba * sector, header.array_lba * sector + length));
            let alternate = u64_at(&raw, 32);
            if alternate < sectors && !headers.contains(&alternate) && headers.len() < 4 {
                headers.push(alternate);
            }
        }
    }
    Ok(found)
}

/// What a header says.
struct Header {
    own_lba: u64,
    disk_guid: Uuid,
    array_lba: u64,
    entries: u32,
    entry_bytes: u32,
    array_crc: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// GUIDs are stored with their first three fields little-endian.
fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    bytes
        .get(at..at + 16)
        .and_then(|b| b.try_into().ok())
        .map_or(Uuid::nil(), Uuid::from_bytes_le)
}

impl Header {
    /// A sector, if it begins as a header does.
    fn parse(raw: &[u8]) -> Option<Result<Header, String>> {
        if !raw.starts_with(b"EFI PART") {
            return None;
        }
        let length = u32_at(raw, 12) as usize;
        let Some(summed) = raw.get(..length).filter(|_| length >= HEADER_BYTES) else {
            return Some(Err(format!(
                "its header has an impossible length of {length} bytes"
            )));
        };
        let mut summed = summed.to_vec();
        summed[16..20].fill(0);
        if CRC.checksum(&summed) != u32_at(raw, 16) {
            return Some(Err("the checksum of its header is wrong".into()));
        }
        Some(Ok(Header {
            own_lba: u64_at(raw, 24),
            disk_guid: guid_at(raw, 56),
            array_lba: u64_at(raw, 72),
            entries: u32_at(raw, 80),
            entry_bytes: u32_at(raw, 84),
            array_crc: u32_at(raw, 88),
        }))
    }

    /// Whether its numbers can be used; the bytes of the array, in whole sectors.
    fn bounds(&self, lba: u64, sector: u64, sectors: u64) -> Result<u64, String> {
        if self.own_lba != lba {
            return Err(format!(
                "it states that it is in sector {}, but it is in sector {lba}",
                self.own_lba
            ));
        }
        let (entries, each) = (u64::from(self.entries), u64::from(self.entry_bytes));
        // 128 · 2ⁿ bytes, says UEFI.
        if !each.is_power_of_two() || each < 128 || entries == 0 || entries * each > ARRAY_BYTES_MAX {
            return Err(format!("{entries} entries of {each} bytes are not supported"));
        }
        let length = (entries * each).div_ceil(sector);
        self.array_lba
            .checked_add(length)
            .filter(|end| *end <= sectors && self.array_lba >= 2)
            .map(|_| length * sector)
            .ok_or_else(|| format!("its entries have an impossible start, sector {}", self.array_lba))
    }

    /// The used entries.
    fn entries(&self, array: &[u8], sectors: u64) -> Result<Vec<GptEntry>, String> {
        let each = self.entry_bytes as usize;
        // The bounds were checked: it fits any `usize`.
        let array = array.get(..self.entries as usize * each).unwrap_or(array);
        if CRC.checksum(array) != self.array_crc {
            return Err("the checksum of its entries is wrong".into());
        }
        let mut entries = Vec::new();
        for (number, raw) in (1_u32..).zip(array.chunks_exact(each)) {
            let type_guid = guid_at(raw, 0);
            if type_guid.is_nil() {
                continue;
            }
            let (first_lba, last_lba) = (u64_at(raw, 32), u64_at(raw, 40));
            if first_lba > last_lba || last_lba >= sectors {
                return Err(format!(
                    "partition {number} is from sector {first_lba} to {last_lba}, but the disk has {sectors} sectors"
                ));
            }
            if entries.len() == ENTRIES_USED_MAX {
                return Err(format!("more than {ENTRIES_USED_MAX} of its entries are in use"));
            }
            entries.push(GptEntry {
                number,
                type_guid,
                partuuid: guid_at(raw, 16),
                first_lba,
                last_lba,
                name: entry_name(&raw[56..128]),
            });
        }
        Ok(entries)
    }
}

/// The name of a partition: UTF-16, up to a NUL.
fn entry_name(raw: &[u8]) -> String {
    let units: Vec<u16> = raw
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
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
///
/// # Errors
/// The table does not fit onto the disk, or contradicts itself.
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
                "partition {number} has sectors {first_lba}–{last_lba}, but usable are {}–{}",
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
///
/// # Errors
/// The device reports an error; one copy is complete whatever happens.
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

/// Writes a table that was read from this disk, with all that it had and a change: the copy at the end, flush, the first one, flush. The
/// first sector stays as it is.
pub(crate) fn write_both<D: Read + Write + Seek>(
    disk: &mut D,
    table: GPT,
    sector: u64,
    mut flush: impl FnMut(&mut D) -> io::Result<()>,
) -> io::Result<()> {
    let mut primary = table.header.clone();
    let array = array_sectors(primary.number_of_partition_entries, sector);
    let is_behind = |from: u64, end: u64| from.checked_add(array).is_some_and(|to| to <= end);
    if primary.size_of_partition_entry != ENTRY_BYTES
        || primary.primary_lba != 1
        || !is_behind(primary.partition_entry_lba, primary.first_usable_lba)
        || !is_behind(primary.last_usable_lba.saturating_add(1), primary.backup_lba)
    {
        return Err(unfit("landfall cannot change a table of this form"));
    }
    let entries: Vec<GPTPartitionEntry> = table.iter().map(|(_, entry)| entry.clone()).collect();
    let mut backup = primary.clone();
    backup.primary_lba = primary.backup_lba;
    backup.backup_lba = primary.primary_lba;
    backup.partition_entry_lba = primary.last_usable_lba + 1;
    write_copy(disk, &mut backup, sector, &entries)?;
    flush(disk)?;
    write_copy(disk, &mut primary, sector, &entries)?;
    flush(disk)
}

/// Sectors of an array of so many entries.
fn array_sectors(entries: u32, sector: u64) -> u64 {
    (u64::from(entries) * u64::from(ENTRY_BYTES)).div_ceil(sector)
}

/// How many entries the first copy of a GPT has room for, told from the start of its disk; none where an entry has another size than
/// every tool makes, or the array lies elsewhere than between the header and the first partition (UEFI 2.10, 5.3.2).
pub fn entries_of(head: &[u8], sector_bytes: u32) -> Option<u32> {
    let sector = u64::from(sector_bytes);
    let header = head.get(sector_bytes as usize..)?.get(..92)?;
    let number = |at: usize| -> u64 {
        let mut eight = [0; 8];
        eight.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let half = |at: usize| {
        let mut four = [0; 4];
        four.copy_from_slice(&header[at..at + 4]);
        u32::from_le_bytes(four)
    };
    let (entries, first_usable, array_at) = (half(80), number(40), number(72));
    let end = array_at.checked_add(array_sectors(entries, sector))?;
    (half(84) == ENTRY_BYTES && array_at >= 2 && end <= first_usable).then_some(entries)
}

/// One copy, in whole sectors: array and header are made in memory first, so that the device sees two writes instead of
/// 129 small ones.
fn write_copy(
    disk: &mut (impl Write + Seek),
    header: &mut GPTHeader,
    sector: u64,
    entries: &[GPTPartitionEntry],
) -> io::Result<()> {
    let array_bytes = (entries.len() as u64 * u64::from(ENTRY_BYTES)).next_multiple_of(sector);
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
