//! The step that makes the LUKS2 container.

use crate::real::volume::block_io::flush;
use crate::real::volume::key_derivation;
use crate::real::volume::luks::{Cost, make, observe_container, record_key};
use crate::real::{Real, ask};
use crate::world::Perform;
use landfall_states::actions::encrypt_volumes::{EncryptOrder, EncryptVolumes, LuksFacts};
use landfall_states::fault::Fault;

impl Perform<EncryptVolumes> for Real {
    async fn observe(&mut self, step: &EncryptVolumes) -> Result<LuksFacts, Fault> {
        let Some(container) = &step.container else {
            return Ok(LuksFacts::NotPlanned);
        };
        let device = self.disk()?.partition_device(&container.partition).await?;
        let (probe, seen) = observe_container(&device, &container.volume, &self.reporter, &self.stop).await?;
        let ours = seen.is_some_and(|header| header.uuid == container.volume.id);
        let id = container.volume.id;
        let mut key = None;
        let mut is_opened = match self.credentials.passphrase() {
            Some(passphrase) if ours => {
                key = record_key(&device, &id, passphrase).await?;
                Some(key.is_some())
            }
            Some(_) | None => None,
        };
        // A slip of a person's fingers is asked about again; a wrong credential would be the same again.
        for _ in 1..crate::real::volume::luks::WRONG_ENTRIES_MAX {
            if is_opened != Some(false) || !self.credentials.is_passphrase_entered() {
                break;
            }
            ask::passphrase_again(self, &container.volume.label).await?;
            key = record_key(&device, &id, &self.passphrase()?).await?;
            is_opened = Some(key.is_some());
        }
        if let Some(key) = key {
            self.keys.hold(key);
        }
        if ours {
            // A process that was killed between the last write and its flush leaves the flush to us.
            flush(&device)?;
        }
        Ok(LuksFacts::Planned {
            probe,
            opens: is_opened,
        })
    }

    async fn perform(&mut self, _step: &EncryptVolumes, order: EncryptOrder) -> Result<(), Fault> {
        let EncryptOrder { disk, container } = order;
        let passphrase = self.passphrase()?;
        let device = self.disk()?.partition_device(&container.partition).await?;
        self.reporter
            .step(format!("LUKS2 container {}", container.volume.label));
        self.permit(&disk).await?;
        let luks = &self.config.luks;
        let cost = Cost::of(luks.iteration_time_ms, luks.memory_min);
        let made = make(&device, &container.volume, &passphrase, cost).await;
        let made = made.map(|derivation| {
            if let Some(derivation) = derivation {
                self.reporter.step(format!("key derivation: {derivation}"));
                key_derivation::notice(&derivation)
                    .into_iter()
                    .for_each(|notice| self.reporter.notice(notice));
            }
        });
        self.permit_ends(made).await
    }
}
