//! Tests of the screen as a listener: threads, ends, terminals that take nothing.

use super::*;
use landfall_states::Phase;
use landfall_states::fault::{Fault, FaultClass};
use std::time::Instant;

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Tape {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn place<W>(out: W, is_told_below: bool) -> Place<W> {
    Place {
        out,
        name: "a tape".into(),
        size: Box::new(|| Some((80, 24))),
        shows: Shows {
            colour: false,
            utf8: true,
        },
        is_told_below,
    }
}

fn stopped() -> Event {
    Event::Stopped {
        phase: Some(Phase::Formatted),
        fault: (&Fault::injected(FaultClass::Transient, "clone of x", "connection reset")).into(),
    }
}

fn asking() -> Event {
    Event::Asking {
        what: "New passphrase for luks-web:".into(),
        scan: None,
    }
}

#[test]
fn a_question_stands_before_it_is_asked_and_a_signal_is_told_below_it() {
    let tape = Tape::default();
    let mut screen = Screen::on(place(tape.clone(), true), crate::cli::line::clock, false).unwrap();
    screen.take(&asking());
    let before = tape.text();
    assert!(
        before.contains("QUESTION") && before.contains("New passphrase for luks-web:"),
        "{before}"
    );
    screen.take(&Event::Notice {
        what: "SIGINT: stopping".into(),
    });
    std::thread::sleep(LOOK_EVERY * 3);
    let after = tape.text();
    let told = after.strip_prefix(&before).unwrap();
    assert!(told.contains("note: SIGINT: stopping"), "{told:?}");
    assert!(!told.contains("\x1b["), "nothing is drawn: {told:?}");
}

#[test]
fn a_failure_is_on_the_last_picture_unless_it_is_told_below() {
    for is_told_below in [false, true] {
        let tape = Tape::default();
        let mut screen =
            Screen::on(place(tape.clone(), is_told_below), crate::cli::line::clock, false).unwrap();
        screen.take(&stopped());
        let text = tape.text();
        assert!(text.contains("FAILED"), "{text}");
        assert_eq!(text.contains("connection reset"), !is_told_below, "{text}");
        screen.take(&Event::Step {
            what: "systemctl poweroff".into(),
        });
        drop(screen);
        assert!(tape.text().contains("  systemctl poweroff\r\n"));
    }
}

#[test]
fn a_run_that_tells_no_ending_is_not_at_work_any_more() {
    for (claimed, headline) in [(Some(Phase::Landed), " LANDED"), (None, " ENDED")] {
        let tape = Tape::default();
        let mut screen = Screen::on(place(tape.clone(), true), crate::cli::line::clock, false).unwrap();
        screen.take(&Event::Decided {
            rules: vec![16],
            what: "this install has landed".into(),
            claimed,
        });
        drop(screen);
        let text = tape.text();
        let last = text.rsplit("\x1b[1;1H").next().unwrap();
        assert!(last.starts_with(headline), "{last}");
        assert!(!last.contains("RUNNING"), "{last}");
    }
}

/// The log is that of the run that is shown, wherever it is.
#[test]
fn the_log_of_a_failure_is_that_of_its_run_directory() {
    use camino::Utf8Path;
    for (dir, log) in [
        ("/run/x", "landfall log --run-dir /run/x"),
        (crate::real::RUN_DIR, "landfall log\r"),
    ] {
        let tape = Tape::default();
        let told = Told::of(None, Utf8Path::new(dir));
        let mut screen =
            Screen::of_run(place(tape.clone(), false), crate::cli::line::clock, false, told).unwrap();
        screen.take(&stopped());
        // Whatever ends the line there.
        let text = tape.text().replace("\x1b[K", "");
        assert!(text.contains(log), "{text:?}");
    }
}

#[test]
fn what_ends_without_work_is_told_below_like_a_failure() {
    let nothing = Event::NothingToResume {
        why: "sda holds no install of web".into(),
        list: vec![],
        next: "landfall install".into(),
    };
    for is_told_below in [false, true] {
        let tape = Tape::default();
        let mut screen =
            Screen::on(place(tape.clone(), is_told_below), crate::cli::line::clock, false).unwrap();
        screen.take(&nothing);
        let text = tape.text();
        assert!(text.contains("NOTHING TO RESUME"), "{text}");
        assert_eq!(text.contains("no install of web"), !is_told_below, "{text}");
    }
}

#[test]
fn a_terminal_that_takes_nothing_holds_up_no_install() {
    struct Stuck;
    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_secs(3_600));
            Ok(0)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut screen = Screen::on(place(Stuck, false), crate::cli::line::clock, false).unwrap();
    let begun = Instant::now();
    for _ in 0..1_000 {
        screen.take(&Event::Step { what: "x".into() });
    }
    assert!(begun.elapsed() < WAIT_MAX);
    screen.take(&asking());
    drop(screen);
    assert!(begun.elapsed() < WAIT_MAX * 4, "{:?}", begun.elapsed());
}
