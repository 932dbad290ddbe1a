//! Makes the clone of the configuration: beside its place, synced, and renamed.
//!
//! An interrupted clone is continued once or twice; if it fails again, landfall deletes it and clones from the start. No
//! credential is written to the disk. A clone that contains somebody's work is replaced, and kept under another name.
//!
//! `git::repository` says which revision and what is at the place, and `git::soundness` whether a repository is complete.

use crate::real::fs::marks::{self, CLONE_KEY, REVISION_KEY, TRIES_KEY};
use crate::real::fs::target_root::{self, Root};
use crate::real::git::command::{self, Access, Offer, Transfer};
use crate::real::git::guard::{self, Found, Seen};
use crate::real::git::source::{fetch_url, has_commit, offer, remote_of, remove_tree, source_name};
use crate::real::git::{lfs, settings, soundness, work};
use crate::real::process::context::CommandContext;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::actions::clone_configuration::{CloneConfiguration, CloneOrder};
use landfall_states::fault::{ConfigFault, Fault, FaultClass, SourceFault};
use landfall_states::plan::{Reference, RepositorySource};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Deepest folder below `.git` that is searched for what a killed Git left.
const LEFTOVERS_DEPTH_MAX: usize = 64;
/// How often an interrupted clone is continued after a failure before it is made again.
const TRIES_MAX: u32 = 1;

/// Clones into `path`.
///
/// # Errors
/// Git fails, the network fails, or the target cannot be written.
pub async fn perform_clone(
    context: &CommandContext,
    access: &Access,
    order: &CloneOrder,
    path: &Utf8Path,
) -> Result<(), Fault> {
    let CloneOrder { action, replace } = order;
    let parent = path.parent().ok_or_else(|| {
        Fault::from(ConfigFault::BadValue {
            on: "repository.clone_path".into(),
            what: "clone path".into(),
            value: path.to_string(),
            allowed: "it must be a path below a directory".into(),
        })
    })?;
    // On the target it is there already, made where its links lead.
    make_open_dirs(parent)?;
    let partial = Utf8PathBuf::from(format!("{path}.landfall-partial"));
    let old = Utf8PathBuf::from(format!("{path}.landfall-old"));
    // By its name it is a clone of landfall's that was replaced. Its removal may have been cut off, and its mark be gone.
    remove_tree(&old)?;
    // Before anything of the clone is touched: that the remote does not answer is no fault of what is there.
    let offer = offer(context, access, &action.repository.source).await?;
    let making = Making {
        context,
        access,
        action,
        offer: &offer,
        parent,
        dir: &partial,
    };
    if !making.gone_on().await? {
        // By its name it is a clone of landfall's that was cut off.
        remove_tree(&partial)?;
        if let Err(fault) = making.fill().await {
            let stays = matches!(fault.class, FaultClass::Interrupted | FaultClass::Hardware);
            // A broken leftover would fail every later attempt: only what Git finds whole is gone on with.
            if !stays && !soundness::is_connected(context, access, &partial).await? {
                remove_tree(&partial)?;
            }
            return Err(fault);
        }
    }
    remove_leftovers(&partial.join(".git"))?;
    // Before it gets its name: what would not be taken for ours afterwards is not what was meant.
    if let Some(why) = unvetted(&partial, action)? {
        remove_tree(&partial)?;
        return Err(Fault::defect(
            format!("clone of {}", source_name(&action.repository.source)),
            format!("Git wrote something that this landfall does not understand: {why}"),
        ));
    }
    target_root::sync_filesystem(&Root::at(parent))?;
    lfs::tell(context, access, &partial, path).await?;
    if *replace && path.exists() {
        let work = match guard::look(path, action)? {
            // A submodule's settings that a power cut tore are nobody's, and what is asked here does not look into submodules.
            Found::Repository(seen) if seen.strange.is_empty() => {
                let made_of = seen.made_of.as_ref();
                work::of_somebody(context, access, path, &partial, &action.revision, made_of).await?
            }
            // No Git is asked there whether it is somebody's work.
            Found::Repository(seen) => Some(seen.told()),
            Found::Other(why) => Some(why),
            Found::None => Some("it has no repository".into()),
        };
        let to = match work {
            Some(why) => {
                let aside = work::place_beside(path)?;
                context.reporter.notice(format!(
                    "{path} is replaced by a clone of {}; the old one is kept as {aside}, because it contains changes ({why})",
                    action.revision
                ));
                aside
            }
            None => old.clone(),
        };
        fs_err::rename(path, &to).map_err(|e| target_root::io_fault(path.as_str(), &e))?;
    }
    fs_err::rename(&partial, path).map_err(|e| target_root::io_fault(path.as_str(), &e))?;
    target_root::sync_filesystem(&Root::at(parent))?;
    remove_tree(&old)
}

