//! `landfall simulate`: simulates installs of a configuration with faults.
//!
//! It runs the same driver and states as an install, on disks in memory. It reads nothing of this machine but the configuration. Each
//! failure is reported with one command that repeats it.
//!
//! `sim` has the simulated world. Whether the real world behaves the same is tested in the laboratory.

mod comparison;
mod slots;
mod workers;

use self::workers::{Shared, ended, lock, progress};
use super::next_step::word;
use super::{Failure, SimulateArgs, config_path, print_error};
use crate::config::{Config, Overrides, SystemConfig};
use crate::exit::Exit;
use crate::safe_open;
use crate::sim;
use crate::sim::check::coverage::{Coverage, Matrix};
use crate::sim::explore::enumerate::Explorer;
use crate::sim::explore::harness::Harness;
use crate::sim::explore::run::Ending;
use crate::sim::inject::faults::FaultSort;
use crate::sim::inject::operator::OperatorAction;
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::case::{Before, Case, Consenter};
use crate::sim::model::image::made_up_image;
use crate::sim::model::setting::Subject;
use camino::Utf8PathBuf;
use landfall_states::plan::{Machine, Payload};
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Failures that `simulate` prints; the others are counted.
const FAILURES_SHOWN_MAX: usize = 10;

/// Scenarios by chance that one thread takes at a time.
const CHANCE_SCENARIOS: u64 = 100;

/// Most random scenario runs of one call with `--minutes`.
const CHANCE_SCENARIOS_MAX: u64 = 1 << 40;

/// A night, in seconds.
const NIGHT_S: f64 = 36_000.0;

/// What one thread does at a time.
#[derive(Debug, Clone, Copy)]
enum Work {
    Crashes,
    Faults,
    OperatorAction(OperatorAction),
    Pairs(u64, u64),
    Triples(u64, u64),
    Chance(u64, u64, u64),
}

/// What is installed. The image itself is not looked at: the scenario is the same with every one.
fn payload(config: &Config) -> Result<Payload, Failure> {
    let said = config.payload()?;
    Ok(match &config.system {
        SystemConfig::Image { system, .. } => Payload {
            system: made_up_image(system),
            ..said
        },
        SystemConfig::Prebuilt(_) | SystemConfig::Flake => said,
    })
}

pub(super) fn command(args: &SimulateArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let path = config_path(&args.config)?;
    let config = Config::read_with(&path, &Overrides::from_environment()?)?;
    let subject = Subject {
        host: config.host.clone(),
        layout: config.layout(Machine::native())?,
        payload: payload(&config)?,
        reinstall: config.reinstall,
        budget: config.retry,
    };
    let case = subject.case(args.before, Consenter::Person);
    let harness = Harness::about(&subject, case).map_err(|why| Failure::new(Exit::Usage, why))?;
    if args.decisions {
        return comparison::decisions(&harness, args.json, out);
    }
    if args.writes {
        return comparison::writes(&harness, args.json, out);
    }
    if let Some(schedule) = &args.schedule {
        return match args.operator_action {
            Some(between) => one_with_action(&harness, between, schedule, args.json, out),
            None => one(&harness, schedule, args.json, out),
        };
    }
    let began = Instant::now();
    let until = args
        .minutes
        .and_then(|minutes| began.checked_add(Duration::from_secs(minutes.saturating_mul(60))));
    let shared = Shared {
        until,
        ..Shared::default()
    };
    watch_for_interrupt(shared.stop.clone())?;
    if let Some(states) = args.slot_states {
        return slots::checkpoint(&subject, case, states, args, &shared, out);
    }
    let coverage = enumerate(&subject, case, args, &shared)?;
    let explored = Explored {
        coverage,
        case,
        harness,
        config: path,
        seconds: began.elapsed().as_secs_f64(),
        interrupted: shared.stop.load(Ordering::Relaxed),
    };
    if args.json {
        writeln!(out, "{}", explored.as_json(args))?;
    } else {
        explored.print(&subject, args, out)?;
    }
    Ok(ended(explored.coverage.failed, explored.interrupted))
}

