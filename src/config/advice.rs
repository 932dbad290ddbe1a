//! What to write in place of a text that breaks its option's rule.
//!
//! Each such option has an advice, and a value that the advice shows is an accepted one. What may be a secret is not
//! repeated.
//!
//! `states::names` has most of the rules; `config::check`, `config::places` and `config::url` have the others.

use super::edges::{edges, is_invisible};
use super::notation::Notation;
use super::refused::{Refusal, may_be_secret};
use landfall_states::names::{
    ClonePath, EspLabel, Ext4Label, HostName, MapperName, PartitionLabel, RefName, Revision, Size, StorePath,
    SwapLabel, TargetPath, UserName, quoted,
};
use landfall_states::secret_token;
use std::str::FromStr;

/// How a revision is found.
pub(super) const REVISION: &str =
    "write the whole id: git rev-parse NAME prints it, in a clone of the repository";
const BRANCH: &str =
    "write the name of a branch or tag as git ls-remote prints it, or set repository.revision to a whole id";
const SIZE: &str = "write a whole number and K, M, G, T or P, such as 512M or 8G";
/// Git's names for what it looked at last.
const HEADS: [&str; 6] = [
    "HEAD",
    "FETCH_HEAD",
    "ORIG_HEAD",
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REBASE_HEAD",
];

/// What is said of a text that the type of this option refused, with the words `why`; nothing where those are all that is known.
pub(super) fn of_refused(option: &str, text: &str, why: &str) -> Option<Refusal> {
    // A value of another type is not repeated, in no form.
    if !why.contains(" is not allowed: ") {
        return None;
    }
    if option == "repository.remote" {
        let (shown, objection) = super::mistyped::of_text(text)?;
        return Some(Refusal {
            why: format!("remote {shown} is not allowed: {}", objection.why),
            fix: Some(objection.fix),
        });
    }
    if option == "keys.age_identity_path" {
        // What is no path there may be the key.
        let fix = (!may_be_secret(option, text)).then(|| identity_path(text))?;
        return Some(Refusal {
            why: why.to_owned(),
            fix: Some(fix),
        });
    }
    let fix = match option {
        "repository.revision" => revision(text),
        "repository.branch" => branch(text),
        "repository.clone_path" => clone_path(text),
        "host" => name::<HostName>(
            text,
            "write the name that the host has in nixosConfigurations",
            63,
        ),
        "target_user" => name::<UserName>(text, "write the name that the user has in users.users", 31),
        "labels.efi" => name::<EspLabel>(
            &text.to_uppercase().replace('.', "-"),
            "write a label such as ESP-WEB",
            11,
        ),
        "labels.root" => name::<Ext4Label>(text, "write a label such as root-web", 16),
        "labels.swap" => name::<SwapLabel>(text, "write a label such as swap-web", 15),
        "labels.luks" => name::<PartitionLabel>(text, "write a label such as luks-web", 36),
        "luks.mapper_name" => name::<MapperName>(
            text,
            "leave it out to use the default, or write a name such as cryptroot",
            64,
        ),
        "esp_size" | "swap.size" | "luks.memory_min" => size(text),
        option if option.starts_with("extra_mount_dirs") => target_path(text),
        option if option.starts_with("system") && why.contains("store path") => store_path(text),
        option if option.starts_with("system") && why.contains("digest") => {
            "write all 64 digits of the digest that landfall image info FILE prints".to_owned()
        }
        _ => return None,
    };
    // What stands at an end cannot be seen where the text is hidden for its line feeds.
    let shown = edges(text)
        .filter(|(_, plain)| !may_be_secret(option, plain) && !plain.contains(['\n', '\r']))
        .and_then(|(edge, _)| {
            let (what, rule) = why.split_once(" is not allowed: ")?;
            let kind = what
                .split([' ', '"', '('])
                .next()
                .filter(|kind| !kind.is_empty())?;
            let kind = what
                .find([' ', '"', '('])
                .map_or(kind, |_| what.split(['"', '(']).next().unwrap_or(kind).trim());
            Some(format!("{kind} {} is not allowed: {edge} ({rule})", quoted(text)))
        });
    Some(Refusal {
        why: shown.unwrap_or_else(|| why.to_owned()),
        fix: Some(fix),
    })
}

/// Words for a value that the type takes, where it does and it is no secret.
fn write<T: FromStr>(text: &str) -> Option<String> {
    // What is a part of an address may be a password.
    let is_plain = !text.contains(['@', ':', '?', '#', '=', '%']) && !may_be_secret("", text);
    (is_plain && text.parse::<T>().is_ok()).then(|| format!("write {}", quoted(text)))
}

fn plain(text: &str) -> &str {
    edges(text).map_or(text, |(_, plain)| plain)
}

