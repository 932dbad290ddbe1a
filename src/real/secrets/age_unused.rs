//! Why a key under a passphrase is not used.

/// A key that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct Unusable {
    /// Its file.
    pub file: String,
    /// Why.
    pub why: Why,
}

/// Why a key under a passphrase is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is no terminal.
    #[error("it has a passphrase, and nobody can be asked here (no terminal)")]
    NobodyAsked,
    /// What was typed is another one.
    #[error("the passphrase that was typed is wrong")]
    Wrong,
    /// It was made to be slow, and is too slow for this machine.
    #[error("a guess at its passphrase takes more work than this machine does for a file")]
    Slow,
    /// What it holds is not understood.
    #[error("{0}")]
    Held(String),
}
