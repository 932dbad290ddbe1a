//! `cargo lab conformance`: every crash state of a recorded install, judged by landfall itself.
//!
//! The recording is QEMU's, of a real kernel and real tools. A crash state is what a disk may hold after losing its power at
//! that point, by the rules of a volatile write cache: everything up to the last flush, and any part of what came after it.
//! What is claimed about a state is claimed by landfall's own reading of it (`landfall plan --disk-image`), never by a model.
//!
//! A machine whose QEMU is killed shows only prefixes; this shows the subsets as well. Only a sample of the states is put
//! into a machine and landed from.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use serde::Deserialize;

use crate::command::Program;
use crate::decisions::{Decisions, Verdict};
use crate::disk::{self, LogEntry, SECTOR};
use crate::flush_order::{FlushOrder, Watch};
use crate::install::{Install, say};
use crate::kit::{Kit, Layout, Mode, TARGET_BYTES, TARGET_SERIAL};
use crate::samples::{mix, spread};
use crate::slots::{self, SLOT_BYTES};

/// Up to so many unflushed writes, every subset of them is tried.
const EXHAUSTED_MAX: usize = 5;
/// Above that, so many subsets by the toss of a seeded coin, beside every prefix, every single write and every single loss.
const TOSSED: u64 = 8;
/// Of an epoch with more writes that matter than this, only so many prefixes and losses are tried, evenly spread.
const SPREAD_MAX: usize = 24;
/// How much of a partition's beginning decides what landfall takes it for: LUKS2's headers and key slots, superblocks.
const HEAD_BYTES: u64 = 16 << 20;
/// How much of the ESP: its FATs, its directories and the slots, which are its first files.
const ESP_BYTES: u64 = 64 << 20;
const SEED: u64 = 0x6c61_6e64_6661_6c6c;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this layout: plain, swap, luks, luks-swap
    #[arg(long)]
    layout: Option<String>,
    /// How many crash states are landed from in a machine, for each layout [default: 0, with --long 3]
    #[arg(long)]
    land: Option<usize>,
    /// Every crash state, of the plain layout and of LUKS with swap; else every flush and some subsets, of the plain one
    #[arg(long)]
    long: bool,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// What a layout's recording came to.
#[derive(Debug, serde::Serialize)]
struct Figures {
    layout: &'static str,
    /// Crash states that were judged.
    states: u64,
    /// Of them such that are no boundary of a flush: subsets and tears of what was not flushed.
    subsets: u64,
    /// Boundaries of flushes.
    flushes: usize,
    /// States that were landed from.
    landed: usize,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures {
            layout,
            states,
            subsets,
            flushes,
            landed,
        } = self;
        write!(
            f,
            "{layout} {states} states at {flushes} flushes, {subsets} of them subsets or tears, {landed} landed"
        )
    }
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Every flush boundary, and so many subsets and tears, evenly spread over the install.
    Short(usize),
    /// Everything.
    Long,
}

impl Extent {
    /// Fewer subsets and tears would not be what was promised.
    fn subsets_min(self) -> u64 {
        match self {
            Extent::Short(_) => 20,
            Extent::Long => 200,
        }
    }
}

/// Subsets and tears of a short run.
const SHORT_SUBSETS: usize = 60;

/// What landfall makes of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Judgement {
    #[serde(flatten)]
    verdict: Verdict,
    why: String,
    sequence: Option<u64>,
    contents: Vec<String>,
}

/// A crash state: the flushes that were done, and which of the writes behind the last one are there.
#[derive(Debug, Clone)]
struct Crash {
    epoch: usize,
    kept: Vec<Kept>,
}

