//! Runs Git and Nix in the operator's own repository, with the operator's own settings.
//!
//! Git gets exactly the files that it must change; Nix builds nothing.
//!
//! `real::git` handles repositories on a target, which may belong to anybody.

use super::error::HostError;
use crate::event::Reporter;
use crate::real::disk::usage::shell;
use crate::real::nix::operator::{not_the_flake, of_git};
use crate::real::process::command::{Ended, OnStop, Program};
use crate::real::process::limits::Memory;
use crate::real::process::stop::Stop;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::untrusted_text::Shown;
use std::time::Duration;

/// Longest evaluation of a flake, fetching its inputs included.
const EVALUATION_MAX: Duration = Duration::from_secs(900);
/// Longest run of Git; a hook of the operator's is a part of a commit.
const GIT_MAX: Duration = Duration::from_secs(300);

/// Variables of the operator's that Git and Nix are started with.
pub const PASSED_ON: [&str; 26] = [
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_SSH_COMMAND",
    "GNUPGHOME",
    "GPG_TTY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NIX_CONFIG",
    "NIX_CONF_DIR",
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_SSL_CERT_FILE",
    "NIX_STORE_DIR",
    "NIX_STATE_DIR",
    "NIX_LOG_DIR",
    "NIX_USER_CONF_FILES",
    "NO_PROXY",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "http_proxy",
    "https_proxy",
];

/// Runs programs.
pub struct Programs {
    runtime: tokio::runtime::Runtime,
    environment: Vec<(String, String)>,
}

/// A Git working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its top.
    pub root: Utf8PathBuf,
    /// What Git keeps of this working tree.
    pub git_dir: Utf8PathBuf,
    /// What Git keeps of all its working trees.
    pub common_dir: Utf8PathBuf,
}

/// A file that Git tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// Its mode in the index.
    pub(crate) mode: String,
    /// Its name below the root.
    pub(crate) path: Utf8PathBuf,
    /// A sparse checkout does not have it.
    pub(crate) is_left_out: bool,
}

/// What helps where Git cannot say what is in a repository: a filter that fails, an index that is damaged.
fn unread(root: &Utf8Path) -> String {
    let git = format!("git -C {}", shell(root.as_str()));
    format!(
        "correct what Git names ({git} status shows it; {git} config --show-origin --get-regexp '^filter' lists filters), then run the \
         command again"
    )
}

