//! Promise: secrets that are encrypted again for a new host are readable by everybody who could read them, and by the host;
//! and nothing is written unless that holds for all of them.
//!
//! The recipients are those of the rules file, as Nix says, or as the file itself says. The tests themselves make and read
//! the secrets with the crate `age`. agenix's own module on a host is not tested.
//!
//! `host_new_passphrase` has identities under a passphrase.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;
#[path = "host_new/people.rs"]
#[allow(dead_code)]
mod people;

use age::Identity;
use age::secrecy::ExposeSecret;
use fs_err as fs;
use kit::{Ground, has_nix, without_nix};
use people::{People, decrypted, encrypted, new_identity};
use ssh_key::{Algorithm, PrivateKey, rand_core::OsRng};

#[test]
fn everybody_who_could_read_a_secret_still_can_and_the_new_host_too() {
    for with_nix in [true, false] {
        if with_nix && !has_nix() {
            without_nix("the rules of the secrets");
            continue;
        }
        let people = People::new();
        let ground = if with_nix {
            people.ground()
        } else {
            people.ground().without_nix()
        };
        let text = ground.made("new", &["--yes"]);
        assert!(
            text.contains("secrets/all.age: encrypted again, for 4 recipients"),
            "{text}"
        );
        let new = new_identity(&ground);
        for (name, plain) in [
            ("secrets/all.age", "for all\n"),
            ("secrets/armored.age", "armored\n"),
        ] {
            let op = people.op_identity();
            for identity in [op.as_ref(), &people.web as &dyn Identity, &people.db, &new] {
                assert_eq!(
                    decrypted(&ground, name, identity).as_deref(),
                    Some(plain),
                    "{name}"
                );
            }
        }
        assert!(
            ground
                .text("secrets/armored.age")
                .starts_with("-----BEGIN AGE ENCRYPTED FILE-----")
        );
        // The control: a secret that is not for it stays as it was, and is not for it.
        assert_eq!(decrypted(&ground, "secrets/web.age", &new), None);
        assert_eq!(
            decrypted(&ground, "secrets/web.age", &people.web).as_deref(),
            Some("for web\n")
        );
        let rules = ground.text("secrets/secrets.nix");
        let wanted = people
            .rules()
            .replace(
                "# the database\n",
                &format!("# the database\n  new = \"{}\";\n", new.to_public()),
            )
            .replace("[ web db ]", "[ web db new ]");
        assert_eq!(rules, wanted);
        let state = ground.state();
        assert!(ground.made("new", &["--yes"]).contains("already"));
        assert_eq!(ground.state(), state);
        // With agenix among its modules, the host looks for the identity where the installer puts it.
        let text = ground.text("hosts/new/default.nix");
        assert!(
            text.contains("\n  age.identityPaths = [ \"/etc/age/new.agekey\" ];"),
            "{text}"
        );
    }
}

#[test]
fn it_gets_the_secrets_of_a_host_that_is_named() {
    let people = People::new();
    let ground = people.ground();
    ground.made("new", &["--yes", "--like", "web"]);
    let new = new_identity(&ground);
    assert_eq!(
        decrypted(&ground, "secrets/web.age", &new).as_deref(),
        Some("for web\n")
    );
    assert_eq!(
        decrypted(&ground, "secrets/web.age", &people.web).as_deref(),
        Some("for web\n")
    );
    assert_eq!(decrypted(&ground, "secrets/web.age", &people.db), None);
}

#[test]
fn one_secret_that_cannot_be_decrypted_keeps_all_of_them_as_they_are() {
    let people = People::new();
    let ground = people.ground();
    let stranger = age::x25519::Identity::generate();
    ground.put(
        "secrets/armored.age",
        &encrypted(b"x", &[&stranger.to_public()], true),
    );
    ground.git(&["commit", "--quiet", "-am", "lost"]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("secrets/armored.age") && text.contains("--identity"),
        "{text}"
    );
    assert!(
        text.contains("for other identities") && !text.contains("damaged"),
        "{text}"
    );
    ground.put("secrets/armored.age", b"no secret at all");
    ground.git(&["commit", "--quiet", "-am", "broken"]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("secrets/armored.age") && text.contains("not a file that age encrypted"),
        "{text}"
    );
    assert!(!ground.keys().exists(), "and no key was written");
    let text = ground.made("new", &["--yes", "--no-rekey"]);
    assert!(text.contains("agenix --rekey"), "{text}");
}

