//! Reads the machine: devices, their contents, mounts, swap, and the fstab of the running generation.
//!
//! Nothing is written, and a cache (of udev or blkid) is never used as the contents of a device.
//!
//! `facts` parses, `plan` judges.

use super::RelabelError;
use super::facts::{self, Device, Facts, LSBLK_ARGS};
use super::generations;
use super::nix_file::{FILE_BYTES_MAX, NixFile};
use super::plan::InFile;
use crate::event::Reporter;
use crate::real::disk::Sysfs;
use crate::real::disk::proc::Dev;
use crate::real::disk::sysfs::device_number;
use crate::real::fs::target_root::Root;
use crate::real::mount::table::{MountEntry, parse_mountinfo};
use crate::real::process::command::{Ended, Program};
use crate::real::process::stop::Stop;
use crate::safe_open::{self, Links, Refused};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, FaultClass, Remedy};

/// Longest fstab.
const FSTAB_BYTES_MAX: u64 = 1 << 20;
/// `blkid(8)`: nothing was found.
const EXIT_NOTHING: i32 = 2;

/// Where things are on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The fstab of the running generation.
    pub fstab: Utf8PathBuf,
    /// The folder that has `by-label` and `by-partlabel`.
    pub links: Utf8PathBuf,
    /// Below this are the store and its profiles.
    pub root: Utf8PathBuf,
}

impl Places {
    /// Of a NixOS that runs.
    pub fn of_nixos() -> Self {
        Places {
            fstab: "/run/current-system/etc/fstab".into(),
            links: "/dev/disk".into(),
            root: "/".into(),
        }
    }

    /// The place of a link.
    pub(super) fn link(&self, link: &str) -> Utf8PathBuf {
        self.links.join(link.strip_prefix("/dev/disk/").unwrap_or(link))
    }
}

/// A file of the configuration, as it was read.
#[derive(Debug, Clone)]
pub struct ConfigurationFile {
    /// Where it is, links followed.
    pub path: Utf8PathBuf,
    /// Its text.
    pub text: String,
    /// What it says.
    pub nix: NixFile,
}

impl ConfigurationFile {
    /// Reads one.
    ///
    /// # Errors
    /// The file cannot be read, or is not understood.
    pub fn read(path: &Utf8Path) -> Result<Self, RelabelError> {
        let unread = |why: String| RelabelError::Unread {
            file: path.to_owned(),
            why,
        };
        let real = path
            .canonicalize_utf8()
            .map_err(|e| unread(Refused::from(e).why()))?;
        let bytes =
            safe_open::read(&real, Links::Refuse, FILE_BYTES_MAX).map_err(|refused| unread(refused.why()))?;
        let text = String::from_utf8(bytes).map_err(|_| unread("it is not text (UTF-8)".into()))?;
        let nix = NixFile::parse(&text).map_err(|why| RelabelError::Nix {
            file: path.to_owned(),
            why,
        })?;
        Ok(ConfigurationFile {
            path: real,
            text,
            nix,
        })
    }

    /// Why it cannot be written: it is in the store, or on a filesystem that is read-only.
    pub fn sealed(&self) -> Option<String> {
        if self.path.starts_with("/nix/store") {
            return Some("it is in the Nix store, which only Nix writes".into());
        }
        let parent = self.path.parent().unwrap_or(Utf8Path::new("/"));
        let writable = nix::unistd::access(parent.as_std_path(), nix::unistd::AccessFlags::W_OK);
        writable.err().map(|errno| crate::os_error::said(&errno.into()))
    }

    /// The devices that it names, and the labels that it looks for.
    pub fn named(&self) -> Vec<InFile> {
        let named = self.nix.named().iter().chain(self.nix.sought());
        named
            .map(|one| InFile {
                file: self.path.clone(),
                line: one.line,
                place: one.place.clone(),
                device: one.device.clone(),
            })
            .collect()
    }
}

pub(super) async fn run(program: Program<'_>) -> Result<Ended, Fault> {
    program.run(&Reporter::default(), &Stop::never()).await
}

/// A program that has to end with 0.
pub(super) async fn succeed(what: &str, program: Program<'_>) -> Result<Ended, Fault> {
    run(program).await?.or_fault(|how| {
        let remedy = Remedy::words("read its output");
        Fault::program(FaultClass::NeedsChange, what, how, remedy)
    })
}

