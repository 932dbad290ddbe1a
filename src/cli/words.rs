//! Makes the texts of events, for every listener that writes for people.
//!
//! Pure. Numbers are those of the event; a rate is the difference of two counts over the time between them. There is no percentage. A
//! remaining time is shown only for bytes of a known total, at the rate so far.
//!
//! Escape codes, clocks and files are in the listeners (`progress`).

use crate::event::Event;
use landfall_states::Phase;
use landfall_states::fault::Fault;
use landfall_states::untrusted_text::Shown;
use std::io::Write;

/// How much an event matters to somebody who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Only with `--verbose`.
    Detail,
    /// A count that replaces the one before it.
    Count,
    /// A line of its own.
    Line,
    /// A line that must not be missed.
    Alarm,
}

/// An event in words. Nothing of it spans lines, whatever an external program printed.
#[expect(clippy::too_many_lines, reason = "one row for each kind of event")]
pub fn of(event: &Event) -> (Weight, String) {
    let (weight, text) = match event {
        Event::Started {
            version,
            host,
            command,
        } => (
            Weight::Line,
            format!("landfall {version}: {command} of host {host}"),
        ),
        Event::DiskChosen {
            device,
            identity,
            why,
        } => (Weight::Line, format!("disk {device} ({identity}): {why}")),
        Event::Decided { rules, what, claimed } => {
            let rules = match rules.as_slice() {
                [] => String::new(),
                rules => {
                    let numbers: Vec<String> = rules.iter().map(u8::to_string).collect();
                    format!(" (rule {})", numbers.join(", "))
                }
            };
            let claimed = claimed.map_or(String::new(), |phase| format!("; the checkpoint says {phase}"));
            (Weight::Line, format!("{what}{rules}{claimed}"))
        }
        Event::Checked { what, found } => (Weight::Line, format!("checked {what}: {found}")),
        Event::Found { phase } => (
            Weight::Line,
            format!(
                "{}: already done",
                action(*phase).unwrap_or("nothing to do".to_owned())
            ),
        ),
        Event::Begun { phase, attempt, what } => (
            Weight::Line,
            match attempt {
                0 | 1 => format!("{}: {what}", action(*phase).unwrap_or_default()),
                n => format!("{} (attempt {n}): {what}", action(*phase).unwrap_or_default()),
            },
        ),
        Event::Reached { phase, took_ms } => (
            Weight::Line,
            format!("reached {phase} after {}", duration(*took_ms)),
        ),
        Event::Step { what } => (Weight::Line, format!("  {what}")),
        Event::Progress {
            what,
            done,
            total,
            unit,
        } => (
            Weight::Count,
            match total {
                Some(total) => format!("{what}: {} of {}", amount(*done, unit), amount(*total, unit)),
                None => format!("{what}: {}", amount(*done, unit)),
            },
        ),
        Event::Output { program, line } => (Weight::Detail, format!("    {program}: {line}")),
        Event::Saved {
            sequence,
            phase,
            place,
        } => (
            Weight::Detail,
            format!("  checkpoint {sequence} ({phase}) saved in {place}"),
        ),
        Event::Asking { what, scan: _ } => (Weight::Alarm, format!("asking: {what}")),
        Event::Notice { what } => (Weight::Alarm, format!("note: {what}")),
        Event::Failed { phase, fault } => (
            Weight::Alarm,
            format!("failed in {phase}: {fault} ({})", fault.class()),
        ),
        Event::RetryIn { wait_ms, retry } => {
            (Weight::Line, format!("retry {retry} in {}", duration(*wait_ms)))
        }
        Event::Landed { system, revision } => {
            (Weight::Alarm, format!("landed: {system} at revision {revision}"))
        }
        Event::AlreadyLanded { system, revision } => (
            Weight::Alarm,
            format!("{ALREADY_FINISHED} (remove the installer's medium): {system} at revision {revision}"),
        ),
        Event::NothingToResume { why, list, next } => (
            Weight::Alarm,
            format!("nothing to resume: {}; next: {next}", with_list(why, list)),
        ),
        Event::Stopped { phase, fault } => (
            Weight::Alarm,
            format!("{}: {fault} ({})", stopped(*phase), fault.class()),
        ),
    };
    (weight, one_line(&text))
}