/// What is damaged is no matter of the identity, and what is told to do about it brings it back.
#[test]
fn a_damaged_secret_is_told_from_a_wrong_identity() {
    let people = People::new();
    let ground = people.ground();
    let whole = |name: &str| fs::read(ground.root().join(name)).unwrap();
    let (binary, armored) = (whole("secrets/all.age"), whole("secrets/armored.age"));
    let mut flipped = binary.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let lines: Vec<&[u8]> = armored.split_inclusive(|byte| *byte == b'\n').collect();
    for (name, bytes) in [
        ("secrets/all.age", binary[..binary.len() - 3].to_vec()),
        ("secrets/all.age", binary[..30].to_vec()),
        ("secrets/all.age", vec![]),
        ("secrets/all.age", flipped),
        (
            "secrets/all.age",
            binary
                .iter()
                .flat_map(|byte| match byte {
                    b'\n' => vec![b'\r', b'\n'],
                    byte => vec![*byte],
                })
                .collect(),
        ),
        ("secrets/armored.age", lines[..lines.len() - 1].concat()),
        (
            "secrets/armored.age",
            // Not in its first and its last line.
            lines
                .iter()
                .flat_map(|line| match line.starts_with(b"-") {
                    true => line.to_vec(),
                    false => [b"!", &line[1..]].concat(),
                })
                .collect(),
        ),
    ] {
        let before = whole(name);
        ground.put(name, &bytes);
        ground.git(&["commit", "--quiet", "-am", "broken"]);
        let text = ground.refused("new", &["--yes"], 6);
        assert!(
            text.contains(name) && text.contains("incomplete or damaged"),
            "{text}"
        );
        assert!(
            text.contains(&format!("git checkout COMMIT -- {name}")) && !text.contains("--identity"),
            "{text}"
        );
        ground.git(&["checkout", "--quiet", "HEAD~1", "--", name]);
        ground.git(&["commit", "--quiet", "-m", "whole"]);
        assert_eq!(whole(name), before);
    }
    ground.made("new", &["--yes"]);
}

/// Commits other rules.
fn with_rules(people: &People, from: &str, to: &str) -> Ground {
    let (ground, rules) = (people.ground(), people.rules());
    assert!(rules.contains(from));
    ground.put("secrets/secrets.nix", rules.replace(from, to).as_bytes());
    ground.git(&["commit", "--quiet", "-am", "rules"]);
    ground
}

/// The rules name others than those who can read the secret: who made it would be locked out.
#[test]
fn every_reader_of_a_secret_can_decrypt_it_afterwards() {
    let people = People::new();
    let ground = with_rules(
        &people,
        "\"all.age\".publicKeys = users ++ systems",
        "\"all.age\".publicKeys = systems",
    );
    let before = ground.state();
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("secrets/all.age") && text.contains("could not decrypt it afterwards"),
        "{text}"
    );
    assert_eq!(ground.state(), before);
}

