//! The target of an image: a block device, or a file with the contents of one.
//!
//! Reads and writes bypass the page cache where the system allows it, so a read-back shows what the device has. A device in use is
//! never changed.
//!
//! The caller chooses the device and checks the consent.

use super::{BLOCK_BYTES, Error};
use crate::safe_open;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::libc;
use nix::sys::stat::{SFlag, fstat};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// A target.
pub trait Disk: Send + Sync {
    /// Reads exactly this much from the device itself. Address, place and length are multiples of a block.
    ///
    /// # Errors
    /// The device reports an error, or ends before.
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of it; durable after [`Disk::flush`].
    ///
    /// # Errors
    /// The device reports an error, or ends before.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes a range read as zero; durable after [`Disk::flush`].
    ///
    /// # Errors
    /// The device reports an error.
    fn zero(&self, at: u64, bytes: u64) -> io::Result<()>;
    /// Tells the device that what is in a range is needed no more; what it then reads as is open. False when it does not
    /// take such advice.
    ///
    /// # Errors
    /// The device reports an error.
    fn discard(&self, at: u64, bytes: u64) -> io::Result<bool>;
    /// Makes everything written durable, the device's own cache included.
    ///
    /// # Errors
    /// The device reports an error, also of an earlier write.
    fn flush(&self) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> u64;
}

/// A device node or a file.
#[derive(Debug)]
pub struct FileDisk {
    path: Utf8PathBuf,
    file: std::fs::File,
    length: u64,
    is_device: bool,
    direct: bool,
}

nix::ioctl_write_ptr_bad!(
    /// `BLKZEROOUT` of linux/fs.h, `_IO(0x12, 127)`: first byte and number of bytes.
    blk_zero_out,
    nix::request_code_none!(0x12, 127),
    [u64; 2]
);

nix::ioctl_write_ptr_bad!(
    /// `BLKDISCARD` of linux/fs.h, `_IO(0x12, 119)`: first byte and number of bytes.
    blk_discard,
    nix::request_code_none!(0x12, 119),
    [u64; 2]
);

impl FileDisk {
    /// For questions to the device itself.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Opens it for reading alone, whoever else uses it.
    ///
    /// # Errors
    /// It cannot be opened, or its size cannot be told.
    pub fn open_to_read(path: &Utf8Path) -> io::Result<FileDisk> {
        FileDisk::open_with(path, false, 0)
    }

    /// Opens it. A block device is opened exclusively when `alone` is asked for: the kernel refuses that while it, or a
    /// partition of it, is mounted, mapped, in an array or used for swap.
    ///
    /// # Errors
    /// It cannot be opened, its size cannot be told, or it is used by somebody else.
    pub fn open(path: &Utf8Path, alone: bool) -> io::Result<FileDisk> {
        let exclusive = if alone { libc::O_EXCL } else { 0 };
        FileDisk::open_with(path, true, exclusive)
    }

