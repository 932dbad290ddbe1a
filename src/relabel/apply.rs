//! Sets the labels, waits for their links, and writes the file.
//!
//! Each step looks, acts, and looks again on the medium itself. What a step takes out of use (the ESP, a swap) is put back, also
//! after a failure, and by the next run if this one was killed. The file is written only after every link points to the right device.
//!
//! `tests/relabel_devices.rs` shows what the tools leave when they are killed. `plan` says what to do.

use super::RelabelError;
use super::facts::{Device, Facts, is_same};
use super::label::Bearer;
use super::look::{ConfigurationFile, Places, leads_to, mounts, probe, run, succeed};
use super::plan::{Change, How, Plan};
use super::table_name::{self, TableError};
use crate::os_error::errno;
use crate::real::disk;
use crate::real::disk::locked::forget_cache;
use crate::real::disk::open;
use crate::real::fs::target_root::{self, Access, Root};
use crate::real::mount::attached::unmount;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{io_fault, read_page};
use crate::real::volume::cryptsetup;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::libc;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long udev may take to make a link, and a program to close a device.
const WAIT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// Where udev listens.
const UDEV: &str = "/run/udev/control";
/// Where the subsystem of a LUKS2 container lies in its header, and how long it is (LUKS2 on-disk format, section 2.1).
const SUBSYSTEM: (usize, usize) = (208, 48);

