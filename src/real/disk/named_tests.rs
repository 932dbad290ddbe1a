#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::sysfs::tests::Tree;
use super::*;

/// A disk at a place, with its attributes.
fn put(tree: &Tree, name: &str, dev: &str, hardware: &str, attributes: &[(&str, &str)]) {
    tree.disk_at(name, dev, 16_777_216, hardware);
    for (attribute, text) in attributes {
        tree.put_at(name, attribute, text);
    }
}

fn link(tree: &Tree, folder: &str, name: &str, to: &str) {
    let path = tree.sysfs().at(&format!("dev/disk/{folder}"));
    fs_err::create_dir_all(&path).unwrap();
    fs_err::os::unix::fs::symlink(format!("../../{to}"), path.join(name)).unwrap();
}

fn disks(tree: &Tree) -> Vec<Named> {
    look(&tree.sysfs()).unwrap()
}

fn agreed(tree: &Tree, name: &str, to: usize) -> Result<(), String> {
    let disks = disks(tree);
    agrees(name, &disks[to].identity.clone(), &disks)
}

#[test]
fn a_disk_is_named_exactly_or_not_at_all() {
    let tree = Tree::new();
    let wwid = [("wwid", "naa.5000c500a0b1c2d3\n"), ("serial", "LF0001\n")];
    put(
        &tree,
        "sda",
        "8:0",
        "pci0000:00/0000:00:10.0/host2/target2:0:0/2:0:0:0",
        &wwid,
    );
    for good in [
        "LF0001",
        " LF0001\n",
        "naa.5000c500a0b1c2d3",
        "0x5000C500A0B1C2D3",
        "wwn-0x5000c500a0b1c2d3",
        "scsi-35000c500a0b1c2d3",
        "/dev/disk/by-id/wwn-0x5000c500a0b1c2d3",
        "pci-0000:00:10.0-scsi-0:0:0:0",
        "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0",
    ] {
        assert_eq!(agreed(&tree, good, 0), Ok(()), "{good}");
    }
    for bad in [
        "",
        "LF000",
        "LF00011",
        "lf0001",
        "/dev/sda",
        "..",
        "sda",
        "yes",
        "/dev/disk/by-id/",
    ] {
        let why = agreed(&tree, bad, 0).unwrap_err();
        assert!(why.contains("its name is naa.5000c500a0b1c2d3"), "{bad}: {why}");
    }
}

#[test]
fn a_link_agrees_to_the_disk_that_it_leads_to_and_to_no_other() {
    // Proxmox, Hetzner, KubeVirt: nothing but page 83 with the name that the hypervisor gave, of which only udev makes a link.
    let tree = Tree::new();
    for (name, dev, target) in [("sda", "8:0", 0), ("sdb", "8:16", 1)] {
        let hardware = format!("pci0000:00/0000:00:05.0/virtio1/host2/target2:0:{target}/2:0:{target}:0");
        put(&tree, name, dev, &hardware, &[]);
        link(
            &tree,
            "by-id",
            &format!("scsi-0QEMU_QEMU_HARDDISK_BAY-{target}"),
            name,
        );
        link(
            &tree,
            "by-id",
            &format!("scsi-0QEMU_QEMU_HARDDISK_BAY-{target}-part1"),
            &format!("{name}1"),
        );
    }
    assert_eq!(agreed(&tree, "scsi-0QEMU_QEMU_HARDDISK_BAY-1", 1), Ok(()));
    assert_eq!(
        agreed(&tree, "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_BAY-1", 1),
        Ok(())
    );
    let why = agreed(&tree, "scsi-0QEMU_QEMU_HARDDISK_BAY-1", 0).unwrap_err();
    assert!(
        why.contains("which is /dev/sdb") && why.contains("its name is pci-0000:00:05.0-scsi-0:0:0:0"),
        "{why}"
    );
    assert!(agreed(&tree, "scsi-0QEMU_QEMU_HARDDISK_BAY-1-part1", 1).is_err());
    assert!(agreed(&tree, "scsi-0QEMU_QEMU_HARDDISK_BAY-7", 1).is_err());
}

