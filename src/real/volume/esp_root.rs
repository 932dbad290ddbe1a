//! Restores the root directory of the ESP, if it lost its label.
//!
//! A FAT has its label twice: in the boot sector, and as an entry of the root directory, which is written whenever a file is
//! made there. A power cut can destroy the block with this entry, and everything in that block.
//!
//! The boot sector is the commit record. If it has the planned id and label, the FAT is ours, and its root directory is made
//! again, with `EFI` in it. The block of `EFI` is another one, so the slots are where they were. The other entries are
//! written again later. No other FAT is touched, and only FAT32 is supported.
//!
//! `fsck.vfat -a` would remove such a label from the boot sector as well, so this comes first. Offsets are those of
//! Microsoft's FAT specification 1.03.
//!
//! `volume::esp` has the slots.

use crate::real::volume::block_io::{flush, io_fault};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::fault::Fault;
use landfall_states::plan::Volume;
use std::io::{self, Read, Seek, SeekFrom, Write};

const SECTOR: usize = 512;
/// Bytes of an entry of a directory.
const ENTRY: usize = 32;
/// A label, padded with spaces.
const LABEL_BYTES: usize = 11;
/// What is the label of a FAT without one.
const NO_NAME: &[u8; LABEL_BYTES] = b"NO NAME    ";
/// Most clusters of the ESP's root directory that are read; 128 entries fill one.
const CLUSTERS_MAX: usize = 100;
/// From this number on an entry of the FAT is the end of a chain.
const END: u32 = 0x0FFF_FFF8;
/// The highest bits of an entry are not the filesystem's.
const ENTRY_MASK: u32 = 0x0FFF_FFFF;
/// The byte whose bit 0 says that it was not unmounted (`fs/fat/inode.c`, `fat_set_state`).
const STATE_AT: u64 = 0x41;
/// Attributes: a label, a directory, and the four bits that together are a part of a long name.
const IS_LABEL: u8 = 0x08;
/// See [`IS_LABEL`].
const IS_DIRECTORY: u8 = 0x10;
/// See [`IS_LABEL`].
const LONG_NAME: u8 = 0x0F;
/// The bits of the attributes that tell a long name from everything else.
const LONG_NAME_MASK: u8 = 0x3F;
/// Names of directories as they stand in an entry: itself, its parent, and the two above the slots (`slots::DIRECTORY`).
const DOT: &[u8; LABEL_BYTES] = b".          ";
/// See [`DOT`].
const DOTS: &[u8; LABEL_BYTES] = b"..         ";
/// See [`DOT`].
const EFI: &[u8; LABEL_BYTES] = b"EFI        ";
/// See [`DOT`].
const OURS: &[u8; LABEL_BYTES] = b"LANDFALL   ";
/// So many clusters behind the root are looked at for the directory `EFI`.
const NEAR: u32 = 64;
/// A free entry.
const FREE: u8 = 0xE5;

/// What the boot sector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::real) struct Boot {
    serial: u32,
    label: [u8; LABEL_BYTES],
    cluster_bytes: u64,
    fat_at: u64,
    fat_bytes: u64,
    fats: u64,
    data_at: u64,
    clusters: u32,
    root: u32,
}

impl Boot {
    /// None where it is no FAT32, or contradicts itself.
    fn parse(sector: &[u8; SECTOR]) -> Option<Boot> {
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let u32_at =
            |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        let (sector_bytes, cluster_sectors) = (u16_at(0x0B), u64::from(sector[0x0D]));
        let (reserved, fats) = (u16_at(0x0E), u64::from(sector[0x10]));
        let (sectors, fat_sectors, root) = (u64::from(u32_at(0x20)), u64::from(u32_at(0x24)), u32_at(0x2C));
        let is_fat = &sector[0x52..0x5A] == b"FAT32   " && sector[510..] == [0x55, 0xAA];
        if !is_fat || ![512, 1_024, 2_048, 4_096].contains(&sector_bytes) || cluster_sectors == 0 {
            return None;
        }
        if reserved == 0 || !(1..=2).contains(&fats) || fat_sectors == 0 {
            return None;
        }
        let data = sectors.checked_sub(reserved + fats * fat_sectors)?;
        let clusters = u32::try_from(data / cluster_sectors).ok()?.min(END - 2);
        let fat_bytes = fat_sectors * sector_bytes;
        if (u64::from(clusters) + 2) * 4 > fat_bytes || !(2..clusters.checked_add(2)?).contains(&root) {
            return None;
        }
        let mut label = [0; LABEL_BYTES];
        label.copy_from_slice(&sector[0x47..0x47 + LABEL_BYTES]);
        Some(Boot {
            serial: u32_at(0x43),
            label,
            cluster_bytes: cluster_sectors * sector_bytes,
            fat_at: reserved * sector_bytes,
            fat_bytes,
            fats,
            data_at: (reserved + fats * fat_sectors) * sector_bytes,
            clusters,
            root,
        })
    }

