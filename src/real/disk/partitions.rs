//! Where partitions lie, and what their types say about their bytes.
//!
//! Every partition that any table names counts, even if that table is no longer used. A type excuses no bytes except those of
//! a boot loader of its kind.
//!
//! `table::gpt` and `table::mbr` read the tables, and `outside` looks at what is in no partition.

use super::blank::{Blankness, Extent, Look};
use crate::real::table::gpt::OnDisk;
use landfall_states::actions::partition_disk::GptCopy;
use landfall_states::plan::{DiskIdentity, TYPE_ESP};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use uuid::{Uuid, uuid};

const MIB: u64 = 1 << 20;

/// What a type says of a partition's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub(super) words: &'static str,
    /// So many bytes from its start are boot code, which has no signature, and no data.
    code_bytes: u64,
    /// How that code begins.
    code: &'static [u8],
}

/// Partitions of these types may hold bytes without a signature by their nature. No loader is longer, and what is behind it
/// is judged as anywhere.
pub(super) const TYPES_RAW: [(Uuid, Kind); 4] = [
    (
        uuid!("21686148-6449-6e6f-744e-656564454649"),
        Kind {
            words: "BIOS boot code",
            code_bytes: MIB,
            code: b"",
        },
    ),
    (
        uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b"),
        Kind {
            words: "PReP boot code",
            code_bytes: 8 * MIB,
            code: b"\x7FELF",
        },
    ),
    (
        uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
        Kind {
            words: "Microsoft reserved",
            code_bytes: 0,
            code: b"",
        },
    ),
    (
        uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309"),
        Kind {
            words: "ChromeOS kernel",
            code_bytes: 64 * MIB,
            code: b"CHROMEOS",
        },
    ),
];

pub(super) const EXTENDED: Kind = Kind {
    words: "extended, with logical partitions",
    code_bytes: 0,
    code: b"",
};

/// A partition's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub number: u32,
    /// First byte.
    pub from: u64,
    /// Length in bytes, within the disk.
    pub bytes: u64,
    pub(super) name: String,
    pub(super) esp: bool,
    /// What it is by its type, where that says more than its bytes.
    pub(super) kind: Option<Kind>,
}

impl Place {
    /// Whether it is made of other partitions.
    pub(super) fn is_extended(&self) -> bool {
        self.kind == Some(EXTENDED)
    }
}

/// Every partition that any table names, old ones as well: by place, with the number and name of the first table that has it.
pub fn places(on_disk: &OnDisk, disk: &DiskIdentity) -> Vec<Place> {
    let size = disk.size_bytes;
    // By their first byte and number: nothing forbids a table to begin two of them in one place.
    let mut places: BTreeMap<(u64, u32), Place> = BTreeMap::new();
    let mut add = |place: Place| {
        let room = size.saturating_sub(place.from).min(place.bytes);
        if room > 0 {
            let key = (place.from, place.number);
            places.entry(key).or_insert(Place { bytes: room, ..place });
        }
    };
    let other = on_disk.other.as_ref().map(|other| &other.copy);
    let copies = [Some(&on_disk.primary), Some(&on_disk.backup), other];
    for table in copies.into_iter().flatten().filter_map(GptCopy::table) {
        let sector = u64::from(table.sector_bytes);
        for entry in &table.entries {
            add(Place {
                number: entry.number,
                from: entry.first_lba.saturating_mul(sector),
                bytes: entry.sectors().saturating_mul(sector),
                name: entry.name.clone(),
                esp: entry.type_guid == TYPE_ESP,
                kind: TYPES_RAW
                    .iter()
                    .find(|(type_guid, _)| *type_guid == entry.type_guid)
                    .map(|(_, kind)| *kind),
            });
        }
    }
    let sector = u64::from(on_disk.mbr_sector_bytes).max(512);
    // A hybrid MBR names partitions of the GPT by numbers of its own.
    let known: Vec<u64> = places.keys().map(|(from, _)| *from).collect();
    for entry in &on_disk.mbr {
        let from = entry.first_lba.saturating_mul(sector);
        if known.contains(&from) {
            continue;
        }
        let room = size
            .saturating_sub(from)
            .min(entry.sectors.saturating_mul(sector));
        if room == 0 {
            continue;
        }
        places.entry((from, entry.number)).or_insert(Place {
            number: entry.number,
            from,
            bytes: room,
            name: String::new(),
            esp: entry.kind == 0xEF,
            kind: entry.is_extended().then_some(EXTENDED),
        });
    }
    places.into_values().collect()
}

/// What the bytes of a partition say in which nothing was recognised.
pub(super) fn of_partition<D: Read + Seek>(file: &mut D, how: &Look, place: &Place) -> io::Result<Blankness> {
    let looked = how.proof(file, place.from, place.bytes, Extent::Partition);
    let Some(kind) = place
        .kind
        .filter(|kind| kind.code_bytes > 0 && !looked.is_blank())
    else {
        return Ok(looked);
    };
    let mut start = vec![];
    file.seek(SeekFrom::Start(place.from))?;
    (&mut *file)
        .take(kind.code.len() as u64)
        .read_to_end(&mut start)?;
    if start != kind.code {
        return Ok(looked);
    }
    let code = kind.code_bytes.min(place.bytes);
    let rest = how.proof(
        file,
        place.from.saturating_add(code),
        place.bytes - code,
        Extent::Partition,
    );
    Ok(match rest {
        Blankness::Blank | Blankness::BlankWhereRead => rest,
        Blankness::Data(at) => Blankness::Data(at.saturating_add(code)),
        Blankness::Unreadable(at, why) => Blankness::Unreadable(at.saturating_add(code), why),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::blank::Medium;
    use super::*;
    use std::io::Cursor;

    #[test]
    fn boot_code_is_known_by_its_beginning_and_nothing_behind_it_is_code() {
        let place = |type_guid: Uuid| Place {
            number: 1,
            from: MIB,
            bytes: 200 * MIB,
            name: String::new(),
            esp: false,
            kind: TYPES_RAW
                .iter()
                .find(|(kind, _)| *kind == type_guid)
                .map(|(_, kind)| *kind),
        };
        let look = |puts: &[(u64, &[u8])], kind: Uuid| {
            let mut disk = vec![0; 202 << 20];
            for (at, bytes) in puts {
                let at = (MIB + at) as usize;
                disk[at..at + bytes.len()].copy_from_slice(bytes);
            }
            let how = Look::new(Medium::Quick, disk.len() as u64, 1);
            of_partition(&mut Cursor::new(disk), &how, &place(kind)).unwrap()
        };
        let [bios, prep, _, chrome] = TYPES_RAW.map(|(kind, _)| kind);
        for (kind, start) in [
            (bios, b"\x52\xe8".as_slice()),
            (prep, b"\x7FELF"),
            (chrome, b"CHROMEOS"),
        ] {
            assert_eq!(look(&[(0, start)], kind), Blankness::Blank);
            assert_eq!(
                look(&[(0, start), (99 * MIB, b"x")], kind),
                Blankness::Data(99 * MIB)
            );
        }
        for kind in [prep, chrome] {
            assert_eq!(look(&[(0, b"photos")], kind), Blankness::Data(0));
        }
    }
}
