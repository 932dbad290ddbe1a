//! The power is cut once in every state; and the process is killed once in every state. Each time landfall goes on where
//! it was, and the table and the finished filesystems stay what they were.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::disk;
use crate::install::{Install, say, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::slots;

/// What the console shows when the action that leads on from each state begins (or, for the boot loader, which
/// `nixos-install` has installed already, when it is looked at).
const STATES: [(&str, &str); 10] = [
    ("Planned", "Partition disk.*: write GPT"),
    ("Partitioned", "Anchor checkpoint.*: make the ESP"),
    ("Anchored", "Encrypt volumes.*: make LUKS2"),
    ("Encrypted", "Format volumes.*: make ext4"),
    ("Formatted", "Clone configuration.*: clone revision"),
    ("Cloned", "Realise system.*: copy the closure"),
    ("Realised", "Install system.*: nixos-install"),
    (
        "Installed",
        "Install boot loader.*: (already done|install the boot loader)",
    ),
    ("Bootable", "Provision secrets.*: (install keys|already done)"),
    ("Provisioned", "Land.*: write log"),
];

pub fn cut_at_every_state(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "cut-at-every-state", Layout::LuksSwap, Mode::Prebuilt)?.stay();
    chain(install, &STATES, false)
}

/// The control of the scenario above: with every checkpoint lost between the cuts it must fail, and say that it is for
/// want of a checkpoint.
pub fn cut_control(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "cut-control", Layout::Plain, Mode::Prebuilt)?.stay();
    match chain(install, &STATES[4..6], true) {
        Ok(()) => bail!("the scenario passed without a single checkpoint: it does not look at them"),
        Err(error) if format!("{error:#}").contains("no word of a checkpoint") => {
            say(&format!("failed, as it must: {error:#}"));
            Ok(())
        }
        Err(error) => {
            Err(error.context("the scenario failed for another reason than the missing checkpoints"))
        }
    }
}

/// A kernel that can mount no FAT.
const WITHOUT_FAT: &str = "set -e; mkdir -p /run/modprobe.d; echo 'install vfat /bin/false' >/run/modprobe.d/no-fat.conf; \
     ! grep -q vfat /proc/modules || modprobe -r vfat";

/// An ESP that cannot be mounted: the slots are read and written at their places, and nothing is made again (recovery rule 18). Then
/// every checkpoint is lost: the disk itself still says what was done (recovery rule 2).
pub fn slots_lost(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "slots-lost", Layout::Plain, Mode::Prebuilt)?.stay();
    let cut_at = |verb: &str, pattern: &str| -> Result<()> {
        let machine = install.start()?;
        let job = install.begin(&machine, verb)?;
        wait_for(&machine, pattern)?;
        machine.cut_power()?;
        drop(job);
        Ok(())
    };
    let newest = || -> Result<u64> {
        let found = slots::find(&install.image)?;
        let sequences = found.iter().filter_map(|(_, slot)| slots::sequence(slot));
        sequences.max().context("no slot holds a record")
    };
    cut_at("install", "[(]Anchored[)] saved in slot")?;
    let mut finished = Finished::default();
    finished.look(&install, position("Anchored"))?;
    let saved = newest()?;
    let machine = install.start()?;
    machine.check(WITHOUT_FAT, Duration::from_secs(60))?;
    let ran = install.run(&machine, "resume")?;
    machine.cut_power()?;
    ensure!(
        ran.status == 6
            && ran
                .output
                .contains("landfall writes its checkpoint slots without")
            && ran.output.contains("this kernel does not know vfat"),
        "without FAT it ended with {}:\n{}",
        ran.status,
        ran.output
    );
    let newer = newest()?;
    ensure!(newer > saved, "record {newer} is there, {saved} was before it");
    finished.look(&install, position("Formatted"))?;
    say(&format!(
        "without FAT: stopped in Formatted, its slots written in place (record {saved}, then {newer})"
    ));
    cut_at("resume", "Realise system.*: copy the closure")?;
    ensure!(slots::wipe(&install.image)? == 2, "there were not two slots");
    let machine = install.start()?;
    let ran = install.land(&machine, "resume")?;
    ensure!(ran.output.contains("(rule 2)"), "not by rule 2:\n{}", ran.output);
    machine.cut_power()?;
    finished.look(&install, position("Provisioned"))?;
    ensure!(finished.is_complete(install.layout), "a volume was not compared");
    install.boot().map(|_| ())
}

