//! Promise: a device that takes no writes is reported as one, even if the program that could not write does not say why.
//!
//! The devices are real, and the kernel keeps them read-only; the same device that takes writes is the control. Needed: root,
//! losetup, mkfs.fat, mkswap.

#![allow(clippy::unwrap_used)] // a test may end where it stands

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::Reporter;
use landfall::real::process::stop::Stop;
use landfall::real::volume::{esp, filesystems};
use landfall_states::fault::{Cause, Fault};
use landfall_states::plan::Volume;
use std::process::Command;
use uuid::Uuid;

/// A loop device, which goes with it.
struct Loop(Utf8PathBuf);

impl Loop {
    fn of(file: &Utf8Path, more: &[&str]) -> Loop {
        let made = Command::new("losetup")
            .args(more)
            .args(["--find", "--show", file.as_str()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Loop(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .args(["--detach", self.0.as_str()])
            .status();
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
