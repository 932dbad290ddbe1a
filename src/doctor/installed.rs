//! The checks of an installed host.
//!
//! The ESP is checked by the same code as at the end of an install. Labels, entries and identities are those that the running system
//! names. Nothing is mounted.
//!
//! `nixos-rebuild boot` and `agenix --rekey` fix what is wrong.

use super::decrypt::{self, KeyError, PrivateKey, Unopened};
use super::{Outcome, Scene};
use crate::real::boot::files::observe_boot;
use crate::real::boot::firmware;
use crate::real::disk::Sysfs;
use crate::real::disk::usage::shell;
use crate::real::fs::receipt::{KEPT_DIR, RECEIPT_NAME, read_receipt};
use crate::real::fs::target_root::{self, Root};
use crate::real::mount::table;
use crate::real::process::command::Program;
use camino::Utf8Path;
use landfall_states::actions::install_boot_loader::{BootFlaw, Nvram};
use landfall_states::fault::{Fault, FaultClass};
use landfall_states::names::{StorePath, quoted};
use landfall_states::plan::Machine;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What makes the boot loader anew. What it finds below `EFI/nixos` and among the entries, it takes for its own work.
const BOOT_AGAIN: &str = "sudo nixos-rebuild boot --install-bootloader";
/// Most secrets that one finding names.
const SECRETS_NAMED_MAX: usize = 20;

/// The system that the next boot starts.
fn system(root: &Root) -> Result<StorePath, Outcome> {
    let path = target_root::follow_to_store(root, "/nix/var/nix/profiles/system")?;
    path.as_deref()
        .and_then(|path| path.parse().ok())
        .ok_or_else(|| Outcome::skipped("/nix/var/nix/profiles/system does not point to a system"))
}

pub(super) async fn esp(scene: &Scene) -> Outcome {
    look_at_esp(scene).unwrap_or_else(|outcome| outcome)
}

fn look_at_esp(scene: &Scene) -> Result<Outcome, Outcome> {
    scene.root_alone()?;
    let root = scene.root();
    let system = system(&root)?;
    if !target_root::is_there(&root.esp(), "EFI")? {
        return Err(Outcome::wrong(
            FaultClass::NeedsChange,
            "ESP at /boot",
            "it has no directory EFI, so it is not mounted, or it is empty",
            "sudo mount /boot; if fstab does not have it: landfall doctor --check labels",
        ));
    }
    let efivars = scene.root.join("sys/firmware/efi/efivars");
    let variables = firmware::loader_variables(&efivars)?;
    // The entry has a check of its own; without one the removable path has to be right, and so it is looked at as if there were none.
    let facts = observe_boot(&root, &system, Machine::native(), Nvram::NotWanted, &variables)?;
    if let Some(why) = &facts.unproved {
        return Err(Outcome::skipped(format!(
            "{why}; see the boot loader's own tools"
        )));
    }
    let mut flaws: Vec<String> = facts.flaws().iter().map(ToString::to_string).collect();
    flaws.extend(facts.steered.clone());
    if flaws.is_empty() {
        return Ok(Outcome::fine(format!(
            "boot loader, entry, kernel and initrd match {system}"
        )));
    }
    Err(Outcome::wrong_list(
        FaultClass::NeedsChange,
        "ESP at /boot",
        format!("it does not boot {system} as it is in the store"),
        flaws,
        if facts.steered.is_some() {
            "clear the chosen entry: sudo bootctl set-oneshot '' and sudo bootctl set-default '' (bootctl list shows it)".to_owned()
        } else {
            boot_again(&facts.flaws())
        },
    ))
}

/// The command that makes the boot loader again, without what would keep it from that.
fn boot_again(flaws: &[BootFlaw]) -> String {
    let is_skipped = |path: &str| {
        let path = path.trim_start_matches('/').to_ascii_lowercase();
        // bootctl writes over a loader.
        path.starts_with("efi/nixos/") || path.starts_with("loader/entries/")
    };
    let in_the_way = flaws.iter().filter_map(|flaw| match flaw {
        BootFlaw::Different { path, .. } => is_skipped(path).then_some(path),
        BootFlaw::Leftover(path) => Some(path),
        BootFlaw::Missing(_) | BootFlaw::Elsewhere(_) => None,
    });
    let files: Vec<String> = in_the_way
        .map(|path| shell(&format!("/boot/{}", path.trim_start_matches('/'))))
        .collect();
    if files.is_empty() {
        return BOOT_AGAIN.to_owned();
    }
    format!("sudo rm {} && {BOOT_AGAIN}", files.join(" "))
}

