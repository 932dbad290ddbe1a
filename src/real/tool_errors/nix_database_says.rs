//! The sentences of Nix about its database and the directories around it, by the rules of `tool_errors`, as templates in lower
//! case, without the mark `error:`.
//!
//! Sources: the samples in tests/tool_errors, and Nix 2.3 to 2.34.
//!
//! `tool_errors::nix` decides which of them counts first.

use super::{Row, row};
use landfall_states::fault::Cause;

/// The database's sentences begin so; it says twice what happened, and behind that where it is.
pub(super) const DATABASE_FULL: &[&str] = &[
    "executing sqlite *: database or disk is full*",
    "committing transaction: database or disk is full*",
    "setting synchronous mode: database or disk is full*",
    "setting journal mode: database or disk is full*",
];
/// The same of errors.
pub(super) const DATABASE_ERRORS: &[&str] = &[
    "executing sqlite *: disk i/o error*",
    "committing transaction: disk i/o error*",
    "setting synchronous mode: disk i/o error*",
    "setting journal mode: disk i/o error*",
];

/// A database, or its directory, that may not be changed.
pub(super) const DATABASE_FORBIDDEN: &[&str] = &["executing sqlite *: attempt to write a readonly database*"];

/// Something else is where a directory belongs: a file, or a link that leads nowhere. That a directory cannot be made says no more.
pub(super) const IN_THE_WAY: &[&str] = &[
    "'*' is not a directory",
    "creating directory '*': no such file or directory",
    "creating directory '*': file exists",
    "statting symlink '*': no such file or directory",
];

/// What else the database says; where it is busy or cannot be opened, another table says so.
pub(super) const DATABASE: &[Row] = &[row(
    Cause::Damaged,
    &[
        "setting synchronous mode: *",
        "executing sqlite *",
        "creating statement *",
        "sqlite database *",
    ],
)];
