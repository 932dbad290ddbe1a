//! Boot loader formats: loader entries (UAPI Boot Loader Specification, type 1), `loader.conf`, the choice that systemd-boot
//! makes among entries, and PE headers.
//!
//! Pure; accepts any bytes without panicking. The entry chosen here is the one that systemd-boot starts by itself, given the
//! same files and variables. Unified kernel images are not supported.
//!
//! `boot::menu` reads the files, and `disk::efi` has the firmware's load options.

use crate::real::boot::version;
use std::cmp::Ordering;

/// A type 1 loader entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// File name below `loader/entries`.
    pub file: String,
    /// `title`.
    pub title: String,
    /// `version`.
    pub version: String,
    /// `machine-id`.
    pub machine_id: String,
    /// `sort-key`.
    pub sort_key: Option<String>,
    /// `architecture`.
    pub architecture: Option<String>,
    /// `linux`: the kernel, from the ESP's top, with slashes.
    pub linux: Option<String>,
    /// `efi`, `uki` or `uki-url`: a program that is started instead of a kernel, likewise.
    pub program: Option<String>,
    /// `initrd`, in order, likewise.
    pub initrd: Vec<String>,
    /// `devicetree`, likewise.
    pub devicetree: Option<String>,
    /// Further files that it names: `devicetree-overlay`, a list on a line, and `extra`.
    pub further: Vec<String>,
    /// `options`, joined.
    pub options: String,
}

/// Key and value of each line of an entry or of `loader.conf`: lines end in a line feed or carriage return, spaces and
/// tabs around them and between key and value do not count, `#` begins a comment, one pair of quotes around a value goes.
/// A key without a value is no line, and a NUL ends the text.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let blank = [' ', '\t'];
    let text = text.split('\0').next().unwrap_or_default();
    text.split(['\n', '\r']).filter_map(move |line| {
        let line = line.trim_matches(blank);
        let (key, value) = line.split_once(blank)?;
        let value = value.trim_start_matches(blank);
        let quoted = ['"', '\''].into_iter().find_map(|quote| {
            let inner = value.strip_prefix(quote)?;
            Some(inner.strip_suffix(quote).unwrap_or(inner)).filter(|inner| inner.len() + 2 == value.len())
        });
        (!key.starts_with('#')).then_some((key, quoted.unwrap_or(value)))
    })
}

/// A path of an entry, with slashes.
fn path(value: &str) -> String {
    value.replace('\\', "/")
}

impl Entry {
    /// Parses the text of an entry.
    pub fn parse(file: &str, text: &str) -> Self {
        let mut entry = Entry {
            file: file.to_owned(),
            ..Entry::default()
        };
        for (key, value) in lines(text) {
            match key {
                "title" => entry.title = value.to_owned(),
                "version" => entry.version = value.to_owned(),
                "machine-id" => entry.machine_id = value.to_owned(),
                "sort-key" => entry.sort_key = Some(value.to_owned()),
                "architecture" => entry.architecture = Some(value.to_owned()),
                "linux" => entry.linux = Some(path(value)),
                "efi" | "uki" | "uki-url" => entry.program = Some(path(value)),
                "initrd" => entry.initrd.push(path(value)),
                "devicetree" => entry.devicetree = Some(path(value)),
                "devicetree-overlay" => entry
                    .further
                    .extend(value.split([' ', '\t']).filter(|one| !one.is_empty()).map(path)),
                "extra" => entry.further.push(path(value)),
                "options" => {
                    if !entry.options.is_empty() {
                        entry.options.push(' ');
                    }
                    entry.options += value;
                }
                _ => {}
            }
        }
        entry
    }

    /// Whether a file of `loader/entries` is an entry, by its name.
    pub fn is_name(file: &str) -> bool {
        let file = file.to_ascii_lowercase();
        file.ends_with(".conf") && !file.starts_with('.') && !file.starts_with("auto-")
    }

    /// Whether it says what to start, and for this architecture (`x64`, `aa64`).
    pub fn is_usable(&self, architecture: &str) -> bool {
        self.linux.is_some() != self.program.is_some()
            && self
                .architecture
                .as_ref()
                .is_none_or(|one| one.eq_ignore_ascii_case(architecture))
    }

