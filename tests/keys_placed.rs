//! Promise: keys reach their place with the owner and mode that were asked for, looked up in the target; no symbolic link
//! of the target leads a key out of it; the clone and what leads to it belong to the target's user.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use camino::Utf8PathBuf;
use landfall::config::Config;
use landfall::real::fs::target_root::Root;
use landfall::real::secrets::credentials::Credentials;
use landfall::real::secrets::placement::{
    Account, Wanted, comes_late, observe, parse_passwd, perform, wanted, wanted_first,
};
use landfall_states::fault::FaultClass;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const DEPLOY_KEY: &str = include_str!("ssh-key.txt");
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-1UYQ0HNSQ3SZWCSRR0TC2LY0M9UZ6AMWZ87ZK5TFUPV2CQCJAW40QG5Y9VS\n";

struct Target {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
    credentials: Credentials,
}

fn config(user: Option<&str>) -> Config {
    let user = user.map_or("null".to_owned(), |u| format!("{u:?}"));
    serde_json::from_str(&format!(
        r#"{{ "host": "web", "labels": {{ "efi": "ESP", "root": "root" }},
            "repository": {{ "remote": "/r", "clone_path": "/mnt/home/op/conf/nix" }}, "system": "Flake",
            "target_user": {user}, "extra_mount_dirs": ["/home/op/data", "/persist"],
            "keys": {{ "deploy_key": true, "age_identity": true }} }}"#
    ))
    .unwrap()
}

impl Target {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let given = root.join("credentials");
        fs_err::create_dir_all(&given).unwrap();
        fs_err::write(given.join("landfall.deploy-key"), DEPLOY_KEY).unwrap();
        fs_err::write(given.join("landfall.age-identity"), AGE_IDENTITY).unwrap();
        let mut credentials = Credentials::default();
        credentials.take_from(&given, "landfall.").unwrap();
        let root = root.join("mnt");
        fs_err::create_dir_all(root.join("etc")).unwrap();
        fs_err::create_dir_all(root.join("home/op/conf/nix/.git")).unwrap();
        fs_err::write(root.join("home/op/conf/nix/.git/config"), "").unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", root.join("home/op/conf/nix/link")).unwrap();
        fs_err::write(
            root.join("etc/passwd"),
            "root:x:0:0:r:/root:/bin/sh\nop:x:1234:56:O:/home/op:/bin/sh\n",
        )
        .unwrap();
        Target {
            _keep: keep,
            root,
            credentials,
        }
    }

    fn place(&self, config: &Config) -> usize {
        let wanted = wanted(config, &self.credentials, &Root::at(&self.root)).unwrap();
        let facts = observe(&Root::at(&self.root), &wanted).unwrap();
        let paths: Vec<_> = facts
            .placed
            .iter()
            .filter(|p| !p.flaws.is_empty())
            .map(|p| p.path.clone())
            .collect();
        perform(&Root::at(&self.root), &wanted, &paths).unwrap();
        let again = observe(&Root::at(&self.root), &wanted).unwrap();
        assert!(again.placed.iter().all(|p| p.flaws.is_empty()), "{again:?}");
        paths.len()
    }

    fn stat(&self, path: &str) -> (u32, u32, u32) {
        let m = fs_err::symlink_metadata(self.root.join(path)).unwrap();
        (m.mode() & 0o7777, m.uid(), m.gid())
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: only root may change owners");
    }
    root
}

