//! Flushes a target while the next part is being written.
//!
//! A flush makes durable what was written before it started, and only that is counted. One flush runs at a time, and no thread
//! outlives its flusher. `write` decides when to flush.

use super::disk::Disk;
use super::{Error, Verb};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A flush that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flushed {
    /// Chunks that were written before it was begun: they are durable now.
    pub chunks: usize,
    /// How long it took.
    pub took: Duration,
}

/// See the module.
pub(super) struct Flusher {
    disk: Arc<dyn Disk>,
    under_way: Option<(usize, JoinHandle<Result<Duration, Error>>)>,
}

impl Flusher {
    /// With nothing under way.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Flusher {
        Flusher {
            disk,
            under_way: None,
        }
    }

    /// Begins a flush behind so many written chunks. One that is under way is waited for first, and given.
    pub(crate) fn begin(&mut self, chunks: usize) -> Result<Option<Flushed>, Error> {
        let before = self.end()?;
        let disk = self.disk.clone();
        let thread = std::thread::Builder::new()
            .name("image-flush".to_owned())
            .spawn(move || {
                let began = Instant::now();
                flush(&*disk).map(|()| began.elapsed())
            })
            .map_err(Error::io("start of a thread"))?;
        self.under_way = Some((chunks, thread));
        Ok(before)
    }

    /// Waits for the flush that is under way; `None` when there is none.
    pub(crate) fn end(&mut self) -> Result<Option<Flushed>, Error> {
        let Some((chunks, thread)) = self.under_way.take() else {
            return Ok(None);
        };
        let took = thread.join().unwrap_or(Err(Error::Worker))?;
        Ok(Some(Flushed { chunks, took }))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // What was not waited for was not counted: its outcome changes nothing.
        drop(self.end());
    }
}

/// Flushes a target.
pub(super) fn flush(disk: &dyn Disk) -> Result<(), Error> {
    disk.flush().map_err(|error| Error::Target {
        verb: Verb::Flush,
        at: 0,
        bytes: disk.length(),
        error,
    })
}
