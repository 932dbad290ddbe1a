//! A finished disk is safe: the stick that stays in the machine never installs twice.
//!
//! "Nothing was written" is read from QEMU's log of writes and from the image's hash.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::refuse;
use crate::disk;
use crate::install::{Install, say, wait_for};
use crate::kit::{Kit, Layout, Mode, TARGET_SERIAL};
use crate::machine::{Ended, Machine};

/// Consent in advance that names the disk.
const NAMED: &str = "unattended: (enable: true, disk: \"LFTARGET\"), on_success: Stay,";
/// Nobody to ask, and nobody has agreed.
const NOBODY: &str = "unattended: (enable: true), on_success: Stay,";
/// Somebody could be asked.
const PERSON: &str = "on_success: Stay,";
const SHORT: Duration = Duration::from_secs(180);

/// The stick boots again on a landed disk.
pub fn stick_left_in(kit: &Kit) -> Result<()> {
    let (mut install, _) = landed(kit, "stick-left-in")?;
    let hash = disk::sha256(&install.image)?;
    let log = install.spec.folder.join("writes.log");
    install.spec.disks[0].write_log = Some(log.clone());
    let machine = Machine::start_saved(&install.spec)?;
    machine.check("mkdir -p /run/lab", SHORT)?;

    // As the service would, and the other two ways to start it.
    install.configure(&machine, NAMED)?;
    refuse(
        &install,
        &machine,
        "install",
        10,
        &["rule 16", "already finished"],
    )?;
    refuse(&install, &machine, "resume", 10, &["rule 16", "already finished"])?;
    // A new install that nobody agreed to, or that was agreed to before there was anything to lose.
    install.configure(&machine, NOBODY)?;
    refuse(&install, &machine, "install --reinstall", 6, &["consent"])?;
    install.configure(&machine, NAMED)?;
    refuse(
        &install,
        &machine,
        "install --reinstall",
        6,
        &["finished install", "`reinstall` was not increased"],
    )?;
    // A person who is asked, and says no.
    install.configure(&machine, PERSON)?;
    let answered = machine.spawn(&answer("no"), SHORT)?;
    refuse(
        &install,
        &machine,
        "install --reinstall",
        6,
        &["consent", "refused"],
    )?;
    let question = answered.wait(SHORT)?;
    ensure!(
        question.status == 0 && question.text().contains(TARGET_SERIAL),
        "the question did not name the disk: {}",
        question.text()
    );
    say("asked anew by nobody, by an old consent, by a person who says no: refused");

    // The default: the machine switches itself off.
    install.configure(&machine, "unattended: (enable: true, disk: \"LFTARGET\"),")?;
    let job = install.begin(&machine, "install")?;
    machine.console_wait("already finished.*remove the installer's medium", SHORT)?;
    let ended = machine.powered_off(SHORT)?;
    drop(job);
    ensure!(ended == Ended::PoweredOff, "it ended by {ended:?}");

    let writes = disk::write_log(&log)?;
    let written = writes.iter().filter(|entry| entry.length > 0).count();
    ensure!(
        written == 0,
        "{written} writes or discards reached the landed disk"
    );
    ensure!(
        disk::sha256(&install.image)? == hash,
        "the landed disk has changed, though the log of writes is empty"
    );
    say("six starts of the stick: not one write to the landed disk");
    install.spec.disks[0].write_log = None;
    install.boot()?;
    Ok(())
}

/// A raised number in a configuration that names the disk installs again: the control to the above.
pub fn reinstall(kit: &Kit) -> Result<()> {
    let (mut install, _) = landed(kit, "reinstall")?;
    let (_, before) = install.identity()?;
    install.more = format!("{NAMED} reinstall: 1,");
    let machine = install.start()?;
    let ran = install.land(&machine, "install")?;
    ensure!(
        ran.output.contains("reinstall number 1"),
        "it does not say why:\n{}",
        ran.output
    );
    // The number is spent.
    refuse(&install, &machine, "install", 10, &["rule 16"])?;
    machine.cut_power()?;
    let (_, after) = install.identity()?;
    for (old, new) in before.iter().zip(&after) {
        ensure!(old != new, "this is of the former install: {old}");
    }
    install.boot()?;
    Ok(())
}

/// The power goes while a new install, that a person agreed to, takes the former one away. The disk then says that it is
/// landed still, or nothing of the former install at all; never half of it, which nobody could go on from.
pub fn reinstall_cut(kit: &Kit) -> Result<()> {
    let (mut install, _) = landed(kit, "reinstall-cut")?;
    install.more = PERSON.into();
    let (_, before) = install.identity()?;
    let machine = install.start()?;
    let answered = machine.spawn(&answer("yes"), SHORT)?;
    let job = install.begin(&machine, "install --reinstall")?;
    wait_for(&machine, "wipe old signatures on")?;
    machine.cut_power()?;
    drop((answered, job));

    let machine = install.start()?;
    let seen = install.run(&machine, "resume")?;
    let verb = match seen.status {
        10 => "install --reinstall",
        3 => "install",
        other => bail!("the disk is neither landed nor free ({other}):\n{}", seen.output),
    };
    say(&format!(
        "after the cut: resume ends with {}, so {verb}",
        seen.status
    ));
    let answered = machine.spawn(&answer("yes"), SHORT)?;
    install.land(&machine, verb)?;
    ensure!(answered.wait(SHORT)?.status == 0, "nobody was asked");
    machine.cut_power()?;
    let (_, after) = install.identity()?;
    ensure!(before.len() == after.len(), "{before:?} became {after:?}");
    install.boot()?;
    Ok(())
}

fn landed<'k>(kit: &'k Kit, name: &str) -> Result<(Install<'k>, String)> {
    let install = Install::new(kit, name, Layout::Plain, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let ran = install.land(&machine, "install").context("the first install")?;
    machine.cut_power()?;
    Ok((install, ran.output))
}

/// Answers the next question of systemd's password agents, and prints it.
pub fn answer(word: &str) -> String {
    format!(
        "for i in $(seq 1200); do \
           for ask in /run/systemd/ask-password/ask.*; do \
             [ -e \"$ask\" ] || continue; cat \"$ask\"; \
             printf %s '{word}' | /usr/lib/systemd/systemd-reply-password 1 \"$(sed -n s/^Socket=//p \"$ask\")\"; exit; \
           done; sleep 0.1; \
         done; exit 1"
    )
}
