//! Where a repository is fetched from. Law: a remote may carry a credential (`https://TOKEN@…`, `?private_token=…`), so it cannot be
//! formatted, serialised or refused with that in it; [`RemoteUrl::expose`] alone gives it whole, for the one that fetches.
//!
//! Absent: fetching.

use crate::names::BadValue;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What stands where a credential was.
const REDACTED: &str = "[REDACTED]";

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

/// A URL without what may be a credential: a password, a token in the user's place, everything behind `?` or `#`. The user of an ssh
/// remote is its account there and no secret.
pub fn redacted(url: &str) -> String {
    let Some(Parts {
        scheme,
        user,
        rest,
        query,
    }) = parts(url)
    else {
        return url.to_owned();
    };
    let user = match user {
        None => String::new(),
        Some("git") => "git@".to_owned(),
        Some(user) if scheme.ends_with("ssh") => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{REDACTED}@"),
            None => format!("{user}@"),
        },
        Some(_) => format!("{REDACTED}@"),
    };
    let query = query.map_or(String::new(), |query| format!("{}{REDACTED}", &query[..1]));
    format!("{scheme}://{user}{rest}{query}")
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
                    .and_then(|user| user.split(':').next());
                let at = name.map_or(String::new(), |name| format!("{name}@"));
                format!("{scheme}://{at}{rest}")
            }
            None => self.0.clone(),
        }
    }

    /// Whether it carries what may be a credential.
    pub fn is_credentialed(&self) -> bool {
        self.bare() != self.0
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
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
        let schemes = [
            "https://",
            "http://",
            "ssh://",
            "git+ssh://",
            "git://",
            "file:///",
        ];
        let is_url = || {
            schemes
                .iter()
                .any(|s| text.len() > s.len() && text.starts_with(s))
        };
        let is_path = || text.len() > 1 && text.starts_with('/');
        let is_ssh = || {
            text.split_once(':').is_some_and(|(host, path)| {
                let named = !host.is_empty() && !host.starts_with('-') && !host.contains('/');
                named && !path.is_empty() && !path.starts_with('/')
                    || host.contains('@') && !host.starts_with('-') && !path.is_empty()
            })
        };
        let plain = text.len() <= 512 && text.bytes().all(|b| b.is_ascii_graphic());
        if plain && (is_url() || is_path() || is_ssh()) {
            Ok(RemoteUrl(text.to_owned()))
        } else {
            Err(BadValue {
                what: "remote",
                value: redacted(text),
                allowed: "https://…, http://…, ssh://…, git+ssh://…, git://…, file:///…, user@host:path or an absolute path",
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
            assert!(remote.is_credentialed());
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
            "/srv/config.git",
            "file:///srv/a@b.git",
        ] {
            let remote: RemoteUrl = text.parse().unwrap();
            assert_eq!(
                (remote.to_string(), remote.bare()),
                (text.to_owned(), text.to_owned())
            );
            assert!(!remote.is_credentialed(), "{text}");
        }
    }

    #[test]
    fn a_refused_remote_is_not_repeated_with_its_credential() {
        let refused = "ftp://u:canary@forge/o/r".parse::<RemoteUrl>().unwrap_err();
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
}
