//! Who uses a disk.
//!
//! An unknown user of the disk counts as foreign. A use belongs to this install only if the disk's table, the LUKS UUID and
//! the mount point all say so. The kernel has the last word: an exclusive open fails for a mount in any name space, for swap,
//! for device-mapper, md and the like, whether or not landfall has seen it.
//!
//! A pure function of a [`Machine`]; `scan` collects it.

use super::lsblk::{Row, membership};
use super::proc::{Dev, Mount};
use super::signature::Signature;
use super::sysfs::{Block, Sysfs};
use crate::real::volume::build_swap;
use crate::real::{MOUNT_ROOT, RUN_DIR};
use landfall_states::plan::{Plan, Role};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Deepest stack of devices that is followed.
const DEPTH_MAX: usize = 32;

/// What was seen of the machine at one moment.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Every block device but partitions.
    pub blocks: Vec<Block>,
    /// Every mount of this name space.
    pub mounts: Vec<Mount>,
    /// For mounts without a device number: the device that the source names.
    pub sources: BTreeMap<String, Dev>,
    /// Devices and files that are swapped to: what is shown, and the device it lies on.
    pub swaps: Vec<(String, Dev)>,
    /// The device behind each loop device's file.
    pub loops: BTreeMap<String, Dev>,
    /// lsblk's view.
    pub lsblk: Vec<Row>,
    /// Names of disks and partitions that the kernel refuses to give exclusively.
    pub busy: BTreeSet<String>,
}

/// The uses of one disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// By others, one line each.
    pub foreign_users: Vec<String>,
    /// What this install itself left there, one line each.
    pub own: Vec<String>,
    /// Why it is the medium that this system runs from, one line each. These are among the foreign users too.
    pub boot: Vec<String>,
    /// What of it is a part of something larger that nothing uses now, one line each.
    pub members: Vec<String>,
    /// The commands that end the uses by others, in the order in which they work.
    pub release: Vec<String>,
}

/// The uses of one disk, while they are looked for.
struct SeenUses<'d> {
    disk: &'d Block,
    uses: Uses,
    /// Names of partitions (and of the disk) that are known to be used, by whomever.
    explained: BTreeSet<String>,
}

impl SeenUses<'_> {
    fn explain(&mut self, numbers: &[Option<u32>]) {
        for partition in &self.disk.partitions {
            if numbers.contains(&Some(partition.kernel.number)) {
                self.explained.insert(partition.name.clone());
            }
        }
        self.explained.insert(self.disk.name.clone());
    }
}

/// The ids by which this install's own attachments are recognised on one disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The planned partitions: number, first sector, length. Empty when the disk's table is not ours.
    pub partitions: Vec<(u32, u64, u64)>,
    /// The LUKS container's partition and UUIDs, planned and provisional.
    pub luks: Vec<Uuid>,
}

impl Own {
    /// From the plan, if the disk's table is the plan's.
    pub fn of(plan: Option<&Plan>, disk_guid: Option<Uuid>) -> Self {
        let Some(plan) = plan.filter(|p| Some(p.table.disk_guid) == disk_guid) else {
            return Own::default();
        };
        Own {
            partitions: plan
                .table
                .entries
                .iter()
                .map(|e| (e.number, e.first_lba, e.sectors()))
                .collect(),
            luks: plan
                .luks
                .iter()
                .filter(|_| plan.partition(Role::Root).is_some())
                .flat_map(|v| [v.id, v.provisional])
                .collect(),
        }
    }

    fn has(&self, number: u32, first_lba: u64, sectors: u64) -> bool {
        self.partitions.contains(&(number, first_lba, sectors))
    }

    /// Whether a mapping is the plan's container, opened: `CRYPT-LUKS2-<uuid>-<name>`; or the one that is swapped to while building.
    fn maps(&self, uuid: &str) -> bool {
        let swap = uuid == build_swap::UUID;
        swap || self.luks.iter().any(|id| {
            uuid.strip_prefix("CRYPT-LUKS2-")
                .and_then(|rest| rest.strip_prefix(&id.simple().to_string()))
                .is_some_and(|rest| rest.starts_with('-'))
        })
    }
}

/// A place on a disk: its name, and the partition's number if it is within one.
type Base = (String, Option<u32>);

