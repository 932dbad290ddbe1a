//! Every text of an event, for the check that looks for secrets.

use crate::event::{Event, FaultTold};

/// Every text of an event, for whoever looks for secrets.
pub(crate) fn texts(event: &Event, each: &mut dyn FnMut(&str)) {
    match event {
        Event::Started {
            version,
            host,
            command,
        } => [version, host, command].into_iter().for_each(|text| each(text)),
        Event::DiskChosen {
            device,
            identity,
            why,
        } => [device, identity, why].into_iter().for_each(|text| each(text)),
        Event::Checked { what, found } => [what, found].into_iter().for_each(|text| each(text)),
        Event::Output { program, line } => [program, line].into_iter().for_each(|text| each(text)),
        Event::Landed { system, revision } | Event::AlreadyLanded { system, revision } => {
            [system, revision].into_iter().for_each(|text| each(text))
        }
        Event::NothingToResume { why, list, next } => {
            [why, next].into_iter().chain(list).for_each(|text| each(text))
        }
        Event::Decided { what, .. }
        | Event::Begun { what, .. }
        | Event::Step { what }
        | Event::Progress { what, .. }
        | Event::Asking { what, .. }
        | Event::Notice { what } => each(what),
        Event::Failed { fault, .. } | Event::Stopped { fault, .. } => {
            let FaultTold {
                record,
                kind: _,
                values,
                remedy,
            } = fault;
            [&record.what, &record.why, &record.next]
                .into_iter()
                .for_each(|text| each(text));
            for value in [values, remedy].into_iter().flatten() {
                each(&value.to_string());
            }
        }
        Event::Found { .. } | Event::Reached { .. } | Event::Saved { .. } | Event::RetryIn { .. } => {}
    }
}
