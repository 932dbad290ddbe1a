//! Calls libcryptsetup.
//!
//! It is used in this module and in `luks` only, one call at a time, on a thread that may block. A context lives within one
//! call. A key that it gives or takes is in locked pages, and only during the call.
//!
//! `cryptsetup-rs` is used through its lower module, because its upper one ignores load errors, cannot test a passphrase
//! without activating, cannot set a UUID and has no plain mappings. What it lacks comes from its own `-sys` crate.
//!
//! `volume::luks` knows what a container means to the install, and `volume::build_swap` uses plain mappings.

use crate::real::secret::{Secret, SecretText};
use crate::real::volume::block_io::io_fault;
use crate::real::volume::device_mapper::{BUSY_TRIES_MAX, BUSY_WAIT};
use camino::{Utf8Path, Utf8PathBuf};
use cryptsetup_rs::device as crypt;
use cryptsetup_rs::{crypt_device_type, crypt_keyslot_info};
use landfall_states::authentic::{KeySource, RecordKey};
use landfall_states::fault::{Fault, FaultClass, MachineFault};
use libcryptsetup_sys as sys;
use nix::libc;
use secrecy::ExposeSecret;
use std::ffi::CString;
use std::io;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// libcryptsetup has no locks of its own.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Most key slots of a LUKS2 header (LUKS2 on-disk format, section 3.2).
const KEY_SLOTS_MAX: u8 = 32;
/// Longest volume key; that of AES-XTS has 64 bytes.
const VOLUME_KEY_BYTES_MAX: usize = 512;
/// The key of a plain mapping, for AES-256 in XTS.
const PLAIN_KEY_BYTES: usize = 64;

/// An open context of libcryptsetup. Lives within one call of [`serial`].
pub struct Context {
    /// The library's own.
    pub raw: crypt::RawDevice,
}

impl Drop for Context {
    fn drop(&mut self) {
        crypt::free(&mut self.raw);
    }
}

impl Context {
    /// Of a device.
    ///
    /// # Errors
    /// What libcryptsetup says.
    pub fn new(device: &Utf8Path) -> Result<Self, crypt::Error> {
        Ok(Context {
            raw: crypt::init(device.as_std_path())?,
        })
    }

    /// With the header loaded; an error when there is none, or none that can be read.
    ///
    /// # Errors
    /// There is no header that can be read.
    pub fn load(device: &Utf8Path) -> Result<Self, crypt::Error> {
        let context = Self::new(device)?;
        crypt::load(&context.raw, crypt_device_type::LUKS2)?;
        Ok(context)
    }

    /// Key slots in use.
    pub fn keyslots(&self) -> u8 {
        let used = (0..KEY_SLOTS_MAX).filter(|slot| match crypt::keyslot_status(&self.raw, *slot) {
            crypt_keyslot_info::CRYPT_SLOT_ACTIVE | crypt_keyslot_info::CRYPT_SLOT_ACTIVE_LAST => true,
            crypt_keyslot_info::CRYPT_SLOT_INVALID
            | crypt_keyslot_info::CRYPT_SLOT_INACTIVE
            | crypt_keyslot_info::CRYPT_SLOT_UNBOUND => false,
        });
        used.count() as u8
    }

