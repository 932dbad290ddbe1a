//! `cargo lab reverted`: former faults of landfall's are put back into a copy of its source, one at a time, and what was built to
//! notice such a fault is run. Law: a fault is put back by replacing text that is there exactly once, so that source that has moved on is
//! told and never passed over; a check that passes on such a copy has shown nothing, and fails the command.
//!
//! Absent: bugs of the simulated world (`planted`), and changes that nobody thought of (`mutants`).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fs_err as fs;
use regex::Regex;

use crate::cache::Cache;
use crate::command::Program;
use crate::{setup, tools};

/// What `cargo lab reverted` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these
    names: Vec<String>,
    /// List them
    #[arg(long)]
    list: bool,
}

/// A fault that landfall had.
struct Reverted {
    name: &'static str,
    /// What landfall did with it.
    what: &'static str,
    /// In which file what is replaced by what.
    edits: &'static [(&'static str, &'static str, &'static str)],
    /// Commands of the laboratory, each of which must notice it, and what it prints then, as a regular expression.
    checks: &'static [(&'static [&'static str], &'static str)],
}

/// `halfway` found points from which the next run does not go on.
const STUCK: &str = "[1-9][0-9]* points without a way on: FAILED";

const ALL: [Reverted; 6] = [
    Reverted {
        name: "database",
        what: "a database that Nix cannot read is a fault, tried again for ever",
        edits: &[(
            "src/real/database.rs",
            "    control(hands, stores).await?;\n    Ok(Database::Unusable(why))",
            "    control(hands, stores).await?;\n    let database = NAME.to_owned();\n    \
             Err(StoreFault::DatabaseBroke { database, said: why }.into())",
        )],
        checks: &[(&["halfway", "nix-load-db"], STUCK)],
    },
    Reverted {
        name: "mapping",
        what: "a mapping without a table is not seen",
        edits: &[(
            "src/real/luks.rs",
            "Mapped::Left(\"a name without a table, from an activation that was killed\")",
            "Mapped::Nothing",
        )],
        checks: &[
            (&["halfway", "activate"], STUCK),
            (&["scenario", "mapping-without-table"], "FAILED"),
        ],
    },
    Reverted {
        name: "mount",
        what: "a root that a killed run had just mounted keeps its peers, in which copies of later mounts stay",
        edits: &[(
            "src/real/mounts.rs",
            "                cut_off(target).map_err(|e| io_fault(format!(\"mount at {target}\"), &e))?;\n",
            "",
        )],
        checks: &[(&["halfway", "mount"], STUCK)],
    },
    Reverted {
        name: "firmware",
        what: "an entry that the firmware's order does not name is not seen, and a second one is made",
        edits: &[(
            "src/real/firmware.rs",
            "if !order.contains(&number) && starts_ours(",
            "if order.contains(&number) && starts_ours(",
        )],
        checks: &[(&["halfway", "firmware"], STUCK)],
    },
    Reverted {
        name: "loader-tmp",
        what: "temporary files of the boot loader's installer stay on the ESP",
        edits: &[(
            "src/real/leftovers.rs",
            "    let found = on_esp(esp)?;\n    for path in &found {",
            "    let found: Vec<String> = on_esp(esp)?.into_iter().take(0).collect();\n    for path in &found {",
        )],
        checks: &[(&["scenario", "esp-leftovers"], "FAILED")],
    },
    Reverted {
        name: "torn-kernel",
        what: "a wrong file on the ESP is left where the installer takes it for its own work",
        edits: &[(
            "src/real/boot.rs",
            "    for path in order.wrong() {",
            "    for path in order.wrong().take(0) {",
        )],
        checks: &[(&["scenario", "torn-kernel"], "FAILED")],
    },
];

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        for one in &ALL {
            println!("{:12} {}", one.name, one.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = arguments
        .names
        .iter()
        .find(|name| ALL.iter().all(|one| one.name != **name))
    {
        let names: Vec<&str> = ALL.iter().map(|one| one.name).collect();
        bail!("no such fault: {unknown}; there are: {}", names.join(", "));
    }
    let cache = Cache::open()?;
    setup::host_packages()?;
    let copy = cache.root.join("reverted");
    let mut unnoticed = 0;
    for one in ALL
        .iter()
        .filter(|one| arguments.names.is_empty() || arguments.names.iter().any(|name| name == one.name))
    {
        bring(&cache.workspace, &copy, one.edits)?;
        builds(&cache, &copy).with_context(|| format!("{} cannot be put back", one.name))?;
        for (check, words) in one.checks {
            let began = Instant::now();
            let noticed = notices(&cache, &copy, check, words)?;
            unnoticed += u32::from(!noticed);
            println!(
                "{:12} {}: {}: cargo lab {} ({} s)",
                one.name,
                one.what,
                if noticed { "noticed" } else { "NOT NOTICED" },
                check.join(" "),
                began.elapsed().as_secs()
            );
        }
    }
    Ok(if unnoticed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Makes the copy what the workspace is, but for these edits. A file that is right keeps its time, for Cargo's sake.
fn bring(workspace: &Path, copy: &Path, edits: &[(&str, &str, &str)]) -> Result<()> {
    let files = Program::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .directory(workspace)
        .output()?;
    ensure!(
        files.status == 0,
        "git cannot list the files of {}",
        workspace.display()
    );
    let files = files.text();
    for (file, _, _) in edits {
        ensure!(
            files.split('\0').any(|name| name == *file),
            "there is no {file} in {}",
            workspace.display()
        );
    }
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        let from = workspace.join(name);
        // Deleted and not committed yet, or a link into nowhere.
        if !from.is_file() {
            continue;
        }
        let mut bytes = fs::read(&from)?;
        for (_, was, now) in edits.iter().filter(|(file, _, _)| *file == name) {
            let text = String::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
            bytes = replaced(&text, was, now)
                .with_context(|| format!("in {name}"))?
                .into_bytes();
        }
        let to = copy.join(name);
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&to, bytes)?;
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
    }
    Ok(())
}

/// The text with the one place where `was` stands replaced.
fn replaced(text: &str, was: &str, now: &str) -> Result<String> {
    let places = text.matches(was).count();
    ensure!(
        places == 1,
        "what is to be replaced is there {places} times, not once: {was}"
    );
    Ok(text.replacen(was, now, 1))
}

/// Cargo in the copy.
fn cargo(cache: &Cache, copy: &Path) -> Command {
    let mut command = tools::cargo(cache);
    command
        .current_dir(copy)
        .env("LANDFALL_LAB_CACHE", &cache.root)
        .env_remove("CARGO_TARGET_DIR");
    command
}

/// A copy that does not build fails every check, and shows nothing.
fn builds(cache: &Cache, copy: &Path) -> Result<()> {
    let built = cargo(cache, copy)
        .args(["build", "--quiet", "--package", "landfall", "--package", "lab"])
        .status()
        .context("cargo build")?;
    ensure!(built.success(), "the copy in {} does not build", copy.display());
    Ok(())
}

/// Whether a command of the copy's laboratory fails, and prints a line that fits this expression.
fn notices(cache: &Cache, copy: &Path, check: &[&str], words: &str) -> Result<bool> {
    eprintln!("lab: in {}: cargo lab {}", copy.display(), check.join(" "));
    let words = Regex::new(words)?;
    let mut child = cargo(cache, copy)
        .arg("lab")
        .args(check)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo lab")?;
    let output = child.stdout.take().context("its output")?;
    let mut said = false;
    for line in BufReader::new(output).lines() {
        let line = line?;
        eprintln!("    {line}");
        said |= words.is_match(&line);
    }
    Ok(!child.wait()?.success() && said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_put_back() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for one in &ALL {
            assert!(!one.edits.is_empty() && !one.checks.is_empty(), "{}", one.name);
            for (_, words) in one.checks {
                Regex::new(words).unwrap();
            }
            for (file, was, now) in one.edits {
                let text = fs::read_to_string(workspace.join(file)).unwrap();
                assert_ne!(replaced(&text, was, now).unwrap(), text, "{}", one.name);
            }
        }
    }

    #[test]
    fn text_that_has_moved_on_is_told() {
        assert_eq!(replaced("a b c", "b", "x").unwrap(), "a x c");
        for text in ["a c", "b b"] {
            assert!(replaced(text, "b", "x").is_err());
        }
    }
}
