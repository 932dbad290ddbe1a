//! The network cable is pulled while something is fetched: once during the clone, once while Nix fetches an input of the
//! flake. Nobody says anything then, so landfall itself has to notice; when the cable is back it goes on by itself.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::git::{self, Protocol, Repository, Server};
use crate::install::{Install, RUN_LIMIT, say, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;
use crate::proxy::{Fault, Proxy};

/// Slow enough that the cable is pulled in the middle of a transfer.
const SLOW: Fault = Fault::Slow {
    bytes_per_second: 120_000,
};
/// Bytes after which it is pulled.
const MIDDLE: u64 = 300_000;
/// Size of what is transferred.
const BYTES: usize = 2_000_000;

pub fn network_drops(kit: &Kit) -> Result<()> {
    let folder = kit.lab.cache.root.join("git-drops");
    let hosts = [Layout::Plain.params()];
    let inputs = &kit.inputs;
    let mut input = Repository::create(&folder, "input", "main", &hosts, inputs)?;
    input.fatten(BYTES)?;
    let mut config = Repository::create(&folder, "config", "main", &hosts, inputs)?;
    let server = Server::start(&folder, Protocol::Git)?;
    let to_config = Proxy::start(server.address())?;
    let to_input = Proxy::start(server.address())?;
    let flake = with_input(
        git::FLAKE,
        &server.guest_url(to_input.address().port(), "input.git"),
    )?;
    config.change("flake.nix", flake.as_bytes())?;
    config.fatten(BYTES)?;

    let url = server.guest_url(to_config.address().port(), "config.git");
    let mut install = Install::new(kit, "network-drops", Layout::Plain, Mode::Flake(url))?.stay();
    // How long a silence lasts before it is one: Git gets 10 s, an evaluation a minute and 8 s.
    install
        .more
        .push_str(" nix: (stalled_download_timeout_s: 2, connect_timeout_s: 2),");
    let mut machine = install.start()?;
    to_config.break_all(SLOW);
    to_input.break_all(SLOW);
    let job = install.begin(&machine, "install")?;

    drop_in(
        &mut machine,
        &to_config,
        "Clone configuration: ",
        "failed in Formatted",
    )?;
    let before = install.identity()?;
    say("the cable was out during the clone; landfall noticed, and it is in again");

    drop_in(&mut machine, &to_input, "Realise system: ", "failed in Cloned")?;
    say("the cable was out while Nix fetched an input; landfall noticed, and it is in again");

    let ran = job.wait(RUN_LIMIT)?;
    ensure!(
        ran.status == 0,
        "landfall ended with {}:\n{}",
        ran.status,
        ran.text()
    );
    for seen in ["Clone configuration (attempt 2)", "Realise system (attempt 2)"] {
        ensure!(ran.text().contains(seen), "no {seen:?} in:\n{}", ran.text());
    }
    machine.cut_power()?;
    ensure!(
        before == install.identity()?,
        "the table or a volume changed: {before:?}"
    );
    let marker = install.boot()?;
    // The system calls its own revision dirty, rightly: its input is in no lock file. The clone tells.
    ensure!(
        marker.contains(&format!("clone={}:operator", config.revision)),
        "not revision {}: {marker}",
        config.revision
    );
    Ok(())
}

/// Pulls the cable in the middle of the next transfer through this proxy, and plugs it in when landfall has noticed.
fn drop_in(machine: &mut Machine, proxy: &Proxy, action: &str, noticed: &str) -> Result<()> {
    wait_for(machine, action)?;
    let begun = Instant::now();
    let at_first = proxy.counts().bytes;
    while proxy.counts().bytes < at_first + MIDDLE {
        if begun.elapsed() > Duration::from_secs(180) {
            bail!("no transfer was seen in {action}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    machine.set_link(false)?;
    wait_for(machine, noticed)?;
    wait_for(machine, "retry 1 in")?;
    proxy.restore();
    machine.set_link(true)
}

/// The laboratory's flake with an input that has to be fetched.
pub fn with_input(flake: &str, url: &str) -> Result<String> {
    let changed = flake.replacen(
        "  outputs =\n    { self }:\n",
        &format!(
            "  inputs.more = {{ url = \"{url}\"; flake = false; }};\n\n  outputs =\n    {{ self, more }}:\n    \
             assert builtins.pathExists (more + \"/ballast\");\n"
        ),
        1,
    );
    ensure!(
        changed != flake,
        "the laboratory's flake is not written as expected"
    );
    Ok(changed)
}
