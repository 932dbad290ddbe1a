//! Swap while a system is built from a flake, so that a build may take more memory than the machine has.
//!
//! Nothing from the installer's memory is written to a disk in clear text: the swap is the planned partition behind a mapping
//! with a random key that is kept nowhere. The first MiB, where the signature of the partition's own swap is, is not in the
//! mapping. The swap ends with the step, and what a killed run left of it ends before the next run looks at disks. The
//! mapping is known by its name together with the UUID that libcryptsetup gives it, and no other mapping is touched. There is
//! no swap without such a mapping: where it cannot be made, landfall reports that, and the build has only the machine's
//! memory.

use crate::event::Reporter;
use crate::os_error;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{io_fault, tool_fault};
use crate::real::volume::device_mapper::{BUSY_TRIES_MAX, BUSY_WAIT};
use crate::real::volume::{cryptsetup, device_mapper};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::fault::Fault;
use nix::errno::Errno;
use nix::libc;
use std::ffi::CString;
use std::io;

/// The mapping's name, of which a machine has one: one landfall is at work on it.
pub const NAME: &str = "landfall-swap";
/// The mapping's UUID, which libcryptsetup makes of its mode and name.
pub const UUID: &str = "CRYPT-PLAIN-landfall-swap";
/// Where it begins on the partition, in sectors of 512 bytes: behind what `mkswap` wrote there.
const FROM_SECTOR: u64 = 2048;
/// Smallest swap partition that is used while a system is built.
pub const BYTES_MIN: u64 = 64 << 20;

/// What a mapping of the name is to us.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// There is none, or it is somebody else's.
    Nothing,
    /// A name without a table, from a start that was killed.
    Name,
    /// Ours.
    Mapping,
}

impl Left {
    fn of(found: Option<&device_mapper::Mapping>) -> Left {
        match found {
            Some(mapping) if mapping.uuid != UUID => Left::Nothing,
            Some(mapping) if mapping.has_table => Left::Mapping,
            Some(_) => Left::Name,
            None => Left::Nothing,
        }
    }
}

/// Whether the mapping is there.
///
/// # Errors
/// Device-mapper does not answer.
pub fn is_on() -> Result<bool, Fault> {
    Ok(Left::of(device_mapper::find(NAME)?.as_ref()) != Left::Nothing)
}

/// Swaps to the device until [`end`].
///
/// # Errors
/// The mapping cannot be made, or a program fails.
pub async fn begin(device: &Utf8Path, reporter: &Reporter, stop: &Stop) -> Result<(), Fault> {
    end().await?;
    let mapped = cryptsetup::map_under_random_key(device, NAME, FROM_SECTOR).await?;
    let make = Program::new("mkswap").arg(mapped.as_str());
    let made = make.run(reporter, stop).await?;
    if !made.success() {
        return Err(tool_fault(format!("swap on {mapped}"), made.how()));
    }
    call("start of swapping", mapped, |path| {
        // SAFETY: the path is NUL-terminated and outlives the call.
        unsafe { libc::swapon(path, 0) }
    })
    .await
    .map_err(|(what, error)| io_fault(what, &error))
}

/// Ends it, also what a killed run began; whether there was anything. It takes as long as it takes to read back what is there.
///
/// # Errors
/// The kernel refuses, or the mapping stays busy.
pub async fn end() -> Result<bool, Fault> {
    match Left::of(device_mapper::find(NAME)?.as_ref()) {
        Left::Nothing => return Ok(false),
        Left::Name => return device_mapper::remove(NAME).map(|()| true),
        Left::Mapping => {}
    }
    let path = cryptsetup::mapper_path(NAME);
    let mut tries = 1;
    loop {
        let ended = call("end of swapping", path.clone(), |path| {
            // SAFETY: the path is NUL-terminated and outlives the call.
            unsafe { libc::swapoff(path) }
        });
        match ended.await {
            Ok(()) => break,
            Err((what, error)) => match os_error::errno(&error).map(Errno::from_raw) {
                // It was not swapped to.
                Some(Errno::EINVAL) => break,
                // What a program that just ended had in memory is on its way to be free.
                Some(Errno::ENOMEM | Errno::EAGAIN) if tries < BUSY_TRIES_MAX => {}
                Some(_) | None => return Err(io_fault(what, &error)),
            },
        }
        tries += 1;
        tokio::time::sleep(BUSY_WAIT).await;
    }
    cryptsetup::close(NAME).await.map(|()| true)
}

/// A call of the kernel's with a path, on a thread that may block.
async fn call(
    what: &str,
    path: Utf8PathBuf,
    call: impl FnOnce(*const libc::c_char) -> libc::c_int + Send + 'static,
) -> Result<(), (String, io::Error)> {
    let what = format!("{what} on {path}");
    let done = tokio::task::spawn_blocking(move || {
        let path = CString::new(path.into_string())?;
        match call(path.as_ptr()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    });
    match done.await {
        Ok(done) => done.map_err(|error| (what, error)),
        Err(error) => Err((what, io::Error::other(error))),
    }
}

/// Ends what a killed run left. What hinders it is no reason to stop here: the disk shows as used then, with the commands that end it.
pub async fn end_left(reporter: &Reporter) {
    match end().await {
        Ok(true) => reporter.notice("the swap of an earlier, killed run is switched off".to_owned()),
        Ok(false) => {}
        Err(fault) => reporter.notice(format!(
            "the swap of an earlier, killed run could not be switched off: {fault}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(uuid: &str, has_table: bool) -> device_mapper::Mapping {
        device_mapper::Mapping {
            uuid: uuid.to_owned(),
            has_table,
            suspended: false,
            opened: 0,
            slaves: vec!["8:3".to_owned()],
        }
    }

    #[test]
    fn only_what_libcryptsetup_made_for_us_is_ended() {
        for (found, left) in [
            (None, Left::Nothing),
            (Some(mapping(UUID, true)), Left::Mapping),
            (Some(mapping(UUID, false)), Left::Name),
            (Some(mapping("", true)), Left::Nothing),
            (Some(mapping("", false)), Left::Nothing),
            (Some(mapping("CRYPT-PLAIN-landfall-swap2", true)), Left::Nothing),
            (Some(mapping("LVM-landfall-swap", true)), Left::Nothing),
        ] {
            assert_eq!(Left::of(found.as_ref()), left, "{found:?}");
        }
    }
}
