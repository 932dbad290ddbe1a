//! One machine with one target disk, and landfall in it: beginning, cutting, resuming, booting the result.
//!
//! What is claimed about a run is read from the disk's image and from what the installed system prints, never from landfall's
//! own word alone.
//!
//! `scenarios` say what they want to show.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::agent::Job;
use crate::disk;
use crate::environment::StickSpec;
use crate::kit::{Kit, Layout, Mode, PASSPHRASE, Special, TARGET_BYTES, TARGET_SERIAL};
use crate::machine::{Disk, DiskBoot, Ended, Machine, Spec};

/// Longest landfall run in a machine that emulates its processor.
pub const RUN_LIMIT: Duration = Duration::from_secs(600);
/// Longest boot of the installed disk.
pub const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Where the scenario's configuration is put.
pub const CONFIG: &str = "/run/lab/install.ron";
/// What landfall finds programs with. Nothing of it is in the target: what runs there is found by what landfall adds.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where credentials are put for a run that is no service.
pub const CREDENTIALS: &str = "/run/lab/credentials";

/// The actions, in order.
pub const ACTIONS: [&str; 10] = [
    "Partition disk",
    "Anchor checkpoint",
    "Encrypt volumes",
    "Format volumes",
    "Clone configuration",
    "Realise system",
    "Install system",
    "Install boot loader",
    "Provision secrets",
    "Land",
];

/// landfall as a service: the golden unit.
pub const UNIT: &str = include_str!("../units/landfall.service");

/// One install on one disk.
#[derive(Debug)]
pub struct Install<'k> {
    /// The kit.
    pub kit: &'k Kit,
    /// The machine's parts; the first disk is the target.
    pub spec: Spec,
    /// Name of the host: the layout's, unless it is a special one.
    pub host: String,
    /// Layout.
    pub layout: Layout,
    /// Mode.
    pub mode: Mode,
    /// More of the configuration.
    pub more: String,
    /// Keys that are placed on the target, by the names of their credentials.
    pub keys: Vec<(&'static str, Vec<u8>)>,
    /// The target's image.
    pub image: PathBuf,
}

/// How a run of landfall ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub status: i32,
    /// What it printed.
    pub output: String,
}

impl Ran {
    /// It must have ended with this exit code and said all of this.
    pub fn must_end(&self, command: &str, status: i32, parts: &[&str]) -> Result<()> {
        ensure!(
            self.status == status,
            "{command} ended with {}, not {status}:\n{}",
            self.status,
            self.output
        );
        for part in parts {
            ensure!(
                self.output.contains(part),
                "{command} does not say {part:?}:\n{}",
                self.output
            );
        }
        Ok(())
    }
}

