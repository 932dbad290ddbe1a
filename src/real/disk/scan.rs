//! Looks at the machine's disks. Nothing is written or mounted, and every read is bounded. What cannot be read is reported, not left
//! out.
//!
//! `select` and `usage` decide.

use super::amount;
use super::contents::{self, Contents};
use super::kind::no_disk;
use super::named::{self, Named};
use super::proc::{BootMedium, Dev, Mount, parse_cmdline, parse_mountinfo, parse_swaps};
use super::sysfs::{Block, Sysfs, device, device_number};
use super::usage::{Machine, Own, Uses};
use super::{controllers, efi, io_fault, kind, lsblk, open, os_code, other_system, select};
use crate::config::Config;
use crate::event::Reporter;
use crate::os_error;
use crate::real::disk::known_ids;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::table::gpt;
use camino::Utf8Path;
use landfall_states::fault::{Fault, FaultClass, MachineFault, Remedy};
use landfall_states::names::quoted;
use landfall_states::plan::{DiskIdentity, Plan, TYPE_ESP};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// After it, whoever only looked has let go.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// Smallest disk that is offered: a smaller one is part of a phone, a board or a disk array.
const SIZE_MIN: u64 = 100 << 20;

/// One disk, looked at.
#[derive(Debug, Clone)]
pub struct Looked {
    /// The kernel's entry.
    pub block: Block,
    /// What is on it, or why it cannot be read.
    pub contents: Result<Contents, String>,
    /// Who uses it.
    pub uses: Uses,
    /// For the choice.
    pub facts: select::Facts,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct ScanResult {
    /// Every whole disk.
    pub disks: Vec<Looked>,
    /// What the firmware says.
    pub firmware: efi::Firmware,
    /// lsblk's view of everything.
    pub rows: Vec<lsblk::Row>,
    /// Controllers whose disks are not to be seen, one line each.
    pub hidden: Vec<String>,
}

/// The kernel's lists of what is used, and lsblk's view.
/// # Errors
/// A list of the kernel's cannot be read, or `lsblk` fails.
pub async fn machine(sysfs: &Sysfs, reporter: &Reporter, stop: &Stop) -> Result<Machine, Fault> {
    let mut machine = Machine {
        lsblk: rows(reporter, stop).await?,
        mounts: mounts(sysfs)?,
        ..Machine::default()
    };
    let swaps = sysfs
        .text("proc/swaps")
        .map_err(|e| io_fault("list of swap", "read it", &e))?
        .unwrap_or_default();
    let blocks = sysfs
        .blocks()
        .map_err(|e| io_fault("block devices", "list them", &e))?;
    for mount in machine
        .mounts
        .iter()
        .filter(|m| m.dev.0 == 0 && m.source.starts_with("/dev/"))
    {
        // A name that leads nowhere any more, as of a device that is gone, adds nothing to the mount's own number.
        let dev = device_number(Utf8Path::new(&mount.source)).unwrap_or_default();
        if let Some(dev) = dev {
            machine.sources.insert(mount.source.clone(), dev);
        }
    }
    machine.swaps = swapped_to(&swaps);
    for block in &blocks {
        if block.loop_file.is_some()
            && let Some(dev) = behind_loop(block)
        {
            machine.loops.insert(block.name.clone(), dev);
        }
        if block.identity.size_bytes == 0
            || matches!(no_disk(block), Some("an optical drive" | "a floppy drive"))
        {
            continue;
        }
        for name in block.partitions.iter().map(|p| &p.name).chain([&block.name]) {
            if is_busy(&device(name)) {
                machine.busy.insert(name.clone());
            }
        }
    }
    // Another program that looks as this one does has a disk for an instant, too.
    if !machine.busy.is_empty() {
        std::thread::sleep(LOOK_AGAIN);
        machine.busy.retain(|name| is_busy(&device(name)));
    }
    machine.blocks = blocks;
    Ok(machine)
}

/// What lsblk says of every block device.
async fn rows(reporter: &Reporter, stop: &Stop) -> Result<Vec<lsblk::Row>, Fault> {
    let ended = Program::that_looks("lsblk")
        .args(lsblk::ARGS)
        .run(reporter, stop)
        .await?;
    // 32: none of the devices was found; 64: some were not. Neither is trouble: devices come and go.
    if !matches!(ended.code, Some(0 | 32 | 64)) {
        return Err(Fault::program(
            FaultClass::Transient,
            "list of disks",
            ended.how(),
            Remedy::resume(),
        ));
    }
    lsblk::parse(&ended.stdout).map_err(|why| {
        Fault::of(
            MachineFault::OutputUnknown {
                on: "list of disks".into(),
                program: "lsblk".into(),
                reason: why.to_string(),
                line: None,
            },
            Remedy::change("install util-linux 2.33 or newer"),
        )
    })
}

/// The kernel's table of mounts.
fn mounts(sysfs: &Sysfs) -> Result<Vec<Mount>, Fault> {
    let text = sysfs
        .text("proc/self/mountinfo")
        .map_err(|e| io_fault("list of mounts", "read it", &e))?
        .ok_or_else(|| {
            Fault::from(MachineFault::FileMissing {
                on: "list of mounts".into(),
                path: "/proc/self/mountinfo".into(),
            })
        })?;
    parse_mountinfo(&text).map_err(|why| {
        MachineFault::OutputUnknown {
            on: "list of mounts".into(),
            program: "/proc/self/mountinfo".into(),
            reason: why,
            line: None,
        }
        .into()
    })
}

/// What is swapped to, with the device that it is on.
fn swapped_to(text: &str) -> Vec<(String, Dev)> {
    let mut found = vec![];
    for swap in parse_swaps(text) {
        let path = Utf8Path::new(&swap);
        let dev = match device_number(path) {
            Ok(Some(dev)) => Some(dev),
            // A swap file: its filesystem's device.
            Ok(None) => match fs_err::metadata(path) {
                Ok(metadata) => Some(split(metadata.dev())),
                Err(_) => None,
            },
            Err(_) => None,
        };
        match dev {
            Some(dev) => found.push((swap, dev)),
            // The exclusive open finds the disk all the same.
            None => tracing::warn!(swap, "swap on something that cannot be examined"),
        }
    }
    found
}

fn split(dev: u64) -> Dev {
    let part = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    (part(nix::sys::stat::major(dev)), part(nix::sys::stat::minor(dev)))
}

/// Whether the kernel refuses the device exclusively. A device that cannot be opened at all is not busy but shows so
/// when it is read.
fn is_busy(path: &str) -> bool {
    match open(
        Utf8Path::new(path),
        OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_NONBLOCK,
    ) {
        Ok(_) => false,
        Err(e) => os_code(&e) == Some(nix::libc::EBUSY),
    }
}

/// The device that holds a loop device's file, asked from the kernel: the path may be hidden or gone.
fn behind_loop(block: &Block) -> Option<Dev> {
    use std::os::fd::AsRawFd;
    let file = match open(
        Utf8Path::new(&block.device()),
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
    ) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(%error, "loop device");
            return None;
        }
    };
    let mut info = loop_ioctl::Info64 {
        device: 0,
        inode: 0,
        rdevice: 0,
        rest: [0; 208],
    };
    // SAFETY: the structure has the size of linux/loop.h's loop_info64 and outlives the call.
    match unsafe { loop_ioctl::get_status64(file.as_raw_fd(), &raw mut info) } {
        // The kernel fills in its own encoding of device numbers (huge_encode_dev), which is glibc's for these bits.
        Ok(_) => Some(split(if info.rdevice != 0 {
            info.rdevice
        } else {
            info.device
        })),
        Err(errno) => {
            tracing::warn!(%errno, loop_device = %block.name, "LOOP_GET_STATUS64");
            None
        }
    }
}

