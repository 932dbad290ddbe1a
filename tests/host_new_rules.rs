//! Promise: rules that are computed from the repository's files are evaluated with the new host's files in it; an existing
//! key is used, wherever the rules read it; rules behind a link are those that agenix reads; and nobody gets the secrets of a
//! role without a question.
//!
//! Real Nix says what the rules are, the crate `age` who reads a secret.
//!
//! `host_new_secrets` has rules in the form of agenix's tutorial.
// Long because: every test is of one repository and its rules, which are made here.

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

/// Rules that do not name the database go with a secret that it does not read.
fn of_op_and_web(people: &People, ground: &Ground) {
    let op: age::ssh::Recipient = people.op_public().parse().unwrap();
    ground.put(
        "secrets/all.age",
        &encrypted(b"for all\n", &[&op, &people.web.to_public()], false),
    );
    committed(ground, &[]);
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
    of_op_and_web(&people, &ground);
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
        of_op_and_web(&people, &ground);
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

/// Rules of two roles, in the forms that people write them: what is added to the keys of one role gives its secrets.
fn roles(people: &People, bound: &str, all: &str, web: &str, db: &str) -> String {
    let (op, hosts) = (
        people.op_public(),
        [people.web.to_public(), people.db.to_public()],
    );
    let bound = bound
        .replace("WEB", &format!("\"{}\"", hosts[0]))
        .replace("DB", &format!("\"{}\"", hosts[1]));
    format!(
        "let\n  op = \"{op}\";\n  {bound}\nin\n{{\n  \"all.age\".publicKeys = [ op ] ++ \
         {all};\n  \"web.age\".publicKeys = [ op ] ++ {web};\n  \"db.age\".publicKeys = [ op ] ++ {db};\n}}\n"
    )
}

/// A repository whose flake has both hosts, with a secret for each, and one for both.
fn of_two_hosts(people: &People, rules: &str) -> Ground {
    let ground = with_rules(people, rules);
    let op: age::ssh::Recipient = people.op_public().parse().unwrap();
    ground.put(
        "secrets/db.age",
        &encrypted(b"db\n", &[&op, &people.db.to_public()], false),
    );
    let flake = ground.text("flake.nix").replace(
        "        web = nixpkgs",
        "        db = nixpkgs.lib.nixosSystem { modules = [ ./hosts/db ]; };\n        web = nixpkgs",
    );
    let db = kit::host("db");
    committed(&ground, &[("flake.nix", &flake), ("hosts/db/default.nix", &db)]);
    ground
}

/// Rules with a set of keys for each of two roles.
fn two_sets(people: &People, first: &str, second: &str) -> String {
    let bound = format!("{first}.web = WEB; {second}.db = DB;");
    let (first, second) = (
        format!("builtins.attrValues {first}"),
        format!("builtins.attrValues {second}"),
    );
    roles(people, &bound, &format!("{first} ++ {second}"), &first, &second)
}

/// The keys of a role, computed from those of every host.
const COMPUTED: &str =
    "hosts = { web = WEB; db = DB; }; servers = builtins.attrValues (removeAttrs hosts [ \"db\" ]);";

#[test]
fn nobody_gets_the_secrets_of_a_role_unasked() {
    let people = People::new();
    let lists = "webKey = WEB; dbKey = DB; servers = [ webKey ]; laptops = [ dbKey ];";
    let by_name = "web = WEB; db = DB; servers = [ web ]; laptops = [ db ];";
    for (rules, why, needs_nix) in [
        (
            two_sets(&people, "servers", "laptops"),
            "several sets of keys of hosts (servers, laptops)",
            false,
        ),
        (
            two_sets(&people, "nodes", "clients"),
            "several sets of keys of hosts",
            false,
        ),
        (
            roles(&people, lists, "servers ++ laptops", "servers", "laptops"),
            "could read web.age, which dbKey cannot read",
            false,
        ),
        (
            roles(
                &people,
                COMPUTED,
                "builtins.attrValues hosts",
                "servers",
                "[ hosts.db ]",
            ),
            "could read web.age, which db cannot read",
            true,
        ),
    ] {
        for with_nix in [true, false] {
            if with_nix && !has_nix() || !with_nix && needs_nix {
                continue;
            }
            let ground = of_two_hosts(&people, &rules);
            let ground = if with_nix { ground } else { ground.without_nix() };
            let text = ground.refused("new", &["--yes"], 6);
            assert!(
                text.contains(why) && text.contains("--like HOST") && text.contains("age1"),
                "{text}"
            );
        }
    }
    // The control: each role has a list of names, and the key is in none of them; or every host has what is for all.
    for (rules, gets) in [
        (
            roles(&people, by_name, "servers ++ laptops", "servers", "laptops"),
            false,
        ),
        (
            roles(
                &people,
                "hosts = { web = WEB; db = DB; };",
                "builtins.attrValues hosts",
                "[ hosts.web ]",
                "[ hosts.db ]",
            ),
            true,
        ),
    ] {
        let ground = of_two_hosts(&people, &rules);
        let text = ground.made("new", &["--yes"]);
        assert_eq!(reads(&ground, "secrets/all.age"), gets, "{text}");
        assert!(
            !reads(&ground, "secrets/web.age") && !reads(&ground, "secrets/db.age"),
            "{text}"
        );
    }
}

#[test]
fn a_new_host_gets_the_secrets_of_the_host_that_is_named_and_no_others() {
    if !has_nix() {
        return without_nix("the secrets of a host that is named");
    }
    let people = People::new();
    for like in ["web", "db"] {
        let ground = of_two_hosts(&people, &two_sets(&people, "servers", "laptops"));
        ground.made("new", &["--yes", "--like", like]);
        assert!(reads(&ground, "secrets/all.age"));
        assert_eq!(
            (
                reads(&ground, "secrets/web.age"),
                reads(&ground, "secrets/db.age")
            ),
            (like == "web", like == "db")
        );
        assert!(ground.made("new", &["--yes"]).contains("already"));
    }
    let rules = roles(
        &people,
        COMPUTED,
        "builtins.attrValues hosts",
        "servers",
        "[ hosts.db ]",
    );
    let text = of_two_hosts(&people, &rules).refused("new", &["--yes", "--like", "db"], 6);
    assert!(
        text.contains("could read web.age, which db cannot read"),
        "{text}"
    );
}

/// A list of one set's keys gets the key of another set's host no more than its own: the group is that of the host that is named.
#[test]
fn the_key_is_bound_beside_that_of_the_host_that_is_named() {
    let people = People::new();
    let bound = "servers = { web = WEB; }; laptops = { db = DB; };";
    let rules = roles(
        &people,
        bound,
        "[ servers.web laptops.db ]",
        "[ servers.web ]",
        "[ laptops.db ]",
    );
    let ground = of_two_hosts(&people, &rules);
    ground.made("new", &["--yes", "--like", "db"]);
    assert!(reads(&ground, "secrets/all.age") && reads(&ground, "secrets/db.age"));
    assert!(!reads(&ground, "secrets/web.age"));
    assert!(
        ground
            .text("secrets/secrets.nix")
            .contains("[ laptops.db laptops.new ]")
    );
}

/// A file of keys at a usual place, and the rules elsewhere: those are asked, and what they say of the new key is done.
#[test]
fn a_file_of_keys_does_not_hide_the_rules() {
    if !has_nix() {
        return without_nix("rules that import a file of keys");
    }
    let people = People::new();
    let keys = format!(
        "{{\n  users.op = \"{}\";\n  hosts = {{\n    web = \"{}\";\n    db = \"{}\";\n  }};\n}}\n",
        people.op_public(),
        people.web.to_public(),
        people.db.to_public()
    );
    let rules = "let keys = import ../secrets/keys.nix; in {\n  \"all.age\".publicKeys = builtins.attrValues keys.users ++ builtins.attrValues \
                 keys.hosts;\n}\n";
    for file in ["agenix/secrets.nix", "agenix/rules.nix"] {
        let ground = people.ground();
        fs::create_dir(ground.root().join("agenix")).unwrap();
        ground.git(&["rm", "--quiet", "secrets/secrets.nix"]);
        ground.git(&["mv", "secrets/all.age", "agenix/all.age"]);
        committed(&ground, &[("secrets/keys.nix", &keys), (file, rules)]);
        let text = ground.made("new", &["--yes"]);
        assert!(
            ground.text("secrets/keys.nix").contains("    new = \"age1"),
            "{text}"
        );
        assert!(
            reads(&ground, "agenix/all.age") && !text.contains("no secret is for new"),
            "{text}"
        );
        // The control: of two files with rules none is guessed.
        committed(
            &ground,
            &[("other/secrets.nix", rules), ("agenix/secrets.nix", rules)],
        );
        fs::remove_dir_all(ground.keys()).unwrap();
        let text = ground.refused("more", &["--yes"], 2);
        assert!(
            text.contains("several rules files") && text.contains("other/secrets.nix"),
            "{text}"
        );
    }
}

/// What is called as rules are, and is none: a module of NixOS, data, what git-crypt wrote.
#[test]
fn a_module_with_the_name_of_the_rules_is_none() {
    let people = People::new();
    let module = "{ config, ... }: { sops.secrets.a = { }; }\n";
    for (file, text) in [
        ("secrets.nix", module),
        ("secrets/secrets.nix", module),
        ("secrets.nix", "{ password = \"x\"; }\n"),
        ("secrets.nix", "\0GITCRYPT\0x"),
    ] {
        let ground = people.ground();
        ground.git(&["rm", "--quiet", "-r", "secrets"]);
        committed(&ground, &[(file, text)]);
        let said = ground.made("new", &["--yes"]);
        assert!(
            said.contains(&format!("note: {file} is not a rules file of agenix")),
            "{said}"
        );
        assert_eq!(ground.text(file), text);
        assert!(ground.made("new", &["--yes"]).contains("already"));
    }
    // The control: rules elsewhere are found beside such a module; and rules that have no secret yet are rules.
    let ground = people.ground();
    committed(&ground, &[("secrets.nix", module)]);
    assert!(
        ground
            .made("new", &["--yes"])
            .contains("secrets/all.age: encrypted again")
    );
    let ground = people.ground();
    let none = people.rules();
    let none = format!("{}in\n{{ }}\n", none.split("in\n{").next().unwrap());
    committed(&ground, &[("secrets/secrets.nix", &none)]);
    ground.made("new", &["--yes"]);
    assert!(ground.text("secrets/secrets.nix").contains("new = \"age1"));
}

#[test]
fn rules_that_import_what_is_not_there_are_told_in_the_words_of_nix() {
    if !has_nix() {
        return without_nix("rules that import what is not there");
    }
    let people = People::new();
    let rules = "let keys = import ./keys.nix; in { \"all.age\".publicKeys = builtins.attrValues keys; }\n";
    let text = with_rules(&people, rules).refused("new", &["--yes"], 6);
    assert!(
        text.contains("secrets/keys.nix") && text.contains("correct it") && !text.contains("no set or let"),
        "{text}"
    );
}

/// What only Nix could judge is not edited without it; whoever leaves the secrets to agenix is shown the key.
#[test]
fn rules_that_nobody_can_judge_are_left_as_they_are() {
    let people = People::new();
    let rules = roles(
        &people,
        COMPUTED,
        "builtins.attrValues hosts",
        "servers",
        "[ hosts.db ]",
    );
    let ground = of_two_hosts(&people, &rules).without_nix();
    let text = ground.made("new", &["--yes", "--no-rekey"]);
    assert!(
        text.contains("was not edited") && text.contains("new = \"age1"),
        "{text}"
    );
    assert_eq!(ground.text("secrets/secrets.nix"), rules);
    let ground = people.ground().without_nix();
    ground.made("new", &["--yes", "--no-rekey"]);
    assert!(
        ground.text("secrets/secrets.nix").contains("[ web db new ]"),
        "the control"
    );
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
        output.status.code() == Some(6)
            && text.contains("/none: it is the directory for temporary files (TMPDIR)")
            && text.contains("export TMPDIR="),
        "{text}"
    );
}

