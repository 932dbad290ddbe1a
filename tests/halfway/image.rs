//! Volumes in one file: what it holds after a death at any call, and after a power cut.
//!
//! Everything up to the last flush is there; of what was written after it, any part, in any order. The calls are those of one
//! recorded run, replayed.
//!
//! A kill is a prefix of the calls, the last write whole or half. A cut keeps of the unflushed writes none, all, each alone,
//! all but each, or a random part, and tears the last one at each of its sectors of 512 and blocks of 4,096 bytes (its ends
//! and its middle).

use crate::calls::{Call, Effect};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

const BLOCK: usize = 4096;
/// The longest piece that is written at once.
const PIECE_MAX: usize = 1 << 20;
/// Unflushed writes of which each alone, and all but each, are tried.
const EACH_MAX: usize = 12;
/// Random parts for each moment.
const SEEDS: u64 = 2;

/// A block, and the digest of it and its place.
type Block = (Rc<[u8; BLOCK]>, [u8; 32]);

/// A file's bytes, without its zeros.
#[derive(Debug, Clone, Default)]
pub struct Image {
    blocks: BTreeMap<u64, Block>,
    /// The digests of all blocks, one upon the other: a block that changes changes it, and nothing else is hashed again.
    sum: [u8; 32],
    length: u64,
}

impl Image {
    /// So many zeros.
    pub fn blank(length: u64) -> Image {
        Image {
            length,
            ..Image::default()
        }
    }

    /// All of its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        // What is not written to takes no memory.
        let mut bytes = vec![0; self.length as usize];
        for (number, (block, _)) in &self.blocks {
            let at = *number as usize * BLOCK;
            let some = (bytes.len() - at).min(BLOCK);
            bytes[at..at + some].copy_from_slice(&block[..some]);
        }
        bytes
    }

    /// What a file holds.
    pub fn read(path: &camino::Utf8Path) -> std::io::Result<Image> {
        let mut file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        let mut image = Image {
            length,
            ..Image::default()
        };
        let mut at = 0;
        while at < length {
            // SAFETY: a number in, a number out.
            let data = unsafe {
                nix::libc::lseek(
                    std::os::fd::AsRawFd::as_raw_fd(file.file()),
                    at as i64,
                    nix::libc::SEEK_DATA,
                )
            };
            let Ok(data) = u64::try_from(data) else { break };
            at = data / BLOCK as u64 * BLOCK as u64;
            let mut block = [0; BLOCK];
            let some = (length - at).min(BLOCK as u64) as usize;
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut block[..some])?;
            image.put(at / BLOCK as u64, block);
            at += BLOCK as u64;
        }
        Ok(image)
    }

    /// Writes it to a new file, sparse.
    pub fn write(&self, path: &camino::Utf8Path) -> std::io::Result<()> {
        let mut file = fs_err::File::create(path)?;
        file.set_len(self.length)?;
        // Blocks that lie side by side are written at once.
        let mut piece: Vec<u8> = vec![];
        let mut next = 0;
        for (number, (block, _)) in &self.blocks {
            if *number != next || piece.len() >= PIECE_MAX {
                file.write_all(&piece)?;
                piece.clear();
                file.seek(SeekFrom::Start(number * BLOCK as u64))?;
            }
            let some = (self.length - number * BLOCK as u64).min(BLOCK as u64) as usize;
            piece.extend_from_slice(&block[..some]);
            next = number + 1;
        }
        file.write_all(&piece)
    }

    fn put(&mut self, number: u64, block: [u8; BLOCK]) {
        let old = if block.iter().all(|byte| *byte == 0) {
            self.blocks.remove(&number)
        } else {
            let mut digest = Sha256::new();
            digest.update(number.to_le_bytes());
            digest.update(block);
            let digest: [u8; 32] = digest.finalize().into();
            self.lay(&digest);
            self.blocks.insert(number, (Rc::new(block), digest))
        };
        if let Some((_, digest)) = old {
            self.lay(&digest);
        }
    }

    /// Lays a digest upon the others, or takes it away again.
    fn lay(&mut self, digest: &[u8; 32]) {
        for (sum, byte) in self.sum.iter_mut().zip(digest) {
            *sum ^= byte;
        }
    }

    /// Overwrites a range.
    pub fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let some = (BLOCK - within).min(bytes.len() - done);
            let mut block = self.blocks.get(&number).map_or([0; BLOCK], |(block, _)| **block);
            block[within..within + some].copy_from_slice(&bytes[done..done + some]);
            self.put(number, block);
            done += some;
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    /// Zeros a range.
    pub fn zero(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.length);
        let touched: Vec<u64> = self
            .blocks
            .range(offset / BLOCK as u64..end.div_ceil(BLOCK as u64))
            .map(|(number, _)| *number)
            .collect();
        for number in touched {
            let start = number * BLOCK as u64;
            let from = offset.saturating_sub(start).min(BLOCK as u64) as usize;
            let to = (end - start).min(BLOCK as u64) as usize;
            let mut block = self.blocks.get(&number).map_or([0; BLOCK], |(block, _)| **block);
            block[from..to].fill(0);
            self.put(number, block);
        }
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Write { offset, bytes } => self.overwrite(*offset, bytes),
            Effect::Zero { offset, length } => self.zero(*offset, *length),
            Effect::Length(length) => {
                let now = self.length;
                if *length < now {
                    self.zero(*length, now - *length);
                }
                self.length = *length;
            }
            Effect::Flush | Effect::Names | Effect::Attachment(_) => {}
        }
    }

    /// What tells it from others.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.length.to_le_bytes());
        digest.update(self.sum);
        digest.finalize().into()
    }
}

