//! The last word of a run: the event that says how it ended. Law: every end has one, so that a run without it was killed.

use super::{Halt, Outcome};
use crate::event::Event;

/// The event that says how a run ended. No wildcard: a new outcome asks for its event here.
pub(super) fn of(result: &Result<Outcome, Halt>) -> Event {
    match result {
        Ok(Outcome::Landed { system, revision }) => Event::Landed {
            system: system.clone(),
            revision: revision.to_string(),
        },
        Ok(Outcome::AlreadyLanded { system, revision }) => Event::AlreadyLanded {
            system: system.clone(),
            revision: revision.to_string(),
        },
        Ok(Outcome::NothingToResume { why, remedy }) => Event::NothingToResume {
            why: why.clone(),
            next: remedy.to_string(),
        },
        Err(Halt {
            phase,
            fault,
            rule: _,
        }) => Event::Stopped {
            phase: *phase,
            fault: fault.into(),
        },
    }
}