/// A write that is there, as far as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    entry: usize,
    bytes: u64,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let kit = Kit::open()?;
    let (extent, layouts, land) = if arguments.long {
        (Extent::Long, &[Layout::Plain, Layout::LuksSwap][..], 3)
    } else {
        (Extent::Short(SHORT_SUBSETS), &[Layout::Plain][..], 0)
    };
    let land = arguments.land.unwrap_or(land);
    let (mut failed, mut figures) = (Vec::new(), Vec::new());
    for layout in Layout::ALL {
        let wanted = arguments
            .layout
            .as_deref()
            .map_or(layouts.contains(&layout), |name| name == layout.host());
        if !wanted {
            continue;
        }
        match conforms(&kit, layout, extent, land) {
            Ok(found) => figures.push(found),
            Err(error) => {
                eprintln!("layout {} … FAILED\n{error:#}", layout.host());
                failed.push(layout.host());
            }
        }
    }
    ensure!(
        !figures.is_empty() || !failed.is_empty(),
        "no such layout; there are: plain, swap, luks, luks-swap"
    );
    if arguments.json {
        println!("{}", serde_json::json!({ "layouts": figures, "failed": failed }));
    } else {
        let each: String = figures.iter().map(|found| format!("; {found}")).collect();
        println!(
            "conformance: {} passed, {} failed{each}",
            figures.len(),
            failed.len()
        );
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The short run, as a scenario.
pub fn short(kit: &Kit) -> Result<()> {
    conforms(kit, Layout::Plain, Extent::Short(SHORT_SUBSETS), 0).map(drop)
}

fn conforms(kit: &Kit, layout: Layout, extent: Extent, land: usize) -> Result<Figures> {
    let name = format!("conformance-{}", layout.host());
    let mut install = Install::new(kit, &name, layout, Mode::Prebuilt)?.stay();
    let log = install.spec.folder.join("writes.log");
    install.spec.disks[0].write_log = Some(log.clone());
    let machine = install.start()?;
    install.land(&machine, "install")?;
    machine.cut_power()?;
    install.spec.disks[0].write_log = None;

    let mut replay = Replay::open(&install, log)?;
    say(&format!(
        "{}: {} writes, {} flushes recorded; {} epochs with writes that decide",
        layout.host(),
        replay.entries.iter().filter(|e| e.is_write()).count(),
        replay.entries.iter().filter(|e| e.is_flush()).count(),
        replay
            .flush_order
            .iter()
            .filter(|e| !e.decisive.is_empty())
            .count(),
    ));
    let config = install.spec.folder.join("install.ron");
    fs::write(
        &config,
        kit.configuration(install.layout, &install.mode, &install.more)?,
    )?;
    let simulated = Decisions::simulated(&kit.program, &config)?;
    let judged = replay.judge_all(kit, &install, &config, extent, &simulated)?;
    replay.finish(&install)?;
    no_kinder(&FlushOrder::simulated(&kit.program, &config)?, &judged.recorded)?;
    let samples = spread(&judged.samples, land);
    for (index, crash) in samples.iter().enumerate() {
        land_from(kit, layout, &install, &replay, crash, index)?;
    }
    Ok(Figures {
        layout: layout.host(),
        states: judged.states,
        subsets: judged.subsets,
        flushes: replay.flush_order.len(),
        landed: samples.len(),
    })
}

/// What was found of all crash states.
struct Judged {
    /// Those worth landing from.
    samples: Vec<Crash>,
    /// What the recording's flushes keep apart.
    recorded: FlushOrder,
    states: u64,
    subsets: u64,
}

/// A recording, and an image that is brought to one crash state after another.
struct Replay {
    entries: Vec<LogEntry>,
    log: fs::File,
    image: PathBuf,
    file: fs::File,
    flush_order: Vec<Epoch>,
    /// Where the slots are.
    places: Vec<u64>,
}

/// The flushes that the simulation counts on are there.
fn no_kinder(simulated: &FlushOrder, recorded: &FlushOrder) -> Result<()> {
    let kinder = simulated.kinder_than(recorded)?;
    ensure!(
        kinder.is_empty(),
        "the simulation is kinder than the kernel, it keeps apart what the recording does not: {kinder:?}"
    );
    let control = simulated.kinder_than(&recorded.without_flushes())?;
    ensure!(
        !control.is_empty(),
        "without its flushes the recording would pass as well"
    );
    say(&format!(
        "{} writes that can be told apart, in the simulation's order and behind its flushes; without flushes {} pairs would not be",
        simulated.len(),
        control.len()
    ));
    Ok(())
}

/// The writes between two flushes.
#[derive(Debug, Default)]
struct Epoch {
    /// All of them: indices of entries.
    all: Vec<usize>,
    /// Those that decide what the disk is taken for.
    decisive: Vec<usize>,
    /// The highest sequence number that a flush had made durable when it began.
    acknowledged: u64,
}

impl Replay {
    fn open(install: &Install<'_>, log: PathBuf) -> Result<Replay> {
        let entries = disk::write_log(&log)?;
        let partitions = disk::partitions(&install.image)?;
        let places: Vec<u64> = slots::find(&install.image)?
            .into_iter()
            .map(|(at, _)| at)
            .collect();
        ensure!(places.len() == 2, "there are {} slots", places.len());
        let mut decisive = vec![(0, 1 << 20), (TARGET_BYTES - (1 << 20), TARGET_BYTES)];
        for partition in &partitions {
            let head = if partition.number == 1 {
                ESP_BYTES
            } else {
                HEAD_BYTES
            };
            decisive.push((partition.start, partition.start + head.min(partition.size)));
        }
        let log = fs::File::open(log)?;
        let mut flush_order = vec![Epoch::default()];
        let mut issued = 0;
        for (index, entry) in entries.iter().enumerate() {
            if entry.is_flush() {
                flush_order.push(Epoch {
                    acknowledged: issued,
                    ..Epoch::default()
                });
            }
            let Some(epoch) = flush_order.last_mut().filter(|_| entry.length > 0) else {
                continue;
            };
            epoch.all.push(index);
            if decisive
                .iter()
                .any(|(from, to)| entry.start < *to && entry.start + entry.length > *from)
            {
                epoch.decisive.push(index);
            }
            if entry.is_write() && places.contains(&entry.start) {
                issued = issued.max(sequence(&log, entry)?);
            }
        }
        let image = install.spec.folder.join("replay.raw");
        disk::create(&image, TARGET_BYTES)?;
        let file = fs::OpenOptions::new().read(true).write(true).open(&image)?;
        Ok(Replay {
            entries,
            log,
            image,
            file,
            flush_order,
            places,
        })
    }

    /// Every crash state, in order.
    fn judge_all(
        &mut self,
        kit: &Kit,
        install: &Install<'_>,
        config: &Path,
        extent: Extent,
        simulated: &Decisions,
    ) -> Result<Judged> {
        let every = self.step(extent);
        let (mut number_of_subset, mut subsets) = (0_usize, 0_u64);
        let mut watch = Watch::new(&self.image, &install.image, &self.places)?;
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut samples = Vec::new();
        let (mut states, mut controls, mut by_slots) = (0_u64, 0_u64, 0_u64);
        for number in 0..self.flush_order.len() {
            let acknowledged_next = self
                .flush_order
                .get(number + 1)
                .map_or(0, |next| next.acknowledged);
            for kept in self.variants(number) {
                if !kept.is_empty() {
                    number_of_subset += 1;
                    if !number_of_subset.is_multiple_of(every) {
                        continue;
                    }
                    subsets += 1;
                }
                let crash = Crash { epoch: number, kept };
                let undo = self.apply(&crash.kept)?;
                let judgement = self
                    .judgement(kit, config)
                    .with_context(|| self.describe(&crash))?;
                let visible = watch.visible()?;
                self.check(&crash, &judgement)
                    .and_then(|()| simulated.agree(&visible, &judgement.verdict))
                    .with_context(|| format!("{}: {judgement:#?}", self.describe(&crash)))?;
                by_slots += u64::from(!simulated.is_without_slots(&visible, &judgement.verdict));
                self.restore(undo)?;
                states += 1;
                // The control: had the flush that ends this epoch been left out, the check would have seen it.
                if crash.kept.is_empty() && acknowledged_next > self.flush_order[number].acknowledged {
                    ensure!(
                        judgement.sequence.unwrap_or(0) < acknowledged_next,
                        "checkpoint {acknowledged_next} is believed before it is written"
                    );
                    controls += 1;
                }
                let count = seen.entry(judgement.verdict.in_words()).or_default();
                *count += 1;
                // The first state of each kind that is no mere prefix.
                if *count == 1 || (crash.kept.len() > 1 && *count == 7) {
                    samples.push(crash);
                }
            }
            let all: Vec<Kept> = self.flush_order[number]
                .all
                .iter()
                .map(|entry| self.whole(*entry))
                .collect();
            self.apply(&all)?;
            watch.look(!self.flush_order[number].decisive.is_empty())?;
        }
        for (what, count) in &seen {
            say(&format!("{count:>6} states: {what}"));
        }
        say(&format!(
            "{states} crash states judged, {subsets} of them subsets or tears; none believed less than was acknowledged. Without their last flush, {controls} would have"
        ));
        say(&format!(
            "each decided as the simulation decides, which knows {} kinds of disk; were the slots not read, {by_slots} would be decided otherwise",
            simulated.len()
        ));
        ensure!(controls > 0, "no flush of a checkpoint was recorded");
        ensure!(by_slots > 0, "the slots make no difference to any decision");
        ensure!(
            seen.keys().any(|k| k.starts_with("landed")) && seen.keys().any(|k| k.starts_with("begin")),
            "the recording does not reach from the beginning to the end: {seen:?}"
        );
        ensure!(
            subsets >= extent.subsets_min(),
            "only {subsets} subsets and tears were judged, not {}",
            extent.subsets_min()
        );
        Ok(Judged {
            samples,
            recorded: watch.seen(),
            states,
            subsets,
        })
    }

    /// One subset of so many is tried.
    fn step(&self, extent: Extent) -> usize {
        match extent {
            Extent::Long => 1,
            Extent::Short(wanted) => {
                let all = (0..self.flush_order.len())
                    .map(|n| self.variants(n).len() - 1)
                    .sum::<usize>();
                (all / wanted).max(1)
            }
        }
    }

    /// What must hold of every crash state.
    fn check(&self, crash: &Crash, judgement: &Judgement) -> Result<()> {
        let decision = judgement.verdict.decision.as_str();
        let acknowledged = self.flush_order[crash.epoch].acknowledged;
        ensure!(decision != "stop", "landfall would not go on");
        ensure!(
            acknowledged == 0 || decision != "begin",
            "checkpoint {acknowledged} was acknowledged, and landfall would begin anew"
        );
        ensure!(
            judgement.sequence.unwrap_or(0) >= acknowledged,
            "checkpoint {acknowledged} was acknowledged and is not believed"
        );
        Ok(())
    }

    /// The subsets of an epoch's decisive writes that are tried.
    fn variants(&self, number: usize) -> Vec<Vec<Kept>> {
        let writes: Vec<Kept> = self.flush_order[number]
            .decisive
            .iter()
            .map(|e| self.whole(*e))
            .collect();
        let mut variants: Vec<Vec<Kept>> = vec![vec![]];
        if writes.len() <= EXHAUSTED_MAX {
            for mask in 1_u32..1 << writes.len() {
                let kept = |(index, write): (usize, &Kept)| (mask >> index & 1 == 1).then_some(*write);
                variants.push(writes.iter().enumerate().filter_map(kept).collect());
            }
        } else {
            let places: Vec<usize> = spread(&(0..writes.len()).collect::<Vec<_>>(), SPREAD_MAX);
            for &at in &places {
                variants.push(writes[..=at].to_vec());
                variants.push(vec![writes[at]]);
                variants.push(writes.iter().copied().filter(|w| *w != writes[at]).collect());
            }
            for toss in 0..TOSSED {
                let coin = |write: &Kept| mix(SEED ^ toss << 48 ^ write.entry as u64) & 1 == 1;
                variants.push(writes.iter().copied().filter(coin).collect());
            }
        }
        // A slot's write may be torn at any sector.
        for (at, write) in writes.iter().enumerate() {
            if write.bytes == SLOT_BYTES as u64 {
                for sectors in 1..write.bytes / SECTOR {
                    let mut torn = writes[..=at].to_vec();
                    torn[at].bytes = sectors * SECTOR;
                    variants.push(torn);
                }
            }
        }
        variants
    }

    fn whole(&self, entry: usize) -> Kept {
        Kept {
            entry,
            bytes: self.entries[entry].length,
        }
    }

    /// Puts writes on the image, in order; returns what was there before.
    fn apply(&self, kept: &[Kept]) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut undo = Vec::new();
        for Kept { entry, bytes } in kept {
            let entry = self.entries[*entry];
            let size = usize::try_from(*bytes)?;
            // A discard's contents may be anything; this disk gives zeros.
            let mut new = vec![0; size];
            if entry.is_write() {
                self.log.file().read_exact_at(&mut new, entry.data)?;
            }
            let mut old = vec![0; size];
            self.file.file().read_exact_at(&mut old, entry.start)?;
            if old != new {
                self.file.file().write_all_at(&new, entry.start)?;
                undo.push((entry.start, old));
            }
        }
        Ok(undo)
    }

    fn restore(&self, undo: Vec<(u64, Vec<u8>)>) -> Result<()> {
        for (at, old) in undo.into_iter().rev() {
            self.file.file().write_all_at(&old, at)?;
        }
        Ok(())
    }

    fn judgement(&self, kit: &Kit, config: &Path) -> Result<Judgement> {
        let output = Program::new(&kit.program)
            .args(["plan", "--json", "--disk-serial", TARGET_SERIAL, "--config"])
            .arg(config)
            .arg("--disk-image")
            .arg(&self.image)
            .run()?;
        #[derive(Deserialize)]
        struct Whole {
            decision: Judgement,
        }
        let text = output.text();
        let whole: Whole = serde_json::from_str(&text).with_context(|| format!("not a decision: {text}"))?;
        Ok(whole.decision)
    }

    fn describe(&self, crash: &Crash) -> String {
        let kept: Vec<String> = crash
            .kept
            .iter()
            .map(|k| {
                let LogEntry { start, length, .. } = self.entries[k.entry];
                format!("{}: {}+{} of {length}", k.entry, start, k.bytes)
            })
            .collect();
        format!(
            "crash state behind flush {}, with {} of {} writes ({})",
            crash.epoch,
            crash.kept.len(),
            self.flush_order[crash.epoch].all.len(),
            kept.join(", ")
        )
    }

    /// The control: the whole recording is the disk that the machine left.
    fn finish(&self, install: &Install<'_>) -> Result<()> {
        let (replayed, left) = (disk::sha256(&self.image)?, disk::sha256(&install.image)?);
        ensure!(
            replayed == left,
            "the recording, replayed, is not the disk that was recorded"
        );
        Ok(())
    }

    /// The image of a crash state, made anew.
    fn image_of(&self, crash: &Crash, image: &Path) -> Result<()> {
        disk::create(image, TARGET_BYTES)?;
        let file = fs::OpenOptions::new().read(true).write(true).open(image)?;
        let other = Replay {
            entries: self.entries.clone(),
            log: fs::File::open(self.log.path())?,
            image: image.to_owned(),
            file,
            flush_order: vec![],
            places: vec![],
        };
        for epoch in &self.flush_order[..crash.epoch] {
            let all: Vec<Kept> = epoch.all.iter().map(|entry| self.whole(*entry)).collect();
            other.apply(&all)?;
        }
        other.apply(&crash.kept)?;
        Ok(())
    }
}

