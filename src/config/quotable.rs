//! Decides whether an address may be repeated in a message.
//!
//! One question for every address that is refused, however it is mistyped: whether somebody may have written a password or a
//! token into it. What is not recognised as harmless is not repeated.
//!
//! `config::mistyped` and `config::url` refuse addresses. `landfall_states::secret_token` knows tokens by their heads and names.

use landfall_states::remote::{REDACTED, WIDE_AT, is_account};
use landfall_states::secret_token;

/// Heads of addresses, also where the signs behind them are missing or others.
const SCHEMES: [&str; 10] = [
    "git+https",
    "git+http",
    "git+ssh",
    "git+file",
    "https",
    "http",
    "ssh-ng",
    "ssh",
    "file",
    "s3",
];
/// Kinds of flake references and channels, of which the same is true as of a scheme: no server and no account stands before the colon.
const KINDS: [&str; 10] = [
    "channel",
    "flake",
    "github",
    "gitlab",
    "nixpkgs",
    "sourcehut",
    "path",
    "git",
    "gh",
    "gl",
];
/// Signs of other scripts that look like a colon.
const WIDE_COLON: [char; 3] = ['\u{ff1a}', '\u{fe55}', '\u{fe13}'];

/// What an option takes without a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// `user@host:path`: anything may stand behind the colon.
    Ssh,
    /// A server and its port.
    Server,
}

/// Whether nothing in an address may be a password or a token. What was left out of it already (`[REDACTED]`) is none.
pub(super) fn may_be_quoted(address: &str, bare: Bare) -> bool {
    if secret_token::has_token(address) || address.contains("&#") {
        return false;
    }
    let text = secret_token::plain(&address.replace(REDACTED, ""))
        .replace(WIDE_AT, "@")
        .replace(WIDE_COLON, ":")
        .replace('\\', "/");
    let text = text.trim();
    if secret_token::is_secret_in_path(text.trim_end_matches(['?', '#'])) {
        return false;
    }
    let is_path = text.starts_with('/') && !text.starts_with("//");
    if is_path {
        return text
            .split_once(':')
            .is_none_or(|(_, behind)| !behind.contains('@'));
    }
    let (scheme, rest) = apart(text);
    let by_ssh = scheme.is_some_and(|scheme| scheme.to_ascii_lowercase().contains("ssh"));
    let (user, server) = rest.rsplit_once('@').unwrap_or(("", rest));
    // `[git@host:22]:path`
    let user = user.strip_prefix('[').unwrap_or(user);
    let of_ssh = scheme.is_none() && bare == Bare::Ssh && (user == "git" || server.contains(':'));
    // Over anything but ssh a user may be a token.
    if !user.is_empty() && !(is_account(user) && (by_ssh || of_ssh)) {
        return false;
    }
    // Behind the account of ssh, and behind the name of a server alone, a path may follow the colon.
    let is_free =
        bare == Bare::Ssh && (!user.is_empty() || scheme.is_none() && !text.contains(char::is_whitespace));
    is_free || has_only_ports(server)
}

/// The scheme, however it is written (`https:`, `https//`, `https;//`, `//`), and what stands behind it.
fn apart(text: &str) -> (Option<&str>, &str) {
    let mut found: (Option<&str>, &str) = (None, text);
    // Some write two.
    while let Some((scheme, rest)) = first_scheme(found.1, found.0.is_none()) {
        found = (Some(scheme), rest);
    }
    found
}

/// `is_first`: nothing stands before it. Behind a scheme, the name of a kind is one of a server or of a user.
fn first_scheme(text: &str, is_first: bool) -> Option<(&str, &str)> {
    let lower = text.to_ascii_lowercase();
    let behind_of = |head: &str, signs: &[char]| {
        lower.strip_prefix(head)?;
        let (head, behind) = text.split_at_checked(head.len())?;
        behind
            .starts_with(signs)
            .then(|| (head, behind.trim_start_matches(signs)))
    };
    let known = SCHEMES
        .iter()
        .find_map(|scheme| behind_of(scheme, &[':', ';', '/', ' ']))
        .or_else(|| {
            let mut kinds = KINDS.iter().filter(|_| is_first);
            kinds.find_map(|kind| behind_of(kind, &[':']))
        });
    known
        .or_else(|| {
            // An @ before it belongs to what is looked at.
            let (before, rest) = text
                .split_once("://")
                .filter(|(before, _)| !before.contains('@'))?;
            Some((before, rest.trim_start_matches('/')))
        })
        .or_else(|| {
            text.strip_prefix("//")
                .map(|rest| ("", rest.trim_start_matches('/')))
        })
}

