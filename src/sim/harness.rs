//! All stories of a case: every death, every fault, every pair. Law: what is enumerated is enumerated whole; a story that
//! breaks an invariant is named by the one line that tells it again.
//!
//! Absent: printing.

use super::bugs::Bug;
use super::case::{Case, Consenter, Setting};
use super::checks::{Breach, Checks, Invariant, state};
use super::disk::{Keep, Key};
use super::faults::{CLASSES, Death, Schedule, Shot, What};
use super::story::{End, Ending, Story, Told};
use super::world::Point;
use crate::driver::Outcome;
use landfall_states::checkpoint::{Choice, SLOT_BYTES, choose};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;

/// A failure, with what is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The case.
    pub case: Case,
    /// The schedule.
    pub schedule: Schedule,
    /// What it broke.
    pub breaches: Vec<Breach>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.case, self.schedule)?;
        for breach in &self.breaches {
            write!(f, " | {breach}")?;
        }
        Ok(())
    }
}

/// What an enumeration covered.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Points at which something can happen.
    pub points: u64,
    /// First deaths that were gone on from, when pairs are told.
    pub firsts: u64,
    /// Stories told.
    pub stories: u64,
    /// Runs of the driver.
    pub runs: u64,
    /// Stories that came to a machine that another story had come to.
    pub met: u64,
    /// Failures.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Tally) {
        let Tally {
            points,
            firsts,
            stories,
            runs,
            met,
            failures,
        } = other;
        self.points += points;
        self.firsts += firsts;
        self.stories += stories;
        self.runs += runs;
        self.met += met;
        self.failures.extend(failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            points,
            firsts: _,
            stories,
            runs,
            met,
            failures,
        } = self;
        write!(
            f,
            "{points} crash points, {stories} stories, {runs} runs ({met} stories met another), {} failures",
            failures.len()
        )
    }
}

/// A case with its fault-free run.
#[derive(Debug)]
pub struct Harness {
    setting: Rc<Setting>,
    bug: Option<Bug>,
    until: Option<Invariant>,
    /// What the fault-free run passed.
    pub points: Vec<Point>,
    /// What it left on the target.
    pub reference: BTreeMap<Key, String>,
}

impl Harness {
    /// Runs the case without faults.
    pub fn new(case: Case) -> Result<Harness, String> {
        let setting = Rc::new(Setting::new(case)?);
        // Carried out twice, everything must end as carried out once.
        let once = Rc::new(Setting::new(Case { twice: false, ..case })?);
        let mut story = Story::new(&once, None);
        story.run_to_end();
        let target = story.machine.target(&once);
        let reference = state(&story.machine.disks[target]);
        let mut story = Story::new(&setting, None);
        let (run, world) = story.run(&Schedule::default());
        story.settle(world, None);
        let landed = matches!(run.end, End::Said(Ok(_)));
        if !landed && case.consenter != Consenter::Refuses {
            return Err(format!("{case}: without faults it ends with {:?}", run.end));
        }
        Ok(Harness {
            reference,
            points: run.points,
            setting,
            bug: None,
            until: None,
        })
    }

    /// The same with a planted bug; the reference stays that of the run without.
    pub fn with(mut self, bug: Bug) -> Harness {
        self.bug = Some(bug);
        self
    }

    /// Enumerations end at the first breach of this.
    pub fn until(mut self, invariant: Invariant) -> Harness {
        self.until = Some(invariant);
        self
    }

    /// Tells one story.
    pub fn tell(&self, schedule: &Schedule, keep_lines: bool) -> Told {
        let mut story = Story::new(&self.setting, self.bug);
        story.lines = keep_lines.then(Vec::new);
        let ending = story.finish(schedule);
        self.conclude(story, ending)
    }

    /// After the end: an unattended start, and the last checks.
    fn conclude(&self, mut story: Story, ending: Ending) -> Told {
        match &ending {
            Ending::Landed => {
                let target = story.machine.target(&self.setting);
                let writes = story.machine.disks[target].writes();
                let runs = story.runs;
                let (run, world) = story.run(&Schedule::default());
                story.settle(world, None);
                story.runs = runs;
                let target = story.machine.target(&self.setting);
                let disk = &story.machine.disks[target];
                if disk.writes() != writes {
                    story
                        .checks
                        .breach(Invariant::LandedRests, "a start after the landing wrote");
                }
                if !matches!(run.end, End::Said(Ok(Outcome::AlreadyLanded { .. }))) {
                    let how = format!("a start after the landing ends with {:?}", run.end);
                    story.checks.breach(Invariant::LandedRests, how);
                }
                let disks = story.machine.disks.clone();
                story.checks.ended(&self.setting, &disks, &self.reference);
            }
            Ending::Stopped(halt) => {
                if self.setting.case.consenter != Consenter::Refuses {
                    let how = format!("it stops for ever: {}", halt.fault);
                    story.checks.breach(Invariant::Lands, how);
                }
                let disks = story.machine.disks.clone();
                story.checks.others(&self.setting, &disks);
            }
            Ending::Endless => {
                let how = format!("{} runs, and no end", story.runs);
                story.checks.breach(Invariant::Ends, how);
            }
        }
        Told {
            ending,
            breaches: story.checks.breaches,
            runs: story.runs,
            trace: story.trace,
            lines: story.lines.unwrap_or_default(),
            destroyed: story.checks.destroyed.into_iter().collect(),
        }
    }

