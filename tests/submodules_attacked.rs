//! Promise: no program that somebody wrote into a submodule's repository is run, nor one that a commit orders for a
//! submodule.
//!
//! As in tests/clone_attacked.rs, plain Git is seen to run each of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/attack.rs"]
mod attack;
#[path = "shared/clone.rs"]
mod clone;

use attack::*;
use clone::{Place, branch, git};
use landfall_states::fault::FaultClass;

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each way to give Git orders")]
fn no_program_named_in_a_submodules_files_is_run() {
    let Some(mut place) = Place::new() else { return };
    place.with_submodule();
    let repository = place.here(branch("trunk"));
    let action = place.action(repository.clone(), place.resolve(&repository).unwrap());
    let update: &[&[&str]] = &[&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "update",
        "--force",
    ]];
    let module = |scene: &Scene<'_>, key: &str, value: &str| {
        set_in(&scene.clone.join(".git/modules/sub/config"), key, value);
    };
    let attacks: &[Attack<'_>] = &[
        (
            "submodule update = !",
            &in_config(&[("submodule.sub.update", "!PROGRAM")]),
            update,
        ),
        (
            "a submodule's core.fsmonitor",
            &|scene| {
                module(scene, "core.fsmonitor", scene.program.as_str());
            },
            STATUS,
        ),
        (
            "a submodule's hook",
            &|scene| {
                scene.hook(".git/modules/sub/hooks", "post-checkout");
            },
            update,
        ),
        (
            "a submodule's include",
            &|scene| {
                let file = scene.own.join("included");
                fs_err::write(&file, format!("[core]\n\tfsmonitor = {}\n", scene.program)).unwrap();
                module(scene, "include.path", file.as_str());
            },
            STATUS,
        ),
        (
            "a submodule whose .git leads elsewhere",
            &|scene| {
                let to = scene.own.join("elsewhere.git");
                copy(&scene.clone.join(".git/modules/sub"), &to);
                let worktree = scene.clone.join("sub");
                for (key, value) in [("core.fsmonitor", scene.program), ("core.worktree", &worktree)] {
                    set_in(&to.join("config"), key, value.as_str());
                }
                scene.put("sub/.git", &format!("gitdir: {to}\n"));
            },
            &[&["-C", "sub", "status"]],
        ),
        (
            "a submodule whose .git is a repository",
            &|scene| {
                fs_err::remove_file(scene.clone.join("sub/.git")).unwrap();
                copy(
                    &scene.clone.join(".git/modules/sub"),
                    &scene.clone.join("sub/.git"),
                );
                let config = scene.clone.join("sub/.git/config");
                git(
                    "/".into(),
                    &["config", "--file", config.as_str(), "--unset", "core.worktree"],
                );
                set_in(&config, "core.fsmonitor", scene.program.as_str());
            },
            STATUS,
        ),
        (
            "a submodule's .git among its objects",
            &|scene| {
                let to = scene.clone.join(".git/modules/sub/objects/in");
                copy(
                    &scene.clone.join(".git/modules/sub"),
                    &scene.own.join("elsewhere.git"),
                );
                copy(&scene.own.join("elsewhere.git"), &to);
                for (key, value) in [
                    ("core.fsmonitor", scene.program.as_str()),
                    ("core.worktree", "../../../../../sub"),
                ] {
                    set_in(&to.join("config"), key, value);
                }
                scene.put("sub/.git", "gitdir: ../.git/modules/sub/objects/in\n");
            },
            &[&["-C", "sub", "status"]],
        ),
    ];
    attacked(&place, &action, attacks);
}

/// What is committed is the operator's, and may not make Git run a program all the same.
#[test]
fn a_commit_that_orders_a_program_for_a_submodule_is_refused_by_name() {
    let Some(mut place) = Place::new() else { return };
    place.with_submodule();
    let (_, program, mark) = armed(&place);
    for (key, value) in [
        ("submodule.sub.update", format!("!{program}")),
        ("submodule.sub.url", format!("ext::{program} x")),
        ("submodule.sub.url", format!("--upload-pack={program}")),
    ] {
        let modules = place.origin().join(".gitmodules");
        let former = fs_err::read(&modules).unwrap();
        git(&place.origin(), &["config", "--file", ".gitmodules", key, &value]);
        git(&place.origin(), &["commit", "-q", "-am", "hostile"]);
        let repository = place.here(branch("trunk"));
        let action = place.action(repository.clone(), place.resolve(&repository).unwrap());
        let fault = place.clone(&action).unwrap_err();
        assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
        assert!(
            fault.why().contains(key) && fault.why().contains(program.as_str()),
            "{fault}"
        );
        assert!(!mark.exists(), "{key} {value}");
        fs_err::write(&modules, former).unwrap();
        git(&place.origin(), &["commit", "-q", "-am", "mended"]);
    }
    // The control: with its own protection off, Git runs such an address.
    let clone = place.dir.join("plain");
    git(
        &place.origin(),
        &[
            "config",
            "--file",
            ".gitmodules",
            "submodule.sub.url",
            &format!("ext::{program} x"),
        ],
    );
    git(&place.origin(), &["commit", "-q", "-am", "hostile"]);
    plain(
        &place.dir,
        &[
            "-c",
            "protocol.ext.allow=always",
            "clone",
            "-q",
            "--recurse-submodules",
            "origin",
            clone.as_str(),
        ],
    );
    assert!(mark.exists());
}