/// linux/loop.h.
mod loop_ioctl {
    #[repr(C)]
    pub(crate) struct Info64 {
        pub device: u64,
        pub inode: u64,
        pub rdevice: u64,
        pub rest: [u8; 208],
    }
    nix::ioctl_read_bad!(get_status64, 0x4C05, Info64);
}

/// Whether the kernel shows its devices: without it no disk is seen, which would be told as "there is none".
fn shows_devices(sysfs: &Sysfs) -> Result<(), Fault> {
    if sysfs.at("sys/block").is_dir() {
        return Ok(());
    }
    Err(Fault::of(
        MachineFault::FileMissing {
            on: "list of disks".into(),
            path: "/sys/block".into(),
        },
        Remedy::change_and_install("mount -t sysfs sysfs /sys"),
    ))
}

/// Looks at everything.
/// # Errors
/// As [`machine`]; two disks say that they are the same one.
pub async fn gather(config: Option<&Config>, reporter: &Reporter, stop: &Stop) -> Result<ScanResult, Fault> {
    let sysfs = Sysfs::real();
    shows_devices(&sysfs)?;
    crate::real::disk::locked::settle(&sysfs, reporter, stop).await?;
    let machine = machine(&sysfs, reporter, stop).await?;
    let firmware = efi::read(&sysfs.at("sys/firmware/efi/efivars"))
        .map_err(|e| io_fault("firmware variables", "read them", &e))?;
    for strange in &firmware.strange {
        tracing::info!(strange, "firmware variable");
    }
    let cmdline = sysfs
        .text("proc/cmdline")
        .map_err(|e| io_fault("kernel command line", "read it", &e))?;
    let mut medium = parse_cmdline(&cmdline.unwrap_or_default());
    let fstab = sysfs
        .text("etc/fstab")
        .map_err(|e| io_fault("/etc/fstab", "read it", &e))?;
    medium.add_fstab(&fstab.unwrap_or_default());
    let links = named::links(&sysfs).map_err(|e| io_fault("links in /dev/disk", "read them", &e))?;
    let mut seen = Vec::new();
    // All at once, because each is waited for; and a slow disk must not keep the program from answering signals and the
    // service manager.
    let looks: Vec<_> = machine
        .blocks
        .iter()
        .filter(|b| no_disk(b).is_none())
        .map(|block| {
            let plans: Vec<Plan> = config
                .map(|c| known_ids::all(c, &block.identity))
                .unwrap_or_default();
            let (one, ours) = (block.clone(), plans.clone());
            let looking = tokio::task::spawn_blocking(move || look(&one, &ours));
            (block, plans, looking)
        })
        .collect();
    for (block, plans, looking) in looks {
        let looked = looking.await;
        let mut failing = None;
        let contents = match looked {
            Ok(Ok(mut contents)) => {
                let device = block.device();
                let size = block.identity.size_bytes;
                contents::ask_blkid(device.as_str().into(), size, &mut contents, reporter, stop).await?;
                Ok(contents)
            }
            Ok(Err(error)) => {
                let why = os_error::said(&error);
                let is_device = os_error::fault("disk", &error).class == FaultClass::Hardware;
                failing = is_device.then(|| why.clone());
                Err(why)
            }
            Err(_) => Err("examining it failed".to_owned()),
        };
        seen.push(Seen {
            block: block.clone(),
            plans,
            contents,
            failing,
        });
    }
    let disks = judge(seen, &machine, &medium, &links);
    let hidden =
        controllers::hidden(&sysfs).map_err(|e| io_fault("storage controllers", "look at them", &e))?;
    Ok(ScanResult {
        disks,
        firmware,
        hidden,
        rows: machine.lsblk,
    })
}

