//! Decrypts files that age encrypted.
//!
//! A file that is not age's, a damaged file, and a file for other identities give different errors, because each needs
//! another remedy. Decrypted data count only if they were read to their end. One case cannot be told apart: a damaged
//! recipient entry of the right length looks like an entry for another recipient.
//!
//! `secrets::age_identity` has the private keys, and `hosts::rekey` encrypts.

use super::age_text::{ARMOR, judge_file};
use super::age_unused::Unusable;
use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity};
use std::io::{self, Read};

/// How every armored file begins, whatever is wrong with the rest of the line.
const ARMOR_BEGIN: &[u8] = b"-----BEGIN AGE";
/// How the first line begins in every version of the format.
const HEADER_BEGIN: &[u8] = b"age-encryption.org/";

/// Why a file is not decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecrypted {
    /// Something else.
    #[error(
        "it is not a file that age encrypted: it begins neither with age-encryption.org/v1 nor with -----BEGIN AGE ENCRYPTED FILE-----"
    )]
    NotAge,
    /// Of age, and not as it was written.
    #[error("it is a file that age encrypted, and it is incomplete or damaged: {0}")]
    Damaged(String),
    /// Of an age that is newer.
    #[error("it is in a newer format of age than this landfall reads")]
    Newer,
    /// For whoever knows a passphrase.
    #[error("it is encrypted with a passphrase, not for recipients")]
    Passphrase,
    /// For others.
    #[error("it is encrypted for other identities; none of the given identities decrypts it")]
    Others,
    /// The identity itself could not be used.
    #[error("the identity could not be used: {0}")]
    Identity(String),
    /// A plugin that is not there.
    #[error("the identity needs the program {0}, which is not in PATH")]
    NoPlugin(String),
    /// Longer than is read.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// This machine failed.
    #[error("{0}")]
    Unread(String),
}

impl Undecrypted {
    /// The file itself has to be another one, whoever reads it.
    pub fn is_of_file(&self) -> bool {
        match self {
            Undecrypted::NotAge | Undecrypted::Damaged(_) => true,
            Undecrypted::Newer
            | Undecrypted::Passphrase
            | Undecrypted::Others
            | Undecrypted::Identity(_)
            | Undecrypted::NoPlugin(_)
            | Undecrypted::TooLong(_)
            | Undecrypted::Unread(_) => false,
        }
    }

    /// Of an error while the plain text is read, out of memory.
    pub fn while_read(error: &io::Error) -> Undecrypted {
        match error.raw_os_error() {
            Some(_) => Undecrypted::Unread(crate::os_error::said(error)),
            None => Undecrypted::Damaged(error.to_string()),
        }
    }
}

impl From<DecryptError> for Undecrypted {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::NoMatchingKeys => Undecrypted::Others,
            DecryptError::UnknownFormat => Undecrypted::Newer,
            DecryptError::ExcessiveWork { .. } => Undecrypted::Passphrase,
            DecryptError::KeyDecryptionFailed | DecryptError::Plugin(_) => {
                Undecrypted::Identity(error.to_string())
            }
            DecryptError::MissingPlugin { binary_name } => Undecrypted::NoPlugin(binary_name),
            DecryptError::Io(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<Unusable>()) {
                    Some(unusable) => Undecrypted::Identity(unusable.to_string()),
                    None => Undecrypted::while_read(&error),
                }
            }
            DecryptError::DecryptionFailed | DecryptError::InvalidHeader | DecryptError::InvalidMac => {
                Undecrypted::Damaged(error.to_string())
            }
        }
    }
}

/// The bytes without their armor, and whether they are those of a whole file, as far as that is seen without a key.
pub(in crate::real) fn unarmored(bytes: &[u8]) -> Result<Vec<u8>, Undecrypted> {
    let damaged = |what: &str| Err(Undecrypted::Damaged(what.to_owned()));
    let bytes = if bytes.trim_ascii_start().starts_with(ARMOR_BEGIN) {
        if !bytes.trim_ascii_start().starts_with(ARMOR.as_bytes()) {
            return damaged("its first line");
        }
        let mut plain = vec![];
        ArmoredReader::new(bytes)
            .read_to_end(&mut plain)
            .map_err(|error| Undecrypted::Damaged(error.to_string()))?;
        plain
    } else {
        bytes.to_vec()
    };
    if bytes.is_empty() {
        return damaged("it is empty");
    }
    let Some(version) = bytes.strip_prefix(HEADER_BEGIN) else {
        if HEADER_BEGIN.starts_with(&bytes) || ARMOR_BEGIN.starts_with(&bytes) {
            return damaged("its first line");
        }
        return Err(Undecrypted::NotAge);
    };
    match version.split(|byte| *byte == b'\n').next() {
        Some(b"v1") if version.len() > 2 => {}
        Some(b"v1\r") => return damaged("its line ends were changed to CR LF (core.autocrlf of Git?)"),
        Some([b'v', number @ ..])
            if number.len() < 4
                && number.iter().all(u8::is_ascii_digit)
                && !number.is_empty()
                && number != b"1" =>
        {
            return Err(Undecrypted::Newer);
        }
        Some(_) | None => return damaged("its first line"),
    }
    if judge_file(&bytes).is_err() {
        return damaged("its header, or nothing is after it");
    }
    Ok(bytes)
}

