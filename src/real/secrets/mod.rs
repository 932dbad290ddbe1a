//! Keys and passphrases: where they come from, their forms as text, and the places they go to.

pub mod age_file;
pub mod age_identity;
pub mod age_locked;
pub(crate) mod age_text;
pub mod age_unused;
pub mod credentials;
pub mod descriptor;
pub(crate) mod key_kind;
pub mod key_text;
pub mod made_key;
pub mod passphrase;
pub mod placement;
