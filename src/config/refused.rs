//! Makes the texts for refused values.
//!
//! A value that may be a secret is not repeated. A value of the wrong type is never repeated. A text that breaks the rule of its
//! option is repeated, unless it looks like a key or a token, or stands where one belongs. The texts never show Rust's or a parser's
//! types.
//!
//! What is allowed comes from the types, `check` and `places`; `parse` names the options.

use super::path_text::{KNOWN_HOSTS, begins_as_path};
use super::{OnSuccess, SystemConfig, notation::Notation, ranges, required};
use landfall_states::names::quoted;
use landfall_states::secret_token;
use serde::Deserialize;
use serde::de::value::StrDeserializer;

/// What only secrets have in them.
const MARKS: [&str; 14] = [
    "PRIVATE KEY",
    "-----",
    "AGE-SECRET-KEY",
    "AGE-PLUGIN-",
    "AGE-ENCRYPTION",
    "PUTTY-USER-KEY",
    "GHP_",
    "GHO_",
    "GHS_",
    "GHU_",
    "GITHUB_PAT_",
    "GLPAT-",
    "BEARER ",
    "OPENSSH-KEY",
];
/// Length from which a mix of letters and digits is taken for a token or a part of a key.
const TOKEN_CHARS_MIN: usize = 20;
/// Longest text that is taken for a disk's serial number and repeated.
const SERIAL_CHARS_MAX: usize = 32;
/// Longest file name that a message repeats without checking whether it is a key.
const FILE_CHARS_MAX: usize = 16;
/// Options that a key is given for, by another way: what is no path there is the key.
const OF_KEYS: [&str; 3] = ["keys", "ssh", "nix.trusted_public_keys"];

/// Whether an option is one of these, or in one.
fn is_in(option: &str, outer: &[&str]) -> bool {
    outer.iter().any(|outer| {
        option
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Whether a text has what is a token. Revisions, store paths and serial numbers of disks have such rows themselves.
fn has_token(option: &str, text: &str) -> bool {
    let is_usual = |run: &str| match option {
        "repository.revision" => run.bytes().all(|b| b.is_ascii_hexdigit()),
        "unattended.disk" | "INSTALL_DISK" => run.len() <= SERIAL_CHARS_MAX,
        option => is_in(option, &["system"]) && text.starts_with("/nix/store/"),
    };
    text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '='))
        .any(|run| {
            run.len() >= TOKEN_CHARS_MIN
                && run.bytes().any(|b| b.is_ascii_digit())
                && run.bytes().any(|b| b.is_ascii_alphabetic())
                && !is_usual(run)
        })
}

/// Whether it may be the name of a file that somebody wrote without its path.
pub(super) fn is_file_name(text: &str) -> bool {
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'/');
    text.len() <= FILE_CHARS_MAX && text.bytes().all(plain)
}

/// Whether a text has the beginning of a password's hash, as crypt(5) has them: `$6$`, `$2b$`, `$gy$`, `$argon2id$`.
fn has_hash(text: &str) -> bool {
    let is_id = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let parts: Vec<&str> = text.split('$').collect();
    matches!(parts.as_slice(), [_, between @ .., _] if between.iter().any(|part| is_id(part)))
}

/// Whether a text that was given for an option may be a secret.
pub(super) fn may_be_secret(option: &str, text: &str) -> bool {
    let upper = text.to_uppercase();
    MARKS.iter().any(|mark| upper.contains(mark))
        || secret_token::has_token(text)
        || has_hash(text)
        || text.contains(['\n', '\r'])
        || has_token(option, text)
        || is_in(option, &OF_KEYS) && !begins_as_path(text) && !is_file_name(text)
}

/// Whether a name can be shown where no option has it: names have letters only.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 40
        && name
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-'))
        && !may_be_secret("", name)
}

/// A path of names, as far as they can be shown: what follows was written by somebody who meant something else.
pub(super) fn names_of_path(path: &str) -> String {
    let is_shown = |part: &&str| {
        let (name, index) = part.split_once('[').unwrap_or((part, ""));
        is_name(name)
            && index
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'[' | b']' | b'#'))
    };
    // How often a name was given stands behind it.
    let (path, time) = match path.rsplit_once('#') {
        Some((path, time)) if time.bytes().all(|b| b.is_ascii_digit()) => (path, format!("#{time}")),
        Some(_) | None => (path, String::new()),
    };
    let shown: Vec<&str> = path.split('.').take_while(is_shown).collect();
    shown.join(".") + &time
}

