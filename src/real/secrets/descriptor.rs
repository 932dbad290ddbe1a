//! Reads the passphrase from a descriptor of the caller.
//!
//! landfall takes the descriptor before it opens any file, and closes the number.
//!
//! `secrets::passphrase` says what a passphrase may be.

use crate::real::secret::SecretText;
use crate::real::secrets::credentials::{bad, read_limited};
use crate::real::secrets::passphrase;
use landfall_states::fault::Fault;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use std::io::IsTerminal;
use std::os::fd::FromRawFd;

/// The passphrase from a descriptor that the caller of landfall opened. To be called before landfall opens anything itself, and
/// before it listens to signals: reading waits for whoever writes, and SIGTERM ends that.
///
/// # Errors
/// The descriptor is not open, cannot be read, or gives no passphrase.
pub fn passphrase_from_fd(fd: i32) -> Result<SecretText, Fault> {
    let what = format!("passphrase from file descriptor {fd}");
    if fd < 3 && fd != 0 {
        return Err(bad(&what, "allowed is 0, or 3 and above"));
    }
    let file = taken(fd).map_err(|e| bad(&what, &e.to_string()))?;
    let kind = nix::sys::stat::fstat(&file).map_err(|e| bad(&what, &e.to_string()))?;
    let kind = SFlag::from_bits_truncate(kind.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFDIR {
        return Err(bad(&what, "it is a directory"));
    }
    if file.is_terminal() {
        return Err(bad(
            &what,
            "it is a terminal; leave --passphrase-fd out, and landfall asks there",
        ));
    }
    passphrase::line(&read_limited(file, &what)?, &what)
}

/// Makes a descriptor our own: out of the way of the standard ones, not passed on to programs, and under its own number no more.
fn taken(fd: i32) -> nix::Result<std::fs::File> {
    use nix::fcntl::{FcntlArg, fcntl};
    // SAFETY: borrowed for these calls, which fail cleanly when it is not open.
    let given = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let own = fcntl(given, FcntlArg::F_DUPFD_CLOEXEC(10))?;
    // SAFETY: it was made just now, and nobody else has it.
    let own = unsafe { std::fs::File::from_raw_fd(own) };
    if fd == 0 {
        // Its number stays taken: the next file that is opened would become standard input.
        let null = nix::fcntl::open("/dev/null", OFlag::O_RDONLY, Mode::empty())?;
        nix::unistd::dup2_stdin(null)?;
    } else {
        nix::unistd::close(fd)?;
    }
    Ok(own)
}
