//! Promise: rules that are computed from the repository's files are evaluated with the new host's files in it; an existing
//! key is used, wherever the rules read it; rules behind a link are those that agenix reads; and nobody gets the secrets of a
//! role without a question.
//!
//! Real Nix says what the rules are, the crate `age` who reads a secret.
//!
//! `host_new_secrets` has rules in the form of agenix's tutorial.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;
#[path = "host_new/people.rs"]
#[allow(dead_code)]
mod people;

use fs_err as fs;
use kit::{Ground, fixtures, has_nix, said, without_nix};
use people::{People, decrypted, encrypted, new_identity};

fn committed(ground: &Ground, files: &[(&str, &str)]) {
    for (name, text) in files {
        ground.put(name, text.as_bytes());
    }
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "--message", "more"]);
}

fn with_rules(people: &People, rules: &str) -> Ground {
    let ground = people.ground();
    committed(&ground, &[("secrets/secrets.nix", rules)]);
    ground
}

fn reads(ground: &Ground, secret: &str) -> bool {
    decrypted(ground, secret, &new_identity(ground)).is_some()
}

/// What Nix says that the rules are now.
fn ruled(ground: &Ground, expression: &str) -> serde_json::Value {
    let rules = ground.root().join("secrets/secrets.nix");
    ground.nix(&format!(
        "let rules = import {}; in {expression}",
        rules.display()
    ))
}

#[test]
fn rules_that_read_the_folder_of_hosts_are_asked_with_the_new_one_in_it() {
    if !has_nix() {
        return without_nix("rules that read a folder");
    }
    let people = People::new();
    let rules = format!(
        "let\n  op = \"{}\";\n  keys = {{\n    web = \"{}\";\n  }};\n  hosts = builtins.attrNames (builtins.readDir ../hosts);\nin\n{{\n  \
         \"all.age\".publicKeys = [ op ] ++ map (host: keys.${{host}}) hosts;\n}}\n// builtins.listToAttrs (map (host: {{\n  name = \
         \"of-${{host}}.age\";\n  value.publicKeys = [ op keys.${{host}} ];\n}}) hosts)\n",
        people.op_public(),
        people.web.to_public()
    );
    let ground = with_rules(&people, &rules);
    let text = ground.made("new", &["--yes"]);
    assert!(reads(&ground, "secrets/all.age"), "{text}");
    assert!(text.contains("not there yet: secrets/of-new.age"), "{text}");
    assert_eq!(
        ruled(&ground, "builtins.attrNames rules"),
        serde_json::json!(["all.age", "of-new.age", "of-web.age"])
    );
    assert!(ground.made("new", &["--yes"]).contains("already"));
    // A secret of that name that is there would be somebody else's.
    let ground = with_rules(&people, &rules);
    let op: age::ssh::Recipient = people.op_public().parse().unwrap();
    ground.put("secrets/of-new.age", &encrypted(b"other\n", &[&op], false));
    committed(&ground, &[]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("of-new.age would have a rule that it did not have"),
        "{text}"
    );
}

