//! Reads the stick back, and finds the cause of a difference.
//!
//! Every byte of the image is read from the stick and compared with the digests of the image. If one differs, the cause is
//! searched on the stick and in the image; a cause that cannot be shown is not named.
//!
//! Three causes look alike. The image reads differently from before: then the stick is not to blame. The stick is smaller
//! than it says, so that one address is another one (what is at the first is found in the image at the second, and a pattern
//! written to the second is read at the first), or nothing is kept from some byte on. Or the stick lost what was written.
//!
//! `flash::write` writes the image, and `flash::difference` has the words.

use super::chunks;
use super::difference::{Cause, Verdict};
use super::error::Error;
use super::source::{Digests, Source, Sum, sum_of};
use super::write::Stick;
use super::{CHUNK_BYTES, HEAD_BYTES, Watch};
use crate::image::pool::Buffer;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

/// Pieces of a stick that are searched in the image to explain a difference.
const SAMPLES_MAX: usize = 64;

/// Places that a pattern is written to, to see whether anything is kept there.
const PROBES: u64 = 8;

/// Largest distance of two addresses that are one on a forged stick, in sizes of the stick.
const TIMES_MAX: u64 = 64;

/// That some of the first MiB, and nothing else, was not kept.
pub fn of_head(digests: &Digests, (first, bytes): (u64, u64), says_bytes: u64) -> Verdict {
    Verdict {
        first,
        bytes,
        chunks: (1, digests.chunks.len() as u64),
        says_bytes,
        cause: Cause::Lost,
    }
}

/// What reading back found: the chunks that differ, and whether the first MiB, which is not written yet, is still zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Chunks that differ, in order.
    pub differing: Vec<u64>,
    /// Something was written to the first MiB by writing elsewhere.
    pub head_was_hit: bool,
}

impl Found {
    /// Whether everything is as it should be.
    pub fn is_good(&self) -> bool {
        self.differing.is_empty() && !self.head_was_hit
    }
}

/// Reads back everything behind the first MiB; that one must still be zeros.
///
/// # Errors
/// The stick cannot be read, or somebody stops it.
pub fn read_back(stick: &Stick<'_>, digests: &Digests, watch: &dyn Watch) -> Result<Found, Error> {
    let total = digests.bytes;
    let mut found = Found::default();
    let mut first = Buffer::new(HEAD_BYTES);
    let head = stick.disk.length().min(HEAD_BYTES as u64) as usize;
    stick
        .disk
        .read_exact_at(&mut first.bytes_mut()[..head], 0)
        .map_err(|error| stick.failed("read", 0, total, error))?;
    found.head_was_hit = first.bytes().iter().any(|byte| *byte != 0);
    thread::scope(|scope| {
        let round = chunks::filled(scope, |index, buffer| chunk_of(stick, digests, index, buffer));
        while let Some(chunk) = round.next()? {
            let from = chunk.index * CHUNK_BYTES as u64;
            if watch.stops() {
                return Err(stick.stopped(from, total));
            }
            if digests.chunks.get(chunk.index as usize) != Some(&sum_of(&chunk)) {
                found.differing.push(chunk.index);
            }
            watch.progress("read back", (from + chunk.length as u64).min(total), total);
            round.done(chunk);
        }
        Ok(())
    })?;
    Ok(found)
}

/// A chunk as the stick has it, with the image's first MiB in the place of the zeros that are there.
fn chunk_of(
    stick: &Stick<'_>,
    digests: &Digests,
    index: u64,
    buffer: &mut Buffer,
) -> Result<Option<usize>, Error> {
    let from = index * CHUNK_BYTES as u64;
    let length = digests.bytes.saturating_sub(from).min(CHUNK_BYTES as u64) as usize;
    if length == 0 {
        return Ok(None);
    }
    let skipped = if index == 0 { HEAD_BYTES.min(length) } else { 0 };
    let bytes = buffer.bytes_mut();
    bytes[..skipped].copy_from_slice(&digests.head.bytes()[..skipped]);
    let end = stick.whole_sectors(length);
    if skipped < length {
        let at = from + skipped as u64;
        stick
            .disk
            .read_exact_at(&mut bytes[skipped..end], at)
            .map_err(|error| stick.failed("read", at, digests.bytes, error))?;
    }
    Ok(Some(length))
}

/// A sector of the stick that is not what it should be.
struct Sample {
    at: u64,
    bytes: Vec<u8>,
}

