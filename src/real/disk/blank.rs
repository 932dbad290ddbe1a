//! Decides whether a device is blank.
//!
//! Blank is proved, not assumed: every byte that is read is zero, or every byte of that piece is 0xFF (erased flash). A small
//! device is read completely, and so is a file, whose holes the kernel knows. Of a larger device, landfall reads both ends,
//! every place where a partition or a filesystem is likely to begin, and a grid over the whole device; the answer says that
//! the rest was not read. The places depend on the length and the kind of the device, never on the time that reading takes,
//! so the same device always gives the same answer. A device that cannot be read is not blank.
//!
//! Sources of the places: the defaults of sgdisk, parted, Windows' setup and Linux installers; the layouts of ext4
//! (`sparse_super`), XFS (four allocation groups), btrfs (mirrors of the superblock) and NTFS (the table of files).
//!
//! `signature` and `outside` recognise the bytes; `contents` adds what the kernel and `blkid` say.

use super::signature::HEAD;
use super::sysfs::Sysfs;
use crate::os_error;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes that are read at once.
const PIECE_BYTES: u64 = MIB;
/// Bytes of one disk that are read whole: so much of each of its ranges as there are ranges.
const WHOLE_BYTES: u64 = 2 * GIB;
/// The start of a range that is read whole, where not all of it is.
const START_BYTES: u64 = 64 * MIB;
/// The end of a range that is read whole: the second GPT, the labels of ZFS, the copy of NTFS's boot sector.
const END_BYTES: u64 = 8 * MIB;
/// At a place where something may begin: all that the readers of signatures look at.
const WINDOW_BYTES: u64 = HEAD as u64;
/// Up to here something may begin at every MiB: behind a partition for the firmware, for booting or for recovery.
const EVERY_MIB_UNTIL: u64 = 1280 * MIB;
/// Bytes of a place of the grid.
const GRID_BYTES: u64 = 4 * KIB;
/// Places of the grid on a disk that turns: some twenty seconds. A prime, so that it does not step with what is on the disk.
const GRID_SPINNING: u64 = 4093;
/// Places of the grid on any other device.
const GRID_QUICK: u64 = 16_381;
/// Places that the kernel is told of before they are read, so that it reads several at once: less time, the same bytes.
const PLACES_AHEAD: usize = 64;
/// Most extents of a file that are told apart; of a file with more, everything is read.
const EXTENTS_MAX: usize = 1 << 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blankness {
    /// Every byte was looked at, and there is nothing.
    Blank,
    /// Nothing was found anywhere that was looked at; that is not everywhere.
    BlankWhereRead,
    /// There are other bytes, some of them at this place, in bytes from the start of the range.
    Data(u64),
    /// A piece cannot be read: its place, and what the operating system said.
    Unreadable(u64, String),
}

impl Blankness {
    /// Whether nothing was found.
    pub fn is_blank(&self) -> bool {
        match self {
            Blankness::Blank | Blankness::BlankWhereRead => true,
            Blankness::Data(_) | Blankness::Unreadable(..) => false,
        }
    }
}

/// What is known of a device beside its bytes, which decides how much of it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    /// A file: only these ranges of it, from and to, are kept at all. All of them are read.
    File(Vec<(u64, u64)>),
    /// A disk that turns: every place costs time.
    Spinning,
    /// Anything else.
    Quick,
}

impl Medium {
    /// What an open device or file is.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn of(file: &File) -> io::Result<Medium> {
        let metadata = file.metadata()?;
        if metadata.file_type().is_file() {
            return Ok(Medium::File(extents(file, metadata.len())?));
        }
        if !metadata.file_type().is_block_device() {
            return Ok(Medium::Quick);
        }
        let number = metadata.rdev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        spinning(&Sysfs::real(), &format!("{major}:{minor}"))
    }
}

