//! Ways to land a closure on a device, landfall's and those of other programs.
//!
//! Each begins with a cold cache and a fresh device, and ends when everything is on the disk. Work that only one of them
//! needs (mkfs, registering) is in its time.
//!
//! `bench` prints the table.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use nix::libc;
use serde::Deserialize;

use super::content::Content;
use super::device::{Device, Mounted, drop_caches};
use super::throttle::Throttle;
use crate::command::Program;

/// The longest that one landing may take.
const LIMIT: Duration = Duration::from_secs(3 * 3_600);

/// Everything that is landed from, made once.
#[derive(Debug)]
pub struct Sources {
    /// The store.
    pub content: Content,
    /// landfall's image of it.
    pub image: PathBuf,
    /// The same filesystem as a compressed whole.
    pub whole: PathBuf,
    /// The store as a squashfs, with its registration.
    pub squashfs: PathBuf,
    /// Bytes that landfall writes.
    pub plain_bytes: u64,
    /// Chunks of them.
    pub chunks: u64,
    /// Bytes of the filesystem.
    pub filesystem_bytes: u64,
    /// Some of what it writes.
    pub sample: Sample,
    /// The released program.
    pub landfall: PathBuf,
    /// Scratch.
    pub folder: PathBuf,
}

/// What `landfall image write --json` says, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct Said {
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes found there.
    pub found_bytes: u64,
    /// Seconds of writing.
    pub write_s: f64,
    /// Microseconds of saving how far it came.
    pub save_us: u64,
    /// Peak resident memory in bytes.
    pub peak_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Info {
    plain_bytes: u64,
    chunks: u64,
    filesystem_bytes: u64,
}

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Raw,
    Landfall,
    LandfallVerified,
    NixCopy,
    NixosInstall,
    Cp,
    Tar,
    Unsquashfs,
    Zstdcat,
}

impl Way {
    pub const ALL: [Way; 9] = [
        Way::Raw,
        Way::Landfall,
        Way::LandfallVerified,
        Way::Zstdcat,
        Way::Unsquashfs,
        Way::Cp,
        Way::Tar,
        Way::NixCopy,
        Way::NixosInstall,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Way::Raw => "raw sequential write of the same bytes",
            Way::Landfall => "landfall, not read back",
            Way::LandfallVerified => "landfall, read back and checked",
            Way::NixCopy => "nix copy from a plain store",
            Way::NixosInstall => "nix-env --set from a mounted squashfs (nixos-install on an ISO)",
            Way::Cp => "cp -a, then nix-store --load-db",
            Way::Tar => "tar | tar, then nix-store --load-db",
            Way::Unsquashfs => "unsquashfs (zstd, 2 threads), then nix-store --load-db",
            Way::Zstdcat => "zstdcat > device",
        }
    }

    /// Lands once, on a disk of so many bytes a second where that is said; gives the seconds, and landfall's own words where it
    /// is landfall.
    pub fn land(
        self,
        sources: &Sources,
        device: &Device,
        bytes_per_s: Option<u64>,
    ) -> Result<(f64, Option<Said>)> {
        device.blank()?;
        // Those that copy files need a filesystem; mkfs is part of landing.
        drop_caches()?;
        let slower = bytes_per_s.map(|rate| Throttle::new(&device.node, rate));
        let _slower = slower.transpose()?.flatten();
        let began = Instant::now();
        let said = match self {
            Way::Raw => raw(sources, device).map(|()| None)?,
            Way::Landfall => Some(landfall(sources, device, false)?),
            Way::LandfallVerified => Some(landfall(sources, device, true)?),
            Way::Zstdcat => zstdcat(sources, device).map(|()| None)?,
            Way::NixCopy => on_ext4(device, |target| nix_copy(sources, target)).map(|()| None)?,
            Way::NixosInstall => on_ext4(device, |target| nixos_install(sources, target)).map(|()| None)?,
            Way::Cp => on_ext4(device, |target| {
                program("cp")
                    .arg("-a")
                    .arg(sources.content.root.join("nix"))
                    .arg(target)
                    .run()?;
                forget_database(target)?;
                load(sources, target)
            })
            .map(|()| None)?,
            Way::Tar => on_ext4(device, |target| {
                // The pipe is the peer.
                let line = "set -o pipefail; tar -C \"$0\" -cf - nix/store | tar -C \"$1\" -xpf -";
                program("bash")
                    .args(["-c", line])
                    .arg(&sources.content.root)
                    .arg(target)
                    .run()?;
                load(sources, target)
            })
            .map(|()| None)?,
            Way::Unsquashfs => on_ext4(device, |target| {
                program("unsquashfs")
                    .args(["-force", "-processors", "2", "-quiet", "-no-progress", "-dest"])
                    .arg(target)
                    .arg(&sources.squashfs)
                    .run()?;
                load(sources, target)
            })
            .map(|()| None)?,
        };
        device.flush()?;
        Ok((began.elapsed().as_secs_f64(), said))
    }
}

