//! Disks of which only the sectors that hold something are kept.

#![allow(dead_code, clippy::unwrap_used)] // every test that takes this in uses a part of it

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
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

    /// Writes.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let at = at + index as u64;
            assert!(at < self.size, "behind the end");
            let sector = self.sectors.entry(at / SECTOR).or_insert([0; SECTOR as usize]);
            sector[(at % SECTOR) as usize] = *byte;
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
            for (index, byte) in bytes.iter().enumerate() {
                let place = at * SECTOR + index as u64;
                if (from..to).contains(&place) {
                    buffer[(place - from) as usize] = *byte;
                }
            }
        }
        self.position = to;
        Ok(room)
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
