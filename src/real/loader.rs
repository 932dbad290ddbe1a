//! Boot loader formats: loader entries (UAPI Boot Loader Specification, type 1), `loader.conf` and PE headers. Law: pure;
//! any bytes are borne.
//!
//! Absent: reading files, and the firmware's load options (`disk::efi`).

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
    /// `sort-key`.
    pub sort_key: String,
    /// `linux`: the kernel, from the ESP's top.
    pub linux: Option<String>,
    /// `initrd`, in order.
    pub initrd: Vec<String>,
    /// `options`, joined.
    pub options: String,
}

impl Entry {
    /// Parses the text of an entry.
    pub fn parse(file: &str, text: &str) -> Self {
        let mut entry = Entry {
            file: file.to_owned(),
            ..Entry::default()
        };
        for line in text.lines().map(str::trim) {
            let Some((key, value)) = line.split_once(char::is_whitespace) else {
                continue;
            };
            let value = value.trim();
            match key {
                "title" => entry.title = value.to_owned(),
                "version" => entry.version = value.to_owned(),
                "sort-key" => entry.sort_key = value.to_owned(),
                "linux" => entry.linux = Some(value.to_owned()),
                "initrd" => entry.initrd.push(value.to_owned()),
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

    /// The value of `init=` among the options; the last one, as the kernel takes it.
    pub fn init(&self) -> Option<&str> {
        self.options
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("init="))
            .next_back()
    }

    /// The id that `loader.conf` speaks of: the file name without `.conf` and boot counter (`+3-1`).
    pub fn id(&self) -> &str {
        let stem = self.file.strip_suffix(".conf").unwrap_or(&self.file);
        match stem.rsplit_once('+') {
            Some((id, count)) if count.bytes().all(|b| b.is_ascii_digit() || b == b'-') => id,
            Some(_) | None => stem,
        }
    }
}

/// The `default` pattern of a `loader.conf`, if it names entries (`@saved` does not).
pub fn default_pattern(text: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .filter(|(key, _)| *key == "default")
        .map(|(_, value)| value.trim().to_owned())
        .rfind(|value| !value.is_empty() && !value.starts_with('@'))
}

/// The entry that systemd-boot starts by itself: the newest that the pattern matches, else the newest.
pub fn default_entry<'a>(entries: &'a [Entry], pattern: Option<&str>) -> Option<&'a Entry> {
    let newest = |chosen: &mut dyn Iterator<Item = &'a Entry>| {
        chosen.max_by(|a, b| {
            // A sort key orders ascending and comes before none; within it the newest version comes first.
            b.sort_key
                .is_empty()
                .cmp(&a.sort_key.is_empty())
                .then_with(|| b.sort_key.cmp(&a.sort_key))
                .then_with(|| natural(&a.version, &b.version))
                .then_with(|| natural(a.id(), b.id()))
        })
    };
    let matched = pattern.and_then(|pattern| {
        newest(&mut entries.iter().filter(|e| {
            let with_suffix = format!("{}.conf", e.id());
            matches_glob(pattern, &with_suffix)
                || matches_glob(pattern, e.id())
                || matches_glob(pattern, &e.file)
        }))
    });
    matched.or_else(|| newest(&mut entries.iter()))
}

/// Compares texts with numbers in them by the numbers' values.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let run = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
                let (na, nb) = (run(a), run(b));
                let strip = |digits: &'_ [u8]| {
                    let zeros = digits.iter().take_while(|c| **c == b'0').count();
                    digits[zeros..].to_vec()
                };
                let (da, db) = (strip(&a[..na]), strip(&b[..nb]));
                let order = da.len().cmp(&db.len()).then_with(|| da.cmp(&db));
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (&a[na..], &b[nb..]);
            }
            (Some(x), Some(y)) if x == y => (a, b) = (&a[1..], &b[1..]),
            (Some(x), Some(y)) => return x.cmp(y),
        }
    }
}

