//! Makes docs/reference/messages.md: every message with its exit code, its class and what to do. A part of `tidy.rs`.
//!
//! The rows come from the typed values: one example of every kind of fault and of every error of a command. A kind without an example
//! fails the test. What to do for a general kind is read from the calls that make it. Refusals of a configuration are made by refusing one.

#[path = "../../states/fault/examples.rs"]
mod examples;
#[path = "messages_of_commands.rs"]
mod of_commands;

use super::documents::kinds_in;
use super::refusals::{Refused, refused};
use super::remedies::{remedies, remedies_of_file};
use super::{root, rust};
use expect_test::expect_file;
use fs_err as fs;
use landfall::doctor::CHECKS;
use landfall::exit::Exit;
use landfall_states::Phase;
use landfall_states::fault::{self, Cause, Ended, Fault, FaultClass, Kind, Limit, Os, Remedy};
use std::collections::BTreeSet;

/// One message.
pub struct Message {
    /// Of which part of landfall.
    pub part: &'static str,
    /// Its name.
    pub kind: String,
    /// The class of a fault.
    pub class: Option<FaultClass>,
    /// The code that landfall ends with.
    pub exit: Exit,
    /// The text.
    pub text: String,
    /// What to do.
    pub next: String,
}

fn of_fault(part: &'static str, kind: String, fault: &Fault) -> Message {
    Message {
        part,
        kind,
        class: Some(fault.class),
        exit: Exit::of(fault),
        text: fault.to_string(),
        next: fault.next(),
    }
}

fn name(fault: &Fault) -> String {
    let value = serde_json::to_value(&*fault.kind).unwrap();
    value["kind"].as_str().unwrap().to_owned()
}

/// A text that stands for a value: the name of its field.
fn placeholder(field: &str) -> String {
    field.to_uppercase()
}

/// A fault of every kind that is not about one thing, with everything that the program gives to do for it.
fn general() -> Vec<(Fault, Vec<String>)> {
    let sources: Vec<(String, String)> = rust(&["src", "states"])
        .into_iter()
        .filter(|(name, _)| {
            !name.ends_with("_tests.rs")
                && !name.starts_with("src/sim/")
                && !name.starts_with("states/fault/text")
        })
        .collect();
    let by_kind = |fault: &Fault| {
        let debug = format!("{:?}", fault.kind);
        let variant: String = debug.chars().take_while(|c| c.is_alphanumeric()).collect();
        match &*fault.kind {
            Kind::Recovery { .. } => remedies_of_file(&sources, "states/recovery.rs"),
            Kind::Program { .. } => remedies(&sources, "Fault::program("),
            Kind::SameEnding { .. } | Kind::RetriesSpent { .. } => {
                vec!["as for the error that is named".to_owned()]
            }
            Kind::Os { .. }
            | Kind::Ending { .. }
            | Kind::ReadBack { .. }
            | Kind::Defect { .. }
            | Kind::Other { .. } => {
                vec![fault.next()]
            }
            _ => remedies(&sources, &format!("Kind::{variant} {{")),
        }
    };
    kinds_of_no_thing()
        .into_iter()
        .map(|fault| {
            let remedies = by_kind(&fault);
            assert!(
                !remedies.is_empty(),
                "nothing to do is found for {:?}",
                fault.kind
            );
            (fault, remedies)
        })
        .collect()
}

