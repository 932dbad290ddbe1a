//! Decides whether a repository is complete: every object is there and has the bytes that its name says, and the work tree is
//! what Git makes of the commit.
//!
//! Git's remarks on the style of an intact object do not count. Commits with a time zone or an author that Git would not
//! write today are in the history of many repositories, and a clone of them is as complete as any other.
//!
//! `states::actions::clone_configuration` says which commit it should be, and `git::clone` makes the clone.

use crate::real::fs::target_root;
use crate::real::git::command::Access;
use crate::real::git::guard;
use crate::real::process::command::Program;
use crate::real::process::context::CommandContext;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::Fault;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

/// Most flaws of a work tree that are reported.
const TOLD_MAX: usize = 20;
/// Deepest folder of a work tree that is checked; the kernel allows no longer path.
const DEPTH_MAX: usize = 2_048;
/// Deepest nesting of submodules.
const SUBMODULES_DEPTH_MAX: usize = 16;
/// The kinds of objects, and the places, that `git fsck` remarks on.
const REMARKED: [&str; 6] = ["blob", "commit", "tree", "tag", "unknown", "reflog"];
/// Bits of its exit code that mean an object whose style it does not like: loose, or in a pack.
const CODE_OBJECT: i32 = 1;
const CODE_PACK: i32 = 4;

/// Whether a line of `git fsck` is a remark on an object that is there and whole: `error in commit ID: badTimezone: …`.
fn is_remark(line: &str) -> bool {
    ["error in ", "warning in ", "notice: "].iter().any(|start| {
        line.strip_prefix(start).is_some_and(|rest| {
            *start == "notice: "
                || rest
                    .split_once(' ')
                    .is_some_and(|(kind, rest)| REMARKED.contains(&kind) && names_an_object(rest))
        })
    })
}

