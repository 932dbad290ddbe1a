//! `cargo lab iso FILE`: an installer image that was built elsewhere installs onto a blank virtual disk, loses its power in
//! the middle, continues, and what it installed boots.
//!
//! Nothing in the image is known, and nothing is asked of it: the progress of an install is read from the checkpoint slots on
//! the disk's image, while it runs, by the laboratory's own reader. Text is typed when the serial console asks for it. Every
//! wait has the same deadline.
//!
//! There is no agent (the image has none), no screen and no keyboard. An image or a host that uses no serial console can be
//! given credentials, but what it shows there is not seen.

mod image;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use crate::disk;
use crate::machine::{Attached, Disk, Iso, Machine, Spec};
use crate::setup::Lab;
use crate::slots;

pub use image::{check, make};

/// Serial number of the disk that is installed to.
pub const SERIAL: &str = "LFISO";
/// How often the disk is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long a machine may stay on after it has landed.
const AFTER_LANDING: Duration = Duration::from_secs(120);
/// The states that a checkpoint can claim, in order.
const STATES: [&str; 11] = [
    "Planned",
    "Partitioned",
    "Anchored",
    "Encrypted",
    "Formatted",
    "Cloned",
    "Realised",
    "Installed",
    "Bootable",
    "Provisioned",
    "Landed",
];
const PASSPHRASE_PROMPT: &str = "(?i)passphrase.*: ?$";

/// What is tried, and with which answers.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The installer's image
    pub file: PathBuf,
    /// Opens the containers: the installer's credential luks-passphrase; typed where the installed system asks
    #[arg(long, value_name = "TEXT")]
    pub passphrase: Option<String>,
    /// Agree that the blank disk is erased: the installer's credential consent
    #[arg(long)]
    pub yes: bool,
    /// Another credential of the installer's; may be repeated
    #[arg(long, value_name = "NAME=TEXT")]
    pub credential: Vec<String>,
    /// Type TEXT and Enter where the serial console shows PATTERN, a regular expression, once in each start; may be repeated
    #[arg(long, value_name = "PATTERN=TEXT")]
    pub answer: Vec<String>,
    /// Size of the blank disk, in GiB
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub disk_size: u64,
    /// Memory of the machine, in MiB
    #[arg(long, default_value_t = 3072, value_parser = clap::value_parser!(u32).range(512..=262_144))]
    pub memory: u32,
    /// For everything together
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: u64,
    /// The power is cut as soon as a checkpoint claims this state
    #[arg(long, default_value = "Formatted", value_parser = STATES[2..10].to_vec())]
    pub cut_in: String,
    /// What the image is in
    #[arg(long, value_enum, default_value_t = Attached::Usb)]
    pub attach: Attached,
    /// What the installed system shows on the serial console once it is up, a regular expression
    #[arg(
        long,
        value_name = "PATTERN",
        default_value = "LANDFALL-MARKER|login: ?$|Reached target .*Multi-User"
    )]
    pub booted: String,
    /// Without a network
    #[arg(long)]
    pub no_network: bool,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    check(&arguments.file)?;
    let lab = Lab::open()?;
    let folder = lab.cache.fresh_machine("iso")?;
    let shown = try_out(&lab, &folder, arguments)?;
    println!(
        "iso: landed after a power cut in {}; {}",
        shown.cut_in, shown.booted
    );
    Ok(ExitCode::SUCCESS)
}

/// What was seen.
#[derive(Debug)]
pub struct Shown {
    /// The state that was claimed when the power was cut.
    pub cut_in: &'static str,
    /// What the installed system showed.
    pub booted: String,
}