fn chain(mut install: Install, states: &[(&str, &str)], lose_checkpoints: bool) -> Result<()> {
    let log = install.spec.folder.join("writes.log");
    install.spec.disks[0].write_log = Some(log.clone());
    let mut finished = Finished::default();
    let mut reached: Option<usize> = None;
    for (index, (state, pattern)) in states.iter().enumerate() {
        let machine = install.start()?;
        let job = install.begin(&machine, "install")?;
        wait_for(&machine, pattern).with_context(|| format!("in state {state}"))?;
        // Not always at the same moment of the action.
        std::thread::sleep(Duration::from_millis(90 * (index as u64 % 5)));
        let console = machine.console().text();
        machine.cut_power()?;
        drop(job);
        check_claim(&console, reached).with_context(|| format!("the run that was to be cut in {state}"))?;
        reached = newest_reached(&console).max(reached);
        report(&install, &log, &format!("power cut in {state}"))?;
        if lose_checkpoints {
            slots::wipe(&install.image)?;
        }
        finished
            .look(&install, reached)
            .with_context(|| format!("after the cut in {state}"))?;
    }
    let machine = install.start()?;
    let ran = install.land(&machine, "resume")?;
    check_claim(&ran.output, reached).context("the run that landed")?;
    machine.cut_power()?;
    report(&install, &log, "landed")?;
    ensure!(
        finished.is_complete(install.layout),
        "no cut came after everything was made"
    );
    finished.look(&install, reached)?;
    made_once(&install)?;
    install.boot().map(|_| ())
}

pub fn kill_at_every_state(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "kill-at-every-state", Layout::LuksSwap, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let mut finished = Finished::default();
    let mut reached: Option<usize> = None;
    for (index, (state, pattern)) in STATES.iter().enumerate() {
        let unit = format!("landfall-{index}");
        let command = format!(
            "systemd-run --quiet --scope --unit={unit} bash -c '{}'",
            install.command("install").replace('\'', "'\\''")
        );
        machine.console().skip();
        let job = machine.spawn(&command, crate::install::RUN_LIMIT)?;
        wait_for(&machine, pattern).with_context(|| format!("in state {state}"))?;
        std::thread::sleep(Duration::from_millis(90 * (index as u64 % 5)));
        machine.check(
            &format!("systemctl kill --signal=KILL {unit}.scope || true"),
            Duration::from_secs(60),
        )?;
        let ran = job.wait(Duration::from_secs(120))?;
        reached = newest_reached(&ran.text()).max(reached);
        let left = machine.run(
            "grep -c ' /mnt' /proc/self/mountinfo; ls /dev/mapper",
            Duration::from_secs(60),
        )?;
        say(&format!(
            "killed in {state}; left: {}",
            left.text().replace('\n', " ")
        ));
        if reached >= position("Anchored") {
            machine.check("sync", Duration::from_secs(60))?;
            finished
                .look(&install, reached)
                .with_context(|| format!("after the kill in {state}"))?;
        }
    }
    install.land(&machine, "resume")?;
    machine.cut_power()?;
    ensure!(
        finished.is_complete(install.layout),
        "no kill came after everything was made"
    );
    finished.look(&install, reached)?;
    made_once(&install)?;
    install.boot().map(|_| ())
}

