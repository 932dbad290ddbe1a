//! Tests of what a person sees of a run: lines, counts, files.

use super::*;
use crate::event::FaultTold;
use landfall_states::Phase;
use landfall_states::fault::{Fault, FaultClass};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A clock that goes on by 300 ms each time it is looked at.
fn ticking() -> Clock {
    let now = AtomicU64::new(0);
    Box::new(move || now.fetch_add(300, Ordering::Relaxed))
}

fn story() -> Vec<Event> {
    let count = |done| Event::Progress {
        what: "copying the closure".into(),
        done,
        total: Some(8 << 20),
        unit: "bytes".into(),
    };
    vec![
        Event::Begun {
            phase: Phase::Cloned,
            attempt: 2,
            what: "copy the closure".into(),
        },
        count(0),
        count(2 << 20),
        count(4 << 20),
        count(8 << 20),
        Event::Output {
            program: "nix".into(),
            line: "copying path".into(),
        },
        Event::Reached {
            phase: Phase::Realised,
            took_ms: 1_500,
        },
    ]
}

#[test]
fn plain_lines_have_no_escapes_and_few_counts() {
    let screen = Screen::default();
    let mut plain = Plain::new(screen.clone(), ticking(), false);
    story().iter().for_each(|event| plain.take(event));
    expect_test::expect![[r#"
        [     0.000] Realise system (attempt 2): copy the closure
        [     0.300] copying the closure: 0 bytes of 8.0 MiB
        [     1.200] copying the closure: 8.0 MiB of 8.0 MiB, 8.8 MiB/s
        [     1.800] reached Realised after 1.5 s
    "#]]
    .assert_eq(&screen.text());
}

#[test]
fn plain_counts_have_the_rate_and_the_time_left() {
    let screen = Screen::default();
    let mut plain = Plain::new(screen.clone(), ticking(), false);
    plain.take(&story()[0]);
    for mib in 0..=20_u64 {
        plain.take(&Event::Progress {
            what: "write the image".into(),
            done: mib << 20,
            total: Some(40 << 20),
            unit: "bytes".into(),
        });
    }
    let text = screen.text();
    let last = text.lines().last().unwrap();
    assert_eq!(
        last,
        "[     5.400] write the image: 17.0 MiB of 40.0 MiB, 3.3 MiB/s, 6.9 s left at this rate"
    );
}

#[test]
fn the_status_line_has_real_counts_and_a_rate() {
    let screen = Screen::default();
    let mut terminal = Terminal::new(screen.clone(), ticking(), false, false);
    terminal.columns = || 80;
    story().iter().for_each(|event| terminal.take(event));
    let text = screen.text();
    assert!(
        text.contains("Realise system 1.2 s · copying the closure: 8.0 MiB of 8.0 MiB, 8.8 MiB/s"),
        "{text:?}"
    );
    assert!(
        text.ends_with("\r\x1b[2Kreached Realised after 1.5 s\n"),
        "the line is cleared: {text:?}"
    );
    assert!(
        !text.contains('%') && !text.contains("\x1b[3"),
        "no percentage, no colour: {text:?}"
    );
}

#[test]
fn a_fault_is_shown_once() {
    let fault: FaultTold = (&Fault::injected(FaultClass::Transient, "clone", "reset")).into();
    let failed = Event::Failed {
        phase: Phase::Formatted,
        fault: fault.clone(),
    };
    let retried = Event::RetryIn {
        wait_ms: 1_000,
        retry: 1,
    };
    let stopped = Event::Stopped {
        phase: Some(Phase::Formatted),
        fault,
    };
    let screen = Screen::default();
    let mut plain = Plain::new(screen.clone(), ticking(), false);
    // Tried again: a line. Stopped for it: nothing, since the end of the run lays it out on standard error.
    [&failed, &retried, &failed, &stopped]
        .into_iter()
        .for_each(|event| plain.take(event));
    expect_test::expect![[r#"
        [     0.000]!failed in Formatted: clone: reset (transient)
        [     0.300] retry 1 in 1.0 s
    "#]]
    .assert_eq(&screen.text());
    // A fault beside the one that the run stops for is not lost.
    let beside = Event::Failed {
        phase: Phase::Formatted,
        fault: (&Fault::injected(FaultClass::Transient, "unmounting /mnt", "busy")).into(),
    };
    let screen = Screen::default();
    let mut plain = Plain::new(screen.clone(), ticking(), false);
    [&beside, &stopped]
        .into_iter()
        .for_each(|event| plain.take(event));
    assert!(screen.text().contains("unmounting /mnt"), "{}", screen.text());
}

#[test]
fn a_question_is_not_drawn_over() {
    let screen = Screen::default();
    let mut terminal = Terminal::new(screen.clone(), ticking(), false, false);
    terminal.take(&Event::Asking {
        scan: None,
        what: "consent".into(),
    });
    story()[1..3].iter().for_each(|event| terminal.take(event));
    assert_eq!(screen.text(), "asking: consent\n");
}

#[test]
fn what_is_to_be_scanned_is_drawn_below_its_question() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA landfall web";
    let asking = |scan: Option<&str>| Event::Asking {
        what: format!("allow this key: {key}"),
        scan: scan.map(str::to_owned),
    };
    let shown = |event: &Event, is_terminal: bool| {
        let screen = Screen::default();
        if is_terminal {
            Terminal::new(screen.clone(), ticking(), false, false).take(event);
        } else {
            Plain::new(screen.clone(), ticking(), false).take(event);
        }
        screen.text()
    };
    for is_terminal in [true, false] {
        let text = shown(&asking(Some(key)), is_terminal);
        let (first, drawn) = text.split_once('\n').unwrap();
        assert!(first.contains(key), "{text}");
        // What stands before a line on its way to a console has room too.
        assert_eq!(drawn.lines().collect::<Vec<_>>(), crate::qr::lines(key).unwrap());
        assert!(drawn.lines().all(|line| line.chars().count() <= 45));
        // Nothing to scan, or too much of it: the text alone.
        for event in [asking(None), asking(Some(&key.repeat(9)))] {
            assert_eq!(shown(&event, is_terminal).lines().count(), 1);
        }
    }
}

#[test]
fn json_lines_are_the_events() {
    let screen = Screen::default();
    let mut json = JsonLines::new(screen.clone(), ticking());
    story().iter().for_each(|event| json.take(event));
    let read: Vec<Event> = screen
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Line>(line).unwrap().event)
        .collect();
    assert_eq!(read, story());
}

#[test]
fn the_log_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let mut log = LogFile::open_with(dir, 500, ticking()).unwrap();
    for _ in 0..100 {
        log.take(&story()[0]);
    }
    let size = |name: &str| fs::metadata(dir.join(name)).unwrap().len();
    assert!(size("log.jsonl") <= 500 && size("log.jsonl.1") <= 500);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 2);
}