/// Says what a difference means.
///
/// # Errors
/// The stick cannot be read any more while it is looked at.
pub fn explain(
    stick: &Stick<'_>,
    source: &Source,
    digests: &Digests,
    found: &Found,
    watch: &dyn Watch,
) -> Result<Verdict, Error> {
    let Compared {
        first,
        bytes,
        image_changed,
        unsteady,
        samples,
        tail_from,
    } = compare(stick, source, digests, found, watch)?;
    let first_piece = found
        .differing
        .first()
        .map_or(0, |index| index * CHUNK_BYTES as u64);
    let verdict = |cause| Verdict {
        first: first.unwrap_or(first_piece),
        bytes,
        chunks: (found.differing.len() as u64, digests.chunks.len() as u64),
        says_bytes: stick.disk.length(),
        cause,
    };
    if image_changed {
        return Ok(verdict(Cause::ImageChanged));
    }
    if let Some(wraps) = wraps(stick, source, &samples, digests.bytes, watch)? {
        return Ok(verdict(wraps));
    }
    // Nothing differs now: the first reading did.
    if unsteady || bytes == 0 {
        return Ok(verdict(Cause::Unsteady));
    }
    if let Some(at) = tail_from
        && keeps_nothing(stick, at, digests.bytes)
    {
        return Ok(verdict(Cause::EndsAt(at)));
    }
    // Patterns come to nothing on a stick that was pulled out meanwhile.
    if (stick.is_gone)() {
        return Err(stick.failed(
            "read",
            verdict(Cause::Lost).first,
            digests.bytes,
            io::ErrorKind::Other.into(),
        ));
    }
    Ok(verdict(Cause::Lost))
}

#[derive(Default)]
struct Compared {
    first: Option<u64>,
    bytes: u64,
    image_changed: bool,
    unsteady: bool,
    samples: Vec<Sample>,
    /// Where everything up to the end of the image differs from.
    tail_from: Option<u64>,
}

/// The image again beside the stick again, sector by sector where they differ.
fn compare(
    stick: &Stick<'_>,
    source: &Source,
    digests: &Digests,
    found: &Found,
    watch: &dyn Watch,
) -> Result<Compared, Error> {
    let mut compared = Compared::default();
    let sector = stick.sector_bytes as usize;
    let mut mine = Buffer::new(CHUNK_BYTES);
    if found.head_was_hit {
        hit(stick, digests, &mut mine, &mut compared)?;
    }
    thread::scope(|scope| {
        let round = source.chunks(scope, &Arc::new(AtomicU64::new(0)))?;
        let mut pieces = 0;
        while let Some(chunk) = round.next()? {
            pieces += 1;
            let from = chunk.index * CHUNK_BYTES as u64;
            if watch.stops() {
                return Err(stick.stopped(from, digests.bytes));
            }
            if found.differing.binary_search(&chunk.index).is_err() {
                compared.tail_from = None;
                round.done(chunk);
                continue;
            }
            let expected: Option<&Sum> = digests.chunks.get(chunk.index as usize);
            compared.image_changed |= expected != Some(&sum_of(&chunk));
            let length = chunk_of(stick, digests, chunk.index, &mut mine)?.unwrap_or(0);
            let now: Sum = Sha256::digest(&mine.bytes()[..length]).into();
            // What differed before and is right now.
            compared.unsteady |= Some(&now) == expected;
            let sectors = chunk
                .bytes()
                .chunks(sector)
                .zip(mine.bytes()[..length].chunks(sector));
            for (number, (wanted, read)) in sectors.enumerate() {
                let at = from + (number * sector) as u64;
                if wanted == read {
                    compared.tail_from = None;
                    continue;
                }
                compared.first.get_or_insert(at);
                compared.tail_from.get_or_insert(at);
                compared.bytes += read.len() as u64;
                sample(&mut compared.samples, at, read, sector);
            }
            let done = (from + chunk.length as u64).min(digests.bytes);
            watch.progress("find the cause", done, digests.bytes);
            round.done(chunk);
        }
        // It may have become shorter.
        compared.image_changed |= pieces != digests.chunks.len();
        Ok(())
    })?;
    Ok(compared)
}

/// What lies in the first MiB, where nothing was written.
fn hit(
    stick: &Stick<'_>,
    digests: &Digests,
    mine: &mut Buffer,
    compared: &mut Compared,
) -> Result<(), Error> {
    let sector = stick.sector_bytes as usize;
    let length = stick.disk.length().min(HEAD_BYTES as u64) as usize;
    let head = &mut mine.bytes_mut()[..length];
    stick
        .disk
        .read_exact_at(head, 0)
        .map_err(|error| stick.failed("read", 0, digests.bytes, error))?;
    for (number, read) in head.chunks(sector).enumerate() {
        if read.iter().any(|byte| *byte != 0) {
            let at = (number * sector) as u64;
            compared.first.get_or_insert(at);
            compared.bytes += read.len() as u64;
            sample(&mut compared.samples, at, read, sector);
        }
    }
    Ok(())
}

/// Keeps a sector that can be found again: one byte all over is everywhere. One for each chunk, so that they are spread.
fn sample(samples: &mut Vec<Sample>, at: u64, read: &[u8], sector: usize) {
    let chunk = |at: u64| at / CHUNK_BYTES as u64;
    let is_spread = samples.last().is_none_or(|last| chunk(last.at) != chunk(at));
    let says_something = read.len() == sector && read.iter().any(|byte| Some(byte) != read.first());
    if samples.len() < SAMPLES_MAX && is_spread && says_something {
        samples.push(Sample {
            at,
            bytes: read.to_vec(),
        });
    }
}

