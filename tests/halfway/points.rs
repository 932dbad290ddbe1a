//! Every point of a tool: killed there, or without power there, and gone on from there. Law: a point is a call that changes
//! something, and a way to die at it; the state that it leaves is given to the step again, in a process of its own, and the
//! step must end in done. A tool that makes no changing call is an error: then nothing was shown.
//!
//! Volumes are recorded once and their states replayed; that a real kill leaves the replayed bytes is tried at some calls.
//! Folders are made anew for every point and really killed.
//!
//! Absent: the table in docs/failure-model.md, which `cargo lab halfway` writes of what is printed here.

use crate::image::{self, Image};
use crate::tools::{self, Subject, Tool};
use crate::tracer::{self, Call, Death, Ended};
use crate::{power, tree};
use camino::{Utf8Path, Utf8PathBuf};
use landfall::sim::leftovers;
use std::collections::{BTreeMap, HashMap};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Points of each tool in a plain `cargo test`.
const SHORT_POINTS: usize = 14;
/// Calls of a volume's step in the same, each with all that a cut may leave there.
const SHORT_CALLS: usize = 4;
/// Longest later run.
const LATER_MAX: Duration = Duration::from_secs(240);

/// What is asked for.
struct Asked {
    tools: Vec<String>,
    point: Option<String>,
    all: bool,
    keep: bool,
    /// No kills of folders: power cuts alone.
    cuts: bool,
    /// The first failure is enough.
    first: bool,
}

/// What became of one tool.
#[derive(Default)]
struct Report {
    calls: usize,
    points: usize,
    /// Points and whether all of them went on, by the state's name.
    states: BTreeMap<String, (usize, bool)>,
    failures: Vec<String>,
}

