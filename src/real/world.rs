//! The real world as the driver sees it: every trait of [`crate::world`], put together from the files beside this one.
//!
//! It decides nothing; the one place where it writes a checkpoint slot is `write_slot_on_esp`, which `write_slot` calls.

use super::{RUN_DIR, Real, ask, disk, preflight};
use crate::event::Event;
use crate::real::mount::attached::Attach;
use crate::real::survey;
use crate::real::volume::block_io::{self, PAGE_BYTES, io_fault, read_page, write_page};
use crate::real::volume::esp::{locate_on, missing, slot_path, store_mount};
use crate::real::volume::filesystems::{stopped_esp, stopped_root};
use crate::real::volume::slots::of_slot;
use crate::safe_open::{self, Links};
use crate::world::{Media, Survey, World};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::Phase;
use landfall_states::authentic::RecordKeys;
use landfall_states::consent::{Consent, Erasure};
use landfall_states::fault::{DeviceFault, Fault, FaultClass};
use landfall_states::names::Revision;
use landfall_states::plan::{DiskIdentity, Payload, Plan, Role};
use std::time::Duration;

/// The record of this boot.
const TMPFS_RECORD: &str = "/run/landfall/checkpoint";

/// Longest checkpoint in memory; a slot has 4 KiB.
const RECORD_BYTES_MAX: u64 = 64 << 10;

impl Media for Real {
    async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        safe_open::read_if_there(Utf8Path::new(TMPFS_RECORD), Links::Refuse, RECORD_BYTES_MAX)
            .map_err(|refused| refused.fault(TMPFS_RECORD))
    }

    async fn write_tmpfs(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let fault = |e: std::io::Error| io_fault(TMPFS_RECORD, &e);
        fs::create_dir_all(RUN_DIR).map_err(fault)?;
        // A kill in the middle leaves the former record whole.
        safe_open::replace(Utf8Path::new(TMPFS_RECORD), 0o600, bytes).map_err(fault)
    }

    async fn write_slot(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.write_slot_on_esp(which, bytes).await
    }

    async fn read_slot(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
        self.read_slot_on_esp(which).await
    }
}

impl Real {
    /// Overwrites a slot in place: one write of 4,096 bytes, one flush. Through the mounted ESP, or, when it cannot be
    /// mounted, at the slot's place on the device (recovery rule 18).
    ///
    /// # Errors
    /// The ESP cannot be written or flushed.
    pub async fn write_slot_on_esp(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault> {
        match self.attach(Attach::Checkpoint).await {
            Ok(()) => {
                let path = slot_path(&store_mount(), which);
                let length = fs::metadata(&path)
                    .map_err(|e| io_fault(format!("slot {which}"), &e))?
                    .len();
                if length != PAGE_BYTES as u64 {
                    return Err(missing(which, &path));
                }
                write_page(&path, 0, bytes)
            }
            Err(fault) if fault.class == FaultClass::Hardware => Err(fault),
            Err(fault) => {
                let device = self.partition(Role::Esp).await?;
                if self.is_mounted(&device)? {
                    return Err(fault);
                }
                self.reporter.notice(format!(
                    "the ESP cannot be mounted ({fault}); landfall writes its checkpoint slots without mounting it"
                ));
                let place = of_slot(locate_on(&device)?, which).ok_or_else(|| missing(which, &device))?;
                write_page(&device, place, bytes)
            }
        }
    }

    /// Reads a slot from the device. Mounts and repairs nothing.
    ///
    /// # Errors
    /// The ESP cannot be read.
    pub async fn read_slot_on_esp(&mut self, which: usize) -> Result<Vec<u8>, Fault> {
        let device = self.partition(Role::Esp).await?;
        let place = of_slot(locate_on(&device)?, which).ok_or_else(|| missing(which, &device))?;
        read_page(&device, place)
    }
}

impl World for Real {
    async fn survey(&mut self) -> Result<Survey, Fault> {
        survey::survey(self).await
    }

    async fn preflight(
        &mut self,
        plan: &Plan,
        payload: &Payload,
        pinned: Option<&Revision>,
        fresh: bool,
    ) -> Result<Revision, Fault> {
        preflight::preflight(self, plan, payload, pinned, fresh).await
    }

