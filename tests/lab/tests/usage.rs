//! Promise: what cannot be done is refused in words, before anything is installed or started, and without a backtrace.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::process::Command;

/// What the laboratory says to these words, and how it ends.
fn said(words: &str) -> (Option<i32>, String) {
    let cache = std::env::temp_dir().join(format!("lab-usage-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(words.split_whitespace())
        .env("RUST_BACKTRACE", "1")
        .env("LANDFALL_LAB_CACHE", &cache)
        .output()
        .unwrap();
    assert!(
        output.stdout.is_empty(),
        "{words}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn what_cannot_be_done_is_refused_in_words() {
    for (words, why) in [
        (
            "reverted banana",
            "no such fault: banana; there are: database, mapping,",
        ),
        ("halfway banana", "no such step: banana; there are: esp, luks,"),
        ("halfway clone banana", "no such step: banana"),
        ("halfway activate --host", "activate needs a machine"),
        ("halfway --point 5:kill", "is of one step"),
        ("halfway clone luks --point 5:kill", "is of one step"),
        ("halfway clone --point banana", "a point is CALL:WHAT"),
        ("halfway clone --point 5", "a point is CALL:WHAT"),
        ("halfway clone --point -1:kill", "unexpected argument"),
        ("halfway clone --every 0", "0 is not in 1.."),
        ("halfway clone --every -1", "unexpected argument"),
        ("halfway clone --every 2 --all", "cannot be used with"),
        ("halfway clone --every 2 --point 5:kill", "cannot be used with"),
        ("halfway clone --every 2 --write", "cannot be used with"),
    ] {
        let (status, said) = said(words);
        assert!(status.is_some_and(|code| code != 0), "{words}: {status:?}");
        assert!(said.contains(why), "{words}: {said}");
        assert!(said.starts_with("error: "), "{words}: {said}");
        assert!(
            !said.contains("stack backtrace") && !said.contains("Stack backtrace"),
            "{words}: {said}"
        );
        // No frame of a stack either, whatever it is called.
        assert!(!said.contains("\n   0: "), "{words}: {said}");
    }
}
