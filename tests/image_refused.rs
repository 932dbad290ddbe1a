//! Promise: a refusal of `landfall image` names a next step that belongs to images, and that helps: here it is carried out,
//! and the same command then works. No file that a person named is proposed for removal. A second writer of one device is
//! refused, by whatever name each of them knows it.
//!
//! Needed: mke2fs, e2fsck; for some, root, mount and losetup.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "shared/loops.rs"]
mod loops;

#[path = "root_image/kit.rs"]
mod kit;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use kit::*;
use landfall::lock::target::TargetLock;
use std::process::Command;

fn landfall(args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .arg("image")
        .args(args)
        .output()
        .unwrap();
    (
        out.status.code().unwrap(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

/// Refused, in words that are of images alone.
fn refused(code: i32, args: &[&str], next: &str) {
    let (found, text) = landfall(args);
    assert_eq!(found, code, "{args:?}: {text}");
    let told = text
        .split("next: ")
        .nth(1)
        .unwrap_or_else(|| panic!("{args:?}: {text}"));
    assert!(told.contains(next), "{args:?}: {text}");
    for wrong in [
        "rm ",
        "move ",
        "landfall resume",
        "landfall log",
        "landfall install",
        "landfall plan",
        "landfall status",
    ] {
        assert!(!told.contains(wrong), "{args:?}: {text}");
    }
    assert!(!text.contains("does not know this error"), "{args:?}: {text}");
}

fn done(args: &[&str]) {
    // A program that a parallel test is just starting holds what this process has let go, until it is its own.
    let ends = std::iter::repeat_with(|| landfall(args));
    let paced = ends.inspect(|(code, _)| {
        if *code == 4 {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let (code, text) = paced
        .take(20)
        .find(|(code, _)| *code != 4)
        .unwrap_or_else(|| landfall(args));
    assert_eq!(code, 0, "{args:?}: {text}");
}

fn run(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn target(at: &Utf8Path, image: &Utf8Path) {
    let bytes = opened(image).manifest.filesystem_bytes;
    fs::File::create(at).unwrap().set_len(bytes).unwrap();
}

#[test]
fn the_next_step_for_a_target_helps() {
    let (_keep, folder) = folder();
    let (image, _) = image(&folder, 1);
    let (image, device) = (image.as_str(), folder.join("device"));
    let small = folder.join("small");
    fs::File::create(&small).unwrap().set_len(4096).unwrap();
    // What is no target: another one is named.
    for no in ["/dev/null", "/dev/full", "/tmp", folder.as_str()] {
        refused(7, &["write", image, no], "name a disk, a partition");
    }
    refused(
        6,
        &["write", image, folder.join("absent").as_str()],
        "that exists",
    );
    refused(6, &["write", image, small.as_str()], "name a larger target");
    // Something is there.
    target(&device, image.into());
    done(&["write", "--erase", image, device.as_str()]);
    refused(6, &["write", image, device.as_str()], "--erase");
    done(&["write", "--erase", image, device.as_str()]);
}

#[test]
fn the_next_step_for_a_record_helps() {
    let (_keep, folder) = folder();
    let (image, _) = image(&folder, 1);
    let (image, device) = (image.as_str(), folder.join("device"));
    let text = folder.join("text");
    fs::write(&text, "no record").unwrap();
    let record = folder.join("record");
    target(&device, image.into());
    // What is no record: another file is named.
    for no in ["/dev/full", "/tmp", "/dev/null", text.as_str()] {
        let (code, _) = landfall(&["write", "--erase", "--resume", no, image, device.as_str()]);
        refused(
            code,
            &["write", "--erase", "--resume", no, image, device.as_str()],
            "name another file",
        );
    }
    assert_eq!(fs::read(&text).unwrap(), b"no record", "it is as it was");
    done(&[
        "write",
        "--erase",
        "--resume",
        record.as_str(),
        image,
        device.as_str(),
    ]);
    // A folder that is not there is made.
    let absent = folder.join("a/b");
    let later = absent.join("record");
    target(&device, image.into());
    refused(
        7,
        &["write", "--resume", later.as_str(), image, device.as_str()],
        "mkdir -p DIR",
    );
    fs::create_dir_all(&absent).unwrap();
    done(&[
        "write",
        "--erase",
        "--resume",
        later.as_str(),
        image,
        device.as_str(),
    ]);
}

#[test]
fn the_next_step_for_an_image_helps() {
    let (_keep, folder) = folder();
    let text = folder.join("text");
    fs::write(&text, "no image").unwrap();
    // No image.
    for (no, next) in [
        (text.as_str(), "landfall image build"),
        ("/dev/null", "landfall image build"),
        ("/nonexistent", "landfall image build"),
    ] {
        for command in ["info", "verify"] {
            let (code, _) = landfall(&[command, no]);
            refused(code, &[command, no], next);
        }
    }
}

#[test]
fn the_next_step_for_a_build_helps() {
    let (_keep, folder) = folder();
    // The store's folder and the closure's description are made with it.
    let _image = image(&folder, 1);
    // What is not in the store.
    let gone = "/nix/store/00000000000000000000000000000000-nope";
    let out = folder.join("n.image");
    refused(
        7,
        &["build", "--system", gone, "--out", out.as_str()],
        "name a system",
    );
    let (root, info) = (folder.join("store"), folder.join("store/info"));
    let build = |out: &str| {
        [
            "build",
            "--system",
            SYSTEM,
            "--store",
            root.as_str(),
            "--closure-info",
            info.as_str(),
            "--out",
            out,
        ]
        .map(str::to_owned)
    };
    let args = |list: &[String]| {
        list.iter()
            .map(String::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let nowhere = args(&build(folder.join("c/x.image").as_str()));
    let nowhere: Vec<&str> = nowhere.iter().map(String::as_str).collect();
    refused(7, &nowhere, "mkdir -p DIR");
    fs::create_dir_all(folder.join("c")).unwrap();
    done(&nowhere);
}

#[test]
fn a_read_only_mount_is_for_a_person_to_change() {
    let (_keep, folder) = folder();
    let (image, _) = image(&folder, 1);
    let at = folder.join("mount");
    fs::create_dir_all(&at).unwrap();
    if run(
        "mount",
        &["-t", "tmpfs", "-o", "size=300m", "landfall-test", at.as_str()],
    )
    .is_none()
    {
        return;
    }
    let device = at.join("device");
    target(&device, &image);
    let again = || {
        run("mount", &["-o", "remount,ro", at.as_str()]).unwrap();
        let next = format!("mount -o remount,rw {at}");
        refused(6, &["write", "--erase", image.as_str(), device.as_str()], &next);
        let record = at.join("record");
        let elsewhere = folder.join("elsewhere");
        target(&elsewhere, &image);
        refused(
            6,
            &[
                "write",
                "--erase",
                "--resume",
                record.as_str(),
                image.as_str(),
                elsewhere.as_str(),
            ],
            &next,
        );
        // As it says.
        run("mount", &["-o", "remount,rw", at.as_str()]).unwrap();
        done(&[
            "write",
            "--erase",
            "--resume",
            record.as_str(),
            image.as_str(),
            device.as_str(),
        ]);
    };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(again));
    run("umount", &[at.as_str()]).unwrap();
    done.unwrap();
}

/// Loop devices of a file; taken apart at the end.
struct Loops(Vec<Utf8PathBuf>);

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            loops::detach(device.as_str());
        }
    }
}

#[test]
fn a_second_writer_is_refused_by_whatever_name_it_knows_the_device() {
    let (_keep, folder) = folder();
    let (image, _) = image(&folder, 1);
    let file = folder.join("disk.img");
    target(&file, &image);
    let mut loops = Loops(vec![]);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for _ in 0..2 {
        loops.0.push(loops::attach(&[], file.as_str()).into());
    }
    let link = folder.join("by-another-name");
    fs_err::os::unix::fs::symlink(&loops.0[0], &link).unwrap();
    let other_node = folder.join("node");
    let number = run("lsblk", &["-dno", "MAJ:MIN", loops.0[0].as_str()]).unwrap();
    let (major, minor) = number.trim().split_once(':').unwrap();
    run("mknod", &[other_node.as_str(), "b", major, minor]).unwrap();
    let me = format!("process {}", std::process::id());
    let before = fs::read(&file).unwrap();
    let names = [&loops.0[0], &loops.0[1], &link, &other_node, &file];
    // As `image write` of the first of them holds it: the locks, and the device for itself alone.
    {
        let _file = TargetLock::take(&file).unwrap();
        let _device = TargetLock::take(&loops.0[0]).unwrap();
        let _alone = landfall::image::disk::FileDisk::open(&loops.0[0], true).unwrap();
        for name in names {
            let (code, text) = landfall(&["write", "--erase", image.as_str(), name.as_str()]);
            assert_eq!(code, 4, "{name}: {text}");
            assert!(text.contains(&me), "{name}: {text}");
            refused(
                4,
                &["write", "--erase", image.as_str(), name.as_str()],
                "wait until that process ends",
            );
        }
        assert!(fs::read(&file).unwrap() == before, "a byte was written");
    }
    for name in &names[..4] {
        done(&["write", "--erase", image.as_str(), name.as_str()]);
    }
    // Below a loop device nobody writes: whoever has that open would have other contents than are there.
    let behind = ["write", "--erase", image.as_str(), file.as_str()];
    refused(6, &behind, "losetup -d");
    drop(loops);
    done(&behind);
}
