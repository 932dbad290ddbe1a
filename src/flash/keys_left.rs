//! Finds keys on a stick, also those that an interrupted run left.
//!
//! A partition in a table is recognised by its label. What no table names is recognised by a boot sector with the label, of a
//! filesystem that ends on the stick: landfall's own, or one made by hand. The place of such a partition is recorded in a
//! block in front of the stick's end, so that it is found when the table was lost or another image was written over it.
//!
//! `flash::keys` writes and overwrites what is in the partition.

use super::error::Error;
use super::seeking::Seeking;
use super::source::Sum;
use super::table::{self, KEYS_BYTES, Place, Table};
use super::write::Stick;
use super::{TAIL_BYTES, Watch};
use crate::image::pool::{ALIGNMENT_BYTES, Buffer};
use crate::real::disk::key_media::LABEL;
use crate::real::disk::signature::sniff;
use crate::real::table::gpt;
use sha2::{Digest, Sha256};
use std::io;

/// Bytes that are zeroed at once.
pub(super) const ZERO_BYTES: usize = 1 << 20;

/// The version of the block that says where keys are.
pub const VERSION: u32 = 1;
/// How it begins: then the first byte and the length as 64-bit numbers, least significant byte first, and the SHA-256 of all that.
const MAGIC: [u8; 16] = *b"landfall keys 1\n";
/// Its bytes; the rest of the block is zeros.
const SAID_BYTES: usize = 64;
/// Partitions begin at multiples of this, in bytes.
const GRAIN_BYTES: u64 = 1 << 20;

/// What is on a stick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// Partitions with keys, or what is left of them.
    pub places: Vec<Place>,
    /// Where keys were whose start something else was written over, so that it is not known what is left of them.
    pub buried: Option<Place>,
}

impl Left {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.buried.is_none()
    }

    fn add(&mut self, place: Place) {
        if !self.places.iter().any(|known| known.from == place.from) {
            self.places.push(place);
        }
    }
}

/// The block is the first whole one of those at the end that are wiped with every image.
fn block_at(stick: &Stick<'_>) -> Option<u64> {
    let block = ALIGNMENT_BYTES as u64;
    let length = stick.disk.length();
    let at = length.checked_sub(TAIL_BYTES as u64)?.next_multiple_of(block);
    (at + block <= length).then_some(at)
}

/// The bytes that say where keys are.
pub fn encode(from: u64, length: u64) -> [u8; SAID_BYTES] {
    let mut bytes = [0; SAID_BYTES];
    bytes[..16].copy_from_slice(&MAGIC);
    bytes[16..24].copy_from_slice(&from.to_le_bytes());
    bytes[24..32].copy_from_slice(&length.to_le_bytes());
    let sum: Sum = Sha256::digest(&bytes[..32]).into();
    bytes[32..].copy_from_slice(&sum);
    bytes
}

