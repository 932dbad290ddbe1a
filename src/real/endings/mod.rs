//! How programs end, and what that means. Law: each program has a table of its own endings, and only what the program itself said is looked
//! up in it. What it only quotes (a build's log, a remote's lines, a page of a server, the output of an activation) is told apart first, and
//! has tables of its own that know a few causes and never blame this machine's disk.
//!
//! That a device reports errors, or is full, counts where the sentence names it: the same words about another place mean that place.
//! An ending that no table knows is [`Cause::Unknown`], which is tried once more only.
//!
//! Absent: running programs, and what a filesystem says of its own room (`room`).

mod git;
mod install;
mod make;
mod nix;
mod shared;

pub use git::git;
pub use install::install;
pub use make::make;
pub use nix::{Said, nix, nix_plain};

use landfall_states::fault::{Cause, Ended, Fault};

/// Endings that mean the same.
struct Row {
    /// Any of these in a line, in lower case. `*` stands for anything; a leading `^` for the line's beginning.
    any: &'static [&'static str],
    /// What it means.
    cause: Cause,
}

const fn row(cause: Cause, any: &'static [&'static str]) -> Row {
    Row { any, cause }
}

/// Whether a line in lower case has a pattern.
fn has(line: &str, pattern: &str) -> bool {
    let (anchored, pattern) = match pattern.strip_prefix('^') {
        Some(pattern) => (true, pattern),
        None => (false, pattern),
    };
    let mut rest = line;
    for (i, part) in pattern.split('*').enumerate() {
        if i == 0 && anchored {
            match rest.strip_prefix(part) {
                Some(behind) => rest = behind,
                None => return false,
            }
        } else {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
    }
    true
}

/// The first row that any line has, with the last such line. Rows stand in the order of their weight.
fn first_row<'l>(tables: &[&[Row]], lines: &[&'l str]) -> Option<(Cause, &'l str)> {
    let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    for row in tables.iter().copied().flatten() {
        let hit = lines
            .iter()
            .zip(&lower)
            .rev()
            .find(|(_, lower)| row.any.iter().any(|pattern| has(lower, pattern)));
        if let Some((line, _)) = hit {
            return Some((row.cause, *line));
        }
    }
    None
}

/// The last line that any row has, with that row: of what a program goes on saying after a failure that it survived, the last counts.
fn last_line<'l>(tables: &[&[Row]], lines: &[&'l str]) -> Option<(Cause, &'l str)> {
    lines.iter().rev().find_map(|line| first_row(tables, &[line]))
}

/// What of a machine a sentence may name.
#[derive(Debug, Clone, Copy)]
pub struct Places<'p>(pub &'p [&'p str]);

/// Whose place a sentence names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The target's: its root, or a device that was given.
    Target,
    /// Another one.
    Elsewhere,
    /// None.
    Nothing,
}

impl Places<'_> {
    fn named(self, line: &str) -> Named {
        let mut named = Named::Nothing;
        for (at, _) in line.match_indices('/') {
            // A path begins behind a space, a quotation mark or a bracket; Nix writes a second slash before a store's root.
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "/.-_~:<".contains(c)) {
                continue;
            }
            let path = line[at..].trim_start_matches('/');
            let ours = |place: &&str| {
                let place = place.trim_matches('/');
                path.strip_prefix(place).is_some_and(|rest| {
                    !place.is_empty() && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-')
                })
            };
            if self.0.iter().any(ours) {
                return Named::Target;
            }
            named = Named::Elsewhere;
        }
        named
    }

    /// What a sentence about errors of a device, or about room, means.
    fn of_devices(self, line: &str) -> Option<Cause> {
        let lower = line.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&[
            "input/output error",
            "remote i/o error",
            "disk i/o error",
            "structure needs cleaning",
        ]) {
            return Some(match self.named(line) {
                Named::Target => Cause::TargetErrors,
                Named::Elsewhere => Cause::Medium,
                Named::Nothing => Cause::InputOutput,
            });
        }
        if says(&[
            "no space left on device",
            "disk quota exceeded",
            "database or disk is full",
        ]) {
            return Some(match self.named(line) {
                Named::Target | Named::Nothing => Cause::NoRoom,
                Named::Elsewhere => Cause::NoRoomHere,
            });
        }
        if says(&["read-only file system"]) && self.named(line) == Named::Target {
            return Some(Cause::TargetReadOnly);
        }
        None
    }

    /// The last of these lines that is about errors of a device, or about room.
    fn devices<'l>(self, lines: &[&'l str]) -> Option<(Cause, &'l str)> {
        lines
            .iter()
            .rev()
            .find_map(|line| self.of_devices(line).map(|cause| (cause, *line)))
    }
}

/// The fault of an ending. One that a signal from outside ended says nothing of its work.
fn fault(what: &str, how: Ended, found: Option<(Cause, &str)>, last: Option<&str>) -> Fault {
    let (cause, line) = match found {
        Some((cause, line)) => (cause, line),
        None if how.code.is_none() => (Cause::Killed, last.unwrap_or_default()),
        None => (Cause::Unknown, last.unwrap_or_default()),
    };
    Fault::ending(cause, what, how, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8Path;

    #[test]
    fn a_pattern_is_words_in_their_order() {
        assert!(has("fatal: no space left", "no space"));
        assert!(has(
            "failed to create a: no space left",
            "^failed to create*no space"
        ));
        assert!(!has(
            "it failed to create a: no space left",
            "^failed to create*no space"
        ));
        assert!(!has("no space: failed to create", "failed to create*no space"));
    }

    #[test]
    fn a_device_counts_where_it_is_named() {
        let root = Utf8Path::new("/mnt");
        let places = Places(&[root.as_str()]);
        for (line, cause) in [
            (
                "error: reading '/mnt/nix/x': Input/output error",
                Some(Cause::TargetErrors),
            ),
            (
                "error: reading '//mnt/nix/x': Input/output error",
                Some(Cause::TargetErrors),
            ),
            (
                "error: reading '/nix/store/x': Input/output error",
                Some(Cause::Medium),
            ),
            (
                "error: reading '/mnt-of-another/x': Input/output error",
                Some(Cause::Medium),
            ),
            (
                "error: writing to file: Input/output error",
                Some(Cause::InputOutput),
            ),
            (
                "error: writing to file: No space left on device",
                Some(Cause::NoRoom),
            ),
            (
                "error: writing '/tmp/x': No space left on device",
                Some(Cause::NoRoomHere),
            ),
            (
                "could not open '/mnt/x': Read-only file system",
                Some(Cause::TargetReadOnly),
            ),
            ("could not open '/x': Read-only file system", None),
            ("error: unable to download 'https://mnt/x'", None),
        ] {
            assert_eq!(places.of_devices(line), cause, "{line}");
        }
    }
}
