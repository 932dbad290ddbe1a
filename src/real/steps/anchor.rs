//! The step that makes the ESP and anchors the checkpoint in it.

use crate::real::Real;
use crate::real::mount::attached::Attach;
use crate::real::volume::block_io::{PAGE_BYTES, io_fault, read_page, write_page};
use crate::real::volume::esp::{
    allocate_slots, is_cut_off, locate_on, make_esp, mend_esp, missing, observe_esp, slot_path, store_mount,
};
use crate::real::volume::slots::of_slot;
use crate::world::Perform;
use fs_err as fs;
use landfall_states::actions::anchor_checkpoint::{AnchorCheckpoint, AnchorOrder, EspFacts};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::plan::Role;

impl Real {
    /// Overwrites a slot in place: one write of 4,096 bytes, one flush. Through the mounted ESP, or, when it cannot be
    /// mounted, at the slot's place on the device (recovery rule 18).
    ///
    /// # Errors
    /// The ESP cannot be written or flushed.
    pub async fn write_slot_on_esp(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
        match self.attach(Attach::Checkpoint).await {
            Ok(()) => {
                let path = slot_path(&store_mount(), which);
                let length = fs::metadata(&path)
                    .map_err(|e| io_fault(format!("slot {which}"), &e))?
                    .len();
                if length != PAGE_BYTES as u64 {
                    return Err(missing(which, &path));
                }
                write_page(&path, 0, bytes)
            }
            Err(fault) if fault.class == FaultClass::Hardware => Err(fault),
            Err(fault) => {
                let device = self.partition(Role::Esp).await?;
                if self.is_mounted(&device)? {
                    return Err(fault);
                }
                self.reporter.notice(format!(
                    "the ESP cannot be mounted ({fault}); landfall writes its checkpoint slots without mounting it"
                ));
                let place = of_slot(locate_on(&device)?, which).ok_or_else(|| missing(which, &device))?;
                write_page(&device, place, bytes)
            }
        }
    }

    /// Reads a slot from the device. Mounts and repairs nothing.
    ///
    /// # Errors
    /// The ESP cannot be read.
    pub async fn read_slot_on_esp(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
        let device = self.partition(Role::Esp).await?;
        let place = of_slot(locate_on(&device)?, which).ok_or_else(|| missing(which, &device))?;
        read_page(&device, place)
    }
}

impl Perform<AnchorCheckpoint> for Real {
    async fn observe(&mut self, step: &AnchorCheckpoint) -> Result<EspFacts, Fault> {
        let device = self.disk()?.partition_device(&step.partition).await?;
        if !self.is_mounted(&device)? && is_cut_off(&device, &step.volume)? {
            self.permit(&step.disk).await?;
            let mended = mend_esp(&device, &step.volume, &self.reporter, &self.stop).await;
            self.permit_ends(mended).await?;
        }
        observe_esp(&device, &self.reporter, &self.stop).await
    }

    async fn perform(&mut self, step: &AnchorCheckpoint, order: AnchorOrder) -> Result<(), Fault> {
        // Both orders write below the filesystem: nothing may have it mounted.
        self.detach_esp().await?;
        match order {
            AnchorOrder::Format {
                disk,
                partition,
                volume,
            } => {
                let device = self.disk()?.partition_device(&partition).await?;
                self.permit(&disk).await?;
                let made = make_esp(&device, &volume, disk.sector_bytes, &self.reporter, &self.stop).await;
                self.permit_ends(made).await
            }
            AnchorOrder::AllocateSlots {
                disk,
                partition,
                missing,
            } => {
                let device = self.disk()?.partition_device(&partition).await?;
                self.permit(&disk).await?;
                let made = match mend_esp(&device, &step.volume, &self.reporter, &self.stop).await {
                    Ok(()) => allocate_slots(&device, missing),
                    Err(fault) => Err(fault),
                };
                self.permit_ends(made).await
            }
        }
    }
}
