//! Which faults happen at which points.
//!
//! A schedule is text, and the same schedule on the same case is the same scenario. A point is named by its run and its
//! number in that run.

use crate::sim::inject::faults::Injection;
use landfall_states::names::quoted;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InjectionAt {
    /// In which run, from 0.
    pub run: u32,
    /// At which point of it, from 0.
    pub at: u32,
    /// What.
    pub what: Injection,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Schedule(pub Vec<InjectionAt>);

impl Schedule {
    /// What happens at a point.
    pub fn at(&self, run: u32, at: u32) -> Option<Injection> {
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

    /// What of it could happen where it stands.
    pub fn without(&self, impossible: &[(InjectionAt, String)]) -> Schedule {
        let possible = |shot: &&InjectionAt| impossible.iter().all(|(other, _)| other != *shot);
        Schedule(self.0.iter().filter(possible).copied().collect())
    }

    /// Why it is not the schedule of a run of this kind: a point that is never reached, or a fault that cannot happen there.
    pub fn objection(&self, passed: &[u32], impossible: &[(InjectionAt, String)]) -> Option<String> {
        if let Some(shot) = self.0.iter().find(|shot| !shot.is_reached(passed)) {
            let run = usize::try_from(shot.run).ok();
            let why = match run.and_then(|run| passed.get(run)) {
                Some(points) => format!(
                    "run {} passes {points} points, starting with {}.0",
                    shot.run, shot.run
                ),
                None => format!(
                    "there is no run {}: the scenario ends after {} runs",
                    shot.run,
                    passed.len()
                ),
            };
            return Some(format!(
                "schedule {self}: point {}.{} is never reached: {why}",
                shot.run, shot.at
            ));
        }
        let (shot, why) = impossible.first()?;
        Some(format!(
            "schedule {self}: {}.{}:{} cannot happen at that point: {why}",
            shot.run, shot.at, shot.what
        ))
    }
}

impl InjectionAt {
    /// Whether it comes to pass where the runs pass so many points each.
    fn is_reached(&self, passed: &[u32]) -> bool {
        let run = usize::try_from(self.run).ok();
        run.and_then(|run| passed.get(run))
            .is_some_and(|points| self.at < *points)
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
        let shot = |text: &str| -> Result<InjectionAt, String> {
            let bad = || {
                format!(
                    "{} is not RUN.POINT:FAULT, for example 0.17:after:cut=none",
                    quoted(text)
                )
            };
            let (place, what) = text.split_once(':').ok_or_else(bad)?;
            let (run, at) = place.split_once('.').ok_or_else(bad)?;
            Ok(InjectionAt {
                run: run.parse().map_err(|_| bad())?,
                at: at.parse().map_err(|_| bad())?,
                what: what.parse()?,
            })
        };
        let shots = text.split(',').map(shot).collect::<Result<Vec<_>, _>>()?;
        for (index, shot) in shots.iter().enumerate() {
            if shots
                .iter()
                .take(index)
                .any(|other| (other.run, other.at) == (shot.run, shot.at))
            {
                return Err(format!(
                    "{text:?}: two faults at point {}.{}; only one can happen at a point",
                    shot.run, shot.at
                ));
            }
        }
        Ok(Schedule(shots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::crash::{Crash, Keep};
    use crate::sim::model::environment::{EnvironmentEvent, Network};
    use landfall_states::fault::FaultClass;

    #[test]
    fn a_schedule_reads_back() {
        let mut injections = vec![
            Injection::Before(Crash::Kill),
            Injection::During(3, Crash::Cut(Keep::Torn(2))),
            Injection::After(Crash::Cut(Keep::Seed(7))),
            Injection::Fail(FaultClass::Transient),
            Injection::FailDuring(2, FaultClass::NeedsChange),
            Injection::FailAfter(FaultClass::Hardware),
            Injection::Lie,
            Injection::LieDuring(4),
            Injection::Hang,
            Injection::Strange,
            Injection::Stop,
            Injection::Swap,
        ];
        injections.extend(Network::ALL.map(Injection::Network));
        injections.extend(EnvironmentEvent::ALL.map(Injection::Environment));
        let shots = injections
            .into_iter()
            .zip(20..)
            .map(|(what, at)| InjectionAt { run: 1, at, what });
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
            "1.2:lie,1.2:hang",
            "1.2:lie,1.3:lie,1.2:lie",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }
}
