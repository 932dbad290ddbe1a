//! What is around landfall and can fail: the network, the machine, the remote.
//!
//! Each is a value with a name.
//!
//! `world::environment` has its effect on the machine, and `inject::schedule` says when it happens.

use std::hash::Hash;

/// How the network fails. Nothing, or half of what was asked for, has come by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// The name is not resolved.
    Unresolved,
    /// The connection is refused.
    Refused,
    /// It breaks in the middle.
    Reset,
    /// It falls silent in the middle, until the limit on silence.
    Stalled,
    /// The forge's limit of requests is reached, for minutes. Who comes back earlier waits again.
    TooMany,
    /// What came is not what was asked for, and the program notices.
    WrongBytes,
    /// The link comes and goes: this request fails and so do the next ones.
    Flapping,
}

impl Network {
    /// Every way.
    pub const ALL: [Network; 7] = [
        Network::Unresolved,
        Network::Refused,
        Network::Reset,
        Network::Stalled,
        Network::TooMany,
        Network::WrongBytes,
        Network::Flapping,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Network::Unresolved => "unresolved",
            Network::Refused => "refused",
            Network::Reset => "reset",
            Network::Stalled => "stalled",
            Network::TooMany => "429",
            Network::WrongBytes => "wrong-bytes",
            Network::Flapping => "flapping",
        }
    }
}

/// What happens to the machine around landfall, after the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnvironmentEvent {
    /// The clock jumps to 1970.
    Clock,
    /// The disk falls off its bus, with everything that was not durable. It is back after the next boot.
    DiskGone,
    /// The boot medium is pulled: no program starts any more. Somebody puts it back and boots.
    MediumGone,
    /// Somebody takes the name of our mapping, and mounts something at the target.
    NameConflict,
    /// What was told to the kernel is seen only after a while (udev, or the kernel itself, is slow).
    Late,
    /// Somebody deletes the run directory and starts another landfall, which is to be kept off by the lock on the disk.
    Second,
    /// Metadata of the root filesystem is damaged. The next look at it is told so, and its repair takes a file away.
    RootDamaged,
}

impl EnvironmentEvent {
    /// Everything.
    pub const ALL: [EnvironmentEvent; 7] = [
        EnvironmentEvent::Clock,
        EnvironmentEvent::DiskGone,
        EnvironmentEvent::MediumGone,
        EnvironmentEvent::NameConflict,
        EnvironmentEvent::Late,
        EnvironmentEvent::Second,
        EnvironmentEvent::RootDamaged,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            EnvironmentEvent::Clock => "clock-1970",
            EnvironmentEvent::DiskGone => "disk-gone",
            EnvironmentEvent::MediumGone => "medium-gone",
            EnvironmentEvent::NameConflict => "squatter",
            EnvironmentEvent::Late => "late",
            EnvironmentEvent::Second => "second-start",
            EnvironmentEvent::RootDamaged => "root-damaged",
        }
    }
}

/// Where the remote's reference has gone since the revision was pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Moved {
    /// Nowhere.
    #[default]
    No,
    /// To a descendant.
    On,
    /// To something else: somebody pushed by force.
    Away,
}
