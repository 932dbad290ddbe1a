//! Promise: one landfall writes to a disk, whatever happens to its run directory.
//!
//! The locks are the kernel's. A refusal names the process that has one. A lock ends with the last process that has it.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/loops.rs"]
mod loops;

use camino::Utf8Path;
use camino::Utf8PathBuf;
use landfall::lock::machine::{self, MachineLock};
use landfall::lock::target::{Refused, TargetLock, inherited};
use nix::fcntl::{FcntlArg, fcntl};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

fn place(keep: &tempfile::TempDir) -> Utf8PathBuf {
    let path = Utf8PathBuf::from_path_buf(keep.path().join("disk")).unwrap();
    fs_err::write(&path, [7; 4096]).unwrap();
    path
}

fn pids(refused: Result<TargetLock, Refused>) -> Vec<u32> {
    match refused {
        Err(Refused::Held(by)) => by.iter().map(|process| process.pid).collect(),
        Err(Refused::Io(e)) => panic!("{e}"),
        Ok(_) => panic!("taken twice"),
    }
}

/// Who holds it, once the programs that other tests start have let go of what they have for a moment.
fn holders(path: &Utf8Path, expected: u32) -> Vec<u32> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let found = pids(TargetLock::take(path));
        if found == [expected] || Instant::now() > end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Other tests start programs meanwhile, which have every descriptor for a moment.
fn taken_soon(path: &Utf8Path) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if TargetLock::take(path).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A program that has the lock as those have it that landfall starts.
fn heir(lock: &TargetLock) -> Child {
    lock.inherit();
    let fd = inherited().unwrap();
    let mut command = Command::new("sleep");
    command.arg("30");
    // SAFETY: fcntl(2) on a descriptor of the child's own.
    unsafe {
        command.pre_exec(move || {
            let fd = std::os::fd::BorrowedFd::borrow_raw(fd);
            fcntl(fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
            Ok(())
        });
    }
    command.spawn().unwrap()
}

#[test]
fn a_second_writer_is_told_who_holds_the_disk_and_the_disk_is_as_it_was() {
    let keep = tempfile::tempdir().unwrap();
    let path = place(&keep);
    let lock = TargetLock::take(&path).unwrap();
    assert_eq!(holders(&path, std::process::id()), [std::process::id()]);
    // Under another name it is the same disk.
    let link = path.with_file_name("link");
    fs_err::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(holders(&link, std::process::id()), [std::process::id()]);
    drop(lock);
    assert!(taken_soon(&path));
    assert_eq!(fs_err::read(&path).unwrap(), [7; 4096]);
}

/// udev takes this one, and programs with `--lock`.
#[test]
fn flock_by_another_program_is_not_blocked() {
    let keep = tempfile::tempdir().unwrap();
    let path = place(&keep);
    let _lock = TargetLock::take(&path).unwrap();
    let file = fs_err::File::open(&path).unwrap().into_parts().0;
    assert!(nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).is_ok());
}

#[test]
fn what_outlives_its_holder_and_may_still_write_keeps_it() {
    let keep = tempfile::tempdir().unwrap();
    let path = place(&keep);
    let lock = TargetLock::take(&path).unwrap();
    let mut child = heir(&lock);
    drop(lock);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(holders(&path, child.id()), [child.id()]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(taken_soon(&path), "it goes with the last one");
}

/// What is started without being asked to keep it has no part in it.
#[test]
fn a_program_that_does_not_inherit_it_keeps_nobody_off() {
    let keep = tempfile::tempdir().unwrap();
    let path = place(&keep);
    let lock = TargetLock::take(&path).unwrap();
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    drop(lock);
    assert!(taken_soon(&path));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The device's own lock, on a loop device of a file of ours: through the device's node, whatever directory is deleted.
#[test]
#[ignore = "run by hand: cargo test --test one_writer -- --ignored (as root; it makes a loop device of a file)"]
fn a_block_device_is_locked_through_its_node() {
    let keep = tempfile::tempdir().unwrap();
    let path = place(&keep);
    fs_err::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let device = Utf8PathBuf::from(loops::attach(&[], path.as_str()));
    let lock = TargetLock::take(&device).unwrap();
    assert_eq!(holders(&device, std::process::id()), [std::process::id()]);
    let again = || {
        Command::new("blockdev")
            .args(["--rereadpt", device.as_str()])
            .status()
            .unwrap()
    };
    again();
    drop(lock);
    let taken = taken_soon(&device);
    loops::detach(device.as_str());
    assert!(taken);
}

#[test]
fn a_second_start_is_told_who_has_the_machine_and_it_goes_with_its_holder() {
    let name = format!("landfall/test-{}", std::process::id());
    let lock = MachineLock::take_named(&name, Duration::ZERO).unwrap();
    let Err(machine::Refused::Held(by)) = MachineLock::take_named(&name, Duration::ZERO) else {
        panic!("taken twice")
    };
    assert_eq!(by.iter().map(|p| p.pid).collect::<Vec<_>>(), [std::process::id()]);
    // What is started meanwhile does not have it.
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    drop(lock);
    // Other tests start programs meanwhile, which have every descriptor for a moment.
    assert!(MachineLock::take_named(&name, Duration::from_secs(10)).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
}
