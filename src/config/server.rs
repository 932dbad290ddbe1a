//! Checks the server in the address of a repository, and the path that a forge has there.
//!
//! What ssh, Git or the resolver would refuse by its form is refused before the machine is examined. The address of a web page of a
//! forge is refused, too.
//!
//! `url` checks credentials, `remote` the other forms.

use super::objection::Objection;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Forges whose repositories are OWNER/NAME, no more and no less.
const OF_TWO_PARTS: [&str; 6] = [
    "github.com",
    "www.github.com",
    "ssh.github.com",
    "codeberg.org",
    "bitbucket.org",
    "git.sr.ht",
];
/// Forges whose repositories may lie deeper.
const OF_MORE_PARTS: [&str; 1] = ["gitlab.com"];
/// Forges that do not answer git://, with the server that answers https.
const WITHOUT_GIT: [(&str, &str); 6] = [
    ("github.com", "github.com"),
    ("www.github.com", "github.com"),
    ("ssh.github.com", "github.com"),
    ("gitlab.com", "gitlab.com"),
    ("codeberg.org", "codeberg.org"),
    ("bitbucket.org", "bitbucket.org"),
];
/// Behind a repository's path with a number: a page of any forge.
const NUMBERED: [&str; 5] = ["pull", "pulls", "issues", "merge_requests", "pull-requests"];
/// Longest name of a server (RFC 1035, section 2.3.4).
const HOST_CHARS_MAX: usize = 253;
/// Longest part of a server's name between two dots.
const LABEL_CHARS_MAX: usize = 63;

fn refused(why: impl Into<String>, fix: impl Into<String>) -> Option<Objection> {
    Some(Objection {
        why: why.into(),
        fix: fix.into(),
    })
}

/// What stands against `host` or `host:port`.
pub(super) fn authority_objection(authority: &str) -> Option<Objection> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').unwrap_or((rest, ""));
            if address.parse::<Ipv6Addr>().is_err() {
                return refused(
                    "the text in its brackets is not an IPv6 address",
                    "write it as [fd00::1]",
                );
            }
            (None, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    // A colon without a port is one of the scheme.
    if let Some(port) = port.filter(|port| !port.is_empty())
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        return refused(
            "its port is not valid: ports are from 1 to 65535",
            "write the server's port, or leave it out",
        );
    }
    host.and_then(host_objection)
}

