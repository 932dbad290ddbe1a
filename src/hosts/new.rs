//! Makes a new host, from the request to what is written.
//!
//! Everything is prepared and checked in memory first: the flake as it is and as it will be, and every secret, decrypted and
//! encrypted again. Before [`Plan::carry_out`], only a lock is written.
//!
//! `cli::host` asks and prints.

mod already;
mod by_hand;
mod gained;
mod given;
mod helps;
mod links;
mod machines;
mod outcome;
mod rules_file;
mod secrets;
mod written;

use super::error::HostError;
use super::evaluate::{Copy, Names};
use super::flake::{self, Fit, Of, Tree, Wanted};
use super::keys::Keys;
use super::place::Outline;
use super::programs::{Programs, Repository, Unevaluated};
use super::templates::Layout;
use super::transaction::{Change, Entry, Workplace, contents};
use crate::config;
use crate::real::disk::usage::shell;
use age::Callbacks;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use landfall_states::names::{Size, UserName};
use links::in_repository;
use outcome::{Secrets, Written};

/// The release that landfall's own templates are of, where Nix does not say that of the flake.
const RELEASE: &str = "26.05";
/// Most ways to edit the flake that are tried; each is an evaluation.
const TRIED_MAX: usize = 8;
const FLAKE: &str = "flake.nix";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// A folder of the repository.
    pub start: Utf8PathBuf,
    /// Name of the host.
    pub name: String,
    /// Which volumes it has.
    pub layout: Layout,
    /// Size of its swap.
    pub swap_size: String,
    /// The installer carries the whole system.
    pub prebuilt: bool,
    /// The folder for its keys.
    pub keys: Utf8PathBuf,
    /// The rules file of agenix.
    pub rules: Option<Utf8PathBuf>,
    /// Files of identities that decrypt the secrets.
    pub identities: Vec<Utf8PathBuf>,
    /// The operator's home.
    pub home: Option<Utf8PathBuf>,
    /// A host whose secrets it shall have.
    pub like: Option<String>,
    /// A user of the host.
    pub user: Option<String>,
    /// Where the repository is fetched from.
    pub remote: Option<String>,
    /// The host's system.
    pub system: String,
    /// The files are committed, too.
    pub commit: bool,
    /// Secrets are encrypted again.
    pub rekey: bool,
    /// flake.nix is edited.
    pub edit_flake: bool,
    /// Nothing will be written, not even a lock.
    pub dry_run: bool,
}

/// What is to be done.
pub enum Prepared {
    /// The host is there, as this command makes it.
    There(Keys, ToDo),
    /// A run that was cut off is to be finished first (`dry_run` only).
    Unfinished(String),
    /// A run that was cut off was finished; and whether it was one with `commit`.
    Finished(Keys, ToDo, bool),
    /// This.
    Ready(Box<Plan>),
}

/// What a person has to do with the files of a host that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToDo {
    /// Files in which there is something to change.
    pub to_change: Vec<Utf8PathBuf>,
    /// Files that are not committed as they are.
    pub uncommitted: Vec<String>,
}

/// What will be written.
pub struct Plan {
    /// Name of the host.
    pub name: String,
    /// The repository.
    pub repository: Repository,
    /// The files.
    pub changes: Vec<Change>,
    /// The keys.
    pub keys: Keys,
    /// Secrets that are encrypted again, with how many can read each.
    pub rekeyed: Vec<(String, usize)>,
    /// What else the operator should know.
    pub notes: Vec<String>,
    /// The new attributes of the flake, as Nix says; `None`: nobody evaluated it.
    pub attributes: Option<Vec<String>>,
    /// Files that belong to the host, and are not added to Git with the others.
    pub unstaged: Vec<String>,
    /// The notes have lines for flake.nix.
    pub has_lines: bool,
    commit: bool,
    workplace: Option<Workplace>,
}

/// What marks a line that a person has to change.
const CHANGE: &str = "# CHANGE";

/// Those of the files in which a person has something to change.
fn to_change<'a>(root: &Utf8Path, files: impl Iterator<Item = &'a Utf8Path>) -> Vec<Utf8PathBuf> {
    let is_marked = |path: &&Utf8Path| {
        let bytes = contents(root, path).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(CHANGE)
    };
    files.filter(is_marked).map(Utf8Path::to_owned).collect()
}

