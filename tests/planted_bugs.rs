//! Planted bugs: each is caught by the invariant that it is planted for, and the same enumeration without the bug is
//! clean (the control; `every_crash` is the whole of it). And the other way round: with an invariant not watched, a bug
//! that is planted for it escapes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use landfall::sim::check::invariants::{Breach, Invariant};
use landfall::sim::explore::harness::Harness;
use landfall::sim::inject::operator::OperatorAction;
use landfall::sim::inject::planted::Bug;
use landfall::sim::model::case::Case;
use landfall_states::Phase;
use std::sync::Mutex;

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

/// Two records that do not follow one another.
fn fork(records: &[Vec<u8>]) -> [Vec<u8>; 2] {
    [records[0].clone(), records.last().unwrap().clone()]
}

fn case(bug: Option<Bug>) -> Case {
    match bug {
        Some(Bug::AssumeYes) => "plain/prebuilt/foreign/refuses",
        Some(Bug::NotIdempotent) => "plain/prebuilt/foreign/person/twice",
        Some(Bug::LogPassphrase | Bug::NoKeyslot | Bug::ReuseMapper | Bug::EmptyIsConflict) => {
            "luks/prebuilt/foreign/person"
        }
        Some(Bug::ImageTrusted | Bug::ImageCommittedEarly | Bug::ChunkUnchecked) => {
            "plain/image/foreign/person"
        }
        Some(
            Bug::PinFromRecord
            | Bug::SystemFromTarget
            | Bug::CodeUnchecked
            | Bug::EvaluatedEarly
            | Bug::CloneOfAnother,
        ) => "plain/flake/foreign/person",
        Some(Bug::SwapAgain) => "swap/prebuilt/foreign/person",
        Some(_) | None => "plain/prebuilt/foreign/person",
    }
    .parse()
    .unwrap()
}

/// What the enumerations find, cheapest first, until something is found that is wanted.
fn find(bug: Option<Bug>, wanted: &dyn Fn(Harness) -> Harness) -> Vec<Breach> {
    let harness = || {
        let harness = wanted(Harness::new(case(bug)).unwrap());
        match bug {
            Some(bug) => harness.with(bug),
            None => harness,
        }
    };
    let done = |breaches: &[Breach]| breaches.iter().any(|b| harness().wants(b.invariant));
    let breaches = |coverage: landfall::sim::check::coverage::Coverage| {
        coverage
            .failures
            .into_iter()
            .flat_map(|f| f.breaches)
            .collect::<Vec<_>>()
    };
    // A fault that is retried after a while, so that the length of the while is in the trace.
    let fetch = harness()
        .points
        .iter()
        .position(|p| p.label == "fetch")
        .unwrap_or(0);
    let schedule = format!("0.{fetch}:fail:transient").parse().unwrap();
    let mut found = harness().repeat(&schedule).breaches;
    let records = Harness::new(case(None)).unwrap().records();
    let kinds: [&dyn Fn() -> landfall::sim::check::coverage::Coverage; 7] = [
        &|| harness().traps().unwrap(),
        &|| harness().crashes(),
        &|| harness().kills_then_cuts(Phase::Formatted),
        &|| harness().kills_then_cuts(Phase::Encrypted),
        &|| harness().slots(&[newer(), fork(&records)]),
        &|| harness().faults(),
        &|| {
            harness()
                .operator_actions(&OperatorAction::ALL, &|| true)
                .unwrap()
        },
    ];
    for enumerate in kinds {
        if done(&found) {
            break;
        }
        found.extend(breaches(enumerate()));
    }
    found
}

