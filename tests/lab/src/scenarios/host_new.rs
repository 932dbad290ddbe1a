//! From a repository without the host to that host, running: `landfall host new` writes its files, makes its keys and
//! encrypts the secret again; the keys go onto a medium, the installer fetches the changed repository, and the first
//! activation decrypts the secret with age.
//!
//! The installed system itself says that it was decrypted.
//!
//! NixOS's evaluation of the written files is in `tests/host_new.rs` and `cargo lab nix`, a forge that asks for the ssh key
//! in `tests/remotes_asked.rs`, and `flash --keys`, which makes the medium on the stick itself, in `scenarios::flash_keys`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;

use super::keys_medium;
use crate::closure::{ENCRYPTED, PASSWORD_HASH, SECRET_IDENTITY};
use crate::command::Program;
use crate::git::{self, Protocol, Repository, Server};
use crate::install::{Install, say};
use crate::kit::{Kit, Layout, Mode, Special};
use crate::machine::{Disk, Machine};
use crate::removal::remove;

const HOST: &str = "attic";
/// Reads [`ENCRYPTED`] with [`SECRET_IDENTITY`].
const OPERATOR: &str = "age1nuaz2z2eqm0lz9yx0dknjgd93afpeaz9ctj0a8gt69n533k0fd3s8xpqtk";
const RULES: &str = "secrets/secrets.nix";
/// Of a flake whose one input is itself.
const LOCK: &str = r#"{"nodes": {"root": {"inputs": {"landfall": []}}}, "root": "root", "version": 7}"#;
const LIMIT: Duration = Duration::from_secs(60);

/// A folder that goes with the scenario.
struct Keys(PathBuf);

impl Drop for Keys {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("lab: {}: {error:#}", self.0.display());
        }
    }
}

/// A configuration with a secret that the new host cannot read yet; the repository, and the secret.
fn configuration(kit: &Kit, folder: &Path, secret: &str) -> Result<(Repository, Vec<u8>)> {
    let mut params = Special::PasswordFile.params();
    params.host = HOST.to_owned();
    if let Some(file) = &mut params.password_file {
        file.identity = format!("/etc/age/{HOST}.agekey");
        file.encrypted = format!("../{secret}");
    }
    let mut repository = Repository::create(folder, "config", "main", &[params], &kit.inputs)?;
    let before = fs::read(repository.worktree().join("lab").join(ENCRYPTED))?;
    let rules = format!(
        "let\n  op = \"{OPERATOR}\";\n  systems = [ ];\nin\n{{\n  \"{ENCRYPTED}\".publicKeys = [ op ] ++ systems;\n}}\n"
    );
    repository.change(secret, &before)?;
    // An input of that name is wanted; this one is the flake itself, and nothing is fetched for it.
    let flake = git::FLAKE.replacen(
        "  outputs =\n    { self }:\n",
        "  inputs.landfall.follows = \"\";\n\n  outputs =\n    { self, landfall }:\n",
        1,
    );
    repository.change("flake.lock", LOCK.as_bytes())?;
    repository.change("flake.nix", flake.as_bytes())?;
    repository.change(RULES, rules.as_bytes())?;
    Ok((repository, before))
}

/// The control, with the age of the system that will be installed: the new identity could not read what was there before.
fn only_the_new_secret_is_read(
    machine: &Machine,
    identity: &[u8],
    [before, after]: [&[u8]; 2],
) -> Result<()> {
    machine.put("/run/lab/before", before)?;
    machine.put("/run/lab/after", after)?;
    machine.put("/run/lab/identity", identity)?;
    machine.put("/run/lab/operator", SECRET_IDENTITY.as_bytes())?;
    let read = |who: &str, what: &str| {
        machine.run(
            &format!("/nix/store/*-lab-tools/bin/age --decrypt -i /run/lab/{who} /run/lab/{what} 2>&1"),
            LIMIT,
        )
    };
    let refused = read("identity", "before")?;
    ensure!(
        refused.status != 0 && refused.text().contains("no identity matched"),
        "the new host could read it before: {}",
        refused.text()
    );
    for who in ["identity", "operator"] {
        let plain = read(who, "after")?;
        ensure!(
            plain.status == 0 && plain.text().trim_end() == PASSWORD_HASH,
            "{who} cannot read it: {}",
            plain.text()
        );
    }
    Ok(())
}