    /// The value of `init=` among the options; the last one, as the kernel takes it.
    pub fn init(&self) -> Option<&str> {
        self.options
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("init="))
            .next_back()
    }

    /// The words of `wanted` that are not among the options, as often as they are wanted.
    pub fn lacks<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut there: Vec<&str> = self.options.split_whitespace().collect();
        let mut lacking = vec![];
        for word in wanted {
            match there.iter().position(|one| *one == word) {
                Some(at) => {
                    there.swap_remove(at);
                }
                None => lacking.push(word),
            }
        }
        lacking
    }

    /// The name without boot counter, and the counter: tries left and tries done (`name+3-1.conf`).
    fn parts(&self) -> (String, Option<(u32, u32)>) {
        let name = self.file.to_ascii_lowercase();
        let counted = || {
            let (id, counter) = name.strip_suffix(".conf")?.rsplit_once('+')?;
            let number = |digits: &str| {
                let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                let value = plain.then(|| digits.parse::<i32>())?;
                value.map_or(None, |value| u32::try_from(value).ok())
            };
            let (left, done) = match counter.split_once('-') {
                Some((left, done)) => (number(left)?, number(done)?),
                None => (number(counter)?, 0),
            };
            Some((format!("{id}.conf"), Some((left, done))))
        };
        counted().unwrap_or_else(|| (name.clone(), None))
    }

    /// The id that patterns speak of: the file name in small letters, without boot counter, with `.conf`.
    pub fn id(&self) -> String {
        self.parts().0
    }

    /// Whether its tries are used up.
    fn is_bad(&self) -> bool {
        self.parts().1.is_some_and(|(left, _)| left == 0)
    }
}

/// The order of systemd-boot's menu: what comes first is `Less`.
pub fn order(a: &Entry, b: &Entry) -> Ordering {
    let ((id_a, tries_a), (id_b, tries_b)) = (a.parts(), b.parts());
    let bad = a.is_bad().cmp(&b.is_bad());
    // One with a sort key comes before one without.
    let keyed = a.sort_key.is_none().cmp(&b.sort_key.is_none());
    let by_key = || match (&a.sort_key, &b.sort_key) {
        (Some(key_a), Some(key_b)) => key_a
            .encode_utf16()
            .cmp(key_b.encode_utf16())
            .then_with(|| a.machine_id.cmp(&b.machine_id))
            .then_with(|| version::compare(&b.version, &a.version)),
        (Some(_) | None, _) => Ordering::Equal,
    };
    let by_tries = || match (tries_a, tries_b) {
        (Some((left_a, done_a)), Some((left_b, done_b))) => left_b.cmp(&left_a).then(done_a.cmp(&done_b)),
        (Some(_) | None, _) => Ordering::Equal,
    };
    bad.then(keyed)
        .then_with(by_key)
        .then_with(|| version::compare(&id_b, &id_a))
        .then_with(by_tries)
}

/// What names an entry: a pattern over ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Ids that match.
    Pattern(String),
    /// The entry that was started last.
    Saved,
}

impl Wish {
    /// `None`: a special name that no systemd-boot knows, which it skips.
    fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase() {
            saved if saved == "@saved" => Some(Wish::Saved),
            other if other.starts_with('@') => None,
            pattern => Some(Wish::Pattern(pattern)),
        }
    }
}

/// What `loader.conf` says of the entry that is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoaderConf {
    /// `preferred` (systemd 260): skipped when its tries are used up.
    pub preferred: Option<Wish>,
    /// `default`.
    pub default: Option<Wish>,
}

impl LoaderConf {
    /// Parses it. The last line of a kind counts.
    pub fn parse(text: &str) -> Self {
        let mut conf = LoaderConf::default();
        for (key, value) in lines(text) {
            let place = match key {
                "preferred" => &mut conf.preferred,
                "default" => &mut conf.default,
                _ => continue,
            };
            if let Some(wish) = Wish::parse(value) {
                *place = Some(wish);
            }
        }
        conf
    }
}