impl Machine {
    /// The disks and partitions that a device lies on, itself included.
    fn bases(&self, name: &str, depth: usize, found: &mut BTreeSet<Base>) {
        let Some((block, partition)) = Sysfs::find_name(&self.blocks, name) else {
            return;
        };
        if partition.is_none() && depth < DEPTH_MAX {
            let behind = self.loops.get(name).and_then(|dev| self.name_of(*dev));
            let below: Vec<String> = block.slaves.iter().cloned().chain(behind).collect();
            if !below.is_empty() {
                for below in below {
                    self.bases(&below, depth + 1, found);
                }
            }
        }
        found.insert((block.name.clone(), partition.map(|p| p.kernel.number)));
        // A partition of a stacked device (a loop, a RAID) lies on what that device lies on.
        if partition.is_some()
            && depth < DEPTH_MAX
            && (!block.slaves.is_empty() || self.loops.contains_key(&block.name))
        {
            self.bases(&block.name.clone(), depth + 1, found);
        }
    }

    fn name_of(&self, dev: Dev) -> Option<String> {
        Sysfs::find(&self.blocks, dev)
            .map(|(block, partition)| partition.map_or_else(|| block.name.clone(), |p| p.name.clone()))
    }

    fn on(&self, dev: Dev, disk: &Block) -> Option<(String, Vec<Option<u32>>)> {
        let name = self.name_of(dev)?;
        let mut bases = BTreeSet::new();
        self.bases(&name, 0, &mut bases);
        let places: Vec<Option<u32>> = bases
            .into_iter()
            .filter(|(d, _)| *d == disk.name)
            .map(|(_, p)| p)
            .collect();
        (!places.is_empty()).then_some((name, places))
    }

    /// Whether the running system lies on this disk: not only on a medium that somebody mounted, but where live systems keep
    /// what they run from.
    pub fn is_booted_from(&self, disk: &Block) -> bool {
        let runs_from = |mount: &&Mount| is_boot_point(&mount.point);
        self.mounts.iter().filter(runs_from).any(|mount| {
            let dev = self.device_of(mount);
            dev.is_some_and(|dev| self.on(dev, disk).is_some())
        })
    }

    /// The device behind a mount, where it has one.
    fn device_of(&self, mount: &Mount) -> Option<Dev> {
        if mount.dev.0 == 0 {
            self.sources.get(&mount.source).copied()
        } else {
            Some(mount.dev)
        }
    }

    fn is_own_partition(disk: &Block, own: &Own, number: Option<u32>) -> bool {
        disk.partitions.iter().any(|p| {
            Some(p.kernel.number) == number && own.has(p.kernel.number, p.kernel.first_lba, p.kernel.sectors)
        })
    }

    /// Whether a device is one of this install's partitions, or its container, opened.
    fn is_own_device(&self, disk: &Block, own: &Own, name: &str) -> bool {
        match Sysfs::find_name(&self.blocks, name) {
            Some((block, Some(partition))) => {
                block.name == disk.name && Self::is_own_partition(disk, own, Some(partition.kernel.number))
            }
            Some((block, None)) => {
                let mapped = block.mapping.as_ref().is_some_and(|(_, uuid)| own.maps(uuid));
                let [slave] = block.slaves.as_slice() else {
                    return false;
                };
                mapped
                    && disk.partitions.iter().any(|p| p.name == *slave)
                    && self.is_own_device(disk, own, slave)
            }
            None => false,
        }
    }

    fn title(&self, name: &str) -> String {
        match Sysfs::find_name(&self.blocks, name).and_then(|(b, _)| b.mapping.as_ref()) {
            Some((mapping, _)) => format!("{name} ({mapping})"),
            None => name.to_owned(),
        }
    }

    /// How far a holder and all that stands upon it are above the disk, the longest way.
    fn heights(&self, holder: &str, height: usize, found: &mut BTreeMap<String, usize>) {
        if height >= DEPTH_MAX || found.get(holder).is_some_and(|known| *known >= height) {
            return;
        }
        found.insert(holder.to_owned(), height);
        if let Some((block, _)) = Sysfs::find_name(&self.blocks, holder) {
            let of_partitions = block.partitions.iter().flat_map(|p| &p.holders);
            for above in block.holders.iter().chain(of_partitions) {
                self.heights(above, height + 1, found);
            }
        }
    }

