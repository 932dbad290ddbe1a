//! The traits between the driver and a world: `Perform`, `Media`, `World`.
//!
//! A world looks and acts, and decides nothing. It returns what it sees as raw facts, and does what it is ordered to do.
//! Whether that worked is judged from the next look.
//!
//! The states have the verdicts and the order of phases, and `driver` the retries.

use landfall_states::actions::anchor_checkpoint::AnchorCheckpoint;
use landfall_states::actions::clone_configuration::CloneConfiguration;
use landfall_states::actions::encrypt_volumes::EncryptVolumes;
use landfall_states::actions::format_volumes::FormatVolumes;
use landfall_states::actions::install_boot_loader::InstallBootLoader;
use landfall_states::actions::install_system::InstallSystem;
use landfall_states::actions::land::Land;
use landfall_states::actions::partition_disk::PartitionDisk;
use landfall_states::actions::provision_secrets::ProvisionSecrets;
use landfall_states::actions::realise_system::RealiseSystem;
use landfall_states::authentic::RecordKeys;
use landfall_states::consent::{Consent, Erasure};
use landfall_states::fault::Fault;
use landfall_states::names::Revision;
use landfall_states::plan::{DiskIdentity, Payload, Plan};
use landfall_states::recovery::DiskEvidence;
use landfall_states::{Phase, Step};
use std::time::Duration;

use crate::event::Event;

/// Earliest time that a clock may show: 2026-01-01.
pub const CLOCK_MIN_S: u64 = 1_767_225_600;
/// Latest time that a clock may show: 2100-01-01.
pub const CLOCK_MAX_S: u64 = 4_102_444_800;

/// One step, in a world. The contract is [`Step`]'s: observing changes nothing, performing is idempotent.
#[allow(async_fn_in_trait)] // one thread runs everything; nothing needs `Send`
pub trait Perform<S: Step> {
    /// Looks.
    ///
    /// # Errors
    /// What is there cannot be read.
    async fn observe(&mut self, step: &S) -> Result<S::Facts, Fault>;
    /// Acts. An error says why it could not be finished; success proves nothing.
    ///
    /// # Errors
    /// It could not be finished.
    async fn perform(&mut self, step: &S, order: S::Order) -> Result<(), Fault>;
}

/// The place below the checkpoint store: bytes in, bytes out.
#[allow(async_fn_in_trait)]
pub trait Media {
    /// The record kept in tmpfs for this boot, if any.
    ///
    /// # Errors
    /// It is there and cannot be read.
    async fn read_tmpfs(&mut self) -> Result<Option<Vec<u8>>, Fault>;
    /// Replaces it.
    ///
    /// # Errors
    /// It cannot be written.
    async fn write_tmpfs(&mut self, bytes: &[u8]) -> Result<(), Fault>;
    /// Overwrites slot 0 or 1 on the plan's ESP in place and makes it durable: one write of 4,096 bytes, one flush.
    ///
    /// # Errors
    /// The ESP cannot be written or flushed.
    async fn write_slot(&mut self, which: usize, bytes: &[u8]) -> Result<(), Fault>;
    /// Reads it back from the device, not from a cache.
    ///
    /// # Errors
    /// The ESP cannot be read.
    async fn read_slot(&mut self, which: usize) -> Result<Vec<u8>, Fault>;
}

/// What the world found before the first decision.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Every disk that may be a target or carries something of landfall, with what it says of itself.
    pub disks: Vec<DiskEvidence>,
    /// The disk that a new install would take, or why there is none (no candidate, a tie, a doubt).
    pub choice: Result<DiskIdentity, Fault>,
    /// Whether that disk was named by the operator rather than found.
    pub named: bool,
}

