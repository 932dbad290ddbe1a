//! All scenarios of a case: every crash, every fault, every pair, and a third where two left something new. Law: what is enumerated is enumerated whole, and a scenario
//! found here is the same as the one that its schedule names.
//!
//! A crash leaves the machine as it was at that point, so one run shows what every crash in it would leave; and a scenario
//! that comes to a machine that is known goes on as is known (`state_hash`). That is what makes pairs cheap. A fault at a point
//! where the machine and what the run knows are as they were at a point tried before goes on as that one did; every so
//! often it is tried all the same.
//!
//! Absent: printing; the checks.

use crate::sim::check::coverage::{Failure, Tally};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::{End, Ending, RUNS_MAX, Run, Story};
use crate::sim::explore::state_hash::Digester;
use crate::sim::inject::faults::{Sort, What};
use crate::sim::inject::point::{Moment, whats};
use crate::sim::inject::schedule::{Schedule, Shot};
use crate::sim::model::crash::{Death, Keep};
use crate::sim::world::run::Snapshot;
use landfall_states::Phase;
use landfall_states::fault::FaultClass;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Every so many faults at a point that is known are told all the same.
const KNOWN_TOLD_EVERY: u64 = 101;

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
    digester: Digester,
    tails: HashMap<u64, Rc<Tail>>,
    landings: HashMap<u64, Vec<Breach>>,
    /// Moments of runs whose deaths have been told.
    moments: HashSet<u64>,
    /// Points of runs whose faults have been told.
    known: HashSet<u64>,
    /// Faults that were not told because of that.
    known_met: u64,
    /// The sorts that are told, where both deaths are enumerated together.
    sorts: Vec<Sort>,
    /// Machines from which a further run was enumerated, or is to be.
    gone_on_from: HashSet<u64>,
    /// What led to those that are yet to be gone on from, when triples are told.
    frontier: Option<Vec<Schedule>>,
    told: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// What was found.
    pub tally: Tally,
}

/// A death, where and in which phase.
type Then<'a, 'h> = &'a mut dyn FnMut(&mut Explorer<'h>, Story, Schedule, Phase) -> ControlFlow<()>;

impl<'h> Explorer<'h> {
    /// Nothing is explored yet.
    pub fn new(harness: &'h Harness) -> Explorer<'h> {
        Explorer {
            digester: Digester::new(harness.setting(), harness.bug().is_some()),
            harness,
            tails: HashMap::new(),
            landings: HashMap::new(),
            moments: HashSet::new(),
            known: HashSet::new(),
            known_met: 0,
            sorts: Sort::ALL.to_vec(),
            gone_on_from: HashSet::new(),
            frontier: None,
            told: Arc::default(),
            stop: Arc::default(),
            tally: Tally {
                points: harness.points.len() as u64,
                ..Tally::default()
            },
        }
    }

    /// Only these sorts of death.
    pub fn only(mut self, sorts: &[Sort]) -> Explorer<'h> {
        self.sorts = sorts.to_vec();
        self
    }

    /// Counts stories where others see it, and ends when they say so.
    pub fn shared(mut self, told: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Explorer<'h> {
        (self.told, self.stop) = (told, stop);
        self
    }

    fn digest(&mut self, story: &Story) -> u64 {
        self.digester.digest(&story.machine, &story.checks)
    }

    /// Every single death.
    pub fn deaths(&mut self) -> ControlFlow<()> {
        let story = self.harness.story();
        self.each_death(
            &story,
            &Schedule::default(),
            &mut |this, story, schedule, phase| this.follow(story, schedule, phase, None),
        )
    }

