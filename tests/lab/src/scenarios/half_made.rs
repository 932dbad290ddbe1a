//! What a tool leaves half-made when it is killed or the power goes: a LUKS mapping without a table, a database of Nix without
//! tables. Each is put where landfall finds it; the next run must go on by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::install::{Install, say, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;

const SHORT: Duration = Duration::from_secs(60);
/// Where the database is, in the machine while the target is mounted.
const DATABASE: &str = "/mnt/nix/var/nix/db";
/// Waits until Nix has made its database's file, and says what is there. The rest of it is in a log that is not durable yet.
const MAKING: &str = "for i in $(seq 2400); do [ -e /mnt/nix/var/nix/db/schema ] && break; sleep 0.05; done; \
     ls -l /mnt/nix/var/nix/db";
/// The step behind the order of the same words: an unusable database was put aside by then, so that what is there stays there.
const COPYING: &str = r"\]\s+copy the closure of";

/// Runs landfall until the console shows a pattern, and cuts the power.
fn cut_at(install: &Install<'_>, machine: Machine, verb: &str, pattern: &str) -> Result<String> {
    let job = install.begin(&machine, verb)?;
    wait_for(&machine, pattern)?;
    let console = machine.console().text();
    machine.cut_power()?;
    drop(job);
    Ok(console)
}

/// Every shape in which a killed activation leaves a mapping; one that is somebody else's is refused, and what the refusal says is
/// done.
pub fn mapping_without_table(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "mapping-without-table", Layout::Luks, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    cut_at(&install, machine, "install", "Realise system.*: copy the closure")?;
    let uuid = "CRYPT-LUKS2-$(cryptsetup luksUUID $P | tr -d -)-cryptroot";
    let part = "P=$(lsblk -rno PATH,FSTYPE | awk '$2==\"crypto_LUKS\"{print $1; exit}'); [ -b \"$P\" ]";
    let shapes = [
        ("a name alone", "dmsetup create cryptroot --notable".to_owned()),
        (
            "a name and a UUID",
            format!("dmsetup create cryptroot --notable --uuid {uuid}"),
        ),
        (
            "a table that does not take effect",
            format!(
                "dmsetup create cryptroot --notable --uuid {uuid}; dmsetup load cryptroot --table \"0 8192 linear $P 0\""
            ),
        ),
        (
            "a suspended mapping",
            format!(
                "dmsetup create cryptroot --uuid {uuid} --table \"0 8192 linear $P 0\"; dmsetup suspend cryptroot"
            ),
        ),
    ];
    for (name, made) in &shapes {
        let machine = install.start()?;
        let left = machine.check(&format!("set -e; {part}; {made}; dmsetup info cryptroot"), SHORT)?;
        say(&format!("{name}: {}", left.replace('\n', " | ")));
        let console = cut_at(&install, machine, "resume", "Realise system.*: ")
            .with_context(|| format!("with {name}"))?;
        ensure!(
            console.contains("device-mapper name cryptroot:") && console.contains("was removed"),
            "{name}: it was not told that it was removed:\n{console}"
        );
    }
    let machine = install.start()?;
    machine.check(
        "dmsetup create cryptroot --uuid FOREIGN --table '0 8192 zero'",
        SHORT,
    )?;
    let ran = install.run(&machine, "resume")?;
    ran.must_end("resume", 6, &["FOREIGN", "dmsetup remove cryptroot"])?;
    machine.check("dmsetup info cryptroot && dmsetup remove cryptroot", SHORT)?;
    machine.check("dmsetup create cryptroot --notable", SHORT)?;
    install.land(&machine, "resume")?;
    machine.cut_power()?;
    install.boot().map(|_| ())
}

/// The power goes while Nix makes the target's database; and once more, with the log that held its tables lost.
pub fn database_cut(kit: &Kit) -> Result<()> {
    let install = Install::new(kit, "database-cut", Layout::Plain, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    let job = install.begin(&machine, "install")?;
    wait_for(&machine, COPYING)?;
    let there = machine.check(MAKING, Duration::from_secs(180))?;
    machine.cut_power()?;
    drop(job);
    say(&format!("cut with: {}", there.replace('\n', " | ")));
    let machine = install.start()?;
    let job = install.begin(&machine, "resume")?;
    wait_for(&machine, COPYING)?;
    machine.check(MAKING, Duration::from_secs(180))?;
    // As a power cut leaves it that keeps the file and loses the log; a plain cut of this machine often keeps both.
    let lost = machine.check(
        &format!(
            "set -e; for p in /proc/[0-9]*; do case \"$(cat $p/comm 2>/dev/null)\" in \
             landfall|nix|nix-*) kill -9 ${{p#/proc/}} || true;; esac; done; sleep 1; : >{DATABASE}/db.sqlite; rm -f {DATABASE}/db.sqlite-*; \
             [ -e {DATABASE}/schema ]; sync; sync -f /mnt; ls -l {DATABASE}"
        ),
        SHORT,
    )?;
    machine.cut_power()?;
    drop(job);
    say(&format!("lost its log: {}", lost.replace('\n', " | ")));
    let machine = install.start()?;
    let ran = install.land(&machine, "resume")?;
    ensure!(
        ran.output.contains("database of the target store"),
        "the database was not made anew:\n{}",
        ran.output
    );
    machine.cut_power()?;
    install.boot().map(|_| ())
}
