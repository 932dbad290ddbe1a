//! Every point of a tool: killed there, or without power there, and continued from there.
//!
//! A point is a call that changes something, and a way to die at it. The state that it leaves is given to the step again, in
//! a process of its own, and the step must end in done. A tool that makes no changing call is an error: then nothing was
//! shown.
//!
//! Volumes are recorded once and their states replayed; at some calls a real kill is compared with the replayed bytes.
//! Folders are made again for every point and really killed. `cargo lab halfway` writes the table in
//! docs/design/failure-model.md from what is printed here.
//!
//! `command` has the arguments, and `machine` the steps in the machine.

use crate::calls::Call;
use crate::choice::{Point, Points};
use crate::command::Asked;
use crate::image::{self, Image};
use crate::tools::{self, Subject, Tool};
use crate::tracer::{self, Ended, Kill};
use crate::{ending, machine, power, tree};
use camino::{Utf8Path, Utf8PathBuf};
use landfall::sim::model::leftovers;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Points of each tool in a plain `cargo test`.
const SHORT_POINTS: usize = 14;
/// Calls of a volume's step in the same, each with all that a cut may leave there.
const SHORT_CALLS: usize = 4;
/// How often a point that is asked for is looked for.
const ASKED_TRIES: usize = 5;
/// Longest later run.
const LATER_MAX: Duration = Duration::from_secs(240);

/// What became of one tool.
#[derive(Default)]
pub struct Report {
    /// Calls that change something.
    pub calls: usize,
    points: usize,
    /// What points there are, tried or not.
    pub there: Points,
    /// Points and whether all of them went on, by the state's name.
    states: BTreeMap<String, (usize, bool)>,
    /// A line for each point without a way on.
    pub failures: Vec<String>,
}

impl Report {
    /// One point, its state, and whether the next run went on from it.
    pub fn take(&mut self, tool: &dyn Tool, point: &str, state: &str, went: &Result<(), String>) {
        self.points += 1;
        let entry = self.states.entry(state.to_owned()).or_insert((0, true));
        entry.0 += 1;
        if let Err(why) = went {
            entry.1 = false;
            let why = why.replace(['\n', '\t'], " ");
            self.failures
                .push(format!("failed\t{}\t{point}\t{state}\t{why}", tool.name()));
        }
    }
}

/// A folder of this run, away when it ends.
pub struct Room {
    /// Where.
    pub path: Utf8PathBuf,
    keep: bool,
    _held: nix::fcntl::Flock<std::fs::File>,
}

impl Room {
    /// A new one.
    pub fn new(name: &str, keep: bool) -> Result<Self, String> {
        let parent = scratch();
        let path = parent.join(format!("{}{}-{name}", ending::ROOM, std::process::id()));
        tree::remove(path.as_std_path()).map_err(|e| e.to_string())?;
        fs_err::create_dir_all(&path).map_err(|e| e.to_string())?;
        let _held = ending::hold(&path)?;
        Ok(Room { path, keep, _held })
    }

    /// Removes what killed runs left, wherever it may be.
    pub fn sweep() -> Result<(), String> {
        let folders = BTreeSet::from([scratch(), temporary()]);
        folders.iter().try_for_each(|folder| ending::sweep(folder))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path);
        } else if let Err(e) = tree::remove(self.path.as_std_path()) {
            eprintln!("{}: {e}", self.path);
        }
    }
}

/// Memory where there is some: a step flushes much, and what a disk does with it is not the matter here.
fn scratch() -> Utf8PathBuf {
    let memory = Utf8Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        temporary()
    }
}

fn temporary() -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(std::env::temp_dir()).unwrap_or_else(|_| "/tmp".into())
}

/// The process that carries a step out: this program again.
pub fn worker(tool: &dyn Tool, place: &Utf8Path, subject: &Utf8Path, when: &str) -> Result<Command, String> {
    ending::may_begin()?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    // SAFETY: between fork and exec one system call is made. The thread that starts it is the main one.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
    }
    command
        .args(["worker", tool.name(), place.as_str(), subject.as_str(), when])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(command)
}

/// The next run, from what is there; and what others find of what it left, when it says that it is done.
pub fn later(tool: &dyn Tool, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
    carried_on(tool, place, subject)?;
    tool.proven(place, subject)
        .map_err(|why| format!("done, says the step, and it is not: {why}"))
}