    /// The commands that take holders away: what stands upon others first, and a volume group behind all that stands upon any of
    /// its volumes.
    fn releases(&self, heights: &BTreeMap<String, usize>) -> Vec<String> {
        let mut commands: Vec<(String, usize)> = vec![];
        for (holder, height) in heights {
            let Some(command) = self.release(holder) else {
                continue;
            };
            match commands.iter_mut().find(|(known, _)| *known == command) {
                Some((_, lowest)) => *lowest = (*lowest).min(*height),
                None => commands.push((command, *height)),
            }
        }
        commands.sort_by_key(|(_, height)| std::cmp::Reverse(*height));
        commands.into_iter().map(|(command, _)| command).collect()
    }

    /// The command that takes a holder away, when nothing stands upon it any more.
    fn release(&self, holder: &str) -> Option<String> {
        let found = Sysfs::find_name(&self.blocks, holder).map(|(block, _)| block);
        Some(match found.and_then(|block| block.mapping.as_ref()) {
            Some((name, uuid)) if uuid.starts_with("LVM-") => {
                format!("vgchange --activate n {}", operand(&group(name)))
            }
            Some((name, uuid)) if uuid.starts_with("CRYPT-") => format!("cryptsetup close {}", operand(name)),
            Some((name, uuid)) if uuid.starts_with("mpath-") => format!("multipath -f {}", operand(name)),
            Some((name, _)) => format!("dmsetup remove {}", operand(name)),
            None if holder.starts_with("md") => format!("mdadm --stop /dev/{holder}"),
            None if holder.starts_with("bcache") => {
                format!("echo 1 > /sys/block/{holder}/bcache/stop")
            }
            None if holder.starts_with("drbd") => "drbdadm down all".to_owned(),
            None => return None,
        })
    }

