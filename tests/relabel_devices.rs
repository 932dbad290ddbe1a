//! Promise: `landfall relabel` changes labels on real devices, in use where that can be, and nothing else; stopped after any step, or
//! with a tool killed at any of its writes, it comes to the same end when it is run again.
//!
//! Needed: root, losetup, partx, mkfs.ext4, mkfs.xfs, mkfs.btrfs, mkfs.vfat, mkswap, cryptsetup, fatlabel, swaplabel; for tools that are
//! killed, strace. A kernel without FAT has the ESP unmounted here; the mount and its undoing are the laboratory's.
//!
//! Measured on loop devices, each tool killed at each of its writes (util-linux 2.38.1, e2fsprogs 1.47.0, dosfstools 4.2, xfsprogs 6.1,
//! btrfs-progs 6.2, cryptsetup 2.6.1, Linux 6.18):
//!
//! | tool | what it leaves |
//! |---|---|
//! | `tune2fs -L` on a mounted ext4 | the label in the kernel's memory; on the medium after a sync only |
//! | the same, unmounted | old or new; copies of the superblock first |
//! | `fatlabel` | boot sector new and root directory old between its writes; the next call ends it; a dirty FAT is not refused |
//! | `swaplabel` | old or new; on a swap that is on, "Text file busy" and nothing |
//! | `xfs_admin` on a mounted XFS | refused; `FS_IOC_SETFSLABEL` writes it at once |
//! | `btrfs filesystem label` | old or new |
//! | `cryptsetup config --label` | old or new, and always one whole header |
//! | `sfdisk --part-label`, `sgdisk -c` | a first copy that is not whole between two of their writes |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "relabel/disk.rs"]
#[allow(dead_code)]
mod disk;

use camino::Utf8Path;
use disk::{Disk, is_root, probe, run};
use fs_err as fs;
use landfall::real::process::stop::Stop;
use landfall::relabel::RelabelError;
use landfall::relabel::apply::Told;
use landfall::relabel::label::Bearer;
use std::process::Command;

#[test]
fn every_label_is_made_in_use_and_nothing_else_changes() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("all");
    let before = disk.identities();
    let (facts, plan) = disk.plan();
    assert_eq!(plan.changes.len(), 7, "{:?}", plan.changes);
    let mut seen = vec![];
    disk.apply(&plan, &mut |what| {
        seen.push(match what {
            Told::Label(change, made) => format!("{} {made}", change.bearer),
            Told::Link(link, _) => link.to_owned(),
            Told::PutBack(what) => format!("again {what}"),
            Told::File(_) => unreachable!(),
        });
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            "ext4 true",
            "XFS true",
            "Btrfs true",
            "LUKS2 header true",
            "partition name true",
            "swap true",
            "FAT true",
            "/dev/disk/by-label/root-all",
            "/dev/disk/by-partlabel/luks-all",
            "/dev/disk/by-label/ESP-ALL",
            "/dev/disk/by-label/xfs-all",
            "/dev/disk/by-label/btrfs-all",
            "/dev/disk/by-label/swap-all",
        ],
        "labels before links"
    );
    disk.check();
    assert_eq!(disk.identities(), before);
    assert!(before[1].ends_with("mine"));
    // Again: nothing is left to do, and nothing is done.
    let (_, again) = disk.plan();
    assert!(again.changes.iter().all(|change| change.is_done()));
    disk.apply(&again, &mut |what| {
        if let Told::Label(change, made) = what {
            assert!(!made, "{}", change.what);
        }
    })
    .unwrap();
    assert_eq!(again.new_name_in_fstab(&facts, "/dev/mapper/cryptroot"), None);
}

#[test]
fn stopped_after_any_step_it_continues() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("stop");
    let before = disk.identities();
    for steps in 1..=8 {
        let (_, plan) = disk.plan();
        let (wish, stop) = Stop::new();
        let mut labels_told = 0;
        let ended = disk.apply_until(&plan, &stop, &mut |what| {
            if matches!(what, Told::Label(..)) {
                labels_told += 1;
                if labels_told == steps {
                    wish.send_replace(Some("SIGTERM"));
                }
            }
        });
        assert_eq!(disk.identities(), before);
        match ended {
            Err(RelabelError::Stopped) => assert!(steps <= 7),
            Ok(()) => assert_eq!(steps, 8),
            Err(other) => panic!("{other}"),
        }
    }
    disk.check();
}

#[test]
fn what_a_killed_run_took_out_of_use_is_put_back_by_the_next() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("back");
    // Between swapoff and swaplabel, and again between swaplabel and swapon.
    run("swapoff", &[&disk.part(6)]);
    let (_, plan) = disk.plan();
    disk.apply(&plan, &mut |_| {}).unwrap();
    disk.check();
    run("swapoff", &[&disk.part(6)]);
    let (_, plan) = disk.plan();
    let mut back = vec![];
    disk.apply(&plan, &mut |what| {
        if let Told::PutBack(what) = what {
            back.push(what.to_owned());
        }
    })
    .unwrap();
    assert_eq!(back, ["swap"]);
    disk.check();
}