    /// Activates under a name, or only tries the passphrase. `Ok(false)`: no key slot takes it.
    ///
    /// # Errors
    /// What libcryptsetup says, but that no key slot takes the passphrase.
    pub fn unlock(&self, name: Option<&str>, passphrase: &SecretText) -> Result<bool, crypt::Error> {
        let name = name.map(text).transpose()?;
        let secret = passphrase.expose_secret().as_bytes();
        // SAFETY: `raw` is a live context; the name is NUL-terminated or null, which libcryptsetup documents as "check
        // only"; the passphrase is passed with its length and outlives the call.
        let code = unsafe {
            sys::crypt_activate_by_passphrase(
                self.raw,
                name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr()),
                libc::c_int::from(-1_i8),
                secret.as_ptr().cast(),
                secret.len(),
                0,
            )
        };
        match code {
            code if code >= 0 => Ok(true),
            code if code == -libc::EPERM => Ok(false),
            code => Err(os_error(code)),
        }
    }

    /// The key for records, from the volume key, which this takes for no longer than the call. `None`: no key slot takes the passphrase.
    ///
    /// # Errors
    /// What libcryptsetup says, but that no key slot takes the passphrase.
    pub fn record_key(&self, passphrase: &SecretText, id: &Uuid) -> Result<Option<RecordKey>, crypt::Error> {
        let mut volume_key = Secret::with_room(VOLUME_KEY_BYTES_MAX).map_err(crypt::Error::IOError)?;
        let mut bytes = volume_key.spare().len();
        let secret = passphrase.expose_secret().as_bytes();
        // SAFETY: `raw` is a live, loaded context; the buffer is as long as the length says, which the call makes the key's; the
        // passphrase is passed with its length; all of them outlive the call.
        let code = unsafe {
            sys::crypt_volume_key_get(
                self.raw,
                libc::c_int::from(-1_i8),
                volume_key.spare().as_mut_ptr().cast(),
                &raw mut bytes,
                secret.as_ptr().cast(),
                secret.len(),
            )
        };
        match (code, volume_key.spare().get(..bytes)) {
            (code, Some(key)) if code >= 0 => Ok(RecordKey::derive(KeySource::Container, key, id.as_bytes())),
            (code, _) if code == -libc::EPERM => Ok(None),
            (code, _) => Err(os_error(code)),
        }
    }
}

/// What a code of the library's means.
pub fn os_error(code: libc::c_int) -> crypt::Error {
    crypt::Error::IOError(io::Error::from_raw_os_error(code.saturating_neg()))
}

/// Text as the library takes it.
///
/// # Errors
/// The text has a NUL in it.
pub fn text(text: &str) -> Result<CString, crypt::Error> {
    CString::new(text).map_err(|e| crypt::Error::IOError(io::Error::other(e)))
}

fn fault(what: String, error: crypt::Error) -> Fault {
    match &error {
        crypt::Error::IOError(io) => io_fault(what, io),
        crypt::Error::CryptsetupError(errno) => io_fault(what, &io::Error::from_raw_os_error(errno.0)),
        _ => MachineFault::Crypt {
            on: what,
            said: error.to_string(),
        }
        .into(),
    }
}

/// Runs a call on a thread that may block, alone.
///
/// # Errors
/// That of the call.
pub async fn serial<T: Send + 'static>(
    what: String,
    call: impl FnOnce() -> Result<T, crypt::Error> + Send + 'static,
) -> Result<T, Fault> {
    let run = move || {
        // A call that panicked left nothing behind that another one could see: contexts are not shared.
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        call()
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(outcome) => outcome.map_err(|error| fault(what, error)),
        Err(error) => Err(Fault::defect(what, error.to_string())),
    }
}

