//! Asks Nix about a flake.
//!
//! Nix builds nothing, writes no lock file, and keeps no evaluation cache. An error is reported with Nix's own last lines. What can only be
//! evaluated by building something is not judged.
//!
//! `operator` interprets the answers.

use super::{Outcome, Scene};
use crate::real::disk::usage::shell;
use crate::real::nix::operator::{NotTheFlake, not_the_flake, of_git};
use crate::real::process::command::{Ended, Program};
use crate::real::process::limits::Memory;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::FaultClass;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest evaluation for one check.
const DEADLINE: Duration = Duration::from_secs(590);
/// Lines of Nix's output that are kept.
const LINES_MAX: usize = 12;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There is no Nix.
    NoNix,
    /// The flake has no such attribute.
    NoAttribute(Vec<String>),
    /// The evaluation failed: Nix's last words.
    Failed(Vec<String>),
    /// Nix could not do its work here, whatever the flake is.
    Here(Box<Outcome>),
    /// The answer is read from what a derivation builds: why nothing is judged, and what builds it.
    Builds(String),
    /// What came is no answer.
    Strange(String),
}

impl NoAnswer {
    /// As the outcome of a check of this attribute.
    pub(crate) fn outcome(self, what: &str, next: &str) -> Outcome {
        match self {
            NoAnswer::NoNix => Outcome::skipped("nix is not in PATH"),
            NoAnswer::NoAttribute(said) | NoAnswer::Failed(said) => {
                Outcome::wrong_list(FaultClass::Permanent, what, "Nix cannot evaluate it", said, next)
            }
            NoAnswer::Here(outcome) => *outcome,
            NoAnswer::Builds(why) => Outcome::skipped(format!("{what}: {why}")),
            NoAnswer::Strange(why) => Outcome::skipped(why),
        }
    }
}

/// A flake as Nix is told it, and where Nix is started for that.
///
/// A folder whose name is no part of an address as it stands (a blank, `%`, `é`) is not named at all: Nix is started there. Of a Git tree
/// 2.8 reads `%20` as the name of a remote, which it asks for a commit and keeps in a cache, and refuses `.`; `git+file:.` is the working
/// tree for it, and for every Nix since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// What stands before `#`.
    pub name: String,
    /// The folder where Nix is started.
    pub start: Utf8PathBuf,
}

/// The top of a Git tree, where Nix is started there.
const TREE: &str = "git+file:.";

fn encoded(path: &Utf8Path) -> String {
    path.as_str()
        .bytes()
        .map(|b| match b {
            b'/' | b'.' | b'_' | b'-' | b'~' | b'+' => char::from(b).to_string(),
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

impl Reference {
    pub(crate) fn of(dir: &Utf8Path) -> Reference {
        let whole = encoded(dir);
        if whole == dir.as_str() {
            return Reference {
                name: whole,
                start: "/".into(),
            };
        }
        let top = dir
            .ancestors()
            .find(|above| fs_err::symlink_metadata(above.join(".git")).is_ok());
        let Some(top) = top else {
            return Reference::started_in(dir);
        };
        let below = dir.strip_prefix(top).unwrap_or(Utf8Path::new(""));
        let folder = match below.as_str() {
            "" => String::new(),
            _ => format!("?dir={}", encoded(below)),
        };
        Reference {
            name: format!("{TREE}{folder}"),
            start: top.to_owned(),
        }
    }

    fn started_in(dir: &Utf8Path) -> Reference {
        Reference {
            name: ".".to_owned(),
            start: dir.to_owned(),
        }
    }

    /// Another one for a Nix that takes no address without a whole path; it reads every name of a folder.
    fn instead(&self, dir: &Utf8Path, stderr: &str) -> Option<Reference> {
        (self.name.starts_with(TREE) && stderr.contains("relative")).then(|| Reference::started_in(dir))
    }

    /// A command of Nix's for the flake, for a shell; `attribute` with its `#`.
    pub(crate) fn command(&self, verb: &str, attribute: &str) -> String {
        let command = format!("nix {verb} {}", shell(&format!("{}{attribute}", self.name)));
        match self.start.as_str() {
            "/" => command,
            start => format!("cd {} && {command}", shell(start)),
        }
    }
}

/// What Nix says where it may not use its own store, or the account may not read the flake.
const NOT_ALLOWED: [(&str, &str); 5] = [
    ("cannot connect to socket at", DAEMON),
    ("could not set permissions on '/nix/var", DAEMON),
    ("opening lock file '/nix/var", DAEMON),
    ("is not owned by current user", OWNER),
    ("/flake.nix': Permission denied", OWNER),
];
const DAEMON: &str = "allow this account to use Nix (systemctl start nix-daemon.socket, if Nix has a daemon), or run the same command with sudo";
const OWNER: &str = "run the same command as the account that owns the flake";

/// An ending that says nothing of the flake.
fn here(ended: &Ended, said: &[String]) -> Option<Outcome> {
    let last = said.join(" ");
    let plain = last.replace("flake.nix: Permission", "flake.nix': Permission");
    if let Some((_, next)) = NOT_ALLOWED.iter().find(|(words, _)| plain.contains(words)) {
        return Some(Outcome::wrong_list(
            FaultClass::NeedsChange,
            "nix",
            "this account cannot evaluate the flake",
            said.to_vec(),
            *next,
        ));
    }
    // The next step of the fault is an installer's; here nothing is installed.
    not_the_flake(ended).map(|NotTheFlake { fault, helps, reason }| {
        let next = format!("{helps}, then run landfall doctor again");
        Outcome::wrong(fault.class, "flake", reason, next)
    })
}

/// A name as an attribute in a path of attributes.
pub(super) fn attribute(name: &str) -> String {
    format!("\"{name}\"")
}

/// How far Nix may go for an answer.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// It reads its store.
    Reads,
    /// It also writes there what the flake reads again: copied folders, files that it makes, derivations. It builds none of these.
    Stores,
}

impl Reach {
    const fn options(self) -> &'static [&'static str] {
        match self {
            Reach::Reads => &["--read-only"],
            Reach::Stores => &["--option", "allow-import-from-derivation", "false"],
        }
    }
}

async fn evaluated(
    scene: &Scene,
    reference: &Reference,
    asked: (&str, &str),
    reach: Reach,
) -> Result<Ended, NoAnswer> {
    let (attribute, function) = asked;
    let asked = Program::that_looks("nix")
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["eval", "--json", "--no-write-lock-file"])
        .args(reach.options().iter().copied())
        .args(["--option", "eval-cache", "false"])
        .arg(format!("{}#{attribute}", reference.name))
        .args(["--apply", function])
        .memory(Memory::Nix)
        .dir(reference.start.as_str())
        .deadline(DEADLINE);
    match scene.context.run(asked).await {
        Ok(ended) => Ok(ended),
        Err(fault) if is_missing(&fault) => Err(NoAnswer::NoNix),
        Err(fault) => Err(NoAnswer::Failed(vec![fault.why()])),
    }
}

