//! What one guess at a passphrase costs, read back from the LUKS2 header.
//!
//! libcryptsetup silently uses less memory on small or slow machines. landfall reads the real value back and reports it. A
//! value below the configured minimum is refused while the container is still provisional. Source: LUKS2 on-disk format,
//! sections 2.1 and 3.2.
//!
//! `volume::luks` makes the container.

use camino::Utf8Path;
use landfall_states::fault::{Fault, SecretFault};
use landfall_states::names::Size;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

/// What `cryptsetup` takes where nothing forces less, in KiB.
pub const MEMORY_KIB_USUAL: u32 = 1 << 20;
/// Bytes of the binary header, behind which the description lies.
const BINARY_BYTES: u64 = 4096;
/// Largest LUKS2 header.
const HEADER_BYTES_MAX: u64 = 4 << 20;

/// The cost of one key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// `argon2id`, `argon2i` or `pbkdf2`.
    pub kind: String,
    /// Memory in KiB; none with `pbkdf2`.
    pub memory_kib: u32,
    /// Passes over it, or iterations.
    pub passes: u64,
    /// Threads.
    pub threads: u32,
}

impl fmt::Display for Derivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Derivation {
            kind,
            memory_kib,
            passes,
            threads,
        } = self;
        write!(
            f,
            "{kind}, {} of memory, {passes} passes, {threads} threads",
            mebibytes(*memory_kib)
        )
    }
}

fn mebibytes(kib: u32) -> String {
    if kib < 1 << 10 {
        format!("{kib} KiB")
    } else {
        format!("{} MiB", kib >> 10)
    }
}

/// The cheapest key slot of the first header on a device; `None` when there is none that can be read.
///
/// # Errors
/// The device cannot be read.
pub fn read(device: &Utf8Path) -> io::Result<Option<Derivation>> {
    let mut file = fs_err::File::open(device)?;
    let mut binary = [0_u8; 16];
    file.read_exact(&mut binary)?;
    let (magic, rest) = binary.split_at(8);
    let bytes = rest.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if magic != b"LUKS\xba\xbe\0\x02" || !(BINARY_BYTES..=HEADER_BYTES_MAX).contains(&bytes) {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(BINARY_BYTES))?;
    file.take(bytes - BINARY_BYTES).read_to_end(&mut text)?;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    Ok(parse(&text[..end]))
}

/// The cheapest key slot of a description.
pub fn parse(text: &[u8]) -> Option<Derivation> {
    let description: serde_json::Value = match serde_json::from_slice(text) {
        Ok(description) => description,
        Err(error) => {
            tracing::warn!(%error, "the description of a LUKS2 container");
            return None;
        }
    };
    let slots = description.get("keyslots")?.as_object()?;
    slots
        .values()
        .filter_map(|slot| {
            let kdf = slot.get("kdf")?;
            let number = |name: &str| kdf.get(name).and_then(serde_json::Value::as_u64);
            Some(Derivation {
                kind: kdf.get("type")?.as_str()?.to_owned(),
                memory_kib: u32::try_from(number("memory").unwrap_or(0)).unwrap_or(u32::MAX),
                passes: number("time").or(number("iterations"))?,
                threads: u32::try_from(number("cpus").unwrap_or(1)).unwrap_or(u32::MAX),
            })
        })
        .min_by_key(|derivation| (derivation.memory_kib, derivation.passes))
}

/// Refuses less memory than the configuration's least.
///
/// # Errors
/// It takes less.
pub fn check(on: &str, found: Option<&Derivation>, least: Option<Size>) -> Result<(), Fault> {
    let Some(least) = least else {
        return Ok(());
    };
    let found_kib = found.map_or(0, |found| u64::from(found.memory_kib));
    if found_kib >= least.bytes() >> 10 {
        return Ok(());
    }
    Err(SecretFault::WeakDerivation {
        of: on.to_owned(),
        found: found.map_or_else(|| "none that can be read".to_owned(), ToString::to_string),
        least: least.to_string(),
    }
    .into())
}

/// A word where the machine forced less than usual.
pub fn notice(found: &Derivation) -> Option<String> {
    (found.memory_kib < MEMORY_KIB_USUAL).then(|| {
        format!(
            "one guess at the passphrase needs {} of memory, less than the usual 1024 MiB, because this machine has little memory or is slow for luks.iteration_time_ms (set luks.memory_min to refuse this)",
            mebibytes(found.memory_kib)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_states::fault::FaultClass;
    use proptest::prelude::*;

    /// `cryptsetup luksDump --dump-json-metadata` of cryptsetup 2.6.1 on a machine of 24 GiB, and of one of 1 GiB; shortened.
    const USUAL: &str = r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"kdf":{"type":"argon2id","time":6,"memory":1048576,"cpus":2,"salt":"x"}}},"tokens":{}}"#;
    const SMALL: &str = r#"{"keyslots":{"0":{"kdf":{"type":"argon2id","time":4,"memory":482172,"cpus":1,"salt":"x"}},
        "1":{"kdf":{"type":"argon2id","time":6,"memory":1048576,"cpus":2,"salt":"x"}}}}"#;
    const PBKDF2: &str =
        r#"{"keyslots":{"0":{"kdf":{"type":"pbkdf2","hash":"sha256","iterations":1000000,"salt":"x"}}}}"#;

    #[test]
    fn the_cheapest_slot_counts() {
        let of = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(
            of(USUAL).to_string(),
            "argon2id, 1024 MiB of memory, 6 passes, 2 threads"
        );
        assert_eq!(notice(&of(USUAL)), None);
        assert_eq!(of(SMALL).memory_kib, 482_172);
        assert!(
            notice(&of(SMALL)).unwrap().contains("470 MiB"),
            "{:?}",
            notice(&of(SMALL))
        );
        assert_eq!(
            of(PBKDF2).to_string(),
            "pbkdf2, 0 KiB of memory, 1000000 passes, 1 threads"
        );
        for none in ["", "{}", r#"{"keyslots":{}}"#, r#"{"keyslots":{"0":{}}}"#] {
            assert_eq!(parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn less_than_the_least_is_refused_and_nothing_is_asked_without_one() {
        let small = parse(SMALL.as_bytes());
        let least = |text: &str| Some(text.parse::<Size>().unwrap());
        check("x", small.as_ref(), None).unwrap();
        check("x", small.as_ref(), least("470M")).unwrap();
        for (found, text) in [(small.as_ref(), "471M"), (small.as_ref(), "1G"), (None, "1M")] {
            let fault = check("x", found, least(text)).unwrap_err();
            assert_eq!(fault.class, FaultClass::NeedsChange);
            assert!(fault.why().contains(text), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..200), memory in any::<u64>()) {
            parse(&text);
            let made = format!(r#"{{"keyslots":{{"0":{{"kdf":{{"type":"argon2id","time":1,"memory":{memory}}}}}}}}}"#);
            prop_assert!(parse(made.as_bytes()).is_some());
        }
    }
}
