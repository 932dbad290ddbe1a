//! Endings of Git and of the ssh that it starts. Law: as `endings`. A line that begins with `remote:`, and one that a forge's ssh server
//! prints before it hangs up (`ERROR:`), is the other side's: it says why the other side refused, and nothing of this machine.
//!
//! Absent: Git's progress, and what it prints when all is well.

use super::shared::{MEMORY, NETWORK, PROXY, TLS};
use super::{Places, Row, first_row, row};
use landfall_states::fault::{Cause, Ended, Fault, Remedy};

/// What ssh says.
const SSH: &[Row] = &[
    row(
        Cause::SshAlgorithms,
        &[
            "no matching host key type found",
            "no matching key exchange method found",
            "no matching cipher found",
            "no matching mac found",
            "^bad configuration option",
        ],
    ),
    row(
        Cause::HostKeyChanged,
        &[
            "remote host identification has changed",
            "has changed and you have requested strict checking",
        ],
    ),
    row(
        Cause::HostKey,
        &["host key verification failed", "host key is known for"],
    ),
    row(
        Cause::KeyUnusable,
        &[
            "^load key ",
            "unprotected private key file",
            "bad permissions",
            "no such identity",
        ],
    ),
    row(
        Cause::KeyRefused,
        &[
            "permission denied (publickey",
            "permission denied, please try again",
            "too many authentication failures",
        ],
    ),
    row(
        Cause::ProgramMissing,
        &[
            "cannot run ssh",
            "/ssh: no such file",
            "cannot exec*ssh",
            "ssh: not found",
        ],
    ),
];

/// A remote that has a part of its history only.
const SHALLOW: &[&str] = &["shallow update not allowed", "shallow roots are not allowed"];
/// A submodule of which `.gitmodules` does not say where it is.
const NO_SUBMODULE: &[&str] = &["no submodule mapping found", "no url found for submodule path"];

/// A setting in `.gitmodules` that Git does not take from there, such as a command for `update`.
const SUBMODULE_SETTING: &[&str] = &["^fatal: invalid value for 'submodule."];

/// What Git says itself.
const GIT: &[Row] = &[
    row(
        Cause::ObjectFormat,
        &[
            "mismatched algorithms",
            "unknown repository extension",
            "unknown object format",
        ],
    ),
    row(
        Cause::ServerTooOld,
        &["dumb http transport does not support", "unadvertised object"],
    ),
    row(
        Cause::CaptivePortal,
        &[
            "unable to update url base from redirection",
            "not valid: is this a git repository",
        ],
    ),
    row(
        Cause::Access,
        &[
            "could not read username",
            "could not read password",
            "authentication failed",
            "returned error: 401",
            "returned error: 403",
        ],
    ),
    row(
        Cause::Address,
        &[
            "url using bad/illegal format",
            "invalid proxy url",
            "unsupported proxy",
            "is not a git command*",
            "^fatal: remote helper * aborted session",
            "^fatal: unable to find remote helper",
            "transport * not allowed",
            "^fatal: no path specified",
            "strange hostname",
            "strange pathname",
            "returned error: 400",
        ],
    ),
    row(
        Cause::RemoteTrouble,
        &[
            "possible repository corruption on the remote side",
            "does not match index",
        ],
    ),
    row(Cause::ReferenceMissing, SHALLOW),
    row(Cause::ReferenceMissing, NO_SUBMODULE),
    row(Cause::ReferenceMissing, SUBMODULE_SETTING),
    row(
        Cause::ReferenceMissing,
        &[
            "not found in upstream",
            "couldn't find remote ref",
            "not our ref",
            "no such remote ref",
            "unable to read tree",
            "reference is not a tree",
            "^fatal: invalid reference",
            "unknown revision",
            "not a valid object",
            "unable to find * under http",
        ],
    ),
    row(
        Cause::RepositoryMissing,
        &[
            "repository not found",
            "returned error: 404",
            "returned error: 410",
            "^fatal: repository '*' not found",
            "^fatal: repository '*' does not exist",
            "does not appear to be a git repository",
            "repository not exported",
        ],
    ),
    row(
        Cause::Busy,
        &[
            "unable to create '*.lock': file exists",
            "another git process seems to be running",
            "resource temporarily unavailable",
        ],
    ),
    row(
        Cause::Damaged,
        &[
            "not a git repository",
            "bad config",
            "bad object",
            "object file * is empty",
            "loose object * is corrupt",
            "is corrupt",
            "invalid reflog entry",
            "failed to traverse parents",
            "index file corrupt",
            "index file smaller than expected",
            "pack has bad object",
            "does not look like a v2 or v3 bundle file",
            "could not open '*bundle'",
            "could not read bundle",
        ],
    ),
];