/// A disk, before it is judged.
#[derive(Debug)]
pub struct Seen {
    /// The kernel's entry.
    pub block: Block,
    /// The plans whose install may be on it.
    pub plans: Vec<Plan>,
    /// What is on it, or why it cannot be read.
    pub contents: Result<Contents, String>,
    /// What its device reported, where that is an error of the device.
    pub failing: Option<String>,
}

/// Who uses each disk, and what speaks for it and against it. Pure.
pub fn judge(
    seen: Vec<Seen>,
    machine: &Machine,
    medium: &BootMedium,
    links: &[(String, Dev)],
) -> Vec<Looked> {
    let mut disks = Vec::new();
    for Seen {
        block,
        plans,
        contents,
        failing,
    } in seen
    {
        let guid = contents
            .as_ref()
            .ok()
            .and_then(|c| c.on_disk.table())
            .map(|t| t.disk_guid);
        let plan = plans.iter().find(|p| Some(p.table.disk_guid) == guid);
        let signatures = contents.as_ref().map_or(&[][..], |c| c.signatures.as_slice());
        let uses = machine.uses(&block, &Own::of(plan, guid), signatures);
        let links = Named::of(&block, links).links;
        let others = seen_by_others(machine, &block);
        let mut facts = select::Facts {
            failing,
            ..facts(&block, &contents, &uses, medium, &others, links)
        };
        if plan.is_some() {
            facts.former = select::Former::Install;
        }
        disks.push(Looked {
            block,
            contents,
            uses,
            facts,
        });
    }
    tell_apart(&mut disks);
    disks
}

