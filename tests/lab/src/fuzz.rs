//! `cargo lab fuzz`: bytes from others, against everything that reads them.
//!
//! The properties are in `fuzz/laws.rs`. A run fails on the first input that breaks one, and names the file with it and the
//! line that runs it again. The last line has the executions of every target and says whether a fuzzer steered them.
//!
//! A fuzzer learns which code was reached from LLVM's own pass, which every Rust compiler has; only sanitizers would need the
//! nightly one. libFuzzer itself needs a C++ compiler. Without that, `--smoke` checks the same properties on the seeds and on
//! changed seeds (`tests/any_bytes.rs`), blindly, and says so; anything longer would be no fuzzing and is refused.
//!
//! The targets, their seeds and dictionaries are in fuzz/; the whole corpus stays on the machine.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fs_err as fs;

use crate::cache::Cache;
use crate::command;
use crate::setup;
use crate::tools::{Subcommand, cargo, path_with};

const TOOL: Subcommand = Subcommand {
    name: "cargo-fuzz",
    version: "0.13.2",
};
/// Seconds of a smoke run, all targets together.
const SMOKE_S: u64 = 48;
/// Memory that an input may cost, in MiB.
const MEMORY_MIB_MAX: u32 = 2_048;
/// Lines of a fuzzer's last words that are shown.
const LAST_WORDS: usize = 60;
/// Lines of a panic's message that are shown where a longer backtrace follows it.
const PANIC_LINES: usize = 8;

