//! Checks the URLs of a configuration.
//!
//! A URL must not contain a possible secret, because the configuration is in the Nix store and in a repository, and its URLs are
//! shown in logs, in records on the disk and on command lines. One rule covers every URL: no user except the account of an ssh
//! address, and no unknown setting after `?`. A refused URL is not repeated.
//!
//! `remote` has the forms of a remote. Whether a server answers is tested later.

use super::edges::edges;
use super::objection::Objection;
use super::quotable::{Bare, may_be_quoted};
use super::{refused, server};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use landfall_states::remote::{WIDE_AT, is_account, is_authority, is_plain_account, percent_decoded};
use landfall_states::secret_token;

/// What stands in a URL and may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret<'a> {
    /// Something before the host, or a host that is none.
    User,
    /// A part of the host's name.
    Host,
    /// A part of the path.
    Path,
    /// Everything from `?` or `#` on.
    Query(&'a str),
}

/// What the value of a setting is.
#[derive(Debug, Clone, Copy)]
enum Value {
    Number,
    Flag,
    /// A word, or several.
    Words,
    /// A path on the installer, or of a store.
    Path,
    /// A host, or a URL of which the same is true.
    Address,
    /// Of one line, in base 64: a public key of a host.
    Base64,
}

/// Settings of a store in its URL that say how a cache is read (Nix's manual, "Store Types"). `secret-key` is none: nothing is
/// uploaded.
const SETTINGS: [(&str, Value); 32] = [
    ("addressing-style", Value::Words),
    ("base64-ssh-public-host-key", Value::Base64),
    ("buffer-size", Value::Number),
    ("compress", Value::Flag),
    ("compression", Value::Words),
    ("compression-level", Value::Number),
    ("endpoint", Value::Address),
    ("index-debug-info", Value::Flag),
    ("local-nar-cache", Value::Path),
    ("log-compression", Value::Words),
    ("ls-compression", Value::Words),
    ("max-connection-age", Value::Number),
    ("max-connections", Value::Number),
    ("multipart-upload", Value::Flag),
    ("narinfo-compression", Value::Words),
    ("parallel-compression", Value::Flag),
    ("path-info-cache-size", Value::Number),
    ("priority", Value::Number),
    ("profile", Value::Words),
    ("read-only", Value::Flag),
    ("real", Value::Path),
    ("region", Value::Words),
    ("remote-program", Value::Path),
    ("remote-store", Value::Address),
    ("root", Value::Path),
    ("scheme", Value::Words),
    ("ssh-key", Value::Path),
    ("state", Value::Path),
    ("store", Value::Path),
    ("system-features", Value::Words),
    ("trusted", Value::Flag),
    ("want-mass-query", Value::Flag),
];
/// Ways to a cache.
const SCHEMES: [&str; 6] = ["https", "http", "s3", "ssh", "ssh-ng", "file"];

/// What in a URL may be a secret. `is_known`: of a setting, by name and value, that it is none.
pub(super) fn secret<'a>(
    scheme: &str,
    rest: &'a str,
    is_known: impl Fn(&str, &str) -> bool,
) -> Option<Secret<'a>> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let by_ssh = scheme.contains("ssh");
    // A password may have what ends the authority in it: what is left of it there is no host.
    let is_host = host.is_empty() && scheme == "file" || is_authority(host);
    if user.is_some_and(|user| !by_ssh || !is_account(user) || secret_token::has_token(user)) || !is_host {
        return Some(Secret::User);
    }
    if secret_token::has_token(host) {
        return Some(Secret::Host);
    }
    let at = path.find(['?', '#']).unwrap_or(path.len());
    if secret_token::is_secret_in_path(&path[..at]) {
        return Some(Secret::Path);
    }
    let query = &path[at..];
    if query.is_empty() {
        return None;
    }
    let known = query.strip_prefix('?').is_some_and(|settings| {
        !settings.contains(['?', '#'])
            && settings.split('&').all(|setting| {
                setting
                    .split_once('=')
                    .is_some_and(|(name, value)| is_known(name, value))
            })
    });
    (!known).then_some(Secret::Query(query))
}