impl Report {
    fn take(&mut self, tool: &dyn Tool, point: &str, state: &str, went: &Result<(), String>) {
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
struct Room {
    path: Utf8PathBuf,
    keep: bool,
}

impl Room {
    fn new(parent: &Utf8Path, name: &str, keep: bool) -> Result<Self, String> {
        let path = parent.join(format!("landfall-halfway-{}-{name}", std::process::id()));
        tree::remove(path.as_std_path()).map_err(|e| e.to_string())?;
        fs_err::create_dir_all(&path).map_err(|e| e.to_string())?;
        Ok(Room { path, keep })
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
fn worker(tool: &dyn Tool, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command
        .args(["worker", tool.name(), place.as_str(), subject.as_str()])
        .arg(if later { "later" } else { "first" })
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(command)
}

/// The next run, from what is there.
pub fn later(tool: &dyn Tool, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
    let said = place.join("said");
    let file = fs_err::File::create(&said)
        .map_err(|e| e.to_string())?
        .into_parts()
        .0;
    let mut child = worker(tool, place, subject, true)?
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
    on_call: impl FnMut(usize, &Call) -> Option<Death>,
) -> Result<Ended, String> {
    let said = fs_err::File::create(place.join("said-traced"))
        .map_err(|e| e.to_string())?
        .into_parts()
        .0;
    let mut command = worker(tool, place, subject, false)?;
    command.stderr(said);
    tracer::run(&mut command, subject.as_str(), on_call)
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
fn chosen(asked: &Asked, index: usize, of: usize) -> bool {
    asked.all
        || asked.point.is_some()
        || of <= SHORT_POINTS
        || index.is_multiple_of(of.div_ceil(SHORT_POINTS))
}

/// The name of a state of a volume, and whether the next run goes on from it.
fn look(
    tool: &dyn Tool,
    place: &Utf8Path,
    subject: &Utf8Path,
    image: &Image,
) -> Result<(String, Result<(), String>), String> {
    let io = |e: std::io::Error| e.to_string();
    image.write(subject).map_err(io)?;
    let state = tool.state(place, subject)?;
    // Looking at a LUKS header may mend it.
    image.write(subject).map_err(io)?;
    Ok((state, later(tool, place, subject)))
}

fn volumes(tool: &dyn Tool, asked: &Asked, room: &Room) -> Result<Report, String> {
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
    let asked_call = asked
        .point
        .as_ref()
        .and_then(|point| point.split_once(':')?.0.parse::<usize>().ok());
    let wanted = |call: usize| match asked_call {
        Some(asked) => asked == call,
        None => asked.all || call.is_multiple_of(of.div_ceil(SHORT_CALLS)) || call == of,
    };
    let mut killed: HashMap<usize, [u8; 32]> = HashMap::new();
    // States that are equal are one: the step sees no more than bytes.
    let mut known: HashMap<[u8; 32], (String, Result<(), String>)> = HashMap::new();
    let mut failed = Ok(());
    image::states(&start, &calls, wanted, |state| {
        let digest = state.image.digest();
        if state.what == "kill" {
            killed.insert(state.call, digest);
        }
        let point = format!("{}:{}", state.call, state.what);
        let enough = asked.first && !report.failures.is_empty();
        let other = asked.point.as_ref().is_some_and(|asked| *asked != point);
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
    });
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

fn death_of(what: &str) -> Option<Death> {
    Some(match what {
        "kill" => Death::Before,
        "after" => Death::After,
        "half" => Death::Half,
        "alone" => Death::Alone,
        _ => return None,
    })
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
        points.push((number, "kill"));
        if ["write", "pwrite64"].contains(&call.name) && call.effect.half().is_some() {
            points.push((number, "half"));
        }
        if !call.by_root {
            points.push((number, "alone"));
        }
    }
    points.push((calls.len() - 1, "after"));
    let mut known: HashMap<[u8; 32], Result<(), String>> = HashMap::new();
    let of = points.len();
    for (index, (number, what)) in points.into_iter().enumerate() {
        let point = format!("{number}:{what}");
        let wanted = match &asked.point {
            Some(asked) => *asked == point,
            None => !asked.cuts && chosen(asked, index, of),
        };
        let Some(death) = death_of(what).filter(|_| wanted) else {
            continue;
        };
        anew()?;
        let mut at = None;
        traced(tool, place, &subject, |n, call| {
            (n == number).then(|| {
                at = Some(format!("{} {} {}", call.program, call.name, call.path));
                death
            })
        })?;
        let Some(at) = at else {
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
    let cut = asked.point.as_ref().is_some_and(|point| point.contains("cut"));
    if cut || asked.point.is_none() && asked.all {
        power::folders(
            tool,
            room.path.as_path(),
            &pristine,
            asked.point.as_deref(),
            |point, state, went| {
                report.take(tool, point, state, went);
            },
        )?;
    }
    Ok(report)
}

fn one(tool: &dyn Tool, asked: &Asked) -> Result<bool, String> {
    let began = Instant::now();
    let room = Room::new(&scratch(), tool.name(), asked.keep)?;
    let report = match tool.subject() {
        Subject::Image => volumes(tool, asked, &room)?,
        Subject::Tree => folders(tool, asked, &room)?,
    };
    let mut good = report.failures.is_empty();
    if asked.all && report.points < report.calls {
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

/// What must fail does.
fn control() -> Result<(), String> {
    let asked = Asked {
        tools: vec![],
        point: None,
        all: true,
        keep: false,
        cuts: false,
        first: true,
    };
    let tool = tools::volumes::Hasty;
    let room = Room::new(&scratch(), tool.name(), false)?;
    if volumes(&tool, &asked, &room)?.failures.is_empty() {
        return Err("a root filesystem that has its planned id from the beginning is not noticed".into());
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn run_worker(args: &[String]) -> Result<(), String> {
    let [name, place, subject, when] = args else {
        return Err("worker TOOL PLACE SUBJECT first|later".into());
    };
    let control: Box<dyn Tool> = Box::new(tools::volumes::Hasty);
    let tool = tools::all()
        .into_iter()
        .chain([control])
        .find(|tool| tool.name() == name)
        .ok_or_else(|| format!("no tool {name}"))?;
    tool.carry(Utf8Path::new(place), Utf8Path::new(subject), when == "later")
}

/// See the module of the program.
pub fn main(args: &[String]) -> ExitCode {
    if args.first().is_some_and(|first| first == "worker") {
        return match run_worker(&args[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let tools = tools::all();
    let mut asked = Asked {
        tools: vec![],
        point: None,
        all: false,
        keep: false,
        cuts: false,
        first: false,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--all" => asked.all = true,
            "--keep" => asked.keep = true,
            "--cuts" => asked.cuts = true,
            "--point" => asked.point = rest.next().cloned(),
            name if tools.iter().any(|tool| tool.name() == name) => asked.tools.push(name.to_owned()),
            // `cargo test` gives its own options to every test program.
            option if option.starts_with('-') => {}
            // A filter for the names of tests, of which none is here.
            _ => return ExitCode::SUCCESS,
        }
    }
    let mut good = true;
    for row in leftovers::table().lines() {
        println!("table\t{row}");
    }
    for tool in tools
        .iter()
        .filter(|t| asked.tools.is_empty() || asked.tools.iter().any(|n| n == t.name()))
    {
        if let Some(missing) = tool.programs().iter().find(|program| !is_there(program)) {
            println!("skipped\t{}\t{missing} is not installed", tool.name());
            continue;
        }
        match one(tool.as_ref(), &asked) {
            Ok(went) => good &= went,
            Err(why) => {
                println!("failed\t{}\t-\t-\t{}", tool.name(), why.replace('\n', " "));
                good = false;
            }
        }
    }
    if asked.tools.is_empty()
        && tools::volumes::Hasty
            .programs()
            .iter()
            .all(|program| is_there(program))
    {
        match control() {
            Ok(()) => println!("control\tthe planned id given at once is noticed"),
            Err(why) => {
                println!("failed\tcontrol\t-\t-\t{}", why.replace('\n', " "));
                good = false;
            }
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