/// How a run ended that found its install finished.
pub const ALREADY_FINISHED: &str = "this install is already finished; nothing was changed";
/// How a run ended that told no end.
pub const KILLED: &str = "the process ended without reporting a result (killed?)";
/// What to do with a finished install.
pub const START_IT: &str = "remove the installer's medium, then start the machine from its disk";

/// The action that leads on from a phase, in words: `Partition disk`.
pub fn action(phase: Phase) -> Option<String> {
    let mut words = String::new();
    for c in phase.action()?.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
            words.extend(c.to_lowercase());
        } else {
            words.push(c);
        }
    }
    Some(words)
}

/// Where a run stopped.
pub fn stopped(phase: Option<Phase>) -> String {
    match phase {
        Some(phase) => format!("stopped in {phase}"),
        None => "stopped before the install started; this run wrote to no disk".to_owned(),
    }
}

/// A reason and what it lists, on one line.
pub fn with_list(why: &str, list: &[String]) -> String {
    if list.is_empty() {
        why.to_owned()
    } else {
        format!("{why}: {}", list.join("; "))
    }
}

/// What a reason lists, a line each, below it.
pub fn listed(list: &[String]) -> String {
    let lines: String = list
        .iter()
        .map(|line| format!("\n          {}", one_line(line)))
        .collect();
    if lines.is_empty() {
        lines
    } else {
        format!(":{lines}")
    }
}

/// A fault laid out for its reader: the thing, the reason with its list a line each, and what to do.
pub fn laid_out(fault: &Fault) -> String {
    let (why, list) = fault.reasons();
    let mut text = format!(
        "    what: {}\n    why:  {}",
        one_line(&fault.what()),
        one_line(&why)
    );
    text.push_str(&listed(&list));
    text.push_str(&format!("\n    next: {}", one_line(&fault.next())));
    text
}

/// On one line; what could steer a terminal is escaped.
pub fn one_line(text: &str) -> String {
    Shown::line(text).into()
}

/// A writer of text for people whose lines quote what others chose: labels, serial numbers, names of boot entries, names of files.
pub struct ShownLines<'o> {
    out: &'o mut dyn Write,
    line: Vec<u8>,
}

impl<'o> ShownLines<'o> {
    /// Lines that go there.
    pub fn on(out: &'o mut dyn Write) -> Self {
        ShownLines { out, line: vec![] }
    }

    fn end_line(&mut self) -> std::io::Result<()> {
        let line = one_line(&String::from_utf8_lossy(&self.line));
        self.line.clear();
        writeln!(self.out, "{line}")
    }
}

impl Write for ShownLines<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line()?;
            } else {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.out.flush()
    }
}

/// A count with its unit; bytes in powers of 1,024.
pub fn amount(count: u64, unit: &str) -> String {
    if unit == "bytes" {
        bytes(count)
    } else {
        format!("{count} {unit}")
    }
}

/// Bytes: exact below 1 KiB, one decimal above, never rounded up to more than there is.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (name, shift) in UNITS {
        if count >> shift > 0 {
            let tenths = (u128::from(count) * 10) >> shift;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} bytes")
}

/// A span of time.
pub fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

/// The rate between two counts, once at least half a second lies between them.
pub fn rate(from: (u64, u64), to: (u64, u64), unit: &str) -> Option<String> {
    let (count, ms) = (to.0.checked_sub(from.0)?, to.1.checked_sub(from.1)?);
    if ms < 500 || count == 0 {
        return None;
    }
    let per_second = u64::try_from(u128::from(count) * 1_000 / u128::from(ms)).unwrap_or(u64::MAX);
    Some(format!("{}/s", amount(per_second, unit)))
}

