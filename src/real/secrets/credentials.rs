//! Where secrets come from, and the two places they go to.
//!
//! A secret is in memory that is wiped, in a file in tmpfs that only root reads and that is deleted with the run (the ssh
//! key, the repository's token), or in the file on the target that it was requested for, with the requested owner and mode.
//! It is never in an argument, a variable, an event, a fault or a checkpoint. An owner is looked up in the target's own
//! `/etc/passwd`, after its activation.
//!
//! `real::ask` asks, and `states::actions::provision_secrets` judges.

use crate::config::{Config, disk_name_objection};
use crate::event::Reporter;
use crate::real::RUN_DIR;
use crate::real::disk::key_media::{self, Allowed, Found};
use crate::real::fs::target_root;
use crate::real::fs::target_root::Root;
use crate::real::mount::attached;
use crate::real::mount::table::MountEntry;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::secret::{Secret, SecretText};
use crate::real::secrets::{key_text, passphrase};
use crate::safe_open::{self, Links, Refused};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::authentic::{KeySource, RecordKey};
use landfall_states::fault::{Fault, FaultClass, Kind, PlaceFault, Remedy, SecretFault};
use landfall_states::plan::{DiskIdentity, InstallId};
use nix::errno::Errno;
use nix::mount::MntFlags;
use nix::sys::statvfs::{FsFlags, statvfs};
use secrecy::ExposeSecret;
use std::io::{ErrorKind, Read};

/// The names of secrets: of credentials behind `landfall.`, and of files on a medium.
pub const NAMES: [&str; 7] = [
    "luks-passphrase",
    "deploy-key",
    "age-identity",
    "ssh-key",
    "repository-token",
    "consent",
    "record-key",
];
/// The key for the repository, as a file in the run directory: ssh reads keys from files only.
const SSH_KEY_NAME: &str = "ssh-key";
/// The token for the repository, as Git's credential helpers answer (`git-credential(1)`).
const TOKEN_NAME: &str = "repository-token";
/// The user of a token that comes without one: forges take any name with a token.
const TOKEN_USER: &str = "x-access-token";
/// Shortest key for records.
const RECORD_KEY_BYTES_MIN: usize = 32;
/// Longest secret.
const BYTES_MAX: usize = 64 << 10;

/// What was done with the files of a medium.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Names of what was taken.
    pub taken: Vec<&'static str>,
    /// Names of what was left there, and why.
    pub left: Vec<(&'static str, &'static str)>,
}

/// Secrets at hand. Not serialisable; printed as `[REDACTED]`.
#[derive(Default)]
pub struct Credentials {
    passphrase: Option<SecretText>,
    is_entered: bool,
    deploy_key: Option<Secret>,
    age_identity: Option<Secret>,
    ssh_key: Option<Secret>,
    repository_token: Option<SecretText>,
    consent: Option<String>,
    record_key: Option<Secret>,
    /// The disk that holds the medium with keys, where something was taken from one, and in words.
    medium: Option<(DiskIdentity, String)>,
    /// Where the ssh key and the token are put; in tmpfs.
    run_dir: Utf8PathBuf,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.at_hand())
    }
}

impl Credentials {
    /// The names of what is at hand.
    pub fn at_hand(&self) -> String {
        let Credentials {
            passphrase,
            is_entered: _,
            deploy_key,
            age_identity,
            ssh_key,
            repository_token,
            consent,
            record_key,
            medium: _,
            run_dir: _,
        } = self;
        let held = [
            ("passphrase", passphrase.is_some()),
            ("deploy-key", deploy_key.is_some()),
            ("age-identity", age_identity.is_some()),
            ("ssh-key", ssh_key.is_some()),
            ("repository-token", repository_token.is_some()),
            ("consent", consent.is_some()),
            ("record-key", record_key.is_some()),
        ];
        let names: Vec<&str> = held
            .iter()
            .filter(|(_, held)| *held)
            .map(|(name, _)| *name)
            .collect();
        match names.as_slice() {
            [] => "none was provided".to_owned(),
            names => names.join(", "),
        }
    }
}

