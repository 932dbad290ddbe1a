//! Promise: `landfall host new` prints what it cannot write itself, in the flake's own words, and pasted where it belongs it
//! works; what it writes hides nothing that the flake had, and it reports what it took from a neighbour.
//!
//! Real Nix says what the flake is.
//!
//! `host_new` has forms that are edited, and `host_new_secrets` secrets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use fs_err as fs;
use kit::{Ground, has_nix, host, said, without_nix};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const INPUTS: &str = "  inputs.nixpkgs.url = \"path:./inputs/nixpkgs\";\n  inputs.landfall.url = \"path:./inputs/landfall\";\n";

fn ground(outputs: &str, more: &[(&str, &str)]) -> Ground {
    let web = host("web");
    let mut files = vec![
        ("hosts/web/default.nix", web.as_str()),
        ("hosts/web/installer.nix", "{ }\n"),
    ];
    files.extend(more);
    Ground::new(&format!("{{\n{INPUTS}  outputs = {outputs};\n}}\n"), &files)
}

/// The lines that are printed, between the sentence before them and the next step.
fn printed(text: &str) -> String {
    let (_, lines) = text.split_once("The flake needs these lines:\n\n").unwrap();
    lines.split("\n    next: ").next().unwrap().to_owned()
}

#[test]
fn the_lines_that_are_printed_work_where_they_belong() {
    if !has_nix() {
        return without_nix("the lines that are printed");
    }
    let hosts = "inputs: { web = inputs.nixpkgs.lib.nixosSystem { modules = [ ../web ]; }; }\n";
    for (outputs, whole) in [
        (
            "inputs: {\n    nixosConfigurations = import ./hosts/all inputs;\n  }",
            true,
        ),
        (
            "{ self, nixpkgs, landfall }: {\n    nixosConfigurations = import ./hosts/all { inherit nixpkgs; };\n  }",
            true,
        ),
        (
            "all@{ self, ... }: {\n    nixosConfigurations.web = (import ./hosts/all all).web;\n    packages = (import ./hosts/per all);\n  }",
            false,
        ),
    ] {
        let ground = ground(
            outputs,
            &[
                ("hosts/all/default.nix", hosts),
                ("hosts/per/default.nix", "_: { x86_64-linux.hello = \"x\"; }\n"),
            ],
        );
        let output = ground.run("new", &["--yes"]);
        let text = said(&output.stderr);
        let text = if output.status.success() {
            // It is edited; the lines are those of a run that leaves the flake alone.
            ground.git(&["reset", "--quiet", "--hard"]);
            fs::remove_dir_all(ground.root().join("hosts/new")).ok();
            ground.made("new", &["--dry-run", "--no-flake"])
        } else {
            assert_eq!(output.status.code(), Some(6), "{text}");
            text
        };
        let mut lines = match text.split_once("add these lines:\n\n") {
            Some((_, lines)) => lines.split("\n\n").next().unwrap().to_owned(),
            None => printed(&text),
        };
        let before = ground.text("flake.nix");
        let mut flake = before.clone();
        if whole {
            assert!(
                lines.contains("nixosConfigurations = ( … ) // {"),
                "{outputs}: {lines}"
            );
            // As the comment says: what stands there now comes into the brackets, and the lines into its place.
            let from = before.find("nixosConfigurations = ").unwrap();
            let end = from + before[from..].find(";\n").unwrap() + 2;
            let value = before[from + "nixosConfigurations = ".len()..end - 2].to_owned();
            flake.replace_range(from..end, "");
            lines = lines.replace("( … )", &format!("({value})"));
        }
        let end = flake.rfind("  }").unwrap();
        flake.insert_str(end, &lines);
        ground.put("flake.nix", flake.as_bytes());
        ground.git(&["commit", "--quiet", "--all", "--message", "by hand"]);
        ground.made("new", &["--yes", "--no-flake"]);
        let (hosts, packages) = ground.names();
        assert!(hosts == ["new", "web"], "{outputs}: {hosts:?}");
        assert!(
            packages.contains(&"newInstallerIso".to_owned()),
            "{outputs}: {packages:?}"
        );
        // The control: beside what stands there already the lines are refused by Nix.
        if whole {
            let mut twice = before.clone();
            twice.insert_str(
                before.rfind("  }").unwrap(),
                "    nixosConfigurations.new = { };\n",
            );
            ground.put("flake.nix", twice.as_bytes());
            assert!(
                ground.run("other", &["--yes"]).status.code() == Some(6),
                "{outputs}"
            );
        }
    }
}

