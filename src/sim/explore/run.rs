//! A scenario run: run, crash, resume, until it landed or stopped by name.
//!
//! It is bounded. Only the machine and what the checks saw outlive a run.
//!
//! `explore::harness` and `explore::enumerate` choose the scenarios.

use crate::driver;
use crate::driver::{Halt, Outcome, Request};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::check::visible_effects::Effect;
use crate::sim::check::watch::Checks;
use crate::sim::inject::faults::Injection;
#[cfg(feature = "planted")]
use crate::sim::inject::planted::Bug;
use crate::sim::inject::planted::planted;
use crate::sim::inject::point::{Moment, Point};
use crate::sim::inject::schedule::{InjectionAt, Schedule};
use crate::sim::model::crash::{Crash, Keep};
use crate::sim::model::disk::Key;
use crate::sim::model::machine::Machine;
use crate::sim::model::setting::Setting;
use crate::sim::world::run::{SimWorld, Snapshot};
use landfall_states::fault::Fault;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How often a scenario is begun again, with nothing going wrong, before it is called endless.
pub const RUNS_MAX: u32 = 8;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Said(Result<Outcome, Halt>),
    /// It crashed.
    Crashed(Crash),
}

/// A scenario under way: what outlives a run.
#[derive(Debug, Clone)]
pub struct ScenarioRun {
    setting: Rc<Setting>,
    /// What is asked of the driver in the runs to come.
    pub request: Request,
    /// The machine.
    pub machine: Machine,
    /// The checks.
    pub checks: Checks,
    /// Runs so far.
    pub runs: u32,
    /// What the planted bug is, if any.
    #[cfg(feature = "planted")]
    pub bug: Option<Bug>,
    /// Digest of the trace.
    pub trace: u64,
    /// How many points each run passed.
    pub passed: Vec<u32>,
    /// Faults of the schedule that could not happen where it has them, and why.
    pub impossible: Vec<(InjectionAt, String)>,
    /// The trace, when it is kept.
    pub lines: Option<Vec<String>>,
    recording: bool,
    watching: bool,
    every_point: bool,
}

/// What a run was.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// What it passed.
    pub points: Vec<Point>,
}

impl ScenarioRun {
    /// A scenario begins.
    pub fn new(setting: &Rc<Setting>) -> ScenarioRun {
        ScenarioRun {
            setting: setting.clone(),
            request: setting.request.clone(),
            machine: Machine::new(setting),
            checks: Checks::default(),
            runs: 0,
            #[cfg(feature = "planted")]
            bug: None,
            trace: 0,
            passed: vec![],
            impossible: vec![],
            lines: None,
            recording: false,
            watching: false,
            every_point: false,
        }
    }

    /// From now on another configuration is asked for.
    pub fn asks(&mut self, setting: &Rc<Setting>) {
        if planted!(self, IgnoreLayout) && setting.request.layout != self.request.layout {
            return;
        }
        self.setting = setting.clone();
        self.request = setting.request.clone();
    }

    /// The same with a planted bug.
    #[cfg(feature = "planted")]
    pub(crate) fn with(self, bug: Option<Bug>) -> ScenarioRun {
        ScenarioRun { bug, ..self }
    }

