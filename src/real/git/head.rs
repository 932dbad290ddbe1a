//! Which commit is checked out in a clone on the target.
//!
//! The files of the repository are read, and Git does not run: its settings are those of whichever program wrote there last.
//! No link leads out of the target, and every file has a bound. What is not exactly in the form that Git writes
//! (gitrepository-layout(5), gitglossary(7)) gives no answer.
//!
//! `git::soundness` says whether the commit is there and the clone is complete.

use crate::real::fs::target_root::{self, Root};
use landfall_states::fault::Fault;
use landfall_states::names::{Revision, quoted};
use std::io::Read;

/// Longest reference, which is one line.
const REFERENCE_BYTES_MAX: u64 = 4_096;
/// Most packed references of a repository that are read.
const PACKED_BYTES_MAX: u64 = 64 << 20;
/// Longest chain of references that name references: Git follows no more (`SYMREF_MAXDEPTH`).
const DEPTH_MAX: usize = 5;

/// The commit that is checked out in the clone at `clone`, a path as the target names it; or why that cannot be said.
///
/// # Errors
/// A file cannot be read.
pub fn commit(root: &Root, clone: &str) -> Result<Result<Revision, String>, Fault> {
    let mut name = "HEAD".to_owned();
    for _ in 0..=DEPTH_MAX {
        let text = match read(root, &format!("{clone}/.git/{name}"), REFERENCE_BYTES_MAX)? {
            Some(text) => text,
            None if name == "HEAD" => {
                return Ok(Err(format!(
                    "{clone}/.git/HEAD is not a file, or it is too large"
                )));
            }
            None => {
                return Ok(packed(root, clone, &name)?
                    .ok_or_else(|| format!("HEAD names {}, which does not exist", quoted(&name))));
            }
        };
        match judged(&text) {
            Some(Named::Commit(revision)) => return Ok(Ok(revision)),
            Some(Named::Reference(next)) => name = next,
            None => return Ok(Err(format!("{} in .git is not a reference", quoted(&name)))),
        }
    }
    Ok(Err("its references form a loop".to_owned()))
}

/// A file's bytes; `None`: it is not there, is no regular file, or is longer.
fn read(root: &Root, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Fault> {
    let Some(file) = target_root::open_file(root, path)? else {
        return Ok(None);
    };
    let mut bytes = vec![];
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| target_root::io_fault(format!("{path} on the target"), &e))?;
    Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
}

/// What a file of a reference says.
enum Named {
    Commit(Revision),
    Reference(String),
}

fn judged(text: &[u8]) -> Option<Named> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix("ref:") {
        Some(name) => {
            let name = name.trim_matches([' ', '\t', '\n', '\r']);
            is_reference(name).then(|| Named::Reference(name.to_owned()))
        }
        None => text.trim_end().parse().ok().map(Named::Commit),
    }
}

/// Whether a name stays among the references.
fn is_reference(name: &str) -> bool {
    name.starts_with("refs/")
        && !name.chars().any(char::is_control)
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// What the packed references say of a name: `<id> <name>` a line; `#` begins the header, `^` what the tag before it names.
fn packed(root: &Root, clone: &str, name: &str) -> Result<Option<Revision>, Fault> {
    let text = read(root, &format!("{clone}/.git/packed-refs"), PACKED_BYTES_MAX)?.unwrap_or_default();
    Ok(text.split(|byte| *byte == b'\n').find_map(|line| {
        let (id, of) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        (of == name).then(|| id.parse().ok()).flatten()
    }))
}
