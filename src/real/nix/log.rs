//! What Nix prints.
//!
//! Pure. The machine log (`--log-format internal-json`) is parsed line by line into counts and plain messages, sorted by who
//! said them. A line that is not understood is kept as a message. Source of the numbers: `ActivityType` and `ResultType` in
//! Nix's `logging.hh` (2.8 to 2.26).
//!
//! `nix::client` runs Nix, and `tool_errors` says what its errors mean.

use crate::real::tool_errors;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const ACT_COPY_PATH: u64 = 100;
const ACT_FILE_TRANSFER: u64 = 101;
const ACT_COPY_PATHS: u64 = 103;
const ACT_BUILDS: u64 = 104;
const ACT_VERIFY_PATHS: u64 = 107;
const RES_BUILD_LOG_LINE: u64 = 101;
const RES_PROGRESS: u64 = 105;
const RES_SET_EXPECTED: u64 = 106;
const RES_POST_BUILD_LOG_LINE: u64 = 107;
/// Most messages of Nix that are kept for a fault's text.
const MESSAGES_MAX: usize = 200;
/// Most wrong paths of a store that are kept.
const CORRUPT_MAX: usize = 1_000_000;

#[derive(Deserialize)]
struct Line {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    level: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    fields: Vec<serde_json::Value>,
    #[serde(default)]
    msg: String,
    /// The error's own sentence: an error as Nix throws it has it, also one of the configuration's.
    #[serde(default)]
    raw_msg: Option<String>,
    #[serde(default)]
    text: String,
}

impl Line {
    /// Whether this is an error that quotes nothing: what a sentence of Nix's own quotes has a colour.
    fn is_bare(&self) -> bool {
        let coloured = |text: &str| text.contains('\u{1b}');
        coloured(&self.msg) && self.raw_msg.as_deref().is_some_and(|text| !coloured(text))
    }

    /// The message without colours, and without lines that begin as Nix's own errors do and lack their colour: somebody else's text.
    fn own_text(&self) -> String {
        if !self.msg.contains('\u{1b}') {
            return self.msg.clone();
        }
        let own = |line: &&str| !line.trim_start().starts_with("error:");
        strip_colours(&self.msg.lines().filter(own).collect::<Vec<&str>>().join("\n"))
    }
}

/// A count that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub what: &'static str,
    /// Done so far.
    pub done: u64,
    /// Of how many, when known.
    pub total: Option<u64>,
    /// `paths`, `bytes` or `derivations`.
    pub unit: &'static str,
}

/// What a line told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A count.
    Count(Count),
    /// A message or a line of a build log, without colours.
    Message(String),
}

/// Follows one Nix program.
#[derive(Debug, Default)]
pub struct NixProgress {
    kinds: BTreeMap<u64, u64>,
    bytes: BTreeMap<u64, u64>,
    bytes_finished: u64,
    bytes_total: BTreeMap<u64, u64>,
    paths_done: u64,
    paths_total: Option<u64>,
    counts_itself: bool,
    /// Errors and warnings, the last ones.
    messages: Vec<String>,
    /// The same and the logs of builds, by who said it.
    sorted: tool_errors::Said,
    /// Store paths that they found to be wrong.
    corrupt: BTreeSet<String>,
}

impl NixProgress {
    /// Of a Nix that evaluates a configuration, and not only moves paths.
    pub fn of_evaluation() -> Self {
        let mut log = NixProgress::default();
        log.sorted.of_evaluation();
        log
    }

