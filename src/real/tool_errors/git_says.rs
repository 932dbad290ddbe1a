//! The sentences of Git, by the rules of `tool_errors`, as templates in lower case.
//!
//! Sources: the samples in tests/tool_errors, and Git 2.39 to 2.47. `ssh_says` and `forge_says` have those of ssh and of forges.
//! `tool_errors::git` decides which of them counts first.

use super::{Row, row};
use landfall_states::fault::Cause;

/// A remote that has a part of its history only.
pub(super) const SHALLOW: &[&str] = &[
    "! [rejected] * (shallow update not allowed)",
    "! [remote rejected] * (shallow update not allowed)",
    "warning: rejected * because shallow roots are not allowed to be updated",
    "error: source repository is shallow, reject to clone.",
    "fatal: source repository is shallow, reject to clone.",
];
/// A submodule of which `.gitmodules` does not say where it is.
pub(super) const NO_SUBMODULE: &[&str] = &[
    "fatal: no submodule mapping found in .gitmodules for path '*'",
    "fatal: no url found for submodule path '*' in .gitmodules",
];

/// A setting in `.gitmodules` that Git does not take from there, such as a command for `update`.
pub(super) const SUBMODULE_SETTING: &[&str] = &["fatal: invalid value for 'submodule.*'*"];

/// A repository of another account, which the Git that serves it does not read.
pub(super) const OWNERSHIP: &[&str] = &[
    "fatal: detected dubious ownership in repository at '*'",
    "fatal: unsafe repository ('*' is owned by someone else)",
];

/// A path in the tree that Git does not write anywhere.
pub(super) const FORBIDDEN_PATH: &[&str] = &["error: invalid path '*'"];

/// What a server answered, in curl's words.
pub(super) const ANSWERED: &[Row] = &[
    row(
        Cause::Access,
        &[
            "the requested url returned error: 401",
            "the requested url returned error: 403",
        ],
    ),
    row(
        Cause::RepositoryMissing,
        &[
            "the requested url returned error: 404",
            "the requested url returned error: 410",
        ],
    ),
    row(Cause::Suspended, &["the requested url returned error: 451"]),
    row(
        Cause::Address,
        &[
            "the requested url returned error: 400",
            "url using bad/illegal format or missing url",
            "url rejected: *",
            "unsupported proxy*",
            "invalid proxy url *",
            "unsupported protocol",
            "protocol \"*\" not supported*",
        ],
    ),
];

/// What a server answered that does not serve Git there. Of these answers only those count that no other table has.
pub(super) const NOT_SERVED: &[Row] = &[row(
    Cause::Address,
    &[
        "the requested url returned error: 3*",
        "the requested url returned error: 4*",
    ],
)];