/// `ID: word: …`
fn names_an_object(text: &str) -> bool {
    let mut parts = text.splitn(3, ": ");
    let id = parts.next().unwrap_or_default();
    let word = parts.next().unwrap_or_default();
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    (id.len() == 40 || id.len() == 64)
        && hex(id)
        && !word.is_empty()
        && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// What `git fsck` found missing or damaged.
fn damage(code: Option<i32>, said: &str) -> Vec<String> {
    if code == Some(0) {
        return vec![];
    }
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut found: Vec<String> = lines
        .clone()
        .filter(|line| !is_remark(line))
        .take(TOLD_MAX)
        .map(|line| format!("git fsck: {line}"))
        .collect();
    let remarks_alone = lines.count() > 0 && code.is_some_and(|code| code & !(CODE_OBJECT | CODE_PACK) == 0);
    if found.is_empty() && !remarks_alone {
        let how = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        found.push(format!("git fsck: it ended with {how}"));
    }
    found
}

/// Whether every object that is needed is there, as far as that is seen without hashing, also of every submodule that was begun.
///
/// # Errors
/// Git fails.
pub async fn is_connected(context: &CommandContext, access: &Access, dir: &Utf8Path) -> Result<bool, Fault> {
    let Ok(repositories) = repositories_in(&dir.join(".git"), DEPTH_MAX) else {
        return Ok(false);
    };
    for repository in repositories {
        let fsck = ["fsck", "--connectivity-only", "--no-dangling", "--no-progress"];
        let program = access.git(None).env("GIT_DIR", repository.as_str()).args(fsck);
        let ended = context.run(program).await?;
        if !damage(ended.code, &ended.said()).is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A repository's directory and those of its submodules. An error: one of them is none, or something else lies among them.
fn repositories_in(git_dir: &Utf8Path, depth: usize) -> io::Result<Vec<Utf8PathBuf>> {
    if depth == 0 || !fs_err::symlink_metadata(git_dir)?.is_dir() {
        return Err(io::Error::other("not a directory"));
    }
    let mut found = vec![git_dir.to_owned()];
    let modules = git_dir.join("modules");
    if modules.exists() || modules.is_symlink() {
        modules_in(&modules, depth - 1, &mut found)?;
    }
    Ok(found)
}

/// A submodule's name may have many parts.
fn modules_in(dir: &Utf8Path, depth: usize, found: &mut Vec<Utf8PathBuf>) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let path = Utf8PathBuf::from_path_buf(entry?.path())
            .map_err(|_| io::Error::other("a name that is not text"))?;
        if depth == 0 || !fs_err::symlink_metadata(&path)?.is_dir() {
            return Err(io::Error::other("not a directory"));
        }
        let begun = ["HEAD", "config", "objects", "refs"]
            .iter()
            .any(|name| path.join(name).exists());
        if begun {
            found.extend(repositories_in(&path, depth - 1)?);
        } else {
            modules_in(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// What is missing of a repository and of its submodules, or differs. A configuration repository is small: everything is hashed,
/// always. The repository was looked at (`guard`) before Git is run in it.
///
/// # Errors
/// Git fails, or the target cannot be read.
pub async fn flaws(context: &CommandContext, access: &Access, path: &Utf8Path) -> Result<Vec<String>, Fault> {
    flaws_to(context, access, path, path, SUBMODULES_DEPTH_MAX).await
}

/// The same, of submodules in submodules to this depth, all of them those of one clone.
fn flaws_to<'a>(
    context: &'a CommandContext,
    access: &'a Access,
    clone: &'a Utf8Path,
    path: &'a Utf8Path,
    depth: usize,
) -> Pin<Box<dyn Future<Output = Result<Vec<String>, Fault>> + 'a>> {
    Box::pin(async move {
        let fsck = ["fsck", "--full", "--no-dangling", "--no-progress"];
        let ended = context.run(access.git(Some(path)).args(fsck)).await?;
        let mut flaws = damage(ended.code, &ended.said());
        let Some(tree) = WorkTree::read(context, access, path, &mut flaws).await? else {
            return Ok(flaws);
        };
        let lines = tree.changed(context, access, &mut flaws).await?;
        let whole =
            lines.is_empty() || flaws.is_empty() && tree.is_as_checked_out(context, access, &lines).await?;
        if !whole {
            flaws.extend(
                lines
                    .iter()
                    .take(TOLD_MAX)
                    .map(|line| format!("git status: {line}")),
            );
        }
        for (name, id) in Submodules::of(context, access, path).await?.fetched {
            let at = path.join(&name);
            let flaw = |what: &str| format!("submodule {name}: {what}");
            let is_dir = |path: &Utf8Path| fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir());
            if depth == 0 {
                flaws.push(flaw("too deep"));
            } else if !is_dir(&at) || !at.join(".git").exists() {
                flaws.push(flaw("it is not there"));
            } else if !guard::is_submodule(clone, &at)? {
                // Its Git would take orders from where nobody looked.
                flaws.push(flaw("its repository does not belong to the clone"));
            } else if commit_of(context, access, &at).await?.as_deref() != Some(&id) {
                flaws.push(flaw("it is not at its commit"));
            } else {
                let below = flaws_to(context, access, clone, &at, depth - 1).await?;
                flaws.extend(below.iter().map(|below| flaw(below)));
            }
        }
        Ok(flaws)
    })
}

/// The commit that is checked out.
async fn commit_of(
    context: &CommandContext,
    access: &Access,
    path: &Utf8Path,
) -> Result<Option<String>, Fault> {
    let args = ["rev-parse", "--verify", "-q", "HEAD^{commit}"];
    let ended = context.run(access.git(Some(path)).args(args)).await?;
    Ok(ended.success().then(|| ended.stdout.trim().to_owned()))
}

/// A submodule of a commit: its path, and the commit that belongs there.
type Link = (String, String);

/// The submodules of the commit that is checked out.
struct Submodules {
    /// Something was fetched for them, as the repository's configuration says. As with a bundle, that may be none of them.
    fetched: Vec<Link>,
    /// `.gitmodules` says `update = none`: Git leaves their directories empty (gitmodules(5)).
    skipped: Vec<Link>,
}

impl Submodules {
    async fn of(context: &CommandContext, access: &Access, path: &Utf8Path) -> Result<Self, Fault> {
        let said = async |args: &[&str]| -> Result<String, Fault> {
            let ended = context
                .run(access.git(Some(path)).args(args.iter().copied()))
                .await?;
            Ok(if ended.success() {
                ended.stdout
            } else {
                String::new()
            })
        };
        let tree = said(&["ls-tree", "-r", "-z", "HEAD"]).await?;
        let links = tree.split('\0').filter_map(|line| {
            let (id, name) = line.strip_prefix("160000 commit ")?.split_once('\t')?;
            Some((name.to_owned(), id.to_owned()))
        });
        let links: Vec<Link> = links.collect();
        let mut found = Submodules {
            fetched: vec![],
            skipped: vec![],
        };
        if links.is_empty() {
            return Ok(found);
        }
        let begun = said(&["config", "--local", "-z", "--get-regexp", r"^submodule\..*\.url$"]).await?;
        let begun: Vec<&str> = settings(&begun, ".url").map(|(name, _)| name).collect();
        // Of the commit, not of the repository's own configuration, which anybody may have changed since.
        let of_commit = ["config", "--blob", "HEAD:.gitmodules", "-z", "--get-regexp"];
        let of_commit = async |pattern: &str| said(&[&of_commit[..], &[pattern]].concat()).await;
        let paths = of_commit(r"^submodule\..*\.path$").await?;
        let updates = of_commit(r"^submodule\..*\.update$").await?;
        // The last one counts.
        let update = |name: &str| settings(&updates, ".update").filter(|(of, _)| *of == name).last();
        for (path, id) in links {
            let mut names =
                settings(&paths, ".path").filter(|(name, at)| *at == path && begun.contains(name));
            let Some((name, _)) = names.next() else {
                continue;
            };
            if update(name).is_some_and(|(_, update)| update == "none") {
                found.skipped.push((path, id));
            } else {
                found.fetched.push((path, id));
            }
        }
        Ok(found)
    }
}

/// The paths of submodules that Git leaves out, for `.gitmodules` says so, also of those in submodules.
///
/// # Errors
/// Git fails, or the target cannot be read.
pub async fn skipped(
    context: &CommandContext,
    access: &Access,
    path: &Utf8Path,
) -> Result<Vec<Utf8PathBuf>, Fault> {
    let mut found = vec![];
    let mut within = vec![(Utf8PathBuf::new(), SUBMODULES_DEPTH_MAX)];
    while let Some((at, depth)) = within.pop() {
        let Submodules { fetched, skipped } = Submodules::of(context, access, &path.join(&at)).await?;
        found.extend(skipped.iter().map(|(name, _)| at.join(name)));
        if depth > 0 {
            within.extend(fetched.iter().map(|(name, _)| (at.join(name), depth - 1)));
        }
    }
    Ok(found)
}

/// Names of submodules with a setting of theirs, from `git config -z`.
fn settings<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.split('\0').filter_map(move |entry| {
        let (name, value) = entry.split_once('\n')?;
        Some((name.strip_prefix("submodule.")?.strip_suffix(key)?, value))
    })
}

/// A work tree beside an index of its commit that was made just now: no time of a file, and no bit that hides one, is in it.
pub(in crate::real) struct WorkTree<'a> {
    path: &'a Utf8Path,
    /// The index is in it.
    scratch: tempfile::TempDir,
}

