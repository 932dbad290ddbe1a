//! Promise: on the machines that there are, `landfall flash` offers sticks as sticks, wants a fixed disk's name, and never takes what
//! anybody uses. The machines are in `tests/disks/machines.txt`, the verdicts in `tests/disks/flash.txt`, for a person to read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/machines.rs"]
mod machines;
#[path = "shared/sparse.rs"]
mod sparse;

use expect_test::expect_file;
use landfall::flash::eject::{Way, way};
use landfall::flash::sticks::{Judged, LARGE_BYTES, Standing, all, judge, names};
use landfall::real::disk::named;
use landfall::real::disk::sysfs::{Block, Sysfs};
use machines::{Built, build, descriptions};
use std::fmt::Write as _;

fn judged(built: &Built) -> Vec<Judged> {
    let links = named::links(&Sysfs::below(built.tree.root.clone())).unwrap();
    all(&built.machine, &links)
}

fn machine(name: &str) -> Built {
    let all = descriptions();
    build(all.iter().find(|d| d.name == name).unwrap())
}

#[test]
fn the_verdicts_of_all_machines() {
    let mut text = String::new();
    for description in descriptions() {
        let built = build(&description);
        writeln!(text, "{}: {}", description.name, description.title).unwrap();
        for judged in judged(&built) {
            let (word, reasons) = match &judged.standing {
                Standing::Stick => ("stick", vec![]),
                Standing::Named(reasons) => ("named", reasons.clone()),
                Standing::Never { reasons, .. } => ("never", reasons.clone()),
            };
            let name = judged.name.as_deref().unwrap_or("no name");
            writeln!(text, "  {word} {} [{name}]", judged.shown()).unwrap();
            for reason in reasons {
                writeln!(text, "    {reason}").unwrap();
            }
        }
        text.push('\n');
    }
    // `UPDATE_EXPECT=1 cargo test --test flash_choice` writes it again.
    expect_file!["disks/flash.txt"].assert_eq(&text);
}

/// What holds on every machine, whatever the verdicts' words are.
#[test]
fn only_what_hangs_outside_is_a_stick() {
    let mut sticks = 0;
    for description in descriptions() {
        let built = build(&description);
        for judged in judged(&built) {
            let block = &judged.block;
            let is_used =
                built.machine.mounts.iter().any(|mount| {
                    mount.dev == block.dev || block.partitions.iter().any(|p| p.dev == mount.dev)
                }) || built.machine.busy.contains(&block.name)
                    || !block.holders.is_empty();
            let name = format!("{} {}", description.name, block.name);
            match judged.standing {
                Standing::Stick => {
                    sticks += 1;
                    assert!(!is_used, "{name}: it is used");
                    assert!(["usb", "sd", "scsi"].contains(&block.transport), "{name}");
                    assert!(block.identity.size_bytes <= LARGE_BYTES, "{name}");
                    assert!(block.network.is_none() && !block.read_only, "{name}");
                }
                Standing::Named(_) => assert!(!is_used, "{name}: it is used"),
                Standing::Never { .. } => {}
            }
        }
    }
    assert!(sticks >= 10, "{sticks}");
}

