//! What is wrong with the repository, or with its clone: variants of [`Kind`](super::Kind), serialised like the others.
//!
//! `text::source` has the words.

use crate::fault::FaultClass;
use serde::Serialize;

/// What is wrong with the repository, or with its clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum SourceFault {
    /// The repository does not have what was asked for.
    #[serde(rename = "reference_missing")]
    ReferenceMissing {
        /// Which.
        #[serde(rename = "repository")]
        repository: String,
        /// What was asked for, and what there is.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// The repository does not have the pinned revision any more.
    #[serde(rename = "revision_gone")]
    RevisionGone {
        /// The revision.
        #[serde(rename = "revision")]
        revision: String,
        /// Which.
        #[serde(rename = "repository")]
        repository: String,
        /// Where that what was asked for is now.
        #[serde(rename = "now")]
        now: String,
    },
    /// A record asks for a revision that what was asked for does not name, nor any of its descendants.
    #[serde(rename = "pin_not_named")]
    PinNotNamed {
        /// The revision.
        #[serde(rename = "revision")]
        revision: String,
        /// What was asked for, as the configuration says it.
        #[serde(rename = "reference")]
        reference: String,
        /// Of which repository.
        #[serde(rename = "repository")]
        repository: String,
        /// What that names now; without it, nobody asked.
        #[serde(rename = "now")]
        now: Option<String>,
        /// A reference that names the revision, if one does.
        #[serde(rename = "named_by")]
        named_by: Option<String>,
    },
    /// A bundle does not have a revision.
    #[serde(rename = "revision_not_in_bundle")]
    RevisionNotInBundle {
        /// The revision.
        #[serde(rename = "revision")]
        revision: String,
        /// The bundle.
        #[serde(rename = "repository")]
        repository: String,
    },
    /// A repository answered, and has nothing at all.
    #[serde(rename = "nothing_offered")]
    NothingOffered {
        /// Which.
        #[serde(rename = "repository")]
        repository: String,
    },
    /// Nothing says where a submodule is to be had.
    #[serde(rename = "submodule_address")]
    SubmoduleAddress {
        /// The submodule's path in the repository.
        #[serde(rename = "path")]
        path: String,
        /// The repository.
        #[serde(rename = "repository")]
        repository: String,
        /// What is missing.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// Something that landfall did not make is where the clone goes.
    #[serde(rename = "foreign_clone")]
    ForeignClone {
        /// Where.
        #[serde(rename = "path")]
        path: String,
        /// What it is.
        #[serde(rename = "found")]
        found: String,
    },
    /// What is committed orders a program to be run for a submodule.
    #[serde(rename = "submodule_order")]
    SubmoduleOrder {
        /// The repository.
        #[serde(rename = "repository")]
        repository: String,
        /// Name and value of the setting in `.gitmodules`.
        #[serde(rename = "setting")]
        setting: String,
    },
}

impl SourceFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            SourceFault::ReferenceMissing { .. }
            | SourceFault::RevisionGone { .. }
            | SourceFault::RevisionNotInBundle { .. }
            | SourceFault::SubmoduleAddress { .. }
            | SourceFault::SubmoduleOrder { .. } => FaultClass::Permanent,
            SourceFault::NothingOffered { .. } => FaultClass::NeedsChange,
            SourceFault::PinNotNamed { .. } | SourceFault::ForeignClone { .. } => FaultClass::Unsafe,
        }
    }
}
