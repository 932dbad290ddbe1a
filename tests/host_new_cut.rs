//! Promise: wherever `landfall host new` is killed, each file is as before or as after, never between, and the next run
//! finishes it or starts again.
//!
//! The real program is run below a tracer and dies at each call that changes something, before it, and in the middle of each
//! write of more than a page. What it leaves is looked at before the next run, and after it. Not shown are Git's own death in
//! the middle of its index, which Git leaves a lock of, and that of Nix.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "halfway/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "halfway/choice.rs"]
#[allow(dead_code)]
mod choice;
#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;
#[path = "halfway/tracer.rs"]
#[allow(dead_code)]
mod tracer;

use age::armor::{ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use age::{Decryptor, Encryptor, Identity, Recipient};
use choice::Watch;
use fs_err as fs;
use kit::{Ground, fixtures, host, said};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::Stdio;
use tracer::{Ended, Kill};

const SECRETS: [&str; 2] = ["secrets/a.age", "secrets/b.age"];

struct Scene {
    ground: Ground,
    web: age::x25519::Identity,
    identity: String,
}

impl Scene {
    fn new() -> Scene {
        let web = age::x25519::Identity::generate();
        let flake = fs::read_to_string(fixtures().join("flakes/plain.nix")).unwrap();
        let rules = format!(
            "let\n  web = \"{}\";\n  systems = [ web ];\nin\n{{\n  \"a.age\".publicKeys = systems;\n  \"b.age\".publicKeys = systems;\n}}\n",
            web.to_public()
        );
        let ground = Ground::new(
            &flake,
            &[
                ("hosts/web/default.nix", &host("web")),
                ("hosts/web/installer.nix", "{ }\n"),
                ("secrets/secrets.nix", &rules),
            ],
        );
        for secret in SECRETS {
            let recipient: &dyn Recipient = &web.to_public();
            let encryptor = Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
            let mut writer = encryptor
                .wrap_output(ArmoredWriter::wrap_output(vec![], Format::Binary).unwrap())
                .unwrap();
            writer.write_all(secret.as_bytes()).unwrap();
            ground.put(secret, &writer.finish().unwrap().finish().unwrap());
        }
        ground.git(&["add", "--all"]);
        ground.git(&["commit", "--quiet", "--message", "secrets"]);
        let identity = ground.home().join("web.agekey");
        fs::write(&identity, web.to_string().expose_secret()).unwrap();
        Scene {
            ground: ground.without_nix(),
            web,
            identity: identity.to_str().unwrap().to_owned(),
        }
    }

    fn args(&self) -> [&str; 4] {
        ["--yes", "--commit", "--identity", &self.identity]
    }

    /// Runs it below the tracer; at this call it dies.
    fn traced(&self, at: Option<(usize, Kill)>) -> (Ended, Vec<String>) {
        let base = self.ground.root().parent().unwrap().to_str().unwrap().to_owned();
        let git = format!("{base}/repository/.git");
        let watch = Watch {
            below: vec![base, format!("{git}/landfall")],
            except: vec![git],
            ..Watch::default()
        };
        let mut calls = vec![];
        let mut command = self.ground.landfall("new", &self.args());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let ended = tracer::run(&mut command, &watch, |n, call| {
            let half = if call.effect.half().is_some() { "half " } else { "" };
            calls.push(format!("{half}{} {}", call.name, call.path));
            at.filter(|(at, _)| *at == n).map(|(_, death)| death)
        });
        (ended.unwrap(), calls)
    }

    fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        self.ground
            .state()
            .into_iter()
            .filter(|(name, _)| name != "index")
            .collect()
    }

    fn reads(&self, secret: &str, identity: &dyn Identity) -> bool {
        let bytes = fs::read(self.ground.root().join(secret)).unwrap();
        let mut text = String::new();
        let decryptor = Decryptor::new(&bytes[..]).unwrap();
        let Ok(mut reader) = decryptor.decrypt(std::iter::once(identity)) else {
            return false;
        };
        reader.read_to_string(&mut text).unwrap();
        text == secret
    }

    /// In between, too: the flake names no host that Git does not have, and the rules nobody who cannot read the secrets.
    fn holds_together(&self, point: &str) {
        if self
            .ground
            .text("flake.nix")
            .contains("new = nixpkgs.lib.nixosSystem")
        {
            let tracked = self.ground.git(&["ls-files", "hosts/new"]);
            assert_eq!(
                tracked, "hosts/new/default.nix\nhosts/new/installer.nix\n",
                "{point}: the flake names what Git has"
            );
        }
        if self.ground.text("secrets/secrets.nix").contains("new = ") {
            let text = fs::read_to_string(self.ground.keys().join("age-identity")).unwrap();
            let new: age::x25519::Identity = text.lines().last().unwrap().parse().unwrap();
            for secret in SECRETS {
                assert!(
                    self.reads(secret, &new),
                    "{point}: {secret} is for whom the rules name"
                );
            }
        }
    }

    /// After a death there: as before or as after, file by file; and the next run ends it.
    fn judged(&self, before: &BTreeMap<String, Vec<u8>>, point: &str, again: bool) {
        let cut = self.tree();
        for secret in SECRETS {
            assert!(
                self.reads(secret, &self.web),
                "{point}: {secret} is readable by who could read it"
            );
        }
        self.holds_together(point);
        let is_decided = self.ground.has(".git/landfall/host-new.json");
        let output = self.ground.run("new", &self.args());
        assert!(output.status.success(), "{point}: {}", said(&output.stderr));
        let after = self.tree();
        for (name, bytes) in &cut {
            let known = before.get(name) == Some(bytes) || after.get(name) == Some(bytes);
            assert!(known, "{point}: {name} is between");
            let is_new = before.get(name) != Some(bytes);
            let is_done = self.ground.git(&["log", "-1", "--format=%s"]).contains("new");
            assert!(
                !is_new || is_decided || is_done,
                "{point}: {name} was changed before it was decided"
            );
        }
        assert!(
            before.keys().all(|name| cut.contains_key(name)),
            "{point}: nothing is gone"
        );
        let text = fs::read_to_string(self.ground.keys().join("age-identity")).unwrap();
        let new: age::x25519::Identity = text.lines().last().unwrap().parse().unwrap();
        for secret in SECRETS {
            assert!(
                self.reads(secret, &self.web) && self.reads(secret, &new),
                "{point}: {secret}"
            );
        }
        assert!(
            self.ground
                .text("secrets/secrets.nix")
                .contains(&new.to_public().to_string()),
            "{point}"
        );
        assert!(
            self.ground
                .text("flake.nix")
                .contains("new = nixpkgs.lib.nixosSystem"),
            "{point}"
        );
        let key = fs::read_to_string(self.ground.keys().join("ssh-key.pub")).unwrap();
        assert!(
            self.ground.text("hosts/new/installer.nix").contains(key.trim()),
            "{point}: the key that is there"
        );
        assert_eq!(
            self.ground.git(&["status", "--porcelain"]),
            "",
            "{point}: all of it is committed"
        );
        let left: Vec<_> = fs::read_dir(self.ground.root().join(".git/landfall"))
            .unwrap()
            .collect();
        assert_eq!(left.len(), 1, "{point}: nothing is left but the lock");
        let keys: Vec<_> = fs::read_dir(self.ground.keys()).unwrap().collect();
        assert_eq!(keys.len(), 5, "{point}: nothing is left beside the keys");
        if again {
            let done = self.tree();
            assert!(self.ground.run("new", &self.args()).status.success());
            assert_eq!(self.tree(), done, "{point}: again changes nothing");
        }
    }
}