#[test]
fn two_bays_of_one_bridge_are_two_disks_and_its_serial_agrees_to_neither() {
    for (serial, vendor, is_name) in [
        ("0123456789ABCDEF", "152d", false),
        ("152D00539000", "152d", false),
        ("152DA1B2C3D4E", "152d", false),
        ("NONE", "0bda", false),
        ("Default string", "174c", false),
        ("MSFT30A1B2C3D4", "174c", true),
    ] {
        let tree = Tree::new();
        let usb = "pci0000:00/0000:00:14.0/usb2/2-3";
        for (name, dev, lun) in [("sda", "8:0", 0), ("sdb", "8:16", 1)] {
            let hardware = format!("{usb}/2-3:1.0/host4/target4:0:0/4:0:0:{lun}");
            put(&tree, name, dev, &hardware, &[]);
            // udev gives back what was thrown away: it is not asked.
            tree.put(
                &format!("run/udev/data/b{dev}"),
                &format!("E:ID_SERIAL_SHORT={serial}\n"),
            );
        }
        tree.put(&format!("sys/devices/{usb}/serial"), &format!("{serial}\n"));
        tree.put(&format!("sys/devices/{usb}/idVendor"), &format!("{vendor}\n"));
        let all = disks(&tree);
        assert_ne!(all[0].identity, all[1].identity, "{serial}");
        assert_ne!(all[0].identity.name(), all[1].identity.name(), "{serial}");
        assert_eq!(all[0].identity.serial.is_some(), is_name, "{serial}");
        for to in [0, 1] {
            assert!(agreed(&tree, serial, to).is_err(), "{serial}");
        }
        // The bay, with what sits there: the size, and the bridge's number where that is one.
        let sits = if is_name {
            format!("{serial},8589934592")
        } else {
            "8589934592".into()
        };
        let bay = format!("pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:1={sits}");
        assert_eq!(name_for(1, &all).unwrap(), bay, "{serial}");
        assert_eq!(agreed(&tree, &bay, 1), Ok(()));
        assert!(agreed(&tree, &bay, 0).is_err());
        assert!(agreed(&tree, "pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:1", 1).is_err());
    }
}

#[test]
fn a_disk_without_a_name_of_its_own_is_named_by_its_place_with_and_without_udev() {
    let identities: Vec<DiskIdentity> = [
        None,
        Some("E:ID_PATH=pci-0000:00:04.0\nE:ID_SERIAL_SHORT=x1\n"),
        Some("E:ID_PATH=virtio-pci-0000:00:04.0\nE:ID_WWN=0x5000c500a0b1c2d3\n"),
    ]
    .into_iter()
    .map(|record| {
        let tree = Tree::new();
        put(&tree, "vda", "254:0", "pci0000:00/0000:00:04.0/virtio1", &[]);
        if let Some(record) = record {
            tree.put("run/udev/data/b254:0", record);
        }
        let all = disks(&tree);
        assert_eq!(name_for(0, &all).unwrap(), "pci-0000:00:04.0");
        assert_eq!(agreed(&tree, "pci-0000:00:04.0", 0), Ok(()));
        // As an older udev calls the link.
        link(&tree, "by-path", "virtio-pci-0000:00:04.0", "vda");
        assert_eq!(
            agreed(&tree, "/dev/disk/by-path/virtio-pci-0000:00:04.0", 0),
            Ok(())
        );
        all[0].identity.clone()
    })
    .collect();
    assert!(
        identities.iter().all(|identity| *identity == identities[0]),
        "{identities:?}"
    );
}

#[test]
fn namespaces_and_units_of_one_serial_are_told_apart() {
    let tree = Tree::new();
    let nvme = "pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0";
    for (name, dev, nsid) in [("nvme0n1", "259:0", "1"), ("nvme0n2", "259:1", "2")] {
        let wwid = format!("eui.0025388b71b2c30{nsid}");
        put(
            &tree,
            name,
            dev,
            &format!("{nvme}/{name}"),
            &[
                ("nsid", nsid),
                ("wwid", &wwid),
                ("device/serial", "S4EVNX0R123456"),
            ],
        );
    }
    let all = disks(&tree);
    assert_eq!(meaning("S4EVNX0R123456", &all), Meaning::Several(vec![0, 1]));
    assert_eq!(name_for(1, &all).unwrap(), "eui.0025388b71b2c302");
    assert_eq!(agreed(&tree, "eui.0025388b71b2c302", 1), Ok(()));
    assert!(agreed(&tree, "S4EVNX0R123456", 1).is_err());
    // UFS: every unit says the serial number of the chip, and none has a WWN.
    let tree = Tree::new();
    for (name, dev, lun) in [("sda", "8:0", 0), ("sdb", "8:16", 1)] {
        let hardware = format!("platform/soc@0/1d84000.ufshc/host0/target0:0:0/0:0:0:{lun}");
        put(
            &tree,
            name,
            dev,
            &hardware,
            &[("device/vpd_pg80", "\0\u{0}\0\u{8}12345678UFS")],
        );
    }
    let all = disks(&tree);
    assert_ne!(all[0].identity, all[1].identity);
    assert_eq!(name_for(1, &all).unwrap(), "platform-1d84000.ufshc-scsi-0:0:0:1");
}

