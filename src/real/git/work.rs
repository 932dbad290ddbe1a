//! Decides whether somebody worked in a clone that is about to be replaced.
//!
//! In doubt there is work in it. What a power cut makes of a file (missing, empty, a part, zeros) is not work.
//!
//! `git::soundness` says whether the clone is complete, and `git::clone` replaces it.

use crate::real::fs::target_root;
use crate::real::git::command::Access;
use crate::real::git::soundness::WorkTree;
use crate::real::process::context::CommandContext;
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Fault, PlaceFault};
use landfall_states::names::Revision;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Most names that are tried to keep a person's work.
const NAMES_MAX: u32 = 1_000;
/// Deepest folder of a work tree that is searched for a person's work.
const DEPTH_MAX: usize = 2_048;
/// Largest changed file whose bytes are compared; a larger one counts as a person's work.
const COMPARED_BYTES_MAX: u64 = 64 << 20;

/// A name beside a clone under which nothing is yet.
///
/// # Errors
/// The target cannot be read, or all names are taken.
pub fn place_beside(path: &Utf8Path) -> Result<Utf8PathBuf, Fault> {
    for number in 1..=NAMES_MAX {
        let aside = Utf8PathBuf::from(format!("{path}.landfall-aside-{number}"));
        match fs_err::symlink_metadata(&aside) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(aside),
            Err(e) => return Err(target_root::io_fault(aside.as_str(), &e)),
            Ok(_) => {}
        }
    }
    Err(PlaceFault::FileType {
        path: format!("{path}.landfall-aside-{NAMES_MAX}"),
        expected: "absent".into(),
    }
    .into())
}

/// What work of somebody's is in the clone at `path`, for people; `new` is whole, and of `revision`, and the clone was made of
/// `made_of`.
///
/// # Errors
/// Git fails, or the target cannot be read.
pub async fn of_somebody(
    context: &CommandContext,
    access: &Access,
    path: &Utf8Path,
    new: &Utf8Path,
    revision: &Revision,
    made_of: Option<&Revision>,
) -> Result<Option<String>, Fault> {
    let said = async |args: &[&str]| -> Result<Option<String>, Fault> {
        let ended = context
            .run(access.git(Some(path)).args(args.iter().copied()))
            .await?;
        Ok(ended.success().then(|| ended.stdout.trim().to_owned()))
    };
    // What the clone was made of: it may be on no branch that was fetched, and nobody made it here.
    let known: Vec<String> = [Some(revision), made_of]
        .into_iter()
        .flatten()
        .map(|known| format!("^{known}"))
        .collect();
    // What Git cannot say of a damaged clone is skipped: its files are compared all the same.
    let commits = [
        "rev-list",
        "--ignore-missing",
        "--max-count=1",
        "HEAD",
        "--branches",
        "--not",
        "--remotes",
        "--tags",
        "--not",
    ];
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let commits = said(&[&commits[..], &known].concat()).await?;
    if commits.is_some_and(|found| !found.is_empty()) {
        return Ok(Some("a commit that the remote does not have".into()));
    }
    if said(&["rev-parse", "-q", "--verify", "refs/stash"])
        .await?
        .is_some()
    {
        return Ok(Some("a stash".into()));
    }
    let fault = |e: io::Error| target_root::io_fault(path.as_str(), &e);
    let head = said(&["rev-parse", "-q", "--verify", "HEAD^{commit}"]).await?;
    if head.is_none_or(|head| head == revision.as_str()) {
        return changed(path.as_std_path(), new.as_std_path(), DEPTH_MAX, true).map_err(fault);
    }
    // Of another revision: its own files are what it is compared with.
    let tree = WorkTree::read(context, access, path, &mut vec![]).await?;
    let written = match &tree {
        Some(tree) => tree.written(context, access).await?,
        None => None,
    };
    match written {
        Some(files) => changed(path.as_std_path(), &files, DEPTH_MAX, false).map_err(fault),
        None => Ok(Some("Git cannot list its changes".into())),
    }
}

/// The first file below `found` that somebody added or changed, compared with `wanted`. Submodules are looked into where `wanted`
/// has their files.
fn changed(found: &Path, wanted: &Path, depth: usize, submodules: bool) -> io::Result<Option<String>> {
    for entry in fs_err::read_dir(found)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == ".git" {
            continue;
        }
        let (found, wanted) = (found.join(&name), wanted.join(&name));
        let told = || Some(name.to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            let skipped = !submodules && found.join(".git").exists();
            if depth == 0 {
                return Ok(told());
            }
            if !skipped && let Some(below) = changed(&found, &wanted, depth - 1, submodules)? {
                return Ok(Some(format!("{}/{below}", name.to_string_lossy())));
            }
        } else if is_work(&found, &wanted)? {
            return Ok(told());
        }
    }
    Ok(None)
}

fn is_work(found: &Path, wanted: &Path) -> io::Result<bool> {
    let one = fs_err::symlink_metadata(found)?;
    let other = match fs_err::symlink_metadata(wanted) {
        Ok(other) => other,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(true),
        Err(e) => return Err(e),
    };
    if one.is_symlink() && other.is_symlink() {
        return Ok(fs_err::read_link(found)? != fs_err::read_link(wanted)?);
    }
    if !one.is_file() || !other.is_file() || one.len().max(other.len()) > COMPARED_BYTES_MAX {
        return Ok(one.is_symlink() || other.is_symlink() || one.len() != other.len());
    }
    let (found, wanted) = (fs_err::read(found)?, fs_err::read(wanted)?);
    Ok(found
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte != 0 && wanted.get(at) != Some(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_power_cut_makes_of_a_file_is_no_work_and_everything_else_is() {
        let keep = tempfile::tempdir().unwrap();
        let (found, wanted) = (keep.path().join("f"), keep.path().join("w"));
        fs_err::write(&wanted, "text of it").unwrap();
        for (bytes, work) in [
            (&b"text of it"[..], false),
            (b"", false),
            (b"text", false),
            (b"\0\0\0\0 of it", false),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", false),
            (b"text of me", true),
            (b"text of it, and more", true),
            (b"Text of it", true),
        ] {
            fs_err::write(&found, bytes).unwrap();
            assert_eq!(is_work(&found, &wanted).unwrap(), work, "{bytes:?}");
        }
        assert!(is_work(&found, &keep.path().join("none")).unwrap());
        fs_err::remove_file(&found).unwrap();
        fs_err::os::unix::fs::symlink("f", &found).unwrap();
        assert!(is_work(&found, &wanted).unwrap());
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over() {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().join("clone")).unwrap();
        let name = |number: u32| format!("{path}.landfall-aside-{number}");
        assert_eq!(place_beside(&path).unwrap(), name(1));
        fs_err::os::unix::fs::symlink("nowhere", name(1)).unwrap();
        assert_eq!(place_beside(&path).unwrap(), name(2));
    }
}