/// A world to install in.
#[allow(async_fn_in_trait)]
pub trait World:
    Media
    + Perform<PartitionDisk>
    + Perform<AnchorCheckpoint>
    + Perform<EncryptVolumes>
    + Perform<FormatVolumes>
    + Perform<CloneConfiguration>
    + Perform<RealiseSystem>
    + Perform<InstallSystem>
    + Perform<InstallBootLoader>
    + Perform<ProvisionSecrets>
    + Perform<Land>
{
    /// Looks at every disk. Writes nothing.
    ///
    /// # Errors
    /// The disks cannot be listed.
    async fn survey(&mut self) -> Result<Survey, Fault>;
    /// Everything that can be checked before the first write: firmware, privileges, tools, sizes, clock, secrets,
    /// passphrase, and the revision, resolved and pinned unless `pinned` says it. `fresh` is false when this is a resume
    /// and checks that only a new install needs may be left out. Writes nothing.
    ///
    /// # Errors
    /// A check fails.
    async fn preflight(
        &mut self,
        plan: &Plan,
        payload: &Payload,
        pinned: Option<&Revision>,
        fresh: bool,
    ) -> Result<Revision, Fault>;
    /// Takes the plan's disk under lock for the rest of the run, and flushes it: a killed run may have left writes in
    /// caches, and what is seen there must not be believed, nor its other copy overwritten, before it is durable.
    ///
    /// # Errors
    /// The disk is gone, is used, or cannot be flushed.
    async fn hold(&mut self, plan: &Plan) -> Result<(), Fault>;
    /// Gets at the keys that records are proved with, as far as they are at hand, behind `hold`: the installer's, and the container's
    /// where an install is `under_way` whose container is ours and opens. Writes nothing.
    ///
    /// # Errors
    /// The run is asked to stop.
    async fn find_keys(&mut self, plan: &Plan, under_way: bool) -> Result<(), Fault>;
    /// The keys that are at hand. The container's comes to them as soon as a step has seen it open.
    fn keys(&self) -> &RecordKeys;
    /// The revision that the reference stands for now: asked again, behind `hold`, where the one of a record counts for nothing.
    ///
    /// # Errors
    /// The remote cannot be asked, or has no such reference.
    async fn resolve(&mut self, payload: &Payload) -> Result<Revision, Fault>;
    /// A disk that carries a finished install is about to be left alone: what this start read of it becomes durable before
    /// anybody is told. A killed run may have left its last record in a cache.
    ///
    /// # Errors
    /// The disk cannot be flushed.
    async fn settle_landed(&mut self, disk: &DiskIdentity) -> Result<(), Fault>;
    /// How often this run met damage of the target's root filesystem. It is repaired at the next look, behind a record that says that
    /// this run has begun, and what the repair took away is not known.
    fn damages_seen(&self) -> u32;
    /// The fault of a step, or the cause of it where this world knows a better one than who met it: a filesystem that the kernel stopped
    /// because of its contents, where a program speaks of its device.
    fn cause_of(&mut self, fault: Fault) -> Fault;
    /// Asks for consent. `None`: it was refused.
    ///
    /// # Errors
    /// The question cannot be asked.
    async fn consent(&mut self, erasure: &Erasure) -> Result<Option<Consent>, Fault>;
    /// Undoes the run's attachments of the target (mounts, mappings) and flushes what was written, so that a record that
    /// says so can be saved afterwards. Called at the end of every run.
    ///
    /// # Errors
    /// Something of the target stays attached, or cannot be flushed.
    async fn release(&mut self) -> Result<(), Fault>;
    /// Undoes the checkpoint's own attachment, after the last save, and gives the disk back.
    ///
    /// # Errors
    /// The ESP stays attached, or the disk cannot be given back.
    async fn close(&mut self) -> Result<(), Fault>;
    /// An id of this boot (not of this run).
    fn boot_id(&self) -> String;
    /// Milliseconds on a clock that never goes back, from any start.
    fn now_ms(&self) -> u64;
    /// Waits, or returns early with [`landfall_states::fault::FaultClass::Interrupted`] when asked to stop.
    ///
    /// # Errors
    /// It was asked to stop.
    async fn sleep(&mut self, wait: Duration) -> Result<(), Fault>;
    /// A number that differs from run to run, to spread retries.
    fn seed(&self) -> u64;
    /// Whether a signal asked to stop at the next safe point.
    fn stop_requested(&self) -> bool;
    /// Tells of an event.
    fn tell(&self, event: Event);
    /// Called between phases: tells a service manager that the run is alive and where it is.
    fn heartbeat(&self, phase: Phase);
}
