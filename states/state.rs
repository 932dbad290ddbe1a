//! The states, and the data of each.
//!
//! A state has private fields. The first one is made at the beginning of a run, and every other one by `advance` with the
//! proof of the action before it.
//!
//! `actions` has the actions between them.

use crate::names::{Revision, StorePath};
use crate::phase::{Phase, RecordedPhase};
use crate::plan::Plan;

/// What travels along with every state.
#[derive(Debug, Clone)]
pub(crate) struct RunContext {
    pub(crate) plan: Plan,
    pub(crate) revision: Revision,
    /// What the checkpoint claimed when this run began. Makes judging stricter, never laxer.
    pub(crate) claimed: Option<Phase>,
    /// Whether the last writer stopped uncleanly: contents are verified before they are trusted.
    pub(crate) unclean: bool,
    /// Whether nothing but a record that nobody proved asks for the revision. Makes judging stricter, never laxer.
    pub(crate) is_wish: bool,
    /// The system that a proved record says the revision comes to.
    pub(crate) vouched: Option<StorePath>,
}

impl RunContext {
    /// Whether the checkpoint claimed that `phase` was reached.
    pub(crate) fn claims(&self, phase: Phase) -> bool {
        self.claimed.is_some_and(|claimed| claimed >= phase)
    }
}

/// One type for every state. From `Realised` on it has the system.
macro_rules! states {
    ($($(#[$doc:meta])* $name:ident $(with $system:ident)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            pub(crate) context: RunContext,
            $(pub(crate) $system: StorePath,)?
        }

        impl $name {
            /// The plan.
            pub fn plan(&self) -> &Plan {
                &self.context.plan
            }

            /// The pinned revision.
            pub fn revision(&self) -> &Revision {
                &self.context.revision
            }

            /// The same, where what is on the target is verified before it is trusted.
            pub fn distrusted(mut self) -> Self {
                self.context.unclean = true;
                self
            }

            $(
                /// The system.
                pub fn $system(&self) -> &StorePath {
                    &self.$system
                }
            )?
        }
    )*};
}

states! {
    /// The disk is identified and every id is fixed.
    Planned;
    /// The table is ours in both copies.
    Partitioned;
    /// The checkpoint lives on the ESP.
    Anchored;
    /// The LUKS container, if any, is ours and opens.
    Encrypted;
    /// Filesystems and swap are ours.
    Formatted;
    /// The pinned revision is whole on the target.
    Cloned;
    /// The system's closure is valid on the target store.
    Realised with system;
    /// The profile is set and the system activated.
    Installed with system;
    /// The disk boots the system.
    Bootable with system;
    /// Everything that the first boot needs is on the disk.
    Provisioned with system;
    /// Finished: nothing leads out of here, and this type has no action.
    Landed with system;
}

/// The next state, where the proof has nothing to add to it.
macro_rules! advances {
    ($from:ident, $proof:ident, $to:ident $(with $system:ident)?) => {
        impl $crate::state::$from {
            /// The next state.
            pub fn advance(self, _proof: $proof) -> $crate::state::$to {
                $crate::state::$to {
                    context: self.context,
                    $($system: self.$system,)?
                }
            }
        }
    };
}
pub(crate) use advances;

impl Planned {
    /// The beginning of every run, first or resumed. `claimed` is what the believed checkpoint said, `unclean` whether
    /// the last writer stopped without saying so.
    pub fn new(plan: Plan, revision: Revision, claimed: Option<Phase>, unclean: bool) -> Self {
        Planned {
            context: RunContext {
                plan,
                revision,
                claimed,
                unclean,
                is_wish: false,
                vouched: None,
            },
        }
    }

    /// The revision is asked for by a record that nobody proved, and by nothing else.
    pub fn on_a_wish(mut self, is_wish: bool) -> Self {
        self.context.is_wish = is_wish;
        self
    }

    /// A proved record says that the revision comes to this system.
    pub fn vouched_for(mut self, system: Option<StorePath>) -> Self {
        self.context.vouched = system;
        self
    }
}

/// Where the install is.
#[derive(Debug)]
pub enum State {
    /// See [`Planned`].
    Planned(Planned),
    /// See [`Partitioned`].
    Partitioned(Partitioned),
    /// See [`Anchored`].
    Anchored(Anchored),
    /// See [`Encrypted`].
    Encrypted(Encrypted),
    /// See [`Formatted`].
    Formatted(Formatted),
    /// See [`Cloned`].
    Cloned(Cloned),
    /// See [`Realised`].
    Realised(Realised),
    /// See [`Installed`].
    Installed(Installed),
    /// See [`Bootable`].
    Bootable(Bootable),
    /// See [`Provisioned`].
    Provisioned(Provisioned),
    /// See [`Landed`].
    Landed(Landed),
}

impl State {
    /// The state as a checkpoint states it.
    pub fn claim(&self) -> RecordedPhase {
        match self {
            State::Planned(_) => RecordedPhase::Planned,
            State::Partitioned(_) => RecordedPhase::Partitioned,
            State::Anchored(_) => RecordedPhase::Anchored,
            State::Encrypted(_) => RecordedPhase::Encrypted,
            State::Formatted(_) => RecordedPhase::Formatted,
            State::Cloned(_) => RecordedPhase::Cloned,
            State::Realised(s) => RecordedPhase::Realised(s.system().clone()),
            State::Installed(s) => RecordedPhase::Installed(s.system().clone()),
            State::Bootable(s) => RecordedPhase::Bootable(s.system().clone()),
            State::Provisioned(s) => RecordedPhase::Provisioned(s.system().clone()),
            State::Landed(s) => RecordedPhase::Landed(s.system().clone()),
        }
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.claim().phase()
    }

    /// The same, where what is on the target is verified before it is trusted.
    pub fn distrusted(self) -> State {
        match self {
            State::Planned(s) => State::Planned(s.distrusted()),
            State::Partitioned(s) => State::Partitioned(s.distrusted()),
            State::Anchored(s) => State::Anchored(s.distrusted()),
            State::Encrypted(s) => State::Encrypted(s.distrusted()),
            State::Formatted(s) => State::Formatted(s.distrusted()),
            State::Cloned(s) => State::Cloned(s.distrusted()),
            State::Realised(s) => State::Realised(s.distrusted()),
            State::Installed(s) => State::Installed(s.distrusted()),
            State::Bootable(s) => State::Bootable(s.distrusted()),
            State::Provisioned(s) => State::Provisioned(s.distrusted()),
            State::Landed(s) => State::Landed(s.distrusted()),
        }
    }
}