/// What Git says itself.
pub(super) const GIT: &[Row] = &[
    row(
        Cause::ObjectFormat,
        &[
            "fatal: mismatched algorithms: client ~; server ~",
            "fatal: unknown repository extension found:*",
            "fatal: unknown repository extensions found:*",
            "fatal: unknown object format '*'*",
            "error: unknown object format '*'*",
            "error: invalid value for 'extensions.objectformat': *",
        ],
    ),
    row(
        Cause::ServerTooOld,
        &[
            "fatal: dumb http transport does not support *",
            "error: server does not allow request for unadvertised object ~",
            "fatal: server does not allow request for unadvertised object ~",
        ],
    ),
    row(
        Cause::CaptivePortal,
        &[
            "fatal: unable to update url base from redirection:*",
            "fatal: ~ not valid: is this a git repository?",
            "fatal: ~ not valid: could not determine hash algorithm; is this a git repository?",
        ],
    ),
    row(
        Cause::Access,
        &[
            "fatal: could not read username for '*': *",
            "fatal: could not read password for '*': *",
            "fatal: authentication failed for '*'",
        ],
    ),
    row(Cause::Access, OWNERSHIP),
    row(
        Cause::Address,
        &[
            "fatal: invalid proxy url '*'",
            "git: 'remote-~' is not a git command. see 'git --help'.",
            "fatal: remote helper '*' aborted session",
            "fatal: unable to find remote helper for '*'",
            "fatal: transport '~' not allowed",
            "fatal: no path specified; see 'git help pull' for valid url syntax",
            "fatal: no path specified*",
            "fatal: strange hostname '*' blocked",
            "fatal: strange pathname '*' blocked",
            "fatal: strange port '*' blocked",
        ],
    ),
    row(
        Cause::RemoteTrouble,
        &["fatal: git upload-pack: aborting due to possible repository corruption on the remote side."],
    ),
    // What was fetched is in the clone: that a tree or an index is not there any more is damage of it.
    row(
        Cause::Damaged,
        &[
            "fatal: unable to read tree (~)",
            "fatal: unable to read tree ~",
            "error: packfile * does not match index",
            "error: index file ~ is too small",
            "fatal: not a valid object name head",
            "fatal: 'head' is not a valid branch name",
            "fatal: unexpected line in *",
            "fatal: unterminated line in *",
            "fatal: bad shallow line: *",
            "fatal: unknown error occurred while reading the configuration files",
            "fatal: invalid gitfile format: *",
        ],
    ),
    row(
        Cause::InTheWay,
        &["fatal: destination path '*' already exists and is not an empty directory."],
    ),
    row(Cause::ReferenceMissing, SHALLOW),
    row(Cause::ReferenceMissing, NO_SUBMODULE),
    row(Cause::ReferenceMissing, SUBMODULE_SETTING),
    row(Cause::ReferenceMissing, FORBIDDEN_PATH),
    row(
        Cause::ReferenceMissing,
        &[
            "fatal: remote branch * not found in upstream *",
            "fatal: couldn't find remote ref *",
            "fatal: remote error: upload-pack: not our ref ~",
            "fatal: git upload-pack: not our ref ~",
            "fatal: no such remote ref *",
            "fatal: reference is not a tree: *",
            "fatal: invalid reference: *",
            "fatal: ambiguous argument '*': unknown revision or path not in the working tree.",
            "fatal: bad revision '*'",
            "fatal: needed a single revision",
            "fatal: not a valid object name*",
            "error: pathspec '*' did not match any file(s) known to git",
            "error: unable to find ~ under http*",
            "fatal: fetched in submodule path '*', but it did not contain ~. direct fetching of that commit failed.",
            "fatal: unable to find current revision in submodule path '*'",
            "fatal: unable to find current * revision in submodule path '*'",
        ],
    ),
    row(
        Cause::RepositoryMissing,
        &[
            "fatal: repository '*' not found",
            "fatal: repository '*' does not exist",
            "fatal: '*' does not appear to be a git repository",
            "fatal: remote error: access denied or repository not exported: *",
            "fatal: remote error: repository not found.*",
        ],
    ),
    row(
        Cause::Busy,
        &[
            "fatal: unable to create '*.lock': file exists.",
            "error: unable to create '*.lock': file exists.",
            "error: could not lock config file *: file exists",
            "another git process seems to be running in this repository, e.g.",
            "error: cannot create async thread: resource temporarily unavailable",
            "error: cannot fork to run *: resource temporarily unavailable",
            "fatal: unable to create thread: resource temporarily unavailable",
            "fatal: unable to create threaded lstat: resource temporarily unavailable",
            "error: cannot fork() for ~: resource temporarily unavailable",
            "fatal: unable to fork: resource temporarily unavailable",
        ],
    ),
    // It stands behind one of these, where Git says the reason.
    row(
        Cause::Busy,
        &["fatal: fetch-pack: unable to fork off sideband demultiplexer"],
    ),
    row(
        Cause::Damaged,
        &[
            "fatal: not a git repository*",
            "fatal: bad config *",
            "error: bad config *",
            "fatal: bad object *",
            "error: object file * is empty",
            "fatal: loose object ~ (stored in *) is corrupt",
            "fatal: packed object ~ (stored in *) is corrupt",
            "error: loose object ~ (stored in *) is corrupt",
            "error: ~: object corrupt or missing: *",
            "error: ~: invalid reflog entry ~",
            "error: bad object *",
            "fatal: bad tree object *",
            "fatal: failed to traverse parents of commit ~",
            "error: failed to traverse parents of commit ~",
            "fatal: index file corrupt",
            "error: bad index file sha1 signature",
            "fatal: *: index file smaller than expected",
            "fatal: packfile * is corrupt*",
            "error: packfile * is corrupt*",
            "error: '*' does not look like a v2 or v3 bundle file",
            "error: could not open '*bundle'",
            "fatal: could not open '*bundle'",
            "error: could not read bundle *",
            "fatal: could not read bundle *",
        ],
    ),
];

