//! Endings of Nix. Law: as `endings`. What Nix said is sorted first: its own sentences; those of the Git that it starts; its warnings; the
//! lines of a build's log; the page that a server sent with a refusal; and what the configuration throws. Only the first decide by
//! themselves.
//!
//! Absent: the machine log (`nixlog`).

use super::shared::{MEMORY, NETWORK, PROXY, TLS};
use super::{Places, Row, first_row, git, row};
use landfall_states::fault::{Cause, Ended, Fault};

/// What Nix said, by who said it.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Nix itself, in errors.
    own: Vec<String>,
    /// Nix itself, in warnings.
    warnings: Vec<String>,
    /// Programs that it started, such as Git.
    children: Vec<String>,
    /// A build, in its log.
    build: Vec<String>,
    /// A server, in the text of a refusal.
    server: Vec<String>,
    /// Whether the configuration threw the error.
    thrown: bool,
    /// Whether an error has a place in the configuration.
    placed: bool,
}

/// A number and a bar, as before a quoted line of the configuration.
fn is_excerpt(line: &str) -> bool {
    line.trim_start_matches(|c: char| c.is_ascii_digit())
        .trim_start()
        .starts_with('|')
}

/// `at FILE:LINE:COLUMN:`.
fn is_place(line: &str) -> bool {
    let mut parts = line.trim_end_matches(':').rsplit(':');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    line.starts_with("at ") && number(parts.next()) && number(parts.next())
}

/// What Nix writes around the lines of a log that it quotes.
fn frames_a_log(line: &str) -> bool {
    line.starts_with("For full logs, run") || (line.starts_with("last ") && line.ends_with("log lines:"))
}

impl Said {
    /// A message of Nix's; `level` 0 is an error, 1 a warning.
    pub fn message(&mut self, level: u64, text: &str) {
        let text = text.trim();
        // The configuration speaks through these.
        if ["trace: ", "evaluation warning: "]
            .iter()
            .any(|begin| text.starts_with(begin))
        {
            return;
        }
        if level > 0 || text.starts_with("warning:") {
            self.warnings.push(
                text.split("response body:")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            );
            return;
        }
        let (mut in_page, mut thrown) = (false, false);
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || is_excerpt(line) {
                continue;
            }
            if let Some(quoted) = line.strip_prefix("> ") {
                self.build.push(quoted.to_owned());
            } else if in_page {
                self.server.push(line.to_owned());
            } else if line == "response body:" {
                in_page = true;
            } else if is_place(line) {
                self.placed = true;
            } else if line.starts_with("… while calling the 'throw' builtin") {
                thrown = true;
            } else if thrown && line.starts_with("error:") {
                self.thrown = true;
                self.own.push("error: the configuration throws an error".into());
            } else if !self.thrown && !frames_a_log(line) {
                self.own.push(line.to_owned());
            }
        }
    }

    /// A line that a program which Nix started printed.
    pub fn child(&mut self, line: &str) {
        self.children.push(line.trim().to_owned());
    }

    /// A line of a build's log.
    pub fn build_line(&mut self, line: &str) {
        const KEPT_MAX: usize = 100;
        if self.build.len() == KEPT_MAX {
            self.build.remove(0);
        }
        self.build.push(line.trim().to_owned());
    }

    /// Of a Nix that was run without its machine log.
    pub fn plain(text: &str) -> Self {
        let mut said = Said::default();
        let mut message = String::new();
        for line in text.lines() {
            let begins = ["error:", "warning:", "trace: "]
                .iter()
                .any(|begin| line.starts_with(begin));
            let goes_on = line.starts_with(' ') || line.is_empty();
            if begins || !goes_on {
                said.message(0, &std::mem::take(&mut message));
            }
            if begins || (goes_on && !message.is_empty()) {
                message.push_str(line);
                message.push('\n');
            } else {
                said.child(line);
            }
        }
        said.message(0, &message);
        said
    }

    fn decide(&self, places: Places<'_>) -> Option<(Cause, String)> {
        let lines = |list: &'_ [String]| -> Vec<String> { list.to_vec() };
        let own_lines = lines(&self.own);
        let own: Vec<&str> = own_lines.iter().map(String::as_str).collect();
        let children: Vec<&str> = self.children.iter().map(String::as_str).collect();
        let owned = |(cause, line): (Cause, &str)| (cause, line.to_owned());
        if self.thrown {
            return Some((Cause::Evaluation, "the configuration throws an error".into()));
        }
        let refused = first_row(&[REFUSED], &own);
        if let Some((_, line)) = refused {
            let server: Vec<&str> = self.server.iter().map(String::as_str).collect();
            if let Some((cause, _)) = first_row(&[SERVER], &server) {
                return Some((cause, line.to_owned()));
            }
        }
        // Memory: the collector and the loader print their words past Nix's own messages.
        let memory = first_row(&[MEMORY], &own).or_else(|| first_row(&[MEMORY], &children));
        let early = first_row(&[EVALUATION_SURE, BUILT], &own);
        if let Some(found) = early.filter(|(cause, _)| *cause == Cause::Evaluation) {
            return Some(owned(found));
        }
        if let Some(found) = memory {
            return Some(owned(found));
        }
        if let Some((cause, line)) = early {
            return Some((self.of_build(cause, line), line.to_owned()));
        }
        if let Some(found) = places.devices(&own) {
            return Some(owned(found));
        }
        if let Some((_, line)) = first_row(&[BY_GIT], &own) {
            let cause = match git::decide(&children, places) {
                Some((Cause::RepositoryMissing | Cause::ReferenceMissing, _)) => Cause::Input,
                Some((cause, _)) => cause,
                // A fetch that was cut off ends like this: the revision was never received.
                None => Cause::Network,
            };
            return Some((cause, line.to_owned()));
        }
        if let Some(found) = first_row(&[PROXY, TLS, NETWORK, NIX], &own) {
            return Some(owned(found));
        }
        // Nothing more is said of a path that no cache had: the warnings before it tell why.
        if let Some((cause, line)) = first_row(&[NOT_HAD], &own) {
            let warnings: Vec<&str> = self.warnings.iter().map(String::as_str).collect();
            let why = first_row(&[PROXY, TLS, NETWORK, REFUSED_CACHE], &warnings);
            return Some(owned(why.unwrap_or((cause, line))));
        }
        if let Some(found) = first_row(&[EVALUATION], &own) {
            return Some(owned(found));
        }
        if self.placed {
            return own.last().map(|line| (Cause::Evaluation, (*line).to_owned()));
        }
        // It said nothing itself.
        if own.is_empty() {
            return git::decide(&children, places).map(owned);
        }
        None
    }

    /// A build that failed: its log may say that a compiler was killed, or that a download got nothing. Nothing else of it counts.
    fn of_build(&self, cause: Cause, line: &str) -> Cause {
        if cause != Cause::Build {
            return cause;
        }
        let build: Vec<&str> = self.build.iter().map(String::as_str).collect();
        if let Some((cause, _)) = first_row(&[BUILD_LOG], &build) {
            return cause;
        }
        // The downloads of nixpkgs are named as the file that they could not get.
        let got_nothing = build.iter().any(|said| {
            said.strip_prefix("error: cannot download ")
                .and_then(|rest| rest.strip_suffix(" from any mirror"))
                .is_some_and(|name| line.contains(&format!("-{name}.drv'")))
        });
        if got_nothing { Cause::FetchInBuild } else { cause }
    }

    fn last(&self) -> Option<&str> {
        self.own
            .last()
            .or_else(|| self.children.last())
            .or_else(|| self.warnings.last())
            .map(String::as_str)
    }
}

