//! The checks of an installer.
//!
//! They use the same functions as an install before its first write. No disk is written, and no key is put where others could read
//! it.
//!
//! `network` and `remote` check the network and the repository.

use super::{Finding, Outcome, Scene, http};
use crate::config::{Config, SystemConfig};
use crate::real::disk::{self, DiskReport, scan};
use crate::real::fs::target_root::{self, Root};
use crate::real::git::foreseen;
use crate::real::preflight;
use crate::real::process::command::Program;
use crate::real::volume::root_image;
use crate::safe_open::{self, Links};
use landfall_states::checkpoint::{Choice, SlotError, choose};
use landfall_states::fault::{Fault, FaultClass, Remedy};
use landfall_states::utc::{span, utc};
use std::time::Duration;

/// Memory that evaluating a NixOS host needs: 2 GiB without what the kernel keeps for itself.
const MEMORY_FLAKE_BYTES_MIN: u64 = 1_792 << 20;
/// Memory that an install needs that evaluates nothing.
const MEMORY_BYTES_MIN: u64 = 512 << 20;
/// The GUID of the firmware's own variables (UEFI 2.10 section 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Where the firmware's variables are, below the root.
const EFIVARS: &str = "sys/firmware/efi/efivars";

/// How the last run of this boot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastRun {
    /// It is at work.
    Running,
    /// It landed.
    Landed,
    /// It found no install to continue.
    NothingToResume {
        /// Why.
        why: String,
        /// What to do.
        next: String,
    },
    /// It stopped with this.
    Stopped(Finding),
    /// Its process ended and reported no result.
    Gone,
}

pub(super) async fn privileges(scene: &Scene) -> Outcome {
    let looked = preflight::privileges();
    looked
        .map_err(|fault| fault.with_next(Remedy::Command(format!("sudo {}", scene.command))))
        .into()
}

pub(super) async fn settings(scene: &Scene) -> Outcome {
    match &scene.config {
        Some((file, Ok(config))) => {
            let warnings = config.warnings();
            let more = if warnings.is_empty() {
                String::new()
            } else {
                format!("; {}", warnings.join("; "))
            };
            Outcome::fine(format!(
                "{file}: the configuration of host {} is valid{more}",
                config.host
            ))
        }
        Some((file, Err(why))) => Outcome::wrong_list(
            FaultClass::NeedsChange,
            format!("configuration {file}"),
            "it is not valid",
            why.lines().map(|line| line.trim().to_owned()).collect(),
            format!("landfall check {file}"),
        ),
        None => Outcome::wrong(
            FaultClass::NeedsChange,
            "configuration",
            "this medium has no configuration",
            "build the image with landfall's module, or name a file: landfall doctor --config FILE",
        ),
    }
}

pub(super) async fn firmware(scene: &Scene) -> Outcome {
    preflight::firmware(&scene.root()).into()
}

/// A variable of the firmware that is one byte: on or off.
fn switch(root: &Root, name: &str) -> Result<Option<bool>, Fault> {
    let path = format!("/sys/firmware/efi/efivars/{name}-{GLOBAL}");
    // Four bytes of attributes come first.
    Ok(target_root::read(root, &path)?.and_then(|bytes| bytes.get(4).map(|value| *value == 1)))
}

pub(super) async fn secure_boot(scene: &Scene) -> Outcome {
    let root = scene.root();
    match target_root::is_there(&root, "/sys/firmware/efi") {
        Ok(true) => {}
        Ok(false) => return Outcome::skipped("this machine was started in BIOS mode, which has none"),
        Err(fault) => return fault.into(),
    }
    match target_root::names(&Root::at(scene.root.join(EFIVARS)), ".") {
        Ok(names) if names.is_empty() => {
            return Outcome::skipped(format!(
                "the firmware's variables are not mounted: sudo mount -t efivarfs efivarfs /{EFIVARS}"
            ));
        }
        Ok(_) => {}
        Err(fault) => return fault.into(),
    }
    let looked = switch(&root, "SecureBoot").and_then(|on| Ok((on, switch(&root, "SetupMode")?)));
    match looked {
        Ok((Some(true), _)) => Outcome::wrong(
            FaultClass::NeedsChange,
            "Secure Boot",
            "Secure Boot is on: the firmware will not start the installed boot loader, because it is not signed with a key of this machine",
            "turn Secure Boot off in the firmware setup; with lanzaboote, turn it on again after the host is installed and its keys are enrolled",
        ),
        Ok((Some(false), setup)) => Outcome::fine(match setup {
            Some(true) => "off, and the firmware takes new keys (setup mode)",
            Some(false) | None => "off",
        }),
        Ok((None, _)) => Outcome::fine("the firmware has none"),
        Err(fault) => fault.into(),
    }
}

