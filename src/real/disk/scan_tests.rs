#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::sysfs::tests::Tree;
use super::*;

fn block(name: &str) -> Block {
    let tree = Tree::new();
    tree.disk(name, "8:0", 16_384);
    tree.put(&format!("sys/block/{name}/serial"), "LF0001");
    tree.sysfs().block(name).unwrap().unwrap()
}

fn image(change: impl FnOnce(&mut [u8])) -> (tempfile::NamedTempFile, Contents) {
    let mut bytes = vec![0_u8; 8 << 20];
    change(&mut bytes);
    let kept = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(kept.path(), &bytes).unwrap();
    let mut file = fs_err::File::open(kept.path()).unwrap().into_file();
    let seen = contents::contents(&mut file, &block("sda").identity, None).unwrap();
    (kept, seen)
}

fn facts_of(contents: Contents, medium: &BootMedium) -> select::Facts {
    let mut large = block("sda");
    large.identity.size_bytes = 8 << 30;
    facts(&large, &Ok(contents), &Uses::default(), medium, &[], vec![])
}

#[test]
fn without_sys_it_is_told_what_to_mount() {
    let tree = Tree::new();
    let fault = shows_devices(&tree.sysfs()).unwrap_err();
    assert_ne!(fault.class, landfall_states::fault::FaultClass::Transient);
    assert!(fault.next().starts_with("mount -t sysfs sysfs /sys"), "{fault}");
    tree.disk("sda", "8:0", 16_384);
    shows_devices(&tree.sysfs()).unwrap();
}

#[test]
fn what_is_no_disk() {
    for name in [
        "loop0",
        "zram0",
        "ram1",
        "dm-0",
        "md127",
        "sr0",
        "fd0",
        "mmcblk0boot0",
        "mmcblk0rpmb",
        "nbd0",
    ] {
        assert!(no_disk(&block(name)).is_some(), "{name}");
    }
    for name in ["sda", "vda", "nvme0n1", "mmcblk0", "xvda", "sdmd", "hda"] {
        assert!(no_disk(&block(name)).is_none(), "{name}");
    }
}

#[test]
fn a_blank_disk_is_blank_and_gives_the_same_lines_twice() {
    let (_file, seen) = image(|_| ());
    assert_eq!(seen.lines, ["no partition table"]);
    let facts = facts_of(seen, &BootMedium::default());
    assert!(facts.blank && facts.never.is_empty() && facts.unless_named.is_empty());
}

#[test]
fn a_stick_in_memory_is_known_by_its_label() {
    // The ISO image of a live system that runs from memory: nothing is mounted, the kernel's command line names it.
    let iso = |bytes: &mut [u8]| {
        bytes[32_769..32_774].copy_from_slice(b"CD001");
        bytes[32_808..32_817].copy_from_slice(b"NIXOS-ISO");
    };
    let (_file, seen) = image(iso);
    let medium = parse_cmdline("root=LABEL=NIXOS-ISO copytoram");
    let facts = facts_of(seen.clone(), &medium);
    assert!(facts.never[0].contains("NIXOS-ISO"), "{facts:?}");
    let other = facts_of(seen, &BootMedium::default());
    assert!(other.never.is_empty());
    assert!(other.unless_named[0].contains("ISO 9660"));
}

