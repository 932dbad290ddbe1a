//! The configuration repository: resolved before the first write, and looked at where it is cloned to.
//!
//! Exactly the pinned revision ends up at its place, completely or not at all. A directory that does not carry this install's
//! mark is never touched.
//!
//! `states::actions::clone_configuration` judges a clone, and `git::clone` makes it.

use super::source::{fetch_url, has_commit, offer, remote_of, remove_tree, source_name};
use crate::real::fs::target_root;
pub use crate::real::git::clone::perform_clone;
use crate::real::git::command::{self, Access};
use crate::real::git::guard::{self, Found};
use crate::real::git::soundness;
use crate::real::process::context::CommandContext;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::actions::clone_configuration::{CloneConfiguration, CloneFacts};
use landfall_states::fault::{Fault, FaultClass, Remedy, SourceFault};
use landfall_states::names::Revision;
use landfall_states::plan::{Reference, Repository, RepositorySource};
use std::io::{ErrorKind, Read};

/// Bytes of a bundle in which its first lines are searched.
const BUNDLE_HEAD_BYTES_MAX: u64 = 4_096;

/// As `resolve`; `scratch` is a directory in tmpfs.
///
/// # Errors
/// The remote or the bundle cannot be asked, or has no such reference.
pub async fn resolve_with(
    context: &CommandContext,
    access: &Access,
    repository: &Repository,
    scratch: &Utf8Path,
) -> Result<Revision, Fault> {
    let offer = offer(context, access, &repository.source).await?;
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
    fs_err::create_dir_all(scratch).map_err(|e| target_root::io_fault(scratch.as_str(), &e))?;
    let probe = bare_repository(context, access, scratch, "probe.git", &revision).await?;
    let asked = Asked {
        bundle,
        revision: &revision,
        has_head: offer.id("HEAD").is_some(),
    };
    let answer = probe_for(context, access, &probe, repository, &asked).await;
    remove_tree(&probe)?;
    answer?;
    Ok(revision)
}

/// What a source is asked for with an empty repository.
struct Asked<'a> {
    bundle: Option<&'a str>,
    revision: &'a Revision,
    has_head: bool,
}

/// The filter that a bundle was made with: then it lacks objects, and nobody can be asked for them (gitformat-bundle(5)).
fn filter_of_bundle(file: &str) -> Result<Option<String>, Fault> {
    let fault = |e: std::io::Error| target_root::io_fault(format!("bundle {file}"), &e);
    let mut head = Vec::new();
    let opened = safe_open::open(Utf8Path::new(file), Links::Follow)
        .map_err(|refused| refused.fault(format!("bundle {file}")))?;
    opened
        .take(BUNDLE_HEAD_BYTES_MAX)
        .read_to_end(&mut head)
        .map_err(fault)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let said = head.lines().skip(1).take_while(|line| line.starts_with('@'));
    Ok(said
        .filter_map(|line| line.strip_prefix("@filter="))
        .map(str::to_owned)
        .next())
}

/// An empty repository of a revision's object format, in the place of whatever had its name.
pub(in crate::real) async fn bare_repository(
    context: &CommandContext,
    access: &Access,
    scratch: &Utf8Path,
    name: &str,
    revision: &Revision,
) -> Result<Utf8PathBuf, Fault> {
    let dir = scratch.join(name);
    remove_tree(&dir)?;
    let format = format!("--object-format={}", command::object_format(revision));
    command::local(context, access, scratch, &["init", "-q", &format, "--bare", name]).await?;
    Ok(dir)
}

