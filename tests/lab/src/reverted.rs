//! `cargo lab reverted`: puts former faults of landfall back into a copy of its source, one at a time, and runs the check
//! that was built to notice such a fault.
//!
//! A fault is put back by replacing text that occurs exactly once, so that source that has changed since is reported and
//! never skipped. A check counts only if it passes on the same copy with nothing put back, and then fails with the words of
//! the failure that this fault causes. A check that cannot be run fails too.
//!
//! `planted` has bugs of the simulated world, and `mutants` changes that nobody thought of.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fs_err as fs;
use nix::sys::signal::Signal;
use regex::Regex;

use crate::cache::Cache;
use crate::command::Program;
use crate::{ending, setup, tools};

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
    /// What must notice it.
    checks: &'static [Check],
}

/// A command of the laboratory.
struct Check {
    /// Behind `cargo lab`.
    command: &'static [&'static str],
    /// What it prints when it fails for this fault and no other, as a regular expression over all lines together.
    words: &'static str,
}

/// How a check ended where a fault was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It failed, with its words.
    Noticed,
    /// It failed, with others.
    Otherwise,
    /// It passed.
    Passed,
}

impl Seen {
    fn of(ended_well: bool, printed: &str, words: &Regex) -> Seen {
        match (ended_well, words.is_match(printed)) {
            (true, _) => Seen::Passed,
            (false, true) => Seen::Noticed,
            (false, false) => Seen::Otherwise,
        }
    }

    fn told(self) -> &'static str {
        match self {
            Seen::Noticed => "noticed",
            Seen::Otherwise => "NOT NOTICED, the check failed with other words than this fault causes",
            Seen::Passed => "NOT NOTICED, the check passed",
        }
    }
}

