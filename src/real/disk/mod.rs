//! Disks: which there are, which one may be written, and the chosen one, open and locked.
//!
//! A disk is named by its identity, not by a kernel name or a label. A disk that could belong to others is left alone. In
//! doubt, a person is asked.
//!
//! | file | what it knows |
//! |---|---|
//! | `proc`, `lsblk`, `efi`, `signature`, `extent` | formats: pure parsers |
//! | `attributes` | attributes of the kernel, as texts |
//! | `sysfs` | block devices as the kernel shows them, and their identity |
//! | `blank` | whether a device has only blank bytes |
//! | `partitions`, `outside`, `loader` | where partitions lie; what is in none of them; code of boot loaders there |
//! | `members` | what parts of LVM, md and ZFS say about the whole |
//! | `contents` | what is on a disk, by all sources |
//! | `named` | which disk a name means, and whether it may agree to an erasure |
//! | `place` | bus addresses |
//! | `amount` | sizes as text |
//! | `scan` | looking at all of it, bounded, without writing |
//! | `disk_image` | the same for an image of a disk |
//! | `known_ids` | the plans that this configuration can have had for a disk |
//! | `key_media` | which medium with keys is trusted, and for what |
//! | `labels` | planned labels that other disks have too |
//! | `kind` | objections to a disk because of its kind |
//! | `other_system` | whether a disk clearly belongs to another system |
//! | `controllers` | those whose disks are not visible |
//! | `usage` | who uses a disk: pure |
//! | `select` | which disk: pure |
//! | `locked`, `disk_lock` | the confirmed disk, open and locked; the lock for a whole run |
//!
//! `table` writes tables, `volume` filesystems, and `mount` mounts.

pub mod amount;
mod attributes;
pub mod blank;
pub mod contents;
pub mod controllers;
pub mod disk_image;
pub mod disk_lock;
pub mod efi;
mod extent;
pub mod key_media;
pub mod kind;
pub mod known_ids;
pub mod labels;
pub mod loader;
pub mod locked;
pub mod lsblk;
pub mod members;
pub mod named;
pub mod other_system;
pub mod outside;
pub mod partitions;
pub mod place;
pub mod proc;
pub mod scan;
pub mod select;
pub mod signature;
pub mod sysfs;
mod unlisted;
pub mod usage;

pub(crate) use crate::os_error::errno as os_code;
pub use locked::HeldDisk;
pub use sysfs::Sysfs;

use crate::config::Config;
use crate::event::Reporter;
use crate::os_error;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io;
use crate::real::volume::slots;
use camino::Utf8Path;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::fault::{DeviceFault, Fault};
use landfall_states::plan::DiskIdentity;
use landfall_states::recovery::DiskEvidence;
use scan::{Looked, ScanResult};
use select::{Choice, Facts, Wanted};
use serde::Serialize;
use std::io;

/// A disk, for `landfall disks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// Kernel name now.
    pub device: String,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World Wide Name.
    pub wwn: Option<String>,
    /// Bus address; only where it is all the identity the disk has. `lun …`: the unit, where the number is that of a device of several.
    pub path: Option<String>,
    /// The name by which it can be named, and by which its erasure can be agreed to in advance.
    pub name: Option<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Logical sector size in bytes.
    pub sector_bytes: u32,
    /// `usb`, `nvme`, `virtio`, `sata`, `mmc`, `sd`, `scsi`, `virtual`.
    pub transport: String,
    /// Whether the kernel says that it is removable.
    pub removable: bool,
    /// What is on it, one line each.
    pub contents: Vec<String>,
    /// What a former run of this very install left attached, one line each.
    pub own_use: Vec<String>,
    /// Whether it can be a target without being named; if not, why.
    pub candidate: Result<(), Vec<String>>,
    /// Whether it can be a target when it is named.
    pub can_be_named: bool,
    /// Why it would be chosen, if it would be.
    pub chosen: Option<String>,
}

