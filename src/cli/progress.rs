//! The listeners: where events go.
//!
//! Every listener does a bounded amount of work for each event. A listener that can no longer write reports that once and stays
//! silent, because an install must not end when nobody can watch it.
//!
//! `words` makes the texts of events.

use super::line::{Clock, Line, QuietWriter, Speed, clock, plain_line};
use super::next_step::Told;
use super::run_status::Status;
use super::screen::listener::{Place, Screen};
use super::screen::terminal::{self, draws, size_of};
use super::words::{self, Weight};
use super::{ProgressMode, print_error};
use crate::event::{Event, Listener};
use crate::os_error::said;
use crate::safe_open::{self, Links};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};

/// Time between two counts of the same work as plain lines: serial consoles are slow.
const PLAIN_COUNT_EVERY_MS: u64 = 5_000;
/// Time between two drawings of the status line.
const TTY_DRAW_EVERY_MS: u64 = 100;
/// Time between two counts of the same work in the log.
const FILE_COUNT_EVERY_MS: u64 = 1_000;
/// Size at which a log is put aside, once.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// What an install shows on this process's standard output: the screen, where one can be drawn; on a serial line, in a pipe and with
/// `--verbose`, whose trace goes to the same terminal, lines.
pub(super) fn of_install(mode: ProgressMode, verbose: bool, told: &Told) -> Box<dyn Listener> {
    let has_screen = match mode {
        ProgressMode::Tty => true,
        ProgressMode::Auto => draws() && !verbose,
        ProgressMode::Plain | ProgressMode::Json => false,
    };
    if !has_screen {
        return on_stdout(mode, verbose);
    }
    let place = Place {
        out: std::io::stdout(),
        name: "the terminal".to_owned(),
        size: Box::new(|| size_of(std::io::stdout())),
        shows: terminal::shows(),
        is_told_below: std::io::stderr().is_terminal(),
    };
    match Screen::of_run(place, clock, verbose, told.clone()) {
        Ok(screen) => Box::new(screen),
        Err(error) => {
            print_error(&format!("landfall: no screen, but lines: {}", said(&error)));
            on_stdout(ProgressMode::Plain, verbose)
        }
    }
}

/// The screen on another terminal. What is wrong with it ends no install.
pub(super) fn on_terminal(path: &Utf8Path, verbose: bool, told: &Told) -> Option<Box<dyn Listener>> {
    let screen = terminal::open(path).and_then(|opened| {
        let Some(terminal) = opened else { return Ok(None) };
        let sized = terminal.try_clone()?;
        let place = Place {
            out: terminal,
            name: path.to_string(),
            size: Box::new(move || size_of(&sized)),
            shows: terminal::shows(),
            is_told_below: false,
        };
        Screen::of_run(place, clock, verbose, told.clone()).map(Some)
    });
    match screen {
        Ok(screen) => screen.map(|screen| Box::new(screen) as Box<dyn Listener>),
        Err(error) => {
            print_error(&format!("landfall: no screen on {path}: {}", said(&error)));
            None
        }
    }
}

/// The listener that `--progress` asks for, on this process's standard output.
pub fn on_stdout(mode: ProgressMode, verbose: bool) -> Box<dyn Listener> {
    let out = std::io::stdout();
    match mode {
        ProgressMode::Json => Box::new(JsonLines::new(out, clock())),
        ProgressMode::Tty => Box::new(Terminal::new(out, clock(), verbose, colour())),
        ProgressMode::Auto if draws() => Box::new(Terminal::new(out, clock(), verbose, colour())),
        ProgressMode::Auto | ProgressMode::Plain => Box::new(Plain::new(out, clock(), verbose)),
    }
}

/// Colours, unless `NO_COLOR` holds anything (no-color.org).
fn colour() -> bool {
    terminal::shows().colour
}

/// Lets a count through when enough time went by, when another thing is counted, or when it is complete.
struct RateLimit {
    every_ms: u64,
    last: Option<(String, u64)>,
}

impl RateLimit {
    fn new(every_ms: u64) -> Self {
        RateLimit { every_ms, last: None }
    }

