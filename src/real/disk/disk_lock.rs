//! Takes the lock on the disk for a whole run.
//!
//! The lock is always on the whole disk, even if a partition of it, or a mapping on it, is named. landfall waits for programs
//! of a killed landfall that still write; it does not wait for another landfall.
//!
//! `lock::target` has the lock itself; `locked` has the one that keeps udev away during a write.

use super::io_fault;
use super::sysfs::device_number;
use crate::lock::holders::Process;
use crate::lock::target::{Refused, TargetLock};
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{DeviceFault, Fault};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tokio::time::Instant;

/// How long landfall waits for a program that a killed landfall left behind.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Deepest stack of mappings that is looked through.
const DEPTH_MAX: usize = 16;

/// Takes the lock on a disk, or on a file that stands for one. `what` is its name for people.
///
/// # Errors
/// Another landfall, or a program that it left, is at work on the disk, also after waiting.
pub async fn take(what: &str, device: &Utf8Path) -> Result<TargetLock, Fault> {
    take_within(what, device, WAIT_MAX).await
}

/// The same without waiting: a person is there, who may try again.
///
/// # Errors
/// Another landfall, or a program that it left, is at work on the disk.
pub fn take_now(what: &str, device: &Utf8Path) -> Result<TargetLock, Fault> {
    TargetLock::take(device).map_err(|refused| told(what, refused))
}

async fn take_within(what: &str, device: &Utf8Path, wait: Duration) -> Result<TargetLock, Fault> {
    let end = Instant::now() + wait;
    loop {
        match TargetLock::take(device) {
            Ok(lock) => return Ok(lock),
            Err(Refused::Held(by)) if !by.iter().any(is_landfall) && Instant::now() < end => {
                tokio::time::sleep(POLL).await;
            }
            Err(refused) => return Err(told(what, refused)),
        }
    }
}

fn told(what: &str, refused: Refused) -> Fault {
    match refused {
        Refused::Held(by) => DeviceFault::DiskTaken {
            disk: what.to_owned(),
            holders: match by.as_slice() {
                [] => vec!["a process that is not visible from here".to_owned()],
                some => some.iter().map(ToString::to_string).collect(),
            },
        }
        .into(),
        Refused::Io(e) => io_fault(what, "lock it", &e),
    }
}

/// It works on, and nobody knows how long.
fn is_landfall(process: &Process) -> bool {
    let program = process.command.split_whitespace().next().unwrap_or_default();
    program.rsplit('/').next() == Some("landfall")
}

/// The whole disks that a device lies on, by their nodes, and the file that is behind a loop device, which other loop devices, or
/// somebody directly, may write to. A file stands for itself.
///
/// # Errors
/// `/sys` cannot be read, or a device cannot be opened.
pub fn disks_below(device: &Utf8Path) -> std::io::Result<Vec<Utf8PathBuf>> {
    match device_number(device)? {
        None => Ok(vec![device.to_owned()]),
        Some(number) => {
            let mut found = below(Utf8Path::new("/sys"), number)?;
            // One that was removed has no other name any more; another namespace's is not found by its name here.
            found.retain(|path| path.starts_with("/dev") || path.is_file());
            Ok(found)
        }
    }
}

/// The file behind a loop device (`loop/backing_file` of sysfs-block(5)), by its name when it was set up.
fn backing_file(whole: &std::path::Path) -> std::io::Result<Option<Utf8PathBuf>> {
    let at = whole.join("loop/backing_file");
    let Some(at) = Utf8Path::from_path(&at) else {
        return Ok(None);
    };
    // A page is what sysfs gives at most.
    let name = safe_open::read_if_there(at, Links::Follow, 4_096).map_err(|refused| refused.into_io(at))?;
    let name = name.and_then(|name| String::from_utf8(name).ok());
    Ok(name.map(|name| name.trim_end_matches('\n').into()))
}

