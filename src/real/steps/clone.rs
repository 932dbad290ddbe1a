//! The step that clones the configuration.

use crate::real::Real;
use crate::real::fs::target_root::Root;
use crate::real::git::clone::perform_clone;
use crate::real::git::pin;
use crate::real::git::repository::observe_clone;
use crate::real::mount::attached;
use crate::real::volume::free_space;
use crate::world::Perform;
use camino::Utf8Path;
use landfall_states::actions::clone_configuration::{
    CloneConfiguration, CloneFacts, CloneOrder, CloneSight, Standing,
};
use landfall_states::fault::Fault;
use landfall_states::names::{Revision, StorePath};
use landfall_states::{Step, Verdict};

impl Perform<CloneConfiguration> for Real {
    async fn observe(&mut self, step: &CloneConfiguration) -> Result<CloneSight, Fault> {
        self.attach(attached::Attach::Target).await?;
        let (context, access) = (self.context(), self.git_access()?);
        let asked = step.is_wish && self.granted.as_ref() != Some(&step.revision);
        let standing = if asked {
            self.let_in().await?;
            let scratch = Utf8Path::new(crate::real::RUN_DIR);
            pin::standing(&context, &access, &step.repository, &step.revision, scratch).await?
        } else if step.is_wish {
            Standing::Named
        } else {
            Standing::NotAsked
        };
        if standing == Standing::Named {
            // Once in a run is enough: what the remote says in the next minute is not more right.
            self.granted = Some(step.revision.clone());
        }
        let place = match Root::target().clone_place(&step.repository.clone_path, false)? {
            Some(path) => observe_clone(&context, &access, step, &path).await?,
            None => CloneFacts::Absent,
        };
        Ok(CloneSight { place, standing })
    }

    async fn perform(&mut self, step: &CloneConfiguration, order: CloneOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(attached::Attach::Target).await?;
            self.run_hooks_after_mounting().await?;
            let access = self.git_access()?;
            // Git is told where that is, without a link on the way: it would follow one into this system.
            let place = Root::target().clone_place(&step.repository.clone_path, true)?;
            let path = place
                .ok_or_else(|| Fault::defect("clone path", "its directory was made, but does not exist"))?;
            // The place may be on what a command has mounted only now: then it is seen now for the first time.
            let order = if self.config.extra_post_mount_commands.is_empty() {
                order
            } else {
                let place = observe_clone(&self.context(), &access, step, &path).await?;
                // The wish was granted before there was an order.
                let standing = if step.is_wish {
                    Standing::Named
                } else {
                    Standing::NotAsked
                };
                match step.judge(&CloneSight { place, standing }) {
                    Verdict::Done(_) => return Ok(()),
                    Verdict::Refuse(fault) => return Err(fault),
                    Verdict::Todo(order) => order,
                    Verdict::NeedsConsent(_) => order,
                }
            };
            self.let_in().await?;
            perform_clone(&self.context(), &access, &order, &path).await
        }
        .await;
        free_space::explained(&Root::target(), done)
    }
}

impl Real {
    /// The system that this run's own evaluation of a revision came to.
    pub fn evaluated_of(&self, revision: &Revision) -> Option<StorePath> {
        let (of, system) = self.evaluated.as_ref()?;
        (of == revision).then(|| system.clone())
    }
}
