//! Reads a line from a terminal.
//!
//! A hidden line leaves the terminal as it was, also if the process ends meanwhile (except by SIGKILL). The typed text is in
//! memory that is wiped. The handler of a signal calls [`restore`].
//!
//! `real::ask` and `cli::host` ask the questions.

use crate::real::secret::Secret;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest line that a terminal gives, in bytes (`termios(3)`).
const LINE_BYTES_MAX: usize = 4096;
/// A key that does nothing (`_POSIX_VDISABLE` of Linux).
const NO_KEY: u8 = 0;

/// A terminal that shows nothing now, and how it was.
static QUIET: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

fn quiet() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a terminal back that shows nothing now. Whether there was one.
pub fn restore() -> bool {
    match quiet().take() {
        // One that is gone shows nothing any more.
        Some((terminal, before)) => tcsetattr(&terminal, SetArg::TCSANOW, &before).is_ok(),
        None => false,
    }
}

/// The terminal of this process, whatever its standard input is.
///
/// # Errors
/// The process has no terminal, or it cannot be opened.
pub fn own() -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open("/dev/tty", flags, Mode::empty())?.into())
}

/// What is typed is not shown until this is dropped.
struct Quiet;

impl Quiet {
    fn on(terminal: BorrowedFd<'_>) -> io::Result<Quiet> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        // Keys that end or stop a process before it can put the terminal back.
        for key in [SpecialCharacterIndices::VQUIT, SpecialCharacterIndices::VSUSP] {
            if let Some(key) = hidden.control_chars.get_mut(key as usize) {
                *key = NO_KEY;
            }
        }
        *quiet() = Some((terminal.try_clone_to_owned()?, before));
        let quiet = Quiet;
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden)?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        restore();
    }
}

/// Reads one line, which is shown or not; `None`: it never ended.
///
/// # Errors
/// The terminal cannot be read.
pub fn line(terminal: BorrowedFd<'_>, is_shown: bool) -> io::Result<Option<Secret>> {
    let _quiet = match is_shown {
        true => None,
        false => Some(Quiet::on(terminal)?),
    };
    // Byte by byte from the descriptor: what reads ahead for more keeps a copy.
    line_from(&mut DescriptorOnly(terminal))
}

/// Reads by the system call, without a buffer of its own.
struct DescriptorOnly<'f>(BorrowedFd<'f>);

impl Read for DescriptorOnly<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(self.0, bytes)?)
    }
}

/// One line, its end left out; `None`: it never ended. What is past the room is skipped.
fn line_from(input: &mut impl Read) -> io::Result<Option<Secret>> {
    let mut line = Secret::with_room(LINE_BYTES_MAX)?;
    let mut past = Secret::with_room(1)?;
    loop {
        let spare = line.spare();
        let is_full = spare.is_empty();
        let room = spare.get_mut(..1).unwrap_or_else(|| past.spare());
        match input.read(room) {
            Ok(0) => return Ok(None),
            Ok(_) if room.first() == Some(&b'\n') => return Ok(Some(line)),
            Ok(_) if !is_full => line.took(1),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_byte_by_byte_and_its_rest_is_left() {
        let mut input = &b"first\nsecond"[..];
        assert_eq!(line_from(&mut input).unwrap().unwrap().bytes(), b"first");
        assert_eq!(input, b"second");
        assert!(line_from(&mut input).unwrap().is_none(), "it never ended");
        let mut long = vec![b'a'; LINE_BYTES_MAX + 9];
        long.push(b'\n');
        assert_eq!(
            line_from(&mut &*long).unwrap().unwrap().bytes().len(),
            LINE_BYTES_MAX
        );
    }

    #[test]
    fn a_terminal_that_showed_nothing_is_put_back() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = std::os::fd::AsFd::as_fd(&pty.slave);
        let is_shown = || {
            tcgetattr(terminal)
                .unwrap()
                .local_flags
                .contains(LocalFlags::ECHO)
        };
        assert!(is_shown() && !restore());
        let quiet = Quiet::on(terminal).unwrap();
        assert!(!is_shown());
        // As one who hears a signal does, while the line is being read.
        assert!(restore() && is_shown());
        drop(quiet);
        assert!(is_shown());
        drop(Quiet::on(terminal).unwrap());
        assert!(is_shown());
    }
}
