//! Promise: a repository that Git clones without a word is cloned whole, whatever `git fsck` and `git status` remark on its history
//! and its attributes. With real Git.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/clone.rs"]
mod clone;

use clone::Place;
use landfall_states::plan::Reference;
use landfall_states::{Step, Verdict};
use std::process::Command;

/// What Git itself clones without a word is cloned, whatever `git fsck` and `git status` remark on it.
#[test]
fn histories_and_attributes_of_real_repositories_are_no_damage() {
    let author = |line: &str| {
        format!(
            "T=$(git write-tree); P=$(git rev-parse HEAD); C=$(printf 'tree %s\\nparent %s\\nauthor {line}\\ncommitter a <a@b> 1300000000 +0000\\n\\nold\\n' \
             $T $P | git hash-object -t commit -w --stdin --literally); git reset -q --hard $C; git commit -q --allow-empty -m new"
        )
    };
    let rewritten = |attribute: &str, text: &str| {
        format!(
            "printf '{text}' > f.txt; mkdir 'a b'; printf '{text}' > \"$(printf 'a b/\\303\\244\\377')\"; git add -A; git commit -qm 1; \
             printf '* {attribute}\\n' > .gitattributes; git add .gitattributes; git commit -qm 2"
        )
    };
    for (name, setup) in [
        ("a time zone of six digits", author("a <a@b> 1300000000 +051800")),
        ("no address", author("a 1300000000 +0000")),
        ("no space before the address", author("a<a@b> 1300000000 +0000")),
        ("an expanded Id", rewritten("ident", "$Id: 1234$\\n")),
        ("carriage returns", rewritten("text=auto", "a\\r\\nb\\r\\n")),
        (
            "carriage returns wanted",
            rewritten("text eol=crlf", "a\\r\\nb\\r\\n"),
        ),
    ] {
        let Some(place) = Place::new() else { return };
        let done = Command::new("sh")
            .current_dir(place.origin())
            .args(["-ec", &setup])
            .envs([
                ("GIT_AUTHOR_NAME", "t"),
                ("GIT_AUTHOR_EMAIL", "t@example.invalid"),
                ("GIT_COMMITTER_NAME", "t"),
                ("GIT_COMMITTER_EMAIL", "t@example.invalid"),
            ])
            .status()
            .unwrap();
        assert!(done.success(), "{name}");
        let repository = place.here(Reference::Default);
        let revision = place.resolve(&repository).unwrap();
        let action = place.action(repository, revision);
        place
            .clone(&action)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        // A byte that differs is one, there as well.
        let flake = place.path().join("flake.nix");
        let text = fs_err::read(&flake).unwrap();
        fs_err::write(&flake, [&text[..], b"#"].concat()).unwrap();
        assert!(
            matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Todo(_)),
            "{name}"
        );
        if place.path().join("f.txt").exists() {
            fs_err::write(&flake, &text).unwrap();
            assert!(
                matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Done(_)),
                "{name}"
            );
            fs_err::write(place.path().join("f.txt"), "other").unwrap();
            assert!(
                matches!(action.judge(&place.sight(&action).unwrap()), Verdict::Todo(_)),
                "{name}"
            );
        }
    }
}
