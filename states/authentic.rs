//! Whether a record was written by landfall.
//!
//! Anyone who can write the ESP can write a record with a correct digest. A message authentication code (HMAC-SHA256) over
//! the slot's bytes can be made only with the key. A record without a code is not a forgery, but nothing that it asks for is
//! trusted. A record with a wrong code is named, and nothing in it is trusted.
//!
//! The key is derived (HKDF-SHA256) from what the disk does not show: the volume key of the LUKS container, which has 512
//! random bits and is protected by the passphrase and Argon2. It is never derived from the passphrase itself, because a code
//! under a fast hash of it could be guessed against without Argon2. Without a container it is derived from a secret of the
//! installer, if it has one.
//!
//! A copy in this boot's memory needs no code: only root could write it there.
//!
//! The program gets the key, and reads the slots.

use crate::names::Digest;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a key, and of a code.
pub const KEY_BYTES: usize = 32;
/// What a key is for, so that the same secret never makes the same key for something else.
const PURPOSE: &[u8] = b"landfall record authentication 2";

/// Which secret a key is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The volume key of the LUKS container.
    Container,
    /// The credential `landfall.record-key` of the installer.
    Installer,
}

impl KeySource {
    /// Both.
    pub const ALL: [KeySource; 2] = [KeySource::Container, KeySource::Installer];

    /// Its name in a slot. All names are equally long, so that a code has one place.
    pub const fn name(self) -> &'static str {
        match self {
            KeySource::Container => "container",
            KeySource::Installer => "installer",
        }
    }
}

/// A key for records. Wiped when it is dropped; not serialisable, and printed without its bytes.
#[derive(Clone)]
pub struct RecordKey {
    source: KeySource,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl RecordKey {
    /// Derives a key. `context` is what the key is bound to: the id of the container, or the install. `None` would be a key longer
    /// than HKDF can make, which this one is not.
    pub fn derive(source: KeySource, secret: &[u8], context: &[u8]) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        hkdf::Hkdf::<Sha256>::new(Some(context), secret)
            .expand_multi_info(&[PURPOSE, source.name().as_bytes()], bytes.as_mut())
            .ok()?;
        Some(RecordKey { source, bytes })
    }

    /// Where it comes from.
    pub fn source(&self) -> KeySource {
        self.source
    }

    fn over(&self, parts: [&[u8]; 2]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.bytes.as_ref()).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    /// The code over two parts that follow one another.
    pub(crate) fn code(&self, parts: [&[u8]; 2]) -> Option<Digest> {
        self.over(parts)
            .map(|mac| Digest::from_raw(&mac.finalize().into_bytes()))
    }

    /// Whether that is the code over these parts; takes as long for a wrong one.
    pub(crate) fn verifies(&self, parts: [&[u8]; 2], code: &Digest) -> bool {
        let raw = raw(code);
        self.over(parts).is_some_and(|mac| mac.verify_slice(&raw).is_ok())
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({}, [REDACTED])", self.source.name())
    }
}

/// The bytes that the digits of a digest stand for.
fn raw(digest: &Digest) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    digest
        .as_str()
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => digit(*high) << 4 | digit(*low),
            _ => 0,
        })
        .collect()
}

/// The keys that are at hand.
#[derive(Debug, Clone, Default)]
pub struct RecordKeys {
    container: Option<RecordKey>,
    installer: Option<RecordKey>,
}

impl RecordKeys {
    /// Takes a key, in the place of a former one from the same source.
    pub fn hold(&mut self, key: RecordKey) {
        match key.source {
            KeySource::Container => self.container = Some(key),
            KeySource::Installer => self.installer = Some(key),
        }
    }

    /// The key from a source.
    pub fn of(&self, source: KeySource) -> Option<&RecordKey> {
        match source {
            KeySource::Container => self.container.as_ref(),
            KeySource::Installer => self.installer.as_ref(),
        }
    }

    /// The key that records are written with: the container's as soon as there is one.
    pub fn writing(&self) -> Option<&RecordKey> {
        self.container.as_ref().or(self.installer.as_ref())
    }
}

/// What is known of who wrote a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authenticity {
    /// Its code is right, or this boot's own copy in memory is equal to it.
    Proved,
    /// It has no code that could be looked at: it was written without a key, or before there were codes, or the key is not at hand.
    Unproved,
    /// It has a code, the key for it is at hand, and the code is wrong.
    Forged,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: KeySource, secret: &[u8], context: &[u8]) -> RecordKey {
        RecordKey::derive(source, secret, context).unwrap()
    }

    #[test]
    fn a_code_is_of_one_key_and_one_text() {
        let parts: [&[u8]; 2] = [b"head", b"tail"];
        let own = key(KeySource::Container, &[7; 64], b"id");
        let code = own.code(parts).unwrap();
        assert!(own.verifies(parts, &code), "the control");
        assert!(!own.verifies([b"head", b"tale"], &code));
        for other in [
            key(KeySource::Container, &[8; 64], b"id"),
            key(KeySource::Container, &[7; 64], b"another"),
            key(KeySource::Installer, &[7; 64], b"id"),
        ] {
            assert!(!other.verifies(parts, &code), "{other:?}");
            assert_ne!(other.code(parts).unwrap(), code);
        }
    }

    /// RFC 4231, test case 2, with the key put in by hand: the code is HMAC-SHA256.
    #[test]
    fn the_code_is_hmac_sha_256() {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        bytes[..4].copy_from_slice(b"Jefe");
        let key = RecordKey {
            source: KeySource::Installer,
            bytes,
        };
        // A key is filled up with zeros to a block, so that this one is the RFC's.
        assert_eq!(
            key.code([b"what do ya want ", b"for nothing?"]).unwrap().as_str(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = key(KeySource::Container, b"canary", b"id");
        assert_eq!(format!("{key:?}"), "RecordKey(container, [REDACTED])");
        let mut keys = RecordKeys::default();
        keys.hold(key);
        assert!(!format!("{keys:?}").contains("canary"));
    }

    #[test]
    fn records_are_written_with_the_container_s_key_where_there_is_one() {
        let mut keys = RecordKeys::default();
        assert!(keys.writing().is_none());
        keys.hold(key(KeySource::Installer, b"stick", b""));
        assert_eq!(keys.writing().map(RecordKey::source), Some(KeySource::Installer));
        keys.hold(key(KeySource::Container, b"volume", b""));
        assert_eq!(keys.writing().map(RecordKey::source), Some(KeySource::Container));
        assert!(keys.of(KeySource::Installer).is_some());
    }
}
