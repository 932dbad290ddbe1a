use super::*;
use crate::real::table::gpt::{prepare, write};
use landfall_states::actions::partition_disk::GptCopy;
use std::io::Cursor;

/// What is written between two flushes: place and bytes, sector by sector.
type Epoch = Vec<(u64, Vec<u8>)>;

/// A disk that notes what is written between two flushes, sector by sector.
struct Noted {
    disk: Cursor<Vec<u8>>,
    sector: u64,
    open: Epoch,
    epochs: Vec<Epoch>,
}

impl Read for Noted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read(buffer)
    }
}

impl Seek for Noted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.disk.seek(to)
    }
}

impl Write for Noted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = self.disk.position();
        assert!(at.is_multiple_of(self.sector) && (bytes.len() as u64).is_multiple_of(self.sector));
        let sectors = bytes.chunks_exact(self.sector as usize);
        self.open.extend(
            (at..)
                .step_by(self.sector as usize)
                .zip(sectors.map(<[u8]>::to_vec)),
        );
        self.disk.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.epochs.push(std::mem::take(&mut self.open));
        Ok(())
    }
}

fn entry(number: u32, first_lba: u64, last_lba: u64, name: &str) -> GptEntry {
    GptEntry {
        number,
        type_guid: Uuid::from_u128(0xca7d_7ccb_63ed_4c53_861c_1742_5360_59cc),
        partuuid: Uuid::from_u128(u128::from(number)),
        first_lba,
        last_lba,
        name: name.into(),
    }
}

const SECTORS: u64 = 1400;
const ID: (u32, Uuid) = (2, Uuid::from_u128(2));

fn disk(sector_bytes: u32, first: u64) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0_u8; (SECTORS * u64::from(sector_bytes)) as usize]);
    let table = GptTable {
        disk_guid: Uuid::from_u128(77),
        sector_bytes,
        entries: vec![
            entry(1, first, first + 99, "ESP"),
            entry(2, first + 100, first + 899, "old"),
            entry(3, first + 900, first + 999, "déjà"),
        ],
    };
    let mut prepared = prepare(&mut disk, &table).unwrap();
    write(&mut disk, &mut prepared, |_| Ok(())).unwrap();
    let mut bytes = disk.into_inner();
    // What lies in the partitions.
    let at = (first * u64::from(sector_bytes)) as usize;
    let end = at + 1000 * sector_bytes as usize;
    for (number, byte) in bytes[at..end].iter_mut().enumerate() {
        *byte = (number % 251) as u8;
    }
    bytes
}

fn renamed(bytes: &[u8], sector_bytes: u32, name: &str) -> (Vec<u8>, Vec<Epoch>, bool) {
    let mut noted = Noted {
        disk: Cursor::new(bytes.to_vec()),
        sector: u64::from(sector_bytes),
        open: vec![],
        epochs: vec![],
    };
    let wrote = rename(&mut noted, sector_bytes, ID, name, Write::flush).unwrap();
    assert!(noted.open.is_empty(), "the last writes are flushed");
    (noted.disk.into_inner(), noted.epochs, wrote)
}

/// What a power cut may leave of one epoch: nothing, all, one sector alone, all but one.
fn subsets(epoch: &[(u64, Vec<u8>)]) -> Vec<Vec<&(u64, Vec<u8>)>> {
    let mut found = vec![vec![], epoch.iter().collect()];
    for at in 0..epoch.len() {
        found.push(vec![&epoch[at]]);
        found.push(
            epoch
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, one)| one)
                .collect(),
        );
    }
    found
}

fn name_of(copy: &GptCopy) -> String {
    let table = copy
        .table()
        .unwrap_or_else(|| panic!("a copy is not whole: {copy:?}"));
    assert_eq!(table.entries.len(), 3);
    assert_eq!(
        (table.entries[0].name.as_str(), table.entries[2].name.as_str()),
        ("ESP", "déjà")
    );
    table.entries[1].name.clone()
}

