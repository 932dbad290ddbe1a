//! Writes an image to a device.
//!
//! Chunks are written in the order of the disk, each only after its digest was checked. A chunk counts as written only after a flush
//! that started after it, and at most two parts of [`FLUSH_EVERY`] are unflushed. Memory is a fixed stock, whatever the size of the
//! image. What an earlier run may have written is read back and compared first, and only differences are written again.
//!
//! Reading and unpacking continue while the disk works, also between two parts, and writing continues during a flush. `verify` reads
//! everything back, and the checkpoint keeps the count of what is durable.

use super::disk::{Disk, fits};
use super::ext4;
use super::flusher::{Flushed, Flusher};
use super::manifest::Extent;
use super::open::Opened;
use super::pool::{Buffer, Pool};
use super::{CHUNK_BYTES_MAX, Error, PACKED_BUFFERS_MORE, PACKED_BYTES_MAX, PLAIN_BUFFERS, Verb};
use nix::libc;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Time between two flushes, except for a chunk that takes longer. While the disk is flushed the next part is
/// written, and no third one: so what a cut can take is what was written in twice this time.
pub const FLUSH_EVERY: Duration = Duration::from_millis(450);

/// Chunks in a row that differ, after which a resumed run stops comparing: nothing was written after them.
const MISSES_MAX: u32 = 16;

/// Another id and label for the superblock, so that a filesystem which is being written is known as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The id.
    pub id: Uuid,
    /// The label.
    pub label: String,
}

impl Stamp {
    /// Puts it on the first chunk.
    ///
    /// # Errors
    /// The first chunk does not begin with a superblock.
    pub fn put(stamp: Option<&Stamp>, index: usize, plain: &mut [u8]) -> Result<(), Error> {
        match stamp {
            Some(stamp) if index == 0 => ext4::stamp(plain, &stamp.id, &stamp.label),
            Some(_) | None => Ok(()),
        }
    }
}

/// Real counts, of this writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Plain bytes of chunks that are done: written, found there, or said to be durable before.
    pub done_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes read back and found to be there already.
    pub found_bytes: u64,
    /// Bytes zeroed.
    pub zeroed_bytes: u64,
    /// Bytes that the image leaves out and that the device was told to discard.
    pub discarded_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Microseconds of them.
    pub flush_us: u64,
}

/// See the module.
pub struct Writer {
    image: Opened,
    disk: Arc<dyn Disk>,
    stamp: Option<Stamp>,
    next: usize,
    durable: usize,
    /// Whether what the image leaves out was given away, and how many extents were zeroed.
    discarded: bool,
    zeroed: usize,
    /// Chunks still to be compared before they are written, by their misses so far.
    misses: Option<u32>,
    compare: Buffer,
    counts: Counts,
    pipeline: Pipeline,
    flusher: Flusher,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} of {})", self.next, self.image.chunks())
    }
}

impl Writer {
    /// Goes on at a chunk: those below it are said to be durable. With `from` 0 everything is written.
    ///
    /// # Errors
    /// The threads that unpack do not start, or there is no memory for their buffers.
    pub fn new(
        image: &Opened,
        disk: Arc<dyn Disk>,
        stamp: Option<Stamp>,
        from: u64,
    ) -> Result<Writer, Error> {
        fits(&*disk, image.manifest.filesystem_bytes)?;
        let chunks = image.manifest.chunks.len();
        let from = usize::try_from(from).map_or(chunks, |from| from.min(chunks));
        Ok(Writer {
            pipeline: Pipeline::start(image, from)?,
            flusher: Flusher::new(disk.clone()),
            image: image.clone(),
            disk,
            stamp,
            next: from,
            durable: from,
            // Who goes on has done both, before its first chunk.
            discarded: from > 0,
            zeroed: if from > 0 { image.manifest.zero.len() } else { 0 },
            misses: (from > 0).then_some(0),
            compare: Buffer::new(CHUNK_BYTES_MAX),
            counts: Counts {
                done_bytes: image
                    .manifest
                    .chunks
                    .iter()
                    .take(from)
                    .map(|c| c.plain_bytes())
                    .sum(),
                ..Counts::default()
            },
        })
    }

