//! Promise: whatever a person gives (a name of a disk, a file of any name and form, a file that is not a log) is named as it
//! is, once, with what to do next; the same disk has the same ids however its name is written.
//!
//! The real program runs; nothing of a foreign name reaches the terminal unescaped.
//!
//! `config_refused` says which values are allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use nix::sys::stat::Mode;
use std::process::{Command, Output};

const VALID: &str = r#"(host: "web", labels: (efi: "E", root: "r"), repository: (remote: "https://forge.example/o/r"), system: Flake)"#;

struct Place {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        Place { _dir: dir, root }
    }

    fn file(&self, name: &str, text: &str) -> Utf8PathBuf {
        let path = self.root.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn landfall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(args)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn id(config: &Utf8Path, disk: &[&str]) -> String {
    let mut args = vec!["plan", "--config", config.as_str(), "--disk-size", "64G"];
    args.extend(disk);
    let output = landfall(&args);
    assert!(output.status.success(), "{disk:?}: {}", said(&output));
    let text = said(&output);
    let line = text.lines().find(|line| line.starts_with("install ")).unwrap();
    line.to_owned()
}

#[test]
fn a_disk_has_the_same_ids_however_its_name_is_written() {
    let place = Place::new();
    let config = place.file("a.ron", VALID);
    let of_wwn = |wwn: &str| id(&config, &["--disk-wwn", wwn]);
    let wwn = of_wwn("naa.5002538d40123456");
    for other in [
        "0x5002538d40123456",
        "wwn-0x5002538d40123456",
        "5002538D40123456",
        " naa.5002538d40123456 ",
        "scsi-35002538d40123456",
    ] {
        assert_eq!(of_wwn(other), wwn, "{other}");
    }
    let of_serial = |serial: &str| id(&config, &["--disk-serial", serial]);
    // An EUI-64 is written with 0x as well.
    let eui = of_wwn("eui.a025388b71b2c3d4");
    for other in [
        "wwn-0xa025388b71b2c3d4",
        "0xa025388b71b2c3d4",
        "A025388B71B2C3D4",
        "nvme-eui.a025388b71b2c3d4",
    ] {
        assert_eq!(of_wwn(other), eui, "{other}");
    }
    assert_ne!(of_wwn("wwn-0x5002538d40123456"), of_wwn("eui.5002538d40123456"));
    // Text in it keeps its case, which the kernel does not change.
    let ata = "t10.ATA     Samsung SSD 860 EVO 500GB               S5GXNX0T123456      ";
    assert_eq!(of_wwn(ata), of_wwn(ata.trim()));
    assert_ne!(of_wwn(ata), of_wwn(&ata.to_lowercase()));
    let serial = of_serial("S5GXNX0T123456");
    assert_eq!(of_serial("  S5GXNX0T123456 \n"), serial);
    // The controls: another disk, and a kind of name that is another.
    assert_ne!(of_wwn("naa.5002538d40123457"), wwn);
    assert_ne!(of_wwn("eui.5002538d40123456"), wwn);
    assert_ne!(serial, wwn);
    let output = landfall(&[
        "plan",
        "--config",
        config.as_str(),
        "--disk-size",
        "64G",
        "--disk-serial",
        "S5GX\nNX0T123456",
    ]);
    assert!(output.status.code() == Some(2) && said(&output).contains("control characters"));
}

#[test]
fn a_file_may_be_called_anything() {
    let place = Place::new();
    let odd = place.file("x\u{1b}[31m\u{202e}evil\nfine 2.ron", "(host: 7)");
    for args in [
        vec!["check", odd.as_str()],
        vec!["plan", "--config", odd.as_str(), "--disk-size", "64G"],
    ] {
        let text = said(&landfall(&args));
        assert!(text.contains("host"), "{text}");
        assert!(
            !text.contains(['\u{1b}', '\u{202e}']) && !text.lines().any(|line| line.starts_with("fine")),
            "{text:?}"
        );
    }
    let log = place.file("run.log", "no event \u{1b}]0;x\u{7}\u{202e}\n");
    let output = landfall(&["log", "--json", "--file", log.as_str()]);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        line["not_an_event"].as_str().unwrap().starts_with("no event"),
        "{line}"
    );
    assert!(!said(&output).contains(['\u{1b}', '\u{202e}']));
}

