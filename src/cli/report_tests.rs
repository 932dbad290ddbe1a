//! Tests of what is known of a run.

use super::*;
use crate::event::FaultTold;
use landfall_states::checkpoint::Mark;
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::Digest;
use landfall_states::plan::DiskIdentity;

#[test]
fn a_status_is_folded_from_events() {
    let mut status = Status::begin(7, 1_000);
    let fault: FaultTold = (&Fault::injected(FaultClass::Transient, "clone", "connection reset")).into();
    for (at, event) in [
        Event::Started {
            version: "0".into(),
            host: "web".into(),
            command: "install".into(),
        },
        Event::Begun {
            phase: Phase::Formatted,
            attempt: 3,
            what: "clone".into(),
        },
        Event::Failed {
            phase: Phase::Formatted,
            fault: fault.clone(),
        },
        Event::RetryIn {
            wait_ms: 4_000,
            retry: 1,
        },
    ]
    .iter()
    .enumerate()
    {
        status.take(event, 2_000 + at as u64);
    }
    let step = Line {
        at_ms: 2_900,
        event: Event::Step {
            what: "git fetch".into(),
        },
    };
    let report = Report::of(3_000, true, Some(status), vec![step]);
    expect_test::expect![[r#"
            landfall install of host web, process 7, started 2.0 s ago
            phases: done Planned, Partitioned, Anchored, Encrypted, Formatted; running Cloned; to do Realised, Installed, Bootable, Provisioned, Landed
            phase: Formatted → Clone configuration, for 0.9 s, attempt 3
            step: clone
            last fault (transient): clone: connection reset
            retry in 3.0 s
            event: [     2.900]   git fetch"#]]
    .assert_eq(&report.lines().join("\n"));
    assert!(!report.is_over());
    let gone = Report {
        alive: false,
        ..report
    };
    assert!(gone.is_over());
    assert!(gone.lines().iter().any(|line| line.contains("landfall resume")));
}

/// What programs read: the fields of the screen, beside those that were there before.
#[test]
fn programs_are_told_what_the_screen_shows() {
    let mut run = Status::begin(7, 1_000);
    run.take(
        &Event::Found {
            phase: Phase::Planned,
        },
        1_500,
    );
    run.take(
        &Event::Asking {
            what: "consent".into(),
            scan: None,
        },
        2_000,
    );
    // A wrong answer is told while the question stands.
    run.take(&Event::Notice { what: "no".into() }, 2_100);
    let json = |alive: bool, run: &Status| {
        serde_json::to_value(Report::of(3_000, alive, Some(run.clone()), vec![])).unwrap()
    };
    let told = json(true, &run);
    let states: Vec<&str> = told["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shown| shown["state"].as_str().unwrap())
        .collect();
    assert_eq!(states[..4], ["done", "done", "running", "to_do"]);
    assert_eq!(
        (states.len(), told["phases"][2]["phase"].as_str()),
        (11, Some("Anchored"))
    );
    assert_eq!(told["waiting_for"], "an answer");
    let gone = json(false, &run);
    assert_eq!(
        (gone["phases"][2]["state"].as_str(), &gone["waiting_for"]),
        (Some("failed"), &serde_json::Value::Null)
    );
    run.take(
        &Event::Landed {
            system: "/nix/store/x".into(),
            revision: "0".into(),
        },
        2_500,
    );
    let landed = json(false, &run);
    assert!(
        landed["phases"]
            .as_array()
            .unwrap()
            .iter()
            .all(|shown| shown["state"] == "done")
    );
}

#[test]
fn the_tmpfs_record_is_shown_whole_or_called_damaged() {
    let slot = Record {
        sequence: 7,
        parent: None,
        host: "web".parse().unwrap(),
        install: serde_json::from_str("\"6ba7b814-9dad-51d1-80b4-00c04fd430c8\"").unwrap(),
        nonce: 0,
        layout: Digest::of(b"layout"),
        payload: Digest::of(b"payload"),
        disk: DiskIdentity {
            wwn: None,
            serial: Some("LF0001".into()),
            path: None,
            size_bytes: 8 << 30,
            sector_bytes: 512,
        },
        revision: "0123456789012345678901234567890123456789".parse().unwrap(),
        claim: RecordedPhase::Encrypted,
        mark: Mark::Begun,
        attempts: Attempts::default(),
        boot: String::new(),
        last_fault: None,
        image_progress: None,
    }
    .encode()
    .unwrap();
    let shown = checkpoint(&slot).unwrap();
    assert_eq!((shown.sequence, shown.claim.phase()), (7, Phase::Encrypted));
    // Any byte of the body, also one that leaves it a record.
    let text = String::from_utf8(slot.clone()).unwrap();
    let flipped = text.replace("\"web\"", "\"wee\"");
    assert_ne!(text, flipped);
    let why = checkpoint(flipped.as_bytes()).unwrap_err();
    assert!(why.starts_with("damaged (digest does not match)"), "{why}");
    assert!(
        checkpoint(&slot[..2_000])
            .unwrap_err()
            .starts_with("damaged (wrong length)")
    );
    assert!(checkpoint(b"nonsense\n()").is_err());
}

/// What is listed has a line each wherever there are lines, and no layout is in a value.
#[test]
fn what_keeps_the_disks_from_a_resume_is_a_list() {
    let nothing = Event::NothingToResume {
        why: "no disk can take one".into(),
        list: vec!["sda: it is too small".into(), "sdb: it is in use".into()],
        next: "landfall disks".into(),
    };
    let mut status = Status::begin(7, 1_000);
    status.take(&nothing, 2_000);
    let lines = Report::of(3_000, false, Some(status.clone()), vec![]).lines();
    let at = lines
        .iter()
        .position(|line| line.starts_with("nothing to resume"))
        .unwrap();
    assert_eq!(
        lines[at..at + 4],
        [
            "nothing to resume: no disk can take one:",
            "  sda: it is too small",
            "  sdb: it is in use",
            "next: landfall disks",
        ]
    );
    let json = serde_json::to_string(&nothing).unwrap();
    assert!(
        json.contains(r#""list":["sda: it is too small","sdb: it is in use"]"#),
        "{json}"
    );
    assert!(!json.contains("\\n"), "{json}");
    // The control: without a list the bytes are those of before.
    let plain = r#"{"event":"nothing_to_resume","why":"a","next":"b"}"#;
    let event: Event = serde_json::from_str(plain).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), plain);
}
