//! landfall as a systemd service: messages to the service manager, signals, and the debug trace.
//!
//! The first signal asks for a stop at the next safe point; the second one shows what landfall is waiting for. No signal stops
//! landfall between two writes that belong together.
//!
//! `real::process` and the driver have the safe points.

use super::print_error;
use crate::event::{Event, Listener, Reporter};
use sd_notify::NotifyState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What is being done, for somebody who asks while waiting, and whether an end was told.
#[derive(Debug, Clone, Default)]
pub struct Doing(Arc<Mutex<(String, bool)>>);

impl Doing {
    /// In a sentence.
    pub fn now(&self) -> String {
        self.lock().0.clone()
    }

    /// Whether the end of the run was told ([`Event::is_end`]).
    pub fn has_ended(&self) -> bool {
        self.lock().1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (String, bool)> {
        // A text is never half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Doing {
    fn take(&mut self, event: &Event) {
        let mut doing = self.lock();
        doing.1 |= event.is_end();
        match event {
            Event::Begun { what, .. } | Event::Step { what } | Event::Asking { what, .. } => {
                doing.0.clone_from(what)
            }
            Event::Reached { phase, .. } => doing.0 = format!("what follows {phase}"),
            _ => {}
        }
    }
}

/// Tells the service manager (`sd_notify(3)`); silent when there is none.
#[derive(Debug, Default)]
pub struct ServiceManager {
    silent: bool,
    last_count_ms: Option<u64>,
}

impl ServiceManager {
    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if !self.silent
            && let Err(error) = sd_notify::notify(states)
        {
            self.silent = true;
            print_error(&format!(
                "landfall: the service manager cannot be notified: {error}; the install continues"
            ));
        }
    }
}

impl Listener for ServiceManager {
    fn take(&mut self, event: &Event) {
        let status = |text: &str| text.chars().take(200).collect::<String>();
        match event {
            Event::Started { .. } => {
                self.tell(&[NotifyState::Ready, NotifyState::Status("reading the disks")])
            }
            Event::Progress { .. } => {
                let now_ms = super::since_boot_ms();
                if self
                    .last_count_ms
                    .is_none_or(|last| now_ms.saturating_sub(last) >= 5_000)
                {
                    self.last_count_ms = Some(now_ms);
                    self.tell(&[NotifyState::Status(&status(&super::words::of(event).1))]);
                }
            }
            Event::Landed { .. }
            | Event::AlreadyLanded { .. }
            | Event::NothingToResume { .. }
            | Event::Stopped { .. } => {
                self.tell(&[
                    NotifyState::Stopping,
                    NotifyState::Status(&status(&super::words::of(event).1)),
                ]);
            }
            Event::Begun { .. }
            | Event::Reached { .. }
            | Event::Asking { .. }
            | Event::Failed { .. }
            | Event::RetryIn { .. } => self.tell(&[NotifyState::Status(&status(&super::words::of(event).1))]),
            Event::DiskChosen { .. }
            | Event::Decided { .. }
            | Event::Checked { .. }
            | Event::Found { .. }
            | Event::Step { .. }
            | Event::Output { .. }
            | Event::Saved { .. }
            | Event::Notice { .. } => {}
        }
    }
}

/// Feeds the service manager's watchdog, at half its interval, for as long as this thread's tasks are run at all. Ends
/// at once when there is no watchdog.
pub async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut beat = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        beat.tick().await;
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            print_error(&format!("landfall: the watchdog cannot be notified: {error}"));
            return;
        }
    }
}

/// Turns signals into the stop request. Ends when nobody can be asked any more.
///
/// # Errors
/// The handlers of the signals cannot be set up.
pub async fn watch_signals(
    wish: watch::Sender<Option<&'static str>>,
    reporter: Reporter,
    doing: Doing,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    loop {
        let name = tokio::select! {
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT (Ctrl-C)",
            Some(()) = hangup.recv() => "SIGHUP",
            Some(()) = quit.recv() => "SIGQUIT",
            else => return Ok(()),
        };
        let what = match doing.now() {
            text if text.is_empty() => "the beginning".to_owned(),
            text => text,
        };
        let first = wish.send_if_modified(|wish| {
            let first = wish.is_none();
            if first {
                *wish = Some(name);
            }
            first
        });
        reporter.notice(if first {
            format!("{name}: stopping at the next safe point; the progress will be saved")
        } else {
            format!("{name}: still stopping; waiting for: {what}")
        });
    }
}

/// landfall's own trace on standard error. Spans and events of the trace hold what events of the run may hold: no secrets.
pub fn trace_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let tracing = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("landfall=debug"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .try_init();
    if let Err(error) = tracing {
        print_error(&format!("landfall: no trace: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::process::stop::Stop;
    use nix::sys::signal::{Signal, raise};

    struct Heard(Arc<Mutex<Vec<String>>>);
    impl Listener for Heard {
        fn take(&mut self, event: &Event) {
            self.0.lock().unwrap().push(super::super::words::of(event).1);
        }
    }

    #[tokio::test]
    async fn the_first_signal_asks_the_second_is_answered() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (reporter, doing) = (Reporter::default(), Doing::default());
        reporter.add(Box::new(Heard(heard.clone())));
        reporter.add(Box::new(doing.clone()));
        let (wish, stop) = Stop::new();
        let watching = tokio::spawn(watch_signals(wish, reporter.clone(), doing));
        tokio::task::yield_now().await;
        reporter.step("mkfs.ext4 root-web");
        assert!(!stop.is_requested());
        // SIGHUP: the test runner itself uses the others.
        raise(Signal::SIGHUP).unwrap();
        stop.requested().await;
        assert!(stop.fault().why().contains("SIGHUP"));
        raise(Signal::SIGHUP).unwrap();
        for _ in 0..100 {
            if heard.lock().unwrap().len() >= 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        watching.abort();
        let heard = heard.lock().unwrap();
        assert_eq!(
            heard[1..],
            [
                "note: SIGHUP: stopping at the next safe point; the progress will be saved",
                "note: SIGHUP: still stopping; waiting for: mkfs.ext4 root-web"
            ]
        );
    }
}
