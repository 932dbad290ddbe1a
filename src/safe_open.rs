//! Opens files that somebody else may have put there.
//!
//! A name is looked at before it is opened, so that only a regular file is ever opened by it: no FIFO that waits for a
//! writer, no device that acts when it is opened, no directory. A link is followed only where links are allowed. What is read
//! has a bound that is known before the first byte.
//!
//! A process that hangs in `open(2)` does not react to SIGTERM. That is why there is one way to open a file, and
//! `tests/tidy.rs` checks that the rest of the sources use it.
//!
//! `real::fs::target_root` opens files of the target, and `real::disk` and `image::disk` open devices.

use crate::os_error;
use camino::Utf8Path;
use landfall_states::fault::{Fault, PlaceFault, Remedy};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc;
use nix::sys::stat::{Mode, fstat, fstatat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// Whether the name itself may be a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It may: configurations and images are links into the Nix store.
    Follow,
    /// It may not: nobody has a reason to put a link there.
    Refuse,
}

const BLOCK_DEVICE: &str = "block device";

/// Why a file is not read.
#[derive(Debug)]
pub enum Refused {
    /// Nothing has this name.
    Absent,
    /// It is something else than a regular file: what.
    NotRegular(&'static str),
    /// It is neither a file nor a block device: what.
    NoStorage(&'static str),
    /// It has more bytes than such a file can have.
    TooLong {
        /// The most, in bytes.
        max: u64,
    },
    /// The operating system says no.
    Os(io::Error),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Refused::from(io::Error::from(errno))
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match os_error::errno(&error).map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => Refused::Absent,
            _ => Refused::Os(error),
        }
    }
}

impl Refused {
    /// What is wrong, in words that go on behind the name.
    pub fn why(&self) -> String {
        match self {
            Refused::Absent => "it is not there".to_owned(),
            Refused::NotRegular(kind) => format!("it is a {kind}; landfall reads only regular files here"),
            Refused::NoStorage(kind) => {
                format!("it is a {kind}, not a block device or a file with the contents of one")
            }
            Refused::TooLong { max } => {
                format!("it is longer than {max} bytes, which is the most that landfall reads of such a file")
            }
            Refused::Os(error) => os_error::said(error),
        }
    }

    /// The fault that it is; `on` says which file, and what named it.
    pub fn fault(self, on: impl Into<String>) -> Fault {
        let on = on.into();
        match self {
            Refused::Absent => PlaceFault::FileUnusable {
                on,
                os: os_error::of(&Errno::ENOENT.into()),
            }
            .into(),
            Refused::NotRegular(kind) => PlaceFault::NotRegular {
                on,
                found: kind.to_owned(),
            }
            .into(),
            Refused::NoStorage(kind) => PlaceFault::FileType {
                path: on,
                expected: format!("a block device, or a file with the contents of one: it is a {kind}"),
            }
            .into(),
            Refused::TooLong { max } => PlaceFault::FileTooLong { on, max }.into(),
            Refused::Os(error) => os_error::fault(on, &error),
        }
    }

    /// The fault that a file is not read that an option names: where it is a directory, the file in it is meant.
    pub fn of_option(self, option: &str, file: &Utf8Path) -> Fault {
        const KEYS: [&str; 4] = ["id_ed25519", "id_ecdsa", "id_rsa", "known_hosts"];
        let is_directory = matches!(self, Refused::NotRegular("directory"));
        let fault = self.fault(format!("{option} {file}"));
        if !is_directory {
            return fault;
        }
        let is_hosts = option.ends_with("known_hosts");
        let usual = KEYS
            .iter()
            .filter(|name| (**name == "known_hosts") == is_hosts)
            .find(|name| file.join(name).is_file());
        fault.with_next(Remedy::change(match usual {
            Some(name) => format!("name the file in it: {option}: \"{}\"", file.join(name)),
            None => format!("name the file in it in {option} (ls {file} lists them)"),
        }))
    }

    /// As an error of a file, which it names.
    pub fn into_io(self, path: &Utf8Path) -> io::Error {
        match self {
            Refused::Absent => io::Error::new(io::ErrorKind::NotFound, format!("{path}: it is not there")),
            Refused::Os(error) => io::Error::new(error.kind(), Named(path.to_string(), error)),
            other => io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: {}", other.why())),
        }
    }
}

/// An error with the name of its file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Named(String, #[source] io::Error);

/// What a file is, from its mode; `None`: a regular one.
fn other_kind(mode: libc::mode_t) -> Option<&'static str> {
    match mode & libc::S_IFMT {
        libc::S_IFREG => None,
        libc::S_IFDIR => Some("directory"),
        libc::S_IFLNK => Some("symbolic link"),
        libc::S_IFIFO => Some("FIFO (a named pipe)"),
        libc::S_IFSOCK => Some("socket"),
        libc::S_IFCHR => Some("character device"),
        libc::S_IFBLK => Some(BLOCK_DEVICE),
        _ => Some("file of an unknown kind"),
    }
}

