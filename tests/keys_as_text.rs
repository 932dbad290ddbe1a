//! Promise: a key that is taken is one that ssh loads, whatever an editor or copying did to its text; and what ssh does not load, or
//! asks a passphrase for, is refused before anything is written, with what to do. `ssh-keygen` itself makes the keys and is the judge.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::key_text;
use landfall::real::secret::Secret;
use landfall::real::secrets::Vault;
use secrecy::ExposeSecret;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

fn keygen(args: &[&str]) -> bool {
    Command::new("ssh-keygen")
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_remove("SSH_ASKPASS")
        .env_remove("DISPLAY")
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether ssh loads a key of this text without a passphrase.
fn loads(dir: &Utf8Path, text: &[u8]) -> bool {
    let file = dir.join("asked");
    fs_err::write(&file, text).unwrap();
    fs_err::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    keygen(&["-y", "-P", "", "-f", file.as_str()])
}

fn taken(text: &[u8]) -> Result<Vec<u8>, String> {
    key_text::ssh(&Secret::copy_of(text).unwrap(), "credential x")
        .map(|secret| secret.expose_secret().to_vec())
        .map_err(|fault| fault.to_string())
}

/// Its name and its text.
type Key = (String, Vec<u8>);

/// Keys of every form; `None`: no ssh-keygen here.
fn keys(passphrase: &str) -> Option<(tempfile::TempDir, Vec<Key>)> {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    let mut made = vec![];
    for (kind, bits, form) in [
        ("ed25519", "256", "RFC4716"),
        ("ecdsa", "384", "RFC4716"),
        ("ecdsa", "256", "PEM"),
        ("ecdsa", "521", "PKCS8"),
        ("rsa", "2048", "RFC4716"),
        ("rsa", "2048", "PEM"),
        ("rsa", "2048", "PKCS8"),
    ] {
        let name = format!("{kind}-{bits}-{form}");
        let file = dir.join(&name);
        let args = [
            "-q",
            "-t",
            kind,
            "-b",
            bits,
            "-m",
            form,
            "-N",
            passphrase,
            "-C",
            "a test",
            "-f",
            file.as_str(),
        ];
        if !keygen(&args) {
            return None;
        }
        made.push((name, fs_err::read(&file).unwrap()));
    }
    Some((keep, made))
}

#[test]
fn what_surrounds_a_key_is_left_out_and_the_key_loads() {
    let Some((keep, keys)) = keys("") else { return };
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    for (name, key) in &keys {
        assert!(loads(dir, key), "the control: {name}");
        assert_eq!(taken(key).as_deref(), Ok(&**key), "{name}: nothing is changed");
        let text = std::str::from_utf8(key).unwrap();
        let crlf = text.replace('\n', "\r\n");
        for (how, other) in [
            ("CR LF", crlf.clone()),
            ("a mark", format!("\u{feff}{text}")),
            ("a mark and CR LF", format!("\u{feff}{crlf}")),
            ("no line end", text.trim_end().to_owned()),
            ("blank lines", format!("\n  \n{text}\n\n")),
        ] {
            let made = taken(other.as_bytes()).unwrap_or_else(|why| panic!("{name}, {how}: {why}"));
            assert_eq!(&made, key, "{name}, {how}");
        }
        // Why: OpenSSH itself takes neither.
        if name.contains("RFC4716") {
            assert!(
                !loads(dir, crlf.as_bytes()) && !loads(dir, format!("\u{feff}{text}").as_bytes()),
                "{name}"
            );
        }
    }
}

#[test]
fn an_encrypted_key_is_refused_with_what_to_do() {
    let Some((keep, keys)) = keys("canary passphrase") else {
        return;
    };
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    for (name, key) in keys {
        assert!(!loads(dir, &key), "the control: {name} asks");
        let why = taken(&key).unwrap_err();
        assert!(
            why.contains("encrypted") && why.contains("ssh-keygen -p"),
            "{name}: {why}"
        );
        let made = key_text::age(&Secret::copy_of(&key).unwrap(), "credential x");
        assert!(made.is_err(), "{name}");
    }
}

#[test]
fn what_is_no_key_is_refused_and_not_repeated() {
    let Some((keep, keys)) = keys("") else { return };
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    let public = fs_err::read_to_string(dir.join("ed25519-256-RFC4716.pub")).unwrap();
    let mut bad: Vec<(String, String)> = vec![];
    for (name, key) in &keys {
        let text = std::str::from_utf8(key).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut without = lines.clone();
        without.remove(2);
        let mut two = lines.clone();
        two.swap(1, 2);
        for (how, other) in [
            ("half of it", text[..text.len() / 2].to_owned()),
            ("without its last line", lines[..lines.len() - 1].join("\n")),
            ("without its first line", lines[1..].join("\n")),
            ("without a line", without.join("\n")),
            ("two lines changed places", two.join("\n")),
            ("twice", format!("{text}{text}")),
            ("indented", lines.join("\n    ")),
            ("line ends as letters", lines.join("\\n")),
            ("in one line", lines.join(" ")),
            ("CR alone", lines.join("\r")),
            (
                "a letter that no key has",
                text.replacen(lines[1], &format!("*{}", &lines[1][1..]), 1),
            ),
            ("quoted", lines.iter().map(|line| format!("> {line}\n")).collect()),
        ] {
            bad.push((format!("{name}, {how}"), other));
        }
    }
    for (how, text) in [
        ("garbage", "hello"),
        (
            "a frame around nothing",
            "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n",
        ),
        (
            "a frame around garbage",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nhello\n-----END OPENSSH PRIVATE KEY-----\n",
        ),
        (
            "a certificate",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        ),
        ("an identity of age", "AGE-SECRET-KEY-1CANARY"),
        (
            "a key of PuTTY",
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
        ),
        ("HTML", "<!DOCTYPE html><html></html>"),
        ("blanks", " \n\t\n"),
    ] {
        bad.push((how.into(), text.into()));
    }
    bad.push(("a public key".into(), public));
    for (how, text) in &bad {
        let why = match taken(text.as_bytes()) {
            Err(why) => why,
            // Two lines of a number are two lines of another number to everybody but the key's own owner.
            Ok(_) if how.contains("changed places") && !how.contains("RFC4716") => continue,
            Ok(_) => panic!("{how} is taken"),
        };
        for line in text
            .lines()
            .filter(|line| line.len() > 20 && !line.starts_with("---"))
        {
            assert!(!why.contains(line), "{how}: {why}");
        }
        if !how.contains("changed places") && !how.contains("twice") && !how.contains("indented") {
            assert!(!loads(dir, text.as_bytes()), "the control: ssh loads {how}");
        }
    }
    for bytes in [&b"\xFF\xFEs\0e\0"[..], b"\xFE\xFF\0s", b"\0", b"caf\xe9", b""] {
        assert!(taken(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_identity_of_age_has_a_form_too() {
    let of = |text: &str| {
        key_text::age(&Secret::copy_of(text.as_bytes()).unwrap(), "credential x")
            .map(|secret| String::from_utf8(secret.expose_secret().to_vec()).unwrap())
            .map_err(|fault| fault.to_string())
    };
    let key = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let whole = format!("# created: 2026-01-01T00:00:00Z\n# public key: age1x\n{key}\n");
    assert_eq!(of(&whole), Ok(whole.clone()));
    assert_eq!(of(&format!("\u{feff}{}", whole.replace('\n', "\r\n"))), Ok(whole));
    let ssh = include_str!("ssh-key.txt");
    assert_eq!(of(ssh).as_deref(), Ok(ssh));
    assert!(of("AGE-PLUGIN-YUBIKEY-1QQPQZQ\n").is_ok());
    assert!(of("age-encryption.org/v1\n-> scrypt x 18\nx\n--- x\n").is_ok());
    for bad in [
        "",
        "hello",
        "age1qqqq",
        "# nothing\n",
        "AGE-SECRET-KEY-",
        "AGE-SECRET-KEY-1 canary",
        &ssh[..200],
    ] {
        let why = of(bad).unwrap_err();
        assert!(!why.contains("canary"), "{bad}: {why}");
    }
}

#[test]
fn a_credential_that_is_no_key_stops_before_anything() {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    for name in ["ssh-key", "deploy-key", "age-identity"] {
        let file = dir.join(format!("landfall.{name}"));
        fs_err::write(&file, "hello").unwrap();
        let fault = Vault::default().take_from(dir, "landfall.").unwrap_err();
        assert!(fault.to_string().contains(name), "{fault}");
        fs_err::write(
            &file,
            format!("\u{feff}{}", include_str!("ssh-key.txt").replace('\n', "\r\n")),
        )
        .unwrap();
        Vault::default().take_from(dir, "landfall.").unwrap();
        fs_err::remove_file(&file).unwrap();
    }
}
