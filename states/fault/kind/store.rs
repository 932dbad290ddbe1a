//! What is wrong with a Nix store, or with the system in it: variants of [`Kind`](super::Kind), serialised like the others.
//!
//! `text::store` has the words.

use crate::fault::FaultClass;
use crate::fault::kind::Ended;
use serde::Serialize;

/// What is wrong with a Nix store, or with the system in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum StoreFault {
    /// The installer's store does not have the system.
    #[serde(rename = "system_missing")]
    SystemMissing {
        /// Which.
        #[serde(rename = "system")]
        system: String,
        /// How the program that looked ended.
        #[serde(flatten)]
        ended: Ended,
    },
    /// A system is not in the closure that it is said to be of.
    #[serde(rename = "not_in_closure")]
    NotInClosure {
        /// Which.
        #[serde(rename = "system")]
        system: String,
        /// How many paths the closure has.
        #[serde(rename = "paths")]
        paths: u64,
    },
    /// Paths that came whole from the image are wrong now.
    #[serde(rename = "paths_lost")]
    PathsLost {
        /// Of which system.
        #[serde(rename = "system")]
        system: String,
        /// The first of them.
        #[serde(rename = "paths")]
        paths: Vec<String>,
        /// How many others.
        #[serde(rename = "more")]
        more: u64,
    },
    /// Nix cannot read the database that it just made.
    #[serde(rename = "database_unusable")]
    DatabaseUnusable {
        /// Which.
        #[serde(rename = "database")]
        database: String,
        /// What Nix said.
        #[serde(rename = "said")]
        said: String,
    },
    /// The database became unusable while it was used.
    #[serde(rename = "database_broke")]
    DatabaseBroke {
        /// Which.
        #[serde(rename = "database")]
        database: String,
        /// What Nix said.
        #[serde(rename = "said")]
        said: String,
    },
    /// Nix cannot read an empty store either.
    #[serde(rename = "nix_unusable")]
    NixUnusable {
        /// What it said.
        #[serde(rename = "said")]
        said: String,
    },
    /// A part of the activation failed without which the target cannot be used.
    #[serde(rename = "activation_incomplete")]
    ActivationIncomplete {
        /// Of which system.
        #[serde(rename = "system")]
        system: String,
        /// Which part.
        #[serde(rename = "part")]
        part: String,
        /// What the target lacks.
        #[serde(rename = "lacks")]
        lacks: String,
        /// The last lines.
        #[serde(rename = "said")]
        said: String,
    },
}

impl StoreFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            StoreFault::SystemMissing { .. }
            | StoreFault::NotInClosure { .. }
            | StoreFault::NixUnusable { .. } => FaultClass::NeedsChange,
            StoreFault::PathsLost { .. } => FaultClass::Hardware,
            StoreFault::DatabaseUnusable { .. } => FaultClass::Permanent,
            StoreFault::DatabaseBroke { .. } | StoreFault::ActivationIncomplete { .. } => {
                FaultClass::Transient
            }
        }
    }
}
