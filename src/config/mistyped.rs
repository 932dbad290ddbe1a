//! Guesses what was meant by a text that is not a remote.
//!
//! Every text that the type refuses has its own reason and something to write. A proposed form is an accepted one, and
//! contains nothing that may be a secret.
//!
//! `config::remote` refuses texts that have the form of a remote.

use super::edges::{called, edges, is_invisible};
use super::objection::Objection;
use super::quotable::{Bare, may_be_quoted};
use super::remote::{self, FORMS};
use super::{forge, refused};
use landfall_states::names::{RefName, Revision, quoted};
use landfall_states::remote::RemoteUrl;
use landfall_states::remote::{
    REDACTED, is_account, is_authority, is_plain_account, redacted, split_account,
};
use landfall_states::secret_token;

/// How often a proposed correction is corrected again.
const AGAIN_MAX: u8 = 4;
/// Longest address that is accepted.
const BYTES_MAX: usize = 512;
/// Ways that are taken.
const SCHEMES: [&str; 6] = ["https", "http", "ssh", "git+ssh", "git", "file"];
const PATH: &str = "write an absolute path on the installer, such as /run/media/nix-config";
/// The account that forges have for ssh. No other one is told from a token where a form leaves open which is meant.
const GIT: &str = "git";
const CREDENTIAL: &str = "remove the part before the @; provide a token as credential landfall.repository-token, an ssh key as credential landfall.ssh-key";

/// A text that is given for a remote, as it is shown, and what stands against it. What is taken has nothing.
pub(super) fn of_text(text: &str) -> Option<(String, Objection)> {
    match text.parse::<RemoteUrl>() {
        Ok(remote) => {
            let objection = remote::objection(&remote)?;
            let whole = remote.to_string();
            // Of a path, what stands behind ? and # is a part.
            let shown = match whole.find(['?', '#']) {
                Some(at) => format!("{}{REDACTED}", &whole[..=at]),
                None => whole,
            };
            let is_shown = may_be_quoted(&shown, Bare::Ssh);
            Some(told(is_shown.then(|| quoted(&shown)), objection))
        }
        Err(_) => Some(told(shown(text), remote(text))),
    }
}

/// What is told of a text that can be shown, or cannot: then a form to write would have it in it.
fn told(shown: Option<String>, Objection { why, fix }: Objection) -> (String, Objection) {
    match shown {
        Some(shown) => {
            // What is hidden in the one may be visible in the other.
            let form = fix
                .strip_prefix("write ")
                .and_then(|form| form.split([' ', ',', ';']).next());
            let is_shown = form.is_none_or(|form| may_be_quoted(form, Bare::Ssh));
            let fix = if is_shown { fix } else { FORMS.to_owned() };
            (shown, Objection { why, fix })
        }
        None => {
            let has_no_form = fix.starts_with("remove ");
            let fix = if has_no_form { fix } else { FORMS.to_owned() };
            (refused::HIDDEN.to_owned(), Objection { why, fix })
        }
    }
}

/// A mistyped address, as far as it can be shown: what is wrong at its ends has to be seen.
fn shown(text: &str) -> Option<String> {
    let plain = text.trim();
    let bare = without_token_of_user(redacted(plain));
    let at = text
        .find(plain)
        .filter(|_| !refused::may_be_secret("repository.remote", &bare) && may_be_quoted(&bare, Bare::Ssh))?;
    Some(quoted(&format!(
        "{}{bare}{}",
        &text[..at],
        &text[at + plain.len()..]
    )))
}

/// Without what stands before the @ of an address that has neither a scheme nor ssh's colon: with `https://` it would be a token.
fn without_token_of_user(text: String) -> String {
    if text.contains("://") {
        return text;
    }
    match text.split_once('@') {
        Some((user, rest)) if user != GIT && !rest.split('/').next().unwrap_or_default().contains(':') => {
            format!("{REDACTED}@{rest}")
        }
        Some(_) | None => text,
    }
}

/// Why a text is refused as a remote, and what to write.
pub(super) fn remote(text: &str) -> Objection {
    Text { again: 0 }.objection(text)
}

