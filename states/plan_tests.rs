//! What a plan is made of: the same ids and the same table for the same input, and an error for what has no plan.

use super::*;
use proptest::prelude::*;

pub fn layout(luks: bool, swap: bool) -> Layout {
    Layout {
        esp_label: "ESP-WEB".parse().unwrap(),
        esp_size: "1G".parse().unwrap(),
        root_label: "root-web".parse().unwrap(),
        luks_label: luks.then(|| "luks-web".parse().unwrap()),
        swap: swap.then(|| ("swap-web".parse().unwrap(), "512M".parse().unwrap())),
        machine: Machine::X86_64,
    }
}

pub fn disk() -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: Some("LF0001".into()),
        path: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
    }
}

pub fn payload() -> Payload {
    Payload {
        repository: Repository {
            source: RepositorySource::Remote("https://forge.example/o/r".parse().unwrap()),
            reference: Reference::Default,
            clone_path: "/mnt/nix-config".parse().unwrap(),
        },
        system: SystemSource::Flake,
    }
}

pub fn plan(luks: bool, swap: bool) -> Plan {
    Plan::derive(
        &"web".parse().unwrap(),
        &layout(luks, swap),
        &payload(),
        &disk(),
        0,
    )
    .unwrap()
}

#[test]
fn the_ids_of_release_one_never_change() {
    // A changed id here orphans every unfinished install in the field.
    let plan = plan(true, true);
    let mut text = format!("install {}\ngpt {}\n", plan.install, plan.table.disk_guid);
    for entry in &plan.table.entries {
        text += &format!(
            "{} {} {}..{}\n",
            entry.number, entry.partuuid, entry.first_lba, entry.last_lba
        );
    }
    for volume in [
        Some(&plan.esp),
        plan.luks.as_ref(),
        Some(&plan.root),
        plan.swap.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        text += &format!("{} {} {}\n", volume.label, volume.id, volume.provisional);
    }
    text += &format!("layout {}\npayload {}\n", plan.layout_digest, plan.payload_digest);
    expect_test::expect![[r#"
        install 9f774443-12a5-557d-9994-86e1f0f1c80c
        gpt 789d69a2-30da-571a-a5dc-94a9147176cf
        1 005e2de3-d524-5005-b6f9-3bef32b5354b 2048..2099199
        2 070d4f86-ea16-51d1-9c15-66a201e5eeb4 2099200..15726591
        3 887d3e1d-752f-5afa-acae-efc5df0deed8 15726592..16775167
        ESP-WEB 8432278f-a94c-5571-8cd3-7dc08cbe7613 0d7e3c36-a846-5c43-9e95-a626253fe3cb
        luks-web 1d56229b-50a6-5dd3-86c0-00c3ca04ffbf 215d0674-8a9e-59b4-b6b9-d84b8a02e4ee
        root-web e340fe2e-8425-57c3-8e03-00c1a461be9d 8a6eb699-c422-5649-8f09-85e4b271577f
        swap-web 3711c2ed-317f-50e8-80e1-2d1adadc1f7e 5f8b9edb-a1aa-589f-84e7-cbdfbc8ba1fc
        layout 105209fcde2e053f8f824a9e8a7424fea59553a80d5ff0f5de71bde14986b7c2
        payload e943ce348f1aa3d7c5cc50bbf28663d3f0d4a7bc1e7a652f99aa193bc5027db9
    "#]]
    .assert_eq(&text);
}

#[test]
fn every_id_is_different() {
    let plan = plan(true, true);
    let mut ids = vec![plan.install.uuid(), plan.table.disk_guid];
    ids.extend(plan.table.entries.iter().map(|e| e.partuuid));
    for volume in [
        Some(&plan.esp),
        plan.luks.as_ref(),
        Some(&plan.root),
        plan.swap.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        ids.extend([volume.id, volume.provisional]);
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (13, 13));
}

#[test]
fn what_decides_the_identity_and_what_does_not() {
    let base = plan(false, false);
    let host: HostName = "web".parse().unwrap();
    let with = |host: &HostName, layout: &Layout, payload: &Payload, disk: &DiskIdentity, nonce| {
        Plan::derive(host, layout, payload, disk, nonce).unwrap().install
    };
    let (l, p, d) = (layout(false, false), payload(), disk());
    assert_eq!(base.install, with(&host, &l, &p, &d, 0));
    assert_ne!(base.install, with(&"db".parse().unwrap(), &l, &p, &d, 0), "host");
    assert_ne!(
        base.install,
        with(&host, &layout(true, false), &p, &d, 0),
        "layout"
    );
    assert_ne!(base.install, with(&host, &l, &p, &d, 1), "nonce");
    let other = DiskIdentity {
        serial: Some("LF0002".into()),
        ..d.clone()
    };
    assert_ne!(base.install, with(&host, &l, &p, &other, 0), "disk");
    let fixed = Payload {
        system: SystemSource::Prebuilt("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".parse().unwrap()),
        ..p
    };
    assert_eq!(
        base.install,
        with(&host, &l, &fixed, &d, 0),
        "a new payload is the same install"
    );
    assert_ne!(fixed.digest(), base.payload_digest);
}

#[test]
fn a_disk_too_small_is_refused_with_figures() {
    let small = DiskIdentity {
        size_bytes: 1 << 30,
        ..disk()
    };
    let error = Plan::derive(
        &"web".parse().unwrap(),
        &layout(false, false),
        &payload(),
        &small,
        0,
    )
    .unwrap_err();
    assert!(
        matches!(error, PlanError::TooSmall { needed, found, .. } if needed > found),
        "{error}"
    );
    let nameless = DiskIdentity {
        serial: None,
        ..disk()
    };
    assert_eq!(
        Plan::derive(
            &"web".parse().unwrap(),
            &layout(false, false),
            &payload(),
            &nameless,
            0
        )
        .unwrap_err(),
        PlanError::Nameless
    );
}

fn on(disk: &DiskIdentity, layout: &Layout) -> Result<Plan, PlanError> {
    Plan::derive(&"web".parse().unwrap(), layout, &payload(), disk, 0)
}

#[test]
fn the_smallest_disk_is_exactly_as_large_as_what_goes_on_it() {
    // One mebibyte in front and one behind, the ESP of 1 GiB, swap of 512 MiB, and the smallest root of 512 MiB.
    let least = (2 + 1_024 + 512 + 512) << 20;
    let sized = |size_bytes| DiskIdentity { size_bytes, ..disk() };
    let plan = on(&sized(least), &layout(false, true)).unwrap();
    let bytes = |role| plan.partition(role).unwrap().sectors() * 512;
    assert_eq!(
        [bytes(Role::Esp), bytes(Role::Root), bytes(Role::Swap)],
        [1 << 30, 512 << 20, 512 << 20]
    );
    assert_eq!(
        on(&sized(least - 512), &layout(false, true)),
        Err(PlanError::TooSmall {
            disk: "serial LF0001".into(),
            needed: least,
            found: least - 512,
        })
    );
}

#[test]
fn the_smallest_esp_is_the_smallest_fat32() {
    let with = |size: &str| Layout {
        esp_size: size.parse().unwrap(),
        ..layout(false, false)
    };
    assert!(on(&disk(), &with("260M")).is_ok());
    assert_eq!(
        on(&disk(), &with("259M")),
        Err(PlanError::EspTooSmall {
            needed: 260 << 20,
            found: 259 << 20,
        })
    );
}

#[test]
fn only_known_sectors_are_planned_for() {
    for sector_bytes in [512, 4_096] {
        let plan = on(
            &DiskIdentity {
                sector_bytes,
                ..disk()
            },
            &layout(true, true),
        )
        .unwrap();
        let at: Vec<u64> = plan
            .table
            .entries
            .iter()
            .map(|e| (e.first_lba * u64::from(sector_bytes)) >> 20)
            .collect();
        assert_eq!(at, [1, 1_025, 7_679], "the same places at either size");
    }
    for sector_bytes in [0, 520, 1_024, 8_192] {
        let made = on(
            &DiskIdentity {
                sector_bytes,
                ..disk()
            },
            &layout(true, true),
        );
        assert_eq!(made, Err(PlanError::SectorSize(sector_bytes)));
    }
}

#[test]
fn a_disk_is_named_by_the_strongest_that_it_has() {
    let mut disk = DiskIdentity {
        wwn: Some("0x5000".into()),
        path: Some("pci-0000".into()),
        ..disk()
    };
    assert_eq!(disk.to_string(), "wwn 0x5000, 8589934592 bytes");
    for (name, nameable) in [
        ("wwn 0x5000", true),
        ("serial LF0001", true),
        ("path pci-0000", true),
        ("without a unique number", false),
    ] {
        assert_eq!((disk.name().as_str(), disk.is_nameable()), (name, nameable));
        if disk.wwn.take().is_none() && disk.serial.take().is_none() {
            disk.path = None;
        }
    }
}

#[test]
fn the_machine_decides_type_and_names() {
    let arm = Layout {
        machine: Machine::Aarch64,
        ..layout(false, false)
    };
    let types = |layout: &Layout| {
        on(&disk(), layout)
            .unwrap()
            .partition(Role::Root)
            .unwrap()
            .type_guid
    };
    assert_eq!(types(&layout(false, false)), TYPE_ROOT_X86_64);
    assert_eq!(types(&arm), TYPE_ROOT_ARM64);
    assert_eq!(types(&layout(true, false)), TYPE_LUKS);
    assert_ne!(arm.digest(), layout(false, false).digest());
    let names = |machine: Machine| (machine.fallback_loader(), machine.systemd_boot());
    assert_eq!(names(Machine::X86_64), ("BOOTX64.EFI", "systemd-bootx64.efi"));
    assert_eq!(names(Machine::Aarch64), ("BOOTAA64.EFI", "systemd-bootaa64.efi"));
}

#[test]
fn whatever_decides_what_is_installed_is_in_the_payload_s_digest() {
    let repository = |change: &dyn Fn(&mut Repository)| {
        let mut payload = payload();
        change(&mut payload.repository);
        payload.digest()
    };
    let bundle = |origin: Option<&str>| RepositorySource::Bundle {
        file: "/iso/b".into(),
        origin: origin.map(|o| o.parse().unwrap()),
    };
    let branch = |name: &str| Reference::Branch(name.parse().unwrap());
    let mut digests = vec![
        payload().digest(),
        repository(&|r| r.source = bundle(None)),
        repository(&|r| r.source = bundle(Some("https://forge.example/o/r"))),
        repository(&|r| r.reference = branch("main")),
        repository(&|r| r.reference = branch("next")),
        repository(&|r| r.reference = Reference::Revision("a".repeat(40).parse().unwrap())),
        repository(&|r| r.clone_path = "/mnt/other".parse().unwrap()),
    ];
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn an_edited_table_is_told_line_by_line() {
    let planned = plan(false, true).table;
    assert_eq!(planned.differences(&planned), Vec::<String>::new());
    let mut found = planned.clone();
    found.disk_guid = Uuid::from_u128(1);
    found.sector_bytes = 4_096;
    found.entries[0].type_guid = TYPE_SWAP;
    found.entries[1].last_lba -= 1;
    found.entries[2].number = 4;
    let lines: String = planned
        .differences(&found)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    expect_test::expect![[r#"
        disk GUID: planned e6b39a4c-e592-5f44-bd89-752e0eebd463, found 00000000-0000-0000-0000-000000000001
        sector size: planned 512, found 4096
        partition 1: planned ESP-WEB 51f5034f-a345-58cb-95ae-b3e9969056fb sectors 2048–2099199, found ESP-WEB 51f5034f-a345-58cb-95ae-b3e9969056fb sectors 2048–2099199 of another type
        partition 2: planned root-web 91331dcb-7c05-5f90-8e90-2a9a06f3de1a sectors 2099200–15726591, found root-web 91331dcb-7c05-5f90-8e90-2a9a06f3de1a sectors 2099200–15726590
        partition 3 (swap-web) is missing
        partition 4 (swap-web) is not in the plan
    "#]].assert_eq(&lines);
}

#[test]
fn a_fat_s_serial_number_is_the_id_s_first_four_bytes() {
    let id = Uuid::from_u128(0x0432_278f_a94c_5571_8cd3_7dc0_8cbe_7613);
    assert_eq!(Volume::fat_serial(&id), 0x0432_278F);
    assert_eq!(Volume::fat_serial_text(&id), "0432-278F");
}

#[test]
fn a_table_s_number_is_found_up_to_the_last_one_asked_for() {
    let (host, l, d) = ("web".parse().unwrap(), layout(true, true), disk());
    let guid = |nonce| InstallId::derive(&host, &l, &d, nonce).disk_guid();
    let found = |guid: &Uuid| InstallId::nonce_of(&host, &l, &d, guid, 3);
    for nonce in 0..=3 {
        assert_eq!(found(&guid(nonce)), Some(nonce));
    }
    assert_eq!(found(&guid(4)), None);
    assert_eq!(found(&Uuid::from_u128(1)), None);
}

#[test]
fn every_role_has_its_partition() {
    let plan = plan(false, true);
    let name = |role| plan.partition(role).map(|entry| entry.name.as_str());
    assert_eq!(
        [name(Role::Esp), name(Role::Root), name(Role::Swap)],
        [Some("ESP-WEB"), Some("root-web"), Some("swap-web")]
    );
    assert_eq!(self::plan(false, false).partition(Role::Swap), None);
    assert_eq!(plan.install.to_string(), plan.install.uuid().to_string());
}

proptest! {
    #[test]
    fn partitions_never_overlap_and_stay_inside(
        mib in 1_800_u64..4_000_000, odd in 0_u64..2048, luks: bool, swap: bool, big_sectors: bool,
    ) {
        let sector_bytes = if big_sectors { 4096 } else { 512 };
        let size_bytes = (mib << 20) + odd * u64::from(sector_bytes);
        let disk = DiskIdentity { size_bytes, sector_bytes, ..disk() };
        let made = Plan::derive(&"web".parse().unwrap(), &layout(luks, swap), &payload(), &disk, 0);
        let Ok(plan) = made else { return Ok(()) };
        let sector = u64::from(sector_bytes);
        let mut at = (1 << 20) / sector;
        for entry in &plan.table.entries {
            prop_assert_eq!(entry.first_lba, at, "no gap and no overlap");
            prop_assert!(entry.last_lba >= entry.first_lba);
            prop_assert_eq!(entry.first_lba * sector % (1 << 20), 0);
            at = entry.last_lba + 1;
        }
        // Behind the last partition: the backup entries (16 KiB) and the backup header.
        prop_assert!(at * sector + 16_384 + sector <= size_bytes);
        prop_assert!(plan.partition(Role::Root).unwrap().sectors() * sector >= ROOT_BYTES_MIN);
    }
}