/// A reader whom the rules do not name keeps what it reads: the secret stays as it is, and both remedies are told.
#[test]
fn a_reader_whom_the_rules_do_not_name_keeps_the_secret() {
    let people = People::new();
    let op: age::ssh::Recipient = people.op_public().parse().unwrap();
    let (web, db) = (people.web.to_public(), people.db.to_public());
    let laptop = age::x25519::Identity::generate();
    let other = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    let ssh: age::ssh::Recipient = other.public_key().to_openssh().unwrap().parse().unwrap();
    let native = laptop.to_public();
    let readers: [(&dyn age::Recipient, &str, String); 2] = [
        (
            &native,
            "it can be read with 3 keys of age, and the rules name 2",
            native.to_string(),
        ),
        (
            &ssh,
            "it can be read with a key of ssh-ed25519",
            other.public_key().to_openssh().unwrap(),
        ),
    ];
    for (reader, told, key) in readers {
        let ground = people.ground();
        let secret = encrypted(b"for all\n", &[&op, &web, &db, reader], false);
        ground.put("secrets/all.age", &secret);
        ground.git(&["commit", "--quiet", "-am", "another reader"]);
        let text = ground.refused("new", &["--yes"], 6);
        assert!(text.contains("secrets/all.age") && text.contains(told), "{text}");
        assert!(
            text.contains("add its public key to the rules") && text.contains("cd secrets && agenix --rekey"),
            "{text}"
        );
        // It keeps it where the rules name it.
        let rules = people
            .rules()
            .replace("users = [ op ]", &format!("users = [ op \"{key}\" ]"));
        let named = people.ground();
        named.put("secrets/secrets.nix", rules.as_bytes());
        for file in ["secrets/all.age", "secrets/armored.age"] {
            named.put(file, &secret);
        }
        named.git(&["commit", "--quiet", "-am", "another reader"]);
        named.made("new", &["--yes"]);
        if key.starts_with("age") {
            assert_eq!(
                decrypted(&named, "secrets/all.age", &laptop).as_deref(),
                Some("for all\n")
            );
        }
        // And loses it where agenix has encrypted it again; that is the state of the start.
        ground.put(
            "secrets/all.age",
            &encrypted(b"for all\n", &[&op, &web, &db], false),
        );
        ground.git(&["commit", "--quiet", "-am", "without"]);
        ground.made("new", &["--yes"]);
    }
}

/// A name that the rules do not have, and a key that they have in a form that is not edited.
#[test]
fn a_host_that_is_named_gives_its_secrets_or_says_why_not() {
    let people = People::new();
    let text = people.ground().refused("new", &["--yes", "--like", "wbe"], 2);
    assert!(text.contains("--like") && text.contains("wbe"), "{text}");
    let key = format!("[ op \"{}\" ]", people.web.to_public());
    let ground = with_rules(&people, "[ op web ]", &key);
    let text = ground.refused("new", &["--yes", "--like", "web"], 6);
    assert!(
        text.contains("web.age is for web") && text.contains("age1"),
        "{text}"
    );
}

#[test]
fn identities_are_taken_by_name_and_refused_by_name() {
    let people = People::new();
    let ground = people.ground();
    let path = ground.home().join("db.agekey");
    fs::write(&path, people.db.to_string().expose_secret()).unwrap();
    let named = path.to_str().unwrap().to_owned();
    ground.made("new", &["--yes", "--identity", &named]);
    assert_eq!(
        decrypted(&ground, "secrets/all.age", &new_identity(&ground)).as_deref(),
        Some("for all\n")
    );

    let ground = people.ground();
    for (text, wanted) in [("AGE-SECRET-KEY-1NONE\n", "neither an age identity"), ("", "")] {
        let bad = ground.home().join("bad");
        fs::write(&bad, text).unwrap();
        let said = ground.refused("new", &["--yes", "--identity", bad.to_str().unwrap()], 6);
        assert!(said.contains(wanted) && !said.contains("1NONE"), "{said}");
    }
    fs::remove_file(ground.home().join(".ssh/id_ed25519")).unwrap();
    assert!(ground.refused("new", &["--yes"], 6).contains("--identity"));
}

#[test]
fn changed_secrets_and_rules_are_refused() {
    let people = People::new();
    let ground = people.ground();
    ground.put("secrets/all.age", b"changed");
    let text = ground.refused("new", &["--yes"], 6);
    assert!(text.contains("secrets/all.age"), "{text}");
    ground.git(&["checkout", "--quiet", "secrets/all.age"]);
    ground.put("secrets/secrets.nix", format!("{}\n", people.rules()).as_bytes());
    assert!(
        ground
            .refused("new", &["--yes"], 6)
            .contains("secrets/secrets.nix")
    );
    ground.put("secrets/secrets.nix", b"let op = ; in { }");
    ground.git(&["commit", "--quiet", "-am", "broken"]);
    assert!(ground.refused("new", &["--yes"], 6).contains("not valid Nix"));
    // What has the host's name already has another key.
    ground.put(
        "secrets/secrets.nix",
        people
            .rules()
            .replace("  db =", "  new =")
            .replace("web db", "web new")
            .as_bytes(),
    );
    ground.git(&["commit", "--quiet", "-am", "taken"]);
    assert!(ground.refused("new", &["--yes"], 6).contains("another key"));
    // Rules that only Nix can read.
    ground.put(
        "secrets/secrets.nix",
        people
            .rules()
            .replace(
                "users ++ systems;\n  \"web",
                "builtins.concatLists [ users systems ];\n  \"web",
            )
            .as_bytes(),
    );
    ground.git(&["commit", "--quiet", "-am", "computed"]);
    let ground = ground.without_nix();
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("only Nix can evaluate") && text.contains("agenix --rekey"),
        "{text}"
    );
}

