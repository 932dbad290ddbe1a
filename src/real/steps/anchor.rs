//! The step that makes the ESP and anchors the checkpoint in it.

use crate::real::Real;
use crate::real::volume::esp::{allocate_slots, is_cut_off, make_esp, observe_esp, repair_esp};
use crate::world::Perform;
use landfall_states::actions::anchor_checkpoint::{AnchorCheckpoint, AnchorOrder, EspFacts};
use landfall_states::fault::Fault;

impl Perform<AnchorCheckpoint> for Real {
    async fn observe(&mut self, step: &AnchorCheckpoint) -> Result<EspFacts, Fault> {
        let device = self.disk()?.partition_device(&step.partition).await?;
        if !self.is_mounted(&device)? && is_cut_off(&device, &step.volume)? {
            self.permit(&step.disk).await?;
            let repaired = repair_esp(&device, &step.volume, &self.reporter, &self.stop).await;
            self.permit_ends(repaired).await?;
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
                let made = match repair_esp(&device, &step.volume, &self.reporter, &self.stop).await {
                    Ok(()) => allocate_slots(&device, missing),
                    Err(fault) => Err(fault),
                };
                self.permit_ends(made).await
            }
        }
    }
}
