#![allow(clippy::unwrap_used)]

use super::of_text;

fn of(text: &str) -> (String, String, String) {
    let (shown, objection) = of_text(text).unwrap_or_else(|| panic!("{text:?} is taken"));
    (shown, objection.why, objection.fix)
}

/// What is written, and what the fix says.
const MEANT: &[(&str, &str)] = &[
    (
        "github:ops/nix-config?ref=main",
        "write https://github.com/ops/nix-config or git@github.com:ops/nix-config, and set repository.branch to \"main\"",
    ),
    (
        "github:ops/nix-config#web",
        "write https://github.com/ops/nix-config or git@github.com:ops/nix-config; set host to the name after the #",
    ),
    ("github:ops/nix-config/main?dir=x", "revision to \"main\""),
    ("github:ops/nix-config/feature/x", "revision to \"feature/x\""),
    (
        "GitHub:ops/nix-config",
        "write https://github.com/ops/nix-config or",
    ),
    ("gh:o/r", "write https://github.com/o/r or"),
    ("gl:o/r", "write https://gitlab.com/o/r or"),
    (
        "gitlab:veloren%2Fdev/rfcs",
        "write https://gitlab.com/veloren/dev/rfcs or git@gitlab.com:veloren/dev/rfcs",
    ),
    ("flakehub:o/r", "that repository"),
    ("git+https://forge.example/a/b", "write https://forge.example/a/b"),
    (
        "git+https://forge.example/a/b?ref=main&rev=abc",
        "write https://forge.example/a/b, and set repository.branch to \"main\"",
    ),
    (
        "git+http://forge.example/a/b#web",
        "write http://forge.example/a/b;",
    ),
    ("git+file:///srv/x", "write /srv/x"),
    (
        "git+file:///srv/x?ref=main",
        "write /srv/x, and set repository.branch to \"main\"",
    ),
    ("path:/srv/x", "write /srv/x"),
    ("path:/srv/x?dir=a", "write /srv/x; the flake"),
    ("path:./x", "absolute path"),
    ("tarball+https://host/x.tar.gz", "repository"),
    ("hg+https://x/y", "a Git repository"),
    ("ssh+git://git@forge.example/a", "write ssh://git@forge.example/a"),
    (
        "git@forge.example:r?ref=main",
        "write git@forge.example:r, and set repository.branch to \"main\"",
    ),
    ("git@forge.example:r#web", "write git@forge.example:r;"),
    ("ssh://git@github.com:o/r", "write ssh://git@github.com/o/r"),
    ("ssh://git@host:22:o/r", "write ssh://git@host:22/o/r"),
    ("git@[host:22]:o/r", "write ssh://git@host:22/o/r"),
    ("[git@host:22]:o/r", "write ssh://git@host:22/o/r"),
    ("github.com/o/r", "write https://github.com/o/r"),
    ("www.github.com/o/r", "write https://www.github.com/o/r"),
    ("git@github.com/o/r", "write git@github.com:o/r"),
    ("HTTPS://github.com/o/r", "write https://github.com/o/r"),
    ("Ssh://git@github.com/o/r", "write ssh://git@github.com/o/r"),
    ("https:/forge/a/b", "write https://forge/a/b"),
    ("https//forge/a/b", "write https://forge/a/b"),
    ("https:forge/a/b", "write https://forge/a/b"),
    ("https:///a/b", "write https://a/b"),
    (
        "https://host:abc/p",
        "write https://host/OWNER/REPO; a port is a number",
    ),
    (
        "me@forge.example/o/r",
        "write git@forge.example:o/r, with the account",
    ),
    ("git@forge.example/o/r", "write git@forge.example:o/r"),
    (
        "https://forge.example:443:443/a",
        "write https://forge.example:443/a",
    ),
    ("https://fd00::1/a", "write https://[fd00::1]/a"),
    ("https://[fd00::1/a", "write https://[fd00::1]/a"),
    ("ssh://[fe80::1%25eth0]/o/r", "without %"),
    ("https://forge.example/a\n", "write https://forge.example/a"),
    ("https://forge.example/a ", "write https://forge.example/a"),
    ("\thttps://forge.example/a", "write https://forge.example/a"),
    ("\u{feff}https://f/a", "write https://f/a"),
    ("https://f/\u{202e}a", "write https://f/a"),
    ("\"https://f/a\"", "write https://f/a"),
    ("<https://f/a>", "write https://f/a"),
    ("https://forge.example/a b", "write https://forge.example/a%20b"),
    ("https://forge.example/ä", "write https://forge.example/%C3%A4"),
    ("https://förge.example/a", "xn--"),
    ("~/repo", "such as /root/repo"),
    ("./repo", "an absolute path"),
    ("../repo", "an absolute path"),
    ("repo", "an absolute path"),
    ("o/r", "write https://github.com/o/r for"),
    (".", "an absolute path"),
    ("file://srv/r", "write file:///srv/r"),
    ("file:/srv/r", "write /srv/r"),
    ("file:srv", "absolute path"),
    ("/srv/my repo", "no spaces"),
    ("//server/share", "an absolute path"),
    ("\\\\server\\share", "an absolute path"),
    ("C:\\repo", "an absolute path on the installer"),
    ("git@host:", "write git@host:OWNER/REPO"),
    ("git@host:/", "write git@host:OWNER/REPO"),
    (":path", "write https://"),
    ("@host:path", "write https://"),
    ("git@@host:o/r", "before the @"),
    ("a@b@c@host:o/r", "before the @"),
    (
        "codecommit::eu-west-3://profile@repo",
        "write https://git-codecommit.eu-west-3.amazonaws.com/v1/repos/repo",
    ),
    ("foo::https://u:pw@host/x", "write an https://"),
    ("ssh://git@/o/r", "write ssh://git@forge.example/OWNER/REPO"),
    ("ftp://forge/a", "write https://"),
    ("s3://bucket/x", "write https://"),
    ("-x:y", "write https://"),
    ("", "repository.bundle"),
    ("nixpkgs", "write https://"),
    ("git@ho st:o/r", "the server's name"),
    ("github.com:o/r", "write git@github.com:o/r"),
    ("gitlab.com:g/s/r", "write git@gitlab.com:g/s/r"),
    ("forge:/srv/r", "write git@forge:/srv/r"),
];

