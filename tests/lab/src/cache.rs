//! Where the laboratory keeps what it makes.
//!
//! An artefact is a directory whose name ends in the hash of everything it was made from. It is built beside its place and
//! renamed into it, so that what exists is complete. Two laboratories that need the same artefact wait for each other. A
//! process that uses a folder holds a shared lock on it until it ends; a process that removes one holds it alone.
//!
//! What a killed laboratory was making is removed at the next start, with what was mounted in it, unless another process
//! still makes it. An artefact that is no longer current is removed when a newer one of its kind is made ([`crate::clean`]).
//!
//! [`crate::removal`] deletes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::clean;
use crate::ending::Unfinished;
use crate::removal::{UNFINISHED, is_unfinished, remove};

/// The laboratory's folders.
#[derive(Debug, Clone)]
pub struct Cache {
    /// The root of landfall's workspace.
    pub workspace: PathBuf,
    /// `$LANDFALL_LAB_CACHE`, or `.lab` in the workspace.
    pub root: PathBuf,
}

impl Cache {
    /// Finds the folders and makes the missing ones, removes what was not finished, and is a user of them until the process ends.
    pub fn open() -> Result<Cache> {
        let cache = Cache::find()?;
        if !used(&cache.root)? {
            bail!("{} was removed just now: run this again", cache.root.display());
        }
        cache.remove_unfinished()?;
        Ok(cache)
    }

    /// The folders, without being a user of them.
    pub fn find() -> Result<Cache> {
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
        Ok(Cache { workspace, root })
    }

    /// Removes what nobody is making any more.
    pub fn remove_unfinished(&self) -> Result<()> {
        for home in [self.root.clone(), self.root.join("closure")] {
            if home.exists() {
                remove_unfinished(&home)?;
            }
        }
        Ok(())
    }

    /// The folder of a machine: its disks, firmware variables and logs. Made when missing, kept when not.
    pub fn machine(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join("machines").join(name);
        loop {
            fs::create_dir_all(&folder)?;
            if used(&folder)? {
                return Ok(folder);
            }
        }
    }

    /// The same, empty.
    pub fn fresh_machine(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join("machines").join(name);
        unused(&folder);
        if let Some(alone) = alone(&folder)? {
            remove(&folder)?;
            drop(alone);
        } else if folder.exists() {
            bail!(
                "{} is a machine of another laboratory that is at work: wait until it has ended",
                folder.display()
            );
        }
        self.machine(name)
    }

    /// The directory `<name>-<hash of inputs>`, built by `build` (given an empty directory to fill) when missing.
    pub fn artefact(
        &self,
        name: &str,
        inputs: &[&[u8]],
        build: impl FnOnce(&Making) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.root.join(format!("{name}-{}", hash(inputs)));
        made(&self.root, name, place, build)
    }
}

/// The directory `place` in `home`, built by `build` when missing; the former ones of its kind go then.
pub fn made(
    home: &Path,
    name: &str,
    place: PathBuf,
    build: impl FnOnce(&Making) -> Result<()>,
) -> Result<PathBuf> {
    if used(&place)? {
        return Ok(place);
    }
    let making = Making::begin(home, name)?;
    if used(&place)? {
        return Ok(place);
    }
    making.empty()?;
    build(&making).with_context(|| format!("building the laboratory's {name} in {}", making.display()))?;
    remove(&making.temporary())?;
    fs::rename(&*making, &place)?;
    if !used(&place)? {
        bail!("{} was removed just now: run this again", place.display());
    }
    drop(making);
    clean::former(home, &place)?;
    Ok(place)
}

/// A folder that is being made: its lock is held, and it goes at a signal.
#[derive(Debug)]
pub struct Making {
    folder: PathBuf,
    lock: Flock<File>,
    _unfinished: Unfinished,
}

impl Deref for Making {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.folder
    }
}

impl Making {
    /// Waits for the lock.
    fn begin(home: &Path, name: &str) -> Result<Making> {
        Making::lock_with(home, name, FlockArg::LockExclusive)?
            .with_context(|| format!("the lock of {name} in {} is another's", home.display()))
    }

    /// `None` while another process makes it.
    pub fn unless_busy(home: &Path, name: &str) -> Result<Option<Making>> {
        Making::lock_with(home, name, FlockArg::LockExclusiveNonblock)
    }