fn carried_on(tool: &dyn Tool, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
    let said = place.join("said");
    let file = fs_err::File::create(&said)
        .map_err(|e| e.to_string())?
        .into_parts()
        .0;
    let mut child = worker(tool, place, subject, "later")?
        .stderr(file)
        .spawn()
        .map_err(|e| e.to_string())?;
    let began = Instant::now();
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let text = fs_err::read_to_string(&said).map_err(|e| e.to_string())?;
                return Err(format!("{status}: {}", text.trim()));
            }
            None if began.elapsed() > LATER_MAX => {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .map_err(|e| e.to_string())?;
                return Err(format!("no end after {} s", LATER_MAX.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(3)),
        }
    }
}

fn traced(
    tool: &dyn Tool,
    place: &Utf8Path,
    subject: &Utf8Path,
    on_call: impl FnMut(usize, &Call) -> Option<Kill>,
) -> Result<Ended, String> {
    let said = fs_err::File::create(place.join("said-traced"))
        .map_err(|e| e.to_string())?
        .into_parts()
        .0;
    let mut command = worker(tool, place, subject, "first")?;
    command.stderr(said);
    tracer::run(&mut command, &tool.watch(subject), on_call)
}

/// One run that nobody disturbs: the calls that it makes.
pub fn record(
    tool: &dyn Tool,
    place: &Utf8Path,
    subject: &Utf8Path,
    mut at: impl FnMut(usize) -> Result<(), String>,
) -> Result<Vec<Call>, String> {
    let mut calls = vec![];
    let mut looked = Ok(());
    let ended = traced(tool, place, subject, |number, call| {
        if looked.is_ok() {
            looked = at(number);
        }
        calls.push(call.clone());
        None
    })?;
    looked?;
    if ended != Ended::Exit(0) {
        let said = fs_err::read_to_string(place.join("said-traced")).map_err(|e| e.to_string())?;
        return Err(format!(
            "{} does not end well when nobody disturbs it ({ended:?}): {said}",
            tool.name()
        ));
    }
    if calls.is_empty() {
        return Err(format!(
            "{} makes no call that changes anything: nothing can be shown",
            tool.name()
        ));
    }
    Ok(calls)
}

/// Which of so many are looked at.
fn chosen(asked: &Asked, index: usize, of: usize, short: usize) -> bool {
    match asked.every {
        Some(every) => index.is_multiple_of(every),
        None => asked.all || of <= short || index.is_multiple_of(of.div_ceil(short)),
    }
}

/// The name of a state of a volume, and whether the next run goes on from it.
fn look(
    tool: &dyn Tool,
    place: &Utf8Path,
    subject: &Utf8Path,
    image: &Image,
) -> Result<(String, Result<(), String>), String> {
    let io = |e: std::io::Error| e.to_string();
    ending::may_begin()?;
    image.write(subject).map_err(io)?;
    let state = tool.state(place, subject)?;
    // Looking at a LUKS header may repair it.
    image.write(subject).map_err(io)?;
    Ok((state, later(tool, place, subject)))
}