#[test]
fn what_was_meant_is_told() {
    for &(text, wanted) in MEANT {
        let (shown, why, fix) = of(text);
        assert!(fix.contains(wanted), "{text:?} ({shown}): {why} / {fix}");
        assert!(!why.is_empty() && !fix.ends_with(' '), "{text:?}: {why}");
    }
}

#[test]
fn what_no_repository_answers_at_is_refused() {
    for (text, wanted) in [
        (
            "https://raw.githubusercontent.com/o/r/main/flake.nix",
            "write https://github.com/o/r",
        ),
        (
            "https://codeload.github.com/o/r/zip/main",
            "write https://github.com/o/r",
        ),
        ("https://api.github.com/repos/o/r", "write https://github.com/o/r"),
        ("https://flakehub.com/f/NixOS/nixpkgs/0.1", "git clone"),
        ("https://github.com/ops/nix-config.tar.gz", "git clone"),
        ("https://forge.example/a/b.zip", "git clone"),
        ("https://forge.example/a/b.bundle", "repository.bundle"),
        ("https://forge.example/a%00b", "remove the code"),
        ("https://forge.example/a%0Ab", "remove the code"),
        ("https://forge.example/a%zz", "%25"),
        ("https://forge.example/a%", "%25"),
    ] {
        let (_, why, fix) = of(text);
        assert!(fix.contains(wanted), "{text}: {why} / {fix}");
    }
}