/// Whether two addresses of the stick are one.
fn wraps(
    stick: &Stick<'_>,
    source: &Source,
    samples: &[Sample],
    total: u64,
    watch: &dyn Watch,
) -> Result<Option<Cause>, Error> {
    let mut pairs = found_again(stick, source, samples, total, watch)?;
    pairs.sort_by_key(|(read, written)| written.abs_diff(*read));
    for (read, written) in pairs.into_iter().take(SAMPLES_MAX) {
        if let Some(distance) = is_one_place(stick, read, written) {
            return Ok(Some(Cause::Wraps {
                written,
                read,
                real_bytes: distance,
            }));
        }
    }
    Ok(None)
}

/// Where in the image the samples are: the place on the stick, and the place in the image.
fn found_again(
    stick: &Stick<'_>,
    source: &Source,
    samples: &[Sample],
    total: u64,
    watch: &dyn Watch,
) -> Result<Vec<(u64, u64)>, Error> {
    let mut pairs = vec![];
    let sector = stick.sector_bytes as usize;
    let mut by_bytes: HashMap<&[u8], Vec<u64>> = HashMap::new();
    for sample in samples {
        by_bytes.entry(&sample.bytes).or_default().push(sample.at);
    }
    if by_bytes.is_empty() {
        return Ok(pairs);
    }
    thread::scope(|scope| {
        let round = source.chunks(scope, &Arc::new(AtomicU64::new(0)))?;
        while let Some(chunk) = round.next()? {
            let from = chunk.index * CHUNK_BYTES as u64;
            if watch.stops() {
                return Err(stick.stopped(from, total));
            }
            for (number, bytes) in chunk.bytes().chunks(sector).enumerate() {
                let at = from + (number * sector) as u64;
                for read in by_bytes.get(bytes).into_iter().flatten() {
                    // The same bytes at many places say nothing, and are not collected without end.
                    if *read < at && pairs.len() < SAMPLES_MAX * 16 {
                        pairs.push((*read, at));
                    }
                }
            }
            round.done(chunk);
        }
        Ok::<_, Error>(())
    })?;
    Ok(pairs)
}

/// A sector that says where it was written, and in which turn.
fn pattern(sector: usize, at: u64, turn: u64) -> Buffer {
    let mut buffer = Buffer::new(sector);
    let mut said = *b"landfall pattern                ";
    said[16..24].copy_from_slice(&at.to_le_bytes());
    said[24..32].copy_from_slice(&turn.to_le_bytes());
    for piece in buffer.bytes_mut().chunks_mut(said.len()) {
        piece.copy_from_slice(&said[..piece.len()]);
    }
    buffer
}

/// Whether a pattern that is written to one place is read at another one, twice with another pattern; the shortest distance at which it
/// is read. The image on the stick is lost already.
fn is_one_place(stick: &Stick<'_>, read: u64, written: u64) -> Option<u64> {
    let sector = stick.sector_bytes as usize;
    let shows = |turn: u64, at: u64| -> bool {
        let mut found = Buffer::new(sector);
        let wanted = pattern(sector, written, turn);
        let done = stick
            .disk
            .write_all_at(wanted.bytes(), written)
            .and_then(|()| stick.disk.flush())
            .and_then(|()| stick.disk.read_exact_at(found.bytes_mut(), at));
        done.is_ok() && found.bytes() == wanted.bytes()
    };
    let distance = written.checked_sub(read)?;
    if !(shows(1, read) && shows(2, read)) {
        return None;
    }
    // A distance may be several times the size.
    let fraction = (2..=TIMES_MAX).rev().find(|times| {
        let step = distance / times;
        distance % times == 0 && step % sector as u64 == 0 && step > 0 && shows(2 + times, written - step)
    });
    Some(fraction.map_or(distance, |times| distance / times))
}

/// Whether nothing is kept from a place on, up to the end of the image.
fn keeps_nothing(stick: &Stick<'_>, from: u64, to: u64) -> bool {
    let sector = u64::from(stick.sector_bytes);
    let step = ((to - from) / PROBES / sector * sector).max(sector);
    let places: Vec<u64> = (0..PROBES)
        .map(|n| from + n * step)
        .filter(|at| *at < to)
        .collect();
    let write = |at: &u64| {
        let bytes = pattern(stick.sector_bytes as usize, *at, 0);
        // A place that reports an error keeps nothing either.
        stick.disk.write_all_at(bytes.bytes(), *at).is_ok()
    };
    let written = places.iter().filter(|at| write(at)).count();
    tracing::debug!(written, of = places.len(), "patterns");
    if stick.disk.flush().is_err() {
        tracing::debug!("flush of patterns");
    }
    let mut found = Buffer::new(stick.sector_bytes as usize);
    places.iter().all(|at| {
        let read = stick.disk.read_exact_at(found.bytes_mut(), *at);
        read.is_err() || found.bytes() != pattern(stick.sector_bytes as usize, *at, 0).bytes()
    })
}
