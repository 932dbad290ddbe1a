//! The step that brings the system's closure to the target store.

use crate::real::Real;
use crate::real::fs::target_root::Root;
use crate::real::mount::attached;
use crate::real::nix::client::Stores;
use crate::real::nix::store::{observe_system, perform_realise};
use crate::real::volume::build_swap::{self, BYTES_MIN, end};
use crate::real::volume::free_space;
use crate::world::Perform;
use landfall_states::actions::realise_system::{RealiseOrder, RealiseSystem, SystemFacts};
use landfall_states::fault::Fault;
use landfall_states::plan::{Role, SystemSource};
use std::time::Duration;

impl Real {
    /// The stores of this run.
    pub fn stores(&self) -> Stores {
        let nix = &self.config.nix;
        Stores {
            root: Root::target(),
            source: "auto".into(),
            substituters: nix.substituters.clone(),
            trusted_public_keys: nix.trusted_public_keys.clone(),
            connect_s: nix.connect_timeout_s,
            stall_s: nix.stalled_download_timeout_s,
            deadline: Duration::from_secs(nix.deadline_s),
        }
    }
}

impl Perform<RealiseSystem> for Real {
    async fn observe(&mut self, step: &RealiseSystem) -> Result<SystemFacts, Fault> {
        self.attach(attached::Attach::Target).await?;
        let mut facts = observe_system(&self.context(), &self.stores(), step).await?;
        facts.evaluated = self.evaluated_of(&step.revision);
        Ok(facts)
    }

    async fn perform(&mut self, _step: &RealiseSystem, order: RealiseOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(attached::Attach::Target).await?;
            // After a reboot behind the clone, the commands have not run in this boot yet.
            self.run_hooks_after_mounting().await?;
            let access = self.git_access()?;
            let is_built = matches!(order.action.source, SystemSource::Flake);
            if is_built {
                // Inputs may be fetched with the same key, and it may be another one than the clone was made with.
                self.let_in().await?;
                self.swap_for_build().await;
            }
            let made = perform_realise(&self.context(), &self.stores(), &access, &order).await;
            let ended = if is_built {
                build_swap::end().await
            } else {
                Ok(false)
            };
            let system = made?;
            ended?;
            self.evaluated = Some((order.action.revision.clone(), system));
            Ok(())
        }
        .await;
        free_space::explained(&Root::target(), done)
    }
}

impl Real {
    /// Swaps to the planned partition, where the plan has one.
    pub async fn swap_for_build(&mut self) {
        let bytes = self.planned().map_or(0, |plan| {
            let entry = plan.partition(Role::Swap);
            entry.map_or(0, |entry| entry.sectors() * u64::from(plan.table.sector_bytes))
        });
        if bytes < BYTES_MIN {
            return;
        }
        let begun = match self.partition(Role::Swap).await {
            Ok(device) => build_swap::begin(&device, &self.reporter, &self.stop).await,
            Err(fault) => Err(fault),
        };
        let Err(fault) = begun else {
            self.reporter
                .step("use the target's swap partition, with a random key, during the build".to_owned());
            return;
        };
        self.reporter.notice(format!(
            "the build uses only the machine's memory, not the target's swap: {fault}"
        ));
        // What is left of it must not stay.
        if let Err(fault) = end().await {
            tracing::info!(%fault, "the mapping for swap could not be removed");
        }
    }
}