    /// The commands that unmount these, in an order in which they work: what is mounted over one, or over a folder above it, and what
    /// is mounted below it, goes first, whatever it is of. `umount -R` takes the last mount at a place, and all below it.
    fn unmounts(&self, mounted: &[usize]) -> Vec<String> {
        let mut gone = vec![false; self.mounts.len()];
        let mut commands = vec![];
        for index in mounted.iter().rev() {
            self.unmount(*index, &mut gone, &mut commands);
        }
        commands
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "`gone` has an element for every mount, and `index` is that of one"
    )]
    fn unmount(&self, index: usize, gone: &mut [bool], commands: &mut Vec<String>) {
        let Some(point) = self.mounts.get(index).map(|mount| mount.point.as_str()) else {
            return;
        };
        // The list is in the order in which they were mounted; the root of all is not taken away.
        for later in (index + 1..self.mounts.len()).rev() {
            let over = &self.mounts[later].point;
            if !gone[later] && over != "/" && is_below(point, over) {
                self.unmount(later, gone, commands);
            }
        }
        if gone[index] {
            return;
        }
        let mut recursive = "";
        for (mount, gone) in self.mounts.iter().zip(gone.iter_mut()).skip(index + 1) {
            if !*gone && is_below(&mount.point, point) {
                *gone = true;
                recursive = " -R";
            }
        }
        gone[index] = true;
        commands.push(format!("umount{recursive} {}", operand(point)));
    }

    /// The uses of a disk. `signatures`: what is on the whole disk (`None`) and on each of its partitions.
    pub fn uses(&self, disk: &Block, own: &Own, signatures: &[(Option<u32>, Vec<Signature>)]) -> Uses {
        let mut seen = SeenUses {
            disk,
            uses: Uses::default(),
            explained: BTreeSet::new(),
        };
        let mounted = self.mounts_on(own, &mut seen);
        let mut first = self.swaps_on(own, &mut seen);
        self.holders_of(own, &mut seen);
        self.loops_on(&mut seen);
        let SeenUses {
            mut uses, explained, ..
        } = seen;
        uses.members = self.members(disk, signatures);
        self.unexplained(disk, &explained, signatures, &mut uses);
        uses.foreign_users.dedup();
        let mut seen = BTreeSet::new();
        uses.release.retain(|command| seen.insert(command.clone()));
        first.extend(self.unmounts(&mounted));
        uses.release.splice(0..0, first);
        uses
    }

    /// The mounts of what is on a disk. Those of others are given back, by their place in the list of mounts.
    fn mounts_on(&self, own: &Own, seen: &mut SeenUses<'_>) -> Vec<usize> {
        let disk = seen.disk;
        let mut mounted: Vec<usize> = vec![];
        for (index, mount) in self.mounts.iter().enumerate() {
            let Some((name, places)) = self.device_of(mount).and_then(|dev| self.on(dev, disk)) else {
                continue;
            };
            seen.explain(&places);
            let uses = &mut seen.uses;
            let where_ = places.iter().map(|p| place(*p)).collect::<Vec<_>>().join(", ");
            let line = format!("{where_} is mounted at {}", mount.point);
            let ours = is_below(&mount.point, MOUNT_ROOT) || is_below(&mount.point, RUN_DIR);
            if ours && self.is_own_device(disk, own, &name) {
                uses.own.push(line);
                continue;
            }
            if is_boot_point(&mount.point) || ["iso9660", "squashfs", "erofs"].contains(&mount.kind.as_str())
            {
                uses.boot.push(format!(
                    "this system runs from it ({where_} holds {})",
                    mount.point
                ));
            }
            uses.foreign_users.push(line);
            mounted.push(index);
        }
        mounted
    }

    /// The swap on a disk. The commands that end what others swap to are given back: they come before all others.
    fn swaps_on(&self, own: &Own, seen: &mut SeenUses<'_>) -> Vec<String> {
        let disk = seen.disk;
        let mut commands = vec![];
        for (shown, dev) in &self.swaps {
            if let Some((name, places)) = self.on(*dev, disk) {
                seen.explain(&places);
                let uses = &mut seen.uses;
                let line = format!("swap is on it ({shown})");
                let is_mapping = matches!(Sysfs::find_name(&self.blocks, &name), Some((_, None)));
                if is_mapping && self.is_own_device(disk, own, &name) {
                    uses.own.push(line);
                } else {
                    uses.foreign_users.push(line);
                    // A file that is swapped to keeps its filesystem mounted.
                    commands.push(format!("swapoff {}", operand(shown)));
                }
            }
        }
        commands
    }

    /// What holds a disk or its partitions: mappings and sets.
    fn holders_of(&self, own: &Own, seen: &mut SeenUses<'_>) {
        let disk = seen.disk;
        let all_holders = disk
            .partitions
            .iter()
            .map(|p| (Some(p.kernel.number), &p.holders))
            .chain([(None, &disk.holders)]);
        let mut heights = BTreeMap::new();
        for (number, holders) in all_holders {
            for holder in holders {
                seen.explain(&[number]);
                let uses = &mut seen.uses;
                let line = format!("{} is held by {}", place(number), self.title(holder));
                let above =
                    Sysfs::find_name(&self.blocks, holder).map_or(&[][..], |(b, _)| b.holders.as_slice());
                if self.is_own_device(disk, own, holder) && above.is_empty() {
                    uses.own.push(line);
                } else {
                    uses.foreign_users.push(line);
                    self.heights(holder, 0, &mut heights);
                }
            }
        }
        seen.uses.release.extend(self.releases(&heights));
    }

    /// Loop devices straight on a disk; one on a file shows as that file's mount.
    fn loops_on(&self, seen: &mut SeenUses<'_>) {
        let disk = seen.disk;
        for (name, dev) in &self.loops {
            if let Some((on, places)) = self.on(*dev, disk) {
                let whole_or_part = on == disk.name || disk.partitions.iter().any(|p| p.name == on);
                let mounted = self.mounts.iter().any(|m| m.dev == *dev);
                if whole_or_part && !mounted {
                    seen.explain(&places);
                    let uses = &mut seen.uses;
                    uses.foreign_users.push(format!(
                        "{name} is on {}",
                        place(places.first().copied().flatten())
                    ));
                    uses.release.push(format!("losetup --detach /dev/{name}"));
                }
            }
        }
    }

    /// What on the disk is a member of a set: by our own reader, and by lsblk.
    fn members(&self, disk: &Block, signatures: &[(Option<u32>, Vec<Signature>)]) -> Vec<String> {
        let mut members: Vec<String> = vec![];
        for (number, found) in signatures {
            for signature in found {
                let Some(member) = signature.member_of else {
                    continue;
                };
                let words = signature
                    .words
                    .as_ref()
                    .map_or(String::new(), |words| format!(" ({words})"));
                members.push(format!("{} is {member}{words}", place(*number)));
            }
        }
        for row in &self.lsblk {
            let number = disk
                .partitions
                .iter()
                .find(|p| p.name == row.name)
                .map(|p| p.kernel.number);
            if (row.name == disk.name || number.is_some())
                && let Some(member) = row.fstype.as_deref().and_then(membership)
            {
                let line = format!("{} is {member}", place(number));
                // Of ZFS our own reader knows better: lsblk counts what a former life left, and the labels at the end of the last
                // partition as the whole disk's.
                let seen = signatures
                    .iter()
                    .any(|(at, found)| *at == number && !found.is_empty());
                let divided = number.is_none() && signatures.iter().any(|(at, _)| at.is_some());
                let stale = row.fstype.as_deref() == Some("zfs_member") && (seen || divided);
                if !stale && !members.iter().any(|known| known.starts_with(&line)) {
                    members.push(line);
                }
            }
        }
        members
    }

    /// What the kernel reports as used, and nothing that can be seen explains.
    fn unexplained(
        &self,
        disk: &Block,
        explained: &BTreeSet<String>,
        signatures: &[(Option<u32>, Vec<Signature>)],
        uses: &mut Uses,
    ) {
        let unseen = |what: String| format!("the kernel reports that {what} is in use, {UNSEEN}");
        for partition in disk.partitions.iter().filter(|p| self.busy.contains(&p.name)) {
            if !explained.contains(&partition.name) {
                uses.foreign_users
                    .push(unseen(format!("partition {}", partition.kernel.number)));
                uses.release
                    .extend(pools(signatures, Some(partition.kernel.number)));
            }
        }
        let part_busy = disk.partitions.iter().any(|p| self.busy.contains(&p.name));
        if self.busy.contains(&disk.name) && !part_busy && !explained.contains(&disk.name) {
            uses.foreign_users.push(unseen("the disk".into()));
            uses.release.extend(pools(signatures, None));
        }
    }
}

