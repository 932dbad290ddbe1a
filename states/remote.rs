//! Where a repository is fetched from.
//!
//! A remote may carry a credential (`https://TOKEN@…`, `?private_token=…`), so it cannot be formatted, serialised or refused
//! with that in it. Only [`RemoteUrl::expose`] gives the whole text, for the program that fetches.

use crate::names::BadValue;
use crate::secret_token;
pub use crate::secret_token::{REDACTED, percent_decoded};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What Git fetches by, over a network.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git+ssh", "git"];

/// Signs that are taken for an @ by whoever reads: what stands before them may be a password.
pub const WIDE_AT: [char; 2] = ['\u{ff20}', '\u{fe6b}'];

/// Shortest part of a credential that is treated as a secret by itself.
const SECRET_BYTES_MIN: usize = 4;

/// A Git remote: a URL with a scheme Git fetches from, `user@host:path`, or an absolute path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct RemoteUrl(String);

/// A URL taken apart where a credential may be.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    rest: &'a str,
    query: Option<&'a str>,
}

fn parts(url: &str) -> Option<Parts<'_>> {
    let (scheme, after) = url.split_once("://")?;
    let (before, query) = match after.find(['?', '#']) {
        Some(at) => (&after[..at], Some(&after[at..])),
        None => (after, None),
    };
    // A user's part may hold what is not allowed there: the last @ of the authority ends it.
    let end = before.find('/').unwrap_or(before.len());
    let (user, rest) = match before[..end].rfind('@') {
        Some(at) => (Some(&before[..at]), &before[at + 1..]),
        None => (None, before),
    };
    Some(Parts {
        scheme,
        user,
        rest,
        query,
    })
}

/// Whether this is `host` or `host:port`: where it is not, somebody meant something else, and what stands there may be secret.
pub fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        // An address of IPv6.
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, ""),
            Some((address, after)) => match after.strip_prefix(':') {
                Some(port) => (address, port),
                None => return false,
            },
            None => return false,
        },
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let bracketed = text.starts_with('[');
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_') || bracketed && b == b':')
        && port.bytes().all(|b| b.is_ascii_digit())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(b));
        } else {
            out += &format!("%{b:02X}");
        }
        out
    })
}

/// Whether this is the name of an account: nothing that could hold a password. An account may be an address of mail
/// (`user@domain.com`), also in a code (`user%40domain.com`).
pub fn is_account(text: &str) -> bool {
    let is_mail = || {
        let (name, domain) = text.split_once('@').or_else(|| text.split_once("%40"))?;
        Some(is_plain_account(&name.replacen('+', "_", 1)) && is_plain_account(domain))
    };
    is_plain_account(text) || is_mail().unwrap_or_default()
}

/// Whether this is the name of an account without an @.
pub fn is_plain_account(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)
}

/// The account in `user@host:path`, and what stands behind it. An account may have an @ itself.
pub fn split_account(text: &str) -> (Option<&str>, &str) {
    let Some(first) = text.find('@') else {
        return (None, text);
    };
    let server = text.get(first..).map_or(text.len(), |rest| {
        rest.find([':', '/', '[']).map_or(text.len(), |end| first + end)
    });
    let at = text
        .get(..server)
        .and_then(|head| head.rfind('@'))
        .unwrap_or(first);
    (text.get(..at), text.get(at + 1..).unwrap_or_default())
}

/// Whether a part of a path looks like `user:password@host`.
fn holds_password(path: &str) -> bool {
    path.split('/').any(|part| {
        part.rsplit_once('@')
            .is_some_and(|(before, _)| before.contains(':'))
    })
}

/// A text that was meant as a remote, without what may be a credential: a password, a token in the user's place, everything behind
/// `?` or `#`. The user of an ssh remote is its account there and no secret. What is no remote is taken for a mistyped one.
pub fn redacted(text: &str) -> String {
    if let Some(at) = text.rfind(WIDE_AT) {
        let scheme = text
            .split_once("://")
            .map(|(scheme, _)| scheme)
            .filter(|scheme| is_scheme(scheme));
        let scheme = scheme.map_or(String::new(), |scheme| format!("{scheme}://"));
        return secret_token::without_tokens(&format!(
            "{scheme}{REDACTED}{}",
            without_user(text.split_at(at).1)
        ));
    }
    secret_token::without_tokens(&without_credential(text))
}