    /// Takes a line.
    pub fn take(&mut self, line: &str) -> Option<Told> {
        let Some(json) = line.strip_prefix("@nix ") else {
            let plain = strip_colours(line);
            self.sorted.child(&plain);
            self.keep(&plain);
            return Some(Told::Message(plain));
        };
        let line: Line = match serde_json::from_str(json) {
            Ok(line) => line,
            Err(e) => {
                tracing::debug!(%e, json, "a line of Nix's machine log was not understood");
                return None;
            }
        };
        match line.action.as_str() {
            "msg" => {
                let plain = strip_colours(&line.msg);
                if line.level <= 1 {
                    let bare = line.is_bare();
                    self.sorted.message(line.level, &line.own_text(), bare);
                    self.keep(&plain);
                }
                (line.level <= 3).then_some(Told::Message(plain))
            }
            "start" => {
                self.kinds.insert(line.id, line.kind);
                let address = line.fields.first().and_then(serde_json::Value::as_str);
                if let (ACT_FILE_TRANSFER, Some(address)) = (line.kind, address) {
                    self.sorted.transfer(address);
                }
                if line.kind == ACT_COPY_PATHS
                    && let Some(total) = line.text.split(' ').nth(1).and_then(|n| n.parse().ok())
                {
                    self.paths_total = Some(total);
                }
                None
            }
            "stop" => {
                let kind = self.kinds.remove(&line.id);
                if let Some(bytes) = self.bytes.remove(&line.id) {
                    self.bytes_finished += bytes;
                }
                if kind == Some(ACT_COPY_PATH) && !self.counts_itself {
                    self.paths_done += 1;
                    return Some(self.paths());
                }
                None
            }
            "result" => self.result(&line),
            _ => None,
        }
    }

