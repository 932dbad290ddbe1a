//! A person at the console: what is asked, and what becomes of wrong answers. Without `yes` nothing is written; with a
//! wrong passphrase a container is refused and never erased.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::disk;
use crate::install::{Install, RUN_LIMIT, say, wait_for};
use crate::kit::{Kit, Layout, Mode, PASSPHRASE};
use crate::machine::{Ended, Machine};

// The agent's own line: what landfall says of a question has its time, or the unit's name, in front.
const NEW: &str = "^.{0,8}New passphrase for luks-lab:";
const AGAIN: &str = "^.{0,8}The same passphrase for luks-lab again:";
const KNOWN: &str = "^.{0,8}Passphrase for luks-lab:";
const ERASE: &str = "^.{0,8}ERASE .*LFTARGET.*Type yes:";

const WRONG: &str = "wrong-horse-2f5d";

pub fn interactive(kit: &Kit) -> Result<()> {
    let mut install = Install::new(kit, "interactive", Layout::Luks, Mode::Prebuilt)?;
    install.more.clear();
    let install = install.with_service("interactive")?;

    let machine = Machine::power_on(&install.spec)?;
    answer(&machine, NEW, "")?;
    machine.console_wait("an empty passphrase is refused", RUN_LIMIT)?;
    answer(&machine, NEW, "one horse")?;
    answer(&machine, AGAIN, "another horse")?;
    machine.console_wait("the two passphrases differ", RUN_LIMIT)?;
    answer(&machine, NEW, PASSPHRASE)?;
    answer(&machine, AGAIN, PASSPHRASE)?;
    answer(&machine, ERASE, "no")?;
    machine.console_wait("consent to erase it was refused", RUN_LIMIT)?;
    machine.console_wait("stopped in phase Planned", RUN_LIMIT)?;
    machine.agent_answers()?;
    machine.check("sync", Duration::from_secs(60))?;
    ensure!(
        disk::is_blank(&install.image)?,
        "something was written without yes"
    );
    say("no `yes`: stopped, nothing written");

    start(&machine)?;
    answer(&machine, NEW, PASSPHRASE)?;
    answer(&machine, AGAIN, PASSPHRASE)?;
    answer(&machine, ERASE, "yes")?;
    wait_for(&machine, "reached Formatted")?;
    wait_for(&machine, "Realise system: ")?;
    machine.cut_power()?;
    let before = install.identity()?;
    say("yes: power cut after the filesystems were made");

    // Boots again; the service goes on by itself, as far as it can.
    let machine = Machine::power_on(&install.spec)?;
    for _ in 0..2 {
        answer(&machine, KNOWN, WRONG)?;
        machine.console_wait("note: the passphrase does not open luks-lab", RUN_LIMIT)?;
    }
    answer(&machine, KNOWN, WRONG)?;
    machine.console_wait("the passphrase does not open it; nothing was erased", RUN_LIMIT)?;
    machine.console_wait("stopped in phase Anchored", RUN_LIMIT)?;
    machine.agent_answers()?;
    ensure!(
        before == install.identity()?,
        "a wrong passphrase changed the disk: {before:?}"
    );
    say("a wrong passphrase, three times: refused, nothing erased");

    start(&machine)?;
    answer(&machine, KNOWN, WRONG)?;
    machine.console_wait("note: the passphrase does not open luks-lab", RUN_LIMIT)?;
    answer(&machine, KNOWN, PASSPHRASE)?;
    wait_for(&machine, "landed: ")?;
    let text = machine.console().text();
    ensure!(
        !text.contains(PASSPHRASE) && !text.contains(WRONG),
        "the console shows a passphrase"
    );
    let ended = machine.powered_off(Duration::from_secs(180))?;
    ensure!(ended == Ended::PoweredOff, "after landing it ended by {ended:?}");
    ensure!(
        before == install.identity()?,
        "the table or a volume changed: {before:?}"
    );
    install.boot().map(|_| ())
}

fn answer(machine: &Machine, question: &str, text: &str) -> Result<()> {
    machine
        .console_wait(question, RUN_LIMIT)
        .with_context(|| format!("waiting for {question:?}"))?;
    machine.console_type(&format!("{text}\n"))
}

/// What a person does after the cause is repaired.
fn start(machine: &Machine) -> Result<()> {
    machine.console().skip();
    machine.check(
        "systemctl reset-failed landfall.service; systemctl start --no-block landfall.service",
        Duration::from_secs(60),
    )?;
    Ok(())
}
