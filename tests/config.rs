//! Promise: a configuration is either refused with option, value, rule and place, or it means what its author wrote.
// Long because: it is one table of refusals.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

use camino::Utf8Path;
use landfall::config::*;
use landfall_states::fault::Budget;
use landfall_states::plan::{Machine, Reference, RepositorySource, SystemSource};
use proptest::prelude::*;

const HEAD: &str =
    r#"host: "web", labels: (efi: "ESP-WEB", root: "root-web", luks: "luks-web", swap: "swap-web")"#;
const REMOTE: &str = r#"repository: (remote: "https://forge.example/o/r")"#;

fn ron(rest: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("(\n{HEAD},\n{rest}\n)"), Notation::Ron)
}

fn refused(rest: &str) -> String {
    match ron(rest) {
        Ok(config) => panic!("taken: {config:?}"),
        Err(error) => error.to_string(),
    }
}

fn example(name: &str) -> Config {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/examples")
        .join(name);
    Config::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn defaults_are_valid() {
    let config = ron(&format!("{REMOTE}, system: Flake")).unwrap();
    assert_eq!(config.luks, Luks::default());
    assert_eq!(config.luks.mapper_name.as_str(), "cryptroot");
    assert_eq!(config.swap.size.to_string(), "8G");
    assert_eq!(config.esp_size.to_string(), "1G");
    assert_eq!(config.repository.clone_path.as_str(), "/mnt/nix-config");
    assert_eq!(config.on_success, OnSuccess::PowerOff);
    assert_eq!(config.retry, Budget::default());
    assert_eq!(config.nix, NixConfig::default());
    assert!(!config.unattended.enable && config.reinstall == 0);
}

#[test]
fn the_plain_example() {
    let config = example("plain.ron");
    let layout = config.layout(Machine::X86_64).unwrap();
    assert_eq!((layout.luks_label, layout.swap), (None, None));
    let payload = config.payload().unwrap();
    assert_eq!(payload.system, SystemSource::Flake);
    assert_eq!(payload.repository.reference, Reference::Default);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_swap_example() {
    let config = example("swap.ron");
    let (label, size) = config.layout(Machine::X86_64).unwrap().swap.unwrap();
    assert_eq!((label.as_str(), size.bytes()), ("swap-db", 16 << 30));
    let repository = config.payload().unwrap().repository;
    assert_eq!(
        repository.reference,
        Reference::Branch("production".parse().unwrap())
    );
    assert_eq!(repository.clone_path.as_str(), "/mnt/srv/nix-config");
    assert_eq!(config.on_success, OnSuccess::Reboot);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_luks_prebuilt_example() {
    let config = example("luks-prebuilt.ron");
    let layout = config.layout(Machine::X86_64).unwrap();
    assert_eq!(layout.luks_label.unwrap().as_str(), "luks-vault");
    let payload = config.payload().unwrap();
    assert!(matches!(payload.system, SystemSource::Prebuilt(_)));
    let RepositorySource::Bundle { file, origin } = payload.repository.source else {
        panic!("nothing is fetched over the network")
    };
    assert_eq!(file, "/iso/landfall/nix-config.bundle");
    assert!(origin.is_some());
    assert_eq!(config.unattended.disk.as_deref(), Some("S5GXNX0T123456"));
    assert!(config.keys.deploy_key && config.keys.age_identity);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn an_image_is_named_with_its_system() {
    let path = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-vault";
    let prebuilt = format!("Prebuilt(\"{path}\")");
    let text = fs_err::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/examples/luks-prebuilt.ron"
    ))
    .unwrap();
    assert!(text.contains("Prebuilt("), "{text}");
    let from = text.find("Prebuilt(").unwrap();
    let until = from + text[from..].find(')').unwrap() + 1;
    let with = |system: &str| {
        let text = format!("{}{system}{}", &text[..from], &text[until..]);
        Config::parse(&text, Notation::Ron)
    };
    let config = with(&format!("Image(system: \"{path}\", file: \"/iso/root.image\")")).unwrap();
    let SystemConfig::Image { system, file, .. } = &config.system else {
        panic!("{:?}", config.system)
    };
    assert_eq!((system.as_str(), file.as_str()), (path, "/iso/root.image"));
    // The same in JSON.
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["system"]["Image"]["file"], "/iso/root.image");
    assert_eq!(
        Config::parse(&json.to_string(), Notation::Json).unwrap().system,
        config.system
    );
    assert!(with(&prebuilt).is_ok());
    let relative = with(&format!("Image(system: \"{path}\", file: \"root.image\")")).unwrap_err();
    assert!(relative.to_string().contains("an absolute path"), "{relative}");
    let unknown = with(&format!("Image(system: \"{path}\", path: \"/root.image\")"));
    assert!(unknown.is_err());
}

#[test]
fn the_flake_example() {
    let config = example("flake.ron");
    assert!(matches!(
        config.payload().unwrap().repository.reference,
        Reference::Revision(_)
    ));
    assert_eq!((config.reinstall, config.on_success), (1, OnSuccess::Stay));
    assert_eq!(config.retry.phase_attempts_max, 20);
    assert_eq!(
        config.retry.backoff_max_ms,
        Budget::default().backoff_max_ms,
        "the rest keeps its default"
    );
    assert_eq!(config.nix.substituters.len(), 1);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_generated_example() {
    let config = example("generated.json");
    assert_eq!(config.repository.remote, None);
    assert!(config.swap.enable && config.labels.luks.is_none());
    assert!(!config.can_touch_efi_variables);
    assert_eq!(
        config.keys.age_identity_at(&config.host),
        "/var/lib/age/web.agekey"
    );
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_normal_form_means_the_same_in_both_notations() {
    for name in [
        "plain.ron",
        "swap.ron",
        "luks-prebuilt.ron",
        "flake.ron",
        "generated.json",
    ] {
        let config = example(name);
        let printed = config.to_ron().unwrap();
        assert_eq!(
            Config::parse(&printed, Notation::Ron).unwrap(),
            config,
            "{name} as RON"
        );
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            Config::parse(&json, Notation::Json).unwrap(),
            config,
            "{name} as JSON"
        );
    }
}

/// Everything that is wrong with a file, as `line:option: reason`.
fn problems(text: &str, notation: Notation) -> Vec<String> {
    let refused = Config::parse(text, notation).unwrap_err();
    let line = |problem: &landfall::config::Problem| {
        let line = problem.at.map_or(0, |at| at.line);
        format!("{line}:{}: {}", problem.option, problem.why)
    };
    refused.problems.iter().map(line).collect()
}

fn assert_each(found: &[String], wanted: &[(&str, &str)]) {
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (line, (start, why)) in found.iter().zip(wanted) {
        assert!(
            line.starts_with(start) && line.contains(why),
            "{start} {why}: {found:#?}"
        );
    }
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let ron = r#"(
    host: "not a host",
    labels: (efi: "esp", root: "a label that is far too long", lusk: "x"),
    esp_size: "8",
    luks: (enable: 1, iteration_time_ms: 1, mapper: "x"),
    repository: (remote: "ftp://x/y", branch: "-x", clone_path: "/home"),
    system: Flak,
    extra_mount_dirs: ["/srv", "relative"],
    nix: (substituters: ["nonsense"], deadline_s: "soon"),
    powerOff: true,
)"#;
    assert_each(
        &problems(ron, Notation::Ron),
        &[
            ("2:host", "not a host"),
            ("3:labels.efi", "esp"),
            ("3:labels.root", "far too long"),
            ("3:labels.lusk", "no option"),
            ("4:esp_size", "\"8\""),
            ("5:luks.enable", "true or false"),
            ("5:luks.iteration_time_ms", "100 to"),
            ("5:luks.mapper", "no option"),
            ("6:repository.remote", "ftp://x/y"),
            ("6:repository.branch", "-x"),
            ("6:repository.clone_path", "/home"),
            ("7:system", "Flak"),
            ("8:extra_mount_dirs[1]", "relative"),
            ("9:nix.substituters[0]", "nonsense"),
            ("9:nix.deadline_s", "whole number"),
            ("10:powerOff", "no option"),
        ],
    );
    let json = r#"{
  "labels": { "efi": "ESP" },
  "swap": { "enable": "yes", "size": "1" },
  "repository": { "remote": "github:ops/nix-config", "revision": "main" },
  "system": { "Prebuilt": "/tmp/x" },
  "reinstall": -1,
  "retry": { "phase_attempts_max": 0 }
}"#;
    assert_each(
        &problems(json, Notation::Json),
        &[
            ("2:labels.root", "missing"),
            ("3:swap.enable", "true or false"),
            ("3:swap.size", "\"1\""),
            ("4:repository.remote", "flake reference"),
            ("4:repository.revision", "main"),
            ("5:system.Prebuilt", "/nix/store/"),
            ("6:reinstall", "whole number"),
            ("7:retry.phase_attempts_max", "1 to"),
            ("8:host", "missing"),
        ],
    );
}

