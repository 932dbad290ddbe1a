#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::efi::{HardDrive, Signature};
use super::*;
use landfall_states::fault::FaultClass;
use proptest::prelude::*;

fn disk(letter: char, gib: u64) -> Facts {
    Facts {
        device: format!("/dev/sd{letter}"),
        model: Some("Model".into()),
        identity: DiskIdentity {
            wwn: None,
            serial: Some(format!("LF-{letter}")),
            path: None,
            size_bytes: gib << 30,
            sector_bytes: 512,
        },
        place: None,
        by_hand: false,
        links: vec![format!("ata-Model_LF-{letter}")],
        failing: None,
        never: vec![],
        unless_named: vec![],
        partitions: vec![],
        mbr_signature: 0,
        other_system: None,
        former: Former::Nothing,
        release: vec![],
        blank: true,
    }
}

fn part(number: u32, id: u128) -> PartitionFacts {
    PartitionFacts {
        number,
        partuuid: Some(Uuid::from_u128(id)),
        esp: false,
    }
}

fn data(letter: char, gib: u64, partitions: u32) -> Facts {
    Facts {
        blank: false,
        partitions: (1..=partitions)
            .map(|n| part(n, u128::from(n) + (u128::from(u32::from(letter)) << 8)))
            .collect(),
        ..disk(letter, gib)
    }
}

fn esp(mut facts: Facts) -> Facts {
    facts.blank = false;
    facts.partitions.insert(
        0,
        PartitionFacts {
            esp: true,
            ..part(9, 900 + u128::from(facts.identity.size_bytes))
        },
    );
    facts
}

fn former(former: Former, mut facts: Facts) -> Facts {
    facts.former = former;
    facts
}

fn never(mut facts: Facts, why: &str) -> Facts {
    facts.never.push(why.into());
    facts
}

fn option(id: Signature) -> LoadOption {
    LoadOption {
        active: true,
        description: "Linux Boot Manager".into(),
        partitions: vec![HardDrive {
            number: 1,
            first_lba: 2048,
            sectors: 1,
            signature: id,
        }],
        file: None,
    }
}

fn pick(all: &[Facts]) -> Result<usize, Fault> {
    select(all, None, &Firmware::default()).map(|c| c.index)
}

fn fails(all: &[Facts], word: &str) {
    let fault = pick(all).unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange);
    assert!(fault.why().contains(word), "{fault}");
    for facts in all {
        assert!(
            fault.why().contains(facts.identity.serial.as_deref().unwrap()),
            "{fault}"
        );
    }
    assert!(fault.next().contains("INSTALL_DISK=/dev/"), "{}", fault.next());
}

#[test]
fn the_only_one_left_is_chosen_whatever_it_holds() {
    assert_eq!(pick(&[disk('a', 8)]).unwrap(), 0);
    assert_eq!(pick(&[data('a', 8, 3)]).unwrap(), 0);
    assert_eq!(pick(&[never(disk('a', 99), "in use"), disk('b', 8)]).unwrap(), 1);
    fails(&[never(disk('a', 8), "in use: md0")], "in use: md0");
    assert!(pick(&[]).unwrap_err().why().contains("no disk at all"));
}

#[test]
fn the_only_install_of_this_configuration_decides_and_two_are_a_doubt() {
    let mine = |facts| former(Former::Install, esp(facts));
    assert_eq!(
        pick(&[data('a', 99, 5), mine(disk('b', 8)), disk('c', 50)]).unwrap(),
        1
    );
    fails(
        &[mine(disk('a', 8)), mine(disk('b', 9)), disk('c', 50)],
        "2 disks have an install of this configuration",
    );
}

#[test]
fn an_esp_alone_is_no_vote_whatever_is_on_it() {
    fails(&[esp(data('a', 8, 2)), disk('b', 16)], "none was named");
    // Another host's disk.
    fails(
        &[former(Former::System, esp(data('a', 8, 2))), disk('b', 16)],
        "with NixOS on it",
    );
    let mut with_windows = former(Former::Install, esp(data('a', 8, 2)));
    with_windows.other_system = Some("with Windows on it".into());
    fails(&[with_windows, disk('b', 16)], "with Windows on it");
}

#[test]
fn a_clone_with_the_same_ids_is_a_doubt_for_the_firmware_too() {
    let original = former(Former::System, esp(data('a', 8, 1)));
    let mut clone = original.clone();
    clone.device = "/dev/sdb".into();
    clone.identity.serial = Some("LF-b".into());
    let id = original.partitions[0].partuuid.unwrap();
    let firmware = Firmware {
        order: vec![option(Signature::Gpt(id))],
        ..Firmware::default()
    };
    let fault = select(&[original.clone(), clone.clone()], None, &firmware).unwrap_err();
    assert!(fault.why().contains("copy"), "{fault}");
    // Even when the clone itself cannot be a target.
    let fault = select(&[original, never(clone, "in use")], None, &firmware).unwrap_err();
    assert!(fault.why().contains("copy"), "{fault}");
}

