//! Promise: on the operator's computer, `landfall doctor` finds what is wrong with a flake, its installers, its keys and its
//! secrets, says the command that helps, and is satisfied when that was done. With real Nix, Git, OpenSSH and age if they are
//! installed.
//!
//! `doctor_remote` has the remote, and `doctor` the command itself.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "doctor/kit.rs"]
#[allow(dead_code)]
mod kit;

use age::secrecy::ExposeSecret as _;
use camino::Utf8Path;
use kit::{Flake, finding, fine, has, run, sealed, skipped};
use landfall::doctor::Outcome;

#[test]
fn a_flake_that_does_not_evaluate_or_lacks_the_host_is_found() {
    let Some(Flake { place, mut scene }) = Flake::new() else {
        return;
    };
    assert!(fine("flake", &scene).contains("web"));
    assert!(fine("host", &scene).contains("/nix/store/"));
    let right = fs_err::read_to_string(place.at("flake/flake.nix")).unwrap();
    place.write("flake/flake.nix", right.replace("outputs", "outputs = {"));
    let found = finding("flake", &scene);
    assert!(
        found.list.iter().any(|line| line.contains("syntax error")),
        "{found:?}"
    );
    place.write(
        "flake/flake.nix",
        right.replace(
            "builder = \"/bin/sh\"; };\n      age",
            "builder = throw \"none\"; };\n      age",
        ),
    );
    fine("flake", &scene);
    assert!(
        finding("host", &scene)
            .list
            .iter()
            .any(|line| line.contains("none"))
    );
    place.write("flake/flake.nix", &right);
    scene.host = Some("db".parse().unwrap());
    let found = finding("host", &scene);
    assert_eq!(found.list, ["it has web"]);
    scene.host = Some("web".parse().unwrap());
    fine("host", &scene);
}

/// With Nix 2.8 every one but the last fails under `--read-only`, and evaluates without it.
#[test]
fn a_host_that_reads_what_it_makes_is_not_called_wrong() {
    let Some(Flake { place, mut scene }) = Flake::new() else {
        return;
    };
    let right = fs_err::read_to_string(place.at("flake/flake.nix")).unwrap();
    let toplevel = "system.build.toplevel = derivation { name = \"web\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; };";
    let with = |out_path: &str| {
        let text = right.replace(toplevel, &format!("system.build.toplevel.outPath = {out_path};"));
        assert_ne!(text, right);
        place.write("flake/flake.nix", text);
    };
    place.write("flake/d/default.nix", "\"/nix/store/made\"");
    place.sh("git -C flake add --all");
    for reads in [
        "import \"${./d}\"",
        "import (builtins.path { path = ./d; name = \"q\"; })",
        "builtins.readFile \"${builtins.filterSource (_: _: true) ./d}/default.nix\"",
    ] {
        with(reads);
        assert!(fine("host", &scene).contains("/nix/store/made"), "{reads}");
    }
    let built = "(derivation { name = \"built\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo 1 > $out\" ]; })";
    scene.command = "landfall doctor --check host".to_owned();
    for reads in [
        format!("builtins.readFile {built}"),
        format!("import \"${{{built}}}\""),
        format!("builtins.toString (builtins.pathExists {built})"),
        format!("builtins.head (builtins.attrNames (builtins.readDir {built}))"),
    ] {
        with(&reads);
        let why = skipped("host", &scene);
        assert!(
            why.starts_with("host web: it is read from what a derivation builds"),
            "{reads}: {why}"
        );
        assert!(why.contains("#nixosConfigurations.\"web\"."), "{reads}: {why}");
        assert!(
            why.ends_with(", then landfall doctor --check host again"),
            "{reads}: {why}"
        );
    }
    let before = place.sh("git -C flake status --porcelain --ignored");
    fine("flake", &scene);
    assert_eq!(before, place.sh("git -C flake status --porcelain --ignored"));
    // The controls: what fails for every Nix.
    for (wrong, says) in [
        (
            "builtins.storePath \"/nix/store/00000000000000000000000000000000-x\"",
            "storePath",
        ),
        ("builtins.readFile \"${./d}/gone\"", "gone"),
        ("throw \"not /nix/store/x\"", "not /nix/store/x"),
    ] {
        with(wrong);
        let found = finding("host", &scene);
        assert!(format!("{found:?}").contains(says), "{wrong}: {found:?}");
    }
}

