//! What an image needs to know about ext4: which blocks count, and how a superblock gets another id.
//!
//! Pure functions over bytes, or over a file that is read and written at named places. Every number from the filesystem is
//! checked before it is used. Only the features of landfall's own images are supported. Offsets are those of the kernel's
//! Documentation/filesystems/ext4.
//!
//! `mke2fs` and `e2fsck` make and check filesystems.

use super::manifest::Extent;
use super::{BLOCK_BYTES, Error};
use landfall_states::names::quoted;
use std::fs::File;
use std::os::unix::fs::FileExt;
use uuid::Uuid;

/// Where the superblock lies in block 0.
pub const SUPERBLOCK_AT: usize = 1_024;
/// Bytes of a superblock.
pub const SUPERBLOCK_BYTES: usize = 1_024;
/// The time that everything in an image has, in seconds since 1970: the one that Nix gives to its files.
pub const TIME_S: u32 = 1;

/// Bytes of an inode, of the filesystems that landfall makes.
const INODE_BYTES: usize = 256;

const MAGIC: u16 = 0xEF53;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_BIGALLOC: u32 = 0x200;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const GROUP_INODE_UNINIT: u16 = 1;
const GROUP_BLOCK_UNINIT: u16 = 2;

/// Everything of a superblock that is needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Blocks of the filesystem.
    pub blocks: u64,
    blocks_per_group: u64,
    inodes: u64,
    inodes_per_group: u64,
    inode_bytes: usize,
    descriptor_bytes: usize,
    reserved_descriptor_blocks: u64,
    checksum_seed: u32,
    /// Its UUID.
    pub id: Uuid,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// CRC-32C without a final inversion, as ext4 chains it.
#[expect(clippy::indexing_slicing, reason = "a byte is below the 256 of the table")]
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0x82F6_3B78 & (value & 1).wrapping_neg());
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    bytes
        .iter()
        .fold(crc, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

impl Superblock {
    /// Reads block 0.
    ///
    /// # Errors
    /// It is no superblock of an ext4 that landfall makes.
    pub fn decode(block: &[u8]) -> Result<Superblock, Error> {
        let bad = |why: String| Error::NotExt4(why);
        let sb = superblock_of(block).ok_or_else(|| bad("it has no superblock".into()))?;
        if u16_at(sb, 0x38) != MAGIC {
            return Err(bad("it has no ext4 superblock".into()));
        }
        if !has_checksum(sb) {
            return Err(bad("the checksum of its superblock does not match".into()));
        }
        let (compat, incompat, ro_compat) = (u32_at(sb, 0x5C), u32_at(sb, 0x60), u32_at(sb, 0x64));
        let wanted = incompat & INCOMPAT_64BIT != 0
            && incompat & INCOMPAT_CSUM_SEED != 0
            && ro_compat & RO_COMPAT_SPARSE_SUPER != 0
            && ro_compat & RO_COMPAT_METADATA_CSUM != 0;
        let unwanted = compat & COMPAT_SPARSE_SUPER2 != 0
            || incompat & INCOMPAT_META_BG != 0
            || ro_compat & RO_COMPAT_BIGALLOC != 0;
        if !wanted || unwanted || u32_at(sb, 0x18) != 2 {
            return Err(bad(format!(
                "its features are {compat:x} {incompat:x} {ro_compat:x}, its block size is 1024 << {}",
                u32_at(sb, 0x18)
            )));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&sb[0x68..0x78]);
        let superblock = Superblock {
            blocks: u64::from(u32_at(sb, 0x4)) | u64::from(u32_at(sb, 0x150)) << 32,
            blocks_per_group: u64::from(u32_at(sb, 0x20)),
            inodes: u64::from(u32_at(sb, 0x0)),
            inodes_per_group: u64::from(u32_at(sb, 0x28)),
            inode_bytes: usize::from(u16_at(sb, 0x58)),
            descriptor_bytes: usize::from(u16_at(sb, 0xFE)),
            reserved_descriptor_blocks: u64::from(u16_at(sb, 0xCE)),
            checksum_seed: u32_at(sb, 0x270),
            id: Uuid::from_bytes(id),
        };
        let Superblock {
            blocks,
            blocks_per_group,
            inodes_per_group,
            ..
        } = superblock;
        let sane = blocks > 0
            && blocks < 1 << 40
            && blocks_per_group == 8 * BLOCK_BYTES as u64
            && (1..=8 * BLOCK_BYTES as u64).contains(&inodes_per_group)
            && superblock.inode_bytes == INODE_BYTES
            && superblock.descriptor_bytes == 64;
        if !sane {
            return Err(bad(format!(
                "its geometry is {blocks} blocks, {blocks_per_group} blocks and {inodes_per_group} inodes in a group, inodes of {} \
                 and descriptors of {} bytes",
                superblock.inode_bytes, superblock.descriptor_bytes
            )));
        }
        Ok(superblock)
    }

    fn groups(&self) -> u64 {
        self.blocks.div_ceil(self.blocks_per_group)
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups() * self.descriptor_bytes as u64).div_ceil(BLOCK_BYTES as u64)
    }

    fn inode_table_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode_bytes as u64).div_ceil(BLOCK_BYTES as u64)
    }
}

