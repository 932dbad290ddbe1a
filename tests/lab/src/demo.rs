//! `cargo lab demo`: a machine loses power in the middle of an install, and lands anyway. Law: everything shown is read from
//! the machine's console or from its disk's image; nothing is told that was not seen, and a demonstration that did not show
//! it ends with an error.
//!
//! Absent: the scenarios, which show the same with every state, and much more.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::agent::Job;
use crate::disk;
use crate::install::{Install, RUN_LIMIT};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;
use crate::scenarios::once_more_if_hung;
use crate::slots;

/// The install is cut off while this is under way: partitioned, encrypted, formatted, cloned, copied; the boot loader is being installed.
const CUT_AT: &str = "nixos-install: installing the boot loader";

struct Show {
    begun: Instant,
}

impl Show {
    fn title(&self, text: &str) {
        println!("\n── {:>4} s ── {text}", self.begun.elapsed().as_secs());
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
                println!("   {shown}");
            }
            if line.contains(until) {
                return Ok(true);
            }
        }
    }
}

/// landfall's own lines, without the trace and without what programs print.
fn worth_showing(line: &str) -> Option<String> {
    let line = line.trim_end();
    let (stamp, text) = line.strip_prefix('[')?.split_once(']')?;
    stamp.trim().parse::<f64>().ok()?;
    let dull = text.contains(" of ") && text.contains(" paths") || text.contains("    ");
    (!dull || text.contains(CUT_AT)).then(|| {
        format!(
            "{}{}",
            stamp_of(stamp),
            text.chars().take(130).collect::<String>()
        )
    })
}

fn stamp_of(stamp: &str) -> String {
    format!("{:>7} |", stamp.trim())
}

/// Runs the subcommand.
pub fn run() -> Result<ExitCode> {
    let show = Show {
        begun: Instant::now(),
    };
    println!(
        "landfall's demonstration: an install into a UEFI machine, cut off in the middle, resumed, booted."
    );
    show.title("set-up: packages, QEMU, landfall, an installer stick, a NixOS-shaped system (kept for the next time)");
    let kit = Kit::open()?;
    once_more_if_hung(&kit.lab.cache.root, || land(&show, &kit))?;
    println!("next: cargo lab test, or: cargo lab scenario --list");
    Ok(ExitCode::SUCCESS)
}

fn land(show: &Show, kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "demo", Layout::LuksSwap, Mode::Prebuilt)?.stay();
    println!("   stick:  {}", install.kit.stick.image.display());
    println!("   system: {}", kit.system(install.layout)?.toplevel);

    show.title("power on: UEFI firmware, the stick, a blank disk of 4 GiB");
    let machine = Machine::boot(&install.spec)?;
    machine.check("mkdir -p /run/lab", Duration::from_secs(60))?;
    install.configure(&machine, &install.more)?;
    println!("   landfall install --config {}", crate::install::CONFIG);
    machine.console().skip();
    let job = install.begin(&machine, "install")?;
    if !show.watch(&machine, Some(&job), CUT_AT)? {
        bail!("landfall landed before the power was cut");
    }
    show.title("POWER CUT: the machine is killed; nothing is flushed, nothing is unmounted");
    machine.cut_power()?;
    drop(job);

    show.title("what the disk holds now, read from its image");
    let (table, identities) = install.identity()?;
    for line in &identities {
        println!("   {line}");
    }
    println!("   the newest checkpoint on the ESP:");
    let before = slots::newest(&install.image)?;
    indent(&before);

    show.title("power on again, with the same stick");
    let machine = Machine::boot(&install.spec)?;
    machine.check("mkdir -p /run/lab", Duration::from_secs(60))?;
    install.configure(&machine, &install.more)?;
    println!("   landfall resume --config {}", crate::install::CONFIG);
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
    machine.cut_power()?;

    show.title("the same disk, landed");
    let (table_now, identities_now) = install.identity()?;
    ensure!(table == table_now, "the partition table changed");
    ensure!(
        identities == identities_now,
        "a volume changed: {identities:?} is now {identities_now:?}"
    );
    println!(
        "   GPT: identical to the byte, both copies ({} bytes compared)",
        table.len()
    );
    println!(
        "   volumes: the same {} identities as before the cut; nothing was formatted again",
        identities.len()
    );
    println!("   the newest checkpoint on the ESP:");
    let after = slots::newest(&install.image)?;
    indent(&after);
    ensure!(after.contains("Landed"), "the checkpoint does not say Landed");

    show.title("boot the disk: firmware, boot loader, kernel, passphrase, root and swap by their labels");
    let marker = install.boot().context("booting what was installed")?;
    for word in marker.split_whitespace().filter(|w| w.contains('=')) {
        println!("   {word}");
    }
    let folder = &install.spec.folder;
    println!();
    println!(
        "landed: cut off at \"{CUT_AT}\", resumed, booted, in {} s.",
        show.begun.elapsed().as_secs()
    );
    println!(
        "disk image:   {} (sha256 {})",
        install.image.display(),
        disk::sha256(&install.image)?
    );
    println!("console logs: {}/console-*.log", folder.display());
    Ok(())
}

fn indent(text: &str) {
    for line in text.lines() {
        println!("     {line}");
    }
}