/// What is in a repository, or instead of one, that landfall and its Git do not write; `None`: Git may be run in it.
fn unvetted(path: &Utf8Path, action: &CloneConfiguration) -> Result<Option<String>, Fault> {
    Ok(match guard::look(path, action)? {
        Found::Repository(seen) if seen.is_ours() => None,
        Found::Repository(seen) => Some(seen.told()),
        Found::Other(why) => Some(why),
        Found::None => Some("nothing of the name .git".into()),
    })
}

/// Makes what is missing of a directory, for everybody to enter, whatever the umask is: it may be `/home`.
fn make_open_dirs(dir: &Utf8Path) -> Result<(), Fault> {
    let missing: Vec<&Utf8Path> = dir.ancestors().take_while(|at| !at.exists()).collect();
    fs_err::create_dir_all(dir).map_err(|e| target_root::io_fault(dir.as_str(), &e))?;
    for made in missing {
        fs_err::set_permissions(made, PermissionsExt::from_mode(0o755))
            .map_err(|e| target_root::io_fault(made.as_str(), &e))?;
    }
    Ok(())
}

/// A clone that is made at `dir`, below `parent`.
struct Making<'a> {
    context: &'a CommandContext,
    access: &'a Access,
    action: &'a CloneConfiguration,
    offer: &'a Offer,
    parent: &'a Utf8Path,
    dir: &'a Utf8Path,
}

