//! What the tests of root images share: a small store, an image of it, a disk in memory that can lose what was not flushed,
//! and a medium that fails.
//!
//! Everything is made from numbers, so that a failure can be repeated.

#![allow(dead_code)] // each test uses its part

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use landfall::event::Reporter;
use landfall::image::bytes::{Bytes, FileBytes};
use landfall::image::disk::Disk;
use landfall::image::open::Opened;
use landfall::image::pack::Packed;
use landfall::real::nix::pack::{Source, build};
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const SYSTEM: &str = "/nix/store/00000000000000000000000000000000-nixos-system-web";
pub const OTHER: &str = "/nix/store/11111111111111111111111111111111-filler";

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Numbers by chance, from a seed (xorshift64*).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Bytes that pack to about half.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut chance = Chance(seed | 1);
    (0..length.div_ceil(8))
        .flat_map(|_| (chance.next() & 0x0F0F_0F0F_0F0F_0F0F).to_le_bytes())
        .take(length)
        .collect()
}

pub fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    (keep, path)
}

/// A store of two paths with files of many sizes, and what `closureInfo` would say of it. `backwards` makes the files in
/// the other order.
pub fn store(root: &Utf8Path, mib: usize, backwards: bool) -> Utf8PathBuf {
    let mut files: Vec<(String, Vec<u8>, u32)> = vec![
        (format!("{SYSTEM}/init"), b"#!/bin/sh\n".to_vec(), 0o555),
        (format!("{SYSTEM}/kernel"), bytes(1, 100_000), 0o444),
        (format!("{SYSTEM}/initrd"), bytes(2, 50_000), 0o444),
        (format!("{SYSTEM}/empty"), vec![], 0o444),
        (format!("{OTHER}/zeros"), vec![0; 300_000], 0o444),
        (format!("{OTHER}/same-1"), vec![7; 5_000], 0o444),
        (format!("{OTHER}/same-2"), vec![7; 5_000], 0o444),
        (format!("{OTHER}/deep/er/file"), vec![1], 0o444),
    ];
    for index in 0..300 {
        files.push((
            format!("{OTHER}/many/{index}"),
            bytes(index, index as usize * 7),
            0o444,
        ));
    }
    for index in 0..mib as u64 {
        files.push((
            format!("{OTHER}/large-{index}"),
            bytes(1_000 + index, 1 << 20),
            0o444,
        ));
    }
    if backwards {
        files.reverse();
    }
    for (name, contents, mode) in &files {
        let path = root.join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
    }
    let link = root.join(SYSTEM.trim_start_matches('/')).join("sw");
    fs_err::os::unix::fs::symlink(OTHER, link).unwrap();
    let info = root.join("info");
    fs::create_dir_all(&info).unwrap();
    fs::write(info.join("store-paths"), format!("{SYSTEM}\n{OTHER}\n")).unwrap();
    fs::write(info.join("registration"), "registration\n").unwrap();
    info
}

pub fn make(root: &Utf8Path, info: &Utf8Path, out: &Utf8Path) -> Packed {
    let source = Source {
        system: SYSTEM.parse().unwrap(),
        store: root.to_owned(),
        closure_info: Some(info.to_owned()),
        add: vec![],
        level: 3,
    };
    let context = CommandContext::new(Reporter::default(), Stop::never());
    block_on(build(&context, &source, out)).unwrap()
}

/// An image of a store of that many MiB and some.
pub fn image(folder: &Utf8Path, mib: usize) -> (Utf8PathBuf, Packed) {
    let root = folder.join("store");
    let info = store(&root, mib, false);
    let out = folder.join("root.image");
    let packed = make(&root, &info, &out);
    (out, packed)
}

pub fn opened(file: &Utf8Path) -> Opened {
    Opened::open(Arc::new(FileBytes::open(file).unwrap())).unwrap()
}

/// A medium in memory, of which reads can be made to fail or to lie.
pub struct Medium {
    pub bytes: Vec<u8>,
    /// Byte at which something is wrong, in reads that reach it.
    pub at: u64,
    /// How many of those reads fail with EIO.
    pub errors: AtomicU32,
    /// How many of those reads give a wrong byte.
    pub lies: AtomicU32,
    /// What it was told will be asked for soon: place and length.
    pub ahead: Mutex<Vec<(u64, u64)>>,
}

