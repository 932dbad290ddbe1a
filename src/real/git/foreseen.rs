//! Checks, before the first write, what the clone will need from the remote.
//!
//! A refusal here has the same reason that the clone would stop for. A check that the remote does not allow is reported, and
//! refuses nothing. Only a bounded folder in tmpfs is written.
//!
//! Checked are whether the remote's history is complete up to the pinned revision, and for each submodule its address,
//! whether it can be reached, and whether it has the commit. Submodules of submodules and the files themselves are not
//! checked.

use crate::real::fs::target_root;
use crate::real::git::command::{self, Access};
use crate::real::git::source::{fetch_url, remove_tree};
use crate::real::process::command::Ended;
use crate::real::process::context::CommandContext;
use crate::real::process::limits::Memory;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, SourceFault};
use landfall_states::names::Revision;
use landfall_states::plan::{Repository, RepositorySource};
use landfall_states::remote::redacted;
use std::time::Duration;

/// Most bytes that one look at a remote writes into tmpfs.
pub const LOOK_BYTES_MAX: u64 = 64 << 20;
/// Most submodules whose remotes are asked before the first write.
const SUBMODULES_MAX: usize = 32;
/// Longest time for one question to a remote.
const QUESTION: Duration = Duration::from_secs(120);

/// Looks at all of it, and writes at most so many bytes at a time into `scratch`.
///
/// # Errors
/// What the clone would stop at; or the remote cannot be reached.
pub async fn look(
    context: &CommandContext,
    access: &Access,
    repository: &Repository,
    revision: &Revision,
    scratch: &Utf8Path,
    bytes_max: u64,
) -> Result<(), Fault> {
    let RepositorySource::Remote(remote) = &repository.source else {
        return Ok(());
    };
    fs_err::create_dir_all(scratch).map_err(|e| target_root::io_fault(scratch.as_str(), &e))?;
    let probe = scratch.join("foreseen.git");
    remove_tree(&probe)?;
    let format = format!("--object-format={}", command::object_format(revision));
    let init = ["init", "-q", &format, "--bare", "foreseen.git"];
    command::local(context, access, scratch, &init).await?;
    let looking = Look {
        context,
        access,
        source: &repository.source,
        url: fetch_url(&repository.source),
        base: command::written_url(remote),
        revision,
        probe: probe.clone(),
        bytes_max,
    };
    let seen = looking.all().await;
    remove_tree(&probe)?;
    seen
}

struct Look<'a> {
    context: &'a CommandContext,
    access: &'a Access,
    source: &'a RepositorySource,
    /// As Git is given it.
    url: String,
    /// As a submodule's address is relative to it.
    base: String,
    revision: &'a Revision,
    probe: Utf8PathBuf,
    bytes_max: u64,
}

