//! A case: its fault-free run, single scenarios, and what needs more than a schedule. Law: a scenario that breaks an
//! invariant is named by the one line that runs it again.
//!
//! Absent: enumerating (`enumerate`). Printing.

use crate::driver::Outcome;
use crate::sim::check::coverage::{Failure, Tally};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::check::visible_effects::Effect;
use crate::sim::check::watch::{Checks, state};
use crate::sim::explore::run::{End, Ending, Story, Told};
use crate::sim::inject::faults::What;
use crate::sim::inject::planted::Bug;
use crate::sim::inject::point::Point;
use crate::sim::inject::schedule::{Schedule, Shot};
use crate::sim::model::case::{Case, Consenter};
use crate::sim::model::crash::{Death, Keep};
use crate::sim::model::disk::Key;
use crate::sim::model::setting::{Setting, Subject};
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, SLOT_BYTES, choose};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

/// A case with its fault-free run.
#[derive(Debug)]
pub struct Harness {
    setting: Rc<Setting>,
    bug: Option<Bug>,
    until: Option<Invariant>,
    until_any: bool,
    blind: Vec<Invariant>,
    /// What the fault-free run passed.
    pub points: Vec<Point>,
    /// What it left on the target.
    pub reference: BTreeMap<Key, String>,
}

impl Harness {
    /// Runs a case with made-up contents without faults.
    pub fn new(case: Case) -> Result<Harness, String> {
        let once = Setting::new(Case { twice: false, ..case })?;
        Harness::of(Setting::new(case)?, once)
    }

    /// The same for a user's own configuration.
    pub fn about(subject: &Subject, case: Case) -> Result<Harness, String> {
        let setting = || Setting::of(case, subject.clone());
        Harness::of(setting()?, setting()?)
    }

    fn of(setting: Setting, once: Setting) -> Result<Harness, String> {
        let (case, setting, once) = (setting.case, Rc::new(setting), Rc::new(once));
        // Carried out twice, everything must end as carried out once.
        let mut story = Story::new(&once, None);
        story.run_to_end();
        let target = story.machine.target(&once);
        let reference = state(&story.machine.disks[target]);
        let mut story = Story::new(&setting, None);
        let (run, world) = story.run(&Schedule::default());
        story.settle(world, None);
        let landed = matches!(run.end, End::Said(Ok(_)));
        if !landed && case.consenter != Consenter::Refuses {
            return Err(format!("{case}: without faults {}", run.end));
        }
        Ok(Harness {
            reference,
            points: run.points,
            setting,
            bug: None,
            until: None,
            until_any: false,
            blind: vec![],
        })
    }

    /// The same with a planted bug; the reference stays that of the run without.
    pub fn with(mut self, bug: Bug) -> Harness {
        self.bug = Some(bug);
        let (run, _) = self.story().run(&Schedule::default());
        self.points = run.points;
        self
    }

    /// Enumerations end at the first breach of anything.
    pub fn until_any(mut self) -> Harness {
        self.until_any = true;
        self
    }

