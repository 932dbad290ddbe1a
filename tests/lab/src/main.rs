//! landfall's virtual-machine laboratory: real firmware, real disks, real power cuts.
//!
//! It depends on nothing of landfall's, so that it can install what landfall needs to be built.

#![allow(dead_code)] // The scenarios use what nothing here uses yet.

mod agent;
mod cache;
mod command;
mod console;
mod disk;
mod environment;
mod machine;
mod qemu_line;
mod qmp;
mod saved_state;
mod selftest;
mod setup;
mod shell;
mod stage1;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo lab",
    bin_name = "cargo lab",
    about = "landfall's virtual-machine laboratory"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install and make what the laboratory needs: host packages, QEMU, the installer environment
    Setup,
    /// A console in a machine with the installer environment and a blank disk; Ctrl-] leaves
    Shell(shell::Arguments),
    /// Check the laboratory itself: boot, agent, console, power cut, saved state
    Selftest,
}

fn main() -> Result<()> {
    let Arguments { verb } = Arguments::parse();
    match verb {
        Verb::Setup => {
            let lab = setup::Lab::open()?;
            let environment = environment::Environment::open(&lab)?;
            println!("{}", lab.qemu.version);
            println!("installer environment with Linux {}", environment.kernel_release);
            println!("kept in {}", lab.cache.root.display());
            Ok(())
        }
        Verb::Shell(arguments) => shell::run(&arguments),
        Verb::Selftest => selftest::run(),
    }
}