/// What `cargo lab fuzz` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Less than a minute for all targets together, once they are built
    #[arg(long, conflicts_with = "minutes")]
    smoke: bool,
    /// For each target
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Only these
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// What a target came to.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Ran {
    target: String,
    executions: u64,
    seconds: f64,
    /// What was found, and how to run it again.
    finding: Option<String>,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cache = Cache::open()?;
    setup::host_packages()?;
    let targets = chosen(&targets(&cache.workspace)?, &arguments.targets)?;
    let missing = missing();
    let rans = match &missing {
        None => {
            let seconds = if arguments.smoke {
                (SMOKE_S / targets.len() as u64).max(1)
            } else {
                arguments.minutes.saturating_mul(60)
            };
            fuzzed(&cache, &targets, seconds)?
        }
        Some(why) if arguments.smoke => {
            eprintln!("lab: fuzz: {why}; the laws are asked of changed seeds, without a fuzzer");
            unsteered(&cache, &targets)?
        }
        Some(why) => bail!("cannot fuzz: {why}. Without it there is only: cargo lab fuzz --smoke"),
    };
    let findings = rans.iter().filter(|ran| ran.finding.is_some()).count();
    if arguments.json {
        let value = serde_json::json!({
            "steered": missing.is_none(),
            "why_not": missing,
            "targets": rans,
            "findings": findings,
        });
        println!("{value}");
    } else {
        for ran in &rans {
            if let Some(finding) = &ran.finding {
                println!("{}: {finding}", ran.target);
            }
        }
        println!("{}", summary(&rans, missing.as_deref()));
    }
    Ok(if findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn summary(rans: &[Ran], missing: Option<&str>) -> String {
    let each: Vec<String> = rans
        .iter()
        .map(|ran| format!("{} {}", ran.target, ran.executions))
        .collect();
    let findings = rans.iter().filter(|ran| ran.finding.is_some()).count();
    let seconds: f64 = rans.iter().map(|ran| ran.seconds).sum();
    let how = missing.map_or("fuzzed".to_owned(), |why| {
        format!("not fuzzed, only seeds and changes of them ({why})")
    });
    format!(
        "{how}; executions: {}; {findings} findings; {seconds:.0} s",
        each.join(", ")
    )
}

/// The names of all targets: the files in `fuzz/fuzz_targets`.
fn targets(workspace: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace.join("fuzz/fuzz_targets"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    ensure!(!names.is_empty(), "there are no targets in fuzz/fuzz_targets");
    Ok(names)
}

fn chosen(all: &[String], wanted: &[String]) -> Result<Vec<String>> {
    for name in wanted {
        ensure!(
            all.contains(name),
            "there is no target {name:?}; there are: {}",
            all.join(", ")
        );
    }
    Ok(if wanted.is_empty() { all } else { wanted }.to_vec())
}

/// What fuzzing lacks here.
fn missing() -> Option<String> {
    let there = command::find("c++").is_some();
    (!there).then(|| "there is no C++ compiler (Debian's package is g++)".to_owned())
}

/// Cargo with cargo-fuzz.
fn cargo_fuzz(cache: &Cache) -> Result<Command> {
    let mut command = cargo(cache);
    command.arg("fuzz").env("PATH", path_with(TOOL.folder(cache)?)?);
    Ok(command)
}

fn fuzzed(cache: &Cache, targets: &[String], seconds: u64) -> Result<Vec<Ran>> {
    eprintln!("lab: fuzz: building the targets");
    // No sanitizer: what is fuzzed is safe Rust, in which a panic is the finding, and it is several times as fast.
    let status = cargo_fuzz(cache)?
        .args(["build", "--sanitizer=none"])
        .stdout(Stdio::null())
        .status()
        .context("cargo fuzz")?;
    ensure!(status.success(), "the targets do not build; see above");
    targets.iter().map(|target| one(cache, target, seconds)).collect()
}

fn one(cache: &Cache, target: &str, seconds: u64) -> Result<Ran> {
    eprintln!("lab: fuzz: {target} for {seconds} s");
    let folder = cache.workspace.join("fuzz");
    let corpus = folder.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let dictionary = folder.join("dictionaries").join(format!("{target}.dict"));
    let began = Instant::now();
    let mut child = cargo_fuzz(cache)?
        .args(["run", "--sanitizer=none", target])
        .arg(&corpus)
        .arg(folder.join("seeds").join(target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-dict={}", dictionary.display()))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .args(["-timeout=20", "-print_final_stats=1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo fuzz")?;
    let said = child.stderr.take().context("the fuzzer's words")?;
    let mut words = Vec::new();
    for line in BufReader::new(said).split(b'\n') {
        words.push(String::from_utf8_lossy(&line?).into_owned());
    }
    let status = child.wait()?;
    let finding = (!status.success())
        .then(|| format!("{}\n{target}: ended with {status}", last_words(&words).join("\n")));
    Ok(Ran {
        target: target.to_owned(),
        executions: executions(&words).unwrap_or(0),
        seconds: began.elapsed().as_secs_f64(),
        finding,
    })
}

/// What a fuzzer that found something says, from the panic on, which a long backtrace may follow; with the end, which says how
/// to run it again.
fn last_words(words: &[String]) -> Vec<&str> {
    let end = words.len().saturating_sub(LAST_WORDS);
    let panicked = words.iter().position(|w| w.contains(" panicked at "));
    let message = panicked.map_or(&words[..0], |at| &words[at.min(end)..(at + PANIC_LINES).min(end)]);
    message.iter().chain(&words[end..]).map(String::as_str).collect()
}

/// Of `stat::number_of_executed_units: 1234`; a fuzzer that found something tells it before, as `#1234`.
fn executions(words: &[String]) -> Option<u64> {
    let told = words
        .iter()
        .find_map(|w| w.strip_prefix("stat::number_of_executed_units:"));
    let last = || {
        words
            .iter()
            .rev()
            .find_map(|w| w.strip_prefix('#')?.split_whitespace().next())
    };
    told.or_else(last)?.trim().parse().ok()
}

/// The same laws without a fuzzer.
fn unsteered(cache: &Cache, targets: &[String]) -> Result<Vec<Ran>> {
    let output = cargo(cache)
        .args(["test", "--quiet", "--package", "landfall", "--test", "any_bytes"])
        .args(["--", "--nocapture", "--test-threads=1"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rans: Vec<Ran> = said
        .lines()
        .filter_map(told)
        .filter(|ran| targets.contains(&ran.target))
        .collect();
    ensure!(
        rans.len() == targets.len(),
        "the test did not tell of every target:\n{said}"
    );
    ensure!(
        output.status.success(),
        "a law is broken, or the test is:\n{said}"
    );
    Ok(rans)
}

/// `asked<TAB>target<TAB>executions<TAB>seconds`.
fn told(line: &str) -> Option<Ran> {
    let mut fields = line
        .split('\t')
        .skip_while(|field| !field.ends_with("asked"))
        .skip(1);
    Some(Ran {
        target: fields.next()?.to_owned(),
        executions: fields.next()?.parse().ok()?,
        seconds: fields.next()?.parse().ok()?,
        finding: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_every_target_and_says_when_nothing_was_fuzzed() {
        let ran = |target: &str, finding: Option<&str>| Ran {
            target: target.to_owned(),
            executions: 7,
            seconds: 1.5,
            finding: finding.map(str::to_owned),
        };
        assert_eq!(
            summary(&[ran("gpt", None), ran("tools", Some("crash"))], None),
            "fuzzed; executions: gpt 7, tools 7; 1 findings; 3 s"
        );
        assert!(summary(&[ran("gpt", None)], Some("no compiler")).starts_with("not fuzzed"));
    }

    #[test]
    fn executions_are_read_with_and_without_an_end() {
        let words = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let ended = words("#2\tINITED cov: 1\nDone 91 runs\nstat::number_of_executed_units: 91\n");
        assert_eq!(executions(&ended), Some(91));
        assert_eq!(
            executions(&words("#2\tINITED cov: 1\n#1234\tNEW cov: 2\npanicked\n")),
            Some(1_234)
        );
        assert_eq!(executions(&words("error: no such target")), None);
        let ran = told("asked\tgpt\t1000\t2.5").unwrap();
        assert_eq!((ran.target.as_str(), ran.executions), ("gpt", 1_000));
        assert_eq!(told("test x ... ok"), None);
    }

    #[test]
    fn the_message_of_a_panic_is_shown_however_long_its_backtrace_is() {
        let words = |backtrace: usize| -> Vec<String> {
            let frames = (0..backtrace).map(|n| format!("{n}: frame"));
            let before = [
                "#2 INITED",
                "thread '<unnamed>' panicked at laws.rs:1:",
                "left: 1",
            ]
            .map(str::to_owned);
            before.into_iter().chain(frames).collect()
        };
        for backtrace in [0, 55, 58, 59, 60, 200] {
            let words = words(backtrace);
            let shown = last_words(&words);
            assert_eq!(
                shown.iter().filter(|w| w.contains("panicked")).count(),
                1,
                "{backtrace}"
            );
            assert!(shown.contains(&"left: 1"), "{backtrace}");
            assert_eq!(
                shown.last(),
                words.last().map(String::as_str).as_ref(),
                "{backtrace}"
            );
        }
    }

    #[test]
    fn an_unknown_target_is_named() {
        let all = targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
        assert!(all.len() >= 7, "{all:?}");
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        assert!(
            chosen(&all, &["nothing".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("checkpoint")
        );
    }
}
