//! The disk that a power cut leaves, rebuilt from what was written to it.
//!
//! Everything up to the last flush of the log is there, in order. Of the later writes any part may be there, and one write
//! may be there in a part of its sectors. A sector is there completely or not at all. The seed and the log alone decide what
//! is kept. Only [`Loss::Flushed`], which tests the checks, loses what a flush made durable.

use std::fmt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use nix::fcntl::{FallocateFlags, fallocate};

use super::dice::Dice;
use crate::command::Program;
use crate::disk::{LogEntry, SECTOR};

/// A write is copied in pieces of so many bytes.
const PIECE: u64 = 1 << 20;
/// Of writes longer than this only a beginning or an end is torn off.
const SCATTERED_MAX: u64 = 64 * SECTOR;

/// What a disk keeps of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Entries, in order: index, and which of its sectors.
    pub entries: Vec<(usize, Sectors)>,
    /// Entries up to the last flush.
    pub flushed: usize,
    /// Writes and discards behind it.
    pub unflushed: usize,
}

/// Sectors of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sectors {
    /// All.
    All,
    /// The first so many.
    First(u64),
    /// All but the first so many.
    Last(u64),
    /// Those whose bit is set, of at most 64.
    Some(u64),
}

impl Sectors {
    fn has(&self, sector: u64) -> bool {
        match self {
            Sectors::All => true,
            Sectors::First(count) => sector < *count,
            Sectors::Last(from) => sector >= *from,
            Sectors::Some(bits) => bits >> sector & 1 == 1,
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = self.entries.iter().filter(|(at, _)| *at >= self.flushed);
        let torn = behind
            .clone()
            .filter(|(_, sectors)| *sectors != Sectors::All)
            .count();
        write!(
            f,
            "kept {} of {} unflushed writes, {torn} torn, behind log entry {}",
            behind.count(),
            self.unflushed,
            self.flushed
        )
    }
}

/// What is lost of what was flushed: nothing, unless a check is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    None,
    /// The last flushed write that begins at one of these two places.
    Flushed([u64; 2]),
}

/// Draws what a disk keeps.
pub fn keep(entries: &[LogEntry], dice: &mut Dice, loss: Loss) -> Kept {
    let flushed = entries
        .iter()
        .rposition(LogEntry::is_flush)
        .map_or(0, |at| at + 1);
    let behind: Vec<usize> = (flushed..entries.len())
        .filter(|at| entries[*at].length > 0)
        .collect();
    let mut kept: Vec<(usize, Sectors)> = (0..flushed)
        .filter(|at| entries[*at].length > 0)
        .map(|at| (at, Sectors::All))
        .collect();
    if let Loss::Flushed(places) = loss {
        let lost = kept
            .iter()
            .rposition(|(at, _)| entries[*at].is_write() && places.contains(&entries[*at].start));
        if let Some(lost) = lost {
            kept.remove(lost);
        }
    }
    let chance = match dice.below(10) {
        0 => 0,
        1 => 100,
        2..=4 => 15,
        5..=7 => 50,
        _ => 85,
    };
    // Every fourth disk keeps its writes in order, and so a beginning of them.
    let beginning = dice
        .percent(25)
        .then(|| dice.below(behind.len() as u64 + 1) as usize);
    let mut chosen: Vec<usize> = match beginning {
        Some(count) => behind.iter().copied().take(count).collect(),
        None => behind.iter().copied().filter(|_| dice.percent(chance)).collect(),
    };
    let torn =
        (!behind.is_empty() && chance != 100).then(|| behind[dice.below(behind.len() as u64) as usize]);
    if let Some(torn) = torn.filter(|torn| !chosen.contains(torn)) {
        chosen.push(torn);
        chosen.sort_unstable();
    }
    for at in chosen {
        let sectors = if Some(at) == torn {
            tear(entries[at].length, dice)
        } else {
            Sectors::All
        };
        kept.push((at, sectors));
    }
    Kept {
        entries: kept,
        flushed,
        unflushed: behind.len(),
    }
}