/// What a run of the chain says of the checkpoint must be what the run before it had reached.
fn check_claim(console: &str, reached: Option<usize>) -> Result<()> {
    let Some(reached) = reached.filter(|r| Some(*r) >= position("Anchored")) else {
        return Ok(());
    };
    let Some((_, rest)) = console.rsplit_once("the checkpoint says ") else {
        bail!(
            "no word of a checkpoint, though {} had been reached",
            STATES[reached].0
        );
    };
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    ensure!(
        position(&word) >= Some(reached),
        "the checkpoint says {word:?}, though {} had been reached",
        STATES[reached].0
    );
    Ok(())
}

fn position(state: &str) -> Option<usize> {
    STATES.iter().position(|(name, _)| *name == state)
}

/// The furthest state whose checkpoint a run was told to be saved.
fn newest_reached(console: &str) -> Option<usize> {
    STATES
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| {
            console
                .lines()
                .any(|l| l.contains("checkpoint ") && l.contains(&format!("({name}) saved in slot")))
        })
        .map(|(index, _)| index)
        .max()
}

/// What may never change any more: the table's bytes, and the identity of each volume from the state on in which it is whole.
#[derive(Default)]
struct Finished {
    table: Option<Vec<u8>>,
    volumes: BTreeMap<u32, String>,
}

impl Finished {
    /// Compares what was finished with what is there now, and takes in what has been finished since.
    fn look(&mut self, install: &Install, reached: Option<usize>) -> Result<()> {
        if reached < position("Anchored") {
            return Ok(());
        }
        let (table, identities) = install.identity()?;
        match &self.table {
            None => self.table = Some(table),
            Some(first) => ensure!(*first == table, "the partition table's bytes changed"),
        }
        for line in identities {
            let Some(number) = line.split(' ').next().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            let whole_from = match number {
                1 => "Anchored",
                2 if install.layout.has_luks() => "Encrypted",
                _ => "Formatted",
            };
            if reached < position(whole_from) {
                continue;
            }
            match self.volumes.get(&number) {
                None => drop(self.volumes.insert(number, line)),
                Some(first) => ensure!(*first == line, "a finished volume changed: {first} is now {line}"),
            }
        }
        Ok(())
    }

    /// Whether everything that the layout has was seen finished before the end.
    fn is_complete(&self, layout: Layout) -> bool {
        self.table.is_some() && self.volumes.len() == if layout.has_swap() { 3 } else { 2 }
    }
}

/// Once a state was reached, nothing that led to it is done again, in any later run.
fn made_once(install: &Install) -> Result<()> {
    let text = install.console_logs()?;
    for (reached, found, never_again) in [
        (
            "reached Partitioned",
            "Partition disk: already done",
            "]   write GPT",
        ),
        (
            "reached Anchored",
            "Anchor checkpoint: already done",
            "]   mkfs.vfat",
        ),
        (
            "reached Encrypted",
            "Encrypt volumes: already done",
            "]   LUKS2 container",
        ),
        (
            "reached Formatted",
            "Format volumes: already done",
            "]   mkfs.ext4",
        ),
        ("reached Formatted", "Format volumes: already done", "]   mkswap"),
    ] {
        // A run may be cut off between the work and its word; then the next one finds it done.
        let Some(from) = [text.find(reached), text.find(found)].into_iter().flatten().min() else {
            bail!("no run of {} {reached}", install.spec.folder.display());
        };
        let after = &text[from..];
        // The control: what must not be there afterwards was there before.
        ensure!(text.contains(never_again), "no run shows {never_again:?}");
        ensure!(
            !after.contains(never_again),
            "{never_again:?} again, after {reached}"
        );
    }
    Ok(())
}

fn report(install: &Install, log: &std::path::Path, what: &str) -> Result<()> {
    let entries = disk::write_log(log)?;
    let whole = disk::written(&entries, 0, u64::MAX);
    let root = disk::partitions(&install.image)?
        .into_iter()
        .find(|p| p.number == 2);
    let to_root = root.map_or(0, |p| disk::written(&entries, p.start, p.size).bytes);
    say(&format!(
        "{what}: this run wrote {} KiB, {} KiB of it to root, with {} flushes",
        whole.bytes >> 10,
        to_root >> 10,
        whole.flushes
    ));
    Ok(())
}
