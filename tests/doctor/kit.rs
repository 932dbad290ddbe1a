//! Folders, scenes and flakes for the tests of `landfall doctor`.
//!
//! Everything is made in a folder of the test, and removed with it.

use camino::Utf8PathBuf;
use landfall::doctor::{Finding, Outcome, Scene, by_name};
use landfall::event::Reporter;
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

pub struct Place {
    _keep: tempfile::TempDir,
    pub root: Utf8PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
        Place { _keep: keep, root }
    }

    pub fn at(&self, path: &str) -> Utf8PathBuf {
        self.root.join(path)
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    pub fn sh(&self, command: &str) -> String {
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

pub fn has(program: &str) -> bool {
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

pub fn scene() -> Scene {
    Scene::new(
        "/",
        CommandContext::new(Reporter::default(), Stop::never()),
        SystemTime::now(),
    )
}

pub fn run(name: &str, scene: &Scene) -> Outcome {
    by_name(name).unwrap().run(&Arc::new(scene.clone()))
}

#[track_caller]
pub fn finding(name: &str, scene: &Scene) -> Finding {
    match run(name, scene) {
        Outcome::Finding(finding) => finding,
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
pub fn fine(name: &str, scene: &Scene) -> String {
    match run(name, scene) {
        Outcome::Fine(found) => found,
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
pub fn skipped(name: &str, scene: &Scene) -> String {
    match run(name, scene) {
        Outcome::Skipped(why) => why,
        other => panic!("{name}: {other:?}"),
    }
}

pub fn sealed(key: &age::x25519::Identity) -> Vec<u8> {
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
pub const FLAKE: &str = r#"{
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
pub struct Flake {
    pub place: Place,
    pub scene: Scene,
}

impl Flake {
    pub fn new() -> Option<Self> {
        if !has("nix") || !has("git") {
            return None;
        }
        let place = Place::new();
        place.write(
            "conf/nix.conf",
            format!(
                "store = {}\nbuild-users-group =\nsubstituters =\n",
                place.at("store")
            ),
        );
        place.write("home/x", "");
        let mut scene = scene();
        scene
            .context
            .env
            .retain(|(key, _)| key != "NIX_CONF_DIR" && key != "HOME");
        scene
            .context
            .env
            .push(("NIX_CONF_DIR".into(), place.at("conf").to_string()));
        scene
            .context
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

    pub fn installer(&self, key: &str, version: &str, flaws: &str) {
        let text = FLAKE
            .replace("@KEY@", key)
            .replace("@VERSION@", version)
            .replace("@FLAWS@", flaws);
        self.place.write("flake/flake.nix", text);
    }
}
