//! `landfall image write` onto a bare disk, interrupted at a quarter, a half and three quarters.
//!
//! The disk counts what was written (QEMU's write log), not landfall. Of what no flush had made durable the disk keeps all,
//! nothing, or every other write. In the end it is byte for byte what the uninterrupted run made.
//!
//! `scenarios::root_image` has an install, and `cargo lab bench closure` the times.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::command::Program;
use crate::disk::{self, LogEntry};
use crate::install::say;
use crate::kit::{Kit, TARGET_SERIAL};
use crate::machine::{Disk, Machine, Spec};

/// Plain bytes of the image, about.
const CONTENT_BYTES: usize = 384 << 20;
const FILE_BYTES: usize = 8 << 20;
const TARGET_BYTES: u64 = 1 << 30;
const KEEP_BYTES: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(600);
const SYSTEM: &str = "/nix/store/00000000000000000000000000000000-nixos-system-cuts";
const WRITE: &str = "landfall image write --json --no-verify --erase --resume /run/keep/how-far /run/medium/root.image \
                     /dev/disk/by-id/virtio-LFTARGET";

/// What a disk keeps of the writes that no flush has made durable.
#[derive(Debug, Clone, Copy)]
enum Keeps {
    All,
    Nothing,
    EveryOther,
}

pub fn image_cuts(kit: &Kit) -> Result<()> {
    let cuts = Cuts::new(kit)?;
    cuts.fresh()?;
    let machine = cuts.start()?;
    machine.check(WRITE, LIMIT)?;
    machine.cut_power()?;
    let whole = cuts.log()?;
    let digest = disk::sha256(&cuts.target)?;
    ensure!(
        bytes(&whole) >= cuts.plain_bytes,
        "the disk was given {} bytes, the image has {}",
        bytes(&whole),
        cuts.plain_bytes
    );
    say(&format!(
        "uncut: {} MiB in {} chunks, at most {} MiB between two flushes",
        bytes(&whole) >> 20,
        cuts.chunks,
        longest(&whole) >> 20
    ));

    for (percent, keeps) in [(25, Keeps::All), (50, Keeps::Nothing), (75, Keeps::EveryOther)] {
        cuts.fresh()?;
        let machine = cuts.start()?;
        let job = machine.spawn(WRITE, LIMIT)?;
        let durable = cuts.wait_for(&machine, percent)?;
        machine.cut_power()?;
        drop(job);
        let before = cuts.log()?;
        cuts.keep(keeps, &before)?;
        ensure!(
            disk::sha256(&cuts.target)? != digest,
            "at {percent} % everything was there already: nothing was cut"
        );
        let machine = cuts.start()?;
        let said = machine.check(WRITE, LIMIT)?;
        machine.cut_power()?;
        let after = cuts.log()?;
        let again = (bytes(&before) + bytes(&after)).saturating_sub(bytes(&whole));
        let interval = longest(&before).max(longest(&whole));
        ensure!(
            again <= interval,
            "cut at {percent} %, the disk keeps {keeps:?}: {again} bytes were written twice, between two flushes lay {interval}\n{said}"
        );
        ensure!(
            disk::sha256(&cuts.target)? == digest,
            "cut at {percent} %, the disk keeps {keeps:?}: the disk is not what the uncut run made\n{said}"
        );
        say(&format!(
            "cut behind chunk {durable} ({percent} %), the disk keeps {}: {} KiB written twice, at most {} KiB lay between two flushes; \
             the disk is the uncut run's",
            match keeps {
                Keeps::All => "all that it had",
                Keeps::Nothing => "nothing unflushed",
                Keeps::EveryOther => "every other unflushed write",
            },
            again >> 10,
            interval >> 10
        ));
    }

    // The control: what forgets how far it came writes everything twice, and the disk's count shows it.
    let machine = cuts.start()?;
    machine.check("rm -f /run/keep/how-far", LIMIT)?;
    machine.check(WRITE, LIMIT)?;
    machine.cut_power()?;
    let again = bytes(&cuts.log()?);
    ensure!(
        again > longest(&whole),
        "without a record only {again} bytes were written again: this check cannot fail"
    );
    say(&format!("without a record {} MiB are written twice", again >> 20));
    Ok(())
}

