//! Promise: `landfall host new` says what it does, and why it does not: the same with and without an agreement, to programs
//! and to people, and as the documents print it.
//!
//! The real program runs in a repository of its own.
//!
//! `host_new` has what it writes, and `host_new_secrets` secrets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use fs_err as fs;
use kit::{Ground, fixtures, has_nix, host, said, without_nix};

fn plain() -> String {
    fs::read_to_string(fixtures().join("flakes/plain.nix")).unwrap()
}

fn ground() -> Ground {
    let web = host("web");
    Ground::new(
        &plain(),
        &[
            ("hosts/web/default.nix", &web),
            ("hosts/web/installer.nix", "{ }\n"),
        ],
    )
}

#[test]
fn a_dry_run_has_the_notes_of_the_run() {
    let looked = ground();
    let text = looked.made("new", &["--dry-run"]);
    // What the real run has to say is said here, too, word for word, before anybody agrees.
    let notes = |text: &str| {
        let notes = text.lines().filter(|line| line.starts_with("note: "));
        notes.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(
        notes(&text).iter().any(|note| note.contains("ssh does not know")),
        "{text}"
    );
    let real = ground();
    assert_eq!(notes(&real.made("new", &["--yes"])), notes(&text));
    assert!(!looked.has("hosts/new"));
}

/// What a person has to change before the host can be used comes first among the next steps, to people and to programs.
#[test]
fn what_has_to_be_changed_is_the_first_of_the_next_steps() {
    let first = |text: &str| {
        text.split_once("  1. ")
            .unwrap()
            .1
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let files = "hosts/new/default.nix and hosts/new/installer.nix";
    let with_user = ground();
    let text = with_user.made("new", &["--yes", "--user", "op"]);
    let wanted =
        format!("edit the lines marked CHANGE in {files}; without a password hash nobody can log in");
    assert_eq!(first(&text), wanted, "{text}");
    assert!(
        text.contains("  2. git add hosts/new/default.nix hosts/new/installer.nix && git commit && git push"),
        "{text}"
    );
    assert!(!text.contains("makes no user"), "{text}");
    // Again, and to programs.
    let text = with_user.made("new", &["--yes"]);
    assert!(
        text.contains("already exists") && first(&text).contains(files),
        "{text}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&ground().made("new", &["--yes", "--json", "--user", "op"])).unwrap();
    assert_eq!(json["next"][0], wanted);
    let text = ground().made("new", &["--yes"]);
    assert!(
        text.contains("makes no user, and there is no root password"),
        "{text}"
    );
    // What was changed since is added, or a commit has the files as they were. The password stands in the host's own file.
    let changed = ["hosts/new/default.nix", "hosts/new/installer.nix"];
    for (n, file) in changed.into_iter().enumerate() {
        let text = with_user.text(file).replace("# CHANGE", "# changed");
        with_user.put(file, text.as_bytes());
        let text = with_user.made("new", &["--yes", "--user", "op"]);
        assert!(!text.contains("without a password hash"), "{text}");
        let is_left = first(&text) == "edit the lines marked CHANGE in hosts/new/installer.nix";
        assert_eq!(is_left, n == 0, "{text}");
    }
    let text = with_user.made("new", &["--yes", "--commit"]);
    assert!(
        text.contains("--commit: nothing was committed, because the host already exists"),
        "{text}"
    );
    let commit = first(&text).replace(" && git commit && git push", " && git commit -qm new");
    assert!(
        commit.starts_with("git add flake.nix hosts/new/default.nix hosts/new/installer.nix"),
        "{text}"
    );
    assert!(with_user.shell(&commit).status.success());
    assert!(
        with_user
            .git(&["show", "HEAD:hosts/new/default.nix"])
            .contains("# changed")
    );
    assert_eq!(with_user.git(&["status", "--porcelain"]), "");
    // The control: nothing is left to be changed, and it is committed.
    let text = with_user.made("new", &["--yes", "--commit"]);
    assert_eq!(first(&text), "git push", "{text}");
    assert!(!text.contains("note:"), "{text}");
    // The commit is said to be to do only where it is.
    let text = ground().made("new", &["--yes", "--commit"]);
    assert!(text.contains("  2. git add hosts/new/default.nix"), "{text}");
}

#[test]
fn names_that_are_somebody_elses_are_refused() {
    let ground = ground();
    for name in [
        "localhost",
        "LOCALHOST",
        "localhost.localdomain",
        "ip6-loopback",
        "10",
    ] {
        let text = ground.refused(name, &["--yes"], 2);
        assert!(
            text.contains("host name") && text.contains("another name"),
            "{text}"
        );
    }
    // What differs in case alone: a host, and a folder that the flake does not name.
    let text = ground.refused("WEB", &["--yes"], 6);
    assert!(text.contains("the flake has web"), "{text}");
    assert!(
        ground
            .refused("WEB", &["--yes", "--no-flake"], 6)
            .contains("the flake has web")
    );
    ground.put("hosts/Mixed/default.nix", b"{ }\n");
    let text = ground.refused("mixed", &["--yes"], 6);
    assert!(text.contains("hosts/Mixed exists"), "{text}");
    assert!(
        ground
            .refused("mixed", &["--yes", "--no-flake"], 6)
            .contains("hosts/Mixed exists")
    );
}

/// An argument that names nothing is told with its option, in plain words.
#[test]
fn paths_that_lead_nowhere_are_told_with_their_option() {
    let ground = ground();
    for (args, said_of) in [
        (
            vec!["--rules", "secrets.nix"],
            "--rules \"secrets.nix\": it is not there\n    next: name the file",
        ),
        (vec!["--rules", "hosts"], "--rules \"hosts\": it is a directory"),
        (
            vec!["--rules", ""],
            "--rules \"\": it is empty\n    next: name the file",
        ),
        (
            vec!["--identity", ""],
            "--identity \"\": it is empty\n    next: name a private key file",
        ),
        (
            vec!["--repository", ""],
            "--repository \"\": it is empty\n    next: name a directory",
        ),
    ] {
        let text = ground.refused("new", &[vec!["--yes"], args].concat(), 2);
        assert!(text.contains(said_of), "{text}");
        assert!(
            !text.contains("failed to") && !text.contains("os error"),
            "{text}"
        );
    }
    let output = ground
        .landfall_with_keys("new", std::path::Path::new(""), &["--yes"])
        .output()
        .unwrap();
    let text = said(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("--keys \"\": it is empty\n    next: name a directory outside the repository: --keys "),
        "{text}"
    );
    // The control: a file that is there is looked at.
    ground.put("secrets.nix", b"no Nix {");
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "--message", "rules"]);
    assert!(
        ground
            .refused("new", &["--yes", "--rules", "secrets.nix"], 6)
            .contains("not valid Nix")
    );
}

/// Every end that is none gives one object, and nothing else on standard output.
#[test]
fn programs_are_told_of_a_failure_of_every_kind() {
    let ground = ground();
    ground.put("dirty.nix", b"{ }\n");
    for (name, args, code, why) in [
        ("new", vec!["--json"], 2, "cannot ask"),
        ("-", vec!["--json", "--yes"], 2, "host name"),
        (
            "new",
            vec!["--json", "--yes", "--remote", "ftp://x"],
            2,
            "--remote",
        ),
        ("web", vec!["--json", "--yes"], 6, "already exists"),
        ("new", vec!["--json", "--dry-run", "--like", "db"], 2, "--like"),
        (
            "new",
            vec!["--json", "--yes", "--repository", "/"],
            6,
            "working tree",
        ),
    ] {
        let output = ground.run(name, &args);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output.stderr));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&value["result"], &value["exit"]),
            (&"failed".into(), &code.into()),
            "{value}"
        );
        let told = value["why"].as_str().unwrap();
        assert!(told.contains(why) && !told.contains("next: "), "{value}");
        let next = value["next"].as_str().unwrap();
        assert!(!next.is_empty() && said(&output.stderr).contains(next), "{value}");
        // The control: without it there is nothing there.
        let args: Vec<&str> = args.into_iter().filter(|arg| *arg != "--json").collect();
        if args.contains(&"--yes") {
            let output = ground.run(name, &args);
            assert_eq!(said(&output.stdout), "", "{args:?}");
        }
    }
}

