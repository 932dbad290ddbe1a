//! Errors of Git and of the ssh that it starts, by the rules of `tool_errors`.
//!
//! A line that begins with `remote:`, or that a forge's ssh server prints before it hangs up (`ERROR:`, `Gitea:`), comes from the
//! other side. It counts if Git was refused and nothing else says why, and never says anything about this machine. What such a server
//! prints without a mark counts last, as a whole line, and only where Git could not read at all. A banner of an ssh server has no mark
//! either, so ssh is told to print none (`git::command`). Without a known sentence the cause is `Unknown`.
//! Git's progress, and what it prints on success, is ignored.

use super::forge_says::{FORGE, FORGE_FAILED, MARKS, UNMARKED};
use super::git_says::{
    ANSWERED, BEFORE_REASON, BY_REMOTE, CAME_DAMAGED, CUT_SHORT, DAMAGED_THERE, FORBIDDEN_PATH, GIT, MEMORY,
    NETWORK, NO_GIT_THERE, NO_SUBMODULE, NOT_SERVED, OUT_OF_ROOM, OWNERSHIP, REFUSED, REMOTE_FAILED, SHALLOW,
    STRANGE_ANSWER, SUBMODULE_SETTING, UNWRITTEN, WITHOUT_REASON,
};
use super::shared::{FILES, behind_address, tls_or_proxy, transfer};
use super::ssh_says::{HOST_CERTIFICATE, HOST_KEY, SSH, SSH_NETWORK, UNVERIFIED};
use super::{NO_MEMORY, Places, first_row, gives_reason, is_any};
use landfall_states::fault::{Cause, Ended, Fault, Remedy};

/// A line of the other side's, without what marks it.
fn of_remote(line: &str) -> Option<&str> {
    line.strip_prefix("remote:")
        .or_else(|| is_of_forge(line).then_some(line))
        .or_else(|| line.starts_with("fatal: remote error:").then_some(line))
        .map(str::trim)
}

/// Whether a forge's ssh server put its mark before a line.
pub fn is_of_forge(line: &str) -> bool {
    MARKS.iter().any(|mark| line.starts_with(mark))
}

/// The lines of the other side's. Where one is empty, its reason stands below, indented.
fn of_remotes<'l>(lines: &[&'l str]) -> Vec<&'l str> {
    let below = |at: usize| {
        let reason = lines.get(at + 1).filter(|line| line.starts_with(' '));
        reason.map(|line| line.trim())
    };
    lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| match of_remote(line)? {
            NO_REASON => Some(below(at).unwrap_or(NO_REASON)),
            said => Some(said),
        })
        .collect()
}

/// What Git prints where the other side begins its reason with a line feed.
const NO_REASON: &str = "fatal: remote error:";

/// Whether a line is Git's, ssh's, or one of theirs that quotes the other side. Names of files are listed indented.
fn is_own(line: &str) -> bool {
    !line.starts_with([' ', '\t']) && (of_remote(line).is_none() || line.starts_with("fatal: "))
}

/// A line of ssh's without the place in its code that stands before it where it was told to print that in any case (`git`):
/// `packet.c:sshpkt_vfatal():1931 (pid=15926): Connection closed by 192.0.2.1 port 22`.
pub fn of_ssh(line: &str) -> &str {
    let without = || {
        let (place, said) = line.split_once("): ")?;
        let (file, place) = place.split_once(':')?;
        let (function, place) = place.split_once("():")?;
        let (number, process) = place.split_once(" (")?;
        let is_word = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c))
        };
        let is_process = process.split(", ").any(|part| {
            part.strip_prefix("pid=")
                .is_some_and(|id| id.parse::<u32>().is_ok())
        });
        (file.ends_with(".c")
            && is_word(file)
            && is_word(function)
            && number.parse::<u32>().is_ok()
            && is_process)
            .then_some(said)
    };
    without().unwrap_or(line)
}

