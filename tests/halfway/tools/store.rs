//! The target's Nix store: `nix copy`, `nix-store --load-db`, `nix store verify`, `--repair-path` and `--delete`, and
//! landfall's record.
//!
//! The closure has a few paths; the later run verifies, as after every unclean stop. Builds, and caches over the network, are
//! not shown.

use super::{Subject, Tool, block_on, context};
use crate::oracles;
use crate::steps::carry;
use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::git::command::Access;
use landfall::real::nix::client::Stores;
use landfall::real::nix::store::{observe_system, perform_realise};
use landfall_states::actions::realise_system::RealiseSystem;
use landfall_states::image::Image;
use landfall_states::names::{Digest, StorePath};
use landfall_states::plan::{Reference, Repository, RepositorySource, SystemSource};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// Which of the store's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `nix copy` into an empty store.
    Copy,
    /// `nix-store --load-db` of what an image brought.
    Load,
    /// `nix store verify` and `nix-store --repair-path` of a path with wrong contents.
    Repair,
    /// The same with a path that no store can give again: `nix-store --delete`, and then it is copied.
    Forget,
}

const SYSTEM: &str = "system";

fn nix(place: &Utf8Path, program: &str, args: &[&str]) -> Result<Vec<u8>, String> {
    let out = Command::new(program)
        .args(["--extra-experimental-features", "nix-command"])
        .args(args)
        .env("NIX_CONF_DIR", place.join("conf"))
        .env("HOME", place)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if !out.status.success() {
        return Err(format!(
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        ));
    }
    Ok(out.stdout)
}

fn stores(place: &Utf8Path, subject: &Utf8Path, source: &str) -> Stores {
    Stores {
        root: landfall::real::fs::target_root::Root::at(subject),
        source: place.join(source).to_string(),
        substituters: vec![],
        trusted_public_keys: vec![],
        connect_s: 5,
        stall_s: 15,
        deadline: Duration::from_secs(120),
    }
}

fn empty(path: &Utf8Path) -> std::io::Result<()> {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    fs_err::write(path, "")
}

fn find(subject: &Utf8Path, end: &str) -> Result<Utf8PathBuf, String> {
    let store = subject.join("nix/store");
    for entry in fs_err::read_dir(&store).map_err(|e| e.to_string())? {
        let name = entry
            .map_err(|e| e.to_string())?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(end) {
            return Ok(store.join(name));
        }
    }
    Err(format!("no path in {store} ends in {end}"))
}

impl Store {
    /// The system in the live store: three paths, each refers to the one before it.
    fn live(place: &Utf8Path) -> Result<String, String> {
        let io = |e: std::io::Error| e.to_string();
        fs_err::create_dir_all(place.join("conf")).map_err(io)?;
        fs_err::create_dir_all(place.join("empty")).map_err(io)?;
        let conf = "sandbox = false\nsubstituters =\nbuild-users-group =\nsandbox-paths =\n";
        fs_err::write(place.join("conf/nix.conf"), conf).map_err(io)?;
        let text = "let a = builtins.toFile \"a\" (builtins.concatStringsSep \"\\n\" (builtins.genList toString 5000)); \
            b = builtins.toFile \"b\" \"on ${a}\"; in builtins.toFile \"nixos-system-web\" \"top ${b}\"";
        let live = place.join("live");
        let out = nix(
            place,
            "nix-instantiate",
            &[
                "--eval",
                "--read-write-mode",
                "--store",
                live.as_str(),
                "-E",
                text,
            ],
        )?;
        let system = String::from_utf8_lossy(&out).trim().trim_matches('"').to_owned();
        fs_err::write(place.join(SYSTEM), &system).map_err(io)?;
        Ok(system)
    }

    fn action(self, place: &Utf8Path, later: bool) -> Result<RealiseSystem, String> {
        let system: StorePath = fs_err::read_to_string(place.join(SYSTEM))
            .map_err(|e| e.to_string())?
            .parse()
            .map_err(|e| format!("{e}"))?;
        let source = match self {
            Store::Load => SystemSource::Image(Box::new(Image {
                file: "/iso/root.image".into(),
                digest: Digest::of(b"image"),
                system,
                filesystem_bytes: 1 << 20,
                plain_bytes: 1 << 20,
                boot_bytes: 0,
                chunks: 1,
            })),
            Store::Copy | Store::Repair | Store::Forget => SystemSource::Prebuilt(system),
        };
        Ok(RealiseSystem {
            host: "web".parse().map_err(|e| format!("{e}"))?,
            source,
            repository: Repository {
                source: RepositorySource::Remote("/nowhere".parse().map_err(|e| format!("{e}"))?),
                reference: Reference::Default,
                clone_path: "/mnt/nix-config".parse().map_err(|e| format!("{e}"))?,
            },
            revision: "a".repeat(40).parse().map_err(|e| format!("{e}"))?,
            verify: later || self == Store::Repair || self == Store::Forget,
            vouched: None,
        })
    }
}

