//! What people do between two runs: another payload, another layout, a wish to begin anew, an edited table, a disk that is
//! away, another one beside it, a copy of it, a wrong clock, a firmware that forgot, a command in the clone's settings. Law: each is done after every death of
//! an install, and what must follow is said here by a few lines that look at the disk, not by the states.
//!
//! Absent: doing several of them; `tests/any_order.rs` does.

use super::case::Setting;
use super::checks::{Breach, Invariant, state};
use super::contents::ORDERS;
use super::digest::Digester;
use super::disk::{Disk, Fs, Keep, Key, Value};
use super::faults::{Death, Schedule, Shot, What};
use super::harness::Harness;
use super::seen::{Seen, put_table};
use super::shown::rule_name;
use super::story::{End, Ending, Story};
use super::tally::{Failure, Tally};
use super::trust::{Forgery, Moved, forge, who_wrote};
use super::world::{Moment, Snapshot};
use landfall_states::Phase;
use landfall_states::authentic::Authenticity;
use landfall_states::fault::FaultClass;
use landfall_states::names::quoted;
use landfall_states::plan::{DiskIdentity, SystemSource};
use landfall_states::recovery::Rule;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::str::FromStr;

/// What is done between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Between {
    /// Another branch, and what is built of it.
    Payload,
    /// Another layout.
    Layout,
    /// A person asks for a new install, and loses power while it is made.
    Anew,
    /// The table is edited by hand.
    Edit,
    /// The disk is taken away.
    Away,
    /// A disk with another install of this host is attached.
    Second,
    /// A copy of the disk is attached.
    Copy,
    /// The clock is in 1970.
    Clock,
    /// The firmware forgets its entries.
    Firmware,
    /// Somebody who has the disk writes a command into the settings of the clone.
    Orders,
    /// Somebody who has the disk makes the records ask for a commit of his, and keeps their codes.
    Forged,
    /// The same without codes, as before there were any.
    Stripped,
    /// The remote's reference moves on to a descendant.
    MovedOn,
    /// It is pushed somewhere else by force.
    MovedAway,
}

impl Between {
    /// Everything.
    pub const ALL: [Between; 14] = [
        Between::Payload,
        Between::Layout,
        Between::Anew,
        Between::Edit,
        Between::Away,
        Between::Second,
        Between::Copy,
        Between::Clock,
        Between::Firmware,
        Between::Orders,
        Between::Forged,
        Between::Stripped,
        Between::MovedOn,
        Between::MovedAway,
    ];

    /// Its name, as the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Between::Payload => "payload",
            Between::Layout => "layout",
            Between::Anew => "anew",
            Between::Edit => "edit",
            Between::Away => "away",
            Between::Second => "second",
            Between::Copy => "copy",
            Between::Clock => "clock",
            Between::Firmware => "firmware",
            Between::Orders => "orders",
            Between::Forged => "forged",
            Between::Stripped => "stripped",
            Between::MovedOn => "moved-on",
            Between::MovedAway => "moved-away",
        }
    }
}

impl Between {
    /// What is plugged and edited is so while the machine is off.
    fn is_done_off(self) -> bool {
        match self {
            Between::Edit
            | Between::Away
            | Between::Copy
            | Between::Second
            | Between::Orders
            | Between::Forged
            | Between::Stripped
            | Between::MovedOn
            | Between::MovedAway => true,
            Between::Payload | Between::Layout | Between::Anew | Between::Clock | Between::Firmware => false,
        }
    }
}

impl FromStr for Between {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Between::ALL.into_iter().find(|between| between.name() == text);
        found.ok_or_else(|| {
            let all = Between::ALL.map(Between::name).join(", ");
            format!("{} is not done between two runs; there are {all}", quoted(text))
        })
    }
}

/// Of the machines on which a new install is begun, every so many has it cut off at every point.
const CUT_OFF_EVERY: u64 = 40;

/// What a run without faults leaves on the target when this is asked for.
pub fn reference(setting: &Setting) -> BTreeMap<Key, String> {
    let mut setting = setting.unasked();
    // On a disk that carries no install, the number is the configuration's.
    setting.request.reinstall = setting.plan.nonce;
    let setting = Rc::new(setting);
    let mut story = Story::new(&setting, None);
    story.run_to_end();
    let target = story.machine.target(&setting);
    state(&story.machine.disks[target])
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

/// Stories of one harness.
struct Teller<'h> {
    harness: &'h Harness,
    same: Asked,
    payload: Asked,
    layout: Asked,
    anew: Asked,
    moved_on: Asked,
    moved_away: Asked,
    tally: Tally,
    anews: u64,
    cut_off_every: u64,
}

