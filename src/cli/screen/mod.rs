//! The screen that a person watches while a machine is installed: the eleven phases, the current work and its progress, what
//! landfall waits for, the last events, a question, the failure.
//!
//! A picture is made from events and the status and nothing else, so that `install` and `status --watch` show the same. The
//! layout is a pure function of a picture and the size of the terminal. No state of the terminal is set (no alternate screen,
//! no hidden cursor, no scroll region, no raw mode), so nothing has to be restored, however the process ends. The screen
//! takes no keys.
//!
//! The one that asks a question reads its answer: `real::ask`, or systemd's agents.

pub mod canvas;
pub mod layout;
mod letters;
pub mod listener;
pub mod terminal;
mod text;

use super::line::Speed;
use super::next_step::Told;
use super::run_status::{Count, Ending, Status};
use super::words::{self, Weight};
use crate::event::{Event, FaultTold};
use landfall_states::Phase;
use serde::Serialize;
use std::collections::VecDeque;

/// Events that are kept to be shown: no screen has more lines for them.
const EVENTS_MAX: usize = 100;
/// A run that tells nothing for so long is said to, in milliseconds.
const SILENCE_MS: u64 = 30_000;

/// How far a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum PhaseState {
    /// The fact is on the disk.
    #[serde(rename = "done")]
    Done,
    /// It is looked for, or worked on.
    #[serde(rename = "running")]
    Running,
    /// Its turn comes later.
    #[serde(rename = "to_do")]
    ToDo,
    /// The run ended before it was reached.
    #[serde(rename = "failed")]
    Failed,
}

impl PhaseState {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            PhaseState::Done => "done",
            PhaseState::Running => "running",
            PhaseState::ToDo => "to do",
            PhaseState::Failed => "failed",
        }
    }
}

/// Every phase with its state.
pub type Phases = [(Phase, PhaseState); Phase::ALL.len()];

/// How far a run is. `alive`: its process is there.
pub fn phases(run: &Status, alive: bool) -> Phases {
    let reached = match run.ending {
        Some(Ending::Landed { .. } | Ending::AlreadyLanded { .. }) => Some(Phase::Landed),
        Some(Ending::Stopped { .. } | Ending::NothingToResume { .. }) | None => run.phase,
    };
    let next = reached.map_or(0, |phase| phase as usize + 1);
    let at = match (&run.ending, alive) {
        (None, true) => PhaseState::Running,
        (Some(Ending::NothingToResume { .. }), _) => PhaseState::ToDo,
        (None, false) | (Some(_), _) => PhaseState::Failed,
    };
    Phase::ALL.map(|phase| {
        let state = match (phase as usize).cmp(&next) {
            std::cmp::Ordering::Less => PhaseState::Done,
            std::cmp::Ordering::Equal => at,
            std::cmp::Ordering::Greater => PhaseState::ToDo,
        };
        (phase, state)
    })
}

/// A span of time without tenths, which would only flicker.
fn whole_seconds(ms: u64) -> String {
    match ms / 1_000 {
        s @ 0..60 => format!("{s} s"),
        _ => words::duration(ms),
    }
}

/// What a run waits for, in words; `None`: it works.
pub fn waiting_for(run: &Status, now_ms: u64) -> Option<String> {
    if run.ending.is_some() {
        return None;
    }
    if run.asking.is_some() {
        return Some("an answer".to_owned());
    }
    if let Some(at_ms) = run.retry_at_ms.filter(|at_ms| *at_ms > now_ms) {
        return Some(format!("the next try, in {}", whole_seconds(at_ms - now_ms)));
    }
    let silent_ms = now_ms.saturating_sub(run.heard_ms);
    (silent_ms >= SILENCE_MS).then(|| {
        format!(
            "the end of this step; nothing new for {}",
            words::duration(silent_ms)
        )
    })
}

/// What a picture is about; it is what the colour of the headline says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// At work.
    Busy,
    /// Waits for another try.
    Waiting,
    /// Waits for an answer.
    Asking,
    /// Stopped.
    Failed,
    /// Landed.
    Landed,
}

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Milliseconds since boot.
    pub at_ms: u64,
    /// Must not be missed.
    pub is_alarm: bool,
    /// In words.
    pub text: String,
}

