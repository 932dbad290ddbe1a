//! Anchor the checkpoint: make the ESP with both slots, or allocate a slot that is missing.

use crate::sim::inject::planted::planted;
use crate::sim::model::contents::sectors;
use crate::sim::model::disk::{Held, Key, Region, Value};
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::Probe;
use landfall_states::actions::anchor_checkpoint::{AnchorCheckpoint, AnchorOrder, EspFacts, SlotFile};
use landfall_states::checkpoint::SLOT_BYTES;
use landfall_states::fault::Fault;

impl Script for AnchorCheckpoint {
    async fn look(&self, world: &mut SimWorld) -> Result<EspFacts, Fault> {
        world.act("flush the ESP", Act::Flush).await?;
        world.repair_directory().await?;
        let disk = world.disk();
        let slots = [0, 1].map(|which| {
            if disk.has_slot_file(which) {
                SlotFile::Allocated
            } else {
                SlotFile::Missing
            }
        });
        let mut probe = disk.probe(Region::Esp);
        if let Probe::Found(found) = &mut probe
            && disk.lost_directory()
        {
            found.label = None;
        }
        if planted!(world, EspAgain)
            && world.run > 0
            && world.orders == 0
            && let Probe::Found(found) = &mut probe
            && let Some((_, _, _, provisional)) = world.setting.volume(Region::Esp)
        {
            found.id = Some(provisional);
        }
        Ok(EspFacts { probe, slots })
    }

    async fn carry(&self, world: &mut SimWorld, order: &AnchorOrder) -> Result<(), Fault> {
        world.identify().await?;
        let blank = |which: usize| {
            let mut writes = vec![(Key::SlotFile(which), Some(Value::Of(0)))];
            writes.extend(sectors(which, &[b'\n'; SLOT_BYTES]));
            writes
        };
        if planted!(world, MbrAgain) && world.run == 0 {
            let same = vec![(Key::Mbr, Some(Value::Mbr))];
            world
                .act("write it again", Act::Write(Held::Device, same))
                .await?;
            world.act("flush the wipe", Act::Flush).await?;
        }
        match order {
            AnchorOrder::Format { .. } => {
                let mut slots = vec![(Key::Directory, Some(Value::Of(0)))];
                slots.extend(blank(0));
                slots.extend(blank(1));
                world.make(Region::Esp, slots).await
            }
            AnchorOrder::AllocateSlots { missing, .. } => {
                let making = world.disk().header(Region::Esp).map_or(0, |h| h.making);
                let writes = (0..)
                    .zip(missing)
                    .filter(|(_, missing)| **missing)
                    .flat_map(|(which, _)| blank(which))
                    .map(|(key, value)| match value {
                        Some(Value::Of(_)) => (key, Some(Value::Of(making))),
                        other => (key, other),
                    })
                    .collect();
                world
                    .act("allocate slots", Act::Write(Held::Device, writes))
                    .await?;
                world.act("flush the slots", Act::Flush).await
            }
        }
    }
}
