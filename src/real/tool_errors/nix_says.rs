//! The sentences of Nix, its builders and its collector, as templates in lower case, without the marks `error:` and
//! `warning:`.
//!
//! Sources: the samples in tests/tool_errors, and Nix 2.3 to 2.34.
//!
//! `tool_errors::nix` decides which of them counts first.

use super::nix_cache_says::{NO_CACHE, NO_KEY, NO_STORE};
use super::{Row, row};
use landfall_states::fault::Cause;

/// Sentences of Nix's own that quote nothing.
pub(super) const BARE: &[&str] = &[
    "input compression not recognized",
    "unexpected end-of-file",
    "unexpected eof *",
    "input doesn't look like *",
    "bad archive: *",
    "[json.exception.parse_error.~] parse error *",
    "infinite recursion encountered*",
    "stack overflow*",
    "syntax error, *",
];

/// What Nix says before what the system says: of files and of streams.
pub(super) const BEFORE_REASON: &[&str] = &[
    "writing to file",
    "writing file '*'",
    "writing '*'",
    "writing *",
    "reading from file",
    "reading file '*'",
    "reading '*'",
    "reading *",
    "opening *",
    "closing *",
    "creating *",
    "getting status of '*'",
    "getting *",
    "renaming *",
    "moving *",
    "changing *",
    "setting *",
    "statting *",
    "linking *",
    "copying *",
    "removing *",
    "deleting *",
    "syncing *",
    "fsync*",
    "flushing *",
    "truncating *",
    "allocating *",
    "cannot link '*' to '*'",
    "cannot unlink '*'",
    "cannot open *",
    "cannot create *",
    "cannot read *",
    "cannot write *",
    "cannot rename *",
    "cannot delete *",
    "cannot set *",
    "cannot get *",
    "creating directory '*'",
    "executing sqlite *",
    "executing '*'",
    "unable to fork",
    "starting *",
    "mapping *",
    "acquiring *",
    "locking *",
    "unlinking *",
    "remounting *",
    "preallocating *",
    "seeking *",
    "making *",
    "iterating *",
    "querying *",
    "synchronising *",
    "restoring *",
    "could not set permissions on *",
    "nix database directory '*' is not writable",
];

/// Traces of Nix's own that name the file of the error below them, which does not name it.
pub(super) const OWN_FILES: &[&str] = &[
    "writing file '*'",
    "writing '*'",
    "reading file '*'",
    "reading '*'",
];

/// What Nix says of a file that it has open, without its name.
pub(super) const OF_OPEN_FILE: &[&str] = &[
    "writing to file: *",
    "reading from file: *",
    "fsync file descriptor ~: *",
    "closing file descriptor ~: *",
];

/// What Nix says first of a store that is mounted read-only: it takes that for the mount of NixOS, which it may change.
pub(super) const REMOUNTED: &[&str] = &["remounting * writable: *"];

/// Too little memory: Nix itself.
pub(super) const MEMORY: &[Row] = &[row(Cause::Memory, &["out of memory", "std::bad_alloc"])];

/// The same: the collector, the loader and the library.
pub(super) const MEMORY_OUTSIDE: &[Row] = &[row(
    Cause::Memory,
    &[
        "too many heap sections*",
        "gc warning: failed to expand heap*",
        "gc warning: out of memory!*",
        "failed to expand heap*",
        "out of memory",
        "fatal error: out of memory",
        "virtual memory exhausted*",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "what():  std::bad_alloc",
        "what(): std::bad_alloc",
        "~: error while loading shared libraries: *: cannot allocate memory",
        "~: error while loading shared libraries: *: failed to map segment from shared object",
        "fatal: out of memory, *",
    ],
)];