/// A state that a death or a cut leaves.
pub struct State<'a> {
    /// The number of the call at which it happens; that of the calls together for the end.
    pub call: usize,
    /// What happened: `kill`, `half`, `cut-none`, `cut-all`, `cut-only`, `cut-but-3`, `cut-torn-512-head`, `cut-seed-1`.
    pub what: String,
    /// What is there.
    pub image: &'a Image,
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Every state, in the order of the calls; one that was there already is given again, and its digest tells. Of calls that are not
/// wanted it is only what a kill leaves; what a cut leaves is worked out where `takes` says so of the call and the cut's name.
pub fn states(
    start: &Image,
    calls: &[Call],
    wanted: impl Fn(usize) -> bool,
    takes: impl Fn(usize, &str) -> bool,
    mut each: impl FnMut(&State<'_>),
) {
    let mut now = start.clone();
    let mut durable = start.clone();
    let mut unflushed: Vec<&Effect> = vec![];
    for (number, call) in calls.iter().enumerate() {
        let mut state = |what: String, image: &Image| {
            each(&State {
                call: number,
                what,
                image,
            });
        };
        state("kill".into(), &now);
        let half = call.effect.half().filter(|_| wanted(number));
        if let (Effect::Write { offset, bytes }, Some(part)) = (&call.effect, half) {
            let mut half = now.clone();
            half.overwrite(*offset, &bytes[..part]);
            state("half".into(), &half);
        }
        if !matches!(call.effect, Effect::Flush | Effect::Names) {
            unflushed.push(&call.effect);
            now.apply(&call.effect);
            if wanted(number) {
                cuts(number, &durable, &unflushed, &now, &takes, &mut state);
            }
        }
        if call.effect == Effect::Flush {
            if wanted(number) {
                state("cut-none".into(), &durable);
            }
            durable = now.clone();
            unflushed.clear();
        }
    }
    for (what, image) in [("kill", &now), ("cut-none", &durable)] {
        each(&State {
            call: calls.len(),
            what: what.into(),
            image,
        });
    }
}

/// The power goes right after the last of the unflushed calls: it may be the only one that reached the disk, the only one that did
/// not, or torn.
fn cuts(
    number: usize,
    durable: &Image,
    unflushed: &[&Effect],
    now: &Image,
    takes: &impl Fn(usize, &str) -> bool,
    state: &mut impl FnMut(String, &Image),
) {
    let Some(last) = unflushed.len().checked_sub(1) else {
        return;
    };
    let kept = |keep: &dyn Fn(usize) -> bool| {
        let mut image = durable.clone();
        for (index, effect) in unflushed.iter().enumerate() {
            if keep(index) {
                image.apply(effect);
            }
        }
        image
    };
    if takes(number, "cut-all") {
        state("cut-all".into(), now);
    }
    let mut part = |what: String, keep: &dyn Fn(usize) -> bool| {
        if takes(number, &what) {
            state(what, &kept(keep));
        }
    };
    part("cut-only".into(), &|index| index == last);
    if unflushed.len() <= EACH_MAX {
        for lost in 0..last {
            part(format!("cut-but-{lost}"), &|index| index != lost);
        }
    }
    for seed in 1..=SEEDS {
        let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64 + 1);
        let mask: Vec<bool> = (0..unflushed.len()).map(|_| random(&mut bits) & 8 != 0).collect();
        part(format!("cut-seed-{seed}"), &|index| mask[index]);
    }
    let Effect::Write { offset, bytes } = unflushed[last] else {
        return;
    };
    let mut places = BTreeSet::new();
    for unit in [512, BLOCK] {
        let units = bytes.len().div_ceil(unit);
        places.extend([1, units / 2, units.saturating_sub(1)].map(|n| n * unit));
    }
    let mut before = None;
    for at in places.into_iter().filter(|at| *at > 0 && *at < bytes.len()) {
        let parts = [
            ("head", *offset, &bytes[..at]),
            ("tail", *offset + at as u64, &bytes[at..]),
        ];
        for (which, offset, bytes) in parts {
            let what = format!("cut-torn-{at}-{which}");
            if takes(number, &what) {
                let mut torn = before.get_or_insert_with(|| kept(&|index| index != last)).clone();
                torn.overwrite(offset, bytes);
                state(what, &torn);
            }
        }
    }
}
