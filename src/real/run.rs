//! The state of one run: the plan, the held disk, and what is needed to run programs.
//!
//! A destructive effect is permitted only on the confirmed disk (I1, I3). The steps have the effects themselves.

use crate::real::Real;
use crate::real::disk::HeldDisk;
use crate::real::process::context::CommandContext;
use crate::real::secret::SecretText;
use crate::real::volume::block_io::defect;
use crate::real::volume::luks::{header, record_key};
use camino::Utf8PathBuf;
use landfall_states::authentic::RecordKey;
use landfall_states::fault::{Fault, SecretFault};
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

impl Real {
    /// The container's key for records, where the container of this plan is there and the passphrase at hand opens it.
    async fn container_key(&self, plan: &Plan) -> Result<Option<RecordKey>, Fault> {
        let (Some(volume), Some(entry)) = (&plan.luks, plan.partition(Role::Root)) else {
            return Ok(None);
        };
        let (Some(passphrase), Some(device)) = (
            self.credentials.passphrase(),
            self.disk()?.partition_at_once(entry)?,
        ) else {
            return Ok(None);
        };
        match header(&device).await? {
            Some(header) if header.uuid == volume.id => record_key(&device, &volume.id, passphrase).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Gets at the keys that records are proved with. What hinders it is no reason to stop: a record without a proof is a wish, and
    /// the steps look at the same device again.
    pub async fn find_record_keys(&mut self, plan: &Plan, under_way: bool) {
        if let Some(key) = self.credentials.record_key(plan.install) {
            self.keys.hold(key);
        }
        if !under_way {
            return;
        }
        match self.container_key(plan).await {
            Ok(key) => key.into_iter().for_each(|key| self.keys.hold(key)),
            Err(fault) => tracing::info!(%fault, "no key for records"),
        }
    }

    /// The passphrase at hand, or what to do about its absence.
    ///
    /// # Errors
    /// There is none.
    pub fn passphrase(&self) -> Result<SecretText, Fault> {
        self.credentials.passphrase().cloned().ok_or_else(|| {
            SecretFault::PassphraseMissing {
                of: "the LUKS container".into(),
                unattended: false,
            }
            .into()
        })
    }
}