/// A name with what is not allowed in it replaced, or the words for what belongs there.
fn name<T: FromStr>(text: &str, else_say: &str, max: usize) -> String {
    let plain = plain(text);
    let repaired: String = plain
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .take(max)
        .collect();
    let repaired = repaired.trim_start_matches(['-', '.']).trim_end_matches('-');
    // Anything else was meant as another thing than a name.
    let usual = |c: char| c.is_ascii_alphanumeric() || is_invisible(c) || " ./_-".contains(c);
    let letters = plain.chars().all(usual) && !plain.contains("//");
    match write::<T>(repaired).filter(|_| letters && !repaired.is_empty()) {
        Some(fix) if repaired == plain => fix,
        Some(fix) => format!("{fix}, or another name with only these characters"),
        None => else_say.to_owned(),
    }
}

fn revision(text: &str) -> String {
    let text = plain(text);
    let lower = text.to_lowercase();
    let is_hex = !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_hexdigit());
    if lower.parse::<Revision>().is_ok() {
        return format!("write {}", quoted(&lower));
    }
    if is_hex && (4..64).contains(&lower.len()) {
        return format!(
            "write all of its 40 (or 64) digits: git rev-parse {} prints them, in a clone of the repository",
            if may_be_secret("repository.revision", &lower) {
                "ID"
            } else {
                &*lower
            }
        );
    }
    match text.parse::<RefName>() {
        Ok(name) if of_branch(&name).is_none() && !may_be_secret("", text) => format!(
            "put a branch or tag in repository.branch: write {} there, and leave repository.revision out",
            quoted(text)
        ),
        Ok(_) | Err(_) => REVISION.to_owned(),
    }
}

fn branch(text: &str) -> String {
    let text = plain(text);
    match text.parse::<RefName>() {
        Ok(name) => of_branch(&name).map_or_else(|| format!("write {}", quoted(text)), |(_, fix)| fix),
        Err(_) => no_branch(text),
    }
}

/// What to write in place of a text that can be no branch's name.
fn no_branch(text: &str) -> String {
    if text.is_empty() {
        return "leave the option out to use the remote's default branch (HEAD)".to_owned();
    }
    if text == "@" || text.contains("@{") || text.contains(['^', '~', ':']) {
        return "this is a Git revision expression, not a branch name: write only the branch, or set repository.revision to the id that git rev-parse prints for it"
            .to_owned();
    }
    if text.contains('@') {
        return "landfall does not support a branch name with an @: rename the branch at the remote, or set repository.revision to the id of its commit"
            .to_owned();
    }
    if text.ends_with('/') {
        return "write the branch's name after the slash".to_owned();
    }
    let closed = text.trim_matches('/').replace("//", "/");
    if closed != text
        && let Some(fix) = write::<RefName>(&closed)
    {
        return fix;
    }
    BRANCH.to_owned()
}

/// What stands against a branch's name that Git allows: it is the name of something else.
pub(super) fn of_branch(name: &RefName) -> Option<(String, String)> {
    let text = name.as_str();
    let last = text.rsplit('/').next().unwrap_or_default();
    if secret_token::has_token(text) {
        return Some((
            "it has a token in it, and the branch is kept in logs and in the checkpoint".into(),
            "remove it, and provide the token as credential landfall.repository-token; write a branch's name, or leave the option out"
                .into(),
        ));
    }
    if HEADS.contains(&last) {
        return Some((
            "it is Git's own name for a commit, not a branch".into(),
            "leave the option out to use the remote's default branch (HEAD), or write a branch's name".into(),
        ));
    }
    if text.parse::<Revision>().is_ok() {
        return Some((
            "it has the form of a commit's id, and a branch is a name".into(),
            "set repository.revision to it, and leave repository.branch out".into(),
        ));
    }
    let tracking = ["refs/remotes/", "remotes/"]
        .iter()
        .find_map(|head| text.strip_prefix(head)?.split_once('/'))
        .map(|(_, branch)| branch)
        .or_else(|| {
            ["origin/", "upstream/"]
                .iter()
                .find_map(|head| text.strip_prefix(head))
        });
    tracking.map(|branch| {
        (
            "it is a remote-tracking name (origin/…)".to_owned(),
            format!("write {branch} (or refs/heads/{text}, if that is the branch's full name)"),
        )
    })
}

fn size(text: &str) -> String {
    let text = plain(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = ["K", "M", "G", "T", "P"]
        .into_iter()
        .find(|known| [*known, &format!("{known}B"), &format!("{known}IB")].contains(&&*unit));
    let Some(unit) = unit else {
        return SIZE.to_owned();
    };
    let whole = format!("{number}{unit}");
    if let Some(fix) = write::<Size>(&whole) {
        return fix;
    }
    // A fraction of a larger unit is a whole number of a smaller one.
    let smaller = match (number.split_once('.'), unit) {
        (Some((whole, fraction)), "G" | "T") if fraction.len() <= 3 => {
            let digits = |text: &str| {
                if text.is_empty() {
                    Ok(0)
                } else {
                    text.parse::<u64>()
                }
            };
            let thousandth = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(0));
            match (digits(whole), digits(fraction)) {
                (Ok(whole), Ok(fraction)) => whole
                    .checked_mul(1_024)
                    .map(|whole| whole + fraction * 1_024 / thousandth)
                    .map(|number| format!("{number}{}", if unit == "G" { "M" } else { "G" })),
                _ => None,
            }
        }
        _ => None,
    };
    smaller
        .and_then(|text| write::<Size>(&text))
        .unwrap_or_else(|| SIZE.to_owned())
}

