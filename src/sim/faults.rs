//! What goes wrong, and when. Law: a schedule is text, and the same schedule on the same case is the same story; a point
//! is named by its run and its number in that run.
//!
//! Two deaths: *kill* leaves caches, tmpfs, mounts and mappings as they are; *power cut* leaves what is durable and some
//! of what is not. A device that acknowledges a flush and does not do it is not survived, and is not simulated.
//!
//! A program's end is one of these: well, well without the effect or with a part of it (a lie), ill with the effect, with a
//! part of it or without. Killed for want of memory, ended after its deadline or without space at some byte, it is an ill
//! end after a part. A network fails in ways of its own, and so does the machine around landfall.
//!
//! Absent: applying them; see `world`.

use super::disk::Keep;
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, Remedy};
use std::fmt;
use std::str::FromStr;

/// How a run dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Death {
    /// The process is killed.
    Kill,
    /// The power goes.
    Cut(Keep),
}

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
    /// The forge's limit of requests is reached, for minutes. Who comes back earlier waits anew.
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

    fn name(self) -> &'static str {
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
pub enum Around {
    /// The clock jumps to 1970.
    Clock,
    /// The disk falls off its bus, with everything that was not durable. It is back after the next boot.
    DiskGone,
    /// The boot medium is pulled: no program starts any more. Somebody puts it back and boots.
    MediumGone,
    /// Somebody takes the name of our mapping, and mounts something at the target.
    Squatter,
    /// What was told to the kernel is seen only after a while (udev, or the kernel itself, is slow).
    Late,
    /// Somebody deletes the run directory and starts another landfall, which is to be kept off by the lock on the disk.
    Second,
}

impl Around {
    /// Everything.
    pub const ALL: [Around; 6] = [
        Around::Clock,
        Around::DiskGone,
        Around::MediumGone,
        Around::Squatter,
        Around::Late,
        Around::Second,
    ];

    fn name(self) -> &'static str {
        match self {
            Around::Clock => "clock-1970",
            Around::DiskGone => "disk-gone",
            Around::MediumGone => "medium-gone",
            Around::Squatter => "squatter",
            Around::Late => "late",
            Around::Second => "second-start",
        }
    }
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Death before the effect.
    Before(Death),
    /// Death when this many parts of the effect have happened.
    During(usize, Death),
    /// Death after it.
    After(Death),
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
    Around(Around),
    /// The effect, and a signal that asks to stop.
    Stop,
    /// The effect, and somebody changes the disk for another one before it is identified the next time. Behind that nobody
    /// can: an open file stays that of the disk that was pulled, which is [`Around::DiskGone`].
    Swap,
}

/// One misfortune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shot {
    /// In which run, from 0.
    pub run: u32,
    /// At which point of it, from 0.
    pub at: u32,
    /// What.
    pub what: What,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Schedule(pub Vec<Shot>);

impl Schedule {
    /// What happens at a point.
    pub fn at(&self, run: u32, at: u32) -> Option<What> {
        self.0.iter().find(|s| (s.run, s.at) == (run, at)).map(|s| s.what)
    }

    /// What of it comes to pass where the runs pass so many points each.
    pub fn reached(&self, passed: &[u32]) -> Schedule {
        Schedule(
            self.0
                .iter()
                .copied()
                .filter(|shot| shot.is_reached(passed))
                .collect(),
        )
    }
}

impl Shot {
    /// Whether it comes to pass where the runs pass so many points each.
    pub fn is_reached(&self, passed: &[u32]) -> bool {
        let run = usize::try_from(self.run).ok();
        run.and_then(|run| passed.get(run))
            .is_some_and(|points| self.at < *points)
    }
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

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Kill => f.write_str("kill"),
            Death::Cut(keep) => write!(f, "cut={keep}"),
        }
    }
}

