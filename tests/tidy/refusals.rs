//! What landfall says of a refused configuration: every row is a value that is refused, with the program's own reason and advice. A part
//! of `tidy.rs`.

use landfall::config::{Config, Notation};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One refusal.
pub struct Refused {
    /// The option, or the file as a whole.
    pub option: String,
    /// What was written.
    pub value: String,
    /// Why it is refused.
    pub why: String,
    /// What to write.
    pub next: String,
}

/// Values that are refused. An option may be missing (`null`).
const VALUES: [(&str, &[&str]); 21] = [
    (
        "repository.remote",
        &[
            "",
            "https://forge.example/OWNER/REPO\n",
            " https://forge.example/OWNER/REPO",
            "\u{feff}https://forge.example/OWNER/REPO",
            "\"https://forge.example/OWNER/REPO\"",
            "HTTPS://forge.example/OWNER/REPO",
            "https:/forge.example/OWNER/REPO",
            "https:///forge.example/REPO",
            "ftp://forge.example/REPO",
            "ssh+git://git@forge.example/REPO",
            "git+https://forge.example/OWNER/REPO?ref=main",
            "git+file:///srv/config",
            "path:/srv/config",
            "tarball+https://forge.example/x.tar.gz",
            "hg+https://forge.example/REPO",
            "github:OWNER/REPO",
            "github:OWNER/REPO/main",
            "flakehub:OWNER/REPO",
            "nixpkgs:x",
            "forge.example/OWNER/REPO",
            "OWNER/REPO",
            "config",
            "./config",
            "~/config",
            "C:\\config",
            "//server/config",
            "/srv/my config",
            "/srv/config?ref=main",
            "/srv/config#web",
            "file://srv/config",
            "file://",
            "git@forge.example/OWNER/REPO",
            "git@forge.example",
            "git@forge.example:",
            "git@forge.example:OWNER/REPO?ref=main",
            "git@@forge.example:OWNER/REPO",
            "@forge.example:OWNER/REPO",
            "git@forge.example:2222:OWNER/REPO",
            "git@[forge.example:2222]:OWNER/REPO",
            "git@ho st:OWNER/REPO",
            "github.com:OWNER/REPO",
            "host::OWNER/REPO",
            "-x:y",
            ":path",
            "https:REPO",
            "https://user:PASSWORD@forge.example/OWNER/REPO",
            "https://forge.example/OWNER/REPO?ref=main",
            "https://forge.example/OWNER/REPO?rev=abc",
            "https://forge.example/OWNER/REPO?dir=sub",
            "https://forge.example/OWNER/REPO#web",
            "https://forge.example",
            "https://forge.example/OWNER/REPO/tree/main",
            "https://github.com/OWNER/REPO/issues",
            "https://github.com/OWNER",
            "https://raw.githubusercontent.com/OWNER/REPO/main/flake.nix",
            "https://forge.example/OWNER/REPO.tar.gz",
            "https://forge.example/OWNER/REPO.bundle",
            "https://forge.example/OWNER/MY REPO",
            "https://forge.example/a%zz",
            "https://forge.example/a%00b",
            "https://förge.example/REPO",
            "https://forge.example:abc/REPO",
            "https://forge.example:443:443/REPO",
            "https://forge.example:99999/REPO",
            "https://fd00::1/REPO",
            "https://[fd00::zz]/REPO",
            "ssh://git@[fe80::1%25eth0]/REPO",
            "ssh://git@forge..example/REPO",
            "ssh://git@forge-.example/REPO",
            "https://999.1.1.1/REPO",
            "https://ghp_abcdefghijklmnopqrstuvwxyz0123456789/REPO",
            "git@forge.example:-REPO",
        ],
    ),
    (
        "repository.branch",
        &[
            "",
            "HEAD",
            "origin/main",
            "main~1",
            "feature/",
            "my branch",
            "0123456789abcdef0123456789abcdef01234567",
        ],
    ),
    (
        "repository.revision",
        &[
            "v1.0",
            "abc1234",
            "ABCDEF0123456789012345678901234567890123",
            "0000000000000000000000000000000000000000",
            "main~1",
        ],
    ),
    (
        "repository.clone_path",
        &["/etc/nixos", "/mnt/../etc", "/mnt/nix/config"],
    ),
    ("host", &["my host", "web.", "-web"]),
    ("target_user", &["o p"]),
    ("labels.efi", &["ESP WEB", "esp-of-the-web-host"]),
    ("labels.root", &["root web", "root/web"]),
    ("labels.swap", &["swap web"]),
    ("labels.luks", &["luks web"]),
    ("luks.mapper_name", &["my crypt", "control"]),
    ("swap.size", &["8.5G", "8GiB", "0", "much"]),
    ("esp_size", &["1M"]),
    ("unattended.disk", &["/dev/sda", "sda", " S5GX "]),
    ("keys.age_identity_path", &["/nix/store/key", "/mnt/etc/key"]),
    ("ssh.key", &["key", "/nix/store/key", "/run/../key"]),
    ("repository.bundle", &["config.bundle"]),
    ("on_success", &["poweroff", "Stop"]),
    ("system", &["flake"]),
    ("ssh.known_hosts", &[]),
    ("extra", &["1"]),
];

