//! The words of a fault. They are made only here.
//!
//! Pure. The thing comes first, then what is wrong, then what to do. A list stays a list until it has to become a line. What
//! a fault quotes was chosen by others (programs, file names, labels): control characters in it never leave this module, so a
//! text is one line and moves no cursor. Only people read these words; nothing decides by them.
//!
//! The words about one thing are in a file for that thing, beside what to do about it.

mod cause;
mod config;
mod device;
mod image;
mod machine;
mod place;
mod room;
mod secret;
mod source;
mod store;

use super::kind::{Ended, Kind, Limit, Os};
use super::{Fault, FaultRecord};
use crate::untrusted_text::Shown;
use std::fmt;

/// The words of a kind.
struct Words {
    /// The thing and its value.
    what: String,
    /// The reason.
    why: String,
    /// What the reason is about.
    list: Vec<String>,
    /// What stands behind the list.
    behind: String,
}

impl Words {
    fn of(what: impl Into<String>, why: impl Into<String>) -> Words {
        Words {
            what: what.into(),
            why: why.into(),
            list: vec![],
            behind: String::new(),
        }
    }

    fn listing(self, list: &[String]) -> Words {
        Words {
            list: list.to_vec(),
            ..self
        }
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.doing {
            Some(doing) => write!(f, "could not {doing}: {}", self.said),
            None => f.write_str(&self.said),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended {
            program,
            code,
            last_lines,
            note,
        } = self;
        match code {
            Some(code) => write!(f, "{program} ended with exit code {code}: ")?,
            None => write!(f, "{program} was ended by a signal: ")?,
        }
        f.write_str(&last_lines.join(" | "))?;
        match note {
            Some(note) => write!(f, "{note}"),
            None => Ok(()),
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
fn words(kind: &Kind) -> Words {
    let of = |what: &str, why: &str| Words::of(what, why);
    match kind {
        Kind::Os { on, os } => Words::of(on, os.to_string()),
        Kind::Program { on, ended, class: _ } => Words::of(on, ended.to_string()),
        Kind::Ending {
            on,
            ended,
            cause,
            line: said,
        } => {
            let quoted = ended.last_lines.iter().any(|last| last.contains(said.as_str()));
            let said = if quoted || said.is_empty() {
                String::new()
            } else {
                format!("{said}; ")
            };
            Words::of(on, format!("{}: {said}{ended}", cause.explained()))
        }
        Kind::SameEnding { last } => Words {
            behind: " (the previous attempt ended the same way; a retry without a change would too)".into(),
            ..words(last)
        },
        Kind::ProgramLimit {
            program,
            limit,
            limit_s,
        } => {
            let how = match limit {
                Limit::Silence => "it printed nothing for too long",
                Limit::Deadline | Limit::Phase | Limit::Total => "it did not end in time",
            };
            Words::of(
                format!("program {program}"),
                format!("{how}: the limit is {limit_s} s"),
            )
        }
        Kind::ReadBack { on, found } => of(on, found),
        Kind::OtherDisk {
            disk,
            found,
            expected,
        } => {
            let wanted = expected
                .as_ref()
                .map_or(String::new(), |wanted| format!(", expected {wanted}"));
            Words::of(disk, format!("this is a different disk: found {found}{wanted}"))
        }
        Kind::Twins { disk, devices } => Words::of(
            disk,
            format!(
                "{} {} report this identity",
                devices.join(" and "),
                if devices.len() == 2 { "both" } else { "all" }
            ),
        ),
        Kind::TableChanged { disk, differences } => Words::of(
            format!("partition table of {disk}"),
            "it changed after this install wrote it",
        )
        .listing(differences),
        Kind::InUse { on, by } => of(on, "it is in use").listing(by),
        Kind::LeftAttached { on, what } => of(on, "an earlier run left these mounted or open").listing(what),
        Kind::ForeignPartition { number, name, found } => Words::of(
            format!("partition {number} ({name})"),
            format!("it holds something that this install did not make: {found}"),
        ),
        Kind::ChangedContents { disk, after_consent } => of(
            disk,
            if *after_consent {
                "what is on it changed after the consent was given"
            } else {
                "what is on it keeps changing while consent is asked for"
            },
        ),
        Kind::ConsentRefused { disk } => of(disk, "consent to erase it was refused; nothing was written"),
        Kind::NoChoice { reason, disks } => of("choice of the disk", reason).listing(disks),
        Kind::AmbiguousName { name, count, disks } => Words::of(
            format!("disk \"{name}\""),
            format!("{count} disks answer to this name"),
        )
        .listing(disks),
        Kind::DiskRefused { disk, reasons } => of(disk, "it cannot be installed on").listing(reasons),
        Kind::BootLoader { flaws } => of("boot loader on the ESP", "it is not right").listing(flaws),
        Kind::Recovery {
            rule: _,
            on,
            reason,
            found,
        } => of(on, reason).listing(found),
        Kind::EmptySuccess {
            action,
            order,
            is_final: _,
        } => Words::of(
            format!("action {action}"),
            format!("it reported success, but looking shows that it is not done: {order}"),
        ),
        Kind::AttemptLimit {
            phase,
            limit,
            made,
            max,
        } => {
            let where_ = match limit {
                Limit::Total => "in total",
                Limit::Phase | Limit::Deadline | Limit::Silence => "at this phase",
            };
            Words::of(
                format!("attempt limit ({phase})"),
                format!("{made} attempts {where_} were made, the limit is {max}"),
            )
        }
        Kind::RetriesSpent { last, retries } => Words {
            behind: format!(" (after {retries} retries in this run)"),
            ..words(last)
        },
        Kind::Stopped { by: Some(by) } => {
            Words::of("landfall", format!("stopped by {by}; everything is saved"))
        }
        Kind::Stopped { by: None } => of("landfall", "a stop was asked for; everything is saved"),
        Kind::Defect { on, detail } | Kind::OtherPlan { on, detail } => of(on, detail),
        Kind::Other {
            on,
            reason,
            list,
            class: _,
        } => of(on, reason).listing(list),
        Kind::Machine(fault) => fault.words(),
        Kind::Place(fault) => fault.words(),
        Kind::Device(fault) => fault.words(),
        Kind::Room(fault) => fault.words(),
        Kind::Config(fault) => fault.words(),
        Kind::Source(fault) => fault.words(),
        Kind::Image(fault) => fault.words(),
        Kind::Secret(fault) => fault.words(),
        Kind::Store(fault) => fault.words(),
    }
}

/// On one line, whatever it quotes.
fn line(text: &str) -> String {
    Shown::line(text.trim_matches(char::is_control)).into()
}

impl Kind {
    /// The thing and its value, e.g. `clone of https://…`.
    pub fn what(&self) -> String {
        line(&words(self).what)
    }
}

impl Fault {
    /// The thing and its value, e.g. `clone of https://…`.
    pub fn what(&self) -> String {
        self.kind.what()
    }

    /// The reason, on one line.
    pub fn why(&self) -> String {
        let Words {
            what: _,
            why,
            list,
            behind,
        } = words(&self.kind);
        line(&match list.is_empty() {
            true => format!("{why}{behind}"),
            false => format!("{why}: {}{behind}", list.join("; ")),
        })
    }

    /// The reason and what it is about, a line each, for whoever has room.
    pub fn reasons(&self) -> (String, Vec<String>) {
        let Words {
            what: _,
            why,
            list,
            behind,
        } = words(&self.kind);
        let list = list.iter().map(|text| line(text)).collect();
        (line(&format!("{why}{behind}")), list)
    }

    /// The next command or change, as a person would type or do it.
    pub fn next(&self) -> String {
        line(&self.remedy.to_string())
    }

    /// What is kept of it in a checkpoint and told in events.
    pub fn record(&self) -> FaultRecord {
        FaultRecord {
            class: self.class,
            what: self.what(),
            why: self.why(),
            next: self.next(),
            wait_s: self.wait_s,
            ending: self.ending_mark(),
        }
    }
}
