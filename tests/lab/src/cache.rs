//! Where the laboratory keeps what it makes.
//!
//! Law: an artefact is a directory whose name ends in the hash of everything it was made from; it is built beside its
//! place and renamed into it, so that what exists is whole. Two laboratories that want the same artefact wait for
//! each other.
//!
//! What a laboratory that was killed was making is removed at the next start, unless another one is making it.
//!
//! Absent: garbage collection. `rm -r .lab` is always safe; the next run makes everything again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::ending::Unfinished;

/// The laboratory's folders.
#[derive(Debug, Clone)]
pub struct Cache {
    /// The root of landfall's workspace.
    pub workspace: PathBuf,
    /// `$LANDFALL_LAB_CACHE`, or `.lab` in the workspace.
    pub root: PathBuf,
}

impl Cache {
    /// Finds the folders and makes the missing ones.
    pub fn open() -> Result<Cache> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let workspace = fs::canonicalize(package.join("../.."))
            .context("the workspace is not where this laboratory was built; start it with `cargo lab`")?;
        let root = match std::env::var_os("LANDFALL_LAB_CACHE") {
            Some(root) => PathBuf::from(root),
            None => workspace.join(".lab"),
        };
        fs::create_dir_all(&root).context("set LANDFALL_LAB_CACHE to a folder that can be written")?;
        let root = fs::canonicalize(root)?;
        remove_unfinished(&root)?;
        Ok(Cache { workspace, root })
    }

    /// The folder of a machine: its disks, firmware variables and logs. Made when missing, kept when not.
    pub fn machine(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join("machines").join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The same, empty.
    pub fn fresh_machine(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join("machines").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        self.machine(name)
    }

    /// The directory `<name>-<hash of inputs>`, built by `build` (given an empty directory to fill) when missing.
    pub fn artefact(
        &self,
        name: &str,
        inputs: &[&[u8]],
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.root.join(format!("{name}-{}", hash(inputs)));
        if place.exists() {
            return Ok(place);
        }
        let lock = fs::File::create(self.root.join(format!("{name}.lock")))?;
        let _lock = Flock::lock(lock.into_parts().0, FlockArg::LockExclusive)
            .map_err(|(_, errno)| anyhow!("cannot lock {}/{name}.lock: {errno}", self.root.display()))?;
        if place.exists() {
            return Ok(place);
        }
        let scratch = self.root.join(format!("{name}{UNFINISHED}"));
        let _unfinished = Unfinished::new(&scratch);
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        build(&scratch)
            .with_context(|| format!("building the laboratory's {name} in {}", scratch.display()))?;
        fs::rename(&scratch, &place)?;
        Ok(place)
    }
}

/// What the name of a folder ends in that is being made.
const UNFINISHED: &str = ".building";

/// Removes what nobody is making any more: whoever makes something holds its lock.
fn remove_unfinished(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(name) = name.strip_suffix(UNFINISHED) else {
            continue;
        };
        let lock = fs::File::create(root.join(format!("{name}.lock")))?;
        let Ok(_lock) = Flock::lock(lock.into_parts().0, FlockArg::LockExclusiveNonblock) else {
            continue;
        };
        // Another start may have removed it just now.
        if folder.exists() {
            eprintln!("lab: removing {}, which was not finished", folder.display());
            fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

/// The first 16 hexadecimal digits of the SHA-256 over the inputs, each preceded by its length.
pub fn hash(inputs: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for input in inputs {
        digest.update((input.len() as u64).to_le_bytes());
        digest.update(input);
    }
    hex(&digest.finalize())[..16].to_owned()
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_makes_any_more_is_removed_and_nothing_else() -> Result<()> {
        let root = std::env::temp_dir().join(format!("lab-cache-{}", std::process::id()));
        for name in ["left.building", "made.building", "whole-0123", "building"] {
            fs::create_dir_all(root.join(name))?;
            fs::write(root.join(name).join("part"), "")?;
        }
        let held = fs::File::create(root.join("made.lock"))?;
        let held = Flock::lock(held.into_parts().0, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        remove_unfinished(&root)?;
        let there = |name: &str| root.join(name).exists();
        assert!(!there("left.building"));
        assert!(there("made.building") && there("whole-0123") && there("building"));
        drop(held);
        remove_unfinished(&root)?;
        assert!(!there("made.building"));
        Ok(fs::remove_dir_all(&root)?)
    }
}