fn without_credential(text: &str) -> String {
    let Some(Parts {
        scheme,
        user,
        rest,
        query,
    }) = parts(text)
    else {
        return without_scheme(text);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let is_host = authority.is_empty() || is_authority(authority);
    // An @ that is written as a code ends a password there as well.
    if !is_host && !rest.contains('@') && secret_token::plain(rest).contains('@') {
        return format!("{scheme}://{REDACTED}");
    }
    // A mistyped host is shown; where a further @ stands, it may be a part of a password.
    let has_more = rest.contains('@') || query.is_some_and(|query| query.contains('@'));
    if holds_password(rest) || !is_host && has_more {
        return match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => format!("{scheme}://{}", without_user(rest)),
            Some(_) | None => without_user(text),
        };
    }
    let user = match user {
        None => String::new(),
        Some("git") => "git@".to_owned(),
        Some(user) if scheme.ends_with("ssh") => match user.split_once(':') {
            Some((name, _)) if is_account(name) => format!("{name}:{REDACTED}@"),
            // A colon may be written %3A.
            None if is_account(user) => format!("{user}@"),
            Some(_) | None => format!("{REDACTED}@"),
        },
        Some(_) => format!("{REDACTED}@"),
    };
    let query = query.map_or(String::new(), |query| format!("{}{REDACTED}", &query[..1]));
    // Behind the account of ssh a path may stand there; anywhere else it may be a password whose @ is missing.
    let rest = match user.is_empty() || !scheme.ends_with("ssh") {
        true => without_port(rest),
        false => rest.to_owned(),
    };
    format!("{scheme}://{user}{}{query}", without_secrets(&rest))
}

/// Without what stands behind the server's colon, where it is no port.
fn without_port(rest: &str) -> String {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = authority
        .trim_matches(['[', ']'])
        .split(['%', ']'])
        .next()
        .unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit() || b == b':');
    match authority.split_once(':') {
        Some((host, port)) if !is_port(port) && address.parse::<core::net::Ipv6Addr>().is_err() => {
            format!("{host}:{REDACTED}{path}")
        }
        Some(_) | None => rest.to_owned(),
    }
}

/// Server and path without tokens, and without what is no part of a path.
fn without_secrets(rest: &str) -> String {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = if secret_token::is_secret_in_path(authority) {
        secret_token::shown_path(authority)
    } else {
        authority.to_owned()
    };
    authority + &secret_token::shown_path(path)
}

/// Whether this is no more than the name of a way to fetch.
fn is_scheme(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'+')
}

fn without_scheme(text: &str) -> String {
    if text.starts_with('/') && !text.starts_with("//") && !holds_password(text) {
        return text.to_owned();
    }
    let (user, rest) = split_account(text);
    if user.is_none_or(is_account) && !text.contains(['?', '#']) && !holds_password(rest) {
        return text.to_owned();
    }
    // An account that is shown where nothing follows is shown here as well.
    if let Some(user) = user
        && is_account(user)
        && !rest.contains('@')
        && !holds_password(rest)
    {
        return format!("{user}@{}", without_user(rest));
    }
    without_user(text)
}

/// Nothing before the last `@`, nothing behind the first `?` or `#` after it.
fn without_user(text: &str) -> String {
    let (user, rest) = match text.rfind('@') {
        Some(at) => (format!("{REDACTED}@"), &text[at + 1..]),
        None => (String::new(), text),
    };
    match rest.find(['?', '#']) {
        Some(at) => format!("{user}{}{REDACTED}", &rest[..=at]),
        None => format!("{user}{rest}"),
    }
}

/// `host:path` or a path, without what may be a secret in it.
fn shown_without_scheme(text: &str) -> String {
    match text.split_once(':') {
        Some((host, path)) => format!("{}:{}", redacted(host), secret_token::shown_path(path)),
        None => redacted(text),
    }
}

/// How long a URL is at the beginning of a text. A quote may be a part of it: only one that nothing but punctuation follows ends it.
fn url_bytes(text: &str) -> usize {
    let word = &text[..text.find(char::is_whitespace).unwrap_or(text.len())];
    let inner = word.trim_end_matches(|c: char| c.is_ascii_punctuation() && c != '/' && c != '@');
    let behind = &word[inner.len()..];
    inner.len() + behind.find(['\'', '"']).unwrap_or(behind.len())
}

/// A text without the passwords and tokens that URLs in it may carry (`https://user:token@host`, `?private_token=…`).
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        // The scheme belongs to the URL: what may be shown depends on it.
        let scheme = rest[..at]
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '+'))
            .map_or(0, |before| {
                before + rest[before..].chars().next().map_or(1, char::len_utf8)
            });
        let end = at + url_bytes(&rest[at..]);
        out += &rest[..scheme];
        out += &redacted(&rest[scheme..end]);
        rest = &rest[end..];
    }
    secret_token::without_tokens(&(out + rest))
}

