//! The configuration repository: resolved before the first write, cloned whole or not at all. Law: exactly the pinned
//! revision ends up at its place; the clone is made beside it, synced, and renamed; leftovers of a cut-off clone are gone
//! on with; what does not carry this install's mark is never touched.
//!
//! Absent: judging a clone (`states::formatted`).

use crate::os;
use crate::real::git::{self, Access, Offer, Token, Transfer, git_url};
use crate::real::hands::Hands;
use crate::real::marks::CLONE_KEY;
use crate::real::memory::Memory;
use crate::real::{MOUNT_ROOT, Real, hooks, mounts, room, rooted, sound};
use crate::world::Perform;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{ConfigFault, Fault, FaultClass, PlaceFault, Remedy, SourceFault};
use landfall_states::formatted::{CloneConfiguration, CloneFacts, CloneOrder};
use landfall_states::names::Revision;
use landfall_states::plan::{Reference, Repository, RepositorySource};
use std::io::ErrorKind;
use std::time::Duration;

/// Folders below `.git` that are looked into for what a dead Git left: a branch's name may have many parts.
const LEFTOVERS_DEPTH_MAX: usize = 64;

impl Real {
    /// How Git reaches the remote, the key put into tmpfs when it came as a credential.
    pub fn git_access(&self) -> Result<Access, Fault> {
        let key = match self.vault.ssh_key_file()? {
            Some(file) => Some(file),
            None => self.config.ssh.key.clone(),
        };
        for (option, file) in [
            ("ssh.key", &key),
            ("ssh.known_hosts", &self.config.ssh.known_hosts),
        ] {
            if let Some(file) = file
                && let Err(e) = fs_err::metadata(file)
            {
                return Err(PlaceFault::FileUnusable {
                    on: format!("{option} {file}"),
                    os: os::of(&e),
                }
                .into());
            }
        }
        let server = self.config.repository.remote.as_ref().and_then(git::token_server);
        let token = match server {
            Some(server) => {
                let file = self.vault.repository_token_file()?;
                file.map(|file| Token { server, file })
            }
            None => None,
        };
        Ok(Access {
            key,
            token,
            known_hosts: self.config.ssh.known_hosts.clone(),
            connect_s: self.config.nix.connect_timeout_s,
            stall_s: self.config.nix.stalled_download_timeout_s,
        })
    }
}

/// The revision that the configuration asks for, as the remote or the bundle has it now.
pub async fn resolve(real: &Real, repository: &Repository) -> Result<Revision, Fault> {
    let access = real.git_access()?;
    let scratch = Utf8PathBuf::from(super::RUN_DIR);
    resolve_with(&real.hands(), &access, repository, &scratch).await
}

/// As [`resolve`]; `scratch` is a directory in tmpfs.
pub async fn resolve_with(
    hands: &Hands,
    access: &Access,
    repository: &Repository,
    scratch: &Utf8Path,
) -> Result<Revision, Fault> {
    let offer = offer(hands, access, &repository.source).await?;
    let name = source_name(&repository.source);
    let revision = offer
        .resolve(&repository.reference)
        .map_err(|why| SourceFault::ReferenceMissing {
            repository: name.clone(),
            reason: why,
        })?;
    let bundle = match &repository.source {
        RepositorySource::Bundle { file, .. } => Some(file.as_str()),
        RepositorySource::Remote(_) => None,
    };
    let asked_exactly = matches!(repository.reference, Reference::Revision(_))
        && !offer.refs.iter().any(|(_, id)| *id == revision);
    if bundle.is_none() && !asked_exactly {
        return Ok(revision);
    }
    // Both questions need a repository to be asked in: an empty one in tmpfs.
    fs_err::create_dir_all(scratch).map_err(|e| rooted::io_fault(scratch.as_str(), &e))?;
    let probe = scratch.join("probe.git");
    remove_tree(&probe)?;
    git::local(hands, access, scratch, &["init", "-q", "--bare", "probe.git"]).await?;
    let answer = probe_for(hands, access, &probe, repository, bundle, &revision).await;
    remove_tree(&probe)?;
    answer?;
    Ok(revision)
}

