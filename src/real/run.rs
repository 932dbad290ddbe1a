//! What this run has in hand: the plan in force, the held disk, what it takes to run programs. It guarantees that a destructive effect is permitted only on the confirmed disk (I1, I3), and leaves the effects themselves to the steps.

use crate::real::Real;
use crate::real::disk::HeldDisk;
use crate::real::process::context::CommandContext;
use crate::real::volume::block_io::defect;
use camino::Utf8PathBuf;
use landfall_states::fault::Fault;
use landfall_states::plan::{DiskIdentity, Plan, Role};

impl Real {
    /// The plan in force.
    ///
    /// # Errors
    /// There is none yet: a defect.
    pub fn planned(&self) -> Result<&Plan, Fault> {
        self.plan.as_ref().ok_or_else(|| defect("no plan is in force"))
    }

    /// The held disk.
    ///
    /// # Errors
    /// None is held yet: a defect.
    pub fn disk(&self) -> Result<&HeldDisk, Fault> {
        self.held.as_ref().ok_or_else(|| defect("no disk is held"))
    }

    /// The device node of a partition of the plan, if the plan has one for that role.
    ///
    /// # Errors
    /// The plan has none, or the kernel does not show it.
    pub async fn partition(&self, role: Role) -> Result<Utf8PathBuf, Fault> {
        let plan = self.planned()?;
        let entry = plan
            .partition(role)
            .ok_or_else(|| defect(&format!("the plan has no partition for the {role}")))?;
        self.disk()?.partition_device(entry).await
    }

    /// Right before a destructive effect: the disk is still the confirmed one, and udev is kept off it (I1, I3).
    ///
    /// # Errors
    /// It is another disk, gone, or udev does not let go of it.
    pub async fn permit(&mut self, confirmed: &DiskIdentity) -> Result<(), Fault> {
        let disk = self.held.as_mut().ok_or_else(|| defect("no disk is held"))?;
        disk.lock().await?;
        if let Err(fault) = disk.confirm(confirmed) {
            disk.unlock(&self.reporter, &self.stop).await?;
            return Err(fault);
        }
        Ok(())
    }

    /// After it: whatever came of it, udev may look again.
    ///
    /// # Errors
    /// That of the effect, or of letting udev look.
    pub async fn permit_ends<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        let disk = self.held.as_mut().ok_or_else(|| defect("no disk is held"))?;
        let unlocked = disk.unlock(&self.reporter, &self.stop).await;
        let value = outcome?;
        unlocked?;
        Ok(value)
    }
}

impl Real {
    /// See [`CommandContext`].
    pub fn context(&self) -> CommandContext {
        CommandContext::new(self.reporter.clone(), self.stop.clone())
    }
}
