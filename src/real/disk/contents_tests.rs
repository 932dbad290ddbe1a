#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::partitions::TYPES_RAW;
use super::*;
use landfall_states::plan::TYPE_ESP;
use std::io::Cursor;
use uuid::Uuid;

fn identity(size_bytes: u64) -> DiskIdentity {
    DiskIdentity {
        wwn: None,
        serial: Some("LF0001".into()),
        path: None,
        size_bytes,
        sector_bytes: 512,
    }
}

fn of(disk: &[u8]) -> Contents {
    seen(&mut Cursor::new(disk), &identity(disk.len() as u64), None).unwrap()
}

/// `blkid` 2.38.1 (`-p -o export`), of an Atari table, of nothing, and of two filesystems at once.
#[test]
fn blkid_is_heard_where_our_own_readers_know_nothing() {
    let said = |code, text: &str, table| opinion(Some(code), text, table).unwrap();
    assert_eq!(said(2, "", false), None);
    assert_eq!(
        said(0, "DEVNAME=a.img\nPTTYPE=atari\n", false).unwrap().kind,
        "table atari"
    );
    assert_eq!(
        said(0, "DEVNAME=a.img\nPTTYPE=PMBR\n", true),
        None,
        "we know the table"
    );
    assert_eq!(said(8, "", false).unwrap().kind, "several signatures at once");
    let jmicron = said(0, "TYPE=jmicron_raid_member\nUSAGE=raid\n", false).unwrap();
    assert_eq!(jmicron.member_of, Some("a member of a firmware RAID"));
    assert_eq!(
        said(0, "LABEL=tank\nTYPE=zfs_member\n", false),
        None,
        "our own reader's business"
    );
    assert!(opinion(Some(4), "", false).is_err() && opinion(None, "", false).is_err());
}

#[test]
fn another_witness_makes_a_disk_not_blank() {
    let mut seen = of(&vec![0; 8 << 20]);
    assert!(seen.blank && seen.lines == ["no partition table"]);
    seen.add(0, Signature::of("table atari"));
    seen.judge();
    assert!(!seen.blank);
    assert_eq!(seen.lines, ["no partition table", "whole disk: table atari"]);
    assert_eq!(seen.unknown, ["it has a table of another kind: table atari"]);
}

#[test]
fn a_boot_sector_alone_and_a_lone_protective_mbr_are_something() {
    let mut disk = vec![0; 8 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let seen = of(&disk);
    assert!(!seen.blank && seen.lines[1] == "whole disk: data of an unknown kind");
    disk[450] = 0xEE;
    disk[454] = 1;
    disk[458] = 0xFF;
    let seen = of(&disk);
    assert!(!seen.blank);
    assert_eq!(seen.lines[0], "protective MBR, but no GPT");
    assert_eq!(seen.unknown.len(), 1, "{:?}", seen.unknown);
}

#[test]
fn code_in_partitions_that_are_made_for_it_is_no_unknown_data() {
    let mut disk = Cursor::new(vec![0; 8 << 20]);
    let entry = |number: u32, type_guid: Uuid, first_lba: u64| landfall_states::plan::GptEntry {
        number,
        type_guid,
        partuuid: Uuid::from_u128(u128::from(number)),
        first_lba,
        last_lba: first_lba + 2047,
        name: String::new(),
    };
    let table = GptTable {
        disk_guid: Uuid::from_u128(1),
        sector_bytes: 512,
        entries: vec![entry(1, TYPES_RAW[0].0, 2048), entry(2, TYPE_ESP, 4096)],
    };
    let mut prepared = gpt::prepare(&mut disk, &table).unwrap();
    gpt::write(&mut disk, &mut prepared, |_| Ok(())).unwrap();
    let mut disk = disk.into_inner();
    disk[2048 * 512..2048 * 512 + 100].fill(0x90);
    let seen = of(&disk);
    assert_eq!(seen.lines[1], "partition 1: 1.0 MiB, BIOS boot code");
    assert_eq!(seen.lines[2], "partition 2: 1.0 MiB, blank");
    assert!(seen.unknown.is_empty());
    // The same bytes in a partition that is reserved for nothing but itself are no code.
    let mut msr = table.clone();
    msr.entries[0].type_guid = TYPES_RAW[2].0;
    let mut reserved = Cursor::new(disk.clone());
    let mut prepared = gpt::prepare(&mut reserved, &msr).unwrap();
    gpt::write(&mut reserved, &mut prepared, |_| Ok(())).unwrap();
    let seen = of(reserved.get_ref());
    assert_eq!(
        seen.lines[1],
        "partition 1: 1.0 MiB, Microsoft reserved, data of an unknown kind"
    );
    assert_eq!(seen.unknown, ["partition 1 holds data of an unknown kind"]);
    disk[4096 * 512 + 9000] = 1;
    assert_eq!(of(&disk).unknown, ["partition 2 holds data of an unknown kind"]);
}