const ALL: [Reverted; 7] = [
    Reverted {
        name: "database",
        what: "a database that Nix cannot read is a fault, tried again for ever",
        edits: &[(
            "src/real/nix/database.rs",
            "    control(context, stores).await?;\n    Ok(Database::Unusable(why))",
            "    control(context, stores).await?;\n    let database = NAME.to_owned();\n    \
             Err(StoreFault::DatabaseBroke { database, said: why }.into())",
        )],
        checks: &[Check {
            command: &["halfway", "nix-load-db", "--every", "7"],
            words: r"(?m)^nix-load-db: \S+.*: nix-db: .*\n    .*database of the target store db: it became unusable during the install",
        }],
    },
    Reverted {
        name: "mapping",
        what: "a mapping without a table is not seen",
        edits: &[(
            "src/real/volume/luks.rs",
            "Mapped::Left(\"a name without a table, from an activation that was killed\")",
            "Mapped::Nothing",
        )],
        checks: &[
            Check {
                command: &["halfway", "activate"],
                words: r"(?m)^activate: \S+ .*: mapping: a name without a table\n    .*cryptroot: File exists",
            },
            Check {
                command: &["scenario", "mapping-without-table"],
                words: r#"(?m)^with (a name alone|a name and a UUID|a table that does not take effect|a suspended mapping): landfall stopped before "Realise system\.\*: " was seen"#,
            },
        ],
    },
    Reverted {
        name: "mount",
        what: "a root that a killed run had just mounted keeps its peers, in which copies of later mounts stay",
        edits: &[(
            "src/real/attach.rs",
            "                cut_off(target).map_err(|e| io_fault(format!(\"mount at {target}\"), &e))?;\n",
            "",
        )],
        checks: &[Check {
            command: &["halfway", "mount"],
            words: r"(?m)^mount: \S+ \(.* mount /mnt\): mapping: open; root mounted\n    .*Device cryptroot is still in use",
        }],
    },
    Reverted {
        name: "firmware",
        what: "an entry that the firmware's order does not name is not seen, and a second one is made",
        edits: &[(
            "src/real/boot/firmware.rs",
            "if !order.contains(&number) && starts_ours(",
            "if order.contains(&number) && starts_ours(",
        )],
        checks: &[Check {
            command: &["halfway", "firmware"],
            words: r"(?m)^firmware: \S+ .*: firmware: an entry that is not in the order\n    .*not exactly one entry of ours",
        }],
    },
    Reverted {
        name: "generation",
        what: "a generation that a killed nix-env was making stays among the profiles",
        edits: &[(
            "src/real/boot/leftovers.rs",
            "            (Generation::Incomplete, Some(_)) => UNFINISHED,\n",
            "            (Generation::Incomplete, Some(_)) if name.is_empty() => UNFINISHED,\n",
        )],
        checks: &[Check {
            command: &["halfway", "install", "--point", "24:kill"],
            words: r"(?m)^install: 24:kill \(nix-env .*\): nixos: a generation of the profile beside its place\n    .*no system generations found",
        }],
    },
    Reverted {
        name: "loader-tmp",
        what: "temporary files of the boot loader's installer stay on the ESP",
        edits: &[(
            "src/real/boot/leftovers.rs",
            "    for (above, name) in temporary(esp)? {",
            "    for (above, name) in temporary(esp)?.into_iter().take(0) {",
        )],
        checks: &[Check {
            command: &["scenario", "esp-leftovers"],
            words: r"(?s)landfall resume ended with \d+:.*FileExistsError: [^\n]*loader/loader\.tmp.*Install system is not done",
        }],
    },
    Reverted {
        name: "torn-kernel",
        what: "a wrong file on the ESP is left where the installer takes it for its own work",
        edits: &[(
            "src/real/boot/files.rs",
            "    for path in order.wrong() {",
            "    for path in order.wrong().take(0) {",
        )],
        checks: &[Check {
            command: &["scenario", "torn-kernel"],
            words: r"(?s)landfall resume ended with \d+:.*Install boot loader is not done.*looking shows that it is not done: .*loader/entries/nixos-[0-9a-f]{64}\.conf is damaged",
        }],
    },
];

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        for one in &ALL {
            println!("{:12} {}", one.name, one.what);
            for check in one.checks {
                println!("{:12} must fail: cargo lab {}", "", check.command.join(" "));
            }
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
    let chosen: Vec<&Reverted> = ALL
        .iter()
        .filter(|one| arguments.names.is_empty() || arguments.names.iter().any(|name| name == one.name))
        .collect();
    let cache = Cache::open()?;
    setup::host_packages()?;
    let copy = cache.root.join("reverted");
    let unusable = controls(&cache, &copy, &chosen)?;
    let mut unnoticed = 0;
    for one in &chosen {
        let (usable, rest): (Vec<&Check>, Vec<&Check>) = one
            .checks
            .iter()
            .partition(|check| !unusable.contains(&check.command));
        for check in rest {
            unnoticed += 1;
            println!(
                "{:12} {}: not put back: cargo lab {} fails without it",
                one.name,
                one.what,
                check.command.join(" ")
            );
        }
        if usable.is_empty() {
            continue;
        }
        bring(&cache.workspace, &copy, one.edits)?;
        builds(&cache, &copy).with_context(|| format!("{} cannot be put back", one.name))?;
        for check in usable {
            let began = Instant::now();
            let (ended_well, printed) = carried_out(&cache, &copy, check.command)?;
            let seen = Seen::of(ended_well, &printed, &Regex::new(check.words)?);
            unnoticed += u32::from(seen != Seen::Noticed);
            println!(
                "{:12} {}: {}: cargo lab {} ({} s)",
                one.name,
                one.what,
                seen.told(),
                check.command.join(" "),
                began.elapsed().as_secs()
            );
        }
    }
    Ok(if unnoticed == 0 {
        ExitCode::SUCCESS
    } else {
        println!("reverted: {unnoticed} checks have shown nothing: FAILED");
        ExitCode::FAILURE
    })
}

/// Runs the check of each fault, each once, on a copy with nothing put back; gives those that fail there, and so show nothing.
fn controls(cache: &Cache, copy: &Path, chosen: &[&Reverted]) -> Result<Vec<&'static [&'static str]>> {
    bring(&cache.workspace, copy, &[])?;
    builds(cache, copy).context("nothing was put back")?;
    let mut unusable = Vec::new();
    for command in distinct(chosen) {
        let began = Instant::now();
        let (ended_well, _) = carried_out(cache, copy, command)?;
        println!(
            "{:12} nothing put back: {}: cargo lab {} ({} s)",
            "control",
            if ended_well {
                "passes"
            } else {
                "FAILED, so that this check can show nothing"
            },
            command.join(" "),
            began.elapsed().as_secs()
        );
        if !ended_well {
            unusable.push(command);
        }
    }
    Ok(unusable)
}

