//! The key pairs of a host, in a directory of their own.
//!
//! An existing key is kept and used. A new key is written beside its place and renamed, never over another file, readable only by its
//! owner, and never below a repository or the Nix store. Memory with a private key is wiped.
//!
//! The file names are those of the key medium (docs/operate/operations.md). `rekey` handles the secrets.

use super::error::HostError;
use crate::real::disk::usage::shell;
use crate::real::secret::Secret;
use crate::real::secrets::age_identity::{self, Found, NoKey};
use crate::safe_open::{self, Links, Refused};
use age::x25519;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use secrecy::ExposeSecret;
use ssh_key::{Algorithm, LineEnding, PrivateKey, rand_core::OsRng};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Longest key file.
const KEY_BYTES_MAX: u64 = 64 << 10;
const SSH_KEY: &str = "ssh-key";
const DEPLOY_KEY: &str = "deploy-key";
const AGE_IDENTITY: &str = "age-identity";

/// One file that is not there yet.
struct NewFile {
    name: String,
    bytes: Secret,
}

/// The keys of a host, in memory.
pub struct Keys {
    dir: Utf8PathBuf,
    new: Vec<NewFile>,
    /// Names of the files that were there.
    pub kept: Vec<String>,
    /// The identity's public half.
    pub age_public: String,
    /// The installer's ssh public key.
    pub ssh_public: String,
    /// The deploy key's public half.
    pub deploy_public: String,
    identity: x25519::Identity,
}

fn bad(path: &Utf8Path, reason: impl Into<String>, next: impl Into<String>) -> HostError {
    HostError::Keys {
        path: path.to_owned(),
        reason: reason.into(),
        next: next.into(),
    }
}

/// What helps where a file is not the key that is meant. It may be another one that somebody needs, and is never removed.
fn moved_away(path: &Utf8Path) -> String {
    format!(
        "mv {} ELSEWHERE, so that landfall makes a new one; or name another directory: --keys DIR",
        shell(path.as_str())
    )
}

fn memory(error: &std::io::Error) -> HostError {
    HostError::file("memory for a key", error)
}

impl Keys {
    /// The keys that are in the folder, and in memory those that are not. Nothing is written.
    pub(crate) fn of(dir: &Utf8Path, host: &str, roots: &[Utf8PathBuf]) -> Result<Keys, HostError> {
        let dir = settled(dir, roots)?;
        let mut keys = Keys {
            new: vec![],
            kept: vec![],
            age_public: String::new(),
            ssh_public: String::new(),
            deploy_public: String::new(),
            identity: x25519::Identity::generate(),
            dir,
        };
        keys.age_identity()?;
        keys.ssh_public = keys.ssh_pair(SSH_KEY, "installer", host)?;
        keys.deploy_public = keys.ssh_pair(DEPLOY_KEY, "deploy", host)?;
        Ok(keys)
    }

    /// Names of the files that `Keys::write` makes.
    pub fn made(&self) -> Vec<&str> {
        self.new.iter().map(|file| file.name.as_str()).collect()
    }

    /// Whether every private key was there.
    pub(crate) fn are_kept(&self) -> bool {
        [AGE_IDENTITY, SSH_KEY, DEPLOY_KEY]
            .iter()
            .all(|name| self.kept.iter().any(|kept| kept == name))
    }

    /// The folder.
    pub fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// The host's own identity, with which re-keyed secrets are read for control.
    pub(crate) fn identity(&self) -> &x25519::Identity {
        &self.identity
    }