/// The device of the filesystem at `/boot`, and the PARTUUID of its partition.
fn esp_partition(scene: &Scene) -> Result<(String, Uuid), Outcome> {
    let root = scene.root();
    let text = target_root::read_text(&root, "/proc/self/mountinfo")?.unwrap_or_default();
    let mounts = table::parse_mountinfo(&text).map_err(Outcome::skipped)?;
    // The last one lies on top.
    let mount = mounts
        .iter()
        .rfind(|mount| mount.target == "/boot" && mount.kind == "vfat")
        .ok_or_else(|| Outcome::skipped("no FAT is mounted at /boot"))?;
    let sysfs = Sysfs::below(&scene.root);
    let blocks = sysfs
        .blocks()
        .map_err(|e| Outcome::from(target_root::io_fault("block devices", &e)))?;
    let partition = blocks
        .iter()
        .flat_map(|block| &block.partitions)
        .find(|partition| {
            u64::from(partition.dev.0) == mount.device.0 && u64::from(partition.dev.1) == mount.device.1
        });
    let untold = || {
        Outcome::skipped(format!(
            "neither the kernel nor udev reports the PARTUUID of {}",
            mount.source
        ))
    };
    let partition = partition.ok_or_else(untold)?;
    let told = match &partition.partuuid {
        Some(told) => Some(told.clone()),
        None => linked_partuuid(scene, &partition.name)?,
    };
    let partuuid = told.and_then(|told| told.parse().ok()).ok_or_else(untold)?;
    Ok((partition.name.clone(), partuuid))
}

/// The PARTUUID of a partition by its kernel name, as udev has it: not every kernel tells it itself (6.12 does not).
fn linked_partuuid(scene: &Scene, name: &str) -> Result<Option<String>, Fault> {
    let dir = scene.root.join("dev/disk/by-partuuid");
    let links = target_root::names(&Root::at(&dir), ".")?;
    let leads_there = |link: &String| {
        // One that went away meanwhile leads nowhere.
        let target = fs_err::read_link(dir.join(link));
        target.is_ok_and(|target| target.file_name().is_some_and(|file| file == name))
    };
    Ok(links.into_iter().find(leads_there))
}

pub(super) async fn boot_entry(scene: &Scene) -> Outcome {
    look_at_entry(scene).unwrap_or_else(|outcome| outcome)
}

fn look_at_entry(scene: &Scene) -> Result<Outcome, Outcome> {
    scene.root_alone()?;
    let root = scene.root();
    if !target_root::is_there(&root, "/sys/firmware/efi")? {
        return Err(Outcome::skipped("this machine was started in BIOS mode"));
    }
    let (name, partuuid) = esp_partition(scene)?;
    let efivars = scene.root.join("sys/firmware/efi/efivars");
    let fallback = format!("EFI/BOOT/{}", Machine::native().fallback_loader());
    match firmware::nvram_state(&efivars, &root.esp(), &partuuid)? {
        Nvram::Ours => Ok(Outcome::fine(format!(
            "an entry starts the loader on {name} ({partuuid})"
        ))),
        Nvram::NotWanted => Ok(Outcome::fine("none is needed")),
        Nvram::Unwritable(why) => Err(Outcome::skipped(why)),
        Nvram::Missing => Err(Outcome::wrong(
            FaultClass::NeedsChange,
            "firmware boot entry",
            format!(
                "no entry in the firmware's boot order starts a file on {name} ({partuuid}): the firmware starts {fallback} if no other entry comes first"
            ),
            "sudo bootctl install; to keep it permanently, set boot.loader.efi.canTouchEfiVariables = true in the host",
        )),
    }
}

/// A label that fstab names: the directory of links, and the label as it is written in the link's name.
type Label = (&'static str, String);

/// Labels in the text of `fstab(5)`.
fn labels_of(fstab: &str) -> BTreeSet<Label> {
    let mut found = BTreeSet::new();
    for line in fstab.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some(source) = line.split_whitespace().next() else {
            continue;
        };
        let source = table::unescape(source);
        for (dir, starts) in [
            ("by-label", ["/dev/disk/by-label/", "LABEL="]),
            ("by-partlabel", ["/dev/disk/by-partlabel/", "PARTLABEL="]),
        ] {
            let label = starts.iter().find_map(|start| source.strip_prefix(start));
            found.extend(label.map(|label| (dir, label.trim_matches('"').to_owned())));
        }
    }
    found
}

pub(super) async fn labels(scene: &Scene) -> Outcome {
    look_at_labels(scene).await.unwrap_or_else(|outcome| outcome)
}

