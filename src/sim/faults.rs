//! What goes wrong, and when. Law: a schedule is text, and the same schedule on the same case is the same story; a point
//! is named by its run and its number in that run.
//!
//! Two deaths: *kill* leaves caches, tmpfs, mounts and mappings as they are; *power cut* leaves what is durable and some
//! of what is not. A device that acknowledges a flush and does not do it is not survived, and is not simulated.
//!
//! Absent: applying them; see `world`.

use super::disk::Keep;
use landfall_states::fault::{Fault, FaultClass};
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
    /// Success without the effect.
    Lie,
    /// The effect, and a signal that asks to stop.
    Stop,
    /// The effect, and somebody changes the disk for another one.
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
}

/// The fault that is injected for a class.
pub fn fault(class: FaultClass, label: &str) -> Fault {
    Fault::new(class, label, "injected", "landfall resume")
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
            What::Lie => f.write_str("lie"),
            What::Stop => f.write_str("stop"),
            What::Swap => f.write_str("swap"),
        }
    }
}

impl FromStr for What {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        match word {
            "before" => Ok(What::Before(rest.parse()?)),
            "after" => Ok(What::After(rest.parse()?)),
            "fail" => Ok(What::Fail(class_of(rest)?)),
            "fail-after" => Ok(What::FailAfter(class_of(rest)?)),
            "lie" => Ok(What::Lie),
            "stop" => Ok(What::Stop),
            "swap" => Ok(What::Swap),
            word => match word.strip_prefix("during").map(str::parse) {
                Some(Ok(parts)) => Ok(What::During(parts, rest.parse()?)),
                Some(Err(_)) | None => Err(format!(
                    "{text:?}: before, duringN, after, fail, fail-after, lie, stop or swap"
                )),
            },
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
        let whats = [
            What::Before(Death::Kill),
            What::During(3, Death::Cut(Keep::Torn(2))),
            What::After(Death::Cut(Keep::Seed(7))),
            What::Fail(FaultClass::Transient),
            What::FailAfter(FaultClass::Hardware),
            What::Lie,
            What::Stop,
            What::Swap,
        ];
        let schedule = Schedule(whats.map(|what| Shot { run: 1, at: 20, what }).to_vec());
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
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
