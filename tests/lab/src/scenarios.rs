//! The scenarios: what is promised, shown on a real machine.
//!
//! One file per promise. Each scenario ends by looking at the disk from outside, and those that land by booting it in
//! firmware.
//!
//! `machine` has the machine, and `install` runs landfall in it.

mod bad_input;
mod clone_fails;
mod cuts;
mod disk_errors;
mod disk_full;
mod doctor;
mod esp;
mod flash;
mod flash_keys;
mod foreign_checkpoint;
mod habits;
mod half_made;
mod host_new;
pub mod image_cuts;
mod install_fails;
mod interactive;
mod iso;
mod keys_medium;
mod landing;
pub mod network_drops;
mod real_tools;
mod relabel;
pub mod root_image;
mod secrets;
mod stick_left_in;
mod unattended;
mod wrong_disk;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::console::lost_its_timer;
use crate::install::Install;
use crate::kit::Kit;
use crate::machine::Machine;

/// A promise and how it is shown.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
    /// Whether `cargo lab test` runs it, or only `cargo lab scenario --all`.
    pub in_test: bool,
    /// Shows it.
    pub run: fn(&Kit) -> Result<()>,
}

/// Every scenario, in the order in which they are run.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "plain",
        shows: "ESP and root, prebuilt: lands and boots",
        in_test: true,
        run: landing::plain,
    },
    Scenario {
        name: "swap",
        shows: "with swap, prebuilt",
        in_test: false,
        run: landing::swap,
    },
    Scenario {
        name: "luks",
        shows: "root in LUKS2, prebuilt",
        in_test: false,
        run: landing::luks,
    },
    Scenario {
        name: "luks-swap",
        shows: "LUKS2 and swap, prebuilt",
        in_test: true,
        run: landing::luks_swap,
    },
    Scenario {
        name: "root-image",
        shows: "root from an image in LUKS, cut while it is written and while it is read back: lands and boots",
        in_test: false,
        run: root_image::root_image,
    },
    Scenario {
        name: "image-cuts",
        shows: "an image onto a bare disk, cut at 25, 50, 75 %: at most one flush interval twice, the same bytes",
        in_test: false,
        run: image_cuts::image_cuts,
    },
    Scenario {
        name: "flake-plain",
        shows: "built from the flake over the network, by the stick's service",
        in_test: true,
        run: landing::flake_plain,
    },
    Scenario {
        name: "flake-luks",
        shows: "the same into LUKS2",
        in_test: false,
        run: landing::flake_luks,
    },
    Scenario {
        name: "cut-at-every-state",
        shows: "power cut once in every state; lands, nothing made twice",
        in_test: true,
        run: cuts::cut_at_every_state,
    },
    Scenario {
        name: "database-cut",
        shows: "power cut while Nix makes the target's database, and its log lost: made anew, lands, boots",
        in_test: true,
        run: half_made::database_cut,
    },
    Scenario {
        name: "mapping-without-table",
        shows: "every mapping that a killed activation leaves: removed; a foreign one: refused with the command",
        in_test: true,
        run: half_made::mapping_without_table,
    },
    Scenario {
        name: "cut-control",
        shows: "the same without checkpoints fails, as it must",
        in_test: true,
        run: cuts::cut_control,
    },
    Scenario {
        name: "slots-lost",
        shows: "an ESP that cannot be mounted: slots written in place; both lost: the disk itself says what is done",
        in_test: false,
        run: cuts::slots_lost,
    },
    Scenario {
        name: "kill-at-every-state",
        shows: "SIGKILL once in every state, in one boot",
        in_test: true,
        run: cuts::kill_at_every_state,
    },
    Scenario {
        name: "clone-fails",
        shows: "the git server dies in mid-transfer: retried within the budget, and by `landfall resume`",
        in_test: true,
        run: clone_fails::clone_fails,
    },
    Scenario {
        name: "clone-http",
        shows: "the same over smart and dumb HTTP, cut short and silent",
        in_test: false,
        run: clone_fails::clone_http,
    },
    Scenario {
        name: "install-fails",
        shows: "nixos-install exits 1: that phase alone again, within the budget, and by `landfall resume`",
        in_test: true,
        run: install_fails::install_fails,
    },
    Scenario {
        name: "esp-leftovers",
        shows: "cut inside the boot loader's installer, three times: its temporary files go, it lands and boots",
        in_test: true,
        run: esp::esp_leftovers,
    },
    Scenario {
        name: "torn-kernel",
        shows: "kernel, initrd, entry and loaders damaged after the install: each is written anew; lands and boots",
        in_test: true,
        run: esp::torn_kernel,
    },
    Scenario {
        name: "specialisations",
        shows: "a system with three specialisations: an entry for each, and the system itself starts",
        in_test: true,
        run: habits::specialisations,
    },
    Scenario {
        name: "boot-counting",
        shows: "counted boots and specialisations: the preferred entry is found among four of the same version",
        in_test: false,
        run: habits::boot_counting,
    },
    Scenario {
        name: "initrd-secrets",
        shows: "a key is appended to the initrd on the ESP: it is there before nixos-install; stage 1 has it",
        in_test: false,
        run: habits::initrd_secrets,
    },
    Scenario {
        name: "password-file",
        shows: "a password that only a key of landfall's decrypts, mutable users: the account has it after the first boot",
        in_test: true,
        run: habits::password_file,
    },
    Scenario {
        name: "activation-fails",
        shows: "a snippet of the activation fails, and no exit code says so: told, and kept in the receipt",
        in_test: true,
        run: habits::activation_fails,
    },
    Scenario {
        name: "no-firmware-entry",
        shows: "a host that may not touch the firmware's variables: no entry is made, and it boots",
        in_test: true,
        run: habits::no_firmware_entry,
    },
    Scenario {
        name: "iso",
        shows: "an image that starts by itself, as `cargo lab iso` takes it: installs, is cut, resumes; the result boots",
        in_test: false,
        run: iso::iso,
    },
    Scenario {
        name: "network-drops",
        shows: "the cable is out during the clone, and while Nix fetches an input: goes on by itself",
        in_test: false,
        run: network_drops::network_drops,
    },
    Scenario {
        name: "unattended",
        shows: "the stick's service, all secrets from credentials: nothing typed; powers off only when landed",
        in_test: true,
        run: unattended::unattended,
    },
    Scenario {
        name: "interactive",
        shows: "a person at the console, with wrong answers: nothing written without yes, nothing erased",
        in_test: false,
        run: interactive::interactive,
    },
    Scenario {
        name: "secrets",
        shows: "passphrase and keys are nowhere but in their declared files, root in LUKS2",
        in_test: false,
        run: secrets::secrets_luks,
    },
    Scenario {
        name: "secrets-plain",
        shows: "the same on a plain root: each key once in the raw image",
        in_test: false,
        run: secrets::secrets_plain,
    },
    Scenario {
        name: "keys-medium",
        shows: "deploy key and age identity from a FAT medium of their own, which is only read",
        in_test: false,
        run: keys_medium::keys_medium,
    },
    Scenario {
        name: "host-new",
        shows: "`host new`, its keys on a medium, the flake that it changed: its secret is decrypted at the first boot",
        in_test: false,
        run: host_new::host_new,
    },
    Scenario {
        name: "flash",
        shows: "USB sticks: written and compared from outside, pulled out at half and gone on with, liars, fixed, mounted and own disks",
        in_test: false,
        run: flash::flash,
    },
    Scenario {
        name: "flash-keys",
        shows: "a stick flashed with keys in one machine starts another one by its firmware, which installs unattended and boots",
        in_test: false,
        run: flash_keys::flash_keys,
    },
    Scenario {
        name: "stick-left-in",
        shows: "the stick boots again on a landed disk: message, power off, zero writes",
        in_test: true,
        run: stick_left_in::stick_left_in,
    },
    // The longest one of `cargo lab test`: where two machines run at a time, it ends with the others.
    Scenario {
        name: "real-tools",
        shows: "landfall's own tests that need root, loop devices and a disk to erase",
        in_test: true,
        run: real_tools::real_tools,
    },
    Scenario {
        name: "reinstall",
        shows: "a raised number in a configuration that names the disk installs again",
        in_test: false,
        run: stick_left_in::reinstall,
    },
    Scenario {
        name: "reinstall-cut",
        shows: "power cut while a new install takes the former one away: landed still, or free",
        in_test: false,
        run: stick_left_in::reinstall_cut,
    },
    Scenario {
        name: "wrong-disk",
        shows: "seven other disks, same labels, same size, in use: none is written",
        in_test: true,
        run: wrong_disk::wrong_disk,
    },
    Scenario {
        name: "foreign-checkpoint",
        shows: "slots of another host, layout or version stop; one bad or both torn go on; nothing is made twice",
        in_test: true,
        run: foreign_checkpoint::foreign_checkpoint,
    },
    Scenario {
        name: "forged-checkpoint",
        shows: "slots of another disk, forked, claiming too much: the disk says what is true",
        in_test: false,
        run: foreign_checkpoint::forged_checkpoint,
    },
    Scenario {
        name: "bad-input",
        shows: "every bad value: its message, its exit code, no write",
        in_test: true,
        run: bad_input::bad_input,
    },
    Scenario {
        name: "wrong-passphrase",
        shows: "a wrong passphrase on resume: refused, the container stays",
        in_test: false,
        run: bad_input::wrong_passphrase,
    },
    Scenario {
        name: "disk-errors",
        shows: "the disk reports EIO on a write, a read and a save: hardware; lands once it works again",
        in_test: false,
        run: disk_errors::disk_errors,
    },
    Scenario {
        name: "disk-full",
        shows: "no space on root, then on the ESP: says so; lands once there is room, nothing made twice",
        in_test: false,
        run: disk_full::disk_full,
    },
    Scenario {
        name: "relabel",
        shows: "a host that landfall did not install, from UUIDs to labels, cut on the way: boots at every instant, then by labels",
        in_test: false,
        run: relabel::relabel,
    },
    Scenario {
        name: "doctor",
        shows: "`landfall doctor` on an installer and on an installed host: what was broken is found; the printed remedy mends it",
        in_test: false,
        run: doctor::doctor,
    },
    Scenario {
        name: "relabel-every-step",
        shows: "the same, booted in every state that its writes leave, and run again from each",
        in_test: false,
        run: relabel::relabel_every_step,
    },
    Scenario {
        name: "conformance",
        shows: "crash states of a recorded install, judged by landfall; the simulation is not kinder (the short run)",
        in_test: true,
        run: crate::conformance::short,
    },
    Scenario {
        name: "chaos",
        shows: "an install into LUKS with random faults from a fixed seed, power cuts among them: lands and boots",
        in_test: true,
        run: crate::chaos::short,
    },
];