#[test]
fn what_other_systems_have_is_not_hidden() {
    if !has_nix() {
        return without_nix("outputs of other systems");
    }
    let per =
        "_: { packages.x86_64-linux.tool = \"t\"; legacyPackages.aarch64-linux.home = { op = \"h\"; }; }\n";
    let ground = ground(
        "{ self, nixpkgs, landfall, ... }@inputs: (import ./per.nix inputs) // {\n    nixosConfigurations.web = \
         nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };\n  }",
        &[("per.nix", per)],
    );
    let text = ground.refused("new", &["--yes"], 6);
    assert!(text.contains("legacyPackages.aarch64-linux"), "{text}");
}

#[test]
fn values_of_the_only_neighbour_are_told() {
    let outputs = |more: &str| {
        format!(
            "{{ self, nixpkgs, landfall, ... }}:\n  let\n    hosts = {{\n      web = {{ system = \"x86_64-linux\"; ip = \"10.0.0.1\"; cores = 4; }};{more}\n    }};\n    \
             make = name: host: nixpkgs.lib.nixosSystem {{ system = host.system; modules = [ ./hosts/${{name}} ]; }};\n  in\n  {{\n    nixosConfigurations = builtins.mapAttrs \
             make hosts;\n  }}"
        )
    };
    let alone = ground(&outputs(""), &[]);
    let output = alone.run("new", &["--yes"]);
    let text = format!("{}{}", said(&output.stdout), said(&output.stderr));
    if !output.status.success() {
        assert!(!has_nix() && text.contains("no `nix`"), "{text}");
        return without_nix("a table with one host");
    }
    assert!(
        text.contains("note: the new host's lines contain values of web") && text.contains("ip, cores"),
        "{text}"
    );
    // The control: with another neighbour that has the same they are nobody's own.
    let db = host("db");
    let two = ground(
        &outputs("\n      db = { system = \"x86_64-linux\"; ip = \"10.0.0.1\"; cores = 4; };"),
        &[("hosts/db/default.nix", &db)],
    );
    assert!(!two.made("new", &["--yes"]).contains("values of"));
}

/// Whatever is written for the only neighbour may be that machine's alone.
#[test]
fn values_of_every_kind_are_told() {
    for (value, make, told) in [
        (
            "make \"web\" \"10.0.0.5\" true",
            "name: ip: vm: system name",
            "\"10.0.0.5\", true",
        ),
        (
            "make { name = \"web\"; disk = /dev/disk/by-id/nvme-1; keys = [ \"ssh-ed25519 A\" ]; surname = \"surname\"; }",
            "host: system host.name",
            "disk, keys, surname",
        ),
    ] {
        let outputs = format!(
            "{{ self, nixpkgs, landfall, ... }}:\n  let\n    system = name: nixpkgs.lib.nixosSystem {{ modules = [ (./hosts + \"/${{name}}\") ]; }};\n    \
             make = {make};\n  in\n  {{\n    nixosConfigurations = {{\n      web = {value};\n    }};\n  }}"
        );
        let ground = ground(&outputs, &[]);
        let output = ground.run("new", &["--yes"]);
        let text = format!("{}{}", said(&output.stdout), said(&output.stderr));
        if !output.status.success() {
            assert!(!has_nix(), "{text}");
            continue;
        }
        assert!(
            text.contains(&format!("no other host to compare with: {told};")),
            "{text}"
        );
    }
}

#[test]
fn a_host_of_another_system_is_of_that_system_and_it_is_said() {
    if !has_nix() {
        return without_nix("hosts of another system");
    }
    let by_table = "{ self, nixpkgs, landfall, ... }: {\n    nixosConfigurations.web = nixpkgs.lib.nixosSystem { system = \"aarch64-linux\"; modules = [ ./hosts/web ]; };\n  }";
    let by_function = "{ self, nixpkgs, landfall, ... }:\n  let\n    make = name: nixpkgs.lib.nixosSystem { system = \"aarch64-linux\"; modules = [ (./hosts + \"/${name}\") ]; };\n  in\n  {\n    nixosConfigurations = {\n      web = make \"web\";\n    };\n  }";
    for (outputs, told) in [
        (
            by_table,
            "the other hosts are of aarch64-linux, and new is written for x86_64-linux",
        ),
        (
            by_function,
            "flake.nix names aarch64-linux and nowhere x86_64-linux",
        ),
    ] {
        let other = ground(outputs, &[]);
        let text = other.made("new", &["--yes"]);
        assert!(text.contains(told), "{text}");
        let whole = other.text("flake.nix");
        assert_eq!(whole.matches("aarch64-linux").count(), 1, "{whole}");
        // The control: of the same system nothing is said.
        let same = ground(outputs, &[]);
        let text = same.made("new", &["--yes", "--system", "aarch64-linux"]);
        assert!(!text.contains("--system"), "{text}");
    }
}

