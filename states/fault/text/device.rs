//! Words of a [`DeviceFault`], and what to do about it.

use super::Words;
use crate::fault::{DeviceFault, Remedy};

impl DeviceFault {
    #[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
    pub(super) fn words(&self) -> Words {
        match self {
            DeviceFault::DiskAbsent {
                disk,
                size_bytes: Some(bytes),
            } => Words::of(
                disk,
                format!("no disk with this identity and a size of {bytes} bytes is attached"),
            ),
            DeviceFault::DiskAbsent {
                disk,
                size_bytes: None,
            } => Words::of(disk, "it is not attached"),
            DeviceFault::DiskAway {
                disk,
                replaced: false,
            } => Words::of(disk, "it was disconnected"),
            DeviceFault::DiskAway { disk, replaced: true } => Words::of(
                disk,
                "it was disconnected, and its device name now belongs to another device",
            ),
            DeviceFault::DiskNotListed { disk } => {
                Words::of(disk, "the chosen disk is not among the disks that landfall examined")
            }
            DeviceFault::PartitionsGone { disk } => {
                Words::of(disk, "its partitions disappeared during the install")
            }
            DeviceFault::PartitionNotReady { on, found } => Words::of(on, found),
            DeviceFault::PartitionNotListed {
                number,
                disk,
                name,
                partuuid,
            } => Words::of(
                format!("partition {number} of {disk}"),
                format!("the partition table on the disk has no {name} with PARTUUID {partuuid} there"),
            ),
            DeviceFault::DiskLocked { disk, waited_s, os } => {
                Words::of(disk, format!("landfall could not lock it within {waited_s} s: {os}"))
            }
            DeviceFault::OldView { disk, said } => Words::of(
                disk,
                format!("the kernel still uses the old partition table: {said}"),
            ),
            DeviceFault::Unreadable { disk, said } => Words::of(disk, format!("it cannot be read: {said}")),
            DeviceFault::ShortWrite { on, written, wanted } => {
                Words::of(on, format!("it accepted only {written} of {wanted} bytes"))
            }
            DeviceFault::NotADisk { given, reason } => Words::of(given, reason),
            DeviceFault::Occupied { device, found } => {
                Words::of(format!("target {device}"), format!("it is not empty: {found}"))
            }
            DeviceFault::LabelsTaken { disk, labels } => Words::of(
                format!("labels planned for {disk}"),
                "other attached disks have the same labels, and the installed system finds its filesystems by label",
            )
            .listing(labels),
            DeviceFault::DiskTaken { disk, holders } => Words::of(
                disk,
                "another landfall, or a program that it started, is using it",
            )
            .listing(holders),
            DeviceFault::NotGrown {
                on,
                filesystem_bytes,
                device_bytes,
            } => Words::of(
                on,
                format!(
                    "resize2fs reported success, but the filesystem has {filesystem_bytes} bytes on a device of {device_bytes}"
                ),
            ),
            DeviceFault::SlotMissing {
                slot,
                name,
                place,
                bytes,
            } => Words::of(
                format!("checkpoint slot {slot} ({name})"),
                format!("it is not on {place}, or it is not a file of {bytes} bytes in one piece"),
            ),
            DeviceFault::OtherHeader { on, expected, found } => Words::of(
                on,
                format!("its header is not the planned one ({expected}); it has {found}"),
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
                "look at it (lsblk -f {device}); to overwrite it: landfall image write --erase …"
            )),
            DeviceFault::LabelsTaken { .. } => Remedy::change(
                "detach the other disk, or change its labels (e2label DEVICE NAME, fatlabel DEVICE NAME, swaplabel -L NAME \
                 DEVICE, cryptsetup config --label NAME DEVICE, sgdisk -c NUMBER:NAME DISK)",
            ),
            DeviceFault::DiskTaken { .. } => {
                Remedy::change("wait until it ends (landfall status --watch), or stop it (kill PID)")
            }
            DeviceFault::SlotMissing { .. } => Remedy::words("landfall resume (it makes the slot again)"),
            DeviceFault::OtherHeader { .. } => {
                Remedy::words("landfall resume (it checks the whole disk again)")
            }
        }
    }
}
