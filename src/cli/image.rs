//! `landfall image`: makes, shows, checks and writes images of a root filesystem.
//!
//! It never writes to a device that is in use. It writes to a device that holds something only with `--erase`. The whole image is
//! checked before the first write.
//!
//! The format is in `image`. `landfall install` writes an image by itself if the configuration names one.

use super::image_record::{Saves, forget, recall};
use super::image_words::{Wrong, of_named};
use super::progress::on_stdout;
use super::{Failure, ProgressMode};
use crate::event::{Event, Reporter};
use crate::exit::Exit;
use crate::image::Error;
use crate::image::disk::FileDisk;
use crate::image::open::Opened;
use crate::image::verify::{begins, check, verify};
use crate::image::write::{Counts, Writer};
use crate::lock::target::TargetLock;
use crate::os_error::errno;
use crate::real::disk::blank::{Blankness, Extent, Look, Medium};
use crate::real::disk::disk_lock::{disks_below, loops_on, take_now};
use crate::real::disk::outside;
use crate::real::disk::{self, signature};
use crate::real::nix::pack::{Source, build};
use crate::real::process::context::CommandContext;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::io_fault;
use crate::real::volume::probe::probe;
use crate::real::volume::root_image::{self, open};
use crate::safe_open;
use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use fs_err as fs;
use landfall_states::Probe;
use landfall_states::fault::{DeviceFault, Fault, Kind, Remedy};
use landfall_states::image::ImageProgress;
use landfall_states::names::StorePath;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

/// What to do with images.
#[derive(Debug, Clone, Subcommand)]
pub enum ImageCommand {
    /// Build an image from the closure of a system
    ///
    /// This needs no root privileges, and mounts nothing. The same closure gives the same bytes. It needs mke2fs and e2fsck,
    /// nix-store unless --closure-info is given, and free space for twice the closure in the directory of the image.
    Build(BuildArgs),
    /// Show the contents of an image, from its manifest
    Info(InfoArgs),
    /// Read a whole image and check it; with --device, compare the device with it (valid until the device is mounted or changed)
    Verify(VerifyArgs),
    /// Write an image to a partition or a file, and verify it
    ///
    /// For rescue and measurements; `landfall install` does this by itself, with the ids of the install. The filesystem is
    /// written as it was built: use `resize2fs` to grow it, and `tune2fs -U` to change its id.
    Write(WriteArgs),
}

/// Arguments of `image build`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// Store path of the system
    #[arg(long, value_name = "STORE-PATH")]
    pub system: StorePath,
    /// The image file to write
    #[arg(long, short, value_name = "FILE")]
    pub out: Utf8PathBuf,
    /// Root of the Nix store that has the system
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub store: Utf8PathBuf,
    /// Output of nixpkgs' closureInfo: a directory with the files store-paths and registration [default: ask nix-store]
    #[arg(long, value_name = "DIR")]
    pub closure_info: Option<Utf8PathBuf>,
    /// Another file or directory, and its path in the image; can be given several times
    #[arg(long, value_name = "FILE=PATH", value_parser = addition)]
    pub add: Vec<(Utf8PathBuf, String)>,
    /// Compression level
    #[arg(long, value_name = "1-19", default_value_t = 9, value_parser = super::numbers::within::<i32, 1, 19>)]
    pub level: i32,
}

