//! Code of boot loaders beside a partition table, in no partition.
//!
//! The code is recognised by its own header, and is as long as the header says. What lies behind it is judged as anywhere
//! else. Code in the sector of the table itself is not looked at, because every table allows it. Source: `diskboot.S` of GRUB
//! 2.12 and `start.S` of GRUB 0.97 (lists of sectors at the end of the first one, the last entry first).
//!
//! `partitions` knows the partitions that are made for such code.

use std::io::{self, Read, Seek, SeekFrom};

const SECTOR: u64 = 512;
/// Partition entries that fit after the code.
const ENTRIES_MAX: usize = 8;

/// Some code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// What it is of.
    pub words: &'static str,
    /// First byte and the one behind the last, of each of its pieces.
    pub places: Vec<(u64, u64)>,
}

/// How a first sector is laid out.
struct Kind {
    words: &'static str,
    says: &'static [u8],
    /// Bytes of an entry: the first sector, their number, and a segment.
    entry_bytes: usize,
    /// Where the code goes on in memory.
    segment: u16,
}

const KINDS: [Kind; 2] = [
    Kind {
        words: "boot code of GRUB",
        says: b"loading\0",
        entry_bytes: 12,
        segment: 0x820,
    },
    Kind {
        words: "boot code of GRUB Legacy",
        says: b"Loading stage",
        entry_bytes: 8,
        segment: 0x220,
    },
];

/// The code that the sector behind an MBR begins.
///
/// # Errors
/// The device reports an error.
pub fn behind_mbr<D: Read + Seek>(device: &mut D) -> io::Result<Option<Code>> {
    let mut sector = vec![];
    device.seek(SeekFrom::Start(SECTOR))?;
    (&mut *device).take(SECTOR).read_to_end(&mut sector)?;
    Ok(KINDS.iter().find_map(|kind| code(kind, &sector)))
}

fn code(kind: &Kind, sector: &[u8]) -> Option<Code> {
    let says = sector.windows(kind.says.len()).any(|part| part == kind.says);
    let mut places = vec![(SECTOR, 2 * SECTOR)];
    let mut segment = kind.segment;
    for index in 1..=ENTRIES_MAX {
        let entry = sector.get(sector.len().checked_sub(index * kind.entry_bytes)?..)?;
        let number = |at: usize, bytes: usize| {
            entry.get(at..at + bytes).map_or(0, |part| {
                part.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
            })
        };
        let start = kind.entry_bytes - 4;
        let (first, sectors) = (number(0, start), number(start, 2));
        if sectors == 0 {
            break;
        }
        // Each piece goes on in memory where the one before ended.
        if number(start + 2, 2) != u64::from(segment) {
            return None;
        }
        segment = segment.checked_add(u16::try_from(sectors).ok()?.checked_mul(32)?)?;
        let from = first.checked_mul(SECTOR)?;
        places.push((from, from.checked_add(sectors * SECTOR)?));
    }
    (says && places.len() > 1).then_some(Code {
        words: kind.words,
        places,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A first sector of GRUB 2 with these pieces: first sector, number, segment.
    fn sector(pieces: &[(u64, u16, u16)]) -> Vec<u8> {
        let mut sector = vec![0x90; 512];
        sector[0x180..0x188].copy_from_slice(b"loading\0");
        sector[512 - 96..].fill(0);
        for (index, (first, sectors, segment)) in pieces.iter().enumerate() {
            let at = 512 - (index + 1) * 12;
            sector[at..at + 8].copy_from_slice(&first.to_le_bytes());
            sector[at + 8..at + 10].copy_from_slice(&sectors.to_le_bytes());
            sector[at + 10..at + 12].copy_from_slice(&segment.to_le_bytes());
        }
        sector
    }

    #[test]
    fn code_is_as_long_as_it_says() {
        let of = |sector: &[u8]| code(&KINDS[0], sector).map(|code| code.places);
        assert_eq!(
            of(&sector(&[(2, 61, 0x820)])),
            Some(vec![(512, 1024), (1024, 63 * 512)])
        );
        // In two pieces, around a sector that somebody else has.
        assert_eq!(
            of(&sector(&[(2, 30, 0x820), (33, 30, 0xBE0)])),
            Some(vec![(512, 1024), (1024, 32 * 512), (33 * 512, 63 * 512)])
        );
        for pieces in [
            &[][..],
            &[(2, 61, 0x800)],
            &[(2, 30, 0x820), (33, 30, 0x820)],
            &[(u64::MAX, 61, 0x820)],
        ] {
            assert_eq!(of(&sector(pieces)), None, "{pieces:?}");
        }
        let mut silent = sector(&[(2, 61, 0x820)]);
        silent[0x180] = b'x';
        assert_eq!(of(&silent), None);
        assert_eq!(of(&[]), None);
    }
}