/// The commands of a block of `docs/install/getting-started.md`, as they are printed, without comments.
fn documented(has: &str) -> Vec<String> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install/getting-started.md");
    let text = fs::read_to_string(file).unwrap();
    let block = text
        .split("```")
        .find(|block| block.starts_with("sh\n") && block.contains(has));
    let lines = block.unwrap().lines().skip(1);
    let bare = lines.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned());
    bare.filter(|line| !line.is_empty()).collect()
}

/// What the documents print for a flake that gets landfall as a new input, in their order; and no line of it is idle.
#[test]
fn the_commands_of_the_documents_make_a_host() {
    if !has_nix() {
        return without_nix("the way of the documents");
    }
    let whole = plain();
    let input = "    landfall.url = \"path:./inputs/landfall\";\n";
    assert!(whole.contains(input));
    let commands = documented("host new web");
    let program = env!("CARGO_BIN_EXE_landfall");
    let ran = |without: Option<&str>| {
        // Before, without landfall.
        let before = "{ outputs = { self }: { }; }\n";
        let ground = Ground::new(
            before,
            &[
                ("hosts/web/default.nix", &host("web")),
                ("hosts/web/installer.nix", "{ }\n"),
            ],
        );
        ground.put("flake.nix", whole.as_bytes());
        let script: Vec<String> = commands
            .iter()
            // It would fetch and build landfall.
            .filter(|line| !line.starts_with("nix build ") && Some(line.as_str()) != without)
            .map(|line| {
                line.replace("/tmp/landfall/bin/landfall", program)
                    .replace("host new web", "host new new --yes --system x86_64-linux")
            })
            .collect();
        let output = ground.shell(&script.join(" && "));
        (ground, output)
    };
    let (ground, output) = ran(None);
    assert!(
        output.status.success(),
        "{}{}",
        said(&output.stdout),
        said(&output.stderr)
    );
    assert!(ground.names().0.contains(&"new".to_owned()));
    assert!(ground.home().join("keys/web/age-identity").exists());
    // The control: without the pin, and without the commit, it is refused, and says so.
    for (line, why) in [
        ("nix flake lock", "flake.lock"),
        ("git commit --message \"landfall\"", "uncommitted"),
    ] {
        assert!(commands.contains(&line.to_owned()), "{commands:?}");
        let (_, output) = ran(Some(line));
        assert!(!output.status.success(), "{line}");
        assert!(
            said(&output.stderr).contains(why),
            "{line}: {}",
            said(&output.stderr)
        );
    }
}

/// A network that fails is no fault of the flake: programs that try again see it by the exit code.
#[test]
fn a_network_that_fails_is_transient() {
    if !has_nix() {
        return without_nix("an input that cannot be fetched");
    }
    let ground = ground();
    let flake = ground.text("flake.nix");
    for (url, code) in [
        ("git+http://127.0.0.1:1/x.git", 5),
        // The control: an input that is not there.
        ("git+file:///nowhere/x", 6),
    ] {
        let more = format!("{{ inputs.more.url = \"{url}\";\n");
        ground.put("flake.nix", flake.replacen('{', &more, 1).as_bytes());
        ground.git(&["commit", "--quiet", "--all", "--message", "an input"]);
        let text = ground.refused("new", &["--yes"], code);
        assert!(text.contains("Nix cannot evaluate it"), "{text}");
    }
}
