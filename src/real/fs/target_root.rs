//! Files below a target root.
//!
//! A path of the target is resolved as the target itself would resolve it, so no symbolic link in it leads out (`openat2(2)`,
//! `RESOLVE_IN_ROOT`). A file is written beside its place, flushed and renamed, and its directory is flushed. A filesystem is
//! synced through a descriptor on it, which reports write errors.
//!
//! [`Root`] is the only name of a target's root, and files below it can be opened here and nowhere else: the type gives no
//! path that something could be joined to. A program that needs a place below it is given the real path of that place
//! ([`Dir::path`]), without a link in it.
//!
//! The callers know what the files mean.

pub use crate::os_error::fault as io_fault;
use crate::real::MOUNT_ROOT;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, PlaceFault};
use landfall_states::names::ClonePath;
use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, openat2, posix_fadvise, readlinkat, renameat,
};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, major, minor, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use sha2::Digest as _;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// Longest file of the target that is read whole.
const READ_BYTES_MAX: u64 = 4 << 20;
/// Most links that are followed on one way; the kernel follows as many.
const LINKS_MAX: usize = 40;
/// Deepest directory of the target that is walked into.
const DEPTH_MAX: usize = 512;

/// The root directory of a target, of its ESP, or of the running system. It cannot be joined to, printed, or taken for a path:
/// what is below it is opened by the functions of this module, which no link leads out of.
///
/// ```
/// use landfall::real::fs::target_root::{self, Root};
/// let root = Root::at("/nonexistent");
/// assert!(target_root::read(&root, "/etc/passwd").unwrap().is_none());
/// ```
///
/// ```compile_fail,E0599
/// let root = landfall::real::fs::target_root::Root::at("/nonexistent");
/// let _ = root.join("etc/passwd"); // where a link of the target would lead into the running system
/// ```
///
/// ```compile_fail,E0277
/// let root = landfall::real::fs::target_root::Root::at("/nonexistent");
/// let _ = format!("{root}/etc/passwd");
/// ```
///
/// ```compile_fail,E0599
/// let root = landfall::real::fs::target_root::Root::at("/nonexistent");
/// let _: &camino::Utf8Path = root.as_ref();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    top: Utf8PathBuf,
    /// A directory below it that is the root of something else (the ESP); empty for none.
    below: String,
}

impl Root {
    /// Of any directory of this machine.
    pub fn at(top: impl Into<Utf8PathBuf>) -> Root {
        Root {
            top: top.into(),
            below: String::new(),
        }
    }

    /// Of the target, where it is mounted while installing.
    pub fn target() -> Root {
        Root::at(MOUNT_ROOT)
    }

    /// Of the running system.
    pub fn live() -> Root {
        Root::at("/")
    }

    /// Of the target's ESP, wherever a link at `/boot` has it mounted.
    pub fn esp(&self) -> Root {
        Root {
            top: self.top.clone(),
            below: "boot".into(),
        }
    }

    /// Of the directory that this one lies in.
    pub fn outside(&self) -> Root {
        Root::at(self.top.parent().unwrap_or(&self.top))
    }

    /// As a program is given it that changes its root there (`--root`), and as people are told of it. Never a part of a path.
    pub fn as_arg(&self) -> String {
        if self.below.is_empty() {
            self.top.to_string()
        } else {
            format!("{}/{}", self.top, self.below)
        }
    }

    /// Where a clone goes (its path is one below the mounted target), by its name in a directory that no link leads to.
    /// `make`: directories on the way. `None`: the way is not there, and neither is the clone.
    /// # Errors
    /// A link on the way leads out of the target, or the target cannot be read or written.
    pub fn clone_place(&self, clone: &ClonePath, make: bool) -> Result<Option<Utf8PathBuf>, Fault> {
        let (parent, name) = parent_and_name(on_target(clone));
        let dir = if make {
            Some(self.made_dir(parent, 0o755)?)
        } else {
            self.dir(parent)?
        };
        Ok(dir.map(|dir| dir.path().join(name)))
    }

    /// A descriptor of it, for system calls on names of it.
    /// # Errors
    /// The root cannot be opened.
    pub fn fd(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let top = nix::fcntl::open(self.top.as_std_path(), flags, Mode::empty())?;
        if self.below.is_empty() {
            Ok(top)
        } else {
            resolve(&top, &self.below, OFlag::O_PATH | OFlag::O_DIRECTORY)
        }
    }