impl<'k> Install<'k> {
    /// A machine of its own with a blank target.
    pub fn new(kit: &'k Kit, name: &str, layout: Layout, mode: Mode) -> Result<Install<'k>> {
        let folder = kit.lab.cache.fresh_machine(name)?;
        let image = folder.join("target.raw");
        disk::create(&image, TARGET_BYTES)?;
        let mut spec = Spec::new(&kit.lab, &folder);
        spec.stick = Some(kit.stick.clone());
        spec.network = true;
        spec.disks = vec![Disk::new(&image, TARGET_SERIAL)];
        let more = format!("unattended: (disk: \"{TARGET_SERIAL}\"),");
        Ok(Install {
            kit,
            spec,
            host: layout.host().to_owned(),
            layout,
            mode,
            more,
            keys: Vec::new(),
            image,
        })
    }

    /// The same for a host with a habit of its own, on a plain layout.
    pub fn special(kit: &'k Kit, name: &str, special: Special) -> Result<Install<'k>> {
        let mut install = Install::new(kit, name, Layout::Plain, Mode::Prebuilt)?;
        install.host = special.host().to_owned();
        Ok(install)
    }

    /// The stick, booted (from the saved state), with the configuration in place.
    pub fn start(&self) -> Result<Machine> {
        let machine = Machine::start_saved(&self.spec)?;
        machine.check(
            &format!("mkdir -p /run/lab && mkdir -m 700 {CREDENTIALS}"),
            Duration::from_secs(60),
        )?;
        for (name, value) in &self.keys {
            machine.put(&format!("{CREDENTIALS}/landfall.{name}"), value)?;
        }
        self.configure(&machine, &self.more)?;
        Ok(machine)
    }

    /// Puts in a stick of the install's own, which runs landfall as a service with this configuration at every boot.
    pub fn with_service(mut self, name: &str) -> Result<Self> {
        let configuration = self
            .kit
            .configuration_of(&self.host, self.layout, &self.mode, &self.more)?;
        let stick = StickSpec {
            label: format!("LANDFALL_{name}"),
            payload: Some(self.kit.payload.clone()),
            files: BTreeMap::from([
                ("install.ron".to_owned(), configuration.into_bytes()),
                ("landfall.service".to_owned(), UNIT.as_bytes().to_vec()),
            ]),
        };
        self.spec.stick = Some(self.kit.environment.stick(&self.kit.lab, &stick)?);
        Ok(self)
    }

    /// Puts a configuration in place.
    pub fn configure(&self, machine: &Machine, more: &str) -> Result<()> {
        machine.put(
            CONFIG,
            self.kit
                .configuration_of(&self.host, self.layout, &self.mode, more)?
                .as_bytes(),
        )?;
        machine.put("/run/lab/passphrase", PASSPHRASE.as_bytes())
    }

    /// The command line of a run; its progress is shown on the console.
    pub fn command(&self, verb: &str) -> String {
        let passphrase = if self.layout.has_luks() {
            "--passphrase-fd 3 3</run/lab/passphrase"
        } else {
            ""
        };
        let keys = if self.keys.is_empty() {
            String::new()
        } else {
            format!("CREDENTIALS_DIRECTORY={CREDENTIALS} ")
        };
        format!(
            "{keys}PATH={PATH} landfall --verbose {verb} --config {CONFIG} --progress plain {passphrase} 2>&1 \
             | tee /dev/ttyS0; exit ${{PIPESTATUS[0]}}"
        )
    }

    /// A run to its end.
    pub fn run(&self, machine: &Machine, verb: &str) -> Result<Ran> {
        let output = machine.run(&self.command(verb), RUN_LIMIT)?;
        Ok(Ran {
            status: output.status,
            output: output.text(),
        })
    }

    /// A run in the background.
    pub fn begin(&self, machine: &Machine, verb: &str) -> Result<Job> {
        machine.spawn(&self.command(verb), RUN_LIMIT)
    }

    /// A run that must land.
    pub fn land(&self, machine: &Machine, verb: &str) -> Result<Ran> {
        let ran = self.run(machine, verb)?;
        ensure!(
            ran.status == 0,
            "landfall {verb} ended with {}:\n{}",
            ran.status,
            ran.output
        );
        // A restored machine has the firmware variables of before the install, so this run is who made the entry.
        let entries = machine.run("efibootmgr", Duration::from_secs(60))?.text();
        ensure!(
            entries.contains("* Linux Boot Manager"),
            "landed without a boot entry in the firmware: {entries}"
        );
        Ok(ran)
    }

    /// A run that must stop with this exit code, in the phase whose action is named.
    pub fn stop(&self, machine: &Machine, verb: &str, status: i32, action: &str) -> Result<Ran> {
        let ran = self.run(machine, verb)?;
        ensure!(
            ran.status == status && ran.output.contains(&format!(": {action} is not done")),
            "landfall {verb} ended with {}, not with {status} in {action}:\n{}",
            ran.status,
            ran.output
        );
        Ok(ran)
    }

    /// Configuration that leaves the machine on when landed.
    pub fn stay(mut self) -> Self {
        self.more.push_str(" on_success: Stay,");
        self
    }

    /// Boots the disk in firmware; the marker must say what was installed, and that it was activated.
    pub fn boot(&self) -> Result<String> {
        let system = format!("system={} ", self.kit.system_of(&self.host)?.toplevel);
        let is_built = matches!(self.mode, Mode::Flake(_));
        self.boot_as(|marker| {
            marker.contains(" activation=0 ")
                && marker.contains("current=yes")
                && (is_built || marker.contains(&system))
        })
    }

    /// The same for a system of which something else must hold; that it is this host's on this layout must hold of all. It is
    /// booted alone, and with every other disk of the machine attached, before it and behind it: as its owner will.
    pub fn boot_as(&self, holds: impl Fn(&str) -> bool) -> Result<String> {
        let marker = self.boot_with(&self.spec.disks[..1], &holds)?;
        if self.spec.disks.len() > 1 {
            let mut disks = self.spec.disks.clone();
            self.boot_with(&disks, &holds)?;
            disks.reverse();
            self.boot_with(&disks, &holds)?;
        }
        Ok(marker)
    }

    fn boot_with(&self, disks: &[Disk], holds: &impl Fn(&str) -> bool) -> Result<String> {
        let begun = Instant::now();
        let mut spec = self.spec.clone();
        spec.stick = None;
        spec.credentials.clear();
        spec.disks = disks.to_vec();
        let how = DiskBoot {
            passphrase: self.layout.has_luks().then_some(PASSPHRASE),
            prompt: "[Ee]nter passphrase for .*:",
            marker: "LANDFALL-(MARKER|FAILED) .*",
            timeout: BOOT_LIMIT,
        };
        let (machine, marker) = Machine::boot_disk(&spec, &how)?;
        let ended = machine.powered_off(Duration::from_secs(60))?;
        ensure!(
            ended == Ended::PoweredOff,
            "the installed system ended by {ended:?}"
        );
        // virtio disks are named in the order of their slots; a removable one is a SCSI disk.
        let mut virtio = disks.iter().filter(|disk| !disk.removable);
        let place = virtio.position(|disk| disk.serial == self.spec.disks[0].serial);
        let place = place.context("the target is not among the disks")?;
        let esp = format!(
            "boot=ESP-LAB@/dev/vd{}1 ",
            char::from(b'a' + u8::try_from(place)?)
        );
        for part in [
            "LANDFALL-MARKER".to_owned(),
            format!("host={} ", self.host),
            format!("layout={} ", self.layout.host()),
            "root=root-lab@".to_owned(),
            esp,
        ] {
            ensure!(
                marker.contains(&part),
                "the installed system's marker lacks {part:?}: {marker}"
            );
        }
        if self.layout.has_swap() {
            ensure!(marker.contains("swap=swap-lab@"), "no swap: {marker}");
        }
        ensure!(
            holds(&marker),
            "it booted, and is not what was installed on {}: {marker}",
            self.spec.folder.display()
        );
        eprintln!(
            "      booted in {:.0} s, disk {} of {}: {marker}",
            begun.elapsed().as_secs_f64(),
            place + 1,
            disks.len()
        );
        Ok(marker)
    }

    /// The console's log of every run of this machine so far.
    pub fn console_logs(&self) -> Result<String> {
        let mut logs: BTreeMap<u32, PathBuf> = BTreeMap::new();
        for entry in fs::read_dir(&self.spec.folder)? {
            let path = entry?.path();
            if let Some(run) = path
                .file_name()
                .and_then(|n| console_log_of(&n.to_string_lossy()))
            {
                logs.insert(run, path);
            }
        }
        let mut text = String::new();
        for log in logs.values() {
            text.push_str(&String::from_utf8_lossy(&fs::read(log)?));
        }
        Ok(text)
    }

    /// GPT bytes and every identity on the disk.
    pub fn identity(&self) -> Result<(Vec<u8>, Vec<String>)> {
        Ok((disk::gpt_bytes(&self.image)?, disk::identities(&self.image)?))
    }
}

/// Waits until `pattern` is on the console, or the run ends first, which is told as an error with what it said.
pub fn wait_for(machine: &Machine, pattern: &str) -> Result<()> {
    let (which, _) = machine.console_wait_any(&[pattern, "stopped in phase", "stopped before"], RUN_LIMIT)?;
    if which != 0 {
        bail!(
            "landfall stopped before {pattern:?} was seen; see the console log in {}",
            machine.folder().display()
        );
    }
    Ok(())
}

/// Every action before this one was only looked at in this run, and no program that makes a filesystem was started.
pub fn only_looked_before(ran: &Ran, action: &str) -> Result<()> {
    for earlier in ACTIONS.iter().take_while(|name| **name != action) {
        ensure!(
            ran.output.contains(&format!("{earlier}: already done")),
            "{earlier} was not found done:\n{}",
            ran.output
        );
        ensure!(
            !ran.output.contains(&format!("{earlier} (attempt")),
            "{earlier} was tried again:\n{}",
            ran.output
        );
    }
    for never in ["program=mkfs", "program=mkswap", "luksFormat", "  write GPT"] {
        ensure!(
            !ran.output.contains(never),
            "{never:?} in a resumed run:\n{}",
            ran.output
        );
    }
    Ok(())
}

/// A line of a scenario's report.
pub fn say(text: &str) {
    eprintln!("    {text}");
}

/// Reads a file of the machine as text.
pub fn text_of(machine: &Machine, path: &str) -> Result<String> {
    let bytes = machine
        .get(path)
        .with_context(|| format!("{path} in the machine"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The start whose console's log a file of a machine's folder is, by its name.
fn console_log_of(name: &str) -> Option<u32> {
    name.strip_prefix("console-")?.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::console_log_of;

    #[test]
    fn logs_are_told_by_number() {
        assert_eq!(console_log_of("console-10.log"), Some(10));
        for other in ["console.sock", "console-.log", "console-1.txt", "command-1.txt"] {
            assert_eq!(console_log_of(other), None, "{other}");
        }
    }
}
