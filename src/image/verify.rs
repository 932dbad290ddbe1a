//! Verifies by reading: that a device holds an image, and that an image file is undamaged.
//!
//! Everything is read, from the device itself. A part that differs or cannot be read is named, written again once from the image, and
//! read again, because a power cut can leave a sector that is unreadable until it is written. If it still differs, the disk is bad;
//! if the image cannot deliver the part, the medium with the image is bad.
//!
//! The caller decides what follows.

use super::disk::{Disk, fits};
use super::flusher::flush;
use super::manifest::{Chunk, Extent, digest};
use super::open::Opened;
use super::pool::Buffer;
use super::write::{Stamp, is_unreadable, read_extents, write_extents, zero_extent};
use super::{CHUNK_BYTES_MAX, Error, PACKED_BYTES_MAX};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads that read a target back, each a chunk at a time: more than processors, since most of them wait for the disk. Measured on two
/// processors, 6.6 GiB: two of them take 3.7 s, four 3.1 s, eight 2.4 s.
const READERS: usize = 8;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Bytes read back.
    pub read_bytes: u64,
    /// Parts that differed and were written again.
    pub repaired: Vec<String>,
    /// Bytes written for it.
    pub written_bytes: u64,
}

/// Reads everything back and compares; repairs what differs when `repair` says so, and else names it as an error.
///
/// # Errors
/// The device or the image reports an error, the device keeps other bytes than were written, or somebody stops it.
pub fn verify(
    image: &Opened,
    disk: &dyn Disk,
    stamp: Option<&Stamp>,
    repair: bool,
    stop: &(dyn Fn() -> bool + Sync),
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<Verified, Error> {
    fits(disk, image.manifest.filesystem_bytes)?;
    let parts = Parts::of(image);
    let total = image.manifest.plain_bytes() + image.manifest.zero_bytes();
    let done = AtomicU64::new(0);
    let bad = each(READERS, parts.len(), stop, |index, buffers| {
        let (equal, bytes) = match parts.equals(index, image, disk, stamp, buffers) {
            Err(error) if is_unreadable(&error) => (false, parts.bytes(index, image)),
            other => other?,
        };
        told(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        Ok(equal)
    })?;
    let mut verified = Verified {
        read_bytes: total,
        ..Verified::default()
    };
    let mut buffers = Buffers::new()?;
    for index in bad {
        let part = parts.name(index, image);
        if repair {
            verified.written_bytes += parts.write(index, image, disk, stamp, &mut buffers)?;
            flush(disk)?;
        }
        let (equal, bytes) = match parts.equals(index, image, disk, stamp, &mut buffers) {
            Err(Error::Target { error, .. }) => return Err(Error::TargetRead { part, error }),
            other => other?,
        };
        verified.read_bytes += bytes;
        if !repair {
            return Err(Error::Differs { part });
        }
        if !equal {
            return Err(Error::TargetBytes { part });
        }
        verified.repaired.push(part);
    }
    Ok(verified)
}

/// Whether the device holds the first chunk, which has the superblock: what was mounted, grown or given another id does not.
///
/// # Errors
/// The device or the image reports an error.
pub fn begins(image: &Opened, disk: &dyn Disk) -> Result<bool, Error> {
    fits(disk, image.manifest.filesystem_bytes)?;
    let (equal, _) = Parts::of(image).equals(0, image, disk, None, &mut Buffers::new()?)?;
    Ok(equal)
}

/// Reads every chunk of an image file and checks its digest.
///
/// # Errors
/// The image reports an error or gives wrong bytes, or somebody stops it.
pub fn check(
    image: &Opened,
    stop: &(dyn Fn() -> bool + Sync),
    told: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), Error> {
    let total = image.manifest.plain_bytes();
    let done = AtomicU64::new(0);
    each(
        image.threads,
        image.manifest.chunks.len(),
        stop,
        |index, buffers| {
            let bytes = buffers.load(image, index)? as u64;
            told(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
            Ok(true)
        },
    )
    .map(drop)
}

/// What a thread works with. Its size is fixed.
struct Buffers {
    unpacker: zstd::bulk::Decompressor<'static>,
    packed: Buffer,
    plain: Buffer,
    there: Buffer,
}

impl Buffers {
    fn new() -> Result<Buffers, Error> {
        Ok(Buffers {
            unpacker: zstd::bulk::Decompressor::new().map_err(Error::io("unpacking"))?,
            // Filled only by whoever reads the image; memory that is not touched is not there.
            packed: Buffer::new(PACKED_BYTES_MAX),
            plain: Buffer::new(CHUNK_BYTES_MAX),
            there: Buffer::new(CHUNK_BYTES_MAX),
        })
    }

    /// Brings the plain bytes of a chunk from the image.
    fn load(&mut self, image: &Opened, index: usize) -> Result<usize, Error> {
        image.read_packed(index, self.packed.bytes_mut())?;
        image.unpack(
            index,
            &mut self.unpacker,
            self.packed.bytes_mut(),
            self.plain.bytes_mut(),
        )
    }
}

/// Chunks, then pieces of what is to be zero.
struct Parts {
    chunks: usize,
    zero: Vec<Extent>,
}

impl Parts {
    fn of(image: &Opened) -> Parts {
        let piece = (CHUNK_BYTES_MAX / super::BLOCK_BYTES) as u64;
        let mut zero = Vec::new();
        for run in &image.manifest.zero {
            let mut first = run.first;
            while first < run.end() {
                let blocks = (run.end() - first).min(piece);
                zero.push(Extent { first, blocks });
                first += blocks;
            }
        }
        Parts {
            chunks: image.manifest.chunks.len(),
            zero,
        }
    }

    fn len(&self) -> usize {
        self.chunks + self.zero.len()
    }

    fn zero_of(&self, index: usize) -> Option<&Extent> {
        self.zero.get(index.checked_sub(self.chunks)?)
    }

    fn bytes(&self, index: usize, image: &Opened) -> u64 {
        match self.zero_of(index) {
            None => image.manifest.chunks.get(index).map_or(0, Chunk::plain_bytes),
            Some(extent) => extent.bytes(),
        }
    }

    fn name(&self, index: usize, image: &Opened) -> String {
        match self.zero_of(index) {
            None => image.part(index),
            Some(extent) => format!(
                "the {} zero bytes at byte {} of the target",
                extent.bytes(),
                extent.at()
            ),
        }
    }

    /// Whether the device has it, and how many bytes were read.
    #[expect(
        clippy::indexing_slicing,
        reason = "no chunk and no piece of `zero` is longer than `CHUNK_BYTES_MAX`, as the buffers are"
    )]
    fn equals(
        &self,
        index: usize,
        image: &Opened,
        disk: &dyn Disk,
        stamp: Option<&Stamp>,
        buffers: &mut Buffers,
    ) -> Result<(bool, u64), Error> {
        if let Some(extent) = self.zero_of(index) {
            let there = &mut buffers.there.bytes_mut()[..extent.bytes() as usize];
            read_extents(disk, &[*extent], there)?;
            return Ok((there.iter().all(|byte| *byte == 0), extent.bytes()));
        }
        let chunk = image.chunk(index)?;
        let length = chunk.plain_bytes() as usize;
        read_extents(disk, &chunk.extents, &mut buffers.there.bytes_mut()[..length])?;
        let equal = if index == 0 && stamp.is_some() {
            // Its digest is that of the unstamped bytes.
            buffers.load(image, index)?;
            Stamp::put(stamp, index, &mut buffers.plain.bytes_mut()[..length])?;
            buffers.plain.bytes()[..length] == buffers.there.bytes()[..length]
        } else {
            digest(&buffers.there.bytes()[..length]) == chunk.digest
        };
        Ok((equal, length as u64))
    }

    fn write(
        &self,
        index: usize,
        image: &Opened,
        disk: &dyn Disk,
        stamp: Option<&Stamp>,
        buffers: &mut Buffers,
    ) -> Result<u64, Error> {
        if let Some(extent) = self.zero_of(index) {
            zero_extent(disk, extent)?;
            return Ok(extent.bytes());
        }
        let length = buffers.load(image, index)?;
        #[expect(clippy::indexing_slicing, reason = "`load` has filled so many bytes")]
        let plain = &mut buffers.plain.bytes_mut()[..length];
        Stamp::put(stamp, index, plain)?;
        write_extents(disk, &image.chunk(index)?.extents, plain)?;
        Ok(length as u64)
    }
}

/// Does every number once, on so many threads; gives those for which the answer was no, in order.
fn each(
    threads: usize,
    count: usize,
    stop: &(dyn Fn() -> bool + Sync),
    work: impl Fn(usize, &mut Buffers) -> Result<bool, Error> + Sync,
) -> Result<Vec<usize>, Error> {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let bad: Mutex<Result<Vec<usize>, Error>> = Mutex::new(Ok(Vec::new()));
    let ends = |error: Error| {
        over.store(true, Ordering::Relaxed);
        let mut bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
        // The first one is told.
        if bad.is_ok() {
            *bad = Err(error);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count.max(1)) {
            scope.spawn(|| {
                let mut buffers = match Buffers::new() {
                    Ok(buffers) => buffers,
                    Err(error) => return ends(error),
                };
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || over.load(Ordering::Relaxed) {
                        return;
                    }
                    if stop() {
                        return ends(Error::Stopped);
                    }
                    match work(index, &mut buffers) {
                        Ok(true) => {}
                        Ok(false) => {
                            match &mut *bad.lock().unwrap_or_else(PoisonError::into_inner) {
                                Ok(bad) => bad.push(index),
                                // Another thread has ended it all.
                                Err(_) => return,
                            }
                        }
                        Err(error) => return ends(error),
                    }
                }
            });
        }
    });
    let mut bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    bad.sort_unstable();
    Ok(bad)
}
