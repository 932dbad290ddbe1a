//! What people do between two runs, after every crash of an install.
//!
//! The expected result is computed here by a few lines that look at the disk, not by the states.
//!
//! `tests/any_order.rs` combines several of them.

use crate::sim::check::coverage::{Coverage, Failure};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::check::watch::state;
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::{End, Ending, ScenarioRun};
use crate::sim::explore::state_hash::StateHasher;
use crate::sim::inject::faults::Injection;
use crate::sim::inject::operator::forge;
use crate::sim::inject::operator::{Forgery, OperatorAction};
use crate::sim::inject::point::Moment;
use crate::sim::inject::schedule::{InjectionAt, Schedule};
use crate::sim::model::contents::ORDERS;
use crate::sim::model::crash::{Crash, Keep};
use crate::sim::model::disk::{Disk, Fs, Key, Value};
use crate::sim::model::environment::Moved;
use crate::sim::model::evidence::{Seen, who_wrote};
use crate::sim::model::setting::Setting;
use crate::sim::world::run::Snapshot;
use landfall_states::Phase;
use landfall_states::authentic::Authenticity;
use landfall_states::fault::FaultClass;
use landfall_states::plan::{DiskIdentity, GptTable, SystemSource};
use landfall_states::recovery::Rule;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;

/// Of the machines on which a new install is begun, every so many has it cut off at every point.
const CUT_OFF_EVERY: u64 = 40;

/// What a run without faults leaves on the target when this is asked for.
pub fn reference(setting: &Setting) -> BTreeMap<Key, String> {
    let mut setting = setting.unasked();
    // On a disk that carries no install, the number is the configuration's.
    setting.request.reinstall = setting.plan.nonce;
    let setting = Rc::new(setting);
    let mut scenario = ScenarioRun::new(&setting);
    scenario.run_to_end();
    let target = scenario.machine.target(&setting);
    state(&scenario.machine.disks[target])
}

/// A setting, and what its fault-free run leaves.
struct Asked {
    setting: Rc<Setting>,
    reference: BTreeMap<Key, String>,
}

impl Asked {
    fn new(setting: Setting) -> Asked {
        let (setting, reference) = (Rc::new(setting.clone()), reference(&setting));
        Asked { setting, reference }
    }
}

/// Scenarios of one harness.
struct ActionRunner<'h> {
    harness: &'h Harness,
    same: Asked,
    payload: Asked,
    layout: Asked,
    anew: Asked,
    moved_on: Asked,
    moved_away: Asked,
    coverage: Coverage,
    anews: u64,
    cut_off_every: u64,
}

impl Harness {
    /// Everything that people may do between two runs, after every crash of the fault-free run.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn operator_actions(
        &self,
        what: &[OperatorAction],
        go_on: &dyn Fn() -> bool,
    ) -> Result<Coverage, String> {
        let setting = self.setting();
        let mut runner = ActionRunner::new(self, CUT_OFF_EVERY)?;
        let scenario = self.scenario();
        let moments = scenario.clone().record(&Schedule::default());
        let (mut state_hasher, mut seen) = (StateHasher::new(setting, true), HashSet::new());
        for Snapshot {
            at,
            moment,
            machine,
            checks,
            ..
        } in moments
        {
            if !matches!(moment, Moment::After) {
                continue;
            }
            for crash in [Crash::Cut(Keep::None), Crash::Kill] {
                let mut crashed = scenario.clone();
                crashed.runs += 1;
                (crashed.machine, crashed.checks) = (machine.clone(), checks.clone());
                crashed.crash(crash);
                if !seen.insert(state_hasher.digest(&crashed.machine, &crashed.checks)) {
                    continue;
                }
                let schedule = Schedule(vec![InjectionAt {
                    run: 0,
                    at,
                    what: Injection::After(crash),
                }]);
                for action in what {
                    if crash == Crash::Kill && action.is_done_off() {
                        continue;
                    }
                    if runner.perform(*action, crashed.clone(), &schedule).is_break() || !go_on() {
                        return Ok(runner.coverage);
                    }
                }
            }
        }
        Ok(runner.coverage)
    }

    /// One of them: this after what the schedule does to the first run. A new install is then cut off at every point.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn run_operator_action(
        &self,
        action: OperatorAction,
        schedule: &Schedule,
    ) -> Result<Coverage, String> {
        let name = action.name();
        if let Some(later) = schedule.0.iter().find(|shot| shot.run > 0) {
            return Err(format!(
                "--operator-action {name}: schedule {schedule}: the action comes after the first run, and no fault can follow it: leave out the faults that begin with {}.",
                later.run
            ));
        }
        let mut runner = ActionRunner::new(self, 1)?;
        let mut scenario = self.scenario();
        let (run, world) = scenario.run(schedule);
        scenario.settle(world, None);
        if let Some(why) = schedule.objection(&scenario.passed, &scenario.impossible) {
            return Err(why);
        }
        match run.end {
            End::Crashed(Crash::Cut(_)) => {}
            End::Crashed(_) if !action.is_done_off() => {}
            End::Said(Ok(_)) if action != OperatorAction::Anew => {}
            End::Crashed(_) | End::Said(_) => {
                let ends = if action.is_done_off() {
                    "a power cut, because the action happens while the machine is off"
                } else {
                    "a crash, because an operator first fixes the reason of a reported stop"
                };
                return Err(format!(
                    "--operator-action {name}: schedule {schedule}: the first run must end with {ends}, for example 0.{}:before:cut=none",
                    run.points.len() / 2
                ));
            }
        }
        // What it found is in the coverage.
        let _stopped = runner.perform(action, scenario, schedule);
        if runner.coverage.scenarios == 0 {
            return Err(format!(
                "--operator-action {name}: schedule {schedule}: the action is not possible on the disk that the first run leaves; choose another point of the first run, or another configuration"
            ));
        }
        Ok(runner.coverage)
    }
}

