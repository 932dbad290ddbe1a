//! Booting the installed disk.
//!
//! Law: no stick, and the firmware's own boot order. A machine that stands still before its kernel speaks is started once more,
//! and that is told. Absent: what must be true of the system that came up, which `install.rs` knows.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use fs_err as fs;
use serde_json::json;

use super::{Machine, Spec, Start};
use crate::console::kernel_is_silent;

/// How to boot the installed disk.
#[derive(Debug, Clone)]
pub struct DiskBoot<'a> {
    /// Typed when [`DiskBoot::prompt`] shows.
    pub passphrase: Option<&'a str>,
    /// The passphrase prompt, a regular expression.
    pub prompt: &'a str,
    /// A regular expression for a part of the line to wait for.
    pub marker: &'a str,
    /// For all of it.
    pub timeout: Duration,
}

impl Machine {
    /// Boots the installed disk: no stick, the firmware's own boot order. Returns the whole line with the marker.
    ///
    /// Where the firmware has started the disk's boot loader and nothing at all is heard behind it, it is booted once more: the
    /// emulator stands still there now and then, and a disk at fault does it again. What its processors did is kept.
    pub fn boot_disk(spec: &Spec, how: &DiskBoot) -> Result<(Machine, String)> {
        let (mut machine, line) = Machine::boot_disk_once(spec, how)?;
        if line.is_ok() || !kernel_is_silent(&machine.console.text()) {
            let line = machine.told(line, "booting the installed disk")?;
            return Ok((machine, line));
        }
        let kept = machine.keep_registers();
        eprintln!(
            "      nothing was heard behind the boot loader: booted once more; the processors: {}",
            kept.map_or_else(|error| format!("{error:#}"), |path| path.display().to_string())
        );
        drop(machine);
        let (machine, line) = Machine::boot_disk_once(spec, how)?;
        let line = machine.told(line, "booting the installed disk for the second time")?;
        Ok((machine, line))
    }

    fn boot_disk_once(spec: &Spec, how: &DiskBoot) -> Result<(Machine, Result<String>)> {
        let mut machine = Machine::launch(spec, &Start::Firmware)?;
        let line = machine.go().and_then(|()| {
            let deadline = Instant::now() + how.timeout;
            if let Some(passphrase) = how.passphrase {
                machine.console.wait(how.prompt, how.timeout)?;
                machine.console.type_text(&format!("{passphrase}\n"))?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            machine.console.wait(&format!("^.*(?:{}).*\n", how.marker), left)
        });
        Ok((machine, line.map(|line| line.trim().to_owned())))
    }

    /// Writes what every processor holds to a file beside the console's log: twice, a second apart, which tells whether they move.
    fn keep_registers(&mut self) -> Result<PathBuf> {
        let mut text = String::new();
        for _ in 0..2 {
            let answer = self.qmp.execute(
                "human-monitor-command",
                json!({ "command-line": "info registers -a" }),
            )?;
            text.push_str(answer.as_str().unwrap_or_default());
            std::thread::sleep(Duration::from_secs(1));
        }
        let path = self.folder.join(format!("registers-{}.txt", self.run));
        fs::write(&path, text)?;
        Ok(path)
    }
}
