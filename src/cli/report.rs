//! What is known about the run of this boot: its status, whether its process lives, its last events, the checkpoint in tmpfs.
//!
//! A process that ended without reporting a result is shown as ended. No disk is read; after a reboot, `landfall resume` does
//! that.
//!
//! `cli::status`, `cli::watch` and `cli::doctor` show it.

use super::Failure;
use super::line::{Line, plain_line};
use super::next_step::Told;
use super::run_process::{FILE_BYTES_MAX, RunProcess};
use super::run_status::{Count, Ending, Status};
use super::screen::{self, PhaseState, Seen};
use super::{since_boot_ms, words};
use crate::doctor::{Finding, LastRun};
use crate::event::Event;
use crate::exit::Exit;
use crate::safe_open::{self, Links, Refused};
use camino::Utf8Path;
use landfall_states::checkpoint::{Record, SlotError};
use landfall_states::fault::{Attempts, FaultRecord};
use landfall_states::names::{HostName, Revision};
use landfall_states::plan::InstallId;
use landfall_states::{Phase, RecordedPhase};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom};

/// Bytes at the end of a log that are read, to find its last events.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// What is shown of a checkpoint. The body's other fields are for landfall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Rises with every save.
    #[serde(rename = "sequence")]
    pub sequence: u64,
    /// The host.
    #[serde(rename = "host")]
    pub host: HostName,
    /// The install.
    #[serde(rename = "install")]
    pub install: InstallId,
    /// The pinned revision.
    #[serde(rename = "revision")]
    pub revision: Revision,
    /// The state.
    #[serde(rename = "claim")]
    pub claim: RecordedPhase,
    /// Attempts so far.
    #[serde(rename = "attempts")]
    pub attempts: Attempts,
    /// The last fault, if the last attempt failed.
    #[serde(rename = "last_fault")]
    pub last_fault: Option<FaultRecord>,
}

/// The tmpfs record for showing: read by the function that a run reads it with, digest and all, so that nothing is shown
/// that a run would not believe.
fn checkpoint(bytes: &[u8]) -> Result<Checkpoint, String> {
    let Record {
        sequence,
        parent: _,
        host,
        install,
        nonce: _,
        layout: _,
        payload: _,
        disk: _,
        revision,
        claim,
        mark: _,
        attempts,
        boot: _,
        last_fault,
        image_progress: _,
    } = Record::decode(bytes).map_err(|error| match error {
        SlotError::Newer(_) => format!("written by a newer landfall ({error}); this version cannot read it"),
        SlotError::Empty
        | SlotError::NoMagic
        | SlotError::Header
        | SlotError::Length
        | SlotError::Digest
        | SlotError::Body(_) => format!("damaged ({error}); landfall does not use it"),
    })?;
    Ok(Checkpoint {
        sequence,
        host,
        install,
        revision,
        claim,
        attempts,
        last_fault: last_fault.map(|fault| fault.shown()),
    })
}

/// Most events that are printed as JSON.
const EVENTS_MAX: usize = 50;
/// Events shown as lines.
const EVENT_LINES_MAX: usize = 3;

/// A phase with its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct PhaseShown {
    #[serde(rename = "phase")]
    phase: Phase,
    #[serde(rename = "state")]
    state: PhaseState,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What the next step is typed with.
    #[serde(skip)]
    pub(super) told: Told,
    pub(super) now_ms: u64,
    /// Whether the process of `run` still lives.
    pub(super) alive: bool,
    pub(super) run: Option<Status>,
    /// Every phase, once there is a run.
    phases: Vec<PhaseShown>,
    /// What the run waits for, in words.
    waiting_for: Option<String>,
    /// The last events of the run.
    events: Vec<Line>,
    checkpoint: Option<Checkpoint>,
    checkpoint_error: Option<String>,
}