async fn probe_for(
    context: &CommandContext,
    access: &Access,
    probe: &Utf8Path,
    repository: &Repository,
    asked: &Asked<'_>,
) -> Result<(), Fault> {
    let Asked {
        bundle,
        revision,
        has_head,
    } = *asked;
    if let Some(file) = bundle {
        if let Some(filter) = filter_of_bundle(file)? {
            return Err(Fault::of(
                SourceFault::ReferenceMissing {
                    repository: source_name(&repository.source),
                    reason: format!("it was made with --filter={filter}, so it lacks files"),
                },
                Remedy::words(
                    "make the bundle again without --filter (git bundle create FILE --all), and build the installer again",
                ),
            ));
        }
        let ended = context
            .run(access.git(Some(probe)).args(["bundle", "verify", "-q", file]))
            .await?;
        if !ended.success() {
            return Err(Fault::program(
                FaultClass::NeedsChange,
                format!("bundle {file}"),
                ended.how(),
                Remedy::words(
                    "make the bundle again (git bundle create FILE --all), and build the installer again",
                ),
            ));
        }
    }
    let from = fetch_url(&repository.source);
    // No trees, no files: the commit alone says that it is there.
    let mut args = vec!["fetch", "-q", "--no-tags"];
    let serving = command::serving(&from);
    if bundle.is_none() {
        args.extend(["--depth=1", "--filter=tree:0"]);
        args.extend(serving.as_deref());
    }
    args.push(&from);
    match (bundle, has_head) {
        (None, _) => args.push(revision.as_str()),
        // `git bundle create FILE HEAD` names nothing else.
        (Some(_), true) => args.extend(["HEAD", "refs/*:refs/*"]),
        (Some(_), false) => args.push("refs/*:refs/*"),
    }
    let ended = context.run(access.remote(Some(probe)).args(args)).await?;
    let what = format!("revision {revision} in {}", source_name(&repository.source));
    let refused = ended.stderr.contains("unadvertised object") || ended.stderr.contains("dumb http");
    if !ended.success() && refused {
        context.reporter.notice(format!(
            "{what}: the server shows only the latest commits of branches; the clone will show whether it exists"
        ));
        return Ok(());
    }
    command::succeeded_at(remote_of(&repository.source), ended, &what)?;
    if bundle.is_some() && !has_commit(context, access, probe, revision).await? {
        return Err(SourceFault::RevisionNotInBundle {
            revision: revision.to_string(),
            repository: source_name(&repository.source),
        }
        .into());
    }
    Ok(())
}

/// What is at the clone's place. No Git is run in what is not exactly as landfall and its Git write it.
///
/// # Errors
/// The target cannot be read, or Git fails.
pub async fn observe_clone(
    context: &CommandContext,
    access: &Access,
    action: &CloneConfiguration,
    path: &Utf8Path,
) -> Result<CloneFacts, Fault> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(CloneFacts::Absent),
        Err(e) => return Err(target_root::io_fault(path.as_str(), &e)),
    };
    if !metadata.is_dir() {
        return Ok(CloneFacts::Other("a file or a symbolic link".into()));
    }
    let mut names = Vec::new();
    for entry in fs_err::read_dir(path).map_err(|e| target_root::io_fault(path.as_str(), &e))? {
        let entry = entry.map_err(|e| target_root::io_fault(path.as_str(), &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(CloneFacts::Absent);
    }
    let seen = match guard::look(path, action)? {
        Found::None => {
            names.truncate(5);
            return Ok(CloneFacts::Other(format!(
                "a directory with {} in it",
                names.join(", ")
            )));
        }
        Found::Other(why) => return Ok(CloneFacts::Other(why)),
        Found::Repository(seen) => seen,
    };
    if !seen.is_ours() {
        return Ok(CloneFacts::Unvetted {
            mark: seen.mark.clone(),
            why: seen.told(),
        });
    }
    if seen.mark.as_deref() != Some(action.install.to_string().as_str()) {
        // Not this install's, whatever is in it: nothing more is asked.
        return Ok(CloneFacts::Repository {
            head: None,
            mark: seen.mark,
            flaws: vec![],
        });
    }
    let head = context
        .run(
            access
                .git(Some(path))
                .args(["rev-parse", "--verify", "-q", "HEAD^{commit}"]),
        )
        .await?;
    let mut flaws = soundness::flaws(context, access, path).await?;
    flaws.extend(
        seen.other_remote
            .map(|remote| format!("it has another remote: {remote}")),
    );
    Ok(CloneFacts::Repository {
        head: head
            .success()
            .then(|| head.stdout.trim().parse())
            .and_then(Result::ok),
        mark: seen.mark,
        flaws,
    })
}
