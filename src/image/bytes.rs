//! Where the bytes of an image come from. Law: a read gives exactly the bytes asked for or an error; reading again goes to
//! the medium, not to a cache.
//!
//! Absent: what the bytes mean, and retries (`open`).

use super::Error;
use camino::Utf8Path;
use fs_err as fs;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::FileType;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};

/// A medium with an image on it.
pub trait Bytes: Send + Sync {
    /// Reads exactly this much from there.
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Lets the medium begin with a range that will be asked for soon. Whoever cannot does nothing.
    fn ahead(&self, _at: u64, _bytes: u64) {}
    /// Forgets what a cache holds of a range, so that the next read comes from the medium.
    fn forget(&self, at: u64, bytes: u64) -> io::Result<()>;
}

/// A file.
#[derive(Debug)]
pub struct FileBytes {
    file: fs::File,
}

impl FileBytes {
    /// Opens it for reading. It will be read from its start to its end, which the kernel is told. What is neither file nor
    /// block device is refused unopened: a FIFO would wait for somebody to write into it.
    pub fn open(path: &Utf8Path) -> Result<FileBytes, Error> {
        let fault = |error| Error::io("opening")(error);
        let meta = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Missing,
            _ => fault(error),
        })?;
        if let Some(kind) = other(meta.file_type()) {
            return Err(Error::NoFile(kind));
        }
        let file = fs::File::open(path).map_err(fault)?;
        posix_fadvise(file.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL)
            .map_err(|errno| fault(errno.into()))?;
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

    fn ahead(&self, at: u64, bytes: u64) {
        let (Ok(at), Ok(bytes)) = (signed(at), signed(bytes)) else {
            return;
        };
        // Advice only; what is wrong with the medium is told by the read.
        let _advised = posix_fadvise(
            self.file.file(),
            at,
            bytes,
            PosixFadviseAdvice::POSIX_FADV_WILLNEED,
        );
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

/// What it is, where that cannot hold an image.
fn other(kind: FileType) -> Option<&'static str> {
    [
        (kind.is_dir(), "directory"),
        (kind.is_fifo(), "FIFO"),
        (kind.is_socket(), "socket"),
        (kind.is_char_device(), "character device"),
    ]
    .into_iter()
    .find_map(|(is, name)| is.then_some(name))
}

fn signed(number: u64) -> io::Result<i64> {
    i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
