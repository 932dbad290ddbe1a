//! What a run tells the world about itself. Law: one enum for every listener (terminal, serial console, JSON lines, log
//! file, journal); an event holds facts and real counts, never an estimate and never a secret.
//!
//! Absent: formatting; see `cli::progress`.

use landfall_states::Phase;
use landfall_states::fault::Fault;
use serde::{Deserialize, Serialize};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run begins.
    Started {
        /// landfall's version.
        version: String,
        /// The host.
        host: String,
        /// The command: `install` or `resume`.
        command: String,
    },
    /// Which disk, and why.
    DiskChosen {
        /// Kernel name now, for people.
        device: String,
        /// Its identity.
        identity: String,
        /// Why this one.
        why: String,
    },
    /// What was decided from checkpoints and disk.
    Decided {
        /// The numbered recovery rules that applied.
        rules: Vec<u8>,
        /// What it means, in a sentence.
        what: String,
        /// The phase that the checkpoint claims.
        claimed: Option<Phase>,
    },
    /// A check before the first write passed.
    Checked {
        /// What.
        what: String,
        /// What was found.
        found: String,
    },
    /// The action that leads on from `phase` was looked at and is already done.
    Found {
        /// The phase it leads on from.
        phase: Phase,
    },
    /// The action begins.
    Begun {
        /// The phase it leads on from.
        phase: Phase,
        /// Attempt number, over all runs.
        attempt: u32,
        /// What it does.
        what: String,
    },
    /// The action is done and was looked at again.
    Reached {
        /// The new phase.
        phase: Phase,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// A part of an action, such as `mkfs.ext4 root-web`.
    Step {
        /// What.
        what: String,
    },
    /// Real counts of long work.
    Progress {
        /// What is counted.
        what: String,
        /// Done so far.
        done: u64,
        /// Of how many, when that is known.
        total: Option<u64>,
        /// `bytes`, `paths`, `objects`.
        unit: String,
    },
    /// A line that an external program printed.
    Output {
        /// The program.
        program: String,
        /// The line.
        line: String,
    },
    /// The checkpoint was saved.
    Saved {
        /// Its sequence number.
        sequence: u64,
        /// The phase it states.
        phase: Phase,
        /// `tmpfs`, `slot 0` or `slot 1`.
        place: String,
    },
    /// Somebody is asked something.
    Asking {
        /// What.
        what: String,
    },
    /// Something to know that is no fault.
    Notice {
        /// What.
        what: String,
    },
    /// A fault.
    Failed {
        /// Where.
        phase: Phase,
        /// What.
        fault: Fault,
    },
    /// It will be tried again.
    RetryIn {
        /// In milliseconds.
        wait_ms: u64,
        /// Which retry of this run, from 1.
        retry: u32,
    },
    /// Finished.
    Landed {
        /// The system.
        system: String,
        /// The revision.
        revision: String,
    },
    /// Stopped before the end.
    Stopped {
        /// Where; `None` when nothing was begun, and no disk was written to.
        phase: Option<Phase>,
        /// Why.
        fault: Fault,
    },
}

/// Takes events. Bounded work only: it is called from everywhere, also between two writes to a disk.
pub trait Listener: Send {
    /// Takes one.
    fn take(&mut self, event: &Event);
}

/// Where events go: a cheap handle to all listeners.
#[derive(Clone, Default)]
pub struct Reporter {
    listeners: std::sync::Arc<std::sync::Mutex<Vec<Box<dyn Listener>>>>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}

impl Reporter {
    /// Adds a listener.
    pub fn add(&self, listener: Box<dyn Listener>) {
        self.lock().push(listener);
    }

    /// Tells all.
    pub fn tell(&self, event: Event) {
        for listener in self.lock().iter_mut() {
            listener.take(&event);
        }
    }

    /// [`Event::Step`].
    pub fn step(&self, what: impl Into<String>) {
        self.tell(Event::Step { what: what.into() });
    }

    /// [`Event::Notice`].
    pub fn notice(&self, what: impl Into<String>) {
        self.tell(Event::Notice { what: what.into() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Listener>>> {
        // A listener that panicked has told nothing to others that could be half-done.
        self.listeners
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
