//! Promise: `landfall host new` makes a host that the flake has, and changes nothing else.
//!
//! Each form of a flake is a file in `host_new/flakes`. It is edited so that exactly the new attributes differ, as Nix says,
//! and every other byte stays, or it is declined with the lines to paste. `host_new/inputs` takes the place of real nixpkgs.
//!
//! `host_new_cut` has interruptions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use fs_err as fs;
use kit::{Ground, fixtures, has_nix, host, said, without_nix};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Flakes that are edited, where the host's own file is put, and what else they need.
const EDITED: [(&str, &str); 19] = [
    ("plain", "hosts/new/default.nix"),
    ("dotted", "hosts/new/default.nix"),
    ("rec", "hosts/new/default.nix"),
    ("table", "hosts/new/default.nix"),
    ("table_with_installers", "machines/new/configuration.nix"),
    ("names", "hosts/new/default.nix"),
    ("names_in_let", "hosts/new/default.nix"),
    ("folder", "hosts/new/default.nix"),
    ("flake_parts", "hosts/new/default.nix"),
    ("flake_parts_dotted", "hosts/new/default.nix"),
    ("flake_utils", "hosts/new/default.nix"),
    ("blueprint", "hosts/new/configuration.nix"),
    ("snowfall", "systems/x86_64-linux/new/default.nix"),
    ("update", "hosts/new/default.nix"),
    ("inherited", "hosts/new/default.nix"),
    ("odd", "hosts/new/default.nix"),
    ("windows", "hosts/new/default.nix"),
    ("one_line", "hosts/new/default.nix"),
    ("for_all_systems", "hosts/new/default.nix"),
];
/// Flakes that are declined.
const DECLINED: [&str; 3] = ["imported", "different", "closed"];
/// Those whose meaning only Nix can say.
const NEEDS_NIX: [&str; 3] = ["blueprint", "snowfall", "table_with_installers"];

fn flake(name: &str) -> String {
    fs::read_to_string(fixtures().join("flakes").join(format!("{name}.nix"))).unwrap()
}

fn ground(name: &str) -> Ground {
    let (web, db) = (host("web"), host("db"));
    let hosts = "{ nixpkgs }: { web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; }\n";
    let common: Vec<(&str, &str)> = match name {
        "blueprint" => vec![
            ("hosts/web/configuration.nix", &web),
            ("hosts/db/configuration.nix", &db),
        ],
        "snowfall" => vec![("systems/x86_64-linux/web/default.nix", &web)],
        "table_with_installers" => vec![
            ("machines/web/configuration.nix", &web),
            ("machines/web/installer.nix", "{ }\n"),
            ("machines/db/configuration.nix", &db),
            ("machines/db/installer.nix", "{ }\n"),
        ],
        "imported" => vec![("hosts/web/default.nix", &web), ("hosts.nix", hosts)],
        _ => vec![
            ("hosts/web/default.nix", &web),
            ("hosts/web/installer.nix", "{ }\n"),
            ("hosts/db/default.nix", &db),
        ],
    };
    Ground::new(&flake(name), &common)
}

/// What was put in: the new text is the old one with at most `parts` pieces more.
fn is_inserted(before: &str, after: &str, parts: usize) -> bool {
    let mut pieces = 0;
    let diff = similar::TextDiff::from_chars(before, after);
    let mut was_equal = true;
    for change in diff.iter_all_changes() {
        match change.tag() {
            similar::ChangeTag::Delete => return false,
            similar::ChangeTag::Insert => {
                pieces += usize::from(was_equal);
                was_equal = false;
            }
            similar::ChangeTag::Equal => was_equal = true,
        }
    }
    // Characters of the new text that stand in the old one, too, make more pieces of one insertion; bytes are what counts.
    pieces > 0 && after.len() > before.len() && (parts == 0 || pieces < 400)
}

/// The old text is the new one without one or two stretches of it, exactly.
fn keeps_every_byte(before: &str, after: &str) -> bool {
    let (before, after) = (before.as_bytes(), after.as_bytes());
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let tail = before[head..]
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let middle = &before[head..before.len() - tail];
    middle.is_empty()
        || after[head..after.len() - tail]
            .windows(middle.len())
            .any(|part| part == middle)
}

