//! Private keys that age decrypts with: its own, those of its plugins, and those of ssh.
//!
//! This module alone decides which form a file has. No part of a key is in an error. The bytes belong to the caller, in
//! memory that is wiped ([`crate::real::secret::Secret`]). What the crate age copies from them while it reads (a line, the
//! decoded body of an ssh key) is not in such memory, and age wipes only a part of it.
//!
//! `secrets::key_text` and `secrets::age_text` check whether a text is a complete key.

use super::age_text::{ARMOR, HEADER};
use age::{IdentityFile, x25519};

/// What a file has.
pub enum Found {
    /// A private key of ssh.
    Ssh(age::ssh::Identity),
    /// Lines of age, and of its plugins.
    Lines {
        /// What they are.
        file: IdentityFile<age::NoCallbacks>,
        /// Whether a plugin has to be started for one.
        has_plugin: bool,
    },
}

/// Why there is no key in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// It is encrypted as a whole.
    #[error("it is encrypted itself")]
    Encrypted,
    /// A key of ssh of another kind.
    #[error("age does not accept keys of this kind; it accepts ssh-ed25519 and ssh-rsa in OpenSSH format")]
    SshKind,
    /// A key of ssh that is cut off or damaged.
    #[error("it begins like an SSH private key, but cannot be read as one")]
    Ssh,
    /// A line of another kind, by its number from 1.
    #[error("its line {0} is neither an age identity nor a comment")]
    Line(usize),
    /// Nothing but comments.
    #[error("it contains no identity")]
    Nothing,
}

/// Lines that are no comments.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// The number of the first line that is nothing of age's, from 1.
fn wrong_line(bytes: &[u8]) -> usize {
    let is_wrong = |line: &[u8]| {
        let line = line.trim_ascii();
        !line.is_empty() && IdentityFile::from_buffer(line).is_err()
    };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.position(is_wrong).map_or(1, |at| at + 1)
}

/// Reads a file; `name` is what a person is asked for its passphrase by.
///
/// # Errors
/// The file cannot be read, or has no identity that can be used.
pub fn read(bytes: &[u8], name: Option<String>) -> Result<Found, NoKey> {
    let first = lines(bytes).next().ok_or(NoKey::Nothing)?;
    if first.starts_with(HEADER.as_bytes()) || first == ARMOR.as_bytes() {
        return Err(NoKey::Encrypted);
    }
    if first.starts_with(b"-----BEGIN ") {
        let begin = bytes
            .windows(first.len())
            .position(|part| part == first)
            .unwrap_or(0);
        let key = bytes.get(begin..).unwrap_or_default();
        return match age::ssh::Identity::from_buffer(key, name) {
            Ok(age::ssh::Identity::Unsupported(_)) => Err(NoKey::SshKind),
            Ok(key) => Ok(Found::Ssh(key)),
            // Its words are a parser's.
            Err(_) => Err(NoKey::Ssh),
        };
    }
    let has_plugin = lines(bytes).any(|line| line.starts_with(b"AGE-PLUGIN-"));
    // Its words have the line in them, which may be a key with a mistake.
    let file = IdentityFile::from_buffer(bytes).map_err(|_| NoKey::Line(wrong_line(bytes)))?;
    Ok(Found::Lines { file, has_plugin })
}

/// The key of a file that has one, of age's own kind.
pub fn single(bytes: &[u8]) -> Option<x25519::Identity> {
    let mut lines = lines(bytes);
    let identity = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    lines.next().is_none().then_some(identity)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret as _;

    #[test]
    fn the_form_of_a_file_is_told() {
        let key = x25519::Identity::generate().to_string();
        let key = key.expose_secret();
        let form = |text: &str| match read(text.as_bytes(), None) {
            Ok(Found::Ssh(_)) => "ssh".to_owned(),
            Ok(Found::Lines { has_plugin, .. }) => format!("lines {has_plugin}"),
            Err(error) => {
                assert!(!error.to_string().contains("SECRET"), "{error}");
                format!("{error:?}")
            }
        };
        let plugin = "AGE-PLUGIN-YUBIKEY-1QQPQQQQQQQQQQQQQG8Q6TG";
        for (text, wanted) in [
            (key.to_owned(), "lines false"),
            (format!("# public key: x\r\n{key}\r\n"), "lines false"),
            (crate::real::test_support::SSH_KEY.to_owned(), "ssh"),
            (format!("# of web\n{}", crate::real::test_support::SSH_KEY), "ssh"),
            (format!("{key}X"), "Line(1)"),
            (format!("{key}\nnothing\n"), "Line(2)"),
            (
                format!("# one\n\n{key}\r\n# two\r\n{key}X\r\nnothing\n"),
                "Line(5)",
            ),
            (String::new(), "Nothing"),
            ("# a comment\n".to_owned(), "Nothing"),
            ("age-encryption.org/v1\n".to_owned(), "Encrypted"),
            ("-----BEGIN AGE ENCRYPTED FILE-----\n".to_owned(), "Encrypted"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n".to_owned(), "Ssh"),
        ] {
            assert_eq!(form(&text), wanted, "{text}");
        }
        assert!(["lines true", "Line(1)"].contains(&form(plugin).as_str()));
        assert!(single(key.as_bytes()).is_some() && single(format!("{key}\n{key}").as_bytes()).is_none());
    }
}
