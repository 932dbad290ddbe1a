#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::sysfs::tests::Tree;
use super::*;
use crate::event::Reporter;
use crate::real::disk::contents::contents;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::table::gpt;
use crate::real::test_support::block_on;
use landfall_states::fault::FaultClass;
use landfall_states::plan::{
    Layout, Machine, Payload, Reference, Repository, RepositorySource, SystemSource,
};

fn identity(serial: &str) -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: Some(serial.into()),
        path: None,
        size_bytes: 8 << 30,
        sector_bytes: 512,
    }
}

fn plan(disk: &DiskIdentity) -> Plan {
    let layout = Layout {
        esp_label: "ESP-WEB".parse().unwrap(),
        esp_size: "512M".parse().unwrap(),
        root_label: "root-web".parse().unwrap(),
        luks_label: Some("luks-web".parse().unwrap()),
        swap: Some(("swap-web".parse().unwrap(), "1G".parse().unwrap())),
        machine: Machine::X86_64,
    };
    let payload = Payload {
        repository: Repository {
            source: RepositorySource::Remote("https://forge.example/r.git".parse().unwrap()),
            reference: Reference::Default,
            clone_path: "/mnt/nix-config".parse().unwrap(),
        },
        system: SystemSource::Flake,
    };
    Plan::derive(&"web".parse().unwrap(), &layout, &payload, disk, 0).unwrap()
}

/// What real tools write: the table of a plan, FAT32 on its ESP, ext4 with this label on its second partition.
fn disk_of(name: &str, serial: &str, plan: &Plan, ext4: &str, rows: &[Row]) -> Vec<Seen> {
    let tree = Tree::new();
    tree.disk(name, "8:16", 16_777_216);
    tree.put(&format!("sys/block/{name}/serial"), serial);
    let block = tree.sysfs().block(name).unwrap().unwrap();
    let kept = tempfile::NamedTempFile::new().unwrap();
    kept.as_file().set_len(8 << 30).unwrap();
    let path = kept.path().to_str().unwrap();
    let mut file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
        .into_file();
    let mut prepared = gpt::prepare(&mut file, &plan.table).unwrap();
    gpt::write(&mut file, &mut prepared, |file| file.sync_all()).unwrap();
    let esp = &plan.table.entries[0];
    let offset = format!("offset={}", plan.table.entries[1].first_lba * 512);
    for (program, args) in [
        (
            "mkfs.vfat",
            vec![
                "-F32",
                "-n",
                &plan.esp.label,
                "--offset",
                &esp.first_lba.to_string(),
                path,
                "262144",
            ],
        ),
        (
            "mkfs.ext4",
            vec!["-q", "-F", "-L", ext4, "-E", &offset, path, "64M"],
        ),
    ] {
        let (reporter, stop) = (Reporter::default(), Stop::never());
        let done = block_on(Program::new(program).args(args).run(&reporter, &stop)).unwrap();
        assert!(done.success(), "{program}: {}", done.said());
    }
    on_disk(&block, &contents(&mut file, &block.identity, None).unwrap(), rows)
}

fn row(name: &str, above: &[&str], fstype: &str, label: &str) -> Row {
    Row {
        name: name.into(),
        above: above.iter().map(|name| (*name).to_owned()).collect(),
        kind: "lvm".into(),
        fstype: Some(fstype.into()),
        label: Some(label.into()),
        pttype: None,
        model: None,
    }
}

#[test]
fn an_old_disk_that_was_left_in_is_named_with_every_label_it_shares() {
    let plan = plan(&identity("TARGET"));
    let old = disk_of("sdb", "OLD", &plan, "root-web", &[]);
    let fault = check(&plan, &old).unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange);
    let (why, list) = fault.reasons();
    assert!(
        fault.what().contains("TARGET") && why.contains("by label"),
        "{fault}"
    );
    for (label, what) in [
        (
            "label \"ESP-WEB\"",
            "planned for the ESP: partition 1 of /dev/sdb (vfat) on serial OLD",
        ),
        (
            "label \"root-web\"",
            "planned for root: partition 2 of /dev/sdb (ext4) on serial OLD",
        ),
        ("partition label \"luks-web\"", "planned for partition 2"),
        ("partition label \"swap-web\"", "planned for partition 3"),
    ] {
        assert!(
            list.iter()
                .any(|line| line.starts_with(label) && line.contains(what)),
            "{label}: {list:?}"
        );
    }
    assert!(fault.next().contains("e2label"), "{}", fault.next());
    // The control: the target itself has these labels, before a resume or a second install.
    let own: Vec<Seen> = old
        .into_iter()
        .map(|seen| Seen {
            disk: plan.disk.clone(),
            ..seen
        })
        .collect();
    check(&plan, &own).unwrap();
}

#[test]
fn following_the_advice_helps() {
    let plan = plan(&identity("TARGET"));
    let mut other = plan.clone();
    for entry in &mut other.table.entries {
        entry.name = format!("old-{}", entry.number);
    }
    other.esp.label = "ESP-OLD".into();
    let left = disk_of("sdb", "OLD", &other, "root-web", &[]);
    assert_eq!(
        check(&plan, &left).unwrap_err().reasons().1.len(),
        1,
        "root alone"
    );
    check(&plan, &disk_of("sdb", "OLD", &other, "root-old", &[])).unwrap();
}

#[test]
fn volumes_that_are_stacked_upon_a_disk_count_and_names_of_the_other_kind_do_not() {
    let plan = plan(&identity("TARGET"));
    let mut other = plan.clone();
    for entry in &mut other.table.entries {
        // A partition's label is no filesystem's.
        entry.name = "root-web".into();
    }
    other.esp.label = "ESP-OLD".into();
    let rows = [
        row("vg-root", &["sdb", "sdb2"], "xfs", "root-web"),
        row("vg-home", &["sdb", "sdb2"], "xfs", "home"),
        row("vh-root", &["sdc", "sdc1"], "xfs", "root-web"),
    ];
    let fault = check(&plan, &disk_of("sdb", "OLD", &other, "x", &rows)).unwrap_err();
    let list = fault.reasons().1;
    assert!(
        list.len() == 1 && list[0].contains("/dev/vg-root (xfs)"),
        "{list:?}"
    );
}
