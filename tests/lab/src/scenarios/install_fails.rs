//! `nixos-install` fails: the phase is repeated, alone, by landfall itself within its budget, or by `landfall resume`.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::install::{Install, only_looked_before, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;

/// landfall's exit code for a transient fault whose retries are spent.
const TRANSIENT: i32 = 5;
/// Stands before the real one in PATH; ends with 1 as often as a file says.
const WRAPPER: &str = "#!/bin/bash
left=$(cat /run/lab/failures)
if [ \"$left\" -gt 0 ]; then
    echo $((left - 1)) > /run/lab/failures
    echo 'nixos-install: error: no luck today' >&2
    exit 1
fi
exec /usr/local/bin/nixos-install \"$@\"
";

pub fn install_fails(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "install-fails", Layout::Plain, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    machine.put("/usr/local/sbin/nixos-install", WRAPPER.as_bytes())?;
    let limit = Duration::from_secs(60);
    machine.check("chmod 755 /usr/local/sbin/nixos-install", limit)?;

    fail_next(&machine, 1)?;
    install.configure(
        &machine,
        &format!("{} retry: (retries_per_run_max: 0),", install.more),
    )?;
    let stopped = install.stop(&machine, "install", TRANSIENT, "InstallSystem")?;
    for seen in ["no luck today", "then: landfall resume"] {
        ensure!(
            stopped.output.contains(seen),
            "no {seen:?} in:\n{}",
            stopped.output
        );
    }
    let before = install.identity()?;
    say("stopped after one failure, with no retry allowed");

    fail_next(&machine, 2)?;
    install.configure(&machine, &install.more)?;
    let ran = install.land(&machine, "resume")?;
    only_looked_before(&ran, "InstallSystem")?;
    // Attempts are counted over runs: one in the first run, two failures and a success in this one.
    for seen in ["retry 1 in", "retry 2 in", "InstallSystem (attempt 4)"] {
        ensure!(ran.output.contains(seen), "no {seen:?} in:\n{}", ran.output);
    }
    let left = machine.check("cat /run/lab/failures", limit)?;
    ensure!(left.trim() == "0", "{left:?} failures were never asked for");
    machine.cut_power()?;
    ensure!(
        before == install.identity()?,
        "the table or a volume changed: {before:?}"
    );
    say("resumed at that phase; it failed twice more and was done the third time");
    install.boot().map(|_| ())
}

fn fail_next(machine: &Machine, times: u32) -> Result<()> {
    machine.put("/run/lab/failures", format!("{times}\n").as_bytes())
}
