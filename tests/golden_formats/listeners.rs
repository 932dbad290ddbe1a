//! What a run reports: events, the status, the name in the lock.

#[path = "../../states/fault/examples.rs"]
mod examples;

use crate::kit::{folder, golden, read, system};
use examples::examples;
use landfall::cli::line::Line;
use landfall::cli::run_status::{Count, Ending, Status};
use landfall::event::Event;
use landfall::event::FaultTold;
use landfall::hosts::transaction::{Entry, Journal};
use landfall::lock::Holder;
use landfall_states::Phase;
use landfall_states::fault;
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, Kind, LastEnding, Limit, Os, Remedy};

/// The faults of version 1's files, as [`events`] has them.
fn faults() -> [Fault; 3] {
    [
        Fault::injected(
            FaultClass::Transient,
            "clone of https://forge.example/o/r",
            "connection \"reset\"\nby peer",
        )
        .waiting(90),
        // What was to be done is a text of that time: words may change.
        Fault::injected(FaultClass::Hardware, "disk sda", "input/output error")
            .with_next(Remedy::words("replace the device, then landfall resume")),
        Fault::injected(FaultClass::Interrupted, "landfall", "a stop was asked for"),
    ]
}

/// A fault as it is told in those files: the first one's reason has two lines there, and words are of one line since.
fn told(fault: &Fault) -> FaultTold {
    let mut told: FaultTold = fault.into();
    if told.record.why == "connection \"reset\" by peer" {
        told.record.why = "connection \"reset\"\nby peer".into();
    }
    told
}

/// Every event, some with and without what may be missing.
#[expect(clippy::too_many_lines, reason = "one row for each event")]
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
            scan: None,
        },
        Event::Notice {
            what: text("the firmware has no room for a boot entry"),
        },
        Event::Failed {
            phase: Phase::Formatted,
            fault: told(&faults()[0]),
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
            fault: told(&faults()[1]),
        },
        Event::Stopped {
            phase: None,
            fault: told(&faults()[2]),
        },
    ]
}

/// Ends of runs that came later: a file that is there is never edited.
fn later_ends() -> Vec<Event> {
    vec![
        Event::AlreadyLanded {
            system: system().to_string(),
            revision: "0123456789abcdef0123456789abcdef01234567".into(),
        },
        Event::NothingToResume {
            why: "sda holds no install of web".into(),
            list: vec![],
            next: "landfall install".into(),
        },
    ]
}

/// A new event does not compile until it has its line in [`events`], or in [`later_ends`].
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
        Event::AlreadyLanded { .. } => 17,
        Event::NothingToResume { .. } => 18,
    }
}

/// Events as lines, from one second on.
fn lines(events: Vec<Event>) -> Vec<Line> {
    events
        .into_iter()
        .enumerate()
        .map(|(index, event)| Line {
            at_ms: 1_000 + index as u64,
            event,
        })
        .collect()
}