/// Errors that quote what the configuration says in the same sentence.
pub(super) const EVALUATION_SURE: &[Row] = &[row(
    Cause::Evaluation,
    &[
        "evaluation aborted with the following error message: *",
        "failed assertions:*",
        "cannot build '~' during evaluation because the option '~' is disabled*",
        "assertion '*' failed",
        "assertion '*' failed at *",
        "attribute '*' missing",
        "attribute '*' missing did you mean *",
        "attribute '*' missing for call to '~'",
        "undefined variable '*'",
        "cannot coerce *",
        "cannot add * to *",
        "value is * while * was expected",
        "expected a * but found *",
        "string '*' doesn't represent an absolute path",
        "invalid regular expression '*'",
        "path '~-source/*' does not exist",
        "path '~-source/*' does not exist in *",
        "getting status of '~-source/*': no such file or directory",
        "opening file '~-source/*': no such file or directory",
        "store path '*' contains illegal character '*'",
        "store path name '*' contains *",
        "name '*' contains illegal character '*'",
    ],
)];

/// Builds.
pub(super) const BUILT: &[Row] = &[
    row(
        Cause::Memory,
        &[
            "builder for '~' failed due to signal 9 (*",
            "cannot build '~'. reason: builder failed due to signal 9 (*",
        ],
    ),
    row(
        Cause::BuildFeatures,
        &[
            "a 'x86_64-linux' with features * is required to build '~', but i am a 'x86_64-linux' with features *",
            "a 'aarch64-linux' with features * is required to build '~', but i am a 'aarch64-linux' with features *",
            "cannot build '~'. reason: required system or feature not available *required features*",
            "missing system features for *",
            "cannot build '~'. reason: missing system features *",
        ],
    ),
    row(
        Cause::Architecture,
        &[
            "a '~' with features * is required to build '~', but i am a '~' with features *",
            "a '~' is required to build '~', but i am a '~'",
            "cannot build '~'. reason: required system or feature not available *",
            "cannot build '~'. reason: platform mismatch*",
            "while setting up the build environment: executing '~': exec format error",
            "while setting up the build environment *: exec format error",
            "executing '~': exec format error",
        ],
    ),
    row(
        Cause::FixedHash,
        &[
            "hash mismatch in fixed-output derivation '~':*",
            "hash mismatch in file downloaded from '*': *",
        ],
    ),
    row(
        // The builder that the derivation names.
        Cause::Build,
        &["while setting up the build environment: executing '~': no such file or directory"],
    ),
    row(
        // What the Nix of this machine gives to every build.
        Cause::NixSettings,
        &[
            "while setting up the build environment: *",
            "while reading the response from the build hook: *",
            "while waiting for the build environment for '~' to initialize*",
            "the group '*' specified in 'build-users-group' does not exist",
            "the build users group '*' has no members",
            "the user '*' in the group '*' does not exist",
            "this system does not support the kernel namespaces that are required for sandboxing*",
            "cannot perform a sandboxed build because *",
        ],
    ),
    row(
        Cause::Build,
        &[
            "builder for '~' failed *",
            "builder for '~' has *",
            "cannot build '~'. *",
            "cannot build '~'",
            "cannot build '~': *",
            "building of '~' from .drv file timed out *",
            "building of '~' timed out after *",
            "building '~' timed out after *",
            "~ of '~' timed out after *",
            "derivation '~' failed to produce output path *",
            "build of '~.drv' failed",
            "build of '~.drv^~' failed",
            "build of '~.drv', *",
            "build of '~.drv^~', *",
            "~ dependencies of derivation '~' failed to build",
            "~ dependency of derivation '~' failed to build",
            "dependencies of derivation '~' failed to build",
            "build failed due to failed dependency",
            "output '~' is not allowed to refer to *",
        ],
    ),
];

/// Places of Nix's own, told in a trace, that say whose error follows: newer versions write the error below, older ones behind it.
pub(super) const OWN_PLACES: &[&str] = &[
    "while setting up the build environment",
    "while reading the response from the build hook",
    "while waiting for the build environment for '~' to initialize*",
];