#[test]
fn a_key_in_a_file_is_taken() {
    if !has_nix() {
        return without_nix("keys in files");
    }
    let people = People::new();
    let (op, web) = (people.op_public(), people.web.to_public().to_string());
    let rules = |hosts: &str| {
        // A name that is bound to a key beside it would be a place for another.
        let (bound, named) = match hosts.contains("readDir") {
            true => (format!("  op = \"{op}\";\n"), "op".to_owned()),
            false => (String::new(), format!("\"{op}\"")),
        };
        format!(
            "let\n{bound}  key = host: builtins.readFile (../hosts + \"/${{host}}/key.pub\");\n  hosts = {hosts};\nin\n{{\n  \
             \"all.age\".publicKeys = [ {named} ] ++ map key hosts;\n}}\n"
        )
    };
    let by_folder = fs::read_to_string(fixtures().join("flakes/folder.nix")).unwrap();
    for (before, after, flake, gets) in [
        ("[ \"web\" ]", "[ \"web\" \"new\" ]", None, true),
        // Nobody has said what it is for.
        ("[ \"web\" ]", "[ \"web\" ]", None, false),
        // Flake and rules read one folder.
        (
            "builtins.attrNames (builtins.readDir ../hosts)",
            "builtins.attrNames (builtins.readDir ../hosts)",
            Some(&by_folder),
            true,
        ),
    ] {
        let ground = with_rules(&people, &rules(before));
        committed(&ground, &[("hosts/web/key.pub", &format!("{web}\n"))]);
        if let Some(flake) = flake {
            committed(&ground, &[("flake.nix", flake)]);
        }
        let output = ground.run("new", &["--yes"]);
        let text = said(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{text}");
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let key = words
            .find(|word| word.len() > 50 && word.starts_with("age1"))
            .unwrap();
        let key = format!("{key}\n");
        committed(
            &ground,
            &[
                ("hosts/new/key.pub", &key),
                ("secrets/secrets.nix", &rules(after)),
            ],
        );
        let text = ground.made("new", &["--yes"]);
        assert_eq!(reads(&ground, "secrets/all.age"), gets, "{text}");
        assert_eq!(text.contains("no secret is for new yet"), !gets, "{text}");
        assert!(ground.names().1.contains(&"newInstallerIso".to_owned()));
        assert!(ground.made("new", &["--yes"]).contains("already"));
    }
}

#[test]
fn already_there_means_that_its_secrets_are_for_it() {
    let people = People::new();
    let ground = people.ground();
    ground.made("new", &["--yes"]);
    let whole = fs::read(ground.root().join("secrets/all.age")).unwrap();
    let op: age::ssh::Recipient = people.op_public().parse().unwrap();
    ground.put("secrets/all.age", &encrypted(b"for all\n", &[&op], false));
    committed(&ground, &[]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("secrets/all.age") && text.contains("cd secrets && agenix --rekey"),
        "{text}"
    );
    // Whoever leaves that to agenix is not asked for it.
    assert!(ground.made("new", &["--yes", "--no-rekey"]).contains("already"));
    ground.put("secrets/all.age", &whole);
    committed(&ground, &[]);
    assert!(ground.made("new", &["--yes"]).contains("already"));
}

#[test]
fn rules_behind_a_link_are_those_that_agenix_reads() {
    let link = |ground: &Ground, to: &str, name: &str| {
        fs_err::os::unix::fs::symlink(to, ground.root().join(name)).unwrap();
        ground.git(&["add", "--all"]);
        ground.git(&["commit", "--quiet", "--message", "a link"]);
    };
    let people = People::new();
    // The file, and the folder: agenix is run where the link is.
    for (from, to, name, led, edited) in [
        (
            "secrets/secrets.nix",
            "nix/rules.nix",
            "secrets/secrets.nix",
            "../nix/rules.nix",
            "nix/rules.nix",
        ),
        (
            "secrets",
            "nix/secrets",
            "secrets",
            "nix/secrets",
            "nix/secrets/secrets.nix",
        ),
    ] {
        for by_name in [false, true] {
            let ground = people.ground();
            fs::create_dir_all(ground.root().join("nix")).unwrap();
            ground.git(&["mv", from, to]);
            link(&ground, led, name);
            let rules = ground.root().join("secrets/secrets.nix");
            let named = ["--yes", "--rules", rules.to_str().unwrap()];
            let text = ground.made("new", if by_name { &named } else { &named[..1] });
            assert!(
                reads(&ground, "secrets/all.age") && reads(&ground, "secrets/armored.age"),
                "{text}"
            );
            assert!(ground.text(edited).contains("new = \"age1"), "{text}");
            assert!(
                fs::symlink_metadata(ground.root().join(name))
                    .unwrap()
                    .is_symlink()
            );
            assert!(ground.made("new", &["--yes"]).contains("already"));
        }
    }
    // One that leads out of the repository, and one that leads nowhere.
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().join("rules.nix");
    for (is_there, why) in [(true, "not in the repository"), (false, "No such file")] {
        let ground = people.ground();
        fs::rename(ground.root().join("secrets/secrets.nix"), &elsewhere).unwrap();
        link(&ground, elsewhere.to_str().unwrap(), "secrets/secrets.nix");
        if !is_there {
            fs::remove_file(&elsewhere).unwrap();
        }
        let output = ground.run("new", &["--yes"]);
        let text = said(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(
            text.contains("secrets/secrets.nix: it is a link to ")
                && text.contains(why)
                && text.contains("git mv"),
            "{text}"
        );
        // What the message says.
        ground.git(&["rm", "--quiet", "secrets/secrets.nix"]);
        committed(&ground, &[("secrets/secrets.nix", &people.rules())]);
        ground.made("new", &["--yes"]);
    }
}

#[test]
fn what_lies_outside_is_named_as_it_is() {
    if !has_nix() {
        return without_nix("rules that import what is not there");
    }
    let people = People::new();
    for file in ["../../more.nix", "../more.nix"] {
        let rules = people
            .rules()
            .replacen("let\n", &format!("let\n  more = import {file};\n"), 1);
        let rules = rules.replace("users = [ op ]", "users = [ op ] ++ more");
        let text = with_rules(&people, &rules).refused("new", &["--yes"], 6);
        assert!(
            text.contains("more.nix") && !text.contains("landfall-host-"),
            "{text}"
        );
        assert_eq!(
            text.contains("outside of the repository"),
            file.starts_with("../../"),
            "{text}"
        );
    }
}

#[test]
fn a_role_is_not_taken_for_all_hosts() {
    let people = People::new();
    let rules = people
        .rules()
        .replace(
            "systems = [ web db ];",
            "systems = [ web db ];\n  servers = [ db ];",
        )
        .replace("[ op web ]", "[ op web ] ++ servers");
    let ground = with_rules(&people, &rules);
    let text = ground.made("new", &["--yes"]);
    assert!(
        text.contains("the list servers of secrets/secrets.nix does not have every host"),
        "{text}"
    );
    assert!(reads(&ground, "secrets/all.age") && !reads(&ground, "secrets/web.age"));
    assert!(ground.text("secrets/secrets.nix").contains("servers = [ db ];"));
    // Asked for, it gets them.
    let ground = with_rules(&people, &rules);
    ground.made("new", &["--yes", "--like", "db"]);
    assert!(reads(&ground, "secrets/web.age"));
}

/// Nix is told of the copy by its name, in which some characters mean something else.
#[test]
fn a_folder_of_temporary_files_of_any_name_is_no_fault_of_the_flake() {
    if !has_nix() {
        return without_nix("a copy in a folder of another name");
    }
    let people = People::new();
    let ground = people.ground();
    let keep = tempfile::tempdir().unwrap();
    for name in [
        "with blank",
        "a#b",
        "a?b",
        "$x",
        "two\nlines",
        "é",
        "a%20b",
        "plain",
    ] {
        let dir = keep.path().join(name);
        fs::create_dir(&dir).unwrap();
        let mut command = ground.landfall("new", &["--dry-run"]);
        let output = command.env("TMPDIR", &dir).output().unwrap();
        assert!(output.status.success(), "{name}: {}", said(&output.stderr));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "{name}");
    }
    let mut command = ground.landfall("new", &["--dry-run"]);
    let output = command.env("TMPDIR", keep.path().join("none")).output().unwrap();
    let text = said(&output.stderr);
    assert!(
        output.status.code() == Some(6) && text.contains("/none: "),
        "{text}"
    );
}