/// What stands behind `?` or `#`, as words for where it belongs.
fn belongs(behind: &str) -> String {
    let mut words = String::new();
    let (query, fragment) = behind
        .split_once('#')
        .map_or((behind, None), |(q, f)| (q, Some(f)));
    for setting in query.trim_start_matches('?').split('&') {
        words += &match setting.split_once('=') {
            Some(("ref", value)) => named(value, "repository.branch"),
            Some(("rev", value)) => named(value, "repository.revision"),
            Some(("dir", _)) => "; the flake must be at the top of the repository".to_owned(),
            _ => continue,
        };
    }
    if fragment.is_some_and(|attribute| !attribute.is_empty()) {
        words += "; set host to the name after the #";
    }
    words
}

/// That a name belongs into an option.
fn named(value: &str, option: &str) -> String {
    let is_shown = value.parse::<RefName>().is_ok() && !refused::may_be_secret("repository.revision", value);
    match is_shown {
        true if value.parse::<Revision>().is_ok() => {
            format!(", and set repository.revision to {}", quoted(value))
        }
        true => format!(", and set {option} to {}", quoted(value)),
        false => format!(", and set {option} to the name after it"),
    }
}

/// The reading of one text, perhaps of a form that was made of another one.
#[derive(Debug, Clone, Copy)]
struct Text {
    again: u8,
}

impl Text {
    fn objection(self, text: &str) -> Objection {
        if text.is_empty() {
            return said(
                "it is empty",
                "write the repository's address, or leave the option out and give repository.bundle",
            );
        }
        if let Some((why, plain)) = edges(text) {
            return self.meant(&why, plain, "");
        }
        if let Some(inner) = ['"', '\'', '`']
            .iter()
            .find_map(|mark| text.strip_prefix(*mark)?.strip_suffix(*mark))
            .or_else(|| text.strip_prefix('<')?.strip_suffix('>'))
        {
            return self.meant("it has quotation marks around it", inner, "");
        }
        if let Some(sign) = text.chars().find(|c| c.is_control()) {
            return said(
                &format!("it has {} in it", called(sign)),
                "write only the address, on one line",
            );
        }
        if let Some(sign) = text.chars().find(|c| is_invisible(*c)) {
            let seen: String = text.chars().filter(|c| !is_invisible(*c)).collect();
            return self.meant(&format!("it has {} in it", called(sign)), &seen, "");
        }
        if text.len() > BYTES_MAX {
            return said(
                &format!("it has {} bytes, and at most {BYTES_MAX} are allowed", text.len()),
                "write the repository's address, or clone it to a shorter path and name that",
            );
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return self.of_scheme(scheme, rest);
        }
        if let Some(form) = with_slashes(text) {
            return self.meant(
                "exactly two slashes must follow the colon of the scheme",
                &form,
                "",
            );
        }
        if let Some(objection) = self.of_path(text) {
            return objection;
        }
        if let Some((kind, rest)) = text.split_once(':')
            && let Some(objection) = forge::flake_reference(kind, rest, &belongs)
        {
            return objection;
        }
        self.of_ssh(text)
    }

    /// A form to write, where it is taken; else what stands against that form.
    fn meant(self, why: &str, form: &str, more: &str) -> Objection {
        if self.again >= AGAIN_MAX {
            return said(why, FORMS);
        }
        let next = Text {
            again: self.again + 1,
        };
        let fix = match form.parse::<RemoteUrl>() {
            Ok(remote) => match remote::objection(&remote) {
                None => format!("write {remote}{more}"),
                Some(objection) => objection.fix,
            },
            Err(_) => next.objection(form).fix + more,
        };
        said(why, &fix)
    }