/// The text of a forge's line.
fn of_forge(line: &str) -> &str {
    [
        "fatal: remote error: ",
        "ERROR: ",
        "GitLab: ",
        "Gitea: ",
        "Forgejo: ",
        "Gogs: ",
        "conq: ",
        "FATAL: ",
        "error: ",
        "fatal: ",
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
        // Of an object that a server without Git's own protocol did not send whole; that it is not there then is no news.
        .or_else(|| {
            let (said, _) = line.strip_prefix("error: ")?.split_once(" (curl_result = ")?;
            Some(said)
        })
}

/// Why the other side refused, in its own words.
fn why_refused<'l>(own: &[&str], remote: &[&'l str]) -> Option<(Cause, &'l str)> {
    own.iter().find(|line| is_any(line, REFUSED))?;
    remote.iter().rev().find_map(|line| {
        let (cause, _) = first_row(&[FORGE], &[of_forge(line)])?;
        Some((cause, *line))
    })
}

/// What Git's lines mean, and which line says so. `lines` are everything that it printed.
pub(super) fn decide<'l>(lines: &[&'l str], places: Places<'_>) -> Option<(Cause, &'l str)> {
    let own: Vec<&str> = lines.iter().copied().filter(|line| is_own(line)).collect();
    let remote = of_remotes(lines);
    let curl: Vec<(&str, &str)> = own
        .iter()
        .rev()
        .filter_map(|line| of_curl(line).map(|said| (*line, said)))
        .collect();
    let is_unverified = own.iter().any(|line| is_any(line, UNVERIFIED));
    let certificate = if is_unverified { HOST_CERTIFICATE } else { &[] };
    if let Some(found) = first_row(&[HOST_KEY, certificate, SSH], &own) {
        return Some(found);
    }
    let in_the_way = curl
        .iter()
        .find_map(|(line, said)| tls_or_proxy(said).map(|cause| (cause, *line)));
    if in_the_way.is_some() {
        return in_the_way;
    }
    if let Some(why) = why_refused(&own, &remote) {
        return Some(why);
    }
    let answered = curl.iter().find_map(|(line, said)| {
        let cause = first_row(&[ANSWERED], &[said]).map(|(cause, _)| cause);
        let cause = cause
            .or_else(|| transfer(said))
            .or_else(|| first_row(&[NOT_SERVED], &[said]).map(|(cause, _)| cause));
        Some((cause?, *line))
    });
    let network = || first_row(&[SSH_NETWORK, NETWORK], &own);
    let failed = || {
        let is_failure = |line: &&&str| is_any(of_forge(line), FORGE_FAILED);
        let line = remote.iter().rev().find(is_failure)?;
        Some((Cause::RemoteTrouble, *line))
    };
    if let Some(found) = first_row(&[REMOTE_FAILED], &remote).or_else(failed)
        && answered.is_none()
        && (says_no_reason(lines) || network().is_some())
    {
        let refused = first_row(&[GIT], &own);
        return refused
            .filter(|(cause, _)| *cause != Cause::RemoteTrouble)
            .or(Some(found));
    }
    let no_memory = |line: &&&str| gives_reason(line, BEFORE_REASON, NO_MEMORY);
    first_row(&[CAME_DAMAGED, MEMORY, FILES], &own)
        .or_else(|| {
            own.iter()
                .rev()
                .find(no_memory)
                .map(|line| (Cause::Memory, *line))
        })
        .or_else(|| {
            // What may not be read or changed may be so on the other side, whose ssh prints it without a mark.
            let is_theirs =
                |cause| matches!(cause, Cause::Forbidden | Cause::InTheWay) && says_no_reason(lines);
            places
                .devices(&own, BEFORE_REASON)
                .filter(|(cause, _)| !is_theirs(*cause))
        })
        .or_else(|| {
            let line = own.iter().rev().find(|line| is_any(line, OUT_OF_ROOM))?;
            Some((places.of_room(line), *line))
        })
        .or_else(|| first_row(&[UNWRITTEN], &own))
        .or(answered)
        .or_else(|| first_row(&[CUT_SHORT], &own))
        .or_else(|| {
            let by_remote = own.iter().any(|line| is_any(line, BY_REMOTE));
            first_row(&[DAMAGED_THERE], &own).filter(|_| by_remote)
        })
        .or_else(|| first_row(&[GIT], &own))
        .or_else(|| first_row(&[UNMARKED], &own).filter(|_| says_no_reason(lines)))
        .or_else(|| first_row(&[STRANGE_ANSWER], &own))
        .or_else(network)
}

