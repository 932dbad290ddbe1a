//! Real errors of the programs that landfall runs: what each means, and what a person is told to do.
//!
//! tests/tool_errors/*.txt holds what real programs printed, with their versions and their origin.
//! tests/tool_errors/table.txt says for each its class, its cause, the sentence that decided and the next step, and is
//! compared as a whole. `LANDFALL_ENDINGS=new` writes the table again, for a person to read.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

use landfall::real::nix::log::NixProgress;
use landfall::real::tool_errors::{self, Places};
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, Kind};
use std::collections::BTreeSet;

/// Endings in which nobody says why: the other side of ssh hung up, or something else than Git answered. Tried once more only.
const UNKNOWN: [&str; 18] = [
    "git/garbage-answer",
    "git/git-protocol-hangup",
    "git/git-protocol-strange",
    "git/git-protocol-none",
    "ssh/ssh-no-git-there",
    "ssh/ssh-greets",
    "ssh/ssh-no-login",
    "ssh/ssh-sftp-only",
    "ssh/ssh-silent-255",
    "ssh/ssh-silent-0",
    "ssh/ssh-no-program-there",
    "ssh/ssh-remote-io",
    "ssh/ssh-forge-notice-unauthorized",
    "ssh/ssh-forge-on-output-ac",
    "ssh/ssh-forge-on-output-hi",
    "ssh/words-motd-quota",
    "ssh/words-motd-space",
    // What has a file in its trace and a reason that no table knows: it is no evaluation that failed.
    "nix/copy-schema-write-efbig-2.26",
];

const FILES: [&str; 5] = ["git", "ssh", "nix", "make", "install"];

fn read(name: &str) -> String {
    fs_err::read_to_string(format!("tests/tool_errors/{name}.txt")).unwrap()
}

/// What a program printed, and how it ended.
#[derive(Clone)]
struct Sample {
    file: &'static str,
    name: String,
    program: String,
    source: String,
    exit: String,
    lines: Vec<String>,
}

fn samples() -> Vec<Sample> {
    let mut found = vec![];
    for file in FILES {
        let text = read(file);
        for block in text.split("\n## ").skip(1) {
            let mut lines = block.lines();
            let name = lines.next().unwrap().to_owned();
            let mut sample = Sample {
                file,
                name,
                program: String::new(),
                source: String::new(),
                exit: String::new(),
                lines: vec![],
            };
            for line in lines {
                if let Some(said) = line.strip_prefix("| ") {
                    sample.lines.push(said.to_owned());
                } else if let Some((key, value)) = line.split_once(": ") {
                    match key {
                        "program" => sample.program = value.to_owned(),
                        "source" => sample.source = value.to_owned(),
                        "exit" => sample.exit = value.to_owned(),
                        other => panic!("{}: {other}?", sample.name),
                    }
                }
            }
            found.push(sample);
        }
    }
    found
}

impl Sample {
    fn how(&self) -> Ended {
        let last = self.lines.len().saturating_sub(6);
        Ended {
            program: self.program.split(' ').next().unwrap().to_owned(),
            code: self.exit.parse().ok(),
            last_lines: self.lines[last..].to_vec(),
            note: None,
        }
    }

    /// Before its machine log begins, Nix reads its settings.
    fn has_machine_log(&self) -> bool {
        self.source.contains("nix.conf holds") || self.lines.iter().any(|line| line.contains("@nix "))
    }

    /// What only moves paths evaluates nothing.
    fn log(&self) -> NixProgress {
        let moves = [
            " copy",
            "path-info",
            "store verify",
            "realise",
            "--no-link /nix/store/",
        ];
        if self.program.starts_with("nix-store") || moves.iter().any(|word| self.source.contains(word)) {
            NixProgress::default()
        } else {
            NixProgress::of_evaluation()
        }
    }

    fn judged(&self) -> Fault {
        let root = "/mnt";
        let places = Places(&[root]);
        let text = self.lines.join("\n");
        let what = &*self.name;
        match self.file {
            "git" | "ssh" => tool_errors::git(what, self.how(), &text, places),
            "nix" if self.has_machine_log() => {
                let mut log = self.log();
                for line in &self.lines {
                    log.take(line);
                }
                tool_errors::nix(what, self.how(), log.sorted(), places)
            }
            "nix" => tool_errors::nix_plain(what, self.how(), &text, places),
            "make" => {
                let devices = [root, "/dev", "/root"];
                let how = self.how();
                let said = how.last_lines.join("\n");
                tool_errors::make(what, how, &said, Places(&devices))
            }
            "install" => tool_errors::install(what, self.how(), &text, places),
            other => panic!("{other}"),
        }
    }
}

fn cause(fault: &Fault) -> Cause {
    fault.cause().unwrap()
}

