//! The names of the states: without their data, and as a record keeps them.
//!
//! A recorded phase says where to look; it opens no state and permits nothing.

use crate::names::StorePath;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a state, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Disk identified and consent held; every id fixed.
    #[serde(rename = "Planned")]
    Planned,
    /// Our GPT, both copies, flushed.
    #[serde(rename = "Partitioned")]
    Partitioned,
    /// The checkpoint lives on the ESP.
    #[serde(rename = "Anchored")]
    Anchored,
    /// LUKS headers are ours and the passphrase opens them.
    #[serde(rename = "Encrypted")]
    Encrypted,
    /// Filesystems and swap are ours.
    #[serde(rename = "Formatted")]
    Formatted,
    /// The pinned revision is whole on the target.
    #[serde(rename = "Cloned")]
    Cloned,
    /// The system path is known; its closure is valid on the target.
    #[serde(rename = "Realised")]
    Realised,
    /// Profile set, activation prepared.
    #[serde(rename = "Installed")]
    Installed,
    /// Loader, entries, kernel and initrd re-read from the ESP and equal to the store.
    #[serde(rename = "Bootable")]
    Bootable,
    /// Everything first boot needs is there.
    #[serde(rename = "Provisioned")]
    Provisioned,
    /// Finished, flushed; nothing leads out.
    #[serde(rename = "Landed")]
    Landed,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 11] = [
        Phase::Planned,
        Phase::Partitioned,
        Phase::Anchored,
        Phase::Encrypted,
        Phase::Formatted,
        Phase::Cloned,
        Phase::Realised,
        Phase::Installed,
        Phase::Bootable,
        Phase::Provisioned,
        Phase::Landed,
    ];

    /// The action that leads on, by name.
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Phase::Planned => Some("PartitionDisk"),
            Phase::Partitioned => Some("AnchorCheckpoint"),
            Phase::Anchored => Some("EncryptVolumes"),
            Phase::Encrypted => Some("FormatVolumes"),
            Phase::Formatted => Some("CloneConfiguration"),
            Phase::Cloned => Some("RealiseSystem"),
            Phase::Realised => Some("InstallSystem"),
            Phase::Installed => Some("InstallBootLoader"),
            Phase::Bootable => Some("ProvisionSecrets"),
            Phase::Provisioned => Some("Land"),
            Phase::Landed => None,
        }
    }

    /// Whether the checkpoint must be on the ESP in this phase.
    pub const fn is_anchored(self) -> bool {
        self as u8 >= Phase::Anchored as u8
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Planned => "Planned",
            Phase::Partitioned => "Partitioned",
            Phase::Anchored => "Anchored",
            Phase::Encrypted => "Encrypted",
            Phase::Formatted => "Formatted",
            Phase::Cloned => "Cloned",
            Phase::Realised => "Realised",
            Phase::Installed => "Installed",
            Phase::Bootable => "Bootable",
            Phase::Provisioned => "Provisioned",
            Phase::Landed => "Landed",
        })
    }
}

/// A state, as a checkpoint states it. A claim says where to look; it opens no state and permits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordedPhase {
    /// See [`Phase::Planned`].
    #[serde(rename = "Planned")]
    Planned,
    /// See [`Phase::Partitioned`].
    #[serde(rename = "Partitioned")]
    Partitioned,
    /// See [`Phase::Anchored`].
    #[serde(rename = "Anchored")]
    Anchored,
    /// See [`Phase::Encrypted`].
    #[serde(rename = "Encrypted")]
    Encrypted,
    /// See [`Phase::Formatted`].
    #[serde(rename = "Formatted")]
    Formatted,
    /// See [`Phase::Cloned`].
    #[serde(rename = "Cloned")]
    Cloned,
    /// See [`Phase::Realised`].
    #[serde(rename = "Realised")]
    Realised(StorePath),
    /// See [`Phase::Installed`].
    #[serde(rename = "Installed")]
    Installed(StorePath),
    /// See [`Phase::Bootable`].
    #[serde(rename = "Bootable")]
    Bootable(StorePath),
    /// See [`Phase::Provisioned`].
    #[serde(rename = "Provisioned")]
    Provisioned(StorePath),
    /// See [`Phase::Landed`].
    #[serde(rename = "Landed")]
    Landed(StorePath),
}

impl RecordedPhase {
    /// The phase claimed.
    pub fn phase(&self) -> Phase {
        match self {
            RecordedPhase::Planned => Phase::Planned,
            RecordedPhase::Partitioned => Phase::Partitioned,
            RecordedPhase::Anchored => Phase::Anchored,
            RecordedPhase::Encrypted => Phase::Encrypted,
            RecordedPhase::Formatted => Phase::Formatted,
            RecordedPhase::Cloned => Phase::Cloned,
            RecordedPhase::Realised(_) => Phase::Realised,
            RecordedPhase::Installed(_) => Phase::Installed,
            RecordedPhase::Bootable(_) => Phase::Bootable,
            RecordedPhase::Provisioned(_) => Phase::Provisioned,
            RecordedPhase::Landed(_) => Phase::Landed,
        }
    }

    /// The system path claimed.
    pub fn system(&self) -> Option<&StorePath> {
        match self {
            RecordedPhase::Planned
            | RecordedPhase::Partitioned
            | RecordedPhase::Anchored
            | RecordedPhase::Encrypted
            | RecordedPhase::Formatted
            | RecordedPhase::Cloned => None,
            RecordedPhase::Realised(system)
            | RecordedPhase::Installed(system)
            | RecordedPhase::Bootable(system)
            | RecordedPhase::Provisioned(system)
            | RecordedPhase::Landed(system) => Some(system),
        }
    }
}
