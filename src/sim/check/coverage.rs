//! What an enumeration covered and found.
//!
//! Figures are counted, never estimated. A failure is named by the one line that runs it again.
//!
//! `explore::enumerate` enumerates.

use crate::sim::check::invariants::Breach;
use crate::sim::inject::faults::FaultSort;
use crate::sim::inject::operator::OperatorAction;
use crate::sim::inject::schedule::Schedule;
use crate::sim::model::case::Case;
use landfall_states::Phase;
use landfall_states::fault::FaultClass;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A failure, with what is needed to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The case.
    pub case: Case,
    /// The schedule.
    pub schedule: Schedule,
    /// What was done after its last crash, if anything.
    pub operator_action: Option<OperatorAction>,
    /// What it broke.
    pub breaches: Vec<Breach>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.case, self.schedule)?;
        if let Some(action) = self.operator_action {
            write!(f, ", then {}", action.name())?;
        }
        for breach in &self.breaches {
            write!(f, " | {breach}")?;
        }
        Ok(())
    }
}

/// What came of the faults of one sort in one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// How many were tried.
    pub scenarios: u64,
    /// The run got over it by itself.
    pub went_on: u64,
    /// The run stopped with a reason.
    pub stopped: u64,
    /// Of which class the reason was.
    pub stopped_because: BTreeSet<FaultClass>,
    /// Another run brought it to the end.
    pub resumed: u64,
    /// That run asked for consent.
    pub asked: u64,
    /// The phases from which that run had something to do.
    pub resumed_at: BTreeSet<Phase>,
    /// Something was broken.
    pub failed: u64,
}

impl Cell {
    fn add(&mut self, other: &Cell) {
        let Cell {
            scenarios,
            went_on,
            stopped,
            stopped_because,
            resumed,
            asked,
            resumed_at,
            failed,
        } = other;
        self.stopped_because.extend(stopped_because);
        self.scenarios += scenarios;
        self.went_on += went_on;
        self.stopped += stopped;
        self.resumed += resumed;
        self.asked += asked;
        self.resumed_at.extend(resumed_at);
        self.failed += failed;
    }
}

/// What an enumeration covered.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Points at which something can happen.
    pub points: u64,
    /// Machines that a first fault left, and that were gone on from, when pairs are run.
    pub firsts: u64,
    /// Scenarios run.
    pub scenarios: u64,
    /// Runs of the driver.
    pub runs: u64,
    /// A digest of everything that happened in scenarios by chance, in whatever order they were run.
    pub trace: u64,
    /// Scenarios that came to a machine that another scenario had come to.
    pub met: u64,
    /// By phase and sort of the last fault.
    pub cells: BTreeMap<(Phase, FaultSort), Cell>,
    /// How many scenarios broke something.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
}

/// How many failures are kept whole; the others are counted.
const FAILURES_MAX: usize = 1_000;

impl Coverage {
    /// A scenario broke something.
    pub fn fails(&mut self, failure: Failure) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }

    /// Adds another one.
    pub fn add(&mut self, other: Coverage) {
        let Coverage {
            points,
            firsts,
            scenarios,
            runs,
            trace,
            met,
            cells,
            failed,
            failures,
        } = other;
        self.trace = self.trace.wrapping_add(trace);
        self.points += points;
        self.firsts += firsts;
        self.scenarios += scenarios;
        self.runs += runs;
        self.met += met;
        for (place, cell) in cells {
            self.cells.entry(place).or_default().add(&cell);
        }
        self.failed += failed;
        self.failures.extend(failures);
        self.failures.truncate(FAILURES_MAX);
    }

    /// The phases in which something can happen and the sorts, where nothing of this sort was tried in this phase.
    pub fn empty_cells(&self) -> Vec<(Phase, FaultSort)> {
        let phases = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Landed);
        phases
            .flat_map(|phase| FaultSort::ALL.map(|sort| (phase, sort)))
            .filter(|place| !self.cells.contains_key(place))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Coverage {
            points,
            firsts,
            scenarios,
            runs,
            trace: _, // said apart, where it means something
            met,
            cells: _,
            failed,
            failures: _,
        } = self;
        write!(f, "{points} points, ")?;
        if *firsts > 0 {
            write!(f, "{firsts} machines continued, ")?;
        }
        write!(f, "{scenarios} scenarios")?;
        if *met > 0 {
            write!(f, " ({met} with a machine that was met before)")?;
        }
        write!(f, ", {runs} runs, {failed} failures")
    }
}

