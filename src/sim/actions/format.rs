//! Format: make root, from an image or empty, and swap.

use crate::sim::inject::planted::planted;
use crate::sim::model::disk::Region;
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::format_volumes::{FormatOrder, FormatVolumes, VolumesFacts};
use landfall_states::fault::Fault;
use landfall_states::{Phase, Probe};

impl Script for FormatVolumes {
    async fn look(&self, world: &mut SimWorld) -> Result<VolumesFacts, Fault> {
        world.attach_container().await?;
        world.act("flush the volumes", Act::Flush).await?;
        world.repair_superblock().await?;
        let root = world.setting.root_region();
        let mut probe = world.disk().probe(root);
        let early = planted!(world, FormatEarly) && world.recorded() < Some(Phase::Formatted);
        let other_payload = planted!(world, PayloadFormats) && world.recorded_payload_differs();
        if (planted!(world, FormatAgain) || early || other_payload)
            && world.run > 0
            && world.orders == 0
            && let Probe::Found(found) = &mut probe
        {
            found.id = Some(self.root.volume.provisional.to_string());
        }
        Ok(VolumesFacts {
            root: probe,
            swap: if self.swap.is_some() && !(planted!(world, SwapAgain) && world.orders == 0) {
                world.disk().probe(Region::Swap)
            } else {
                Probe::Blank
            },
            image_progress: world.image_progress.clone(),
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &FormatOrder) -> Result<(), Fault> {
        world.attach_container().await?;
        world.identify().await?;
        if order.root.is_some() {
            let region = world.setting.root_region();
            match &order.image {
                None => world.make(region, vec![]).await?,
                Some(image) => {
                    if !world.land(region, image).await? {
                        return Ok(());
                    }
                }
            }
        }
        if order.swap.is_some() {
            world.make(Region::Swap, vec![]).await?;
        }
        Ok(())
    }
}