/// Arguments of `image info`.
#[derive(Debug, Clone, Args)]
pub struct InfoArgs {
    /// The image
    pub file: Utf8PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `image verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The image
    pub file: Utf8PathBuf,
    /// The partition or file that the image was written to
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<Utf8PathBuf>,
}

/// Arguments of `image write`.
#[derive(Debug, Clone, Args)]
pub struct WriteArgs {
    /// The image
    pub file: Utf8PathBuf,
    /// A partition, or a file in place of one
    pub device: Utf8PathBuf,
    /// Write even if the device is not empty; its contents are lost
    #[arg(long)]
    pub erase: bool,
    /// Do not verify the device by reading everything back
    #[arg(long)]
    pub no_verify: bool,
    /// Keep the progress in this file (on another disk), and continue from there after an interruption
    #[arg(long, value_name = "FILE")]
    pub resume: Option<Utf8PathBuf>,
    /// Number of threads that unpack [default: one for each processor, at most 8]
    #[arg(long, value_name = "1-8", value_parser = super::numbers::within::<u8, 1, 8>)]
    pub threads: Option<u8>,
    /// Print counts and times as one JSON object, instead of progress
    #[arg(long)]
    pub json: bool,
}

fn addition(text: &str) -> Result<(Utf8PathBuf, String), String> {
    match text.split_once('=') {
        Some((from, to))
            if to.starts_with('/') && !to.contains("/../") && !to.ends_with("/..") && !from.is_empty() =>
        {
            Ok((from.into(), to.to_owned()))
        }
        Some(_) | None => Err("give FILE=PATH, with an absolute path in the image".to_owned()),
    }
}

pub(super) fn command(command: &ImageCommand, out: &mut dyn Write) -> Result<Exit, Failure> {
    let done = match command {
        ImageCommand::Build(args) => make(args, out),
        ImageCommand::Info(args) => info(args, out),
        ImageCommand::Verify(args) => prove(args, out),
        ImageCommand::Write(args) => write(args, out),
    };
    done.map_err(Failure::from)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn reporter() -> Reporter {
    let reporter = Reporter::default();
    reporter.add(on_stdout(ProgressMode::Auto, false));
    reporter
}

fn make(args: &BuildArgs, out: &mut dyn Write) -> Result<Exit, Wrong> {
    let BuildArgs {
        system,
        out: file,
        store,
        closure_info,
        add,
        level,
    } = args;
    let source = Source {
        system: system.clone(),
        store: store.clone(),
        closure_info: closure_info.clone(),
        add: add.clone(),
        level: *level,
    };
    let place = store.join(system.as_str().trim_start_matches('/'));
    fs::symlink_metadata(&place).map_err(|e| {
        io_fault(format!("system {place}"), &e).with_next(Remedy::words(
            "name a system in this store (readlink -f RESULT, of the output of nix build), or the root of another store with --store",
        ))
    })?;
    // Before the closure is asked for, which takes its time.
    let folder = file.parent().filter(|folder| !folder.as_str().is_empty());
    let folder = folder.unwrap_or(Utf8Path::new("."));
    fs::metadata(folder).map_err(|e| io_fault(format!("folder {folder}"), &e))?;
    let context = CommandContext::new(reporter(), Stop::never());
    let packed = runtime()?
        .block_on(build(&context, &source, file))
        .map_err(|fault| of_named(fault, file))?;
    writeln!(
        out,
        "{file}: {} bytes, {} uncompressed in {} chunks, digest {}",
        packed.file_bytes, packed.plain_bytes, packed.chunks, packed.digest
    )?;
    Ok(Exit::Ok)
}

fn info(args: &InfoArgs, out: &mut dyn Write) -> Result<Exit, Wrong> {
    let InfoArgs { file, json } = args;
    let image = open(file)?;
    let said = image.manifest.summary(file.as_str(), &image.digest);
    if *json {
        let all = json!({
            "file": said.file,
            "digest": said.digest,
            "system": said.system,
            "file_bytes": image.file_bytes,
            "filesystem_bytes": said.filesystem_bytes,
            "plain_bytes": said.plain_bytes,
            "zero_bytes": image.manifest.zero_bytes(),
            "boot_bytes": said.boot_bytes,
            "chunks": said.chunks,
        });
        writeln!(out, "{all}")?;
        return Ok(Exit::Ok);
    }
    for (name, value) in [
        ("digest", said.digest.to_string()),
        ("system", said.system.to_string()),
        ("file", format!("{} bytes", image.file_bytes)),
        ("filesystem", format!("{} bytes", said.filesystem_bytes)),
        (
            "written",
            format!("{} bytes in {} chunks", said.plain_bytes, said.chunks),
        ),
        ("zeroed", format!("{} bytes", image.manifest.zero_bytes())),
        ("kernel and initrd", format!("{} bytes", said.boot_bytes)),
    ] {
        writeln!(out, "{name:<18} {value}")?;
    }
    Ok(Exit::Ok)
}

fn told<'a>(reporter: &'a Reporter, what: &'a str) -> impl Fn(u64, u64) + Sync + 'a {
    move |done, total| {
        reporter.tell(Event::Progress {
            what: what.to_owned(),
            done,
            total: Some(total),
            unit: "bytes".into(),
        });
    }
}

fn prove(args: &VerifyArgs, out: &mut dyn Write) -> Result<Exit, Wrong> {
    let VerifyArgs { file, device } = args;
    let image = open(file)?;
    let reporter = reporter();
    match device {
        None => {
            check(&image, &|| false, &told(&reporter, "read the image"))
                .map_err(|e| fault(&format!("image {file}"), e))?;
            writeln!(out, "{file}: whole, digest {}", image.digest)?;
        }
        Some(device) => {
            let what = format!("target {device}");
            safe_open::storage(device).map_err(|refused| refused.fault(what.as_str()))?;
            let disk = FileDisk::open_to_read(device).map_err(|e| io_fault(what.as_str(), &e))?;
            verify(
                &image,
                &disk,
                None,
                false,
                &|| false,
                &told(&reporter, "read the target"),
            )
            .map_err(|e| fault(&what, e))?;
            writeln!(out, "{device}: holds the image {}", image.digest)?;
        }
    }
    Ok(Exit::Ok)
}

fn write(args: &WriteArgs, out: &mut dyn Write) -> Result<Exit, Wrong> {
    let WriteArgs {
        file,
        device,
        erase,
        no_verify,
        resume,
        threads,
        json,
    } = args;
    let image = match threads {
        Some(threads) => open(file)?.with_threads(usize::from(*threads)),
        None => open(file)?,
    };
    let what = format!("target {device}");
    safe_open::storage(device).map_err(|refused| refused.fault(what.as_str()))?;
    let _taken = take_below(device)?;
    refuse_backing(device)?;
    let disk = FileDisk::open(device, true).map_err(|e| unopened(device, &e))?;
    let begun = match resume {
        Some(record) => begun(record, &image, &disk)?,
        None => None,
    };
    if !erase && begun.is_none() {
        refuse_full(device)?;
    }
    let from = begun.map_or(0, |image_progress| image_progress.chunks);
    let mut saves = Saves::new(resume.as_deref(), &image.digest);
    // Where none can be kept, that is said before the first write.
    saves.begin(from)?;
    let reporter = if *json { Reporter::default() } else { reporter() };
    let disk = Arc::new(disk);
    let started = Instant::now();
    let mut writer = Writer::new(&image, disk.clone(), None, from).map_err(|e| fault(&what, e))?;
    let tell = told(&reporter, "write the image");
    let total = image.manifest.plain_bytes();
    let ran = writer.run(
        &|| false,
        &mut |counts: Counts| tell(counts.done_bytes, total),
        &mut |chunks| saves.came_to(chunks),
    );
    if let Some(fault) = saves.failed.take() {
        return Err(fault.into());
    }
    ran.map_err(|e| fault(&what, e))?;
    let (counts, memory_bytes) = (writer.counts(), writer.memory_bytes());
    drop(writer);
    let write_s = started.elapsed().as_secs_f64();
    let repaired = if *no_verify {
        vec![]
    } else {
        repair(&image, &disk, &reporter).map_err(|e| fault(&what, e))?
    };
    let verify_s = started.elapsed().as_secs_f64() - write_s;
    // What is over is not gone on with: the device will be used now, and be another one's the next time.
    if let Some(record) = resume {
        forget(record)?;
    }
    let written = Written {
        image: &image,
        from,
        counts,
        saves: (saves.count, saves.took_us),
        memory_bytes,
        write_s,
        verify_s,
        repaired,
    };
    if *json {
        writeln!(out, "{}", written.as_json()?)?;
    } else {
        let proved = if *no_verify { "not read back" } else { "read back" };
        written.print(device, proved, out)?;
    }
    Ok(Exit::Ok)
}

/// Reads everything back. What differs is written again: which parts that were.
fn repair(image: &Opened, disk: &FileDisk, reporter: &Reporter) -> Result<Vec<String>, Error> {
    let told = told(reporter, "read the target");
    Ok(verify(image, disk, None, true, &|| false, &told)?.repaired)
}

/// What a write did.
struct Written<'a> {
    image: &'a Opened,
    from: u64,
    counts: Counts,
    /// How many, and how long they took together, in microseconds.
    saves: (u64, u64),
    memory_bytes: usize,
    write_s: f64,
    verify_s: f64,
    repaired: Vec<String>,
}

impl Written<'_> {
    fn as_json(&self) -> Result<serde_json::Value, Failure> {
        let counts = &self.counts;
        let (saves, save_us) = self.saves;
        Ok(json!({
            "digest": self.image.digest,
            "from_chunk": self.from,
            "chunks": self.image.chunks(),
            "written_bytes": counts.written_bytes,
            "found_bytes": counts.found_bytes,
            "zeroed_bytes": counts.zeroed_bytes,
            "discarded_bytes": counts.discarded_bytes,
            "flushes": counts.flushes,
            "flush_us": counts.flush_us,
            "saves": saves,
            "save_us": save_us,
            "buffer_bytes": self.memory_bytes,
            "peak_bytes": peak_bytes()?,
            "write_s": self.write_s,
            "verify_s": self.verify_s,
            "mended": self.repaired,
        }))
    }

    fn print(&self, device: &Utf8Path, proved: &str, out: &mut dyn Write) -> std::io::Result<()> {
        for part in &self.repaired {
            writeln!(out, "note: {part} read back wrong once and was written again")?;
        }
        let counts = &self.counts;
        writeln!(
            out,
            "{device}: {} bytes written, {} found there, {} zeroed, {proved}; image {}",
            counts.written_bytes, counts.found_bytes, counts.zeroed_bytes, self.image.digest
        )
    }
}

/// The disks below a device, held against an install, or another one of these, that may be at work on it, also by another name of
/// it. The kernel would only say that somebody is.
fn take_below(device: &Utf8Path) -> Result<Vec<TargetLock>, Wrong> {
    let below = disks_below(device).map_err(|e| io_fault(format!("target {device}").as_str(), &e))?;
    let mut taken = vec![];
    for disk in below {
        taken.push(take_now(&format!("target {disk}"), &disk).map_err(|fault| of_named(fault, &disk))?);
    }
    Ok(taken)
}

/// The most memory that this process ever had, in bytes, as the kernel counts it.
pub(super) fn peak_bytes() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/self/status")?;
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    kib.map(|kib| kib << 10)
        .ok_or_else(|| Failure::new(Exit::Internal, "/proc/self/status names no VmHWM"))
}

/// The fault that an error stands for, with what to do where no install is under way.
fn fault(what: &str, error: Error) -> Fault {
    let next = match &error {
        Error::TooSmall { .. } => {
            Some("name a larger target, or build an image of a smaller system (landfall image build)")
        }
        Error::SourceBytes { .. } | Error::SourceRead { .. } => {
            Some("copy the image to another medium, then: landfall image verify FILE")
        }
        Error::Target { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => {
            Some("free space where the target file is stored, then run the same command again")
        }
        _ => None,
    };
    let fault = root_image::fault(what, error);
    match next {
        Some(next) => fault.with_next(Remedy::words(next)),
        None => fault,
    }
}

/// Something on a device is not lost by a slip of the fingers.
fn refuse_full(device: &Utf8Path) -> Result<(), Wrong> {
    let occupied = |found: String| -> Result<(), Wrong> {
        Err(Fault::from(DeviceFault::Occupied {
            device: device.to_string(),
            found,
        })
        .into())
    };
    let seen = runtime()?.block_on(probe(device, &Reporter::default(), &Stop::never()))?;
    match seen {
        Probe::Blank => {}
        Probe::Found(_) | Probe::Ambiguous(_) => return occupied(seen.to_string()),
    }
    // That blkid knows nothing does not make it blank: an archive, or a volume without a header, has no signature.
    let size = disk::disk_image::size(device)?;
    let look = || {
        let named = safe_open::storage(device).map_err(|refused| refused.into_io(device))?;
        let mut file = fs::File::open(safe_open::through(&named))?;
        let mut found = vec![];
        let whole = signature::sniff(&mut file, 0, size)?;
        found.extend(signature::describe(&whole));
        let ahead = file.file().try_clone()?;
        let how = Look::new(Medium::of(file.file())?, size, 1).telling(Some(ahead));
        let looked = how.proof(&mut file, 0, size, Extent::Unlisted);
        if let (Blankness::Data(_), []) = (&looked, &found[..]) {
            let within = outside::recognised(&mut file, 0, size)?;
            found.extend(
                within
                    .iter()
                    .filter_map(|(at, what)| Some(format!("{} at byte {at}", signature::describe(what)?))),
            );
        }
        Ok((found, looked))
    };
    let looked: std::io::Result<_> = look();
    match looked.map_err(|e| disk::io_fault(format!("target {device}"), "read it", &e))? {
        (found, _) if !found.is_empty() => occupied(found.join(", ")),
        (_, Blankness::Blank | Blankness::BlankWhereRead) => Ok(()),
        (_, Blankness::Data(at)) => occupied(format!("data of an unknown kind, at byte {at}")),
        (_, Blankness::Unreadable(at, why)) => occupied(format!("it cannot be read at byte {at}: {why}")),
    }
}

/// Refuses a file that is behind a loop device: whoever uses that one would have its contents changed below it, and the kernel keeps
/// nobody from that.
fn refuse_backing(file: &Utf8Path) -> Result<(), Fault> {
    let what = format!("target {file}");
    let loops = loops_on(file).map_err(|e| io_fault(what.as_str(), &e))?;
    let Some(first) = loops.first() else {
        return Ok(());
    };
    Err(Fault::of(
        Kind::InUse {
            on: what,
            by: loops
                .iter()
                .map(|device| format!("{device} is made from it"))
                .collect(),
        },
        Remedy::words(format!(
            "name {first} instead; or unmount its filesystems (lsblk {first} lists them), run losetup -d {first}, and run the same command again"
        )),
    ))
}

/// Why a target cannot be opened. The kernel refuses a device to itself alone while somebody uses it.
fn unopened(device: &Utf8Path, error: &std::io::Error) -> Fault {
    let what = format!("target {device}");
    if errno(error) != Some(nix::libc::EBUSY) {
        return of_named(io_fault(what, error), device);
    }
    Fault::of(
        Kind::InUse {
            on: what,
            by: vec!["it is in use, or a partition of it is: mounted, mapped, as swap or in an array".into()],
        },
        Remedy::words(format!(
            "stop its use (lsblk {device} shows it: umount, swapoff, or close the mapping), then run the same command again"
        )),
    )
}

/// What a former run has kept of this image, where this is the device: a record does not say which one it is of, so the
/// first chunk has to be there.
fn begun(record: &Utf8Path, image: &Opened, disk: &FileDisk) -> Result<Option<ImageProgress>, Wrong> {
    let Some(image_progress) = recall(record)?.filter(|image_progress| image_progress.image == image.digest)
    else {
        return Ok(None);
    };
    let is_there = image_progress.chunks > 0
        && begins(image, disk).map_err(|e| fault(&format!("target {}", disk.path()), e))?;
    Ok(is_there.then_some(image_progress))
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
