//! The screen as a listener.
//!
//! Events never wait for the terminal, which may be stopped (Ctrl-S) or slow: a thread of its own draws, at most ten times a
//! second. Only a question and the end of a run are waited for, for two seconds, so that the picture is complete before a
//! question is asked and before the last lines of a run.
//!
//! `screen::layout` and `screen::canvas` say what a picture looks like.

use super::canvas::{Canvas, Shows, Size};
use super::terminal::SIZE;
use super::{Beside, Mood, Picture, Seen};
use crate::cli::line::{Clock, QuietWriter, plain_line};
use crate::cli::next_step::Told;
use crate::cli::run_status::{Ending, Status};
use crate::event::{Event, Listener};
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shortest time between two pictures.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// The screen's clock and size are read again after this time.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long landfall waits for a terminal that accepts no output.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The size of a terminal now.
pub type SizeOf = Box<dyn Fn() -> Option<Size> + Send>;

/// What listener and drawing thread share.
struct State {
    status: Status,
    beside: Beside,
    /// Rises with every event.
    told: u64,
    /// The events up to this one are drawn.
    drawn: u64,
    /// Rises with every question.
    questions: u64,
    /// Lines for below the last picture.
    later: Vec<String>,
    is_over: bool,
    is_closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Events and figures: never half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything told so far is drawn, or for [`WAIT_MAX`].
    fn drawn(&self, state: MutexGuard<'_, State>) {
        let told = state.told;
        let waited = self
            .changed
            .wait_timeout_while(state, WAIT_MAX, |state| state.drawn < told && !state.is_closed);
        drop(waited);
    }
}

/// The screen of a run.
pub struct Screen {
    shared: Arc<Shared>,
    clock: Clock,
    verbose: bool,
}

/// Where and how the screen is drawn.
pub struct Place<W> {
    /// Where it is written to.
    pub out: W,
    /// What it is called.
    pub name: String,
    /// Its size.
    pub size: SizeOf,
    /// What it can show.
    pub shows: Shows,
    /// Whether what a failure is stands below the last picture, because standard error is this terminal, too.
    pub is_told_below: bool,
}

impl Screen {
    /// Draws there from now on. The error is that of starting a thread.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn on<W: Write + Send + 'static>(
        place: Place<W>,
        clock: impl Fn() -> Clock,
        verbose: bool,
    ) -> std::io::Result<Screen> {
        Screen::of_run(place, clock, verbose, Told::default())
    }

    /// The same of a run whose next step is typed so.
    ///
    /// # Errors
    /// The thread does not start.
    pub(in crate::cli) fn of_run<W: Write + Send + 'static>(
        place: Place<W>,
        clock: impl Fn() -> Clock,
        verbose: bool,
        told: Told,
    ) -> std::io::Result<Screen> {
        let theirs = clock();
        let clock = clock();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                status: Status::begin(std::process::id(), clock()),
                beside: Beside::told(told),
                told: 1,
                drawn: 0,
                questions: 0,
                later: vec![],
                is_over: false,
                is_closed: false,
            }),
            changed: Condvar::new(),
        });
        let drawn = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || draw(&drawn, place, &theirs))?;
        Ok(Screen {
            shared,
            clock,
            verbose,
        })
    }
}

impl Listener for Screen {
    fn take(&mut self, event: &Event) {
        let now_ms = (self.clock)();
        let mut state = self.shared.lock();
        if state.is_over {
            if Seen::of(now_ms, event, self.verbose).is_some() {
                state.later.push(plain_line(now_ms, event));
            }
        } else {
            let was_asking = state.status.asking.is_some();
            let State { status, beside, .. } = &mut *state;
            status.take(event, now_ms);
            beside.take(event, now_ms, status, self.verbose);
            let is_note = was_asking && matches!(event, Event::Notice { .. });
            if is_note {
                // The question stays; the note stands below it.
                state.later.push(plain_line(now_ms, event));
            }
        }
        state.told += 1;
        self.shared.changed.notify_all();
        match event {
            Event::Asking { .. } => {
                state.questions += 1;
                self.shared.drawn(state);
            }
            event if event.is_end() => {
                state.is_over = true;
                self.shared.drawn(state);
            }
            _ => {}
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.told += 1;
        self.shared.changed.notify_all();
        self.shared.drawn(state);
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

/// The thread that draws.
fn draw<W: Write>(shared: &Shared, place: Place<W>, clock: &Clock) {
    let Place {
        out,
        name,
        size,
        shows,
        is_told_below,
    } = place;
    let mut out = QuietWriter::new(name, out);
    let mut canvas = Canvas::new(shows);
    let mut is_ended = false;
    loop {
        let state = shared.lock();
        let waited = shared.changed.wait_timeout_while(state, LOOK_EVERY, |state| {
            state.drawn == state.told && !state.is_closed
        });
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return;
        }
        let told = state.told;
        let now_ms = clock();
        let size = size().unwrap_or(SIZE);
        let later: String = state.later.drain(..).map(|line| format!("\r\n{line}")).collect();
        let mut picture = Picture::of(&state.status, true, now_ms, &state.beside);
        let question = (picture.mood == Mood::Asking).then(|| {
            let prompt = state.status.asking.as_deref().unwrap_or_default();
            (state.questions, prompt.chars().count())
        });
        let is_over = state.is_over;
        let has_ending = state.status.ending.is_some();
        // What the command says on standard error as well.
        let is_laid_out = match state.status.ending {
            Some(Ending::Stopped { .. } | Ending::NothingToResume { .. }) => true,
            Some(Ending::Landed { .. } | Ending::AlreadyLanded { .. }) | None => false,
        };
        drop(state);
        let later = if later.is_empty() { later } else { later + "\r\n" };
        let text = if is_ended {
            later.trim_start_matches("\r\n").to_owned()
        } else if is_over {
            is_ended = true;
            if !has_ending {
                picture = picture.without_ending();
            }
            let mut below = 0;
            if is_laid_out && is_told_below {
                let columns = usize::from(size.0.max(1));
                let lines = |text: &String| (text.chars().count() + 10).div_ceil(columns);
                // What stopped, and where the log is.
                below = 3 + picture.ending.iter().map(|(_, text)| lines(text)).sum::<usize>();
                picture.ending.clear();
            }
            canvas.end(&picture, size, below) + later.trim_start_matches("\r\n")
        } else if question.is_some() {
            canvas.show(&picture, size, now_ms, question) + &later
        } else {
            canvas.show(&picture, size, now_ms, question)
        };
        if !text.is_empty() {
            out.write(&text);
        }
        let mut state = shared.lock();
        state.drawn = told;
        shared.changed.notify_all();
        drop(state);
        if !is_ended && question.is_none() {
            std::thread::sleep(DRAW_EVERY);
        }
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
