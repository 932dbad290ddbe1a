//! The real world: this machine's disks, programs and network. Law: one file per concern; nothing here decides what to do
//! next. Absent: the driver, the simulated world.

pub mod activation;
pub mod age_file;
pub mod age_identity;
pub mod age_locked;
mod age_text;
mod appended;
pub mod ask;
mod attach;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
pub(crate) mod bench;
pub mod block;
pub mod boot;
pub mod bootspec;
pub mod caches;
pub mod clone;
pub mod closure;
pub mod command;
pub mod contents;
pub mod cryptsetup;
pub mod database;
pub mod derivation;
pub mod descriptor;
pub mod disk;
pub mod dm;
pub mod endings;
pub mod esp;
pub mod evaluation;
pub mod fat_root;
pub mod firmware;
pub mod foreseen;
pub mod git;
pub mod gitconfig;
pub mod gpt;
pub mod ground;
pub mod guard;
pub mod hands;
pub mod head;
pub mod hooks;
pub mod host_loader;
pub mod install;
pub mod integrity;
pub mod kernel_settings;
mod key_kind;
pub mod key_text;
pub mod land;
pub mod landing;
pub mod leftovers;
pub mod lfs;
pub mod loader;
pub mod luks;
pub mod made_key;
pub mod marks;
pub mod mbr;
pub mod memory;
pub mod menu;
pub mod mountinfo;
pub mod mounts;
pub mod nixlog;
pub mod pack;
pub mod passphrase;
pub mod permissions;
pub mod pin;
pub mod preflight;
pub mod probe;
pub mod provision;
pub mod registration;
pub mod repository;
pub mod room;
pub mod rooted;
mod run;
pub mod secret;
pub mod secrets;
pub mod sizes;
pub mod slots;
pub mod sound;
mod steps;
pub mod stop;
pub mod superblock;
pub mod survey;
pub mod swapping;

pub mod version;
pub mod volumes;
pub mod work;
pub mod world;

use crate::config::Config;
use crate::event::Reporter;
use camino::Utf8PathBuf;
use landfall_states::authentic::RecordKeys;
use landfall_states::names::{Revision, StorePath};
use landfall_states::plan::Plan;
use stop::Stop;

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
    pub attached: mounts::Attached,
    /// How far this run has come with an image.
    pub progress: landing::Progress,
    /// Secrets at hand.
    pub vault: secrets::Vault,
    /// The keys that records are proved with, as far as they are at hand.
    pub keys: RecordKeys,
    /// The revision that this run has asked the remote about, and that the reference names.
    pub granted: Option<Revision>,
    /// The system that this run's own evaluation of a revision came to.
    pub evaluated: Option<(Revision, StorePath)>,
}

#[cfg(test)]
mod whole_tests;
