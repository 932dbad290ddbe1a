//! `cargo lab demo`: a machine loses power in the middle of an install, and lands nevertheless.
//!
//! Everything shown is read from the machine's console or from its disk's image, and nothing is printed that was not seen. A
//! demonstration that did not show it ends with an error.
//!
//! `scenarios` show the same with every state, and much more.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::agent::Job;
use crate::disk;
use crate::install::{Install, RUN_LIMIT};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;
use crate::recording::{self, Kind, Line};
use crate::scenarios::once_more_if_hung;
use crate::slots;

/// The install is cut off while this is under way: partitioned, encrypted, formatted, cloned, copied; the boot loader is being installed.
const CUT_AT: &str = "nixos-install: installing the boot loader";

/// What `cargo lab demo` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Draw what is shown, without its details, as a terminal recording into this SVG picture
    #[arg(long, value_name = "FILE.svg")]
    record: Option<PathBuf>,
}

/// What is printed, and kept for the recording.
struct Show {
    begun: Instant,
    lines: RefCell<Vec<Line>>,
}

impl Show {
    fn new() -> Show {
        Show {
            begun: Instant::now(),
            lines: RefCell::new(Vec::new()),
        }
    }

    fn keep(&self, kind: Kind, text: String) {
        self.lines.borrow_mut().push(Line {
            at: self.begun.elapsed(),
            kind,
            text,
        });
    }

    fn headed(&self, kind: Kind, text: &str) {
        let title = format!("── {:>4} s ── {text}", self.begun.elapsed().as_secs());
        println!("\n{title}");
        self.keep(kind, title);
    }

    fn title(&self, text: &str) {
        self.headed(Kind::Title, text);
    }

    fn line(&self, text: String) {
        println!("{text}");
        self.keep(Kind::Plain, text);
    }

    fn good(&self, text: String) {
        println!("{text}");
        self.keep(Kind::Good, text);
    }

    /// What only the terminal shows.
    fn detail(&self, text: &str) {
        println!("{text}");
    }

    /// Shows landfall's lines from the console until one matches, or the run ends.
    fn watch(&self, machine: &Machine, job: Option<&Job>, until: &str) -> Result<bool> {
        let limit = Instant::now() + RUN_LIMIT;
        loop {
            let line = match machine.console().wait(".*\n", Duration::from_millis(500)) {
                Ok(line) => line,
                Err(error) => {
                    if let Some(output) = job.map(|job| job.poll(Duration::ZERO)).transpose()?.flatten() {
                        return if output.status == 0 {
                            Ok(false)
                        } else {
                            bail!("landfall ended with {}:\n{}", output.status, output.text())
                        };
                    }
                    if Instant::now() > limit {
                        return Err(error);
                    }
                    continue;
                }
            };
            if let Some(shown) = worth_showing(&line) {
                let text = format!("   {}", shown.text);
                if shown.is_detail && !line.contains(until) {
                    self.detail(&text);
                } else if shown.is_loud {
                    self.good(text);
                } else {
                    self.line(text);
                }
            }
            if line.contains(until) {
                return Ok(true);
            }
        }
    }
}

/// A line of landfall's, with its time.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    text: String,
    /// What a step does, one by one; what was checked before the first write; counts.
    is_detail: bool,
    /// What landfall says to people (`!`).
    is_loud: bool,
}

/// landfall's own lines, without the trace and without what programs print.
fn worth_showing(line: &str) -> Option<Shown> {
    let line = line.trim_end();
    let (stamp, text) = line.strip_prefix('[')?.split_once(']')?;
    stamp.trim().parse::<f64>().ok()?;
    let dull = text.contains(" of ") && text.contains(" paths") || text.contains("    ");
    (!dull || text.contains(CUT_AT)).then(|| Shown {
        text: format!(
            "{}{}",
            stamp_of(stamp),
            text.chars().take(130).collect::<String>()
        ),
        is_detail: text.starts_with("  ") || text.starts_with(" checked ") || is_count(text),
        is_loud: text.starts_with('!'),
    })
}