fn program(name: &str) -> Program {
    Program::new(name).timeout(LIMIT)
}

fn on_ext4(device: &Device, land: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    device.format()?;
    let mounted = device.mounted()?;
    land(&device.mount)?;
    mounted.end()
}

/// The same bytes, as far as a disk can tell them apart: a sample of them, over and over, without a cache, one flush at the end.
/// Zeros would not do: where a virtual disk leaves them out it is twice as fast.
pub fn raw(sources: &Sources, device: &Device) -> Result<()> {
    let target = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&device.node)?;
    let sample = sources.sample.bytes();
    let mut at = 0;
    while at < sources.plain_bytes {
        let from = usize::try_from(at % sample.len() as u64)?;
        let length = (sources.plain_bytes - at).min(WRITE_BYTES as u64) as usize;
        target.file().write_all_at(&sample[from..from + length], at)?;
        at += length as u64;
    }
    target.sync_data()?;
    Ok(())
}

/// Bytes of one write of the raw way.
const WRITE_BYTES: usize = 4 << 20;

/// Bytes at an address that direct output takes.
#[derive(Debug)]
pub struct Sample {
    memory: Vec<u8>,
    from: usize,
}

impl Sample {
    const BYTES: usize = 64 << 20;
    const PIECE_BYTES: usize = 1 << 20;
    const ALIGNMENT_BYTES: usize = 4_096;

    /// Pieces from everywhere on a device, but for those that are all zero.
    fn of(device: &Path, bytes: u64) -> Result<Sample> {
        let mut memory = vec![0; Self::BYTES + Self::ALIGNMENT_BYTES];
        let from = memory.as_ptr().align_offset(Self::ALIGNMENT_BYTES);
        let node = fs::File::open(device)?;
        let step = (bytes / (2 * Self::BYTES as u64)).max(1) * Self::PIECE_BYTES as u64;
        let mut filled = 0;
        let mut at = 0;
        while filled < Self::BYTES {
            let piece = &mut memory[from + filled..from + filled + Self::PIECE_BYTES];
            ensure!(
                at + Self::PIECE_BYTES as u64 <= bytes,
                "{} has {} MiB of content only: take a larger closure",
                device.display(),
                filled >> 20
            );
            node.file().read_exact_at(piece, at)?;
            if piece.iter().any(|byte| *byte != 0) {
                filled += Self::PIECE_BYTES;
            }
            at += step;
        }
        Ok(Sample { memory, from })
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + Self::BYTES]
    }
}

/// As `landfall install` does it, but for the ids.
fn landfall(sources: &Sources, device: &Device, verified: bool) -> Result<Said> {
    let said = write(
        sources,
        device,
        &[if verified { "--erase" } else { "--no-verify" }],
    )?;
    if verified {
        program("e2fsck").args(["-f", "-n"]).arg(&device.node).run()?;
    }
    program("resize2fs").arg("-f").arg(&device.node).run()?;
    program("tune2fs")
        .args(["-L", "root", "-U", "random"])
        .arg(&device.node)
        .run()?;
    let mounted = device.mounted()?;
    let list = device.mount.join("nix/var/landfall/registration");
    program("nix-store")
        .arg("--store")
        .arg(&device.mount)
        .arg("--load-db")
        .input_file(&list)
        .run()?;
    mounted.end()?;
    Ok(said)
}

/// `landfall image write`.
pub fn write(sources: &Sources, device: &Device, more: &[&str]) -> Result<Said> {
    let output = program(&sources.landfall.to_string_lossy())
        .args(["image", "write", "--json", "--erase"])
        .args(more.iter().filter(|arg| **arg != "--erase"))
        .arg(&sources.image)
        .arg(&device.node)
        .run()?;
    serde_json::from_str(&output.text()).context("what landfall image write printed")
}

fn zstdcat(sources: &Sources, device: &Device) -> Result<()> {
    // The pipe is the peer.
    let line = "set -o pipefail; zstdcat \"$0\" | dd of=\"$1\" bs=4M iflag=fullblock oflag=direct conv=fsync status=none";
    program("bash")
        .args(["-c", line])
        .arg(&sources.whole)
        .arg(&device.node)
        .run()
        .map(drop)
}

fn nix_copy(sources: &Sources, target: &Path) -> Result<()> {
    program("nix")
        .args([
            "--extra-experimental-features",
            "nix-command",
            "copy",
            "--no-check-sigs",
        ])
        .arg("--from")
        .arg(&sources.content.root)
        .arg("--to")
        .arg(target)
        .arg(&sources.content.system)
        .run()
        .map(drop)
}

