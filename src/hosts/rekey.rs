//! Encrypts secrets again, for one more recipient.
//!
//! Nothing is written here. Plain text is only in memory that is wiped. Each result is decrypted again with the new host's identity
//! and compared.
//!
//! `rules` says who can read a secret, `transaction` writes the files. The crate `age` starts plugins.

use super::keys::Keys;
use super::readers;
use crate::real::secret::Secret;
use crate::real::secrets::age_file::{self, Undecrypted};
use crate::real::secrets::age_locked::{self, IDENTITY_BYTES_MAX};
use crate::safe_open::{self, Links};
use age::armor::{ArmoredWriter, Format};
use age::{Callbacks, Encryptor, Identity, Recipient};
use camino::{Utf8Path, Utf8PathBuf};
use std::io::{self, Write};

/// Longest secret that is encrypted again.
pub(crate) const SECRET_BYTES_MAX: usize = 16 << 20;

/// The identities of a file: of age, of its plugins, or a private key of ssh. Nobody is asked for a passphrase yet.
pub(crate) fn identities<C: Callbacks>(
    path: &Utf8Path,
    callbacks: &C,
) -> Result<Vec<Box<dyn Identity>>, String> {
    let file = safe_open::open(path, Links::Follow).map_err(|refused| refused.why())?;
    let bytes = Secret::read(file, IDENTITY_BYTES_MAX)
        .map_err(|e| crate::os_error::said(&e))?
        .ok_or_else(|| format!("it has more than {IDENTITY_BYTES_MAX} bytes"))?;
    age_locked::found(bytes.bytes(), path.as_str(), callbacks)
}

/// The recipients that public keys name.
pub(crate) fn recipients<C: Callbacks>(
    keys: &[String],
    callbacks: &C,
) -> Result<Vec<Box<dyn Recipient + Send>>, String> {
    let mut found: Vec<Box<dyn Recipient + Send>> = vec![];
    let mut of_plugins: Vec<age::plugin::Recipient> = vec![];
    for key in keys {
        let key = key.trim();
        // What one kind does not take is asked of the next one; what none takes is said.
        let native = key.parse::<age::x25519::Recipient>();
        let plugin = key.parse::<age::plugin::Recipient>();
        let ssh = key.parse::<age::ssh::Recipient>();
        match (native, plugin, ssh) {
            (Ok(native), _, _) => found.push(Box::new(native)),
            (_, Ok(plugin), _) => of_plugins.push(plugin),
            (_, _, Ok(ssh)) => found.push(Box::new(ssh)),
            (Err(_), Err(_), Err(_)) => {
                let cut: String = key.chars().take(40).collect();
                return Err(format!("age does not accept a recipient in the rules: {cut}"));
            }
        }
    }
    let mut names: Vec<String> = of_plugins
        .iter()
        .map(|plugin| plugin.plugin().to_owned())
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        let plugin = age::plugin::RecipientPluginV1::new(&name, &of_plugins, &[], callbacks.clone())
            .map_err(|e| e.to_string())?;
        found.push(Box::new(plugin));
    }
    Ok(found)
}

/// Why a secret is not encrypted again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRekeyed {
    /// It is not decrypted.
    #[error("{0}")]
    Undecrypted(#[from] Undecrypted),
    /// Whom the rules name cannot be encrypted for.
    #[error("{0}")]
    Recipient(String),
    /// Who decrypts it now could not do so afterwards.
    #[error(
        "the identity that decrypts it is not in the rules of this secret, so it could not decrypt it afterwards"
    )]
    LockedOut,
    /// Somebody reads it now whom the rules do not name.
    #[error("{0}")]
    Unnamed(String),
    /// What was encrypted again is not what it was.
    #[error("encrypted again, {0}")]
    Failed(String),
}

fn decrypted(bytes: &[u8], identities: &[Box<dyn Identity>]) -> Result<Secret, Undecrypted> {
    decrypted_by(bytes, identities.iter().map(|identity| identity.as_ref()))
}

fn decrypted_by<'a>(
    bytes: &[u8],
    identities: impl Iterator<Item = &'a dyn Identity>,
) -> Result<Secret, Undecrypted> {
    age_file::decrypted(bytes, identities, |reader| {
        Secret::read(reader, SECRET_BYTES_MAX)
            .map_err(|e| Undecrypted::while_read(&e))?
            .ok_or(Undecrypted::TooLong(SECRET_BYTES_MAX as u64))
    })
}

