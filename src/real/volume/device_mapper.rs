//! Asks device-mapper itself (`/dev/mapper/control`).
//!
//! A mapping that has a name and no table has no block device, so sysfs does not show it. The kernel's own list is the truth
//! about names. Only what a caller named is removed, and the kernel refuses to remove an open mapping. Source:
//! `linux/dm-ioctl.h`, version 4 of the interface; the structure is 312 bytes long on every architecture.
//!
//! `volume::cryptsetup` makes mappings; `volume::luks` and `mount::attached` decide whose a mapping is.

use crate::os_error::errno;
use crate::real::volume::block_io::io_fault;
use camino::Utf8Path;
use landfall_states::fault::Fault;
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How often a busy mount or mapping is tried again.
pub const BUSY_TRIES_MAX: u32 = 40;
/// Time between two such tries.
pub const BUSY_WAIT: Duration = Duration::from_millis(250);

/// The way to the kernel.
const CONTROL: &str = "/dev/mapper/control";
/// Of the structure that every call begins with, in bytes.
const HEAD_BYTES: usize = 312;
/// Longest answer of device-mapper; a list of a hundred mappings has at most 16 KiB.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Most mappings in one answer.
const NAMES_MAX: usize = ANSWER_BYTES_MAX / 16;
/// Where its fields lie in the structure.
const AT_DATA_SIZE: usize = 12;
const AT_DATA_START: usize = 16;
const AT_OPEN_COUNT: usize = 24;
const AT_FLAGS: usize = 28;
const AT_NAME: (usize, usize) = (48, 128);
const AT_UUID: (usize, usize) = (176, 129);
/// `DM_SUSPEND_FLAG`.
const SUSPENDED: u32 = 1 << 1;
/// `DM_ACTIVE_PRESENT_FLAG`.
const ACTIVE: u32 = 1 << 5;
/// `DM_INACTIVE_PRESENT_FLAG`.
const INACTIVE: u32 = 1 << 6;
/// `DM_BUFFER_FULL_FLAG`.
const TOO_SMALL: u32 = 1 << 8;
/// `DM_QUERY_INACTIVE_TABLE_FLAG`.
const ASK_INACTIVE: u32 = 1 << 12;

mod ioctl {
    #[repr(C)]
    pub(crate) struct Head(pub [u8; super::HEAD_BYTES]);
    nix::ioctl_readwrite!(list_devices, 0xfd, 2, Head);
    nix::ioctl_readwrite!(dev_remove, 0xfd, 4, Head);
    nix::ioctl_readwrite!(dev_status, 0xfd, 7, Head);
    nix::ioctl_readwrite!(table_deps, 0xfd, 11, Head);
}

/// A mapping, as device-mapper knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its UUID; empty when it was made without one.
    pub uuid: String,
    /// Whether there is a table that takes effect. Without it there is no block device.
    pub has_table: bool,
    /// Whether it is suspended: whoever reads or writes it waits.
    pub suspended: bool,
    /// How often it is open, mounts included.
    pub opened: u32,
    /// `major:minor` of the devices that its table lies on, also of a table that does not take effect yet.
    pub slaves: Vec<String>,
}

/// The mapping of a name.
///
/// # Errors
/// Device-mapper does not answer.
pub fn find(name: &str) -> Result<Option<Mapping>, Fault> {
    let fault = |e: io::Error| io_fault(format!("device-mapper name {name}"), &e);
    let Some(control) = open().map_err(fault)? else {
        return Ok(None);
    };
    look(&control, name).map_err(fault)
}

/// The names of all mappings.
///
/// # Errors
/// Device-mapper does not answer.
pub fn names() -> Result<Vec<String>, Fault> {
    let fault = |e: io::Error| io_fault("list of device-mapper devices", &e);
    let Some(control) = open().map_err(fault)? else {
        return Ok(vec![]);
    };
    let mut call = Call::new("", 0);
    // SAFETY: as in `Call::ask`.
    call.ask(&control, |fd, head| unsafe { ioctl::list_devices(fd, head) })
        .map_err(fault)?;
    Ok(names_in(call.answer()))
}

