//! Removes what the laboratory made, even after it was killed while a program had filesystems mounted in it.
//!
//! The caller holds the lock of a folder that it removes. Mounts below it are taken away first, and nothing is deleted while
//! one is left. A link is removed and never followed; a folder that is a link, or on which something is mounted, is not
//! removed.
//!
//! Mounts in namespaces of other processes are not seen; what the laboratory starts ends with it ([`crate::ending`],
//! [`crate::debstrap`]).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// How often the kernel's table is read again: what is mounted twice on one place is taken away twice.
const ROUNDS: usize = 8;

/// Removes a folder with everything in it; one that is not there is removed already.
///
/// # Errors
/// It is no folder or a place where something is mounted; a mount below it cannot be taken away; something cannot be deleted.
pub fn remove(folder: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(folder) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    ensure!(
        kind.is_dir(),
        "{} is no folder; the laboratory did not make it: move it away",
        folder.display()
    );
    // The kernel's table has no links in its paths.
    let parent = folder.parent().context("a folder without a parent")?;
    let folder = fs::canonicalize(parent)?.join(folder.file_name().context("a folder without a name")?);
    unmount_below(&folder)?;
    writable(&folder)?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// Folders of a store are read-only.
fn writable(folder: &Path) -> Result<()> {
    let mode = fs::symlink_metadata(folder)?.permissions().mode();
    if mode & 0o700 != 0o700 {
        fs::set_permissions(folder, std::fs::Permissions::from_mode(mode & 0o777 | 0o700))?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            writable(&entry.path())?;
        }
    }
    Ok(())
}

fn unmount_below(folder: &Path) -> Result<()> {
    for _ in 0..ROUNDS {
        let table = fs::read("/proc/self/mountinfo")?;
        let mounts = places(&table);
        ensure!(
            !mounts.iter().any(|place| place == folder),
            "something is mounted on {}, which the laboratory does not do; unmount it, then run this again",
            folder.display()
        );
        let below: Vec<PathBuf> = mounts
            .into_iter()
            .filter(|place| place.starts_with(folder))
            .collect();
        if below.is_empty() {
            return Ok(());
        }
        // Another mount may be a peer of this one (/sys of the computer, mounted here a second time): what is then taken away below it here
        // would be taken away there too.
        for place in &below {
            mount(
                None::<&str>,
                place,
                None::<&str>,
                MsFlags::MS_PRIVATE,
                None::<&str>,
            )
            .with_context(|| format!("making the mount on {} private", place.display()))?;
        }
        for place in below.iter().rev() {
            eprintln!("lab: unmounting {}", place.display());
            umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
                .with_context(|| format!("unmounting {}; `umount` says more", place.display()))?;
        }
    }
    bail!("mounts below {} come back; who mounts them?", folder.display())
}

/// Where filesystems are mounted, in the order of the table: what is mounted on another comes behind it.
fn places(table: &[u8]) -> Vec<PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(plain)
        .collect()
}

/// A path of the table, where a space, a tab, a line feed and a backslash are written as three octal digits.
fn plain(escaped: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        if let Some(digits) = digits {
            let value = digits
                .iter()
                .fold(0_u16, |value, digit| value * 8 + u16::from(digit - b'0'));
            bytes.push(value as u8);
            rest = behind.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether a name is one that the laboratory gives to what it is making.
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.len() > UNFINISHED.len() && bytes.ends_with(UNFINISHED.as_bytes())
}

/// What the name of a folder ends in that is being made.
pub const UNFINISHED: &str = ".building";

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