    /// Every single fault of these sorts: at every point everything that can go wrong there.
    pub fn faults(&mut self, sorts: &[Sort]) -> ControlFlow<()> {
        let story = self.harness.story();
        for (at, point) in (0_u32..).zip(&self.harness.points) {
            for what in whats(point, sorts) {
                let shot = Shot { run: 0, at, what };
                self.one_fault(&story, &Schedule::default(), shot, point.phase)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Every pair: a misfortune at every point, and another one at every point behind it, in the same run or in the next.
    /// `share` of `shares` tells which part of the first ones is done, so that several threads can divide them.
    pub fn pairs(&mut self, share: u64, shares: u64) -> ControlFlow<()> {
        let sorts = self.sorts.clone();
        let (mut firsts, mut in_run) = (vec![], vec![]);
        let story = self.harness.story();
        self.each_death(&story, &Schedule::default(), &mut |this, story, schedule, _| {
            let digest = this.digest(&story);
            if this.gone_on_from.insert(digest) {
                firsts.push((story, schedule));
            }
            ControlFlow::Continue(())
        })?;
        for (at, point) in (0_u32..).zip(&self.harness.points) {
            in_run.extend(
                whats(point, &sorts)
                    .into_iter()
                    .map(|what| (Shot { run: 0, at, what }, point.phase)),
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
        for (story, schedule) in firsts.drain(part(firsts.len())) {
            self.in_the_next_run(&story, &schedule, &sorts)?;
        }
        ControlFlow::Continue(())
    }

    /// Every pair, and a third misfortune at every point of the next run, wherever two have left a machine that is not known.
    /// Level by level: a machine is gone on from where it was met with the fewest misfortunes.
    pub fn triples(&mut self, share: u64, shares: u64) -> ControlFlow<()> {
        self.frontier = Some(vec![]);
        self.pairs(share, shares)?;
        let sorts = self.sorts.clone();
        for schedule in self.frontier.take().unwrap_or_default() {
            let mut story = self.harness.story();
            for _ in 0..=schedule.0.iter().map(|shot| shot.run).max().unwrap_or(0) {
                let (run, world) = story.run(&schedule);
                story.settle(world, None);
                self.tally.runs += 1;
                if let End::Said(Err(halt)) = &run.end {
                    story.mend(&halt.fault);
                }
            }
            self.in_the_next_run(&story, &schedule, &sorts)?;
        }
        ControlFlow::Continue(())
    }

    /// Every misfortune in the run that begins where `story` is.
    fn in_the_next_run(&mut self, story: &Story, schedule: &Schedule, sorts: &[Sort]) -> ControlFlow<()> {
        self.tally.firsts += 1;
        self.each_death(story, schedule, &mut |this, story, schedule, phase| {
            this.follow(story, schedule, phase, None)
        })?;
        let (run, moments) = self.recorded(story, schedule);
        for moment in moments {
            self.faults_at(story, schedule, &run, moment, 0, sorts)?;
        }
        ControlFlow::Continue(())
    }

    /// Every misfortune behind a fault: later in the run, and in the next one when it stopped.
    fn in_the_same_run(&mut self, shot: Shot, phase: Phase, sorts: &[Sort]) -> ControlFlow<()> {
        let first = Schedule(vec![shot]);
        let story = self.harness.story();
        self.each_death(&story, &first, &mut |this, story, schedule, phase| {
            this.follow(story, schedule, phase, None)
        })?;
        let (run, moments) = self.recorded(&story, &first);
        let stopped = !matches!(run.end, End::Said(Ok(_)));
        for moment in moments.into_iter().filter(|moment| moment.at > shot.at) {
            let state = after_fault(shot.what, moment.phase == phase, stopped);
            self.faults_at(&story, &first, &run, moment, state, sorts)?;
        }
        if !stopped {
            return ControlFlow::Continue(());
        }
        let mut next = story;
        let (run, world) = next.run(&first);
        next.settle(world, None);
        if let End::Said(Err(halt)) = &run.end {
            next.mend(&halt.fault);
        }
        self.tally.runs += 1;
        let digest = self.digest(&next);
        if self.gone_on_from.insert(digest) {
            self.in_the_next_run(&next, &first, sorts)?;
        }
        ControlFlow::Continue(())
    }

    fn recorded(&mut self, story: &Story, schedule: &Schedule) -> (Run, Vec<Snapshot>) {
        self.tally.runs += 1;
        story.clone().record_points(schedule)
    }

    /// Every fault at a point of a run that was recorded. `state` is what a fault before it left in the driver.
    fn faults_at(
        &mut self,
        story: &Story,
        before: &Schedule,
        run: &Run,
        moment: Snapshot,
        state: u64,
        sorts: &[Sort],
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
        (self.digester.digest(&machine, &checks), driver, state).hash(&mut hasher);
        (point.label, phase).hash(&mut hasher);
        let is_known = !self.known.insert(hasher.finish());
        for what in whats(point, sorts) {
            let shot = Shot {
                run: story.runs,
                at,
                what,
            };
            if is_known {
                self.known_met += 1;
                if !self.known_met.is_multiple_of(KNOWN_TOLD_EVERY) {
                    self.tally.met += 1;
                    self.tally.stories += 1;
                    continue;
                }
            }
            self.one_fault(story, before, shot, phase)?;
        }
        ControlFlow::Continue(())
    }

    /// The run that begins where `story` is, with one fault more.
    fn one_fault(&mut self, story: &Story, before: &Schedule, shot: Shot, phase: Phase) -> ControlFlow<()> {
        let mut schedule = before.clone();
        schedule.0.push(shot);
        let mut story = story.clone();
        let (run, world) = story.run(&schedule);
        story.settle(world, None);
        self.tally.runs += 1;
        match run.end {
            End::Said(Ok(_)) => self.arrived(story, schedule, phase),
            End::Said(Err(halt)) => {
                story.mend(&halt.fault);
                self.follow(story, schedule, phase, Some(halt.fault.class))
            }
            End::Died(_) => self.follow(story, schedule, phase, None),
        }
    }

    /// Every death at every point of the run that begins where `story` is: before, after every part, with every subset
    /// that a power cut may keep. `before` is what has gone wrong, and may go wrong earlier in this run.
    pub(crate) fn each_death(
        &mut self,
        story: &Story,
        before: &Schedule,
        then: Then<'_, 'h>,
    ) -> ControlFlow<()> {
        let mut recorded = story.clone();
        let moments = recorded.record(before);
        self.tally.runs += 1;
        let run = story.runs;
        for moment in moments {
            let Snapshot {
                at,
                moment,
                phase,
                machine,
                checks,
                driver: _,
            } = moment;
            let dead = |death: Death| {
                let mut died = story.clone();
                died.runs += 1;
                (died.machine, died.checks) = (machine.clone(), checks.clone());
                died.die(death);
                died
            };
            let digest = self.digester.digest(&machine, &checks);
            // In the first run of all everything is told, so that every phase has its row.
            if !self.moments.insert(digest) && !before.0.is_empty() {
                self.tally.met += 1;
                self.tally.stories += 1;
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
            for death in std::iter::once(Death::Kill).chain(keeps.into_iter().map(Death::Cut)) {
                let what = match moment {
                    Moment::Before => What::Before(death),
                    Moment::During(parts) => What::During(parts, death),
                    Moment::After => What::After(death),
                };
                if !Sort::of(what).is_some_and(|sort| self.sorts.contains(&sort)) {
                    continue;
                }
                let mut schedule = before.clone();
                schedule.0.push(Shot { run, at, what });
                then(self, dead(death), schedule, phase)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// A run got over its faults by itself.
    fn arrived(&mut self, story: Story, schedule: Schedule, phase: Phase) -> ControlFlow<()> {
        self.tally.stories += 1;
        let breaches = self.landing(story);
        if let Some(sort) = schedule.0.last().and_then(|shot| Sort::of(shot.what)) {
            let cell = self.tally.cells.entry((phase, sort)).or_default();
            cell.stories += 1;
            cell.went_on += 1;
            cell.failed += u64::from(!breaches.is_empty());
        }
        self.judge(schedule, breaches)
    }

    /// Goes on from a death, or a stop.
    fn follow(
        &mut self,
        story: Story,
        schedule: Schedule,
        phase: Phase,
        stopped: Option<FaultClass>,
    ) -> ControlFlow<()> {
        self.tally.stories += 1;
        if let Some(mut frontier) = self.frontier.take() {
            let digest = self.digest(&story);
            if self.gone_on_from.insert(digest) {
                frontier.push(schedule.clone());
            }
            self.frontier = Some(frontier);
        }
        let tail = self.tail(story);
        if let Some(sort) = schedule.0.last().and_then(|shot| Sort::of(shot.what)) {
            let cell = self.tally.cells.entry((phase, sort)).or_default();
            cell.stories += 1;
            cell.stopped += u64::from(stopped.is_some());
            cell.stopped_because.extend(stopped);
            cell.resumed += u64::from(tail.landed);
            cell.asked += u64::from(tail.asked);
            cell.resumed_at.extend(tail.begins_at);
            cell.failed += u64::from(!tail.breaches.is_empty());
        }
        self.judge(schedule, tail.breaches.clone())
    }

    fn tail(&mut self, mut story: Story) -> Rc<Tail> {
        let digest = self.digest(&story);
        if let Some(tail) = self.tails.get(&digest) {
            self.tally.met += 1;
            return tail.clone();
        }
        let first = story.runs;
        let mut halts = vec![];
        let (mut asked, mut begins_at) = (false, None);
        let ending = loop {
            let (run, world) = story.run(&Schedule::default());
            self.tally.runs += 1;
            if story.runs == first + 1 {
                (asked, begins_at) = (world.asked, world.begins_at.get());
            }
            story.settle(world, None);
            match run.end {
                End::Said(Ok(_)) => break Ending::Landed,
                // The same stop twice, with nothing wrong any more, is the end.
                End::Said(Err(halt)) if halts.last() == Some(&halt) => break Ending::Stopped(halt),
                End::Said(Err(halt)) => {
                    story.mend(&halt.fault);
                    halts.push(halt);
                }
                End::Died(_) => {}
            }
            if story.runs - first >= RUNS_MAX {
                break Ending::Endless;
            }
        };
        let landed = ending == Ending::Landed;
        let breaches = match ending {
            Ending::Landed => self.landing(story),
            Ending::Stopped(_) | Ending::Endless => self.harness.conclude(story, ending).breaches,
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

    fn landing(&mut self, story: Story) -> Vec<Breach> {
        let digest = self.digest(&story);
        if let Some(breaches) = self.landings.get(&digest) {
            return breaches.clone();
        }
        self.tally.runs += 1;
        let breaches = self.harness.conclude(story, Ending::Landed).breaches;
        self.landings.insert(digest, breaches.clone());
        breaches
    }

    fn judge(&mut self, schedule: Schedule, breaches: Vec<Breach>) -> ControlFlow<()> {
        let breaches: Vec<Breach> = self.harness.watched(breaches);
        let wanted = breaches.iter().any(|b| self.harness.wants(b.invariant));
        if !breaches.is_empty() {
            self.tally.fails(Failure {
                case: self.harness.setting().case,
                schedule,
                between: None,
                breaches,
            });
        }
        self.told.fetch_add(1, Ordering::Relaxed);
        if wanted || self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Tells every `nth` death the long way too: how many that were, and the schedules of those that differ.
    pub fn differences(&mut self, nth: u64) -> (u64, Vec<String>) {
        let mut differences = vec![];
        let (mut count, mut compared) = (0, 0);
        let story = self.harness.story();
        let _all = self.each_death(&story, &Schedule::default(), &mut |this, story, schedule, _| {
            count += 1;
            if count % nth != 0 {
                return ControlFlow::Continue(());
            }
            compared += 1;
            let mut long = this.harness.story();
            let (_, world) = long.run(&schedule);
            long.settle(world, None);
            let tail = this.tail(story.clone());
            let told = this.harness.tell(&schedule, false);
            let broken =
                |breaches: &[Breach]| breaches.iter().map(|b| b.invariant).collect::<Vec<Invariant>>();
            if long.machine != story.machine
                || this.digest(&long) != this.digest(&story)
                || broken(&told.breaches) != broken(&tail.breaches)
                || (told.ending == Ending::Landed) != tail.landed
            {
                differences.push(schedule.to_string());
            }
            ControlFlow::Continue(())
        });
        (compared, differences)
    }
}

/// What a fault leaves in the driver behind it: a step that counts its retries, a run that stops, or nothing.
fn after_fault(what: What, same_phase: bool, stopped: bool) -> u64 {
    let left = match what {
        What::Fail(class) | What::FailAfter(class) | What::FailDuring(_, class) => match class {
            FaultClass::Transient => u64::from(same_phase),
            other => 10 + other as u64,
        },
        What::Hang | What::Network(_) => u64::from(same_phase),
        What::Strange => 5 * u64::from(same_phase),
        What::Lie | What::LieDuring(_) => 2 * u64::from(same_phase),
        What::Around(around) => 20 + around as u64,
        What::Stop | What::Swap => 3,
        What::Before(_) | What::During(..) | What::After(_) => 4,
    };
    left + 100 * u64::from(stopped)
}

impl Harness {
    /// Every single death.
    pub fn crashes(&self) -> Tally {
        self.explored(Explorer::deaths)
    }

    /// Every fault at every point.
    pub fn faults(&self) -> Tally {
        self.explored(|explorer| explorer.faults(&Sort::ALL))
    }

    /// A part of every pair.
    pub fn pairs(&self, share: u64, shares: u64) -> Tally {
        self.explored(|explorer| explorer.pairs(share, shares))
    }

    /// A part of every triple of these sorts; see [`Explorer::triples`].
    pub fn triples(&self, share: u64, shares: u64, sorts: &[Sort]) -> Tally {
        self.explored_only(sorts, |explorer| explorer.triples(share, shares))
    }

    /// A part of every pair of these sorts.
    pub fn pairs_of(&self, share: u64, shares: u64, sorts: &[Sort]) -> Tally {
        self.explored_only(sorts, |explorer| explorer.pairs(share, shares))
    }

    fn explored<'h>(&'h self, explore: impl FnOnce(&mut Explorer<'h>) -> ControlFlow<()>) -> Tally {
        self.explored_only(&Sort::ALL, explore)
    }

    fn explored_only<'h>(
        &'h self,
        sorts: &[Sort],
        explore: impl FnOnce(&mut Explorer<'h>) -> ControlFlow<()>,
    ) -> Tally {
        let mut explorer = Explorer::new(self).only(sorts);
        // That it found what it was to find is in the tally.
        let _stopped = explore(&mut explorer);
        explorer.tally
    }
}
