//! A whole disk that loses power in the laboratory's machine: the ESP and the root filesystem on it, while the step runs.
//!
//! The disk is a loop device over a file whose writes and flushes are recorded. Everything up to the last flush is there, and
//! of what was written after it any part, in any order. The next run finds the machine freshly started: nothing is attached.
//!
//! FAT flushes nothing by itself, and its blocks are written back in any order: so every write that reached the ESP is a
//! moment, and as many of the root's.

use crate::calls::{Call, Effect};
use crate::choice::spread;
use crate::command::Asked;
use crate::fuse::{Entry, Recorded};
use crate::ground::Ground;
use crate::image::{self, Image};
use crate::points::{self, Report};
use crate::tools::{ESP_END, Tool};
use camino::Utf8Path;
use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;

/// Moments in the ESP, and as many in the rest, when nobody says how many.
const MOMENTS: usize = 12;
/// What is lost, when not every way is asked for: the moments take turns, two ways each.
const KINDS: [&str; 8] = [
    "cut-seed-1",
    "cut-only",
    "cut-all",
    "cut-torn-512-head",
    "cut-seed-2",
    "cut-but-0",
    "cut-torn-2048-tail",
    "cut-torn-512-tail",
];

/// Runs the step on a recorded disk; what was written, in its order.
fn record(tool: &dyn Tool, place: &Utf8Path, ground: &mut Ground) -> Result<Vec<Call>, String> {
    ground.clear()?;
    let disk = Recorded::serve(&place.join("fuse"), ground.base().bytes())?;
    let device = ground.attach(&disk.file())?;
    let before = disk.entries();
    let ended = points::worker(tool, place, &device, "first")?
        .stderr(Stdio::inherit())
        .status()
        .map_err(|e| e.to_string())?;
    let log = disk.log();
    ground.clear()?;
    if !ended.success() {
        return Err(format!("{} on a recorded disk: {ended}", tool.name()));
    }
    let calls = log.into_iter().skip(before).map(|entry| Call {
        name: "write",
        program: String::new(),
        by_root: true,
        path: String::new(),
        effect: match entry {
            Entry::Write(offset, bytes) => Effect::Write { offset, bytes },
            Entry::Flush => Effect::Flush,
        },
    });
    Ok(calls.collect())
}

/// The moments that are looked at, by their places in the log.
fn moments(asked: &Asked, calls: &[Call]) -> (BTreeSet<usize>, usize) {
    let places = |on_esp: bool| -> Vec<usize> {
        let here = |call: &Call| match &call.effect {
            Effect::Write { offset, .. } => (*offset < ESP_END) == on_esp,
            Effect::Zero { .. }
            | Effect::Length(_)
            | Effect::Flush
            | Effect::Names
            | Effect::Attachment(_) => false,
        };
        (0..calls.len()).filter(|at| here(&calls[*at])).collect()
    };
    let mut chosen = BTreeSet::new();
    let mut of = 0;
    for all in [places(true), places(false)] {
        of += all.len();
        let taken = match (asked.all || asked.point.is_some(), asked.every) {
            (true, _) => (0..all.len()).map(|index| asked.takes(index)).collect(),
            (false, Some(every)) => (0..all.len()).map(|at| at.is_multiple_of(every)).collect(),
            (false, None) => spread(all.len(), &BTreeSet::new(), MOMENTS),
        };
        chosen.extend(
            all.into_iter()
                .zip(taken)
                .filter(|(_, taken)| *taken)
                .map(|(at, _)| at),
        );
    }
    (chosen, of)
}

/// Every cut, or some: what is left of it, and whether the next run goes on.
pub fn cuts(
    tool: &dyn Tool,
    asked: &Asked,
    place: &Utf8Path,
    ground: &mut Ground,
    report: &mut Report,
) -> Result<(), String> {
    let calls = record(tool, place, ground)?;
    let (chosen, of) = moments(asked, &calls);
    println!(
        "sampled\t{}\tpower cuts at writes\t{}\t{of}",
        tool.name(),
        chosen.len()
    );
    let base = ground.base().clone();
    let every = asked.all || asked.point.is_some();
    let takes = |moment: usize, what: &str| {
        let rank = chosen.range(..moment).count();
        let mine = |turn: usize| KINDS[(rank + turn) % KINDS.len()] == what;
        every || mine(0) || mine(KINDS.len() / 2)
    };
    let mut known: HashMap<[u8; 32], (String, Result<(), String>)> = HashMap::new();
    let mut failed = Ok(());
    image::states(
        &base,
        &calls,
        |at| chosen.contains(&at),
        takes,
        |state| {
            let point = format!("w{}:{}", state.call, state.what);
            let wanted = asked
                .point
                .as_ref()
                .is_none_or(|asked| asked.to_string() == point);
            let here = chosen.contains(&state.call) && state.what.starts_with("cut-");
            if here {
                report.there.there_is(&point);
            }
            if failed.is_err() || !wanted || !here || asked.is_done(report) {
                return;
            }
            let digest = state.image.digest();
            let seen = match known.get(&digest) {
                Some(seen) => Ok(seen.clone()),
                None => cut(tool, place, ground, state.image),
            };
            match seen {
                Ok(seen) => {
                    println!("point\t{}\t{point}\t-\t{}", tool.name(), seen.0);
                    report.take(tool, &point, &seen.0, &seen.1);
                    known.insert(digest, seen);
                }
                Err(why) => failed = Err(why),
            }
        },
    );
    failed
}

/// The machine starts with this disk.
fn cut(
    tool: &dyn Tool,
    place: &Utf8Path,
    ground: &mut Ground,
    disk: &Image,
) -> Result<(String, Result<(), String>), String> {
    let device = ground.begin_with(disk)?;
    // Attaching is the next run's own, with its checks of both filesystems.
    Ok(match tool.state(place, &device) {
        Ok(state) => (state, points::later(tool, place, &device)),
        Err(why) => ("not to be attached".to_owned(), Err(why)),
    })
}