/// Every state of a volume, or some.
pub fn volumes(tool: &dyn Tool, asked: &Asked, room: &Room) -> Result<Report, String> {
    let io = |e: std::io::Error| e.to_string();
    let place = &room.path;
    let pristine = place.join("pristine");
    tool.prepare(place, &pristine)?;
    let start = Image::read(&pristine).map_err(io)?;
    let subject = place.join("subject");
    start.write(&subject).map_err(io)?;
    // At the entry of a call everything stands still: what is there now is what a kill would leave.
    let mut seen_there: Vec<(usize, [u8; 32])> = vec![];
    let calls = record(tool, place, &subject, |number| {
        if number.is_power_of_two() {
            seen_there.push((number, Image::read(&subject).map_err(io)?.digest()));
        }
        Ok(())
    })?;
    let mut report = Report {
        calls: calls.len(),
        ..Report::default()
    };
    seen_there.push((calls.len(), Image::read(&subject).map_err(io)?.digest()));
    let of = calls.len();
    let wanted = |call: usize| match &asked.point {
        Some(point) => point.number == call,
        None => chosen(asked, call, of, SHORT_CALLS) || call == of,
    };
    let mut killed: HashMap<usize, [u8; 32]> = HashMap::new();
    // States that are equal are one: the step sees no more than bytes.
    let mut known: HashMap<[u8; 32], (String, Result<(), String>)> = HashMap::new();
    let mut failed = Ok(());
    image::states(
        &start,
        &calls,
        wanted,
        |_, _| true,
        |state| {
            let digest = state.image.digest();
            if state.what == "kill" {
                killed.insert(state.call, digest);
            }
            let point = format!("{}:{}", state.call, state.what);
            report.there.there_is(&point);
            let enough = asked.is_done(&report);
            let other = asked
                .point
                .as_ref()
                .is_some_and(|asked| asked.to_string() != point);
            if !wanted(state.call) || enough || other || failed.is_err() {
                return;
            }
            let looked = match known.get(&digest) {
                Some(known) => Ok(known.clone()),
                None => look(tool, place, &subject, state.image),
            };
            match looked {
                Ok((name, went)) => {
                    report.take(tool, &point, &name, &went);
                    known.insert(digest, (name, went));
                }
                Err(why) => failed = Err(why),
            }
        },
    );
    failed?;
    for (number, there) in seen_there {
        if killed.get(&number) != Some(&there) {
            return Err(format!(
                "{}: at call {number} the disk holds other bytes than the replay",
                tool.name()
            ));
        }
    }
    Ok(report)
}

fn death_of(what: &str) -> Option<Kill> {
    Some(match what {
        "kill" => Kill::Before,
        "after" => Kill::After,
        "half" => Kill::Half,
        "alone" => Kill::Alone,
        _ => return None,
    })
}

/// The ways to die at a call.
pub fn deaths(call: &Call) -> impl Iterator<Item = &'static str> {
    let half = ["write", "pwrite64"].contains(&call.name) && call.effect.half().is_some();
    [
        Some("kill"),
        half.then_some("half"),
        (!call.by_root).then_some("alone"),
    ]
    .into_iter()
    .flatten()
}

/// Runs the step and kills it at this call; which one that was, if it came to it.
pub fn kill(
    tool: &dyn Tool,
    place: &Utf8Path,
    subject: &Utf8Path,
    number: usize,
    what: &str,
) -> Result<Option<String>, String> {
    let death = death_of(what).ok_or_else(|| format!("no way to die: {what}"))?;
    let mut at = None;
    traced(tool, place, subject, |n, call| {
        (n == number).then(|| {
            at = Some(format!("{} {} {}", call.program, call.name, call.path));
            death
        })
    })?;
    Ok(at)
}

fn folders(tool: &dyn Tool, asked: &Asked, room: &Room) -> Result<Report, String> {
    let io = |e: std::io::Error| e.to_string();
    let place = &room.path;
    let pristine = place.join("pristine");
    tool.prepare(place, &pristine)?;
    let subject = place.join("subject");
    let anew = || {
        tree::remove(subject.as_std_path()).map_err(io)?;
        tree::copy(pristine.as_std_path(), subject.as_std_path()).map_err(io)
    };
    anew()?;
    let calls = record(tool, place, &subject, |_| Ok(()))?;
    let mut report = Report {
        calls: calls.len(),
        ..Report::default()
    };
    let mut points = vec![];
    for (number, call) in calls.iter().enumerate() {
        points.extend(deaths(call).map(|what| (number, what)));
    }
    points.push((calls.len() - 1, "after"));
    let mut known: HashMap<[u8; 32], Result<(), String>> = HashMap::new();
    let of = points.len();
    for (index, (number, what)) in points.into_iter().enumerate() {
        let point = format!("{number}:{what}");
        report.there.there_is(&point);
        let (wanted, tries) = match &asked.point {
            Some(asked) => (asked.to_string() == point, ASKED_TRIES),
            None => (!asked.cuts && chosen(asked, index, of, SHORT_POINTS), 1),
        };
        if !wanted {
            continue;
        }
        ending::may_begin()?;
        let mut reached = None;
        for _ in 0..tries {
            anew()?;
            reached = kill(tool, place, &subject, number, what)?;
            if reached.is_some() {
                break;
            }
        }
        let Some(at) = reached else {
            // Programs with threads do not make the same number of calls every time.
            continue;
        };
        let digest = tree::digest(subject.as_std_path()).map_err(io)?;
        let state = tool.state(place, &subject)?;
        let went = known
            .entry(digest)
            .or_insert_with(|| later(tool, place, &subject))
            .clone();
        if asked.point.is_some() {
            println!("{point}: {at}: {state}");
        }
        report.take(tool, &format!("{point} ({at})"), &state, &went);
    }
    damages(tool, asked, (place, &subject), &anew, &mut report)?;
    let cut = asked
        .point
        .as_ref()
        .is_some_and(|point| point.what.starts_with("cut"));
    if cut || asked.is_broad() {
        power_cuts(tool, asked, (place, &pristine), &mut report)?;
    }
    Ok(report)
}