#[test]
fn a_fixed_disk_over_usb_is_a_stick_and_one_in_the_machine_is_not() {
    let built = machine("laptop-vmd");
    let usb = built
        .machine
        .blocks
        .iter()
        .find(|b| b.name == "sda")
        .unwrap()
        .clone();
    let standing = |change: &dyn Fn(&mut Block)| {
        let mut machine = built.machine.clone();
        let block = machine.blocks.iter_mut().find(|b| b.name == "sda").unwrap();
        change(block);
        let block = block.clone();
        judge(&machine, &block, &names(&machine, &[])).standing
    };
    assert_eq!(standing(&|_| {}), Standing::Stick);
    // An SSD behind a bridge says that it is fixed.
    assert_eq!(standing(&|b| b.removable = false), Standing::Stick);
    assert!(matches!(
        standing(&|b| b.identity.size_bytes = 300 << 30),
        Standing::Named(_)
    ));
    for removable in [false, true] {
        let sata = standing(&|b| (b.transport, b.removable) = ("sata", removable));
        assert!(matches!(sata, Standing::Named(_)), "{sata:?}");
    }
    type Change = fn(&mut Block);
    let changes: [(&str, Change); 4] = [
        ("no medium", |b| b.identity.size_bytes = 0),
        ("write-protected", |b| b.read_only = true),
        ("held by", |b| b.holders = vec!["dm-7".into()]),
        ("on a network", |b| b.network = Some("iSCSI")),
    ];
    for (what, change) in changes {
        let Standing::Never { reasons, .. } = standing(&change) else {
            panic!("{what}");
        };
        assert!(reasons.iter().any(|reason| reason.contains(what)), "{reasons:?}");
    }
    // Two that say that they are the same.
    let mut both = built.machine.clone();
    let mut twin = usb.clone();
    (twin.name, twin.dev) = ("sdz".into(), (65, 144));
    both.blocks.push(twin);
    let judged = judge(&both, &usb, &names(&both, &[]));
    assert!(matches!(judged.standing, Standing::Never { .. }), "{judged:?}");
}

#[test]
fn a_usb_stick_is_switched_off_at_its_device() {
    let built = machine("laptop-vmd");
    let sysfs = Sysfs::below(built.tree.root.clone());
    let device = "sys/devices/pci0000:00/0000:00:14.0/usb2/2-3";
    built.tree.put(&format!("{device}/idVendor"), "0781");
    let stick = built.machine.blocks.iter().find(|b| b.name == "sda").unwrap();
    // A device whose port cannot be switched off, and a disk that cannot be taken away.
    assert_eq!(way(&sysfs, stick, &built.machine.blocks), Way::Nothing);
    built.tree.put(&format!("{device}/remove"), "");
    let Way::Usb(attribute) = way(&sysfs, stick, &built.machine.blocks) else {
        panic!("not its USB device");
    };
    assert!(attribute.as_str().ends_with("usb2/2-3/remove"), "{attribute}");
    // A reader that is built in stays.
    built.tree.put(&format!("{device}/removable"), "fixed\n");
    assert_eq!(way(&sysfs, stick, &built.machine.blocks), Way::Nothing);
    built.tree.put(&format!("{device}/removable"), "removable\n");
    // With another disk behind the same device, only this one goes.
    let other = "sys/devices/pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/host0/target0:0:0/0:0:0:1/block/sdb";
    built.tree.put(&format!("{other}/dev"), "8:16");
    built.tree.link("sys/block/sdb", &format!("../../{other}"));
    let mut all = built.machine.blocks.clone();
    let mut second = stick.clone();
    second.name = "sdb".into();
    all.push(second);
    let found = way(&sysfs, stick, &all);
    assert!(!matches!(found, Way::Usb(_)), "{found:?}");
}

#[test]
fn a_disk_that_is_built_in_is_never_taken_away() {
    let built = machine("laptop-vmd");
    let sysfs = Sysfs::below(built.tree.root.clone());
    let stick = built.machine.blocks.iter().find(|b| b.name == "sda").unwrap();
    let device = "sys/devices/pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/host0/target0:0:0/0:0:0:0";
    built.tree.put(&format!("{device}/delete"), "");
    let found = |transport, removable| {
        let mut block = stick.clone();
        (block.transport, block.removable) = (transport, removable);
        way(&sysfs, &block, &built.machine.blocks)
    };
    for (transport, removable) in [
        ("sata", false),
        ("sata", true),
        ("sas", false),
        ("scsi", false),
        ("nvme", false),
    ] {
        assert_eq!(
            found(transport, removable),
            Way::Nothing,
            "{transport} {removable}"
        );
    }
    // The control: the attribute is there for those that are plugged in.
    for (transport, removable) in [("usb", false), ("usb", true), ("scsi", true)] {
        assert!(
            matches!(found(transport, removable), Way::Scsi(_)),
            "{transport} {removable}"
        );
    }
}
