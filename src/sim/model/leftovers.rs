//! What real tools leave when they are killed, and what in the simulated world stands for it.
//!
//! The names on the left are those of the recorder (`tests/halfway`), which kills each real tool at every call that changes
//! something. The recorder fails if it sees a state that is not here. What stands on the right occurs in simulated scenarios:
//! a test looks for each.
//!
//! A state of the real tool may be finer than what stands for it. Then a run must be able to continue, in the recorder, from
//! every state of that name as from the simulated one.
//!
//! docs/develop/laboratory.md lists what the recorder does not kill.

use crate::sim::model::contents::{
    CLOSURE, DATABASE, DATABASE_MADE, GENERATION, LOCK, REGISTERED, boot_files, clone_text, conf_text,
    record_text,
};
use crate::sim::model::disk::{Disk, Fs, Key, Region, Value};
use crate::sim::model::machine::Machine;
use crate::sim::model::setting::Setting;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;

/// What a simulated machine and its disk show of a volume, a clone, a store, a system, or of what is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// No header where a planned volume goes.
    NoHeader(Region),
    /// A header with the provisional id, and not everything that belongs to it.
    Begun(Region),
    /// A header with the provisional id, with everything.
    Made(Region),
    /// A header with the planned id.
    Committed(Region),
    /// An ESP without a slot file.
    NoSlots,
    /// An ESP with one of the two.
    OneSlot,
    /// A container without a key slot.
    NoKeyslot,
    /// Nothing of a clone.
    NoClone,
    /// A clone beside its place.
    CloneBeside,
    /// The same, with a lock that a killed Git left.
    CloneLocked,
    /// A clone at its place, with files that are not whole.
    CloneFlawed,
    /// A clone at its place.
    CloneWhole,
    /// Nothing is registered in the store.
    NothingRegistered,
    /// A part of the closure is registered.
    PartRegistered,
    /// The whole closure is registered and not recorded.
    AllRegistered,
    /// The store has no database.
    NoDatabase,
    /// A database that Nix cannot read.
    DatabaseUnusable,
    /// A registered path with wrong contents.
    PathWrong,
    /// The closure is recorded.
    Recorded,
    /// A record that cannot be read.
    RecordTorn,
    /// The container has no mapping.
    NoMapping,
    /// The mapping's name is there, and no table that takes effect.
    MappingEmpty,
    /// The container is open.
    MappingOpen,
    /// The target is not mounted.
    NotMounted,
    /// The target's root is mounted.
    Mounted,
    /// No profile of the system.
    NoProfile,
    /// No profile, and a link of Nix's beside the place of its first generation.
    GenerationBegun,
    /// The profile, and no `/etc/NIXOS`.
    Profile,
    /// Both, and no trace of a finished activation.
    NotActivated,
    /// Accounts without their contents.
    AccountsTorn,
    /// The trace of a finished activation.
    Activated,
    /// Nothing of the boot loader.
    NoBootLoader,
    /// Some of its files.
    BootLoaderPart,
    /// One of them has other contents.
    BootLoaderWrong,
    /// The file that its installer leaves beside `loader.conf`.
    LoaderTmp,
    /// All of its files.
    BootLoader,
    /// The firmware has no entry of ours.
    NoEntry,
    /// It has one.
    Entry,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = |region: &Region| match region {
            Region::Esp => "ESP",
            Region::Root => "root partition",
            Region::Swap => "swap",
            Region::Inner => "root in the container",
        };
        match self {
            Left::NoHeader(at) => write!(f, "{}: no header", region(at)),
            Left::Begun(at) => write!(f, "{}: provisional id, not all of the body", region(at)),
            Left::Made(at) => write!(f, "{}: provisional id, body", region(at)),
            Left::Committed(at) => write!(f, "{}: planned id", region(at)),
            Left::NoSlots => f.write_str("ESP: no slot file"),
            Left::OneSlot => f.write_str("ESP: one slot file"),
            Left::NoKeyslot => f.write_str("container: no key slot"),
            Left::NoClone => f.write_str("no clone"),
            Left::CloneBeside => f.write_str("clone beside its place"),
            Left::CloneLocked => f.write_str("clone beside its place, locked"),
            Left::CloneFlawed => f.write_str("clone at its place, flawed"),
            Left::CloneWhole => f.write_str("clone at its place"),
            Left::NothingRegistered => f.write_str("nothing registered"),
            Left::PartRegistered => f.write_str("a part registered"),
            Left::AllRegistered => f.write_str("all registered, no record"),
            Left::NoDatabase => f.write_str("no database"),
            Left::DatabaseUnusable => f.write_str("a database that cannot be read"),
            Left::PathWrong => f.write_str("a registered path with wrong contents"),
            Left::Recorded => f.write_str("recorded"),
            Left::RecordTorn => f.write_str("a torn record"),
            Left::NoMapping => f.write_str("no mapping"),
            Left::MappingEmpty => f.write_str("a mapping without a table"),
            Left::MappingOpen => f.write_str("a mapping"),
            Left::NotMounted => f.write_str("target not mounted"),
            Left::Mounted => f.write_str("target mounted"),
            Left::NoProfile => f.write_str("no profile"),
            Left::GenerationBegun => f.write_str("a generation beside its place"),
            Left::Profile => f.write_str("profile, not marked as NixOS"),
            Left::NotActivated => f.write_str("marked as NixOS, not activated"),
            Left::AccountsTorn => f.write_str("torn accounts"),
            Left::Activated => f.write_str("activated"),
            Left::NoBootLoader => f.write_str("no file of the boot loader"),
            Left::BootLoaderPart => f.write_str("a part of the boot loader"),
            Left::BootLoaderWrong => f.write_str("a torn file of the boot loader"),
            Left::LoaderTmp => f.write_str("loader.conf beside its place"),
            Left::BootLoader => f.write_str("the boot loader"),
            Left::NoEntry => f.write_str("no entry in the firmware"),
            Left::Entry => f.write_str("an entry in the firmware"),
        }
    }
}