impl<'h> ActionRunner<'h> {
    fn new(harness: &'h Harness, cut_off_every: u64) -> Result<ActionRunner<'h>, String> {
        let setting = harness.setting();
        Ok(ActionRunner {
            harness,
            same: Asked::new((**setting).clone()),
            payload: Asked::new(setting.other_payload()?),
            layout: Asked::new(setting.other_layout()?),
            anew: Asked::new(setting.anew(setting.plan.nonce + 1)?),
            moved_on: Asked::new(setting.moved(Moved::On, false)),
            moved_away: Asked::new(setting.moved(Moved::Away, false)),
            coverage: Coverage {
                points: harness.points.len() as u64,
                ..Coverage::default()
            },
            anews: 0,
            cut_off_every,
        })
    }

    fn perform(
        &mut self,
        action: OperatorAction,
        mut scenario: ScenarioRun,
        schedule: &Schedule,
    ) -> ControlFlow<()> {
        let target = scenario.machine.target(&self.same.setting);
        let seen = Seen::on(&scenario.machine.disks[target]);
        let breaches = match action {
            OperatorAction::Payload => Some(self.other_payload(scenario, &seen)),
            OperatorAction::Layout => Some(self.other_layout(scenario, &seen)),
            OperatorAction::Anew => return self.anew(scenario, &seen, schedule),
            OperatorAction::Edit => self.edited_table(scenario, &seen),
            OperatorAction::Away => Some(self.disk_away(scenario)),
            OperatorAction::Second => Some(self.second_install(scenario)),
            OperatorAction::Copy => Some(self.copied_disk(scenario, &seen)),
            OperatorAction::Clock => Some(self.clock_at_zero(scenario, &seen)),
            OperatorAction::Firmware => {
                scenario.machine.nvram = false;
                Some(self.lands(scenario, &self.same))
            }
            OperatorAction::Orders => self.orders_in_clone(scenario, &seen),
            OperatorAction::Forged => Some(self.forged(scenario, Forgery::OldCode)),
            OperatorAction::Stripped => Some(self.forged(scenario, Forgery::NoCode)),
            OperatorAction::MovedOn => Some(self.reference_moved(scenario, &seen, Moved::On)),
            OperatorAction::MovedAway => Some(self.reference_moved(scenario, &seen, Moved::Away)),
        };
        match breaches {
            Some(breaches) => self.judge(action, schedule, breaches),
            // Here it cannot be done.
            None => ControlFlow::Continue(()),
        }
    }

    fn other_payload(&self, mut scenario: ScenarioRun, seen: &Seen) -> Vec<Breach> {
        let landed = seen.landed(&self.same.setting.plan);
        scenario.asks(&self.payload.setting);
        scenario.checks.done_again_from(Phase::Formatted);
        let asked = if landed { &self.same } else { &self.payload };
        match self.refused(&scenario) {
            // What was written from an image is that image's.
            Some(mut refused) => {
                refused.asks(&self.same.setting);
                refused.checks.done_again_from(Phase::Formatted);
                self.lands(refused, &self.same)
            }
            None => self.lands(scenario, asked),
        }
    }

    fn other_layout(&self, mut scenario: ScenarioRun, seen: &Seen) -> Vec<Breach> {
        scenario.asks(&self.layout.setting);
        if !seen.has_record_of(&self.same.setting.plan) {
            return self.lands(scenario, &self.layout);
        }
        let why = self.stops(&mut scenario, Some(Rule::OtherLayout), Invariant::SameEnd);
        scenario.asks(&self.same.setting);
        self.and_lands(why, scenario)
    }

    /// Somebody takes a partition out of our table.
    fn edited_table(&self, mut scenario: ScenarioRun, seen: &Seen) -> Option<Vec<Breach>> {
        let plan = &self.same.setting.plan;
        let copies = seen.tables.iter().filter(|table| **table == plan.table).count();
        if copies < 2 || seen.landed(plan) {
            return None;
        }
        let target = scenario.machine.target(&self.same.setting);
        let mut edited = plan.table.clone();
        edited.entries.pop();
        put_table(&mut scenario, target, edited);
        let why = self.stops(&mut scenario, Some(Rule::Edited), Invariant::UnknownStops);
        put_table(&mut scenario, target, plan.table.clone());
        Some(self.and_lands(why, scenario))
    }

    /// The disk is detached for a start.
    fn disk_away(&self, mut scenario: ScenarioRun) -> Vec<Breach> {
        let target = scenario.machine.target(&self.same.setting);
        let disk = scenario.machine.disks.remove(target);
        let why = self.stops(&mut scenario, None, Invariant::UnknownStops);
        scenario.machine.disks.push(disk);
        scenario.crash(Crash::Cut(Keep::None));
        self.and_lands(why, scenario)
    }

    /// A disk with another install of this host is attached.
    fn second_install(&self, mut scenario: ScenarioRun) -> Vec<Breach> {
        let second = match self.same.setting.second() {
            Ok(second) => Rc::new(second),
            Err(how) => {
                let invariant = Invariant::Ends;
                return vec![Breach { invariant, how }];
            }
        };
        scenario.machine.disks.push(second.clone());
        let (mut breaches, disks) = self.lands_with(scenario, &self.same);
        if !disks.contains(&second) {
            breaches.push(Breach {
                invariant: Invariant::OthersUntouched,
                how: "the disk with the other install was changed".into(),
            });
        }
        breaches
    }

    /// A copy of the whole disk is attached for a start.
    fn copied_disk(&self, mut scenario: ScenarioRun, seen: &Seen) -> Vec<Breach> {
        let target = scenario.machine.target(&self.same.setting);
        let mut copy = (*scenario.machine.disks[target]).clone();
        copy.identity = DiskIdentity {
            serial: Some("COPY".into()),
            ..copy.identity
        };
        scenario.machine.disks.push(Rc::new(copy));
        let why = if seen.carries(&self.same.setting.plan) {
            self.stops(&mut scenario, Some(Rule::Clone), Invariant::UnknownStops)
        } else {
            vec![]
        };
        scenario
            .machine
            .disks
            .retain(|disk| disk.identity.serial.as_deref() != Some("COPY"));
        self.and_lands(why, scenario)
    }

    fn clock_at_zero(&self, mut scenario: ScenarioRun, seen: &Seen) -> Vec<Breach> {
        scenario.machine.clock_ms = 0;
        let why = if seen.landed(&self.same.setting.plan) {
            vec![]
        } else {
            self.stops(&mut scenario, None, Invariant::UnknownStops)
        };
        self.and_lands(why, scenario)
    }

    /// Somebody writes orders for Git into the clone on the disk.
    fn orders_in_clone(&self, mut scenario: ScenarioRun, seen: &Seen) -> Option<Vec<Breach>> {
        let plan = &self.same.setting.plan;
        let target = scenario.machine.target(&self.same.setting);
        // Not into a container; and on a disk that has landed nobody looks at it.
        let clone = scenario.machine.disks[target].see(Key::File(Fs::Root, "clone"));
        let Some(Value::Text(making, _)) = clone.filter(|_| plan.luks.is_none() && !seen.landed(plan)) else {
            return None;
        };
        let program = Value::Text(*making, "core.fsmonitor".into());
        let orders = Key::File(Fs::Root, ORDERS);
        scenario.machine.disk_mut(target).put(orders, program);
        // The clone is made anew, and what is behind it is looked at again.
        scenario.checks.done_again_from(Phase::Formatted);
        Some(self.lands(scenario, &self.same))
    }

    /// Somebody writes records onto the disk who does not have the key.
    fn forged(&self, mut scenario: ScenarioRun, how: Forgery) -> Vec<Breach> {
        let target = scenario.machine.target(&self.same.setting);
        let setting = self.same.setting.clone();
        let forged = forge(scenario.machine.disk_mut(target), &setting, how);
        // What the forged records claim was reached is asked for anew where it is not proved.
        scenario.checks.done_again_from(Phase::Formatted);
        scenario.checks.somebody_wrote(&scenario.machine.disks[target]);
        let invariant = Invariant::OnlyTheNamed;
        let failed = forged.err().map(|how| Breach { invariant, how });
        self.and_lands(failed.into_iter().collect(), scenario)
    }

    /// The branch names another commit.
    fn reference_moved(&self, mut scenario: ScenarioRun, seen: &Seen, moved: Moved) -> Vec<Breach> {
        let plan = &self.same.setting.plan;
        let new = if moved == Moved::On {
            &self.moved_on
        } else {
            &self.moved_away
        };
        // What is pinned stays, where the record says it: to a descendant anybody may say so, elsewhere only who has the key.
        let stays = match who_wrote(&scenario.machine, &self.same.setting) {
            None => false,
            Some(_) if seen.landed(plan) || moved == Moved::On => true,
            Some(who) => who == Authenticity::Proved,
        };
        let pinned = Asked {
            setting: Rc::new(self.same.setting.moved(moved, true)),
            reference: self.same.reference.clone(),
        };
        let asked = if stays && seen.has_record_of(plan) {
            &pinned
        } else {
            new
        };
        scenario.asks(&asked.setting);
        scenario.checks.done_again_from(Phase::Formatted);
        self.lands(scenario, asked)
    }

    /// What was found so far, and what is found on the way to the end of what is asked for.
    fn and_lands(&self, mut found: Vec<Breach>, scenario: ScenarioRun) -> Vec<Breach> {
        found.extend(self.lands(scenario, &self.same));
        found
    }

    /// A new install is asked for: it is made under new ids, and where it is cut off the next run goes on with whatever the
    /// disk says.
    fn anew(&mut self, mut scenario: ScenarioRun, seen: &Seen, schedule: &Schedule) -> ControlFlow<()> {
        let plan = &self.same.setting.plan;
        // Where nothing of it is known there is nothing to count on from.
        if !seen.carries(plan) {
            return ControlFlow::Continue(());
        }
        scenario.asks(&self.anew.setting);
        scenario.checks.begins_anew();
        self.anews += 1;
        if self.anews.is_multiple_of(self.cut_off_every) {
            for Snapshot {
                at, machine, checks, ..
            } in scenario.clone().record(&Schedule::default())
            {
                let mut crashed = scenario.clone();
                let run = crashed.runs;
                crashed.runs += 1;
                (crashed.machine, crashed.checks) = (machine, checks);
                let crash = Crash::Cut(Keep::None);
                crashed.crash(crash);
                let target = crashed.machine.target(&self.same.setting);
                let seen = Seen::on(&crashed.machine.disks[target]);
                let asked = if seen.carries(&self.anew.setting.plan) {
                    &self.anew
                } else {
                    &self.same
                };
                crashed.asks(&Rc::new(asked.setting.unasked()));
                let mut asked = Asked {
                    setting: asked.setting.clone(),
                    reference: asked.reference.clone(),
                };
                // Declared: where no more than the backup copy of a landed disk's table was wiped, the disk is still landed.
                if seen.landed(&asked.setting.plan) && seen.tables.len() == 1 {
                    asked.reference.remove(&Key::Backup);
                }
                let mut schedule = schedule.clone();
                let what = Injection::After(crash);
                schedule.0.push(InjectionAt { run, at, what });
                let breaches = self.lands(crashed, &asked);
                self.judge(OperatorAction::Anew, &schedule, breaches)?;
            }
        }
        let breaches = self.lands(scenario, &self.anew);
        self.judge(OperatorAction::Anew, schedule, breaches)
    }

    /// The scenario after its next run, when that stops because the root filesystem is whole and of another image.
    fn refused(&self, scenario: &ScenarioRun) -> Option<ScenarioRun> {
        let SystemSource::Image(image) = &scenario.request.payload.system else {
            return None;
        };
        let mut refused = scenario.clone();
        let (run, world) = refused.run(&Schedule::default());
        let is_ours = world.is_from(image);
        refused.settle(world, None);
        match run.end {
            End::Said(Err(halt)) if halt.fault.class == FaultClass::NeedsChange && !is_ours => {
                refused.repair(&halt.fault);
                Some(refused)
            }
            End::Said(_) | End::Crashed(_) => None,
        }
    }

    /// One run, which must stop, for this rule when there is one, and write nothing.
    fn stops(&self, scenario: &mut ScenarioRun, rule: Option<Rule>, invariant: Invariant) -> Vec<Breach> {
        // What the other disks hold is looked at in the end (I12).
        let foreign_mappings: Vec<DiskIdentity> = self.same.setting.disks[1..]
            .iter()
            .map(|disk| disk.identity.clone())
            .collect();
        let writes = |scenario: &ScenarioRun| -> u64 {
            let disks = scenario.machine.disks.iter();
            disks
                .filter(|disk| !foreign_mappings.contains(&disk.identity))
                .map(|disk| disk.writes())
                .sum()
        };
        let before = writes(scenario);
        let (run, world) = scenario.run(&Schedule::default());
        scenario.settle(world, None);
        let mut breaches = vec![];
        match &run.end {
            End::Said(Err(halt)) => {
                if halt.rule != rule {
                    let how = format!(
                        "it stops by {} and not by {}: {}",
                        rule_name(halt.rule),
                        rule_name(rule),
                        halt.fault
                    );
                    breaches.push(Breach { invariant, how });
                }
                let fault = halt.fault.clone();
                scenario.repair(&fault);
            }
            other => {
                let how = format!("it must stop by {}, and {other}", rule_name(rule));
                breaches.push(Breach { invariant, how });
            }
        }
        if writes(scenario) != before {
            breaches.push(Breach {
                invariant: Invariant::UnknownStops,
                how: format!("a run that stops by {} wrote", rule_name(rule)),
            });
        }
        breaches
    }

    fn lands(&self, scenario: ScenarioRun, asked: &Asked) -> Vec<Breach> {
        self.lands_with(scenario, asked).0
    }

    fn lands_with(&self, mut scenario: ScenarioRun, asked: &Asked) -> (Vec<Breach>, Vec<Rc<Disk>>) {
        let bound = scenario.runs;
        scenario.runs = bound.min(1);
        let ending = scenario.finish(&Schedule::default());
        // A start after the landing asks for nothing.
        if ending == Ending::Landed {
            scenario.request.reinstall_requested = false;
        }
        let disks = scenario.machine.disks.clone();
        let report = self
            .harness
            .conclude_as(scenario, ending, &asked.setting, &asked.reference);
        (report.breaches, disks)
    }

    fn judge(
        &mut self,
        action: OperatorAction,
        schedule: &Schedule,
        breaches: Vec<Breach>,
    ) -> ControlFlow<()> {
        self.coverage.scenarios += 1;
        let breaches = self.harness.watched(breaches);
        let wanted = breaches.iter().any(|b| self.harness.wants(b.invariant));
        if !breaches.is_empty() {
            self.coverage.fails(Failure {
                case: self.harness.setting().case,
                schedule: schedule.clone(),
                operator_action: Some(action),
                breaches,
            });
        }
        if wanted {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Whoever edits the table has a tool that writes both copies out.
pub(crate) fn put_table(scenario: &mut ScenarioRun, target: usize, table: GptTable) {
    let table = Rc::new(table);
    for key in [Key::Primary, Key::Backup] {
        scenario
            .machine
            .disk_mut(target)
            .put(key, Value::Table(table.clone()));
    }
    scenario.machine.read_table(target);
}

/// A rule of recovery, for people.
pub(crate) fn rule_name(rule: Option<Rule>) -> String {
    rule.map_or("no rule".to_owned(), |rule| format!("rule {}", rule.number()))
}
