//! Decides whether a repository on the target may be shown to Git.
//!
//! Before Git, or a Nix that reads a repository, runs in a directory that existed before, landfall reads its settings, its
//! hooks and every other file that Git takes orders from, without Git, and compares them with what landfall and its Git
//! write. If anything differs, no Git runs there: it would run as root. Committed files are not checked: they are the
//! operator's own configuration.
//!
//! `git::settings` reads the settings; `states::actions::clone_configuration` and `git::clone` decide what follows.

use crate::real::fs::marks::{CLONE_KEY, REVISION_KEY, TRIES_KEY};
use crate::real::fs::target_root;
use crate::real::git::command;
use crate::real::git::settings::{self, BYTES_MAX, Judged, Of, Setting};
use crate::safe_open::{self, Links, Refused};
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use landfall_states::actions::clone_configuration::CloneConfiguration;
use landfall_states::fault::{Fault, SourceFault};
use landfall_states::names::{Revision, quoted};
use landfall_states::plan::{Repository, RepositorySource};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Most problems of a repository that are reported.
const TOLD_MAX: usize = 5;
/// Deepest folder of a repository; the kernel allows no longer path.
const DEPTH_MAX: usize = 2_048;
/// Largest file of packed references that is read.
const REFERENCES_BYTES_MAX: u64 = 64 << 20;

/// What Git and landfall make directly in a repository, and what somebody makes who works in it by Git's own commands. Nothing of it
/// is an order to Git but `config`, which is read.
const FILES: [&str; 19] = [
    "AUTO_MERGE",
    "CHERRY_PICK_HEAD",
    "COMMIT_EDITMSG",
    "FETCH_HEAD",
    "HEAD",
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "ORIG_HEAD",
    "REBASE_HEAD",
    "REVERT_HEAD",
    "SQUASH_MSG",
    "TAG_EDITMSG",
    "config",
    "description",
    "gc.log",
    "gc.pid",
    "index",
    "packed-refs",
];
const FOLDERS: [&str; 11] = [
    "branches",
    "hooks",
    "info",
    "logs",
    "lost-found",
    "modules",
    "objects",
    "rebase-apply",
    "rebase-merge",
    "refs",
    "sequencer",
];

/// What was found in a repository, without Git.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The install that made it, as its configuration says.
    pub mark: Option<String>,
    /// The revision that it was made of.
    pub made_of: Option<Revision>,
    /// How often it was gone on with.
    pub tries: u32,
    /// What landfall and its Git do not write, for people. Not empty: no Git may be run in it.
    pub strange: Vec<String>,
    /// A configuration that cannot be read, as a power cut leaves one. No Git works there, either.
    pub spoilt: Option<String>,
    /// Its remote is another one than the configuration's.
    pub other_remote: Option<String>,
}

impl Seen {
    /// Whether Git may be run in it.
    pub fn is_ours(&self) -> bool {
        self.strange.is_empty() && self.spoilt.is_none()
    }

    /// What is strange or spoilt, in one line.
    pub fn told(&self) -> String {
        let all: Vec<&str> = self
            .strange
            .iter()
            .chain(&self.spoilt)
            .map(String::as_str)
            .collect();
        all.join("; ")
    }

    fn strange(&mut self, what: String) {
        if self.strange.len() < TOLD_MAX {
            self.strange.push(what);
        }
    }
}

/// What is at a path where a repository may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No repository: nothing of the name `.git`.
    None,
    /// A repository whose `.git` is somewhere else, or that nobody can tell whose it is: why.
    Other(String),
    /// A repository.
    Repository(Seen),
}

/// The URL that landfall writes into a clone of this repository.
pub fn origin(repository: &Repository) -> Option<String> {
    match &repository.source {
        RepositorySource::Remote(url) => Some(command::written_url(url)),
        RepositorySource::Bundle { origin, .. } => origin.as_ref().map(command::written_url),
    }
}

