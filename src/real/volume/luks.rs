//! The LUKS2 container.
//!
//! The planned UUID is set last, after a trial showed that the passphrase opens what is durable. The cipher is the one that
//! every NixOS opens; it cannot be chosen. There are no tokens and no discards while installing, and no copy of the
//! passphrase outlives a call.

use crate::event::Reporter;
use crate::real::process::stop::Stop;
use crate::real::secret::SecretText;
use crate::real::volume::block_io::{flush, io_fault};
use crate::real::volume::cryptsetup::{Context, mapper_path, os_error, serial, text};
use crate::real::volume::device_mapper;
use crate::real::volume::key_derivation::{self, Derivation};
use crate::real::volume::probe::probe;
use camino::{Utf8Path, Utf8PathBuf};
use cryptsetup_rs::api::crypt_pbkdf_algo_type;
use cryptsetup_rs::device as crypt;
use fs_err as fs;
use landfall_states::authentic::RecordKey;
use landfall_states::fault::{Fault, SecretFault};
use landfall_states::names::{Size, quoted};
use landfall_states::plan::Volume;
use landfall_states::{Probe, Signature};
use libcryptsetup_sys as sys;
use nix::libc;
use secrecy::ExposeSecret;
use std::io::{Read, Seek, SeekFrom};
use uuid::Uuid;

/// How often a person may enter a passphrase that does not open the container, in one run.
pub const WRONG_ENTRIES_MAX: u32 = 3;
/// Where the label lies in the primary binary header, and its length (LUKS2 on-disk format, section 2.1).
const LABEL_AT: (u64, usize) = (24, 48);
/// "Benchmark nothing, take my numbers" (`CRYPT_PBKDF_NO_BENCHMARK`).
const NO_BENCHMARK: u32 = 1 << 1;

/// What a container's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its label.
    pub label: String,
    /// Key slots in use.
    pub keyslots: u8,
}

/// A header in words.
pub fn seen(header: Option<&Header>) -> String {
    match header {
        Some(Header {
            uuid,
            label,
            keyslots,
        }) => format!("{uuid}, label {}, {keyslots} key slots", quoted(label)),
        None => "none that can be read".to_owned(),
    }
}

/// What one guess at the passphrase shall cost (argon2id).
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Time on this machine, in milliseconds, found by a benchmark.
    pub time_ms: u32,
    /// Memory at most, in KiB. libcryptsetup takes no more than half of what the machine has.
    pub memory_kib_max: u32,
    /// Threads at most.
    pub threads_max: u32,
    /// Exactly so many iterations, without a benchmark (tests).
    pub iterations: Option<u32>,
    /// The least memory: where the machine forces less, that is refused.
    pub memory_min: Option<Size>,
}

impl Cost {
    /// What `cryptsetup` does by default, for so long a time: 1 GiB, 4 threads.
    pub fn of(time_ms: u32, memory_min: Option<Size>) -> Self {
        Cost {
            time_ms,
            memory_kib_max: key_derivation::MEMORY_KIB_USUAL,
            threads_max: 4,
            iterations: None,
            memory_min,
        }
    }
}

