//! The results of all installs: the figures by layout, and whether the whole run has shown anything.
//!
//! It fails if there is a finding, if no install landed and booted, or if too large a share of the installs was lost to the
//! emulator. A lost install counts only for what was found before it was lost.
//!
//! [`super::trial`] decides when an install is lost.

use std::collections::BTreeMap;

use serde::Serialize;

use super::found::Finding;
use super::schedule::Kind;
use super::trial::Record;

/// Of a hundred installs, so many may be lost to the emulator.
const LOST_PERCENT_MAX: usize = 25;

/// Why the whole did not pass; nothing when it did.
pub fn objections(records: &[Record]) -> Vec<String> {
    let mut why = Vec::new();
    let count = |is: &dyn Fn(&Record) -> bool| records.iter().filter(|record| is(record)).count();
    let findings = count(&|record| record.finding.is_some());
    if findings > 0 {
        why.push(format!("{findings} findings"));
    }
    if count(&|record| record.booted && !record.emulator) == 0 {
        why.push("no install landed and booted, so that nothing was shown".to_owned());
    }
    let lost = count(&|record| record.emulator);
    if lost * 100 > records.len() * LOST_PERCENT_MAX {
        why.push(format!(
            "{lost} of {} installs were lost to the emulator, more than {LOST_PERCENT_MAX} in a hundred",
            records.len()
        ));
    }
    why
}

/// The figures of a layout.
#[derive(Debug, Default, Serialize)]
pub struct Sum {
    installs: u32,
    faults: u32,
    by_kind: BTreeMap<&'static str, u32>,
    missed: u32,
    at_stake: u32,
    acknowledged: usize,
    starts: u32,
    runs: u32,
    compared: u64,
    landed: u32,
    booted: u32,
    stuck: u32,
    stopped: u32,
    changed: u32,
    other_findings: u32,
    emulator: u32,
    seconds: u64,
}

/// All of them, and what repeats each finding.
pub struct Sums(pub BTreeMap<&'static str, Sum>, Vec<String>);

impl Sums {
    /// Sums them up.
    pub fn of(records: &[Record]) -> Sums {
        let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
        let mut again = Vec::new();
        for record in records {
            let sum = sums.entry(record.layout).or_default();
            sum.seconds += record.seconds;
            if record.emulator {
                sum.emulator += 1;
            } else {
                sum.installs += 1;
                for (kind, count) in &record.faults {
                    *sum.by_kind.entry(*kind).or_default() += count;
                    sum.faults += count;
                }
                sum.missed += record.missed;
                sum.starts += record.starts;
                sum.at_stake += record.at_stake;
                sum.acknowledged += record.acknowledged;
                sum.runs += record.runs;
                sum.compared += record.compared;
                sum.landed += u32::from(record.landed);
                sum.booted += u32::from(record.booted);
            }
            let Some((finding, _)) = &record.finding else {
                continue;
            };
            match finding {
                Finding::Changed => sum.changed += 1,
                Finding::Stopped => sum.stopped += 1,
                Finding::Stuck => sum.stuck += 1,
                Finding::Unbootable | Finding::Laboratory => sum.other_findings += 1,
            }
            again.push(format!(
                "{}: cargo lab chaos --layout {} --seed {} --installs 1",
                finding.name(),
                record.layout,
                record.seed
            ));
        }
        Sums(sums, again)
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = |f: &mut std::fmt::Formatter<'_>, name: &str, cells: [String; 10]| {
            write!(f, "{name:<12}")?;
            cells.iter().try_for_each(|cell| write!(f, "{cell:>12}"))?;
            writeln!(f)
        };
        let heads = [
            "installs", "faults", "starts", "runs", "compared", "landed", "booted", "stuck", "stopped",
            "changed",
        ];
        row(f, "layout", heads.map(str::to_owned))?;
        for (name, sum) in &self.0 {
            let cells = [
                sum.installs.to_string(),
                sum.faults.to_string(),
                sum.starts.to_string(),
                sum.runs.to_string(),
                sum.compared.to_string(),
                sum.landed.to_string(),
                sum.booted.to_string(),
                sum.stuck.to_string(),
                sum.stopped.to_string(),
                sum.changed.to_string(),
            ];
            row(f, name, cells)?;
        }
        for (name, sum) in &self.0 {
            let kinds: Vec<String> = Kind::all()
                .filter_map(|kind| Some(format!("{} {}", sum.by_kind.get(kind.name())?, kind.name())))
                .collect();
            writeln!(
                f,
                "{name}: {}; at {} of the power cuts writes were unflushed; {} acknowledged checkpoints were looked at; {} did not come \
                 about; {} s; {} installs lost to the emulator",
                kinds.join(", "),
                sum.at_stake,
                sum.acknowledged,
                sum.missed,
                sum.seconds,
                sum.emulator
            )?;
        }
        for line in &self.1 {
            writeln!(f, "{line}")?;
        }
        let sum = |of: fn(&Sum) -> u32| self.0.values().map(of).sum::<u32>();
        writeln!(
            f,
            "chaos: {} installs, {} lost to the emulator, {} findings",
            sum(|sum| sum.installs),
            sum(|sum| sum.emulator),
            self.1.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(booted: bool, emulator: bool, finding: Option<Finding>) -> Record {
        Record {
            layout: "plain",
            landed: booted,
            booted,
            emulator,
            finding: finding.map(|finding| (finding, "why".to_owned())),
            ..Record::default()
        }
    }

    #[test]
    fn nothing_that_landed_is_nothing_shown() {
        for records in [
            vec![],
            vec![record(false, true, None)],
            vec![record(true, true, None)],
        ] {
            let why = objections(&records).join("; ");
            assert!(why.contains("no install landed"), "{why}");
        }
        assert!(objections(&[record(true, false, None)]).is_empty());
    }

    #[test]
    fn a_share_may_be_lost_and_no_more() {
        let installs = |good: usize, lost: usize| {
            let mut records: Vec<Record> = (0..good).map(|_| record(true, false, None)).collect();
            records.extend((0..lost).map(|_| record(false, true, None)));
            records
        };
        assert!(objections(&installs(3, 1)).is_empty());
        let why = objections(&installs(2, 1)).join("; ");
        assert!(why.contains("1 of 3 installs were lost to the emulator"), "{why}");
        let told = Sums::of(&installs(3, 1)).to_string();
        assert!(
            told.contains("chaos: 3 installs, 1 lost to the emulator, 0 findings"),
            "{told}"
        );
    }

    #[test]
    fn what_was_found_before_an_install_was_lost_counts() {
        let records = [
            record(true, false, None),
            record(true, false, None),
            record(true, false, None),
            record(false, true, Some(Finding::Stopped)),
        ];
        assert_eq!(objections(&records), ["1 findings"]);
        let told = Sums::of(&records).to_string();
        assert!(
            told.contains("stopped without a reason: cargo lab chaos --layout plain --seed 0"),
            "{told}"
        );
        assert!(
            told.contains("3 installs, 1 lost to the emulator, 1 findings"),
            "{told}"
        );
    }
}
