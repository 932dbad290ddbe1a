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
        ("halfway install --all --part 3/2", "a part is K/N"),
        ("halfway install --all --part 0/2", "a part is K/N"),
        ("halfway install --part 1/2", "--all"),
        ("halfway install --all --part 1/2 --write", "cannot be used with"),
        ("halfway clone --every 2 --write", "cannot be used with"),
        (
            "chaos --layout banana",
            "no such layout: banana; there are: plain,",
        ),
        ("chaos --installs 0", "0 is not in 1.."),
        ("chaos --installs -1", "unexpected argument"),
        ("chaos --minutes 0", "0 is not in 1..="),
        ("chaos --minutes 100001", "100001 is not in 1..=100000"),
        ("chaos --minutes 18446744073709551615", "is not in 1..="),
        ("chaos --minutes 99999999999999999999999", "number too large"),
        ("chaos --seed -3", "unexpected argument"),
        ("chaos --control --installs 2", "cannot be used with"),
        ("bench closure --runs 0", "0 is not in 1.."),
        ("bench closure --gib 0", "a size is more than 0"),
        ("bench closure --gib nan", "a size is more than 0"),
        ("bench closure --gib 1,1e300", "a size is more than 0"),
        ("bench closure --files 0", "0 is not in 1.."),
        ("bench closure --level 20", "20 is not in 1..=19"),
        ("shell --disk-gib 0", "0 is not in 1.."),
        ("shell --disk-gib 99999999999999", "is not in 1..="),
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