/// The checks of these faults, each once.
fn distinct(chosen: &[&Reverted]) -> Vec<&'static [&'static str]> {
    let mut commands: Vec<&'static [&'static str]> = Vec::new();
    for check in chosen.iter().flat_map(|one| one.checks) {
        if !commands.contains(&check.command) {
            commands.push(check.command);
        }
    }
    commands
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
    remove_others(copy, copy, &files.split('\0').collect())?;
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        let from = workspace.join(name);
        let to = copy.join(name);
        // Deleted and not committed yet, or a link into nowhere.
        if !from.is_file() {
            if to.is_file() {
                fs::remove_file(&to)?;
            }
            continue;
        }
        let mut bytes = fs::read(&from)?;
        for (_, was, now) in edits.iter().filter(|(file, _, _)| *file == name) {
            let text = String::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
            bytes = replaced(&text, was, now)
                .with_context(|| format!("in {name}"))?
                .into_bytes();
        }
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

/// Removes from the copy what the workspace has no more; what Cargo has built stays.
fn remove_others(copy: &Path, folder: &Path, names: &BTreeSet<&str>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(copy)?.to_string_lossy().into_owned();
        if name == "target" {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            remove_others(copy, &path, names)?;
        } else if !names.contains(name.as_str()) {
            fs::remove_file(&path)?;
        }
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
    let mut command = cargo(cache, copy);
    command.args(["build", "--quiet", "--package", "landfall", "--package", "lab"]);
    let built = ending::status(command).context("cargo build")?;
    ensure!(built.success(), "the copy in {} does not build", copy.display());
    Ok(())
}