/// Whether ssh brings Git to a remote: `ssh://…`, `git+ssh://…` or `user@host:path` (nix/modules/options.nix says the same).
pub fn is_over_ssh(remote: &str) -> bool {
    match remote.split_once("://") {
        Some((scheme, _)) => scheme.ends_with("ssh"),
        None => !remote.starts_with('/'),
    }
}

/// What may be a secret, in every form in which a program may repeat it, the longest first.
fn forms(mut found: Vec<&str>) -> Vec<String> {
    // A part that short is in every text; it is hidden with what stands around it.
    found.retain(|part| part.len() >= SECRET_BYTES_MIN || part.contains([':', '?', '#']));
    let mut forms: Vec<String> = found
        .into_iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            let plain = percent_decoded(part);
            [
                part.to_owned(),
                part.replace('\'', r"'\''"),
                percent_encoded(&plain),
                plain,
            ]
        })
        .collect();
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    forms
}

impl RemoteUrl {
    /// The whole text, credentials included: for Git's own eyes only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL that names the same repository without any credential, and may be written down.
    pub fn bare(&self) -> String {
        match parts(&self.0) {
            Some(Parts {
                scheme,
                user,
                rest,
                query: _,
            }) => {
                let name = user
                    .filter(|user| *user == "git" || scheme.ends_with("ssh"))
                    .and_then(|user| user.split(':').next())
                    .filter(|name| is_account(name) && !secret_token::has_token(name));
                let at = name.map_or(String::new(), |name| format!("{name}@"));
                format!("{scheme}://{at}{}", without_secrets(rest))
            }
            None => shown_without_scheme(&self.0),
        }
    }

    /// What of it may be a credential, in every form in which a program may repeat it, the longest first.
    pub fn credentials(&self) -> Vec<String> {
        let mut found: Vec<&str> = secret_token::tokens(&self.0);
        let settings = self.0.split([';', '&']).skip(1);
        found.extend(settings.filter_map(|setting| Some(setting.split_once('=')?.1)));
        let Some(Parts {
            scheme,
            user,
            rest: _,
            query,
        }) = parts(&self.0)
        else {
            return forms(found);
        };
        if let Some(user) = user.filter(|user| *user != "git") {
            let by_ssh = scheme.ends_with("ssh");
            match user.split_once(':') {
                Some((_, password)) if by_ssh => found.push(password),
                Some((name, password)) => found.extend([user, name, password]),
                None if by_ssh && is_account(user) => {}
                None => found.push(user),
            }
        }
        if let Some(query) = query {
            found.push(query);
            found.extend(query.split(['?', '&', '#', '=']));
        }
        forms(found)
    }

    /// Whether ssh brings Git there.
    pub fn is_over_ssh(&self) -> bool {
        is_over_ssh(&self.0)
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parts(&self.0) {
            Some(_) => f.write_str(&redacted(&self.0)),
            None => f.write_str(&shown_without_scheme(&self.0)),
        }
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({self})")
    }
}

impl Serialize for RemoteUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for RemoteUrl {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let is_url = || {
            let Some(Parts { rest, .. }) = parts(text) else {
                return false;
            };
            let authority = rest.split('/').next().unwrap_or_default();
            let path = rest.strip_prefix('/').is_some_and(|path| !path.is_empty());
            (SCHEMES
                .iter()
                .any(|scheme| text.starts_with(&format!("{scheme}://")))
                && is_authority(authority)
                || text.starts_with("file:///") && path)
                && !holds_password(rest)
        };
        let is_path =
            || text.len() > 1 && text.starts_with('/') && !text.starts_with("//") && !holds_password(text);
        // `user@host:path`; a host that is named like a scheme is a mistyped URL.
        let is_ssh = || {
            let (user, rest) = split_account(text);
            let end = if rest.starts_with('[') {
                rest.find("]:").map(|at| at + 1)
            } else {
                rest.find(':')
            };
            end.is_some_and(|end| {
                let (host, path) = (&rest[..end], &rest[end + 1..]);
                // Without a scheme, a code is a part of the name.
                user.is_none_or(|user| is_account(user) && !user.contains('%'))
                    && is_authority(host)
                    && !host.starts_with('-')
                    && !SCHEMES.contains(&host)
                    && !path.is_empty()
                    && (user.is_some() || !path.starts_with('/'))
                    && !path.contains(['?', '#'])
                    && !holds_password(path)
                    && !path.split('/').next().unwrap_or_default().contains('@')
            })
        };
        let plain = text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic());
        if plain && (is_url() || is_path() || is_ssh()) {
            Ok(RemoteUrl(text.to_owned()))
        } else {
            Err(BadValue {
                what: "remote",
                value: redacted(text),
                allowed: "it must be https://…, http://…, ssh://…, git+ssh://…, git://…, file:///…, user@host:path or an absolute path",
            })
        }
    }
}

