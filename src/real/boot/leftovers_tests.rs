use super::*;
use fs_err as fs;

fn folder() -> (tempfile::TempDir, Root) {
    let keep = tempfile::tempdir().unwrap();
    let path = camino::Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    (keep, Root::at(path))
}

fn put(esp: &Root, path: &str) {
    let path = esp.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn temporary_files_go_and_nothing_else() {
    let (_keep, esp) = folder();
    let theirs = [
        "EFI/BOOT/.#BOOTX64.EFI0123456789abcdef",
        "EFI/BOOT/LANDFALL.TMP",
        "EFI/nixos/k.efia1b2c3d4.tmp",
        "EFI/systemd/.#systemd-bootx64.efi0123456789abcdef",
        "loader/.#entries.srel0123456789abcdef",
        "loader/entries/nixos-0.confa1b2c3d4.tmp",
        "loader/loader.tmp",
    ];
    let others = [
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/Microsoft/x.tmp",
        "EFI/landfall/a.slot",
        "EFI/nixos/k.efi",
        "FSCK0000.REC",
        "loader/entries/nixos-0.conf",
        "loader/loader.conf",
        "loader/random-seed",
        "top.tmp",
    ];
    for path in theirs.iter().chain(&others) {
        put(&esp, path);
    }
    fs::create_dir_all(esp.join("loader/entries/d.tmp").join("below/".repeat(100))).unwrap();
    let nameless = |name: &[u8]| OsStr::from_bytes(name).to_owned();
    for (dir, name) in [
        ("loader", nameless(b"\xe9.tmp")),
        ("loader/entries", nameless(b"nixos-\xe9.conf")),
    ] {
        fs::write(esp.join(dir).as_std_path().join(name), "x").unwrap();
    }
    fs::write(esp.join("EFI/nixos").as_std_path().join(nameless(b"\xe9")), "x").unwrap();
    let (_keep, outside) = folder();
    put(&outside, "loader.tmp");
    fs::os::unix::fs::symlink(outside.as_std_path(), esp.join("EFI/nixos/link.tmp")).unwrap();
    let found = on_esp(&esp).unwrap();
    assert_eq!(clear_esp(&esp).unwrap(), found);
    assert_eq!(found.len(), theirs.len() + 4, "{found:?}");
    assert_eq!(on_esp(&esp).unwrap(), [] as [String; 0]);
    for path in others {
        assert!(esp.join(path).exists(), "{path}");
    }
    assert!(
        outside.join("loader.tmp").exists(),
        "a link is removed, not followed"
    );
}

#[test]
fn only_what_lies_in_the_boot_loaders_directories_is_deleted() {
    for (path, may) in [
        ("/EFI/nixos/k.efi", true),
        ("EFI\\NIXOS\\K.EFI", true),
        ("//efi//systemd/systemd-bootx64.efi", true),
        ("loader/entries/a.conf", true),
        ("EFI/nixos", true),
        ("loader", true),
        ("EFI/nixos/../../loader/random-seed", false),
        ("EFI/nixos/./k.efi", false),
        ("EFI/nixos/sub/k.efi", false),
        ("EFI/Microsoft/Boot/bootmgfw.efi", false),
        ("EFI/landfall/a.slot", false),
        ("loader/loader.conf", true),
        ("loader/other", false),
        ("k.efi", false),
        ("", false),
        ("/", false),
        ("EFI/nixos/k\0", false),
    ] {
        assert_eq!(removable(path).is_some(), may, "{path}");
    }
    let (_keep, esp) = folder();
    put(&esp, "EFI/nixos/k.efi");
    put(&esp, "EFI/nixos/dir/below/x");
    put(&esp, "loader/entries");
    put(&esp, "loader/random-seed");
    put(&esp, "loader/loader.conf/below");
    let in_the_way_now = [
        ("loader/entries", "is not a directory"),
        ("loader/loader.conf", "is not a file"),
    ];
    assert_eq!(in_the_way(&esp).unwrap(), in_the_way_now);
    for (path, removed) in [
        ("/EFI/nixos/k.efi", true),
        ("EFI/nixos/dir", true),
        ("EFI/nixos/gone", true),
        ("loader/entries", true),
        ("EFI/nixos", false),
        ("loader/random-seed", false),
        ("loader/loader.conf", true),
    ] {
        assert_eq!(remove_wrong(&esp, path).unwrap(), removed, "{path}");
    }
    assert_eq!(fs::read_dir(esp.join("EFI/nixos")).unwrap().count(), 0);
    assert!(esp.join("loader/random-seed").exists() && !esp.join("loader/loader.conf").exists());
    assert!(!esp.join("loader/entries").exists());
    // A directory that is a link leads nowhere.
    let (_keep, outside) = folder();
    put(&outside, "k.efi");
    fs::remove_dir_all(esp.join("EFI/nixos")).unwrap();
    fs::os::unix::fs::symlink(outside.as_std_path(), esp.join("EFI/nixos")).unwrap();
    assert_eq!(in_the_way(&esp).unwrap(), [("EFI/nixos", "is not a directory")]);
    remove_wrong(&esp, "EFI/nixos/k.efi").unwrap();
    assert!(outside.join("k.efi").exists());
    remove_wrong(&esp, "EFI/nixos").unwrap();
    assert!(!esp.join("EFI/nixos").is_symlink() && outside.join("k.efi").exists());
}

#[test]
fn files_of_accounts_that_a_cut_spoilt_go() {
    let (_keep, root) = folder();
    for (path, text) in [
        ("var/lib/nixos/uid-map", ""),
        ("var/lib/nixos/gid-map", "\0\0\0\0"),
        ("var/lib/nixos/auto-subuid-map", "{}"),
        ("var/lib/nixos/declarative-users", ""),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\n\0\0\0\0"),
        ("etc/group", "root:x:0:\n"),
        ("etc/shadow", "\0\0\0\0"),
        ("etc/hostname", "\0"),
    ] {
        put(&root, path);
        fs::write(root.join(path), text).unwrap();
    }
    assert_eq!(
        clear_root(&root, "/mnt", &[]).unwrap(),
        [
            "/etc/passwd",
            "/etc/shadow",
            "/var/lib/nixos/gid-map",
            "/var/lib/nixos/uid-map"
        ]
    );
    for kept in [
        "etc/group",
        "etc/hostname",
        "var/lib/nixos/auto-subuid-map",
        "var/lib/nixos/declarative-users",
    ] {
        assert!(root.join(kept).exists(), "{kept}");
    }
}

#[test]
fn empty_directories_of_nixos_install_go() {
    let (_keep, root) = folder();
    for dir in [
        "mnt",
        "tmp",
        "tmp.AbCdEf0123",
        "tmp.short",
        "tmp.AbCdEf012-",
        "tmp.0123456789/system",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    put(&root, "tmp.aaaaaaaaaa");
    put(&root, "tmp/initrd-secrets.AbCdEf0123/etc/key");
    put(&root, "tmp/initrd-secrets.mine/key");
    assert_eq!(
        clear_root(&root, "/mnt", &["/mnt"]).unwrap(),
        ["/tmp.AbCdEf0123", "/tmp/initrd-secrets.AbCdEf0123"]
    );
    assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), ["/mnt"]);
    put(&root, "mnt/used");
    assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), [] as [String; 0]);
    for kept in [
        "tmp/initrd-secrets.mine/key",
        "tmp.short",
        "tmp.AbCdEf012-",
        "tmp.0123456789/system",
        "tmp.aaaaaaaaaa",
        "mnt/used",
    ] {
        assert!(root.join(kept).exists(), "{kept}");
    }
}

