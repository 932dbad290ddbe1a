//! Promise: what `landfall relabel` writes is Nix as before, and it says what the next boot looks for from what is in the store and on the
//! ESP, and calls it proved when all of it is. On directories; the real thing is in the laboratory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may end where it stands

use camino::Utf8PathBuf;
use fs_err as fs;
use landfall::real::boot::loader::Variables;
use landfall::real::fs::target_root::Root;
use landfall::relabel::facts::{Content, Device, Entry, Facts, fstab};
use landfall::relabel::making::plan;
use landfall::relabel::next_boot::{NextBoot, look};
use landfall::relabel::nix_file::NixFile;
use landfall::relabel::plan::{Plan, Wanted};

const SYSTEM: &str = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web";
const OTHER: &str = "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6e-nixos-system-old";
const STORE: &str = "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5";
const BY_LABEL: &str =
    "/dev/disk/by-label/root-web / ext4 defaults 0 1\n/dev/disk/by-label/ESP-WEB /boot vfat defaults 0 2\n";
const BY_UUID: &str =
    "/dev/disk/by-uuid/8f1c / ext4 defaults 0 1\n/dev/disk/by-uuid/4A9B-11C2 /boot vfat defaults 0 2\n";
const CONTAINER: &str = "d3b07384-d113-4ec5-9a5e-aabbccddeeff";

struct Host {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Host {
    fn new(fstab: &str, crypttab: &str) -> Host {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let host = Host { _keep: keep, root };
        let system = SYSTEM.trim_start_matches('/');
        host.write(&format!("{system}/etc/fstab"), fstab.as_bytes());
        let spec = format!(
            r#"{{ "org.nixos.bootspec.v1": {{ "init": "{SYSTEM}/init", "kernel": "{STORE}-linux/bzImage", "initrd": "{STORE}-initrd/initrd",
                "kernelParams": ["quiet"], "label": "NixOS", "system": "x86_64-linux", "toplevel": "{SYSTEM}" }} }}"#
        );
        host.write(&format!("{system}/boot.json"), spec.as_bytes());
        fs::create_dir_all(host.root.join("nix/var/nix/profiles")).unwrap();
        for (link, to) in [("system", "system-7-link"), ("system-7-link", SYSTEM)] {
            fs::os::unix::fs::symlink(to, host.root.join("nix/var/nix/profiles").join(link)).unwrap();
        }
        // Microcode that is not packed, then the rest, which is.
        let padding = "x".repeat(3 << 20);
        let packed =
            zstd::encode_all(format!("{padding}\n{crypttab} none\n{padding}").as_bytes(), 3).unwrap();
        let initrd = [b"070701microcode".repeat(9), packed].concat();
        host.write(&format!("{STORE}-linux/bzImage")[1..], b"kernel");
        host.write(&format!("{STORE}-initrd/initrd")[1..], &initrd);
        host.write("boot/EFI/nixos/k.efi", b"kernel");
        host.write("boot/EFI/nixos/i.efi", &initrd);
        host.write("boot/loader/loader.conf", b"timeout 5\ndefault nixos-*\n");
        host.entry(7, SYSTEM);
        host
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn entry(&self, generation: u32, system: &str) {
        let text = format!(
            "title NixOS\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init={system}/init quiet\n"
        );
        self.write(
            &format!("boot/loader/entries/nixos-generation-{generation}.conf"),
            text.as_bytes(),
        );
    }

    fn look(&self) -> NextBoot {
        let (facts, plan) = planned();
        look(&plan, &facts, &Root::at(&self.root), &Variables::default()).unwrap()
    }
}

