//! Promise: a clone that belongs to the target's user already, in whole or in part, is evaluated as one of landfall's own, and stays the
//! user's. The control is the same Nix, which refuses it without landfall.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/store.rs"]
mod store;

use camino::Utf8Path;
use landfall::event::Event;
use landfall_states::plan::SystemSource;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Command;
use store::Place;

const USER: u32 = 1234;
const FLAKE: &str = r#"{
  outputs = _: {
    nixosConfigurations.web.config.system.build.toplevel = derivation {
      name = "nixos-system-web";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo > $out" ];
    };
  };
}
"#;

fn git(clone: &Utf8Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(clone)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.example"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_clone_of_the_targets_user_is_evaluated_and_stays_theirs() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root gives files away");
        return;
    }
    let Some(place) = Place::new() else { return };
    let clone = place.dir.join("mnt/nix-config");
    fs_err::create_dir_all(&clone).unwrap();
    git(&clone, &["init", "--quiet", "--template="]);
    git(&clone, &["remote", "add", "origin", "/nowhere"]);
    fs_err::write(clone.join("flake.nix"), FLAKE).unwrap();
    git(&clone, &["add", "."]);
    git(&clone, &["commit", "--quiet", "-m", "a host"]);
    let mut action = place.action(SystemSource::Flake, false);
    action.revision = git(&clone, &["rev-parse", "HEAD"]).parse().unwrap();
    let access = place.access();
    for [top, below] in [[0, 0], [USER, USER], [0, USER], [USER, 0]] {
        chown(&clone, Some(top), Some(top)).unwrap();
        chown(clone.join(".git"), Some(below), Some(below)).unwrap();
        // The control: Nix by itself.
        let alone = Command::new("nix")
            .args([
                "--extra-experimental-features",
                "nix-command flakes",
                "eval",
                "--raw",
            ])
            .args(["--store", place.dir.join("control").as_str()])
            .arg(format!(
                "git+file://{clone}#nixosConfigurations.web.config.system.build.toplevel.name"
            ))
            .env("NIX_CONF_DIR", place.dir.join("conf"))
            .env("XDG_CACHE_HOME", place.dir.join(format!("cache-{top}-{below}")))
            .env_remove("SUDO_UID")
            .output()
            .unwrap();
        assert_eq!(
            alone.status.success(),
            top == 0 && below == 0,
            "{top} {below}: {alone:?}"
        );
        place.told.lock().unwrap().clear();
        // What becomes of the build is not of interest: the machine of the test may have no builder.
        drop(
            place
                .runtime
                .block_on(place.stores.build(&place.context, &access, &action)),
        );
        let told = place.told.lock().unwrap();
        let is_evaluated = told
            .iter()
            .any(|event| matches!(event, Event::Step { what } if what.starts_with("realise /nix/store/")));
        assert!(is_evaluated, "{top} {below}: {told:?}");
        assert_eq!(fs_err::metadata(&clone).unwrap().uid(), top);
        assert_eq!(fs_err::metadata(clone.join(".git")).unwrap().uid(), below);
    }
}
