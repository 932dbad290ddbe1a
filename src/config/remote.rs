//! Refuses addresses of repositories that Git would misread.
//!
//! An address that Git would not accept, or would read as something else, is refused before the machine is examined, and the message
//! shows the right form. An address with a credential is refused, and its text is not repeated.
//!
//! `landfall_states::remote` has the forms of an address. Whether a server answers is tested later.

use super::objection::Objection;
use super::url::{self, Secret};
use super::{forge, server};
use landfall_states::remote::{RemoteUrl, percent_decoded, split_account};
use landfall_states::secret_token;
use std::net::Ipv6Addr;

/// Parts of paths that forges have in the addresses of their pages, and a repository has not.
const PAGES: [&str; 12] = [
    "/-/",
    "/src/branch/",
    "/src/commit/",
    "/src/tag/",
    "/src/master/",
    "/src/main/",
    "/tree/",
    "/blob/",
    "/raw/",
    "/commit/",
    "/commits/",
    "/archive/",
];

/// What can be written at all.
pub(super) const FORMS: &str = "write https://forge.example/OWNER/REPO, git@forge.example:OWNER/REPO, or an absolute path on the installer";

/// The reason against an address, if there is one.
pub(super) fn objection(remote: &RemoteUrl) -> Option<Objection> {
    let text = remote.expose();
    match text.split_once("://") {
        Some((scheme, rest)) => match scheme.split_once("::") {
            Some((helper, place)) => Some(of_helper(helper, place, rest)),
            None => of_url(scheme, rest),
        },
        None if text.starts_with('/') => of_path(text),
        None if secret_token::has_token(text)
            || secret_token::is_secret_in_path(text.trim_end_matches(['?', '#'])) =>
        {
            Some(of_secret("its path"))
        }
        None => of_ssh(text),
    }
}

/// What to write, where that is taken; else what stands against it.
fn write(form: &str) -> String {
    match form.parse::<RemoteUrl>() {
        Ok(remote) => match objection(&remote) {
            None => format!("write {remote}"),
            Some(Objection { fix, .. }) => fix,
        },
        Err(_) => FORMS.to_owned(),
    }
}

/// An address for a program `git-remote-HELPER` (gitremote-helpers(7)). `place` and `rest`: what stands before and behind `://`.
pub(super) fn of_helper(helper: &str, place: &str, rest: &str) -> Objection {
    // Of Amazon's own the address is known that Git needs.
    let (_, name) = rest.split_once('@').unwrap_or(("", rest));
    let is_plain = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !text.is_empty() && text.bytes().all(plain)
    };
    let fix = if helper == "codecommit" && is_plain(place) && is_plain(name) {
        write(&format!(
            "https://git-codecommit.{place}.amazonaws.com/v1/repos/{name}"
        ))
    } else {
        "write an https:// or an ssh:// address, or an absolute path".to_owned()
    };
    Objection {
        why: format!("{helper}:: names a Git remote helper, and landfall allows only Git's own protocols"),
        fix,
    }
}

/// An address of IPv6 without brackets at the beginning of a text, and the path behind it: the longest there is.
fn bare_ipv6(text: &str) -> Option<(&str, &str)> {
    let ends = text.rmatch_indices([':', '/']).map(|(at, _)| at);
    let mut found = ends.filter_map(|at| {
        let (address, behind) = text.split_at_checked(at)?;
        address.parse::<Ipv6Addr>().is_ok().then_some((address, behind))
    });
    let (address, behind) = found.next()?;
    Some((address, behind.trim_start_matches([':', '/'])))
}

fn of_secret(place: &str) -> Objection {
    Objection {
        why: format!(
            "it has a token in {place}; the address is kept in logs, in the checkpoint and in the clone"
        ),
        fix: "remove it, and provide the token as credential landfall.repository-token".into(),
    }
}