/// A machine with root in a LUKS container, which is found by its partition's name then; with the labels that it has got.
fn planned() -> (Facts, Plan) {
    let device = |path: &str, dev, kind: &str, below: &str, content: (&str, &str)| Device {
        path: path.into(),
        node: path.into(),
        dev,
        kind: kind.into(),
        below: vec![below.into()],
        content: Some(Content {
            kind: content.0.into(),
            version: Some("2".into()),
            uuid: Some(content.1.into()),
            ..Content::default()
        }),
        ..Device::default()
    };
    let mut facts = Facts {
        fstab: fstab(BY_UUID),
        devices: vec![
            device("/dev/sda", (8, 0), "disk", "", ("", "")),
            device("/dev/sda1", (8, 1), "part", "/dev/sda", ("vfat", "4A9B-11C2")),
            device(
                "/dev/sda2",
                (8, 2),
                "part",
                "/dev/sda",
                ("crypto_LUKS", CONTAINER),
            ),
            device(
                "/dev/mapper/cryptroot",
                (253, 0),
                "crypt",
                "/dev/sda2",
                ("ext4", "8f1c"),
            ),
        ],
        ..Facts::default()
    };
    facts.devices[2].entry = Some(Entry {
        scheme: "gpt".into(),
        number: 2,
        ..Entry::default()
    });
    let mount = "22 1 253:0 / / rw - ext4 /dev/mapper/cryptroot rw\n";
    let mount = landfall::real::mount::table::parse_mountinfo(mount)
        .unwrap()
        .remove(0);
    facts.mounts.push((mount, Some((253, 0))));
    let wanted = Wanted {
        host: "web".into(),
        ..Wanted::default()
    };
    let plan = plan(&facts, &wanted, &[]).unwrap();
    let mut label = |at: usize, label: &str| {
        facts.devices[at].content.as_mut().unwrap().label = Some(label.into());
    };
    label(1, "ESP-WEB");
    label(3, "root-web");
    facts.devices[2].entry.as_mut().unwrap().name = Some("luks-web".into());
    facts.devices[2].carries = true;
    (facts, plan)
}

#[test]
fn a_name_that_leads_to_no_device_is_never_proved() {
    let crypttab = "cryptroot /dev/disk/by-partlabel/luks-web";
    let nowhere = |host: &Host| match host.look() {
        NextBoot::Nowhere(lost) => lost
            .iter()
            .map(|one| format!("{} {}", one.spec, one.what))
            .collect::<Vec<_>>()
            .join(", "),
        other => panic!("{other:?}"),
    };
    for spec in [
        "/dev/disk/by-label/main",
        "LABEL=main",
        "UUID=0000-1111",
        "PARTLABEL=main",
    ] {
        let fstab = BY_LABEL.replace("/dev/disk/by-label/root-web", spec);
        assert_eq!(nowhere(&Host::new(&fstab, crypttab)), format!("{spec} /"));
    }
    let with = |line: &str| Host::new(&format!("{BY_LABEL}{line}\n"), crypttab);
    assert_eq!(
        nowhere(&with("/dev/disk/by-label/s none swap defaults")),
        "/dev/disk/by-label/s swap"
    );
    // What the boot goes on without, and what is no link.
    for line in [
        "/dev/disk/by-label/usb /usb vfat noauto 0 0",
        "/dev/disk/by-label/usb /usb vfat nofail,ro 0 0",
        "tmpfs /tmp tmpfs mode=1777 0 0",
        "/dev/mapper/random none swap defaults",
    ] {
        let looked = with(line).look();
        assert!(matches!(looked, NextBoot::Proved { .. }), "{line}: {looked:?}");
    }
    // In a container that is closed now it may be.
    let host = with("/dev/disk/by-label/data /data ext4 defaults 0 2");
    let (mut facts, plan) = planned();
    assert_eq!(nowhere(&host), "/dev/disk/by-label/data /data");
    let mut closed = facts.devices[2].clone();
    (closed.path, closed.node, closed.dev, closed.carries) =
        ("/dev/sda4".into(), "/dev/sda4".into(), (8, 4), false);
    facts.devices.push(closed);
    let looked = look(&plan, &facts, &Root::at(&host.root), &Variables::default()).unwrap();
    assert!(
        matches!(&looked, NextBoot::Unproved(why) if why[0].contains("by-label/data for /data")),
        "{looked:?}"
    );
}

