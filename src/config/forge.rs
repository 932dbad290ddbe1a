//! Flake references that name a forge, and pages of a forge that are not a repository.
//!
//! The answer names the repository that was meant, as Git needs it.
//!
//! `config::server` knows the pages that a forge shows to people.

use super::objection::Objection;
use landfall_states::names::quoted;
use landfall_states::remote::percent_decoded;

/// Kinds of flake references that look like `host:path` (Nix's manual, `nix3-flake`) and short names of forges, with the forge that they mean.
const KINDS: [(&str, Option<&str>); 21] = [
    ("github", Some("github.com")),
    ("gh", Some("github.com")),
    ("gitlab", Some("gitlab.com")),
    ("gl", Some("gitlab.com")),
    ("sourcehut", Some("git.sr.ht")),
    ("srht", Some("git.sr.ht")),
    ("codeberg", Some("codeberg.org")),
    ("cb", Some("codeberg.org")),
    ("bitbucket", Some("bitbucket.org")),
    ("bb", Some("bitbucket.org")),
    ("flakehub", None),
    ("fh", None),
    ("path", None),
    ("file", None),
    ("git", None),
    ("hg", None),
    ("tarball", None),
    ("flake", None),
    ("indirect", None),
    ("nixpkgs", None),
    ("self", None),
];

/// Why `kind:rest` is refused where it is a flake reference. `belongs`: where what stands behind `?` or `#` belongs.
pub(super) fn flake_reference(kind: &str, rest: &str, belongs: &dyn Fn(&str) -> String) -> Option<Objection> {
    let lower = kind.to_ascii_lowercase();
    let (_, forge) = KINDS.iter().find(|(known, _)| *known == lower)?;
    let (path, behind) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let decoded = |part: &str| {
        let decoded = percent_decoded(part);
        // What would be something else of an address stays as it is.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~');
        if decoded.chars().all(plain) {
            decoded
        } else {
            part.to_owned()
        }
    };
    let more = belongs(behind);
    let fix = match (forge, parts.next(), parts.next()) {
        (Some(forge), Some(owner), Some(name)) if !rest.contains('@') => {
            let (owner, name) = (decoded(owner), decoded(name.strip_suffix(".git").unwrap_or(name)));
            // A form to write is one that is taken.
            let is_plain = |part: &str| {
                part.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~' | b'/'))
            };
            if !is_plain(&owner) || !is_plain(&name) {
                return Some(of_kind(kind, any_of(forge)));
            }
            let reference = parts.next().map_or(String::new(), |first| {
                let reference = parts.fold(first.to_owned(), |all, part| format!("{all}/{part}"));
                format!(", and set repository.branch or repository.revision to {}", quoted(&reference))
            });
            format!("write https://{forge}/{owner}/{name} or git@{forge}:{owner}/{name}{reference}{more}")
        }
        (Some(forge), _, _) => any_of(forge),
        (None, _, _) if lower == "path" && path.starts_with('/') && !rest.contains('@') => {
            format!("write {path}{more}")
        }
        (None, _, _) if matches!(&*lower, "path" | "file") => {
            "use an absolute path on the installer, such as /run/media/nix-config".to_owned()
        }
        (None, _, _) => {
            "write the address of that repository, such as https://forge.example/OWNER/REPO, or an absolute path"
                .to_owned()
        }
    };
    Some(of_kind(kind, fix))
}

fn of_kind(kind: &str, fix: String) -> Objection {
    Objection {
        why: format!("{kind}: begins a Nix flake reference; Git would use {kind} as the name of a server"),
        fix,
    }
}

fn any_of(forge: &str) -> String {
    format!("write https://{forge}/OWNER/REPO or git@{forge}:OWNER/REPO")
}

/// Servers of forges that serve files and no repositories.
const FILES: [(&str, &str); 8] = [
    ("raw.githubusercontent.com", "github.com"),
    ("codeload.github.com", "github.com"),
    ("objects.githubusercontent.com", "github.com"),
    ("api.github.com", "github.com"),
    ("flakehub.com", ""),
    ("api.flakehub.com", ""),
    ("api.bitbucket.org", "bitbucket.org"),
    ("channels.nixos.org", ""),
];
/// Ends of archives.
const ARCHIVES: [&str; 9] = [
    ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tar", ".zip", ".bundle", ".iso",
];

/// What stands against an address over HTTP that leads to files.
pub(super) fn no_repository(host: &str, path: &str) -> Option<Objection> {
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let path = path.trim_end_matches('/');
    if let Some((_, forge)) = FILES.iter().find(|(files, _)| *files == host) {
        let mut parts = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != "repos");
        let fix = match (parts.next(), parts.next()) {
            (Some(owner), Some(name)) if !forge.is_empty() => format!("write https://{forge}/{owner}/{name}"),
            _ => "write the address for git clone, such as https://github.com/OWNER/REPO".to_owned(),
        };
        return Some(Objection {
            why: format!("{host} serves files, not repositories"),
            fix,
        });
    }
    let lower = path.to_ascii_lowercase();
    let end = ARCHIVES.iter().find(|end| lower.ends_with(*end))?;
    Some(Objection {
        why: format!("it leads to a file ({end}), not to a Git repository"),
        fix: if *end == ".bundle" {
            "write the address of the repository, or put the bundle in the installer and set repository.bundle"
                .to_owned()
        } else {
            "write the address for git clone, such as https://forge.example/OWNER/REPO".to_owned()
        },
    })
}