/// A text that was given for an option, in quotes where it can be shown.
pub(super) fn shown(option: &str, text: &str) -> String {
    if may_be_secret(option, text) {
        HIDDEN.to_owned()
    } else {
        quoted(text)
    }
}

/// What a text lacks that begins with an option.
pub(super) const BRACKETS: &str = "put ( before the first option and ) after the last one";

/// What to do about a text that is not RON, where no more is known.
pub(super) const COMPARE: &str = "compare it with an example (docs/reference/configuration.md)";

/// In place of a value.
pub(super) const HIDDEN: &str = "(not repeated here: it may be a secret)";

/// What to do about a text where none, or another one, belongs, when a secret may be meant.
pub(super) fn way_of(option: &str) -> Option<String> {
    let credential = |flag: &str, name: &str| {
        Some(format!(
            "a configuration must not contain a secret: remove it, {flag}provide it as credential landfall.{name} (docs/reference/configuration.md, Credentials)"
        ))
    };
    match option {
        "keys" | "keys.deploy_key" => credential("set keys.deploy_key to true, and ", "deploy-key"),
        "keys.age_identity" | "keys.age_identity_path" => {
            credential("set keys.age_identity to true, and ", "age-identity")
        }
        "ssh" | "ssh.key" => credential("and ", "ssh-key"),
        "luks" | "luks.enable" => credential("set luks.enable to true, and ", "luks-passphrase"),
        "key_medium" | "key_medium.luks_passphrase" => credential("and ", "luks-passphrase"),
        "key_medium.record_key" => credential("and ", "record-key"),
        _ => None,
    }
}

/// What to do about an option that there is not, whose name is that of a secret.
pub(super) fn way_of_unknown(outer: &str, name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let way = way_of(outer).filter(|_| is(&["pass", "secret", "key"]));
    if way.is_some() {
        return way;
    }
    match outer {
        "" | "swap" if is(&["passphrase", "luks"]) => way_of("luks"),
        "" | "repository" if is(&["private_key", "privatekey", "ssh_key", "sshkey", "deploy_key"]) => way_of("ssh"),
        "" | "repository" | "nix" if is(&["token", "password", "secret", "netrc"]) => Some(
            "a configuration must not contain a secret: remove it, and provide it as credential landfall.repository-token (docs/reference/configuration.md, Credentials)"
                .to_owned(),
        ),
        _ => None,
    }
}

/// What to do about a value of another type. `word`: the value, where it is a text that is known.
fn way_of_type(option: &str, what: &str, allowed: &str, word: Option<&str>) -> Option<String> {
    let is_flag = allowed.starts_with("true or false");
    let word = word.map(str::to_ascii_lowercase);
    match word.as_deref() {
        Some("true" | "yes" | "on" | "1") if is_flag => return Some("write true, without quotes".to_owned()),
        Some("false" | "no" | "off" | "0") if is_flag => {
            return Some("write false, without quotes".to_owned());
        }
        Some(_) | None => {}
    }
    if let Some(way) = way_of(option).filter(|_| what == "a text") {
        return Some(way);
    }
    let words = if option == "ssh.known_hosts" {
        KNOWN_HOSTS
    } else if is_flag {
        "write true or false, without quotes"
    } else if allowed.starts_with("a list") {
        "write a list: the texts in double quotes, between [ and ]"
    } else if allowed.starts_with("a text") && matches!(option, "esp_size" | "swap.size" | "luks.memory_min")
    {
        "write it in double quotes, with its unit, such as \"512M\" or \"8G\""
    } else if allowed.starts_with("a text") {
        "write it in double quotes"
    } else if allowed.starts_with("a whole number") {
        let number = word.and_then(|word| word.parse::<u64>().ok());
        return Some(ranges::without_quotes(option, number));
    } else if allowed.starts_with("one of") {
        "write one of these names"
    } else if allowed.starts_with("options") {
        "write its options, each with its name (examples: docs/reference/configuration.md)"
    } else {
        return None;
    };
    Some(words.to_owned())
}

/// The names that a value can have.
fn names_of<T: for<'de> Deserialize<'de>>() -> String {
    match T::deserialize(StrDeserializer::<ron::Error>::new("")) {
        Err(ron::Error::NoSuchEnumVariant { expected, .. }) => expected.join(", "),
        Ok(_) | Err(_) => "the names that docs/reference/configuration.md lists".to_owned(),
    }
}