#[test]
fn files_that_git_does_not_track_are_found() {
    let Some(Flake { place, scene }) = Flake::new() else {
        return;
    };
    fine("tracked", &scene);
    // What lies there besides is not for Git: the remedy leaves it alone.
    let others = ["notes.txt", "key with a blank", "hosts/web/secret.key"];
    for other in others {
        place.write(&format!("flake/{other}"), "");
    }
    let untracked = || place.sh("git -C flake ls-files --others -z").replace('\0', "\n");
    let others = untracked();
    let named = ["hosts/web/installer.nix", "hosts/web/it's [new].nix", ":odd.age"];
    for name in named {
        place.write(&format!("flake/{name}"), "{ }");
    }
    let found = finding("tracked", &scene);
    assert_eq!(found.list.len(), 3, "{found:?}");
    place.sh(&found.next);
    fine("tracked", &scene);
    assert_eq!(untracked(), others, "{}", found.next);
    // So many that their names are not all told; and one that no shell takes in a line.
    for many in [true, false] {
        match many {
            true => (0..30).for_each(|n| place.write(&format!("flake/many/{n}.nix"), "{ }")),
            false => place.write("flake/two\nlines.age", ""),
        }
        let found = finding("tracked", &scene);
        assert!(
            found.next.lines().count() == 1 && found.next.len() < 200,
            "{found:?}"
        );
        place.sh(&found.next);
        fine("tracked", &scene);
        assert_eq!(untracked(), others, "{}", found.next);
    }
    // Below the top of a repository the names are those of the flake's folder.
    place.write("flake/sub/flake.nix", "{ }");
    let mut below = scene.clone();
    below.flake = Some(place.at("flake/sub"));
    let found = finding("tracked", &below);
    assert_eq!(found.list, ["flake.nix"]);
    place.sh(&found.next);
    fine("tracked", &below);
    place.sh("git -C flake add --all");
    assert_ne!(untracked(), others, "the control: this takes everything");
    fs_err::remove_dir_all(place.at("flake/.git")).unwrap();
    assert!(skipped("tracked", &scene).contains("not in a Git repository"));
}

/// `host new` writes installers where the flake has its own, which may be either of two outputs; Nix builds both by the same name.
#[test]
fn an_installer_is_found_where_nix_finds_it() {
    let Some(flake) = Flake::new() else {
        return;
    };
    let scene = &flake.scene;
    let right = fs_err::read_to_string(flake.place.at("flake/flake.nix")).unwrap();
    let write = |text: &str| flake.place.write("flake/flake.nix", text);
    let builds = |name: &str| {
        let command = format!(
            "NIX_CONF_DIR={} HOME={} nix --extra-experimental-features 'nix-command flakes' eval --raw --read-only 'path:{}#{name}.name'",
            flake.place.at("conf"),
            flake.place.at("home"),
            flake.place.at("flake")
        );
        flake.place.sh(&command)
    };
    fine("agreement", scene);
    write(&right.replace("    packages.x86", "    legacyPackages.x86"));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(builds("webInstallerIso"), "iso");
    }
    fine("agreement", scene);
    fine("version", scene);
    // With packages of something else beside it; and where both have one, the first one counts, as for Nix.
    let both = |name: &str| {
        right.replace(
            "    packages.x86",
            &format!(
                "    packages.x86_64-linux.{name} = derivation {{ name = \"first\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; }}\n      // {{ landfall = {{ host = \"web\"; publicKey = null; version = \"0\"; disagreements = [ \"first\" ]; }}; }};\n    legacyPackages.x86"
            ),
        )
    };
    write(&both("other"));
    fine("agreement", scene);
    write(&both("webInstallerIso"));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(builds("webInstallerIso"), "first");
    }
    assert_eq!(finding("agreement", scene).list, ["first"]);
    write(
        &right
            .replace("    packages.x86", "    legacyPackages.x86")
            .replace("webInstallerIso", "other"),
    );
    assert!(skipped("agreement", scene).contains("neither in packages nor in legacyPackages"));
}

