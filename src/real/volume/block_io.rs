//! Block devices, and plain files that stand for them in tests.
//!
//! A write counts only after a flush of the device itself. A read that has to prove something comes from the device, not from
//! a cache.
//!
//! `disk::locked` says which device it is, and the callers say what is written.

use crate::os_error::errno;
use crate::real::tool_errors::{self, Places};
use camino::Utf8Path;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use landfall_states::fault::{Cause, DeviceFault, Ended, Fault, Kind};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Bytes of one page: the unit of a checkpoint slot and a multiple of every sector size that landfall knows.
pub const PAGE_BYTES: usize = 4096;

/// A page where `O_DIRECT` wants it: in memory that is aligned to the largest sector.
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

pub use crate::os_error::fault as io_fault;

/// What it means that a formatting or checking tool failed; `how` is what it said.
pub fn tool_fault(what: impl Into<String>, how: Ended) -> Fault {
    let said = how.last_lines.join("\n");
    tool_errors::make(&what.into(), how, &said, Places(&["/dev"]))
}

mod read_only_ioctl {
    use nix::libc::c_int;
    // linux/fs.h: BLKROGET.
    nix::ioctl_read_bad!(blkroget, 0x125E, c_int);
}

/// Whether the kernel takes no writes to a device.
fn is_read_only(device: &Utf8Path) -> bool {
    use std::os::fd::AsRawFd;
    let mut flag: libc::c_int = 0;
    let asked = fs::File::open(device).map(|file| {
        // SAFETY: the kernel writes one int, which outlives the call.
        unsafe { read_only_ioctl::blkroget(file.file().as_raw_fd(), &raw mut flag) }
    });
    matches!(asked, Ok(Ok(_))) && flag != 0
}

/// The fault of a program that does not say why it could not write, where the kernel knows it.
pub fn unless_read_only(device: &Utf8Path, fault: Fault) -> Fault {
    match &*fault.kind {
        Kind::Ending {
            on,
            ended,
            cause: Cause::InputOutput,
            line,
        } if is_read_only(device) => {
            Fault::ending(Cause::TargetReadOnly, on.as_str(), ended.clone(), line.as_str())
        }
        _ => fault,
    }
}

/// Flushes a device and its cache (`fsync` on a block device ends in a cache flush; `syncfs` and unmounting a FAT do
/// not), then drops the clean pages, so that the next look reads the device. A descriptor for reading is enough.
///
/// # Errors
/// The device cannot be opened, or reports an error.
pub fn flush(device: &Utf8Path) -> Result<(), Fault> {
    let what = || format!("flush of {device}");
    let file = fs::File::open(device).map_err(|e| io_fault(what(), &e))?;
    file.sync_all().map_err(|e| io_fault(what(), &e))?;
    posix_fadvise(file.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .map_err(|e| io_fault(what(), &e.into()))
}

/// Major and minor number of a device node.
///
/// # Errors
/// The node cannot be looked at, or is no block device.
pub fn device_number(device: &Utf8Path) -> Result<(u64, u64), Fault> {
    let meta = fs::metadata(device).map_err(|e| io_fault(format!("device {device}"), &e))?;
    let number = meta.rdev();
    Ok((nix::sys::stat::major(number), nix::sys::stat::minor(number)))
}

/// Whether the file system under a path takes `O_DIRECT` is its own business: one that does not says `EINVAL`.
fn refuses_direct(error: &io::Error) -> bool {
    matches!(errno(error), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Overwrites one page in place: one write, one flush.
///
/// # Errors
/// The device cannot be opened, or reports an error.
pub fn write_page(path: &Utf8Path, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
    let what = || format!("write of {path} at byte {offset}");
    let page: [u8; PAGE_BYTES] = bytes.try_into().map_err(|_| {
        Fault::defect(
            what(),
            format!("{} bytes were given, {PAGE_BYTES} are wanted", bytes.len()),
        )
    })?;
    let page = Box::new(Page(page));
    let attempt = |flags: i32| -> io::Result<usize> {
        let file = fs::OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        file.file().write_at(&page.0, offset)
    };
    let written = match attempt(libc::O_DIRECT | libc::O_DSYNC) {
        Err(error) if refuses_direct(&error) => attempt(libc::O_DSYNC),
        other => other,
    }
    .map_err(|e| io_fault(what(), &e))?;
    if written == PAGE_BYTES {
        Ok(())
    } else {
        Err(DeviceFault::ShortWrite {
            on: what(),
            written: written as u64,
            wanted: PAGE_BYTES as u64,
        }
        .into())
    }
}

/// Reads one page from the device.
///
/// # Errors
/// The device cannot be opened, or reports an error.
pub fn read_page(path: &Utf8Path, offset: u64) -> Result<Vec<u8>, Fault> {
    let what = || format!("read of {path} at byte {offset}");
    let mut page = Box::new(Page([0; PAGE_BYTES]));
    let direct = || {
        fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
    };
    let mut attempt = |file: io::Result<fs::File>| file?.file().read_exact_at(&mut page.0, offset);
    match attempt(direct()) {
        Err(error) if refuses_direct(&error) => {
            let file = fs::File::open(path).map_err(|e| io_fault(what(), &e))?;
            posix_fadvise(file.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .map_err(|e| io_fault(what(), &e.into()))?;
            attempt(Ok(file))
        }
        other => other,
    }
    .map_err(|e| io_fault(what(), &e))?;
    Ok(page.0.to_vec())
}

pub(crate) fn defect(why: &str) -> Fault {
    Fault::defect("landfall", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;

    #[test]
    fn a_page_is_written_in_place_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
        fs::write(&path, vec![7; 3 * PAGE_BYTES]).unwrap();
        write_page(&path, 4096, &[9; PAGE_BYTES]).unwrap();
        flush(&path).unwrap();
        assert_eq!(read_page(&path, 4096).unwrap(), vec![9; PAGE_BYTES]);
        assert_eq!(read_page(&path, 8192).unwrap(), vec![7; PAGE_BYTES]);
        assert!(write_page(&path, 0, b"short").is_err());
        assert!(read_page(&path, 3 * 4096).is_err());
    }
}