    fn lock_with(home: &Path, name: &str, how: FlockArg) -> Result<Option<Making>> {
        let place = home.join(format!("{name}.lock"));
        let folder = home.join(format!("{name}{UNFINISHED}"));
        loop {
            let file = fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&place)?;
            let lock = match Flock::lock(file.into_parts().0, how) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(anyhow!("cannot lock {}: {errno}", place.display())),
            };
            // Whoever removed an artefact removed its lock with it.
            if is_at(&lock, &place)? {
                let _unfinished = Unfinished::new(&folder);
                return Ok(Some(Making {
                    folder,
                    lock,
                    _unfinished,
                }));
            }
        }
    }

    fn empty(&self) -> Result<()> {
        remove(&self.folder)?;
        Ok(fs::create_dir_all(&self.folder)?)
    }

    /// Where programs that help to make it have their temporary files; not part of the result.
    pub fn temporary(&self) -> PathBuf {
        self.folder.join("temporary")
    }

    /// The lock, to be held by a program as well.
    pub fn lock(&self) -> Result<Arc<OwnedFd>> {
        Ok(Arc::new(OwnedFd::from(self.lock.try_clone()?)))
    }

    /// Says that it is of no use without these artefacts.
    pub fn of(&self, artefacts: &[&Path]) -> Result<()> {
        let mut names = String::new();
        for artefact in artefacts {
            let name = artefact.file_name().context("an artefact without a name")?;
            names.push_str(&name.to_string_lossy());
            names.push('\n');
        }
        Ok(fs::write(self.folder.join(clean::MADE_OF), names)?)
    }

    /// Removes an artefact, and the lock, which is its own.
    pub fn retire(self, place: &Path) -> Result<()> {
        remove(&self.folder)?;
        fs::rename(place, &self.folder)?;
        self.discard()?;
        let lock = self.folder.with_extension("lock");
        Ok(fs::remove_file(lock)?)
    }

    /// Removes what is there of it.
    pub fn discard(&self) -> Result<()> {
        remove(&self.folder)
    }
}

/// The locks of the folders that this process uses.
static IN_USE: Mutex<BTreeMap<PathBuf, Flock<File>>> = Mutex::new(BTreeMap::new());

/// Makes this process a user of a folder until it ends. False when there is no such folder.
pub fn used(folder: &Path) -> Result<bool> {
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lock) = in_use.get(folder) {
        if is_at(lock, folder)? {
            return Ok(true);
        }
        in_use.remove(folder);
    }
    let Some(file) = opened(folder)? else {
        return Ok(false);
    };
    let lock = Flock::lock(file, FlockArg::LockShared)
        .map_err(|(_, errno)| anyhow!("cannot lock {}: {errno}", folder.display()))?;
    // It may have been removed while the lock was waited for.
    if !is_at(&lock, folder)? {
        return Ok(false);
    }
    lock.set_modified(SystemTime::now())
        .with_context(|| format!("the time of {}", folder.display()))?;
    in_use.insert(folder.to_owned(), lock);
    Ok(true)
}

/// This process uses a folder no longer.
fn unused(folder: &Path) {
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    in_use.remove(folder);
}

/// A folder that nobody uses, and nobody can begin to use while this is held. `None` when somebody does, or there is no such folder.
pub fn alone(folder: &Path) -> Result<Option<Flock<File>>> {
    let Some(file) = opened(folder)? else {
        return Ok(None);
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(is_at(&lock, folder)?.then_some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(anyhow!("cannot lock {}: {errno}", folder.display())),
    }
}

fn opened(folder: &Path) -> Result<Option<File>> {
    match fs::File::open(folder) {
        Ok(file) => Ok(Some(file.into_parts().0)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a path still names what is open.
fn is_at(open: &File, path: &Path) -> Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let open = open.metadata().context("an open folder")?;
    Ok((there.dev(), there.ino()) == (open.dev(), open.ino()))
}

/// Removes what nobody is making any more: whoever makes something holds its lock, and so do the programs that help.
fn remove_unfinished(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let folder = entry.path();
        if !is_unfinished(&entry.file_name()) || !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(UNFINISHED).unwrap_or(&name);
        let Some(making) = Making::unless_busy(home, name)? else {
            continue;
        };
        // Another start may have removed it just now.
        if folder.exists() {
            eprintln!("lab: removing {}, which was not finished", folder.display());
            making.discard()?;
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
#[path = "cache_tests.rs"]
mod tests;