/// Whether Nix says that it may read nothing that it would have to build first, as 2.8 does.
fn wants_to_build(stderr: &str) -> bool {
    let said = last_words(stderr).join(" ");
    said.contains("during evaluation") && said.contains("allow-import-from-derivation")
}

/// Whether Nix's error is about a path of its store, which it may have lacked only because it writes none.
fn may_lack_a_path(stderr: &str) -> bool {
    let said = last_words(stderr);
    said.first()
        .is_some_and(|line| line.contains("/nix/store/") && !wants_to_build(stderr))
}

/// Asks once more where Nix lacks a path that it did not write: that is no fault of the flake.
async fn with_its_paths(
    scene: &Scene,
    reference: &Reference,
    asked: (&str, &str),
    ended: Ended,
) -> Result<Ended, NoAnswer> {
    if ended.success() || !may_lack_a_path(&ended.stderr) {
        return Ok(ended);
    }
    let ended = evaluated(scene, reference, asked, Reach::Stores).await?;
    if ended.success() || !wants_to_build(&ended.stderr) {
        return Ok(ended);
    }
    let (attribute, function) = asked;
    let eval = reference.command("eval", &format!("#{attribute}"));
    Err(NoAnswer::Builds(format!(
        "it is read from what a derivation builds, and this check builds nothing; to build it, run {eval} --no-write-lock-file --apply {}, then {} again",
        shell(function),
        scene.command
    )))
}

/// Evaluates an attribute of the flake, and a function of it.
pub(super) async fn ask<T: DeserializeOwned>(
    scene: &Scene,
    dir: &Utf8Path,
    attribute: &str,
    function: &str,
) -> Result<T, NoAnswer> {
    let asked = (attribute, function);
    let mut reference = Reference::of(dir);
    let mut ended = evaluated(scene, &reference, asked, Reach::Reads).await?;
    if !ended.success()
        && let Some(instead) = reference.instead(dir, &ended.stderr)
    {
        reference = instead;
        ended = evaluated(scene, &reference, asked, Reach::Reads).await?;
    }
    let ended = with_its_paths(scene, &reference, asked, ended).await?;
    if !ended.success() {
        let said = last_words(&ended.stderr);
        let is_absent = ended.stderr.contains("does not provide attribute");
        return Err(if is_absent {
            NoAnswer::NoAttribute(said)
        } else {
            match here(&ended, &said) {
                Some(outcome) => NoAnswer::Here(Box::new(outcome)),
                None => NoAnswer::Failed(said),
            }
        });
    }
    serde_json::from_str(&ended.stdout)
        .map_err(|e| NoAnswer::Strange(format!("Nix's answer is not understood: {e}")))
}

/// Whether a program could not be started.
pub(super) fn is_missing(fault: &landfall_states::fault::Fault) -> bool {
    use landfall_states::fault::{Kind, MachineFault};
    matches!(&*fault.kind, Kind::Machine(MachineFault::ToolNotStarted { .. }))
}

