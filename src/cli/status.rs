//! `landfall status`: shows the state of the install.
//!
//! The status comes only from events. The checkpoint in tmpfs is shown beside it, and a process that ended is reported as ended.
//!
//! It reads no disk: after a reboot, `landfall resume` reads the disk.

use super::report::Report;
use super::screen::terminal::draws;
use super::{Failure, StatusArgs, watch};
use crate::exit::Exit;
use camino::Utf8Path;
use std::io::Write;
use std::time::Duration;

/// See the module.
pub(super) fn command(args: &StatusArgs, run_dir: &Utf8Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let StatusArgs { json, watch } = args;
    if *watch && !*json && draws() {
        return watch::on_screen(run_dir, out);
    }
    let mut before: Option<Report> = None;
    loop {
        let report = Report::read(run_dir)?;
        if *json {
            serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else if before.as_ref().is_none_or(|before| !before.is_like(&report)) {
            // A serial line is slow: what stands there already is not said again.
            let known = before.as_ref().map(Report::lines).unwrap_or_default();
            for line in report.lines().iter().filter(|line| !known.contains(line)) {
                writeln!(out, "{line}")?;
            }
        }
        out.flush()?;
        if !*watch || report.is_over() {
            return Ok(Exit::Ok);
        }
        before = Some(report);
        std::thread::sleep(Duration::from_secs(1));
    }
}