/// How far long work is: `transferring: 20.6 MiB of 46.1 MiB`.
fn is_count(text: &str) -> bool {
    text.match_indices(" of ")
        .any(|(at, of)| text[at + of.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

fn stamp_of(stamp: &str) -> String {
    format!("{:>7} |", stamp.trim())
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let record = arguments.record.as_deref().map(recording::place).transpose()?;
    let show = Show::new();
    show.line(
        "landfall's demonstration: an install into a UEFI machine, cut off in the middle, resumed, booted."
            .to_owned(),
    );
    show.title("set-up: packages, QEMU, landfall, an installer stick, a NixOS-shaped system (kept for the next time)");
    let kit = Kit::open()?;
    let set_up = show.lines.borrow().len();
    once_more_if_hung(&kit.lab.cache.root, || {
        // Of a machine that hung nothing is shown.
        show.lines.borrow_mut().truncate(set_up);
        land(&show, &kit)
    })?;
    if let Some(file) = record {
        let lines = show.lines.borrow();
        let bytes = recording::write(&file, "$ cargo lab demo", &lines)?;
        println!(
            "recording:    {} ({} lines, {bytes} bytes)",
            file.display(),
            lines.len()
        );
    }
    println!("next: cargo lab test, or: cargo lab scenario --list");
    Ok(ExitCode::SUCCESS)
}

fn land(show: &Show, kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "demo", Layout::LuksSwap, Mode::Prebuilt)?.stay();
    show.detail(&format!("   stick:  {}", install.kit.stick.image.display()));
    show.detail(&format!("   system: {}", kit.system(install.layout)?.toplevel));
    let (table, identities) = cut_off(show, &install)?;
    resume(show, &install)?;

    show.title("the same disk, landed");
    let (table_now, identities_now) = install.identity()?;
    ensure!(table == table_now, "the partition table changed");
    ensure!(
        identities == identities_now,
        "a volume changed: {identities:?} is now {identities_now:?}"
    );
    show.good(format!(
        "   GPT: identical to the byte, both copies ({} bytes compared)",
        table.len()
    ));
    show.good(format!(
        "   volumes: the same {} identities as before the cut; nothing was formatted again",
        identities.len()
    ));
    checkpoint(show, &install, "Landed")?;

    show.title("boot the disk: firmware, boot loader, kernel, passphrase, root and swap by their labels");
    let marker = install.boot().context("booting what was installed")?;
    for word in marker.split_whitespace().filter(|w| w.contains('=')) {
        if IN_THE_PICTURE.iter().any(|name| word.starts_with(name)) {
            show.line(format!("   {word}"));
        } else {
            show.detail(&format!("   {word}"));
        }
    }
    println!();
    show.good(format!(
        "landed: cut off at \"{CUT_AT}\", resumed, booted, in {} s.",
        show.begun.elapsed().as_secs()
    ));
    show.detail(&format!(
        "disk image:   {} (sha256 {})",
        install.image.display(),
        disk::sha256(&install.image)?
    ));
    let folder = &install.spec.folder;
    show.detail(&format!("console logs: {}/console-*.log", folder.display()));
    Ok(())
}

/// Facts of the booted system that the recording shows.
const IN_THE_PICTURE: [&str; 5] = ["host=", "generation=", "root=", "boot=", "swap="];

/// Installs until the boot loader, and cuts the power: the partition table and the volumes that the disk has then.
fn cut_off(show: &Show, install: &Install) -> Result<(Vec<u8>, Vec<String>)> {
    show.title("power on: UEFI firmware, the stick, a blank disk of 4 GiB");
    let machine = Machine::boot(&install.spec)?;
    machine.check("mkdir -p /run/lab", Duration::from_secs(60))?;
    install.configure(&machine, &install.more)?;
    show.line(format!("   landfall install --config {}", crate::install::CONFIG));
    machine.console().skip();
    let job = install.begin(&machine, "install")?;
    if !show.watch(&machine, Some(&job), CUT_AT)? {
        bail!("landfall landed before the power was cut");
    }
    show.headed(
        Kind::Bad,
        "POWER CUT: the machine is killed; nothing is flushed, nothing is unmounted",
    );
    machine.cut_power()?;
    drop(job);

    show.title("what the disk holds now, read from its image");
    let (table, identities) = install.identity()?;
    for line in &identities {
        show.line(format!("   {line}"));
    }
    checkpoint(show, install, "")?;
    Ok((table, identities))
}

/// Starts the machine again and resumes until it has landed; nothing that was finished is made again.
fn resume(show: &Show, install: &Install) -> Result<()> {
    show.title("power on again, with the same stick");
    let machine = Machine::boot(&install.spec)?;
    machine.check("mkdir -p /run/lab", Duration::from_secs(60))?;
    install.configure(&machine, &install.more)?;
    show.line(format!("   landfall resume --config {}", crate::install::CONFIG));
    machine.console().skip();
    let job = install.begin(&machine, "resume")?;
    show.watch(&machine, Some(&job), "landed: ")?;
    let output = job.wait(RUN_LIMIT)?;
    ensure!(
        output.status == 0,
        "landfall resume ended with {}:\n{}",
        output.status,
        output.text()
    );
    for never in ["]   write GPT", "]   LUKS2 container", "]   mkfs."] {
        ensure!(
            !output.text().contains(never),
            "{never:?} was done again:\n{}",
            output.text()
        );
    }
    machine.cut_power()
}

/// Shows the newest checkpoint on the disk, which has this word.
fn checkpoint(show: &Show, install: &Install, word: &str) -> Result<()> {
    let newest = slots::newest(&install.image)?;
    show.detail("   the newest checkpoint on the ESP:");
    for line in newest.lines() {
        show.detail(&format!("     {line}"));
    }
    ensure!(newest.contains(word), "the checkpoint does not say {word}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_and_their_details_are_told_apart() {
        let shown = |line: &str| worth_showing(line).map(|s| (s.is_detail, s.is_loud));
        assert_eq!(
            shown("[   22.752] reached Partitioned after 2.1 s\r\n"),
            Some((false, false))
        );
        assert_eq!(
            shown("[   22.761]   checkpoint 2 (Partitioned) saved in tmpfs\n"),
            Some((true, false))
        );
        assert_eq!(shown("[   25.305]!landed: /nix/store/x\n"), Some((false, true)));
        assert_eq!(
            shown("[  200.391] transferring: 64.4 KiB of 46.1 MiB\n"),
            Some((true, false))
        );
        assert_eq!(shown("systemd[1]: Started.\n"), None);
        assert_eq!(shown("[   30.000]   12 of 40 paths\n"), None);
    }
}