async fn look_at_labels(scene: &Scene) -> Result<Outcome, Outcome> {
    let root = scene.root();
    let fstab = target_root::read_text(&root, "/etc/fstab")?.unwrap_or_default();
    let wanted = labels_of(&fstab);
    if wanted.is_empty() {
        return Err(Outcome::skipped("/etc/fstab names no label"));
    }
    let mut flaws = Vec::new();
    for (dir, label) in &wanted {
        if !target_root::is_there(&root, &format!("/dev/disk/{dir}/{label}"))? {
            flaws.push(format!("/dev/disk/{dir}/{label} does not exist"));
        }
    }
    for (label, devices) in bearers(scene).await? {
        if devices.len() > 1 && wanted.contains(&label) {
            let (dir, label) = label;
            flaws.push(format!(
                "/dev/disk/{dir}/{label} is on several devices: {}",
                devices.join(", ")
            ));
        }
    }
    if flaws.is_empty() {
        let all: Vec<&str> = wanted.iter().map(|(_, label)| label.as_str()).collect();
        return Ok(Outcome::fine(format!(
            "each label exists exactly once: {}",
            all.join(", ")
        )));
    }
    Err(Outcome::wrong_list(
        FaultClass::NeedsChange,
        "labels in /etc/fstab",
        "the next boot may wait for a device, or mount the wrong one",
        flaws,
        "find the device (lsblk -o NAME,LABEL,PARTLABEL), and give it the label (e2label, fatlabel, swaplabel), or remove the other disk",
    ))
}

/// Which devices bear which label.
async fn bearers(scene: &Scene) -> Result<Vec<(Label, Vec<String>)>, Outcome> {
    if !scene.is_live() {
        return Ok(vec![]);
    }
    let listed = Program::that_looks("lsblk").args([
        "--json",
        "--list",
        "--paths",
        "--output",
        "NAME,LABEL,PARTLABEL",
    ]);
    let ended = scene.context.run(listed).await?;
    if !ended.success() {
        return Err(Outcome::skipped(format!("lsblk: {}", ended.said().trim())));
    }
    bearers_in(&ended.stdout).map_err(Outcome::skipped)
}

fn bearers_in(json: &str) -> Result<Vec<(Label, Vec<String>)>, String> {
    #[derive(serde::Deserialize)]
    struct Listing {
        blockdevices: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
        label: Option<String>,
        partlabel: Option<String>,
    }
    let listing: Listing =
        serde_json::from_str(json).map_err(|e| format!("lsblk's answer is not understood: {e}"))?;
    let mut found: Vec<(Label, Vec<String>)> = Vec::new();
    for row in listing.blockdevices {
        for (dir, label) in [("by-label", row.label), ("by-partlabel", row.partlabel)] {
            let Some(label) = label.filter(|label| !label.is_empty()) else {
                continue;
            };
            let label = (dir, label);
            match found.iter_mut().find(|(known, _)| *known == label) {
                Some((_, devices)) if devices.contains(&row.name) => {}
                Some((_, devices)) => devices.push(row.name.clone()),
                None => found.push((label, vec![row.name.clone()])),
            }
        }
    }
    Ok(found)
}

pub(super) async fn receipt(scene: &Scene) -> Outcome {
    look_at_receipt(&scene.root()).unwrap_or_else(|outcome| outcome)
}

fn look_at_receipt(root: &Root) -> Result<Outcome, Outcome> {
    let path = format!("/{KEPT_DIR}/{RECEIPT_NAME}");
    let Some(text) = target_root::read_text(root, &path)? else {
        return Err(Outcome::skipped(format!(
            "{path} does not exist: landfall did not install this host"
        )));
    };
    match read_receipt(&text) {
        Some(receipt) => Ok(Outcome::fine(format!(
            "install {} of {}",
            receipt.install, receipt.system
        ))),
        None => Err(Outcome::wrong(
            FaultClass::NeedsChange,
            format!("receipt {path}"),
            "it is not understood; only `landfall doctor` and people read it",
            format!("restore it from a backup, or delete it: sudo rm {path}"),
        )),
    }
}

/// What agenix's activation does: where its identities are, and which files it decrypts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Agenix {
    identities: Vec<String>,
    secrets: Vec<String>,
}

