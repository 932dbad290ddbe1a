//! The program's arguments and its order: the requested steps, one after the other, and what must fail.
//!
//! A step whose programs are missing is reported as skipped. What needs the laboratory's machine is begun nowhere else.
//!
//! `points` and `machine` have the points of a step.

use crate::choice::Point;
use crate::points::{self, Report, Room};
use crate::tools::installed::Install;
use crate::tools::{self, Tool};
use crate::{ending, ground, machine};
use camino::Utf8Path;
use landfall::sim::model::leftovers;
use std::process::ExitCode;

/// A part of many points, spread over all of them: the parts 1/N to N/N are all, each point once.
#[derive(Clone, Copy)]
pub struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// Whether the point at this place is in it.
    pub fn takes(self, index: usize) -> bool {
        index % self.of == self.number - 1
    }
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Part { number, of }),
            _ => Err(format!("--part {text}: a part is NUMBER/OF, such as 2/8")),
        }
    }
}

/// What is asked for.
#[derive(Default)]
pub struct Asked {
    /// These steps; all when there is none.
    pub tools: Vec<String>,
    /// This one alone.
    pub point: Option<Point>,
    /// Every one.
    pub all: bool,
    /// Every so manieth.
    pub every: Option<usize>,
    /// Of all of them in the machine, this part.
    pub part: Option<Part>,
    /// The folders of a step stay.
    pub keep: bool,
    /// No kills of folders: power cuts alone.
    pub cuts: bool,
    /// The first failure is enough.
    pub first: bool,
    /// The steps that need the laboratory's machine, not the others.
    pub machine: bool,
    /// The system that is installed in it.
    pub system: String,
}

impl Asked {
    /// Whether what was found is enough.
    pub fn is_done(&self, report: &Report) -> bool {
        self.first && !report.failures.is_empty()
    }

    /// Whether what must fail is tried too: where everything is, and in the machine with the step that it is of.
    fn has_control(&self) -> bool {
        let whole = self.tools.is_empty();
        let its_own = self.machine && self.tools.iter().any(|name| name == Install.name());
        (whole || its_own) && self.point.is_none()
    }

    /// Of all points of a step in the machine, whether the one at this place is asked for.
    pub fn takes(&self, index: usize) -> bool {
        self.part.is_none_or(|part| part.takes(index))
    }

    /// Whether so many of so many are to be tried that their figures say something of the step.
    pub fn is_broad(&self) -> bool {
        self.point.is_none() && (self.all || self.every.is_some())
    }

    /// `None`: nothing of this program is asked for.
    fn parse(args: &[String]) -> Result<Option<Asked>, String> {
        let mut asked = Asked::default();
        let machine = args.iter().any(|arg| arg == "--machine");
        let tools = if machine { tools::machine() } else { tools::all() };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            match arg.as_str() {
                "--all" => asked.all = true,
                "--keep" => asked.keep = true,
                "--cuts" => asked.cuts = true,
                "--machine" => asked.machine = true,
                "--point" => asked.point = Some(rest.next().ok_or("--point CALL:WHAT")?.parse()?),
                "--system" => asked.system = rest.next().cloned().unwrap_or_default(),
                "--part" => asked.part = Some(rest.next().ok_or("--part NUMBER/OF")?.parse()?),
                "--every" => {
                    let every = rest.next().and_then(|number| number.parse().ok());
                    asked.every = Some(every.filter(|every| *every > 0).ok_or("--every NUMBER")?);
                }
                name if tools.iter().any(|tool| tool.name() == name) => asked.tools.push(name.to_owned()),
                // `cargo test` gives its own options to every test program.
                option if option.starts_with('-') => {}
                // A filter for the names of tests, of which none is here.
                _ => return Ok(None),
            }
        }
        if asked.machine && !ground::is_here() {
            return Err("--machine: this is not the laboratory's machine".into());
        }
        Ok(Some(asked))
    }
}

/// What must fail does.
fn control() -> Result<&'static str, String> {
    let asked = Asked {
        all: true,
        first: true,
        ..Asked::default()
    };
    let tool = tools::volumes::Hasty;
    if !tool.programs().iter().all(|program| is_there(program)) {
        return Ok("skipped");
    }
    let room = Room::new(tool.name(), false)?;
    if points::volumes(&tool, &asked, &room)?.failures.is_empty() {
        return Err("a root filesystem that has its planned id before the rest of it is not noticed".into());
    }
    Ok("a root filesystem that has its planned id before the rest of it is noticed")
}

fn is_there(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn run_worker(args: &[String]) -> Result<(), String> {
    let [name, place, subject, when] = args else {
        return Err("worker STEP PLACE SUBJECT prepare|first|later".into());
    };
    let tool = tools::all()
        .into_iter()
        .chain(tools::machine())
        .chain(tools::controls())
        .find(|tool| tool.name() == name)
        .ok_or_else(|| format!("no step {name}"))?;
    let (place, subject) = (Utf8Path::new(place), Utf8Path::new(subject));
    match when.as_str() {
        "prepare" => tool.prepare(place, subject),
        when => tool.carry(place, subject, when == "later"),
    }
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
    let asked = match Asked::parse(args) {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(why) = ending::watch().and_then(|()| Room::sweep()) {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let good = steps(&asked);
    match ending::code() {
        Some(code) => ExitCode::from(code),
        None if good => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// The steps that are asked for, and what must fail; whether all is well.
fn steps(asked: &Asked) -> bool {
    let tools = if asked.machine {
        tools::machine()
    } else {
        tools::all()
    };
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
        match points::one(tool.as_ref(), asked) {
            Ok(went) => good &= went,
            Err(why) => {
                println!("failed\t{}\t-\t-\t{}", tool.name(), why.replace('\n', " "));
                good = false;
            }
        }
    }
    if asked.has_control() {
        let control = if asked.machine {
            machine::control(asked)
        } else {
            control()
        };
        match control {
            Ok(said) => println!("control\t{said}"),
            Err(why) => {
                println!("failed\tcontrol\t-\t-\t{}", why.replace('\n', " "));
                good = false;
            }
        }
    }
    good
}