/// Repositories whose contents come damaged: of the other side, when they came over the network.
const CAME_DAMAGED: &[Row] = &[row(
    Cause::BadBytes,
    &[
        "pack has bad object at offset",
        "inflate: data stream error",
        "pack is corrupted",
        "sha1 collision",
    ],
)];

/// What comes last, because Git says it after every refusal of ssh.
const HUNG_UP: &[Row] = &[row(
    Cause::Network,
    &[
        "could not read from remote repository",
        "unable to fork off sideband",
    ],
)];

/// What forges say of a refusal.
const FORGE: &[Row] = &[
    row(
        Cause::Suspended,
        &[
            "suspended",
            "has been disabled",
            "account is locked",
            "been blocked",
            "is archived and*locked",
        ],
    ),
    row(
        Cause::ApiLimit,
        &["rate limit", "abuse detection", "too many requests"],
    ),
    row(
        Cause::ForgeQuota,
        &[
            "quota",
            "storage limit",
            "bandwidth limit",
            "over its data",
            "exceeded its",
        ],
    ),
    row(
        Cause::RepositoryMissing,
        &[
            "repository not found",
            "repository does not exist",
            "project you were looking for could not be found",
            "could not find repository",
            "cannot find repository",
        ],
    ),
    row(
        Cause::Access,
        &[
            "access denied",
            "permission to * denied",
            "denied to ",
            "you do not have permission",
            "not allowed to",
            "invalid username or",
            "support for password authentication was removed",
            "saml sso",
            "deploy key",
            "unauthorized",
        ],
    ),
    row(
        Cause::RemoteTrouble,
        &[
            "no space left",
            "input/output error",
            "out of memory",
            "possible repository corruption",
            "internal error",
            "fatal:",
            "maintenance",
        ],
    ),
];

/// A line of the other side's, without what marks it.
fn of_remote(line: &str) -> Option<&str> {
    line.strip_prefix("remote:")
        .or_else(|| line.starts_with("ERROR:").then_some(line))
        .map(str::trim)
}

/// What Git's lines mean, and which line says so. `lines` are everything that it printed.
pub(super) fn decide<'l>(lines: &[&'l str], places: Places<'_>) -> Option<(Cause, &'l str)> {
    let own: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| of_remote(line).is_none())
        .collect();
    let remote: Vec<&str> = lines.iter().filter_map(|line| of_remote(line)).collect();
    let first = first_row(&[SSH, PROXY, TLS], &own);
    if let Some(found) = first {
        return Some(found);
    }
    // The other side said why before it hung up or refused.
    let refused = first_row(&[FORGE], &remote);
    if let Some((cause, line)) = refused
        && cause != Cause::RemoteTrouble
    {
        return Some((cause, line));
    }
    if let Some(found) = refused.filter(|_| first_row(&[NETWORK, HUNG_UP], &own).is_some()) {
        return Some(found);
    }
    first_row(&[CAME_DAMAGED, MEMORY], &own)
        .or_else(|| places.devices(&own))
        .or_else(|| first_row(&[GIT, NETWORK, HUNG_UP], &own))
}

/// The last sentence of Git's own.
pub(super) fn last_own<'l>(lines: &[&'l str]) -> Option<&'l str> {
    let own = |line: &&&str| of_remote(line).is_none();
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
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let fault = super::fault(what, how, decide(&lines, places), last_own(&lines));
    let lower = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // What a repository needs is known; more than that is what the other side sends.
    match fault.cause() {
        Some(Cause::ReferenceMissing) if says(SHALLOW) => fault.with_next(Remedy::words(
            "the remote has a part of its history only: in that repository run git fetch --unshallow, or name the one it was \
             cloned from in repository.remote",
        )),
        Some(Cause::ReferenceMissing) if says(NO_SUBMODULE) => fault.with_next(Remedy::words(
            "say in .gitmodules where the submodule is fetched from, or take it out of the repository",
        )),
        Some(Cause::ReferenceMissing) if lower.contains("fatal: invalid value for 'submodule.") => fault.with_next(Remedy::words(
            "in that repository take this setting of the submodule out of .gitmodules (Git takes no command from there), commit, push",
        )),
        Some(Cause::Memory) => fault.with_next(Remedy::change(
            "give the machine more memory, or find out whether the server sends without end",
        )),
        _ => fault,
    }
}
