//! Checks whether the repository answers, with the key and the known hosts that an install has.
//!
//! A key or token is in memory that other processes cannot read and that is wiped; it is in no file, argument or variable.
//!
//! A key on a medium with the label `LF-KEYS` is used only by an install, which mounts the medium.

use super::{Outcome, Scene};
use crate::config::Config;
use crate::real::RUN_DIR;
use crate::real::fs::target_root;
use crate::real::git::command::{self, Access, Token};
use crate::real::git::source;
use crate::real::process::command::Program;
use crate::real::secret::Secret;
use crate::real::secrets::{credentials, key_text, made_key};
use crate::safe_open::{self, Links};
use camino::Utf8PathBuf;
use landfall_states::fault::{Cause, FaultClass};
use landfall_states::plan::{Payload, RepositorySource};
use landfall_states::remote::RemoteUrl;
use nix::sys::memfd::{MFdFlags, memfd_create};
use secrecy::ExposeSecret as _;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

/// Longest private key or token.
const KEY_BYTES_MAX: usize = 64 << 10;

/// A secret where a program that this process starts can read it and nobody else: in memory, behind a descriptor of this process.
/// Wiped when it is let go of.
struct InMemory {
    file: std::fs::File,
    bytes: usize,
}

impl InMemory {
    fn of(bytes: &[u8]) -> std::io::Result<Self> {
        let fd = memfd_create("landfall-doctor", MFdFlags::MFD_CLOEXEC)?;
        // ssh refuses keys that others may read.
        nix::sys::stat::fchmod(&fd, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
        let mut held = InMemory {
            file: std::fs::File::from(fd),
            bytes: bytes.len(),
        };
        held.file.write_all(bytes)?;
        Ok(held)
    }

    fn path(&self) -> Utf8PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let wiped = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(&vec![0; self.bytes]));
        if let Err(error) = wiped {
            tracing::warn!(%error, "a secret in memory could not be wiped");
        }
    }
}

/// The files in which systemd has the credential of this name for the service, or gets it from; the first that is there.
async fn credential(scene: &Scene, config: &Config, name: &str) -> Option<Utf8PathBuf> {
    let unit = format!("{}-auto-install.service", config.host);
    let mut places = vec![
        Utf8PathBuf::from(format!("/run/credentials/{unit}/landfall.{name}")),
        Utf8PathBuf::from(format!("/run/credentials/@system/landfall.{name}")),
    ];
    let asked = Program::that_looks("systemctl")
        .args(["show", "--property=LoadCredential", "--value", &unit])
        .deadline(Duration::from_secs(10));
    // Without systemd there is no service that could be given one.
    if let Some(ended) = scene
        .context
        .run(asked)
        .await
        .ok()
        .filter(|ended| ended.success())
    {
        let start = format!("landfall.{name}:");
        let files = ended
            .stdout
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(start.as_str()));
        places.extend(files.map(Utf8PathBuf::from));
    }
    places
        .into_iter()
        .find(|place| safe_open::open(place, Links::Follow).is_ok())
}

/// The key with which the repository is fetched, and where it is from.
async fn key_of(scene: &Scene, config: &Config) -> Result<Option<(InMemory, Utf8PathBuf)>, Outcome> {
    let mut file = scene.ssh_key.clone().or_else(|| config.ssh.key.clone());
    for name in ["ssh-key", "deploy-key"] {
        if file.is_none() {
            file = credential(scene, config, name).await;
        }
    }
    if file.is_none() && config.ssh.generate_key {
        let made = Utf8PathBuf::from(RUN_DIR).join(made_key::NAME);
        file = safe_open::open(&made, Links::Refuse).is_ok().then_some(made);
    }
    let Some(file) = file else {
        return Ok(None);
    };
    let what = format!("ssh key {file}");
    let opened = safe_open::open(&file, Links::Follow).map_err(|refused| refused.fault(what.as_str()))?;
    let io = |e: std::io::Error| Outcome::from(target_root::io_fault(what.as_str(), &e));
    let bytes = Secret::read(opened, KEY_BYTES_MAX).map_err(io)?.ok_or_else(|| {
        Outcome::wrong(
            FaultClass::NeedsChange,
            what.as_str(),
            format!("it is longer than {KEY_BYTES_MAX} bytes, so it is not a key"),
            "name the private key",
        )
    })?;
    let key = key_text::ssh(&bytes, &what)?;
    InMemory::of(key.bytes()).map(|key| Some((key, file))).map_err(io)
}

