//! Random schedules: several faults in several runs, more than can be enumerated.
//!
//! A seed and a number always give the same schedule. There is no other source of chance.
//!
//! `explore::random` runs the schedules.

use crate::sim::inject::faults::{FaultSort, Injection};
use crate::sim::inject::point::{Point, injections};
use crate::sim::inject::schedule::{InjectionAt, Schedule};
use crate::sim::model::crash::{Crash, Keep, mix};

/// The most faults of one scenario. Each may cost a run, and a scenario is called endless after
/// `explore::run::RUNS_MAX`.
const SHOTS_MAX: u64 = 4;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % limit.max(1)
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let index = self.below(list.len() as u64);
        list.get(usize::try_from(index).ok()?)
    }
}

/// A point, and what can happen there.
type Place = (u32, Vec<Injection>);

/// What can happen at which points of the fault-free run, by sort. Later runs pass other points; there a shot that cannot be is
/// none.
pub(crate) struct Chances<'h> {
    points: &'h [Point],
    sorts: Vec<(FaultSort, Vec<Place>)>,
}

impl<'h> Chances<'h> {
    pub(crate) fn of(points: &'h [Point], sorts: &[FaultSort]) -> Chances<'h> {
        let at_points = |sort: FaultSort| {
            let all = (0_u32..).zip(points);
            all.map(|(at, point)| (at, injections(point, &[sort])))
                .filter(|(_, injections)| !injections.is_empty())
                .collect()
        };
        Chances {
            points,
            sorts: sorts.iter().map(|sort| (*sort, at_points(*sort))).collect(),
        }
    }

    /// The schedule of a seed and a number.
    pub(crate) fn schedule(&self, seed: u64, number: u64) -> Schedule {
        let mut dice = Dice(mix(seed) ^ number);
        let shots = 1 + dice.below(SHOTS_MAX);
        let mut schedule = Schedule::default();
        let mut run = 0;
        for _ in 0..shots {
            let Some((sort, places)) = dice.pick(&self.sorts) else {
                break;
            };
            let shot = match (sort, dice.pick(places)) {
                (FaultSort::Kill | FaultSort::Cut, _) => self.crash(*sort, &mut dice),
                (_, None) => continue,
                (_, Some((at, injections))) => dice.pick(injections).map(|what| (*at, *what)),
            };
            let Some((at, what)) = shot else { continue };
            schedule.0.push(InjectionAt { run, at, what });
            // A retry in the same run is met too.
            run += u32::from(sort.is_crash() || dice.below(2) == 0);
        }
        schedule
    }

    fn crash(&self, sort: FaultSort, dice: &mut Dice) -> Option<(u32, Injection)> {
        let at = dice.below(self.points.len() as u64);
        let point = self.points.get(usize::try_from(at).ok()?)?;
        let crash = match sort {
            FaultSort::Kill => Crash::Kill,
            _ => Crash::Cut(Keep::Seed(dice.below(1 << 20))),
        };
        let part = usize::try_from(1 + dice.below(point.parts.saturating_sub(1) as u64)).unwrap_or(1);
        let what = match dice.below(3) {
            1 if point.parts < 2 => Injection::Before(crash),
            0 => Injection::Before(crash),
            1 => Injection::During(part, crash),
            _ => Injection::After(crash),
        };
        Some((u32::try_from(at).ok()?, what))
    }
}