/// Errors that quote what the configuration says in the same sentence.
const EVALUATION_SURE: &[Row] = &[row(
    Cause::Evaluation,
    &[
        "evaluation aborted with the following error message",
        "failed assertions:",
        "during evaluation because the option",
    ],
)];

/// Builds.
const BUILT: &[Row] = &[
    row(
        Cause::Memory,
        &[
            "failed due to signal 9",
            "killed by signal 9",
            "terminated by signal 9",
            "signal 9 (killed)",
        ],
    ),
    row(
        Cause::BuildFeatures,
        &[
            "a 'x86_64-linux' with *, but i am a 'x86_64-linux'",
            "a 'aarch64-linux' with *, but i am a 'aarch64-linux'",
            "required system features",
            "missing system features",
        ],
    ),
    row(
        Cause::Architecture,
        &[
            "is required to build * but i am a '",
            "exec format error",
            "required to build '*', but i am",
        ],
    ),
    row(
        Cause::FixedHash,
        &[
            "hash mismatch in fixed-output derivation",
            "hash mismatch in file downloaded",
        ],
    ),
    row(
        Cause::Build,
        &[
            "^error: builder for '",
            "^error: cannot build '",
            "building of '*' from .drv file timed out",
            "of '*' timed out after",
            "failed to produce output path",
            "reason: builder failed",
            "reason: 1 dependency failed",
            "build of '*.drv",
            "dependencies of derivation '*' failed",
            "dependency failed",
            "output '*' is not allowed to refer to",
        ],
    ),
];

