//! Tests of `git`.

use super::*;
use crate::event::Reporter;
use crate::real::process::stop::Stop;
use crate::real::test_support::block_on;
use landfall_states::fault::FaultClass;
use proptest::prelude::*;

fn id(c: char) -> Revision {
    c.to_string().repeat(40).parse().unwrap()
}

fn offer() -> Offer {
    let (a, b, c, d) = (id('a'), id('b'), id('c'), id('d'));
    Offer::parse(&format!(
        "ref: refs/heads/trunk\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/trunk\n{b}\trefs/heads/dev\n{c}\trefs/tags/v1\n{d}\trefs/tags/v1^{{}}\nwarning: x\n"
    ))
}

#[test]
fn references_resolve_as_git_does() {
    let offer = offer();
    let branch = |name: &str| Reference::Branch(name.parse().unwrap());
    assert_eq!(offer.resolve(&Reference::Default), Ok(id('a')));
    assert_eq!(offer.resolve(&branch("dev")), Ok(id('b')));
    assert_eq!(
        offer.resolve(&branch("v1")),
        Ok(id('d')),
        "an annotated tag is peeled"
    );
    assert_eq!(offer.resolve(&branch("refs/heads/dev")), Ok(id('b')));
    assert_eq!(offer.resolve(&Reference::Revision(id('e'))), Ok(id('e')));
    let why = offer.resolve(&branch("gone")).unwrap_err();
    assert!(why.contains("gone") && why.contains("trunk, dev"), "{why}");
    assert_eq!(offer.branch(&Reference::Default).as_deref(), Some("trunk"));
    assert_eq!(offer.branch(&branch("v1")), None);
    assert_eq!(offer.branch(&branch("dev")).as_deref(), Some("dev"));
}

#[test]
fn progress_lines() {
    let t = Transfer::parse("Receiving objects:  45% (123/270), 1.50 MiB | 2.30 MiB/s").unwrap();
    assert_eq!((t.done, t.total, t.bytes), (123, 270, Some(1_572_864)));
    let t = Transfer::parse("remote: Compressing objects: 100% (3/3), done.").unwrap();
    assert_eq!(
        (t.what.as_str(), t.done, t.bytes),
        ("Compressing objects", 3, None)
    );
    assert_eq!(Transfer::parse("Cloning into 'x'..."), None);
}

#[test]
fn classes_of_git_failures() {
    let class = |said: &str| {
        fault(
            "x",
            &Ended {
                program: "git".into(),
                code: Some(128),
                signal: None,
                stdout: String::new(),
                stderr: said.into(),
            },
        )
        .class
    };
    for (said, wanted) in [
        (
            "fatal: unable to access 'https://h/': Could not resolve host: h",
            FaultClass::Transient,
        ),
        (
            "ssh: connect to host h port 22: Connection refused\nfatal: Could not read from remote repository.",
            FaultClass::Transient,
        ),
        (
            "fatal: unable to access 'https://h/': The requested URL returned error: 503",
            FaultClass::Transient,
        ),
        (
            "fatal: unable to access 'https://h/': The requested URL returned error: 429",
            FaultClass::Transient,
        ),
        (
            "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output",
            FaultClass::Transient,
        ),
        (
            "fetch-pack: unexpected disconnect while reading sideband packet",
            FaultClass::Transient,
        ),
        (
            "remote: Repository not found.\nfatal: repository 'https://h/r' not found",
            FaultClass::Permanent,
        ),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            FaultClass::Permanent,
        ),
        (
            "fatal: remote error: access denied or repository not exported: /r",
            FaultClass::Permanent,
        ),
        (
            "fatal: remote error: upload-pack: not our ref aaaa",
            FaultClass::Permanent,
        ),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            FaultClass::NeedsChange,
        ),
        (
            "Host key verification failed.\nfatal: Could not read from remote repository.",
            FaultClass::NeedsChange,
        ),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            FaultClass::NeedsChange,
        ),
        (
            "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none",
            FaultClass::NeedsChange,
        ),
        (
            "error: file write error: No space left on device\nfatal: index-pack failed",
            FaultClass::NeedsChange,
        ),
        ("never seen", FaultClass::Transient),
    ] {
        assert_eq!(class(said), wanted, "{said}");
    }
}