/// A state of a real tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftover {
    /// The recorder's name of the step.
    pub tool: &'static str,
    /// Its name of the state.
    pub state: &'static str,
    /// What stands for it here.
    pub left: Left,
}

const fn leftover(tool: &'static str, state: &'static str, left: Left) -> Leftover {
    Leftover { tool, state, left }
}

/// Every state that the recorder has seen, in the order of an install.
pub const ALL: &[Leftover] = &[
    leftover("esp", "fat: no boot sector", Left::NoHeader(Region::Esp)),
    leftover("esp", "fat: provisional id, no slot", Left::NoSlots),
    leftover("esp", "fat: provisional id, one slot", Left::OneSlot),
    leftover("esp", "fat: provisional id, two slots", Left::Made(Region::Esp)),
    leftover("esp", "fat: planned id, two slots", Left::Committed(Region::Esp)),
    leftover(
        "luks",
        "luks2: first header none, second none, unreadable",
        Left::NoHeader(Region::Root),
    ),
    leftover(
        "luks",
        "luks2: first header provisional, second none, unreadable",
        Left::Begun(Region::Root),
    ),
    leftover(
        "luks",
        "luks2: first header provisional, second none, no key slot",
        Left::NoKeyslot,
    ),
    leftover(
        "luks",
        "luks2: first header provisional, second provisional, no key slot",
        Left::NoKeyslot,
    ),
    leftover(
        "luks",
        "luks2: first header provisional, second provisional, a key slot",
        Left::Made(Region::Root),
    ),
    leftover(
        "luks",
        "luks2: first header planned, second provisional, a key slot",
        Left::Committed(Region::Root),
    ),
    leftover(
        "luks",
        "luks2: first header planned, second planned, a key slot",
        Left::Committed(Region::Root),
    ),
    leftover("root", "ext4: no superblock", Left::NoHeader(Region::Root)),
    leftover(
        "root",
        "ext4: provisional id, not sound",
        Left::Begun(Region::Root),
    ),
    leftover("root", "ext4: provisional id, sound", Left::Made(Region::Root)),
    leftover(
        "root",
        "ext4: planned id, not sound",
        Left::Committed(Region::Root),
    ),
    leftover("root", "ext4: planned id, sound", Left::Committed(Region::Root)),
    leftover("swap", "swap: no signature", Left::NoHeader(Region::Swap)),
    leftover("swap", "swap: provisional id", Left::Made(Region::Swap)),
    leftover("swap", "swap: planned id", Left::Committed(Region::Swap)),
    leftover("clone", "git: nothing", Left::NoClone),
    leftover(
        "clone",
        "git: beside its place, no repository yet",
        Left::CloneBeside,
    ),
    leftover(
        "clone",
        "git: beside its place, repository started",
        Left::CloneBeside,
    ),
    leftover("clone", "git: beside its place, no object", Left::CloneBeside),
    leftover(
        "clone",
        "git: beside its place, a temporary object or pack",
        Left::CloneBeside,
    ),
    leftover("clone", "git: beside its place, a lock file", Left::CloneLocked),
    leftover(
        "clone",
        "git: beside its place, objects, no work tree",
        Left::CloneBeside,
    ),
    leftover(
        "clone",
        "git: beside its place, objects and files of the work tree",
        Left::CloneBeside,
    ),
    leftover(
        "clone",
        "git: at its place, objects and files of the work tree",
        Left::CloneWhole,
    ),
    leftover(
        "nix-copy",
        "nix-db: no database, no schema file",
        Left::NoDatabase,
    ),
    leftover(
        "nix-copy",
        "nix-db: empty database, no schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-copy",
        "nix-db: header without tables, no schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-copy",
        "nix-db: header without tables, empty schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-copy",
        "nix-db: tables in the write-ahead log, no schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-copy",
        "nix-db: tables in the write-ahead log, empty schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-copy",
        "nix-db: tables in the write-ahead log",
        Left::NothingRegistered,
    ),
    leftover(
        "nix-copy",
        "nix-db: tables, empty schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-copy",
        "nix-db: tables, damaged schema file",
        Left::DatabaseUnusable,
    ),
    leftover("nix-copy", "nix-db: tables", Left::PartRegistered),
    leftover("nix-copy", "nix-db: tables, recorded", Left::Recorded),
    leftover(
        "nix-load-db",
        "nix-db: no database, no schema file",
        Left::NoDatabase,
    ),
    leftover(
        "nix-load-db",
        "nix-db: empty database, no schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-load-db",
        "nix-db: header without tables, no schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-load-db",
        "nix-db: header without tables, empty schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-load-db",
        "nix-db: tables in the write-ahead log, no schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-load-db",
        "nix-db: tables in the write-ahead log, empty schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-load-db",
        "nix-db: tables in the write-ahead log",
        Left::NothingRegistered,
    ),
    leftover(
        "nix-load-db",
        "nix-db: tables, empty schema file",
        Left::DatabaseUnusable,
    ),
    leftover(
        "nix-load-db",
        "nix-db: tables, damaged schema file",
        Left::DatabaseUnusable,
    ),
    leftover("nix-load-db", "nix-db: tables", Left::PartRegistered),
    leftover("nix-load-db", "nix-db: tables, recorded", Left::Recorded),
    leftover("nix-repair", "nix-db: tables, recorded", Left::PathWrong),
    leftover("nix-delete", "nix-db: tables, recorded", Left::PathWrong),
    leftover("activate", "mapping: none", Left::NoMapping),
    leftover("activate", "mapping: a name without a table", Left::MappingEmpty),
    leftover(
        "activate",
        "mapping: a table that is not in effect",
        Left::MappingEmpty,
    ),
    leftover("activate", "mapping: open", Left::MappingOpen),
    leftover("mount", "mapping: none; nothing mounted", Left::NotMounted),
    leftover(
        "mount",
        "mapping: a name without a table; nothing mounted",
        Left::MappingEmpty,
    ),
    leftover(
        "mount",
        "mapping: a table that is not in effect; nothing mounted",
        Left::MappingEmpty,
    ),
    leftover("mount", "mapping: open; nothing mounted", Left::NotMounted),
    leftover("mount", "mapping: open; root mounted", Left::Mounted),
    leftover("mount", "mapping: open; root and ESP mounted", Left::Mounted),
    leftover("install", "nixos: no profile", Left::NoProfile),
    leftover(
        "install",
        "nixos: a generation of the profile beside its place",
        Left::GenerationBegun,
    ),
    leftover("install", "nixos: profile, no /etc/NIXOS", Left::Profile),
    leftover("install", "nixos: /etc/NIXOS, no boot loader", Left::NotActivated),
    leftover(
        "install",
        "nixos: accounts without their contents",
        Left::AccountsTorn,
    ),
    leftover(
        "install",
        "nixos: a part of the boot loader",
        Left::BootLoaderPart,
    ),
    leftover("install", "nixos: a wrong file on the ESP", Left::BootLoaderWrong),
    leftover(
        "install",
        "nixos: another temporary file on the ESP",
        Left::LoaderTmp,
    ),
    leftover("install", "nixos: loader.tmp on the ESP", Left::LoaderTmp),
    leftover(
        "install",
        "nixos: boot loader, no trace of the activation",
        Left::BootLoader,
    ),
    leftover(
        "install",
        "nixos: boot loader, trace of the activation",
        Left::Activated,
    ),
    leftover("firmware", "firmware: no entry", Left::NoEntry),
    leftover("firmware", "firmware: a variable without a value", Left::NoEntry),
    leftover(
        "firmware",
        "firmware: an entry that is not in the order",
        Left::NoEntry,
    ),
    leftover("firmware", "firmware: an entry", Left::Entry),
];

