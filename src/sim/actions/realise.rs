//! Realise the system: fetch or build the closure, register it, record it.

use crate::sim::inject::faults::{ended, failed};
use crate::sim::inject::planted::planted;
use crate::sim::model::contents::{CLOSURE, MODE, MODE_RIGHT, OWNER, REGISTERED, record_text};
use crate::sim::model::disk::Fs;
use crate::sim::world::perform::Script;
use crate::sim::world::run::{Act, SimWorld};
use landfall_states::actions::realise_system::{
    Contents, Database, RealiseOrder, RealiseSystem, SystemFacts,
};
use landfall_states::fault::{Cause, Fault, FaultClass, ImageFault, StoreFault};
use landfall_states::image::Image;
use landfall_states::names::{Revision, StorePath};
use landfall_states::plan::SystemSource;

impl Script for RealiseSystem {
    async fn look(&self, world: &mut SimWorld) -> Result<SystemFacts, Fault> {
        world.attach_root().await?;
        world.act("look at the store", Act::Look).await?;
        let noted = world.noted(&self.revision);
        let system = match self.source.known() {
            Some(system) => Some(system.clone()),
            None => noted.clone(),
        };
        let database = world.database();
        if planted!(world, DatabaseIsFault)
            && let Database::Unusable(why) = database
        {
            return Err(failed(
                FaultClass::Transient,
                "verification of the store",
                "nix",
                why,
            ));
        }
        let usable = database == Database::Usable;
        let recorded = system.is_some() && noted == system;
        let registered = usable
            && recorded
            && REGISTERED
                .iter()
                .all(|valid| world.text(Fs::Root, valid) == Some("valid"));
        let contents = if usable && self.verify && system.is_some() {
            world.verify()
        } else {
            Contents::NotVerified
        };
        Ok(SystemFacts {
            evaluated: if planted!(world, SystemFromTarget) {
                noted
            } else {
                world.evaluated.then(|| world.setting.system.clone())
            },
            system,
            recorded,
            database,
            registered,
            contents,
        })
    }

    async fn carry(&self, world: &mut SimWorld, order: &RealiseOrder) -> Result<(), Fault> {
        world.attach_root().await?;
        if let SystemSource::Image(image) = &self.source {
            return world.register(image, order, &self.revision).await;
        }
        world.repair_modes(self.verify).await?;
        world.put_database_aside(order).await?;
        world.repair_paths(&order.corrupt).await?;
        if self.source == SystemSource::Flake
            && self.verify
            && order.corrupt.is_empty()
            && world.database() == Database::Usable
            && let Contents::Corrupt(paths) = world.verify()
        {
            world.repair_paths(&paths).await?;
        }
        if self.source == SystemSource::Flake {
            world.open_clone(order)?;
        }
        let fetched = world.act("evaluate and fetch", Act::Ask).await;
        if let Some(came) = world.came.take()
            && world.text(Fs::Root, REGISTERED[0]).is_none()
        {
            // Beside its place in the real store; a path that nobody registered is nothing.
            let path = vec![(CLOSURE[0], Some(came.to_owned()))];
            world.put("what came", path).await?;
        }
        fetched?;
        if self.source == SystemSource::Flake {
            world.uses(Some(&self.revision), None);
            world.evaluated = true;
        }
        world.make_database().await?;
        for (path, valid) in CLOSURE.into_iter().zip(REGISTERED) {
            if world.text(Fs::Root, valid).is_none() {
                // Not synced before it is registered: Nix before 2.25 does not know `fsync-store-paths`.
                let mut written = vec![(path, Some(path.to_owned()))];
                if path == CLOSURE[2] {
                    written.push((MODE, Some(MODE_RIGHT.to_owned())));
                }
                world.put("write a path", written).await?;
                world
                    .put("register a path", vec![(valid, Some("valid".into()))])
                    .await?;
            }
        }
        world.sync().await?;
        world.record_system(&self.revision, order.only_evaluate).await
    }

    fn redoes(order: &RealiseOrder) -> bool {
        !order.only_evaluate
    }
}

impl SimWorld {
    /// What an image brought is registered in one transaction.
    async fn register(
        &mut self,
        image: &Image,
        order: &RealiseOrder,
        revision: &Revision,
    ) -> Result<(), Fault> {
        if !order.corrupt.is_empty() {
            return Err(StoreFault::PathsLost {
                system: image.system.to_string(),
                paths: order.corrupt.iter().map(ToString::to_string).collect(),
                more: 0,
            }
            .into());
        }
        if !self.is_from(image) {
            return Err(ImageFault::WithoutSystem {
                image: image.file.clone(),
                system: image.system.to_string(),
            }
            .into());
        }
        self.repair_modes(order.action.verify).await?;
        self.put_database_aside(order).await?;
        self.make_database().await?;
        let valid = REGISTERED.map(|valid| (valid, Some("valid".into())));
        self.put("register the closure", valid.into()).await?;
        self.sync().await?;
        self.record_system(revision, order.only_evaluate).await
    }
}

impl SimWorld {
    /// What the target's own record says of the system.
    pub(crate) async fn record_system(&mut self, revision: &Revision, again: bool) -> Result<(), Fault> {
        let record = record_text(&self.setting.plan, revision, &self.setting.system);
        if again && self.text(Fs::Root, "record") == Some(&*record) {
            return Ok(());
        }
        self.put("record the system", vec![("record", Some(record))])
            .await?;
        if planted!(self, RecordUnsynced) {
            Ok(())
        } else {
            self.sync().await
        }
    }

    /// Nix opens no repository of another account, unless it is told whose it is: a run before this one may have given the
    /// clone to its user.
    pub(crate) fn open_clone(&self, order: &RealiseOrder) -> Result<(), Fault> {
        if self.text(Fs::Root, OWNER).is_none() || !planted!(self, CloneOfAnother) {
            return Ok(());
        }
        let what = format!("evaluation of {}", order.action.revision);
        let said = "error: repository path '/home/op/conf' is not owned by current user";
        Err(ended(Cause::Evaluation, what, "nix", said))
    }

    /// The system that the target's own record names for a revision.
    pub fn noted(&self, revision: &Revision) -> Option<StorePath> {
        let text = self.text(Fs::Root, "record")?;
        let (_, system) = text.rsplit_once(' ')?;
        let system: StorePath = system.parse().ok()?;
        (text == record_text(&self.setting.plan, revision, &system)).then_some(system)
    }
}