/// What is to be done with a host's files, the flake's, and others that belong to it.
fn to_do(
    programs: &Programs,
    root: &Utf8Path,
    of_host: Vec<Utf8PathBuf>,
    others: Vec<Utf8PathBuf>,
) -> Result<ToDo, HostError> {
    let to_change = to_change(root, of_host.iter().map(Utf8PathBuf::as_path));
    let mut files: Vec<&str> = of_host.iter().chain(&others).map(|path| path.as_str()).collect();
    files.extend([FLAKE, "flake.lock"]);
    files.sort_unstable();
    files.dedup();
    let uncommitted = programs.dirty(root, &files)?;
    Ok(ToDo {
        to_change,
        uncommitted,
    })
}

impl Plan {
    /// Files of the host in which a person has something to change.
    pub fn to_change(&self) -> Vec<Utf8PathBuf> {
        let is_marked =
            |change: &&Change| change.is_of_host && String::from_utf8_lossy(&change.new).contains(CHANGE);
        self.changes
            .iter()
            .filter(is_marked)
            .map(|change| change.path.clone())
            .collect()
    }

    /// Writes keys and files, and tells Git.
    ///
    /// # Errors
    /// A key or a file cannot be written, or Git fails. What was decided is carried on by the next run.
    pub fn carry_out(&self, programs: &Programs) -> Result<(), HostError> {
        let Some(workplace) = &self.workplace else {
            return Ok(());
        };
        workplace.refuse_locked_index()?;
        self.keys.write()?;
        let journal = workplace.decide(&self.name, &self.changes, self.commit)?;
        workplace.finish(&journal, programs)
    }
}

struct Disk<'a>(&'a Utf8Path);

impl Tree for Disk<'_> {
    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.0.join(path)).is_ok()
    }

    fn text(&self, path: &str) -> Option<String> {
        String::from_utf8(contents(self.0, Utf8Path::new(path)).ok()??).ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(path)) else {
            return vec![];
        };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        entries.filter_map(name).collect()
    }
}

fn argument(option: &'static str, value: &str, reason: impl ToString, next: impl Into<String>) -> HostError {
    HostError::Argument {
        option,
        value: value.to_owned(),
        reason: reason.to_string(),
        next: next.into(),
    }
}