/// Rows of a table that differ say nothing of another; that is told, and not that there is none.
#[test]
fn rows_that_differ_are_named() {
    let outputs = "{ self, nixpkgs, landfall, ... }:\n  let\n    hosts = {\n      web = { ip = \"10.0.0.1\"; };\n      db = { ip = \"10.0.0.2\"; };\n    };\n    \
                   make = name: host: nixpkgs.lib.nixosSystem { modules = [ (./hosts + \"/${name}\") ]; };\n  in\n  {\n    nixosConfigurations = builtins.mapAttrs \
                   make hosts;\n  }";
    let db = host("db");
    let text = ground(outputs, &[("hosts/db/default.nix", &db)]).refused("new", &["--yes"], 6);
    assert!(
        text.contains("web and db differ in more than their names"),
        "{text}"
    );
}

/// The lines of an output that stands below `flake`, and of outputs that a function makes, work where they are told to go.
#[test]
fn lines_for_flake_parts_and_for_a_call_work_where_they_belong() {
    if !has_nix() {
        return without_nix("the lines that are printed");
    }
    let parts = "inputs: inputs.flake-parts.lib.mkFlake { inherit inputs; } {\n    systems = [ \"x86_64-linux\" ];\n    perSystem = { pkgs, ... }: {\n      packages.hello = \"hello\";\n    };\n  }";
    let made = "inputs: import ./outputs.nix { inherit inputs; }";
    let all = "{ inputs }: { nixosConfigurations.web = inputs.nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; packages.x86_64-linux.hello = \"x\"; }\n";
    let input = "  inputs.flake-parts.url = \"path:./inputs/flake-parts\";\n";
    let web = host("web");
    for (outputs, hosts) in [(parts, vec!["new"]), (made, vec!["new", "web"])] {
        let flake = |outputs: &str| format!("{{\n{INPUTS}{input}  outputs = {outputs};\n}}\n");
        let ground = Ground::new(
            &flake(outputs),
            &[("hosts/web/default.nix", &web), ("outputs.nix", all)],
        );
        let text = ground.made("new", &["--dry-run", "--no-flake"]);
        let (_, lines) = text.split_once("add these lines:\n\n").unwrap();
        let lines = lines.split("\n\n").next().unwrap();
        let by_hand = match lines.split_once("( … )") {
            None => outputs.replace("    systems", &format!("{lines}\n    systems")),
            Some((before, behind)) => {
                let (head, call) = outputs.split_once(": ").unwrap();
                format!("{head}: {before}({call}){behind}")
            }
        };
        ground.put("flake.nix", flake(&by_hand).as_bytes());
        ground.git(&["commit", "--quiet", "--all", "--message", "by hand"]);
        ground.made("new", &["--yes", "--no-flake"]);
        let (found, mut packages) = ground.names();
        packages.sort();
        assert_eq!(found, hosts, "{by_hand}");
        assert_eq!(
            packages,
            ["hello", "newInstallerIso", "newInstallerNetboot"],
            "{by_hand}"
        );
    }
}

/// After the lines were added as told, the run with --no-flake does not print them again, and says how the flake is committed, too.
#[test]
fn a_flake_that_has_the_lines_is_committed_with_the_rest() {
    let outputs = "{ self, nixpkgs, landfall, ... }: {\n    nixosConfigurations = import ./all.nix { inherit nixpkgs; };\n  }";
    let all = "{ nixpkgs }: { web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; }\n";
    let of = |bound: &str| {
        let ground = ground(outputs, &[("all.nix", all)]);
        let whole = ground.text("flake.nix");
        ground.put(
            "flake.nix",
            whole
                .replace("import ./all.nix { inherit nixpkgs; }", bound)
                .as_bytes(),
        );
        ground
    };
    let bound = "import ./all.nix { inherit nixpkgs; } // {\n      new = nixpkgs.lib.nixosSystem { modules = [ ./hosts/new ]; };\n    };\n    packages.x86_64-linux = landfall.lib.mkInstallerPackages {\n      new = {\n        \
                 target = self.nixosConfigurations.new;\n        modules = [ ./hosts/new/installer.nix ];\n      };\n    }";
    let by_hand = of(bound);
    let text = by_hand.made("new", &["--yes", "--no-flake"]);
    assert!(text.contains("flake.nix && git commit && git push"), "{text}");
    let shown = text.contains("note: flake.nix was not edited") || text.contains("add the lines");
    assert!(!shown, "{text}");
    // Without Nix nobody says that they have their effect.
    assert_eq!(text.contains("nobody has seen"), !has_nix(), "{text}");
    // The command that is printed brings all of it into the commit.
    let command = text
        .lines()
        .find_map(|line| line.split_once("git add "))
        .unwrap()
        .1;
    let command = format!("git add {command}")
        .replace("git commit", "git commit --quiet --message new")
        .replace(" && git push", "");
    assert!(by_hand.shell(&command).status.success(), "{command}");
    assert_eq!(by_hand.git(&["status", "--porcelain"]), "");
    // The control: without them they are printed.
    let without = ground(outputs, &[("all.nix", all)]);
    let text = without.made("new", &["--yes", "--no-flake"]);
    assert!(
        text.contains("flake.nix was not edited; add these lines:")
            && text.contains("add the lines above to flake.nix"),
        "{text}"
    );
}