/// What no server takes of a path that is written for a URL: codes that are none, and codes of signs that nobody sees.
fn of_codes(path: &str) -> Option<Objection> {
    let refused = |why: &str, fix: &str| {
        Some(Objection {
            why: why.to_owned(),
            fix: fix.to_owned(),
        })
    };
    let is_code = |code: &str| {
        code.get(..2)
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if path.split('%').skip(1).any(|code| !is_code(code)) {
        return refused(
            "it has a % without two hexadecimal digits after it",
            "write %25 for a percent sign, or complete the code",
        );
    }
    if percent_decoded(path).chars().any(char::is_control) {
        return refused(
            "it has the code of a control character (%00 to %1F, %7F)",
            "remove the code",
        );
    }
    None
}

fn of_url(scheme: &str, rest: &str) -> Option<Objection> {
    let refused = |why: &str, fix: String| {
        Some(Objection {
            why: why.to_owned(),
            fix,
        })
    };
    match url::secret(scheme, rest, |_, _| false) {
        Some(Secret::User) => {
            return refused(
                "it contains a user name, a password or a token, and the address is stored in logs, in the checkpoint and in the clone",
                "remove the part before the @; provide a token as credential landfall.repository-token, or use an ssh remote with credential landfall.ssh-key"
                    .into(),
            );
        }
        Some(Secret::Path) => return Some(of_secret("its path")),
        Some(Secret::Host) => return Some(of_secret("its server name")),
        Some(Secret::Query(query)) => return Some(behind(query)),
        None => {}
    }
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if scheme != "file" && path.trim_matches('/').is_empty() {
        return refused(
            "it names a server, but no repository",
            "add the repository's path, such as https://forge.example/OWNER/REPO.git".into(),
        );
    }
    let by_http = matches!(scheme, "http" | "https");
    // Over ssh a repository may lie anywhere; what GitLab has in the addresses of its pages it has nowhere else.
    let pages = if by_http { &PAGES[..] } else { &PAGES[..1] };
    if scheme != "file"
        && let Some((repository, page)) = page_of(path, pages)
    {
        return refused(
            &format!("it is the address of a web page of the forge ({page}), not of a repository"),
            format!(
                "{}, and set repository.branch or repository.revision",
                write(&format!("{scheme}://{authority}{repository}"))
            ),
        );
    }
    if let Some(objection) = of_codes(path) {
        return Some(objection);
    }
    if scheme == "file" {
        return None;
    }
    if matches!(scheme, "http" | "https")
        && let Some(objection) = forge::no_repository(authority, path)
    {
        return Some(objection);
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let name = host.split(':').next().unwrap_or_default();
    if scheme == "git"
        && let Some(https) = server::instead_of_git(name)
    {
        return refused(
            &format!("{https} does not answer git://"),
            write(&format!("https://{https}{path}")),
        );
    }
    if scheme.ends_with("ssh") && server::has_one_account(name) {
        let form = format!("{scheme}://git@{host}{path}");
        match user {
            None => return Some(without_account(&form)),
            Some(user) if !is_account_of_forge(user) => return Some(other_account(&form)),
            Some(_) => {}
        }
    }
    server::authority_objection(host).or_else(|| server::page_objection(host, path))
}

/// Over ssh to a forge where everybody has the same account. `form`: the same with it.
fn without_account(form: &str) -> Objection {
    Objection {
        why: "it has no user: ssh would use the local user name, and forges accept only git@".into(),
        fix: write(form),
    }
}

/// Whether a forge where everybody has the same account takes this one. For certificates GitHub has one for each organisation
/// (`org-NUMBER`).
fn is_account_of_forge(user: &str) -> bool {
    let of_organisation = |number: &str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    user == "git" || user.strip_prefix("org-").is_some_and(of_organisation)
}

/// Over ssh to the same with another account. `form`: the same with the right one.
fn other_account(form: &str) -> Objection {
    Objection {
        why: "the forge accepts only git@ over ssh, for every user; the key says who you are".into(),
        fix: write(form),
    }
}

/// The repository and what makes the address one of a page: it stands behind an owner and a name, the first such part of all.
fn page_of<'p>(path: &'p str, pages: &'static [&'static str]) -> Option<(&'p str, &'static str)> {
    let cut = pages.iter().filter_map(|page| {
        // GitLab has nothing of that name: also without what follows.
        let repository = match path.split_once(page) {
            Some((repository, _)) => repository,
            None if *page == "/-/" => path.strip_suffix("/-")?,
            None => return None,
        };
        (repository.trim_matches('/').split('/').count() >= 2).then_some((repository, *page))
    });
    cut.min_by_key(|(repository, _)| repository.len())
}