impl Harness {
    /// Everything that people may do between two runs, after every death of the fault-free run.
    pub fn between(&self, what: &[Between], go_on: &dyn Fn() -> bool) -> Result<Tally, String> {
        let setting = self.setting();
        let mut teller = Teller::new(self, CUT_OFF_EVERY)?;
        let story = self.story();
        let moments = story.clone().record(&Schedule::default());
        let (mut digester, mut seen) = (Digester::new(setting, true), HashSet::new());
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
            for death in [Death::Cut(Keep::None), Death::Kill] {
                let mut died = story.clone();
                died.runs += 1;
                (died.machine, died.checks) = (machine.clone(), checks.clone());
                died.die(death);
                if !seen.insert(digester.digest(&died.machine, &died.checks)) {
                    continue;
                }
                let schedule = Schedule(vec![Shot {
                    run: 0,
                    at,
                    what: What::After(death),
                }]);
                for between in what {
                    if death == Death::Kill && between.is_done_off() {
                        continue;
                    }
                    if teller.tell(*between, died.clone(), &schedule).is_break() || !go_on() {
                        return Ok(teller.tally);
                    }
                }
            }
        }
        Ok(teller.tally)
    }

    /// One of them: this after what the schedule does to the first run. A new install is then cut off at every point.
    pub fn tell_between(&self, between: Between, schedule: &Schedule) -> Result<Tally, String> {
        let name = between.name();
        if let Some(later) = schedule.0.iter().find(|shot| shot.run > 0) {
            return Err(format!(
                "--operator-action {name}: schedule {schedule}: what is done comes after the first run, and nothing else goes wrong behind it: \
                 leave out what begins with {}.",
                later.run
            ));
        }
        let mut teller = Teller::new(self, 1)?;
        let mut story = self.story();
        let (run, world) = story.run(schedule);
        story.settle(world, None);
        if let Some(shot) = schedule.0.iter().find(|shot| !shot.is_reached(&story.passed)) {
            return Err(format!(
                "schedule {schedule}: point 0.{} is never reached: the first run passes {} points, from 0.0 on",
                shot.at,
                run.points.len()
            ));
        }
        match run.end {
            End::Died(Death::Cut(_)) => {}
            End::Died(_) if !between.is_done_off() => {}
            End::Said(Ok(_)) if between != Between::Anew => {}
            End::Died(_) | End::Said(_) => {
                let ends = if between.is_done_off() {
                    "a power cut: it is done while the machine is off"
                } else {
                    "a death: who reads why a run stopped does that first"
                };
                return Err(format!(
                    "--operator-action {name}: schedule {schedule}: the first run has to end with {ends}, such as 0.{}:before:cut=none",
                    run.points.len() / 2
                ));
            }
        }
        // What it found is in the tally.
        let _told = teller.tell(between, story, schedule);
        Ok(teller.tally)
    }
}