/// Repositories whose contents come damaged: of the other side, when they came over the network.
pub(super) const CAME_DAMAGED: &[Row] = &[row(
    Cause::BadBytes,
    &[
        "fatal: pack has bad object at offset *",
        "error: inflate: data stream error (*)",
        "fatal: pack is corrupted (*)",
        "fatal: sha1 collision *",
        "error: sha1 collision *",
    ],
)];

/// Too little memory.
pub(super) const MEMORY: &[Row] = &[row(
    Cause::Memory,
    &[
        "fatal: out of memory, *",
        "error: out of memory, *",
        "fatal: out of memory",
        "fatal: mmap failed*: cannot allocate memory",
        "error: cannot fork to run *: cannot allocate memory",
        "fatal: unable to fork*: cannot allocate memory",
        "error: cannot create async thread: cannot allocate memory",
        "git: error while loading shared libraries: *: cannot allocate memory",
        "git: error while loading shared libraries: *: failed to map segment from shared object",
    ],
)];

/// What Git says before what the system says: of files and of streams.
pub(super) const BEFORE_REASON: &[&str] = &[
    "fatal: write error",
    "error: file write error",
    "fatal: file write error",
    "fatal: read error",
    "fatal: read error on input",
    "fatal: sha1 file '*' write error",
    "fatal: sha1 file '*' read error",
    "fatal: fsync error on '*'",
    "fatal: unable to fsync *",
    "error: copy-fd: write returned",
    "error: copy-fd: read returned",
    "fatal: cannot copy '*' to '*'",
    "fatal: cannot mkdir *",
    "fatal: cannot mkdir '*'",
    "fatal: cannot opendir '*'",
    "fatal: cannot close *",
    "fatal: cannot store *",
    "fatal: cannot pread pack file",
    "fatal: could not create *",
    "error: could not create *",
    "fatal: could not open '*' for *",
    "fatal: could not write *",
    "error: could not write *",
    "error: could not lock config file *",
    "error: failed to write *",
    "fatal: failed to write *",
    "error: failed to create *",
    "error: unable to create *",
    "fatal: unable to create *",
    "error: unable to open *",
    "fatal: unable to open *",
    "error: unable to append to *",
    "fatal: unable to append to *",
    "error: unable to mmap *",
    "fatal: mmap failed",
    "error: unable to read sha1 file of *",
    "error: unable to write sha1 filename *",
    "error: unable to write file ./objects/*",
    "error: unable to write file .git/objects/*",
    "error: unable to write file /*/objects/*",
    "error: unable to write loose object file",
    "fatal: unable to write loose object file",
    "error: unable to unlink *",
    "error: could not read *",
    "fatal: could not read *",
    "error: cannot update the ref '*': unable to append to '*'",
    "fatal: failed to read object ~",
    "fatal: unable to read *",
    "fatal: unable to get *",
    "fatal: unable to write *",
    "fatal: unable to rename *",
    "error: unable to rename *",
    "fatal: error closing file *",
    "error: error closing file *",
    "fatal: file '*' write error",
    "fatal: invalid path '*'",
    "error: cannot lock ref '*': unable to create '*'",
    "fatal: update_ref failed for ref '*': cannot lock ref '*': unable to create '*'",
    "fatal: update_ref failed for ref '*': cannot update the ref '*': unable to append to '*'",
    "fatal: couldn't read *",
    "error: chmod on * failed",
    "error: opening *",
    "warning: unable to access '*'",
    "warning: unable to unlink '*'",
    // A name at the end stands in quotation marks, so that what stands behind them is the system's.
    "fatal: cannot * '*'",
    "error: cannot * '*'",
    "fatal: could not * '*'",
    "error: could not * '*'",
    "fatal: couldn't * '*'",
    "error: couldn't * '*'",
    "fatal: failed to * '*'",
    "error: failed to * '*'",
    "fatal: unable to * '*'",
    "error: unable to * '*'",
];

/// No room, in Git's own words.
pub(super) const OUT_OF_ROOM: &[&str] = &[
    "fatal: sha1 file '*' write error. out of diskspace",
    "fatal: file '*' write error. out of diskspace",
];

