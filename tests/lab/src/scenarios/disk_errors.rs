//! The disk reports errors: where the root filesystem is written, where it is read, and where a checkpoint is saved.
//!
//! Each time it is a hardware fault, and no record is saved after it. With a disk that works again the install continues,
//! with the table and the ESP as they were. A disk that silently forgets is not shown.

use anyhow::{Context, Result, ensure};

use crate::disk;
use crate::install::{Install, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Failing;
use crate::slots::{self, SLOT_BYTES};

/// landfall's exit code for a device that reports errors.
const HARDWARE: i32 = 8;
/// Where root begins behind the kit's ESP.
const ROOT_START: u64 = 513 << 20;
/// Where ext4 has a copy of its superblock. Nothing but mkfs writes there before the closure comes.
const SUPERBLOCK_COPY: u64 = ROOT_START + (128 << 20);

pub fn disk_errors(kit: &Kit) -> Result<()> {
    let mut install = Install::new(kit, "disk-errors", Layout::Plain, Mode::Prebuilt)?.stay();
    let log = install.spec.folder.join("writes.log");
    install.spec.disks[0].write_log = Some(log.clone());

    fails(
        &mut install,
        "install",
        SUPERBLOCK_COPY,
        true,
        ": Format volumes is not done",
    )?;
    let partitions = disk::partitions(&install.image)?;
    let root = partitions.iter().find(|p| p.number == 2).context("no root")?;
    ensure!(root.start == ROOT_START, "root begins at {}", root.start);
    let entries = disk::write_log(&log)?;
    let failed = entries
        .iter()
        .position(|e| e.is_write() && (e.start..e.start + e.length).contains(&SUPERBLOCK_COPY))
        .context("the write that failed is not in the log")?;
    let slots = slots::find(&install.image)?;
    ensure!(slots.len() == 2, "{} slots", slots.len());
    for (at, _) in &slots {
        let count = |entries| disk::written(entries, *at, SLOT_BYTES as u64).bytes;
        ensure!(
            count(&entries[..failed]) > 0,
            "the slot at {at} was never written"
        );
        ensure!(
            count(&entries[failed..]) == 0,
            "a record was saved behind the error"
        );
    }
    let before = install.identity()?;
    say("a write of mkfs.ext4 ends with EIO: hardware, and no record is saved behind it");

    fails(
        &mut install,
        "resume",
        ROOT_START,
        false,
        "stopped before the install started",
    )?;
    say("a read of the root partition ends with EIO: hardware, and nothing is begun");

    // The older slot is written next.
    let older = slots::find(&install.image)?
        .into_iter()
        .min_by_key(|(_, slot)| slot.clone())
        .context("no slot")?;
    fails(
        &mut install,
        "resume",
        older.0,
        true,
        ": Format volumes is not done",
    )?;
    say("a checkpoint save ends with EIO: hardware");

    install.spec.disks[0].failing = None;
    let machine = install.start()?;
    let ran = install.land(&machine, "resume")?;
    for kept in ["Partition disk: already done", "Anchor checkpoint: already done"] {
        ensure!(ran.output.contains(kept), "no {kept:?} in:\n{}", ran.output);
    }
    machine.cut_power()?;
    let after = install.identity()?;
    ensure!(
        before.0 == after.0 && before.1.first() == after.1.first(),
        "the table or the ESP changed: {before:?}, {after:?}"
    );
    say("with a disk that works: landed, table and ESP as they were");
    install.boot().map(|_| ())
}

/// A run on a disk where writes, or reads, of the block at `at` fail; it must say where it stopped.
fn fails(install: &mut Install<'_>, verb: &str, at: u64, writes: bool, place: &str) -> Result<()> {
    install.spec.disks[0].failing = Some(Failing {
        bytes: at..at + Failing::STEP,
        reads: !writes,
        writes,
    });
    let machine = install.start()?;
    let ran = install.run(&machine, verb)?;
    ran.must_end(verb, HARDWARE, &[place, "(hardware)", "what: ", "next: "])?;
    machine.cut_power()
}
