//! Files below a target root. Law: a path of the target is resolved as the target itself would resolve it, so no symbolic
//! link in it leads out (`openat2(2)`, `RESOLVE_IN_ROOT`); a file is written beside its place, flushed, renamed, and its
//! directory flushed; a filesystem is synced through a descriptor on it, which reports write errors.
//!
//! Absent: what the files mean.

pub use crate::real::block::io_fault;
use camino::Utf8Path;
use landfall_states::fault::Fault;
use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, openat2, posix_fadvise, renameat,
};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, major, minor, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use sha2::Digest as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

/// Files of the target that are read whole are at most this long, in bytes.
const READ_BYTES_MAX: u64 = 4 << 20;

fn relative(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    if path.is_empty() { "." } else { path }
}

/// Opens a path of the target.
pub fn open(root: &Utf8Path, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let top = fs_err::File::open(root)?;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(top.file(), relative(path), how)?)
}

/// Whether an error says that the file is not there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)
    )
}

/// Opens whatever has this name on the target for reading, without waiting for it (a FIFO); `None` when it is not there.
pub fn open_any(root: &Utf8Path, path: &str) -> Result<Option<File>, Fault> {
    match open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Ok(fd) => Ok(Some(File::from(fd))),
        // A socket, or a device that is not there.
        Err(e) if is_absent(&e) || e.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(None),
        Err(e) => Err(io_fault(format!("{path} on the target"), &e)),
    }
}

/// Opens a file of the target for reading; `None` when it is not there, or is no regular file.
pub fn open_file(root: &Utf8Path, path: &str) -> Result<Option<File>, Fault> {
    let Some(file) = open_any(root, path)? else {
        return Ok(None);
    };
    let metadata = file
        .metadata()
        .map_err(|e| io_fault(format!("{path} on the target"), &e))?;
    Ok(metadata.is_file().then_some(file))
}