pub(super) async fn tpm(scene: &Scene) -> Outcome {
    let root = scene.root();
    let looked = target_root::read_text(&root, "/sys/class/tpm/tpm0/tpm_version_major").and_then(|version| {
        let is_described = target_root::is_there(&root, "/sys/firmware/acpi/tables/TPM2")?;
        Ok((
            version,
            is_described,
            target_root::is_there(&root, "/sys/class/tpm/tpm0")?,
        ))
    });
    match looked {
        Ok((Some(version), _, _)) => Outcome::fine(format!("TPM {}", version.trim())),
        Ok((None, _, true)) => Outcome::fine("a TPM whose version the kernel does not report"),
        Ok((None, true, false)) => Outcome::wrong(
            FaultClass::NeedsChange,
            "TPM",
            "the firmware describes a TPM 2.0 (ACPI table TPM2), and the kernel has no device for it",
            "modprobe tpm_crb tpm_tis; to load them at every boot: extraInitrdKernelModules = [ \"tpm_crb\" \"tpm_tis\" ], and the same in the host",
        ),
        Ok((None, false, false)) => Outcome::fine("the machine has no TPM; an install does not need one"),
        Err(fault) => fault.into(),
    }
}

pub(super) async fn tools(scene: &Scene) -> Outcome {
    let config = match scene.config() {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    match config.payload() {
        Ok(payload) => preflight::tools(&preflight::needed_tools(config, &payload)).into(),
        Err(error) => Outcome::skipped(error.to_string()),
    }
}

/// A line of `/proc/meminfo` in bytes (`proc_meminfo(5)`).
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

pub(super) async fn memory(scene: &Scene) -> Outcome {
    let text = match target_root::read_text(&scene.root(), "/proc/meminfo") {
        Ok(text) => text.unwrap_or_default(),
        Err(fault) => return fault.into(),
    };
    let (Some(total), Some(available)) = (meminfo(&text, "MemTotal"), meminfo(&text, "MemAvailable")) else {
        return Outcome::skipped("/proc/meminfo does not show the amount of memory");
    };
    let config = scene.config().ok();
    let is_flake = config.is_none_or(|config| matches!(config.system, SystemConfig::Flake));
    let (needed, why) = if is_flake {
        (MEMORY_FLAKE_BYTES_MIN, "evaluating a host on this machine")
    } else {
        (MEMORY_BYTES_MIN, "an install")
    };
    let argon = config
        .and_then(|config| config.luks.memory_min.filter(|_| config.luks.enable))
        .map_or(0, |size| size.bytes());
    let found = format!("{} MiB, {} MiB of it free", total >> 20, available >> 20);
    if total < needed {
        return Outcome::wrong(
            FaultClass::NeedsChange,
            format!("memory of {} MiB", total >> 20),
            format!("{why} needs at least {} MiB", needed >> 20),
            if is_flake {
                "give the machine more memory, or build the image with autoInstaller.prebuilt = true, which evaluates nothing here"
            } else {
                "give the machine more memory"
            },
        );
    }
    if argon > available {
        return Outcome::wrong(
            FaultClass::NeedsChange,
            format!("memory of {} MiB", total >> 20),
            format!(
                "only {} MiB of it are free, and luks.memory_min is {} MiB",
                available >> 20,
                argon >> 20
            ),
            "close programs, give the machine more memory, or lower autoInstaller.luks.memoryMin and build the image again",
        );
    }
    Outcome::fine(found)
}

/// Free bytes below a directory; `None`: it is not there.
fn free_bytes(root: &Root, dir: &str) -> Result<Option<u64>, Fault> {
    let Some(opened) = root.dir(dir)? else {
        return Ok(None);
    };
    let stat = nix::sys::statvfs::fstatvfs(opened.fd()).map_err(|e| target_root::io_fault(dir, &e.into()))?;
    Ok(Some(stat.blocks_available().saturating_mul(stat.fragment_size())))
}

pub(super) async fn scratch(scene: &Scene) -> Outcome {
    let mut found = Vec::new();
    for dir in ["/run", "/tmp"] {
        match free_bytes(&scene.root(), dir) {
            Ok(Some(bytes)) => found.push((dir, bytes)),
            Ok(None) => {}
            Err(fault) => return fault.into(),
        }
    }
    judge_scratch(&found)
}

fn judge_scratch(found: &[(&str, u64)]) -> Outcome {
    let told = |(dir, bytes): &(&str, u64)| format!("{dir}: {} MiB free", bytes >> 20);
    // What looking at a repository may take, which is the most that an install puts there.
    let short: Vec<String> = found
        .iter()
        .filter(|(_, bytes)| *bytes < foreseen::LOOK_BYTES_MAX)
        .map(told)
        .collect();
    if short.is_empty() {
        let all: Vec<String> = found.iter().map(told).collect();
        return Outcome::fine(all.join(", "));
    }
    Outcome::wrong_list(
        FaultClass::NeedsChange,
        "scratch space",
        format!("at least {} MiB are needed", foreseen::LOOK_BYTES_MAX >> 20),
        short,
        "delete what fills it (du -x /run /tmp), or boot the installer again",
    )
}

pub(super) async fn payload(scene: &Scene) -> Outcome {
    let config = match scene.config() {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    let mut found = Vec::new();
    match carried(config, &scene.root()) {
        Ok(None) => {}
        Ok(Some(said)) => found.push(said),
        Err(outcome) => return outcome,
    }
    if let Some(bundle) = &config.repository.bundle {
        match safe_open::open(bundle, Links::Follow) {
            Ok(_) => found.push(format!("bundle {bundle}")),
            Err(refused) => {
                return Outcome::wrong(
                    FaultClass::NeedsChange,
                    format!("bundle {bundle}"),
                    refused.why(),
                    "boot from the stick again and leave it plugged in, or build the image again",
                );
            }
        }
    }
    Outcome::fine(if found.is_empty() {
        "the installer contains neither system nor repository; both are fetched".to_owned()
    } else {
        found.join(", ")
    })
}

fn carried(config: &Config, root: &Root) -> Result<Option<String>, Outcome> {
    match &config.system {
        SystemConfig::Flake => Ok(None),
        SystemConfig::Prebuilt(system) => {
            if target_root::is_there(root, system.as_str())? {
                return Ok(Some(format!("closure of {system}")));
            }
            Err(Outcome::wrong(
                FaultClass::NeedsChange,
                format!("system {system}"),
                "it is not in the installer's store",
                "build the image again; the installer's closure must contain the system",
            ))
        }
        SystemConfig::Image { file, system, .. } => {
            let payload = config.payload().map_err(|e| Outcome::skipped(e.to_string()))?;
            root_image::payload(config, payload)?;
            Ok(Some(format!(
                "image {file} of {system}: header and manifest are valid"
            )))
        }
    }
}

/// The date in the version of the nixpkgs that an installer is made of (`26.05.20260601.abcdef0`), in seconds since 1970.
fn made_s(os_release: &str) -> Option<u64> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("BUILD_ID="))?;
    let date = value.trim_matches('"').split('.').find(|part| part.len() == 8)?;
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
    let days = http::days_since_1970(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    Some(days * 86_400)
}

pub(super) async fn clock(scene: &Scene) -> Outcome {
    let found = match preflight::clock(scene.now) {
        Ok(found) => found,
        Err(fault) => return fault.into(),
    };
    let text = match target_root::read_text(&scene.root(), "/etc/os-release") {
        Ok(text) => text.unwrap_or_default(),
        Err(fault) => return fault.into(),
    };
    let now = super::unix_s(scene.now);
    match made_s(&text) {
        Some(made) if now < made => Outcome::wrong(
            FaultClass::NeedsChange,
            "clock",
            format!(
                "it shows {}, but this installer was made {} later, on {}; certificates are not valid yet at that time",
                utc(now),
                span(made - now),
                utc(made)
            ),
            "sudo date --set='YYYY-MM-DD HH:MM:SS', then start the install again",
        ),
        Some(made) => Outcome::fine(format!(
            "{found}, {} after this installer was made",
            span(now - made)
        )),
        None => Outcome::fine(found),
    }
}

pub(super) async fn disks(scene: &Scene) -> Outcome {
    if !scene.is_live() {
        return Outcome::skipped("this container cannot see the machine's disks");
    }
    if let Err(outcome) = scene.root_alone() {
        return outcome;
    }
    let config = scene.config().ok();
    let install_disk = scene.overrides.install_disk.as_deref();
    match disk::report(config, install_disk, &scene.context.reporter, &scene.context.stop).await {
        Ok((reports, why_not)) => judge_disks(&reports, why_not),
        Err(fault) => fault.into(),
    }
}

fn judge_disks(reports: &[DiskReport], why_not: Option<Fault>) -> Outcome {
    let named = |report: &DiskReport| {
        let name = report.name.as_deref().unwrap_or("no name of its own");
        format!("{} ({name}, {} bytes)", report.device, report.size_bytes)
    };
    if let Some(fault) = why_not {
        let mut finding = Finding::from(fault);
        // A fault of the choice has a line of each disk.
        let is_listed = |list: &[String], report: &DiskReport| {
            let begins = |line: &String| {
                line.strip_prefix(report.device.as_str())
                    .is_some_and(|rest| rest.starts_with([' ', ':', ',']))
            };
            list.iter().any(begins)
        };
        for report in reports {
            if let Err(reasons) = &report.candidate
                && !is_listed(&finding.list, report)
            {
                finding
                    .list
                    .push(format!("{}: {}", named(report), reasons.join("; ")));
            }
        }
        return Outcome::Finding(finding);
    }
    let chosen = reports
        .iter()
        .find_map(|report| Some((report, report.chosen.as_ref()?)));
    match chosen {
        Some((report, why)) => Outcome::fine(format!("{} of {}: {why}", named(report), reports.len())),
        None => Outcome::skipped("nothing was decided about the disks"),
    }
}

/// What a disk carries, for [`judge_checkpoints`].
type Carried<'a> = (String, [Option<&'a [u8]>; 2]);