fn superblock_of(block: &[u8]) -> Option<&[u8; SUPERBLOCK_BYTES]> {
    block.get(SUPERBLOCK_AT..)?.first_chunk()
}

fn has_checksum(sb: &[u8; SUPERBLOCK_BYTES]) -> bool {
    crc32c(!0, &sb[..0x3FC]) == u32_at(sb, 0x3FC)
}

/// Whether block 0 has an ext4 superblock with the right checksum, whatever its features are.
pub fn is_whole(block: &[u8]) -> bool {
    superblock_of(block).is_some_and(|sb| u16_at(sb, 0x38) == MAGIC && has_checksum(sb))
}

/// Whether block 0 has a superblock by which the filesystem is clean, and nobody met an error in it.
pub fn is_sound(block: &[u8]) -> bool {
    /// `s_state`, and its bits: unmounted or replayed; an error was met.
    const STATE: usize = 0x3A;
    const VALID: u16 = 1;
    const ERROR: u16 = 2;
    superblock_of(block).is_some_and(|sb| u16_at(sb, STATE) & (VALID | ERROR) == VALID)
}

/// Whether block 0 has a superblock that was being given another id when whoever did it died: the id is the new one, in part
/// or whole, and the checksum is still the one that it had with the old id. `tune2fs` writes them one after the other.
pub fn is_between_ids(block: &[u8], old: &Uuid) -> bool {
    let Some(sb) = superblock_of(block) else {
        return false;
    };
    let (mut sb, checksum) = (*sb, u32_at(sb, 0x3FC));
    if crc32c(!0, &sb[..0x3FC]) == checksum {
        return false;
    }
    sb[0x68..0x78].copy_from_slice(old.as_bytes());
    crc32c(!0, &sb[..0x3FC]) == checksum
}

/// Gives block 0 another id and label; nothing else of the filesystem depends on them (`metadata_csum_seed`).
///
/// # Errors
/// The block has no superblock of an ext4 that landfall makes, or the label is too long.
pub fn stamp(block: &mut [u8], id: &Uuid, label: &str) -> Result<(), Error> {
    Superblock::decode(block)?;
    let sb: &mut [u8; SUPERBLOCK_BYTES] = block
        .get_mut(SUPERBLOCK_AT..)
        .and_then(|rest| rest.first_chunk_mut())
        .ok_or_else(|| Error::NotExt4("it has no superblock".into()))?;
    sb[0x68..0x78].copy_from_slice(id.as_bytes());
    let name = &mut sb[0x78..0x88];
    name.fill(0);
    name.get_mut(..label.len())
        .ok_or_else(|| Error::NotExt4(format!("the label {} is longer than 16 bytes", quoted(label))))?
        .copy_from_slice(label.as_bytes());
    let checksum = crc32c(!0, &sb[..0x3FC]);
    sb[0x3FC..].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// One group's descriptor.
struct Group {
    block_bitmap: u64,
    inode_bitmap: u64,
    inode_table: u64,
    flags: u16,
    inodes_unused: u64,
}

fn groups(file: &File, superblock: &Superblock) -> Result<Vec<Group>, Error> {
    let mut table = vec![0; superblock.descriptor_blocks() as usize * BLOCK_BYTES];
    file.read_exact_at(&mut table, BLOCK_BYTES as u64)
        .map_err(Error::io("group descriptors"))?;
    let wide =
        |d: &[u8], low: usize, high: usize| u64::from(u32_at(d, low)) | u64::from(u32_at(d, high)) << 32;
    let groups: Vec<Group> = table
        .chunks_exact(superblock.descriptor_bytes)
        .take(superblock.groups() as usize)
        .map(|d| Group {
            block_bitmap: wide(d, 0x0, 0x20),
            inode_bitmap: wide(d, 0x4, 0x24),
            inode_table: wide(d, 0x8, 0x28),
            flags: u16_at(d, 0x12),
            inodes_unused: u64::from(u16_at(d, 0x1C)) | u64::from(u16_at(d, 0x32)) << 16,
        })
        .collect();
    let inside = |first: u64, blocks: u64| {
        first > 0
            && first
                .checked_add(blocks)
                .is_some_and(|end| end <= superblock.blocks)
    };
    for (number, group) in groups.iter().enumerate() {
        let right = inside(group.block_bitmap, 1)
            && inside(group.inode_bitmap, 1)
            && inside(group.inode_table, superblock.inode_table_blocks())
            && group.inodes_unused <= superblock.inodes_per_group;
        if !right {
            return Err(Error::NotExt4(format!("group {number} points outside it")));
        }
    }
    Ok(groups)
}

/// A set of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    words: Vec<u64>,
    blocks: u64,
}

