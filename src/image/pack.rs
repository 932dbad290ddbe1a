//! Makes an image from a filesystem in a file.
//!
//! The result depends only on the bytes of the filesystem and the compression level, not on the number of threads or the holes in the
//! file. The header is written last, so an interrupted build leaves no image.
//!
//! `real::nix::pack` makes the filesystem.

use super::ext4::{Blocks, Superblock, blocks_in_use};
use super::manifest::{Chunk, Extent, FORMAT_VERSION, HEADER_BYTES, Header, Manifest, digest};
use super::pool::Pool;
use super::{BLOCK_BYTES, CHUNK_BYTES_MAX, Error, PACKED_BYTES_MAX, workers};
use landfall_states::names::{Digest, StorePath};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

/// Holes up to this many blocks are carried as zeros: they pack to nothing, and one long write is faster than two.
const GAP_BLOCKS_MAX: u64 = 32;
/// Most blocks of a chunk.
const CHUNK_BLOCKS_MAX: u64 = (CHUNK_BYTES_MAX / BLOCK_BYTES) as u64;

/// What an image says of its contents, beside the filesystem.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The system in it.
    pub system: StorePath,
    /// Bytes of its kernel and initrd.
    pub boot_bytes: u64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Identity of the image.
    pub digest: Digest,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Plain bytes in it.
    pub plain_bytes: u64,
    /// Bytes that are to be zero and are not carried.
    pub zero_bytes: u64,
    /// Chunks.
    pub chunks: u64,
}

/// Packs a filesystem. `told` is called with plain bytes done and to do.
///
/// # Errors
/// The filesystem cannot be read, or the image cannot be written.
pub fn pack(
    filesystem: &File,
    image: &File,
    contents: &Contents,
    level: i32,
    mut told: impl FnMut(u64, u64),
) -> Result<Packed, Error> {
    let mut first = vec![0; BLOCK_BYTES];
    filesystem
        .read_exact_at(&mut first, 0)
        .map_err(Error::io("superblock"))?;
    let superblock = Superblock::decode(&first)?;
    let used = blocks_in_use(filesystem, &superblock)?;
    let (data, zero) = survey(filesystem, &superblock, used)?;
    let plan = cut(&data);
    let total: u64 = data.iter().map(Extent::bytes).sum();
    let mut chunks = Vec::with_capacity(plan.len());
    let mut at = HEADER_BYTES as u64;
    let mut done = 0;
    compress(filesystem, &plan, level, |index, plain_digest, packed| {
        image.write_all_at(packed, at).map_err(Error::io("image"))?;
        let chunk = Chunk {
            at,
            packed_bytes: packed.len() as u64,
            digest: plain_digest,
            extents: plan.get(index).ok_or(Error::Worker)?.clone(),
        };
        at += chunk.packed_bytes;
        done += chunk.plain_bytes();
        chunks.push(chunk);
        told(done, total);
        Ok(())
    })?;
    let manifest = Manifest {
        system: contents.system.clone(),
        filesystem_bytes: superblock.blocks * BLOCK_BYTES as u64,
        boot_bytes: contents.boot_bytes,
        zero,
        chunks,
    };
    let text = manifest.encode();
    // What is written must be what will be read.
    Manifest::decode(&text, at)?;
    image
        .write_all_at(text.as_bytes(), at)
        .map_err(Error::io("image"))?;
    let header = Header {
        manifest_at: at,
        manifest_bytes: text.len() as u64,
        manifest: Digest::of(text.as_bytes()),
    };
    image
        .set_len(header.file_bytes())
        .and_then(|()| image.sync_data())
        .and_then(|()| image.write_all_at(&header.encode(), 0))
        .and_then(|()| image.sync_all())
        .map_err(Error::io("image"))?;
    Ok(Packed {
        digest: header.manifest.clone(),
        file_bytes: header.file_bytes(),
        plain_bytes: manifest.plain_bytes(),
        zero_bytes: manifest.zero_bytes(),
        chunks: manifest.chunks.len() as u64,
    })
}

/// Version of the format that [`pack`] writes.
pub const fn version() -> u32 {
    FORMAT_VERSION
}

/// What is carried, and what must be zero. A block in use that holds nothing but zeros is not carried; small gaps are.
fn survey(
    filesystem: &File,
    superblock: &Superblock,
    used: Blocks,
) -> Result<(Vec<Extent>, Vec<Extent>), Error> {
    let mut zero = used.clone();
    let mut data: Vec<Extent> = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    for run in used.extents() {
        let mut first = run.first;
        while first < run.end() {
            let blocks = (run.end() - first).min(CHUNK_BLOCKS_MAX);
            #[expect(
                clippy::indexing_slicing,
                reason = "`CHUNK_BLOCKS_MAX` blocks are `CHUNK_BYTES_MAX` bytes"
            )]
            let bytes = &mut buffer[..blocks as usize * BLOCK_BYTES];
            read_padded(filesystem, bytes, first * BLOCK_BYTES as u64)?;
            for (index, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    let block = first + index as u64;
                    match data.last_mut() {
                        Some(last) if block - last.end() <= GAP_BLOCKS_MAX => {
                            last.blocks = block + 1 - last.first;
                        }
                        Some(_) | None => data.push(Extent {
                            first: block,
                            blocks: 1,
                        }),
                    }
                }
            }
            first += blocks;
        }
    }
    for extent in &data {
        zero.remove(extent.first, extent.blocks);
    }
    if data.first().is_none_or(|extent| extent.first != 0) || superblock.blocks == 0 {
        return Err(Error::NotExt4("its first block is empty".into()));
    }
    Ok((data, zero.extents()))
}

