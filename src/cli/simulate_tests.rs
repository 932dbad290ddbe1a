//! Tests of `simulate`.

use super::*;
use clap::Parser;

fn told(extra: &[&str]) -> (Exit, String) {
    let (done, out) = done(extra);
    (done.unwrap(), out)
}

fn done(extra: &[&str]) -> (Result<Exit, Failure>, String) {
    done_with("plain.ron", extra)
}

fn done_with(example: &str, extra: &[&str]) -> (Result<Exit, Failure>, String) {
    let path = format!("{}/docs/examples/{example}", env!("CARGO_MANIFEST_DIR"));
    let path = path.as_str();
    let line = [&["landfall", "simulate", "--config", path], extra].concat();
    let super::super::Command::Simulate(args) = super::super::Cli::parse_from(line).command else {
        panic!("another command")
    };
    let mut out = vec![];
    let done = command(&args, &mut out);
    (done, String::from_utf8(out).unwrap())
}

#[test]
fn the_same_seed_prints_the_same_and_a_schedule_tells_its_scenario() {
    let trace = |text: &str| text.split_once("trace ").unwrap().1[..16].to_owned();
    let (exit, first) = told(&["--seed", "7", "--scenarios", "140"]);
    let (_, second) = told(&["--seed", "7", "--scenarios", "140"]);
    let (_, other) = told(&["--seed", "8", "--scenarios", "140"]);
    assert_eq!((exit, trace(&first)), (Exit::Ok, trace(&second)));
    assert_ne!(trace(&first), trace(&other));
    assert!(first.contains("140 scenarios"), "{first}");
    let (exit, text) = told(&["--schedule", "0.30:after:cut=none"]);
    assert!(
        exit == Exit::Ok && text.contains("0.30:after:cut=none: landed, after 2 runs"),
        "{text}"
    );
}

#[test]
fn a_point_that_no_run_reaches_is_an_error_that_names_it() {
    for (schedule, named) in [
        ("0.9999:lie", "point 0.9999"),
        ("0.3:after:kill,7.1:lie", "no run 7"),
    ] {
        let failure = done(&["--schedule", schedule]).0.unwrap_err();
        assert!(
            failure.exit == Exit::Usage && failure.text.contains(named),
            "{}",
            failure.text
        );
    }
}

#[test]
fn nothing_to_tell_is_a_wrong_number() {
    for wrong in [
        ["--seed", "1", "--scenarios", "0"].as_slice(),
        &["--slot-states", "0"],
    ] {
        let line = [&["landfall", "simulate"], wrong].concat();
        assert!(super::super::Cli::try_parse_from(line).is_err(), "{wrong:?}");
    }
}

/// Scripts have the former spellings; the help does not show them.
#[test]
fn a_former_spelling_of_an_option_is_the_same_option() {
    use super::super::{Cli, Command, command};
    let parsed = |line: &[&str]| Cli::try_parse_from([&["landfall"], line].concat()).map(|cli| cli.command);
    let former = ["simulate", "--seed", "1", "--stories", "3"];
    assert!(matches!(parsed(&former), Ok(Command::Simulate(args)) if args.scenarios == 3));
    assert!(
        matches!(parsed(&["simulate", "--exhaust", "2"]), Ok(Command::Simulate(args)) if args.depth == 2)
    );
    assert!(
        matches!(parsed(&["simulate", "--saves", "4"]), Ok(Command::Simulate(args)) if args.slot_states == Some(4))
    );
    let former = ["simulate", "--schedule", "0.1:lie", "--between", "copy"];
    assert!(
        matches!(parsed(&former), Ok(Command::Simulate(args)) if args.operator_action == Some(OperatorAction::Copy))
    );
    assert!(
        matches!(parsed(&["plan", "--image", "d"]), Ok(Command::Plan(args)) if args.disk_image.is_some())
    );
    assert!(matches!(parsed(&["resume", "--forgive"]), Ok(Command::Resume(args)) if args.run.reset_attempts));
    assert!(parsed(&["resume", "--forget"]).is_err());
    for (name, options) in [
        (
            "simulate",
            ["--stories", "--exhaust", "--saves", "--between"].as_slice(),
        ),
        ("plan", &["--image"]),
        ("install", &["--forgive"]),
        ("resume", &["--forgive"]),
    ] {
        let mut command = command();
        let help = command
            .find_subcommand_mut(name)
            .unwrap()
            .render_long_help()
            .to_string();
        for option in options {
            assert!(!help.contains(option), "{name}: {help}");
        }
    }
}

#[test]
fn a_failure_keeps_what_happened_also_when_people_did_something() {
    let harness = Harness::new("plain/flake/blank/person".parse().unwrap()).unwrap();
    for between in [None, Some(OperatorAction::Payload)] {
        let failure = sim::check::coverage::Failure {
            case: harness.setting().case,
            schedule: "0.30:after:cut=none".parse().unwrap(),
            operator_action: between,
            breaches: vec![],
        };
        let path = keep_trace(&harness, &failure).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::remove_file(&path).unwrap();
        assert!(
            text.starts_with("plain/flake/blank/person 0.30:after:cut=none"),
            "{text}"
        );
        assert_eq!(text.contains("without the operator action"), between.is_some());
        assert!(text.contains("\n1.0 "), "the second run is missing: {text}");
    }
}

#[test]
fn what_people_do_after_a_crash_is_told_by_name() {
    let (exit, text) = told(&["--schedule", "0.60:after:cut=none", "--operator-action", "copy"]);
    assert!(
        exit == Exit::Ok && text.contains("then copy: 1 stories, 0 failures"),
        "{text}"
    );
}

