//! Disks of which only the sectors that hold something are kept.

#![allow(dead_code, clippy::unwrap_used)] // every test that takes this in uses a part of it

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

const SECTOR: u64 = 512;

/// A disk in memory.
#[derive(Clone)]
pub struct Sparse {
    size: u64,
    sectors: BTreeMap<u64, [u8; SECTOR as usize]>,
    position: u64,
}

impl Sparse {
    /// All zeros.
    pub fn new(size: u64) -> Self {
        Sparse {
            size,
            sectors: BTreeMap::new(),
            position: 0,
        }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same disk, longer or shorter.
    pub fn resize(&mut self, size: u64) {
        self.size = size;
        self.sectors.retain(|at, _| at * SECTOR < size);
    }

    /// The sectors that are not zero, with their places in bytes.
    pub fn sectors(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.sectors
            .iter()
            .map(|(at, bytes)| (at * SECTOR, bytes.as_slice()))
    }

    /// Lays the first `length` bytes of another one over this one, from a place on that is a whole number of sectors.
    pub fn lay(&mut self, at: u64, other: &Sparse, length: u64) {
        assert!(at.is_multiple_of(SECTOR), "not at a sector");
        for (place, bytes) in &other.sectors {
            if place * SECTOR < length && at + place * SECTOR < self.size {
                self.sectors.insert(at / SECTOR + place, *bytes);
            }
        }
    }

    /// Writes.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= self.size, "behind the end");
        let mut done = 0;
        while done < bytes.len() {
            let place = at + done as u64;
            let within = (place % SECTOR) as usize;
            let length = (SECTOR as usize - within).min(bytes.len() - done);
            let sector = self.sectors.entry(place / SECTOR).or_insert([0; SECTOR as usize]);
            sector[within..within + length].copy_from_slice(&bytes[done..done + length]);
            done += length;
        }
    }
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.size.saturating_sub(self.position).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..room];
        buffer.fill(0);
        let (from, to) = (self.position, self.position + room as u64);
        for (at, bytes) in self.sectors.range(from / SECTOR..to.div_ceil(SECTOR)) {
            let (first, last) = ((at * SECTOR).max(from), ((at + 1) * SECTOR).min(to));
            let of_sector = &bytes[(first - at * SECTOR) as usize..(last - at * SECTOR) as usize];
            buffer[(first - from) as usize..(last - from) as usize].copy_from_slice(of_sector);
        }
        self.position = to;
        Ok(room)
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(self.position, bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/disks/contents")
}

/// One of `tests/disks/contents`.
pub fn load(name: &str) -> Sparse {
    let packed = fs_err::read(folder().join(format!("{name}.zst"))).unwrap();
    let bytes = zstd::decode_all(packed.as_slice()).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut disk = Sparse::new(number(0));
    for record in (8..bytes.len()).step_by(8 + SECTOR as usize) {
        let sector = &bytes[record + 8..record + 8 + SECTOR as usize];
        disk.sectors
            .insert(number(record) / SECTOR, sector.try_into().unwrap());
    }
    disk
}

/// All of them, by name.
pub fn all() -> Vec<(String, Sparse)> {
    let mut names: Vec<String> = fs_err::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".zst").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 40, "the fixtures are there");
    names
        .into_iter()
        .map(|name| (name.clone(), load(&name)))
        .collect()
}
