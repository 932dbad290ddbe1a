//! Decides which disks count as sticks, and why others do not.
//!
//! A stick is attached over USB, is an SD card, or is a SCSI medium that reports itself as removable. USB disks that report
//! themselves as fixed are sticks, too. A disk that is in use, or that the running system is on, is never a stick. A fixed disk, or
//! one larger than a stick, can be written only if it is named by a name that is unique to it.
//!
//! `real::disk::scan` reads the disks, `cli::flash` asks.

use crate::real::disk::amount::size;
use crate::real::disk::kind::no_disk;
use crate::real::disk::named::{self, Named};
use crate::real::disk::sysfs::Block;
use crate::real::disk::usage::{Machine, Own};
use landfall_states::plan::DiskIdentity;
use serde::Serialize;

/// Sticks are not larger; what is may be somebody's disk of backups.
pub const LARGE_BYTES: u64 = 256 << 30;

/// Whether a disk may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may, when somebody says yes.
    Stick,
    /// It may, when somebody types its name: why.
    Named(Vec<String>),
    /// It may not.
    Never {
        /// Why.
        reasons: Vec<String>,
        /// The commands that would free it.
        release: Vec<String>,
        /// Whether the running system is on it.
        is_systems: bool,
    },
}

/// A disk, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The kernel's entry.
    pub block: Block,
    /// The name that can be no other disk's.
    pub name: Option<String>,
    /// What is seen on it, one line each.
    pub holds: Vec<String>,
    /// Whether it may be written.
    pub standing: Standing,
}

/// A disk, for `landfall flash --json`.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    #[serde(rename = "device")]
    device: String,
    #[serde(rename = "model")]
    model: Option<&'a str>,
    #[serde(rename = "serial")]
    serial: Option<&'a str>,
    #[serde(rename = "name")]
    name: Option<&'a str>,
    #[serde(rename = "size_bytes")]
    size_bytes: u64,
    #[serde(rename = "sector_bytes")]
    sector_bytes: u32,
    #[serde(rename = "transport")]
    transport: &'a str,
    #[serde(rename = "removable")]
    removable: bool,
    #[serde(rename = "holds")]
    holds: &'a [String],
    #[serde(rename = "standing")]
    standing: &'static str,
    #[serde(rename = "reasons")]
    reasons: &'a [String],
    #[serde(rename = "release")]
    release: &'a [String],
}

impl Judged {
    /// Its device and what it is, for people.
    pub fn shown(&self) -> String {
        let Block { model, identity, .. } = &self.block;
        let model = model
            .as_deref()
            .map_or(String::new(), |model| format!("{model}, "));
        let name = match &self.block.loop_file {
            Some(file) => format!("file {file}"),
            None => identity.name(),
        };
        format!(
            "{} ({model}{}, {name})",
            self.block.device(),
            size(identity.size_bytes)
        )
    }

    /// What is said of it to programs.
    pub fn told(&self) -> Told<'_> {
        let (standing, reasons, release) = match &self.standing {
            Standing::Stick => ("stick", &[][..], &[][..]),
            Standing::Named(reasons) => ("named", reasons.as_slice(), &[][..]),
            Standing::Never { reasons, release, .. } => ("never", reasons.as_slice(), release.as_slice()),
        };
        let identity = &self.block.identity;
        Told {
            device: self.block.device(),
            model: self.block.model.as_deref(),
            serial: identity.serial.as_deref(),
            name: self.name.as_deref(),
            size_bytes: identity.size_bytes,
            sector_bytes: identity.sector_bytes,
            transport: self.block.transport,
            removable: self.block.removable,
            holds: &self.holds,
            standing,
            reasons,
            release,
        }
    }

    /// What it is known by: a loop device, which has no name of its own, by the file behind it.
    pub fn identity(&self) -> DiskIdentity {
        let identity = self.block.identity.clone();
        match &self.block.loop_file {
            Some(file) => DiskIdentity {
                path: Some(file.clone()),
                ..identity
            },
            None => identity,
        }
    }
}

/// Whether a disk is one that people call a stick, by where it is attached.
fn is_stick(block: &Block) -> bool {
    match (block.transport, block.removable) {
        ("usb" | "sd", _) => true,
        // SCSI has a bit of its own for media; a SATA port of which the firmware says that disks may be changed in it sets the
        // kernel's flag as well, and holds disks.
        ("scsi", removable) => removable,
        // A file stands for it.
        _ => block.loop_file.is_some(),
    }
}

/// Every whole disk of this machine, judged; sticks first.
pub fn all(machine: &Machine, links: &[(String, (u32, u32))]) -> Vec<Judged> {
    let names: Vec<Named> = names(machine, links);
    let is_disk = |block: &&Block| no_disk(block).is_none();
    let mut found: Vec<Judged> = machine
        .blocks
        .iter()
        .filter(is_disk)
        .map(|block| judge(machine, block, &names))
        .collect();
    let rank = |judged: &Judged| match judged.standing {
        Standing::Stick => 0,
        Standing::Named(_) => 1,
        Standing::Never { .. } => 2,
    };
    found.sort_by_key(rank);
    found
}

