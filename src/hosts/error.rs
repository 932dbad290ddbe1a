//! The errors of `landfall host new`: each is a value, with its text and the next step on a line of its own.
//!
//! No other file makes texts of these errors. `cli::host` maps them to exit codes.

use crate::real::disk::usage::shell;
use crate::safe_open::Refused;
use camino::Utf8PathBuf;
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::BadValue;
use std::io::ErrorKind;

/// Why a host was not made. Nothing in the repository was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The name is no host name.
    #[error("name of the host: {0}\n    next: landfall host new NAME, with another name")]
    Name(#[from] BadValue),
    /// An argument that means nothing here.
    #[error("{option} {value}: {reason}\n    next: {next}")]
    Argument {
        /// The option.
        option: &'static str,
        /// What it said.
        value: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        next: String,
    },
    /// No repository here.
    #[error("{dir}: {reason}\n    next: {next}")]
    NoRepository {
        /// Where it was looked for.
        dir: Utf8PathBuf,
        /// Why Git shows none.
        reason: String,
        /// What to do.
        next: String,
    },
    /// Files that Git was told not to look at: it does not see that they differ, and does not take what is written to them.
    #[error(
        "{}: Git ignores changes of these files (assume-unchanged, skip-worktree)\n    next: {next}, then run the command again",
        .files.join(", ")
    )]
    Hidden {
        /// Which.
        files: Vec<String>,
        /// What to do.
        next: String,
    },
    /// Files of the repository that are left out here.
    #[error(
        "{root}: it is a sparse checkout without {first}, and landfall needs all files to evaluate the flake\n    \
         next: git -C {} sparse-checkout disable, then run the command again",
        shell(.root.as_str())
    )]
    Sparse {
        /// The working tree.
        root: Utf8PathBuf,
        /// One of them.
        first: Utf8PathBuf,
    },
    /// No flake here.
    #[error("{path}: {reason}\n    next: {next}")]
    NoFlake {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        next: String,
    },
    /// A name is taken.
    #[error(
        "host {name}: it already exists: {what}\n    next: choose another name, or remove the existing host"
    )]
    Exists {
        /// The name.
        name: String,
        /// What is there.
        what: String,
    },
    /// Files that would be changed differ from what Git has.
    #[error("{}: these files have uncommitted changes, or Git does not track them\n    next: git add and git commit them, or git restore them", .files.join(", "))]
    Dirty {
        /// Which.
        files: Vec<String>,
    },
    /// A file that is no Nix.
    #[error("{path}: it is not valid Nix: {reason}\n    next: correct the file (nix-instantiate --parse {} shows the place), then run the command again", shell(.path.as_str()))]
    Parse {
        /// The file.
        path: Utf8PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// Nix does not evaluate it as it stands.
    #[error("{what}: Nix cannot evaluate it: {reason}\n    next: {next}")]
    Evaluate {
        /// What.
        what: String,
        /// The last lines of Nix.
        reason: String,
        /// What to do.
        next: String,
        /// What kind of fault it is, where the flake is not the cause.
        class: Option<FaultClass>,
    },
    /// The flake has a form that is not edited.
    #[error(
        "flake.nix: landfall cannot edit it: {reason}\nNothing was written. The flake needs these lines:\n\n{lines}\n    next: add the lines to flake.nix where their comments say, then run the same command again with --no-flake"
    )]
    Declined {
        /// Why.
        reason: String,
        /// What to paste.
        lines: String,
    },
    /// Lines that are in the flake have no effect there.
    #[error(
        "flake.nix: {reason}\nNothing was written. The flake needs these lines:\n\n{lines}\n    next: add them to flake.nix where their comment says, in place of the lines without effect, then run the same command again"
    )]
    WithoutEffect {
        /// What Nix does not see.
        reason: String,
        /// What to paste.
        lines: String,
    },
    /// What the committed flake had is gone from the one in the working tree.
    #[error(
        "flake.nix: with its uncommitted changes the flake has no longer {}; nothing was written\n    next: keep that in flake.nix (git diff \
         flake.nix shows the changes), then run the same command again; if it is to go, commit flake.nix before that",
        .0.join(", ")
    )]
    Lost(Vec<String>),
    /// The rules file has a form that is not edited or not understood.
    #[error(
        "{path}: landfall cannot edit it: {reason}\nNothing in the repository was written. This is the public key of the new host; a run \
         without --dry-run keeps its private key in the folder of --keys:\n\n{lines}\n    next: {next}"
    )]
    RulesDeclined {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
        /// What to paste.
        lines: String,
        /// What to do.
        next: String,
    },
    /// A run for another host had been cut off, and is finished now.
    #[error(
        "host {0}: its interrupted run is now finished; its files are written and added to Git\n    next: commit them, then run this \
         command again"
    )]
    OtherFinished(String),
    /// A secret that cannot be re-keyed.
    #[error("{path}: {reason}\n    next: {next}")]
    Secret {
        /// The secret.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        next: String,
    },
    /// An identity that cannot be used.
    #[error("identity {path}: {reason}\n    next: name another one with --identity FILE")]
    Identity {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder for the keys, or a key in it.
    #[error("--keys {path}: {reason}\n    next: {next}")]
    Keys {
        /// The folder or file.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        next: String,
    },
    /// Another run is at work in this repository.
    #[error("{0}: another landfall host command is running in it\n    next: wait until it ends")]
    Locked(Utf8PathBuf),
    /// A run was cut off, and somebody changed a file since.
    #[error(
        "{path}: it was changed after a run of landfall host was interrupted; that run was to replace it with {staged}\n    next: compare both files, keep the right contents in {path}, delete {staged}, and run the command again"
    )]
    Conflict {
        /// The file.
        path: Utf8PathBuf,
        /// Where the new contents are.
        staged: Utf8PathBuf,
    },
    /// A file was changed while the command was at work.
    #[error(
        "{path}: it was changed while this command was running; nothing was written\n    next: run the command again"
    )]
    ChangedMeanwhile {
        /// The file.
        path: Utf8PathBuf,
    },
    /// Git refused.
    #[error("git {what}: {reason}\n    next: {next}")]
    Git {
        /// Which command.
        what: String,
        /// The last lines of Git.
        reason: String,
        /// What to do.
        next: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {reason}\n    next: {next}, then run the command again")]
    File {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do before the command is run again.
        next: &'static str,
    },
    /// A program could not be run.
    #[error("{}: {}\n    next: {}", .0.what(), .0.why(), .0.next())]
    Program(#[from] Box<Fault>),
}

impl HostError {
    /// An error of a file.
    pub(crate) fn file(path: impl Into<Utf8PathBuf>, error: &std::io::Error) -> HostError {
        HostError::File {
            path: path.into(),
            reason: crate::os_error::said(error),
            next: match error.kind() {
                ErrorKind::PermissionDenied => {
                    "make it readable and writable for this account, or use the account that owns it"
                }
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space on its filesystem",
                ErrorKind::ReadOnlyFilesystem => "mount its filesystem writable",
                _ => "fix the cause that the message names",
            },
        }
    }

    /// A file that is not read, or not written.
    pub(crate) fn refused(path: impl Into<Utf8PathBuf>, refused: Refused) -> HostError {
        let path = path.into();
        let (reason, next) = match refused {
            Refused::Os(error) => return HostError::file(path, &error),
            Refused::Absent => (refused.why(), "restore it"),
            Refused::NotRegular(_) | Refused::NoStorage(_) => {
                (refused.why(), "replace it with a regular file, or leave it out")
            }
            Refused::TooLong { .. } => (refused.why(), "make it shorter, or leave it out"),
        };
        HostError::File { path, reason, next }
    }
}

impl From<Fault> for HostError {
    fn from(fault: Fault) -> Self {
        HostError::Program(Box::new(fault))
    }
}
