//! Every crash: the driver is killed, and loses power, at every point of an install, in every layout and both modes, and
//! each time the next runs bring it to its end; every fault at every point likewise, and every pair of them; and whatever people
//! do between two runs.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use landfall::sim::check::coverage::{Matrix, Tally};
use landfall::sim::explore::enumerate::Explorer;
use landfall::sim::explore::harness::Harness;
use landfall::sim::explore::run::{End, Ending, Story};
use landfall::sim::inject::faults::Sort;
use landfall::sim::inject::faults::What;
use landfall::sim::inject::operator::Between;
use landfall::sim::inject::schedule::{Schedule, Shot};
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
fn on_all<T: Copy + Send>(items: &[T], work: impl Fn(T) -> Tally + Sync) -> Tally {
    let queue = Mutex::new(items.to_vec());
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(item) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    let tally = work(item);
                    total.lock().unwrap().add(tally);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

fn report(what: &str, began: Instant, tally: &Tally) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {tally} in {seconds:.1} s");
    // `cargo lab crash` reads these lines.
    let Tally {
        points,
        stories,
        failed,
        ..
    } = tally;
    println!("crash\t{what}\t{points}\t{stories}\t{failed}\t{seconds:.1}");
    let mut shown = BTreeMap::new();
    for failure in &tally.failures {
        let count = shown.entry(failure.breaches[0].invariant).or_insert(0);
        *count += 1;
        if *count <= 3 {
            println!("  {failure}");
        }
    }
    assert!(tally.failures.is_empty(), "{shown:?}");
}

#[test]
fn every_single_death_and_every_single_fault() {
    let began = Instant::now();
    let mut work: Vec<(Case, bool)> = vec![];
    for case in Case::all() {
        work.extend([(case, false), (case, true)]);
    }
    let tally = on_all(&work, |(case, deaths)| {
        let harness = Harness::new(case).unwrap();
        if deaths {
            // The same points; they are counted once.
            Tally {
                points: 0,
                ..harness.crashes()
            }
        } else {
            harness.faults()
        }
    });
    print!("{}", Matrix(&tally));
    report("deaths and faults", began, &tally);
    assert!(tally.points > 1_000 && tally.stories > 10_000);
    assert_eq!(tally.empty_cells(), cannot_be(), "empty cells");
}

/// Cells of the matrix that stay empty, and why.
fn cannot_be() -> Vec<(Phase, Sort)> {
    // Only the preflight, the clone and the store ask for anything over the network.
    let asks = [Phase::Planned, Phase::Formatted, Phase::Cloned];
    Phase::ALL
        .into_iter()
        .filter(|phase| *phase != Phase::Landed && !asks.contains(phase))
        .map(|phase| (phase, Sort::Network))
        .collect()
}

/// What is found by going on from known machines is what is found by telling every story from its beginning.
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
fn every_single_death_on_other_ways() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "luks-swap/prebuilt/finished/person",
        "plain/flake/finished/in-advance",
        "swap/flake/blank/in-advance",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let tally = on_all(&cases, |case| Harness::new(case).unwrap().crashes());
    report("deaths on other ways", began, &tally);
}

/// Root from an image: every death between and in its chunks, and every fault there.
#[test]
fn every_death_and_fault_while_an_image_is_written() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "plain/image/foreign/person",
        "luks-swap/image/blank/in-advance",
        "swap/image/finished/person",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let tally = on_all(&cases, |case| {
        let harness = Harness::new(case).unwrap();
        let chunks = harness
            .points
            .iter()
            .filter(|p| p.label == "write a chunk")
            .count();
        assert_eq!(chunks, 3, "the cases do write an image");
        let mut tally = harness.crashes();
        tally.add(harness.faults());
        tally.add(harness.kills_then_cuts(Phase::Encrypted));
        tally
    });
    report("deaths and faults with an image", began, &tally);
    for case in cases {
        let told = Harness::new(Case { twice: true, ..case })
            .unwrap()
            .tell(&"quiet".parse().unwrap(), true);
        assert_eq!(told.breaches, vec![], "{case}");
    }
}

/// I23: every order carried out twice, in every layout and both modes, ends as carried out once.
#[test]
fn every_order_twice_is_once() {
    for case in Case::all() {
        let told = Harness::new(Case { twice: true, ..case })
            .unwrap()
            .tell(&"quiet".parse().unwrap(), true);
        assert_eq!(told.breaches, vec![], "{case}");
    }
}

#[test]
fn who_refuses_loses_nothing() {
    for mut case in Case::all() {
        case.consenter = Consenter::Refuses;
        for before in [Before::Blank, Before::Foreign, Before::Finished] {
            let told = Harness::new(Case { before, ..case })
                .unwrap()
                .tell(&"quiet".parse().unwrap(), true);
            assert_eq!((told.breaches, told.destroyed), (vec![], vec![]), "{case}");
        }
    }
}

/// What a killed run left in caches is made durable before it is believed.
#[test]
fn a_power_cut_after_a_kill() {
    let began = Instant::now();
    let harness = Harness::new("luks/prebuilt/foreign/person".parse().unwrap()).unwrap();
    let mut tally = Tally::default();
    for phase in [Phase::Planned, Phase::Formatted, Phase::Installed] {
        tally.add(harness.kills_then_cuts(phase));
    }
    report("kill, then power cut", began, &tally);
}