    fn of_scheme(self, scheme: &str, rest: &str) -> Objection {
        let lower = scheme.to_ascii_lowercase();
        if lower != scheme && (SCHEMES.contains(&&*lower) || lower.starts_with("git+")) {
            return self.meant(
                "its scheme is written in capital letters",
                &format!("{lower}://{rest}"),
                "",
            );
        }
        let (base, behind) = apart(rest);
        if let Some((helper, place)) = scheme.split_once("::")
            && is_plain_account(helper)
        {
            return remote::of_helper(helper, place, base);
        }
        let flake = "it is a Nix flake reference";
        match scheme {
            scheme if SCHEMES.contains(&scheme) => self.of_known(scheme, rest),
            "git+https" | "git+http" => {
                self.meant(flake, &format!("{}://{base}", &scheme[4..]), &belongs(behind))
            }
            "git+file" => self.meant(flake, base, &belongs(behind)),
            "path" => self.meant(flake, base, &belongs(behind)),
            "ssh+git" | "git+git" => {
                let plain = if scheme == "ssh+git" { "ssh" } else { "git" };
                self.meant(
                    "Git no longer supports this scheme",
                    &format!("{plain}://{rest}"),
                    "",
                )
            }
            scheme if scheme.starts_with("tarball+") || scheme.starts_with("file+") => said(
                "it is a Nix flake reference to a file, not to a repository",
                "write the address of the repository that the file comes from, such as https://forge.example/OWNER/REPO",
            ),
            scheme if ["hg", "svn", "bzr"].iter().any(|other| scheme.starts_with(other)) => said(
                "it is not a Git repository",
                "write the address of a Git repository, such as https://forge.example/OWNER/REPO",
            ),
            _ => said(
                "landfall fetches a repository only by https://, http://, ssh://, git:// or file://",
                FORMS,
            ),
        }
    }

