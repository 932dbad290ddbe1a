//! Tests of faults: kinds, words, what is kept.

use super::*;
use crate::phase::Phase;

#[test]
fn another_next_thing_replaces_the_first_and_nothing_else() {
    let fault = Fault::injected(FaultClass::Transient, "disk", "gone");
    let other = fault.clone().with_next(Remedy::words("attach it"));
    assert_eq!(other.next(), "attach it");
    assert_eq!(other.with_next(fault.remedy.clone()), fault);
}

#[test]
fn every_class_has_its_name() {
    let faults = [
        FaultClass::Transient,
        FaultClass::NeedsChange,
        FaultClass::Permanent,
        FaultClass::Hardware,
        FaultClass::Unsafe,
        FaultClass::Interrupted,
    ]
    .map(|class| Fault::injected(class, "", ""));
    assert_eq!(
        faults.map(|fault| fault.class.to_string()),
        [
            "transient",
            "needs a change",
            "permanent",
            "hardware",
            "unsafe",
            "interrupted"
        ]
    );
}

#[test]
fn an_abridged_fault_keeps_whole_characters() {
    let fault = Fault::injected(FaultClass::Transient, "ééééé", "x".repeat(500))
        .with_next(Remedy::words("n".repeat(8)))
        .record();
    let short = fault.abridged(7);
    assert_eq!(short.what, "ééé…");
    assert_eq!(short.why, format!("{}…", "x".repeat(7)));
    assert_eq!(short.next, format!("{}…", "n".repeat(7)));
    assert_eq!(fault.abridged(500), fault, "what has room is not changed");
    assert_eq!(fault.abridged(8).next, fault.next);
}

/// A fault of every kind, and what it says.
#[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
fn every_kind() -> Vec<(Fault, &'static str)> {
    let text = str::to_owned;
    let ended = |code| Ended {
        program: text("mkfs.ext4"),
        code,
        last_lines: vec![text("one"), text("two")],
        note: None,
    };
    let list = || vec![text("a"), text("b")];
    let of = |kind| Fault::of(kind, Remedy::resume());
    vec![
        (
            Fault::os(
                "disk sda",
                Os {
                    doing: Some(text("read it")),
                    errno: Some(5),
                    said: text("Input/output error (os error 5)"),
                },
            ),
            "hardware: disk sda: could not read it: Input/output error (os error 5); next: replace the disk, then: landfall install (a new disk starts from the beginning)",
        ),
        (
            Fault::os(
                "file /x",
                Os {
                    doing: None,
                    errno: Some(28),
                    said: text("No space left on device (os error 28)"),
                },
            ),
            "needs a change: file /x: No space left on device (os error 28); next: free space (landfall plan shows the sizes), then: landfall resume",
        ),
        (
            Fault::program(
                FaultClass::Permanent,
                "root",
                ended(Some(1)),
                Remedy::words("look"),
            ),
            "permanent: root: mkfs.ext4 ended with exit code 1: one | two; next: look",
        ),
        (
            Fault::program(FaultClass::Transient, "root", ended(None), Remedy::resume()),
            "transient: root: mkfs.ext4 was ended by a signal: one | two; next: landfall resume",
        ),
        (
            of(Kind::ProgramLimit {
                program: text("git"),
                limit: Limit::Silence,
                limit_s: 60,
            }),
            "transient: program git: it printed nothing for too long: the limit is 60 s; next: landfall resume",
        ),
        (
            Fault::read_back("slot 1", "what was read back is not what was written"),
            "hardware: slot 1: what was read back is not what was written; next: replace the disk, then: landfall install (a new disk starts from the beginning)",
        ),
        (
            of(Kind::OtherDisk {
                disk: text("disk A"),
                found: text("serial B"),
                expected: Some(text("serial A")),
            }),
            "unsafe: disk A: this is a different disk: found serial B, expected serial A; next: landfall resume",
        ),
        (
            of(Kind::Twins {
                disk: text("disk A"),
                devices: list(),
            }),
            "unsafe: disk A: a and b both report this identity; next: landfall resume",
        ),
        (
            of(Kind::TableChanged {
                disk: text("disk A"),
                differences: list(),
            }),
            "unsafe: partition table of disk A: it changed after this install wrote it: a; b; next: landfall resume",
        ),
        (
            of(Kind::InUse {
                on: text("disk A"),
                by: list(),
            }),
            "needs a change: disk A: it is in use: a; b; next: landfall resume",
        ),
        (
            of(Kind::LeftAttached {
                on: text("disk A"),
                what: list(),
            }),
            "needs a change: disk A: an earlier run left these mounted or open: a; b; next: landfall resume",
        ),
        (
            of(Kind::ForeignPartition {
                number: 2,
                name: text("root-web"),
                found: text("ext4 photos"),
            }),
            "unsafe: partition 2 (root-web): it holds something that this install did not make: ext4 photos; next: landfall resume",
        ),
        (
            of(Kind::ChangedContents {
                disk: text("disk A"),
                after_consent: true,
            }),
            "unsafe: disk A: what is on it changed after the consent was given; next: landfall resume",
        ),
        (
            of(Kind::ConsentRefused { disk: text("disk A") }),
            "needs a change: disk A: consent to erase it was refused; nothing was written; next: landfall resume",
        ),
        (
            of(Kind::NoChoice {
                reason: text("several are blank"),
                disks: list(),
            }),
            "needs a change: choice of the disk: several are blank: a; b; next: landfall resume",
        ),
        (
            of(Kind::AmbiguousName {
                name: text("LF1"),
                count: 2,
                disks: list(),
            }),
            "unsafe: disk \"LF1\": 2 disks answer to this name: a; b; next: landfall resume",
        ),
        (
            of(Kind::DiskRefused {
                disk: text("disk A"),
                reasons: list(),
            }),
            "needs a change: disk A: it cannot be installed on: a; b; next: landfall resume",
        ),
        (
            of(Kind::BootLoader { flaws: list() }),
            "permanent: boot loader on the ESP: it is not right: a; b; next: landfall resume",
        ),
        (
            of(Kind::Recovery {
                rule: 12,
                on: text("checkpoints"),
                reason: text("several"),
                found: list(),
            }),
            "unsafe: checkpoints: several: a; b; next: landfall resume",
        ),
        (
            of(Kind::EmptySuccess {
                action: text("Land"),
                order: text("keep the receipt"),
                is_final: false,
            }),
            "transient: action Land: it reported success, but looking shows that it is not done: keep the receipt; next: landfall resume",
        ),
        (
            of(Kind::EmptySuccess {
                action: text("Land"),
                order: text("keep the receipt"),
                is_final: true,
            }),
            "permanent: action Land: it reported success, but looking shows that it is not done: keep the receipt; next: landfall resume",
        ),
        (
            of(Kind::AttemptLimit {
                phase: Phase::Cloned,
                limit: Limit::Total,
                made: 9,
                max: 9,
            }),
            "permanent: attempt limit (Cloned): 9 attempts in total were made, the limit is 9; next: landfall resume",
        ),
        (
            Fault::injected(FaultClass::Transient, "clone", "reset").after_retries(10),
            "transient: clone: reset (after 10 retries in this run); next: landfall resume",
        ),
        (
            of(Kind::Stopped {
                by: Some(text("SIGTERM")),
            }),
            "interrupted: landfall: stopped by SIGTERM; everything is saved; next: landfall resume",
        ),
        (
            of(Kind::Stopped { by: None }),
            "interrupted: landfall: a stop was asked for; everything is saved; next: landfall resume",
        ),
        (
            Fault::defect("disk", "none is held"),
            "permanent: disk: none is held; next: report this as a defect of landfall",
        ),
        (
            of(Kind::OtherPlan {
                on: text("LUKS"),
                detail: text("of another plan"),
            }),
            "unsafe: LUKS: of another plan; next: landfall resume",
        ),
        (
            Fault::of(
                Kind::Other {
                    on: text("clock"),
                    reason: text("wrong"),
                    list: list(),
                    class: FaultClass::NeedsChange,
                },
                Remedy::change_and_install("set it"),
            ),
            "needs a change: clock: wrong: a; b; next: set it, then: landfall install",
        ),
    ]
}

