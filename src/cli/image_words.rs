//! Chooses the next step that `landfall image` shows for a fault.
//!
//! The step is about images, or about the device or file that was named. It is never a command of an install, because no install is
//! running and there is no log of one. It never tells the user to remove or move what they named, because they may have named it by
//! mistake. The rest of the text comes from the fault.

use super::Failure;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{DeviceFault, Fault, FaultClass, Kind, Os, PlaceFault, Remedy};
use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::os::unix::fs::MetadataExt;

/// Why a command ended: with a fault, whose next step is put right here, or otherwise.
#[derive(Debug)]
pub(super) enum Wrong {
    Fault(Box<Fault>),
    Failure(Failure),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Wrong::Fault(Box::new(fault))
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Wrong::Failure(failure)
    }
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        Wrong::Failure(error.into())
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Fault(fault) => for_images(*fault).into(),
            Wrong::Failure(failure) => failure,
        }
    }
}

/// Commands of an install.
const OF_INSTALLS: [&str; 5] = [
    "landfall resume",
    "landfall install",
    "landfall log",
    "landfall plan",
    "landfall status",
];

/// The fault with a next step for whoever has no install.
pub(super) fn for_images(fault: Fault) -> Fault {
    let next = match &*fault.kind {
        Kind::Device(DeviceFault::DiskTaken { .. }) => {
            Some("wait until that process ends, or stop it if it is yours; then run the same command again".to_owned())
        }
        Kind::Device(DeviceFault::Occupied { device, .. }) if Utf8Path::new(device).is_file() => Some(format!(
            "look at it (blkid -p {device}, file {device}); to overwrite it: landfall image write --erase …"
        )),
        Kind::Place(PlaceFault::FileType { .. }) => {
            Some("name a disk, a partition (lsblk lists them), or a file of that size (truncate -s SIZE FILE makes one)".to_owned())
        }
        Kind::Place(PlaceFault::RecordUnusable { .. } | PlaceFault::NotRegular { .. } | PlaceFault::FileTooLong { .. }) => {
            Some("name another file, which does not need to exist; or leave --resume out".to_owned())
        }
        Kind::Place(PlaceFault::FileUnusable { os, .. }) if os.errno == Some(libc::EROFS) => None,
        Kind::Place(PlaceFault::FileUnusable { .. }) => Some("name a file or a device that exists".to_owned()),
        Kind::Os { os, .. } => Some(of_system(os, fault.class)),
        _ => match &fault.remedy {
            Remedy::Change { first, .. } if !names_install(first) => Some(format!("{first}, then run the same command again")),
            Remedy::Words(words) if !names_install(words) => None,
            Remedy::Command(command) if !names_install(command) => None,
            Remedy::Change { .. } | Remedy::Words(_) | Remedy::Command(_) => Some(of_class(fault.class).to_owned()),
        },
    };
    // Where it was said for this very case it stays, unless it is of an install.
    let is_own = matches!(&fault.remedy, Remedy::Words(words) if !names_install(words) && matches!(&*fault.kind, Kind::Os { .. }));
    match next {
        Some(next) if !is_own => fault.with_next(Remedy::words(next)),
        Some(_) | None => fault,
    }
}

fn names_install(words: &str) -> bool {
    OF_INSTALLS.iter().any(|command| words.contains(command))
}

fn of_system(os: &Os, class: FaultClass) -> String {
    match os.errno {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) => "name a file in a directory that exists (mkdir -p DIR makes one)".into(),
        Some(libc::EISDIR | libc::EEXIST | libc::ENOTEMPTY | libc::ELOOP) => "name another file".into(),
        Some(libc::EACCES | libc::EPERM) => {
            "run it as root (sudo); if it runs as root, look for an immutable file (lsattr shows it, chattr -ia clears it) or a \
             write-protected device (blockdev --getro DEVICE prints 1)"
                .into()
        }
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => "free space there (df shows it), or name a place with more space; then run the same command again".into(),
        _ => of_class(class).into(),
    }
}

fn of_class(class: FaultClass) -> &'static str {
    match class {
        FaultClass::Transient | FaultClass::Interrupted => "run the same command again",
        FaultClass::NeedsChange => "fix the cause that the message names, then run the same command again",
        FaultClass::Permanent => "fix the cause that the message names; without a change it will fail again",
        FaultClass::Hardware => "use another device (dmesg shows what this one reported)",
        FaultClass::Unsafe => "look at the devices (lsblk), and name the right one",
    }
}