#[test]
fn an_installer_that_does_not_fit_the_host_or_landfall_is_found() {
    let Some(flake) = Flake::new() else {
        return;
    };
    let scene = &flake.scene;
    fine("agreement", scene);
    assert!(fine("version", scene).contains("in the installer"));
    flake.installer(
        "null",
        "0.0.9",
        r#""landfall: the target's fileSystems.\"/\".device is \"none\"""#,
    );
    let found = finding("agreement", scene);
    assert!(found.list[0].contains("fileSystems"), "{found:?}");
    assert!(finding("version", scene).why.contains("0.0.9"));
    // One of an older landfall says nothing, and that is not fine.
    let text = fs_err::read_to_string(flake.place.at("flake/flake.nix")).unwrap();
    flake
        .place
        .write("flake/flake.nix", text.replace("{ landfall =", "{ other ="));
    assert!(skipped("agreement", scene).contains("older landfall"));
    flake
        .place
        .write("flake/flake.nix", text.replace("webInstallerIso", "other"));
    assert!(skipped("agreement", scene).contains("no package webInstallerIso"));
    flake.installer("null", env!("CARGO_PKG_VERSION"), "");
    fine("agreement", scene);
    fine("version", scene);
}

#[test]
fn the_key_that_the_installer_prints_is_compared() {
    if !has("ssh-keygen") {
        return;
    }
    let Some(mut flake) = Flake::new() else {
        return;
    };
    flake
        .place
        .sh("ssh-keygen -q -t ed25519 -N '' -C one -f one; ssh-keygen -q -t ed25519 -N '' -C two -f two");
    flake.scene.ssh_key = Some(flake.place.at("one"));
    let public = |name: &str| {
        fs_err::read_to_string(flake.place.at(&format!("{name}.pub")))
            .unwrap()
            .trim()
            .to_owned()
    };
    flake.installer(&format!("\"{}\"", public("two")), "0", "");
    let found = finding("key-pair", &flake.scene);
    assert!(found.list[0].contains("the installer prints"), "{found:?}");
    flake.installer("null", "0", "");
    assert!(finding("key-pair", &flake.scene).list[0].contains("prints no key"));
    flake.installer(&format!("\"{}\"", public("one")), "0", "");
    assert!(fine("key-pair", &flake.scene).contains("prints its public key"));
    flake.place.sh("cp two.pub one.pub");
    let found = finding("key-pair", &flake.scene);
    assert!(found.list[0].contains("one.pub has"), "{found:?}");
    flake.place.sh("ssh-keygen -y -f one > one.pub");
    fine("key-pair", &flake.scene);
}

#[test]
fn secrets_that_are_not_keyed_for_the_host_are_found() {
    let Some(mut flake) = Flake::new() else {
        return;
    };
    assert!(skipped("secrets", &flake.scene).contains("--identity"));
    let (own, other) = (
        age::x25519::Identity::generate(),
        age::x25519::Identity::generate(),
    );
    flake.place.write("web.agekey", own.to_string().expose_secret());
    flake.scene.identities = vec![flake.place.at("web.agekey")];
    flake.place.write("flake/secrets/wifi.age", sealed(&other));
    let found = finding("secrets", &flake.scene);
    assert_eq!(
        found.list,
        [
            "wifi (secrets/wifi.age): it is encrypted for other identities; none of the given identities decrypts it"
        ]
    );
    assert!(
        found
            .next
            .contains("agenix --rekey in the directory of the rules file"),
        "{found:?}"
    );
    // Where agenix finds its rules the command has the folder.
    flake.place.write("flake/secrets/secrets.nix", "{ }");
    let found = finding("secrets", &flake.scene);
    assert!(
        found.next.ends_with("/flake/secrets && agenix --rekey"),
        "{found:?}"
    );
    flake.place.write("flake/secrets/wifi.age", sealed(&own));
    assert_eq!(fine("secrets", &flake.scene), "1 of 1 secrets of web decrypt");
    // As ssh keys are used.
    if has("ssh-keygen") && has("age") {
        flake
            .place
            .sh("ssh-keygen -q -t ed25519 -N '' -f ssh; echo x | age -R ssh.pub -o flake/secrets/wifi.age");
        finding("secrets", &flake.scene);
        flake.scene.identities = vec![flake.place.at("ssh")];
        fine("secrets", &flake.scene);
        flake.place.sh("ssh-keygen -q -p -P '' -N passphrase -f ssh");
        assert!(finding("secrets", &flake.scene).list[0].contains("passphrase"));
    }
}