fn back(format: &str, name: &str) -> Vec<Line> {
    let kept = String::from_utf8(read(format, name)).unwrap();
    kept.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What version 1 had of a fault: its words.
fn words_alone(told: &mut FaultTold) {
    (told.kind, told.values, told.remedy) = (None, None, None);
}

#[test]
fn every_event() {
    let mut kinds: Vec<usize> = events().iter().map(is_in_the_list).collect();
    kinds.dedup();
    assert_eq!(kinds, (0..=16).collect::<Vec<_>>());
    golden_lines("every-event.jsonl", &lines(events()));
    let later: Vec<usize> = later_ends().iter().map(is_in_the_list).collect();
    assert_eq!(later, [17, 18]);
    assert!(later_ends().iter().all(Event::is_end));
    golden_lines("later-ends.jsonl", &lines(later_ends()));
}

#[test]
fn events_of_version_1_are_read() {
    let mut lines = lines(events());
    for line in &mut lines {
        if let Event::Failed { fault, .. } | Event::Stopped { fault, .. } = &mut line.event {
            words_alone(fault);
        }
    }
    assert_eq!(back("events-1", "every-event.jsonl"), lines);
}

/// Every kind of fault that is not about one thing, with its values.
#[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
fn general_kinds() -> Vec<Kind> {
    let text = str::to_owned;
    let list = || vec![text("a"), text("b")];
    vec![
        Kind::Os {
            on: text("disk sda"),
            os: Os {
                doing: Some(text("read it")),
                errno: Some(5),
                said: text("Input/output error (os error 5)"),
            },
        },
        Kind::Program {
            on: text("root"),
            ended: Ended {
                program: text("mkfs.ext4"),
                code: Some(1),
                last_lines: list(),
                note: None,
            },
            class: FaultClass::Permanent,
        },
        Kind::ProgramLimit {
            program: text("git"),
            limit: Limit::Silence,
            limit_s: 60,
        },
        Kind::ReadBack {
            on: text("slot 1"),
            found: text("it differs"),
        },
        Kind::OtherDisk {
            disk: text("disk A"),
            found: text("serial B"),
            expected: Some(text("serial A")),
        },
        Kind::Twins {
            disk: text("disk A"),
            devices: list(),
        },
        Kind::TableChanged {
            disk: text("disk A"),
            differences: list(),
        },
        Kind::InUse {
            on: text("disk A"),
            by: list(),
        },
        Kind::LeftAttached {
            on: text("disk A"),
            what: list(),
        },
        Kind::ForeignPartition {
            number: 2,
            name: text("root-web"),
            found: text("ext4 photos"),
        },
        Kind::ChangedContents {
            disk: text("disk A"),
            after_consent: true,
        },
        Kind::ConsentRefused { disk: text("disk A") },
        Kind::NoChoice {
            reason: text("several are blank"),
            disks: list(),
        },
        Kind::AmbiguousName {
            name: text("LF1"),
            count: 2,
            disks: list(),
        },
        Kind::DiskRefused {
            disk: text("disk A"),
            reasons: list(),
        },
        Kind::BootLoader { flaws: list() },
        Kind::Recovery {
            rule: 12,
            on: text("checkpoints"),
            reason: text("several disks carry an install"),
            found: list(),
        },
        Kind::EmptySuccess {
            action: text("Land"),
            order: text("keep the receipt"),
            is_final: true,
        },
        Kind::AttemptLimit {
            phase: Phase::Cloned,
            limit: Limit::Total,
            made: 9,
            max: 9,
        },
        Kind::Stopped {
            by: Some(text("SIGTERM")),
        },
        Kind::Defect {
            on: text("disk"),
            detail: text("none is held"),
        },
        Kind::OtherPlan {
            on: text("LUKS"),
            detail: text("of another plan"),
        },
    ]
}

/// Kinds are only ever added to.
#[test]
fn every_fault() {
    let text = str::to_owned;
    let mut faults: Vec<Fault> = general_kinds()
        .into_iter()
        .map(|kind| Fault::of(kind, Remedy::change("mend it")))
        .collect();
    faults.push(Fault::injected(FaultClass::Transient, "clone", "reset").after_retries(10));
    faults.push(Fault::of(
        Kind::Other {
            on: text("clock"),
            reason: text("wrong"),
            list: vec![text("a"), text("b")],
            class: FaultClass::NeedsChange,
        },
        Remedy::words("set it"),
    ));
    golden_lines(
        "every-fault.jsonl",
        &worded_as_kept("every-fault.jsonl", stopped(&faults)),
    );
}

/// Lines with the words of the kept ones: class, kind, values and remedy are what may not change.
fn worded_as_kept(name: &str, mut lines: Vec<Line>) -> Vec<Line> {
    let is_new = !folder().join("events-2").join(name).exists();
    let kept = if is_new { vec![] } else { back("events-2", name) };
    for (line, kept) in lines.iter_mut().zip(kept) {
        if let (Event::Stopped { fault, .. }, Event::Stopped { fault: before, .. }) =
            (&mut line.event, kept.event)
        {
            (fault.record.what, fault.record.why) = (before.record.what, before.record.why);
        }
    }
    lines
}

/// Causes that came later, to which a reader of before is deaf, by the file that has them.
const LATER: [(&str, &[Cause]); 4] = [
    ("ending-of-an-old-tool.jsonl", &[Cause::ToolTooOld]),
    ("later-endings.jsonl", &[Cause::ProxyRefuses]),
    (
        "endings-forbidden-or-in-the-way.jsonl",
        &[Cause::Forbidden, Cause::InTheWay],
    ),
    (
        "endings-of-servers.jsonl",
        &[
            Cause::HostKeyRevoked,
            Cause::HostCertificate,
            Cause::SshSettings,
            Cause::NetworkRefused,
        ],
    ),
];

/// Endings of programs, with every cause, and the same ending twice.
#[test]
fn every_ending() {
    let ending = |cause: Cause| {
        let ended = Ended {
            program: "nixos-install".into(),
            code: Some(1),
            last_lines: vec!["a".into(), "b".into()],
            note: None,
        };
        Fault::ending(cause, "nixos-install of web", ended, "b")
    };
    // Kind, values and class alone: words may change.
    let told = |fault: &Fault| {
        format!(
            "{} {}\n",
            fault.class,
            serde_json::to_string(&fault.kind).unwrap()
        )
    };
    let of = |causes: &[Cause]| -> String { causes.iter().map(|cause| told(&ending(*cause))).collect() };
    let mut first = Cause::ALL.to_vec();
    first.retain(|cause| LATER.iter().all(|(_, later)| !later.contains(cause)));
    let mut text = of(&first);
    let mut last = LastEnding::default();
    last.follow(Phase::Realised, ending(Cause::Unknown));
    text += &told(&last.follow(Phase::Realised, ending(Cause::Unknown)));
    golden("events-2", "every-ending.jsonl", text.as_bytes());
    for (name, later) in LATER {
        golden("events-2", name, of(later).as_bytes());
    }
}

/// A line for each fault.
fn stopped(faults: &[Fault]) -> Vec<Line> {
    let stopped = |fault: &Fault| Event::Stopped {
        phase: None,
        fault: fault.into(),
    };
    lines(faults.iter().map(stopped).collect())
}

fn golden_lines(name: &str, lines: &[Line]) {
    let text: String = lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect();
    golden("events-2", name, text.as_bytes());
    assert_eq!(back("events-2", name), lines);
}

/// The files of the kinds that are about one thing. Kinds that come later have a file of their own, behind these.
const OF_ONE_THING: [&str; 8] = [
    "every-fault-of-one-thing.jsonl",
    "later-faults-of-one-thing.jsonl",
    "nothing-offered.jsonl",
    "submodule-address.jsonl",
    "links-and-strange-files.jsonl",
    "pinned-held-and-ordered.jsonl",
    "pin-not-named.jsonl",
    "key-not-allowed.jsonl",
];

/// A question whose answer lies with another device has what is to be scanned there. It came later, and is left out where there is
/// none.
#[test]
fn a_question_with_something_to_scan() {
    let event = Event::Asking {
        what: "allow this key: ssh-ed25519 AAAA landfall web".into(),
        scan: Some("ssh-ed25519 AAAA landfall web".into()),
    };
    golden_lines("asking-with-scan.jsonl", &lines(vec![event]));
}

#[test]
fn every_fault_of_one_thing() {
    // Kind and values alone: words may change.
    let told = |fault: &Fault| serde_json::to_string(&fault.kind).unwrap();
    let mut rest: Vec<String> = examples(&str::to_owned).iter().map(told).collect();
    for name in OF_ONE_THING {
        let is_new = !folder().join("events-2").join(name).exists();
        let kept = if is_new { vec![] } else { read("events-2", name) };
        let kept = String::from_utf8(kept).unwrap();
        let (mine, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|line| is_new || kept.lines().any(|known| known == line));
        golden("events-2", name, (mine.join("\n") + "\n").as_bytes());
        rest = others;
    }
    assert!(rest.is_empty(), "kinds without a golden file: {rest:?}");
    // And an event has them under these names.
    for fault in examples(&str::to_owned) {
        let line = serde_json::to_value(FaultTold::from(&fault)).unwrap();
        let kind = serde_json::to_value(&fault.kind).unwrap();
        assert_eq!((&line["kind"], &line["values"]), (&kind["kind"], &kind["values"]));
    }
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
    let configured = Status {
        config: Some("/srv/install.ron".into()),
        ..fresh.clone()
    };
    let landed = ended(&landed);
    assert!(matches!(landed.ending, Some(Ending::Landed { .. })));
    for (name, status) in [
        ("fresh.json", &fresh),
        ("busy.json", &busy),
        ("landed.json", &landed),
        ("stopped.json", &ended(&stopped)),
        ("stopped-late.json", &ended(&stopped_late)),
        ("already-landed.json", &ended(&later_ends()[0])),
        ("nothing-to-resume.json", &ended(&later_ends()[1])),
        ("with-config.json", &configured),
    ] {
        golden(
            "status-2",
            name,
            serde_json::to_string(status).unwrap().as_bytes(),
        );
        assert_eq!(
            &serde_json::from_slice::<Status>(&read("status-2", name)).unwrap(),
            status
        );
    }
}

#[test]
fn a_status_of_version_1_is_read() {
    let status = |name: &str| serde_json::from_slice::<Status>(&read("status-1", name)).unwrap();
    assert_eq!(status("fresh.json"), Status::begin(4_711, 20_000));
    assert!(matches!(
        status("landed.json").ending,
        Some(Ending::Landed { .. })
    ));
    let mut told = told(&faults()[0]);
    words_alone(&mut told);
    assert_eq!(status("busy.json").last_fault, Some(told));
    for (name, fault, phase) in [
        ("stopped-late.json", &faults()[1], Some(Phase::Landed)),
        ("stopped.json", &faults()[2], None),
    ] {
        let mut fault: FaultTold = fault.into();
        words_alone(&mut fault);
        assert_eq!(status(name).ending, Some(Ending::Stopped { phase, fault }));
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

#[test]
fn the_journal_of_a_new_host() {
    let digest = |text: &str| landfall_states::names::Digest::of(text.as_bytes());
    let journal = Journal {
        version: 1,
        host: "web".to_owned(),
        commit: true,
        files: vec![
            Entry {
                path: "hosts/web/default.nix".into(),
                old: None,
                new: digest("host"),
                is_of_host: true,
            },
            Entry {
                path: "flake.nix".into(),
                old: Some(digest("before")),
                new: digest("after"),
                is_of_host: false,
            },
        ],
    };
    golden(
        "host-journal-1",
        "host-new.json",
        &serde_json::to_vec_pretty(&journal).unwrap(),
    );
    let known: Journal = serde_json::from_slice(&read("host-journal-1", "host-new.json")).unwrap();
    assert_eq!(known, journal);
}
