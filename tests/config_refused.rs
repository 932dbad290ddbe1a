//! Promise: every problem of a configuration is reported in bounded time and in a bounded number of lines, each with its
//! place; no secret in it is repeated; and nothing is put where others put things.

#![allow(clippy::unwrap_used)] // a test may end where it stands

use landfall::config::{Config, ConfigError, Notation};
use std::time::{Duration, Instant};

const HEAD: &str = r#""host":"web","labels":{"efi":"ESP-WEB","root":"root-web"},"system":"Flake""#;
const REMOTE: &str = r#""repository":{"remote":"https://forge.example/ops/x"}"#;

fn json(rest: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{{{HEAD},{rest}}}"), Notation::Json)
}

fn options(error: &ConfigError) -> Vec<(String, usize)> {
    let place =
        |problem: &landfall::config::Problem| (problem.option.clone(), problem.at.map_or(0, |at| at.line));
    error.problems.iter().map(place).collect()
}

#[test]
fn every_element_of_a_list_is_told() {
    let list = r#"["/boot", "/x/../y", "/srv/data", "/proc/z", 7, "relative"]"#;
    let in_json = json(&format!("{REMOTE},\"extra_mount_dirs\":{list}")).unwrap_err();
    let text = format!(
        "(host: \"web\", labels: (efi: \"E\", root: \"r\"), system: Flake,\nrepository: (remote: \"/r\"),\nextra_mount_dirs: {list})"
    );
    let in_ron = Config::parse(&text, Notation::Ron).unwrap_err();
    for (error, line) in [(in_json, 1), (in_ron, 3)] {
        let mut found = options(&error);
        found.sort();
        let wanted: Vec<(String, usize)> = [0, 1, 3, 4, 5]
            .map(|index| (format!("extra_mount_dirs[{index}]"), line))
            .into();
        assert_eq!(found, wanted, "{error}");
    }
    let lists = r#""nix":{"substituters":["x","https://a.example","y"],"trusted_public_keys":["k",1,"l"]}"#;
    let error = json(&format!("{REMOTE},{lists}")).unwrap_err();
    assert_eq!(error.problems.len(), 5, "{error}");
}

#[test]
fn an_option_that_is_given_twice_is_named_with_both_places() {
    let ron = "(host: \"web\",\nhost: \"web2\",\nhost: \"web3\", labels: (efi: \"E\",\nroot: \"a\",\nroot: \"b\"), repository: (remote: \"/r\"),\nsystem: Flaek)";
    let json = "{\"host\": \"web\",\n\"host\": \"web2\",\n\"host\": \"web3\", \"labels\": {\"efi\": \"E\",\n\"root\": \"a\",\n\"root\": \"b\"}, \"repository\": {\"remote\": \"/r\"},\n\"system\": \"Flaek\"}";
    for (text, notation) in [(ron, Notation::Ron), (json, Notation::Json)] {
        let error = Config::parse(text, notation).unwrap_err();
        let wanted = [("host", 2), ("host", 3), ("labels.root", 5), ("system", 6)];
        assert_eq!(
            options(&error),
            wanted.map(|(option, line)| (option.to_owned(), line)),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("given more than once (first at 1:") && text.contains("keep the right one"),
            "{text}"
        );
        assert!(
            !text.contains("Config`") && !text.contains("duplicate field"),
            "{text}"
        );
    }
}

#[test]
fn what_is_nested_too_deep_is_told_in_plain_words() {
    let (open, close) = ("[".repeat(2_000), "]".repeat(2_000));
    for (text, notation) in [
        (format!("(host: {open}{close})"), Notation::Ron),
        (format!("(host: \"web\", bogus: {open}{close})"), Notation::Ron),
        (format!("{{\"host\": {open}{close}}}"), Notation::Json),
        (
            format!("{{\"host\": \"web\", \"extra_mount_dirs\": {open}{close}}}"),
            Notation::Json,
        ),
    ] {
        let error = Config::parse(&text, notation).unwrap_err().to_string();
        assert!(
            error.lines().count() <= 20 && !error.contains("serde") && !error.contains("recursion"),
            "{error}"
        );
        assert!(
            error.contains("levels deep") || error.contains("allowed is"),
            "{error}"
        );
    }
}

