//! Keys as text.
//!
//! An accepted key is one that its program can load. The form is checked before the first write, because a host without a
//! working key cannot pull its configuration. What editors and copying put around a key (a byte order mark, line ends of
//! Windows, blank lines) is removed. Everything else is refused, with what to do, and never repeated. Forms: OpenSSH's own
//! and PEM of RFC 7468 for ssh; an identity file of age, or an ssh key of a kind that age accepts, for age. Whether a server
//! accepts the key is not checked here.
//!
//! `secrets::key_kind` reads what is between the lines of a key, and `secrets::age_text` what is in an identity.

use crate::real::fs::target_root;
use crate::real::secret::Secret;
use crate::real::secrets::age_text;
use crate::real::secrets::key_kind::{self, ENCRYPTED, Form, KeyKind};
use landfall_states::fault::{Fault, SecretFault};
use secrecy::ExposeSecret;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// What stands between the dashes of a private key, and its form.
const LABELS: [(&str, Form); 5] = [
    ("OPENSSH PRIVATE KEY", Form::OpenSsh),
    ("RSA PRIVATE KEY", Form::Pkcs1),
    ("EC PRIVATE KEY", Form::Sec1),
    ("DSA PRIVATE KEY", Form::OfDsa),
    ("PRIVATE KEY", Form::Pkcs8),
];
/// The shortest modulus that ssh takes, and the shortest that age encrypts to, in bits.
const RSA_BITS_MIN: usize = 1_024;
const RSA_BITS_MIN_OF_AGE: usize = 2_048;
const NO_TEXT: &str = "it is UTF-16, or it is not text; save it as UTF-8";
const WANTED: &str = "it is not a private key from ssh-keygen; the first line of one is -----BEGIN OPENSSH PRIVATE KEY----- or another BEGIN … PRIVATE KEY";

/// A private key for ssh.
///
/// # Errors
/// It is none, or is encrypted; `what` says where it came from.
pub fn ssh(bytes: &Secret, what: &str) -> Result<Secret, Fault> {
    let text = plain(bytes, what)?;
    judged(text.expose_secret(), what, judge_ssh)?;
    Ok(text)
}

/// An identity for age. Its text is kept as it is where nothing is wrong with it.
///
/// # Errors
/// It is none; `what` says where it came from.
pub fn age(bytes: &Secret, what: &str) -> Result<Secret, Fault> {
    let text = plain(bytes, what)?;
    judged(text.expose_secret(), what, judge_age)?;
    Ok(text)
}

fn judged(bytes: &[u8], what: &str, judge: fn(&str) -> Result<(), Reason>) -> Result<(), Fault> {
    let found = match std::str::from_utf8(bytes) {
        Ok(text) => judge(text),
        Err(_) => Err("it is not UTF-8 text; save it as UTF-8".into()),
    };
    match found {
        Ok(()) => Ok(()),
        Err(Reason::Bad(reason)) => Err(unusable(what, reason)),
        Err(Reason::Memory(e)) => Err(target_root::io_fault(what, &e)),
    }
}

/// Why a text is no key.
#[derive(Debug)]
enum Reason {
    Bad(&'static str),
    Memory(std::io::Error),
}

impl From<&'static str> for Reason {
    fn from(reason: &'static str) -> Self {
        Reason::Bad(reason)
    }
}

fn unusable(what: &str, reason: &str) -> Fault {
    SecretFault::Unusable {
        on: what.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

/// The text of a file that is no secret: without a byte order mark.
///
/// # Errors
/// It is no text in UTF-8; `what` says where it came from.
pub fn text<'b>(bytes: &'b [u8], what: &str) -> Result<&'b str, Fault> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) || bytes.contains(&0) {
        return Err(unusable(what, NO_TEXT));
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| unusable(what, "it is not UTF-8 text; save it as UTF-8"))
}

/// Without a byte order mark, blank lines around it, and the line ends of Windows; with a line end at the end, without which ssh
/// takes no key file, and which some ways to hand over credentials lose.
fn plain(bytes: &Secret, what: &str) -> Result<Secret, Fault> {
    let raw = bytes.expose_secret();
    if raw.starts_with(age_text::HEADER.as_bytes()) {
        return Err(unusable(
            what,
            "it is a binary age file, which cannot be copied as text; make it with age -a (--armor)",
        ));
    }
    if raw.starts_with(&[0xFF, 0xFE]) || raw.starts_with(&[0xFE, 0xFF]) || raw.contains(&0) {
        return Err(unusable(what, NO_TEXT));
    }
    let raw = raw.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(raw).trim_ascii();
    if raw.is_empty() {
        return Err(unusable(what, "it is empty"));
    }
    let made = || -> std::io::Result<Secret> {
        let mut text = Secret::with_room(raw.len() + 1)?;
        for line in raw.split(|byte| *byte == b'\n') {
            text.push(line.strip_suffix(b"\r").unwrap_or(line))?;
            text.push(b"\n")?;
        }
        Ok(text)
    };
    made().map_err(|e| target_root::io_fault(what, &e))
}

