//! `cargo lab release --check`: whether the committed tree can be released.
//!
//! Every check looks at the tree itself, says what it found, and is passed, failed, or not made, with the reason. Nothing
//! counts as passed that was not looked at. Only `.lab` and Cargo's target folder are written.
//!
//! The tests are not run here (`cargo lab test`, and what docs/develop/release.md lists), and a person makes the release
//! itself, which is a tag.

mod binary;
mod formats;
mod licences;
mod toolchain;
mod tree;
mod version;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::cache::Cache;
use crate::command::Program;
use crate::setup;

/// What `cargo lab release` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Look whether the tree can be released; nothing is changed
    #[arg(long, required = true)]
    check: bool,
    /// Only these checks: tree, version, formats, licences, rust-version, rustdoc, binary
    names: Vec<String>,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// All is as it ought to be; what was looked at.
    Passed(String),
    /// What is wrong, each with what to do.
    Failed(Vec<String>),
    /// It could not be looked at, and why.
    NotMade(String),
}

impl Found {
    /// Passed with these words, unless something is wrong.
    fn of(wrong: Vec<String>, passed: impl FnOnce() -> String) -> Found {
        if wrong.is_empty() {
            Found::Passed(passed())
        } else {
            Found::Failed(wrong)
        }
    }
}

/// The tree that is looked at.
pub struct Tree {
    root: PathBuf,
    /// Where builds go.
    scratch: PathBuf,
}

impl Tree {
    fn read(&self, file: &str) -> Result<String> {
        Ok(fs_err::read_to_string(self.root.join(file))?)
    }

    fn git(&self, arguments: &[&str]) -> Program {
        Program::new("git").directory(&self.root).args(arguments)
    }

    fn cargo(&self, folder: &Path, arguments: &[&str]) -> Program {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Program::new(program)
            .directory(folder)
            .args(arguments)
            .timeout(BUILD_LIMIT)
    }
}

/// Longest build.
const BUILD_LIMIT: Duration = Duration::from_secs(2 * 3600);

type Check = (&'static str, fn(&Tree) -> Result<Found>);

/// The quick ones first.
const CHECKS: [Check; 7] = [
    ("tree", tree::check),
    ("version", version::check),
    ("formats", formats::check),
    ("licences", licences::check),
    ("rust-version", toolchain::rust_version),
    ("rustdoc", toolchain::rustdoc),
    ("binary", binary::check),
];

fn chosen(names: &[String]) -> Result<Vec<&'static Check>> {
    for name in names {
        anyhow::ensure!(
            CHECKS.iter().any(|(known, _)| known == name),
            "{name} is no check; there are: {}",
            CHECKS.map(|(name, _)| name).join(", ")
        );
    }
    Ok(CHECKS
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
        .collect())
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen = chosen(&arguments.names)?;
    let cache = Cache::open()?;
    setup::host_packages()?;
    let tree = Tree {
        scratch: cache.root.join("release"),
        root: cache.workspace.clone(),
    };
    let mut found = Vec::new();
    for (name, check) in chosen {
        eprintln!("lab: release: {name} …");
        let result = check(&tree).with_context(|| format!("the check {name} could not be carried out"))?;
        print!("{}", told(name, &result));
        found.push(result);
    }
    let count = |wanted: fn(&Found) -> bool| found.iter().filter(|found| wanted(found)).count();
    let failed = count(|found| matches!(found, Found::Failed(_)));
    println!(
        "{} passed, {failed} failed, {} not made",
        count(|found| matches!(found, Found::Passed(_))),
        count(|found| matches!(found, Found::NotMade(_)))
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn told(name: &str, found: &Found) -> String {
    match found {
        Found::Passed(what) => format!("passed    {name:<13} {what}\n"),
        Found::NotMade(why) => format!("not made  {name:<13} {why}\n"),
        Found::Failed(wrong) => wrong
            .iter()
            .map(|wrong| format!("FAILED    {name:<13} {wrong}\n"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_check_that_is_none_is_refused_and_none_named_are_all() {
        assert_eq!(chosen(&[]).unwrap().len(), CHECKS.len());
        assert_eq!(chosen(&["formats".to_owned()]).unwrap()[0].0, "formats");
        let error = chosen(&["format".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("licences"), "{error}");
    }

    #[test]
    fn each_finding_has_a_line_of_its_own() {
        let failed = told("tree", &Found::Failed(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(failed.matches("FAILED").count(), 2);
        assert!(told("tree", &Found::Passed(String::new())).starts_with("passed"));
        assert_eq!(
            Found::of(vec![], || "x".to_owned()),
            Found::Passed("x".to_owned())
        );
        assert_eq!(
            Found::of(vec!["y".to_owned()], || "x".to_owned()),
            Found::Failed(vec!["y".to_owned()])
        );
    }
}
