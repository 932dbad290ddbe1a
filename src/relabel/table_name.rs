//! Changes the name of a partition in a GPT that is in use.
//!
//! At any moment, and with any part of the unflushed writes lost in a power cut, both copies of the table are valid and describe the
//! same partitions, with the old name or the new one. Nothing else on the disk changes. After an interruption, the same call finishes
//! the change.
//!
//! A kernel does not read the second copy when the first is damaged (unless `gpt` is on its command line). So a tool that rewrites the
//! first copy in place can leave a machine that does not boot, if the power fails between entries and header. Here the new entries go
//! to free sectors before the first partition, and a header is switched to them and back; each switch is one sector.
//!
//! The kernel's own view of the partitions has no names and does not change. `apply` locks the disk. Source: UEFI 2.10, section 5.3.

use crate::real::table::gpt;
use crc::{CRC_32_ISO_HDLC, Crc};
use landfall_states::plan::{GptEntry, GptTable};
use std::io::{self, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Where a header has what is used here, in bytes.
const AT_LENGTH: usize = 12;
const AT_CRC: usize = 16;
const AT_ARRAY: usize = 72;
const AT_ENTRIES: usize = 80;
const AT_ENTRY_BYTES: usize = 84;
const AT_ARRAY_CRC: usize = 88;
/// Where an entry has its PARTUUID and its name, in bytes.
const AT_PARTUUID: usize = 16;
const AT_NAME: usize = 56;
/// Bytes of a name.
const NAME_BYTES: usize = 72;
/// First sectors of a disk in which free ones are searched.
const FREE_SECTORS_MAX: u64 = 1 << 14;

/// Why a name is not changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The device says no.
    #[error("{}", crate::os_error::said(.0))]
    Io(#[from] io::Error),
    /// A copy is not whole.
    #[error("the {copy} copy of its partition table is damaged")]
    Copy {
        /// `first` or `second`.
        copy: &'static str,
    },
    /// The copies describe different partitions.
    #[error("the two copies of its partition table differ in more than a name")]
    Differ,
    /// There is no such partition.
    #[error("it has no partition {number} with the PARTUUID {partuuid}")]
    NoPartition {
        /// The number that it should have.
        number: u32,
        /// Its PARTUUID.
        partuuid: Uuid,
    },
    /// Nowhere to write the new entries first.
    #[error(
        "there are fewer than {sectors} free sectors between its partition table and its first partition, so landfall cannot change the name safely"
    )]
    NoRoom {
        /// How many are needed.
        sectors: u64,
    },
    /// What was written does not come back.
    #[error("its partition table reads back differently from what was written")]
    ReadBack,
}

/// One copy: its header as it is, and where its entries belong.
struct Copy {
    lba: u64,
    header: Vec<u8>,
    home: u64,
}

/// A table that is being changed.
struct Table<'a, D> {
    disk: &'a mut D,
    sector: u64,
    copies: [Copy; 2],
    /// The new entries, in whole sectors.
    array: Vec<u8>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    eight.map_or(0, u64::from_le_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn read_at(disk: &mut (impl Read + Seek), at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(&mut buffer)?;
    Ok(buffer)
}

fn write_at(disk: &mut (impl Write + Seek), at: u64, bytes: &[u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at))?;
    disk.write_all(bytes)
}

/// Both copies, whole; or why not.
fn whole(disk: &mut (impl Read + Seek), sector_bytes: u32) -> Result<[GptTable; 2], TableError> {
    let gpt::OnDisk { primary, backup, .. } = gpt::read(disk, sector_bytes)?;
    let copy = |copy: landfall_states::actions::partition_disk::GptCopy, name| {
        copy.table().cloned().ok_or(TableError::Copy { copy: name })
    };
    Ok([copy(primary, "first")?, copy(backup, "second")?])
}

/// Tables are the same but for one name.
fn same_but_for(one: &GptTable, other: &GptTable, number: u32) -> bool {
    let nameless = |table: &GptTable| {
        let entries = table
            .entries
            .iter()
            .cloned()
            .map(|entry| match entry.number == number {
                true => GptEntry {
                    name: String::new(),
                    ..entry
                },
                false => entry,
            });
        (table.disk_guid, entries.collect::<Vec<_>>())
    };
    nameless(one) == nameless(other)
}

