//! What is found during an install.
//!
//! A finding stays, whatever happens to the install later.
//!
//! [`super::trial`], [`super::checks`] and [`super::acknowledged`] make findings.

use anyhow::{Error, anyhow};
use serde::Serialize;

/// What kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// A table, a header, a finished volume or another disk changed, or an acknowledged checkpoint was lost.
    Changed,
    /// A run stopped, and no fault explains it; a later one landed.
    Stopped,
    /// It did not land.
    Stuck,
    /// It landed and did not boot.
    Unbootable,
    /// The laboratory itself failed.
    Laboratory,
}

impl Finding {
    /// In a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Changed => "changed",
            Finding::Stopped => "stopped without a reason",
            Finding::Stuck => "stuck",
            Finding::Unbootable => "does not boot",
            Finding::Laboratory => "the laboratory failed",
        }
    }
}

/// What an install is found to be that ended by an error: of one that is lost to the emulator what was found before stays.
pub fn ended(
    before: Option<(Finding, String)>,
    last: (Finding, String),
    is_lost: bool,
) -> Option<(Finding, String)> {
    if is_lost {
        return before;
    }
    let (finding, mut text) = last;
    if let Some((earlier, said)) = before.filter(|(_, said)| !text.contains(said)) {
        text.push_str(&format!("\nbefore that: {}: {said}", earlier.name()));
    }
    Some((finding, text))
}

/// A finding as an error.
#[derive(Debug)]
pub struct Failed(pub Finding, pub String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.name(), self.1)
    }
}

impl std::error::Error for Failed {}

/// One as an error.
pub fn found(finding: Finding, text: String) -> Error {
    anyhow!(Failed(finding, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_excuses_nothing_that_was_found_before() {
        let stopped = || (Finding::Stopped, "ended with 7".to_owned());
        let late = || (Finding::Stuck, "no end".to_owned());
        assert_eq!(ended(Some(stopped()), late(), true), Some(stopped()));
        assert_eq!(ended(None, late(), true), None);
        assert_eq!(ended(None, late(), false), Some(late()));
        let both = ended(Some(stopped()), late(), false).unwrap();
        assert_eq!(both.0, Finding::Stuck);
        assert!(
            both.1.contains("no end")
                && both
                    .1
                    .contains("before that: stopped without a reason: ended with 7")
        );
    }
}