/// Looks at the clone of this action at a path.
///
/// # Errors
/// What is there cannot be looked at.
pub fn look(path: &Utf8Path, action: &CloneConfiguration) -> Result<Found, Fault> {
    look_for(path, origin(&action.repository).as_deref())
}

/// The same, with the URL of the remote.
///
/// # Errors
/// What is there cannot be looked at.
fn look_for(path: &Utf8Path, origin: Option<&str>) -> Result<Found, Fault> {
    examine(path, origin).map_err(|e| target_root::io_fault(path.as_str(), &e))
}

/// What a name stands for, without following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Folder,
    File,
    /// For people.
    Other(&'static str),
}

fn kind(path: &Path) -> io::Result<Kind> {
    let found = match fs_err::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Kind::Missing);
        }
        Err(e) => return Err(e),
    };
    Ok(if found.is_dir() {
        Kind::Folder
    } else if found.is_file() {
        Kind::File
    } else if found.is_symlink() {
        Kind::Other("a symbolic link")
    } else {
        Kind::Other("a device, a socket or a FIFO")
    })
}

/// At most so many bytes of a file; `None`: it has more.
fn bytes(path: &Utf8Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    match safe_open::read(path, Links::Refuse, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Refused::TooLong { .. }) => Ok(None),
        Err(refused) => Err(refused.into_io(path)),
    }
}

/// The settings in a file, or why they cannot be read.
fn settings(file: &Utf8Path) -> io::Result<Result<Vec<Setting>, String>> {
    match kind(file.as_std_path())? {
        Kind::Missing => return Ok(Ok(vec![])),
        Kind::File => {}
        Kind::Folder => return Ok(Err("it is a directory".into())),
        Kind::Other(what) => return Ok(Err(format!("it is {what}"))),
    }
    let Some(text) = bytes(file, BYTES_MAX)? else {
        return Ok(Err(format!("it has more than {BYTES_MAX} bytes")));
    };
    if text.is_empty() {
        return Ok(Err("it is empty".into()));
    }
    Ok(settings::read(&text).map_err(|e| e.to_string()))
}

fn examine(path: &Utf8Path, origin: Option<&str>) -> io::Result<Found> {
    let git_dir = path.join(".git");
    match kind(git_dir.as_std_path())? {
        Kind::Missing => return Ok(Found::None),
        Kind::Folder => {}
        Kind::File | Kind::Other(_) => {
            return Ok(Found::Other("a repository whose .git is not a directory".into()));
        }
    }
    let settings = match settings(&git_dir.join("config"))? {
        Ok(settings) => settings,
        Err(why) => {
            return Ok(Found::Other(format!(
                "a repository whose .git/config cannot be read ({why}), so its owner is not known; landfall does not change it. If you do not need it: mv {path} {path}.old"
            )));
        }
    };
    let mut seen = Seen {
        mark: settings::value(&settings, CLONE_KEY).map(str::to_owned),
        made_of: settings::value(&settings, REVISION_KEY).and_then(|text| text.parse().ok()),
        tries: settings::value(&settings, TRIES_KEY)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        ..Seen::default()
    };
    for setting in &settings {
        match settings::judge(setting, Of::Clone { origin }) {
            Judged::Ours => {}
            Judged::OtherRemote => seen.other_remote = Some(settings::shown(setting)),
            Judged::Strange | Judged::Worktree(_) => {
                seen.strange(format!("the setting {} in .git/config", settings::shown(setting)));
            }
        }
    }
    repository(path, &git_dir, true, &mut seen)?;
    for module in modules_below(path, &git_dir.join("modules"), DEPTH_MAX, &mut seen)? {
        submodule(path, &module, &mut seen)?;
    }
    Ok(Found::Repository(seen))
}

