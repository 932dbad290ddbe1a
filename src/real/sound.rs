//! Whether a repository is whole: every object is there and has the bytes that its name says, and the work tree is what Git makes of
//! the commit. Law: what Git remarks on the style of a whole object is no flaw: commits with a time zone or an author that Git would
//! not write today are in the history of many repositories, and a clone of them is as whole as any other.
//!
//! Absent: which commit it ought to be (`states::formatted`), making it (`repository`).

use crate::real::git::Access;
use crate::real::hands::Hands;
use crate::real::rooted;
use camino::Utf8Path;
use landfall_states::fault::Fault;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// So many flaws of a work tree are told.
const TOLD_MAX: usize = 20;
/// Folders of a work tree below each other; the kernel knows no longer path.
const DEPTH_MAX: usize = 2_048;
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

/// Whether every object that is needed is there, as far as that is seen without hashing.
pub async fn is_connected(hands: &Hands, access: &Access, dir: &Utf8Path) -> Result<bool, Fault> {
    if !dir.join(".git").exists() {
        return Ok(false);
    }
    let fsck = ["fsck", "--connectivity-only", "--no-dangling", "--no-progress"];
    let ended = hands.run(access.git(Some(dir)).args(fsck)).await?;
    Ok(damage(ended.code, &ended.said()).is_empty())
}

/// What is missing of a repository, or differs. A configuration repository is small: everything is hashed, always.
pub async fn flaws(hands: &Hands, access: &Access, path: &Utf8Path) -> Result<Vec<String>, Fault> {
    let fsck = ["fsck", "--full", "--no-dangling", "--no-progress"];
    let ended = hands.run(access.git(Some(path)).args(fsck)).await?;
    let mut flaws = damage(ended.code, &ended.said());
    let status = ["status", "--porcelain", "--untracked-files=no"];
    let status = hands.run(access.git(Some(path)).args(status)).await?;
    if !status.success() {
        flaws.push(format!("git status: {}", status.tail()));
        return Ok(flaws);
    }
    let lines: Vec<&str> = status.stdout.lines().collect();
    if lines.is_empty() || flaws.is_empty() && is_as_checked_out(hands, access, path, &lines).await? {
        return Ok(flaws);
    }
    flaws.extend(
        lines
            .iter()
            .take(TOLD_MAX)
            .map(|line| format!("git status: {line}")),
    );
    Ok(flaws)
}

/// Whether every file that `git status` calls modified is what Git writes when it checks the commit out. That differs from what
/// is committed where attributes rewrite files (`ident`, `text`, `eol`) and the commit holds a file that was not rewritten.
async fn is_as_checked_out(
    hands: &Hands,
    access: &Access,
    path: &Utf8Path,
    lines: &[&str],
) -> Result<bool, Fault> {
    // The index is as the commit, the file is not as the index.
    let Some(names) = lines
        .iter()
        .map(|line| line.strip_prefix(" M "))
        .collect::<Option<Vec<&str>>>()
    else {
        return Ok(false);
    };
    let fault = |e: io::Error| rooted::io_fault("directory for files of the repository", &e);
    let beside = tempfile::tempdir().map_err(fault)?;
    let mut list = tempfile::tempfile().map_err(fault)?;
    // As Git quotes them, so it reads them.
    list.write_all((names.join("\n") + "\n").as_bytes())
        .map_err(fault)?;
    list.rewind().map_err(fault)?;
    let prefix = format!("--prefix={}/", beside.path().display());
    let program = access
        .git(Some(path))
        .args(["checkout-index", "--force", "--stdin"])
        .arg(prefix)
        .stdin(list);
    if !hands.run(program).await?.success() {
        return Ok(false);
    }
    let same = compare(beside.path(), path.as_std_path(), DEPTH_MAX).map_err(fault)?;
    Ok(same == Some(names.len()))
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
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
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
