//! Whether a device is blank. Law: blank is proved, not assumed: every byte that is looked at is zero, or every byte of that
//! piece is 0xFF (erased flash). The first and the last MiB are read whole, and between them pieces at places that follow
//! from the length alone, so that the same device gives the same answer at every look. What cannot be read is not blank.
//!
//! Absent: what the bytes are (`signature`), and what the kernel and `blkid` say (`contents`).

use crate::os;
use std::io::{self, Read, Seek, SeekFrom};

const MIB: u64 = 1 << 20;
/// Bytes of a piece between the ends.
const PIECE_BYTES: u64 = 64 << 10;
/// Pieces between the ends of a whole disk: a few seconds on a disk that turns.
pub const PIECES_DISK: u64 = 64;
/// Pieces between the ends of a partition.
pub const PIECES_PARTITION: u64 = 8;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blankness {
    /// Nothing was found anywhere that was looked at.
    Blank,
    /// There are other bytes, the first of them at or after this place, in bytes from the start.
    Data(u64),
    /// A piece cannot be read: its place, and what the operating system said.
    Unreadable(u64, String),
}

/// Looks at `size` bytes from `from`.
pub fn proof<D: Read + Seek>(device: &mut D, from: u64, size: u64, pieces: u64) -> Blankness {
    let mut buffer = vec![0_u8; MIB as usize];
    for (at, length) in places(size, pieces) {
        // At most a MiB: it fits any `usize`.
        let piece = &mut buffer[..length as usize];
        let read = device
            .seek(SeekFrom::Start(from.saturating_add(at)))
            .and_then(|_| read_whole(device, piece));
        match read {
            Ok(()) if is_uniform(piece) => {}
            Ok(()) => return Blankness::Data(at),
            Err(error) => return Blankness::Unreadable(at, os::said(&error)),
        }
    }
    Blankness::Blank
}

fn read_whole(device: &mut impl Read, piece: &mut [u8]) -> io::Result<()> {
    device.read_exact(piece)
}

/// Whether all bytes are zero, or all are 0xFF.
fn is_uniform(piece: &[u8]) -> bool {
    match piece.first() {
        None => true,
        Some(first @ (0 | 0xFF)) => piece.iter().all(|byte| byte == first),
        Some(_) => false,
    }
}

/// The pieces that are looked at: place and length, the ends first.
fn places(size: u64, pieces: u64) -> Vec<(u64, u64)> {
    let head = size.min(MIB);
    let tail = (size - head).min(MIB);
    let mut places = vec![(0, head), (size - tail, tail)];
    let between = size - head - tail;
    if between <= pieces * MIB {
        // All of it: no more reads, and little more time.
        let mut at = head;
        while at < size - tail {
            let length = (size - tail - at).min(MIB);
            places.push((at, length));
            at += length;
        }
    } else {
        let step = between / (pieces + 1);
        // On whole blocks, as devices are read fastest.
        places.extend((1..=pieces).map(|n| ((head + step * n) & !4095, PIECE_BYTES)));
    }
    places.retain(|(_, length)| *length > 0);
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Cursor;

    fn of(size: usize, puts: &[(usize, &[u8])]) -> Blankness {
        let mut disk = vec![0_u8; size];
        for (at, bytes) in puts {
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let size = disk.len() as u64;
        proof(&mut Cursor::new(disk), 0, size, PIECES_DISK)
    }

    #[test]
    fn zeros_and_erased_flash_are_blank_and_one_other_byte_is_not() {
        let size = 6 << 20;
        assert_eq!(of(size, &[]), Blankness::Blank);
        assert_eq!(of(0, &[]), Blankness::Blank);
        let erased = vec![0xFF; size];
        assert_eq!(
            proof(&mut Cursor::new(erased), 0, size as u64, PIECES_DISK),
            Blankness::Blank
        );
        assert_eq!(of(size, &[(0, &vec![0xFF; 1 << 20])]), Blankness::Blank);
        for at in [0, (1 << 20) - 1, size - 1, size - (1 << 20)] {
            assert!(matches!(of(size, &[(at, &[1])]), Blankness::Data(_)), "{at}");
        }
        // 0xFF in the midst of zeros is no erased flash.
        assert!(matches!(of(size, &[(4096, &[0xFF; 512])]), Blankness::Data(0)));
    }

    #[test]
    fn what_lies_in_the_midst_alone_is_found() {
        // A volume without a header whose first MiBs were wiped.
        let mut disk = vec![0_u8; 96 << 20];
        disk[8 << 20..88 << 20].fill(0xA5);
        let size = disk.len() as u64;
        assert!(matches!(
            proof(&mut Cursor::new(&disk), 0, size, PIECES_DISK),
            Blankness::Data(at) if (7 << 20..9 << 20).contains(&at)
        ));
        // On a small device every byte is looked at.
        assert!(matches!(
            of(3 << 20, &[((1 << 20) + 77, &[9])]),
            Blankness::Data(_)
        ));
        // Another range of the same device is judged by itself.
        assert_eq!(proof(&mut Cursor::new(&disk), 0, 8 << 20, 8), Blankness::Blank);
    }

    #[test]
    fn what_cannot_be_read_is_not_blank() {
        let short = vec![0_u8; 1000];
        assert!(matches!(
            proof(&mut Cursor::new(short), 0, 2000, 8),
            Blankness::Unreadable(0, _)
        ));
    }

    #[test]
    fn the_places_are_bounded_and_within_the_device() {
        for size in [0, 1, 4096, MIB, MIB + 1, 3 * MIB, 9 * MIB, 1 << 40, u64::MAX] {
            let places = places(size, PIECES_DISK);
            assert!(places.len() <= PIECES_DISK as usize + 2, "{size}");
            for (at, length) in places {
                assert!(
                    at.checked_add(length).is_some_and(|end| end <= size),
                    "{size}: {at}"
                );
            }
        }
    }
}
