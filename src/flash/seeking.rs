//! Gives readers and writers of partition tables access to a stick at any byte position.
//!
//! Reads come from the stick, and writes go to the stick, in whole blocks; nothing is cached. `write` and `verdict` make large
//! transfers.

use crate::image::disk::Disk;
use crate::image::pool::{ALIGNMENT_BYTES, Buffer};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes that go at once.
const PIECE_BYTES: u64 = 1 << 20;

/// See the module.
pub struct Seeking<'a> {
    disk: &'a dyn Disk,
    at: u64,
    piece: Buffer,
}

impl<'a> Seeking<'a> {
    /// From the first byte on.
    pub fn new(disk: &'a dyn Disk) -> Self {
        Seeking {
            disk,
            at: 0,
            piece: Buffer::new(PIECE_BYTES as usize),
        }
    }

    /// The blocks around some bytes: where they begin, and how many bytes they are. A last block may be shorter.
    fn around(&self, wanted: usize) -> (u64, usize, usize) {
        let block = ALIGNMENT_BYTES as u64;
        let from = self.at / block * block;
        let within = (self.at - from) as usize;
        let end = (self.at + wanted as u64)
            .next_multiple_of(block)
            .min(self.disk.length());
        let length = end.saturating_sub(from).min(PIECE_BYTES) as usize;
        (from, within, length)
    }
}

impl Read for Seeking<'_> {
    #[expect(
        clippy::indexing_slicing,
        reason = "`around` gives no more than a piece has, and `within` is below it"
    )]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (from, within, length) = self.around(buffer.len());
        if length <= within || buffer.is_empty() {
            return Ok(0);
        }
        let piece = &mut self.piece.bytes_mut()[..length];
        self.disk.read_exact_at(piece, from)?;
        let bytes = (length - within).min(buffer.len());
        buffer[..bytes].copy_from_slice(&piece[within..within + bytes]);
        self.at += bytes as u64;
        Ok(bytes)
    }
}

impl Write for Seeking<'_> {
    #[expect(
        clippy::indexing_slicing,
        reason = "`around` gives no more than a piece has, and `within` is below it"
    )]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (from, within, length) = self.around(buffer.len());
        if buffer.is_empty() {
            return Ok(0);
        }
        if length <= within {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = (length - within).min(buffer.len());
        let piece = &mut self.piece.bytes_mut()[..length];
        if bytes < length {
            self.disk.read_exact_at(piece, from)?;
        }
        piece[within..within + bytes].copy_from_slice(&buffer[..bytes]);
        self.disk.write_all_at(piece, from)?;
        self.at += bytes as u64;
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl Seek for Seeking<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.disk.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::disk::FileDisk;
    use camino::Utf8PathBuf;

    #[test]
    fn any_bytes_are_read_and_written_and_none_beside_them() {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().join("stick")).unwrap();
        // Not a multiple of a block: sticks are counted in sectors.
        let size = (3 << 20) + 512_usize;
        let mut expected: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        fs_err::write(&path, &expected).unwrap();
        let disk = FileDisk::open(&path, true).unwrap();
        let mut seeking = Seeking::new(&disk);
        for (at, length) in [
            (0, 512),
            (510, 4),
            (4095, 2),
            (1 << 20, 100_000),
            (size - 700, 700),
            (5, 2_500_000),
        ] {
            let bytes: Vec<u8> = (0..length)
                .map(|n: usize| u8::try_from((n + at) % 13).unwrap())
                .collect();
            seeking.seek(SeekFrom::Start(at as u64)).unwrap();
            seeking.write_all(&bytes).unwrap();
            expected[at..at + length].copy_from_slice(&bytes);
            seeking.seek(SeekFrom::Start(at as u64)).unwrap();
            let mut read = vec![0; length];
            seeking.read_exact(&mut read).unwrap();
            assert!(read == bytes, "{at}");
        }
        assert!(fs_err::read(&path).unwrap() == expected);
        seeking.seek(SeekFrom::End(0)).unwrap();
        assert!(seeking.write_all(b"x").is_err());
        assert_eq!(seeking.read(&mut [0]).unwrap(), 0);
    }
}
