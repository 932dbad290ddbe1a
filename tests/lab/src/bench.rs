//! `cargo lab bench`: how long it takes to land a closure, compared with other programs.
//!
//! Every program lands the same content, in the same run, in turns, with a cold cache, on ext4 (or the bare device) of a
//! fresh loop device, until everything is flushed. The results are medians, and every limit is printed with what it is
//! compared with. It runs on this computer, as root, without a machine, and writes to files in one folder only.
//!
//! `bench::flash` measures sticks.

mod content;
mod device;
mod flash;
mod peers;
mod throttle;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use fs_err as fs;

use crate::cache::Cache;
use crate::command::Program;
use crate::scenarios::image_cuts::durable;
use device::{Device, drop_caches};
use peers::{Said, Sources, Way};
use throttle::Throttle;

/// landfall's memory, in bytes.
const PEAK_BYTES_MAX: u64 = 128 << 20;
/// The disk of the bar against a raw write, in bytes a second: one that takes 270 MiB/s. What is faster than two processors can
/// unpack and hash is a bar for the processors.
const REFERENCE_BYTES_PER_S: u64 = 270 << 20;
/// landfall's speed against the raw write's, at least.
const OF_RAW_MIN: f64 = 0.8;
/// Building landfall from nothing, on a slow computer.
const BUILD_LIMIT: Duration = Duration::from_secs(3_600);
/// The longest that a landing which is killed may run.
const KILLED_LIMIT: Duration = Duration::from_secs(3_600);
/// What may be written and not yet recorded, in seconds of writing: since the last record, and the two parts that are not flushed.
const UNRECORDED_S: f64 = 1.8;

/// What is measured.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// Landing a closure made of this computer's packages
    Closure(Closure),
    /// Writing an image to a stick, beside dd
    Flash(flash::Flash),
}

/// Arguments of `bench closure`.
#[derive(Debug, Clone, Args)]
pub struct Closure {
    /// Sizes of the closure in GiB; several, with commas between, also show how time grows
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "6", value_parser = gibibytes)]
    pub gib: Vec<f64>,
    /// Instead of whole packages so many files of about one size; several show whether their number counts
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..))]
    pub files: Vec<u64>,
    /// Rounds of every way
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub runs: usize,
    /// Only landfall and the raw write, for growth
    #[arg(long)]
    pub alone: bool,
    /// Level of compression of the image, from 1 to 19; without it landfall's own
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=19))]
    pub level: Option<u8>,
    /// Where everything is made; it takes about six times the closure
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// This landfall instead of one that is built
    #[arg(long, value_name = "FILE")]
    pub landfall: Option<PathBuf>,
}

/// A size that a disk can have.
fn gibibytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(size) if size > 0.0 && size <= 4_096.0 => Ok(size),
        Ok(_) | Err(_) => Err("a size is more than 0 and at most 4096".to_owned()),
    }
}

/// Runs it.
pub fn run(what: &What) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "loop devices and a cold cache need root: start cargo lab bench as root"
    );
    match what {
        What::Closure(closure) => run_closure(closure),
        What::Flash(flash) => flash::run(flash),
    }
}

