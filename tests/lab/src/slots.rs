//! The checkpoint slots, read from a disk's image without knowledge of its layout: by their magic.
//!
//! It shares no code with landfall, so that a defect there is not repeated here.

use std::path::Path;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use crate::disk;

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 4096;
const MAGIC: &[u8] = b"LANDFALL-CHECKPOINT ";
/// The slots are the first files made on the ESP.
const SEARCHED: usize = 32 << 20;

/// Where each slot begins in the image, in order of place, and its bytes.
pub fn find(image: &Path) -> Result<Vec<(u64, Vec<u8>)>> {
    let Some(esp) = disk::partitions(image)?.into_iter().find(|p| p.number == 1) else {
        return Ok(Vec::new());
    };
    let bytes = disk::read_at(image, esp.start, SEARCHED.min(esp.size as usize))?;
    Ok(bytes
        .chunks(512)
        .enumerate()
        .filter(|(_, sector)| sector.starts_with(MAGIC))
        .filter_map(|(index, _)| {
            let at = index * 512;
            bytes
                .get(at..at + SLOT_BYTES)
                .map(|slot| (esp.start + at as u64, slot.to_vec()))
        })
        .collect())
}

/// The sequence number at the head of a slot; none when it holds no checkpoint.
pub fn sequence(head: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(head.strip_prefix(MAGIC)?).into_owned();
    let (_, rest) = text.split_once("seq=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Whether a slot holds a whole checkpoint: its header has the SHA-256 of everything else in it.
pub fn is_whole(slot: &[u8]) -> bool {
    const FIELD: &[u8] = b"sha256=";
    const DIGITS: usize = 64;
    let Some(at) = slot.windows(FIELD.len()).position(|bytes| bytes == FIELD) else {
        return false;
    };
    let from = at + FIELD.len();
    let (Some(digits), Some(rest)) = (slot.get(from..from + DIGITS), slot.get(from + DIGITS..)) else {
        return false;
    };
    let digest = Sha256::new()
        .chain_update(&slot[..from])
        .chain_update(rest)
        .finalize();
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    slot.starts_with(MAGIC) && found.as_bytes() == digits
}

/// What a slot's checkpoint claims, and how far that goes: `Realised Begun`; none when it holds no whole checkpoint.
pub fn claim(slot: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(slot.strip_prefix(MAGIC)?).into_owned();
    let word = |name: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("  {name}: "))?;
        Some(rest.chars().take_while(|c| c.is_ascii_alphabetic()).collect())
    };
    Some(format!("{} {}", word("claim")?, word("mark")?))
}

/// The slot with the highest sequence number, as text without its padding.
pub fn newest(image: &Path) -> Result<String> {
    let mut slots: Vec<String> = find(image)?
        .into_iter()
        .map(|(_, slot)| String::from_utf8_lossy(&slot).trim_end().to_owned())
        .collect();
    // The sequence number is of fixed width, right behind the version.
    slots.sort();
    match slots.pop() {
        Some(slot) => Ok(slot),
        None => bail!("no checkpoint on {}", image.display()),
    }
}

/// Overwrites every slot with line feeds: every checkpoint is lost.
pub fn wipe(image: &Path) -> Result<usize> {
    use std::os::unix::fs::FileExt;
    let slots = find(image)?;
    let file = fs_err::OpenOptions::new().write(true).open(image)?;
    for (at, _) in &slots {
        file.file().write_all_at(&[b'\n'; SLOT_BYTES], *at)?;
    }
    Ok(slots.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_is_not_whole() {
        let head = "LANDFALL-CHECKPOINT 1 seq=00000000000000000007 len=000003 sha256=";
        let mut rest = b"\n(x)".to_vec();
        rest.resize(SLOT_BYTES - head.len() - 64, b'\n');
        let digest = Sha256::new().chain_update(head).chain_update(&rest).finalize();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut slot = [head.as_bytes(), digits.as_bytes(), &rest].concat();
        assert!(is_whole(&slot));
        slot[3000] = b'x';
        assert!(!is_whole(&slot) && !is_whole(b"LANDFALL-CHECKPOINT ") && !is_whole(&[b'\n'; SLOT_BYTES]));
    }
}
