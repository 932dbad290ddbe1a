//! A plan: which device gets which label, and how the configuration names it then.
//!
//! Pure. Nothing that the running generation uses is removed, so no label that it boots by changes. A label that another device has,
//! or that its device cannot have, is a problem before anything is changed. What is not understood is named and not changed.
//!
//! `making` makes it, `look` reads the machine, `apply` carries it out, `cli::relabel` makes the texts.

use super::facts::{Device, Facts, Swapping, is_same};
use super::label::{self, Bearer};
use super::nix_file::{Place, in_string};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;

/// The labels that are wanted. Where none is said: the one that the configuration names the device by, else one from the host's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The host's name.
    pub host: String,
    /// Of the ESP.
    pub esp: Option<String>,
    /// Of the root filesystem.
    pub root: Option<String>,
    /// Of the LUKS container that root lies in.
    pub luks: Option<String>,
    /// Of the first swap.
    pub swap: Option<String>,
    /// Of further filesystems, by mount point, and of further containers, by the name of their mapping.
    pub more: BTreeMap<String, String>,
}

/// How a label is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// By the kernel, while the filesystem is mounted here.
    Mounted {
        /// Where.
        at: Utf8PathBuf,
    },
    /// By `fatlabel`, while it is not mounted.
    Unmounted {
        /// Where the fstab mounts it.
        at: Utf8PathBuf,
        /// Whether it is mounted there now.
        is_mounted: bool,
        /// Whether it has to be mounted there in the end: it is now, or the fstab mounts it at boot.
        is_wanted: bool,
    },
    /// By `swaplabel`, while it is not swapped to: the kernel refuses writes to a swap that is on.
    Swap {
        /// How it is swapped to now.
        on: Option<Swapping>,
        /// The options of its line in the fstab.
        options: String,
        /// Whether it has to be swapped to in the end: it is now, or the fstab has it so at boot.
        is_wanted: bool,
    },
    /// By libcryptsetup, in both copies of the header.
    Header,
    /// In both copies of the partition table.
    Table {
        /// The disk.
        disk: Utf8PathBuf,
        /// The number of the partition.
        number: u32,
    },
}

/// One label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is for: `/`, `/boot`, `swap`, or the container below one of them.
    pub what: String,
    /// What bears it.
    pub bearer: Bearer,
    /// The device.
    pub device: Device,
    /// The label that it has; of a partition, its name.
    pub old: Option<String>,
    /// The label that it gets.
    pub new: String,
    /// How.
    pub how: How,
}

impl Change {
    /// Whether it has the label already.
    pub fn is_done(&self) -> bool {
        self.old
            .as_deref()
            .is_some_and(|old| label::is_same(&self.new, old))
    }

    /// Whether something that a run before took out of use waits to be put back.
    pub fn waits_for_use(&self) -> bool {
        match &self.how {
            How::Unmounted {
                is_mounted,
                is_wanted,
                ..
            } => *is_wanted && !is_mounted,
            How::Swap { on, is_wanted, .. } => *is_wanted && on.is_none(),
            How::Mounted { .. } | How::Header | How::Table { .. } => false,
        }
    }

    /// The link that leads to the device by this label.
    pub fn link(&self) -> String {
        self.bearer.link(&self.new)
    }
}

/// Something that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A device that a file of the configuration names, or a label that it looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFile {
    /// The file.
    pub file: Utf8PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// For what.
    pub place: Place,
    /// The name; `Err`: what stands there is no plain text.
    pub device: Result<String, String>,
}

/// What will be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The labels, in the order in which they are made.
    pub changes: Vec<Change>,
    /// What stays as it is.
    pub left: Vec<Left>,
    /// The link that each device is called by then: filesystems, swap, containers.
    pub(super) links: Vec<(Device, String)>,
    /// Every device of a filesystem that lies on several.
    pub(super) parts: Vec<Device>,
}

impl Plan {
    /// The name that a device gets in place of the one that a file has for it; `None`: that one stays.
    pub fn new_name(&self, facts: &Facts, place: &Place, spec: &str) -> Option<String> {
        let device = facts.named(spec).filter(|_| place.is_device())?;
        let is_tagged = spec.starts_with("/dev/disk/") || spec.contains('=');
        // A mapping or a logical volume has a name that its own configuration gives it.
        let has_own_name = Utf8Path::new(spec) == device.path && device.path.starts_with("/dev/mapper")
            || device.kind == "lvm";
        if has_own_name && !is_tagged {
            return None;
        }
        let is_container = matches!(place, Place::Luks(_));
        if is_container != (device.content_kind() == "crypto_LUKS") {
            return None;
        }
        let (_, link) = self.links.iter().find(|(known, _)| is_same(known, device))?;
        let is_same =
            link == spec || label::sought(spec).is_some_and(|found| label::sought(link) == Some(found));
        (!is_same).then(|| link.clone())
    }

    /// The same for a line of an fstab.
    pub fn new_name_in_fstab(&self, facts: &Facts, spec: &str) -> Option<String> {
        self.new_name(facts, &Place::Swap, spec)
    }

    /// The link that each LUKS container is looked for by then, and the text by which it was, which is its UUID.
    pub fn containers(&self) -> Vec<(String, String)> {
        let containers = self
            .links
            .iter()
            .filter(|(device, _)| device.content_kind() == "crypto_LUKS");
        containers
            .map(|(device, link)| (link.clone(), device.uuid().unwrap_or_default().to_owned()))
            .collect()
    }

    /// What no file of those that were given says, and what stands in one as no plain text: the lines that are to be written by hand.
    pub fn by_hand(&self, facts: &Facts, files: &[InFile]) -> Vec<String> {
        let named = |device: &Device, link: &str| {
            let options = files.iter().filter(|one| one.place != Place::Text);
            let mut specs = options.filter_map(|one| one.device.as_deref().ok());
            // Also by the name that it has then.
            specs.any(|spec| spec == link || facts.named(spec).is_some_and(|found| is_same(found, device)))
        };
        let mut lines = vec![];
        for (device, link) in &self.links {
            if named(device, link) {
                continue;
            }
            let link = in_string(link);
            let mapping = |of: &Device| {
                let crypt = facts
                    .devices
                    .iter()
                    .find(|one| one.kind == "crypt" && one.below.contains(&of.node));
                crypt
                    .and_then(|one| one.path.file_name())
                    .unwrap_or("NAME")
                    .to_owned()
            };
            if device.content_kind() == "crypto_LUKS" {
                lines.push(format!("{} = \"{link}\";", Place::Luks(mapping(device))));
                continue;
            }
            for line in &facts.fstab {
                if !facts
                    .named(&line.spec)
                    .is_some_and(|found| is_same(found, device))
                    || self.new_name_in_fstab(facts, &line.spec).is_none()
                {
                    continue;
                }
                lines.push(if line.kind == "swap" {
                    format!("swapDevices = [ {{ device = \"{link}\"; }} ];")
                } else {
                    format!("{} = \"{link}\";", Place::Filesystem(line.target.to_string()))
                });
            }
        }
        lines
    }
}
