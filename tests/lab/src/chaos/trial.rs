//! One install, and what happens to it.
//!
//! After every fault the disk is looked at from outside, before landfall sees it again. A run that stops must be explained by
//! a fault of that run. After the last fault two further runs are enough.
//!
//! [`super::schedule`] draws the faults, and [`super::checks`] has the comparisons.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::acknowledged::{Ack, Listener, Recorded};
use super::at_work::{Heard, RUN_MAX};
use super::checks::{Checks, EXT4_MADE_AT, EXT4_UUID_AT, Told};
use super::dice::Dice;
use super::faults::{Faults, Network, TARGET_PART};
use super::found::{Failed, Finding, ended, found};
use super::rebuild::{self, CutAt};
use super::schedule::{Behind, Injected, Kind, Marks};
use crate::agent::Job;
use crate::command::tail;
use crate::console::lost_its_timer;
use crate::disk::{self, LogEntry};
use crate::install::{CONFIG, Install, PATH, say};
use crate::kit::PASSPHRASE;
use crate::machine::Machine;

/// A run that tries so often without a reason is stuck.
const RETRY_TOO_MUCH: &str = "retry 4 in ";
/// A process that was told to end has ended by then.
const END_LIMIT: Duration = Duration::from_secs(150);
const SHORT: Duration = Duration::from_secs(60);
/// Further runs after the last fault.
const FURTHER_RUNS: u32 = 2;
const TICK: Duration = Duration::from_millis(4);
/// A power cut lets the machine go on for up to so many entries of the log, or so long; the disk ends at one of them.
const BEHIND_MAX: u64 = 80;
const BEHIND_LIMIT: Duration = Duration::from_millis(1_500);
/// The script that runs landfall.
const SCRIPT: &str = "/run/lab/chaos.sh";
/// Of a hundred starts with a finished encrypted root, so many are looked at within the container.
const PEEK_PERCENT: u64 = 30;

/// What became of an install.
#[derive(Debug, Default, Serialize)]
pub struct Record {
    /// The layout's name on the command line.
    pub layout: &'static str,
    /// The seed that repeats it.
    pub seed: u64,
    /// Starts of the machine with the stick.
    pub starts: u32,
    /// Runs of landfall.
    pub runs: u32,
    /// Faults by kind; `power cut` has the one after landing too, and not those before which nothing was written.
    pub faults: BTreeMap<&'static str, u32>,
    /// Faults that did not come about, because it landed before.
    pub missed: u32,
    /// What happened, in order.
    pub events: Vec<String>,
    /// Power cuts at which writes were unflushed.
    pub at_stake: u32,
    /// Acknowledged checkpoints that were looked at as a power cut.
    pub acknowledged: usize,
    /// Comparisons made.
    pub compared: u64,
    /// It landed.
    pub landed: bool,
    /// And booted.
    pub booted: bool,
    /// The emulator lost a processor's timer, and the install counts for nothing but what was found before.
    pub emulator: bool,
    /// What was found, and its words.
    pub finding: Option<(Finding, String)>,
    /// How long it took.
    pub seconds: u64,
}

/// How a run of landfall ended.
enum End {
    /// The power was cut there.
    Cut(CutAt),
    /// By itself, or by a signal.
    Status(i32),
}

/// What an install needs beside its machine.
pub struct Parts {
    /// The other disk, which must not change.
    pub other: PathBuf,
    /// The configuration.
    pub configuration: String,
    /// Run in the machine before landfall.
    pub prepare: &'static str,
    /// What is fetched, and through what.
    pub network: Option<Network>,
}

/// One install.
pub struct Trial<'k> {
    install: Install<'k>,
    /// The other disk, which must not change.
    other: PathBuf,
    /// The configuration.
    configuration: String,
    /// Run in the machine before landfall.
    prepare: &'static str,
    network: Option<Network>,
    left: VecDeque<Injected>,
    record: Record,
    base: PathBuf,
    log: PathBuf,
    marks: Marks,
    told: Told,
    checks: Checks,
    dice: Dice,
    faults: Faults,
    /// Reads the console of the machine that is on.
    listener: Option<Listener>,
    /// The place, among the acknowledged checkpoints, of the one at which the power goes.
    awaits: Option<usize>,
    /// What was heard of the run that is at work.
    heard: Heard,
    /// Runs that were begun after the last fault.
    further: u32,
    finding: Option<(Finding, String)>,
}