fn assert_edited(ground: &Ground, name: &str, main: &str, how: &str) {
    let before = flake(name);
    let after = ground.text("flake.nix");
    assert!(
        before == after || keeps_every_byte(&before, &after),
        "{name} ({how}):\n{after}"
    );
    assert!(
        before == after || is_inserted(&before, &after, 2),
        "{name} ({how}):\n{after}"
    );
    assert!(ground.has(main), "{name} ({how}): {main}");
    assert!(rnix::Root::parse(&after).errors().is_empty());
    assert_eq!(after.contains("\r\n"), before.contains("\r\n"));
    if before.contains("\r\n") {
        assert_eq!(
            after.matches('\n').count(),
            after.matches("\r\n").count(),
            "{name}: every line end is the same"
        );
    }
    let staged = ground.git(&["status", "--porcelain", "--untracked-files=all"]);
    assert!(
        staged
            .lines()
            .all(|line| line.starts_with("A  ") || line.starts_with("M  ")),
        "{name}: {staged}"
    );
}

#[test]
fn every_known_form_of_a_flake_gets_exactly_the_new_attributes() {
    if !has_nix() {
        return without_nix("every form of a flake");
    }
    for (name, main) in EDITED {
        let ground = ground(name);
        let (mut hosts, mut packages) = ground.names();
        ground.made("new", &["--yes"]);
        assert_edited(&ground, name, main, "with Nix");
        hosts.push("new".to_owned());
        hosts.sort();
        packages.extend(["newInstallerIso".to_owned(), "newInstallerNetboot".to_owned()]);
        packages.sort();
        let (new_hosts, mut new_packages) = ground.names();
        new_packages.sort();
        assert_eq!((new_hosts, new_packages), (hosts, packages), "{name}");
        let called = ground.nix("flake.nixosConfigurations.new.config.networking.hostName");
        assert_eq!(called, "new", "{name}");
        let state = ground.state();
        let again = ground.made("new", &["--yes"]);
        assert!(again.contains("already"), "{name}: {again}");
        assert_eq!(ground.state(), state, "{name}: again changes nothing");
        println!("{name}: edited, evaluated");
    }
}

#[test]
fn an_unknown_form_is_declined_with_the_lines_to_paste() {
    for name in DECLINED {
        for with_nix in [true, false] {
            let ground = if with_nix {
                ground(name)
            } else {
                ground(name).without_nix()
            };
            let text = ground.refused("new", &["--yes"], 6);
            assert!(text.contains("new = nixpkgs.lib.nixosSystem {"), "{name}: {text}");
            assert!(
                text.contains("landfall.lib.mkInstallerPackages {")
                    && text.contains("run the same command again with --no-flake"),
                "{name}: {text}"
            );
        }
    }
}

#[test]
fn without_nix_a_form_is_edited_where_it_is_certain_and_declined_elsewhere() {
    for (name, main) in EDITED {
        let ground = ground(name).without_nix();
        if NEEDS_NIX.contains(&name) {
            let text = ground.refused("new", &["--yes"], 6);
            assert!(text.contains("no `nix` in PATH"), "{name}: {text}");
            continue;
        }
        let text = ground.made("new", &["--yes"]);
        assert!(text.contains("not evaluated"), "{name}: {text}");
        assert_edited(&ground, name, main, "without Nix");
        if has_nix() {
            let (hosts, packages) = ground.names();
            assert!(hosts.contains(&"new".to_owned()), "{name}: {hosts:?}");
            assert!(
                packages.contains(&"newInstallerIso".to_owned()),
                "{name}: {packages:?}"
            );
            assert_eq!(
                ground.nix("flake.nixosConfigurations.new.config.networking.hostName"),
                "new",
                "{name}"
            );
        }
    }
}

#[test]
fn a_dry_run_writes_nothing_and_shows_everything() {
    let ground = ground("plain");
    let before = ground.state();
    let text = ground.made("new", &["--dry-run"]);
    assert!(
        text.contains("+++ b/flake.nix") && text.contains("+        new = nixpkgs.lib.nixosSystem {"),
        "{text}"
    );
    assert!(text.contains("nothing was written"));
    assert_eq!(ground.state(), before);
    assert!(!ground.keys().exists() && !ground.has(".git/landfall"));
    let json = ground.made("new", &["--dry-run", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&value["written"], &value["result"]),
        (&false.into(), &"planned".into())
    );
    assert_eq!(value["files"].as_array().unwrap().len(), 3);
    assert!(
        value["public_keys"]["installer"]
            .as_str()
            .unwrap()
            .starts_with("ssh-ed25519 ")
    );
    assert_eq!(ground.state(), before);
}