/// Puts a crash state into a machine: landfall lands from it, and it boots.
fn land_from(
    kit: &Kit,
    layout: Layout,
    recorded: &Install<'_>,
    replay: &Replay,
    crash: &Crash,
    index: usize,
) -> Result<()> {
    let what = replay.describe(crash);
    let name = format!("conformance-{}-{index}", layout.host());
    let install = Install::new(kit, &name, layout, Mode::Prebuilt)?.stay();
    fs::remove_file(&install.image)?;
    replay.image_of(crash, &install.image)?;
    let machine = install.start()?;
    let ran = install.run(&machine, "install")?;
    match ran.status {
        0 => {}
        10 => say("landed already"),
        other => bail!("{what}: landfall ended with {other}:\n{}", ran.output),
    }
    machine.cut_power()?;
    ensure!(
        disk::identities(&install.image)? == disk::identities(&recorded.image)?,
        "{what}: another disk came of it"
    );
    install.boot().with_context(|| what.clone())?;
    say(&format!("landed and booted from the {what}"));
    Ok(fs::remove_dir_all(&install.spec.folder)?)
}

/// The sequence number in a slot that was written.
fn sequence(log: &fs::File, entry: &LogEntry) -> Result<u64> {
    let mut head = [0; 80];
    log.file().read_exact_at(&mut head, entry.data)?;
    // The allocation fills a slot with line feeds.
    Ok(slots::sequence(&head).unwrap_or(0))
}