impl Programs {
    /// With these variables, of which those of [`PASSED_ON`] are meant.
    ///
    /// # Errors
    /// A program that is needed is in no folder of `PATH`.
    pub fn new(environment: Vec<(String, String)>) -> Result<Programs, HostError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| HostError::file("runtime", &e))?;
        Ok(Programs { runtime, environment })
    }

    fn run(&self, program: Program<'_>) -> Result<Ended, Fault> {
        let mut program = program.apart();
        for (key, value) in &self.environment {
            program = program.env(key, value);
        }
        self.runtime
            .block_on(program.run(&Reporter::default(), &Stop::never()))
    }

    fn git(&self, dir: &Utf8Path, args: &[&str]) -> Result<Ended, HostError> {
        let program = Program::new("git")
            .args([
                "--no-optional-locks",
                "-C",
                dir.as_str(),
                "-c",
                "core.quotePath=false",
            ])
            .args(args.iter().copied())
            .on_stop(OnStop::Finish)
            .memory(Memory::Git)
            .deadline(GIT_MAX);
        self.run(program).map_err(HostError::from)
    }

    /// As [`Programs::git`], where it has to go well.
    fn git_done(&self, dir: &Utf8Path, args: &[&str], next: &str) -> Result<Ended, HostError> {
        let ended = self.git(dir, args)?;
        if ended.success() {
            return Ok(ended);
        }
        let mut reason = ended.tail();
        if reason.is_empty() {
            // Only what Git runs for the repository refuses without a word.
            let how = ended
                .code
                .map_or("by a signal".to_owned(), |code| format!("with {code}"));
            reason = format!(
                "it ended {how} without output; a hook of the repository refused (git rev-parse --git-path hooks)"
            );
        }
        Err(HostError::Git {
            what: args.first().copied().unwrap_or_default().to_owned(),
            reason,
            next: next.to_owned(),
        })
    }

    /// The working tree that has a folder.
    ///
    /// # Errors
    /// The folder is in no working tree of Git's, or Git fails.
    pub fn repository(&self, dir: &Utf8Path) -> Result<Repository, HostError> {
        let asked = [
            "rev-parse",
            "--path-format=absolute",
            "--show-toplevel",
            "--absolute-git-dir",
            "--git-common-dir",
        ];
        let ended = self.git(dir, &asked)?;
        let lines: Vec<&str> = ended.stdout.lines().collect();
        match lines.as_slice() {
            [root, git_dir, common_dir] if ended.success() => Ok(Repository {
                root: (*root).into(),
                git_dir: (*git_dir).into(),
                common_dir: (*common_dir).into(),
            }),
            _ => Err(no_repository(dir, &ended)),
        }
    }

    /// Every file that Git tracks.
    pub(crate) fn tracked(&self, root: &Utf8Path) -> Result<Vec<Tracked>, HostError> {
        let ended = self.git_done(
            root,
            &["ls-files", "-z", "-v", "--stage", "--cached"],
            &unread(root),
        )?;
        let entry = |entry: &str| {
            let (stage, path) = entry.split_once('\t')?;
            let (tag, rest) = stage.split_once(' ')?;
            Some(Tracked {
                mode: rest.split(' ').next()?.to_owned(),
                path: Utf8PathBuf::from(path),
                is_left_out: tag.eq_ignore_ascii_case("S"),
            })
        };
        Ok(ended.stdout.split('\0').filter_map(entry).collect())
    }

    /// Which of these files Git looks at no more: it tells them with a small letter, or with an S.
    pub(crate) fn hidden(&self, root: &Utf8Path, files: &[&str]) -> Result<Vec<String>, HostError> {
        if files.is_empty() {
            return Ok(vec![]);
        }
        let mut args = vec!["ls-files", "-z", "-v", "--cached", "--"];
        let literal: Vec<String> = files.iter().map(|file| literal(file)).collect();
        args.extend(literal.iter().map(String::as_str));
        let ended = self.git_done(root, &args, &unread(root))?;
        let hidden = |entry: &str| {
            let (tag, path) = entry.split_once(' ')?;
            (tag == "S" || tag.chars().all(|c| c.is_ascii_lowercase())).then(|| path.to_owned())
        };
        Ok(ended.stdout.split('\0').filter_map(hidden).collect())
    }

    /// Which of these files differ from what is committed, or are not tracked.
    pub(crate) fn dirty(&self, root: &Utf8Path, files: &[&str]) -> Result<Vec<String>, HostError> {
        if files.is_empty() {
            return Ok(vec![]);
        }
        let mut args = vec![
            "status",
            "--porcelain=v1",
            "-z",
            "--no-renames",
            "--untracked-files=all",
            "--ignored=matching",
            "--",
        ];
        let literal: Vec<String> = files.iter().map(|file| literal(file)).collect();
        args.extend(literal.iter().map(String::as_str));
        let ended = self.git_done(root, &args, &unread(root))?;
        Ok(ended
            .stdout
            .split('\0')
            .filter_map(|entry| entry.get(3..))
            .map(str::to_owned)
            .collect())
    }

    /// Which of these files Git is told to ignore.
    pub(crate) fn ignored(&self, root: &Utf8Path, files: &[&str]) -> Result<Vec<String>, HostError> {
        let mut args = vec!["check-ignore", "--"];
        args.extend(files);
        let ended = self.git(root, &args)?;
        Ok(ended.stdout.lines().map(str::to_owned).collect())
    }

    /// `git add` of these files.
    pub(crate) fn add(&self, root: &Utf8Path, files: &[&str]) -> Result<(), HostError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut args = vec!["add", "--"];
        let literal: Vec<String> = files.iter().map(|file| literal(file)).collect();
        args.extend(literal.iter().map(String::as_str));
        let next = "remove what Git names (a stale index.lock, or a rule in .gitignore), then run the command again (it continues)";
        self.git_done(root, &args, next).map(drop)
    }

    /// Whether these files have something to be committed.
    pub(crate) fn is_staged(&self, root: &Utf8Path, files: &[&str]) -> Result<bool, HostError> {
        let mut args = vec!["diff", "--cached", "--quiet", "--"];
        let literal: Vec<String> = files.iter().map(|file| literal(file)).collect();
        args.extend(literal.iter().map(String::as_str));
        Ok(!self.git(root, &args)?.success())
    }

    /// A commit of these files.
    pub(crate) fn commit(&self, root: &Utf8Path, files: &[&str], message: &str) -> Result<(), HostError> {
        let mut args = vec!["commit", "--quiet", "--message", message, "--"];
        let literal: Vec<String> = files.iter().map(|file| literal(file)).collect();
        args.extend(literal.iter().map(String::as_str));
        let next = "fix what Git names, then run the command again (it continues with the commit; the files are written and added)";
        self.git_done(root, &args, next).map(drop)
    }

    /// The commit that changed a file last.
    pub(crate) fn last_commit(&self, root: &Utf8Path, file: &str) -> Result<Option<String>, HostError> {
        let file = literal(file);
        let ended = self.git(root, &["log", "--max-count=1", "--format=%H", "--", &file])?;
        Ok(Some(ended.stdout.trim().to_owned()).filter(|commit| ended.success() && !commit.is_empty()))
    }

    /// What a file at the top held in a commit; `None`: the commit, or the file in it, is not there.
    pub(crate) fn committed(
        &self,
        root: &Utf8Path,
        revision: &str,
        file: &str,
    ) -> Result<Option<String>, HostError> {
        let ended = self.git(root, &["cat-file", "blob", &format!("{revision}:{file}")])?;
        Ok(Some(ended.stdout.clone()).filter(|_| ended.success()))
    }

    /// Where the repository is fetched from.
    pub(crate) fn origin(&self, root: &Utf8Path) -> Result<Option<String>, HostError> {
        let ended = self.git(root, &["remote", "get-url", "origin"])?;
        Ok(Some(ended.stdout.trim().to_owned()).filter(|url| ended.success() && !url.is_empty()))
    }

    /// What ssh knows of a host: its keys, without its name.
    pub(crate) fn known_hosts(&self, host: &str, home: Option<&Utf8Path>) -> Vec<String> {
        let own = home.map(|home| home.join(".ssh/known_hosts"));
        let files = own.into_iter().chain(["/etc/ssh/ssh_known_hosts".into()]);
        let mut found = vec![];
        for file in files.filter(|file| file.as_std_path().is_file()) {
            let program = Program::new("ssh-keygen")
                .args(["-F", host, "-f", file.as_str()])
                .deadline(Duration::from_secs(10));
            let said = self.run(program).map(|ended| ended.stdout).unwrap_or_default();
            let plain = said
                .lines()
                .filter(|line| !line.starts_with('#') && !line.starts_with('@'));
            found.extend(plain.filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                Some(format!("{} {}", words.next()?, words.next()?))
            }));
        }
        found.sort();
        found.dedup();
        found
    }

    /// Whether Nix is there.
    pub(crate) fn has_nix(&self) -> bool {
        let version = Program::new("nix").arg("--version").memory(Memory::Nix);
        self.run(version).is_ok_and(|ended| ended.success())
    }

    /// What Nix makes of an expression, as JSON; or its last lines.
    pub(crate) fn evaluated(&self, expression: &str) -> Result<Result<String, Unevaluated>, HostError> {
        let program = Program::new("nix")
            .args([
                "--extra-experimental-features",
                "nix-command flakes",
                "eval",
                "--json",
                "--impure",
            ])
            .args(["--option", "warn-dirty", "false", "--expr", expression])
            .on_stop(OnStop::End)
            .memory(Memory::Nix)
            .deadline(EVALUATION_MAX);
        let ended = self.run(program)?;
        Ok(if ended.success() {
            Ok(ended.stdout)
        } else {
            Err(unevaluated(&ended))
        })
    }
}