/// Looks at what is on an open disk that may carry an install of any of these plans.
/// # Errors
/// The disk reports an error.
pub fn of_any(file: &mut File, disk: &DiskIdentity, plans: &[Plan]) -> io::Result<Contents> {
    let table = gpt::read(file, disk.sector_bytes)?;
    let plan = plans
        .iter()
        .find(|p| table.table().is_some_and(|t| t.disk_guid == p.table.disk_guid));
    contents::contents(file, disk, plan)
}

fn look(block: &Block, plans: &[Plan]) -> io::Result<Contents> {
    if block.identity.size_bytes == 0 {
        return Err(io::Error::other("it has no medium"));
    }
    let mut file = open(
        Utf8Path::new(&block.device()),
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
    )?;
    of_any(&mut file, &block.identity, plans)
}

/// What lsblk and the kernel see on a disk, one line each. It counts where our own readers see nothing.
fn seen_by_others(machine: &Machine, block: &Block) -> Vec<String> {
    let mut seen = vec![];
    for row in machine.lsblk.iter().filter(|row| row.name == block.name) {
        // A former life's, as blkid sees them: our own reader knows better.
        let kind = row.fstype.iter().filter(|kind| *kind != "zfs_member");
        for kind in kind.chain(&row.pttype) {
            seen.push(format!("lsblk sees {kind} on it"));
        }
    }
    if !block.partitions.is_empty() {
        seen.push(format!(
            "the kernel sees {} partitions on it",
            block.partitions.len()
        ));
    }
    seen
}

/// The facts for the choice.
fn facts(
    block: &Block,
    contents: &Result<Contents, String>,
    uses: &Uses,
    medium: &BootMedium,
    seen: &[String],
    links: Vec<String>,
) -> select::Facts {
    let mut never: Vec<String> = uses.boot.clone();
    let mut unless_named = vec![];
    against_device(block, &mut never, &mut unless_named);
    never.extend(uses.foreign_users.iter().cloned());
    unless_named.extend(uses.members.iter().cloned());
    let of_its_kind = kind::objections(block);
    never.extend(of_its_kind.never);
    unless_named.extend(of_its_kind.unless_named);
    let mut blank = false;
    match contents {
        Err(why) => never.push(format!("it cannot be read: {why}")),
        Ok(contents) => {
            against_contents(contents, medium, &mut never, &mut unless_named);
            blank = contents.blank && seen.is_empty();
            if contents.blank {
                unless_named.extend(seen.iter().cloned());
            }
        }
    }
    let known = contents.as_ref().ok();
    let is_nixos = known.is_some_and(|c| c.folders.iter().any(|name| efi::is_nixos_folder(name)));
    select::Facts {
        device: block.device(),
        model: block.model.clone(),
        identity: block.identity.clone(),
        place: block.place.clone(),
        by_hand: block.is_put_in_by_hand(),
        links,
        failing: None,
        never,
        unless_named,
        partitions: known.map(partitions).unwrap_or_default(),
        mbr_signature: known.map_or(0, |contents| contents.on_disk.mbr_signature),
        other_system: known.and_then(other_system::on),
        former: if is_nixos {
            select::Former::System
        } else {
            select::Former::Nothing
        },
        // The medium that this system runs from cannot be freed.
        release: if uses.boot.is_empty() {
            uses.release.clone()
        } else {
            vec![]
        },
        blank,
    }
}

