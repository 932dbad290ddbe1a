use super::*;

fn edited(
    rules: &str,
    keys: &str,
    like: Option<&str>,
    hosts: &[&str],
) -> Result<Vec<(String, String)>, NotWritten> {
    let read = |path: &Utf8Path| match path.as_str() {
        "secrets/secrets.nix" => Some(rules.to_owned()),
        "secrets/keys.nix" if !keys.is_empty() => Some(keys.to_owned()),
        _ => None,
    };
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let key = NewKey {
        host: "web",
        public: "age1new",
        like,
        hosts: &hosts,
    };
    let edited = with_key(Utf8Path::new("secrets/secrets.nix"), key, &read)?.edited;
    Ok(edited
        .into_iter()
        .map(|(path, text)| (path.to_string(), text))
        .collect())
}

fn one(rules: &str, like: Option<&str>, hosts: &[&str]) -> String {
    edited(rules, "", like, hosts).unwrap().remove(0).1
}

/// A set of users that is read whole: a key in it would be one of theirs.
#[test]
fn a_hosts_key_is_none_of_the_users() {
    let whole = "let k = import ./keys.nix; in { \"a.age\".publicKeys = builtins.attrValues k.users; }";
    for (rules, keys) in [
        (whole, "{ users = { alice = \"ssh-ed25519 AAAA\"; }; }"),
        (whole, "{ users.alice = \"ssh-ed25519 AAAA\"; }"),
        (
            "let k = import ./keys.nix; in { \"a.age\".publicKeys = [ k.users.alice ]; }",
            "{ users.alice = \"ssh-ed25519 AAAA\"; }",
        ),
        (
            "let k = import ./keys.nix; in { \"a.age\".publicKeys = builtins.attrValues k; }",
            "{ alice = \"ssh-ed25519 AAAA\"; }",
        ),
    ] {
        let refused = edited(rules, keys, None, &[]);
        assert!(
            matches!(refused, Err(NotWritten::Form(..))),
            "{keys}: {refused:?}"
        );
    }
    // Where a host's key is in it, it is theirs.
    let hosts = "{ hosts = { db = \"ssh-ed25519 BBBB\"; }; }";
    let rules = "let k = import ./keys.nix; in { \"a.age\".publicKeys = builtins.attrValues k.hosts; }";
    assert_eq!(edited(rules, hosts, None, &["db"]).unwrap().len(), 1);
}

#[test]
fn the_first_host_goes_into_the_list_that_waits_for_it() {
    let before = "let\n  op = \"ssh-ed25519 AAAA\";\n  systems = [ ];\nin\n{ \"a.age\".publicKeys = [ op ] ++ systems; }\n";
    let after = edited(before, "", None, &[]).unwrap().remove(0).1;
    assert!(
        after.contains("systems = [ web ];") && after.contains("web = \"age1"),
        "{after}"
    );
}

#[test]
fn the_form_of_the_agenix_tutorial_gets_the_key_and_the_list() {
    let before = "let\n  alice = \"ssh-ed25519 AAAA\";\n  users = [ alice ];\n\n  db = \"ssh-ed25519 BBBB\";\n  systems = [ db ];\nin\n{\n  \
                  \"a.age\".publicKeys = users ++ systems;\n  \"b.age\".publicKeys = [ db ];\n}\n";
    let after = one(before, None, &["db"]);
    assert_eq!(
        after,
        before
            .replace("BBBB\";\n", "BBBB\";\n  web = \"age1new\";\n")
            .replace("[ db ];\nin", "[ db web ];\nin")
    );
    let read = |_: &Utf8Path| Some(after.clone());
    let rules = as_written(Utf8Path::new("secrets.nix"), &read).unwrap();
    assert!(rules["a.age"].public_keys.contains(&"age1new".to_owned()));
    assert!(
        !rules["b.age"].public_keys.contains(&"age1new".to_owned()),
        "nobody asked for it"
    );
    let like = one(before, Some("db"), &["db"]);
    assert!(like.contains("\"b.age\".publicKeys = [ db web ];"), "{like}");
    assert_eq!(like.matches("[ db web ]").count(), 2, "{like}");
}

