//! Compares the sizes of paths in the target store with their registered sizes, before anything reads them.
//!
//! A path whose files together are longer than what Nix registered for it cannot be right; no byte has to be read for this
//! answer. A damaged inode, or an attacker, can make a file of any length from one hole, and hashing it would take hours.
//! Paths that are not registered are ignored, because nothing reads them.
//!
//! `nix::contents` checks what the files hold.

use crate::real::fs::target_root::{self, Root};
use crate::real::nix::{integrity, permissions};
use landfall_states::fault::Fault;
use landfall_states::names::StorePath;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statvfs::fstatvfs;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

const STORE: &str = "/nix/store";
/// No file, link or directory takes less of a NAR, in bytes: the words that describe it, each with its length and padded to 8.
const NODE_BYTES: u64 = 64;
/// Deepest directory of a store path whose size is counted; one descriptor is open for each.
const DEPTH_MAX: usize = 256;

/// Registered paths that hold more than what is registered of them, or of which more is registered than the filesystem has room for.
/// `database` is the directory of Nix's database. What it does not say is left to Nix.
///
/// # Errors
/// The target cannot be read.
pub fn oversized(root: &Root, database: &str) -> Result<Vec<String>, Fault> {
    let fault = |path: &str, e: &io::Error| target_root::io_fault(format!("{path} on the target"), e);
    let Some(registered) = integrity::nar_sizes(root, database)? else {
        return Ok(vec![]);
    };
    let store = match target_root::open(root, STORE, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(store) => store,
        Err(e) if target_root::is_absent(&e) => return Ok(vec![]),
        Err(e) => return Err(fault(STORE, &e)),
    };
    let filesystem = fstatvfs(&store).map_err(|e| fault(STORE, &e.into()))?;
    let room = filesystem.blocks() * filesystem.fragment_size();
    let mut found = vec![];
    for (path, bytes) in registered {
        let Some(name) = path.strip_prefix("/nix/store/") else {
            continue;
        };
        if path.parse::<StorePath>().is_err() {
            continue;
        }
        let mut left = bytes;
        let fits = bytes <= room
            && takes(&store, OsStr::new(name), DEPTH_MAX, &mut left).map_err(|e| fault(&path, &e))?;
        if !fits {
            found.push(path);
        }
    }
    Ok(found)
}

/// Takes from `left` what this takes of a NAR at the least; false when there is not so much left.
fn takes(dir: &OwnedFd, name: &OsStr, depth: usize, left: &mut u64) -> io::Result<bool> {
    let stat = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        // Gone: that is found by who reads it.
        Err(nix::errno::Errno::ENOENT) => return Ok(true),
        Err(e) => return Err(e.into()),
    };
    let kind = stat.st_mode & libc::S_IFMT;
    let own = match kind {
        libc::S_IFREG | libc::S_IFLNK => u64::try_from(stat.st_size).unwrap_or(u64::MAX),
        _ => 0,
    };
    let Some(rest) = left.checked_sub(NODE_BYTES.saturating_add(own)) else {
        return Ok(false);
    };
    *left = rest;
    if kind != libc::S_IFDIR || depth == 0 {
        return Ok(true);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inner = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
    for name in permissions::entries(&inner)? {
        if !takes(&inner, &name, depth - 1, left)? {
            return Ok(false);
        }
    }
    Ok(true)
}