fn checked(request: &Request) -> Result<(), HostError> {
    super::names::host_name(&request.name)?;
    if let Some(user) = &request.user {
        user.parse::<UserName>()
            .map_err(|e| argument("--user", user, e.allowed, "name another user"))?;
        if user == "root" || user.bytes().all(|b| b.is_ascii_digit()) {
            return Err(argument(
                "--user",
                user,
                "it is not a user that NixOS can make",
                "name another user, or leave the option out",
            ));
        }
    }
    if let Some(remote) = &request.remote {
        named_remote(remote)?;
    }
    request
        .swap_size
        .parse::<Size>()
        .map_err(|e| argument("--swap-size", &request.swap_size, e.allowed, "--swap-size 8G"))?;
    let is_system = request
        .system
        .strip_suffix("-linux")
        .is_some_and(|cpu| !cpu.is_empty() && cpu.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    if !is_system {
        return Err(argument(
            "--system",
            &request.system,
            "it is not a Linux system of Nix",
            "--system x86_64-linux",
        ));
    }
    Ok(())
}

/// An address that an installer takes, as `landfall check` judges it. What may be a password is not repeated.
fn named_remote(remote: &str) -> Result<(), HostError> {
    if is_folder(remote) {
        return Ok(());
    }
    match config::remote_objection(remote) {
        None => Ok(()),
        Some((shown, why, fix)) => Err(argument("--remote", &shown, why, fix)),
    }
}

/// A repository of this computer.
fn is_folder(remote: &str) -> bool {
    remote.starts_with(['/', '.']) || remote.starts_with("file:")
}

/// Works out what is to be written.
///
/// # Errors
/// Something that is needed is missing, stands in the way or is not understood. Nothing was written.
pub fn prepare<C: Callbacks>(
    request: &Request,
    programs: &Programs,
    callbacks: &C,
) -> Result<Prepared, HostError> {
    checked(request)?;
    let repository = programs.repository(&request.start)?;
    let workplace = if request.dry_run {
        None
    } else {
        Some(Workplace::open(&repository)?)
    };
    let roots = [
        repository.root.clone(),
        repository.git_dir.clone(),
        repository.common_dir.clone(),
    ];
    let keys = Keys::of(&request.keys, &request.name, &roots)?;
    let mut finished = None;
    match &workplace {
        Some(workplace) => {
            workplace.refuse_locked_index()?;
            let unfinished = workplace.unfinished()?;
            if unfinished
                .as_ref()
                .is_some_and(|journal| workplace.is_given_up(journal))
            {
                workplace.forget()?;
            } else if let Some(journal) = unfinished {
                let is_same = journal.host == request.name;
                if is_same && !keys.are_kept() {
                    return Err(HostError::Keys {
                        path: request.keys.clone(),
                        reason: format!(
                            "the interrupted run for {} made its keys in another directory",
                            journal.host
                        ),
                        next: "name that directory: --keys DIR".to_owned(),
                    });
                }
                workplace.finish(&journal, programs)?;
                if is_same {
                    let (of_host, others): (Vec<_>, Vec<_>) =
                        journal.files.iter().partition(|entry| entry.is_of_host);
                    let paths =
                        |entries: Vec<&Entry>| entries.iter().map(|entry| entry.path.clone()).collect();
                    let to_do = to_do(programs, &repository.root, paths(of_host), paths(others))?;
                    return Ok(Prepared::Finished(keys, to_do, journal.commit));
                }
                if !journal.commit {
                    return Err(HostError::OtherFinished(journal.host));
                }
                finished = Some(journal.host);
            }
        }
        None => {
            if let Some(host) = Workplace::unfinished_of(&repository)? {
                return Ok(Prepared::Unfinished(host));
            }
        }
    }
    let nix = programs.has_nix();
    let copy = if nix {
        Some(Copy::of(programs, &repository)?)
    } else {
        None
    };
    let work = Work {
        request,
        programs,
        repository,
        keys,
        copy,
        finished,
    };
    work.prepared(workplace, callbacks)
}

/// The files in the order in which they are put in their places: the host's own, secrets, rules, the flake.
fn changes(root: &Utf8Path, written: Written, secrets: Secrets) -> Result<Vec<Change>, HostError> {
    let files = &written.files;
    let mut new: Vec<(Utf8PathBuf, Vec<u8>, bool)> = vec![
        (files.main.clone().into(), written.host.into_bytes(), true),
        (
            files.installer.clone().into(),
            written.installer.into_bytes(),
            true,
        ),
    ];
    new.extend(
        secrets
            .rekeyed
            .into_iter()
            .map(|(path, bytes, _)| (path, bytes, false)),
    );
    new.extend(
        secrets
            .edited
            .into_iter()
            .map(|(path, text)| (path, text.into_bytes(), false)),
    );
    new.extend(
        written
            .flake
            .map(|flake| (FLAKE.into(), flake.into_bytes(), false)),
    );
    let mut changes = vec![];
    for (path, new, is_of_host) in new {
        let old = contents(root, &path)?;
        if old.as_ref() != Some(&new) {
            changes.push(Change {
                path,
                old,
                new,
                is_of_host,
            });
        }
    }
    Ok(changes)
}

struct Work<'a> {
    request: &'a Request,
    programs: &'a Programs,
    repository: Repository,
    keys: Keys,
    copy: Option<Copy<'a>>,
    /// Another host whose run was cut off, and finished by this one.
    finished: Option<String>,
}

