//! Encrypt: make the container with a key slot for the passphrase.

use crate::sim::inject::planted::planted;
use crate::sim::model::contents::PASSPHRASE;
use crate::sim::model::disk::{Key, Region, Value};
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::encrypt_volumes::{EncryptOrder, EncryptVolumes, LuksFacts};
use landfall_states::fault::Fault;

impl Script for EncryptVolumes {
    async fn look(&self, world: &mut SimWorld) -> Result<LuksFacts, Fault> {
        if self.container.is_none() {
            return Ok(LuksFacts::NotPlanned);
        }
        world.act("flush the container", Act::Flush).await?;
        let disk = world.disk();
        let probe = disk.probe(Region::Root);
        let opens = disk
            .header(Region::Root)
            .filter(|h| {
                Some(&*h.id)
                    == world
                        .setting
                        .plan
                        .luks
                        .as_ref()
                        .map(|l| l.id.to_string())
                        .as_deref()
            })
            .map(|h| disk.see(Key::Keyslot) == Some(&Value::Of(h.making)));
        if opens == Some(true) {
            world.container_opened();
        }
        Ok(LuksFacts::Planned { probe, opens })
    }

    async fn carry(&self, world: &mut SimWorld, _order: &EncryptOrder) -> Result<(), Fault> {
        world.identify().await?;
        if planted!(world, LogPassphrase) {
            world
                .checks
                .get_mut()
                .told(&format!("cryptsetup --key {PASSPHRASE}"));
        }
        let keyslot = if planted!(world, NoKeyslot) {
            vec![]
        } else {
            vec![(Key::Keyslot, Some(Value::Of(0)))]
        };
        world.make(Region::Root, keyslot).await
    }
}
