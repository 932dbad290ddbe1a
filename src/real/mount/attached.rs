//! The LUKS mapping and the single mounts of this install.
//!
//! The kernel's tables are the only truth about what is attached. Attaching twice is attaching once, also after a killed run.
//! What does not belong to this install is left alone (I17). No record of the mounts is kept on a disk (after a kill it would
//! be wrong), and no process is killed.
//!
//! `real::attach` calls this module for the whole install; `mount::hooks` makes extra directories and runs the user's
//! commands.

use crate::os_error::{self, errno};
use crate::real::MOUNT_ROOT;
use crate::real::fs::target_root::{Dir, Root};
use crate::real::mount::table::{MountEntry, parse_mountinfo};
use crate::real::volume::block_io::io_fault;
use crate::real::volume::device_mapper::{BUSY_TRIES_MAX, BUSY_WAIT};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::fault::{Fault, MachineFault, PlaceFault, Remedy};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, umount2};
use sys_mount::{Mount, MountFlags};

/// Where the kernel lists mounts.
const MOUNTINFO: &str = "/proc/self/mountinfo";
/// Most mounts below the target that are undone; nixos-enter makes about ten.
pub const NESTED_MAX: usize = 256;

/// What to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// The ESP for the checkpoint store, apart from the target.
    Checkpoint,
    /// The LUKS container, opened. Nothing without LUKS.
    Container,
    /// Root and ESP, at /mnt and /mnt/boot, for writing; with LUKS the container first.
    Target,
    /// Root alone, at /mnt, for reading (a journal is replayed if there is one to replay); with LUKS the container first.
    TargetReadOnly,
}

/// What this run has attached. What is attached *now* is the kernel's to say; this says only what it cannot.
#[derive(Debug, Default)]
pub struct Attached {
    /// Something was attached and not every device was flushed since.
    pub unflushed: bool,
    /// Nothing of the target that can be seen is in caches only: nobody attached it for writing since it was written out.
    pub root_written_out: bool,
    /// The device of the root filesystem, once it was mounted.
    pub root: Option<(u64, u64)>,
    /// How often damage of the root filesystem was met in this run.
    pub root_damages: u32,
    /// It was told, and the next look repairs it.
    pub root_repair_due: bool,
    /// The kernel stopped the root filesystem in this run. When it does so again, the filesystem is not the cause.
    pub root_stopped: bool,
    /// The device of the ESP, once it was to be mounted.
    pub esp: Option<(u64, u64)>,
    /// The kernel stopped the ESP in this run, and it was told. The second time its device is the cause.
    pub esp_stopped: bool,
    /// It was repaired for that.
    pub esp_repaired: bool,
}

pub(crate) fn table() -> Result<Vec<MountEntry>, Fault> {
    // Mount points are any bytes; ours are ASCII.
    let raw = fs::read(MOUNTINFO).map_err(|e| io_fault("list of mounts", &e))?;
    let mut table = parse_mountinfo(&String::from_utf8_lossy(&raw)).map_err(|why| {
        Fault::from(MachineFault::OutputUnknown {
            on: "list of mounts".into(),
            program: MOUNTINFO.into(),
            reason: why,
            line: None,
        })
    })?;
    for entry in &mut table {
        entry.stopped |= entry.kind == "ext4" && !entry.read_only && has_errors(entry.device);
    }
    Ok(table)
}

/// Whether the kernel met an error in a mounted ext4. Linux 6.12 then answers every access with EIO, and shows nothing in its list of
/// mounts. What has no count has none that is known.
fn has_errors((major, minor): (u64, u64)) -> bool {
    let count = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))
        .ok()
        .and_then(|device| Some(device.file_name()?.to_str()?.to_owned()))
        .and_then(|name| fs::read_to_string(format!("/sys/fs/ext4/{name}/errors_count")).ok());
    count.is_some_and(|count| count.trim() != "0")
}

pub(crate) fn foreign(target: &Utf8Path, what: &str) -> Fault {
    Fault::of(
        PlaceFault::ForeignUse {
            on: target.to_string(),
            by: what.to_owned(),
        },
        Remedy::change(format!("umount {target}")),
    )
}

/// The target's own place. A link there would lead its tools elsewhere than the kernel's table says.
///
/// # Errors
/// There is a link or something else, or it cannot be made.
pub fn target_dir() -> Result<Dir, Fault> {
    let dir = Root::live().made_dir(MOUNT_ROOT, 0o755)?;
    if dir.path() == MOUNT_ROOT {
        return Ok(dir);
    }
    Err(PlaceFault::LinkLeadsOut {
        path: MOUNT_ROOT.into(),
        to: dir.path().to_string(),
    }
    .into())
}

pub(crate) struct MountOrder<'a> {
    pub(crate) device: &'a Utf8Path,
    pub(crate) target: &'a Dir,
    pub(crate) kind: &'static str,
    pub(crate) flags: MountFlags,
    pub(crate) data: &'static str,
}

/// Makes a mount private: what is mounted in it from now on is copied nowhere.
///
/// # Errors
/// The kernel refuses.
pub fn cut_off(target: &Utf8Path) -> std::io::Result<()> {
    let (none, private) = (None::<&str>, MsFlags::MS_PRIVATE);
    Ok(nix::mount::mount(
        none,
        target.as_std_path(),
        none,
        private,
        none,
    )?)
}

