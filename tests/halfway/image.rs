//! Volumes in one file: what it holds after a death at any call, and after a power cut. Law: everything up to the last flush
//! is there; of what was written after it, any part. The calls are those of one recorded run, replayed.
//!
//! A kill is a prefix of the calls, the last write whole or half. A cut keeps of the unflushed writes none, all, each alone,
//! all but each, or a part by chance, and tears the last one at each of its sectors of 512 and blocks of 4,096 bytes (its
//! ends and its middle).
//!
//! Absent: the order in which one device writes; any order is taken for possible.

use crate::tracer::{Call, Effect};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;

const BLOCK: usize = 4096;
/// Unflushed writes of which each alone, and all but each, are tried.
const EACH_MAX: usize = 12;
/// Random parts for each moment.
const SEEDS: u64 = 2;

type Block = Rc<[u8; BLOCK]>;

/// A file's bytes, without its zeros.
#[derive(Debug, Clone, Default)]
pub struct Image {
    blocks: BTreeMap<u64, Block>,
    length: u64,
}

impl Image {
    /// What a file holds.
    pub fn read(path: &camino::Utf8Path) -> std::io::Result<Image> {
        let mut file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        let mut image = Image {
            blocks: BTreeMap::new(),
            length,
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
        for (number, block) in &self.blocks {
            file.seek(SeekFrom::Start(number * BLOCK as u64))?;
            let some = (self.length - number * BLOCK as u64).min(BLOCK as u64) as usize;
            file.write_all(&block[..some])?;
        }
        Ok(())
    }

    fn put(&mut self, number: u64, block: [u8; BLOCK]) {
        if block.iter().all(|byte| *byte == 0) {
            self.blocks.remove(&number);
        } else {
            self.blocks.insert(number, Rc::new(block));
        }
    }

    /// Overwrites a range.
    pub fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let some = (BLOCK - within).min(bytes.len() - done);
            let mut block = self.blocks.get(&number).map_or([0; BLOCK], |block| **block);
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
            let mut block = self.blocks.get(&number).map_or([0; BLOCK], |block| **block);
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
            Effect::Flush | Effect::Names => {}
        }
    }

    /// What tells it from others.
    pub fn digest(&self) -> [u8; 32] {
        let mut sum = Sha256::new();
        sum.update(self.length.to_le_bytes());
        for (number, block) in &self.blocks {
            sum.update(number.to_le_bytes());
            sum.update(**block);
        }
        sum.finalize().into()
    }
}

/// A state that a death or a cut leaves.
pub struct State {
    /// The number of the call at which it happens; that of the calls together for the end.
    pub call: usize,
    /// What happened: `kill`, `half`, `cut-none`, `cut-all`, `cut-only-3`, `cut-but-3`, `cut-torn-512`, `cut-seed-1`.
    pub what: String,
    /// What is there.
    pub image: Image,
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Every state, in the order of the calls; one that was there already is given again, and its digest tells.
pub fn states(start: &Image, calls: &[Call], mut each: impl FnMut(State)) {
    let mut now = start.clone();
    let mut durable = start.clone();
    let mut unflushed: Vec<&Effect> = vec![];
    for (number, call) in calls.iter().enumerate() {
        let state = |what: &str, image: Image| State {
            call: number,
            what: what.to_owned(),
            image,
        };
        each(state("kill", now.clone()));
        let changes = !matches!(call.effect, Effect::Flush | Effect::Names);
        if let (Effect::Write { offset, bytes }, Some(part)) = (&call.effect, call.effect.half()) {
            let mut half = now.clone();
            half.overwrite(*offset, &bytes[..part]);
            each(state("half", half));
        }
        if changes {
            unflushed.push(&call.effect);
            now.apply(&call.effect);
            // The power goes right after this call: this write may be the only one that reached the disk, the only one that
            // did not, or torn.
            let last = unflushed.len() - 1;
            let kept = |keep: &dyn Fn(usize) -> bool| {
                let mut image = durable.clone();
                for (index, effect) in unflushed.iter().enumerate() {
                    if keep(index) {
                        image.apply(effect);
                    }
                }
                image
            };
            each(state("cut-all", now.clone()));
            each(state("cut-only", kept(&|index| index == last)));
            if unflushed.len() <= EACH_MAX {
                for lost in 0..last {
                    each(state(&format!("cut-but-{lost}"), kept(&|index| index != lost)));
                }
            }
            for seed in 1..=SEEDS {
                let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64 + 1);
                let mask: Vec<bool> = (0..unflushed.len()).map(|_| random(&mut bits) & 8 != 0).collect();
                each(state(&format!("cut-seed-{seed}"), kept(&|index| mask[index])));
            }
            if let Effect::Write { offset, bytes } = &call.effect {
                let mut places = HashSet::new();
                for unit in [512, BLOCK] {
                    let units = bytes.len().div_ceil(unit);
                    places.extend([1, units / 2, units.saturating_sub(1)].map(|n| n * unit));
                }
                let mut places: Vec<usize> = places
                    .into_iter()
                    .filter(|at| *at > 0 && *at < bytes.len())
                    .collect();
                places.sort_unstable();
                for at in places {
                    let mut head = kept(&|index| index != last);
                    let mut tail = head.clone();
                    head.overwrite(*offset, &bytes[..at]);
                    tail.overwrite(*offset + at as u64, &bytes[at..]);
                    each(state(&format!("cut-torn-{at}-head"), head));
                    each(state(&format!("cut-torn-{at}-tail"), tail));
                }
            }
        }
        if call.effect == Effect::Flush {
            each(state("cut-none", durable.clone()));
            durable = now.clone();
            unflushed.clear();
        }
    }
    each(State {
        call: calls.len(),
        what: "kill".into(),
        image: now,
    });
    each(State {
        call: calls.len(),
        what: "cut-none".into(),
        image: durable,
    });
}