/// What the system says, and is the same at these places as elsewhere: of memory, and of another architecture.
pub(super) const PLACELESS: &[&str] = &["cannot allocate memory", "exec format error"];

/// A build's log.
pub(super) const BUILD_LOG: &[Row] = &[row(
    Cause::Memory,
    &[
        "~: fatal error: killed signal terminated program ~",
        "~: fatal error: killed signal terminated program ~ compilation terminated.",
        "~: internal compiler error: killed (program ~)",
        "collect2: fatal error: ld terminated with signal 9 [killed]*",
        "virtual memory exhausted: *",
        "rustc * (signal: 9, sigkill: kill)*",
        "*(signal: 9, sigkill: kill)",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)];

/// Nix fetched with Git.
pub(super) const BY_GIT: &[Row] = &[row(
    Cause::Input,
    &[
        "resolving git reference '*': revspec '*' not found*",
        "getting git object '~': object not found *",
        "cannot find git revision '*' in ref '*' of repository '*'*",
        "failed to fetch git repository '*'*",
        "failed to fetch git repository *",
        "program 'git' failed with exit code ~*",
        "program '~/git' failed with exit code ~*",
        "program 'git' failed *",
        "'git' failed with exit code ~",
        "fetching git repository '*': *failed*",
        "could not find head *of git repository '*'*",
    ],
)];

/// Nix reached a store by ssh, which says itself why that failed.
pub(super) const BY_SSH: &[Row] = &[row(
    Cause::Network,
    &[
        "cannot connect to '~'",
        "cannot connect to '~'; *",
        "cannot open connection to remote store '~'*",
        "failed to start ssh connection to '~'*",
        "failed to start ssh master connection to '~'*",
        "serve protocol mismatch from '~'*",
        "'nix-store --serve' protocol mismatch from '~'*",
        "protocol mismatch with *",
    ],
)];

/// Nix alone.
pub(super) const NIX: &[Row] = &[
    row(
        Cause::CacheAccess,
        &["opening git repository \"*\": repository path '*' is not owned by current user*"],
    ),
    row(Cause::CacheAccess, NO_CACHE),
    row(Cause::NixSettings, NO_STORE),
    row(Cause::NixSettings, NO_KEY),
    row(
        Cause::CaptivePortal,
        &[
            "nar info file '~' is corrupt: expecting ':' *",
            "'~/nix-cache-info' is corrupt*",
            "failed to open archive (unrecognized archive format)*",
            "failed to open archive: unrecognized archive format*",
            "input compression not recognized",
        ],
    ),
    row(
        Cause::BadBytes,
        &[
            "hash mismatch importing path '~'; *",
            "file hash mismatch *",
            "nar info file '~' is corrupt",
            "nar info file '~' is corrupt: *",
            "failed to open archive (lzma library error: *",
            "failed to open archive (zstd*",
            "failed to open archive (truncated *",
            "failed to open archive: *",
            "failed to read archive: *",
            "failed to extract archive: *",
            "failed to read archive (*",
            "failed to extract archive (*",
            "lzma library error: *",
            "zstd decompression *",
            "error while decompressing*",
            "input doesn't look like *",
            "bad archive: *",
            "nar for '~' fetched from '*' has wrong *",
            "nar info file '~' does not match *",
            "file '~' does not exist in binary cache '*'",
            "size mismatch importing path '~'; *",
            "size mismatch importing path '~';*",
        ],
    ),
    row(
        Cause::LockFile,
        &[
            "mismatch in field 'narhash' of input '*', got '~', expected '~'",
            "mismatch in field 'narhash' of input *",
            "nar hash mismatch in input '*'*",
            "flake '*' requires lock file changes but they're not allowed *",
            "'*' requires lock file changes but they're not allowed *",
            "cannot write modified lock file of flake '*' *",
            "lock file '*' has unsupported version *",
            "lock file contains *",
            "lock file '*' contains *",
            "lock file references missing node '*'",
            "lock file of flake '*' *",
            "input '*' in lock file *",
            "cannot update unlocked flake input '*' in pure mode",
            "cannot fetch unlocked input *",
            "unlocked input *",
            "while parsing the lock file *",
        ],
    ),
    row(
        Cause::CacheKey,
        &[
            "cannot add path '~' because it lacks a signature by a trusted key",
            "cannot add path '~' because it lacks a valid signature",
            "path '~' lacks a signature by a trusted key",
        ],
    ),
    row(
        Cause::Input,
        &[
            "'*' is not a valid url*",
            "cannot find flake '*' in the flake registries",
            "cannot find flake *",
            "cannot download '*' because nix is not built with s3 support",
            "unable to find flake *",
            "unable to find a flake before encountering git boundary at '*'",
        ],
    ),
    row(
        Cause::Restricted,
        &[
            "access to absolute path '*' is forbidden in pure evaluation mode*",
            "access to absolute path '*' is forbidden in restricted mode*",
            "access to path '*' is forbidden in pure evaluation mode*",
            "access to path '*' is forbidden in restricted mode*",
            "access to uri '*' is forbidden in restricted mode",
            "in pure evaluation mode, '~' requires a '~' argument",
            "in pure evaluation mode, *",
            "'~' is not allowed in pure evaluation mode*",
            "cannot look up '*' in pure evaluation mode *",
            "file '*' was not found in the nix search path (in pure evaluation mode)*",
        ],
    ),
    row(
        Cause::NixSettings,
        &[
            // From a build hook, or from what sets a build up: nothing that comes over a network is read by lines.
            "unexpected eof reading a line",
            "experimental nix feature '~' is disabled*",
            "experimental feature '~' is *",
            "user '*' is not allowed to connect to the nix daemon",
            "cannot connect to socket at '*': *",
            "cannot connect to daemon at '*': *",
            "you are not a trusted user*",
        ],
    ),
    row(
        Cause::Misused,
        &[
            "unrecognised flag '*'",
            "unrecognised option '*'",
            "flag '*' requires ~ argument*",
            "'*' requires an argument*",
            "option '*' requires ~ arguments",
            "unexpected argument '*'",
        ],
    ),
    row(
        Cause::Busy,
        &[
            "sqlite database '*' is busy*",
            "executing sqlite *: database is busy*",
            "executing sqlite *: database is locked*",
            "database is busy*",
            "unable to fork: resource temporarily unavailable",
            "starting *: resource temporarily unavailable",
            "creating *: resource temporarily unavailable",
            "opening *: resource temporarily unavailable",
            "resource temporarily unavailable",
            "opening *: too many open files",
            "creating *: too many open files",
            "*: too many open files",
            "*: too many open files in system",
            // SQLite does not say why: a file that was there before cannot be opened any more.
            "executing sqlite *: unable to open database file*",
            "creating statement *: unable to open database file*",
            "setting synchronous mode: unable to open database file*",
        ],
    ),
    row(
        Cause::Damaged,
        &[
            "path '//*' does not exist",
            "path '~' was modified! expected hash '~', got '~'",
        ],
    ),
    row(
        Cause::Network,
        &[
            "failed to open archive (*",
            "unexpected end-of-file",
            "unexpected eof *",
            "curl error: *",
            "unable to fetch *",
        ],
    ),
];

/// A store, and its database.
pub(super) const STORE: &[Row] = &[
    // A file that was there before cannot be opened any more. SQLite does not say why, and older versions of Nix say nothing behind it.
    row(
        Cause::InputOutput,
        &[
            "cannot open sqlite database '*'",
            "cannot open sqlite database '*': unable to open database file*",
        ],
    ),
    row(
        Cause::Damaged,
        &[
            "executing sqlite *: no such table: *",
            "executing sqlite *: database disk image is malformed*",
            "executing sqlite *: file is not a database*",
            "creating statement *: no such table: *",
            "creating statement *: *no such table: *",
            "creating statement *: database disk image is malformed*",
            "creating statement *: file is not a database*",
            "creating statement *: sql logic error*",
            "no such table: *",
            "database disk image is malformed*",
            "current nix store schema is version ~, but i only support ~*",
            "'~/db/schema' is corrupt",
            "file '*/nix/store/*' has an unsupported type",
        ],
    ),
];

/// A path that a store's database knows, and that is not there.
pub(super) const STORE_LACKS: &[Row] = &[row(
    Cause::Damaged,
    &[
        "path '//*' does not exist",
        "path '*/nix/store/*' does not exist",
        "getting status of '*/nix/store/*': no such file or directory",
        "opening file '*/nix/store/*': no such file or directory",
        "reading directory '*/nix/store/*': no such file or directory",
        "opening directory '*/nix/store/*': no such file or directory",
        "reading symbolic link '*/nix/store/*': no such file or directory",
    ],
)];

/// Text that is no JSON.
pub(super) const JSON: &[Row] = &[row(
    Cause::LockFile,
    &["[json.exception.parse_error.~] parse error *"],
)];

/// Nobody had it.
pub(super) const NOT_HAD: &[Row] = &[row(
    Cause::CacheLacks,
    &[
        "path '~' is required, but there is no substituter that can build it",
        "don't know how to build these paths:*",
        "there is no substituter that can build *",
        "path '/nix/store/~' is not valid",
        "path '~' does not exist and cannot be built",
        "path '~' does not exist and cannot be created",
        "build of '/nix/store/~' failed",
        "build of '/nix/store/~', *",
        "path '/nix/store/~' does not exist in the store",
        "cannot build missing derivation '~'",
        "some substitutes for the outputs of derivation '~' failed *",
        "cannot substitute path '~'*",
        "failed to substitute *",
    ],
)];

/// A file that is not there.
pub(super) const GONE: &[&str] = &[
    "getting status of '*': no such file or directory",
    "opening file '*': no such file or directory",
    "reading directory '*': no such file or directory",
    "opening directory '*': no such file or directory",
];

/// The configuration.
pub(super) const EVALUATION: &[Row] = &[row(
    Cause::Evaluation,
    &[
        "flake '*' does not provide attribute *",
        "syntax error, *",
        "infinite recursion encountered*",
        "stack overflow*",
        "attribute '*",
        "'*' is not a flake*",
        "path '*' is not a flake*",
        "path '*' does not contain a 'flake.nix'*",
        "path '*/flake.nix' does not exist",
        "source tree referenced by '*' does not contain a '*flake.nix' file",
        "path '/*' does not exist",
        "function '*' called without required argument '*'*",
        "function '*' called with unexpected argument '*'*",
        "anonymous function at *",
        "the option `*",
        "a definition for option `*",
        "while parsing a toml string: *",
        "cannot access attribute *",
        "cannot auto-call *",
        "cannot bind *",
        "cannot call *",
        "cannot cast *",
        "cannot compare *",
        "cannot convert *",
        "cannot decode *",
        "cannot divide *",
        "cannot evaluate *",
        "cannot find attribute *",
        "cannot import *",
        "cannot look up *",
        "cannot multiply *",
        "cannot parse *",
        "cannot read '~', since path '~' is not valid*",
        "cannot represent *",
        "cannot subtract *",
        "cannot use *",
        "expected a boolean but found *",
        "expected a derivation*",
        "expected a float but found *",
        "expected a function but found *",
        "expected a list but found *",
        "expected a set but found *",
        "expected a string but found *",
        "expected an integer but found *",
        "expected flake attribute *",
        "expected that *",
        "expected type *",
        "value is a ~ while *",
        "value is an ~ while *",
        "value is null while *",
        "value is the partially applied built-in function *",
        "value is the built-in function *",
    ],
)];
