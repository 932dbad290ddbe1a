//! A machine's serial console.
//!
//! It is read at all times, because an unread console stops the machine. Every byte goes to the log file. The text, without
//! escape sequences and carriage returns, is kept for waiting on. Waiting moves on: what was matched once is not matched
//! again. There is no terminal emulation.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use regex::Regex;

/// What the guest's kernel prints, every 21 s, when a processor's timer does not come any more: a fault of the emulator's, which
/// a busy computer brings out, and not of anything that is shown here.
const TIMER_LOST: &str = "Possible timer handling issue on cpu=";

/// Whether a console says that the emulator has lost a processor's timer; once may be a computer that stood still for a while.
pub fn lost_its_timer(text: &str) -> bool {
    text.matches(TIMER_LOST).nth(1).is_some()
}

/// The last that is heard before a kernel speaks: the firmware starts a boot loader, and the kernel's own first part its work.
const BEFORE_A_KERNEL: [&str; 2] = ["BdsDxe: starting Boot", "EFI stub: "];

/// Whether a console ends where the boot loader or the kernel was started, or before the firmware has said a word: the emulator stood
/// still then, or what was started is no kernel.
pub fn no_kernel_spoke(text: &str) -> bool {
    let last = text.trim_end().lines().last();
    last.is_none_or(|line| BEFORE_A_KERNEL.iter().any(|start| line.starts_with(start)))
}

/// The host's end of a serial console.
#[derive(Debug)]
pub struct Console {
    port: UnixStream,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    text: String,
    /// Up to here, waiting has matched.
    cursor: usize,
    closed: bool,
    /// Bytes since the console opened that [`Console::take_raw`] has not handed out; only kept when asked for.
    raw: Option<Vec<u8>>,
}

