//! The sentences of forges that refuse, by the rules of `tool_errors`, as templates in lower case.
//!
//! Sources: the samples in tests/tool_errors, and what forges are known to print. Over ssh most of them print to standard error, which
//! ssh passes on as it is: some put their name before it ([`MARKS`]), some nothing at all ([`UNMARKED`]).
//!
//! `tool_errors::git` decides when they count.

use super::{Row, row};
use landfall_states::fault::Cause;

/// What forges' ssh servers put before their lines.
pub(super) const MARKS: [&str; 7] = [
    "ERROR:", "GitLab:", "Gitea:", "Forgejo:", "Gogs:", "conq:", "FATAL:",
];

/// What forges say of a refusal, behind their own marks.
pub(super) const FORGE: &[Row] = &[
    row(
        Cause::NetworkRefused,
        &[
            "*has an ip allow list enabled, and *",
            "your ip has been blocked*",
            "your ip address has been *",
            "your ip address is not permitted *",
        ],
    ),
    row(
        Cause::Suspended,
        &[
            "your account is suspended*",
            "this account is suspended*",
            "your account has been suspended*",
            "your account has been blocked*",
            "your account has been disabled*",
            "your account is locked*",
            "account is locked*",
            "account suspended*",
            "the account * is suspended*",
            "access to this repository has been disabled*",
            "repository access has been disabled*",
            "this repository has been disabled*",
            "repository '*' is disabled*",
            "repository `*' is disabled*",
            "account '*' is disabled*",
            "account `*' is disabled*",
            "your repository is disabled*",
            "this repository is disabled*",
            "repository unavailable due to *",
            "due to u.s. trade controls *",
        ],
    ),
    row(
        Cause::ApiLimit,
        &[
            "rate limit exceeded*",
            "*exceeded * rate limit*",
            "api rate limit exceeded*",
            "you have exceeded a secondary rate limit*",
            "you have triggered an abuse detection mechanism*",
            "too many requests*",
            "this endpoint has been requested too many times*",
        ],
    ),
    row(
        Cause::ForgeQuota,
        &[
            "this repository is over its data quota*",
            "this repository exceeded its *",
            "your repository exceeded its *",
            "your account has exceeded its *",
            "repository storage limit *",
            "your push was rejected because this repository exceeds its size limit*",
            "bandwidth limit exceeded*",
            "storage limit exceeded*",
            "quota exceeded*",
        ],
    ),
    row(
        Cause::RepositoryMissing,
        &[
            "repository not found*",
            "repository does not exist*",
            "repository owner does not exist*",
            "repository not exported*",
            "access denied or repository not exported*",
            "no such repository*",
            "git repository not found*",
            "you may not have access to this repository or it no longer exists*",
            "the requested repository either does not exist or you do not have access*",
            "the project you were looking for could not be found*",
            "could not find repository*",
            "cannot find repository*",
            "the requested repository does not exist*",
            "not found.",
            "~: not found",
            "tf401019: *",
        ],
    ),
    row(
        Cause::Address,
        &[
            "* is not a valid repository name*",
            "invalid repository path*",
            "invalid repo name*",
            "'*' contains bad characters",
            "'*' ends with a '/'",
            "'*' contains '..'",
            "ssh has been disabled*",
            "the unauthenticated git protocol on port 9418 is no longer supported*",
        ],
    ),
    row(
        Cause::KeyRefused,
        &[
            "you're using an rsa key with sha-1*",
            "you're using * key*no longer *",
            "we're doing an ssh key audit*",
            "cannot find key: *",
            "key check failed*",
        ],
    ),
    row(
        Cause::Access,
        &[
            "access denied*",
            "repository access denied*",
            "~ any * ~ denied by *",
            "http basic: access denied*",
            "permission to * denied to *",
            "you do not have permission*",
            "you are not allowed to *",
            "this deploy key *",
            "deploy key is not *",
            "deploy keys are not allowed to *",
            "invalid username or *",
            "invalid credentials*",
            "support for password authentication was removed*",
            "the '*' organization has enabled or enforced saml sso*",
            "the `*' organization has enabled or enforced saml sso*",
            "write access to repository not granted*",
            "unauthorized*",
            "not authorized*",
            "key access denied*",
            "key permission denied*",
            "you do not have sufficient authorization*",
            "although you appear to have the correct authorization credentials*",
            "upload-pack not permitted *",
            "service not permitted*",
            "service not enabled: *",
            "user: * with key: * is not authorized to *",
            "deploy key: * is not authorized to *",
            "public (deploy) key: * is not authorized to *",
            "cannot find owner with id: *",
            "public key: * owner * does not exist*",
            "public key authentication failed*",
            "user: * with username: * is not allowed to *",
        ],
    ),
];

/// What forges' ssh servers say without any mark, as whole lines: a notice to everybody may begin like it.
pub(super) const UNMARKED: &[Row] = &[
    row(
        Cause::RepositoryMissing,
        &[
            "repository does not exist.",
            "repository not found",
            "repository not found.",
            "you may not have access to this repository or it no longer exists in this workspace.*",
            "the requested repository either does not exist or you do not have access.*",
            "fatal: '*': not a git archive",
            "fatal: project not found: *",
            "fatal: project ~ not found",
        ],
    ),
    row(
        Cause::Access,
        &[
            "unauthorized",
            "unauthorized.",
            "access denied",
            "access denied.",
            "repository access denied.",
            "repository access denied. access via a deployment key is read-only.",
            "fatal: upload-pack not permitted on this server",
        ],
    ),
];

/// What forges say where they fail themselves.
pub(super) const FORGE_FAILED: &[&str] = &[
    "internal server error*",
    "internal error*",
    "unable to access repository path*",
    "failed to init git*",
    "failed to execute git command*",
    "incorrect configuration*",
    "repository is being created*",
];
