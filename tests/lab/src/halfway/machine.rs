//! The steps that need device-mapper, mounts, a FAT driver or firmware: the same test program, in a machine.
//!
//! The machine starts from its saved state, and its stick is that of the scenarios, with the systems to be installed. The
//! program comes on a disk of its own, so that changing it does not change a stick. Its lines are handed on as it prints
//! them.
//!
//! `halfway` knows what the lines mean.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use crate::command::Program;
use crate::install::PATH;
use crate::kit::{self, Kit, Layout};
use crate::machine::{Disk, Machine, Spec};

/// The steps, as the program calls them.
pub const STEPS: [&str; 4] = ["activate", "mount", "install", "firmware"];
/// Serial number of the disk with the program.
const PROGRAM_SERIAL: &str = "LFPROGRAM";
/// Bytes of it, always the same ones: they are part of a saved state.
const PROGRAM_BYTES: u64 = 256 << 20;
/// Memory: the target disk lies in it, as it is, as it was, and as it is compared.
const MEMORY_MIB: u32 = 4096;
/// Longest run of everything, with every point.
const LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// How often new lines are fetched.
const INTERVAL: Duration = Duration::from_secs(3);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Where its lines are kept in the machine.
const OUTPUT: &str = "/run/lab/halfway.out";
const ERRORS: &str = "/run/lab/halfway.err";

/// Runs the program with these arguments; whether it ended well.
pub fn run(kit: &Kit, arguments: &[String], mut line: impl FnMut(&str)) -> Result<bool> {
    let folder = kit.lab.cache.fresh_machine("halfway")?;
    let mut spec = Spec::new(&kit.lab, &folder);
    spec.stick = Some(kit.stick.clone());
    spec.memory_mib = MEMORY_MIB;
    let image = folder.join("program.raw");
    program(&kit::halfway_program(&kit.lab.cache.workspace)?, &folder, &image)?;
    spec.disks = vec![Disk::new(&image, PROGRAM_SERIAL)];
    let machine = Machine::start_saved(&spec)?;
    machine.check(
        &format!(
            "mkdir -p /run/lab/program && modprobe -a fuse loop vfat dm-crypt && \
             mount -o ro /dev/disk/by-id/virtio-{PROGRAM_SERIAL} /run/lab/program"
        ),
        COMMAND_LIMIT,
    )?;
    let system = &kit.system(Layout::Plain)?.toplevel;
    let command = format!(
        "cd /tmp && PATH={PATH} /run/lab/program/halfway --machine --system {system} {} > {OUTPUT} 2> {ERRORS}",
        arguments.join(" ")
    );
    let job = machine.spawn(&command, LIMIT)?;
    let mut read = 0;
    let mut pending = String::new();
    let status = loop {
        let ended = job.poll(INTERVAL)?;
        let fresh = machine.run(&format!("tail -c +{} {OUTPUT}", read + 1), COMMAND_LIMIT)?;
        read += fresh.stdout.len();
        pending.push_str(&String::from_utf8_lossy(&fresh.stdout));
        while let Some((one, rest)) = pending.split_once('\n') {
            line(one);
            pending = rest.to_owned();
        }
        if let Some(ended) = ended {
            break ended.status;
        }
    };
    let errors = machine.get(ERRORS).context("what the program said")?;
    let errors = String::from_utf8_lossy(&errors);
    if !errors.trim().is_empty() {
        eprintln!("{}", errors.trim_end());
    }
    machine.cut_power()?;
    Ok(status == 0)
}

/// A disk with the program on it.
fn program(program: &Path, folder: &Path, image: &Path) -> Result<()> {
    let tree = folder.join("program");
    fs::create_dir_all(&tree)?;
    Program::new("strip")
        .args(["--strip-debug", "-o"])
        .arg(tree.join("halfway"))
        .arg(program)
        .run()?;
    Program::new("mksquashfs")
        .arg(&tree)
        .arg(image)
        .args(["-quiet", "-no-progress", "-all-root", "-noappend", "-comp", "lz4"])
        .timeout(Duration::from_secs(600))
        .run()?;
    let bytes = fs::metadata(image)?.len();
    ensure!(bytes <= PROGRAM_BYTES, "the program takes {bytes} bytes");
    fs::OpenOptions::new()
        .write(true)
        .open(image)?
        .set_len(PROGRAM_BYTES)?;
    Ok(fs::remove_dir_all(&tree)?)
}
