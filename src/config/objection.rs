//! Why an address is refused, and what to write.

/// Why an address is refused, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    /// Why.
    pub why: String,
    /// What to write.
    pub fix: String,
}