#[test]
fn the_checkpoint_alone_says_how_many_states_were_read() {
    let (exit, text) = told(&["--slot-states", "3000", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((exit, &value["failed"]), (Exit::Ok, &json!(0)));
    assert!(value["states"].as_u64() >= Some(3_000), "{text}");
}

#[test]
fn one_sort_of_fault_fills_one_column() {
    let (exit, text) = told(&["--faults", "stop", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((exit, &value["failed"]), (Exit::Ok, &json!(0)));
    let cells = value["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 10, "one for each phase that is left");
    assert!(
        cells
            .iter()
            .all(|cell| cell["fault"] == "stop" && cell["stories"].as_u64() > Some(0))
    );
}

/// Every example, whatever is done between two runs, also where the configuration names the commit.
#[test]
fn every_example_keeps_the_promise_whatever_is_done_between_two_runs() {
    let folder = format!("{}/docs/examples", env!("CARGO_MANIFEST_DIR"));
    let (mut told, mut impossible) = (0, 0);
    for entry in fs_err::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for between in OperatorAction::ALL {
            for at in ["0.20", "0.45", "0.70"] {
                let schedule = format!("{at}:before:cut=none");
                let (exit, text) = done_with(
                    &name,
                    &["--schedule", &schedule, "--operator-action", between.name()],
                );
                match exit {
                    Ok(Exit::Ok) => told += 1,
                    Err(failure) if failure.text.contains("not possible on the disk") => impossible += 1,
                    Ok(_) | Err(_) => panic!("{name} {schedule} {}: {text}", between.name()),
                }
            }
        }
    }
    assert_eq!(told + impossible, 5 * 14 * 3);
    assert!(told > 5 * 12 * 3, "{impossible} of them are not possible");
}

/// What would not be told is refused, and no alarm is given for it.
#[test]
fn a_schedule_that_says_more_than_is_told_is_refused() {
    for (schedule, between, why) in [
        ("0.8:after:kill", "moved-away", "while the machine is off"),
        (
            "0.22:fail-after:hardware",
            "moved-away",
            "while the machine is off",
        ),
        ("0.10:around:medium-gone", "anew", "first fixes the reason"),
        (
            "0.45:before:cut=none,7.9999:swap",
            "copy",
            "comes after the first run",
        ),
        ("0.9999:before:kill", "clock", "never reached"),
        ("0.0:before:kill", "reinstall", "not possible on the disk"),
        ("quiet", "edit", "not possible on the disk"),
    ] {
        let failure = done(&["--schedule", schedule, "--operator-action", between])
            .0
            .unwrap_err();
        assert!(
            failure.exit == Exit::Usage && failure.text.contains(why),
            "{schedule} {between}: {}",
            failure.text
        );
    }
}

#[test]
fn a_scenario_is_told_in_words_and_as_the_log_has_it() {
    let (exit, text) = told(&["--schedule", "0.10:around:medium-gone"]);
    assert_eq!(exit, Exit::Ok);
    assert!(
        text.contains("\"event\":\"stopped\"") && !text.contains("Failed {") && !text.contains("Some("),
        "{text}"
    );
}

#[test]
fn a_fault_that_cannot_happen_where_the_schedule_has_it_is_refused() {
    for (schedule, why) in [
        ("0.17:lie", "cannot report success without effect"),
        (
            "0.60:around:disk-gone,0.61:before:kill",
            "an earlier fault of the schedule",
        ),
        (
            "0.60:around:disk-gone,0.61:stop",
            "an earlier fault of the schedule",
        ),
        ("0.60:swap", "no longer looks for the disk by its name"),
        ("0.21:strange", "no program runs there"),
        ("0.60:hang", "no program runs there"),
        ("0.17:net:refused", "does not need the network"),
        ("0.17:lie-during4", "cannot report success without effect"),
        ("0.17:during9999:kill", "in the middle"),
        ("0.17:around:late", "does not tell the kernel"),
        ("0.30:after:cut=torn999999", "writes are pending then"),
        ("0.30:after:cut=only77", "writes are pending then"),
        (
            "0.30:after:kill,1.2:lie,1.3:lie",
            "cannot report success without effect",
        ),
    ] {
        for action in [&[][..], &["--operator-action", "copy"]] {
            if !action.is_empty() && schedule.contains(",1.") {
                continue;
            }
            let line = [&["--schedule", schedule], action].concat();
            let failure = done(&line).0.unwrap_err();
            assert!(
                failure.exit == Exit::Usage
                    && failure.text.contains(why)
                    && failure.text.contains("schedule"),
                "{line:?}: {}",
                failure.text
            );
        }
    }
    let (exit, text) = told(&["--schedule", "0.30:after:cut=all"]);
    assert!(exit == Exit::Ok && text.contains("landed"), "{text}");
}

#[test]
fn an_option_that_would_be_ignored_is_refused() {
    use super::super::Cli;
    for line in [
        &["--saves", "1", "--between", "copy"][..],
        &["--schedule", "quiet", "--stories", "5"],
        &["--schedule", "quiet", "--minutes", "5"],
        &["--writes", "--stories", "5"],
        &["--writes", "--between", "copy"],
        &["--decisions", "--minutes", "5"],
        &["--stories", "5"],
        &["--minutes", "5"],
        &["--between", "copy"],
    ] {
        let whole = [&["landfall", "simulate"], line].concat();
        assert!(Cli::try_parse_from(whole).is_err(), "{line:?}");
    }
    let good = ["landfall", "simulate", "--seed", "1", "--stories", "5"];
    assert!(Cli::try_parse_from(good).is_ok());
}
