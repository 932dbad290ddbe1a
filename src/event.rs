//! What a run reports about itself.
//!
//! One enum serves every listener (terminal, serial console, JSON lines, log file, journal). An event holds facts and real
//! counts, never an estimate and never a secret.
//!
//! `cli::words` makes the texts.

use landfall_states::Phase;
use landfall_states::fault::{Fault, FaultClass, FaultRecord};
use landfall_states::untrusted_text::Shown;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A fault as events tell it: its words, and the values that they were made of, so that no reader has to take words apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultTold {
    /// Its words.
    #[serde(flatten)]
    pub record: FaultRecord,
    /// The name of its kind. Events of version 1 have none.
    #[serde(rename = "kind", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What was known, by name.
    #[serde(rename = "values", default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Value>,
    /// What to do next: a command, a change and a command, or words.
    #[serde(rename = "remedy", default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Value>,
}

impl FaultTold {
    /// Its class.
    pub fn class(&self) -> FaultClass {
        self.record.class
    }
}

impl From<&Fault> for FaultTold {
    fn from(fault: &Fault) -> Self {
        // Kinds hold texts, numbers and lists only; should that change, the event says what was lost.
        let json = |value: serde_json::Result<Value>| value.unwrap_or_else(|e| Value::String(e.to_string()));
        let (kind, values) = match json(serde_json::to_value(&*fault.kind)) {
            Value::Object(mut map) => {
                let kind = map
                    .remove("kind")
                    .and_then(|name| name.as_str().map(str::to_owned));
                (kind, map.remove("values"))
            }
            other => (None, Some(other)),
        };
        FaultTold {
            record: fault.record(),
            kind,
            values,
            remedy: Some(json(serde_json::to_value(&fault.remedy))),
        }
    }
}

impl std::fmt::Display for FaultTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.record.fmt(f)
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A run begins.
    #[serde(rename = "started")]
    Started {
        /// landfall's version.
        #[serde(rename = "version")]
        version: String,
        /// The host.
        #[serde(rename = "host")]
        host: String,
        /// The command: `install` or `resume`.
        #[serde(rename = "command")]
        command: String,
    },
    /// Which disk, and why.
    #[serde(rename = "disk_chosen")]
    DiskChosen {
        /// Kernel name now, for people.
        #[serde(rename = "device")]
        device: String,
        /// Its identity.
        #[serde(rename = "identity")]
        identity: String,
        /// Why this one.
        #[serde(rename = "why")]
        why: String,
    },
    /// What was decided from checkpoints and disk.
    #[serde(rename = "decided")]
    Decided {
        /// The numbered recovery rules that applied.
        #[serde(rename = "rules")]
        rules: Vec<u8>,
        /// What it means, in a sentence.
        #[serde(rename = "what")]
        what: String,
        /// The phase that the checkpoint claims.
        #[serde(rename = "claimed")]
        claimed: Option<Phase>,
    },
    /// A check before the first write passed.
    #[serde(rename = "checked")]
    Checked {
        /// What was checked.
        #[serde(rename = "what")]
        what: String,
        /// What was found.
        #[serde(rename = "found")]
        found: String,
    },
    /// The action that leads on from `phase` was looked at and is already done.
    #[serde(rename = "found")]
    Found {
        /// The phase it leads on from.
        #[serde(rename = "phase")]
        phase: Phase,
    },
    /// The action begins.
    #[serde(rename = "begun")]
    Begun {
        /// The phase it leads on from.
        #[serde(rename = "phase")]
        phase: Phase,
        /// Attempt number, over all runs.
        #[serde(rename = "attempt")]
        attempt: u32,
        /// What it does.
        #[serde(rename = "what")]
        what: String,
    },
    /// The action is done and was looked at again.
    #[serde(rename = "reached")]
    Reached {
        /// The new phase.
        #[serde(rename = "phase")]
        phase: Phase,
        /// How long it took, in milliseconds.
        #[serde(rename = "took_ms")]
        took_ms: u64,
    },
    /// A part of an action, such as `mkfs.ext4 root-web`.
    #[serde(rename = "step")]
    Step {
        /// What is done.
        #[serde(rename = "what")]
        what: String,
    },
    /// Real counts of long work.
    #[serde(rename = "progress")]
    Progress {
        /// What is counted.
        #[serde(rename = "what")]
        what: String,
        /// Done so far.
        #[serde(rename = "done")]
        done: u64,
        /// Of how many, when that is known.
        #[serde(rename = "total")]
        total: Option<u64>,
        /// `bytes`, `paths`, `objects`.
        #[serde(rename = "unit")]
        unit: String,
    },
    /// A line that an external program printed.
    #[serde(rename = "output")]
    Output {
        /// The program.
        #[serde(rename = "program")]
        program: String,
        /// The line.
        #[serde(rename = "line")]
        line: String,
    },
    /// The checkpoint was saved.
    #[serde(rename = "saved")]
    Saved {
        /// Its sequence number.
        #[serde(rename = "sequence")]
        sequence: u64,
        /// The phase it states.
        #[serde(rename = "phase")]
        phase: Phase,
        /// `tmpfs`, `slot 0` or `slot 1`.
        #[serde(rename = "place")]
        place: String,
    },
    /// Somebody is asked something.
    #[serde(rename = "asking")]
    Asking {
        /// The question.
        #[serde(rename = "what")]
        what: String,
        /// Text to show as a QR code.
        #[serde(rename = "scan", default, skip_serializing_if = "Option::is_none")]
        scan: Option<String>,
    },
    /// Something to know that is no fault.
    #[serde(rename = "notice")]
    Notice {
        /// The text.
        #[serde(rename = "what")]
        what: String,
    },
    /// An action failed.
    #[serde(rename = "failed")]
    Failed {
        /// The phase that the action leads on from.
        #[serde(rename = "phase")]
        phase: Phase,
        /// The fault.
        #[serde(rename = "fault")]
        fault: FaultTold,
    },
    /// It will be tried again.
    #[serde(rename = "retry_in")]
    RetryIn {
        /// How long it waits, in milliseconds.
        #[serde(rename = "wait_ms")]
        wait_ms: u64,
        /// Which retry of this run, from 1.
        #[serde(rename = "retry")]
        retry: u32,
    },
    /// The install is finished.
    #[serde(rename = "landed")]
    Landed {
        /// The store path of the installed system.
        #[serde(rename = "system")]
        system: String,
        /// The revision of the repository.
        #[serde(rename = "revision")]
        revision: String,
    },
    /// The install was finished before this run; nothing was changed. It ends a run, as do `landed`, `nothing_to_resume` and `stopped`.
    #[serde(rename = "already_landed")]
    AlreadyLanded {
        /// The store path of the installed system.
        #[serde(rename = "system")]
        system: String,
        /// The revision of the repository.
        #[serde(rename = "revision")]
        revision: String,
    },
    /// `resume` found no install to continue; nothing was changed.
    #[serde(rename = "nothing_to_resume")]
    NothingToResume {
        /// Why there is none.
        #[serde(rename = "why")]
        why: String,
        /// What the reason lists, such as the disks that cannot take an install, each with its reason.
        #[serde(rename = "list", default, skip_serializing_if = "Vec::is_empty")]
        list: Vec<String>,
        /// The next command, or what to change before it.
        #[serde(rename = "next")]
        next: String,
    },
    /// Stopped before the end.
    #[serde(rename = "stopped")]
    Stopped {
        /// The phase; none if nothing was begun, and no disk was written to.
        #[serde(rename = "phase")]
        phase: Option<Phase>,
        /// The fault that ended the run.
        #[serde(rename = "fault")]
        fault: FaultTold,
    },
}