/// Whether a setting is one of Nix's, with a value that can be one of its own. No setting that reads a cache has a token for its value.
fn is_setting(name: &str, value: &str) -> bool {
    if secret_token::has_token(value) {
        return false;
    }
    let value = percent_decoded(value);
    let only = |more: &[u8]| {
        value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let found = SETTINGS.iter().find(|(known, _)| *known == name);
    found.is_some_and(|(_, kind)| match kind {
        Value::Number => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()),
        Value::Flag => matches!(&*value, "true" | "false" | "1" | "0"),
        Value::Words => only(b"._-, "),
        Value::Path => (value.starts_with('/') || is_plain_account(&value)) && only(b"._-/+?="),
        Value::Address => match value.split_once("://") {
            Some((scheme, rest)) => secret(scheme, rest, |_, _| false).is_none() && !rest.contains('@'),
            None => is_authority(&value) || value == "auto" || value == "daemon",
        },
        Value::Base64 => only(b"+/="),
    })
}

/// Whether a text is the key of a cache: Nix takes 32 bytes of Ed25519, and nothing else.
pub(super) fn is_public_key(text: &str) -> bool {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let decoded = GeneralPurpose::new(&alphabet::STANDARD, config).decode(text);
    decoded.is_ok_and(|key| key.len() == 32)
}

/// What stands against the URL of a binary cache: why, and what to do instead.
pub(super) fn cache_objection(url: &str) -> Option<(String, String)> {
    let form = "it must be one URL, such as https://cache.example";
    let one = "write each cache as a separate entry";
    if let Some((edge, plain)) = edges(url) {
        let shown = if cache_objection(plain).is_none() {
            url
        } else {
            "…"
        };
        return Some(refused(shown.to_owned(), &edge, &meant(plain)));
    }
    if url.chars().any(|c| c.is_whitespace() || !c.is_ascii_graphic()) {
        // Where a text has several URLs, what is between them may be a part of a password.
        let shown = if url.contains(['@', '?', '#']) || url.contains(WIDE_AT) {
            String::from("…")
        } else {
            url.to_owned()
        };
        return Some(refused(shown, form, one));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let shown = url
            .split(['@', '?', '#'])
            .next()
            .filter(|all| all.len() == url.len());
        return Some(refused(
            shown.unwrap_or("…").to_owned(),
            form,
            &without_scheme(url),
        ));
    };
    if !SCHEMES.contains(&scheme) {
        let lower = scheme.to_ascii_lowercase();
        let (why, fix) = if SCHEMES.contains(&&*lower) {
            (
                "its scheme is written in capital letters",
                meant(&format!("{lower}://{rest}")),
            )
        } else {
            (
                "it must begin with https://, http://, s3://, ssh://, ssh-ng:// or file://",
                FORM.to_owned(),
            )
        };
        return Some(refused(hidden(scheme), why, &fix));
    }
    match secret(scheme, rest, is_setting) {
        Some(found) => Some(of_secret(found, scheme, rest)),
        None => of_address(url, scheme, rest),
    }
}

fn refused(shown: String, why: &str, fix: &str) -> (String, String) {
    let shown = if may_be_quoted(&shown, Bare::Server) {
        shown
    } else {
        String::from("…")
    };
    (
        format!(
            "binary cache {} is not allowed: {why}",
            refused::shown("", &shown)
        ),
        fix.to_owned(),
    )
}

/// An address of which only the scheme is shown.
fn hidden(scheme: &str) -> String {
    format!("{}://…", scheme.split(':').next().unwrap_or_default())
}

