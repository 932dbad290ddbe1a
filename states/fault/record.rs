//! A fault as it is written down: its words. Law: this is a format of its own, apart from [`Fault`](super::Fault): a part of the
//! checkpoint, of events and of the status, whose bytes are fixed.
//!
//! Absent: making words (`text`).

use super::FaultClass;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is kept of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// What may be done.
    #[serde(rename = "class")]
    pub class: FaultClass,
    /// The thing and its value, e.g. `clone of https://…`.
    #[serde(rename = "what")]
    pub what: String,
    /// The reason.
    #[serde(rename = "why")]
    pub why: String,
    /// The next command or change, as a person would type or do it.
    #[serde(rename = "next")]
    pub next: String,
    /// How long is waited at least before it is tried again, in seconds.
    #[serde(rename = "retry_after_s")]
    pub wait_s: Option<u64>,
    /// The mark of the ending, where it is one that is tried once more only (`repeated`). Records of before there were marks have
    /// none, and their readers pass over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "ending")]
    pub ending: Option<String>,
}

impl FaultRecord {
    /// With the texts cut to what a checkpoint has room for.
    pub fn abridged(&self, bytes_max: usize) -> Self {
        let cut = |text: &str| {
            let mut end = text.len().min(bytes_max);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            if end < text.len() {
                format!("{}…", &text[..end])
            } else {
                text.to_owned()
            }
        };
        FaultRecord {
            what: cut(&self.what),
            why: cut(&self.why),
            next: cut(&self.next),
            ..self.clone()
        }
    }
}

impl fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}