#[test]
fn text_that_breaks_off_ends_the_search_with_what_was_found_before() {
    assert_each(
        &problems(
            "(host: \"not a host\", labels: (efi: \"ESP\", root",
            Notation::Ron,
        ),
        &[("1:host", "not a host"), ("1:labels", "")],
    );
    for text in [
        "",
        "(",
        "{",
        "[]",
        "nonsense",
        "(((((",
        "{\"host\": \"a b\", \"host\": \"c d\"}",
    ] {
        for notation in [Notation::Ron, Notation::Json] {
            assert!(!problems(text, notation).is_empty(), "{text}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_utf_16_is_named() {
    let text =
        fs_err::read_to_string(format!("{}/docs/examples/plain.ron", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert_eq!(
        Config::parse(&format!("\u{feff}{text}"), Notation::Ron).unwrap(),
        example("plain.ron")
    );
    let bad = format!("\u{feff}{}", text.replacen("host:", "hots:", 1));
    assert_eq!(
        problems(&bad, Notation::Ron),
        problems(&bad[3..], Notation::Ron),
        "the same places"
    );
    let keep = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(keep.path()).unwrap().join("host.ron");
    for mark in ["\u{feff}", ""] {
        let text = format!("{mark}{text}");
        let two = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let four =
            |unit: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| unit(u32::from(c))).collect::<Vec<u8>>();
        for (wide, told) in [
            (two(u16::to_le_bytes), "it is UTF-16"),
            (two(u16::to_be_bytes), "it is UTF-16"),
            (four(u32::to_le_bytes), "it is UTF-32"),
            (four(u32::to_be_bytes), "it is UTF-32"),
        ] {
            fs_err::write(&file, wide).unwrap();
            let refused = Config::read(&file).unwrap_err().to_string();
            assert!(refused.contains(told), "{mark:?} {refused}");
        }
    }
    // The control: a zero in a text is not an encoding.
    fs_err::write(&file, text.replacen("host", "ho\0st", 1)).unwrap();
    assert!(!Config::read(&file).unwrap_err().to_string().contains("UTF-"));
    // Without an extension, the mark does not hide that it is JSON.
    let json = Utf8Path::from_path(keep.path()).unwrap().join("host");
    fs_err::write(
        &json,
        format!(
            "\u{feff}{}",
            serde_json::to_string(&example("plain.ron")).unwrap()
        ),
    )
    .unwrap();
    assert_eq!(Config::read(&json).unwrap(), example("plain.ron"));
}

/// One bad value per row: what is written, and what the refusal must say: option, value, rule.
const BAD_VALUES: &[(&str, &[&str])] = &[
    (
        "repository: (), system: Flake",
        &["repository:", "neither a remote nor a bundle", "REPO_REMOTE"],
    ),
    (
        "repository: (remote: \"--upload-pack=x\"), system: Flake",
        &[
            "repository.remote",
            "\"--upload-pack=x\"",
            "ssh reads as an option",
            "next: write https://",
        ],
    ),
    (
        "repository: (remote: \"https://u:hunter2@x/y\"), system: Flake",
        &[
            "repository.remote",
            "a user name, a password or a token",
            "landfall.repository-token",
        ],
    ),
    (
        "repository: (remote: \"https://x/y\", clone_path: \"/home/x\"), system: Flake",
        &["repository.clone_path", "\"/home/x\"", "below /mnt"],
    ),
    (
        "repository: (remote: \"https://x/y\", clone_path: \"/mnt/boot/x\"), system: Flake",
        &[
            "repository.clone_path",
            "\"/mnt/boot/x\"",
            "the ESP is mounted there",
        ],
    ),
    (
        "repository: (remote: \"https://x/y\", clone_path: \"/mnt/var/tmp/landfall/c\"), system: Flake",
        &["repository.clone_path", "landfall keeps temporary files there"],
    ),
    (
        "repository: (bundle: \"x.bundle\"), system: Flake",
        &["repository.bundle", "\"x.bundle\"", "absolute"],
    ),
    (
        "repository: (remote: \"https://x/y\", branch: \"a\", revision: \"0123456789012345678901234567890123456789\"), system: Flake",
        &["repository.revision", "both given"],
    ),
    (
        "repository: (remote: \"https://x/y\", revision: \"main\"), system: Flake",
        &["repository.revision", "\"main\"", "40 or 64"],
    ),
    (
        "REMOTE, system: Prebuilt(\"/tmp/x\")",
        &["system.Prebuilt", "\"/tmp/x\"", "/nix/store/"],
    ),
    (
        "REMOTE, system: Flak",
        &["system:", "\"Flak\"", "Prebuilt, Image, Flake", "write Flake, if"],
    ),
    (
        "REMOTE, system: Flake, keys: (age_identity_path: \"age\")",
        &["keys.age_identity_path", "\"age\"", "an absolute path"],
    ),
    (
        "REMOTE, system: Flake, keys: (age_identity_path: \"/run/age/web.agekey\")",
        &[
            "keys.age_identity_path",
            "\"/run/age/web.agekey\"",
            "empty after every boot",
        ],
    ),
    (
        "REMOTE, system: Flake, keys: (age_identity_path: \"/nix-config/web.agekey\")",
        &[
            "keys.age_identity_path",
            "\"/nix-config/web.agekey\"",
            "the clone is at /nix-config",
        ],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/srv/age\"], keys: (age_identity_path: \"/srv/age\")",
        &["keys.age_identity_path", "\"/srv/age\"", "extra_mount_dirs"],
    ),
    (
        "REMOTE, system: Flake, can_touch_efi_variables: 1",
        &["can_touch_efi_variables", "true or false"],
    ),
    (
        "REMOTE, system: Flake, esp_size: \"100M\"",
        &["esp_size", "\"100M\"", "260M"],
    ),
    (
        "REMOTE, system: Flake, esp_size: \"8\"",
        &["esp_size", "\"8\"", "512M or 8G"],
    ),
    (
        "REMOTE, system: Flake, luks: (mapper_name: \"control\")",
        &["luks.mapper_name", "\"control\"", "1 to 64"],
    ),
    (
        "REMOTE, system: Flake, luks: (iteration_time_ms: 5)",
        &["luks.iteration_time_ms", "5 is not allowed", "100 to 60000"],
    ),
    (
        "REMOTE, system: Flake, luks: (enable: 3)",
        &["luks.enable", "true or false"],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/a\", \"../b\"]",
        &["extra_mount_dirs[1]", "\"../b\"", "absolute"],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/boot/x\"]",
        &["extra_mount_dirs[0]", "\"/boot/x\"", "ESP"],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/etc/ssh\", \"/etc/passwd\"]",
        &[
            "extra_mount_dirs[1]",
            "\"/etc/passwd\"",
            "NixOS puts a file there",
        ],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/etc/NIXOS\"]",
        &["extra_mount_dirs[0]", "NixOS puts a file there"],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/nix-config/secrets\"]",
        &["extra_mount_dirs[0]", "the clone goes to /nix-config"],
    ),
    (
        "REMOTE, system: Flake, keys: (age_identity: true, age_identity_path: \"/etc\")",
        &["keys.age_identity_path", "system directory"],
    ),
    (
        "REMOTE, system: Flake, extra_mount_dirs: [\"/nix/store/x\"]",
        &["extra_mount_dirs[0]", "belongs to Nix"],
    ),
    (
        "REMOTE, system: Flake, extra_post_mount_commands: [\" \"]",
        &["extra_post_mount_commands[0]", "\" \""],
    ),
    (
        "REMOTE, system: Flake, target_user: \"op:users\"",
        &["target_user", "\"op:users\"", "a-z"],
    ),
    (
        "REMOTE, system: Flake, ssh: (generate_key: true, generate_wait_s: 0)",
        &["ssh.generate_wait_s", "0 is not allowed", "1 to 604800"],
    ),
    (
        "REMOTE, system: Flake, unattended: (disk: \"sda\")",
        &["unattended.disk", "\"sda\"", "serial number"],
    ),
    (
        "REMOTE, system: Flake, unattended: (disk: \"/dev/disk/by-id/x\")",
        &["unattended.disk", "without the path"],
    ),
    (
        "REMOTE, system: Flake, nix: (substituters: [\"a b\"])",
        &["nix.substituters[0]", "\"a b\"", "URL"],
    ),
    (
        "REMOTE, system: Flake, nix: (trusted_public_keys: [\"k\"])",
        &["nix.trusted_public_keys[0]", "\"k\"", "NAME:KEY"],
    ),
    (
        "REMOTE, system: Flake, nix: (deadline_s: 0)",
        &["nix.deadline_s", "0 is not allowed", "1 to 604800"],
    ),
    (
        "REMOTE, system: Flake, retry: (backoff_first_ms: 9, backoff_max_ms: 3)",
        &["retry.backoff_first_ms", "9 is not allowed", "which is 3"],
    ),
    (
        "REMOTE, system: Flake, ssh: (key: \"/nix/store/x\")",
        &["ssh.key", "every user", "landfall.ssh-key"],
    ),
    (
        "REMOTE, sytem: Flake",
        &["sytem", "the options are: host, labels", "write system, if"],
    ),
    ("REMOTE", &["system", "missing", "no default"]),
];

#[test]
fn every_bad_value_is_named_with_its_rule_and_place() {
    for (text, expected) in BAD_VALUES {
        let refusal = refused(&text.replace("REMOTE", REMOTE));
        for part in *expected {
            assert!(refusal.contains(part), "{text}\n  says: {refusal}\n  not: {part}");
        }
        assert!(
            refusal.starts_with("configuration:"),
            "a place is given: {refusal}"
        );
        let place: Vec<&str> = refusal.split(':').take(3).collect();
        assert!(
            place[1]
                .trim()
                .parse::<usize>()
                .is_ok_and(|line| (1..=4).contains(&line)),
            "line and column: {refusal}"
        );
    }
}

#[test]
fn labels_are_refused_by_the_table_that_limits_them() {
    for (labels, expected) in [
        (r#"efi: "esp", root: "r""#, "labels.efi: ESP label \"esp\""),
        (
            r#"efi: "ESP-HOST-LONG", root: "r""#,
            "labels.efi: ESP label \"ESP-HOST-LONG\"",
        ),
        (r#"efi: ".", root: "r""#, "labels.efi: ESP label \".\""),
        (r#"efi: "E", root: "..""#, "labels.root: root label \"..\""),
        (
            r#"efi: "E", root: "a label""#,
            "labels.root: root label \"a label\"",
        ),
        (r#"efi: "E", root: """#, "labels.root: root label \"\""),
        (
            r#"efi: "E", root: "E""#,
            "labels.root: label \"E\" is not allowed: labels.efi already has it",
        ),
    ] {
        let text = format!("(host: \"web\",\nlabels: ({labels}), {REMOTE}, system: Flake)");
        let error = Config::parse(&text, Notation::Ron).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.problems[0].at.map(|at| at.line), Some(2), "{error}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = r#"{"host": "web", "labels": {"efi": "E", "root": "r"},
        "luks": {"enable": true},
        "swap": {"enable": true}, "repository": {},
        "system": "Flake"}"#;
    let error = Config::parse(text, Notation::Json).unwrap_err();
    let options: Vec<&str> = error.problems.iter().map(|p| p.option.as_str()).collect();
    assert_eq!(options, ["labels.luks", "labels.swap", "repository"]);
    assert!(error.problems.iter().all(|p| p.fix.is_some()));
}

#[test]
fn a_label_that_is_not_used_may_be_equal_and_is_warned_of() {
    let text =
        format!("(host: \"web\", labels: (efi: \"E\", root: \"r\", luks: \"r\"), {REMOTE}, system: Flake)");
    let config = Config::parse(&text, Notation::Ron).unwrap();
    assert_eq!(
        config.warnings(),
        ["labels.luks has no effect, because luks.enable is false"]
    );
}

#[test]
fn unattended_without_a_disk_waits_for_the_credential() {
    let config = ron(&format!("{REMOTE}, system: Flake, unattended: (enable: true)")).unwrap();
    assert!(config.warnings().iter().any(|w| w.contains("landfall.consent")));
}

#[test]
fn offline_that_is_not_is_warned_of() {
    let system = "system: Prebuilt(\"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x\")";
    let config = ron(&format!("{REMOTE}, {system}")).unwrap();
    assert!(config.warnings().iter().any(|w| w.contains("over the network")));
    let bundled = ron(&format!("repository: (bundle: \"/iso/x.bundle\"), {system}")).unwrap();
    assert!(!bundled.warnings().iter().any(|w| w.contains("over the network")));
}

#[test]
fn a_key_that_would_be_made_for_nothing_is_warned_of() {
    let of = |repository: &str, ssh: &str| {
        let config = ron(&format!(
            "repository: ({repository}), system: Flake, ssh: ({ssh})"
        ))
        .unwrap();
        let told: Vec<String> = config
            .warnings()
            .into_iter()
            .filter(|warning| warning.contains("ssh.generate_key has no effect"))
            .collect();
        (config.ssh.generate_wait_s, told.len())
    };
    let made = "generate_key: true";
    assert_eq!(of("remote: \"git@forge.example:o/r\"", made), (3_600, 0));
    assert_eq!(of("remote: \"https://forge.example/o/r\"", made), (3_600, 1));
    assert_eq!(
        of(
            "remote: \"git@forge.example:o/r\", bundle: \"/iso/x.bundle\"",
            made
        ),
        (3_600, 1)
    );
    let named = "generate_key: true, generate_wait_s: 60, key: \"/run/keys/k\"";
    assert_eq!(of("remote: \"git@forge.example:o/r\"", named), (60, 1));
    // It is in the normal form where it is asked for, and nowhere else.
    let text = |ssh: &str| {
        let config = ron(&format!("{REMOTE}, system: Flake, ssh: ({ssh})")).unwrap();
        config.to_ron().unwrap()
    };
    assert!(text(made).contains("generate_key: true") && !text("").contains("generate"));
}

#[test]
fn the_environment_overrides_and_obeys_the_same_rules() {
    let vars = |remote: &'static str, disk: &'static str| {
        Overrides::from_variables(move |name| match name {
            "REPO_REMOTE" => Some(remote.into()),
            "INSTALL_DISK" => Some(disk.into()),
            _ => None,
        })
    };
    let overrides = vars("git@forge.example:o/r", "/dev/disk/by-id/x").unwrap();
    let text = format!("({HEAD}, repository: (bundle: \"/iso/x.bundle\"), system: Flake)");
    let config = Config::parse_with(&text, Notation::Ron, &overrides).unwrap();
    assert_eq!(
        config.repository.bundle, None,
        "a remote from outside is meant to be used"
    );
    assert_eq!(
        config.repository.remote.unwrap().expose(),
        "git@forge.example:o/r"
    );
    // A configuration that lacks only the remote becomes whole.
    let bare = format!("({HEAD}, repository: (), system: Flake)");
    assert!(Config::parse(&bare, Notation::Ron).is_err());
    assert!(Config::parse_with(&bare, Notation::Ron, &overrides).is_ok());
    assert_eq!(vars("", "").unwrap(), Overrides::default(), "empty is not set");
    let error = vars("--x", "sda").unwrap_err().to_string();
    assert!(
        error.contains("REPO_REMOTE") && error.contains("INSTALL_DISK"),
        "{error}"
    );
    assert!(vars("", "/dev/../etc/passwd").is_err());
}

#[test]
fn the_notation_is_found() {
    for (name, text, notation) in [
        ("a.ron", "{", Notation::Ron),
        ("a.json", "(", Notation::Json),
        ("a", "  {", Notation::Json),
        ("a.conf", "// x\n(", Notation::Ron),
    ] {
        assert_eq!(Notation::of(Utf8Path::new(name), text), notation, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_at_all_makes_it_fall(text: String) {
        for notation in [Notation::Ron, Notation::Json] {
            prop_assert!(Config::parse(&text, notation).is_err());
        }
    }

    #[test]
    fn a_damaged_file_is_refused_with_a_place_or_still_valid(
        which in 0..5_usize, at: prop::sample::Index, cut in 0..30_usize, put in "[(){}\\[\\]\",:a-z0-9/* ]{0,6}",
    ) {
        let name = ["plain.ron", "swap.ron", "luks-prebuilt.ron", "flake.ron", "generated.json"][which];
        let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
        let mut text: Vec<char> = fs_err::read_to_string(&path).unwrap().chars().collect();
        let from = at.index(text.len());
        text.splice(from..(from + cut).min(text.len()), put.chars());
        let text: String = text.into_iter().collect();
        match Config::parse(&text, Notation::of(&path, &text)) {
            // What is taken can be used: both halves exist.
            Ok(config) => prop_assert!(config.layout(Machine::native()).is_ok() && config.payload().is_ok()),
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                let last = error.problems.iter().filter_map(|p| p.at).map(|p| p.line).max().unwrap_or(1);
                prop_assert!(last >= 1 && last <= text.lines().count() + 1, "{error}");
            }
        }
    }
}
