//! The directory in which a changed flake is tested.
//!
//! Only its owner can read it. It is removed at the end of the run, also after a signal; the next run removes what a killed run left.
//!
//! `evaluate` fills it.

use super::error::HostError;
use crate::safe_open;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const PREFIX: &str = "landfall-host-";
/// Held by the run that the folder is of.
const LOCK: &str = "lock";
/// Age after which a folder without a lock is removed.
const UNLOCKED_MAX: Duration = Duration::from_secs(86_400);

/// How often landfall tries to make a folder that no other run removes.
const MADE_TIMES_MAX: u32 = 16;
/// How often landfall tries to remove a folder that another program still uses.
const REMOVED_TIMES_MAX: u32 = 100;

/// Whether this process is about to end.
static ENDED: AtomicBool = AtomicBool::new(false);
/// Those of this process.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

fn open() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder of this process. Removed with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: TempDir,
    root: Utf8PathBuf,
    _lock: Flock<OwnedFd>,
}

impl Scratch {
    pub(crate) fn new() -> Result<Scratch, HostError> {
        let above = above()?;
        remove_leftovers(&above);
        for _ in 1..MADE_TIMES_MAX {
            match Scratch::made(&above) {
                Ok(Some(scratch)) => return Ok(scratch),
                // Another run that started now took it for a leftover, because it was not locked yet.
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
        let busy = std::io::Error::from(ErrorKind::ResourceBusy);
        Err(of_temporary(&above, &busy))
    }

    /// `None`: it was removed before this process had its lock.
    fn made(above: &Path) -> Result<Option<Scratch>, HostError> {
        let named = |e: &std::io::Error| of_temporary(above, e);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(PermissionsExt::from_mode(0o700))
            .tempdir_in(above)
            .map_err(|e| named(&e))?;
        let real = fs::canonicalize(dir.path()).map_err(|e| named(&e))?;
        let real = plain(real).ok_or_else(|| unnamed(above))?;
        let path = real.join(LOCK);
        let is_removed = || !fs::exists(&path).unwrap_or(true);
        let file = match safe_open::open_own(&path, 0o600, false) {
            Ok(file) => file,
            Err(_) if is_removed() => return Ok(None),
            Err(why) => return Err(HostError::refused(&path, why)),
        };
        let lock = match Flock::lock(OwnedFd::from(file), FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            // The other run holds it while it removes the folder.
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, e)) => return Err(HostError::file(&path, &e.into())),
        };
        if is_removed() {
            return Ok(None);
        }
        open().push(dir.path().to_owned());
        let root = real.join("flake");
        fs::create_dir(&root).map_err(|e| HostError::file(&root, &e))?;
        Ok(Some(Scratch {
            dir,
            root,
            _lock: lock,
        }))
    }

    /// Where the flake is.
    pub(crate) fn root(&self) -> &Utf8Path {
        &self.root
    }
}

/// Where folders are made if nobody has named one that Nix can be told of.
const USUAL: [&str; 2] = ["/tmp", "/var/tmp"];

/// A path as it can stand in the address of a flake, which Nix reads in another way in each of its versions where that has anything else.
fn plain(path: PathBuf) -> Option<Utf8PathBuf> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+~".contains(&b);
    Utf8PathBuf::from_path_buf(path)
        .ok()
        .filter(|path| path.is_absolute() && path.as_str().bytes().all(is_plain))
}

/// The folder of temporary files is none.
fn of_temporary(path: &Path, error: &std::io::Error) -> HostError {
    let path = path.to_string_lossy().into_owned();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => HostError::File {
            path: path.into(),
            reason: format!(
                "it is the directory for temporary files (TMPDIR): {}",
                crate::os_error::said(error)
            ),
            next: "name a directory that exists with TMPDIR (export TMPDIR=/tmp)",
        },
        _ => HostError::file(path, error),
    }
}

fn unnamed(path: &Path) -> HostError {
    HostError::File {
        path: path.to_string_lossy().into_owned().into(),
        reason: "it is where the flake would be tried, and its name has characters that Nix does not take in the name of a flake"
            .to_owned(),
        next: "name another directory with TMPDIR (TMPDIR=/tmp)",
    }
}

/// The folder of temporary files: TMPDIR, or a usual one where Nix cannot be told of that.
fn above() -> Result<PathBuf, HostError> {
    let named = std::env::temp_dir();
    let found = |path: &Path| fs::canonicalize(path);
    let first = match named.as_os_str().is_empty() {
        true => found(Path::new("/tmp")),
        false => found(&named),
    };
    let first = first.map_err(|e| of_temporary(&named, &e))?;
    let usual = USUAL.iter().filter_map(|path| found(Path::new(path)).ok());
    let mut fitting = std::iter::once(first).chain(usual).filter_map(plain);
    fitting.next().map(PathBuf::from).ok_or_else(|| unnamed(&named))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        open().retain(|path| path != self.dir.path());
    }
}

/// Removes the folders of this process, which is about to end. Nothing is put into them any more.
pub fn remove_all() {
    ENDED.store(true, Ordering::SeqCst);
    for path in open().drain(..) {
        for _ in 0..REMOVED_TIMES_MAX {
            remove(&path);
            if fs::symlink_metadata(&path).is_err() {
                break;
            }
            // A file was just being written.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether this process is about to end.
pub(crate) fn has_ended() -> bool {
    ENDED.load(Ordering::SeqCst)
}

/// What cannot be removed lies where the system removes it one day; nobody else reads it.
fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Ok(()) | Err(_) => {}
    }
}

/// Those of runs of this account that were killed.
fn remove_leftovers(above: &Path) {
    let own = nix::unistd::geteuid().as_raw();
    let Ok(entries) = fs::read_dir(above) else {
        return;
    };
    for entry in entries.flatten() {
        let is_named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let Ok(found) = entry.metadata() else { continue };
        if !is_named || !found.is_dir() || found.uid() != own {
            continue;
        }
        // Held while it is removed, so that a run that has only made its folder notices.
        if let Some(_held) = left(&entry.path(), found.modified().ok()) {
            remove(&entry.path());
        }
    }
}

/// A folder that no run uses, with its lock where it has one.
fn left(dir: &Path, modified: Option<SystemTime>) -> Option<Option<Flock<OwnedFd>>> {
    let path = Utf8Path::from_path(dir).map(|dir| dir.join(LOCK))?;
    match safe_open::open(&path, safe_open::Links::Refuse) {
        Ok(file) => {
            let lock = Flock::lock(OwnedFd::from(file), FlockArg::LockExclusiveNonblock).ok()?;
            Some(Some(lock))
        }
        Err(safe_open::Refused::Absent) => {
            let age = modified.and_then(|then| then.elapsed().ok())?;
            (age > UNLOCKED_MAX).then_some(None)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each start looks for leftovers, and a folder that was only just made has no lock yet.
    #[test]
    fn runs_that_start_together_keep_their_folders() {
        let together = || {
            for _ in 0..20 {
                let scratch = Scratch::new().unwrap();
                fs::write(scratch.root().join("flake.nix"), "{ }").unwrap();
            }
        };
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..6).map(|_| scope.spawn(together)).collect();
            for run in runs {
                run.join().unwrap();
            }
        });
    }
}