/// From a block: the first byte and the length; what is not whole, or of another version, says nothing.
pub fn decode(block: &[u8]) -> Option<(u64, u64)> {
    let said = block.get(..SAID_BYTES)?;
    let number = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&said[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let (from, length) = (number(16), number(24));
    (said == encode(from, length)).then_some((from, length))
}

/// Says on the stick, durably, where keys are going to be.
///
/// # Errors
/// The stick reports an error, or does not keep the block.
pub fn tell(stick: &Stick<'_>, place: &Place) -> Result<(), Error> {
    let mut block = Buffer::new(ALIGNMENT_BYTES);
    block.bytes_mut()[..SAID_BYTES].copy_from_slice(&encode(place.from, place.bytes));
    write_block(stick, &block)
}

/// Takes that away again.
///
/// # Errors
/// The stick reports an error, or does not keep the block.
pub fn untell(stick: &Stick<'_>) -> Result<(), Error> {
    let told = told(stick).map_err(|error| stick.failed("read", 0, stick.disk.length(), error))?;
    match told {
        Some(_) => write_block(stick, &Buffer::new(ALIGNMENT_BYTES)),
        None => Ok(()),
    }
}

fn write_block(stick: &Stick<'_>, block: &Buffer) -> Result<(), Error> {
    let Some(at) = block_at(stick) else {
        return Ok(());
    };
    stick
        .disk
        .write_all_at(block.bytes(), at)
        .and_then(|()| stick.disk.flush())
        .map_err(|error| stick.failed("written", at, stick.disk.length(), error))
}

/// What the block says.
fn told(stick: &Stick<'_>) -> io::Result<Option<Place>> {
    let Some(at) = block_at(stick) else {
        return Ok(None);
    };
    let mut block = Buffer::new(ALIGNMENT_BYTES);
    stick.disk.read_exact_at(block.bytes_mut(), at)?;
    let Some((from, bytes)) = decode(block.bytes()) else {
        return Ok(None);
    };
    let place = Place {
        table: Table::None,
        from,
        bytes,
    };
    let end = place.from.checked_add(place.bytes);
    let is_one =
        place.bytes == KEYS_BYTES && place.from >= GRAIN_BYTES && place.from.is_multiple_of(GRAIN_BYTES);
    Ok((is_one && end.is_some_and(|end| end <= at)).then_some(place))
}

/// The bytes of a filesystem with keys that begins here: a boot sector of FAT with the label (Microsoft, FAT: General Overview of On-Disk
/// Format, 1.03).
fn marked(sector: &[u8]) -> Option<u64> {
    let word = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let long = |at: usize| word(at) | word(at + 2) << 16;
    let mut label = [b' '; 11];
    label[..LABEL.len()].copy_from_slice(LABEL.as_bytes());
    let sectors = if word(19) > 0 { word(19) } else { long(32) };
    // FAT12 and FAT16, or FAT32.
    let is_labelled = |at: usize| sector[at..at + 11] == label && sector[at + 11..at + 14] == *b"FAT";
    let bytes = sectors * word(11);
    (sector[510..512] == [0x55, 0xAA] && (is_labelled(43) || is_labelled(71)) && bytes > 0).then_some(bytes)
}

fn marked_at(stick: &Stick<'_>, at: u64, block: &mut Buffer) -> io::Result<Option<u64>> {
    stick.disk.read_exact_at(block.bytes_mut(), at)?;
    Ok(marked(block.bytes()))
}

/// The whole stick as one filesystem with keys, as people make them by hand.
fn whole(stick: &Stick<'_>, block: &mut Buffer) -> io::Result<Option<Place>> {
    let is_one = marked_at(stick, 0, block)?.is_some_and(|bytes| bytes <= stick.disk.length());
    Ok(is_one.then(|| Place {
        table: Table::None,
        from: 0,
        // Also what lies behind it.
        bytes: stick.disk.length(),
    }))
}

/// The partitions with keys that the table on a stick names, by the label, or by being zeros where the block says that one was; and what
/// is found without it. Zeros alone say nothing: images have empty partitions of their own.
///
/// # Errors
/// The stick cannot be read.
pub fn on(stick: &Stick<'_>) -> io::Result<Left> {
    let mut disk = Seeking::new(stick.disk);
    let mut block = Buffer::new(ALIGNMENT_BYTES);
    let found = gpt::read(&mut disk, stick.sector_bytes)?;
    let mut left = Left::default();
    let said = told(stick)?;
    let was_here = |place: &Place| {
        said.as_ref()
            .is_some_and(|said| (said.from, said.bytes) == (place.from, place.bytes))
    };
    for place in table::places(&found, stick.sector_bytes) {
        // What begins where the stick does is the image itself.
        let end = place.from.checked_add(place.bytes);
        if place.from == 0 || end.is_none_or(|end| end > stick.disk.length()) {
            continue;
        }
        let signatures = sniff(&mut disk, place.from, place.bytes)?;
        let is_labelled = signatures
            .iter()
            .any(|s| s.member_of.is_none() && s.label.as_deref() == Some(LABEL));
        let is_ours = place.bytes == KEYS_BYTES && place.from.is_multiple_of(ALIGNMENT_BYTES as u64);
        let is_left = |block: &mut Buffer| -> io::Result<bool> {
            Ok(marked_at(stick, place.from, block)? == Some(KEYS_BYTES)
                || (was_here(&place) && is_zero(stick, &place)?))
        };
        if is_labelled || (is_ours && is_left(&mut block)?) {
            left.add(place);
        }
    }
    if left.is_empty()
        && let Some(place) = whole(stick, &mut block)?
    {
        left.add(place);
    }
    if let Some(place) = said {
        if marked_at(stick, place.from, &mut block)? == Some(KEYS_BYTES) {
            left.add(place);
        } else if !left.places.iter().any(|known| known.from == place.from) && !is_zero(stick, &place)? {
            left.buried = Some(place);
        }
    }
    Ok(left)
}

/// Looks at every place where keys can begin: for sticks of which neither table nor block says anything.
///
/// # Errors
/// The stick cannot be read, or somebody stops it.
pub fn all_over(stick: &Stick<'_>, watch: &dyn Watch) -> Result<Left, Error> {
    let mut left = Left::default();
    let mut block = Buffer::new(ALIGNMENT_BYTES);
    let length = stick.disk.length();
    let mut at = GRAIN_BYTES;
    while at.saturating_add(ALIGNMENT_BYTES as u64) <= length {
        if watch.stops() {
            return Err(Error::StoppedBefore {
                doing: format!("keys were searched for on {}", stick.name),
            });
        }
        let found =
            marked_at(stick, at, &mut block).map_err(|error| stick.failed("read", at, length, error))?;
        if let Some(bytes) = found.filter(|bytes| at.checked_add(*bytes).is_some_and(|end| end <= length)) {
            left.add(Place {
                table: Table::None,
                from: at,
                bytes,
            });
        }
        at += GRAIN_BYTES;
        watch.progress("look for keys", at.min(length), length);
    }
    Ok(left)
}

/// Whether all of a place is zeros.
///
/// # Errors
/// The stick cannot be read there.
pub fn is_zero(stick: &Stick<'_>, place: &Place) -> io::Result<bool> {
    let mut buffer = Buffer::new(ZERO_BYTES);
    let mut at = place.from;
    while at < place.from + place.bytes {
        let length = (place.from + place.bytes - at).min(ZERO_BYTES as u64) as usize;
        let bytes = &mut buffer.bytes_mut()[..length];
        stick.disk.read_exact_at(bytes, at)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fat_with_the_label_is_a_mark() {
        for (megabytes, kind) in [
            (8, fatfs::FatType::Fat12),
            (8, fatfs::FatType::Fat16),
            (64, fatfs::FatType::Fat32),
        ] {
            let mut room = std::io::Cursor::new(vec![0; megabytes << 20]);
            let options = fatfs::FormatVolumeOptions::new()
                .volume_label(*b"LF-KEYS    ")
                .bytes_per_cluster(if kind == fatfs::FatType::Fat12 { 8192 } else { 512 })
                .fat_type(kind);
            fatfs::format_volume(&mut room, options).unwrap();
            let whole = room.into_inner();
            assert_eq!(marked(&whole[..512]), Some((megabytes << 20) as u64), "{kind:?}");
            let at = if kind == fatfs::FatType::Fat32 { 71 } else { 43 };
            // With another label, without its kind, without its end.
            for (at, byte) in [(at, b'X'), (at + 11, b'N'), (511, 0)] {
                let mut other = whole[..512].to_vec();
                other[at] = byte;
                assert_eq!(marked(&other), None, "{at}");
            }
        }
        assert_eq!(marked(&[0; 512]), None);
    }
}