fn sentence(fault: &Fault) -> String {
    match &*fault.kind {
        Kind::Ending { line, .. } => line.chars().take(110).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_ending_has_its_class_and_its_remedy() {
    let samples = samples();
    assert!(samples.len() >= 150, "{}", samples.len());
    let names: BTreeSet<(&str, &str)> = samples.iter().map(|s| (s.file, &*s.name)).collect();
    assert_eq!(names.len(), samples.len(), "a name is that of one sample");
    let mut table = String::from(
        "# Made by tests/tool_errors.rs of the samples beside it. To be read by a person, line by line:\n\
         # what ended · its class · its cause · the sentence of its own that says so → what to do\n",
    );
    for sample in &samples {
        assert!(
            !sample.program.is_empty() && !sample.source.is_empty() && !sample.exit.is_empty(),
            "{}",
            sample.name
        );
        let fault = sample.judged();
        table += &format!(
            "{}/{} · {} · {:?} · {} → {}\n",
            sample.file,
            sample.name,
            fault.class,
            cause(&fault),
            sentence(&fault),
            fault.next()
        );
    }
    if std::env::var("LANDFALL_ENDINGS").is_ok_and(|wish| wish == "new") {
        fs_err::write("tests/tool_errors/table.txt", &table).unwrap();
    }
    let kept = read("table");
    for (made, kept) in table.lines().zip(kept.lines()) {
        assert_eq!(made, kept);
    }
    assert_eq!(table.lines().count(), kept.lines().count());
    let unknown: Vec<&str> = table
        .lines()
        .filter(|line| line.contains(" · Unknown · "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(unknown, UNKNOWN, "endings that no table knows");
}

/// Sentences that decide something where a program says them of itself.
const QUOTED: [&str; 13] = [
    "cat: /mnt/x: Input/output error",
    "error: reading file '/mnt/nix/store/x': Input/output error",
    "No space left on device",
    "write /mnt/x: No space left on device",
    "error: hash mismatch in fixed-output derivation '/nix/store/x.drv':",
    "fatal: could not read Username for 'https://h'",
    "Permission denied (publickey).",
    "Host key verification failed.",
    "SSL certificate problem: certificate has expired",
    "API rate limit exceeded for 203.0.113.7",
    "error: attribute 'x' missing",
    "Could not resolve host: h",
    "error: unable to download 'https://h/x': HTTP error 404",
];

/// What a build says in its log, and the configuration in what it traces, changes the meaning of no ending.
#[test]
fn what_a_build_or_the_configuration_says_decides_nothing() {
    let samples = samples();
    for sample in samples.iter().filter(|s| s.file == "nix") {
        let before = cause(&sample.judged());
        for text in QUOTED {
            let mut changed = sample.clone();
            let json = sample.lines.iter().any(|line| line.starts_with("@nix "));
            let lines: Vec<String> = if json {
                vec![
                    format!(r#"@nix {{"action":"result","fields":[{text:?}],"id":1,"type":101}}"#),
                    format!(r#"@nix {{"action":"msg","level":0,"msg":"trace: {text}"}}"#),
                ]
            } else {
                vec![format!("       > {text}"), format!("trace: {text}")]
            };
            changed.lines.splice(0..0, lines);
            assert_eq!(cause(&changed.judged()), before, "{}: {text}", sample.name);
        }
    }
    // The control: said by Nix itself, it does decide.
    let own = |text: &str| {
        let how = samples[0].how();
        cause(&tool_errors::nix_plain("x", how, text, Places(&["/mnt"])))
    };
    assert_eq!(
        own("error: reading '/mnt/x': Input/output error"),
        Cause::TargetErrors
    );
    assert_eq!(
        own("error: writing '/mnt/x': No space left on device"),
        Cause::NoRoom
    );
}

/// The other side's words, behind `remote:`, may say why it refused, and never that this machine is at fault.
#[test]
fn what_a_remote_says_blames_no_machine() {
    let samples = samples();
    for sample in samples.iter().filter(|s| matches!(s.file, "git" | "ssh")) {
        for text in QUOTED {
            let mut changed = sample.clone();
            changed.lines.insert(0, format!("remote: {text}"));
            let (before, after) = (sample.judged(), changed.judged());
            let blamed = |fault: &Fault| {
                matches!(
                    cause(fault),
                    Cause::TargetErrors
                        | Cause::NoRoom
                        | Cause::Medium
                        | Cause::Memory
                        | Cause::HostKey
                        | Cause::Clock
                )
            };
            assert!(
                blamed(&before) || !blamed(&after),
                "{}: {text}: {:?}",
                sample.name,
                cause(&after)
            );
        }
    }
}

/// Names of files are listed indented, and commits with a mark before; a hook of an activation prints what it wants.
#[test]
fn a_name_or_a_hooks_words_decide_nothing() {
    let samples = samples();
    for sample in samples
        .iter()
        .filter(|s| matches!(s.file, "git" | "ssh" | "install"))
    {
        let before = cause(&sample.judged());
        for text in QUOTED {
            let lines = match sample.file {
                "install" => vec![format!("my-hook: {text}"), format!("{text} (ignored)")],
                _ => vec![format!("\t{text}"), format!("HEAD is now at 1a2b3c4 {text}")],
            };
            for line in lines {
                for at in [0, sample.lines.len()] {
                    let mut changed = sample.clone();
                    changed.lines.insert(at, line.clone());
                    if sample.file == "install" {
                        changed.lines.insert(at, "setting up /etc...".into());
                    }
                    assert_eq!(cause(&changed.judged()), before, "{}: {line}", sample.name);
                }
            }
        }
    }
}

/// Every cause that a table can name is held by a real ending, or by a sentence here that stands for it.
#[test]
fn the_device_is_blamed_only_by_name() {
    for sample in samples() {
        let fault = sample.judged();
        if fault.class == FaultClass::Hardware && sample.file != "make" {
            assert!(sentence(&fault).contains("/mnt"), "{}: {fault}", sample.name);
        }
    }
}