/// What other programs and media do to a folder behind the last call.
fn damages(
    tool: &dyn Tool,
    asked: &Asked,
    (place, subject): (&Utf8Path, &Utf8Path),
    anew: &dyn Fn() -> Result<(), String>,
    report: &mut Report,
) -> Result<(), String> {
    for (name, damage) in tool.damages() {
        let point = format!("{}:after-{name}", report.calls - 1);
        report.there.there_is(&point);
        if asked.cuts
            || asked
                .point
                .as_ref()
                .is_some_and(|asked| asked.to_string() != point)
        {
            continue;
        }
        anew()?;
        record(tool, place, subject, |_| Ok(()))?;
        damage(subject)?;
        if tool.proven(place, subject).is_ok() {
            return Err(format!("{name}: what judges the outcome does not notice it"));
        }
        let state = tool.state(place, subject)?;
        report.take(tool, &point, &state, &later(tool, place, subject));
    }
    Ok(())
}

/// What a power cut leaves of a folder.
fn power_cuts(
    tool: &dyn Tool,
    asked: &Asked,
    (place, pristine): (&Utf8Path, &Utf8Path),
    report: &mut Report,
) -> Result<(), String> {
    let mut there = std::mem::take(&mut report.there);
    let wanted = |index: usize, name: &str| match &asked.point {
        Some(point) => point.to_string() == name,
        None => chosen(asked, index, usize::MAX, usize::MAX),
    };
    let found = power::folders(tool, place, pristine, &wanted, |found| match found {
        power::Found::There(point) => there.there_is(point),
        power::Found::Tried(point, state, went) => report.take(tool, point, state, went),
    });
    report.there = there;
    found.map(|_| ())
}

/// Why a point that is asked for was not tried.
fn not_tried(point: &Point, report: &Report) -> String {
    if report.there.have(point) {
        format!(
            "{point} was not reached in {ASKED_TRIES} runs: programs with threads do not make the same number of calls every time"
        )
    } else {
        report.there.without(point)
    }
}

/// Everything about one step; whether all is well.
pub fn one(tool: &dyn Tool, asked: &Asked) -> Result<bool, String> {
    let began = Instant::now();
    let room = Room::new(tool.name(), asked.keep)?;
    fs_err::write(room.path.join(tools::SYSTEM), &asked.system).map_err(|e| e.to_string())?;
    let report = match tool.subject() {
        Subject::Machine => machine::points(tool, asked, &room.path)?,
        Subject::Image => volumes(tool, asked, &room)?,
        Subject::Tree => folders(tool, asked, &room)?,
    };
    if let Some(point) = asked.point.as_ref().filter(|_| report.points == 0) {
        return Err(not_tried(point, &report));
    }
    let mut good = report.failures.is_empty();
    if asked.all && asked.is_broad() && asked.every.is_none() && report.points < report.calls {
        good = false;
        println!(
            "failed\t{}\t-\t-\t{} points for {} calls",
            tool.name(),
            report.points,
            report.calls
        );
    }
    for (state, (points, went)) in &report.states {
        let known = leftovers::find(tool.name(), state).is_some();
        good &= known;
        let verdict = if *went { "goes on" } else { "STUCK" };
        let known = if known { "known" } else { "UNKNOWN" };
        println!("state\t{}\t{state}\t{points}\t{verdict}\t{known}", tool.name());
    }
    for failure in &report.failures {
        println!("{failure}");
    }
    println!(
        "halfway\t{}\t{}\t{}\t{}\t{}\t{:.1}",
        tool.name(),
        report.calls,
        report.points,
        report.states.len(),
        report.failures.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(good)
}