/// Where a login belongs, by the address's scheme.
fn without_login(scheme: &str) -> &'static str {
    match scheme {
        "s3" => {
            "remove the part before the @; put the access key into /root/.aws/credentials of the installer, and name its profile with ?profile=NAME"
        }
        "ssh" | "ssh-ng" => "remove the password, and provide an ssh key as credential landfall.ssh-key",
        _ => {
            "remove the part before the @; put it into /etc/nix/netrc of the installer (machine HOST login USER password PASSWORD), or into the file that netrc-file in its nix.conf names"
        }
    }
}

/// The parts of what stands behind a scheme: server, path, and what follows the path.
fn parts(rest: &str) -> (&str, &str, &str) {
    let (address, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    (host, path, query)
}

/// What stands against an address that has, or may have, a secret in it.
fn of_secret(found: Secret, scheme: &str, rest: &str) -> (String, String) {
    let of_token = "remove the token; put it into /etc/nix/netrc of the installer (machine HOST login USER password TOKEN), or into the file that netrc-file in its nix.conf names";
    let (host, path, query) = parts(rest);
    let (is_s3, is_file) = (scheme == "s3", scheme == "file");
    match found {
        Secret::User if host.is_empty() => refused(
            hidden(scheme),
            if is_s3 {
                "it names no bucket"
            } else {
                "it names no server"
            },
            if is_s3 {
                "write s3://BUCKET, and its settings (region=REGION) after a ?"
            } else {
                FORM
            },
        ),
        Secret::User if !rest.contains('@') => refused(
            hidden(scheme),
            "the server name is not valid; the address is shown in logs and on command lines",
            if is_file {
                "write file:// and the whole path, such as file:///mnt/cache"
            } else {
                FORM
            },
        ),
        Secret::User => refused(
            hidden(scheme),
            "it contains a user name, a password or a token, or an invalid host; the address is shown in logs and on command lines",
            without_login(scheme),
        ),
        Secret::Host => refused(
            hidden(scheme),
            "it has a token in its server name; the address is shown in logs and on command lines",
            of_token,
        ),
        Secret::Path => refused(
            hidden(scheme),
            "it contains a token in its path; the address is shown in logs and on command lines",
            of_token,
        ),
        Secret::Query(_) if is_of_known_names(query) && !secret_token::has_token(query) => refused(
            format!("{scheme}://{host}{path}"),
            "a setting after the ? has a value that Nix does not accept",
            "write a whole number (for priority or compression-level), true or false (for trusted or want-mass-query), or leave the setting out",
        ),
        Secret::Query(_) => refused(
            format!("{scheme}://{host}{path}"),
            "the part after ? or # is not a setting for reading a store (such as ?priority=40 or ?compression=zstd), and may be a token; the address is shown in logs and on command lines",
            "remove it; put a login or a token into /etc/nix/netrc of the installer, or into the file that netrc-file in its nix.conf names",
        ),
    }
}

/// What stands against an address without a secret.
fn of_address(url: &str, scheme: &str, rest: &str) -> Option<(String, String)> {
    let (host, path, _) = parts(rest);
    let is_ssh = scheme.contains("ssh");
    // Nothing of the path of a cache has this sign, and a password may end in it.
    let (user, _) = host.rsplit_once('@').unwrap_or(("", host));
    if is_ssh && user.contains(['@', '%']) {
        return Some(refused(
            hidden(scheme),
            "its account has an @, which Nix does not accept",
            "use an account of the server without an @",
        ));
    }
    if rest.contains('@') && !(is_ssh && rest.matches('@').count() == 1) {
        return Some(refused(
            hidden(scheme),
            "it has an @ in its path, possibly from a password that is not URL-encoded",
            without_login(scheme),
        ));
    }
    if scheme == "file" && !host.is_empty() {
        return Some(refused(
            url.to_owned(),
            "after file:// the path must begin with a slash (file:///…)",
            &meant(&format!("file:///{rest}")),
        ));
    }
    if !matches!(scheme, "http" | "https" | "ssh" | "ssh-ng") {
        return None;
    }
    let address = format!("{host}{path}");
    let (_, host) = host.rsplit_once('@').unwrap_or(("", host));
    if let Some(Objection { why, fix }) = server::authority_objection(host) {
        return Some(refused(url.to_owned(), &why, &fix));
    }
    if let Some((_, file)) = path.rsplit_once('/').filter(|(_, file)| is_file_of_a_cache(file)) {
        return Some(refused(
            url.to_owned(),
            "it is the address of a file in a cache, not of the cache",
            &meant(&format!(
                "{scheme}://{}",
                address.trim_end_matches(file).trim_end_matches('/')
            )),
        ));
    }
    let name = path.trim_matches('/');
    let of_cachix = matches!(host, "cachix.org" | "app.cachix.org" | "www.cachix.org");
    (of_cachix && !name.is_empty()).then_some(())?;
    let name = name.rsplit('/').next().unwrap_or_default();
    Some(refused(
        url.to_owned(),
        "it is a web page about a cache, not the cache",
        &meant(&format!("https://{name}.cachix.org")),
    ))
}

/// What can be written at all.
const FORM: &str = "write the cache's URL, such as https://cache.example";

/// A form to write, where it is taken.
fn meant(form: &str) -> String {
    match cache_objection(form) {
        None if may_be_quoted(form, Bare::Server) => format!("write {form}"),
        None => FORM.to_owned(),
        Some((_, fix)) => fix,
    }
}

/// What to write for a cache that is named without a scheme.
fn without_scheme(text: &str) -> String {
    let store = text.split(['?', ':']).next().unwrap_or_default();
    if matches!(store, "daemon" | "auto" | "local" | "unix") {
        return "leave it out: it is a store on this machine, not a cache".to_owned();
    }
    if ["channel:", "nixpkgs", "github:", "flake:"]
        .iter()
        .any(|head| text.starts_with(head))
    {
        return "this is not a cache: leave it out, or write https://cache.nixos.org".to_owned();
    }
    if text.contains(['@', '?', '#', '\\']) {
        return FORM.to_owned();
    }
    if text.starts_with('/') && !text.starts_with("//") {
        return meant(&format!("file://{text}"));
    }
    for scheme in SCHEMES {
        let rest = text.strip_prefix(scheme).and_then(|rest| {
            let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix("//"))?;
            Some(rest.trim_start_matches('/'))
        });
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            let slash = if scheme == "file" { "/" } else { "" };
            return meant(&format!("{scheme}://{slash}{rest}"));
        }
    }
    let host = text.split('/').next().unwrap_or_default();
    let is_host = host.contains(['.', ':']) || host == "localhost";
    if is_host && is_authority(host) {
        return meant(&format!("https://{text}"));
    }
    FORM.to_owned()
}