#[test]
fn a_link_that_does_not_come_is_an_error_and_the_labels_stay_made() {
    if !is_root() {
        return;
    }
    let mut disk = Disk::new("link");
    disk.stop_udev();
    let (_, plan) = disk.plan();
    let error = disk.apply(&plan, &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, RelabelError::Link { link, .. } if link == "/dev/disk/by-label/root-link"),
        "{error}"
    );
    disk.check();
    // One that leads elsewhere is none.
    let by_label = disk.places().links.join("by-label");
    fs::create_dir_all(&by_label).unwrap();
    std::os::unix::fs::symlink(disk.part(4), by_label.join("root-link")).unwrap();
    let error = disk.apply(&plan, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("points to device"), "{error}");
}

#[test]
fn what_is_in_doubt_or_in_use_is_refused_and_left_as_it_is() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("busy");
    let esp = disk.part(1);
    let fails = || {
        let (_, plan) = disk.plan();
        disk.apply(&plan, &mut |_| {}).unwrap_err()
    };
    // Another filesystem came to lie over the mount since the plan was made.
    let (_, plan) = disk.plan();
    let over = disk.mount("ext4");
    run("mount", &["-t", "tmpfs", "none", over.as_str()]);
    let error = disk.apply(&plan, &mut |_| {}).unwrap_err();
    run("umount", &[over.as_str()]);
    assert!(
        matches!(&error, RelabelError::Moved(at) if *at == over),
        "{error}"
    );
    assert_eq!(probe(&disk.part(3), "LABEL"), "old");
    // Somebody else has the device.
    let holder = nix::fcntl::open(
        esp.as_str(),
        nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_EXCL,
        nix::sys::stat::Mode::empty(),
    )
    .unwrap();
    assert!(matches!(fails(), RelabelError::StillUsed { .. }));
    drop(holder);
    // It was not unmounted, once.
    let flag = |byte: u8| {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&esp).unwrap();
        file.file().write_all_at(&[byte], 0x41).unwrap();
        file.sync_all().unwrap();
    };
    flag(1);
    assert!(matches!(fails(), RelabelError::Dirty(_)));
    assert_eq!(probe(&esp, "LABEL"), "OLD");
    flag(0);
    disk.apply(&disk.plan().1, &mut |_| {}).unwrap();
    disk.check();
    // A device that is another one by now.
    let (_, mut plan) = disk.plan();
    for change in &mut plan.changes {
        change.new.push('2');
        if let Some(content) = &mut change.device.content {
            content.uuid = Some("another".into());
        }
    }
    assert!(matches!(
        disk.apply(&plan, &mut |_| {}),
        Err(RelabelError::Moved(_))
    ));
    disk.check();
}

/// How often a tool writes to a device.
fn writes(device: &str, program: &[&str]) -> usize {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let at = trace.path().to_str().unwrap();
    run(
        "strace",
        &[
            &["-f", "-o", at, "-P", device, "-e", "trace=write,pwrite64"],
            program,
        ]
        .concat(),
    );
    fs::read_to_string(trace.path())
        .unwrap()
        .lines()
        .filter(|line| line.contains("write"))
        .count()
}

