//! Tells whether a secret has readers that its rules do not name.
//!
//! The header of an age file has an entry for each recipient. One of ssh has a tag of its key, so that each is told; those of age's own
//! keys and of plugins have none, and are counted: of as many entries as keys, nobody can say whose they are.
//!
//! `rekey` encrypts, and leaves a secret alone that has such a reader.

use super::rules;
use crate::real::secrets::age_file;
use age::{DecryptError, Identity};
use age_core::format::{FileKey, Stanza};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use landfall_states::untrusted_text::Shown;
use sha2::{Digest, Sha256};
use std::cell::RefCell;

/// Ends the kind of an entry that stands for nobody; age writes such into some files.
const GREASE: &str = "-grease";
/// Entries of age's own keys.
const NATIVE: &str = "X25519";
/// Entries that have a tag.
const OF_SSH: [&str; 2] = ["ssh-ed25519", "ssh-rsa"];
/// Bytes of a digest that are the tag of a key of ssh.
const TAG_BYTES: usize = 4;

/// Opens nothing, and keeps what each entry is: its kind, and its first argument.
#[derive(Default)]
struct Looking(RefCell<Vec<(String, String)>>);

impl Identity for Looking {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let first = stanza.args.first().cloned().unwrap_or_default();
        self.0.borrow_mut().push((stanza.tag.clone(), first));
        None
    }
}

/// The tag that age gives a key of ssh: <https://github.com/C2SP/C2SP/blob/main/age.md>.
fn tag(key: &str) -> Option<(String, String)> {
    let mut words = key.split_whitespace();
    let (kind, body) = (words.next()?, words.next()?);
    let bytes = STANDARD.decode(body).ok()?;
    let digest = Sha256::digest(bytes);
    let tag = STANDARD_NO_PAD.encode(digest.get(..TAG_BYTES)?);
    OF_SSH.contains(&kind).then(|| (kind.to_owned(), tag))
}

/// Readers of a secret that are in none of the keys but the new host's, `new`, in words; `None`: there is none, as far as the file shows.
pub(super) fn unnamed(bytes: &[u8], keys: &[String], new: &str) -> Option<String> {
    let looking = Looking::default();
    let identity: &dyn Identity = &looking;
    // That it opens nothing is what it is for.
    let _opened = age_file::decrypted(bytes, std::iter::once(identity), |_| Ok(()));
    let mut entries = looking.0.into_inner();
    entries.retain(|(kind, _)| !kind.ends_with(GREASE));
    // A key that the rules have under two names has one entry.
    let mut named: Vec<&String> = vec![];
    for key in keys.iter().filter(|key| !rules::same(key, new)) {
        if !named.iter().any(|known| rules::same(known, key)) {
            named.push(key);
        }
    }
    let keys = named;
    let tags: Vec<(String, String)> = keys.iter().filter_map(|key| tag(key)).collect();
    let (of_ssh, others): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|(kind, _)| OF_SSH.contains(&kind.as_str()));
    if let Some((kind, tag)) = of_ssh.iter().find(|entry| !tags.contains(entry)) {
        let tag = Shown::line(tag);
        return Some(format!(
            "it can be read with a key of {kind} (its tag in age is {tag}) that the rules do not name"
        ));
    }
    let others_named: Vec<&&String> = keys.iter().filter(|key| tag(key).is_none()).collect();
    let natives = others_named.iter().filter(|key| is_native(key)).count();
    let has_plugins = natives < others_named.len();
    let native_entries = others.iter().filter(|(kind, _)| kind == NATIVE).count();
    // What a plugin writes may be of any kind.
    let is_more = native_entries > natives
        || match has_plugins {
            true => others.len() > others_named.len(),
            false => others.len() > native_entries,
        };
    is_more.then(|| {
        format!(
            "it can be read with {} keys of age, and the rules name {} of them (beside the new host's)",
            others.len(),
            others_named.len()
        )
    })
}

/// A key of age's own: a plugin's has its name before another `1`.
fn is_native(key: &str) -> bool {
    key.trim().parse::<age::x25519::Recipient>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use age::x25519;
    use ssh_key::{Algorithm, PrivateKey, rand_core::OsRng};
    use std::io::Write;

    fn file(to: &[&String]) -> Vec<u8> {
        let recipients: Vec<Box<dyn age::Recipient>> = to
            .iter()
            .map(|key| match key.parse::<x25519::Recipient>() {
                Ok(native) => Box::new(native) as Box<dyn age::Recipient>,
                Err(_) => Box::new(key.parse::<age::ssh::Recipient>().unwrap()),
            })
            .collect();
        let encryptor = age::Encryptor::with_recipients(recipients.iter().map(AsRef::as_ref)).unwrap();
        let mut out = vec![];
        let mut writer = encryptor.wrap_output(&mut out).unwrap();
        writer.write_all(b"x").unwrap();
        writer.finish().unwrap();
        out
    }

    #[test]
    fn a_reader_whom_the_rules_do_not_name_is_told() {
        let ssh = || {
            PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
                .unwrap()
                .public_key()
                .to_openssh()
                .unwrap()
        };
        let native = || x25519::Identity::generate().to_public().to_string();
        let (op, laptop, web, db, new) = (ssh(), ssh(), native(), native(), native());
        let plugin = "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t".to_owned();
        // (who reads it, whom the rules name, what is told)
        for (to, named, told) in [
            (vec![&op, &web, &db], vec![&op, &web, &db, &new], ""),
            // One who was added to the rules and has not got it yet.
            (vec![&op, &web], vec![&op, &web, &db, &new], ""),
            // The comment of a key does not count.
            (vec![&op], vec![&op, &new], ""),
            (vec![&op, &laptop, &web], vec![&op, &web, &new], "ssh-ed25519"),
            // Another of the same number.
            (vec![&laptop, &web], vec![&op, &web, &new], "ssh-ed25519"),
            (
                vec![&op, &web, &db],
                vec![&op, &web, &new],
                "2 keys of age, and the rules name 1",
            ),
            (
                vec![&op, &web],
                vec![&op, &new],
                "1 keys of age, and the rules name 0",
            ),
            // A plugin's key writes entries of its own kind, and these are of age's.
            (
                vec![&op, &web, &db],
                vec![&op, &web, &plugin, &new],
                "2 keys of age, and the rules name 2",
            ),
            (vec![&op, &web], vec![&op, &web, &plugin, &new], ""),
            // A key under two names is one reader.
            (
                vec![&op, &web, &db],
                vec![&op, &web, &web, &new],
                "2 keys of age, and the rules name 1",
            ),
            (vec![&op, &web], vec![&op, &op, &web, &web, &new], ""),
            (
                vec![&op, &web, &db, &native()],
                vec![&op, &web, &plugin, &new],
                "3 keys of age, and the rules name 2",
            ),
        ] {
            let named: Vec<String> = named
                .into_iter()
                .map(|key| {
                    if key.starts_with("ssh-") {
                        format!("{key} somebody")
                    } else {
                        key.clone()
                    }
                })
                .collect();
            let said = unnamed(&file(&to), &named, &new).unwrap_or_default();
            assert!(
                said.contains(told) && said.is_empty() == told.is_empty(),
                "{told}: {said}"
            );
        }
    }
}
