//! Promise: an image is made from a closure alone.
//!
//! The same closure gives the same bytes, whoever has it, since when and in which order. The filesystem in it is clean and
//! holds exactly the closure, also on a disk that was full of other things. Every flipped bit and every missing byte of an
//! image is found. Needed: mke2fs, e2fsck, debugfs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "root_image/kit.rs"]
mod kit;

use camino::Utf8Path;
use fs_err as fs;
use kit::*;
use landfall::event::Reporter;
use landfall::image::Error;
use landfall::image::disk::Disk;
use landfall::image::open::Opened;
use landfall::image::verify::{check, verify};
use landfall::image::write::Writer;
use landfall::real::process::command::Program;
use landfall::real::process::stop::Stop;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn run(name: &str, args: &[&str]) -> String {
    let ended = block_on(
        Program::new(name)
            .args(args.iter().copied())
            .run(&Reporter::default(), &Stop::never()),
    )
    .unwrap();
    assert!(ended.success(), "{}", ended.how());
    ended.stdout
}

#[test]
fn the_same_closure_gives_the_same_bytes() {
    let (_keep, folder) = folder();
    let (one, two) = (folder.join("one"), folder.join("two"));
    let info_one = store(&one, 1, false);
    let info_two = store(&two, 1, true);
    // Another age, another owner, and files that an optimised store has linked.
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(77_777_777);
    let file = two.join(OTHER.trim_start_matches('/')).join("many/9");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .file()
        .set_modified(at)
        .unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o444)).unwrap();
    let same = two.join(OTHER.trim_start_matches('/'));
    fs::remove_file(same.join("same-2")).unwrap();
    fs::hard_link(same.join("same-1"), same.join("same-2")).unwrap();
    if nix::unistd::geteuid().is_root() {
        let anybody = Some(nix::unistd::Uid::from_raw(1234));
        nix::unistd::chown(same.join("zeros").as_std_path(), anybody, None).unwrap();
    }
    let (a, b) = (folder.join("a.image"), folder.join("b.image"));
    make(&one, &info_one, &a);
    make(&two, &info_two, &b);
    assert!(
        fs::read(&a).unwrap() == fs::read(&b).unwrap(),
        "the images differ"
    );
    // The control: one byte of one file is seen.
    let init = two.join(SYSTEM.trim_start_matches('/')).join("init");
    fs::set_permissions(&init, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(&init, b"#!/bin/sg\n").unwrap();
    fs::set_permissions(&init, PermissionsExt::from_mode(0o555)).unwrap();
    assert_ne!(make(&two, &info_two, &b).digest, opened(&a).digest);
    // Nothing but the images and the stores is left in the folder.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
}

#[test]
fn neither_mask_nor_attributes_of_the_machine_are_in_an_image() {
    let (_keep, folder) = folder();
    let (one, two) = (folder.join("one"), folder.join("two"));
    let infos = [store(&one, 0, false), store(&two, 0, false)];
    let file = two.join(OTHER.trim_start_matches('/')).join("zeros");
    let name = std::ffi::CString::new(file.as_str()).unwrap();
    // SAFETY: both names end in a zero byte, and the value is as long as is said.
    let set = unsafe {
        nix::libc::setxattr(
            name.as_ptr(),
            c"user.origin".as_ptr(),
            c"here".as_ptr().cast(),
            4,
            0,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    fs::write(folder.join("configuration.nix"), "{ }").unwrap();
    let images: Vec<Vec<u8>> = [("022", &one, &infos[0]), ("077", &two, &infos[1])]
        .into_iter()
        .map(|(mask, store, info)| {
            let out = folder.join(format!("{mask}.image"));
            let ended = std::process::Command::new("sh")
                .args([
                    "-c",
                    "umask \"$0\"; exec \"$@\"",
                    mask,
                    env!("CARGO_BIN_EXE_landfall"),
                ])
                .args([
                    "image",
                    "build",
                    "--level",
                    "3",
                    "--system",
                    SYSTEM,
                    "--out",
                    out.as_str(),
                ])
                .args(["--store", store.as_str(), "--closure-info", info.as_str()])
                .arg("--add")
                .arg(format!(
                    "{folder}/configuration.nix=/etc/nixos/deep/configuration.nix"
                ))
                .output()
                .unwrap();
            assert!(
                ended.status.success(),
                "{}",
                String::from_utf8_lossy(&ended.stderr)
            );
            fs::read(out).unwrap()
        })
        .collect();
    assert!(images[0] == images[1], "the images differ");
    let image = opened(&folder.join("077.image"));
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
    writer.run(&|| false, &mut |_| {}, &mut |_| Ok(())).unwrap();
    let device = folder.join("device");
    fs::write(&device, disk.contents()).unwrap();
    let said = run("debugfs", &["-R", "stat /etc/nixos/deep", device.as_str()]);
    assert!(said.contains("Mode:  0755"), "{said}");
}

/// Every file below a directory: name, mode, contents.
fn tree(root: &Utf8Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = folder.join(entry.unwrap().file_name().to_str().unwrap());
            let meta = fs::symlink_metadata(&path).unwrap();
            let contents = if meta.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if meta.is_dir() {
                todo.push(path.clone());
                vec![]
            } else {
                fs::read(&path).unwrap()
            };
            let mode = if meta.is_symlink() {
                0
            } else {
                meta.permissions().mode()
            };
            found.push((path.strip_prefix(root).unwrap().to_string(), mode, contents));
        }
    }
    found.sort();
    found
}