/// Gives a partition a name. `flush` makes everything that was written so far durable. Gives whether anything was written.
///
/// # Errors
/// The table is damaged or has no room, or the device reports an error. One copy is complete whatever happens.
pub fn rename<D: Read + Write + Seek>(
    disk: &mut D,
    sector_bytes: u32,
    (number, partuuid): (u32, Uuid),
    name: &str,
    mut flush: impl FnMut(&mut D) -> io::Result<()>,
) -> Result<bool, TableError> {
    let before = whole(disk, sector_bytes)?;
    if !same_but_for(&before[0], &before[1], number) {
        return Err(TableError::Differ);
    }
    let known = before[0]
        .entries
        .iter()
        .find(|entry| entry.number == number && entry.partuuid == partuuid);
    if known.is_none() {
        return Err(TableError::NoPartition { number, partuuid });
    }
    let mut table = Table::read(disk, u64::from(sector_bytes), number, name)?;
    let wrote = table.rename(&before, &mut flush)?;
    let after = whole(disk, sector_bytes)?;
    let named = |table: &GptTable| {
        table
            .entries
            .iter()
            .any(|entry| entry.number == number && entry.name == name)
    };
    if after
        .iter()
        .zip(&before)
        .all(|(after, before)| named(after) && same_but_for(after, before, number))
    {
        Ok(wrote)
    } else {
        Err(TableError::ReadBack)
    }
}

impl<'a, D: Read + Write + Seek> Table<'a, D> {
    fn read(disk: &'a mut D, sector: u64, number: u32, name: &str) -> Result<Self, TableError> {
        let sectors = disk.seek(SeekFrom::End(0))? / sector;
        let first = read_at(disk, sector, sector)?;
        let second = read_at(disk, (sectors - 1) * sector, sector)?;
        // The table was read as a whole, so these numbers are within their bounds.
        let (entries, each) = (u32_at(&first, AT_ENTRIES), u32_at(&first, AT_ENTRY_BYTES));
        if (entries, each) != (u32_at(&second, AT_ENTRIES), u32_at(&second, AT_ENTRY_BYTES)) {
            return Err(TableError::Differ);
        }
        let used = u64::from(entries) * u64::from(each);
        let length = used.next_multiple_of(sector);
        let mut array = read_at(disk, u64_at(&first, AT_ARRAY) * sector, length)?;
        let mut units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        units.resize(NAME_BYTES, 0);
        let entry_at = (number as usize).saturating_sub(1) * each as usize;
        put(&mut array, entry_at + AT_NAME, &units);
        let array_sectors = length / sector;
        let mut home = |header: &[u8], usual: u64| -> io::Result<u64> {
            let stated = u64_at(header, AT_ARRAY);
            if stated == usual {
                return Ok(usual);
            }
            // Where a run was cut off, the entries still lie in their usual place, under old names or new; else the place
            // is one that somebody chose.
            let there = read_at(disk, usual * sector, length)?;
            Ok(if is_same_array(&there, &array, each as usize) {
                usual
            } else {
                stated
            })
        };
        let copies = [
            (1, first.clone(), home(&first, 2)?),
            (
                sectors - 1,
                second.clone(),
                home(&second, sectors - 1 - array_sectors)?,
            ),
        ]
        .map(|(lba, header, home)| Copy { lba, header, home });
        Ok(Table {
            disk,
            sector,
            copies,
            array,
        })
    }

    fn sectors(&self) -> u64 {
        self.array.len() as u64 / self.sector
    }

    /// Whether a copy's header leads to the new entries, in the place where they belong.
    fn is_settled(&mut self, which: usize) -> io::Result<bool> {
        let (stated, home) = match self.copies.get(which) {
            Some(copy) => (u64_at(&copy.header, AT_ARRAY), copy.home),
            None => return Ok(true),
        };
        let there = read_at(self.disk, home * self.sector, self.array.len() as u64)?;
        Ok(stated == home && there == self.array)
    }

