//! Promise: wrong input ends with its own exit code and a message that names the thing, the value, what is allowed and
//! what to do, and nothing is touched.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use std::path::{Path, PathBuf};
use std::process::Output;

fn landfall(args: &[&str], envs: &[(&str, &str)]) -> (Option<i32>, String, String) {
    // The harness starts the program under test; landfall itself starts programs in one file only.
    let Output {
        status,
        stdout,
        stderr,
    } = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .env_remove("REPO_REMOTE")
        .env_remove("INSTALL_DISK")
        .envs(envs.iter().copied())
        .output()
        .unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

fn example(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/examples")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// Exit code, and all parts in standard error.
fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let (found, stdout, stderr) = landfall(args, &[]);
    assert_eq!(found, Some(code), "{args:?}\n{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: {stderr}\nlacks {part}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(stdout, "", "{args:?}");
}

#[test]
fn a_wrong_command_line() {
    refused(&["isntall"], 2, &["isntall", "install"]);
    refused(&["install", "--yes"], 2, &["--yes"]);
    refused(
        &["install", "--erase-disk", "sda"],
        2,
        &["sda", "serial number", "landfall disks"],
    );
    refused(&["install", "--erase-disk", "/dev/sda"], 2, &["without the path"]);
    refused(&["install", "--passphrase-fd", "1"], 2, &["'1'", "3 and above"]);
    refused(
        &["install", "--progress", "fancy"],
        2,
        &["fancy", "auto, tty, plain, json"],
    );
    refused(&["resume", "--reinstall"], 2, &["--reinstall"]);
    refused(&["plan", "--disk-serial", "S5GXNX0T123456"], 2, &["--disk-size"]);
    for (name, why) in [
        ("", "it is empty"),
        (" ", "it is empty"),
        (&*"S5".repeat(2_500), "more than 252 characters"),
    ] {
        refused(
            &["plan", "--disk-size", "64G", "--disk-serial", name],
            2,
            &["--disk-serial", why, "landfall disks"],
        );
    }
    for name in ["000000", "0123456789ABCDEF"] {
        refused(
            &["plan", "--disk-size", "64G", "--disk-serial", name],
            2,
            &["--disk-serial", "not unique to one disk", "landfall disks"],
        );
    }
}

#[test]
fn a_name_may_begin_with_a_hyphen() {
    use clap::Parser as _;
    use landfall::cli::Cli;
    let parsed = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| format!("{:?}", cli.command));
    for line in [
        "landfall install --erase-disk -x99abc",
        "landfall install --erase-disk=-x99abc",
        "landfall install --erase-disk -x99abc --reinstall",
        "landfall flash x.iso --erase-disk -x99abc --device -x99abc",
        "landfall flash --forget-keys=-x99abc",
        "landfall plan --disk-size 64G --disk-serial -x99abc",
        "landfall relabel --root -x99abc --esp=-x99abc",
    ] {
        let command = parsed(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(command.contains("\"-x99abc\""), "{line}: {command}");
        assert!(
            line.contains("--reinstall") <= command.contains("reinstall: true"),
            "{command}"
        );
    }
    // The controls: a value that is missing, in front of another option.
    for line in [
        "landfall install --erase-disk --reinstall",
        "landfall flash x.iso --device --yes",
        "landfall plan --disk-size 64G --disk-serial --json",
        "landfall relabel --root --apply",
    ] {
        let why = parsed(line).map_err(|e| e.to_string()).unwrap_err();
        assert!(why.contains("the value before it is missing"), "{line}: {why}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read() {
    refused(
        &["check", "/nonexistent.ron"],
        2,
        &["/nonexistent.ron", "cannot be read", "next:"],
    );
    refused(
        &["check", "nothere.ron"],
        2,
        &["nothere.ron: it cannot be read: No such file or directory"],
    );
    refused(&["check", "/"], 2, &["not a file"]);
    for (text, what) in [
        ("", "it is empty"),
        (" \n", "it has only spaces"),
        ("\u{feff}\0\0", "it has only spaces"),
    ] {
        let file = tempfile::NamedTempFile::with_suffix(".ron").unwrap();
        fs_err::write(file.path(), text).unwrap();
        refused(
            &["check", file.path().to_str().unwrap()],
            2,
            &[what, "next:", "docs/examples"],
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.ron");
    fs_err::write(&file, b"(host: \"\xff\")").unwrap();
    refused(&["check", file.to_str().unwrap()], 2, &["byte 8", "UTF-8"]);
}

#[test]
fn a_bad_value_has_file_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.json");
    fs_err::write(
        &file,
        "{\"host\": \"web\",\n \"labels\": {\"efi\": \"esp\", \"root\": \"r\"},\n \"repository\": {}, \"system\": \"Flake\"}",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    for command in [
        vec!["check", file],
        vec!["install", "--config", file],
        vec!["plan", "-c", file],
    ] {
        refused(
            &command,
            2,
            &[
                &format!("{file}:2:"),
                "labels.efi",
                "\"esp\"",
                "1 to 11 characters",
            ],
        );
    }
}

#[test]
fn bad_overrides_end_before_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let (code, _, stderr) = landfall(
        &[
            "install",
            "--run-dir",
            run_dir.to_str().unwrap(),
            "-c",
            &example("plain.ron"),
        ],
        &[("INSTALL_DISK", "sda"), ("REPO_REMOTE", "ext::sh -c x")],
    );
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("INSTALL_DISK") && stderr.contains("REPO_REMOTE"),
        "{stderr}"
    );
    assert!(!run_dir.exists(), "nothing was touched");
}

#[test]
fn a_long_text_is_not_repeated_whole() {
    let long = "x".repeat(100_000);
    for disk in [long.clone(), format!("/dev/{long}")] {
        let (code, _, stderr) = landfall(&["disks"], &[("INSTALL_DISK", &disk), ("REPO_REMOTE", &long)]);
        assert_eq!(code, Some(2));
        assert!(
            stderr.contains("INSTALL_DISK") && stderr.contains("bytes)"),
            "{stderr}"
        );
        assert!(stderr.len() < 4_096, "{} bytes", stderr.len());
    }
}

#[test]
fn an_output_that_takes_nothing_is_named() {
    let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let config = example("plain.ron");
    for args in [
        vec!["check", &config],
        vec!["check", "--print", &config],
        vec!["man"],
        vec!["completions", "bash"],
    ] {
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(&args)
            .stdout(full.file().try_clone().unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {said}");
        for part in ["standard output: No space left on device", "next:"] {
            assert!(said.contains(part), "{args:?}: {said}");
        }
    }
}

#[test]
fn what_is_in_the_way_of_a_named_run_directory_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let run_dir = run_dir.to_str().unwrap();
    let config = example("plain.ron");
    let start = ["install", "--run-dir", run_dir, "-c", &config];
    fs_err::write(run_dir, "").unwrap();
    refused(
        &start,
        1,
        &[&format!(
            "next: name another directory with --run-dir ({run_dir} blocks this one), or leave --run-dir out, then: landfall install --run-dir \
             {run_dir} --config {config}"
        )],
    );
    fs_err::remove_file(run_dir).unwrap();
    fs_err::os::unix::fs::symlink("nowhere", run_dir).unwrap();
    refused(
        &start,
        1,
        &[&format!(
            "next: name another directory with --run-dir ({run_dir} blocks"
        )],
    );
    fs_err::remove_file(run_dir).unwrap();
    for file in ["lock", "log.jsonl"] {
        let at = format!("{run_dir}/{file}");
        fs_err::create_dir_all(&at).unwrap();
        refused(
            &start,
            1,
            &[&format!(
                "next: name another directory with --run-dir ({at} blocks"
            )],
        );
        fs_err::remove_dir(&at).unwrap();
    }
}

#[test]
fn a_disk_too_small_is_refused_with_both_figures() {
    refused(
        &[
            "plan",
            "-c",
            &example("swap.ron"),
            "--disk-size",
            "16G",
            "--disk-serial",
            "LF0001",
        ],
        2,
        &["too small", "18792579072", "17179869184"],
    );
    refused(
        &["plan", "-c", &example("plain.ron"), "--disk-size", "16G"],
        2,
        &["no WWN, no serial number"],
    );
    refused(
        &[
            "plan",
            "-c",
            &example("plain.ron"),
            "--disk-size",
            "16X",
            "--disk-serial",
            "LF0001",
        ],
        2,
        &["16X", "such as 512M or 8G"],
    );
}

#[test]
fn a_second_start_says_who_works() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = camino::Utf8Path::from_path(dir.path()).unwrap();
    let _lock = landfall::lock::Lock::take(run_dir, "install", 0).unwrap();
    let me = format!("process {} (landfall install)", std::process::id());
    refused(
        &[
            "resume",
            "--run-dir",
            run_dir.as_str(),
            "-c",
            &example("plain.ron"),
        ],
        4,
        &[&me, "landfall status --run-dir", "--watch"],
    );
}

/// The machine has one lock, whatever the run directory: tests that start a run, or hold it, take turns.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_second_start_with_another_run_directory_says_who_works() {
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    // Whoever watches it needs its directory, which the kernel names; another test of this process may hold one too.
    let run_dir = camino::Utf8Path::from_path(dir.path()).unwrap();
    let _here = landfall::lock::Lock::take(run_dir, "install", 0).unwrap();
    let _lock = landfall::lock::machine::MachineLock::take().unwrap();
    let me = format!("process {} (", std::process::id());
    refused(
        &[
            "install",
            "--run-dir",
            elsewhere.to_str().unwrap(),
            "-c",
            &example("plain.ron"),
        ],
        4,
        &[
            "running on this machine",
            &me,
            "landfall status --run-dir /",
            "--watch",
        ],
    );
}

#[test]
fn no_log_and_no_status_are_said() {
    refused(
        &["log", "--run-dir", "/nonexistent"],
        3,
        &["/nonexistent/log.jsonl", "no log"],
    );
    let (code, stdout, _) = landfall(&["status", "--run-dir", "/nonexistent"], &[]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("landfall resume"), "{stdout}");
}

#[test]
fn what_is_right_is_taken() {
    // The control: the same ways in, with good input.
    for name in [
        "plain.ron",
        "swap.ron",
        "luks-prebuilt.ron",
        "flake.ron",
        "generated.json",
    ] {
        let (code, stdout, stderr) = landfall(&["check", &example(name)], &[]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("the configuration of host"), "{stdout}");
    }
    let plan = [
        "plan",
        "-c",
        &example("swap.ron"),
        "--disk-size",
        "64G",
        "--disk-serial",
        "LF0001",
    ];
    let (_, text, _) = landfall(&plan, &[]);
    assert!(
        text.contains("3 swap-db") && text.contains("Provisioned → Land"),
        "{text}"
    );
    let (_, again, _) = landfall(&plan, &[]);
    assert_eq!(text, again, "byte for byte");
    let (_, json, _) = landfall(&[&plan[..], &["--json"]].concat(), &[]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["steps"].as_array().unwrap().len(), 10);
    assert_eq!(json["plan"]["table"]["entries"][2]["name"], "swap-db");
}

/// kill -9 lets nobody clean up: the next start does, whatever becomes of it. This one ends at an empty passphrase, before
/// it looks at any disk.
#[test]
fn a_killed_runs_ssh_key_is_removed_at_the_next_start() {
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let (run_dir, credentials) = (dir.path().join("run"), dir.path().join("credentials"));
    fs_err::create_dir(&run_dir).unwrap();
    fs_err::create_dir(&credentials).unwrap();
    fs_err::write(credentials.join("landfall.luks-passphrase"), "\n").unwrap();
    for left in ["ssh-key", ".ssh-key.landfall"] {
        fs_err::write(run_dir.join(left), "canary").unwrap();
    }
    let (code, _, stderr) = landfall(
        &[
            "install",
            "--run-dir",
            run_dir.to_str().unwrap(),
            "-c",
            &example("plain.ron"),
        ],
        &[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())],
    );
    assert_eq!(code, Some(6), "{stderr}");
    assert!(
        stderr.contains("stopped before the install started; this run wrote to no disk (needs a change)"),
        "{stderr}"
    );
    assert!(!stderr.contains("canary"), "{stderr}");
    for gone in ["ssh-key", ".ssh-key.landfall"] {
        assert!(!run_dir.join(gone).exists(), "{gone}");
    }
}