/// A question is answered with a way to ask it, and nothing is to be moved away.
#[test]
fn what_is_no_file_is_not_to_be_moved_away() {
    let place = Place::new();
    let config = place.file("a.ron", VALID);
    let fifo = place.root.join("fifo");
    nix::unistd::mkfifo(fifo.as_std_path(), Mode::S_IRWXU).unwrap();
    for image in ["/dev/null", "/dev/zero", fifo.as_str(), place.root.as_str()] {
        let output = landfall(&["plan", "--config", config.as_str(), "--disk-image", image]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{image}: {text}");
        assert!(
            text.contains(image) && text.contains("name an image") && !text.contains("away"),
            "{text}"
        );
    }
    let output = landfall(&["log", "--file", fifo.as_str()]);
    let text = said(&output);
    assert!(
        output.status.code() == Some(2)
            && text.contains("landfall log --file FILE")
            && !text.contains("resume"),
        "{text}"
    );
    let run = place.root.join("run");
    fs::create_dir(&run).unwrap();
    nix::unistd::mkfifo(run.join("status.json").as_std_path(), Mode::S_IRWXU).unwrap();
    let text = said(&landfall(&["--run-dir", run.as_str(), "status"]));
    assert!(
        text.contains("--run-dir DIR status") && !text.contains("resume"),
        "{text}"
    );
}

#[test]
fn a_fault_of_the_notation_is_told_once_in_plain_words() {
    let place = Place::new();
    for (name, text, why) in [
        ("nix.json", "{ host = \"web\"; }", "double quotes is missing"),
        (
            "comment.json",
            "{\n  // the host\n  \"host\": \"web\" }",
            "double quotes is missing",
        ),
        ("single.json", "{ 'host': 'web' }", "double quotes is missing"),
        (
            "html.json",
            "<!DOCTYPE html>\n<html></html>",
            "this is not a value",
        ),
        (
            "comma.json",
            "{ \"host\": \"web\", }",
            "a comma follows the last value",
        ),
        (
            "line.json",
            "{ \"host\": \"web\n\" }",
            "continues on the next line",
        ),
        ("tab.json", "{ \"host\": \"we\tb\" }", "has a tab in it"),
        ("end.json", "{ \"host\": \"web\"", "the text ends before"),
        (
            "more.json",
            "{\"host\": \"web\", \"labels\": {\"efi\": \"E\", \"root\": \"r\"}, \"repository\": {\"remote\": \"https://forge.example/o/r\"}, \"system\": \"Flake\"} }",
            "follows the end",
        ),
        (
            "number.json",
            "{ \"reinstall\": 01 }",
            "this number cannot be read",
        ),
        ("escape.json", "{ \"host\": \"\\w\" }", "a backslash"),
        ("quotes.ron", "(host: \u{201e}web\u{201c})", ""),
    ] {
        let file = place.file(name, text);
        let output = landfall(&["check", file.as_str()]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {told}");
        assert!(told.contains(why), "{name}: {told}");
        assert_eq!(
            told.matches(file.as_str()).count(),
            1,
            "{name}: told once: {told}"
        );
        assert!(
            name.ends_with(".ron") || told.contains("next: "),
            "{name}: {told}"
        );
        assert!(
            !told.contains("EOF") && !told.contains("key must be"),
            "{name}: {told}"
        );
    }
}

#[test]
fn all_that_is_wrong_in_one_form_of_a_value_is_told_with_its_place() {
    let place = Place::new();
    for (name, text) in [
        (
            "image.ron",
            "(host: \"web\", labels: (efi: \"E\", root: \"r\"), repository: (remote: \"https://forge.example/o/r\"),\n  system: Image(system: \"/x\",\n    file: \
             \"i.lfi\",\n    digest: \"Z\"))",
        ),
        (
            "image.json",
            "{\"host\": \"web\", \"labels\": {\"efi\": \"E\", \"root\": \"r\"}, \"repository\": {\"remote\": \"https://forge.example/o/r\"},\n  \"system\": {\"Image\": \
             {\"system\": \"/x\",\n    \"file\": \"i.lfi\",\n    \"digest\": \"Z\"}}}",
        ),
    ] {
        let file = place.file(name, text);
        let told = said(&landfall(&["check", file.as_str()]));
        for (option, line) in [
            ("system.Image.system", 2),
            ("system.Image.file", 3),
            ("system.Image.digest", 4),
        ] {
            let found = told.lines().find(|said| said.contains(&format!("{option}: ")));
            let found = found.unwrap_or_else(|| panic!("{name}: {option}: {told}"));
            assert!(found.contains(&format!("{file}:{line}:")), "{name}: {found}");
        }
    }
}

/// A configuration with one value of a repository's option, in JSON.
fn with(place: &Place, option: &str, value: &str) -> (Option<i32>, String) {
    let mut repository = serde_json::json!({"remote": "https://forge.example/o/r"});
    repository[option] = value.into();
    let config = serde_json::json!({
        "host": "web", "labels": {"efi": "E", "root": "r"}, "repository": repository, "system": "Flake",
    });
    let file = place.file("one.json", &config.to_string());
    let output = landfall(&["check", file.as_str()]);
    (output.status.code(), said(&output))
}

/// A token in an address is shown by no command, whoever gave the address.
#[test]
fn a_token_in_an_address_is_never_shown() {
    let place = Place::new();
    let config = place.file("a.ron", VALID);
    let token = "ghp_canary0123456789abcdefghijABCDEFGHIJ";
    for remote in [
        format!("https://host/{token}/r"),
        format!("ssh://host/{token}/r"),
        format!("git@host:{token}/r"),
        format!("https://{token}.example/r"),
        format!("git+https://host/{token}/r"),
        "https://host/github_pat_11canary0123456789_abcdef/r".to_owned(),
        "https://host/glpat-canary0123456789abcd/r".to_owned(),
        "https://glpat-canary0123456789abcd.example/r".to_owned(),
        "https://host/r%3Fprivate_token=canary".to_owned(),
        "https://host/r;private_token=canary".to_owned(),
        "git@host:r;private_token=canary".to_owned(),
    ] {
        let (code, told) = with(&place, "remote", &remote);
        assert!(code == Some(2) && !told.contains("canary"), "{remote}: {told}");
        assert!(told.contains("next: "), "{remote}: {told}");
        let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args([
                "plan",
                "--config",
                config.as_str(),
                "--disk-size",
                "64G",
                "--disk-serial",
                "S1234567",
            ])
            .env("REPO_REMOTE", &remote)
            .output()
            .unwrap();
        let told = said(&output);
        assert!(
            output.status.code() == Some(2) && !told.contains("canary") && told.contains("REPO_REMOTE"),
            "{remote}: {told}"
        );
    }
}

/// An option of the repository, a value that is refused, and what the next step says.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "remote",
        "github:ops/nix-config?ref=main",
        "next: write https://github.com/ops/nix-config or",
    ),
    (
        "remote",
        "git+https://forge.example/a/b?ref=main",
        "next: write https://forge.example/a/b, and",
    ),
    ("remote", "path:/srv/x", "next: write /srv/x"),
    ("remote", "git+file:///srv/x", "next: write /srv/x"),
    (
        "remote",
        "git@host.example:r#web",
        "next: write git@host.example:r;",
    ),
    (
        "remote",
        "ssh://git@github.com:o/r",
        "next: write ssh://git@github.com/o/r",
    ),
    (
        "remote",
        "ssh://git@host:22:o/r",
        "next: write ssh://git@host:22/o/r",
    ),
    ("remote", "git@[host:22]:o/r", "next: write ssh://git@host:22/o/r"),
    ("remote", "github.com/o/r", "next: write https://github.com/o/r"),
    ("remote", "git@github.com/o/r", "next: write git@github.com:o/r"),
    (
        "remote",
        "HTTPS://github.com/o/r",
        "next: write https://github.com/o/r",
    ),
    ("remote", "https:/forge/a/b", "next: write https://forge/a/b"),
    (
        "remote",
        "https://host:abc/p",
        "next: write https://host/OWNER/REPO;",
    ),
    (
        "remote",
        "https://forge.example/a\n",
        "next: write https://forge.example/a",
    ),
    (
        "remote",
        "https://forge.example/a ",
        "next: write https://forge.example/a",
    ),
    ("remote", "~/repo", "such as /root/repo"),
    ("remote", "./repo", "an absolute path"),
    (
        "remote",
        "gitlab:veloren%2Fdev/rfcs",
        "next: write https://gitlab.com/veloren/dev/rfcs or",
    ),
    (
        "remote",
        "https://raw.githubusercontent.com/o/r/main/flake.nix",
        "next: write https://github.com/o/r",
    ),
    ("remote", "gh:o/r", "next: write https://github.com/o/r or"),
    (
        "remote",
        "github:ops/nix cfg",
        "next: write https://github.com/OWNER/REPO or",
    ),
    (
        "remote",
        "github:ops/n\u{ef}x",
        "next: write https://github.com/OWNER/REPO or",
    ),
    ("remote", "git@fd00::1/o/r", "next: write ssh://git@[fd00::1]/o/r"),
    ("remote", "git@host:/", "next: write git@host:OWNER/REPO"),
    ("remote", "https://forge.example/a%0Ab", "next: remove the code"),
    ("revision", "v1.0", "write \"v1.0\" there"),
    ("revision", "abc1234", "git rev-parse abc1234"),
    (
        "revision",
        "ABCDEF0123456789012345678901234567890123",
        "write \"abcdef0123456789012345678901234567890123\"",
    ),
    (
        "revision",
        "0000000000000000000000000000000000000000",
        "git rev-parse",
    ),
    ("branch", "origin/main", "next: write main"),
    ("branch", "HEAD", "next: leave the option out"),
    ("branch", "FETCH_HEAD", "next: leave the option out"),
    ("branch", "main\n", "next: write \"main\""),
    ("branch", "a b", "next: "),
    ("clone_path", "/etc/nixos", "next: write \"/mnt/etc/nixos\""),
];

