//! Random scenarios.
//!
//! A failure is reported as its schedule, so it needs neither seed nor number.

use crate::sim::check::coverage::{Coverage, Failure};
use crate::sim::explore::harness::Harness;
use crate::sim::inject::faults::FaultSort;
use crate::sim::inject::random::Chances;
use crate::sim::model::crash::mix;

impl Harness {
    /// Runs the scenarios of a seed, from one number up to another.
    pub fn chance(
        &self,
        seed: u64,
        from: u64,
        to: u64,
        sorts: &[FaultSort],
        go_on: &dyn Fn() -> bool,
    ) -> Coverage {
        let mut coverage = Coverage {
            points: self.points.len() as u64,
            ..Coverage::default()
        };
        let chances = Chances::of(&self.points, sorts);
        for number in from..to {
            if !go_on() {
                break;
            }
            let mut schedule = chances.schedule(seed, number);
            let mut report = self.run(&schedule, false);
            coverage.scenarios += 1;
            // In whatever order threads add them.
            coverage.trace = coverage.trace.wrapping_add(mix(report.trace ^ number));
            coverage.runs += u64::from(report.runs) + 1;
            if !report.breaches.is_empty() {
                // Run again without what never came to pass: that is what a person can repeat.
                let reached = schedule.reached(&report.passed).without(&report.impossible);
                let again = self.run(&reached, false);
                if !again.breaches.is_empty() {
                    (schedule, report) = (reached, again);
                }
                coverage.fails(Failure {
                    case: self.setting().case,
                    schedule,
                    operator_action: None,
                    breaches: report.breaches,
                });
            }
        }
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::inject::faults::Injection;
    use std::collections::BTreeSet;

    #[test]
    fn chance_tells_every_sort_and_only_what_can_be() {
        let harness = Harness::new("luks/flake/foreign/person".parse().unwrap()).unwrap();
        let chances = Chances::of(&harness.points, &FaultSort::ALL);
        let (mut seen, mut parts) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..500 {
            for shot in chances.schedule(3, number).0 {
                let point = &harness.points[shot.at as usize];
                assert!(point.can(shot.what), "{} at {}", shot.what, point.label);
                seen.extend(FaultSort::of(shot.what));
                if let Injection::FailDuring(part, _) | Injection::LieDuring(part) = shot.what {
                    parts.insert(part);
                }
            }
            assert_eq!(chances.schedule(3, number), chances.schedule(3, number));
        }
        assert_eq!(seen, FaultSort::ALL.into_iter().collect());
        assert!(parts.len() > 1, "only part {parts:?} of a program");
        assert_ne!(chances.schedule(3, 0), chances.schedule(4, 0));
    }
}