    fn admits(&mut self, event: &Event, now_ms: u64) -> bool {
        let Event::Progress {
            what, done, total, ..
        } = event
        else {
            return true;
        };
        let admits = match &self.last {
            Some((last, at_ms)) if last == what => {
                *total == Some(*done) || now_ms.saturating_sub(*at_ms) >= self.every_ms
            }
            Some(_) | None => true,
        };
        if admits {
            self.last = Some((what.clone(), now_ms));
        }
        admits
    }
}

/// JSON lines.
struct JsonLines<W> {
    out: QuietWriter<W>,
    clock: Clock,
}

impl<W: Write> JsonLines<W> {
    /// To a writer.
    fn new(out: W, clock: Clock) -> Self {
        JsonLines {
            out: QuietWriter::new("standard output", out),
            clock,
        }
    }
}

fn json_line(at_ms: u64, event: &Event) -> String {
    let line = Line {
        at_ms,
        event: event.clone(),
    };
    match serde_json::to_string(&line) {
        Ok(text) => text + "\n",
        // Events hold texts and numbers only; should that change, the log says what was lost.
        Err(error) => format!(
            "{{\"at_ms\":{at_ms},\"lost\":{}}}\n",
            serde_json::Value::String(error.to_string())
        ),
    }
}

impl<W: Write + Send> Listener for JsonLines<W> {
    fn take(&mut self, event: &Event) {
        let text = json_line((self.clock)(), event);
        self.out.write(&text);
    }
}

/// A fault is shown to people once: as a line when it is tried again, and laid out, on standard error, when the run stops for it.
/// So a failure waits for what follows it.
#[derive(Default)]
struct HeldBack(Option<(u64, Event)>);

impl HeldBack {
    /// The events to be shown now, each with its time.
    fn take(&mut self, now_ms: u64, event: &Event) -> Vec<(u64, Event)> {
        let before = self.0.take();
        match (event, before) {
            (Event::Failed { .. }, before) => {
                self.0 = Some((now_ms, event.clone()));
                before.into_iter().collect()
            }
            // Whoever stops says the fault at the end of the run.
            (Event::Stopped { fault, .. }, Some((_, Event::Failed { fault: held, .. })))
                if fault.record.what == held.record.what =>
            {
                vec![]
            }
            (Event::Stopped { .. } | Event::NothingToResume { .. }, before) => before.into_iter().collect(),
            (_, before) => before.into_iter().chain([(now_ms, event.clone())]).collect(),
        }
    }
}

/// Plain lines with the seconds since boot.
pub struct Plain<W> {
    out: QuietWriter<W>,
    held_back: HeldBack,
    clock: Clock,
    verbose: bool,
    rate: RateLimit,
    speed: Speed,
}

impl<W: Write> Plain<W> {
    /// To a writer.
    pub fn new(out: W, clock: Clock, verbose: bool) -> Self {
        Plain {
            out: QuietWriter::new("standard output", out),
            held_back: HeldBack::default(),
            clock,
            verbose,
            rate: RateLimit::new(PLAIN_COUNT_EVERY_MS),
            speed: Speed::default(),
        }
    }
}

impl<W: Write + Send> Listener for Plain<W> {
    fn take(&mut self, event: &Event) {
        let now_ms = (self.clock)();
        for (at_ms, event) in self.held_back.take(now_ms, event) {
            self.show(&event, at_ms);
        }
    }
}

impl<W: Write> Plain<W> {
    fn show(&mut self, event: &Event, now_ms: u64) {
        if let Event::Begun { .. } = event {
            self.speed.begin();
        }
        let speed = self.speed.of(event, now_ms);
        let shown = match words::of(event).0 {
            Weight::Detail => self.verbose,
            Weight::Count => self.rate.admits(event, now_ms),
            Weight::Line | Weight::Alarm => true,
        };
        if shown {
            self.out.write(&format!("{}{speed}\n", plain_line(now_ms, event)));
            // Without the time before them: what stands before a line on its way to a console takes columns enough.
            self.out.write(&drawn(event, "", ""));
        }
    }
}

