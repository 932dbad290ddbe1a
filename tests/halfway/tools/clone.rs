//! The configuration repository: `git init`, `config`, `fetch`, `checkout` and what landfall does around them.
//!
//! The remote is a repository beside the target, over `file://`.
//!
//! `tests/clone_whole_or_absent.rs` has the network.

use super::{Damage, Subject, Tool, block_on, context};
use crate::oracles;
use crate::steps::carry;
use camino::{Utf8Path, Utf8PathBuf};
use landfall::real::git::command::Access;
use landfall::real::git::repository::{observe_clone, perform_clone};
use landfall_states::actions::clone_configuration::{CloneConfiguration, CloneSight, Standing};
use landfall_states::plan::{Reference, Repository, RepositorySource};
use std::process::Command;

/// See the module.
pub struct Clone;

/// The commit, in a file of the step's place.
const REVISION: &str = "revision";
/// The submodule: its repository, beside the origin, and its folder in the clone.
const MODULE: &str = "module";
/// Its files, beside it.
const FILES: &str = "files";

fn git(dir: &Utf8Path, args: &[&str]) -> Result<String, String> {
    let out = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.invalid",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .output()
        .map_err(|e| format!("git: {e}"))?;
    if !out.status.success() {
        return Err(format!("git {args:?}: {}", String::from_utf8_lossy(&out.stderr)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

impl Tool for Clone {
    fn name(&self) -> &'static str {
        "clone"
    }
    fn programs(&self) -> &'static [&'static str] {
        &["git"]
    }
    fn subject(&self) -> Subject {
        Subject::Tree
    }
    fn prepare(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        let io = |e: std::io::Error| e.to_string();
        let origin = place.join("origin");
        fs_err::create_dir_all(&origin).map_err(io)?;
        git(&origin, &["init", "-q", "-b", "trunk"])?;
        for n in 0_u8..2 {
            fs_err::create_dir_all(origin.join("hosts")).map_err(io)?;
            fs_err::write(origin.join("flake.nix"), format!("# {n}\n")).map_err(io)?;
            fs_err::write(origin.join(format!("hosts/{n}.nix")), vec![b'a' + n; 20_000]).map_err(io)?;
            git(&origin, &["add", "-A"])?;
            git(&origin, &["commit", "-q", "-m", "x"])?;
        }
        let module = place.join(MODULE);
        fs_err::create_dir_all(&module).map_err(io)?;
        git(&module, &["init", "-q", "-b", "main"])?;
        fs_err::write(module.join("module.nix"), "# module\n").map_err(io)?;
        git(&module, &["add", "-A"])?;
        git(&module, &["commit", "-q", "-m", "x"])?;
        let url = format!("file://{module}");
        let add = [
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "-q",
            "add",
            &url,
            MODULE,
        ];
        git(&origin, &add)?;
        git(&origin, &["commit", "-q", "-m", "x"])?;
        let revision = git(&origin, &["rev-parse", "trunk"])?;
        fs_err::write(place.join(REVISION), &revision).map_err(io)?;
        let (files, below) = (place.join(FILES), place.join(FILES).join(MODULE));
        oracles::archive(&origin, &revision, &files)?;
        oracles::archive(&module, "main", &below)?;
        // As gitrepository-layout(5) has it: the submodule's own repository lies in the clone's.
        fs_err::write(below.join(".git"), format!("gitdir: ../.git/modules/{MODULE}\n")).map_err(io)?;
        // The archive is kept beside what it holds.
        fs_err::remove_file(format!("{below}.tar")).map_err(io)?;
        fs_err::create_dir_all(subject).map_err(io)
    }
    fn proven(&self, place: &Utf8Path, subject: &Utf8Path) -> Result<(), String> {
        let revision = fs_err::read_to_string(place.join(REVISION)).map_err(|e| e.to_string())?;
        let clone = subject.join("nix-config");
        oracles::repository(&clone, &revision, &place.join(FILES))?;
        let commit = git(&place.join(MODULE), &["rev-parse", "main"])?;
        oracles::submodule(&clone.join(MODULE), &commit)
    }
    fn carry(&self, place: &Utf8Path, subject: &Utf8Path, _later: bool) -> Result<(), String> {
        let access = Access {
            token: None,
            key: None,
            known_hosts: None,
            connect_s: 5,
            stall_s: 5,
        };
        // Git fetches submodules from a file only when it is told to.
        let context = context(&[
            ("HOME", place.to_string()),
            ("GIT_ALLOW_PROTOCOL", "file".to_owned()),
        ]);
        let wrong = |e: &dyn std::fmt::Display| e.to_string();
        let origin = place.join("origin");
        let action = CloneConfiguration {
            install: ron::from_str("\"6c616e64-6661-5c6c-8000-6e69786f7321\"").map_err(|e| wrong(&e))?,
            repository: Repository {
                source: RepositorySource::Remote(
                    format!("file://{origin}").parse().map_err(|e| format!("{e}"))?,
                ),
                reference: Reference::Default,
                clone_path: "/mnt/nix-config".parse().map_err(|e| format!("{e}"))?,
            },
            revision: git(&origin, &["rev-parse", "trunk"])?
                .parse()
                .map_err(|e| format!("{e}"))?,
            is_wish: false,
        };
        let path = subject.join("nix-config");
        block_on(carry(
            &action,
            async || {
                let place = observe_clone(&context, &access, &action, &path).await?;
                let standing = Standing::NotAsked;
                Ok(CloneSight { place, standing })
            },
            async |order| perform_clone(&context, &access, &order, &path).await,
        ))?
    }
    fn damages(&self) -> &'static [Damage] {
        &DAMAGES
    }
    fn state(&self, _place: &Utf8Path, subject: &Utf8Path) -> Result<String, String> {
        let (clone, partial) = (
            subject.join("nix-config"),
            subject.join("nix-config.landfall-partial"),
        );
        let at = match (clone.exists(), partial.exists()) {
            (true, true) => "at its place, and beside it",
            (true, false) => "at its place",
            (false, true) => "beside its place",
            (false, false) => return Ok("git: nothing".into()),
        };
        let dir = if clone.exists() { clone } else { partial };
        Ok(format!("git: {at}, {}", repository(&dir)?))
    }
}

/// The file of an object of the clone's.
fn object(clone: &Utf8Path, what: &str) -> Result<Utf8PathBuf, String> {
    // What was fetched lies in a pack: it is taken out of it.
    let pack = clone.join(".git/objects/pack");
    for entry in fs_err::read_dir(&pack).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|end| end == "pack") {
            let moved = clone.join(".git/moved.pack");
            fs_err::rename(&path, &moved).map_err(|e| e.to_string())?;
            let file = fs_err::File::open(&moved).map_err(|e| e.to_string())?;
            let unpacked = Command::new("git")
                .args(["-C", clone.as_str(), "unpack-objects", "-q"])
                .stdin(file.into_parts().0)
                .status()
                .map_err(|e| e.to_string())?;
            if !unpacked.success() {
                return Err(format!("git unpack-objects: {unpacked}"));
            }
            fs_err::remove_file(&moved).map_err(|e| e.to_string())?;
        }
    }
    let id = git(clone, &["rev-parse", what])?;
    Ok(clone.join(format!(".git/objects/{}/{}", &id[..2], &id[2..])))
}