mod ioctl {
    use nix::libc;
    nix::ioctl_write_ptr!(set_label, 0x94, 50, [u8; 256]);
    nix::ioctl_read_bad!(sector_bytes, 0x1268, libc::c_int);
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// A label: made now, or there before.
    Label(&'a Change, bool),
    /// A link leads where it should.
    Link(&'a str, &'a Utf8Path),
    /// Something that a run before took out of use is in use again.
    PutBack(&'a str),
    /// A file was written.
    File(&'a Utf8Path),
}

/// Makes the labels and waits for the links.
///
/// # Errors
/// A tool fails, a label is not seen on the medium or as a link, or something was changed since the plan. What was made stays.
pub async fn labels(
    plan: &Plan,
    places: &Places,
    stop: &Stop,
    told: &mut dyn FnMut(Told<'_>),
) -> Result<(), RelabelError> {
    for change in &plan.changes {
        if stop.is_requested() {
            return Err(RelabelError::Stopped);
        }
        let made = label(change).await?;
        told(Told::Label(change, made));
        if !made && change.waits_for_use() {
            put_back(change).await?;
            told(Told::PutBack(change.what.as_str()));
        }
    }
    if stop.is_requested() {
        return Err(RelabelError::Stopped);
    }
    links(plan, places, told).await
}

/// The label that a device has now, of this bearer.
fn found(device: &Device, bearer: Bearer) -> Option<&str> {
    match bearer {
        Bearer::Partition => device.entry.as_ref()?.name.as_deref(),
        Bearer::Fat | Bearer::Ext | Bearer::Xfs | Bearer::Btrfs | Bearer::Swap | Bearer::Luks2 => {
            device.label()
        }
    }
}

/// One label: looks, does, looks again. Gives whether anything had to be done.
async fn label(change: &Change) -> Result<bool, RelabelError> {
    let mut device = change.device.clone();
    let entry = |device: &Device| device.entry.as_ref().and_then(|entry| entry.uuid.clone());
    let known = (
        device.uuid().map(str::to_owned),
        device.content_kind().to_owned(),
        entry(&device),
    );
    probe(&mut device).await?;
    if known
        != (
            device.uuid().map(str::to_owned),
            device.content_kind().to_owned(),
            entry(&device),
        )
    {
        return Err(RelabelError::Moved(device.path));
    }
    let is_there = found(&device, change.bearer) == Some(change.new.as_str());
    let is_table = matches!(change.how, How::Table { .. });
    // Of a table, also what a cut left beside it is looked for.
    if is_there && !is_table && on_medium(&device, change)? {
        return Ok(false);
    }
    let mut made = true;
    match &change.how {
        How::Mounted { at } => by_mount(change, at).await?,
        How::Unmounted {
            at,
            is_mounted,
            is_wanted,
        } => unmounted(change, at, *is_mounted, *is_wanted).await?,
        How::Swap {
            on,
            options,
            is_wanted,
        } => swap(change, on.is_some(), options, *is_wanted).await?,
        How::Header => header(change).await?,
        How::Table { disk, number } => made = table(change, disk, *number).await?,
    }
    probe(&mut device).await?;
    let now = found(&device, change.bearer);
    if now == Some(change.new.as_str()) && on_medium(&device, change)? {
        return Ok(made);
    }
    Err(RelabelError::ReadBack {
        device: device.path.clone(),
        wanted: change.new.clone(),
        found: now.unwrap_or("none").to_owned(),
    })
}

/// Whether the label has reached the medium: after a power cut, udev looks for it there before any journal is replayed.
fn on_medium(device: &Device, change: &Change) -> Result<bool, RelabelError> {
    let (page_at, at, length) = match change.bearer {
        Bearer::Ext => (0, 1024 + 120, 16),
        Bearer::Xfs => (0, 108, 12),
        Bearer::Btrfs => (64 << 10, 0x12b, 256),
        Bearer::Swap => (0, 1024 + 28, 16),
        Bearer::Luks2 => (0, 24, 48),
        // Both were read back through a cache that was emptied.
        Bearer::Fat | Bearer::Partition => return Ok(true),
    };
    let page = read_page(&device.node, page_at)?;
    let bytes = page.get(at..at + length).unwrap_or_default();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(text == change.new.as_bytes())
}

/// By the kernel, while it is mounted (FS_IOC_SETFSLABEL); on ext4 of kernels before 5.17, by tune2fs.
async fn by_mount(change: &Change, at: &Utf8Path) -> Result<(), RelabelError> {
    let Change {
        bearer, device, new, ..
    } = change;
    let table = mounts()?;
    let on_top = table.iter().rfind(|(mount, _)| mount.target == at);
    let is_ours = on_top.is_some_and(|(_, dev)| {
        // Of a Btrfs on several devices, any of them may be the source.
        *dev == Some(device.dev) || *bearer == Bearer::Btrfs && dev.is_some()
    });
    if !is_ours {
        return Err(RelabelError::Moved(at.to_owned()));
    }
    let root = Root::at(at);
    let dir = root.dir(".")?.ok_or_else(|| RelabelError::Moved(at.to_owned()))?;
    let mut buffer = [0_u8; 256];
    for (place, byte) in buffer.iter_mut().zip(new.bytes()) {
        *place = byte;
    }
    // SAFETY: the descriptor is open, and the buffer is as long as the call's type says.
    match unsafe { ioctl::set_label(dir.fd().as_raw_fd(), &raw const buffer) } {
        Ok(_) => {}
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP) if *bearer == Bearer::Ext => {
            let program = Program::new("tune2fs").args(["-L", new.as_str(), device.node.as_str()]);
            succeed(&format!("label of {at}"), program).await?;
        }
        Err(errno) => return Err(io_fault(format!("label of {at}"), &errno.into()).into()),
    }
    Ok(target_root::sync_filesystem(&root)?)
}

/// Both results, where what was taken out of use is put back.
fn both(
    at: &str,
    first: Result<(), RelabelError>,
    then: Result<(), RelabelError>,
) -> Result<(), RelabelError> {
    match (first, then) {
        (Ok(()), then) => then,
        (first, Ok(())) => first,
        (Err(first), Err(then)) => Err(RelabelError::NotPutBack {
            first: Box::new(first),
            at: at.to_owned(),
            then: Box::new(then),
        }),
    }
}

/// A FAT: unmounted, changed while nobody else can have it, mounted again.
async fn unmounted(
    change: &Change,
    at: &Utf8Path,
    is_mounted: bool,
    is_wanted: bool,
) -> Result<(), RelabelError> {
    if is_mounted {
        target_root::sync_filesystem(&Root::at(at))?;
        unmount(at).await?;
    }
    let done = fat(change, at).await;
    if !is_wanted {
        return done;
    }
    both(at.as_str(), done, put_back(change).await)
}

async fn fat(change: &Change, at: &Utf8Path) -> Result<(), RelabelError> {
    let Change { device, new, .. } = change;
    let node = &device.node;
    // No mount can begin while this is open: an automount would come in between.
    let exclusive = exclusive(node, at).await?;
    let boot = read_page(node, 0)?;
    // FAT32 has no 16-bit count of the sectors of a FAT; its byte of flags lies elsewhere (fs/fat/inode.c, fat_set_state).
    let flags = match boot.get(22..24) {
        Some([0, 0]) => boot.get(0x41),
        Some(_) | None => boot.get(0x25),
    };
    if flags.is_none_or(|flags| flags & 1 != 0) {
        return Err(RelabelError::Dirty(device.path.clone()));
    }
    succeed(
        &format!("label of {}", device.path),
        Program::new("fatlabel").args([node.as_str(), new.as_str()]),
    )
    .await?;
    let io = |e: std::io::Error| RelabelError::from(io_fault(format!("write of {node}"), &e));
    exclusive.sync_all().map_err(io)?;
    forget_cache(&exclusive).map_err(io)
}

/// A device that nobody else has.
async fn exclusive(node: &Utf8Path, at: &Utf8Path) -> Result<File, RelabelError> {
    let end = Instant::now() + WAIT_MAX / 6;
    loop {
        match open(node, OFlag::O_RDWR | OFlag::O_EXCL) {
            Ok(file) => return Ok(file),
            // udev looks at what was unmounted.
            Err(e) if errno(&e) == Some(libc::EBUSY) && Instant::now() < end => sleep(POLL).await,
            Err(e) if errno(&e) == Some(libc::EBUSY) => {
                return Err(RelabelError::StillUsed {
                    device: node.to_owned(),
                    at: at.to_owned(),
                });
            }
            Err(e) => return Err(io_fault(format!("write of {node}"), &e).into()),
        }
    }
}

/// A swap: off, changed, on again. The kernel refuses writes to one that is on (ETXTBSY).
async fn swap(change: &Change, is_on: bool, options: &str, is_wanted: bool) -> Result<(), RelabelError> {
    let Change { device, new, .. } = change;
    let node = &device.node;
    if is_on {
        // What lies in it is read into memory first: gigabytes from a slow disk.
        let off = Program::new("swapoff")
            .arg(node.as_str())
            .deadline(Duration::from_secs(30 * 60));
        succeed(&format!("swapoff of {}", device.path), off).await?;
    }
    let label = Program::new("swaplabel").args(["--label", new.as_str(), node.as_str()]);
    let done = succeed(&format!("label of {}", device.path), label).await;
    let done = done.map(drop).map_err(RelabelError::from);
    tracing::debug!(%node, options, "swap");
    if !is_wanted {
        return done;
    }
    both(device.path.as_str(), done, put_back(change).await)
}

/// Mounts, or swaps to, what a step has taken out of use.
async fn put_back(change: &Change) -> Result<(), RelabelError> {
    match &change.how {
        How::Unmounted { at, .. } => {
            // By the fstab, which knows the device by its UUID. Something may have mounted it by itself meanwhile.
            if mounts()?
                .iter()
                .any(|(mount, dev)| mount.target == *at && *dev == Some(change.device.dev))
            {
                return Ok(());
            }
            succeed(&format!("mount of {at}"), Program::new("mount").arg(at.as_str())).await?;
        }
        How::Swap { options, .. } => {
            let on = Program::new("swapon").args(["-o", options, change.device.node.as_str()]);
            succeed(&format!("swapon of {}", change.device.path), on).await?;
        }
        How::Mounted { .. } | How::Header | How::Table { .. } => {}
    }
    Ok(())
}

async fn header(change: &Change) -> Result<(), RelabelError> {
    let node = &change.device.node;
    let page = read_page(node, 0)?;
    let (at, length) = SUBSYSTEM;
    let subsystem = page.get(at..at + length).unwrap_or_default();
    let subsystem = subsystem.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(cryptsetup::set_label(node, &change.new, &String::from_utf8_lossy(subsystem)).await?)
}

/// The name of a partition. Gives whether anything was written.
async fn table(change: &Change, disk: &Utf8Path, number: u32) -> Result<bool, RelabelError> {
    let of = |why| RelabelError::Table {
        disk: disk.to_owned(),
        why,
    };
    let uuid = change
        .device
        .entry
        .as_ref()
        .and_then(|entry| entry.uuid.as_deref());
    let uuid = uuid
        .and_then(|uuid| Uuid::try_parse(uuid).ok())
        .unwrap_or_default();
    let file = disk::open(disk, OFlag::O_RDWR).map_err(|e| of(TableError::Io(e)))?;
    let mut file = locked(file).await.map_err(|e| of(TableError::Io(e)))?;
    let mut sector: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the call writes one number.
    unsafe { ioctl::sector_bytes(file.as_raw_fd(), &raw mut sector) }
        .map_err(|e| of(TableError::Io(e.into())))?;
    let sector = u32::try_from(sector).unwrap_or(512);
    let flush = |file: &mut File| {
        file.sync_all()?;
        // What is read back comes from the device.
        forget_cache(file)
    };
    table_name::rename(&mut *file, sector, (number, uuid), &change.new, flush).map_err(of)
}

/// A disk that udev keeps off while it is locked.
async fn locked(file: File) -> std::io::Result<Flock<File>> {
    let end = Instant::now() + WAIT_MAX;
    let mut file = file;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < end => file = back,
            Err((_, errno)) => return Err(errno.into()),
        }
        sleep(POLL).await;
    }
}

/// Has udev look again, and waits until every link that is going to be looked for leads to its device.
async fn links(plan: &Plan, places: &Places, told: &mut dyn FnMut(Told<'_>)) -> Result<(), RelabelError> {
    if plan.changes.is_empty() {
        return Ok(());
    }
    if Utf8Path::new(UDEV).exists() {
        let nodes = plan.changes.iter().map(|change| change.device.node.as_str());
        let trigger = Program::new("udevadm").args(["trigger", "--action=change", "--settle"]);
        // Its word counts for nothing: the links are looked at.
        run(trigger.args(nodes)).await?;
    }
    let end = Instant::now() + WAIT_MAX;
    for (device, link) in &plan.links {
        loop {
            let found = leads_to(&places.link(link));
            if found.is_some_and(|dev| plan.is_same_device(device, dev)) {
                told(Told::Link(link, &device.path));
                break;
            }
            if Instant::now() >= end {
                return Err(RelabelError::Link {
                    link: link.clone(),
                    device: device.path.clone(),
                    found: match found {
                        Some((major, minor)) => format!("it points to device {major}:{minor}"),
                        None => "it is not there".into(),
                    },
                });
            }
            sleep(POLL).await;
        }
    }
    Ok(())
}

/// The new text of a file; the same when nothing in it changes.
///
/// # Errors
/// The file is not understood any more.
pub fn edited(plan: &Plan, facts: &Facts, file: &ConfigurationFile) -> Result<String, RelabelError> {
    let renamed = file.nix.renamed(|place, spec| plan.new_name(facts, place, spec));
    renamed.map_err(|why| RelabelError::Nix {
        file: file.path.clone(),
        why,
    })
}

/// Writes a file whose text is still the one that was read: beside it, renamed, with its owner and mode.
///
/// # Errors
/// The file was changed since it was read, or cannot be written.
pub fn write(file: &ConfigurationFile, text: &str) -> Result<(), RelabelError> {
    let path = &file.path;
    let changed = || RelabelError::Changed(path.clone());
    let now = safe_open::read(path, Links::Refuse, super::nix_file::FILE_BYTES_MAX);
    if !now.is_ok_and(|bytes| bytes == file.text.as_bytes()) {
        return Err(changed());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(changed());
    };
    let dir = Root::at(parent).dir(".")?.ok_or_else(changed)?;
    let io = |e: std::io::Error| RelabelError::from(io_fault(format!("write of {path}"), &e));
    let stat = target_root::stat_in(dir.fd(), name).map_err(io)?;
    let access = Access {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    target_root::write_in(dir.fd(), name, text.as_bytes(), access).map_err(io)
}

impl Plan {
    /// Whether a number is that of a device, or of another one of the same filesystem.
    fn is_same_device(&self, device: &Device, dev: disk::proc::Dev) -> bool {
        let part = |other: &Device| other.dev == dev && is_same(other, device);
        device.dev == dev || self.parts.iter().any(part)
    }
}

/// The places of files that a person named, or the usual one.
pub fn files(named: &[Utf8PathBuf]) -> Vec<Utf8PathBuf> {
    match named {
        [] => vec!["/etc/nixos/hardware-configuration.nix".into()],
        some => some.to_vec(),
    }
}
