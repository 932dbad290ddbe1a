//! What can go wrong at a point of a run, and the errors that the simulated programs report for it.
//!
//! A fault is text, and the same fault at the same point is the same scenario.
//!
//! Two crashes: *kill* leaves caches, tmpfs, mounts and mappings as they are; *power cut* leaves what is durable and a part
//! of what is not. A device that acknowledges a flush and does not do it is not survived, and is not simulated.
//!
//! A program ends in one of these ways: success; success with no effect or with a part of it (a lie); failure with the
//! effect, with a part of it or without. Killed because there is no memory, ended after its deadline, or out of space at some
//! byte, it is a failure after a part. A network fails in its own ways, and so does the machine around landfall.
//!
//! `inject::schedule` says when, and `world` applies them.
use crate::sim::model::crash::Crash;
use crate::sim::model::environment::{EnvironmentEvent, Network};
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, Remedy};
use landfall_states::names::quoted;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Injection {
    /// Crash before the effect.
    Before(Crash),
    /// Crash when this many parts of the effect have happened.
    During(usize, Crash),
    /// Crash after it.
    After(Crash),
    /// A fault instead of the effect.
    Fail(FaultClass),
    /// The effect, and a fault.
    FailAfter(FaultClass),
    /// This many parts of the effect, and a fault: a program that was killed or ran out of space or time.
    FailDuring(usize, FaultClass),
    /// Success without the effect.
    Lie,
    /// Success with this many parts of the effect.
    LieDuring(usize),
    /// The program hangs until its deadline, and is ended with its children.
    Hang,
    /// The program ends as nobody knows it, and so it does whenever it is run again in this run.
    Strange,
    /// The network fails.
    Network(Network),
    /// The effect, and something happens around.
    Environment(EnvironmentEvent),
    /// The effect, and a signal that asks to stop.
    Stop,
    /// The effect, and somebody changes the disk for another one before it is identified the next time. Behind that nobody
    /// can: an open file stays that of the disk that was pulled, which is [`EnvironmentEvent::DiskGone`].
    Swap,
}

/// The fault that is injected for a class.
pub fn fault(class: FaultClass, label: &str) -> Fault {
    Fault::injected(class, label, "injected")
}

/// The fault of a program that failed: what it means, on what, the program, and its last line.
pub fn failed(class: FaultClass, on: impl Into<String>, program: &str, said: impl Into<String>) -> Fault {
    let ended = Ended {
        program: program.to_owned(),
        code: Some(1),
        last_lines: vec![said.into()],
        note: None,
    };
    Fault::program(class, on, ended, Remedy::resume())
}

/// The fault of a program that ended as a table of endings knows it, or as none does.
pub fn ended(cause: Cause, on: impl Into<String>, program: &str, line: &str) -> Fault {
    let ended = Ended {
        program: program.to_owned(),
        code: Some(1),
        last_lines: vec![line.to_owned()],
        note: None,
    };
    Fault::ending(cause, on, ended, line)
}

/// The classes that are injected.
pub const CLASSES: [FaultClass; 4] = [
    FaultClass::Transient,
    FaultClass::NeedsChange,
    FaultClass::Permanent,
    FaultClass::Hardware,
];

fn class_name(class: FaultClass) -> &'static str {
    match class {
        FaultClass::Transient => "transient",
        FaultClass::NeedsChange => "needs-change",
        FaultClass::Permanent => "permanent",
        FaultClass::Hardware => "hardware",
        FaultClass::Unsafe => "unsafe",
        FaultClass::Interrupted => "interrupted",
    }
}

fn class_of(text: &str) -> Result<FaultClass, String> {
    CLASSES
        .into_iter()
        .find(|class| class_name(*class) == text)
        .ok_or_else(|| {
            format!(
                "{} is not a class; use transient, needs-change, permanent or hardware",
                quoted(text)
            )
        })
}