/// The boot loader's variables in the firmware that choose an entry (Boot Loader Interface).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// `LoaderEntryOneShot`.
    pub one_shot: Option<String>,
    /// `LoaderEntryPreferred`.
    pub preferred: Option<String>,
    /// `LoaderEntryDefault`.
    pub default: Option<String>,
    /// `LoaderEntryLastBooted`, which `@saved` means.
    pub last_booted: Option<String>,
}

/// The entry that systemd-boot starts by itself, of those that are usable, and what chose it when a variable did.
pub fn chosen<'a>(
    entries: &[&'a Entry],
    conf: &LoaderConf,
    variables: &Variables,
) -> Option<(&'a Entry, Option<&'static str>)> {
    let mut sorted = entries.to_vec();
    sorted.sort_by(|a, b| order(a, b));
    let find = |wish: Option<&Wish>, bad_too: bool| {
        let pattern = match wish? {
            Wish::Pattern(pattern) => pattern.clone(),
            Wish::Saved => variables.last_booted.as_ref()?.to_ascii_lowercase(),
        };
        let fits = |entry: &&&Entry| (bad_too || !entry.is_bad()) && matches_glob(&pattern, &entry.id());
        sorted.iter().find(fits).copied()
    };
    let variable = |value: &Option<String>| value.as_deref().and_then(Wish::parse);
    let saved = |wish: Option<&Wish>| (wish == Some(&Wish::Saved)).then_some("LoaderEntryLastBooted");
    let [one_shot, preferred, default] =
        [&variables.one_shot, &variables.preferred, &variables.default].map(variable);
    let attempts = [
        (one_shot.as_ref(), true, Some("LoaderEntryOneShot")),
        (preferred.as_ref(), false, Some("LoaderEntryPreferred")),
        (conf.preferred.as_ref(), false, saved(conf.preferred.as_ref())),
        (default.as_ref(), true, Some("LoaderEntryDefault")),
        (conf.default.as_ref(), true, saved(conf.default.as_ref())),
    ];
    for (wish, bad_too, by) in attempts {
        if let Some(entry) = find(wish, bad_too) {
            return Some((entry, by));
        }
    }
    sorted.first().map(|entry| (*entry, None))
}

/// Shell patterns as systemd-boot has them: `*`, `?`, `[a-z]`, `\` before a character that means itself. Both texts are in
/// small letters already.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much it has taken: what comes before it is never looked at again.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(c)) => {
                if let Some(width) = pattern.get(p..).and_then(|rest| matches_one(rest, *c)) {
                    (p, t) = (p + width, t + 1);
                    continue;
                }
            }
            (Some(_) | None, _) => {}
        }
        match star {
            Some((at, from)) if from < text.len() => {
                star = Some((at, from + 1));
                (p, t) = (at, from + 1);
            }
            Some(_) | None => return false,
        }
    }
}

/// How many characters of a pattern stand for this one; `None`: they do not.
fn matches_one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '\\' => (pattern.get(1) == Some(&c)).then_some(2),
        '[' => {
            let (mut at, mut found, mut low) = (1, false, None);
            loop {
                let mut one = *pattern.get(at)?;
                if one == ']' && at > 1 {
                    return found.then_some(at + 1);
                }
                // A range, unless the dash stands first or last.
                if one == '-'
                    && let Some(from) = low
                    && pattern.get(at + 1) != Some(&']')
                {
                    at += 1;
                    if pattern.get(at) == Some(&'\\') {
                        at += 1;
                    }
                    found |= (from..=*pattern.get(at)?).contains(&c);
                    low = None;
                } else {
                    if one == '\\' {
                        at += 1;
                        one = *pattern.get(at)?;
                    }
                    found |= one == c;
                    low = Some(one);
                }
                at += 1;
            }
        }
        one => (*one == c).then_some(1),
    }
}

/// Whether bytes begin as a PE image does (`MZ`, and `PE\0\0` where the header points).
pub fn is_pe(head: &[u8]) -> bool {
    let Some(at) = head.get(0x3c..).and_then(|rest| rest.first_chunk()) else {
        return false;
    };
    let at = u32::from_le_bytes(*at) as usize;
    head.starts_with(b"MZ") && at.checked_add(4).and_then(|end| head.get(at..end)) == Some(b"PE\0\0")
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
