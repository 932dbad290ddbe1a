//! Chooses the disk.
//!
//! A pure function of the facts. A disk that cannot be a target does not become one because it is the only one. Where the
//! rules leave a doubt, a person decides, and sees every disk with the reasons.
//!
//! There are two strengths of objection: *never* (in use, removable, the boot medium: not even when named) and *not by
//! itself* (a USB disk, an installer image: only when named). The rules, in order: named; the firmware's boot entries, if
//! they lead to a system of this kind; the only one left; the only one with an install of this very configuration; the
//! largest blank disk. An ESP alone does not count in favour of a disk: every system has one, and tools put one on disks for
//! photos. Neither does the number of partitions. Source: docs of the original script, and its defects.
//!
//! `scan` collects the facts, and `states::consent` has the consent.

use super::amount::size;
use super::efi::{Firmware, LoadOption, Signature};
use super::named::{self, Meaning, Named};
use landfall_states::fault::{DeviceFault, Fault, Kind, Remedy};
use landfall_states::names::quoted;
use landfall_states::plan::DiskIdentity;
use std::fmt::Write as _;
use uuid::Uuid;

/// What counts for the choice.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Kernel name now, `/dev/…`.
    pub device: String,
    /// Model.
    pub model: Option<String>,
    /// Identity.
    pub identity: DiskIdentity,
    /// Where it sits.
    pub place: Option<String>,
    /// Whether a hand may put another one there.
    pub by_hand: bool,
    /// Names of links in `/dev/disk/by-id` and `/dev/disk/by-path` that lead to it.
    pub links: Vec<String>,
    /// What its device reported when it was read, where that was an error of the device.
    pub failing: Option<String>,
    /// Why it can never be a target.
    pub never: Vec<String>,
    /// Why it is not taken unless somebody names it.
    pub unless_named: Vec<String>,
    /// Its partitions.
    pub partitions: Vec<PartitionFacts>,
    /// The signature of its MBR, 0 when there is none.
    pub mbr_signature: u32,
    /// Why it is another system's disk: then nothing on it speaks for it.
    pub other_system: Option<String>,
    /// What on it speaks for it.
    pub former: Former,
    /// The commands that end its uses by others.
    pub release: Vec<String>,
    /// Whether nothing at all is on it: no table and no signature.
    pub blank: bool,
}

/// A partition, for the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Number.
    pub number: u32,
    /// PARTUUID, on a GPT.
    pub partuuid: Option<Uuid>,
    /// Whether it is an ESP.
    pub esp: bool,
}

/// What on a disk speaks for taking it unasked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Former {
    /// Nothing.
    #[default]
    Nothing,
    /// NixOS' loader, or landfall's folder, on its ESP: with an entry in this machine's firmware it is this machine's system.
    System,
    /// A partition table that this configuration makes on this very disk, and nothing else does.
    Install,
}

/// A choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Place in the list of facts.
    pub index: usize,
    /// Why this one.
    pub why: String,
}

impl Facts {
    /// The disk in words: device, model, serial, size.
    pub fn describe(&self) -> String {
        let mut text = self.device.clone();
        if let Some(model) = &self.model {
            let _ = write!(text, " {model}");
        }
        let name = match (&self.identity.serial, self.identity.is_nameable()) {
            (Some(serial), _) => format!("serial {serial}"),
            (None, true) => self.identity.name(),
            (None, false) => "no serial number".into(),
        };
        let _ = write!(text, ", {name}, {}", size(self.identity.size_bytes));
        text
    }

    /// What of a former life speaks for taking it: nothing, where another system lives there too.
    fn former(&self) -> Former {
        match self.other_system {
            Some(_) => Former::Nothing,
            None => self.former,
        }
    }

    fn matches(&self, option: &LoadOption) -> bool {
        option.partitions.iter().any(|hd| match hd.signature {
            Signature::Gpt(id) => self.partitions.iter().any(|p| p.partuuid == Some(id)),
            Signature::Mbr(id) => {
                id != 0 && id == self.mbr_signature && self.partitions.iter().any(|p| p.number == hd.number)
            }
            Signature::None => false,
        })
    }

    /// As names see it.
    pub fn named(&self) -> Named {
        Named {
            device: self.device.clone(),
            identity: self.identity.clone(),
            place: self.place.clone(),
            by_hand: self.by_hand,
            links: self.links.clone(),
        }
    }
}

/// All of them, as names see them.
pub fn all_named(all: &[Facts]) -> Vec<Named> {
    all.iter().map(Facts::named).collect()
}

/// What somebody named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `INSTALL_DISK`, resolved to a place in the list.
    Device {
        /// As given.
        given: String,
        /// The disk.
        index: usize,
    },
    /// A name of the disk: see `named`.
    Name(String),
    /// By what the configuration says, which agrees to its erasure as well.
    InAdvance(String),
}