impl FromStr for Death {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("cut=") {
            Some(keep) => Ok(Death::Cut(keep.parse()?)),
            None if text == "kill" => Ok(Death::Kill),
            None => Err(format!("{text:?}: kill or cut=…")),
        }
    }
}

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
        .ok_or_else(|| format!("{text:?}: transient, needs-change, permanent or hardware"))
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Before(death) => write!(f, "before:{death}"),
            What::During(parts, death) => write!(f, "during{parts}:{death}"),
            What::After(death) => write!(f, "after:{death}"),
            What::Fail(class) => write!(f, "fail:{}", class_name(*class)),
            What::FailAfter(class) => write!(f, "fail-after:{}", class_name(*class)),
            What::FailDuring(parts, class) => write!(f, "fail-during{parts}:{}", class_name(*class)),
            What::Lie => f.write_str("lie"),
            What::LieDuring(parts) => write!(f, "lie-during{parts}"),
            What::Hang => f.write_str("hang"),
            What::Strange => f.write_str("strange"),
            What::Network(network) => write!(f, "net:{}", network.name()),
            What::Around(around) => write!(f, "around:{}", around.name()),
            What::Stop => f.write_str("stop"),
            What::Swap => f.write_str("swap"),
        }
    }
}

impl FromStr for What {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?}: before, duringN, after, fail, fail-duringN, fail-after, lie, lie-duringN, hang, strange, net, \
                 around, stop or swap"
            )
        };
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        let with = || rest.ok_or_else(bad);
        let bare = |what: What| if rest.is_none() { Ok(what) } else { Err(bad()) };
        match word {
            "before" => Ok(What::Before(with()?.parse()?)),
            "after" => Ok(What::After(with()?.parse()?)),
            "fail" => Ok(What::Fail(class_of(with()?)?)),
            "fail-after" => Ok(What::FailAfter(class_of(with()?)?)),
            "lie" => bare(What::Lie),
            "hang" => bare(What::Hang),
            "strange" => bare(What::Strange),
            "stop" => bare(What::Stop),
            "swap" => bare(What::Swap),
            "net" => {
                let name = with()?;
                let found = Network::ALL.into_iter().find(|network| network.name() == name);
                found.map(What::Network).ok_or_else(|| {
                    let all = Network::ALL.map(Network::name).join(", ");
                    format!("{name:?} is no failure of a network; there are {all}")
                })
            }
            "around" => {
                let name = with()?;
                let found = Around::ALL.into_iter().find(|around| around.name() == name);
                found.map(What::Around).ok_or_else(|| {
                    let all = Around::ALL.map(Around::name).join(", ");
                    format!("{name:?} does not happen around landfall; there are {all}")
                })
            }
            word => {
                let parts = |prefix: &str| word.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
                if let Some(parts) = parts("during") {
                    Ok(What::During(parts, with()?.parse()?))
                } else if let Some(parts) = parts("fail-during") {
                    Ok(What::FailDuring(parts, class_of(with()?)?))
                } else if let Some(parts) = parts("lie-during") {
                    bare(What::LieDuring(parts))
                } else {
                    Err(bad())
                }
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("quiet");
        }
        for (index, shot) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}.{}:{}", shot.run, shot.at, shot.what)?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "quiet" {
            return Ok(Schedule::default());
        }
        let shot = |text: &str| -> Result<Shot, String> {
            let bad = || format!("{text:?}: a shot is RUN.POINT:WHAT, for example 0.17:after:cut=none");
            let (place, what) = text.split_once(':').ok_or_else(bad)?;
            let (run, at) = place.split_once('.').ok_or_else(bad)?;
            Ok(Shot {
                run: run.parse().map_err(|_| bad())?,
                at: at.parse().map_err(|_| bad())?,
                what: what.parse()?,
            })
        };
        text.split(',').map(shot).collect::<Result<_, _>>().map(Schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_back() {
        let mut whats = vec![
            What::Before(Death::Kill),
            What::During(3, Death::Cut(Keep::Torn(2))),
            What::After(Death::Cut(Keep::Seed(7))),
            What::Fail(FaultClass::Transient),
            What::FailDuring(2, FaultClass::NeedsChange),
            What::FailAfter(FaultClass::Hardware),
            What::Lie,
            What::LieDuring(4),
            What::Hang,
            What::Strange,
            What::Stop,
            What::Swap,
        ];
        whats.extend(Network::ALL.map(What::Network));
        whats.extend(Around::ALL.map(What::Around));
        let shots = whats.into_iter().map(|what| Shot { run: 1, at: 20, what });
        let schedule = Schedule(shots.collect());
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
        assert_eq!("quiet".parse(), Ok(Schedule::default()));
        for bad in [
            "",
            "1",
            "1.2",
            "1.x:lie",
            "1.2:during:kill",
            "1.2:after:cut",
            "1.2:fail:unsafe",
            "1.2:lie:x",
            "1.2:net",
            "1.2:net:slow",
            "1.2:around:moon",
            "1.2:lie-during",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