fn run_closure(closure: &Closure) -> Result<ExitCode> {
    let landfall = match &closure.landfall {
        Some(path) => path.clone(),
        None => built()?,
    };
    let folder = match &closure.folder {
        Some(folder) => folder.clone(),
        None => Cache::open()?.root.join("bench"),
    };
    let mut table = Table::default();
    let mut growth = Vec::new();
    let files: Vec<Option<u64>> = if closure.files.is_empty() {
        vec![None]
    } else {
        closure.files.iter().copied().map(Some).collect()
    };
    for gib in &closure.gib {
        for files in &files {
            let one = measure(closure, &folder, &landfall, (*gib, *files), &mut table)
                .with_context(|| format!("in {}", folder.display()));
            // Gigabytes are not left behind, neither after a failure.
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            growth.push(one?);
        }
    }
    table.growth(&growth);
    Ok(if table.over {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn built() -> Result<PathBuf> {
    let workspace = Cache::open()?.workspace;
    Program::new("cargo")
        .args(["build", "--release", "--package", "landfall"])
        .directory(&workspace)
        .timeout(BUILD_LIMIT)
        .run()?;
    Ok(workspace.join("target/release/landfall"))
}

/// How landfall fared with one content.
struct Grown {
    /// What was asked for: contents that differ in one of the two are held against each other.
    asked_gib: f64,
    asked_files: Option<u64>,
    /// What it was: bytes of files.
    gib: f64,
    files: u64,
    seconds: f64,
    /// Of the raw write: how even the disk itself is.
    raw_seconds: f64,
}

/// Time per GiB of content may differ by so much between sizes.
const SIZES_SPREAD_MAX: f64 = 0.15;
/// Time may differ by so much between numbers of files of the same content.
const FILES_SPREAD_MAX: f64 = 0.10;

/// Everything about one content; of several what their sizes may change.
fn measure(
    closure: &Closure,
    folder: &Path,
    landfall: &Path,
    (gib, files): (f64, Option<u64>),
    table: &mut Table,
) -> Result<Grown> {
    // What a killed benchmark left would be mixed with what is made now.
    device::undo(folder)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    // A float of GiB: whole bytes are near enough.
    let bytes = (gib * f64::from(1 << 30)) as u64;
    let content = content::make(&folder.join("store"), bytes, files)?;
    println!(
        "{} store paths, {} files, {:.2} GiB",
        content.paths,
        content.files,
        as_gib(content.bytes)
    );
    let sources = Sources::make(folder, content, landfall, closure.level, closure.alone)?;
    let filesystem_bytes = sources.filesystem_bytes;
    println!(
        "image {:.2} GiB, of it written {:.2} GiB\n",
        as_gib(fs::metadata(&sources.image)?.len()),
        as_gib(sources.plain_bytes)
    );
    // A file-level copy needs more room than the image, which is as small as can be.
    let device = Device::new(folder, filesystem_bytes + filesystem_bytes / 2 + (1 << 30))?;
    let ways: Vec<Way> = Way::ALL
        .into_iter()
        .filter(|way| !closure.alone || matches!(way, Way::Raw | Way::Landfall | Way::LandfallVerified))
        .collect();
    // Growth is told of a disk that is even.
    let several = closure.gib.len().max(closure.files.len()) > 1;
    let bytes_per_s = several.then_some(REFERENCE_BYTES_PER_S);
    let mut times: Vec<(Way, Vec<f64>)> = ways.iter().map(|way| (*way, vec![])).collect();
    let mut peak = 0;
    let mut writing = Vec::new();
    for _ in 0..closure.runs {
        for (way, seconds) in &mut times {
            let (took, said) = way
                .land(&sources, &device, bytes_per_s)
                .with_context(|| way.name().to_owned())?;
            seconds.push(took);
            if let Some(said) = said {
                peak = peak.max(said.peak_bytes);
                if *way == Way::Landfall {
                    writing.push(said.write_s);
                }
            }
        }
    }
    let medians: Vec<(Way, f64)> = times.into_iter().map(|(way, all)| (way, median(all))).collect();
    table.ways(&medians, median(writing), sources.plain_bytes);
    table.row(
        "landfall's peak memory",
        format!("{:.0} MiB", peak as f64 / f64::from(1 << 20)),
        "128 MiB",
        peak <= PEAK_BYTES_MAX,
    );
    device.blank()?;
    let many = peers::write(&sources, &device, &["--threads", "8"])?.peak_bytes;
    table.row(
        "with the threads of a large computer (8), read back",
        format!("{:.0} MiB", many as f64 / f64::from(1 << 20)),
        "128 MiB",
        many <= PEAK_BYTES_MAX,
    );
    if !several {
        let beside = |slowed| beside_raw(&sources, &device, closure.runs, slowed);
        table.against_raw(beside(false)?, beside(true)?, sources.plain_bytes);
        cuts(&sources, &device, table)?;
    }
    let raw_seconds = of(&medians, Way::Raw).unwrap_or_default();
    let seconds = of(&medians, Way::LandfallVerified).unwrap_or_default();
    Ok(Grown {
        asked_gib: gib,
        asked_files: files,
        gib: as_gib(sources.content.bytes),
        files: sources.content.files,
        seconds,
        raw_seconds,
    })
}

/// The raw write and landfall's writing and flushing, in seconds, by turns.
struct BesideRaw {
    raw: f64,
    writing: f64,
}

/// On a slower disk and with a cold cache, where `slowed`; nothing where the kernel cannot slow one down. Else on the disk as it is,
/// with the image in memory: its file lies on the same disk, and what is read from there beside the writing is no raw write's.
fn beside_raw(sources: &Sources, device: &Device, rounds: usize, slowed: bool) -> Result<Option<BesideRaw>> {
    let (mut raw, mut writing) = (Vec::new(), Vec::new());
    let prepared = || -> Result<Option<Throttle>> {
        device.blank()?;
        drop_caches()?;
        if slowed {
            return Throttle::new(&device.node, REFERENCE_BYTES_PER_S);
        }
        std::io::copy(&mut fs::File::open(&sources.image)?, &mut std::io::sink())?;
        Ok(None)
    };
    for _ in 0..rounds {
        let slower = prepared()?;
        if slowed && slower.is_none() {
            return Ok(None);
        }
        let began = Instant::now();
        peers::raw(sources, device)?;
        raw.push(began.elapsed().as_secs_f64());
        drop(slower);
        let slower = prepared()?;
        writing.push(peers::write(sources, device, &["--no-verify"])?.write_s);
        drop(slower);
    }
    Ok(Some(BesideRaw {
        raw: median(raw),
        writing: median(writing),
    }))
}

fn as_gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn of(medians: &[(Way, f64)], way: Way) -> Option<f64> {
    medians.iter().find(|(other, _)| *other == way).map(|(_, s)| *s)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => all[odd / 2],
        even => (all[even / 2 - 1] + all[even / 2]) / 2.0,
    }
}

/// Kills landfall at a quarter, a half and three quarters, and lets it go on.
fn cuts(sources: &Sources, device: &Device, table: &mut Table) -> Result<()> {
    let record = sources.folder.join("how-far");
    let uncut = |record: &Path| -> Result<Said> {
        device.blank()?;
        forget(record)?;
        drop_caches()?;
        peers::write(
            sources,
            device,
            &["--resume", &record.to_string_lossy(), "--no-verify"],
        )
    };
    let said = uncut(&record)?;
    let cost = said.save_us as f64 / 1e6 / said.write_s;
    table.row(
        "keeping and syncing the record, flushes of the device not counted",
        format!("{:.2} %", cost * 100.0),
        "under 1 %",
        cost < 0.01,
    );
    let digest = device_digest(device)?;
    let interval = (said.written_bytes as f64 / said.write_s * UNRECORDED_S) as u64;
    for percent in [25_u64, 50, 75] {
        device.blank()?;
        forget(&record)?;
        drop_caches()?;
        let latest = Duration::from_secs_f64(said.write_s * percent as f64 / 100.0);
        killed(sources, device, &record, percent, latest)?;
        let rest = peers::write(
            sources,
            device,
            &["--resume", &record.to_string_lossy(), "--no-verify"],
        )?;
        // A kill loses nothing that was written: what was not yet recorded is found there and only read again.
        let again = rest.found_bytes;
        table.row(
            &format!("killed at {percent} %: written, not recorded, found"),
            format!("{:.0} MiB", again as f64 / f64::from(1 << 20)),
            &format!("what {UNRECORDED_S} s write"),
            again <= interval.max(64 << 20),
        );
        let same = device_digest(device)? == digest;
        table.row(
            &format!("killed at {percent} %: the device at the end"),
            if same { "equal".into() } else { "another".into() },
            "the uncut one's",
            same,
        );
    }
    Ok(())
}

/// A run that was killed before its first flush has left no record.
fn forget(record: &Path) -> Result<()> {
    if record.exists() {
        fs::remove_file(record)?;
    }
    Ok(())
}

/// Starts, and kills once so much is recorded, or so much time has gone by: a record is not saved all the time.
fn killed(sources: &Sources, device: &Device, record: &Path, percent: u64, latest: Duration) -> Result<()> {
    let began = Instant::now();
    let mut child = std::process::Command::new(&sources.landfall)
        .args(["image", "write", "--json", "--erase", "--no-verify", "--resume"])
        .arg(record)
        .arg(&sources.image)
        .arg(&device.node)
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let mut outcome = Err(anyhow!(
        "{percent} % were not reached in {} s",
        KILLED_LIMIT.as_secs()
    ));
    while began.elapsed() < KILLED_LIMIT {
        if child.try_wait()?.is_some() {
            bail!("landfall was done before it could be killed; take a larger closure");
        }
        // Before its first flush there is none.
        let chunks = fs::read_to_string(record).map_or(0, |text| durable(&text));
        if chunks * 100 >= sources.chunks * percent || began.elapsed() >= latest {
            outcome = Ok(());
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    outcome
}

/// SHA-256 of the whole device.
fn device_digest(device: &Device) -> Result<String> {
    device.flush()?;
    Ok(Program::new("sha256sum")
        .arg(&device.node)
        .timeout(KILLED_LIMIT)
        .run()?
        .text())
}

/// What is printed.
#[derive(Debug, Default)]
struct Table {
    over: bool,
}

impl Table {
    fn row(&mut self, what: &str, value: String, bar: &str, holds: bool) {
        self.over |= !holds;
        println!(
            "{what:<64} {value:>16}   {bar:<28} {}",
            if holds { "ok" } else { "MISSED" }
        );
    }

    /// `writing` is landfall's time until all is written and flushed: what a raw write is held against. Growing and registering
    /// come on top, in every other row.
    fn ways(&mut self, medians: &[(Way, f64)], writing: f64, bytes: u64) {
        println!("{:<64} {:>10} {:>10}", "way", "median", "MiB/s");
        let mib = bytes as f64 / f64::from(1 << 20);
        println!(
            "{:<64} {writing:>8.2} s {:>10.0}",
            "landfall, writing and flushing alone",
            mib / writing
        );
        for (way, seconds) in medians {
            println!("{:<64} {seconds:>8.2} s {:>10.0}", way.name(), mib / seconds);
        }
        println!();
        let (Some(plain), Some(verified)) = (of(medians, Way::Landfall), of(medians, Way::LandfallVerified))
        else {
            return;
        };
        let mut bar = |what: &str, other: Way, mine: f64, wanted: f64| {
            if let Some(seconds) = of(medians, other) {
                let times = seconds / mine;
                self.row(
                    what,
                    format!("{times:.2} times"),
                    &format!("at least {wanted}"),
                    times >= wanted,
                );
            }
        };
        bar("faster than nix copy, not read back", Way::NixCopy, plain, 3.0);
        bar("faster than nix copy, read back", Way::NixCopy, verified, 2.0);
        bar(
            "faster than nixos-install on an ISO, read back",
            Way::NixosInstall,
            verified,
            5.0,
        );
        for other in [Way::Cp, Way::Tar, Way::Unsquashfs, Way::Zstdcat] {
            bar(&format!("faster than {}", other.name()), other, plain, 1.0);
        }
    }

    /// Held on the slower disk; told of this one, whose speed may be more than the processors'.
    fn against_raw(&mut self, here: Option<BesideRaw>, slowed: Option<BesideRaw>, bytes: u64) {
        let mib = |seconds: f64| bytes as f64 / f64::from(1 << 20) / seconds;
        if let Some(BesideRaw { raw, writing }) = here {
            println!(
                "beside the raw write, this disk, the image in memory: {:.0} of {:.0} MiB/s, {:.2} times",
                mib(writing),
                mib(raw),
                raw / writing
            );
        }
        let what = format!(
            "as fast as the raw write, on a disk of {} MiB/s",
            REFERENCE_BYTES_PER_S >> 20
        );
        let bar = format!("at least {OF_RAW_MIN}");
        match slowed {
            Some(BesideRaw { raw, writing }) => {
                let times = raw / writing;
                let value = format!("{times:.2} ({:.0} of {:.0})", mib(writing), mib(raw));
                self.row(&what, value, &bar, times >= OF_RAW_MIN);
            }
            None => self.row(&what, "no such disk".to_owned(), &bar, false),
        }
    }

    fn growth(&mut self, all: &[Grown]) {
        if all.len() < 2 {
            return;
        }
        println!();
        for one in all {
            println!(
                "{:>8.2} GiB in {:>9} files: {:>8.2} s, {:.2} s per GiB; raw write {:.2} s per GiB",
                one.gib,
                one.files,
                one.seconds,
                one.seconds / one.gib,
                one.raw_seconds / one.gib
            );
        }
        // Each group once: at its first member.
        for (index, one) in all.iter().enumerate() {
            let sizes = |other: &&Grown| other.asked_files == one.asked_files;
            if all.iter().position(|other| sizes(&other)) == Some(index) {
                let each: Vec<f64> = all.iter().filter(sizes).map(|s| s.seconds / s.gib).collect();
                self.spread("seconds per GiB of content, sizes", &each, SIZES_SPREAD_MAX);
            }
            let files = |other: &&Grown| other.asked_gib == one.asked_gib;
            if all.iter().position(|other| files(&other)) == Some(index) {
                let each: Vec<f64> = all.iter().filter(files).map(|s| s.seconds).collect();
                let what = format!("seconds for {} GiB, numbers of files", one.asked_gib);
                self.spread(&what, &each, FILES_SPREAD_MAX);
            }
        }
    }

    /// The largest over the smallest; nothing where there is one only.
    fn spread(&mut self, what: &str, seconds: &[f64], most: f64) {
        if seconds.len() < 2 {
            return;
        }
        let (low, high) = seconds
            .iter()
            .fold((f64::MAX, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
        let spread = high / low - 1.0;
        self.row(
            &format!("{what}: largest over smallest"),
            format!("{:.0} % more", spread * 100.0),
            &format!("{:.0} %", most * 100.0),
            spread <= most,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_bar_that_is_missed_is_told() {
        let mut table = Table::default();
        table.row("x", "1".into(), "2", true);
        assert!(!table.over);
        table.row("x", "1".into(), "2", false);
        assert!(table.over);
    }

    #[test]
    fn sizes_are_held_by_the_gib_and_numbers_of_files_by_the_time() {
        let over = |all: &[(f64, u64, f64)]| {
            let grown: Vec<Grown> = all
                .iter()
                .map(|&(gib, files, seconds)| Grown {
                    asked_gib: gib,
                    asked_files: Some(files),
                    gib,
                    files,
                    seconds,
                    raw_seconds: 1.0,
                })
                .collect();
            let mut table = Table::default();
            table.growth(&grown);
            table.over
        };
        assert!(!over(&[(1.0, 10, 2.0), (16.0, 10, 36.0)]), "12 % by the GiB");
        assert!(over(&[(1.0, 10, 2.0), (16.0, 10, 38.0)]), "19 % by the GiB");
        assert!(!over(&[(4.0, 10, 10.0), (4.0, 1_000, 10.9)]), "9 % of the time");
        assert!(over(&[(4.0, 10, 10.0), (4.0, 1_000, 11.2)]), "12 % of the time");
        // Of what differs in both nothing is said.
        assert!(!over(&[(1.0, 10, 2.0), (4.0, 1_000, 30.0)]));
    }
}
