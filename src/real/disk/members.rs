//! Members of something larger (LVM, md, ZFS): what their own metadata say about the whole.
//!
//! Pure readers of bounded bytes. No number in them is used before it is checked. Incomplete metadata give less information,
//! never a guess. Sources: LVM2's `format_text`, the md superblocks of Linux 6.12, and OpenZFS's `vdev_label.c` and
//! `nvpair.c` (XDR).
//!
//! `usage` finds out whether anything uses them.

use landfall_states::names::quoted;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of an LVM metadata area that are read.
const LVM_TEXT_MAX: u64 = 1 << 20;
/// Bytes of one ZFS label.
const ZFS_LABEL_BYTES: u64 = 256 << 10;
/// Most pairs of one ZFS list that are looked at.
const PAIRS_MAX: usize = 256;

const ZFS_UBERBLOCK: u64 = 0x00ba_b10c;
const ZFS_TRAILER: u64 = 0x0210_da7a_b10c_7a11;
/// The magic of md superblocks.
pub const MD_MAGIC: u32 = 0xa92b_4efc;

/// What something larger is called, and what is known of it, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Larger {
    /// Its name; empty when the metadata have none.
    pub name: String,
    /// In words, without an article.
    pub words: String,
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}
fn u64_le(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}
fn u64_be(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

/// Text of foreign origin, cut and without control characters.
pub fn clean(raw: &[u8]) -> String {
    let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
    String::from_utf8_lossy(&raw[..end])
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(128)
        .collect()
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// A device, and a range of it.
struct Range<'a, D> {
    device: &'a mut D,
    from: u64,
    size: u64,
}

impl<D: Read + Seek> Range<'_, D> {
    fn read(&mut self, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let room = self.size.saturating_sub(at).min(bytes);
        let mut buffer = Vec::new();
        self.device.seek(SeekFrom::Start(self.from.saturating_add(at)))?;
        (&mut *self.device).take(room).read_to_end(&mut buffer)?;
        Ok(buffer)
    }
}

/// The volume group that a physical volume belongs to; `None` when it is none, an empty name when it is in no group. `head`:
/// its first sectors.
///
/// # Errors
/// The device reports an error.
pub fn lvm<D: Read + Seek>(device: &mut D, from: u64, size: u64, head: &[u8]) -> io::Result<Option<Larger>> {
    let label = (0..4_usize).map(|sector| sector * 512).find(|at| {
        head.get(*at..at + 8) == Some(b"LABELONE") && head.get(at + 24..at + 32) == Some(b"LVM2 001")
    });
    let Some(label) = label else { return Ok(None) };
    let mut range = Range { device, from, size };
    let mut name = String::new();
    let mut volumes = 0;
    for (at, bytes) in lvm_areas(head, label) {
        let header = range.read(at, 512)?;
        if header.get(4..20) != Some(b" LVM2 x[5A%r0N*>") {
            continue;
        }
        // The first of four places: offset and length of the text within the area, which is a ring.
        let (Some(offset), Some(length)) = (u64_le(&header, 40), u64_le(&header, 48)) else {
            continue;
        };
        if offset < 512 || offset >= bytes || length == 0 || length > LVM_TEXT_MAX {
            continue;
        }
        let straight = length.min(bytes - offset);
        let mut text = range.read(at.saturating_add(offset), straight)?;
        if straight < length {
            text.extend(range.read(at.saturating_add(512), (length - straight).min(bytes))?);
        }
        let found = lvm_text(&String::from_utf8_lossy(&text));
        if let Some((group, count)) = found {
            (name, volumes) = (group, count);
            break;
        }
    }
    let words = if name.is_empty() {
        "LVM physical volume without a volume group".to_owned()
    } else {
        format!("LVM volume group {name}, {}", counted(volumes, "volume"))
    };
    Ok(Some(Larger { name, words }))
}

/// The metadata areas that a label names: place and length.
fn lvm_areas(head: &[u8], label: usize) -> Vec<(u64, u64)> {
    let Some(offset) = u32_le(head, label + 20) else {
        return vec![];
    };
    // Behind the UUID and the device's size: a list of data areas, then one of metadata areas, each ended by zeros.
    let mut at = label.saturating_add(offset as usize).saturating_add(40);
    let mut lists: [Vec<(u64, u64)>; 2] = [vec![], vec![]];
    for list in &mut lists {
        while let (Some(from), Some(bytes)) = (u64_le(head, at), u64_le(head, at + 8)) {
            at += 16;
            if from == 0 || list.len() == 8 {
                break;
            }
            list.push((from, bytes));
        }
    }
    let [_, metadata] = lists;
    metadata
}

/// The name of the volume group and the number of its volumes that people see.
fn lvm_text(text: &str) -> Option<(String, usize)> {
    let name = text.split_once('{')?.0.trim();
    if name.is_empty() || name.len() > 128 || !name.chars().all(|c| c.is_ascii_graphic()) {
        return None;
    }
    let mut depth = 0_i32;
    let (mut section, mut volumes) = (String::new(), 0);
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_suffix('{') {
            depth += 1;
            if depth == 2 {
                title.trim().clone_into(&mut section);
            }
        } else if line == "}" {
            depth -= 1;
        } else if depth == 3
            && section == "logical_volumes"
            && line.starts_with("status")
            && line.contains("\"VISIBLE\"")
        {
            volumes += 1;
        }
    }
    Some((name.to_owned(), volumes))
}

