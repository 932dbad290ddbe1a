//! A loop device over a file, with a filesystem of its own for each measurement.
//!
//! It is always unmounted and detached again. What a killed benchmark left in the same folder is removed first.
//!
//! `bench::peers` says what is measured on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use crate::command::Program;

/// The longest that a mount, a flush or a mkfs may take.
const LIMIT: Duration = Duration::from_secs(900);

/// How often a device that is busy is tried again, a tenth of a second apart.
const BUSY_TRIES: u32 = 100;

/// See the module.
#[derive(Debug)]
pub struct Device {
    /// The device node.
    pub node: PathBuf,
    /// Where it is mounted, when it is.
    pub mount: PathBuf,
    file: PathBuf,
    folder: PathBuf,
}

/// Something mounted, until it is dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts `what` at a directory, which is made.
    pub fn new(what: &Path, at: &Path, options: &str) -> Result<Mounted> {
        Mounted::by(Program::new("mount").args(["-o", options]).arg(what), at)
    }

    /// Mounts a writable layer over a directory, as an ISO has over its store.
    pub fn overlay(below: &Path, layer: &Path, at: &Path) -> Result<Mounted> {
        let (upper, work) = (layer.join("upper"), layer.join("work"));
        for folder in [&upper, &work] {
            fs::create_dir_all(folder)?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            below.display(),
            upper.display(),
            work.display()
        );
        Mounted::by(
            Program::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]),
            at,
        )
    }

    fn by(mount: Program, at: &Path) -> Result<Mounted> {
        fs::create_dir_all(at)?;
        mount.arg(at).timeout(LIMIT).run()?;
        Ok(Mounted { at: at.to_owned() })
    }

    /// Unmounts, which writes everything out.
    pub fn end(self) -> Result<()> {
        Program::new("umount").arg(&self.at).timeout(LIMIT).run()?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = Program::new("umount").arg(&self.at).timeout(LIMIT).run() {
            eprintln!("{error:#}");
        }
    }
}

impl Device {
    /// A device of so many bytes over a new file in a folder.
    pub fn new(folder: &Path, bytes: u64) -> Result<Device> {
        let file = folder.join(FILE);
        fs::File::create(&file)?.set_len(bytes)?;
        let shown = Program::new("losetup")
            // Past the page cache, which no disk has: with it one thread of the kernel copies every byte into memory that is
            // new to it, and that was the limit here (44 % of all processor time, 360 MB/s), not the disk.
            .args(["--direct-io=on", "--find", "--show"])
            .arg(&file)
            .timeout(LIMIT)
            .run()?;
        // From here on it is detached, whatever comes.
        let device = Device {
            node: PathBuf::from(shown.text()),
            mount: folder.join("mnt"),
            file,
            folder: folder.to_owned(),
        };
        let name = device.node.to_string_lossy().into_owned();
        ensure!(name.starts_with("/dev/loop"), "losetup printed {name:?}");
        Ok(device)
    }

    /// Makes it as new: its file has no block any more.
    pub fn blank(&self) -> Result<()> {
        let bytes = fs::metadata(&self.file)?.len();
        let zero = || {
            Program::new("blkdiscard")
                .args(["--force", "--zeroout"])
                .arg(&self.node)
                .timeout(LIMIT)
        };
        // A mount that was copied into another process's view ends a moment after ours.
        for _ in 0..BUSY_TRIES {
            if zero().output()?.status == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        zero().run()?;
        Program::new("fallocate")
            .args(["--punch-hole", "--offset", "0", "--length", &bytes.to_string()])
            .arg(&self.file)
            .timeout(LIMIT)
            .run()
            .map(drop)
    }

    /// Makes ext4 as an install would.
    pub fn format(&self) -> Result<()> {
        Program::new("mkfs.ext4")
            .args(["-F", "-q", "-b", "4096", "-I", "256"])
            .args(["-O", "metadata_csum,metadata_csum_seed,64bit,^orphan_file"])
            .args(["-E", "lazy_itable_init=1,lazy_journal_init=0,nodiscard"])
            .arg(&self.node)
            .timeout(LIMIT)
            .run()
            .map(drop)
    }

    /// Mounts its filesystem.
    pub fn mounted(&self) -> Result<Mounted> {
        Mounted::new(&self.node, &self.mount, "noatime")
    }

    /// Everything is on the disk below: the device, and the file that it is made of.
    pub fn flush(&self) -> Result<()> {
        for path in [&self.node, &self.file] {
            let file = fs::File::open(path)?;
            file.sync_all()
                .with_context(|| format!("flush of {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Err(error) = undo(&self.folder) {
            eprintln!("{error:#}");
        }
    }
}

/// The file below a device, in its folder.
const FILE: &str = "target";

/// Unmounts what is mounted in a folder, detaches every loop device over its file, and removes the file.
pub fn undo(folder: &Path) -> Result<()> {
    let file = folder.join(FILE);
    if !file.exists() {
        return Ok(());
    }
    for place in ["mnt", "iso/nix/store", "squashfs"] {
        let place = folder.join(place);
        // Nothing is mounted there as a rule; then it says so.
        Program::new("umount").arg(&place).timeout(LIMIT).output()?;
    }
    let listed = Program::new("losetup")
        .args(["--noheadings", "--output", "NAME", "--associated"])
        .arg(&file)
        .run()?
        .text();
    for node in listed.lines().map(str::trim).filter(|node| !node.is_empty()) {
        Program::new("losetup")
            .args(["--detach", node])
            .timeout(LIMIT)
            .run()?;
    }
    fs::remove_file(file)?;
    Ok(())
}

/// Nothing of any file is in memory any more.
pub fn drop_caches() -> Result<()> {
    Program::new("sync").timeout(LIMIT).run()?;
    fs::write("/proc/sys/vm/drop_caches", "3")
        .context("dropping the page cache needs root: a benchmark with a warm one says nothing")
}