struct Cuts {
    spec: Spec,
    target: PathBuf,
    keep: PathBuf,
    log: PathBuf,
    chunks: u64,
    plain_bytes: u64,
}

impl Cuts {
    fn new(kit: &Kit) -> Result<Cuts> {
        let folder = kit.lab.cache.fresh_machine("image-cuts")?;
        let (target, keep, medium) = (
            folder.join("target.raw"),
            folder.join("keep.raw"),
            folder.join("medium.raw"),
        );
        let image = make_image(kit, &folder)?;
        let said = Program::new(kit.program.as_os_str())
            .args(["image", "info", "--json"])
            .arg(&image)
            .run()?;
        let info: serde_json::Value = serde_json::from_str(&said.text())?;
        let number = |name: &str| {
            info[name]
                .as_u64()
                .with_context(|| format!("image info has no {name}: {info}"))
        };
        let (chunks, plain_bytes) = (number("chunks")?, number("plain_bytes")?);
        // Room for the filesystem itself.
        let medium_bytes = (fs::metadata(&image)?.len() + (64 << 20)).next_multiple_of(1 << 20);
        let tree = folder.join("medium");
        fs::create_dir_all(&tree)?;
        fs::rename(&image, tree.join("root.image"))?;
        disk::create(&medium, medium_bytes)?;
        Program::new("mke2fs")
            .args(["-q", "-t", "ext4", "-m", "0", "-d"])
            .args([&tree, &medium])
            .timeout(LIMIT)
            .run()?;
        fs::remove_dir_all(&tree)?;
        let log = folder.join("writes.log");
        let mut spec = Spec::new(&kit.lab, &folder);
        spec.stick = Some(kit.stick.clone());
        spec.disks = vec![
            Disk {
                write_log: Some(log.clone()),
                ..Disk::new(&target, TARGET_SERIAL)
            },
            Disk {
                read_only: true,
                ..Disk::new(&medium, "LFMEDIUM")
            },
            Disk::new(&keep, "LFKEEP"),
        ];
        Ok(Cuts {
            spec,
            target,
            keep,
            log,
            chunks,
            plain_bytes,
        })
    }

    /// A blank target, and an empty disk for the record.
    fn fresh(&self) -> Result<()> {
        for (image, size) in [(&self.target, TARGET_BYTES), (&self.keep, KEEP_BYTES)] {
            if image.exists() {
                fs::remove_file(image)?;
            }
            disk::create(image, size)?;
        }
        Program::new("mke2fs")
            .args(["-q", "-t", "ext4"])
            .arg(&self.keep)
            .run()?;
        Ok(())
    }

    fn start(&self) -> Result<Machine> {
        let machine = Machine::start_saved(&self.spec)?;
        machine.check(
            "udevadm trigger --settle && mkdir -p /run/keep /run/medium && \
             mount -o ro /dev/disk/by-id/virtio-LFMEDIUM /run/medium && mount /dev/disk/by-id/virtio-LFKEEP /run/keep",
            LIMIT,
        )?;
        Ok(machine)
    }

    fn log(&self) -> Result<Vec<LogEntry>> {
        disk::write_log(&self.log)
    }

