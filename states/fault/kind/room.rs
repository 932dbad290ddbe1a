//! Not enough space: what is needed, and what there is. Variants of [`Kind`](super::Kind), serialised like the others.
//!
//! `text::room` has the words.

use crate::fault::FaultClass;
use serde::Serialize;

/// Not enough room: what is needed, and what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum RoomFault {
    /// The layout does not fit the disk.
    #[serde(rename = "disk_too_small")]
    Disk {
        /// Which.
        #[serde(rename = "disk")]
        disk: String,
        /// What the layout needs at least.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// What the disk has.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
    },
    /// The ESP cannot be a FAT32.
    #[serde(rename = "esp_too_small")]
    Esp {
        /// On which disk.
        #[serde(rename = "disk")]
        disk: String,
        /// What a FAT32 needs.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// What the configuration gives it.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
    },
    /// The filesystem of an image does not fit the root partition.
    #[serde(rename = "no_room_for_image")]
    Image {
        /// The image.
        #[serde(rename = "image")]
        image: String,
        /// Bytes of its filesystem.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// Bytes of the partition that it may use.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
    },
    /// The system does not fit the root partition.
    #[serde(rename = "no_room_for_system")]
    System {
        /// What is measured.
        #[serde(rename = "system")]
        system: String,
        /// Its bytes.
        #[serde(rename = "system_bytes")]
        system_bytes: u64,
        /// What is to be spared beside it.
        #[serde(rename = "spare_bytes")]
        spare_bytes: u64,
        /// What the partition needs for both.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// Bytes of the partition.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
        /// How much of it can be used.
        #[serde(rename = "usable_percent")]
        usable_percent: u64,
    },
    /// Kernel and initrd do not fit the ESP.
    #[serde(rename = "no_room_for_boot_files")]
    Boot {
        /// Their bytes.
        #[serde(rename = "images_bytes")]
        images_bytes: u64,
        /// What is to be spared beside two pairs of them.
        #[serde(rename = "spare_bytes")]
        spare_bytes: u64,
        /// What that makes.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// Bytes of the ESP.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
    },
    /// There is no room to open the database of the target's store.
    #[serde(rename = "no_room_for_database")]
    Database {
        /// Which.
        #[serde(rename = "database")]
        database: String,
        /// What opening it takes at least.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// Bytes that are free.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
        /// What Nix said.
        #[serde(rename = "said")]
        said: String,
    },
    /// The filesystem of an image does not fit the device that it is to be written to.
    #[serde(rename = "target_too_small")]
    Target {
        /// The device.
        #[serde(rename = "on")]
        on: String,
        /// Bytes of the filesystem.
        #[serde(rename = "needed_bytes")]
        needed_bytes: u64,
        /// Bytes of the device.
        #[serde(rename = "available_bytes")]
        available_bytes: u64,
    },
}

impl RoomFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            RoomFault::Disk { .. }
            | RoomFault::Esp { .. }
            | RoomFault::Image { .. }
            | RoomFault::System { .. }
            | RoomFault::Boot { .. }
            | RoomFault::Database { .. }
            | RoomFault::Target { .. } => FaultClass::NeedsChange,
        }
    }
}
