//! Stories by chance: several misfortunes in several runs, more than can be enumerated. Law: a seed and a number give one
//! schedule, for ever; what is told is the schedule, so a failure needs neither.
//!
//! Absent: chance of any other source.

use super::disk::{Keep, mix};
use super::explore::whats;
use super::faults::{Death, Schedule, Shot, What};
use super::harness::Harness;
use super::tally::{Failure, Sort, Tally};
use super::world::Point;

/// The most misfortunes of one story. Each may cost a run, and a story is called endless after
/// [`super::story::RUNS_MAX`].
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
type Place = (u32, Vec<What>);

/// What can happen at which points of the fault-free run, by sort. Later runs pass other points; there a shot that cannot be is
/// none.
struct Chances<'h> {
    points: &'h [Point],
    sorts: Vec<(Sort, Vec<Place>)>,
}

impl<'h> Chances<'h> {
    fn of(points: &'h [Point], sorts: &[Sort]) -> Chances<'h> {
        let at_points = |sort: Sort| {
            let all = (0_u32..).zip(points);
            all.map(|(at, point)| (at, whats(point, &[sort])))
                .filter(|(_, whats)| !whats.is_empty())
                .collect()
        };
        Chances {
            points,
            sorts: sorts.iter().map(|sort| (*sort, at_points(*sort))).collect(),
        }
    }

    /// The schedule of a seed and a number.
    fn schedule(&self, seed: u64, number: u64) -> Schedule {
        let mut dice = Dice(mix(seed) ^ number);
        let shots = 1 + dice.below(SHOTS_MAX);
        let mut schedule = Schedule::default();
        let mut run = 0;
        for _ in 0..shots {
            let Some((sort, places)) = dice.pick(&self.sorts) else {
                break;
            };
            let shot = match (sort, dice.pick(places)) {
                (Sort::Kill | Sort::Cut, _) => self.death(*sort, &mut dice),
                (_, None) => continue,
                (_, Some((at, whats))) => dice.pick(whats).map(|what| (*at, *what)),
            };
            let Some((at, what)) = shot else { continue };
            schedule.0.push(Shot { run, at, what });
            // A retry in the same run is met too.
            run += u32::from(sort.is_death() || dice.below(2) == 0);
        }
        schedule
    }

    fn death(&self, sort: Sort, dice: &mut Dice) -> Option<(u32, What)> {
        let at = dice.below(self.points.len() as u64);
        let point = self.points.get(usize::try_from(at).ok()?)?;
        let death = match sort {
            Sort::Kill => Death::Kill,
            _ => Death::Cut(Keep::Seed(dice.below(1 << 20))),
        };
        let part = usize::try_from(1 + dice.below(point.parts.saturating_sub(1) as u64)).unwrap_or(1);
        let what = match dice.below(3) {
            0 => What::Before(death),
            1 => What::During(part, death),
            _ => What::After(death),
        };
        Some((u32::try_from(at).ok()?, what))
    }
}

impl Harness {
    /// Tells the stories of a seed, from one number up to another.
    pub fn chance(&self, seed: u64, from: u64, to: u64, sorts: &[Sort], go_on: &dyn Fn() -> bool) -> Tally {
        let mut tally = Tally {
            points: self.points.len() as u64,
            ..Tally::default()
        };
        let chances = Chances::of(&self.points, sorts);
        for number in from..to {
            if !go_on() {
                break;
            }
            let mut schedule = chances.schedule(seed, number);
            let mut told = self.tell(&schedule, false);
            tally.stories += 1;
            // In whatever order threads add them.
            tally.trace = tally.trace.wrapping_add(mix(told.trace ^ number));
            tally.runs += u64::from(told.runs) + 1;
            if !told.breaches.is_empty() {
                // Told again without what never came to pass: that is what a person can repeat.
                let reached = schedule.reached(&told.passed);
                let again = self.tell(&reached, false);
                if !again.breaches.is_empty() {
                    (schedule, told) = (reached, again);
                }
                tally.fails(Failure {
                    case: self.setting().case,
                    schedule,
                    between: None,
                    breaches: told.breaches,
                });
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn chance_tells_every_sort_and_only_what_can_be() {
        let harness = Harness::new("luks/flake/foreign/person".parse().unwrap()).unwrap();
        let chances = Chances::of(&harness.points, &Sort::ALL);
        let (mut seen, mut parts) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..500 {
            for shot in chances.schedule(3, number).0 {
                let point = &harness.points[shot.at as usize];
                assert!(point.can(shot.what), "{} at {}", shot.what, point.label);
                seen.extend(Sort::of(shot.what));
                if let What::FailDuring(part, _) | What::LieDuring(part) = shot.what {
                    parts.insert(part);
                }
            }
            assert_eq!(chances.schedule(3, number), chances.schedule(3, number));
        }
        assert_eq!(seen, Sort::ALL.into_iter().collect());
        assert!(parts.len() > 1, "only part {parts:?} of a program");
        assert_ne!(chances.schedule(3, 0), chances.schedule(4, 0));
    }
}