/// Shell patterns with `*` and `?`, letter case aside (FAT has none).
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Whether bytes begin as a PE image does (`MZ`, and `PE\0\0` where the header points).
pub fn is_pe(head: &[u8]) -> bool {
    let Some(at) = head.get(0x3c..0x40) else {
        return false;
    };
    let at = u32::from_le_bytes([at[0], at[1], at[2], at[3]]) as usize;
    head.starts_with(b"MZ") && at.checked_add(4).and_then(|end| head.get(at..end)) == Some(b"PE\0\0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As NixOS's systemd-boot builder writes them.
    const ENTRY: &str = "title NixOS\nversion Generation 2 NixOS 26.05, Linux Kernel 6.12.9, built on 2026-01-02\n\
        linux /EFI/nixos/abc-linux-6.12.9-bzImage.efi\ninitrd /EFI/nixos/def-initrd-linux-6.12.9-initrd.efi\n\
        options init=/nix/store/x-nixos-system-web/init root=fstab loglevel=4\nmachine-id 0123\nsort-key nixos\n";

    fn entry(file: &str, version: &str) -> Entry {
        Entry {
            file: file.into(),
            version: version.into(),
            ..Entry::default()
        }
    }

    #[test]
    fn an_entry_of_nixos() {
        let entry = Entry::parse("nixos-generation-2.conf", ENTRY);
        assert_eq!(entry.init(), Some("/nix/store/x-nixos-system-web/init"));
        assert_eq!(
            entry.linux.as_deref(),
            Some("/EFI/nixos/abc-linux-6.12.9-bzImage.efi")
        );
        assert_eq!(entry.initrd, ["/EFI/nixos/def-initrd-linux-6.12.9-initrd.efi"]);
        assert_eq!(entry.id(), "nixos-generation-2");
        assert_eq!(
            Entry::parse("nixos-generation-3+2-1.conf", "").id(),
            "nixos-generation-3"
        );
    }

    #[test]
    fn the_default_is_what_systemd_boot_takes() {
        let entries = [
            entry("nixos-generation-9.conf", ""),
            entry("nixos-generation-10.conf", ""),
            entry("arch.conf", ""),
        ];
        let default = |pattern: Option<&str>| default_entry(&entries, pattern).map(|e| e.file.as_str());
        assert_eq!(default(Some("nixos-*")), Some("nixos-generation-10.conf"));
        assert_eq!(
            default(Some("nixos-generation-9.conf")),
            Some("nixos-generation-9.conf")
        );
        assert_eq!(
            default(Some("NIXOS-generation-9")),
            Some("nixos-generation-9.conf")
        );
        assert_eq!(default(Some("gone.conf")), Some("nixos-generation-10.conf"));
        assert_eq!(default(None), Some("nixos-generation-10.conf"));
        assert_eq!(default_entry(&[], None), None);
        assert_eq!(
            default_pattern("timeout 5\ndefault nixos-*\n"),
            Some("nixos-*".into())
        );
        assert_eq!(default_pattern("default @saved\n"), None);
    }

    #[test]
    fn pe_heads() {
        let mut head = vec![0_u8; 0x84];
        head[..2].copy_from_slice(b"MZ");
        head[0x3c] = 0x80;
        head[0x80..].copy_from_slice(b"PE\0\0");
        assert!(is_pe(&head));
        assert!(!is_pe(&head[..0x83]));
        assert!(!is_pe(&vec![0; 4096]), "a file that a power cut emptied");
        assert!(!is_pe(b""));
    }

    proptest! {
        #[test]
        fn anything_is_borne(bytes: Vec<u8>, text in "(?s).*", a in "[a-c0-9]{0,6}", b in "[a-c0-9]{0,6}", glob in "[ab*?]{0,8}") {
            is_pe(&bytes);
            Entry::parse("x", &text).id();
            default_pattern(&text);
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            matches_glob(&glob, &a);
            prop_assert!(matches_glob("*", &a));
            prop_assert!(matches_glob(&a, &a));
        }
    }
}
