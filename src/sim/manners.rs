//! The world's traits, but for the steps: survey, consent, holding the disk, the slots, the end of a run. Law: as `world`.
//!
//! Absent: steps; see `steps` and `target`.

use super::bugs::Bug;
use super::case::{Before, Consenter};
use super::contents::sectors;
use super::disk::{Fs, Held, Key, Region, Value, mix};
use super::effects::Effect;
use super::faults::fault;
use super::world::{Act, SimWorld};
use crate::event::{Event, FaultTold};
use crate::world::{CLOCK_MAX_S, CLOCK_MIN_S};
use crate::world::{Media, Survey, World};
use landfall_states::Phase;
use landfall_states::authentic::RecordKeys;
use landfall_states::checkpoint::{Choice, Record, SLOT_BYTES, choose};
use landfall_states::consent::{Consent, ConsentBy, Erasure};
use landfall_states::fault::{DeviceFault, Fault, FaultClass, MachineFault};
use landfall_states::names::Revision;
use landfall_states::plan::{DiskIdentity, Payload, Plan};
use std::time::Duration;

/// Every text of an event, for whoever looks for secrets.
fn texts(event: &Event, each: &mut dyn FnMut(&str)) {
    match event {
        Event::Started {
            version,
            host,
            command,
        } => [version, host, command].into_iter().for_each(|text| each(text)),
        Event::DiskChosen {
            device,
            identity,
            why,
        } => [device, identity, why].into_iter().for_each(|text| each(text)),
        Event::Checked { what, found } => [what, found].into_iter().for_each(|text| each(text)),
        Event::Output { program, line } => [program, line].into_iter().for_each(|text| each(text)),
        Event::Landed { system, revision } => [system, revision].into_iter().for_each(|text| each(text)),
        Event::Decided { what, .. }
        | Event::Begun { what, .. }
        | Event::Step { what }
        | Event::Progress { what, .. }
        | Event::Asking { what, .. }
        | Event::Notice { what } => each(what),
        Event::Failed { fault, .. } | Event::Stopped { fault, .. } => {
            let FaultTold {
                record,
                kind: _,
                values,
                remedy,
            } = fault;
            [&record.what, &record.why, &record.next]
                .into_iter()
                .for_each(|text| each(text));
            for value in [values, remedy].into_iter().flatten() {
                each(&value.to_string());
            }
        }
        Event::Found { .. } | Event::Reached { .. } | Event::Saved { .. } | Event::RetryIn { .. } => {}
    }
}

impl Media for SimWorld {
    async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.act("read tmpfs", Act::Look).await?;
        if self.has(Bug::CodeUnchecked) && self.held.is_some() {
            let slots = [0, 1].map(|which| self.disk().slot(which));
            if let Choice::Believed { slot, .. } = choose([slots[0].as_deref(), slots[1].as_deref()]) {
                return Ok(slots[slot].clone());
            }
        }
        Ok(self.machine.tmpfs.as_deref().map(<[u8]>::to_vec))
    }

    async fn write_tmpfs(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.checks.get_mut().kept_in_tmpfs(bytes);
        self.act("write tmpfs", Act::Tmpfs(bytes.to_vec())).await
    }

    async fn write_slot(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.attach_esp().await?;
        let which = if self.has(Bug::WriteNewer) {
            1 - which
        } else {
            which
        };
        if self.disk().see(Key::SlotFile(which)).is_none() || bytes.len() != SLOT_BYTES {
            return Err(Fault::defect(
                format!("slot {which}"),
                "it is not there, or not of its size",
            ));
        }
        let is_landing = || Record::decode(bytes).is_ok_and(|record| record.phase() == Phase::Landed);
        if self.has(Bug::LateWrite) && is_landing() {
            let clone = Key::File(Fs::Root, "clone");
            let same = vec![(clone, self.disk().see(clone).cloned())];
            self.act("write it again", Act::Write(Held::Device, same)).await?;
        }
        let first = || self.recorded().is_none() && !is_landing();
        let both = self.has(Bug::BothSlots) || (self.has(Bug::BothSlotsFirst) && first());
        let disk = &self.machine.disks[self.target()];
        self.checks
            .borrow_mut()
            .slot_written(&self.setting, disk, which, bytes);
        if let Some(effects) = &mut self.effects {
            effects.extend(Effect::of_slot(bytes));
        }
        self.machine.slot_times_ms[which.min(1)] = self.machine.clock_ms + self.machine.now_ms;
        let quiet = self.quiet;
        let mut writes = sectors(which, bytes);
        if self.has(Bug::PartialSlot) {
            writes.remove(0);
        }
        self.act("write a slot", Act::Write(Held::Device, writes)).await?;
        if both {
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
        let which = if self.has(Bug::WriteNewer) {
            1 - which
        } else {
            which
        };
        Ok(self.disk().slot(which).unwrap_or_default())
    }
}