/// What ssh loads without anybody at hand, on the installer and on a host with a newer OpenSSH.
fn judge_ssh(text: &str) -> Result<(), Reason> {
    match kind(text)? {
        KeyKind::Ed25519 | KeyKind::Ecdsa => Ok(()),
        KeyKind::Rsa(bits) if bits >= RSA_BITS_MIN => Ok(()),
        KeyKind::Rsa(_) => Err("it is an RSA key of less than 1024 bits, which ssh refuses; make one with ssh-keygen -t ed25519".into()),
        KeyKind::Dsa => Err("it is a DSA key, which OpenSSH 10.0 and newer do not support; make one with ssh-keygen -t ed25519".into()),
        KeyKind::SecurityKey => Err(
            "its private part is in a security key that must be touched, and nobody is there where it is used; make another key with ssh-keygen -t ed25519"
                .into(),
        ),
        KeyKind::Ed25519InPkcs8 => Err(
            "it is an Ed25519 key in PKCS #8 format, which OpenSSH before 9.6 cannot read; convert it with OpenSSH 9.6 or newer: ssh-keygen -p -N '' -f COPY"
                .into(),
        ),
    }
}

/// What key it is, where it is whole.
fn kind(text: &str) -> Result<KeyKind, Reason> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("PuTTY-User-Key-File") {
        return Err(
            "it is a PuTTY key, which ssh cannot read; convert it: puttygen FILE -O private-openssh -o NEW"
                .into(),
        );
    }
    if first.starts_with("ssh-")
        || first.starts_with("ecdsa-")
        || first.starts_with("sk-")
        || first.starts_with("---- BEGIN SSH2 PUBLIC")
        || first.starts_with(BEGIN) && first.contains("PUBLIC KEY")
    {
        return Err(
            "it is a public key; the private key is in the file with the same name without .pub".into(),
        );
    }
    if text.contains('\r') {
        return Err("its lines end with a carriage return only; save it with Unix line ends".into());
    }
    if text.contains(BEGIN)
        && text
            .lines()
            .any(|line| line.starts_with([' ', '\t']) || line.ends_with([' ', '\t']))
    {
        return Err(
            "some of its lines begin or end with spaces, as in indented text; remove the spaces".into(),
        );
    }
    if first.contains("\\n") {
        return Err("its line ends are written as \\n; put each line on a separate line".into());
    }
    let label = first
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(DASHES))
        .ok_or(WANTED)?;
    if label == "ENCRYPTED PRIVATE KEY" {
        return Err(ENCRYPTED.into());
    }
    let (_, form) = LABELS.iter().find(|(known, _)| *known == label).ok_or(WANTED)?;
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    let last = lines.pop().unwrap_or_default();
    if last != format!("{END}{label}{DASHES}") {
        return Err(
            "it is incomplete, or something follows it: its last line is not the last line of a private key"
                .into(),
        );
    }
    if lines.iter().any(|line| line.starts_with(DASHES)) {
        return Err("it has more than one key; keep one".into());
    }
    // Headers of PEM (RFC 1421) are those of an encrypted key.
    if lines
        .iter()
        .any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    {
        return Err(ENCRYPTED.into());
    }
    let content = decoded(&lines)?;
    key_kind::of(*form, content.expose_secret()).map_err(Reason::from)
}

/// The bytes of lines in base 64 (RFC 4648).
fn decoded(lines: &[&str]) -> Result<Secret, Reason> {
    const BAD: &str = "a line of it has a character that no key has; copy it again, line by line";
    let digits: usize = lines.iter().map(|line| line.len()).sum();
    let mut content = Secret::with_room(digits / 4 * 3 + 3).map_err(Reason::Memory)?;
    let (mut bits, mut count, mut padding) = (0_u32, 0_u32, 0_usize);
    for byte in lines.iter().flat_map(|line| line.bytes()) {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return Err(BAD.into()),
        };
        if padding > 0 {
            return Err(BAD.into());
        }
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            let whole = (bits >> count) as u8;
            bits &= (1 << count) - 1;
            content.push(&[whole]).map_err(Reason::Memory)?;
        }
    }
    if !digits.is_multiple_of(4) || padding > 2 || bits != 0 {
        return Err("it is incomplete; copy it again".into());
    }
    Ok(content)
}

fn judge_age(text: &str) -> Result<(), Reason> {
    let first = text.lines().next().unwrap_or_default();
    // It may be encrypted with a passphrase, or for another identity, and be decrypted on the host.
    if first == age_text::ARMOR {
        let content = decoded(&age_text::armored(text)?)?;
        return age_text::judge_file(content.expose_secret()).map_err(Reason::from);
    }
    if !first.trim_start().starts_with(BEGIN) {
        return age_text::judge_lines(text).map_err(Reason::from);
    }
    match kind(text)? {
        KeyKind::Ed25519 | KeyKind::Ed25519InPkcs8 => Ok(()),
        KeyKind::Rsa(bits) if bits >= RSA_BITS_MIN_OF_AGE => Ok(()),
        KeyKind::Rsa(_) => Err("it is an RSA key of less than 2048 bits, which age does not accept; make one with ssh-keygen -t ed25519".into()),
        KeyKind::Ecdsa | KeyKind::Dsa | KeyKind::SecurityKey => Err(
            "age accepts SSH keys of type RSA or Ed25519, and this key has another type; use such a key, or one from age-keygen"
                .into(),
        ),
    }
}
