//! The simulated machine, and the world's trait on it. Law: everything that changes anything goes through one door,
//! [`SimWorld::act`], which counts it as a point, lets the schedule interfere, and shows it to the checks.
//!
//! A run that dies waits for ever at the point where it died; whoever drives it sees that nothing moves, drops it, and
//! applies the death to the machine. Absent: time that passes by itself, threads, chance.

use super::bugs::Bug;
use super::case::{Before, Consenter, Setting, sectors};
use super::checks::{Checks, Found, Invariant, Write};
use super::disk::{Disk, Fs, Held, Keep, Key, Region, Value, mix};
use super::faults::{Death, Schedule, What, fault};
use crate::event::Event;
use crate::world::{Media, Survey, World};
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, SLOT_BYTES, choose};
use landfall_states::consent::{Consent, ConsentBy, Erasure};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::Revision;
use landfall_states::plan::{Payload, Plan};
use landfall_states::planned::{GptCopy, KernelPartition};
use landfall_states::recovery::DiskEvidence;
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

/// Everything that outlives a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Disks; the order is the order of their kernel names in this boot.
    pub disks: Vec<Disk>,
    /// The record of this boot.
    pub tmpfs: Option<Vec<u8>>,
    /// How many boots there were.
    pub boot: u32,
    /// Milliseconds since the first one.
    pub now_ms: u64,
    /// Which making of the container is mapped.
    pub mapped: Option<u32>,
    /// Whether the target is mounted.
    pub root_mounted: bool,
    /// Whether the target's ESP is mounted at /mnt/boot, for the target or for the store.
    pub esp_mounted: bool,
    /// A mapping that was there before us.
    pub stranger_mapped: bool,
    /// The kernel's partitions of the target.
    pub kernel: Vec<KernelPartition>,
    /// Whether the firmware has our entry.
    pub nvram: bool,
    /// Numbers for volumes that are made.
    pub makings: u32,
}

impl Machine {
    /// The machine of a case, just booted.
    pub fn new(setting: &Setting) -> Self {
        Machine {
            disks: setting.disks.clone(),
            tmpfs: None,
            boot: 1,
            now_ms: 0,
            mapped: None,
            root_mounted: false,
            esp_mounted: false,
            stranger_mapped: true,
            kernel: kernel(&setting.disks[0]),
            nvram: false,
            makings: 0,
        }
    }

    /// Where the target is now.
    pub fn target(&self, setting: &Setting) -> usize {
        self.disks
            .iter()
            .position(|d| d.identity == setting.plan.disk)
            .unwrap_or(0)
    }

    /// A run died.
    pub fn die(&mut self, setting: &Setting, death: Death) {
        match death {
            Death::Kill => {}
            Death::Cut(keep) => {
                let target = self.target(setting);
                self.disks[target].cut(keep);
                self.tmpfs = None;
                self.boot += 1;
                self.now_ms += 30_000;
                self.mapped = None;
                self.root_mounted = false;
                self.esp_mounted = false;
                self.disks.rotate_left(1);
                self.kernel = kernel(&self.disks[self.target(setting)]);
            }
        }
    }

    /// A digest of all that decides how the next run goes.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Machine {
            disks,
            tmpfs,
            boot,
            now_ms: _, // order is by sequence number; nothing depends on it
            mapped,
            root_mounted,
            esp_mounted,
            stranger_mapped,
            kernel,
            nvram,
            makings,
        } = self;
        (disks, tmpfs, boot, mapped, root_mounted, esp_mounted).hash(&mut hasher);
        (stranger_mapped, kernel.len(), nvram, makings).hash(&mut hasher);
        hasher.finish()
    }
}

/// What Linux makes of a table when it scans a disk: the primary copy, under a protective MBR.
fn kernel(disk: &Disk) -> Vec<KernelPartition> {
    match (disk.see(Key::Mbr), disk.copy(Key::Primary)) {
        (Some(_), GptCopy::Whole(table)) => partitions(&table),
        (_, GptCopy::Absent | GptCopy::Damaged(_) | GptCopy::Whole(_)) => vec![],
    }
}

