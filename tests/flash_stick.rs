//! Promise: `landfall flash` on the kernel's own devices: written completely, killed anywhere and continued, keys written and
//! removed again, nothing done to a device in use. The sticks are loop devices over files.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use camino::Utf8Path;
use landfall::real::disk::signature::sniff;
use landfall::real::table::gpt;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::plan::{GptEntry, GptTable};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};
use std::time::Duration;
use uuid::Uuid;

#[path = "shared/noise.rs"]
mod noise;
#[path = "shared/stick.rs"]
mod stick;

use noise::noise;
use stick::loops::{self, detach};
use stick::{MIB, SSH_KEY, Stick, ended, is_root, keys_folder, result, said};

#[test]
fn it_is_written_read_back_and_bounded_in_memory() {
    if !is_root() {
        return;
    }
    let image = noise(150 * MIB + 333, 7);
    let stick = Stick::of(&vec![0xAA; 160 * MIB]);
    let path = stick.place("installer.iso");
    fs_err::write(&path, &image).unwrap();
    let refused = ended(&stick.flash(&[path.as_str(), &stick.device]), 6);
    assert!(
        refused.contains("nobody agreed") && refused.contains("--yes"),
        "{refused}"
    );
    assert!(stick.bytes()[..MIB] == [0xAA; MIB], "it was touched");
    let planned = ended(
        &stick.flash(&[path.as_str(), &stick.device, "--yes", "--dry-run"]),
        0,
    );
    assert!(
        planned.contains("SHA-256") && stick.bytes()[..MIB] == [0xAA; MIB],
        "{planned}"
    );

    let done = stick.flash(&[path.as_str(), &stick.device, "--yes", "--json"]);
    ended(&done, 0);
    let result = result(&done);
    assert_eq!(result["result"], "flashed", "{result}");
    assert!(result["peak_bytes"].as_u64().unwrap() <= 64 << 20, "{result}");
    let bytes = stick.bytes();
    assert!(bytes[..image.len()] == image);
    assert!(bytes[159 * MIB..].iter().all(|byte| *byte == 0), "its end");
    let again = stick.flash(&[path.as_str(), &stick.device, "--yes", "--resume"]);
    assert!(
        ended(&again, 3).contains("no interrupted run of this image"),
        "a finished one left a record"
    );
    let plain = ended(&stick.flash(&[path.as_str(), &stick.device, "--yes"]), 0);
    assert!(plain.lines().last().unwrap().starts_with("next: "), "{plain}");
}