impl<'h> Teller<'h> {
    fn new(harness: &'h Harness, cut_off_every: u64) -> Result<Teller<'h>, String> {
        let setting = harness.setting();
        Ok(Teller {
            harness,
            same: Asked::new((**setting).clone()),
            payload: Asked::new(setting.other_payload()?),
            layout: Asked::new(setting.other_layout()?),
            anew: Asked::new(setting.anew(setting.plan.nonce + 1)?),
            moved_on: Asked::new(setting.moved(Moved::On, false)),
            moved_away: Asked::new(setting.moved(Moved::Away, false)),
            tally: Tally {
                points: harness.points.len() as u64,
                ..Tally::default()
            },
            anews: 0,
            cut_off_every,
        })
    }

    fn tell(&mut self, between: Between, mut story: Story, schedule: &Schedule) -> ControlFlow<()> {
        let plan = self.same.setting.plan.clone();
        let target = story.machine.target(&self.same.setting);
        let seen = Seen::on(&story.machine.disks[target]);
        let breaches = match between {
            Between::Payload => {
                let landed = seen.landed(&plan);
                story.asks(&self.payload.setting);
                story.checks.done_again_from(Phase::Formatted);
                let asked = if landed { &self.same } else { &self.payload };
                match self.refused(&story) {
                    // What was written from an image is that image's.
                    Some(mut refused) => {
                        refused.asks(&self.same.setting);
                        refused.checks.done_again_from(Phase::Formatted);
                        self.lands(refused, &self.same)
                    }
                    None => self.lands(story, asked),
                }
            }
            Between::Layout => {
                story.asks(&self.layout.setting);
                if seen.has_record_of(&plan) {
                    let why = self.stops(&mut story, Some(Rule::OtherLayout), Invariant::SameEnd);
                    story.asks(&self.same.setting);
                    why.into_iter().chain(self.lands(story, &self.same)).collect()
                } else {
                    self.lands(story, &self.layout)
                }
            }
            Between::Anew => return self.anew(story, &seen, schedule),
            Between::Edit => {
                if seen.tables.iter().filter(|table| **table == plan.table).count() < 2 || seen.landed(&plan)
                {
                    return ControlFlow::Continue(());
                }
                let mut edited = plan.table.clone();
                edited.entries.pop();
                put_table(&mut story, target, edited);
                let why = self.stops(&mut story, Some(Rule::Edited), Invariant::UnknownStops);
                put_table(&mut story, target, plan.table.clone());
                why.into_iter().chain(self.lands(story, &self.same)).collect()
            }
            Between::Away => {
                let disk = story.machine.disks.remove(target);
                let why = self.stops(&mut story, None, Invariant::UnknownStops);
                story.machine.disks.push(disk);
                story.die(Death::Cut(Keep::None));
                why.into_iter().chain(self.lands(story, &self.same)).collect()
            }
            Between::Second => match self.same.setting.second() {
                Err(how) => vec![Breach {
                    invariant: Invariant::Ends,
                    how,
                }],
                Ok(second) => {
                    let second = Rc::new(second);
                    story.machine.disks.push(second.clone());
                    let (mut breaches, disks) = self.lands_with(story, &self.same);
                    if !disks.contains(&second) {
                        breaches.push(Breach {
                            invariant: Invariant::OthersUntouched,
                            how: "the disk with the other install was changed".into(),
                        });
                    }
                    breaches
                }
            },
            Between::Copy => {
                let mut copy = (*story.machine.disks[target]).clone();
                copy.identity = DiskIdentity {
                    serial: Some("COPY".into()),
                    ..copy.identity
                };
                story.machine.disks.push(Rc::new(copy));
                let why = if seen.carries(&plan) {
                    self.stops(&mut story, Some(Rule::Clone), Invariant::UnknownStops)
                } else {
                    vec![]
                };
                story
                    .machine
                    .disks
                    .retain(|disk| disk.identity.serial.as_deref() != Some("COPY"));
                why.into_iter().chain(self.lands(story, &self.same)).collect()
            }
            Between::Clock => {
                story.machine.clock_ms = 0;
                let why = if seen.landed(&plan) {
                    vec![]
                } else {
                    self.stops(&mut story, None, Invariant::UnknownStops)
                };
                why.into_iter().chain(self.lands(story, &self.same)).collect()
            }
            Between::Firmware => {
                story.machine.nvram = false;
                self.lands(story, &self.same)
            }
            Between::Orders => {
                // Not into a container; and on a disk that has landed nobody looks at it.
                let clone = story.machine.disks[target].see(Key::File(Fs::Root, "clone"));
                let Some(Value::Text(making, _)) =
                    clone.filter(|_| plan.luks.is_none() && !seen.landed(&plan))
                else {
                    return ControlFlow::Continue(());
                };
                let program = Value::Text(*making, "core.fsmonitor".into());
                let orders = Key::File(Fs::Root, ORDERS);
                story.machine.disk_mut(target).put(orders, program);
                // The clone is made anew, and what is behind it is looked at again.
                story.checks.done_again_from(Phase::Formatted);
                self.lands(story, &self.same)
            }
            Between::Forged | Between::Stripped => {
                let how = if between == Between::Forged {
                    Forgery::OldCode
                } else {
                    Forgery::NoCode
                };
                let setting = self.same.setting.clone();
                let forged = forge(story.machine.disk_mut(target), &setting, how);
                // What the forged records claim was reached is asked for anew where it is not proved.
                story.checks.done_again_from(Phase::Formatted);
                story.checks.somebody_wrote(&story.machine.disks[target]);
                let invariant = Invariant::OnlyTheNamed;
                let failed = forged.err().map(|how| Breach { invariant, how });
                failed.into_iter().chain(self.lands(story, &self.same)).collect()
            }
            Between::MovedOn | Between::MovedAway => {
                let (moved, new) = if between == Between::MovedOn {
                    (Moved::On, &self.moved_on)
                } else {
                    (Moved::Away, &self.moved_away)
                };
                // What is pinned stays, where the record says it: to a descendant anybody may say so, elsewhere only who has the key.
                let stays = match who_wrote(&story.machine, &self.same.setting) {
                    None => false,
                    Some(_) if seen.landed(&plan) || moved == Moved::On => true,
                    Some(who) => who == Authenticity::Proved,
                };
                let pinned = Asked {
                    setting: Rc::new(self.same.setting.moved(moved, true)),
                    reference: self.same.reference.clone(),
                };
                let asked = if stays && seen.has_record_of(&plan) {
                    &pinned
                } else {
                    new
                };
                story.asks(&asked.setting);
                story.checks.done_again_from(Phase::Formatted);
                self.lands(story, asked)
            }
        };
        self.judge(between, schedule, breaches)
    }

    /// A new install is asked for: it is made under new ids, and where it is cut off the next run goes on with whatever the
    /// disk says.
    fn anew(&mut self, mut story: Story, seen: &Seen, schedule: &Schedule) -> ControlFlow<()> {
        let plan = &self.same.setting.plan;
        // Where nothing of it is known there is nothing to count on from.
        if !seen.carries(plan) {
            return ControlFlow::Continue(());
        }
        story.asks(&self.anew.setting);
        story.checks.begins_anew();
        self.anews += 1;
        if self.anews.is_multiple_of(self.cut_off_every) {
            for Snapshot {
                at, machine, checks, ..
            } in story.clone().record(&Schedule::default())
            {
                let mut died = story.clone();
                let run = died.runs;
                died.runs += 1;
                (died.machine, died.checks) = (machine, checks);
                let death = Death::Cut(Keep::None);
                died.die(death);
                let target = died.machine.target(&self.same.setting);
                let seen = Seen::on(&died.machine.disks[target]);
                let asked = if seen.carries(&self.anew.setting.plan) {
                    &self.anew
                } else {
                    &self.same
                };
                died.asks(&Rc::new(asked.setting.unasked()));
                let mut asked = Asked {
                    setting: asked.setting.clone(),
                    reference: asked.reference.clone(),
                };
                // Declared: where no more than the backup copy of a landed disk's table was wiped, the disk is still landed.
                if seen.landed(&asked.setting.plan) && seen.tables.len() == 1 {
                    asked.reference.remove(&Key::Backup);
                }
                let mut schedule = schedule.clone();
                let what = What::After(death);
                schedule.0.push(Shot { run, at, what });
                let breaches = self.lands(died, &asked);
                self.judge(Between::Anew, &schedule, breaches)?;
            }
        }
        let breaches = self.lands(story, &self.anew);
        self.judge(Between::Anew, schedule, breaches)
    }

    /// The story after its next run, when that stops because the root filesystem is whole and of another image.
    fn refused(&self, story: &Story) -> Option<Story> {
        let SystemSource::Image(image) = &story.request.payload.system else {
            return None;
        };
        let mut refused = story.clone();
        let (run, world) = refused.run(&Schedule::default());
        let is_ours = world.is_from(image);
        refused.settle(world, None);
        match run.end {
            End::Said(Err(halt)) if halt.fault.class == FaultClass::NeedsChange && !is_ours => {
                refused.mend(&halt.fault);
                Some(refused)
            }
            End::Said(_) | End::Died(_) => None,
        }
    }

    /// One run, which must stop, for this rule when there is one, and write nothing.
    fn stops(&self, story: &mut Story, rule: Option<Rule>, invariant: Invariant) -> Vec<Breach> {
        // What the other disks hold is looked at in the end (I12).
        let strangers: Vec<DiskIdentity> = self.same.setting.disks[1..]
            .iter()
            .map(|disk| disk.identity.clone())
            .collect();
        let writes = |story: &Story| -> u64 {
            let disks = story.machine.disks.iter();
            disks
                .filter(|disk| !strangers.contains(&disk.identity))
                .map(|disk| disk.writes())
                .sum()
        };
        let before = writes(story);
        let (run, world) = story.run(&Schedule::default());
        story.settle(world, None);
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
                story.mend(&fault);
            }
            other => {
                let how = format!("it must stop by {}, and {other}", rule_name(rule));
                breaches.push(Breach { invariant, how });
            }
        }
        if writes(story) != before {
            breaches.push(Breach {
                invariant: Invariant::UnknownStops,
                how: format!("a run that stops by {} wrote", rule_name(rule)),
            });
        }
        breaches
    }

    fn lands(&self, story: Story, asked: &Asked) -> Vec<Breach> {
        self.lands_with(story, asked).0
    }

    fn lands_with(&self, mut story: Story, asked: &Asked) -> (Vec<Breach>, Vec<Rc<Disk>>) {
        let bound = story.runs;
        story.runs = bound.min(1);
        let ending = story.finish(&Schedule::default());
        // A start after the landing asks for nothing.
        if ending == Ending::Landed {
            story.request.reinstall_requested = false;
        }
        let disks = story.machine.disks.clone();
        let told = self
            .harness
            .conclude_as(story, ending, &asked.setting, &asked.reference);
        (told.breaches, disks)
    }

    fn judge(&mut self, between: Between, schedule: &Schedule, breaches: Vec<Breach>) -> ControlFlow<()> {
        self.tally.stories += 1;
        let breaches = self.harness.watched(breaches);
        let wanted = breaches.iter().any(|b| self.harness.wants(b.invariant));
        if !breaches.is_empty() {
            self.tally.fails(Failure {
                case: self.harness.setting().case,
                schedule: schedule.clone(),
                between: Some(between),
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