#[test]
fn what_lands_on_a_used_disk_is_clean_and_is_the_closure() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 3);
    let image = opened(&file);
    // Larger than the filesystem, and full of other bytes.
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes + (1 << 20)));
    let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
    writer.run(&|| false, &mut |_| {}, &mut |_| Ok(())).unwrap();
    let verified = verify(&image, &*disk, None, false, &|| false, &|_, _| {}).unwrap();
    assert_eq!(verified.read_bytes, packed.plain_bytes + packed.zero_bytes);
    let device = folder.join("device");
    fs::write(&device, disk.contents()).unwrap();
    run("e2fsck", &["-f", "-n", device.as_str()]);
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    run("debugfs", &["-R", &format!("rdump /nix {out}"), device.as_str()]);
    let store = |root: &Utf8Path| tree(&root.join("nix/store"));
    assert!(store(&out) == store(&folder.join("store")), "the trees differ");
    assert_eq!(
        fs::read(out.join("nix/var/landfall/registration")).unwrap(),
        b"registration\n"
    );
    let said = run(
        "debugfs",
        &["-R", &format!("stat {SYSTEM}/init"), device.as_str()],
    );
    assert!(said.contains("User:     0   Group:     0"), "{said}");
    assert!(said.contains("mtime: 0x00000001"), "{said}");
    // The control: a bit of metadata that is wrong is seen.
    let mut wrong = disk.contents();
    wrong[4096 + 8] ^= 1;
    fs::write(&device, wrong).unwrap();
    let check = Program::new("e2fsck").args(["-f", "-n", device.as_str()]);
    let ended = block_on(check.run(&Reporter::default(), &Stop::never())).unwrap();
    assert!(!ended.success());
}

