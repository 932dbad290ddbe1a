//! A key for the repository that is made here, if none was passed in (`ssh.generate_key`).
//!
//! Its private half is in a file in memory that only root reads, and in memory that is wiped. It is never on a disk, never
//! shown and never reported. One key serves one boot: a restarted run in the same boot finds the key, and a power cut removes
//! it. landfall waits only for a server that refuses the key; other failures are handled as with any key.
//!
//! `cli::progress` draws the public half, and `secrets::credentials` has keys that come from elsewhere.

use crate::event::Event;
use crate::real::fs::target_root::{self, Root};
use crate::real::process::context::CommandContext;
use crate::real::secret::Secret;
use crate::safe_open::{self, Links, Refused};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::{Cause, Fault, Kind, SecretFault};
use landfall_states::names::HostName;
use landfall_states::remote::RemoteUrl;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use secrecy::ExposeSecret;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use std::time::{Duration, Instant};

/// The key, in the run directory. It stays there when a run ends.
pub(crate) const NAME: &str = "made-key";
/// Longest private key that landfall makes; it has some 400 bytes.
const BYTES_MAX: usize = 4 << 10;
/// The kernel's number of ramfs, which has no swap either (`statfs(2)`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58F6);
/// Longest text for a QR code of 37 by 37 modules (ISO/IEC 18004, version 5, level L), which a console of 24 lines shows.
const SCAN_BYTES_MAX: usize = 106;

/// Time between the first two questions whether the forge takes the key.
pub const PAUSE_FIRST: Duration = Duration::from_secs(3);
/// Longest time between two such questions.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The key of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeKey {
    /// The private half.
    pub file: Utf8PathBuf,
    /// The public half, as forges take it, with its title.
    pub public: String,
}

impl MadeKey {
    /// What a QR code of it says: with the title where that has room.
    fn to_scan(&self) -> String {
        let words = self.public.splitn(3, ' ').take(2);
        if self.public.len() <= SCAN_BYTES_MAX {
            self.public.clone()
        } else {
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

/// What is wrong with the file, or with making it.
fn unusable(file: &Utf8Path, reason: impl Into<String>) -> Fault {
    SecretFault::Unusable {
        on: format!("key {file}"),
        reason: reason.into(),
    }
    .into()
}

/// The key of this boot, made where there is none yet. `dir` is landfall's run directory.
///
/// # Errors
/// The directory is not in memory, or cannot be written.
pub fn of_this_boot(dir: &Utf8Path, host: &HostName) -> Result<MadeKey, Fault> {
    let file = dir.join(NAME);
    fs_err::create_dir_all(dir).map_err(|e| target_root::io_fault(dir.as_str(), &e))?;
    let kind = statfs(dir.as_std_path())
        .map_err(|e| target_root::io_fault(dir.as_str(), &e.into()))?
        .filesystem_type();
    if ![TMPFS_MAGIC, RAMFS_MAGIC].contains(&kind) {
        return Err(unusable(
            &file,
            "its directory is not in memory (tmpfs), and landfall writes a private key only there",
        ));
    }
    if let Some(public) = kept(&file)? {
        return Ok(MadeKey { file, public });
    }
    let fault = |e: ssh_key::Error| unusable(&file, e.to_string());
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(fault)?;
    key.set_comment(format!("landfall {host}"));
    let public = key.public_key().to_openssh().map_err(fault)?;
    // Wiped when it goes, as the key itself.
    let text = key.to_openssh(LineEnding::LF).map_err(fault)?;
    let access = target_root::Access {
        mode: 0o600,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    };
    target_root::write(&Root::at(dir), NAME, text.as_bytes(), access)?;
    Ok(MadeKey { file, public })
}

/// The public half of what was made before in this boot. What is no key any more is made again.
fn kept(file: &Utf8Path) -> Result<Option<String>, Fault> {
    let open = match safe_open::open(file, Links::Refuse) {
        Ok(open) => open,
        Err(Refused::Absent) => return Ok(None),
        Err(refused) => return Err(refused.fault(format!("key {file}"))),
    };
    let text = Secret::read(open, BYTES_MAX).map_err(|e| target_root::io_fault(file.as_str(), &e))?;
    let key = text.and_then(|text| PrivateKey::from_openssh(text.expose_secret()).ok());
    key.map(|key| key.public_key().to_openssh())
        .transpose()
        .map_err(|e| unusable(file, e.to_string()))
}

/// Whether a server refused the key, or what it may see.
fn is_refusal(fault: &Fault) -> bool {
    matches!(&*fault.kind, Kind::Ending { cause, .. } if matches!(cause, Cause::KeyRefused | Cause::Access))
}

/// A wait for somebody to allow a key.
#[derive(Debug)]
pub struct Wait<'w> {
    /// The key.
    pub key: &'w MadeKey,
    /// The repository that is asked for.
    pub remote: &'w RemoteUrl,
    /// For how long; `None`: for ever.
    pub limit: Option<Duration>,
    /// Between the first two questions, and between later ones.
    pub pauses: (Duration, Duration),
}

/// Asks until the server takes the key. What is asked for and waited for is told once.
///
/// # Errors
/// Another failure of the question, a wish to stop, and the limit.
pub async fn until_let_in(
    context: &CommandContext,
    wait: &Wait<'_>,
    question: impl AsyncFn() -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Wait {
        key,
        remote,
        limit,
        pauses: (mut pause, longest),
    } = *wait;
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match question().await {
            Ok(()) if is_told => {
                context.reporter.tell(Event::Checked {
                    what: "key for the repository".into(),
                    found: format!("{remote} accepted it after {} s", began.elapsed().as_secs()),
                });
                return Ok(());
            }
            Ok(()) => return Ok(()),
            Err(fault) if is_refusal(&fault) => {}
            Err(fault) => return Err(fault),
        }
        if !is_told {
            is_told = true;
            context.reporter.tell(Event::Asking {
                what: format!("allow this key to read {remote}, as a deploy key: {}", key.public),
                scan: Some(key.to_scan()),
            });
        }
        let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(SecretFault::KeyNotAllowed {
                remote: remote.to_string(),
                public: key.public.clone(),
                waited_s: began.elapsed().as_secs(),
            }
            .into());
        }
        tokio::select! {
            () = tokio::time::sleep(left.map_or(pause, |left| pause.min(left))) => {}
            () = context.stop.requested() => return Err(context.stop.fault()),
        }
        pause = (pause * 3 / 2).min(longest);
    }
}