impl Credentials {
    /// What is at hand without asking and without looking at disks: systemd credentials; `passphrase` (of `--passphrase-fd`) goes
    /// before them. `run_dir` is in tmpfs, and landfall's own.
    ///
    /// # Errors
    /// A credential cannot be read, or is none of its kind.
    pub fn load(passphrase: Option<SecretText>, run_dir: &Utf8Path) -> Result<Self, Fault> {
        let mut dirs = Vec::new();
        if let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            let dir = Utf8PathBuf::try_from(std::path::PathBuf::from(dir)).map_err(|e| {
                PlaceFault::NameNotText {
                    on: format!("CREDENTIALS_DIRECTORY={}", e.into_path_buf().display()),
                }
            })?;
            dirs.push(dir);
        }
        dirs.push("/run/credentials/@system".into());
        let mut credentials = Credentials {
            run_dir: run_dir.to_owned(),
            passphrase,
            ..Credentials::default()
        };
        for dir in &dirs {
            credentials.take_from(dir, "landfall.")?;
        }
        Ok(credentials)
    }

    /// Takes what is still missing, and may come from there, from a medium with the label of keys: see `disk::key_media`. What is
    /// taken, and what is not, is told.
    ///
    /// # Errors
    /// Two media could be believed, or one cannot be read or has something that is none of its kind.
    pub async fn take_from_medium(
        &mut self,
        config: &Config,
        reporter: &Reporter,
        stop: &Stop,
    ) -> Result<(), Fault> {
        let Found { medium, ignored } = key_media::look(reporter, stop).await?;
        for line in ignored {
            reporter.notice(format!(
                "landfall does not accept the label {} on {line}",
                key_media::LABEL
            ));
        }
        let Some(medium) = medium else {
            return Ok(());
        };
        let mounted = Medium::mount(&medium.device, reporter, stop).await?;
        let allowed = Allowed::by(config, &medium.standing);
        let taken = self.take_allowed(&mounted.at, &medium.shown, allowed);
        mounted.unmount()?;
        let Taken { taken, left } = taken?;
        for (name, why) in left {
            reporter.notice(format!("landfall does not use {name} on {}: {why}", medium.shown));
        }
        if !taken.is_empty() {
            reporter.notice(format!("read from {}: {}", medium.shown, taken.join(", ")));
            self.medium = Some((medium.disk, medium.shown));
        }
        Ok(())
    }

    /// Takes what may be taken from the folder of a medium, which is called so.
    ///
    /// # Errors
    /// A file cannot be read, or is none of its kind.
    fn take_allowed(&mut self, dir: &Utf8Path, medium: &str, allowed: Allowed) -> Result<Taken, Fault> {
        let mut told = Taken::default();
        for name in NAMES {
            if safe_open::open(&dir.join(name), Links::Refuse).is_ok() {
                match (allowed.takes(name), self.has(name)) {
                    (Err(why), _) => told.left.push((name, why)),
                    (Ok(()), true) => told
                        .left
                        .push((name, "a credential of this machine takes precedence")),
                    (Ok(()), false) => told.taken.push(name),
                }
            }
        }
        self.take(dir, "", Some(medium), |name| allowed.takes(name).is_ok())?;
        Ok(told)
    }

    /// Refuses a disk to be written that keys were taken from: whoever had that disk before can have put them there.
    ///
    /// # Errors
    /// Something was taken from that disk.
    pub fn refuse_as_target(&self, disk: &DiskIdentity) -> Result<(), Fault> {
        match &self.medium {
            Some((medium, shown)) if medium == disk => Err(Fault::of(
                Kind::DiskRefused {
                    disk: format!("disk {disk}"),
                    reasons: vec![format!(
                        "it contains the key medium, label {} ({shown}); the disk that is to be erased cannot also give the consent",
                        key_media::LABEL
                    )],
                },
                Remedy::change_and_install(
                    "put the keys on another medium and change the label of that partition, or choose another disk",
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn has(&self, name: &str) -> bool {
        match name {
            "luks-passphrase" => self.passphrase.is_some(),
            "deploy-key" => self.deploy_key.is_some(),
            "age-identity" => self.age_identity.is_some(),
            "ssh-key" => self.ssh_key.is_some(),
            "repository-token" => self.repository_token.is_some(),
            "consent" => self.consent.is_some(),
            "record-key" => self.record_key.is_some(),
            _ => false,
        }
    }

    /// Takes what is still missing from a directory whose files are named `<prefix>deploy-key` and so on.
    ///
    /// # Errors
    /// A file cannot be read, or is none of its kind.
    pub fn take_from(&mut self, dir: &Utf8Path, prefix: &str) -> Result<(), Fault> {
        self.take(dir, prefix, None, |_| true)
    }

    /// `medium`: what the folder is, for somebody who does not see where it is mounted.
    fn take(
        &mut self,
        dir: &Utf8Path,
        prefix: &str,
        medium: Option<&str>,
        may: impl Fn(&str) -> bool,
    ) -> Result<(), Fault> {
        let what = |name: &str| match medium {
            Some(medium) => format!("file {name} on {medium}"),
            None => format!("credential {prefix}{name}"),
        };
        let file = |name: &str| match may(name) {
            true => read_secret(&dir.join(format!("{prefix}{name}")), &what(name)),
            false => Ok(None),
        };
        if self.passphrase.is_none()
            && let Some(bytes) = file("luks-passphrase")?
        {
            self.passphrase = Some(passphrase::line(&bytes, &what("luks-passphrase"))?);
        }
        for (name, place, is_ssh) in [
            ("deploy-key", &mut self.deploy_key, true),
            ("age-identity", &mut self.age_identity, false),
            ("ssh-key", &mut self.ssh_key, true),
        ] {
            if place.is_none()
                && let Some(bytes) = file(name)?
            {
                let what = what(name);
                *place = Some(if is_ssh {
                    key_text::ssh(&bytes, &what)?
                } else {
                    key_text::age(&bytes, &what)?
                });
            }
        }
        if self.repository_token.is_none()
            && let Some(bytes) = file("repository-token")?
        {
            self.repository_token = Some(token(&bytes, &what("repository-token"))?);
        }
        if self.record_key.is_none()
            && let Some(bytes) = file("record-key")?
        {
            record_key(&bytes, &what("record-key"))?;
            self.record_key = Some(bytes);
        }
        if self.consent.is_none()
            && let Some(bytes) = file("consent")?
        {
            let text = key_text::text(bytes.expose_secret(), &what("consent"))?
                .trim()
                .to_owned();
            self.consent = (!text.is_empty()).then_some(text);
        }
        Ok(())
    }

    /// The passphrase of the LUKS container.
    pub fn passphrase(&self) -> Option<&SecretText> {
        self.passphrase.as_ref()
    }

    /// Holds a passphrase; `None` forgets a wrong one.
    pub fn set_passphrase(&mut self, passphrase: Option<SecretText>) {
        self.is_entered = false;
        self.passphrase = passphrase;
    }

    /// Holds a passphrase that a person has just entered.
    pub fn enter_passphrase(&mut self, passphrase: SecretText) {
        self.is_entered = true;
        self.passphrase = Some(passphrase);
    }

    /// Whether a person entered the passphrase in this run, and can do so again.
    pub fn is_passphrase_entered(&self) -> bool {
        self.is_entered
    }

    /// The deploy key for the target.
    pub fn deploy_key(&self) -> Option<&Secret> {
        self.deploy_key.as_ref()
    }

    /// The age identity for the target.
    pub fn age_identity(&self) -> Option<&Secret> {
        self.age_identity.as_ref()
    }

    /// The installer's key for the records of an install, where the installer has a secret for it.
    pub fn record_key(&self, install: InstallId) -> Option<RecordKey> {
        let secret = self.record_key.as_ref()?.expose_secret();
        RecordKey::derive(KeySource::Installer, secret, install.uuid().as_bytes())
    }

    /// The disk that may be erased, by name, as a credential says it.
    pub fn consent(&self) -> Option<&str> {
        self.consent.as_deref()
    }

    /// Whether a key for the repository was passed in.
    pub fn has_ssh_key(&self) -> bool {
        self.ssh_key.is_some() || self.deploy_key.is_some()
    }

    /// Where landfall keeps what lives until the next boot; in tmpfs.
    pub fn run_dir(&self) -> &Utf8Path {
        &self.run_dir
    }

    /// The key for the repository as a file that ssh can read: the ssh key, else the deploy key. In tmpfs, until
    /// [`remove_keys`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn ssh_key_file(&self) -> Result<Option<Utf8PathBuf>, Fault> {
        let Some(key) = self.ssh_key.as_ref().or(self.deploy_key.as_ref()) else {
            return Ok(None);
        };
        self.put(SSH_KEY_NAME, key.expose_secret()).map(Some)
    }

    /// The same of a key in a file that the configuration names: a copy without what ssh does not bear around it.
    ///
    /// # Errors
    /// The key cannot be read, is none that ssh loads, or the copy cannot be written.
    pub fn ssh_key_of(&self, file: &Utf8Path) -> Result<Utf8PathBuf, Fault> {
        let what = format!("ssh.key {file}");
        let open =
            safe_open::open(file, Links::Follow).map_err(|refused| refused.of_option("ssh.key", file))?;
        let key = key_text::ssh(&read_limited(open, &what)?, &what)?;
        self.put(SSH_KEY_NAME, key.expose_secret())
    }

    /// The token for the repository as a file that a credential helper of Git prints. In tmpfs, until [`remove_keys`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn repository_token_file(&self) -> Result<Option<Utf8PathBuf>, Fault> {
        let Some(token) = &self.repository_token else {
            return Ok(None);
        };
        let answer = helper_answer(token).map_err(|e| target_root::io_fault("secret", &e))?;
        self.put(TOKEN_NAME, answer.expose_secret().as_bytes()).map(Some)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Utf8PathBuf, Fault> {
        let dir = self.run_dir.as_path();
        fs_err::create_dir_all(dir).map_err(|e| target_root::io_fault(dir.as_str(), &e))?;
        let access = target_root::Access {
            mode: 0o600,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        target_root::write(&Root::at(dir), name, bytes, access)?;
        Ok(dir.join(name))
    }
}

/// What a credential helper of Git answers for a token, which may have a user before it (`git-credential(1)`).
pub(crate) fn helper_answer(token: &SecretText) -> std::io::Result<SecretText> {
    let text = token.expose_secret();
    let (user, token) = text.split_once(':').unwrap_or((TOKEN_USER, text));
    SecretText::of(&["username=", user, "\npassword=", token, "\n"])
}

/// Removes the files of the ssh key and the token, whole or half-written. At the end of a run nothing needs them any more, and at
/// the start of one they are what a killed run left.
///
/// # Errors
/// A file cannot be removed.
pub fn remove_keys(run_dir: &Utf8Path) -> Result<(), Fault> {
    for name in [SSH_KEY_NAME, TOKEN_NAME] {
        for file in [name.to_owned(), target_root::beside(name)].map(|name| run_dir.join(name)) {
            match fs_err::remove_file(&file) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(target_root::io_fault(format!("secret file {file}"), &e)),
            }
        }
    }
    Ok(())
}

/// A file that somebody else put there. A link there would have the running system's files read in its place.
fn read_secret(path: &Utf8Path, what: &str) -> Result<Option<Secret>, Fault> {
    match safe_open::open(path, Links::Refuse) {
        Ok(file) => read_limited(file, what).map(Some),
        Err(Refused::Absent) => Ok(None),
        Err(Refused::NotRegular(kind)) => {
            Err(bad(what, &format!("it is not a regular file (it is a {kind})"))
                .with_next(Remedy::change(format!("replace the {kind} with the file itself"))))
        }
        Err(refused) => Err(refused.fault(what)),
    }
}

pub(in crate::real) fn read_limited(reader: impl Read, what: &str) -> Result<Secret, Fault> {
    Secret::read(reader, BYTES_MAX)
        .map_err(|e| target_root::io_fault(what, &e))?
        .ok_or_else(|| bad(what, &format!("it is longer than {BYTES_MAX} bytes")))
}

pub(in crate::real) fn bad(what: &str, why: &str) -> Fault {
    SecretFault::Unusable {
        on: what.to_owned(),
        reason: why.to_owned(),
    }
    .into()
}

/// Looks at a consent that is to be given: one name that can be a disk's.
pub(crate) fn consent(bytes: &Secret, what: &str) -> Result<(), Fault> {
    let name = key_text::text(bytes.expose_secret(), what)?.trim();
    match disk_name_objection(name) {
        None => Ok(()),
        Some(why) => Err(bad(
            what,
            &format!("{why}; it must contain the name of the disk to erase, as landfall disks prints it"),
        )),
    }
}

/// Looks at a key for records.
pub(crate) fn record_key(bytes: &Secret, what: &str) -> Result<(), Fault> {
    let bytes = bytes.expose_secret();
    if bytes.len() < RECORD_KEY_BYTES_MIN {
        let why = format!("it is shorter than {RECORD_KEY_BYTES_MIN} bytes, so it could be guessed");
        return Err(bad(what, &why));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(bad(what, "it is empty"));
    }
    Ok(())
}

/// A token: one line that can stand in an answer of a credential helper. `USER:TOKEN` names the user as well.
pub(crate) fn token(bytes: &Secret, what: &str) -> Result<SecretText, Fault> {
    let bytes = bytes.expose_secret();
    let bytes = bytes
        .strip_prefix(&[0xEF, 0xBB, 0xBF])
        .unwrap_or(bytes)
        .trim_ascii();
    let parts = bytes.splitn(2, |b| *b == b':');
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_graphic) || parts.into_iter().any(<[u8]>::is_empty)
    {
        return Err(bad(
            what,
            "a token must be one line of visible ASCII characters: TOKEN, or USER:TOKEN",
        ));
    }
    let whole = || {
        Secret::copy_of(bytes)?
            .into_text()
            .map_err(|_| std::io::ErrorKind::InvalidData.into())
    };
    whole().map_err(|e: std::io::Error| target_root::io_fault(what, &e))
}

/// Where a medium with keys is mounted.
fn medium_at() -> Utf8PathBuf {
    Utf8Path::new(RUN_DIR).join("keys")
}

/// Filesystems of a medium with keys, and how they are mounted. ext4 must not replay its journal: not a bit of that medium is
/// ours to change.
const KEY_MEDIA: [(&str, Option<&str>); 3] = [("vfat", None), ("ext4", Some("noload")), ("iso9660", None)];

/// A medium with keys, mounted read-only for a moment.
struct Medium {
    at: Utf8PathBuf,
}

impl Medium {
    /// Mounts it. A partition of a stick whose image is mounted as a whole is taken, says the kernel, also to be read: then through a
    /// loop device, which takes nothing.
    async fn mount(device: &str, reporter: &Reporter, stop: &Stop) -> Result<Self, Fault> {
        match Self::mount_as(device)? {
            Ok(medium) => return Ok(medium),
            Err((_, Errno::EBUSY)) => {}
            Err((kind, errno)) => return Err(Self::unmountable(kind, errno)),
        }
        let ended = Program::new("losetup")
            .args(["--find", "--show", "--read-only", device])
            .run(reporter, stop)
            .await?;
        if !ended.success() {
            return Err(Fault::program(
                FaultClass::NeedsChange,
                format!("medium with keys {device}"),
                ended.how(),
                Remedy::resume(),
            ));
        }
        let looped = ended.stdout.trim().to_owned();
        let mounted = Self::mount_as(&looped);
        // The kernel detaches a loop device that is in use when its last user is gone, also after a kill.
        detach(&looped, reporter, stop).await?;
        match mounted? {
            Ok(medium) => Ok(medium),
            Err((kind, errno)) => Err(Self::unmountable(kind, errno)),
        }
    }

    fn unmountable(kind: &str, errno: Errno) -> Fault {
        SecretFault::KeyMedium {
            label: key_media::LABEL.into(),
            said: format!("{errno} (tried as {kind})"),
            known: KEY_MEDIA.map(|(kind, _)| kind.to_owned()).into(),
        }
        .into()
    }

    /// The kernel's word on it, and as what: that it is taken goes before that it is of another kind.
    fn mount_as(device: &str) -> Result<Result<Self, (&'static str, Errno)>, Fault> {
        let at = medium_at();
        fs_err::create_dir_all(&at).map_err(|e| target_root::io_fault(at.as_str(), &e))?;
        let flags = nix::mount::MsFlags::MS_RDONLY
            | nix::mount::MsFlags::MS_NOSUID
            | nix::mount::MsFlags::MS_NODEV
            | nix::mount::MsFlags::MS_NOEXEC;
        let mut last = ("vfat", Errno::ENODEV);
        for (kind, data) in KEY_MEDIA {
            match nix::mount::mount(Some(device), at.as_str(), Some(kind), flags, data) {
                Ok(()) => return Ok(Ok(Medium { at })),
                Err(Errno::EBUSY) => return Ok(Err((kind, Errno::EBUSY))),
                Err(errno) => last = (kind, errno),
            }
        }
        Ok(Err(last))
    }

    fn unmount(self) -> Result<(), Fault> {
        nix::mount::umount(self.at.as_str()).map_err(|e| target_root::io_fault(self.at.as_str(), &e.into()))
    }
}

/// Unmounts what a killed run left mounted of a medium with keys: whoever is root could read them there until the next reboot.
///
/// # Errors
/// It cannot be unmounted, or something is mounted there that no run of landfall mounted.
pub fn unmount_medium(reporter: &Reporter) -> Result<(), Fault> {
    unmount_all(&medium_at(), reporter)
}

/// Unmounts every medium at a place, one over another.
pub(in crate::real) fn unmount_all(at: &Utf8Path, reporter: &Reporter) -> Result<(), Fault> {
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    loop {
        let table = attached::table()?;
        let Some(mount) = table.iter().rfind(|mount| mount.target == at) else {
            return Ok(());
        };
        if !is_a_medium_of_ours(at, mount)? {
            return Err(Fault::of(
                PlaceFault::ForeignUse {
                    on: at.to_string(),
                    by: format!("{} {}:{}", mount.kind, mount.device.0, mount.device.1),
                },
                Remedy::change(format!("umount {at}")),
            ));
        }
        match nix::mount::umount2(at.as_str(), flags) {
            Ok(()) => reporter.notice(format!(
                "{at}: a killed run left the key medium mounted; landfall unmounted it"
            )),
            // Somebody works in it: it is gone for everybody else.
            Err(Errno::EBUSY) if !flags.contains(MntFlags::MNT_DETACH) => flags |= MntFlags::MNT_DETACH,
            Err(errno) => return Err(target_root::io_fault(at.as_str(), &errno.into())),
        }
    }
}

/// Whether what is mounted at a place is mounted as landfall mounts a medium with keys.
fn is_a_medium_of_ours(at: &Utf8Path, mount: &MountEntry) -> Result<bool, Fault> {
    let ours = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
    let is_known = KEY_MEDIA.iter().any(|(kind, _)| *kind == mount.kind);
    let stat =
        statvfs(at.as_std_path()).map_err(|errno| target_root::io_fault(at.as_str(), &errno.into()))?;
    Ok(is_known && stat.flags().contains(ours))
}

/// Takes a loop device away that was made here, or lets it go with its mount. One that stays is told, and harms nothing.
async fn detach(looped: &str, reporter: &Reporter, stop: &Stop) -> Result<(), Fault> {
    let ended = Program::new("losetup")
        .args(["--detach", looped])
        .run(reporter, stop)
        .await?;
    if !ended.success() {
        tracing::warn!(looped, how = %ended.how(), "losetup --detach");
    }
    Ok(())
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