#[test]
fn a_hundred_thousand_wrong_entries_end_in_time() {
    let many = |one: &str| vec![one; 100_000].join(",");
    let keys: Vec<String> = (0..60_000).map(|n| format!("\"a{n}\":{n}")).collect();
    for (what, rest, counted) in [
        (
            "caches",
            format!("{REMOTE},\"nix\":{{\"substituters\":[{}]}}", many("\"x\"")),
            true,
        ),
        (
            "places that are taken",
            format!("{REMOTE},\"extra_mount_dirs\":[{}]", many("\"/boot\"")),
            true,
        ),
        (
            "no places",
            format!("{REMOTE},\"extra_mount_dirs\":[{}]", many("\"x\"")),
            false,
        ),
        (
            "numbers",
            format!("{REMOTE},\"extra_mount_dirs\":[{}]", many("1")),
            false,
        ),
        ("options", format!("{REMOTE},{}", keys.join(",")), false),
        (
            "the same option",
            format!("{REMOTE},{}", many("\"reinstall\":0")),
            false,
        ),
    ] {
        let begun = Instant::now();
        let error = json(&rest).unwrap_err();
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what}: {:?}",
            begun.elapsed()
        );
        let text = error.to_string();
        assert!(
            error.problems.len() <= 65 && text.len() < 64 << 10,
            "{what}: {}",
            text.len()
        );
        let last = &error.problems.last().unwrap().why;
        assert!(last.starts_with('…'), "{what}: {last}");
        assert_eq!(last.contains("99936 more"), counted, "{what}: {last}");
    }
    let long = "x".repeat(900_000);
    for rest in [
        format!("{REMOTE},\"{long}\":1"),
        format!("{REMOTE},\"reinstall\":\"{long}\""),
    ] {
        assert!(json(&rest).unwrap_err().to_string().len() < 16 << 10);
    }
}

#[test]
fn no_secret_that_stands_in_a_configuration_is_repeated() {
    let url = "https://user:canary@cache.example/?token=canary";
    let key = format!("cache.example-1:{}", "canaryyy".repeat(11));
    for rest in [
        format!("{REMOTE},\"nix\":{{\"substituters\":[\"{url}\"]}}"),
        format!("{REMOTE},\"nix\":{{\"substituters\":\"{url}\"}}"),
        format!("{REMOTE},\"nix\":{{\"substituters\":[[\"{url}\"]]}}"),
        format!("{REMOTE},\"nix\":{{\"trusted_public_keys\":[\"{key}\"]}}"),
        format!("\"repository\":{{\"remote\":\"{url}\"}}"),
        format!("\"repository\":{{\"remote\":[\"{url}\"]}}"),
        format!("\"repository\":\"{url}\""),
        format!("\"repository\":{{\"bundle\":\"{url}\"}}"),
        format!("\"repository\":{{\"remote\":\"/r\",\"branch\":\"{url}\"}}"),
        format!("{REMOTE},\"ssh\":{{\"known_hosts\":\"{url}\",\"key\":\"{url}\"}}"),
        format!("{REMOTE},\"keys\":{{\"age_identity_path\":\"{url}\"}}"),
        format!("{REMOTE},\"unattended\":{{\"disk\":\"{url}\"}}"),
        format!("{REMOTE},\"{url}\":1"),
        format!("{REMOTE},\"reinstall\":\"{url}\""),
        format!("{REMOTE},\"on_success\":\"{url}\""),
        format!("{REMOTE},\"target_user\":\"{url}\""),
        format!("{REMOTE},\"labels\":\"{url}\""),
        "\"repository\":{\"remote\":\"ssh://git%3Acanary@forge.example/o/r\"}".to_owned(),
    ] {
        let error = json(&rest).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{rest}: {error}"
        );
    }
    let taken = json(&format!(
        "{REMOTE},\"nix\":{{\"substituters\":[\"https://cache.example?priority=40&compression=zstd\"]}}"
    ));
    assert!(taken.is_ok(), "{taken:?}");
}

/// A configuration with a clone in this place, and these settings of keys beside a deploy key.
fn placed(clone: &str, keys: &str) -> Result<Config, ConfigError> {
    let text = format!(
        "\"target_user\":\"op\",\"repository\":{{\"remote\":\"/r\",\"clone_path\":\"{clone}\"}},\"keys\":{{\"deploy_key\":true{keys}}}"
    );
    json(&text)
}

