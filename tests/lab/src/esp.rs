//! What is on the ESP of an image, as mtools reads it: the files that firmware and boot loader would read, without a kernel.
//!
//! Nothing is written or mounted. The caller knows what should be there.

use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::command::Program;
use crate::disk;

/// The ESP of a disk's image, for mtools: `FILE@@OFFSET`.
fn drive(image: &Path) -> Result<String> {
    let esp = disk::partitions(image)?
        .into_iter()
        .find(|partition| partition.number == 1)
        .with_context(|| format!("no first partition on {}", image.display()))?;
    Ok(format!("{}@@{}", image.display(), esp.start))
}

/// The paths of every file on it, without a leading slash, sorted. Folders are not among them.
pub fn files(image: &Path) -> Result<Vec<String>> {
    let listed = Program::new("mdir")
        .args(["-i", &drive(image)?, "-/", "-b", "-a", "::"])
        .env("MTOOLS_SKIP_CHECK", "1")
        .run()?;
    let mut files: Vec<String> = listed
        .text()
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("::/"))
        .filter(|path| !path.ends_with('/'))
        .map(str::to_owned)
        .collect();
    files.sort();
    Ok(files)
}

/// The bytes of a file on it.
pub fn read(image: &Path, path: &str) -> Result<Vec<u8>> {
    Ok(Program::new("mtype")
        .args(["-i", &drive(image)?, &format!("::/{path}")])
        .env("MTOOLS_SKIP_CHECK", "1")
        .run()
        .with_context(|| format!("{path} on the ESP of {}", image.display()))?
        .stdout)
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The one file on it whose path fits; an error names what is there.
pub fn one(image: &Path, what: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
    let all = files(image)?;
    let mut found = all.iter().filter(|path| fits(path));
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path.clone()),
        _ => anyhow::bail!("not one {what} on the ESP, which has: {}", all.join(" ")),
    }
}
