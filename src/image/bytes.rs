//! Where the bytes of an image come from. Law: a read gives exactly the bytes asked for or an error; reading again goes to
//! the medium, not to a cache.
//!
//! Absent: what the bytes mean, and retries (`open`).

use camino::Utf8Path;
use fs_err as fs;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::io;
use std::os::unix::fs::FileExt;

/// A medium with an image on it.
pub trait Bytes: Send + Sync {
    /// Reads exactly this much from there.
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Forgets what a cache holds of a range, so that the next read comes from the medium.
    fn forget(&self, at: u64, bytes: u64) -> io::Result<()>;
}

/// A file.
#[derive(Debug)]
pub struct FileBytes {
    file: fs::File,
}

impl FileBytes {
    /// Opens it for reading. It will be read from its start to its end, which the kernel is told.
    pub fn open(path: &Utf8Path) -> io::Result<FileBytes> {
        let file = fs::File::open(path)?;
        posix_fadvise(file.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL)?;
        Ok(FileBytes { file })
    }
}

impl Bytes for FileBytes {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.file.file().read_exact_at(bytes, at)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.len())
    }

    fn forget(&self, at: u64, bytes: u64) -> io::Result<()> {
        let (at, bytes) = (signed(at)?, signed(bytes)?);
        posix_fadvise(
            self.file.file(),
            at,
            bytes,
            PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        )?;
        Ok(())
    }
}

fn signed(number: u64) -> io::Result<i64> {
    i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
