//! Every crash: the driver is killed, and loses power, at every point of an install, in every layout and both modes, and
//! each time the next runs bring it to its end; every fault at every point likewise, and every pair of them; and whatever people
//! do between two runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use landfall::sim::check::coverage::{Coverage, Matrix};
use landfall::sim::explore::enumerate::Explorer;
use landfall::sim::explore::harness::Harness;
use landfall::sim::explore::run::{End, Ending, ScenarioRun};
use landfall::sim::inject::faults::FaultSort;
use landfall::sim::inject::faults::Injection;
use landfall::sim::inject::operator::OperatorAction;
use landfall::sim::inject::schedule::{InjectionAt, Schedule};
use landfall::sim::model::case::Mode;
use landfall::sim::model::case::{Before, Case, Consenter};
use landfall::sim::model::environment::Network;
use landfall::sim::model::setting::Setting;
use landfall_states::Phase;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Instant;

/// Runs a piece of work for every item on as many threads as there are processors.
fn on_all<T: Copy + Send>(items: &[T], work: impl Fn(T) -> Coverage + Sync) -> Coverage {
    let queue = Mutex::new(items.to_vec());
    let total = Mutex::new(Coverage::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(item) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    let coverage = work(item);
                    total.lock().unwrap().add(coverage);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

fn report(what: &str, began: Instant, coverage: &Coverage) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {coverage} in {seconds:.1} s");
    // `cargo lab crash` reads these lines.
    let Coverage {
        points,
        scenarios,
        failed,
        ..
    } = coverage;
    println!("crash\t{what}\t{points}\t{scenarios}\t{failed}\t{seconds:.1}");
    let mut shown = BTreeMap::new();
    for failure in &coverage.failures {
        let count = shown.entry(failure.breaches[0].invariant).or_insert(0);
        *count += 1;
        if *count <= 3 {
            println!("  {failure}");
        }
    }
    assert!(coverage.failures.is_empty(), "{shown:?}");
}

#[test]
fn every_single_crash_and_every_single_fault() {
    let began = Instant::now();
    let mut work: Vec<(Case, bool)> = vec![];
    for case in Case::all() {
        work.extend([(case, false), (case, true)]);
    }
    let coverage = on_all(&work, |(case, crashes)| {
        let harness = Harness::new(case).unwrap();
        if crashes {
            // The same points; they are counted once.
            Coverage {
                points: 0,
                ..harness.crashes()
            }
        } else {
            harness.faults()
        }
    });
    print!("{}", Matrix(&coverage));
    report("deaths and faults", began, &coverage);
    assert!(coverage.points > 1_000 && coverage.scenarios > 10_000);
    assert_eq!(coverage.empty_cells(), cannot_be(), "empty cells");
}

/// Cells of the matrix that stay empty, and why.
fn cannot_be() -> Vec<(Phase, FaultSort)> {
    // Only the preflight, the clone and the store ask for anything over the network.
    let asks = [Phase::Planned, Phase::Formatted, Phase::Cloned];
    Phase::ALL
        .into_iter()
        .filter(|phase| *phase != Phase::Landed && !asks.contains(phase))
        .map(|phase| (phase, FaultSort::Network))
        .collect()
}

/// What is found by going on from known machines is what is found by running every scenario from its beginning.
#[test]
fn the_short_way_is_the_long_way() {
    for text in ["luks-swap/flake/foreign/person", "plain/prebuilt/finished/person"] {
        let harness = Harness::new(text.parse().unwrap()).unwrap();
        let (compared, differences) = Explorer::new(&harness).differences(5);
        println!(
            "{text}: {compared} deaths told both ways, {} differ",
            differences.len()
        );
        assert!(compared > 100 && differences.is_empty(), "{differences:?}");
    }
}

/// A reinstall over a finished install, consent in advance, a blank disk.
#[test]
fn every_single_crash_on_other_ways() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "luks-swap/prebuilt/finished/person",
        "plain/flake/finished/in-advance",
        "swap/flake/blank/in-advance",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let coverage = on_all(&cases, |case| Harness::new(case).unwrap().crashes());
    report("deaths on other ways", began, &coverage);
}

/// Root from an image: every crash between and in its chunks, and every fault there.
#[test]
fn every_crash_and_fault_while_an_image_is_written() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "plain/image/foreign/person",
        "luks-swap/image/blank/in-advance",
        "swap/image/finished/person",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let coverage = on_all(&cases, |case| {
        let harness = Harness::new(case).unwrap();
        let chunks = harness
            .points
            .iter()
            .filter(|p| p.label == "write a chunk")
            .count();
        assert_eq!(chunks, 3, "the cases do write an image");
        let mut coverage = harness.crashes();
        coverage.add(harness.faults());
        coverage.add(harness.kills_then_cuts(Phase::Encrypted));
        coverage
    });
    report("deaths and faults with an image", began, &coverage);
    for case in cases {
        let report = Harness::new(Case { twice: true, ..case })
            .unwrap()
            .run(&"quiet".parse().unwrap(), true);
        assert_eq!(report.breaches, vec![], "{case}");
    }
}