async fn probe_for(
    hands: &Hands,
    access: &Access,
    probe: &Utf8Path,
    repository: &Repository,
    bundle: Option<&str>,
    revision: &Revision,
) -> Result<(), Fault> {
    if let Some(file) = bundle {
        let ended = hands
            .run(access.git(Some(probe)).args(["bundle", "verify", "-q", file]))
            .await?;
        if !ended.success() {
            return Err(Fault::program(
                FaultClass::NeedsChange,
                format!("bundle {file}"),
                ended.how(),
                Remedy::words(
                    "make the bundle again with: git bundle create FILE --all, build the installer anew",
                ),
            ));
        }
    }
    let from = fetch_url(&repository.source);
    // No trees, no files: the commit alone says that it is there.
    let mut args = vec!["fetch", "-q", "--no-tags"];
    if bundle.is_none() {
        args.extend(["--depth=1", "--filter=tree:0"]);
    }
    args.push(&from);
    let refspec = if bundle.is_some() {
        "refs/*:refs/*"
    } else {
        revision.as_str()
    };
    args.push(refspec);
    let ended = hands.run(access.remote(Some(probe)).args(args)).await?;
    let what = format!("revision {revision} in {}", source_name(&repository.source));
    let refused = ended.stderr.contains("unadvertised object") || ended.stderr.contains("dumb http");
    if !ended.success() && refused {
        hands.reporter.notice(format!(
            "{what}: the server shows only the tips of branches; the clone will tell"
        ));
        return Ok(());
    }
    git::succeeded(ended, &what)?;
    if bundle.is_some() && !has_commit(hands, access, probe, revision).await? {
        return Err(SourceFault::RevisionNotInBundle {
            revision: revision.to_string(),
            repository: source_name(&repository.source),
        }
        .into());
    }
    Ok(())
}

fn source_name(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Remote(url) => url.to_string(),
        RepositorySource::Bundle { file, .. } => format!("bundle {file}"),
    }
}

fn fetch_url(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Remote(url) => git_url(url),
        RepositorySource::Bundle { file, .. } => file.clone(),
    }
}

async fn offer(hands: &Hands, access: &Access, source: &RepositorySource) -> Result<Offer, Fault> {
    if let RepositorySource::Bundle { file, .. } = source
        && let Err(e) = fs_err::File::open(file)
    {
        return Err(Fault::of(
            PlaceFault::FileUnusable {
                on: format!("bundle {file}"),
                os: os::of(&e),
            },
            Remedy::change_and_install("name a readable bundle in repository.bundle"),
        ));
    }
    let program = match source {
        RepositorySource::Remote(url) => access
            .remote(None)
            .deadline(Duration::from_secs(120))
            .memory(Memory::Question)
            .args(["ls-remote", "--symref", "--", &git_url(url)]),
        RepositorySource::Bundle { file, .. } => access.git(None).args(["bundle", "list-heads", file]),
    };
    let ended = hands.run(program).await?;
    let what = format!("repository {}", source_name(source));
    let ended = git::succeeded(ended, &what)?;
    let offer = Offer::parse(&ended.stdout);
    // A page of HTML is an empty list of references to Git, and no error.
    if offer.refs.is_empty() && matches!(source, RepositorySource::Remote(_)) {
        let repository = source_name(source);
        return Err(SourceFault::NothingOffered { repository }.into());
    }
    Ok(offer)
}

async fn has_commit(
    hands: &Hands,
    access: &Access,
    dir: &Utf8Path,
    revision: &Revision,
) -> Result<bool, Fault> {
    let object = format!("{revision}^{{commit}}");
    Ok(hands
        .run(access.git(Some(dir)).args(["cat-file", "-e", &object]))
        .await?
        .success())
}

