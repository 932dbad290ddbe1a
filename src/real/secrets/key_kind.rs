//! Finds out what a private key of ssh is, from its bytes.
//!
//! Every field is where it must be, and is as long as it says. Bytes that are left over make it no key. A key whose parts
//! contradict each other is damaged. Forms: OpenSSH's own (`PROTOCOL.key`, and `sshkey_private_deserialize` for the fields),
//! and DER of PKCS #1 (RFC 8017), SEC 1 (RFC 5915) and PKCS #8 (RFC 5958).
//!
//! `secrets::key_text` reads the text around the bytes, and says which kinds are accepted.

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::real) enum KeyKind {
    /// With so many bits.
    Rsa(usize),
    Ed25519,
    /// In the form of PKCS #8, which OpenSSH knows since 9.6.
    Ed25519InPkcs8,
    Ecdsa,
    Dsa,
    /// Its private half is in a device.
    SecurityKey,
}

/// Between the dashes of a private key: what its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::real) enum Form {
    OpenSsh,
    Pkcs1,
    Sec1,
    OfDsa,
    Pkcs8,
}

const CUT: &str = "it is incomplete, or it is not a private key; copy it again";
const DAMAGED: &str = "it is damaged: its private part does not match its public part; copy it again";
const UNKNOWN: &str = "ssh does not support this kind of key; make one with ssh-keygen -t ed25519";
pub(in crate::real) const ENCRYPTED: &str = "it is encrypted with a passphrase, and nobody can enter one where it is used; make a copy without a passphrase: ssh-keygen -p -N '' -f COPY";
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Object identifiers, in DER.
const OID_RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const OID_DSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x38, 0x04, 0x01];
const OID_ED25519: &[u8] = &[0x2B, 0x65, 0x70];
/// NIST P-256, P-384, P-521, and how long a number of each is.
const CURVES: [(&[u8], &[u8], usize); 3] = [
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07], b"nistp256", 32),
    (&[0x2B, 0x81, 0x04, 0x00, 0x22], b"nistp384", 48),
    (&[0x2B, 0x81, 0x04, 0x00, 0x23], b"nistp521", 66),
];
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// The kind of a key in one of the forms.
pub(in crate::real) fn of(form: Form, content: &[u8]) -> Result<KeyKind, &'static str> {
    match form {
        Form::OpenSsh => openssh(content),
        Form::Pkcs1 => whole(content, SEQUENCE).and_then(pkcs1).ok_or(CUT),
        Form::Sec1 => sec1(whole(content, SEQUENCE).ok_or(CUT)?, None),
        Form::OfDsa => whole(content, SEQUENCE).map(|_| KeyKind::Dsa).ok_or(CUT),
        Form::Pkcs8 => pkcs8(whole(content, SEQUENCE).ok_or(CUT)?),
    }
}

/// The next value: its tag and its content.
fn value<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, after) = rest.split_first()?;
    let (length, after) = after.split_first()?;
    let (length, after) = match length {
        0..=0x7F => (usize::from(*length), after),
        0x81 | 0x82 => {
            let (bytes, after) = after.split_at_checked(usize::from(length & 0x0F))?;
            (
                bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                after,
            )
        }
        _ => return None,
    };
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((*tag, content))
}

/// The next value, which has this tag.
fn tagged<'a>(rest: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    let (tag, content) = value(rest)?;
    (tag == wanted).then_some(content)
}

/// One value of this tag, and nothing behind it.
fn whole(content: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = content;
    let inner = tagged(&mut rest, tag)?;
    rest.is_empty().then_some(inner)
}

/// Bits of a number without its leading zeros.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    match number.get(zeros..) {
        Some([first, rest @ ..]) => 8 - first.leading_zeros() as usize + rest.len() * 8,
        Some([]) | None => 0,
    }
}

/// Version, modulus and seven more numbers.
fn pkcs1(inner: &[u8]) -> Option<KeyKind> {
    let mut rest = inner;
    let version = tagged(&mut rest, INTEGER)?;
    let modulus = tagged(&mut rest, INTEGER)?;
    for _ in 0..7 {
        tagged(&mut rest, INTEGER).filter(|number| bits(number) > 0)?;
    }
    (version == [0] && rest.is_empty() && bits(modulus) > 0).then_some(KeyKind::Rsa(bits(modulus)))
}

/// Version, number, and what says the curve; `curve`: it was said before.
fn sec1(inner: &[u8], curve: Option<&[u8]>) -> Result<KeyKind, &'static str> {
    let mut rest = inner;
    let version = tagged(&mut rest, INTEGER).ok_or(CUT)?;
    let number = tagged(&mut rest, OCTETS).ok_or(CUT)?;
    let mut said = None;
    while !rest.is_empty() {
        match value(&mut rest).ok_or(CUT)? {
            (0xA0, parameters) => said = whole(parameters, OID),
            (0xA1, _) => {}
            _ => return Err(CUT),
        }
    }
    let curve = curve.or(said).ok_or(UNKNOWN)?;
    let (_, _, length) = CURVES.iter().find(|(oid, _, _)| *oid == curve).ok_or(UNKNOWN)?;
    if version == [1] && number.len() <= *length && bits(number) > 0 {
        Ok(KeyKind::Ecdsa)
    } else {
        Err(CUT)
    }
}