#[test]
fn both_copies_are_whole_whatever_a_power_cut_leaves() {
    let mut states = 0;
    for (sector_bytes, first) in [(512, 128), (512, 80), (4096, 16)] {
        let before = disk(sector_bytes, first);
        let (after, epochs, wrote) = renamed(&before, sector_bytes, "luks-web");
        assert!(wrote);
        // Only the name and the check sums are others.
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(changed.len() <= 2 * (16 + 4 + 4), "{}", changed.len());
        let mut disk = before.clone();
        for epoch in &epochs {
            for subset in subsets(epoch) {
                let mut cut = disk.clone();
                for (at, bytes) in subset {
                    cut[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
                }
                states += 1;
                let seen = gpt::read(&mut Cursor::new(cut.clone()), sector_bytes).unwrap();
                for copy in [&seen.primary, &seen.backup] {
                    assert!(["old", "luks-web"].contains(&name_of(copy).as_str()));
                }
                // Run again, it comes to the very same; also for another name.
                assert!(renamed(&cut, sector_bytes, "luks-web").0 == after);
                let other = renamed(&cut, sector_bytes, "other").0;
                let seen = gpt::read(&mut Cursor::new(other), sector_bytes).unwrap();
                assert_eq!(
                    (name_of(&seen.primary), name_of(&seen.backup)),
                    ("other".into(), "other".into())
                );
            }
            for (at, bytes) in epoch {
                disk[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
            }
        }
        assert!(disk == after);
        let (again, epochs, wrote) = renamed(&after, sector_bytes, "luks-web");
        assert!(
            again == after && epochs.is_empty() && !wrote,
            "nothing is left to do"
        );
    }
    assert!(states > 300, "{states}");
}

#[test]
fn written_in_place_a_table_is_not_whole_in_between() {
    // The control: what other tools do.
    let before = disk(512, 128);
    let (after, ..) = renamed(&before, 512, "luks-web");
    let mut cut = before.clone();
    cut[1024..1024 + (16 << 10)].copy_from_slice(&after[1024..1024 + (16 << 10)]);
    let seen = gpt::read(&mut Cursor::new(cut), 512).unwrap();
    assert!(seen.primary.table().is_none(), "entries without their header");
}

#[test]
fn what_is_not_whole_or_has_no_room_is_refused_before_the_first_write() {
    let refused = |bytes: Vec<u8>, id| {
        let mut noted = Noted {
            disk: Cursor::new(bytes.clone()),
            sector: 512,
            open: vec![],
            epochs: vec![],
        };
        let error = rename(&mut noted, 512, id, "luks-web", Write::flush).unwrap_err();
        assert!(noted.disk.into_inner() == bytes);
        error
    };
    let mut damaged = disk(512, 128);
    damaged[1024] ^= 1;
    assert!(matches!(refused(damaged, ID), TableError::Copy { copy: "first" }));
    let mut damaged = disk(512, 128);
    let end = damaged.len();
    damaged[end - 512] ^= 1;
    assert!(matches!(
        refused(damaged, ID),
        TableError::Copy { copy: "second" }
    ));
    assert!(matches!(
        refused(disk(512, 128), (2, Uuid::from_u128(3))),
        TableError::NoPartition { .. }
    ));
    // The first partition begins right behind the table.
    assert!(matches!(
        refused(disk(512, 34), ID),
        TableError::NoRoom { sectors: 32 }
    ));
    // Something lies in the gap, such as a boot loader: it stays.
    let mut full = disk(512, 80);
    full[34 * 512..80 * 512].fill(0x90);
    assert!(matches!(refused(full, ID), TableError::NoRoom { .. }));
}

#[test]
fn entries_that_somebody_moved_stay_where_they_are() {
    // sgdisk --move-main-table, for a boot loader at sector 2.
    let mut bytes = disk(512, 180);
    let array = bytes[1024..1024 + (16 << 10)].to_vec();
    bytes[100 * 512..100 * 512 + array.len()].copy_from_slice(&array);
    bytes[1024..1024 + array.len()].fill(0xEA);
    let mut header = bytes[512..1024].to_vec();
    put(&mut header, AT_ARRAY, &100_u64.to_le_bytes());
    put(&mut header, AT_CRC, &[0; 4]);
    let sum = CRC.checksum(&header[..92]);
    put(&mut header, AT_CRC, &sum.to_le_bytes());
    bytes[512..1024].copy_from_slice(&header);
    let (after, ..) = renamed(&bytes, 512, "luks-web");
    assert_eq!(u64_at(&after[512..1024], AT_ARRAY), 100);
    assert!(after[1024..1024 + array.len()].iter().all(|byte| *byte == 0xEA));
}