#[test]
fn keys_and_owners_of_a_user() {
    if !is_root() {
        return;
    }
    let target = Target::new();
    assert!(target.place(&config(Some("op"))) > 0);
    assert_eq!(target.stat("home/op/.ssh"), (0o700, 1234, 56));
    assert_eq!(target.stat("home/op/.ssh/id_ed25519"), (0o600, 1234, 56));
    assert_eq!(
        fs_err::read(target.root.join("home/op/.ssh/id_ed25519")).unwrap(),
        DEPLOY_KEY.as_bytes()
    );
    assert_eq!(target.stat("etc/age"), (0o700, 0, 0));
    assert_eq!(target.stat("etc/age/web.agekey"), (0o600, 0, 0));
    for path in [
        "home/op",
        "home/op/conf",
        "home/op/conf/nix/.git/config",
        "home/op/conf/nix/link",
        "home/op/data",
    ] {
        let (_, uid, gid) = target.stat(path);
        assert_eq!((uid, gid), (1234, 56), "{path}");
    }
    assert_eq!(target.stat("etc/passwd").1, 0, "links are not followed");
    assert_eq!(target.stat("persist").1, 0);
    assert_eq!(target.place(&config(Some("op"))), 0, "twice is once");
    // Each fault is seen alone.
    fs_err::set_permissions(
        target.root.join("etc/age/web.agekey"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(target.place(&config(Some("op"))), 1);
    fs_err::write(target.root.join("home/op/.ssh/id_ed25519"), "").unwrap();
    assert_eq!(target.place(&config(Some("op"))), 1);
}

/// Before `nixos-install` the target has no users, and its activation wants to read the age identity.
#[test]
fn what_needs_no_user_is_placed_before_there_are_any() {
    let target = Target::new();
    fs_err::remove_dir_all(target.root.join("etc")).unwrap();
    fs_err::remove_dir_all(target.root.join("home")).unwrap();
    let paths =
        |wanted: &[Wanted<'_>]| -> Vec<String> { wanted.iter().map(|one| one.path().to_string()).collect() };
    let of_user = config(Some("op"));
    let first = wanted_first(&of_user, &target.credentials).unwrap();
    assert_eq!(paths(&first), ["/etc/age", "/etc/age/web.agekey"]);
    assert!(comes_late(&of_user).unwrap().contains("belongs to op"));
    let of_root = config(None);
    let first = wanted_first(&of_root, &target.credentials).unwrap();
    assert_eq!(
        paths(&first),
        [
            "/root",
            "/root/.ssh",
            "/root/.ssh/id_ed25519",
            "/etc/age",
            "/etc/age/web.agekey"
        ]
    );
    assert_eq!(comes_late(&of_root), None);
    if !is_root() {
        return;
    }
    let facts = observe(&Root::at(&target.root), &first).unwrap();
    let wrong = landfall_states::actions::provision_secrets::Placed::wrong(&facts.placed);
    assert_eq!(wrong.len(), first.len());
    perform(&Root::at(&target.root), &first, &wrong).unwrap();
    let facts = observe(&Root::at(&target.root), &first).unwrap();
    assert_eq!(
        landfall_states::actions::provision_secrets::Placed::wrong(&facts.placed),
        [] as [landfall_states::names::TargetPath; 0]
    );
    assert_eq!(target.stat("root").0, 0o700);
    assert_eq!(target.stat("etc"), (0o755, 0, 0));
    assert_eq!(target.stat("etc/age/web.agekey"), (0o600, 0, 0));
    // All of it is among what is judged at the end.
    let all = wanted(&of_root, &target.credentials, &Root::at(&target.root)).unwrap();
    assert!(paths(&first).iter().all(|path| paths(&all).contains(path)));
}

#[test]
fn a_user_that_the_target_does_not_have_is_named() {
    let target = Target::new();
    let fault = wanted(
        &config(Some("ghost")),
        &target.credentials,
        &Root::at(&target.root),
    )
    .unwrap_err();
    assert_eq!(fault.class, FaultClass::NeedsChange);
    assert!(fault.what().contains("ghost"), "{fault}");
}

#[test]
fn without_a_user_root_gets_the_key() {
    if !is_root() {
        return;
    }
    let target = Target::new();
    target.place(&config(None));
    assert_eq!(target.stat("root/.ssh/id_ed25519"), (0o600, 0, 0));
    assert_eq!(target.stat("home/op/conf/nix/.git/config").1, 0);
}

#[test]
fn links_of_the_target_do_not_lead_a_key_out() {
    if !is_root() {
        return;
    }
    let target = Target::new();
    let outside = target.root.parent().unwrap().join("outside");
    fs_err::create_dir_all(&outside).unwrap();
    fs_err::os::unix::fs::symlink(&outside, target.root.join("etc/age")).unwrap();
    let config = config(None);
    let wanted = wanted(&config, &target.credentials, &Root::at(&target.root)).unwrap();
    let facts = observe(&Root::at(&target.root), &wanted).unwrap();
    let paths: Vec<_> = facts.placed.into_iter().map(|p| p.path).collect();
    // It may fail or make the directory inside; it may not write outside.
    let placed = perform(&Root::at(&target.root), &wanted, &paths);
    println!("{placed:?}");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_key_that_is_not_at_hand_is_named_when_it_is_missing() {
    let target = Target::new();
    let config = config(None);
    let empty = Credentials::default();
    let wanted = wanted(&config, &empty, &Root::at(&target.root)).unwrap();
    let facts = observe(&Root::at(&target.root), &wanted).unwrap();
    let age = facts
        .placed
        .iter()
        .find(|p| p.path.as_str() == "/etc/age/web.agekey")
        .unwrap();
    assert_eq!(age.flaws, ["missing"]);
    let fault = perform(&Root::at(&target.root), &wanted, std::slice::from_ref(&age.path)).unwrap_err();
    assert!(fault.what().contains("landfall.age-identity"), "{fault}");
}

#[test]
fn passwd_lines() {
    let text = "short:x\nop:x:1000:100:Op,,,:/home/op:/bin/sh\nbad:x:one:1:::\nrel:x:1:1::home:/bin/sh\n";
    let op = Account {
        uid: 1000,
        gid: 100,
        home: "/home/op".into(),
    };
    assert_eq!(parse_passwd(text, "op"), Some(op));
    for none in ["short", "bad", "rel", "o", ""] {
        assert_eq!(parse_passwd(text, none), None, "{none}");
    }
}

/// Below a host's `/etc` that is an overlay, nothing that was written to its disk is to be seen.
#[test]
fn the_age_identity_goes_where_it_was_asked_for_and_a_shared_directory_stays_as_it_is() {
    if !is_root() {
        return;
    }
    let target = Target::new();
    fs_err::create_dir_all(target.root.join("var/lib")).unwrap();
    let mut config = config(None);
    config.keys.age_identity_path = Some("/var/lib/age.agekey".parse().unwrap());
    assert!(target.place(&config) > 0);
    assert_eq!(target.stat("var/lib"), (0o755, 0, 0));
    assert_eq!(target.stat("var/lib/age.agekey"), (0o600, 0, 0));
    assert!(!target.root.join("etc/age").exists());
    config.keys.age_identity_path = Some("/persist/deep/age.agekey".parse().unwrap());
    assert!(target.place(&config) > 0);
    assert_eq!(target.stat("persist/deep/age.agekey"), (0o600, 0, 0));
    config.keys.age_identity_path = Some("/age.agekey".parse().unwrap());
    assert!(target.place(&config) > 0);
    assert_eq!(target.stat("age.agekey"), (0o600, 0, 0));
}

#[test]
fn a_target_that_makes_its_users_at_its_first_boot_is_told_from_one_without_the_user() {
    let target = Target::new();
    let fault = |target: &Target| {
        wanted(&config(Some("eve")), &target.credentials, &Root::at(&target.root)).unwrap_err()
    };
    assert!(
        fault(&target).why().contains("does not have this user"),
        "{}",
        fault(&target)
    );
    fs_err::remove_file(target.root.join("etc/passwd")).unwrap();
    let at_boot = fault(&target);
    assert!(at_boot.why().contains("services.userborn.enable"), "{at_boot}");
    assert_eq!(at_boot.class, FaultClass::NeedsChange);
}
