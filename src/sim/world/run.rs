//! One run on the machine.
//!
//! Every change goes through one function, [`SimWorld::act`], which counts it as a point, lets the schedule interfere, and
//! shows it to the checks.
//!
//! A run that crashes waits for ever at the point where it crashed. The caller detects that it no longer progresses, drops
//! it, and applies the crash to the machine. No time passes by itself, and there are no threads and no chance.

use crate::sim::check::last_word::LastWord;
use crate::sim::check::visible_effects::Effect;
use crate::sim::check::watch::{Checks, Found, Write};
use crate::sim::inject::faults::{Injection, fault};
#[cfg(feature = "planted")]
use crate::sim::inject::planted::Bug;
use crate::sim::inject::planted::planted;
use crate::sim::inject::point::{Moment, Point};
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::crash::{Crash, Keep};
use crate::sim::model::disk::{Disk, Fs, Held, Key, Value};
use crate::sim::model::environment::EnvironmentEvent;
use crate::sim::model::machine::Machine;
use crate::sim::model::setting::Setting;
use landfall_states::Phase;
use landfall_states::authentic::RecordKeys;
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::image::ImageProgress;
use landfall_states::plan::DiskIdentity;
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// What happens at a point.
#[derive(Debug, Clone)]
pub enum Act {
    /// Looking, or something outside.
    Look,
    /// Something is asked for over the network.
    Ask,
    /// The image is read from the installer's medium, which can give other bytes than it was given.
    Medium,
    /// Writes to the held disk, in this order.
    Write(Held, Vec<(Key, Option<Value>)>),
    /// A filesystem writes out what it holds back; ext4 flushes the device after it.
    Sync(Fs),
    /// One file is written out, and the device flushed.
    SyncFile(Key),
    /// The device is flushed.
    Flush,
    /// The record in tmpfs is replaced.
    Tmpfs(Vec<u8>),
    /// Attaching, detaching, telling the kernel: what a power cut undoes by itself.
    Ram(fn(&mut Machine, usize)),
    /// The firmware's variables, which are durable at once.
    Nvram,
}

/// What happens at a point, and the disk on which it happens.
struct ActOn {
    act: Act,
    disk: usize,
    found: Found,
}

/// A program's deadline, in milliseconds.
const DEADLINE_MS: u64 = 3_600_000;

/// Effects that a program has, written by itself into the device.
const PROGRAMS: [&str; 9] = [
    "make a volume",
    "give it to the copies",
    "give it its id",
    "repair the superblock",
    "repair the root",
    "open the container",
    "fetch",
    "evaluate and fetch",
    "activate",
];

/// The machine at a moment, and what the checks know.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// At which point.
    pub at: u32,
    /// Where in it.
    pub moment: Moment,
    /// In which phase.
    pub phase: Phase,
    /// The machine.
    pub machine: Machine,
    /// The checks.
    pub checks: Checks,
    /// What the run knew by itself.
    pub driver: Driver,
}

/// What a run that is under way knows beside the machine, as far as it decides how the run goes on in a later phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Driver {
    began_with: (Option<Phase>, bool),
    held: bool,
    quiet: bool,
    written_out: bool,
    ordered: bool,
    stop: bool,
    flaps: u32,
    damages: u32,
    repair_is_due: bool,
    strange: Option<(&'static str, u32)>,
    asked: bool,
    ordered_here: bool,
    landed_chunks: Option<u64>,
    granted: bool,
    evaluated: bool,
}

