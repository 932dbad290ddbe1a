//! What landfall acknowledged, and whether it was durable at that moment.
//!
//! A line that says that a checkpoint is saved is treated as a power cut at which the disk keeps what was flushed, and
//! nothing else: the checkpoint must be there, and for everything that its state calls finished, exactly the bytes that the
//! disk has in the end. Entries of the log are counted when a line has been read, so that nothing is asked for too early. An
//! earlier flush for another reason may hide one missing flush, and hides no other.
//!
//! QEMU's log has no mark for a write that is durable by itself (FUA, `O_DSYNC`): its virtio disks offer none, and the kernel
//! sends a flush after such a write. So a missing `O_DSYNC` is a missing flush.
//!
//! [`super::rebuild`] and [`super::checks`] have the disks that keep more.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use fs_err as fs;
use regex::Regex;

use super::checks::{EXT4_MADE_AT, EXT4_UUID_AT, SAVED, STATES, luks_area, position};
use crate::console::Follower;
use crate::disk::{self, LogEntry, SECTOR};
use crate::slots::{self, SLOT_BYTES};

/// How long a silent console is waited for at once.
const TICK: Duration = Duration::from_millis(50);
/// Where a FAT32's boot sector has the serial number and the label.
const FAT_IDENTITY: Range<u64> = 0x43..0x52;
/// Where a swap area has its UUID and label.
const SWAP_IDENTITY: Range<u64> = 1_036..1_068;

/// An acknowledged checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Its sequence number.
    pub number: u64,
    /// Its state, as a place in [`STATES`].
    pub state: usize,
    /// Entries of the log when its line had been read.
    pub logged: u64,
    /// Bytes of the console up to the end of its line.
    pub shown: usize,
}