/// What is at the clone's place.
pub async fn observe_clone(hands: &Hands, access: &Access, path: &Utf8Path) -> Result<CloneFacts, Fault> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(CloneFacts::Absent),
        Err(e) => return Err(rooted::io_fault(path.as_str(), &e)),
    };
    if !metadata.is_dir() {
        return Ok(CloneFacts::Other("a file or a symbolic link".into()));
    }
    let mut names = Vec::new();
    for entry in fs_err::read_dir(path).map_err(|e| rooted::io_fault(path.as_str(), &e))? {
        let entry = entry.map_err(|e| rooted::io_fault(path.as_str(), &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(CloneFacts::Absent);
    }
    if !names.iter().any(|name| name == ".git") {
        names.truncate(5);
        return Ok(CloneFacts::Other(format!(
            "a directory with {} in it",
            names.join(", ")
        )));
    }
    let head = hands
        .run(
            access
                .git(Some(path))
                .args(["rev-parse", "--verify", "-q", "HEAD^{commit}"]),
        )
        .await?;
    Ok(CloneFacts::Repository {
        head: head
            .success()
            .then(|| head.stdout.trim().parse())
            .and_then(Result::ok),
        mark: mark_of(hands, access, path).await?,
        flaws: sound::flaws(hands, access, path).await?,
    })
}

async fn mark_of(hands: &Hands, access: &Access, path: &Utf8Path) -> Result<Option<String>, Fault> {
    if !path.join(".git").exists() {
        // Git would look in the directories above.
        return Ok(None);
    }
    let file = path.join(".git/config");
    let ended = hands
        .run(
            access
                .git(None)
                .args(["config", "--file", file.as_str(), "--get", CLONE_KEY]),
        )
        .await?;
    Ok(ended.success().then(|| ended.stdout.trim().to_owned()))
}

/// Removes whatever has this name.
fn remove_tree(path: &Utf8Path) -> Result<(), Fault> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs_err::remove_dir_all(path),
        Ok(_) => fs_err::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(rooted::io_fault(path.as_str(), &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

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
    let ours = action.install.to_string();
    // By its name it is a clone of landfall's that was replaced. Its removal may have been cut off, and its mark be gone.
    remove_tree(&old)?;
    let resumed = partial.exists();
    if mark_of(hands, access, &partial).await?.as_deref() != Some(&ours) {
        // By its name it is a clone of landfall's that was cut off before it had its mark.
        remove_tree(&partial)?;
    }
    remove_leftovers(&partial.join(".git"), LEFTOVERS_DEPTH_MAX)?;
    let mut made = fill(hands, access, action, parent, &partial, &ours).await;
    let stuck = match &made {
        Err(fault) if resumed && fault.class == FaultClass::Transient => {
            !sound::is_connected(hands, access, &partial).await?
        }
        Err(fault) => resumed && is_final(fault.class),
        Ok(()) => false,
    };
    if stuck {
        // What a killed Git left may be the reason, whatever it is: once more, from nothing.
        remove_tree(&partial)?;
        made = fill(hands, access, action, parent, &partial, &ours).await;
    }
    if let Err(fault) = made {
        // A broken leftover would fail every later attempt: only what Git finds whole is gone on with.
        if fault.class == FaultClass::Transient && !sound::is_connected(hands, access, &partial).await? {
            remove_tree(&partial)?;
        }
        return Err(fault);
    }
    remove_leftovers(&partial.join(".git"), LEFTOVERS_DEPTH_MAX)?;
    rooted::sync_filesystem(parent)?;
    if *replace && path.exists() {
        fs_err::rename(path, &old).map_err(|e| rooted::io_fault(path.as_str(), &e))?;
    }
    fs_err::rename(&partial, path).map_err(|e| rooted::io_fault(path.as_str(), &e))?;
    rooted::sync_filesystem(parent)?;
    remove_tree(&old)
}

/// Whether a fault of this class would stop the run.
fn is_final(class: FaultClass) -> bool {
    match class {
        FaultClass::Permanent | FaultClass::NeedsChange | FaultClass::Unsafe => true,
        FaultClass::Transient | FaultClass::Hardware | FaultClass::Interrupted => false,
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

async fn fill(
    hands: &Hands,
    access: &Access,
    action: &CloneConfiguration,
    parent: &Utf8Path,
    dir: &Utf8Path,
    mark: &str,
) -> Result<(), Fault> {
    let CloneConfiguration {
        install: _,
        repository,
        revision,
    } = action;
    hands.reporter.step(format!(
        "clone {} from {}",
        revision,
        source_name(&repository.source)
    ));
    git::local(hands, access, parent, &["init", "-q", dir.as_str()]).await?;
    git::local(hands, access, dir, &["config", "--local", CLONE_KEY, mark]).await?;
    let fetched_from = fetch_url(&repository.source);
    let origin = match &repository.source {
        RepositorySource::Remote(url) => Some(git_url(url)),
        RepositorySource::Bundle { origin, .. } => origin.as_ref().map(git_url),
    };
    if let Some(origin) = &origin {
        git::local(
            hands,
            access,
            dir,
            &["config", "--local", "remote.origin.url", origin],
        )
        .await?;
        git::local(
            hands,
            access,
            dir,
            &[
                "config",
                "--local",
                "remote.origin.fetch",
                "+refs/heads/*:refs/remotes/origin/*",
            ],
        )
        .await?;
    }
    let offer = offer(hands, access, &repository.source).await?;
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
        fetch(hands, access, dir, &fetched_from, &refspecs).await?;
    }
    if !has_commit(hands, access, dir, revision).await? {
        // Not on that branch: ask for it by name, and where a server refuses that, fetch all there is.
        let exact = fetch(hands, access, dir, &fetched_from, &[revision.to_string()]).await;
        if let Err(fault) = exact {
            match fault.class {
                FaultClass::Permanent => {}
                FaultClass::Transient
                | FaultClass::NeedsChange
                | FaultClass::Hardware
                | FaultClass::Unsafe
                | FaultClass::Interrupted => return Err(fault),
            }
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"].map(str::to_owned);
            fetch(hands, access, dir, &fetched_from, &all).await?;
        }
    }
    if !has_commit(hands, access, dir, revision).await? {
        let now = offer
            .resolve(&repository.reference)
            .map_or_else(|why| why, |now| now.to_string());
        return Err(SourceFault::RevisionGone {
            revision: revision.to_string(),
            repository: source_name(&repository.source),
            now: now.to_string(),
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
            git::local(
                hands,
                access,
                dir,
                &["checkout", "-q", "-f", "--no-track", "-B", branch, rev],
            )
            .await?;
            if origin.is_some() {
                let key = |what: &str| format!("branch.{branch}.{what}");
                let merge = format!("refs/heads/{branch}");
                git::local(
                    hands,
                    access,
                    dir,
                    &["config", "--local", &key("remote"), "origin"],
                )
                .await?;
                git::local(hands, access, dir, &["config", "--local", &key("merge"), &merge]).await?;
            }
        }
        Some(_) | None => {
            git::local(hands, access, dir, &["checkout", "-q", "-f", "--detach", rev]).await?;
        }
    }
    submodules(hands, access, &repository.source, dir).await
}

async fn fetch(
    hands: &Hands,
    access: &Access,
    dir: &Utf8Path,
    from: &str,
    refspecs: &[String],
) -> Result<(), Fault> {
    let program = access
        .remote(Some(dir))
        .args([
            "fetch",
            "--progress",
            "--no-tags",
            "--no-write-fetch-head",
            "--",
            from,
        ])
        .args(refspecs.iter().cloned())
        .on_line(|line| {
            if let Some(transfer) = Transfer::parse(line) {
                transfer.tell(hands);
            }
        });
    let ended = hands.run(program).await?;
    git::succeeded(ended, &format!("fetch of {} from {from}", refspecs.join(" "))).map(drop)
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
            git::succeeded(ended, "submodules").map(drop)
        }
    }
}

impl Perform<CloneConfiguration> for Real {
    async fn observe(&mut self, step: &CloneConfiguration) -> Result<CloneFacts, Fault> {
        self.attach(mounts::Attach::Target).await?;
        let access = self.git_access()?;
        observe_clone(
            &self.hands(),
            &access,
            Utf8Path::new(step.repository.clone_path.as_str()),
        )
        .await
    }

    async fn perform(&mut self, step: &CloneConfiguration, order: CloneOrder) -> Result<(), Fault> {
        let done = async {
            self.attach(mounts::Attach::Target).await?;
            hooks::after_mounting(self).await?;
            let access = self.git_access()?;
            let path = Utf8Path::new(step.repository.clone_path.as_str());
            perform_clone(&self.hands(), &access, &order, path).await
        }
        .await;
        room::explained(Utf8Path::new(MOUNT_ROOT), done)
    }
}
