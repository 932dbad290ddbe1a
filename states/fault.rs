//! What can go wrong, as a value. Law: a fault holds what was known when it arose ([`Kind`]) and what may be done about it
//! ([`Remedy`]); its class follows from its kind by an exhaustive match, and the class alone decides on retries and on the exit code.
//! Words are made of it in one place, `text`; whoever needs to know something of a fault asks its kind, never its words.
//!
//! Absent: a clock, and how often something is tried (`budget`).

mod budget;
mod kind;
mod record;
mod remedy;
mod text;

pub use budget::{AfterFault, Attempts, Budget};
pub use kind::{Cause, Ended, Kind, Limit, Os};
pub use record::FaultRecord;
pub use remedy::Remedy;

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
    /// How long the other side asked to wait, in seconds (HTTP `Retry-After`).
    pub retry_after_s: Option<u64>,
}

impl Fault {
    /// The fault of a kind.
    pub fn of(kind: Kind, remedy: impl Into<Remedy>) -> Self {
        Fault {
            class: kind.class(),
            kind: Box::new(kind),
            remedy: remedy.into(),
            retry_after_s: None,
        }
    }
    /// What the operating system refused; class and remedy follow from the error's number.
    pub fn os(on: impl Into<String>, os: Os) -> Self {
        let remedy = os.remedy();
        Self::of(Kind::Os { on: on.into(), os }, remedy)
    }
    /// Something that is judged where it is seen, and for which there is no kind of its own. What is known beside the class is
    /// kept as far as the cause holds it.
    pub fn new(
        class: FaultClass,
        on: impl Into<String>,
        cause: impl Into<Cause>,
        next: impl Into<Remedy>,
    ) -> Self {
        let (on, cause) = (on.into(), cause.into());
        Self::of(Kind::judged(class, on, cause), next)
    }
    /// See [`FaultClass::Transient`].
    pub fn transient(on: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::new(FaultClass::Transient, on, cause, Remedy::resume())
    }
    /// See [`FaultClass::NeedsChange`].
    pub fn needs_change(on: impl Into<String>, cause: impl Into<Cause>, next: impl Into<Remedy>) -> Self {
        Self::new(FaultClass::NeedsChange, on, cause, next)
    }
    /// See [`FaultClass::Permanent`].
    pub fn permanent(on: impl Into<String>, cause: impl Into<Cause>, next: impl Into<Remedy>) -> Self {
        Self::new(FaultClass::Permanent, on, cause, next)
    }
    /// See [`FaultClass::Hardware`].
    pub fn hardware(on: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::new(FaultClass::Hardware, on, cause, Remedy::replace_device())
    }
    /// See [`FaultClass::Unsafe`].
    pub fn unsafe_(on: impl Into<String>, cause: impl Into<Cause>, next: impl Into<Remedy>) -> Self {
        Self::new(FaultClass::Unsafe, on, cause, next)
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

    /// The same with another next thing to do.
    pub fn with_next(self, next: impl Into<Remedy>) -> Self {
        Fault {
            remedy: next.into(),
            ..self
        }
    }

    /// The same, and the other side asked to wait so long, in seconds.
    pub fn retry_after(self, s: u64) -> Self {
        Fault {
            retry_after_s: Some(s),
            ..self
        }
    }

    /// The same after the retries of a run.
    pub fn after_retries(self, retries: u32) -> Self {
        let Fault {
            class: _,
            kind,
            remedy,
            retry_after_s,
        } = self;
        Fault {
            retry_after_s,
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
#[path = "fault_tests.rs"]
mod tests;
