//! The sentences of Nix about caches and its settings, and those of servers, as templates in lower case.
//!
//! `tool_errors::nix` decides which of them counts first.

use super::{Row, row};
use landfall_states::fault::Cause;

/// Refusals of a cache, or of its path, in a warning.
pub(super) const REFUSED_CACHE: &[Row] = &[
    row(Cause::CacheAccess, NO_CACHE),
    row(
        Cause::CacheKey,
        &[
            "ignoring substitute for '~' from '*', as it's not signed by any of the keys in 'trusted-public-keys'",
            "substituter '*' does not have a valid signature for path '~'",
            "the substitute for '~' from '*' is not signed by any of the keys in 'trusted-public-keys'",
            "cannot add path '~' because it lacks a signature by a trusted key",
        ],
    ),
];

/// What stands at the address of a cache is none, or one of another store.
pub(super) const NO_CACHE: &[&str] = &[
    "'~' does not appear to be a binary cache",
    "binary cache '~' is for nix stores with prefix '*', not '*'",
];

/// The address of a store that this Nix does not know.
pub(super) const NO_STORE: &[&str] = &[
    "don't know how to open nix store '*'",
    "don't know how to open nix store with scheme '*'",
    "cannot parse nix store '*'",
    "could not find a nix store '*'",
];

/// A key of a cache.
pub(super) const NO_KEY: &[&str] = &[
    "public key is not valid",
    "key is corrupt",
    // Older versions call every key so.
    "secret key is corrupt",
    "secret key is not valid",
    "invalid character in base64 string*",
    "invalid base-64 character*",
];

/// The text of a cache's answer, without what is wrong with it.
pub(super) const NO_NARINFO: &[&str] = &["nar info file '~' is corrupt"];

/// What a file of settings says: before Nix writes its machine log, and with it.
pub(super) const SETTINGS: &[Row] = &[row(
    Cause::NixSettings,
    &[
        "illegal configuration line '*' in '*'",
        "syntax error in configuration line '*' in '*'",
        "setting '~' has invalid value '*'",
        "option '~' has invalid value '*'",
        "boolean setting '~' has invalid value '*'",
        "integer setting '~' has invalid value '*'",
        "configuration setting '~' should be 'auto' or an integer",
        "file '*' included from '*' not found",
        "unknown setting '~'",
    ],
)];

/// What a server says with a refusal, in JSON or as text.
pub(super) const LIMITED: &[&str] = &[
    "{\"message\":\"api rate limit exceeded *",
    "\"message\": \"api rate limit exceeded *",
    "api rate limit exceeded *",
    "{\"message\":\"you have exceeded a secondary rate limit*",
    "\"message\": \"you have exceeded a secondary rate limit*",
    "you have exceeded a secondary rate limit*",
    "{\"message\":\"you have triggered an abuse detection mechanism*",
    "\"message\": \"you have triggered an abuse detection mechanism*",
    "you have triggered an abuse detection mechanism*",
    "{*\"message\":\"api rate limit exceeded *",
    "\"documentation_url\": \"https://developer.github.com/v3/#abuse-rate-limits\"*",
];

/// An address that leads nowhere.
pub(super) const NO_ADDRESS: &[&str] = &[
    "http error 404*",
    "http error 410*",
    "url using bad/illegal format *",
    "url rejected: *",
    "unsupported protocol *",
];

/// What is no JSON and begins as a web page does, or as a conflict of Git's.
pub(super) const JSON_PAGE: &[&str] = &["[json.exception.parse_error.~] parse error *last read: '<*"];

/// Where the configuration reads JSON.
pub(super) const FROM_JSON: &[&str] = &[
    "… while calling the 'fromjson' builtin*",
    "… while decoding a json string*",
];