#[test]
fn a_file_of_keys_that_is_imported_gets_the_key() {
    let rules =
        "let keys = import ./keys.nix; in {\n  \"a.age\".publicKeys = [ keys.users.op keys.hosts.db ];\n}\n";
    let keys =
        "{\n  users.op = \"ssh-ed25519 AAAA\";\n  hosts = {\n    db = \"age1db\"; # the database\n  };\n}\n";
    let after = edited(rules, keys, Some("db"), &[]).unwrap();
    assert_eq!(after.len(), 2);
    assert_eq!(
        after[0].1,
        rules.replace("keys.hosts.db", "keys.hosts.db keys.hosts.web")
    );
    assert_eq!(
        after[1].1,
        keys.replace("# the database\n", "# the database\n    web = \"age1new\";\n")
    );
    let dotted = "{\n  users.op = \"ssh-ed25519 AAAA\";\n  hosts.db = \"age1db\";\n}\n";
    let after = edited(rules, dotted, None, &[]).unwrap();
    assert_eq!(
        after,
        [(
            "secrets/keys.nix".to_owned(),
            dotted.replace("age1db\";\n", "age1db\";\n  hosts.web = \"age1new\";\n")
        )]
    );
}

#[test]
fn a_key_that_is_there_is_not_written_again() {
    let there = "let web = \"age1new\"; in { \"a.age\".publicKeys = [ web ]; }";
    assert!(edited(there, "", None, &[]).unwrap().is_empty());
    let other = "let web = \"age1other\"; in { \"a.age\".publicKeys = [ web ]; }";
    assert!(matches!(edited(other, "", None, &[]), Err(NotWritten::Taken(..))));
    let db = "let db = \"age1new\"; in { \"a.age\".publicKeys = [ db ]; }";
    assert!(matches!(
        edited(db, "", None, &["db"]),
        Err(NotWritten::Taken(..))
    ));
}

#[test]
fn what_somebody_wrote_by_hand_is_taken_as_it_is() {
    for rules in [
        "{ \"a.age\".publicKeys = [ \"age1x\" \"age1new\" ]; }",
        "let web.key = \"age1new\"; db.key = \"age1x\"; in { \"a.age\".publicKeys = [ web.key ]; }",
        "let of_web = \"age1new\"; web = [ of_web ]; in { \"a.age\".publicKeys = web; }",
    ] {
        assert!(edited(rules, "", None, &["db"]).unwrap().is_empty(), "{rules}");
        // The control: with another key the same rules are not edited.
        let other = rules.replace("age1new", "age1other");
        assert!(edited(&other, "", None, &["db"]).is_err(), "{other}");
    }
}

#[test]
fn a_name_that_stands_for_something_else_is_not_bound_again() {
    for rules in [
        "let op = \"age1x\"; web = [ op ]; in { \"a.age\".publicKeys = web; }",
        "let op = \"age1x\"; web.x = 1; in { \"a.age\".publicKeys = [ op ]; }",
        "let op = \"age1x\"; inherit (import ./x.nix) web; in { \"a.age\".publicKeys = [ op ]; }",
    ] {
        let said = edited(rules, "", None, &["op"]);
        assert!(
            matches!(&said, Err(NotWritten::Form(_, why)) if why.contains("another meaning")),
            "{rules}: {said:?}"
        );
    }
}

#[test]
fn a_list_gets_the_host_once_beside_its_neighbour() {
    let rules = "let\n  db = \"age1y\";\n  old = \"age1z\";\n  systems = [ db old ];\nin { \"a.age\".publicKeys = systems; }";
    let text = one(rules, Some("db"), &["db", "old"]);
    assert!(text.contains("systems = [ db web old ];"), "{text}");
}

#[test]
fn where_several_places_are_possible_nothing_is_written() {
    for rules in [
        "{ \"a.age\".publicKeys = [ \"age1x\" ]; }",
        "let a = { x = \"age1x\"; }; b = { y = \"age1y\"; }; in { \"a.age\".publicKeys = [ a.x ]; }",
    ] {
        assert!(
            matches!(edited(rules, "", None, &[]), Err(NotWritten::Form(..))),
            "{rules}"
        );
    }
    assert!(matches!(
        edited("let a = ; in a", "", None, &[]),
        Err(NotWritten::Parse(..))
    ));
    // One of them has a host that is there.
    let two = "let a = { x = \"age1x\"; }; b = { db = \"age1y\"; }; in { \"a.age\".publicKeys = [ a.x ]; }";
    assert!(one(two, None, &["db"]).contains("db = \"age1y\"; web = \"age1new\";"));
}

