//! `cargo lab mutants`: what the tests of the states and of the store would let pass. Law: every change that cargo-mutants
//! knows is made, one at a time, and some test must fail for it; an exception is written down with its reason in
//! `.cargo/mutants.toml`, and one that no change needs is a failure too.
//!
//! A change in the states is tried on their own tests first, which takes seconds; what those let pass is tried on the
//! program's tests that run the states. Tests draw their random cases from a fixed seed, so that two runs agree.
//!
//! Absent: the rest of the program; its tests start programs and machines, and one build of it takes a minute.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fs_err as fs;
use regex::Regex;
use serde::Deserialize;

use crate::cache::Cache;
use crate::ending;
use crate::tools::{Subcommand, cargo, path_with};

const TOOL: Subcommand = Subcommand {
    name: "cargo-mutants",
    version: "27.1.0",
};
/// The exceptions.
const EXCEPTIONS: &str = ".cargo/mutants.toml";
/// A test that takes longer hangs. The tests themselves take seconds.
const TEST_LIMIT_S: &str = "120";
/// The same for the program's tests, which take minutes.
const PROGRAM_LIMIT_S: &str = "1800";

/// Random cases of one property; more of them only take time here, where one is enough to notice a change.
const PROPTEST_CASES: &str = "16";

/// What is changed.
const STATES: [&str; 2] = ["--package", "landfall-states"];
const STORE: [&str; 2] = ["--file", "src/checkpoint_store.rs"];

/// What `cargo lab mutants` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Goes on where an earlier run was cut off: what was caught or unviable then is not tried again
    #[arg(long)]
    resume: bool,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// What became of the changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    caught: usize,
    /// Those that no compiler takes.
    unviable: usize,
    /// Those for which a test did not end.
    timeouts: usize,
    missed: Vec<String>,
    /// Those that were caught or unviable in a run that was cut off.
    earlier: usize,
}

impl Sum {
    fn mutants(&self) -> usize {
        self.caught + self.unviable + self.timeouts + self.missed.len() + self.earlier
    }
}

/// An entry of [`EXCEPTIONS`].
#[derive(Debug, PartialEq, Eq)]
struct Exception {
    pattern: String,
    reason: String,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    let cache = Cache::open()?;
    let bench = Bench {
        path: TOOL.folder(&cache)?,
        output: cache.root.join("mutants"),
        resume: arguments.resume,
        cache,
    };
    let exceptions = exceptions(&fs::read_to_string(bench.cache.workspace.join(EXCEPTIONS))?)?;
    let mut names = bench.list(&STATES)?;
    names.extend(bench.list(&STORE)?);
    let excepted = excepted(&exceptions, &names)?;

    let mut sum = bench.run(
        "states",
        &STATES,
        &["--profile=mutants", "--cargo-arg=--lib"],
        &[],
    )?;
    let escaped = std::mem::take(&mut sum.missed);
    if !escaped.is_empty() {
        let mut what: Vec<String> = STATES.map(str::to_owned).to_vec();
        what.extend(["--test-package".into(), "landfall".into()]);
        for name in &escaped {
            what.extend(["--re".into(), format!("^{}$", regex::escape(name))]);
        }
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        let tests = ["--test", "every_crash", "--test", "any_order"];
        // cargo-mutants tries the unchanged tree on the changed package's tests, which have no such names.
        let how = ["--jobs=1", "--baseline=skip", "--timeout", PROGRAM_LIMIT_S];
        let again = bench.run("escaped", &what, &how, &tests)?;
        sum.add(again);
    }
    let store = ["--profile=mutants", "--cargo-arg=--lib", "--jobs=1"];
    sum.add(bench.run("store", &STORE, &store, &["checkpoint_store::"])?);
    ensure!(
        sum.mutants() + excepted == names.len(),
        "{} mutants were tried and {excepted} excepted, of {}; see {}",
        sum.mutants(),
        names.len(),
        bench.output.display()
    );
    tell(
        &sum,
        &exceptions,
        excepted,
        began.elapsed().as_secs_f64() / 60.0,
        arguments.json,
    );
    Ok(if sum.missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.caught += other.caught;
        self.unviable += other.unviable;
        self.timeouts += other.timeouts;
        self.missed.extend(other.missed);
        self.earlier += other.earlier;
    }
}