/// What all scenarios of a call gave.
struct Explored {
    coverage: Coverage,
    case: Case,
    harness: Harness,
    config: Utf8PathBuf,
    seconds: f64,
    interrupted: bool,
}

impl Explored {
    /// The command that repeats a failure.
    fn again(&self, failure: &sim::check::coverage::Failure, args: &SimulateArgs) -> String {
        let (before, schedule) = (args.before.name(), &failure.schedule);
        let between = failure.operator_action.map_or(String::new(), |between| {
            format!(" --operator-action {}", between.name())
        });
        let seed = args.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
        format!(
            "landfall simulate --config {} --before {before} --schedule '{schedule}'{between}  # landfall {}{seed}",
            word(self.config.as_str()),
            env!("CARGO_PKG_VERSION")
        )
    }

    fn as_json(&self, args: &SimulateArgs) -> serde_json::Value {
        let first = self.coverage.failures.first();
        let trace = first.map(|first| keep_trace(&self.harness, first));
        let trace = trace.map(|kept| match kept {
            Ok(path) => path.to_string(),
            Err(failure) => failure.text,
        });
        as_json(
            &self.coverage,
            self.case,
            args,
            self.seconds,
            self.interrupted,
            trace.as_deref(),
            |failure| self.again(failure, args),
        )
    }

    fn print(&self, subject: &Subject, args: &SimulateArgs, out: &mut dyn Write) -> Result<(), Failure> {
        let (coverage, seconds) = (&self.coverage, self.seconds);
        writeln!(
            out,
            "host {}, {}, landfall {}",
            subject.host,
            self.case,
            env!("CARGO_PKG_VERSION")
        )?;
        if !coverage.cells.is_empty() {
            write!(out, "{}", Matrix(coverage))?;
        }
        for failure in coverage.failures.iter().take(FAILURES_SHOWN_MAX) {
            writeln!(out, "broken: {failure}\n    again: {}", self.again(failure, args))?;
        }
        // Behind what was found: a disk without room for it must not eat the result.
        if let Some(first) = coverage.failures.first() {
            match keep_trace(&self.harness, first) {
                Ok(path) => writeln!(out, "details of the first failure: {path}")?,
                Err(failure) => print_error(&failure.text),
            }
        }
        let so_far = if self.interrupted {
            "interrupted; so far: "
        } else {
            ""
        };
        let rate = coverage.runs as f64 / seconds.max(0.001);
        writeln!(
            out,
            "{so_far}{coverage}\n    in {seconds:.1} s ({rate:.0} runs/s)"
        )?;
        if args.seed.is_some() {
            let nightly = coverage.scenarios as f64 / seconds.max(0.001) * NIGHT_S;
            writeln!(
                out,
                "trace {:016x}; at this rate {nightly:.0} installs in a night of ten hours",
                coverage.trace
            )?;
        }
        Ok(())
    }
}

/// One scenario, line by line.
fn one(harness: &Harness, schedule: &Schedule, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let report = harness.run(schedule, true);
    if let Some(why) = schedule.objection(&report.passed, &report.impossible) {
        return Err(Failure::new(Exit::Usage, why));
    }
    let breaches: Vec<String> = report.breaches.iter().map(ToString::to_string).collect();
    let ending = match &report.ending {
        Ending::Landed => "landed".to_owned(),
        Ending::Stopped(halt) => {
            let phase = halt
                .phase
                .map_or("the start".to_owned(), |phase| phase.to_string());
            format!("stopped at {phase}: {} (next: {})", halt.fault, halt.fault.next())
        }
        Ending::Endless => "no end".to_owned(),
    };
    if json {
        let value = json!({
            "schedule": schedule.to_string(),
            "ending": ending,
            "runs": report.runs,
            "trace": format!("{:016x}", report.trace),
            "breaches": breaches,
            "lines": report.lines,
        });
        writeln!(out, "{value}")?;
    } else {
        for line in &report.lines {
            writeln!(out, "{line}")?;
        }
        for breach in &breaches {
            writeln!(out, "broken: {breach}")?;
        }
        let (runs, trace) = (report.runs, report.trace);
        writeln!(out, "{schedule}: {ending}, after {runs} runs; trace {trace:016x}")?;
    }
    Ok(if breaches.is_empty() {
        Exit::Ok
    } else {
        Exit::Permanent
    })
}

