//! The configuration repository: resolved before the first write, looked at where it is cloned to. Law: exactly the pinned
//! revision ends up at its place, whole or not at all; what does not carry this install's mark is never touched.
//!
//! Absent: judging a clone (`states::formatted`), making it (`clone`).

use crate::os;
pub use crate::real::clone::perform_clone;
use crate::real::git::{self, Access, Offer, Token, git_url};
use crate::real::hands::Hands;
use crate::real::marks::CLONE_KEY;
use crate::real::memory::Memory;
use crate::real::{MOUNT_ROOT, Real, foreseen, hooks, mounts, pin, room, rooted, sound};
use crate::world::Perform;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, FaultClass, PlaceFault, Remedy, SourceFault};
use landfall_states::formatted::{CloneConfiguration, CloneFacts, CloneOrder, CloneSight, Standing};
use landfall_states::names::{RemoteUrl, Revision};
use landfall_states::plan::{Reference, Repository, RepositorySource};
use std::io::ErrorKind;
use std::time::Duration;

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
    let revision = resolve_with(&real.hands(), &access, repository, &scratch).await?;
    let most = foreseen::LOOK_BYTES_MAX;
    foreseen::look(&real.hands(), &access, repository, &revision, &scratch, most).await?;
    Ok(revision)
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
    let probe = bare_repository(hands, access, scratch, "probe.git", &revision).await?;
    let answer = probe_for(hands, access, &probe, repository, bundle, &revision).await;
    remove_tree(&probe)?;
    answer?;
    Ok(revision)
}

/// An empty repository of a revision's object format, in the place of whatever had its name.
pub(super) async fn bare_repository(
    hands: &Hands,
    access: &Access,
    scratch: &Utf8Path,
    name: &str,
    revision: &Revision,
) -> Result<Utf8PathBuf, Fault> {
    let dir = scratch.join(name);
    remove_tree(&dir)?;
    let format = format!("--object-format={}", git::object_format(revision));
    git::local(hands, access, scratch, &["init", "-q", &format, "--bare", name]).await?;
    Ok(dir)
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
    git::succeeded_at(remote_of(&repository.source), ended, &what)?;
    if bundle.is_some() && !has_commit(hands, access, probe, revision).await? {
        return Err(SourceFault::RevisionNotInBundle {
            revision: revision.to_string(),
            repository: source_name(&repository.source),
        }
        .into());
    }
    Ok(())
}

pub(super) fn source_name(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Remote(url) => url.to_string(),
        RepositorySource::Bundle { file, .. } => format!("bundle {file}"),
    }
}

/// The remote of a source, or the one that a bundle is of.
pub(super) fn remote_of(source: &RepositorySource) -> Option<&RemoteUrl> {
    match source {
        RepositorySource::Remote(url) => Some(url),
        RepositorySource::Bundle { origin, .. } => origin.as_ref(),
    }
}

pub(super) fn fetch_url(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Remote(url) => git_url(url),
        RepositorySource::Bundle { file, .. } => file.clone(),
    }
}

pub(super) async fn offer(hands: &Hands, access: &Access, source: &RepositorySource) -> Result<Offer, Fault> {
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
    let ended = git::succeeded_at(remote_of(source), ended, &what)?;
    let offer = Offer::parse(&ended.stdout);
    // A page of HTML is an empty list of references to Git, and no error.
    if offer.refs.is_empty() && matches!(source, RepositorySource::Remote(_)) {
        let repository = source_name(source);
        return Err(SourceFault::NothingOffered { repository }.into());
    }
    Ok(offer)
}

pub(super) async fn has_commit(
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
    if let Some(why) = unreadable(hands, access, path).await? {
        return Ok(CloneFacts::Other(format!(
            "a repository whose .git/config cannot be read ({why}), so that nobody can say whose it is; landfall leaves it alone. If \
             nothing of it is needed: mv {path} {path}.old"
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

/// Why nobody can say whose a repository is: where its mark is kept cannot be read, or holds nothing.
async fn unreadable(hands: &Hands, access: &Access, path: &Utf8Path) -> Result<Option<String>, Fault> {
    let file = path.join(".git/config");
    match fs_err::symlink_metadata(&file) {
        Ok(found) if !found.is_file() => return Ok(Some("it is no file".into())),
        Ok(found) if found.len() == 0 => return Ok(Some("it is empty".into())),
        Ok(_) => {}
        // A repository that belongs to another one has no such file.
        Err(_) => return Ok(None),
    }
    let list = ["config", "--file", file.as_str(), "--list"];
    let ended = hands.run(access.git(None).args(list)).await?;
    Ok((!ended.success()).then(|| ended.tail()))
}

/// The install that made the repository at this path, as it says.
pub(super) async fn mark_of(
    hands: &Hands,
    access: &Access,
    path: &Utf8Path,
) -> Result<Option<String>, Fault> {
    value_of(hands, access, path, CLONE_KEY).await
}

/// A value of a repository's own configuration.
pub(super) async fn value_of(
    hands: &Hands,
    access: &Access,
    path: &Utf8Path,
    key: &str,
) -> Result<Option<String>, Fault> {
    if !path.join(".git").exists() {
        // Git would look in the directories above.
        return Ok(None);
    }
    let file = path.join(".git/config");
    let ended = hands
        .run(
            access
                .git(None)
                .args(["config", "--file", file.as_str(), "--get", key]),
        )
        .await?;
    Ok(ended.success().then(|| ended.stdout.trim().to_owned()))
}

/// Removes whatever has this name.
pub(super) fn remove_tree(path: &Utf8Path) -> Result<(), Fault> {
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

impl Perform<CloneConfiguration> for Real {
    async fn observe(&mut self, step: &CloneConfiguration) -> Result<CloneSight, Fault> {
        self.attach(mounts::Attach::Target).await?;
        let (hands, access) = (self.hands(), self.git_access()?);
        let asked = step.is_wish && self.granted.as_ref() != Some(&step.revision);
        let standing = if asked {
            let scratch = Utf8Path::new(super::RUN_DIR);
            pin::standing(&hands, &access, &step.repository, &step.revision, scratch).await?
        } else if step.is_wish {
            Standing::Named
        } else {
            Standing::NotAsked
        };
        if standing == Standing::Named {
            // Once in a run is enough: what the remote says in the next minute is not more right.
            self.granted = Some(step.revision.clone());
        }
        let path = Utf8Path::new(step.repository.clone_path.as_str());
        let place = observe_clone(&hands, &access, path).await?;
        Ok(CloneSight { place, standing })
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
