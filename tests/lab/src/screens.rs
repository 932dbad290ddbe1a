//! `cargo lab screens`: what a person in front of the machine sees, as pictures.
//!
//! Every picture is the machine's own framebuffer console, read by QEMU's `screendump`. landfall runs as the service that the
//! module makes for a machine with a screen, its questions are systemd's, and the answers are typed on the machine's
//! keyboard. A person has to judge the pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fs_err as fs;

use crate::environment::StickSpec;
use crate::install::{Install, RUN_LIMIT, UNIT, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Machine;

/// What is typed; the keyboard's map is that of the United States.
const PASSPHRASE: &str = "correct-horse-7f3a";
/// The font of the console: 16 dots wide, 32 high.
const FONT: &str = "TER16x32";
/// A clock that the emulator keeps: on a busy computer the kernel takes the processor's for slower than it is, and time flies.
const CLOCK: &str = "clocksource=acpi_pm";
/// Makes the font twice as large.
const DOUBLE_FONT: &str = include_str!("../guest/double-font.pl");
/// Name, dots of the screen, and whether the font is twice as large.
const SIZES: [(&str, (u32, u32), bool); 3] = [
    ("80x24", (1280, 768), false),
    ("40x12", (1280, 768), true),
    ("240x67", (3840, 2160), false),
];
/// A picture is drawn ten times a second, and an emulated console takes its time for it.
const DRAWN: Duration = Duration::from_secs(3);
const SHORT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the pictures are put [default: screens in the cache]
    folder: Option<PathBuf>,
    /// Only this size: 80x24, 40x12 or 240x67
    #[arg(long, value_name = "SIZE")]
    only: Option<String>,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { folder, only } = arguments;
    let sizes: Vec<_> = SIZES
        .iter()
        .filter(|(name, ..)| only.as_deref().is_none_or(|only| only == *name))
        .collect();
    ensure!(
        !sizes.is_empty(),
        "there is no such size; there are 80x24, 40x12 and 240x67"
    );
    let kit = Kit::open()?;
    let folder = folder
        .clone()
        .unwrap_or_else(|| kit.lab.cache.root.join("screens"));
    fs::create_dir_all(&folder)?;
    let folder = fs::canonicalize(&folder)?;
    for (name, dots, is_double) in sizes {
        say(&format!("a screen of {} by {} dots: {name}", dots.0, dots.1));
        pictures(&kit, &folder, name, *dots, *is_double).with_context(|| format!("the screen of {name}"))?;
    }
    println!("pictures: {}", folder.display());
    Ok(())
}

fn pictures(kit: &Kit, folder: &Path, size: &str, dots: (u32, u32), is_double: bool) -> Result<()> {
    let mut install = Install::new(kit, &format!("screens-{size}"), Layout::Luks, Mode::Prebuilt)?;
    install.more.clear();
    let mut install = install.stay();
    let configuration = kit.configuration_of(&install.host, install.layout, &install.mode, &install.more)?;
    // The plain lines go to the journal alone where the console is the screen (nix/modules/service.nix).
    let unit = UNIT.replace("StandardOutput=journal+console", "StandardOutput=journal");
    ensure!(unit != UNIT, "the unit has no console to leave out");
    let stick = StickSpec {
        label: "LANDFALL_screens".into(),
        payload: Some(kit.payload.clone()),
        files: BTreeMap::from([
            ("install.ron".to_owned(), configuration.into_bytes()),
            ("landfall.service".to_owned(), unit.into_bytes()),
        ]),
    };
    install.spec.stick = Some(kit.environment.stick(&kit.lab, &stick)?);
    install.spec.screen = Some(dots);
    let (width, height) = dots;
    install.spec.kernel_words =
        format!("console=tty0 video=efifb:{width}x{height} fbcon=font:{FONT} {CLOCK}");

    let mut machine = Machine::power_on(&install.spec)?;
    machine.agent_answers()?;
    if is_double {
        machine.put("/run/double-font.pl", DOUBLE_FONT.as_bytes())?;
        machine.check("perl /run/double-font.pl /dev/tty1", SHORT)?;
        // A question that stands already is not drawn anew.
        machine.check("systemctl restart landfall.service", RUN_LIMIT)?;
        until(&machine, ".alive and .run.ending == null")?;
    }
    let (columns, lines) = size.split_once('x').context("a size")?;
    let found = machine.check("stty size </dev/tty1", SHORT)?;
    ensure!(
        found.trim() == format!("{lines} {columns}"),
        "the console has {} lines and columns, not {lines} {columns}",
        found.trim()
    );
    let shot = |machine: &mut Machine, what: &str| -> Result<()> {
        std::thread::sleep(DRAWN);
        let file = folder.join(format!("{what}-{size}.png"));
        machine.screenshot(&file)?;
        say(&format!("{}", file.display()));
        Ok(())
    };
    // The agent has the keyboard a moment after the question is told; what is typed before is lost.
    let answer = |machine: &mut Machine, text: &str| -> Result<()> {
        std::thread::sleep(DRAWN);
        machine.keyboard_type(&format!("{text}\n"))
    };
    let enter_passphrase = |machine: &mut Machine| -> Result<()> {
        until(machine, ".run.asking | test(\"^New passphrase\")")?;
        answer(machine, PASSPHRASE)?;
        until(machine, ".run.asking | test(\"again:\")")?;
        answer(machine, PASSPHRASE)?;
        until(machine, ".run.asking | test(\"ERASE\")")
    };

    until(&machine, ".run.asking | test(\"^New passphrase\")")?;
    shot(&mut machine, "passphrase")?;
    enter_passphrase(&mut machine)?;
    shot(&mut machine, "question")?;
    answer(&mut machine, "no")?;
    until(&machine, ".run.ending.stopped != null")?;
    // What the module starts after a failure.
    machine.check(
        "systemd-run --quiet --wait -p StandardOutput=tty -p TTYPath=/dev/tty1 /usr/local/bin/landfall status --watch",
        SHORT,
    )?;
    shot(&mut machine, "failure")?;

    machine.check(
        "systemctl reset-failed landfall.service; systemctl start --no-block landfall.service",
        SHORT,
    )?;
    // The status is that of the run before for a moment.
    until(&machine, ".alive and .run.ending == null")?;
    enter_passphrase(&mut machine)?;
    answer(&mut machine, "yes")?;
    until(&machine, ".run.count.what != null and .run.phase == \"Cloned\"")?;
    shot(&mut machine, "install")?;
    until(&machine, ".run.ending.landed != null")?;
    shot(&mut machine, "landed")?;
    machine.cut_power()
}

/// Waits until the status is so: an expression of jq's.
fn until(machine: &Machine, wanted: &str) -> Result<()> {
    let deadline = Instant::now() + RUN_LIMIT;
    let command = format!("landfall status --json | jq --exit-status '{wanted}' >/dev/null 2>&1");
    while Instant::now() < deadline {
        if machine.run(&command, SHORT)?.status == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    let last = machine.run("landfall status", SHORT)?;
    bail!(
        "the status was not {wanted} within {} s; it is:\n{}",
        RUN_LIMIT.as_secs(),
        last.text()
    )
}
