//! Promise: what real programs leave on a disk is never blank, and is shown as what it is. The table of what each is shown as
//! is `tests/disks/contents.txt`: a person reads it, and a change of it is seen in a review. Where the bytes come from:
//! `tests/disks/README.md`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/sparse.rs"]
mod sparse;

use landfall::real::disk::contents::{Contents, seen};
use landfall_states::plan::DiskIdentity;
use sparse::Sparse;
use std::fmt::Write as _;

fn look(disk: &mut Sparse, sector_bytes: u32) -> Contents {
    let identity = DiskIdentity {
        wwn: None,
        serial: Some("LF0001".into()),
        path: None,
        size_bytes: disk.size(),
        sector_bytes,
    };
    seen(disk, &identity, None).unwrap()
}

/// What is known by a table, a signature, or as data of an unknown kind. Of `atari` no fixed magic tells: `blkid`, which is
/// asked besides, knows it. The others hold bytes without any order, or have lost their
/// beginning.
const UNKNOWN: [&str; 7] = [
    "atari",
    "gap_extended",
    "gap_mbr",
    "gpt129",
    "raw_bios",
    "raw_msr",
    "zapped_head",
];

#[test]
fn everything_that_a_program_made_is_something_and_named() {
    let mut table = String::new();
    for (name, mut disk) in sparse::all() {
        let contents = look(&mut disk, 512);
        assert!(!contents.blank, "{name} is taken for blank");
        let unknown = contents.lines.iter().any(|l| l.contains("of an unknown kind"));
        assert_eq!(
            unknown,
            UNKNOWN.contains(&name.as_str()),
            "{name}: {:?}",
            contents.lines
        );
        writeln!(table, "{name}").unwrap();
        for line in &contents.lines {
            writeln!(table, "    {line}").unwrap();
        }
        for why in &contents.unknown {
            writeln!(table, "    only when named: {why}").unwrap();
        }
    }
    expect_test::expect_file!["disks/contents.txt"].assert_eq(&table);
}

#[test]
fn zeros_are_blank_and_one_byte_anywhere_near_the_ends_is_not() {
    let size = 256 << 20;
    let mut blank = Sparse::new(size);
    let seen = look(&mut blank, 512);
    assert!(seen.blank && seen.unknown.is_empty(), "{:?}", seen.lines);
    assert_eq!(seen.lines, ["no partition table"]);
    for at in [0, 700 << 10, size - (600 << 10), size - 1, 32 << 20] {
        let mut disk = Sparse::new(size);
        // In the midst pieces are looked at: what lies there alone fills more than one byte.
        let length = if at == 32 << 20 { 4 << 20 } else { 1 };
        disk.put(at, &vec![0x5A; length]);
        let seen = look(&mut disk, 512);
        assert!(!seen.blank, "a byte at {at}");
        assert_eq!(seen.lines[1], "whole disk: data of an unknown kind");
        assert_eq!(seen.unknown, ["it holds data of an unknown kind"]);
    }
}

/// The superblock of an ext4 of so many blocks of 4 KiB.
fn superblock(blocks: u32, label: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 1_024];
    block[0x04..0x08].copy_from_slice(&blocks.to_le_bytes());
    block[0x18] = 2;
    block[0x38..0x3A].copy_from_slice(&[0x53, 0xEF]);
    block[0x60] = 0x40;
    block[0x78..0x78 + label.len()].copy_from_slice(label);
    block
}

