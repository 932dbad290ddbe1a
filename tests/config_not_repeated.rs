//! Promise: a configuration is refused in the words of its author, with the option, what is allowed and what to write; and
//! nothing that may be a secret is repeated, whatever option it was given for and in whatever form.

#![allow(clippy::unwrap_used)] // a test may end where it stands

use landfall::config::{Config, ConfigError, Notation};

const HEAD: &str = r#""host":"web","labels":{"efi":"ESP-WEB","root":"root-web"},"system":"Flake""#;
const REMOTE: &str = r#""repository":{"remote":"https://forge.example/ops/x"}"#;

fn json(rest: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{{{HEAD},{rest}}}"), Notation::Json)
}

/// Every option and every place for one, by its path, as the default configuration has them.
fn every_option(value: &serde_json::Value, path: &[String], found: &mut Vec<Vec<String>>) {
    if let serde_json::Value::Object(options) = value {
        for (name, value) in options {
            let path = [path, std::slice::from_ref(name)].concat();
            found.push(path.clone());
            every_option(value, &path, found);
        }
    }
}

fn put(config: &mut serde_json::Value, path: &[String], value: serde_json::Value) {
    match path {
        [] => *config = value,
        [name, rest @ ..] => {
            if !config.is_object() {
                *config = serde_json::json!({});
            }
            put(&mut config[name], rest, value);
        }
    }
}

