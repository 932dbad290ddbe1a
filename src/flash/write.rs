//! Writes an image to a stick.
//!
//! First, the start and the end of the stick are overwritten with zeros and flushed. Then everything after the first MiB is written
//! and flushed. The first MiB comes last, and only after the caller has verified the rest. So an interruption at any point leaves a
//! stick without a boot sector, a partition table or a superblock at its start.
//!
//! `verdict` reads back, `record` keeps the record, and the caller chooses the stick.

use super::chunks::{self, Chunk};
use super::error::Error;
use super::source::{Digests, Source, sum_of};
use super::{CHUNK_BYTES, HEAD_BYTES, TAIL_BYTES, Watch};
use crate::image::disk::Disk;
use crate::image::pool::{ALIGNMENT_BYTES, Buffer};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two flushes of a stick, so that an interrupted run has little to repeat.
const FLUSH_EVERY: Duration = Duration::from_secs(3);

/// A stick that is being written.
pub struct Stick<'a> {
    /// Its bytes.
    pub disk: &'a dyn Disk,
    /// Its name for people.
    pub name: String,
    /// Bytes of a sector.
    pub sector_bytes: u32,
    /// Whether it is gone, asked after an error.
    pub is_gone: &'a (dyn Fn() -> bool + Sync),
    /// The command that goes on.
    pub again: String,
    /// What commands name it by.
    pub device: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that an earlier run had written, and that were found again.
    pub found_bytes: u64,
}

impl Stick<'_> {
    /// What an error of the stick means.
    pub fn failed(&self, doing: &'static str, at: u64, total_bytes: u64, error: io::Error) -> Error {
        let vanished = matches!(
            crate::os_error::errno(&error).map(nix::errno::Errno::from_raw),
            Some(nix::errno::Errno::ENODEV | nix::errno::Errno::ENXIO | nix::errno::Errno::ENOMEDIUM)
        );
        if vanished || (self.is_gone)() {
            Error::Gone {
                stick: self.name.clone(),
                at,
                total_bytes,
                again: self.again.clone(),
            }
        } else {
            Error::Stick {
                stick: self.name.clone(),
                doing,
                at,
                error,
            }
        }
    }

    /// That somebody stopped it.
    pub fn stopped(&self, at: u64, total_bytes: u64) -> Error {
        Error::Stopped {
            at,
            total_bytes,
            again: self.again.clone(),
        }
    }

    fn flush(&self, at: u64, total: u64) -> Result<(), Error> {
        self.disk
            .flush()
            .map_err(|error| self.failed("flushed", at, total, error))
    }

    /// A length in whole sectors.
    pub fn whole_sectors(&self, length: usize) -> usize {
        length.next_multiple_of(self.sector_bytes as usize)
    }
}

/// Whether an image fits.
///
/// # Errors
/// It does not, or the size of the stick cannot be read.
pub fn fits(stick: &Stick<'_>, image_bytes: u64) -> Result<(), Error> {
    let has_bytes = stick.disk.length();
    let wanted_bytes = image_bytes.next_multiple_of(u64::from(stick.sector_bytes));
    if has_bytes < wanted_bytes {
        return Err(Error::TooSmall {
            stick: stick.name.clone(),
            has_bytes,
            wanted_bytes,
            is_all: true,
        });
    }
    Ok(())
}

/// Makes zeros of the start of the stick and of its end, as far as the image does not reach there: old boot sectors, tables and
/// superblocks go.
///
/// # Errors
/// The stick reports an error.
pub fn wipe(stick: &Stick<'_>, image_bytes: u64) -> Result<(), Error> {
    let zeros = Buffer::new(HEAD_BYTES.max(TAIL_BYTES));
    let length = stick.disk.length();
    let write = |from: u64, to: u64| -> Result<(), Error> {
        if from < to {
            // At most a MiB: it fits any `usize`.
            let bytes = &zeros.bytes()[..(to - from) as usize];
            stick
                .disk
                .write_all_at(bytes, from)
                .map_err(|error| stick.failed("written", from, image_bytes, error))?;
        }
        Ok(())
    };
    write(0, length.min(HEAD_BYTES as u64))?;
    stick.flush(0, image_bytes)?;
    let end_of_image = image_bytes.next_multiple_of(u64::from(stick.sector_bytes));
    let tail = length
        .saturating_sub(TAIL_BYTES as u64)
        .max(end_of_image)
        .max(HEAD_BYTES as u64);
    write(tail, length)?;
    stick.flush(tail, image_bytes)
}