impl Work<'_> {
    fn prepared<C: Callbacks>(
        self,
        workplace: Option<Workplace>,
        callbacks: &C,
    ) -> Result<Prepared, HostError> {
        let root = self.repository.root.clone();
        let name = self.request.name.clone();
        let text = self.flake_text()?;
        let outline = self.outline(&text)?;
        let before = self.names_before()?;
        let hosts = self.hosts(&outline, before.as_ref());
        self.refuse_same_but_for_case(&hosts)?;
        let machines = self.machines(&outline, before.as_ref());
        let is_bound = hosts.contains(&name);
        if let (false, Some(names)) = (self.request.edit_flake, &before) {
            self.refuse_without_effect(&outline, names)?;
        }
        if !is_bound {
            self.refuse_dirty(&[FLAKE.to_owned()])?;
        }
        let candidates = if self.request.edit_flake {
            let wanted = self.wanted();
            flake::candidates(&text, &outline, wanted, &Disk(&root))
                .map_err(|reason| self.declined(Some(&outline), reason))?
        } else {
            vec![]
        };
        self.refuse_same_folder(&candidates)?;
        let found = self.found(&candidates);
        // Without the flake's part somebody has written that by hand.
        let is_whole = is_bound && !self.has_only_a_folder(&candidates);
        if (is_whole && self.request.edit_flake) || found.is_some() {
            return self.already(is_bound, found, &machines);
        }
        let begun = self
            .begun(&machines)
            .map_err(|error| self.with_kept_keys(error))?;
        let written = self.written(
            (&text, &outline),
            &candidates,
            before.as_ref(),
            &begun.secrets,
            is_bound,
        )?;
        let secrets = self
            .ended(begun, &written, callbacks)
            .map_err(|error| self.with_kept_keys(error))?;
        let rekeyed = secrets
            .rekeyed
            .iter()
            .map(|(path, _, readers)| (path.to_string(), *readers))
            .collect();
        let mut notes = secrets.notes.clone();
        notes.extend(written.notes.iter().cloned());
        notes.extend(self.finished.iter().map(|host| {
            format!("host {host}: its interrupted run is now finished; its files are written and committed")
        }));
        let (attributes, has_lines) = (written.attributes.clone(), written.has_lines);
        let unstaged = match self.request.edit_flake {
            true => vec![],
            false if !is_bound => vec![FLAKE.to_owned()],
            false => self.programs.dirty(&root, &[FLAKE])?,
        };
        let changes = changes(&root, written, secrets)?;
        self.refuse_files(&changes)?;
        Ok(Prepared::Ready(Box::new(Plan {
            name,
            repository: self.repository,
            changes,
            rekeyed,
            notes,
            attributes,
            unstaged,
            has_lines,
            commit: self.request.commit,
            keys: self.keys,
            workplace,
        })))
    }

    /// A public key that is shown belongs to a private one that is kept, or what is encrypted for it is lost.
    fn with_kept_keys(&self, error: HostError) -> HostError {
        match error {
            HostError::RulesDeclined { .. } if !self.request.dry_run => {
                self.keys.write().err().unwrap_or(error)
            }
            error => error,
        }
    }

    /// Files that Git has in another form, and those that it would not take.
    fn refuse_files(&self, changes: &[Change]) -> Result<(), HostError> {
        let root = &self.repository.root;
        let known: Vec<String> = changes
            .iter()
            .filter(|change| change.old.is_some())
            .map(|change| change.path.to_string())
            .collect();
        self.refuse_dirty(&known)?;
        for change in changes {
            in_repository(root, change)?;
        }
        let new: Vec<&str> = changes
            .iter()
            .filter(|change| change.old.is_none())
            .map(|change| change.path.as_str())
            .collect();
        match self.programs.ignored(root, &new)?.first() {
            None => Ok(()),
            Some(path) => Err(HostError::File {
                path: root.join(path),
                reason: "Git ignores it (.gitignore), and a flake does not see files that Git ignores"
                    .to_owned(),
                next: "remove that rule from .gitignore (git check-ignore --verbose FILE shows it)",
            }),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            name: &self.request.name,
            system: &self.request.system,
            prebuilt: self.request.prebuilt,
        }
    }

    fn declined(&self, outline: Option<&Outline>, reason: String) -> HostError {
        HostError::Declined {
            reason,
            lines: flake::lines(self.wanted(), outline, Of::Both, Fit::Best),
        }
    }

    fn names_before(&self) -> Result<Option<Names>, HostError> {
        let Some(copy) = &self.copy else { return Ok(None) };
        match copy.names(&self.request.system)? {
            Ok(names) => Ok(Some(names)),
            Err(why) => Err(self.unevaluated(why)),
        }
    }

    /// That Nix cannot evaluate the flake: because of the network or this computer, or because of the flake itself.
    fn unevaluated(&self, Unevaluated { reason, helps, class }: Unevaluated) -> HostError {
        let next = match helps {
            Some(helps) => format!("{helps}, then run the command again"),
            None if reason.contains("lock file") => {
                "nix flake lock && git add flake.lock, then run the command again".to_owned()
            }
            None => "correct it (nix flake show shows the whole message)".to_owned(),
        };
        HostError::Evaluate {
            what: self.repository.root.join(FLAKE).to_string(),
            reason,
            next,
            class,
        }
    }

    fn refuse_dirty(&self, files: &[String]) -> Result<(), HostError> {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let hidden = self.programs.hidden(&self.repository.root, &files)?;
        if !hidden.is_empty() {
            let names: Vec<String> = hidden.iter().map(|file| shell(file)).collect();
            let (git, names) = (shell(self.repository.root.as_str()), names.join(" "));
            return Err(HostError::Hidden {
                files: hidden,
                next: format!(
                    "git -C {git} update-index --no-assume-unchanged {names} && git -C {git} update-index --no-skip-worktree {names}"
                ),
            });
        }
        let dirty = self.programs.dirty(&self.repository.root, &files)?;
        if dirty.is_empty() {
            Ok(())
        } else {
            Err(HostError::Dirty { files: dirty })
        }
    }
}