impl Seen {
    /// As a line of the events; `None`: it is shown elsewhere, or is a detail that was not asked for.
    pub fn of(at_ms: u64, event: &Event, verbose: bool) -> Option<Seen> {
        if event.is_end() || matches!(event, Event::Asking { .. }) {
            return None;
        }
        let (weight, text) = words::of(event);
        let is_shown = match weight {
            Weight::Detail => verbose,
            Weight::Count => false,
            Weight::Line | Weight::Alarm => true,
        };
        is_shown.then_some(Seen {
            at_ms,
            is_alarm: weight == Weight::Alarm,
            text,
        })
    }
}

/// Everything that is shown, in words and figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What it is about.
    pub mood: Mood,
    /// The headline's word.
    pub headline: &'static str,
    /// The host; empty before it is known.
    pub host: String,
    /// For how long the run is at work, in milliseconds.
    pub age_ms: u64,
    /// Every phase.
    pub phases: Phases,
    /// For how long the running phase is worked on, in milliseconds.
    pub phase_age_ms: Option<u64>,
    /// Its attempt.
    pub attempt: Option<u32>,
    /// What is being done.
    pub step: String,
    /// The newest count.
    pub count: Option<Count>,
    /// Its rate and the time left, to be put behind it.
    pub speed: String,
    /// What is waited for.
    pub waiting: Option<String>,
    /// Why it is waited for.
    pub trouble: Option<String>,
    /// The question.
    pub question: Option<String>,
    /// A text of the question that is drawn as a QR code.
    pub scan: Option<String>,
    /// How it ended: names and texts.
    pub ending: Vec<(&'static str, String)>,
    /// The last events, the newest last.
    pub events: Vec<Seen>,
}

/// What a picture is made of besides the status.
#[derive(Default)]
pub struct Beside {
    /// The last events, the newest last.
    pub events: VecDeque<Seen>,
    /// What was said before the question itself.
    pub explained: Option<String>,
    /// What is to be scanned.
    pub scan: Option<String>,
    /// What the next step is typed with.
    told: Told,
    speed: Speed,
    behind_count: String,
    /// The newest fault: what failed, and its line among the events.
    failed: Option<(String, Option<Seen>)>,
}

impl Beside {
    /// Of a run whose next step is typed so.
    pub(super) fn told(told: Told) -> Beside {
        Beside {
            told,
            ..Beside::default()
        }
    }

    /// The next step is typed so.
    pub(super) fn typed_with(&mut self, told: Told) {
        self.told = told;
    }