/// The disks, as names see them.
pub fn names(machine: &Machine, links: &[(String, (u32, u32))]) -> Vec<Named> {
    let disks = machine.blocks.iter().filter(|block| no_disk(block).is_none());
    disks.map(|block| Named::of(block, links)).collect()
}

/// Whether one may be written. Pure.
pub fn judge(machine: &Machine, block: &Block, names: &[Named]) -> Judged {
    let device = block.device();
    let name = names
        .iter()
        .position(|named| named.device == device)
        .and_then(|index| named::name_for(index, names));
    Judged {
        block: block.clone(),
        name,
        holds: holds(machine, block),
        standing: standing(machine, block),
    }
}

/// What else has the bytes of a loop device: the kernel says nothing of that device's use.
fn another_behind(machine: &Machine, block: &Block) -> Option<String> {
    let file = block.loop_file.as_deref()?;
    // A mapping has its disk for itself; what is in shared memory is a file.
    let is_other = ["/dev/shm/", "/dev/dm-", "/dev/mapper/"]
        .iter()
        .all(|kind| !file.starts_with(kind));
    if file.starts_with("/dev/") && is_other {
        return Some(format!("its data is in {file}: name that disk itself"));
    }
    let same = |other: &&Block| other.name != block.name && other.loop_file.as_deref() == Some(file);
    let other = machine.blocks.iter().find(same)?;
    Some(format!(
        "{} uses the same file: losetup -d one of them",
        other.device()
    ))
}

fn standing(machine: &Machine, block: &Block) -> Standing {
    let uses = machine.uses(block, &Own::default(), &[]);
    let mut reasons: Vec<String> = uses.boot.clone();
    let is_systems = !uses.boot.is_empty() || holds_root(machine, block);
    reasons.extend(uses.foreign_users);
    match no_disk(block) {
        Some("a loop device") if block.loop_file.is_some() => {}
        Some(kind) => reasons.push(format!("it is {kind}, not a stick")),
        None => {}
    }
    reasons.extend(another_behind(machine, block));
    if block.identity.size_bytes == 0 && block.loop_file.is_none() {
        reasons.push("it has no medium".into());
    }
    if block.read_only {
        reasons.push("it is write-protected (cards and some sticks have a switch for that)".into());
    }
    if ![512, 4096].contains(&block.identity.sector_bytes) {
        reasons.push(format!(
            "its sector size is {} bytes",
            block.identity.sector_bytes
        ));
    }
    if let Some(network) = block.network {
        reasons.push(format!(
            "it is on a network ({network}): another machine may be using it"
        ));
    }
    let same = |other: &&Block| {
        other.identity == block.identity
            && other.identity.is_nameable()
            && other.name != block.name
            && no_disk(other).is_none()
    };
    if block.loop_file.is_none()
        && let Some(other) = machine.blocks.iter().find(same)
    {
        reasons.push(format!(
            "{} reports the same identity: unplug one of them",
            other.device()
        ));
    }
    if !reasons.is_empty() {
        return Standing::Never {
            reasons,
            // What the system runs from cannot be freed.
            release: if is_systems { vec![] } else { uses.release },
            is_systems,
        };
    }
    let mut named = vec![];
    if !is_stick(block) {
        named.push(format!(
            "it is a fixed disk ({}{})",
            block.transport,
            if block.removable {
                ", in a bay that the kernel reports as removable"
            } else {
                ""
            }
        ));
    }
    if block.identity.size_bytes > LARGE_BYTES {
        named.push(format!(
            "it has {}, which is larger than a stick",
            size(block.identity.size_bytes)
        ));
    }
    if named.is_empty() {
        Standing::Stick
    } else {
        Standing::Named(named)
    }
}

/// Where a running system keeps itself.
const SYSTEM: [&str; 7] = ["/", "/boot", "/boot/efi", "/efi", "/nix", "/nix/store", "/usr"];

/// Whether the running system is on a disk: one of its own places is.
fn holds_root(machine: &Machine, block: &Block) -> bool {
    let mut of_system = Machine {
        swaps: vec![],
        ..machine.clone()
    };
    of_system.busy.clear();
    of_system
        .mounts
        .retain(|mount| SYSTEM.contains(&mount.point.as_str()));
    let mounted = " is mounted at ";
    let uses = of_system.uses(block, &Own::default(), &[]);
    uses.foreign_users.iter().any(|line| line.contains(mounted))
}

/// What lsblk sees on a disk.
fn holds(machine: &Machine, block: &Block) -> Vec<String> {
    let mut lines = vec![];
    for row in &machine.lsblk {
        if row.name != block.name && row.above.first() != Some(&block.name) {
            continue;
        }
        let Some(kind) = row.fstype.as_ref().or(row.pttype.as_ref()) else {
            continue;
        };
        let label = row
            .label
            .as_deref()
            .map_or(String::new(), |label| format!(" {label}"));
        let place = if row.name == block.name {
            "whole"
        } else {
            &row.name
        };
        lines.push(format!("{place}: {kind}{label}"));
    }
    lines
}
