//! Private keys under a passphrase: those of ssh, and files of identities that age encrypted.
//!
//! The passphrase is asked once, and only if a file may be for the key. If nobody can be asked, or the passphrase is wrong,
//! the error is about the key, never about a file for others. A machine that boots has nobody to ask; `doctor::decrypt`
//! handles its keys.
//!
//! `cli::host` asks for the passphrase.

use super::age_file::{Undecrypted, unarmored};
use super::age_identity::{self, Found, NoKey};
use super::age_unused::{Unusable, Why};
use crate::real::secret::Secret;
use age::secrecy::SecretString;
use age::{Callbacks, DecryptError, Decryptor, Identity, scrypt, ssh};
use age_core::format::{FileKey, Stanza};
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, Engine as _};
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::io;

/// Longest file of identities.
pub const IDENTITY_BYTES_MAX: usize = 1 << 20;
/// Bytes of the digest of a public key that a file has for whom it is (C2SP age, ssh recipients).
const TAG_BYTES: usize = 4;

/// Most work for one guess at the passphrase of an identity, as a power of two; age allows as much, and writes files of 18.
const WORK_MAX: u8 = 22;

enum Form {
    Ssh { key: ssh::EncryptedKey, tag: String },
    File(Vec<u8>),
}

/// A key, and who is asked for its passphrase.
pub struct Locked<C: Callbacks> {
    file: String,
    form: Form,
    callbacks: C,
    opened: OnceCell<Result<Vec<Box<dyn Identity>>, Why>>,
}

impl<C: Callbacks> Locked<C> {
    fn of(file: &str, form: Form, callbacks: C) -> Locked<C> {
        Locked {
            file: file.to_owned(),
            form,
            callbacks,
            opened: OnceCell::new(),
        }
    }

    /// A private key of ssh.
    fn ssh(file: &str, key: ssh::EncryptedKey, callbacks: C) -> Result<Locked<C>, NoKey> {
        let public =
            ssh::Recipient::try_from(ssh::Identity::Encrypted(key.clone())).map_err(|_| NoKey::SshKind)?;
        let public = public.to_string();
        let blob = public.split(' ').nth(1).unwrap_or_default();
        let blob = BASE64_STANDARD.decode(blob).map_err(|_| NoKey::Ssh)?;
        let digest = Sha256::digest(blob);
        let tag = BASE64_STANDARD_NO_PAD.encode(digest.get(..TAG_BYTES).unwrap_or_default());
        Ok(Locked::of(file, Form::Ssh { key, tag }, callbacks))
    }

    /// Whether a file that has these parts may be for this key.
    fn may_be_for(&self, stanzas: &[Stanza]) -> bool {
        stanzas.iter().any(|stanza| match &self.form {
            Form::Ssh { tag, .. } => stanza.tag.starts_with("ssh-") && stanza.args.first() == Some(tag),
            // Of the other kinds nobody can say.
            Form::File(_) => !stanza.tag.starts_with("ssh-") && stanza.tag != "scrypt",
        })
    }

    fn open(&self) -> Result<Vec<Box<dyn Identity>>, Why> {
        let asked = format!("Type the passphrase of {}", self.file);
        let passphrase = self
            .callbacks
            .request_passphrase(&asked)
            .ok_or(Why::NobodyAsked)?;
        match &self.form {
            Form::Ssh { key, .. } => {
                let key = key.decrypt(passphrase).map_err(|_| Why::Wrong)?;
                Ok(vec![Box::new(ssh::Identity::from(key))])
            }
            Form::File(bytes) => {
                let bytes = plain(bytes, passphrase)?;
                let held = |why: String| Why::Held(format!("decrypted, {why}"));
                found(bytes.bytes(), &self.file, &self.callbacks).map_err(held)
            }
        }
    }
}

/// What a file holds that age encrypted with a passphrase.
fn plain(bytes: &[u8], passphrase: SecretString) -> Result<Secret, Why> {
    let why = |error: DecryptError| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
            Why::Wrong
        }
        DecryptError::ExcessiveWork { .. } => Why::Slow,
        error => Why::Held(Undecrypted::from(error).to_string()),
    };
    let mut identity = scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(WORK_MAX);
    let decryptor = Decryptor::new_buffered(bytes).map_err(why)?;
    let reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn Identity))
        .map_err(why)?;
    Secret::read(reader, IDENTITY_BYTES_MAX)
        .map_err(|error| Why::Held(Undecrypted::while_read(&error).to_string()))?
        .ok_or_else(|| Why::Held(format!("it has more than {IDENTITY_BYTES_MAX} bytes")))
}

impl<C: Callbacks> Identity for Locked<C> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        if !self.may_be_for(stanzas) {
            return None;
        }
        match self.opened.get_or_init(|| self.open()) {
            Ok(identities) => identities.iter().find_map(|one| one.unwrap_stanzas(stanzas)),
            Err(why) => {
                let unusable = Unusable {
                    file: self.file.clone(),
                    why: why.clone(),
                };
                // The only error of age's that holds another one.
                Some(Err(DecryptError::Io(io::Error::other(unusable))))
            }
        }
    }
}

/// The identities in the bytes of a file: of age, of its plugins, or a private key of ssh; under a passphrase or not.
///
/// # Errors
/// They are none, or the passphrase is wrong or cannot be asked for.
pub fn found<C: Callbacks>(
    bytes: &[u8],
    file: &str,
    callbacks: &C,
) -> Result<Vec<Box<dyn Identity>>, String> {
    match age_identity::read(bytes, Some(file.to_owned())) {
        Err(NoKey::Encrypted) => {
            let bytes = unarmored(bytes).map_err(|why| why.to_string())?;
            let decryptor = Decryptor::new_buffered(bytes.as_slice())
                .map_err(|error| Undecrypted::from(error).to_string())?;
            if !decryptor.is_scrypt() {
                return Err(for_an_identity(file));
            }
            Ok(vec![Box::new(Locked::of(
                file,
                Form::File(bytes),
                callbacks.clone(),
            ))])
        }
        Err(why @ (NoKey::SshKind | NoKey::Ssh | NoKey::Line(_) | NoKey::Nothing)) => Err(why.to_string()),
        Ok(Found::Ssh(ssh::Identity::Encrypted(key))) => {
            let key = Locked::ssh(file, key, callbacks.clone()).map_err(|why| why.to_string())?;
            Ok(vec![Box::new(key)])
        }
        Ok(Found::Ssh(key)) => Ok(vec![Box::new(key)]),
        Ok(Found::Lines { file, has_plugin: _ }) => file
            .with_callbacks(callbacks.clone())
            .into_identities()
            .map_err(|e| e.to_string()),
    }
}

/// What is said of a file of identities that is encrypted for another identity, which is not asked for here.
fn for_an_identity(file: &str) -> String {
    const PLAIN: &str = "/dev/shm/landfall-identity";
    let file = crate::real::disk::usage::shell(file);
    format!(
        "it is itself encrypted for another identity, not with a passphrase; decrypt it into memory: (umask 077; age --decrypt --identity KEY --output {PLAIN} {file}), use it: --identity {PLAIN}, and then delete it: rm {PLAIN}"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "age_locked_tests.rs"]
mod tests;
