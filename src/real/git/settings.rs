//! A repository's own configuration, read without Git.
//!
//! Pure. What Git would read in a file is read here, in the same order, and a file that Git would not read is an error. Git
//! does as root what its configuration says (`core.fsmonitor`, filters, `include.path` …), so a configuration from the target
//! is compared with what landfall and Git themselves write before Git sees it. The form is that of git-config(1), "Syntax".
//! `include.path` is a setting like any other here, and nothing is included.
//!
//! `git::guard` looks at files and directories.

use crate::real::fs::marks::{CLONE_KEY, REVISION_KEY, TRIES_KEY};
use landfall_states::names::{Revision, quoted};
use landfall_states::remote::RemoteUrl;
use landfall_states::remote::redacted;

/// Longest Git configuration of a clone; it has some hundred bytes, and some more for each submodule.
pub const BYTES_MAX: u64 = 1 << 20;

/// Characters of a foreign setting that are shown.
const SHOWN_MAX: usize = 120;

/// One setting: its name as `git config --list` writes it, and its value (`None`: a name alone, which Git takes for true).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.key` or `section.subsection.key`; section and key in small letters.
    pub name: String,
    /// The value without quotes and escapes.
    pub value: Option<String>,
}

/// Where a configuration is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a line of a Git configuration")]
pub struct Unreadable {
    /// From 1.
    pub line: usize,
}

struct Bytes<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Bytes<'_> {
    /// The next byte; a carriage return before a line feed is none, and the end of a file ends its last line.
    fn next(&mut self) -> Option<u8> {
        let (&first, mut rest) = self.rest.split_first()?;
        let mut byte = first;
        if first == b'\r'
            && let Some((b'\n', after)) = rest.split_first()
        {
            (byte, rest) = (b'\n', after);
        }
        self.rest = rest;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Reads a configuration as Git does.
///
/// # Errors
/// The bytes are no configuration of Git's.
pub fn read(text: &[u8]) -> Result<Vec<Setting>, Unreadable> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let mut bytes = Bytes { rest: text, line: 1 };
    // Git ends a text at such a byte in some places and not in others; none belongs into a configuration.
    if let Some(at) = text.iter().position(|byte| *byte == 0) {
        let line = 1 + text[..at].iter().filter(|byte| **byte == b'\n').count();
        return Err(Unreadable { line });
    }
    // Releases of Git differ in what a carriage return stands for that ends no line.
    let mut pairs = text.iter().zip(text.iter().skip(1).chain([&0]));
    if let Some(at) = pairs.position(|pair| matches!(pair, (b'\r', next) if *next != b'\n')) {
        let line = 1 + text[..at].iter().filter(|byte| **byte == b'\n').count();
        return Err(Unreadable { line });
    }
    let (mut found, mut section, mut comment) = (vec![], Vec::new(), false);
    while let Some(byte) = bytes.next() {
        let bad = Unreadable { line: bytes.line };
        match byte {
            b'\n' => comment = false,
            _ if comment || is_space(byte) => {}
            b'#' | b';' => comment = true,
            b'[' => section = read_section(&mut bytes).ok_or(bad)?,
            _ if byte.is_ascii_alphabetic() => {
                found.push(read_setting(&mut bytes, &section, byte).ok_or(bad)?);
            }
            _ => return Err(bad),
        }
    }
    Ok(found)
}

/// What stands between the brackets, as the beginning of a name.
fn read_section(bytes: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    loop {
        match bytes.next()? {
            b']' => break,
            byte if is_space(byte) => return read_subsection(bytes, name, byte),
            byte if is_key(byte) || byte == b'.' => name.push(byte.to_ascii_lowercase()),
            _ => return None,
        }
    }
    (!name.is_empty()).then_some(name)
}

fn read_subsection(bytes: &mut Bytes<'_>, mut name: Vec<u8>, mut space: u8) -> Option<Vec<u8>> {
    while is_space(space) {
        if space == b'\n' {
            return None;
        }
        space = bytes.next()?;
    }
    if space != b'"' {
        return None;
    }
    name.push(b'.');
    loop {
        match bytes.next()? {
            b'\n' => return None,
            b'"' => break,
            b'\\' => match bytes.next()? {
                b'\n' => return None,
                byte => name.push(byte),
            },
            byte => name.push(byte),
        }
    }
    (bytes.next()? == b']').then_some(name)
}

fn read_setting(bytes: &mut Bytes<'_>, section: &[u8], first: u8) -> Option<Setting> {
    // Git bears a setting before the first section, too.
    let mut name = section.to_vec();
    if !name.is_empty() {
        name.push(b'.');
    }
    name.push(first.to_ascii_lowercase());
    let mut byte = bytes.next().unwrap_or(b'\n');
    while is_key(byte) {
        name.push(byte.to_ascii_lowercase());
        byte = bytes.next().unwrap_or(b'\n');
    }
    while matches!(byte, b' ' | b'\t') {
        byte = bytes.next().unwrap_or(b'\n');
    }
    let value = match byte {
        b'\n' => None,
        b'=' => Some(read_value(bytes)?),
        _ => return None,
    };
    Some(Setting {
        name: String::from_utf8(name).ok()?,
        value: match value {
            Some(value) => Some(String::from_utf8(value).ok()?),
            None => None,
        },
    })
}