/// A run that must stop with this exit code and say all of this; returns what it said.
fn refuse(
    install: &Install<'_>,
    machine: &Machine,
    verb: &str,
    status: i32,
    parts: &[&str],
) -> Result<String> {
    let ran = install.run(machine, verb)?;
    ran.must_end(&format!("landfall {verb}"), status, parts)?;
    Ok(ran.output)
}

/// Runs some scenarios; the summary is the last thing printed.
pub fn run(kit: &Kit, chosen: &[&Scenario]) -> Result<bool> {
    let turns = Turns::new(kit, chosen);
    turns.take();
    let results = turns.ended();
    let failed = results.iter().filter(|shown| shown.fault.is_some()).count();
    println!("scenarios: {} passed, {failed} failed", results.len() - failed);
    Ok(failed == 0)
}

/// The scenarios of these names: asked for before anything is made for them.
pub fn chosen(names: &[String], all: bool) -> Result<Vec<&'static Scenario>> {
    let mut chosen: Vec<&Scenario> = Vec::new();
    for name in names {
        let found = ALL.iter().find(|s| s.name == name).with_context(|| {
            let known: Vec<&str> = ALL.iter().map(|s| s.name).collect();
            format!("no scenario {name:?}; there are: {}", known.join(" "))
        })?;
        chosen.push(found);
    }
    if all {
        chosen = ALL.iter().collect();
    }
    if chosen.is_empty() {
        bail!("name scenarios, or --all; `cargo lab scenario --list` lists them");
    }
    Ok(chosen)
}

