//! `nixos-install` fails: the phase is repeated, alone, by landfall itself within its budget, or by `landfall resume`.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::install::{Install, only_looked_before, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;

/// landfall's exit code for a transient fault whose retries are spent.
const TRANSIENT: i32 = 5;
/// Its code for a permanent one.
const PERMANENT: i32 = 7;
/// Stands before the real one in PATH; ends with 1 and says so, once for each line of a file.
const WRAPPER: &str = "#!/bin/bash
if read -r why < /run/lab/failures; then
    sed -i 1d /run/lab/failures
    echo \"nixos-install: error: $why\" >&2
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

    fail_next(&machine, &["no luck today"])?;
    install.configure(
        &machine,
        &format!("{} retry: (retries_per_run_max: 0),", install.more),
    )?;
    let stopped = install.stop(&machine, "install", TRANSIENT, "Install system")?;
    for seen in ["no luck today", "then: landfall resume"] {
        ensure!(
            stopped.output.contains(seen),
            "no {seen:?} in:\n{}",
            stopped.output
        );
    }
    let before = install.identity()?;
    say("stopped after one failure, with no retry allowed");

    fail_next(&machine, &["no luck today"])?;
    install.configure(&machine, &install.more)?;
    let stopped = install.stop(&machine, "resume", PERMANENT, "Install system")?;
    ensure!(
        stopped.output.contains("ended the same way"),
        "the same ending again is no reason to stop:\n{}",
        stopped.output
    );
    say("the same unknown ending again: permanent, also in another run");

    fail_next(&machine, &["out of paper", "no luck today"])?;
    let ran = install.land(&machine, "resume")?;
    only_looked_before(&ran, "Install system")?;
    // Attempts are counted over runs: one in each of the first two, two failures and a success in this one.
    for seen in ["retry 1 in", "retry 2 in", "Install system (attempt 5)"] {
        ensure!(ran.output.contains(seen), "no {seen:?} in:\n{}", ran.output);
    }
    let left = machine.check("cat /run/lab/failures", limit)?;
    ensure!(left.trim().is_empty(), "{left:?} failures were never asked for");
    machine.cut_power()?;
    ensure!(
        before == install.identity()?,
        "the table or a volume changed: {before:?}"
    );
    say("resumed at that phase; it failed twice more and was done the third time");
    install.boot().map(|_| ())
}

fn fail_next(machine: &Machine, why: &[&str]) -> Result<()> {
    let lines: String = why.iter().map(|line| format!("{line}\n")).collect();
    machine.put("/run/lab/failures", lines.as_bytes())
}