#[test]
fn the_firmware_is_followed_in_its_order_and_past_the_stick() {
    let all = [
        former(Former::System, esp(data('a', 8, 2))),
        former(Former::System, esp(data('b', 9, 2))),
        never(data('c', 1, 1), "the boot medium"),
    ];
    let gpt = |i: usize| {
        option(Signature::Gpt(
            all[i].partitions[1.min(i + 1).min(all[i].partitions.len() - 1)]
                .partuuid
                .unwrap(),
        ))
    };
    let firmware = Firmware {
        current: Some(gpt(2)),
        order: vec![option(Signature::Gpt(Uuid::from_u128(77))), gpt(1), gpt(0)],
        strange: vec![],
    };
    assert_eq!(select(&all, None, &firmware).unwrap().index, 1);
}

#[test]
fn an_mbr_disk_is_followed_by_signature_and_number() {
    let mut old = former(Former::System, data('b', 8, 1));
    old.mbr_signature = 0xCAFE;
    old.partitions[0].partuuid = None;
    let firmware = Firmware {
        order: vec![option(Signature::Mbr(0)), option(Signature::Mbr(0xCAFE))],
        ..Firmware::default()
    };
    assert_eq!(select(&[disk('a', 8), old], None, &firmware).unwrap().index, 1);
}

#[test]
fn the_disk_that_was_booted_from_is_not_taken_unasked() {
    // A stick that says it is not removable, whose system runs from memory: nothing is mounted from it.
    let stick = data('a', 8, 1);
    let firmware = Firmware {
        current: Some(option(Signature::Gpt(stick.partitions[0].partuuid.unwrap()))),
        ..Firmware::default()
    };
    let fault = select(std::slice::from_ref(&stick), None, &firmware).unwrap_err();
    assert!(
        fault.why().contains("firmware started this system from it"),
        "{fault}"
    );
    assert_eq!(select(&[stick, disk('b', 4)], None, &firmware).unwrap().index, 1);
}

#[test]
fn a_data_disk_is_not_chosen_for_its_partitions_or_size() {
    fails(&[data('a', 100, 5), disk('b', 50)], "some hold data");
    fails(&[data('a', 10, 5), disk('b', 50)], "some hold data");
    fails(&[data('a', 10, 5), data('b', 50, 2)], "some hold data");
}

#[test]
fn of_blank_disks_the_largest_and_a_tie_is_a_doubt() {
    assert_eq!(pick(&[disk('a', 8), disk('b', 9)]).unwrap(), 1);
    fails(&[disk('a', 9), disk('b', 9), disk('c', 8)], "equally large");
}

#[test]
fn a_named_disk_that_reports_errors_is_a_hardware_fault() {
    let mut all = [disk('a', 100), disk('b', 100)];
    all[0].never.push("it cannot be read: Input/output error".into());
    let named = Wanted::Name("LF-a".into());
    let class = |all: &[Facts]| select(all, Some(&named), &Firmware::default()).unwrap_err().class;
    assert_eq!(
        class(&all),
        FaultClass::NeedsChange,
        "anything else may be changed"
    );
    all[0].failing = Some("Input/output error".into());
    assert_eq!(class(&all), FaultClass::Hardware);
    // Not named, it is skipped.
    assert_eq!(pick(&all).unwrap(), 1);
}

#[test]
fn usb_disks_are_taken_only_when_named() {
    let mut usb = disk('a', 500);
    usb.unless_named.push("it is attached over USB".into());
    assert_eq!(pick(&[usb.clone(), disk('b', 8)]).unwrap(), 1);
    fails(&[usb.clone()], "only when named: it is attached over USB");
    let wanted = Wanted::Name("LF-a".into());
    assert_eq!(
        select(&[usb], Some(&wanted), &Firmware::default()).unwrap().index,
        0
    );
}

#[test]
fn naming_a_disk_decides_but_does_not_lift_never() {
    let mut all = [
        disk('a', 8),
        never(disk('b', 9), "partition 1 is mounted at /srv"),
        disk('c', 9),
    ];
    all[2].identity.wwn = Some("naa.5000C500A1B2C3D4".into());
    for (name, index) in [
        ("LF-a", 0),
        (" LF-a ", 0),
        ("ata-Model_LF-a", 0),
        ("/dev/disk/by-id/ata-Model_LF-a", 0),
        ("0x5000c500a1b2c3d4", 2),
        ("wwn-0x5000c500a1b2c3d4", 2),
    ] {
        let choice = select(&all, Some(&Wanted::Name(name.into())), &Firmware::default()).unwrap();
        assert_eq!(choice.index, index, "{name}");
    }
    let device = Wanted::Device {
        given: "/dev/sdb".into(),
        index: 1,
    };
    let fault = select(&all, Some(&device), &Firmware::default()).unwrap_err();
    assert!(
        fault.why().contains("mounted at /srv") && fault.what().contains("/dev/sdb"),
        "{fault}"
    );
    let written = select(
        &all,
        Some(&Wanted::InAdvance("LF-z".into())),
        &Firmware::default(),
    )
    .unwrap_err();
    assert!(
        written.next().contains("set unattended.disk") && written.next().ends_with("landfall install"),
        "{written}"
    );
    let fault = select(&all, Some(&Wanted::Name("LF-z".into())), &Firmware::default()).unwrap_err();
    assert!(
        fault.why().contains("LF-z") && fault.why().contains("LF-c"),
        "{fault}"
    );
}

