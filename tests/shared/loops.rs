//! A loop device of a file, without the partitions of a file that it had before: the kernel keeps those that were added by name
//! (`partx --add`) after `losetup --detach`, and whoever asks for a free device is given them.

#![allow(dead_code, clippy::unwrap_used)] // every test that takes this in uses a part of it

use std::process::Command;

/// What belongs to the device in sysfs: its partitions.
pub fn partitions(device: &str) -> Vec<String> {
    let name = device.trim_start_matches("/dev/");
    fs_err::read_dir(format!("/sys/block/{name}"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|entry| entry.starts_with(name))
        .collect()
}

pub fn attach(arguments: &[&str], file: &str) -> String {
    let made = Command::new("losetup")
        .args(arguments)
        .args(["--find", "--show", file])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    if !partitions(&device).is_empty() {
        let deleted = Command::new("partx")
            .args(["--delete", &device])
            .output()
            .unwrap();
        assert!(deleted.status.success(), "{device}: {deleted:?}");
    }
    device
}

pub fn detach(device: &str) {
    let done = Command::new("losetup").args(["--detach", device]).status();
    assert!(std::thread::panicking() || done.unwrap().success(), "{device}");
}
