//! `cargo lab measure`: what an install costs.
//!
//! The figures are counts of the kernel and of QEMU. Each is printed with its limit, and a figure over its limit is a
//! failure. The measured program is the released one, optimised. Times are not compared with other installers, because a
//! machine that emulates its processor cannot measure them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::closure::ClosureParams;
use crate::command::Program;
use crate::disk;
use crate::install::{CONFIG, Install, PATH, RUN_LIMIT};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;
use crate::slots;

/// Store paths of the closure that memory is measured with.
const PATHS: u32 = 2_000;
const RSS_KIB_MAX: u64 = 32 << 10;
/// An emulated processor takes its time over so many paths.
const COPY_LIMIT: Duration = Duration::from_secs(2_400);
/// Processor time from the start to the first question, in milliseconds of this computer's processor.
const START_MS_MAX: f64 = 1_000.0;
/// Work for a processor and nothing else, about half a second of it.
const LOOP: &str = "BEGIN { for (i = 0; i < 4000000; i++) x = (x * 31 + i) % 65521; print x }";

/// Runs the subcommand.
pub fn run() -> Result<ExitCode> {
    let mut big: ClosureParams = Layout::Plain.params().with_filler(PATHS, 4);
    big.host = "big".into();
    let kit = Kit::released(&[big])?;
    let mut figures = Figures { hold: true };
    memory_and_saves(&kit, &mut figures)?;
    start(&kit, &mut figures)?;
    println!(
        "measures: {}",
        if figures.hold {
            "1 passed, 0 failed"
        } else {
            "0 passed, 1 failed"
        }
    );
    Ok(if figures.hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What was measured so far.
struct Figures {
    /// Whether every figure is within its bar.
    hold: bool,
}

impl Figures {
    fn add(&mut self, what: &str, value: String, bar: &str, holds: bool) {
        self.hold &= holds;
        println!(
            "{:44} {value:>20}   {bar:24} {}",
            what,
            if holds { "ok" } else { "OVER" }
        );
    }
}

/// An install of many paths: its memory, and what its checkpoints write.
fn memory_and_saves(kit: &Kit, figures: &mut Figures) -> Result<()> {
    let mut install = Install::new(kit, "measure", Layout::Plain, Mode::Prebuilt)?.stay();
    let log = install.spec.folder.join("writes.log");
    install.spec.disks[0].write_log = Some(log.clone());
    let machine = install.start()?;
    let system = &kit
        .systems
        .get("big")
        .context("no system of 2,000 paths")?
        .toplevel;
    let text = kit
        .configuration(install.layout, &install.mode, &install.more)?
        .replace(&kit.system(install.layout)?.toplevel, system);
    machine.put(CONFIG, text.as_bytes())?;

    // The kernel keeps the high-water mark; the last look before the end is close enough to it, since it only grows.
    let watched = format!(
        "export PATH={PATH}; landfall --verbose install --config {CONFIG} --progress plain >/run/lab/out 2>&1 & p=$!; \
         while kill -0 $p 2>/dev/null; do grep VmHWM /proc/$p/status >>/run/lab/rss; sleep 1; done; wait $p; \
         s=$?; tail -1 /run/lab/rss; exit $s"
    );
    let ran = machine.run(&watched, COPY_LIMIT)?;
    ensure!(
        ran.status == 0,
        "landfall ended with {}: {}",
        ran.status,
        crate::install::text_of(&machine, "/run/lab/out")?
    );
    let rss: u64 = ran
        .text()
        .split_whitespace()
        .find_map(|w| w.parse().ok())
        .with_context(|| format!("no memory figure in {:?}", ran.text()))?;
    let output = crate::install::text_of(&machine, "/run/lab/out")?;
    machine.cut_power()?;
    figures.add(
        &format!("peak memory, {PATHS} paths"),
        format!("{rss} KiB"),
        "at most 32 MiB",
        rss <= RSS_KIB_MAX,
    );

    saves(&install, &log, &output, figures)
}

/// What checkpoints write, by the log of the disk's writes; `output` is what landfall said.
fn saves(install: &Install<'_>, log: &Path, output: &str, figures: &mut Figures) -> Result<()> {
    let entries = disk::write_log(log)?;
    let places: Vec<u64> = slots::find(&install.image)?
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    ensure!(places.len() == 2, "there are {} slots", places.len());
    // Behind the allocation, which zeroes both slots once, every write there is a save.
    let said = output.lines().filter(|l| l.contains("saved in slot")).count();
    let (mut saves, mut flushed) = (0, 0);
    let mut widest = 0;
    for (index, entry) in entries.iter().enumerate() {
        if !entry.is_write() || !places.contains(&entry.start) {
            continue;
        }
        saves += 1;
        widest = widest.max(entry.length);
        if entries[index + 1..]
            .iter()
            .find(|e| e.is_flush() || e.is_write())
            .is_some_and(|e| e.is_flush())
        {
            flushed += 1;
        }
    }
    let saves = saves.min(said + 2);
    figures.add(
        "checkpoint saves on the ESP",
        format!("{said}"),
        "as many as it said",
        said > 0 && saves >= said,
    );
    figures.add(
        "largest checkpoint write",
        format!("{widest} bytes"),
        "at most 4096 bytes",
        widest <= 4096,
    );
    figures.add(
        "saves followed at once by their flush",
        format!("{flushed} of {said}"),
        "all",
        flushed >= said,
    );
    Ok(())
}

/// Start to the first question, without anybody named in advance.
fn start(kit: &Kit, figures: &mut Figures) -> Result<()> {
    let asking = Install::new(kit, "measure-start", Layout::Plain, Mode::Prebuilt)?;
    let machine = asking.start()?;
    asking.configure(&machine, "")?;
    let before = slowdown(kit, &machine)?;
    let started = format!(
        "export PATH={PATH}; landfall install --config {CONFIG} --progress plain </dev/null >/run/lab/out 2>&1 & p=$!; \
         for i in $(seq 600); do grep -q 'asking:' /run/lab/out && break; sleep 0.1; done; \
         awk '{{print ($14+$15)*10, ($16+$17)*10}}' /proc/$p/stat; kill -TERM $p; wait $p; true"
    );
    let output = machine.run(&started, RUN_LIMIT)?.text();
    let mut printed = output.split_whitespace().filter_map(|w| w.parse::<u64>().ok());
    let (own_ms, children_ms) = (
        printed.next().context("no processor time")?,
        printed.next().context("no processor time of children")?,
    );
    // The smaller one is the stricter.
    let times = slowdown(kit, &machine)?.min(before);
    machine.cut_power()?;
    let own = own_ms as f64 / times;
    figures.add(
        "start to first question, landfall itself",
        format!("{own:.0} ms ({own_ms} / {times:.1})"),
        "at most 1000 ms",
        own <= START_MS_MAX,
    );
    figures.add(
        "  and the programs it ran",
        format!(
            "{:.0} ms ({children_ms} / {times:.1})",
            children_ms as f64 / times
        ),
        "told only",
        true,
    );
    Ok(())
}

/// How many times as long the machine's emulated processor takes for a loop as this computer's, by processor time of the
/// same program, now.
fn slowdown(kit: &Kit, machine: &Machine) -> Result<f64> {
    let here = Program::new(&kit.environment.busybox)
        .args(["time", "-f", "%U"])
        .arg(&kit.environment.busybox)
        .args(["awk", LOOP])
        .run()?;
    let there = machine.run(
        &format!("busybox time -f %U busybox awk '{LOOP}' 2>&1"),
        RUN_LIMIT,
    )?;
    let (here_s, there_s) = (last_number(&here.error_text())?, last_number(&there.text())?);
    ensure!(
        here_s > 0.0 && there_s >= here_s,
        "the loop took {here_s} s here and {there_s} s in the machine"
    );
    Ok(there_s / here_s)
}

fn last_number(text: &str) -> Result<f64> {
    text.split_whitespace()
        .last()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no number at the end of {text:?}"))
}