/// A submodule's repository and its settings.
fn submodule(path: &Utf8Path, git_dir: &Utf8Path, seen: &mut Seen) -> io::Result<()> {
    let config = git_dir.join("config");
    let told = config.strip_prefix(path).unwrap_or(&config).to_string();
    // Without a configuration, or with an empty one, Git takes no order from it.
    let is_empty = fs_err::symlink_metadata(&config).is_ok_and(|found| found.is_file() && found.len() == 0);
    let settings = match settings(&config)? {
        _ if is_empty => vec![],
        Ok(settings) => settings,
        Err(why) => {
            seen.spoilt = Some(format!("{told} cannot be read ({why})"));
            vec![]
        }
    };
    for setting in &settings {
        let is_ours = match settings::judge(setting, Of::Submodule) {
            Judged::Ours => true,
            // A submodule's files are below the clone's, and not among its Git's own.
            Judged::Worktree(to) => normal(&git_dir.join(&to)).is_some_and(|files| {
                !Utf8Path::new(&to).is_absolute()
                    && files != path
                    && files.starts_with(path)
                    && !files.starts_with(path.join(".git"))
            }),
            Judged::OtherRemote | Judged::Strange => false,
        };
        if !is_ours {
            seen.strange(format!("the setting {} in {told}", settings::shown(setting)));
        }
    }
    repository(path, git_dir, false, seen)
}

/// A path without `.` and `..`, by its words alone; `None`: it leads out at the top.
fn normal(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut normal = Utf8PathBuf::new();
    for part in path.components() {
        match part {
            Utf8Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Utf8Component::CurDir => {}
            Utf8Component::Prefix(_) | Utf8Component::RootDir | Utf8Component::Normal(_) => normal.push(part),
        }
    }
    Some(normal)
}

/// The files of a repository beside its configuration: only what Git makes, where it makes it.
fn repository(path: &Utf8Path, git_dir: &Utf8Path, is_clone: bool, seen: &mut Seen) -> io::Result<()> {
    let root = git_dir.as_std_path();
    // Everything is a file or a directory: Git follows a link, and would write through it.
    plain(path, root, DEPTH_MAX, seen)?;
    let strange = |seen: &mut Seen, at: &Path| seen.strange(format!("{} in it", shown(path, at)));
    for (name, at) in names(root)? {
        let known = name.to_str().is_some_and(|name| {
            FILES.contains(&name)
                || FOLDERS.contains(&name)
                || name.ends_with(".lock")
                || name.starts_with("tmp_")
                // A submodule may be wanted with a part of its history only.
                || !is_clone && name == "shallow"
        });
        if !known {
            strange(seen, &at);
        }
    }
    for (folder, allowed) in [
        // What Git's own examples are called; it runs none of that name.
        (
            "hooks",
            &(|name: &[u8]| name.ends_with(b".sample")) as &dyn Fn(&[u8]) -> bool,
        ),
        ("info", &|name| matches!(name, b"exclude" | b"refs")),
        ("objects/info", &|name| {
            matches!(name, b"packs" | b"commit-graph" | b"commit-graphs")
        }),
        ("objects/pack", &|name| !name.ends_with(b".promisor")),
        ("branches", &|_| false),
        ("refs", &|name| name != b"replace"),
    ] {
        for (name, at) in names(&root.join(folder))? {
            if !allowed(name.as_bytes()) {
                strange(seen, &at);
            }
        }
    }
    let packed = git_dir.join("packed-refs");
    if kind(packed.as_std_path())? == Kind::File {
        let replaces = |text: &[u8]| text.windows(14).any(|at| at == b" refs/replace/");
        match bytes(&packed, REFERENCES_BYTES_MAX)? {
            Some(text) if !replaces(&text) => {}
            Some(_) | None => strange(seen, packed.as_std_path()),
        }
    }
    Ok(())
}

fn shown(path: &Utf8Path, at: &Path) -> String {
    let at = at.strip_prefix(path.as_std_path()).unwrap_or(at);
    let text: String = at.to_string_lossy().chars().take(200).collect();
    quoted(&text)
}

/// The names in a folder, in order; none where there is no folder.
fn names(folder: &Path) -> io::Result<Vec<(std::ffi::OsString, std::path::PathBuf)>> {
    if kind(folder)? != Kind::Folder {
        return Ok(vec![]);
    }
    let mut found = vec![];
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        found.push((entry.file_name(), entry.path()));
    }
    found.sort();
    Ok(found)
}