/// Version, what the key is for, the key.
fn pkcs8(inner: &[u8]) -> Result<KeyKind, &'static str> {
    let mut rest = inner;
    let version = tagged(&mut rest, INTEGER).ok_or(CUT)?;
    let mut algorithm = tagged(&mut rest, SEQUENCE).ok_or(CUT)?;
    let key = tagged(&mut rest, OCTETS).ok_or(CUT)?;
    if !matches!(version, [0] | [1]) {
        return Err(CUT);
    }
    match tagged(&mut algorithm, OID).ok_or(CUT)? {
        OID_RSA => whole(key, SEQUENCE).and_then(pkcs1).ok_or(CUT),
        OID_EC => {
            let curve = whole(algorithm, OID).ok_or(UNKNOWN)?;
            sec1(whole(key, SEQUENCE).ok_or(CUT)?, Some(curve))
        }
        OID_ED25519 => whole(key, OCTETS)
            .filter(|seed| seed.len() == 32)
            .map(|_| KeyKind::Ed25519InPkcs8)
            .ok_or(CUT),
        OID_DSA => Ok(KeyKind::Dsa),
        _ => Err(UNKNOWN),
    }
}

/// A part with its length before it.
fn part<'a>(content: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = content.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *content = rest;
    Some(part)
}

/// `openssh-key-v1`, cipher, derivation and its settings, number of keys, public key, private part.
fn openssh(content: &[u8]) -> Result<KeyKind, &'static str> {
    let mut rest = content.strip_prefix(MAGIC).ok_or(CUT)?;
    let cipher = part(&mut rest).ok_or(CUT)?;
    let (derivation, _settings) = (part(&mut rest).ok_or(CUT)?, part(&mut rest).ok_or(CUT)?);
    if cipher != b"none" || derivation != b"none" {
        return Err(ENCRYPTED);
    }
    let (count, after) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    if *count != [0, 0, 0, 1] {
        return Err("it must have exactly one key");
    }
    rest = after;
    let public = part(&mut rest).ok_or(CUT)?;
    let private = part(&mut rest).ok_or(CUT)?;
    // Blocks of the cipher that is none.
    if !rest.is_empty() || !private.len().is_multiple_of(8) {
        return Err(CUT);
    }
    let (one, private) = private.split_first_chunk::<4>().ok_or(CUT)?;
    let (two, mut private) = private.split_first_chunk::<4>().ok_or(CUT)?;
    if one != two {
        return Err(DAMAGED);
    }
    let (kind, of_public) = fields(&mut private)?;
    let mut seen = public;
    let is_same = of_public.iter().all(|field| part(&mut seen) == Some(*field));
    if kind == KeyKind::SecurityKey {
        return Ok(kind);
    }
    if !is_same || !seen.is_empty() {
        return Err(DAMAGED);
    }
    let _comment = part(&mut private).ok_or(CUT)?;
    let is_padding = private.len() < 8 && private.iter().zip(1_u8..).all(|(byte, count)| *byte == count);
    match is_padding {
        true => Ok(kind),
        false => Err("it is damaged: its padding is not as ssh-keygen writes it; copy it again"),
    }
}

/// The fields of a private key, and those of them that the public key has, in its order.
fn fields<'a>(private: &mut &'a [u8]) -> Result<(KeyKind, Vec<&'a [u8]>), &'static str> {
    let name = part(private).ok_or(CUT)?;
    let mut next = || part(private).ok_or(CUT);
    match name {
        b"ssh-ed25519" => {
            let (public, pair) = (next()?, next()?);
            match pair.split_at_checked(32) {
                Some((_, again)) if again == public && public.len() == 32 => {
                    Ok((KeyKind::Ed25519, vec![name, public]))
                }
                Some(_) | None => Err(DAMAGED),
            }
        }
        b"ssh-rsa" => {
            let (modulus, exponent) = (next()?, next()?);
            for _ in 0..4 {
                if bits(next()?) == 0 {
                    return Err(DAMAGED);
                }
            }
            Ok((KeyKind::Rsa(bits(modulus)), vec![name, exponent, modulus]))
        }
        b"ssh-dss" => Ok((KeyKind::Dsa, {
            let numbers = vec![name, next()?, next()?, next()?, next()?];
            next()?;
            numbers
        })),
        name if name.starts_with(b"sk-") => Ok((KeyKind::SecurityKey, vec![name])),
        name if name.starts_with(b"ecdsa-sha2-") => {
            let (curve, point, number) = (next()?, next()?, next()?);
            let known = CURVES.iter().find(|(_, known, _)| *known == curve);
            let (_, _, length) = known.ok_or(UNKNOWN)?;
            let is_right = name.strip_prefix(b"ecdsa-sha2-") == Some(curve)
                && point.len() == 2 * length + 1
                && (1..=length * 8).contains(&bits(number));
            match is_right {
                true => Ok((KeyKind::Ecdsa, vec![name, curve, point])),
                false => Err(DAMAGED),
            }
        }
        _ => Err(UNKNOWN),
    }
}