    fn rename(
        &mut self,
        before: &[GptTable; 2],
        flush: &mut impl FnMut(&mut D) -> io::Result<()>,
    ) -> Result<bool, TableError> {
        let first_used = before
            .iter()
            .flat_map(|table| &table.entries)
            .map(|entry| entry.first_lba)
            .min();
        let settled = [self.is_settled(0)?, self.is_settled(1)?];
        let free = self.free(first_used.unwrap_or(0))?;
        if settled == [true, true] {
            return Ok(match free {
                // A run was cut off right before its end.
                Some((at, true)) => {
                    self.clear(at, flush)?;
                    true
                }
                Some((_, false)) | None => false,
            });
        }
        let Some((beside, _)) = free else {
            return Err(TableError::NoRoom {
                sectors: self.sectors(),
            });
        };
        let array = self.array.clone();
        write_at(self.disk, beside * self.sector, &array)?;
        flush(self.disk)?;
        for (which, settled) in settled.into_iter().enumerate() {
            if settled {
                continue;
            }
            self.switch(which, beside)?;
            flush(self.disk)?;
            let home = self.copies.get(which).map_or(beside, |copy| copy.home);
            write_at(self.disk, home * self.sector, &array)?;
            flush(self.disk)?;
            self.switch(which, home)?;
            flush(self.disk)?;
        }
        self.clear(beside, flush)?;
        Ok(true)
    }

    /// Sectors that nobody uses, as many as the entries take: empty, or with the new entries that a run before wrote there
    /// (then `true`). In front of the first partition and behind the first copy.
    fn free(&mut self, first_used: u64) -> io::Result<Option<(u64, bool)>> {
        let length = self.sectors();
        let home = self.copies.first().map_or(2, |copy| copy.home);
        let begin = if home < first_used { home + length } else { 2 };
        let end = first_used.min(begin + FREE_SECTORS_MAX);
        if end <= begin {
            return Ok(None);
        }
        let gap = read_at(self.disk, begin * self.sector, (end - begin) * self.sector)?;
        let sector = usize::try_from(self.sector).map_err(io::Error::other)?;
        let windows = gap.windows(self.array.len()).step_by(sector);
        let mut empty = None;
        for (at, window) in (begin..).zip(windows) {
            let mut sectors = window.chunks_exact(sector).zip(self.array.chunks_exact(sector));
            let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
            if is_zero(window) {
                empty = empty.or(Some((at, false)));
            } else if sectors.all(|(there, ours)| is_zero(there) || there == ours) {
                return Ok(Some((at, true)));
            }
        }
        Ok(empty)
    }

    /// Has a header lead to entries at another place: one sector is written.
    fn switch(&mut self, which: usize, to: u64) -> io::Result<()> {
        let Some(copy) = self.copies.get_mut(which) else {
            return Ok(());
        };
        let used = u32_at(&copy.header, AT_ENTRIES) as usize * u32_at(&copy.header, AT_ENTRY_BYTES) as usize;
        let array = self.array.get(..used).unwrap_or(&self.array);
        put(&mut copy.header, AT_ARRAY, &to.to_le_bytes());
        put(&mut copy.header, AT_ARRAY_CRC, &CRC.checksum(array).to_le_bytes());
        put(&mut copy.header, AT_CRC, &[0; 4]);
        let length = u32_at(&copy.header, AT_LENGTH) as usize;
        let sum = CRC.checksum(copy.header.get(..length).unwrap_or(&copy.header));
        put(&mut copy.header, AT_CRC, &sum.to_le_bytes());
        write_at(self.disk, copy.lba * self.sector, &copy.header)
    }

    fn clear(&mut self, at: u64, flush: &mut impl FnMut(&mut D) -> io::Result<()>) -> io::Result<()> {
        write_at(self.disk, at * self.sector, &vec![0; self.array.len()])?;
        flush(self.disk)
    }
}

/// Whether two arrays have the same entries but for their names.
fn is_same_array(one: &[u8], other: &[u8], each: usize) -> bool {
    let mut used = 0;
    let same = one
        .chunks_exact(each)
        .zip(other.chunks_exact(each))
        .all(|(one, other)| {
            used += usize::from(
                one.get(..AT_PARTUUID)
                    .is_some_and(|kind| kind.iter().any(|byte| *byte != 0)),
            );
            one.get(..AT_NAME) == other.get(..AT_NAME)
        });
    same && used > 0
}

#[cfg(test)]
#[path = "table_name_tests.rs"]
mod tests;