/// Whatever is refused of a repository has a next step, and the form that it names is taken.
#[test]
fn every_refusal_of_a_repository_says_what_to_write() {
    let place = Place::new();
    for &(option, value, next) in REFUSED {
        let (code, told) = with(&place, option, value);
        assert!(
            code == Some(2) && told.contains(next),
            "{option} {value:?}: {told}"
        );
        assert_eq!(told.matches("next: ").count(), 1, "{value:?}: {told}");
    }
    // What is wrong is seen.
    let (_, told) = with(&place, "remote", "https://forge.example/a\n");
    assert!(
        told.contains(r#""https://forge.example/a\n""#) && told.contains("a line feed is after it"),
        "{told}"
    );
    let (code, told) = with(&place, "branch", "refs/heads/origin/main");
    assert_eq!(code, Some(0), "the control: {told}");
}

/// What clap refuses is an object for programs, too.
#[test]
fn a_command_line_that_is_not_understood_is_an_object_for_programs() {
    for args in [
        &["host", "new", "--json"][..],
        &["flash", "--json", "--nothing"],
        &["disks", "--json", "more"],
    ] {
        let output = landfall(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["result"], &value["exit"]),
            (&"failed".into(), &2.into()),
            "{value}"
        );
        let why = value["why"].as_str().unwrap();
        assert!(
            !why.is_empty() && !why.contains("Usage") && !value["next"].is_null(),
            "{value}"
        );
        // The control: without it, and for help, there is nothing of it.
        let without: Vec<&str> = args.iter().copied().filter(|word| *word != "--json").collect();
        assert!(landfall(&without).stdout.is_empty());
    }
    let help = String::from_utf8(landfall(&["flash", "--json", "--help"]).stdout).unwrap();
    assert!(!help.contains("\"result\""), "{help}");
}
