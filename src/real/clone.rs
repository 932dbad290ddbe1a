//! Making the clone of the configuration: beside its place, synced, and renamed. Law: what a clone that was cut off left is gone on
//! with once or twice, and never for ever: whatever it is that fails over it, it is removed and the clone is made from nothing.
//! No credential is written down. A clone with somebody's work in it is replaced and kept.
//!
//! Absent: which revision, and what is at the place (`repository`); whether a repository is whole (`sound`).

use crate::real::git::{self, Access, Offer, Transfer};
use crate::real::hands::Hands;
use crate::real::marks::{self, CLONE_KEY, TRIES_KEY};
use crate::real::repository::{
    fetch_url, has_commit, mark_of, offer, remote_of, remove_tree, source_name, value_of,
};
use crate::real::{lfs, rooted, sound, work};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{ConfigFault, Fault, FaultClass, SourceFault};
use landfall_states::formatted::{CloneConfiguration, CloneOrder};
use landfall_states::plan::{Reference, RepositorySource};
use std::io::ErrorKind;

/// Folders below `.git` that are looked into for what a dead Git left: a branch's name may have many parts.
const LEFTOVERS_DEPTH_MAX: usize = 64;
/// What a clone that was cut off left is gone on with so often after a failure.
const TRIES_MAX: u32 = 1;

/// Clones into `path`.
pub async fn perform_clone(
    hands: &Hands,
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
            allowed: "a path below a directory".into(),
        })
    })?;
    fs_err::create_dir_all(parent).map_err(|e| rooted::io_fault(parent.as_str(), &e))?;
    let partial = Utf8PathBuf::from(format!("{path}.landfall-partial"));
    let old = Utf8PathBuf::from(format!("{path}.landfall-old"));
    // By its name it is a clone of landfall's that was replaced. Its removal may have been cut off, and its mark be gone.
    remove_tree(&old)?;
    // Before anything of the clone is touched: that the remote does not answer is no fault of what is there.
    let offer = offer(hands, access, &action.repository.source).await?;
    let making = Making {
        hands,
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
            if !stays && !sound::is_connected(hands, access, &partial).await? {
                remove_tree(&partial)?;
            }
            return Err(fault);
        }
    }
    remove_leftovers(&partial.join(".git"), LEFTOVERS_DEPTH_MAX)?;
    rooted::sync_filesystem(parent)?;
    lfs::tell(hands, access, &partial, path).await?;
    if *replace && path.exists() {
        let to = match work::of_somebody(hands, access, path, &partial, &action.revision).await? {
            Some(why) => {
                let aside = work::place_beside(path)?;
                hands.reporter.notice(format!(
                    "{path} is replaced by a clone of {}; the old one is kept as {aside}, for there is work of somebody in it ({why})",
                    action.revision
                ));
                aside
            }
            None => old.clone(),
        };
        fs_err::rename(path, &to).map_err(|e| rooted::io_fault(path.as_str(), &e))?;
    }
    fs_err::rename(&partial, path).map_err(|e| rooted::io_fault(path.as_str(), &e))?;
    rooted::sync_filesystem(parent)?;
    remove_tree(&old)
}

/// A clone that is made at `dir`, below `parent`.
struct Making<'a> {
    hands: &'a Hands,
    access: &'a Access,
    action: &'a CloneConfiguration,
    offer: &'a Offer,
    parent: &'a Utf8Path,
    dir: &'a Utf8Path,
}

