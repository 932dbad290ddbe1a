//! Reads the bytes of an image.
//!
//! A read gives exactly the requested bytes, or an error. Reading again reads from the medium, not from a cache. `open` interprets
//! the bytes and retries.

use super::Error;
use crate::safe_open::{self, Links, Refused};
use camino::Utf8Path;
use fs_err as fs;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A medium with an image on it.
pub trait Bytes: Send + Sync {
    /// Reads exactly this much from there.
    ///
    /// # Errors
    /// The medium reports an error, or ends before.
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Length in bytes.
    ///
    /// # Errors
    /// It cannot be told.
    fn length(&self) -> io::Result<u64>;
    /// Lets the medium begin with a range that will be asked for soon. Whoever cannot does nothing.
    fn ahead(&self, _at: u64, _bytes: u64) {}
    /// Forgets what a cache holds of a range, so that the next read comes from the medium.
    ///
    /// # Errors
    /// The kernel refuses.
    fn forget(&self, at: u64, bytes: u64) -> io::Result<()>;
}

/// A file.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
}

impl FileBytes {
    /// Opens it for reading. It will be read from its start to its end, which the kernel is told. What is neither file nor
    /// block device is refused unopened: a FIFO would wait for somebody to write into it.
    ///
    /// # Errors
    /// Nothing has this name, it is neither a file nor a block device, or it cannot be opened.
    pub fn open(path: &Utf8Path) -> Result<FileBytes, Error> {
        let fault = |error| Error::io("opening")(error);
        let file = match safe_open::open(path, Links::Follow) {
            Ok(file) => file,
            Err(Refused::Absent) => return Err(Error::Missing),
            // An image may lie on a partition as it is.
            Err(Refused::NotRegular(kind)) => match safe_open::storage(path) {
                Ok(named) => {
                    fs::File::open(safe_open::through(&named))
                        .map_err(fault)?
                        .into_parts()
                        .0
                }
                Err(_) => return Err(Error::NoFile(kind)),
            },
            Err(refused) => return Err(fault(refused.into_io(path))),
        };
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL)
            .map_err(|errno| fault(errno.into()))?;
        Ok(FileBytes { file })
    }
}

impl Bytes for FileBytes {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.len())
    }

    fn ahead(&self, at: u64, bytes: u64) {
        let (Ok(at), Ok(bytes)) = (signed(at), signed(bytes)) else {
            return;
        };
        // Advice only; what is wrong with the medium is told by the read.
        let _advised = posix_fadvise(&self.file, at, bytes, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }

    fn forget(&self, at: u64, bytes: u64) -> io::Result<()> {
        let (at, bytes) = (signed(at)?, signed(bytes)?);
        posix_fadvise(&self.file, at, bytes, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(())
    }
}

fn signed(number: u64) -> io::Result<i64> {
    i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
