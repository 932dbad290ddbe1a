//! Promise: a key that is taken is one that ssh loads, whatever an editor or copying did to its text; and what ssh does not load, or
//! asks a passphrase for, is refused before anything is written, with what to do. `ssh-keygen` itself makes the keys and is the judge.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::secret::Secret;
use landfall::real::secrets::credentials::Credentials;
use landfall::real::secrets::key_text;
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
            "a PuTTY key",
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
    let plugin = "AGE-PLUGIN-YUBIKEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNK08YXA";
    assert!(of(plugin).is_ok());
    // Longer than the addresses that Bech32 was made for.
    let long = format!("AGE-PLUGIN-X-1{}6QSZYT", "QURSWPC8".repeat(60));
    assert!(of(&long).is_ok() && of(&format!("{key}\n{plugin}\n{long}")).is_ok());
    assert!(of("AGE-SECRET-KEY-PQ-1QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSV4PSY7").is_ok());
    for identity in [key, plugin, &long] {
        for at in 0..identity.len() {
            let (before, after) = identity.split_at(at);
            let other = if after.starts_with('Q') { "P" } else { "Q" };
            assert!(
                of(&format!("{before}{other}{}", &after[1..])).is_err(),
                "{at} of {identity} is another one"
            );
            assert!(of(before).is_err(), "{identity} is cut at {at}");
        }
        assert!(of(&format!("{key}\n{}", identity.to_lowercase())).is_err());
        assert!(of(&format!("{identity}{identity}")).is_err() && of(&format!("{identity} x")).is_err());
    }
    // A right checksum around too few bytes.
    assert!(of("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGGKTESFN").is_err());
    let binary = of("age-encryption.org/v1\n-> scrypt x 18\nx\n--- x\n").unwrap_err();
    assert!(binary.contains("age -a"), "{binary}");
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

/// Made by age 1.1 itself (`age -a -r RECIPIENT`).
#[test]
fn an_armored_file_of_age_is_whole_or_refused() {
    let of = |text: &str| {
        key_text::age(&Secret::copy_of(text.as_bytes()).unwrap(), "x").map_err(|fault| fault.to_string())
    };
    let whole = include_str!("age-armored.txt");
    assert!(of(whole).is_ok() && of(&whole.replace('\n', "\r\n")).is_ok());
    for end in 0..whole.len() - 1 {
        assert!(of(&whole[..end]).is_err(), "cut at {end}");
    }
    let lines: Vec<&str> = whole.lines().collect();
    // Of what is encrypted, only who decrypts it sees that something is missing in the middle.
    for gone in [0, 1, 2, 3, 4, lines.len() - 1] {
        let mut fewer = lines.clone();
        fewer.remove(gone);
        assert!(of(&fewer.join("\n")).is_err(), "without line {gone}");
    }
}

/// Which keys of ssh age takes: `age -d -i` says "unsupported SSH identity type" to all others.
#[test]
fn of_the_keys_of_ssh_age_takes_two_kinds() {
    let Some((keep, keys)) = keys("") else { return };
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    for (name, key) in &keys {
        let taken = key_text::age(&Secret::copy_of(key).unwrap(), "x");
        assert_eq!(taken.is_ok(), !name.contains("ecdsa"), "{name}: {taken:?}");
    }
    let small = dir.join("small");
    assert!(keygen(&[
        "-q",
        "-t",
        "rsa",
        "-b",
        "1024",
        "-N",
        "",
        "-f",
        small.as_str()
    ]));
    let small = fs_err::read(&small).unwrap();
    assert!(taken(&small).is_ok(), "ssh loads it");
    assert!(key_text::age(&Secret::copy_of(&small).unwrap(), "x").is_err());
}

/// Keys that are whole, and that ssh does not load, or not without somebody, or not any more.
#[test]
fn a_key_that_is_of_no_use_to_ssh_is_refused() {
    let Some((keep, made)) = keys("") else { return };
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    for (name, text, words) in [
        (
            "X25519 in PKCS #8",
            include_str!("keys_useless/x25519-pkcs8.txt"),
            "ssh does not support this kind of key",
        ),
        (
            "secp256k1 in PKCS #8",
            include_str!("keys_useless/secp256k1-pkcs8.txt"),
            "ssh does not support this kind of key",
        ),
        (
            "secp256k1 in SEC 1",
            include_str!("keys_useless/secp256k1-sec1.txt"),
            "ssh does not support this kind of key",
        ),
        (
            "Ed25519 in PKCS #8",
            include_str!("keys_useless/ed25519-pkcs8.txt"),
            "9.6",
        ),
        (
            "another padding",
            include_str!("keys_useless/padding.txt"),
            "damaged",
        ),
        ("DSA", include_str!("keys_useless/dsa.txt"), "DSA"),
        ("DSA in PEM", include_str!("keys_useless/dsa-pem.txt"), "DSA"),
        (
            "a security key",
            include_str!("keys_useless/security-key.txt"),
            "must be touched",
        ),
    ] {
        let why = taken(text.as_bytes()).unwrap_err();
        assert!(why.contains(words), "{name}: {why}");
        if !name.contains("DSA") && !name.contains("security") && !name.contains("Ed25519") {
            assert!(!loads(dir, text.as_bytes()), "the control: ssh loads {name}");
        }
    }
    let (_, ed25519) = &made[0];
    let text = std::str::from_utf8(ed25519).unwrap();
    for blanks in [
        text.lines().map(|line| format!("  {line}\n")).collect::<String>(),
        text.lines().map(|line| format!("{line}  \n")).collect(),
        text.replacen("-----\n", "-----\t\n", 1),
        format!("    {}", text.replace('\n', "\n    ")),
    ] {
        let why = taken(blanks.as_bytes()).unwrap_err();
        assert!(why.contains("spaces"), "{why}");
    }
    // Any byte of the key changed: it is refused, or ssh loads it as well (a comment, a number that nobody checks).
    let lines: Vec<&str> = text.lines().collect();
    let body: String = lines[1..lines.len() - 1].concat();
    for at in (0..body.len()).step_by(3) {
        let other = if &body[at..=at] == "A" { "B" } else { "A" };
        let changed = format!(
            "{}\n{}{other}{}\n{}\n",
            lines[0],
            &body[..at],
            &body[at + 1..],
            lines[lines.len() - 1]
        );
        assert!(
            taken(changed.as_bytes()).is_err() || loads(dir, changed.as_bytes()),
            "{at}: taken, and ssh does not load it"
        );
    }
}

#[test]
fn a_credential_that_is_no_key_stops_before_anything() {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    for name in ["ssh-key", "deploy-key", "age-identity"] {
        let file = dir.join(format!("landfall.{name}"));
        fs_err::write(&file, "hello").unwrap();
        let fault = Credentials::default().take_from(dir, "landfall.").unwrap_err();
        assert!(fault.to_string().contains(name), "{fault}");
        fs_err::write(
            &file,
            format!("\u{feff}{}", include_str!("ssh-key.txt").replace('\n', "\r\n")),
        )
        .unwrap();
        Credentials::default().take_from(dir, "landfall.").unwrap();
        fs_err::remove_file(&file).unwrap();
    }
}