fn encrypted(
    plain: &Secret,
    recipients: &[Box<dyn Recipient + Send>],
    armor: bool,
) -> Result<Vec<u8>, String> {
    let format = if armor { Format::AsciiArmor } else { Format::Binary };
    let recipients = recipients
        .iter()
        .map(|recipient| recipient.as_ref() as &dyn Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(|e| e.to_string())?;
    let written = || -> io::Result<Vec<u8>> {
        let armored = ArmoredWriter::wrap_output(vec![], format)?;
        let mut writer = encryptor.wrap_output(armored)?;
        writer.write_all(plain.bytes())?;
        writer.finish()?.finish()
    };
    written().map_err(|e| crate::os_error::said(&e))
}

/// Whether the new host can read a secret as it is.
pub(crate) fn is_for(keys: &Keys, bytes: &[u8]) -> bool {
    let identity: &dyn Identity = keys.identity();
    decrypted_by(bytes, std::iter::once(identity)).is_ok()
}

/// A secret encrypted again for these public keys, of whom the new host's is one.
pub(crate) fn rekeyed<C: Callbacks>(
    bytes: &[u8],
    identities: &[Box<dyn Identity>],
    public_keys: &[String],
    armor: bool,
    keys: &Keys,
    callbacks: &C,
) -> Result<Vec<u8>, NotRekeyed> {
    let plain = decrypted(bytes, identities)?;
    let recipients = recipients(public_keys, callbacks).map_err(NotRekeyed::Recipient)?;
    let new = encrypted(&plain, &recipients, armor).map_err(NotRekeyed::Failed)?;
    let identity: &dyn Identity = keys.identity();
    let again = decrypted_by(&new, std::iter::once(identity))
        .map_err(|why| NotRekeyed::Failed(format!("the new host could not decrypt it: {why}")))?;
    if again.bytes() != plain.bytes() {
        return Err(NotRekeyed::Failed("it decrypts to another secret".to_owned()));
    }
    // Whoever is asked for could read it until now.
    if decrypted(&new, identities).is_err() {
        return Err(NotRekeyed::LockedOut);
    }
    // Nobody who can read it loses that unasked.
    match readers::unnamed(bytes, public_keys, &keys.age_public) {
        Some(who) => Err(NotRekeyed::Unnamed(who)),
        None => Ok(new),
    }
}

/// Where identities are looked for when none is named, as agenix does.
pub(crate) fn default_identities(home: &Utf8Path) -> Vec<Utf8PathBuf> {
    ["id_rsa", "id_ed25519"]
        .iter()
        .map(|name| home.join(".ssh").join(name))
        .filter(|path| path.as_std_path().is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::NoCallbacks;
    use secrecy::ExposeSecret;
    use ssh_key::{Algorithm, LineEnding, PrivateKey, rand_core::OsRng};

    #[test]
    fn a_secret_is_for_everybody_who_had_it_and_for_the_new_host() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let keys = Keys::of(&dir.join("keys"), "web", &[]).unwrap();
        let native = age::x25519::Identity::generate();
        fs_err::write(dir.join("age"), native.to_string().expose_secret()).unwrap();
        let ssh = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        fs_err::write(
            dir.join("ssh"),
            ssh.to_openssh(LineEnding::LF).unwrap().as_bytes(),
        )
        .unwrap();
        let old = vec![
            native.to_public().to_string(),
            ssh.public_key().to_openssh().unwrap(),
        ];
        let plain = Secret::copy_of(b"a secret\n").unwrap();
        for armor in [false, true] {
            let before = encrypted(&plain, &recipients(&old, &NoCallbacks).unwrap(), armor).unwrap();
            assert!(!is_for(&keys, &before));
            let all: Vec<String> = old.iter().cloned().chain([keys.age_public.clone()]).collect();
            for name in ["age", "ssh"] {
                let with = identities(&dir.join(name), &NoCallbacks).unwrap();
                let after = rekeyed(&before, &with, &all, armor, &keys, &NoCallbacks).unwrap();
                assert_eq!(after.starts_with(b"-----BEGIN AGE"), armor);
                assert!(is_for(&keys, &after));
                for name in ["age", "ssh"] {
                    let with = identities(&dir.join(name), &NoCallbacks).unwrap();
                    assert_eq!(decrypted(&after, &with).unwrap().bytes(), plain.bytes());
                }
            }
            // The control: who is not named cannot read it, and a host that is not named is seen.
            let stranger: Vec<Box<dyn Identity>> = vec![Box::new(age::x25519::Identity::generate())];
            assert!(decrypted(&before, &stranger).is_err());
            let with = identities(&dir.join("age"), &NoCallbacks).unwrap();
            assert!(rekeyed(&before, &with, &old, armor, &keys, &NoCallbacks).is_err());
        }
    }

    #[test]
    fn what_is_no_identity_is_said() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        for (text, wanted) in [
            ("AGE-SECRET-KEY-1NONE\n", "neither an age identity"),
            ("age-encryption.org/v1\n", "incomplete or damaged"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n",
                "",
            ),
        ] {
            fs_err::write(dir.join("identity"), text).unwrap();
            let said = identities(&dir.join("identity"), &NoCallbacks).err().unwrap();
            assert!(said.contains(wanted), "{said}");
            assert!(!said.contains("NONE"), "a private key is not repeated: {said}");
        }
        assert!(recipients(&["nobody".to_owned()], &NoCallbacks).is_err());
    }
}