#[test]
fn killed_at_any_call_it_leaves_each_file_as_before_or_as_after() {
    let (ended, calls) = Scene::new().traced(None);
    assert_eq!(ended, Ended::Exit(0), "{calls:#?}");
    assert!(calls.len() > 40, "{calls:#?}");
    let mut points = vec![];
    for (n, call) in calls.iter().enumerate() {
        points.push((n, Kill::Before));
        if call.starts_with("half ") {
            points.push((n, Kill::Half));
        }
    }
    points.push((calls.len() - 1, Kill::After));
    println!(
        "{} calls that change something, {} deaths",
        calls.len(),
        points.len()
    );
    for (n, death) in points {
        let scene = Scene::new();
        let before = scene.tree();
        let (ended, calls) = scene.traced(Some((n, death)));
        let point = format!("{n} {death:?} {}", calls.last().unwrap());
        // Names that differ from run to run can make one call more or less.
        if ended == Ended::Killed {
            scene.judged(&before, &point, n.is_multiple_of(8));
        } else {
            assert_eq!(ended, Ended::Exit(0), "{point}");
        }
    }
}

#[test]
fn a_file_that_somebody_changed_after_a_cut_is_not_overwritten() {
    let (_, calls) = Scene::new().traced(None);
    // The rename that puts flake.nix in its place is the last one of the tree.
    let last = calls.iter().rposition(|call| call.contains("rename")).unwrap();
    let scene = Scene::new();
    assert_eq!(scene.traced(Some((last, Kill::Before))).0, Ended::Killed);
    assert!(scene.ground.has(".git/landfall/host-new.json"));
    let text = format!("{}# mine\n", scene.ground.text("flake.nix"));
    scene.ground.put("flake.nix", text.as_bytes());
    let output = scene.ground.run("new", &scene.args());
    assert_eq!(output.status.code(), Some(6));
    assert!(
        said(&output.stderr).contains("changed after a run"),
        "{}",
        said(&output.stderr)
    );
    assert_eq!(scene.ground.text("flake.nix"), text);
}

#[test]
fn a_lock_that_git_left_is_said_and_the_next_run_continues() {
    let scene = Scene::new();
    let lock = scene.ground.root().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let output = scene.ground.run("new", &scene.args());
    assert_eq!(output.status.code(), Some(6));
    assert!(
        said(&output.stderr).contains("index.lock"),
        "{}",
        said(&output.stderr)
    );
    fs::remove_file(lock).unwrap();
    assert!(scene.ground.run("new", &scene.args()).status.success());
    assert_eq!(scene.ground.git(&["status", "--porcelain"]), "");
    assert!(scene.ground.has("hosts/new/default.nix"));
}
