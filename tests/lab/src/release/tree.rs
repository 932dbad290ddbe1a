//! Everything that is released is committed: nothing is changed, and no file is there that Git does not know.

use anyhow::Result;

use super::{Found, Tree};

/// Most files that are named.
const NAMED_MAX: usize = 10;

/// Looks at `git status`.
pub(super) fn check(tree: &Tree) -> Result<Found> {
    let status = tree
        .git(&["status", "--porcelain", "--untracked-files=all"])
        .run()?
        .text();
    let commit = tree.git(&["rev-parse", "HEAD"]).run()?.text();
    Ok(Found::of(wrong(&status), || {
        format!("nothing is changed since {commit}")
    }))
}

/// The lines of `git status --porcelain`, as findings: of many the first, and how many more there are.
fn wrong(status: &str) -> Vec<String> {
    let more = status.lines().count().saturating_sub(NAMED_MAX);
    let more =
        (more > 0).then(|| format!("{more} more files are changed or not known: git status names them"));
    status
        .lines()
        .take(NAMED_MAX)
        .map(|line| {
            let what = if line.starts_with("??") {
                "is not known to Git"
            } else {
                "is changed"
            };
            let file = line.get(3..).unwrap_or(line);
            format!("{file} {what}: commit it, or remove it")
        })
        .chain(more)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_or_unknown_is_named() {
        assert_eq!(wrong(""), Vec::<String>::new());
        let many = " M a\n".repeat(NAMED_MAX + 3);
        assert_eq!(wrong(&many).len(), NAMED_MAX + 1);
        assert!(wrong(&many)[NAMED_MAX].starts_with("3 more files"));
        assert_eq!(
            wrong(" M src/lib.rs\n?? notes.txt\n"),
            [
                "src/lib.rs is changed: commit it, or remove it",
                "notes.txt is not known to Git: commit it, or remove it"
            ]
        );
    }
}
