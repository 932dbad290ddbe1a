//! Store paths as files: what `nix-store --dump-db` says about them, and folders that hold them.
//!
//! A folder is filled beside its place, and the caller renames it into its place.
//!
//! `closure` runs Nix.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;

use super::{BUILD_LIMIT, output};
use crate::removal::remove;

/// One path of a registration dump.
pub(super) struct Record<'a> {
    pub(super) path: &'a str,
    pub(super) size: u64,
    /// All of its lines, each with its end.
    pub(super) text: &'a str,
}

/// Reads what `nix-store --dump-db` writes: path, hash, size, deriver, the number of references, the references.
pub(super) fn records(dump: &str) -> Result<Vec<Record<'_>>> {
    let mut found = Vec::new();
    let mut rest = dump;
    while !rest.is_empty() {
        let text = rest;
        let mut line = || -> Result<&str> {
            let (line, behind) = rest
                .split_once('\n')
                .context("a registration that ends within a path")?;
            rest = behind;
            Ok(line)
        };
        let path = line()?;
        line()?;
        let size = line()?
            .parse()
            .with_context(|| format!("the size of {path} in the registration"))?;
        line()?;
        let references: usize = line()?
            .parse()
            .with_context(|| format!("the references of {path}"))?;
        for _ in 0..references {
            line()?;
        }
        found.push(Record {
            path,
            size,
            text: &text[..text.len() - rest.len()],
        });
    }
    Ok(found)
}

/// The paths that a registration dump tells of, with their sizes as NARs.
///
/// # Errors
/// It is not what `nix-store --dump-db` writes.
pub fn registered(dump: &str) -> Result<Vec<(String, u64)>> {
    let found = records(dump)?;
    Ok(found
        .iter()
        .map(|record| (record.path.to_owned(), record.size))
        .collect())
}

/// Hard links (or copies, on another filesystem) of store paths from one folder to another.
pub(super) fn link(from: &Path, paths: &[&String], to: &Path) -> Result<()> {
    for some in paths.chunks(200) {
        let mut sources = Vec::new();
        for path in some {
            let name = path
                .strip_prefix("/nix/store/")
                .with_context(|| format!("{path} is no store path"))?;
            sources.push(from.join(name));
        }
        let mut cp = Command::new("cp");
        cp.args(["--archive", "--link"]).args(&sources).arg(to);
        if output(cp, "linking store paths", BUILD_LIMIT).is_err() {
            let mut cp = Command::new("cp");
            cp.args(["--archive", "--force"]).args(&sources).arg(to);
            output(cp, "copying store paths", BUILD_LIMIT)?;
        }
    }
    Ok(())
}

/// An empty folder beside `place`, to be renamed to it when it is whole.
pub(super) fn fresh(place: &Path) -> Result<PathBuf> {
    let mut name = place.file_name().context("a folder without a name")?.to_owned();
    name.push(".partial");
    let partial = place.with_file_name(name);
    remove(&partial)?;
    fs::create_dir_all(&partial)?;
    Ok(partial)
}