/// The matrix, for a terminal of 80 columns.
pub struct Matrix<'a>(pub &'a Coverage);

impl fmt::Display for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12}", "phase")?;
        for sort in FaultSort::ALL {
            write!(f, "{:>6}", sort.short())?;
        }
        writeln!(f)?;
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Landed) {
            write!(f, "{:12}", phase.to_string())?;
            for sort in FaultSort::ALL {
                match self.0.cells.get(&(phase, sort)) {
                    None => write!(f, "{:>6}", "·")?,
                    Some(cell) => {
                        let mut what = String::new();
                        for (letter, count) in [
                            ('g', cell.went_on),
                            ('s', cell.stopped),
                            ('r', cell.resumed),
                            ('a', cell.asked),
                            ('!', cell.failed),
                        ] {
                            if count > 0 {
                                what.push(letter);
                            }
                        }
                        write!(f, "{what:>6}")?;
                    }
                }
            }
            writeln!(f)?;
        }
        f.write_str(
            "columns: kill, power cut, transient, needs a change, permanent, hardware,\n\
             \u{20}        false success, partial, network, environment, stop\n",
        )?;
        f.write_str(
            "g: it continues by itself  s: it stops and says why  r: the next run finishes\na: that run asks for consent before it erases again  !: something is broken\n",
        )?;
        writeln!(
            f,
            "\n{:12}{:28}stops because",
            "phase", "the next run starts from"
        )?;
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Landed) {
            let cells = || self.0.cells.iter().filter(move |((of, _), _)| *of == phase);
            let from: BTreeSet<Phase> = cells()
                .flat_map(|(_, cell)| cell.resumed_at.iter().copied())
                .collect();
            let why: BTreeSet<FaultClass> = cells()
                .flat_map(|(_, cell)| cell.stopped_because.iter().copied())
                .collect();
            let from = match (from.first(), from.last()) {
                (Some(first), Some(last)) if first == last => first.to_string(),
                (Some(first), Some(last)) => format!("{first} to {last}"),
                (_, _) => "·".to_owned(),
            };
            let why: Vec<&str> = why.into_iter().map(short_class).collect();
            writeln!(f, "{:12}{from:28}{}", phase.to_string(), why.join(", "))?;
        }
        f.write_str("unsafe: a safety stop: the disk's identity or its contents do not match\n")
    }
}

/// A class where there is little room.
fn short_class(class: FaultClass) -> &'static str {
    match class {
        FaultClass::Transient => "trans",
        FaultClass::NeedsChange => "needs",
        FaultClass::Permanent => "perm",
        FaultClass::Hardware => "hardw",
        FaultClass::Unsafe => "unsafe",
        FaultClass::Interrupted => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_matrix_fits_eighty_columns() {
        let mut coverage = Coverage::default();
        let cell = Cell {
            scenarios: 1,
            went_on: 1,
            stopped: 1,
            stopped_because: [
                FaultClass::Transient,
                FaultClass::NeedsChange,
                FaultClass::Permanent,
                FaultClass::Hardware,
                FaultClass::Unsafe,
                FaultClass::Interrupted,
            ]
            .into(),
            resumed: 1,
            asked: 1,
            resumed_at: Phase::ALL.into_iter().collect(),
            failed: 1,
        };
        for phase in Phase::ALL {
            for sort in FaultSort::ALL {
                coverage.cells.insert((phase, sort), cell.clone());
            }
        }
        let text = Matrix(&coverage).to_string();
        assert!(text.contains("gsra!") && text.contains("unsafe"), "{text}");
        for line in text.lines() {
            assert!(
                line.chars().count() <= 80,
                "{} columns: {line}",
                line.chars().count()
            );
        }
    }

    #[test]
    fn traces_add_up_in_any_order() {
        let one = |trace| Coverage {
            trace,
            ..Coverage::default()
        };
        let sum = |parts: [u64; 3]| {
            let mut all = Coverage::default();
            for part in parts {
                all.add(one(part));
            }
            all.trace
        };
        assert_eq!(sum([1, u64::MAX, 7]), sum([7, 1, u64::MAX]));
        assert_ne!(sum([1, 2, 3]), sum([1, 2, 4]));
    }
}
