//! A case: its fault-free run, single scenarios, and what needs more than a schedule.
//!
//! A scenario that breaks an invariant is named by the one line that runs it again.
//!
//! `explore::enumerate` enumerates.

use crate::driver::Outcome;
use crate::sim::check::coverage::{Coverage, Failure};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::check::visible_effects::Effect;
use crate::sim::check::watch::{Checks, state};
use crate::sim::explore::run::{End, Ending, Report, ScenarioRun};
use crate::sim::inject::faults::Injection;
#[cfg(feature = "planted")]
use crate::sim::inject::planted::Bug;
use crate::sim::inject::point::Point;
use crate::sim::inject::schedule::{InjectionAt, Schedule};
use crate::sim::model::case::{Case, Consenter};
use crate::sim::model::crash::{Crash, Keep};
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
    #[cfg(feature = "planted")]
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
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation. The fault-free run fails.
    pub fn new(case: Case) -> Result<Harness, String> {
        let once = Setting::new(Case { twice: false, ..case })?;
        Harness::of(Setting::new(case)?, once)
    }

    /// The same for a user's own configuration.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation. The fault-free run fails.
    pub fn about(subject: &Subject, case: Case) -> Result<Harness, String> {
        let setting = || Setting::of(case, subject.clone());
        Harness::of(setting()?, setting()?)
    }

    fn of(setting: Setting, once: Setting) -> Result<Harness, String> {
        let (case, setting, once) = (setting.case, Rc::new(setting), Rc::new(once));
        // Carried out twice, everything must end as carried out once.
        let mut scenario = ScenarioRun::new(&once);
        scenario.run_to_end();
        let target = scenario.machine.target(&once);
        let reference = state(&scenario.machine.disks[target]);
        let mut scenario = ScenarioRun::new(&setting);
        let (run, world) = scenario.run(&Schedule::default());
        scenario.settle(world, None);
        let landed = matches!(run.end, End::Said(Ok(_)));
        if !landed && case.consenter != Consenter::Refuses {
            return Err(format!("{case}: without faults {}", run.end));
        }
        Ok(Harness {
            reference,
            points: run.points,
            setting,
            #[cfg(feature = "planted")]
            bug: None,
            until: None,
            until_any: false,
            blind: vec![],
        })
    }

    /// The same with a planted bug; the reference stays that of the run without.
    #[cfg(feature = "planted")]
    pub fn with(mut self, bug: Bug) -> Harness {
        self.bug = Some(bug);
        let (run, _) = self.scenario().run(&Schedule::default());
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

    /// Runs one scenario.
    pub fn run(&self, schedule: &Schedule, keep_lines: bool) -> Report {
        let mut scenario = self.scenario();
        scenario.lines = keep_lines.then(Vec::new);
        let ending = scenario.finish(schedule);
        self.conclude(scenario, ending)
    }

    /// After the end: an unattended start, and the last checks.
    pub fn conclude(&self, scenario: ScenarioRun, ending: Ending) -> Report {
        self.conclude_as(scenario, ending, &self.setting, &self.reference)
    }

    /// The same, where this was asked for and should come of it.
    pub fn conclude_as(
        &self,
        mut scenario: ScenarioRun,
        ending: Ending,
        setting: &Rc<Setting>,
        reference: &BTreeMap<Key, String>,
    ) -> Report {
        match &ending {
            Ending::Landed => {
                scenario.machine.repair(setting, None);
                // Whoever reads that it landed may pull the plug.
                scenario.machine.crash(setting, Crash::Cut(Keep::None));
                let target = scenario.machine.target(setting);
                let writes = scenario.machine.disks[target].writes();
                let runs = scenario.runs;
                let (run, world) = scenario.run(&Schedule::default());
                scenario.settle(world, None);
                scenario.runs = runs;
                let target = scenario.machine.target(setting);
                let disk = &scenario.machine.disks[target];
                if disk.writes() != writes {
                    scenario
                        .checks
                        .breach(Invariant::LandedRests, "a start after the landing wrote");
                }
                if !matches!(run.end, End::Said(Ok(Outcome::AlreadyLanded { .. }))) {
                    let how = format!("after the landing there is a start of which {}", run.end);
                    scenario.checks.breach(Invariant::LandedRests, how);
                }
                let disks = scenario.machine.disks.clone();
                scenario.checks.ended(setting, &disks, reference);
            }
            Ending::Stopped(halt) => {
                if self.setting.case.consenter != Consenter::Refuses {
                    let how = format!("it stops for ever: {}", halt.fault);
                    scenario.checks.breach(Invariant::Lands, how);
                }
                let disks = scenario.machine.disks.clone();
                scenario.checks.others(setting, &disks);
            }
            Ending::Endless => {
                let how = format!("{} runs, and no end", scenario.runs);
                scenario.checks.breach(Invariant::Ends, how);
            }
        }
        let mut passed = scenario.passed;
        passed.truncate(usize::try_from(scenario.runs).unwrap_or(usize::MAX));
        Report {
            passed,
            impossible: scenario.impossible,
            ending,
            breaches: self.watched(scenario.checks.breaches),
            runs: scenario.runs,
            trace: scenario.trace,
            lines: scenario.lines.unwrap_or_default(),
            destroyed: scenario.checks.destroyed.into_iter().collect(),
        }
    }

    /// What is reported of a breach: all but of what is not watched.
    pub fn watched(&self, mut breaches: Vec<Breach>) -> Vec<Breach> {
        breaches.retain(|b| !self.blind.contains(&b.invariant));
        breaches
    }

    /// Whether an enumeration ends at a breach of this.
    pub fn wants(&self, invariant: Invariant) -> bool {
        self.until_any || self.until == Some(invariant)
    }

    /// A scenario begins.
    pub fn scenario(&self) -> ScenarioRun {
        self.scenario_of(&self.setting)
    }

    /// A scenario of another setting begins, with the same bug.
    pub(crate) fn scenario_of(&self, setting: &Rc<Setting>) -> ScenarioRun {
        let scenario = ScenarioRun::new(setting);
        #[cfg(feature = "planted")]
        let scenario = scenario.with(self.bug);
        scenario
    }

    /// The case, worked out.
    pub fn setting(&self) -> &Rc<Setting> {
        &self.setting
    }

    /// Whether a bug is planted.
    pub(crate) fn is_planted(&self) -> bool {
        #[cfg(feature = "planted")]
        return self.bug.is_some();
        #[cfg(not(feature = "planted"))]
        return false;
    }

    fn judge(&self, coverage: &mut Coverage, schedule: Schedule, breaches: Vec<Breach>) -> ControlFlow<()> {
        let breaches = self.watched(breaches);
        let wanted = breaches.iter().any(|b| self.wants(b.invariant));
        if !breaches.is_empty() {
            coverage.fails(Failure {
                case: self.setting.case,
                schedule,
                operator_action: None,
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
    pub fn kills_then_cuts(&self, phase: Phase) -> Coverage {
        let mut coverage = Coverage::default();
        for (at, point) in (0_u32..).zip(&self.points) {
            if point.phase != phase || !point.acts {
                continue;
            }
            let kill = InjectionAt {
                run: 0,
                at,
                what: Injection::After(Crash::Kill),
            };
            let mut resumed = self.scenario();
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
                let what = Injection::After(Crash::Cut(keep));
                let schedule = Schedule(vec![kill, InjectionAt { run: 1, at, what }]);
                let mut scenario = resumed.clone();
                let ending = scenario.finish(&schedule);
                let report = self.conclude(scenario, ending);
                coverage.points += 1;
                coverage.scenarios += 1;
                coverage.runs += u64::from(report.runs) + 1;
                if self.judge(&mut coverage, schedule, report.breaches).is_break() {
                    return coverage;
                }
            }
        }
        coverage
    }

    /// Whatever the slots hold, no more is destroyed than without them (I7), and a slot of a newer format stops
    /// everything (I16): at every crash of a run, each of these pairs of slots is put on the disk.
    pub fn slots(&self, pairs: &[[Vec<u8>; 2]]) -> Coverage {
        let mut coverage = Coverage {
            points: self.points.len() as u64,
            ..Coverage::default()
        };
        let scenario = self.scenario();
        for (at, point) in (0_u32..).zip(&self.points) {
            if !point.acts {
                continue;
            }
            let shot = InjectionAt {
                run: 0,
                at,
                what: Injection::After(Crash::Cut(Keep::None)),
            };
            let schedule = Schedule(vec![shot]);
            let mut crashed = scenario.clone();
            let (_, world) = crashed.run(&schedule);
            crashed.settle(world, None);
            // What one run destroys, from here.
            let mut destroys = |slots: &[Vec<u8>; 2]| {
                let mut scenario = crashed.clone();
                let target = scenario.machine.target(&self.setting);
                scenario.machine.disk_mut(target).put_slots(slots);
                scenario.checks = Checks::default();
                let writes = scenario.machine.disks[target].writes();
                let (run, world) = scenario.run(&schedule);
                let wrote = world.disk().writes() != writes;
                scenario.settle(world, None);
                coverage.runs += 1;
                let landed = matches!(run.end, End::Said(Ok(Outcome::AlreadyLanded { .. })));
                (scenario.checks.destroyed, wrote, landed)
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
                        how: "slots that do not follow one another were accepted".into(),
                    });
                }
                if newer
                    && wrote
                    && crashed.machine.disks[crashed.machine.target(&self.setting)]
                        .has_table(&self.setting.plan.table)
                {
                    breaches.push(Breach {
                        invariant: Invariant::UnknownStops,
                        how: "something was written in spite of a slot of a newer format".into(),
                    });
                }
            }
            coverage.scenarios += pairs.len() as u64;
            if self.judge(&mut coverage, schedule, breaches).is_break() {
                return coverage;
            }
        }
        coverage
    }

    /// What the fault-free run writes and flushes, as far as it can be seen on the disk's bytes.
    pub fn effects(&self) -> Vec<Effect> {
        self.scenario().watch()
    }

    /// Every record that the fault-free run writes, in order.
    pub fn records(&self) -> Vec<Vec<u8>> {
        let mut scenario = ScenarioRun::new(&self.setting);
        let (_, world) = scenario.run(&Schedule::default());
        let checks = world.checks.borrow();
        checks.records.iter().map(|bytes| bytes.to_vec()).collect()
    }

    /// The same scenario twice (I24).
    pub fn repeat(&self, schedule: &Schedule) -> Report {
        let (mut first, second) = (self.run(schedule, true), self.run(schedule, true));
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