/// The header on a device; `None` when there is none that libcryptsetup can read. Loading repairs a torn copy of the
/// header from the other one: look with this first and with the prober after.
///
/// # Errors
/// The device cannot be read.
pub async fn header(device: &Utf8Path) -> Result<Option<Header>, Fault> {
    let what = format!("LUKS header on {device}");
    let label = read_label(device).map_err(|e| io_fault(what.clone(), &e))?;
    let path = device.to_owned();
    serial(what, move || {
        let context = match Context::load(&path) {
            Ok(context) => context,
            Err(crypt::Error::CryptsetupError(code)) if code.0 == libc::EINVAL => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(crypt::uuid(&context.raw).map(|uuid| Header {
            uuid,
            label,
            keyslots: context.keyslots(),
        }))
    })
    .await
}

fn read_label(device: &Utf8Path) -> std::io::Result<String> {
    let mut file = fs::File::open(device)?;
    file.seek(SeekFrom::Start(LABEL_AT.0))?;
    let mut raw = [0; LABEL_AT.1];
    file.read_exact(&mut raw)?;
    let label = raw.split(|b| *b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(label).into_owned())
}

/// Whether the passphrase opens the container. Makes no mapping and needs no device-mapper.
///
/// # Errors
/// libcryptsetup fails otherwise than that no key slot takes it.
pub async fn opens(device: &Utf8Path, passphrase: &SecretText) -> Result<bool, Fault> {
    let (path, passphrase) = (device.to_owned(), passphrase.clone());
    serial(format!("passphrase of {device}"), move || {
        Context::load(&path)?.unlock(None, &passphrase)
    })
    .await
}

/// The key that records are proved with, from the volume key of the container with this UUID. `None`: the passphrase does not open it,
/// which is seen as by [`opens`].
///
/// # Errors
/// libcryptsetup fails otherwise, or the container is another one.
pub async fn record_key(
    device: &Utf8Path,
    id: &Uuid,
    passphrase: &SecretText,
) -> Result<Option<RecordKey>, Fault> {
    let (path, id, passphrase) = (device.to_owned(), *id, passphrase.clone());
    serial(format!("volume key of {device}"), move || {
        Context::load(&path)?.record_key(&passphrase, &id)
    })
    .await
}

/// Makes the container under its provisional UUID with one passphrase. Nothing is flushed.
///
/// # Errors
/// libcryptsetup fails, or the device reports an error.
pub async fn format(
    device: &Utf8Path,
    volume: &Volume,
    passphrase: &SecretText,
    cost: Cost,
) -> Result<(), Fault> {
    let (path, volume, passphrase) = (device.to_owned(), volume.clone(), passphrase.clone());
    serial(format!("LUKS container on {device}"), move || {
        let mut context = Context::new(&path)?;
        let pbkdf = crypt::Luks2FormatPbkdf {
            type_: crypt_pbkdf_algo_type::argon2id,
            hash: "sha256",
            time_ms: if cost.iterations.is_some() {
                0
            } else {
                cost.time_ms
            },
            iterations: cost.iterations.unwrap_or(0),
            max_memory_kb: cost.memory_kib_max,
            parallel_threads: cost.threads_max,
            flags: if cost.iterations.is_some() {
                NO_BENCHMARK
            } else {
                0
            },
        };
        crypt::luks2_format(
            &mut context.raw,
            "aes",
            "xts-plain64",
            512,
            // 0: the library's alignment, and the sector size that suits the device (4,096 where it writes so).
            0,
            0,
            Some(&volume.label),
            None,
            None,
            Some(&volume.provisional),
            Some(&pbkdf),
            None,
        )?;
        let secret = passphrase.expose_secret().as_bytes();
        crypt::luks_add_keyslot(&mut context.raw, secret, None, None).map(|_slot| ())
    })
    .await
}

/// Gives the container another UUID. Nothing is flushed.
///
/// # Errors
/// libcryptsetup fails.
async fn set_uuid(device: &Utf8Path, id: &Uuid) -> Result<(), Fault> {
    let (path, id) = (device.to_owned(), *id);
    serial(format!("UUID of the LUKS container on {device}"), move || {
        let context = Context::load(&path)?;
        let id = text(&id.hyphenated().to_string())?;
        // SAFETY: `raw` is a live, loaded context; the text is NUL-terminated and outlives the call.
        match unsafe { sys::crypt_set_uuid(context.raw, id.as_ptr()) } {
            0 => Ok(()),
            code => Err(os_error(code)),
        }
    })
    .await
}

/// Makes the whole container: provisional, flushed, seen to open and to cost enough; then planned, flushed. What one guess costs.
///
/// # Errors
/// libcryptsetup fails, one guess costs too little, or the device reports an error.
pub async fn make(
    device: &Utf8Path,
    volume: &Volume,
    passphrase: &SecretText,
    cost: Cost,
) -> Result<Option<Derivation>, Fault> {
    format(device, volume, passphrase, cost).await?;
    flush(device)?;
    let wrong = |why: String| {
        Fault::read_back(
            format!("LUKS container on {device}"),
            format!("read-back differs from what was written: {why}"),
        )
    };
    match header(device).await? {
        Some(header)
            if header.uuid == volume.provisional && header.label == volume.label && header.keyslots == 1 => {}
        other => return Err(wrong(format!("the header reads: {}", seen(other.as_ref())))),
    }
    if !opens(device, passphrase).await? {
        return Err(wrong("the passphrase does not open it".into()));
    }
    let what = format!("LUKS container {} on {device}", volume.label);
    let derivation = key_derivation::read(device).map_err(|e| io_fault(what.clone(), &e))?;
    key_derivation::check(&what, derivation.as_ref(), cost.memory_min)?;
    set_uuid(device, &volume.id).await?;
    flush(device)?;
    Ok(derivation)
}

/// Opens the container as `/dev/mapper/<name>`.
///
/// # Errors
/// The passphrase does not open it, the name is somebody else's, or libcryptsetup fails.
pub async fn activate(device: &Utf8Path, name: &str, passphrase: &SecretText) -> Result<Utf8PathBuf, Fault> {
    let (path, mapper, passphrase) = (device.to_owned(), name.to_owned(), passphrase.clone());
    let opened = serial(format!("LUKS container on {device} as {name}"), move || {
        Context::load(&path)?.unlock(Some(&mapper), &passphrase)
    })
    .await?;
    if opened {
        Ok(mapper_path(name))
    } else {
        Err(SecretFault::WrongPassphrase {
            on: format!("LUKS container on {device}"),
        }
        .into())
    }
}

/// What a mapping of our name is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// There is none.
    Nothing,
    /// This container on exactly this device, open.
    Open,
    /// What a killed activation left, or a suspended container of ours: to be removed. In words.
    Left(&'static str),
    /// Somebody else's.
    Foreign,
}

impl Mapped {
    /// Judges a mapping of this name. libcryptsetup gives `CRYPT-LUKS2-<uuid without dashes>-<name>` together with the name, and the table
    /// after that; a mapping without a table holds nothing, so that one without a UUID is nobody's.
    pub fn of(found: Option<&device_mapper::Mapping>, name: &str, id: &Uuid, device: (u64, u64)) -> Self {
        let Some(mapping) = found else {
            return Mapped::Nothing;
        };
        let ours = mapping.uuid == format!("CRYPT-LUKS2-{}-{name}", id.simple());
        let on_ours = mapping.slaves == [format!("{}:{}", device.0, device.1)];
        match (mapping.has_table, mapping.suspended) {
            (false, _) if (ours || mapping.uuid.is_empty()) && (on_ours || mapping.slaves.is_empty()) => {
                Mapped::Left("a name without a table, from an activation that was killed")
            }
            (true, true) if ours && on_ours => Mapped::Left("a suspended mapping"),
            (true, false) if ours && on_ours => Mapped::Open,
            (false | true, _) => Mapped::Foreign,
        }
    }
}

/// Names that libcryptsetup gives to mappings of its own while it works; with the process that made one they lose their meaning.
const TEMPORARY: &str = "temporary-cryptsetup-";

/// Removes mappings that a killed libcryptsetup left on this device under a name of its own. Which they were.
///
/// # Errors
/// Device-mapper does not answer, or refuses.
pub fn remove_temporary(device: (u64, u64)) -> Result<Vec<String>, Fault> {
    let mut removed = vec![];
    for name in device_mapper::names()? {
        if !is_left_behind(&name, |pid| Utf8Path::new("/proc").join(pid).exists()) {
            continue;
        }
        let on = format!("{}:{}", device.0, device.1);
        if device_mapper::find(&name)?.is_some_and(|mapping| mapping.slaves == [on]) {
            device_mapper::remove(&name)?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Whether a name is a temporary one whose process is gone.
fn is_left_behind(name: &str, lives: impl Fn(&str) -> bool) -> bool {
    let Some(rest) = name.strip_prefix(TEMPORARY) else {
        return false;
    };
    let pid = rest.split('-').next().unwrap_or_default();
    !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()) && !lives(pid)
}

/// No memory of this process, nor of a program that it starts, is ever written to a core file, and no other user's process may
/// read it (I15). To be called first in `main`.
///
/// # Errors
/// The kernel refuses.
pub fn no_core_files() -> Result<(), Fault> {
    use nix::sys::resource::{Resource, setrlimit};
    let fault = |e: nix::Error| io_fault("core files", &e.into());
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(fault)?;
    nix::sys::prctl::set_dumpable(false).map_err(fault)
}

/// What the prober and libcryptsetup see on the container's device.
///
/// # Errors
/// The device cannot be read, or `blkid` fails.
pub async fn observe_container(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(Probe, Option<Header>), Fault> {
    let seen = header(device).await?;
    let probe = match (probe(device, reporter, stop).await?, &seen) {
        // libcryptsetup is the one that has to open it: what it reads counts.
        (Probe::Found(found), Some(header)) if found.kind == "crypto_LUKS" => Probe::Found(Signature {
            id: Some(header.uuid.to_string()),
            ..found
        }),
        // A magic without a header that can be read: cut off while being made when it carries the provisional UUID,
        // else a broken container, perhaps a finished one, which is not for us to erase.
        (Probe::Found(found), None)
            if found.kind == "crypto_LUKS"
                && found.id.as_deref() != Some(&volume.provisional.to_string()) =>
        {
            let id = found.id.unwrap_or_else(|| "without an id".to_owned());
            Probe::Ambiguous(format!("a LUKS header that cannot be read, {id}"))
        }
        (other, _) => other,
    };
    Ok((probe, seen))
}

#[cfg(test)]
#[path = "luks_tests.rs"]
mod tests;