fn of_path(text: &str) -> Option<Objection> {
    if secret_token::has_token(text) {
        return Some(of_secret("it"));
    }
    text.find(['?', '#']).map(|at| behind(&text[at..]))
}

/// What stands behind `?` or `#`: Git takes it for a part of the path, and Nix for something of a flake reference.
fn behind(query: &str) -> Objection {
    let named = |key: &str| {
        query
            .split(['?', '&', '#'])
            .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
            .filter(|value| !value.is_empty())
    };
    let fix = if query.starts_with('#') {
        "remove the # and the rest; the option host has the name of the host".to_owned()
    } else if named("ref").is_some() {
        "remove the ? and the rest, and set repository.branch to the name after ref=".to_owned()
    } else if named("rev").is_some() {
        "remove the ? and the rest, and set repository.revision to the revision".to_owned()
    } else if named("dir").is_some() {
        "remove the ? and the rest; the flake must be at the top of the repository".to_owned()
    } else {
        "remove the ? and the rest; provide a token as credential landfall.repository-token".to_owned()
    };
    Objection {
        why: format!(
            "it has {} after the repository's path, which Git does not support",
            // What follows may be a token.
            if query.starts_with('#') {
                "a fragment (#…)"
            } else {
                "a query (?…)"
            }
        ),
        fix,
    }
}

/// `[host:port]:path`, as ssh and Git take it in some places: why it is refused, and the address that was meant.
pub(super) fn without_brackets(user: Option<&str>, host: &str, path: &str) -> (String, String) {
    let account = user.map_or(String::new(), |user| format!("{user}@"));
    let path = path.trim_start_matches('/');
    let host = if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    (
        "brackets are only for an IPv6 address; for a port, write an ssh:// address".to_owned(),
        format!("ssh://{account}{host}/{path}"),
    )
}

fn of_ssh(text: &str) -> Option<Objection> {
    let (user, rest) = split_account(text);
    let (host, path) = if let Some(inner) = rest.strip_prefix('[') {
        let end = rest.find("]:")?;
        if inner[..end - 1].parse::<Ipv6Addr>().is_err() {
            let path = &rest[end + 2..];
            let (why, form) = without_brackets(user, &inner[..end - 1], path);
            return Some(Objection {
                why,
                fix: write(&form),
            });
        }
        (&rest[..=end], &rest[end + 2..])
    } else if let Some((address, path)) = bare_ipv6(rest) {
        let first = address.split(':').next().unwrap_or_default();
        let path = if path.is_empty() { "OWNER/REPO" } else { path };
        let (_, form) = without_brackets(user, address, path);
        return Some(Objection {
            why: format!(
                "an IPv6 address must be in brackets; Git would use {first} as the name of a server"
            ),
            fix: write(&form),
        });
    } else {
        rest.split_once(':')?
    };
    if user.is_none()
        && let Some(objection) = forge::flake_reference(host, path, &|_| String::new())
    {
        return Some(objection);
    }
    if path.trim_matches('/').is_empty() {
        return Some(Objection {
            why: "it names a server, but no repository".into(),
            fix: format!("write {}:OWNER/REPO", text.trim_end_matches([':', '/'])),
        });
    }
    if user.is_none() && path.starts_with(':') {
        return Some(of_helper(host, "", ""));
    }
    let account = user.map_or(String::new(), |user| format!("{user}@"));
    if path.starts_with(':') {
        return Some(Objection {
            why: "its server has two colons; Git would use a path that begins with the second one".into(),
            fix: write(&format!("{account}{host}:{}", path.trim_start_matches(':'))),
        });
    }
    if let Some((repository, page)) = page_of(path, &PAGES[..1]) {
        return Some(Objection {
            why: format!("it is the address of a web page of the forge ({page}), not of a repository"),
            fix: format!(
                "{}, and set repository.branch or repository.revision",
                write(&format!("{account}{host}:{repository}"))
            ),
        });
    }
    of_ssh_path(user, host, path)
}