#[test]
fn no_identity_is_put_where_others_put_things() {
    let age = |path: &str| {
        placed(
            "/mnt/nix-config",
            &format!(",\"age_identity\":true,\"age_identity_path\":\"{path}\""),
        )
    };
    for path in [
        "/home/op/.ssh/id_ed25519",
        "/root",
        "/home",
        "/home/op",
        "/home/op/.ssh",
        "/home/op/.ssh/authorized_keys",
        "/etc/ssh",
        "/etc/pam.d",
        "/etc/systemd/system",
        "/etc/ssl/certs/ca-bundle.crt",
        "/lib64/ld-linux-x86-64.so.2",
        "/var/empty",
        "/var/run/x",
        "/nix-config",
        "/nix-config/x",
        "/x/../etc/y",
        "/x//y",
        "/x/./y",
        "/srv",
        "/opt",
        "/usr",
        "/media",
        "/etc/ssh/sshd_config",
    ] {
        let error = age(path).err().map(|error| error.to_string());
        assert!(
            error
                .as_ref()
                .is_some_and(|text| text.contains("age_identity_path")),
            "{path}: {error:?}"
        );
    }
    for path in [
        "/etc/age/web.agekey",
        "/var/lib/age/x",
        "/home/op/.config/sops/age/keys.txt",
        "/persist/age.key",
    ] {
        assert!(age(path).is_ok(), "{path}: {:?}", age(path));
    }
}

#[test]
fn no_clone_is_put_where_others_put_things() {
    for clone in [
        "/mnt/etc/systemd",
        "/mnt/etc/ssh",
        "/mnt/home",
        "/mnt/home/op",
        "/mnt/root",
        "/mnt/home/op/.ssh",
        "/mnt/home/op/.ssh/x",
        "/mnt/var/run/x",
        "/mnt/srv",
        "/mnt/var/lib",
    ] {
        assert!(placed(clone, "").is_err(), "{clone}");
    }
    for clone in [
        "/mnt/nix-config",
        "/mnt/etc/nixos",
        "/mnt/home/op/nix-config",
        "/mnt/root/nix-config",
        "/mnt/srv/nix",
    ] {
        assert!(placed(clone, "").is_ok(), "{clone}");
    }
}

#[test]
fn two_things_do_not_share_a_place_or_a_label() {
    // A file, and a directory below it.
    assert!(placed("/mnt/a/b", ",\"age_identity\":true,\"age_identity_path\":\"/a\"").is_err());
    let text = format!(
        "{{\"host\":\"web\",\"labels\":{{\"efi\":\"LF-KEYS\",\"root\":\"root-web\"}},\"system\":\"Flake\",{REMOTE}}}"
    );
    let error = Config::parse(&text, Notation::Json).unwrap_err().to_string();
    assert!(
        error.contains("labels.efi") && error.contains("the key medium"),
        "{error}"
    );
}