impl Injection {
    /// The crash that it is.
    pub fn crash(self) -> Option<Crash> {
        match self {
            Injection::Before(crash) | Injection::During(_, crash) | Injection::After(crash) => Some(crash),
            Injection::Fail(_)
            | Injection::FailDuring(..)
            | Injection::FailAfter(_)
            | Injection::Lie
            | Injection::LieDuring(_)
            | Injection::Hang
            | Injection::Strange
            | Injection::Network(_)
            | Injection::Environment(_)
            | Injection::Stop
            | Injection::Swap => None,
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Injection::Before(crash) => write!(f, "before:{crash}"),
            Injection::During(parts, crash) => write!(f, "during{parts}:{crash}"),
            Injection::After(crash) => write!(f, "after:{crash}"),
            Injection::Fail(class) => write!(f, "fail:{}", class_name(*class)),
            Injection::FailAfter(class) => write!(f, "fail-after:{}", class_name(*class)),
            Injection::FailDuring(parts, class) => write!(f, "fail-during{parts}:{}", class_name(*class)),
            Injection::Lie => f.write_str("lie"),
            Injection::LieDuring(parts) => write!(f, "lie-during{parts}"),
            Injection::Hang => f.write_str("hang"),
            Injection::Strange => f.write_str("strange"),
            Injection::Network(network) => write!(f, "net:{}", network.name()),
            Injection::Environment(around) => write!(f, "around:{}", around.name()),
            Injection::Stop => f.write_str("stop"),
            Injection::Swap => f.write_str("swap"),
        }
    }
}

impl FromStr for Injection {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{} is not a fault; use before, duringN, after, fail, fail-duringN, fail-after, lie, lie-duringN, hang, strange, \
                 net, around, stop or swap",
                quoted(text)
            )
        };
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        let with = || rest.ok_or_else(bad);
        let bare = |what: Injection| if rest.is_none() { Ok(what) } else { Err(bad()) };
        match word {
            "before" => Ok(Injection::Before(with()?.parse()?)),
            "after" => Ok(Injection::After(with()?.parse()?)),
            "fail" => Ok(Injection::Fail(class_of(with()?)?)),
            "fail-after" => Ok(Injection::FailAfter(class_of(with()?)?)),
            "lie" => bare(Injection::Lie),
            "hang" => bare(Injection::Hang),
            "strange" => bare(Injection::Strange),
            "stop" => bare(Injection::Stop),
            "swap" => bare(Injection::Swap),
            "net" => {
                let name = with()?;
                let found = Network::ALL.into_iter().find(|network| network.name() == name);
                found.map(Injection::Network).ok_or_else(|| {
                    let all = Network::ALL.map(Network::name).join(", ");
                    format!("{} is not a network fault; use {all}", quoted(name))
                })
            }
            "around" => {
                let name = with()?;
                let found = EnvironmentEvent::ALL
                    .into_iter()
                    .find(|around| around.name() == name);
                found.map(Injection::Environment).ok_or_else(|| {
                    let all = EnvironmentEvent::ALL.map(EnvironmentEvent::name).join(", ");
                    format!("{} is not an event of the environment; use {all}", quoted(name))
                })
            }
            word => {
                let parts = |prefix: &str| word.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
                if let Some(parts) = parts("during") {
                    Ok(Injection::During(parts, with()?.parse()?))
                } else if let Some(parts) = parts("fail-during") {
                    Ok(Injection::FailDuring(parts, class_of(with()?)?))
                } else if let Some(parts) = parts("lie-during") {
                    bare(Injection::LieDuring(parts))
                } else {
                    Err(bad())
                }
            }
        }
    }
}

