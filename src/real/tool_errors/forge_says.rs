//! The sentences of forges that refuse, by the rules of `tool_errors`, as templates in lower case.
//!
//! Sources: the samples in tests/tool_errors, and what forges are known to print.
//!
//! `tool_errors::git` decides when they count.

use super::{Row, row};
use landfall_states::fault::Cause;

/// What forges say of a refusal, behind their own marks.
pub(super) const FORGE: &[Row] = &[
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
            "your ip has been blocked*",
        ],
    ),
    row(
        Cause::ApiLimit,
        &[
            "rate limit exceeded*",
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
            "repository access denied*",
            "access denied or repository not exported*",
            "the project you were looking for could not be found*",
            "could not find repository*",
            "cannot find repository*",
            "the requested repository does not exist*",
            "not found.",
            "tf401019: *",
            "conq: repository does not exist*",
        ],
    ),
    row(
        Cause::Access,
        &[
            "access denied*",
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
            "conq: repository access denied*",
            "conq: not authorized*",
            "public key authentication failed*",
            "user: * with username: * is not allowed to *",
        ],
    ),
];