/// What stands against a device, whatever is on it.
fn against_device(block: &Block, never: &mut Vec<String>, unless_named: &mut Vec<String>) {
    if block.identity.size_bytes == 0 {
        never.push("its size is zero: it has no medium".into());
    }
    match (block.removable, block.transport) {
        (true, "usb" | "sd" | "mmc") => never.push("it is removable".into()),
        // A port of which the firmware says that a disk may be changed while it runs.
        (true, _) => unless_named.push("the kernel reports its bay as removable".into()),
        (false, _) => {}
    }
    if (1..SIZE_MIN).contains(&block.identity.size_bytes) {
        never.push(format!(
            "it has {}; landfall does not install on disks of less than {}",
            amount::size(block.identity.size_bytes),
            amount::size(SIZE_MIN)
        ));
    }
    if block.read_only {
        never.push("it is read-only".into());
    }
    if ![512, 4096].contains(&block.identity.sector_bytes) {
        never.push(format!(
            "its sector size is {} bytes; 512 and 4096 are supported",
            block.identity.sector_bytes
        ));
    }
}

/// What stands against a disk by what is on it.
fn against_contents(
    contents: &Contents,
    medium: &BootMedium,
    never: &mut Vec<String>,
    unless_named: &mut Vec<String>,
) {
    let labelled = contents
        .signatures
        .iter()
        .flat_map(|(_, s)| s)
        .filter_map(|s| s.label.as_ref());
    for label in labelled {
        for (labels, whose) in [
            (&medium.labels, "on the kernel's command line"),
            (&medium.mounted_labels, "which /etc/fstab mounts at /iso"),
        ] {
            if labels.contains(label) {
                never.push(format!(
                    "this system was started from it (label {} {whose})",
                    quoted(label)
                ));
            }
        }
    }
    for (number, found) in &contents.signatures {
        if found.iter().any(|s| s.kind == "iso9660") {
            let place = number.map_or("it".into(), |n| format!("partition {n}"));
            unless_named.push(format!("{place} holds an ISO 9660 image, as installer sticks do"));
        }
    }
    for entry in contents
        .on_disk
        .table()
        .map(|t| t.entries.as_slice())
        .unwrap_or_default()
    {
        let partuuid = entry.partuuid.to_string();
        if medium.uuids.iter().any(|u| u.eq_ignore_ascii_case(&partuuid)) {
            never.push("this system was started from it (PARTUUID on the kernel's command line)".into());
        }
    }
    unless_named.extend(contents.unknown.iter().cloned());
}

/// The partitions of both kinds of tables.
fn partitions(contents: &Contents) -> Vec<select::PartitionFacts> {
    let table = contents.on_disk.table();
    let gpt = table.map(|t| t.entries.as_slice()).unwrap_or_default();
    let of_gpt = gpt.iter().map(|entry| select::PartitionFacts {
        number: entry.number,
        partuuid: Some(entry.partuuid),
        esp: entry.type_guid == TYPE_ESP,
    });
    let of_mbr = contents.on_disk.mbr.iter().map(|entry| select::PartitionFacts {
        number: entry.number,
        partuuid: None,
        esp: entry.kind == 0xEF,
    });
    of_gpt.chain(of_mbr).collect()
}

/// What several entries of the kernel say of one disk: paths to one unit of a storage network, or disks that cannot be told
/// apart. Neither is written to.
fn tell_apart(disks: &mut [Looked]) {
    let all: Vec<(DiskIdentity, String, &'static str)> = disks
        .iter()
        .map(|d| (d.block.identity.clone(), d.block.device(), d.block.transport))
        .collect();
    for disk in disks.iter_mut() {
        let identity = &disk.block.identity;
        if !identity.is_nameable() || identity.size_bytes == 0 {
            continue;
        }
        let same: Vec<&(DiskIdentity, String, &'static str)> =
            all.iter().filter(|(other, _, _)| other == identity).collect();
        if same.len() < 2 {
            continue;
        }
        let devices: Vec<&str> = same.iter().map(|(_, device, _)| device.as_str()).collect();
        let devices = devices.join(", ");
        if identity.wwn.is_some() && disk.block.transport == "scsi" {
            disk.facts.never.push(format!(
                "it is one of {} paths to the same unit (multipath: {devices})",
                same.len()
            ));
            let own = disk.block.device();
            disk.facts.release.push("multipath -ll".into());
            let others = same.iter().filter(|(_, device, _)| *device != own);
            disk.facts.release.extend(others.map(|(_, device, _)| {
                let name = device.trim_start_matches("/dev/");
                format!("echo 1 > /sys/block/{name}/device/delete")
            }));
        } else {
            disk.facts.never.push(format!(
                "{} disks report the same identity ({devices})",
                same.len()
            ));
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
