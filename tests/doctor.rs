//! Promise: `landfall doctor` finds what is wrong, says the command that helps, and is satisfied when that was done; it
//! writes nothing; and it checks what the troubleshooting table lists. With real Nix, Git and strace if they are installed.
//!
//! `doctor_operator` has what it finds in a flake, and `doctor_remote` the remote.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "doctor/kit.rs"]
#[allow(dead_code)]
mod kit;

use age::secrecy::ExposeSecret as _;
use camino::Utf8Path;
use kit::{Flake, Place, has};
use landfall::doctor::{CHECKS, by_name};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

const LANDFALL: &str = env!("CARGO_BIN_EXE_landfall");

/// The checks that the table of a text names, row by row: the code in its last column.
fn named(text: &str) -> Vec<Vec<String>> {
    let (_, table) = text
        .split_once("| symptom | cause | what to do | check |\n")
        .unwrap();
    table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cell = line.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
            let names = cell.split('`').skip(1).step_by(2);
            names.map(str::to_owned).collect()
        })
        .collect()
}

/// What is not in step between the table and the checks.
fn out_of_step(text: &str) -> Vec<String> {
    let rows = named(text);
    let mut wrong: Vec<String> = rows
        .iter()
        .enumerate()
        .filter(|(_, names)| names.is_empty())
        .map(|(row, _)| format!("row {row} names no check"))
        .collect();
    let names: BTreeSet<&String> = rows.iter().flatten().collect();
    wrong.extend(
        names
            .iter()
            .filter(|name| by_name(name).is_none())
            .map(|name| format!("{name} is no check")),
    );
    let missing = CHECKS
        .iter()
        .filter(|check| !names.iter().any(|name| *name == check.name));
    wrong.extend(missing.map(|check| format!("no row names {}", check.name)));
    wrong
}

#[test]
fn the_troubleshooting_table_and_the_checks_are_in_step() {
    let text = fs_err::read_to_string(
        Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/troubleshooting.md"),
    )
    .unwrap();
    // Nothing of ours runs yet where stage 1 waits for the stick.
    assert_eq!(out_of_step(&text), ["row 5 names no check"], "{:?}", named(&text));
    assert!(
        text.lines()
            .filter(|line| line.contains("stage 1 waits"))
            .all(|line| line.ends_with("| none: landfall does not run yet |"))
    );
    let bad = text.replace("`clock` |", "`clocks` |");
    assert_eq!(
        out_of_step(&bad)[1..],
        ["clocks is no check", "no row names clock"]
    );
}

