//! Promise: whoever watches an install from outside (`status`, `log`) is told what is in the files, all of it, and nothing
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
        text.contains("(gone)") && text.contains("next: landfall resume"),
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
