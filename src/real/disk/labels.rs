//! Planned labels that other disks have too.
//!
//! The installed system finds its filesystems by label (`/dev/disk/by-label`, `by-partlabel`), and the last device that was
//! found wins. So no other attached disk may have a planned label when landfall writes, and no install is finished that could
//! mount the root of an older disk. The installer's own medium is ignored: it is removed before the first boot.
//!
//! `scan` reads the labels.

use super::contents::Contents;
use super::lsblk::Row;
use super::sysfs::{Block, device};
use crate::real::disk::scan::ScanResult;
use landfall_states::fault::{DeviceFault, Fault};
use landfall_states::names::quoted;
use landfall_states::plan::{DiskIdentity, Plan};
use std::fmt;

/// The two sets of names that udev makes links of. They do not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Of filesystems, swap and LUKS headers.
    Filesystem,
    /// Of partitions.
    Partition,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Filesystem => "label",
            Space::Partition => "partition label",
        })
    }
}

/// A label, and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The disk that it lies on.
    pub disk: DiskIdentity,
    /// Which kind of name it is.
    pub space: Space,
    /// The label.
    pub label: String,
    /// The device that bears it, for people.
    pub place: String,
}

/// Every label on every disk but the installer's own medium.
pub fn seen(gathered: &ScanResult) -> Vec<Seen> {
    let disks = gathered.disks.iter().filter(|looked| looked.uses.boot.is_empty());
    disks
        .filter_map(|looked| Some((looked, looked.contents.as_ref().ok()?)))
        .flat_map(|(looked, contents)| on_disk(&looked.block, contents, &gathered.rows))
        .collect()
}

/// Every label on one disk.
fn on_disk(block: &Block, contents: &Contents, rows: &[Row]) -> Vec<Seen> {
    let disk = block.device();
    let mut found: Vec<Seen> = Vec::new();
    let mut add = |space, label: &str, place: &str, kind: &str| {
        let seen = Seen {
            disk: block.identity.clone(),
            space,
            label: label.to_owned(),
            place: format!("{place} ({kind}) on {}", block.identity.name()),
        };
        if !label.is_empty() && !found.contains(&seen) {
            found.push(seen);
        }
    };
    let name_of = |number: u32| {
        let known = block.partitions.iter().find(|p| p.kernel.number == number);
        known.map_or_else(
            || format!("partition {number} of {disk}"),
            |partition| device(&partition.name),
        )
    };
    for (number, signatures) in &contents.signatures {
        let place = number.map_or_else(|| disk.clone(), name_of);
        for signature in signatures {
            if let Some(label) = &signature.label {
                add(Space::Filesystem, label, &place, &signature.kind);
            }
        }
    }
    for entry in contents.on_disk.table().map_or(&[][..], |table| &table.entries) {
        add(Space::Partition, &entry.name, &name_of(entry.number), "partition");
    }
    // What lsblk knows and the reader of signatures does not: other filesystems, and volumes that are stacked upon it.
    let here = |row: &&Row| row.above.first().unwrap_or(&row.name) == &block.name;
    for row in rows.iter().filter(here) {
        if let Some(label) = &row.label {
            let kind = row.fstype.as_deref().unwrap_or(&row.kind);
            add(Space::Filesystem, label, &device(&row.name), kind);
        }
    }
    found
}

/// Refuses labels of the plan that another disk than the plan's has.
///
/// # Errors
/// Another disk has one of them, or the disks cannot be looked at.
pub fn check(plan: &Plan, seen: &[Seen]) -> Result<(), Fault> {
    let volumes = [
        ("the ESP", Some(&plan.esp)),
        ("the LUKS container", plan.luks.as_ref()),
        ("root", Some(&plan.root)),
        ("swap", plan.swap.as_ref()),
    ];
    let filesystems = volumes
        .into_iter()
        .filter_map(|(what, volume)| Some((Space::Filesystem, what.to_owned(), volume?.label.as_str())));
    let partitions = plan.table.entries.iter().map(|entry| {
        (
            Space::Partition,
            format!("partition {}", entry.number),
            entry.name.as_str(),
        )
    });
    let planned: Vec<(Space, String, &str)> = filesystems.chain(partitions).collect();
    let mut taken = Vec::new();
    for other in seen.iter().filter(|other| other.disk != plan.disk) {
        for (space, what, label) in &planned {
            if *space == other.space && *label == other.label {
                taken.push(format!(
                    "{space} {}, planned for {what}: {}",
                    quoted(label),
                    other.place
                ));
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(DeviceFault::LabelsTaken {
        disk: plan.disk.name(),
        labels: taken,
    }
    .into())
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