/// Whether nothing but ports stands behind the colons of a server.
fn has_only_ports(rest: &str) -> bool {
    let server = rest.split('/').next().unwrap_or_default();
    // A wrong port is shown; what is longer than any may be a password.
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let is_ipv6 = |text: &str| {
        let text = text
            .trim_matches(['[', ']'])
            .split('%')
            .next()
            .unwrap_or_default();
        text.parse::<std::net::Ipv6Addr>().is_ok()
    };
    let inside = server.split(']').next().unwrap_or_default();
    if is_ipv6(server) || server.starts_with('[') && is_ipv6(inside) {
        let behind = server.split_once("]:").map_or("", |(_, port)| port);
        return behind.split(':').all(is_port);
    }
    server.split(':').skip(1).all(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_secret_may_be_quoted() {
        for address in [
            "https://forge.example/o/r",
            "https:/forge/a/b",
            "https//forge.example:8443/a",
            "https://fd00::1/a",
            "https://[fd00::1]:22/a",
            "https://forge.example:443:443/a",
            "https://[REDACTED]@forge.example/o/r",
            "https://h:[REDACTED]/r",
            "C:\\repo",
            "/srv/a@b",
            "channel:nixos",
            "github:ops/cache",
            "cache.example:5000/x",
            "cache.example/a:b",
            "",
        ] {
            assert!(may_be_quoted(address, Bare::Ssh), "{address}");
            assert!(
                may_be_quoted(address, Bare::Server) || address.starts_with("C:"),
                "{address}"
            );
        }
        for address in [
            "git@forge.example:o/r",
            "git@[fd00::1]:2222:o/r",
            "forge:/srv/r",
            "[git@host:22]:o/r",
            "ssh://git@github.com:o/r",
            "git@host:r#[REDACTED]",
        ] {
            assert!(may_be_quoted(address, Bare::Ssh), "{address}");
        }
    }

    #[test]
    fn what_is_no_account_and_no_port_may_be_a_password() {
        for address in [
            "canary%40h/o/r",
            "https:/canary%40h/o/r",
            "github:u:canary/o/r",
            "git:u:canary",
            "path:u:canary/x",
            "-c http.extraHeader=u:canary/o/r",
            "x:canary&#64;h/o/r",
        ] {
            assert!(!may_be_quoted(address, Bare::Ssh), "{address}");
            assert!(!may_be_quoted(address, Bare::Server), "{address}");
        }
        for address in [
            "deploy:9371640528/x",
            "https:u:9371640528",
            "https://u:655360/x",
            "u:x/y",
        ] {
            assert!(!may_be_quoted(address, Bare::Server), "{address}");
        }
        assert!(may_be_quoted("deploy:5000/x", Bare::Server));
    }

    fn coded() -> impl Strategy<Value = (String, String)> {
        let sign = |plain: &'static str, codes: &'static [&'static str]| {
            let all: Vec<&str> = [&[plain], codes].concat();
            proptest::sample::select(all)
        };
        let scheme = proptest::sample::select(vec![
            "https://",
            "http://",
            "ssh://",
            "git+https://",
            "HTTPS://",
            "ftp://",
            "https:",
            "https:/",
            "https//",
            "https///",
            "https;//",
            "//",
            "https:\\\\",
            "http://https://",
            "git clone https://",
            "url=https://",
            " https://",
            "",
        ]);
        let at = sign("@", &["%40", "%2540", "\u{ff20}", "\u{fe6b}"]);
        let colon = sign(":", &["%3A", "%3a", "%253A", "\u{ff1a}"]);
        let host = sign("h.example", &["h", "h.example:443", "[fd00::1]"]);
        (scheme, "[a-z]{1,8}", colon, "[a-zA-Z0-9/;,?#!:]{1,12}", at, host).prop_map(
            |(scheme, user, colon, more, at, host)| {
                let address = format!("{scheme}{user}{colon}canary{more}{at}{host}/o/r");
                (address, scheme.to_owned())
            },
        )
    }

    proptest! {
        /// Whatever scheme stands before it, and however its signs are written: a password before an @ is recognised.
        #[test]
        fn a_password_is_never_quoted((address, _) in coded()) {
            prop_assert!(!may_be_quoted(&address, Bare::Ssh), "{}", address);
            prop_assert!(!may_be_quoted(&address, Bare::Server), "{}", address);
        }

        /// Also where the @ is missing, behind every scheme.
        #[test]
        fn what_may_be_a_password_behind_a_scheme_is_never_quoted(
            scheme in "(https|http|ssh)(://|:|:/|//|///|;//)",
            user in "[a-z]{1,8}",
            password in "[a-z][a-zA-Z0-9]{0,12}|[0-9]{6,12}",
            path in "(/h\\.example)?/o/r",
        ) {
            let address = format!("{scheme}{user}:{password}{path}");
            prop_assert!(!may_be_quoted(&address, Bare::Ssh), "{}", address);
            prop_assert!(!may_be_quoted(&address, Bare::Server), "{}", address);
        }

        /// A setting with the name of a secret is one wherever it stands in the path.
        #[test]
        fn a_setting_that_names_a_secret_is_never_quoted(
            scheme in "(https://|https:/|https//|//|git@)?",
            sign in "[/;&]",
            name in "(token|private_token|PASSWORD|api-key|sig)",
            more in "(/o/r)?",
        ) {
            let address = format!("{scheme}h.example/o/r{sign}{name}=canary{more}");
            prop_assert!(!may_be_quoted(&address, Bare::Ssh), "{}", address);
            prop_assert!(!may_be_quoted(&address, Bare::Server), "{}", address);
        }
    }
}