fn tell(sum: &Sum, exceptions: &[Exception], excepted: usize, minutes: f64, json: bool) {
    if json {
        let exceptions: Vec<_> = exceptions
            .iter()
            .map(|e| serde_json::json!({ "pattern": e.pattern, "reason": e.reason }))
            .collect();
        let value = serde_json::json!({
            "mutants": sum.mutants() + excepted,
            "caught": sum.caught,
            "missed": sum.missed,
            "unviable": sum.unviable,
            "timeouts": sum.timeouts,
            "caught_or_unviable_earlier": sum.earlier,
            "excepted": excepted,
            "exceptions": exceptions,
            "minutes": minutes,
        });
        println!("{value}");
        return;
    }
    for name in &sum.missed {
        println!("missed: {name}");
    }
    let earlier = match sum.earlier {
        0 => String::new(),
        count => format!("{count} caught or unviable in the run before, "),
    };
    println!(
        "{} mutants: {earlier}{} caught, {} missed, {} unviable, {} timeouts, {excepted} excepted; {minutes:.1} minutes",
        sum.mutants() + excepted,
        sum.caught,
        sum.missed.len(),
        sum.unviable,
        sum.timeouts,
    );
}

/// What a run of cargo-mutants needs.
struct Bench {
    cache: Cache,
    /// The folder of the program.
    path: PathBuf,
    /// Where results go.
    output: PathBuf,
    /// Whether earlier results there count.
    resume: bool,
}

