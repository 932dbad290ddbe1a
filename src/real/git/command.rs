//! Git, as landfall runs it.
//!
//! Git asks nothing, reads no configuration but ours, connects to known hosts only, and has a limit on silence. What Git
//! prints is classified by its sentences, and parsed by pure functions.
//!
//! `git::clone` and `git::repository` decide what is cloned and where.

use crate::real::fs::target_root::Root;
use crate::real::process::command::{Ended, OnStop, Program};
use crate::real::process::context::CommandContext;
use crate::real::process::limits::Memory;
use crate::real::tool_errors::{self, Places};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{self, Cause, Fault, Kind, Remedy};
use landfall_states::names::{RefName, Revision};
use landfall_states::plan::Reference;
use landfall_states::remote::RemoteUrl;
use landfall_states::remote::redact;
use std::time::Duration;

/// Longest run of one Git program.
const DEADLINE: Duration = Duration::from_secs(2 * 3_600);

/// What ssh prints. A server's banner has no mark by which it could be told from what ssh says; at the level ERROR ssh prints none. But
/// at that level it does not say either that no algorithm fits, or that a connection broke, which it says one level lower: these places of
/// its code are named, so that they print at any level, with their name before what they say (`LogVerbose`, ssh_config(5), OpenSSH 8.5
/// and newer; `tool_errors` takes the name off). An older ssh passes over the option.
const SSH_WORDS: &str = "-o LogLevel=ERROR -o IgnoreUnknown=LogVerbose \
    -o 'LogVerbose=packet.c:sshpkt_vfatal():*,clientloop.c:server_alive_check():*'";

/// How Git reaches a remote.
#[derive(Debug, Clone)]
pub struct Access {
    /// Private key file, if one is given.
    pub key: Option<Utf8PathBuf>,
    /// `known_hosts`, if one is given.
    pub known_hosts: Option<Utf8PathBuf>,
    /// The token for a server, if one is given.
    pub token: Option<Token>,
    /// Seconds for a connection to be made.
    pub connect_s: u32,
    /// Seconds without a byte after which a transfer is given up.
    pub stall_s: u32,
}

/// A path for a shell, to which Git hands some of its settings.
fn shell_quoted(path: &Utf8Path) -> String {
    format!("'{}'", path.as_str().replace('\'', r"'\''"))
}

/// A token, as a file that holds what a credential helper of Git answers (`git-credential(1)`).
#[derive(Debug, Clone)]
pub struct Token {
    /// The one server that it is for, such as `https://forge.example:8443`.
    pub server: String,
    /// The file; in tmpfs.
    pub file: Utf8PathBuf,
}

/// The server of a remote that may be given a token: over TLS, so that nobody else can read it.
pub fn token_server(remote: &RemoteUrl) -> Option<String> {
    let rest = remote.expose().strip_prefix("https://")?;
    let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    (!host.is_empty()).then(|| format!("https://{host}"))
}

impl Access {
    /// The command that Git (and Nix's Git) uses for ssh.
    fn ssh_command(&self) -> String {
        let mut command = format!(
            "ssh -o BatchMode=yes {SSH_WORDS} -o StrictHostKeyChecking=yes -o ConnectTimeout={} -o ServerAliveInterval=10 -o ServerAliveCountMax=3",
            self.connect_s
        );
        if let Some(hosts) = &self.known_hosts {
            command += &format!(" -o UserKnownHostsFile={}", shell_quoted(hosts));
        }
        if let Some(key) = &self.key {
            command += &format!(" -o IdentitiesOnly=yes -i {}", shell_quoted(key));
        }
        command
    }

