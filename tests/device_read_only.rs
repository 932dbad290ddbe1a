//! Promise: a device that takes no writes is reported as one, even if the program that could not write does not say why.
//!
//! The devices are real, and the kernel keeps them read-only; the same device that takes writes is the control. Needed: root,
//! losetup, addpart, partx, mkfs.fat, mkswap.

#![allow(clippy::unwrap_used)] // a test may end where it stands

#[path = "shared/loops.rs"]
mod loops;

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Reporter;
use landfall::real::process::stop::Stop;
use landfall::real::volume::{esp, filesystems};
use landfall_states::fault::{Cause, Fault};
use landfall_states::plan::Volume;
use std::process::Command;
use std::sync::Mutex;
use uuid::Uuid;

/// The tests here are after the same free devices.
static ALONE: Mutex<()> = Mutex::new(());

/// A loop device, which goes with it.
struct Loop(Utf8PathBuf);

impl Loop {
    fn of(file: &Utf8Path, more: &[&str]) -> Loop {
        Loop(loops::attach(more, file.as_str()).into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        loops::detach(self.0.as_str());
    }
}

fn volume() -> Volume {
    Volume {
        id: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
        provisional: Uuid::from_u128(0x2111_2222_3333_4444_5555_6666_7777_8888),
        label: "LF-TEST".into(),
    }
}

fn made(device: &Utf8Path, what: &str) -> Result<(), Fault> {
    let (reporter, stop, volume) = (Reporter::default(), Stop::never(), volume());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match what {
        "swap" => runtime.block_on(filesystems::make_swap(device, &volume, &reporter, &stop)),
        _ => runtime.block_on(esp::make_esp(device, &volume, 512, &reporter, &stop)),
    }
}

#[test]
fn a_device_that_takes_no_writes_is_told_as_one() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let file = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::File::create(&file).unwrap().set_len(300 << 20).unwrap();
    for what in ["swap", "esp"] {
        let read_only = Loop::of(&file, &["--read-only"]);
        let fault = made(&read_only.0, what).unwrap_err();
        assert_eq!(fault.cause(), Some(Cause::TargetReadOnly), "{what}: {fault}");
        drop(read_only);
        let control = Loop::of(&file, &[]);
        made(&control.0, what).unwrap_or_else(|fault| panic!("{what}: {fault}"));
    }
}

#[test]
fn a_device_has_no_partitions_of_the_file_before() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    let file = file.to_str().unwrap();
    fs_err::File::create(file).unwrap().set_len(8 << 20).unwrap();
    // As a test leaves one that is killed: the kernel has a partition, and the device no file.
    let left = loops::attach(&[], file);
    let added = Command::new("addpart")
        .args([left.as_str(), "1", "2048", "1024"])
        .status();
    assert!(added.unwrap().success());
    assert_eq!(loops::partitions(&left).len(), 1);
    loops::detach(&left);
    let again = loops::attach(&[], file);
    assert_eq!(again, left);
    assert_eq!(loops::partitions(&again), [""; 0]);
    loops::detach(&again);
}