/// A fault of a file that a person named: that the filesystem with it is mounted read-only is for them to change, and says nothing of
/// a device.
pub(super) fn of_named(fault: Fault, named: &Utf8Path) -> Fault {
    let Kind::Os { on, os } = &*fault.kind else {
        return fault;
    };
    if os.errno != Some(libc::EROFS) {
        return fault;
    }
    let (said, next) = match read_only(named) {
        Some(at) => (
            format!("its filesystem, mounted at {at}, is read-only"),
            format!(
                "mount -o remount,rw {at}, or name a file elsewhere (dmesg shows whether the kernel made it read-only after an error)"
            ),
        ),
        None => (
            "the device is write-protected".to_owned(),
            format!(
                "remove the write protection (a switch on the medium, or blockdev --setrw {named}), or name another device"
            ),
        ),
    };
    let os = Os { said, ..os.clone() };
    Fault::from(PlaceFault::FileUnusable { on: on.clone(), os }).with_next(Remedy::words(next))
}

/// Where the filesystem is mounted that a name lies on, or would lie on, if it is mounted read-only.
fn read_only(named: &Utf8Path) -> Option<Utf8PathBuf> {
    let absolute = Utf8PathBuf::from_path_buf(std::path::absolute(named).ok()?).ok()?;
    let there = absolute.ancestors().find(|at| at.exists())?;
    let there = there.canonicalize_utf8().ok()?;
    let found = fs_err::metadata(&there).ok()?;
    // A device's own node lies on another filesystem than what is on it.
    let is_device = !found.is_file() && !found.is_dir();
    if is_device
        || !statvfs(there.as_std_path())
            .ok()?
            .flags()
            .contains(FsFlags::ST_RDONLY)
    {
        return None;
    }
    let mut at = there.as_path();
    while let Some(above) = at.parent() {
        if fs_err::metadata(above).ok()?.dev() != found.dev() {
            break;
        }
        at = above;
    }
    Some(at.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::fault::{ImageFault, RoomFault};

    #[test]
    fn no_next_step_is_one_of_an_install_or_takes_away_what_was_named() {
        let (named, text) = ("/dev/full".to_owned(), || "x".to_owned());
        let mut faults: Vec<Fault> = (0..134)
            .map(|number| crate::os_error::fault("/x", &std::io::Error::from_raw_os_error(number)))
            .collect();
        let os = || crate::os_error::of(&std::io::Error::from_raw_os_error(libc::ENOENT));
        faults.extend([
            PlaceFault::FileUnusable {
                on: named.clone(),
                os: os(),
            }
            .into(),
            PlaceFault::FileType {
                path: named.clone(),
                expected: text(),
            }
            .into(),
            PlaceFault::NotRegular {
                on: named.clone(),
                found: text(),
            }
            .into(),
            PlaceFault::FileTooLong {
                on: named.clone(),
                max: 1,
            }
            .into(),
            PlaceFault::RecordUnusable {
                file: named.clone(),
                reason: text(),
            }
            .into(),
            DeviceFault::DiskTaken {
                disk: named.clone(),
                holders: vec![],
            }
            .into(),
            DeviceFault::Occupied {
                device: named.clone(),
                found: text(),
            }
            .into(),
            ImageFault::Missing { image: text() }.into(),
            ImageFault::Damaged {
                image: text(),
                reason: text(),
            }
            .into(),
            ImageFault::PartWrong {
                image: text(),
                part: text(),
                reads: 3,
            }
            .into(),
            RoomFault::Target {
                on: text(),
                needed_bytes: 2,
                available_bytes: 1,
            }
            .into(),
            Fault::of(Kind::Stopped { by: None }, Remedy::resume()),
            Fault::read_back("x", "y"),
            Fault::defect("x", "y"),
        ]);
        for fault in faults {
            let was = fault.next();
            let fault = for_images(fault);
            let next = fault.next();
            assert!(!names_install(&next), "{fault}: {next}");
            assert!(
                !next.contains("rm ") && !next.contains("move "),
                "{fault}: {next} (was: {was})"
            );
            assert!(!next.is_empty(), "{fault}");
        }
        let control = Fault::from(PlaceFault::RecordUnusable {
            file: named,
            reason: text(),
        });
        assert!(
            control.next().contains("rm /dev/full"),
            "the control: {}",
            control.next()
        );
    }

    #[test]
    fn a_file_on_a_read_only_mount_is_no_broken_device() {
        let error = std::io::Error::from_raw_os_error(libc::EROFS);
        let fault = || crate::os_error::fault("target x", &error);
        assert_eq!(
            fault().class,
            FaultClass::Hardware,
            "the control: a filesystem that turned so by itself"
        );
        // /sys/fs/cgroup and /proc/sys are no mounts of a disk everywhere; a device that cannot be written says the same.
        let told = for_images(of_named(fault(), "/dev/null".into()));
        assert_eq!(told.class, FaultClass::NeedsChange);
        assert!(
            told.why().contains("write-protected") && told.next().contains("--setrw"),
            "{told}: {}",
            told.next()
        );
        let other = crate::os_error::fault("x", &std::io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(of_named(other, "/x".into()).class, FaultClass::Hardware);
    }
}
