//! The checkpoint slots, read from a disk's image as a stranger would: by their magic. Law: shares no code with landfall,
//! so that a defect there is not repeated here.

use std::path::Path;

use anyhow::{Result, bail};

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
