//! `cargo lab halfway`: each real tool that landfall calls is killed, and loses power, at every call that changes something;
//! the next run must continue from everything that is left.
//!
//! The points are those of `tests/halfway`, which prints a line for each state and each failure; here they are counted and
//! compared with the tables in docs/design/failure-model.md.
//!
//! The states in the tables have the names of the simulation. A state that was seen and is not in a table fails the command.
//! `--write` writes the number of calls and points; it is not compared, because programs with threads do not make the same
//! number of calls every time.
//!
//! Steps that need device-mapper, mounts, a FAT driver or firmware come last, in a machine (`halfway::machine`).

mod machine;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fs_err as fs;
use nix::sys::signal::Signal;

use crate::cache::Cache;
use crate::command::Program;
use crate::ending;
use crate::kit::{self, Kit};
use crate::setup;

/// Where the tables are.
const DOCUMENT: &str = "docs/design/failure-model.md";
/// The steps that need no machine, as the test calls them.
const STEPS: [&str; 9] = [
    "esp",
    "luks",
    "root",
    "swap",
    "clone",
    "nix-copy",
    "nix-load-db",
    "nix-repair",
    "nix-delete",
];
/// What is around them.
const BEGIN: &str = "<!-- written by: cargo lab halfway --write -->";
const END: &str = "<!-- end of what cargo lab halfway wrote -->";

/// What `cargo lab halfway` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these steps
    tools: Vec<String>,
    /// One point of one step, as a failure names it, such as 117:kill
    #[arg(long, value_name = "CALL:WHAT", value_parser = point)]
    point: Option<String>,
    /// Only the steps that need no machine
    #[arg(long)]
    host: bool,
    /// Every point of the steps in the machine too: hours
    #[arg(long)]
    all: bool,
    /// With --all, the part K of N of the points in the machine, spread over all of them: 1/N to N/N are every point once
    #[arg(long, value_name = "K/N", requires = "all", value_parser = part)]
    part: Option<String>,
    /// Every N-th point, of the steps on this computer too
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "point"], value_parser = clap::value_parser!(u32).range(1..))]
    every: Option<u32>,
    /// A folder with NixOS's own programs, for the steps in the machine (docs/develop/laboratory.md)
    #[arg(long, value_name = "DIR")]
    nixos_tools: Option<std::path::PathBuf>,
    /// Write the tables in docs/design/failure-model.md anew; of steps that are not tried, the figures stay
    #[arg(long, conflicts_with_all = ["point", "every", "part"])]
    write: bool,
    /// Keep the folders of each step
    #[arg(long)]
    keep: bool,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// A step and what became of its points.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Row {
    step: String,
    /// Calls that change something, in a run that nobody disturbs.
    calls: u64,
    /// Kills and cuts, each at one of them.
    points: u64,
    states: u64,
    /// Points from which the next run did not go on.
    failures: u64,
    seconds: f64,
}

/// What the test told.
#[derive(Debug, Default)]
struct Told {
    rows: Vec<Row>,
    /// Step, state, and whether the simulation has it.
    states: Vec<(String, String, bool)>,
    failures: Vec<[String; 4]>,
    skipped: Vec<String>,
    /// Steps of which not every point was tried: what, how many, of how many.
    sampled: Vec<[String; 4]>,
    /// The table of states.
    table: String,
}

impl Told {
    fn take(&mut self, line: &str) {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["halfway", step, calls, points, states, failures, seconds] => {
                let number = |text: &str| text.parse().unwrap_or_default();
                self.rows.push(Row {
                    step: step.to_owned(),
                    calls: number(calls),
                    points: number(points),
                    states: number(states),
                    failures: number(failures),
                    seconds: seconds.parse().unwrap_or_default(),
                });
            }
            ["state", step, state, _points, _verdict, known] => {
                self.states
                    .push((step.to_owned(), state.to_owned(), known == "known"));
            }
            ["failed", step, point, state, why] => {
                self.failures.push([step, point, state, why].map(str::to_owned));
            }
            ["sampled", step, what, some, of] if some != of => {
                self.sampled.push([step, what, some, of].map(str::to_owned));
            }
            ["skipped", step, why] => self.skipped.push(format!("{step}: {why}")),
            ["table", row] => {
                self.table.push_str(row);
                self.table.push('\n');
            }
            _ => {}
        }
    }
}