impl Blocks {
    fn new(blocks: u64) -> Blocks {
        Blocks {
            words: vec![0; blocks.div_ceil(64) as usize],
            blocks,
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "`words` has a bit for every block below `blocks`"
    )]
    fn add(&mut self, first: u64, blocks: u64) {
        for block in first..(first + blocks).min(self.blocks) {
            self.words[(block / 64) as usize] |= 1 << (block % 64);
        }
    }

    /// Takes blocks out.
    #[expect(
        clippy::indexing_slicing,
        reason = "`words` has a bit for every block below `blocks`"
    )]
    pub fn remove(&mut self, first: u64, blocks: u64) {
        for block in first..(first + blocks).min(self.blocks) {
            self.words[(block / 64) as usize] &= !(1 << (block % 64));
        }
    }

    /// Whether a block is in it.
    pub fn has(&self, block: u64) -> bool {
        let word = self.words.get((block / 64) as usize);
        block < self.blocks && word.is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// The set as runs, ascending.
    pub fn extents(&self) -> Vec<Extent> {
        let mut runs: Vec<Extent> = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let first = index as u64 * 64 + u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                match runs.last_mut() {
                    Some(run) if run.end() == first => run.blocks += 1,
                    Some(_) | None => runs.push(Extent { first, blocks: 1 }),
                }
            }
        }
        runs
    }
}

/// Whether a group has a copy of the superblock: 0, 1 and powers of 3, 5 and 7.
fn has_superblock(group: u64) -> bool {
    let power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || power_of(3) || power_of(5) || power_of(7)
}

/// The blocks that hold a copy of the superblock, in a filesystem of so many blocks, without the first one.
pub fn copies(blocks: u64) -> impl Iterator<Item = u64> {
    const GROUP_BLOCKS: u64 = 8 * BLOCK_BYTES as u64;
    (1..blocks.div_ceil(GROUP_BLOCKS))
        .filter(|group| has_superblock(*group))
        .map(|group| group * GROUP_BLOCKS)
}

/// Blocks that mean something: those in use by the bitmaps, and all metadata. What is in the others does not count.
///
/// # Errors
/// The filesystem cannot be read, or contradicts itself.
pub fn blocks_in_use(file: &File, superblock: &Superblock) -> Result<Blocks, Error> {
    let mut used = Blocks::new(superblock.blocks);
    used.add(0, 1);
    let mut bitmap = vec![0; BLOCK_BYTES];
    for (number, group) in groups(file, superblock)?.iter().enumerate() {
        let first = number as u64 * superblock.blocks_per_group;
        if has_superblock(number as u64) {
            used.add(
                first,
                1 + superblock.descriptor_blocks() + superblock.reserved_descriptor_blocks,
            );
        }
        used.add(group.block_bitmap, 1);
        used.add(group.inode_bitmap, 1);
        used.add(group.inode_table, superblock.inode_table_blocks());
        // The bitmap of such a group was never written: it is all metadata, which is named above, and free blocks.
        if group.flags & GROUP_BLOCK_UNINIT != 0 {
            continue;
        }
        file.read_exact_at(&mut bitmap, group.block_bitmap * BLOCK_BYTES as u64)
            .map_err(Error::io(format!("block bitmap of group {number}")))?;
        let here = superblock.blocks_per_group.min(superblock.blocks - first);
        let is_used = |block: &u64| {
            let bits = bitmap.get((block / 8) as usize);
            bits.is_some_and(|bits| bits >> (block % 8) & 1 == 1)
        };
        for block in (0..here).filter(is_used) {
            used.add(first + block, 1);
        }
    }
    Ok(used)
}