    /// Bytes of the stock of buffers.
    pub fn memory_bytes(&self) -> usize {
        self.pipeline.packed.total_bytes() + self.pipeline.plain.total_bytes() + self.compare.bytes().len()
    }

    /// Real counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Chunks that are durable.
    pub fn durable(&self) -> u64 {
        self.durable as u64
    }

    /// Whether everything is written and durable.
    pub fn is_done(&self) -> bool {
        self.durable == self.image.manifest.chunks.len()
    }

    /// Parts until so much time went by, everything is written or somebody wishes to stop; `flushed` is called behind each
    /// flush. When it returns, all that was written is durable, also where that was not all.
    ///
    /// # Errors
    /// The device or the image reports an error, or a chunk is damaged.
    pub fn stretch(
        &mut self,
        longest: Duration,
        stop: &dyn Fn() -> bool,
        told: &mut dyn FnMut(Counts),
        flushed: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let began = Instant::now();
        while self.next < self.image.manifest.chunks.len() {
            let part = self.part(stop, told);
            let more = self.flush();
            // Also what a fault comes behind is durable; the fault itself is what is told.
            if part.is_err() {
                let last = self.settle();
                if [more, last].iter().any(|more| matches!(more, Ok(true))) {
                    flushed(self.durable())?;
                }
                return part;
            }
            if more? {
                flushed(self.durable())?;
            }
            if began.elapsed() >= longest || stop() {
                break;
            }
        }
        if self.settle()? {
            flushed(self.durable())?;
        }
        Ok(())
    }

    /// Everything that is left; `flushed` is called behind each flush.
    ///
    /// # Errors
    /// As `stretch`.
    pub fn run(
        &mut self,
        stop: &dyn Fn() -> bool,
        told: &mut dyn FnMut(Counts),
        flushed: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while !self.is_done() {
            if stop() {
                return Err(Error::Stopped);
            }
            self.stretch(Duration::MAX, stop, told, flushed)?;
        }
        Ok(())
    }

    /// Writes for at most [`FLUSH_EVERY`], at least one chunk. Whoever wishes to stop before the first chunk gets that after
    /// the next extent that is zeroed.
    fn part(&mut self, stop: &dyn Fn() -> bool, told: &mut dyn FnMut(Counts)) -> Result<(), Error> {
        let began = Instant::now();
        self.discard();
        while let Some(extent) = self.image.manifest.zero.get(self.zeroed) {
            zero_extent(&*self.disk, extent)?;
            self.counts.zeroed_bytes += extent.bytes();
            self.zeroed += 1;
            if stop() {
                break;
            }
        }
        let zeroed = self.zeroed == self.image.manifest.zero.len();
        while zeroed && self.next < self.image.manifest.chunks.len() {
            self.one()?;
            told(self.counts);
            if began.elapsed() >= FLUSH_EVERY || stop() {
                break;
            }
        }
        Ok(())
    }

    /// Begins a flush, behind the one under way. True when by that more is durable.
    fn flush(&mut self) -> Result<bool, Error> {
        let before = self.flusher.begin(self.next)?;
        Ok(self.count(before))
    }

    /// Waits for the flush that is under way. True when by that more is durable.
    fn settle(&mut self) -> Result<bool, Error> {
        let flushed = self.flusher.end()?;
        Ok(self.count(flushed))
    }

    fn count(&mut self, flushed: Option<Flushed>) -> bool {
        let Some(Flushed { chunks, took }) = flushed else {
            return false;
        };
        self.durable = chunks;
        self.counts.flushes += 1;
        self.counts.flush_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        true
    }

    /// It is advice: nothing that is believed later depends on it. A device that fails at it, as adapters do that take the
    /// order and cannot carry it out, is asked no more; one that is broken shows that when it is written to.
    fn discard(&mut self) {
        if std::mem::replace(&mut self.discarded, true) {
            return;
        }
        for extent in self.image.manifest.free() {
            match self.disk.discard(extent.at(), extent.bytes()) {
                Ok(true) => self.counts.discarded_bytes += extent.bytes(),
                Ok(false) | Err(_) => break,
            }
        }
    }

