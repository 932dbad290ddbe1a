//! Switches a stick off, so that it can be unplugged.
//!
//! Everything is flushed before (`write`). The USB port is switched off only if no other disk is behind it. A built-in disk stays on.
//! If there is nothing to switch off, this is reported.
//!
//! The kernel does the rest: it sends the disk its last flush and stops it (`sd_shutdown` of Linux), as with `udisksctl power-off`.

use crate::real::disk::sysfs::{Block, Sysfs};
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long a stick may take to go after it was switched off.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// How a stick is switched off: the attribute that a `1` is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The USB device, with its port.
    Usb(Utf8PathBuf),
    /// One disk of several behind a device.
    Scsi(Utf8PathBuf),
    /// There is nothing to be switched off: a card in a reader that is built in, a loop device.
    Nothing,
}

/// The USB device that a disk hangs on: the nearest folder above it that can be removed and has a maker.
fn usb_device(sysfs: &Sysfs, name: &str) -> Option<Utf8PathBuf> {
    let full = sysfs.at(&format!("sys/block/{name}")).canonicalize_utf8().ok()?;
    full.ancestors()
        .find(|at| at.join("idVendor").exists() && at.join("remove").exists())
        .map(|at| at.to_owned())
}

/// An attribute of the kernel; one that is not there, or cannot be read, says nothing.
fn sysfs_word(path: &Utf8Path) -> Option<String> {
    let bytes = safe_open::read_if_there(path, Links::Follow, 4_096).ok()??;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// How this one is switched off.
pub fn way(sysfs: &Sysfs, block: &Block, all: &[Block]) -> Way {
    if let Some(device) = usb_device(sysfs, &block.name) {
        // A reader that is built in would be gone until the next boot (`removable` of sysfs-bus-usb(5)).
        let is_fixed = sysfs_word(&device.join("removable")).is_some_and(|word| word == "fixed");
        if is_fixed {
            return Way::Nothing;
        }
        let is_alone = !all.iter().any(|other| {
            other.name != block.name && usb_device(sysfs, &other.name).as_ref() == Some(&device)
        });
        if is_alone {
            return Way::Usb(device.join("remove"));
        }
    }
    // A disk on a fixed bus would be gone until the next boot.
    let can_leave = match block.transport {
        "usb" => true,
        "scsi" => block.removable,
        _ => false,
    };
    let delete = sysfs.at(&format!("sys/block/{}/device/delete", block.name));
    if can_leave && delete.exists() {
        Way::Scsi(delete)
    } else {
        Way::Nothing
    }
}

/// Switches it off and waits until it is gone. False: there is nothing to be switched off.
///
/// # Errors
/// The kernel refuses to switch the device off, or its state cannot be read.
pub fn eject(sysfs: &Sysfs, block: &Block, way: &Way) -> io::Result<bool> {
    let attribute = match way {
        Way::Usb(attribute) | Way::Scsi(attribute) => attribute,
        Way::Nothing => return Ok(false),
    };
    let mut options = fs_err::OpenOptions::new();
    options.write(true).open(attribute)?.write_all(b"1")?;
    let end = Instant::now() + GONE_WITHIN;
    while sysfs.at(&format!("sys/block/{}", block.name)).exists() {
        if Instant::now() >= end {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the kernel still shows it",
            ));
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}