/// Reads agenix's part of an activation script (or of the service that takes its place). Its lines are those of agenix's module
/// (`modules/age.nix`): newer ones go through a list of identities, older ones hand them to age directly.
fn agenix_in(script: &str) -> Agenix {
    let mut found = Agenix::default();
    let add = |list: &mut Vec<String>, word: &str| {
        let word = word.trim_matches(['"', '\'']).to_owned();
        if word.starts_with('/') && !list.contains(&word) {
            list.push(word);
        }
    };
    for line in script.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("for identity in ") {
            let list = list.split(';').next().unwrap_or(list);
            for word in list.split_whitespace() {
                add(&mut found.identities, word);
            }
        }
        if line.contains(" --decrypt ") {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                if let ["-i", identity] = pair {
                    add(&mut found.identities, identity);
                }
            }
            if let Some(last) = words.last() {
                add(&mut found.secrets, last);
            }
        }
    }
    found
}

/// Every script that may have agenix's part.
fn scripts(root: &Root) -> Result<String, Fault> {
    let mut text = target_root::read_text(root, "/run/current-system/activate")?.unwrap_or_default();
    // Hosts that make their users by systemd have it as a service.
    let unit = "/run/current-system/etc/systemd/system/agenix-install-secrets.service";
    for line in target_root::read_text(root, unit)?.unwrap_or_default().lines() {
        if let Some(command) = line.strip_prefix("ExecStart=") {
            let program = command.trim_start_matches(['-', '@', ':', '+', '!']);
            let program = program.split_whitespace().next().unwrap_or(program);
            if let Some(script) = target_root::read_text(root, program)? {
                text.push('\n');
                text.push_str(&script);
            }
        }
    }
    Ok(text)
}

pub(super) async fn agenix(scene: &Scene) -> Outcome {
    look_at_agenix(scene).unwrap_or_else(|outcome| outcome)
}

fn look_at_agenix(scene: &Scene) -> Result<Outcome, Outcome> {
    scene.root_alone()?;
    let root = scene.root();
    let Agenix { identities, secrets } = agenix_in(&scripts(&root)?);
    if secrets.is_empty() {
        return Err(Outcome::skipped(
            "the running system decrypts nothing with agenix",
        ));
    }
    let (keys, flaws, named) = if scene.identities.is_empty() {
        let (keys, flaws) = keys_below(&root, &identities);
        (keys, flaws, identities)
    } else {
        let (keys, flaws) = super::operator::keys(&scene.identities);
        (
            keys,
            flaws,
            scene.identities.iter().map(ToString::to_string).collect(),
        )
    };
    if keys.is_empty() {
        return Err(Outcome::wrong_list(
            FaultClass::NeedsChange,
            "agenix identities",
            format!(
                "none of age.identityPaths can be used: {}",
                quoted(&named.join(" "))
            ),
            flaws,
            "put the identity there (directory 0700, file 0600), or set age.identityPaths to its path, then: sudo nixos-rebuild switch",
        ));
    }
    let mut unopened = Unopened::default();
    for secret in &secrets {
        let name = Utf8Path::new(secret).file_name().unwrap_or(secret);
        match target_root::open_file(&root, secret)? {
            None => unopened.push_absent(name, "FILE"),
            Some(file) => {
                if let Err(why) = decrypt::opens(&keys, file) {
                    unopened.push(name, &why);
                }
            }
        }
    }
    if unopened.list.is_empty() {
        return Ok(Outcome::fine(format!(
            "{} of {} secrets decrypt with {}",
            secrets.len(),
            secrets.len(),
            named.join(", ")
        )));
    }
    let count = unopened.list.len();
    let next =
        unopened.next("add this host's public key to the rules file, run agenix --rekey in the directory of that file, commit, sudo nixos-rebuild switch");
    unopened.list.truncate(SECRETS_NAMED_MAX);
    Err(Outcome::wrong_list(
        FaultClass::NeedsChange,
        "secrets of agenix",
        format!(
            "{count} of {} do not decrypt with {}",
            secrets.len(),
            named.join(", ")
        ),
        unopened.list,
        next,
    ))
}

/// The keys that can be used, and what is wrong with the others.
fn keys_below(root: &Root, paths: &[String]) -> (Vec<PrivateKey>, Vec<String>) {
    let (mut keys, mut flaws) = (Vec::new(), Vec::new());
    for path in paths {
        match decrypt::key_below(root, path) {
            Ok(Some(key)) => keys.push(key),
            Ok(None) => flaws.push(format!("{path}: it is not there")),
            Err(
                error @ (KeyError::Unreadable(_)
                | KeyError::NoKey(_)
                | KeyError::Locked
                | KeyError::Encrypted
                | KeyError::Plugin),
            ) => {
                flaws.push(format!("{path}: {error}"));
            }
        }
    }
    (keys, flaws)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "installed_tests.rs"]
pub(super) mod tests;
