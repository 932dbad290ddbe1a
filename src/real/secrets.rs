//! Secrets: where they come from, and that they go nowhere else.

/// Secrets at hand.
#[derive(Debug, Default)]
pub struct Vault {}
