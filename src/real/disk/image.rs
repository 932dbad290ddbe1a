//! An image of a disk, looked at as the disk would be. Law: opened for reading only.
//!
//! Absent: the identity of the disk, which no image holds; the caller says whose image it is.

use super::{gather, io_fault, open, own_plan};
use crate::config::Config;
use camino::Utf8Path;
use landfall_states::fault::Fault;
use landfall_states::plan::DiskIdentity;
use landfall_states::recovery::DiskEvidence;
use nix::fcntl::OFlag;
use std::io::{Seek, SeekFrom};

/// Bytes of an image, or of a device.
pub fn size(path: &Utf8Path) -> Result<u64, Fault> {
    open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(|e| io_fault(format!("image {path}"), "open it", &e))
}

/// What an image carries: evidence for a decision, and one line for each thing on it.
pub fn look(
    path: &Utf8Path,
    disk: &DiskIdentity,
    config: &Config,
) -> Result<(DiskEvidence, Vec<String>), Fault> {
    let contents = open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
        .and_then(|mut file| gather::of_any(&mut file, disk, &own_plan::all(config, disk)))
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
