//! Tests of the vocabulary: that the simulated world shows each of its words.

use super::*;
use crate::sim::check::invariants::Invariant;
use crate::sim::explore::enumerate::Explorer;
use crate::sim::explore::harness::Harness;
use crate::sim::inject::planted::Bug;
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::contents::finished;
use std::ops::ControlFlow;

#[test]
fn what_stands_for_a_real_state_is_met_in_the_simulation() {
    let mut seen = BTreeSet::new();
    for case in [
        "swap/prebuilt/blank/person",
        "luks/prebuilt/blank/person",
        "plain/image/blank/person",
    ] {
        let harness = Harness::new(case.parse().unwrap()).unwrap();
        let mut explorer = Explorer::new(&harness);
        let ended = explorer.each_crash(
            &harness.scenario(),
            &Schedule::default(),
            &mut |_, scenario, _, _| {
                seen.extend(of(harness.setting(), &scenario.machine));
                ControlFlow::Continue(())
            },
        );
        assert!(ended.is_continue());
    }
    let missing: Vec<String> = ALL
        .iter()
        .filter(|known| !seen.contains(&known.left))
        .map(|known| format!("{known:?}"))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn a_finished_install_shows_nothing_half_made() {
    let harness = Harness::new("plain/prebuilt/blank/person".parse().unwrap()).unwrap();
    let setting = harness.setting();
    let disk = finished(&setting.plan, &setting.revision, &setting.system).unwrap();
    let whole = [
        Left::Committed(Region::Esp),
        Left::Committed(Region::Root),
        Left::CloneWhole,
        Left::Recorded,
        Left::Activated,
        Left::BootLoader,
        // Another machine: nothing is attached, and its firmware does not know the disk.
        Left::NotMounted,
        Left::NoEntry,
    ];
    let mut machine = Machine::new(setting);
    let target = machine.target(setting);
    *machine.disk_mut(target) = disk;
    assert_eq!(of(setting, &machine), BTreeSet::from(whole));
}

#[test]
fn a_lock_that_stays_is_noticed() {
    let harness = |bug: Option<Bug>| {
        let harness = Harness::new("plain/prebuilt/blank/person".parse().unwrap()).unwrap();
        match bug {
            Some(bug) => harness.with(bug).until(Invariant::Lands),
            None => harness.until(Invariant::Lands),
        }
    };
    let breaches = |bug| {
        harness(bug)
            .crashes()
            .failures
            .into_iter()
            .flat_map(|f| f.breaches)
            .count()
    };
    assert!(breaches(Some(Bug::LockStays)) > 0);
    assert_eq!(breaches(None), 0);
}

#[test]
fn every_state_is_named_once() {
    for (index, known) in ALL.iter().enumerate() {
        assert!(find("esp", "no such state").is_none());
        let first = ALL
            .iter()
            .position(|k| (k.tool, k.state) == (known.tool, known.state));
        assert_eq!(first, Some(index), "{known:?}");
    }
}
