//! Cargo, and the subcommands of it that the laboratory installs for itself.
//!
//! A subcommand has a fixed version, and is built from its own lock file into the cache, once. Nothing is added to the user's
//! Cargo.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::command::Program;

/// Longest build of a subcommand, in an emulated machine or beside other work.
const INSTALL_LIMIT: Duration = Duration::from_secs(3_600);

/// A subcommand of Cargo, as its registry has it.
#[derive(Debug, Clone, Copy)]
pub struct Subcommand {
    /// Package and program, such as `cargo-mutants`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl Subcommand {
    /// The folder with its program, built there when it is missing.
    pub fn folder(self, cache: &Cache) -> Result<PathBuf> {
        let Subcommand { name, version } = self;
        let place = cache.artefact(name, &[version.as_bytes()], |scratch| {
            eprintln!("lab: building {name} {version} (some minutes, once)");
            Program::new(program())
                .args(["install", "--quiet", "--locked", "--root"])
                .arg(scratch.as_os_str())
                .arg(format!("{name}@{version}"))
                .timeout(INSTALL_LIMIT)
                .run()
                .with_context(|| {
                    format!("cannot build {name}; it is fetched from the registry that Cargo is set up with")
                })?;
            Ok(())
        })?;
        Ok(place.join("bin"))
    }
}

fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Cargo in the project's folder, with the caller's environment.
pub fn cargo(cache: &Cache) -> Command {
    let mut command = Command::new(program());
    command.current_dir(&cache.workspace);
    command
}

/// Runs one test of landfall's by its full name, with these further arguments of the test harness, and gives whether it passed
/// and what it printed.
pub fn told_by_test(cache: &Cache, file: &str, args: &[&str]) -> Result<(bool, String)> {
    eprintln!("lab: cargo test --test {file} -- --exact {}", args.join(" "));
    let output = cargo(cache)
        .args(["test", "--quiet", "--package", "landfall", "--test", file])
        .args(["--", "--nocapture", "--exact"])
        .args(args)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.success(), said))
}

/// The caller's PATH with a folder before it.
pub fn path_with(folder: PathBuf) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("the cache's path has a colon; set LANDFALL_LAB_CACHE")
}
