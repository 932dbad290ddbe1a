//! What is wrong with a secret, or with an answer to a question: variants of [`Kind`](super::Kind), serialised like the
//! others.
//!
//! `text::secret` has the words.

use crate::fault::FaultClass;
use serde::Serialize;

/// What is wrong with a secret, or with an answer that somebody was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "values")]
pub enum SecretFault {
    /// The passphrase is wrong.
    #[serde(rename = "wrong_passphrase")]
    WrongPassphrase {
        /// What it does not open.
        #[serde(rename = "on")]
        on: String,
    },
    /// No passphrase was given.
    #[serde(rename = "passphrase_missing")]
    PassphraseMissing {
        /// What it would open.
        #[serde(rename = "of")]
        of: String,
        /// Whether nobody may be asked.
        #[serde(rename = "unattended")]
        unattended: bool,
    },
    /// The two entries of a new passphrase were different, in every attempt.
    #[serde(rename = "passphrases_differ")]
    PassphrasesDiffer {
        /// What it is for.
        #[serde(rename = "of")]
        of: String,
        /// How often it was asked for.
        #[serde(rename = "rounds")]
        rounds: u64,
    },
    /// A secret that the configuration asks for is not at hand.
    #[serde(rename = "secret_missing")]
    Missing {
        /// Its name as a credential.
        #[serde(rename = "credential")]
        credential: String,
        /// Its name on a medium.
        #[serde(rename = "file")]
        file: String,
        /// The label of that medium.
        #[serde(rename = "label")]
        label: String,
    },
    /// A secret cannot be used.
    #[serde(rename = "secret_unusable")]
    Unusable {
        /// Which.
        #[serde(rename = "on")]
        on: String,
        /// Why not.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// One guess at a passphrase costs less than the configuration's least.
    #[serde(rename = "weak_derivation")]
    WeakDerivation {
        /// Of what.
        #[serde(rename = "of")]
        of: String,
        /// What it costs.
        #[serde(rename = "found")]
        found: String,
        /// The least memory.
        #[serde(rename = "least")]
        least: String,
    },
    /// The medium with the secrets cannot be mounted.
    #[serde(rename = "key_medium")]
    KeyMedium {
        /// Its label.
        #[serde(rename = "label")]
        label: String,
        /// What the operating system said, last.
        #[serde(rename = "said")]
        said: String,
        /// The filesystems that are tried.
        #[serde(rename = "known")]
        known: Vec<String>,
    },
    /// A question on the terminal had no answer.
    #[serde(rename = "no_answer")]
    NoAnswer {
        /// Why not.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// Nobody agreed to an erasure, and nobody may be asked.
    #[serde(rename = "consent_missing")]
    ConsentMissing {
        /// What would be erased.
        #[serde(rename = "extent")]
        extent: String,
        /// Of which disk.
        #[serde(rename = "disk")]
        disk: String,
        /// Why what was said in advance is not enough.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// Nobody allowed the key that was made here.
    #[serde(rename = "key_not_allowed")]
    KeyNotAllowed {
        /// The repository that it was to read.
        #[serde(rename = "remote")]
        remote: String,
        /// Its public half.
        #[serde(rename = "public")]
        public: String,
        /// How long that was waited for, in seconds.
        #[serde(rename = "waited_s")]
        waited_s: u64,
    },
    /// The user that files are for is not on the target.
    #[serde(rename = "user_unknown")]
    UserUnknown {
        /// Its name.
        #[serde(rename = "user")]
        user: String,
        /// Whether the target has a list of users at all.
        #[serde(rename = "has_accounts")]
        has_accounts: bool,
    },
}

impl SecretFault {
    /// What may be done about it.
    pub(super) fn class(&self) -> FaultClass {
        match self {
            SecretFault::WrongPassphrase { .. }
            | SecretFault::PassphraseMissing { .. }
            | SecretFault::PassphrasesDiffer { .. }
            | SecretFault::Missing { .. }
            | SecretFault::Unusable { .. }
            | SecretFault::WeakDerivation { .. }
            | SecretFault::KeyMedium { .. }
            | SecretFault::NoAnswer { .. }
            | SecretFault::ConsentMissing { .. }
            | SecretFault::KeyNotAllowed { .. }
            | SecretFault::UserUnknown { .. } => FaultClass::NeedsChange,
        }
    }
}
