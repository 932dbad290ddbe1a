//! Promise: `--passphrase-fd` takes the descriptor that its caller opened, and no other: one that nobody opened is refused
//! before landfall opens anything, and one that gives no end is left by SIGTERM.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Runs `landfall install` with a configuration that is not there, with redirections as a shell makes them. Exit code, and what
/// was said.
fn install(args: &str, redirections: &str) -> (Option<i32>, String) {
    let keep = tempfile::tempdir().unwrap();
    let said = keep.path().join("said");
    let script = format!(
        "cd {0}; printf 'horse battery\\n' > p; printf 'two\\nlines' > q; exec {1} --run-dir {0}/run install --config /nonexistent/c.ron {args} \
         >{2} 2>&1 {redirections}",
        keep.path().display(),
        env!("CARGO_BIN_EXE_landfall"),
        said.display(),
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + WAIT_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "{args} {redirections} hangs");
        std::thread::sleep(Duration::from_millis(5));
    };
    (
        status.code(),
        String::from_utf8_lossy(&fs_err::read(&said).unwrap()).into_owned(),
    )
}

#[test]
fn only_a_descriptor_that_was_opened_is_taken() {
    // The control: taken, so that what is missing is the configuration.
    for (args, redirections) in [
        ("--passphrase-fd 3", "3<p"),
        ("--passphrase-fd 0", "0<p"),
        ("--passphrase-fd 9", "9<p 3<q"),
        ("--passphrase-fd 3", "3<p 0<&-"),
        ("", ""),
    ] {
        let (code, said) = install(args, redirections);
        assert!(
            code == Some(2) && said.contains("/nonexistent/c.ron"),
            "{args} {redirections}: {code:?} {said}"
        );
        assert!(!said.contains("horse"), "{said}");
    }
    for (args, redirections, why) in [
        (
            "--passphrase-fd 3",
            "",
            "--passphrase-fd 3: this file descriptor is not open",
        ),
        (
            "--passphrase-fd 4",
            "3<p",
            "--passphrase-fd 4: this file descriptor is not open",
        ),
        (
            "--passphrase-fd 999",
            "",
            "--passphrase-fd 999: this file descriptor is not open",
        ),
        (
            "--passphrase-fd 3",
            "0<&- 3<&-",
            "--passphrase-fd 3: this file descriptor is not open",
        ),
        ("--verbose --passphrase-fd 3", "", "is not open"),
        ("--passphrase-fd 0", "0<&-", "it is empty"),
        ("--passphrase-fd 3", "3</dev/null", "it is empty"),
        ("--passphrase-fd 3", "3<.", "it is a directory"),
        ("--passphrase-fd 3", "3</dev/zero", "longer than 65536 bytes"),
        ("--passphrase-fd 3", "3<q", "more than one line"),
        ("--passphrase-fd 3", "3>w", "Bad file descriptor"),
        (
            "--passphrase-fd 3 --passphrase-fd 4",
            "3<p 4<p",
            "cannot be used multiple times",
        ),
    ] {
        let (code, said) = install(args, redirections);
        assert!(
            !matches!(code, Some(0) | None),
            "{args} {redirections}: {code:?} {said}"
        );
        assert!(
            said.contains(why) && !said.contains("panicked"),
            "{args} {redirections}: {said}"
        );
        assert!(!said.contains("two"), "{said}");
    }
}

#[test]
fn a_terminal_is_refused_since_it_has_no_end() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let keep = tempfile::tempdir().unwrap();
    let said = keep.path().join("said");
    let status = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args([
            "install",
            "--config",
            "/nonexistent/c.ron",
            "--passphrase-fd",
            "0",
        ])
        .stdin(terminal.slave)
        .stderr(fs_err::File::create(&said).unwrap().into_parts().0)
        .status()
        .unwrap();
    let said = fs_err::read_to_string(said).unwrap();
    assert!(!status.success() && said.contains("it is a terminal"), "{said}");
}

#[test]
fn a_run_that_never_writes_ends_with_sigterm() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args([
            "install",
            "--config",
            "/nonexistent/c.ron",
            "--passphrase-fd",
            "0",
        ])
        .stdin(reader)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the control: it waits");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let end = Instant::now() + WAIT_MAX;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it is deaf");
        std::thread::sleep(Duration::from_millis(5));
    }
}