fn doctor(arguments: &[&str], dir: &Utf8Path) -> Output {
    Command::new(LANDFALL)
        .arg("doctor")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

#[test]
fn the_command_says_where_it_is_and_ends_with_the_worst_finding() {
    let place = Place::new();
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let listed = doctor(&["--list"], &place.root);
    assert_eq!(text(&listed).lines().count(), CHECKS.len());
    let unknown = doctor(&["--check", "clocks"], &place.root);
    assert_eq!(unknown.status.code(), Some(2));
    for check in &CHECKS {
        assert!(String::from_utf8_lossy(&unknown.stderr).contains(check.name));
    }
    let two = doctor(&["--check", "clock", "--check", "esp"], &place.root);
    assert_eq!(two.status.code(), Some(2));
    let no_flake = doctor(&["--flake", place.root.as_str()], &place.root);
    assert_eq!(no_flake.status.code(), Some(2));

    place.write("install.ron", "(host: 7)");
    let config = place.at("install.ron");
    let wrong = doctor(&["--config", config.as_str(), "--check", "settings"], &place.root);
    assert_eq!(wrong.status.code(), Some(6), "{}", text(&wrong));
    assert!(
        text(&wrong).contains(&format!("    next: landfall check {config}")),
        "{}",
        text(&wrong)
    );
    assert!(
        text(&wrong).starts_with("checking an installer"),
        "{}",
        text(&wrong)
    );
    let json = doctor(
        &[
            "--config",
            config.as_str(),
            "--check",
            "settings",
            "--check",
            "clock",
            "--json",
        ],
        &place.root,
    );
    let lines: Vec<serde_json::Value> = text(&json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["place"], "installer");
    assert_eq!(
        (&lines[1]["result"], &lines[1]["exit"]),
        (&"finding".into(), &6.into())
    );
    assert_eq!(lines[2]["check"], "clock");
    assert_eq!(json.status.code(), Some(6));
    assert_eq!(lines[3]["end"]["wrong"], 1);
    assert_eq!(lines[3]["end"]["exit"], 6);
    let failed = doctor(&["--flake", place.root.as_str(), "--json"], &place.root);
    let line: serde_json::Value = serde_json::from_str(text(&failed).trim()).unwrap();
    assert_eq!(
        (failed.status.code(), &line["result"], &line["exit"]),
        (Some(2), &"failed".into(), &2.into())
    );
    assert!(line["next"].as_str().unwrap().contains("directory"), "{line}");
    // Text of somebody else's: no escape sequence, and no second line, comes out of it.
    place.write(
        "install.ron",
        "(host: \"a\u{1b}]0;x\u{7}\nfine     clock  all is well\")",
    );
    let foreign = doctor(&["--config", config.as_str(), "--check", "settings"], &place.root);
    let shown = text(&foreign);
    assert!(
        !shown.contains('\u{1b}') && !shown.lines().any(|line| line.starts_with("fine ")),
        "{shown}"
    );
    let skipped = doctor(&["--config", config.as_str(), "--check", "tools"], &place.root);
    assert!(
        text(&skipped).contains("skipped  tools        "),
        "{}",
        text(&skipped)
    );

    // The remedy.
    place.write(
        "install.ron",
        r#"(host: "web", labels: (efi: "E", root: "r"), repository: (remote: "https://forge.example/o/r"), system: Flake)"#,
    );
    let right = doctor(&["--config", config.as_str(), "--check", "settings"], &place.root);
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert!(
        text(&right).ends_with("1 fine, 0 wrong, 0 skipped\n"),
        "{}",
        text(&right)
    );
}

/// As somebody who is not root; a copy of the program, for the folder that it is in may be root's alone.
#[test]
fn without_root_it_says_so_and_looks_at_what_it_can() {
    if !nix::unistd::geteuid().is_root() || !has("setpriv") {
        return;
    }
    let place = Place::new();
    fs_err::set_permissions(&place.root, std::fs::Permissions::from_mode(0o755)).unwrap();
    fs_err::copy(LANDFALL, place.at("landfall")).unwrap();
    let asked = |before: &[&str]| {
        let program = place.at("landfall");
        let words = [
            before,
            &[program.as_str(), "doctor", "--at", "installer", "--json"],
        ]
        .concat();
        let output = Command::new(words[0])
            .args(&words[1..])
            .current_dir("/")
            .output()
            .unwrap();
        let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (output.status.code(), lines)
    };
    let of = |lines: &[serde_json::Value], check: &str| {
        let line = lines.iter().find(|line| line["check"] == check);
        line.unwrap_or_else(|| panic!("{lines:?}")).clone()
    };
    let (code, lines) = asked(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    let privileges = of(&lines, "privileges");
    assert_eq!(privileges["result"], "finding");
    assert_eq!(privileges["next"], "sudo landfall doctor --at installer --json");
    assert_eq!(
        of(&lines, "disks")["result"],
        "skipped",
        "what it cannot see is not fine"
    );
    assert!(
        of(&lines, "disks")["why"]
            .as_str()
            .unwrap()
            .contains("it needs root")
    );
    let end = &lines.last().unwrap()["end"];
    assert_eq!(end["exit"].as_i64(), code.map(i64::from));
    // The remedy: the same as root.
    assert_eq!(of(&asked(&["env"]).1, "privileges")["result"], "fine");
}

/// Lines of strace by which something is opened or changed for writing.
fn writes(trace: &str, allowed: &[&str]) -> Vec<String> {
    let is_write = |line: &&str| {
        let call = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        let opens = call.starts_with("open") || call.starts_with("creat(");
        let for_writing = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"]
            .iter()
            .any(|flag| call.contains(flag));
        (if opens { for_writing } else { true })
            && !call.contains(" = -1 ")
            && !call.starts_with("+++")
            && !call.starts_with("---")
    };
    trace
        .lines()
        .filter(is_write)
        .filter(|line| !allowed.iter().any(|place| line.contains(&format!("\"{place}"))))
        .map(str::to_owned)
        .collect()
}

const CALLS: &str = "trace=open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,\
    symlink,symlinkat,truncate,ftruncate,chmod,fchmodat,chown,lchown,fchownat,setxattr,lsetxattr,mount,umount2,utimensat,fallocate";

fn traced(place: &Place, arguments: &[&str], env: &[(&str, &str)]) -> (Output, String) {
    let trace = place.at("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", CALLS, "-o", trace.as_str(), LANDFALL, "doctor"])
        .args(arguments)
        .current_dir("/")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output, fs_err::read_to_string(trace).unwrap())
}

