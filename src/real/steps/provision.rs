//! The step that places keys and files for the first boot.

use crate::real::rooted::{self, Root};
use crate::real::{Real, mounts, provision, room};
use crate::world::Perform;
use landfall_states::bootable::{ProvisionSecrets, SecretsFacts, SecretsOrder};
use landfall_states::fault::Fault;

impl Perform<ProvisionSecrets> for Real {
    async fn observe(&mut self, _step: &ProvisionSecrets) -> Result<SecretsFacts, Fault> {
        self.attach(mounts::Attach::Target).await?;
        let root = &Root::target();
        let wanted = provision::wanted(&self.config, &self.vault, root)?;
        provision::observe(root, &wanted)
    }

    async fn perform(&mut self, _step: &ProvisionSecrets, order: SecretsOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(mounts::Attach::Target).await?;
            let root = &Root::target();
            let wanted = provision::wanted(&self.config, &self.vault, root)?;
            for path in &order.paths {
                self.reporter.step(format!("place {path}"));
            }
            provision::perform(root, &wanted, &order.paths)?;
            rooted::sync_filesystem(root)
        }
        .await;
        room::explained(&Root::target(), done)
    }
}
