//! Every layout and both modes land and boot.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::git::{Protocol, Server};
use crate::install::{Install, wait_for};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::{Ended, Machine};

pub fn plain(kit: &Kit) -> Result<()> {
    land(kit, Layout::Plain)
}

pub fn swap(kit: &Kit) -> Result<()> {
    land(kit, Layout::Swap)
}

pub fn luks(kit: &Kit) -> Result<()> {
    land(kit, Layout::Luks)
}

pub fn luks_swap(kit: &Kit) -> Result<()> {
    land(kit, Layout::LuksSwap)
}

/// As an operator's stick does it: by the service, which builds under the service's confinement.
pub fn flake_plain(kit: &Kit) -> Result<()> {
    let folder = kit.lab.cache.root.join("git");
    let server = Server::start(&folder, Protocol::Git)?;
    let url = server.guest_url(server.address().port(), "config.git");
    let install = Install::new(kit, "flake-plain", Layout::Plain, Mode::Flake(url))?;
    let install = install.with_service("flake-plain")?;
    let machine = Machine::power_on(&install.spec)?;
    wait_for(&machine, "landed: ")?;
    let ended = machine.powered_off(Duration::from_secs(180))?;
    ensure!(ended == Ended::PoweredOff, "after landing it ended by {ended:?}");
    install.boot()?;
    Ok(())
}

pub fn flake_luks(kit: &Kit) -> Result<()> {
    land_flake(kit, Layout::Luks)
}

fn land(kit: &Kit, layout: Layout) -> Result<()> {
    let install = Install::new(kit, layout.host(), layout, Mode::Prebuilt)?.stay();
    let machine = install.start()?;
    install.land(&machine, "install")?;
    machine.cut_power()?;
    install.boot()?;
    Ok(())
}

fn land_flake(kit: &Kit, layout: Layout) -> Result<()> {
    let folder = kit.lab.cache.root.join("git");
    let server = Server::start(&folder, Protocol::Git)?;
    let url = server.guest_url(server.address().port(), "config.git");
    let name = format!("flake-{}", layout.host());
    let install = Install::new(kit, &name, layout, Mode::Flake(url))?.stay();
    let machine = install.start()?;
    install.land(&machine, "install")?;
    machine.cut_power()?;
    install.boot()?;
    Ok(())
}