/// An image that was written over the start of a disk, and what a former table led to behind it.
#[test]
fn what_lies_behind_a_filesystem_on_the_disk_itself_is_told() {
    const MIB: u64 = 1 << 20;
    let size = 6 << 30;
    let small = superblock(600 * 256, b"BOOT");
    let photos = superblock(2_900 * 256, b"photos");
    let told = |disk: &mut Sparse| look(disk, 512);
    let mut disk = Sparse::new(size);
    disk.put(1_024, &small);
    // The control: with nothing behind it.
    let alone = told(&mut disk);
    assert_eq!(alone.lines, ["no partition table", "whole disk: ext4 \"BOOT\""]);
    assert!(alone.unknown.is_empty());
    disk.put(2_049 * MIB + 1_024, &photos);
    let seen = told(&mut disk);
    let at = 2_049 * MIB;
    assert!(
        seen.lines
            .contains(&format!("in no partition, at byte {at}: ext4 \"photos\"")),
        "{:?}",
        seen.lines
    );
    assert_eq!(
        seen.unknown,
        [format!("it holds ext4 \"photos\" at byte {at}, in no partition")]
    );
    // Bytes of an unknown kind, right behind its end.
    let mut disk = Sparse::new(size);
    disk.put(1_024, &small);
    disk.put(600 * MIB + (512 << 10), &vec![0x5A; 4 << 20]);
    assert_eq!(told(&mut disk).unknown.len(), 1);
    // What does not say where it ends: all that begins on the disk is told.
    let mut disk = Sparse::new(size);
    disk.put(1_024, &superblock(0, b"BOOT"));
    disk.put(2_049 * MIB + 1_024, &photos);
    let seen = told(&mut disk);
    assert!(
        seen.lines.iter().any(|line| line.ends_with("ext4 \"photos\"")),
        "{:?}",
        seen.lines
    );
    // What takes all of the disk has it in itself.
    let mut disk = Sparse::new(size);
    disk.put(1_024, &superblock(6 * 1_024 * 256, b"BOOT"));
    disk.put(2_049 * MIB + 1_024, &photos);
    assert_eq!(told(&mut disk).lines.len(), 2);
}

/// Where programs have begun partitions, and do.
fn usual_starts() -> Vec<u64> {
    const MIB: u64 = 1 << 20;
    let behind_first = [
        99, 100, 128, 200, 256, 260, 300, 499, 500, 512, 529, 550, 600, 1000, 1024,
    ]
    .into_iter()
    .flat_map(|first| [0, 1, 16, 17, 129].map(|more| (first + more) * MIB));
    let cylinders = [1, 13, 25, 100].map(|n| n * 255 * 63 * 512);
    let behind_system = [
        2, 4, 8, 16, 20, 32, 40, 50, 64, 100, 120, 128, 200, 250, 256, 500, 512, 1000, 1024,
    ]
    .into_iter()
    .flat_map(|first| [0, 1, 513].map(|more| (first * 1024 + more) * MIB));
    [34, 40, 63, 64, 2048, 8192, 16_384, 32_768]
        .map(|sector| sector * 512)
        .into_iter()
        .chain(behind_first)
        .chain(cylinders)
        .chain(behind_system)
        .collect()
}

/// A table that was emptied leaves its partitions. Of what begins there only one sector is kept here, so that no other helps.
#[test]
fn what_begins_where_partitions_begin_is_found_without_a_table() {
    let size = 2 << 40;
    // Place in its filesystem, and bytes.
    let beginnings: [(u64, &[u8], &str); 5] = [
        (0, b"XFSB", "xfs"),
        (0, b"LUKS\xba\xbe\0\x01", "crypto_LUKS"),
        (3, b"NTFS    ", "ntfs"),
        (1080, &[0x53, 0xEF], "ext2"),
        (65_600, b"_BHRfS_M", "btrfs"),
    ];
    for (index, start) in usual_starts().into_iter().enumerate() {
        let (at, bytes, name) = beginnings[index % beginnings.len()];
        let mut disk = Sparse::new(size);
        disk.put(start + at, bytes);
        let seen = look(&mut disk, 512);
        assert!(!seen.blank, "{name} at {start}");
        assert_eq!(
            seen.unknown,
            [format!("it holds {name} at byte {start}, in no partition")]
        );
        assert!(seen.lines[1].contains(name), "{:?}", seen.lines);
    }
}

/// A new disk is taken, however large it is, and it is told that not all of it was read.
#[test]
fn a_new_disk_of_twenty_terabytes_is_blank_where_it_was_read() {
    for size in [4_u64 << 30, 20_000_588_955_648] {
        let seen = look(&mut Sparse::new(size), 512);
        assert!(seen.blank && seen.unknown.is_empty());
        assert_eq!(
            seen.lines,
            [
                "no partition table",
                "whole disk: blank where it was read (not all of it was read)"
            ]
        );
    }
}