fn is_file_of_a_cache(name: &str) -> bool {
    name == "nix-cache-info" || name.ends_with(".narinfo") || name.contains(".nar.") || name.ends_with(".nar")
}

/// Whether settings are all of Nix's names: then a value is wrong. The value itself may still be a secret.
fn is_of_known_names(query: &str) -> bool {
    query.strip_prefix('?').is_some_and(|settings| {
        settings.split('&').all(|setting| {
            let name = setting.split('=').next().unwrap_or_default();
            SETTINGS.iter().any(|(known, _)| *known == name)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::too_many_lines,
        reason = "one row for each place where a secret may be"
    )]
    fn a_cache_whose_url_may_hold_a_secret_is_refused_and_not_repeated() {
        for url in [
            "https://user:canary@cache.example",
            "https://canary@cache.example/x",
            "https://user%3Acanary@cache.example",
            "https://user:can@ary@cache.example",
            "https://user:can/ary@cache.example",
            "https://user:1234/canary@cache.example",
            "https://user:can#ary@cache.example",
            "https://user:can?ary@cache.example",
            "https://user:can\\ary@cache.example",
            "https://user%40canary.example/canary@x",
            "http://canary@cache.example",
            "file://user:canary@host/x",
            "s3://AKIA:canary@bucket?endpoint=x",
            "s3://bucket?endpoint=https://u:canary@x",
            "s3://bucket?endpoint=https%3A%2F%2Fu%3Acanary%40x",
            "s3://bucket?secret-access-key=canary",
            "ssh://nix:canary@host",
            "ssh://nix%3Acanary@host",
            "ssh-ng://host?remote-store=https://u:canary@x",
            "ssh://ghp_canaryabcdefghijklmnopqrstuvwxyz01@host",
            "ssh-ng://ghp_canaryabcdefghijklmnopqrstuvwxyz01@host",
            "ssh-ng://gh%70_canaryabcdefghijklmnopqrstuvwxyz01@host",
            "s3://bucket?profile=ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "s3://bucket?profile=%67hp_canaryabcdefghijklmnopqrstuvwxyz01",
            "s3://bucket?region=ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "s3://bucket?endpoint=ghp_canaryabcdefghijklmnopqrstuvwxyz01.example",
            "s3://bucket?endpoint=https://minio/ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "https://c.example?compression=ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "https://c.example?local-nar-cache=/ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "ssh://host?remote-program=ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "ssh://host?ssh-key=/x/ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "ssh://host?remote-store=ssh://ghp_canaryabcdefghijklmnopqrstuvwxyz01@x",
            "https://c.example/pwd=canary",
            "https://c.example/sig=canary",
            "https://c.example/x/api-key=canary/y",
            "https://c.example/x/user_pat=canary",
            "u:canary%40c.example",
            "u:canary",
            "u:canary/x",
            "https:u:canary",
            "https:/u:canary",
            "https:u:canary%40c.example",
            "u%3Acanary%40c.example",
            "https://cache.example?token=canary",
            "https://cache.example/?priority=40&token=canary",
            "https://cache.example/?priority=canary",
            "https://cache.example/?canary",
            "https://cache.example/?%74oken=canary",
            "https://cache.example/?Priority=canary",
            "https://cache.example/?priority=40#canary",
            "https://cache.example/#canary",
            "https://cache.example/?priority=40?token=canary",
            "https://cache.example/?compression=x@canary",
            "user:canary@cache.example",
            "https:/user:canary@cache.example",
            "https:user:canary@cache.example",
            "ftp://user:canary@cache.example",
            "https://u:canary@a.example https://b.example",
            "https://u:canary\u{ff20}cache.example",
            "cache.example:canary/x",
            "https://cache.example:canary/x",
            "ssh://ghp_canaryabcdefghijklmnopqrstuvwxyz01@cache.example",
            "https://cache.example/ghp_canaryabcdefghijklmnopqrstuvwxyz01",
            "https://cache.example/x/glpat-canaryabcdefghijklm",
            "https://cache.example/%3Ftoken=canary",
            "https://cache.example/x;token=canary",
            "https://glpat-canaryabcdefghijklm.example/x",
            " https://user:canary@cache.example",
            "https://canary@cache.example\n",
            "HTTPS://user:canary@cache.example",
            "https://cache.example/x%23canary",
        ] {
            let (why, fix) = cache_objection(url).unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!format!("{why}{fix}").contains("canary"), "{url}: {why} / {fix}");
            assert!(!fix.is_empty());
        }
        let (_, fix) = cache_objection("https://user:canary@cache.example").unwrap();
        assert!(fix.contains("netrc"), "{fix}");
        let (_, fix) = cache_objection("s3://a:canary@b").unwrap();
        assert!(fix.contains("profile"), "{fix}");
    }

    #[test]
    fn what_was_meant_is_told() {
        for (url, wanted) in [
            ("cache.nixos.org", "write https://cache.nixos.org"),
            ("cache.example:5000/x", "write https://cache.example:5000/x"),
            ("localhost:5000", "write https://localhost:5000"),
            ("/srv/cache", "write file:///srv/cache"),
            ("file:/srv/cache", "write file:///srv/cache"),
            ("file://x", "write file:///x"),
            ("https:/c.example", "write https://c.example"),
            ("https//c.example", "write https://c.example"),
            ("HTTPS://c.example", "write https://c.example"),
            ("https://c.example ", "write https://c.example"),
            ("https://c.example\n", "write https://c.example"),
            ("daemon", "leave it out"),
            ("auto", "leave it out"),
            ("local?root=/x", "leave it out"),
            ("channel:nixos", "https://cache.nixos.org"),
            ("nixpkgs", "https://cache.nixos.org"),
            ("https://", "such as https://cache.example"),
            ("s3://", "s3://BUCKET"),
            ("s3://?region=x", "s3://BUCKET"),
            ("https://c/nix-cache-info", "write https://c"),
            ("https://c/x/0123.narinfo", "write https://c/x"),
            ("https://cachix.org/foo", "write https://foo.cachix.org"),
            ("https://app.cachix.org/cache/foo", "write https://foo.cachix.org"),
            ("https://c.example?priority=abc", "a whole number"),
            ("https://c.example https://d", "a separate entry"),
            ("gopher://x", "such as https://cache.example"),
        ] {
            let (why, fix) = cache_objection(url).unwrap_or_else(|| panic!("{url} is taken"));
            assert!(fix.contains(wanted), "{url:?}: {why} / {fix}");
            assert!(!fix.contains("before the @"), "{url}: {fix}");
        }
    }

    #[test]
    fn what_has_no_secret_is_repeated() {
        for url in [
            "cache.example:5000/x",
            "localhost:5000",
            "https:c.example:8443/x",
            "channel:nixos",
            "github:ops/cache",
            "/srv/cache",
            "cache.example/a:b",
        ] {
            let (why, _) = cache_objection(url).unwrap_or_else(|| panic!("{url} is taken"));
            assert!(why.contains(url), "{url}: {why}");
        }
    }

    #[test]
    fn a_key_is_thirty_two_bytes() {
        for (key, right) in [
            ("6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=", true),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", true),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", false),
            ("============================================", false),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAA====AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("", false),
        ] {
            assert_eq!(is_public_key(key), right, "{key}");
        }
    }

    #[test]
    fn a_server_that_can_be_none_is_refused() {
        for url in [
            "https://cache.example:99999",
            "http://999.1.1.1/x",
            "ssh://nix@host:0",
            "https://-x.example",
        ] {
            assert!(cache_objection(url).is_some(), "{url}");
        }
    }

    #[test]
    fn what_nix_takes_of_a_store_is_taken() {
        for url in [
            "https://cache.nixos.org",
            "https://cache.nixos.org/",
            "https://cache.example:8443/~team/main",
            "https://cache.example/ghp_tools",
            "https://cache.example/0123456789abcdef0123456789abcdef01234567",
            "https://cache.example?priority=40",
            "https://cache.example/x?priority=40&want-mass-query=true&compression=zstd&compression-level=3",
            "https://cache.example/?trusted=1&parallel-compression=true",
            "http://[fd00::1]:5000",
            "http://localhost:5000",
            "s3://bucket?region=eu-west-1&profile=nix&scheme=https&endpoint=minio.example:9000",
            "s3://bucket?endpoint=https%3A%2F%2Fminio.example",
            "s3://bucket?profile=ghp_tools&region=eu-west-1",
            "https://c.example/monkey=1/path=2/signal=3",
            "ssh://nix-ssh@builder.example",
            "ssh-ng://builder.example?ssh-key=/root/.ssh/id_ed25519&base64-ssh-public-host-key=c3NoLWVk%3D",
            "ssh-ng://builder.example?remote-store=local",
            "file:///mnt/cache",
            "file:///mnt/cache?priority=1",
        ] {
            assert_eq!(cache_objection(url), None, "{url}");
        }
    }
}