/// Installs, cuts, resumes, boots. The machine's folder keeps the disk and every console's log.
pub fn try_out(lab: &Lab, folder: &Path, arguments: &Arguments) -> Result<Shown> {
    let deadline = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let target = folder.join("target.raw");
    disk::create(&target, arguments.disk_size << 30)?;
    let mut spec = Spec::new(lab, folder);
    spec.network = !arguments.no_network;
    spec.memory_mib = arguments.memory;
    spec.disks = vec![Disk::new(&target, SERIAL)];
    spec.credentials = credentials(arguments)?;
    spec.iso = Some(Iso {
        image: fs_err::canonicalize(&arguments.file)?,
        attached: arguments.attach,
    });
    let mut answers = answers(arguments)?;
    let cut = position(&arguments.cut_in).context("no state of this name")?;

    eprintln!("iso: booting {} with a blank disk", arguments.file.display());
    let mut run = Run::start(&spec, &target, answers.clone(), deadline)?;
    let seen = run.until(|run| Ok(run.reached >= Some(cut)))?;
    ensure!(
        seen == Seen::Holds,
        "the machine switched itself off before {} was claimed: {}",
        arguments.cut_in,
        run.end()
    );
    run.machine.cut_power()?;
    let cut_in = reached(&target)?.context("no checkpoint on the disk after the cut")?;
    let table = disk::gpt_bytes(&target)?;
    let volumes = disk::identities(&target)?;
    eprintln!("iso: power cut; the disk says {}", STATES[cut_in]);

    let mut run = Run::start(&spec, &target, answers.clone(), deadline)?;
    run.reached = Some(cut_in);
    let landed = Some(STATES.len() - 1);
    let seen = run.until(|run| Ok(run.reached == landed))?;
    ensure!(
        seen == Seen::Holds || reached(&target)? == landed,
        "the machine switched itself off before it had landed: {}",
        run.end()
    );
    let after = Instant::now() + AFTER_LANDING;
    while seen == Seen::Holds && Instant::now() < after && run.machine.is_on()? {
        run.answer()?;
        std::thread::sleep(TICK);
    }
    run.machine.cut_power()?;
    ensure!(
        disk::gpt_bytes(&target)? == table,
        "the partition table's bytes changed after the power cut"
    );
    let now = disk::identities(&target)?;
    for volume in finished(&volumes, cut_in) {
        ensure!(
            now.contains(volume),
            "made again after the power cut: {volume}, now {now:?}"
        );
    }
    eprintln!("iso: resumed and landed; the table and finished volumes are what they were");

    spec.iso = None;
    spec.credentials.clear();
    answers.retain(|answer| answer.always);
    let mut run = Run::start(&spec, &target, answers, deadline)?;
    let pattern = Regex::new(&format!("(?m){}", arguments.booted)).context("--booted")?;
    let mut booted = None;
    run.until(|run| {
        booted = pattern
            .find(&run.machine.console().text())
            .map(|found| found.as_str().trim().to_owned());
        Ok(booted.is_some())
    })?;
    let end = run.end();
    run.machine.cut_power()?;
    let booted = booted.with_context(|| {
        format!("the installed system ended without showing what --booted says on the serial console: {end}")
    })?;
    Ok(Shown {
        cut_in: STATES[cut_in],
        booted: format!("the installed system shows: {booted}"),
    })
}

/// What may not change any more once a state was claimed.
fn finished(volumes: &[String], reached: usize) -> impl Iterator<Item = &String> {
    let formatted = position("Formatted").is_some_and(|formatted| reached >= formatted);
    volumes
        .iter()
        .filter(move |line| formatted || line.starts_with("1 "))
}

fn position(state: &str) -> Option<usize> {
    STATES.iter().position(|name| *name == state)
}

/// The furthest state that a checkpoint on the disk claims.
fn reached(target: &Path) -> Result<Option<usize>> {
    let claims = slots::find(target)?;
    Ok(claims
        .iter()
        .filter_map(|(_, slot)| slots::claim(slot))
        .filter_map(|claim| position(claim.split(' ').next()?))
        .max())
}

