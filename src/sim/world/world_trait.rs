//! The `World` trait: survey, preflight, consent, holding the disk, events, the end of a run.
//!
//! `sim::actions` has the steps.

use crate::event::Event;
use crate::sim::inject::faults::fault;
use crate::sim::inject::planted::planted;
use crate::sim::model::case::{Before, Consenter};
use crate::sim::model::crash::mix;
use crate::sim::model::disk::{Fs, Held, Key, Region, Value};
use crate::sim::world::events::texts;
use crate::sim::world::run::{Act, SimWorld};
use crate::world::{CLOCK_MAX_S, CLOCK_MIN_S, Survey, World};
use landfall_states::Phase;
use landfall_states::authentic::RecordKeys;
use landfall_states::consent::{Consent, ConsentBy, Erasure};
use landfall_states::fault::{DeviceFault, Fault, FaultClass, MachineFault};
use landfall_states::names::Revision;
use landfall_states::plan::{DiskIdentity, Payload, Plan};
use std::time::Duration;

impl World for SimWorld {
    async fn survey(&mut self) -> Result<Survey, Fault> {
        self.act("survey", Act::Look).await?;
        self.began_with = self.record_says();
        if planted!(self, SurveyWrites) && self.recorded() == Some(Phase::Landed) {
            let fat = Key::File(Fs::Esp, "dirty");
            self.act("mount", Act::Write(Held::Mount(Fs::Esp), vec![(fat, None)]))
                .await?;
        }
        if planted!(self, JournalReplay) {
            let other = self.foreign_disk();
            let journal = Key::File(Fs::Root, "journal");
            let replayed = Some(Value::Text(900, "replayed".into()));
            self.machine
                .disk_mut(other)
                .write(Held::Device, journal, replayed);
        }
        let disks = self
            .machine
            .disks
            .iter()
            .enumerate()
            .filter(|(_, disk)| !self.machine.gone || disk.identity != self.setting.plan.disk)
            .map(|(index, _)| self.evidence(index))
            .collect();
        let (choice, named) = self.chosen();
        Ok(Survey {
            disks,
            choice: Ok(choice),
            named,
        })
    }

    async fn preflight(
        &mut self,
        plan: &Plan,
        payload: &Payload,
        pinned: Option<&Revision>,
        _fresh: bool,
    ) -> Result<Revision, Fault> {
        if !self.machine.clock_is_right() {
            return Err(MachineFault::Clock {
                now_s: 0,
                min_s: CLOCK_MIN_S,
                max_s: CLOCK_MAX_S,
            }
            .into());
        }
        self.believable(plan)?;
        match pinned {
            Some(pinned) => {
                self.act("preflight", Act::Look).await?;
                Ok(pinned.clone())
            }
            None => {
                let asked = self.act("preflight", Act::Ask).await;
                self.came = None;
                asked?;
                Ok(self.named(payload))
            }
        }
    }

    async fn hold(&mut self, plan: &Plan) -> Result<(), Fault> {
        self.act("hold the disk", Act::Look).await?;
        self.confirmed = Some(plan.disk.clone());
        self.held = self
            .machine
            .disks
            .iter()
            .position(|d| (d.identity == plan.disk && !self.machine.gone) || planted!(self, HoldFirst));
        if self.held.is_none() {
            return Err(DeviceFault::DiskAbsent {
                disk: plan.disk.name(),
                size_bytes: None,
            }
            .into());
        }
        if self.machine.child.is_some() && !planted!(self, SkipLock) {
            self.act("wait for the lock", Act::Look).await?;
            self.child_ends();
        }
        if self.machine.esp_mounted {
            self.act("write out the ESP", Act::Sync(Fs::Esp)).await?;
        }
        self.act("flush the held disk", Act::Flush).await?;
        Ok(())
    }

    async fn find_keys(&mut self, _plan: &Plan, under_way: bool) -> Result<(), Fault> {
        if under_way {
            self.container_opened();
        }
        Ok(())
    }

    fn keys(&self) -> &RecordKeys {
        &self.record_keys
    }

    async fn resolve(&mut self, payload: &Payload) -> Result<Revision, Fault> {
        let asked = self.act("resolve again", Act::Ask).await;
        self.came = None;
        asked?;
        Ok(self.named(payload))
    }