impl Tool for Store {
    fn name(&self) -> &'static str {
        match self {
            Store::Copy => "nix-copy",
            Store::Load => "nix-load-db",
            Store::Repair => "nix-repair",
            Store::Forget => "nix-delete",
        }
    }
    fn programs(&self) -> &'static [&'static str] {
        &["nix", "nix-store", "nix-instantiate"]
    }
    fn subject(&self) -> Subject {
        Subject::Tree
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        let io = |e: std::io::Error| e.to_string();
        let system = Store::live(place)?;
        fs_err::create_dir_all(subject).map_err(io)?;
        match self {
            Store::Copy => {}
            Store::Load => {
                let live = place.join("live");
                let target = subject.join("nix/store");
                fs_err::create_dir_all(&target).map_err(io)?;
                let copied = Command::new("cp")
                    .args(["-a", &format!("{live}/nix/store/."), target.as_str()])
                    .status()
                    .map_err(io)?;
                if !copied.success() {
                    return Err(format!("cp: {copied}"));
                }
                let store = ["--store", live.as_str()];
                let closure = nix(
                    place,
                    "nix-store",
                    &[&store[..], &["--query", "--requisites", &system]].concat(),
                )?;
                let closure = String::from_utf8_lossy(&closure).into_owned();
                let mut dump = [&store[..], &["--dump-db"]].concat();
                dump.extend(closure.lines());
                let list = nix(place, "nix-store", &dump)?;
                fs_err::create_dir_all(subject.join("nix/var/landfall")).map_err(io)?;
                fs_err::write(subject.join("nix/var/landfall/registration"), list).map_err(io)?;
            }
            Store::Repair | Store::Forget => {
                Store::Copy.carry(place, subject, false)?;
                empty(&find(subject, "-a")?).map_err(io)?;
            }
        }
        Ok(())
    }
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, later: bool) -> Result<(), String> {
        let action = self.action(place, later)?;
        let context = context(&[
            ("NIX_CONF_DIR", place.join("conf").to_string()),
            ("HOME", place.to_string()),
        ]);
        let access = Access {
            token: None,
            key: None,
            known_hosts: None,
            connect_s: 5,
            stall_s: 15,
        };
        let live = stores(place, subject, "live");
        // Nothing can give the path again until it was forgotten.
        let nowhere = stores(place, subject, "empty");
        let mut forgets = *self == Store::Forget && !later;
        block_on(carry(
            &action,
            async || observe_system(&context, &live, &action).await,
            async |order| {
                if std::mem::take(&mut forgets) {
                    nowhere.repair(&context, &order.corrupt).await?;
                    return perform_realise(
                        &context,
                        &live,
                        &access,
                        &landfall_states::actions::realise_system::RealiseOrder {
                            corrupt: vec![],
                            ..order
                        },
                    )
                    .await
                    .map(drop);
                }
                perform_realise(&context, &live, &access, &order).await.map(drop)
            },
        ))?
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        oracles::store(subject, &place.join("live"), &place.join("conf"), place)
    }
    fn state(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let db = subject.join("nix/var/nix/db");
        let read = |name: &str| match fs_err::read(db.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.to_string()),
        };
        let tables = |bytes: &[u8]| {
            bytes
                .windows(23)
                .any(|window| window == b"CREATE TABLE ValidPaths"[..].as_ref())
        };
        let (main, log) = (
            read("db.sqlite")?,
            read("db.sqlite-wal")?.filter(|bytes| !bytes.is_empty()),
        );
        let logged = log.is_some_and(|bytes| tables(&bytes));
        let database = match main {
            None => "no database",
            Some(bytes) if bytes.is_empty() => "empty database",
            Some(bytes) if !bytes.starts_with(b"SQLite format 3\0") => "no header",
            Some(bytes) if tables(&bytes) => "tables",
            Some(_) if logged => "tables in the write-ahead log",
            Some(_) => "header without tables",
        };
        let schema = match read("schema")? {
            None => ", no schema file",
            Some(bytes) if bytes.is_empty() => ", empty schema file",
            Some(bytes) if !bytes.iter().all(u8::is_ascii_digit) => ", damaged schema file",
            Some(_) => "",
        };
        let system = subject.join("nix/var/landfall/system");
        let record = match fs_err::read(system) {
            Ok(bytes) if bytes.ends_with(b"end\n") => ", recorded",
            Ok(_) => ", record cut off",
            Err(_) => "",
        };
        Ok(format!("nix-db: {database}{schema}{record}"))
    }
}