/// A build's log.
const BUILD_LOG: &[Row] = &[row(
    Cause::Memory,
    &[
        "killed signal terminated program",
        "internal compiler error: killed",
        "ld terminated with signal 9",
        "^virtual memory exhausted",
        "rustc* (signal: 9, sigkill",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)];

/// Refusals by a server.
const REFUSED: &[Row] = &[row(
    Cause::CacheAccess,
    &["http error 401", "http error 403", "http error 429"],
)];
/// The same by a cache, in a warning.
const REFUSED_CACHE: &[Row] = &[
    row(
        Cause::CacheKey,
        &["not signed by any of the keys", "lacks a signature"],
    ),
    row(Cause::CacheAccess, &["http error 401", "http error 403"]),
];

/// What a server says with a refusal.
const SERVER: &[Row] = &[row(
    Cause::ApiLimit,
    &[
        "rate limit exceeded",
        "secondary rate limit",
        "abuse detection mechanism",
        "abuse-rate-limits",
    ],
)];

/// Nix fetched with Git.
const BY_GIT: &[Row] = &[row(
    Cause::Input,
    &[
        "resolving git reference",
        "revspec '",
        "failed to fetch git",
        "cannot find git revision",
        "program 'git' failed",
        "'git' failed with exit code",
        "git fetch",
        "failed with exit code 128",
    ],
)];

/// Nix alone.
const NIX: &[Row] = &[
    row(
        Cause::CaptivePortal,
        &[
            "is corrupt: expecting ':'",
            "is corrupt: *<",
            "unrecognized archive format",
            "input compression not recognized",
            "parse_error*last read: '<",
        ],
    ),
    row(
        Cause::BadBytes,
        &[
            "hash mismatch importing path",
            "file hash mismatch",
            "nar info file '*' is corrupt",
            "lzma library error",
            "zstd*error",
            "truncated",
            "input doesn't look like",
            "bad archive",
            "nar info file*does not match",
            "does not exist in binary cache",
            "size mismatch",
        ],
    ),
    row(
        Cause::LockFile,
        &[
            "mismatch in field 'narhash'",
            "nar hash mismatch in input",
            "requires lock file changes",
            "cannot write modified lock file",
            "in lock file",
            "lock file contains",
            "unlocked input",
            "json.exception.parse_error",
        ],
    ),
    row(
        Cause::CacheKey,
        &[
            "lacks a signature by a trusted key",
            "lacks a valid signature",
            "no signature*trusted",
        ],
    ),
    row(Cause::CacheAccess, &["http error 401", "http error 403"]),
    row(
        Cause::Input,
        &[
            "http error 404",
            "http error 410",
            "cannot find flake",
            "unable to find flake",
        ],
    ),
    row(
        Cause::Restricted,
        &["in pure evaluation mode", "in restricted mode", "pure evaluation"],
    ),
    row(
        Cause::NixSettings,
        &[
            "experimental nix feature",
            "experimental feature '",
            "is not a trusted user",
            "not allowed to connect",
        ],
    ),
    row(
        Cause::Misused,
        &[
            "unrecognised flag",
            "unrecognised option",
            "requires * arguments",
            "unexpected argument",
        ],
    ),
    row(
        Cause::Busy,
        &[
            "database is busy",
            "database is locked",
            "resource temporarily unavailable",
            "too many open files",
        ],
    ),
    row(
        Cause::Damaged,
        &[
            "no such table",
            "database disk image is malformed",
            "file is not a database",
            "is not a database",
            "current nix store schema is version",
            "schema' is corrupt",
            "path '//*' does not exist",
            "was modified! expected hash",
            "sqlite database*",
        ],
    ),
    row(
        Cause::Network,
        &[
            "unable to download",
            "failed to open archive",
            "curl error",
            "unable to fetch",
        ],
    ),
];

/// Nobody had it.
const NOT_HAD: &[Row] = &[row(
    Cause::CacheLacks,
    &[
        "is required, but there is no substituter that can build it",
        "don't know how to build these paths",
        "no substituter",
        "path '/nix/store/*' is not valid",
        "does not exist and cannot be built",
        "build of '/nix/store/",
        "does not exist in the store",
        "cannot build missing derivation",
    ],
)];

/// The configuration.
const EVALUATION: &[Row] = &[row(
    Cause::Evaluation,
    &[
        "does not provide attribute",
        "… while ",
        "undefined variable",
        "syntax error",
        "infinite recursion",
        "stack overflow",
        "attribute '",
        "is not a flake",
        "flake.nix' does not exist",
        "cannot coerce",
        "cannot add",
        "assertion '",
        "called without required argument",
        "called with unexpected argument",
        "was expected",
        "expected a ",
        "option `",
    ],
)];

/// The fault that a failed Nix stands for.
pub fn nix(what: &str, how: Ended, said: &Said, places: Places<'_>) -> Fault {
    let found = said.decide(places);
    let found = found.as_ref().map(|(cause, line)| (*cause, line.as_str()));
    // A Nix that was killed did not judge what it was doing.
    let found = found.filter(|(cause, _)| how.code.is_some() || *cause == Cause::Memory);
    super::fault(what, how, found, said.last())
}

/// The same of one that was run without its machine log.
pub fn nix_plain(what: &str, how: Ended, text: &str, places: Places<'_>) -> Fault {
    nix(what, how, &Said::plain(text), places)
}