/// Whether Git says that the other side gave nothing; why, it does not know.
pub(super) fn says_no_reason(lines: &[&str]) -> bool {
    lines
        .iter()
        .any(|line| is_own(line) && is_any(line, WITHOUT_REASON))
}

/// The last sentence of Git's own.
pub(super) fn last_own<'l>(lines: &[&'l str]) -> Option<&'l str> {
    let is_last = |line: &&str| is_own(line) && !is_any(line, WITHOUT_REASON);
    let own = |line: &&&str| is_last(line);
    let said = |line: &&&str| ["fatal:", "error:"].iter().any(|begin| line.starts_with(begin));
    let mut lines_own = lines.iter().filter(own);
    let of_forge = || {
        let is_marked = |line: &&&str| is_of_forge(line);
        lines.iter().rfind(is_marked).copied()
    };
    let found = lines.iter().filter(own).rfind(said).copied();
    if found == Some(NO_REASON) {
        return of_remotes(lines).into_iter().rfind(|line| !line.is_empty());
    }
    found
        .or_else(of_forge)
        .or_else(|| lines_own.next_back().copied())
        .or_else(|| lines.iter().copied().find(|line| is_own(line)))
}

/// The fault that a failed Git stands for. `said`: everything that it printed.
pub fn git(what: &str, how: Ended, said: &str, places: Places<'_>) -> Fault {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| of_ssh(line.trim_end()))
        .filter(|line| !line.is_empty())
        .collect();
    let fault = super::fault(what, how, decide(&lines, places), last_own(&lines));
    let says = |templates: &[&str]| lines.iter().any(|line| is_any(line, templates));
    let next = match fault.cause() {
        Some(Cause::ReferenceMissing) => lacks(&says),
        Some(Cause::Access) => gives_access(&says),
        Some(Cause::KeyRefused) => gives_key(&says),
        Some(Cause::Address) => corrects_address(&says),
        Some(Cause::Unknown) => unclear(&says),
        Some(Cause::Memory) => Some(Remedy::change(
            // What a repository needs is known; more than that is what the other side sends.
            "give the machine more memory, or check whether the server sends data without end",
        )),
        _ => None,
    };
    match next {
        Some(next) => fault.with_next(next),
        None => fault,
    }
}

type Says<'a> = &'a dyn Fn(&[&str]) -> bool;

/// What a repository lacks, where Git says more than that.
fn lacks(says: Says<'_>) -> Option<Remedy> {
    let words = if says(SHALLOW) {
        "the remote has only a part of its history: run git fetch --unshallow in that repository, or set repository.remote (for a submodule: .gitmodules) to the repository it was cloned from"
    } else if says(NO_SUBMODULE) {
        "set the address of the submodule in .gitmodules, or remove the submodule from the repository"
    } else if says(SUBMODULE_SETTING) {
        "remove this setting of the submodule from .gitmodules of that repository (Git accepts no command there), commit and push"
    } else if says(FORBIDDEN_PATH) {
        "remove this path from that repository (Git does not write files of that name), commit and push"
    } else {
        return None;
    };
    Some(Remedy::words(words))
}

