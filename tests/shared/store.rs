//! Two stores of real Nix in a temporary directory, the installer's and the target's, for the tests of the closure.

#![allow(dead_code, clippy::unwrap_used)] // no test file uses all of it; a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::event::{Event, Listener, Reporter};
use landfall::real::git::command::Access;
use landfall::real::nix::client::Stores;
use landfall::real::nix::store::{observe_system, perform_realise};
use landfall::real::process::context::CommandContext;
use landfall::real::process::stop::Stop;
use landfall_states::actions::realise_system::{RealiseSystem, SystemFacts};
use landfall_states::fault::Fault;
use landfall_states::image::Image;
use landfall_states::names::{Digest, StorePath};
use landfall_states::plan::{Reference, Repository, RepositorySource, SystemSource};
use landfall_states::{Step, Verdict};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

pub struct Place {
    _keep: tempfile::TempDir,
    pub dir: Utf8PathBuf,
    pub context: CommandContext,
    pub stores: Stores,
    pub told: Arc<Mutex<Vec<Event>>>,
    pub runtime: tokio::runtime::Runtime,
}

struct Tell(Arc<Mutex<Vec<Event>>>);

impl Listener for Tell {
    fn take(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Place {
    pub fn new() -> Option<Self> {
        if Command::new("nix").arg("--version").output().is_err() {
            println!("skipped: nix is not installed");
            return None;
        }
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        fs_err::create_dir_all(dir.join("conf")).unwrap();
        let conf = "sandbox = false\nsubstituters =\nbuild-users-group =\nsandbox-paths =\n";
        fs_err::write(dir.join("conf/nix.conf"), conf).unwrap();
        let told = Arc::new(Mutex::new(vec![]));
        let reporter = Reporter::default();
        reporter.add(Box::new(Tell(told.clone())));
        let mut context = CommandContext::new(reporter, Stop::never());
        context
            .env
            .push(("NIX_CONF_DIR".into(), dir.join("conf").to_string()));
        context.env.push(("HOME".into(), dir.to_string()));
        fs_err::create_dir_all(dir.join("mnt")).unwrap();
        let stores = Stores {
            root: landfall::real::fs::target_root::Root::at(dir.join("mnt")),
            source: dir.join("live").to_string(),
            substituters: vec![],
            trusted_public_keys: vec![],
            connect_s: 5,
            stall_s: 15,
            deadline: std::time::Duration::from_secs(120),
        };
        Some(Place {
            _keep: keep,
            dir,
            context,
            stores,
            told,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        })
    }

    /// A closure of three paths in the live store: the system, on `b`, on `a`.
    pub fn live_system(&self) -> StorePath {
        let text = "let a = builtins.toFile \"a\" (builtins.concatStringsSep \"\\n\" (builtins.genList toString 20000)); \
            b = builtins.toFile \"b\" \"on ${a}\"; in builtins.toFile \"nixos-system-web\" \"top ${b}\"";
        self.made_live(text)
    }

    /// What an expression evaluates to, in the live store.
    pub fn made_live(&self, text: &str) -> StorePath {
        let out = Command::new("nix-instantiate")
            .args([
                "--eval",
                "--read-write-mode",
                "--store",
                self.stores.source.as_str(),
                "-E",
                text,
            ])
            .env("NIX_CONF_DIR", self.dir.join("conf"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout)
            .unwrap()
            .trim()
            .trim_matches('"')
            .parse()
            .unwrap()
    }

    pub fn action(&self, source: SystemSource, verify: bool) -> RealiseSystem {
        RealiseSystem {
            host: "web".parse().unwrap(),
            source,
            repository: Repository {
                source: RepositorySource::Remote("/nowhere".parse().unwrap()),
                reference: Reference::Default,
                clone_path: "/mnt/nix-config".parse().unwrap(),
            },
            revision: "a".repeat(40).parse().unwrap(),
            verify,
            vouched: None,
        }
    }

    pub fn observe(&self, action: &RealiseSystem) -> SystemFacts {
        self.runtime
            .block_on(observe_system(&self.context, &self.stores, action))
            .unwrap()
    }

    /// Nothing is needed to get at what these tests fetch.
    pub fn access(&self) -> Access {
        Access {
            token: None,
            key: None,
            known_hosts: None,
            connect_s: 5,
            stall_s: 15,
        }
    }

    /// Look, judge, act, look, judge.
    pub fn realise(&self, action: &RealiseSystem) -> Result<(), Fault> {
        let order = match action.judge(&self.observe(action)) {
            Verdict::Done(_) => return Ok(()),
            Verdict::Todo(order) => order,
            Verdict::Refuse(fault) => return Err(fault),
            Verdict::NeedsConsent(erasure) => panic!("{erasure}"),
        };
        self.runtime.block_on(perform_realise(
            &self.context,
            &self.stores,
            &self.access(),
            &order,
        ))?;
        let facts = self.observe(action);
        assert!(matches!(action.judge(&facts), Verdict::Done(_)), "{facts:?}");
        Ok(())
    }

    pub fn file(&self, name: &str) -> Utf8PathBuf {
        let store = camino::Utf8PathBuf::from(self.stores.root.as_arg()).join("nix/store");
        let found = fs_err::read_dir(&store)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .find(|n| n.ends_with(name))
            .unwrap();
        store.join(found)
    }
}

pub fn empty(path: &Utf8Path) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    fs_err::write(path, "").unwrap();
}

/// The target store as an image leaves it: the paths are there, and a list of them; the database is empty. Of so many bytes at
/// least, as that of a large closure: it says again what it said.
pub fn landed_from_image(place: &Place, system: &StorePath, list_bytes: usize) {
    let store = place.dir.join("live/nix/store");
    let target = camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/store");
    fs_err::create_dir_all(&target).unwrap();
    let copied = Command::new("cp")
        .args(["-a", &format!("{store}/."), target.as_str()])
        .status()
        .unwrap();
    assert!(copied.success());
    let nix_store = |args: &[&str]| {
        let out = Command::new("nix-store")
            .args(["--store", place.dir.join("live").as_str()])
            .args(args)
            .env("NIX_CONF_DIR", place.dir.join("conf"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    let closure = String::from_utf8(nix_store(&["--query", "--requisites", system.as_str()])).unwrap();
    let mut dump = vec!["--dump-db"];
    dump.extend(closure.lines());
    let once = nix_store(&dump);
    let list = once.repeat(list_bytes / once.len() + 1);
    fs_err::create_dir_all(camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/var/landfall"))
        .unwrap();
    fs_err::write(
        camino::Utf8PathBuf::from(place.stores.root.as_arg()).join("nix/var/landfall/registration"),
        list,
    )
    .unwrap();
}

pub fn image_of(system: StorePath) -> SystemSource {
    SystemSource::Image(Box::new(Image {
        file: "/iso/root.image".into(),
        digest: Digest::of(system.as_str().as_bytes()),
        system,
        filesystem_bytes: 1 << 20,
        plain_bytes: 1 << 20,
        boot_bytes: 0,
        chunks: 1,
    }))
}

impl Place {
    pub fn unrecord(&self) {
        fs_err::remove_file(
            camino::Utf8PathBuf::from(self.stores.root.as_arg()).join("nix/var/landfall/system"),
        )
        .unwrap();
    }

    pub fn unrecord_if_there(&self) {
        let record = camino::Utf8PathBuf::from(self.stores.root.as_arg()).join("nix/var/landfall/system");
        if record.is_file() {
            fs_err::remove_file(record).unwrap();
        }
    }

    pub fn asides(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs_err::read_dir(camino::Utf8PathBuf::from(self.stores.root.as_arg()).join("nix/var/nix"))
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with("db.landfall-damaged"))
                .collect();
        names.sort();
        names
    }

    /// What the target's database says, line by line, in order.
    pub fn dump(&self) -> Vec<String> {
        let out = Command::new("nix-store")
            .args(["--store", &self.stores.root.as_arg(), "--dump-db"])
            .env("NIX_CONF_DIR", self.dir.join("conf"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    pub fn notices(&self, word: &str) -> usize {
        let is = |e: &&Event| matches!(e, Event::Notice { what } if what.contains(word));
        self.told.lock().unwrap().iter().filter(is).count()
    }

    /// A program before the real one in `PATH`: this shell text, in which `$real` is the real one.
    pub fn instead_of(&mut self, program: &str, text: &str) {
        let path = std::env::var("PATH").unwrap();
        let real = path
            .split(':')
            .map(|dir| Utf8Path::new(dir).join(program))
            .find(|file| file.exists())
            .unwrap();
        let bin = self.dir.join("bin");
        fs_err::create_dir_all(&bin).unwrap();
        fs_err::write(bin.join(program), format!("#!/bin/sh\nreal={real}\n{text}\n")).unwrap();
        fs_err::set_permissions(bin.join(program), std::fs::Permissions::from_mode(0o755)).unwrap();
        self.context.env.retain(|(key, _)| key != "PATH");
        self.context.env.push(("PATH".into(), format!("{bin}:{path}")));
    }
}
