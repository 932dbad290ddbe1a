//! Who runs Git.
//!
//! One function makes every Git (`real::git`), with only our own settings (except in the operator's own repository, where
//! `hosts::programs` runs the operator's Git). Only the files named here run one in a repository, and each of them has looked
//! at it without Git before (`git::guard`), or has made it itself, outside the target.
//!
//! `tests/clone_attacked.rs` shows what is looked at.

use super::{assert_tidy, code, rust};

/// The files that run a Git in a repository, and why they may.
const MAY: [(&str, &str); 11] = [
    ("src/real/git/command.rs", "it is the one way"),
    ("src/real/git/clone.rs", "what it makes, or has looked at"),
    (
        "src/real/git/soundness.rs",
        "asked by clone and repository, which have looked",
    ),
    ("src/real/git/work.rs", "asked by clone, which has looked"),
    ("src/real/git/lfs.rs", "asked by clone, which has made it"),
    (
        "src/real/git/repository.rs",
        "has looked; and a scratch repository of its own",
    ),
    (
        "src/real/git/source.rs",
        "a scratch repository of its own, or a clone that repository.rs has looked at",
    ),
    ("src/real/git/pin.rs", "a scratch repository of its own"),
    ("src/real/git/foreseen.rs", "a scratch repository of its own"),
    (
        "src/hosts/programs.rs",
        "the operator's own repository, with the operator's own settings, as the operator runs it",
    ),
    // Nix runs it there.
    ("src/real/nix/evaluation.rs", "vetted right before"),
];

fn git(name: &str, text: &str) -> Vec<String> {
    let code: String = code(text).split_whitespace().collect();
    // The stand-ins of the simulation and the texts of people's commands run nothing.
    let (before, _) = code.split_once("#[cfg(test)]modtests{").unwrap_or((&code, ""));
    let mut complaints = vec![];
    let may = MAY.iter().any(|(file, _)| *file == name);
    if !["src/real/git/command.rs", "src/hosts/programs.rs"].contains(&name)
        && [
            "Program::new(\"git",
            "Program::new(GIT",
            "\"/git\"",
            "bin/git\"",
            "[\"git\"",
            "(\"git\",&",
        ]
        .iter()
        .any(|call| before.contains(call))
    {
        complaints.push("makes a Git of its own; Access::git does".to_owned());
    }
    if !may
        && [".git(Some(", ".remote(Some(", "git::local(", "\"git+file:"]
            .iter()
            .any(|call| before.contains(call))
    {
        complaints
            .push("runs a Git in a repository, and is none of the files that look at it before".to_owned());
    }
    complaints
}

#[test]
fn git_is_run_where_somebody_has_looked() {
    let files: Vec<_> = rust(&["src", "states"])
        .into_iter()
        .filter(|(name, _)| {
            ["src/real/", "src/hosts/", "src/cli/"]
                .iter()
                .any(|room| name.starts_with(room))
        })
        // It asks Nix whether it knows a kind of source, of a repository that cannot be there.
        .filter(|(name, _)| name != "src/real/preflight.rs")
        .filter(|(name, _)| !name.ends_with("_tests.rs"))
        .collect();
    assert_tidy(&files, git);
    // What landing did before: it ran what the clone's own settings named.
    let was =
        "let ended = Program::new(\"git\")\n    .args([\"-c\", \"safe.directory=*\", \"-C\", path.as_str()])";
    assert_eq!(git("src/real/fs/receipt.rs", was).len(), 1);
    assert_eq!(
        git("src/real/fs/receipt.rs", "access.git(Some(path)).args(x)").len(),
        1
    );
    assert_eq!(
        git("src/real/fs/receipt.rs", "git::local(context, access, path, x)").len(),
        1
    );
    assert_eq!(
        git(
            "src/real/mount/hooks.rs",
            "Program::new(\"nix\").arg(\"git+file:///mnt/x\")"
        )
        .len(),
        1
    );
    assert_eq!(
        git("src/real/git/clone.rs", "access.git(Some(path))"),
        Vec::<String>::new()
    );
    assert_eq!(git("src/hosts/new.rs", "Program::new(\"git\")").len(), 1);
    for (file, _) in MAY {
        assert!(files.iter().any(|(name, _)| name == file), "{file} is gone");
    }
}