/// The time that is left at the rate between two counts: of bytes, whose number is known, once two seconds lie between them.
pub fn left(from: (u64, u64), to: (u64, u64), total: Option<u64>, unit: &str) -> Option<String> {
    let (count, ms) = (to.0.checked_sub(from.0)?, to.1.checked_sub(from.1)?);
    let rest = total?.checked_sub(to.0)?;
    if unit != "bytes" || ms < 2_000 || count == 0 || rest == 0 {
        return None;
    }
    let left_ms = u128::from(rest) * u128::from(ms) / u128::from(count);
    let left_ms = u64::try_from(left_ms).unwrap_or(u64::MAX);
    Some(format!("{} left at this rate", duration(left_ms)))
}

/// What a disk says of itself, or that it does not.
pub fn known(name: &str, value: &Option<String>) -> String {
    match value {
        Some(value) => format!("{name} {value}"),
        None => format!("no {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_quote_others_steer_no_terminal() {
        let mut out = vec![];
        let mut lines = ShownLines::on(&mut out);
        write!(lines, "    model \x1b[31mred, serial a\u{202e}b\n  two").unwrap();
        lines.flush().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "    model \\u{1b}[31mred, serial a\\u{202e}b\n  two\n");
    }

    #[test]
    fn the_time_left_is_that_of_the_rate() {
        let left = |from, to, total| left(from, to, total, "bytes");
        assert_eq!(
            left((0, 0), (100, 2_000), Some(500)).as_deref(),
            Some("8.0 s left at this rate")
        );
        assert_eq!(left((0, 0), (100, 1_000), Some(500)), None, "too soon");
        assert_eq!(left((0, 0), (100, 2_000), None), None, "no end is known");
        assert_eq!(left((0, 0), (100, 2_000), Some(100)), None, "done");
        assert_eq!(left((100, 0), (100, 2_000), Some(200)), None, "stands still");
        assert_eq!(super::left((0, 0), (1, 2_000), Some(9), "paths"), None);
    }

    #[test]
    fn figures_are_exact_or_rounded_down() {
        assert_eq!(bytes(1_023), "1023 bytes");
        assert_eq!(bytes(1_048_575), "1023.9 KiB");
        assert_eq!(bytes(8 << 30), "8.0 GiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(duration(59_999), "59.9 s");
        assert_eq!(duration(3_661_000), "1 h 1 min");
    }

    #[test]
    fn a_rate_needs_two_counts_and_time() {
        assert_eq!(
            rate((0, 0), (10 << 20, 2_000), "bytes").as_deref(),
            Some("5.0 MiB/s")
        );
        assert_eq!(rate((0, 0), (30, 2_000), "paths").as_deref(), Some("15 paths/s"));
        assert_eq!(rate((0, 0), (30, 100), "paths"), None, "too soon");
        assert_eq!(rate((30, 0), (10, 2_000), "paths"), None, "a new count began");
    }

    #[test]
    fn nothing_that_a_program_prints_steers_the_terminal() {
        let (_, text) = of(&Event::Output {
            program: "git".into(),
            line: "a\x1b[2J\rb\nc".into(),
        });
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn actions_are_told_in_words() {
        assert_eq!(action(Phase::Planned).as_deref(), Some("Partition disk"));
        assert_eq!(action(Phase::Installed).as_deref(), Some("Install boot loader"));
        assert_eq!(action(Phase::Landed), None);
        let (_, text) = of(&Event::Found {
            phase: Phase::Planned,
        });
        assert_eq!(text, "Partition disk: already done");
    }

    #[test]
    fn no_percentage_is_ever_printed() {
        let (_, text) = of(&Event::Progress {
            what: "copying".into(),
            done: 50,
            total: Some(100),
            unit: "paths".into(),
        });
        assert_eq!(text, "copying: 50 paths of 100 paths");
    }
}