#[test]
fn what_is_wrong_is_seen_and_what_is_secret_is_not() {
    let (shown, why, _) = of("https://forge.example/a\n");
    assert_eq!(shown, "\"https://forge.example/a\\n\"");
    assert!(why.contains("a line feed"), "{why}");
    assert_eq!(of("git@host:r#web").0, "\"git@host:r#[REDACTED]\"");
    let token = "ghp_canaryabcdefghijklmnopqrstuvwxyz01";
    for text in [
        format!("https://host/{token}/r"),
        format!("https://{token}.example/r"),
        format!("ssh://host/{token}"),
        format!("ssh://git@host/{token}/r"),
        format!("git@host:{token}/r"),
        format!("{token}@host:o/r"),
        format!("host:{token}/r"),
        format!("/srv/{token}/r"),
        format!("file:///srv/{token}"),
        format!("github:{token}/r"),
        format!("git+https://host/{token}/r"),
        format!("git+https://{token}@host/r"),
        format!("HTTPS://{token}@host/r"),
        format!("https://{token}@host/r "),
        format!("https:/{token}@host/r"),
        format!("https://host:{token}/r"),
        token.to_owned(),
        format!(" {token}\n"),
        format!("{token}/r"),
        format!("~/{token}"),
        "https://host/r;private_token=canary".into(),
        "https://host/r%3Fprivate_token=canary".into(),
        "https://host/r%3fprivate_token=canary".into(),
        "git@host:r;private_token=canary".into(),
        "git@host:r?private_token=canary".into(),
        "https://glpat-canaryabcdefghijkl.example/r".into(),
        "git+https://host/r?private_token=canary".into(),
        "github:o/r?token=canary".into(),
        "github:u:canary@host/r".into(),
        "path:/u:canary@host/r".into(),
        "u:canary@host/r".into(),
        "canary@forge.example/x".into(),
        "canary@forge.example".into(),
        "https://u:canary\u{ff20}forge/x".into(),
        "https://u\u{ff1a}canary\u{ff20}forge/x".into(),
        "https://canary\u{fe6b}forge/x".into(),
        "u:canary\u{ff20}forge/x".into(),
        "https://forge.example:canary/x".into(),
        "https://forge.example:443:canary/x".into(),
        "ssh://u:canary/x".into(),
        format!("ssh://{token}@github.com/o/r"),
        format!("git+ssh://{token}@github.com/o/r"),
        "[u:canary@host:22]:o/r".into(),
        "[canary@host:22]:o/r".into(),
        "https://user:canary%40forge.example/o/r".into(),
        "https://user:can/ary%40forge.example/canary".into(),
        "https://user%3Acanary%2540forge.example/o/r".into(),
        "https://u:can ary:canary@host/r".into(),
        "https:u:canary@host/r".into(),
        "line\nhttps://u:canary@host/r".into(),
        "~/u:canary@x".into(),
        "-----BEGIN OPENSSH PRIVATE KEY-----canary-----END OPENSSH PRIVATE KEY-----".into(),
        "canaryb3BlbnNzaC1rZXktdjE0/canaryZXktdjE0".into(),
        "AGE-SECRET-KEY-1CANARY/canary".into(),
    ] {
        let (shown, why, fix) = of(&text);
        let told = format!("{shown}{why}{fix}");
        assert!(!told.contains("canary"), "{text:?}: {told}");
    }
}

#[test]
fn every_form_to_write_is_taken() {
    for text in [
        "git+https://forge.example/a/b?ref=main",
        "ssh://git@github.com:o/r",
        "git@[host:22]:o/r",
        "github.com/o/r",
        "git@github.com/o/r",
        "https:/forge/a/b",
        "me@github.com/o/r",
        "~/repo",
        "path:/srv/x",
        " https://forge.example/a b ",
    ] {
        let (_, _, fix) = of(text);
        let form = fix
            .split(['"', ' ', ',', ';'])
            .find(|word| word.contains('/') || word.contains('@'))
            .unwrap_or_default();
        assert!(of_text(form).is_none(), "{text}: {fix}");
    }
}
