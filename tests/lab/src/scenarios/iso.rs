//! The laboratory's own installer as an image that starts by itself, tried out as `cargo lab iso` tries out any other: the
//! command works, and the image of a stick without NixOS shows it.
//!
//! An image of the NixOS module cannot be built without nixpkgs.

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::install::{Install, say};
use crate::iso::{self, Arguments};
use crate::kit::{Kit, Layout, Mode, PASSPHRASE};

/// The command's own defaults are what is tried.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

pub fn iso(kit: &Kit) -> Result<()> {
    // Its stick alone is wanted: the machine is the command's, with a folder and a disk of its own.
    let mut install = Install::new(kit, "iso-stick", Layout::Luks, Mode::Prebuilt)?;
    install.more = "unattended: (enable: true),".into();
    let install = install.with_service("iso")?;
    let stick = install.spec.stick.as_ref().context("a stick of its own")?;
    let image = iso::make(kit, stick)?;
    iso::check(&image)?;
    let file = image.to_string_lossy();
    let line = [
        "iso",
        &file,
        "--yes",
        "--passphrase",
        PASSPHRASE,
        "--disk-size",
        "4",
        "--memory",
        "2048",
        "--minutes",
        "15",
        "--attach",
        "virtio",
        "--no-network",
    ];
    let Line { arguments } = Line::try_parse_from(line).context("the command's own options")?;
    let folder = kit.lab.cache.fresh_machine("iso")?;
    let shown = iso::try_out(&kit.lab, &folder, &arguments)?;
    ensure!(
        shown.booted.contains("LANDFALL-MARKER"),
        "another system started: {}",
        shown.booted
    );
    say(&format!(
        "cut in {}, resumed, landed; {}",
        shown.cut_in, shown.booted
    ));
    Ok(())
}
