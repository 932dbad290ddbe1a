//! How programs end, and what that means.
//!
//! Each program has a table of its own errors, and only sentences of the program itself are looked up in it, as a whole. A
//! table holds templates of sentences, never words that may stand anywhere, because names of files, addresses, values and
//! messages of other people stand in the same lines. What a program only quotes (a build's log, a remote's lines, a page of a
//! server, the output of an activation) is separated first. It has tables of its own, which know a few causes and never blame
//! this machine's disk.
//!
//! That a device reports errors, or is full, counts if the sentence names it: the same words about another place mean that
//! place. An error that is in no table is [`Cause::Unknown`], which is tried only once more.
//!
//! `process::command` runs programs, and `volume::free_space` asks a filesystem for its free space.

mod forge_says;
mod git;
mod git_says;
mod install;
mod make;
mod nix;
mod nix_cache_says;
mod nix_database_says;
mod nix_says;
mod shared;
mod ssh_says;

pub use git::{git, is_of_forge, of_ssh};
pub use install::install;
pub use make::make;
pub use nix::{Said, nix, nix_plain};

use landfall_states::fault::{Cause, Ended, Fault};

/// Endings that mean the same.
struct Row {
    /// Any of these templates, see [`fits`].
    any: &'static [&'static str],
    /// What it means.
    cause: Cause,
}

const fn row(cause: Cause, any: &'static [&'static str]) -> Row {
    Row { any, cause }
}

/// Whether a sentence in lower case is that of a template, as a whole. In a template `*` stands for any text, and `~` for a word without white
/// space and quotation marks (an address, a store path, a number): what a program quotes may hold any words, and decides nothing.
#[expect(
    clippy::indexing_slicing,
    reason = "`fixed` and `last` are places in the template; `ends` and `next` have one element more than the sentence, which is not shorter than `fixed`"
)]
fn fits(sentence: &str, template: &str) -> bool {
    let (sentence, template) = (sentence.as_bytes(), template.as_bytes());
    let is_hole = |c: &u8| matches!(c, b'*' | b'~');
    let fixed = template.iter().position(is_hole);
    let Some(fixed) = fixed else {
        return sentence == template;
    };
    let last = template.iter().rposition(is_hole).unwrap_or(fixed);
    if !sentence.starts_with(&template[..fixed]) || !sentence.ends_with(&template[last + 1..]) {
        return false;
    }
    let of_word = |c: u8| !c.is_ascii_whitespace() && !matches!(c, b'\'' | b'"');
    // Where in the sentence what was read of the template may end.
    let mut ends = vec![false; sentence.len() + 1];
    ends[fixed] = true;
    for part in &template[fixed..] {
        let mut next = vec![false; ends.len()];
        let mut open = false;
        for at in 0..ends.len() {
            let read = at.checked_sub(1).and_then(|before| sentence.get(before).copied());
            match part {
                b'*' => {
                    open |= ends[at];
                    next[at] = open;
                }
                b'~' => {
                    open = read.is_some_and(|c| of_word(c) && (open || ends[at - 1]));
                    next[at] = open;
                }
                fixed => next[at] = read == Some(*fixed) && ends[at - 1],
            }
        }
        ends = next;
    }
    ends.last().copied().unwrap_or_default()
}

/// Whether a sentence is that of any template.
fn is_any(sentence: &str, templates: &[&str]) -> bool {
    let lower = sentence.to_lowercase();
    templates.iter().any(|template| fits(&lower, template))
}

/// The first row that any line has, with the last such line. Rows stand in the order of their weight.
fn first_row<'l>(tables: &[&[Row]], lines: &[&'l str]) -> Option<(Cause, &'l str)> {
    let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    for row in tables.iter().copied().flatten() {
        let hit = lines
            .iter()
            .zip(&lower)
            .rev()
            .find(|(_, lower)| row.any.iter().any(|template| fits(lower, template)));
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

/// The paths of a sentence, without the slashes that they begin with.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices('/').filter_map(|(at, _)| {
        let (before, path) = line.split_at_checked(at)?;
        // A path begins behind a space, a quotation mark or a bracket; Nix writes a second slash before a store's root.
        let goes_on = |c: char| c.is_alphanumeric() || "/.-_~:<".contains(c);
        (!before.ends_with(goes_on)).then(|| path.trim_start_matches('/'))
    })
}

/// Whether a sentence is one of `says`, with one of these reasons of the system's behind it.
fn gives_reason(line: &str, says: &[&str], reasons: &[&str]) -> bool {
    let lower = line.to_lowercase();
    let lower = lower.trim_end_matches('.');
    reasons.iter().any(|reason| {
        lower
            .strip_suffix(reason)
            .and_then(|head| head.strip_suffix(": "))
            .is_some_and(|head| says.iter().any(|template| fits(head, template)))
    })
}