/// A path with what is too much at its end taken off.
fn trimmed(text: &str) -> String {
    let mut path = plain(text).replace("/./", "/");
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path.trim_end_matches('/').to_owned()
}

fn clone_path(text: &str) -> String {
    let path = trimmed(text);
    let below = format!("/mnt/{}", path.trim_start_matches("~/").trim_start_matches('/'));
    let is_below = path.starts_with("/mnt/") || path == "/mnt";
    [Some(path), (!is_below).then_some(below)]
        .iter()
        .flatten()
        .find_map(|path| write::<ClonePath>(path))
        .unwrap_or_else(|| {
            "leave it out to use the default, or write another path, such as /mnt/etc/nixos".to_owned()
        })
}

fn target_path(text: &str) -> String {
    of_target(text).unwrap_or_else(|| "write an absolute path, such as /persist/home".to_owned())
}

fn identity_path(text: &str) -> String {
    of_target(text).unwrap_or_else(|| {
        "write the absolute path of the file on the target, such as /var/lib/age/web.agekey, or leave it out to use the default"
            .to_owned()
    })
}

fn of_target(text: &str) -> Option<String> {
    // No shell replaces these.
    if plain(text).starts_with(['~', '$']) {
        return None;
    }
    let path = trimmed(text);
    [path.clone(), format!("/{path}")]
        .iter()
        .find_map(|path| write::<TargetPath>(path))
}

const fn prebuilt(notation: Notation) -> &'static str {
    match notation {
        Notation::Ron => "write Prebuilt(\"/nix/store/HASH-nixos-system-web\"), with the path of the system",
        Notation::Json => {
            "write {\"Prebuilt\": \"/nix/store/HASH-nixos-system-web\"}, with the path of the system"
        }
    }
}

/// Whether a value ends in this text, and something else follows: a comma outside of quotes and brackets, or a bracket that is closed.
fn ends_before(text: &str) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for c in text.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_text => is_escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' if depth == 0 => return true,
            ')' | '}' | ']' => depth -= 1,
            ',' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// The form of `system` to write, where one of its three names stands at a place as something else: with quotation marks or brackets too
/// many, or without what belongs behind it. `before` and `rest`: the line of that place.
pub(super) fn form_of_system(
    option: &str,
    why: &str,
    before: &str,
    rest: &str,
    notation: Notation,
) -> Option<String> {
    if !(option.is_empty() || option == "system" || option.starts_with("system."))
        || why.contains(" is not allowed: ")
    {
        return None;
    }
    // Its path alone belongs there: no option, no list.
    if option == "system.Prebuilt" && why.contains("allowed is a text") && !why.contains(" is not allowed; ")
    {
        return Some(prebuilt(notation).to_owned());
    }
    let line = format!("{before}{rest}");
    let (_, value) = line
        .split_once("system")
        .filter(|(ahead, _)| ahead.len() <= before.len())?;
    let value = value.strip_prefix('"').unwrap_or(value).trim_start();
    let value = value.strip_prefix(':')?.trim_start();
    // As far as the place.
    let read = value.len().saturating_sub(rest.len());
    if value.get(..read).is_some_and(ends_before) {
        return None;
    }
    let bare = value.trim_start_matches(['"', '{', ' ']);
    let name = ["Flake", "Prebuilt", "Image"].into_iter().find(|name| {
        bare.strip_prefix(name)
            .is_some_and(|behind| !behind.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })?;
    let is_quoted = value.starts_with('"');
    let behind = bare
        .strip_prefix(name)
        .unwrap_or_default()
        .trim_start_matches(['"', ' ']);
    let is_open = match notation {
        Notation::Ron => behind.starts_with('('),
        Notation::Json => value.starts_with('{'),
    };
    let form = match (name, notation) {
        ("Flake", Notation::Ron) if !is_quoted && !is_open => return None,
        // In quotes it is right.
        ("Flake", Notation::Json) if !is_open => return None,
        ("Flake", Notation::Ron) => "write Flake, without quotes and without brackets",
        ("Flake", Notation::Json) => "write \"Flake\", without brackets",
        _ if !is_quoted && is_open => return None,
        ("Prebuilt", notation) => prebuilt(notation),
        (_, Notation::Ron) => "write Image(system: \"/nix/store/HASH-nixos-system-web\", file: \"FILE\")",
        (_, Notation::Json) => {
            "write {\"Image\": {\"system\": \"/nix/store/HASH-nixos-system-web\", \"file\": \"FILE\"}}"
        }
    };
    Some(form.to_owned())
}

fn store_path(text: &str) -> String {
    let path = trimmed(text);
    let top: Vec<&str> = path.split('/').take(4).collect();
    let top = top.join("/");
    match top.parse::<StorePath>() {
        Ok(top) => format!("write only {}", quoted(top.as_str())),
        Err(_) => "write the path that readlink -f prints for the result of nix build, such as /nix/store/HASH-nixos-system-web".to_owned(),
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