/// The state of a tool by its name.
pub fn find(tool: &str, state: &str) -> Option<&'static Leftover> {
    ALL.iter()
        .find(|known| known.tool == tool && known.state == state)
}

/// The rows of docs/design/failure-model.md.
pub fn table() -> String {
    let mut text = String::from(
        "| step | what a death or a power cut left | its counterpart in the simulation |\n|---|---|---|\n",
    );
    for Leftover { tool, state, left } in ALL {
        text.push_str(&format!("| `{tool}` | {state} | {left} |\n"));
    }
    text
}

/// What is attached, and what the firmware has.
fn around(setting: &Setting, machine: &Machine) -> BTreeSet<Left> {
    let mut seen = BTreeSet::new();
    if setting.case.kind.luks {
        seen.insert(match (machine.mapping_empty, machine.mapped) {
            (true, _) => Left::MappingEmpty,
            (false, Some(_)) => Left::MappingOpen,
            (false, None) => Left::NoMapping,
        });
    }
    seen.insert(if machine.root_mounted {
        Left::Mounted
    } else {
        Left::NotMounted
    });
    seen.insert(if machine.nvram { Left::Entry } else { Left::NoEntry });
    seen
}

/// What a simulated target shows of its system.
fn installed(setting: &Setting, disk: &Disk) -> BTreeSet<Left> {
    let mut seen = BTreeSet::new();
    let root = |name: &'static str| disk.text(Fs::Root, setting.root_region(), name);
    let esp = |name: &'static str| disk.text(Fs::Esp, Region::Esp, name);
    let system = setting.system.as_str();
    seen.insert(match (root("profile"), root("etc/NIXOS"), root("activated")) {
        (_, _, Some(trace)) if trace == system => Left::Activated,
        (Some(profile), Some(_), _) if profile == system => Left::NotActivated,
        (Some(profile), None, _) if profile == system => Left::Profile,
        (_, _, _) => Left::NoProfile,
    });
    if root(GENERATION).is_some() {
        seen.insert(Left::GenerationBegun);
    }
    if root("login").is_some_and(|login| !["password", "locked"].contains(&login)) {
        seen.insert(Left::AccountsTorn);
    }
    if esp("loader.tmp").is_some() {
        seen.insert(Left::LoaderTmp);
    }
    let conf = ("conf", conf_text(&setting.system));
    let files: Vec<(Option<&str>, String)> = boot_files(&setting.system)
        .into_iter()
        .chain([conf])
        .map(|(name, right)| (esp(name), right))
        .collect();
    let there = files.iter().filter(|(found, _)| found.is_some()).count();
    let right = files
        .iter()
        .filter(|(found, right)| *found == Some(right.as_str()))
        .count();
    seen.insert(match (there, right) {
        (0, _) => Left::NoBootLoader,
        (there, right) if right < there => Left::BootLoaderWrong,
        (there, _) if there == files.len() => Left::BootLoader,
        (_, _) => Left::BootLoaderPart,
    });
    seen
}

