//! `cargo lab crash`: every crash of an install in the simulated world, each enumeration compared with its limits: nothing
//! may fail, and it may take only so long.
//!
//! The enumerations are those of `tests/every_crash.rs`, which prints one line for each; here they are only compared with
//! their limits. For a user's own configuration there is `landfall simulate`.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::setup;
use crate::tools::told_by_test;

/// Longest enumeration of every single fault, all layouts and modes together, in seconds.
const SINGLES_SECONDS_MAX: f64 = 60.0;
/// Longest enumeration of every pair of one layout and mode, in seconds.
const PAIRS_SECONDS_MAX: f64 = 600.0;
/// Crashes and faults in every layout and both modes; the same with an image.
const SINGLES: [&str; 2] = [
    "every_single_crash_and_every_single_fault",
    "every_crash_and_fault_while_an_image_is_written",
];
/// Pairs, in every layout and mode, an image among them.
const PAIRS: &str = "every_pair_there_is";

/// What `cargo lab crash` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Every pair of faults instead of every single one
    #[arg(long)]
    pairs: bool,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// An enumeration, as the test tells of it.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Row {
    what: String,
    points: u64,
    scenarios: u64,
    failures: u64,
    seconds: f64,
}

impl Row {
    fn holds(&self, seconds_max: f64) -> bool {
        self.failures == 0 && self.scenarios > 0 && self.seconds <= seconds_max
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cache = Cache::open()?;
    setup::host_packages()?;
    let (names, more, seconds_max): (&[&str], &[&str], f64) = if arguments.pairs {
        (&[PAIRS], &["--ignored"], PAIRS_SECONDS_MAX)
    } else {
        (&SINGLES, &[], SINGLES_SECONDS_MAX)
    };
    let mut rows = Vec::new();
    let mut passed = true;
    for name in names {
        let mut args = vec![*name];
        args.extend(more);
        let (ok, said) = told_by_test(&cache, "every_crash", &args)?;
        passed &= ok;
        let told: Vec<Row> = said.lines().filter_map(row).collect();
        ensure!(!told.is_empty(), "the test told of no enumeration:\n{said}");
        rows.extend(told);
        for story in said.lines().filter_map(failure) {
            eprintln!("{story}");
        }
    }
    passed &= rows.iter().all(|row| row.holds(seconds_max));
    let sum = |count: fn(&Row) -> u64| rows.iter().map(count).sum::<u64>();
    let (scenarios, failures) = (sum(|row| row.scenarios), sum(|row| row.failures));
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    if arguments.json {
        let value = serde_json::json!({
            "enumerations": rows,
            "stories": scenarios,
            "failures": failures,
            "seconds": seconds,
            "seconds_max_each": seconds_max,
            "passed": passed,
        });
        println!("{value}");
    } else {
        for row in &rows {
            println!("{}", line(row, seconds_max));
        }
        println!(
            "{} enumerations, {scenarios} scenarios, {failures} failures in {seconds:.1} s (each at most {seconds_max:.0} s): {}",
            rows.len(),
            if passed { "passed" } else { "FAILED" }
        );
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn line(row: &Row, seconds_max: f64) -> String {
    let verdict = match (row.failures, row.holds(seconds_max)) {
        (1.., _) => "  FAILED",
        (0, false) => "  LATE",
        (0, true) => "",
    };
    format!(
        "{:44} {:>6} points {:>10} scenarios {:>4} failures {:>7.1} s{verdict}",
        row.what, row.points, row.scenarios, row.failures, row.seconds
    )
}

/// `crash<TAB>what<TAB>points<TAB>scenarios<TAB>failures<TAB>seconds`. Other lines are the test harness's.
fn row(line: &str) -> Option<Row> {
    let mut fields = line
        .split('\t')
        .skip_while(|field| !field.ends_with("crash"))
        .skip(1);
    Some(Row {
        what: fields.next()?.to_owned(),
        points: fields.next()?.parse().ok()?,
        scenarios: fields.next()?.parse().ok()?,
        failures: fields.next()?.parse().ok()?,
        seconds: fields.next()?.parse().ok()?,
    })
}

/// What the test tells of a story that failed: its case and schedule, and the invariant that it broke.
fn failure(line: &str) -> Option<&str> {
    line.strip_prefix("  ").filter(|told| told.contains(" | I"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enumeration_holds_when_nothing_failed_and_in_time() {
        let told = row("crash\tpairs: plain/flake/foreign/person\t212\t90000\t0\t59.5").unwrap();
        assert!(told.holds(60.0) && !told.holds(59.0));
        assert!(line(&told, 60.0).ends_with("0 failures    59.5 s"));
        assert!(line(&told, 59.0).ends_with("LATE"));
        let failed = row("test x ... crash\tpairs\t212\t90000\t1\t2.0").unwrap();
        assert!(!failed.holds(60.0) && line(&failed, 60.0).ends_with("FAILED"));
        let nothing = row("crash\tpairs\t212\t0\t0\t2.0").unwrap();
        assert!(!nothing.holds(60.0));
        assert_eq!(row("test every_pair ... ok"), None);
    }

    #[test]
    fn a_story_that_failed_is_told() {
        let told = "plain/image/foreign/person 0.61:lie,0.81:lie | I20 Lands: it stops for ever";
        assert_eq!(failure(&format!("  {told}")), Some(told));
        assert_eq!(failure("   0: core::panicking::panic_fmt"), None);
    }
}
