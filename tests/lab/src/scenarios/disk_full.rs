//! No space: on root while the system is copied, then on the ESP while the boot loader is installed.
//!
//! Each stop says that space is needed. Once there is space, the install continues at that phase, with everything before it
//! only looked at.
//!
//! A disk that is too small from the beginning is refused before the first write (`scenarios::bad_input`).

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::install::{Install, only_looked_before, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;

/// landfall's exit code for a fault that wants a change outside.
const NEEDS_CHANGE: i32 = 6;
const LIMIT: Duration = Duration::from_secs(120);
/// Runs after mounting and before the clone: leaves 48 MiB, of which ext4 keeps 16 for itself. That is room for the clone,
/// and not for the system, which has 38 MB.
const FILL_ROOT: &str =
    "fallocate -l $(( $(stat -f -c %f /mnt) * $(stat -f -c %S /mnt) - 50331648 )) /mnt/filler";

pub fn disk_full(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "disk-full", Layout::Plain, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let filling = format!("{} extra_post_mount_commands: [\"{FILL_ROOT}\"],", install.more);
    install.configure(&machine, &filling)?;
    let stopped = install.stop(&machine, "install", NEEDS_CHANGE, "Realise system")?;
    says_room(&stopped.output)?;
    let before = install.identity()?;
    say("root is full: stopped, and says that room is needed");

    install.configure(&machine, &install.more)?;
    on(&machine, "root-lab", "ext4", "rm filler")?;
    // All but one MiB: a kernel does not fit.
    let fill = "fallocate -l $(( $(stat -f -c %a .) * $(stat -f -c %S .) - 1048576 )) FILLER";
    on(&machine, "ESP-LAB", "vfat", fill)?;
    let stopped = install.stop(&machine, "resume", NEEDS_CHANGE, "Install system")?;
    only_looked_before(&stopped, "Realise system")?;
    says_room(&stopped.output)?;
    say("root has room, the ESP is full: stopped, and says that room is needed");

    on(&machine, "ESP-LAB", "vfat", "rm FILLER")?;
    let ran = install.land(&machine, "resume")?;
    only_looked_before(&ran, "Install system")?;
    machine.cut_power()?;
    ensure!(
        before == install.identity()?,
        "the table or a volume changed: {before:?}"
    );
    say("room on both: landed, with only that phase done again");
    install.boot().map(|_| ())
}

fn says_room(output: &str) -> Result<()> {
    for part in ["No space left on device", "(needs a change)", "next: "] {
        ensure!(output.contains(part), "no {part:?} in:\n{output}");
    }
    Ok(())
}

/// Does something in a filesystem of the target, which no run has mounted.
fn on(machine: &Machine, label: &str, kind: &str, command: &str) -> Result<()> {
    let command = format!(
        "set -e; at=/run/lab/at; mkdir -p $at; mount -t {kind} $(blkid -o device -t PARTLABEL={label}) $at; \
         cd $at; {command}; cd /; umount $at; sync"
    );
    machine.check(&command, LIMIT).map(|_| ())
}
