//! Promise: a repository's settings are read without Git as Git reads them. With real Git, on forms that could be used to
//! hide a setting, and on any.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

use landfall::real::git::settings::{Setting, Unreadable, read};
use proptest::prelude::*;
use std::process::Command;

/// What Git 2.47.3 writes.
const WRITTEN: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n[remote \"origin\"]\n\turl = https://forge.example/o\n";

/// What Git says of the same bytes: its list, or that it cannot read them.
fn as_git_reads(text: &[u8]) -> Option<Result<Vec<Setting>, ()>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), text).unwrap();
    let out = Command::new("git")
        .args(["config", "--list", "-z", "--no-includes", "--file"])
        .arg(file.path())
        .output()
        .ok()?;
    if !out.status.success() {
        return Some(Err(()));
    }
    let Ok(said) = String::from_utf8(out.stdout) else {
        return Some(Err(()));
    };
    let settings = said.split_terminator('\0').map(|entry| {
        let (name, value) = match entry.split_once('\n') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (entry, None),
        };
        Setting {
            name: name.to_owned(),
            value,
        }
    });
    Some(Ok(settings.collect()))
}

fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let Some(git) = as_git_reads(text) else {
        return Ok(());
    };
    // Stricter than Git is no harm, laxer is none either: nothing that Git cannot read is run with.
    let Ok(settings) = git else { return Ok(()) };
    // A carriage return that ends no line is refused wherever it is.
    let ends_no_line = |pair: &[u8]| pair[0] == b'\r' && pair.get(1) != Some(&b'\n');
    if text.windows(2).any(ends_no_line) || text.ends_with(b"\r") {
        prop_assert!(read(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        return Ok(());
    }
    prop_assert_eq!(read(text), Ok(settings), "{:?}", String::from_utf8_lossy(text));
    Ok(())
}

#[test]
fn it_is_read_as_git_reads_it() {
    for text in [
        WRITTEN,
        "",
        "\u{feff}[a]\nb = c",
        "[a]b=c",
        "[a]b=c # d",
        "[a]\r\nb = c \r\n",
        "[a]\nb = \"c ; d\" e # f\n",
        "[a]\nb = c\\\n  d\n",
        "[a \"b\\\"c\\\\d\"]\ne\n",
        "[A.B]\nC-D = x\n",
        "[a \"B\"]\nC=\n",
        "[a]\nb = \\t\\n\\b\\\\\\\"\n",
        "[a]\nb=\"x  \"  \n",
        "# c\n; d\n[a] ; e\n b = 1",
        "[a]\nb = x\\",
    ] {
        agrees(text.as_bytes()).unwrap();
    }
    for text in [
        "[core",
        "= c",
        "[a]\n1 = 2",
        "[a]\nb = \"c",
        "[a]\nb = \\x",
        "[a \"b\n\"]",
        "[a]\nb c",
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text:?}");
        if let Some(git) = as_git_reads(text.as_bytes()) {
            assert!(git.is_err(), "{text:?}");
        }
    }
    assert_eq!(read(b"[a]\nb = 1\n\0"), Err(Unreadable { line: 3 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_is_read_as_git_reads_it(
        parts in proptest::collection::vec(prop_oneof![
            Just("[core]"), Just("[a \"b.c\"]"), Just("[a \"b\\\"\"]"), Just("[A.b]"), Just("\n"), Just("\r\n"), Just(" "), Just("\t"),
            Just("key"), Just("Key-2"), Just("="), Just(" = "), Just("value"), Just("\""), Just("\\\""), Just("\\\\"), Just("\\\n"),
            Just("\\n"), Just("#"), Just(";"), Just("é"), Just("]"), Just("["), Just("\\"), Just("\r"),
        ], 0..24)
    ) {
        agrees(parts.concat().as_bytes())?;
    }
}