/// Users may have a key for each host; the set of hosts is the other one.
#[test]
fn a_set_of_users_with_the_name_of_a_host_is_not_the_hosts() {
    let people = People::new();
    let rules = |users: &str, extra: &str| {
        roles(
            &people,
            &format!(
                "{users} = {{ op = op; web = \"{}\"; }}; systems = {{ web = WEB; db = DB; }}; {extra}",
                people.op_public()
            ),
            "builtins.attrValues systems",
            "[ systems.web ]",
            "[ systems.db ]",
        )
    };
    for args in [&["--yes"][..], &["--yes", "--like", "web"]] {
        let ground = of_two_hosts(&people, &rules("users", ""));
        let text = ground.made("new", args);
        assert!(
            ground.text("secrets/secrets.nix").contains("db = \"") && reads(&ground, "secrets/all.age"),
            "{text}"
        );
        assert_eq!(reads(&ground, "secrets/web.age"), args.len() > 1, "{text}");
    }
    // The control: two sets of which nothing says which is for hosts; naming a neighbour that both have does not help.
    let ground = of_two_hosts(&people, &rules("cluster", "").replace("systems", "fleet"));
    let text = ground.refused("new", &["--yes", "--like", "web"], 6);
    assert!(text.contains("several sets of keys of hosts"), "{text}");
    let next = text.split_once("next: ").unwrap().1;
    assert!(!next.contains("--like") && next.contains("by hand"), "{text}");
}