/// Why Nix could not evaluate an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unevaluated {
    /// Its reason.
    pub(crate) reason: String,
    /// What to change on this computer, where the flake is not the cause.
    pub(crate) helps: Option<&'static str>,
    /// What kind of fault that is.
    pub(crate) class: Option<FaultClass>,
}

fn unevaluated(ended: &Ended) -> Unevaluated {
    match not_the_flake(ended) {
        Some(found) => Unevaluated {
            reason: Shown::line(&found.reason).into(),
            helps: Some(found.helps),
            class: Some(found.fault.class),
        },
        None => Unevaluated {
            reason: cause(ended),
            helps: None,
            class: None,
        },
    }
}

/// Why Git shows no working tree there, and what helps.
fn no_repository(dir: &Utf8Path, ended: &Ended) -> HostError {
    let said = |text: &str| ended.stderr.contains(text);
    let own = shell(dir.as_str());
    let (reason, next) = if said("dubious ownership") {
        let trusted = ended.stderr.lines().find_map(|line| {
            line.trim()
                .strip_prefix("git config --global --add safe.directory ")
        });
        (
            "the repository belongs to another account, so Git does not open it".to_owned(),
            format!(
                "run the command as the account that owns it; or, if you trust its contents: git config --global --add safe.directory {}",
                trusted.unwrap_or(&own)
            ),
        )
    } else if said("must be run in a work tree") {
        (
            "it is a bare repository or inside .git, so it has no working files".to_owned(),
            "run it in a working tree (git clone makes one), or name one with --repository DIR".to_owned(),
        )
    } else if said("cannot change to") {
        (
            ended.tail(),
            "name a directory of the repository with --repository DIR".to_owned(),
        )
    } else if said("not a git repository") {
        (
            format!(
                "it is not in a Git working tree ({}), and a flake sees only files that Git tracks",
                ended.tail()
            ),
            format!("git init {own}, or run it in the repository"),
        )
    } else {
        (
            format!("Git cannot open a working tree there ({})", ended.tail()),
            format!("fix what Git names (git -C {own} status shows it too)"),
        )
    };
    HostError::NoRepository {
        dir: dir.to_owned(),
        reason,
        next,
    }
}

/// What Nix says last is what went wrong; before it stand the places that led there. Of a program that Nix started and that failed, the
/// program's own last line is the reason.
fn cause(ended: &Ended) -> String {
    let mut said = ended
        .stderr
        .lines()
        .filter_map(|line| line.trim().strip_prefix("error: "));
    match said.next_back() {
        Some(said) if said.starts_with("program '") => {
            let own = of_git(&ended.stderr).map_or(String::new(), |line| format!("{line}; "));
            Shown::line(&format!("{own}{said}")).into()
        }
        Some(said) => Shown::line(said).into(),
        None => ended.tail(),
    }
}

/// A file by its name alone, whatever is in it.
fn literal(path: &str) -> String {
    format!(":(top,literal){path}")
}