/// The partitions of a table.
pub fn partitions(table: &landfall_states::plan::GptTable) -> Vec<KernelPartition> {
    table
        .entries
        .iter()
        .map(|e| KernelPartition {
            number: e.number,
            first_lba: e.first_lba,
            sectors: e.sectors(),
        })
        .collect()
}

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
    /// The phase that is under way.
    pub phase: Cell<Phase>,
    /// The disk that is held.
    pub held: Option<usize>,
    /// Whether everything was flushed since something was attached or written.
    pub quiet: bool,
    /// Orders carried out in this run.
    pub orders: u32,
    stop: bool,
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
            phase: Cell::new(Phase::Planned),
            held: None,
            quiet: false,
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

    fn note(&self, line: impl FnOnce() -> String, key: (&str, u64)) {
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
        match what {
            None => self.apply(act, disk, found, usize::MAX),
            Some(What::Before(death)) => self.die(death).await,
            Some(What::During(parts, death)) => {
                self.apply(act, disk, found, parts);
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

    async fn die(&mut self, death: Death) {
        self.death = Some(death);
        std::future::pending().await
    }

    fn apply(&mut self, act: Act, disk: usize, found: Found, parts: usize) {
        match act {
            Act::Look => {}
            Act::Write(held, writes) => {
                self.quiet = false;
                for (key, value) in writes.into_iter().take(parts) {
                    self.checks.get_mut().writing(
                        &self.setting,
                        Write {
                            disk: &self.machine.disks[disk],
                            found,
                            key,
                            value: value.as_ref(),
                        },
                    );
                    self.machine.disks[disk].write(held, key, value);
                }
            }
            Act::Sync(fs) => {
                self.machine.disks[disk].write_back(fs);
                if fs == Fs::Root {
                    self.flush(disk);
                }
            }
            Act::SyncFile(key) => {
                self.machine.disks[disk].write_back_file(key);
                self.flush(disk);
            }
            Act::Flush => self.flush(disk),
            Act::Tmpfs(bytes) => {
                self.machine.tmpfs = Some(bytes);
            }
            Act::Ram(change) => change(&mut self.machine, disk),
            Act::Nvram => self.machine.nvram = true,
        }
    }

    fn flush(&mut self, disk: usize) {
        self.machine.disks[disk].flush();
        self.checks
            .get_mut()
            .flushed(&self.setting, &self.machine.disks[disk]);
    }

    /// Identifies the held disk again.
    pub async fn identify(&mut self) -> Result<(), Fault> {
        if self.has(Bug::SkipIdentity) {
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

    /// Both slots of a disk, as they are read raw: by the FAT's directory, or by their magic where there is no FAT.
    fn raw_slots(&self, disk: &Disk) -> [Option<Vec<u8>>; 2] {
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
        if self.has(Bug::NewerIsEmpty)
            && let Choice::Newer(_) = choose([slots[0].as_deref(), slots[1].as_deref()])
        {
            slots = [None, None];
        }
        slots
    }
}

impl Media for SimWorld {
    async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.act("read tmpfs", Act::Look).await?;
        Ok(self.machine.tmpfs.clone())
    }

    async fn write_tmpfs(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.checks.get_mut().kept_in_tmpfs(bytes);
        self.act("write tmpfs", Act::Tmpfs(bytes.to_vec())).await
    }

    async fn write_slot(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.attach_esp().await?;
        if self.disk().see(Key::SlotFile(which)).is_none() || bytes.len() != SLOT_BYTES {
            return Err(Fault::permanent(
                format!("slot {which}"),
                "it is not there, or not of its size",
                "report this as a defect of landfall",
            ));
        }
        let disk = &self.machine.disks[self.target()];
        self.checks
            .borrow_mut()
            .slot_written(&self.setting, disk, which, bytes);
        let quiet = self.quiet;
        self.act("write a slot", Act::Write(Held::Device, sectors(which, bytes)))
            .await?;
        if self.has(Bug::BothSlots) {
            let disk = &self.machine.disks[self.target()];
            self.checks
                .borrow_mut()
                .slot_written(&self.setting, disk, 1 - which, bytes);
            self.act(
                "write the other",
                Act::Write(Held::Device, sectors(1 - which, bytes)),
            )
            .await?;
        }
        if !self.has(Bug::SlotUnflushed) {
            self.act("flush the slot", Act::Flush).await?;
        }
        self.quiet = quiet;
        Ok(())
    }

    async fn read_slot(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
        self.act("read a slot", Act::Look).await?;
        Ok(self.disk().slot(which).unwrap_or_default())
    }
}

impl World for SimWorld {
    async fn survey(&mut self) -> Result<Survey, Fault> {
        self.act("survey", Act::Look).await?;
        if self.has(Bug::SurveyWrites) {
            let fat = Key::File(Fs::Esp, "dirty");
            self.act("mount", Act::Write(Held::Mount(Fs::Esp), vec![(fat, None)]))
                .await?;
        }
        let disks = self
            .machine
            .disks
            .iter()
            .enumerate()
            .map(|(index, disk)| DiskEvidence {
                disk: disk.identity.clone(),
                device: format!("/dev/vd{}", char::from(b'a' + (index % 26) as u8)),
                primary: disk.copy(Key::Primary),
                backup: disk.copy(Key::Backup),
                slots: self.raw_slots(disk),
            })
            .collect();
        Ok(Survey {
            disks,
            choice: Ok(self.setting.plan.disk.clone()),
            named: true,
        })
    }

    async fn preflight(
        &mut self,
        _plan: &Plan,
        _payload: &Payload,
        pinned: Option<&Revision>,
        _fresh: bool,
    ) -> Result<Revision, Fault> {
        self.act("preflight", Act::Look).await?;
        Ok(pinned.unwrap_or(&self.setting.revision).clone())
    }

    async fn hold(&mut self, plan: &Plan) -> Result<(), Fault> {
        self.act("hold the disk", Act::Look).await?;
        self.held = self.machine.disks.iter().position(|d| d.identity == plan.disk);
        if self.held.is_none() {
            return Err(Fault::needs_change(plan.disk.name(), "it is gone", "attach it"));
        }
        if !self.has(Bug::HoldUnflushed) {
            if self.machine.esp_mounted {
                self.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
            }
            self.act("flush the held disk", Act::Flush).await?;
        }
        Ok(())
    }

    async fn consent(&mut self, erasure: &Erasure) -> Result<Option<Consent>, Fault> {
        self.act("ask", Act::Look).await?;
        let disk = &self.machine.disks[self.target()];
        self.checks.borrow_mut().asked(&self.setting, disk, erasure);
        if self.has(Bug::ConsentFromRecord) && self.run > 0 {
            return Ok(Consent::to(erasure, ConsentBy::Person));
        }
        let by = match self.setting.case.consenter {
            Consenter::Person => ConsentBy::Person,
            Consenter::InAdvance => ConsentBy::InAdvance {
                disk_name: self.setting.plan.disk.name(),
                reinstall: self.setting.case.before == Before::Finished,
            },
            Consenter::Refuses if self.has(Bug::AssumeYes) => {
                return Ok(Consent::to(erasure, ConsentBy::Person));
            }
            Consenter::Refuses => return Ok(None),
        };
        let consent = Consent::to(erasure, by);
        if consent.is_some() {
            self.checks.get_mut().consented();
        }
        Ok(consent)
    }

    async fn release(&mut self) -> Result<(), Fault> {
        if self.held.is_none() {
            return Ok(());
        }
        self.detach().await?;
        self.flush_devices().await
    }

    async fn close(&mut self) -> Result<(), Fault> {
        if self.held.is_none() {
            return Ok(());
        }
        if self.machine.esp_mounted {
            self.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
            self.act(
                "unmount the ESP",
                Act::Ram(|machine, _| machine.esp_mounted = false),
            )
            .await?;
        }
        self.flush_devices().await?;
        self.held = None;
        Ok(())
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.machine.boot)
    }

    fn now_ms(&self) -> u64 {
        self.machine.now_ms
    }

    async fn sleep(&mut self, wait: Duration) -> Result<(), Fault> {
        self.machine.now_ms += u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
        if self.stop {
            return Err(fault(FaultClass::Interrupted, "a stop was asked for"));
        }
        Ok(())
    }

    fn seed(&self) -> u64 {
        if self.has(Bug::Unrepeatable) {
            use std::sync::atomic::{AtomicU64, Ordering};
            static OUTSIDE: AtomicU64 = AtomicU64::new(0);
            return OUTSIDE.fetch_add(1, Ordering::Relaxed);
        }
        mix(u64::from(self.run) << 32 | u64::from(self.machine.boot))
    }

    fn stop_requested(&self) -> bool {
        self.stop
    }

    fn tell(&self, event: Event) {
        let key = match &event {
            Event::Saved {
                sequence,
                phase,
                place,
            } => {
                self.checks.borrow_mut().saved(*sequence, *phase, place);
                ("saved", *sequence)
            }
            Event::RetryIn { wait_ms, .. } => ("retry", *wait_ms),
            Event::Begun { attempt, .. } => ("begun", u64::from(*attempt)),
            Event::Failed { .. } => ("failed", 0),
            Event::Stopped { .. } => ("stopped", 0),
            Event::Found { phase } => ("found", *phase as u64),
            Event::Reached { phase, .. } => ("reached", *phase as u64),
            Event::Output { line, .. } => {
                self.checks.borrow_mut().told(line);
                ("output", line.len() as u64)
            }
            Event::Started { .. }
            | Event::DiskChosen { .. }
            | Event::Decided { .. }
            | Event::Checked { .. }
            | Event::Step { .. }
            | Event::Progress { .. }
            | Event::Asking { .. }
            | Event::Notice { .. }
            | Event::Landed { .. } => ("event", 0),
        };
        self.note(|| format!("{}      {event:?}", self.run), key);
    }

    fn heartbeat(&self, phase: Phase) {
        self.phase.set(phase);
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
            checks.after_death(&machine.disks[machine.target(&setting)]);
        }
        if !machine.stranger_mapped {
            checks.breach(
                Invariant::StrangersStay,
                "a mapping that was there before is gone",
            );
        }
        (machine, checks)
    }
}