/// `[user@]host:path`, where both are there: a port in the path, a forge.
fn of_ssh_path(user: Option<&str>, host: &str, path: &str) -> Option<Objection> {
    let account = user.map_or(String::new(), |user| format!("{user}@"));
    let (first, behind) = path.split_once([':', '/']).unwrap_or((path, ""));
    let is_port = first.parse::<u16>().is_ok_and(|port| port > 0);
    if path.starts_with(&format!("{first}:"))
        && !first.is_empty()
        && first.bytes().all(|b| b.is_ascii_digit())
    {
        return Some(Objection {
            why: format!(
                "{account}{host}:PATH cannot have a port; Git would use a path that begins with {first}:"
            ),
            fix: write(&format!(
                "ssh://{account}{host}:{first}/{}",
                behind.trim_start_matches('/')
            )),
        });
    }
    let Some(objection) = server::ssh_objection(host, path) else {
        let form = format!("git@{host}:{path}");
        return match user.filter(|user| !is_account_of_forge(user)) {
            _ if !server::has_one_account(host) => None,
            None if user.is_none() => Some(without_account(&form)),
            None => None,
            Some(_) => Some(other_account(&form)),
        };
    };
    if is_port && server::ssh_objection(host, behind).is_none() && !behind.is_empty() {
        // Without the number it is a repository of that forge.
        return Some(Objection {
            why: format!(
                "{account}{host}:PATH cannot have a port, and Git uses {first} as a part of the path"
            ),
            fix: write(&format!("ssh://{account}{host}:{first}/{behind}")),
        });
    }
    Some(objection)
}

