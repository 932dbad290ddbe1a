//! Where records lie: tmpfs and the two slots of the ESP.

use crate::sim::check::visible_effects::Effect;
use crate::sim::inject::planted::planted;
use crate::sim::model::contents::sectors;
use crate::sim::model::disk::{Fs, Held, Key};
use crate::sim::world::run::{Act, SimWorld};
use crate::world::Media;
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, Record, SLOT_BYTES, choose};
use landfall_states::fault::Fault;

impl Media for SimWorld {
    async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.act("read tmpfs", Act::Look).await?;
        if planted!(self, CodeUnchecked) && self.held.is_some() {
            let slots = [0, 1].map(|which| self.disk().slot(which));
            if let Choice::Trusted { slot, .. } = choose([slots[0].as_deref(), slots[1].as_deref()]) {
                return Ok(slots.into_iter().nth(slot).flatten());
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
        let which = if planted!(self, WriteNewer) {
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
        if planted!(self, LateWrite) && is_landing() {
            let clone = Key::File(Fs::Root, "clone");
            let same = vec![(clone, self.disk().see(clone).cloned())];
            self.act("write it again", Act::Write(Held::Device, same)).await?;
        }
        let first = || self.recorded().is_none() && !is_landing();
        let both = planted!(self, BothSlots) || (planted!(self, BothSlotsFirst) && first());
        let disk = self.machine.disk(self.target());
        self.checks
            .borrow_mut()
            .slot_written(&self.setting, disk, which, bytes);
        if let Some(effects) = &mut self.effects {
            effects.extend(Effect::of_slot(bytes));
        }
        let written_ms = self.machine.clock_ms + self.machine.now_ms;
        if let Some(time_ms) = self.machine.slot_times_ms.get_mut(which.min(1)) {
            *time_ms = written_ms;
        }
        let quiet = self.quiet;
        let mut writes = sectors(which, bytes);
        if planted!(self, PartialSlot) {
            writes.remove(0);
        }
        self.act("write a slot", Act::Write(Held::Device, writes)).await?;
        if both {
            let disk = self.machine.disk(self.target());
            self.checks
                .borrow_mut()
                .slot_written(&self.setting, disk, 1 - which, bytes);
            self.act(
                "write the other",
                Act::Write(Held::Device, sectors(1 - which, bytes)),
            )
            .await?;
        }
        if !planted!(self, SlotUnflushed) {
            self.act("flush the slot", Act::Flush).await?;
        }
        self.quiet = quiet;
        Ok(())
    }

    async fn read_slot(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
        self.act("read a slot", Act::Look).await?;
        let which = if planted!(self, WriteNewer) {
            1 - which
        } else {
            which
        };
        Ok(self.disk().slot(which).unwrap_or_default())
    }
}
