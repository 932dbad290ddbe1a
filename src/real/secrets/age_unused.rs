//! The reasons why a key with a passphrase is not used.

/// A key that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct Unusable {
    /// Its file.
    pub file: String,
    /// Why.
    pub why: Why,
}

/// The reason why a key with a passphrase is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is no terminal.
    #[error("it has a passphrase, and landfall cannot ask for it here (no terminal)")]
    NobodyAsked,
    /// What was typed is another one.
    #[error("the passphrase is wrong")]
    Wrong,
    /// It was made to be slow, and is too slow for this machine.
    #[error("its passphrase needs more computing work than landfall accepts for a file")]
    Slow,
    /// What it holds is not understood.
    #[error("{0}")]
    Held(String),
}
