//! `cargo lab nix`: the NixOS side, as far as it can be checked where this runs.
//!
//! Tier 0 (sources: syntax, format, dead code) always runs. Tier 1 (evaluation) runs if a nixpkgs tree is named, and
//! otherwise says that it was skipped and why. A run that looked at nothing fails. Nothing is built: for images and the NixOS
//! machines there is `nix flake check`, on a machine with Nix and KVM.

mod evaluated;
mod sources;
mod unit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cache::Cache;
use crate::command::{self, Program};
use crate::setup::Lab;

/// Nix from which on nixpkgs' modules can be evaluated.
const NIX_MIN: (u32, u32) = (2, 18);

/// What `cargo lab nix` takes.
#[derive(Debug, Default, Args)]
pub struct Arguments {
    /// A nixpkgs tree: also evaluate (tier 1)
    #[arg(long, env = "LANDFALL_NIXPKGS", value_name = "PATH")]
    nixpkgs: Option<PathBuf>,
    /// Of tier 1, what takes seconds: not the images
    #[arg(long)]
    no_images: bool,
    /// Write every Nix file in its format first
    #[arg(long)]
    format: bool,
}

/// One check's outcome: what it is called, and what is wrong.
#[derive(Debug)]
pub struct Checked {
    name: String,
    complaints: Vec<String>,
}

impl Checked {
    fn new(name: impl Into<String>, complaints: Vec<String>) -> Checked {
        Checked {
            name: name.into(),
            complaints,
        }
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Cache::open()?.workspace;
    if command::find("nix-instantiate").is_none() {
        // The set-up brings Nix.
        Lab::open()?;
    }
    if arguments.format {
        sources::format(&workspace)?;
    }
    let mut report = Report::default();
    for checked in sources::check(&workspace)? {
        report.tell(checked);
    }
    match why_not(arguments.nixpkgs.as_deref())? {
        Some(why) => println!("tier 1 (evaluation): skipped: {why}"),
        None => {
            let nixpkgs = arguments
                .nixpkgs
                .as_deref()
                .context("a tree was just looked at")?;
            evaluated::check(&workspace, nixpkgs, !arguments.no_images, &mut report)?;
        }
    }
    let Report { passed, failed } = report;
    if passed + failed == 0 {
        bail!("nothing was checked");
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Shows checks as they end.
#[derive(Debug, Default)]
pub struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Runs one check and shows it, with the time it took.
    fn check(&mut self, name: &str, run: impl FnOnce() -> Result<Vec<String>>) -> Result<()> {
        let begun = Instant::now();
        let complaints = run().with_context(|| name.to_owned())?;
        let name = format!("{name} ({:.1} s)", begun.elapsed().as_secs_f64());
        self.tell(Checked::new(name, complaints));
        Ok(())
    }

    fn tell(&mut self, Checked { name, complaints }: Checked) {
        if complaints.is_empty() {
            self.passed += 1;
            println!("ok    {name}");
        } else {
            self.failed += 1;
            println!("FAIL  {name}");
            for complaint in complaints {
                println!("      {complaint}");
            }
        }
    }
}

/// Why tier 1 cannot run here.
fn why_not(nixpkgs: Option<&Path>) -> Result<Option<String>> {
    let Some(nixpkgs) = nixpkgs else {
        return Ok(Some(
            "no nixpkgs tree is named; give --nixpkgs PATH or set LANDFALL_NIXPKGS".to_owned(),
        ));
    };
    if !nixpkgs.join("nixos/lib/eval-config.nix").is_file() {
        bail!(
            "{} is no nixpkgs tree: nixos/lib/eval-config.nix is not there",
            nixpkgs.display()
        );
    }
    let version = Program::new("nix-instantiate").arg("--version").run()?.text();
    Ok(match version_of(&version) {
        Some(found) if found >= NIX_MIN => None,
        Some(_) | None => Some(format!(
            "{version:?} is too old for nixpkgs, which wants {}.{}",
            NIX_MIN.0, NIX_MIN.1
        )),
    })
}

/// Of `nix-instantiate (Nix) 2.26.3`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().last()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version_of("nix-instantiate (Nix) 2.26.3"), Some((2, 26)));
        assert!(version_of("nix-instantiate (Nix) 2.8.0") < Some(NIX_MIN));
        assert_eq!(version_of("nix"), None);
    }

    #[test]
    fn without_a_tree_evaluation_is_skipped_and_a_wrong_tree_is_refused() {
        assert!(why_not(None).unwrap().unwrap().contains("LANDFALL_NIXPKGS"));
        assert!(why_not(Some(Path::new("/"))).is_err());
    }
}