#[test]
fn a_generation_by_labels_with_its_entry_is_proved() {
    let host = Host::new(BY_LABEL, "cryptroot /dev/disk/by-partlabel/luks-web");
    assert_eq!(
        host.look(),
        NextBoot::Proved {
            system: SYSTEM.into()
        }
    );
    // The mapping's own name in the fstab is a name that stays.
    let host = Host::new(
        &BY_LABEL.replace("/dev/disk/by-label/root-web", "/dev/mapper/cryptroot"),
        "cryptroot /dev/disk/by-partlabel/luks-web",
    );
    assert!(matches!(host.look(), NextBoot::Proved { .. }));
}

#[test]
fn a_generation_by_uuids_is_told_by_name_also_in_its_initrd() {
    let old = |host: Host| match host.look() {
        NextBoot::Old(names) => names.join(", "),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        old(Host::new(BY_UUID, "cryptroot /dev/disk/by-partlabel/luks-web")),
        "/dev/disk/by-uuid/8f1c for /, which will be /dev/disk/by-label/root-web, /dev/disk/by-uuid/4A9B-11C2 for /boot, which will be \
         /dev/disk/by-label/ESP-WEB"
    );
    assert_eq!(
        old(Host::new(
            BY_LABEL,
            &format!("cryptroot /dev/disk/by-uuid/{CONTAINER}")
        )),
        format!("{CONTAINER} for its LUKS container, which will be /dev/disk/by-partlabel/luks-web")
    );
}

#[test]
fn what_cannot_be_seen_is_not_proved() {
    let unproved = |host: &Host| match host.look() {
        NextBoot::Broken(why) | NextBoot::Unproved(why) => why.join(", "),
        other => panic!("{other:?}"),
    };
    let whole = || Host::new(BY_LABEL, "cryptroot /dev/disk/by-partlabel/luks-web");
    assert!(unproved(&Host::new(BY_LABEL, "")).contains("does not name /dev/disk/by-partlabel/luks-web"));
    // Another generation is the default: its entry is a higher one.
    let host = whole();
    host.entry(8, OTHER);
    assert!(
        unproved(&host).contains("nixos-generation-8.conf is the default and starts"),
        "{}",
        unproved(&host)
    );
    // The entry was never written, a file of it is another one, or the initrd is cut off.
    let host = whole();
    fs::remove_file(host.root.join("boot/loader/entries/nixos-generation-7.conf")).unwrap();
    assert!(!unproved(&host).is_empty());
    let host = whole();
    host.write("boot/EFI/nixos/k.efi", b"kerne1");
    assert!(unproved(&host).contains("k.efi"), "{}", unproved(&host));
    let host = whole();
    let initrd = host
        .root
        .join(format!("{STORE}-initrd/initrd").trim_start_matches('/'));
    let bytes = fs::read(&initrd).unwrap();
    fs::write(&initrd, &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        unproved(&host).contains("has something after"),
        "{}",
        unproved(&host)
    );
    // No generation at all.
    let host = whole();
    fs::remove_file(host.root.join("nix/var/nix/profiles/system")).unwrap();
    assert!(matches!(host.look(), NextBoot::Unseen(_)));
}

/// What Nix says of a text; `None`: it is not here.
fn nix_parses(text: &str) -> Option<bool> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.nix");
    fs::write(&file, text).unwrap();
    let ended = std::process::Command::new("nix-instantiate")
        .arg("--parse")
        .arg(file)
        .output();
    ended.ok().map(|ended| ended.status.success())
}

/// Which bytes change is held where it is done (`nix_file_tests`); Nix is the judge of what they are then.
#[test]
fn nix_parses_every_edited_shape() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relabel");
    let mut shapes = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "nix") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let file = NixFile::parse(&text).unwrap();
        let edited = file
            .renamed(|_, _| Some("/dev/disk/by-label/root-web".into()))
            .unwrap();
        assert_ne!(edited, text);
        assert_ne!(nix_parses(&edited), Some(false), "{}\n{edited}", path.display());
        shapes += 1;
    }
    assert!(shapes >= 10);
    assert_ne!(nix_parses("{ fileSystems = "), Some(true), "the control");
}