impl Making<'_> {
    async fn git(&self, args: &[&str]) -> Result<(), Fault> {
        git::local(self.hands, self.access, self.dir, args)
            .await
            .map(drop)
    }

    /// Goes on with what an earlier attempt left. `false`: there is nothing, or it is no good and is to be made from nothing. A
    /// fault: what is there stays, for the next attempt.
    async fn gone_on(&self) -> Result<bool, Fault> {
        let (hands, access, dir) = (self.hands, self.access, self.dir);
        let ours = self.action.install.to_string();
        if mark_of(hands, access, dir).await?.as_deref() != Some(&ours) {
            return Ok(false);
        }
        let tries = value_of(hands, access, dir, TRIES_KEY)
            .await?
            .map_or(0, |text| marks::tries_of(&text));
        let filled = async {
            remove_leftovers(&dir.join(".git"), LEFTOVERS_DEPTH_MAX)?;
            let next = marks::tries(tries.saturating_add(1));
            self.git(&["config", "--local", TRIES_KEY, &next]).await?;
            self.fill().await?;
            self.git(&["config", "--local", "--unset-all", TRIES_KEY]).await?;
            sound::flaws(hands, access, dir).await
        }
        .await;
        let why = match filled {
            Ok(flaws) if flaws.is_empty() => return Ok(true),
            Ok(flaws) => flaws.join("; "),
            Err(fault) if matches!(fault.class, FaultClass::Interrupted | FaultClass::Hardware) => {
                return Err(fault);
            }
            Err(fault) => {
                if git::is_of_the_network(&fault) {
                    // Asked for again after a while, and at the next failure from nothing.
                    if tries >= TRIES_MAX || !sound::is_connected(hands, access, dir).await? {
                        remove_tree(dir)?;
                    }
                    return Err(fault);
                }
                fault.to_string()
            }
        };
        // What a killed Git left may be the reason, whatever it is.
        tracing::info!(%why, "the clone that was cut off is made from nothing");
        Ok(false)
    }

    async fn fill(&self) -> Result<(), Fault> {
        let Making {
            hands,
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
        hands
            .reporter
            .step(format!("clone {} from {}", revision, source_name(source)));
        // Whatever this Git takes by default.
        let format = format!("--object-format={}", git::object_format(revision));
        git::local(hands, access, parent, &["init", "-q", &format, dir.as_str()]).await?;
        self.git(&["config", "--local", CLONE_KEY, &install.to_string()])
            .await?;
        let origin = remote_of(source).map(git::written_url);
        if let Some(origin) = &origin {
            self.git(&["config", "--local", "remote.origin.url", origin])
                .await?;
            let all = "+refs/heads/*:refs/remotes/origin/*";
            self.git(&["config", "--local", "remote.origin.fetch", all])
                .await?;
        }
        let branch = offer.branch(&repository.reference);
        let tracking = branch.as_ref().map(|b| format!("refs/remotes/origin/{b}"));
        let mut refspecs = Vec::new();
        match (&branch, &tracking, &repository.reference) {
            (Some(branch), Some(tracking), _) => refspecs.push(format!("+refs/heads/{branch}:{tracking}")),
            (_, _, Reference::Branch(name)) => {
                if let Some(full) = offer.full_name(name) {
                    refspecs.push(format!("+{full}:{full}"));
                }
            }
            (_, _, Reference::Default | Reference::Revision(_)) => {}
        }
        if !refspecs.is_empty() {
            fetch(hands, access, dir, source, &refspecs).await?;
        }
        if !has_commit(hands, access, dir, revision).await? {
            // Not on that branch: ask for it by name, and where a server refuses that, fetch all there is.
            let exact = fetch(hands, access, dir, source, &[revision.to_string()]).await;
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
                fetch(hands, access, dir, source, &all).await?;
            }
        }
        if !has_commit(hands, access, dir, revision).await? {
            let now = offer
                .resolve(&repository.reference)
                .map_or_else(|why| why, |now| now.to_string());
            return Err(SourceFault::RevisionGone {
                revision: revision.to_string(),
                repository: source_name(source),
                now,
            }
            .into());
        }
        let rev = revision.as_str();
        let on_branch = match &tracking {
            Some(tracking) => hands
                .run(
                    access
                        .git(Some(dir))
                        .args(["merge-base", "--is-ancestor", rev, tracking]),
                )
                .await?
                .success(),
            None => false,
        };
        match &branch {
            Some(branch) if on_branch => {
                self.git(&["checkout", "-q", "-f", "--no-track", "-B", branch, rev])
                    .await?;
                if origin.is_some() {
                    let key = |what: &str| format!("branch.{branch}.{what}");
                    let merge = format!("refs/heads/{branch}");
                    self.git(&["config", "--local", &key("remote"), "origin"]).await?;
                    self.git(&["config", "--local", &key("merge"), &merge]).await?;
                }
            }
            Some(_) | None => {
                self.git(&["checkout", "-q", "-f", "--detach", rev]).await?;
            }
        }
        submodules(hands, access, source, dir).await
    }
}

/// What a Git that died leaves in a repository: a lock file, which every later Git takes for another one at work, and objects
/// and packs under a temporary name. Nobody else is at work in a clone beside its place. No reference can end in `.lock`
/// (git-check-ref-format(1)).
fn remove_leftovers(dir: &Utf8Path, depth: usize) -> Result<(), Fault> {
    let fault = |path: &Utf8Path, e: &std::io::Error| rooted::io_fault(path.as_str(), e);
    match fs_err::symlink_metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fault(dir, &e)),
    }
    for entry in fs_err::read_dir(dir).map_err(|e| fault(dir, &e))? {
        let entry = entry.map_err(|e| fault(dir, &e))?;
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        let kind = entry.file_type().map_err(|e| fault(dir, &e))?;
        if kind.is_dir() {
            // Git writes no name that is not UTF-8 by itself.
            if let Some(name) = name.to_str().filter(|_| depth > 0) {
                remove_leftovers(&dir.join(name), depth - 1)?;
            }
        } else if bytes.ends_with(b".lock") || bytes.starts_with(b"tmp_") {
            fs_err::remove_file(entry.path()).map_err(|e| fault(dir, &e))?;
        }
    }
    Ok(())
}

async fn fetch(
    hands: &Hands,
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
        .args([
            "fetch",
            "--progress",
            "--no-tags",
            "--no-write-fetch-head",
            "--",
            &from,
        ])
        .args(refspecs.iter().cloned())
        .on_line(|line| {
            if let Some(transfer) = Transfer::parse(line) {
                transfer.tell(hands);
            }
        });
    let ended = hands.run(program).await?;
    let what = format!("fetch of {} from {}", refspecs.join(" "), source_name(source));
    // A remote with a part of its history only: Git takes the objects, says this, and succeeds.
    if ended.stderr.contains("shallow roots are not allowed") {
        return Err(git::fault_at(remote_of(source), &what, &ended));
    }
    git::succeeded_at(remote_of(source), ended, &what).map(drop)
}

async fn submodules(
    hands: &Hands,
    access: &Access,
    source: &RepositorySource,
    dir: &Utf8Path,
) -> Result<(), Fault> {
    if !dir.join(".gitmodules").exists() {
        return Ok(());
    }
    match source {
        RepositorySource::Bundle { .. } => {
            hands
                .reporter
                .notice("the repository has submodules; a bundle does not carry them, they are left out");
            Ok(())
        }
        RepositorySource::Remote(_) => {
            hands.reporter.step("fetch submodules");
            let args = ["submodule", "update", "--init", "--recursive", "--progress"];
            let ended = hands.run(access.remote(Some(dir)).args(args)).await?;
            git::succeeded_at(remote_of(source), ended, "submodules").map(drop)
        }
    }
}