#[expect(clippy::too_many_lines, reason = "one row for each kind of fault")]
fn kinds_of_no_thing() -> Vec<Fault> {
    let text = |field: &str| placeholder(field);
    let list = || vec![text("first"), text("second")];
    let ended = || Ended {
        program: text("program"),
        code: Some(151),
        last_lines: vec![text("last_line")],
        note: None,
    };
    let of = |kind| Fault::of(kind, Remedy::resume());
    let last = || {
        Box::new(Kind::ReadBack {
            on: text("on"),
            found: text("found"),
        })
    };
    let mut faults = vec![
        Fault::os(
            text("on"),
            Os {
                doing: Some("read it".into()),
                errno: Some(5),
                said: text("reason"),
            },
        ),
        Fault::os(
            text("on"),
            Os {
                doing: None,
                errno: Some(28),
                said: text("reason"),
            },
        ),
        Fault::os(
            text("on"),
            Os {
                doing: None,
                errno: Some(13),
                said: text("reason"),
            },
        ),
        Fault::program(FaultClass::Permanent, text("on"), ended(), Remedy::resume()),
        Fault::ending(Cause::Unknown, text("on"), ended(), text("line")),
        of(Kind::SameEnding { last: last() }),
        of(Kind::ProgramLimit {
            program: text("program"),
            limit: Limit::Silence,
            limit_s: 152,
        }),
        of(Kind::ProgramLimit {
            program: text("program"),
            limit: Limit::Deadline,
            limit_s: 152,
        }),
        Fault::read_back(text("on"), text("found")),
        of(Kind::OtherDisk {
            disk: text("disk"),
            found: text("found"),
            expected: Some(text("expected")),
        }),
        of(Kind::Twins {
            disk: text("disk"),
            devices: list(),
        }),
        of(Kind::TableChanged {
            disk: text("disk"),
            differences: list(),
        }),
        of(Kind::InUse {
            on: text("on"),
            by: list(),
        }),
        of(Kind::LeftAttached {
            on: text("on"),
            what: list(),
        }),
        of(Kind::ForeignPartition {
            number: 153,
            name: text("name"),
            found: text("found"),
        }),
        of(Kind::ConsentRefused { disk: text("disk") }),
        of(Kind::NoChoice {
            reason: text("reason"),
            disks: list(),
        }),
        of(Kind::AmbiguousName {
            name: text("name"),
            count: 154,
            disks: list(),
        }),
        of(Kind::DiskRefused {
            disk: text("disk"),
            reasons: list(),
        }),
        of(Kind::BootLoader { flaws: list() }),
        of(Kind::Recovery {
            rule: 12,
            on: text("on"),
            reason: text("reason"),
            found: list(),
        }),
        of(Kind::EmptySuccess {
            action: text("action"),
            order: text("order"),
            is_final: true,
        }),
        of(Kind::AttemptLimit {
            phase: Phase::Cloned,
            limit: Limit::Total,
            made: 155,
            max: 156,
        }),
        of(Kind::RetriesSpent {
            last: last(),
            retries: 157,
        }),
        of(Kind::Stopped {
            by: Some(text("signal")),
        }),
        of(Kind::Stopped { by: None }),
        Fault::defect(text("on"), text("detail")),
        of(Kind::OtherPlan {
            on: text("on"),
            detail: text("detail"),
        }),
        of(Kind::Other {
            on: text("on"),
            reason: text("reason"),
            list: vec![],
            class: FaultClass::Transient,
        }),
    ];
    faults.extend([false, true].map(|after_consent| {
        of(Kind::ChangedContents {
            disk: text("disk"),
            after_consent,
        })
    }));
    faults
}

/// Kinds of which there is no message.
fn without_message(kinds: &BTreeSet<String>, messages: &[Message]) -> Vec<String> {
    let told: BTreeSet<&String> = messages.iter().map(|message| &message.kind).collect();
    kinds
        .iter()
        .filter(|kind| !told.contains(kind))
        .cloned()
        .collect()
}

/// Every message that is made of a typed value.
pub fn messages() -> Vec<Message> {
    let mut all = vec![];
    all.extend(general().iter().map(|(fault, remedies)| Message {
        next: remedies.join("\n"),
        ..of_fault("Faults: general", name(fault), fault)
    }));
    let of_things = examples::examples(&placeholder);
    all.extend(
        of_things
            .iter()
            .map(|fault| of_fault("Faults of one thing", name(fault), fault)),
    );
    for cause in Cause::ALL {
        let ended = Ended {
            program: "PROGRAM".into(),
            code: Some(151),
            last_lines: vec!["LAST_LINE".into()],
            note: None,
        };
        let fault = Fault::ending(cause, "ON", ended, "LAST_LINE");
        let name = serde_json::to_value(cause).unwrap();
        all.push(of_fault(
            "Causes of a program's error (`ending`)",
            name.as_str().unwrap().to_owned(),
            &fault,
        ));
    }
    all.extend(of_commands::messages());
    all
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.trim()
        .replace('|', "\\|")
        .replace('<', "\\<")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("<br>")
}

/// The numbers of the examples. They are no limits of the program, so the page has letters in their place.
const NUMBERS: std::ops::RangeInclusive<u64> = 101..=199;
const LETTERS: [&str; 12] = ["N", "M", "K", "L", "P", "Q", "R", "S", "T", "U", "V", "W"];

