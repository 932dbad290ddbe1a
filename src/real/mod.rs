//! The real world: this machine's disks, programs and network.
//!
//! One folder per subject (ARCHITECTURE.md has the map); `steps` has one file per action. Nothing here decides what to do
//! next.
//!
//! `driver` decides that by asking the states, and `sim` is the simulated world.

pub mod ask;
mod attach;
pub mod boot;
pub mod disk;
pub mod fs;
pub mod git;
pub mod mount;
pub mod nix;
pub mod preflight;
pub mod process;
mod repository;
mod run;
pub mod secret;
pub mod secrets;
mod steps;
pub mod survey;
pub mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
pub(crate) mod test_support;
pub mod tool_errors;
pub mod volume;

pub mod world;

use crate::config::Config;
use crate::event::Reporter;
use crate::real::process::stop::Stop;
use camino::Utf8PathBuf;
use landfall_states::authentic::RecordKeys;
use landfall_states::names::{Revision, StorePath};
use landfall_states::plan::Plan;

/// Where the target is mounted while installing. The NixOS tools expect it.
pub const MOUNT_ROOT: &str = "/mnt";
/// Where the ESP is mounted below it.
pub const MOUNT_BOOT: &str = "/mnt/boot";
/// landfall's run-time directory.
pub const RUN_DIR: &str = "/run/landfall";

/// The real world.
#[derive(Debug)]
pub struct Real {
    /// The configuration.
    pub config: Config,
    /// The device that the operator named for this run (`INSTALL_DISK`). It chooses, it does not agree.
    pub install_disk: Option<Utf8PathBuf>,
    /// Labels on the disks, as the survey saw them.
    pub labels: Vec<disk::labels::Seen>,
    /// Where events go.
    pub reporter: Reporter,
    /// The wish to stop.
    pub stop: Stop,
    /// The plan, from the moment that its disk is held.
    pub plan: Option<Plan>,
    /// The confirmed disk.
    pub held: Option<disk::HeldDisk>,
    /// What this run has attached: mapping and mounts.
    pub attached: mount::attached::Attached,
    /// How far this run has come with an image.
    pub progress: volume::root_image::Progress,
    /// Secrets at hand.
    pub credentials: secrets::credentials::Credentials,
    /// The keys that records are proved with, as far as they are at hand.
    pub keys: RecordKeys,
    /// The revision that this run has asked the remote about, and that the reference names.
    pub granted: Option<Revision>,
    /// The system that this run's own evaluation of a revision came to.
    pub evaluated: Option<(Revision, StorePath)>,
}

#[cfg(test)]
mod whole_tests;