fn scratch_fault(e: &io::Error) -> Fault {
    target_root::io_fault("directory for files of the repository", e)
}

impl<'a> WorkTree<'a> {
    /// Makes the index; `None`: the commit cannot be read, which is one more flaw.
    pub(in crate::real) async fn read(
        context: &CommandContext,
        access: &Access,
        path: &'a Utf8Path,
        flaws: &mut Vec<String>,
    ) -> Result<Option<Self>, Fault> {
        let scratch = tempfile::tempdir().map_err(|e| scratch_fault(&e))?;
        let tree = WorkTree { path, scratch };
        let ended = context.run(tree.git(access).args(["read-tree", "HEAD"])).await?;
        if !ended.success() {
            flaws.push(format!("git read-tree: {}", ended.tail()));
            return Ok(None);
        }
        Ok(Some(tree))
    }

    fn git<'p>(&self, access: &Access) -> Program<'p> {
        let index = self.scratch.path().join("index");
        access
            .git(Some(self.path))
            .env("GIT_WORK_TREE", self.path.as_str())
            .env("GIT_INDEX_FILE", index.to_string_lossy())
    }

    /// The lines of `git status` on the files, all of which are hashed. The repository's own index has to be of the commit, too.
    async fn changed(
        &self,
        context: &CommandContext,
        access: &Access,
        flaws: &mut Vec<String>,
    ) -> Result<Vec<String>, Fault> {
        let staged = ["diff-index", "--cached", "--name-status", "HEAD"];
        let staged = context.run(access.git(Some(self.path)).args(staged)).await?;
        if !staged.success() {
            flaws.push(format!("git diff-index: {}", staged.tail()));
        }
        let lines = staged.stdout.lines().take(TOLD_MAX);
        flaws.extend(lines.map(|line| format!("git diff-index: {line}")));
        let status = [
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--ignore-submodules=all",
        ];
        let status = context.run(self.git(access).args(status)).await?;
        if !status.success() {
            flaws.push(format!("git status: {}", status.tail()));
        }
        Ok(status.stdout.lines().map(str::to_owned).collect())
    }