/// A key of the kernel's.
fn random_key() -> io::Result<Secret> {
    let mut key = Secret::with_room(PLAIN_KEY_BYTES)?;
    while key.bytes().len() < PLAIN_KEY_BYTES {
        let wanted = PLAIN_KEY_BYTES - key.bytes().len();
        // SAFETY: the room has as many bytes as are asked for, at least.
        let code = unsafe { libc::getrandom(key.spare().as_mut_ptr().cast(), wanted, 0) };
        match usize::try_from(code) {
            Ok(bytes) => key.took(bytes),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(key)
}

/// Maps a device, from this sector on, in plain mode under a random key, which is in no other place than the kernel.
///
/// # Errors
/// There are no random bytes, or libcryptsetup refuses.
pub async fn map_under_random_key(
    device: &Utf8Path,
    name: &str,
    from_sector: u64,
) -> Result<Utf8PathBuf, Fault> {
    let (path, mapper) = (device.to_owned(), name.to_owned());
    serial(format!("mapping {name} of {device}"), move || {
        let key = random_key().map_err(crypt::Error::IOError)?;
        let context = Context::new(&path)?;
        let mut params = sys::crypt_params_plain {
            hash: std::ptr::null(),
            offset: from_sector,
            skip: 0,
            size: 0,
            sector_size: 512,
        };
        let (kind, cipher, mode, name) = (text("PLAIN")?, text("aes")?, text("xts-plain64")?, text(&mapper)?);
        // SAFETY: `raw` is a live context without a type; the texts are NUL-terminated; no UUID and no key are given, which is
        // how plain mode is documented; the parameters are of the type that this kind has. All of them outlive the call.
        let code = unsafe {
            sys::crypt_format(
                context.raw,
                kind.as_ptr(),
                cipher.as_ptr(),
                mode.as_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                PLAIN_KEY_BYTES,
                (&raw mut params).cast(),
            )
        };
        if code < 0 {
            return Err(os_error(code));
        }
        // SAFETY: the context has a type now; the key is passed with its length and outlives the call, as the name does.
        let code = unsafe {
            sys::crypt_activate_by_volume_key(
                context.raw,
                name.as_ptr(),
                key.bytes().as_ptr().cast(),
                key.bytes().len(),
                0,
            )
        };
        if code < 0 { Err(os_error(code)) } else { Ok(()) }
    })
    .await?;
    Ok(mapper_path(name))
}

/// Closes `/dev/mapper/<name>`. What is busy is tried again: the last files of a child that was killed close within that.
///
/// # Errors
/// It stays busy, or libcryptsetup refuses.
pub async fn close(name: &str) -> Result<(), Fault> {
    for _ in 1..BUSY_TRIES_MAX {
        match deactivate(name).await {
            Err(fault) if fault.class == FaultClass::Transient => tokio::time::sleep(BUSY_WAIT).await,
            other => return other,
        }
    }
    deactivate(name).await
}

async fn deactivate(name: &str) -> Result<(), Fault> {
    let mapper = name.to_owned();
    serial(format!("mapping {name}"), move || {
        let name = text(&mapper)?;
        // SAFETY: a null context is documented; the name is NUL-terminated and outlives the call.
        match unsafe { sys::crypt_deactivate(std::ptr::null_mut(), name.as_ptr()) } {
            0 => Ok(()),
            code => Err(os_error(code)),
        }
    })
    .await
}

/// Gives the header of a LUKS2 container a label, in both of its copies, also while it is open; its subsystem stays.
///
/// # Errors
/// There is no LUKS2 header, or it cannot be written.
pub async fn set_label(device: &Utf8Path, label: &str, subsystem: &str) -> Result<(), Fault> {
    let (path, label, subsystem) = (device.to_owned(), label.to_owned(), subsystem.to_owned());
    serial(format!("LUKS header of {device}"), move || {
        let context = Context::load(&path)?;
        let (label, subsystem) = (text(&label)?, text(&subsystem)?);
        // SAFETY: `raw` is a live, loaded context; the texts are NUL-terminated and outlive the call.
        match unsafe { sys::crypt_set_label(context.raw, label.as_ptr(), subsystem.as_ptr()) } {
            0 => Ok(()),
            code => Err(os_error(code)),
        }
    })
    .await
}

/// The node of a mapping.
pub fn mapper_path(name: &str) -> Utf8PathBuf {
    Utf8Path::new("/dev/mapper").join(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;

    #[test]
    fn a_random_key_is_whole_and_another_one_each_time() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_eq!(one.bytes().len(), PLAIN_KEY_BYTES);
        assert_ne!(one.bytes(), other.bytes());
        assert!(one.bytes()[PLAIN_KEY_BYTES - 16..] != [0; 16]);
    }
}