    fn result(&mut self, line: &Line) -> Option<Told> {
        let number = |i: usize| line.fields.get(i).and_then(serde_json::Value::as_u64);
        match line.kind {
            RES_BUILD_LOG_LINE | RES_POST_BUILD_LOG_LINE => {
                let text = line.fields.first().and_then(serde_json::Value::as_str)?;
                let plain = strip_colours(text);
                self.sorted.build_line(&plain);
                Some(Told::Message(plain))
            }
            RES_SET_EXPECTED => {
                if let (Some(ACT_COPY_PATH), Some(total)) = (number(0), number(1)) {
                    self.bytes_total.insert(line.id, total);
                }
                None
            }
            RES_PROGRESS => {
                let (done, total) = (number(0)?, number(1)?);
                let known = (total > 0).then_some(total);
                match self.kinds.get(&line.id).copied()? {
                    ACT_COPY_PATHS if total > 0 => {
                        self.counts_itself = true;
                        self.paths_done = done;
                        self.paths_total = known;
                        Some(self.paths())
                    }
                    ACT_BUILDS if total > 0 => Some(Told::Count(Count {
                        what: "building",
                        done,
                        total: known,
                        unit: "derivations",
                    })),
                    ACT_VERIFY_PATHS => Some(Told::Count(Count {
                        what: "verifying",
                        done,
                        total: known,
                        unit: "paths",
                    })),
                    ACT_COPY_PATH | ACT_FILE_TRANSFER => {
                        self.bytes.insert(line.id, done);
                        let done = self.bytes_finished + self.bytes.values().sum::<u64>();
                        let expected = self.bytes_total.values().sum::<u64>();
                        Some(Told::Count(Count {
                            what: "transferring",
                            done,
                            total: (expected >= done).then_some(expected),
                            unit: "bytes",
                        }))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn paths(&self) -> Told {
        Told::Count(Count {
            what: "copying",
            done: self.paths_done,
            total: self.paths_total,
            unit: "paths",
        })
    }

    /// The store paths that all messages so far found to be wrong, also those that are not kept any more.
    pub fn corrupt(&self) -> Vec<String> {
        self.corrupt.iter().cloned().collect()
    }

    fn keep(&mut self, message: &str) {
        if self.corrupt.len() < CORRUPT_MAX {
            self.corrupt.extend(corrupt_paths(message));
        }
        if self.messages.len() == MESSAGES_MAX {
            self.messages.remove(0);
        }
        self.messages.push(message.to_owned());
    }

    /// Everything that was said at warning level or worse.
    pub fn said(&self) -> String {
        self.messages.join("\n")
    }

    /// What it said, by who said it.
    pub fn sorted(&self) -> &tool_errors::Said {
        &self.sorted
    }

    /// The last of it, for a fault's text.
    pub fn last_lines(&self) -> Vec<String> {
        let lines: Vec<&str> = self
            .messages
            .iter()
            .flat_map(|m| m.lines())
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(8))
            .map(|line| (*line).to_owned())
            .collect()
    }
}

/// Without terminal colours (`ESC [ … m`).
fn strip_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The store path that a text begins with, e.g. `/nix/store/<hash>-<name>` of `/nix/store/<hash>-<name>/bin/x'`.
fn store_paths_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("/nix/store/") {
        let rest = &text[at..];
        let name_end = rest["/nix/store/".len()..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-._?=".contains(c)))
            .map_or(rest.len(), |n| n + "/nix/store/".len());
        let candidate = rest[..name_end].trim_end_matches('.');
        if candidate.parse::<landfall_states::names::StorePath>().is_ok() {
            found.push(candidate.to_owned());
        }
    }
    found
}

/// The paths that `nix store verify` found to differ or to be missing, from its messages.
fn corrupt_paths(said: &str) -> Vec<String> {
    let mut paths: Vec<String> = said
        .lines()
        .filter(|line| {
            line.contains("was modified!")
                || line.contains("No such file")
                || line.contains("does not exist")
                || line.contains("Not a directory")
                || line.contains("is corrupt")
                || line.contains("disappeared")
                || line.contains("has an unsupported type")
        })
        .filter_map(|line| store_paths_in(line).into_iter().next())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COPY: &str = r#"@nix {"action":"start","id":1,"level":3,"text":"copying 3 paths","type":103}
@nix {"action":"start","fields":["/nix/store/a","local","local"],"id":2,"level":3,"text":"copying path","type":100}
@nix {"action":"result","fields":[10,20,0,0],"id":2,"type":105}
@nix {"action":"result","fields":[20,20,0,0],"id":2,"type":105}
@nix {"action":"stop","id":2}
@nix {"action":"start","fields":["/nix/store/b","local","local"],"id":3,"level":3,"text":"copying path","type":100}
@nix {"action":"result","fields":[5,7,0,0],"id":3,"type":105}
@nix {"action":"stop","id":3}
@nix {"action":"msg","column":null,"file":null,"level":0,"line":null,"msg":"\u001b[31;1merror:\u001b[0m no","raw_msg":"no"}"#;

    #[test]
    fn paths_and_bytes_are_counted() {
        let mut log = NixProgress::default();
        let told: Vec<String> = COPY
            .lines()
            .filter_map(|l| log.take(l))
            .map(|t| match t {
                Told::Count(c) => format!("{} {}/{:?} {}", c.what, c.done, c.total, c.unit),
                Told::Message(m) => m,
            })
            .collect();
        assert_eq!(
            told,
            [
                "transferring 10/None bytes",
                "transferring 20/None bytes",
                "copying 1/Some(3) paths",
                "transferring 25/None bytes",
                "copying 2/Some(3) paths",
                "error: no"
            ]
        );
        assert_eq!(log.said(), "error: no");
    }

    #[test]
    fn corrupt_and_missing_paths_are_found() {
        let a = "/nix/store/1hyligdilnd1v73rx5x77rghlaqks5q5-a";
        let b = "/nix/store/8fizkwq245ivbv54fbs5l49wg0lfg3ci-b.drv";
        let said = format!(
            "checking '/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-c'...\n\
             path '{a}' was modified! expected hash 'sha256:0', got 'sha256:1'\n\
             error: getting status of '/mnt{b}/bin/x': No such file or directory"
        );
        assert_eq!(corrupt_paths(&said), [a, b]);
        // Nix 2.26.
        assert_eq!(
            corrupt_paths(&format!("error: path '//mnt{b}' does not exist")),
            [b]
        );
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in ".*", json in "@nix \\{.*\\}") {
            let mut log = NixProgress::default();
            log.take(&line);
            log.take(&json);
            let paths = store_paths_in(&line);
            prop_assert!(paths.len() <= line.len());
        }
    }
}
