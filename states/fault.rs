//! What can go wrong, as a value.
//!
//! A fault holds what was known when it arose ([`Kind`]) and what may be done about it ([`Remedy`]). Its class follows from
//! its kind by an exhaustive match, and the class alone decides about retries and the exit code. Code that needs to know
//! something about a fault asks its kind, never its words.
//!
//! `fault::text` makes the words, in one place, and `fault::budget` decides how often something is tried.

mod budget;
mod kind;
mod record;
mod remedy;
mod repeated;
mod text;

pub use budget::{AfterFault, Attempts, Budget};
pub use kind::{
    Cause, ConfigFault, DeviceFault, Ended, ImageFault, Kind, Limit, MachineFault, Os, PlaceFault, RoomFault,
    SecretFault, SourceFault, StoreFault,
};
pub use record::FaultRecord;
pub use remedy::Remedy;
pub use repeated::LastEnding;

use serde::{Deserialize, Serialize};
use std::fmt;

/// What may be done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FaultClass {
    /// Network, busy device, server trouble: retried within the budget.
    #[serde(rename = "Transient")]
    Transient,
    /// Something outside has to change (clock, space, passphrase, a missing tool): stop and say what.
    #[serde(rename = "NeedsChange")]
    NeedsChange,
    /// The same again would fail the same way (revision gone, evaluation error): stop, keep everything.
    #[serde(rename = "Permanent")]
    Permanent,
    /// The device reports errors: stop, no more writes.
    #[serde(rename = "Hardware")]
    Hardware,
    /// Identity, fork, foreign data: stop, never retried.
    #[serde(rename = "Unsafe")]
    Unsafe,
    /// A person or a signal asked to stop: everything is saved.
    #[serde(rename = "Interrupted")]
    Interrupted,
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultClass::Transient => "transient",
            FaultClass::NeedsChange => "needs a change",
            FaultClass::Permanent => "permanent",
            FaultClass::Hardware => "hardware",
            FaultClass::Unsafe => "unsafe",
            FaultClass::Interrupted => "interrupted",
        })
    }
}

/// One fault. It holds no secrets; its words are kept in checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What may be done: that of the kind.
    pub class: FaultClass,
    /// What was known.
    pub kind: Box<Kind>,
    /// What to do next.
    pub remedy: Remedy,
    /// How long is waited at least before it is tried again, in seconds.
    pub wait_s: Option<u64>,
}

impl Fault {
    /// The fault of a kind. A kind of one thing (such as [`MachineFault`]) is a fault by itself where it always has the same
    /// next thing to do.
    pub fn of(kind: impl Into<Kind>, remedy: Remedy) -> Self {
        let kind = kind.into();
        Fault {
            class: kind.class(),
            kind: Box::new(kind),
            remedy,
            wait_s: None,
        }
    }
    /// What the operating system refused; class and remedy follow from the error's number.
    pub fn os(on: impl Into<String>, os: Os) -> Self {
        let remedy = os.remedy();
        Self::of(Kind::Os { on: on.into(), os }, remedy)
    }
    /// A program did not do what it was started for; `class` is what that means, as judged from what it said. One that a signal
    /// ended (memory ran out, somebody killed it) may do better next time.
    pub fn program(class: FaultClass, on: impl Into<String>, ended: Ended, next: Remedy) -> Self {
        let on = on.into();
        let class = match (class, ended.code) {
            (FaultClass::Permanent, None) => FaultClass::Transient,
            (class, Some(_) | None) => class,
        };
        Self::of(Kind::Program { on, ended, class }, next)
    }
    /// A program ended as its table of endings knows it; `line` is the sentence of its own that says so, else its last one.
    pub fn ending(cause: Cause, on: impl Into<String>, ended: Ended, line: impl Into<String>) -> Self {
        let (on, line) = (on.into(), line.into());
        let kind = Kind::Ending {
            on,
            ended,
            cause,
            line,
        };
        Fault {
            wait_s: cause.wait_s(),
            ..Self::of(kind, cause.remedy())
        }
    }
    /// What was read back is not what was written, and that can only be the medium; `found` says how it differs.
    pub fn read_back(on: impl Into<String>, found: impl Into<String>) -> Self {
        let (on, found) = (on.into(), found.into());
        Self::of(Kind::ReadBack { on, found }, Remedy::replace_device())
    }
    /// A fault of which nothing is known but its class: the simulation and tests inject such.
    pub fn injected(class: FaultClass, on: impl Into<String>, reason: impl Into<String>) -> Self {
        let remedy = match class {
            FaultClass::Hardware => Remedy::replace_device(),
            FaultClass::Transient
            | FaultClass::NeedsChange
            | FaultClass::Permanent
            | FaultClass::Unsafe
            | FaultClass::Interrupted => Remedy::resume(),
        };
        let other = Kind::Other {
            on: on.into(),
            reason: reason.into(),
            list: vec![],
            class,
        };
        Self::of(other, remedy)
    }
    /// What can only be a defect of landfall.
    pub fn defect(on: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(
            Kind::Defect {
                on: on.into(),
                detail: detail.into(),
            },
            Remedy::report(),
        )
    }

    /// What the ending of a program meant, where it is about one.
    pub fn cause(&self) -> Option<Cause> {
        self.kind.cause()
    }

    /// The same with another next thing to do.
    pub fn with_next(self, next: Remedy) -> Self {
        Fault { remedy: next, ..self }
    }

    /// The same, where no install was begun that could be gone on with.
    pub fn before_begin(self) -> Self {
        Fault {
            remedy: self.remedy.before_begin(),
            ..self
        }
    }

    /// The same, and so long is waited at least, in seconds.
    pub fn waiting(self, s: u64) -> Self {
        Fault {
            wait_s: Some(s),
            ..self
        }
    }

    /// The same after the retries of a run.
    pub fn after_retries(self, retries: u32) -> Self {
        let Fault {
            class: _,
            kind,
            remedy,
            wait_s,
        } = self;
        Fault {
            wait_s,
            ..Self::of(Kind::RetriesSpent { last: kind, retries }, remedy)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.why())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
use crate::fault;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod kind_tests;
#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