    /// Whether every file that `git status` calls modified is what Git writes when it checks the commit out. That differs from what
    /// is committed where attributes rewrite files (`ident`, `text`, `eol`) and the commit holds a file that was not rewritten.
    async fn is_as_checked_out(
        &self,
        context: &CommandContext,
        access: &Access,
        lines: &[String],
    ) -> Result<bool, Fault> {
        // The index is as the commit, the file is not as the index.
        let Some(names) = lines
            .iter()
            .map(|line| line.strip_prefix(" M "))
            .collect::<Option<Vec<&str>>>()
        else {
            return Ok(false);
        };
        let beside = self.scratch.path().join("files");
        let mut list = tempfile::tempfile().map_err(|e| scratch_fault(&e))?;
        // As Git quotes them, so it reads them.
        list.write_all((names.join("\n") + "\n").as_bytes())
            .and_then(|()| list.rewind())
            .map_err(|e| scratch_fault(&e))?;
        let program = self
            .git(access)
            .args(["checkout-index", "--force", "--stdin"])
            .arg(format!("--prefix={}/", beside.display()))
            .stdin(list);
        if !context.run(program).await?.success() {
            return Ok(false);
        }
        let same = compare(&beside, self.path.as_std_path(), DEPTH_MAX).map_err(|e| scratch_fault(&e))?;
        Ok(same == Some(names.len()))
    }

    /// Writes the commit's files into a directory, and says where; `None`: Git cannot.
    pub(in crate::real) async fn written(
        &self,
        context: &CommandContext,
        access: &Access,
    ) -> Result<Option<PathBuf>, Fault> {
        let to = self.scratch.path().join("all");
        fs_err::create_dir(&to).map_err(|e| scratch_fault(&e))?;
        let program = self
            .git(access)
            .args(["checkout-index", "--force", "--all"])
            .arg(format!("--prefix={}/", to.display()));
        Ok(context.run(program).await?.success().then_some(to))
    }
}

/// How many files below `wanted` are there below `found`, too, and the same; `None`: one of them is not.
fn compare(wanted: &Path, found: &Path, depth: usize) -> io::Result<Option<usize>> {
    let mut same = 0;
    for entry in fs_err::read_dir(wanted)? {
        let entry = entry?;
        let name: OsString = entry.file_name();
        let (wanted, found) = (wanted.join(&name), found.join(&name));
        let below = if entry.file_type()?.is_dir() && depth > 0 {
            compare(&wanted, &found, depth - 1)?
        } else {
            is_same(&wanted, &found)?.then_some(1)
        };
        match below {
            Some(files) => same += files,
            None => return Ok(None),
        }
    }
    Ok(Some(same))
}

