//! Changes several files of a working tree together.
//!
//! First, all new contents are written to Git's own directory, where neither Git nor a flake sees them. Then a journal that names
//! them is written and flushed; from then on the change is decided, and the next run finishes it. Before the journal, nothing in the
//! tree is changed. Each file is replaced by a rename, so it has its old or its new contents.
//!
//! The files of the new host come first and are added to Git, the flake comes last. In between, the flake evaluates, and every secret
//! can be read by the same people as before.
//!
//! `new` makes the contents.

use super::error::HostError;
use super::keys::sync_dir;
use super::programs::{Programs, Repository};
use crate::real::disk::usage::shell;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use landfall_states::names::Digest;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

/// Longest file that is changed.
pub(crate) const FILE_BYTES_MAX: u64 = 32 << 20;
/// Longest journal.
const JOURNAL_BYTES_MAX: u64 = 4 << 20;
/// Version of the journal's format.
pub const JOURNAL_VERSION: u32 = 1;
const JOURNAL: &str = "host-new.json";
const STAGED: &str = "host-new.staged";

/// One file that is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name below the root of the repository.
    pub path: Utf8PathBuf,
    /// What it holds; `None`: it is not there.
    pub old: Option<Vec<u8>>,
    /// What it will hold.
    pub new: Vec<u8>,
    /// It belongs to the new host alone.
    pub is_of_host: bool,
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Version of this format.
    #[serde(rename = "version")]
    pub version: u32,
    /// The host.
    #[serde(rename = "host")]
    pub host: String,
    /// The files are committed, too.
    #[serde(rename = "commit")]
    pub commit: bool,
    /// The files, in their order.
    #[serde(rename = "files")]
    pub files: Vec<Entry>,
}

/// One file of a [`Journal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name below the root of the repository.
    #[serde(rename = "path")]
    pub path: Utf8PathBuf,
    /// The digest of what was there.
    #[serde(rename = "old")]
    pub old: Option<Digest>,
    /// The digest of what is to be there.
    #[serde(rename = "new")]
    pub new: Digest,
    /// It belongs to the new host alone.
    #[serde(rename = "of_host")]
    pub is_of_host: bool,
}

/// Where changes of one working tree are prepared. One process at a time.
#[derive(Debug)]
pub struct Workplace {
    root: Utf8PathBuf,
    dir: Utf8PathBuf,
    _lock: Flock<OwnedFd>,
}

/// What a file holds; `None`: nothing has its name.
pub(crate) fn contents(root: &Utf8Path, path: &Utf8Path) -> Result<Option<Vec<u8>>, HostError> {
    let whole = root.join(path);
    safe_open::read_if_there(&whole, Links::Refuse, FILE_BYTES_MAX)
        .map_err(|refused| HostError::refused(whole, refused))
}

fn journal(path: &Utf8Path) -> Result<Option<Journal>, HostError> {
    let bad = |reason: String| HostError::File {
        path: path.to_owned(),
        reason,
        next: "finish that run with the version of landfall that started it; or move the file away (the host's files then stay as they are)",
    };
    let read = safe_open::read_if_there(path, Links::Refuse, JOURNAL_BYTES_MAX)
        .map_err(|refused| HostError::refused(path, refused))?;
    let Some(bytes) = read else { return Ok(None) };
    let journal: Journal =
        serde_json::from_slice(&bytes).map_err(|e| bad(format!("it is not a journal of landfall: {e}")))?;
    if journal.version != JOURNAL_VERSION {
        return Err(bad(format!(
            "it has version {}; this landfall reads version {JOURNAL_VERSION}",
            journal.version
        )));
    }
    Ok(Some(journal))
}

