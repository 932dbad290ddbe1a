//! Whether the process of a run is there.
//!
//! The kernel says so, by the number and the start of the process, so that a later process with the same number is another
//! one. A process that has ended and is not waited for (a zombie) is not there.
//!
//! `run_status` has what a run says about itself.

use super::run_status::Status;
use crate::lock;
use crate::safe_open::{self, Links};
use camino::Utf8Path;
use fs_err as fs;
use std::io::{self, ErrorKind};

/// Ticks of `/proc` per second: fixed in the kernel's interface on every machine that landfall runs on (`USER_HZ`).
const TICKS_PER_S: u64 = 100;
/// What a run says of its start is at most so much before the process, in milliseconds.
const TOLERANCE_MS: u64 = 1_000;
/// Longest status or checkpoint file that is read.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// A process, known by its number and by a moment at which it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunProcess {
    pid: u32,
    /// Milliseconds since boot.
    there_ms: u64,
}

impl From<&Status> for RunProcess {
    fn from(run: &Status) -> Self {
        RunProcess {
            pid: run.pid,
            there_ms: run.began_ms,
        }
    }
}

impl RunProcess {
    /// Whether it is there.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn is_alive(self) -> io::Result<bool> {
        match fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => Ok(is_living(&stat)
                && started_ms(&stat).is_some_and(|ms| ms <= self.there_ms.saturating_add(TOLERANCE_MS))),
            // ESRCH: it ended while its file was open.
            Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ESRCH) => {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Who took the lock of this directory last.
    fn of_lock(run_dir: &Utf8Path) -> Option<Self> {
        lock::last_holder(run_dir).map(|holder| RunProcess {
            pid: holder.pid,
            there_ms: holder.since_ms,
        })
    }

    /// Whose status lies there.
    fn of_status(run_dir: &Utf8Path) -> Option<Self> {
        status_of(run_dir).map(|run| RunProcess::from(&run))
    }
}

/// The status in a run directory, where one can be read.
pub(super) fn status_of(run_dir: &Utf8Path) -> Option<Status> {
    let read = safe_open::read_if_there(&run_dir.join("status.json"), Links::Refuse, FILE_BYTES_MAX);
    serde_json::from_slice(&read.ok()??).ok()
}

/// The processes that may still write into a run directory: those that its files have named so far, also when the files are gone.
#[derive(Debug, Default)]
pub(super) struct Writers(Vec<RunProcess>);

impl Writers {
    /// Whether one of them is there.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn are_there(&mut self, run_dir: &Utf8Path) -> io::Result<bool> {
        for found in [RunProcess::of_lock(run_dir), RunProcess::of_status(run_dir)]
            .into_iter()
            .flatten()
        {
            if !self.0.contains(&found) {
                self.0.push(found);
            }
        }
        let mut there = vec![];
        for process in self.0.drain(..) {
            if process.is_alive()? {
                there.push(process);
            }
        }
        self.0 = there;
        Ok(!self.0.is_empty())
    }
}

/// What stands behind the name in `/proc/PID/stat` (`proc_pid_stat(5)`). The name, field 2, may hold anything, brackets and blanks
/// included.
fn behind_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
}

/// Whether it is neither a zombie (Z) nor dead (X, x): field 3.
fn is_living(stat: &str) -> bool {
    behind_name(stat)
        .next()
        .is_some_and(|state| !matches!(state, "Z" | "X" | "x"))
}

/// When a process began, in milliseconds since boot: field 22.
fn started_ms(stat: &str) -> Option<u64> {
    let ticks: u64 = behind_name(stat).nth(19)?.parse().ok()?;
    Some(ticks.saturating_mul(1_000) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::super::since_boot_ms;
    use super::*;

    #[test]
    fn a_process_with_an_odd_name_is_dated() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1234 1 1";
        assert_eq!(started_ms(stat), Some(12_340));
        assert!(is_living(stat));
        assert_eq!(started_ms("nonsense"), None);
        assert!(!is_living("nonsense"));
        let me = |there_ms| RunProcess {
            pid: std::process::id(),
            there_ms,
        };
        assert!(me(since_boot_ms()).is_alive().unwrap());
        assert!(
            !me(0).is_alive().unwrap(),
            "a later process with the number of an earlier one"
        );
    }
}