/// How it ends where nobody can say who uses a disk.
pub const UNSEEN: &str = "by something that is not visible from here";

/// The volume group in the name of a mapping: `group-volume`, where a hyphen within either is written twice.
fn group(mapping: &str) -> String {
    let hidden = mapping.replace("--", "\0");
    hidden.split('-').next().unwrap_or(&hidden).replace('\0', "-")
}

/// The commands that end a pool's use of a place.
fn pools(signatures: &[(Option<u32>, Vec<Signature>)], number: Option<u32>) -> Vec<String> {
    let found = signatures
        .iter()
        .filter(|(at, _)| number.is_none() || *at == number);
    found
        .flat_map(|(_, found)| found)
        .filter(|s| s.kind == "zfs_member")
        .filter_map(|s| s.label.as_ref())
        .map(|pool| format!("zpool export {}", operand(pool)))
        .collect()
}

/// A name as an operand of a program on a shell's line: one that looks like an option is none.
fn operand(name: &str) -> String {
    let quoted = shell(name);
    if name.starts_with('-') {
        format!("-- '{}'", name.replace('\'', "'\\''"))
    } else if quoted == name {
        quoted
    } else {
        format!("-- {quoted}")
    }
}

/// An option with its value, as a shell reads them. A value that begins with a hyphen is joined to it.
pub(crate) fn option_word(option: &str, value: &str) -> String {
    let sign = if value.starts_with('-') { '=' } else { ' ' };
    format!("{option}{sign}{}", shell(value))
}

/// A word as a shell takes it.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // What a terminal would not show is written out, so that the command can be copied from it.
    if word.chars().any(char::is_control) {
        let mut text = String::from("$'");
        for c in word.chars() {
            match c {
                '\'' | '\\' => text.extend(['\\', c]),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        text.push('\'');
        return text;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn is_below(point: &str, dir: &str) -> bool {
    point == dir || point.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// Where live systems keep what they run from.
fn is_boot_point(point: &str) -> bool {
    ["/", "/iso", "/boot", "/nix", "/cdrom", "/usr"].contains(&point)
        || [
            "/iso",
            "/nix",
            "/run/initramfs",
            "/run/rootfsbase",
            "/run/live",
            "/run/archiso",
            "/lib/live",
            "/sysroot",
        ]
        .iter()
        .any(|dir| is_below(point, dir))
}

/// A partition, or the disk itself, in words.
fn place(number: Option<u32>) -> String {
    number.map_or("the disk".to_owned(), |n| format!("partition {n}"))
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
