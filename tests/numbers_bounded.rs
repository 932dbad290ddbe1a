//! Promise: every number that a person writes is bounded: on the command line and in the configuration. One that is too large, of
//! another kind, or whose product would be too large is refused in plain words; none ends in a panic, and none in a wait.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any of these commands takes on a busy computer.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Numbers that no option takes, or only one that takes any.
const EXTREMES: [&str; 10] = [
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999",
    "340282366920938463463374607431768211456",
    "-1",
    "1e9",
    "0x10",
    "٣",
    " 1",
    "",
];

/// Exit code, both outputs. A command that does not end is ended, and fails the test.
fn landfall(args: &[&str]) -> (Option<i32>, String) {
    let keep = tempfile::tempdir().unwrap();
    let (out, err) = (keep.path().join("out"), keep.path().join("err"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .env_remove("REPO_REMOTE")
        .env_remove("INSTALL_DISK")
        .stdin(Stdio::null())
        .stdout(fs_err::File::create(&out).unwrap().into_parts().0)
        .stderr(fs_err::File::create(&err).unwrap().into_parts().0)
        .spawn()
        .unwrap();
    let end = Instant::now() + WAIT_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |path| String::from_utf8_lossy(&fs_err::read(path).unwrap()).into_owned();
    (status.code(), text(out) + &text(err))
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/examples")
        .join(name);
    path.to_str().unwrap().to_owned()
}

/// A number on the command line.
struct Number {
    command: &'static str,
    option: &'static str,
    /// What has to stand beside it.
    beside: &'static [&'static str],
    /// The control: what is taken.
    taken: &'static str,
    /// Extremes that are taken, too.
    also: &'static [&'static str],
}

const NUMBERS: [Number; 12] = [
    Number {
        command: "host new",
        option: "swap-size",
        beside: &["--keys", "/nonexistent/keys", "web"],
        taken: "8G",
        also: &[],
    },
    Number {
        command: "install",
        option: "passphrase-fd",
        beside: &["--config", "/nonexistent/landfall"],
        taken: "0",
        also: &[],
    },
    Number {
        command: "resume",
        option: "passphrase-fd",
        beside: &["--config", "/nonexistent/landfall"],
        taken: "0",
        also: &[],
    },
    Number {
        command: "plan",
        option: "disk-size",
        beside: &["--disk-serial", "S5GXNX0T123456", "--config", "EXAMPLE"],
        taken: "64G",
        also: &["18446744073709551615", "99999999999999"],
    },
    Number {
        command: "plan",
        option: "sector-bytes",
        beside: &[
            "--disk-size",
            "64G",
            "--disk-serial",
            "S5GXNX0T123456",
            "--config",
            "EXAMPLE",
        ],
        taken: "4096",
        also: &[],
    },
    Number {
        command: "simulate",
        option: "depth",
        beside: &["--config", "/nonexistent/landfall"],
        taken: "1",
        also: &[],
    },
    Number {
        command: "simulate",
        option: "seed",
        beside: &["--scenarios", "1", "--config", "EXAMPLE"],
        taken: "7",
        also: &["18446744073709551615", "99999999999999"],
    },
    Number {
        command: "simulate",
        option: "scenarios",
        beside: &["--seed", "18446744073709551615", "--config", "EXAMPLE"],
        taken: "1",
        also: &[],
    },
    Number {
        command: "simulate",
        option: "minutes",
        beside: &["--seed", "7", "--config", "/nonexistent/landfall"],
        taken: "1",
        also: &[],
    },
    Number {
        command: "simulate",
        option: "slot-states",
        beside: &["--config", "EXAMPLE"],
        taken: "1",
        also: &[],
    },
    Number {
        command: "image build",
        option: "level",
        beside: &[
            "--system",
            "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-x",
            "--out",
            "/nonexistent/image",
            "--closure-info",
            "/nonexistent/info",
        ],
        taken: "19",
        also: &[],
    },
    Number {
        command: "image write",
        option: "threads",
        beside: &["/nonexistent/image", "/nonexistent/device"],
        taken: "8",
        also: &[],
    },
];

