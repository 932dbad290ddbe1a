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
fn an_empty_table_and_a_lone_protective_mbr_are_something() {
    let mut disk = vec![0; 8 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    // As `parted -s mklabel msdos` leaves it: a little code, and no entry.
    disk[..4].copy_from_slice(&[0xFA, 0xB8, 0x00, 0x10]);
    let empty = of(&disk);
    assert!(!empty.blank && empty.lines == ["MBR with 0 partitions"] && empty.unknown.is_empty());
    // The control: a byte behind its sector is data.
    disk[512] = 1;
    let data = of(&disk);
    assert!(data.lines[1] == "whole disk: data of an unknown kind" && !data.unknown.is_empty());
    disk[512] = 0;
    disk[..4].fill(0);
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

/// A GPT that describes nothing says nothing of what lies in the last MiB before its copy.
#[test]
fn data_before_the_copy_of_an_empty_gpt_is_seen() {
    let mut disk = vec![0_u8; 8 << 20];
    let table = GptTable {
        disk_guid: Uuid::from_u128(7),
        sector_bytes: 512,
        entries: vec![],
    };
    let mut cursor = Cursor::new(&mut disk[..]);
    let mut prepared = crate::real::table::gpt::prepare(&mut cursor, &table).unwrap();
    crate::real::table::gpt::write(&mut cursor, &mut prepared, |_| Ok(())).unwrap();
    let whole = of(&disk);
    assert!(whole.unknown.is_empty(), "the control: {:?}", whole.lines);
    let at = disk.len() - (500 << 10);
    disk[at..at + 6_000].fill(0x5A);
    let seen = of(&disk);
    assert!(
        seen.unknown
            .iter()
            .any(|why| why.contains("data of an unknown kind")),
        "{:?}",
        seen.lines
    );
}

#[test]
fn partitions_that_begin_in_one_place_are_both_listed() {
    let entry = |number: u32, last_lba: u64| landfall_states::plan::GptEntry {
        number,
        name: format!("p{number}"),
        type_guid: Uuid::from_u128(9),
        partuuid: Uuid::from_u128(u128::from(number)),
        first_lba: 2_048,
        last_lba,
    };
    let table = GptTable {
        disk_guid: Uuid::from_u128(7),
        sector_bytes: 512,
        entries: vec![entry(1, 4_095), entry(2, 6_143)],
    };
    let on_disk = OnDisk {
        primary: GptCopy::Whole(table),
        ..OnDisk::NONE
    };
    let numbers: Vec<u32> = places(&on_disk, &identity(8 << 20))
        .iter()
        .map(|place| place.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
}