/// What is allowed and is probably meant otherwise.
pub(super) fn warning(remote: &RemoteUrl) -> Option<String> {
    let text = remote.expose();
    if text.contains("://") || text.starts_with('/') {
        return None;
    }
    let (before, path) = text.rsplit_once(':')?;
    let (first, rest) = path.split_once('/')?;
    let is_port = first.parse::<u16>().is_ok_and(|port| port > 0) && !rest.is_empty();
    is_port.then(|| {
        format!(
            "repository.remote {remote}: Git uses {first} as a part of the path; if it is the port, {}",
            write(&format!("ssh://{before}:{first}/{rest}"))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, String)> {
        let remote: RemoteUrl = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        objection(&remote).map(|Objection { why, fix }| (why, fix))
    }

    /// What is written, what is said of it, and what the fix says.
    const NO_REMOTES: &[(&str, &str, &str)] = &[
        (
            "github:ops/nix-config",
            "flake reference",
            "write https://github.com/ops/nix-config or git@github.com:ops/nix-config",
        ),
        (
            "github:ops/nix-config/main",
            "flake reference",
            "repository.revision to \"main\"",
        ),
        (
            "gitlab:ops/nix-config",
            "flake reference",
            "https://gitlab.com/ops/nix-config",
        ),
        (
            "sourcehut:~ops/nix-config",
            "flake reference",
            "https://git.sr.ht/~ops/nix-config",
        ),
        ("github:ops", "flake reference", "https://github.com/OWNER/REPO"),
        ("path:srv/config", "flake reference", "absolute path"),
        ("flake:nixpkgs", "flake reference", "https://"),
        (
            "https://forge.example/o/r?ref=main",
            "a query",
            "repository.branch",
        ),
        (
            "https://forge.example/o/r?rev=0123",
            "a query",
            "repository.revision",
        ),
        (
            "https://forge.example/o/r?dir=hosts",
            "a query",
            "top of the repository",
        ),
        (
            "https://forge.example/o/r?private_token=canary",
            "a query",
            "landfall.repository-token",
        ),
        ("https://forge.example?x", "a query", "remove"),
        (
            "ssh://git@forge.example/o/r?ref=main",
            "a query",
            "repository.branch",
        ),
        ("file:///srv/r?ref=main", "a query", "repository.branch"),
        ("/srv/r?ref=main", "a query", "repository.branch"),
        ("/srv/r#web", "a fragment", "option host"),
        ("https://forge.example/o/r#web", "a fragment", "option host"),
        (
            "git@forge.example:2222:o/r",
            "cannot have a port",
            "write ssh://git@forge.example:2222/o/r",
        ),
        (
            "git@forge.example:2222:/o/r",
            "cannot have a port",
            "write ssh://git@forge.example:2222/o/r",
        ),
        (
            "git@[fd00::1]:2222:o/r",
            "cannot have a port",
            "write ssh://git@[fd00::1]:2222/o/r",
        ),
        (
            "https://canary@forge.example/o/r",
            "token",
            "landfall.repository-token",
        ),
        ("https://git@forge.example/o/r", "user name", "remove"),
        ("https://u:canary@forge.example/o/r", "password", "credential"),
        ("https://u%3Acanary@forge.example/o/r", "password", "credential"),
        ("https://a@canary@forge.example/o", "password", "credential"),
        ("http://canary@forge.example/o", "password", "credential"),
        ("ssh://git:canary@forge.example/o/r", "password", "credential"),
        (
            "ssh://ghp_canaryabcdefghijklmnopqrstuvwxyz01@forge.example/o/r",
            "token",
            "landfall.ssh-key",
        ),
        ("ssh://git%3Acanary@forge.example/o/r", "password", "credential"),
        (
            "git+ssh://git%3acanary@forge.example/o/r",
            "password",
            "credential",
        ),
        (
            "https://forge.example",
            "no repository",
            "add the repository's path",
        ),
        ("https://forge.example/", "no repository", "OWNER/REPO"),
        ("ssh://git@forge.example", "no repository", "add"),
        (
            "https://github.com/ops/nix-config/tree/main",
            "a web page",
            "write https://github.com/ops/nix-config,",
        ),
        (
            "https://gitlab.com/ops/nix-config/-/tree/main",
            "a web page",
            "write https://gitlab.com/ops/nix-config,",
        ),
        (
            "https://git.example/group/sub/x/-/blob/main/flake.nix",
            "a web page",
            "write https://git.example/group/sub/x,",
        ),
        (
            "https://gitlab.com/ops/nix-config/-",
            "a web page",
            "write https://gitlab.com/ops/nix-config,",
        ),
        (
            "https://gitea.example/ops/x/src/commit/abcdef",
            "a web page",
            "write https://gitea.example/ops/x,",
        ),
        (
            "https://gitea.example/ops/x/src/tag/v1",
            "a web page",
            "write https://gitea.example/ops/x,",
        ),
        (
            "https://gitea.example/ops/x/commits/branch/main",
            "a web page",
            "write https://gitea.example/ops/x,",
        ),
        (
            "git@github.com:443/ops/x.git",
            "cannot have a port",
            "write ssh://git@github.com:443/ops/x.git",
        ),
        ("ext::/usr/bin/id%20x", "a Git remote helper", "https://"),
        ("fd::17", "a Git remote helper", "https://"),
        ("foo::bar", "a Git remote helper", "https://"),
        (
            "codecommit::us-east-1://repo",
            "codecommit:: names a Git remote helper",
            "write https://git-codecommit.us-east-1.amazonaws.com/v1/repos/repo",
        ),
        (
            "foo::https://forge.example/o/r",
            "foo:: names a Git remote helper",
            "write an https://",
        ),
        ("git@git@github.com:o/r", "only git@", "write git@github.com:o/r"),
        (
            "ssh://me@corp.example@github.com/o/r",
            "only git@",
            "write ssh://git@github.com/o/r",
        ),
        (
            "https://forge.example/ghp_canaryabcdefghijklmnopqrstuvwxyz01/ops/x",
            "a token",
            "landfall.repository-token",
        ),
        (
            "https://forge.example/ops/x%3Ftoken=canary",
            "a token",
            "landfall.repository-token",
        ),
        (
            "https://codeberg.org/ops/r/src/branch/main",
            "a web page",
            "write https://codeberg.org/ops/r,",
        ),
        ("git@fd00::1:o/r", "in brackets", "write ssh://git@[fd00::1]/o/r"),
        ("git@fd00::1/o/r", "in brackets", "write ssh://git@[fd00::1]/o/r"),
        ("fd00::1:o/r", "in brackets", "write ssh://[fd00::1]/o/r"),
        (
            "git@2001:db8:0:0:0:0:0:1:o/r",
            "in brackets",
            "write ssh://git@[2001:db8:0:0:0:0:0:1]/o/r",
        ),
        (
            "git@forge.example::o/r",
            "two colons",
            "write git@forge.example:o/r",
        ),
        (
            "ssh://github.com/ops/nix",
            "no user",
            "write ssh://git@github.com/ops/nix",
        ),
        (
            "git+ssh://gitlab.com:22/ops/nix",
            "no user",
            "write git+ssh://git@gitlab.com:22/ops/nix",
        ),
        (
            "ssh://git@forge.example/o/r/-/tree/x",
            "a web page",
            "write ssh://git@forge.example/o/r,",
        ),
        (
            "git@forge.example:o/r/-/tree/x",
            "a web page",
            "write git@forge.example:o/r,",
        ),
        (
            "ssh://bob@github.com/o/r",
            "only git@",
            "write ssh://git@github.com/o/r",
        ),
        ("bob@gitlab.com:o/r", "only git@", "write git@gitlab.com:o/r"),
        (
            "git://github.com/ops/nix",
            "does not answer git://",
            "write https://github.com/ops/nix",
        ),
        (
            "git://gitlab.com:9418/ops/nix.git",
            "does not answer git://",
            "write https://gitlab.com/ops/nix.git",
        ),
        (
            "git://codeberg.org/ops/nix/src/branch/main",
            "does not answer git://",
            "write https://codeberg.org/ops/nix,",
        ),
        (
            "git@ssh.github.com:443/o/%zz",
            "cannot have a port",
            "write %25 for",
        ),
    ];

    #[test]
    fn what_is_no_remote_of_git_is_refused_with_the_form_to_write() {
        for &(text, why, fix) in NO_REMOTES {
            let (said, form) = of(text).unwrap_or_else(|| panic!("{text} is taken"));
            assert!(
                said.contains(why) && form.contains(fix),
                "{text}: {said} / {form}"
            );
            assert!(
                !format!("{said}{form}").contains("canary"),
                "{text}: {said} / {form}"
            );
        }
    }

    #[test]
    fn what_git_takes_is_taken() {
        for text in [
            "https://forge.example/o/r",
            "https://forge.example:8443/o/r.git",
            "http://forge.example/o/r",
            "ssh://git@forge.example:2222/o/r",
            "git+ssh://me@forge.example/o/r",
            // The account of a key at AWS CodeCommit looks like a token, and is none.
            "ssh://APKAEIBAERJR2EXAMPLE@git-codecommit.us-east-1.amazonaws.com/v1/repos/x",
            "git://forge.example/r",
            // Accounts with an @, as Git and ssh take them.
            "ssh://user@domain.com@source.developers.google.com:2022/p/P/r/R",
            "ssh://john.doe%40corp.com@gerrit.example:29418/x",
            "git+ssh://a@b@forge.example/x",
            "ssh://john+git@corp.com@[fd00::1]:22/x",
            "user@domain.com@forge.example:o/r",
            "user@domain.com@[fd00::1]:o/r",
            "git://git.kernel.org/pub/scm/git/git.git",
            "git@forge.example:o/r",
            "git@forge.example:/srv/o/r",
            "ssh://forge.example/o/r",
            "ssh://me@forge.example/srv/git/raw/x",
            "git@forge.example:srv/git/tree/x",
            "git@[fd00::1]:o/r",
            "github@forge.example:o/r",
            "git@github:o/r",
            "forge:o/r",
            "me@[fd00::1]:o/r",
            "git@forge.example:2222/r",
            "bob@forge.example:o/r",
            "org-1234@github.com:o/r",
            "/srv/config.git",
            "/srv/a@b",
            "file:///srv/config.git",
            "https://forge.example/tree/r",
            "https://forge.example/~me/r",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_at_the_head_of_a_path_deserves_a_word() {
        let of = |text: &str| warning(&text.parse().unwrap());
        assert!(
            of("git@forge.example:2222/o/r")
                .unwrap()
                .contains("write ssh://git@forge.example:2222/o/r")
        );
        for text in [
            "git@forge.example:o/2222/r",
            "ssh://git@forge.example:2222/o/r",
            "/2222/r",
            "git@forge.example:99999/r",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