impl TryFrom<String> for RemoteUrl {
    type Error = BadValue;
    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_brings_git_to_is_told() {
        for remote in ["ssh://git@h/x", "git+ssh://h/x", "git@h:x", "h:x"] {
            assert!(is_over_ssh(remote), "{remote}");
        }
        for remote in ["/srv/x", "http://h/x", "https://h/x", "git://h/x", "file:///x"] {
            assert!(!is_over_ssh(remote), "{remote}");
        }
    }

    /// Every place where a credential can be, with what is shown and what is written down.
    const CREDENTIALED: [(&str, &str, &str); 8] = [
        (
            "https://canary@forge/o/r",
            "https://[REDACTED]@forge/o/r",
            "https://forge/o/r",
        ),
        (
            "https://u:canary@forge:8443/o/r",
            "https://[REDACTED]@forge:8443/o/r",
            "https://forge:8443/o/r",
        ),
        (
            "https://u%3Acanary@forge/o/r",
            "https://[REDACTED]@forge/o/r",
            "https://forge/o/r",
        ),
        (
            "https://a@canary@forge/o",
            "https://[REDACTED]@forge/o",
            "https://forge/o",
        ),
        (
            "http://forge/o/r?private_token=canary",
            "http://forge/o/r?[REDACTED]",
            "http://forge/o/r",
        ),
        (
            "https://forge/o/r#canary",
            "https://forge/o/r#[REDACTED]",
            "https://forge/o/r",
        ),
        (
            "ssh://git:canary@forge:22/o/r",
            "ssh://git:[REDACTED]@forge:22/o/r",
            "ssh://git@forge:22/o/r",
        ),
        (
            "git+ssh://me:canary@forge/o/r",
            "git+ssh://me:[REDACTED]@forge/o/r",
            "git+ssh://me@forge/o/r",
        ),
    ];

    #[test]
    fn a_credential_cannot_be_formatted() {
        for (text, shown, bare) in CREDENTIALED {
            let remote: RemoteUrl = text.parse().unwrap();
            assert_eq!(remote.to_string(), shown);
            assert_eq!(format!("{remote:?}"), format!("RemoteUrl({shown})"));
            assert_eq!(ron::to_string(&remote).unwrap(), format!("\"{shown}\""));
            assert_eq!(remote.bare(), bare);
            assert_eq!(remote.expose(), text);
        }
    }

    #[test]
    fn what_may_be_a_credential_is_known_in_every_form_it_is_repeated_in() {
        for (text, wanted) in [
            (
                "http://u:can'ary@forge/o/r",
                &["u:can'ary", "can'ary", r"can'\''ary", "can%27ary"][..],
            ),
            ("https://tok%65n@forge/o/r", &["tok%65n", "token"]),
            ("ssh://me:can\"ary@forge/o/r", &["can\"ary", "can%22ary"]),
            (
                "https://forge/o/r?private_token=canary",
                &["?private_token=canary", "canary"],
            ),
            ("https://forge/o/r#canary", &["#canary", "canary"]),
        ] {
            let found = text.parse::<RemoteUrl>().unwrap().credentials();
            for part in wanted {
                assert!(found.iter().any(|one| one == part), "{text}: {part}: {found:?}");
            }
            assert!(found.is_sorted_by(|a, b| a.len() >= b.len()), "{found:?}");
        }
        for text in [
            "https://git@forge/o/r",
            "ssh://me@forge/o/r",
            "git@forge:o/r",
            "/srv/a@b",
            "https://forge/o/r",
        ] {
            assert_eq!(
                text.parse::<RemoteUrl>().unwrap().credentials(),
                [] as [String; 0],
                "{text}"
            );
        }
    }