    async fn settle_landed(&mut self, _disk: &DiskIdentity) -> Result<(), Fault> {
        if planted!(self, LandedFromCache) {
            return Ok(());
        }
        if planted!(self, LandedTouched) {
            let slot = Key::SlotFile(0);
            let same = vec![(slot, self.disk().see(slot).cloned())];
            self.act("allocate slots", Act::Write(Held::Device, same)).await?;
        }
        self.act("flush the landed disk", Act::Flush).await
    }

    async fn consent(&mut self, erasure: &Erasure) -> Result<Option<Consent>, Fault> {
        self.act("ask", Act::Look).await?;
        self.asked = true;
        if planted!(self, EraseWhileAsking)
            && self.run == 0
            && !self.disk().has_table(&self.setting.plan.table)
        {
            self.identify().await?;
            let wipe = vec![(Key::Header(Region::Root), None)];
            self.act("wipe", Act::Write(Held::Device, wipe)).await?;
        }
        let disk = self.machine.disk(self.target());
        self.checks.borrow_mut().asked(&self.setting, disk, erasure);
        if planted!(self, AnewIsConsent) && self.anew {
            return Ok(Consent::to(erasure, ConsentBy::Person));
        }
        if planted!(self, ConsentFromRecord) && self.run > 0 && self.machine.tmpfs.is_some() {
            return Ok(Consent::to(erasure, ConsentBy::Person));
        }
        let by = match self.setting.case.consenter {
            Consenter::Person => ConsentBy::Person,
            Consenter::InAdvance if !self.agreement_holds() => return Ok(None),
            Consenter::InAdvance => ConsentBy::InAdvance {
                disk_name: self.setting.plan.disk.name(),
                reinstall: self.setting.case.before == Before::Finished,
            },
            Consenter::Refuses if planted!(self, AssumeYes) => {
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
        self.machine.time_passes(&self.setting);
        if self.stop {
            return Err(fault(FaultClass::Interrupted, "a stop was asked for"));
        }
        Ok(())
    }

    fn seed(&self) -> u64 {
        if planted!(self, Unrepeatable) {
            use std::sync::atomic::{AtomicU64, Ordering};
            static OUTSIDE: AtomicU64 = AtomicU64::new(0);
            return OUTSIDE.fetch_add(1, Ordering::Relaxed);
        }
        mix(u64::from(self.run) << 32 | u64::from(self.machine.boot))
    }

    fn damages_seen(&self) -> u32 {
        if planted!(self, DamageUnheard) {
            return 0;
        }
        self.damages
    }

    fn cause_of(&mut self, fault: Fault) -> Fault {
        fault
    }

    fn stop_requested(&self) -> bool {
        self.stop
    }

    fn tell(&self, event: Event) {
        if planted!(self, EndUntold) && matches!(event, Event::AlreadyLanded { .. }) {
            return;
        }
        self.last_word.borrow_mut().heard(&event);
        texts(&event, &mut |text| self.checks.borrow_mut().told(text));
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
            Event::Begun { phase, attempt, .. } => {
                self.begins_at.set(self.begins_at.get().or(Some(*phase)));
                ("begun", u64::from(*attempt))
            }
            Event::Failed { .. } => ("failed", 0),
            Event::Stopped { .. } => ("stopped", 0),
            Event::Found { phase } => ("found", *phase as u64),
            Event::Reached { phase, .. } => ("reached", *phase as u64),
            Event::Output { line, .. } => ("output", line.len() as u64),
            Event::Started { .. }
            | Event::DiskChosen { .. }
            | Event::Decided { .. }
            | Event::Checked { .. }
            | Event::Step { .. }
            | Event::Progress { .. }
            | Event::Asking { .. }
            | Event::Notice { .. }
            | Event::Landed { .. }
            | Event::AlreadyLanded { .. }
            | Event::NothingToResume { .. } => ("event", 0),
        };
        // As the log has it.
        let line = || serde_json::to_string(&event).unwrap_or_default();
        self.note(|| format!("{}      {}", self.run, line()), key);
    }

    fn heartbeat(&self, phase: Phase) {
        self.phase.set(phase);
    }
}
