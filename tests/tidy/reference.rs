//! The generated parts of the reference that no program prints: events and limits.
//!
//! What they say comes from the source and from the golden files; `UPDATE_EXPECT=1 cargo test --test tidy` writes them again.

use super::{files, is_test, root, rust};
use expect_test::expect_file;
use fs_err as fs;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A variant or a field: its name in the bytes, and its words.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Item {
    name: String,
    words: String,
    optional: bool,
}

/// An event, with its fields.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    of: Item,
    fields: Vec<Item>,
}

/// The variants of an enum (or the fields of a struct, as one event) whose declaration begins with `head`.
fn events_in(source: &str, head: &str) -> Vec<Event> {
    let Some((_, body)) = source.split_once(head) else {
        return vec![];
    };
    let body = body.split("\n}").next().unwrap_or("");
    let mut events: Vec<Event> = Vec::new();
    let mut item = Item::default();
    for line in body.lines() {
        let depth = line.len() - line.trim_start().len();
        let word = line.trim();
        if let Some(words) = word.strip_prefix("/// ") {
            item.words = format!("{} {words}", item.words).trim().to_owned();
        } else if let Some((_, rest)) = word.split_once("rename = \"") {
            item.name = rest.split('"').next().unwrap_or("").to_owned();
            item.optional |= word.contains("skip_serializing_if");
        } else if word.ends_with(',') || word.ends_with('{') {
            item.optional |= word.contains("Option<");
            let item = std::mem::take(&mut item);
            if item.name.is_empty() {
                continue;
            }
            match events.last_mut() {
                Some(event) if depth > 4 => event.fields.push(item),
                _ => events.push(Event {
                    of: item,
                    fields: vec![],
                }),
            }
        }
    }
    events
}

fn fields(of: &[Item]) -> String {
    if of.is_empty() {
        return "none".to_owned();
    }
    of.iter()
        .map(
            |Item {
                 name,
                 words,
                 optional,
             }| {
                let may = if *optional {
                    " (may be missing or null)"
                } else {
                    ""
                };
                format!("`{name}`{may}: {}", words.trim_end_matches('.'))
            },
        )
        .collect::<Vec<_>>()
        .join("; ")
}

fn events_markdown(source: &str, golden: &[String]) -> String {
    let mut text = String::from(
        "# Events\n\n\
         What a run tells programs. `landfall install --progress json` prints one JSON object on each line. The log has the same lines: \
         `/run/landfall/log.jsonl` while it installs, `/var/log/landfall/install.jsonl` on the installed host, which is copied before `landed`, its last line; `landfall log --json` shows it. \
         This file is made from `src/event.rs` and `tests/golden/events-2`, and `tests/tidy` keeps it equal.\n\n\
         Each object has `event`, the name in the first column, and `at_ms`, the milliseconds since the machine was started. Fields, events and kinds \
         of faults are only ever added ([formats.md](../design/formats.md)): a reader ignores what it does not know. Texts (`what`, `why`, \
         `next`) are for people and may change; a program reads `class`, `kind` and `values`.\n\n\
         | event | when | fields |\n|---|---|---|\n",
    );
    // Writing to a string cannot fail.
    for Event { of, fields: inside } in events_in(source, "pub enum Event {\n") {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            of.name,
            of.words.trim_end_matches('.'),
            fields(inside.as_slice())
        );
    }
    text.push_str(
        "\nA phase is one of `Planned`, `Partitioned`, `Anchored`, `Encrypted`, `Formatted`, `Cloned`, `Realised`, `Installed`, `Bootable`, \
         `Provisioned`, `Landed` ([what each means](../../ARCHITECTURE.md#birds-eye-view)).\n\n\
         ## Faults in events\n\n\
         The field `fault` of `failed` and `stopped` is an object:\n\n\
         | field | meaning |\n|---|---|\n\
         | `class` | `Transient`, `NeedsChange`, `Permanent`, `Hardware`, `Unsafe` or `Interrupted`. It decides the [exit code](exit-codes.md) |\n\
         | `what`, `why`, `next` | the thing, the reason and the next command, as text |\n\
         | `retry_after_s` | seconds to wait before a retry, where they are known |\n",
    );
    for event in events_in(source, "pub struct FaultTold {\n") {
        let _ = writeln!(text, "| `{}` | {} |", event.of.name, event.of.words);
    }
    text.push_str(
        "\nEvery kind: [faults.md](faults.md). `values` has, for example, `errno` and `doing` of the kind `os`; `program`, `exit_code` and \
         `last_lines` of `program`; `on` and `by` of `in_use`. `remedy` is `{\"command\": …}`, `{\"change\": {\"first\": …, \"command\": …}}` \
         or `{\"words\": …}`. `tests/golden/events-2/every-fault.jsonl` and `every-fault-of-one-thing.jsonl` have every kind with its values.\n\n\
         ## One of each\n\n```json\n",
    );
    for line in golden {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("```\n");
    text
}

