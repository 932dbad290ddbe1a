//! The file behind a loop device, by its number and not by its name, because names change, can end in blanks, and can belong to
//! another file later.
//!
//! `real::disk` lists the loop devices and their use.

use crate::image::disk::FileDisk;
use camino::Utf8Path;
use std::io;
use std::os::fd::AsRawFd;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rest: [u64; 27],
}

nix::ioctl_read_bad!(
    /// `LOOP_GET_STATUS64` of linux/loop.h.
    loop_get_status64,
    0x4C05,
    LoopInfo
);

/// The device and the number of the file behind a loop device. Btrfs gives files another device than the loop device has.
///
/// # Errors
/// The device cannot be opened, or the kernel does not answer.
pub fn file_behind(device: &Utf8Path) -> io::Result<(u64, u64)> {
    let disk = FileDisk::open_to_read(device)?;
    let mut info = LoopInfo {
        device: 0,
        inode: 0,
        rest: [0; 27],
    };
    // SAFETY: the kernel writes the 232 bytes of its structure, of which this is one.
    unsafe { loop_get_status64(disk.descriptor().as_raw_fd(), &raw mut info) }?;
    // The kernel's own encoding of a device's number.
    let (major, minor) = (
        info.device >> 8 & 0xFFF,
        info.device & 0xFF | info.device >> 12 & 0xFFF_FF00,
    );
    Ok((nix::sys::stat::makedev(major, minor), info.inode))
}

const _: () = assert!(size_of::<LoopInfo>() == 232);