/// Whether a device turns, as the kernel says. It says so of most virtual disks as well, where it means nothing.
fn spinning(sysfs: &Sysfs, number: &str) -> io::Result<Medium> {
    let entry = format!("sys/dev/block/{number}");
    let place = fs_err::canonicalize(sysfs.at(&entry)).unwrap_or_default();
    let is_virtual = place
        .components()
        .any(|part| part.as_os_str().to_string_lossy().starts_with("virt"));
    // Of a partition, its disk says it.
    let said = match sysfs.text(&format!("{entry}/queue/rotational"))? {
        Some(said) => Some(said),
        None => sysfs.text(&format!("{entry}/../queue/rotational"))?,
    };
    Ok(if !is_virtual && said.as_deref().map(str::trim) == Some("1") {
        Medium::Spinning
    } else {
        Medium::Quick
    })
}

/// The ranges of a file that are no holes. A filesystem that knows of no holes says that there are none.
fn extents(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let next = |from: u64, whence| -> io::Result<Option<u64>> {
        let from = i64::try_from(from).map_err(io::Error::other)?;
        match lseek(file, from, whence) {
            Ok(at) => Ok(Some(at.cast_unsigned())),
            // Nothing but holes up to the end.
            Err(nix::errno::Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    };
    let mut found = vec![];
    let mut at = 0;
    while at < size {
        let Some(from) = next(at, Whence::SeekData)? else {
            break;
        };
        let to = next(from, Whence::SeekHole)?.unwrap_or(size).min(size);
        if to <= from || found.len() == EXTENTS_MAX {
            // The file is changing, or it is in very many pieces.
            found.push((from, size));
            break;
        }
        found.push((from, to));
        at = to;
    }
    Ok(found)
}

/// Of what kind a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A partition: what is in it begins where it begins.
    Partition,
    /// What no table speaks of: anything may begin anywhere.
    Unlisted,
}

/// How the ranges of one disk are looked at.
#[derive(Debug)]
pub struct Look {
    medium: Medium,
    /// Bytes of the disk.
    disk: u64,
    /// Ranges that are looked at.
    ranges: u64,
    /// The device, where the kernel can be told what is read next.
    ahead: Option<File>,
}

impl Look {
    /// At a disk of so many bytes, of which so many ranges are looked at.
    pub fn new(medium: Medium, disk: u64, ranges: usize) -> Look {
        Look {
            medium,
            disk,
            ranges: (ranges as u64).max(1),
            ahead: None,
        }
    }

    /// The same, of an open device whose kernel is told what is read next.
    pub fn telling(self, device: Option<File>) -> Look {
        Look {
            ahead: device,
            ..self
        }
    }

    /// Tells the kernel of one place. A hint: without it the same is read, later.
    fn tell(&self, from: u64, length: u64) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let Some(device) = self.ahead.as_ref().filter(|_| length <= WINDOW_BYTES) else {
            return;
        };
        let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
        if let Err(errno) = posix_fadvise(device, number(from), number(length), advice) {
            tracing::debug!(%errno, from, "reading ahead");
        }
    }

    /// Looks at `size` bytes from `from`.
    pub fn proof<D: Read + Seek>(&self, device: &mut D, from: u64, size: u64, extent: Extent) -> Blankness {
        let places = self.places(from, size, extent);
        let (mut looked, mut told) = (0_u64, 0);
        let mut buffer = vec![0_u8; PIECE_BYTES as usize];
        for (index, (start, length)) in places.iter().copied().enumerate() {
            for (at, length) in places.iter().take(index + PLACES_AHEAD).skip(told) {
                self.tell(from.saturating_add(*at), *length);
            }
            told = index + PLACES_AHEAD;
            let mut at = start;
            while at < start + length {
                let bytes = (start + length - at).min(PIECE_BYTES);
                // At most a MiB: it fits any `usize`.
                let piece = &mut buffer[..bytes as usize];
                let read = device
                    .seek(SeekFrom::Start(from.saturating_add(at)))
                    .and_then(|_| device.read_exact(piece));
                match read.map(|()| stranger(piece)) {
                    Ok(None) => {}
                    Ok(Some(index)) => return Blankness::Data(at + index as u64),
                    Err(error) => return Blankness::Unreadable(at, os_error::said(&error)),
                }
                at += bytes;
                looked += bytes;
            }
        }
        match self.medium {
            Medium::File(_) => Blankness::Blank,
            Medium::Spinning | Medium::Quick if looked >= size => Blankness::Blank,
            Medium::Spinning | Medium::Quick => Blankness::BlankWhereRead,
        }
    }

    /// The pieces that are looked at: place and length, in bytes from the start of the range; in order, without overlap, but
    /// that the end comes second.
    fn places(&self, from: u64, size: u64, extent: Extent) -> Vec<(u64, u64)> {
        let grid = match &self.medium {
            Medium::File(extents) => {
                let end = from.saturating_add(size);
                let within = extents.iter().map(|(a, b)| (*a.max(&from), *b.min(&end)));
                return within
                    .filter(|(a, b)| a < b)
                    .map(|(a, b)| (a - from, b - a))
                    .collect();
            }
            Medium::Spinning => GRID_SPINNING,
            Medium::Quick => GRID_QUICK,
        };
        let share = WHOLE_BYTES / self.ranges;
        if size <= share.max(2 * PIECE_BYTES) {
            return if size == 0 { vec![] } else { vec![(0, size)] };
        }
        let start = share.clamp(PIECE_BYTES, START_BYTES);
        let end = share.clamp(PIECE_BYTES, END_BYTES).min(size - start);
        let mut places = vec![];
        match extent {
            Extent::Partition => inner(size, &mut places),
            Extent::Unlisted => {
                beginnings(from, size, &mut places);
                inner(size, &mut places);
            }
        }
        // The number of places is shared by length; a small range has its few all the same.
        let share = u128::from(grid) * u128::from(size) / u128::from(self.disk.max(size));
        let count = (share as u64).max((grid / self.ranges).clamp(8, 512));
        let step = |n: u64| (u128::from(size) * u128::from(n) / u128::from(count)) as u64;
        // On whole blocks, as devices are read fastest.
        places.extend((1..count).map(|n| (step(n) & !(GRID_BYTES - 1), GRID_BYTES)));
        let rest = merged(places, start, size - end);
        [(0, start), (size - end, end)].into_iter().chain(rest).collect()
    }
}

