//! What the threads of `landfall simulate` share: a count, a stop request, a time to end.

use crate::cli::print_error;
use crate::exit::Exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often progress is shown, in milliseconds.
const PROGRESS_EVERY_MS: u64 = 2_000;

/// What all threads share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// Scenarios run so far.
    pub(super) done: Arc<AtomicU64>,
    /// Somebody asked to stop.
    pub(super) stop: Arc<AtomicBool>,
    /// When no further scenario is begun.
    pub(super) until: Option<Instant>,
}

impl Shared {
    /// Whether another scenario is to be begun.
    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// How a simulation ends.
pub(super) fn ended(failed: u64, interrupted: bool) -> Exit {
    match (failed, interrupted) {
        (0, true) => Exit::Interrupted,
        (0, false) => Exit::Ok,
        (_, _) => Exit::Permanent,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn progress(shared: &Shared, done: &AtomicBool, what: &str) {
    let mut waited_ms = 0;
    let step_ms = 50;
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(step_ms));
        waited_ms += step_ms;
        if waited_ms % PROGRESS_EVERY_MS == 0 {
            let done_count = shared.done.load(Ordering::Relaxed);
            print_error(&format!("{} s: {done_count} {what}", waited_ms / 1_000));
        }
    }
}
