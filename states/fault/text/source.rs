//! Words of a [`SourceFault`], and what to do about it.

use super::Words;
use crate::fault::{Remedy, SourceFault};

impl SourceFault {
    pub(super) fn words(&self) -> Words {
        match self {
            SourceFault::ReferenceMissing { repository, reason } => {
                Words::of(format!("repository {repository}"), reason)
            }
            SourceFault::RevisionGone {
                revision,
                repository,
                now,
            } => Words::of(
                format!("revision {revision}"),
                format!(
                    "it was pinned, and {repository} no longer has it; what was asked for is now at {now}"
                ),
            ),
            SourceFault::PinNotNamed {
                revision,
                reference,
                repository,
                now,
                named_by,
            } => {
                let elsewhere = match named_by {
                    Some(name) => format!("; {name} names it"),
                    None => String::new(),
                };
                let now = match now {
                    Some(now) => format!("that is {now} now, and this revision is not in its history"),
                    None => "nobody has asked whether it is in its history".to_owned(),
                };
                Words::of(
                    format!("revision {revision}"),
                    format!(
                        "a record on the disk asks for it, which anybody can write there, and the configuration asks for {reference} of \
                         {repository}: {now}{elsewhere}. If this revision is the one that is wanted, name it in repository.revision"
                    ),
                )
            }
            SourceFault::RevisionNotInBundle { revision, repository } => Words::of(
                format!("revision {revision} in {repository}"),
                "the bundle does not contain it",
            ),
            SourceFault::NothingOffered { repository } => Words::of(
                format!("repository {repository}"),
                "it answered and offers nothing at all: it is empty, or a network that wants a login in a browser answered in its place \
                 (captive portal)",
            ),
            SourceFault::SubmoduleAddress {
                path,
                repository,
                reason,
            } => Words::of(format!("submodule {path} of {repository}"), reason),
            SourceFault::ForeignClone { path, found } => Words::of(format!("clone path {path}"), found),
            SourceFault::SubmoduleOrder { repository, setting } => Words::of(
                format!("submodules of {repository}"),
                format!(".gitmodules has {setting}, which makes Git run a program"),
            ),
        }
    }

    pub(in crate::fault) fn remedy(&self) -> Remedy {
        match self {
            SourceFault::ReferenceMissing { .. } => Remedy::change_and_install(
                "correct repository.branch or repository.revision in the configuration",
            ),
            SourceFault::RevisionGone { .. } => {
                Remedy::change("push the revision again, or name another in repository.revision")
            }
            SourceFault::PinNotNamed { .. } => Remedy::Command("landfall resume --repin".into()),
            SourceFault::RevisionNotInBundle { .. } => Remedy::words(
                "in a repository that has it: git bundle create FILE --all, build the installer anew",
            ),
            SourceFault::NothingOffered { .. } => Remedy::change_and_install(
                "log in to the network (open http://neverssl.com in a browser), correct repository.remote, or push to the repository",
            ),
            SourceFault::SubmoduleAddress { .. } => Remedy::words(
                "say in .gitmodules where the submodule is fetched from, or take it out of the repository",
            ),
            SourceFault::ForeignClone { path, .. } => {
                Remedy::change(format!("move {path} away, or set another repository.clone_path"))
            }
            SourceFault::SubmoduleOrder { .. } => Remedy::change(
                "give the submodule an address of https:// or ssh:// and no command, commit that, push it",
            ),
        }
    }
}
