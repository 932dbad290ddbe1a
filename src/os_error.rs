//! Errors of the operating system, through the wrappers that name the file.
//!
//! The number of an error comes from the error itself, never from its text; its text names every cause.
//!
//! `fs-err` adds the path to an error and keeps the original as its source, and so does this module. Print an error with [`said`], or
//! its cause is missing. `states::fault` interprets errors.

use landfall_states::fault::{Fault, Os};
use nix::sys::stat::Mode;
use std::error::Error;
use std::io;

/// Longest chain of causes of an error.
const CAUSES_MAX: usize = 8;

/// The umask under which a system is installed, whatever the shell's is from which landfall is started: what nobody gives a mode
/// is for everybody to read and to enter (umask(2)).
pub fn everybody_may_read() -> Mode {
    Mode::S_IWGRP | Mode::S_IWOTH
}

/// The error's number, through wrappers that hide it.
pub fn errno(error: &io::Error) -> Option<i32> {
    if let Some(number) = error.raw_os_error() {
        return Some(number);
    }
    let mut inner: Option<&(dyn Error + 'static)> = error.get_ref().map(|e| e as _);
    for _ in 0..CAUSES_MAX {
        let at = inner?;
        if let Some(number) = at.downcast_ref::<io::Error>().and_then(errno) {
            return Some(number);
        }
        inner = at.source();
    }
    None
}

/// What an error says, with its causes.
pub fn said(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(at) = cause else { break };
        let words = at.to_string();
        // Some repeat their cause.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = at.source();
    }
    text
}

/// What is known of an error.
pub fn of(error: &io::Error) -> Os {
    Os {
        doing: None,
        errno: errno(error),
        said: said(error),
    }
}

/// The fault that an error is, on a thing.
pub fn fault(on: impl Into<String>, error: &io::Error) -> Fault {
    fault_in(on, None, error)
}

/// The same, with what was being done (as in `could not … it`).
pub fn fault_in(on: impl Into<String>, doing: Option<&str>, error: &io::Error) -> Fault {
    Fault::os(
        on,
        Os {
            doing: doing.map(str::to_owned),
            ..of(error)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;
    use landfall_states::fault::FaultClass;
    use nix::libc;

    #[test]
    fn an_error_keeps_its_number_and_its_words_through_every_wrapper() {
        let wrapped = fs::File::open("/nonexistent/x").unwrap_err();
        assert_eq!(wrapped.raw_os_error(), None, "fs-err wraps it");
        assert_eq!(errno(&wrapped), Some(libc::ENOENT));
        assert_eq!(
            said(&wrapped),
            "failed to open file `/nonexistent/x`: No such file or directory (os error 2)"
        );
        let wrapped = fs::rename("/nonexistent/x", "/nonexistent/y").unwrap_err();
        assert!(
            said(&wrapped).ends_with("No such file or directory (os error 2)"),
            "{}",
            said(&wrapped)
        );
        let deep = io::Error::other(io::Error::other(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(errno(&deep), Some(libc::EIO));
        assert_eq!(said(&deep), "Input/output error (os error 5)");
        let full = fs::write("/dev/full", b"x").unwrap_err();
        assert_eq!(fault("x", &full).class, FaultClass::NeedsChange);
    }

    #[test]
    fn words_are_not_taken_for_a_number() {
        let quoted = io::Error::other("the builder said: Input/output error (os error 5)");
        assert_eq!(errno(&quoted), None);
        assert_eq!(fault("x", &quoted).class, FaultClass::Permanent);
    }
}