/// What stands against the name of a server.
pub(super) fn host_objection(host: &str) -> Option<Objection> {
    let wrong = |why: &str| {
        refused(
            format!("{why}, which is not allowed in a server name"),
            "use the server's name, such as forge.example",
        )
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if host.starts_with('-') {
        return refused(
            "its server begins with -, which ssh reads as an option",
            "use the server's name, such as forge.example",
        );
    }
    if name.len() > HOST_CHARS_MAX || name.split('.').any(|label| label.len() > LABEL_CHARS_MAX) {
        return wrong("its server has more than 253 characters, or 63 between two dots");
    }
    if name.split('.').any(str::is_empty) {
        return wrong("its server begins with a dot, or has two dots in a row");
    }
    if name
        .split('.')
        .any(|label| label.starts_with('-') || label.ends_with('-'))
    {
        return wrong("a part of its server begins or ends with -");
    }
    let is_number = name
        .split('.')
        .all(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if is_number && name.contains('.') && name.parse::<Ipv4Addr>().is_err() {
        return refused(
            "its server is not an IPv4 address",
            "write four numbers from 0 to 255, or a name",
        );
    }
    None
}

/// What stands against a path on a server: it is no repository of that forge, but a page of it, or somebody's.
pub(super) fn page_objection(host: &str, path: &str) -> Option<Objection> {
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let two = OF_TWO_PARTS.contains(&&*host);
    if (two || OF_MORE_PARTS.contains(&&*host)) && parts.len() == 1 {
        return refused(
            format!("repositories of {host} are OWNER/NAME, but this has only one part"),
            "write the owner and the repository, such as https://forge.example/OWNER/REPO",
        );
    }
    let page = match parts.as_slice() {
        [_, _, page, ..] if two => *page,
        [_, _, page, number, ..] if NUMBERED.contains(page) && number.bytes().all(|b| b.is_ascii_digit()) => {
            *page
        }
        _ => return None,
    };
    let repository = parts.iter().take(2).copied().collect::<Vec<_>>().join("/");
    refused(
        format!("it is the address of a web page of the forge (/{page}), not of a repository"),
        format!(
            "remove the part after {repository}; set a branch or revision in repository.branch or repository.revision"
        ),
    )
}

/// Whether a server is one of a forge where everybody has the same account.
pub(super) fn has_one_account(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    (OF_TWO_PARTS.contains(&&*host) || OF_MORE_PARTS.contains(&&*host)) && !host.starts_with("www.")
}

/// Where a forge answers that does not answer git://.
pub(super) fn instead_of_git(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let (_, https) = WITHOUT_GIT.iter().find(|(forge, _)| *forge == host)?;
    Some(https)
}

/// What stands against `host:path`, as ssh is given it.
pub(super) fn ssh_objection(host: &str, path: &str) -> Option<Objection> {
    if host.len() == 1 && (path.starts_with('\\') || path.starts_with('/')) || path.contains('\\') {
        return refused(
            "it is a Windows path; Git would use the part before the colon as the name of a server",
            "use an absolute path on the installer, such as /run/media/nix-config",
        );
    }
    if path.starts_with('-') {
        return refused(
            "its path begins with -, which Git refuses",
            "write the absolute path, or put ./ before it",
        );
    }
    if host.starts_with('[') {
        return authority_objection(host);
    }
    host_objection(host).or_else(|| page_objection(host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_resolver_and_no_ssh_takes_is_refused() {
        for authority in [
            "-oX",
            "-oProxyCommand=x",
            "forge:99999",
            "forge:0",
            "forge:65536",
            "forge..example",
            ".forge",
            "-forge.example",
            "forge-.example",
            "forge.-x.example",
            "999.1.1.1",
            "1.2.3",
            "[fd00::zz]",
            "[::1]:70000",
            "[1.2.3.4]",
        ] {
            assert!(authority_objection(authority).is_some(), "{authority}");
        }
        assert!(host_objection(&"a".repeat(64)).is_some() && host_objection(&"a.".repeat(128)).is_some());
        for authority in [
            "forge",
            "forge.example",
            "forge.example.",
            "forge:22",
            "forge:65535",
            "10.0.0.1",
            "10.0.0.1:8080",
            "[fd00::1]",
            "[fd00::1]:22",
            "git_lab.example",
            "xn--bcher-kva.example",
            "forge:",
            "127.1.example",
        ] {
            assert_eq!(authority_objection(authority), None, "{authority}");
        }
    }

    #[test]
    fn a_page_of_a_forge_is_no_repository() {
        for (host, path) in [
            ("github.com", "/o/r/pull/5"),
            ("github.com", "/o/r/releases"),
            ("github.com", "/o"),
            ("GitHub.com", "/o/r/actions"),
            ("github.com:443", "/o/r/issues"),
            ("gitlab.com", "/o"),
            ("codeberg.org", "/o/r/wiki"),
            ("forge.example", "/o/r/pull/5"),
            ("forge.example", "/o/r/issues/7"),
            ("git.sr.ht", "/~o/r/log"),
        ] {
            assert!(page_objection(host, path).is_some(), "{host}{path}");
        }
        for (host, path) in [
            ("github.com", "/o/r"),
            ("github.com", "/o/r.git"),
            ("github.com", "/o/r/"),
            ("gitlab.com", "/g/sub/r"),
            ("forge.example", "/r"),
            ("forge.example", "/scm/releases"),
            ("forge.example", "/a/b/c/d"),
            ("git.sr.ht", "/~o/r"),
            ("gist.github.com", "/0123"),
        ] {
            assert_eq!(page_objection(host, path), None, "{host}{path}");
        }
    }

    #[test]
    fn what_looks_like_a_host_and_a_path_may_be_neither() {
        for (host, path) in [
            ("C", "\\repo"),
            ("C", "/repo"),
            ("forge", "-x/y"),
            ("-oX", "y"),
            ("forge", "a\\b"),
            ("github.com", "o"),
        ] {
            assert!(ssh_objection(host, path).is_some(), "{host}:{path}");
        }
        for (host, path) in [
            ("forge", "o/r"),
            ("forge", "/srv/r"),
            ("f", "r"),
            ("github.com", "o/r.git"),
            ("github", "o/r"),
            ("[fd00::1]", "r"),
        ] {
            assert_eq!(ssh_objection(host, path), None, "{host}:{path}");
        }
    }
}