    /// The environment of every Git, also of the one that Nix starts.
    pub fn env(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", ""),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            // Nothing is copied into a new repository: what is in it is what Git itself writes.
            ("GIT_TEMPLATE_DIR", ""),
            ("GIT_OPTIONAL_LOCKS", "0"),
            // An object is what its name says, and references are files, whatever this Git takes by default.
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_DEFAULT_REF_FORMAT", "files"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec();
        env.push(("GIT_SSH_COMMAND".into(), self.ssh_command()));
        // The clone may belong to the target's user already; hooks and background repacking are not wanted.
        let mut config: Vec<(String, String)> = [
            // That a repository takes no orders from its owner is seen to before (`guard`).
            ("safe.directory", "*"),
            ("http.lowSpeedLimit", "1"),
            ("core.hooksPath", "/dev/null"),
            ("core.attributesFile", "/dev/null"),
            ("core.excludesFile", "/dev/null"),
            // Ways in which Git itself fetches, and none that runs a program (`ext::`). A file is none for a submodule.
            ("protocol.allow", "never"),
            ("protocol.https.allow", "always"),
            ("protocol.http.allow", "always"),
            ("protocol.ssh.allow", "always"),
            ("protocol.git.allow", "always"),
            ("protocol.file.allow", "user"),
            // What a repository keeps beside its objects, to be faster, is not believed.
            ("core.commitGraph", "false"),
            ("core.multiPackIndex", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("advice.detachedHead", "false"),
            ("init.defaultBranch", "main"),
            // One pack instead of a thousand loose files: fewer flushes, and damage shows.
            ("fetch.unpackLimit", "1"),
            ("core.fsync", "all"),
            ("core.fsyncMethod", "batch"),
            // What a repository's own configuration says of these would hide files from Git, or have it believe times of files.
            ("core.fsmonitor", "false"),
            ("core.untrackedCache", "false"),
            ("core.ignoreStat", "false"),
            ("core.fileMode", "true"),
            ("core.sparseCheckout", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        config.push(("http.lowSpeedTime".into(), self.stall_s.to_string()));
        if let Some(Token { server, file }) = &self.token {
            // Git hands this to a shell with the operation behind it; only a question is answered, and nothing is stored.
            let helper = format!("!f() {{ test \"$1\" = get && cat {}; }}; f", shell_quoted(file));
            config.push((format!("credential.{server}.helper"), helper));
        }
        env.push(("GIT_CONFIG_COUNT".into(), config.len().to_string()));
        for (i, (key, value)) in config.iter().enumerate() {
            env.push((format!("GIT_CONFIG_KEY_{i}"), key.clone()));
            env.push((format!("GIT_CONFIG_VALUE_{i}"), value.clone()));
        }
        env
    }

    /// A Git program; `dir` is the repository.
    pub fn git<'a>(&self, dir: Option<&Utf8Path>) -> Program<'a> {
        // Looking changes nothing: without this, `git status` would write the index again, and leave its lock when it dies.
        let mut program = Program::new("git")
            .deadline(DEADLINE)
            .memory(Memory::Git)
            .env("GIT_OPTIONAL_LOCKS", "0");
        for (key, value) in self.env() {
            program = program.env(key, value);
        }
        match dir {
            // Git would take a repository in the directory where landfall was started, or above it, for its own.
            None => program = program.dir("/"),
            Some(dir) => program = program.arg("-C").arg(dir.as_str()),
        }
        if let Some(dir) = dir {
            // A repository that is damaged is no reason to look for another one in the directories above.
            if let Some(above) = dir.parent() {
                program = program.env("GIT_CEILING_DIRECTORIES", above.as_str());
            }
        }
        program
    }

    /// A Git program that talks to a remote: ended on a stop request and when it falls silent.
    pub fn remote<'a>(&self, dir: Option<&Utf8Path>) -> Program<'a> {
        let silence = u64::from(self.stall_s.max(self.connect_s))
            .saturating_mul(2)
            .max(10);
        self.git(dir)
            .on_stop(OnStop::End)
            .silence_max(Duration::from_secs(silence))
    }
}

/// Runs a local Git to success.
///
/// # Errors
/// Git cannot be started, or fails.
pub async fn local(
    context: &CommandContext,
    access: &Access,
    dir: &Utf8Path,
    args: &[&str],
) -> Result<Ended, Fault> {
    let ended = context
        .run(access.git(Some(dir)).args(args.iter().copied()))
        .await?;
    let what = format!("git {} in {dir}", args.first().copied().unwrap_or_default());
    succeeded(ended, &what)
}

/// The ended program, or its fault.
///
/// # Errors
/// What its ending means.
pub fn succeeded(ended: Ended, what: &str) -> Result<Ended, Fault> {
    if ended.success() {
        Ok(ended)
    } else {
        Err(fault(what, &ended))
    }
}

/// As [`succeeded`], of a Git that was given this remote.
///
/// # Errors
/// What its ending means.
pub fn succeeded_at(remote: Option<&RemoteUrl>, ended: Ended, what: &str) -> Result<Ended, Fault> {
    if ended.success() {
        Ok(ended)
    } else {
        Err(fault_at(remote, what, &ended))
    }
}

/// Whether a failed program named the network as the cause. What nobody knows is tried again, too, and may well be the repository.
pub fn is_of_the_network(fault: &Fault) -> bool {
    matches!(&*fault.kind, Kind::Ending { cause, .. }
        if matches!(cause, Cause::Network | Cause::ServerError | Cause::Throttled | Cause::ApiLimit))
}

/// The name of the object format that a revision is of.
pub fn object_format(revision: &Revision) -> &'static str {
    match revision.as_str().len() {
        64 => "sha256",
        _ => "sha1",
    }
}

/// Whether Git makes a branch of this name. A repository may have others, which its commands take for an option or for what is
/// checked out (git-check-ref-format(1), `--branch`).
pub fn is_branch_name(name: &str) -> bool {
    name != "HEAD" && !name.starts_with('-')
}

/// A text without what this remote carries, wherever it stands in it and however it is quoted; see [`redact`].
fn redact_of(remote: Option<&RemoteUrl>, text: &str) -> String {
    let known = remote.map_or_else(Vec::new, RemoteUrl::credentials);
    redact(&known.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret, landfall_states::remote::REDACTED)
    }))
}