/// Mounts, and cuts the mount off from its peers, so that no service's private copy keeps the device busy.
pub(crate) fn mount(order: &MountOrder<'_>) -> Result<(), Fault> {
    let MountOrder {
        device,
        target,
        kind,
        flags,
        data,
    } = order;
    let what = || format!("mount of {device} at {}", target.path());
    // On the very directory that was opened, whatever its name leads to by now.
    Mount::builder()
        .fstype(*kind)
        .flags(*flags)
        .data(data)
        .mount(device, target.through())
        .map_err(|e| mount_fault(what(), kind, &e))?;
    // By its name, which is refused when it is no longer that of the mount.
    cut_off(target.path()).map_err(|e| io_fault(what(), &e))
}

fn mount_fault(what: String, kind: &str, error: &std::io::Error) -> Fault {
    match errno(error) {
        Some(libc::ENODEV) => MachineFault::FilesystemUnknown {
            on: what,
            filesystem: kind.to_owned(),
        }
        .into(),
        Some(libc::EINVAL | libc::EUCLEAN) => PlaceFault::FilesystemRefused {
            on: what,
            os: os_error::of(error),
        }
        .into(),
        Some(_) | None => io_fault(what, error),
    }
}

pub(crate) const STORE_FLAGS: MountFlags = MountFlags::NODEV
    .union(MountFlags::NOSUID)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME);
/// The same for both mounts of the ESP: they share one filesystem, and the first one's options hold.
pub const ESP_DATA: &str = "umask=0077,tz=UTC,errors=remount-ro";

/// Unmounts one mount. What is busy is tried again for a moment; who keeps it busy is told.
pub(crate) async fn unmount(target: &Utf8Path) -> Result<(), Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        // Not through sys-mount 3.1, whose flag against following links is another number than the kernel's.
        match umount2(target.as_std_path(), MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => return Ok(()),
            // Gone already, with the mount that it lay on.
            Err(Errno::EINVAL | Errno::ENOENT) if !table()?.iter().any(|m| m.target == target) => {
                return Ok(());
            }
            Err(Errno::EBUSY) => {
                if tries >= BUSY_TRIES_MAX {
                    return Err(PlaceFault::StaysBusy {
                        on: target.to_string(),
                        by: holders(target),
                    }
                    .into());
                }
                tokio::time::sleep(BUSY_WAIT).await;
            }
            Err(error) => return Err(io_fault(format!("unmounting {target}"), &error.into())),
        }
    }
}

/// Writes out one filesystem and tells its errors, which unmounting would not.
///
/// # Errors
/// The device reports an error.
pub fn sync_filesystem(target: &Utf8Path) -> Result<(), Fault> {
    let dir = fs::File::open(target).map_err(|e| io_fault(format!("sync of {target}"), &e))?;
    nix::unistd::syncfs(dir.file()).map_err(|e| io_fault(format!("sync of {target}"), &e.into()))
}

/// Who keeps a mount busy, for people: programs whose root, directory or open files lie in it.
fn holders(target: &Utf8Path) -> String {
    let mut found = vec![];
    let within = |link: std::io::Result<std::path::PathBuf>| link.is_ok_and(|path| path.starts_with(target));
    // Processes end while they are looked at, and those of others may not be looked at: both mean "not found".
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if found.len() >= 8 || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let dir = process.path();
        let open = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
        if ["cwd", "root", "exe"]
            .iter()
            .any(|link| within(fs::read_link(dir.join(link))))
            || open.take(4096).any(|fd| within(fs::read_link(fd.path())))
        {
            let name = fs::read_to_string(dir.join("comm")).unwrap_or_default();
            found.push(format!("{pid} ({})", name.trim_end()));
        }
    }
    if found.is_empty() {
        "the user is not known".into()
    } else {
        format!("held by {}", found.join(", "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use camino::Utf8PathBuf;

    struct Mounted(Utf8PathBuf);

    impl Drop for Mounted {
        fn drop(&mut self) {
            umount2(
                self.0.as_std_path(),
                MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
            )
            .unwrap();
        }
    }

    fn mounted_at(path: &Utf8Path) -> bool {
        table().unwrap().iter().any(|mount| mount.target == path)
    }

    #[test]
    fn a_mount_lands_where_the_target_says_and_not_where_the_installer_would() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
        let (target, outside) = (dir.join("mnt"), dir.join("efi"));
        fs::create_dir(&target).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::os::unix::fs::symlink(&outside, target.join("boot")).unwrap();
        let tmpfs = |at: &Utf8Path| {
            nix::mount::mount(
                Some("tmpfs"),
                at.as_std_path(),
                Some("tmpfs"),
                MsFlags::empty(),
                None::<&str>,
            )
        };
        // The control: by its name the mount lies in the running system.
        if let Err(error) = tmpfs(&target.join("boot")) {
            assert!(matches!(error, Errno::EPERM | Errno::EACCES), "{error}");
            return; // not root
        }
        assert!(mounted_at(&outside));
        drop(Mounted(outside.clone()));

        let place = Root::at(&target).made_dir("/boot", 0o755).unwrap();
        mount(&MountOrder {
            device: Utf8Path::new("tmpfs"),
            target: &place,
            kind: "tmpfs",
            flags: MountFlags::NODEV.union(MountFlags::NOSUID),
            data: "size=1m",
        })
        .unwrap();
        let _mounted = Mounted(place.path().to_owned());
        assert!(place.path().starts_with(&target) && mounted_at(place.path()));
        assert!(!mounted_at(&outside), "it is in the running system");
        // What is written by the target's own name is in it, and what looks for the ESP finds it there.
        let esp = Root::at(&target).esp();
        crate::real::fs::target_root::write_plain(&esp, "EFI/x", "TMP", b"x").unwrap();
        assert!(place.path().join("EFI/x").is_file() && fs::read_dir(&outside).unwrap().next().is_none());
        assert_eq!(
            Root::at(&target).made_dir("/boot", 0o755).unwrap().path(),
            place.path()
        );
    }
}