/// A text with letters in place of the numbers of an example, and words in place of its times.
fn lettered(text: &str) -> String {
    // The clock of the example stands at its number of seconds.
    let text = text
        .replace(
            "1970-01-01T00:01:42Z, which is 1 second too",
            "TIME, which is SPAN too",
        )
        .replace("1970-01-01T00:01:43Z", "FIRST")
        .replace("1970-01-01T00:01:44Z", "LAST")
        .replace("00000000-0000-0000-0000-000000000000", "PARTUUID")
        .replace("exit code 1:", "exit code N:");
    let mut seen: Vec<u64> = vec![];
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        out.push_str(before);
        let alone = !before.ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '.')
            && !after.starts_with(|c: char| c.is_alphanumeric());
        match digits
            .parse::<u64>()
            .ok()
            .filter(|number| alone && NUMBERS.contains(number))
        {
            Some(number) => {
                let index = seen.iter().position(|known| *known == number).unwrap_or_else(|| {
                    seen.push(number);
                    seen.len() - 1
                });
                out.push_str(LETTERS[index]);
            }
            None => out.push_str(digits),
        }
        rest = after;
    }
    out + rest
}

#[test]
fn numbers_of_examples_are_letters() {
    assert_eq!(
        lettered("it has 105 bytes of 106, and 105 %: 4096"),
        "it has N bytes of M, and N %: 4096"
    );
    assert_eq!(lettered("SHA-256, 0600, sda101"), "SHA-256, 0600, sda101");
}

fn page() -> String {
    let mut page = String::from(
        "# Messages\n\n\
         The messages of landfall, with the code that landfall ends with ([exit codes](exit-codes.md)), the class of the fault, and what to \
         do. `tests/tidy.rs` makes this page from the program's own values. Words in CAPITALS and single letters (N, M, K) stand for \
         values. A fault of the class *transient* is retried; the exit code counts when the retries of a run are used up. In the events of a \
         run, a fault has the name in the first column ([faults](faults.md)).\n\n\
         Several lines under *what to do* are for different situations: the program shows one of them, and sometimes a more exact one. \
         `landfall resume` is shown as `landfall install` until an install has started. Notices, which need no action, are not listed.\n",
    );
    let mut part = "";
    for message in messages() {
        // Only the simulation makes this one.
        if message.kind == "other" {
            continue;
        }
        if message.part != part {
            part = message.part;
            page += &format!(
                "\n## {part}\n\n| kind | exit code | class | message | what to do |\n|---|---|---|---|---|\n"
            );
        }
        let Message {
            part: _,
            kind,
            class,
            exit,
            text,
            next,
        } = message;
        let class = class.map_or("–".to_owned(), |class| class.to_string());
        page += &format!(
            "| `{kind}` | {} | {class} | {} | {} |\n",
            exit.code(),
            cell(&lettered(&text)),
            cell(&lettered(&next))
        );
    }
    page += "\n## Configuration\n\n\
         A refused configuration ends with exit code 2, before anything is changed. The message names the file, the line and column, the \
         option and the reason; the next line says what to do. `landfall check FILE` shows all problems at once. Each row is a value that \
         is refused, and what landfall says of it. A value that may be a secret is not repeated.\n\n\
         | option | value | message | what to do |\n|---|---|---|---|\n";
    for Refused {
        option,
        value,
        why,
        next,
    } in refused()
    {
        let value = value
            .replace('\n', "\\n")
            .replace('\u{feff}', "\\ufeff")
            .replace('|', "\\|");
        page += &format!("| `{option}` | `{value}` | {} | {} |\n", cell(&why), cell(&next));
    }
    page += "\n## Checks of `landfall doctor`\n\n\
         The exit code is that of the worst finding, by its class. A check that finds something wrong shows the thing, what is wrong, and \
         the command that helps. The symptoms and what to do: [troubleshooting](../operate/troubleshooting.md).\n\n\
         | check | where | what it examines |\n|---|---|---|\n";
    for check in &CHECKS {
        page += &format!(
            "| `{}` | {} | {} |\n",
            check.name,
            check.place,
            cell(check.looks_at)
        );
    }
    page
}

#[test]
fn every_message_is_in_the_reference() {
    // `UPDATE_EXPECT=1 cargo test --test tidy` writes the page again.
    expect_file!["../../docs/reference/messages.md"].assert_eq(&page());
}

#[test]
fn every_kind_of_fault_has_a_message() {
    let mut kinds = BTreeSet::new();
    let folder = root().join("states/fault/kind");
    let mut sources = vec![fs::read_to_string(root().join("states/fault/kind.rs")).unwrap()];
    for entry in fs::read_dir(folder).unwrap() {
        sources.push(fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    for source in &sources {
        kinds.extend(kinds_in(source));
    }
    assert!(kinds.len() > 150, "{kinds:?}");
    assert_eq!(without_message(&kinds, &messages()), Vec::<String>::new());
    // The control: a kind that was added without a message.
    let added = BTreeSet::from(["a_kind_of_tomorrow".to_owned()]);
    assert_eq!(without_message(&added, &messages()).len(), 1);
}
