//! Promise: no program that somebody wrote into a repository on the target is run.
//!
//! Every way in which Git takes orders from a repository's own files is planted into a clone at its place and beside it, with
//! a program that leaves a mark. As the control, plain Git is seen to run each of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/attack.rs"]
mod attack;
#[path = "shared/clone.rs"]
mod clone;

use attack::*;
use camino::Utf8Path;
use clone::{Place, branch, git};
use std::process::Command;

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each way to give Git orders")]
fn no_program_named_in_a_clones_own_files_is_run() {
    let Some(place) = Place::new() else { return };
    let repository = place.here(branch("trunk"));
    let action = place.action(repository.clone(), place.resolve(&repository).unwrap());
    let clean = in_config(&[("filter.x.clean", "PROGRAM")]);
    let process = in_config(&[("filter.x.process", "PROGRAM"), ("filter.x.required", "true")]);
    let smudge = in_config(&[("filter.x.smudge", "PROGRAM")]);
    let textconv = in_config(&[("diff.x.textconv", "PROGRAM")]);
    let attacks: &[Attack<'_>] = &[
        (
            "core.fsmonitor",
            &in_config(&[("core.fsmonitor", "PROGRAM")]),
            STATUS,
        ),
        (
            "filter clean",
            &|scene| {
                clean(scene);
                scene.put(".git/info/attributes", "* filter=x\n");
                scene.touch("flake.nix");
            },
            STATUS,
        ),
        (
            "filter process",
            &|scene| {
                process(scene);
                scene.put(".git/info/attributes", "* filter=x\n");
                scene.touch("flake.nix");
            },
            STATUS,
        ),
        (
            "filter smudge",
            &|scene| {
                smudge(scene);
                scene.put(".git/info/attributes", "* filter=x\n");
            },
            SWITCH,
        ),
        (
            "attributes elsewhere",
            &|scene| {
                clean(scene);
                let file = scene.own.join("attributes");
                fs_err::write(&file, "* filter=x\n").unwrap();
                scene.set("core.attributesFile", file.as_str());
                scene.touch("flake.nix");
            },
            STATUS,
        ),
        (
            "core.hooksPath",
            &|scene| {
                scene.hook("../own/hooks", "post-checkout");
                scene.set("core.hooksPath", scene.own.join("hooks").as_str());
            },
            SWITCH,
        ),
        (
            "post-checkout",
            &|scene| scene.hook(".git/hooks", "post-checkout"),
            SWITCH,
        ),
        (
            "reference-transaction",
            &|scene| scene.hook(".git/hooks", "reference-transaction"),
            &[&["update-ref", "refs/heads/more", "HEAD"]],
        ),
        (
            "post-index-change",
            &|scene| scene.hook(".git/hooks", "post-index-change"),
            &[&["reset", "-q", "--hard", "HEAD~1"]],
        ),
        (
            "pre-auto-gc",
            &|scene| {
                scene.hook(".git/hooks", "pre-auto-gc");
                // A second pack.
                plain(scene.clone, &["commit", "-q", "--allow-empty", "-m", "x"]);
                plain(scene.clone, &["repack", "-q"]);
                scene.set("gc.autoPackLimit", "1");
            },
            &[&["gc", "--auto"]],
        ),
        (
            "diff.external",
            &|scene| {
                scene.set("diff.external", scene.program.as_str());
                scene.put("flake.nix", "changed");
            },
            &[&["diff"]],
        ),
        (
            "textconv",
            &|scene| {
                textconv(scene);
                scene.put(".git/info/attributes", "* diff=x\n");
                scene.put("flake.nix", "changed");
            },
            &[&["diff"]],
        ),
        (
            "core.editor",
            &in_config(&[("core.editor", "PROGRAM")]),
            &[&["commit", "--allow-empty"]],
        ),
        (
            "gpg.program",
            &in_config(&[("gpg.program", "PROGRAM")]),
            &[&["commit", "-S", "--allow-empty", "-m", "x"]],
        ),
        ("an alias", &in_config(&[("alias.x", "!PROGRAM")]), &[&["x"]]),
        (
            "include.path",
            &|scene| {
                let file = scene.own.join("included");
                fs_err::write(&file, format!("[core]\n\tfsmonitor = {}\n", scene.program)).unwrap();
                scene.set("include.path", file.as_str());
            },
            STATUS,
        ),
        (
            "includeIf",
            &|scene| {
                let file = scene.own.join("included");
                fs_err::write(&file, format!("[core]\n\tfsmonitor = {}\n", scene.program)).unwrap();
                scene.set("includeIf.gitdir:**.path", file.as_str());
            },
            STATUS,
        ),
        (
            "a configuration of one line",
            &|scene| {
                let config = fs_err::read_to_string(scene.clone.join(".git/config")).unwrap();
                scene.put(
                    ".git/config",
                    &format!("{config}[CORE] FsMonitor = \"{}\" # x", scene.program),
                );
            },
            STATUS,
        ),
        (
            "config.worktree",
            &|scene| {
                scene.set("core.repositoryformatversion", "1");
                scene.set("extensions.worktreeConfig", "true");
                scene.put(
                    ".git/config.worktree",
                    &format!("[core]\n\tfsmonitor = {}\n", scene.program),
                );
            },
            STATUS,
        ),
        (
            "core.sshCommand",
            &|scene| {
                scene.set("core.sshCommand", scene.program.as_str());
                scene.set("remote.origin.url", "ssh://git@127.0.0.1/x");
            },
            FETCH,
        ),
        (
            "core.gitProxy",
            &|scene| {
                scene.set("core.gitProxy", scene.program.as_str());
                scene.set("remote.origin.url", "git://127.0.0.1/x");
            },
            FETCH,
        ),
        (
            "insteadOf",
            &|scene| {
                scene.set("protocol.ext.allow", "always");
                scene.set(&format!("url.ext::{} .insteadOf", scene.program), "file://");
            },
            FETCH,
        ),
        (
            "remote.origin.url ext::",
            &|scene| {
                scene.set("protocol.ext.allow", "always");
                scene.set("remote.origin.url", &format!("ext::{} x", scene.program));
            },
            FETCH,
        ),
        (
            "remote.origin.uploadpack",
            &in_config(&[("remote.origin.uploadpack", "PROGRAM")]),
            FETCH,
        ),
        (
            "core.askPass",
            &|scene| {
                scene.set("core.askPass", scene.program.as_str());
                scene.set("credential.interactive", "true");
            },
            ASK,
        ),
        (
            "credential.helper",
            &in_config(&[("credential.helper", "!PROGRAM")]),
            ASK,
        ),
        (
            "a promisor remote",
            &|scene| {
                for (key, value) in [
                    ("core.repositoryformatversion", "1"),
                    ("extensions.partialClone", "evil"),
                    ("remote.evil.promisor", "true"),
                    ("protocol.ext.allow", "always"),
                    ("remote.evil.url", &format!("ext::{} x", scene.program)),
                ] {
                    scene.set(key, value);
                }
            },
            &[&["cat-file", "-e", "1111111111111111111111111111111111111111"]],
        ),
        (
            "core.alternateRefsCommand",
            &|scene| {
                copy(&scene.clone.join(".git"), &scene.own.join("elsewhere.git"));
                scene.put(
                    ".git/objects/info/alternates",
                    &format!("{}/elsewhere.git/objects\n", scene.own),
                );
                scene.set("core.alternateRefsCommand", scene.program.as_str());
            },
            &[&[
                "-c",
                "fetch.negotiationAlgorithm=consecutive",
                "fetch",
                "origin",
                "dev:dev-again",
            ]],
        ),
        (
            "a .git that is a file",
            &|scene| {
                let to = scene.elsewhere();
                fs_err::remove_dir_all(scene.clone.join(".git")).unwrap();
                scene.put(".git", &format!("gitdir: {to}\n"));
            },
            STATUS,
        ),
        (
            "a .git that is a link",
            &|scene| {
                let to = scene.elsewhere();
                fs_err::remove_dir_all(scene.clone.join(".git")).unwrap();
                fs_err::os::unix::fs::symlink(to, scene.clone.join(".git")).unwrap();
            },
            STATUS,
        ),
        (
            "commondir",
            &|scene| {
                let to = scene.elsewhere();
                scene.put(".git/commondir", &format!("{to}\n"));
            },
            STATUS,
        ),
        (
            "a linked configuration",
            &|scene| {
                let to = scene.elsewhere();
                fs_err::remove_file(scene.clone.join(".git/config")).unwrap();
                fs_err::os::unix::fs::symlink(to.join("config"), scene.clone.join(".git/config")).unwrap();
            },
            STATUS,
        ),
    ];
    attacked(&place, &action, attacks);
}

