//! Promise: `landfall doctor` finds what is wrong, says the command that helps, and is satisfied when that was done; it writes nothing;
//! and what the troubleshooting table speaks of, it looks at. With real Nix, Git, OpenSSH and strace where they are there.
// Long because: every test is of one flake, server or table, which are made here.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use age::secrecy::ExposeSecret as _;
use camino::{Utf8Path, Utf8PathBuf};
use landfall::config::{Config, Notation};
use landfall::doctor::{CHECKS, Finding, Outcome, Scene, by_name};
use landfall::event::Reporter;
use landfall::real::hands::Hands;
use landfall::real::stop::Stop;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const LANDFALL: &str = env!("CARGO_BIN_EXE_landfall");

struct Place {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Place {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
        Place { _keep: keep, root }
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    fn sh(&self, command: &str) -> String {
        let output = Command::new("sh")
            .args(["-ec", command])
            .current_dir(&self.root)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .unwrap();
    let has = found.status.success();
    if !has {
        println!("skipped: {program} is not here");
    }
    has
}

fn scene() -> Scene {
    Scene::new(
        "/",
        Hands::new(Reporter::default(), Stop::never()),
        SystemTime::now(),
    )
}

fn run(name: &str, scene: &Scene) -> Outcome {
    by_name(name).unwrap().run(&Arc::new(scene.clone()))
}

#[track_caller]
fn finding(name: &str, scene: &Scene) -> Finding {
    match run(name, scene) {
        Outcome::Finding(finding) => finding,
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
fn fine(name: &str, scene: &Scene) -> String {
    match run(name, scene) {
        Outcome::Fine(found) => found,
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
fn skipped(name: &str, scene: &Scene) -> String {
    match run(name, scene) {
        Outcome::Skipped(why) => why,
        other => panic!("{name}: {other:?}"),
    }
}

/// The checks that the table of a text names, row by row.
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
            let names = cell.split('`').filter_map(|span| span.strip_prefix("doctor: "));
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
    let text =
        fs_err::read_to_string(Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    // Nothing of ours runs yet where stage 1 waits for the stick.
    assert_eq!(out_of_step(&text), ["row 5 names no check"], "{:?}", named(&text));
    assert!(
        text.lines()
            .filter(|line| line.contains("stage 1 waits"))
            .all(|line| line.ends_with("| none: no program of ours runs yet |"))
    );
    let bad = text.replace("`doctor: clock`", "`doctor: clocks`");
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
        text(&wrong).starts_with("looking at an installer"),
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
        text(&skipped).contains("skipped  tools        not looked at, because "),
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
            .contains("it takes root")
    );
    let end = &lines.last().unwrap()["end"];
    assert_eq!(end["exit"].as_i64(), code.map(i64::from));
    // The remedy: the same as root.
    assert_eq!(of(&asked(&["env"]).1, "privileges")["result"], "fine");
}

/// OpenSSH's own server on loopback, which ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

fn sshd(place: &Place) -> Server {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let path = std::env::var("PATH").unwrap();
    place.write(
        "sshd_config",
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nSetEnv PATH={path}\n",
            place.root
        ),
    );
    fs_err::create_dir_all("/run/sshd").unwrap_or_default();
    let program = place.sh("command -v sshd || echo /usr/sbin/sshd");
    let child = Command::new(program.trim())
        .args(["-D", "-e", "-f", place.at("sshd_config").as_str()])
        .stderr(fs_err::File::create(place.at("sshd.log")).unwrap().into_parts().0)
        .spawn()
        .unwrap();
    let server = Server { child, port };
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return server;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}", fs_err::read_to_string(place.at("sshd.log")).unwrap());
}

#[test]
fn the_remote_is_asked_with_the_key_and_the_known_hosts() {
    if !has("ssh-keygen") || !has("git") || !Utf8Path::new("/usr/sbin/sshd").exists() {
        return;
    }
    let place = Place::new();
    place.sh(
        "for k in host good bad; do ssh-keygen -q -t ed25519 -N '' -C test -f $k; done; cp good.pub authorized; : > known; \
         git init -q --bare -b main r.git; git init -q -b main w; cd w; \
         git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one; git push -q ../r.git main",
    );
    let server = sshd(&place);
    let user = place.sh("id -un");
    let remote = format!(
        "ssh://{}@127.0.0.1:{}{}/r.git",
        user.trim(),
        server.port,
        place.root
    );
    let mut scene = scene();
    let configure = |scene: &mut Scene, key: Option<&str>, branch: &str| {
        let key = key.map_or(String::new(), |key| format!("key: Some(\"{}\"), ", place.at(key)));
        let text = format!(
            r#"(host: "web", labels: (efi: "E", root: "r"), system: Flake,
            repository: (remote: "{remote}", branch: "{branch}"), ssh: ({key}known_hosts: Some("{}/known")))"#,
            place.root
        );
        let config = Config::parse(&text, Notation::Ron).unwrap_or_else(|error| panic!("{error}"));
        scene.config = Some(("install.ron".into(), Ok(config)));
    };
    configure(&mut scene, Some("good"), "main");
    let found = finding("remote", &scene);
    assert!(found.why.to_lowercase().contains("host key"), "{found:?}");
    // The remedy: its line among the known hosts.
    let host = fs_err::read_to_string(place.at("host.pub")).unwrap();
    place.write("known", format!("[127.0.0.1]:{} {host}", server.port));
    let said = fine("remote", &scene);
    assert!(said.contains("revision ") && said.contains("/good"), "{said}");
    configure(&mut scene, Some("bad"), "main");
    let found = finding("remote", &scene);
    assert!(found.why.to_lowercase().contains("denied"), "{found:?}");
    place.sh("cat bad.pub >> authorized");
    fine("remote", &scene);
    configure(&mut scene, None, "main");
    assert!(skipped("remote", &scene).contains("--ssh-key"));
    scene.ssh_key = Some(place.at("good"));
    fine("remote", &scene);
    configure(&mut scene, None, "other");
    let found = finding("remote", &scene);
    assert!(found.why.contains("other"), "{found:?}");
    place.sh("git -C r.git branch other main");
    fine("remote", &scene);
    // ssh refuses keys that others may read; the store's are.
    fs_err::set_permissions(place.at("good"), std::fs::Permissions::from_mode(0o444)).unwrap();
    fine("remote", &scene);
}

fn sealed(key: &age::x25519::Identity) -> Vec<u8> {
    let recipient = key.to_public();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
    writer.write_all(b"secret").unwrap();
    writer.finish().unwrap();
    sealed
}

/// A flake with a host, its secrets and its installer, as `mkInstallerPackages` makes one.
const FLAKE: &str = r#"{
  outputs = { self }: {
    nixosConfigurations.web.config = {
      system.build.toplevel = derivation { name = "web"; system = "x86_64-linux"; builder = "/bin/sh"; };
      age.secrets.wifi.file = ./secrets/wifi.age;
    };
    packages.x86_64-linux.webInstallerIso = derivation {
      name = "iso"; system = "x86_64-linux"; builder = "/bin/sh"; what = ./what.txt;
    } // { landfall = { host = "web"; publicKey = @KEY@; version = "@VERSION@"; disagreements = [ @FLAWS@ ]; }; };
  };
}
"#;

/// A flake in a repository, with a Nix that has a store of its own.
struct Flake {
    place: Place,
    scene: Scene,
}

impl Flake {
    fn new() -> Option<Self> {
        if !has("nix") || !has("git") {
            return None;
        }
        let place = Place::new();
        place.write(
            "conf/nix.conf",
            format!("store = {}\nbuild-users-group =\n", place.at("store")),
        );
        place.write("home/x", "");
        let mut scene = scene();
        scene
            .hands
            .env
            .retain(|(key, _)| key != "NIX_CONF_DIR" && key != "HOME");
        scene
            .hands
            .env
            .push(("NIX_CONF_DIR".into(), place.at("conf").to_string()));
        scene
            .hands
            .env
            .push(("HOME".into(), place.at("home").to_string()));
        scene.flake = Some(place.at("flake"));
        scene.host = Some("web".parse().unwrap());
        let flake = Flake { place, scene };
        flake.place.write("flake/what.txt", "1");
        flake.place.write("flake/secrets/wifi.age", "");
        flake.installer("null", env!("CARGO_PKG_VERSION"), "");
        flake.place.sh("git init -q flake; git -C flake add --all");
        Some(flake)
    }

    fn installer(&self, key: &str, version: &str, flaws: &str) {
        let text = FLAKE
            .replace("@KEY@", key)
            .replace("@VERSION@", version)
            .replace("@FLAWS@", flaws);
        self.place.write("flake/flake.nix", text);
    }
}

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

#[test]
fn files_that_git_does_not_track_are_found() {
    let Some(Flake { place, scene }) = Flake::new() else {
        return;
    };
    fine("tracked", &scene);
    place.write("flake/hosts/web/installer.nix", "{ }");
    place.write("flake/notes.txt", "");
    let found = finding("tracked", &scene);
    assert_eq!(found.list, ["hosts/web/installer.nix"]);
    place.sh(&found.next);
    fine("tracked", &scene);
    fs_err::remove_dir_all(place.at("flake/.git")).unwrap();
    assert!(skipped("tracked", &scene).contains("no Git repository"));
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
    assert!(fine("key-pair", &flake.scene).contains("prints its public half"));
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
        ["wifi (secrets/wifi.age): it is encrypted for other identities: none that was given decrypts it"]
    );
    assert!(found.next.ends_with("agenix --rekey"), "{found:?}");
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
