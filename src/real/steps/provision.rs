//! The step that places keys and files for the first boot.

use crate::real::Real;
use crate::real::fs::target_root::{self, Root};
use crate::real::mount::attached;
use crate::real::secrets::placement;
use crate::real::volume::free_space;
use crate::world::Perform;
use landfall_states::actions::provision_secrets::{ProvisionSecrets, SecretsFacts, SecretsOrder};
use landfall_states::fault::Fault;

impl Perform<ProvisionSecrets> for Real {
    async fn observe(&mut self, _step: &ProvisionSecrets) -> Result<SecretsFacts, Fault> {
        self.attach(attached::Attach::Target).await?;
        let root = &Root::target();
        let wanted = placement::wanted(&self.config, &self.credentials, root)?;
        placement::observe(root, &wanted)
    }

    async fn perform(&mut self, _step: &ProvisionSecrets, order: SecretsOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(attached::Attach::Target).await?;
            let root = &Root::target();
            let wanted = placement::wanted(&self.config, &self.credentials, root)?;
            for path in &order.paths {
                self.reporter.step(format!("place {path}"));
            }
            placement::perform(root, &wanted, &order.paths)?;
            target_root::sync_filesystem(root)
        }
        .await;
        free_space::explained(&Root::target(), done)
    }
}
