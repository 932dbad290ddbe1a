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
                    "this install uses it, but {repository} no longer has it; the configured branch or revision is now {now}"
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
                    Some(name) => format!("; {name} names this revision"),
                    None => String::new(),
                };
                let now = match now {
                    Some(now) => format!("it is now {now}, and its history does not have this revision"),
                    None => "its history was not checked for this revision".to_owned(),
                };
                Words::of(
                    format!("revision {revision}"),
                    format!(
                        "only a record on the disk names it, and anybody can write such a record; the configuration names {reference} of {repository}: \
                         {now}{elsewhere}. To install this revision, set repository.revision to it"
                    ),
                )
            }
            SourceFault::RevisionNotInBundle { revision, repository } => Words::of(
                format!("revision {revision} in {repository}"),
                "the bundle does not contain it",
            ),
            SourceFault::NothingOffered { repository } => Words::of(
                format!("repository {repository}"),
                "it offers no branch and no tag: it is empty, or the network requires a login in a browser and answered in its place \
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
                Remedy::change("push the revision again, or set another one in repository.revision")
            }
            SourceFault::PinNotNamed { .. } => Remedy::Command("landfall resume --repin".into()),
            SourceFault::RevisionNotInBundle { .. } => Remedy::words(
                "in a repository that has it, run git bundle create FILE --all, then build the installer again",
            ),
            SourceFault::NothingOffered { .. } => Remedy::change_and_install(
                "log in to the network (open http://neverssl.com in a browser), correct repository.remote, or push to the repository",
            ),
            SourceFault::SubmoduleAddress { .. } => Remedy::words(
                "set the address of the submodule in .gitmodules, or remove the submodule from the repository",
            ),
            SourceFault::ForeignClone { path, .. } => {
                Remedy::change(format!("move {path} away, or set another repository.clone_path"))
            }
            SourceFault::SubmoduleOrder { .. } => Remedy::change(
                "give the submodule an https:// or ssh:// address and no command in .gitmodules, commit it, and push it",
            ),
        }
    }
}
