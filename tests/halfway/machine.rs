//! The points of a step that needs a machine: device-mapper, mounts, a FAT driver, firmware.
//!
//! As with folders, every point is a real kill of the real programs, on a disk that is made again. The next run finds what is
//! attached as the kill left it, as if only landfall were started again.
//!
//! A point takes seconds here, so not every one is tried unless all are requested: of each kind of call (program, call, kind
//! of path) the first, and the others spread evenly. Their number is reported.
//!
//! `disk_power` has power cuts, and `ground` what the step changes.

use crate::calls::Effect;
use crate::choice::{kind, spread};
use crate::ending;
use crate::ground::{self, Ground};
use crate::points::{self, Report};
use crate::tools::installed::{Install, Untidy};
use crate::tools::{self, Tool};
use crate::{command::Asked, disk_power};
use camino::Utf8Path;
use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;

/// Bytes of the disk.
const DISK: u64 = 1 << 30;
/// Kills of a step when nobody says how many.
const KILLS: usize = 60;

/// Every point, or some; and then the power cuts.
pub fn points(tool: &dyn Tool, asked: &Asked, place: &Utf8Path) -> Result<Report, String> {
    let mut ground = Ground::new(place, DISK)?;
    prepare(tool, place, &mut ground)?;
    let mut report = Report::default();
    let cut = asked.point.as_ref().is_some_and(|point| point.is_write);
    if !cut && !asked.cuts {
        kills(tool, asked, place, &mut ground, &mut report)?;
    }
    if tool.loses_power() && (cut || asked.point.is_none()) && !asked.is_done(&report) {
        disk_power::cuts(tool, asked, place, &mut ground, &mut report)?;
    }
    Ok(report)
}

fn prepare(tool: &dyn Tool, place: &Utf8Path, ground: &mut Ground) -> Result<(), String> {
    let device = ground.begin()?;
    let ended = points::worker(tool, place, &device, "prepare")?
        .stderr(Stdio::inherit())
        .status()
        .map_err(|e| e.to_string())?;
    if !ended.success() {
        return Err(format!("preparing {}: {ended}", tool.name()));
    }
    ground.keep()
}

fn kills(
    tool: &dyn Tool,
    asked: &Asked,
    place: &Utf8Path,
    ground: &mut Ground,
    report: &mut Report,
) -> Result<(), String> {
    let device = ground.begin()?;
    let calls = points::record(tool, place, &device, |_| Ok(()))?;
    let mut all: Vec<(usize, &'static str)> = vec![];
    let mut first = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for (number, call) in calls.iter().enumerate() {
        // A kill leaves the same before it and behind it.
        if call.effect == Effect::Flush {
            continue;
        }
        report.calls += 1;
        if kinds.insert(kind(&call.program, call.name, &call.path)) {
            first.insert(all.len());
        }
        all.extend(points::deaths(call).map(|what| (number, what)));
    }
    all.push((calls.len() - 1, "after"));
    for (number, what) in &all {
        report.there.there_is(&format!("{number}:{what}"));
    }
    let taken = match (asked.all, asked.every) {
        (true, _) => (0..all.len()).map(|index| asked.takes(index)).collect(),
        (false, Some(every)) => (0..all.len()).map(|index| index.is_multiple_of(every)).collect(),
        (false, None) => {
            // Of too many kinds a part.
            let kinds: Vec<usize> = first.iter().copied().collect();
            let some = kinds.len().div_ceil(KILLS);
            let first = kinds.into_iter().step_by(some.max(1)).collect();
            spread(all.len(), &first, KILLS)
        }
    };
    let wanted: Vec<(usize, &str)> = all
        .iter()
        .zip(taken)
        .filter(|((number, what), taken)| match &asked.point {
            Some(point) => point.to_string() == format!("{number}:{what}"),
            None => *taken,
        })
        .map(|(point, _)| *point)
        .collect();
    println!("sampled\t{}\tkills\t{}\t{}", tool.name(), wanted.len(), all.len());
    let mut known: HashMap<[u8; 32], Result<(), String>> = HashMap::new();
    let mut last: Option<(String, String)> = None;
    for (number, what) in wanted {
        if asked.is_done(report) {
            break;
        }
        ending::may_begin()?;
        let device = match (ground.begin(), &last) {
            (Ok(device), _) => device,
            // The next run has left something that nobody can undo: it did not go on either, whatever it said.
            (Err(why), Some((point, state))) => {
                report.take(tool, point, state, &Err(format!("left behind it: {why}")));
                break;
            }
            (Err(why), None) => return Err(why),
        };
        let Some(at) = points::kill(tool, place, &device, number, what)? else {
            // Programs with threads do not make the same number of calls every time.
            continue;
        };
        let digest = ground::digest()?;
        let state = tool.state(place, &device)?;
        let went = known
            .entry(digest)
            .or_insert_with(|| points::later(tool, place, &device))
            .clone();
        println!("point\t{}\t{number}:{what}\t{at}\t{state}", tool.name());
        let point = format!("{number}:{what} ({at})");
        report.take(tool, &point, &state, &went);
        last = Some((point, state));
    }
    Ok(())
}

/// What must fail does: a boot loader's installer that was killed over `loader.tmp` fails for ever when nobody removes that,
/// and goes on when landfall does.
pub fn control(asked: &Asked) -> Result<&'static str, String> {
    let room = points::Room::new(Untidy.name(), asked.keep)?;
    let place = &room.path;
    fs_err::write(place.join(tools::SYSTEM), &asked.system).map_err(|e| e.to_string())?;
    let mut ground = Ground::new(place, DISK)?;
    prepare(&Untidy, place, &mut ground)?;
    let device = ground.begin()?;
    let calls = points::record(&Untidy, place, &device, |_| Ok(()))?;
    let there = calls
        .iter()
        .rposition(|call| call.path.ends_with("loader/loader.tmp"));
    let there = there.ok_or("the boot loader's installer makes no loader.tmp")?;
    for (tool, goes_on) in [(&Untidy as &dyn Tool, false), (&Install, true)] {
        let device = ground.begin()?;
        points::kill(&Untidy, place, &device, there, "kill")?;
        let state = Untidy.state(place, &device)?;
        let went = points::later(tool, place, &device);
        if went.is_ok() != goes_on {
            return Err(format!("{}: from {state:?} it went on: {went:?}", tool.name()));
        }
    }
    Ok("a loader.tmp that nobody removes is noticed")
}