/// Runs a piece of work for every item on as many threads as there are processors; what comes of it, in order.
fn on_all<T: Copy + Send, R: Send>(items: &[T], work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(items.iter().copied().enumerate().rev().collect::<Vec<_>>());
    let done = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((index, item)) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    let result = work(item);
                    done.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn every_planted_bug_is_caught_by_name() {
    assert_eq!(find(None, &Harness::until_any), vec![], "the control");
    let rows = on_all(&Bug::ALL, |(bug, invariant)| {
        let began = std::time::Instant::now();
        let found = find(Some(bug), &|harness| harness.until(invariant));
        (bug, invariant, found, began.elapsed().as_secs_f64())
    });
    let mut escaped = vec![];
    for (bug, invariant, found, seconds) in rows {
        let caught = found.iter().find(|b| b.invariant == invariant);
        let how = caught.map_or("ESCAPED".to_owned(), ToString::to_string);
        let mut broken: Vec<Invariant> = found.iter().map(|b| b.invariant).collect();
        broken.sort();
        broken.dedup();
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        let broken = broken.join(", ");
        // `cargo lab planted` reads these lines.
        println!("planted\t{bug:?}\t{seconds:.2}\t{invariant}\t{broken}\t{how}");
        if caught.is_none() {
            escaped.push(format!("{bug:?} ({invariant}; found {broken})"));
        }
    }
    println!(
        "{} planted bugs, {} caught by name",
        Bug::ALL.len(),
        Bug::ALL.len() - escaped.len()
    );
    assert!(
        Bug::ALL.len() >= 40 && escaped.is_empty(),
        "escaped: {escaped:#?}"
    );
}

/// The invariants whose bugs are noticed by another too, and why.
const SHARED: [(Invariant, &str); 2] = [
    (
        Invariant::SavedIsKept,
        "behind the cut that loses what was acknowledged, the next run counts again from the save before it, which I9 sees",
    ),
    (
        Invariant::OneSlotAtATime,
        "it is there for I8: a cut that tears two unflushed slots loses the save that was acknowledged",
    ),
];

#[test]
fn every_check_is_needed() {
    let mut invariants: Vec<Invariant> = Bug::ALL.iter().map(|(_, invariant)| *invariant).collect();
    invariants.sort();
    invariants.dedup();
    assert_eq!(invariants.len(), 28, "a bug is planted for every invariant");
    let rows = on_all(&invariants, |invariant| {
        let mut others = vec![];
        for (bug, planted_for) in Bug::ALL {
            if planted_for == invariant {
                let found = find(Some(bug), &|harness| harness.blind_to(invariant).until_any());
                match found.first() {
                    None => return (invariant, Some(bug), others),
                    Some(breach) => others.push(format!("{bug:?} by {}", breach.invariant)),
                }
            }
        }
        (invariant, None, others)
    });
    let mut shared = vec![];
    for (invariant, escapes, others) in rows {
        match escapes {
            Some(bug) => println!("without {invariant}: {bug:?} escapes"),
            None => {
                println!(
                    "without {invariant}: nothing escapes; found {}",
                    others.join(", ")
                );
                shared.push(invariant);
            }
        }
    }
    assert_eq!(shared, SHARED.map(|(invariant, _)| invariant), "{SHARED:?}");
}

/// A disk changed for another one anywhere in a run: the install lands, and nothing is written on the other.
#[test]
fn a_disk_that_is_changed_anywhere_is_noticed() {
    let harness = Harness::new("plain/prebuilt/foreign/person".parse().unwrap()).unwrap();
    for at in 0..harness.points.len() {
        let schedule = format!("0.{at}:swap").parse().unwrap();
        let report = harness.run(&schedule, false);
        assert_eq!(report.breaches, vec![], "{schedule}");
    }
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
    assert_eq!(harness.run(&schedule, true).breaches, vec![]);
    let careless = harness.with(Bug::SkipIdentity).run(&schedule, true);
    for invariant in [Invariant::OnlyTheTarget, Invariant::OthersUntouched] {
        assert!(
            careless.breaches.iter().any(|b| b.invariant == invariant),
            "{invariant}: {:?}",
            careless.breaches
        );
    }
}

/// A machine that must not be believed: four stop before the first write, and of two disks the blank one is taken, in every layout and mode.
/// Each bug that believes it is caught by its invariant, and by no other.
#[test]
fn machines_that_must_not_be_trusted() {
    for case in Case::all() {
        let harness = || Harness::new(case).unwrap();
        let breaches = |harness: Harness| -> Vec<Breach> {
            let coverage = harness.traps().unwrap();
            assert_eq!(coverage.scenarios, 5);
            coverage.failures.into_iter().flat_map(|f| f.breaches).collect()
        };
        assert_eq!(breaches(harness()), vec![], "the control: {case}");
        for (bug, invariant) in Bug::ALL.into_iter().filter(|(bug, _)| {
            matches!(
                bug,
                Bug::BlankAssumed
                    | Bug::BridgeAgrees
                    | Bug::LabelUnseen
                    | Bug::AnyFirmware
                    | Bug::AnyPassphrase
            )
        }) {
            let found = breaches(harness().with(bug));
            let caught = found.iter().any(|breach| breach.invariant == invariant);
            assert!(caught, "{case}, {bug:?}: {found:?}");
        }
    }
}

/// Somebody without a key makes the records ask for a commit of his, after every power cut: each way of believing them is caught by
/// name, and without the bug nothing is broken (the control), with a container and without one.
#[test]
fn who_forges_a_record_chooses_nothing() {
    for text in ["plain/flake/foreign/person", "luks/flake/foreign/person"] {
        let harness = || Harness::new(text.parse().unwrap()).unwrap();
        let forged = [OperatorAction::Forged, OperatorAction::Stripped];
        let honest = harness().operator_actions(&forged, &|| true).unwrap();
        let failures: Vec<String> = honest.failures.iter().map(ToString::to_string).collect();
        assert_eq!(failures, Vec::<String>::new(), "{text}: {honest}");
        assert!(honest.scenarios > 20, "{text}: {honest}");
        for bug in [
            Bug::PinFromRecord,
            Bug::SystemFromTarget,
            Bug::CodeUnchecked,
            Bug::EvaluatedEarly,
        ] {
            let coverage = harness().with(bug).operator_actions(&forged, &|| true).unwrap();
            let caught = coverage
                .failures
                .iter()
                .flat_map(|failure| &failure.breaches)
                .any(|breach| breach.invariant == Invariant::OnlyTheNamed);
            // What is in a container is out of reach.
            let out_of_reach = bug == Bug::SystemFromTarget && text.starts_with("luks");
            assert_eq!(caught, !out_of_reach, "{text}: {bug:?}: {coverage}");
        }
    }
}