#[test]
fn killed_anywhere_it_is_not_bootable_and_is_gone_on_with() {
    if !is_root() {
        return;
    }
    let image = noise(64 * MIB, 11);
    let stick = Stick::of(&vec![0xAA; 70 * MIB]);
    let path = stick.place("installer.iso");
    fs_err::write(&path, &image).unwrap();
    let (mut begun, mut finished, mut delay_ms) = (0, 0, 5);
    while finished < 2 && delay_ms < 20_000 {
        let mut running = stick
            .command(&[path.as_str(), &stick.device, "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        running.kill().unwrap();
        running.wait().unwrap();
        let bytes = stick.bytes();
        let boot_sector = &bytes[..512];
        if bytes[..image.len()] == image {
            finished += 1;
        } else if boot_sector != [0xAA; 512] {
            assert_eq!(
                boot_sector, [0; 512],
                "killed after {delay_ms} ms it looks bootable"
            );
            begun += 1;
            let resumed = stick.flash(&[path.as_str(), &stick.device, "--yes", "--resume"]);
            ended(&resumed, 0);
            assert!(stick.bytes()[..image.len()] == image);
        }
        delay_ms += 5 + delay_ms / 80;
        // As it was before, for the next one.
        fs_err::write(&stick.file, vec![0xAA; 70 * MIB]).unwrap();
        let flushed = Command::new("blockdev")
            .args(["--flushbufs", &stick.device])
            .status()
            .unwrap();
        assert!(flushed.success());
    }
    assert!(
        begun >= 3,
        "{begun} were killed while they wrote, {finished} behind it"
    );
}

#[test]
fn a_signal_stops_it_with_the_command_that_continues() {
    if !is_root() {
        return;
    }
    let image = noise(96 * MIB, 13);
    let stick = Stick::of(&vec![0xAA; 100 * MIB]);
    let path = stick.place("installer.iso");
    fs_err::write(&path, &image).unwrap();
    for delay_ms in (150..2_000).step_by(50) {
        let running = stick
            .command(&[path.as_str(), &stick.device, "--yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let output = running.wait_with_output().unwrap();
        if output.status.code() == Some(11) && said(&output).contains("--resume") {
            assert_eq!(stick.bytes()[..512], [0; 512]);
            let resumed = stick.flash(&[path.as_str(), &stick.device, "--yes", "--resume"]);
            ended(&resumed, 0);
            assert!(stick.bytes()[..image.len()] == image);
            return;
        }
    }
    panic!("no signal came while it wrote");
}

fn hybrid() -> Vec<u8> {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    zstd::decode_all(fs_err::File::open(path).unwrap()).unwrap()
}

/// Reads a file of the filesystem in these bytes.
fn file_in(bytes: &[u8], name: &str) -> String {
    let fat = fatfs::FileSystem::new(Cursor::new(bytes.to_vec()), fatfs::FsOptions::new()).unwrap();
    let mut text = String::new();
    fat.root_dir()
        .open_file(name)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn has(bytes: &[u8], wanted: &str) -> bool {
    bytes
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes())
}

#[test]
fn keys_are_put_behind_a_hybrid_iso_and_taken_off_again() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let keys = keys_folder(&stick);
    let image = hybrid();
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    let flash = |arguments: &[&str]| {
        let mut all = vec![path.as_str(), &stick.device, "--yes", "--keys", keys.as_str()];
        all.extend(arguments);
        stick.flash(&all)
    };
    let told = ended(&flash(&[]), 0);
    assert!(told.contains("not copied: ssh-key.pub"), "{told}");
    assert!(
        told.contains("warning: the keys on the stick are not encrypted") && told.contains("--forget-keys"),
        "{told}"
    );
    assert!(
        !told.contains("correct horse") && !told.contains("PRIVATE"),
        "{told}"
    );
    let bytes = stick.bytes();
    // The image is as it was, but for one entry.
    assert!(bytes[..478] == image[..478] && bytes[494..image.len()] == image[494..]);
    let mut disk = Cursor::new(bytes.clone());
    let found = gpt::read(&mut disk, 512).unwrap();
    let entry = found.mbr.iter().find(|entry| entry.number == 3).unwrap();
    let (from, size) = (entry.first_lba as usize * 512, entry.sectors as usize * 512);
    assert_eq!((from, size, entry.kind), (5 * MIB, 8 * MIB, 0x0E));
    let labels = sniff(&mut disk, from as u64, size as u64).unwrap();
    assert_eq!(labels[0].label.as_deref(), Some("LF-KEYS"), "{labels:?}");
    let partition = &bytes[from..from + size];
    assert_eq!(file_in(partition, "ssh-key"), SSH_KEY);
    assert_eq!(file_in(partition, "luks-passphrase"), "correct horse battery\n");
    // What the kernel and its tools say of it.
    let blkid = Command::new("blkid")
        .args([
            "-p",
            "-o",
            "export",
            "-O",
            &from.to_string(),
            "-S",
            &size.to_string(),
            &stick.device,
        ])
        .output()
        .unwrap();
    let blkid = said(&blkid);
    assert!(
        blkid.contains("LABEL=LF-KEYS") && blkid.contains("TYPE=vfat"),
        "{blkid}"
    );
    let cut = stick.place("partition");
    fs_err::write(&cut, partition).unwrap();
    let checked = Command::new("fsck.vfat")
        .args(["-n", cut.as_str()])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", said(&checked));

    // Once more the same: nothing is added.
    ended(&flash(&[]), 0);
    assert!(stick.bytes()[..from] == bytes[..from]);

    let refused = ended(&stick.flash(&["--forget-keys", &stick.device]), 6);
    assert!(refused.contains("still there"), "{refused}");
    ended(&stick.flash(&["--forget-keys", &stick.device, "--yes"]), 0);
    let after = stick.bytes();
    assert!(
        after[..image.len()] == image,
        "the image is as it was before the keys"
    );
    assert!(after[from..from + size].iter().all(|byte| *byte == 0));
    assert!(!has(&after, "correct horse") && !has(&after, "OPENSSH PRIVATE KEY"));
    ended(&stick.flash(&["--forget-keys", &stick.device, "--yes"]), 2);
}

/// Writes zeros over this part of a stick, in MiB.
fn zeroed(stick: &Stick, seek: &str, count: &str) {
    let ended = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={}", stick.device), "bs=1M"])
        .args([&format!("seek={seek}"), &format!("count={count}")])
        .args(["oflag=direct", "status=none"])
        .status()
        .unwrap();
    assert!(ended.success());
}

#[test]
fn keys_are_taken_off_whatever_was_cut_or_lost() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let keys = keys_folder(&stick);
    let image = hybrid();
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    let flash = || {
        ended(
            &stick.flash(&[path.as_str(), &stick.device, "--yes", "--keys", keys.as_str()]),
            0,
        )
    };
    // The table is lost; then the block at the end as well.
    for lost in [&["0"][..], &["0", "39"]] {
        flash();
        for seek in lost {
            zeroed(&stick, seek, "1");
        }
        assert!(has(&stick.bytes(), "correct horse"));
        let told = stick.flash(&["--forget-keys", &stick.device, "--yes", "--json"]);
        ended(&told, 0);
        assert_eq!(result(&told)["first_bytes"][0], 5 * MIB as u64);
        assert!(!has(&stick.bytes(), "correct horse"));
    }

    // Cut between the zeros and the table: run again, it goes on.
    flash();
    zeroed(&stick, "5", "8");
    ended(&stick.flash(&["--forget-keys", &stick.device, "--yes"]), 0);
    assert!(stick.bytes()[..image.len()] == image);
}

#[test]
fn keys_of_before_are_gone_when_another_image_comes() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let keys = keys_folder(&stick);
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    ended(
        &stick.flash(&[path.as_str(), &stick.device, "--yes", "--keys", keys.as_str()]),
        0,
    );
    // The control: they are there, behind where the next image ends.
    assert!(has(&stick.bytes()[4 * MIB..], "correct horse"));
    let small = stick.place("small.img");
    fs_err::write(&small, noise(2 * MIB, 9)).unwrap();
    ended(&stick.flash(&[small.as_str(), &stick.device, "--yes"]), 0);
    assert!(!has(&stick.bytes(), "correct horse"));
}

#[test]
fn keys_that_no_installer_would_take_cost_no_stick() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let keys = keys_folder(&stick);
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    let flash =
        |folder: &Utf8Path| stick.flash(&[path.as_str(), &stick.device, "--yes", "--keys", folder.as_str()]);
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(keys.join("ssh-key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = ended(&flash(&keys), 6);
    assert!(
        open.contains("other users can read it") && open.contains("chmod 600"),
        "{open}"
    );
    fs_err::set_permissions(keys.join("ssh-key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    fs_err::write(keys.join("ssh-key"), "ssh-ed25519 AAAA the public half\n").unwrap();
    let public = flash(&keys);
    assert!(!public.status.success(), "{}", said(&public));
    let empty = stick.place("empty");
    fs_err::create_dir(&empty).unwrap();
    ended(&flash(&empty), 6);
    ended(&flash(&stick.place("absent")), 6);
    assert!(stick.bytes() == vec![0xAA; 40 * MIB], "it was touched");
}

#[test]
fn keys_behind_an_image_with_a_gpt_are_in_both_copies() {
    if !is_root() {
        return;
    }
    let id = |n: u128| Uuid::from_u128(n);
    let entry = |number: u32, first_lba: u64, last_lba: u64| GptEntry {
        number,
        type_guid: id(0xC12A_7328_F81F_11D2_BA4B_00A0_C93E_C93B),
        partuuid: id(u128::from(number) + 1),
        first_lba,
        last_lba,
        name: format!("part {number}"),
    };
    let table = GptTable {
        disk_guid: id(77),
        sector_bytes: 512,
        entries: vec![entry(1, 2048, 4095), entry(2, 4096, 10_000)],
    };
    let mut image = Cursor::new(noise(6 * MIB, 3));
    let mut prepared = gpt::prepare(&mut image, &table).unwrap();
    gpt::write(&mut image, &mut prepared, |_| Ok(())).unwrap();
    let image = image.into_inner();
    let stick = Stick::of(&vec![0xAA; 40 * MIB]);
    let keys = keys_folder(&stick);
    let path = stick.place("disk.raw");
    fs_err::write(&path, &image).unwrap();
    ended(
        &stick.flash(&[path.as_str(), &stick.device, "--yes", "--keys", keys.as_str()]),
        0,
    );
    let read = |stick: &Stick| {
        let mut disk = Cursor::new(stick.bytes());
        gpt::read(&mut disk, 512).unwrap()
    };
    let found = read(&stick);
    let (GptCopy::Complete(first), GptCopy::Complete(second)) = (&found.primary, &found.backup) else {
        panic!("{found:?}");
    };
    assert_eq!(first, second);
    assert_eq!(first.entries[..2], table.entries[..]);
    assert_eq!(
        (first.entries.len(), first.entries[2].name.as_str()),
        (3, "LF-KEYS")
    );
    assert_eq!(
        (first.entries[2].first_lba, first.entries[2].sectors()),
        (6 * 2048, 8 * 2048)
    );
    let checked = Command::new("sgdisk")
        .args(["--verify", stick.file.as_str()])
        .output();
    if let Ok(checked) = checked {
        assert!(said(&checked).contains("No problems found"), "{}", said(&checked));
    }
    ended(&stick.flash(&["--forget-keys", &stick.device, "--yes"]), 0);
    assert_eq!(read(&stick).table().unwrap().entries, table.entries);
    assert!(!has(&stick.bytes(), "correct horse"));
}

/// xorriso makes tables with 248 places, and other tools with fewer: what is there is kept.
#[test]
fn keys_go_behind_a_gpt_of_another_length() {
    if !is_root() {
        return;
    }
    for places in ["248", "64"] {
        let stick = Stick::of(&vec![0xAA; 40 * MIB]);
        let keys = keys_folder(&stick);
        let path = stick.place("disk.raw");
        fs_err::write(&path, vec![0; 6 * MIB]).unwrap();
        let made = Command::new("sgdisk")
            .args(["-S", places, "-n", "1:2048:4095", "-c", "1:first", path.as_str()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", said(&made));
        ended(
            &stick.flash(&[path.as_str(), &stick.device, "--yes", "--keys", keys.as_str()]),
            0,
        );
        let checked = Command::new("sgdisk")
            .args(["--verify", "--print", stick.file.as_str()])
            .output()
            .unwrap();
        let checked = said(&checked);
        assert!(
            checked.contains("No problems found")
                && checked.contains("LF-KEYS")
                && checked.contains("first")
                && checked.contains(&format!("Partition table holds up to {places} entries")),
            "{checked}"
        );
        ended(&stick.flash(&["--forget-keys", &stick.device, "--yes"]), 0);
        assert!(!has(&stick.bytes(), "correct horse"));
    }
}

#[test]
fn what_is_used_is_refused_and_nothing_is_written() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0; 40 * MIB]);
    let image = stick.place("installer.iso");
    fs_err::write(&image, noise(2 * MIB, 5)).unwrap();
    let made = Command::new("mkfs.ext4")
        .args(["-q", &stick.device])
        .status()
        .unwrap();
    assert!(made.success());
    let at = stick.place("mounted");
    fs_err::create_dir(&at).unwrap();
    let mounted = Command::new("mount")
        .args([&stick.device, at.as_str()])
        .status()
        .unwrap();
    assert!(mounted.success());
    let before = stick.bytes();
    let refused = stick.flash(&[image.as_str(), &stick.device, "--yes"]);
    let untouched = stick.bytes() == before;
    let unmounted = Command::new("umount").arg(at.as_str()).status().unwrap();
    assert!(unmounted.success());
    let refused = ended(&refused, 6);
    assert!(
        refused.contains("is mounted at") && refused.contains("umount"),
        "{refused}"
    );
    assert!(untouched);
    // Somebody has it open for himself alone.
    let mut options = fs_err::OpenOptions::new();
    use fs_err::os::unix::fs::OpenOptionsExt;
    options.read(true).custom_flags(nix::libc::O_EXCL);
    // A parallel test's landfall looks at every disk, each for an instant.
    let mut tries = std::iter::repeat_with(|| options.open(&stick.device)).inspect(|opened| {
        if opened.is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let alone = tries.by_ref().take(40).find_map(Result::ok).unwrap();
    drop(tries);
    let refused = ended(&stick.flash(&[image.as_str(), &stick.device, "--yes"]), 6);
    assert!(
        refused.contains("in use") || refused.contains("has just opened it"),
        "{refused}"
    );
    drop(alone);
    // The control: free, it is written.
    ended(&stick.flash(&[image.as_str(), &stick.device, "--yes"]), 0);
    for (given, code, word) in [
        ("/dev/null", 2, "not a block device"),
        ("/dev/landfall-absent", 2, "no such file"),
        ("nobody-is-called-so", 2, "no disk has this name"),
    ] {
        let refused = ended(&stick.flash(&[image.as_str(), given, "--yes"]), code);
        assert!(refused.contains(word), "{refused}");
    }
    // The disk that this very system runs from, where it can be seen.
    let root = Command::new("findmnt")
        .args(["-n", "-o", "SOURCE", "/"])
        .output()
        .unwrap();
    let root = String::from_utf8(root.stdout).unwrap().trim().to_owned();
    if root.starts_with("/dev/") {
        let refused = stick.flash(&[image.as_str(), &root, "--yes", "--dry-run"]);
        assert!(!refused.status.success(), "{}", said(&refused));
    }
}

/// The bytes of a loop device can be another disk's, another loop's or the image's own, whatever name they go by.
#[test]
fn what_lies_behind_a_loop_is_judged_too() {
    if !is_root() {
        return;
    }
    let below = Stick::of(&vec![0xAA; 8 * MIB]);
    let image = below.place("image ");
    fs_err::write(&image, noise(6 * MIB, 9)).unwrap();
    let attach = |file: &str| loops::attach(&[], file);
    let refused = |image: &str, device: &str, word: &str| {
        let output = below.flash(&[image, device, "--yes"]);
        assert_eq!(output.status.code(), Some(6), "{}", said(&output));
        assert!(said(&output).contains(word), "{}", said(&output));
    };
    let over = attach(&below.device);
    refused(image.as_str(), &over, "name that disk itself");
    detach(&over);
    let beside = attach(below.file.as_str());
    refused(image.as_str(), &beside, "uses the same file");
    refused(image.as_str(), &below.device, "uses the same file");
    detach(&beside);
    // The image itself: by a name that ends in a blank, and by one that is gone.
    let own = attach(image.as_str());
    refused(image.as_str(), &own, "the image itself");
    let link = below.place("link");
    fs_err::hard_link(&image, &link).unwrap();
    fs_err::remove_file(&image).unwrap();
    refused(link.as_str(), &own, "the image itself");
    detach(&own);
    assert_eq!(fs_err::read(&link).unwrap(), noise(6 * MIB, 9));
    assert!(below.bytes() == vec![0xAA; 8 * MIB], "it was touched");
    // The control: the same two, with nothing else in the way.
    let output = below.flash(&[link.as_str(), &below.device, "--yes"]);
    assert!(output.status.success(), "{}", said(&output));
}

/// A stick that somebody made by hand is one filesystem with the keys.
#[test]
fn keys_of_a_stick_without_a_table_go_too() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0; 40 * MIB]);
    let key = b"a key that somebody wrote there by hand";
    let by_hand = || {
        let made = Command::new("mkfs.vfat")
            .args(["-n", "LF-KEYS", &stick.device])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .open(&stick.device)
            .unwrap();
        file.seek(SeekFrom::Start(30 * MIB as u64)).unwrap();
        file.write_all(key).unwrap();
        file.sync_all().unwrap();
        assert!(has(&stick.bytes(), "wrote there by hand"));
    };
    by_hand();
    let output = stick.flash(&["--forget-keys", &stick.device, "--yes"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(stick.bytes() == vec![0; 40 * MIB]);
    by_hand();
    let image = stick.place("image");
    fs_err::write(&image, noise(6 * MIB, 9)).unwrap();
    let output = stick.flash(&[image.as_str(), &stick.device, "--yes"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!has(&stick.bytes(), "wrote there by hand"));
}

#[test]
fn a_wrong_digest_costs_no_stick() {
    if !is_root() {
        return;
    }
    let stick = Stick::of(&vec![0xAA; 10 * MIB]);
    let image = stick.place("installer.iso");
    fs_err::write(&image, noise(2 * MIB, 5)).unwrap();
    fs_err::write(stick.place("installer.iso.sha256"), "0".repeat(64)).unwrap();
    let refused = ended(
        &stick.flash(&[image.as_str(), &stick.device, "--yes", "--json"]),
        6,
    );
    assert!(refused.contains("nothing was written to the stick"), "{refused}");
    assert!(stick.bytes() == vec![0xAA; 10 * MIB]);
    let mut file = fs_err::File::open(&stick.file).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    // Too small a stick, likewise.
    fs_err::remove_file(stick.place("installer.iso.sha256")).unwrap();
    fs_err::write(&image, noise(10 * MIB + 1, 5)).unwrap();
    let refused = ended(&stick.flash(&[image.as_str(), &stick.device, "--yes"]), 6);
    assert!(
        refused.contains("10485760") && refused.contains("larger stick"),
        "{refused}"
    );
    assert!(stick.bytes() == vec![0xAA; 10 * MIB]);
}
