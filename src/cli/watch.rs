//! `landfall status --watch` on a terminal: the screen that the install itself draws, from its status and its log.
//!
//! It only reads. The log is read from its end, at most a fixed part of it. The last picture stays when the run has ended.
//!
//! `cli::status` prints lines and JSON, and `cli::screen` makes the picture.

use super::line::Line;
use super::report::{Report, last_events};
use super::screen::canvas::Canvas;
use super::screen::{Beside, Picture, Seen, terminal};
use super::{Failure, since_boot_ms};
use crate::exit::Exit;
use camino::Utf8Path;
use std::io::Write;
use std::time::Duration;

/// Time after which the status is read again.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Draws until the run has ended.
pub(super) fn on_screen(run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut canvas = Canvas::new(terminal::shows());
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
        beside.typed_with(report.told.clone());
        beside.events = last_events(run_dir, run.began_ms)?
            .iter()
            .filter_map(|Line { at_ms, event }| Seen::of(*at_ms, event, false))
            .collect();
        let now_ms = since_boot_ms();
        let size = terminal::size_of(std::io::stdout()).unwrap_or(terminal::SIZE);
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
