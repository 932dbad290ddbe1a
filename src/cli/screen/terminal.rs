//! What a terminal is and can show.
//!
//! `screen::canvas` draws on it.

use super::canvas::{Shows, Size};
use camino::Utf8Path;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::{Mode, fstat, major, minor};
use std::fs::File;
use std::os::fd::AsFd;

/// Of a terminal that does not say its size.
pub const SIZE: Size = (80, 24);

/// Whether pictures can be drawn there: a virtual console or a pseudo terminal, no serial line, and `TERM` says that it is not dumb.
fn can_draw_on(terminal: impl AsFd, term: Option<&str>) -> bool {
    let has_name = term.is_some_and(|term| !term.is_empty() && term != "dumb" && term != "unknown");
    let is_drawable = match fstat(terminal) {
        // Documentation/admin-guide/devices.txt: 4:1 to 4:63 are virtual consoles, 136 to 143 pseudo terminals.
        Ok(stat) => match major(stat.st_rdev) {
            4 => (1..64).contains(&minor(stat.st_rdev)),
            136..=143 => stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFCHR,
            _ => false,
        },
        Err(error) => {
            tracing::debug!(%error, "what standard output is");
            false
        }
    };
    has_name && is_drawable
}

/// What the environment says of the terminal: colours unless `NO_COLOR` holds anything (no-color.org); UTF-8 where the locale says so, and on
/// the kernel's own console, which has it unless it was turned off.
pub fn shows() -> Shows {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    let locale = locale.map_or(String::new(), |value| value.to_string_lossy().to_lowercase());
    let is_console = variable("TERM").is_none_or(|term| term == "linux");
    Shows {
        colour: variable("NO_COLOR").is_none(),
        utf8: is_console || locale.contains("utf-8") || locale.contains("utf8"),
    }
}

/// Columns and lines of a terminal that says them.
pub fn size_of(terminal: impl AsFd) -> Option<(u16, u16)> {
    terminal_size::terminal_size_of(terminal)
        .map(|(columns, lines)| (columns.0, lines.0))
        .filter(|(columns, lines)| *columns > 0 && *lines > 0)
}

/// Whether standard output is a terminal that can be drawn on.
pub fn draws() -> bool {
    let term = std::env::var_os("TERM").map(|term| term.to_string_lossy().into_owned());
    can_draw_on(std::io::stdout(), term.as_deref())
}

/// A terminal to draw on beside standard output; nothing is read from it. `None`: there is none of that name here, as on a machine
/// without a screen.
///
/// # Errors
/// The name is that of something else, or it cannot be opened.
pub fn open(path: &Utf8Path) -> std::io::Result<Option<File>> {
    // Without O_NONBLOCK a line whose modem is silent would not open; nobody waits for what is written afterwards.
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let terminal = match nix::fcntl::open(path.as_std_path(), flags, Mode::empty()) {
        Ok(terminal) => terminal,
        Err(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !can_draw_on(&terminal, Some("linux")) {
        return Err(std::io::Error::other(
            "it is neither a virtual console nor a pseudo terminal",
        ));
    }
    nix::fcntl::fcntl(&terminal, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(Some(File::from(terminal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_that_can_be_drawn_on_are() {
        let file = tempfile::tempfile().unwrap();
        assert!(!can_draw_on(&file, Some("xterm")));
        assert!(!can_draw_on(
            fs_err::File::open("/dev/null").unwrap(),
            Some("xterm")
        ));
        let pty = nix::pty::openpty(None, None).unwrap();
        for (term, wanted) in [
            (Some("xterm-256color"), true),
            (Some("linux"), true),
            (Some("dumb"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(can_draw_on(&pty.slave, term), wanted, "{term:?}");
        }
        let name = nix::unistd::ttyname(&pty.slave).unwrap();
        assert!(open(Utf8Path::from_path(&name).unwrap()).unwrap().is_some());
        assert!(open(Utf8Path::new("/dev/no-such-terminal")).unwrap().is_none());
        assert!(open(Utf8Path::new("/dev/null")).is_err());
    }
}