    /// What was meant as a credential and is not in its place.
    #[test]
    fn a_mistyped_credential_is_hidden() {
        for (text, shown) in [
            (
                "https://u:canary\u{ff20}forge/x",
                "https://[REDACTED]\u{ff20}forge/x",
            ),
            (
                "u:canary\u{fe6b}forge/x?canary",
                "[REDACTED]\u{fe6b}forge/x?[REDACTED]",
            ),
            ("https://forge:canary/x", "https://forge:[REDACTED]/x"),
            ("ssh://me:canary/x", "ssh://me:[REDACTED]/x"),
            // The controls: ports, an address, a path behind the account of ssh.
            ("https://forge:8443/x", "https://forge:8443/x"),
            ("https://forge:443:443/x", "https://forge:443:443/x"),
            ("https://[fd00::1]:5000/x", "https://[fd00::1]:5000/x"),
            ("https://fd00::1/x", "https://fd00::1/x"),
            ("ssh://git@forge:o/r", "ssh://git@forge:o/r"),
        ] {
            assert_eq!(redacted(text), shown);
        }
        let token = "ghp_canaryabcdefghijklmnopqrstuvwxyz01";
        let remote: RemoteUrl = format!("ssh://{token}@forge/x").parse().unwrap();
        assert_eq!(remote.bare(), "ssh://forge/x");
    }

    #[test]
    fn an_account_may_have_an_at_itself() {
        for (text, user, rest) in [
            ("git@h:x", Some("git"), "h:x"),
            ("a@b@h:x", Some("a@b"), "h:x"),
            ("a@b@[fd00::1]:x@y", Some("a@b"), "[fd00::1]:x@y"),
            ("a@h:x@y", Some("a"), "h:x@y"),
            ("a@h/x@y:z", Some("a"), "h/x@y:z"),
            ("git@u:canary@h:x", Some("git"), "u:canary@h:x"),
            ("h:x", None, "h:x"),
            ("@", Some(""), ""),
        ] {
            assert_eq!(split_account(text), (user, rest), "{text}");
        }
        for account in ["git", "a@b", "john+git@corp.com", "a%40b.c"] {
            assert!(is_account(account), "{account}");
        }
        for account in [
            "",
            "@",
            "a@",
            "@b",
            "-a@b",
            "a@-b",
            "a@b@c",
            "a:b@c",
            "a%3Ab",
            "a+b",
            "a%40b%40c",
            "a@b%40c",
        ] {
            assert!(!is_account(account), "{account}");
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        for text in [
            "https://forge.example/o/r",
            "ssh://git@forge.example:2222/o/r",
            "git+ssh://me@forge.example/o/r",
            "https://git@forge.example/o/r",
            "git@forge.example:o/r",
            "git@forge.example:/srv/o/r",
            "me@[fd00::1]:o/r",
            "ssh://user@domain.com@forge.example:2022/p/r",
            "ssh://user%40domain.com@forge.example/p/r",
            "user@domain.com@forge.example:o/r",
            "user@domain.com@[fd00::1]:o/r",
            "forge:o/r",
            "ssh://git@[fd00::1]:22/o/r",
            "https://forge.example:8443/~me/r",
            "https://forge.example/o/a@b.git",
            "/srv/a@b.git",
            "/srv/config.git",
            "file:///srv/a@b.git",
        ] {
            let remote: RemoteUrl = text.parse().unwrap();
            assert_eq!(
                (remote.to_string(), remote.bare()),
                (text.to_owned(), text.to_owned())
            );
        }
    }

    #[test]
    fn a_refused_remote_is_not_repeated_with_its_credential() {
        for text in [
            "ftp://u:canary@forge/o/r",
            "https:/user:canary@forge/o/r",
            "https//u:canary@forge/o/r",
            "https:u:canary@forge/o/r",
            "https:x/u:canary@forge/o/r",
            "https:/forge/o/r?private_token=canary",
            "https//forge/o/r#canary",
            ":canary@forge/o/r",
            "//u:canary@forge/o/r",
            "/u:canary@forge/o/r",
            "u:canary@forge:o/r",
            "u:canary@forge/o/r",
            "git@forge:u:canary@forge/o/r",
            "git@u:canary@forge:o/r",
            "https://u:ca/nary@forge/o/r",
            "https://u:ca?nary@forge/o/r",
            "https://u:canary/x@forge/o/r",
            "https://forge/u:canary@other/o/r",
            "HTTPS://u:canary@forge/o/r",
            " https://u:canary@forge/o/r",
            "u:canary@",
            "forge:o/r?private_token=canary",
            "canary:x-oauth-basic@forge/o/r",
        ] {
            let refused = text.parse::<RemoteUrl>().unwrap_err();
            let shown = refused.to_string();
            assert!(
                !shown.contains("canary") && !shown.contains("u:ca"),
                "{text}: {shown}"
            );
        }
    }
}
