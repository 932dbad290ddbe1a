//! `landfall log`: what happened. Law: reads a log that listeners wrote and prints it; a line that is not an event is
//! shown as it is, never dropped.
//!
//! Absent: writing the log (`progress::LogFile`).

use super::progress::Line;
use super::words::{self, Weight};
use super::{Failure, LogArgs};
use crate::event::Event;
use crate::exit::Exit;
use camino::Utf8Path;
use fs_err as fs;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

pub(super) fn command(args: &LogArgs, run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let LogArgs { json, follow, file } = args;
    let path = file.clone().unwrap_or_else(|| run_dir.join("log.jsonl"));
    if !path.try_exists()? {
        return Err(Failure::new(
            Exit::NothingToResume,
            format!(
                "{path}: there is no log; no install ran since this boot\n    next: landfall log --file FILE"
            ),
        ));
    }
    // What was rotated away comes first.
    let older = path.with_extension("jsonl.1");
    if !follow && older.try_exists()? {
        copy(&mut BufReader::new(fs::File::open(&older)?), *json, out)?;
    }
    let mut reader = BufReader::new(fs::File::open(&path)?);
    let mut ended = copy(&mut reader, *json, out)?;
    while *follow && !ended {
        out.flush()?;
        std::thread::sleep(Duration::from_millis(250));
        ended = copy(&mut reader, *json, out)?;
        if !ended && is_rotated(&mut reader, &path)? {
            reader = BufReader::new(fs::File::open(&path)?);
        }
    }
    Ok(Exit::Ok)
}

/// Whether the path names another file by now.
fn is_rotated(reader: &mut BufReader<fs::File>, path: &Utf8Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    if !path.try_exists()? {
        return Ok(false);
    }
    Ok(reader.get_ref().metadata()?.ino() != fs::metadata(path)?.ino())
}

/// Prints whole lines up to the end; says whether the run has ended.
fn copy(reader: &mut BufReader<fs::File>, json: bool, out: &mut dyn Write) -> std::io::Result<bool> {
    let mut ended = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
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
            Err(_) if json => writeln!(out, "{text}")?,
            Err(_) => writeln!(out, "(not an event) {}", words::one_line(text))?,
        }
    }
}

/// One line for people, with the seconds since boot.
pub(super) fn plain_line(at_ms: u64, event: &Event) -> String {
    let (weight, text) = words::of(event);
    let mark = match weight {
        Weight::Detail | Weight::Count | Weight::Line => ' ',
        Weight::Alarm => '!',
    };
    format!("[{:>6}.{:03}]{mark}{text}", at_ms / 1_000, at_ms % 1_000)
}