impl World for SimWorld {
    async fn survey(&mut self) -> Result<Survey, Fault> {
        self.act("survey", Act::Look).await?;
        self.began_with = self.record_says();
        if self.has(Bug::SurveyWrites) && self.recorded() == Some(Phase::Landed) {
            let fat = Key::File(Fs::Esp, "dirty");
            self.act("mount", Act::Write(Held::Mount(Fs::Esp), vec![(fat, None)]))
                .await?;
        }
        if self.has(Bug::JournalReplay) {
            let other = self.stranger();
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
            .position(|d| (d.identity == plan.disk && !self.machine.gone) || self.has(Bug::HoldFirst));
        if self.held.is_none() {
            return Err(DeviceFault::DiskAbsent {
                disk: plan.disk.name(),
                size_bytes: None,
            }
            .into());
        }
        if self.machine.child.is_some() && !self.has(Bug::SkipLock) {
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
        let asked = self.act("resolve anew", Act::Ask).await;
        self.came = None;
        asked?;
        Ok(self.named(payload))
    }

    async fn settle_landed(&mut self, _disk: &DiskIdentity) -> Result<(), Fault> {
        if self.has(Bug::LandedFromCache) {
            return Ok(());
        }
        if self.has(Bug::LandedTouched) {
            let slot = Key::SlotFile(0);
            let same = vec![(slot, self.disk().see(slot).cloned())];
            self.act("allocate slots", Act::Write(Held::Device, same)).await?;
        }
        self.act("flush the landed disk", Act::Flush).await
    }

    async fn consent(&mut self, erasure: &Erasure) -> Result<Option<Consent>, Fault> {
        self.act("ask", Act::Look).await?;
        self.asked = true;
        if self.has(Bug::EraseWhileAsking)
            && self.run == 0
            && !self.disk().has_table(&self.setting.plan.table)
        {
            self.identify().await?;
            let wipe = vec![(Key::Header(Region::Root), None)];
            self.act("wipe", Act::Write(Held::Device, wipe)).await?;
        }
        let disk = &self.machine.disks[self.target()];
        self.checks.borrow_mut().asked(&self.setting, disk, erasure);
        if self.has(Bug::AnewIsConsent) && self.anew {
            return Ok(Consent::to(erasure, ConsentBy::Person));
        }
        if self.has(Bug::ConsentFromRecord) && self.run > 0 && self.machine.tmpfs.is_some() {
            return Ok(Consent::to(erasure, ConsentBy::Person));
        }
        let by = match self.setting.case.consenter {
            Consenter::Person => ConsentBy::Person,
            Consenter::InAdvance if !self.agreement_holds() => return Ok(None),
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
        self.machine.time_passes(&self.setting);
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
            | Event::Landed { .. } => ("event", 0),
        };
        // As the log has it.
        let line = || serde_json::to_string(&event).unwrap_or_default();
        self.note(|| format!("{}      {}", self.run, line()), key);
    }

    fn heartbeat(&self, phase: Phase) {
        self.phase.set(phase);
    }
}