impl Report {
    pub(super) fn read(run_dir: &Utf8Path) -> Result<Report, Failure> {
        super::run_dir::is_directory(run_dir, "status")?;
        let told = Told::of(None, run_dir);
        let file = |name: &str| -> Result<Option<Vec<u8>>, Failure> {
            let path = run_dir.join(name);
            match safe_open::read_if_there(&path, Links::Refuse, FILE_BYTES_MAX) {
                Ok(bytes) => Ok(bytes),
                Err(Refused::Os(e)) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(Failure::new(
                    Exit::NeedsChange,
                    format!("{path}: permission denied\n    next: run it as root"),
                )),
                Err(refused) => Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "{path}: {}\n    next: name the directory of a run: landfall --run-dir DIR status",
                        refused.why()
                    ),
                )),
            }
        };
        let run: Option<Status> = match file("status.json")? {
            None => None,
            Some(bytes) => Some(serde_json::from_slice(&bytes).map_err(|e| {
                tracing::info!(error = %e, "status.json");
                Failure::new(
                    Exit::Internal,
                    format!(
                        "{}: it is damaged, or another version of landfall wrote it\n    next: {} shows the run; the next run writes the status again",
                        run_dir.join("status.json"),
                        told.in_words("landfall log")
                    ),
                )
            })?),
        };
        let (checkpoint, checkpoint_error) = match file("checkpoint")?.map(|bytes| checkpoint(&bytes)) {
            None => (None, None),
            Some(Ok(checkpoint)) => (Some(checkpoint), None),
            Some(Err(why)) => (None, Some(why)),
        };
        let now_ms = since_boot_ms();
        let alive = match &run {
            Some(run) => RunProcess::from(run).is_alive()?,
            None => false,
        };
        let mut events = match &run {
            Some(run) => last_events(run_dir, run.began_ms)?,
            None => vec![],
        };
        events.drain(..events.len().saturating_sub(EVENTS_MAX));
        let told = run.as_ref().map_or(told, |run| run.told(run_dir));
        Ok(Report {
            told,
            ..Report::of(now_ms, alive, run, events).beside(checkpoint, checkpoint_error)
        })
    }

    /// Of a run.
    fn of(now_ms: u64, alive: bool, run: Option<Status>, events: Vec<Line>) -> Report {
        let shown = |run: &Status| {
            screen::phases(run, alive)
                .map(|(phase, state)| PhaseShown { phase, state })
                .to_vec()
        };
        Report {
            told: Told::default(),
            now_ms,
            alive,
            phases: run.as_ref().map(shown).unwrap_or_default(),
            waiting_for: run
                .as_ref()
                .filter(|_| alive)
                .and_then(|run| screen::waiting_for(run, now_ms)),
            run,
            events,
            checkpoint: None,
            checkpoint_error: None,
        }
    }

    fn beside(self, checkpoint: Option<Checkpoint>, checkpoint_error: Option<String>) -> Report {
        Report {
            checkpoint,
            checkpoint_error,
            ..self
        }
    }

    pub(super) fn is_over(&self) -> bool {
        !self.alive || self.run.as_ref().is_none_or(|run| run.ending.is_some())
    }

    /// Equal but for the time.
    pub(super) fn is_like(&self, other: &Report) -> bool {
        let timeless = |run: &Option<Status>| run.clone().map(|run| Status { heard_ms: 0, ..run });
        timeless(&self.run) == timeless(&other.run)
            && (self.alive, &self.checkpoint, &self.checkpoint_error)
                == (other.alive, &other.checkpoint, &other.checkpoint_error)
            && self.events == other.events
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.run {
            None => lines.push("no install ran in this boot".to_owned()),
            Some(run) => {
                self.run_lines(run, &mut lines);
                let left_out = self.events.len().saturating_sub(EVENT_LINES_MAX);
                for Line { at_ms, event } in self.events.iter().skip(left_out) {
                    lines.push(format!("event: {}", plain_line(*at_ms, event)));
                }
            }
        }
        match (&self.checkpoint, &self.checkpoint_error) {
            (Some(record), _) => {
                let attempts: Vec<String> = record
                    .attempts
                    .iter()
                    .map(|(phase, count)| format!("{phase} {count}"))
                    .collect();
                lines.push(format!(
                    "checkpoint {}: {} of install {} ({}), revision {}",
                    record.sequence,
                    record.claim.phase(),
                    record.install,
                    record.host,
                    record.revision
                ));
                if !attempts.is_empty() {
                    lines.push(format!("attempts: {}", attempts.join(", ")));
                }
            }
            (None, Some(why)) => lines.push(format!("checkpoint: {why}")),
            (None, None) if self.run.is_none() => {
                lines.push("no install is known (this command does not read disks)".to_owned());
                lines.push(format!(
                    "next: landfall disks (shows what is on the disks), or: {} (continues an install)",
                    self.told.command("resume")
                ));
            }
            (None, None) => {}
        }
        lines.iter().map(|line| words::one_line(line)).collect()
    }

    /// The phases by their states, on one line.
    fn phases_line(&self) -> String {
        let mut parts = vec![];
        for state in [
            PhaseState::Done,
            PhaseState::Running,
            PhaseState::Failed,
            PhaseState::ToDo,
        ] {
            let names: Vec<String> = self
                .phases
                .iter()
                .filter(|shown| shown.state == state)
                .map(|shown| shown.phase.to_string())
                .collect();
            if !names.is_empty() {
                parts.push(format!("{} {}", state.word(), names.join(", ")));
            }
        }
        format!("phases: {}", parts.join("; "))
    }

    fn run_lines(&self, run: &Status, lines: &mut Vec<String>) {
        let ago = |since_ms: u64| words::duration(self.now_ms.saturating_sub(since_ms));
        lines.push(format!(
            "landfall {} of host {}, process {}{}, started {} ago",
            run.command,
            run.host,
            run.pid,
            if self.alive || run.ending.is_some() {
                ""
            } else {
                " (gone)"
            },
            ago(run.began_ms)
        ));
        lines.push(self.phases_line());
        if let Some(ending) = &run.ending {
            match ending {
                Ending::Landed { system, revision } => {
                    lines.push(format!("landed: {system} at revision {revision}"))
                }
                Ending::AlreadyLanded { system, revision } => {
                    lines.push(format!(
                        "{}: {system} at revision {revision}",
                        words::ALREADY_FINISHED
                    ));
                    lines.push(format!("next: {}", words::START_IT));
                }
                Ending::NothingToResume { why, list, next } => {
                    let colon = if list.is_empty() { "" } else { ":" };
                    lines.push(format!("nothing to resume: {why}{colon}"));
                    lines.extend(list.iter().map(|line| format!("  {line}")));
                    lines.push(format!("next: {}", self.told.in_words(next)));
                }
                Ending::Stopped { phase, fault } => {
                    lines.push(format!("{} ({}): {fault}", words::stopped(*phase), fault.class()));
                    lines.push(format!("next: {}", self.told.in_words(&fault.record.next)));
                }
            }
            return;
        }
        if let Some(phase) = run.phase {
            let since = run
                .phase_since_ms
                .map_or(String::new(), |ms| format!(", for {}", ago(ms)));
            let attempt = run.attempt.map_or(String::new(), |n| format!(", attempt {n}"));
            let action = words::action(phase).map_or(String::new(), |action| format!(" → {action}"));
            lines.push(format!("phase: {phase}{action}{since}{attempt}"));
        }
        if let Some(step) = &run.step {
            lines.push(format!("step: {step}"));
        }
        if let Some(Count {
            what,
            done,
            total,
            unit,
        }) = &run.count
        {
            let total = total.map_or(String::new(), |total| {
                format!(" of {}", words::amount(total, unit))
            });
            lines.push(format!("count: {what}: {}{total}", words::amount(*done, unit)));
        }
        if let Some(asking) = &run.asking {
            lines.push(format!("waiting for an answer: {asking}"));
        }
        if let Some(fault) = &run.last_fault {
            lines.push(format!("last fault ({}): {fault}", fault.class()));
        }
        if let Some(at_ms) = run.retry_at_ms
            && at_ms > self.now_ms
        {
            lines.push(format!("retry in {}", words::duration(at_ms - self.now_ms)));
        }
        if !self.alive {
            lines.push(format!(
                "{}; next: {}",
                words::KILLED,
                self.told.command("resume")
            ));
        }
    }
}