/// Lists of values, and numbers.
fn others() -> Vec<(&'static str, Value)> {
    vec![
        ("nix.substituters", json!(["cache.example"])),
        (
            "nix.substituters",
            json!(["https://cache.example https://other.example"]),
        ),
        ("nix.substituters", json!(["https://cache.example "])),
        ("nix.substituters", json!(["ftp://cache.example"])),
        ("nix.substituters", json!(["HTTPS://cache.example"])),
        ("nix.substituters", json!(["https://user:PASSWORD@cache.example"])),
        ("nix.substituters", json!(["s3://"])),
        ("nix.substituters", json!(["https://cache example"])),
        ("nix.substituters", json!(["https://cache.example?token=TOKEN"])),
        ("nix.substituters", json!(["https://cache.example?priority=high"])),
        ("nix.substituters", json!(["file://mnt/cache"])),
        ("nix.substituters", json!(["daemon"])),
        ("nix.substituters", json!(["github:NixOS/nixpkgs"])),
        (
            "nix.substituters",
            json!(["https://cache.example/nix-cache-info"]),
        ),
        ("nix.substituters", json!(["https://app.cachix.org/cache/name"])),
        ("nix.substituters", json!(["https://forge$.example"])),
        ("nix.trusted_public_keys", json!(["cache.example-1:KEY"])),
        ("nix.trusted_public_keys", json!([" cache.example-1:KEY"])),
        (
            "nix.trusted_public_keys",
            json!(["cache.example-1:KEY other-1:KEY"]),
        ),
        ("nix.deadline_s", json!(0)),
        ("nix.deadline_s", json!(1.5)),
        ("nix.deadline_s", json!("60")),
        ("retry.backoff_first_ms", json!(3_600_000)),
        ("luks.iteration_time_ms", json!(1)),
        ("luks.memory_min", json!("2G")),
        ("extra_mount_dirs", json!(["/"])),
        ("extra_mount_dirs", json!(["/mnt/persist"])),
        ("extra_mount_dirs", json!(["persist home"])),
        ("extra_post_mount_commands", json!([""])),
        ("extra_post_mount_commands", json!("true")),
        ("labels.root", json!("E")),
        ("labels", json!({"efi": "E"})),
        ("luks.enable", json!(true)),
        ("luks.enable", json!("yes")),
        ("swap.enable", json!(true)),
        ("repository", json!({})),
        (
            "repository",
            json!({"remote": "/r", "branch": "main", "revision": "0123456789abcdef0123456789abcdef01234567"}),
        ),
        ("system", json!({"Prebuilt": "/nix/store/x"})),
        (
            "system",
            json!({"Image": {"system": "/nix/store/x", "file": "root.image"}}),
        ),
        ("host", Value::Null),
        ("hosst", json!("web")),
    ]
}

/// Files that are not in their notation.
const FILES: [(&str, Notation); 14] = [
    ("{\"host\": \"web\",}", Notation::Json),
    ("{\"host\": \"web\" \"system\": \"Flake\"}", Notation::Json),
    ("{host: \"web\"}", Notation::Json),
    ("{\"host\": \"we", Notation::Json),
    ("{\"host\": \"web\"} }", Notation::Json),
    ("{\"host\": \"a\\qb\"}", Notation::Json),
    ("{\"reinstall\": 01}", Notation::Json),
    ("{\"host\": \"a\nb\"}", Notation::Json),
    ("{\"host\": \"web\", \"host\": \"db\"}", Notation::Json),
    ("(host: \"web\" system: Flake)", Notation::Ron),
    ("(host = \"web\")", Notation::Ron),
    ("(host: \"web\"", Notation::Ron),
    ("{ host: \"web\" }", Notation::Ron),
    ("(host: \"web\") )", Notation::Ron),
];

/// A configuration that is taken.
fn taken() -> Value {
    json!({
        "host": "web",
        "labels": {"efi": "E", "root": "r"},
        "repository": {"remote": "/srv/config"},
        "system": "Flake",
    })
}

fn with(option: &str, value: &Value) -> Value {
    let mut all = taken();
    let mut place = &mut all;
    for name in option.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value.clone();
    all
}

/// Every row, each message once.
pub fn refused() -> Vec<Refused> {
    let mut values: Vec<(&str, Value)> = vec![];
    for (option, texts) in VALUES {
        values.extend(texts.iter().map(|text| (option, Value::from(*text))));
    }
    values.extend(others());
    let mut all = vec![];
    let mut known = BTreeSet::new();
    let mut take = |value: String, text: &str, notation: Notation| {
        let Err(refused) = Config::parse(text, notation) else {
            return false;
        };
        for problem in refused.problems {
            let next = problem.fix.unwrap_or_default();
            if known.insert((problem.why.clone(), next.clone())) {
                let option = if problem.option.is_empty() {
                    "(the file)".into()
                } else {
                    problem.option
                };
                all.push(Refused {
                    option,
                    value: value.clone(),
                    why: problem.why,
                    next,
                });
            }
        }
        true
    };
    let mut wrong = vec![];
    for (option, value) in values {
        if !take(
            value.to_string(),
            &with(option, &value).to_string(),
            Notation::Json,
        ) {
            wrong.push(format!("{option}: {value}"));
        }
    }
    for (text, notation) in FILES {
        if !take(text.to_owned(), text, notation) {
            wrong.push(text.to_owned());
        }
    }
    assert!(wrong.is_empty(), "these are taken:\n{}", wrong.join("\n"));
    all
}

#[test]
fn the_configuration_that_the_rows_change_is_taken() {
    assert!(Config::parse(&taken().to_string(), Notation::Json).is_ok());
}
