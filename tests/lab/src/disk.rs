//! Disk images, looked at from the host.
//!
//! Nothing here changes an image that exists; [`create`] refuses to overwrite one. Everything is read from the image's bytes.
//! Machines that use the image should be off, or the answer is only about one moment. Nothing is mounted, and qcow2 is not
//! read: targets are raw and sparse, so that any tool can look at them.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::command::Program;

/// Bytes in a logical sector of every disk here.
pub const SECTOR: u64 = 512;

/// Makes a sparse image of this many bytes; one that exists is an error.
pub fn create(image: &Path, size: u64) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create_new(true).open(image)?;
    file.set_len(size)?;
    Ok(())
}

/// SHA-256 over the content of an image, as hexadecimal digits.
///
/// Holes are not read: what is hashed is the list of (offset, data) of all blocks of 64 KiB that are not zero, and
/// the size. Two images have the same hash exactly when they have the same content, whether zeroes are holes or not.
pub fn sha256(image: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let size = for_each_block(image, |offset, block| {
        digest.update(offset.to_le_bytes());
        digest.update(block);
    })?;
    digest.update(size.to_le_bytes());
    Ok(hex(&digest.finalize()))
}

/// Whether every byte is zero.
pub fn is_blank(image: &Path) -> Result<bool> {
    let mut blank = true;
    for_each_block(image, |_, _| blank = false)?;
    Ok(blank)
}

/// Where `needle`, which is not empty, stands in an image.
pub fn find(image: &Path, needle: &[u8]) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    // The end of the block before, when the next one follows it: a match may lie across both.
    let mut window: Vec<u8> = Vec::new();
    let mut end = 0;
    for_each_block(image, |offset, block| {
        if offset != end {
            window.clear();
        }
        let begin = offset - window.len() as u64;
        window.extend_from_slice(block);
        found.extend(memchr::memmem::find_iter(&window, needle).map(|at| begin + at as u64));
        let keep = (needle.len() - 1).min(window.len());
        window.drain(..window.len() - keep);
        end = offset + block.len() as u64;
    })?;
    Ok(found)
}

/// Calls `visit` with every block of 64 KiB that is not all zero, in order; returns the size of the image.
fn for_each_block(image: &Path, mut visit: impl FnMut(u64, &[u8])) -> Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let mut file = fs::File::open(image)?;
    let size = file.metadata()?.len();
    let mut block = vec![0; BLOCK as usize];
    let mut at = 0;
    while at < size {
        // ENXIO: no data after this point. A filesystem without holes says "here" every time, which is right too.
        let data = match lseek(file.file(), at as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(errno) => return Err(errno).with_context(|| format!("seeking in {}", image.display())),
        };
        at = data / BLOCK * BLOCK;
        let length = BLOCK.min(size - at) as usize;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut block[..length])?;
        if block[..length].iter().any(|&byte| byte != 0) {
            visit(at, &block[..length]);
        }
        at += BLOCK;
    }
    Ok(size)
}

/// `length` bytes from `offset`.
pub fn read_at(image: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
    let file = fs::File::open(image)?;
    let mut bytes = vec![0; length];
    file.file()
        .read_exact_at(&mut bytes, offset)
        .with_context(|| format!("reading {length} bytes at {offset} of {}", image.display()))?;
    Ok(bytes)
}

/// Both copies of the GPT: protective MBR, header and table (the first 34 sectors) and the last 33 sectors.
pub fn gpt_bytes(image: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(image)?.len();
    if size < 67 * SECTOR {
        bail!("{} has {size} bytes, too few for a GPT", image.display());
    }
    let mut bytes = read_at(image, 0, 34 * SECTOR as usize)?;
    bytes.extend(read_at(image, size - 33 * SECTOR, 33 * SECTOR as usize)?);
    Ok(bytes)
}

/// A partition as the image's GPT has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Type GUID, upper case.
    pub kind: String,
    /// Partition GUID, upper case.
    pub guid: String,
    /// Partition name (the label).
    pub name: String,
    /// What `blkid` found in it: TYPE, UUID and LABEL, empty when there is nothing.
    pub content: Content,
}

/// What is in a partition or on a whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// `ext4`, `vfat`, `crypto_LUKS`, `swap`, …
    pub kind: String,
    /// Filesystem or header UUID.
    pub uuid: String,
    /// Filesystem or header label.
    pub label: String,
}

