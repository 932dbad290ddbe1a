//! Runs on machines that an install must not trust.
//!
//! Four of them stop before the first write. In the fifth there is a right disk, and the install takes that one. Each machine
//! is tried once, without faults or crashes.

use crate::driver::Outcome;
use crate::sim::check::coverage::{Coverage, Failure};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::check::traps::landed_wrong;
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::End;
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::setting::Setting;
use crate::sim::model::trap::Trap;
use std::rc::Rc;

impl Harness {
    /// Every such machine, in this case.
    ///
    /// # Errors
    /// A plan that is not possible, or a defect of the simulation.
    pub fn traps(&self) -> Result<Coverage, String> {
        let mut coverage = Coverage::default();
        for trap in Trap::ALL {
            let setting = Rc::new(Setting::trapped(self.setting().case, trap)?);
            let mut scenario = self.scenario_of(&setting);
            let (run, world) = scenario.run(&Schedule::default());
            scenario.settle(world, None);
            let disks = scenario.machine.disks.clone();
            scenario.checks.others(&setting, &disks);
            let landed = matches!(run.end, End::Said(Ok(Outcome::Landed { .. })));
            let mut breaches = scenario.checks.breaches.clone();
            if landed {
                breaches.extend(landed_wrong(&setting));
            } else if !scenario.checks.destroyed.is_empty() {
                breaches.push(Breach {
                    invariant: Invariant::ConsentFirst,
                    how: format!("it stopped after it had written: {:?}", run.end),
                });
            }
            if landed == trap.stops() && breaches.is_empty() {
                breaches.push(Breach {
                    invariant: Invariant::Lands,
                    how: format!("{trap:?} ends with {:?}", run.end),
                });
            }
            let breaches = self.watched(breaches);
            coverage.points += 1;
            coverage.scenarios += 1;
            coverage.runs += 1;
            if !breaches.is_empty() {
                coverage.fails(Failure {
                    case: setting.case,
                    schedule: Schedule::default(),
                    operator_action: None,
                    breaches,
                });
            }
        }
        Ok(coverage)
    }
}