/// Who may read the repository: a server over HTTP says whether it was given a login.
fn gives_access(says: Says<'_>) -> Option<Remedy> {
    let words = if says(&["fatal: ~ any * ~ denied by *", "~: fatal: ~ any * ~ denied by *"]) {
        "give the key's account read access in the configuration of gitolite, or correct the path in repository.remote"
    } else if says(OWNERSHIP) {
        "on the server, give the repository to the account that runs Git (chown -R), or let that account use it (as that account: git config --global --add safe.directory PATH)"
    } else if says(&[
        "fatal: could not read username for 'http://*': *",
        "fatal: could not read password for 'http://*': *",
    ]) {
        "use an https:// remote with a token as credential landfall.repository-token (landfall sends none over http://), or an ssh remote with credential landfall.ssh-key"
    } else if says(&[
        "fatal: could not read username for '*': *",
        "fatal: could not read password for '*': *",
    ]) {
        "provide a token with read access as credential landfall.repository-token, or use an ssh remote with credential landfall.ssh-key"
    } else if says(&["fatal: authentication failed for '*'"]) {
        "provide a valid token with read access as credential landfall.repository-token (the server refuses this login)"
    } else if says(&[
        "fatal: unable to access '*': the requested url returned error: 401",
        "fatal: unable to access '*': the requested url returned error: 403",
    ]) {
        "give the token of credential landfall.repository-token read access at the forge, or provide another token"
    } else {
        return None;
    };
    Some(Remedy::change(words))
}

/// Which key the server takes, where it says more than that it refuses this one.
fn gives_key(says: Says<'_>) -> Option<Remedy> {
    let words = if says(&["error: you're using *"]) {
        "provide a key of a newer type (ssh-keygen -t ed25519 makes one) as credential landfall.ssh-key, and add it at the forge"
    } else if says(&["error: we're doing an ssh key audit*"]) {
        "approve this key at the forge (its message has the address)"
    } else {
        return None;
    };
    Some(Remedy::change(words))
}

/// The way to a repository that its server does not offer here.
fn corrects_address(says: Says<'_>) -> Option<Remedy> {
    let words = if says(&["*the unauthenticated git protocol on port 9418 is no longer supported*"]) {
        "set repository.remote to the https:// address of that repository: this server no longer answers git://"
    } else if says(&["~: ssh has been disabled*"]) {
        "set repository.remote to the https:// address of that repository: this server does not offer ssh"
    } else {
        return None;
    };
    Some(Remedy::change_and_install(words))
}

/// What nobody knows of a remote: who looks at it by hand sees more.
fn unclear(says: Says<'_>) -> Option<Remedy> {
    let words = if says(NO_GIT_THERE) {
        "install Git on the server, in the PATH of the account in that address"
    } else if STRANGE_ANSWER.iter().any(|row| says(row.any)) {
        "make sure that only Git answers at that address: the shell of the account must print nothing (test: ssh ADDRESS true), and a web server must serve the repository"
    } else if says(WITHOUT_REASON) || says(&["fatal: unable to access '*': *"]) {
        "fix the cause that it reports; the log of the server (or of a proxy in front of it) has more"
    } else {
        return None;
    };
    Some(Remedy::change(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_ssh_is_taken_off_and_nothing_else_is() {
        for (line, said) in [
            (
                "packet.c:sshpkt_vfatal():1931 (pid=15926): Connection closed",
                "Connection closed",
            ),
            (
                "clientloop.c:server_alive_check():7 (bin=ssh, pid=1): Timeout, server h not responding.",
                "Timeout, server h not responding.",
            ),
            (
                "packet.c:sshpkt_vfatal():x (pid=1): a",
                "packet.c:sshpkt_vfatal():x (pid=1): a",
            ),
            ("a.c: b(): c", "a.c: b(): c"),
            ("fatal: x (pid=1): a", "fatal: x (pid=1): a"),
        ] {
            assert_eq!(of_ssh(line), said);
        }
    }
}