#[test]
fn a_name_that_two_disks_have_agrees_to_neither() {
    let tree = Tree::new();
    for (name, dev, slot) in [("vda", "254:0", 4), ("vdb", "254:16", 5)] {
        let hardware = format!("pci0000:00/0000:00:0{slot}.0/virtio{slot}");
        put(&tree, name, dev, &hardware, &[("serial", "TWIN")]);
    }
    assert!(
        agreed(&tree, "TWIN", 0)
            .unwrap_err()
            .contains("the name of 2 disks")
    );
    // Equal in everything that they say: not even the place agrees, because the held disk is found by its identity.
    assert!(
        agreed(&tree, "pci-0000:00:04.0", 0)
            .unwrap_err()
            .contains("reports the same identity")
    );
    assert_eq!(name_for(0, &disks(&tree)), None);
}

#[test]
fn a_link_that_several_disks_ask_for_agrees_to_none() {
    // Two namespaces of one serial number: udev gives the link to either.
    let tree = Tree::new();
    let nvme = "pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0";
    for (name, dev, nsid) in [("nvme0n1", "259:0", "1"), ("nvme0n2", "259:1", "2")] {
        let words = [("nsid", nsid), ("serial", "LF0017A2\n")];
        put(&tree, name, dev, &format!("{nvme}/{name}"), &words);
        tree.put(
            &format!("run/udev/data/b{dev}"),
            "S:disk/by-id/nvme-QEMU_NVMe_Ctrl_LF0017A2\n",
        );
    }
    link(&tree, "by-id", "nvme-QEMU_NVMe_Ctrl_LF0017A2", "nvme0n2");
    let all = disks(&tree);
    assert_eq!(
        meaning("nvme-QEMU_NVMe_Ctrl_LF0017A2", &all),
        Meaning::Several(vec![0, 1])
    );
    for to in [0, 1] {
        assert!(agreed(&tree, "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_LF0017A2", to).is_err());
    }
    // A link that udev's database remembers and that is not there is none.
    tree.put("run/udev/data/b259:0", "S:disk/by-id/nvme-gone\n");
    assert_eq!(agreed(&tree, "nvme-QEMU_NVMe_Ctrl_LF0017A2", 1), Ok(()));
    assert!(agreed(&tree, "nvme-gone", 0).is_err());
}

#[test]
fn a_link_made_of_a_wwn_that_many_have_agrees_to_none() {
    for (name, is_name) in [
        ("wwn-0x0000000000000000", false),
        ("wwn-0x5000000000000001", false),
        ("scsi-35000000000000001", false),
        ("nvme-eui.0000000000000000", false),
        ("wwn-0x5000c500a0b1c2d3", true),
        ("scsi-35000c500a0b1c2d3", true),
        ("nvme-eui.0025388b71b2c3d4", true),
        ("nvme-Samsung_SSD_980_S64DNX0R1", true),
        ("scsi-SATA_Disk_S64DNX0R1", true),
    ] {
        let tree = Tree::new();
        put(
            &tree,
            "sda",
            "8:0",
            "pci0000:00/0000:00:10.0/host2/target2:0:0/2:0:0:0",
            &[("serial", "S64DNX0R1\n")],
        );
        link(&tree, "by-id", name, "sda");
        assert_eq!(agreed(&tree, name, 0).is_ok(), is_name, "{name}");
    }
}