/// The first golden line of each event.
fn first_of_each(lines: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut kept = Vec::new();
    for line in lines.lines() {
        let name = line
            .split_once("\"event\":\"")
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or("")
            .to_owned();
        if !seen.contains(&name) {
            seen.push(name);
            kept.push(line.to_owned());
        }
    }
    kept
}

#[test]
fn the_events_are_what_the_source_says() {
    let source = fs::read_to_string(root().join("src/event.rs")).unwrap();
    // Events that came later have a file of their own.
    let golden: String = ["every-event.jsonl", "later-ends.jsonl"]
        .iter()
        .map(|name| fs::read_to_string(root().join("tests/golden/events-2").join(name)).unwrap())
        .collect();
    let samples = first_of_each(&golden);
    let events = events_in(&source, "pub enum Event {\n");
    // Every event of the source has a sample, and every sample is of an event.
    assert_eq!(events.len(), samples.len(), "{events:#?}");
    assert!(
        events
            .iter()
            .all(|event| !event.of.words.is_empty()
                && event.fields.iter().all(|field| !field.words.is_empty()))
    );
    expect_file!["../../docs/reference/events.md"].assert_eq(&events_markdown(&source, &samples));
    // The control: an event that is added changes the text.
    let more = source.replace(
        "    /// The install is finished.\n",
        "    /// It.\n    #[serde(rename = \"new\")]\n    New {\n        /// X.\n        #[serde(rename = \"x\")]\n        x: u8,\n    },\n    /// The install is finished.\n",
    );
    assert_eq!(events_in(&more, "pub enum Event {\n").len(), events.len() + 1);
    assert!(events_markdown(&more, &samples).contains("| `new` | It | `x`: X |"));
}

/// A limit in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    file: String,
    name: String,
    kind: String,
    value: String,
    words: String,
}

/// What names a limit or a time-out, by the last words of the name.
const ENDS: [&str; 13] = [
    "_MAX",
    "_MIN",
    "DEADLINE",
    "GRACE",
    "_EVERY",
    "_WAIT",
    "_WITHIN",
    "QUESTION",
    "_FIRST",
    "_MAX_S",
    "_MIN_S",
    "_EVERY_MS",
    "STRETCH",
];

/// Constants of a source outside its functions and tests.
fn constants(file: &str, text: &str) -> Vec<Limit> {
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    let mut found = Vec::new();
    let mut words = String::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("///") {
            words = format!("{words} {}", comment.trim()).trim().to_owned();
            continue;
        }
        let declared = line
            .strip_prefix("pub(crate) ")
            .or(line.strip_prefix("pub(super) "));
        let declared = declared.or(line.strip_prefix("pub ")).unwrap_or(line);
        if let Some(rest) = declared.strip_prefix("const ") {
            let mut whole = rest.to_owned();
            while !whole.ends_with(';') {
                match lines.next() {
                    Some(more) => whole = format!("{whole} {}", more.trim()),
                    None => break,
                }
            }
            if let Some((name, rest)) = whole.split_once(": ")
                && let Some((kind, value)) = rest.trim_end_matches(';').split_once(" = ")
            {
                found.push(Limit {
                    file: file.to_owned(),
                    name: name.to_owned(),
                    kind: kind.to_owned(),
                    value: value.to_owned(),
                    words: std::mem::take(&mut words),
                });
            }
        }
        if !line.starts_with("#[") {
            words.clear();
        }
    }
    found
}

fn is_limit(limit: &Limit) -> bool {
    let number =
        ["u8", "u16", "u32", "u64", "usize", "i64", "f64", "Duration"].contains(&limit.kind.as_str());
    number && ENDS.iter().any(|end| limit.name.ends_with(end))
}

/// What a name in an expression stands for.
type Known<'k> = &'k dyn Fn(&str) -> Option<u128>;

/// The number of an expression of whole numbers, constants, `+ - * <<`, brackets and `as`.
fn number(expression: &str, constants: Known) -> Option<u128> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (value, rest) = sum(&words, constants)?;
    rest.is_empty().then_some(value)
}