fn unknown(what: &str) -> impl FnOnce(String) -> RelabelError {
    let what = what.to_owned();
    move |why| RelabelError::Unknown { what, why }
}

/// What is on a device now, asked of the device itself.
pub(super) async fn probe(device: &mut Device) -> Result<(), RelabelError> {
    let ended = run(Program::that_looks("blkid").args(["-p", "-o", "export", device.node.as_str()])).await?;
    (device.content, device.entry, device.doubt) = (None, None, None);
    match ended.code {
        Some(0) => (device.content, device.entry) = facts::content(&ended.stdout),
        // Also what cannot be opened, such as a reader without a card.
        Some(EXIT_NOTHING) => {}
        Some(_) | None => device.doubt = Some(ended.tail()),
    }
    Ok(())
}

/// Every block device, and what is on it.
async fn devices() -> Result<Vec<Device>, RelabelError> {
    let ended = run(Program::that_looks("lsblk").args(LSBLK_ARGS)).await?;
    // 32: none of the devices was found; 64: some were not. Neither is trouble: devices come and go.
    let ended = match ended.code {
        Some(32 | 64) => ended,
        Some(_) | None => ended.or_fault(|how| {
            Fault::program(
                FaultClass::NeedsChange,
                "list of disks",
                how,
                Remedy::words("read its output"),
            )
        })?,
    };
    let mut devices = facts::devices(&ended.stdout).map_err(unknown("what lsblk prints"))?;
    for device in devices.iter_mut().filter(|device| device.kind != "rom") {
        probe(device).await?;
    }
    Ok(devices)
}

/// A file of the kernel's.
fn read(path: &str) -> Result<String, RelabelError> {
    let text = Sysfs::real().text(path).map_err(|e| RelabelError::Unread {
        file: format!("/{path}").into(),
        why: crate::os_error::said(&e),
    })?;
    Ok(text.unwrap_or_default())
}

/// The device that a name leads to; one that leads nowhere names none.
pub(super) fn leads_to(name: &Utf8Path) -> Option<Dev> {
    device_number(name).ok().flatten()
}

/// What is mounted, and the device of each.
pub(super) fn mounts() -> Result<Vec<(MountEntry, Option<Dev>)>, RelabelError> {
    let mounts = parse_mountinfo(&read("proc/self/mountinfo")?).map_err(unknown("/proc/self/mountinfo"))?;
    let with_device = mounts.into_iter().map(|mount| {
        let dev = match mount.device {
            // Btrfs has a number of its own for each subvolume; its source is a device.
            (0, _) if mount.source.starts_with("/dev/") => leads_to(Utf8Path::new(&mount.source)),
            (0, _) => None,
            (major, minor) => u32::try_from(major).ok().zip(u32::try_from(minor).ok()),
        };
        (mount, dev)
    });
    Ok(with_device.collect())
}

/// Everything that a plan is made of. `files`: what the configuration's files name.
///
/// # Errors
/// A tool fails, or a file of the system cannot be read.
pub async fn facts(places: &Places, files: &[InFile]) -> Result<Facts, RelabelError> {
    let fstab = safe_open::read(&places.fstab, Links::Follow, FSTAB_BYTES_MAX).map_err(|refused| {
        RelabelError::NoSystem {
            file: places.fstab.clone(),
            why: refused.why(),
        }
    })?;
    let fstab = facts::fstab(&String::from_utf8_lossy(&fstab));
    let generations = generations::all(&Root::at(&places.root))?;
    let named = files.iter().filter_map(|one| one.device.as_deref().ok());
    let links = fstab
        .iter()
        .chain(generations.iter().flat_map(|one| &one.fstab))
        .map(|line| line.spec.as_str())
        .chain(named)
        .filter(|spec| spec.starts_with("/dev/"))
        .filter_map(|spec| Some((spec.to_owned(), leads_to(Utf8Path::new(spec))?)))
        .collect();
    Ok(Facts {
        devices: devices().await?,
        mounts: mounts()?,
        swaps: facts::swaps(&read("proc/swaps")?).map_err(unknown("/proc/swaps"))?,
        fstab,
        generations,
        links,
        kernel_words: read("proc/cmdline")?
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        memory_bytes: facts::memory_available(&read("proc/meminfo")?).unwrap_or(0),
    })
}