fn checked(fd: &OwnedFd) -> Result<u64, Refused> {
    let stat = fstat(fd)?;
    match other_kind(stat.st_mode) {
        None => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
        Some(kind) => Err(Refused::NotRegular(kind)),
    }
}

/// What a person named as a disk, or as a file that stands for one: named, not opened yet. Open it by [`through`].
///
/// # Errors
/// Nothing has this name, or something that is neither a block device nor a regular file.
pub fn storage(path: &Utf8Path) -> Result<OwnedFd, Refused> {
    let named = nix::fcntl::open(
        path.as_std_path(),
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    match other_kind(fstat(&named)?.st_mode) {
        None | Some(BLOCK_DEVICE) => Ok(named),
        Some(kind) => Err(Refused::NoStorage(kind)),
    }
}

/// A path that leads to the very file that was looked at, whatever has its name by now.
pub fn through(named: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", named.as_raw_fd())
}

/// Opens a regular file for reading.
///
/// # Errors
/// Nothing has this name, it is no regular file, or it cannot be opened.
pub fn open(path: &Utf8Path, links: Links) -> Result<File, Refused> {
    // Only named, not opened: the kernel calls neither a driver nor a pipe for it.
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    if links == Links::Refuse {
        flags |= OFlag::O_NOFOLLOW;
    }
    let named = nix::fcntl::open(path.as_std_path(), flags, Mode::empty())?;
    checked(&named)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(through(&named).as_str(), flags, Mode::empty())?;
    checked(&opened)?;
    Ok(File::from(opened))
}

/// Reads a regular file that has at most `max` bytes.
///
/// # Errors
/// As [`open`]; the file is longer, or cannot be read.
pub fn read(path: &Utf8Path, links: Links, max: u64) -> Result<Vec<u8>, Refused> {
    let file = open(path, links)?;
    let length = file.metadata()?.len();
    if length > max {
        return Err(Refused::TooLong { max });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(Refused::TooLong { max });
    }
    Ok(bytes)
}

/// As [`read`]; `None` when nothing has this name.
///
/// # Errors
/// As [`read`], but that nothing has the name.
pub fn read_if_there(path: &Utf8Path, links: Links, max: u64) -> Result<Option<Vec<u8>>, Refused> {
    match read(path, links, max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Refused::Absent) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Opens a file of our own for reading and writing (`append`: only at its end), and makes it if it is not there. Something
/// else of its name is refused: it is not ours.
///
/// # Errors
/// Something else has the name, or it cannot be opened or made.
pub fn open_own(path: &Utf8Path, mode: u32, append: bool) -> Result<File, Refused> {
    let refuse = |errno: Errno| match (
        errno,
        fstatat(
            nix::fcntl::AT_FDCWD,
            path.as_std_path(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        ),
    ) {
        // A link, a FIFO that nobody reads, a socket, a directory.
        (Errno::ELOOP | Errno::ENXIO | Errno::EISDIR, Ok(stat)) => {
            other_kind(stat.st_mode).map_or(Refused::Os(errno.into()), Refused::NotRegular)
        }
        _ => Refused::Os(errno.into()),
    };
    // Never a device: one that is there already is seen before it is opened.
    match fstatat(
        nix::fcntl::AT_FDCWD,
        path.as_std_path(),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    ) {
        Ok(stat) => {
            if let Some(kind) = other_kind(stat.st_mode) {
                return Err(Refused::NotRegular(kind));
            }
        }
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(Refused::Os(errno.into())),
    }
    let flags = if append {
        OFlag::O_WRONLY | OFlag::O_APPEND
    } else {
        OFlag::O_RDWR
    };
    let flags =
        flags | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened =
        nix::fcntl::open(path.as_std_path(), flags, Mode::from_bits_truncate(mode)).map_err(refuse)?;
    checked(&opened)?;
    Ok(File::from(opened))
}

/// Puts a file of our own in its place: beside it, renamed. What stood beside is removed, whatever it is; a directory in its own
/// place is refused by the rename. When that fails, nothing is left beside it.
///
/// # Errors
/// It cannot be written, flushed or renamed.
pub fn replace(path: &Utf8Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let beside = Utf8Path::new(path.parent().map_or("", Utf8Path::as_str))
        .join(format!(".{}.new", path.file_name().unwrap_or_default()));
    match fs_err::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(beside.as_std_path(), flags, Mode::from_bits_truncate(mode))
        .map_err(|errno| Refused::Os(errno.into()).into_io(&beside))?;
    let mut file = File::from(opened);
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs_err::rename(&beside, path));
    if written.is_err() {
        // The first error is the one that counts.
        drop(fs_err::remove_file(&beside));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;
    use fs_err as fs;

    /// Runs it in a thread, and fails when it does not come back: the control of every "does not hang".
    fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(act()));
        receive.recv_timeout(std::time::Duration::from_secs(2)).ok()
    }

    fn place() -> (tempfile::TempDir, Utf8PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        (keep, dir)
    }

    /// Everything that is no regular file, by its kind.
    fn foreign_users(dir: &Utf8Path) -> Vec<(Utf8PathBuf, &'static str)> {
        nix::unistd::mkfifo(dir.join("fifo").as_std_path(), Mode::S_IRWXU).unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
        fs::create_dir(dir.join("directory")).unwrap();
        fs::write(dir.join("file"), "text").unwrap();
        fs::os::unix::fs::symlink("file", dir.join("link")).unwrap();
        vec![
            (dir.join("fifo"), "FIFO"),
            (dir.join("socket"), "socket"),
            (dir.join("directory"), "directory"),
            ("/dev/zero".into(), "character device"),
        ]
    }

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let (_keep, dir) = place();
        for (path, kind) in foreign_users(&dir) {
            for links in [Links::Follow, Links::Refuse] {
                let at = path.clone();
                let refused = in_time(move || read(&at, links, 99))
                    .expect("it hangs")
                    .unwrap_err();
                assert!(refused.why().contains(kind), "{path}: {}", refused.why());
                let fault = refused.fault(format!("lock {path}"));
                assert!(
                    fault.to_string().contains(kind) && fault.to_string().contains("lock"),
                    "{fault}"
                );
            }
            for append in [false, true] {
                let at = path.clone();
                let refused = in_time(move || open_own(&at, 0o600, append))
                    .expect("it hangs")
                    .unwrap_err();
                assert!(refused.why().contains(kind), "{path}: {}", refused.why());
            }
        }
        assert_eq!(read(&dir.join("link"), Links::Follow, 4).unwrap(), b"text");
        assert!(
            read(&dir.join("link"), Links::Refuse, 4)
                .unwrap_err()
                .why()
                .contains("symbolic link")
        );
        assert!(
            open_own(&dir.join("link"), 0o600, true)
                .unwrap_err()
                .why()
                .contains("symbolic link")
        );
        assert!(matches!(
            read(&dir.join("none"), Links::Follow, 4),
            Err(Refused::Absent)
        ));
        assert!(matches!(
            read_if_there(&dir.join("none"), Links::Follow, 4),
            Ok(None)
        ));
    }

    #[test]
    fn opening_by_hand_hangs_which_is_why_it_is_not_done() {
        let (_keep, dir) = place();
        foreign_users(&dir);
        let fifo = dir.join("fifo");
        let at = fifo.clone();
        assert!(
            in_time(move || fs::read(at).map(drop)).is_none(),
            "the control does not hang"
        );
        // Let go of the thread.
        drop(fs::OpenOptions::new().write(true).open(fifo).unwrap());
    }

    #[test]
    fn a_file_has_the_bytes_that_it_may_have() {
        let (_keep, dir) = place();
        let path = dir.join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, Links::Refuse, 5).unwrap(), b"12345");
        assert!(matches!(
            read(&path, Links::Refuse, 4),
            Err(Refused::TooLong { max: 4 })
        ));
        fs::File::create(&path).unwrap().set_len(10 << 30).unwrap();
        let refused = in_time(move || read(&path, Links::Refuse, 1 << 20)).expect("it reads ten gigabytes");
        assert!(refused.unwrap_err().why().contains("longer than 1048576 bytes"));
    }

    #[test]
    fn what_is_ours_is_put_in_place_whatever_stood_beside_it() {
        let (_keep, dir) = place();
        nix::unistd::mkfifo(dir.join(".status.json.new").as_std_path(), Mode::S_IRWXU).unwrap();
        let path = dir.join("status.json");
        let at = path.clone();
        in_time(move || replace(&at, 0o644, b"{}"))
            .expect("it hangs")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        // A FIFO in its own place goes too: the rename puts the file there.
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(path.as_std_path(), Mode::S_IRWXU).unwrap();
        let at = path.clone();
        in_time(move || replace(&at, 0o644, b"{}"))
            .expect("it hangs")
            .unwrap();
        assert_eq!(read(&path, Links::Refuse, 9).unwrap(), b"{}");
        let mut own = open_own(&dir.join("log"), 0o600, true).unwrap();
        own.write_all(b"a").unwrap();
        assert_eq!(fs::metadata(dir.join("log")).unwrap().len(), 1);
    }
}
