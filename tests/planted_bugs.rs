//! Planted bugs: each is caught by the invariant that it is planted for, and the same enumeration without the bug is
//! clean (the control; `every_crash` is the whole of it).

use landfall::sim::bugs::Bug;
use landfall::sim::case::Case;
use landfall::sim::checks::{Breach, Invariant};
use landfall::sim::harness::Harness;

/// A slot of a format to come, and nothing.
fn newer() -> [Vec<u8>; 2] {
    let head = "LANDFALL-CHECKPOINT 9 seq=00000000000000000099 len=000003 sha256=";
    let mut tail = b"\n(x)".to_vec();
    tail.resize(4096 - head.len() - 64, b'\n');
    let digest = landfall_states::names::Digest::of(&[head.as_bytes(), &tail].concat());
    [
        [head.as_bytes(), digest.as_str().as_bytes(), &tail].concat(),
        vec![b'\n'; 4096],
    ]
}

/// What the enumerations find, cheapest first, until the wanted invariant is among it.
fn find(bug: Option<Bug>, invariant: Invariant) -> Vec<Breach> {
    let case = match bug {
        Some(Bug::AssumeYes) => "plain/prebuilt/foreign/refuses",
        Some(Bug::NotIdempotent) => "plain/prebuilt/foreign/person/twice",
        Some(Bug::LogPassphrase) => "luks/prebuilt/foreign/person",
        Some(_) | None => "plain/prebuilt/foreign/person",
    };
    let harness = || {
        let harness = Harness::new(case.parse::<Case>().unwrap())
            .unwrap()
            .until(invariant);
        match bug {
            Some(bug) => harness.with(bug),
            None => harness,
        }
    };
    let has = |breaches: &[Breach]| breaches.iter().any(|b| b.invariant == invariant);
    // A fault that is retried after a while, so that the length of the while is in the trace.
    let fetch = harness()
        .points
        .iter()
        .position(|p| p.label == "fetch")
        .unwrap_or(0);
    let schedule = format!("0.{fetch}:fail:transient").parse().unwrap();
    let mut found = harness().repeat(&schedule).breaches;
    if !has(&found) && bug.is_some() {
        found.extend(
            harness()
                .slots(&[newer()])
                .failures
                .into_iter()
                .flat_map(|f| f.breaches),
        );
    }
    if !has(&found) && bug.is_some() {
        found.extend(harness().crashes().failures.into_iter().flat_map(|f| f.breaches));
    }
    if !has(&found) && bug.is_some() {
        found.extend(harness().faults().failures.into_iter().flat_map(|f| f.breaches));
    }
    found
}

#[test]
fn every_planted_bug_is_caught_by_name() {
    assert_eq!(find(None, Invariant::Lands), vec![], "the control");
    let escaped: Vec<String> = Bug::ALL
        .into_iter()
        .filter_map(|(bug, invariant)| {
            let began = std::time::Instant::now();
            let found = find(Some(bug), invariant);
            let caught = found.iter().find(|b| b.invariant == invariant);
            println!(
                "{bug:?}: {} in {:.1} s",
                caught.map_or("ESCAPED".to_owned(), ToString::to_string),
                began.elapsed().as_secs_f64()
            );
            let mut others: Vec<String> = found.iter().map(|b| b.invariant.to_string()).collect();
            others.sort();
            others.dedup();
            caught
                .is_none()
                .then(|| format!("{bug:?} ({invariant}; found {others:?})"))
        })
        .collect();
    assert!(escaped.is_empty(), "escaped: {escaped:#?}");
}

/// A disk changed for another one between the judgement and the first write: nothing is written on either.
#[test]
fn a_disk_that_is_changed_underneath_is_noticed() {
    let harness = Harness::new("plain/prebuilt/foreign/person".parse().unwrap()).unwrap();
    let identify = harness
        .points
        .iter()
        .position(|p| p.label == "identify the disk")
        .unwrap();
    let schedule = format!("0.{}:swap", identify - 1).parse().unwrap();
    assert_eq!(harness.tell(&schedule, true).breaches, vec![]);
    let careless = harness.with(Bug::SkipIdentity).tell(&schedule, true);
    for invariant in [Invariant::OnlyTheTarget, Invariant::OthersUntouched] {
        assert!(
            careless.breaches.iter().any(|b| b.invariant == invariant),
            "{invariant}: {:?}",
            careless.breaches
        );
    }
}
