//! Promise: what judges installed systems and the firmware in half-made states (`tests/halfway/oracles_attached.rs`) passes what is right, and
//! refuses the same with one thing wrong in it, for that reason.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

// What mounts, or asks the firmware, is for the laboratory's machine.
#[allow(dead_code)]
#[path = "halfway/oracles.rs"]
mod oracles;
#[allow(dead_code)]
#[path = "halfway/oracles_attached.rs"]
mod oracles_attached;

use camino::{Utf8Path, Utf8PathBuf};
use std::os::unix::fs::symlink;

/// It refuses, and says this.
#[track_caller]
fn refuses(judged: Result<(), String>, why: &str, what: &str) {
    match judged {
        Ok(()) => panic!("{what} is not noticed"),
        Err(said) => assert!(said.contains(why), "{what}: {said}"),
    }
}

fn shorten(path: &Utf8Path, length: u64) {
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

const SYSTEM: &str = "/nix/store/0123-system";

/// A root filesystem and an ESP with a system on them.
fn installed(place: &Utf8Path) -> (Utf8PathBuf, Utf8PathBuf) {
    let (root, esp) = (place.join("root"), place.join("esp"));
    let write = |path: Utf8PathBuf, bytes: &str| {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    };
    write(root.join("nix/store/linux/bzImage"), "the kernel");
    write(root.join("nix/store/initrd/initrd"), "the initrd");
    fs_err::create_dir_all(root.join("nix/store/0123-system")).unwrap();
    symlink(
        "/nix/store/linux/bzImage",
        root.join("nix/store/0123-system/kernel"),
    )
    .unwrap();
    symlink(
        "/nix/store/initrd/initrd",
        root.join("nix/store/0123-system/initrd"),
    )
    .unwrap();
    fs_err::create_dir_all(root.join("nix/var/nix/profiles")).unwrap();
    symlink(SYSTEM, root.join("nix/var/nix/profiles/system-1-link")).unwrap();
    symlink("system-1-link", root.join("nix/var/nix/profiles/system")).unwrap();
    write(root.join("etc/NIXOS"), "");
    write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n");
    write(esp.join("EFI/nixos/k.efi"), "the kernel");
    write(esp.join("EFI/nixos/i.efi"), "the initrd");
    for loader in ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"] {
        write(esp.join(loader), "MZ and so on");
    }
    write(
        esp.join("loader/entries/nixos-1.conf"),
        &format!(
            "title NixOS\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init={SYSTEM}/init quiet\n"
        ),
    );
    (root, esp)
}

#[test]
fn an_installed_system_with_one_thing_wrong_is_refused() {
    type Damage = (&'static str, &'static str, fn(&Utf8Path, &Utf8Path));
    let damages: [Damage; 10] = [
        ("a kernel cut off", "ends at byte 3", |_, esp| {
            shorten(&esp.join("EFI/nixos/k.efi"), 3)
        }),
        ("an initrd lost", "No such file", |_, esp| {
            fs_err::remove_file(esp.join("EFI/nixos/i.efi")).unwrap();
        }),
        ("an entry emptied", "has no options", |_, esp| {
            fs_err::write(esp.join("loader/entries/nixos-1.conf"), "").unwrap();
        }),
        ("no entry", "no entry starts", |_, esp| {
            fs_err::remove_file(esp.join("loader/entries/nixos-1.conf")).unwrap();
        }),
        ("a fallback cut off", "ends at byte 1", |_, esp| {
            shorten(&esp.join("EFI/BOOT/BOOTX64.EFI"), 1)
        }),
        ("loader.tmp", "loader.tmp is left", |_, esp| {
            fs_err::write(esp.join("loader/loader.tmp"), "").unwrap();
        }),
        ("another profile", "the profile is", |root, _| {
            fs_err::remove_file(root.join("nix/var/nix/profiles/system")).unwrap();
            symlink("/nix/store/linux", root.join("nix/var/nix/profiles/system")).unwrap();
        }),
        ("no profile", "No such file", |root, _| {
            fs_err::remove_file(root.join("nix/var/nix/profiles/system-1-link")).unwrap();
        }),
        ("no /etc/NIXOS", "No such file", |root, _| {
            fs_err::remove_file(root.join("etc/NIXOS")).unwrap()
        }),
        ("accounts of zeros", "has no root", |root, _| {
            fs_err::write(root.join("etc/passwd"), [0; 40]).unwrap()
        }),
    ];
    for (what, why, damage) in damages {
        let held = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(held.path()).unwrap();
        let (root, esp) = installed(place);
        let judged = || {
            oracles_attached::on_root(&root, SYSTEM)?;
            oracles_attached::on_esp(&esp, &root, SYSTEM)
        };
        judged().unwrap();
        damage(&root, &esp);
        refuses(judged(), why, what);
    }
}

#[test]
fn one_entry_of_the_firmware_is_wanted_and_in_its_order() {
    const ESP: &str = "6c616e64-6661-5c6c-8000-6e69786f7321";
    let entry = |number: &str, partuuid: &str| {
        format!(
            "Boot{number}* Linux Boot Manager\tHD(1,GPT,{partuuid},0x800,0x82000)/File(\\EFI\\SYSTEMD\\SYSTEMD-BOOTX64.EFI)\n"
        )
    };
    let judged = |order: &str, entries: &[String]| {
        let printed = format!(
            "BootCurrent: 0000\nTimeout: 0 seconds\nBootOrder: {order}\n{}",
            entries.concat()
        );
        oracles_attached::one_entry(&printed, &ESP.to_uppercase())
    };
    let other = entry("0001", "00000000-0000-0000-0000-000000000001");
    judged("0003,0001", &[other.clone(), entry("0003", ESP)]).unwrap();
    refuses(
        judged("0001", &[other.clone(), entry("0003", ESP)]),
        "does not name Boot0003",
        "an order without it",
    );
    refuses(judged("0001", &[other]), "0 entries", "no entry");
    refuses(
        judged("0003,0004", &[entry("0003", ESP), entry("0004", ESP)]),
        "2 entries",
        "two entries",
    );
}
