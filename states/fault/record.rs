//! A fault as it is written down: its words.
//!
//! This is a format of its own, separate from [`Fault`](super::Fault): a part of the checkpoint, of events and of the status,
//! whose bytes are fixed.
//!
//! `fault::text` makes the words.

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

/// A text that somebody else may have written, for a terminal: what would move its cursor or turn its direction is escaped.
fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .flat_map(|c| {
            let escaped = steers(c).then(|| c.escape_unicode());
            let as_is = (!steers(c)).then_some(c);
            escaped.into_iter().flatten().chain(as_is)
        })
        .collect()
}

impl FaultRecord {
    /// For people: a record on a disk may hold any text.
    pub fn shown(&self) -> Self {
        FaultRecord {
            what: plain(&self.what),
            why: plain(&self.why),
            next: plain(&self.next),
            ending: self.ending.as_deref().map(plain),
            ..self.clone()
        }
    }
}

impl fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", plain(&self.what), plain(&self.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_moves_no_cursor() {
        let evil = "a\u{1b}[2J\r\n\u{9b}1A\u{7f}\u{202e}b \u{e9}";
        let fault = FaultRecord {
            class: FaultClass::Permanent,
            what: evil.into(),
            why: evil.into(),
            next: evil.into(),
            wait_s: Some(u64::MAX),
            ending: Some(evil.into()),
        };
        let said = "a\\u{1b}[2J\\u{d}\\u{a}\\u{9b}1A\\u{7f}\\u{202e}b \u{e9}";
        let shown = fault.shown();
        assert_eq!([&shown.what, &shown.why, &shown.next], [said; 3]);
        assert_eq!(shown.ending.as_deref(), Some(said));
        assert_eq!(fault.to_string(), format!("{said}: {said}"));
        // The control: what steers nothing stays as it is.
        let honest = FaultRecord {
            what: "clone of https://forge.example/o/r".into(),
            ..shown
        };
        assert_eq!(honest.shown(), honest);
    }
}
