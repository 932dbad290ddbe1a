//! Land: receipt and log kept, everything detached and flushed.

use crate::event::Event;
use crate::sim::inject::planted::planted;
use crate::sim::model::contents::{AGE_IDENTITY, receipt_text};
use crate::sim::model::disk::{Fs, Key};
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use crate::world::World;
use landfall_states::actions::land::{Land, LandFacts, LandOrder, Receipt};
use landfall_states::fault::Fault;

impl Script for Land {
    async fn look(&self, world: &mut SimWorld) -> Result<LandFacts, Fault> {
        let attached: Vec<String> = [
            (world.machine.root_mounted, "/mnt"),
            (world.machine.mapped.is_some(), "cryptroot"),
        ]
        .into_iter()
        .filter(|(there, _)| *there)
        .map(|(_, what)| what.to_owned())
        .collect();
        if planted!(world, LandUnflushed) && world.orders > 0 {
            return Ok(LandFacts {
                receipt: Some(Receipt {
                    install: self.install.to_string(),
                    system: self.system.to_string(),
                }),
                log: true,
                attached: vec![],
                flushed: true,
            });
        }
        if !attached.is_empty() {
            return Ok(LandFacts {
                receipt: None,
                log: false,
                attached,
                flushed: false,
            });
        }
        world.attach_root().await?;
        world.act("look at the receipt", Act::Look).await?;
        let receipt = world
            .text(Fs::Root, "receipt")
            .and_then(|text| text.split_once(' '))
            .map(|(install, system)| Receipt {
                install: install.to_owned(),
                system: system.to_owned(),
            });
        let log = world.text(Fs::Root, "log").is_some();
        world.detach().await?;
        world.flush_devices().await?;
        Ok(LandFacts {
            receipt,
            log,
            attached: vec![],
            flushed: world.quiet,
        })
    }

    async fn carry(&self, world: &mut SimWorld, _order: &LandOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        world.tell(Event::Step {
            what: "receipt and log".into(),
        });
        let receipt = receipt_text(&world.setting.plan, &self.system);
        let log = if planted!(world, KeyInLog) {
            AGE_IDENTITY
        } else {
            "log"
        };
        for (name, text) in [("receipt", receipt), ("log", log.to_owned())] {
            world.put("keep", vec![(name, Some(text))]).await?;
            world
                .act("sync it", Act::SyncFile(Key::File(Fs::Root, name)))
                .await?;
        }
        if planted!(world, LandUnflushed) {
            return Ok(());
        }
        world.sync().await?;
        world.detach().await?;
        world.flush_devices().await
    }
}
