//! What is decided about every disk that a power cut leaves in the run without faults.
//!
//! Every crash state of that run is included, and the decision is the one that a run makes.
//!
//! `explore::enumerate` shows what follows from a decision.

use crate::sim::check::decisions::{Decisions, Verdict, visible};
use crate::sim::explore::enumerate::Explorer;
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::ScenarioRun;
use crate::sim::inject::faults::Injection;
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::crash::Crash;
use crate::sim::world::run::SimWorld;
use landfall_states::recovery::{Situation, decide};
use std::ops::ControlFlow;

impl Harness {
    /// What is decided about every crash state of the run without faults.
    pub fn decisions(&self) -> Decisions {
        let mut decisions = Decisions::new();
        let mut explorer = Explorer::new(self);
        let scenario = self.scenario();
        let ended = explorer.each_crash(
            &scenario,
            &Schedule::default(),
            &mut |_, scenario, schedule, _| {
                let cut = |what: Injection| {
                    matches!(
                        what,
                        Injection::Before(Crash::Cut(_))
                            | Injection::During(_, Crash::Cut(_))
                            | Injection::After(Crash::Cut(_))
                    )
                };
                if schedule.0.last().is_some_and(|shot| cut(shot.what)) {
                    let (seen, verdict) = self.decided(scenario);
                    decisions.entry(seen).or_default().insert(verdict);
                }
                ControlFlow::Continue(())
            },
        );
        // Nothing above asks for an end.
        debug_assert!(ended.is_continue());
        decisions
    }

    fn decided(&self, scenario: ScenarioRun) -> (Vec<String>, Verdict) {
        let setting = self.setting();
        let world = SimWorld::new(
            setting.clone(),
            scenario.machine,
            scenario.checks,
            Schedule::default(),
            0,
        );
        let request = &setting.request;
        let decision = decide(&Situation {
            host: &request.host,
            layout: &request.layout,
            payload: &request.payload,
            reinstall: request.reinstall,
            reinstall_requested: false,
            disks: &[world.evidence(world.target())],
            choice: &Ok(setting.plan.disk.clone()),
            named: false,
            tmpfs: None,
        });
        (visible(setting, world.disk()), Verdict::of(&decision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crash_state_has_its_decision() {
        let harness = Harness::new("swap/prebuilt/blank/person".parse().unwrap()).unwrap();
        let decisions = harness.decisions();
        let of = |seen: &[&str]| {
            let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
            let verdicts = decisions.get(&seen).unwrap_or_else(|| panic!("{seen:?}"));
            verdicts
                .iter()
                .map(|v| (v.decision, v.claimed))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [("begin", None)]);
        // A table is durable before anything below it is.
        let whole = ["table backup", "table primary", "volume 1 planned"];
        assert_eq!(of(&whole), [("continue", None)]);
        assert!(!decisions.contains_key(&vec!["volume 1 planned".to_owned()]));
        let landed: Vec<_> = decisions
            .iter()
            .filter(|(seen, _)| seen.contains(&"checkpoint Landed Reached".to_owned()))
            .flat_map(|(_, verdicts)| verdicts.iter().map(|v| v.decision))
            .collect();
        assert!(
            !landed.is_empty() && landed.iter().all(|decision| *decision == "landed"),
            "{landed:?}"
        );
        let stops = decisions
            .values()
            .flatten()
            .filter(|v| v.decision == "stop")
            .count();
        assert_eq!(stops, 0);
    }
}
