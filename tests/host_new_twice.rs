//! Promise: two runs of `landfall host new` at once leave what one after the other leaves: a host is there completely or not
//! at all, and a run that could not begin says so.
//!
//! Real processes are started together, many times; what they leave is compared with what one run leaves.
//!
//! `host_new_cut` has runs that are killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use fs_err as fs;
use kit::{Ground, fixtures, host, said};
use std::path::Path;
use std::process::{Output, Stdio};

const ROUNDS: usize = 6;

fn ground() -> Ground {
    let flake = fs::read_to_string(fixtures().join("flakes/plain.nix")).unwrap();
    Ground::new(
        &flake,
        &[
            ("hosts/web/default.nix", &host("web")),
            ("hosts/web/installer.nix", "{ }\n"),
        ],
    )
    .without_nix()
}

/// Runs them all at once, each with its folder of keys.
fn at_once(runs: &[(&Ground, &str, &str)]) -> Vec<Output> {
    let children: Vec<_> = runs
        .iter()
        .map(|(ground, name, keys)| {
            ground
                .landfall_with_keys(name, Path::new(keys), &["--yes", "--commit"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect()
}

/// One run by itself, which goes well.
fn alone(ground: &Ground, name: &str, keys: &str) {
    let ended = at_once(&[(ground, name, keys)]);
    assert!(ended[0].status.success(), "{}", said(&ended[0].stderr));
}

/// The host is there whole, with the keys of this folder.
fn is_whole(ground: &Ground, name: &str, keys: &str) {
    let public = fs::read_to_string(format!("{keys}/ssh-key.pub")).unwrap();
    assert!(
        ground
            .text(&format!("hosts/{name}/installer.nix"))
            .contains(public.trim())
    );
    assert_eq!(
        ground
            .text("flake.nix")
            .matches(&format!("{name} = nixpkgs.lib.nixosSystem"))
            .count(),
        1
    );
    assert_eq!(
        fs::read_dir(keys).unwrap().count(),
        5,
        "five files, and nothing beside them"
    );
    for key in ["ssh-key", "deploy-key"] {
        let private = ssh_key::PrivateKey::from_openssh(fs::read(format!("{keys}/{key}")).unwrap()).unwrap();
        let public = fs::read_to_string(format!("{keys}/{key}.pub")).unwrap();
        assert_eq!(
            private.public_key().to_openssh().unwrap(),
            public.trim(),
            "{key} is one pair"
        );
    }
    let tracked = ground.git(&["ls-files", &format!("hosts/{name}")]);
    assert_eq!(tracked.lines().count(), 2, "{tracked}");
}

/// A run that could not begin: another one was at work, or had just ended.
fn says_why(output: &Output) {
    let text = said(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(4 | 6)) && text.contains("next: "),
        "{:?}: {text}",
        output.status
    );
}

#[test]
fn the_same_host_is_made_once() {
    for _ in 0..ROUNDS {
        let ground = ground();
        let keys = ground.keys().to_str().unwrap().to_owned();
        let ended = at_once(&[(&ground, "new", keys.as_str()); 4]);
        let made = ended
            .iter()
            .filter(|one| said(&one.stdout).contains("written and added"))
            .count();
        assert_eq!(made, 1, "{ended:?}");
        for one in ended.iter().filter(|one| !one.status.success()) {
            says_why(one);
        }
        is_whole(&ground, "new", &keys);
        assert_eq!(ground.git(&["status", "--porcelain"]), "");
        assert_eq!(ground.git(&["log", "--format=%s"]).lines().count(), 2);
    }
}

#[test]
fn of_different_hosts_each_is_there_whole_or_not_at_all() {
    for _ in 0..ROUNDS {
        let ground = ground();
        let keys: Vec<String> = ["one", "two", "three"]
            .map(|name| format!("{}-{name}", ground.keys().display()))
            .into();
        let names = ["one", "two", "three"];
        let runs: Vec<(&Ground, &str, &str)> = names
            .iter()
            .zip(&keys)
            .map(|(name, keys)| (&ground, *name, keys.as_str()))
            .collect();
        let ended = at_once(&runs);
        assert!(ended.iter().any(|one| one.status.success()), "one begins");
        for ((name, keys), one) in names.iter().zip(&keys).zip(&ended) {
            if one.status.success() {
                is_whole(&ground, name, keys);
                continue;
            }
            says_why(one);
            assert!(!ground.has(&format!("hosts/{name}")), "{name}: nothing of it");
            assert!(!ground.text("flake.nix").contains(&format!(" {name} = ")));
            assert!(!Path::new(keys).exists(), "{name}: no key of it");
            // What it says helps.
            alone(&ground, name, keys);
            is_whole(&ground, name, keys);
        }
        assert_eq!(ground.git(&["status", "--porcelain"]), "");
    }
}

/// Two repositories, and by mistake one folder of keys: no lock of a repository keeps these apart.
#[test]
fn one_folder_of_keys_has_the_keys_of_one_run() {
    for _ in 0..ROUNDS {
        let grounds = [ground(), ground(), ground()];
        let keys = grounds[0].keys().to_str().unwrap().to_owned();
        let runs: Vec<(&Ground, &str, &str)> = grounds
            .iter()
            .map(|ground| (ground, "new", keys.as_str()))
            .collect();
        let ended = at_once(&runs);
        assert!(
            ended.iter().any(|one| one.status.success()),
            "one begins: {ended:?}"
        );
        for (ground, one) in grounds.iter().zip(&ended) {
            if one.status.success() {
                is_whole(ground, "new", &keys);
            } else {
                says_why(one);
                assert!(!ground.has("hosts/new"), "nothing of it");
                alone(ground, "new", &keys);
                is_whole(ground, "new", &keys);
            }
        }
    }
}