pub(super) async fn remote(scene: &Scene) -> Outcome {
    match ask_remote(scene).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

async fn ask_remote(scene: &Scene) -> Result<Outcome, Outcome> {
    let config = scene.config()?;
    let Payload { repository, .. } = config.payload().map_err(|e| Outcome::skipped(e.to_string()))?;
    let url = match &repository.source {
        RepositorySource::Remote(url) => url,
        RepositorySource::Bundle { file, .. } => {
            return Err(Outcome::skipped(format!(
                "the installer contains the repository (bundle {file}; see the check payload)"
            )));
        }
    };
    let key = key_of(scene, config).await?;
    if let Some(file) = &config.ssh.known_hosts {
        safe_open::open(file, Links::Follow)
            .map_err(|refused| refused.fault(format!("ssh.known_hosts {file}")))?;
    }
    let token = token(scene, config, url).await?;
    let access = Access {
        key: key.as_ref().map(|(key, _)| key.path()),
        known_hosts: config.ssh.known_hosts.clone(),
        token: token.as_ref().map(|(server, held)| Token {
            server: server.clone(),
            file: held.path(),
        }),
        connect_s: config.nix.connect_timeout_s,
        stall_s: config.nix.stalled_download_timeout_s,
    };
    let offered = source::offer(&scene.context, &access, &repository.source).await;
    let offer = offered.map_err(|fault| match fault.kind.cause() {
        // The key may be on a medium, which only an install mounts.
        Some(Cause::KeyRefused) if key.is_none() => Outcome::skipped(
            "the server answers, but requires a key, and neither ssh.key nor a credential of the service has one: give it with --ssh-key FILE",
        ),
        Some(_) | None => fault.into(),
    })?;
    let name = source::source_name(&repository.source);
    let with = match &key {
        Some((_, file)) => format!("with the key {file}"),
        None => "without a key".to_owned(),
    };
    match offer.resolve(&repository.reference) {
        Ok(revision) => Ok(Outcome::fine(format!(
            "{name} answers {with}: revision {revision}"
        ))),
        Err(why) => Err(Outcome::wrong(
            FaultClass::Permanent,
            format!("repository {name}"),
            why,
            "push the branch or revision, or name another one in autoInstaller.repoBranch or repoRev and build the image again",
        )),
    }
}

/// The token of the repository, as Git's helper prints it.
async fn token(
    scene: &Scene,
    config: &Config,
    url: &RemoteUrl,
) -> Result<Option<(String, InMemory)>, Outcome> {
    let (Some(server), Some(file)) = (
        command::token_server(url),
        credential(scene, config, "repository-token").await,
    ) else {
        return Ok(None);
    };
    let what = format!("token {file}");
    let opened = safe_open::open(&file, Links::Follow).map_err(|refused| refused.fault(what.as_str()))?;
    let io = |e: std::io::Error| Outcome::from(target_root::io_fault(what.as_str(), &e));
    let Some(bytes) = Secret::read(opened, KEY_BYTES_MAX).map_err(io)? else {
        return Ok(None);
    };
    let answer = credentials::helper_answer(&credentials::token(&bytes, &what)?).map_err(io)?;
    let held = InMemory::of(answer.expose_secret().as_bytes()).map_err(io)?;
    Ok(Some((server, held)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_memory_is_its_owners_alone_and_is_read_from_its_beginning() {
        use std::os::unix::fs::PermissionsExt as _;
        let held = InMemory::of(b"secret").unwrap();
        for _ in 0..2 {
            assert_eq!(fs_err::read(held.path()).unwrap(), b"secret");
        }
        let mode = fs_err::metadata(held.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let copy = held.file.try_clone().unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        drop(held);
        assert_eq!(fs_err::read(path).unwrap(), [0; 6]);
    }
}