/// What became of a scenario.
pub struct Shown {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, if it did.
    pub fault: Option<String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        match &self.fault {
            None => write!(f, "scenario {} … ok ({seconds:.0} s)", self.name),
            Some(fault) => write!(f, "scenario {} … FAILED ({seconds:.0} s)\n{fault}", self.name),
        }
    }
}

/// Scenarios that wait for their turn, and what became of those that had it.
pub struct Turns<'a> {
    kit: &'a Kit,
    chosen: &'a [&'a Scenario],
    next: AtomicUsize,
    shown: Mutex<Vec<Shown>>,
}

impl<'a> Turns<'a> {
    /// None has had its turn.
    pub fn new(kit: &'a Kit, chosen: &'a [&'a Scenario]) -> Self {
        Turns {
            kit,
            chosen,
            next: AtomicUsize::new(0),
            shown: Mutex::new(Vec::new()),
        }
    }

    /// Runs one after another until none is left, whatever became of the others. May be called by several threads at once:
    /// a scenario is run by one of them.
    pub fn take(&self) {
        while let Some(scenario) = self.chosen.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let shown = shown(self.kit, scenario);
            println!("{shown}");
            let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(shown);
        }
    }

    /// What became of them, in the order of their ends.
    pub fn ended(self) -> Vec<Shown> {
        self.shown.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(kit: &Kit, scenario: &Scenario) -> Shown {
    let begun = Instant::now();
    eprintln!("scenario {} … {}", scenario.name, scenario.shows);
    let result = once_more_if_hung(&kit.lab.cache.root, || (scenario.run)(kit));
    Shown {
        name: scenario.name,
        took: begun.elapsed(),
        fault: result.err().map(|error| format!("{error:#}")),
    }
}

/// Does what machines show; again, once, when it failed and a machine of it hung because QEMU lost a processor's timer, which
/// says nothing of what was shown.
pub fn once_more_if_hung<T>(cache: &Path, show: impl Fn() -> Result<T>) -> Result<T> {
    let begun = SystemTime::now();
    let shown = show();
    if shown.is_err() && emulator_hung(cache, begun) {
        println!("the emulator lost a processor's timer, with which the machine hung: once more");
        return show();
    }
    shown
}

/// Whether a machine that was on since then hung because QEMU lost a processor's timer.
fn emulator_hung(cache: &Path, since: SystemTime) -> bool {
    let logs = console_logs(&cache.join("machines"));
    logs.iter().any(|log| {
        let written = fs::metadata(log).and_then(|meta| meta.modified());
        // A log that cannot be read shows nothing.
        written.is_ok_and(|at| at >= since)
            && fs::read(log).is_ok_and(|text| lost_its_timer(&String::from_utf8_lossy(&text)))
    })
}

/// The console logs of all machines.
fn console_logs(machines: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let read = fs::read_dir(folder).into_iter().flatten();
        read.filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect()
    };
    let is_log = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with("console-") && name.ends_with(".log")
    };
    entries(machines)
        .iter()
        .flat_map(|machine| entries(machine))
        .filter(is_log)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_with_those_there_are() {
        let asked = |name: &str| chosen(&[name.to_owned()], false).map(|chosen| chosen.len());
        let why = asked("no-such").unwrap_err().to_string();
        assert!(why.contains("no-such") && why.contains(ALL[0].name), "{why}");
        assert_eq!(asked(ALL[0].name).unwrap(), 1);
        assert!(chosen(&[], false).is_err());
        assert_eq!(chosen(&[], true).unwrap().len(), ALL.len());
    }
}