    fn read(fat: &mut (impl Read + Seek)) -> io::Result<Option<Boot>> {
        let mut sector = [0; SECTOR];
        fat.seek(SeekFrom::Start(0))?;
        fat.read_exact(&mut sector)?;
        Ok(Boot::parse(&sector))
    }

    fn place(&self, cluster: u32) -> u64 {
        self.data_at + u64::from(cluster - 2) * self.cluster_bytes
    }

    fn entry_at(&self, copy: u64, cluster: u32) -> u64 {
        self.fat_at + copy * self.fat_bytes + u64::from(cluster) * 4
    }

    /// Whether an entry of the root directory is a label, as `blkid` looks for it.
    fn has_label_entry(&self, fat: &mut (impl Read + Seek)) -> io::Result<bool> {
        let mut cluster = self.root;
        for _ in 0..CLUSTERS_MAX {
            let bytes = self.cluster(fat, cluster)?;
            for entry in bytes.chunks_exact(ENTRY) {
                let (first, attributes) = (entry[0], entry[11]);
                if first == 0 {
                    return Ok(false);
                }
                let is_label = attributes & (IS_LABEL | IS_DIRECTORY) == IS_LABEL;
                let has_cluster = entry[20..22] != [0, 0] || entry[26..28] != [0, 0];
                if first != FREE && attributes & LONG_NAME_MASK != LONG_NAME && is_label && !has_cluster {
                    return Ok(true);
                }
            }
            let mut next = [0; 4];
            fat.seek(SeekFrom::Start(self.entry_at(0, cluster)))?;
            fat.read_exact(&mut next)?;
            cluster = u32::from_le_bytes(next) & ENTRY_MASK;
            if !self.is_cluster(cluster) {
                break;
            }
        }
        Ok(false)
    }
}

/// Whether an entry is a directory in that cluster.
fn is_directory(entry: &[u8], name: &[u8; LABEL_BYTES], cluster: Option<u32>) -> bool {
    let attributes = entry[LABEL_BYTES] & LONG_NAME_MASK;
    entry[..LABEL_BYTES] == name[..]
        && attributes & (IS_LABEL | IS_DIRECTORY) == IS_DIRECTORY
        && cluster.is_none_or(|cluster| cluster_of(entry) == cluster)
}

fn cluster_of(entry: &[u8]) -> u32 {
    let half = |at: usize| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
    (half(20) << 16 | half(26)) & ENTRY_MASK
}

