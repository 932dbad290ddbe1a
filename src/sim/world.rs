//! One run on the machine. Law: everything that changes anything goes through one door,
//! [`SimWorld::act`], which counts it as a point, lets the schedule interfere, and shows it to the checks.
//!
//! A run that dies waits for ever at the point where it died; whoever drives it sees that nothing moves, drops it, and
//! applies the death to the machine. Absent: time that passes by itself, threads, chance.

use super::bugs::Bug;
use super::case::Setting;
use super::checks::{Checks, Found, Write};
use super::disk::{Disk, Fs, Held, Keep, Key, Region, Value};
use super::effects::Effect;
use super::faults::{Death, Schedule, What, fault};
use super::machine::Machine;
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, choose};
use landfall_states::fault::Fault;
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// What happens at a point.
#[derive(Debug, Clone)]
pub enum Act {
    /// Looking, or something outside.
    Look,
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

/// A point, as it was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// What it is.
    pub label: &'static str,
    /// The phase in which it is.
    pub phase: Phase,
    /// How many parts it has; 0 for looking.
    pub parts: usize,
    /// Whether it changes anything but itself.
    pub acts: bool,
    /// Whether success without the effect is a fault of a program, and not of the device.
    pub lies: bool,
}

/// Where in a point a run can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it.
    Before,
    /// When this many parts of it have happened.
    During(usize),
    /// After it.
    After,
}

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
    pub bug: Option<Bug>,
    /// Number of the run, from 0.
    pub run: u32,
    /// Points passed in this run.
    pub points: Vec<Point>,
    /// How it died, if it did.
    pub death: Option<Death>,
    /// A running digest of everything that happened.
    pub trace: Cell<u64>,
    /// Lines of it, when somebody wants to read them.
    pub lines: Option<RefCell<Vec<String>>>,
    /// Every moment at which it could have died, when somebody wants them.
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
    /// Whether everything was flushed since something was attached or written.
    pub quiet: bool,
    /// The target's mount is this run's, or was written out by it.
    pub written_out: bool,
    /// Orders carried out in this run.
    pub orders: u32,
    /// A signal asked to stop.
    pub stop: bool,
}

impl SimWorld {
    /// A run begins on a machine.
    pub fn new(setting: Rc<Setting>, machine: Machine, checks: Checks, schedule: Schedule, run: u32) -> Self {
        let mut checks = checks;
        checks.run_begins();
        SimWorld {
            setting,
            machine,
            schedule,
            checks: RefCell::new(checks),
            bug: None,
            run,
            points: vec![],
            death: None,
            trace: Cell::new(0),
            lines: None,
            snapshots: None,
            effects: None,
            asked: false,
            begins_at: Cell::new(None),
            phase: Cell::new(Phase::Planned),
            held: None,
            quiet: false,
            written_out: false,
            orders: 0,
            stop: false,
        }
    }

    /// Whether a bug is planted.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The target's place among the disks.
    pub fn target(&self) -> usize {
        self.held.unwrap_or_else(|| self.machine.target(&self.setting))
    }

