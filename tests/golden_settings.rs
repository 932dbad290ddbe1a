//! Promise: what the NixOS module writes is what landfall reads.
//!
//! The module's evaluation and this test look at the same files, nix/tests/golden. A name that only one side knows is refused
//! here or differs there.
//!
//! `cargo lab nix` compares the module's output with the files; no Nix is needed here.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use fs_err as fs;
use landfall::config::{Config, Notation, OnSuccess, SystemConfig};
use std::path::PathBuf;

fn golden(name: &str) -> String {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    fs::read_to_string(PathBuf::from(root).join("nix/tests/golden").join(name)).unwrap()
}

fn read(name: &str) -> Config {
    Config::parse(&golden(name), Notation::Json).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_golden_is_a_configuration() {
    let plain = read("plain.json");
    assert_eq!(plain.host.as_str(), "web");
    assert_eq!(plain.system, SystemConfig::Flake);
    assert!(plain.labels.luks.is_none() && plain.labels.swap.is_none());
    assert!(plain.can_touch_efi_variables);
    assert_eq!(plain.keys.age_identity_at(&plain.host), "/etc/age/web.agekey");

    let swap = read("swap.json");
    assert_eq!(swap.swap.size.to_string(), "16G");
    assert_eq!(swap.on_success, OnSuccess::Reboot);

    let prebuilt = read("luks-prebuilt.json");
    assert!(prebuilt.luks.enable && prebuilt.keys.deploy_key && prebuilt.keys.age_identity);
    let SystemConfig::Image { system, file, .. } = &prebuilt.system else {
        panic!("{:?}", prebuilt.system);
    };
    assert!(system.as_str().ends_with("-nixos-system-vault"));
    assert!(file.as_str().ends_with("-vault-root-image/root.image"));
    assert!(
        prebuilt.repository.bundle.is_some(),
        "a prebuilt install needs no network"
    );

    let ssh = read("flake-ssh.json");
    assert_eq!(ssh.ssh.known_hosts.as_ref().unwrap(), "/etc/landfall/known_hosts");
    assert_eq!(ssh.esp_size.to_string(), "2G");
}

/// Hosts of the module that landfall replaces, as they stand (nix/tests/eval/old-hosts.nix).
#[test]
fn hosts_of_the_replaced_module_are_configurations() {
    let swap = read("old-swap.json");
    assert_eq!(swap.swap.size.to_string(), "9G");
    assert_eq!(swap.repository.clone_path.as_str(), "/mnt/home/op/nix-config");
    assert!(swap.warnings().is_empty(), "{:?}", swap.warnings());

    let prebuilt = read("old-luks-prebuilt.json");
    let dirs: Vec<&str> = prebuilt.extra_mount_dirs.iter().map(|dir| dir.as_str()).collect();
    assert_eq!(dirs, ["/persist", "/models"]);
    assert_eq!(prebuilt.luks.mapper_name.as_str(), "kitcrypt");
    let warned = prebuilt.warnings();
    assert!(
        warned.len() == 1 && warned[0].contains("cloned over the network"),
        "{warned:?}"
    );

    let strange = read("old-strange.json");
    assert_eq!(strange.host.as_str(), "lab_1.ops");
    assert_eq!(
        strange.keys.age_identity_at(&strange.host),
        "/etc/age/lab_1.ops.agekey"
    );
    assert_eq!(strange.labels.efi.as_str(), "ESP-LAB");
    assert_eq!(strange.labels.root.as_str(), "root-of-the-lab-");
    assert_eq!(strange.swap.size.to_string(), "16G");
    assert_eq!(strange.target_user.as_ref().unwrap().as_str(), "Jo.Op");
    assert_eq!(strange.on_success, OnSuccess::Reboot);
}

/// What a host wrote as several commands is one script, as it was: a later one sees what an earlier one set, and it ends where one
/// fails.
#[test]
fn commands_of_the_replaced_module_are_one_script() {
    let dir = tempfile::tempdir().unwrap();
    let [script] = read("old-strange.json")
        .extra_post_mount_commands
        .try_into()
        .unwrap();
    let run = |script: &str| {
        let script = script.replace("/mnt/persist", dir.path().to_str().unwrap());
        std::process::Command::new("bash")
            .args(["-c", &script])
            .status()
            .unwrap()
    };
    assert!(run(&script).success());
    assert!(dir.path().join("it's").is_dir());
    assert_eq!(fs::read_to_string(dir.path().join("note")).unwrap(), "a \"b\"\n");
    // The control: a line that fails ends it, and without the first line nothing would.
    let broken = script.replace("mkdir -p", "false; mkdir -p");
    assert!(!run(&broken).success());
    assert!(run(&broken.replace("set -e -o pipefail", "")).success());
}

/// The module writes every option, so a default changed on one side only is seen.
#[test]
fn the_module_says_everything() {
    for name in [
        "plain.json",
        "swap.json",
        "luks-prebuilt.json",
        "flake-ssh.json",
        "old-swap.json",
        "old-luks-prebuilt.json",
        "old-strange.json",
    ] {
        let written: serde_json::Value = serde_json::from_str(&golden(name)).unwrap();
        assert_eq!(serde_json::to_value(read(name)).unwrap(), written, "{name}");
    }
}

#[test]
fn a_wrong_golden_is_refused() {
    let error = Config::parse(&golden("wrong/unknown-field.json"), Notation::Json).unwrap_err();
    let problem = &error.problems[0];
    assert_eq!(problem.option, "labels.boot");
    assert!(
        problem.why.contains("the options are: efi, root, luks, swap"),
        "{error}"
    );
}