    /// The same without watching this: what would escape if the check were not there?
    pub fn blind_to(mut self, invariant: Invariant) -> Harness {
        self.blind.push(invariant);
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
    pub fn conclude(&self, story: Story, ending: Ending) -> Told {
        self.conclude_as(story, ending, &self.setting, &self.reference)
    }

    /// The same, where this was asked for and should come of it.
    pub fn conclude_as(
        &self,
        mut story: Story,
        ending: Ending,
        setting: &Rc<Setting>,
        reference: &BTreeMap<Key, String>,
    ) -> Told {
        match &ending {
            Ending::Landed => {
                story.machine.mend(setting, None);
                // Whoever reads that it landed may pull the plug.
                story.machine.die(setting, Death::Cut(Keep::None));
                let target = story.machine.target(setting);
                let writes = story.machine.disks[target].writes();
                let runs = story.runs;
                let (run, world) = story.run(&Schedule::default());
                story.settle(world, None);
                story.runs = runs;
                let target = story.machine.target(setting);
                let disk = &story.machine.disks[target];
                if disk.writes() != writes {
                    story
                        .checks
                        .breach(Invariant::LandedRests, "a start after the landing wrote");
                }
                if !matches!(run.end, End::Said(Ok(Outcome::AlreadyLanded { .. }))) {
                    let how = format!("after the landing there is a start of which {}", run.end);
                    story.checks.breach(Invariant::LandedRests, how);
                }
                let disks = story.machine.disks.clone();
                story.checks.ended(setting, &disks, reference);
            }
            Ending::Stopped(halt) => {
                if self.setting.case.consenter != Consenter::Refuses {
                    let how = format!("it stops for ever: {}", halt.fault);
                    story.checks.breach(Invariant::Lands, how);
                }
                let disks = story.machine.disks.clone();
                story.checks.others(setting, &disks);
            }
            Ending::Endless => {
                let how = format!("{} runs, and no end", story.runs);
                story.checks.breach(Invariant::Ends, how);
            }
        }
        let mut passed = story.passed;
        passed.truncate(usize::try_from(story.runs).unwrap_or(usize::MAX));
        Told {
            passed,
            ending,
            breaches: self.watched(story.checks.breaches),
            runs: story.runs,
            trace: story.trace,
            lines: story.lines.unwrap_or_default(),
            destroyed: story.checks.destroyed.into_iter().collect(),
        }
    }

    /// What is told of a breach: all but of what is not watched.
    pub fn watched(&self, mut breaches: Vec<Breach>) -> Vec<Breach> {
        breaches.retain(|b| !self.blind.contains(&b.invariant));
        breaches
    }

    /// Whether an enumeration ends at a breach of this.
    pub fn wants(&self, invariant: Invariant) -> bool {
        self.until_any || self.until == Some(invariant)
    }

    /// A story begins.
    pub fn story(&self) -> Story {
        Story::new(&self.setting, self.bug)
    }

    /// The case, worked out.
    pub fn setting(&self) -> &Rc<Setting> {
        &self.setting
    }

    /// The planted bug.
    pub fn bug(&self) -> Option<Bug> {
        self.bug
    }

    fn judge(&self, tally: &mut Tally, schedule: Schedule, breaches: Vec<Breach>) -> ControlFlow<()> {
        let breaches = self.watched(breaches);
        let wanted = breaches.iter().any(|b| self.wants(b.invariant));
        if !breaches.is_empty() {
            tally.fails(Failure {
                case: self.setting.case,
                schedule,
                between: None,
                breaches,
            });
        }
        if wanted {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// A kill at every point of a phase, and a power cut that keeps nothing at every point of the resume, or in the same phase tears
    /// what was written first and keeps what was written second: what the killed run left must not be taken for done.
    pub fn kills_then_cuts(&self, phase: Phase) -> Tally {
        let mut tally = Tally::default();
        for (at, point) in (0_u32..).zip(&self.points) {
            if point.phase != phase || !point.acts {
                continue;
            }
            let kill = Shot {
                run: 0,
                at,
                what: What::After(Death::Kill),
            };
            let mut resumed = Story::new(&self.setting, self.bug);
            let first = Schedule(vec![kill]);
            let (_, world) = resumed.run(&first);
            resumed.settle(world, None);
            let (second, _) = resumed.clone().run(&Schedule::default());
            let keeps = |point: &Point| match point.phase == phase {
                true => vec![Keep::None, Keep::TornWith(0, 2)],
                false => vec![Keep::None],
            };
            let cuts = (0_u32..)
                .zip(&second.points)
                .filter(|(_, point)| point.acts)
                .flat_map(|(at, point)| keeps(point).into_iter().map(move |keep| (at, keep)));
            for (at, keep) in cuts {
                let what = What::After(Death::Cut(keep));
                let schedule = Schedule(vec![kill, Shot { run: 1, at, what }]);
                let mut story = resumed.clone();
                let ending = story.finish(&schedule);
                let told = self.conclude(story, ending);
                tally.points += 1;
                tally.stories += 1;
                tally.runs += u64::from(told.runs) + 1;
                if self.judge(&mut tally, schedule, told.breaches).is_break() {
                    return tally;
                }
            }
        }
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
                story.machine.disk_mut(target).put_slots(slots);
                story.checks = Checks::default();
                let writes = story.machine.disks[target].writes();
                let (run, world) = story.run(&schedule);
                let wrote = world.disk().writes() != writes;
                story.settle(world, None);
                tally.runs += 1;
                let landed = matches!(run.end, End::Said(Ok(Outcome::AlreadyLanded { .. })));
                (story.checks.destroyed, wrote, landed)
            };
            let blank = [vec![b'\n'; SLOT_BYTES], vec![b'\n'; SLOT_BYTES]];
            let (without, ..) = destroys(&blank);
            let mut breaches = vec![];
            for slots in pairs {
                let (with, wrote, said_landed) = destroys(slots);
                let newer = matches!(choose([Some(&slots[0]), Some(&slots[1])]), Choice::Newer(_));
                if let Some(key) = with.difference(&without).next() {
                    breaches.push(Breach {
                        invariant: Invariant::SlotsPermitNothing,
                        how: format!("{key} was destroyed because of a slot"),
                    });
                }
                // Where there is a table, there are slots to be found.
                let fork = matches!(choose([Some(&slots[0]), Some(&slots[1])]), Choice::Fork { .. });
                if fork && said_landed {
                    breaches.push(Breach {
                        invariant: Invariant::Chain,
                        how: "slots that do not follow one another were believed".into(),
                    });
                }
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

    /// What the fault-free run writes and flushes, as far as it can be seen on the disk's bytes.
    pub fn effects(&self) -> Vec<Effect> {
        self.story().watch()
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
        first.breaches = self.watched(first.breaches);
        first
    }
}