/// A file of the tree or of the repository that could not be written; Git does not say why.
pub(super) const UNWRITTEN: &[Row] = &[row(
    Cause::InputOutput,
    &[
        "error: unable to write file *",
        "fatal: unable to write new index file",
        // Of a repository that was there before.
        "fatal: --stdin requires a git repository",
        "error: failed to write new configuration file *",
        "error: couldn't write '*.lock'",
        "error: couldn't close '*.lock'",
        "error: couldn't set '*'",
        "error: cannot update ref '*': couldn't *",
        "fatal: update_ref failed for ref '*': cannot update ref '*': couldn't *",
        "fatal: update_ref failed for ref '*': couldn't *",
    ],
)];

/// What the Git of the other side says of a pack that it has; the words are the same where it is this one's.
pub(super) const DAMAGED_THERE: &[Row] = &[row(
    Cause::RemoteTrouble,
    &[
        "error: packfile * does not match index",
        "error: index file ~ is too small",
    ],
)];

/// The other side's Git, which tells why it refused.
pub(super) const BY_REMOTE: &[&str] = &[
    "fatal: git upload-pack: *",
    "fatal: remote error: *",
    "fatal: remote error:",
];

/// What Git says of the network.
pub(super) const NETWORK: &[Row] = &[row(
    Cause::Network,
    &[
        "fatal: early eof",
        "fatal: unexpected eof",
        "error: unexpected eof",
        "fatal: the remote end hung up unexpectedly",
        "fatal: the remote end hung up upon initial contact",
        "fatal: read error: connection *",
        "fatal: write error: broken pipe",
        "fatal: write error: connection *",
        "fetch-pack: unexpected disconnect while reading sideband packet",
        "error: rpc failed; *",
        "error: ~ bytes of body are still expected",
        "error: ~ bytes of length header were received",
        "fatal: fetch-pack: invalid index-pack output",
        "fatal: index-pack failed",
        "error: index-pack died",
        "error: index-pack died of signal ~",
        "fatal: protocol error: bad line length ~",
        "fatal: protocol error: bad pack header",
        "fatal: expected flush after *",
        "fatal: error reading section header '*'",
        "fatal: error in sideband demultiplexer",
        "fatal: unable to look up ~ (port ~) (*)",
        "fatal: unable to look up ~ (*)",
        "fatal: unable to connect to *",
        "~[~ ~]: errno=*",
        "fetch-pack: protocol error: bad band *",
        "fatal: fetch-pack: protocol error: bad band *",
    ],
)];

/// What Git says where the other side sends something else than Git does: a shell that greets, a program that is none of Git's.
pub(super) const STRANGE_ANSWER: &[Row] = &[row(
    Cause::Unknown,
    &[
        "fatal: protocol error: bad line length character: *",
        "fatal: protocol error: expected *",
        "fatal: protocol error: unexpected *",
        "fatal: expected *, got '*'",
        "fatal: invalid server response; got '*'",
        "fatal: unknown object format '*' specified by server",
        "fatal: server response to *",
    ],
)];

/// What was sent ended before its end. Git says next that an object is not there, which is no wonder then.
pub(super) const CUT_SHORT: &[Row] = &[row(Cause::Network, &["fatal: early eof"])];

/// What Git says after every ending of ssh, and of a repository beside it, which says nothing of why. What may be the cause stands before it.
pub(super) const WITHOUT_REASON: &[&str] = &[
    "fatal: could not read from remote repository.",
    "please make sure you have the correct access rights",
    "and the repository exists.",
];

/// A server without Git, in the words of its shell.
pub(super) const NO_GIT_THERE: &[&str] = &[
    "*git-upload-pack: *not found",
    "*git-upload-pack*: command not found",
    "*git-upload-pack: no such file or directory",
    "*git-upload-pack*unknown command*",
    "*'git-upload-pack' is not recognized as an internal or external command,*",
];

/// What Git says where the other side refused, and did not break off.
pub(super) const REFUSED: &[&str] = &[
    "fatal: could not read from remote repository.",
    "fatal: could not read username for '*': *",
    "fatal: could not read password for '*': *",
    "fatal: authentication failed for '*'",
    "fatal: repository '*' not found",
    "fatal: remote error: *",
    // The reason stands below.
    "fatal: remote error:",
    "fatal: unable to access '*': the requested url returned error: 4~",
];

/// What the Git of the other side says when it fails.
pub(super) const REMOTE_FAILED: &[Row] = &[row(
    Cause::RemoteTrouble,
    &[
        "fatal: *",
        "error: *",
        "internal error*",
        "internal server error*",
        "aborting due to possible repository corruption on the remote side.",
    ],
)];