/// Lines, and below them one status line with the phase and the newest count.
pub struct Terminal<W> {
    out: QuietWriter<W>,
    held_back: HeldBack,
    clock: Clock,
    verbose: bool,
    colour: bool,
    columns: fn() -> usize,
    phase: String,
    began_ms: u64,
    speed: Speed,
    drawn_ms: Option<u64>,
    asking: bool,
}

impl<W: Write> Terminal<W> {
    /// To a terminal.
    pub fn new(out: W, clock: Clock, verbose: bool, colour: bool) -> Self {
        let began_ms = clock();
        Terminal {
            out: QuietWriter::new("the terminal", out),
            held_back: HeldBack::default(),
            clock,
            verbose,
            colour,
            columns: || terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)),
            phase: String::new(),
            began_ms,
            speed: Speed::default(),
            drawn_ms: None,
            asking: false,
        }
    }

    fn clear(&mut self) {
        if self.drawn_ms.take().is_some() {
            self.out.write("\r\x1b[2K");
        }
    }

    fn draw(&mut self, text: &str, now_ms: u64) {
        // One column stays free: a full line would wrap on some terminals.
        let room = (self.columns)().saturating_sub(1).max(20);
        let text: String = text.chars().take(room).collect();
        let (on, off) = if self.colour {
            ("\x1b[36m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.out.write(&format!("\r\x1b[2K{on}{text}{off}"));
        self.drawn_ms = Some(now_ms);
    }

    fn count(&mut self, event: &Event, text: &str, now_ms: u64) {
        let Event::Progress { done, total, .. } = event else {
            return;
        };
        let speed = self.speed.of(event, now_ms);
        let due = self
            .drawn_ms
            .is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= TTY_DRAW_EVERY_MS);
        if self.asking || !(due || *total == Some(*done)) {
            return;
        }
        let age = words::duration(now_ms.saturating_sub(self.began_ms));
        let line = format!("{} {age} · {text}{speed}", self.phase);
        self.draw(&line, now_ms);
    }
}

impl<W: Write + Send> Listener for Terminal<W> {
    fn take(&mut self, event: &Event) {
        let now_ms = (self.clock)();
        let shown = self.held_back.take(now_ms, event);
        if shown.is_empty() {
            // What is not shown still ends the line of a count.
            self.clear();
        }
        for (at_ms, event) in shown {
            self.show(&event, at_ms);
        }
    }
}

impl<W: Write> Terminal<W> {
    fn show(&mut self, event: &Event, now_ms: u64) {
        if let Event::Begun { phase, .. } = event {
            self.phase = words::action(*phase).unwrap_or_default();
            self.began_ms = now_ms;
            self.speed.begin();
        }
        let (weight, text) = words::of(event);
        match weight {
            Weight::Count => return self.count(event, &text, now_ms),
            Weight::Detail if !self.verbose => return,
            Weight::Detail | Weight::Line | Weight::Alarm => {}
        }
        self.clear();
        self.asking = matches!(event, Event::Asking { .. });
        let (on, off) = match (self.colour, weight) {
            (false, _) | (true, Weight::Line | Weight::Count) => ("", ""),
            (true, Weight::Detail) => ("\x1b[2m", "\x1b[0m"),
            (true, Weight::Alarm) => ("\x1b[1m", "\x1b[0m"),
        };
        self.out.write(&format!("{on}{text}{off}\n"));
        let (on, off) = if self.colour {
            // Light on dark, whatever the terminal's own colours are.
            ("\x1b[97;40m", "\x1b[0m")
        } else {
            ("", "")
        };
        self.out.write(&drawn(event, on, off));
    }
}

/// The lines that are drawn below an event: a QR code of what is there to be scanned.
fn drawn(event: &Event, on: &str, off: &str) -> String {
    let scan = match event {
        Event::Asking { scan, .. } => scan.as_deref(),
        _ => None,
    };
    let lines = scan.and_then(crate::qr::lines).unwrap_or_default();
    lines.iter().map(|line| format!("{on}{line}{off}\n")).collect()
}

/// The log in the run directory: JSON lines, at most 16 MiB and once that put aside.
pub struct LogFile {
    path: Utf8PathBuf,
    out: QuietWriter<std::fs::File>,
    written: u64,
    bytes_max: u64,
    clock: Clock,
    rate: RateLimit,
}

impl LogFile {
    /// Goes on with the log of this boot.
    ///
    /// # Errors
    /// The log cannot be opened or read, or something else has its name.
    pub fn open(run_dir: &Utf8Path) -> std::io::Result<Self> {
        Self::open_with(run_dir, LOG_BYTES_MAX, clock())
    }

    fn open_with(run_dir: &Utf8Path, bytes_max: u64, clock: Clock) -> std::io::Result<Self> {
        let path = run_dir.join("log.jsonl");
        let file = append(&path)?;
        let written = file.metadata()?.len();
        let mut out = QuietWriter::new(path.as_str(), file);
        // The next event must not be a part of a line that was cut off.
        if written > 0 && !ends_a_line(&path)? {
            out.write("\n");
        }
        Ok(LogFile {
            written,
            out,
            path,
            bytes_max,
            clock,
            rate: RateLimit::new(FILE_COUNT_EVERY_MS),
        })
    }

    fn rotate(&mut self) {
        let aside = self.path.with_extension("jsonl.1");
        match fs::rename(&self.path, aside).and_then(|()| append(&self.path)) {
            Ok(file) => {
                self.out = QuietWriter::new(self.path.as_str(), file);
                self.written = 0;
            }
            Err(error) => {
                // Going on would fill the memory that tmpfs lives in.
                self.out.give_up();
                print_error(&format!(
                    "landfall: the log can no longer be written and ends here: {}",
                    said(&error)
                ));
            }
        }
    }
}

fn append(path: &Utf8Path) -> std::io::Result<std::fs::File> {
    safe_open::open_own(path, 0o600, true).map_err(|refused| refused.into_io(path))
}

/// Whether the last byte of a file ends a line.
fn ends_a_line(path: &Utf8Path) -> std::io::Result<bool> {
    let mut file = safe_open::open(path, Links::Refuse).map_err(|refused| refused.into_io(path))?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Listener for LogFile {
    fn take(&mut self, event: &Event) {
        let now_ms = (self.clock)();
        if !self.rate.admits(event, now_ms) {
            return;
        }
        let line = json_line(now_ms, event);
        if self.written + line.len() as u64 > self.bytes_max && self.out.is_open() {
            self.rotate();
        }
        self.written += line.len() as u64;
        self.out.write(&line);
    }
}

/// `status.json`: where the run is, replaced as a whole so that a reader never sees half of it.
pub struct StatusFile {
    path: Utf8PathBuf,
    status: Status,
    clock: Clock,
    rate: RateLimit,
    silent: bool,
}

impl StatusFile {
    /// Begins a new status of a run with this configuration, if one was named.
    pub fn new(run_dir: &Utf8Path, config: Option<&Utf8Path>) -> Self {
        let clock = clock();
        // Whoever reads it may be in another directory.
        let whole = |path: &Utf8Path| {
            camino::absolute_utf8(path).map_or_else(|_| path.to_string(), |whole| whole.to_string())
        };
        StatusFile {
            path: run_dir.join("status.json"),
            status: Status {
                config: config.map(whole),
                ..Status::begin(std::process::id(), clock())
            },
            clock,
            rate: RateLimit::new(FILE_COUNT_EVERY_MS),
            silent: false,
        }
    }

    fn replace(&self) -> std::io::Result<()> {
        let text = serde_json::to_vec(&self.status).map_err(std::io::Error::other)?;
        safe_open::replace(&self.path, 0o644, &text)
    }
}

impl Listener for StatusFile {
    fn take(&mut self, event: &Event) {
        let now_ms = (self.clock)();
        self.status.take(event, now_ms);
        if self.silent || !self.rate.admits(event, now_ms) {
            return;
        }
        if let Err(error) = self.replace() {
            self.silent = true;
            print_error(&format!(
                "landfall: the status is no longer updated: {}; the install continues",
                said(&error)
            ));
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
