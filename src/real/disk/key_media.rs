//! Media with the label for keys: which one is trusted, and for what.
//!
//! A label proves nothing. The location of the medium decides what is taken from it. The boot medium is trusted like landfall
//! itself. A medium that can be plugged in (USB, a card, a disc) gives what the configuration allows for such a medium. A
//! disk inside the machine gives nothing, because an earlier owner of the machine can have written it. If two media could be
//! trusted, that is a doubt, and nothing is taken from either.
//!
//! `secrets::credentials` mounts and reads the medium, and checks that it is not the disk to be written.

pub use crate::config::MEDIUM_LABEL as LABEL;

use super::lsblk::Row;
use super::signature::sniff;
use super::sysfs::{Block, Sysfs, device};
use super::usage::Machine;
use super::{io_fault, open};
use crate::config::{Config, KeyMedium};
use crate::event::Reporter;
use crate::os_error;
use crate::real::disk::kind::no_disk;
use crate::real::disk::locked::forget_cache;
use crate::real::disk::scan;
use crate::real::process::stop::Stop;
use camino::Utf8Path;
use landfall_states::fault::{Fault, Remedy, SecretFault};
use landfall_states::plan::DiskIdentity;
use nix::fcntl::OFlag;

/// Whose word a medium is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The running system lies on it.
    Boot,
    /// Somebody plugged it in.
    PluggedIn,
    /// It can be anybody's: why.
    Anybodys(&'static str),
}

/// A filesystem with the label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Its kernel name now, `/dev/…`.
    pub device: String,
    /// The disk that it lies on.
    pub disk: DiskIdentity,
    /// In words.
    pub shown: String,
    /// Whose word it is.
    pub standing: Standing,
}

/// What has the label on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What can be believed; at most one.
    pub medium: Option<Labelled>,
    /// What is not read, one line each, with why.
    pub ignored: Vec<String>,
}

/// Names of files that may be taken from a medium, and why the others may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    consent: bool,
    luks_passphrase: bool,
    record_key: bool,
}

impl Allowed {
    /// What this configuration lets such a medium give. Keys and tokens open what the operator has set up, and nothing on this machine:
    /// any medium that is believed at all may give them.
    pub fn by(config: &Config, standing: &Standing) -> Self {
        let KeyMedium {
            consent,
            luks_passphrase,
            record_key,
        } = config.key_medium;
        let boot = *standing == Standing::Boot;
        let never_asks = config.unattended.enable;
        Allowed {
            consent: never_asks && (boot || consent),
            luks_passphrase: config.luks.enable && (luks_passphrase || (boot && never_asks)),
            record_key: boot || record_key,
        }
    }

    /// Whether a file of this name may be taken; if not, why.
    ///
    /// # Errors
    /// The reason.
    pub fn takes(self, name: &str) -> Result<(), &'static str> {
        match name {
            "consent" if !self.consent => Err("unattended.enable or key_medium.consent is false"),
            "luks-passphrase" if !self.luks_passphrase => {
                Err("luks.enable or key_medium.luks_passphrase is false")
            }
            "record-key" if !self.record_key => Err("key_medium.record_key is false"),
            _ => Ok(()),
        }
    }
}

/// Where a disk sits, as far as it says who can have put it there.
fn standing(machine: &Machine, block: &Block) -> Standing {
    let kind = no_disk(block);
    match (kind, block.transport, block.removable) {
        _ if machine.is_booted_from(block) => Standing::Boot,
        (Some("an optical drive"), _, _) => Standing::PluggedIn,
        (Some(kind), _, _) => Standing::Anybodys(kind),
        (None, _, _) if block.network.is_some() => {
            Standing::Anybodys("on a network, where other machines can write to it")
        }
        // SCSI has a bit of its own for media that can be taken out; hot-plug bays of SATA set the kernel's flag as well.
        (None, "usb" | "sd", _) | (None, "scsi", true) => Standing::PluggedIn,
        (None, _, _) => Standing::Anybodys("an internal disk, which could have been manipulated"),
    }
}

/// A disk or partition whose label was read.
struct Place<'a> {
    block: &'a Block,
    name: String,
}