/// A public key that is printed to be written by hand is one whose private half is kept: the next run goes on with it.
#[test]
fn a_key_that_is_shown_is_kept() {
    let people = People::new();
    let ground = people.ground();
    ground.put(
        "secrets/secrets.nix",
        format!("{{ \"all.age\".publicKeys = [ \"{}\" ]; }}\n", people.op_public()).as_bytes(),
    );
    ground.git(&["commit", "--quiet", "-am", "another form"]);
    let shown = |text: &str| {
        let at = text.find("age1").unwrap_or_else(|| panic!("{text}"));
        text[at..].split('"').next().unwrap().trim().to_owned()
    };
    let first = shown(&ground.refused("new", &["--yes"], 6));
    assert_eq!(shown(&ground.refused("new", &["--yes"], 6)), first);
}

/// Git takes no file behind a link or in another repository: nothing is written that it would not take.
#[test]
fn what_lies_outside_of_the_repository_is_not_touched() {
    let people = People::new();
    let ground = people.ground();
    let outside = ground.root().parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    let secret = outside.join("all.age");
    fs::copy(ground.root().join("secrets/all.age"), &secret).unwrap();
    std::os::unix::fs::symlink(&outside, ground.root().join("secrets/behind")).unwrap();
    let rules = people.rules().replace("\"all.age\"", "\"behind/all.age\"");
    ground.put("secrets/secrets.nix", rules.as_bytes());
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "-m", "behind a link"]);
    let before = fs::read(&secret).unwrap();
    let text = ground.refused("new", &["--yes"], 6);
    assert!(text.contains("secrets/behind is a link"), "{text}");
    assert_eq!(fs::read(&secret).unwrap(), before);
}

/// A file that the rules name in two ways has two lists of recipients; one with a name from the root is in nobody's repository.
#[test]
fn a_secret_has_one_name_in_the_rules() {
    for (other, why) in [
        ("./web.age", "names it twice"),
        ("/web.age", "not in the repository"),
    ] {
        let people = People::new();
        let ground = people.ground();
        let rules = people.rules().replace(
            "  \"later.age\"",
            &format!("  \"{other}\".publicKeys = users ++ systems;\n  \"later.age\""),
        );
        ground.put(
            "secrets/secrets.nix",
            rules
                .replace(
                    "\"web.age\".publicKeys = [ op web ]",
                    "\"web.age\".publicKeys = [ op ]",
                )
                .as_bytes(),
        );
        ground.git(&["commit", "--quiet", "--all", "--message", "two names"]);
        let text = ground.refused("new", &["--yes"], 6);
        assert!(
            text.contains(why) && text.contains("secrets/secrets.nix"),
            "{text}"
        );
        ground.put("secrets/secrets.nix", people.rules().as_bytes());
        ground.git(&["commit", "--quiet", "--all", "--message", "one name"]);
        ground.made("new", &["--yes"]);
    }
}

/// The command for a secret in a folder below is run where the rules are, with the name that they have for it.
#[test]
fn a_damaged_secret_in_a_folder_is_written_again_beside_the_rules() {
    let people = People::new();
    let ground = people.ground();
    let rules = people.rules().replace("\"all.age\"", "\"of all/all.age\"");
    ground.put("secrets/secrets.nix", rules.as_bytes());
    ground.put("secrets/of all/all.age", b"no secret\n");
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "--message", "damaged"]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("cd secrets && agenix --edit 'of all/all.age'"),
        "{text}"
    );
}

