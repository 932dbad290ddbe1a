//! Checks whether a revision that only a record asks for is what the reference names, by asking the remote or the bundle.
//!
//! Nothing on the target is trusted. What the reference names now is fetched into an empty repository in tmpfs (only commits,
//! if the server can do that), and the ancestry is read there. A clone on the target could deceive with its own objects,
//! graphs and grafts.
//!
//! `states::actions::clone_configuration` decides what follows.

use crate::real::fs::target_root;
use crate::real::git::command::{self, Access};
use crate::real::git::repository::bare_repository;
use crate::real::git::source::{fetch_url, offer, remote_of, remove_tree, source_name};
use crate::real::process::command::Program;
use crate::real::process::context::CommandContext;
use camino::Utf8Path;
use landfall_states::actions::clone_configuration::Standing;
use landfall_states::fault::{Fault, SourceFault};
use landfall_states::names::Revision;
use landfall_states::plan::{Reference, Repository, RepositorySource};

/// Where what the reference names is put in the empty repository.
const NAMED: &str = "refs/landfall/named";

/// How a revision stands to what the reference names now. `scratch` is a directory in tmpfs.
///
/// # Errors
/// The remote cannot be asked.
pub async fn standing(
    context: &CommandContext,
    access: &Access,
    repository: &Repository,
    revision: &Revision,
    scratch: &Utf8Path,
) -> Result<Standing, Fault> {
    let source = &repository.source;
    let offer = offer(context, access, source).await?;
    let now = offer
        .resolve(&repository.reference)
        .map_err(|reason| SourceFault::ReferenceMissing {
            repository: source_name(source),
            reason,
        })?;
    if now == *revision {
        return Ok(Standing::Named);
    }
    let named_by = offer
        .refs
        .iter()
        .find(|(_, id)| id == revision)
        .map(|(name, _)| name.clone());
    let elsewhere = |now| Standing::Elsewhere { now, named_by };
    let full = match &repository.reference {
        // The configuration itself names another revision.
        Reference::Revision(_) => return Ok(elsewhere(now)),
        Reference::Default if offer.id("HEAD").is_some() => "HEAD".to_owned(),
        // The only branch there is.
        Reference::Default => format!("refs/heads/{}", offer.branches().next().unwrap_or_default()),
        Reference::Branch(name) => offer.full_name(name).unwrap_or_else(|| name.to_string()),
    };
    // Commits of two object formats are of two repositories.
    if command::object_format(&now) != command::object_format(revision) {
        return Ok(elsewhere(now));
    }
    fs_err::create_dir_all(scratch).map_err(|e| target_root::io_fault(scratch.as_str(), &e))?;
    let dir = bare_repository(context, access, scratch, "pin.git", &now).await?;
    let answer = in_history(context, access, &dir, source, &full, revision).await;
    remove_tree(&dir)?;
    // The reference may have moved between the two questions: the second answer counts.
    let (now, is_ancestor) = answer?;
    Ok(if is_ancestor {
        Standing::Named
    } else {
        elsewhere(now)
    })
}

/// What the reference names, and whether the revision is in its history.
async fn in_history(
    context: &CommandContext,
    access: &Access,
    dir: &Utf8Path,
    source: &RepositorySource,
    full: &str,
    revision: &Revision,
) -> Result<(Revision, bool), Fault> {
    context
        .reporter
        .step(format!("fetch the history of {full} of {}", source_name(source)));
    let (from, refspec) = (fetch_url(source), format!("+{full}:{NAMED}"));
    let serving = command::serving(&from);
    let mut args = vec!["fetch", "-q", "--no-tags"];
    if let RepositorySource::Remote(_) = source {
        // No trees, no files. A server that cannot leave them out says so, and sends everything.
        args.push("--filter=tree:0");
        args.extend(serving.as_deref());
    }
    args.extend(["--", &from, &refspec]);
    // What is not there is not there: without this, Git 2.47 asks a shallow remote for the parents that it does not show, for ever.
    let alone = |program: Program<'static>| program.env("GIT_NO_LAZY_FETCH", "1");
    let ended = context.run(alone(access.remote(Some(dir))).args(args)).await?;
    let what = format!("history of {full} of {}", source_name(source));
    // A remote with a part of its history only: Git takes what it can get, says this, and succeeds.
    if ended.stderr.contains("shallow roots are not allowed") {
        return Err(command::fault_at(remote_of(source), &what, &ended));
    }
    command::succeeded_at(remote_of(source), ended, &what)?;
    let commit = format!("{NAMED}^{{commit}}");
    let named = ["rev-parse", "--verify", "-q", &commit];
    let named = context.run(alone(access.git(Some(dir))).args(named)).await?;
    let now: Revision = command::succeeded(named, &what)?.stdout.trim().parse().map_err(
        |e: landfall_states::names::BadValue| SourceFault::ReferenceMissing {
            repository: source_name(source),
            reason: e.to_string(),
        },
    )?;
    let object = format!("{revision}^{{commit}}");
    let there = ["cat-file", "-e", &object];
    if !context
        .run(alone(access.git(Some(dir))).args(there))
        .await?
        .success()
    {
        return Ok((now, false));
    }
    let asked = ["merge-base", "--is-ancestor", revision.as_str(), NAMED];
    let ended = context.run(alone(access.git(Some(dir))).args(asked)).await?;
    match ended.code {
        Some(0) => Ok((now, true)),
        Some(1) => Ok((now, false)),
        Some(_) | None => Err(command::fault_at(remote_of(source), &what, &ended)),
    }
}