/// A role is no list of all hosts, whatever it is called: nobody gets its secrets unasked.
#[test]
fn a_list_is_of_all_hosts_only_with_every_one_of_them() {
    let rules = |lists: &str| {
        format!(
            "let\n  op = \"ssh-ed25519 AAAA\";\n  db = \"age1y\";\n  mail = \"age1z\";\n  thin = \"age1t\";\n{lists}in {{ \"a.age\".publicKeys = [ op ]; }}\n"
        )
    };
    let hosts = ["db", "mail", "thin"].map(str::to_owned);
    for (lists, put, left) in [
        ("  servers = [ db mail ];\n", "", "servers"),
        ("  machines = [ ];\n", "", "machines"),
        ("  systems = [ db mail thin ];\n", "[ db mail thin web ]", ""),
        (
            "  systems = [ thin mail db ];\n  servers = [ db ];\n",
            "[ thin mail db web ]",
            "servers",
        ),
        (
            "  nodes = [ db mail ];\n  hosts = [ mail thin ];\n",
            "",
            "nodes hosts",
        ),
        // What is no key there is no list of keys.
        ("  hosts = [ \"db\" ];\n", "", ""),
    ] {
        let text = rules(lists);
        let read = |path: &Utf8Path| (path == "secrets.nix").then(|| text.clone());
        let key = NewKey {
            host: "web",
            public: "age1new",
            like: None,
            hosts: &hosts,
        };
        let WithKey { edited, of_some } = with_key(Utf8Path::new("secrets.nix"), key, &read).unwrap();
        let (_, after) = &edited[0];
        assert!(after.contains("  web = \"age1new\";"), "{after}");
        assert_eq!(of_some.join(" "), left, "{lists}");
        let lines = |text: &str| {
            text.lines()
                .filter(|line| line.contains('['))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let differ = lines(after)
            .iter()
            .filter(|line| !lines(&text).contains(line))
            .count();
        assert_eq!(differ, usize::from(!put.is_empty()), "{after}");
        assert!(after.contains(put), "{after}");
    }
    // A host that the flake does not have, and another list does: what of both is a role is not known.
    let text = rules("  systems = [ db mail ];\n  servers = [ db ];\n");
    let read = |_: &Utf8Path| Some(text.clone());
    let key = NewKey {
        host: "web",
        public: "age1new",
        like: None,
        hosts: &[],
    };
    let with = with_key(Utf8Path::new("secrets.nix"), key, &read).unwrap();
    assert_eq!(with.of_some, ["servers"]);
    assert!(with.edited[0].1.contains("[ db mail web ]"));
}

/// A user may be called as a host is: that says nothing of the host's key, which may be one that nothing names.
#[test]
fn the_key_of_a_user_is_not_that_of_the_host_of_its_name() {
    let without = |mail: &str| {
        let rules = format!(
            "let {mail} hosts.db = \"age1db\"; in {{\n  \"all.age\".publicKeys = [ hosts.db \"age1mail\" ];\n  \
             \"mail.age\".publicKeys = [ \"age1third\" ];\n}}\n"
        );
        let path = Utf8Path::new("secrets.nix");
        let read = |asked: &Utf8Path| (asked == path).then(|| rules.clone());
        let hosts = ["db", "mail", "web"].map(str::to_owned);
        let of = |keys: &[&str]| Rule {
            public_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            armor: false,
        };
        let all = of(&["age1db", "age1mail"]);
        let before = Rules::from([
            ("all.age".to_owned(), of(&["age1db", "age1mail"])),
            ("mail.age".to_owned(), of(&["age1third"])),
        ]);
        Owners::of(path, "web", &hosts, &read).without(&all, &before, "age1new")
    };
    assert_eq!(
        without("users.mail = \"age1mail\";").as_deref(),
        Some("age1third")
    );
    // The control: it is the host's key, and so every host has one.
    assert_eq!(without("hosts.mail = \"age1mail\";"), None);
}