/// How the last run of this boot stands, for `landfall doctor`; `None`: there was none.
pub(super) fn last_run(run_dir: &Utf8Path) -> Result<Option<LastRun>, Failure> {
    let Report { told, alive, run, .. } = Report::read(run_dir)?;
    Ok(run.map(|run| match run.ending {
        Some(Ending::Landed { .. } | Ending::AlreadyLanded { .. }) => LastRun::Landed,
        Some(Ending::NothingToResume { why, list, next }) => LastRun::NothingToResume {
            why: words::with_list(&why, &list),
            next: told.in_words(&next),
        },
        Some(Ending::Stopped { phase, fault }) => {
            let class = fault.class();
            let FaultRecord { what, why, next, .. } = fault.record;
            LastRun::Stopped(Finding {
                what: format!("{}: {what}", words::stopped(phase)),
                why,
                list: vec![],
                next: told.in_words(&next),
                class,
            })
        }
        None if alive => LastRun::Running,
        None => LastRun::Gone,
    }))
}

/// The last events of the run that began then, the newest last; details and counts are left out. None where there is no log to read.
pub(super) fn last_events(run_dir: &Utf8Path, began_ms: u64) -> Result<Vec<Line>, Failure> {
    let path = run_dir.join("log.jsonl");
    let mut file = match safe_open::open(&path, Links::Refuse) {
        Ok(file) => file,
        Err(Refused::Absent) => return Ok(vec![]),
        Err(refused) => {
            // The status says where the run is, also to whom the log is closed.
            tracing::debug!(why = refused.why(), "the log");
            return Ok(vec![]);
        }
    };
    let skipped = file.metadata()?.len().saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = vec![];
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut events: Vec<Line> = vec![];
    // A line that was cut off at the beginning, or is being written, is no event.
    for line in text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
    {
        if let Event::Started { .. } = line.event {
            events.clear();
        }
        if line.at_ms >= began_ms && Seen::of(line.at_ms, &line.event, false).is_some() {
            events.push(line);
        }
    }
    Ok(events)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
