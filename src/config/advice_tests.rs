#![allow(clippy::unwrap_used)]

use super::*;

fn fix(option: &str, text: &str) -> String {
    let why = "name \"x\" is not allowed: the rule";
    of_refused(option, text, why).unwrap().fix.unwrap()
}

#[test]
fn every_refusal_says_what_to_write() {
    let id = "abcdef0123456789012345678901234567890123";
    for (option, text, wanted) in [
        ("repository.revision", "v1.0", "write \"v1.0\" there"),
        ("repository.revision", "main", "repository.branch"),
        ("repository.revision", "refs/tags/x", "repository.branch"),
        ("repository.revision", "abc1234", "git rev-parse abc1234"),
        (
            "repository.revision",
            "ABCDEF0123456789012345678901234567890123",
            id,
        ),
        ("repository.revision", &format!("{id}\n"), id),
        ("repository.revision", "HEAD", "git rev-parse"),
        ("repository.revision", "", "git rev-parse"),
        ("repository.branch", "a@{1}", "git rev-parse"),
        ("repository.branch", "main\n", "write \"main\""),
        ("repository.branch", "a//b", "write \"a/b\""),
        ("repository.branch", "refs/heads/", "after the slash"),
        ("repository.branch", "feature/ä", "git ls-remote"),
        ("host", "web ", "write \"web\""),
        ("host", "wéb", "nixosConfigurations"),
        ("host", "-web", "write \"web\""),
        ("labels.efi", "esp-web", "write \"ESP-WEB\""),
        ("labels.efi", "EFI LONG LABEL", "write \"EFI-LONG-LA\""),
        ("labels.root", "a/b", "write \"a-b\""),
        ("labels.swap", "", "swap-web"),
        ("esp_size", "1.5G", "write \"1536M\""),
        ("esp_size", "1GiB", "write \"1GiB\"".trim_end_matches("iB\"")),
        ("esp_size", "512", "512M"),
        ("swap.size", "8 gb", "write \"8gb\"".replace("8gb", "8G").as_str()),
        ("repository.clone_path", "/etc/nixos", "write \"/mnt/etc/nixos\""),
        (
            "repository.clone_path",
            "/mnt/etc/nixos/",
            "write \"/mnt/etc/nixos\"",
        ),
        ("repository.clone_path", "/mnt/nix/store", "such as"),
        ("extra_mount_dirs[1]", "srv/data", "write \"/srv/data\""),
        ("target_user", "a b", "write \"a-b\""),
    ] {
        let said = fix(option, text);
        assert!(said.contains(wanted), "{option} {text:?}: {said}");
    }
}

#[test]
fn what_stands_at_an_end_is_told() {
    let refusal = of_refused(
        "host",
        "web\n",
        "host name (not repeated here) is not allowed: the rule",
    )
    .unwrap();
    assert!(
        refusal.why.contains("host name \"web\\n\"") && refusal.why.contains("a line feed is after it"),
        "{}",
        refusal.why
    );
}

#[test]
fn a_secret_is_not_told_to_be_written() {
    for option in [
        "host",
        "labels.root",
        "repository.revision",
        "repository.branch",
        "target_user",
    ] {
        let said = fix(option, " ghp_canaryabcdefghijklmnopqrstuvwxyz01/");
        assert!(!said.contains("canary"), "{option}: {said}");
    }
}

#[test]
fn a_branch_that_is_none_is_told() {
    for (name, wanted) in [
        ("HEAD", "leave the option out"),
        ("FETCH_HEAD", "leave the option out"),
        ("refs/heads/HEAD", "leave the option out"),
        ("origin/main", "write main"),
        ("refs/remotes/origin/x/y", "write x/y"),
        ("0123456789012345678901234567890123456789", "repository.revision"),
    ] {
        let (_, fix) = of_branch(&name.parse().unwrap()).unwrap();
        assert!(fix.contains(wanted), "{name}: {fix}");
    }
    for name in [
        "main",
        "refs/heads/origin/main",
        "headless",
        "feature/HEADS",
        "refs/pull/5/head",
    ] {
        assert_eq!(of_branch(&name.parse().unwrap()), None, "{name}");
    }
}