/// The partitions of an image, read from its primary GPT, with what is in them; empty without a GPT.
pub fn partitions(image: &Path) -> Result<Vec<Partition>> {
    let header = read_at(image, SECTOR, SECTOR as usize)?;
    if &header[..8] != b"EFI PART" {
        return Ok(Vec::new());
    }
    let table = u64_at(&header, 72);
    let count = u32_at(&header, 80).min(1024);
    let entry_size = u32_at(&header, 84);
    if !(128..=4096).contains(&entry_size) {
        bail!("the GPT of {} has entries of {entry_size} bytes", image.display());
    }
    let bytes = read_at(image, table * SECTOR, (count * entry_size) as usize)?;
    let mut partitions = Vec::new();
    for (index, entry) in bytes.chunks_exact(entry_size as usize).enumerate() {
        if entry[..16].iter().all(|&byte| byte == 0) {
            continue;
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let units: Vec<u16> = entry[56..128]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let name = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
        let (start, size) = (first * SECTOR, (last + 1).saturating_sub(first) * SECTOR);
        partitions.push(Partition {
            number: index as u32 + 1,
            start,
            size,
            kind: guid(&entry[..16]),
            guid: guid(&entry[16..32]),
            name,
            content: content(image, start, size)?,
        });
    }
    Ok(partitions)
}

/// What `blkid` finds in a part of an image.
pub fn content(image: &Path, start: u64, size: u64) -> Result<Content> {
    let output = Program::new("blkid")
        .args([
            "--probe",
            "--output",
            "export",
            "--offset",
            &start.to_string(),
            "--size",
            &size.to_string(),
        ])
        .arg(image)
        .output()?;
    // 2: nothing found, 8: ambivalent; both are answers.
    if ![0, 2, 8].contains(&output.status) {
        bail!(
            "blkid ended with status {} for {}: {}",
            output.status,
            image.display(),
            output.error_text()
        );
    }
    let text = output.text();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Content {
        kind: field("TYPE"),
        uuid: field("UUID"),
        label: field("LABEL"),
    })
}

/// Everything that gives a disk and its contents their identity, one line each, to be compared before and after.
pub fn identities(image: &Path) -> Result<Vec<String>> {
    let header = read_at(image, SECTOR, SECTOR as usize)?;
    let mut lines = Vec::new();
    if &header[..8] == b"EFI PART" {
        lines.push(format!("disk {}", guid(&header[56..72])));
    }
    for Partition {
        number,
        start,
        size,
        kind,
        guid,
        name,
        content,
    } in partitions(image)?
    {
        let Content {
            kind: found,
            uuid,
            label,
        } = content;
        lines.push(format!(
            "{number} {start}+{size} {kind} {guid} {name:?}: {found} {uuid} {label:?}"
        ));
    }
    Ok(lines)
}

/// A GUID from its mixed-endian bytes (UEFI specification, appendix A).
fn guid(b: &[u8]) -> String {
    format!(
        "{:02X}{:02X}{:02X}{:02X}-{:02X}{:02X}-{:02X}{:02X}-{:02X}{:02X}-{:02X}{:02X}{:02X}{:02X}{:02X}{:02X}",
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]
    )
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// One entry of a write log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry {
    /// First byte on the disk.
    pub start: u64,
    /// Bytes written or discarded.
    pub length: u64,
    /// [`LogEntry::FLUSH`] and its like.
    pub flags: u64,
    /// Where the data of a write stands in the log file.
    pub data: u64,
}

impl LogEntry {
    /// The entry is, or carries, a flush.
    pub const FLUSH: u64 = 1;
    /// A discard: no data follows.
    pub const DISCARD: u64 = 4;

    /// Whether the disk's cache was flushed here.
    pub fn is_flush(&self) -> bool {
        self.flags & Self::FLUSH != 0
    }

    /// Whether bytes were written here.
    pub fn is_write(&self) -> bool {
        self.flags & Self::DISCARD == 0 && self.length > 0
    }
}

/// What a machine did to a disk, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Write requests.
    pub writes: u64,
    /// Bytes of them that lie in the range.
    pub bytes: u64,
    /// Flushes (of the whole disk).
    pub flushes: u64,
    /// Bytes discarded in the range.
    pub discarded: u64,
}