#[test]
fn every_missing_byte_and_every_flipped_bit_is_named() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 1);
    let bytes = fs::read(&file).unwrap();
    let open = |bytes: Vec<u8>| Opened::open(Arc::new(Medium::new(bytes)));
    let length = bytes.len();
    let mut chance = Chance(5);
    let mut cuts: Vec<usize> = (0..64).map(|_| chance.below(length as u64) as usize).collect();
    cuts.extend([1, 13, 14, 15, 4095, 4096, 4097, length - 1]);
    for cut in cuts {
        assert!(
            matches!(open(bytes[..cut].to_vec()), Err(Error::Truncated { .. })),
            "cut at {cut}"
        );
    }
    assert!(matches!(open(vec![]), Err(Error::Foreign)));
    assert!(matches!(open(vec![7; 10_000]), Err(Error::Foreign)));
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(open(longer), Err(Error::Damaged(_))));
    // Two images that are mixed: the header of one, the rest of another.
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    let (other, _) = image(&other, 2);
    let mut mixed = fs::read(&other).unwrap();
    mixed[..4096].copy_from_slice(&bytes[..4096]);
    assert!(open(mixed).is_err(), "manifest and header of two images");

    let good = open(bytes.clone()).unwrap();
    check(&good, &|| false, &|_, _| {}).unwrap();
    let manifest_at = good
        .manifest
        .chunks
        .iter()
        .map(|c| c.at + c.packed_bytes)
        .max()
        .unwrap() as usize;
    let mut places: Vec<usize> = (0..40).map(|_| chance.below(length as u64) as usize).collect();
    places.extend((0..40).map(|_| manifest_at + chance.below((length - manifest_at) as u64) as usize));
    for place in places {
        let mut wrong = bytes.clone();
        wrong[place] ^= 1 << chance.below(8);
        match open(wrong) {
            Err(Error::Damaged(_) | Error::Foreign) => {
                assert!(place < 4096 || place >= manifest_at, "byte {place}");
            }
            Err(other) => panic!("byte {place}: {other}"),
            // In a chunk: named when it is read.
            Ok(image) => match check(&image, &|| false, &|_, _| {}) {
                Err(Error::SourceBytes { part }) => {
                    let index = image
                        .manifest
                        .chunks
                        .iter()
                        .position(|c| (c.at..c.at + c.packed_bytes).contains(&(place as u64)))
                        .unwrap();
                    assert!(part.starts_with(&format!("chunk {index} ")), "{part}");
                }
                other => panic!("byte {place}: {other:?}"),
            },
        }
    }
}

/// Exit code and standard error of the program under test.
fn landfall(args: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn bad_input_has_its_code_and_its_message_and_no_byte_is_written() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 1);
    let bytes = fs::read(&file).unwrap();
    let device = folder.join("device");
    let blank = || {
        fs::write(&device, b"").unwrap();
        let file = fs::OpenOptions::new().write(true).open(&device).unwrap();
        file.set_len(opened(&folder.join("root.image")).manifest.filesystem_bytes)
            .unwrap();
    };
    blank();
    let bad = folder.join("bad.image");
    let write = || landfall(&["image", "write", bad.as_str(), device.as_str()]);
    let newer = {
        let line = String::from_utf8_lossy(&bytes[..300]).replacen("LANDFALL-IMAGE 1", "LANDFALL-IMAGE 2", 1);
        let end = line.find("sha256=").unwrap() + 7;
        let mut page = line.as_bytes()[..end].to_vec();
        let rest = vec![b'\n'; 4096 - end - 64];
        let digest = landfall_states::names::Digest::of(&[&page[..], &rest].concat());
        page.extend_from_slice(digest.as_str().as_bytes());
        page.extend_from_slice(&rest);
        page.extend_from_slice(&bytes[4096..]);
        page
    };
    let mut mismatch = bytes.clone();
    let last = mismatch.len() - 3;
    mismatch[last] ^= 1;
    for (contents, code, said) in [
        (b"something else".to_vec(), 6, "it is not a landfall image"),
        (bytes[..bytes.len() - 1].to_vec(), 6, "it is incomplete"),
        (newer, 7, "format version 2, and this landfall reads version 1"),
        (mismatch, 8, "the manifest does not match the header"),
    ] {
        fs::write(&bad, contents).unwrap();
        let (found, text) = write();
        assert!(text.contains(said) && text.contains("next: "), "{text}");
        assert_eq!(found, Some(code), "{text}");
    }
    fs::write(&bad, &bytes).unwrap();
    // Too small.
    let small = folder.join("small");
    fs::write(&small, vec![0; 8192]).unwrap();
    let (code, text) = landfall(&["image", "write", bad.as_str(), small.as_str()]);
    assert_eq!(code, Some(6), "{text}");
    assert!(
        text.contains("8192 bytes, and the image's filesystem needs")
            && text.contains("next: name a larger target"),
        "{text}"
    );
    assert_eq!(fs::read(&small).unwrap(), vec![0; 8192]);
    assert!(
        fs::read(&device).unwrap().iter().all(|b| *b == 0),
        "it was written to"
    );
    // The control; and then it is not empty.
    let (code, text) = write();
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = write();
    assert_eq!(code, Some(6), "{text}");
    assert!(
        text.contains("it is not empty: ext4") && text.contains("--erase"),
        "{text}"
    );
    let (code, _) = landfall(&["image", "verify", bad.as_str(), "--device", device.as_str()]);
    assert_eq!(code, Some(0));
    let (code, text) = landfall(&["image", "info", bad.as_str()]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains(packed.digest.as_str()) && text.contains(SYSTEM),
        "{text}"
    );
}

