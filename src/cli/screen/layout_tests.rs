//! Tests of the layout: pictures as text, and what holds for every picture at every size.

use super::*;
use crate::cli::run_status::Status;
use crate::cli::screen::Beside;
use crate::event::{Event, FaultTold};
use expect_test::expect_file;
use landfall_states::fault::{Fault, FaultClass};
use proptest::prelude::*;

const SIZES: [(usize, usize); 3] = [(80, 24), (40, 12), (240, 67)];

/// What a run of these events shows at this moment.
fn picture(events: &[Event], now_ms: u64) -> Picture {
    let (mut status, mut beside) = (Status::begin(1, 20_000), Beside::default());
    for (index, event) in events.iter().enumerate() {
        let at_ms = 20_000 + 1_500 * index as u64;
        status.take(event, at_ms);
        beside.take(event, at_ms, &status, false);
    }
    Picture::of(&status, true, now_ms, &beside)
}

fn started() -> Vec<Event> {
    let text = str::to_owned;
    let mut events = vec![
        Event::Started {
            version: text("0.1.0"),
            host: text("web"),
            command: text("install"),
        },
        Event::DiskChosen {
            device: text("/dev/nvme0n1"),
            identity: text("serial S5GXNX0T123456, 512110190592 bytes"),
            why: text("it is the only disk that may be chosen"),
        },
        Event::Checked {
            what: text("clock"),
            found: text("2026-11-28"),
        },
    ];
    for (at, phase) in Phase::ALL.iter().take(6).enumerate() {
        events.push(Event::Begun {
            phase: *phase,
            attempt: 1,
            what: format!("{} of the disk", phase.action().unwrap()),
        });
        events.push(Event::Step {
            what: text("  mkfs.ext4 root-web"),
        });
        if at < 5 {
            events.push(Event::Reached {
                phase: Phase::ALL[at + 1],
                took_ms: 1_234 * at as u64,
            });
        }
    }
    events
}

fn count(done: u64) -> Event {
    Event::Progress {
        what: "copying the closure".into(),
        done,
        total: Some(4 << 30),
        unit: "bytes".into(),
    }
}

fn installing() -> Picture {
    let mut events = started();
    events.extend([count(0), count(700 << 20), count(1_300 << 20)]);
    picture(&events, 80_000)
}

fn question() -> Picture {
    let mut events = started();
    events.truncate(3);
    events.push(Event::Asking {
        what: "ERASE the whole disk S5GXNX0T123456 (512.1 GB):\n  partition 1: vfat \"EFI\"\n  partition 2: ext4 \"backup of \
               photographs\"\nEverything listed is lost. Type yes to go on, anything else to stop."
            .into(),
        scan: None,
    });
    events.push(Event::Asking {
        what: "ERASE the whole disk of S5GXNX0T123456 (vfat; ext4)? Type yes:".into(),
        scan: None,
    });
    picture(&events, 80_000)
}

fn fault() -> FaultTold {
    (&Fault::injected(
        FaultClass::NeedsChange,
        "clone of git@forge.example:ops/nix-config",
        "the forge does not know the key; it offered: password, publickey, and refused both of what was sent",
    ))
        .into()
}

fn waiting() -> Picture {
    let mut events = started();
    events.extend([
        Event::Failed {
            phase: Phase::Cloned,
            fault: fault(),
        },
        Event::RetryIn {
            wait_ms: 90_000,
            retry: 3,
        },
    ]);
    picture(&events, 80_000)
}

fn failed() -> Picture {
    let mut events = started();
    events.push(Event::Stopped {
        phase: Some(Phase::Cloned),
        fault: fault(),
    });
    picture(&events, 80_000)
}

fn landed() -> Picture {
    let mut events = started();
    events.push(Event::Landed {
        system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-26.05".into(),
        revision: "0123456789abcdef0123456789abcdef01234567".into(),
    });
    picture(&events, 80_000)
}

