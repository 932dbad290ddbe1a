//! Every layout and both modes land and boot.

use anyhow::Result;

use crate::git::{Protocol, Server};
use crate::install::Install;
use crate::kit::{Kit, Layout, Mode};

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

pub fn flake_plain(kit: &Kit) -> Result<()> {
    land_flake(kit, Layout::Plain)
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
