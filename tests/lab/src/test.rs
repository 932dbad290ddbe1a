//! `cargo lab test`: sets up, then runs every test: unit, property, integration, and the scenarios marked for it. Law: it
//! fails when any part failed or ran nothing; the last line is the sum.
//!
//! Absent: the heavier scenarios; `cargo lab scenario --all` has them.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::kit::Kit;
use crate::scenarios;

/// Runs the subcommand. `quick` leaves the machines out.
pub fn run(quick: bool) -> Result<ExitCode> {
    // Sets up what the tests of the workspace need as well: libraries, mkfs, Nix.
    let kit = Kit::open()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = &kit.lab.cache.workspace;
    let mut steps = vec![
        ("formatting", vec!["fmt", "--all", "--check"]),
        (
            "clippy",
            vec![
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
        ("tests", vec!["test", "--workspace", "--no-fail-fast"]),
        // What builds with Nix, from Debian's packages; both are there by now.
        (
            "the laboratory's builds",
            vec!["test", "--package", "lab", "--", "--ignored"],
        ),
    ];
    if std::env::var_os("LANDFALL_LAB_NO_LINT").is_some() {
        steps.drain(..2);
    }
    let mut failed = Vec::new();
    for (name, arguments) in &steps {
        eprintln!("lab: {name}: cargo {}", arguments.join(" "));
        let status = Command::new(&cargo)
            .args(arguments)
            .current_dir(workspace)
            .status()
            .with_context(|| format!("cargo {}", arguments.join(" ")))?;
        if !status.success() {
            failed.push((*name).to_owned());
        }
    }
    let chosen: Vec<_> = scenarios::ALL.iter().filter(|s| s.in_test && !quick).collect();
    let results = scenarios::run_each(&kit, &chosen);
    failed.extend(
        results
            .iter()
            .filter(|(_, ok)| !ok)
            .map(|(name, _)| format!("scenario {name}")),
    );
    let ran = steps.len() + results.len();
    if ran == steps.len() && !quick {
        bail!("no scenario ran");
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