impl Places<'_> {
    fn named(self, line: &str) -> Named {
        let mut named = Named::Nothing;
        for path in paths(line) {
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

    /// What a sentence about errors of a device means.
    fn of_errors(self, line: &str) -> Cause {
        match self.named(line) {
            Named::Target => Cause::TargetErrors,
            Named::Elsewhere => Cause::Medium,
            Named::Nothing => Cause::InputOutput,
        }
    }

    /// What a sentence about room means.
    fn of_room(self, line: &str) -> Cause {
        match self.named(line) {
            Named::Target | Named::Nothing => Cause::NoRoom,
            Named::Elsewhere => Cause::NoRoomHere,
        }
    }

    /// What a sentence about errors of a device, or about room, means. `says`: those of a program that end with what the system said.
    fn of_devices(self, line: &str, says: &[&str]) -> Option<Cause> {
        let ends = |reasons: &[&str]| gives_reason(line, says, reasons);
        if ends(ERRORS) {
            return Some(self.of_errors(line));
        }
        // A filesystem that is damaged, which is no error of its device.
        if ends(UNCLEAN) {
            return Some(match self.named(line) {
                Named::Target | Named::Nothing => Cause::Damaged,
                Named::Elsewhere => Cause::Medium,
            });
        }
        if ends(FULL) {
            return Some(self.of_room(line));
        }
        // A build and a configuration have files elsewhere that are theirs to mend.
        if self.named(line) != Named::Elsewhere {
            if ends(FORBIDDEN) {
                return Some(Cause::Forbidden);
            }
            if ends(IN_THE_WAY) {
                return Some(Cause::InTheWay);
            }
        }
        // What does not say where is written may be the target or not: a device is blamed by name.
        match self.named(line) {
            _ if !ends(READ_ONLY) => None,
            Named::Target => Some(Cause::TargetReadOnly),
            Named::Nothing => Some(Cause::InputOutput),
            Named::Elsewhere => None,
        }
    }

    /// Whether a sentence names the store that the installer itself runs from, and not the target.
    fn is_store_of_installer(self, line: &str) -> bool {
        let is_store = |path: &str| {
            ["nix/store/", "nix/var/"]
                .iter()
                .any(|begin| path.starts_with(begin))
        };
        self.named(line) == Named::Elsewhere && paths(line).any(is_store)
    }

    /// The last of these lines that is about errors of a device, or about room.
    fn devices<'l>(self, lines: &[&'l str], says: &[&str]) -> Option<(Cause, &'l str)> {
        lines
            .iter()
            .rev()
            .find_map(|line| self.of_devices(line, says).map(|cause| (cause, *line)))
    }
}

/// What the system says of a device.
const ERRORS: &[&str] = &["input/output error", "remote i/o error"];
/// What the system says of a damaged filesystem: ext4, XFS and f2fs call a wrong structure the one, and a wrong checksum the other.
const UNCLEAN: &[&str] = &["structure needs cleaning", "bad message"];
/// What the system says of room.
const FULL: &[&str] = &["no space left on device", "disk quota exceeded"];
/// What the system says where nothing may be written.
const READ_ONLY: &[&str] = &["read-only file system"];
/// What the system says of what may not be changed, by anybody or by this user.
const FORBIDDEN: &[&str] = &["operation not permitted", "permission denied"];
/// What the system says where something of another kind is. A file that is there already may be a lock, which is no such thing.
const IN_THE_WAY: &[&str] = &[
    "not a directory",
    "is a directory",
    "too many levels of symbolic links",
    "directory not empty",
];
/// What the system says of memory.
const NO_MEMORY: &[&str] = &["cannot allocate memory"];

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
    fn a_template_is_a_whole_sentence() {
        for (sentence, template) in [
            ("fatal: early eof", "fatal: early eof"),
            ("fatal: x 'a b' y", "fatal: x '*' y"),
            ("fatal: a: no space: no space", "fatal: *: no space"),
            ("a 1 b", "a ~ b"),
            ("ab", "a*b"),
        ] {
            assert!(fits(sentence, template), "{sentence}");
        }
        for (sentence, template) in [
            ("warning: fatal: early eof", "fatal: early eof"),
            ("fatal: early eof, or not", "fatal: early eof"),
            ("fatal: a: no space: denied", "fatal: *: no space"),
            ("a b c", "a ~"),
            ("a 'b'", "a ~"),
            ("a ", "a ~"),
            ("", "a*"),
        ] {
            assert!(!fits(sentence, template), "{sentence}");
        }
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
                "error: reading '/mnt/x': Structure needs cleaning",
                Some(Cause::Damaged),
            ),
            (
                "error: reading '/nix/store/x': Structure needs cleaning",
                Some(Cause::Medium),
            ),
            (
                "error: writing '/mnt/x': Operation not permitted",
                Some(Cause::Forbidden),
            ),
            (
                "error: writing to file: Permission denied",
                Some(Cause::Forbidden),
            ),
            ("error: writing '/etc/x': Permission denied", None),
            ("error: the server sent 'x': Permission denied", None),
            ("error: reading '/mnt/x': Not a directory", Some(Cause::InTheWay)),
            ("error: reading '/nix/store/x': Is a directory", None),
            ("error: writing '/mnt/x.lock': File exists", None),
            ("error: reading '/mnt/x': disk I/O error", None),
            ("error: reading '/mnt/x': Bad message", Some(Cause::Damaged)),
            ("error: reading '/nix/store/x': Bad message", Some(Cause::Medium)),
            ("error: the server sent 'x': Bad message", None),
            (
                "could not open '/mnt/x': Read-only file system",
                Some(Cause::TargetReadOnly),
            ),
            ("could not open '/x': Read-only file system", None),
            (
                "error: writing to file: Read-only file system",
                Some(Cause::InputOutput),
            ),
            ("error: no file '/mnt/x: Input/output error'", None),
            ("error: no file /mnt/x: Input/output error", None),
            ("error: unable to download 'https://mnt/x'", None),
        ] {
            let says = ["error: reading *", "error: writing *", "could not open *"];
            assert_eq!(places.of_devices(line, &says), cause, "{line}");
        }
    }
}
