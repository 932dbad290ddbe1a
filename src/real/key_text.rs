//! Keys as text. Law: a key that is taken is one that its program can load: the form is looked at before the first write, for a host
//! without a key that works cannot pull its configuration. What editors and copying put around a key (a byte order mark, line ends of
//! Windows, blank lines) is left out; everything else is refused, with what to do, and never repeated.
//!
//! Forms: OpenSSH's own (`PROTOCOL.key` of OpenSSH) and PEM of RFC 7468 for ssh; an identity file of age, or an ssh key, for age.
//!
//! Absent: where keys come from and go to (`secrets`, `provision`), and whether anybody lets them in.

use crate::real::rooted;
use crate::real::secret::Secret;
use landfall_states::fault::{Fault, SecretFault};
use secrecy::ExposeSecret;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// What stands between the dashes of a private key, and whether its content is in DER (ITU-T X.690).
const LABELS: [(&str, bool); 5] = [
    ("OPENSSH PRIVATE KEY", false),
    ("RSA PRIVATE KEY", true),
    ("EC PRIVATE KEY", true),
    ("DSA PRIVATE KEY", true),
    ("PRIVATE KEY", true),
];
const MAGIC: &[u8] = b"openssh-key-v1\0";
const ENCRYPTED: &str = "it is encrypted with a passphrase, which nobody enters where it is used; make a copy without one: \
                         ssh-keygen -p -N '' -f COPY";
const WANTED: &str = "it is no private key as ssh-keygen writes one: its first line is -----BEGIN OPENSSH PRIVATE KEY----- or another \
                      BEGIN … PRIVATE KEY";

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
        Err(_) => Err("it is not text in UTF-8; save it as UTF-8".into()),
    };
    match found {
        Ok(()) => Ok(()),
        Err(Reason::Bad(reason)) => Err(unusable(what, reason)),
        Err(Reason::Memory(e)) => Err(rooted::io_fault(what, &e)),
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

/// Without a byte order mark, blank lines around it, and the line ends of Windows; with a line end at the end, without which ssh
/// takes no key file, and which some ways to hand over credentials lose.
fn plain(bytes: &Secret, what: &str) -> Result<Secret, Fault> {
    let raw = bytes.expose_secret();
    if raw.starts_with(&[0xFF, 0xFE]) || raw.starts_with(&[0xFE, 0xFF]) || raw.contains(&0) {
        return Err(unusable(
            what,
            "it is UTF-16, or no text at all; save it as UTF-8",
        ));
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
    made().map_err(|e| rooted::io_fault(what, &e))
}

fn judge_ssh(text: &str) -> Result<(), Reason> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("PuTTY-User-Key-File") {
        return Err(
            "it is a key of PuTTY, which ssh does not take; convert it: puttygen FILE -O private-openssh -o NEW".into(),
        );
    }
    if first.starts_with("ssh-")
        || first.starts_with("ecdsa-")
        || first.starts_with("sk-")
        || first.starts_with("---- BEGIN SSH2 PUBLIC")
        || first.starts_with(BEGIN) && first.contains("PUBLIC KEY")
    {
        return Err("it is a public key; the private key is the file of the same name without .pub".into());
    }
    if text.contains('\r') {
        return Err("its lines end with a carriage return alone; save it with line ends of Unix".into());
    }
    if first.contains("\\n") {
        return Err("its line ends are written as \\n; write each line as a line of its own".into());
    }
    let label = first
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(DASHES))
        .ok_or(WANTED)?;
    if label == "ENCRYPTED PRIVATE KEY" {
        return Err(ENCRYPTED.into());
    }
    let (_, is_der) = LABELS.iter().find(|(known, _)| *known == label).ok_or(WANTED)?;
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    let last = lines.pop().unwrap_or_default();
    if last != format!("{END}{label}{DASHES}") {
        return Err(
            "it is cut off, or something follows it: its last line is not that of a private key".into(),
        );
    }
    if lines.iter().any(|line| line.starts_with(DASHES)) {
        return Err("it has more than one key; give one".into());
    }
    // Headers of PEM (RFC 1421) are those of an encrypted key.
    if lines
        .iter()
        .any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    {
        return Err(ENCRYPTED.into());
    }
    let content = decoded(&lines)?;
    let content = content.expose_secret();
    if *is_der {
        judge_der(content)
    } else {
        judge_openssh(content)
    }
}

