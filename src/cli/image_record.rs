//! The record of how far `landfall image write` came: a file that the user names with `--resume`.
//!
//! It is replaced as a whole, so that after a power cut it is the new one or the former one. A former one is as good: what
//! was written since is found again by comparing.
//!
//! `cli::image` decides whether a record belongs to the device.

use super::image_words::{Wrong, of_named};
use crate::image::Error;
use crate::real::volume::block_io::io_fault;
use crate::safe_open::{self, Links, Refused};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::fault::{Fault, PlaceFault};
use landfall_states::image::ImageProgress;
use landfall_states::names::Digest;
use std::time::{Duration, Instant};

/// Longest record of how far `image write` came.
const RECORD_BYTES_MAX: u64 = 64 << 10;
/// Shortest time between two saves of that record.
const SAVE_EVERY: Duration = Duration::from_millis(900);

/// The saves of how far a write came, where a record is asked for.
pub(super) struct Saves<'a> {
    record: Option<&'a Utf8Path>,
    image: &'a Digest,
    last: Option<Instant>,
    pub(super) count: u64,
    pub(super) took_us: u64,
    /// Why the record could not be kept; the write stops there.
    pub(super) failed: Option<Fault>,
}

impl<'a> Saves<'a> {
    pub(super) fn new(record: Option<&'a Utf8Path>, image: &'a Digest) -> Self {
        Saves {
            record,
            image,
            last: None,
            count: 0,
            took_us: 0,
            failed: None,
        }
    }

    fn save(&self, chunks: u64, is_first: bool) -> Result<(), Fault> {
        let Some(record) = self.record else { return Ok(()) };
        let image = self.image.clone();
        keep(record, &ImageProgress { image, chunks }, is_first)
    }

    pub(super) fn begin(&self, chunks: u64) -> Result<(), Fault> {
        self.save(chunks, true)
    }

    /// Saves what is flushed, unless that was just done: what was flushed since is found again by comparing.
    pub(super) fn came_to(&mut self, chunks: u64) -> Result<(), Error> {
        let is_early = self.last.is_some_and(|last| last.elapsed() < SAVE_EVERY);
        if self.record.is_none() || is_early {
            return Ok(());
        }
        let began = Instant::now();
        if let Err(fault) = self.save(chunks, self.last.is_none()) {
            self.failed = Some(fault);
            return Err(Error::Stopped);
        }
        self.took_us += u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.count += 1;
        self.last = Some(Instant::now());
        Ok(())
    }
}

/// What a former run has kept.
pub(super) fn recall(record: &Utf8Path) -> Result<Option<ImageProgress>, Wrong> {
    let unusable = |reason: String| {
        Fault::from(PlaceFault::RecordUnusable {
            file: record.to_string(),
            reason,
        })
    };
    let bytes = match safe_open::read_if_there(record, Links::Refuse, RECORD_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(Refused::Os(e)) => return Err(of_named(io_fault(record.as_str(), &e), record).into()),
        Err(refused) => return Err(unusable(refused.why()).into()),
    };
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not text".into()))?;
    let image_progress = ImageProgress::from_text(&text).map_err(|e| unusable(e.to_string()))?;
    Ok(Some(image_progress))
}

/// Keeps it: whole or as before. That there is one is durable with the first; after it an older one is as right, and costs more
/// reading only.
fn keep(record: &Utf8Path, image_progress: &ImageProgress, is_first: bool) -> Result<(), Fault> {
    let text = image_progress
        .to_text()
        .map_err(|why| Fault::defect(record.as_str(), why))?;
    let write = || {
        safe_open::replace(record, 0o644, text.as_bytes())?;
        if is_first { sync_folder(record) } else { Ok(()) }
    };
    write().map_err(|e| of_named(io_fault(record.as_str(), &e), record))
}

/// Removes it, durably.
pub(super) fn forget(record: &Utf8Path) -> Result<(), Fault> {
    let remove = || match fs::remove_file(record) {
        Ok(()) => sync_folder(record),
        // Nothing was left to write, so nothing was kept.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    remove().map_err(|e| of_named(io_fault(record.as_str(), &e), record))
}

/// A name is durable when its folder is.
fn sync_folder(file: &Utf8Path) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        Some(_) | None => Utf8Path::new("."),
    };
    fs::File::open(folder)?.sync_all()
}