/// Decrypts a file with one of these identities, and gives the plain text to `read`; [`Undecrypted::while_read`] is for its errors. An
/// identity that cannot be used is told where no other one decrypts it.
///
/// # Errors
/// No identity opens it, it is damaged, or what `read` says.
pub fn decrypted<'a, T>(
    bytes: &[u8],
    identities: impl Iterator<Item = &'a dyn Identity>,
    read: impl FnOnce(&mut dyn Read) -> Result<T, Undecrypted>,
) -> Result<T, Undecrypted> {
    let bytes = unarmored(bytes)?;
    if Decryptor::new_buffered(bytes.as_slice())?.is_scrypt() {
        return Err(Undecrypted::Passphrase);
    }
    let mut unusable = None;
    for identity in identities {
        let decryptor = Decryptor::new_buffered(bytes.as_slice())?;
        let error = match decryptor.decrypt(std::iter::once(identity)) {
            Ok(mut reader) => return read(&mut reader),
            Err(DecryptError::NoMatchingKeys) => continue,
            Err(error) => Undecrypted::from(error),
        };
        if error.is_of_file() {
            return Err(error);
        }
        unusable.get_or_insert(error);
    }
    Err(unusable.unwrap_or(Undecrypted::Others))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use age::Encryptor;
    use age::armor::{ArmoredWriter, Format};
    use age::secrecy::SecretString;
    use age::x25519;
    use std::io::Write;

    fn file(to: &x25519::Identity, format: Format, plain: &[u8]) -> Vec<u8> {
        let recipient: &dyn age::Recipient = &to.to_public();
        let encryptor = Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
        let armored = ArmoredWriter::wrap_output(vec![], format).unwrap();
        let mut writer = encryptor.wrap_output(armored).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap().finish().unwrap()
    }

    fn kind(bytes: &[u8], with: &x25519::Identity) -> String {
        let identity: &dyn Identity = with;
        let read = |reader: &mut dyn Read| {
            let mut plain = vec![];
            reader
                .read_to_end(&mut plain)
                .map_err(|error| Undecrypted::while_read(&error))
        };
        match decrypted(bytes, std::iter::once(identity), read) {
            Ok(_) => "whole".to_owned(),
            Err(why) => format!("{why:?}").split('(').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn what_is_damaged_is_told_from_what_is_for_others() {
        let (own, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        // More than one chunk of age's.
        for plain in [b"a secret\n".as_slice(), &[7; 70_000]] {
            for format in [Format::Binary, Format::AsciiArmor] {
                let is_armored = matches!(format, Format::AsciiArmor);
                let whole = file(&own, format, plain);
                assert_eq!(kind(&whole, &own), "whole");
                assert_eq!(kind(&whole, &other), "Others", "the control");
                // Cut off anywhere.
                let mut cuts: Vec<usize> = (0..whole.len().min(400)).collect();
                cuts.extend([whole.len() - 1, whole.len() - 40, whole.len() / 2]);
                for cut in cuts {
                    let said = kind(&whole[..cut], &own);
                    // The last line end of an armored file is not missed.
                    assert!(
                        said == "Damaged" || is_armored && cut == whole.len() - 1 && said == "whole",
                        "{cut} of {}: {said}",
                        whole.len()
                    );
                }
                // A byte that is another one: never taken for whole; in a recipient's part it may be for somebody else.
                let step = if plain.len() > 1000 { 997 } else { 7 };
                for at in (0..whole.len()).step_by(step) {
                    let mut bytes = whole.clone();
                    bytes[at] ^= 0x20;
                    let said = kind(&bytes, &own);
                    assert!(
                        ["Damaged", "Others", "NotAge", "Newer"].contains(&said.as_str()),
                        "{at}: {said}"
                    );
                    if at > whole.len() / 2 && plain.len() > 1000 {
                        assert_eq!(said, "Damaged", "{at}");
                    }
                }
            }
        }
        for (text, wanted) in [
            ("no secret at all", "NotAge"),
            ("version https://git-lfs.example/spec/v1\n", "NotAge"),
            ("", "Damaged"),
            ("age-enc", "Damaged"),
            ("age-encryption.org/v1", "Damaged"),
            ("age-encryption.org/v1\n", "Damaged"),
            ("age-encryption.org/v1\r\n-> X25519 x\r\n", "Damaged"),
            ("age-encryption.org/v2\n-> x\n", "Newer"),
            ("-----BEGIN AGE ENCRYPTED FILE----\n", "Damaged"),
            (
                "-----BEGIN AGE ENCRYPTED FILE-----\n!!!!\n-----END AGE ENCRYPTED FILE-----\n",
                "Damaged",
            ),
        ] {
            assert_eq!(kind(text.as_bytes(), &own), wanted, "{text:?}");
        }
        let mut by_phrase = vec![];
        let phrase = Encryptor::with_user_passphrase(SecretString::from("x".to_owned()));
        let mut writer = phrase.wrap_output(&mut by_phrase).unwrap();
        writer.write_all(b"x").unwrap();
        writer.finish().unwrap();
        assert_eq!(kind(&by_phrase, &own), "Passphrase");
    }
}