    fn one(&mut self) -> Result<(), Error> {
        let index = self.next;
        let (mut plain, length) = self.pipeline.next(index)?;
        #[expect(clippy::indexing_slicing, reason = "the pipeline has unpacked so many bytes")]
        let outcome = self.put(index, &mut plain.bytes_mut()[..length]);
        self.pipeline.plain.give(plain);
        outcome?;
        self.next += 1;
        self.counts.done_bytes += length as u64;
        Ok(())
    }

    fn put(&mut self, index: usize, plain: &mut [u8]) -> Result<(), Error> {
        Stamp::put(self.stamp.as_ref(), index, plain)?;
        let extents = &self.image.chunk(index)?.extents;
        if let Some(misses) = self.misses {
            #[expect(
                clippy::indexing_slicing,
                reason = "no chunk is longer than `CHUNK_BYTES_MAX`"
            )]
            let there = &mut self.compare.bytes_mut()[..plain.len()];
            let same = match read_extents(&*self.disk, extents, there) {
                Ok(()) => there == plain,
                // A cut inside a write can leave a sector that is unreadable until it is written again.
                Err(error) if is_unreadable(&error) => false,
                Err(error) => return Err(error),
            };
            if same {
                self.misses = Some(0);
                self.counts.found_bytes += plain.len() as u64;
                return Ok(());
            }
            self.misses = (misses < MISSES_MAX).then_some(misses + 1);
        }
        write_extents(&*self.disk, extents, plain)?;
        self.counts.written_bytes += plain.len() as u64;
        Ok(())
    }
}

/// Whether the device says that it has lost what was there, and not that it is gone.
pub(super) fn is_unreadable(error: &Error) -> bool {
    let Error::Target {
        verb: Verb::Read,
        error,
        ..
    } = error
    else {
        return false;
    };
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EREMOTEIO | libc::ENODATA | libc::EILSEQ | libc::EBADMSG)
    )
}

/// Zeroes an extent.
pub(super) fn zero_extent(disk: &dyn Disk, extent: &Extent) -> Result<(), Error> {
    disk.zero(extent.at(), extent.bytes())
        .map_err(|error| Error::Target {
            verb: Verb::Zero,
            at: extent.at(),
            bytes: extent.bytes(),
            error,
        })
}

/// Writes the plain bytes of a chunk to its places.
pub(super) fn write_extents(disk: &dyn Disk, extents: &[Extent], plain: &[u8]) -> Result<(), Error> {
    let mut rest = plain;
    for extent in extents {
        let (here, behind) = rest.split_at(extent.bytes() as usize);
        rest = behind;
        disk.write_all_at(here, extent.at())
            .map_err(|error| Error::Target {
                verb: Verb::Write,
                at: extent.at(),
                bytes: extent.bytes(),
                error,
            })?;
    }
    Ok(())
}

/// Reads what is at the places of a chunk.
pub(super) fn read_extents(disk: &dyn Disk, extents: &[Extent], plain: &mut [u8]) -> Result<(), Error> {
    let mut rest = plain;
    for extent in extents {
        let (here, behind) = rest.split_at_mut(extent.bytes() as usize);
        rest = behind;
        disk.read_exact_at(here, extent.at())
            .map_err(|error| Error::Target {
                verb: Verb::Read,
                at: extent.at(),
                bytes: extent.bytes(),
                error,
            })?;
    }
    Ok(())
}

struct Job {
    index: usize,
    packed: Buffer,
    plain: Buffer,
}

/// The number under which a thread says that it could not begin.
const NOBODYS: usize = usize::MAX;

type Unpacked = (usize, Result<(Buffer, usize), Error>);