    /// The target.
    pub fn disk(&self) -> &Disk {
        &self.machine.disks[self.target()]
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
    pub async fn act(&mut self, label: &'static str, act: Act) -> Result<(), Fault> {
        self.act_on(label, act, self.target(), Found::ByIdentity).await
    }

    /// The door, on a disk found in some way.
    pub async fn act_on(
        &mut self,
        label: &'static str,
        act: Act,
        disk: usize,
        found: Found,
    ) -> Result<(), Fault> {
        let at = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        let parts = match &act {
            Act::Look => 0,
            Act::Write(_, writes) => writes.len(),
            Act::Sync(_) | Act::SyncFile(_) | Act::Flush | Act::Tmpfs(_) | Act::Ram(_) | Act::Nvram => 1,
        };
        self.points.push(Point {
            label,
            phase: self.phase.get(),
            parts,
            acts: !matches!(act, Act::Look),
            lies: match &act {
                // Written by landfall itself, into the device.
                Act::Write(_, writes) => !writes.iter().any(|(key, value)| {
                    value.is_none() || matches!(key, Key::Mbr | Key::Primary | Key::Backup)
                }),
                Act::Tmpfs(_) | Act::Ram(_) | Act::Nvram => true,
                Act::Look | Act::Sync(_) | Act::SyncFile(_) | Act::Flush => false,
            },
        });
        let what = self.schedule.at(self.run, at);
        self.note(
            || {
                let what = what.map_or(String::new(), |what| format!(" ← {what}"));
                format!("{}.{at} {:?} {label}{what}", self.run, self.phase.get())
            },
            (label, parts as u64),
        );
        if at == 0 && what.is_none() {
            self.snap(at, Moment::Before);
        }
        match what {
            None => {
                let acts = !matches!(act, Act::Look);
                self.apply(act, disk, found, usize::MAX);
                if acts {
                    self.snap(at, Moment::After);
                }
            }
            Some(What::Before(death)) => self.die(death).await,
            Some(What::During(parts, death)) => {
                self.apply(act, disk, found, parts);
                // What was in the middle of it may be a program, which outlives the run.
                self.machine.child = true;
                self.die(death).await;
            }
            Some(What::After(death)) => {
                self.apply(act, disk, found, usize::MAX);
                self.die(death).await;
            }
            Some(What::Fail(class)) => return Err(fault(class, label)),
            Some(What::FailAfter(class)) => {
                self.apply(act, disk, found, usize::MAX);
                return Err(fault(class, label));
            }
            Some(What::Lie) => {}
            Some(What::Stop) => {
                self.apply(act, disk, found, usize::MAX);
                self.stop = true;
            }
            Some(What::Swap) => {
                self.apply(act, disk, found, usize::MAX);
                let data = self
                    .machine
                    .disks
                    .iter()
                    .position(|d| d.identity == self.setting.disks[1].identity);
                if let Some(data) = data {
                    self.machine.disks.swap(disk, data);
                }
            }
        }
        Ok(())
    }

    fn snap(&mut self, at: u32, moment: Moment) {
        if let Some(snapshots) = &mut self.snapshots {
            let mut machine = self.machine.clone();
            machine.child |= matches!(moment, Moment::During(_));
            snapshots.push(Snapshot {
                at,
                moment,
                phase: self.phase.get(),
                machine,
                checks: self.checks.get_mut().clone(),
            });
        }
    }

    async fn die(&mut self, death: Death) {
        self.death = Some(death);
        std::future::pending().await
    }

    fn apply(&mut self, act: Act, disk: usize, found: Found, parts: usize) {
        match act {
            Act::Look => {}
            Act::Write(held, writes) => {
                self.quiet = false;
                let (at, all) = (self.points.len().saturating_sub(1), writes.len());
                for (index, (key, value)) in writes.into_iter().take(parts).enumerate() {
                    if self.machine.child {
                        self.checks.get_mut().second_writer(key);
                    }
                    self.checks.get_mut().writing(
                        &self.setting,
                        Write {
                            disk: &self.machine.disks[disk],
                            found,
                            key,
                            value: value.as_ref(),
                        },
                    );
                    if let Some(effects) = &mut self.effects {
                        effects.extend(Effect::of(&self.setting, key, value.as_ref()));
                    }
                    self.machine.disk_mut(disk).write(held, key, value);
                    if index + 1 < all {
                        self.snap(u32::try_from(at).unwrap_or(u32::MAX), Moment::During(index + 1));
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
            .flushed(&self.setting, &self.machine.disks[disk]);
    }

    /// Identifies the held disk again.
    pub async fn identify(&mut self) -> Result<(), Fault> {
        if self.has(Bug::SkipIdentity) || (self.has(Bug::IdentifyOnce) && self.phase.get() > Phase::Planned) {
            return Ok(());
        }
        self.act("identify the disk", Act::Look).await?;
        if self.disk().identity != self.setting.plan.disk {
            return Err(Fault::unsafe_(
                format!("disk {}", self.setting.plan.disk.name()),
                "it is another disk now",
                "put the confirmed disk back, then: landfall resume",
            ));
        }
        self.checks.get_mut().identified();
        Ok(())
    }

    /// Mounts the ESP, for the store or for the target: one filesystem, one cache.
    pub async fn attach_esp(&mut self) -> Result<(), Fault> {
        if !self.machine.esp_mounted {
            self.mountable(Region::Esp)?;
            self.quiet = false;
            self.act("mount the ESP", Act::Ram(|machine, _| machine.esp_mounted = true))
                .await?;
        }
        Ok(())
    }

    /// Opens the container, when there is one.
    pub async fn attach_container(&mut self) -> Result<(), Fault> {
        if !self.setting.case.kind.luks {
            return Ok(());
        }
        let making = self.disk().header(Region::Root).map(|h| h.making);
        if self.machine.mapped.is_none() || self.machine.mapped != making {
            self.mountable(Region::Root)?;
            self.quiet = false;
            self.act(
                "open the container",
                Act::Ram(|machine, disk| {
                    machine.mapped = machine.disks[disk].header(Region::Root).map(|h| h.making);
                }),
            )
            .await?;
        }
        Ok(())
    }

    /// Mounts the target.
    pub async fn attach_root(&mut self) -> Result<(), Fault> {
        self.attach_container().await?;
        if self.machine.root_mounted && !self.written_out && !self.has(Bug::TakeOverUnsynced) {
            // Left by a killed run: what is in its caches must be durable before it is believed.
            self.act("sync what was left", Act::Sync(Fs::Root)).await?;
        }
        self.written_out = true;
        if !self.machine.root_mounted {
            self.mountable(self.setting.root_region())?;
            self.quiet = false;
            self.act(
                "mount the root",
                Act::Ram(|machine, _| machine.root_mounted = true),
            )
            .await?;
        }
        Ok(())
    }

    fn mountable(&self, region: Region) -> Result<(), Fault> {
        if self.disk().is_mountable(region) {
            Ok(())
        } else {
            Err(Fault::permanent(
                format!("mount of {region:?}"),
                "the filesystem is damaged",
                "report this as a defect of landfall",
            ))
        }
    }

    /// Unmounts the target and closes the container. The store's mount stays.
    pub async fn detach(&mut self) -> Result<(), Fault> {
        if self.machine.root_mounted {
            self.act("sync the root", Act::Sync(Fs::Root)).await?;
            self.act(
                "unmount the root",
                Act::Ram(|machine, _| machine.root_mounted = false),
            )
            .await?;
        }
        if self.machine.mapped.is_some() {
            self.act(
                "close the container",
                Act::Ram(|machine, _| machine.mapped = None),
            )
            .await?;
        }
        if self.has(Bug::CloseAll) {
            self.act(
                "close all",
                Act::Ram(|machine, _| machine.stranger_mapped = false),
            )
            .await?;
        }
        if self.machine.esp_mounted {
            self.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        }
        Ok(())
    }

    /// Flushes every device of the install.
    pub async fn flush_devices(&mut self) -> Result<(), Fault> {
        self.act("flush the devices", Act::Flush).await?;
        self.quiet = true;
        Ok(())
    }

    /// The phase that the target's slots claim.
    pub fn recorded(&self) -> Option<Phase> {
        let slots = [self.disk().slot(0), self.disk().slot(1)];
        match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Believed { record, .. } => Some(record.phase()),
            Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => None,
        }
    }

    /// Both slots of a disk, as they are read raw: by the FAT's directory, or by their magic where there is no FAT.
    pub fn raw_slots(&self, disk: &Disk) -> [Option<Vec<u8>>; 2] {
        let has_esp = [Key::Primary, Key::Backup]
            .iter()
            .any(|key| disk.copy(*key).table().is_some());
        let mut slots = [0, 1].map(|which| {
            let bytes = if has_esp { disk.slot(which) } else { None };
            let making = disk.header(Region::Esp).map(|h| h.making);
            let allocated = match disk.see(Key::SlotFile(which)) {
                Some(Value::Of(of)) => Some(*of) == making,
                Some(_) | None => false,
            };
            bytes.filter(|b| allocated || b.starts_with(landfall_states::checkpoint::MAGIC.as_bytes()))
        });
        if self.has(Bug::OneSlotRead) {
            slots[1] = None;
        }
        if self.has(Bug::ForkIsFresh)
            && let Choice::Fork { .. } = choose([slots[0].as_deref(), slots[1].as_deref()])
        {
            slots = [None, None];
        }
        if self.has(Bug::NewerIsEmpty)
            && let Choice::Newer(_) = choose([slots[0].as_deref(), slots[1].as_deref()])
        {
            slots = [None, None];
        }
        slots
    }
}

impl SimWorld {
    /// Ends the run: the machine goes on with what the death left, the checks with what they saw.
    pub fn end(self, keep: Option<Keep>) -> (Machine, Checks) {
        let SimWorld {
            setting,
            mut machine,
            checks,
            death,
            ..
        } = self;
        let mut checks = checks.into_inner();
        if let Some(death) = death {
            let death = match (death, keep) {
                (Death::Cut(_), Some(keep)) => Death::Cut(keep),
                (death, _) => death,
            };
            machine.die(&setting, death);
            checks.run_over(&setting, &machine);
        } else {
            checks.strangers(&machine);
        }
        (machine, checks)
    }
}