/// Removes a mapping that is not open.
///
/// # Errors
/// It is open, or device-mapper refuses.
pub fn remove(name: &str) -> Result<(), Fault> {
    let fault = |e: io::Error| io_fault(format!("device-mapper name {name}"), &e);
    let Some(control) = open().map_err(fault)? else {
        return Ok(());
    };
    let mut call = Call::new(name, 0);
    // SAFETY: as in `Call::ask`.
    match call.ask(&control, |fd, head| unsafe { ioctl::dev_remove(fd, head) }) {
        // Gone by itself: what was wanted.
        Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(()),
        other => other.map_err(fault),
    }
}

/// `None`: this kernel has no device-mapper, or has not loaded it, so that there is no mapping.
fn open() -> io::Result<Option<File>> {
    let opened = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(Utf8Path::new(CONTROL));
    match opened {
        Ok(file) => Ok(Some(file.into_parts().0)),
        Err(e)
            if matches!(
                errno(&e).map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO)
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

fn look(control: &File, name: &str) -> io::Result<Option<Mapping>> {
    let mut status = Call::new(name, 0);
    // SAFETY: as in `Call::ask`.
    match status.ask(control, |fd, head| unsafe { ioctl::dev_status(fd, head) }) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => return Ok(None),
        Err(e) => return Err(e),
    }
    let flags = status.number(AT_FLAGS);
    let mut slaves = vec![];
    for (present, asked) in [(ACTIVE, 0), (INACTIVE, ASK_INACTIVE)] {
        if flags & present == 0 {
            continue;
        }
        let mut deps = Call::new(name, asked);
        // SAFETY: as in `Call::ask`.
        match deps.ask(control, |fd, head| unsafe { ioctl::table_deps(fd, head) }) {
            Ok(()) => slaves.extend(devices_in(deps.answer())),
            // Gone since.
            Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    slaves.sort();
    slaves.dedup();
    Ok(Some(Mapping {
        uuid: status.text(AT_UUID),
        has_table: flags & ACTIVE != 0,
        suspended: flags & SUSPENDED != 0,
        opened: status.number(AT_OPEN_COUNT),
        slaves,
    }))
}

/// What is sent and what comes back: the structure, and room behind it.
struct Call {
    bytes: Vec<u8>,
}

impl Call {
    fn new(name: &str, flags: u32) -> Self {
        Call {
            bytes: request(name, flags, 16 << 10),
        }
    }

    /// Asks, with more room for as long as the kernel wants more.
    fn ask(
        &mut self,
        control: &File,
        call: impl Fn(nix::libc::c_int, *mut ioctl::Head) -> nix::Result<nix::libc::c_int>,
    ) -> io::Result<()> {
        loop {
            let asked = self.bytes.clone();
            // The kernel reads and writes as many bytes as the structure says, which is the length of this buffer; the buffer
            // outlives the call, and the structure is bytes, which any value is valid for.
            call(control.as_raw_fd(), self.bytes.as_mut_ptr().cast())?;
            if self.number(AT_FLAGS) & TOO_SMALL == 0 {
                return Ok(());
            }
            if asked.len() * 2 > ANSWER_BYTES_MAX {
                return Err(io::Error::other("device-mapper's answer is too long"));
            }
            self.bytes = asked;
            self.bytes.resize(self.bytes.len() * 2, 0);
            let length = self.bytes.len() as u32;
            #[expect(
                clippy::indexing_slicing,
                reason = "`request` has made it longer than the head"
            )]
            self.bytes[AT_DATA_SIZE..AT_DATA_SIZE + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn number(&self, at: usize) -> u32 {
        number(&self.bytes, at).unwrap_or(0)
    }

    fn text(&self, (at, length): (usize, usize)) -> String {
        text(self.bytes.get(at..at + length).unwrap_or_default())
    }

    fn answer(&self) -> &[u8] {
        let start = self.number(AT_DATA_START) as usize;
        self.bytes.get(start..).unwrap_or_default()
    }
}

/// The structure, and `room` bytes in all.
#[expect(
    clippy::indexing_slicing,
    reason = "`bytes` are `HEAD_BYTES` at least, and every place lies in these"
)]
fn request(name: &str, flags: u32, room: usize) -> Vec<u8> {
    let mut bytes = vec![0; room.max(HEAD_BYTES)];
    let length = bytes.len() as u32;
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    put(0, 4);
    put(AT_DATA_SIZE, length);
    put(AT_DATA_START, HEAD_BYTES as u32);
    put(AT_FLAGS, flags);
    // The last byte stays zero. Names are shorter than this by their type.
    let name = &name.as_bytes()[..name.len().min(AT_NAME.1 - 1)];
    bytes[AT_NAME.0..AT_NAME.0 + name.len()].copy_from_slice(name);
    bytes
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// `struct dm_name_list`: device number, offset of the next one or 0, name. An empty list is one without a number.
fn names_in(answer: &[u8]) -> Vec<String> {
    let mut names = vec![];
    let mut at = 0;
    while let Some(entry) = answer.get(at..).filter(|_| names.len() < NAMES_MAX) {
        let (Some(low), Some(high), Some(next)) = (number(entry, 0), number(entry, 4), number(entry, 8))
        else {
            break;
        };
        if low == 0 && high == 0 {
            break;
        }
        names.push(text(entry.get(12..).unwrap_or_default()));
        if next == 0 {
            break;
        }
        at += next as usize;
    }
    names
}

/// `struct dm_target_deps`: how many, and their numbers as the kernel packs them.
fn devices_in(answer: &[u8]) -> Vec<String> {
    let count = number(answer, 0).unwrap_or(0) as usize;
    let numbers = answer.get(8..).unwrap_or_default().chunks_exact(8).take(count);
    numbers
        .filter_map(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)))
        .map(|packed| {
            let (major, minor) = (packed >> 8 & 0xfff, packed & 0xff | packed >> 12 & 0xf_ff00);
            format!("{major}:{minor}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_its_fields_where_the_kernel_reads_them() {
        let bytes = request("cryptroot", ASK_INACTIVE, 1024);
        let at = |at| number(&bytes, at).unwrap();
        assert_eq!((at(0), at(4), at(8)), (4, 0, 0), "version");
        assert_eq!((at(AT_DATA_SIZE), at(AT_DATA_START)), (1024, 312));
        assert_eq!(at(AT_FLAGS), 1 << 12);
        assert_eq!(text(&bytes[48..176]), "cryptroot");
        let long = request(&"x".repeat(500), 0, 0);
        assert_eq!(long.len(), HEAD_BYTES);
        assert_eq!(long[175..177], [0, 0], "a name ends within its field");
    }

    #[test]
    fn lists_are_understood() {
        let mut list = vec![];
        for (number, next, name) in [(0xfd00_u64, 32_u32, "cryptroot"), (0xfd01, 0, "empty")] {
            let mut entry = number.to_ne_bytes().to_vec();
            entry.extend(next.to_ne_bytes());
            entry.extend(name.as_bytes());
            entry.resize(32, 0);
            list.extend(entry);
        }
        assert_eq!(names_in(&list), ["cryptroot", "empty"]);
        assert_eq!(names_in(&[0; 16]), Vec::<String>::new());
        let mut deps = 2_u32.to_ne_bytes().to_vec();
        deps.extend([0; 4]);
        // 8:2, and 259:300 with a minor number of more than a byte.
        deps.extend(0x802_u64.to_ne_bytes());
        deps.extend((259_u64 << 8 | 300 & 0xff | (300 & !0xff) << 12).to_ne_bytes());
        assert_eq!(devices_in(&deps), ["8:2", "259:300"]);
    }

    #[test]
    fn a_kernel_without_device_mapper_has_no_mapping() {
        // This machine may have it or not; the name is nobody's.
        if nix::unistd::geteuid().is_root() {
            assert_eq!(find("landfall-no-such-mapping").unwrap(), None);
            remove("landfall-no-such-mapping").unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            names_in(&bytes);
            prop_assert!(devices_in(&bytes).len() <= 12);
        }
    }
}
