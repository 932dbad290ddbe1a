//! Files of Git LFS: what a clone has in the place of large files.
//!
//! A pointer is exactly what git-lfs writes (its `docs/spec.md`): a file of less than 1,024 bytes whose first line names the
//! version, with the digest and size of an object. A file that only mentions a pointer is not one. The files are not fetched:
//! the system is built without them, and a notice says so.

use crate::real::fs::target_root;
use crate::real::git::command::Access;
use crate::real::process::context::CommandContext;
use crate::safe_open::{self, Links};
use camino::Utf8Path;
use landfall_states::fault::Fault;
use std::io::Read;

/// Longest pointer of Git LFS.
const POINTER_BYTES_MAX: u64 = 1_024;
/// Most files that are looked at for pointers of Git LFS.
const CANDIDATES_MAX: usize = 10_000;
/// Most pointers of Git LFS that are named.
const NAMED_MAX: usize = 5;
/// The values of the first line: of the present version, and of two from before it was released.
const VERSIONS: [&str; 3] = [
    "https://git-lfs.github.com/spec/v1",
    "https://hawser.github.com/spec/v1",
    "http://git-media.io/v/2",
];

/// Whether a file's bytes are a pointer.
fn is_pointer(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if bytes.len() as u64 >= POINTER_BYTES_MAX {
        return false;
    }
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("version "));
    if !version.is_some_and(|version| VERSIONS.contains(&version)) {
        return false;
    }
    let (mut digest, mut size) = (false, false);
    for line in lines {
        match line.split_once(' ') {
            Some(("oid", id)) => {
                digest = id.strip_prefix("sha256:").is_some_and(|id| {
                    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                });
            }
            Some(("size", bytes)) => size = bytes.parse::<u64>().is_ok(),
            // `ext-0-name sha256:…`
            Some((key, _)) if key.starts_with("ext-") => {}
            Some(_) | None => return false,
        }
    }
    digest && size
}

/// Tells of the pointers among the files of a clone's commit.
///
/// # Errors
/// Git cannot be run; a file cannot be read.
pub async fn tell(
    context: &CommandContext,
    access: &Access,
    clone: &Utf8Path,
    place: &Utf8Path,
) -> Result<(), Fault> {
    let pointers = pointers(context, access, clone).await?;
    let named = pointers.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
    if named.is_empty() {
        return Ok(());
    }
    let more = match pointers.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    context.reporter.notice(format!(
        "{} file(s) of the configuration are Git LFS pointers, not the files themselves: {}{more}. landfall does not fetch the files, so builds use the pointers. Either put the files into the repository (git lfs migrate export --everything --include=PATH), or fetch them after the first boot: git -C {place} lfs pull",
        pointers.len(),
        named.join(", "),
    ));
    Ok(())
}

/// Their paths, sorted as Git sorts them.
async fn pointers(context: &CommandContext, access: &Access, clone: &Utf8Path) -> Result<Vec<String>, Fault> {
    let looking = access.git(Some(clone)).args([
        "grep",
        "-l",
        "-z",
        "-E",
        "-e",
        r"^version https?://(git-lfs\.github\.com|hawser\.github\.com|git-media\.io)/",
        "HEAD",
        "--",
    ]);
    // It ends with 1 where nothing is found.
    let found = context.run(looking).await?;
    let mut pointers = Vec::new();
    for path in found
        .stdout
        .split('\0')
        .filter_map(|name| name.strip_prefix("HEAD:"))
        .take(CANDIDATES_MAX)
    {
        let file = clone.join(path);
        let fault = |e: &std::io::Error| target_root::io_fault(file.as_str(), e);
        let Ok(there) = fs_err::symlink_metadata(&file) else {
            // Its name is no text, or it is not checked out.
            continue;
        };
        if !there.is_file() || there.len() >= POINTER_BYTES_MAX {
            continue;
        }
        let mut bytes = Vec::new();
        safe_open::open(&file, Links::Refuse)
            .map_err(|refused| refused.into_io(&file))
            .and_then(|open| open.take(POINTER_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|e| fault(&e))?;
        if is_pointer(&bytes) {
            pointers.push(path.to_owned());
        }
    }
    Ok(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As git-lfs 3.3.0 wrote it (`git lfs pointer --file=…` for 5,000 zeros, and `git add` of the same file).
    const REAL: &str = "version https://git-lfs.github.com/spec/v1\n\
                        oid sha256:7ca5bd879f393d9dd05b14f38add9c0fc6b67928f7f2d261b2e47a32ee8219e3\nsize 5000\n";

    #[test]
    fn a_pointer_is_what_git_lfs_writes_and_nothing_that_speaks_of_it() {
        let extended = REAL.replace("\noid", "\next-0-foo sha256:x\noid");
        for good in [
            REAL.to_owned(),
            extended,
            REAL.replace('\n', "\r\n"),
            REAL.replace("git-lfs", "hawser"),
        ] {
            assert!(is_pointer(good.as_bytes()), "{good}");
        }
        for other in [
            String::new(),
            format!("# A pointer looks so:\n{REAL}"),
            format!("{REAL}This is what a pointer looks like.\n"),
            REAL.replace("spec/v1", "spec/v2"),
            REAL.replace("sha256:7", "sha256:"),
            REAL.replace("5000", "many"),
            REAL.lines().take(2).collect::<Vec<_>>().join("\n"),
            format!("{REAL}ext-0-x {}\n", "y".repeat(1_024)),
        ] {
            assert!(!is_pointer(other.as_bytes()), "{other}");
        }
        assert!(!is_pointer(&[REAL.as_bytes(), b"ext-0-x \xFF\n"].concat()));
    }
}