/// The bytes of lines in base 64 (RFC 4648).
fn decoded(lines: &[&str]) -> Result<Secret, Reason> {
    const BAD: &str = "a line of it has something that no key has; copy it anew, line by line";
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
        return Err("it is cut off, or a part of it is missing; copy it anew".into());
    }
    Ok(content)
}

/// One sequence that is as long as it says.
fn judge_der(content: &[u8]) -> Result<(), Reason> {
    const CUT: &str = "it is cut off, or no private key; copy it anew";
    let (tag, rest) = content.split_first().ok_or(CUT)?;
    let (length, rest) = rest.split_first().ok_or(CUT)?;
    let (length, rest) = match length {
        0..=0x7F => (usize::from(*length), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x0F)).ok_or(CUT)?;
            (
                bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return Err(CUT.into()),
    };
    if *tag != 0x30 || length != rest.len() || length < 16 {
        return Err(CUT.into());
    }
    Ok(())
}

/// A part with its length before it.
fn part<'a>(content: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = content.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *content = rest;
    Some(part)
}

/// `openssh-key-v1`, cipher, derivation and its settings, number of keys, public key, private part.
fn judge_openssh(content: &[u8]) -> Result<(), Reason> {
    const CUT: &str = "it is cut off, or no private key of OpenSSH; copy it anew";
    let mut rest = content.strip_prefix(MAGIC).ok_or(CUT)?;
    let cipher = part(&mut rest).ok_or(CUT)?;
    let (_derivation, _settings) = (part(&mut rest).ok_or(CUT)?, part(&mut rest).ok_or(CUT)?);
    if cipher != b"none" {
        return Err(ENCRYPTED.into());
    }
    let (count, after) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    if *count != [0, 0, 0, 1] {
        return Err("it has more than one key, or none; give one".into());
    }
    rest = after;
    let mut public = part(&mut rest).ok_or(CUT)?;
    let private = part(&mut rest).ok_or(CUT)?;
    let (one, private) = private.split_first_chunk::<4>().ok_or(CUT)?;
    let (two, mut private) = private.split_first_chunk::<4>().ok_or(CUT)?;
    let kind = part(&mut public).ok_or(CUT)?;
    if !rest.is_empty() || one != two || part(&mut private) != Some(kind) {
        return Err("it is damaged: its private part does not belong to its public one; copy it anew".into());
    }
    Ok(())
}

fn judge_age(text: &str) -> Result<(), Reason> {
    let first = text.lines().next().unwrap_or_default();
    // It may be encrypted with a passphrase, or for another identity, and be decrypted on the host.
    if first == "age-encryption.org/v1" || first == "-----BEGIN AGE ENCRYPTED FILE-----" {
        return Ok(());
    }
    if first.starts_with(BEGIN) {
        return judge_ssh(text);
    }
    let mut identities = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    if identities.peek().is_some_and(|line| line.starts_with("age1")) {
        return Err(
            "it is a public key of age (a recipient); the identity begins with AGE-SECRET-KEY-".into(),
        );
    }
    let is_identity = |line: &str| {
        ["AGE-SECRET-KEY-", "AGE-PLUGIN-"].iter().any(|begin| {
            line.strip_prefix(begin).is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
        })
    };
    if identities.peek().is_none() || !identities.all(is_identity) {
        return Err(
            "it is no identity of age: each line is AGE-SECRET-KEY-… or AGE-PLUGIN-…, or a comment after #; or it is a private key of ssh"
                .into(),
        );
    }
    Ok(())
}