#[test]
fn a_classic_table_is_described() {
    let (_file, seen) = image(|bytes| {
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        bytes[446] = 0x80;
        bytes[450] = 0x83;
        bytes[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        bytes[458..462].copy_from_slice(&4096_u32.to_le_bytes());
        let ext = (2048 * 512) + 1024;
        bytes[ext + 56..ext + 58].copy_from_slice(&[0x53, 0xEF]);
        bytes[ext + 120..ext + 126].copy_from_slice(b"photos");
    });
    assert_eq!(
        seen.lines,
        ["MBR with 1 partitions", "partition 1: 2.0 MiB, ext2 \"photos\""]
    );
    let facts = facts_of(seen, &BootMedium::default());
    assert!(facts.partitions.len() == 1 && !facts.blank);
}

#[test]
fn a_card_is_told_from_a_soldered_chip() {
    for (kind, transport) in [("SD", "sd"), ("MMC", "mmc")] {
        let tree = Tree::new();
        tree.disk("mmcblk0", "179:0", 16_384);
        tree.put("sys/block/mmcblk0/device/type", &format!("{kind}\n"));
        assert_eq!(
            tree.sysfs().block("mmcblk0").unwrap().unwrap().transport,
            transport
        );
    }
}

#[test]
fn objections_of_the_hardware() {
    let mut odd = block("sda");
    odd.removable = true;
    odd.transport = "usb";
    odd.read_only = true;
    odd.identity.sector_bytes = 520;
    let never = facts(
        &odd,
        &Err("EIO".into()),
        &Uses::default(),
        &BootMedium::default(),
        &[],
        vec![],
    )
    .never;
    for word in ["removable", "read-only", "520", "EIO"] {
        assert!(never.iter().any(|n| n.contains(word)), "{word}: {never:?}");
    }
    let mut usb = block("sda");
    usb.transport = "usb";
    let (_file, seen) = image(|_| ());
    assert_eq!(
        facts(
            &usb,
            &Ok(seen),
            &Uses::default(),
            &BootMedium::default(),
            &[],
            vec![]
        )
        .unless_named,
        ["it is attached over USB"]
    );
}

#[test]
fn a_bay_that_is_called_removable_is_taken_when_named_and_a_stick_never() {
    let look = |transport, size_bytes| {
        let mut disk = block("sda");
        (disk.removable, disk.transport) = (true, transport);
        disk.identity.size_bytes = size_bytes;
        let (_file, seen) = image(|_| ());
        facts(
            &disk,
            &Ok(seen),
            &Uses::default(),
            &BootMedium::default(),
            &[],
            vec![],
        )
    };
    for never in ["usb", "sd"] {
        assert_eq!(look(never, 8 << 30).never, ["it is removable"], "{never}");
    }
    for named in ["sata", "scsi", "nvme"] {
        let facts = look(named, 8 << 30);
        assert!(
            facts.never.is_empty() && facts.unless_named[0].contains("bay"),
            "{named}: {facts:?}"
        );
    }
    assert!(look("scsi", 8 << 20).never[0].contains("less than 100.0 MiB"));
}

/// As xorriso makes NixOS's ISO, and dd writes it: the first partition of the MBR begins with the image itself and has no type,
/// the second is the ESP inside it, and there is a primary GPT of 248 entries beside them, without a backup at the end.
fn dd_stick(bytes: &mut [u8]) {
    bytes[446..462].copy_from_slice(&[0x80, 0, 1, 0, 0, 0x3f, 0x20, 5, 0, 0, 0, 0, 0, 0x30, 0, 0]);
    bytes[462..478].copy_from_slice(&[
        0, 0xfe, 0xff, 0xff, 0xef, 0xfe, 0xff, 0xff, 0x8c, 0, 0, 0, 0, 0x10, 0, 0,
    ]);
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes[512..524].copy_from_slice(b"EFI PART\0\0\x01\0");
    bytes[524] = 92;
    bytes[592] = 248;
    bytes[596] = 128;
    bytes[32_769..32_774].copy_from_slice(b"CD001");
    bytes[32_808..32_822].copy_from_slice(b"LANDFALL-vault");
    bytes[32_822..32_840].fill(b' ');
}

/// 26.11 says `root=fstab` on the kernel's command line, and with *Copy ISO Files to RAM* nothing of the stick is mounted.
#[test]
fn a_stick_in_memory_is_known_by_the_line_that_would_mount_it() {
    let mut medium = parse_cmdline("init=/nix/store/x/init nohibernate root=fstab loglevel=4 copytoram");
    let (_file, seen) = image(dd_stick);
    assert!(
        facts_of(seen.clone(), &medium).never.is_empty(),
        "the control: nothing says so yet"
    );
    medium.add_fstab("/dev/disk/by-label/LANDFALL-vault /iso iso9660 x-initrd.mount 0 0\n");
    let facts = facts_of(seen.clone(), &medium);
    assert!(
        facts.never[0].contains("LANDFALL-vault") && facts.never[0].contains("/iso"),
        "{facts:?}"
    );
    // Another host's stick is an installer stick, and not this one.
    let mut other = BootMedium::default();
    other.add_fstab("/dev/disk/by-label/LANDFALL-web /iso iso9660 x-initrd.mount 0 0\n");
    let facts = facts_of(seen, &other);
    assert!(
        facts.never.is_empty() && facts.unless_named[0].contains("ISO 9660"),
        "{facts:?}"
    );
}

#[test]
fn what_speaks_for_a_disk_is_nixos_or_this_very_configuration() {
    let with = |folders: &[&str]| {
        let (_file, mut seen) = image(|_| {});
        seen.folders = folders.iter().map(|name| (*name).to_owned()).collect();
        facts_of(seen, &BootMedium::default()).former
    };
    for nobodys in [
        &[][..],
        &["BOOT"],
        &["BOOT", "systemd", "Linux"],
        &["refind", "BOOT"],
        &["Microsoft"],
    ] {
        assert_eq!(with(nobodys), select::Former::Nothing, "{nobodys:?}");
    }
    for nixos in [&["BOOT", "nixos", "systemd"][..], &["NixOS-boot"], &["LANDFALL"]] {
        assert_eq!(with(nixos), select::Former::System, "{nixos:?}");
    }
    let config = |root: &str| {
        let text = format!(
            r#"(host: "web", labels: (efi: "ESP-WEB", root: "{root}"), repository: (remote: Some("/srv/repo")), system: Flake)"#
        );
        crate::config::Config::parse(&text, crate::config::Notation::Ron).unwrap()
    };
    let mut disk = block("sda");
    disk.identity.size_bytes = 16 << 30;
    let plans = known_ids::all(&config("root-web"), &disk.identity);
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(disk.identity.size_bytes).unwrap();
    let mut prepared = gpt::prepare(&mut file, &plans[3].table).unwrap();
    gpt::write(&mut file, &mut prepared, |_| Ok(())).unwrap();
    let mut former = |plans: Vec<Plan>| {
        let contents = Ok(contents::seen(&mut file, &disk.identity, None).unwrap());
        let seen = Seen {
            block: disk.clone(),
            plans,
            contents,
            failing: None,
        };
        judge(vec![seen], &Machine::default(), &BootMedium::default(), &[])[0]
            .facts
            .former
    };
    assert_eq!(former(plans), select::Former::Install);
    // The control: the same disk for another configuration, and for none.
    let mut other = block("sda");
    other.identity.size_bytes = 16 << 30;
    assert_eq!(
        former(known_ids::all(&config("root-other"), &other.identity)),
        select::Former::Nothing
    );
    assert_eq!(former(vec![]), select::Former::Nothing);
}