impl<'k> Trial<'k> {
    /// An install that has not begun.
    pub fn new(
        mut install: Install<'k>,
        parts: Parts,
        injected: Vec<Injected>,
        record: Record,
    ) -> Result<Trial<'k>> {
        let folder = install.spec.folder.clone();
        let log = folder.join("writes.log");
        if let Some(target) = install.spec.disks.first_mut() {
            target.write_log = Some(log.clone());
        }
        let checks = Checks::new(install.layout.has_luks(), &parts.other)?;
        let faults = Faults::new(install.layout.has_luks());
        Ok(Trial {
            base: folder.join("base.raw"),
            log,
            marks: Marks::new()?,
            told: Told::new()?,
            checks,
            dice: Dice::new(record.seed, 2),
            faults,
            listener: None,
            awaits: None,
            heard: Heard::default(),
            further: 0,
            finding: None,
            prepare: parts.prepare,
            install,
            other: parts.other,
            configuration: parts.configuration,
            network: parts.network,
            left: injected.into(),
            record,
        })
    }

    /// Carries it out, and tells what became of it.
    pub fn go(mut self) -> Record {
        let begun = Instant::now();
        let result = self.land_and_boot();
        if let Err(error) = result {
            let (finding, text) = match error.downcast::<Failed>() {
                Ok(Failed(finding, text)) => (finding, text),
                Err(error) => (Finding::Laboratory, format!("{error:#}")),
            };
            // Whatever the emulator does, it changes no table.
            self.record.emulator = finding != Finding::Changed && self.emulator_hung();
            self.finding = ended(self.finding.take(), (finding, text), self.record.emulator);
        }
        self.record.finding = self.finding;
        self.record.missed += self.left.len() as u32;
        self.record.compared = self.checks.compared;
        self.record.seconds = begun.elapsed().as_secs();
        self.record
    }

    /// Whether the emulator has lost a processor's timer by now.
    fn emulator_hung(&mut self) -> bool {
        match self.install.console_logs() {
            Ok(text) => lost_its_timer(&text),
            Err(error) => {
                self.event(format!("{error:#}"));
                false
            }
        }
    }

    fn land_and_boot(&mut self) -> Result<()> {
        let machine = loop {
            let mut machine = self.start()?;
            match self.until_landed_or_cut(&mut machine)? {
                None => break machine,
                Some(at) => self.rebuild(machine, "power cut", at)?,
            }
        };
        self.record.landed = true;
        if self.install.layout.has_luks() {
            self.look_inside(&machine)?;
        }
        // Landed means durable: a cut that loses everything else must not undo it.
        let logged = disk::logged(&self.log)?;
        self.rebuild(machine, "power cut after landing", CutAt::Later(logged))?;
        let volumes = if self.install.layout.has_swap() { 3 } else { 2 };
        ensure!(
            self.checks.is_complete(volumes),
            "something that was finished was never compared"
        );
        self.install
            .boot()
            .map_err(|error| found(Finding::Unbootable, format!("{error:#}")))?;
        self.record.booted = true;
        Ok(())
    }

    /// The stick in a restored machine, on the disk as it is now.
    fn start(&mut self) -> Result<Machine> {
        rebuild::snapshot(&self.install.image, &self.base)?;
        let machine = match Machine::start_saved(&self.install.spec) {
            Ok(machine) => machine,
            // Nothing has written to the disk yet.
            Err(error) => {
                self.event(format!("the machine did not start, once more: {error:#}"));
                Machine::start_saved(&self.install.spec)?
            }
        };
        self.record.starts += 1;
        self.listener = Some(Listener::start(machine.console().follower(), self.log.clone())?);
        machine.check("mkdir -p /run/lab", SHORT)?;
        machine.check(self.prepare, SHORT)?;
        machine.put(CONFIG, self.configuration.as_bytes())?;
        machine.put("/run/lab/passphrase", PASSPHRASE.as_bytes())?;
        machine.put(SCRIPT, script(self.install.layout.has_luks()).as_bytes())?;
        let inside = self.install.layout.has_luks() && self.told.finished >= 4;
        if inside && self.dice.percent(PEEK_PERCENT) {
            self.look_inside(&machine)?;
        }
        Ok(machine)
    }

    /// Runs in one machine; none when it landed, or else where in the log the power was cut.
    fn until_landed_or_cut(&mut self, machine: &mut Machine) -> Result<Option<CutAt>> {
        loop {
            if self.left.is_empty() && !self.faults.is_any() {
                self.further += 1;
                if self.further > FURTHER_RUNS {
                    let why = self.finding.as_ref().map_or("", |(_, text)| text);
                    return Err(found(
                        Finding::Stuck,
                        format!("not landed after {FURTHER_RUNS} runs without a fault\n{why}"),
                    ));
                }
            }
            self.faults.new_run();
            let (end, text) = self.run(machine)?;
            let believed = self.told.take_in(&text);
            let status = match end {
                End::Status(status) => status,
                End::Cut(at) => {
                    // A run that was cut off need not have said what it believed; what it said counts.
                    believed.map_err(|error| found(Finding::Changed, format!("{error:#}")))?;
                    return Ok(Some(at));
                }
            };
            self.faults.end_all(machine, self.network.as_ref())?;
            machine.check("sync", END_LIMIT)?;
            believed
                .and_then(|()| self.checks.look(&self.install.image, &self.other, &self.told))
                .map_err(|error| found(Finding::Changed, format!("{error:#}\n{}", tail(&text, 40))))?;
            if status == 0 || status == 10 {
                self.event(format!("landed (exit code {status})"));
                return Ok(None);
            }
            self.event(format!("the run ended with {status}"));
            if !self.faults.explain(status, &text) {
                let text = format!(
                    "a run ended with {status}, in which {}:\n{}",
                    self.faults.told(),
                    tail(&text, 40)
                );
                // Later the emulator is no excuse for it.
                if self.emulator_hung() {
                    return Err(found(Finding::Stopped, text));
                }
                self.event("which nothing explains: no further faults".to_owned());
                self.record.missed += self.left.len() as u32;
                self.left.clear();
                self.finding.get_or_insert((Finding::Stopped, text));
            }
        }
    }

    /// One run of landfall, with the faults that fall into it; gives what it printed.
    fn run(&mut self, machine: &mut Machine) -> Result<(End, String)> {
        self.record.runs += 1;
        let number = self.record.runs;
        let verb = if self.told.acknowledged.is_some() && self.dice.percent(50) {
            "resume"
        } else {
            "install"
        };
        let from = machine.console().text().len();
        let command = format!(
            "rm -f /run/lab/pid; systemd-run --quiet --scope --unit=chaos-{number} bash {SCRIPT} {verb}"
        );
        self.heard = Heard::default();
        let job = machine.spawn(&command, RUN_MAX + END_LIMIT)?;
        let begun = Instant::now();
        loop {
            let Some(next) = self.left.front().copied() else {
                return self.await_end(machine, &job, from, begun);
            };
            if let Some(status) = self.wait_for(&next, machine, &job, from, begun)? {
                return Ok((End::Status(status), machine.console().text_behind(from)));
            }
            self.left.pop_front();
            if next.kind == Kind::Cut {
                self.event(format!("power cut {}", next.moment));
                let (text, at) = self.write_on(&next, machine, from)?;
                machine.stop()?;
                self.faults.machine_is_off(self.network.as_ref());
                return Ok((End::Cut(at), text));
            }
            let begun = self.faults.begin(&next, number, machine, self.network.as_ref())?;
            let Some(what) = begun else {
                self.event(format!("{} {}: could not be", next.kind.name(), next.moment));
                self.record.missed += 1;
                continue;
            };
            self.count(next.kind);
            self.event(format!("{} {}{what}", next.kind.name(), next.moment));
            if next.kind.ends_the_run() {
                let late = || {
                    found(
                        Finding::Stuck,
                        format!(
                            "{}: landfall had not ended {} s later",
                            next.kind.name(),
                            END_LIMIT.as_secs()
                        ),
                    )
                };
                let ended = job.poll(END_LIMIT)?.ok_or_else(late)?;
                return Ok((End::Status(ended.status), machine.console().text_behind(from)));
            }
        }
    }

    /// A run into which no fault falls any more.
    fn await_end(
        &mut self,
        machine: &mut Machine,
        job: &Job,
        from: usize,
        begun: Instant,
    ) -> Result<(End, String)> {
        loop {
            self.faults.end_due(machine, self.network.as_ref())?;
            if let Some(output) = job.poll(Duration::from_millis(200))? {
                return Ok((End::Status(output.status), machine.console().text_behind(from)));
            }
            self.in_time(machine, from, begun)?;
        }
    }

    /// Lets the machine write a little more; gives what it had printed before, and where in the log the power goes.
    fn write_on(&self, next: &Injected, machine: &Machine, from: usize) -> Result<(String, CutAt)> {
        if let (Behind::Saved, Some(ack)) = (next.moment.behind, self.awaited()) {
            let text = machine.console().text();
            let until = ack.shown.min(text.len());
            let shown = text.get(from..until).unwrap_or_default().to_owned();
            return Ok((shown, CutAt::Exactly(ack.logged)));
        }
        // In this order: what was printed by then rests on no later entry.
        let text = machine.console().text_behind(from);
        let before = disk::logged(&self.log)?;
        let wanted = before + 1 + Dice::new(next.salt, 5).below(BEHIND_MAX);
        let begun = Instant::now();
        while begun.elapsed() < BEHIND_LIMIT && disk::logged(&self.log)? < wanted {
            std::thread::sleep(TICK);
        }
        Ok((text, CutAt::Later(before)))
    }

    /// How many checkpoints were acknowledged in this machine.
    fn acknowledged(&self) -> usize {
        self.listener.as_ref().map_or(0, Listener::count)
    }

    /// The acknowledged checkpoint at which the power goes.
    fn awaited(&self) -> Option<Ack> {
        self.listener.as_ref()?.get(self.awaits?)
    }

    /// Waits for the moment of a fault; the exit code when the run ended before.
    fn wait_for(
        &mut self,
        next: &Injected,
        machine: &mut Machine,
        job: &Job,
        from: usize,
        begun: Instant,
    ) -> Result<Option<i32>> {
        let (mut read, mut partial) = (from, String::new());
        self.awaits = next.moment.mark.is_none().then(|| self.acknowledged());
        // Seen: when, at which entry of the log, and how many lines ago.
        let mut seen = next.moment.mark.is_none().then(|| (Instant::now(), 0, 0));
        loop {
            let fresh = machine.console().text_behind(read);
            read += fresh.len();
            partial.push_str(&fresh);
            while let Some((line, rest)) = partial.split_once('\n') {
                match &mut seen {
                    Some((_, _, lines)) => *lines += 1,
                    None => {
                        if next.moment.mark.is_some_and(|mark| self.marks.is_at(mark, line)) {
                            seen = Some((Instant::now(), disk::logged(&self.log)?, 0));
                            self.awaits = Some(self.acknowledged());
                        }
                    }
                }
                partial = rest.to_owned();
            }
            if let Some((at, entries, lines)) = seen {
                let now = match next.moment.behind {
                    Behind::Millis(millis) => at.elapsed() >= Duration::from_millis(millis),
                    Behind::Writes(count) => disk::logged(&self.log)? >= entries + count,
                    Behind::Lines(count) => lines >= count,
                    Behind::Saved => self.awaited().is_some(),
                };
                if now {
                    return Ok(None);
                }
            }
            if let Some(output) = job.poll(TICK)? {
                return Ok(Some(output.status));
            }
            self.faults.end_due(machine, self.network.as_ref())?;
            self.in_time(machine, from, begun)?;
        }
    }

    /// A run ends, and does not try the same over and over when no network is to blame.
    fn in_time(&mut self, machine: &Machine, from: usize, begun: Instant) -> Result<()> {
        let text = machine.console().text_behind(from);
        if text.contains(RETRY_TOO_MUCH) && !self.faults.struck.contains(&Kind::Network) {
            return Err(found(
                Finding::Stuck,
                format!("a run tries the same again and again:\n{}", tail(&text, 40)),
            ));
        }
        match self.heard.stuck(text.len(), begun.elapsed()) {
            None => Ok(()),
            Some(why) => Err(found(Finding::Stuck, format!("{why}:\n{}", tail(&text, 40)))),
        }
    }

    /// Cuts the power, rebuilds the disk, and looks at it.
    fn rebuild(&mut self, machine: Machine, what: &'static str, at: CutAt) -> Result<()> {
        machine.cut_power()?;
        let entries = disk::write_log(&self.log)?;
        self.were_durable(&entries)?;
        let mut dice = Dice::new(self.dice.number(), 3);
        let kept = rebuild::cut(&self.install.image, &self.base, &self.log, entries, at, &mut dice)?;
        self.event(format!("{what}: {kept}"));
        // Where nothing was written nothing can be lost.
        if kept.flushed == 0 && kept.unflushed == 0 {
            self.event("which counts for nothing: nothing had been written".to_owned());
            self.record.missed += 1;
        } else {
            self.count(Kind::Cut);
            self.record.at_stake += u32::from(kept.unflushed > 0);
        }
        self.checks
            .look(&self.install.image, &self.other, &self.told)
            .map_err(|error| found(Finding::Changed, format!("after the {what} ({kept}): {error:#}")))
    }

    /// Looks at every checkpoint that was acknowledged in the machine as at a power cut.
    fn were_durable(&mut self, entries: &[LogEntry]) -> Result<()> {
        let acks = match self.listener.take() {
            Some(listener) => listener.finish()?,
            None => Vec::new(),
        };
        self.record.acknowledged += acks.len();
        let recorded = Recorded {
            base: &self.base,
            log: &self.log,
            entries,
            image: &self.install.image,
            luks: self.install.layout.has_luks(),
        };
        recorded
            .check(&acks)
            .map_err(|error| found(Finding::Changed, format!("{error:#}")))
    }

    /// The filesystem within the container, read by the machine through a mapping of the laboratory's own.
    fn look_inside(&mut self, machine: &Machine) -> Result<()> {
        let command = format!(
            "set -e; cryptsetup open --readonly --key-file /run/lab/passphrase {TARGET_PART}2 labpeek; \
             od -An -v -tx1 -j{EXT4_UUID_AT} -N16 /dev/mapper/labpeek; od -An -v -tx1 -j{EXT4_MADE_AT} -N4 /dev/mapper/labpeek; \
             cryptsetup close labpeek"
        );
        let read = machine.check(&command, END_LIMIT)?;
        let found_inside = read.split_whitespace().collect::<String>();
        self.checks
            .inside(&found_inside)
            .map_err(|error| found(Finding::Changed, format!("{error:#}")))
    }

    fn count(&mut self, kind: Kind) {
        *self.record.faults.entry(kind.name()).or_default() += 1;
    }

    fn event(&mut self, what: String) {
        say(&what);
        self.record.events.push(what);
    }
}

/// Runs landfall, with its process id in a file and its progress on the console.
fn script(luks: bool) -> String {
    let passphrase = if luks {
        "--passphrase-fd 3 3</run/lab/passphrase"
    } else {
        ""
    };
    format!(
        "export PATH={PATH}\n{{ echo $BASHPID >/run/lab/pid; exec landfall --verbose \"$1\" --config {CONFIG} --progress plain \
         {passphrase}; }} 2>&1 | tee /dev/ttyS0\nexit ${{PIPESTATUS[0]}}\n"
    )
}