impl Console {
    /// Starts to drain `port` into `log`.
    pub fn start(port: UnixStream, log: &Path) -> Result<Console> {
        let mut file = fs::File::create(log)?;
        let shared = Arc::new(Shared::default());
        let mut reader = port.try_clone().context("cloning the console's socket")?;
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut plain = Plain::default();
            let mut bytes = [0; 4096];
            loop {
                // An error is the end like the end is: the machine's process tells why.
                let count = reader.read(&mut bytes).unwrap_or(0);
                let mut seen = lock(&theirs.seen);
                if count == 0 {
                    seen.closed = true;
                    theirs.news.notify_all();
                    return;
                }
                // A full disk must not stop the machine; the text in memory is still there.
                let _ = file.write_all(&bytes[..count]);
                plain.push(&bytes[..count], &mut seen.text);
                if let Some(raw) = &mut seen.raw {
                    raw.extend_from_slice(&bytes[..count]);
                }
                theirs.news.notify_all();
            }
        });
        Ok(Console { port, shared })
    }

    /// Waits until the text after the last match matches `pattern` (a regular expression, `^` and `$` at lines) and
    /// returns the match.
    pub fn wait(&self, pattern: &str, timeout: Duration) -> Result<String> {
        let (_, found) = self.wait_any(&[pattern], timeout)?;
        Ok(found)
    }

    /// Waits for the first of several patterns; returns its index and the match.
    pub fn wait_any(&self, patterns: &[&str], timeout: Duration) -> Result<(usize, String)> {
        let mut compiled = Vec::new();
        for pattern in patterns {
            let regex = Regex::new(&format!("(?m){pattern}"));
            compiled.push(regex.with_context(|| format!("{pattern:?} is no regular expression"))?);
        }
        let deadline = Instant::now() + timeout;
        let mut seen = lock(&self.shared.seen);
        loop {
            let fresh = &seen.text[seen.cursor..];
            let first = compiled
                .iter()
                .enumerate()
                .filter_map(|(index, regex)| regex.find(fresh).map(|found| (found.start(), index, found)))
                .min_by_key(|(start, index, _)| (*start, *index));
            if let Some((_, index, found)) = first {
                let (text, end) = (found.as_str().to_owned(), found.end());
                seen.cursor += end;
                return Ok((index, text));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let hangs = lost_its_timer(fresh);
            if left.is_zero() || seen.closed || hangs {
                let why = if seen.closed {
                    "the machine ended".to_owned()
                } else if hangs {
                    "the emulator lost a processor's timer, with which the machine hangs".to_owned()
                } else {
                    format!("{} s passed", timeout.as_secs())
                };
                let last = crate::command::tail(&seen.text, 12);
                bail!("the console did not show {patterns:?} before {why}; its last lines:\n{last}");
            }
            seen = self
                .shared
                .news
                .wait_timeout(seen, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |pair| pair.0);
        }
    }

    /// Types text, as it is: end a line with `\n`.
    pub fn type_text(&self, text: &str) -> Result<()> {
        (&self.port)
            .write_all(text.as_bytes())
            .context("typing on the console; the machine is off")
    }

    /// Everything shown so far, as plain text.
    pub fn text(&self) -> String {
        lock(&self.shared.seen).text.clone()
    }

    /// What was shown behind so many bytes of the text; nothing when there are not so many.
    pub fn text_behind(&self, bytes: usize) -> String {
        lock(&self.shared.seen)
            .text
            .get(bytes..)
            .unwrap_or_default()
            .to_owned()
    }

    /// Reads along from here on.
    pub fn follower(&self) -> Follower {
        Follower {
            read: lock(&self.shared.seen).text.len(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Leaves out of waiting what has been shown so far.
    pub fn skip(&self) {
        let mut seen = lock(&self.shared.seen);
        seen.cursor = seen.text.len();
    }

    /// Whether the machine has closed its end.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.seen).closed
    }

    /// The bytes that came since the last call (from the second call on), waiting for at most `timeout`.
    pub fn take_raw(&self, timeout: Duration) -> Vec<u8> {
        let mut seen = lock(&self.shared.seen);
        if seen.raw.as_ref().is_none_or(Vec::is_empty) && !seen.closed {
            seen.raw.get_or_insert_default();
            let waited = self.shared.news.wait_timeout(seen, timeout);
            seen = waited.map_or_else(|poisoned| poisoned.into_inner().0, |pair| pair.0);
        }
        seen.raw.replace(Vec::new()).unwrap_or_default()
    }
}

/// Somebody who reads along.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    read: usize,
}

impl Follower {
    /// How many bytes of the text were read.
    pub fn read(&self) -> usize {
        self.read
    }

    /// What came since the last call; nothing when it was silent for so long.
    pub fn next(&mut self, timeout: Duration) -> String {
        let mut seen = lock(&self.shared.seen);
        if seen.text.len() <= self.read {
            let waited = self.shared.news.wait_timeout(seen, timeout);
            seen = waited.map_or_else(|poisoned| poisoned.into_inner().0, |pair| pair.0);
        }
        let fresh = seen.text.get(self.read..).unwrap_or_default().to_owned();
        self.read += fresh.len();
        fresh
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Turns terminal output into plain text: escape sequences, carriage returns and bells go.
#[derive(Default)]
struct Plain {
    state: State,
    pending: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// `ESC [ … letter`
    Control,
    /// `ESC ] … BEL`, `ESC P … ESC \`
    String,
    /// `ESC ( x` and the like: one more byte.
    One,
}

impl Plain {
    fn push(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, 0x1b) => State::Escape,
                (State::Text, b'\n' | b'\t' | 0x20..=0x7e | 0x80..) => {
                    self.pending.push(byte);
                    State::Text
                }
                (State::Text, _) => State::Text,
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']' | b'P' | b'_' | b'^') => State::String,
                (State::Escape, b'(' | b')' | b'#' | b'%') => State::One,
                (State::Escape, _) => State::Text,
                (State::Control, 0x40..=0x7e) => State::Text,
                (State::Control, _) => State::Control,
                (State::String, 0x07) => State::Text,
                (State::String, 0x1b) => State::Escape,
                (State::String, _) => State::String,
                (State::One, _) => State::Text,
            };
        }
        // A character may be cut by the end of the read: keep its beginning for the next.
        let good = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.pending.len(),
        };
        text.push_str(&String::from_utf8_lossy(&self.pending[..good]));
        self.pending.drain(..good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_timer_is_one_that_does_not_come_back() {
        let stall = "[   23.07] rcu: \tPossible timer handling issue on cpu=1 timer-softirq=7\n";
        assert!(no_kernel_spoke(
            "BdsDxe: starting\r\nEFI stub: Loaded initrd from LINUX\r\n"
        ));
        assert!(no_kernel_spoke(
            "BdsDxe: loading Boot0001\r\nBdsDxe: starting Boot0001 \"Linux Boot Manager\" from HD(1,GPT)\r\n"
        ));
        // The firmware has cleared the screen, and no more.
        assert!(no_kernel_spoke("") && no_kernel_spoke("\r\n\n"));
        for heard in [
            "BdsDxe: No bootable option or device was found.",
            "BdsDxe: failed to start Boot0001 from HD(1,GPT): Not Found",
            "EFI stub: Loaded initrd\r\n[    0.000000] Linux",
        ] {
            assert!(!no_kernel_spoke(heard), "{heard:?}");
        }
        assert!(!lost_its_timer("login: "));
        assert!(!lost_its_timer(stall));
        assert!(lost_its_timer(&stall.repeat(2)));
    }

    #[test]
    fn plain_text_stays() {
        let mut plain = Plain::default();
        let mut text = String::new();
        plain.push(b"\x1b[2J\x1b[01;01Ha\r\n\x1b]0;title\x07\xe2\x80", &mut text);
        plain.push(b"\xa6b\x1b(Bc\x1b", &mut text);
        plain.push(b"[0md", &mut text);
        assert_eq!(text, "a\n…bcd");
    }
}