/// Runs a tool, which is killed at this write to a device, counted from one.
fn killed_at(at: usize, device: &str, program: &[&str]) {
    let inject = format!("inject=write,pwrite64:signal=KILL:when={at}");
    let traced = [
        &[
            "-f",
            "-o",
            "/dev/null",
            "-P",
            device,
            "-e",
            "trace=write,pwrite64",
            "-e",
            &inject,
        ],
        program,
    ]
    .concat();
    let output = Command::new("strace").args(&traced).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn a_tool_that_was_killed_at_any_write_is_finished_by_the_next_run() {
    if !is_root() || Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let disk = Disk::new("kill");
    let (esp, swap, luks) = (disk.part(1), disk.part(6), disk.part(2));
    run("swapoff", &[&swap]);
    let (new_esp, new_swap, new_luks) = ("ESP-KILL", "swap-kill", "luks-kill");
    let tools: [(&str, Vec<&str>, Vec<&str>); 3] = [
        (
            &esp,
            vec!["fatlabel", &esp, new_esp],
            vec!["fatlabel", &esp, "OLD"],
        ),
        (
            &swap,
            vec!["swaplabel", "--label", new_swap, &swap],
            vec!["swaplabel", "--label", "old", &swap],
        ),
        (
            &luks,
            vec![
                "cryptsetup",
                "config",
                &luks,
                "--label",
                new_luks,
                "--subsystem",
                "mine",
            ],
            vec![
                "cryptsetup",
                "config",
                &luks,
                "--label",
                "old",
                "--subsystem",
                "mine",
            ],
        ),
    ];
    let mut halves = 0;
    for (device, forth, back) in &tools {
        let count = writes(device, forth);
        assert!(count > 0, "{forth:?}");
        for at in 1..=count {
            run(back[0], &back[1..]);
            killed_at(at, device, forth);
            halves += usize::from(probe(&esp, "LABEL") != probe(&esp, "LABEL_FATBOOT"));
            let (_, plan) = disk.plan();
            disk.apply(&plan, &mut |_| {}).unwrap();
            disk.check();
            run("swapoff", &[&swap]);
        }
    }
    assert!(
        halves > 0,
        "the control: fatlabel leaves half a label, which is not taken for a whole one"
    );
    run("swapon", &["--priority", "7", &swap]);
}

/// What is on the medium is what a power cut leaves: udev sees it before a journal is replayed.
#[test]
fn a_label_is_on_the_medium_and_not_in_memory_only() {
    if !is_root() {
        return;
    }
    let disk = Disk::new("cut");
    let image = disk.mount("disk.img");
    let (first, bytes) = (start(&disk, 3), 64 << 20);
    let on_medium = || {
        let part = disk.mount("part.img");
        let copy = format!(
            "dd if={image} of={part} bs=1M iflag=skip_bytes,count_bytes skip={first} count={bytes} status=none"
        );
        run("sh", &["-c", &copy]);
        probe(part.as_str(), "LABEL")
    };
    // The control: by tune2fs alone it is not.
    run("tune2fs", &["-L", "other", &disk.part(3)]);
    assert_eq!(
        (probe(&disk.part(3), "LABEL"), on_medium()),
        ("other".into(), "old".into())
    );
    let (_, plan) = disk.plan();
    assert_eq!(
        plan.changes
            .iter()
            .filter(|change| change.bearer == Bearer::Ext)
            .count(),
        1
    );
    disk.apply(&plan, &mut |_| {}).unwrap();
    assert_eq!(on_medium(), "root-cut");
}

/// Where a partition begins, in bytes.
fn start(disk: &Disk, number: u32) -> u64 {
    let name = Utf8Path::new(&disk.device).file_name().unwrap();
    let text = fs::read_to_string(format!("/sys/block/{name}/{name}p{number}/start")).unwrap();
    text.trim().parse::<u64>().unwrap() * 512
}

/// The command, as somebody else than root where a user is named; a copy of the program, for the folder that it is in may be root's alone.
fn landfall(before: &[&str], args: &[&str]) -> (Option<i32>, String, String) {
    let keep = tempfile::tempdir().unwrap();
    fs::set_permissions(keep.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = keep.path().join("landfall");
    fs::copy(env!("CARGO_BIN_EXE_landfall"), &program).unwrap();
    let words = [before, &[program.to_str().unwrap(), "relabel"], args].concat();
    let ended = Command::new(words[0])
        .args(&words[1..])
        .current_dir("/")
        .output()
        .unwrap();
    (
        ended.status.code(),
        String::from_utf8(ended.stdout).unwrap(),
        String::from_utf8(ended.stderr).unwrap(),
    )
}

#[test]
fn options_that_are_wrong_by_themselves_are_told_before_the_machine_is_looked_at() {
    let nobody: &[&str] = if is_root() && Command::new("setpriv").arg("--version").output().is_ok() {
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    } else {
        &["env"]
    };
    let keep = tempfile::tempdir().unwrap();
    let absent = keep.path().join("absent");
    let absent = absent.to_str().unwrap();
    for (args, why) in [
        (vec!["--label", "home-web"], "/home=home-web"),
        (vec!["--label", "/=x"], "--root x"),
        (vec!["--esp", "esp"], "--esp esp: FAT label"),
        (vec!["--root", "x", "--swap", "x"], "same label"),
        (vec!["--file", absent], "absent: it is not there"),
        (vec!["--config", absent], "cannot be read"),
    ] {
        // A user who may not look would be told of that, and a machine that is no NixOS of that.
        for before in [nobody, &["env"]] {
            let (code, out, said) = landfall(before, &args);
            assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {said}");
            assert!(said.contains(why), "{args:?}: {said}");
        }
        if args.first() != Some(&"--label") || args[1] == "/=x" {
            assert!(landfall(&["env"], &args).2.contains("next: "), "{args:?}");
            let (code, out, _) = landfall(nobody, &[&args[..], &["--json"]].concat());
            let object: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(
                (code, &object["result"], &object["exit"]),
                (Some(2), &"failed".into(), &2.into()),
                "{object}"
            );
        }
    }
    // The control: nothing is wrong with these, and the machine is looked at, or nobody may.
    let (code, _, said) = landfall(nobody, &["--apply", "--root", "x", "--label", "/my data=y"]);
    assert_eq!(code, Some(6), "{said}");
    if is_root() {
        assert!(
            said.contains("next: sudo landfall relabel --apply --root x --label '/my data=y'\n"),
            "{said}"
        );
    }
}

#[test]
fn on_a_machine_without_nixos_there_is_nothing_to_move() {
    if !is_root() || Utf8Path::new("/run/current-system").exists() {
        return;
    }
    let (code, _, said) = landfall(&["env"], &[]);
    assert_eq!(code, Some(6), "{said}");
    assert!(
        said.contains("this command changes the NixOS on which it runs"),
        "{said}"
    );
}
