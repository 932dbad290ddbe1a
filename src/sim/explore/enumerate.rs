//! All scenarios of a case: every crash, every fault, every pair, and a third fault where two reach a new machine.
//!
//! Every enumeration is complete, and a scenario found here is the same as the one that its schedule names.
//!
//! A crash leaves the machine as it was at that point, so one run shows what every crash in it would leave. A scenario that
//! comes to a known machine continues as is known (`state_hash`); that makes pairs cheap. A fault at a point where the
//! machine and the run's knowledge are as at a point tried before continues like that one; once in a while it is tried
//! nevertheless.
//!
//! `check` has the checks.

use crate::sim::check::coverage::{Coverage, Failure};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::{End, Ending, RUNS_MAX, Run, ScenarioRun};
use crate::sim::explore::state_hash::StateHasher;
use crate::sim::inject::faults::{FaultSort, Injection};
use crate::sim::inject::point::{Moment, injections};
use crate::sim::inject::schedule::{InjectionAt, Schedule};
use crate::sim::model::crash::{Crash, Keep};
use crate::sim::world::run::Snapshot;
use landfall_states::Phase;
use landfall_states::fault::FaultClass;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Every so many faults at a point that is known are run all the same.
const KNOWN_RUN_EVERY: u64 = 101;

/// How it goes on from a machine when nothing goes wrong any more.
#[derive(Debug)]
struct Tail {
    breaches: Vec<Breach>,
    landed: bool,
    asked: bool,
    begins_at: Option<Phase>,
}

/// An enumeration under way.
#[derive(Debug)]
pub struct Explorer<'h> {
    harness: &'h Harness,
    state_hasher: StateHasher,
    tails: HashMap<u64, Rc<Tail>>,
    landings: HashMap<u64, Vec<Breach>>,
    /// Moments of runs whose crashes have been run.
    moments: HashSet<u64>,
    /// Points of runs whose faults have been run.
    known: HashSet<u64>,
    /// Faults that were not run because of that.
    known_met: u64,
    /// The sorts that are tried, where both crashes are enumerated together.
    sorts: Vec<FaultSort>,
    /// Machines from which a further run was enumerated, or is to be.
    gone_on_from: HashSet<u64>,
    /// What led to those that are yet to be gone on from, when triples are run.
    frontier: Option<Vec<Schedule>>,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// What was found.
    pub coverage: Coverage,
}

/// A crash, where and in which phase.
type Then<'a, 'h> = &'a mut dyn FnMut(&mut Explorer<'h>, ScenarioRun, Schedule, Phase) -> ControlFlow<()>;

impl<'h> Explorer<'h> {
    /// Nothing is explored yet.
    pub fn new(harness: &'h Harness) -> Explorer<'h> {
        Explorer {
            state_hasher: StateHasher::new(harness.setting(), harness.is_planted()),
            harness,
            tails: HashMap::new(),
            landings: HashMap::new(),
            moments: HashSet::new(),
            known: HashSet::new(),
            known_met: 0,
            sorts: FaultSort::ALL.to_vec(),
            gone_on_from: HashSet::new(),
            frontier: None,
            done: Arc::default(),
            stop: Arc::default(),
            coverage: Coverage {
                points: harness.points.len() as u64,
                ..Coverage::default()
            },
        }
    }

    /// Only these sorts of crash.
    pub fn only(mut self, sorts: &[FaultSort]) -> Explorer<'h> {
        self.sorts = sorts.to_vec();
        self
    }

    /// Counts scenarios where others see it, and ends when they say so.
    pub fn shared(mut self, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Explorer<'h> {
        (self.done, self.stop) = (done, stop);
        self
    }

    fn digest(&mut self, scenario: &ScenarioRun) -> u64 {
        self.state_hasher.digest(&scenario.machine, &scenario.checks)
    }

    /// Every single crash.
    pub fn crashes(&mut self) -> ControlFlow<()> {
        let scenario = self.harness.scenario();
        self.each_crash(
            &scenario,
            &Schedule::default(),
            &mut |this, scenario, schedule, phase| this.follow(scenario, schedule, phase, None),
        )
    }

