//! Promise: a person who watches an install from outside (`status`, `log`) gets what is in the files, all of it, and nothing
//! that could steer a terminal.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use camino::{Utf8Path, Utf8PathBuf};

fn landfall(run_dir: &Utf8Path, args: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .args(["--run-dir", run_dir.as_str()])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn run_dir(dir: &tempfile::TempDir) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap()
}

const LOG: &str = r#"{"at_ms":1500,"event":"started","version":"0.1.0","host":"web","command":"install"}
half a line of an earlier crash
{"at_ms":2500,"event":"output","program":"git","line":"\u001b[2Jgone"}
{"at_ms":3500,"event":"stopped","phase":"Formatted","fault":{"class":"Transient","what":"clone","why":"reset","next":"landfall resume","retry_after_s":null}}
"#;

#[test]
fn the_log_is_shown_whole() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    fs_err::write(
        run_dir.join("log.jsonl.1"),
        "{\"at_ms\":1,\"event\":\"notice\",\"what\":\"older\"}\n",
    )
    .unwrap();
    fs_err::write(run_dir.join("log.jsonl"), LOG).unwrap();
    let (code, text) = landfall(&run_dir, &["log"]);
    assert_eq!(code, Some(0));
    expect_test::expect![[r#"
        [     0.001]!note: older
        [     1.500] landfall 0.1.0: install of host web
        (not an event) half a line of an earlier crash
        [     2.500]     git: \u{1b}[2Jgone
        [     3.500]!stopped in Formatted: clone: reset (transient)
    "#]]
    .assert_eq(&text);
    let (_, json) = landfall(&run_dir, &["log", "--json"]);
    // Events as they were kept; what is none is an object, too, so that every line can be read.
    let half = "half a line of an earlier crash";
    let kept = LOG.replace(half, &format!("{{\"not_an_event\":\"{half}\"}}"));
    assert!(json.ends_with(&kept), "{json}");
    assert!(
        json.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
    );
    // Following ends by itself, since the run has.
    let (code, followed) = landfall(&run_dir, &["log", "--follow"]);
    assert_eq!((code, followed.lines().count()), (Some(0), 4));
}

/// A run that stopped before anything was begun has no phase, in the log and in the status alike.
#[test]
fn a_run_that_began_nothing_blames_no_phase() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    let fault = r#"{"class":"NeedsChange","what":"clock","why":"1970","next":"set it","retry_after_s":null}"#;
    fs_err::write(
        run_dir.join("log.jsonl"),
        format!("{{\"at_ms\":1,\"event\":\"stopped\",\"phase\":null,\"fault\":{fault}}}\n"),
    )
    .unwrap();
    let (_, text) = landfall(&run_dir, &["log"]);
    expect_test::expect![[r#"
        [     0.001]!stopped before the install started; this run wrote to no disk: clock: 1970 (needs a change)
    "#]]
    .assert_eq(&text);
    let status = format!(
        r#"{{"pid":4194304,"command":"install","host":"web","began_ms":1,"heard_ms":1,"phase":null,"phase_since_ms":null,
        "attempt":null,"step":null,"count":null,"asking":null,"retry_at_ms":null,"last_fault":null,
        "ending":{{"stopped":{{"phase":null,"fault":{fault}}}}}}}"#
    );
    fs_err::write(run_dir.join("status.json"), status).unwrap();
    let (_, text) = landfall(&run_dir, &["status"]);
    assert!(
        text.contains("stopped before the install started; this run wrote to no disk"),
        "{text}"
    );
    let (_, json) = landfall(&run_dir, &["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["run"]["ending"]["stopped"]["phase"].is_null(), "{json}");
}

#[test]
fn a_run_that_died_is_told_from_one_that_lives() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    // Linux gives no process this number (PID_MAX_LIMIT).
    let status = r#"{"pid":4194304,"command":"install","host":"web","began_ms":1,"heard_ms":1,"phase":"Cloned",
        "phase_since_ms":1,"attempt":1,"step":null,"count":null,"asking":null,"retry_at_ms":null,"last_fault":null,
        "ending":null}"#;
    fs_err::write(run_dir.join("status.json"), status).unwrap();
    let (code, text) = landfall(&run_dir, &["status", "--watch"]);
    assert_eq!(code, Some(0), "a watch ends with the process");
    assert!(
        text.contains("(gone)") && text.contains(&format!("next: landfall resume --run-dir {run_dir}\n")),
        "{text}"
    );
    let (_, json) = landfall(&run_dir, &["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["alive"].as_bool(), json["run"]["phase"].as_str()),
        (Some(false), Some("Cloned"))
    );
}

#[test]
fn damage_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    fs_err::write(run_dir.join("checkpoint"), b"\xff\x00").unwrap();
    let (code, text) = landfall(&run_dir, &["status"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("checkpoint: damaged (empty)"), "{text}");
    fs_err::write(run_dir.join("status.json"), b"{").unwrap();
    assert_eq!(landfall(&run_dir, &["status"]).0, Some(1));
}

/// The status of a run whose process is no more, and that says nothing of its end.
const KILLED: &str = r#"{"pid":4194304,"command":"install","host":"web","began_ms":1,"heard_ms":1,"phase":null,"phase_since_ms":null,
    "attempt":null,"step":null,"count":null,"asking":null,"retry_at_ms":null,"last_fault":null,"ending":null}"#;

#[test]
fn following_the_log_of_a_run_that_was_killed_ends() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    let begun = LOG.lines().next().unwrap();
    fs_err::write(run_dir.join("log.jsonl"), format!("{begun}\n")).unwrap();
    fs_err::write(run_dir.join("status.json"), KILLED).unwrap();
    let output = std::process::Command::new("timeout")
        .args([
            "60",
            env!("CARGO_BIN_EXE_landfall"),
            "log",
            "--follow",
            "--run-dir",
            run_dir.as_str(),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(11), "{text}");
    assert!(
        text.contains("the process ended without reporting a result")
            && text.contains(&format!("next: landfall resume --run-dir {run_dir}\n")),
        "{text}"
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("install of host web")
    );
    // The control: of one that lives more is waited for.
    let own = format!("\"pid\":{}", std::process::id());
    let began = "\"began_ms\":9007199254740991";
    let alive = KILLED
        .replace("\"pid\":4194304", &own)
        .replace("\"began_ms\":1", began);
    fs_err::write(run_dir.join("status.json"), alive).unwrap();
    let output = std::process::Command::new("timeout")
        .args([
            "3",
            env!("CARGO_BIN_EXE_landfall"),
            "log",
            "--follow",
            "--run-dir",
            run_dir.as_str(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(124), "{output:?}");
}

/// `log --follow`, for so many seconds at most: its code (124: it did not end), what it prints, and what it says on standard error.
fn follow(run_dir: &Utf8Path, seconds: u32) -> (Option<i32>, String, String) {
    let output = std::process::Command::new("timeout")
        .args([
            &seconds.to_string(),
            env!("CARGO_BIN_EXE_landfall"),
            "log",
            "--follow",
        ])
        .args(["--run-dir", run_dir.as_str()])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A status with this ending, of a process that is no more.
fn ended(ending: &str) -> String {
    KILLED.replace("\"ending\":null", &format!("\"ending\":{ending}"))
}

const LANDED: &str = r#"{"landed":{"system":"/nix/store/x","revision":"0"}}"#;

/// A run without work ended in good order, and its next step leads out of it.
#[test]
fn a_run_that_found_nothing_to_do_was_not_killed() {
    for (event, ending, said, next) in [
        (
            r#"{"at_ms":9,"event":"already_landed","system":"/nix/store/x","revision":"0"}"#,
            r#"{"already_landed":{"system":"/nix/store/x","revision":"0"}}"#,
            "this install is already finished; nothing was changed",
            "next: remove the installer's medium".to_owned(),
        ),
        (
            r#"{"at_ms":9,"event":"nothing_to_resume","why":"sda holds no install of web","next":"landfall install"}"#,
            r#"{"nothing_to_resume":{"why":"sda holds no install of web","next":"landfall install"}}"#,
            "nothing to resume: sda holds no install of web",
            "next: landfall install --run-dir ".to_owned(),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = run_dir(&dir);
        let begun = LOG.lines().next().unwrap();
        fs_err::write(run_dir.join("log.jsonl"), format!("{begun}\n{event}\n")).unwrap();
        fs_err::write(run_dir.join("status.json"), ended(ending)).unwrap();
        for words in [&["status"][..], &["status", "--watch"]] {
            let (code, text) = landfall(&run_dir, words);
            assert_eq!(code, Some(0));
            assert!(text.contains(said) && text.contains(&next), "{text}");
            assert!(!text.contains("killed") && !text.contains("gone"), "{text}");
        }
        let (code, text, _) = follow(&run_dir, 60);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

/// The run itself, on a machine on which nothing is under way; what it told is there for whoever asks afterwards.
#[test]
fn a_resume_without_an_install_says_so_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    let config = format!("{}/examples/plain.ron", env!("CARGO_MANIFEST_DIR"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["resume", "--run-dir", run_dir.as_str(), "-c", &config])
        .output()
        .unwrap();
    if output.status.code() != Some(3) {
        println!("skipped: this machine's disks cannot be looked at: {output:?}");
        return;
    }
    let (_, text) = landfall(&run_dir, &["status"]);
    assert!(
        text.contains("nothing to resume: ") && text.contains("next: "),
        "{text}"
    );
    assert!(!text.contains("killed"), "{text}");
    // What was told at once is what is told later.
    let said = String::from_utf8(output.stderr).unwrap();
    let next = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("next: "))
        .unwrap();
    assert!(text.contains(next), "{next}: {text}");
    assert_eq!(follow(&run_dir, 60).0, Some(0));
}

/// Nobody writes into the log any more, whatever is left beside it.
#[test]
fn following_ends_where_nobody_writes() {
    let begun = LOG.lines().next().unwrap();
    let dead = r#"{"pid":4194304,"command":"install","since_ms":1}"#;
    for files in [
        // Nothing but the log; the lock of a run that is no more; the ending of an earlier run.
        &[][..],
        &[("lock", dead.to_owned())],
        &[("status.json", ended(LANDED))],
        &[("lock", dead.to_owned()), ("status.json", ended(LANDED))],
        &[("status.json", "{".to_owned())],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = run_dir(&dir);
        fs_err::write(run_dir.join("log.jsonl"), format!("{begun}\n")).unwrap();
        for (name, text) in files {
            fs_err::write(run_dir.join(name), text).unwrap();
        }
        let (code, _, text) = follow(&run_dir, 60);
        assert_eq!(code, Some(11), "{files:?}: {text}");
        assert!(
            text.contains("killed?") && text.contains("landfall resume --run-dir"),
            "{text}"
        );
        // The control: whoever holds the lock may still write.
        let _lock = landfall::lock::Lock::take(&run_dir, "install", u64::MAX / 2).unwrap();
        assert_eq!(follow(&run_dir, 3).0, Some(124), "{files:?}");
    }
}

/// The run directory is deleted while somebody follows, and then the run ends.
#[test]
fn following_a_deleted_run_ends_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir).join("run");
    fs_err::create_dir(&run_dir).unwrap();
    fs_err::write(run_dir.join("log.jsonl"), "").unwrap();
    let mut run = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let holder = format!(
        "{{\"pid\":{},\"command\":\"install\",\"since_ms\":9007199254740991}}",
        run.id()
    );
    fs_err::write(run_dir.join("lock"), holder).unwrap();
    let mut follower = std::process::Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_landfall"), "log", "--follow"])
        .args(["--run-dir", run_dir.as_str()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    fs_err::remove_dir_all(&run_dir).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    // The control: the process is there, and its log with it.
    assert!(follower.try_wait().unwrap().is_none());
    // Nobody waits for it: it stays as a zombie.
    run.kill().unwrap();
    let code = follower.wait().unwrap().code();
    run.wait().unwrap();
    assert_eq!(code, Some(11));
}

/// A line is shown once it is whole, however slowly it is written.
#[test]
fn a_line_that_is_being_written_is_waited_for() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    let begun = LOG.lines().next().unwrap();
    let end = r#"{"at_ms":2500,"event":"landed","system":"/nix/store/x","revision":"0"}"#;
    let (first, rest) = end.split_at(25);
    fs_err::write(run_dir.join("log.jsonl"), format!("{begun}\n{first}")).unwrap();
    fs_err::write(run_dir.join("status.json"), ended(LANDED)).unwrap();
    let _lock = landfall::lock::Lock::take(&run_dir, "install", u64::MAX / 2).unwrap();
    let path = run_dir.join("log.jsonl");
    let writer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let mut log = fs_err::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(log, "{rest}").unwrap();
    });
    let (code, text, _) = follow(&run_dir, 60);
    writer.join().unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("landed: ") && !text.contains("not an event"),
        "{text}"
    );
    // The control: where nobody goes on with it, it is shown as it is.
    fs_err::write(run_dir.join("log.jsonl"), format!("{begun}\n{first}")).unwrap();
    let (_, text) = landfall(&run_dir, &["log"]);
    assert!(text.contains(&format!("(not an event) {first}")), "{text}");
}

/// What cannot be looked at is told with its path, why, and what helps.
#[test]
fn a_log_that_cannot_be_read_is_told_with_its_path() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir(&dir);
    let file = run_dir.join("log.jsonl");
    fs_err::write(&file, LOG).unwrap();
    let (one, other) = (run_dir.join("one"), run_dir.join("other"));
    fs_err::os::unix::fs::symlink(&one, &other).unwrap();
    fs_err::os::unix::fs::symlink(&other, &one).unwrap();
    let below = file.join("x");
    for named in [&one, &below] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["log", "--file", named.as_str()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(named.as_str()) && text.contains("next: "), "{text}");
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become another account");
        return;
    }
    let program = run_dir.join("landfall");
    fs_err::copy(env!("CARGO_BIN_EXE_landfall"), &program).unwrap();
    fs_err::set_permissions(&run_dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let inner = run_dir.join("inner");
    fs_err::create_dir(&inner).unwrap();
    fs_err::rename(&file, inner.join("log.jsonl")).unwrap();
    for (on, mode) in [(inner.clone(), 0o700), (inner.join("log.jsonl"), 0o600)] {
        fs_err::set_permissions(&inner, std::fs::Permissions::from_mode(0o755)).unwrap();
        fs_err::set_permissions(&on, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([program.as_str(), "log", "--run-dir", inner.as_str()])
            .output();
        let Ok(output) = output else {
            println!("skipped: no setpriv (util-linux)");
            return;
        };
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(
            text.contains(&format!("{inner}/log.jsonl: permission denied"))
                && text.contains("next: run it as root"),
            "{text}"
        );
    }
}
