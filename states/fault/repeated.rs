//! The same unknown error twice.
//!
//! An error that is in no table is tried once more. If the same program ends with the same last sentence of its own again, in
//! the next attempt at the same phase, that is permanent: a third attempt would end the same way. A reboot between the two
//! changes nothing, because the mark of the error is kept with the last fault in the checkpoint.
//!
//! Any other fault between the two, or an attempt that succeeded, starts the count again. What is known to pass by itself (a
//! lost connection) has no mark and is never counted.
//!
//! `kind::cause` has the known causes.

use super::{Fault, FaultRecord, Kind};
use crate::names::Digest;
use crate::phase::Phase;

/// Digits of a mark.
const MARK_DIGITS: usize = 16;

/// The mark of an ending: equal for the same program and the same sentence, whatever numbers, times, hashes and names of temporary files
/// are in it.
pub(crate) fn mark(program: &str, line: &str) -> String {
    let text = format!("landfall-ending-1\n{program}\n{}", essence(line));
    Digest::of(text.as_bytes()).as_str()[..MARK_DIGITS].to_owned()
}

/// A sentence without what changes from one attempt to the next. A word with a digit in it is a number, a time, a hash or a name that was
/// made up; behind `tmp` comes a name that was made up.
fn essence(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut word = String::new();
    let mut made_up = false;
    for c in line.chars().chain([' ']) {
        if c.is_alphanumeric() {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            let temporary = word.eq_ignore_ascii_case("tmp");
            if made_up || word.contains(|c: char| c.is_ascii_digit()) {
                // Several in a row are one: a time has more or fewer parts.
                if !out.ends_with('#') {
                    out.push('#');
                }
            } else {
                out.push_str(&word);
            }
            made_up = temporary;
            word.clear();
        }
        match c {
            // What stands between the parts of a number or of a time.
            '.' | ':' | '-' | '_' | ',' | '/' | ' ' | '\t' => {
                if !out.ends_with([' ', '#']) {
                    out.push(' ');
                }
            }
            c => {
                out.push(c);
                made_up = false;
            }
        }
    }
    out.trim().to_owned()
}

impl Kind {
    /// The mark of the ending, where it is one that is tried once more only.
    fn ending_mark(&self) -> Option<String> {
        if let Kind::SameEnding { last } | Kind::RetriesSpent { last, .. } = self {
            return last.ending_mark();
        }
        if let Kind::Ending {
            ended, cause, line, ..
        } = self
            && cause.is_doubtful()
        {
            return Some(mark(&ended.program, line));
        }
        None
    }
}

impl Fault {
    /// The mark of the ending that it is of, where that is one that is tried once more only.
    pub fn ending_mark(&self) -> Option<String> {
        self.kind.ending_mark()
    }
}

/// The ending of the last attempt, where it is one that is tried once more only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastEnding(Option<(Phase, FaultRecord)>);

impl LastEnding {
    /// As a record of a former run has it.
    pub fn recorded(phase: Phase, fault: Option<&FaultRecord>) -> Self {
        LastEnding(
            fault
                .filter(|fault| fault.ending.is_some())
                .map(|fault| (phase, fault.clone())),
        )
    }

    /// What the next fault at a phase is, behind this one; it is the last one from then on.
    pub fn follow(&mut self, phase: Phase, fault: Fault) -> Fault {
        let mark = fault.ending_mark();
        let same = match (&self.0, &mark) {
            (Some((at, last)), Some(mark)) => *at == phase && last.ending.as_ref() == Some(mark),
            _ => false,
        };
        let fault = if same { fault.again() } else { fault };
        self.0 = mark.map(|_| (phase, fault.record()));
        fault
    }

    /// An attempt at a phase ended well.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// What is written down of it with a record that claims this phase.
    pub fn at(&self, phase: Phase) -> Option<&FaultRecord> {
        match &self.0 {
            Some((at, fault)) if *at == phase => Some(fault),
            _ => None,
        }
    }
}

impl Fault {
    /// The same once more, which makes it permanent.
    fn again(self) -> Self {
        let Fault { kind, remedy, .. } = self;
        if let Kind::SameEnding { .. } = *kind {
            return Self::of(*kind, remedy);
        }
        Self::of(Kind::SameEnding { last: kind }, remedy)
    }
}

#[cfg(test)]
#[path = "repeated_tests.rs"]
mod tests;
