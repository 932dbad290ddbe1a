//! `cargo lab shell`: the serial console of a machine, passed through to this terminal.
//!
//! The terminal is always restored. Only Ctrl-] has a meaning.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::disk;
use crate::environment::{Environment, StickSpec};
use crate::machine::{Disk, Machine, Spec};
use crate::setup::Lab;

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// What the machine is to have.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Boot instead of restoring a saved state
    #[arg(long)]
    boot: bool,
    /// Size of the blank disk in GiB
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4096))]
    disk_gib: u64,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    let lab = Lab::open()?;
    let environment = Environment::open(&lab)?;
    let stick = environment.stick(
        &lab,
        &StickSpec {
            label: "LANDFALL_shell".to_owned(),
            ..StickSpec::default()
        },
    )?;
    let folder = lab.cache.fresh_machine("shell")?;
    let image = folder.join("disk.raw");
    disk::create(&image, arguments.disk_gib << 30)?;
    let mut spec = Spec::new(&lab, &folder);
    spec.stick = Some(stick);
    spec.network = true;
    spec.disks = vec![Disk::new(&image, "TARGET")];
    eprintln!("lab: starting the machine in {}", folder.display());
    let machine = if arguments.boot {
        Machine::boot(&spec)?
    } else {
        Machine::start_saved(&spec)?
    };
    eprintln!("lab: the disk is /dev/disk/by-id/virtio-TARGET; Ctrl-] leaves and pulls the plug");
    machine.console_type("\n")?;
    attach(&machine)
}

/// Connects this terminal to the machine's console until Ctrl-], the end of input, or the machine's.
pub fn attach(machine: &Machine) -> Result<()> {
    let _raw = Raw::enter()?;
    let left = Arc::new(AtomicBool::new(false));
    let leaving = Arc::clone(&left);
    let (send, typed) = std::sync::mpsc::channel::<Vec<u8>>();
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        loop {
            // The end of input and an unreadable one are the same here: nobody types any more.
            let count = std::io::stdin().read(&mut bytes).unwrap_or(0);
            if count == 0 || bytes[..count].contains(&LEAVE) || send.send(bytes[..count].to_vec()).is_err() {
                leaving.store(true, Ordering::Relaxed);
                return;
            }
        }
    });
    let mut out = std::io::stdout();
    while !left.load(Ordering::Relaxed) {
        let bytes = machine.console().take_raw(Duration::from_millis(50));
        out.write_all(&bytes)?;
        out.flush()?;
        for bytes in typed.try_iter() {
            machine.console_type(&String::from_utf8_lossy(&bytes))?;
        }
        if bytes.is_empty() && machine.console().is_closed() {
            break;
        }
    }
    Ok(())
}

/// A terminal without echo and line editing, for as long as this lives.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Result<Raw> {
        let stdin = std::io::stdin();
        if !std::io::IsTerminal::is_terminal(&stdin) {
            return Ok(Raw(None));
        }
        let before = tcgetattr(&stdin).context("reading the terminal's settings")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).context("setting the terminal")?;
        Ok(Raw(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone; then there is nothing to put back.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
            println!();
        }
    }
}
