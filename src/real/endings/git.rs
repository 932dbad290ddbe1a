//! Endings of Git and of the ssh that it starts. Law: as `endings`. A line that begins with `remote:`, and one that a forge's ssh server
//! prints before it hangs up (`ERROR:`), is the other side's: it counts where Git was refused and nobody else says why, and never says
//! anything of this machine. A banner of an ssh server has no mark; ssh is told to print none (`git`).
//!
//! Absent: Git's progress, and what it prints when all is well.

use super::git_says::{
    ANSWERED, BEFORE_REASON, CAME_DAMAGED, FORBIDDEN_PATH, FORGE, GIT, HUNG_UP, MEMORY, NETWORK,
    NO_SUBMODULE, REFUSED, REMOTE_FAILED, SHALLOW, SSH, SSH_NETWORK, SUBMODULE_SETTING, UNWRITTEN,
};
use super::shared::{behind_address, tls_or_proxy, transfer};
use super::{Places, first_row, is_any};
use landfall_states::fault::{Cause, Ended, Fault, Remedy};

/// A line of the other side's, without what marks it.
fn of_remote(line: &str) -> Option<&str> {
    line.strip_prefix("remote:")
        .or_else(|| line.starts_with("ERROR:").then_some(line))
        .or_else(|| line.starts_with("fatal: remote error:").then_some(line))
        .map(str::trim)
}

/// Whether a line is Git's, ssh's, or one of theirs that quotes the other side. Names of files are listed indented.
fn is_own(line: &str) -> bool {
    !line.starts_with([' ', '\t']) && (of_remote(line).is_none() || line.starts_with("fatal: "))
}

/// The text of a forge's line.
fn of_forge(line: &str) -> &str {
    [
        "fatal: remote error: ",
        "ERROR: ",
        "GitLab: ",
        "Gitea: ",
        "Forgejo: ",
        "error: ",
    ]
    .iter()
    .fold(line, |line, mark| line.strip_prefix(mark).unwrap_or(line))
}

/// What Git quotes of curl.
fn of_curl(line: &str) -> Option<&str> {
    behind_address(line, "fatal: unable to access '")
        .or_else(|| behind_address(line, "error: unable to access '"))
        .or_else(|| {
            let rest = line.strip_prefix("error: RPC failed; ")?;
            let (_, said) = rest.split_once("curl ")?;
            said.split_once(' ').map(|(_, said)| said)
        })
}

/// What Git's lines mean, and which line says so. `lines` are everything that it printed.
pub(super) fn decide<'l>(lines: &[&'l str], places: Places<'_>) -> Option<(Cause, &'l str)> {
    let own: Vec<&str> = lines.iter().copied().filter(|line| is_own(line)).collect();
    let remote: Vec<&str> = lines.iter().filter_map(|line| of_remote(line)).collect();
    let curl: Vec<(&str, &str)> = own
        .iter()
        .rev()
        .filter_map(|line| of_curl(line).map(|said| (*line, said)))
        .collect();
    if let Some(found) = first_row(&[SSH], &own) {
        return Some(found);
    }
    let in_the_way = curl
        .iter()
        .find_map(|(line, said)| tls_or_proxy(said).map(|cause| (cause, *line)));
    if in_the_way.is_some() {
        return in_the_way;
    }
    // The other side said why it refused.
    if own.iter().any(|line| is_any(line, REFUSED)) {
        let why = remote.iter().rev().find_map(|line| {
            let (cause, _) = first_row(&[FORGE], &[of_forge(line)])?;
            Some((cause, *line))
        });
        if why.is_some() {
            return why;
        }
    }
    let answered = curl.iter().find_map(|(line, said)| {
        let cause = first_row(&[ANSWERED], &[said]).map(|(cause, _)| cause);
        Some((cause.or_else(|| transfer(said))?, *line))
    });
    let network = || first_row(&[SSH_NETWORK, NETWORK, HUNG_UP], &own);
    if let Some(found) = first_row(&[REMOTE_FAILED], &remote)
        && answered.is_none()
        && network().is_some()
    {
        let refused = first_row(&[GIT], &own);
        return refused
            .filter(|(cause, _)| *cause != Cause::RemoteTrouble)
            .or(Some(found));
    }
    first_row(&[CAME_DAMAGED, MEMORY], &own)
        .or_else(|| places.devices(&own, BEFORE_REASON))
        .or_else(|| first_row(&[UNWRITTEN], &own))
        .or(answered)
        .or_else(|| first_row(&[GIT], &own))
        .or_else(network)
}

/// The last sentence of Git's own.
pub(super) fn last_own<'l>(lines: &[&'l str]) -> Option<&'l str> {
    let own = |line: &&&str| is_own(line);
    let said = |line: &&&str| ["fatal:", "error:"].iter().any(|begin| line.starts_with(begin));
    let mut lines_own = lines.iter().filter(own);
    lines
        .iter()
        .filter(own)
        .rfind(said)
        .or_else(|| lines_own.next_back())
        .copied()
}

/// The fault that a failed Git stands for. `said`: everything that it printed.
pub fn git(what: &str, how: Ended, said: &str, places: Places<'_>) -> Fault {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let fault = super::fault(what, how, decide(&lines, places), last_own(&lines));
    let says = |templates: &[&str]| lines.iter().any(|line| is_any(line, templates));
    // What a repository needs is known; more than that is what the other side sends.
    match fault.cause() {
        Some(Cause::ReferenceMissing) if says(SHALLOW) => fault.with_next(Remedy::words(
            "the remote has a part of its history only: in that repository run git fetch --unshallow, or name the one it was \
             cloned from in repository.remote",
        )),
        Some(Cause::ReferenceMissing) if says(NO_SUBMODULE) => fault.with_next(Remedy::words(
            "say in .gitmodules where the submodule is fetched from, or take it out of the repository",
        )),
        Some(Cause::ReferenceMissing) if says(SUBMODULE_SETTING) => fault.with_next(Remedy::words(
            "in that repository take this setting of the submodule out of .gitmodules (Git takes no command from there), commit, push",
        )),
        Some(Cause::ReferenceMissing) if says(FORBIDDEN_PATH) => fault.with_next(Remedy::words(
            "in that repository take this path out of the tree (Git writes nothing of that name), commit, push",
        )),
        Some(Cause::Memory) => fault.with_next(Remedy::change(
            "give the machine more memory, or find out whether the server sends without end",
        )),
        _ => fault,
    }
}