/// Makes every file belong to root and gives it the one time, so that who made the filesystem and when leaves no trace.
/// `mke2fs -d` takes both over from the files that it reads, access times included. Returns how many inodes were changed.
///
/// # Errors
/// The filesystem cannot be read or written, or contradicts itself.
pub fn normalise(file: &File, superblock: &Superblock) -> Result<u64, Error> {
    let mut changed = 0;
    let mut table = vec![0; superblock.inode_table_blocks() as usize * BLOCK_BYTES];
    for (number, group) in groups(file, superblock)?.iter().enumerate() {
        if group.flags & GROUP_INODE_UNINIT != 0 {
            continue;
        }
        let used = (superblock.inodes_per_group - group.inodes_unused) as usize;
        let at = group.inode_table * BLOCK_BYTES as u64;
        let here = table
            .get_mut(..used * INODE_BYTES)
            .ok_or_else(|| Error::NotExt4(format!("group {number} has too many inodes")))?;
        file.read_exact_at(here, at)
            .map_err(Error::io(format!("inode table of group {number}")))?;
        let mut touched = false;
        for (index, inode) in here.as_chunks_mut().0.iter_mut().enumerate() {
            let inode_number = number as u64 * superblock.inodes_per_group + index as u64 + 1;
            if inode_number <= superblock.inodes
                && normalise_inode(inode, inode_number, superblock.checksum_seed)
            {
                touched = true;
                changed += 1;
            }
        }
        if touched {
            file.write_all_at(here, at)
                .map_err(Error::io(format!("inode table of group {number}")))?;
        }
    }
    Ok(changed)
}

/// Whether it was changed.
#[expect(
    clippy::indexing_slicing,
    reason = "every offset is a constant, and ends inside an inode"
)]
fn normalise_inode(inode: &mut [u8; INODE_BYTES], number: u64, seed: u32) -> bool {
    const TIMES: [usize; 4] = [0x08, 0x0C, 0x10, 0x90];
    // Two bits of the epoch and the nanoseconds.
    const EXTRA: [usize; 4] = [0x84, 0x88, 0x8C, 0x94];
    // The halves of the checksum.
    const LOW: usize = 0x7C;
    const HIGH: usize = 0x82;
    if u16_at(inode, 0x0) == 0 {
        return false;
    }
    let before = *inode;
    for at in TIMES {
        inode[at..at + 4].copy_from_slice(&TIME_S.to_le_bytes());
    }
    for at in EXTRA {
        inode[at..at + 4].fill(0);
    }
    // Owner and group, low and high halves.
    for at in [0x02, 0x18, 0x78, 0x7A] {
        inode[at..at + 2].fill(0);
    }
    if before == *inode {
        return false;
    }
    inode[LOW..LOW + 2].fill(0);
    inode[HIGH..HIGH + 2].fill(0);
    // Inode numbers are 32 bits wide.
    let checksum = crc32c(seed, &(number as u32).to_le_bytes());
    let checksum = crc32c(crc32c(checksum, &inode[0x64..0x68]), inode).to_le_bytes();
    inode[LOW..LOW + 2].copy_from_slice(&checksum[..2]);
    inode[HIGH..HIGH + 2].copy_from_slice(&checksum[2..]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli() {
        // RFC 3720, appendix B.4, with the final inversion that ext4 leaves out.
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
    }

    #[test]
    fn copies_of_the_superblock_are_where_sparse_super_says() {
        let with: Vec<u64> = (0..130).filter(|g| has_superblock(*g)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn sets_of_blocks_become_runs() {
        let mut blocks = Blocks::new(200);
        blocks.add(0, 1);
        blocks.add(62, 4);
        blocks.add(198, 9);
        blocks.remove(64, 1);
        let runs: Vec<(u64, u64)> = blocks.extents().iter().map(|e| (e.first, e.blocks)).collect();
        assert_eq!(runs, [(0, 1), (62, 2), (65, 1), (198, 2)]);
        assert!(blocks.has(63) && !blocks.has(64) && !blocks.has(200));
    }

    #[test]
    fn what_is_no_ext4_is_refused() {
        for block in [vec![0; 4096], vec![0xFF; 4096], vec![0; 10]] {
            assert!(matches!(Superblock::decode(&block), Err(Error::NotExt4(_))));
        }
    }
}
