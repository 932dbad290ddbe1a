//! `landfall log`: shows the log of an install.
//!
//! It prints the log that the listeners wrote. A line that is not an event is shown as it is; no line is dropped.
//!
//! `progress::LogFile` writes the log.

use super::line::{Line, plain_line};
use super::report;
use super::run_dir;
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
        copy(&mut open(&older)?, *json, out)?;
    }
    let mut reader = open(&path)?;
    let mut ended = copy(&mut reader, *json, out)?;
    let mut gone_times = 0;
    while *follow && !ended {
        out.flush()?;
        std::thread::sleep(Duration::from_millis(250));
        // Looked for before the rest is read: what it still wrote is shown.
        gone_times = match file.is_none() && report::is_gone(run_dir)? {
            true => gone_times + 1,
            false => 0,
        };
        ended = copy(&mut reader, *json, out)?;
        if !ended && is_rotated(&mut reader, &path)? {
            reader = open(&path)?;
        } else if !ended && gone_times >= GONE_TIMES {
            return Err(Failure::new(
                Exit::Interrupted,
                "its process is gone without a word (killed?)\n    next: landfall resume",
            ));
        }
    }
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

/// Prints whole lines up to the end; says whether the run has ended.
fn copy(reader: &mut BufReader<File>, json: bool, out: &mut dyn Write) -> std::io::Result<bool> {
    let mut ended = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(ended);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        match serde_json::from_str::<Line>(text) {
            Ok(Line { at_ms, event }) => {
                ended = match &event {
                    Event::Landed { .. } | Event::Stopped { .. } => true,
                    // A later run in the same log begins again.
                    Event::Started { .. } => false,
                    _ => ended,
                };
                if json {
                    writeln!(out, "{text}")?;
                } else {
                    writeln!(out, "{}", plain_line(at_ms, &event))?;
                }
            }
            Err(_) if json => writeln!(out, "{}", json!({ "not_an_event": words::one_line(text) }))?,
            Err(_) => writeln!(out, "(not an event) {}", words::one_line(text))?,
        }
    }
}
