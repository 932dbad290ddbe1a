//! Words of a [`RoomFault`], and what to do about it.

use super::Words;
use crate::fault::{Remedy, RoomFault};

impl RoomFault {
    pub(super) fn words(&self) -> Words {
        match self {
            RoomFault::Disk {
                disk,
                needed_bytes,
                available_bytes,
            } => Words::of(
                disk,
                format!(
                    "it is too small: the layout needs {needed_bytes} bytes, and the disk has {available_bytes}"
                ),
            ),
            RoomFault::Esp {
                disk,
                needed_bytes,
                available_bytes,
            } => Words::of(
                disk,
                format!(
                    "an ESP of {available_bytes} bytes is too small: FAT32 needs at least {needed_bytes}"
                ),
            ),
            RoomFault::Image {
                image,
                needed_bytes,
                available_bytes,
            } => Words::of(
                format!("root partition with {available_bytes} bytes for a filesystem"),
                format!("it is too small: the filesystem in the image {image} has {needed_bytes} bytes"),
            ),
            RoomFault::System {
                system,
                system_bytes,
                spare_bytes,
                needed_bytes,
                available_bytes,
                usable_percent,
            } => Words::of(
                format!("root partition of {available_bytes} bytes"),
                format!(
                    "it is too small: the {system} has {system_bytes} bytes and needs {needed_bytes} ({spare_bytes} in reserve), and only {usable_percent} % of the partition can be used"
                ),
            ),
            RoomFault::Boot {
                images_bytes,
                spare_bytes,
                needed_bytes,
                available_bytes,
            } => Words::of(
                format!("ESP of {available_bytes} bytes"),
                format!(
                    "it is too small: it needs {needed_bytes} bytes, which is twice the {images_bytes} of kernel and initrd, and {spare_bytes} in reserve"
                ),
            ),
            RoomFault::Database {
                database,
                needed_bytes,
                available_bytes,
                said,
            } => Words::of(
                format!("database of the target store {database}"),
                format!(
                    "it needs {needed_bytes} free bytes on the root filesystem, and there are {available_bytes}: {said}"
                ),
            ),
            RoomFault::Target {
                on,
                needed_bytes,
                available_bytes,
            } => Words::of(
                on,
                format!("it has {available_bytes} bytes, and the image's filesystem needs {needed_bytes}"),
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            RoomFault::Disk { .. } => Remedy::words(
                "choose another disk (INSTALL_DISK=/dev/…), or change the layout in the configuration",
            ),
            RoomFault::Esp { .. } | RoomFault::Boot { .. } => {
                Remedy::change_and_install("raise esp_size in the configuration")
            }
            RoomFault::Image { .. } | RoomFault::System { .. } | RoomFault::Target { .. } => {
                Remedy::change_and_install("use a larger disk, a smaller swap or a smaller system")
            }
            RoomFault::Database { .. } => Remedy::change("free space on the target, or use a larger disk"),
        }
    }
}