    /// Whether a bug is planted.
    #[cfg(feature = "planted")]
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// One run; a crash is applied with `keep`, or as the schedule says.
    pub fn run(&mut self, schedule: &Schedule) -> (Run, SimWorld) {
        let mut world = SimWorld::new(
            self.setting.clone(),
            self.machine.clone(),
            std::mem::take(&mut self.checks),
            schedule.clone(),
            self.runs,
        );
        #[cfg(feature = "planted")]
        {
            world.bug = self.bug;
        }
        world.anew = self.request.reinstall_requested;
        world.every_point = self.every_point;
        world.trace.set(self.trace);
        world.snapshots = self.recording.then(Vec::new);
        world.effects = self.watching.then(Vec::new);
        world.lines = self.lines.take().map(RefCell::new);
        let request = self.request.clone();
        let end = {
            let future = pin!(driver::run(&mut world, &request));
            let mut future = future;
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(said) => Some(End::Said(said)),
                Poll::Pending => None,
            }
        };
        let end = match (end, world.crash) {
            (Some(end), _) => end,
            (None, Some(crash)) => End::Crashed(crash),
            // Nothing here waits for anything but a crash.
            (None, None) => End::Crashed(Crash::Kill),
        };
        if let Some(how) = world.last_word.borrow().objection(end.last_word()) {
            world.checks.borrow_mut().breach(Invariant::EndTold, how);
        }
        let points = world.points.clone();
        let pending = world
            .machine
            .disks
            .iter()
            .map(|disk| disk.pending().len())
            .max()
            .unwrap_or(0);
        for shot in schedule.0.iter().filter(|shot| shot.run == self.runs) {
            let point = usize::try_from(shot.at).ok().and_then(|at| points.get(at));
            let named = shot.what.crash().and_then(Crash::names);
            let why = point.and_then(|point| {
                point
                    .objection(shot.what)
                    .map(|why| format!("{}: {why}", point.label))
                    .or_else(|| {
                        let hinders = "an earlier fault of the schedule already makes it fail, so this one does not happen";
                        let is_hindered = world.not_applied.contains(&shot.at);
                        is_hindered.then(|| format!("{}: {hinders}", point.label))
                    })
                    .or_else(|| {
                        let late = "this run no longer looks for the disk by its name, so another one in its place is not seen";
                        let is_late = shot.what == Injection::Swap && world.swapped;
                        is_late.then(|| format!("{}: {late}", point.label))
                    })
                    .or_else(|| {
                        (named? >= pending).then(|| {
                            format!(
                                "{}: {pending} writes are pending then, numbered from 0",
                                point.label
                            )
                        })
                    })
            });
            self.impossible.extend(why.map(|why| (*shot, why)));
        }
        self.runs += 1;
        self.passed.push(u32::try_from(points.len()).unwrap_or(u32::MAX));
        (Run { end, points }, world)
    }

    /// One run without faults.
    pub fn run_to_end(&mut self) {
        let (_, world) = self.run(&Schedule::default());
        self.settle(world, None);
    }

    /// Takes back what outlives the run.
    pub fn settle(&mut self, world: SimWorld, keep: Option<Keep>) {
        self.trace = world.trace.get();
        let mut world = world;
        self.lines = world.lines.take().map(RefCell::into_inner);
        (self.machine, self.checks) = world.end(keep);
    }

    /// One run; every moment of it at which it could have crashed.
    pub fn record(&mut self, schedule: &Schedule) -> Vec<Snapshot> {
        self.recording = true;
        let (_, world) = self.run(schedule);
        self.recording = false;
        world.snapshots.unwrap_or_default()
    }

    /// One run without faults; what can be seen of it on the disk's bytes.
    pub fn watch(&mut self) -> Vec<Effect> {
        self.watching = true;
        let (_, world) = self.run(&Schedule::default());
        self.watching = false;
        world.effects.unwrap_or_default()
    }

    /// One run; every point of it, also those at which nothing happens to the machine.
    pub fn record_points(&mut self, schedule: &Schedule) -> (Run, Vec<Snapshot>) {
        (self.recording, self.every_point) = (true, true);
        let (run, mut world) = self.run(schedule);
        (self.recording, self.every_point) = (false, false);
        let mut snapshots = world.snapshots.take().unwrap_or_default();
        snapshots.retain(|snapshot| snapshot.moment == Moment::Before);
        self.settle(world, None);
        (run, snapshots)
    }

    /// Whoever reads why the run stopped does what it says.
    pub fn repair(&mut self, fault: &Fault) {
        if fault.next().ends_with("--repin") {
            self.request.repin = true;
        }
        self.machine.repair(&self.setting, Some(fault));
    }

    /// The crash of a run that was recorded.
    pub fn crash(&mut self, crash: Crash) {
        self.machine.crash(&self.setting, crash);
        self.checks.run_over(&self.setting, &self.machine);
    }

    /// Goes on until it landed, or stopped by name, or will not end.
    pub fn finish(&mut self, schedule: &Schedule) -> Ending {
        let mut halts = vec![];
        // Runs in which something goes wrong do not count.
        let disturbed: BTreeSet<u32> = schedule.0.iter().map(|shot| shot.run).collect();
        let most = RUNS_MAX.saturating_add(u32::try_from(disturbed.len()).unwrap_or(u32::MAX));
        while self.runs < most {
            let (run, world) = self.run(schedule);
            self.settle(world, None);
            match run.end {
                End::Said(Ok(_)) => return Ending::Landed,
                End::Said(Err(halt)) => {
                    self.repair(&halt.fault);
                    // The same stop twice, and this time nothing went wrong, is the end.
                    let quiet = schedule.0.iter().all(|shot| shot.run + 1 < self.runs);
                    if quiet && halts.last() == Some(&halt) {
                        return Ending::Stopped(halt);
                    }
                    halts.push(halt);
                }
                End::Crashed(_) => {}
            }
        }
        Ending::Endless
    }
}

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Landed.
    Landed,
    /// A named stop, twice the same.
    Stopped(Halt),
    /// Neither within the bound.
    Endless,
}