/// Reads a small file of the target, at most [`READ_BYTES_MAX`] of it; `None` when it is not there.
pub fn read(root: &Utf8Path, path: &str) -> Result<Option<Vec<u8>>, Fault> {
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
pub fn read_text(root: &Utf8Path, path: &str) -> Result<Option<String>, Fault> {
    Ok(read(root, path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Asks the kernel to forget what it has cached of a file, so that the next read comes from the device. Works only on
/// pages that are clean: sync first.
pub fn forget(file: &File) -> Result<(), Fault> {
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
        .map_err(|e| io_fault("page cache", &io::Error::from(e)))
}

/// SHA-256 and length of what a reader gives.
pub fn digest(what: &str, mut reader: impl Read) -> Result<([u8; 32], u64), Fault> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0_u8; 128 << 10];
    let mut length = 0_u64;
    loop {
        let n = reader.read(&mut buffer).map_err(|e| io_fault(what, &e))?;
        if n == 0 {
            return Ok((hash.finalize().into(), length));
        }
        hash.update(&buffer[..n]);
        length += n as u64;
    }
}

/// Where a chain of symbolic links of the target leads, followed only until it enters the store. `None`: nothing there.
pub fn follow_to_store(root: &Utf8Path, path: &str) -> Result<Option<String>, Fault> {
    let mut at = path.to_owned();
    for _ in 0..16 {
        if at.starts_with("/nix/store/") {
            return Ok(Some(at));
        }
        let real = root.join(relative(&at));
        let to = match fs_err::read_link(&real) {
            Ok(to) => to,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(Some(at)),
            Err(e) => return Err(io_fault(format!("{at} on the target"), &e)),
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

/// Opens a directory of the target, making what is missing of it: the last part with this mode, those above it with 0755.
pub fn ensure_dir(root: &Utf8Path, path: &str, mode: u32) -> Result<OwnedFd, Fault> {
    let fault = |at: &str, e: &io::Error| io_fault(format!("directory {at} on the target"), e);
    let mut at = String::new();
    let mut dir = open(root, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(|e| fault("/", &e))?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().copied().enumerate() {
        at.push('/');
        at.push_str(part);
        let mode = if index + 1 == parts.len() { mode } else { 0o755 };
        let next = match open(root, &at, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(next) => next,
            Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => {
                mkdirat(&dir, part, Mode::from_bits_truncate(mode)).map_err(|e| fault(&at, &e.into()))?;
                let made =
                    open(root, &at, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(|e| fault(&at, &e))?;
                // Without the process's umask.
                fchmod(&made, Mode::from_bits_truncate(mode)).map_err(|e| fault(&at, &e.into()))?;
                File::from(dir).sync_all().map_err(|e| fault(&at, &e))?;
                made
            }
            Err(e) => return Err(fault(&at, &e)),
        };
        dir = next;
    }
    Ok(dir)
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

/// Writes a file into an open directory: beside its place, owner and mode, flush, rename, flush the directory.
pub fn write_in(dir: &OwnedFd, name: &str, bytes: &[u8], access: Access) -> io::Result<()> {
    let beside = beside(name);
    match unlinkat(dir, beside.as_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::openat(dir, beside.as_str(), flags, Mode::from_bits_truncate(0o600))?;
    let mut file = File::from(fd);
    fchown(
        &file,
        Some(Uid::from_raw(access.uid)),
        Some(Gid::from_raw(access.gid)),
    )?;
    fchmod(&file, Mode::from_bits_truncate(access.mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    renameat(dir, beside.as_str(), dir, name)?;
    File::from(dir.try_clone()?).sync_all()
}

/// Writes a file of the target; directories on the way are made with mode 0755.
pub fn write(root: &Utf8Path, path: &str, bytes: &[u8], access: Access) -> Result<(), Fault> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dir = ensure_dir(root, parent, 0o755)?;
    write_in(&dir, name, bytes, access).map_err(|e| io_fault(format!("{path} on the target"), &e))
}

/// Owner, mode and kind of what an entry of a directory is, links not followed.
pub fn stat_in(dir: &OwnedFd, name: impl AsRef<std::ffi::OsStr>) -> io::Result<nix::sys::stat::FileStat> {
    Ok(fstatat(dir, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// Writes everything of the filesystem that holds this directory to its device.
pub fn sync_filesystem(at: &Utf8Path) -> Result<(), Fault> {
    let dir = fs_err::File::open(at).map_err(|e| io_fault(format!("filesystem at {at}"), &e))?;
    nix::unistd::syncfs(dir.file()).map_err(|e| io_fault(format!("filesystem at {at}"), &e.into()))
}

/// The number of the device that holds a directory's filesystem.
pub fn device_number(at: &Utf8Path) -> Result<u64, Fault> {
    let what = || format!("device of {at}");
    let dir = fs_err::File::open(at).map_err(|e| io_fault(what(), &e))?;
    Ok(fstat(dir.file()).map_err(|e| io_fault(what(), &e.into()))?.st_dev)
}

/// Flushes the block device below the filesystem at this directory: on FAT nothing else sends the device a flush.
/// A filesystem without a block device (tmpfs, overlay) has nothing to flush.
pub fn flush_device_under(at: &Utf8Path) -> Result<(), Fault> {
    sync_filesystem(at)?;
    let what = || format!("block device below {at}");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn links_of_the_target_stay_inside() {
        let (_keep, root) = root();
        fs_err::create_dir_all(root.join("nix/store")).unwrap();
        fs_err::write(root.join("nix/store/f"), "inside").unwrap();
        fs_err::os::unix::fs::symlink("/nix/store/f", root.join("link")).unwrap();
        fs_err::os::unix::fs::symlink("/../../../../etc/passwd", root.join("out")).unwrap();
        assert_eq!(read(&root, "/link").unwrap().unwrap(), b"inside");
        assert_eq!(read(&root, "/out").unwrap(), None);
        assert_eq!(read(&root, "/none").unwrap(), None);
        assert_eq!(read(&root, "/nix").unwrap(), None, "a directory is no file");
        nix::unistd::mkfifo(root.join("fifo").as_std_path(), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        for strange in ["/fifo", "/socket"] {
            assert_eq!(
                read(&root, strange).unwrap(),
                None,
                "{strange} is no file, and nothing waits for it"
            );
        }
    }

    #[test]
    fn written_files_have_their_mode_and_leave_nothing_beside() {
        let (_keep, root) = root();
        write(
            &root,
            "/a/b/c",
            b"x",
            Access {
                mode: 0o600,
                ..Access::root(0)
            },
        )
        .unwrap();
        write(
            &root,
            "/a/b/c",
            b"y",
            Access {
                mode: 0o640,
                ..Access::root(0)
            },
        )
        .unwrap();
        assert_eq!(read(&root, "/a/b/c").unwrap().unwrap(), b"y");
        let dir = ensure_dir(&root, "/a/b", 0o755).unwrap();
        assert_eq!(stat_in(&dir, "c").unwrap().st_mode & 0o7777, 0o640);
        assert_eq!(fs_err::read_dir(root.join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn parents_are_for_everybody_whatever_the_last_part_is() {
        let (_keep, root) = root();
        for (path, mode) in [("/var/tmp", 0o1777), ("/a/b/c", 0o700)] {
            let dir = ensure_dir(&root, path, mode).unwrap();
            assert_eq!(fstat(&dir).unwrap().st_mode & 0o7777, mode, "{path}");
        }
        let top = open(&root, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY).unwrap();
        for parent in ["var", "a"] {
            assert_eq!(stat_in(&top, parent).unwrap().st_mode & 0o7777, 0o755, "{parent}");
        }
        // What is there stays as it is.
        ensure_dir(&root, "/var/tmp", 0o700).unwrap();
        let tmp = open(&root, "/var/tmp", OFlag::O_RDONLY | OFlag::O_DIRECTORY).unwrap();
        assert_eq!(fstat(&tmp).unwrap().st_mode & 0o7777, 0o1777);
    }

    #[test]
    fn profiles_are_followed_to_the_store() {
        let (_keep, root) = root();
        fs_err::create_dir_all(root.join("p")).unwrap();
        assert_eq!(follow_to_store(&root, "/p/system").unwrap(), None);
        fs_err::os::unix::fs::symlink("system-1-link", root.join("p/system")).unwrap();
        fs_err::os::unix::fs::symlink("/nix/store/x-y", root.join("p/system-1-link")).unwrap();
        assert_eq!(
            follow_to_store(&root, "/p/system").unwrap().as_deref(),
            Some("/nix/store/x-y")
        );
    }

    #[test]
    fn syncing_works_on_any_filesystem() {
        let (_keep, root) = root();
        sync_filesystem(&root).unwrap();
        assert!(sync_filesystem(&root.join("none")).is_err());
    }
}