/// Reads a console as it comes, and counts the log at once.
#[derive(Debug)]
pub struct Listener {
    seen: Arc<Mutex<Vec<Ack>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

fn lock(seen: &Mutex<Vec<Ack>>) -> MutexGuard<'_, Vec<Ack>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    /// From now on.
    pub fn start(mut console: Follower, log: PathBuf) -> Result<Listener> {
        let saved = Regex::new(SAVED)?;
        let (seen, ended) = (Arc::<Mutex<Vec<Ack>>>::default(), Arc::<AtomicBool>::default());
        let (ours, over) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let (mut partial, mut shown) = (String::new(), console.read());
            while !over.load(Ordering::SeqCst) {
                let fresh = console.next(TICK);
                if fresh.is_empty() {
                    continue;
                }
                let logged = disk::logged(&log)?;
                partial.push_str(&fresh);
                while let Some((line, rest)) = partial.split_once('\n') {
                    shown += line.len() + 1;
                    if let Some((number, state)) = told(&saved, line) {
                        lock(&ours).push(Ack {
                            number,
                            state,
                            logged,
                            shown,
                        });
                    }
                    partial = rest.to_owned();
                }
            }
            Ok(())
        });
        Ok(Listener {
            seen,
            ended,
            thread: Some(thread),
        })
    }

    /// How many there are by now.
    pub fn count(&self) -> usize {
        lock(&self.seen).len()
    }

    /// The one of this place, when it has come.
    pub fn get(&self, place: usize) -> Option<Ack> {
        lock(&self.seen).get(place).copied()
    }

    /// All of them; the machine is off.
    pub fn finish(mut self) -> Result<Vec<Ack>> {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .map_err(|_| anyhow!("the thread that reads the console fell"))??;
        }
        Ok(std::mem::take(&mut *lock(&self.seen)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn told(saved: &Regex, line: &str) -> Option<(u64, usize)> {
    let found = saved.captures(line)?;
    Some((found[1].parse().ok()?, position(&found[2])?))
}

/// A recorded start of a machine: the disk before it, its log, and the disk that it left.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// The disk before it.
    pub base: &'a Path,
    /// Its log.
    pub log: &'a Path,
    /// The log's entries.
    pub entries: &'a [LogEntry],
    /// The disk as it was left, with every entry.
    pub image: &'a Path,
    /// Whether partition 2 is a LUKS container.
    pub luks: bool,
}

impl Recorded<'_> {
    /// What a disk has in a range that keeps, of the first so many entries, what was flushed.
    fn durable(&self, logged: u64, range: &Range<u64>) -> Result<Vec<u8>> {
        let until = usize::try_from(logged)?.min(self.entries.len());
        let flushed = self.entries[..until]
            .iter()
            .rposition(LogEntry::is_flush)
            .map_or(0, |at| at + 1);
        let mut bytes = disk::read_at(self.base, range.start, usize::try_from(range.end - range.start)?)?;
        let log = fs::File::open(self.log)?;
        for entry in self.entries[..flushed].iter().filter(|entry| entry.length > 0) {
            let from = entry.start.max(range.start);
            let to = entry.start.saturating_add(entry.length).min(range.end);
            if from >= to {
                continue;
            }
            let part = usize::try_from(from - range.start)?..usize::try_from(to - range.start)?;
            if entry.is_write() {
                log.file()
                    .read_exact_at(&mut bytes[part], entry.data + (from - entry.start))
                    .context("the write log ends within an entry")?;
            } else {
                bytes[part].fill(0);
            }
        }
        Ok(bytes)
    }

    /// What is finished in a state, by name and place.
    fn finished(&self, state: usize) -> Result<Vec<(&'static str, Range<u64>)>> {
        let has = |name: &str| position(name).is_some_and(|at| state >= at);
        let size = fs::metadata(self.image)?.len();
        let partitions = disk::partitions(self.image)?;
        let start = |number: u32| {
            let found = partitions.iter().find(|partition| partition.number == number);
            found.map(|partition| partition.start)
        };
        let within =
            |number: u32, part: Range<u64>| start(number).map(|start| start + part.start..start + part.end);
        let mut all = Vec::new();
        if has("Partitioned") {
            all.push(("the first table", 0..34 * SECTOR));
            all.push(("the second table", size - 33 * SECTOR..size));
        }
        if has("Anchored") {
            all.extend(within(1, FAT_IDENTITY).map(|range| ("the ESP's identity", range)));
        }
        if has("Encrypted") && self.luks {
            all.push(("the LUKS header", luks_area(self.image)?));
        }
        if has("Formatted") {
            if !self.luks {
                let parts = [EXT4_UUID_AT..EXT4_UUID_AT + 16, EXT4_MADE_AT..EXT4_MADE_AT + 4];
                let named = parts.into_iter().filter_map(|part| within(2, part));
                all.extend(named.map(|range| ("the root filesystem's identity", range)));
            }
            all.extend(within(3, SWAP_IDENTITY).map(|range| ("the swap's identity", range)));
        }
        Ok(all)
    }

    /// Whether everything that was acknowledged was durable then.
    pub fn check(&self, acks: &[Ack]) -> Result<()> {
        let places: Vec<u64> = slots::find(self.image)?.into_iter().map(|(at, _)| at).collect();
        for ack in acks {
            let Ack {
                number,
                state,
                logged,
                shown: _,
            } = *ack;
            let what = format!(
                "checkpoint {number} of {} was acknowledged behind log entry {logged}",
                STATES[state]
            );
            let mut newest = None;
            for at in &places {
                let slot = self.durable(logged, &(*at..at + SLOT_BYTES as u64))?;
                if slots::is_whole(&slot) {
                    newest = newest.max(slots::sequence(&slot));
                }
            }
            ensure!(
                newest >= Some(number),
                "{what}, and was not durable: a disk that keeps what was flushed has {}",
                newest.map_or("no checkpoint".to_owned(), |newest| format!(
                    "checkpoint {newest}"
                ))
            );
            for (name, range) in self.finished(state)? {
                let length = usize::try_from(range.end - range.start)?;
                ensure!(
                    self.durable(logged, &range)? == disk::read_at(self.image, range.start, length)?,
                    "{what}, and {name} was not durable then"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of 1 MiB, of which everything before byte 4,096 was written twice and flushed in between.
    struct Disk {
        folder: PathBuf,
        entries: Vec<LogEntry>,
    }

    impl Disk {
        fn new(name: &str) -> Result<Disk> {
            let folder = std::env::temp_dir().join(format!("lab-acknowledged-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("base"), vec![0x11; 1 << 20])?;
            let mut data = vec![0xaa; 4_096];
            data.extend(vec![0xbb; 4_096]);
            fs::write(folder.join("log"), data)?;
            let write = |data| LogEntry {
                start: 0,
                length: 4_096,
                flags: 0,
                data,
            };
            let flush = LogEntry {
                start: 0,
                length: 0,
                flags: LogEntry::FLUSH,
                data: 0,
            };
            let entries = vec![write(0), flush, write(4_096), flush];
            Ok(Disk { folder, entries })
        }

        fn durable(&self, logged: u64, range: Range<u64>) -> Vec<u8> {
            let path = |name: &str| self.folder.join(name);
            let recorded = Recorded {
                base: &path("base"),
                log: &path("log"),
                entries: &self.entries,
                image: &path("base"),
                luks: false,
            };
            recorded.durable(logged, &range).unwrap()
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }

    #[test]
    fn a_write_is_durable_behind_its_flush_and_no_sooner() {
        let disk = Disk::new("flush").unwrap();
        for (logged, byte) in [(0, 0x11), (1, 0x11), (2, 0xaa), (3, 0xaa), (4, 0xbb), (9, 0xbb)] {
            assert_eq!(disk.durable(logged, 0..512), vec![byte; 512], "{logged}");
        }
        let across = disk.durable(4, 4_000..4_200);
        assert_eq!(across, [vec![0xbb; 96], vec![0x11; 104]].concat());
        assert_eq!(disk.durable(4, 8_192..8_292), vec![0x11; 100]);
    }

    #[test]
    fn a_missing_flush_is_seen_at_every_later_moment() {
        let mut disk = Disk::new("missing").unwrap();
        disk.entries.remove(3);
        for logged in [3, 4] {
            assert_eq!(disk.durable(logged, 0..512), vec![0xaa; 512], "{logged}");
        }
        // A discard counts as a write of zeros.
        disk.entries[0] = LogEntry {
            flags: LogEntry::DISCARD,
            ..disk.entries[0]
        };
        assert_eq!(disk.durable(3, 0..512), vec![0; 512]);
    }

    #[test]
    fn only_a_slot_acknowledges() {
        let saved = Regex::new(SAVED).unwrap();
        let line = "[    22.876]   checkpoint 17 (Installed) saved in slot 1";
        assert_eq!(told(&saved, line), Some((17, position("Installed").unwrap())));
        assert_eq!(told(&saved, "  checkpoint 17 (Installed) saved in tmpfs"), None);
        assert_eq!(told(&saved, "  checkpoint 17 (Nowhere) saved in slot 1"), None);
    }
}
