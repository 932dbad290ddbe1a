//! Reads age files and checks who can decrypt them.
//!
//! Decrypted data goes into a buffer that is wiped, and is used only to check that the file is complete. A private key is read into
//! such memory, used only for this, and never written or shown.
//!
//! Not promised: that nothing of a key is left in this process's memory. The crate age copies parts of it while it reads
//! (`real::secrets::age_identity`), and one chunk of 64 KiB of plain text while it decrypts.

use crate::real::fs::target_root::{self, Root};
use crate::real::secret::Secret;
use crate::real::secrets::age_file::{self, Undecrypted};
use crate::real::secrets::age_identity::{self, Found, NoKey};
use crate::safe_open::{self, Links, Refused};
use camino::Utf8Path;
use std::io::Read;

/// Longest private key.
const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest encrypted file.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// What is decrypted goes through a buffer of so many bytes.
const BUFFER_BYTES: usize = 16 << 10;

/// A private key, of age's own kind or ssh's.
pub(super) struct PrivateKey {
    identities: Vec<Box<dyn age::Identity>>,
    /// Public halves, as age writes them: `age1…`, `ssh-ed25519 …`.
    pub public: Vec<String>,
}

/// Why a private key or an encrypted file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The file cannot be opened or read.
    #[error("{0}")]
    Unreadable(String),
    /// It is no key.
    #[error("it is neither an age identity (AGE-SECRET-KEY-1…) nor an OpenSSH private key: {0}")]
    NoKey(String),
    /// It wants a passphrase.
    #[error("it has a passphrase, and nobody can enter one at boot")]
    Locked,
    /// It is a file that age encrypted, for a passphrase or for other keys.
    #[error("it is encrypted with age itself, and nobody can decrypt it at boot")]
    Encrypted,
    /// It is of a plugin.
    #[error("it is an identity of an age plugin, and this check does not start plugins")]
    Plugin,
}

/// A private key from a file of this machine.
pub(super) fn key_file(path: &Utf8Path) -> Result<PrivateKey, KeyError> {
    let file = safe_open::open(path, Links::Follow).map_err(|refused| KeyError::Unreadable(refused.why()))?;
    key_from(file)
}

/// The same below a root; `None`: it is not there.
pub(super) fn key_below(root: &Root, path: &str) -> Result<Option<PrivateKey>, KeyError> {
    let file = target_root::open_file(root, path).map_err(|fault| KeyError::Unreadable(fault.why()))?;
    file.map(key_from).transpose()
}

fn key_from(file: impl Read) -> Result<PrivateKey, KeyError> {
    let unreadable = |e: std::io::Error| KeyError::Unreadable(crate::os_error::said(&e));
    let bytes = Secret::read(file, KEY_BYTES_MAX)
        .map_err(unreadable)?
        .ok_or_else(|| KeyError::NoKey(format!("it has more than {KEY_BYTES_MAX} bytes")))?;
    parse(bytes.bytes())
}

fn parse(bytes: &[u8]) -> Result<PrivateKey, KeyError> {
    match age_identity::read(bytes, None) {
        Err(NoKey::Encrypted) => Err(KeyError::Encrypted),
        Err(why @ (NoKey::SshKind | NoKey::Ssh | NoKey::Line(_) | NoKey::Nothing)) => {
            Err(KeyError::NoKey(why.to_string()))
        }
        Ok(Found::Ssh(age::ssh::Identity::Encrypted(_))) => Err(KeyError::Locked),
        Ok(Found::Ssh(identity)) => {
            let public = age::ssh::Recipient::try_from(identity.clone())
                .map(|recipient| vec![recipient.to_string()])
                .unwrap_or_default();
            Ok(PrivateKey {
                identities: vec![Box::new(identity)],
                public,
            })
        }
        Ok(Found::Lines { has_plugin: true, .. }) => Err(KeyError::Plugin),
        Ok(Found::Lines { file, .. }) => {
            let mut public = Vec::new();
            file.write_recipients_file(&mut public)
                .map_err(|e| KeyError::NoKey(e.to_string()))?;
            let identities = file
                .into_identities()
                .map_err(|e| KeyError::NoKey(e.to_string()))?;
            let public = String::from_utf8_lossy(&public);
            Ok(PrivateKey {
                identities,
                public: public.lines().map(str::to_owned).collect(),
            })
        }
    }
}

/// Whether one of these keys decrypts a file, to its last byte; the error says why not.
pub(super) fn opens(keys: &[PrivateKey], file: impl Read) -> Result<(), Undecrypted> {
    let mut bytes = vec![];
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Undecrypted::Unread(crate::os_error::said(&e)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Undecrypted::TooLong(FILE_BYTES_MAX));
    }
    let identities = keys.iter().flat_map(|key| &key.identities);
    let identities = identities.map(|identity| identity.as_ref() as &dyn age::Identity);
    age_file::decrypted(&bytes, identities, |plain| {
        let mut buffer =
            Secret::with_room(BUFFER_BYTES).map_err(|e| Undecrypted::Unread(crate::os_error::said(&e)))?;
        loop {
            match plain.read(buffer.spare()) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) => return Err(Undecrypted::while_read(&e)),
            }
        }
    })
}

/// Which of the secrets are not decrypted, and what helps: where a file is damaged, another key does not.
#[derive(Debug, Default)]
pub(super) struct Unopened {
    /// Each, with the reason.
    pub list: Vec<String>,
    absent: Vec<String>,
    files: bool,
    keys: bool,
}

impl Unopened {
    /// One of them.
    pub(super) fn push(&mut self, name: &str, why: &Undecrypted) {
        self.files |= why.is_of_file();
        self.keys |= !why.is_of_file();
        self.list.push(format!("{name}: {why}"));
    }

    /// One that is not there, and its file.
    pub(super) fn push_absent(&mut self, name: &str, file: &str) {
        self.absent.push(file.to_owned());
        self.list.push(format!("{name}: it is not there"));
    }

    /// What helps; `rekey` is it where the key is the wrong one.
    pub(super) fn next(&self, rekey: &str) -> String {
        let file = match self.absent.as_slice() {
            [one] => one.as_str(),
            _ => "FILE",
        };
        let absent = format!(
            "restore what is not there (git log --oneline -- {file}, git checkout COMMIT~ -- {file} for the commit that removed it), or, if it \
             was never made, make it with agenix --edit in the directory of the rules file, and commit it"
        );
        let whole = "restore good versions of the damaged files (git log --oneline -- FILE, git checkout COMMIT -- FILE), or write them again with agenix --edit in the directory of the rules file, and commit them";
        let all = [
            (!self.absent.is_empty(), absent.as_str()),
            (self.files, whole),
            (self.keys, rekey),
        ];
        let all: Vec<&str> = all
            .into_iter()
            .filter_map(|(has, next)| has.then_some(next))
            .collect();
        all.join("; then ")
    }
}

/// An encrypted file of this machine.
pub(super) fn encrypted(path: &Utf8Path) -> Result<std::fs::File, Refused> {
    safe_open::open(path, Links::Follow)
}
