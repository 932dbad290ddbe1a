//! landfall's virtual-machine laboratory: real firmware, real disks, real power cuts.
//!
//! It depends on nothing of landfall's, so that it can install what landfall needs to be built.

#![allow(
    clippy::indexing_slicing,
    reason = "a laboratory may end where it stands; what is shipped may not"
)]

mod agent;
mod bench;
mod cache;
mod chaos;
mod clean;
mod closure;
mod command;
mod conformance;
mod console;
mod crash;
mod debstrap;
mod decisions;
mod demo;
mod disk;
mod ending;
mod environment;
mod esp;
mod flush_order;
mod forge;
mod fuzz;
mod git;
mod halfway;
mod install;
mod iso;
mod kit;
mod machine;
mod measure;
mod mutants;
mod nix;
mod nixos_tools;
mod planted;
mod proxy;
mod qemu_line;
mod qmp;
mod recording;
mod release;
mod removal;
mod resident;
mod reverted;
mod samples;
mod saved_state;
mod scenarios;
mod screens;
mod selftest;
mod setup;
mod shell;
mod slots;
mod stage1;
mod test;
mod tools;
mod usb;

use std::process::ExitCode;

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
    /// Remove from `.lab` what is not current any more, and the machines; --all: everything
    Clean(clean::Arguments),
    /// A console in a machine with the installer environment and a blank disk; Ctrl-] leaves
    Shell(shell::Arguments),
    /// A real install into a UEFI machine: the power is cut in the middle, landfall resumes, the disk boots
    Demo(demo::Arguments),
    /// Set up, then run every test: unit, property, integration, and machines
    Test {
        /// Without machines
        #[arg(long)]
        quick: bool,
    },
    /// Every crash state of a recorded install, subsets of unflushed writes among them, judged by landfall; some landed from
    Conformance(conformance::Arguments),
    /// Whole installs that meet one random fault after another, land and boot; a seed repeats them
    Chaos(chaos::Arguments),
    /// Every crash of an install in the simulated world: single faults, or --pairs of them, against their bars
    Crash(crash::Arguments),
    /// Each real tool killed, and without power, at every call that changes something: the next run goes on
    Halfway(halfway::Arguments),
    /// Every planted bug of the simulated world, and the invariants that caught it
    Planted(planted::Arguments),
    /// Faults that landfall had, put back one at a time into a copy of it: its check must notice
    Reverted(reverted::Arguments),
    /// Every change of the states and the store that cargo-mutants knows: some test must fail for it
    Mutants(mutants::Arguments),
    /// Bytes that nobody of us wrote, against everything that reads them
    Fuzz(fuzz::Arguments),
    /// The NixOS side: Nix files as text, and with a nixpkgs tree what they mean
    Nix(nix::Arguments),
    /// What an install costs: memory, checkpoint writes, processor time to the first question
    Measure,
    /// Times of landing a closure, landfall's and others', taken alternately in one run on this computer
    Bench {
        /// What is measured
        #[command(subcommand)]
        what: bench::What,
    },
    /// Show promises of landfall's in a machine: by name, or --all
    Scenario {
        /// Names
        names: Vec<String>,
        /// Every scenario
        #[arg(long)]
        all: bool,
        /// List them
        #[arg(long)]
        list: bool,
        /// A folder with NixOS's own programs, which take the place of the laboratory's (docs/develop/laboratory.md)
        #[arg(long, value_name = "DIR")]
        nixos_tools: Option<std::path::PathBuf>,
    },
    /// An installer's image from elsewhere: boots it, installs, cuts the power, boots it again, boots what it installed
    Iso(iso::Arguments),
    /// Look whether what is committed can be released: version, formats, licences, oldest Rust, rustdoc, the binary's bytes
    Release(release::Arguments),
    /// Screenshots of a machine's own console while it installs: a question, an install, a failure, the end, at three sizes
    Screens(screens::Arguments),
    /// Check the laboratory itself: boot, agent, console, power cut, saved state
    Selftest,
}

/// What went wrong is told in words, each cause behind what it caused; a backtrace is nothing for people.
fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    match ending::watch().and_then(|()| carried_out(verb)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carried_out(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Setup => {
            let lab = setup::Lab::open()?;
            let environment = environment::Environment::open(&lab)?;
            println!("{}", lab.qemu.version);
            println!("installer environment with Linux {}", environment.kernel_release);
            println!("kept in {}", lab.cache.root.display());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Clean(arguments) => clean::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Shell(arguments) => shell::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Nix(arguments) => nix::run(&arguments),
        Verb::Measure => measure::run(),
        Verb::Bench { what } => bench::run(&what),
        Verb::Conformance(arguments) => conformance::run(&arguments),
        Verb::Chaos(arguments) => chaos::run(&arguments),
        Verb::Crash(arguments) => crash::run(&arguments),
        Verb::Halfway(arguments) => halfway::run(&arguments),
        Verb::Planted(arguments) => planted::run(&arguments),
        Verb::Reverted(arguments) => reverted::run(&arguments),
        Verb::Mutants(arguments) => mutants::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Iso(arguments) => iso::run(&arguments),
        Verb::Screens(arguments) => screens::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Test { quick } => test::run(quick),
        Verb::Scenario {
            names,
            all,
            list,
            nixos_tools,
        } => {
            if list {
                for scenarios::Scenario {
                    name, shows, in_test, ..
                } in scenarios::ALL
                {
                    println!(
                        "{name:24} {shows}{}",
                        if *in_test {
                            ""
                        } else {
                            " (not in `cargo lab test`)"
                        }
                    );
                }
                return Ok(ExitCode::SUCCESS);
            }
            let chosen = scenarios::chosen(&names, all)?;
            let kit = kit::Kit::with_tools(nixos_tools.as_deref())?;
            let passed = scenarios::run(&kit, &chosen)?;
            Ok(if passed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Verb::Release(arguments) => release::run(&arguments),
        Verb::Selftest => selftest::run().map(|()| ExitCode::SUCCESS),
    }
}