/// What came of a whole scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// What it broke.
    pub breaches: Vec<Breach>,
    /// Runs it took.
    pub runs: u32,
    /// Digest of the trace.
    pub trace: u64,
    /// The trace.
    pub lines: Vec<String>,
    /// What was destroyed on the target.
    pub destroyed: Vec<Key>,
    /// How many points each run passed, the start after the landing left out.
    pub passed: Vec<u32>,
    /// Faults that could not happen where the schedule has them, and why.
    pub impossible: Vec<(InjectionAt, String)>,
}

impl End {
    /// The event that has to tell it; `None`: nobody was left to tell it.
    fn last_word(&self) -> Option<&'static str> {
        match self {
            End::Said(Ok(Outcome::Landed { .. })) => Some("landed"),
            End::Said(Ok(Outcome::AlreadyLanded { .. })) => Some("already_landed"),
            End::Said(Ok(Outcome::NothingToResume { .. })) => Some("nothing_to_resume"),
            End::Said(Err(_)) => Some("stopped"),
            End::Crashed(_) => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Said(Ok(Outcome::Landed { .. })) => f.write_str("it landed"),
            End::Said(Ok(Outcome::AlreadyLanded { .. })) => f.write_str("it says that it had landed before"),
            End::Said(Ok(Outcome::NothingToResume { .. })) => f.write_str("it finds nothing to resume"),
            End::Said(Err(halt)) => write!(f, "it stops: {}", halt.fault),
            End::Crashed(crash) => write!(f, "it crashed by {crash}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::Phase;

    /// Where the first run stops when this goes wrong.
    fn stops_in(schedule: &str) -> Option<Phase> {
        let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
        let (run, _) = ScenarioRun::new(&setting).run(&schedule.parse().unwrap());
        match run.end {
            End::Said(Err(halt)) => halt.phase,
            other => panic!("{schedule}: {other:?}"),
        }
    }

    #[test]
    fn before_anything_is_begun_no_phase_is_to_blame() {
        let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
        let (quiet, _) = ScenarioRun::new(&setting).run(&Schedule::default());
        let at = |label: &str| {
            let found = quiet.points.iter().position(|point| point.label == label);
            found.unwrap_or_else(|| panic!("no point {label:?}"))
        };
        for early in ["survey", "preflight", "hold the disk", "flush the held disk"] {
            assert_eq!(
                stops_in(&format!("0.{}:fail:permanent", at(early))),
                None,
                "{early}"
            );
        }
        // The first look of the first step is the first that has one.
        let first_look = at("look at the table");
        assert_eq!(
            stops_in(&format!("0.{first_look}:fail:permanent")),
            Some(Phase::Planned)
        );
    }

    /// A device that lies is not survived, so nobody can name a point for one; a program that lies is tried.
    #[test]
    fn what_landfall_writes_itself_does_not_lie() {
        let setting = Rc::new(Setting::new("plain/flake/foreign/person".parse().unwrap()).unwrap());
        let (quiet, _) = ScenarioRun::new(&setting).run(&Schedule::default());
        let mut lied = 0;
        for (at, point) in quiet.points.iter().enumerate() {
            for lie in ["lie", "lie-during1"] {
                let mut scenario = ScenarioRun::new(&setting);
                let (_, world) = scenario.run(&format!("0.{at}:{lie}").parse().unwrap());
                let own = point.label.starts_with("wipe") || point.label.starts_with("flush");
                assert!(!(own && point.lies), "{}", point.label);
                lied += u32::from(point.lies);
                if !point.lies {
                    assert_eq!(
                        world.points.len(),
                        quiet.points.len(),
                        "{at} {} {lie}",
                        point.label
                    );
                }
            }
        }
        assert!(lied > 10, "{lied} points can lie");
        let mut scenario = ScenarioRun::new(&setting);
        assert_eq!(
            scenario.finish(&"0.14:lie,1.3:stop".parse().unwrap()),
            Ending::Landed
        );
    }

    /// Every end that is none of a crash is told, once and last.
    #[test]
    fn every_end_is_told() {
        let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
        let mut scenario = ScenarioRun::new(&setting);
        let mut ends = vec![];
        let mut run = |scenario: &mut ScenarioRun, schedule: &str, resume_only: bool| {
            scenario.request.resume_only = resume_only;
            let schedule = match schedule {
                "" => Schedule::default(),
                faults => faults.parse().unwrap(),
            };
            let (run, world) = scenario.run(&schedule);
            ends.push(run.end.last_word());
            scenario.settle(world, None);
        };
        run(&mut scenario, "", true);
        run(&mut scenario, "1.7:stop", false);
        run(&mut scenario, "2.9:before:kill", true);
        run(&mut scenario, "", false);
        run(&mut scenario, "", false);
        run(&mut scenario, "", true);
        let breaches = &scenario.checks.breaches;
        assert!(breaches.is_empty(), "{breaches:?}");
        let words = |words: &[&'static str]| words.iter().map(|word| Some(*word)).collect::<Vec<_>>();
        assert_eq!(ends[..2], words(&["nothing_to_resume", "stopped"]));
        assert_eq!(ends[2], None);
        assert_eq!(ends[3..], words(&["landed", "already_landed", "already_landed"]));
    }

    /// The control: an end that is not told is noticed, and that of every other run is still told.
    #[cfg(feature = "planted")]
    #[test]
    fn an_end_that_is_not_told_is_noticed() {
        let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
        let mut scenario = ScenarioRun::new(&setting).with(Some(Bug::EndUntold));
        scenario.run_to_end();
        assert!(scenario.checks.breaches.is_empty());
        scenario.run_to_end();
        let breaches: Vec<_> = scenario.checks.breaches.iter().map(|b| b.invariant).collect();
        assert_eq!(breaches, [Invariant::EndTold]);
    }

    /// As many runs with a fault as there are: the last ones have none.
    #[test]
    fn many_faults_are_no_endless_scenario() {
        let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
        for runs in [RUNS_MAX, 3 * RUNS_MAX] {
            let shots: Vec<String> = (0..runs).map(|run| format!("{run}.3:before:kill")).collect();
            let mut scenario = ScenarioRun::new(&setting);
            let ending = scenario.finish(&shots.join(",").parse().unwrap());
            assert_eq!((ending, scenario.runs), (Ending::Landed, runs + 1));
        }
    }

    /// Two starts stopped in the same words, each by something of its own, are not the end: the third has nothing wrong.
    #[test]
    fn what_went_wrong_twice_is_not_for_ever() {
        let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
        for schedule in ["0.7:stop,1.2:stop", "0.3:fail:hardware,1.3:fail:hardware"] {
            let mut scenario = ScenarioRun::new(&setting);
            let ending = scenario.finish(&schedule.parse().unwrap());
            assert_eq!((ending, scenario.runs), (Ending::Landed, 3), "{schedule}");
        }
    }
}
