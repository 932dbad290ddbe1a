//! Attributes of the kernel, in sysfs and beside it: texts, numbers and names, read again at every call.
//!
//! An attribute that is missing, or that a failing disk cannot give, is `None`.
//!
//! `sysfs` makes block devices of them, and `place` addresses.

use camino::Utf8PathBuf;
use nix::fcntl::OFlag;
use std::io::{self, Read};

/// Most devices that are looked at.
pub(super) const BLOCKS_MAX: usize = 1024;
/// Longest attribute of a device, and longest `/proc/self/mountinfo`.
const ATTRIBUTE_BYTES_MAX: u64 = 16 << 20;

/// The places to look in; another root is for tests.
#[derive(Debug, Clone)]
pub struct Sysfs {
    root: Utf8PathBuf,
}

impl Sysfs {
    /// This machine.
    pub fn real() -> Self {
        Sysfs { root: "/".into() }
    }

    /// Another root.
    pub fn below(root: impl Into<Utf8PathBuf>) -> Self {
        Sysfs { root: root.into() }
    }

    /// Whether it is this machine that is looked at.
    pub(super) fn is_this_machine(&self) -> bool {
        self.root == "/"
    }

    /// A path below the root.
    pub fn at(&self, path: &str) -> Utf8PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A whole file; `None` where there is none, or where the device behind it went away or does not support it.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is too long.
    pub fn text(&self, path: &str) -> io::Result<Option<String>> {
        Ok(self
            .bytes(path)?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// As [`Self::text`], but any bytes.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let read = super::open(&self.at(path), OFlag::O_RDONLY)
            .and_then(|file| file.take(ATTRIBUTE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => {
                // A failing disk must not hide the others; without its name it cannot be taken for itself.
                tracing::warn!(path, error = %e, "attribute");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// A file with one number; `None` where there is another text.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn number(&self, path: &str) -> io::Result<Option<u64>> {
        // Text that is no number is no number: only I/O errors are errors here.
        Ok(self.text(path)?.and_then(|t| t.trim().parse().ok()))
    }

    /// A text without spaces around it; `None` where nothing is left.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn word(&self, path: &str) -> io::Result<Option<String>> {
        Ok(self.text(path)?.and_then(|t| tidy(&t)))
    }

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub(super) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let listing = match fs_err::read_dir(self.at(path)) {
            Ok(listing) => listing,
            Err(e) if gone(&e) => return Ok(vec![]),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in listing.take(BLOCKS_MAX) {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

/// Whether an error means "not there". Drivers answer so for pages that the hardware does not have.
pub(super) fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    ) || matches!(
        super::os_code(error),
        Some(
            nix::libc::ENXIO
                | nix::libc::ENODEV
                | nix::libc::EOPNOTSUPP
                | nix::libc::ENOENT
                | nix::libc::ENOTDIR
        )
    )
}

/// Trimmed, without control characters, inner runs of blanks as one; nothing when nothing is left.
pub(super) fn tidy(text: &str) -> Option<String> {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}