#[test]
fn no_check_writes_anything() {
    if !has("strace") {
        return;
    }
    let place = Place::new();
    place.sh("git init -q --bare -b main r.git");
    place.write(
        "install.ron",
        format!(
            r#"(host: "web", labels: (efi: "E", root: "r"), system: Flake,
            repository: (remote: "file://{}/r.git"), nix: (substituters: ["http://127.0.0.1:1"]))"#,
            place.root
        ),
    );
    place.write(
        "conf/nix.conf",
        format!("store = {}\nsubstituters =\n", place.at("store")),
    );
    let conf = place.at("conf");
    let home = place.at("home");
    fs_err::create_dir(&home).unwrap();
    let env = [("NIX_CONF_DIR", conf.as_str()), ("HOME", home.as_str())];
    let config = place.at("install.ron");
    // The disks of whoever runs this test are left alone.
    let installer: Vec<&str> = CHECKS
        .iter()
        .filter(|check| check.place.name() == "installer" && !["disks", "checkpoint"].contains(&check.name))
        .flat_map(|check| ["--check", check.name])
        .collect();
    let arguments: Vec<&str> = ["--config", config.as_str()]
        .into_iter()
        .chain(installer)
        .collect();
    // Git opens /dev/null for standard output of its own; systemctl and lsblk nothing.
    let allowed = ["/dev/null", "/dev/tty"];
    let (output, trace) = traced(&place, &arguments, &env);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said.lines()
            .filter(|line| line.starts_with("fine")
                || line.starts_with("WRONG")
                || line.starts_with("skipped"))
            .count(),
        17,
        "{said}"
    );
    assert_eq!(writes(&trace, &allowed), Vec::<String>::new(), "{said}");
    let (output, trace) = traced(&place, &["--at", "installed"], &env);
    assert!(String::from_utf8_lossy(&output.stdout).contains("receipt"));
    assert_eq!(writes(&trace, &allowed), Vec::<String>::new());
    // The control: the same eyes see what a program writes.
    let trace_of = |command: &str| {
        let status = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-e",
                CALLS,
                "-o",
                place.at("trace").as_str(),
                "sh",
                "-c",
                command,
            ])
            .current_dir(&place.root)
            .status()
            .unwrap();
        assert!(status.success());
        fs_err::read_to_string(place.at("trace")).unwrap()
    };
    assert_eq!(writes(&trace_of("echo x > new"), &allowed).len(), 1);
    assert_eq!(writes(&trace_of("mkdir made"), &allowed).len(), 1);

    let Some(flake) = Flake::new() else {
        return;
    };
    let key = age::x25519::Identity::generate();
    flake.place.write("web.agekey", key.to_string().expose_secret());
    let before = flake.place.sh("find flake -type f | sort | xargs sha256sum");
    let (dir, identity) = (flake.place.at("flake"), flake.place.at("web.agekey"));
    let arguments = [
        "--flake",
        dir.as_str(),
        "--host",
        "web",
        "--identity",
        identity.as_str(),
    ];
    let (conf, home) = (flake.place.at("conf"), flake.place.at("home"));
    let env = [("NIX_CONF_DIR", conf.as_str()), ("HOME", home.as_str())];
    let (output, trace) = traced(&place, &arguments, &env);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("WRONG    secrets") && said.contains("fine     flake"),
        "{said}"
    );
    // Nix keeps what it keeps of every evaluation: in its store, and in its cache.
    let (store, cache) = (flake.place.at("store"), flake.place.at("home/.cache"));
    let own = [
        store.as_str(),
        cache.as_str(),
        "/dev/null",
        "/dev/tty",
        "/nix/var/nix",
        "/tmp/nix",
        "/dev/shm",
    ];
    let left: Vec<String> = writes(&trace, &own)
        .into_iter()
        .filter(|line| line.contains(dir.as_str()))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(
        flake.place.sh("find flake -type f | sort | xargs sha256sum"),
        before
    );
}
