//! The server of the configuration dies in the middle of a transfer: landfall tries again by itself within its budget,
//! and when the budget is spent it stops, and `landfall resume` goes on at the clone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::git::{Protocol, Server};
use crate::install::{Install, RUN_LIMIT, only_looked_before, say};
use crate::kit::{Kit, Layout, Mode};
use crate::proxy::{Fault, Proxy};

/// landfall's exit code for a transient fault whose retries are spent.
const TRANSIENT: i32 = 5;
/// Bytes after which a transfer is cut off: many more than an answer of `git ls-remote` has, and many fewer than the
/// repository.
const MIDDLE: u64 = 600_000;

pub fn clone_fails(kit: &Kit) -> Result<()> {
    let server = Server::start(&kit.lab.cache.root.join("git"), Protocol::Git)?;
    let proxy = Proxy::start(server.address())?;
    let url = server.guest_url(proxy.address().port(), "config.git");
    let install = Install::new(kit, "clone-fails", Layout::Plain, Mode::Remote(url))?.stay();
    let machine = install.start()?;

    // The control: the fault lets everything through but the transfer itself.
    proxy.break_all(Fault::Reset { after: MIDDLE });
    install.configure(
        &machine,
        &format!("{} retry: (retries_per_run_max: 0),", install.more),
    )?;
    let stopped = install.stop(&machine, "install", TRANSIENT, "Clone configuration")?;
    ensure!(
        proxy.counts().broken == 1,
        "without retries, {} transfers were broken, not 1",
        proxy.counts().broken
    );
    ensure!(
        stopped.output.contains("next: landfall resume"),
        "no word of how to go on:\n{}",
        stopped.output
    );
    let before = install.identity()?;
    say("stopped after one broken transfer, with no retry allowed");

    // An attempt is two connections, `git ls-remote` and the transfer: the transfers of two attempts break.
    proxy.break_next(4, Fault::Reset { after: MIDDLE });
    install.configure(&machine, &install.more)?;
    let ran = install.land(&machine, "resume")?;
    only_looked_before(&ran, "Clone configuration")?;
    ensure!(
        proxy.counts().broken == 3,
        "{} transfers were broken, not 1 and then 2",
        proxy.counts().broken
    );
    // Attempts are counted over runs: the first run made one, this one three.
    for seen in [
        "retry 1 in",
        "retry 2 in",
        "Clone configuration (attempt 4)",
        "reached Cloned",
    ] {
        ensure!(ran.output.contains(seen), "no {seen:?} in:\n{}", ran.output);
    }
    machine.cut_power()?;
    ensure!(
        before == install.identity()?,
        "the table or a volume changed: {before:?}"
    );
    say("resumed at the clone; two more transfers broke, the third came through");
    let marker = install.boot()?;
    let clone = format!("clone={}:operator", kit.repository.revision);
    ensure!(marker.contains(&clone), "the marker lacks {clone:?}: {marker}");
    Ok(())
}

/// Over HTTP, smart and dumb, where a transfer is many connections: cut short, and silent until it is given up.
pub fn clone_http(kit: &Kit) -> Result<()> {
    for (name, protocol, fault) in [
        (
            "clone-smart-http",
            Protocol::SmartHttp,
            Fault::Truncate { after: MIDDLE },
        ),
        ("clone-dumb-http", Protocol::Http, Fault::Stall { after: MIDDLE }),
    ] {
        let server = Server::start(&kit.lab.cache.root.join("git"), protocol)?;
        let proxy = Proxy::start(server.address())?;
        let url = server.guest_url(proxy.address().port(), "config.git");
        let install = Install::new(kit, name, Layout::Plain, Mode::Remote(url))?.stay();
        let machine = install.start()?;
        proxy.break_all(fault);
        let job = install.begin(&machine, "install")?;
        let limit = Instant::now() + RUN_LIMIT;
        while proxy.counts().broken == 0 {
            ensure!(Instant::now() < limit, "{name}: no transfer was broken");
            std::thread::sleep(Duration::from_millis(200));
        }
        proxy.restore();
        let output = job.wait(RUN_LIMIT)?;
        ensure!(
            output.status == 0,
            "{name}: landfall ended with {}:\n{}",
            output.status,
            output.text()
        );
        ensure!(
            output.text().contains("retry 1 in"),
            "{name}: nothing was retried"
        );
        machine.cut_power()?;
        install.boot()?;
        say(&format!(
            "{name}: landed after {fault:?}, over {} connections",
            server.connections()
        ));
    }
    Ok(())
}