/// A folder of hosts that is a link: Git takes nothing behind it, and what the message says makes it one that goes.
#[test]
fn hosts_behind_a_link_are_moved_to_its_place_as_is_said() {
    let outputs = "{ self, nixpkgs, landfall, ... }: {\n    nixosConfigurations.web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };\n  }";
    let ground = ground(outputs, &[]);
    ground.git(&["mv", "hosts", "machines"]);
    fs_err::os::unix::fs::symlink("machines", ground.root().join("hosts")).unwrap();
    ground.git(&["add", "--all"]);
    ground.git(&["commit", "--quiet", "--message", "a link"]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(text.contains("hosts is a link"), "{text}");
    let (_, next) = text.split_once("in the place of the link: ").unwrap();
    let next = next.split(';').next().unwrap();
    assert!(ground.shell(next).status.success(), "{next}");
    ground.git(&["commit", "--quiet", "--message", "a folder"]);
    ground.made("new", &["--yes"]);
    assert!(ground.has("hosts/new/default.nix") && ground.has("hosts/web/default.nix"));
}

/// Folders of this test alone are looked at.
fn scratch(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("landfall-host-")
        })
        .collect();
    found.sort();
    found
}

#[test]
fn the_copy_that_is_evaluated_is_its_owners_and_does_not_stay() {
    if !has_nix() {
        return without_nix("the copy of a repository");
    }
    let ground = ground(
        "{ self, nixpkgs, landfall, ... }: { nixosConfigurations.web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; }",
        &[],
    );
    let tmp = tempfile::tempdir().unwrap();
    let begun = |signal: nix::sys::signal::Signal| {
        let mut command = ground.landfall("new", &["--yes"]);
        let mut child = command
            .env("TMPDIR", tmp.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        let seen = loop {
            if let Some(found) = scratch(tmp.path())
                .into_iter()
                .find(|dir| dir.join("flake/flake.nix").exists())
            {
                break found;
            }
            assert!(Instant::now() < limit, "no copy was made");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mode = fs::metadata(&seen).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", seen.display());
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        (child.wait().unwrap(), seen)
    };
    for signal in [nix::sys::signal::SIGINT, nix::sys::signal::SIGTERM] {
        let (status, seen) = begun(signal);
        assert_eq!(status.code(), Some(11), "{signal}: {status}");
        assert!(!seen.exists(), "{signal}: {}", seen.display());
    }
    // Killed it stays, and the next run removes it.
    let (status, seen) = begun(nix::sys::signal::SIGKILL);
    assert_eq!(status.signal(), Some(9));
    assert!(seen.exists());
    let mut command = ground.landfall("new", &["--yes"]);
    let output = command.env("TMPDIR", tmp.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert_eq!(scratch(tmp.path()), Vec::<std::path::PathBuf>::new());
    assert!(ground.has("hosts/new/default.nix"));
}

#[test]
fn a_flake_that_git_does_not_track_or_that_lies_below_is_told_so() {
    let ground = ground("_: { }", &[]);
    ground.git(&["rm", "--quiet", "--cached", "flake.nix"]);
    let text = ground.refused("new", &["--yes"], 6);
    assert!(
        text.contains("flake.nix: Git does not track it") && text.contains("add flake.nix"),
        "{text}"
    );
    let whole = ground.text("flake.nix");
    fs::remove_file(ground.root().join("flake.nix")).unwrap();
    ground.put("nix/flake.nix", whole.as_bytes());
    ground.git(&["add", "--all"]);
    let folder = ground.root().join("nix");
    let output = ground.run("new", &["--yes", "--repository", folder.to_str().unwrap()]);
    let text = said(&output.stderr);
    assert!(
        output.status.code() == Some(6) && text.contains("nix/flake.nix does"),
        "{text}"
    );
}