impl Making<'_> {
    async fn git(&self, args: &[&str]) -> Result<(), Fault> {
        command::local(self.context, self.access, self.dir, args)
            .await
            .map(drop)
    }

    /// Goes on with what an earlier attempt left. `false`: there is nothing, or it is no good and is to be made from nothing. A
    /// fault: what is there stays, for the next attempt.
    async fn gone_on(&self) -> Result<bool, Fault> {
        let (context, access, dir) = (self.context, self.access, self.dir);
        let Some(Seen { tries, .. }) = self.left()? else {
            return Ok(false);
        };
        let filled = async {
            remove_leftovers(&dir.join(".git"))?;
            remove_work_tree(dir)?;
            let next = marks::tries(tries.saturating_add(1));
            self.git(&["config", "--local", TRIES_KEY, &next]).await?;
            self.fill().await?;
            self.git(&["config", "--local", "--unset-all", TRIES_KEY]).await?;
            soundness::flaws(context, access, dir).await
        }
        .await;
        let why = match filled {
            Ok(flaws) if flaws.is_empty() => return Ok(true),
            Ok(flaws) => flaws.join("; "),
            Err(fault) if matches!(fault.class, FaultClass::Interrupted | FaultClass::Hardware) => {
                return Err(fault);
            }
            Err(fault) => {
                if command::is_of_the_network(&fault) {
                    // Asked for again after a while, and at the next failure from nothing.
                    if tries >= TRIES_MAX || !soundness::is_connected(context, access, dir).await? {
                        remove_tree(dir)?;
                    }
                    return Err(fault);
                }
                fault.to_string()
            }
        };
        // What a killed Git left may be the reason, whatever it is.
        tracing::info!(%why, "the interrupted clone is made again from the start");
        Ok(false)
    }

    /// What an earlier attempt left here, when Git may be run in it and it is of this install and this remote.
    fn left(&self) -> Result<Option<Seen>, Fault> {
        let dir = self.dir;
        match fs_err::symlink_metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(target_root::io_fault(dir.as_str(), &e)),
        }
        let Found::Repository(seen) = guard::look(dir, self.action)? else {
            return Ok(None);
        };
        if !seen.is_ours() {
            self.context.reporter.notice(format!(
                "{dir}, an interrupted clone, is deleted and made again from the start; landfall ran no Git in it, because it did not write {}",
                seen.told()
            ));
            return Ok(None);
        }
        let is_this = seen.mark.as_deref() == Some(self.action.install.to_string().as_str());
        Ok(Some(seen).filter(|seen| is_this && seen.other_remote.is_none()))
    }

    async fn fill(&self) -> Result<(), Fault> {
        let Making {
            context,
            access,
            action,
            offer,
            parent,
            dir,
        } = *self;
        let CloneConfiguration {
            install,
            repository,
            revision,
            is_wish: _,
        } = action;
        let source = &repository.source;
        context
            .reporter
            .step(format!("clone {} from {}", revision, source_name(source)));
        // Whatever this Git takes by default.
        let format = format!("--object-format={}", command::object_format(revision));
        command::local(context, access, parent, &["init", "-q", &format, dir.as_str()]).await?;
        self.git(&["config", "--local", CLONE_KEY, &install.to_string()])
            .await?;
        if let Some(remote) = remote_of(source) {
            let origin = command::written_url(remote);
            self.git(&["config", "--local", "remote.origin.url", &origin])
                .await?;
            let all = "+refs/heads/*:refs/remotes/origin/*";
            self.git(&["config", "--local", "remote.origin.fetch", all])
                .await?;
        }
        let branch = offer.branch(&repository.reference);
        self.fetch_revision(branch.as_deref()).await?;
        self.git(&["config", "--local", REVISION_KEY, revision.as_str()])
            .await?;
        self.check_out(branch.as_deref()).await?;
        submodules(context, access, source, dir).await
    }

    /// Fetches the branch or the reference that the configuration names, and what else it takes to have the revision.
    async fn fetch_revision(&self, branch: Option<&str>) -> Result<(), Fault> {
        let Making {
            context,
            access,
            action,
            offer,
            dir,
            ..
        } = *self;
        let (repository, revision) = (&action.repository, &action.revision);
        let source = &repository.source;
        let mut refspecs = Vec::new();
        match (branch, &repository.reference) {
            (Some(branch), _) => refspecs.push(format!("+refs/heads/{branch}:{}", tracking(branch))),
            (None, Reference::Branch(name)) => {
                if let Some(full) = offer.full_name(name) {
                    refspecs.push(format!("+{full}:{full}"));
                }
            }
            (None, Reference::Default | Reference::Revision(_)) => {}
        }
        if !refspecs.is_empty() {
            fetch(context, access, dir, source, &refspecs).await?;
        }
        if !has_commit(context, access, dir, revision).await? {
            // Not on that branch: ask for it by name, and where a server refuses that, fetch all there is.
            let at_head = offer.id("HEAD") == Some(revision);
            let name = if at_head {
                "HEAD".to_owned()
            } else {
                revision.to_string()
            };
            let exact = fetch(context, access, dir, source, &[name]).await;
            if let Err(fault) = exact {
                match fault.class {
                    FaultClass::Permanent => {}
                    FaultClass::Transient
                    | FaultClass::NeedsChange
                    | FaultClass::Hardware
                    | FaultClass::Unsafe
                    | FaultClass::Interrupted => return Err(fault),
                }
                let all =
                    ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"].map(str::to_owned);
                fetch(context, access, dir, source, &all).await?;
            }
        }
        if has_commit(context, access, dir, revision).await? {
            return Ok(());
        }
        let now = offer
            .resolve(&repository.reference)
            .map_or_else(|why| why, |now| now.to_string());
        Err(SourceFault::RevisionGone {
            revision: revision.to_string(),
            repository: source_name(source),
            now,
        }
        .into())
    }

    /// Checks the revision out: on its branch, where it is on one that may be made here.
    async fn check_out(&self, branch: Option<&str>) -> Result<(), Fault> {
        let rev = self.action.revision.as_str();
        let on_branch = match branch {
            Some(branch) => {
                let git = self.access.git(Some(self.dir));
                let asked = git.args(["merge-base", "--is-ancestor", rev, &tracking(branch)]);
                self.context.run(asked).await?.success()
            }
            None => false,
        };
        let Some(branch) = branch.filter(|branch| on_branch && command::is_branch_name(branch)) else {
            self.git(&["checkout", "-q", "-f", "--detach", rev]).await?;
            return Ok(());
        };
        self.git(&["checkout", "-q", "-f", "--no-track", "-B", branch, rev])
            .await?;
        if remote_of(&self.action.repository.source).is_some() {
            let key = |what: &str| format!("branch.{branch}.{what}");
            let merge = format!("refs/heads/{branch}");
            self.git(&["config", "--local", &key("remote"), "origin"]).await?;
            self.git(&["config", "--local", &key("merge"), &merge]).await?;
        }
        Ok(())
    }
}

