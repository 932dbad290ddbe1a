#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use landfall_states::plan::TYPE_ESP;
use proptest::prelude::*;

fn table(sector_bytes: u32, seed: u128, count: u32, sectors: u64) -> GptTable {
    let mib = (1 << 20) / u64::from(sector_bytes);
    let entries = (1..=count)
        .map(|number| GptEntry {
            number,
            type_guid: TYPE_ESP,
            partuuid: Uuid::from_u128(seed + u128::from(number)),
            first_lba: mib * u64::from(number),
            last_lba: (mib * u64::from(number + 1) - 1).min(sectors - mib - 1),
            name: format!("part-{number}"),
        })
        .collect();
    GptTable {
        disk_guid: Uuid::from_u128(seed),
        sector_bytes,
        entries,
    }
}

fn blank(mib: usize) -> Cursor<Vec<u8>> {
    Cursor::new(vec![0; mib << 20])
}

fn write_to(disk: &mut Cursor<Vec<u8>>, table: &GptTable) {
    let mut prepared = prepare(disk, table).unwrap();
    write(disk, &mut prepared, |_| Ok(())).unwrap();
}

/// Every write as (place, bytes), with `None` for a flush.
struct Log {
    disk: Cursor<Vec<u8>>,
    log: Vec<Option<(u64, Vec<u8>)>>,
}
impl Read for Log {
    fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
        self.disk.read(b)
    }
}
impl Seek for Log {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}
impl Write for Log {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        self.log.push(Some((self.disk.position(), b.to_vec())));
        self.disk.write(b)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_flush_stands_between_the_copies_and_behind_them() {
    let mut log = Log {
        disk: blank(8),
        log: vec![],
    };
    let mut prepared = prepare(&mut log, &table(512, 7, 2, 16_384)).unwrap();
    write(&mut log, &mut prepared, |d| {
        d.log.push(None);
        Ok(())
    })
    .unwrap();
    let first = log.log.iter().position(Option::is_none).unwrap();
    assert!(log.log[..first].iter().flatten().all(|(at, _)| *at < 1 << 20));
    assert!(log.log[first..].iter().flatten().all(|(at, _)| *at > 7 << 20));
    assert!(log.log.last().unwrap().is_none());
    assert_eq!(log.log.iter().filter(|w| w.is_none()).count(), 2);
}

#[test]
fn the_same_table_gives_the_same_bytes_and_sgdisk_would_agree() {
    let mut disk = blank(8);
    write_to(&mut disk, &table(512, 7, 2, 16_384));
    let once = disk.get_ref().clone();
    write_to(&mut disk, &table(512, 7, 2, 16_384));
    assert_eq!(&once, disk.get_ref());
    // gptman's own reader is a second witness.
    let seen = GPT::read_from(&mut disk, 512).unwrap();
    assert_eq!(seen.header.disk_guid, Uuid::from_u128(7).to_bytes_le());
    assert_eq!(seen.header.backup_lba, 16_383);
}

#[test]
fn a_table_that_does_not_fit_is_refused_before_any_write() {
    let good = table(512, 7, 2, 16_384);
    let with = |change: &dyn Fn(&mut GptTable)| {
        let mut table = good.clone();
        change(&mut table);
        prepare(&mut blank(8), &table).is_err()
    };
    assert!(!with(&|_| ()));
    assert!(with(&|t| t.entries[1].last_lba = 1 << 40));
    assert!(with(&|t| t.entries[1].first_lba = t.entries[0].last_lba));
    assert!(with(&|t| t.entries[1].number = 1));
    assert!(with(&|t| t.entries[1].number = 0));
    assert!(with(&|t| t.entries[1].number = 129));
    assert!(with(&|t| t.entries[1].name = "x".repeat(37)));
    assert!(with(&|t| t.entries[0].first_lba = 5));
    assert!(with(&|t| t.sector_bytes = 1024));
}

#[test]
fn classic_mbr_and_boot_sectors_are_told_apart() {
    let mut sector = vec![0_u8; 512];
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector[446] = 0x80;
    sector[450] = 0x83;
    sector[454] = 1;
    sector[458] = 9;
    let found = mbr::primary(&sector);
    assert_eq!(found.len(), 1);
    assert!(found[0].active && found[0].kind == 0x83 && found[0].sectors == 9);
    sector[446] = 0x6E;
    assert!(mbr::primary(&sector).is_empty());
    assert!(mbr::primary(&sector[..100]).is_empty());
}

#[test]
fn a_header_that_asks_for_too_much_is_damaged_not_trusted() {
    let mut disk = blank(8);
    write_to(&mut disk, &table(512, 7, 2, 16_384));
    let change = |f: &dyn Fn(&mut GPTHeader)| {
        let mut disk = disk.clone();
        disk.set_position(512);
        let mut header = GPTHeader::read_from(&mut disk).unwrap();
        f(&mut header);
        // The header's own sum is put right: only the bounds are wrong.
        header.crc32_checksum = 0;
        let raw = |h: &GPTHeader| {
            let mut raw = disk.get_ref()[512..604].to_vec();
            raw[24..32].copy_from_slice(&h.primary_lba.to_le_bytes());
            raw[72..80].copy_from_slice(&h.partition_entry_lba.to_le_bytes());
            raw[80..84].copy_from_slice(&h.number_of_partition_entries.to_le_bytes());
            raw[84..88].copy_from_slice(&h.size_of_partition_entry.to_le_bytes());
            raw[16..20].copy_from_slice(&h.generate_crc32_checksum().to_le_bytes());
            raw
        };
        let bytes = raw(&header);
        disk.get_mut()[512..604].copy_from_slice(&bytes);
        read(&mut disk, 512).unwrap()
    };
    for f in [
        &(|h: &mut GPTHeader| h.number_of_partition_entries = u32::MAX) as &dyn Fn(&mut GPTHeader),
        &|h| h.size_of_partition_entry = 0,
        &|h| h.partition_entry_lba = u64::MAX,
        &|h| h.partition_entry_lba = 16_383,
        &|h| h.primary_lba = 3,
    ] {
        let seen = change(f);
        assert!(matches!(seen.primary, GptCopy::Damaged(_)), "{:?}", seen.primary);
        assert!(matches!(seen.backup, GptCopy::Complete(_)), "{:?}", seen.backup);
    }
}

/// Applies the first `sectors` sectors of a log of writes.
fn torn(before: &[u8], log: &[Option<(u64, Vec<u8>)>], mut sectors: usize) -> Vec<u8> {
    let mut disk = before.to_vec();
    for (at, bytes) in log.iter().flatten() {
        // The MBR is written field by field; each is within one sector.
        for (index, chunk) in bytes.chunks(512).enumerate() {
            if sectors == 0 {
                return disk;
            }
            sectors -= 1;
            let at = usize::try_from(*at).unwrap() + index * 512;
            disk[at..at + chunk.len()].copy_from_slice(chunk);
        }
    }
    disk
}

#[test]
fn a_torn_write_never_shows_a_third_table() {
    let (old, new) = (table(512, 100, 3, 16_384), table(512, 200, 2, 16_384));
    for start in [None, Some(&old)] {
        let mut before = blank(8);
        if let Some(old) = start {
            write_to(&mut before, old);
        }
        let mut log = Log {
            disk: before.clone(),
            log: vec![],
        };
        let mut prepared = prepare(&mut log, &new).unwrap();
        write(&mut log, &mut prepared, |d| {
            d.log.push(None);
            Ok(())
        })
        .unwrap();
        let total: usize = log.log.iter().flatten().map(|(_, b)| b.len().div_ceil(512)).sum();
        for sectors in 0..=total {
            let mut disk = Cursor::new(torn(before.get_ref(), &log.log, sectors));
            let seen = read(&mut disk, 512).unwrap();
            for copy in [&seen.primary, &seen.backup] {
                if let GptCopy::Complete(table) = copy {
                    assert!(Some(table) == start || table == &new, "{sectors}: {table:?}");
                }
            }
            // The second copy is ours only when the first is.
            if seen.backup.table() == Some(&new) {
                assert_eq!(seen.primary.table(), Some(&new), "{sectors}");
                assert!(seen.protective_mbr);
            }
            // Writing again from anywhere ends in the same bytes.
            if sectors % 7 == 0 {
                write_to(&mut disk, &new);
                assert_eq!(disk.get_ref(), log.disk.get_ref(), "{sectors}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn round_trip(seed: u64, count in 0_u32..5, big: bool, odd in 0_usize..8) {
        let sector_bytes = if big { 4096 } else { 512 };
        let mut disk = Cursor::new(vec![0_u8; (8 << 20) + odd * sector_bytes as usize]);
        let sectors = disk.get_ref().len() as u64 / u64::from(sector_bytes);
        let table = table(sector_bytes, u128::from(seed) << 8 | 1, count, sectors);
        write_to(&mut disk, &table);
        let seen = read(&mut disk, sector_bytes).unwrap();
        prop_assert_eq!(seen.primary.table(), Some(&table));
        prop_assert_eq!(seen.backup.table(), Some(&table));
        prop_assert!(seen.protective_mbr && seen.mbr.is_empty());
    }

    #[test]
    fn no_bytes_make_reading_panic(
        flips in proptest::collection::vec((0_usize..(2 << 20), any::<u8>()), 0..40), near: bool,
    ) {
        let mut disk = blank(2);
        write_to(&mut disk, &table(512, 9, 0, 4096));
        let end = disk.get_ref().len();
        for (at, byte) in flips {
            let at = if near { at % 2048 } else { end - 1 - at % 20_000 };
            disk.get_mut()[at] = byte;
        }
        for sector in [512, 4096] {
            prop_assert!(read(&mut disk, sector).is_ok());
        }
    }

    #[test]
    fn arbitrary_disks_read(bytes in proptest::collection::vec(any::<u8>(), 0..60_000)) {
        prop_assert!(read(&mut Cursor::new(bytes), 512).is_ok());
    }
}