/// Sorts of fault: the columns of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultSort {
    /// The process is killed.
    Kill,
    /// The power goes.
    Cut,
    /// A fault that may pass.
    Transient,
    /// A fault that needs something changed.
    NeedsChange,
    /// A fault that stays.
    Permanent,
    /// A fault of the hardware.
    Hardware,
    /// A program says that it did, and did not.
    Lie,
    /// A program did a part of it: killed, out of space, out of time; or it says that it did all.
    Partial,
    /// The network fails, in one of its ways.
    Network,
    /// Something happens to the machine around: clock, disk, boot medium, names, a slow kernel.
    Environment,
    /// A signal asks to stop.
    Stop,
}

impl FaultSort {
    /// All of them.
    pub const ALL: [FaultSort; 11] = [
        FaultSort::Kill,
        FaultSort::Cut,
        FaultSort::Transient,
        FaultSort::NeedsChange,
        FaultSort::Permanent,
        FaultSort::Hardware,
        FaultSort::Lie,
        FaultSort::Partial,
        FaultSort::Network,
        FaultSort::Environment,
        FaultSort::Stop,
    ];

    /// The sort of what happens at a point; `None` for what is not a fault of the machine.
    pub fn of(what: Injection) -> Option<FaultSort> {
        Some(match what {
            Injection::Before(Crash::Kill)
            | Injection::During(_, Crash::Kill)
            | Injection::After(Crash::Kill) => FaultSort::Kill,
            Injection::Before(Crash::Cut(_))
            | Injection::During(_, Crash::Cut(_))
            | Injection::After(Crash::Cut(_)) => FaultSort::Cut,
            Injection::Fail(class) | Injection::FailAfter(class) => match class {
                FaultClass::Transient => FaultSort::Transient,
                FaultClass::NeedsChange => FaultSort::NeedsChange,
                FaultClass::Permanent => FaultSort::Permanent,
                FaultClass::Hardware => FaultSort::Hardware,
                FaultClass::Unsafe | FaultClass::Interrupted => return None,
            },
            Injection::Lie => FaultSort::Lie,
            Injection::FailDuring(..) | Injection::LieDuring(_) | Injection::Hang | Injection::Strange => {
                FaultSort::Partial
            }
            Injection::Network(_) => FaultSort::Network,
            Injection::Environment(_) => FaultSort::Environment,
            Injection::Stop => FaultSort::Stop,
            Injection::Swap => return None,
        })
    }

    /// Its name, as the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            FaultSort::Kill => "kill",
            FaultSort::Cut => "cut",
            FaultSort::Transient => "transient",
            FaultSort::NeedsChange => "needs-change",
            FaultSort::Permanent => "permanent",
            FaultSort::Hardware => "hardware",
            FaultSort::Lie => "false-success",
            FaultSort::Partial => "partial",
            FaultSort::Network => "network",
            FaultSort::Environment => "environment",
            FaultSort::Stop => "stop",
        }
    }

    /// Its name where there is little room.
    pub(crate) fn short(self) -> &'static str {
        match self {
            FaultSort::Kill => "kill",
            FaultSort::Cut => "cut",
            FaultSort::Transient => "trans",
            FaultSort::NeedsChange => "needs",
            FaultSort::Permanent => "perm",
            FaultSort::Hardware => "hardw",
            FaultSort::Lie => "false",
            FaultSort::Partial => "part",
            FaultSort::Network => "net",
            FaultSort::Environment => "env",
            FaultSort::Stop => "stop",
        }
    }

    /// Whether it ends the run at once.
    pub fn is_crash(self) -> bool {
        matches!(self, FaultSort::Kill | FaultSort::Cut)
    }
}

impl std::str::FromStr for FaultSort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // The names that they had before; scripts have them.
        let name = match text {
            "lie" => "false-success",
            "around" => "environment",
            other => other,
        };
        FaultSort::ALL
            .into_iter()
            .find(|sort| sort.name() == name)
            .ok_or_else(|| {
                let all = FaultSort::ALL.map(FaultSort::name).join(", ");
                format!("{} is not a kind of fault; use {all}", quoted(text))
            })
    }
}
