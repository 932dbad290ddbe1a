//! Boots the installed disk.
//!
//! There is no stick, and the firmware's own boot order is used. A machine that hangs before its kernel prints anything is
//! started once more, and that is reported. The firmware knows the entries that any start of the machine has made: a saved
//! state brings variables of its own, which no real machine does.
//!
//! `install` checks the system that came up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use fs_err as fs;
use serde_json::json;

use super::{Machine, Spec, Start};
use crate::console::no_kernel_spoke;

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

/// The firmware's variables of a start that had an entry for the disk.
const WITH_ENTRY: &str = "vars-with-entry.fd";

/// Whether these variables have the entry that systemd-boot's installer makes.
fn has_entry(variables: &[u8]) -> bool {
    let title: Vec<u8> = "Linux Boot Manager"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    memchr::memmem::find(variables, &title).is_some()
}

/// Before a saved state brings its own variables: those of the last start are kept when the disk's entry is in them.
pub(super) fn keep_variables(folder: &Path) -> Result<()> {
    let variables = folder.join("vars.fd");
    if variables.exists() && has_entry(&fs::read(&variables)?) {
        fs::rename(&variables, folder.join(WITH_ENTRY))?;
    }
    Ok(())
}

/// Before the disk is booted: the entry that an earlier start made is there, as it is in a machine that keeps its variables.
fn bring_variables_back(folder: &Path) -> Result<()> {
    let (variables, kept) = (folder.join("vars.fd"), folder.join(WITH_ENTRY));
    if kept.exists() && !(variables.exists() && has_entry(&fs::read(&variables)?)) {
        fs::copy(&kept, &variables)?;
    }
    Ok(())
}

impl Machine {
    /// Boots the installed disk: no stick, the firmware's own boot order. Returns the whole line with the marker.
    ///
    /// Where the firmware says nothing, or starts the disk's boot loader and nothing at all is heard behind it, it is booted once
    /// more: the emulator stands still there now and then, and a disk at fault does it again. What its processors did is kept.
    pub fn boot_disk(spec: &Spec, how: &DiskBoot) -> Result<(Machine, String)> {
        let (mut machine, line) = Machine::boot_disk_once(spec, how)?;
        if line.is_ok() || !no_kernel_spoke(&machine.console.text()) {
            let line = machine.told(line, "booting the installed disk")?;
            return Ok((machine, line));
        }
        let kept = machine.keep_registers();
        eprintln!(
            "      nothing was heard of a kernel: booted once more; the processors: {}",
            kept.map_or_else(|error| format!("{error:#}"), |path| path.display().to_string())
        );
        drop(machine);
        let (machine, line) = Machine::boot_disk_once(spec, how)?;
        let line = machine.told(line, "booting the installed disk for the second time")?;
        Ok((machine, line))
    }

    fn boot_disk_once(spec: &Spec, how: &DiskBoot) -> Result<(Machine, Result<String>)> {
        bring_variables_back(&spec.folder)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Vec<u8> {
        let mut bytes = vec![0xFF; 4096];
        bytes.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    }

    #[test]
    fn an_entry_outlives_a_saved_state() {
        let folder = std::env::temp_dir().join(format!("lab-variables-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        keep_variables(&folder).unwrap();
        bring_variables_back(&folder).unwrap();
        assert!(!at("vars.fd").exists(), "nothing is made of nothing");
        let (fresh, with) = (variables("UEFI Misc Device"), variables("Linux Boot Manager"));

        // A start made the entry; the next one was from a saved state and made none.
        fs::write(at("vars.fd"), &with).unwrap();
        keep_variables(&folder).unwrap();
        fs::write(at("vars.fd"), &fresh).unwrap();
        bring_variables_back(&folder).unwrap();
        assert_eq!(fs::read(at("vars.fd")).unwrap(), with);

        // The control: what the last start has is not replaced.
        let newer = variables("Linux Boot Manager, and more");
        fs::write(at("vars.fd"), &newer).unwrap();
        bring_variables_back(&folder).unwrap();
        assert_eq!(fs::read(at("vars.fd")).unwrap(), newer);
        fs::remove_dir_all(&folder).unwrap();
    }
}