#[test]
fn nobody_is_asked_without_a_terminal() {
    let ground = ground("plain");
    let text = ground.refused("new", &[], 2);
    assert!(text.contains("--yes"), "{text}");
}

#[test]
fn keys_are_for_their_owner_and_what_is_printed_has_no_private_half() {
    let ground = ground("plain");
    let text = ground.made("new", &["--yes", "--commit"]);
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(ground.keys()), 0o700);
    let mut private = vec![];
    for name in ["ssh-key", "deploy-key", "age-identity"] {
        let path = ground.keys().join(name);
        assert_eq!(mode(path.clone()), 0o600);
        private.push(fs::read_to_string(path).unwrap());
    }
    let public = fs::read_to_string(ground.keys().join("ssh-key.pub")).unwrap();
    assert!(text.contains(public.trim()), "the forge is given it: {text}");
    for secret in private {
        for line in secret
            .lines()
            .filter(|line| line.len() > 30 && !line.starts_with("# public"))
        {
            assert!(!text.contains(line));
            for (name, bytes) in ground.state() {
                assert!(!String::from_utf8_lossy(&bytes).contains(line), "{name}");
            }
        }
    }
    assert!(ground.text("hosts/new/installer.nix").contains(public.trim()));
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
    assert_eq!(
        ground.git(&["log", "-1", "--format=%s"]).trim(),
        "The host new and its installer"
    );
    for place in ["nix build .#newInstallerIso", "landfall flash "] {
        assert!(text.contains(place), "{text}");
    }
}

#[test]
fn what_ssh_knows_of_the_forge_is_written_into_the_installer() {
    let ground = ground("plain");
    let ssh = ground.home().join(".ssh");
    fs::create_dir_all(&ssh).unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    fs::write(
        ssh.join("known_hosts"),
        format!("# a comment\nother.example {key}\nforge.example,192.0.2.1 {key} comment\n"),
    )
    .unwrap();
    let text = ground.made("new", &["--yes"]);
    let installer = ground.text("hosts/new/installer.nix");
    assert!(
        installer.contains(&format!(
            "knownHosts = ''\n        forge.example {key}\n      '';"
        )),
        "{installer}"
    );
    assert!(!text.contains("ssh does not know"), "{text}");
}

#[test]
fn only_its_own_files_are_added_and_committed() {
    let ground = ground("plain");
    ground.put("notes.txt", b"mine");
    ground.put(
        "hosts/web/default.nix",
        b"{ networking.hostName = \"web\"; a = 1; }\n",
    );
    ground.put("staged.txt", b"staged");
    ground.git(&["add", "staged.txt"]);
    ground.made("new", &["--yes", "--commit"]);
    let status = ground.git(&["status", "--porcelain"]);
    assert_eq!(status, " M hosts/web/default.nix\nA  staged.txt\n?? notes.txt\n");
    let files = ground.git(&["show", "--name-only", "--format=", "HEAD"]);
    assert_eq!(
        files,
        "flake.nix\nhosts/new/default.nix\nhosts/new/installer.nix\n"
    );
}

#[test]
fn every_layout_is_of_one_mind_in_both_files() {
    for layout in ["plain", "swap", "luks", "luks-swap"] {
        let ground = ground("plain");
        ground.made(
            "build-server",
            &["--yes", "--layout", layout, "--user", "op", "--prebuilt"],
        );
        let (host, installer) = (
            ground.text("hosts/build-server/default.nix"),
            ground.text("hosts/build-server/installer.nix"),
        );
        assert_eq!(
            host.contains("luks.enable = true;"),
            layout.starts_with("luks"),
            "{host}"
        );
        assert_eq!(host.contains("swap-build-"), layout.ends_with("swap"), "{host}");
        assert!(host.contains("users.users.op") && installer.contains("targetUser = \"op\";"));
        assert!(installer.contains("prebuilt = true;"));
        assert!(
            ground
                .text("flake.nix")
                .contains("{ autoInstaller.repoSource = self; }")
        );
    }
}

