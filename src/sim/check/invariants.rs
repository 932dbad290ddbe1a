//! The invariants by name and number, and a breach of one.
//!
//! `check::watch` watches them.

use std::fmt;
use std::hash::Hash;

/// What always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Invariant {
    /// No write reaches any disk but the confirmed one.
    OnlyTheTarget = 1,
    /// Nothing destructive before consent.
    ConsentFirst = 2,
    /// Identity is checked again between permit and effect.
    IdentityAgain = 3,
    /// A durable planned table is never rewritten.
    TableOnce = 4,
    /// A finished filesystem or container is never formatted again.
    FormatOnce = 5,
    /// Consent never comes from a checkpoint.
    ConsentLives = 6,
    /// Whatever the slots hold, no more is destroyed than without a checkpoint.
    SlotsPermitNothing = 7,
    /// An acknowledged save is recoverable.
    SavedIsKept = 8,
    /// The sequence rises and the chain holds.
    Chain = 9,
    /// Never both slots in one flush epoch.
    OneSlotAtATime = 10,
    /// No kernel name or label as identity of something that is changed.
    ByIdentity = 11,
    /// Unconfirmed disks are byte-identical afterwards.
    OthersUntouched = 12,
    /// Landed only after re-read postconditions and device flushes.
    LandedIsWhole = 13,
    /// A landed disk gets no write from an unattended start.
    LandedRests = 14,
    /// No secret but in its declared file.
    NoSecrets = 15,
    /// Unknown state or version: no destruction.
    UnknownStops = 16,
    /// Mounts and mappings that are not ours are left alone.
    ForeignMappingsStay = 17,
    /// One writer.
    OneWriter = 18,
    /// Finitely many faults, then quiet: it ends.
    Ends = 19,
    /// Recoverable faults: it lands.
    Lands = 20,
    /// A resume redoes at most the interrupted phase.
    NothingTwice = 21,
    /// The final state is the fault-free run's.
    SameEnd = 22,
    /// Every action twice is once; looking changes nothing.
    Idempotent = 23,
    /// The same seed gives the same trace.
    Repeatable = 24,
    /// What landed is started by this firmware, from its own root, and unlocked by what a person can type.
    LandedBoots = 25,
    /// Nothing that is only on the disk has a program run.
    TakesNoOrders = 26,
    /// What is evaluated and activated is what the configuration names, whatever a record or the target asks for.
    OnlyTheNamed = 27,
    /// A run that is not killed says how it ended, once, as its last word.
    EndTold = 28,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{} {self:?}", *self as u8)
    }
}

/// A breach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Of what.
    pub invariant: Invariant,
    /// How.
    pub how: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.how)
    }
}