/// One scenario in which somebody does something after the first run.
fn one_with_action(
    harness: &Harness,
    between: OperatorAction,
    schedule: &Schedule,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let coverage = harness
        .run_operator_action(between, schedule)
        .map_err(|why| Failure::new(Exit::Usage, why))?;
    let name = between.name();
    let failures: Vec<String> = coverage.failures.iter().map(ToString::to_string).collect();
    if json {
        let value = json!({
            "schedule": schedule.to_string(), "between": name, "stories": coverage.scenarios, "failures": failures,
        });
        writeln!(out, "{value}")?;
    } else {
        for failure in &failures {
            writeln!(out, "broken: {failure}")?;
        }
        let (scenarios, failed) = (coverage.scenarios, coverage.failed);
        writeln!(
            out,
            "{schedule}, then {name}: {scenarios} stories, {failed} failures"
        )?;
    }
    Ok(ended(coverage.failed, false))
}

fn enumerate(
    subject: &Subject,
    case: Case,
    args: &SimulateArgs,
    shared: &Shared,
) -> Result<Coverage, Failure> {
    let sorts = if args.faults.is_empty() {
        FaultSort::ALL.to_vec()
    } else {
        args.faults.clone()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(work(args, &sorts, threads as u64));
    let total = Mutex::new(Coverage::default());
    let broken = Mutex::new(None);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        // In a statement of its own: the queue must not stay locked during the work.
                        let next = lock(&queue).pop();
                        let Some(work) = next.filter(|_| shared.goes_on()) else {
                            break;
                        };
                        match carry_out(work, subject, case, &sorts, shared) {
                            Ok(coverage) => lock(&total).add(coverage),
                            Err(why) => *lock(&broken) = Some(why),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| progress(shared, &done, "scenarios run"));
        for worker in workers {
            if worker.join().is_err() {
                *lock(&broken) =
                    Some("a thread of the simulation crashed; this is a defect of landfall".to_owned());
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    match broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(why) => Err(Failure::new(Exit::Internal, why)),
        None => Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn work(args: &SimulateArgs, sorts: &[FaultSort], threads: u64) -> Vec<Work> {
    if let Some(seed) = args.seed
        && args.minutes.is_some()
    {
        let part = |n: u64| Work::Chance(seed, n * CHANCE_SCENARIOS_MAX, (n + 1) * CHANCE_SCENARIOS_MAX);
        return (0..threads).map(part).collect();
    }
    if let Some(seed) = args.seed {
        return (0..args.scenarios.div_ceil(CHANCE_SCENARIOS))
            .map(|part| {
                let from = part * CHANCE_SCENARIOS;
                Work::Chance(seed, from, (from + CHANCE_SCENARIOS).min(args.scenarios))
            })
            .collect();
    }
    let crashes = sorts.iter().any(|sort| sort.is_crash());
    let mut work = vec![Work::Faults];
    if crashes {
        work.push(Work::Crashes);
    }
    if args.faults.is_empty() {
        work.extend(OperatorAction::ALL.map(Work::OperatorAction));
    }
    match args.depth {
        2 => work.extend((0..threads).map(|share| Work::Pairs(share, threads))),
        3 => work.extend((0..threads).map(|share| Work::Triples(share, threads))),
        _ => {}
    }
    work
}

fn carry_out(
    work: Work,
    subject: &Subject,
    case: Case,
    sorts: &[FaultSort],
    shared: &Shared,
) -> Result<Coverage, String> {
    let harness = Harness::about(subject, case)?;
    let mut explorer = Explorer::new(&harness)
        .only(sorts)
        .shared(shared.done.clone(), shared.stop.clone());
    // Whether it was asked to stop is known already.
    let _whole = match work {
        Work::Crashes => explorer.crashes(),
        Work::Faults => explorer.faults(sorts),
        Work::Pairs(share, shares) => explorer.pairs(share, shares),
        Work::Triples(share, shares) => explorer.triples(share, shares),
        Work::OperatorAction(between) => {
            explorer.coverage = harness.operator_actions(&[between], &|| {
                shared.done.fetch_add(1, Ordering::Relaxed);
                shared.goes_on()
            })?;
            ControlFlow::Continue(())
        }
        Work::Chance(seed, from, to) => {
            explorer.coverage = harness.chance(seed, from, to, sorts, &|| {
                shared.done.fetch_add(1, Ordering::Relaxed);
                shared.goes_on()
            });
            ControlFlow::Continue(())
        }
    };
    let mut coverage = explorer.coverage;
    // The same points for everybody; one of them tells how many.
    if !matches!(work, Work::Faults | Work::Chance(_, 0, _)) {
        coverage.points = 0;
    }
    Ok(coverage)
}

/// Ctrl-C, and what a service manager sends.
fn watch_for_interrupt(stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let [interrupt, terminate] = {
        let _inside = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate()].map(signal)
    };
    let (mut interrupt, mut terminate) = (interrupt?, terminate?);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Keeps what happens in a scenario that broke something.
fn keep_trace(harness: &Harness, failure: &sim::check::coverage::Failure) -> Result<Utf8PathBuf, Failure> {
    let dir = Utf8PathBuf::try_from(std::env::temp_dir())
        .map_err(|e| Failure::new(Exit::Internal, e.to_string()))?;
    let report = harness.run(&failure.schedule, true);
    let path = dir.join(format!("landfall-simulate-{:016x}.txt", report.trace));
    let mut text = format!("{failure}\n");
    if let Some(between) = failure.operator_action {
        text += &format!(
            "the same scenario without the operator action {}:\n",
            between.name()
        );
    }
    for line in &report.lines {
        text += line;
        text.push('\n');
    }
    // In a directory that everybody writes to: a link of that name is replaced, not followed.
    safe_open::replace(&path, 0o600, text.as_bytes())?;
    Ok(path)
}

fn as_json(
    coverage: &Coverage,
    case: Case,
    args: &SimulateArgs,
    seconds: f64,
    interrupted: bool,
    trace: Option<&str>,
    again: impl Fn(&sim::check::coverage::Failure) -> String,
) -> serde_json::Value {
    let cells: Vec<_> = coverage
        .cells
        .iter()
        .map(|((phase, sort), cell)| {
            json!({
                "phase": phase, "fault": sort.name(), "stories": cell.scenarios, "went_on": cell.went_on,
                "stopped": cell.stopped,
                "stopped_because": cell.stopped_because, "resumed": cell.resumed, "asked": cell.asked,
                "resumed_at": cell.resumed_at, "failed": cell.failed,
            })
        })
        .collect();
    let failures: Vec<_> = coverage
        .failures
        .iter()
        .map(|failure| {
            let breaches: Vec<String> = failure.breaches.iter().map(ToString::to_string).collect();
            json!({
                "schedule": failure.schedule.to_string(), "between": failure.operator_action.map(OperatorAction::name),
                "breaches": breaches, "again": again(failure),
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"), "case": case.to_string(), "exhaust": args.depth, "seed": args.seed,
        "interrupted": interrupted, "points": coverage.points, "machines": coverage.firsts, "stories": coverage.scenarios,
        "met": coverage.met, "runs": coverage.runs, "failed": coverage.failed, "seconds": seconds, "cells": cells,
        "failures": failures, "trace": trace, "digest": format!("{:016x}", coverage.trace),
    })
}

/// What `--before` may say.
pub(super) fn before(text: &str) -> Result<Before, String> {
    [Before::Blank, Before::Foreign, Before::Finished]
        .into_iter()
        .find(|before| before.name() == text)
        .ok_or_else(|| "blank, foreign or finished".to_owned())
}

#[cfg(test)]
#[path = "simulate_tests.rs"]
mod tests;
