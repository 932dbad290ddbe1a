//! Allows one writer of a disk, for the whole of its run.
//!
//! The lock is in the kernel, on the device itself, so it does not depend on a run directory or on who may see it. It ends
//! with the last process that has it, however that ends.
//!
//! It is an open file description lock (fcntl(2)) on one byte far past the end of every disk; no other program gives that byte a
//! meaning. Programs that landfall starts inherit the lock: a program that outlives a killed landfall and still writes keeps the next
//! one away.
//!
//! It is not flock(2), which udev and `--lock` of partitioning tools take (systemd's "Locking Block Device Access"). Held for a
//! whole run, that lock would keep udev from making its links.
//!
//! `real::disk` says which disk it is; `lock` and `lock::machine` lock the run directory and the machine.

use super::holders::{self, Process};
use crate::safe_open;
use camino::Utf8Path;
use fs_err::os::unix::fs::OpenOptionsExt;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI32, Ordering};

/// The byte: `LFLOCK` as a number.
const BYTE: i64 = 0x4c_46_4c_4f_43_4b;

/// The descriptor that programs inherit; -1: none.
static INHERITED: AtomicI32 = AtomicI32::new(-1);

/// The lock; released when dropped and when every program that inherited it has ended.
#[derive(Debug)]
pub struct TargetLock {
    file: File,
}

/// Why it was not taken.
#[derive(Debug)]
pub enum Refused {
    /// Somebody has it.
    Held(Vec<Process>),
    /// It cannot be had at all.
    Io(io::Error),
}

impl TargetLock {
    /// Takes the lock on a whole disk, or on a file that stands for one.
    ///
    /// # Errors
    /// Another landfall, or a program that it left, is at work on the disk; or the disk cannot be opened.
    pub fn take(device: &Utf8Path) -> Result<TargetLock, Refused> {
        let mut options = fs_err::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).bits());
        let named = safe_open::storage(device).map_err(|refused| match refused {
            safe_open::Refused::Absent => Refused::Io(Errno::ENOENT.into()),
            other => Refused::Io(other.into_io(device)),
        })?;
        let file = options.open(safe_open::through(&named)).map_err(Refused::Io)?;
        let file = file.into_parts().0;
        let wanted = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: BYTE,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)) {
            Ok(_) => Ok(TargetLock { file }),
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let held = file.metadata().map_err(Refused::Io)?;
                Err(Refused::Held(holders::of_lock((held.dev(), held.ino()), BYTE)))
            }
            Err(errno) => Err(Refused::Io(errno.into())),
        }
    }

    /// Programs that are started from now on have it too, until they end.
    pub fn inherit(&self) {
        INHERITED.store(self.file.as_raw_fd(), Ordering::Relaxed);
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        let mine = self.file.as_raw_fd();
        // Another one may be what is inherited by now.
        let _other = INHERITED.compare_exchange(mine, -1, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The descriptor that a program which is being started is to keep.
pub fn inherited() -> Option<RawFd> {
    Some(INHERITED.load(Ordering::Relaxed)).filter(|fd| *fd >= 0)
}