fn plain(path: &Utf8Path, folder: &Path, depth: usize, seen: &mut Seen) -> io::Result<()> {
    for (_, at) in names(folder)? {
        match kind(&at)? {
            Kind::File | Kind::Missing => {}
            Kind::Folder if depth == 0 => seen.strange(format!("{}, too deep", shown(path, &at))),
            // Repositories of submodules are looked at by themselves.
            Kind::Folder => plain(path, &at, depth - 1, seen)?,
            Kind::Other(what) => seen.strange(format!("{}, {what}", shown(path, &at))),
        }
    }
    Ok(())
}

/// The repositories of submodules: what has anything that Git takes for one. A submodule's name may have many parts.
fn modules_below(
    path: &Utf8Path,
    folder: &Utf8Path,
    depth: usize,
    seen: &mut Seen,
) -> io::Result<Vec<Utf8PathBuf>> {
    let mut found = vec![];
    for (_, at) in names(folder.as_std_path())? {
        if kind(&at)? != Kind::Folder {
            continue;
        }
        let Some(at) = Utf8Path::from_path(&at).filter(|_| depth > 0) else {
            seen.strange(format!("{} in it", shown(path, &at)));
            continue;
        };
        let mut begun = false;
        for name in ["HEAD", "config", "objects", "refs", "commondir"] {
            begun |= kind(at.join(name).as_std_path())? != Kind::Missing;
        }
        if begun {
            found.push(at.to_owned());
            found.extend(modules_below(path, &at.join("modules"), depth - 1, seen)?);
        } else {
            found.extend(modules_below(path, at, depth - 1, seen)?);
        }
    }
    Ok(found)
}

/// Whether the files at `at`, a submodule's, are those of a repository below the clone's `.git/modules`, with no link on the way: then
/// that repository was looked at with the clone.
///
/// # Errors
/// What is there cannot be looked at.
pub fn is_submodule(clone: &Utf8Path, at: &Utf8Path) -> Result<bool, Fault> {
    is_inside(clone, at).map_err(|e| target_root::io_fault(at.as_str(), &e))
}

fn is_inside(clone: &Utf8Path, at: &Utf8Path) -> io::Result<bool> {
    let Ok(below) = at.strip_prefix(clone) else {
        return Ok(false);
    };
    let mut folder = clone.to_owned();
    for part in below.components() {
        folder.push(part);
        if kind(folder.as_std_path())? != Kind::Folder {
            return Ok(false);
        }
    }
    let link = at.join(".git");
    if kind(link.as_std_path())? != Kind::File {
        return Ok(false);
    }
    let Some(text) = bytes(&link, 4_096)? else {
        return Ok(false);
    };
    let to = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.strip_prefix("gitdir: "))
        .map(|to| to.trim_end_matches(['\n', '\r']));
    let Some(to) = to
        .filter(|to| !Utf8Path::new(to).is_absolute())
        .and_then(|to| normal(&at.join(to)))
    else {
        return Ok(false);
    };
    let looked_at = modules_below(
        clone,
        &clone.join(".git/modules"),
        DEPTH_MAX,
        &mut Seen::default(),
    )?;
    Ok(looked_at.contains(&to))
}

/// Whether Nix may evaluate what is in a clone: Nix reads a repository's settings, and so does the Git that it runs.
///
/// # Errors
/// Nix may not: the first setting or file that nobody of us wrote.
pub fn vetted(clone: &Utf8Path, repository: &Repository) -> Result<(), Fault> {
    let found = match look_for(clone, origin(repository).as_deref())? {
        Found::Repository(seen) if seen.is_ours() => return Ok(()),
        Found::Repository(seen) => seen.told(),
        Found::Other(why) => why,
        Found::None => "no repository".to_owned(),
    };
    Err(SourceFault::ForeignClone {
        path: clone.to_string(),
        found: format!("landfall evaluates nothing there, because it has {found}"),
    }
    .into())
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
