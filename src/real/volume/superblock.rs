//! Repairs a root filesystem whose superblock was torn.
//!
//! ext4 writes its superblock of two sectors at every mount and unmount, and a power cut may keep only one of them. Then the
//! checksum is wrong, and neither `blkid` nor the kernel sees a filesystem, although all of it is there.
//!
//! A copy of the superblock with the planned id proves that the filesystem was finished, because the id is written last.
//! Making a filesystem begins with removing the id from every copy, and so does writing the table. Such a filesystem is
//! repaired from its copy and never made again. The caller leaves a mounted filesystem alone. Other damage is for `e2fsck`.

use crate::event::Reporter;
use crate::image::BLOCK_BYTES;
use crate::image::ext4::{SUPERBLOCK_AT, SUPERBLOCK_BYTES, Superblock, copies, is_whole};
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{flush, io_fault, read_page, tool_fault};
use crate::real::volume::probe::probe;
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::Probe;
use landfall_states::fault::Fault;
use landfall_states::plan::Volume;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Duration;
use uuid::Uuid;

/// Longest check of a large filesystem.
const DEADLINE: Duration = Duration::from_secs(4 * 3_600);
/// `e2fsck(8)`: errors were corrected; with 2, a reboot is asked for, which is for mounted ones.
pub const CORRECTED: i32 = 1;

fn blocks(device: &fs::File) -> io::Result<u64> {
    let mut device = device.file();
    Ok(device.seek(SeekFrom::End(0))? / BLOCK_BYTES as u64)
}

/// The superblock in a copy; none when it is no whole one.
fn copy_at(device: &fs::File, block: u64) -> io::Result<Option<Superblock>> {
    // Behind the first one, a copy lies at the start of its block.
    let mut bytes = [0; SUPERBLOCK_AT + SUPERBLOCK_BYTES];
    device
        .file()
        .read_exact_at(&mut bytes[SUPERBLOCK_AT..], block * BLOCK_BYTES as u64)?;
    Ok(Superblock::decode(&bytes).ok())
}

/// The block of the first whole copy with this id, of a filesystem that fits.
fn finished_copy(device: &Utf8Path, id: &Uuid) -> io::Result<Option<u64>> {
    let file = fs::File::open(device)?;
    let blocks = blocks(&file)?;
    for block in copies(blocks) {
        if copy_at(&file, block)?.is_some_and(|copy| copy.id == *id && copy.blocks <= blocks) {
            return Ok(Some(block));
        }
    }
    Ok(None)
}

/// Takes a former filesystem's superblock out of every copy, and flushes, before one is made.
///
/// # Errors
/// The device cannot be read, written or flushed.
pub fn forget(device: &Utf8Path) -> Result<(), Fault> {
    let clear = || {
        let file = fs::OpenOptions::new().read(true).write(true).open(device)?;
        for block in copies(blocks(&file)?) {
            file.file()
                .write_all_at(&[0; SUPERBLOCK_BYTES], block * BLOCK_BYTES as u64)?;
        }
        Ok(())
    };
    clear().map_err(|e: io::Error| io_fault(format!("removal of old superblocks on {device}"), &e))?;
    flush(device)
}

/// The block of a copy from which the superblock of a finished root filesystem is to be repaired; none where nothing is torn, and none
/// where nothing proves that it was finished.
///
/// # Errors
/// The device cannot be read.
pub async fn torn(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<Option<u64>, Fault> {
    if is_whole(&read_page(device, 0)?) {
        return Ok(None);
    }
    match probe(device, reporter, stop).await? {
        Probe::Blank => {}
        // Versions of blkid differ in whether a wrong checksum is a superblock.
        Probe::Found(found) if found.kind == "ext4" => {}
        Probe::Found(_) | Probe::Ambiguous(_) => return Ok(None),
    }
    finished_copy(device, &volume.id)
        .map_err(|e| io_fault(format!("read of the superblock's copies on {device}"), &e))
}

/// Repairs the superblock of a finished root filesystem from the copy in that block. It must not be mounted.
///
/// # Errors
/// `e2fsck` fails, or the device reports an error.
pub async fn repair(
    device: &Utf8Path,
    volume: &Volume,
    copy: u64,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    let what = || format!("repair of root filesystem {} on {device}", volume.label);
    reporter.notice(format!(
        "the superblock of {} on {device} was only partly written; landfall restores it from the copy in block {copy}",
        volume.label
    ));
    let ended = Program::new("e2fsck")
        .args(["-f", "-y", "-B", "4096", "-b", &copy.to_string(), device.as_str()])
        .deadline(DEADLINE)
        .run(reporter, stop)
        .await?;
    match ended.code {
        Some(0 | CORRECTED) => flush(device)?,
        Some(_) | None => return Err(tool_fault(what(), ended.how())),
    }
    // Whatever it says of itself: what is not there now would be judged to be blank, and made again.
    match Superblock::decode(&read_page(device, 0)?) {
        Ok(repaired) if repaired.id == volume.id => Ok(()),
        Ok(_) | Err(_) => Err(Fault::read_back(what(), "there is no superblock of it")),
    }
}
