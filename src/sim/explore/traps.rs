//! Runs on machines that an install must not believe. Four of them stop before the first write. In the fifth there is a right
//! disk, and that one is taken.
//!
//! Absent: faults and crashes on the way; each machine is tried once, and nothing else goes wrong.

use crate::driver::Outcome;
use crate::sim::check::coverage::{Failure, Tally};
use crate::sim::check::invariants::{Breach, Invariant};
use crate::sim::check::traps::landed_wrong;
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::{End, Story};
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::setting::Setting;
use crate::sim::model::trap::Trap;
use std::rc::Rc;

impl Harness {
    /// Every such machine, in this case.
    pub fn traps(&self) -> Result<Tally, String> {
        let mut tally = Tally::default();
        for trap in Trap::ALL {
            let setting = Rc::new(Setting::trapped(self.setting().case, trap)?);
            let mut story = Story::new(&setting, self.bug());
            let (run, world) = story.run(&Schedule::default());
            story.settle(world, None);
            let disks = story.machine.disks.clone();
            story.checks.others(&setting, &disks);
            let landed = matches!(run.end, End::Said(Ok(Outcome::Landed { .. })));
            let mut breaches = story.checks.breaches.clone();
            if landed {
                breaches.extend(landed_wrong(&setting));
            } else if !story.checks.destroyed.is_empty() {
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
            tally.points += 1;
            tally.stories += 1;
            tally.runs += 1;
            if !breaches.is_empty() {
                tally.fails(Failure {
                    case: setting.case,
                    schedule: Schedule::default(),
                    between: None,
                    breaches,
                });
            }
        }
        Ok(tally)
    }
}