/// An ISO has the store in a squashfs with a writable layer over it; Nix's database is made of its registration when it boots.
fn nixos_install(sources: &Sources, target: &Path) -> Result<()> {
    let (below, over) = sources.iso()?;
    let copied = program("nix-env")
        .arg("--store")
        .arg(target)
        // In this order: set as a whole, the list forgets what was added to it.
        .args(["--option", "substituters", ""])
        .args(["--option", "extra-substituters"])
        .arg(format!("{}?trusted=1", sources.folder.join("iso").display()))
        .args(["--option", "require-sigs", "false"])
        .arg("-p")
        .arg(target.join("nix/var/nix/profiles/system"))
        .args(["--set", &sources.content.system])
        .run();
    over.end()?;
    below.end()?;
    copied.map(drop)
}

fn load(sources: &Sources, target: &Path) -> Result<()> {
    program("nix-store")
        .arg("--store")
        .arg(target)
        .arg("--load-db")
        .input_file(&sources.content.root.join("registration"))
        .run()
        .map(drop)
}

fn forget_database(target: &Path) -> Result<()> {
    fs::remove_dir_all(target.join("nix/var/nix/db"))?;
    Ok(())
}

impl Sources {
    /// Makes everything that is landed from; for landfall and the raw write alone only what they need.
    pub fn make(
        folder: &Path,
        content: Content,
        landfall: &Path,
        level: Option<u8>,
        alone: bool,
    ) -> Result<Sources> {
        let image = folder.join("root.image");
        program(&landfall.to_string_lossy())
            .args(["image", "build", "--system", &content.system])
            .args(level.map(|level| format!("--level={level}")))
            .arg("--store")
            .arg(&content.root)
            .arg("--out")
            .arg(&image)
            .run()?;
        let info = program(&landfall.to_string_lossy())
            .args(["image", "info", "--json"])
            .arg(&image)
            .run()?;
        let info: Info = serde_json::from_str(&info.text()).context("what landfall image info printed")?;
        // The filesystem as others would carry it: all of it, holes as zeros, in one stream.
        let plain = folder.join("plain");
        fs::File::create(&plain)?.set_len(info.filesystem_bytes)?;
        program(&landfall.to_string_lossy())
            .args(["image", "write", "--erase", "--no-verify", "--json"])
            .arg(&image)
            .arg(&plain)
            .run()?;
        let sample = Sample::of(&plain, info.filesystem_bytes)?;
        let sources = Sources {
            content,
            image,
            whole: folder.join("whole.zst"),
            squashfs: folder.join("store.squashfs"),
            plain_bytes: info.plain_bytes,
            chunks: info.chunks,
            filesystem_bytes: info.filesystem_bytes,
            sample,
            landfall: landfall.to_owned(),
            folder: folder.to_owned(),
        };
        if !alone {
            sources.pack(&plain)?;
        }
        fs::remove_file(&plain)?;
        Ok(sources)
    }

    /// What others land from.
    fn pack(&self, plain: &Path) -> Result<()> {
        program("zstd")
            .args(["-3", "-T0", "-q", "-f", "-o"])
            .arg(&self.whole)
            .arg(plain)
            .run()?;
        program("mksquashfs")
            .directory(&self.content.root)
            .arg("nix/store")
            .arg(&self.squashfs)
            .args([
                "-comp",
                "zstd",
                "-Xcompression-level",
                "6",
                "-no-progress",
                "-quiet",
                "-noappend",
            ])
            .args(["-no-strip", "-root-mode", "0755"])
            .run()?;
        self.load_iso_state()
    }

    /// The store of an ISO, mounted: the squashfs, and the layer over it.
    fn iso(&self) -> Result<(Mounted, Mounted)> {
        let mount = self.folder.join("squashfs");
        let below = Mounted::new(&self.squashfs, &mount, "loop,ro")?;
        let store = mount.join("nix/store");
        ensure!(store.is_dir(), "the squashfs has no nix/store");
        let over = Mounted::overlay(
            &store,
            &self.folder.join("iso-layer"),
            &self.folder.join("iso/nix/store"),
        )?;
        Ok((below, over))
    }

    /// The database of an ISO: made of the registration when it boots, which is not part of landing.
    fn load_iso_state(&self) -> Result<()> {
        let (below, over) = self.iso()?;
        let loaded = program("nix-store")
            .arg("--store")
            .arg(self.folder.join("iso"))
            .arg("--load-db")
            .input_file(&self.content.root.join("registration"))
            .run();
        over.end()?;
        below.end()?;
        loaded.map(drop)
    }
}