    /// Opens a directory of the target; `None`: it is not there, or is none.
    /// # Errors
    /// A link on the way leads out of the target, or the target cannot be read.
    pub fn dir(&self, path: &str) -> Result<Option<Dir>, Fault> {
        match open(self, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(fd) => Dir::of(fd, path).map(Some),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(io_fault(format!("directory {path} on the target"), &e)),
        }
    }

    /// The place of a directory as a program is told it, in its environment: [`Dir::path`], or the root itself while the directory
    /// is not there, since the bare name might be a link that leads out.
    pub fn told(&self, path: &str) -> String {
        match self.dir(path) {
            Ok(Some(dir)) => dir.path().to_string(),
            Ok(None) | Err(_) => self.as_arg(),
        }
    }

    /// Opens a directory of the target, making what is missing of it, also behind a link.
    /// # Errors
    /// Something else has the name, or the target cannot be written.
    pub fn made_dir(&self, path: &str, mode: u32) -> Result<Dir, Fault> {
        Dir::of(ensure_dir(self, path, mode)?, path)
    }
}

/// A directory of the target, open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    at: Utf8PathBuf,
}

impl Dir {
    fn of(fd: OwnedFd, path: &str) -> Result<Dir, Fault> {
        let fault = |e: &io::Error| io_fault(format!("directory {path} on the target"), e);
        let at = fs_err::read_link(through(&fd)).map_err(|e| fault(&e))?;
        let at = Utf8PathBuf::try_from(at).map_err(|e| PlaceFault::NameNotText {
            on: format!("{path} on the target, at {}", e.as_path().display()),
        })?;
        Ok(Dir { fd, at })
    }

    /// Where it is in this machine's tree, without a link on the way: for programs, and for tables of the kernel.
    pub fn path(&self) -> &Utf8Path {
        &self.at
    }

    /// The descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// A path that leads to this very directory, whatever happens to its name meanwhile: for system calls of this process.
    pub fn through(&self) -> Utf8PathBuf {
        through(&self.fd)
    }
}

fn through(fd: &OwnedFd) -> Utf8PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// Where a clone is on the target: its path names the place below the mounted one.
pub fn on_target(clone: &ClonePath) -> &str {
    let path = clone.as_str();
    path.strip_prefix(MOUNT_ROOT).unwrap_or(path)
}

fn relative(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    if path.is_empty() { "." } else { path }
}

fn resolve(top: &OwnedFd, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(top, relative(path), how)?)
}

/// Opens a path of the target.
/// # Errors
/// What the kernel says.
pub fn open(root: &Root, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    resolve(&root.fd()?, path, flags)
}

/// Whether an error says that the file is not there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
    )
}

/// Whether anything has this name on the target; the last part is not followed.
/// # Errors
/// The target cannot be read.
pub fn is_there(root: &Root, path: &str) -> Result<bool, Fault> {
    match open(root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(io_fault(format!("{path} on the target"), &e)),
    }
}