/// What a volume shows, where one is planned.
fn of_volume(setting: &Setting, disk: &Disk, region: Region) -> BTreeSet<Left> {
    let mut seen = BTreeSet::new();
    let Some((kind, _, id, provisional)) = setting.volume(region) else {
        return seen;
    };
    match disk.header(region) {
        Some(header) if *header.id == *provisional => {
            let whole = disk.see(Key::Body(region)) == Some(&Value::Of(header.making));
            seen.insert(if whole {
                Left::Made(region)
            } else {
                Left::Begun(region)
            });
            if region == Region::Esp {
                let slots =
                    [0, 1].map(|which| disk.see(Key::SlotFile(which)) == Some(&Value::Of(header.making)));
                match slots {
                    [false, false] => seen.insert(Left::NoSlots),
                    [true, true] => false,
                    [true, false] | [false, true] => seen.insert(Left::OneSlot),
                };
            }
            if kind == "crypto_LUKS" && disk.see(Key::Keyslot) != Some(&Value::Of(header.making)) {
                seen.insert(Left::NoKeyslot);
            }
        }
        Some(header) if *header.id == *id => {
            seen.insert(Left::Committed(region));
        }
        Some(_) | None => {
            seen.insert(Left::NoHeader(region));
        }
    }
    seen
}

