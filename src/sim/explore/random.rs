//! Scenarios by chance. Law: what is reported is the schedule, so a failure needs neither seed nor number.

use crate::sim::check::coverage::{Failure, Tally};
use crate::sim::explore::harness::Harness;
use crate::sim::inject::faults::Sort;
use crate::sim::inject::random::Chances;
use crate::sim::model::crash::mix;

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
    use crate::sim::inject::faults::What;
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