/// The objections to every disk, given what the firmware says: booting from a disk is an objection to taking it unasked.
pub fn objections(facts: &Facts, firmware: &Firmware) -> (Vec<String>, Vec<String>) {
    let mut unless_named = facts.unless_named.clone();
    if let Some(current) = firmware.current.as_ref().filter(|current| facts.matches(current)) {
        unless_named.push(format!(
            "the firmware started this system from it (entry {})",
            quoted(&current.description)
        ));
    }
    let mut never = facts.never.clone();
    if !facts.identity.is_nameable() {
        never.push(
            "it has no WWN, serial number or bus address, so landfall could not recognise it after a reboot"
                .into(),
        );
    }
    (never, unless_named)
}

/// Chooses.
///
/// # Errors
/// No disk can be chosen, or several can: the reasons for each.
pub fn select(all: &[Facts], wanted: Option<&Wanted>, firmware: &Firmware) -> Result<Choice, Fault> {
    if let Some(wanted) = wanted {
        return by_name(all, wanted, firmware);
    }
    let left: Vec<usize> = (0..all.len())
        .filter(|i| {
            let (never, unless_named) = objections(&all[*i], firmware);
            never.is_empty() && unless_named.is_empty()
        })
        .collect();
    match by_firmware(all, &left, firmware)? {
        Some(choice) => Ok(choice),
        None => by_contents(all, &left, firmware),
    }
}

/// The disk that was named, if it can take an install.
fn named(all: &[Facts], index: usize, given: &str, firmware: &Firmware) -> Result<Choice, Fault> {
    // Nobody uses it, and another name would not help: it is broken.
    if let Some(why) = &all[index].failing {
        return Err(DeviceFault::Unreadable {
            disk: format!("disk {given} ({})", all[index].describe()),
            said: why.clone(),
        }
        .into());
    }
    let (never, _) = objections(&all[index], firmware);
    if never.is_empty() {
        return Ok(Choice {
            index,
            why: format!("it was named: {given}"),
        });
    }
    let remedy = match &all[index].release[..] {
        [] => Remedy::words(format!("name another disk: {NAME_ONE}")),
        commands => Remedy::change_and_install(commands.join(" && ")),
    };
    Err(Fault::of(
        Kind::DiskRefused {
            disk: format!("disk {given} ({})", all[index].describe()),
            reasons: never,
        },
        remedy,
    ))
}

/// The disk that somebody means.
fn by_name(all: &[Facts], wanted: &Wanted, firmware: &Firmware) -> Result<Choice, Fault> {
    match wanted {
        Wanted::Device { given, index } if *index < all.len() => named(all, *index, given, firmware),
        Wanted::Device { given, .. } => Err(doubt(
            all,
            firmware,
            &format!("{given} is not a disk of this machine"),
        )),
        wanted @ (Wanted::Name(name) | Wanted::InAdvance(name)) => {
            match named::meaning(name, &all_named(all)) {
                Meaning::One(index, _) => named(all, index, name, firmware),
                Meaning::Nothing => {
                    let fault = doubt(all, firmware, &format!("no disk has the name {}", quoted(name)));
                    Err(match wanted {
                        Wanted::InAdvance(_) => Fault {
                            remedy: Remedy::change_and_install(WRITE_ONE),
                            ..fault
                        },
                        Wanted::Name(_) | Wanted::Device { .. } => fault,
                    })
                }
                Meaning::Several(found) => Err(ambiguous(all, firmware, name, &found)),
            }
        }
    }
}

/// The disk that the firmware boots from, of those that are left.
fn by_firmware(all: &[Facts], left: &[usize], firmware: &Firmware) -> Result<Option<Choice>, Fault> {
    // What another system put there for itself says nothing of where this one is wanted, and neither does what nobody can be told by.
    let votes = |i: usize| all[i].former() >= Former::System;
    for option in firmware
        .order
        .iter()
        .filter(|option| !option.is_of_other_system())
    {
        let found: Vec<usize> = left
            .iter()
            .copied()
            .filter(|i| votes(*i) && all[*i].matches(option))
            .collect();
        let everywhere = all.iter().filter(|f| f.matches(option)).count();
        match found[..] {
            [index] if everywhere == 1 => {
                return Ok(Some(Choice {
                    index,
                    why: format!(
                        "the firmware boots from it (entry {})",
                        quoted(&option.description)
                    ),
                }));
            }
            [] => {}
            [..] => {
                return Err(doubt(
                    all,
                    firmware,
                    &format!(
                        "the firmware's boot entry {} matches {everywhere} disks: one is a copy of the other",
                        quoted(&option.description)
                    ),
                ));
            }
        }
    }
    Ok(None)
}