fn tear(length: u64, dice: &mut Dice) -> Sectors {
    let count = length / SECTOR;
    let part = dice.below(count);
    match dice.below(3) {
        0 => Sectors::First(part),
        1 => Sectors::Last(part),
        _ if length <= SCATTERED_MAX => Sectors::Some(dice.number()),
        _ => Sectors::First(part),
    }
}

/// A copy of an image, holes included.
pub fn snapshot(image: &Path, to: &Path) -> Result<()> {
    Program::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .args([image, to])
        .run()
        .with_context(|| format!("copying {}", image.display()))?;
    Ok(())
}

/// Brings `base`, the disk before a log, to what it keeps of the log.
pub fn apply(base: &Path, log: &Path, entries: &[LogEntry], kept: &Kept) -> Result<()> {
    let image = fs::OpenOptions::new().read(true).write(true).open(base)?;
    let size = image.metadata()?.len();
    let log = fs::File::open(log)?;
    for (at, sectors) in &kept.entries {
        let entry = entries[*at];
        ensure!(
            entry
                .start
                .checked_add(entry.length)
                .is_some_and(|end| end <= size),
            "log entry {at} writes {} bytes at {}, the disk has {size}",
            entry.length,
            entry.start
        );
        match sectors {
            Sectors::All => copy(&image, &log, &entry, 0, entry.length)?,
            part => {
                for sector in (0..entry.length / SECTOR).filter(|sector| part.has(*sector)) {
                    copy(&image, &log, &entry, sector * SECTOR, SECTOR)?;
                }
            }
        }
    }
    Ok(())
}

/// Copies a part of an entry. A discard's contents may be anything; this disk gives zeros.
fn copy(image: &fs::File, log: &fs::File, entry: &LogEntry, from: u64, length: u64) -> Result<()> {
    let mut at = from;
    let end = from + length;
    let mut piece = Vec::new();
    while at < end {
        let size = if entry.is_write() {
            PIECE.min(end - at)
        } else {
            end - at
        };
        let zero = if entry.is_write() {
            piece.resize(usize::try_from(size)?, 0);
            log.file()
                .read_exact_at(&mut piece, entry.data + at)
                .context("the write log ends within an entry")?;
            piece.iter().all(|byte| *byte == 0)
        } else {
            true
        };
        if zero {
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            fallocate(
                image.file(),
                hole,
                i64::try_from(entry.start + at)?,
                i64::try_from(size)?,
            )
            .with_context(|| format!("making a hole in {}", image.path().display()))?;
        } else {
            image.file().write_all_at(&piece, entry.start + at)?;
        }
        at += size;
    }
    Ok(())
}

/// Where the power goes in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutAt {
    /// Behind the first so many entries, or a little later.
    Later(u64),
    /// Behind exactly so many; the disk keeps what was flushed, and nothing else.
    Exactly(u64),
}

/// The disk that a power cut leaves: `base`, which was a copy of it before the log, becomes the image.
pub fn cut(
    image: &Path,
    base: &Path,
    log: &Path,
    mut entries: Vec<LogEntry>,
    at: CutAt,
    dice: &mut Dice,
) -> Result<Kept> {
    let kept = kept(&mut entries, at, dice)?;
    apply(base, log, &entries, &kept)?;
    fs::rename(base, image)?;
    Ok(kept)
}

/// What a disk keeps of a log whose power goes there.
fn kept(entries: &mut Vec<LogEntry>, at: CutAt, dice: &mut Dice) -> Result<Kept> {
    match at {
        CutAt::Later(from) => {
            entries.truncate(end(entries, usize::try_from(from)?, dice));
            Ok(keep(entries, dice, Loss::None))
        }
        CutAt::Exactly(until) => {
            entries.truncate(usize::try_from(until)?);
            let mut kept = keep(entries, dice, Loss::None);
            kept.entries.retain(|(at, _)| *at < kept.flushed);
            Ok(kept)
        }
    }
}