type Parsed<'a> = Option<(u128, &'a [&'a str])>;

fn sum<'a>(words: &'a [&'a str], constants: Known) -> Parsed<'a> {
    let (mut value, mut rest) = product(words, constants)?;
    // Rust binds `<<` less than `+`; the source has them in brackets where that matters.
    while let Some(sign @ (&"+" | &"-" | &"<<" | &">>")) = rest.first() {
        let (more, after) = product(&rest[1..], constants)?;
        value = match *sign {
            "+" => value.checked_add(more)?,
            "-" => value.checked_sub(more)?,
            "<<" => value.checked_shl(more.try_into().ok()?)?,
            _ => value >> more,
        };
        rest = after;
    }
    Some((value, rest))
}

fn product<'a>(words: &'a [&'a str], constants: Known) -> Parsed<'a> {
    let (mut value, mut rest) = one(words, constants)?;
    while let Some(sign @ (&"*" | &"/" | &"as")) = rest.first() {
        if *sign == "as" {
            rest = rest.get(2..)?;
            continue;
        }
        let (more, after) = one(&rest[1..], constants)?;
        value = if *sign == "*" {
            value.checked_mul(more)?
        } else {
            value.checked_div(more)?
        };
        rest = after;
    }
    Some((value, rest))
}

fn one<'a>(words: &'a [&'a str], constants: Known) -> Parsed<'a> {
    match words {
        ["(", inside @ ..] => {
            let (value, rest) = sum(inside, constants)?;
            (rest.first() == Some(&")")).then(|| (value, &rest[1..]))
        }
        ["u64::MAX", rest @ ..] => Some((u128::from(u64::MAX), rest)),
        [word, rest @ ..] => {
            let digits = word.replace('_', "");
            let value = digits
                .parse()
                .ok()
                .or_else(|| constants(word.rsplit("::").next().unwrap_or(word)))?;
            Some((value, rest))
        }
        [] => None,
    }
}

/// A value with its unit: as the source has it where it is no number.
fn shown(limit: &Limit, constants: Known) -> String {
    let plain = || format!("`{}`", limit.value);
    if limit.kind == "Duration" {
        let millis = ["from_secs(", "from_millis("].iter().find_map(|maker| {
            let inside = limit.value.split_once(maker)?.1.strip_suffix(')')?;
            let value = number(inside, constants)?;
            Some(if *maker == "from_secs(" {
                value * 1000
            } else {
                value
            })
        });
        return millis.map_or_else(plain, duration);
    }
    let Some(value) = number(&limit.value, constants) else {
        return plain();
    };
    let name = &limit.name;
    if name.ends_with("_MS") {
        duration(value)
    } else if name == "CLOCK_MIN_S" || name == "CLOCK_MAX_S" {
        format!("{} s since 1970", grouped(value))
    } else if name.ends_with("_S") {
        duration(value * 1000)
    } else if name.contains("BYTES")
        || ["SIZE_MIN", "LUKS_MEMORY_MAX", "LVM_TEXT_MAX"].contains(&name.as_str())
    {
        bytes(value)
    } else if name.contains("CHARS") {
        format!("{} characters", grouped(value))
    } else if name.contains("LINES") {
        format!("{value} lines")
    } else if name.contains("MINUTES") {
        format!("{} minutes", grouped(value))
    } else if name.contains("PERCENT") {
        format!("{value} %")
    } else {
        grouped(value)
    }
}

/// `1000000` → `1,000,000`.
fn grouped(value: u128) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(millis: u128) -> String {
    let seconds = millis / 1000;
    match millis {
        _ if !millis.is_multiple_of(1000) => format!("{millis} ms"),
        _ if seconds == 86_400 => "1 day".to_owned(),
        _ if seconds.is_multiple_of(86_400) && seconds > 0 => format!("{} days", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) && seconds > 0 => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) && seconds > 60 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn bytes(value: u128) -> String {
    for (unit, size) in [("GiB", 1_u128 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if value >= size && value.is_multiple_of(size) {
            return format!("{} {unit}", value / size);
        }
    }
    format!("{value} bytes")
}

/// Headings of the document, by where the limits are.
const ROOMS: [(&str, &str); 11] = [
    ("The command line", "src/cli"),
    ("The configuration", "src/config"),
    ("Texts and names that are shown", "states/untrusted_text.rs"),
    ("The plan and the checkpoint", "states"),
    (
        "The driver and what it knows of the machine",
        "src/driver.rs src/world.rs src/lock src/os_error.rs src/qr.rs",
    ),
    ("The install", "src/real"),
    ("Images", "src/image"),
    ("Sticks", "src/flash"),
    ("Hosts of a flake", "src/hosts"),
    ("Moving from UUIDs to labels", "src/relabel"),
    ("The doctor", "src/doctor"),
];

fn room(file: &str) -> usize {
    ROOMS
        .iter()
        .position(|(_, places)| places.split(' ').any(|place| file.starts_with(place)))
        .unwrap_or(ROOMS.len())
}

/// Numbers by file and name.
type Values = BTreeMap<(String, String), u128>;

/// A constant of the same file goes before one of another.
fn known(values: &Values, file: &str, name: &str) -> Option<u128> {
    let of = |file: &str| values.get(&(file.to_owned(), name.to_owned())).copied();
    of(file).or_else(|| {
        let mut others = values.iter().filter(|((_, other), _)| other == name);
        let first = *others.next()?.1;
        others.all(|(_, value)| *value == first).then_some(first)
    })
}

fn all_limits(sources: &[(String, String)]) -> (Vec<Limit>, Values) {
    let all: Vec<Limit> = sources
        .iter()
        .filter(|(name, _)| !is_test(name) && !name.starts_with("src/sim/"))
        .flat_map(|(name, text)| constants(name, text))
        .collect();
    // Constants of constants: three rounds are enough, and what is left stands as the source has it.
    let mut values = Values::new();
    for _ in 0..3 {
        for limit in &all {
            if limit.kind != "Duration"
                && let Some(value) = number(&limit.value, &|name| known(&values, &limit.file, name))
            {
                values.insert((limit.file.clone(), limit.name.clone()), value);
            }
        }
    }
    let mut limits: Vec<Limit> = all.into_iter().filter(is_limit).collect();
    limits.sort_by(|a, b| (room(&a.file), &a.file, &a.name).cmp(&(room(&b.file), &b.file, &b.name)));
    (limits, values)
}

fn limits_markdown(limits: &[Limit], values: &Values) -> String {
    let mut text = String::from(
        "# Limits\n\n\
         Every limit and every time-out in landfall: what it bounds, its value, its name, and the file that sets it. Sizes are powers of 1024. \
         This file is made from the source, and `tests/tidy` keeps it equal. Most limits are far above what a real machine needs: they bound \
         what a damaged disk or somebody else's server can make landfall do.\n\n\
         Limits that you set yourself are options, with their ranges in [configuration.md](configuration.md): attempts and waits (`retry.*`), \
         downloads and builds (`nix.*_s`), how long an unattended install waits for a key (`ssh.generate_wait_s`), the cost of a guess at the \
         passphrase (`luks.*`). The memory that programs may take is in [operations.md](../operate/operations.md#memory-of-programs).\n",
    );
    let mut last = usize::MAX;
    for limit in limits {
        let room = room(&limit.file);
        if room != last {
            let title = ROOMS.get(room).map_or("Other", |(title, _)| title);
            let _ = write!(
                text,
                "\n## {title}\n\n| what | value | name | set in |\n|---|---|---|---|\n"
            );
            last = room;
        }
        let words = limit.words.trim_end_matches('.').replace('|', "\\|");
        let _ = writeln!(
            text,
            "| {words} | {} | `{}` | `{}` |",
            shown(limit, &|name| known(values, &limit.file, name)),
            limit.name,
            limit.file
        );
    }
    text
}

#[test]
fn the_limits_are_what_the_source_says() {
    let sources = rust(&["src", "states"]);
    let (limits, values) = all_limits(&sources);
    assert!(limits.len() > 150, "{}", limits.len());
    let silent: Vec<_> = limits.iter().filter(|limit| limit.words.is_empty()).collect();
    assert!(
        silent.is_empty(),
        "limits without a word of what they bound: {silent:#?}"
    );
    let text = limits_markdown(&limits, &values);
    expect_file!["../../docs/reference/limits.md"].assert_eq(&text);
    // The controls: a changed value and a new limit change the text; a constant that is none does not.
    let sample = |code: &str| {
        let (limits, values) = all_limits(&[("src/real/a.rs".to_owned(), code.to_owned())]);
        limits_markdown(&limits, &values)
    };
    let before = sample("/// Longest line.\nconst LINE_BYTES_MAX: usize = 64 << 10;\n");
    assert!(
        before.contains("| Longest line | 64 KiB | `LINE_BYTES_MAX` | `src/real/a.rs` |"),
        "{before}"
    );
    assert_ne!(
        before,
        sample("/// Longest line.\nconst LINE_BYTES_MAX: usize = 65 << 10;\n")
    );
    let waits = sample(
        "/// How long.\npub const WAIT_MAX: Duration =\n    Duration::from_secs(30 * 60);\nconst MAGIC: u32 = 7;\n",
    );
    assert!(waits.contains("| How long | 30 min |"), "{waits}");
    assert!(!waits.contains("MAGIC"));
    let of_another = sample("const MIB: u64 = 1 << 20;\n/// X.\nconst HEAD_BYTES_MAX: u64 = 8 * MIB;\n");
    assert!(of_another.contains("| X | 8 MiB |"), "{of_another}");
}

#[test]
fn the_reference_is_whole() {
    let names: Vec<String> = files(&["docs/reference"], &["md"])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for wanted in [
        "cli",
        "options",
        "configuration",
        "exit-codes",
        "faults",
        "messages",
        "events",
        "limits",
    ] {
        assert!(
            names.contains(&format!("docs/reference/{wanted}.md")),
            "{wanted} is not in {names:?}"
        );
    }
}
