//! `landfall log`: shows the log of an install.
//!
//! It prints the log that the listeners wrote. A line that is not an event is shown as it is; no line is dropped.
//!
//! `progress::LogFile` writes the log.

use super::line::{Line, plain_line};
use super::next_step::Told;
use super::run_dir;
use super::run_process::{Writers, status_of};
use super::words;
use super::{Failure, LogArgs};
use crate::event::Event;
use crate::exit::Exit;
use crate::safe_open::{self, Links, Refused};
use camino::Utf8Path;
use fs_err as fs;
use landfall_states::untrusted_text::Shown;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::time::Duration;

pub(super) fn command(args: &LogArgs, run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let LogArgs { json, follow, file } = args;
    if file.is_none() {
        run_dir::is_directory(run_dir, "log")?;
    }
    let path = file.clone().unwrap_or_else(|| run_dir.join("log.jsonl"));
    if !is_there(&path)? {
        return Err(match file {
            Some(_) => Failure::new(
                Exit::Usage,
                format!(
                    "log {}: it does not exist\n    next: name an existing log, or leave --file out to see the log of this boot",
                    Shown::line(path.as_str())
                ),
            ),
            None => Failure::new(
                Exit::NothingToResume,
                format!(
                    "{path}: there is no log, because no install ran in this boot\n    next: landfall log --file FILE, with an earlier log"
                ),
            ),
        });
    }
    // What was rotated away comes first.
    let older = path.with_extension("jsonl.1");
    if !follow && is_there(&older)? {
        let mut tail = Tail::of(open(&older)?);
        tail.copy(*json, out)?;
        tail.end(*json, out)?;
    }
    let mut tail = Tail::of(open(&path)?);
    let mut ended = tail.copy(*json, out)?;
    let (mut writers, mut gone_times) = (Writers::default(), 0);
    while *follow && !ended {
        out.flush()?;
        std::thread::sleep(Duration::from_millis(250));
        // Looked for before the rest is read: what it still wrote is shown.
        gone_times = match writers.are_there(run_dir)? {
            true => 0,
            false => gone_times + 1,
        };
        ended = tail.copy(*json, out)?;
        if !ended && is_rotated(&mut tail.reader, &path)? {
            tail.end(*json, out)?;
            tail = Tail::of(open(&path)?);
        } else if !ended && gone_times >= GONE_TIMES {
            if tail.end(*json, out)? {
                return Ok(Exit::Ok);
            }
            return Err(Failure::new(
                Exit::Interrupted,
                format!(
                    "{}\n    next: {}",
                    words::KILLED,
                    status_of(run_dir)
                        .map_or(Told::of(None, run_dir), |run| run.told(run_dir))
                        .command("resume")
                ),
            ));
        }
    }
    tail.end(*json, out)?;
    Ok(Exit::Ok)
}

/// How often the process of a run is looked for in vain before the log counts as ended: a run writes its status a moment after it starts.
const GONE_TIMES: u32 = 4;
/// Longest line that `landfall log` shows whole; a longer one is shown in parts, and no event is as long.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What cannot be looked at: the path, why, and what helps.
fn unread(path: &Utf8Path, error: &std::io::Error) -> Failure {
    let path = Shown::line(path.as_str());
    if error.kind() == ErrorKind::PermissionDenied {
        return Failure::new(
            Exit::NeedsChange,
            format!("{path}: permission denied\n    next: run it as root"),
        );
    }
    Failure::new(
        Exit::Usage,
        format!(
            "log {path}: {}\n    next: name a log of landfall's: landfall log --file FILE",
            crate::os_error::said(error)
        ),
    )
}

/// Whether something has this name.
fn is_there(path: &Utf8Path) -> Result<bool, Failure> {
    // As the system says it, without a name before it.
    path.as_std_path()
        .try_exists()
        .map_err(|error| unread(path, &error))
}

/// A log, of ours or named by a person.
fn open(path: &Utf8Path) -> Result<BufReader<File>, Failure> {
    let file = safe_open::open(path, Links::Follow).map_err(|refused| {
        if let Refused::Os(error) = &refused
            && error.kind() == ErrorKind::PermissionDenied
        {
            return unread(path, error);
        }
        Failure::new(
            Exit::Usage,
            format!(
                "log {}: {}\n    next: name a log of landfall: landfall log --file FILE",
                Shown::line(path.as_str()),
                refused.why()
            ),
        )
    })?;
    Ok(BufReader::new(file))
}

/// Whether the path names another file by now.
fn is_rotated(reader: &mut BufReader<File>, path: &Utf8Path) -> Result<bool, Failure> {
    use std::os::unix::fs::MetadataExt;
    if !is_there(path)? {
        return Ok(false);
    }
    let now = fs::metadata(path).map_err(|error| unread(path, &error))?;
    Ok(reader.get_ref().metadata()?.ino() != now.ino())
}

/// A log from where it was read last.
struct Tail {
    reader: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Tail {
    fn of(reader: BufReader<File>) -> Tail {
        Tail {
            reader,
            begun: vec![],
        }
    }

    /// Prints whole lines up to the end of the file; says whether the run has ended.
    fn copy(&mut self, json: bool, out: &mut dyn Write) -> std::io::Result<bool> {
        let mut ended = false;
        loop {
            let room = LINE_BYTES_MAX.saturating_sub(self.begun.len() as u64);
            let read = self
                .reader
                .by_ref()
                .take(room)
                .read_until(b'\n', &mut self.begun)?;
            if read == 0 {
                return Ok(ended);
            }
            if self.begun.ends_with(b"\n") || self.begun.len() as u64 >= LINE_BYTES_MAX {
                ended = show(&self.begun, ended, json, out)?;
                self.begun.clear();
            }
        }
    }

    /// Prints what has begun as it is, since nobody goes on with it; says whether the run has ended.
    fn end(&mut self, json: bool, out: &mut dyn Write) -> std::io::Result<bool> {
        if self.begun.is_empty() {
            return Ok(false);
        }
        show(&std::mem::take(&mut self.begun), false, json, out)
    }
}

/// Prints a line; says whether the run has ended, which it had before or not.
fn show(line: &[u8], ended: bool, json: bool, out: &mut dyn Write) -> std::io::Result<bool> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    match serde_json::from_str::<Line>(text) {
        Ok(Line { at_ms, event }) => {
            if json {
                writeln!(out, "{text}")?;
            } else {
                writeln!(out, "{}", plain_line(at_ms, &event))?;
            }
            // A later run in the same log begins again.
            Ok(event.is_end() || ended && !matches!(event, Event::Started { .. }))
        }
        Err(_) if json => {
            writeln!(out, "{}", json!({ "not_an_event": words::one_line(text) }))?;
            Ok(ended)
        }
        Err(_) => {
            writeln!(out, "(not an event) {}", words::one_line(text))?;
            Ok(ended)
        }
    }
}