/// The fault that a failed Git stands for.
pub fn fault(what: &str, ended: &Ended) -> Fault {
    fault_at(None, what, ended)
}

/// The same of one that was given a remote: what is known to be secret is not left to the form of what Git says.
pub fn fault_at(remote: Option<&RemoteUrl>, what: &str, ended: &Ended) -> Fault {
    let what = &*redact_of(remote, what);
    let how = ended.how();
    let how = fault::Ended {
        last_lines: how
            .last_lines
            .iter()
            .map(|line| redact_of(remote, tool_errors::of_ssh(line)))
            .collect(),
        ..how
    };
    tool_errors::git(
        what,
        how,
        &redact_of(remote, &ended.said()),
        Places(&[&Root::target().as_arg()]),
    )
}

/// The same fault of a submodule, which is not fetched from where the configuration says, but from where `.gitmodules` does: what is to be
/// repaired is repaired there. `of`: which submodule.
pub fn of_submodule(fault: Fault, of: &str) -> Fault {
    let next = match fault.cause() {
        Some(Cause::Address | Cause::RepositoryMissing) => Remedy::words(format!(
            "correct the URL {of} in .gitmodules, commit and push it (landfall install uses the new revision), or make the repository available there"
        )),
        // Where Git says more than that a commit is missing, more was told already.
        Some(Cause::ReferenceMissing) if fault.remedy == Cause::ReferenceMissing.remedy() => {
            Remedy::words(format!(
                "push the recorded commit {of} to its repository; or record a commit that it has, then commit and push"
            ))
        }
        Some(Cause::Access) => Remedy::words(format!(
            "make the repository {of} public; or give it an SSH URL in .gitmodules, commit and push, and add the key of credential landfall.ssh-key there (credential landfall.repository-token is only for the server of repository.remote)"
        )),
        Some(Cause::KeyRefused) => Remedy::change(format!(
            "add the key of credential landfall.ssh-key also to the repository {of}, or provide a key that both repositories accept"
        )),
        _ => return fault,
    };
    fault.with_next(next)
}

/// What a remote or a bundle offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// The branch that HEAD stands for.
    pub head_branch: Option<String>,
    /// Full reference names (also `HEAD` and peeled `…^{}`) with their ids.
    pub refs: Vec<(String, Revision)>,
}

impl Offer {
    /// Parses `git ls-remote --symref` or `git bundle list-heads`; lines of anything else are skipped.
    pub fn parse(text: &str) -> Self {
        let mut offer = Offer::default();
        for line in text.lines() {
            if let Some(symref) = line.strip_prefix("ref: ") {
                if let Some((target, "HEAD")) = symref.split_once('\t') {
                    offer.head_branch = target.strip_prefix("refs/heads/").map(str::to_owned);
                }
                continue;
            }
            if let Some((id, name)) = line.split_once(['\t', ' '])
                // A line whose first word is no id is no reference.
                && let Some(id) = id.parse::<Revision>().ok()
            {
                offer.refs.push((name.trim().to_owned(), id));
            }
        }
        offer
    }

    /// The id of a full reference name.
    pub fn id(&self, name: &str) -> Option<&Revision> {
        self.refs.iter().find(|(n, _)| n == name).map(|(_, id)| id)
    }

    /// The branches, without `refs/heads/`.
    pub fn branches(&self) -> impl Iterator<Item = &str> {
        self.refs
            .iter()
            .filter_map(|(name, _)| name.strip_prefix("refs/heads/"))
    }

    /// The full name of what a person calls by this name: as given, else a branch, else a tag.
    pub fn full_name(&self, name: &RefName) -> Option<String> {
        let name = name.as_str();
        let given = name.starts_with("refs/").then(|| name.to_owned());
        given
            .into_iter()
            .chain([format!("refs/heads/{name}"), format!("refs/tags/{name}")])
            .find(|full| self.id(full).is_some())
    }

