//! Only one landfall writes at a time (I18).
//!
//! Every lock is a lock of the kernel, so it ends with its process, however the process ends. The text in a lock file is for people,
//! and no decision depends on it. The lock in the run directory shows who runs there; the locks of the machine (`machine`) and of the
//! disk (`target`) do not depend on a directory. No lock is waited for.

pub mod holders;
pub mod machine;
pub mod target;

use crate::safe_open::{self, Links};
use camino::Utf8Path;
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

/// Longest text that names who has the lock.
const NAME_BYTES_MAX: u64 = 4 << 10;

/// Who holds the lock, as it wrote itself down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    #[serde(rename = "pid")]
    pub pid: u32,
    /// `install` or `resume`.
    #[serde(rename = "command")]
    pub command: String,
    /// When it took the lock: milliseconds since boot, suspend included. Wall clocks of installers are wrong too often.
    #[serde(rename = "since_ms")]
    pub since_ms: u64,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("another landfall is running: {}", describe(.0, *.1))]
    Held(Option<Holder>, u64),
    /// It cannot be had at all.
    #[error("landfall cannot take the lock: {}", crate::os_error::said(.0))]
    Io(#[from] std::io::Error),
}

fn describe(holder: &Option<Holder>, now_ms: u64) -> String {
    match holder {
        Some(Holder {
            pid,
            command,
            since_ms,
        }) => format!(
            "process {pid} (landfall {command}), for {} s",
            now_ms.saturating_sub(*since_ms) / 1_000
        ),
        None => "its name is not known yet".to_owned(),
    }
}

/// The lock; released when dropped.
pub struct Lock {
    _file: Flock<OwnedFd>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

impl Lock {
    /// Takes the lock in `dir` (made if missing, mode 0700) for this process. `now_ms`: since boot.
    ///
    /// # Errors
    /// Another landfall has it (it is named), or the folder or the file cannot be made.
    pub fn take(dir: &Utf8Path, command: &str, now_ms: u64) -> Result<Lock, LockError> {
        make_private_dir(dir)?;
        let path = dir.join("lock");
        // Opened close-on-exec: a child that outlives landfall does not keep the lock.
        let file = safe_open::open_own(&path, 0o600, false).map_err(|refused| refused.into_io(&path))?;
        let file = match Flock::lock(OwnedFd::from(file), FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                // The holder may be between taking the lock and writing its name.
                let said = safe_open::read(&path, Links::Refuse, NAME_BYTES_MAX)
                    .map_err(|refused| refused.into_io(&path))?;
                let holder = serde_json::from_slice(&said).ok();
                return Err(LockError::Held(holder, now_ms));
            }
            Err((_, errno)) => return Err(LockError::Io(errno.into())),
        };
        let holder = Holder {
            pid: std::process::id(),
            command: command.to_owned(),
            since_ms: now_ms,
        };
        let name = serde_json::to_vec(&holder).map_err(std::io::Error::other)?;
        nix::unistd::ftruncate(&*file, 0).map_err(std::io::Error::from)?;
        let written = nix::sys::uio::pwrite(&*file, &name, 0).map_err(std::io::Error::from)?;
        if written != name.len() {
            return Err(LockError::Io(std::io::ErrorKind::WriteZero.into()));
        }
        Ok(Lock { _file: file })
    }
}

/// Who took the lock of `dir` last, as its file says; whether that process lives, the kernel knows. `None` where no name can be read.
pub fn last_holder(dir: &Utf8Path) -> Option<Holder> {
    let said = safe_open::read_if_there(&dir.join("lock"), Links::Refuse, NAME_BYTES_MAX);
    serde_json::from_slice(&said.ok()??).ok()
}

/// Makes landfall's run directory, readable for its user only.
///
/// # Errors
/// It cannot be made, or something else has its name.
pub fn make_private_dir(dir: &Utf8Path) -> std::io::Result<()> {
    if dir.try_exists()? {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let mut permissions = fs::metadata(dir)?.permissions();
    permissions.set_mode(0o700);
    fs::set_permissions(dir, permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_is_told_who_works_and_the_lock_goes_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let lock = Lock::take(dir, "install", 5_000).unwrap();
        let text = Lock::take(dir, "resume", 12_000).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "another landfall is running: process {} (landfall install), for 7 s",
                std::process::id()
            )
        );
        drop(lock);
        assert!(Lock::take(dir, "resume", 13_000).is_ok());
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_name_and_not_waited_for() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        nix::unistd::mkfifo(dir.join("lock").as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let text = Lock::take(dir, "install", 1).unwrap_err().to_string();
        assert!(text.contains("/lock") && text.contains("FIFO"), "{text}");
        fs::remove_file(dir.join("lock")).unwrap();
        fs::os::unix::fs::symlink("/etc/hostname", dir.join("lock")).unwrap();
        let text = Lock::take(dir, "install", 1).unwrap_err().to_string();
        assert!(text.contains("symbolic link"), "{text}");
    }

    #[test]
    fn a_stale_file_holds_nobody_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        fs::write(
            dir.join("lock"),
            "{\"pid\":1,\"command\":\"install\",\"since_ms\":0} and more",
        )
        .unwrap();
        drop(Lock::take(dir, "install", 1).unwrap());
        let text = fs::read_to_string(dir.join("lock")).unwrap();
        assert!(serde_json::from_str::<Holder>(&text).is_ok(), "{text}");
    }
}