/// A run that was cut off in a line leaves the next one a line of its own.
#[test]
fn a_log_that_was_cut_off_continues_in_a_new_line() {
    for (left, lines) in [("{\"at_ms\":1,\"ev", 2), ("", 1), ("{}\n", 2)] {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        fs::write(dir.join("log.jsonl"), left).unwrap();
        LogFile::open_with(dir, 5_000, ticking())
            .unwrap()
            .take(&story()[0]);
        let text = fs::read_to_string(dir.join("log.jsonl")).unwrap();
        assert_eq!(text.lines().count(), lines, "{text:?}");
        let last: Line = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last.event, story()[0]);
    }
}

/// As that of a stop, the reason stands on standard error; a finished install is told here.
#[test]
fn that_there_is_nothing_to_resume_is_shown_once() {
    let screen = Screen::default();
    let mut plain = Plain::new(screen.clone(), ticking(), false);
    plain.take(&Event::NothingToResume {
        why: "no install".into(),
        list: vec![],
        next: "landfall install".into(),
    });
    assert_eq!(screen.text(), "");
    plain.take(&Event::AlreadyLanded {
        system: "/nix/store/x".into(),
        revision: "0".into(),
    });
    assert!(
        screen
            .text()
            .contains("already finished; nothing was changed (remove the installer's medium)"),
        "{}",
        screen.text()
    );
}

#[test]
fn a_dead_listener_does_not_end_the_install() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut plain = Plain::new(Full, ticking(), true);
    story().iter().for_each(|event| plain.take(event));
    assert!(!plain.out.is_open());
}
