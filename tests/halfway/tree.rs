//! Folders: copied, and compared.
//!
//! A copy has the same kinds, modes, links and bytes; times and owners are ignored.

use sha2::{Digest, Sha256};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Copies a folder with everything in it, holes kept.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let status = std::process::Command::new("cp")
        .args(["-a", "--sparse=always", "--"])
        .arg(from)
        .arg(to)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("cp: {status}")))
    }
}

/// Removes a folder or a file, if it is there; folders of the Nix store are not writable.
pub fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    let status = std::process::Command::new("rm")
        .arg("-rf")
        .arg("--")
        .arg(path)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("rm: {status}")))
    }
}

fn walk(path: &Path, name: &str, without: &[&Path], sum: &mut Sha256) -> io::Result<()> {
    if without.contains(&path) {
        return Ok(());
    }
    let metadata = path.symlink_metadata()?;
    sum.update(name.as_bytes());
    sum.update([0]);
    sum.update(metadata.permissions().mode().to_le_bytes());
    if metadata.is_symlink() {
        sum.update(path.read_link()?.as_os_str().as_encoded_bytes());
    } else if metadata.is_dir() {
        let mut names: Vec<_> = fs_err::read_dir(path)?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<Result<_, _>>()?;
        names.sort();
        for name in names {
            walk(&path.join(&name), &name.to_string_lossy(), without, sum)?;
        }
        sum.update([1]);
    } else if metadata.is_file() {
        sum.update(metadata.len().to_le_bytes());
        sum.update(fs_err::read(path)?);
    }
    Ok(())
}

/// What tells a folder from others.
pub fn digest(path: &Path) -> io::Result<[u8; 32]> {
    digest_without(path, &[])
}

/// The same without what is at these paths.
pub fn digest_without(path: &Path, without: &[&Path]) -> io::Result<[u8; 32]> {
    let mut sum = Sha256::new();
    match walk(path, "", without, &mut sum) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    Ok(sum.finalize().into())
}