#[test]
fn paths_on_the_installer_say_what_they_mean_and_no_text_hides_anything() {
    for (rest, option) in [
        (r#""ssh":{"key":"/nix/../nix/store/x"}"#, "ssh.key"),
        (r#""ssh":{"key":"//nix/store/x"}"#, "ssh.key"),
        (r#""ssh":{"key":"/nix/./store/x"}"#, "ssh.key"),
        (r#""ssh":{"key":"/nix/store/x"}"#, "ssh.key"),
        (r#""ssh":{"key":"relative"}"#, "ssh.key"),
        (r#""ssh":{"key":"/a b\nc"}"#, "ssh.key"),
        (
            r#""ssh":{"known_hosts":"/a\u001b[31m\u202eb"}"#,
            "ssh.known_hosts",
        ),
        (r#""ssh":{"known_hosts":"/a/"}"#, "ssh.known_hosts"),
        (r#""unattended":{"disk":"a\u200bb"}"#, "unattended.disk"),
        (
            r#""extra_post_mount_commands":["echo \u001b[2J"]"#,
            "extra_post_mount_commands[0]",
        ),
    ] {
        let error = json(&format!("{REMOTE},{rest}")).unwrap_err();
        assert!(
            options(&error)
                .iter()
                .any(|(named, line)| named == option && *line == 1),
            "{rest}: {error}"
        );
        assert!(
            !error
                .to_string()
                .chars()
                .any(|c| c == '\u{1b}' || c == '\u{202e}'),
            "{rest}"
        );
    }
    let bundle = json(r#""repository":{"bundle":"/x\u0000y"}"#).unwrap_err();
    assert!(bundle.to_string().contains("repository.bundle"), "{bundle}");
    let lines = json(&format!(
        "{REMOTE},\"extra_post_mount_commands\":[\"a\\n\\tb\"],\"ssh\":{{\"key\":\"/run/k\"}}"
    ));
    assert!(lines.is_ok(), "{lines:?}");
}

#[test]
fn everything_that_is_missing_is_told_together() {
    let all = ["labels", "repository", "system"];
    let within = ["labels.efi", "labels.root", "repository", "system"];
    let image = ["system.Image.system", "system.Image.file"];
    let rest = "labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\")";
    let rest_json = r#""labels": {"efi": "E", "root": "r"}, "repository": {"remote": "/r"}"#;
    for (text, notation, wanted) in [
        ("(host: \"web\")".to_owned(), Notation::Ron, &all[..]),
        (r#"{"host": "web"}"#.to_owned(), Notation::Json, &all[..]),
        (
            "(host: \"web\", labels: ())".to_owned(),
            Notation::Ron,
            &within[..],
        ),
        (
            r#"{"host": "web", "labels": {}}"#.to_owned(),
            Notation::Json,
            &within[..],
        ),
        (
            "(host: \"web\",\n labels: (\n))".to_owned(),
            Notation::Ron,
            &within[..],
        ),
        (
            format!("(host: \"web\", {rest}, system: Image())"),
            Notation::Ron,
            &image[..],
        ),
        (
            format!(r#"{{"host": "web", {rest_json}, "system": {{"Image": {{}}}}}}"#),
            Notation::Json,
            &image[..],
        ),
        (
            "()".to_owned(),
            Notation::Ron,
            &["host", "labels", "repository", "system"],
        ),
        (
            "{}".to_owned(),
            Notation::Json,
            &["host", "labels", "repository", "system"],
        ),
        // Beside a wrong value.
        (
            "(host: 1, esp_size: \"x\")".to_owned(),
            Notation::Ron,
            &["host", "esp_size", "labels", "repository", "system"],
        ),
    ] {
        let refused = Config::parse(&text, notation).unwrap_err();
        let told: Vec<&str> = refused.problems.iter().map(|problem| &*problem.option).collect();
        let mut told = told;
        let mut wanted = wanted.to_vec();
        told.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(told, wanted, "{text}: {refused}");
    }
}

/// A mistyped digest would leave the image without one.
#[test]
fn an_unknown_option_of_an_image_is_refused() {
    let image = |option: &str| {
        let text = format!(
            "(host: \"web\", labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\"), system: Image(system: \
             \"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x\", file: \"/f\", {option}: \"{}\"))",
            "0".repeat(64)
        );
        Config::parse(&text, Notation::Ron)
    };
    let error = image("digset").unwrap_err().to_string();
    assert!(
        error.contains("system.Image.digset: there is no option") && error.contains("write digest"),
        "{error}"
    );
    let control = image("digest").map_err(|error| error.to_string());
    assert!(!control.err().unwrap_or_default().contains("there is no option"));
}

#[test]
fn a_mistake_behind_a_right_system_is_told_as_it_is() {
    let head =
        r#"{"system":"Flake","host":"web","labels":{"efi":"E","root":"r"},"repository":{"remote":"/r"}"#;
    for (text, wanted) in [
        (format!("{head},}}"), "remove that comma"),
        (head.to_owned(), "close every open"),
        (
            head.replacen("\"Flake\",", "\"Flake\" ", 1) + "}",
            "a comma between values",
        ),
        (format!("{head}}} trailing"), "closed too early"),
        (
            head.replacen("\"Flake\",", "\"Flake\", // built here\n", 1) + "}",
            "has no comments",
        ),
        (
            format!("{head},\"on_success\":\"Prebuilt\"}}"),
            "one of these names",
        ),
    ] {
        let told = refusals(&text, Notation::Json);
        assert!(
            told.contains(wanted) && !told.contains("without brackets"),
            "{text}: {told}"
        );
    }
    let ron = "(system: Flake, host: \"web\" labels: ())";
    let told = refusals(ron, Notation::Ron);
    assert!(told.contains("put a comma") && !told.contains("Flake"), "{told}");
    // The control: a mistake in it.
    for (system, wanted) in [("{\"Flake\":1}", "without brackets"), ("\"Prebuilt\"", "HASH")] {
        let told = refusals(&(head.replacen("\"Flake\"", system, 1) + "}"), Notation::Json);
        assert!(told.contains(wanted), "{system}: {told}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn a_host_key_or_a_home_directory_in_place_of_a_path_is_told_as_that() {
    let line = "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    let hashed =
        "|1|Ht3DHkbLdqNQm5zT7u4SqMWmzOU=|8Wzj8TtEGpAxXQp1o3Kj8mGJuxk= ecdsa-sha2-nistp256 AAAAE2VjZHNh";
    for (option, value, wanted, shown) in [
        (
            "known_hosts",
            line.to_owned(),
            "into a file on the installer",
            None,
        ),
        (
            "known_hosts",
            format!("/{line}"),
            "into a file on the installer",
            None,
        ),
        (
            "known_hosts",
            hashed.to_owned(),
            "into a file on the installer",
            None,
        ),
        (
            "known_hosts",
            format!("@cert-authority *.{line}"),
            "into a file on the installer",
            None,
        ),
        (
            "known_hosts",
            "github.com".to_owned(),
            "the absolute path of that file",
            Some("github.com"),
        ),
        (
            "known_hosts",
            "~/.ssh/known_hosts".to_owned(),
            "write \"/root/.ssh/known_hosts\"",
            Some("\"~/.ssh/known_hosts\""),
        ),
        (
            "key",
            "~/.ssh/id_ed25519".to_owned(),
            "write \"/root/.ssh/id_ed25519\"",
            Some("\"~/.ssh/id_ed25519\""),
        ),
        (
            "key",
            "$HOME/.ssh/id_ed25519".to_owned(),
            "write \"/root/.ssh/id_ed25519\"",
            Some("$HOME"),
        ),
        (
            "key",
            "~op/.ssh/id_ed25519".to_owned(),
            "the absolute path",
            Some("~op/"),
        ),
        (
            "key",
            "../keys/WEB_ed25519".to_owned(),
            "the absolute path",
            Some("../keys/WEB_ed25519"),
        ),
        (
            "key",
            format!("ssh-ed25519 {}", &line[23..]),
            "landfall.ssh-key",
            None,
        ),
        // The controls: what may be the key itself.
        (
            "key",
            "MC4CAQAwBQYDK2VwBCIEIJ".to_owned(),
            "landfall.ssh-key",
            None,
        ),
        (
            "key",
            "~b3BlbnNzaC1rZXktdjEAAAAABG5vbmU".to_owned(),
            "landfall.ssh-key",
            None,
        ),
    ] {
        let rest = format!(
            "{REMOTE},\"ssh\":{{\"{option}\":{}}}",
            serde_json::to_string(&value).unwrap()
        );
        let told = json(&rest).unwrap_err().to_string();
        assert!(told.contains(wanted), "{value}: {told}");
        match shown {
            Some(shown) => assert!(told.contains(shown), "{value}: {told}"),
            None => assert!(
                !told.contains("AAAA") && !told.contains("VwBCIE") && !told.contains("Bvbm"),
                "{value}: {told}"
            ),
        }
    }
}

#[test]
fn what_is_said_of_a_host_key_leads_to_a_value_that_is_accepted() {
    let line = "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    let list = json(&format!(
        "{REMOTE},\"ssh\":{{\"known_hosts\":[{}]}}",
        serde_json::to_string(line).unwrap()
    ));
    let told = list.unwrap_err().to_string();
    assert!(
        told.contains("into a file on the installer") && !told.contains("AAAA"),
        "{told}"
    );
    // What the advice says is accepted.
    for path in ["/etc/ssh/ssh_known_hosts", "/root/.ssh/known_hosts"] {
        assert!(json(&format!("{REMOTE},\"ssh\":{{\"known_hosts\":\"{path}\"}}")).is_ok());
    }
    let age = json(&format!(
        "{REMOTE},\"keys\":{{\"age_identity_path\":\"~/web.agekey\"}}"
    ));
    let told = age.unwrap_err().to_string();
    assert!(
        told.contains("/var/lib/age/web.agekey") && !told.contains("/~"),
        "{told}"
    );
}

/// The refusals of a text: what is told and what to do, as one text.
fn refusals(text: &str, notation: Notation) -> String {
    Config::parse(text, notation).unwrap_err().to_string()
}

#[test]
fn a_file_in_another_notation_is_known_by_its_text() {
    let whole = format!("{{{HEAD},{REMOTE}}}");
    for (text, wanted) in [
        (whole.as_str(), "it is JSON: rename the file"),
        ("{\"host\": \"web\",}", "it looks like JSON: rename the file"),
        ("host: web\nrepository:\n  remote: /r\n", "it looks like YAML"),
        ("---\nhost: web\n", "it looks like YAML"),
        (
            "# mine\nhost = \"web\"\n[labels]\nefi = \"E\"\n",
            "it looks like TOML",
        ),
        ("[labels]\nefi = \"E\"\n", "it looks like TOML"),
        (
            "{ pkgs, ... }: {\n  host = \"web\";\n}\n",
            "it looks like Nix code",
        ),
        ("{\n  host = \"web\";\n}\n", "it looks like Nix code"),
        // The control: RON without its brackets.
        (
            "host: \"web\",\nrepository: (remote: \"/r\"),\n",
            "put ( before the first option",
        ),
    ] {
        let told = refusals(text, Notation::Ron);
        assert!(told.contains(wanted), "{text}: {told}");
        assert_eq!(told.matches("next: ").count(), 1, "{text}: {told}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each value")]
fn every_refusal_of_a_value_has_a_next_step() {
    const START: &str = "host: \"web\", labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\")";
    let ron = |rest: &str| refusals(&format!("({START}, {rest})"), Notation::Ron);
    let passphrase = "landfall.luks-passphrase";
    for (rest, wanted) in [
        ("system: Flake, luks: (passphrase: \"canary\")", passphrase),
        ("system: Flake, passphrase: \"canary\"", passphrase),
        ("system: Flake, luks: (enable: \"canary\")", passphrase),
        (
            "system: Flake, luks: (enable: \"yes\")",
            "write true, without quotes",
        ),
        (
            "system: Flake, swap: (enable: \"off\")",
            "write false, without quotes",
        ),
        (
            "system: Flake, unattended: (enable: \"true\")",
            "write true, without quotes",
        ),
        ("system: Flake, token: \"canary\"", "landfall.repository-token"),
        ("system: Flake, bogus: 1", "remove it, or write the option"),
        ("system: Flake reinstall: 1", "put a comma"),
        ("system: Flake,, reinstall: 1", "remove this comma"),
        ("system: Flake, target_user: 'op'", "write it in double quotes"),
        ("system: Flake, reinstall: 1.5", "write a whole number"),
        ("system: Flake, reinstall: \"1\"", "write 1, without quotes"),
        ("system: Flake, esp_size: 1073741824", "with its unit"),
        ("system: Flake, extra_mount_dirs: \"/a\"", "write a list"),
        ("system: Prebuilt(/nix/store/x)", "write it in double quotes"),
        ("system: true", "write one of these names"),
        ("system: Nothing", "write one of these names"),
    ] {
        let told = ron(rest);
        assert!(
            told.contains(wanted) && !told.contains("canary"),
            "{rest}: {told}"
        );
        assert!(told.contains("next: "), "{rest}: {told}");
    }
    for (rest, wanted) in [
        (r#""luks":{"passphrase":"canary"}"#, passphrase),
        (r#""luks":{"enable":"canary"}"#, passphrase),
        (r#""luks":{"enable":"no"}"#, "write false, without quotes"),
        (r#""swap":{"enable":1}"#, "write true or false"),
        (r#""esp_size":1073741824"#, "with its unit"),
        (r#""extra_mount_dirs":"/a""#, "write a list"),
        (r#""reinstall":"1""#, "write 1, without quotes"),
    ] {
        let told = json(&format!("{REMOTE},{rest}")).unwrap_err().to_string();
        assert!(
            told.contains(wanted) && !told.contains("canary"),
            "{rest}: {told}"
        );
    }
    let told = refusals(
        &format!("{{{},{REMOTE}}}", HEAD.replace("\"Flake\"", "true")),
        Notation::Json,
    );
    assert!(told.contains("write one of these names"), "{told}");
    let told = json(r#""repository":{"remote":"/r","token":"canary"}"#)
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("landfall.repository-token") && !told.contains("canary"),
        "{told}"
    );
    for (branch, wanted) in [
        ("a@b", "rename the branch"),
        ("user@host", "rename the branch"),
        ("main@{1}", "a Git revision expression"),
        ("@", "a Git revision expression"),
        ("HEAD~1", "a Git revision expression"),
    ] {
        let told = json(&format!(r#""repository":{{"remote":"/r","branch":"{branch}"}}"#)).unwrap_err();
        assert!(told.to_string().contains(wanted), "{branch}: {told}");
    }
    let token = "ghp_canaryabcdefghijklmnopqrstuvwxyz01";
    let told = json(&format!(r#""repository":{{"remote":"/r","branch":"{token}"}}"#)).unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("landfall.repository-token") && !told.contains("canary"),
        "{told}"
    );
}

/// The three forms of `system`, each written as another one, and texts that are no store path: in both notations each says what to write.
#[test]
fn every_refusal_of_the_system_and_of_a_path_says_what_to_write() {
    let start = "host: \"web\", labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\")";
    let path = "Prebuilt(\"/nix/store/";
    for (rest, wanted) in [
        ("system: Prebuilt(\"x\")", "readlink -f"),
        ("system: Prebuilt(\"/nix/store/canary\")", "readlink -f"),
        ("system: Prebuilt", path),
        ("system: \"Prebuilt\"", path),
        ("system: Image", "Image(system: \"/nix/store/"),
        ("system: Prebuilt(system: \"/nix/store/x\")", path),
        ("system: Prebuilt(\n  path: \"/nix/store/x\")", path),
        ("system: Prebuilt([\"/nix/store/x\"])", path),
        ("system: Flake()", "write Flake, without"),
        ("system: Flake(1)", "write Flake, without"),
        ("system: \"Flake\"", "write Flake, without"),
        ("system: Flake, keys: (age_identity_path: \"a\")", "write \"/a\""),
        ("system: Flake, keys: (age_identity_path: \"\")", "absolute path"),
        ("system: Flake, keys: (age_identity_path: \"/\")", "absolute path"),
        (
            "system: Flake, keys: (age_identity_path: \"/a/../b\")",
            "absolute path",
        ),
        (
            "system: Flake, keys: (age_identity_path: \"-x\")",
            "write \"/-x\"",
        ),
        // The controls: another option in the same line, and a mistake behind a right one.
        ("system: Flake, luks: (enable: true) swap: ()", "put a comma"),
        ("system: Prebuilt(null)", "has no default"),
        ("system: Flake, luks: (enable: 1)", "write true or false"),
    ] {
        let told = refusals(&format!("({start},\n{rest})"), Notation::Ron);
        assert!(told.contains(wanted), "{rest}: {told}");
    }
    for (system, wanted) in [
        (r#""Prebuilt""#, r#"{"Prebuilt": "/nix/store/"#),
        (r#""Image""#, r#"{"Image": {"system""#),
        (r#"{"Flake": 1}"#, r#"write "Flake""#),
        (r#"{"Flake": {}}"#, r#"write "Flake""#),
        (r#"{"Prebuilt": "x"}"#, "readlink -f"),
        (
            r#"{"Prebuilt": {"system": "/nix/store/x"}}"#,
            r#"{"Prebuilt": "/nix/store/"#,
        ),
        (
            r#"{"Prebuilt": ["/nix/store/x"]}"#,
            r#"{"Prebuilt": "/nix/store/"#,
        ),
        (r#"{"Prebuilt": 1}"#, r#"{"Prebuilt": "/nix/store/"#),
    ] {
        let head = HEAD.replace("\"Flake\"", system);
        let told = refusals(&format!("{{{head},{REMOTE}}}"), Notation::Json);
        assert!(told.contains(wanted), "{system}: {told}");
    }
    let key = format!("AGE-SECRET-KEY-1{}", "CANARY1".repeat(8));
    let told = json(&format!(r#"{REMOTE},"keys":{{"age_identity_path":"{key}"}}"#)).unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("landfall.age-identity") && !told.contains("CANARY"),
        "{told}"
    );
}