    fn there(&self, name: &str) -> Result<Option<Secret>, HostError> {
        let path = self.dir.join(name);
        let file = match safe_open::open(&path, Links::Refuse) {
            Ok(file) => file,
            Err(Refused::Absent) => return Ok(None),
            Err(Refused::Os(error)) => return Err(HostError::file(&path, &error)),
            Err(refused) => return Err(bad(&path, refused.why(), moved_away(&path))),
        };
        let mode = file.metadata().map_err(|e| HostError::file(&path, &e))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(bad(
                &path,
                format!("other users can read it (mode {mode:o})"),
                format!("chmod 600 {}", shell(path.as_str())),
            ));
        }
        let max = usize::try_from(KEY_BYTES_MAX).unwrap_or(usize::MAX);
        let read = Secret::read(file, max).map_err(|e| HostError::file(&path, &e))?;
        read.map(Some).ok_or_else(|| {
            bad(
                &path,
                format!("it is longer than {KEY_BYTES_MAX} bytes, so it is not a key"),
                moved_away(&path),
            )
        })
    }

    fn age_identity(&mut self) -> Result<(), HostError> {
        let path = self.dir.join(AGE_IDENTITY);
        match self.there(AGE_IDENTITY)? {
            Some(bytes) => {
                self.identity = age_identity::single(bytes.bytes())
                    .ok_or_else(|| bad(&path, no_identity(bytes.bytes()), moved_away(&path)))?;
                self.kept.push(AGE_IDENTITY.to_owned());
            }
            None => {
                let secret = self.identity.to_string();
                let mut bytes = Secret::with_room(KEY_BYTES_MAX as usize).map_err(|e| memory(&e))?;
                let public = format!("# public key: {}\n", self.identity.to_public());
                for part in [public.as_bytes(), secret.expose_secret().as_bytes(), b"\n"] {
                    bytes.push(part).map_err(|e| memory(&e))?;
                }
                self.new.push(NewFile {
                    name: AGE_IDENTITY.to_owned(),
                    bytes,
                });
            }
        }
        self.age_public = self.identity.to_public().to_string();
        Ok(())
    }

    /// The public half of a pair.
    fn ssh_pair(&mut self, name: &str, what: &str, host: &str) -> Result<String, HostError> {
        let path = self.dir.join(name);
        let comment = format!("landfall {what} key of {host}");
        let (key, is_new) = match self.there(name)? {
            Some(bytes) => {
                let key = PrivateKey::from_openssh(bytes.bytes()).map_err(|e| {
                    bad(
                        &path,
                        format!("it is not an OpenSSH private key ({e})"),
                        moved_away(&path),
                    )
                })?;
                if key.is_encrypted() {
                    return Err(bad(
                        &path,
                        "it is encrypted with a passphrase, and nobody can enter one where it is used",
                        format!("ssh-keygen -p -N '' -f {}", shell(path.as_str())),
                    ));
                }
                let begin = format!("landfall {what} key of ");
                if let Some(other) = key.comment().strip_prefix(&begin).filter(|other| *other != host) {
                    return Err(bad(
                        &path,
                        format!("it is the key of host {other}"),
                        format!("name a separate directory for {host}: --keys DIR"),
                    ));
                }
                self.kept.push(name.to_owned());
                (key, false)
            }
            None => {
                let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(|e| {
                    bad(
                        &path,
                        format!("landfall could not make a key ({e})"),
                        "run the command again",
                    )
                })?;
                key.set_comment(comment);
                (key, true)
            }
        };
        let public = key.public_key().to_openssh().map_err(|e| {
            bad(
                &path,
                format!("its public key cannot be written ({e})"),
                moved_away(&path),
            )
        })?;
        if is_new {
            let text = key.to_openssh(LineEnding::LF).map_err(|e| {
                bad(
                    &path,
                    format!("it cannot be written ({e})"),
                    "run the command again",
                )
            })?;
            let bytes = Secret::copy_of(text.as_bytes()).map_err(|e| memory(&e))?;
            self.new.push(NewFile {
                name: name.to_owned(),
                bytes,
            });
        }
        let public_name = format!("{name}.pub");
        if !self.has_public(&public_name, &public)? {
            let bytes = Secret::copy_of(format!("{public}\n").as_bytes()).map_err(|e| memory(&e))?;
            self.new.push(NewFile {
                name: public_name,
                bytes,
            });
        }
        Ok(public)
    }

    /// Whether the public half is there. What is there and is another one would be given to the forge.
    fn has_public(&self, name: &str, public: &str) -> Result<bool, HostError> {
        const BYTES_MAX: u64 = 16 << 10;
        let path = self.dir.join(name);
        let is_right = match safe_open::read(&path, Links::Refuse, BYTES_MAX) {
            Ok(bytes) => std::str::from_utf8(&bytes).is_ok_and(|text| super::rules::same(text, public)),
            Err(Refused::Absent) => return Ok(false),
            Err(_) => false,
        };
        if is_right {
            return Ok(true);
        }
        Err(bad(
            &path,
            "it does not match the private key beside it",
            format!(
                "mv {} ELSEWHERE, then run the command again (it makes a new one)",
                shell(path.as_str())
            ),
        ))
    }

    /// Puts the new keys into the folder: one run at a time, and none where another run has put its own meanwhile.
    pub(crate) fn write(&self) -> Result<(), HostError> {
        let dir = &self.dir;
        let io = |e: std::io::Error| HostError::file(dir, &e);
        let missing: Vec<&Utf8Path> = dir
            .ancestors()
            .take_while(|above| !above.as_std_path().exists())
            .collect();
        for above in missing.iter().rev() {
            match nix::unistd::mkdir(above.as_std_path(), Mode::S_IRWXU) {
                // Another run made it.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(HostError::file(*above, &e.into())),
            }
        }
        let _lock = Flock::lock(open_dir(dir).map_err(io)?, FlockArg::LockExclusiveNonblock).map_err(
            |(_, e)| match e {
                Errno::EWOULDBLOCK => HostError::Locked(dir.clone()),
                e => io(e.into()),
            },
        )?;
        let mut places = self.new.iter().map(|file| dir.join(&file.name));
        if let Some(path) = places.find(|path| path.as_std_path().symlink_metadata().is_ok()) {
            return Err(bad(
                &path,
                "another run made it while this one was running; nothing was written",
                "run the command again (it uses these keys, or shows whose they are)",
            ));
        }
        for file in &self.new {
            put(&dir.join(&file.name), file.bytes.bytes())?;
        }
        sync_dir(dir).map_err(io)
    }
}