#[test]
fn what_is_behind_a_partition_of_a_deleted_one_is_no_free_space() {
    let mut disk = sparse::load("gap");
    let seen = look(&mut disk, 512);
    assert_eq!(seen.lines[1], "partition 1: 64.0 MiB, blank");
    assert_eq!(
        seen.lines[2],
        "in no partition, at byte 68157440: ext4 \"photos\""
    );
    assert_eq!(
        seen.unknown,
        ["it holds ext4 \"photos\" at byte 68157440, in no partition"]
    );
    // The control: the same table over nothing.
    let mut empty = Sparse::new(disk.size());
    let is_table = |at: u64| at < 1 << 20 || at >= disk.size() - (1 << 20);
    for (at, bytes) in disk.sectors().filter(|(at, _)| is_table(*at)) {
        empty.put(at, bytes);
    }
    assert!(look(&mut empty, 512).unknown.is_empty());
    // The sectors that lead to logical partitions are none of the data.
    assert!(look(&mut sparse::load("mbrblank"), 512).unknown.is_empty());
}

#[test]
fn a_type_that_needs_no_filesystem_hides_no_data() {
    for name in ["raw_msr", "raw_bios"] {
        let seen = look(&mut sparse::load(name), 512);
        assert_eq!(
            seen.unknown,
            ["partition 1 holds data of an unknown kind"],
            "{name}"
        );
    }
}

#[test]
fn the_last_of_many_partitions_is_looked_at_as_the_first() {
    let seen = look(&mut sparse::load("gpt129"), 512);
    assert_eq!(seen.lines[1], "partition 1: 1.0 MiB, blank");
    assert_eq!(seen.unknown, ["partition 129 holds data of an unknown kind"]);
}

#[test]
fn a_table_for_other_sectors_is_told_with_what_it_holds() {
    let mut disk = sparse::load("gpt4096");
    let seen = look(&mut disk, 512);
    assert!(
        seen.lines[0].starts_with("protective MBR, but no GPT at this sector size (there is one at 4096)")
    );
    assert!(seen.lines[1].contains("ext4 \"photos\""), "{:?}", seen.lines);
    // The control: with the sectors that it was written for, it is a table like others.
    let seen = look(&mut disk, 4096);
    assert!(
        seen.unknown.is_empty() && seen.on_disk.table().is_some(),
        "{:?}",
        seen.lines
    );
}

#[test]
fn a_classic_table_for_other_sectors_is_told_with_what_it_holds() {
    let mut disk = sparse::load("mbr4096");
    let seen = look(&mut disk, 512);
    assert_eq!(
        seen.lines,
        [
            "MBR with 4 partitions, counted in sectors of 4096 bytes",
            "partition 1: 78.1 MiB, ext4 \"photos\"",
            "partition 2: 176.0 MiB, extended, with logical partitions",
            "partition 5: 32.0 MiB, ext4 \"archive\"",
            "partition 6: 138.8 MiB, blank",
        ]
    );
    assert_eq!(seen.unknown, ["its MBR was written for sectors of 4096 bytes"]);
    // The control: with the sectors that it was written for, it is a table like others.
    let seen = look(&mut disk, 4096);
    assert!(
        seen.unknown.is_empty() && seen.lines[0] == "MBR with 4 partitions",
        "{:?}",
        seen.lines
    );
}

#[test]
fn logical_partitions_are_listed_and_a_chain_in_a_ring_ends() {
    let mut disk = sparse::load("mbrlogical");
    let seen = look(&mut disk, 512);
    let numbers: Vec<u32> = seen.on_disk.mbr.iter().map(|e| e.number).collect();
    assert_eq!(numbers, [1, 2, 5, 6]);
    assert!(
        seen.lines
            .iter()
            .any(|l| l.contains("partition 5") && l.contains("ext4 \"photos\""))
    );
    // The link of the second one leads back to the first.
    let second = 51_200 - 2048;
    disk.put(
        second * 512 + 462,
        &[0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0],
    );
    disk.put(second * 512 + 510, &[0x55, 0xAA]);
    assert!(look(&mut disk, 512).on_disk.mbr.len() < 10);
}

#[test]
fn an_emptied_table_over_data_is_not_empty() {
    let mut disk = sparse::load("gptempty");
    assert!(look(&mut disk, 512).unknown.is_empty(), "the control");
    disk.put(9 << 20, &vec![7; 40 << 20]);
    assert_eq!(look(&mut disk, 512).unknown, ["it holds data of an unknown kind"]);
}
