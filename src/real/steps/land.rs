//! The last step: receipt and log on the target, everything taken apart, flushed, and seen from the devices.

use crate::real::boot::activation;
use crate::real::fs::receipt::{
    FullReceipt, LOG_NAME, RECEIPT_NAME, RUN_LOG_NAME, keep, kept, run_log, timings, unix_s, volumes,
    write_receipt,
};
use crate::real::fs::skeleton;
use crate::real::fs::target_root::{self, Root};
use crate::real::git::head;
use crate::real::mount::attached::Attach;
use crate::real::{RUN_DIR, Real};
use crate::world::Perform;
use camino::Utf8Path;
use landfall_states::actions::land::{Land, LandFacts, LandOrder};
use landfall_states::fault::{Fault, SourceFault};

impl Real {
    /// The revision that is checked out on the target. Hooks and the activation had their turn since the clone was looked at, and it
    /// may belong to the target's user by now: no Git is run in it.
    fn cloned_revision(&self) -> Result<String, Fault> {
        let clone = &self.planned()?.payload.repository.clone_path;
        match head::commit(&Root::target(), target_root::on_target(clone))? {
            Ok(revision) => Ok(revision.to_string()),
            Err(found) => Err(SourceFault::ForeignClone {
                path: clone.to_string(),
                found: format!("the checked-out revision is not known: {found}"),
            }
            .into()),
        }
    }

    async fn keep_receipt_and_log(&self, order: &LandOrder) -> Result<(), Fault> {
        let root = &Root::target();
        let plan = self.planned()?;
        let (log, started_unix_s) = run_log(&Utf8Path::new(RUN_DIR).join(RUN_LOG_NAME))?;
        let receipt = FullReceipt {
            landfall: env!("CARGO_PKG_VERSION").to_owned(),
            host: plan.host.to_string(),
            install: order.install.to_string(),
            disk: plan.disk.to_string(),
            repository: match &plan.payload.repository.source {
                landfall_states::plan::RepositorySource::Remote(url) => url.to_string(),
                landfall_states::plan::RepositorySource::Bundle { file, origin } => origin
                    .as_ref()
                    .map_or_else(|| format!("bundle {file}"), ToString::to_string),
            },
            revision: self.cloned_revision()?,
            system: order.system.to_string(),
            volumes: volumes(plan),
            started_unix_s,
            ended_unix_s: unix_s(std::time::SystemTime::now()),
            phases: timings(&String::from_utf8_lossy(&log)),
            activation_failures: activation::read(root)?,
        };
        keep(root, RECEIPT_NAME, 0o644, write_receipt(&receipt)?.as_bytes())?;
        keep(root, LOG_NAME, 0o600, &log)?;
        target_root::sync_filesystem(root)
    }
}

impl Perform<Land> for Real {
    async fn observe(&mut self, _step: &Land) -> Result<LandFacts, Fault> {
        let before = self.attached_now().await?;
        if !before.is_empty() {
            // Not quiet yet: whatever else is there, there is work left, and what is attached is not taken apart by a look.
            return Ok(LandFacts {
                receipt: None,
                log: false,
                attached: before,
                flushed: false,
            });
        }
        self.attach(Attach::TargetReadOnly).await?;
        let seen = kept(&Root::target());
        self.detach().await?;
        let (receipt, log) = seen?;
        let attached = self.attached_now().await?;
        // A run that was killed between the last unmounting and its flush leaves the flush to us.
        self.flush_devices().await?;
        Ok(LandFacts {
            receipt,
            log,
            flushed: attached.is_empty() && self.is_flushed(),
            attached,
        })
    }

    async fn perform(&mut self, _step: &Land, order: LandOrder) -> Result<(), Fault> {
        self.attach(Attach::Target).await?;
        // The firmware's entry is the one thing that is not on the disk: a cut right after the loader became durable leaves
        // none, and nothing on the disk tells. The receipt is its trace, so it comes first.
        self.register_entry().await?;
        self.clear_target(&Root::target())?;
        skeleton::release(&Root::target())?;
        self.reporter.step("receipt and log");
        self.keep_receipt_and_log(&order).await?;
        self.reporter.step("unmount, close, flush");
        self.detach().await?;
        self.flush_devices().await
    }
}