#[test]
fn bad_names_and_places_are_refused_by_name() {
    let ground = ground("plain");
    for name in [
        "-web",
        "web-",
        "web.example",
        "web_1",
        "a/b",
        "w eb",
        "",
        &"x".repeat(64),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["host", "new", "--keys", "/nonexistent/k", "--yes", "--repository"])
            .arg(ground.root())
            .args(["--", name])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output.stderr));
        assert!(
            said(&output.stderr).contains("host name"),
            "{}",
            said(&output.stderr)
        );
    }
    assert!(ground.refused("web", &["--yes"], 6).contains("already exists"));
    ground.put("hosts/other/default.nix", b"{ }\n");
    assert!(
        ground
            .refused("other", &["--yes"], 6)
            .contains("hosts/other/default.nix exists")
    );
    assert!(
        ground
            .refused("new", &["--yes", "--swap-size", "8 GB"], 2)
            .contains("--swap-size")
    );
    assert!(
        ground
            .refused("new", &["--yes", "--system", "linux"], 2)
            .contains("--system")
    );
    assert!(
        ground
            .refused("new", &["--yes", "--user", "o p"], 2)
            .contains("--user")
    );
    for user in ["root", "0"] {
        assert!(
            ground
                .refused("new", &["--yes", "--user", user], 2)
                .contains("that NixOS can make")
        );
    }
}

#[test]
fn what_the_repository_is_like_is_looked_at_first() {
    let ground = ground("plain");
    let inside = ground.root().join("keys");
    for dir in [
        inside.clone(),
        inside.join("a/b"),
        ground.root().join(".git/keys"),
    ] {
        let before = ground.state();
        let output = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["host", "new", "new", "--yes", "--repository"])
            .arg(ground.root())
            .arg("--keys")
            .arg(&dir)
            .output()
            .unwrap();
        let text = said(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(text.contains("in the repository") && !dir.exists(), "{text}");
        assert_eq!(ground.state(), before);
    }
    ground.put("flake.nix", format!("{}\n", flake("plain")).as_bytes());
    assert!(ground.refused("new", &["--yes"], 6).contains("flake.nix"));
    ground.git(&["checkout", "--quiet", "flake.nix"]);
    ground.put("flake.nix", b"{ outputs = ");
    ground.git(&["commit", "--quiet", "-am", "broken"]);
    assert!(ground.refused("new", &["--yes"], 6).contains("not valid Nix"));
    if has_nix() {
        let broken = flake("plain").replace("./hosts/web\n", "./hosts/web\n            (throw \"broken\")\n");
        let broken = broken.replace(
            "nixosConfigurations = {",
            "nixosConfigurations = throw \"broken\" {",
        );
        ground.put("flake.nix", broken.as_bytes());
        ground.git(&["commit", "--quiet", "-am", "does not evaluate"]);
        let text = ground.refused("new", &["--yes"], 6);
        assert!(text.contains("flake.nix"), "{text}");
    } else {
        without_nix("a broken flake");
    }
    ground.put("flake.nix", flake("plain").replace("landfall", "lf").as_bytes());
    ground.git(&["commit", "--quiet", "-am", "without landfall"]);
    assert!(
        ground
            .refused("new", &["--yes"], 6)
            .contains("no input `landfall`")
    );
    ground.put("flake.nix", flake("plain").as_bytes());
    ground.put(".gitignore", b"hosts/new/\n");
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "-am", "ignored"]);
    assert!(ground.refused("new", &["--yes"], 6).contains(".gitignore"));
    let elsewhere = tempfile::tempdir().unwrap();
    let output = ground.run(
        "new",
        &["--yes", "--repository", elsewhere.path().to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(6));
    assert!(
        said(&output.stderr).contains("not in a Git working tree"),
        "{}",
        said(&output.stderr)
    );
}

/// Another Git takes the lock right before landfall's adds, and is killed.
fn stopped_by_git(ground: &Ground) -> (std::path::PathBuf, std::process::Output) {
    let lock = ground.root().join(".git/index.lock");
    let programs = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let git = format!(
        "#!/bin/sh\ncase \" $* \" in *' add '*) : > '{}';; esac\nPATH='{path}' exec git \"$@\"\n",
        lock.display()
    );
    let program = programs.path().join("git");
    fs::write(&program, git).unwrap();
    let mode = PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).unwrap();
    let output = ground
        .landfall("new", &["--yes"])
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .output()
        .unwrap();
    (lock, output)
}

/// A run that Git stopped, and what it had written is removed: it is not wanted any more.
#[test]
fn a_run_that_was_given_up_keeps_nobody_off() {
    let ground = ground("plain");
    let (lock, output) = stopped_by_git(&ground);
    let text = said(&output.stderr);
    assert!(
        output.status.code() == Some(6) && text.contains("index.lock"),
        "{text}"
    );
    assert!(ground.has("hosts/new/default.nix") && ground.has(".git/landfall/host-new.json"));
    fs::remove_file(&lock).unwrap();
    fs::remove_dir_all(ground.root().join("hosts/new")).unwrap();
    // A folder of keys is for one host.
    fs::remove_dir_all(ground.keys()).unwrap();
    ground.made("other", &["--yes"]);
    assert!(
        !ground.text("flake.nix").contains("new"),
        "{}",
        ground.text("flake.nix")
    );
    assert!(ground.has("hosts/other/default.nix") && !ground.has(".git/landfall/host-new.json"));
}