/// Writes everything behind the first MiB. Chunks before `claimed`, of which an earlier run said that it flushed them, are read and
/// compared; what differs is written. `flushed` is told how many chunks are durable.
///
/// # Errors
/// The stick reports an error, the image cannot be read or gives other bytes than before, or somebody stops it.
pub fn body(
    stick: &Stick<'_>,
    source: &Source,
    digests: &Digests,
    claimed: u64,
    watch: &dyn Watch,
    flushed: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<Counts, Error> {
    let total = digests.bytes;
    let mut counts = Counts::default();
    let mut mine = Buffer::new(CHUNK_BYTES);
    thread::scope(|scope| {
        let round = source.chunks(scope, &Arc::new(AtomicU64::new(0)))?;
        let round = chunks::looked_at(scope, round, |chunk| same_as_before(source, digests, chunk));
        let disk = stick.disk;
        let mut last_flush = Instant::now();
        // What was written is flushed while the next chunks are being written.
        let mut flushing = None::<(u64, thread::ScopedJoinHandle<'_, io::Result<()>>)>;
        let mut next = 0;
        while let Some(mut chunk) = round.next()? {
            let from = chunk.index * CHUNK_BYTES as u64;
            if watch.stops() {
                joined(stick, flushing.take(), from, total)?;
                stick.flush(from, total)?;
                flushed(chunk.index)?;
                return Err(stick.stopped(from, total));
            }
            write_chunk(stick, &mut chunk, claimed, total, &mut mine, &mut counts)?;
            next = chunk.index + 1;
            watch.progress("write", (from + chunk.length as u64).min(total), total);
            round.done(chunk);
            match flushing.take() {
                Some((chunks, thread)) if thread.is_finished() => {
                    joined(stick, Some((chunks, thread)), from, total)?;
                    flushed(chunks)?;
                }
                Some(under_way) => flushing = Some(under_way),
                None if last_flush.elapsed() >= FLUSH_EVERY => {
                    flushing = Some((next, scope.spawn(move || disk.flush())));
                    last_flush = Instant::now();
                }
                None => {}
            }
        }
        joined(stick, flushing.take(), total, total)?;
        // Not one byte less than the first time.
        if next != digests.chunks.len() as u64 {
            return Err(Error::Changed {
                path: source.path().to_string(),
                at: next * CHUNK_BYTES as u64,
            });
        }
        stick.flush(total, total)?;
        flushed(next)
    })?;
    Ok(counts)
}

/// Waits for a flush that runs beside the writing. The kernel tells an error once: what that flush was told no later one is.
fn joined(
    stick: &Stick<'_>,
    flushing: Option<(u64, thread::ScopedJoinHandle<'_, io::Result<()>>)>,
    at: u64,
    total: u64,
) -> Result<(), Error> {
    let Some((_, thread)) = flushing else {
        return Ok(());
    };
    let done = thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    done.map_err(|error| stick.failed("flushed", at, total, error))
}

fn same_as_before(source: &Source, digests: &Digests, chunk: &Chunk) -> Result<(), Error> {
    let at = chunk.index * CHUNK_BYTES as u64;
    // At most as many chunks as were counted before: it fits any `usize`.
    if digests.chunks.get(chunk.index as usize) == Some(&sum_of(chunk)) {
        return Ok(());
    }
    Err(Error::Changed {
        path: source.path().to_string(),
        at,
    })
}

fn write_chunk(
    stick: &Stick<'_>,
    chunk: &mut Chunk,
    claimed: u64,
    total: u64,
    mine: &mut Buffer,
    counts: &mut Counts,
) -> Result<(), Error> {
    let from = chunk.index * CHUNK_BYTES as u64;
    let skipped = if chunk.index == 0 { HEAD_BYTES } else { 0 };
    if chunk.length <= skipped {
        return Ok(());
    }
    let end = stick.whole_sectors(chunk.length);
    chunk.buffer.bytes_mut()[chunk.length..end].fill(0);
    let at = from + skipped as u64;
    let wanted = &chunk.buffer.bytes()[skipped..end];
    if chunk.index < claimed {
        let found = &mut mine.bytes_mut()[..wanted.len()];
        // What a cut inside a write left may not be readable: it is written again.
        let read = stick.disk.read_exact_at(found, at);
        if read.is_ok() && found == wanted {
            counts.found_bytes += wanted.len() as u64;
            return Ok(());
        }
    }
    stick
        .disk
        .write_all_at(wanted, at)
        .map_err(|error| stick.failed("written", at, total, error))?;
    counts.written_bytes += wanted.len() as u64;
    Ok(())
}

/// Writes the first MiB, and of that the first block, with the boot sector, last; reads it back. With it the stick is bootable. What is
/// read back and differs: the first sector, and how many bytes of sectors.
///
/// # Errors
/// The stick reports an error.
pub fn head(stick: &Stick<'_>, digests: &Digests) -> Result<Option<(u64, u64)>, Error> {
    let total = digests.bytes;
    let length = usize::try_from(total).unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
    let wanted = &digests.head.bytes()[..stick.whole_sectors(length)];
    let (first, rest) = wanted.split_at(wanted.len().min(ALIGNMENT_BYTES));
    for (at, bytes) in [(first.len(), rest), (0, first)] {
        if bytes.is_empty() {
            continue;
        }
        stick
            .disk
            .write_all_at(bytes, at as u64)
            .map_err(|error| stick.failed("written", at as u64, total, error))?;
        stick.flush(at as u64, total)?;
    }
    let mut found = Buffer::new(wanted.len());
    stick
        .disk
        .read_exact_at(found.bytes_mut(), 0)
        .map_err(|error| stick.failed("read", 0, total, error))?;
    let sector = stick.sector_bytes as usize;
    let pairs = found.bytes().chunks(sector).zip(wanted.chunks(sector));
    let mut differing = pairs.enumerate().filter(|(_, (found, wanted))| found != wanted);
    Ok(differing.next().map(|(number, (found, _))| {
        let more: usize = differing.map(|(_, (found, _))| found.len()).sum();
        ((number * sector) as u64, (found.len() + more) as u64)
    }))
}