impl Boot {
    fn cluster(&self, fat: &mut (impl Read + Seek), cluster: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.cluster_bytes).map_err(io::Error::other)?];
        fat.seek(SeekFrom::Start(self.place(cluster)))?;
        fat.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn is_cluster(&self, cluster: u32) -> bool {
        (2..self.clusters + 2).contains(&cluster)
    }

    /// The cluster of the directory `EFI`, by what it holds: itself, its parent, and landfall's directory, which says the same of
    /// itself. It was the first thing that was made in this filesystem and lies near the root.
    fn find_efi(&self, fat: &mut (impl Read + Seek)) -> io::Result<Option<u32>> {
        let names_itself = |bytes: &[u8], cluster, parent| {
            is_directory(bytes, DOT, Some(cluster)) && is_directory(&bytes[ENTRY..], DOTS, Some(parent))
        };
        for cluster in (self.root + 1..=self.root + NEAR).filter(|cluster| self.is_cluster(*cluster)) {
            let bytes = self.cluster(fat, cluster)?;
            if !names_itself(&bytes, cluster, 0) {
                continue;
            }
            let ours = bytes
                .chunks_exact(ENTRY)
                .find(|entry| is_directory(entry, OURS, None));
            let Some(ours) = ours.map(cluster_of).filter(|ours| self.is_cluster(*ours)) else {
                continue;
            };
            if names_itself(&self.cluster(fat, ours)?, ours, cluster) {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }
}

/// What the boot sector says, where it has a label and the root directory has none.
pub(in crate::real) fn lost(fat: &mut (impl Read + Seek)) -> io::Result<Option<Boot>> {
    let Some(boot) = Boot::read(fat)? else {
        return Ok(None);
    };
    let is_label = &boot.label != NO_NAME && boot.label[0] > b' ';
    Ok(if is_label && !boot.has_label_entry(fat)? {
        Some(boot)
    } else {
        None
    })
}

fn text(label: &[u8; LABEL_BYTES]) -> String {
    String::from_utf8_lossy(label).trim_end().to_owned()
}

fn lost_on(device: &Utf8Path) -> Result<Option<Boot>, Fault> {
    let found = fs::File::open(device).and_then(|mut file| lost(&mut file));
    found.map_err(|e| io_fault(format!("ESP {device}"), &e))
}

fn is_boot_of(boot: &Boot, volume: &Volume) -> bool {
    boot.serial == Volume::fat_serial(&volume.id) && text(&boot.label) == volume.label
}

/// Whether it is this volume that lost its label so.
///
/// # Errors
/// The device cannot be read.
pub fn is_lost(device: &Utf8Path, volume: &Volume) -> Result<bool, Fault> {
    Ok(lost_on(device)?.is_some_and(|boot| is_boot_of(&boot, volume)))
}

/// Whether the boot sector is that of this volume, finished.
///
/// # Errors
/// The device cannot be read.
pub fn is_of(device: &Utf8Path, volume: &Volume) -> Result<bool, Fault> {
    let boot = fs::File::open(device).and_then(|mut file| Boot::read(&mut file));
    let boot = boot.map_err(|e| io_fault(format!("ESP {device}"), &e))?;
    Ok(boot.is_some_and(|boot| is_boot_of(&boot, volume)))
}

/// Puts the label back: into a free entry where the rest of the directory is `readable`; else the directory is made again, with its
/// label and, where it is found, the directory `EFI`, which has the slots, both in one sector. First the filesystem is marked as one to be
/// checked, so that a run behind a cut does that.
///
/// # Errors
/// The device cannot be read or written.
pub fn put_back(device: &Utf8Path, readable: bool) -> Result<(), Fault> {
    let what = || format!("root directory of the ESP {device}");
    let made = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().read(true).write(true).open(device)?;
        put_label(&mut file, readable, |file| file.sync_all())
    };
    made().map_err(|e| io_fault(what(), &e))?;
    flush(device)?;
    match lost_on(device)? {
        None => Ok(()),
        Some(_) => Err(Fault::read_back(
            what(),
            "its label reads back differently from what was written",
        )),
    }
}

/// Where the entry of a directory goes: a free one, or the end, where nothing lies behind it.
fn free_entry(cluster: &[u8]) -> Option<usize> {
    let entries: Vec<u8> = cluster.chunks_exact(ENTRY).map(|entry| entry[0]).collect();
    let end = entries
        .iter()
        .position(|first| *first == 0)
        .unwrap_or(entries.len());
    let free = entries[..end].iter().position(|first| *first == FREE);
    free.or_else(|| (entries.get(end) == Some(&0) && entries.get(end + 1) == Some(&0)).then_some(end))
}

fn put_label<D: Read + Write + Seek>(
    fat: &mut D,
    readable: bool,
    mut flush: impl FnMut(&mut D) -> io::Result<()>,
) -> io::Result<()> {
    let Some(boot) = lost(fat)? else {
        return Ok(());
    };
    let mut state = [0];
    fat.seek(SeekFrom::Start(STATE_AT))?;
    fat.read_exact(&mut state)?;
    fat.seek(SeekFrom::Start(STATE_AT))?;
    fat.write_all(&[state[0] | 1])?;
    let place = boot.place(boot.root);
    let mut cluster = boot.cluster(fat, boot.root)?;
    let free = readable.then(|| free_entry(&cluster)).flatten();
    let mut entries = directory_entry(&boot.label, IS_LABEL, 0).to_vec();
    if free.is_none() {
        if let Some(efi) = boot.find_efi(fat)? {
            entries.extend(directory_entry(EFI, IS_DIRECTORY, efi));
        }
        for copy in 0..boot.fats {
            fat.seek(SeekFrom::Start(boot.entry_at(copy, boot.root)))?;
            fat.write_all(&ENTRY_MASK.to_le_bytes())?;
        }
        cluster.fill(0);
        fat.seek(SeekFrom::Start(place))?;
        fat.write_all(&cluster)?;
    }
    flush(fat)?;
    fat.seek(SeekFrom::Start(place + (free.unwrap_or(0) * ENTRY) as u64))?;
    fat.write_all(&entries)?;
    flush(fat)
}

/// An entry of a directory, of the first day that a FAT knows.
fn directory_entry(name: &[u8; LABEL_BYTES], attributes: u8, cluster: u32) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..LABEL_BYTES].copy_from_slice(name);
    entry[LABEL_BYTES] = attributes;
    let [low, second, third, high] = cluster.to_le_bytes();
    entry[20..22].copy_from_slice(&[third, high]);
    entry[24] = 0x21;
    entry[26..28].copy_from_slice(&[low, second]);
    entry
}
