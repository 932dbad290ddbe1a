//! Tests of `command`.

use super::*;
use landfall_states::fault::FaultClass;
use std::io::{Seek, Write};

fn run(program: Program<'_>) -> Result<Ended, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(program.run(&Reporter::default(), &Stop::never()))
}

fn input(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn output_input_and_exit_code() {
    let ended = run(Program::new("sh")
        .args(["-c", "cat; echo err >&2; exit 3"])
        .stdin(input("in\n")))
    .unwrap();
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(3), "in\n", "err\n")
    );
    assert!(ended.how().to_string().contains("exit code 3: err"));
}

#[test]
fn the_environment_is_clean() {
    let ended = run(Program::new("env").env("GIVEN", "yes")).unwrap();
    assert!(ended.stdout.contains("GIVEN=yes"));
    assert!(!ended.stdout.contains("CARGO"), "{}", ended.stdout);
}

/// Endings are known by their words.
#[test]
fn programs_speak_one_language() {
    let environment = run(Program::new("env")).unwrap().stdout;
    let has = |begin: &str| environment.lines().any(|line| line.starts_with(begin));
    assert!(has("LC_ALL=C"), "{environment}");
    assert!(!has("LANG=") && !has("LANGUAGE="), "{environment}");
    // Programs with translations, on a medium whose language is German.
    let german = |program: Program<'_>| {
        let ended = run(program.env("LANG", "de_DE.UTF-8").env("LANGUAGE", "de"));
        ended.unwrap().said()
    };
    for (program, english) in [
        ("mke2fs", "does not exist"),
        ("e2fsck", "No such file or directory"),
    ] {
        let program = || Program::new(program).args(["-n", "/dev/landfall-none"]);
        let said = german(program());
        assert!(said.contains(english), "{said}");
        // The control, on a host that has the language and the translations.
        let other = german(program().env("LC_ALL", "de_DE.UTF-8"));
        assert!(said == other || !other.contains(english), "{other}");
    }
}

/// The `PATH` of a unit made by NixOS has store paths of the installer only.
#[test]
fn a_program_that_enters_the_target_finds_the_targets_own_programs_last() {
    let store = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-util-linux/bin";
    let sh = || {
        Program::new("/bin/sh")
            .args(["-c", "echo $PATH"])
            .env("PATH", store)
    };
    assert_eq!(run(sh()).unwrap().stdout.trim_end(), store);
    assert_eq!(
        run(sh().enters_target()).unwrap().stdout.trim_end(),
        format!("{store}:/run/current-system/sw/bin")
    );
    let ours = std::env::var("PATH").unwrap();
    let inherited = run(Program::new("/bin/sh").args(["-c", "echo $PATH"]).enters_target());
    assert_eq!(
        inherited.unwrap().stdout.trim_end(),
        format!("{ours}:/run/current-system/sw/bin")
    );
}

#[test]
fn a_program_that_hangs_dies_with_its_children() {
    let begun = std::time::Instant::now();
    let fault = run(Program::new("sh")
        .args(["-c", "sleep 60 & sleep 60"])
        .deadline(Duration::from_millis(300)))
    .unwrap_err();
    assert!(fault.why().contains("did not end in time"), "{fault}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_program_that_falls_silent_is_ended() {
    let fault = run(Program::new("sh")
        .args(["-c", "echo one; sleep 60"])
        .silence_max(Duration::from_millis(300)))
    .unwrap_err();
    assert!(fault.why().contains("printed nothing"), "{fault}");
}

#[test]
fn memory_has_a_limit_in_every_process() {
    let limit = Memory::Git.bytes_max().unwrap() / 1024;
    let ended = run(Program::new("sh")
        .args(["-c", "sh -c 'ulimit -d'"])
        .memory(Memory::Git))
    .unwrap();
    assert_eq!(ended.stdout.trim(), limit.to_string());
}

#[test]
fn what_is_started_has_a_part_in_the_disks_lock() {
    let keep = tempfile::tempdir().unwrap();
    let path = camino::Utf8PathBuf::from_path_buf(keep.path().join("disk")).unwrap();
    fs_err::write(&path, "").unwrap();
    let lock = target::TargetLock::take(&path).unwrap();
    let held = |program: Program<'_>| {
        let ended = run(program.args(["-c", "readlink /proc/self/fd/*"])).unwrap();
        ended.stdout.lines().any(|line| line == path)
    };
    assert!(!held(Program::new("sh")));
    lock.inherit();
    assert!(held(Program::new("sh")));
    assert!(
        !held(Program::new("sh").apart()),
        "what a hook starts may live for ever"
    );
    drop(lock);
    assert!(!held(Program::new("sh")));
}

#[test]
fn a_missing_program_is_named() {
    let fault = run(Program::new("landfall-no-such-program")).unwrap_err();
    assert!(fault.what().contains("landfall-no-such-program"));
}

#[test]
fn lines_are_told_as_they_come() {
    let mut lines = vec![];
    let ended = run(Program::new("printf")
        .arg("a\\rb\\nc")
        .on_line(|l| lines.push(l.to_owned())))
    .unwrap();
    assert!(ended.success());
    assert_eq!(lines, ["a", "b", "c"]);
}

#[test]
fn a_stop_ends_what_looks_and_is_the_reason_of_a_wait_that_it_prolongs() {
    let (sender, stop) = Stop::new();
    sender.send(Some("SIGTERM")).unwrap();
    let ended = |program: Program<'_>, stop: &Stop| {
        let begun = std::time::Instant::now();
        let fault = crate::real::test_support::block_on(program.run(&Reporter::default(), stop)).unwrap_err();
        (fault.class, begun.elapsed())
    };
    let sleep = |seconds: &'static str| Program::that_looks("sleep").arg(seconds);
    let (class, took) = ended(sleep("60"), &stop);
    assert!(
        class == FaultClass::Interrupted && took < Duration::from_secs(6),
        "{took:?}"
    );
    let finishes = || {
        Program::new("sleep")
            .arg("60")
            .deadline(Duration::from_millis(300))
    };
    assert_eq!(ended(finishes(), &stop).0, FaultClass::Interrupted);
    // The control: nobody asked.
    assert_eq!(ended(finishes(), &Stop::never()).0, FaultClass::Transient);
}