/// Runs a command of the copy's laboratory: whether it ended well, and what it printed.
fn carried_out(cache: &Cache, copy: &Path, command: &[&str]) -> Result<(bool, String)> {
    eprintln!("lab: in {}: cargo lab {}", copy.display(), command.join(" "));
    let mut program = cargo(cache, copy);
    program.arg("lab").args(command).stdout(Stdio::piped());
    let mut child = ending::spawn(program, Signal::SIGTERM).context("cargo lab")?;
    let output = child.stdout.take().context("its output")?;
    let mut printed = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        eprintln!("    {line}");
        printed.push_str(&line);
        printed.push('\n');
    }
    Ok((child.wait()?.success(), printed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_put_back() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for one in &ALL {
            assert!(!one.edits.is_empty() && !one.checks.is_empty(), "{}", one.name);
            for (file, was, now) in one.edits {
                let text = fs::read_to_string(workspace.join(file)).unwrap();
                assert_ne!(replaced(&text, was, now).unwrap(), text, "{}", one.name);
            }
        }
    }

    /// What the checks printed when they were run with each fault put back, and what they print when something else is wrong.
    const PRINTED: [(&str, &str); 8] = [
        (
            "halfway nix-load-db --every 7",
            "nix-load-db: w73:cut-part: nix-db: tables, damaged schema file\n    exit status: 1: not done after 4 attempts: look: database of \
             the target store db: it became unusable during the install: nix ended with exit code 1: error: '/schema' is corrupt\n",
        ),
        (
            "halfway activate",
            "activate: 1:kill (halfway dm-load-table ): mapping: a name without a table\n    exit status: 1: LUKS container on \
             /dev/loop2p2 as cryptroot: File exists (os error 17)\n    again: cargo lab halfway activate --point 1:kill\n",
        ),
        (
            "scenario mapping-without-table",
            "scenario mapping-without-table … FAILED (44 s)\nwith a name alone: landfall stopped before \"Realise system.*: \" was seen; \
             see the console log in /lab/machines/mapping-without-table\n",
        ),
        (
            "halfway mount",
            "mount: 4:kill (halfway mount /mnt): mapping: open; root mounted\n    exit status: 1: Device cryptroot is still in use. Device\n",
        ),
        (
            "halfway firmware",
            "firmware: 2:kill (efibootmgr write BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c): firmware: an entry that is not in the \
             order\n    exit status: 1: not exactly one entry of ours: Entries { in_order: 1, beside: 1, empty: 0 }\n",
        ),
        (
            "halfway install --point 24:kill",
            "install: 24:kill (nix-env rename mnt/nix/var/nix/profiles/system-1-link): nixos: a generation of the profile beside its \
             place\n    exit status: 1: not done after 4 attempts: act: nixos-install of /nix/store/x-nixos-system-plain: the boot loader \
              installer failed: error: no system generations found in /nix/var/nix/profiles, refusing to remove all boot loader entries\n",
        ),
        (
            "scenario esp-leftovers",
            "scenario esp-leftovers … FAILED (349 s)\nlandfall resume ended with 5:\n[ 1.0] nixos-install: FileExistsError: [Errno 17] File \
             exists: '/boot/loader/loader.tmp'\nlandfall: stopped in phase Realised: Install system is not done (transient)\n",
        ),
        (
            "scenario torn-kernel",
            "scenario torn-kernel … FAILED (52 s)\nlandfall resume ended with 7:\nlandfall: stopped in phase Installed: Install boot loader is \
             not done (permanent)\n    why:  it reported success, but looking shows that it is not done: loader/entries/*.conf is \
             missing; loader/entries/nixos-cea21f7d49f2e32b1905ae447ff8493f4b5edac71465f2d8d289fbf609cbbc79.conf is damaged: it \
             does not say which system to start\n",
        ),
    ];
    const SOMETHING_ELSE: [&str; 4] = [
        "",
        "scenario torn-kernel … FAILED (0 s)\nQEMU: -accel bogus: invalid accelerator\nscenarios: 0 passed, 1 failed\n",
        "no step was tried; name one of those in docs/develop/laboratory.md\n",
        "1 steps, 4 calls that change something, 5 points, 4 states, 2 points without a way on: FAILED\n",
    ];

    #[test]
    fn a_check_notices_by_the_words_of_its_own_fault_alone() {
        let every: Vec<&Check> = ALL.iter().flat_map(|one| one.checks).collect();
        assert_eq!(every.len(), PRINTED.len());
        for check in every {
            let words = Regex::new(check.words).unwrap();
            for (command, printed) in PRINTED {
                let meant = command == check.command.join(" ");
                let seen = if meant { Seen::Noticed } else { Seen::Otherwise };
                assert_eq!(
                    Seen::of(false, printed, &words),
                    seen,
                    "{}: {printed}",
                    check.command.join(" ")
                );
                // A check that passes has noticed nothing, whatever it printed.
                assert_eq!(Seen::of(true, printed, &words), Seen::Passed);
            }
            for printed in SOMETHING_ELSE {
                assert_eq!(Seen::of(false, printed, &words), Seen::Otherwise, "{printed}");
            }
        }
    }

    #[test]
    fn a_check_of_several_faults_is_controlled_once() {
        let all: Vec<&Reverted> = ALL.iter().chain(&ALL).collect();
        let commands = distinct(&all);
        assert_eq!(commands.len(), PRINTED.len());
        assert_eq!(distinct(&all[..1]), [ALL[0].checks[0].command]);
    }

    #[test]
    fn the_copy_has_nothing_that_the_workspace_has_not() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("lab-reverted-{}", std::process::id()));
        for name in ["target/kept", "src/kept.rs", "src/gone.rs", "gone"] {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, "")?;
        }
        remove_others(&folder, &folder, &BTreeSet::from(["src/kept.rs"]))?;
        let there = |name: &str| folder.join(name).exists();
        assert!(there("target/kept") && there("src/kept.rs"));
        assert!(!there("src/gone.rs") && !there("gone"));
        Ok(fs::remove_dir_all(&folder)?)
    }

    #[test]
    fn changed_source_text_is_reported() {
        assert_eq!(replaced("a b c", "b", "x").unwrap(), "a x c");
        for text in ["a c", "b b"] {
            assert!(replaced(text, "b", "x").is_err());
        }
    }
}