    fn open_with(path: &Utf8Path, write: bool, exclusive: i32) -> io::Result<FileDisk> {
        let named = safe_open::storage(path).map_err(|refused| refused.into_io(path))?;
        let is_device = SFlag::from_bits_truncate(fstat(&named)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFBLK;
        let exclusive = if is_device { exclusive } else { 0 };
        let open = |flags: i32| {
            fs::OpenOptions::new()
                .read(true)
                .write(write)
                .custom_flags(flags | exclusive)
                .open(safe_open::through(&named))
        };
        // A filesystem without direct access says so when the file is opened.
        let (mut file, direct) = match open(libc::O_DIRECT) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => (open(0)?, false),
            Err(error) => return Err(error),
        };
        let length = file.seek(SeekFrom::End(0))?;
        Ok(FileDisk {
            path: path.to_owned(),
            file: file.into_parts().0,
            length,
            is_device,
            direct,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Closes it; a late error of writing is told here at the latest (close(2)).
    ///
    /// # Errors
    /// An error of an earlier write.
    pub fn close(self) -> io::Result<()> {
        Ok(nix::unistd::close(self.file)?)
    }
}

impl Disk for FileDisk {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        if !self.direct {
            posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        self.file.read_exact_at(bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn zero(&self, at: u64, bytes: u64) -> io::Result<()> {
        if self.is_device {
            // SAFETY: the descriptor is open, and the kernel reads the two numbers only.
            unsafe { blk_zero_out(self.file.as_raw_fd(), &[at, bytes]) }?;
            return Ok(());
        }
        if self.punch(at, bytes)? {
            return Ok(());
        }
        self.write_zeros(at, bytes)
    }

    fn discard(&self, at: u64, bytes: u64) -> io::Result<bool> {
        if !self.is_device {
            return self.punch(at, bytes);
        }
        // SAFETY: the descriptor is open, and the kernel reads the two numbers only.
        match unsafe { blk_discard(self.file.as_raw_fd(), &[at, bytes]) } {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> u64 {
        self.length
    }
}

impl FileDisk {
    /// Makes a hole in a file. False where the filesystem knows no holes.
    fn punch(&self, at: u64, bytes: u64) -> io::Result<bool> {
        let signed = |number| i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.file, punch, signed(at)?, signed(bytes)?) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write_zeros(&self, at: u64, bytes: u64) -> io::Result<()> {
        let zeros = super::pool::Buffer::new(64 * BLOCK_BYTES);
        let mut done = 0;
        while done < bytes {
            let length = (bytes - done).min(zeros.bytes().len() as u64);
            // At most 64 blocks: it fits any `usize`.
            self.write_all_at(&zeros.bytes()[..length as usize], at + done)?;
            done += length;
        }
        Ok(())
    }
}

/// Whether the target can take a filesystem of this size.
///
/// # Errors
/// It is too small.
pub fn fits(disk: &dyn Disk, filesystem_bytes: u64) -> Result<(), Error> {
    if disk.length() < filesystem_bytes {
        return Err(Error::TooSmall {
            found: disk.length(),
            wanted: filesystem_bytes,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::pool::Buffer;

    #[test]
    fn what_is_written_is_there_and_what_is_zeroed_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("disk");
        fs::write(&path, vec![7; 16 * BLOCK_BYTES]).unwrap();
        let disk = FileDisk::open(&path, true).unwrap();
        let mut buffer = Buffer::new(2 * BLOCK_BYTES);
        buffer.bytes_mut().fill(9);
        disk.write_all_at(buffer.bytes(), 4 * 4096).unwrap();
        disk.zero(8 * 4096, 4 * 4096).unwrap();
        disk.write_zeros(12 * 4096, 4096).unwrap();
        disk.flush().unwrap();
        let all = fs::read(&path).unwrap();
        let expected: Vec<u8> = [(7, 4), (9, 2), (7, 2), (0, 5), (7, 3)]
            .iter()
            .flat_map(|&(byte, blocks)| vec![byte; blocks * BLOCK_BYTES])
            .collect();
        assert!(all == expected);
        disk.read_exact_at(buffer.bytes_mut(), 12 * 4096).unwrap();
        assert_eq!(buffer.bytes()[..4096], [0; 4096]);
        assert!(
            disk.read_exact_at(buffer.bytes_mut(), 15 * 4096).is_err(),
            "behind the end"
        );
        // Given away: a file has a hole there, and what lies beside it stays.
        assert!(disk.discard(4096, 2 * 4096).unwrap());
        let all = fs::read(&path).unwrap();
        assert_eq!(
            (all[4095], all[4096], all[3 * 4096 - 1], all[3 * 4096]),
            (7, 0, 0, 7)
        );
        let reader = FileDisk::open_to_read(&path).unwrap();
        reader.read_exact_at(buffer.bytes_mut(), 3 * 4096).unwrap();
        assert_eq!(buffer.bytes()[0], 7);
        assert!(reader.write_all_at(buffer.bytes(), 0).is_err(), "it can write");
        assert!(fits(&disk, 16 * 4096).is_ok() && fits(&disk, 17 * 4096).is_err());
    }
}
