//! The step that runs `nixos-install`.

use crate::real::boot::{kernel_settings, leftovers};
use crate::real::fs::skeleton;
use crate::real::fs::target_root::{self, Root};
use crate::real::mount::attached;
use crate::real::nix::install::{observe_install, perform_install};
use crate::real::secrets::placement;
use crate::real::volume::free_space;
use crate::real::{MOUNT_ROOT, RUN_DIR, Real};
use crate::world::Perform;
use camino::Utf8Path;
use landfall_states::actions::install_system::{InstallFacts, InstallOrder, InstallSystem};
use landfall_states::fault::{Fault, PlaceFault};
use landfall_states::names::TargetPath;

impl Real {
    /// Removes what a cut or failed `nixos-install` left in the target's root.
    ///
    /// # Errors
    /// The target cannot be read or written.
    pub fn clear_target(&self, root: &Root) -> Result<(), Fault> {
        let asked: Vec<&str> = self
            .config
            .extra_mount_dirs
            .iter()
            .map(TargetPath::as_str)
            .collect();
        for path in leftovers::clear_root(root, MOUNT_ROOT, &asked)? {
            self.reporter.step(format!(
                "delete {path} on the target, which an interrupted nixos-install left"
            ));
        }
        Ok(())
    }
}

impl Perform<InstallSystem> for Real {
    async fn observe(&mut self, step: &InstallSystem) -> Result<InstallFacts, Fault> {
        self.attach(attached::Attach::Target).await?;
        let root = &Root::target();
        let first = placement::wanted_first(&self.config, &self.credentials)?;
        let first = placement::observe(root, &first)?.placed;
        observe_install(root, &step.system, first)
    }

    async fn perform(&mut self, _step: &InstallSystem, order: InstallOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(attached::Attach::Target).await?;
            self.run_hooks_after_mounting().await?;
            let root = &Root::target();
            if let Some(late) = placement::comes_late(&self.config) {
                self.reporter.notice(late);
            }
            for path in &order.place_first {
                self.reporter.step(format!("place {path}"));
            }
            let first = placement::wanted_first(&self.config, &self.credentials)?;
            placement::perform(root, &first, &order.place_first)?;
            target_root::sync_filesystem(root)?;
            for placed in placement::observe(root, &first)?.placed {
                if !placed.flaws.is_empty() {
                    return Err(PlaceFault::NotPlaced {
                        path: placed.path.to_string(),
                        flaws: placed.flaws,
                    }
                    .into());
                }
            }
            let run_dir = Utf8Path::new(RUN_DIR);
            skeleton::clear(&self.context(), root)?;
            self.clear_target(root)?;
            kernel_settings::keep(run_dir)?;
            let ran = perform_install(&self.context(), root, &order.system).await;
            kernel_settings::put_back(run_dir, &self.reporter)?;
            self.clear_target(root)?;
            ran?;
            // The boot loader's installer may have left the firmware alone without a word: it does so inside containers.
            self.register_entry().await?;
            target_root::flush_boot(root)
        }
        .await;
        free_space::explained(&Root::target(), done)
    }
}
