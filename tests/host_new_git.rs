//! Promise: if `landfall host new` cannot see a file because Git hides it, it reports that with the reason, and the printed
//! command helps.
//!
//! The real program runs in a repository of its own; each remedy is carried out as it is printed, and the next run makes the
//! host.
//!
//! `host_new` has flakes, and `host_new_secrets` secrets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use fs_err as fs;
use kit::{Ground, fixtures, host, said};
use std::os::unix::fs::PermissionsExt;

fn ground() -> Ground {
    let flake = fs::read_to_string(fixtures().join("flakes/plain.nix")).unwrap();
    Ground::new(
        &flake,
        &[
            ("hosts/web/default.nix", &host("web")),
            ("hosts/web/installer.nix", "{ }\n"),
            ("docs/a.md", "a\n"),
        ],
    )
}

/// The command behind the last `next: `, up to `, and run`.
fn remedy(text: &str) -> String {
    let next = text.rsplit("next: ").next().unwrap();
    next.split(", then run the command again")
        .next()
        .unwrap()
        .to_owned()
}

fn followed(ground: &Ground, text: &str) {
    let output = ground.shell(&remedy(text));
    assert!(output.status.success(), "{text}{}", said(&output.stderr));
}

#[test]
fn files_that_git_looks_at_no_more_are_shown_to_it_again() {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let ground = ground();
        // The control: Git itself says that nothing differs.
        ground.git(&["update-index", flag, "flake.nix"]);
        let whole = ground.text("flake.nix");
        ground.put("flake.nix", format!("{whole}# mine\n").as_bytes());
        assert_eq!(ground.git(&["status", "--porcelain"]), "");
        let text = ground.refused("new", &["--yes"], 6);
        assert!(text.contains("flake.nix: Git ignores changes"), "{text}");
        followed(&ground, &text);
        assert!(ground.refused("new", &["--yes"], 6).contains("uncommitted"));
        ground.git(&["commit", "--quiet", "--all", "--message", "mine"]);
        ground.made("new", &["--yes"]);
        assert!(
            ground
                .git(&["diff", "--cached", "--name-only"])
                .contains("flake.nix")
        );
    }
}

/// A filter that fails is no matter of the file, and what is told to do about it is not what has just failed.
#[test]
fn a_filter_that_fails_is_told_with_where_it_is_set() {
    let ground = ground();
    ground.put(".gitattributes", b"*.nix filter=broken\n");
    ground.git(&["config", "filter.broken.clean", "false"]);
    ground.git(&["config", "filter.broken.required", "true"]);
    ground.put(
        "flake.nix",
        format!("{}# touched\n", ground.text("flake.nix")).as_bytes(),
    );
    let output = ground.run("new", &["--yes"]);
    let text = said(&output.stderr);
    if output.status.code() == Some(6) && text.contains("git status: ") {
        assert!(
            text.contains("config --show-origin --get-regexp '^filter'"),
            "{text}"
        );
        let command = text.rsplit("(git -C").next().unwrap().split("; ").nth(1).unwrap();
        let listed = ground.shell(command.split(" lists filters").next().unwrap());
        assert!(said(&listed.stdout).contains("filter.broken.clean"), "{command}");
    } else {
        assert!(text.contains("uncommitted"), "{text}");
    }
}

#[test]
fn a_sparse_checkout_is_made_whole() {
    let ground = ground();
    ground.git(&["sparse-checkout", "set", "hosts"]);
    assert!(!ground.has("docs/a.md"));
    let output = ground.run("new", &["--yes"]);
    let text = said(&output.stderr);
    if !kit::has_nix() {
        // Nobody evaluates, so that nothing is missed.
        assert!(output.status.success(), "{text}");
        return kit::without_nix("a sparse checkout");
    }
    assert!(
        output.status.code() == Some(6) && text.contains("sparse checkout without docs/a.md"),
        "{text}"
    );
    assert!(!ground.has("hosts/new"));
    followed(&ground, &text);
    ground.made("new", &["--yes"]);
}