/// What is allowed, from the words of serde for what it expected.
pub(super) fn allowed(option: &str, expected: &str, notation: Notation) -> String {
    let words = expected.trim();
    let last = words.rsplit([' ', ':']).next().unwrap_or_default();
    if words.contains("bool") {
        "true or false".to_owned()
    } else if matches!(last, "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64")
        || words.contains("integer")
    {
        ranges::words(option)
    } else if words.contains("SystemConfig") || words.contains("enum") && option.starts_with("system") {
        format!("one of {}", names_of::<SystemConfig>())
    } else if words.contains("OnSuccess") || words.contains("enum") {
        format!("one of {}", names_of::<OnSuccess>())
    } else if words.contains("sequence") {
        "a list such as [\"a\", \"b\"]".to_owned()
    } else if words.contains("struct") || words.contains("map") {
        options_of(option, notation)
    } else if words.contains("string") || words.contains("path") {
        "a text in double quotes".to_owned()
    } else {
        "the value that docs/reference/configuration.md names for this option".to_owned()
    }
}

/// What has options of its own.
fn options_of(option: &str, notation: Notation) -> String {
    match (option, notation) {
        ("", Notation::Ron) => "options between ( and ), such as (host: \"web\", …)".to_owned(),
        ("", Notation::Json) => "options between { and }, such as {\"host\": \"web\", …}".to_owned(),
        (_, Notation::Ron) => "options between ( and ), such as (NAME: VALUE)".to_owned(),
        (_, Notation::Json) => "options between { and }, such as {\"NAME\": VALUE}".to_owned(),
    }
}

/// What has an option `enable`, and was given the value of that.
fn enabled(option: &str, notation: Notation) -> Option<String> {
    let form = match notation {
        Notation::Ron => format!("write {option}: (enable: true)"),
        Notation::Json => format!("write \"{option}\": {{\"enable\": true}}"),
    };
    matches!(option, "luks" | "swap" | "unattended").then_some(form)
}

/// What a value is, from the words of serde for it: the value itself is in them, and is not repeated.
fn kind(found: &str) -> &'static str {
    let found = found.strip_prefix("the ").unwrap_or(found);
    let begins = |words: &[&str]| words.iter().any(|word| found.starts_with(word));
    if begins(&["bool"]) {
        "true or false"
    } else if begins(&["integer", "unsigned", "signed", "floating", "number"]) {
        "a number"
    } else if begins(&["string", "character", "UTF-8 character", "byte"]) {
        "a text"
    } else if begins(&["null", "unit value", "a unit value", "Option", "an optional"]) {
        "nothing"
    } else if begins(&["sequence", "a sequence"]) {
        "a list"
    } else if begins(&["map", "a map"]) {
        "a map"
    } else {
        "of the wrong type"
    }
}

/// Why a value is refused, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub why: String,
    pub fix: Option<String>,
}

impl Refusal {
    /// Nothing, where a value belongs.
    fn of_nothing(option: &str, allowed: &str, notation: Notation) -> Refusal {
        let nothing = match notation {
            Notation::Ron => "an empty value",
            Notation::Json => "null",
        };
        Refusal {
            why: format!("{nothing} is not allowed; allowed is {allowed}"),
            fix: Some(required::instead_of_nothing(option, notation)),
        }
    }

    /// A value of another type, by serde's words for what it found and what it expected.
    pub(super) fn of_type(option: &str, found: &str, expected: &str, notation: Notation) -> Refusal {
        let allowed = allowed(option, expected, notation);
        let what = kind(found);
        // A number where a number belongs is no secret.
        if what == "a number" && allowed.starts_with("a whole number") {
            let number = found.split('`').nth(1).unwrap_or_default();
            return Refusal {
                why: format!("{number} is not allowed: it must be {allowed}"),
                fix: Some(ranges::advice_of(option)),
            };
        }
        if what == "nothing" {
            return Refusal::of_nothing(option, &allowed, notation);
        }
        Refusal {
            fix: match what {
                "true or false" if allowed.starts_with("options") => enabled(option, notation),
                _ => None,
            }
            .or_else(|| {
                let word = found
                    .strip_prefix("string ")
                    .map(|word| word.trim_matches(['"', '`']));
                way_of_type(option, what, &allowed, word)
            }),
            why: format!("it is {what}; allowed is {allowed}"),
        }
    }

    /// Something that has no value and is no option of these.
    pub(super) fn unnamed(known: &[&str]) -> Refusal {
        Refusal {
            why: format!(
                "options must be written here as NAME: VALUE; the options are: {}",
                known.join(", ")
            ),
            fix: Some("write the name of an option, a colon and its value".to_owned()),
        }
    }

