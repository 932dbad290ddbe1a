#![allow(clippy::unwrap_used)]

use super::super::proc::Mount;
use super::super::sysfs::Partition;
use super::*;
use crate::config::Notation;
use landfall_states::actions::partition_disk::KernelPartition;
use landfall_states::fault::FaultClass;

fn block(name: &str, minor: u32, transport: &'static str, removable: bool) -> Block {
    Block {
        name: name.into(),
        dev: (8, minor),
        identity: DiskIdentity {
            wwn: None,
            serial: Some(format!("LF-{name}")),
            path: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
        },
        model: None,
        place: None,
        transport,
        removable,
        network: None,
        port: None,
        read_only: false,
        hidden: false,
        holders: vec![],
        slaves: vec![],
        loop_file: None,
        mapping: None,
        partitions: vec![Partition {
            name: format!("{name}1"),
            dev: (8, minor + 1),
            kernel: KernelPartition {
                number: 1,
                first_lba: 2048,
                sectors: 2048,
            },
            holders: vec![],
            partuuid: None,
        }],
    }
}

fn machine(blocks: Vec<Block>) -> Machine {
    Machine {
        blocks,
        ..Machine::default()
    }
}

fn labelled(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn of(block: Block, name: &str) -> Found {
    judge(&machine(vec![block]), &labelled(&[name])).unwrap()
}

#[test]
fn what_a_hand_can_plug_in_is_trusted_and_what_sits_in_the_machine_is_not() {
    for (name, transport, removable) in [
        ("sdb", "usb", true),
        // Some sticks say that they are not removable.
        ("sdb", "usb", false),
        ("mmcblk0", "sd", false),
        ("sdb", "scsi", true),
        ("sr0", "sata", true),
    ] {
        let found = of(block(name, 16, transport, removable), name);
        assert_eq!(
            found.medium.map(|m| m.standing),
            Some(Standing::PluggedIn),
            "{name} {transport}"
        );
    }
    for (name, transport, removable) in [
        ("sda", "sata", false),
        // A hot-plug bay.
        ("sda", "sata", true),
        ("nvme0n1", "nvme", false),
        ("vdb", "virtio", false),
        ("mmcblk0", "mmc", false),
        ("sda", "scsi", false),
        ("loop0", "virtual", false),
        ("dm-0", "virtual", false),
        ("nbd0", "virtual", true),
    ] {
        let found = of(block(name, 16, transport, removable), &format!("{name}1"));
        assert_eq!(found.medium, None, "{name} {transport}");
        assert!(
            found.ignored[0].starts_with(&format!("/dev/{name}1")),
            "{:?}",
            found.ignored
        );
    }
}

#[test]
fn the_medium_that_the_system_runs_from_is_trusted_wherever_it_sits() {
    let mut machine = machine(vec![
        block("vda", 0, "virtio", false),
        block("vdb", 16, "virtio", false),
    ]);
    let mount = |dev, point: &str| Mount {
        dev,
        point: point.into(),
        kind: "iso9660".into(),
        source: "x".into(),
    };
    // The control: a mount that somebody made for himself says nothing.
    machine.mounts = vec![mount((8, 17), "/media/x")];
    assert_eq!(judge(&machine, &labelled(&["vdb1"])).unwrap().medium, None);
    machine.mounts = vec![mount((8, 16), "/iso")];
    let found = judge(&machine, &labelled(&["vdb1"])).unwrap();
    assert_eq!(found.medium.unwrap().standing, Standing::Boot);
    assert_eq!(judge(&machine, &labelled(&["vda1"])).unwrap().medium, None);
}

#[test]
fn two_that_could_be_trusted_are_a_doubt_and_a_planted_one_is_not() {
    let machine = machine(vec![
        block("sda", 0, "sata", false),
        block("sdb", 16, "usb", true),
        block("sdc", 32, "usb", true),
    ]);
    let fault = judge(&machine, &labelled(&["sdb1", "sdc1"])).unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange);
    for device in ["/dev/sdb1", "/dev/sdc1", "landfall read none of them"] {
        assert!(fault.why().contains(device), "{fault}");
    }
    let fault = judge(&machine, &labelled(&["sdb", "sdb1"])).unwrap_err();
    assert!(fault.why().contains("/dev/sdb1"), "two on one stick: {fault}");
    // Whoever can write to the disk inside cannot keep the operator's own medium from being read.
    let found = judge(&machine, &labelled(&["sda1", "sdb1", "sdb1"])).unwrap();
    assert_eq!(found.medium.unwrap().device, "/dev/sdb1");
    assert_eq!(found.ignored.len(), 1, "{:?}", found.ignored);
}

#[test]
fn a_hybrid_image_is_one_medium() {
    let mut stick = block("sdb", 16, "usb", true);
    stick.partitions[0].kernel.first_lba = 0;
    let found = judge(&machine(vec![stick]), &labelled(&["sdb1", "sdb"])).unwrap();
    assert_eq!(found.medium.unwrap().device, "/dev/sdb");
}

#[test]
fn a_label_that_only_udev_sees_counts() {
    let row = |name: &str, label: Option<&str>| Row {
        name: name.into(),
        above: vec![],
        kind: "part".into(),
        fstype: Some("vfat".into()),
        label: label.map(str::to_owned),
        model: None,
        pttype: None,
    };
    let rows = [
        row("sdb1", Some(LABEL)),
        row("sdb2", Some("LF-KEYS2")),
        row("sdb3", None),
    ];
    assert_eq!(in_rows(&rows).collect::<Vec<_>>(), ["sdb1"]);
}

#[test]
fn what_a_medium_may_give_is_what_the_configuration_says() {
    let config = |more: &str| {
        let text = format!(
            r#"(host: "web", labels: (efi: "EFI", root: "root", luks: Some("luks")), luks: (enable: true),
               repository: (remote: Some("/srv/repo")), system: Flake, {more})"#
        );
        Config::parse(&text, Notation::Ron).unwrap()
    };
    let all = [
        "consent",
        "luks-passphrase",
        "record-key",
        "deploy-key",
        "ssh-key",
    ];
    let taken = |more: &str, standing: Standing| -> Vec<&str> {
        let allowed = Allowed::by(&config(more), &standing);
        all.into_iter()
            .filter(|name| allowed.takes(name).is_ok())
            .collect()
    };
    let keys = ["deploy-key", "ssh-key"];
    // Nothing is said: a person is asked, whatever is plugged in.
    assert_eq!(taken("", Standing::PluggedIn), keys);
    assert_eq!(taken("", Standing::Boot), ["record-key", "deploy-key", "ssh-key"]);
    let unattended = "unattended: (enable: true),";
    assert_eq!(taken(unattended, Standing::PluggedIn), keys);
    assert_eq!(taken(unattended, Standing::Boot), all);
    let all_said = "key_medium: (consent: true, luks_passphrase: true, record_key: true),";
    assert_eq!(
        taken(all_said, Standing::PluggedIn),
        ["luks-passphrase", "record-key", "deploy-key", "ssh-key"],
        "a person is at the machine, and is asked for consent"
    );
    assert_eq!(
        taken(&format!("{unattended} {all_said}"), Standing::PluggedIn),
        all
    );
}