#[test]
fn every_kind_has_its_class_and_its_words() {
    for (fault, said) in every_kind() {
        assert_eq!(fault.class, fault.kind.class(), "{fault}");
        assert_eq!(format!("{}: {fault}; next: {}", fault.class, fault.next()), said);
    }
}

#[test]
fn a_program_that_a_signal_ended_is_tried_again() {
    let ended = |code| Ended {
        program: "mkfs.ext4".into(),
        code,
        last_lines: vec![],
        note: None,
    };
    let class = |class, code| Fault::program(class, "x", ended(code), Remedy::resume()).class;
    assert_eq!(class(FaultClass::Permanent, Some(1)), FaultClass::Permanent);
    assert_eq!(class(FaultClass::Permanent, None), FaultClass::Transient);
    for other in [
        FaultClass::Transient,
        FaultClass::NeedsChange,
        FaultClass::Hardware,
    ] {
        assert_eq!(class(other, None), other);
    }
}

#[test]
fn a_list_stays_a_list_where_there_is_room() {
    let fault = Fault::of(
        Kind::InUse {
            on: "disk A".into(),
            by: vec!["a".into(), "b".into()],
        },
        Remedy::resume(),
    );
    assert_eq!(
        fault.reasons(),
        ("it is in use".to_owned(), vec!["a".into(), "b".into()])
    );
    assert_eq!(fault.why(), "it is in use: a; b");
}

#[test]
fn the_number_of_an_error_decides_not_its_words() {
    let class = |errno, said: &str| {
        Fault::os(
            "x",
            Os {
                doing: None,
                errno,
                said: said.into(),
            },
        )
        .class
    };
    assert_eq!(class(Some(5), "whatever"), FaultClass::Hardware);
    assert_eq!(class(Some(6), "whatever"), FaultClass::Hardware);
    assert_eq!(class(Some(123), "whatever"), FaultClass::NeedsChange);
    assert_eq!(class(Some(28), "whatever"), FaultClass::NeedsChange);
    assert_eq!(class(Some(16), "whatever"), FaultClass::Transient);
    assert_eq!(class(Some(13), "whatever"), FaultClass::NeedsChange);
    assert_eq!(class(Some(22), "whatever"), FaultClass::Permanent);
    assert_eq!(
        class(None, "a log that quotes (os error 5)"),
        FaultClass::Permanent
    );
}