/// The loop devices that are made of a file, by its device and inode, whatever it is called.
///
/// # Errors
/// `/sys` cannot be read.
pub fn loops_on(file: &Utf8Path) -> std::io::Result<Vec<Utf8PathBuf>> {
    loops_of(Utf8Path::new("/sys"), file)
}

fn loops_of(sys: &Utf8Path, file: &Utf8Path) -> std::io::Result<Vec<Utf8PathBuf>> {
    let this = fs_err::metadata(file)?;
    if !this.is_file() {
        return Ok(vec![]);
    }
    let blocks = match fs_err::read_dir(sys.join("block")) {
        Ok(blocks) => blocks,
        // A system without sysfs shows no devices.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(e),
    };
    let mut found = vec![];
    for block in blocks {
        let block = block?.path();
        let Some(behind) = backing_file(&block)? else {
            continue;
        };
        // A file that was removed, or is another namespace's, is not found by its name.
        let is_this = fs_err::metadata(&behind)
            .is_ok_and(|behind| behind.dev() == this.dev() && behind.ino() == this.ino());
        if is_this && let Some(name) = block.file_name().and_then(|name| name.to_str()) {
            found.push(Utf8PathBuf::from("/dev").join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn below(sys: &Utf8Path, (major, minor): (u32, u32)) -> std::io::Result<Vec<Utf8PathBuf>> {
    let at = sys.join(format!("dev/block/{major}:{minor}"));
    let mut open = vec![(fs_err::canonicalize(&at)?, 0)];
    let mut disks = vec![];
    while let Some((at, depth)) = open.pop() {
        // A partition is a folder in its disk's.
        let whole = match at.parent() {
            Some(parent) if at.join("partition").exists() => parent.to_owned(),
            Some(_) | None => at,
        };
        let mut slaves = vec![];
        match fs_err::read_dir(whole.join("slaves")) {
            Ok(entries) => {
                for entry in entries {
                    slaves.push(fs_err::canonicalize(entry?.path())?);
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        if slaves.is_empty() || depth == DEPTH_MAX {
            disks.extend(backing_file(&whole)?);
            if let Some(name) = whole.file_name().and_then(|name| name.to_str()) {
                disks.push(Utf8PathBuf::from("/dev").join(name.replace('!', "/")));
            }
        } else {
            open.extend(slaves.into_iter().map(|slave| (slave, depth + 1)));
        }
    }
    // In one order for everybody: two that want the same disks do not get one each.
    disks.sort();
    disks.dedup();
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::test_support::block_on;
    use fs_err::os::unix::fs::symlink;
    use landfall_states::fault::Kind;

    #[test]
    fn a_disk_that_somebody_works_on_is_refused_with_the_process_and_the_next_command() {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().join("disk")).unwrap();
        fs_err::write(&path, "data").unwrap();
        let lock = block_on(take("disk x", &path)).unwrap();
        let fault = take_now("disk x", &path).unwrap_err();
        let me = format!("process {}", std::process::id());
        assert!(fault.why().contains(&me), "{fault}");
        assert!(
            fault.next().contains("landfall status --watch"),
            "{}",
            fault.next()
        );
        assert!(matches!(
            &*fault.kind,
            Kind::Device(DeviceFault::DiskTaken { .. })
        ));
        drop(lock);
        block_on(take("disk x", &path)).unwrap();
    }

    /// A killed landfall's program may have some seconds' work left.
    #[test]
    fn what_ends_by_itself_is_waited_for() {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().join("disk")).unwrap();
        fs_err::write(&path, "data").unwrap();
        let lock = block_on(take("disk x", &path)).unwrap();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(lock);
        });
        block_on(take("disk x", &path)).unwrap();
        later.join().unwrap();
    }

    #[test]
    fn another_landfall_is_not_waited_for() {
        let process = |command: &str| Process {
            pid: 1,
            command: command.into(),
        };
        assert!(is_landfall(&process("landfall install")));
        assert!(is_landfall(&process("/nix/store/x/bin/landfall resume")));
        assert!(!is_landfall(&process("mkfs.ext4 -F /dev/landfall")));
    }

    #[test]
    fn a_partition_and_what_is_mapped_upon_it_are_of_their_disk() {
        let keep = tempfile::tempdir().unwrap();
        let sys = Utf8PathBuf::from_path_buf(fs_err::canonicalize(keep.path()).unwrap()).unwrap();
        for dir in ["vda/vda2", "dm-0/slaves", "cciss!c0d0", "dm-1/slaves"] {
            fs_err::create_dir_all(sys.join("devices").join(dir)).unwrap();
        }
        fs_err::create_dir_all(sys.join("dev/block")).unwrap();
        fs_err::write(sys.join("devices/vda/vda2/partition"), "2").unwrap();
        symlink(sys.join("devices/vda/vda2"), sys.join("devices/dm-0/slaves/vda2")).unwrap();
        symlink(sys.join("devices/dm-0"), sys.join("devices/dm-1/slaves/dm-0")).unwrap();
        symlink(sys.join("devices/cciss!c0d0"), sys.join("devices/dm-1/slaves/c")).unwrap();
        for (number, at) in [
            ("254:0", "vda"),
            ("254:2", "vda/vda2"),
            ("253:0", "dm-0"),
            ("253:1", "dm-1"),
        ] {
            symlink(sys.join("devices").join(at), sys.join("dev/block").join(number)).unwrap();
        }
        for number in [(254, 0), (254, 2), (253, 0)] {
            assert_eq!(below(&sys, number).unwrap(), ["/dev/vda"]);
        }
        assert_eq!(below(&sys, (253, 1)).unwrap(), ["/dev/cciss/c0d0", "/dev/vda"]);
        // A partition of a loop device, and the device itself, are of the file behind it.
        for dir in ["loop3/loop", "loop3/loop3p1"] {
            fs_err::create_dir_all(sys.join("devices").join(dir)).unwrap();
        }
        fs_err::write(sys.join("devices/loop3/loop/backing_file"), "/srv/a disk.img\n").unwrap();
        fs_err::write(sys.join("devices/loop3/loop3p1/partition"), "1").unwrap();
        symlink(sys.join("devices/loop3"), sys.join("dev/block/7:3")).unwrap();
        symlink(sys.join("devices/loop3/loop3p1"), sys.join("dev/block/259:0")).unwrap();
        for number in [(7, 3), (259, 0)] {
            assert_eq!(below(&sys, number).unwrap(), ["/dev/loop3", "/srv/a disk.img"]);
        }
    }

    #[test]
    fn a_file_behind_a_loop_device_is_known_by_any_name() {
        let keep = tempfile::tempdir().unwrap();
        let sys = Utf8PathBuf::from_path_buf(fs_err::canonicalize(keep.path()).unwrap()).unwrap();
        for dir in ["block/loop0", "block/loop1/loop", "block/vda"] {
            fs_err::create_dir_all(sys.join(dir)).unwrap();
        }
        let (file, other, link) = (sys.join("file"), sys.join("other"), sys.join("link"));
        fs_err::write(&file, "").unwrap();
        fs_err::hard_link(&file, &other).unwrap();
        symlink(&file, &link).unwrap();
        fs_err::write(sys.join("block/loop1/loop/backing_file"), format!("{file}\n")).unwrap();
        for name in [&file, &other, &link] {
            assert_eq!(loops_of(&sys, name).unwrap(), ["/dev/loop1"], "{name}");
        }
        // The controls: another file, and one that was removed.
        fs_err::write(sys.join("more"), "").unwrap();
        assert!(loops_of(&sys, &sys.join("more")).unwrap().is_empty());
        fs_err::write(
            sys.join("block/loop1/loop/backing_file"),
            format!("{file} (deleted)\n"),
        )
        .unwrap();
        assert!(loops_of(&sys, &file).unwrap().is_empty());
    }
}