fn already_landed() -> Picture {
    let mut events = started();
    events.truncate(1);
    events.push(Event::AlreadyLanded {
        system: "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-26.05".into(),
        revision: "0123456789abcdef0123456789abcdef01234567".into(),
    });
    picture(&events, 80_000)
}

fn nothing_to_resume() -> Picture {
    let mut events = started();
    events.truncate(1);
    events.push(Event::NothingToResume {
        why: "sda holds no install of web".into(),
        list: vec![],
        next: "landfall install".into(),
    });
    picture(&events, 80_000)
}

/// A run that ended in good order is not shown as one that was killed.
#[test]
fn a_run_without_work_says_so() {
    let (already, nothing) = (already_landed(), nothing_to_resume());
    assert_eq!(
        (already.mood, already.headline),
        (Mood::Landed, "ALREADY INSTALLED")
    );
    assert!(already.phases.iter().all(|(_, state)| *state == PhaseState::Done));
    assert_eq!(nothing.headline, "NOTHING TO RESUME");
    assert!(nothing.phases.iter().all(|(_, state)| *state == PhaseState::ToDo));
    // The control: the same run without the event was killed.
    let mut status = Status::begin(1, 20_000);
    status.take(&started()[0], 20_000);
    assert_eq!(
        Picture::of(&status, false, 80_000, &Beside::default()).headline,
        "STOPPED"
    );
}

fn room(width: usize, height: usize) -> Room {
    Room {
        width,
        height,
        utf8: true,
    }
}

fn text(laid: &Laid) -> String {
    laid.lines
        .iter()
        .map(|line| {
            let line: String = line.iter().map(|span| span.text.as_str()).collect();
            format!("{}\n", line.trim_end())
        })
        .collect()
}

/// Within the room, one column a character, and nothing that steers a terminal.
fn assert_fits(laid: &Laid, room: Room) {
    assert!(laid.lines.len() <= room.height, "{} lines", laid.lines.len());
    for line in &laid.lines {
        assert!(columns(line) <= room.width, "{line:?}");
        for c in line.iter().flat_map(|span| span.text.chars()) {
            let is_code = matches!(c, '█' | '▀' | '▄');
            assert!(
                !c.is_control() && (c.is_ascii() || room.utf8) && ((c as u32) < 0x530 || is_code),
                "{c:?}"
            );
        }
    }
}

#[test]
fn pictures() {
    for (name, picture) in [
        ("installing", installing()),
        ("question", question()),
        ("waiting", waiting()),
        ("failed", failed()),
        ("landed", landed()),
        ("already-landed", already_landed()),
        ("nothing-to-resume", nothing_to_resume()),
    ] {
        for (width, height) in SIZES {
            let room = room(width, height);
            let laid = layout(&picture, room);
            assert_fits(&laid, room);
            assert!(laid.is_whole, "{name} at {width}x{height}");
            let file = format!("pictures/{name}-{width}x{height}.txt");
            expect_file![file].assert_eq(&text(&laid));
        }
    }
}