/// One thread that reads, several that unpack, and whoever asks for the next chunk. Both buffers of a chunk are taken before
/// it is read, in order: so the chunk that everybody waits for always has its buffers.
struct Pipeline {
    packed: Pool,
    plain: Pool,
    /// What came before its turn; a fault waits for it too, so that everything before it is written.
    ready: BTreeMap<usize, Result<(Buffer, usize), Error>>,
    results: Option<Receiver<Unpacked>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    fn start(image: &Opened, from: usize) -> Result<Pipeline, Error> {
        let workers = image.threads;
        let packed = Pool::new(workers + PACKED_BUFFERS_MORE, PACKED_BYTES_MAX);
        let plain = Pool::new(PLAIN_BUFFERS, CHUNK_BYTES_MAX);
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, results) = sync_channel::<Unpacked>(PLAIN_BUFFERS);
        let (jobs, queue) = sync_channel::<Job>(workers + PACKED_BUFFERS_MORE);
        let queue = Arc::new(Mutex::new(queue));
        let mut pipeline = Pipeline {
            packed: packed.clone(),
            plain: plain.clone(),
            ready: BTreeMap::new(),
            results: Some(results),
            ended: ended.clone(),
            threads: Vec::new(),
        };
        let reader = Reader {
            image: image.clone(),
            packed: packed.clone(),
            plain,
            ended,
            jobs,
            sender: sender.clone(),
        };
        let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(Error::io("start of a thread"))
        };
        pipeline
            .threads
            .push(thread("image-read", Box::new(move || reader.run(from)))?);
        for _ in 0..workers {
            let (image, queue, sender, packed) =
                (image.clone(), queue.clone(), sender.clone(), packed.clone());
            let work = move || unpack_all(&image, &queue, &sender, &packed);
            pipeline.threads.push(thread("image-unpack", Box::new(work))?);
        }
        Ok(pipeline)
    }

    fn next(&mut self, index: usize) -> Result<(Buffer, usize), Error> {
        loop {
            if let Some(found) = self.ready.remove(&index).or_else(|| self.ready.remove(&NOBODYS)) {
                return found;
            }
            let results = self.results.as_ref().ok_or(Error::Worker)?;
            let (other, unpacked) = results.recv().map_err(|_| Error::Worker)?;
            self.ready.insert(other, unpacked);
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.results = None;
        // A reader that waits for a buffer gets one, and sees that it is over.
        for pool in [&self.packed, &self.plain] {
            pool.give(Buffer::new(0));
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has already been missed where its result was waited for.
            drop(thread.join());
        }
    }
}

struct Reader {
    image: Opened,
    packed: Pool,
    plain: Pool,
    ended: Arc<AtomicBool>,
    jobs: SyncSender<Job>,
    sender: SyncSender<Unpacked>,
}

impl Reader {
    fn run(self, from: usize) {
        let mut begun = 0;
        for index in from..self.image.manifest.chunks.len() {
            let (Some(mut packed), Some(plain)) = (self.packed.take(), self.plain.take()) else {
                return;
            };
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            begun = self.image.read_ahead(index, begun);
            let read = catch_unwind(AssertUnwindSafe(|| {
                self.image.read_packed(index, packed.bytes_mut())
            }));
            let sent = match read.unwrap_or(Err(Error::Worker)) {
                Ok(_) => self.jobs.send(Job { index, packed, plain }).is_ok(),
                Err(error) => {
                    // Nobody listens any more when this fails.
                    drop(self.sender.send((index, Err(error))));
                    false
                }
            };
            if !sent {
                return;
            }
        }
    }
}

fn unpack_all(
    image: &Opened,
    queue: &Mutex<Receiver<Job>>,
    sender: &SyncSender<Unpacked>,
    packed_pool: &Pool,
) {
    let mut unpacker = match zstd::bulk::Decompressor::new() {
        Ok(unpacker) => unpacker,
        Err(error) => {
            // Nobody listens any more when this fails.
            drop(sender.send((NOBODYS, Err(Error::io("unpacking")(error)))));
            return;
        }
    };
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job {
            index,
            mut packed,
            mut plain,
        }) = job
        else {
            return;
        };
        // A thread that is gone would be waited for while the others live.
        let unpacked = catch_unwind(AssertUnwindSafe(|| {
            image.unpack(index, &mut unpacker, packed.bytes_mut(), plain.bytes_mut())
        }));
        let length = unpacked.unwrap_or(Err(Error::Worker));
        packed_pool.give(packed);
        if sender
            .send((index, length.map(|length| (plain, length))))
            .is_err()
        {
            return;
        }
    }
}