    /// Every death at every point of a run that begins where `story` is: before, after every part, with every subset
    /// that a power cut may keep. `then` tells how it goes on.
    fn deaths(
        &self,
        story: &Story,
        points: &[Point],
        before: &[Shot],
        then: &mut dyn FnMut(Story, Schedule) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let run = story.runs;
        for (at, point) in (0_u32..).zip(points) {
            let mut whats = vec![];
            if at == 0 {
                whats.push(What::Before(Death::Kill));
                whats.push(What::Before(Death::Cut(Keep::None)));
            }
            if point.acts {
                for part in 1..point.parts {
                    whats.push(What::During(part, Death::Kill));
                }
                // A power cut after all parts keeps any subset of them, and tears any: that covers every moment before.
                whats.push(What::After(Death::Kill));
                whats.push(What::After(Death::Cut(Keep::None)));
            }
            for what in whats {
                let shot = Shot { run, at, what };
                let mut schedule = Schedule(before.to_vec());
                schedule.0.push(shot);
                let mut died = story.clone();
                let (_, world) = died.run(&schedule);
                let (What::Before(Death::Cut(_)) | What::After(Death::Cut(_))) = what else {
                    died.settle(world, None);
                    then(died, schedule)?;
                    continue;
                };
                let pending = world.disk().pending().len();
                let (machine, checks) = (world.machine.clone(), world.checks.borrow().clone());
                died.settle(world, Some(Keep::None));
                for keep in Keep::options(pending) {
                    let mut cut = died.clone();
                    (cut.machine, cut.checks) = (machine.clone(), checks.clone());
                    cut.machine.die(&self.setting, Death::Cut(keep));
                    let target = cut.machine.target(&self.setting);
                    cut.checks.after_death(&cut.machine.disks[target]);
                    let mut schedule = schedule.clone();
                    if let Some(last) = schedule.0.last_mut() {
                        last.what = match what {
                            What::Before(_) => What::Before(Death::Cut(keep)),
                            _ => What::After(Death::Cut(keep)),
                        };
                    }
                    then(cut, schedule)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Every single death.
    pub fn crashes(&self) -> Tally {
        let mut tally = Tally {
            points: self.points.len() as u64,
            ..Tally::default()
        };
        let mut known: HashMap<u64, Vec<Breach>> = HashMap::new();
        let story = Story::new(&self.setting, self.bug);
        let _stopped = self.deaths(&story, &self.points, &[], &mut |story, schedule| {
            self.follow(story, schedule, &mut tally, &mut known)
        });
        tally
    }

    /// Goes on from a death; machines that were seen before, in the same relation to the checks, are not run again.
    fn follow(
        &self,
        mut story: Story,
        schedule: Schedule,
        tally: &mut Tally,
        known: &mut HashMap<u64, Vec<Breach>>,
    ) -> ControlFlow<()> {
        tally.stories += 1;
        tally.runs += u64::from(story.runs);
        let digest = story.digest();
        let breaches = match known.get(&digest) {
            Some(breaches) => {
                tally.met += 1;
                breaches.clone()
            }
            None => {
                let before = story.runs;
                let ending = story.finish(&schedule);
                let told = self.conclude(story, ending);
                tally.runs += u64::from(told.runs - before) + 1;
                known.insert(digest, told.breaches.clone());
                told.breaches
            }
        };
        self.judge(tally, schedule, breaches)
    }

    fn judge(&self, tally: &mut Tally, schedule: Schedule, breaches: Vec<Breach>) -> ControlFlow<()> {
        let wanted = breaches.iter().any(|b| Some(b.invariant) == self.until);
        if !breaches.is_empty() {
            tally.failures.push(Failure {
                case: self.setting.case,
                schedule,
                breaches,
            });
        }
        if wanted {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Every fault at every point: each class instead of the effect and after it, success without the effect, a signal.
    pub fn faults(&self) -> Tally {
        let mut tally = Tally {
            points: self.points.len() as u64,
            ..Tally::default()
        };
        for (at, point) in (0_u32..).zip(&self.points) {
            let mut whats: Vec<What> = CLASSES.into_iter().map(What::Fail).collect();
            if point.acts {
                whats.extend(CLASSES.map(What::FailAfter));
            }
            // A flush that does nothing and says otherwise is a broken device; nothing survives that.
            if point.lies {
                whats.push(What::Lie);
            }
            whats.push(What::Stop);
            for what in whats {
                let schedule = Schedule(vec![Shot { run: 0, at, what }]);
                let told = self.tell(&schedule, false);
                tally.stories += 1;
                tally.runs += u64::from(told.runs) + 1;
                if self.judge(&mut tally, schedule, told.breaches).is_break() {
                    return tally;
                }
            }
        }
        tally
    }

    /// Every pair of deaths: a death at every point, and in the resume a death at every point. `share` of `shares` tells
    /// which part of the first deaths is done, so that several processes can divide them.
    pub fn pairs(&self, share: u64, shares: u64) -> Tally {
        let mut tally = Tally {
            points: self.points.len() as u64,
            ..Tally::default()
        };
        let mut known: HashMap<u64, Vec<Breach>> = HashMap::new();
        let mut begun = HashSet::new();
        let mut count = 0;
        let story = Story::new(&self.setting, self.bug);
        let _stopped = self.deaths(&story, &self.points, &[], &mut |story, schedule| {
            count += 1;
            if count % shares.max(1) != share || !begun.insert(story.digest()) {
                return ControlFlow::Continue(());
            }
            tally.firsts += 1;
            let (second, _) = story.clone().run(&Schedule::default());
            self.deaths(&story, &second.points, &schedule.0, &mut |story, schedule| {
                self.follow(story, schedule, &mut tally, &mut known)
            })
        });
        tally
    }

    /// Whatever the slots hold, no more is destroyed than without them (I7), and a slot of a newer format stops
    /// everything (I16): at every death of a run, each of these pairs of slots is put on the disk.
    pub fn slots(&self, pairs: &[[Vec<u8>; 2]]) -> Tally {
        let mut tally = Tally {
            points: self.points.len() as u64,
            ..Tally::default()
        };
        let story = Story::new(&self.setting, self.bug);
        for (at, point) in (0_u32..).zip(&self.points) {
            if !point.acts {
                continue;
            }
            let shot = Shot {
                run: 0,
                at,
                what: What::After(Death::Cut(Keep::None)),
            };
            let schedule = Schedule(vec![shot]);
            let mut died = story.clone();
            let (_, world) = died.run(&schedule);
            died.settle(world, None);
            // What one run destroys, from here.
            let mut destroys = |slots: &[Vec<u8>; 2]| {
                let mut story = died.clone();
                let target = story.machine.target(&self.setting);
                story.machine.disks[target].put_slots(slots);
                story.checks = Checks::default();
                let writes = story.machine.disks[target].writes();
                let (_, world) = story.run(&schedule);
                let wrote = world.disk().writes() != writes;
                story.settle(world, None);
                tally.runs += 1;
                (story.checks.destroyed, wrote)
            };
            let blank = [vec![b'\n'; SLOT_BYTES], vec![b'\n'; SLOT_BYTES]];
            let (without, _) = destroys(&blank);
            let mut breaches = vec![];
            for slots in pairs {
                let (with, wrote) = destroys(slots);
                let newer = matches!(choose([Some(&slots[0]), Some(&slots[1])]), Choice::Newer(_));
                if let Some(key) = with.difference(&without).next() {
                    breaches.push(Breach {
                        invariant: Invariant::SlotsPermitNothing,
                        how: format!("{key:?} was destroyed because of a slot"),
                    });
                }
                // Where there is a table, there are slots to be found.
                if newer
                    && wrote
                    && died.machine.disks[died.machine.target(&self.setting)]
                        .has_table(&self.setting.plan.table)
                {
                    breaches.push(Breach {
                        invariant: Invariant::UnknownStops,
                        how: "something was written in spite of a slot of a newer format".into(),
                    });
                }
            }
            tally.stories += pairs.len() as u64;
            if self.judge(&mut tally, schedule, breaches).is_break() {
                return tally;
            }
        }
        tally
    }

    /// Every record that the fault-free run writes, in order.
    pub fn records(&self) -> Vec<Vec<u8>> {
        let mut story = Story::new(&self.setting, None);
        let (_, world) = story.run(&Schedule::default());
        let checks = world.checks.borrow();
        checks.records.iter().map(|bytes| bytes.to_vec()).collect()
    }

    /// The same story twice (I24).
    pub fn repeat(&self, schedule: &Schedule) -> Told {
        let (mut first, second) = (self.tell(schedule, true), self.tell(schedule, true));
        if first != second {
            first.breaches.push(Breach {
                invariant: Invariant::Repeatable,
                how: format!(
                    "two traces of one schedule, {:x} and {:x}",
                    first.trace, second.trace
                ),
            });
        }
        first
    }
}
