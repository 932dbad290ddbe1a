//! Promise: on a terminal the install is a picture, anywhere else it is lines; a terminal that was drawn on is as usable as before,
//! however the process ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A terminal, a run directory, and `landfall status --watch` on them.
struct Watched {
    _dir: tempfile::TempDir,
    pty: OpenptyResult,
    child: Child,
    heard: mpsc::Receiver<Vec<u8>>,
    text: String,
}

/// The status of a run that is at work: that of this process, since it must live.
fn status(ending: &str) -> String {
    let now_ms = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .unwrap()
        .tv_sec()
        * 1_000;
    format!(
        r#"{{"pid":{},"command":"install","host":"web","began_ms":{now_ms},"heard_ms":{now_ms},"phase":"Cloned",
        "phase_since_ms":{now_ms},"attempt":1,"step":"copy the closure","count":{{"what":"copying the closure","done":7,"total":2003,
        "unit":"paths"}},"asking":null,"retry_at_ms":null,"last_fault":null,"ending":{ending}}}"#,
        std::process::id(),
    )
}

const STOPPED: &str = r#"{"stopped":{"phase":"Cloned","fault":{"class":"NeedsChange","what":"copy of the closure","why":"\u001b[2J the disk is
 full","next":"landfall resume","retry_after_s":null}}}"#;

fn watch(ending: &str, term: &str, (columns, lines): (u16, u16)) -> Watched {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(
        dir.path().join("status.json"),
        status(ending).replace("\n full", " full"),
    )
    .unwrap();
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // Behind `nohup` and in the background of a shell some are ignored, and a child inherits that.
    for ignored in [Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: no handler is installed, and none was there.
        unsafe { signal(ignored, SigHandler::SigDfl) }.unwrap();
    }
    let pty = openpty(Some(&size), None).unwrap();
    let end = || pty.slave.try_clone().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["status", "--watch", "--run-dir"])
        .arg(dir.path())
        .env("TERM", term)
        .env("LC_ALL", "C")
        .env_remove("NO_COLOR")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let (tell, heard) = mpsc::channel();
    let mut master = File::from(pty.master.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // EIO: nobody has the other end any more.
        while let Ok(count @ 1..) = master.read(&mut bytes) {
            if tell.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    Watched {
        _dir: dir,
        pty,
        child,
        heard,
        text: String::new(),
    }
}

impl Watched {
    fn wait_for(&mut self, word: &str) {
        let limit = Instant::now() + Duration::from_secs(30);
        while !self.text.contains(word) {
            let left = limit.saturating_duration_since(Instant::now());
            let bytes = self
                .heard
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {word:?} in {:?}", self.text));
            self.text
                .push_str(&String::from_utf8(bytes).expect("ASCII, for the locale is C"));
        }
    }

    /// The terminal is in the mode in which it was, and was told of no state that it could be left in.
    fn assert_nothing_is_left(&self) {
        for part in self.text.split('\x1b').skip(1) {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            assert!(part.starts_with('['), "{part:?}");
            assert!("HJKm".contains(&part[end..=end]), "{part:?} sets a state");
        }
        let last = self.text.rfind("\x1b[0m").map(|at| &self.text[at + 4..]);
        assert!(
            last.is_none_or(|rest| !rest.contains('m') || !rest.contains("\x1b[0;")),
            "{last:?}"
        );
        let fresh = openpty(None, None).unwrap();
        let (now, then) = (
            tcgetattr(&self.pty.slave).unwrap(),
            tcgetattr(&fresh.slave).unwrap(),
        );
        assert_eq!(
            (now.local_flags, now.output_flags),
            (then.local_flags, then.output_flags)
        );
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_failure_is_a_picture_with_the_command_that_helps() {
    for size in [(80, 24), (40, 12), (240, 67), (1, 1), (7, 2)] {
        let mut watched = watch(STOPPED, "xterm", size);
        assert!(watched.child.wait().unwrap().success());
        if size.0 >= 40 {
            watched.wait_for("\x1b[J");
            assert!(
                watched.text.contains("landfall resume"),
                "{size:?}: {:?}",
                watched.text
            );
            assert!(watched.text.contains("\\u{1b}[2J"), "{:?}", watched.text);
        }
        watched.assert_nothing_is_left();
    }
}

#[test]
fn a_terminal_is_usable_after_every_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let mut watched = watch("null", "linux", (80, 24));
        watched.wait_for("7 paths of 2003 paths");
        kill(Pid::from_raw(watched.child.id() as i32), signal).unwrap();
        watched.child.wait().unwrap();
        watched.assert_nothing_is_left();
    }
}

#[test]
fn another_size_is_drawn_again() {
    let mut watched = watch("null", "xterm", (80, 24));
    watched.wait_for("phase 7 of 11");
    let before = watched.text.len();
    let size = Winsize {
        ws_row: 12,
        ws_col: 40,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);
    // SAFETY: the descriptor is open, and the size is one.
    unsafe { set_size(std::os::fd::AsRawFd::as_raw_fd(&watched.pty.master), &size) }.unwrap();
    watched.wait_for(" ok Planned");
    assert!(watched.text.len() > before);
}

#[test]
fn what_is_no_screen_gets_lines() {
    let mut dumb = watch(STOPPED, "dumb", (80, 24));
    assert!(dumb.child.wait().unwrap().success());
    dumb.wait_for("next: landfall resume");
    assert!(!dumb.text.contains('\x1b'), "{:?}", dumb.text);
    for part in [
        "phases: done Planned, Partitioned, Anchored, Encrypted, Formatted, Cloned; failed Realised; to do Installed",
        "stopped in Cloned (needs a change): copy of the closure: \\u{1b}[2J the disk is full",
    ] {
        assert!(dumb.text.contains(part), "{part}: {:?}", dumb.text);
    }
}