/// The disk by what is on those that are left: the only one, the only one with this install, or the largest where all are blank.
fn by_contents(all: &[Facts], left: &[usize], firmware: &Firmware) -> Result<Choice, Fault> {
    if let [index] = *left {
        return Ok(Choice {
            index,
            why: "it is the only suitable disk".into(),
        });
    }
    if left.is_empty() {
        return Err(doubt(all, firmware, "no disk is suitable for an install"));
    }
    let with = |test: &dyn Fn(&Facts) -> bool| -> Vec<usize> {
        left.iter().copied().filter(|i| test(&all[*i])).collect()
    };
    let installed = with(&|f| f.former() == Former::Install);
    match installed[..] {
        [index] => {
            return Ok(Choice {
                index,
                why: "it is the only one with an install of this configuration on it".into(),
            });
        }
        [] => {}
        [..] => {
            return Err(doubt(
                all,
                firmware,
                &format!(
                    "{} disks have an install of this configuration on them",
                    installed.len()
                ),
            ));
        }
    }
    if with(&|f| !f.blank).is_empty() {
        let largest = left.iter().map(|i| all[*i].identity.size_bytes).max();
        return match with(&|f| Some(f.identity.size_bytes) == largest)[..] {
            [index] => Ok(Choice {
                index,
                why: "all are blank, and it is the largest".into(),
            }),
            _ => Err(doubt(
                all,
                firmware,
                "all are blank, and several are equally large",
            )),
        };
    }
    Err(doubt(
        all,
        firmware,
        "several disks are possible, some hold data, and none was named",
    ))
}

/// How a disk is named. No device is put there: it would be copied.
const NAME_ONE: &str = "INSTALL_DISK=/dev/disk/by-id/NAME landfall install, with the name of the right disk (landfall disks prints the names)";

/// Where a name was written down.
const WRITE_ONE: &str =
    "set unattended.disk, or --erase-disk, to the name that landfall disks prints for the right disk";

/// A name that several disks have, and the names that each has alone.
fn ambiguous(all: &[Facts], firmware: &Firmware, name: &str, found: &[usize]) -> Fault {
    let disks = all_named(all);
    let own: Vec<String> = found
        .iter()
        .filter_map(|index| {
            let own = named::name_for(*index, &disks)?;
            Some(format!("{own} for {}", all[*index].device))
        })
        .collect();
    // Paths to one unit have nothing to be told apart by: one of them is to stay.
    let paths = found
        .first()
        .map_or(&[][..], |index| all[*index].release.as_slice());
    let remedy = if own.is_empty() && !paths.is_empty() {
        Remedy::change_and_install(paths.join(" && "))
    } else if own.is_empty() {
        Remedy::change_and_install("detach all but one of them")
    } else {
        Remedy::words(format!(
            "use the unique name of one of them ({}): INSTALL_DISK=/dev/disk/by-id/NAME landfall install",
            own.join(", ")
        ))
    };
    Fault::of(
        Kind::AmbiguousName {
            name: name.to_owned(),
            count: found.len(),
            disks: list(all, firmware),
        },
        remedy,
    )
}

/// Every disk, one line each, with why it was not chosen, and what it is called.
fn list(all: &[Facts], firmware: &Firmware) -> Vec<String> {
    let mut lines = Vec::new();
    let disks = all_named(all);
    for (index, facts) in all.iter().enumerate() {
        let (never, unless_named) = objections(facts, firmware);
        let why = if !never.is_empty() {
            let free = match &facts.release[..] {
                [] => String::new(),
                commands => format!("; to free it: {}", commands.join(" && ")),
            };
            format!("not usable: {}{free}", never.join("; "))
        } else if !unless_named.is_empty() {
            format!("only when named: {}", unless_named.join("; "))
        } else {
            let esp = if facts.partitions.iter().any(|p| p.esp) {
                ", with an ESP"
            } else {
                ""
            };
            let blank = if facts.blank { ", blank" } else { "" };
            let system = facts
                .other_system
                .as_ref()
                .map_or(String::new(), |why| format!(", {why}"));
            let former = match facts.former() {
                Former::Nothing => "",
                Former::System => ", with NixOS on it",
                Former::Install => ", with an install of this configuration on it",
            };
            format!(
                "usable: {} partitions{esp}{blank}{system}{former}",
                facts.partitions.len()
            )
        };
        let name = match named::name_for(index, &disks) {
            Some(name) => format!("; name to use: {name}"),
            None => String::new(),
        };
        lines.push(format!("{}: {why}{name}", facts.describe()));
    }
    if lines.is_empty() {
        lines.push("(no disk at all)".to_owned());
    }
    lines
}

fn doubt(all: &[Facts], firmware: &Firmware, why: &str) -> Fault {
    let can = all.iter().any(|f| objections(f, firmware).0.is_empty());
    let free: Vec<&String> = all.iter().flat_map(|f| &f.release).collect();
    let remedy = match (can, free.is_empty()) {
        (true, _) => Remedy::words(NAME_ONE),
        (false, false) => Remedy::words(format!("free the right disk, then: {NAME_ONE}")),
        (false, true) => Remedy::words(format!("attach a suitable disk, then: {NAME_ONE}")),
    };
    Fault::of(
        Kind::NoChoice {
            reason: why.to_owned(),
            disks: list(all, firmware),
        },
        remedy,
    )
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
