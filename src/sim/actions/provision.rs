//! Provision secrets: keys with their modes, and the clone given to its user.

use crate::sim::inject::planted::planted;
use crate::sim::model::contents::{AGE_IDENTITY, OWNER};
use crate::sim::model::disk::Fs;
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::provision_secrets::{Placed, ProvisionSecrets, SecretsFacts, SecretsOrder};
use landfall_states::fault::{ConfigFault, Fault};
use landfall_states::names::{BadValue, TargetPath};

impl SimWorld {
    /// The age identity, as looking finds it.
    pub(crate) fn identity(&self) -> Result<Placed, Fault> {
        let mut flaws = vec![];
        if self.text(Fs::Root, "age") != Some(AGE_IDENTITY) {
            flaws.push("contents".to_owned());
        }
        if self.text(Fs::Root, "age.mode") != Some("0400 root") {
            flaws.push("mode".to_owned());
        }
        placed("/etc/age/web.agekey", flaws)
    }

    pub(crate) async fn place_identity(&mut self) -> Result<(), Fault> {
        self.put("place a key", vec![("age", Some(AGE_IDENTITY.into()))])
            .await?;
        self.put("set its mode", vec![("age.mode", Some("0400 root".into()))])
            .await
    }
}

fn placed(path: &str, flaws: Vec<String>) -> Result<Placed, Fault> {
    let path: TargetPath = path.parse().map_err(|e: BadValue| ConfigFault::bad("path", e))?;
    Ok(Placed { path, flaws })
}

impl Script for ProvisionSecrets {
    async fn look(&self, world: &mut SimWorld) -> Result<SecretsFacts, Fault> {
        world.attach_root().await?;
        world.act("look at the keys", Act::Look).await?;
        let owned = world.text(Fs::Root, OWNER) == Some("op");
        let owner = (!owned).then(|| "owner".to_owned()).into_iter().collect();
        let mut all = vec![world.identity()?, placed("/home/op/conf", owner)?];
        if planted!(world, TrustKeys) {
            all.clear();
        }
        Ok(SecretsFacts { placed: all })
    }

    async fn carry(&self, world: &mut SimWorld, order: &SecretsOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        let identity = world.identity()?.path;
        if order.paths.contains(&identity) {
            world.place_identity().await?;
        }
        world
            .put("give the clone away", vec![(OWNER, Some("op".into()))])
            .await?;
        if planted!(world, KeysUnsynced) {
            Ok(())
        } else {
            world.sync().await
        }
    }
}
