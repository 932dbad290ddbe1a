//! Bugs that are planted to see whether the checks notice. Law: each is one line somewhere in the simulated world, is off
//! unless asked for, and names the invariant that must catch it.
//!
//! Absent: bugs of the driver and of the states; mutation testing finds those.

use super::checks::Invariant;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Old signatures are wiped, and not flushed before the table is written.
    WipeUnflushed,
    /// A volume gets its planned id before the rest of it is durable.
    CommitUnflushed,
    /// A volume gets its planned id without a look at what was made.
    CommitUnchecked,
    /// Both slots are written at once.
    BothSlots,
    /// A slot is written and not flushed.
    SlotUnflushed,
    /// Landing neither unmounts nor flushes, and says that it did.
    LandUnflushed,
    /// The boot loader is taken to be right because its installer ended well.
    TrustExitCode,
    /// A finished root is taken for one in the making.
    FormatAgain,
    /// The ESP is found by its label.
    ByLabel,
    /// The disk is not identified again.
    SkipIdentity,
    /// Consent is taken from the record of a former run.
    ConsentFromRecord,
    /// A refusal is taken for consent.
    AssumeYes,
    /// Contents of the store are called verified without looking.
    TrustDatabase,
    /// Looking at the clone repairs it.
    LookRepairs,
    /// A second `nixos-install` adds a generation.
    NotIdempotent,
    /// A program's argument list with the passphrase is told.
    LogPassphrase,
    /// Swap of another disk is wiped on the way.
    TouchOther,
    /// Everything that is mapped is closed at the end.
    CloseAll,
    /// The backup copy of the table is called damaged.
    RewriteTable,
    /// What a killed run left in caches is not flushed before it is believed.
    HoldUnflushed,
    /// Looking for a former install mounts its ESP for writing.
    SurveyWrites,
    /// One look fails for ever.
    NeverSettles,
    /// A clone that is whole is called absent when the run is a resume.
    RedoClone,
    /// Only the first slot is read.
    OneSlotRead,
    /// Slots of a newer format are called empty.
    NewerIsEmpty,
    /// The order of events depends on something outside.
    Unrepeatable,
}

impl Bug {
    /// Every bug, with the invariant that must catch it.
    pub const ALL: [(Bug, Invariant); 26] = [
        (Bug::WipeUnflushed, Invariant::Lands),
        (Bug::CommitUnflushed, Invariant::Lands),
        (Bug::CommitUnchecked, Invariant::Lands),
        (Bug::BothSlots, Invariant::OneSlotAtATime),
        (Bug::SlotUnflushed, Invariant::SavedIsKept),
        (Bug::LandUnflushed, Invariant::LandedIsWhole),
        (Bug::TrustExitCode, Invariant::LandedIsWhole),
        (Bug::FormatAgain, Invariant::FormatOnce),
        (Bug::ByLabel, Invariant::ByIdentity),
        (Bug::SkipIdentity, Invariant::IdentityAgain),
        (Bug::ConsentFromRecord, Invariant::ConsentLives),
        (Bug::AssumeYes, Invariant::ConsentFirst),
        (Bug::TrustDatabase, Invariant::LandedIsWhole),
        (Bug::LookRepairs, Invariant::Idempotent),
        (Bug::NotIdempotent, Invariant::SameEnd),
        (Bug::LogPassphrase, Invariant::NoSecrets),
        (Bug::TouchOther, Invariant::OthersUntouched),
        (Bug::CloseAll, Invariant::StrangersStay),
        (Bug::RewriteTable, Invariant::TableOnce),
        (Bug::HoldUnflushed, Invariant::OneSlotAtATime),
        (Bug::SurveyWrites, Invariant::LandedRests),
        (Bug::NeverSettles, Invariant::Ends),
        (Bug::RedoClone, Invariant::NothingTwice),
        (Bug::OneSlotRead, Invariant::Chain),
        (Bug::NewerIsEmpty, Invariant::UnknownStops),
        (Bug::Unrepeatable, Invariant::Repeatable),
    ];
}