#[test]
fn another_system_s_entry_and_esp_are_no_vote() {
    let mut windows = former(Former::System, esp(data('a', 500, 4)));
    let id = windows.partitions[0].partuuid.unwrap();
    let entry = |file: &str| LoadOption {
        file: Some(file.into()),
        ..option(Signature::Gpt(id))
    };
    let pick = |windows: &Facts, file: &str| {
        let firmware = Firmware {
            order: vec![entry(file)],
            ..Firmware::default()
        };
        select(&[windows.clone(), disk('b', 1000)], None, &firmware).map(|c| c.index)
    };
    // The control: a former system of this kind.
    assert_eq!(pick(&windows, "/EFI/systemd/systemd-bootx64.efi").unwrap(), 0);
    // The same loader of another Linux, of which nothing more is known.
    let arch = former(Former::Nothing, windows.clone());
    pick(&arch, "/EFI/systemd/systemd-bootx64.efi").unwrap_err();
    pick(&arch, "/EFI/BOOT/BOOTX64.EFI").unwrap_err();
    windows.other_system = Some("with Windows on it".into());
    for file in [
        "/EFI/Microsoft/Boot/bootmgfw.efi",
        "/EFI/BOOT/BOOTX64.EFI",
        "/EFI/systemd/systemd-bootx64.efi",
    ] {
        let fault = pick(&windows, file).unwrap_err();
        assert!(fault.why().contains("with Windows on it"), "{fault}");
        assert!(
            !fault.next().contains("/dev/sd"),
            "no device to be copied: {}",
            fault.next()
        );
    }
    // Alone in the machine it can be: a person is asked.
    assert_eq!(select(&[windows], None, &Firmware::default()).unwrap().index, 0);
    assert!(entry("\\x").partitions.len() == 1 && !entry("/EFI/nixos/x.efi").is_of_other_system());
    assert!(entry("/EFI/ubuntu/shimx64.efi").is_of_other_system());
}

#[test]
fn a_name_that_two_have_is_answered_with_the_names_that_each_has_alone() {
    let mut all = [disk('a', 8), disk('b', 8)];
    for (index, disk) in all.iter_mut().enumerate() {
        disk.identity.serial = Some("CONTROLLER".into());
        disk.identity.wwn = Some(format!("eui.0025388b71b2c30{index}"));
    }
    let fault = select(
        &all,
        Some(&Wanted::Name("CONTROLLER".into())),
        &Firmware::default(),
    )
    .unwrap_err();
    assert!(
        fault.next().contains("eui.0025388b71b2c301 for /dev/sdb"),
        "{}",
        fault.next()
    );
    let named = Wanted::Name("eui.0025388b71b2c301".into());
    assert_eq!(select(&all, Some(&named), &Firmware::default()).unwrap().index, 1);
}

#[test]
fn two_disks_of_one_name_are_unsafe() {
    let mut twin = disk('a', 8);
    twin.device = "/dev/sdb".into();
    let fault = select(
        &[disk('a', 8), twin],
        Some(&Wanted::Name("LF-a".into())),
        &Firmware::default(),
    )
    .unwrap_err();
    assert_eq!(fault.class, FaultClass::Unsafe);
}

#[test]
fn a_nameless_disk_is_never_taken() {
    let mut nameless = disk('a', 8);
    nameless.identity.serial = None;
    let fault = pick(&[nameless]).unwrap_err();
    assert!(
        fault.why().contains("could not recognise it after a reboot"),
        "{fault}"
    );
}

proptest! {
    #[test]
    fn a_choice_is_always_without_objection_and_does_not_depend_on_the_order(
        disks in proptest::collection::vec((1_u64..4, 0_u32..3, any::<bool>(), 0_u8..6), 0..5),
    ) {
        let all: Vec<Facts> = disks.iter().enumerate().map(|(i, (gib, parts, with_esp, object))| {
            let letter = char::from(b'a' + i as u8);
            let mut facts = if *parts == 0 { disk(letter, *gib) } else { data(letter, *gib, *parts) };
            if *with_esp { facts = esp(facts); }
            match object {
                0 => facts.never.push("x".into()),
                1 => facts.unless_named.push("y".into()),
                _ => {}
            }
            facts
        }).collect();
        let chosen = pick(&all);
        let mut turned = all.clone();
        turned.reverse();
        let again = pick(&turned);
        match (&chosen, &again) {
            (Ok(a), Ok(b)) => {
                prop_assert!(all[*a].never.is_empty() && all[*a].unless_named.is_empty());
                prop_assert_eq!(&all[*a].device, &turned[*b].device);
            }
            (Err(_), Err(_)) => {}
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => prop_assert!(false, "the order of the list decided"),
        }
    }
}