/// Sorted, without overlap, and within these bounds.
fn merged(mut places: Vec<(u64, u64)>, from: u64, to: u64) -> Vec<(u64, u64)> {
    places.sort_unstable();
    let mut found = vec![];
    let mut reached = from;
    for (at, length) in places {
        let (at, end) = (at.max(reached), at.saturating_add(length).min(to));
        if at < end {
            found.push((at, end - at));
            reached = end;
        }
    }
    found
}

/// Where filesystems have more of themselves, when they begin with the range or a MiB behind that.
fn inner(size: u64, places: &mut Vec<(u64, u64)>) {
    let mut at = |place: u64| {
        places.push((place, WINDOW_BYTES));
        places.push((place.saturating_add(MIB), WINDOW_BYTES));
    };
    // ext4: copies of its superblock in the groups 1 and 3ⁿ, 5ⁿ, 7ⁿ, of 128 MiB each.
    for base in [3_u64, 5, 7] {
        let mut group = 1_u64;
        while let Some(place) = group.checked_mul(128 * MIB).filter(|place| *place < size) {
            at(place);
            group = group.saturating_mul(base);
        }
    }
    // NTFS: its table of files; btrfs: the third superblock.
    for place in [3 * GIB, 256 * GIB] {
        at(place);
    }
    // XFS: four allocation groups of one size.
    for quarter in 1..4 {
        places.push(((size / 4 * quarter).saturating_sub(MIB), 3 * MIB));
    }
}