/// Names in a directory of the target, sorted; none when it is not there, or is none. Names that are no text are left out.
/// # Errors
/// The target cannot be read.
pub fn names(root: &Root, path: &str) -> Result<Vec<String>, Fault> {
    let Some(dir) = root.dir(path)? else {
        return Ok(vec![]);
    };
    let names = names_in(dir.fd()).map_err(|e| io_fault(format!("{path} on the target"), &e))?;
    let mut names: Vec<String> = names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Names in an open directory: through the descriptor, so that nobody can put another directory in its place meanwhile.
/// # Errors
/// The directory cannot be read.
pub fn names_in(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    fs_err::read_dir(through(dir))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect()
}

/// Removes what has this name in an open directory, and all that is in it; what is not there is removed already.
/// # Errors
/// It cannot be removed.
pub fn remove_in(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    remove_at(dir, name, 0)
}

fn remove_at(dir: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
    let kind = match stat_in(dir, name) {
        Ok(stat) => stat.st_mode & nix::libc::S_IFMT,
        Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(()),
        Err(e) => return Err(e),
    };
    if kind != nix::libc::S_IFDIR {
        return Ok(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?);
    }
    if depth >= DEPTH_MAX {
        return Err(Errno::ELOOP.into());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let below = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
    for name in names_in(&below)? {
        remove_at(&below, &name, depth + 1)?;
    }
    Ok(unlinkat(dir, name, UnlinkatFlags::RemoveDir)?)
}

/// Removes what has this name on the target, and all that is in it. A link is removed, not what it leads to.
/// # Errors
/// It cannot be removed.
pub fn remove(root: &Root, path: &str) -> Result<(), Fault> {
    let (parent, name) = parent_and_name(path);
    let Some(dir) = root.dir(parent)? else {
        return Ok(());
    };
    remove_in(dir.fd(), OsStr::new(name)).map_err(|e| io_fault(format!("{path} on the target"), &e))
}

fn parent_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Opens whatever has this name on the target for reading, without waiting for it (a FIFO); `None` when it is not there.
/// # Errors
/// The target cannot be read.
pub fn open_any(root: &Root, path: &str) -> Result<Option<File>, Fault> {
    match open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Ok(fd) => Ok(Some(File::from(fd))),
        // A socket, or a device that is not there.
        Err(e) if is_absent(&e) || e.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(None),
        Err(e) => Err(io_fault(format!("{path} on the target"), &e)),
    }
}

/// Opens a file of the target for reading; `None` when it is not there, or is no regular file.
/// # Errors
/// The target cannot be read.
pub fn open_file(root: &Root, path: &str) -> Result<Option<File>, Fault> {
    let Some(file) = open_any(root, path)? else {
        return Ok(None);
    };
    let metadata = file
        .metadata()
        .map_err(|e| io_fault(format!("{path} on the target"), &e))?;
    Ok(metadata.is_file().then_some(file))
}

/// Reads a small file of the target, at most `READ_BYTES_MAX` of it; `None` when it is not there.
/// # Errors
/// The target cannot be read, or the file is too long.
pub fn read(root: &Root, path: &str) -> Result<Option<Vec<u8>>, Fault> {
    let Some(file) = open_file(root, path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    match file.take(READ_BYTES_MAX).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) => Err(io_fault(format!("{path} on the target"), &e)),
    }
}

/// As [`read`], as text; bytes that are no UTF-8 are replaced.
/// # Errors
/// As [`read`].
pub fn read_text(root: &Root, path: &str) -> Result<Option<String>, Fault> {
    Ok(read(root, path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Asks the kernel to forget what it has cached of a file, so that the next read comes from the device. Works only on
/// pages that are clean: sync first.
/// # Errors
/// The kernel refuses.
pub fn forget(file: &File) -> Result<(), Fault> {
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .map_err(|e| io_fault("page cache", &io::Error::from(e)))
}

/// SHA-256 and length of what a reader gives.
/// # Errors
/// The reader reports an error.
pub fn digest(what: &str, mut reader: impl Read) -> Result<([u8; 32], u64), Fault> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0_u8; 128 << 10];
    let mut length = 0_u64;
    loop {
        let n = reader.read(&mut buffer).map_err(|e| io_fault(what, &e))?;
        if n == 0 {
            return Ok((hash.finalize().into(), length));
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "`read` reads no more than there is room for"
        )]
        hash.update(&buffer[..n]);
        length += n as u64;
    }
}

/// Where a chain of symbolic links of the target leads, followed only until it enters the store. `None`: nothing there.
/// # Errors
/// The chain has no end, or the target cannot be read.
pub fn follow_to_store(root: &Root, path: &str) -> Result<Option<String>, Fault> {
    let mut at = path.to_owned();
    for _ in 0..16 {
        if at.starts_with("/nix/store/") {
            return Ok(Some(at));
        }
        let (above, name) = parent_and_name(&at);
        let Some(dir) = root.dir(above)? else {
            return Ok(None);
        };
        let to = match readlinkat(dir.fd(), if name.is_empty() { "." } else { name }) {
            Ok(to) => to,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::EINVAL) => return Ok(Some(at)),
            Err(e) => return Err(io_fault(format!("{at} on the target"), &e.into())),
        };
        let to = to.to_string_lossy().into_owned();
        at = if to.starts_with('/') {
            to
        } else {
            let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent);
            format!("{parent}/{to}")
        };
    }
    Ok(Some(at))
}

