//! What is being made, is used, and was left: with processes that are killed.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

fn scratch(name: &str) -> Cache {
    let root = std::env::temp_dir().join(format!("lab-cache-{}-{name}", std::process::id()));
    fs::create_dir_all(&root).unwrap();
    let root = fs::canonicalize(root).unwrap();
    Cache {
        workspace: root.clone(),
        root,
    }
}

#[test]
fn what_nobody_makes_any_more_is_removed_and_nothing_else() {
    let cache = scratch("left");
    let root = &cache.root;
    for name in ["left.building", "made.building", "whole-0123", "building"] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("part"), "").unwrap();
    }
    fs::write(root.join("file.building"), "").unwrap();
    std::os::unix::fs::symlink(root.join("whole-0123"), root.join("link.building")).unwrap();
    let held = Making::begin(root, "made").unwrap();
    cache.remove_unfinished().unwrap();
    let there = |name: &str| root.join(name).exists();
    assert!(!there("left.building"));
    assert!(there("made.building") && there("whole-0123/part") && there("building"));
    assert!(
        there("file.building") && there("link.building"),
        "no folder of the laboratory's"
    );
    drop(held);
    cache.remove_unfinished().unwrap();
    assert!(!there("made.building"));
    remove(root).unwrap();
}

/// A child that was started with a lock holds it after its parent's end of the lock is gone, as when the parent was killed.
#[test]
fn what_a_living_helper_of_a_killed_laboratory_writes_into_stays() {
    let cache = scratch("helper");
    let making = Making::begin(&cache.root, "qemu").unwrap();
    making.empty().unwrap();
    let folder = making.to_path_buf();
    let mut helper = Command::new("sleep");
    helper.arg("60").stdin(Stdio::null());
    crate::ending::inherits(&mut helper, making.lock().unwrap());
    let mut running = helper.spawn().unwrap();
    drop(helper);
    // SIGKILL closes descriptors and unlocks nothing by itself; dropping a `Flock` would unlock it for the helper too.
    let Making {
        lock, _unfinished, ..
    } = making;
    std::mem::forget(_unfinished);
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&*lock);
    std::mem::forget(lock);
    nix::unistd::close(descriptor).unwrap();

    cache.remove_unfinished().unwrap();
    assert!(folder.exists(), "the helper still writes into it");
    running.kill().unwrap();
    running.wait().unwrap();
    cache.remove_unfinished().unwrap();
    assert!(!folder.exists());
    remove(&cache.root).unwrap();
}

#[test]
fn an_artefact_that_somebody_uses_is_not_retired() {
    let cache = scratch("used");
    let make = |input: &[u8]| {
        cache
            .artefact("environment", &[input], |scratch| {
                Ok(fs::write(scratch.join("part"), input)?)
            })
            .unwrap()
    };
    let first = make(b"1");
    let second = make(b"2");
    assert!(first.exists(), "this process uses it until it ends");
    unused(&first);
    let third = make(b"3");
    assert!(!first.exists() && second.exists() && third.exists());
    let mut other = Command::new("flock");
    let mut other = other
        .args(["--shared", "--no-fork"])
        .arg(&second)
        .args(["sleep", "60"])
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    unused(&second);
    while alone(&second).unwrap().is_some() {
        assert!(Instant::now() < until, "flock did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let fourth = make(b"4");
    assert!(second.exists(), "another process uses it");
    other.kill().unwrap();
    other.wait().unwrap();
    let fifth = make(b"5");
    assert!(
        !second.exists() && fourth.exists() && fifth.exists(),
        "the control: nobody does"
    );
    remove(&cache.root).unwrap();
}

#[test]
fn temporary_files_are_no_part_of_an_artefact() {
    let cache = scratch("temporary");
    let place = cache
        .artefact("qemu", &[b"x"], |scratch| {
            fs::create_dir_all(scratch.temporary().join("mmdebstrap.x"))?;
            Ok(fs::write(scratch.join("part"), "")?)
        })
        .unwrap();
    let names: Vec<_> = fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["part"]);
    remove(&cache.root).unwrap();
}