#[test]
fn tokens_in_urls_are_not_repeated() {
    for (text, wanted) in [
        ("at https://u:canary@h:1/r now", "at https://[REDACTED]@h:1/r now"),
        (
            "'https://canary@h' and ssh://git@h/r",
            "'https://[REDACTED]@h' and ssh://git@h/r",
        ),
        ("file:///a@b https://h/a@b", "file:///a@b https://h/a@b"),
        (
            "fatal: \u{201e}https://h/r?private_token=canary' refused",
            "fatal: \u{201e}https://h/r?[REDACTED]' refused",
        ),
        ("fetch of ssh://me:canary@h/r", "fetch of ssh://me:[REDACTED]@h/r"),
        ("://", "://"),
        // A quote may be a part of it.
        (
            "unable to access 'http://u:can'ary@h/r/': no",
            "unable to access 'http://[REDACTED]@h/r/': no",
        ),
        ("at http://u:can\"ary@h/r", "at http://[REDACTED]@h/r"),
        (r"'https://u:can'\''ary@h/r'.", "'https://[REDACTED]@h/r'."),
        ("'https://h/r?token=can'ary'", "'https://h/r?[REDACTED]'"),
    ] {
        assert_eq!(redact(text), wanted);
    }
}

#[test]
fn what_a_remote_carries_is_not_repeated_in_any_form() {
    let remote: RemoteUrl = "http://u:can'ary@h/r?token=seven;teen".parse().unwrap();
    let said = "Password for 'http://u%3Acan%27ary@h': can'ary, u:can'ary, seven;teen, can'\\''ary";
    let told = redact_of(Some(&remote), said);
    for secret in ["can", "ary", "seven"] {
        assert!(!told.contains(secret), "{told}");
    }
    assert!(redact_of(None, said).contains("seven"), "the control");
    assert_eq!(written_url(&remote), "http://h/r");
}

#[test]
fn urls_and_ssh() {
    let remote: RemoteUrl = "git+ssh://git@h:2222/r".parse().unwrap();
    assert_eq!(git_url(&remote), "ssh://git@h:2222/r");
    let access = Access {
        token: None,
        key: Some("/run/it's/key".into()),
        known_hosts: Some("/etc/known".into()),
        connect_s: 9,
        stall_s: 30,
    };
    let command = access.ssh_command();
    assert!(command.contains(r"-i '/run/it'\''s/key'"), "{command}");
    assert!(command.contains("StrictHostKeyChecking=yes"), "{command}");
    assert!(
        command.contains("LogLevel=ERROR"),
        "no banner is shown: {command}"
    );
    assert!(
        command.contains("-o 'LogVerbose=packet.c:sshpkt_vfatal():*"),
        "what ssh could not agree on is: {command}"
    );
}

#[test]
fn a_token_is_given_to_its_own_server_alone() {
    let keep = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(keep.path()).unwrap().join("it's a token");
    fs_err::write(&file, "username=u\npassword=canary\n").unwrap();
    let access = |remote: &str| Access {
        token: token_server(&remote.parse().unwrap()).map(|server| Token {
            server,
            file: file.clone(),
        }),
        key: None,
        known_hosts: None,
        connect_s: 9,
        stall_s: 30,
    };
    let asked = |remote: &str, protocol: &str, host: &str| {
        let question = keep.path().join("question");
        fs_err::write(&question, format!("protocol={protocol}\nhost={host}\n\n")).unwrap();
        let question = fs_err::File::open(&question).unwrap().into_file();
        let git = access(remote)
            .git(None)
            .args(["credential", "fill"])
            .stdin(question);
        block_on(git.run(&Reporter::default(), &Stop::never()))
            .unwrap()
            .stdout
    };
    let remote = "https://forge.example:8443/o/r";
    assert!(asked(remote, "https", "forge.example:8443").contains("username=u\npassword=canary"));
    for (protocol, host) in [
        ("https", "forge.example"),
        ("https", "other.example:8443"),
        ("http", "forge.example:8443"),
    ] {
        assert!(
            !asked(remote, protocol, host).contains("canary"),
            "{protocol}://{host}"
        );
    }
    for remote in [
        "http://forge.example/o/r",
        "ssh://git@forge.example/o/r",
        "git@forge.example:o/r",
        "/srv/r",
    ] {
        assert_eq!(token_server(&remote.parse().unwrap()), None, "{remote}");
    }
}

proptest! {
    #[test]
    fn parsers_bear_anything(text in "(?s).*", line in "[A-Z][a-z]+:.{0,5}% \\([0-9]{0,25}/[0-9]{0,25}\\).{0,20}") {
        let offer = Offer::parse(&text);
        prop_assert!(offer.refs.len() <= text.lines().count());
        Transfer::parse(&line);
        Transfer::parse(&text);
    }
}