fn is_same(wanted: &Path, found: &Path) -> io::Result<bool> {
    let (one, other) = (
        fs_err::symlink_metadata(wanted)?,
        match fs_err::symlink_metadata(found) {
            Ok(metadata) => metadata,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(false);
            }
            Err(e) => return Err(e),
        },
    );
    if one.file_type() != other.file_type() {
        return Ok(false);
    }
    if one.is_symlink() {
        return Ok(fs_err::read_link(wanted)? == fs_err::read_link(found)?);
    }
    let [one_mode, other_mode] = [&one, &other].map(|metadata| metadata.permissions().mode() & 0o100);
    if !one.is_file() || one.len() != other.len() || one_mode != other_mode {
        return Ok(false);
    }
    let mut readers = [wanted, found]
        .into_iter()
        .map(|path| fs_err::File::open(path).map(|file| io::BufReader::new(File::from(file)).bytes()))
        .collect::<io::Result<Vec<_>>>()?;
    let (Some(mut one), Some(mut other)) = (readers.pop(), readers.pop()) else {
        return Ok(false);
    };
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (one, other) if one == other => {}
            (_, _) => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ecfe20974d6c01ec60dc7aadf670f5cc69b21952";

    #[test]
    fn remarks_on_style_are_no_damage_and_everything_else_is() {
        let remarks = [
            format!("error in commit {ID}: badTimezone: invalid author/committer line - bad time zone"),
            format!("error in commit {ID}: missingEmail: invalid author/committer line - missing email"),
            format!("warning in tree {ID}: zeroPaddedFilemode: contains zero-padded file modes"),
            format!("error in blob {ID}: gitmodulesUrl: disallowed submodule url: -u./payload"),
            format!("warning in tag {ID}: missingTaggerEntry: invalid format - expected 'tagger' line"),
            "notice: HEAD points to an unborn branch (main)".to_owned(),
        ];
        for code in [CODE_OBJECT, CODE_PACK, CODE_OBJECT | CODE_PACK] {
            assert_eq!(damage(Some(code), &remarks.join("\n")), [] as [String; 0]);
        }
        assert_eq!(damage(Some(0), "anything"), [] as [String; 0]);
        for line in [
            format!("missing blob {ID}"),
            format!("broken link from  commit {ID}"),
            format!("error: {ID}: object corrupt or missing: .git/objects/ec/fe"),
            format!("error: hash mismatch for .git/objects/ec/fe (expected {ID})"),
            "error: inflate: data stream error (incorrect header check)".to_owned(),
            "error: .git/objects/pack/p.pack pack checksum mismatch".to_owned(),
            format!("error: HEAD: invalid sha1 pointer {ID}"),
            format!("error in commit {ID} badTimezone"),
            "error in commit x: badTimezone: y".to_owned(),
        ] {
            let said = format!("{}\n{line}", remarks.join("\n"));
            assert_eq!(damage(Some(1), &said), [format!("git fsck: {line}")]);
        }
        // Cut-off output, and none.
        for (code, said) in [
            (Some(3), remarks.join("\n")),
            (Some(1), String::new()),
            (None, remarks.join("\n")),
        ] {
            assert_eq!(damage(code, &said).len(), 1, "{code:?}");
        }
    }

    #[test]
    fn files_are_compared_with_bytes_kind_and_mode() {
        let keep = tempfile::tempdir().unwrap();
        let (wanted, found) = (keep.path().join("w"), keep.path().join("f"));
        for side in [&wanted, &found] {
            fs_err::create_dir_all(side.join("d")).unwrap();
            fs_err::write(side.join("d/a"), "text").unwrap();
            fs_err::os::unix::fs::symlink("a", side.join("l")).unwrap();
        }
        fs_err::write(found.join("more"), "").unwrap();
        let files = || compare(&wanted, &found, 9).unwrap();
        assert_eq!(files(), Some(2));
        fs_err::write(found.join("d/a"), "texT").unwrap();
        assert_eq!(files(), None);
        fs_err::write(found.join("d/a"), "text").unwrap();
        fs_err::set_permissions(found.join("d/a"), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(files(), None);
        fs_err::remove_file(found.join("d/a")).unwrap();
        assert_eq!(files(), None);
        fs_err::os::unix::fs::symlink("../w/d/a", found.join("d/a")).unwrap();
        assert_eq!(files(), None);
    }
}