/// I23: every order carried out twice, in every layout and both modes, ends as carried out once.
#[test]
fn every_order_twice_is_once() {
    for case in Case::all() {
        let report = Harness::new(Case { twice: true, ..case })
            .unwrap()
            .run(&"quiet".parse().unwrap(), true);
        assert_eq!(report.breaches, vec![], "{case}");
    }
}

#[test]
fn a_refused_run_changes_nothing() {
    for mut case in Case::all() {
        case.consenter = Consenter::Refuses;
        for before in [Before::Blank, Before::Foreign, Before::Finished] {
            let report = Harness::new(Case { before, ..case })
                .unwrap()
                .run(&"quiet".parse().unwrap(), true);
            assert_eq!((report.breaches, report.destroyed), (vec![], vec![]), "{case}");
        }
    }
}

/// What a killed run left in caches is made durable before it is believed.
#[test]
fn a_power_cut_after_a_kill() {
    let began = Instant::now();
    let harness = Harness::new("luks/prebuilt/foreign/person".parse().unwrap()).unwrap();
    let mut coverage = Coverage::default();
    for phase in [Phase::Planned, Phase::Formatted, Phase::Installed] {
        coverage.add(harness.kills_then_cuts(phase));
    }
    report("kill, then power cut", began, &coverage);
}

/// I7 and I16: whatever the slots hold, at any moment of the install.
#[test]
fn strange_slots_permit_nothing() {
    let began = Instant::now();
    let cases: Vec<Case> = ["plain/flake/foreign/person", "luks-swap/prebuilt/foreign/refuses"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let coverage = on_all(&cases, |case| {
        let records = Harness::new(Case {
            consenter: Consenter::Person,
            ..case
        })
        .unwrap()
        .records();
        Harness::new(case).unwrap().slots(&strange(&records))
    });
    report("strange slots", began, &coverage);
}

/// Pairs of slots from the records of a whole run: in order, forked, alone, torn, of a newer format, noise.
fn strange(records: &[Vec<u8>]) -> Vec<[Vec<u8>; 2]> {
    let blank = || vec![b'\n'; 4096];
    let mut pairs: Vec<[Vec<u8>; 2]> = records.windows(2).map(|w| [w[0].clone(), w[1].clone()]).collect();
    let last = records.last().unwrap().clone();
    pairs.extend(records.iter().map(|record| [record.clone(), last.clone()]));
    let mut torn = last.clone();
    torn[700..].fill(b'\n');
    pairs.push([torn, last.clone()]);
    pairs.push([vec![0xFF; 4096], vec![0; 4096]]);
    pairs.push([last.clone(), last]);
    pairs.push([newer(), records[0].clone()]);
    pairs.push([newer(), blank()]);
    pairs
}

/// A whole slot of a format to come.
fn newer() -> Vec<u8> {
    let head = "LANDFALL-CHECKPOINT 9 seq=00000000000000000099 len=000003 sha256=";
    let mut tail = b"\n(x)".to_vec();
    tail.resize(4096 - head.len() - 64, b'\n');
    let digest = landfall_states::names::Digest::of(&[head.as_bytes(), &tail].concat());
    [head.as_bytes(), digest.as_str().as_bytes(), &tail].concat()
}

#[test]
fn the_same_schedule_is_the_same_scenario() {
    for text in [
        "quiet",
        "0.60:fail:transient",
        "0.40:after:cut=seed5,1.30:after:kill",
    ] {
        let harness = Harness::new(Case::all()[7]).unwrap();
        assert_eq!(harness.repeat(&text.parse().unwrap()).breaches, vec![], "{text}");
    }
}

/// A disk that keeps a chunk neither the first time nor when it is written again is a hardware fault, and not a root filesystem.
#[test]
fn a_chunk_that_is_not_kept_twice_stops_the_run() {
    let harness = Harness::new("plain/image/foreign/person".parse().unwrap()).unwrap();
    let mut chunks = 0;
    for (at, point) in harness.points.iter().enumerate() {
        if point.label != "write a chunk" {
            continue;
        }
        let once = harness.run(&format!("0.{at}:lie").parse().unwrap(), true);
        assert_eq!(
            (once.breaches.len(), once.runs),
            (0, 1),
            "written again, it is there"
        );
        let repaired = |line: &&String| line.ends_with("write a chunk again");
        // With the first one the filesystem's header goes too: then it is begun again.
        let Some((again, _)) = once
            .lines
            .iter()
            .find(repaired)
            .and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        chunks += 1;
        let twice = harness.run(&format!("0.{at}:lie,{again}:lie").parse().unwrap(), true);
        assert_eq!(twice.breaches, vec![], "0.{at} and {again}");
        assert_eq!((twice.ending, twice.runs), (Ending::Landed, 2));
        let stop = twice.lines.iter().find(|line| line.contains("reads back wrong"));
        assert!(stop.is_some_and(|line| line.contains("Hardware")), "{stop:?}");
    }
    assert!(chunks > 1);
}

/// Every pair: crashes and faults, in the same run or in the next. Here a part of them; the whole in every layout and both
/// modes is the next test.
#[test]
fn a_part_of_every_pair() {
    let began = Instant::now();
    let cases: Vec<(Case, u64)> = [
        ("luks-swap/prebuilt/foreign/person", 7),
        ("plain/flake/foreign/person", 23),
        ("plain/image/foreign/person", 17),
    ]
    .map(|(text, share)| (text.parse().unwrap(), share))
    .to_vec();
    let coverage = on_all(&cases, |(case, share)| {
        Harness::new(case).unwrap().pairs(share, 48)
    });
    report("a part of the pairs", began, &coverage);
    assert!(coverage.firsts > 10 && coverage.scenarios > 1_000);
}

#[test]
#[ignore = "run by: cargo lab crash --pairs (most of an hour)"]
fn every_pair_there_is() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let images = Case::all().into_iter().filter(|case| case.mode == Mode::Flake);
    let images = images.map(|case| Case {
        mode: Mode::Image,
        ..case
    });
    for case in Case::all().into_iter().chain(images) {
        let began = Instant::now();
        let work: Vec<(Case, u64)> = (0..threads).map(|share| (case, share)).collect();
        let coverage = on_all(&work, |(case, share)| {
            Harness::new(case).unwrap().pairs(share, threads)
        });
        report(&format!("pairs: {case}"), began, &coverage);
        assert!(coverage.firsts > 100 && coverage.scenarios > 100_000);
    }
}

