//! The repository where it comes from: its name, its address, and what it offers.

use crate::real::fs::target_root;
use crate::real::git::command::{self, Access, Offer, git_url};
use crate::real::process::context::CommandContext;
use crate::real::process::limits::Memory;
use crate::safe_open::{self, Links};
use camino::Utf8Path;
use landfall_states::fault::{Fault, Remedy, SourceFault};
use landfall_states::names::Revision;
use landfall_states::plan::RepositorySource;
use landfall_states::remote::RemoteUrl;
use std::io::ErrorKind;
use std::time::Duration;

pub(in crate::real) fn fetch_url(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Remote(url) => git_url(url),
        RepositorySource::Bundle { file, .. } => file.clone(),
    }
}

pub(in crate::real) async fn has_commit(
    context: &CommandContext,
    access: &Access,
    dir: &Utf8Path,
    revision: &Revision,
) -> Result<bool, Fault> {
    let object = format!("{revision}^{{commit}}");
    Ok(context
        .run(access.git(Some(dir)).args(["cat-file", "-e", &object]))
        .await?
        .success())
}

pub(crate) async fn offer(
    context: &CommandContext,
    access: &Access,
    source: &RepositorySource,
) -> Result<Offer, Fault> {
    if let RepositorySource::Bundle { file, .. } = source
        && let Err(refused) = safe_open::open(Utf8Path::new(file), Links::Follow)
    {
        return Err(refused
            .fault(format!("bundle {file}"))
            .with_next(Remedy::change_and_install(
                "name a readable bundle in repository.bundle",
            )));
    }
    let program = match source {
        RepositorySource::Remote(url) => access
            .remote(None)
            .deadline(Duration::from_secs(120))
            .memory(Memory::Question)
            .args(["ls-remote", "--symref"])
            .args(command::serving(&git_url(url)))
            .args(["--", &git_url(url)]),
        RepositorySource::Bundle { file, .. } => access.git(None).args(["bundle", "list-heads", file]),
    };
    let ended = context.run(program).await?;
    let what = format!("repository {}", source_name(source));
    let ended = command::succeeded_at(remote_of(source), ended, &what)?;
    let offer = Offer::parse(&ended.stdout);
    // A page of HTML is an empty list of references to Git, and no error.
    if offer.refs.is_empty() && matches!(source, RepositorySource::Remote(_)) {
        let repository = source_name(source);
        return Err(SourceFault::NothingOffered { repository }.into());
    }
    Ok(offer)
}

/// The remote of a source, or the one that a bundle is of.
pub(in crate::real) fn remote_of(source: &RepositorySource) -> Option<&RemoteUrl> {
    match source {
        RepositorySource::Remote(url) => Some(url),
        RepositorySource::Bundle { origin, .. } => origin.as_ref(),
    }
}

/// Removes whatever has this name.
pub(in crate::real) fn remove_tree(path: &Utf8Path) -> Result<(), Fault> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs_err::remove_dir_all(path),
        Ok(_) => fs_err::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(target_root::io_fault(path.as_str(), &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn source_name(source: &RepositorySource) -> String {
    match source {
        RepositorySource::Remote(url) => url.to_string(),
        RepositorySource::Bundle { file, .. } => format!("bundle {file}"),
    }
}
