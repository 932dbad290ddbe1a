//! Promise: what the NixOS module writes is what landfall reads. Law: the module's evaluation and this test look at the
//! same files, nix/tests/golden; a name that only one side knows is refused here or differs there.
//!
//! Absent: Nix. `cargo lab nix` compares the module's output with the files.

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

    let vault = read("luks-prebuilt.json");
    assert!(vault.luks.enable && vault.keys.deploy_key && vault.keys.age_identity);
    let SystemConfig::Image { system, file, .. } = &vault.system else {
        panic!("{:?}", vault.system);
    };
    assert!(system.as_str().ends_with("-nixos-system-vault"));
    assert!(file.as_str().ends_with("-vault-root-image/root.image"));
    assert!(
        vault.repository.bundle.is_some(),
        "a prebuilt install needs no network"
    );

    let ssh = read("flake-ssh.json");
    assert_eq!(ssh.ssh.known_hosts.as_ref().unwrap(), "/etc/landfall/known_hosts");
    assert_eq!(ssh.esp_size.to_string(), "2G");
}

/// The module writes every option, so a default changed on one side only is seen.
#[test]
fn the_module_says_everything() {
    for name in ["plain.json", "swap.json", "luks-prebuilt.json", "flake-ssh.json"] {
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
        problem.why.contains("known are: efi, root, luks, swap"),
        "{error}"
    );
}
