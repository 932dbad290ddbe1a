//! An event as a line: its time, the rate of a count, and the writer that lines go to.
//!
//! `cli::words` makes the text of an event; `cli::progress` and `cli::log` choose where lines go.

use super::words::{self, Weight};
use super::{print_error, since_boot_ms};
use crate::event::Event;
use crate::os_error::said;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// A line of a log or of `--progress json`: an event with the milliseconds since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since boot, suspend included.
    #[serde(rename = "at_ms")]
    pub at_ms: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// A clock in milliseconds that never goes back.
pub type Clock = Box<dyn Fn() -> u64 + Send>;

/// The clock of this machine.
pub fn clock() -> Clock {
    Box::new(since_boot_ms)
}

/// A writer that says once when it can write no more, and is silent from then on.
pub(super) struct QuietWriter<W> {
    what: String,
    out: Option<W>,
}

impl<W: Write> QuietWriter<W> {
    pub(super) fn new(what: impl Into<String>, out: W) -> Self {
        QuietWriter {
            what: what.into(),
            out: Some(out),
        }
    }

    /// Whether what is written goes anywhere.
    pub(super) fn is_open(&self) -> bool {
        self.out.is_some()
    }

    /// From now on nothing is written.
    pub(super) fn give_up(&mut self) {
        self.out = None;
    }

    pub(super) fn write(&mut self, text: &str) {
        if let Some(out) = &mut self.out
            && let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        {
            self.out = None;
            print_error(&format!(
                "landfall: {} cannot be written: {}; the work continues",
                self.what,
                said(&error)
            ));
        }
    }
}

/// How fast a count goes, from the first one that was seen of it.
#[derive(Default)]
pub(super) struct Speed {
    /// What is counted, with the first count and its time.
    first: Option<(String, u64, u64)>,
}

impl Speed {
    /// Forgets what was counted: another step has begun.
    pub(super) fn begin(&mut self) {
        self.first = None;
    }

    /// The rate and the time left, to be put behind a count; empty while they are not known. Every count has to be shown here.
    pub(super) fn of(&mut self, event: &Event, now_ms: u64) -> String {
        let Event::Progress {
            what,
            done,
            total,
            unit,
        } = event
        else {
            return String::new();
        };
        let first = match &self.first {
            Some((counted, first, at_ms)) if counted == what && first <= done => (*first, *at_ms),
            Some(_) | None => {
                self.first = Some((what.clone(), *done, now_ms));
                (*done, now_ms)
            }
        };
        let rate = words::rate(first, (*done, now_ms), unit);
        let left = words::left(first, (*done, now_ms), *total, unit);
        [rate, left]
            .into_iter()
            .flatten()
            .map(|text| format!(", {text}"))
            .collect()
    }
}

/// One line for people, with the seconds since boot.
pub(super) fn plain_line(at_ms: u64, event: &Event) -> String {
    let (weight, text) = words::of(event);
    let mark = match weight {
        Weight::Detail | Weight::Count | Weight::Line => ' ',
        Weight::Alarm => '!',
    };
    format!("[{:>6}.{:03}]{mark}{text}", at_ms / 1_000, at_ms % 1_000)
}