/// A point's name, as the test reads it.
fn point(text: &str) -> Result<String, String> {
    let named = text.split_once(':').is_some_and(|(place, what)| {
        let number = place.strip_prefix('w').unwrap_or(place);
        number.len() <= 18
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && what.starts_with(|first: char| first.is_ascii_lowercase())
            && what
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    });
    if named {
        Ok(text.to_owned())
    } else {
        Err("a point is CALL:WHAT, such as 117:kill, 117:cut-commit or w12:cut-part".to_owned())
    }
}

/// A part, as the test reads it.
fn part(text: &str) -> Result<String, String> {
    let numbers = text
        .split_once('/')
        .and_then(|(number, of)| Some((number.parse::<u32>().ok()?, of.parse::<u32>().ok()?)));
    match numbers {
        Some((number, of)) if (1..=of).contains(&number) => Ok(text.to_owned()),
        _ => Err("a part is K/N, such as 2/8".to_owned()),
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    sensible(arguments)?;
    let cache = Cache::open()?;
    setup::host_packages()?;
    let (ended_well, told) = told(&cache, arguments)?;
    shown(&cache, arguments, ended_well, &told)
}

/// What is asked for can be done.
fn sensible(arguments: &Arguments) -> Result<()> {
    let in_machine = |name: &str| machine::STEPS.contains(&name);
    for name in &arguments.tools {
        ensure!(
            STEPS.contains(&name.as_str()) || in_machine(name),
            "no such step: {name}; there are: {}, {}",
            STEPS.join(", "),
            machine::STEPS.join(", ")
        );
        ensure!(
            !(arguments.host && in_machine(name)),
            "{name} needs a machine, and --host leaves the machine out"
        );
    }
    ensure!(
        arguments.point.is_none() || arguments.tools.len() == 1,
        "--point {} is of one step: name it too, as in: cargo lab halfway clone --point 117:kill",
        arguments.point.as_deref().unwrap_or_default()
    );
    Ok(())
}

/// Prints what became of it, and writes the tables when that is asked for.
fn shown(cache: &Cache, arguments: &Arguments, ended_well: bool, told: &Told) -> Result<ExitCode> {
    if told.rows.is_empty() && told.failures.is_empty() {
        bail!("no step was tried; {}", named(&told.skipped));
    }
    let unknown = told.states.iter().filter(|(_, _, known)| !known).count();
    let failures = told.failures.len();
    let document = fs::read_to_string(cache.workspace.join(DOCUMENT)).context("the tables")?;
    let mut stale = false;
    if arguments.write {
        let former = block(&document)?.to_owned();
        let text = replace(&document, &tables(told, &versions()?, &former))?;
        fs::write(cache.workspace.join(DOCUMENT), text)?;
    } else if arguments.point.is_none() {
        stale = !block(&document)?.contains(told.table.trim_end());
    }
    let passed = ended_well && failures == 0 && unknown == 0 && told.skipped.is_empty() && !stale;
    if arguments.json {
        let value = serde_json::json!({
            "steps": told.rows,
            "failures": told.failures,
            "skipped": told.skipped,
            "sampled": told.sampled,
            "unknown_states": unknown,
            "table_is_stale": stale,
            "passed": passed,
        });
        println!("{value}");
        return Ok(code(passed));
    }
    for row in &told.rows {
        println!("{}", line(row));
    }
    for (step, state, _) in told.states.iter().filter(|(_, _, known)| !known) {
        println!("{step}: the simulation does not have: {state} (src/sim/model/leftovers.rs)");
    }
    for [step, point, state, why] in &told.failures {
        let number = point.split(' ').next().unwrap_or_default();
        // What is wrong with the step itself has no point.
        if point == "-" {
            println!("{step}: {why}");
        } else {
            println!(
                "{step}: {point}: {state}\n    {why}\n    again: cargo lab halfway {step} --point {number}"
            );
        }
    }
    for [step, what, some, of] in &told.sampled {
        println!("{step}: {some} of {of} {what} were tried (--all without --part: every one)");
    }
    for skipped in &told.skipped {
        println!("not tried: {skipped}");
    }
    if stale {
        println!(
            "{DOCUMENT}: its table of states is not that of src/sim/model/leftovers.rs: cargo lab halfway --write"
        );
    }
    let sum = |count: fn(&Row) -> u64| told.rows.iter().map(count).sum::<u64>();
    println!(
        "{} steps, {} calls that change something, {} points, {} states, {} points without a way on: {}",
        told.rows.len(),
        sum(|row| row.calls),
        sum(|row| row.points),
        sum(|row| row.states),
        sum(|row| row.failures),
        if passed { "passed" } else { "FAILED" }
    );
    Ok(code(passed))
}

fn code(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn named(skipped: &[String]) -> String {
    if skipped.is_empty() {
        "name one of those in docs/develop/laboratory.md".to_owned()
    } else {
        skipped.join("; ")
    }
}

/// Runs the test on this computer and in a machine, as far as it is asked for, and shows how it goes.
fn told(cache: &Cache, arguments: &Arguments) -> Result<(bool, Told)> {
    let (in_machine, here): (Vec<&String>, Vec<&String>) = arguments
        .tools
        .iter()
        .partition(|tool| machine::STEPS.contains(&tool.as_str()));
    let every = arguments.tools.is_empty();
    let mut told = Told::default();
    let mut ended_well = true;
    let mut options: Vec<String> = vec![];
    if let Some(point) = &arguments.point {
        options.extend(["--point".to_owned(), point.clone()]);
    }
    if arguments.keep {
        options.push("--keep".to_owned());
    }
    if let Some(every) = arguments.every {
        options.extend(["--every".to_owned(), every.to_string()]);
    }
    if let Some(part) = &arguments.part {
        options.extend(["--part".to_owned(), part.clone()]);
    }
    if every || !here.is_empty() {
        ended_well &= on_this_computer(cache, &here, &options, |line| told.take(line))?;
    }
    if !arguments.host && (every || !in_machine.is_empty()) {
        if arguments.all {
            options.push("--all".to_owned());
        }
        options.extend(in_machine.into_iter().cloned());
        let kit = Kit::with_tools(arguments.nixos_tools.as_deref())?;
        // The table of states is the same one.
        told.table.clear();
        ended_well &= machine::run(&kit, &options, |line| {
            show(line);
            told.take(line);
        })?;
    }
    Ok((ended_well, told))
}

fn on_this_computer(
    cache: &Cache,
    steps: &[&String],
    options: &[String],
    mut take: impl FnMut(&str),
) -> Result<bool> {
    // Every one, but for those that are left out on purpose.
    let all = (!options.iter().any(|option| option == "--every")).then_some("--all");
    // Started itself, and not by Cargo: it is told when the laboratory ends, and removes its folders.
    let mut program = Command::new(kit::halfway_program(&cache.workspace)?);
    program
        .current_dir(&cache.workspace)
        .args(all)
        .args(steps)
        .args(options)
        .stdout(Stdio::piped());
    let mut child = ending::spawn(program, Signal::SIGTERM).context("the program of tests/halfway")?;
    let output = child.stdout.take().context("the test's output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        show(&line);
        take(&line);
    }
    Ok(child.wait()?.success())
}

/// What somebody who waits wants to see.
fn show(line: &str) {
    let shown = ["halfway\t", "sampled\t", "point\t", "failed\t", "control\t"];
    if shown.iter().any(|start| line.starts_with(start)) {
        eprintln!("lab: {}", line.replace('\t', " "));
    }
}

fn line(row: &Row) -> String {
    format!(
        "{:12} {:>5} calls {:>6} points {:>3} states {:>4} without a way on {:>7.1} s",
        row.step, row.calls, row.points, row.states, row.failures, row.seconds
    )
}

/// What the tools say of themselves.
fn versions() -> Result<String> {
    let mut said = BTreeMap::new();
    for (program, args) in [
        ("git", &["--version"][..]),
        ("nix", &["--version"]),
        ("mkswap", &["--version"]),
        ("mkfs.ext4", &["-V"]),
        // It tells its version before it finds that there is no such file.
        ("mkfs.vfat", &["-v", "/nonexistent/fat"]),
        ("cryptsetup", &["--version"]),
    ] {
        let output = Program::new(program).args(args).output()?;
        let text = format!("{}\n{}", output.text(), String::from_utf8_lossy(&output.stderr));
        let first = text
            .lines()
            .find(|line| line.bytes().any(|byte| byte.is_ascii_digit()));
        said.insert(program, first.unwrap_or_default().trim().to_owned());
    }
    Ok(said.into_values().collect::<Vec<_>>().join("; "))
}

/// The tables: figures of the steps that were tried, and of others those that were there before.
fn tables(told: &Told, versions: &str, former: &str) -> String {
    let mut text = format!(
        "With {versions}; the steps in a machine with the programs of its environment:\n\n\
         | step | calls that change something | deaths and cuts tried | states | without a way on |\n|---|---|---|---|---|\n"
    );
    let step_of = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let mut steps: Vec<String> = told.table.lines().filter_map(step_of).collect();
    steps.dedup();
    for step in steps {
        if let Some(row) = told.rows.iter().find(|row| row.step == step) {
            text.push_str(&format!(
                "| `{}` | {} | {} | {} | {} |\n",
                row.step, row.calls, row.points, row.states, row.failures
            ));
        } else if let Some(line) = former.lines().find(|line| is_figures_of(line, &step)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    format!("{text}\n{}", told.table)
}

/// Whether a line has a step's figures: the name and four numbers.
fn is_figures_of(line: &str, step: &str) -> bool {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    match cells[..] {
        ["", name, calls, points, states, failures, ""] => {
            name == format!("`{step}`")
                && [calls, points, states, failures]
                    .iter()
                    .all(|number| number.parse::<u64>().is_ok())
        }
        _ => false,
    }
}

/// What is between the marks.
fn block(document: &str) -> Result<&str> {
    let (_, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("{DOCUMENT} has no line {BEGIN}"))?;
    let (block, _) = rest
        .split_once(END)
        .with_context(|| format!("{DOCUMENT} has no line {END}"))?;
    Ok(block)
}

fn replace(document: &str, tables: &str) -> Result<String> {
    let old = block(document)?;
    Ok(document.replacen(
        &format!("{BEGIN}{old}{END}"),
        &format!("{BEGIN}\n{tables}{END}"),
        1,
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_steps_are_those_of_the_test() {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../halfway/tools");
        let text: String = fs::read_dir(tools)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        for step in STEPS.iter().chain(&machine::STEPS) {
            assert!(text.contains(&format!("\"{step}\"")), "{step}");
        }
    }

    #[test]
    fn a_point_has_a_number_and_a_word() {
        for name in ["0:kill", "w12:cut-part", "117:cut-torn-512-head"] {
            assert_eq!(point(name).as_deref(), Ok(name));
        }
        for name in [
            "",
            "kill",
            "5",
            "5:",
            "w:cut-all",
            "5:Kill",
            "-1:kill",
            "9999999999999999999:kill",
            "5:kill x",
        ] {
            assert!(point(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_the_test_tells_is_understood() {
        let mut told = Told::default();
        for line in [
            "running 0 tests",
            "state\tclone\tgit: nothing\t3\tgoes on\tknown",
            "state\tclone\tgit: odd\t1\tSTUCK\tUNKNOWN",
            "failed\tclone\t119:kill (git mkdir x)\tgit: odd\tjudge: no",
            "halfway\tclone\t186\t14\t2\t1\t12.5",
            "skipped\tesp\tmkfs.vfat is not installed",
            "sampled\tinstall\tkills\t90\t700",
            "sampled\tmount\tkills\t40\t40",
            "table\t| a |",
            "table\t| b |",
        ] {
            told.take(line);
        }
        assert_eq!(told.rows.len(), 1);
        assert_eq!(
            (told.rows[0].calls, told.rows[0].points, told.rows[0].failures),
            (186, 14, 1)
        );
        assert!(told.states[0].2 && !told.states[1].2);
        assert_eq!(told.failures[0][1], "119:kill (git mkdir x)");
        assert_eq!(told.sampled, [["install", "kills", "90", "700"]]);
        assert_eq!(told.skipped, ["esp: mkfs.vfat is not installed"]);
        assert_eq!(told.table, "| a |\n| b |\n");
    }

    #[test]
    fn figures_of_steps_that_were_not_tried_stay() {
        let mut told = Told::default();
        for line in [
            "halfway\tclone\t186\t14\t2\t0\t12.5",
            "table\t| step | left | stands |",
            "table\t| `esp` | fat: none | no header |",
            "table\t| `clone` | git: nothing | no clone |",
            "table\t| `mount` | nothing mounted | detached |",
        ] {
            told.take(line);
        }
        let former = "| `esp` | 1 | 2 | 3 | 0 |\n| `clone` | 9 | 9 | 9 | 9 |\n| `mount` | a | b | c | d |\n| `gone` | 1 | 1 | 1 | 1 |\n";
        let text = tables(&told, "git 1", former);
        assert!(text.contains("| `esp` | 1 | 2 | 3 | 0 |\n| `clone` | 186 | 14 | 2 | 0 |\n\n| step | left"));
        assert!(!text.contains("| 9 |") && !text.contains("`gone`") && !text.contains("| a |"));
    }

    #[test]
    fn the_tables_are_replaced_and_nothing_else() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replace(&document, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert!(replace("nothing", "new").is_err());
    }
}
