//! What is told of a run: events, the status, the name in the lock.

use crate::kit::{golden, read, system};
use landfall::cli::progress::Line;
use landfall::cli::status::{Count, Ending, Status};
use landfall::event::Event;
use landfall::lock::Holder;
use landfall_states::Phase;
use landfall_states::fault::{Fault, FaultClass};

fn fault() -> Fault {
    Fault {
        retry_after_s: Some(90),
        ..Fault::transient(
            "clone of https://forge.example/o/r",
            "connection \"reset\"\nby peer",
        )
    }
}

/// Every event, some with and without what may be missing.
fn events() -> Vec<Event> {
    let text = str::to_owned;
    vec![
        Event::Started {
            version: text("0.1.0"),
            host: text("web"),
            command: text("install"),
        },
        Event::DiskChosen {
            device: text("/dev/nvme0n1"),
            identity: text("wwn eui.0025388b71b2c3d4, 512110190592 bytes"),
            why: text("it is the only disk"),
        },
        Event::Decided {
            rules: vec![1, 14],
            what: text("the install goes on"),
            claimed: Some(Phase::Formatted),
        },
        Event::Decided {
            rules: vec![],
            what: text("a new install"),
            claimed: None,
        },
        Event::Checked {
            what: text("clock"),
            found: text("2026-11-26"),
        },
        Event::Found {
            phase: Phase::Planned,
        },
        Event::Begun {
            phase: Phase::Encrypted,
            attempt: 2,
            what: text("format root-web"),
        },
        Event::Reached {
            phase: Phase::Formatted,
            took_ms: 1_500,
        },
        Event::Step {
            what: text("mkfs.ext4 root-web"),
        },
        Event::Progress {
            what: text("copying the closure"),
            done: 7,
            total: Some(2_003),
            unit: text("paths"),
        },
        Event::Progress {
            what: text("fetching"),
            done: 4_096,
            total: None,
            unit: text("bytes"),
        },
        Event::Output {
            program: text("nix"),
            line: text("copying path '/nix/store/…'"),
        },
        Event::Saved {
            sequence: 12,
            phase: Phase::Anchored,
            place: text("slot 1"),
        },
        Event::Asking {
            what: text("consent"),
        },
        Event::Notice {
            what: text("the firmware has no room for a boot entry"),
        },
        Event::Failed {
            phase: Phase::Formatted,
            fault: fault(),
        },
        Event::RetryIn {
            wait_ms: 1_500,
            retry: 1,
        },
        Event::Landed {
            system: system().to_string(),
            revision: text("0123456789abcdef0123456789abcdef01234567"),
        },
        Event::Stopped {
            phase: Some(Phase::Landed),
            fault: Fault::hardware("disk sda", "input/output error"),
        },
        Event::Stopped {
            phase: None,
            fault: Fault::new(
                FaultClass::Interrupted,
                "landfall",
                "a stop was asked for",
                "landfall resume",
            ),
        },
    ]
}

/// A new event does not compile until it has its line in [`events`].
fn is_in_the_list(event: &Event) -> usize {
    match event {
        Event::Started { .. } => 0,
        Event::DiskChosen { .. } => 1,
        Event::Decided { .. } => 2,
        Event::Checked { .. } => 3,
        Event::Found { .. } => 4,
        Event::Begun { .. } => 5,
        Event::Reached { .. } => 6,
        Event::Step { .. } => 7,
        Event::Progress { .. } => 8,
        Event::Output { .. } => 9,
        Event::Saved { .. } => 10,
        Event::Asking { .. } => 11,
        Event::Notice { .. } => 12,
        Event::Failed { .. } => 13,
        Event::RetryIn { .. } => 14,
        Event::Landed { .. } => 15,
        Event::Stopped { .. } => 16,
    }
}

#[test]
fn every_event() {
    let mut kinds: Vec<usize> = events().iter().map(is_in_the_list).collect();
    kinds.dedup();
    assert_eq!(kinds, (0..=16).collect::<Vec<_>>());
    let lines: Vec<Line> = events()
        .into_iter()
        .enumerate()
        .map(|(index, event)| Line {
            at_ms: 1_000 + index as u64,
            event,
        })
        .collect();
    let text: String = lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect();
    golden("events-1", "every-event.jsonl", text.as_bytes());
    let kept = String::from_utf8(read("events-1", "every-event.jsonl")).unwrap();
    let back: Vec<Line> = kept
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(back, lines);
}

#[test]
fn the_status() {
    let fresh = Status::begin(4_711, 20_000);
    let mut busy = fresh.clone();
    let mut all = events();
    let stopped = all.pop().unwrap();
    let stopped_late = all.pop().unwrap();
    let landed = all.pop().unwrap();
    for event in &all {
        busy.take(event, 21_000);
    }
    busy.asking = Some("consent".into());
    busy.phase_since_ms = Some(20_500);
    busy.attempt = Some(3);
    busy.count = Some(Count {
        what: "copying the closure".into(),
        done: 7,
        total: Some(2_003),
        unit: "paths".into(),
    });
    let ended = |event: &Event| {
        let mut status = fresh.clone();
        status.take(event, 30_000);
        status
    };
    let landed = ended(&landed);
    assert!(matches!(landed.ending, Some(Ending::Landed { .. })));
    for (name, status) in [
        ("fresh.json", &fresh),
        ("busy.json", &busy),
        ("landed.json", &landed),
        ("stopped.json", &ended(&stopped)),
        ("stopped-late.json", &ended(&stopped_late)),
    ] {
        golden(
            "status-1",
            name,
            serde_json::to_string(status).unwrap().as_bytes(),
        );
        assert_eq!(
            &serde_json::from_slice::<Status>(&read("status-1", name)).unwrap(),
            status
        );
    }
}

#[test]
fn the_name_in_the_lock() {
    let holder = Holder {
        pid: 4_711,
        command: "install".into(),
        since_ms: 20_000,
    };
    golden(
        "lock-1",
        "lock",
        serde_json::to_string(&holder).unwrap().as_bytes(),
    );
    assert_eq!(
        serde_json::from_slice::<Holder>(&read("lock-1", "lock")).unwrap(),
        holder
    );
}