/// A USB disk without a WWN, an SD card without a serial number, and what somebody plugs into the same place.
#[test]
fn a_port_is_no_name_of_what_sits_in_it() {
    let usb = "pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/host4/target4:0:0/4:0:0:0";
    let card = "platform/fe330000.mmc/mmc_host/mmc0/mmc0:0001";
    type Words<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Words, Words); 4] = [
        (
            "sda",
            usb,
            &[("serial", "S6XKNS0T123456X")],
            &[("serial", "S7OTHERDISK99Z")],
        ),
        ("sda", usb, &[("serial", "S6XKNS0T123456X")], &[]),
        ("sda", usb, &[], &[("size", "33554432")]),
        (
            "mmcblk0",
            card,
            &[("device/type", "SD\n"), ("serial", "0x00000000\n")],
            &[
                ("device/type", "SD\n"),
                ("serial", "0x00000000\n"),
                ("size", "4194304"),
            ],
        ),
    ];
    for (name, hardware, first, second) in cases {
        let machine = |attributes: Words| {
            let tree = Tree::new();
            put(&tree, name, "8:0", hardware, &[]);
            for (attribute, text) in attributes {
                if *attribute == "serial" && name == "sda" {
                    tree.put("sys/devices/pci0000:00/0000:00:14.0/usb2/2-3/serial", text);
                    tree.put("sys/devices/pci0000:00/0000:00:14.0/usb2/2-3/idVendor", "04e8");
                } else {
                    tree.put_at(name, attribute, text);
                }
            }
            tree
        };
        let (before, after) = (machine(first), machine(second));
        let printed = name_for(0, &disks(&before)).unwrap();
        let place = disks(&before)[0].place.clone().unwrap();
        assert!(printed.starts_with(&format!("{place}=")), "{printed}");
        assert_eq!(agreed(&before, &printed, 0), Ok(()), "{printed}");
        let why = agreed(&after, &printed, 0).unwrap_err();
        assert!(why.contains("which is the name of no disk"), "{why}");
        // The place alone, and the link that is called like it.
        link(&before, "by-path", &place, name);
        for bare in [place.clone(), format!("/dev/disk/by-path/{place}")] {
            let why = agreed(&before, &bare, 0).unwrap_err();
            assert!(
                why.contains("another disk can be put") && why.contains(&printed),
                "{why}"
            );
        }
    }
}

#[test]
fn what_is_printed_is_accepted_also_where_it_cannot_be_seen() {
    for serial in [
        "AB\u{202e}CD1234",
        "PROD\u{200b}0001",
        "AB\u{ad}CD1234",
        "a\u{fe0f}bcd1",
        "A\u{feff}B12345",
    ] {
        let mut disk = Named {
            device: "/dev/vda".into(),
            identity: DiskIdentity {
                wwn: None,
                serial: Some(serial.into()),
                path: None,
                size_bytes: 1 << 34,
                sector_bytes: 512,
            },
            place: None,
            by_hand: false,
            links: vec![],
        };
        let all = [disk.clone()];
        let printed = String::from(Shown::line(&name_for(0, &all).unwrap()));
        assert_ne!(printed, serial, "it is escaped: {serial:?}");
        assert_eq!(agrees(&printed, &all[0].identity, &all), Ok(()), "{printed}");
        assert_eq!(
            agrees(serial, &all[0].identity, &all),
            Ok(()),
            "as it is: {serial:?}"
        );
        // Where there is a name that can be typed, that one is printed.
        disk.place = Some("pci-0000:00:05.0".into());
        assert_eq!(name_for(0, &[disk]).unwrap(), "pci-0000:00:05.0");
    }
}

#[test]
fn a_disk_without_a_number_of_its_own_is_told_by_its_place() {
    let blank = "t10.ATA     SATA SSD                                                      \n";
    let tree = Tree::new();
    for (name, dev, port) in [("sda", "8:0", 1), ("sdb", "8:16", 2)] {
        let hardware = format!("pci0000:00/0000:00:17.0/ata{port}/host{port}/target{port}:0:0/{port}:0:0:0");
        put(
            &tree,
            name,
            dev,
            &hardware,
            &[("device/wwid", blank), ("device/model", "SATA SSD")],
        );
        link(
            &tree,
            "by-id",
            &format!("ata-SATA_SSD_0000000000000000000{port}"),
            name,
        );
    }
    link(&tree, "by-id", "ata-SATA_SSD", "sdb");
    let all = disks(&tree);
    assert_ne!(all[0].identity, all[1].identity);
    assert_eq!(name_for(1, &all).unwrap(), "pci-0000:00:17.0-ata-2.0");
    assert_eq!(agreed(&tree, "pci-0000:00:17.0-ata-2.0", 1), Ok(()));
    for many in [
        "t10.ATA SATA SSD",
        "ata-SATA_SSD",
        "ata-SATA_SSD_00000000000000000002",
    ] {
        agreed(&tree, many, 1).unwrap_err();
    }
    // A link of the bridge's words chooses a disk and agrees to nothing.
    let tree = Tree::new();
    let hardware = "pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/host0/target0:0:0/0:0:0:0";
    put(&tree, "sda", "8:0", hardware, &[]);
    link(&tree, "by-id", "usb-ASMT_2115_S6XKNS0T123456X-0:0", "sda");
    assert!(matches!(
        meaning("usb-ASMT_2115_S6XKNS0T123456X-0:0", &disks(&tree)),
        Meaning::One(0, By::Link)
    ));
    let why = agreed(&tree, "usb-ASMT_2115_S6XKNS0T123456X-0:0", 0).unwrap_err();
    assert!(
        why.contains("USB bridge")
            && why.ends_with("its name is pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0=8589934592"),
        "{why}"
    );
}