#[test]
fn a_folder_that_is_no_working_tree_is_told_by_its_reason() {
    let ground = ground();
    let refused = |dir: &str| {
        let output = ground.run("new", &["--yes", "--repository", dir]);
        let text = said(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{text}");
        text
    };
    let root = ground.root();
    let text = refused(root.join(".git").to_str().unwrap());
    assert!(
        text.contains("a bare repository or inside .git") && text.contains("--repository DIR"),
        "{text}"
    );
    assert!(!text.contains("git init"), "{text}");
    let text = refused(root.join("nowhere").to_str().unwrap());
    assert!(
        text.contains("No such file") && text.contains("--repository DIR"),
        "{text}"
    );
    let elsewhere = tempfile::Builder::new().prefix("a b").tempdir().unwrap();
    let text = refused(elsewhere.path().to_str().unwrap());
    let command = format!("git init '{}'", elsewhere.path().display());
    assert!(
        text.contains("not in a Git working tree") && text.contains(&command),
        "{text}"
    );
    if !nix::unistd::geteuid().is_root() {
        return println!("a repository of another account: only root can give one away");
    }
    let output = std::process::Command::new("chown")
        .args(["--recursive", "1234"])
        .arg(&root)
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = refused(root.to_str().unwrap());
    assert!(text.contains("belongs to another account"), "{text}");
    let command = text.rsplit("its contents: ").next().unwrap().to_owned();
    assert!(
        command.starts_with("git config --global --add safe.directory "),
        "{text}"
    );
    assert!(ground.shell(&command).status.success());
    ground.made("new", &["--yes"]);
}

#[test]
fn a_hook_that_refuses_without_a_word_is_named() {
    let ground = ground();
    let hook = ground.root().join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = ground.run("new", &["--yes", "--commit"]);
    let text = said(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(
        text.contains("git commit: it ended with 1 without output; a hook"),
        "{text}"
    );
    fs::remove_file(&hook).unwrap();
    // The run that finishes it commits, and does not say that it did not.
    let text = ground.made("new", &["--yes", "--commit"]);
    assert!(
        text.contains("interrupted run is now finished") && !text.contains("note:"),
        "{text}"
    );
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
}

#[test]
fn options_of_a_new_host_do_nothing_for_one_that_is_there_and_that_is_said() {
    let ground = ground();
    ground.made("new", &["--yes"]);
    let text = ground.made("new", &["--yes", "--prebuilt", "--user", "ada"]);
    assert!(text.contains("--prebuilt, --user changed nothing"), "{text}");
    assert!(!ground.made("new", &["--yes"]).contains("changed nothing"));
    let output = ground.run("new", &["--yes", "--json", "--swap-size", "9G"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        object["notes"][0]
            .as_str()
            .unwrap()
            .starts_with("--swap-size changed nothing"),
        "{object}"
    );
}

/// A lock that a killed Git left: seen before anything is written, and what the message says removes it.
#[test]
fn a_locked_index_is_seen_before_anything_is_written() {
    let ground = ground();
    ground.put(".git/index.lock", b"");
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains(".git/index.lock is there") && !ground.keys().exists(),
        "{text}"
    );
    let command = text
        .split("if there is none, ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert!(ground.shell(command).status.success(), "{command}");
    ground.made("new", &["--yes"]);
}

/// What does not parse is told with its line, in no words of a parser.
#[test]
fn what_is_no_nix_is_told_with_its_line() {
    for (broken, told) in [
        ("{\n  a = 1;\n  b = = 2;\n}\n", "line 3, column 7: "),
        (
            "{\n<<<<<<< HEAD\n  a = 1;\n=======\n  a = 2;\n>>>>>>> other\n}\n",
            "line 2 is a mark of a merge conflict",
        ),
        ("{ a = 1;\n", "it ends too early"),
    ] {
        let ground = ground();
        ground.put("flake.nix", broken.as_bytes());
        ground.git(&["commit", "--quiet", "-am", "broken"]);
        let text = ground.refused("new", &["--yes"], 6);
        assert!(text.contains(told) && !text.contains("TOKEN_"), "{text}");
    }
}