impl Workplace {
    /// Opens it, and takes its lock.
    ///
    /// # Errors
    /// Another run is at work there, or the folder cannot be made or locked.
    pub fn open(repository: &Repository) -> Result<Workplace, HostError> {
        let dir = repository.git_dir.join("landfall");
        fs::create_dir_all(&dir).map_err(|e| HostError::file(&dir, &e))?;
        let path = dir.join("lock");
        let file =
            safe_open::open_own(&path, 0o600, false).map_err(|refused| HostError::refused(&path, refused))?;
        let lock =
            Flock::lock(OwnedFd::from(file), FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
                Errno::EWOULDBLOCK => HostError::Locked(repository.root.clone()),
                e => HostError::file(&path, &e.into()),
            })?;
        Ok(Workplace {
            root: repository.root.clone(),
            dir,
            _lock: lock,
        })
    }

    /// Refuses a repository whose index Git would not change: every run ends with that.
    ///
    /// # Errors
    /// Git's lock is there.
    pub fn refuse_locked_index(&self) -> Result<(), HostError> {
        let lock = self.dir.with_file_name("index.lock");
        if fs::symlink_metadata(&lock).is_err() {
            return Ok(());
        }
        Err(HostError::Git {
            what: "add".to_owned(),
            reason: format!("{lock} is there: another Git command is running, or one was killed"),
            next: format!(
                "wait until that command ends, or, if there is none, rm {}; then run the command again",
                shell(lock.as_str())
            ),
        })
    }

    fn staged(&self, n: usize) -> Utf8PathBuf {
        self.dir.join(STAGED).join(n.to_string())
    }

    /// The host of a run that was cut off after it was decided; nothing is locked or changed.
    ///
    /// # Errors
    /// The journal cannot be read, or is of a newer landfall.
    pub fn unfinished_of(repository: &Repository) -> Result<Option<String>, HostError> {
        let path = repository.git_dir.join("landfall").join(JOURNAL);
        Ok(journal(&path)?.map(|journal| journal.host))
    }

    /// What a run that was cut off had decided. What it had only begun is removed.
    ///
    /// # Errors
    /// The journal cannot be read or is of a newer landfall, or what was begun cannot be removed.
    pub fn unfinished(&self) -> Result<Option<Journal>, HostError> {
        let found = journal(&self.dir.join(JOURNAL))?;
        if found.is_none() {
            self.clear()?;
        }
        Ok(found)
    }

    fn clear(&self) -> Result<(), HostError> {
        let dir = self.dir.join(STAGED);
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(HostError::file(&dir, &e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes everything beside, and decides it.
    ///
    /// # Errors
    /// A file was changed since it was read, or something cannot be written.
    pub fn decide(&self, host: &str, changes: &[Change], commit: bool) -> Result<Journal, HostError> {
        self.clear()?;
        let dir = self.dir.join(STAGED);
        fs::create_dir(&dir).map_err(|e| HostError::file(&dir, &e))?;
        let mut files = vec![];
        for (n, change) in changes.iter().enumerate() {
            let whole = self.root.join(&change.path);
            self.same_filesystem(&whole)?;
            let path = self.staged(n);
            self.stage(&path, &whole, &change.new)
                .map_err(|e| HostError::file(&path, &e))?;
            files.push(Entry {
                path: change.path.clone(),
                old: change.old.as_deref().map(Digest::of),
                new: Digest::of(&change.new),
                is_of_host: change.is_of_host,
            });
        }
        sync_dir(&dir).map_err(|e| HostError::file(&dir, &e))?;
        for change in changes {
            if contents(&self.root, &change.path)? != change.old {
                self.clear()?;
                return Err(HostError::ChangedMeanwhile {
                    path: self.root.join(&change.path),
                });
            }
        }
        let journal = Journal {
            version: JOURNAL_VERSION,
            host: host.to_owned(),
            commit,
            files,
        };
        let path = self.dir.join(JOURNAL);
        let written = || -> io::Result<()> {
            let bytes = serde_json::to_vec_pretty(&journal).map_err(io::Error::other)?;
            safe_open::replace(&path, 0o600, &bytes)?;
            sync_dir(&self.dir)
        };
        written().map_err(|e| HostError::file(&path, &e))?;
        Ok(journal)
    }

    fn stage(&self, path: &Utf8Path, target: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = safe_open::open_own(path, 0o644, false).map_err(|refused| refused.into_io(path))?;
        file.write_all(bytes)?;
        match fs::symlink_metadata(target) {
            Ok(found) => file.set_permissions(found.permissions())?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        file.sync_all()
    }

    /// A rename goes within one filesystem only.
    fn same_filesystem(&self, target: &Utf8Path) -> Result<(), HostError> {
        let number = |path: &Utf8Path| fs::metadata(path).map(|found| found.dev());
        let here = number(&self.dir).map_err(|e| HostError::file(&self.dir, &e))?;
        let above = target.ancestors().skip(1).find_map(|above| number(above).ok());
        if above == Some(here) {
            return Ok(());
        }
        Err(HostError::File {
            path: target.to_owned(),
            reason: format!(
                "it is on another filesystem than {}, so landfall cannot replace it atomically",
                self.dir
            ),
            next: "unmount that filesystem, or clone the repository to a single filesystem",
        })
    }

    /// Carries what is decided to its end. Told again, it goes on where it was cut off.
    ///
    /// # Errors
    /// A file is neither as before nor as decided, cannot be written, or Git fails.
    pub fn finish(&self, journal: &Journal, programs: &Programs) -> Result<(), HostError> {
        for (n, entry) in journal.files.iter().enumerate() {
            self.look(n, entry)?;
        }
        for of_host in [true, false] {
            for (n, entry) in journal
                .files
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.is_of_host == of_host)
            {
                let whole = self.root.join(&entry.path);
                self.put(n, &whole).map_err(|e| HostError::file(&whole, &e))?;
            }
            let added: Vec<&str> = journal
                .files
                .iter()
                .filter(|entry| entry.is_of_host || !of_host)
                .map(|entry| entry.path.as_str())
                .collect();
            programs.add(&self.root, &added)?;
        }
        let all: Vec<&str> = journal.files.iter().map(|entry| entry.path.as_str()).collect();
        if journal.commit && programs.is_staged(&self.root, &all)? {
            programs.commit(
                &self.root,
                &all,
                &format!("The host {} and its installer", journal.host),
            )?;
        }
        self.forget()
    }

    /// Whether somebody has removed what a run that was cut off had put in its place: then it is not wanted any more.
    pub fn is_given_up(&self, journal: &Journal) -> bool {
        let is_there = |path: &Utf8Path| path.as_std_path().symlink_metadata().is_ok();
        journal
            .files
            .iter()
            .enumerate()
            .any(|(n, entry)| !is_there(&self.staged(n)) && !is_there(&self.root.join(&entry.path)))
    }

    /// Removes the journal and what is beside it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self) -> Result<(), HostError> {
        let path = self.dir.join(JOURNAL);
        let done = || -> io::Result<()> {
            fs::remove_file(&path)?;
            sync_dir(&self.dir)
        };
        done().map_err(|e| HostError::file(&path, &e))?;
        self.clear()
    }

    /// Whether a file is as it was, or has its new contents; somebody else's are not overwritten.
    fn look(&self, n: usize, entry: &Entry) -> Result<(), HostError> {
        let staged = self.staged(n);
        if !staged.as_std_path().exists() {
            // It was put in its place, and is the operator's since.
            return Ok(());
        }
        let found = contents(&self.root, &entry.path)?.as_deref().map(Digest::of);
        if found == entry.old || found.as_ref() == Some(&entry.new) {
            return Ok(());
        }
        Err(HostError::Conflict {
            path: self.root.join(&entry.path),
            staged,
        })
    }

    fn put(&self, n: usize, target: &Utf8Path) -> io::Result<()> {
        let staged = self.staged(n);
        if !staged.as_std_path().exists() {
            return Ok(());
        }
        let parent = target.parent().unwrap_or(&self.root);
        let is_new = |dir: &&Utf8Path| !dir.as_std_path().exists();
        let made: Vec<&Utf8Path> = parent.ancestors().take_while(is_new).collect();
        fs::create_dir_all(parent)?;
        for above in made.iter().filter_map(|dir| dir.parent()) {
            sync_dir(above)?;
        }
        fs::rename(&staged, target)?;
        sync_dir(parent)
    }
}