fn read_value(bytes: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let (mut value, mut kept) = (Vec::new(), 0);
    let (mut is_quoted, mut comment) = (false, false);
    loop {
        let byte = bytes.next().unwrap_or(b'\n');
        match byte {
            b'\n' if is_quoted => return None,
            b'\n' => {
                // Spaces at the end count only inside quotes.
                value.truncate(kept);
                return Some(value);
            }
            _ if comment => {}
            _ if is_space(byte) && !is_quoted => {
                if !value.is_empty() {
                    value.push(byte);
                }
            }
            b';' | b'#' if !is_quoted => comment = true,
            b'\\' => {
                let byte = match bytes.next().unwrap_or(b'\n') {
                    b'\n' => continue,
                    b't' => b'\t',
                    b'b' => 8,
                    b'n' => b'\n',
                    byte @ (b'\\' | b'"') => byte,
                    _ => return None,
                };
                value.push(byte);
                kept = value.len();
            }
            b'"' => {
                is_quoted = !is_quoted;
                kept = value.len();
            }
            _ => {
                value.push(byte);
                kept = value.len();
            }
        }
    }
}

/// The last value of a name, which is the one that Git takes.
pub fn value<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings
        .iter()
        .rev()
        .find(|setting| setting.name == name)
        .and_then(|setting| setting.value.as_deref())
}

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// The clone's, with the remote's URL as landfall writes it, where it has one.
    Clone {
        /// See `git::written_url`.
        origin: Option<&'a str>,
    },
    /// A submodule's, below `.git/modules`.
    Submodule,
}

/// What a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Landfall, or the Git that it ran, writes it so.
    Ours,
    /// The clone's remote is another one; Git may be run, and the clone is not what was asked for.
    OtherRemote,
    /// Nothing that landfall or its Git writes.
    Strange,
    /// Where the files of a submodule are: to be compared with where it is.
    Worktree(String),
}

/// Judges a setting. Everything that is not named here is strange, so that a setting that a later Git invents is, too.
pub fn judge(setting: &Setting, of: Of<'_>) -> Judged {
    let Setting { name, value } = setting;
    let is_clone = matches!(of, Of::Clone { .. });
    let Some(value) = value.as_deref() else {
        return Judged::Strange;
    };
    let ours = |yes: bool| if yes { Judged::Ours } else { Judged::Strange };
    let is_bool = matches!(value, "true" | "false");
    match name.as_str() {
        "core.repositoryformatversion" => ours(matches!(value, "0" | "1")),
        "core.filemode" | "core.symlinks" | "core.ignorecase" | "core.precomposeunicode" => ours(is_bool),
        "core.bare" => ours(value == "false"),
        "core.logallrefupdates" => ours(value == "true"),
        "core.worktree" if !is_clone => Judged::Worktree(value.to_owned()),
        "extensions.objectformat" => ours(matches!(value, "sha1" | "sha256")),
        "extensions.refstorage" => ours(value == "files"),
        "remote.origin.url" => match of {
            Of::Clone { origin } if origin == Some(value) => Judged::Ours,
            Of::Clone { .. } if is_address(value) => Judged::OtherRemote,
            Of::Clone { .. } => Judged::Strange,
            Of::Submodule => ours(is_address(value)),
        },
        "remote.origin.fetch" => ours(is_plain_refspec(value)),
        _ if is_clone && name == CLONE_KEY => Judged::Ours,
        _ if is_clone && name == REVISION_KEY => ours(value.parse::<Revision>().is_ok()),
        _ if is_clone && name == TRIES_KEY => ours(value.parse::<u32>().is_ok()),
        _ => {
            let within = |section: &str, key: &str| {
                name.strip_prefix(section)
                    .and_then(|rest| rest.strip_suffix(key))
                    .filter(|middle| !middle.is_empty())
            };
            if within("branch.", ".remote").is_some() {
                ours(value == "origin")
            } else if let Some(branch) = within("branch.", ".merge") {
                ours(value.strip_prefix("refs/heads/") == Some(branch) && is_ref(value))
            } else if within("submodule.", ".active").is_some() {
                ours(value == "true")
            } else if within("submodule.", ".url").is_some() {
                ours(is_address(value))
            } else if within("submodule.", ".update").is_some() {
                ours(matches!(value, "checkout" | "rebase" | "merge" | "none"))
            } else {
                Judged::Strange
            }
        }
    }
}

/// A setting for a person: foreign text, cut.
pub fn shown(setting: &Setting) -> String {
    match &setting.value {
        // What may be a credential is in no message.
        Some(value) => format!("{} = {}", cut(&setting.name), cut(&redacted(value))),
        None => cut(&setting.name),
    }
}

fn cut(text: &str) -> String {
    quoted(&text.chars().take(SHOWN_MAX).collect::<String>())
}

/// Whether Git fetches from this by a transport that it has itself, and takes it for no option and no `transport::address`.
pub fn is_address(url: &str) -> bool {
    !url.contains("::") && url.parse::<RemoteUrl>().is_ok()
}

/// A name as a remote may have given it; Git has its own rule for it (git-check-ref-format(1)).
fn is_ref(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && !name.contains("..")
        && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// `+refs/heads/X:refs/remotes/origin/X`, X being everything (`*`) or a branch.
fn is_plain_refspec(text: &str) -> bool {
    text.strip_prefix("+refs/heads/")
        .and_then(|rest| rest.split_once(":refs/remotes/origin/"))
        .is_some_and(|(from, to)| from == to && (from == "*" || is_ref(from)))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