fn credentials(arguments: &Arguments) -> Result<Vec<(String, Vec<u8>)>> {
    let mut given = Vec::new();
    if let Some(passphrase) = &arguments.passphrase {
        given.push((
            "landfall.luks-passphrase".to_owned(),
            passphrase.clone().into_bytes(),
        ));
    }
    if arguments.yes {
        given.push(("landfall.consent".to_owned(), SERIAL.as_bytes().to_vec()));
    }
    for pair in &arguments.credential {
        let (name, text) = pair
            .split_once('=')
            .with_context(|| format!("--credential {pair}: NAME=TEXT is wanted"))?;
        given.push((name.to_owned(), text.as_bytes().to_vec()));
    }
    Ok(given)
}

/// What is typed at a prompt.
#[derive(Debug, Clone)]
struct Answer {
    pattern: Regex,
    text: String,
    /// The installed system is answered too.
    always: bool,
    given: bool,
}

fn answers(arguments: &Arguments) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut add = |pattern: &str, text: &str, always: bool| -> Result<()> {
        let compiled = Regex::new(&format!("(?m){pattern}"));
        answers.push(Answer {
            pattern: compiled.with_context(|| format!("{pattern} is no regular expression"))?,
            text: text.to_owned(),
            always,
            given: false,
        });
        Ok(())
    };
    for pair in &arguments.answer {
        let (pattern, text) = pair
            .rsplit_once('=')
            .with_context(|| format!("--answer {pair}: PATTERN=TEXT is wanted"))?;
        add(pattern, text, false)?;
    }
    if let Some(passphrase) = &arguments.passphrase {
        add(PASSPHRASE_PROMPT, passphrase, true)?;
    }
    Ok(answers)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// What was waited for.
    Holds,
    /// The machine ended first.
    Ended,
}

/// A machine that is watched.
struct Run<'a> {
    machine: Machine,
    target: &'a Path,
    answers: Vec<Answer>,
    /// How far it came, by the checkpoints.
    reached: Option<usize>,
    deadline: Instant,
}

impl<'a> Run<'a> {
    fn start(spec: &Spec, target: &'a Path, answers: Vec<Answer>, deadline: Instant) -> Result<Run<'a>> {
        Ok(Run {
            machine: Machine::power_on_firmware(spec)?,
            target,
            answers,
            reached: None,
            deadline,
        })
    }

    /// Waits until something holds, or the machine ends.
    fn until(&mut self, mut holds: impl FnMut(&Run) -> Result<bool>) -> Result<Seen> {
        loop {
            self.answer()?;
            self.look()?;
            if holds(self)? {
                return Ok(Seen::Holds);
            }
            if !self.machine.is_on()? {
                // What it wrote last was perhaps not there a moment ago.
                self.look()?;
                return Ok(if holds(self)? { Seen::Holds } else { Seen::Ended });
            }
            if Instant::now() >= self.deadline {
                bail!("--minutes are over: {}", self.end());
            }
            std::thread::sleep(TICK);
        }
    }

    fn look(&mut self) -> Result<()> {
        // While the machine writes, a table or a slot may be half there: the next look sees it whole.
        let now = match reached(self.target) {
            Ok(now) => now,
            Err(_) if self.machine.is_on()? => return Ok(()),
            Err(error) => return Err(error),
        };
        if now > self.reached {
            if let Some(state) = now {
                eprintln!("iso: {}", STATES[state]);
            }
            self.reached = now;
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<()> {
        let text = self.machine.console().text();
        for answer in &mut self.answers {
            if !answer.given && answer.pattern.is_match(&text) {
                self.machine.console_type(&format!("{}\n", answer.text))?;
                answer.given = true;
            }
        }
        Ok(())
    }

    /// For an error: how far it came, and what the console showed last.
    fn end(&self) -> String {
        let reached = self.reached.map_or("no checkpoint", |state| STATES[state]);
        let text = self.machine.console().text();
        let shown = if text.trim().is_empty() {
            "nothing on the serial console (is it one of the image's consoles? console=ttyS0,115200)"
                .to_owned()
        } else {
            format!(
                "the serial console's end:\n{}",
                crate::command::tail(text.trim(), 15)
            )
        };
        format!(
            "the disk says {reached}; {shown}\nthe machine's folder is {}",
            self.machine.folder().display()
        )
    }
}
