//! What the target's slots and tables say when a run reads them without a step.
//!
//! `world::media` writes slots.

use crate::sim::inject::planted::planted;
use crate::sim::model::disk::{Disk, Key};
use crate::sim::world::run::SimWorld;
use landfall_states::Phase;
use landfall_states::checkpoint::{Choice, Mark, Record, choose};
use landfall_states::recovery::DiskEvidence;

impl SimWorld {
    /// The phase that the target's slots claim.
    pub fn recorded(&self) -> Option<Phase> {
        let slots = [self.disk().slot(0), self.disk().slot(1)];
        match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Trusted { record, .. } => Some(record.phase()),
            Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => None,
        }
    }

    /// Whether the target's slots are of another payload.
    pub fn recorded_payload_differs(&self) -> bool {
        let slots = [self.disk().slot(0), self.disk().slot(1)];
        match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Trusted { record, .. } => record.payload != self.setting.plan.payload_digest,
            Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => false,
        }
    }

    /// What the record says when a run begins.
    pub fn record_says(&self) -> (Option<Phase>, bool) {
        let target = self.machine.target(&self.setting);
        let disk = self.machine.disk(target);
        let slots = [disk.slot(0), disk.slot(1)];
        let in_tmpfs = || {
            self.machine
                .tmpfs
                .as_deref()
                .map(Record::decode)
                .and_then(Result::ok)
        };
        let record = match choose([slots[0].as_deref(), slots[1].as_deref()]) {
            Choice::Trusted { record, .. } => Some(*record),
            Choice::Neither(_) | Choice::Fork { .. } | Choice::Newer(_) => in_tmpfs(),
        };
        record.map_or((None, false), |record| {
            (Some(record.phase()), record.mark == Mark::Stopped)
        })
    }

    /// What a disk says of itself before anything is decided.
    pub fn evidence(&self, index: usize) -> DiskEvidence {
        let disk = self.machine.disk(index);
        DiskEvidence {
            disk: disk.identity.clone(),
            device: format!("/dev/vd{}", char::from(b'a' + (index % 26) as u8)),
            primary: disk.copy(Key::Primary),
            backup: disk.copy(Key::Backup),
            slots: self.raw_slots(disk),
            // They have places here, and no directory that could be damaged.
            slots_scanned: false,
        }
    }

    /// Both slots of a disk, as they are read raw: by the FAT's directory, or by their magic where there is no FAT.
    fn raw_slots(&self, disk: &Disk) -> [Option<Vec<u8>>; 2] {
        let has_esp = [Key::Primary, Key::Backup]
            .iter()
            .any(|key| disk.copy(*key).table().is_some());
        let mut slots = [0, 1].map(|which| {
            let bytes = if has_esp { disk.slot(which) } else { None };
            let allocated = disk.has_slot_file(which);
            bytes.filter(|b| allocated || b.starts_with(landfall_states::checkpoint::MAGIC.as_bytes()))
        });
        if planted!(self, OneSlotRead) {
            slots[1] = None;
        }
        if planted!(self, ForkIsFresh)
            && let Choice::Fork { .. } = choose([slots[0].as_deref(), slots[1].as_deref()])
        {
            slots = [None, None];
        }
        if planted!(self, AcceptGap)
            && let Choice::Fork { .. } = choose([slots[0].as_deref(), slots[1].as_deref()])
        {
            let sequence = |slot: &Option<Vec<u8>>| {
                let record = slot.as_ref().map(|bytes| Record::decode(bytes));
                record.and_then(Result::ok).map(|record| record.sequence)
            };
            let [first, second] = &mut slots;
            if sequence(first) > sequence(second) {
                *second = None;
            } else {
                *first = None;
            }
        }
        if planted!(self, WallClock)
            && slots
                .iter()
                .all(|slot| slot.as_ref().is_some_and(|b| Record::decode(b).is_ok()))
        {
            let times = self.machine.slot_times_ms;
            let [first, second] = &mut slots;
            if times[0] > times[1] {
                *second = None;
            } else {
                *first = None;
            }
        }
        if planted!(self, NewerIsEmpty)
            && let Choice::Newer(_) = choose([slots[0].as_deref(), slots[1].as_deref()])
        {
            slots = [None, None];
        }
        slots
    }
}