pub fn host_new(kit: &Kit) -> Result<()> {
    let folder = kit.lab.cache.root.join("git-host-new");
    let secret = format!("secrets/{ENCRYPTED}");
    let (mut repository, before) = configuration(kit, &folder, &secret)?;

    let install = Install::new(kit, "host-new", Layout::Plain, Mode::Prebuilt)?;
    // The cache may be in a working tree of Git, where no private key may be.
    let keys = Keys(std::env::temp_dir().join(format!("landfall-lab-keys-{}", std::process::id())));
    let operator = install.spec.folder.join("operator");
    fs::write(&operator, SECRET_IDENTITY)?;
    let server = Server::start(&folder, Protocol::Git)?;
    let url = server.guest_url(server.address().port(), "config.git");
    let made = Program::new(&kit.program)
        .args(["host", "new", HOST, "--yes", "--no-flake", "--user", "operator"])
        .args(["--system", "x86_64-linux", "--rules", RULES, "--remote", &url])
        .arg("--keys")
        .arg(&keys.0)
        .arg("--identity")
        .arg(&operator)
        .directory(repository.worktree())
        .run()?;
    say("`host new` made keys and files, and encrypted the secret again");
    let after = fs::read(repository.worktree().join(&secret))?;
    ensure!(after != before, "the secret is as it was:\n{}", made.text());
    repository.commit("A new host")?;

    let key_names = ["ssh-key", "deploy-key", "age-identity"];
    let mut files = Vec::new();
    for name in key_names {
        files.push((name, fs::read(keys.0.join(name))?));
    }
    let medium = install.spec.folder.join("medium.raw");
    let on_medium: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, text)| (*name, text.as_slice()))
        .collect();
    keys_medium::make(&medium, &on_medium)?;

    let mut install = Install {
        host: HOST.to_owned(),
        mode: Mode::Flake(url),
        ..install
    }
    .stay();
    install
        .more
        .push_str(" keys: (deploy_key: true, age_identity: true),");
    install.spec.disks.push(Disk {
        removable: true,
        ..Disk::new(&medium, "LFKEYS")
    });
    let machine = install.start()?;
    // A restored machine was booted with a blank medium.
    machine.check("udevadm trigger --settle", LIMIT)?;
    let [_, (_, deploy), (_, identity)] = &files[..] else {
        anyhow::bail!("keys are missing: {files:?}");
    };
    only_the_new_secret_is_read(&machine, identity, [&before, &after])?;
    install.land(&machine, "install")?;
    machine.check(
        "udevadm settle && mkdir -p /run/lab/root && mount -o ro /dev/disk/by-partlabel/root-lab /run/lab/root",
        LIMIT,
    )?;
    for (path, content) in [
        (format!("etc/age/{HOST}.agekey"), identity),
        ("home/operator/.ssh/id_ed25519".to_owned(), deploy),
    ] {
        let placed = machine.get(&format!("/run/lab/root/{path}"))?;
        ensure!(&placed == content, "{path} is not the key that was made");
    }
    machine.cut_power()?;
    let wanted = format!("password={PASSWORD_HASH} ");
    let marker = install.boot_as(|marker| marker.contains(" activation=0 ") && marker.contains(&wanted))?;
    ensure!(
        marker.contains(&format!("clone={}:operator", repository.revision)),
        "not the revision with the host: {marker}"
    );
    say("the host runs, and decrypted its secret at its first activation");
    Ok(())
}
