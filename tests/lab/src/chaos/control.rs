//! Tests the checks: a recorded beginning of an install, and disks made from it that are wrong in one respect each.
//!
//! Every check that passes on a correct disk must fail on each of them, for the right reason.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use super::acknowledged::{Ack, Recorded};
use super::checks::{Checks, Told};
use super::dice::Dice;
use super::rebuild::{self, Loss};
use crate::disk::{self, LogEntry};
use crate::install::{Install, say, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::slots;

/// So many disks are rebuilt of the recording.
const DISKS: u64 = 12;
/// So long the copy goes on.
const COPYING: Duration = Duration::from_millis(2_500);

/// A recorded beginning of an install into LUKS with swap.
struct Recording {
    folder: PathBuf,
    /// The disk that the machine left.
    image: PathBuf,
    /// The disk before it.
    base: PathBuf,
    log: PathBuf,
    other: PathBuf,
    /// What landfall told.
    text: String,
}

/// Records an install until its closure is being copied, and shows every check what it must notice.
pub fn run(kit: &Kit) -> Result<()> {
    let recording = record(kit)?;
    check(&recording)?;
    fs::remove_dir_all(&recording.folder)?;
    Ok(())
}

fn record(kit: &Kit) -> Result<Recording> {
    let mut install = Install::new(kit, "chaos-control", Layout::LuksSwap, Mode::Prebuilt)?.stay();
    let folder = install.spec.folder.clone();
    let recording = Recording {
        image: install.image.clone(),
        base: folder.join("base.raw"),
        log: folder.join("writes.log"),
        other: folder.join("other.raw"),
        text: String::new(),
        folder,
    };
    disk::create(&recording.other, 1 << 20)?;
    rebuild::snapshot(&recording.image, &recording.base)?;
    if let Some(target) = install.spec.disks.first_mut() {
        target.write_log = Some(recording.log.clone());
    }
    let mut machine = install.start()?;
    let job = install.begin(&machine, "install")?;
    wait_for(&machine, "Realise system.*: copy the closure")?;
    let text = machine.console().text();
    std::thread::sleep(COPYING);
    // QEMU writes what is under way, and flushes.
    machine.pause()?;
    machine.stop()?;
    drop(job);
    Ok(Recording { text, ..recording })
}

impl Recording {
    /// Makes a disk of it, of these entries; what it keeps, in words.
    fn make(&self, made: &Path, entries: &[LogEntry], seed: u64, loss: Loss) -> Result<String> {
        rebuild::snapshot(&self.base, made)?;
        let kept = rebuild::keep(entries, &mut Dice::new(seed, 0), loss);
        rebuild::apply(made, &self.log, entries, &kept)?;
        Ok(kept.to_string())
    }
}

fn check(recording: &Recording) -> Result<()> {
    let Recording {
        folder,
        image,
        base: _,
        log,
        other,
        text,
    } = recording;
    let mut told = Told::new()?;
    told.take_in(text)?;
    let (number, _) = told.acknowledged.context("no checkpoint was acknowledged")?;
    let mut checks = Checks::new(true, other)?;
    let entries = disk::write_log(log)?;
    let made = folder.join("made.raw");
    recording.make(&made, &entries, 0, Loss::None)?;
    ensure!(
        disk::sha256(&made)? == disk::sha256(image)?,
        "the whole recording, with its last flush, is not the disk that was recorded"
    );
    say(&format!(
        "{} log entries, applied, are the recorded disk",
        entries.len()
    ));
    nothing_wrong(recording, &made, &entries, &mut checks, &told)?;

    let places: Vec<u64> = slots::find(&made)?.into_iter().map(|(at, _)| at).collect();
    let [one, two] = places[..] else {
        bail!("there are {} slots, not 2", places.len());
    };
    recording.make(&made, &entries, 0, Loss::Flushed([one, two]))?;
    must_fail(
        &mut checks,
        &made,
        other,
        &told,
        &format!("checkpoint {number}"),
        "a lost flushed slot",
    )?;

    missing_flush(recording, &entries, number)?;

    let whole = recording.make(&made, &entries, 0, Loss::None)?;
    each_wrong_byte(&made, other, &whole, &mut checks, &told)?;
    flip(other, 4_711, 0)?;
    must_fail(
        &mut checks,
        &made,
        other,
        &told,
        "another disk changed",
        "a byte of the other disk",
    )?;
    Ok(())
}

/// Disks with nothing wrong pass: power cuts at moments behind the last checkpoint that was told, before QEMU's own flush.
fn nothing_wrong(
    recording: &Recording,
    made: &Path,
    entries: &[LogEntry],
    checks: &mut Checks,
    told: &Told,
) -> Result<()> {
    let mut seen = Vec::new();
    let acknowledged = last_slot(&recording.image, entries)?;
    for seed in 0..DISKS {
        let upto = acknowledged
            + 1
            + (entries.len() - acknowledged - 1) * (seed as usize + 1) / (DISKS as usize + 1);
        let kept = recording.make(made, &entries[..upto], seed, Loss::None)?;
        checks
            .look(made, &recording.other, told)
            .with_context(|| format!("a disk with nothing wrong ({kept})"))?;
        seen.push(kept);
    }
    ensure!(
        checks.is_complete(2 + 1),
        "not everything was finished and compared"
    );
    seen.sort();
    seen.dedup();
    say(&format!(
        "{DISKS} disks with nothing wrong pass, {} kinds of them by what they keep; {} comparisons",
        seen.len(),
        checks.compared
    ));
    Ok(())
}

/// One wrong byte in each thing that is compared is noticed; without it, the disk passes again.
fn each_wrong_byte(made: &Path, other: &Path, whole: &str, checks: &mut Checks, told: &Told) -> Result<()> {
    let size = fs::metadata(made)?.len();
    let partitions = disk::partitions(made)?;
    let start = |number: u32| -> Result<u64> {
        let found = partitions.iter().find(|partition| partition.number == number);
        Ok(found.with_context(|| format!("no partition {number}"))?.start)
    };
    for (what, at, reason) in [
        ("a byte of the first table", 1_024 + 56, "partition table changed"),
        (
            "a byte of the second table",
            size - 33 * 512 + 56,
            "partition table changed",
        ),
        (
            "the ESP's serial number",
            start(1)? + 0x43,
            "finished volume changed",
        ),
        ("a byte of a key slot", start(2)? + 40_000, "LUKS header changed"),
        ("the swap's UUID", start(3)? + 1_036, "finished volume changed"),
    ] {
        let before = disk::read_at(made, at, 1)?;
        flip(made, at, before[0])?;
        must_fail(checks, made, other, told, reason, what)?;
        flip(made, at, !before[0])?;
        checks
            .look(made, other, told)
            .with_context(|| format!("{what} is as it was ({whole})"))?;
    }
    Ok(())
}

/// An acknowledged checkpoint whose write was not flushed must be noticed, and one whose write was must not.
fn missing_flush(recording: &Recording, entries: &[LogEntry], number: u64) -> Result<()> {
    let Recording {
        image,
        base,
        log,
        text,
        ..
    } = recording;
    let mut told = Told::new()?;
    told.take_in(text)?;
    let (_, state) = told.acknowledged.context("no checkpoint was acknowledged")?;
    let flush = last_slot(image, entries)?;
    let ack = Ack {
        number,
        state,
        logged: flush as u64 + 1,
        shown: 0,
    };
    let recorded = |entries| Recorded {
        base,
        log,
        entries,
        image,
        luks: true,
    };
    recorded(entries)
        .check(&[ack])
        .context("a checkpoint whose write was flushed")?;
    let mut without = entries.to_vec();
    without.remove(flush);
    match recorded(&without).check(&[Ack {
        logged: flush as u64,
        ..ack
    }]) {
        Ok(()) => bail!("a checkpoint whose write was not flushed was not noticed"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(
                text.contains("was not durable"),
                "a missing flush was noticed as something else: {text}"
            );
            say(&format!("a missing flush of a slot: noticed: {text}"));
            Ok(())
        }
    }
}

/// The entry behind which every checkpoint that was told is durable: the last flush behind a slot's last write.
fn last_slot(image: &Path, entries: &[LogEntry]) -> Result<usize> {
    let places: Vec<u64> = slots::find(image)?.into_iter().map(|(at, _)| at).collect();
    let write = entries
        .iter()
        .rposition(|entry| entry.is_write() && places.contains(&entry.start))
        .context("no slot was written")?;
    let flush = entries[write..].iter().position(LogEntry::is_flush);
    Ok(write + flush.context("no flush behind the last slot")?)
}

fn flip(image: &Path, at: u64, byte: u8) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(image)?;
    file.file()
        .write_all_at(&[!byte], at)
        .with_context(|| format!("changing byte {at} of {}", image.display()))
}

fn must_fail(
    checks: &mut Checks,
    image: &Path,
    other: &Path,
    told: &Told,
    reason: &str,
    what: &str,
) -> Result<()> {
    match checks.look(image, other, told) {
        Ok(()) => bail!("{what} was not noticed"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(
                text.contains(reason),
                "{what} was noticed as something else: {text}"
            );
            say(&format!("{what}: noticed: {text}"));
            Ok(())
        }
    }
}
