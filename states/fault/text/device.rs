//! Words of a [`DeviceFault`], and what to do about it.

use super::Words;
use crate::fault::{DeviceFault, Remedy};

impl DeviceFault {
    pub(super) fn words(&self) -> Words {
        match self {
            DeviceFault::DiskAbsent {
                disk,
                size_bytes: Some(bytes),
            } => Words::of(
                disk,
                format!("no disk with this identity and {bytes} bytes is attached"),
            ),
            DeviceFault::DiskAbsent {
                disk,
                size_bytes: None,
            } => Words::of(disk, "it is not there"),
            DeviceFault::DiskAway {
                disk,
                replaced: false,
            } => Words::of(disk, "it went away"),
            DeviceFault::DiskAway { disk, replaced: true } => Words::of(
                disk,
                "it went away, and its name now belongs to what was attached since",
            ),
            DeviceFault::DiskNotListed { disk } => {
                Words::of(disk, "the chosen disk is not among those looked at")
            }
            DeviceFault::PartitionsGone { disk } => {
                Words::of(disk, "its partitions are gone while the install was under way")
            }
            DeviceFault::PartitionNotReady { on, found } => Words::of(on, found),
            DeviceFault::PartitionNotListed {
                number,
                disk,
                name,
                partuuid,
            } => Words::of(
                format!("partition {number} of {disk}"),
                format!("the table on the disk has no {name} {partuuid} there"),
            ),
            DeviceFault::DiskLocked { disk, waited_s, os } => {
                Words::of(disk, format!("it cannot be locked within {waited_s} s: {os}"))
            }
            DeviceFault::OldView { disk, said } => Words::of(
                disk,
                format!("the kernel keeps its old view of the partitions: {said}"),
            ),
            DeviceFault::Unreadable { disk, said } => Words::of(disk, format!("it cannot be read: {said}")),
            DeviceFault::ShortWrite { on, written, wanted } => {
                Words::of(on, format!("only {written} of {wanted} bytes were taken"))
            }
            DeviceFault::NotADisk { given, reason } => Words::of(given, reason),
            DeviceFault::Occupied { device, found } => {
                Words::of(format!("target {device}"), format!("something is on it: {found}"))
            }
            DeviceFault::LabelsTaken { disk, labels } => Words::of(
                format!("labels planned for {disk}"),
                "other attached disks have them too, and the installed system finds its filesystems by label",
            )
            .listing(labels),
            DeviceFault::DiskTaken { disk, holders } => Words::of(
                disk,
                "another landfall is at work on it, or a program that one started",
            )
            .listing(holders),
            DeviceFault::NotGrown {
                on,
                filesystem_bytes,
                device_bytes,
            } => Words::of(
                on,
                format!(
                    "resize2fs reported success, and the filesystem has {filesystem_bytes} bytes on a device of {device_bytes}"
                ),
            ),
            DeviceFault::SlotMissing {
                slot,
                name,
                place,
                bytes,
            } => Words::of(
                format!("checkpoint slot {slot} ({name})"),
                format!("it is not on {place}, or not {bytes} bytes in one piece"),
            ),
            DeviceFault::OtherHeader { on, expected, found } => Words::of(
                on,
                format!("its header is not the planned one ({expected}): {found}"),
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            DeviceFault::DiskAbsent { .. } | DeviceFault::DiskAway { .. } => {
                Remedy::change("attach it again")
            }
            DeviceFault::DiskNotListed { .. } => Remedy::Command("landfall disks".into()),
            DeviceFault::PartitionsGone { .. }
            | DeviceFault::Unreadable { .. }
            | DeviceFault::ShortWrite { .. } => Remedy::replace_device(),
            DeviceFault::PartitionNotReady { .. }
            | DeviceFault::DiskLocked { .. }
            | DeviceFault::OldView { .. }
            | DeviceFault::NotGrown { .. } => Remedy::resume(),
            DeviceFault::PartitionNotListed { .. } => Remedy::change("look at the disk (landfall disks)"),
            DeviceFault::NotADisk { .. } => Remedy::words(
                "name a whole disk: INSTALL_DISK=/dev/… landfall install (landfall disks lists them)",
            ),
            DeviceFault::Occupied { device, .. } => Remedy::words(format!(
                "look at it (lsblk -f {device}); if it may be lost: landfall image write --erase …"
            )),
            DeviceFault::LabelsTaken { .. } => Remedy::change(
                "detach the other disk, or rename what is on it (e2label DEVICE NAME, fatlabel DEVICE NAME, swaplabel -L NAME \
                 DEVICE, cryptsetup config --label NAME DEVICE, sgdisk -c NUMBER:NAME DISK)",
            ),
            DeviceFault::DiskTaken { .. } => {
                Remedy::change("wait until it has ended (landfall status --watch), or end it (kill NUMBER)")
            }
            DeviceFault::SlotMissing { .. } => Remedy::words("landfall resume, which allocates it again"),
            DeviceFault::OtherHeader { .. } => {
                Remedy::words("landfall resume, which looks again from the table upwards")
            }
        }
    }
}