pub(super) async fn checkpoint(scene: &Scene) -> Outcome {
    if !scene.is_live() {
        return Outcome::skipped("this container cannot see the machine's disks");
    }
    if let Err(outcome) = scene.root_alone() {
        return outcome;
    }
    let config = scene.config().ok();
    let gathered = match scan::gather(config, &scene.context.reporter, &scene.context.stop).await {
        Ok(gathered) => gathered,
        Err(fault) => return fault.into(),
    };
    let mut unread = Vec::new();
    let mut carried: Vec<Carried<'_>> = Vec::new();
    for looked in &gathered.disks {
        let name = format!("{} ({})", looked.block.device(), looked.block.identity.name());
        match &looked.contents {
            Ok(contents) => {
                let [a, b] = &contents.slots.bytes;
                carried.push((name, [a.as_deref(), b.as_deref()]));
            }
            Err(why) => unread.push(format!("{name}: {why}")),
        }
    }
    let host = config.map(|config| config.host.as_str());
    judge_checkpoints(&carried, &unread, host, &scene.command)
}

fn judge_checkpoints(
    carried: &[Carried<'_>],
    unread: &[String],
    host: Option<&str>,
    command: &str,
) -> Outcome {
    let (mut found, mut flaws) = (Vec::new(), Vec::new());
    for (name, slots) in carried {
        match choose(*slots) {
            // A disk without slots, and one whose slots were never written.
            Choice::Neither(
                [
                    SlotError::Empty | SlotError::NoMagic,
                    SlotError::Empty | SlotError::NoMagic,
                ],
            ) => {}
            Choice::Neither([a, b]) => flaws.push(format!("{name}: both slots are damaged: {a}; {b}")),
            Choice::Fork { why, .. } => flaws.push(format!("{name}: {why}")),
            Choice::Newer(version) => {
                flaws.push(format!("{name}: a newer landfall wrote it (format {version})"))
            }
            Choice::Trusted { record, other, .. } => {
                let said = format!("{name}: an install of {} at {}", record.host, record.phase());
                if host.is_some_and(|host| host != record.host.as_str()) {
                    flaws.push(format!(
                        "{said}, but this installer is for {}",
                        host.unwrap_or_default()
                    ));
                } else {
                    let torn = matches!(&other, Some(other) if !matches!(other, SlotError::Empty | SlotError::NoMagic));
                    found.push(if torn {
                        format!("{said} (the older slot is damaged)")
                    } else {
                        said
                    });
                }
            }
        }
    }
    let is_forbidden = |why: &String| why.contains("(os error 1)") || why.contains("(os error 13)");
    if flaws.is_empty() && !unread.is_empty() && unread.iter().all(is_forbidden) {
        return Outcome::wrong_list(
            FaultClass::NeedsChange,
            "checkpoints",
            "landfall has no permission to read a disk, so it cannot tell whether the disk holds an install",
            unread.to_vec(),
            format!("run it as root, outside a container: sudo {command}"),
        );
    }
    if flaws.is_empty() && !unread.is_empty() {
        return Outcome::wrong_list(
            FaultClass::Hardware,
            "checkpoints",
            "a disk cannot be read, so landfall cannot tell whether it holds an install",
            unread.to_vec(),
            "read dmesg, check cable and power of the disk, or replace it",
        );
    }
    flaws.extend(unread.iter().cloned());
    if !flaws.is_empty() {
        return Outcome::wrong_list(
            FaultClass::Unsafe,
            "checkpoints",
            "a disk holds an install that this installer cannot continue",
            flaws,
            "see landfall disks; for a new install on such a disk, name it: sudo INSTALL_DISK=NAME landfall install; or boot the installer of its host",
        );
    }
    Outcome::fine(match found.as_slice() {
        [] => "no disk holds an install of landfall".to_owned(),
        found => found.join("; "),
    })
}

pub(super) async fn service(scene: &Scene) -> Outcome {
    let host = match scene.config() {
        Ok(config) => config.host.as_str(),
        Err(outcome) => return outcome,
    };
    let unit = format!("{host}-auto-install.service");
    let asked = Program::that_looks("systemctl")
        .args([
            "show",
            "--property=LoadState,ActiveState,SubState,Result,ExecMainStatus",
            &unit,
        ])
        .deadline(Duration::from_secs(15));
    let said = match scene.context.run(asked).await {
        Ok(ended) if ended.success() => ended.stdout,
        Ok(ended) => return Outcome::skipped(format!("systemctl: {}", ended.said().trim())),
        Err(fault) => return Outcome::skipped(fault.why()),
    };
    judge_service(&unit, &said, scene.last_run.as_ref())
}

/// The last run, where no service makes one.
fn of_a_run_by_hand(unit: &str, last: Option<&LastRun>) -> Outcome {
    let what = "last run, started by hand";
    match last {
        None => Outcome::skipped(format!(
            "there is no {unit}; an install is started by hand: sudo landfall install"
        )),
        Some(LastRun::Running) => Outcome::fine("an install is running, started by hand"),
        Some(LastRun::Landed) => Outcome::fine("the install is finished"),
        Some(LastRun::Stopped(finding)) => Outcome::Finding(finding.clone()),
        Some(LastRun::NothingToResume { why, next }) => Outcome::wrong(
            FaultClass::NeedsChange,
            what,
            format!("it found nothing to resume: {why}"),
            next.clone(),
        ),
        Some(LastRun::Gone) => Outcome::wrong(
            FaultClass::Transient,
            what,
            "its process ended and reported no result (killed?)",
            "sudo landfall resume",
        ),
    }
}

fn judge_service(unit: &str, said: &str, last: Option<&LastRun>) -> Outcome {
    let value = |name: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim().to_owned()
    };
    let (load, active, sub) = (value("LoadState"), value("ActiveState"), value("SubState"));
    let what = format!("service {unit}");
    // A medium that was not made with landfall's module has none: there, a person starts the install.
    if load == "not-found" {
        return of_a_run_by_hand(unit, last);
    }
    if load != "loaded" {
        return Outcome::wrong(
            FaultClass::NeedsChange,
            what,
            format!("systemd cannot use it ({load})"),
            format!("systemctl status {unit}; without it: sudo landfall install"),
        );
    }
    if let Some(LastRun::Stopped(finding)) = last
        && active != "activating"
        && active != "active"
    {
        // Its own words are those of the run.
        return Outcome::Finding(finding.clone());
    }
    let start_again = format!("sudo systemctl restart {unit}");
    match (active.as_str(), last) {
        ("failed", _) => Outcome::wrong(
            FaultClass::Transient,
            what,
            format!(
                "it failed ({}, status {})",
                value("Result"),
                value("ExecMainStatus")
            ),
            format!("journalctl --boot --unit={unit}; then: {start_again}"),
        ),
        ("inactive", Some(LastRun::Gone)) => Outcome::wrong(
            FaultClass::Transient,
            what,
            "the process of the last run ended and reported no result (killed?)",
            start_again,
        ),
        ("inactive", Some(LastRun::NothingToResume { why, next })) => Outcome::wrong(
            FaultClass::NeedsChange,
            what,
            format!("the last run found nothing to resume: {why}"),
            next.clone(),
        ),
        ("inactive", None) => Outcome::wrong(
            FaultClass::Transient,
            what,
            "it did not run in this boot; it waits for the network if the install needs it",
            format!("landfall doctor --check network; then: {start_again}"),
        ),
        (_, Some(LastRun::Landed)) => Outcome::fine("the install is finished"),
        (active, _) => Outcome::fine(format!("{unit} is {active} ({sub})")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "installer_tests.rs"]
mod tests;
