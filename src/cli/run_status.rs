//! The status of a run, as `status.json` holds it. It comes from events alone, but for the process and the configuration, which are known
//! before the first event.
//!
//! `cli::report` reads it, and `cli::screen` shows it.

use super::next_step::Told;
use crate::event::{Event, FaultTold};
use camino::Utf8Path;
use landfall_states::Phase;
use serde::{Deserialize, Serialize};

/// A count of long work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What is counted.
    #[serde(rename = "what")]
    pub what: String,
    /// So many.
    #[serde(rename = "done")]
    pub done: u64,
    /// Of so many, when known.
    #[serde(rename = "total")]
    pub total: Option<u64>,
    /// Of these.
    #[serde(rename = "unit")]
    pub unit: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Landed.
    #[serde(rename = "landed")]
    Landed {
        /// The system.
        #[serde(rename = "system")]
        system: String,
        /// The revision.
        #[serde(rename = "revision")]
        revision: String,
    },
    /// It was finished before this run.
    #[serde(rename = "already_landed")]
    AlreadyLanded {
        /// The system.
        #[serde(rename = "system")]
        system: String,
        /// The revision.
        #[serde(rename = "revision")]
        revision: String,
    },
    /// There was no install to continue.
    #[serde(rename = "nothing_to_resume")]
    NothingToResume {
        /// Why.
        #[serde(rename = "why")]
        why: String,
        /// What the reason lists.
        #[serde(rename = "list", default, skip_serializing_if = "Vec::is_empty")]
        list: Vec<String>,
        /// What to do.
        #[serde(rename = "next")]
        next: String,
    },
    /// Stopped before.
    #[serde(rename = "stopped")]
    Stopped {
        /// Where; `None` when nothing was begun, and no disk was written to.
        #[serde(rename = "phase")]
        phase: Option<Phase>,
        /// Why, and what to do.
        #[serde(rename = "fault")]
        fault: FaultTold,
    },
}

/// Where a run is. Times are milliseconds since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id.
    #[serde(rename = "pid")]
    pub pid: u32,
    /// `install` or `resume`.
    #[serde(rename = "command")]
    pub command: String,
    /// The host.
    #[serde(rename = "host")]
    pub host: String,
    /// When the run began.
    #[serde(rename = "began_ms")]
    pub began_ms: u64,
    /// When something was last heard.
    #[serde(rename = "heard_ms")]
    pub heard_ms: u64,
    /// The last phase reached or worked from.
    #[serde(rename = "phase")]
    pub phase: Option<Phase>,
    /// When the work on it began.
    #[serde(rename = "phase_since_ms")]
    pub phase_since_ms: Option<u64>,
    /// The attempt, over all runs.
    #[serde(rename = "attempt")]
    pub attempt: Option<u32>,
    /// The newest step.
    #[serde(rename = "step")]
    pub step: Option<String>,
    /// The newest count.
    #[serde(rename = "count")]
    pub count: Option<Count>,
    /// A question that waits for an answer.
    #[serde(rename = "asking")]
    pub asking: Option<String>,
    /// A retry that is waited for: when it begins.
    #[serde(rename = "retry_at_ms")]
    pub retry_at_ms: Option<u64>,
    /// The newest fault of this run.
    #[serde(rename = "last_fault")]
    pub last_fault: Option<FaultTold>,
    /// How it ended.
    #[serde(rename = "ending")]
    pub ending: Option<Ending>,
    /// The configuration that the command named, with its whole path; it came later, and is left out where none was named.
    #[serde(rename = "config", default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

impl Status {
    /// Before the first event.
    pub fn begin(pid: u32, now_ms: u64) -> Self {
        Status {
            pid,
            command: String::new(),
            host: String::new(),
            began_ms: now_ms,
            heard_ms: now_ms,
            phase: None,
            phase_since_ms: None,
            attempt: None,
            step: None,
            count: None,
            asking: None,
            retry_at_ms: None,
            last_fault: None,
            ending: None,
            config: None,
        }
    }

    /// What the next step of this run is typed with.
    pub(super) fn told(&self, run_dir: &Utf8Path) -> Told {
        Told::of(self.config.as_deref().map(Utf8Path::new), run_dir)
    }

    /// One more event.
    #[expect(clippy::too_many_lines, reason = "one row for each kind of event")]
    pub fn take(&mut self, event: &Event, now_ms: u64) {
        self.heard_ms = now_ms;
        // A program's output, and a note of a signal or of a wrong answer, may come while somebody is asked; anything else means that the
        // answer came.
        if !matches!(event, Event::Output { .. } | Event::Notice { .. }) {
            self.asking = None;
        }
        match event {
            Event::Started {
                version: _,
                host,
                command,
            } => {
                self.host.clone_from(host);
                self.command.clone_from(command);
            }
            Event::DiskChosen { device, identity, .. } => {
                self.step = Some(format!("disk {device} ({identity})"))
            }
            Event::Decided { what, claimed, .. } => {
                self.step = Some(what.clone());
                self.phase = claimed.or(self.phase);
            }
            Event::Checked { what, .. } | Event::Step { what } => self.step = Some(what.clone()),
            Event::Found { phase } => {
                let next = Phase::ALL.get(*phase as usize + 1);
                self.phase = Some(next.copied().unwrap_or(Phase::Landed));
            }
            Event::Begun { phase, attempt, what } => {
                self.phase = Some(*phase);
                self.phase_since_ms = Some(now_ms);
                self.attempt = Some(*attempt);
                self.step = Some(what.clone());
                self.count = None;
                self.retry_at_ms = None;
            }
            Event::Reached { phase, .. } => {
                self.phase = Some(*phase);
                self.phase_since_ms = Some(now_ms);
                self.attempt = None;
                self.step = None;
                self.count = None;
            }
            Event::Progress {
                what,
                done,
                total,
                unit,
            } => {
                self.count = Some(Count {
                    what: what.clone(),
                    done: *done,
                    total: *total,
                    unit: unit.clone(),
                });
            }
            Event::Output { .. } | Event::Saved { .. } | Event::Notice { .. } => {}
            Event::Asking { what, .. } => self.asking = Some(what.clone()),
            Event::Failed { phase, fault } => {
                self.phase = Some(*phase);
                self.last_fault = Some(fault.clone());
            }
            Event::RetryIn { wait_ms, .. } => self.retry_at_ms = Some(now_ms.saturating_add(*wait_ms)),
            Event::Landed { system, revision } => {
                self.phase = Some(Phase::Landed);
                self.ending = Some(Ending::Landed {
                    system: system.clone(),
                    revision: revision.clone(),
                });
            }
            Event::AlreadyLanded { system, revision } => {
                self.phase = Some(Phase::Landed);
                self.ending = Some(Ending::AlreadyLanded {
                    system: system.clone(),
                    revision: revision.clone(),
                });
            }
            Event::NothingToResume { why, list, next } => {
                self.ending = Some(Ending::NothingToResume {
                    why: why.clone(),
                    list: list.clone(),
                    next: next.clone(),
                });
            }
            Event::Stopped { phase, fault } => {
                self.phase = *phase;
                self.ending = Some(Ending::Stopped {
                    phase: *phase,
                    fault: fault.clone(),
                });
            }
        }
    }
}