/// I7 and I16: whatever the slots hold, at any moment of the install.
#[test]
fn strange_slots_permit_nothing() {
    let began = Instant::now();
    let cases: Vec<Case> = ["plain/flake/foreign/person", "luks-swap/prebuilt/foreign/refuses"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    let tally = on_all(&cases, |case| {
        let records = Harness::new(Case {
            consenter: Consenter::Person,
            ..case
        })
        .unwrap()
        .records();
        Harness::new(case).unwrap().slots(&strange(&records))
    });
    report("strange slots", began, &tally);
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
fn the_same_schedule_is_the_same_story() {
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
        let once = harness.tell(&format!("0.{at}:lie").parse().unwrap(), true);
        assert_eq!(
            (once.breaches.len(), once.runs),
            (0, 1),
            "written again, it is there"
        );
        let mended = |line: &&String| line.ends_with("write a chunk again");
        // With the first one the filesystem's header goes too: then it is begun anew.
        let Some((again, _)) = once
            .lines
            .iter()
            .find(mended)
            .and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        chunks += 1;
        let twice = harness.tell(&format!("0.{at}:lie,{again}:lie").parse().unwrap(), true);
        assert_eq!(twice.breaches, vec![], "0.{at} and {again}");
        assert_eq!((twice.ending, twice.runs), (Ending::Landed, 2));
        let stop = twice.lines.iter().find(|line| line.contains("reads back wrong"));
        assert!(stop.is_some_and(|line| line.contains("Hardware")), "{stop:?}");
    }
    assert!(chunks > 1);
}

/// Every pair: deaths and faults, in the same run or in the next. Here a part of them; the whole in every layout and both
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
    let tally = on_all(&cases, |(case, share)| {
        Harness::new(case).unwrap().pairs(share, 48)
    });
    report("a part of the pairs", began, &tally);
    assert!(tally.firsts > 10 && tally.stories > 1_000);
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
        let tally = on_all(&work, |(case, share)| {
            Harness::new(case).unwrap().pairs(share, threads)
        });
        report(&format!("pairs: {case}"), began, &tally);
        assert!(tally.firsts > 100 && tally.stories > 100_000);
    }
}

/// A third death, wherever two have left a machine that one does not leave; the control: pairs go on from fewer machines.
#[test]
fn a_third_death_behind_a_part_of_the_pairs() {
    let began = Instant::now();
    let cases: Vec<(Case, u64)> = [
        ("luks/prebuilt/foreign/person", 9),
        ("swap/flake/blank/person", 3),
    ]
    .map(|(text, share)| (text.parse().unwrap(), share))
    .to_vec();
    let deaths = [Sort::Kill, Sort::Cut];
    let tally = on_all(&cases, |(case, share)| {
        let harness = Harness::new(case).unwrap();
        let pairs = harness.pairs_of(share, 48, &deaths);
        let triples = harness.triples(share, 48, &deaths);
        assert!(
            pairs.firsts > 0 && triples.firsts > 2 * pairs.firsts,
            "{pairs} | {triples}"
        );
        assert!(triples.stories > pairs.stories);
        triples
    });
    report("a part of three deaths", began, &tally);
}

/// What people do between two runs, after every death.
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
    let tally = on_all(&cases, |case| {
        Harness::new(case)
            .unwrap()
            .between(&Between::ALL, &|| true)
            .unwrap()
    });
    report("between two runs", began, &tally);
    assert!(tally.stories > 2_000);
}

/// Up to four misfortunes of any sort in any runs, by chance; a night of them: `landfall simulate --seed 1 --minutes 600`.
#[test]
fn stories_by_chance() {
    let began = Instant::now();
    let cases: Vec<Case> = [
        "luks/prebuilt/foreign/person",
        "swap/flake/blank/person",
        "luks-swap/image/foreign/person",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let tally = on_all(&cases, |case| {
        Harness::new(case)
            .unwrap()
            .chance(2, 0, 1_000, &Sort::ALL, &|| true)
    });
    report("by chance", began, &tally);
    assert_eq!(tally.stories, 3_000);
}

/// A network that fails in any of its ways at the clone or at the store is got over in the same run; the control: with
/// fewer retries than a link that comes and goes needs, the run stops.
#[test]
fn a_network_that_fails_for_a_while_ends_no_run() {
    let setting = Rc::new(Setting::new("plain/flake/blank/person".parse().unwrap()).unwrap());
    let (quiet, _) = Story::new(&setting, None).run(&Schedule::default());
    for label in ["fetch", "evaluate and fetch"] {
        let at = quiet
            .points
            .iter()
            .position(|point| point.label == label)
            .unwrap();
        for network in Network::ALL {
            let shot = Shot {
                run: 0,
                at: at.try_into().unwrap(),
                what: What::Network(network),
            };
            let ends = |retries: u32| {
                let mut story = Story::new(&setting, None);
                story.request.budget.retries_per_run_max = retries;
                story.run(&Schedule(vec![shot])).0.end
            };
            assert!(matches!(ends(10), End::Said(Ok(_))), "{label} {network:?}");
            let stops = matches!(ends(2), End::Said(Err(_)));
            assert_eq!(stops, network == Network::Flapping, "{label} {network:?}");
        }
    }
}