#[test]
fn files_of_accounts_that_are_no_files_or_are_cut_off_keep_no_activation_from_its_work() {
    for (path, bytes, goes) in [
        ("var/lib/nixos/uid-map", &b"{\"messagebus\":4,\"polkit"[..], true),
        ("var/lib/nixos/gid-map", b"{", true),
        ("var/lib/nixos/gid-map", b"   \n", true),
        ("var/lib/nixos/uid-map", b"[]", true),
        ("var/lib/nixos/auto-subuid-map", b"{\"a\":{}}", true),
        ("var/lib/nixos/uid-map", b"\xff\xfe\xfd", true),
        (
            "var/lib/nixos/uid-map",
            b"{\"messagebus\":4,\"nscd\":\"998\"}",
            false,
        ),
        ("var/lib/nixos/gid-map", b"{}", false),
        ("etc/passwd", b"root:x:0:0::/root:/bin/sh\n", false),
    ] {
        let (_keep, root) = folder();
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), bytes).unwrap();
        let removed = clear_root(&root, "/mnt", &[]).unwrap();
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(
            removed,
            vec![format!("/{path}"); usize::from(goes)],
            "{path}: {text}"
        );
        assert_eq!(root.join(path).exists(), !goes, "{path}: {text}");
    }
    for name in ["shadow", "passwd", "group"] {
        for kind in ["socket", "fifo", "directory", "device"] {
            let (_keep, root) = folder();
            fs::create_dir_all(root.join("etc")).unwrap();
            let at = root.join("etc").join(name);
            use nix::sys::stat::{Mode, SFlag, makedev, mknod};
            match kind {
                "socket" => drop(std::os::unix::net::UnixListener::bind(&at).unwrap()),
                "fifo" => nix::unistd::mkfifo(at.as_std_path(), Mode::S_IRWXU).unwrap(),
                "directory" => fs::create_dir(&at).unwrap(),
                // Only root may make one.
                _ => match mknod(at.as_std_path(), SFlag::S_IFBLK, Mode::S_IRWXU, makedev(240, 77)) {
                    Ok(()) => {}
                    Err(_) => continue,
                },
            }
            let told = format!("/etc/{name} (not a file, renamed to {name}.landfall-aside)");
            assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), [told], "{kind}");
            assert!(fs::symlink_metadata(&at).is_err(), "{kind}");
            assert!(
                fs::symlink_metadata(root.join(format!("etc/{name}.landfall-aside"))).is_ok(),
                "{kind}"
            );
            assert_eq!(
                clear_root(&root, "/mnt", &[]).unwrap(),
                [] as [String; 0],
                "{kind}"
            );
        }
    }
}