    /// Every single fault of these sorts: at every point everything that can go wrong there.
    pub fn faults(&mut self, sorts: &[FaultSort]) -> ControlFlow<()> {
        let scenario = self.harness.scenario();
        for (at, point) in (0_u32..).zip(&self.harness.points) {
            for what in injections(point, sorts) {
                let shot = InjectionAt { run: 0, at, what };
                self.one_fault(&scenario, &Schedule::default(), shot, point.phase)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Every pair: a fault at every point, and another one at every point behind it, in the same run or in the next.
    /// `share` of `shares` tells which part of the first ones is done, so that several threads can divide them.
    pub fn pairs(&mut self, share: u64, shares: u64) -> ControlFlow<()> {
        let sorts = self.sorts.clone();
        let (mut firsts, mut in_run) = (vec![], vec![]);
        let scenario = self.harness.scenario();
        self.each_crash(
            &scenario,
            &Schedule::default(),
            &mut |this, scenario, schedule, _| {
                let digest = this.digest(&scenario);
                if this.gone_on_from.insert(digest) {
                    firsts.push((scenario, schedule));
                }
                ControlFlow::Continue(())
            },
        )?;
        for (at, point) in (0_u32..).zip(&self.harness.points) {
            in_run.extend(
                injections(point, &sorts)
                    .into_iter()
                    .map(|what| (InjectionAt { run: 0, at, what }, point.phase)),
            );
        }
        // Those of one thread are neighbours: their second runs meet most.
        let part = |count: usize| {
            let (count, shares) = (count as u64, shares.max(1));
            let bound = |n: u64| usize::try_from(count * n / shares).unwrap_or(usize::MAX);
            bound(share)..bound(share + 1)
        };
        for (shot, phase) in in_run.drain(part(in_run.len())) {
            self.in_the_same_run(shot, phase, &sorts)?;
        }
        for (scenario, schedule) in firsts.drain(part(firsts.len())) {
            self.in_the_next_run(&scenario, &schedule, &sorts)?;
        }
        ControlFlow::Continue(())
    }

    /// Every pair, and a third fault at every point of the next run, wherever two have left a machine that is not known.
    /// Level by level: a machine is gone on from where it was met with the fewest faults.
    pub fn triples(&mut self, share: u64, shares: u64) -> ControlFlow<()> {
        self.frontier = Some(vec![]);
        self.pairs(share, shares)?;
        let sorts = self.sorts.clone();
        for schedule in self.frontier.take().unwrap_or_default() {
            let mut scenario = self.harness.scenario();
            for _ in 0..=schedule.0.iter().map(|shot| shot.run).max().unwrap_or(0) {
                let (run, world) = scenario.run(&schedule);
                scenario.settle(world, None);
                self.coverage.runs += 1;
                if let End::Said(Err(halt)) = &run.end {
                    scenario.repair(&halt.fault);
                }
            }
            self.in_the_next_run(&scenario, &schedule, &sorts)?;
        }
        ControlFlow::Continue(())
    }

    /// Every fault in the run that begins where `scenario` is.
    fn in_the_next_run(
        &mut self,
        scenario: &ScenarioRun,
        schedule: &Schedule,
        sorts: &[FaultSort],
    ) -> ControlFlow<()> {
        self.coverage.firsts += 1;
        self.each_crash(scenario, schedule, &mut |this, scenario, schedule, phase| {
            this.follow(scenario, schedule, phase, None)
        })?;
        let (run, moments) = self.recorded(scenario, schedule);
        for moment in moments {
            self.faults_at(scenario, schedule, &run, moment, 0, sorts)?;
        }
        ControlFlow::Continue(())
    }

    /// Every fault behind a fault: later in the run, and in the next one when it stopped.
    fn in_the_same_run(&mut self, shot: InjectionAt, phase: Phase, sorts: &[FaultSort]) -> ControlFlow<()> {
        let first = Schedule(vec![shot]);
        let scenario = self.harness.scenario();
        self.each_crash(&scenario, &first, &mut |this, scenario, schedule, phase| {
            this.follow(scenario, schedule, phase, None)
        })?;
        let (run, moments) = self.recorded(&scenario, &first);
        let stopped = !matches!(run.end, End::Said(Ok(_)));
        for moment in moments.into_iter().filter(|moment| moment.at > shot.at) {
            let state = after_fault(shot.what, moment.phase == phase, stopped);
            self.faults_at(&scenario, &first, &run, moment, state, sorts)?;
        }
        if !stopped {
            return ControlFlow::Continue(());
        }
        let mut next = scenario;
        let (run, world) = next.run(&first);
        next.settle(world, None);
        if let End::Said(Err(halt)) = &run.end {
            next.repair(&halt.fault);
        }
        self.coverage.runs += 1;
        let digest = self.digest(&next);
        if self.gone_on_from.insert(digest) {
            self.in_the_next_run(&next, &first, sorts)?;
        }
        ControlFlow::Continue(())
    }

    fn recorded(&mut self, scenario: &ScenarioRun, schedule: &Schedule) -> (Run, Vec<Snapshot>) {
        self.coverage.runs += 1;
        scenario.clone().record_points(schedule)
    }

    /// Every fault at a point of a run that was recorded. `state` is what a fault before it left in the driver.
    fn faults_at(
        &mut self,
        scenario: &ScenarioRun,
        before: &Schedule,
        run: &Run,
        moment: Snapshot,
        state: u64,
        sorts: &[FaultSort],
    ) -> ControlFlow<()> {
        let Snapshot {
            at,
            moment: _,
            phase,
            machine,
            checks,
            driver,
        } = moment;
        let Some(point) = usize::try_from(at).ok().and_then(|at| run.points.get(at)) else {
            return ControlFlow::Continue(());
        };
        let mut hasher = DefaultHasher::new();
        (self.state_hasher.digest(&machine, &checks), driver, state).hash(&mut hasher);
        (point.label, phase).hash(&mut hasher);
        let is_known = !self.known.insert(hasher.finish());
        for what in injections(point, sorts) {
            let shot = InjectionAt {
                run: scenario.runs,
                at,
                what,
            };
            if is_known {
                self.known_met += 1;
                if !self.known_met.is_multiple_of(KNOWN_RUN_EVERY) {
                    self.coverage.met += 1;
                    self.coverage.scenarios += 1;
                    continue;
                }
            }
            self.one_fault(scenario, before, shot, phase)?;
        }
        ControlFlow::Continue(())
    }

    /// The run that begins where `scenario` is, with one fault more.
    fn one_fault(
        &mut self,
        scenario: &ScenarioRun,
        before: &Schedule,
        shot: InjectionAt,
        phase: Phase,
    ) -> ControlFlow<()> {
        let mut schedule = before.clone();
        schedule.0.push(shot);
        let mut scenario = scenario.clone();
        let (run, world) = scenario.run(&schedule);
        scenario.settle(world, None);
        self.coverage.runs += 1;
        match run.end {
            End::Said(Ok(_)) => self.arrived(scenario, schedule, phase),
            End::Said(Err(halt)) => {
                scenario.repair(&halt.fault);
                self.follow(scenario, schedule, phase, Some(halt.fault.class))
            }
            End::Crashed(_) => self.follow(scenario, schedule, phase, None),
        }
    }

    /// Every crash at every point of the run that begins where `scenario` is: before, after every part, with every subset
    /// that a power cut may keep. `before` is what has gone wrong, and may go wrong earlier in this run.
    pub(crate) fn each_crash(
        &mut self,
        scenario: &ScenarioRun,
        before: &Schedule,
        then: Then<'_, 'h>,
    ) -> ControlFlow<()> {
        let mut recorded = scenario.clone();
        let moments = recorded.record(before);
        self.coverage.runs += 1;
        let run = scenario.runs;
        for moment in moments {
            let Snapshot {
                at,
                moment,
                phase,
                machine,
                checks,
                driver: _,
            } = moment;
            let dead = |crash: Crash| {
                let mut crashed = scenario.clone();
                crashed.runs += 1;
                (crashed.machine, crashed.checks) = (machine.clone(), checks.clone());
                crashed.crash(crash);
                crashed
            };
            let digest = self.state_hasher.digest(&machine, &checks);
            // In the first run of all everything is run, so that every phase has its row.
            if !self.moments.insert(digest) && !before.0.is_empty() {
                self.coverage.met += 1;
                self.coverage.scenarios += 1;
                continue;
            }
            let keeps = match moment {
                // A power cut after all parts keeps any subset of them, and tears any: that covers every moment before.
                Moment::During(_) => vec![],
                Moment::Before | Moment::After => {
                    let target = machine.target(self.harness.setting());
                    let pending = machine.disks[target].pending().len();
                    if before.0.is_empty() {
                        Keep::subsets(pending)
                    } else {
                        Keep::options(pending)
                    }
                }
            };
            for crash in std::iter::once(Crash::Kill).chain(keeps.into_iter().map(Crash::Cut)) {
                let what = match moment {
                    Moment::Before => Injection::Before(crash),
                    Moment::During(parts) => Injection::During(parts, crash),
                    Moment::After => Injection::After(crash),
                };
                if !FaultSort::of(what).is_some_and(|sort| self.sorts.contains(&sort)) {
                    continue;
                }
                let mut schedule = before.clone();
                schedule.0.push(InjectionAt { run, at, what });
                then(self, dead(crash), schedule, phase)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// A run got over its faults by itself.
    fn arrived(&mut self, scenario: ScenarioRun, schedule: Schedule, phase: Phase) -> ControlFlow<()> {
        self.coverage.scenarios += 1;
        let breaches = self.landing(scenario);
        if let Some(sort) = schedule.0.last().and_then(|shot| FaultSort::of(shot.what)) {
            let cell = self.coverage.cells.entry((phase, sort)).or_default();
            cell.scenarios += 1;
            cell.went_on += 1;
            cell.failed += u64::from(!breaches.is_empty());
        }
        self.judge(schedule, breaches)
    }

    /// Goes on from a crash, or a stop.
    fn follow(
        &mut self,
        scenario: ScenarioRun,
        schedule: Schedule,
        phase: Phase,
        stopped: Option<FaultClass>,
    ) -> ControlFlow<()> {
        self.coverage.scenarios += 1;
        if let Some(mut frontier) = self.frontier.take() {
            let digest = self.digest(&scenario);
            if self.gone_on_from.insert(digest) {
                frontier.push(schedule.clone());
            }
            self.frontier = Some(frontier);
        }
        let tail = self.tail(scenario);
        if let Some(sort) = schedule.0.last().and_then(|shot| FaultSort::of(shot.what)) {
            let cell = self.coverage.cells.entry((phase, sort)).or_default();
            cell.scenarios += 1;
            cell.stopped += u64::from(stopped.is_some());
            cell.stopped_because.extend(stopped);
            cell.resumed += u64::from(tail.landed);
            cell.asked += u64::from(tail.asked);
            cell.resumed_at.extend(tail.begins_at);
            cell.failed += u64::from(!tail.breaches.is_empty());
        }
        self.judge(schedule, tail.breaches.clone())
    }

    fn tail(&mut self, mut scenario: ScenarioRun) -> Rc<Tail> {
        let digest = self.digest(&scenario);
        if let Some(tail) = self.tails.get(&digest) {
            self.coverage.met += 1;
            return tail.clone();
        }
        let first = scenario.runs;
        let mut halts = vec![];
        let (mut asked, mut begins_at) = (false, None);
        let ending = loop {
            let (run, world) = scenario.run(&Schedule::default());
            self.coverage.runs += 1;
            if scenario.runs == first + 1 {
                (asked, begins_at) = (world.asked, world.begins_at.get());
            }
            scenario.settle(world, None);
            match run.end {
                End::Said(Ok(_)) => break Ending::Landed,
                // The same stop twice, with nothing wrong any more, is the end.
                End::Said(Err(halt)) if halts.last() == Some(&halt) => break Ending::Stopped(halt),
                End::Said(Err(halt)) => {
                    scenario.repair(&halt.fault);
                    halts.push(halt);
                }
                End::Crashed(_) => {}
            }
            if scenario.runs - first >= RUNS_MAX {
                break Ending::Endless;
            }
        };
        let landed = ending == Ending::Landed;
        let breaches = match ending {
            Ending::Landed => self.landing(scenario),
            Ending::Stopped(_) | Ending::Endless => self.harness.conclude(scenario, ending).breaches,
        };
        let tail = Rc::new(Tail {
            breaches,
            landed,
            asked,
            begins_at,
        });
        self.tails.insert(digest, tail.clone());
        tail
    }

    fn landing(&mut self, scenario: ScenarioRun) -> Vec<Breach> {
        let digest = self.digest(&scenario);
        if let Some(breaches) = self.landings.get(&digest) {
            return breaches.clone();
        }
        self.coverage.runs += 1;
        let breaches = self.harness.conclude(scenario, Ending::Landed).breaches;
        self.landings.insert(digest, breaches.clone());
        breaches
    }

    fn judge(&mut self, schedule: Schedule, breaches: Vec<Breach>) -> ControlFlow<()> {
        let breaches: Vec<Breach> = self.harness.watched(breaches);
        let wanted = breaches.iter().any(|b| self.harness.wants(b.invariant));
        if !breaches.is_empty() {
            self.coverage.fails(Failure {
                case: self.harness.setting().case,
                schedule,
                operator_action: None,
                breaches,
            });
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        if wanted || self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Runs every `nth` crash the long way too: how many that were, and the schedules of those that differ.
    pub fn differences(&mut self, nth: u64) -> (u64, Vec<String>) {
        let mut differences = vec![];
        let (mut count, mut compared) = (0, 0);
        let scenario = self.harness.scenario();
        let _all = self.each_crash(
            &scenario,
            &Schedule::default(),
            &mut |this, scenario, schedule, _| {
                count += 1;
                if count % nth != 0 {
                    return ControlFlow::Continue(());
                }
                compared += 1;
                let mut long = this.harness.scenario();
                let (_, world) = long.run(&schedule);
                long.settle(world, None);
                let tail = this.tail(scenario.clone());
                let report = this.harness.run(&schedule, false);
                let broken =
                    |breaches: &[Breach]| breaches.iter().map(|b| b.invariant).collect::<Vec<Invariant>>();
                if long.machine != scenario.machine
                    || this.digest(&long) != this.digest(&scenario)
                    || broken(&report.breaches) != broken(&tail.breaches)
                    || (report.ending == Ending::Landed) != tail.landed
                {
                    differences.push(schedule.to_string());
                }
                ControlFlow::Continue(())
            },
        );
        (compared, differences)
    }
}

/// What a fault leaves in the driver behind it: a step that counts its retries, a run that stops, or nothing.
fn after_fault(what: Injection, same_phase: bool, stopped: bool) -> u64 {
    let left = match what {
        Injection::Fail(class) | Injection::FailAfter(class) | Injection::FailDuring(_, class) => match class
        {
            FaultClass::Transient => u64::from(same_phase),
            other => 10 + other as u64,
        },
        Injection::Hang | Injection::Network(_) => u64::from(same_phase),
        Injection::Strange => 5 * u64::from(same_phase),
        Injection::Lie | Injection::LieDuring(_) => 2 * u64::from(same_phase),
        Injection::Environment(around) => 20 + around as u64,
        Injection::Stop | Injection::Swap => 3,
        Injection::Before(_) | Injection::During(..) | Injection::After(_) => 4,
    };
    left + 100 * u64::from(stopped)
}

impl Harness {
    /// Every single crash.
    pub fn crashes(&self) -> Coverage {
        self.explored(Explorer::crashes)
    }

    /// Every fault at every point.
    pub fn faults(&self) -> Coverage {
        self.explored(|explorer| explorer.faults(&FaultSort::ALL))
    }

    /// A part of every pair.
    pub fn pairs(&self, share: u64, shares: u64) -> Coverage {
        self.explored(|explorer| explorer.pairs(share, shares))
    }

    /// A part of every triple of these sorts; see [`Explorer::triples`].
    pub fn triples(&self, share: u64, shares: u64, sorts: &[FaultSort]) -> Coverage {
        self.explored_only(sorts, |explorer| explorer.triples(share, shares))
    }

    /// A part of every pair of these sorts.
    pub fn pairs_of(&self, share: u64, shares: u64, sorts: &[FaultSort]) -> Coverage {
        self.explored_only(sorts, |explorer| explorer.pairs(share, shares))
    }

    fn explored<'h>(&'h self, explore: impl FnOnce(&mut Explorer<'h>) -> ControlFlow<()>) -> Coverage {
        self.explored_only(&FaultSort::ALL, explore)
    }

    fn explored_only<'h>(
        &'h self,
        sorts: &[FaultSort],
        explore: impl FnOnce(&mut Explorer<'h>) -> ControlFlow<()>,
    ) -> Coverage {
        let mut explorer = Explorer::new(self).only(sorts);
        // That it found what it was to find is in the coverage.
        let _stopped = explore(&mut explorer);
        explorer.coverage
    }
}