/// The name here of a branch of the remote.
fn tracking(branch: &str) -> String {
    format!("refs/remotes/origin/{branch}")
}

/// What a directory in a repository is for: what a Git that died may have left in it follows from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A repository itself: `.git`, or that of a submodule.
    Repository,
    /// Repositories of submodules, by their names, which may have many parts.
    Modules,
    Objects,
    /// References, their logs, and whatever else has names that people choose.
    Named,
}

impl Part {
    fn below(self, dir: &Path, name: &OsStr) -> Self {
        match self {
            Part::Repository if name == "objects" => Part::Objects,
            Part::Repository if name == "modules" => Part::Modules,
            Part::Repository | Part::Named => Part::Named,
            Part::Objects => Part::Objects,
            Part::Modules => {
                let begun = ["HEAD", "config", "objects", "refs"];
                let begun = begun.iter().any(|inner| dir.join(name).join(inner).exists());
                if begun { Part::Repository } else { Part::Modules }
            }
        }
    }

    /// Whether only a Git that died can have left this here. A lock file belongs to the name without its end, and no part of a
    /// reference ends so (git-check-ref-format(1)); `tmp_` begins names of Git's own among the objects alone, and any branch may
    /// have such a name.
    fn is_left(self, name: &OsStr, is_dir: bool) -> bool {
        let name = name.as_encoded_bytes();
        match self {
            Part::Objects if is_dir => name.starts_with(b"tmp_objdir-") || name.starts_with(b"incoming-"),
            Part::Objects => name.starts_with(b"tmp_") || name.ends_with(b".lock"),
            Part::Repository if name == b"packed-refs.new" => !is_dir,
            Part::Repository | Part::Named => !is_dir && name.ends_with(b".lock"),
            Part::Modules => false,
        }
    }
}

/// Removes what a Git that died leaves in a repository: lock files, which every later Git takes for another one at work, and
/// objects and packs under a temporary name. Nobody else is at work in a clone beside its place.
fn remove_leftovers(repository: &Utf8Path) -> Result<(), Fault> {
    remove_left(repository.as_std_path(), Part::Repository, LEFTOVERS_DEPTH_MAX)
        .map_err(|e| target_root::io_fault(repository.as_str(), &e))
}

fn remove_left(dir: &Path, part: Part, depth: usize) -> io::Result<()> {
    match fs_err::symlink_metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_dir = entry.file_type()?.is_dir();
        match (is_dir, part.is_left(&name, is_dir)) {
            (true, true) => fs_err::remove_dir_all(entry.path())?,
            (false, true) => fs_err::remove_file(entry.path())?,
            (true, false) if depth > 0 => remove_left(&entry.path(), part.below(dir, &name), depth - 1)?,
            (_, false) => {}
        }
    }
    Ok(())
}