/// Opens a device or an attribute. Not through fs-err: the number of the error decides what it means (EIO, EBUSY,
/// ENXIO), and fs-err hides it. The caller's fault names the device.
pub(crate) fn open(path: &Utf8Path, flags: nix::fcntl::OFlag) -> io::Result<std::fs::File> {
    use nix::fcntl::OFlag;
    let descriptor = nix::fcntl::open(
        path.as_std_path(),
        flags | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    Ok(descriptor.into())
}

/// What an error of the operating system means for an install.
pub fn io_fault(what: impl Into<String>, doing: &str, error: &io::Error) -> Fault {
    os_error::fault_in(what, Some(doing), error)
}

/// What somebody named: `INSTALL_DISK`, else the configuration.
fn wanted(
    install_disk: Option<&Utf8Path>,
    config: Option<&Config>,
    disks: &[Looked],
) -> Result<Option<Wanted>, Fault> {
    let Some(given) = install_disk else {
        let name = config.and_then(|c| c.unattended.disk.clone());
        return Ok(name.map(Wanted::InAdvance));
    };
    let bad = |why: String| {
        Fault::from(DeviceFault::NotADisk {
            given: format!("INSTALL_DISK={given}"),
            reason: why,
        })
    };
    let named: Vec<Facts> = disks.iter().map(|d| d.facts.clone()).collect();
    match named::meaning(given.as_str(), &select::all_named(&named)) {
        named::Meaning::One(index, _) => {
            return Ok(Some(Wanted::Device {
                given: given.to_string(),
                index,
            }));
        }
        named::Meaning::Several(_) => return Ok(Some(Wanted::Name(given.to_string()))),
        // Any other node or link below /dev is followed.
        named::Meaning::Nothing => {}
    }
    let dev = match sysfs::device_number(given) {
        Ok(Some(dev)) => dev,
        Ok(None) => return Err(bad("it is not a block device".into())),
        // A link of those that name disks: the answer lists the names that there are.
        Err(e) if e.kind() == io::ErrorKind::NotFound && given.starts_with("/dev/disk") => {
            return Ok(Some(Wanted::Name(given.to_string())));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(bad("it is not there".into())),
        Err(e) => return Err(io_fault(format!("INSTALL_DISK={given}"), "look at it", &e)),
    };
    if let Some(index) = disks.iter().position(|d| d.block.dev == dev) {
        return Ok(Some(Wanted::Device {
            given: given.to_string(),
            index,
        }));
    }
    let blocks: Vec<sysfs::Block> = disks.iter().map(|d| d.block.clone()).collect();
    if let Some((disk, Some(partition))) = Sysfs::find(&blocks, dev) {
        return Err(bad(format!(
            "it is partition {} of {}",
            partition.kernel.number,
            disk.device()
        )));
    }
    let all = Sysfs::real()
        .blocks()
        .map_err(|e| io_fault("block devices", "list them", &e))?;
    let kind = Sysfs::find(&all, dev)
        .and_then(|(block, _)| kind::no_disk(block))
        .unwrap_or("no disk");
    Err(bad(format!("it is {kind}")))
}

pub(crate) fn choose(
    gathered: &ScanResult,
    install_disk: Option<&Utf8Path>,
    config: Option<&Config>,
) -> Result<Choice, Fault> {
    let facts: Vec<Facts> = gathered.disks.iter().map(|d| d.facts.clone()).collect();
    let wanted = wanted(install_disk, config, &gathered.disks)?;
    let chosen = select::select(&facts, wanted.as_ref(), &gathered.firmware);
    let inside = |disk: &Looked| !["usb", "sd", "virtual"].contains(&disk.block.transport);
    match chosen {
        Err(fault) if !gathered.hidden.is_empty() && !gathered.disks.iter().any(inside) => {
            Err(controllers::explain(fault, &gathered.hidden))
        }
        chosen => chosen,
    }
}

/// A disk counts when it can be a target (being named, if need be), or when something of landfall is on it.
pub fn is_evidence(disk: &Looked) -> bool {
    let slots = disk.contents.as_ref().is_ok_and(|c| {
        c.slots
            .bytes
            .iter()
            .flatten()
            .any(|s| s.starts_with(slots::MAGIC))
    });
    disk.facts.never.is_empty() || slots || !disk.uses.own.is_empty()
}

pub(crate) fn evidence(disk: &Looked) -> Option<DiskEvidence> {
    let contents = disk.contents.as_ref().ok()?;
    Some(DiskEvidence {
        disk: disk.block.identity.clone(),
        device: disk.block.device(),
        primary: contents.on_disk.primary.clone(),
        backup: contents.on_disk.backup.clone(),
        slots: contents.slots.bytes.clone(),
        slots_scanned: contents.slots.unreadable.is_some(),
    })
}

/// Makes durable what every disk with this identity was given, without holding any of them: the system on it may be running.
///
/// # Errors
/// A disk reports an error.
pub fn flush(identity: &DiskIdentity) -> Result<(), Fault> {
    let blocks = Sysfs::real().blocks().map_err(|e| {
        io_fault(
            format!("disk {}", identity.name()),
            "look for it among the block devices",
            &e,
        )
    })?;
    for disk in blocks.iter().filter(|b| b.identity == *identity && !b.hidden) {
        // A partition's node has a cache of its own; the disk comes last, whose flush is for all of it.
        for partition in &disk.partitions {
            block_io::flush(Utf8Path::new(&sysfs::device(&partition.name)))?;
        }
        block_io::flush(Utf8Path::new(&disk.device()))?;
    }
    Ok(())
}

/// Every disk with what speaks for and against it, and why the choice could not be made, if it could not.
///
/// # Errors
/// The machine's disks cannot be looked at.
pub async fn report(
    config: Option<&Config>,
    install_disk: Option<&Utf8Path>,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(Vec<DiskReport>, Option<Fault>), Fault> {
    let gathered = scan::gather(config, reporter, stop).await?;
    Ok(reports(&gathered, config, install_disk))
}

/// The same of what was gathered before. Pure, but for a name in `install_disk` that is no disk's.
pub fn reports(
    gathered: &ScanResult,
    config: Option<&Config>,
    install_disk: Option<&Utf8Path>,
) -> (Vec<DiskReport>, Option<Fault>) {
    let choice = choose(gathered, install_disk, config);
    let facts: Vec<Facts> = gathered.disks.iter().map(|d| d.facts.clone()).collect();
    let names = select::all_named(&facts);
    let reports = gathered.disks.iter().enumerate().map(|(index, disk)| {
        let (never, unless_named) = select::objections(&disk.facts, &gathered.firmware);
        let can_be_named = never.is_empty();
        let reasons: Vec<String> = never.into_iter().chain(unless_named).collect();
        let identity = &disk.block.identity;
        DiskReport {
            device: disk.block.device(),
            model: disk.block.model.clone(),
            serial: identity.serial.clone(),
            wwn: identity.wwn.clone(),
            path: identity.path.clone(),
            name: named::name_for(index, &names),
            size_bytes: identity.size_bytes,
            sector_bytes: identity.sector_bytes,
            transport: disk.block.transport.to_owned(),
            removable: disk.block.removable,
            contents: match &disk.contents {
                Ok(contents) => contents.lines.clone(),
                Err(why) => vec![format!("cannot be read: {why}")],
            },
            own_use: disk.uses.own.clone(),
            candidate: if reasons.is_empty() { Ok(()) } else { Err(reasons) },
            can_be_named,
            chosen: choice
                .as_ref()
                .ok()
                .filter(|c| c.index == index)
                .map(|c| c.why.clone()),
        }
    });
    (reports.collect(), choice.as_ref().err().cloned())
}

/// Whether a copy of the table is there at all.
pub fn is_there(copy: &GptCopy) -> bool {
    match copy {
        GptCopy::Absent => false,
        GptCopy::Damaged(_) | GptCopy::Complete(_) => true,
    }
}
