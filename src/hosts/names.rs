//! Derives labels from the name of a host.
//!
//! Every label fits its limit (FAT 11, swap 15, ext4 16, GPT 36 characters), and the same name always gives the same labels. Labels
//! are unique only on one machine.

use landfall_states::names::{BadValue, Digest};

/// Words of the Nix language, which are no names.
const KEYWORDS: [&str; 10] = [
    "assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with",
];

/// Names that systems have in their hosts(5) by themselves, or that resolvers answer alone.
const RESERVED: [&str; 14] = [
    "localhost",
    "localhost4",
    "localhost6",
    "localhost.localdomain",
    "localhost4.localdomain4",
    "localhost6.localdomain6",
    "localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "broadcasthost",
];

/// A name that is both the host's own (RFC 1123) and that of its entry in the flake: stricter than an entry's name has to be.
pub(crate) fn host_name(text: &str) -> Result<(), BadValue> {
    let bad = |allowed: &'static str| {
        Err(BadValue {
            what: "host name",
            value: text.to_owned(),
            allowed,
        })
    };
    let is_part = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let lower = text.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.ends_with(".localhost") {
        return bad("it is reserved for every system or its network (hosts(5), RFC 6761)");
    }
    if !(1..=63).contains(&text.len())
        || !text.bytes().all(is_part)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return bad("it must be 1 to 63 characters of a-z A-Z 0-9 -, and must not begin or end with -");
    }
    let is_number = text.bytes().all(|c| c.is_ascii_digit())
        || lower
            .strip_prefix("0x")
            .is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_hexdigit()));
    if is_number {
        return bad(
            "it must not be a number, because programs read a number as an address (inet_aton(3)); add a letter",
        );
    }
    Ok(())
}

/// What has this name in DNS and in folders that do not tell upper from lower case, where it is written in another way.
pub(crate) fn same_but_for_case<'a>(name: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.find(|other| *other != name && other.eq_ignore_ascii_case(name))
}

/// The labels of a host's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) efi: String,
    pub(crate) root: String,
    pub(crate) luks: String,
    pub(crate) swap: String,
}

impl Labels {
    pub(crate) fn of(host: &str) -> Labels {
        Labels {
            efi: label("ESP-", host, 11).to_ascii_uppercase(),
            root: label("root-", host, 16),
            luks: label("luks-", host, 36),
            swap: label("swap-", host, 15),
        }
    }
}

/// `prefix` and the name; a name that is too long is cut, and told from others that begin alike by four digits of its hash.
fn label(prefix: &str, host: &str, max: usize) -> String {
    let room = max - prefix.len();
    if host.len() <= room {
        return format!("{prefix}{host}");
    }
    let digest = Digest::of(host.as_bytes());
    let digits: String = digest.as_str().chars().take(4).collect();
    let kept: String = host.chars().take(room - 4).collect();
    format!("{prefix}{kept}{digits}")
}

/// Whether a text is a name that needs no quotes in Nix.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\''))
        && !KEYWORDS.contains(&text)
}

/// The name as an attribute of Nix.
pub(crate) fn attribute(name: &str) -> String {
    if is_identifier(name) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A string of Nix.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    let out = out.replace("${", "\\${");
    format!("{out}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::names::{EspLabel, Ext4Label, PartitionLabel, SwapLabel};
    use proptest::prelude::*;

    #[test]
    fn names_that_are_somebody_elses_are_none() {
        for bad in [
            "localhost",
            "LocalHost",
            "localhost.localdomain",
            "web.localhost",
            "ip6-localhost",
            "ip6-allnodes",
            "12",
            "0x7f",
            "0X7F",
            "",
            "a.b",
        ] {
            assert!(host_name(bad).is_err(), "{bad}");
        }
        for good in ["web", "localhost-2", "ip6", "1a", "1-2", "0xyz", "a"] {
            assert!(host_name(good).is_ok(), "{good}");
        }
        let known = ["db", "web"];
        assert_eq!(same_but_for_case("WEB", known.into_iter()), Some("web"));
        assert_eq!(same_but_for_case("web", known.into_iter()), None, "it is itself");
    }

    #[test]
    fn short_names_are_kept_and_long_ones_are_told_apart() {
        let web = Labels::of("web");
        assert_eq!(
            [&*web.efi, &*web.root, &*web.luks, &*web.swap],
            ["ESP-WEB", "root-web", "luks-web", "swap-web"]
        );
        let (one, two) = (Labels::of("build-server-1"), Labels::of("build-server-2"));
        assert_eq!((one.efi.len(), one.swap.len()), (11, 15));
        assert_ne!(one.efi, two.efi);
        assert_ne!(one.swap, two.swap);
        assert_eq!(one.luks, "luks-build-server-1");
    }

    proptest! {
        #[test]
        fn every_label_is_one(host in "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?") {
            let labels = Labels::of(&host);
            prop_assert!(labels.efi.parse::<EspLabel>().is_ok(), "{labels:?}");
            prop_assert!(labels.root.parse::<Ext4Label>().is_ok(), "{labels:?}");
            prop_assert!(labels.luks.parse::<PartitionLabel>().is_ok(), "{labels:?}");
            prop_assert!(labels.swap.parse::<SwapLabel>().is_ok(), "{labels:?}");
        }
    }

    #[test]
    fn names_of_nix_are_quoted_where_they_have_to_be() {
        assert_eq!(attribute("web"), "web");
        assert_eq!(attribute("1web"), "\"1web\"");
        assert_eq!(attribute("in"), "\"in\"");
        assert_eq!(quoted("a\"${b}\\"), "\"a\\\"\\${b}\\\\\"");
    }
}
