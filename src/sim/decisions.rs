//! What is decided about a disk that a power cut left, by what can be seen on its bytes: for comparison with a recording of a
//! real disk. Law: every crash state of the run without faults is in it; the decision is the one that a run makes.
//!
//! Absent: what becomes of the decision; see `explore`.

use super::case::Setting;
use super::disk::Disk;
use super::effects::Effect;
use super::explore::Explorer;
use super::faults::{Death, Schedule, What};
use super::harness::Harness;
use super::story::Story;
use super::world::SimWorld;
use landfall_states::Phase;
use landfall_states::checkpoint::Record;
use landfall_states::recovery::{Decision, Situation, decide};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// A decision, as far as it can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Verdict {
    /// `begin`, `continue`, `landed` or `stop`.
    pub decision: &'static str,
    /// The numbers of the recovery rules that say so.
    pub rules: Vec<u8>,
    /// What the believed checkpoint claims.
    pub claimed: Option<Phase>,
}

impl Verdict {
    /// Of a decision.
    pub fn of(decision: &Decision) -> Verdict {
        Verdict {
            decision: decision.name(),
            rules: decision.rules().iter().map(|rule| rule.number()).collect(),
            claimed: decision.believed().map(Record::phase),
        }
    }
}

/// By what can be seen, in order of the text: the decisions that it comes to. There are several where the bytes differ in what
/// is not seen, such as which of two records is the newer one.
pub type Decisions = BTreeMap<Vec<String>, BTreeSet<Verdict>>;

impl Harness {
    /// What is decided about every crash state of the run without faults.
    pub fn decisions(&self) -> Decisions {
        let mut decisions = Decisions::new();
        let mut explorer = Explorer::new(self);
        let story = self.story();
        let ended = explorer.each_death(&story, &Schedule::default(), &mut |_, story, schedule, _| {
            let cut = |what: What| {
                matches!(
                    what,
                    What::Before(Death::Cut(_)) | What::During(_, Death::Cut(_)) | What::After(Death::Cut(_))
                )
            };
            if schedule.0.last().is_some_and(|shot| cut(shot.what)) {
                let (seen, verdict) = self.decided(story);
                decisions.entry(seen).or_default().insert(verdict);
            }
            ControlFlow::Continue(())
        });
        // Nothing above asks for an end.
        debug_assert!(ended.is_continue());
        decisions
    }

    fn decided(&self, story: Story) -> (Vec<String>, Verdict) {
        let setting = self.setting();
        let world = SimWorld::new(
            setting.clone(),
            story.machine,
            story.checks,
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

/// What somebody sees who has only the disk's bytes, in order of the text. Of the slots it is the newest that can be read: which
/// one lies beside it depends on how many attempts a step needed.
fn visible(setting: &Setting, disk: &Disk) -> Vec<String> {
    let newest = [0, 1]
        .into_iter()
        .filter_map(|which| {
            let bytes = disk.slot(which)?;
            Some((Record::decode(&bytes).ok()?.sequence, bytes))
        })
        .max();
    let mut seen: Vec<String> = disk
        .durable()
        .iter()
        .filter_map(|(key, value)| Effect::of(setting, *key, Some(value)))
        .chain(newest.and_then(|(_, bytes)| Effect::of_slot(&bytes)))
        .map(|effect| effect.to_string())
        .collect();
    seen.sort();
    seen
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