    /// The commit that a reference stands for now; annotated tags peeled. `Err`: why there is none.
    ///
    /// # Errors
    /// Why there is none.
    pub fn resolve(&self, reference: &Reference) -> Result<Revision, String> {
        let list = || {
            let names: Vec<&str> = self.branches().take(8).collect();
            if names.is_empty() {
                "no branch".to_owned()
            } else {
                names.join(", ")
            }
        };
        match reference {
            Reference::Revision(revision) => Ok(revision.clone()),
            Reference::Default => self
                .id("HEAD")
                .or_else(|| match self.branches().collect::<Vec<_>>()[..] {
                    [only] => self.id(&format!("refs/heads/{only}")),
                    _ => None,
                })
                .cloned()
                .ok_or_else(|| {
                    format!(
                        "it has no default branch (HEAD); it has {}; set repository.branch",
                        list()
                    )
                }),
            Reference::Branch(name) => self
                .full_name(name)
                .and_then(|full| {
                    self.id(&format!("{full}^{{}}"))
                        .or_else(|| self.id(&full))
                        .cloned()
                })
                .ok_or_else(|| format!("it has no branch or tag {name}; it has {}", list())),
        }
    }

    /// The branch that a clone shall be on, if the reference stands for one.
    pub fn branch(&self, reference: &Reference) -> Option<String> {
        match reference {
            Reference::Branch(name) => self
                .full_name(name)
                .and_then(|full| full.strip_prefix("refs/heads/").map(str::to_owned)),
            Reference::Default | Reference::Revision(_) => self.head_branch.clone().or_else(|| {
                let head = self.id("HEAD");
                let mut at_head = self
                    .branches()
                    .filter(|b| self.id(&format!("refs/heads/{b}")) == head);
                match (
                    at_head.next(),
                    at_head.next(),
                    self.branches().collect::<Vec<_>>().as_slice(),
                ) {
                    (Some(one), None, _) => Some(one.to_owned()),
                    (_, _, [only]) => Some((*only).to_owned()),
                    _ => None,
                }
            }),
        }
    }
}

/// The URL as Git takes it: `git+ssh://` is Nix's way to write `ssh://`.
pub fn git_url(remote: &RemoteUrl) -> String {
    let url = remote.expose();
    url.strip_prefix("git+ssh://")
        .map_or_else(|| url.to_owned(), |rest| format!("ssh://{rest}"))
}

/// The argument for `fetch` and `ls-remote` of a remote that is a folder here. Git starts another one that serves it, with an environment of
/// its own, and that one reads no repository of another account: on a stick, of NFS, in somebody's home. This repository is the one that
/// was asked for, and nothing in it is run; the exception is for this one reading alone.
pub fn serving(url: &str) -> Option<String> {
    let is_here = match url.split_once(':') {
        None => true,
        Some((before, behind)) => {
            url.starts_with("file://") || (before.contains('/') && !behind.starts_with("//"))
        }
    };
    is_here.then(|| "--upload-pack=git -c 'safe.directory=*' upload-pack".into())
}

/// The URL as it is written into a clone: without what may be a credential.
pub fn written_url(remote: &RemoteUrl) -> String {
    let url = remote.bare();
    url.strip_prefix("git+ssh://")
        .map_or_else(|| url.clone(), |rest| format!("ssh://{rest}"))
}

/// One line of `git --progress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// `Receiving objects`, `Resolving deltas`, …
    pub what: String,
    /// Objects done.
    pub done: u64,
    /// Objects in all.
    pub total: u64,
    /// Bytes received so far, when told.
    pub bytes: Option<u64>,
}

impl Transfer {
    /// Parses e.g. `Receiving objects:  45% (123/270), 1.20 MiB | 2.30 MiB/s`.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim().strip_prefix("remote: ").unwrap_or(line.trim());
        let (what, rest) = line.split_once(':')?;
        let (_, rest) = rest.split_once("% (")?;
        let (counts, rest) = rest.split_once(')')?;
        let (done, total) = counts.split_once('/')?;
        let bytes = rest.strip_prefix(", ").and_then(|rest| {
            let (number, unit) = rest.split(" |").next()?.trim().split_once(' ')?;
            let factor = match unit {
                "bytes" => 1.0,
                "KiB" => 1024.0,
                "MiB" => 1024.0 * 1024.0,
                "GiB" => 1024.0 * 1024.0 * 1024.0,
                _ => return None,
            };
            let number: f64 = number.parse().ok()?;
            Some((number * factor) as u64)
        });
        Some(Transfer {
            what: what.to_owned(),
            done: done.parse().ok()?,
            total: total.parse().ok()?,
            bytes,
        })
    }

    /// Tells of it.
    pub fn tell(&self, context: &CommandContext) {
        let what = format!("git: {}", self.what.to_lowercase());
        context.progress(&what, self.done, Some(self.total), "objects");
        if let Some(bytes) = self.bytes {
            context.progress(&what, bytes, None, "bytes");
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