/// Where partitions begin, in a range that no table speaks of: places of the disk, and places from the start of the range.
fn beginnings(from: u64, size: u64, places: &mut Vec<(u64, u64)>) {
    let mut on_disk = vec![];
    // Every MiB that follows the start.
    let first = from.next_multiple_of(MIB);
    on_disk.extend((0..EVERY_MIB_UNTIL / MIB).map(|n| first + n * MIB));
    // Cylinders of 255 heads and 63 sectors, and the partition one track behind them.
    const CYLINDER: u64 = 255 * 63 * 512;
    let cylinder = from.next_multiple_of(CYLINDER);
    for n in 0..EVERY_MIB_UNTIL / CYLINDER {
        on_disk.extend([cylinder + n * CYLINDER, cylinder + n * CYLINDER + 63 * 512]);
    }
    // Behind partitions of round sizes: every GiB and half a GiB at first, then in larger steps; and decimal ones.
    let round = (1..64)
        .map(|n| n * GIB / 2)
        .chain((4..32).map(|n| n * 8 * GIB))
        .chain((4..32).map(|n| n * 64 * GIB))
        .chain((2..64).map(|n| n * 1024 * GIB))
        .chain((1..=100).map(|n| n * 10 * GIB));
    let decimal = [
        10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400,
    ]
    .into_iter()
    .chain((5..40).map(|n| n * 100))
    .map(|n: u64| (n * 1_000_000_000) & !(MIB - 1));
    for place in round.chain(decimal) {
        for start in [0, first] {
            on_disk.extend([start + place, start + place + MIB, start + place + 513 * MIB]);
        }
    }
    // Behind an ESP and a partition for booting, where the first is none of a round size.
    on_disk.extend((1..=20).map(|n| (n * (size / 20)) & !(MIB - 1)));
    places.extend(
        on_disk
            .into_iter()
            .filter_map(|place| place.checked_sub(from))
            .filter(|place| *place < size)
            .map(|place| (place, WINDOW_BYTES)),
    );
    // The second GPT of a smaller disk whose bytes were copied here: sizes as makers agreed on them (IDEMA LBA1-03), and
    // those of virtual disks.
    let agreed = [
        60, 64, 80, 120, 128, 160, 240, 250, 256, 320, 480, 500, 512, 640, 750, 960, 1000, 1024, 1500, 1920,
        2000, 2048, 3000, 3840, 4000, 6000, 8000, 10_000, 12_000, 14_000, 16_000, 18_000,
    ]
    .into_iter()
    .map(|gigabytes: u64| (97_696_368 + 1_953_504 * (gigabytes - 50)) * 512);
    let round = (0..15).map(|n| GIB << n);
    places.extend(
        agreed
            .chain(round)
            .filter_map(|end| end.checked_sub(from))
            .filter(|end| *end > WINDOW_BYTES && *end < size)
            .map(|end| (end - WINDOW_BYTES, WINDOW_BYTES)),
    );
}

/// The places, from the start of a range, where a filesystem of its own may begin, in order: those that are read for it.
pub fn starts(from: u64, size: u64) -> Vec<u64> {
    // Sectors at which tables of old began their first partition, and those of macOS.
    let sectors = [0, 34, 40, 63, 64, 126, 128, 256, 512, 1024];
    let mut places: Vec<(u64, u64)> = sectors.map(|sector| (sector * 512, 0)).to_vec();
    beginnings(from, size, &mut places);
    let mut starts: Vec<u64> = places.into_iter().map(|(at, _)| at).collect();
    starts.retain(|at| *at < size);
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// The first byte that is not like the others, where neither all are zero nor all 0xFF.
pub(super) fn stranger(piece: &[u8]) -> Option<usize> {
    static ZEROS: [u8; PIECE_BYTES as usize] = [0; PIECE_BYTES as usize];
    static ERASED: [u8; PIECE_BYTES as usize] = [0xFF; PIECE_BYTES as usize];
    // Whole pieces are compared by the C library, which is quick.
    let is = |pattern: &[u8]| pattern.get(..piece.len()) == Some(piece);
    match piece.first() {
        None => None,
        Some(0) if is(&ZEROS) => None,
        Some(0xFF) if is(&ERASED) => None,
        Some(first @ (0 | 0xFF)) => piece.iter().position(|byte| byte != first),
        Some(_) => Some(0),
    }
}

#[cfg(test)]
#[path = "blank_tests.rs"]
mod tests;