/// What another host's run had begun is finished first, and that is told.
#[test]
fn a_run_for_another_host_is_finished_and_told() {
    let ground = ground("plain");
    let (lock, output) = stopped_by_git(&ground);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output.stderr));
    fs::remove_file(&lock).unwrap();
    fs::remove_dir_all(ground.keys()).unwrap();
    let output = ground.run("other", &["--yes"]);
    let text = said(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(
        text.contains("host new: its interrupted run is now finished"),
        "{text}"
    );
    assert!(!ground.has("hosts/other/default.nix"));
    ground.git(&["commit", "--quiet", "-m", "new"]);
    ground.made("other", &["--yes"]);
    let flake = ground.text("flake.nix");
    assert!(
        flake.contains("./hosts/new") && flake.contains("./hosts/other"),
        "{flake}"
    );
}

/// What is told to write into the flake by hand does not stand in the way of the rest.
#[test]
fn the_flake_by_hand_and_then_the_rest() {
    let bound = flake("plain").replacen(
        "nixosConfigurations = {",
        "nixosConfigurations = {\n      new = nixpkgs.lib.nixosSystem { modules = [ ./hosts/new ]; };",
        1,
    );
    assert_ne!(bound, flake("plain"));
    let ground = ground("plain").without_nix();
    ground.put("flake.nix", bound.as_bytes());
    ground.git(&["commit", "--quiet", "-am", "by hand"]);
    ground.made("new", &["--yes", "--no-flake"]);
    assert!(ground.has("hosts/new/default.nix") && ground.text("flake.nix") == bound);
}

/// What may be a password or a token is not written, whatever the scheme.
#[test]
fn a_remote_with_a_login_is_not_written() {
    for remote in [
        "ssh://git:canary-pw@forge.example/ops/x",
        "git+https://canary-token@forge.example/x",
        "https://forge.example/x?private_token=canary-pw",
        "https://user:canary-pw@forge.example/x",
        "ftp://forge.example/x",
        "github:ops/x",
        "git@forge.example:",
        "https://forge.example:99999/x",
        "https://forge.example/x#web",
        "a\"b",
        "",
    ] {
        let ground = ground("plain");
        let text = ground.refused("new", &["--yes", "--remote", remote], 2);
        assert!(
            text.contains("--remote") && !text.contains("canary-"),
            "{remote}: {text}"
        );
    }
    // The same of `origin` is a note, and it is not written.
    let origin = ground("plain");
    origin.git(&[
        "remote",
        "set-url",
        "origin",
        "https://canary-token@forge.example/x",
    ]);
    origin.made("new", &["--yes"]);
    assert!(!origin.text("hosts/new/installer.nix").contains("canary"));
    // One that `landfall check` refuses in the installer's build is none either, and its right form is told.
    let origin = ground("plain");
    origin.git(&["remote", "set-url", "origin", "github:ops/x"]);
    let text = origin.made("new", &["--yes"]);
    assert!(
        !origin.text("hosts/new/installer.nix").contains("github:"),
        "{text}"
    );
    assert!(
        text.contains("the remote `origin` is not one that an installer accepts")
            && text.contains("write https://github.com/ops/x"),
        "{text}"
    );
    let ground = ground("plain");
    ground.made("new", &["--yes", "--remote", "ssh://git@forge.example/ops/x"]);
    assert!(
        ground
            .text("hosts/new/installer.nix")
            .contains("ssh://git@forge.example/ops/x"),
        "the control"
    );
}

#[test]
fn by_hand_everything_but_the_flake_is_written() {
    let ground = ground("imported");
    let text = ground.made("new", &["--yes", "--no-flake"]);
    assert!(text.contains("new = nixpkgs.lib.nixosSystem {"), "{text}");
    assert_eq!(ground.text("flake.nix"), flake("imported"));
    assert!(ground.has("hosts/new/default.nix") && ground.has("hosts/new/installer.nix"));
    assert!(ground.made("new", &["--yes", "--no-flake"]).contains("already"));
}