/// What the new name would change for others is not written, whether secrets are encrypted again or not.
#[test]
fn nobody_else_gains_or_loses_a_secret() {
    if !has_nix() {
        return without_nix("rules in which a name hides another");
    }
    let people = People::new();
    // The host's name would hide that of a person in `with`.
    let shadowed = people
        .rules()
        .replacen("let\n", "let\n  people = import (./. + \"/people\");\n", 1)
        .replace(
            "\"web.age\".publicKeys = [ op web ]",
            "\"web.age\".publicKeys = with people; [ op web new ]",
        );
    let person = age::x25519::Identity::generate().to_public();
    // Another thing beside the keys has the name.
    let taken = people.rules().replacen(
        "  users = [ op ];\n",
        "  users = [ op ];\n  new = [ op web ];\n",
        1,
    );
    for (rules, why) in [(shadowed, "web.age would"), (taken, "has another meaning")] {
        for more in [&["--yes"][..], &["--yes", "--no-rekey"]] {
            let ground = people.ground();
            ground.put("secrets/secrets.nix", rules.as_bytes());
            ground.put(
                "secrets/people/default.nix",
                format!("{{ new = [ \"{person}\" ]; }}")
                    .replace("[ ", "")
                    .replace(" ]", "")
                    .as_bytes(),
            );
            ground.git(&["add", "--all"]);
            ground.git(&["commit", "--quiet", "--message", "rules"]);
            if more.len() == 2 && why.contains("another meaning") {
                // Left to a person: the key is printed, the rules stay.
                let text = ground.made("new", more);
                assert!(
                    text.contains(why) && ground.text("secrets/secrets.nix") == rules,
                    "{text}"
                );
                continue;
            }
            let text = ground.refused("new", more, 6);
            assert!(
                text.contains(why) && (text.contains("by hand") || text.contains("in the right place")),
                "{text}"
            );
        }
    }
}

/// Keys that stand in the lists themselves: written there by hand, as the message says, they are found.
#[test]
fn a_key_that_was_written_by_hand_is_taken() {
    let people = People::new();
    let ground = people.ground();
    let (op, web) = (people.op_public(), people.web.to_public());
    let direct = |more: &str| format!("{{\n  \"web.age\".publicKeys = [ \"{op}\" \"{web}\"{more} ];\n}}\n");
    ground.put("secrets/secrets.nix", direct("").as_bytes());
    ground.git(&["commit", "--quiet", "--all", "--message", "direct"]);
    // Keys are kept where they are to be written down.
    let output = ground.run("new", &["--yes"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{text}");
    let key = text
        .split('"')
        .find(|part| part.starts_with("age1"))
        .unwrap()
        .to_owned();
    ground.put("secrets/secrets.nix", direct(&format!(" \"{key}\"")).as_bytes());
    ground.git(&["commit", "--quiet", "--all", "--message", "by hand"]);
    ground.made("new", &["--yes"]);
    let identity = fs::read_to_string(ground.keys().join("age-identity")).unwrap();
    let identity: age::x25519::Identity = identity
        .lines()
        .find(|line| !line.starts_with('#'))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        decrypted(&ground, "secrets/web.age", &identity).as_deref(),
        Some("for web\n")
    );
}

/// Rules that lie elsewhere are found by their name; of two one is to be named.
#[test]
fn rules_are_looked_for_in_the_whole_repository() {
    let people = People::new();
    let ground = people.ground();
    fs::create_dir_all(ground.root().join("nix")).unwrap();
    ground.git(&["mv", "secrets", "nix/secrets"]);
    ground.git(&["commit", "--quiet", "--message", "elsewhere"]);
    ground.put("other/secrets.nix", b"{ a.publicKeys = [ ]; }\n");
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "--message", "another"]);
    let text = ground.refused("new", &["--yes"], 2);
    assert!(
        text.contains("nix/secrets/secrets.nix") && text.contains("--rules "),
        "{text}"
    );
    ground.git(&["rm", "--quiet", "-r", "other"]);
    ground.git(&["commit", "--quiet", "--message", "one"]);
    let text = ground.made("new", &["--yes"]);
    assert!(text.contains("nix/secrets/all.age"), "{text}");
}