    async fn hold(&mut self, plan: &Plan) -> Result<(), Fault> {
        self.credentials.refuse_as_target(&plan.disk)?;
        let mut held = disk::HeldDisk::hold(&plan.disk)?;
        held.take().await?;
        block_io::flush(&held.device())?;
        self.reporter.tell(Event::DiskChosen {
            device: held.device().to_string(),
            identity: plan.disk.to_string(),
            why: "it is the plan's disk".into(),
        });
        self.held = Some(held);
        self.plan = Some(plan.clone());
        Ok(())
    }

    async fn find_keys(&mut self, plan: &Plan, under_way: bool) -> Result<(), Fault> {
        self.find_record_keys(plan, under_way).await;
        Ok(())
    }

    fn keys(&self) -> &RecordKeys {
        &self.keys
    }

    async fn resolve(&mut self, payload: &Payload) -> Result<Revision, Fault> {
        self.resolve_repository(&payload.repository).await
    }

    async fn settle_landed(&mut self, disk: &DiskIdentity) -> Result<(), Fault> {
        disk::flush(disk)
    }

    async fn consent(&mut self, erasure: &Erasure) -> Result<Option<Consent>, Fault> {
        ask::consent(self, erasure).await
    }

    async fn release(&mut self) -> Result<(), Fault> {
        // An open container cannot be closed while somebody has it open.
        self.progress.close();
        if !self.has_partitions().await? {
            return Ok(());
        }
        let detached = self.detach().await;
        let flushed = self.flush_devices().await;
        detached.and(flushed)
    }

    async fn close(&mut self) -> Result<(), Fault> {
        if !self.has_partitions().await? {
            return Ok(());
        }
        let detached = self.detach_esp().await;
        let flushed = self.flush_devices().await;
        match fs::remove_dir(store_mount()) {
            Ok(()) => {}
            // A mount point that is still in use, or was never made, is no fault of the install's.
            Err(e) => tracing::debug!(error = %e, "mount point stays"),
        }
        detached.and(flushed)
    }

    fn boot_id(&self) -> String {
        // Without it, every run counts as another boot, which makes recovery stricter, not laxer.
        fs::read_to_string(Utf8Path::new("/proc/sys/kernel/random/boot_id"))
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    }

    fn now_ms(&self) -> u64 {
        crate::clock::since_boot_ms()
    }

    async fn sleep(&mut self, wait: Duration) -> Result<(), Fault> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.requested() => Err(self.stop.fault()),
        }
    }

    fn damages_seen(&self) -> u32 {
        self.attached.root_damages
    }

    fn cause_of(&mut self, fault: Fault) -> Fault {
        if fault.class == FaultClass::Interrupted {
            return fault;
        }
        if !self.attached.root_stopped && self.root_is_stopped() {
            self.attached.root_stopped = true;
            return stopped_root(&fault);
        }
        if !self.attached.esp_stopped && self.esp_is_stopped() {
            self.attached.esp_stopped = true;
            return stopped_esp(&fault);
        }
        fault
    }

    fn seed(&self) -> u64 {
        u64::from(std::process::id()) ^ self.now_ms()
    }

    fn stop_requested(&self) -> bool {
        self.stop.is_requested()
    }

    fn tell(&self, event: Event) {
        self.reporter.tell(event);
    }

    fn heartbeat(&self, phase: Phase) {
        tracing::debug!(%phase, "between steps");
    }
}

impl Real {
    /// Whether the plan's partitions are there, so that something of the install could be attached.
    async fn has_partitions(&self) -> Result<bool, Fault> {
        if self.plan.is_none() || self.held.is_none() {
            return Ok(false);
        }
        // Asked without waiting: a disk that has no partitions yet will not get them now.
        if self.disk()?.kernel_view()?.is_empty() {
            return if self.is_flushed() {
                Ok(false)
            } else {
                Err(DeviceFault::PartitionsGone {
                    disk: self.disk()?.what(),
                }
                .into())
            };
        }
        self.partition(Role::Esp).await.map(|_| true)
    }
}