    /// Behind a scheme that is taken.
    fn of_known(self, scheme: &str, rest: &str) -> Objection {
        if scheme == "file" {
            return match rest.strip_prefix('/') {
                None if !rest.is_empty() && !rest.contains('@') => self.meant(
                    "after file:// the path must begin with a slash (file:///…)",
                    &format!("file:///{rest}"),
                    "",
                ),
                Some(path) if path.bytes().any(|b| !b.is_ascii_graphic()) => not_ascii(),
                None | Some(_) => said("it names no file", PATH),
            };
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let by_ssh = scheme.ends_with("ssh");
        if path.contains('@') || user.is_some_and(|user| !by_ssh || !is_account(user)) {
            return said("it has a user name, a password or a token in it", CREDENTIAL);
        }
        let account = user.map_or(String::new(), |user| format!("{user}@"));
        if host.is_empty() {
            let path = path.trim_start_matches('/');
            return if user.is_none() && path.contains('/') {
                self.meant(
                    "exactly two slashes must follow the colon of the scheme",
                    &format!("{scheme}://{path}"),
                    "",
                )
            } else {
                said(
                    "it names no server",
                    &format!("write {scheme}://{account}forge.example/OWNER/REPO"),
                )
            };
        }
        if host.starts_with('-') {
            return said("its server begins with -, which ssh reads as an option", FORMS);
        }
        if !host.is_ascii() {
            return said(
                "its server has letters outside ASCII",
                "write the server's name as the DNS has it, beginning with xn--",
            );
        }
        let server = format!("{scheme}://{account}");
        if is_authority(host) {
            // What is wrong is in the path.
            let (path, behind) = apart(path);
            return self.meant(
                "its path has spaces or letters outside ASCII",
                &format!("{server}{host}{}", encoded(path)),
                &belongs(behind),
            );
        }
        if secret_token::plain(host).contains('@') || secret_token::plain(path).contains('@') {
            return said("it has a user name, a password or a token in it", CREDENTIAL);
        }
        self.of_host(&server, host, path)
    }

    /// Behind a scheme and an account: a host that is no name of a server, and a path.
    fn of_host(self, server: &str, host: &str, path: &str) -> Objection {
        if host.contains(['[', ']', '%']) || host.matches(':').count() > 1 {
            let address = host.trim_matches(['[', ']']);
            let form = |address: &str| format!("{server}[{address}]{path}");
            if address.contains('%') {
                return said(
                    "its IPv6 address has a zone (%…), which Git and ssh do not accept here",
                    "write an address without %, or the server's name",
                );
            }
            if address.parse::<std::net::Ipv6Addr>().is_ok() {
                return self.meant(
                    "an IPv6 address must be in brackets: [fd00::1]",
                    &form(address),
                    "",
                );
            }
        }
        match host.split_once(':') {
            Some((host, port)) if is_authority(host) && !is_shown_port(server.contains('@'), port) => said(
                "the port after the colon is not a number",
                &format!(
                    "write {server}{host}/OWNER/REPO; a port is a number between the server and the first /"
                ),
            ),
            Some((host, port)) if is_authority(host) => {
                let (digits, more) = port.split_once(':').unwrap_or((port, ""));
                let is_port = digits.parse::<u16>().is_ok_and(|port| port > 0);
                let form = match (is_port, more) {
                    (true, more) if more == digits || more.is_empty() => format!("{host}:{digits}{path}"),
                    (true, more) => format!("{host}:{digits}/{more}{path}"),
                    (false, _) => format!("{host}/{port}{path}"),
                };
                let why = if is_port {
                    "its server has two colons"
                } else {
                    "the port after the colon is not a number"
                };
                self.meant(why, &format!("{server}{form}"), "")
            }
            _ => said("the server name is not valid", FORMS),
        }
    }

    /// A path, and none from `/` on.
    fn of_path(self, text: &str) -> Option<Objection> {
        let is_drive = matches!(text.as_bytes(), [_, b':', b'\\' | b'/', ..]);
        if is_drive || text.contains('\\') && !text.contains('@') {
            return Some(said("it is a Windows path", PATH));
        }
        if text.starts_with("//") {
            return Some(said("it begins with two slashes", PATH));
        }
        if let Some(rest) = text.strip_prefix('~') {
            let home = rest
                .strip_prefix('/')
                .map_or(String::new(), |rest| format!("/root/{rest}"));
            let taken = home
                .parse::<RemoteUrl>()
                .is_ok_and(|path| remote::objection(&path).is_none());
            return Some(said(
                "~ has no meaning in the installer",
                &if taken && !home.contains('@') {
                    format!("write an absolute path on the installer, such as {home}")
                } else {
                    PATH.to_owned()
                },
            ));
        }
        let relative = text == "." || text == ".." || text.starts_with("./") || text.starts_with("../");
        if relative {
            return Some(said(
                "it is a relative path; the installer has no directory for it",
                PATH,
            ));
        }
        if text.starts_with('/') {
            let fix = if text == "/" {
                PATH
            } else {
                "rename it, or make a link to it, with ASCII letters and no spaces"
            };
            return Some(if text.contains('@') {
                said(
                    "it has an @ after a colon, as an address with a password has",
                    PATH,
                )
            } else {
                said("a path must have only ASCII characters, without spaces", fix)
            });
        }
        None
    }

    /// What may have been meant as `user@host:path`.
    fn of_ssh(self, text: &str) -> Objection {
        if text.bytes().any(|b| !b.is_ascii_graphic()) {
            let server = text.split([':', '/']).next().unwrap_or_default();
            return if text.contains('@') && server.bytes().any(|b| !b.is_ascii_graphic()) {
                said(
                    "it has spaces or letters outside ASCII before the path",
                    "write only the account and the server's name before the colon, such as git@forge.example:OWNER/REPO",
                )
            } else {
                not_ascii()
            };
        }
        let (base, behind) = apart(text);
        let (user, rest) = split_account(base);
        // `[git@host:22]:path` is ssh's own; a password may be anything.
        if let Some(inner) = base.strip_prefix('[')
            && let Some((inner, path)) = inner.split_once("]:")
        {
            let (account, host) = inner
                .split_once('@')
                .map_or((None, inner), |(user, host)| (Some(user), host));
            if account.is_none_or(is_account) && !path.contains('@') {
                // No other account is told from a token here.
                let account = account.map(|account| if account == "git" { account } else { "ACCOUNT" });
                let (why, form) = remote::without_brackets(account, host, path);
                return self.meant(&why, &form, "");
            }
        }
        if user == Some("") && !rest.contains('@') {
            return said("it has an @ without an account before it", FORMS);
        }
        if user.is_some_and(|user| !is_account(user)) || rest.contains('@') {
            let many = user.is_some_and(|user| user.is_empty() || is_account(user)) && !rest.contains(':');
            return if many {
                said(
                    "it has an @ without an account before it, or more than one",
                    FORMS,
                )
            } else {
                said(
                    "it has a password or a token before the @, or something that is not an account name",
                    CREDENTIAL,
                )
            };
        }
        if !behind.is_empty() {
            let what = if behind.starts_with('#') {
                "a fragment (#…)"
            } else {
                "a query (?…)"
            };
            let why = format!("it has {what} after the repository's path, which Git does not support");
            return self.meant(&why, base, &belongs(behind));
        }
        if let Some(inner) = rest.strip_prefix('[')
            && let Some((host, path)) = inner.split_once("]:")
        {
            let (why, form) = remote::without_brackets(user, host, path);
            return self.meant(&why, &form, "");
        }
        match rest.split_once('/') {
            Some((host, path)) if !host.contains(':') => self.without_colon(user, host, path),
            Some(_) | None => self.of_server(user, rest),
        }
    }

    /// `user@host/path`: no colon, or one behind the first slash.
    fn without_colon(self, user: Option<&str>, host: &str, path: &str) -> Objection {
        if let Some(user) = user {
            if user != GIT {
                return self.meant(
                    "a colon must be between server and path, and the part before the @ may be a token",
                    &format!("{GIT}@{host}:{path}"),
                    ", with the account that ssh logs in to; provide a token as credential landfall.repository-token",
                );
            }
            return self.meant(
                "a colon must be between server and path",
                &format!("{user}@{host}:{path}"),
                "",
            );
        }
        if host.contains('.') || host == "localhost" {
            return self.meant("it has no scheme", &format!("https://{host}/{path}"), "");
        }
        let owner = format!("https://github.com/{host}/{path}");
        match owner.parse::<RemoteUrl>() {
            Ok(remote) if remote::objection(&remote).is_none() => said(
                "it names no server, and an absolute path begins with /",
                &format!("write {remote} for a repository on GitHub, or an absolute path on the installer"),
            ),
            Ok(_) | Err(_) => said("it names no server, and an absolute path begins with /", FORMS),
        }
    }

    /// `user@host:path`, or a part of that.
    fn of_server(self, user: Option<&str>, rest: &str) -> Objection {
        let (host, path) = rest.split_once(':').unwrap_or((rest, ""));
        let account = user.map_or(String::new(), |user| format!("{user}@"));
        if host.is_empty() {
            return said("it names no server", FORMS);
        }
        if host.starts_with('-') {
            return said("its server begins with -, which ssh reads as an option", FORMS);
        }
        if user.is_none() && !rest.contains(':') {
            return said("it is neither an address nor an absolute path", FORMS);
        }
        if path.is_empty() {
            let account = match rest.contains(':') {
                true => account,
                false => format!("{GIT}@"),
            };
            return said(
                "it names a server, but no repository",
                &format!("write {account}{host}:OWNER/REPO"),
            );
        }
        if SCHEMES.contains(&host) {
            return said("the address after the scheme is missing", FORMS);
        }
        if user.is_none() && path.starts_with('/') {
            return self.meant("it has no user name for ssh", &format!("git@{rest}"), "");
        }
        said("the server name is not valid", FORMS)
    }
}

/// Whether what stands behind a server's colon can be repeated: a number, and what follows the account of ssh, which is a path there.
fn is_shown_port(is_behind_account: bool, port: &str) -> bool {
    is_behind_account || port.bytes().all(|b| b.is_ascii_digit() || b == b':')
}

fn said(why: &str, fix: &str) -> Objection {
    Objection {
        why: why.to_owned(),
        fix: fix.to_owned(),
    }
}

fn not_ascii() -> Objection {
    said(
        "it has spaces or letters outside ASCII",
        "rename the repository, or make a link to it, with ASCII letters and no spaces",
    )
}

/// A path with what is no sign of an address in codes.
fn encoded(path: &str) -> String {
    path.bytes()
        .map(|b| match b {
            b if b.is_ascii_graphic() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

/// What stands before `?` and `#`, and what from there on.
fn apart(text: &str) -> (&str, &str) {
    text.split_at(text.find(['?', '#']).unwrap_or(text.len()))
}

/// A text whose scheme has too few slashes, or no colon.
fn with_slashes(text: &str) -> Option<String> {
    let scheme = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '+')?;
    let (scheme, rest) = text.split_at(scheme);
    let lower = scheme.to_ascii_lowercase();
    if !SCHEMES.contains(&&*lower) || lower == "git" {
        return None;
    }
    let address = match rest.strip_prefix(':') {
        Some(address) => address,
        None => rest.strip_prefix("//").map(|_| rest)?,
    };
    let address = address.trim_start_matches('/');
    if lower == "file" {
        return rest.starts_with(":/").then(|| format!("/{address}"));
    }
    (!address.is_empty()).then(|| format!("{lower}://{address}"))
}

#[cfg(test)]
#[path = "mistyped_tests.rs"]
mod tests;
