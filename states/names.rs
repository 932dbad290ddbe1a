//! Values that can only be valid.
//!
//! A value of one of these types obeys its rule, wherever it comes from. Parsing is the only way in, for people, for files
//! and for checkpoints alike. There are no defaults, and nothing looks at the machine.

use crate::reserved_paths::{Put, taken_on_target};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Characters of a quoted text that are shown.
const QUOTED_CHARS_MAX: usize = 256;

/// A text in quotation marks, with what could not be seen or would end it escaped: for texts that people or machines chose. Of a long
/// one the beginning, and how long it is.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().take(QUOTED_CHARS_MAX) {
        match c {
            '\'' => quoted.push(c),
            c => quoted.extend(c.escape_debug()),
        }
    }
    quoted.push('"');
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        quoted.push_str(&format!(" (shortened here; it has {} bytes)", text.len()));
    }
    quoted
}

/// Why a value was refused: what it is for, the value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {} is not allowed: {allowed}", quoted(value))]
pub struct BadValue {
    /// The kind of value, e.g. `partition label`.
    pub what: &'static str,
    /// The refused text.
    pub value: String,
    /// Why, as a sentence: the rule (`it must be …`), or what is wrong with this value.
    pub allowed: &'static str,
}

/// What a rule says of a text: that it obeys, or what stands against it.
trait Ruling {
    fn against(self, rule: &'static str) -> Option<&'static str>;
}

impl Ruling for bool {
    fn against(self, rule: &'static str) -> Option<&'static str> {
        (!self).then_some(rule)
    }
}

/// A rule with several reasons; `Ok` is that it obeys.
impl Ruling for Result<(), &'static str> {
    fn against(self, _rule: &'static str) -> Option<&'static str> {
        self.err()
    }
}

fn against<R: Ruling>(rule: fn(&str) -> R, text: &str, words: &'static str) -> Option<&'static str> {
    rule(text).against(words)
}

/// A text type with a rule: conversions, display and serde all go through the one `FromStr`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadValue;
            fn from_str(text: &str) -> Result<Self, BadValue> {
                match against($rule, text, $allowed) {
                    None => Ok(Self(text.to_owned())),
                    Some(allowed) => Err(BadValue { what: $what, value: text.to_owned(), allowed }),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadValue;
            fn try_from(text: String) -> Result<Self, BadValue> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn plain(text: &str, min: usize, max: usize) -> bool {
    (min..=max).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A text that can be the name of a link in `/dev/disk/by-label`: none of these characters is written otherwise there
/// (`blkid_encode_string`), and no link has the name of its directory.
fn label(text: &str, max: usize) -> bool {
    plain(text, 1, max) && text != "." && text != ".."
}

/// As [`taken_on_target`], of a clone's path, which is seen while installing.
fn clone_path(text: &str) -> Result<(), &'static str> {
    let Some(path) = text
        .strip_prefix("/mnt")
        .filter(|rest| rest.len() > 1 && rest.starts_with('/'))
    else {
        return Err("it must be an absolute path below /mnt, without . or .. or empty parts");
    };
    if !path_parts_are_safe(text) {
        return Err("it must be an absolute path below /mnt, without . or .. or empty parts");
    }
    if path.starts_with("/nix/") {
        return Err("it belongs to Nix");
    }
    taken_on_target(path, Put::Clone).map_or(Ok(()), Err)
}

fn path_parts_are_safe(text: &str) -> bool {
    text.len() <= 1024
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text
            .split('/')
            .skip(1)
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

name!(
    /// A GPT partition name: UEFI 2.10 section 5.3.3 gives it 36 UTF-16 units.
    PartitionLabel, "partition label", "it must be 1 to 36 characters of A-Z a-z 0-9 . _ -, not . or ..", |t| label(t, 36)
);
name!(
    /// The ESP's label, FAT volume label and partition name in one. FAT stores eleven upper-case characters, and `mkfs.fat` refuses
    /// one with a dot.
    EspLabel, "ESP label", "it must be 1 to 11 characters of A-Z 0-9 _ - (FAT keeps upper case only, and mkfs.fat refuses a dot)",
    |t| label(t, 11) && !t.bytes().any(|b| b.is_ascii_lowercase() || b == b'.')
);
name!(
    /// The root filesystem's label: ext4 has 16 bytes for it (ext4 disk layout, `s_volume_name`).
    Ext4Label, "root label", "it must be 1 to 16 characters of A-Z a-z 0-9 . _ - (ext4 has room for 16), not . or ..",
    |t| label(t, 16)
);
name!(
    /// The swap label: the swap header has 16 bytes with a final NUL (`mkswap(8)`).
    SwapLabel, "swap label", "it must be 1 to 15 characters of A-Z a-z 0-9 . _ - (mkswap has room for 15), not . or ..",
    |t| label(t, 15)
);
name!(
    /// A device-mapper name.
    MapperName, "mapper name", "it must be 1 to 64 characters of A-Z a-z 0-9 . _ -, not 'control', and must not begin with a dot",
    |t| plain(t, 1, 64) && t != "control" && !t.starts_with('.')
);
name!(
    /// A host, by the name of its `nixosConfigurations` entry: what can also be part of a unit's name and of a store path's.
    HostName, "host name", "it must be 1 to 63 characters of A-Z a-z 0-9 . _ -, beginning with a letter, a digit or _",
    |t| plain(t, 1, 63) && !t.starts_with(['-', '.'])
);
name!(
    /// A full Git object id: SHA-1 (40 hex digits) or SHA-256 (64).
    Revision, "revision", "it must be 40 or 64 lower-case hexadecimal digits",
    |t| matches!(t.len(), 40 | 64) && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
name!(
    /// A path directly in the Nix store: `/nix/store/<32 characters of Nix's base 32>-<name>`.
    StorePath, "store path", "it must be /nix/store/<hash>-<name>",
    |t| t.strip_prefix("/nix/store/").is_some_and(|rest| {
        rest.len() > 33
            && rest.len() <= 244
            && rest.as_bytes().get(32) == Some(&b'-')
            && rest.bytes().take(32).all(|b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !matches!(b, b'e' | b'o' | b't' | b'u')))
            && rest.bytes().skip(33).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_' | b'?' | b'='))
    })
);
name!(
    /// Where the configuration is cloned to, as seen while installing: an absolute path below `/mnt`, where nothing else is.
    ClonePath, "clone path", "it must be an absolute path below /mnt, without . or .. or empty parts", clone_path
);
name!(
    /// A directory or file of the target, as an absolute path there.
    TargetPath, "target path", "it must be an absolute path without . or .. or empty parts",
    |t| t.len() > 1 && t.starts_with('/') && path_parts_are_safe(t)
);
name!(
    /// A user of the target system.
    UserName, "user name", "it must be 1 to 31 characters of A-Z a-z 0-9 . _ -, beginning with a letter, a digit or _",
    |t| plain(t, 1, 31) && !t.starts_with(['-', '.'])
);
name!(
    /// A Git branch or tag, or a full reference name (`git-check-ref-format(1)`, the safe part of it).
    RefName, "branch", "it must be a Git reference of A-Z a-z 0-9 . _ / -, without .., that does not begin with - or /; no part of it may begin with . or end with . or .lock",
    |t| (1..=200).contains(&t.len())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'))
        && !t.starts_with('-') && !t.contains("..")
        && t.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(['.']) && !part.ends_with(".lock"))
);
/// A size in bytes, written the way `sgdisk` takes it: a whole number and one of `K M G T P` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

impl Size {
    /// One mebibyte, the alignment of every partition.
    pub const MIB: Size = Size(1 << 20);

    /// So many bytes, which must be a whole number of mebibytes and not zero.
    ///
    /// # Errors
    /// It is zero, or no whole number of mebibytes.
    pub fn from_bytes(bytes: u64) -> Result<Self, BadValue> {
        if bytes == 0 || !bytes.is_multiple_of(1 << 20) {
            return Err(Self::bad(&bytes.to_string()));
        }
        Ok(Self(bytes))
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn bad(value: &str) -> BadValue {
        BadValue {
            what: "size",
            value: value.to_owned(),
            allowed: "it must be a whole number and one of K M G T P, such as 512M or 8G, in all a whole number of mebibytes (1536M, not 1.5G)",
        }
    }
}

impl FromStr for Size {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || Self::bad(text);
        let unit = text.chars().last().ok_or_else(bad)?;
        let shift = match unit.to_ascii_uppercase() {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            'T' => 40,
            'P' => 50,
            _ => return Err(bad()),
        };
        let digits = &text[..text.len() - unit.len_utf8()];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(bad)?;
        Self::from_bytes(bytes).map_err(|_| bad())
    }
}

impl TryFrom<String> for Size {
    type Error = BadValue;
    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(50, 'P'), (40, 'T'), (30, 'G')] {
            if self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}M", self.0 >> 20)
    }
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_raw(&sha2::Sha256::digest(bytes))
    }

    /// A finished digest of 32 raw bytes.
    pub fn from_raw(raw: &[u8]) -> Self {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        Self(raw.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect())
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadValue {
                what: "digest",
                value: text.to_owned(),
                allowed: "it must be 64 lower-case hexadecimal digits",
            })
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = BadValue;
    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