/// Behind which entry the power was cut: one of those from `from` on that has unflushed writes, or else the last.
fn end(entries: &[LogEntry], from: usize, dice: &mut Dice) -> usize {
    let loses = |at: &usize| *at > 0 && !entries[at - 1].is_flush();
    let open: Vec<usize> = (from.min(entries.len())..=entries.len()).filter(loses).collect();
    if open.is_empty() {
        return entries.len();
    }
    open[dice.below(open.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: u64 = 0;

    fn entry(start: u64, length: u64, flags: u64, data: u64) -> LogEntry {
        LogEntry {
            start,
            length,
            flags,
            data,
        }
    }

    fn flush() -> LogEntry {
        entry(0, 0, LogEntry::FLUSH, 0)
    }

    fn log() -> Vec<LogEntry> {
        let mut entries = vec![
            entry(0, 4_096, WRITE, 0),
            entry(8_192, 4_096, WRITE, 4_096),
            flush(),
            entry(0, 4_096, WRITE, 8_192),
        ];
        entries.extend((0..20).map(|n| entry(16_384 + n * 4_096, 4_096, WRITE, 12_288 + n * 4_096)));
        entries
    }

    #[test]
    fn what_was_flushed_is_kept_and_of_the_rest_any_part() {
        let entries = log();
        let (mut counts, mut torn) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..300 {
            let kept = keep(&entries, &mut Dice::new(seed, 0), Loss::None);
            assert_eq!(kept.flushed, 3);
            assert_eq!(kept.unflushed, 21);
            assert_eq!(kept.entries[..2], [(0, Sectors::All), (1, Sectors::All)]);
            assert!(kept.entries.is_sorted_by_key(|(at, _)| *at));
            let parts = kept.entries.iter().filter(|(_, s)| *s != Sectors::All).count();
            assert!(parts <= 1, "one write is torn");
            torn += parts;
            counts.insert(kept.entries.len());
            assert_eq!(kept, keep(&entries, &mut Dice::new(seed, 0), Loss::None));
        }
        assert!(counts.contains(&23) && counts.len() > 15, "{counts:?}");
        assert!(torn > 200);
    }

    #[test]
    fn the_power_goes_where_writes_are_unflushed() {
        let entries = log();
        let ends = |entries: &[LogEntry], from| {
            let draws = (0..200).map(|seed| end(entries, from, &mut Dice::new(seed, 0)));
            draws.collect::<std::collections::BTreeSet<usize>>()
        };
        // Behind entry 3 nothing is unflushed.
        assert_eq!(ends(&entries[..6], 1), [1, 2, 4, 5, 6].into());
        assert_eq!(ends(&entries[..6], 3), [4, 5, 6].into());
        assert_eq!(ends(&entries[..3], 3), [3].into());
        assert_eq!(ends(&entries[..3], 9), [3].into());
        assert_eq!(ends(&[], 0), [0].into());
    }

    #[test]
    fn at_an_acknowledgement_what_is_not_flushed_is_lost() {
        let all = log();
        for (until, flushed, unflushed) in [(0, 0, 0), (2, 0, 2), (3, 3, 0), (4, 3, 1), (24, 3, 21)] {
            let mut entries = all.clone();
            let kept = kept(&mut entries, CutAt::Exactly(until), &mut Dice::new(1, 0)).unwrap();
            assert_eq!((kept.flushed, kept.unflushed), (flushed, unflushed), "{until}");
            let wanted: Vec<(usize, Sectors)> = (0..flushed)
                .filter(|at| all[*at].length > 0)
                .map(|at| (at, Sectors::All))
                .collect();
            assert_eq!(kept.entries, wanted, "{until}");
        }
        let ends: std::collections::BTreeSet<usize> = (0..50)
            .map(|seed| {
                let mut entries = all.clone();
                kept(&mut entries, CutAt::Later(4), &mut Dice::new(seed, 0)).unwrap();
                entries.len()
            })
            .collect();
        assert!(ends.len() > 10 && ends.first() >= Some(&4), "{ends:?}");
    }

    #[test]
    fn a_log_without_a_flush_keeps_nothing_for_certain() {
        let entries = [entry(0, 512, WRITE, 0)];
        let least = (0..50).map(|seed| keep(&entries, &mut Dice::new(seed, 0), Loss::None));
        let sizes: Vec<usize> = least
            .map(|kept| kept.entries.iter().filter(|(_, s)| *s == Sectors::All).count())
            .collect();
        assert!(sizes.contains(&0) && sizes.contains(&1));
        assert_eq!(keep(&[], &mut Dice::new(1, 0), Loss::None).entries, []);
    }

    #[test]
    fn a_disk_that_lies_loses_a_flushed_write_of_those_places() {
        let kept = keep(&log(), &mut Dice::new(1, 0), Loss::Flushed([8_192, 99]));
        assert!(kept.entries.iter().all(|(at, _)| *at != 1));
        assert_eq!(kept.entries[0], (0, Sectors::All));
    }

    #[test]
    fn an_image_is_brought_to_what_it_keeps() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("lab-rebuild-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (base, log, image) = (folder.join("base"), folder.join("log"), folder.join("image"));
        let before: Vec<u8> = (0..65_536_u32).map(|n| (n / 512) as u8 + 1).collect();
        fs::write(&image, &before)?;
        snapshot(&image, &base)?;
        let mut data = vec![0xaa; 4_096];
        data.extend(vec![0; 4_096]);
        data.extend(vec![0xbb; 4_096]);
        fs::write(&log, &data)?;
        let entries = [
            entry(0, 4_096, WRITE, 0),
            entry(4_096, 4_096, WRITE, 4_096),
            entry(8_192, 8_192, LogEntry::DISCARD, 0),
            flush(),
            entry(0, 4_096, WRITE, 8_192),
            entry(32_768, 4_096, WRITE, 8_192),
        ];
        let kept = Kept {
            entries: vec![
                (0, Sectors::All),
                (1, Sectors::All),
                (2, Sectors::All),
                (5, Sectors::Some(0b101)),
            ],
            flushed: 4,
            unflushed: 2,
        };
        apply(&base, &log, &entries, &kept)?;
        let mut wanted = before.clone();
        wanted[..4_096].fill(0xaa);
        wanted[4_096..16_384].fill(0);
        wanted[32_768..33_280].fill(0xbb);
        wanted[33_792..34_304].fill(0xbb);
        assert!(fs::read(&base)? == wanted);
        assert!(fs::read(&image)? == before);
        let outside = [entry(65_536, 512, WRITE, 0)];
        let kept = Kept {
            entries: vec![(0, Sectors::All)],
            flushed: 0,
            unflushed: 1,
        };
        assert!(apply(&base, &log, &outside, &kept).is_err());
        Ok(fs::remove_dir_all(&folder)?)
    }

    #[test]
    fn sectors_are_torn_in_every_way() {
        let mut kinds = [0; 3];
        let mut dice = Dice::new(3, 0);
        for _ in 0..100 {
            match tear(4_096, &mut dice) {
                Sectors::First(count) | Sectors::Last(count) if count >= 8 => panic!("{count} of 8"),
                Sectors::First(_) => kinds[0] += 1,
                Sectors::Last(_) => kinds[1] += 1,
                Sectors::Some(_) => kinds[2] += 1,
                Sectors::All => panic!("not torn"),
            }
        }
        assert!(kinds.iter().all(|count| *count > 10), "{kinds:?}");
        assert!(!matches!(tear(1 << 20, &mut dice), Sectors::Some(_)));
    }
}