/// Opens a directory of the target, making what is missing of it: the last part with this mode, those above it with 0755. Where a
/// link leads to a directory that is missing, that one is made, inside the target. Links that lead nowhere for ever are a fault.
/// # Errors
/// Something else has the name, or the target cannot be written.
pub fn ensure_dir(root: &Root, path: &str, mode: u32) -> Result<OwnedFd, Fault> {
    let mut links = 0;
    make_dir(root, path, mode, &mut links)
}

fn make_dir(root: &Root, path: &str, mode: u32, links: &mut usize) -> Result<OwnedFd, Fault> {
    let fault = |at: &str, e: &io::Error| io_fault(format!("directory {at} on the target"), e);
    let mut at = String::new();
    let mut dir = open(root, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(|e| fault("/", &e))?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().copied().enumerate() {
        let above = at.clone();
        at.push('/');
        at.push_str(part);
        let mode = if index + 1 == parts.len() { mode } else { 0o755 };
        let next = match open(root, &at, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(next) => next,
            Err(e)
                if matches!(
                    e.raw_os_error().map(Errno::from_raw),
                    Some(Errno::ELOOP | Errno::ENOTDIR)
                ) =>
            {
                return Err(in_the_way(&dir, part, &at, &e));
            }
            Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => match readlinkat(&dir, part) {
                // A link to what is not there yet.
                Ok(to) => {
                    *links += 1;
                    if *links > LINKS_MAX {
                        return Err(in_the_way(&dir, part, &at, &Errno::ELOOP.into()));
                    }
                    let to = to.into_string().map_err(|_| PlaceFault::NameNotText {
                        on: format!("what {at} on the target links to"),
                    })?;
                    let to = if to.starts_with('/') {
                        to
                    } else {
                        format!("{above}/{to}")
                    };
                    make_dir(root, &to, mode, links)?
                }
                Err(_) => {
                    mkdirat(&dir, part, Mode::from_bits_truncate(mode)).map_err(|e| fault(&at, &e.into()))?;
                    let made =
                        open(root, &at, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(|e| fault(&at, &e))?;
                    // Without the process's umask.
                    fchmod(&made, Mode::from_bits_truncate(mode)).map_err(|e| fault(&at, &e.into()))?;
                    File::from(dir).sync_all().map_err(|e| fault(&at, &e))?;
                    made
                }
            },
            Err(e) => return Err(fault(&at, &e)),
        };
        dir = next;
    }
    Ok(dir)
}

/// What stands where a directory has to be.
fn in_the_way(dir: &OwnedFd, name: &str, path: &str, error: &io::Error) -> Fault {
    match readlinkat(dir, name) {
        Ok(to) => PlaceFault::LinkUnusable {
            path: format!("{path} on the target"),
            to: to.to_string_lossy().into_owned(),
            os: crate::os_error::of(error),
        }
        .into(),
        Err(_) => PlaceFault::FileType {
            path: format!("{path} on the target"),
            expected: "a directory".into(),
        }
        .into(),
    }
}

/// Owner and mode for a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Access {
    /// Of root.
    pub const fn root(mode: u32) -> Self {
        Access { mode, uid: 0, gid: 0 }
    }
}

/// The name under which a file is written before it has its own.
pub fn beside(name: &str) -> String {
    format!(".{name}.landfall")
}

/// Writes a file into an open directory: beside its place, owner and mode, flush, rename, flush the directory. When that fails, nothing is
/// left beside it.
/// # Errors
/// It cannot be written, flushed or renamed.
pub fn write_in(dir: &OwnedFd, name: &str, bytes: &[u8], access: Access) -> io::Result<()> {
    let beside = beside(name);
    match unlinkat(dir, beside.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::openat(dir, beside.as_str(), flags, Mode::from_bits_truncate(0o600))?;
    let written = (|| {
        let mut file = File::from(fd);
        fchown(
            &file,
            Some(Uid::from_raw(access.uid)),
            Some(Gid::from_raw(access.gid)),
        )?;
        fchmod(&file, Mode::from_bits_truncate(access.mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(renameat(dir, beside.as_str(), dir, name)?)
    })();
    if written.is_err() {
        // The first error is the one that counts; what cannot be removed either is removed by the next run.
        unlinkat(dir, beside.as_str(), UnlinkatFlags::NoRemoveDir).unwrap_or_default();
        return written;
    }
    File::from(dir.try_clone()?).sync_all()
}

/// Writes a file of the target; directories on the way are made with mode 0755.
/// # Errors
/// It cannot be written, flushed or renamed.
pub fn write(root: &Root, path: &str, bytes: &[u8], access: Access) -> Result<(), Fault> {
    let (parent, name) = parent_and_name(path);
    let dir = ensure_dir(root, parent, 0o755)?;
    write_in(&dir, name, bytes, access).map_err(|e| io_fault(format!("{path} on the target"), &e))
}

/// Writes a file of a filesystem that keeps neither owner nor mode (FAT): beside its place, flushed, renamed.
/// # Errors
/// It cannot be written, flushed or renamed.
pub fn write_plain(root: &Root, path: &str, beside: &str, bytes: &[u8]) -> Result<(), Fault> {
    let (parent, name) = parent_and_name(path);
    let dir = ensure_dir(root, parent, 0o755)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let write = || -> io::Result<()> {
        remove_in(&dir, OsStr::new(beside))?;
        let mut file = File::from(nix::fcntl::openat(
            &dir,
            beside,
            flags,
            Mode::from_bits_truncate(0o600),
        )?);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(renameat(&dir, beside, &dir, name)?)
    };
    write().map_err(|e| {
        // What is half written takes room that is wanted; the error is that of writing it.
        let (Ok(()) | Err(_)) = remove_in(&dir, OsStr::new(beside));
        io_fault(format!("{path} on the ESP"), &e)
    })
}

/// Owner, mode and kind of what an entry of a directory is, links not followed.
/// # Errors
/// What the kernel says.
pub fn stat_in(dir: &OwnedFd, name: impl AsRef<OsStr>) -> io::Result<nix::sys::stat::FileStat> {
    Ok(fstatat(dir, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

fn open_dir(root: &Root, what: &str) -> Result<OwnedFd, Fault> {
    open(root, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)
        .map_err(|e| io_fault(format!("{what} {}", root.as_arg()), &e))
}

/// Writes everything of the filesystem that holds this root to its device.
/// # Errors
/// The device reports an error.
pub fn sync_filesystem(at: &Root) -> Result<(), Fault> {
    let dir = open_dir(at, "filesystem at")?;
    nix::unistd::syncfs(&dir).map_err(|e| io_fault(format!("filesystem at {}", at.as_arg()), &e.into()))
}

/// The number of the device that holds a root's filesystem.
/// # Errors
/// The root cannot be looked at.
pub fn device_number(at: &Root) -> Result<u64, Fault> {
    let dir = open_dir(at, "device of")?;
    let stat = fstat(&dir).map_err(|e| io_fault(format!("device of {}", at.as_arg()), &e.into()))?;
    Ok(stat.st_dev)
}

/// Flushes the block device below the filesystem at this directory: on FAT nothing else sends the device a flush.
/// A filesystem without a block device (tmpfs, overlay) has nothing to flush.
/// # Errors
/// The device cannot be opened, or reports an error.
fn flush_device_under(at: &Root) -> Result<(), Fault> {
    sync_filesystem(at)?;
    let what = || format!("block device below {}", at.as_arg());
    let device = device_number(at)?;
    if major(device) == 0 {
        return Ok(());
    }
    // The kernel's own name for the number: links in /dev/block are udev's work.
    let sysfs = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let named = fs_err::canonicalize(sysfs).map_err(|e| io_fault(what(), &e))?;
    let name = named
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let opened =
        fs_err::File::open(format!("/dev/{}", name.replace('!', "/"))).map_err(|e| io_fault(what(), &e))?;
    opened.sync_all().map_err(|e| io_fault(what(), &e))
}

/// Tests make what they need below a root by hand.
/// Flushes the device of what is mounted at `/boot`; FAT sends no flush by itself. Nothing mounted: nothing to flush.
/// # Errors
/// The device cannot be opened, or reports an error.
pub fn flush_boot(root: &Root) -> Result<(), Fault> {
    let Some(boot) = root.dir("/boot")? else {
        return Ok(());
    };
    let boot = Root::at(boot.path());
    if device_number(&boot)? != device_number(root)? {
        flush_device_under(&boot)?;
    }
    Ok(())
}

#[cfg(test)]
impl std::ops::Deref for Root {
    type Target = Utf8Path;
    fn deref(&self) -> &Utf8Path {
        assert!(self.below.is_empty(), "not a directory's own name");
        &self.top
    }
}

#[cfg(test)]
#[path = "target_root_tests.rs"]
mod tests;