/// One run's view of the machine.
#[derive(Debug)]
pub struct SimWorld {
    /// The case.
    pub setting: Rc<Setting>,
    /// The machine.
    pub machine: Machine,
    /// What goes wrong.
    pub schedule: Schedule,
    /// The checks.
    pub checks: RefCell<Checks>,
    /// The planted bug.
    #[cfg(feature = "planted")]
    pub bug: Option<Bug>,
    /// Number of the run, from 0.
    pub run: u32,
    /// Points passed in this run.
    pub points: Vec<Point>,
    /// How it crashed, if it did.
    pub crash: Option<Crash>,
    /// A running digest of everything that happened.
    pub trace: Cell<u64>,
    /// Lines of it, when somebody wants to read them.
    pub lines: Option<RefCell<Vec<String>>>,
    /// Every moment at which it could have crashed, when somebody wants them.
    pub snapshots: Option<Vec<Snapshot>>,
    /// What can be seen of it on the disk's bytes, when somebody wants to know.
    pub effects: Option<Vec<Effect>>,
    /// Whether somebody was asked to agree.
    pub asked: bool,
    /// The phase from which there was something to do first.
    pub begins_at: Cell<Option<Phase>>,
    /// The phase that is under way.
    pub phase: Cell<Phase>,
    /// The disk that is held.
    pub held: Option<usize>,
    /// What the driver holds it for.
    pub confirmed: Option<DiskIdentity>,
    /// Whether everything was flushed since something was attached or written.
    pub quiet: bool,
    /// The target's mount is this run's, or was written out by it.
    pub written_out: bool,
    /// Orders carried out in this run.
    pub orders: u32,
    /// The phase of the last of them.
    pub ordered_in: Option<Phase>,
    /// How far this run has come with an image.
    pub image_progress: Option<ImageProgress>,
    /// Whether what was read of the image last is what it is made of.
    pub right: bool,
    /// A signal asked to stop.
    pub stop: bool,
    /// Somebody changes the disk before it is identified the next time.
    pub swapped: bool,
    /// Points at which the schedule has a fault that an earlier one keeps from happening.
    pub not_applied: Vec<u32>,
    /// How often damage of the root filesystem was met in this run.
    pub damages: u32,
    /// It was, and the next look repairs it.
    pub repair_is_due: bool,
    /// Requests that fail yet.
    pub flaps: u32,
    /// What ends as nobody knows it, and how often it did.
    pub strange: Option<(&'static str, u32)>,
    /// What came over the network before it failed.
    pub came: Option<&'static str>,
    /// A person asked for a new install.
    pub anew: bool,
    /// What the record said when the run began, and whether the last run stopped in good order.
    pub began_with: (Option<Phase>, bool),
    /// Every point is kept among the moments, also where nothing happens.
    pub every_point: bool,
    /// The keys that records are proved with, as far as they are at hand.
    pub record_keys: RecordKeys,
    /// The remote was asked about the wish, and names it.
    pub granted: bool,
    /// This run has evaluated the configuration.
    pub evaluated: bool,
    /// What it told of its end.
    pub last_word: RefCell<LastWord>,
}

impl SimWorld {
    /// A run begins on a machine.
    pub fn new(setting: Rc<Setting>, machine: Machine, checks: Checks, schedule: Schedule, run: u32) -> Self {
        let (mut checks, mut machine) = (checks, machine);
        checks.run_begins();
        machine.time_passes(&setting);
        SimWorld {
            setting,
            machine,
            schedule,
            checks: RefCell::new(checks),
            #[cfg(feature = "planted")]
            bug: None,
            run,
            points: vec![],
            crash: None,
            trace: Cell::new(0),
            lines: None,
            snapshots: None,
            effects: None,
            asked: false,
            begins_at: Cell::new(None),
            phase: Cell::new(Phase::Planned),
            held: None,
            confirmed: None,
            quiet: false,
            written_out: false,
            orders: 0,
            ordered_in: None,
            image_progress: None,
            right: false,
            stop: false,
            swapped: false,
            not_applied: vec![],
            damages: 0,
            repair_is_due: false,
            flaps: 0,
            strange: None,
            came: None,
            anew: false,
            began_with: (None, false),
            every_point: false,
            record_keys: RecordKeys::default(),
            granted: false,
            evaluated: false,
            last_word: RefCell::new(LastWord::default()),
        }
    }

    /// Whether a bug is planted.
    #[cfg(feature = "planted")]
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The target's place among the disks.
    pub fn target(&self) -> usize {
        self.held.unwrap_or_else(|| self.machine.target(&self.setting))
    }

    /// The target.
    pub fn disk(&self) -> &Disk {
        self.machine.disk(self.target())
    }

    /// Writes into the trace.
    pub fn note(&self, line: impl FnOnce() -> String, key: (&str, u64)) {
        let mut hasher = DefaultHasher::new();
        (self.trace.get(), key).hash(&mut hasher);
        self.trace.set(hasher.finish());
        if let Some(lines) = &self.lines {
            lines.borrow_mut().push(line());
        }
    }

    /// The door.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn act(&mut self, label: &'static str, act: Act) -> Result<(), Fault> {
        self.act_on(label, act, self.target(), Found::ByIdentity).await
    }

    /// The door, on a disk found in some way.
    ///
    /// # Errors
    /// The fault that the schedule has for one of its effects.
    pub async fn act_on(
        &mut self,
        label: &'static str,
        act: Act,
        disk: usize,
        found: Found,
    ) -> Result<(), Fault> {
        let at = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        let point = self.point(label, &act);
        self.points.push(point);
        let asked = self.schedule.at(self.run, at);
        let what = asked.filter(|what| point.can(*what));
        self.note(
            || {
                let cannot = if what == asked {
                    ""
                } else {
                    ", which cannot be here"
                };
                let asked = asked.map_or(String::new(), |asked| format!(" ← {asked}{cannot}"));
                format!("{}.{at} {:?} {label}{asked}", self.run, self.phase.get())
            },
            (label, point.parts as u64),
        );
        if (at == 0 && what.is_none()) || self.every_point {
            self.snap(at, Moment::Before);
        }
        if let Err(fault) = self.hindered(point, label) {
            if what.is_some() {
                self.not_applied.push(at);
            }
            return Err(fault);
        }
        let act_on = ActOn { act, disk, found };
        if let Some(injection) = what {
            return self.inject(injection, act_on, point, label).await;
        }
        self.have(act_on, usize::MAX);
        if point.acts {
            self.snap(at, Moment::After);
        }
        Ok(())
    }