/// A file may end before the filesystem in it does.
#[expect(
    clippy::indexing_slicing,
    reason = "`read_at` reads no more than there is room for"
)]
fn read_padded(file: &File, bytes: &mut [u8], at: u64) -> Result<(), Error> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("filesystem")(error)),
        }
    }
    bytes[done..].fill(0);
    Ok(())
}

/// Fills chunks, in the order of the disk.
fn cut(data: &[Extent]) -> Vec<Vec<Extent>> {
    let mut chunks: Vec<Vec<Extent>> = Vec::new();
    let mut room = 0;
    for run in data {
        let mut rest = *run;
        while rest.blocks > 0 {
            if room == 0 {
                chunks.push(Vec::new());
                room = CHUNK_BLOCKS_MAX;
            }
            let blocks = rest.blocks.min(room);
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(Extent {
                    first: rest.first,
                    blocks,
                });
            }
            rest.first += blocks;
            rest.blocks -= blocks;
            room -= blocks;
        }
    }
    chunks
}

type Done = (usize, Result<([u8; 32], Vec<u8>), Error>);

/// Compresses on every processor; `take` gets the chunks in order.
fn compress(
    filesystem: &File,
    plan: &[Vec<Extent>],
    level: i32,
    mut take: impl FnMut(usize, [u8; 32], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let workers = workers();
    let next = AtomicUsize::new(0);
    // A ticket for each chunk between its reading and its writing.
    let tickets = Pool::new(2 * workers + 2, 0);
    std::thread::scope(|scope| {
        let (sender, results) = sync_channel::<Done>(2 * workers + 2);
        for _ in 0..workers {
            let (sender, next, tickets) = (sender.clone(), &next, &tickets);
            scope.spawn(move || {
                let mut plain = vec![0; CHUNK_BYTES_MAX];
                loop {
                    // The ticket comes first: whoever holds the next number can always finish.
                    if tickets.take().is_none() {
                        break;
                    }
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(extents) = plan.get(index) else {
                        break;
                    };
                    let packed = compress_one(filesystem, extents, level, &mut plain);
                    if sender.send((index, packed)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let outcome = in_order(plan.len(), &results, &tickets, &mut take);
        // Whoever still waits for a ticket gets one, finds nobody to send to, and ends.
        drop(results);
        for _ in 0..workers {
            tickets.give(super::pool::Buffer::new(0));
        }
        outcome
    })
}

fn in_order(
    chunks: usize,
    results: &std::sync::mpsc::Receiver<Done>,
    tickets: &Pool,
    take: &mut impl FnMut(usize, [u8; 32], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut waiting = BTreeMap::new();
    for index in 0..chunks {
        let (plain_digest, packed) = loop {
            if let Some(packed) = waiting.remove(&index) {
                break packed;
            }
            let (other, packed) = results.recv().map_err(|_| Error::Worker)?;
            waiting.insert(other, packed?);
        };
        take(index, plain_digest, &packed)?;
        tickets.give(super::pool::Buffer::new(0));
    }
    Ok(())
}

#[expect(
    clippy::indexing_slicing,
    reason = "`plain` has `CHUNK_BYTES_MAX` bytes, and no chunk is longer"
)]
fn compress_one(
    filesystem: &File,
    extents: &[Extent],
    level: i32,
    plain: &mut [u8],
) -> Result<([u8; 32], Vec<u8>), Error> {
    let mut end = 0;
    for extent in extents {
        let from = end;
        end += extent.bytes() as usize;
        read_padded(filesystem, &mut plain[from..end], extent.at())?;
    }
    let packed = zstd::bulk::compress(&plain[..end], level).map_err(Error::io("compression"))?;
    if packed.len() > PACKED_BYTES_MAX {
        return Err(Error::Worker);
    }
    Ok((digest(&plain[..end]), packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_full_but_for_the_last() {
        let data = [
            Extent { first: 0, blocks: 3 },
            Extent {
                first: 10,
                blocks: 2 * CHUNK_BLOCKS_MAX,
            },
        ];
        let chunks = cut(&data);
        let sizes: Vec<u64> = chunks.iter().map(|c| c.iter().map(|e| e.blocks).sum()).collect();
        assert_eq!(sizes, [CHUNK_BLOCKS_MAX, CHUNK_BLOCKS_MAX, 3]);
        assert_eq!(chunks[0][1].first, 10);
        assert_eq!(chunks[1][0].first, 10 + CHUNK_BLOCKS_MAX - 3);
    }
}