/// What a file is that is no identity of age with one key.
fn no_identity(bytes: &[u8]) -> String {
    let found = match age_identity::read(bytes, None) {
        Ok(Found::Ssh(_)) | Err(NoKey::SshKind | NoKey::Ssh) => "an SSH private key",
        Ok(Found::Lines { has_plugin: true, .. }) => "an identity of an age plugin",
        Ok(Found::Lines { .. }) => "more than one age identity",
        Err(NoKey::Encrypted) => "encrypted, and nobody can enter a passphrase where it is used",
        Err(NoKey::Line(_) | NoKey::Nothing) => "something else",
    };
    format!("it is not an age identity with one key (AGE-SECRET-KEY-1…): it is {found}")
}

/// Writes a file beside its place, for its owner alone, and gives it its name where nothing has it. When that fails, nothing is left
/// beside it.
fn put(path: &Utf8Path, bytes: &[u8]) -> Result<(), HostError> {
    let error = |e: &std::io::Error| HostError::file(path, e);
    let beside = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default()));
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error(&e)),
        // What a run that was cut off left: nothing uses it yet.
        Ok(()) | Err(_) => {}
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(beside.as_std_path(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|e| error(&e.into()))?;
    let mut file = File::from(opened);
    let written = (|| {
        file.write_all(bytes)?;
        file.sync_all()?;
        let (from, to) = (beside.as_std_path(), path.as_std_path());
        Ok(renameat2(
            AT_FDCWD,
            from,
            AT_FDCWD,
            to,
            RenameFlags::RENAME_NOREPLACE,
        )?)
    })();
    if written.is_err() {
        // A part of a private key is no key, and nobody looks for it. The first error is the one that counts.
        drop(fs::remove_file(&beside));
    }
    written.map_err(|e: std::io::Error| error(&e))
}

fn open_dir(dir: &Utf8Path) -> std::io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(dir.as_std_path(), flags, Mode::empty()).map_err(Into::into)
}

/// Flushes a folder's names.
pub(crate) fn sync_dir(dir: &Utf8Path) -> std::io::Result<()> {
    nix::unistd::fsync(&open_dir(dir)?).map_err(Into::into)
}

/// The folder by its real path, which is below nothing that may not have keys.
fn settled(dir: &Utf8Path, roots: &[Utf8PathBuf]) -> Result<Utf8PathBuf, HostError> {
    let absolute = camino::absolute_utf8(dir).map_err(|e| HostError::file(dir, &e))?;
    if absolute.components().any(|part| part.as_str() == "..") {
        return Err(bad(dir, "it has .. in it", "name the directory by its real path"));
    }
    // As far as it is there, by its real name.
    let elsewhere = "name a directory outside: --keys DIR";
    let (mut known, mut rest) = (absolute.clone(), vec![]);
    let mut real = loop {
        match known.canonicalize_utf8() {
            Ok(real) => break real,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (known.parent(), known.file_name()) else {
                    return Err(HostError::file(dir, &e));
                };
                rest.push(name.to_owned());
                known = parent.to_owned();
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(bad(dir, "its parent is not a directory", elsewhere));
            }
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                return Err(bad(dir, "its real path is not UTF-8", elsewhere));
            }
            Err(e) => return Err(HostError::file(dir, &e)),
        }
    };
    let is_there = rest.is_empty();
    for name in rest.iter().rev() {
        real.push(name);
    }
    if real.starts_with("/nix/store") {
        return Err(bad(
            dir,
            "it is in the Nix store, which every user can read",
            elsewhere,
        ));
    }
    if let Some(root) = roots.iter().find(|root| real.starts_with(root)) {
        return Err(bad(
            dir,
            format!("it is in the repository {root}, and a private key must not be there"),
            elsewhere,
        ));
    }
    let tree = real
        .ancestors()
        .find(|above| above.join(".git").as_std_path().exists());
    if let Some(tree) = tree {
        return Err(bad(
            dir,
            format!("it is in a Git working tree ({tree}), and a private key must not be there"),
            elsewhere,
        ));
    }
    if is_there {
        let found = fs::symlink_metadata(&real).map_err(|e| HostError::file(dir, &e))?;
        if !found.is_dir() {
            return Err(bad(dir, "it is not a directory", elsewhere));
        }
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(bad(
                dir,
                format!("other users can read it (mode {mode:o})"),
                format!("chmod 700 {}", shell(dir.as_str())),
            ));
        }
        if found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(bad(
                dir,
                format!("it belongs to another user (uid {})", found.uid()),
                elsewhere,
            ));
        }
    }
    Ok(real)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