/// What a simulated machine shows.
pub fn of(setting: &Setting, machine: &Machine) -> BTreeSet<Left> {
    let disk = machine.disk(machine.target(setting));
    let mut seen = around(setting, machine);
    for region in Region::ALL {
        seen.extend(of_volume(setting, disk, region));
    }
    let root = setting.root_region();
    let planned = setting.plan.root.id.to_string();
    if disk.header(root).is_none_or(|header| *header.id != *planned) {
        return seen;
    }
    let text = |name: &'static str| disk.text(Fs::Root, root, name);
    let revision = &setting.revision;
    let whole = clone_text(&setting.plan, revision);
    seen.insert(match text("clone") {
        None => Left::NoClone,
        Some(clone) if clone == whole && text("clone.data") == Some(revision.as_str()) => Left::CloneWhole,
        Some("partial") if text(LOCK).is_some() => Left::CloneLocked,
        Some("partial") => Left::CloneBeside,
        Some(_) => Left::CloneFlawed,
    });
    let valid = REGISTERED.map(text);
    let record = record_text(&setting.plan, revision, &setting.system);
    match text("record") {
        Some(found) if *found == record => {
            seen.insert(Left::Recorded);
        }
        Some(_) => {
            seen.insert(Left::RecordTorn);
        }
        None => {}
    }
    // One of its entries that is torn is a page of it that was.
    match text(DATABASE) {
        None => seen.insert(Left::NoDatabase),
        Some(DATABASE_MADE) if !valid.contains(&Some("torn")) => false,
        Some(_) => seen.insert(Left::DatabaseUnusable),
    };
    match valid.iter().filter(|valid| **valid == Some("valid")).count() {
        0 => seen.insert(Left::NothingRegistered),
        count if count < valid.len() => seen.insert(Left::PartRegistered),
        _ if text("record").is_none() => seen.insert(Left::AllRegistered),
        _ => false,
    };
    seen.extend(installed(setting, disk));
    if CLOSURE
        .into_iter()
        .zip(valid)
        .any(|(path, valid)| valid.is_some() && text(path) != Some(path))
    {
        seen.insert(Left::PathWrong);
    }
    seen
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