/// Damage to a clone at its place.
const DAMAGES: [Damage; 6] = [
    ("submodule-emptied", |subject| {
        let folder = subject.join("nix-config").join(MODULE);
        fs_err::remove_dir_all(&folder)
            .and_then(|()| fs_err::create_dir(&folder))
            .map_err(|e| e.to_string())
    }),
    ("submodule-objects-lost", |subject| {
        let objects = subject
            .join("nix-config/.git/modules")
            .join(MODULE)
            .join("objects");
        fs_err::remove_dir_all(objects).map_err(|e| e.to_string())
    }),
    ("object-lost", |subject| {
        let object = object(&subject.join("nix-config"), "HEAD:hosts/0.nix")?;
        fs_err::remove_file(object).map_err(|e| e.to_string())
    }),
    ("object-emptied", |subject| {
        let object = object(&subject.join("nix-config"), "HEAD^{tree}")?;
        fs_err::remove_file(&object)
            .and_then(|()| fs_err::write(object, ""))
            .map_err(|e| e.to_string())
    }),
    ("file-cut-off", |subject| {
        let file = subject.join("nix-config/hosts/1.nix");
        fs_err::write(file, "b").map_err(|e| e.to_string())
    }),
    ("index-lost", |subject| {
        fs_err::remove_file(subject.join("nix-config/.git/index")).map_err(|e| e.to_string())
    }),
];

fn repository(dir: &Utf8Path) -> Result<&'static str, String> {
    let git_dir = dir.join(".git");
    if !git_dir.exists() {
        return Ok("no repository yet");
    }
    if !git_dir.join("HEAD").exists() || !git_dir.join("config").exists() {
        return Ok("repository started");
    }
    let mut locked = false;
    let mut temporary = false;
    let mut packs = false;
    let mut pending = vec![git_dir.clone()];
    while let Some(folder) = pending.pop() {
        for entry in fs_err::read_dir(&folder).map_err(|e| e.to_string())? {
            let path = camino::Utf8PathBuf::from_path_buf(entry.map_err(|e| e.to_string())?.path())
                .map_err(|path| path.display().to_string())?;
            let name = path.file_name().unwrap_or_default();
            locked |= name.ends_with(".lock");
            temporary |= name.starts_with("tmp_");
            packs |= name.ends_with(".idx") || name.len() == 38;
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            }
        }
    }
    let files = dir.join("flake.nix").exists();
    Ok(match (locked, temporary, packs, files) {
        (true, ..) => "a lock file",
        (false, true, ..) => "a temporary object or pack",
        (false, false, false, _) => "no object",
        (false, false, true, false) => "objects, no work tree",
        (false, false, true, true) => "objects and files of the work tree",
    })
}
