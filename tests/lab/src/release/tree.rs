//! Everything that is released is committed: nothing is changed, and no file is there that Git does not know.

use anyhow::Result;

use super::{Found, Tree};

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

/// The lines of `git status --porcelain`, as findings.
fn wrong(status: &str) -> Vec<String> {
    status
        .lines()
        .map(|line| {
            let what = if line.starts_with("??") {
                "is not known to Git"
            } else {
                "is changed"
            };
            let file = line.get(3..).unwrap_or(line);
            format!("{file} {what}: commit it, or remove it")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_or_unknown_is_named() {
        assert_eq!(wrong(""), Vec::<String>::new());
        let wrong = wrong(" M src/lib.rs\n?? notes.txt\n");
        assert_eq!(
            wrong,
            [
                "src/lib.rs is changed: commit it, or remove it",
                "notes.txt is not known to Git: commit it, or remove it"
            ]
        );
    }
}