#[test]
fn a_record_counts_on_the_disk_that_it_is_of_and_goes_when_all_is_written() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 9);
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    let (other, _) = image(&other, 2);
    let record = folder.join("how-far");
    let keep = |chunks: u64| {
        let text = format!("(image:\"{}\",chunks:{chunks})", packed.digest);
        fs::write(&record, text).unwrap();
    };
    let bytes = opened(&file).manifest.filesystem_bytes;
    let make = |name: &str| {
        let device = folder.join(name);
        let file = fs::File::create(&device).unwrap();
        file.set_len(bytes).unwrap();
        device
    };
    let write = |device: &Utf8Path| {
        landfall(&[
            "image",
            "write",
            "--json",
            "--no-verify",
            "--resume",
            record.as_str(),
            file.as_str(),
            device.as_str(),
        ])
    };
    let holds =
        |device: &Utf8Path| landfall(&["image", "verify", file.as_str(), "--device", device.as_str()]);
    // Another disk, with something on it.
    let full = make("full");
    assert_eq!(
        landfall(&["image", "write", other.as_str(), full.as_str()]).0,
        Some(0)
    );
    let before = fs::read(&full).unwrap();
    for chunks in [1, packed.chunks] {
        keep(chunks);
        let (code, text) = write(&full);
        assert_eq!(code, Some(6), "{text}");
        assert!(text.contains("it is not empty"), "{text}");
        assert!(fs::read(&full).unwrap() == before, "it was written to");
    }
    // A blank one: all of it is written.
    let blank = make("blank");
    let (code, text) = write(&blank);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("\"from_chunk\":0") && text.contains("\"discarded_bytes\":"),
        "{text}"
    );
    assert_eq!(holds(&blank).0, Some(0));
    assert!(!record.exists(), "the record is still there");
    // The control: its own disk goes on where it was.
    keep(1);
    let (code, text) = write(&blank);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("\"from_chunk\":1") && text.contains("\"written_bytes\":0"),
        "{text}"
    );
    assert!(!record.exists());
    // It was used since: what the record says is over.
    run("tune2fs", &["-U", "random", blank.as_str()]);
    let used = fs::read(&blank).unwrap();
    keep(packed.chunks);
    let (code, text) = write(&blank);
    assert_eq!(code, Some(6), "{text}");
    assert!(fs::read(&blank).unwrap() == used);
    // A target that differs is no fault of the image.
    let (code, text) = holds(&blank);
    assert_eq!(code, Some(6), "{text}");
    assert!(
        text.contains("it differs from the image in chunk 0 of") && text.contains("next: "),
        "{text}"
    );
    assert!(
        text.contains("landfall image write") && !text.contains("copy the image"),
        "{text}"
    );
}

#[test]
fn what_can_be_no_image_is_refused_unread() {
    let (_keep, folder) = folder();
    let fifo = folder.join("fifo");
    nix::unistd::mkfifo(fifo.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = folder.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, kind) in [
        (folder.as_str(), "a directory"),
        (fifo.as_str(), "a FIFO (a named pipe)"),
        (socket.as_str(), "a socket"),
        ("/dev/zero", "a character device"),
    ] {
        for command in ["info", "verify"] {
            let (code, text) = landfall(&["image", command, path]);
            assert_eq!(code, Some(6), "{text}");
            assert!(
                text.contains(&format!("it is {kind};")) && text.contains("next: "),
                "{text}"
            );
        }
    }
}

#[test]
fn a_target_that_is_too_small_gets_no_write() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 0);
    let image = opened(&file);
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes - 4096));
    let refused = Writer::new(&image, disk.clone(), None, 0);
    assert!(matches!(refused, Err(Error::TooSmall { .. })));
    assert!(disk.state.lock().unwrap().log.is_empty());
    let right = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    assert!(Writer::new(&image, right.clone(), None, 0).is_ok());
    assert_eq!(right.length(), image.manifest.filesystem_bytes);
}
