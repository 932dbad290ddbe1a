//! Stories by chance: several misfortunes in several runs, more than can be enumerated. Law: a seed and a number give one
//! schedule, for ever; what is told is the schedule, so a failure needs neither.
//!
//! Absent: chance of any other source.

use super::disk::{Keep, mix};
use super::faults::{Around, CLASSES, Death, Network, Schedule, Shot, What};
use super::harness::Harness;
use super::tally::{Failure, Sort, Tally};
use landfall_states::fault::FaultClass;

/// The most misfortunes of one story. Each may cost a run, and a story is called endless after
/// [`super::story::RUNS_MAX`].
const SHOTS_MAX: u64 = 4;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % limit.max(1)
    }
}

/// The schedule of a seed and a number, on a run of so many points.
pub fn schedule(seed: u64, number: u64, points: usize, sorts: &[Sort]) -> Schedule {
    let mut dice = Dice(mix(seed) ^ number);
    let shots = 1 + dice.below(SHOTS_MAX);
    let mut schedule = Schedule::default();
    let mut run = 0;
    for _ in 0..shots {
        let Some(sort) = sorts.get(usize::try_from(dice.below(sorts.len() as u64)).unwrap_or(0)) else {
            break;
        };
        let at = u32::try_from(dice.below(points as u64)).unwrap_or(0);
        let what = what(*sort, &mut dice);
        schedule.0.push(Shot { run, at, what });
        // A retry in the same run is met too.
        run += u32::from(sort.is_death() || dice.below(2) == 0);
    }
    schedule
}

fn pick(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.below(count as u64)).unwrap_or(0)
}

fn what(sort: Sort, dice: &mut Dice) -> What {
    let class = |class: FaultClass, dice: &mut Dice| match dice.below(2) {
        0 => What::Fail(class),
        _ => What::FailAfter(class),
    };
    match sort {
        Sort::Kill | Sort::Cut => {
            let death = match sort {
                Sort::Kill => Death::Kill,
                _ => Death::Cut(Keep::Seed(dice.below(1 << 20))),
            };
            match dice.below(3) {
                0 => What::Before(death),
                1 => What::During(1, death),
                _ => What::After(death),
            }
        }
        Sort::Transient => class(CLASSES[0], dice),
        Sort::NeedsChange => class(CLASSES[1], dice),
        Sort::Permanent => class(CLASSES[2], dice),
        Sort::Hardware => class(CLASSES[3], dice),
        // A program that lies, or has parts, is found among what can; elsewhere it is a fault that passes.
        Sort::Lie => What::Fail(FaultClass::Transient),
        Sort::Partial => What::FailDuring(1, CLASSES[pick(dice, CLASSES.len())]),
        Sort::Network => What::Network(Network::ALL[pick(dice, Network::ALL.len())]),
        // A clock, a disk, a medium, a name: at any point. Slow is only what tells the kernel.
        Sort::Around => What::Around(Around::ALL[pick(dice, Around::ALL.len() - 1)]),
        Sort::Stop => What::Stop,
    }
}

impl Harness {
    /// Tells the stories of a seed, from one number up to another.
    pub fn chance(&self, seed: u64, from: u64, to: u64, sorts: &[Sort], go_on: &dyn Fn() -> bool) -> Tally {
        let mut tally = Tally {
            points: self.points.len() as u64,
            ..Tally::default()
        };
        for number in from..to {
            if !go_on() {
                break;
            }
            let mut schedule = schedule(seed, number, self.points.len(), sorts);
            let mut told = self.tell(&schedule, false);
            tally.stories += 1;
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