impl Bench {
    /// The names of the changes, exceptions among them.
    fn list(&self, what: &[&str]) -> Result<Vec<String>> {
        let output = cargo(&self.cache)
            .args(["mutants", "--list", "--no-config", "--colors=never"])
            .args(what)
            .env("PATH", path_with(self.path.clone())?)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the mutants cannot be listed: {said}");
        let names = String::from_utf8(output.stdout)?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Tries changes on tests.
    fn run(&self, name: &str, what: &[&str], how: &[&str], tests: &[&str]) -> Result<Sum> {
        let output = self.output.join(name);
        fs::create_dir_all(&output)?;
        eprintln!(
            "lab: mutants: {name}; what each test run says is below {}",
            output.display()
        );
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let mut command = cargo(&self.cache);
        command
            .args([
                "mutants",
                "--colors=never",
                "--no-times",
                "--minimum-test-timeout",
            ])
            .arg(TEST_LIMIT_S)
            .arg("--output")
            .arg(&output)
            .args(what)
            .args(how);
        if !how.contains(&"--jobs=1") {
            command.arg(format!("--jobs={jobs}"));
        }
        if self.resume {
            command.arg("--iterate");
        }
        if !tests.is_empty() {
            command.arg("--").args(tests);
        }
        command
            .env("PATH", path_with(self.path.clone())?)
            .env("PROPTEST_RNG_SEED", "1")
            .env("PROPTEST_CASES", PROPTEST_CASES)
            // What is said there is progress; this command's own output is the sum.
            .stdout(std::io::stderr());
        let status = ending::status(command).context("cargo mutants")?;
        // 2: some were missed; 3: some timed out. Both are in the outcomes.
        if !matches!(status.code(), Some(0 | 2 | 3)) {
            bail!(
                "cargo mutants ended with {status}: the tests may fail as they are; see {}",
                output.display()
            );
        }
        outcomes(&output.join("mutants.out"))
    }
}

fn outcomes(folder: &Path) -> Result<Sum> {
    let file = &folder.join("outcomes.json");
    #[derive(Deserialize)]
    struct Outcomes {
        outcomes: Vec<Outcome>,
    }
    #[derive(Deserialize)]
    struct Outcome {
        scenario: serde_json::Value,
        summary: String,
    }
    let Outcomes { outcomes } =
        serde_json::from_str(&fs::read_to_string(file)?).with_context(|| file.display().to_string())?;
    let mut sum = Sum::default();
    let earlier = folder.join("previously_caught.txt");
    if earlier.exists() {
        sum.earlier = fs::read_to_string(earlier)?.lines().count();
    }
    for Outcome { scenario, summary } in outcomes {
        let name = scenario["Mutant"]["name"].as_str();
        match (name, summary.as_str()) {
            (None, _) => {}
            (Some(_), "CaughtMutant") => sum.caught += 1,
            (Some(_), "Unviable") => sum.unviable += 1,
            (Some(_), "Timeout") => sum.timeouts += 1,
            (Some(name), "MissedMutant") => sum.missed.push(name.to_owned()),
            (Some(name), other) => bail!("{}: {name}: {other}", file.display()),
        }
    }
    Ok(sum)
}

/// The entries of [`EXCEPTIONS`]: comment lines that give the reason, then the pattern as a literal string.
fn exceptions(text: &str) -> Result<Vec<Exception>> {
    let mut exceptions = Vec::new();
    let mut reason = Vec::new();
    let inside = text
        .lines()
        .skip_while(|line| !line.starts_with("exclude_re = ["));
    for line in inside.skip(1).take_while(|line| *line != "]").map(str::trim) {
        if let Some(words) = line.strip_prefix('#') {
            reason.push(words.trim());
        } else if let Some(pattern) = line.strip_prefix('\'').and_then(|l| l.strip_suffix("',")) {
            ensure!(
                !reason.is_empty(),
                "{EXCEPTIONS}: {pattern} has no reason in a comment before it"
            );
            exceptions.push(Exception {
                pattern: pattern.to_owned(),
                reason: std::mem::take(&mut reason).join(" "),
            });
        } else {
            bail!("{EXCEPTIONS}: {line:?} is neither a reason nor 'a pattern',");
        }
    }
    Ok(exceptions)
}

/// How many changes the exceptions take out. Each must take out one at least.
fn excepted(exceptions: &[Exception], names: &[String]) -> Result<usize> {
    let mut out = BTreeSet::new();
    for Exception { pattern, .. } in exceptions {
        let regex = Regex::new(pattern).with_context(|| format!("{EXCEPTIONS}: {pattern}"))?;
        let matched: Vec<&String> = names.iter().filter(|name| regex.is_match(name)).collect();
        ensure!(
            !matched.is_empty(),
            "{EXCEPTIONS}: nothing matches {pattern:?} any more; take it out"
        );
        out.extend(matched);
    }
    Ok(out.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# A file.\nexclude_re = [\n    # The same\n    # either way.\n    'with <= in cut$',\n]\n";

    #[test]
    fn an_exception_has_a_reason_and_is_needed() {
        let read = exceptions(TEXT).unwrap();
        assert_eq!(
            read,
            [Exception {
                pattern: "with <= in cut$".to_owned(),
                reason: "The same either way.".to_owned(),
            }]
        );
        let name = |text: &str| text.to_owned();
        let names = [
            name("a.rs:1:1: replace < with <= in cut"),
            name("a.rs:2:1: replace cut"),
        ];
        assert_eq!(excepted(&read, &names).unwrap(), 1);
        assert!(excepted(&read, &names[1..]).is_err(), "not needed any more");
        assert!(exceptions("exclude_re = [\n    'x',\n]\n").is_err(), "no reason");
    }

    #[test]
    fn the_exceptions_of_the_project_can_be_read() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(EXCEPTIONS);
        exceptions(&fs::read_to_string(file).unwrap()).unwrap();
    }

    #[test]
    fn outcomes_are_counted_and_the_unknown_is_an_error() {
        let folder = std::env::temp_dir().join(format!("landfall-outcomes-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |text: String| fs::write(folder.join("outcomes.json"), text).unwrap();
        let outcome =
            |summary: &str| format!(r#"{{"scenario":{{"Mutant":{{"name":"m"}}}},"summary":"{summary}"}}"#);
        let all = ["CaughtMutant", "MissedMutant", "Unviable", "Timeout"]
            .map(outcome)
            .join(",");
        write(format!(
            r#"{{"outcomes":[{{"scenario":"Baseline","summary":"Success"}},{all}]}}"#
        ));
        let mut sum = outcomes(&folder).unwrap();
        assert_eq!((sum.mutants(), sum.caught, sum.missed.len()), (4, 1, 1));
        fs::write(folder.join("previously_caught.txt"), "a\nb\n").unwrap();
        sum.add(outcomes(&folder).unwrap());
        assert_eq!((sum.mutants(), sum.earlier), (10, 2));
        write(format!(r#"{{"outcomes":[{}]}}"#, outcome("Failure")));
        assert!(outcomes(&folder).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