impl Medium {
    pub fn new(bytes: Vec<u8>) -> Medium {
        Medium {
            bytes,
            at: u64::MAX,
            errors: AtomicU32::new(0),
            lies: AtomicU32::new(0),
            ahead: Mutex::default(),
        }
    }
}

fn once(count: &AtomicU32) -> bool {
    // One thread at a time reads a place.
    let left = count.load(Ordering::SeqCst) > 0;
    if left {
        count.fetch_sub(1, Ordering::SeqCst);
    }
    left
}

impl Bytes for Medium {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = at as usize;
        let here = self
            .bytes
            .get(from..from + bytes.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let hit = (at..at + bytes.len() as u64).contains(&self.at);
        if hit && once(&self.errors) {
            return Err(io::Error::from_raw_os_error(5));
        }
        bytes.copy_from_slice(here);
        if hit && once(&self.lies) {
            bytes[(self.at - at) as usize] ^= 1;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn ahead(&self, at: u64, bytes: u64) {
        self.ahead.lock().unwrap().push((at, bytes));
    }

    fn forget(&self, _at: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A disk in memory. What was not flushed can be lost, in any part.
pub struct Memory {
    pub state: Mutex<State>,
    length: u64,
    /// Bytes written, of writes that were taken.
    pub written: AtomicU64,
}

#[derive(Default)]
pub struct State {
    pub bytes: Vec<u8>,
    /// What was there before, of every write since the last flush.
    pending: Vec<(u64, Vec<u8>)>,
    /// Writes that are still taken; then the power is off.
    pub fuse: Option<u64>,
    /// Places where every write is spoilt.
    pub bad: Option<u64>,
    /// A place that reads as EIO until it is written, or for ever.
    pub unreadable: Option<(u64, bool)>,
    /// What was discarded: place and length.
    pub discarded: Vec<(u64, u64)>,
    /// Order and length of writes.
    pub log: Vec<(u64, u64)>,
    pub reads: BTreeMap<u64, u64>,
}

impl Memory {
    /// Full of bytes that are nobody's.
    pub fn new(length: u64) -> Memory {
        Memory {
            state: Mutex::new(State {
                bytes: vec![0xA5; length as usize],
                ..State::default()
            }),
            length,
            written: AtomicU64::new(0),
        }
    }

    /// The power is cut: of what was not flushed, each write is kept or lost by chance.
    pub fn cut(&self, chance: &mut Chance) {
        let mut state = self.state.lock().unwrap();
        let pending = std::mem::take(&mut state.pending);
        for (at, before) in pending.into_iter().rev() {
            if chance.below(2) == 0 {
                state.bytes[at as usize..at as usize + before.len()].copy_from_slice(&before);
            }
        }
        state.fuse = None;
    }

    pub fn contents(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    fn change(&self, at: u64, new: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if let Some(fuse) = &mut state.fuse {
            if *fuse == 0 {
                return Err(io::Error::from_raw_os_error(5));
            }
            *fuse -= 1;
        }
        assert_eq!((at % 4096, new.len() % 4096), (0, 0), "whole blocks");
        let range = at as usize..at as usize + new.len();
        let before = state.bytes[range.clone()].to_vec();
        state.pending.push((at, before));
        state.bytes[range.clone()].copy_from_slice(new);
        if let Some(bad) = state.bad.filter(|bad| range.contains(&(*bad as usize))) {
            state.bytes[bad as usize] ^= 0x80;
        }
        if state
            .unreadable
            .is_some_and(|(place, repairs)| repairs && range.contains(&(place as usize)))
        {
            state.unreadable = None;
        }
        state.log.push((at, new.len() as u64));
        self.written.fetch_add(new.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

impl Disk for Memory {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state
            .unreadable
            .is_some_and(|(place, _)| (at..at + bytes.len() as u64).contains(&place))
        {
            return Err(io::Error::from_raw_os_error(5));
        }
        bytes.copy_from_slice(&state.bytes[at as usize..at as usize + bytes.len()]);
        *state.reads.entry(at).or_default() += bytes.len() as u64;
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.change(at, bytes)
    }

    fn zero(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.change(at, &vec![0; bytes as usize])
    }

    fn discard(&self, at: u64, bytes: u64) -> io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        state.bytes[at as usize..(at + bytes) as usize].fill(0x5A);
        state.discarded.push((at, bytes));
        Ok(true)
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.fuse == Some(0) {
            return Err(io::Error::from_raw_os_error(5));
        }
        state.pending.clear();
        Ok(())
    }

    fn length(&self) -> u64 {
        self.length
    }
}
