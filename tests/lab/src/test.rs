//! `cargo lab test`: sets up, then runs every test: unit, property, integration, and the scenarios marked for it.
//!
//! It fails if any part failed or ran nothing. The last line is the sum. The tests run beside the machines, which mostly
//! wait, and yield to them; when they have ended, two machines run at a time. Their output follows when all are done.
//!
//! `cargo lab scenario --all` has the longer scenarios.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::ending;
use crate::kit::Kit;
use crate::scenarios::{self, Turns};

/// A part of the run: its name, and Cargo's arguments.
type Step = (&'static str, &'static [&'static str]);

/// The documentation of every package, with each warning an error.
pub const RUSTDOC: [&str; 6] = [
    "--config",
    "build.rustdocflags=[\"-Dwarnings\"]",
    "doc",
    "--quiet",
    "--workspace",
    "--no-deps",
];

/// What is quick, and looked at first.
const LINTS: [Step; 5] = [
    // The fuzz targets are a workspace of their own, whose lock file nothing else here reads.
    (
        "the fuzz targets' lock file",
        &[
            "tree",
            "--quiet",
            "--locked",
            "--depth",
            "0",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ],
    ),
    ("formatting", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("rustdoc", &RUSTDOC),
    // cargo-deny and the oldest Rust are asked where they are installed.
    (
        "licences and rust-version",
        &["lab", "release", "--check", "licences", "rust-version"],
    ),
];
/// What runs beside the machines.
const TESTS: [Step; 3] = [
    ("tests", &["test", "--workspace", "--no-fail-fast"]),
    // What builds with Nix, from Debian's packages; both are there by now.
    (
        "the laboratory's builds",
        &["test", "--package", "lab", "--", "--ignored"],
    ),
    // With LANDFALL_NIXPKGS it evaluates too.
    ("the NixOS side", &["lab", "nix"]),
];

/// Cargo in the project's folder.
struct Cargo {
    program: OsString,
    workspace: PathBuf,
}

impl Cargo {
    /// Runs a part; with a log, what it prints goes there, and it yields to whoever else wants the processor.
    fn passes(&self, (name, arguments): Step, log: Option<&Path>) -> Result<bool> {
        eprintln!("lab: {name}: cargo {}", arguments.join(" "));
        let mut command = match log {
            None => Command::new(&self.program),
            Some(log) => {
                let file = fs::OpenOptions::new().append(true).create(true).open(log)?;
                let mut command = Command::new("nice");
                command.args(["-n", "5"]).arg(&self.program);
                let output = file.into_parts().0;
                command.stdout(output.try_clone()?).stderr(output);
                command
            }
        };
        command.args(arguments).current_dir(&self.workspace);
        let status = ending::status(command).with_context(|| format!("cargo {}", arguments.join(" ")))?;
        Ok(status.success())
    }

    fn failed(&self, steps: &[Step], log: Option<&Path>) -> Result<Vec<String>> {
        let mut failed = Vec::new();
        for step in steps {
            if !self.passes(*step, log)? {
                failed.push(step.0.to_owned());
            }
        }
        Ok(failed)
    }
}

/// Runs the subcommand. `quick` leaves the machines out.
pub fn run(quick: bool) -> Result<ExitCode> {
    // Sets up what the tests of the workspace need as well: libraries, mkfs, Nix.
    let kit = Kit::open()?;
    let cargo = Cargo {
        program: std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        workspace: kit.lab.cache.workspace.clone(),
    };
    let lints: &[Step] = if std::env::var_os("LANDFALL_LAB_NO_LINT").is_some() {
        &[]
    } else {
        &LINTS
    };
    let mut failed = cargo.failed(lints, None)?;
    let mut ran = lints.len() + TESTS.len();
    if quick {
        failed.extend(cargo.failed(&TESTS, None)?);
    } else {
        let log = kit.lab.cache.root.join("tests.log");
        fs::write(&log, "")?;
        eprintln!(
            "lab: the tests run beside the machines; follow them with: tail -f {}",
            log.display()
        );
        let chosen: Vec<_> = scenarios::ALL.iter().filter(|s| s.in_test).collect();
        let turns = Turns::new(&kit, &chosen);
        let tests = std::thread::scope(|scope| {
            let beside = scope.spawn(|| {
                let tests = cargo.failed(&TESTS, Some(&log));
                // The processor that they had is free now: a second machine at a time.
                turns.take();
                tests
            });
            turns.take();
            beside.join()
        });
        let results = turns.ended();
        // Whatever became of them, what they printed is shown.
        std::io::stdout().write_all(&fs::read(&log)?)?;
        match tests {
            Ok(tests) => failed.extend(tests?),
            Err(_) => bail!("the thread that ran the tests ended by itself"),
        }
        if results.is_empty() {
            bail!("no scenario ran");
        }
        // Said when each ended, long before the tests' output: whoever sees only the end must find the reason there.
        for shown in &results {
            println!("{shown}");
            if shown.fault.is_some() {
                failed.push(format!("scenario {}", shown.name));
            }
        }
        ran += results.len();
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!("{} passed, {} failed", ran - failed.len(), failed.len());
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
