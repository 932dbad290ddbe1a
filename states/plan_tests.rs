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