/// In the smallest room that counts, and in any that is larger, the command that helps, the question and the count are there.
#[test]
fn what_must_be_known_is_there() {
    for width in [40, 60, 80, 132, 240] {
        for height in [12, 24, 50, 67] {
            let at = |picture: &Picture| {
                text(&layout(picture, room(width, height)))
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            for (picture, words) in [
                (installing(), "1.2 GiB of 4.0 GiB"),
                (question(), "Type yes to go on, anything else to stop."),
                (waiting(), "the next try, in 1 min 1 s"),
                (failed(), "next: landfall resume"),
                (landed(), "LANDED web"),
                (already_landed(), "ALREADY INSTALLED web"),
                (nothing_to_resume(), "next: landfall install"),
            ] {
                let text = at(&picture);
                assert!(text.contains(words), "{words} at {width}x{height}:\n{text}");
            }
        }
    }
}

/// A count that has only begun has a bar, too.
#[test]
fn a_bar_is_as_long_as_its_count() {
    for (done, total, filled) in [
        (0, 10, 0),
        (7, 2_003, 0),
        (5, 10, 38),
        (10, 10, 76),
        (99, 10, 76),
        (1, u64::MAX, 0),
    ] {
        let line = clipped(bar(done, total, 82), 82);
        let text: String = line.iter().map(|span| span.text.as_str()).collect();
        let wanted = format!("  [{}{}]", "#".repeat(filled), ".".repeat(76 - filled));
        assert_eq!(text, wanted, "{done} of {total}");
    }
}

#[test]
fn a_code_is_drawn_whole_or_not_at_all() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA landfall web";
    let asked = picture(
        &[Event::Asking {
            what: format!("allow this key: {key}"),
            scan: Some(key.into()),
        }],
        21_000,
    );
    let code = crate::qr::lines(key).unwrap();
    for height in 1..70 {
        let laid = layout(&asked, room(80, height));
        let drawn = text(&laid);
        let lines = code.iter().filter(|line| drawn.contains(line.trim_end())).count();
        let is_whole = lines == code.len();
        assert!(is_whole || !drawn.contains('█'), "{height}:\n{drawn}");
        assert_eq!(is_whole, height >= code.len() + 3, "{height}:\n{drawn}");
        assert!(
            !laid.is_whole || is_whole,
            "a code that is left out is told: {height}"
        );
    }
    let ascii = Room {
        utf8: false,
        ..room(80, 60)
    };
    assert_fits(&layout(&asked, ascii), ascii);
}

/// Text as others may choose it.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z ]{0,200}",
        Just("\x1b[2J\x1b[?1049h\r\n\t漢字🔐e\u{301}\u{202e}".to_owned()),
        Just("x".repeat(5_000)),
        Just("line\n".repeat(60)),
    ]
}

fn any_picture() -> impl Strategy<Value = Picture> {
    let words = prop::collection::vec(foreign(), 8);
    let figures = (
        any::<u64>(),
        any::<Option<u64>>(),
        any::<u64>(),
        any::<Option<u64>>(),
    );
    (0..8_usize, words, figures, 0..11_usize, any::<Option<u32>>()).prop_map(
        |(sort, mut words, (done, total, age_ms, phase_age_ms), at, attempt)| {
            let mut word = || words.pop().unwrap_or_default();
            let state = |index: usize| match index.cmp(&at) {
                std::cmp::Ordering::Less => PhaseState::Done,
                std::cmp::Ordering::Equal => [PhaseState::Running, PhaseState::Failed][sort % 2],
                std::cmp::Ordering::Greater => PhaseState::ToDo,
            };
            let (mood, headline) = [
                (Mood::Busy, "INSTALLING"),
                (Mood::Waiting, "WAITING"),
                (Mood::Asking, "QUESTION"),
                (Mood::Failed, "FAILED"),
                (Mood::Landed, "LANDED"),
                (Mood::Failed, "STOPPED"),
                (Mood::Landed, "ALREADY INSTALLED"),
                (Mood::Failed, "NOTHING TO RESUME"),
            ][sort];
            Picture {
                mood,
                headline,
                host: word(),
                age_ms,
                phases: std::array::from_fn(|index| (Phase::ALL[index], state(index))),
                phase_age_ms,
                attempt,
                step: word(),
                count: Some(crate::cli::run_status::Count {
                    what: word(),
                    done,
                    total,
                    unit: "bytes".into(),
                }),
                speed: String::new(),
                waiting: Some(word()),
                trouble: Some(word()),
                question: Some(word()),
                scan: Some(word()),
                ending: vec![("what", word()), ("next", "landfall resume".into())],
                events: (0..5)
                    .map(|at_ms| Seen {
                        at_ms,
                        is_alarm: at_ms > 3,
                        text: words.last().cloned().unwrap_or_default(),
                    })
                    .collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn no_picture_is_larger_than_its_room(
        picture in any_picture(), width in 0..300_usize, height in 0..90_usize, utf8 in any::<bool>(),
    ) {
        let room = Room { width, height, utf8 };
        assert_fits(&layout(&picture, room), room);
    }
}
