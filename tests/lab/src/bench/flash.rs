//! `cargo lab bench flash`: how fast `landfall flash` writes, compared with `dd oflag=direct`.
//!
//! Both write the same bytes to the same device in the same run, in turns, with the image in memory, until everything is
//! flushed. Of landfall, the time of its own writing counts, including wiping and flushing; reading back is reported
//! separately. Real sticks are slower than all of it: the check is that a stick never waits for landfall.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fs_err as fs;

use super::device::{self, Device, drop_caches};
use super::throttle::Throttle;
use super::{REFERENCE_BYTES_PER_S, Table, built, median};
use crate::cache::Cache;
use crate::command::Program;

/// landfall's speed against dd's, at least.
const OF_DD_MIN: f64 = 0.9;
/// landfall's memory, in bytes.
const PEAK_BYTES_MAX: u64 = 64 << 20;
/// What the stick has more than the image.
const ROOM_BYTES: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(900);

/// Arguments of `bench flash`.
#[derive(Debug, Clone, Args)]
pub struct Flash {
    /// Size of the image in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    pub mib: u64,
    /// Pairs of one write each
    #[arg(long, default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub runs: usize,
    /// Where everything is made; it takes twice the image
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// This landfall instead of one that is built
    #[arg(long, value_name = "FILE")]
    pub landfall: Option<PathBuf>,
}

/// Runs it.
pub fn run(flash: &Flash) -> Result<ExitCode> {
    let landfall = match &flash.landfall {
        Some(path) => path.clone(),
        None => built()?,
    };
    let folder = match &flash.folder {
        Some(folder) => folder.clone(),
        None => Cache::open()?.root.join("bench-flash"),
    };
    device::undo(&folder)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut table = Table::default();
    let done = measure(flash, &folder, &landfall, &mut table);
    fs::remove_dir_all(&folder)?;
    done?;
    Ok(if table.over {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn measure(flash: &Flash, folder: &Path, landfall: &Path, table: &mut Table) -> Result<()> {
    let bytes = flash.mib << 20;
    let image = folder.join("image.raw");
    let mut random = fs::File::open("/dev/urandom")?.take(bytes);
    std::io::copy(&mut random, &mut fs::File::create(&image)?)?;
    let device = Device::new(folder, bytes + ROOM_BYTES)?;
    let mut peak = 0;
    for slowed in [true, false] {
        let (mut dd, mut writing, mut verifying) = (vec![], vec![], vec![]);
        let mut ratios = vec![];
        let mut can_slow = true;
        for pair in 0..flash.runs {
            device.blank()?;
            drop_caches()?;
            // Read once: what is measured is the stick, and not the disk that has the image.
            std::io::copy(&mut fs::File::open(&image)?, &mut std::io::sink())?;
            let slower = slowed
                .then(|| Throttle::new(&device.node, REFERENCE_BYTES_PER_S))
                .transpose()?;
            can_slow = !matches!(slower, Some(None));
            if !can_slow {
                break;
            }
            // Who is first is so by turns.
            let mut by_dd = None;
            if pair % 2 == 0 {
                by_dd = Some(copied(&image, &device)?);
            }
            let said = flashed(landfall, folder, &image, &device)?;
            let by_dd = by_dd.map_or_else(|| copied(&image, &device), Ok)?;
            ratios.push(by_dd / said.write_s);
            dd.push(by_dd);
            writing.push(said.write_s);
            verifying.push(said.verify_s);
            peak = peak.max(said.peak_bytes);
            same(&image, &device, bytes)?;
        }
        let what = if slowed {
            "on a disk of 270 MiB/s"
        } else {
            "on the disk as it is"
        };
        if !can_slow {
            table.row(
                &format!("{what}: this kernel slows none down"),
                String::new(),
                "",
                false,
            );
            continue;
        }
        let rate = |seconds: f64| flash.mib as f64 / seconds;
        println!(
            "{what}: dd {:.0} MiB/s, landfall writes {:.0} MiB/s and reads back {:.0} MiB/s (medians of {})",
            rate(median(dd)),
            rate(median(writing)),
            rate(median(verifying)),
            flash.runs
        );
        let ratio = median(ratios);
        let bar = if slowed { "at least 0.9" } else { "no bar" };
        table.row(
            &format!("landfall's speed against dd oflag=direct, {what}"),
            format!("{ratio:.3}"),
            bar,
            !slowed || ratio >= OF_DD_MIN,
        );
    }
    table.row(
        "landfall's peak memory",
        format!("{:.0} MiB", peak as f64 / f64::from(1 << 20)),
        "at most 64 MiB",
        peak <= PEAK_BYTES_MAX,
    );
    Ok(())
}

fn copied(image: &Path, device: &Device) -> Result<f64> {
    let began = Instant::now();
    Program::new("dd")
        .arg(format!("if={}", image.display()))
        .arg(format!("of={}", device.node.display()))
        .args(["bs=4M", "oflag=direct", "conv=fsync", "status=none"])
        .timeout(LIMIT)
        .run()?;
    Ok(began.elapsed().as_secs_f64())
}

/// What landfall says of itself.
struct Said {
    write_s: f64,
    verify_s: f64,
    peak_bytes: u64,
}

fn flashed(landfall: &Path, folder: &Path, image: &Path, device: &Device) -> Result<Said> {
    let ran = Program::new(landfall)
        .arg("flash")
        .arg(image)
        .arg(&device.node)
        .args(["--yes", "--json", "--no-eject"])
        .env("XDG_STATE_HOME", folder.join("state"))
        .timeout(LIMIT)
        .run()?;
    let text = ran.text();
    let last = text.lines().last().context("landfall said nothing")?;
    let told: serde_json::Value = serde_json::from_str(last).context("landfall's last line")?;
    let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name}: {told}"));
    Ok(Said {
        write_s: number("write_s")?,
        verify_s: number("verify_s")?,
        peak_bytes: told["peak_bytes"].as_u64().context("no peak_bytes")?,
    })
}

/// The device has the image: who writes nothing is fast.
fn same(image: &Path, device: &Device, bytes: u64) -> Result<()> {
    let compared = Program::new("cmp")
        .arg("--bytes")
        .arg(bytes.to_string())
        .arg(image)
        .arg(&device.node)
        .timeout(LIMIT)
        .output()?;
    ensure!(compared.status == 0, "the device does not have the image");
    std::io::stdout().flush()?;
    Ok(())
}
