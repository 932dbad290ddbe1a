//! Identities of age as text.
//!
//! An accepted text is one that age loads: lines of Bech32 with correct checksums, or a complete armored file. Only a plugin
//! knows what its own part means. Forms: `age.md` of C2SP (identities, the header of a file), and BIP 173 without its limit
//! of length.
//!
//! `secrets::key_text` has the keys of ssh, which age also accepts.

use bech32::primitives::checksum::Checksum;
use bech32::primitives::decode::CheckedHrpstring;

const FORM: &str = "it is not an age identity; each line must be AGE-SECRET-KEY-… or AGE-PLUGIN-…, or a comment after #; or the file must be an SSH private key (RSA or Ed25519)";
const MISTYPED: &str =
    "it is incomplete or has a wrong character: the checksum of a line AGE-… does not match; copy it again";
pub(in crate::real) const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";
/// First line of a file of age.
pub(in crate::real) const HEADER: &str = "age-encryption.org/v1";
const CUT: &str = "it is a file that age encrypted, and it is incomplete or damaged; copy it again";
/// Bytes of a secret key.
const KEY_BYTES: usize = 32;
/// Characters of 32 bytes in base 64 without padding.
const KEY_CHARS: usize = 43;
/// Smallest encrypted part of a file: its first bytes, and an empty end.
const PAYLOAD_BYTES_MIN: usize = 16 + 16;

/// Bech32 as age has it: as long as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bech32OfAge {}

impl Checksum for Bech32OfAge {
    type MidstateRepr = u32;
    const CODE_LENGTH: usize = usize::MAX;
    const CHECKSUM_LENGTH: usize = bech32::Bech32::CHECKSUM_LENGTH;
    const GENERATOR_SH: [u32; 5] = bech32::Bech32::GENERATOR_SH;
    const TARGET_RESIDUE: u32 = bech32::Bech32::TARGET_RESIDUE;
}

/// Lines of identities.
pub(in crate::real) fn judge_lines(text: &str) -> Result<(), &'static str> {
    let mut identities = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    if identities.peek().is_some_and(|line| line.starts_with("age1")) {
        return Err("it is an age public key (a recipient); the identity begins with AGE-SECRET-KEY-");
    }
    if identities.peek().is_none() {
        return Err(FORM);
    }
    identities.try_for_each(judge_line)
}

fn judge_line(line: &str) -> Result<(), &'static str> {
    let of_age = line.starts_with("AGE-SECRET-KEY-");
    if !of_age && !line.starts_with("AGE-PLUGIN-") {
        return Err(match line.to_ascii_uppercase().starts_with("AGE-") {
            true => "it is in lower case; an age identity is AGE-SECRET-KEY-… in upper case",
            false => FORM,
        });
    }
    let identity = CheckedHrpstring::new::<Bech32OfAge>(line).map_err(|_| MISTYPED)?;
    if line.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(MISTYPED);
    }
    let begin = identity.hrp();
    let bytes = identity.byte_iter().count();
    match of_age {
        // With and without a part that bears quantum computers.
        true if matches!(begin.as_str(), "AGE-SECRET-KEY-" | "AGE-SECRET-KEY-PQ-") && bytes == KEY_BYTES => {
            Ok(())
        }
        true => Err(MISTYPED),
        false if begin.as_str().len() > "AGE-PLUGIN-".len() && begin.as_str().ends_with('-') => Ok(()),
        false => Err(FORM),
    }
}

/// The lines between the first and the last of an armored file.
pub(in crate::real) fn armored(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    if lines.pop() != Some(ARMOR_END) {
        return Err(CUT);
    }
    // Lines are full, but for the last.
    let full = lines.len().saturating_sub(1);
    let is_right = lines.iter().take(full).all(|line| line.len() == 64)
        && lines.last().is_some_and(|last| (1..=64).contains(&last.len()));
    is_right.then_some(lines).ok_or(CUT)
}

/// A file of age: its header (recipients, and a line that authenticates them), and what is encrypted.
pub(in crate::real) fn judge_file(content: &[u8]) -> Result<(), &'static str> {
    let mut rest = content;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        std::str::from_utf8(line).ok()
    };
    if line() != Some(HEADER) {
        return Err(CUT);
    }
    let mut recipients = 0;
    let mut next = line().ok_or(CUT)?;
    while let Some(recipient) = next.strip_prefix("-> ") {
        recipients += 1;
        let mut body = 0;
        // The last line of a body is shorter than the others.
        loop {
            let part = line()
                .filter(|part| part.len() <= 64 && part.bytes().all(is_base64))
                .ok_or(CUT)?;
            body += part.len();
            if part.len() < 64 {
                break;
            }
        }
        if !is_recipient(recipient, body) {
            return Err(CUT);
        }
        next = line().ok_or(CUT)?;
    }
    let code = next.strip_prefix("--- ").ok_or(CUT)?;
    let is_whole = recipients > 0
        && code.len() == KEY_CHARS
        && code.bytes().all(is_base64)
        && rest.len() >= PAYLOAD_BYTES_MIN;
    is_whole.then_some(()).ok_or(CUT)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// A recipient's line, and how long its body is: those that age itself has are as long as they have to be.
fn is_recipient(words: &str, body: usize) -> bool {
    let words: Vec<&str> = words.split(' ').collect();
    match words.as_slice() {
        ["X25519", share] => share.len() == KEY_CHARS && body == KEY_CHARS,
        ["scrypt", salt, work] => {
            salt.len() == 22 && work.bytes().all(|byte| byte.is_ascii_digit()) && body == KEY_CHARS
        }
        words => words
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic())),
    }
}
