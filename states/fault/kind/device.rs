//! What is wrong with a disk, a partition or what lies on one: variants of [`Kind`](super::Kind), serialised like the others.
//!
//! `text::device` has the words.

use crate::fault::FaultClass;
use crate::fault::kind::Os;
use serde::Serialize;

/// What is wrong with a disk, a partition or what lies on one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum DeviceFault {
    /// A disk is not attached.
    #[serde(rename = "disk_absent")]
    DiskAbsent {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// Its size, where it has to be that.
        #[serde(rename = "size_bytes")]
        size_bytes: Option<u64>,
    },
    /// The disk went away while it was held.
    #[serde(rename = "disk_away")]
    DiskAway {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// Whether another one has its name by now.
        #[serde(rename = "replaced")]
        replaced: bool,
    },
    /// The chosen disk is not among those that were looked at.
    #[serde(rename = "disk_not_listed")]
    DiskNotListed {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
    },
    /// The partitions went away while the install was under way.
    #[serde(rename = "partitions_gone")]
    PartitionsGone {
        /// Of which disk.
        #[serde(rename = "disk")]
        disk: String,
    },
    /// The kernel does not offer a partition.
    #[serde(rename = "partition_not_ready")]
    PartitionNotReady {
        /// Which.
        #[serde(rename = "on")]
        on: String,
        /// What is there instead.
        #[serde(rename = "found")]
        found: String,
    },
    /// The table on the disk does not have a partition that was planned.
    #[serde(rename = "partition_not_listed")]
    PartitionNotListed {
        /// Its number.
        #[serde(rename = "number")]
        number: u32,
        /// On which disk.
        #[serde(rename = "disk")]
        disk: String,
        /// Its planned name.
        #[serde(rename = "name")]
        name: String,
        /// Its planned PARTUUID.
        #[serde(rename = "partuuid")]
        partuuid: String,
    },
    /// Somebody else holds the lock on a disk.
    #[serde(rename = "disk_locked")]
    DiskLocked {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// How long it was waited for, in seconds.
        #[serde(rename = "waited_s")]
        waited_s: u64,
        /// What the operating system said.
        #[serde(flatten)]
        os: Os,
    },
    /// Another landfall is at work on a disk, or a program that one left behind.
    #[serde(rename = "disk_taken")]
    DiskTaken {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// The processes that hold its lock.
        #[serde(rename = "holders")]
        holders: Vec<String>,
    },
    /// The kernel does not take up the new table.
    #[serde(rename = "old_view")]
    OldView {
        /// Of which disk.
        #[serde(rename = "disk")]
        disk: String,
        /// Its words.
        #[serde(rename = "said")]
        said: String,
    },
    /// A disk cannot be read.
    #[serde(rename = "unreadable")]
    Unreadable {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// What the operating system said.
        #[serde(rename = "said")]
        said: String,
    },
    /// A device took less than it was given.
    #[serde(rename = "short_write")]
    ShortWrite {
        /// What was being done.
        #[serde(rename = "on")]
        on: String,
        /// Bytes taken.
        #[serde(rename = "written")]
        written: u64,
        /// Bytes given.
        #[serde(rename = "wanted")]
        wanted: u64,
    },
    /// A name is not that of a disk.
    #[serde(rename = "not_a_disk")]
    NotADisk {
        /// The name, as it was given.
        #[serde(rename = "given")]
        given: String,
        /// What it is.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// Something is on a device that is to be written to.
    #[serde(rename = "occupied")]
    Occupied {
        /// Which.
        #[serde(rename = "device")]
        device: String,
        /// What is on it.
        #[serde(rename = "found")]
        found: String,
    },
    /// Other disks have labels by which the installed system finds its filesystems.
    #[serde(rename = "labels_taken")]
    LabelsTaken {
        /// The disk that the install is for.
        #[serde(rename = "disk")]
        disk: String,
        /// Each label, what it is planned for, and where it is.
        #[serde(rename = "labels")]
        labels: Vec<String>,
    },
    /// A filesystem did not become as large as its device.
    #[serde(rename = "not_grown")]
    NotGrown {
        /// Which.
        #[serde(rename = "on")]
        on: String,
        /// Its size.
        #[serde(rename = "filesystem_bytes")]
        filesystem_bytes: u64,
        /// The size of its device.
        #[serde(rename = "device_bytes")]
        device_bytes: u64,
    },
    /// A checkpoint slot is not on the ESP.
    #[serde(rename = "slot_missing")]
    SlotMissing {
        /// Its number.
        #[serde(rename = "slot")]
        slot: u8,
        /// Its file name.
        #[serde(rename = "name")]
        name: String,
        /// Where it was looked for.
        #[serde(rename = "place")]
        place: String,
        /// Its size.
        #[serde(rename = "bytes")]
        bytes: u64,
    },
    /// A LUKS header is not the planned one.
    #[serde(rename = "other_header")]
    OtherHeader {
        /// Where.
        #[serde(rename = "on")]
        on: String,
        /// Its planned id.
        #[serde(rename = "expected")]
        expected: String,
        /// What was found.
        #[serde(rename = "found")]
        found: String,
    },
}

impl DeviceFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            DeviceFault::DiskAbsent { .. }
            | DeviceFault::DiskAway { .. }
            | DeviceFault::NotADisk { .. }
            | DeviceFault::LabelsTaken { .. }
            | DeviceFault::DiskTaken { .. }
            | DeviceFault::Occupied { .. } => FaultClass::NeedsChange,
            DeviceFault::DiskNotListed { .. }
            | DeviceFault::PartitionNotListed { .. }
            | DeviceFault::OtherHeader { .. } => FaultClass::Unsafe,
            DeviceFault::PartitionsGone { .. }
            | DeviceFault::Unreadable { .. }
            | DeviceFault::ShortWrite { .. } => FaultClass::Hardware,
            DeviceFault::PartitionNotReady { .. }
            | DeviceFault::DiskLocked { .. }
            | DeviceFault::OldView { .. }
            | DeviceFault::NotGrown { .. } => FaultClass::Transient,
            DeviceFault::SlotMissing { .. } => FaultClass::Permanent,
        }
    }
}