#[test]
fn every_number_on_the_command_line_is_bounded() {
    // None was forgotten: options that take a number are known by the name of their value.
    let mut found = BTreeSet::new();
    let mut commands = vec![(String::new(), landfall::cli::command())];
    while let Some((name, command)) = commands.pop() {
        for option in command.get_arguments() {
            let values: Vec<&str> = option
                .get_value_names()
                .unwrap_or_default()
                .iter()
                .map(|name| name.as_str())
                .collect();
            let is_number = |value: &&str| {
                ["N", "STATES", "BYTES", "SIZE"].contains(value)
                    || value.starts_with(|c: char| c.is_ascii_digit())
            };
            if values.iter().any(is_number) {
                found.insert(format!("{name} --{}", option.get_id().as_str().replace('_', "-")));
            }
        }
        for below in command.get_subcommands() {
            commands.push((
                format!("{name} {}", below.get_name()).trim().to_owned(),
                below.clone(),
            ));
        }
    }
    let listed: BTreeSet<String> = NUMBERS
        .iter()
        .map(|number| format!("{} --{}", number.command, number.option))
        .collect();
    assert_eq!(found, listed);

    let config = example("plain.ron");
    for number in &NUMBERS {
        let run = |value: &str| {
            let option = format!("--{}={value}", number.option);
            let mut args: Vec<&str> = number.command.split(' ').collect();
            args.push(&option);
            args.extend(
                number
                    .beside
                    .iter()
                    .map(|arg| if *arg == "EXAMPLE" { &config } else { *arg }),
            );
            landfall(&args)
        };
        let names_it = |text: &str| text.contains(&format!("--{}", number.option));
        let (_, text) = run(number.taken);
        assert!(
            !names_it(&text) && !text.contains("panicked"),
            "{}: {text}",
            number.taken
        );
        for value in EXTREMES {
            let (code, text) = run(value);
            assert!(
                !text.contains("panicked") && code.is_some(),
                "{} {value}: {text}",
                number.option
            );
            if number.also.contains(&value) {
                assert!(!names_it(&text), "{} {value} is taken: {text}", number.option);
            } else {
                assert!(
                    code == Some(2) && names_it(&text),
                    "{} {value}: {code:?} {text}",
                    number.option
                );
            }
        }
    }
}

/// Every place of a number, or of a size, in a configuration in its normal form, with the option's name.
fn places(text: &str) -> Vec<(usize, usize, String, bool)> {
    let mut found = vec![];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some((name, value)) = line.split_once(':') {
            let value_at = at + name.len() + 1 + (value.len() - value.trim_start().len());
            let value = value.trim().trim_end_matches(',');
            // `Some(…)` around it.
            let (inner, before) = match value.strip_prefix("Some(").and_then(|v| v.strip_suffix(')')) {
                Some(inner) => (inner, 5),
                None => (value, 0),
            };
            let plain = inner.trim_matches('"');
            let digits = plain.trim_end_matches(['K', 'M', 'G', 'T', 'P']);
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
                let is_size = inner.starts_with('"');
                found.push((
                    value_at + before,
                    value_at + before + inner.len(),
                    name.trim().to_owned(),
                    is_size,
                ));
            }
        }
        at += line.len();
    }
    found
}

#[test]
fn every_number_in_the_configuration_is_bounded() {
    let keep = tempfile::tempdir().unwrap();
    let file = keep.path().join("config.ron");
    let path = file.to_str().unwrap();
    let (code, text) = landfall(&["check", "--print", &example("plain.ron")]);
    assert_eq!(code, Some(0), "{text}");
    let begin = text.find("(\n").unwrap_or(0);
    let text = text[begin..].to_owned();
    fs_err::write(&file, &text).unwrap();
    assert_eq!(
        landfall(&["check", path]).0,
        Some(0),
        "the normal form is one: {text}"
    );
    let numbers = places(&text);
    assert!(numbers.len() >= 10, "{numbers:?}\n{text}");
    let sizes = [
        "0M",
        "1K",
        "8191P",
        "16383P",
        "99999999P",
        "18446744073709551616G",
        "-1G",
        "",
    ];
    for (from, to, name, is_size) in numbers {
        let values: Vec<String> = if is_size {
            sizes.iter().map(|size| format!("\"{size}\"")).collect()
        } else {
            EXTREMES.iter().map(|value| (*value).to_owned()).collect()
        };
        for value in values {
            fs_err::write(&file, format!("{}{value}{}", &text[..from], &text[to..])).unwrap();
            let (code, said) = landfall(&["check", path]);
            assert!(
                !said.contains("panicked") && matches!(code, Some(0 | 2)),
                "{name}: {value}: {code:?} {said}"
            );
            assert!(
                code == Some(0) || said.len() > path.len() + 10,
                "{name}: {value}: {said}"
            );
            if code == Some(0) {
                // What is taken does not break what is reckoned with it.
                let (code, said) = landfall(&[
                    "plan",
                    "--config",
                    path,
                    "--disk-size",
                    "64G",
                    "--disk-serial",
                    "S5GXNX0T123456",
                ]);
                assert!(
                    !said.contains("panicked") && code.is_some(),
                    "{name}: {value}: {said}"
                );
            }
        }
    }
}