/// A machine that another tool deploys is one of those whose secrets nobody gets unasked.
#[test]
fn a_machine_that_is_no_nixos_host_counts_as_one() {
    let people = People::new();
    let by_name = "web = WEB; db = DB; servers = [ web ];";
    let rules = roles(&people, by_name, "servers ++ [ db ]", "servers", "[ db ]");
    let of_flake_with = |output: &str| {
        let ground = with_rules(&people, &rules);
        let op: age::ssh::Recipient = people.op_public().parse().unwrap();
        for (secret, host) in [("web", &people.web), ("db", &people.db)] {
            ground.put(
                &format!("secrets/{secret}.age"),
                &encrypted(b"secret\n", &[&op, &host.to_public()], false),
            );
        }
        let flake = ground.text("flake.nix").replacen(
            "nixosConfigurations",
            &format!("{output}\n      nixosConfigurations"),
            1,
        );
        committed(&ground, &[("flake.nix", &flake)]);
        ground
    };
    for output in [
        "darwinConfigurations.db = { };",
        "colmena.db = { };",
        "deploy.nodes.db = { };",
        "homeConfigurations.\"op@db\" = { };",
    ] {
        let ground = of_flake_with(output);
        let text = ground.made("new", &["--yes"]);
        assert!(!reads(&ground, "secrets/web.age"), "{output}: {text}");
        assert!(text.contains("does not have every host"), "{output}: {text}");
        // The neighbour is named: then it is given, and what is db's is not.
        let ground = of_flake_with(output);
        let text = ground.made("new", &["--yes", "--like", "web"]);
        assert!(reads(&ground, "secrets/web.age"), "{output}: {text}");
        assert!(!reads(&ground, "secrets/db.age"), "{output}: {text}");
    }
    // The control: nothing says that db is a machine, so every one that there is may read what servers read.
    let ground = of_flake_with("");
    let text = ground.made("new", &["--yes"]);
    assert!(reads(&ground, "secrets/web.age"), "{text}");
}

/// What has nothing to do with secrets is not in the way of a host.
#[test]
fn a_directory_with_the_name_of_a_nix_file_is_no_rules_file() {
    let people = People::new();
    let ground = people.ground();
    ground.git(&["rm", "-r", "-q", "-f", "--ignore-unmatch", "secrets/secrets.nix"]);
    fs::create_dir_all(ground.root().join("lib")).unwrap();
    fs_err::os::unix::fs::symlink("../hosts", ground.root().join("lib/all.nix")).unwrap();
    committed(&ground, &[]);
    ground.made("new", &["--yes"]);
    // The control: one with the name of the rules.
    let ground = people.ground();
    ground.git(&["rm", "-r", "-q", "-f", "--ignore-unmatch", "secrets/secrets.nix"]);
    fs::create_dir_all(ground.root().join("lib")).unwrap();
    fs_err::os::unix::fs::symlink("../hosts", ground.root().join("lib/secrets.nix")).unwrap();
    committed(&ground, &[]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(text.contains("it is a directory"), "{text}");
}