    /// What happens at a point, and what the schedule does to it.
    async fn inject(
        &mut self,
        injection: Injection,
        act_on: ActOn,
        point: Point,
        label: &'static str,
    ) -> Result<(), Fault> {
        match injection {
            Injection::Before(crash) => self.crash(crash).await,
            Injection::During(parts, crash) => {
                // A program outlives the run, and goes on.
                if point.program
                    && let Act::Write(held, writes) = &act_on.act
                {
                    let rest = writes.iter().skip(parts);
                    self.machine.child =
                        Some(rest.map(|(key, value)| (*held, *key, value.clone())).collect());
                }
                self.apply_parts(act_on.act, act_on.disk, act_on.found, parts);
                self.crash(crash).await;
            }
            Injection::After(crash) => {
                self.have(act_on, usize::MAX);
                self.crash(crash).await;
            }
            Injection::Fail(class) => {
                self.another_fault();
                return Err(fault(class, label));
            }
            Injection::FailDuring(parts, class) => {
                self.another_fault();
                self.have(act_on, parts);
                return Err(fault(class, label));
            }
            Injection::FailAfter(class) => {
                self.another_fault();
                self.have(act_on, usize::MAX);
                return Err(fault(class, label));
            }
            Injection::Lie => {}
            Injection::LieDuring(parts) => self.have(act_on, parts),
            Injection::Hang => {
                if planted!(self, NoDeadline) {
                    self.checks.get_mut().waits_for_ever(label);
                    std::future::pending::<()>().await;
                }
                self.machine.now_ms += DEADLINE_MS;
                self.another_fault();
                return Err(fault(FaultClass::Transient, label));
            }
            Injection::Strange => {
                self.strange = Some((label, 0));
                return self.ends_strangely(label);
            }
            Injection::Network(network) => {
                self.another_fault();
                return self.fails_over(network, label);
            }
            Injection::Environment(EnvironmentEvent::Late) => self.machine.late = true,
            Injection::Environment(around) => {
                self.have(act_on, usize::MAX);
                self.happens(around);
            }
            Injection::Stop => {
                self.have(act_on, usize::MAX);
                self.stop = true;
            }
            Injection::Swap => {
                self.have(act_on, usize::MAX);
                self.swapped = true;
            }
        }
        Ok(())
    }

    fn have(&mut self, act_on: ActOn, parts: usize) {
        let ActOn { act, disk, found } = act_on;
        self.apply(act, disk, found, parts);
    }

    /// Somebody has changed the disk for another one, if so it was told: its name means the other one now.
    pub fn look_which(&mut self) {
        if !std::mem::take(&mut self.swapped) {
            return;
        }
        let target = self.target();
        let other = &self.setting.data_disk().identity;
        if let Some(other) = self.machine.disks.iter().position(|d| d.identity == *other) {
            self.machine.disks.swap(target, other);
        }
    }

    fn point(&self, label: &'static str, act: &Act) -> Point {
        Point {
            label,
            phase: self.phase.get(),
            parts: match act {
                Act::Look | Act::Ask | Act::Medium => 0,
                Act::Write(_, writes) => writes.len(),
                Act::Sync(_) | Act::SyncFile(_) | Act::Flush | Act::Tmpfs(_) | Act::Ram(_) | Act::Nvram => 1,
            },
            acts: !matches!(act, Act::Look | Act::Ask | Act::Medium),
            lies: match act {
                // Written by landfall itself, into the device; but for the copies of a superblock: a program that gives them no id gives none
                // to the superblock either, and that is where it lies.
                Act::Write(_, writes) => !writes.iter().any(|(key, value)| {
                    value.is_none() || matches!(key, Key::Mbr | Key::Primary | Key::Backup | Key::Copies)
                }),
                // A mount is the kernel's word.
                Act::Ram(_) => !label.starts_with("mount "),
                Act::Tmpfs(_) | Act::Nvram | Act::Medium => true,
                Act::Look | Act::Ask | Act::Sync(_) | Act::SyncFile(_) | Act::Flush => false,
            },
            network: matches!(act, Act::Ask),
            program: PROGRAMS.contains(&label) || matches!(act, Act::Write(Held::Mount(_), _) | Act::Nvram),
            tells: matches!(act, Act::Ram(_)) && label == "tell the kernel",
        }
    }