/// A third crash, wherever two have left a machine that one does not leave; the control: pairs go on from fewer machines.
#[test]
fn a_third_crash_behind_a_part_of_the_pairs() {
    let began = Instant::now();
    let cases: Vec<(Case, u64)> = [
        ("luks/prebuilt/foreign/person", 9),
        ("swap/flake/blank/person", 3),
    ]
    .map(|(text, share)| (text.parse().unwrap(), share))
    .to_vec();
    let crashes = [FaultSort::Kill, FaultSort::Cut];
    let coverage = on_all(&cases, |(case, share)| {
        let harness = Harness::new(case).unwrap();
        let pairs = harness.pairs_of(share, 48, &crashes);
        let triples = harness.triples(share, 48, &crashes);
        assert!(
            pairs.firsts > 0 && triples.firsts > 2 * pairs.firsts,
            "{pairs} | {triples}"
        );
        assert!(triples.scenarios > pairs.scenarios);
        triples
    });
    report("a part of three deaths", began, &coverage);
}

/// What people do between two runs, after every crash.
#[test]
fn between_two_runs() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "luks-swap/flake/foreign/person",
        "plain/prebuilt/blank/person",
        "swap/image/blank/person",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let coverage = on_all(&cases, |case| {
        Harness::new(case)
            .unwrap()
            .operator_actions(&OperatorAction::ALL, &|| true)
            .unwrap()
    });
    report("between two runs", began, &coverage);
    assert!(coverage.scenarios > 2_000);
}

/// Up to four faults of any sort in any runs, by chance; a night of them: `landfall simulate --seed 1 --minutes 600`.
#[test]
fn scenarios_by_chance() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "luks/prebuilt/foreign/person",
        "swap/flake/blank/person",
        "luks-swap/image/foreign/person",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let coverage = on_all(&cases, |case| {
        Harness::new(case)
            .unwrap()
            .chance(2, 0, 1_000, &FaultSort::ALL, &|| true)
    });
    report("by chance", began, &coverage);
    assert_eq!(coverage.scenarios, 3_000);
}

/// A network that fails in any of its ways at the clone or at the store is got over in the same run; the control: with
/// fewer retries than a link that comes and goes needs, the run stops.
#[test]
fn a_network_that_fails_for_a_while_ends_no_run() {
    let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
    let (quiet, _) = ScenarioRun::new(&setting).run(&Schedule::default());
    for label in ["fetch", "evaluate and fetch"] {
        let at = quiet
            .points
            .iter()
            .position(|point| point.label == label)
            .unwrap();
        for network in Network::ALL {
            let shot = InjectionAt {
                run: 0,
                at: at.try_into().unwrap(),
                what: Injection::Network(network),
            };
            let ends = |retries: u32| {
                let mut scenario = ScenarioRun::new(&setting);
                scenario.request.budget.retries_per_run_max = retries;
                scenario.run(&Schedule(vec![shot])).0.end
            };
            assert!(matches!(ends(10), End::Said(Ok(_))), "{label} {network:?}");
            let stops = matches!(ends(2), End::Said(Err(_)));
            assert_eq!(stops, network == Network::Flapping, "{label} {network:?}");
        }
    }
}