/// Git takes a repository in the folder where it is started for its own, and files in the home of whoever starts it.
#[test]
fn neither_the_folder_nor_the_home_of_the_caller_gives_orders() {
    let Some(mut place) = Place::new() else { return };
    let (own, program, mark) = armed(&place);
    let template = own.join("template/hooks");
    fs_err::create_dir_all(&template).unwrap();
    fs_err::copy(&program, template.join("post-checkout")).unwrap();
    fs_err::copy(&program, template.join("reference-transaction")).unwrap();
    let settings = format!(
        "[init]\n\ttemplateDir = {own}/template\n[core]\n\tfsmonitor = {program}\n[url \"ext::{program} \"]\n\tinsteadOf = file://\n\
         [protocol \"ext\"]\n\tallow = always\n"
    );
    let home = own.join("home");
    fs_err::create_dir_all(home.join(".config/git")).unwrap();
    fs_err::write(home.join(".gitconfig"), &settings).unwrap();
    fs_err::write(home.join(".config/git/config"), &settings).unwrap();
    let url = format!("file://{}", place.origin());
    let plain_in = |dir: &Utf8Path, home: &Utf8Path| {
        Command::new("git")
            .args(["ls-remote", &url])
            .current_dir(dir)
            .env("HOME", home)
            .output()
            .unwrap();
        std::mem::take(&mut fs_err::read_to_string(&mark).unwrap_or_default()).contains("ran")
    };
    assert!(plain_in(&place.dir, &home), "the control: a home gives orders");
    fs_err::remove_file(&mark).unwrap();
    let here = own.join("here");
    fs_err::create_dir_all(&here).unwrap();
    git(&here, &["init", "-q"]);
    let config = fs_err::read_to_string(here.join(".git/config")).unwrap();
    fs_err::write(here.join(".git/config"), config + &settings).unwrap();
    assert!(plain_in(&here, &place.dir), "the control: a folder gives orders");
    fs_err::remove_file(&mark).unwrap();

    // No other test of this file depends on where it is.
    std::env::set_current_dir(&here).unwrap();
    place.context.env.push(("HOME".into(), home.to_string()));
    place
        .context
        .env
        .push(("XDG_CONFIG_HOME".into(), home.join(".config").to_string()));
    let repository = place.here(branch("trunk"));
    let action = place.action(repository.clone(), place.resolve(&repository).unwrap());
    place.clone(&action).unwrap();
    std::env::set_current_dir("/").unwrap();
    assert!(!mark.exists());
    assert!(!place.path().join(".git/hooks").exists(), "no template is copied");
}