/// The array that an md superblock, as read from its place, belongs to.
pub fn md(superblock: &[u8]) -> Option<Larger> {
    if u32_le(superblock, 0)? != MD_MAGIC {
        return None;
    }
    let (name, level, devices) = match u32_le(superblock, 4)? {
        1 => (
            superblock.get(32..64).map(clean)?,
            u32_le(superblock, 72)?,
            u32_le(superblock, 92)?,
        ),
        0 => (String::new(), u32_le(superblock, 28)?, u32_le(superblock, 40)?),
        _ => return None,
    };
    let level = match level.cast_signed() {
        -1 => "linear".to_owned(),
        -4 => "multipath".to_owned(),
        level => format!("level {level}"),
    };
    let title = if name.is_empty() {
        String::new()
    } else if name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || ":._-".contains(c))
    {
        format!(" {name}")
    } else {
        format!(" {}", quoted(&name))
    };
    let words = format!(
        "Linux RAID{title}, {level}, {}",
        counted(devices as usize, "device")
    );
    Some(Larger { name, words })
}

/// What a device's ZFS labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zfs {
    /// No label can be used; `remains`: something of one is left.
    None {
        /// Uberblocks without a label.
        remains: bool,
    },
    /// A member. `whole`: the first label is among those that can be used.
    Member {
        /// Of what.
        pool: Larger,
        /// Whether nothing has been written over the first label.
        whole: bool,
    },
}

/// Reads the four labels: two at the start, two at the end. A label counts when its list of names and values can be read, names a
/// pool, has its check sum's trailer, and has an uberblock. Uberblocks alone are what a former life left.
///
/// # Errors
/// The device reports an error.
pub fn zfs<D: Read + Seek>(device: &mut D, from: u64, size: u64) -> io::Result<Zfs> {
    let aligned = size & !(ZFS_LABEL_BYTES - 1);
    if aligned < 4 * ZFS_LABEL_BYTES {
        return Ok(Zfs::None { remains: false });
    }
    let places = [
        0,
        ZFS_LABEL_BYTES,
        aligned - 2 * ZFS_LABEL_BYTES,
        aligned - ZFS_LABEL_BYTES,
    ];
    let mut range = Range { device, from, size };
    let mut remains = false;
    let mut found: Vec<(usize, u64, Larger)> = vec![];
    for (index, at) in places.into_iter().enumerate() {
        // 16 KiB for others, the list, then the ring of uberblocks.
        let label = range.read(at, ZFS_LABEL_BYTES)?;
        let (list, ring) = (label.get(16 << 10..128 << 10), label.get(128 << 10..));
        let (Some(list), Some(ring)) = (list, ring) else {
            continue;
        };
        let uberblock = ring
            .chunks_exact(1024)
            .any(|u| u64_le(u, 0) == Some(ZFS_UBERBLOCK) || u64_be(u, 0) == Some(ZFS_UBERBLOCK));
        remains |= uberblock;
        let trailer = list.len() - 40;
        let ended = u64_le(list, trailer) == Some(ZFS_TRAILER) || u64_be(list, trailer) == Some(ZFS_TRAILER);
        if let Some((guid, pool)) = zfs_list(list).filter(|_| uberblock && ended) {
            found.push((index, guid, pool));
        }
    }
    let Some((first, guid, pool)) = found.first().cloned() else {
        return Ok(Zfs::None { remains });
    };
    let others = found.iter().filter(|(_, other, _)| *other == guid).count();
    Ok(Zfs::Member {
        pool,
        whole: first == 0 && others > 1,
    })
}

/// The pool's id, and its name and state in words, from the list in a label.
fn zfs_list(list: &[u8]) -> Option<(u64, Larger)> {
    // Encoding 1 is XDR; then version 0 and its flags.
    if *list.first()? != 1 || u32_be(list, 4)? != 0 {
        return None;
    }
    let (mut version, mut name, mut guid, mut state) = (None, None, None, 0);
    let mut at = 12;
    for _ in 0..PAIRS_MAX {
        let encoded = u32_be(list, at)? as usize;
        if encoded == 0 {
            break;
        }
        let length = u32_be(list, at + 8)? as usize;
        let key = list.get(at + 12..(at + 12).checked_add(length)?)?;
        let value = at + 12 + length.next_multiple_of(4);
        // DATA_TYPE_UINT64 and DATA_TYPE_STRING; behind the type the number of elements.
        match (key, u32_be(list, value)?) {
            (b"version", 8) => version = u64_be(list, value + 8),
            (b"pool_guid", 8) => guid = u64_be(list, value + 8),
            (b"state", 8) => state = u64_be(list, value + 8)?,
            (b"name", 9) => {
                let length = u32_be(list, value + 8)? as usize;
                name = list.get(value + 12..(value + 12).checked_add(length)?).map(clean);
            }
            _ => {}
        }
        at = at.checked_add(encoded)?;
    }
    let name = name.filter(|name| !name.is_empty());
    version.filter(|version| *version > 0)?;
    let name = match (name, state) {
        (Some(name), _) => name,
        // A spare and a cache device have no name of a pool.
        (None, 3 | 4) => String::new(),
        (None, _) => return None,
    };
    let words = match state {
        2 => format!("ZFS pool {name} (destroyed)"),
        3 => "ZFS spare".to_owned(),
        4 => "ZFS cache".to_owned(),
        _ => format!("ZFS pool {name}"),
    };
    Some((guid.unwrap_or_default(), Larger { name, words }))
}

#[cfg(test)]
#[path = "members_tests.rs"]
pub(crate) mod tests;