/// What Nix said last: from its last `error:` on, without the trace; before it the line in which Git, as its child, says why.
fn last_words(stderr: &str) -> Vec<String> {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with("error:"))
        .unwrap_or(lines.len().saturating_sub(LINES_MAX));
    let last = lines.iter().skip(from).map(|line| line.trim());
    let last = last.filter(|line| !line.starts_with("(use '--show-trace'"));
    // Nix says of a program that it failed; why, the program said before.
    let is_of_program = lines
        .get(from)
        .is_some_and(|line| line.trim_start().starts_with("error: program '"));
    let own = is_of_program.then(|| of_git(stderr)).flatten();
    own.into_iter()
        .chain(last)
        .take(LINES_MAX)
        .map(str::to_owned)
        .collect()
}

/// The flake that is looked at.
pub(super) fn dir(scene: &Scene) -> Result<&Utf8PathBuf, Outcome> {
    scene
        .flake
        .as_ref()
        .ok_or_else(|| Outcome::skipped("no flake was given: --flake DIR"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_so_that_every_nix_reads_it() {
        let scratch = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(scratch.path().to_owned()).unwrap();
        let plain = top.join("plain");
        fs_err::create_dir_all(top.join("a b/.git")).unwrap();
        fs_err::create_dir_all(top.join("a b/sub é")).unwrap();
        fs_err::create_dir_all(top.join("no git")).unwrap();
        let told = |dir: &Utf8Path| {
            let reference = Reference::of(dir);
            (reference.name.clone(), reference.command("flake check", "#x"))
        };
        assert_eq!(
            told(&plain),
            (plain.to_string(), format!("nix flake check '{plain}#x'"))
        );
        let tree = format!("cd '{top}/a b' && nix flake check 'git+file:.#x'");
        assert_eq!(told(&top.join("a b")), ("git+file:.".to_owned(), tree));
        let below = Reference::of(&top.join("a b/sub é"));
        assert_eq!(
            (below.name.as_str(), &below.start),
            ("git+file:.?dir=sub%20%C3%A9", &top.join("a b"))
        );
        let says = "error: Git repository 'file:.' uses a relative path";
        assert_eq!(
            below.instead(&top.join("a b/sub é"), says).unwrap().start,
            top.join("a b/sub é")
        );
        assert_eq!(below.instead(&top, "error: undefined variable 'x'"), None);
        assert_eq!(Reference::of(&plain).instead(&plain, says), None);
        let outside = format!("cd '{top}/no git' && nix flake check '.#x'");
        assert_eq!(told(&top.join("no git")), (".".to_owned(), outside));
    }

    #[test]
    fn what_git_says_stands_before_what_nix_says_of_it() {
        let said = "warning: Git tree '/r' is dirty\nfatal: repository 'http://x/404.git/' not found\n\
                    error: program 'git' failed with exit code 128\n(use '--show-trace' to show detailed location information)\n";
        assert_eq!(
            last_words(said),
            [
                "fatal: repository 'http://x/404.git/' not found",
                "error: program 'git' failed with exit code 128"
            ]
        );
        // The control: what Git said is not the cause.
        let said = "fatal: not this\nerror: attribute 'x' missing\n";
        assert_eq!(last_words(said), ["error: attribute 'x' missing"]);
    }

    #[test]
    fn what_nix_cannot_do_here_is_not_the_flakes_fault() {
        let ended = |stderr: &str| Ended {
            program: "nix".into(),
            code: Some(1),
            signal: None,
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        let class = |stderr: &str| {
            let ended = ended(stderr);
            match here(&ended, &last_words(&ended.stderr)) {
                Some(Outcome::Finding(finding)) => Some((finding.class, finding.next)),
                Some(_) => panic!("{stderr}"),
                None => None,
            }
        };
        // As Nix 2.8.0 and 2.26.3 say it to an account without rights.
        for (said, next) in [
            (
                "error: could not set permissions on '/nix/var/nix/profiles/per-user' to 755: Operation not permitted",
                DAEMON,
            ),
            (
                "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied",
                DAEMON,
            ),
            (
                "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': No such file or directory",
                DAEMON,
            ),
            ("error: getting status of /r/flake.nix: Permission denied", OWNER),
            (
                "error: getting status of '/r/flake.nix': Permission denied",
                OWNER,
            ),
        ] {
            assert_eq!(
                class(said),
                Some((FaultClass::NeedsChange, next.to_owned())),
                "{said}"
            );
        }
        let network =
            class("error: unable to download 'https://x.example/y': Couldn't resolve host name (6)");
        let next =
            "check the network, or the address of the input in flake.nix, then run landfall doctor again";
        assert_eq!(network, Some((FaultClass::Transient, next.to_owned())));
        for flake in ["error: undefined variable 'pkgs'", "error: attribute 'x' missing"] {
            assert_eq!(class(flake), None, "{flake}");
        }
    }
}