    /// What serde says of a value, in any notation.
    pub(super) fn of_words(option: &str, said: &str, notation: Notation) -> Refusal {
        if let Some(rest) = ["invalid type: ", "invalid value: "]
            .iter()
            .find_map(|begin| said.strip_prefix(begin))
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            return Refusal::of_type(option, found, expected, notation);
        }
        if let Some(rest) = said.strip_prefix("invalid length ")
            && let Some((_, expected)) = rest.split_once(", expected ")
        {
            return Refusal::of_type(option, "a sequence", expected, notation);
        }
        // A rule's own words: `names::BadValue`.
        const REFUSED: &str = " is not allowed: ";
        if let Some((before, rule)) = said.rsplit_once(REFUSED)
            && let Some((what, value)) = before.split_once(" \"")
        {
            let hidden = may_be_secret(option, value.trim_end_matches('"'))
                || value.contains("\\n")
                || value.contains("\\r");
            let value = if hidden {
                HIDDEN.to_owned()
            } else {
                format!("\"{value}")
            };
            return Refusal {
                why: format!("{what} {value}{REFUSED}{rule}"),
                fix: hidden.then(|| way_of(option)).flatten(),
            };
        }
        Refusal {
            why: format!(
                "the value is not allowed: it must be {}",
                allowed(option, "", notation)
            ),
            fix: way_of(option),
        }
    }

    /// What ron says of what is there.
    #[expect(clippy::too_many_lines, reason = "one row for each error of ron")]
    pub(super) fn of_ron(option: &str, error: &ron::Error, there: &There) -> Refusal {
        let of_type = |expected: &str| {
            let allowed = allowed(option, expected, Notation::Ron);
            if there.is_nothing() {
                return Refusal::of_nothing(option, &allowed, Notation::Ron);
            }
            let what = if there.is_text() {
                "a text"
            } else {
                "another value"
            };
            Refusal {
                fix: way_of_type(option, what, &allowed, there.word()),
                why: format!("the value has the wrong type; allowed is {allowed}"),
            }
        };
        let plain = |why: &str, fix: &str| Refusal {
            why: why.to_owned(),
            fix: Some(fix.to_owned()),
        };
        match error {
            ron::Error::Message(said) => Refusal::of_words(option, said, Notation::Ron),
            ron::Error::InvalidValueForType { expected, found } => {
                Refusal::of_type(option, found, expected, Notation::Ron)
            }
            ron::Error::ExpectedDifferentLength { expected, .. } => {
                Refusal::of_type(option, "a sequence", expected, Notation::Ron)
            }
            ron::Error::IntegerOutOfBounds => Refusal {
                why: format!(
                    "{} is not allowed: it must be {}",
                    there.number().unwrap_or("the number".into()),
                    ranges::words(option)
                ),
                fix: Some(ranges::advice_of(option)),
            },
            ron::Error::ExpectedString | ron::Error::ExpectedStringEnd => of_type("string"),
            ron::Error::ExpectedBoolean => of_type("bool"),
            ron::Error::ExpectedInteger => of_type("integer"),
            ron::Error::ExpectedArray => of_type("sequence"),
            ron::Error::ExpectedDifferentStructName { found, .. } if found == "Some" => Refusal {
                why: format!(
                    "Some(…) is not allowed here; allowed is {}",
                    options_of(option, Notation::Ron)
                ),
                fix: Some("remove Some( and its )".into()),
            },
            ron::Error::ExpectedDifferentStructName { found, .. }
                if !option.is_empty() && matches!(&**found, "true" | "false") =>
            {
                Refusal::of_type(option, "boolean", "struct", Notation::Ron)
            }
            ron::Error::ExpectedDifferentStructName { .. } | ron::Error::ExpectedNamedStructLike(_)
                if option.is_empty() =>
            {
                Refusal {
                    why: format!(
                        "a configuration does not begin like this; allowed are {}",
                        options_of("", Notation::Ron)
                    ),
                    fix: Some(BRACKETS.into()),
                }
            }
            ron::Error::ExpectedDifferentStructName { .. }
            | ron::Error::ExpectedNamedStructLike(_)
            | ron::Error::ExpectedStructLike
            | ron::Error::ExpectedMap => of_type("struct"),
            ron::Error::Eof => plain(
                "the text ends too early: a bracket or a text in double quotes is not closed",
                "close every open text (with a double quote) and every open bracket",
            ),
            ron::Error::ExpectedComma if there.is_fraction() => plain(
                "the number has a fraction, and only a whole number is allowed",
                &format!("write {}", ranges::words(option)),
            ),
            ron::Error::ExpectedComma => plain(
                "a comma is missing before this place, or a bracket is not closed",
                "put a comma after the value before this place, or close its bracket",
            ),
            ron::Error::ExpectedMapColon => plain(
                "a colon is missing between an option's name and its value",
                "write NAME: VALUE",
            ),
            ron::Error::ExpectedArrayEnd => plain(
                "a ] is missing, or a comma before this place",
                "put a comma between two values, or close the list with ]",
            ),
            ron::Error::ExpectedStructLikeEnd | ron::Error::ExpectedOptionEnd => plain(
                "a ) is missing, or a comma before this place",
                "put a comma between two values, or close the bracket with )",
            ),
            ron::Error::ExpectedMapEnd => plain(
                "a } is missing, or a comma before this place",
                "put a comma between two values, or close the bracket with }",
            ),
            ron::Error::ExpectedIdentifier
            | ron::Error::InvalidIdentifier(_)
            | ron::Error::SuggestRawIdentifier(_)
                if matches!(option, "on_success" | "system") =>
            {
                of_type("enum")
            }
            ron::Error::ExpectedIdentifier
            | ron::Error::InvalidIdentifier(_)
            | ron::Error::SuggestRawIdentifier(_) => plain(
                "the name of an option is expected here, such as host",
                if there.begins_with(',') {
                    "remove this comma: one is enough between two options"
                } else {
                    "write NAME: VALUE, with the name of an option and without quotes around it"
                },
            ),
            ron::Error::TrailingCharacters => plain(
                "something follows the bracket that ends the configuration",
                "remove it, or look for a bracket that is closed too early",
            ),
            ron::Error::UnclosedBlockComment => plain(
                "a comment is not closed: */ is missing",
                "write */ where the comment ends",
            ),
            ron::Error::InvalidEscape(_) => plain(
                "a text has a \\ that is not part of a RON escape",
                "write \\\\ for a backslash",
            ),
            _ if there.begins_with('/') => plain(
                "a path without quotes is not valid RON",
                "write it in double quotes",
            ),
            _ => plain("it is not valid RON", COMPARE),
        }
    }
}

