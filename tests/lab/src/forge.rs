//! Forged checkpoint slots: what another program, a newer landfall or a broken disk could have left on the ESP.
//!
//! It shares no code with landfall. The slot's form is written down in `states/checkpoint.rs`. A forged slot has a correct
//! digest unless it is meant to be damaged, so that it is refused by a rule and not by its digest.

use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::disk;

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 4_096;
const MAGIC: &str = "LANDFALL-CHECKPOINT ";
/// The slots are the first files made on the ESP.
const SEARCHED_BYTES: u64 = 32 << 20;

/// Both slots of a disk, the one with the lower sequence number first.
#[derive(Debug, Clone)]
pub struct Pair {
    slots: [Slot; 2],
}

#[derive(Debug, Clone)]
struct Slot {
    /// First byte in the image.
    at: u64,
    sequence: String,
    body: String,
    raw: Vec<u8>,
}

impl Pair {
    /// Reads them from an image, by their magic.
    pub fn read(image: &Path) -> Result<Pair> {
        let esp = disk::partitions(image)?
            .into_iter()
            .find(|partition| partition.number == 1)
            .with_context(|| format!("no first partition on {}", image.display()))?;
        let length = SEARCHED_BYTES.min(esp.size);
        let bytes = disk::read_at(image, esp.start, usize::try_from(length)?)?;
        let mut slots = Vec::new();
        for (index, sector) in bytes.chunks(512).enumerate() {
            let at = index * 512;
            if sector.starts_with(MAGIC.as_bytes())
                && let Some(raw) = bytes.get(at..at + SLOT_BYTES)
            {
                slots.push(Slot::open(esp.start + at as u64, raw)?);
            }
        }
        slots.sort_by(|a, b| a.sequence.cmp(&b.sequence));
        let found = slots.len();
        let Ok(slots) = <[Slot; 2]>::try_from(slots) else {
            bail!("{found} slots on {}, not 2", image.display());
        };
        Ok(Pair { slots })
    }

    /// The newer record's text.
    pub fn newest(&self) -> &str {
        &self.slots[1].body
    }

    /// Writes both again with this change, whole and chained, as the other writer would have.
    pub fn rewrite(&self, image: &Path, version: u32, change: impl Fn(&str) -> String) -> Result<()> {
        let [older, newer] = &self.slots;
        let changed = change(&older.body);
        ensure!(changed != older.body, "the change changes nothing in:\n{changed}");
        let first = seal(version, &older.sequence, &changed)?;
        let parent = format!("parent: Some(\"{}\")", hex(&Sha256::digest(&older.raw)));
        ensure!(newer.body.contains(&parent), "no {parent} in:\n{}", newer.body);
        let new_parent = format!("parent: Some(\"{}\")", hex(&Sha256::digest(&first)));
        let second = seal(
            version,
            &newer.sequence,
            &change(&newer.body).replace(&parent, &new_parent),
        )?;
        write(image, older.at, &first)?;
        write(image, newer.at, &second)
    }

    /// Writes only the newer one again: whole, but not of a piece with the older one.
    pub fn rewrite_newer(&self, image: &Path, change: impl Fn(&str) -> String) -> Result<()> {
        let newer = &self.slots[1];
        let changed = change(&newer.body);
        ensure!(changed != newer.body, "the change changes nothing in:\n{changed}");
        write(image, newer.at, &seal(1, &newer.sequence, &changed)?)
    }

    /// Puts bytes that mean nothing in place of the newer one.
    pub fn garble_newer(&self, image: &Path) -> Result<()> {
        write(image, self.slots[1].at, &garbage())
    }

    /// As a torn write leaves it: the first sector is of one record, the rest of another.
    pub fn tear_both(&self, image: &Path) -> Result<()> {
        let [older, newer] = &self.slots;
        let torn = |head: &Slot, tail: &Slot| [&head.raw[..512], &tail.raw[512..]].concat();
        write(image, older.at, &torn(older, newer))?;
        write(image, newer.at, &torn(newer, older))
    }
}

impl Slot {
    fn open(at: u64, raw: &[u8]) -> Result<Slot> {
        let text = std::str::from_utf8(raw).context("a slot is text")?;
        let (head, rest) = text.split_once('\n').context("a slot has a header line")?;
        let field = |name: &str| {
            head.split(' ')
                .find_map(|word| word.strip_prefix(name))
                .with_context(|| format!("no {name} in {head:?}"))
        };
        let length: usize = field("len=")?.parse()?;
        Ok(Slot {
            at,
            sequence: field("seq=")?.to_owned(),
            body: rest.get(..length).context("the body is cut short")?.to_owned(),
            raw: raw.to_vec(),
        })
    }
}

/// A slot around a body. The digest is over every byte but its own digits.
fn seal(version: u32, sequence: &str, body: &str) -> Result<Vec<u8>> {
    let head = format!("{MAGIC}{version} seq={sequence} len={:06} sha256=", body.len());
    let mut tail = format!("\n{body}").into_bytes();
    let room = SLOT_BYTES - head.len() - 64;
    ensure!(tail.len() <= room, "a body of {} bytes does not fit", body.len());
    tail.resize(room, b'\n');
    let mut digest = Sha256::new();
    digest.update(&head);
    digest.update(&tail);
    Ok([head.as_bytes(), hex(&digest.finalize()).as_bytes(), &tail].concat())
}

/// Bytes without a meaning, the same every time.
fn garbage() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..SLOT_BYTES)
        .map(|_| {
            // xorshift64 (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn write(image: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(image)?;
    file.file()
        .write_all_at(bytes, at)
        .with_context(|| format!("writing a slot of {}", image.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_slot_opens_as_it_was() -> Result<()> {
        let raw = seal(1, "00000000000000000007", "(\n  host: \"web\",\n)")?;
        assert_eq!(raw.len(), SLOT_BYTES);
        let slot = Slot::open(0, &raw)?;
        assert_eq!(slot.body, "(\n  host: \"web\",\n)");
        assert_eq!(seal(1, &slot.sequence, &slot.body)?, raw);
        Ok(())
    }
}