#[test]
fn a_machine_id_that_is_none_goes_and_one_that_is_stays() {
    let id = "0123456789abcdef0123456789abcdef";
    for (text, goes) in [
        (String::new(), true),
        ("\n".into(), true),
        ("\0".repeat(33), true),
        (id[..31].into(), true),
        (format!("{id}0\n"), true),
        (format!("{}\n", "0".repeat(32)), true),
        (format!("{id}\n{id}\n"), true),
        (id.into(), false),
        (format!("{id}\n"), false),
        ("uninitialized\n".into(), false),
    ] {
        let (_keep, root) = folder();
        put(&root, "etc/machine-id");
        put(&root, "nix/var/landfall/activated");
        fs::write(root.join("etc/machine-id"), &text).unwrap();
        let removed = clear_root(&root, "/mnt", &[]).unwrap();
        assert_eq!(removed, vec!["/etc/machine-id"; usize::from(goes)], "{text:?}");
        assert!(
            root.join("nix/var/landfall/activated").exists(),
            "nothing is to be activated for that"
        );
    }
    let (_keep, root) = folder();
    fs::create_dir_all(root.join("etc/machine-id")).unwrap();
    let told = ["/etc/machine-id (not a file, renamed to machine-id.landfall-aside)"];
    assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), told);
}

#[test]
fn the_probe_of_a_killed_run_goes_from_root_and_esp() {
    let (_keep, root) = folder();
    for path in [
        ".landfall-room",
        "boot/.landfall-room",
        "boot/kept",
        "home/.landfall-room",
    ] {
        put(&root, path);
    }
    fs::create_dir_all(root.join("srv/.landfall-room")).unwrap();
    assert_eq!(
        clear_root(&root, "/mnt", &[]).unwrap(),
        ["/.landfall-room", "/boot/.landfall-room"]
    );
    assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), [] as [String; 0]);
    for kept in ["boot/kept", "home/.landfall-room", "srv/.landfall-room"] {
        assert!(root.join(kept).exists(), "{kept}");
    }
}

#[test]
fn generations_that_lead_nowhere_go_and_others_stay() {
    let (_keep, root) = folder();
    let link = |to: &str, at: &str| {
        let at = root.join("nix/var/nix/profiles").join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::os::unix::fs::symlink(to, at).unwrap();
    };
    put(&root, "nix/store/there/boot.json");
    for (to, at) in [
        ("/nix/store/gone", "system-1-link"),
        ("/nix/store/there", "system-2-link"),
        ("system-1-link", "system"),
        ("/nix/store/gone", "system-x-link"),
        ("/nix/store/gone", "default-1-link"),
        ("/elsewhere", "system-3-link"),
    ] {
        link(to, at);
    }
    put(&root, "nix/var/nix/profiles/system-4-link");
    let cleared = || -> Vec<String> {
        let found = clear_generations(&root).unwrap();
        found.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(cleared(), ["system", "system-1-link"]);
    link("system-2-link", "system");
    assert_eq!(cleared(), [] as [String; 0]);
    assert_eq!(
        clear_generations(&Root::at(root.join("none")))
            .unwrap_or_default()
            .len(),
        0
    );
    assert_eq!(
        fs::read_dir(root.join("nix/var/nix/profiles")).unwrap().count(),
        6
    );
}

/// `nix-env --set`, killed before it renamed its link (Nix 2.8.0 and 2.26.3), and what the next one then made of that.
#[test]
fn a_generation_in_the_making_is_no_generation() {
    let (_keep, target) = folder();
    let root = target.join("");
    let profiles = root.join("nix/var/nix/profiles");
    fs_err::create_dir_all(&profiles).unwrap();
    let system = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web";
    fs_err::create_dir_all(root.join(&system[1..])).unwrap();
    let begun = "system-1-link.tmp-4711-815";
    fs_err::os::unix::fs::symlink(system, profiles.join(begun)).unwrap();
    // Others that look like it are not ours.
    for other in ["system-1-link.old", "system-x-link.tmp-1-2", "per-user.tmp-1-2"] {
        fs_err::os::unix::fs::symlink(system, profiles.join(other)).unwrap();
    }
    assert!(!profile_is_in_the_making(&target).unwrap());
    fs_err::os::unix::fs::symlink(begun, profiles.join("system")).unwrap();
    assert!(profile_is_in_the_making(&target).unwrap());
    let cleared = clear_generations(&target).unwrap();
    let names: Vec<&str> = cleared.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["system", begun]);
    assert!(cleared.iter().all(|(_, why)| why.contains("was making it")));
    assert!(!profile_is_in_the_making(&target).unwrap());
    // The control: a whole one stays.
    fs_err::os::unix::fs::symlink(system, profiles.join("system-1-link")).unwrap();
    fs_err::os::unix::fs::symlink("system-1-link", profiles.join("system")).unwrap();
    assert!(clear_generations(&target).unwrap().is_empty() && !profile_is_in_the_making(&target).unwrap());
    assert!(profiles.join("system-1-link.old").is_symlink());
}