    /// Waits until so much is durable; gives the chunk.
    fn wait_for(&self, machine: &Machine, percent: u64) -> Result<u64> {
        let until = Instant::now() + LIMIT;
        let mut before = 0;
        while Instant::now() < until {
            let text = machine.check("cat /run/keep/how-far 2>/dev/null || true", LIMIT)?;
            let chunks = durable(&text);
            // A run that is done removes its record.
            ensure!(chunks >= before, "it was done before it could be cut");
            before = chunks;
            if chunks * 100 >= self.chunks * percent {
                ensure!(chunks < self.chunks, "it was done before it could be cut");
                return Ok(chunks);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{percent} % were not reached within {} s", LIMIT.as_secs())
    }

    /// Makes the target what a disk is that keeps only so much of what no flush has made durable.
    fn keep(&self, keeps: Keeps, entries: &[LogEntry]) -> Result<()> {
        let flushed = entries.iter().rposition(LogEntry::is_flush).unwrap_or(0);
        fs::remove_file(&self.target)?;
        disk::create(&self.target, TARGET_BYTES)?;
        let target = fs::OpenOptions::new().write(true).open(&self.target)?;
        let log = fs::File::open(&self.log)?;
        for (index, entry) in entries.iter().enumerate() {
            let kept = match keeps {
                Keeps::All => true,
                Keeps::Nothing => index <= flushed,
                Keeps::EveryOther => index <= flushed || index % 2 == 0,
            };
            if !kept {
                continue;
            }
            // A discard's contents may be anything; this disk gives zeros.
            let mut data = vec![0; usize::try_from(entry.length)?];
            if entry.is_write() {
                log.file().read_exact_at(&mut data, entry.data)?;
            }
            target.file().write_all_at(&data, entry.start)?;
        }
        Ok(())
    }
}

/// How many chunks a record calls durable.
pub fn durable(record: &str) -> u64 {
    let digits = record
        .split_once("chunks:")
        .map_or("", |(_, rest)| rest.trim_start());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// Bytes that the disk was given.
fn bytes(entries: &[LogEntry]) -> u64 {
    disk::written(entries, 0, TARGET_BYTES).bytes
}

/// The most bytes between two flushes.
fn longest(entries: &[LogEntry]) -> u64 {
    let between_flushes = entries.split(LogEntry::is_flush);
    between_flushes.map(bytes).max().unwrap_or(0)
}

/// An image of a closure that is one path, whose files are landfall's own program over and over, with numbers in it: so it can be
/// compressed about as a program can, and no two blocks of it are alike.
fn make_image(kit: &Kit, folder: &Path) -> Result<PathBuf> {
    let store = folder.join("store");
    let path = store.join(SYSTEM.trim_start_matches('/'));
    fs::create_dir_all(&path)?;
    let program = fs::read(&kit.program)?;
    for number in 0..CONTENT_BYTES / FILE_BYTES {
        let mut content: Vec<u8> = program
            .iter()
            .cycle()
            .skip(number * FILE_BYTES % program.len())
            .take(FILE_BYTES)
            .copied()
            .collect();
        for (block, bytes) in content.chunks_exact_mut(4_096).enumerate() {
            let unique = (number * FILE_BYTES / 4_096 + block) as u64;
            bytes[..8].copy_from_slice(&unique.to_le_bytes());
        }
        fs::write(path.join(format!("part-{number}")), content)?;
    }
    let info = folder.join("closure-info");
    fs::create_dir_all(&info)?;
    writeln!(fs::File::create(info.join("store-paths"))?, "{SYSTEM}")?;
    // What the database will be told; nothing here opens it.
    writeln!(
        fs::File::create(info.join("registration"))?,
        "{SYSTEM}\n{}\n{CONTENT_BYTES}\n\n0",
        "0".repeat(64)
    )?;
    let image = folder.join("root.image");
    Program::new(kit.program.as_os_str())
        .args([
            "image",
            "build",
            "--level",
            "1",
            "--system",
            SYSTEM,
            "--closure-info",
        ])
        .arg(&info)
        .arg("--store")
        .arg(&store)
        .arg("--out")
        .arg(&image)
        .timeout(LIMIT)
        .run()?;
    fs::remove_dir_all(&store)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_how_many_chunks_are_durable() {
        assert_eq!(durable("(image:\"ab12\",chunks:37)"), 37);
        assert_eq!(durable("(\n    image: \"ab12\",\n    chunks: 4,\n)\n"), 4);
        assert_eq!(durable(""), 0);
    }

    #[test]
    fn the_longest_way_between_two_flushes_is_found() {
        let entry = |length: u64, flags: u64| LogEntry {
            start: 0,
            length,
            flags,
            data: 0,
        };
        let log = [
            entry(512, 0),
            entry(1_024, 0),
            entry(0, LogEntry::FLUSH),
            entry(4_096, 0),
            entry(0, LogEntry::FLUSH),
        ];
        assert_eq!(longest(&log), 4_096);
        assert_eq!(bytes(&log), 5_632);
    }
}