#[test]
fn an_image_of_an_older_flake_is_found() {
    let Some(flake) = Flake::new() else {
        return;
    };
    let scene = &flake.scene;
    assert!(skipped("image", scene).contains("--image"));
    // What nix build would link.
    let link = flake.place.at("flake/result");
    let built = |path: &str| {
        flake.place.write(&format!("built/{path}/iso"), "");
        fs_err::remove_file(&link).unwrap_or_default();
        fs_err::os::unix::fs::symlink(flake.place.at("built").join(path), &link).unwrap();
    };
    built("old");
    let found = finding("image", scene);
    assert!(found.next.contains("#webInstallerIso"), "{found:?}");
    // The remedy makes the path that the finding names; no store is written here, so the link is followed by name.
    let now = found.why.rsplit(' ').next().unwrap().to_owned();
    assert!(
        now.starts_with("/nix/store/") && now.ends_with("-iso"),
        "{found:?}"
    );
    if nix::unistd::geteuid().is_root() && !Utf8Path::new(&now).exists() {
        fs_err::create_dir_all(&now).unwrap();
        let mut with = scene.clone();
        with.image = Some(now.clone().into());
        let outcome = run("image", &with);
        fs_err::remove_dir(&now).unwrap();
        assert!(matches!(outcome, Outcome::Fine(_)), "{outcome:?}");
    }
    // A change of what it is made of.
    flake.place.write("flake/what.txt", "2");
    assert!(!finding("image", scene).why.contains(&now));
}

/// Whatever the folder of the repository is called, and whether it has a commit: what is judged is the working tree.
#[test]
fn a_folder_of_any_name_is_judged_as_it_is_now() {
    let Some(Flake { place, mut scene }) = Flake::new() else {
        return;
    };
    let right = fs_err::read_to_string(place.at("flake/flake.nix")).unwrap();
    let names = [
        "my configs",
        "a%20b",
        "p%",
        "a#b",
        "a?dir=x",
        "é",
        "it's $x",
        "two\nlines",
    ];
    for name in names {
        let dir = place.at(name);
        fs_err::rename(place.at("flake"), &dir).unwrap();
        scene.flake = Some(dir.clone());
        for is_committed in [false, true] {
            if is_committed {
                let done = std::process::Command::new("git")
                    .current_dir(&dir)
                    .args(["-c", "user.name=op", "-c", "user.email=op@forge.example"])
                    .args(["commit", "--quiet", "--all", "--message", "now"])
                    .status();
                assert!(done.unwrap().success(), "{name}");
            }
            assert!(fine("flake", &scene).contains("web"), "{name}");
            fine("host", &scene);
            fine("agreement", &scene);
            fine("version", &scene);
            // What is not committed counts.
            fs_err::write(
                dir.join("flake.nix"),
                right.replace("disagreements = [", "disagreements = [ \"now\""),
            )
            .unwrap();
            assert_eq!(finding("agreement", &scene).list, ["now"], "{name}");
            fs_err::write(dir.join("flake.nix"), right.replace("outputs", "outputs = {")).unwrap();
            let found = finding("flake", &scene);
            assert!(
                found.list.iter().any(|line| line.contains("syntax error")),
                "{name}: {found:?}"
            );
            fs_err::write(dir.join("flake.nix"), &right).unwrap();
        }
        fs_err::rename(&dir, place.at("flake")).unwrap();
        fs_err::remove_dir_all(place.at("flake/.git")).unwrap();
        place.sh("git init -q flake; git -C flake add --all");
    }
}
