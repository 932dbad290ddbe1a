//! `landfall status --watch` on a terminal: the screen that the install itself draws, from its status and its log. Law: it reads only;
//! the log is read from its end, at most a fixed part of it; the last picture stays when the run has ended.
//!
//! Absent: lines and JSON (`status`), the picture (`screen`).

use super::progress::{self, Line};
use super::screen::canvas::Canvas;
use super::screen::{Beside, Picture, Seen, listener};
use super::status::Report;
use super::{Failure, since_boot_ms};
use crate::event::Event;
use crate::exit::Exit;
use crate::foreign::{self, Links, Refused};
use camino::Utf8Path;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

/// So much of a log is read, in bytes; its last events are in there, whatever programs print between them.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// The status is read again after so long.
const READ_EVERY: Duration = Duration::from_millis(500);

/// The last events of the run that began then, the newest last; details and counts are left out. None where there is no log to read.
pub(super) fn last_events(run_dir: &Utf8Path, began_ms: u64) -> Result<Vec<Line>, Failure> {
    let path = run_dir.join("log.jsonl");
    let mut file = match foreign::open(&path, Links::Refuse) {
        Ok(file) => file,
        Err(Refused::Absent) => return Ok(vec![]),
        Err(refused) => {
            // The status says where the run is, also to whom the log is closed.
            tracing::debug!(why = refused.why(), "the log");
            return Ok(vec![]);
        }
    };
    let skipped = file.metadata()?.len().saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = vec![];
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut events: Vec<Line> = vec![];
    // A line that was cut off at the beginning, or is being written, is no event.
    for line in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
    {
        if let Event::Started { .. } = line.event {
            events.clear();
        }
        if line.at_ms >= began_ms && Seen::of(line.at_ms, &line.event, false).is_some() {
            events.push(line);
        }
    }
    Ok(events)
}

/// Draws until the run has ended.
pub(super) fn on_screen(run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut canvas = Canvas::new(listener::shows());
    let mut beside = Beside::default();
    loop {
        let report = Report::read(run_dir)?;
        let Some(run) = &report.run else {
            for line in report.lines() {
                writeln!(out, "{line}")?;
            }
            return Ok(Exit::Ok);
        };
        if let Some(count) = &run.count {
            beside.count(count, run.heard_ms);
        }
        beside.events = last_events(run_dir, run.began_ms)?
            .iter()
            .filter_map(|Line { at_ms, event }| Seen::of(*at_ms, event, false))
            .collect();
        let now_ms = since_boot_ms();
        let size = progress::size_of(std::io::stdout()).unwrap_or(listener::SIZE);
        let picture = Picture::of(run, report.alive, now_ms, &beside);
        if report.is_over() {
            out.write_all(canvas.end(&picture, size, 0).as_bytes())?;
            out.flush()?;
            return Ok(Exit::Ok);
        }
        out.write_all(canvas.show(&picture, size, now_ms, None).as_bytes())?;
        out.flush()?;
        std::thread::sleep(READ_EVERY);
    }
}