    /// One more event; the status has taken it already.
    pub fn take(&mut self, event: &Event, now_ms: u64, status: &Status, verbose: bool) {
        match event {
            Event::Begun { .. } => self.speed.begin(),
            Event::Progress { .. } => self.behind_count = self.speed.of(event, now_ms),
            Event::Asking { what, scan } => {
                // What spans lines explains the question that comes next.
                if what.contains('\n') {
                    self.explained = Some(what.clone());
                }
                self.scan.clone_from(scan);
            }
            Event::Failed { fault, .. } => {
                self.failed = Some((fault.record.what.clone(), Seen::of(now_ms, event, verbose)));
            }
            Event::Stopped { fault, .. } => {
                // What the run stops for is laid out, and not said a second time.
                if let Some((what, Some(line))) = self.failed.take()
                    && what == fault.record.what
                {
                    self.events.retain(|seen| *seen != line);
                }
            }
            _ => {}
        }
        if status.asking.is_none() {
            (self.explained, self.scan) = (None, None);
        }
        if status.count.is_none() {
            self.behind_count.clear();
        }
        self.events.extend(Seen::of(now_ms, event, verbose));
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// The rate of a count that was read from a status.
    pub fn count(&mut self, count: &Count, now_ms: u64) {
        let Count {
            what,
            done,
            total,
            unit,
        } = count.clone();
        let event = Event::Progress {
            what,
            done,
            total,
            unit,
        };
        self.behind_count = self.speed.of(&event, now_ms);
    }
}

impl Picture {
    /// Of a run. `alive`: its process is there.
    pub fn of(run: &Status, alive: bool, now_ms: u64, beside: &Beside) -> Picture {
        let (mood, headline) = match &run.ending {
            Some(Ending::Landed { .. }) => (Mood::Landed, "LANDED"),
            Some(Ending::AlreadyLanded { .. }) => (Mood::Landed, "ALREADY INSTALLED"),
            Some(Ending::NothingToResume { .. }) => (Mood::Failed, "NOTHING TO RESUME"),
            Some(Ending::Stopped { .. }) => (Mood::Failed, "FAILED"),
            None if !alive => (Mood::Failed, "STOPPED"),
            None if run.asking.is_some() => (Mood::Asking, "QUESTION"),
            None if run.retry_at_ms.is_some_and(|at_ms| at_ms > now_ms) => (Mood::Waiting, "WAITING"),
            None => (Mood::Busy, "INSTALLING"),
        };
        let ended = run.ending.is_some() || !alive;
        let question = if ended { None } else { run.asking.clone() };
        Picture {
            mood,
            headline,
            host: run.host.clone(),
            age_ms: now_ms.saturating_sub(run.began_ms),
            phases: phases(run, alive),
            phase_age_ms: run.phase_since_ms.map(|ms| now_ms.saturating_sub(ms)),
            attempt: run.attempt,
            step: run
                .step
                .as_deref()
                .map_or("reading the disks", str::trim)
                .to_owned(),
            count: run.count.clone(),
            speed: beside.behind_count.clone(),
            waiting: waiting_for(run, now_ms).filter(|_| !ended),
            trouble: match &run.last_fault {
                Some(fault) if mood == Mood::Waiting => Some(fault.to_string()),
                Some(_) | None => None,
            },
            question: question.map(|prompt| beside.explained.clone().unwrap_or(prompt)),
            scan: beside.scan.clone(),
            ending: ending(run, alive, &beside.told),
            events: beside.events.iter().cloned().collect(),
        }
    }
}

impl Picture {
    /// The last one of a run that told no ending: the command says itself what kept it from its work.
    pub fn without_ending(mut self) -> Picture {
        let has_landed = self.phases.iter().all(|(_, state)| *state == PhaseState::Done);
        (self.mood, self.headline) = if has_landed {
            (Mood::Landed, "LANDED")
        } else {
            (Mood::Waiting, "ENDED")
        };
        for (_, state) in &mut self.phases {
            if *state == PhaseState::Running {
                *state = PhaseState::ToDo;
            }
        }
        (self.waiting, self.trouble, self.question) = (None, None, None);
        self
    }
}

/// How a run ended, laid out; empty while it goes on.
pub(super) fn ending(run: &Status, alive: bool, told: &Told) -> Vec<(&'static str, String)> {
    match &run.ending {
        Some(Ending::Landed { system, revision } | Ending::AlreadyLanded { system, revision }) => vec![
            ("system", system.clone()),
            ("commit", revision.clone()),
            ("next", words::START_IT.to_owned()),
        ],
        Some(Ending::NothingToResume { why, list, next }) => std::iter::once(("why", why.clone()))
            .chain(list.iter().map(|line| ("", line.clone())))
            .chain(std::iter::once(("next", told.in_words(next))))
            .collect(),
        Some(Ending::Stopped { fault, .. }) => laid_out(fault, told),
        None if !alive => vec![
            ("why", words::KILLED.to_owned()),
            ("next", told.command("resume")),
        ],
        None => vec![],
    }
}

fn laid_out(fault: &FaultTold, told: &Told) -> Vec<(&'static str, String)> {
    let record = &fault.record;
    vec![
        ("what", record.what.clone()),
        ("why", format!("{} ({})", record.why, record.class)),
        ("next", told.in_words(&record.next)),
        ("log", told.in_words("landfall log")),
    ]
}