impl Look<'_> {
    async fn all(&self) -> Result<(), Fault> {
        if self.is_cut_off().await? {
            self.history().await?;
        }
        let depth = ["--depth=1", "--filter=blob:none"];
        let ended = self.fetch(&self.url, &depth, self.revision.as_str()).await?;
        if !ended.success() {
            return self.not_granted(ended, "its folders");
        }
        let (modules, links) = self.links().await?;
        let (Some(modules), false) = (modules, links.is_empty()) else {
            return Ok(());
        };
        let Some(settings) = self.settings(&modules).await? else {
            return Ok(());
        };
        if links.len() > SUBMODULES_MAX {
            self.context.reporter.notice(format!(
                "the repository has {} submodules; landfall checks {SUBMODULES_MAX} of them before the first write",
                links.len()
            ));
        }
        for link in links.iter().take(SUBMODULES_MAX) {
            self.submodule(link, &settings).await?;
        }
        Ok(())
    }

    /// Whether the remote says that some commits lack their parents there. Only the older protocol says so before anything is sent, and Git
    /// shows it in its trace alone: a Git that traced otherwise would leave this to the clone.
    async fn is_cut_off(&self) -> Result<bool, Fault> {
        let mut cut_off = false;
        let asking = self
            .access
            .remote(None)
            .deadline(QUESTION)
            .memory(Memory::Question)
            .env("GIT_TRACE_PACKET", "2")
            .args(["-c", "protocol.version=0", "ls-remote", "--heads"])
            .args(command::serving(&self.url))
            .args(["--", &self.url])
            .on_line(|line| cut_off |= names_a_cut(line));
        let ended = self.context.run(asking).await?;
        // Whoever grants the questions that were asked so far and not this one is not cut off for that.
        Ok(ended.success() && cut_off)
    }

    /// The history, as the clone fetches it: Git itself says whether it can be had. With a filter it would ask for the missing parents without
    /// end.
    async fn history(&self) -> Result<(), Fault> {
        let to = format!("+{}:refs/heads/foreseen", self.revision);
        let ended = self.fetch(&self.url, &[], &to).await?;
        if ended.stderr.contains("shallow roots are not allowed") {
            let what = format!("history of {} in {}", self.revision, redacted(&self.url));
            return Err(command::fault_at(self.remote(), &what, &ended));
        }
        if !ended.success() {
            return self.not_granted(ended, "its history");
        }
        Ok(())
    }

    /// The address of `.gitmodules`, and the submodules: commit and path.
    async fn links(&self) -> Result<(Option<String>, Vec<Link>), Fault> {
        let (mut modules, mut links) = (None, Vec::new());
        let listing = self
            .access
            .git(Some(&self.probe))
            .args([
                "-c",
                "core.quotePath=false",
                "ls-tree",
                "-r",
                self.revision.as_str(),
            ])
            .on_line(|line| {
                if let Some((kind, id, path)) = entry(line) {
                    if kind == "commit" {
                        links.push(Link {
                            path: path.to_owned(),
                            commit: id.to_owned(),
                        });
                    } else if path == ".gitmodules" {
                        modules = Some(id.to_owned());
                    }
                }
            });
        let ended = self.context.run(listing).await?;
        command::succeeded(ended, "the folders of the pinned revision")?;
        Ok((modules, links))
    }

    /// What `.gitmodules` says; `None` when the remote does not give it by itself.
    async fn settings(&self, blob: &str) -> Result<Option<Vec<(String, String)>>, Fault> {
        let has = self
            .access
            .remote(Some(&self.probe))
            .args(["cat-file", "-e", blob]);
        if !self.context.run(has).await?.success() {
            let ended = self.fetch(&self.url, &["--filter=blob:none"], blob).await?;
            if !ended.success() {
                return self.not_granted(ended, ".gitmodules").map(|()| None);
            }
        }
        let list = ["config", "--blob", blob, "--list", "-z"];
        let ended = self
            .context
            .run(self.access.git(Some(&self.probe)).args(list))
            .await?;
        if !ended.success() {
            return Err(SourceFault::SubmoduleAddress {
                path: "settings (.gitmodules)".into(),
                repository: redacted(&self.url),
                reason: format!("Git cannot read them: {}", ended.tail()),
            }
            .into());
        }
        Ok(Some(pairs(&ended.stdout)))
    }

    async fn submodule(&self, link: &Link, settings: &[(String, String)]) -> Result<(), Fault> {
        let Link { path, commit } = link;
        let refused = |reason: String| {
            Err(SourceFault::SubmoduleAddress {
                path: path.clone(),
                repository: redacted(&self.url),
                reason,
            }
            .into())
        };
        let Some(name) = name_of(path, settings) else {
            // A path that Git writes in quotes cannot be compared.
            if path.starts_with('"') {
                return Ok(());
            }
            return refused(".gitmodules has no entry with this path".into());
        };
        let of = |what: &str| {
            let key = format!("submodule.{name}.{what}");
            settings
                .iter()
                .rev()
                .find(|(k, _)| *k == key)
                .map(|(_, value)| value.as_str())
        };
        if of("update") == Some("none") {
            return Ok(());
        }
        let Some(given) = of("url").filter(|url| !url.is_empty()) else {
            return refused(format!(".gitmodules has no url for submodule {name}"));
        };
        let Some(url) = resolved(&self.base, given) else {
            return refused(format!(
                "its url {} leads out of {}",
                redacted(given),
                redacted(&self.base)
            ));
        };
        let what = format!("submodule {path} at {}", redacted(&url));
        let asking = self
            .access
            .remote(None)
            .deadline(QUESTION)
            .memory(Memory::Question)
            // As `git submodule` asks: an address that nobody typed may use fewer protocols.
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .args(["ls-remote", "--", &url]);
        let ended = self.context.run(asking).await?;
        let at = format!("of submodule {path} ({})", redacted(given));
        let ended = command::succeeded_at(self.remote(), ended, &what)
            .map_err(|fault| command::of_submodule(fault, &at))?;
        if ended.stdout.lines().any(|line| line.starts_with(commit.as_str())) {
            return Ok(());
        }
        let ended = self
            .fetch(&url, &["--depth=1", "--filter=tree:0"], commit)
            .await?;
        if ended.success() {
            return Ok(());
        }
        self.not_granted(ended, &format!("commit {commit} of {what}"))
            .map_err(|fault| command::of_submodule(fault, &at))
    }

    /// Fetches something by its id.
    async fn fetch(&self, url: &str, how: &[&str], refspec: &str) -> Result<Ended, Fault> {
        let program = self
            .access
            .remote(Some(&self.probe))
            .deadline(QUESTION)
            .file_bytes_max(self.bytes_max)
            .env("GIT_PROTOCOL_FROM_USER", if url == self.url { "1" } else { "0" })
            .args([
                "fetch",
                "--progress",
                "--no-tags",
                "--no-write-fetch-head",
                "--recurse-submodules=no",
            ])
            .args(how.iter().copied())
            .args(command::serving(url).filter(|_| url == self.url))
            .args(["--", url, refspec]);
        self.context.run(program).await
    }

    /// Whether a program met the limit on what it writes: a pack as long as that is left, which was to become longer.
    fn is_too_large(&self) -> Result<bool, Fault> {
        let packs = self.probe.join("objects/pack");
        let fault = |e: &std::io::Error| target_root::io_fault(packs.as_str(), e);
        for entry in fs_err::read_dir(&packs).map_err(|e| fault(&e))? {
            let length = entry
                .and_then(|entry| entry.metadata())
                .map_err(|e| fault(&e))?
                .len();
            if length >= self.bytes_max {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn remote(&self) -> Option<&landfall_states::remote::RemoteUrl> {
        crate::real::git::source::remote_of(self.source)
    }

    /// What a remote does not grant, or is too large to be looked at, is no fault of it.
    fn not_granted(&self, ended: Ended, what: &str) -> Result<(), Fault> {
        if !is_not_granted(&ended) && !self.is_too_large()? {
            return Err(command::fault_at(
                self.remote(),
                &format!("{what}, of revision {} in {}", self.revision, redacted(&self.url)),
                &ended,
            ));
        }
        self.context.reporter.notice(format!(
            "revision {} in {}: {what} cannot be looked at before the first write; the clone will tell",
            self.revision,
            redacted(&self.url)
        ));
        Ok(())
    }
}

/// A submodule.
struct Link {
    path: String,
    commit: String,
}

/// Whether a line of Git's trace is a packet from the other side, `shallow ID`: a commit whose parents it does not have.
fn names_a_cut(line: &str) -> bool {
    line.contains("packet:")
        && line.rsplit_once("< shallow ").is_some_and(|(_, id)| {
            let id = id.trim();
            (id.len() == 40 || id.len() == 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

/// `160000 commit ID<TAB>PATH`
fn entry(line: &str) -> Option<(&str, &str, &str)> {
    let (meta, path) = line.split_once('\t')?;
    let mut words = meta.split(' ');
    let (_, kind, id) = (words.next()?, words.next()?, words.next()?);
    Some((kind, id, path))
}

/// `git config --list -z`: key, line feed, value, NUL.
fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('\0')
        .filter_map(|pair| pair.split_once('\n'))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The name of the submodule at a path: `submodule.NAME.path`.
fn name_of<'s>(path: &str, settings: &'s [(String, String)]) -> Option<&'s str> {
    settings
        .iter()
        .rev()
        .find(|(key, value)| value == path && key.starts_with("submodule.") && key.ends_with(".path"))
        .and_then(|(key, _)| key.strip_prefix("submodule.")?.strip_suffix(".path"))
}

/// A submodule's address, where it is relative to that of its repository (gitmodules(5)). `None`: it has more `..` than that has parts.
fn resolved(base: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    let (mut base, mut rest) = (base.trim_end_matches('/').to_owned(), url);
    let mut between = "/";
    loop {
        if let Some(behind) = rest.strip_prefix("../") {
            // Behind the last slash, else behind the colon of `host:path`.
            let (at, with) = match base.rfind('/') {
                Some(at) => (at, "/"),
                None => (base.rfind(':')?, ":"),
            };
            base.truncate(at);
            between = with;
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("./") {
            rest = behind;
        } else {
            return Some(format!("{base}{between}{}", rest.trim_end_matches('/')));
        }
    }
}

/// Whether a fetch ended because the server shows less than it was asked for.
fn is_not_granted(ended: &Ended) -> bool {
    ["unadvertised object", "dumb http"]
        .iter()
        .any(|words| ended.stderr.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved_as_git_does() {
        // `git submodule add` of Git 2.39.5 wrote these into .git/config for these remotes.
        for (base, url, wanted) in [
            ("https://h/o/r", "../s", Some("https://h/o/s")),
            ("https://h/o/r/", "../s/", Some("https://h/o/s")),
            ("https://h/o/r.git", "../../x/s.git", Some("https://h/x/s.git")),
            ("https://h/o/r", "./s", Some("https://h/o/r/s")),
            ("git@h:o/r", "../s", Some("git@h:o/s")),
            ("git@h:r", "../s", Some("git@h:s")),
            ("r", "../s", None),
            ("https://h/o/r", "https://other/s", Some("https://other/s")),
            ("https://h/o/r", "/srv/s", Some("/srv/s")),
        ] {
            assert_eq!(resolved(base, url).as_deref(), wanted, "{base} {url}");
        }
    }

    #[test]
    fn a_cut_is_a_packet_from_the_other_side() {
        let id = "a".repeat(40);
        // As Git 2.39.5 traces it, for a path and over HTTP.
        for (line, wanted) in [
            (
                format!("15:20:01.1 pkt-line.c:80     packet:    ls-remote< shallow {id}"),
                true,
            ),
            (
                format!("15:20:01.1 pkt-line.c:80     packet:          git< shallow {id}"),
                true,
            ),
            (
                format!("15:20:01.1 pkt-line.c:80     packet:  upload-pack> shallow {id}"),
                false,
            ),
            (
                format!("15:20:01.1 pkt-line.c:80     packet:    ls-remote< {id} refs/heads/shallow"),
                false,
            ),
            (
                format!(
                    "15:20:01.1 pkt-line.c:80     packet:    ls-remote< {id} refs/heads/x< shallow {}",
                    &id[1..]
                ),
                false,
            ),
            (format!("{id}\trefs/heads/x< shallow {id}"), false),
        ] {
            assert_eq!(names_a_cut(&line), wanted, "{line}");
        }
    }
}
