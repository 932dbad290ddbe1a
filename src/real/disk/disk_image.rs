//! Looks at an image of a disk in the same way as at the disk.
//!
//! The image is opened for reading only. An image does not contain the identity of its disk, so the caller supplies it.

use super::{io_fault, open};
use crate::config::Config;
use crate::real::disk::{known_ids, scan};
use crate::safe_open;
use camino::Utf8Path;
use landfall_states::fault::Fault;
use landfall_states::plan::DiskIdentity;
use landfall_states::recovery::DiskEvidence;
use nix::fcntl::OFlag;
use std::io::{Seek, SeekFrom};

fn opened(path: &Utf8Path) -> Result<std::fs::File, Fault> {
    let what = || format!("image {path}");
    let named = safe_open::storage(path).map_err(|refused| refused.fault(what()))?;
    open(
        safe_open::through(&named).as_str().into(),
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
    )
    .map_err(|e| io_fault(what(), "open it", &e))
}

/// Bytes of an image, or of a device.
///
/// # Errors
/// It cannot be opened, or its size cannot be told.
pub fn size(path: &Utf8Path) -> Result<u64, Fault> {
    opened(path)?
        .seek(SeekFrom::End(0))
        .map_err(|e| io_fault(format!("image {path}"), "open it", &e))
}

/// What an image carries: evidence for a decision, and one line for each thing on it.
///
/// # Errors
/// It cannot be opened or read.
pub fn look(
    path: &Utf8Path,
    disk: &DiskIdentity,
    config: &Config,
) -> Result<(DiskEvidence, Vec<String>), Fault> {
    let contents = scan::of_any(&mut opened(path)?, disk, &known_ids::all(config, disk))
        .map_err(|e| io_fault(format!("image {path}"), "read it", &e))?;
    let evidence = DiskEvidence {
        disk: disk.clone(),
        device: path.to_string(),
        primary: contents.on_disk.primary,
        backup: contents.on_disk.backup,
        slots: contents.slots.bytes,
        slots_scanned: contents.slots.unreadable.is_some(),
    };
    Ok((evidence, contents.lines))
}