/// Reads a write log as `blklogwrites` makes it (the kernel's dm-log-writes format).
pub fn write_log(log: &Path) -> Result<Vec<LogEntry>> {
    let file = fs::File::open(log)?;
    let size = file.metadata()?.len();
    if size == 0 {
        return Ok(Vec::new());
    }
    let superblock = read_at(log, 0, 64)?;
    if u64_at(&superblock, 0) != 0x006a_7366_7773_6872 {
        bail!(
            "{} is no write log: its first 8 bytes are {}",
            log.display(),
            hex(&superblock[..8])
        );
    }
    let count = u64_at(&superblock, 16);
    let sector = u64::from(u32_at(&superblock, 24));
    let mut entries = Vec::new();
    let mut at = sector;
    let mut head = [0; 32];
    for _ in 0..count {
        if at + sector > size {
            break;
        }
        file.file().read_exact_at(&mut head, at)?;
        let (start, length, flags) = (
            u64_at(&head, 0) * sector,
            u64_at(&head, 8) * sector,
            u64_at(&head, 16),
        );
        at += sector;
        let entry = LogEntry {
            start,
            length,
            flags,
            data: at,
        };
        if flags & LogEntry::DISCARD == 0 {
            at += length;
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// How many entries a write log has by now; 0 when it was not begun.
pub fn logged(log: &Path) -> Result<u64> {
    let file = fs::File::open(log)?;
    if file.metadata()?.len() < 64 {
        return Ok(0);
    }
    let mut count = [0; 8];
    file.file().read_exact_at(&mut count, 16)?;
    Ok(u64::from_le_bytes(count))
}

/// Sums up the entries for the bytes from `start`, `length` long.
pub fn written(entries: &[LogEntry], start: u64, length: u64) -> Written {
    let end = start.saturating_add(length);
    let mut sum = Written::default();
    for entry in entries {
        if entry.is_flush() {
            sum.flushes += 1;
        }
        let inside = entry
            .start
            .saturating_add(entry.length)
            .min(end)
            .saturating_sub(entry.start.max(start));
        if inside == 0 {
            continue;
        }
        if entry.is_write() {
            sum.writes += 1;
            sum.bytes += inside;
        } else if entry.flags & LogEntry::DISCARD != 0 {
            sum.discarded += inside;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_mixed_endian() {
        let esp = [
            0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
        ];
        assert_eq!(guid(&esp), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    }

    #[test]
    fn a_hole_and_zeroes_hash_alike() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("lab-disk-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (hole, zeroes, other) = (folder.join("hole"), folder.join("zeroes"), folder.join("other"));
        create(&hole, 300_000)?;
        fs::write(&zeroes, vec![0; 300_000])?;
        let mut bytes = vec![0; 300_000];
        bytes[299_999] = 1;
        fs::write(&other, bytes)?;
        assert_eq!(sha256(&hole)?, sha256(&zeroes)?);
        assert_ne!(sha256(&hole)?, sha256(&other)?);
        assert!(is_blank(&zeroes)? && !is_blank(&other)?);
        assert!(create(&hole, 1).is_err());
        Ok(fs::remove_dir_all(&folder)?)
    }

    #[test]
    fn a_text_is_found_across_blocks_and_once() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("lab-find-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let image = folder.join("image");
        let mut bytes = vec![0; 400_000];
        for at in [0, 65_533, 131_072, 399_994] {
            bytes[at..at + 6].copy_from_slice(b"canary");
        }
        fs::write(&image, bytes)?;
        assert_eq!(find(&image, b"canary")?, [0, 65_533, 131_072, 399_994]);
        assert!(find(&image, b"canarx")?.is_empty());
        Ok(fs::remove_dir_all(&folder)?)
    }

    #[test]
    fn only_the_range_counts() {
        let write = |start, length| LogEntry {
            start,
            length,
            flags: 0,
            data: 0,
        };
        let flush = LogEntry {
            start: 0,
            length: 0,
            flags: LogEntry::FLUSH,
            data: 0,
        };
        let entries = [write(0, 100), flush, write(150, 100), write(900, 100)];
        let sum = written(&entries, 50, 150);
        assert_eq!(
            sum,
            Written {
                writes: 2,
                bytes: 100,
                flushes: 1,
                discarded: 0
            }
        );
    }
}