/// The same values in RON.
fn as_ron(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(options) => {
            let options: Vec<String> = options
                .iter()
                .map(|(name, value)| format!("{name}: {}", as_ron(value)))
                .collect();
            format!("({})", options.join(", "))
        }
        serde_json::Value::Array(values) => {
            format!("[{}]", values.iter().map(as_ron).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn whole() -> serde_json::Value {
    serde_json::json!({
        "host": "web", "labels": {"efi": "E", "root": "r", "luks": "l", "swap": "s"}, "repository": {"remote": "/r", "bundle": "/b",
        "branch": "b", "revision": "0123456789012345678901234567890123456789"}, "system": "Flake", "target_user": "op",
        "luks": {"memory_min": "1G"}, "keys": {"age_identity_path": "/x/y"}, "unattended": {"disk": "d"}, "ssh": {"key": "/k",
        "known_hosts": "/h"},
    })
}

/// Each refused value is told by its kind, its option and what is allowed; nothing of a key, a token or a passphrase comes back, wherever
/// it stands and whatever stands for it.
#[test]
fn whatever_option_a_secret_is_given_for_it_is_not_repeated() {
    let mut options = vec![];
    let normal = Config::parse(
        r#"{"host":"web","labels":{"efi":"E","root":"r"},"repository":{"remote":"/r"},"system":"Flake"}"#,
        Notation::Json,
    )
    .unwrap();
    every_option(&serde_json::to_value(&normal).unwrap(), &[], &mut options);
    every_option(&whole(), &[], &mut options);
    for more in [
        &["luks", "passphrase"][..],
        &["keys", "deploy-key"],
        &["system", "Prebuilt"],
        &["system", "Image"],
        &["system", "Image", "file"],
        &["key_medium", "consent"],
        &["key_medium", "luks_passphrase"],
    ] {
        options.push(more.iter().map(ToString::to_string).collect());
    }
    let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEcanary1canary1canary1canary1\n-----END OPENSSH PRIVATE KEY-----\n";
    let secrets = [
        pem.to_owned(),
        pem.replace('\n', ""),
        pem.lines().nth(1).unwrap().to_owned(),
        format!("AGE-SECRET-KEY-1{}", "CANARY1".repeat(8)),
        format!("cache.example-1:{}", "canary1y".repeat(11)),
        format!("ghp_{}", "canary1".repeat(5)),
        "glpat-canary-canary-canary".to_owned(),
        "https://user:canary@forge.example/o/r".to_owned(),
        // Hashes of passwords, in the forms of crypt(5).
        "$6$canarysalt$canary".to_owned(),
        "$y$j9T$canarysalt$canary".to_owned(),
        "$2b$10$canarysaltcanary".to_owned(),
    ];
    let mut tried = 0;
    for path in &options {
        for (number, secret) in secrets.iter().enumerate() {
            let text = serde_json::Value::from(secret.as_str());
            for value in [
                text.clone(),
                serde_json::json!([text]),
                serde_json::json!([[text]]),
                serde_json::json!({ "key": text }),
                serde_json::json!({ secret: 1 }),
            ] {
                // How deep it stands makes no difference to what it is.
                if number > 1 && !value.is_string() {
                    continue;
                }
                let mut config = whole();
                put(&mut config, path, value.clone());
                let mut texts = vec![(config.to_string(), Notation::Json)];
                if !value.is_object() || value.get("key").is_some() {
                    texts.push((as_ron(&config), Notation::Ron));
                }
                for (text, notation) in texts {
                    let said = Config::parse(&text, notation)
                        .err()
                        .map(|error| format!("{error} {error:?}"));
                    tried += 1;
                    assert!(
                        !said.clone().unwrap_or_default().to_lowercase().contains("canary"),
                        "{text}:\n{said:?}"
                    );
                }
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
}

/// A name with dots in it leads nowhere when it is taken apart: reading ended never, where it was tried again without it.
#[test]
fn a_name_of_an_option_with_dots_in_it_ends() {
    for name in [
        "https://forge.example/o/r",
        "a.b",
        "luks.enable",
        ".",
        "..",
        "a\nb.c",
    ] {
        for inside in ["luks", "keys", "nix"] {
            let json = serde_json::json!({ "host": "web", inside: { name: 1 } }).to_string();
            let why = Config::parse(&json, Notation::Json).unwrap_err().to_string();
            assert!(why.contains(inside), "{why}");
        }
        let json = serde_json::json!({ name: 1 }).to_string();
        Config::parse(&json, Notation::Json).unwrap_err();
    }
}

/// A passphrase is a word like others: where no text belongs, no text is repeated.
#[test]
fn a_text_where_none_belongs_is_not_repeated() {
    for option in [
        "luks",
        "luks.enable",
        "luks.iteration_time_ms",
        "swap.enable",
        "swap",
        "keys",
        "keys.deploy_key",
        "keys.age_identity",
        "ssh",
        "nix",
        "nix.trusted_public_keys",
        "nix.substituters",
        "extra_mount_dirs",
        "extra_post_mount_commands",
        "labels",
        "unattended",
        "unattended.enable",
        "key_medium",
        "key_medium.luks_passphrase",
        "retry",
        "reinstall",
        "on_success",
        "system",
        "can_touch_efi_variables",
        "nix.deadline_s",
        "retry.phase_attempts_max",
        "luks.passphrase",
        "repository",
        "",
    ] {
        for word in [
            "canary",
            "canary 1 horse",
            "'canary', expected u32",
            "canary\", expected a string",
            "x\" is not allowed: canary",
        ] {
            let path: Vec<String> = option
                .split('.')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            let mut config = whole();
            put(&mut config, &path, word.into());
            for (text, notation) in [
                (config.to_string(), Notation::Json),
                (as_ron(&config), Notation::Ron),
            ] {
                let error = Config::parse(&text, notation).unwrap_err();
                let said = format!("{error} {error:?}");
                assert!(!said.contains("canary"), "{option} in {notation:?}: {said}");
                assert!(
                    !["struct", "u32", "enum", "bool`", "Config`", "serde", "elements"]
                        .iter()
                        .any(|word| error.to_string().contains(word)),
                    "{option} in {notation:?}: {error}"
                );
            }
        }
    }
}

/// In RON a word may stand without quotes.
#[test]
fn a_word_without_quotes_is_not_repeated() {
    for text in [
        "(host: \"web\", luks: canary)",
        "(host: \"web\", luks: (canary))",
        "(host: \"web\", luks: (canary1: 1))",
        "(host: \"web\", keys: (deploy_key: canary))",
        "(host: \"web\", on_success: canary)",
        "(host: \"web\", ssh: (key: canary))",
        "(host: \"web\", ssh: (key: r#canary))",
        "(host: \"web\", reinstall: canary)",
        "#![enable(canary)] (host: \"web\")",
        "canary",
        "(host: \"web\", system: Prebuilt(canary))",
        "canary(host: \"web\")",
        "(host: \"web\", luks: Some(canary))",
        "(host: \"web\", reinstall: canary-canary)",
        "(host: \"web\", canary-1: 3)",
        "(canary\u{e9}: 3)",
    ] {
        let error = Config::parse(text, Notation::Ron).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{text}: {error}"
        );
    }
}

fn said(text: &str, notation: Notation) -> String {
    let error = Config::parse(text, notation).unwrap_err().to_string();
    println!("{text}\n    {error}");
    error
}

/// What newcomers write, with the words that they find.
#[test]
fn what_a_newcomer_writes_in_ron_is_answered_in_their_words() {
    let full = |rest: &str| {
        format!(
            "(host: \"web\", labels: (efi: \"E\", root: \"r\"), repository: (remote: \"/r\"), system: Flake, {rest})"
        )
    };
    for (text, words) in [
        (
            "host: \"web\", labels: (efi: \"E\", root: \"r\")".to_owned(),
            "put ( before the first option",
        ),
        ("[]".to_owned(), "options between ( and )"),
        ("\"web\"".to_owned(), "put ( before the first option"),
        (full("luks: true"), "write luks: (enable: true)"),
        (
            full("luks: true"),
            "luks: it is true or false; allowed is options between ( and )",
        ),
        (full("luks: Some((enable: true))"), "remove Some( and its )"),
        (
            full("luks: [true]"),
            "luks: the value has the wrong type; allowed is options between ( and )",
        ),
        (
            full("retry: (phase_attempts_max: -1)"),
            "-1 is not allowed: it must be a whole number from 1 to 10000",
        ),
        (
            full("retry: (phase_attempts_max: 99999999999999999999)"),
            "99999999999999999999 is not allowed: it must be a whole number from 1 to 10000",
        ),
        (
            full("reinstall: 4294967296"),
            "4294967296 is not allowed: it must be a whole number from 0 to 255",
        ),
        (
            full("nix: (deadline_s: -5)"),
            "-5 is not allowed: it must be a whole number from 1 to 604800",
        ),
        (
            full("reinstall: 1.5"),
            "has a fraction, and only a whole number is allowed",
        ),
        (full("on_success: 5"), "one of PowerOff, Reboot, Stay"),
        (full("on_success: \"Reboot\""), "Reboot"),
        (full("luks: (enable: 1)"), "allowed is true or false"),
        (full("extra_mount_dirs: \"/x\""), "a list such as"),
        (full("luks: (enable: true"), ""),
    ] {
        let error = said(&text, Notation::Ron);
        assert!(error.contains(words), "{text}: {error}");
        for parsers in ["struct", "Expected", "out of bounds", "elements", "integer"] {
            assert!(!error.contains(parsers), "{text}: {error}");
        }
    }
}

#[test]
fn what_a_newcomer_writes_in_json_is_answered_in_their_words() {
    for (rest, words) in [
        ("\"luks\": null", "leave the option out to use its default"),
        ("\"luks\": {\"enable\": null}", "leave the option out"),
        (
            "\"luks\": true",
            "it is true or false; allowed is options between { and }",
        ),
        ("\"luks\": []", "options between { and }"),
        (
            "\"reinstall\": -1",
            "-1 is not allowed: it must be a whole number from 0 to 255",
        ),
        (
            "\"reinstall\": 1.5",
            "1.5 is not allowed: it must be a whole number from 0 to 255",
        ),
        (
            "\"reinstall\": 99999999999",
            "99999999999 is not allowed: it must be a whole number from 0 to 255",
        ),
        (
            "\"reinstall\": \"1\"",
            "it is a text; allowed is a whole number from 0 to 255",
        ),
        ("\"on_success\": 5", "one of PowerOff, Reboot, Stay"),
        ("\"on_success\": null", "one of PowerOff, Reboot, Stay"),
        (
            "\"extra_mount_dirs\": {}",
            "it is a map; allowed is a list such as",
        ),
    ] {
        let error = said(&format!("{{{HEAD},{REMOTE},{rest}}}"), Notation::Json);
        assert!(error.contains(words), "{rest}: {error}");
        for parsers in [
            "struct",
            "expected",
            "out of bounds",
            "elements",
            "integer",
            "u32",
        ] {
            assert!(!error.contains(parsers), "{rest}: {error}");
        }
    }
    for text in ["[]", "5", "\"x\"", "null", "true"] {
        let error = said(text, Notation::Json);
        assert!(error.contains("options between { and }"), "{text}: {error}");
    }
}

/// The target is at /mnt while it is installed: what is below is told as the target's own path.
#[test]
fn a_path_of_the_target_is_its_own() {
    for (rest, option, fix) in [
        (
            r#""extra_mount_dirs":["/srv/x","/mnt/persist"]"#,
            "extra_mount_dirs[1]",
            "write \"/persist\"",
        ),
        (
            r#""extra_mount_dirs":["/mnt/mnt/x"]"#,
            "extra_mount_dirs[0]",
            "write \"/mnt/x\"",
        ),
        (
            r#""extra_mount_dirs":["/mnt"]"#,
            "extra_mount_dirs[0]",
            "leave it out",
        ),
        (
            r#""keys":{"age_identity":true,"age_identity_path":"/mnt/etc/age/web.agekey"}"#,
            "keys.age_identity_path",
            "write \"/etc/age/web.agekey\"",
        ),
        (
            r#""keys":{"age_identity_path":"/mnt/x"}"#,
            "keys.age_identity_path",
            "write \"/x\"",
        ),
    ] {
        let error = json(&format!("{REMOTE},{rest}")).unwrap_err();
        assert!(
            error.problems.iter().any(|problem| problem.option == option),
            "{rest}: {error}"
        );
        assert!(error.to_string().contains(fix), "{rest}: {error}");
    }
    // The controls.
    for rest in [
        r#""extra_mount_dirs":["/mnt2/persist","/persist/mnt"]"#,
        r#""keys":{"age_identity":true,"age_identity_path":"/persist/mnt/x"}"#,
    ] {
        assert!(json(&format!("{REMOTE},{rest}")).is_ok(), "{rest}");
    }
}

#[test]
fn an_address_that_leads_nowhere_is_refused_and_known_again() {
    for (remote, shown) in [
        ("ssh://git@-oX/y", "ssh://git@-oX/y"),
        ("ssh://-oX/y", "-oX"),
        ("host:-x/y", "host:-x/y"),
        ("git@host:-x/y", "git@host:-x/y"),
        ("https://forge:99999/o/r", "https://forge:99999/o/r"),
        ("ssh://git@forge:0/o/r", "ssh://git@forge:0/o/r"),
        ("git://forge:70000/o/r", "git://forge:70000/o/r"),
        ("C:\\\\repo", "Windows path"),
        ("C:/repo", "C:/repo"),
        ("https://github.com/o/r/pull/5", "page of the forge"),
        ("https://github.com/o/r/releases", "page of the forge"),
        ("https://github.com/o", "OWNER/NAME"),
        ("git@github.com:o", "OWNER/NAME"),
        ("ssh://git@host:port/x", "ssh://git@host:port/x"),
        ("https://host:port/x", "write https://host/OWNER/REPO"),
        ("ssh://git@ho$t/x", "ssh://git@ho$t/x"),
        ("https://a..b/o/r", "two dots in a row"),
    ] {
        let error = json(&format!("\"repository\":{{\"remote\":\"{remote}\"}}"))
            .err()
            .map(|error| error.to_string());
        let error = error.unwrap_or_else(|| panic!("{remote} is taken"));
        assert!(
            error.contains("repository.remote") && error.contains(shown),
            "{remote}: {error}"
        );
    }
    // The controls, of what is not repeated.
    for remote in [
        "ssh://git:can/ary@host:port/x",
        "https://canary@host:port/x",
        "ssh://u:canary@ho$t/x",
    ] {
        let error = json(&format!("\"repository\":{{\"remote\":\"{remote}\"}}")).unwrap_err();
        assert!(
            !error.to_string().contains("canary") && !error.to_string().contains("ary@"),
            "{remote}: {error}"
        );
    }
}

/// What people write before an address, and with what mistakes.
const BEFORE_ADDRESS: [&str; 31] = [
    "https://",
    "http://",
    "ssh://",
    "git://",
    "git+https://",
    "git+ssh://",
    "https:",
    "https:/",
    "https//",
    "https///",
    "",
    "//",
    "HTTPS://",
    "ftp://",
    "github:",
    "gitlab:",
    "git:",
    "git clone https://",
    "remote = https://",
    "url=https://",
    "htps://",
    "https;//",
    "https:\\\\",
    "file://",
    "path:",
    "git@",
    "-c http.extraHeader=",
    " https://",
    "https ://",
    "http://https://",
    "s3://",
];

/// Addresses with a password or a token, `{}`.
const WITH_PASSWORD: [&str; 36] = [
    "u:{}@h.example/o/r",
    "u:{}%40h.example/o/r",
    "u%3A{}@h.example/o/r",
    "u%3A{}%40h.example/o/r",
    "{}@h.example/o/r",
    "u:x{}:y@h/o/r",
    "u:a/{}@h/o/r",
    "u:a?{}@h/o/r",
    "u:a#{}@h/o/r",
    "u:a\\{}@h/o/r",
    "[u:{}@h]:o/r",
    "u:{}@[::1]/o/r",
    "u:{}@h:o/r",
    "u:{}%2540h/o/r",
    "u;{}@h/o/r",
    "u,{}@h/o/r",
    "u|{}@h/o/r",
    "u:{}\u{ff20}h/o/r",
    "u\u{ff1a}{}@h/o/r",
    "u={}@h/o/r",
    "h.example/o/r?token={}",
    "h.example/o/r#{}",
    "h.example/o/r;token={}",
    "h.example/o/r&token={}",
    "h.example/o/r%3Ftoken={}",
    "h.example/token={}/o/r",
    "h.example/o/r,u:{}@h/o",
    "h.example/o/r u:{}@h/o",
    "x:{}&#64;h/o/r",
    "{}%40h/o/r",
    // With a scheme before it, what stands behind the colon is no path.
    "u:{}h.example/o/r",
    "u:{}/o/r",
    "oauth2:{}/h.example/o/r",
    "x-access-token:{}/h/o/r",
    "h.example:{}/o/r",
    "u:{}",
];

/// However an address is mistyped: what is refused and has a password is not repeated, and neither is it in what to write.
#[test]
fn an_address_with_a_password_is_not_repeated_however_it_is_mistyped() {
    let mut refused = 0;
    let mut leaks = vec![];
    for before in BEFORE_ADDRESS {
        for form in WITH_PASSWORD {
            for secret in ["canaryX7", "9371640528"] {
                let address = format!("{before}{}", form.replace("{}", secret));
                for option in ["repository", "nix"] {
                    let value = match option {
                        "repository" => serde_json::json!({ "remote": address }),
                        _ => serde_json::json!({ "substituters": [address] }),
                    };
                    let mut config = whole();
                    config["repository"] = serde_json::json!({ "remote": "https://forge.example/o/r" });
                    config[option] = value;
                    let Err(error) = Config::parse(&config.to_string(), Notation::Json) else {
                        continue;
                    };
                    refused += 1;
                    if format!("{error} {error:?}").contains(secret) {
                        leaks.push(format!("{option}: {address}\n    {error}"));
                    }
                }
            }
        }
    }
    assert!(refused > 3_000, "{refused}");
    assert!(
        leaks.is_empty(),
        "{} of {refused}:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
}
