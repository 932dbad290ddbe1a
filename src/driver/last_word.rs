//! The last word of a run: the event that says how it ended. Every end has one, so that a run without it was killed.

use super::{Halt, Outcome};
use crate::event::Event;
use crate::world::Survey;
use landfall_states::fault::{Fault, FaultClass, Kind};
use landfall_states::names::HostName;

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
        Ok(Outcome::NothingToResume { why, list, remedy }) => Event::NothingToResume {
            why: why.clone(),
            list: list.clone(),
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

/// Whether a fault is of what there is, and not of the moment, or of a disk that cannot be read and may carry an install.
pub(super) fn is_lasting(class: FaultClass) -> bool {
    match class {
        FaultClass::NeedsChange | FaultClass::Permanent | FaultClass::Unsafe => true,
        FaultClass::Transient | FaultClass::Hardware | FaultClass::Interrupted => false,
    }
}

/// Why a resume has nothing to continue, where no disk carries an install and none could take one; with what that lists.
pub(super) fn nothing_there(
    host: &HostName,
    survey: &Survey,
    has_record: bool,
    fault: &Fault,
) -> Option<(String, Vec<String>)> {
    let is_of_choice = !survey.named && survey.choice.as_ref().err() == Some(fault);
    if has_record || !is_of_choice || !is_lasting(fault.class) {
        return None;
    }
    let (reason, list) = fault.reasons();
    let of_what = match &*fault.kind {
        Kind::NoChoice { .. } => String::new(),
        _ => format!("{}: ", fault.what()),
    };
    let why =
        format!("no attached disk holds an install of {host}, and no disk can take one: {of_what}{reason}");
    Some((why, list))
}
