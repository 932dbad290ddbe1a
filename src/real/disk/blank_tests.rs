#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::sysfs::tests::Tree;
use super::*;
use std::io::Cursor;

fn look(disk: u64) -> Look {
    Look::new(Medium::Quick, disk, 1)
}

fn of(size: usize, puts: &[(usize, &[u8])]) -> Blankness {
    let mut disk = vec![0_u8; size];
    for (at, bytes) in puts {
        disk[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    let size = disk.len() as u64;
    look(size).proof(&mut Cursor::new(disk), 0, size, Extent::Unlisted)
}

#[test]
fn zeros_and_erased_flash_are_blank_and_one_other_byte_is_not() {
    let size = 6 << 20;
    assert_eq!(of(size, &[]), Blankness::Blank);
    assert_eq!(of(0, &[]), Blankness::Blank);
    let erased = Cursor::new(vec![0xFF; size]);
    assert_eq!(
        look(size as u64).proof(&mut { erased }, 0, size as u64, Extent::Unlisted),
        Blankness::Blank
    );
    assert_eq!(of(size, &[(0, &vec![0xFF; 1 << 20])]), Blankness::Blank);
    for at in [0, 77, (1 << 20) - 1, (3 << 20) + 77, size - 1, size - (1 << 20)] {
        assert_eq!(of(size, &[(at, &[1])]), Blankness::Data(at as u64), "{at}");
    }
    // 0xFF in the midst of zeros is no erased flash.
    assert_eq!(of(size, &[(4096, &[0xFF; 512])]), Blankness::Data(4096));
}

#[test]
fn another_range_of_the_same_device_is_judged_by_itself() {
    let mut disk = vec![0_u8; 96 << 20];
    disk[8 << 20..88 << 20].fill(0xA5);
    let size = disk.len() as u64;
    let mut disk = Cursor::new(&disk);
    assert_eq!(
        look(size).proof(&mut disk, 0, size, Extent::Unlisted),
        Blankness::Data(8 << 20)
    );
    assert_eq!(
        look(size).proof(&mut disk, 0, 8 << 20, Extent::Partition),
        Blankness::Blank
    );
    assert_eq!(
        look(size).proof(&mut disk, 1 << 20, size - (1 << 20), Extent::Partition),
        Blankness::Data(7 << 20)
    );
}

#[test]
fn what_cannot_be_read_is_not_blank() {
    let short = vec![0_u8; 1000];
    assert!(matches!(
        look(2000).proof(&mut Cursor::new(short), 0, 2000, Extent::Unlisted),
        Blankness::Unreadable(0, _)
    ));
}

#[test]
fn the_places_are_bounded_in_order_and_within_the_device() {
    for size in [
        0,
        1,
        4096,
        MIB,
        MIB + 1,
        3 * MIB,
        9 * MIB,
        3 * GIB,
        1 << 40,
        20 << 40,
        u64::MAX,
    ] {
        for (medium, most) in [(Medium::Quick, 20_000), (Medium::Spinning, 8_000)] {
            for extent in [Extent::Partition, Extent::Unlisted] {
                let places = Look::new(medium.clone(), size, 1).places(0, size, extent);
                assert!(places.len() < most, "{size}: {}", places.len());
                let bytes: u64 = places.iter().map(|(_, length)| length).sum();
                assert!(bytes <= WHOLE_BYTES, "{size}: {bytes}");
                let rest = places.get(2..).unwrap_or_default();
                assert!(
                    rest.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0),
                    "{size}"
                );
                for (at, length) in places {
                    assert!(
                        at.checked_add(length).is_some_and(|end| end <= size),
                        "{size}: {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_run_that_is_longer_than_a_step_of_the_grid_is_met_wherever_it_lies() {
    for (medium, count) in [(Medium::Quick, GRID_QUICK), (Medium::Spinning, GRID_SPINNING)] {
        for size in [64 * GIB, 2048 * GIB, 20_000 * GIB] {
            let mut places = Look::new(medium.clone(), size, 1).places(0, size, Extent::Unlisted);
            places.sort_unstable();
            let widest = places
                .windows(2)
                .map(|two| two[1].0 - (two[0].0 + two[0].1))
                .max();
            assert!(widest.unwrap() <= size / count, "{size}: {widest:?}");
        }
    }
}

#[test]
fn many_ranges_share_what_is_read() {
    let size = 2048 * GIB;
    let one = size / 1000;
    let how = Look::new(Medium::Spinning, size, 1000);
    let all: usize = (0..1000)
        .map(|n| how.places(n * one, one, Extent::Partition).len())
        .sum();
    assert!(all < 80_000, "{all}");
}

/// Holes of a file are known; the same bytes on a device are met by the grid alone.
#[test]
fn of_a_file_every_byte_is_looked_at() {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile().unwrap();
    let size = 64 * GIB;
    file.set_len(size).unwrap();
    let proof = |file: &File| {
        let how = Look::new(Medium::of(file).unwrap(), size, 1);
        how.proof(&mut file.try_clone().unwrap(), 0, size, Extent::Unlisted)
    };
    assert_eq!(proof(&file), Blankness::Blank);
    let at = 40 * GIB + 12_345_677;
    file.write_all_at(&[1], at).unwrap();
    assert_eq!(proof(&file), Blankness::Data(at));
    let how = Look::new(Medium::Quick, size, 1);
    let by_grid = how.proof(&mut file.try_clone().unwrap(), 0, size, Extent::Unlisted);
    assert_eq!(by_grid, Blankness::BlankWhereRead, "the control");
}

#[test]
fn only_a_disk_that_is_none_of_a_virtual_machine_turns() {
    let tree = Tree::new();
    let device = |place: &str, number: &str, rotational: &str| {
        tree.put(&format!("sys/devices/{place}/queue/rotational"), rotational);
        let link = tree.sysfs().at(&format!("sys/dev/block/{number}"));
        fs_err::create_dir_all(link.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(tree.sysfs().at(&format!("sys/devices/{place}")), link).unwrap();
    };
    device(
        "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda",
        "8:0",
        "1\n",
    );
    device(
        "pci0000:00/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb",
        "8:16",
        "0\n",
    );
    device("pci0000:00/0000:00:05.0/virtio2/block/vda", "254:0", "1\n");
    device("virtual/block/loop0", "7:0", "1\n");
    let is = |number| spinning(&tree.sysfs(), number).unwrap();
    assert_eq!(is("8:0"), Medium::Spinning);
    for number in ["8:16", "254:0", "7:0", "9:9"] {
        assert_eq!(is(number), Medium::Quick, "{number}");
    }
}