impl Event {
    /// Whether this is the last word of a run. Every run that is not killed tells exactly one of these.
    pub fn is_end(&self) -> bool {
        match self {
            Event::Landed { .. }
            | Event::AlreadyLanded { .. }
            | Event::NothingToResume { .. }
            | Event::Stopped { .. } => true,
            Event::Started { .. }
            | Event::DiskChosen { .. }
            | Event::Decided { .. }
            | Event::Checked { .. }
            | Event::Found { .. }
            | Event::Begun { .. }
            | Event::Reached { .. }
            | Event::Step { .. }
            | Event::Progress { .. }
            | Event::Output { .. }
            | Event::Saved { .. }
            | Event::Asking { .. }
            | Event::Notice { .. }
            | Event::Failed { .. }
            | Event::RetryIn { .. } => false,
        }
    }

    /// With every text in the form in which it can be shown: what it quotes was chosen by others, and it goes to consoles, and to
    /// files in memory. Faults make their own words so.
    #[expect(clippy::too_many_lines, reason = "one row for each kind of event")]
    fn shown(self) -> Event {
        let line = |text: String| String::from(Shown::line(&text));
        let text = |text: String| String::from(Shown::text(&text));
        match self {
            Event::Started {
                version,
                host,
                command,
            } => Event::Started {
                version: line(version),
                host: line(host),
                command: line(command),
            },
            Event::DiskChosen {
                device,
                identity,
                why,
            } => Event::DiskChosen {
                device: line(device),
                identity: line(identity),
                why: text(why),
            },
            Event::Decided { rules, what, claimed } => Event::Decided {
                rules,
                what: text(what),
                claimed,
            },
            Event::Checked { what, found } => Event::Checked {
                what: line(what),
                found: text(found),
            },
            Event::Begun { phase, attempt, what } => Event::Begun {
                phase,
                attempt,
                what: text(what),
            },
            Event::Step { what } => Event::Step { what: text(what) },
            Event::Progress {
                what,
                done,
                total,
                unit,
            } => Event::Progress {
                what: line(what),
                done,
                total,
                unit: line(unit),
            },
            Event::Output { program, line: said } => Event::Output {
                program: line(program),
                line: line(said),
            },
            Event::Saved {
                sequence,
                phase,
                place,
            } => Event::Saved {
                sequence,
                phase,
                place: line(place),
            },
            Event::Asking { what, scan } => Event::Asking {
                what: text(what),
                scan: scan.map(line),
            },
            Event::Notice { what } => Event::Notice { what: text(what) },
            Event::Landed { system, revision } => Event::Landed {
                system: line(system),
                revision: line(revision),
            },
            Event::AlreadyLanded { system, revision } => Event::AlreadyLanded {
                system: line(system),
                revision: line(revision),
            },
            Event::NothingToResume { why, list, next } => Event::NothingToResume {
                why: text(why),
                list: list.into_iter().map(line).collect(),
                next: text(next),
            },
            event @ (Event::Found { .. }
            | Event::Reached { .. }
            | Event::Failed { .. }
            | Event::RetryIn { .. }
            | Event::Stopped { .. }) => event,
        }
    }
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
        let event = event.shown();
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