/// Which of them may be read. Pure: `labelled` are kernel names of disks and partitions that have the label.
///
/// # Errors
/// Two media could be believed: they are named.
pub fn judge(machine: &Machine, labelled: &[String]) -> Result<Found, Fault> {
    let mut places: Vec<Place<'_>> = vec![];
    for name in labelled {
        let Some((block, partition)) = Sysfs::find_name(&machine.blocks, name) else {
            continue;
        };
        // The first partition of a hybrid image begins where the image does: it is the same filesystem.
        let is_whole = partition.is_some_and(|p| p.kernel.first_lba == 0) && labelled.contains(&block.name);
        if !is_whole && !places.iter().any(|place| place.name == *name) {
            places.push(Place {
                block,
                name: name.clone(),
            });
        }
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut trusted, mut ignored) = (vec![], vec![]);
    for Place { block, name } in places {
        let mut shown = device(&name);
        if let Some(model) = &block.model {
            shown = format!("{shown} ({model}, {})", block.identity.name());
        } else {
            shown = format!("{shown} ({})", block.identity.name());
        }
        match standing(machine, block) {
            Standing::Anybodys(why) => ignored.push(format!("{shown}: it is {why}")),
            standing @ (Standing::Boot | Standing::PluggedIn) => trusted.push(Labelled {
                device: device(&name),
                disk: block.identity.clone(),
                shown,
                standing,
            }),
        }
    }
    if trusted.len() > 1 {
        let all: Vec<&str> = trusted.iter().map(|medium| medium.shown.as_str()).collect();
        return Err(Fault::of(
            SecretFault::Unusable {
                on: format!("medium with the label {LABEL}"),
                reason: format!(
                    "{} media have this label, and landfall read none of them: {}",
                    all.len(),
                    all.join("; ")
                ),
            },
            Remedy::change("unplug all but the right one, or change the labels of the others"),
        ));
    }
    Ok(Found {
        medium: trusted.pop(),
        ignored,
    })
}

/// Looks for media with the label, on every disk and disc of this machine, without trusting links.
///
/// # Errors
/// As [`judge`]; the machine's disks cannot be looked at.
pub async fn look(reporter: &Reporter, stop: &Stop) -> Result<Found, Fault> {
    let sysfs = Sysfs::real();
    crate::real::disk::locked::settle(&sysfs, reporter, stop).await?;
    let machine = scan::machine(&sysfs, reporter, stop).await?;
    let looked = {
        let blocks = machine.blocks.clone();
        // A slow disk must not keep the program from answering signals.
        tokio::task::spawn_blocking(move || read_labels(&blocks)).await
    };
    let mut labelled =
        looked.map_err(|e| io_fault("media with keys", "look for them", &std::io::Error::other(e)))?;
    labelled.extend(in_rows(&machine.lsblk));
    judge(&machine, &labelled)
}

/// Those that lsblk sees: it knows the label of a FAT that Windows gave it, which is in its folder only.
fn in_rows(rows: &[Row]) -> impl Iterator<Item = String> + '_ {
    rows.iter()
        .filter(|row| row.label.as_deref() == Some(LABEL))
        .map(|row| row.name.clone())
}

/// Those that our own readers see: udev may not have looked yet, or not be here.
fn read_labels(blocks: &[Block]) -> Vec<String> {
    let mut labelled = vec![];
    for block in blocks {
        let is_readable =
            block.identity.size_bytes > 0 && no_disk(block).is_none_or(|kind| kind == "an optical drive");
        if !is_readable || block.hidden {
            continue;
        }
        match labels_on(block) {
            Ok(names) => labelled.extend(names),
            // A drive without a disc, or a disk that is broken: no keys are there.
            Err(error) => tracing::info!(disk = %block.name, said = os_error::said(&error), "its labels"),
        }
    }
    labelled
}

fn labels_on(block: &Block) -> std::io::Result<Vec<String>> {
    let mut file = open(
        Utf8Path::new(&block.device()),
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
    )?;
    forget_cache(&file)?;
    let sector = u64::from(block.identity.sector_bytes);
    let parts = block.partitions.iter().map(|p| {
        let bytes = |sectors: u64| sectors.saturating_mul(sector);
        (&p.name, bytes(p.kernel.first_lba), bytes(p.kernel.sectors))
    });
    let mut labelled = vec![];
    for (name, from, size) in parts.chain([(&block.name, 0, block.identity.size_bytes)]) {
        let found = sniff(&mut file, from, size)?;
        if found
            .iter()
            .any(|s| s.member_of.is_none() && s.label.as_deref() == Some(LABEL))
        {
            labelled.push(name.clone());
        }
    }
    Ok(labelled)
}

#[cfg(test)]
#[path = "key_media_tests.rs"]
mod tests;
