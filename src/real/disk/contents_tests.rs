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
fn blkid_decides_where_our_readers_find_nothing() {
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
        primary: GptCopy::Complete(table),
        ..OnDisk::NONE
    };
    let numbers: Vec<u32> = places(&on_disk, &identity(8 << 20))
        .iter()
        .map(|place| place.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
}

/// A photograph, to a reader that knows no formats: bytes without any order.
fn photo() -> Vec<u8> {
    (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 1)
        .collect()
}

/// A GPT of these partitions, first and last sector, on a disk of so many MiB.
fn gpt_disk(mib: usize, partitions: &[(u64, u64)]) -> Vec<u8> {
    let entry = |(index, (first_lba, last_lba)): (usize, &(u64, u64))| landfall_states::plan::GptEntry {
        number: index as u32 + 1,
        name: String::new(),
        type_guid: Uuid::from_u128(9),
        partuuid: Uuid::from_u128(index as u128 + 1),
        first_lba: *first_lba,
        last_lba: *last_lba,
    };
    let table = GptTable {
        disk_guid: Uuid::from_u128(7),
        sector_bytes: 512,
        entries: partitions.iter().enumerate().map(entry).collect(),
    };
    let mut disk = Cursor::new(vec![0; mib << 20]);
    let mut prepared = gpt::prepare(&mut disk, &table).unwrap();
    gpt::write(&mut disk, &mut prepared, |_| Ok(())).unwrap();
    disk.into_inner()
}

fn mbr_disk(mib: usize, first: u32, sectors: u32) -> Vec<u8> {
    let mut disk = vec![0; mib << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk[450] = 0x83;
    disk[454..458].copy_from_slice(&first.to_le_bytes());
    disk[458..462].copy_from_slice(&sectors.to_le_bytes());
    disk
}

/// No byte beside a table is excused but the table's own.
#[test]
fn data_beside_a_table_is_seen_in_whatever_gap_it_lies() {
    let end = 16 << 20;
    for (what, disk, at) in [
        ("an empty GPT, first MiB", gpt_disk(16, &[]), 100 << 10),
        ("an empty GPT, behind its entries", gpt_disk(16, &[]), 34 * 512),
        (
            "an empty GPT, last MiB",
            gpt_disk(16, &[]),
            end - 33 * 512 - 300_000,
        ),
        ("before a partition", gpt_disk(16, &[(4_096, 8_191)]), 100 << 10),
        ("before one at 1 MiB", gpt_disk(16, &[(2_048, 8_191)]), 100 << 10),
        (
            "between two",
            gpt_disk(16, &[(2_048, 4_095), (5_000, 9_000)]),
            4_100 * 512,
        ),
        ("behind the last", gpt_disk(16, &[(2_048, 32_100)]), 32_101 * 512),
        ("an MBR, first MiB", mbr_disk(16, 2_048, 4_096), 100 << 10),
        ("an MBR, behind its sector", mbr_disk(16, 2_048, 4_096), 512),
        ("an MBR, last MiB", mbr_disk(16, 2_048, 30_000), end - 300_000),
    ] {
        let control = of(&disk);
        assert!(
            control.unknown.is_empty(),
            "the control, {what}: {:?}",
            control.lines
        );
        let mut disk = disk;
        let room = if what.starts_with("behind the last") {
            500
        } else {
            300_000
        };
        disk[at..at + room].copy_from_slice(&photo()[..room]);
        let seen = of(&disk);
        assert!(
            seen.unknown
                .iter()
                .any(|why| why.contains("data of an unknown kind")),
            "{what}: {:?}",
            seen.lines
        );
        assert!(!seen.blank && seen.lines.len() > 1);
    }
}

/// Code that GRUB put behind an MBR is told, and excuses nothing behind it.
#[test]
fn code_of_a_boot_loader_in_the_gap_is_told_and_excuses_nothing_else() {
    let mut disk = mbr_disk(16, 2_048, 4_096);
    disk[512..512 + 60 * 512].fill(0x90);
    // Where the sector behind the MBR says how long it is.
    let entry = 1024 - 12;
    disk[512 + 0x180..512 + 0x188].copy_from_slice(b"loading\0");
    disk[entry - 84..entry].fill(0);
    disk[entry..entry + 8].copy_from_slice(&2_u64.to_le_bytes());
    disk[entry + 8..entry + 12].copy_from_slice(&[59, 0, 0x20, 0x08]);
    let seen = of(&disk);
    assert!(seen.unknown.is_empty(), "{:?}", seen.unknown);
    assert!(
        seen.lines
            .contains(&"in no partition: boot code of GRUB".to_owned()),
        "{:?}",
        seen.lines
    );
    let photo = photo();
    disk[100 << 10..(100 << 10) + photo.len()].copy_from_slice(&photo);
    assert_eq!(of(&disk).unknown.len(), 1);
    disk[100 << 10..(100 << 10) + photo.len()].fill(0);
    // The control: the same bytes, which say nothing of themselves.
    disk[512 + 0x180] = b'x';
    assert_eq!(of(&disk).unknown.len(), 1);
}

#[test]
fn a_stop_while_blkid_looks_is_no_finding() {
    use crate::real::test_support::{block_on, image};
    let keep = tempfile::tempdir().unwrap();
    let device = image(&keep, "unknown", 8 << 20);
    let bytes = vec![0; 8 << 20];
    let asked = |stop: &Stop| {
        let mut contents = of(&bytes);
        let heard = block_on(ask_blkid(
            &device,
            8 << 20,
            &mut contents,
            &Reporter::default(),
            stop,
        ));
        heard.map(|()| contents.signatures)
    };
    let (sender, stop) = Stop::new();
    sender.send(Some("SIGTERM")).unwrap();
    assert_eq!(asked(&stop).unwrap_err().class, FaultClass::Interrupted);
    // The control: blkid has nothing to say of it.
    assert!(
        asked(&Stop::never())
            .unwrap()
            .iter()
            .all(|(_, found)| found.is_empty())
    );
}