/// Removes the work tree and the index of a clone that was cut off: they may be of another revision, and a file that the index does
/// not know is removed by no checkout. The objects stay, for they are what takes time.
fn remove_work_tree(dir: &Utf8Path) -> Result<(), Fault> {
    let fault = |e: io::Error| target_root::io_fault(dir.as_str(), &e);
    for entry in fs_err::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        if entry.file_name() == ".git" {
            continue;
        }
        let removed = match entry.file_type().map_err(fault)?.is_dir() {
            true => fs_err::remove_dir_all(entry.path()),
            false => fs_err::remove_file(entry.path()),
        };
        removed.map_err(fault)?;
    }
    remove_tree(&dir.join(".git/index"))
}

async fn fetch(
    context: &CommandContext,
    access: &Access,
    dir: &Utf8Path,
    source: &RepositorySource,
    refspecs: &[String],
) -> Result<(), Fault> {
    let from = fetch_url(source);
    let program = access
        .remote(Some(dir))
        // Otherwise the log of the reference tells the whole command.
        .env("GIT_REFLOG_ACTION", "landfall")
        .args(["fetch", "--progress", "--no-tags", "--no-write-fetch-head"])
        .args(remote_of(source).and_then(|_| command::serving(&from)))
        .args(["--", &from])
        .args(refspecs.iter().cloned())
        .on_line(|line| {
            if let Some(transfer) = Transfer::parse(line) {
                transfer.tell(context);
            }
        });
    let ended = context.run(program).await?;
    let what = format!("fetch of {} from {}", refspecs.join(" "), source_name(source));
    // A remote with a part of its history only: Git takes the objects, says this, and succeeds.
    if ended.stderr.contains("shallow roots are not allowed") {
        return Err(command::fault_at(remote_of(source), &what, &ended));
    }
    command::succeeded_at(remote_of(source), ended, &what).map(drop)
}

async fn submodules(
    context: &CommandContext,
    access: &Access,
    source: &RepositorySource,
    dir: &Utf8Path,
) -> Result<(), Fault> {
    if !dir.join(".gitmodules").exists() {
        return Ok(());
    }
    match source {
        RepositorySource::Bundle { .. } => {
            context.reporter.notice(
                "the repository has submodules; a bundle does not contain them, so they are left out",
            );
            Ok(())
        }
        RepositorySource::Remote(_) => {
            refuse_orders(context, access, source, dir).await?;
            context.reporter.step("fetch submodules");
            if dir.join(".git/modules").exists() {
                // Of those that are there already, an address counts that is committed, not one that somebody wrote here.
                let sync = ["submodule", "--quiet", "sync", "--recursive"];
                command::local(context, access, dir, &sync).await?;
            }
            let args = ["submodule", "update", "--init", "--recursive", "--progress"];
            let ended = context.run(access.remote(Some(dir)).args(args)).await?;
            command::succeeded_at(remote_of(source), ended, "submodules")
                .map_err(|fault| command::of_submodule(fault, "of a submodule"))?;
            for path in soundness::skipped(context, access, dir).await? {
                context.reporter.notice(format!(
                    "submodule {path} is left out, because .gitmodules has update = none for it"
                ));
            }
            Ok(())
        }
    }
}

/// What a commit may not order of Git: a program to run, or a transport that runs one. Git refuses that by itself, also in submodules
/// of submodules; here it is said before anything is fetched, and by its name.
async fn refuse_orders(
    context: &CommandContext,
    access: &Access,
    source: &RepositorySource,
    dir: &Utf8Path,
) -> Result<(), Fault> {
    let list = ["config", "--blob", "HEAD:.gitmodules", "-z", "--list"];
    let ended = command::local(context, access, dir, &list).await?;
    for entry in ended.stdout.split_terminator('\0') {
        let (name, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let is_order = match name.rsplit('.').next() {
            Some("update") => value.starts_with('!'),
            Some("url" | "path") => value.starts_with('-') || value.contains("::"),
            Some(_) | None => false,
        };
        if is_order && name.starts_with("submodule.") {
            return Err(SourceFault::SubmoduleOrder {
                repository: source_name(source),
                setting: settings::shown(&settings::Setting {
                    name: name.to_owned(),
                    value: Some(value.to_owned()),
                }),
            }
            .into());
        }
    }
    Ok(())
}