    fn snap(&mut self, at: u32, moment: Moment) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.push(Snapshot {
                at,
                moment,
                phase: self.phase.get(),
                machine: self.machine.clone(),
                checks: self.checks.get_mut().clone(),
                driver: Driver {
                    began_with: self.began_with,
                    held: self.held.is_some(),
                    quiet: self.quiet,
                    written_out: self.written_out,
                    ordered: self.orders > 0,
                    stop: self.stop,
                    flaps: self.flaps,
                    damages: self.damages,
                    repair_is_due: self.repair_is_due,
                    strange: self.strange,
                    asked: self.asked,
                    ordered_here: self.ordered_in == Some(self.phase.get()),
                    landed_chunks: self
                        .image_progress
                        .as_ref()
                        .map(|image_progress| image_progress.chunks),
                    granted: self.granted,
                    evaluated: self.evaluated,
                },
            });
        }
    }

    async fn crash(&mut self, crash: Crash) {
        self.crash = Some(crash);
        std::future::pending().await
    }

    /// As `apply`, while the program that a killed run leaves is already known.
    fn apply_parts(&mut self, act: Act, disk: usize, found: Found, parts: usize) {
        let child = self.machine.child.take();
        self.apply(act, disk, found, parts);
        self.machine.child = child;
    }

    fn apply(&mut self, act: Act, disk: usize, found: Found, parts: usize) {
        match act {
            Act::Look | Act::Ask => {}
            Act::Medium => self.right = true,
            Act::Write(held, writes) => {
                self.quiet = false;
                let (at, all) = (self.points.len().saturating_sub(1), writes.len());
                let outlives = self.points.last().is_some_and(|point| point.program);
                // What would be left to a program that outlives the run, from each part on.
                let rest: Vec<_> = match (&self.snapshots, outlives) {
                    (Some(_), true) => writes
                        .iter()
                        .map(|(key, value)| (held, *key, value.clone()))
                        .collect(),
                    (Some(_) | None, _) => vec![],
                };
                for (index, (key, value)) in writes.into_iter().take(parts).enumerate() {
                    if self.machine.child.is_some() {
                        self.checks.get_mut().second_writer(key);
                    }
                    self.checks.get_mut().writing(
                        &self.setting,
                        Write {
                            disk: self.machine.disk(disk),
                            found,
                            key,
                            value: value.as_ref(),
                        },
                    );
                    if let Some(effects) = &mut self.effects {
                        effects.extend(Effect::of(&self.setting, key, value.as_ref()));
                    }
                    self.machine.disk_mut(disk).write(held, key, value);
                    if index + 1 < all && self.snapshots.is_some() {
                        let child = self.machine.child.clone();
                        if outlives {
                            self.machine.child = Some(rest.get(index + 1..).unwrap_or_default().into());
                        }
                        self.snap(u32::try_from(at).unwrap_or(u32::MAX), Moment::During(index + 1));
                        self.machine.child = child;
                    }
                }
            }
            Act::Sync(fs) => {
                self.machine.disk_mut(disk).write_back(fs);
                if fs == Fs::Root {
                    self.flush(disk);
                }
            }
            Act::SyncFile(key) => {
                self.machine.disk_mut(disk).write_back_file(key);
                self.flush(disk);
            }
            Act::Flush => self.flush(disk),
            Act::Tmpfs(bytes) => {
                self.machine.tmpfs = Some(bytes.into());
            }
            Act::Ram(change) => change(&mut self.machine, disk),
            Act::Nvram => self.machine.nvram = true,
        }
    }

    fn flush(&mut self, disk: usize) {
        if let Some(effects) = &mut self.effects {
            effects.push(Effect::Flush);
        }
        self.machine.disk_mut(disk).flush();
        self.checks
            .get_mut()
            .flushed(&self.setting, self.machine.disk(disk));
    }
}

impl SimWorld {
    /// Ends the run: the machine goes on with what the crash left, the checks with what they saw.
    pub fn end(self, keep: Option<Keep>) -> (Machine, Checks) {
        let SimWorld {
            setting,
            mut machine,
            checks,
            crash,
            ..
        } = self;
        let mut checks = checks.into_inner();
        if let Some(crash) = crash {
            let crash = match (crash, keep) {
                (Crash::Cut(_), Some(keep)) => Crash::Cut(keep),
                (crash, _) => crash,
            };
            machine.crash(&setting, crash);
            checks.run_over(&setting, &machine);
        } else {
            checks.foreign_mappings(&machine);
        }
        (machine, checks)
    }
}