/// What a text has at the place of an error, in one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct There<'t> {
    before: &'t str,
    rest: &'t str,
}

/// What is at a place.
pub(super) fn there<'t>(text: &'t str, span: &ron::error::Span) -> There<'t> {
    let line = span
        .start
        .line
        .checked_sub(1)
        .and_then(|at| text.lines().nth(at))
        .unwrap_or_default();
    let start = span
        .start
        .col
        .checked_sub(1)
        .and_then(|at| line.char_indices().nth(at));
    let (before, rest) = line.split_at(start.map_or(line.len(), |(start, _)| start));
    There { before, rest }
}

impl There<'_> {
    /// The number, with its sign.
    fn number(&self) -> Option<String> {
        let is_of_number = |c: char| matches!(c, '+' | '-' | '.' | '_' | '0'..='9');
        let end = self.rest.find(|c| !is_of_number(c)).unwrap_or(self.rest.len());
        let sign = self
            .before
            .trim_end()
            .chars()
            .last()
            .filter(|c| matches!(c, '+' | '-'));
        let number = format!(
            "{}{}",
            sign.map_or(String::new(), String::from),
            &self.rest[..end]
        );
        let has_digits = number.bytes().any(|b| b.is_ascii_digit()) && number.len() <= 40;
        has_digits.then_some(number)
    }

    /// Whether it goes on with the fraction of a number.
    fn is_fraction(&self) -> bool {
        self.before.ends_with(|c: char| c.is_ascii_digit()) && self.rest.starts_with('.')
    }

    /// Whether it begins with a sign.
    fn begins_with(&self, sign: char) -> bool {
        self.rest.starts_with(sign)
    }

    /// The text in quotes, where it ends in its line.
    fn word(&self) -> Option<&str> {
        let (word, _) = self.rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(word)
    }

    /// Whether it is what other notations write for nothing.
    fn is_nothing(&self) -> bool {
        let rest = self.rest.trim_start();
        ["null", "None", "nil", "()"].iter().any(|nothing| {
            rest.strip_prefix(nothing).is_some_and(|rest| {
                !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '(' | ':'))
            })
        })
    }

    /// Whether it is a text in quotes.
    fn is_text(&self) -> bool {
        self.rest.trim_start().starts_with(['"', 'r', 'b'])
    }

    /// Whether it is a name with a colon behind it, as one of an option is.
    pub(super) fn is_named(&self) -> bool {
        self.rest
            .trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '#' | '.' | '+'))
            .trim_start()
            .starts_with(':')
    }
}
