//! `cargo lab planted`: every bug that is planted in the simulated world, and what caught it.
//!
//! The bugs and the enumerations are those of `tests/planted_bugs.rs`, which prints one line for each; here they are only
//! counted and timed, each against its limit. A bug counts as caught only by the invariant that it is planted for.
//!
//! `src/sim/inject/planted.rs` has the bugs; another test of tests/planted_bugs.rs shows what happens when an invariant is
//! not watched.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::setup;
use crate::tools::told_by_test;

/// Fewer bugs prove too little.
const BUGS_MIN: usize = 40;
/// Longest search for one bug, in seconds.
const SECONDS_MAX: f64 = 60.0;
/// The test that prints a line for each bug.
const TEST: &str = "every_planted_bug_is_caught_by_name";

/// What `cargo lab planted` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// A bug, as the test tells of it.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Row {
    bug: String,
    /// The invariant that must catch it.
    planted_for: String,
    /// The invariants that were broken until that one was.
    broken: Vec<String>,
    seconds: f64,
    /// The first breach of that invariant.
    how: String,
}

impl Row {
    fn is_caught(&self) -> bool {
        self.broken.contains(&self.planted_for)
    }

    fn holds(&self) -> bool {
        self.is_caught() && self.seconds <= SECONDS_MAX
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cache = Cache::open()?;
    setup::host_packages()?;
    let began = Instant::now();
    let (passed, said) = told_by_test(&cache, "planted_bugs", &[TEST])?;
    let rows = said.lines().filter_map(row).collect::<Vec<_>>();
    ensure!(!rows.is_empty(), "the test told of no bug:\n{said}");
    let caught = rows.iter().filter(|row| row.is_caught()).count();
    let slowest = rows.iter().map(|row| row.seconds).fold(0.0, f64::max);
    let seconds = began.elapsed().as_secs_f64();
    let ok = passed && rows.len() >= BUGS_MIN && rows.iter().all(Row::holds);
    if arguments.json {
        let value = serde_json::json!({
            "bugs": rows,
            "caught": caught,
            "slowest_seconds": slowest,
            "seconds": seconds,
            "passed": ok,
        });
        println!("{value}");
    } else {
        for row in &rows {
            println!("{}", line(row));
        }
        println!(
            "{} planted bugs (at least {BUGS_MIN}): {caught} caught by name; the slowest in {slowest:.1} s \
             (at most {SECONDS_MAX:.0}); {seconds:.0} s with the build: {}",
            rows.len(),
            if ok { "passed" } else { "FAILED" }
        );
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(row: &Row) -> String {
    let others: Vec<&str> = row
        .broken
        .iter()
        .filter(|b| **b != row.planted_for)
        .map(String::as_str)
        .collect();
    let besides = if others.is_empty() {
        String::new()
    } else {
        format!("; besides: {}", others.join(", "))
    };
    let verdict = match (row.is_caught(), row.holds()) {
        (false, _) => "ESCAPED: ",
        (true, false) => "LATE: ",
        (true, true) => "",
    };
    format!(
        "{:18} {:5.1} s  {verdict}{}{besides}",
        row.bug, row.seconds, row.planted_for
    )
}

/// `planted<TAB>bug<TAB>seconds<TAB>invariant<TAB>broken, by commas<TAB>how`. Other lines are the test harness's.
fn row(line: &str) -> Option<Row> {
    let mut fields = line
        .split('\t')
        .skip_while(|field| !field.ends_with("planted"))
        .skip(1);
    Some(Row {
        bug: fields.next()?.to_owned(),
        seconds: fields.next()?.parse().ok()?,
        planted_for: fields.next()?.to_owned(),
        broken: fields
            .next()?
            .split(", ")
            .filter(|b| !b.is_empty())
            .map(str::to_owned)
            .collect(),
        how: fields.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_invariant_it_is_planted_for_catches_a_bug_and_only_in_time() {
        let told =
            row("planted\tByLabel\t1.5\tI11 ByIdentity\tI2 ConsentFirst, I11 ByIdentity\tI11: by label")
                .unwrap();
        assert!(told.holds());
        assert_eq!(
            line(&told),
            "ByLabel              1.5 s  I11 ByIdentity; besides: I2 ConsentFirst"
        );
        let escaped = row("planted\tByLabel\t1.5\tI11 ByIdentity\tI2 ConsentFirst\t").unwrap();
        assert!(!escaped.is_caught() && line(&escaped).contains("ESCAPED"));
        let late = Row {
            seconds: 60.5,
            ..told
        };
        assert!(late.is_caught() && !late.holds() && line(&late).contains("LATE"));
        assert_eq!(row("test every_planted_bug ... ok"), None);
        // The harness writes the test's name without a line feed.
        assert!(row("test x ... planted\tA\t0.1\tI1 A\tI1 A\thow").is_some());
    }
}
