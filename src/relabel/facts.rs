//! The devices of a machine, their contents and mounts, and what its configuration names.
//!
//! Pure parsers. A device is identified by its number; a name is only looked up. What is not understood is an error, not an absence.
//!
//! `look` runs the programs, `plan` judges.

use super::label::{self, Bearer};
use crate::real::disk::proc::{Dev, parse_dev};
use crate::real::mount::table::{MountEntry, unescape};
use crate::real::volume::probe;
use camino::Utf8PathBuf;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The arguments that give what [`devices`] parses.
pub const LSBLK_ARGS: [&str; 4] = ["--json", "--paths", "--output", "NAME,KNAME,TYPE,MAJ:MIN"];
/// Deepest tree of devices that is followed.
const DEPTH_MAX: u32 = 32;

/// What is on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The type, as `blkid` names it.
    pub kind: String,
    /// The version that it says beside it.
    pub version: Option<String>,
    /// The UUID.
    pub uuid: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// The second label of a FAT, in its boot sector.
    pub boot_label: Option<String>,
}

/// An entry of a partition table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// `gpt` or `dos`.
    pub scheme: String,
    /// Its number.
    pub number: u32,
    /// PARTUUID.
    pub uuid: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its type.
    pub kind: Option<String>,
}

/// A block device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// The name that people use: `/dev/sda2`, `/dev/mapper/cryptroot`.
    pub path: Utf8PathBuf,
    /// The kernel's node: `/dev/dm-0`.
    pub node: Utf8PathBuf,
    /// Its number.
    pub dev: Dev,
    /// `disk`, `part`, `crypt`, `lvm`, `raid1`, `loop`, …
    pub kind: String,
    /// The nodes that it lies on, the nearest ones.
    pub below: Vec<Utf8PathBuf>,
    /// Whether others lie on it.
    pub carries: bool,
    /// What is on it; `None`: nothing that is known.
    pub content: Option<Content>,
    /// Why nothing can be said of what is on it.
    pub doubt: Option<String>,
    /// The entry of the table that it is.
    pub entry: Option<Entry>,
}

impl Device {
    /// What of its label can be changed.
    pub fn bearer(&self) -> Option<Bearer> {
        let content = self.content.as_ref()?;
        Bearer::of(&content.kind, content.version.as_deref())
    }

    /// The type of what is on it; empty for none.
    pub fn content_kind(&self) -> &str {
        self.content.as_ref().map_or("", |content| &content.kind)
    }

    /// The UUID of what is on it.
    pub fn uuid(&self) -> Option<&str> {
        self.content.as_ref()?.uuid.as_deref()
    }

    /// The label that it has; of a FAT, the one that both of its places agree in.
    pub fn label(&self) -> Option<&str> {
        let content = self.content.as_ref()?;
        let label = content.label.as_deref()?;
        let whole = self.bearer() != Some(Bearer::Fat) || content.boot_label.as_deref() == Some(label);
        whole.then_some(label)
    }
}

/// A line of an fstab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FstabLine {
    /// What is mounted, as it is written.
    pub spec: String,
    /// Where; `none` for swap.
    pub target: Utf8PathBuf,
    /// The type.
    pub kind: String,
    /// The options.
    pub options: Vec<String>,
}

impl FstabLine {
    /// Whether it names a device in a way that fits: what is mounted, each of several, or a value of an option
    /// (`x-systemd.requires=`, `device=`, `logdev=`).
    pub fn names(&self, fits: &dyn Fn(&str) -> bool) -> bool {
        let several = || self.spec.split(":/dev/").enumerate();
        fits(&self.spec)
            || several().any(|(n, part)| match n {
                0 => fits(part),
                _ => fits(&format!("/dev/{part}")),
            })
            || self
                .options
                .iter()
                .filter_map(|option| option.split_once('='))
                .any(|(_, value)| fits(&unescape(value)) || unit_path(value).is_some_and(|path| fits(&path)))
    }
}

/// The path that the name of a unit of systemd is of (`dev-disk-by\x2dlabel-data.device`).
fn unit_path(unit: &str) -> Option<String> {
    let name = unit.strip_suffix(".device")?;
    Some(format!("/{}", label::decoded(&name.replace('-', "/"))))
}

/// A swap that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapping {
    /// The device, or the file.
    pub path: Utf8PathBuf,
    /// Bytes that lie in it now.
    pub used_bytes: u64,
    /// Its priority.
    pub priority: i32,
}

/// The profile whose newest generation is booted.
pub const PROFILE: &str = "/nix/var/nix/profiles/system";

/// Which of them it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest, which is booted by itself.
    Next,
    /// One before it, or of another profile.
    Other {
        /// The profile, as `nix-env --profile` takes it.
        profile: String,
        /// Its number.
        number: u64,
    },
}

/// What can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Which one.
    pub which: Which,
    /// A specialisation of it.
    pub specialisation: Option<String>,
    /// Its fstab.
    pub fstab: Vec<FstabLine>,
    /// The parameters of its kernel.
    pub kernel_words: Vec<String>,
    /// Its initrd, a path of the store.
    pub initrd: Option<String>,
}

/// Everything that is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every block device, once.
    pub devices: Vec<Device>,
    /// What is mounted, with the number of the device that its source is.
    pub mounts: Vec<(MountEntry, Option<Dev>)>,
    /// What is swapped to.
    pub swaps: Vec<Swapping>,
    /// The fstab of the running generation.
    pub fstab: Vec<FstabLine>,
    /// The generations that can be booted.
    pub generations: Vec<Generation>,
    /// Where links of `/dev/disk` and names of devices lead.
    pub links: BTreeMap<String, Dev>,
    /// The parameters of the running kernel.
    pub kernel_words: Vec<String>,
    /// Memory that could be had, in bytes.
    pub memory_bytes: u64,
}

impl Facts {
    /// The device of a number.
    pub fn device(&self, dev: Dev) -> Option<&Device> {
        self.devices.iter().find(|device| device.dev == dev)
    }

    /// The device of a node.
    pub fn node(&self, node: &camino::Utf8Path) -> Option<&Device> {
        self.devices.iter().find(|device| device.node == node)
    }

    /// The device that a name in a configuration means. Of a filesystem on several devices: one of them.
    pub fn named(&self, spec: &str) -> Option<&Device> {
        let tag = |name: &str, folder: &str| {
            spec.strip_prefix(&format!("{name}="))
                .or_else(|| spec.strip_prefix(&format!("/dev/disk/{folder}/")))
                .map(|value| value.trim_matches('"'))
        };
        // udev has one way to write a label, and a configuration may have another.
        let as_udev = || label::sought(spec).map(|(bearer, label)| bearer.link(&label));
        let linked = || {
            let dev = self.links.get(spec).or_else(|| self.links.get(&as_udev()?));
            self.device(*dev?)
        };
        let by = |found: &dyn Fn(&Device) -> bool| {
            let mut fitting = self.devices.iter().filter(|device| found(device));
            let Some(first) = fitting.next() else {
                // Where what is on a device is in doubt, its link may be all there is.
                return linked();
            };
            // Two filesystems of one name: which one is meant is not for us to say.
            fitting.all(|other| is_same(first, other)).then_some(first)
        };
        if let Some(uuid) = tag("UUID", "by-uuid") {
            return by(&|device| device.uuid().is_some_and(|own| own.eq_ignore_ascii_case(uuid)));
        }
        if tag("LABEL", "by-label").is_some() {
            let label = |device: &Device| device.content.as_ref()?.label.clone();
            return by(&|device| label(device).is_some_and(|own| Bearer::Ext.is_sought(&own, spec)));
        }
        let of_entry =
            |device: &Device, value: &dyn Fn(&Entry) -> bool| device.entry.as_ref().is_some_and(value);
        if let Some(uuid) = tag("PARTUUID", "by-partuuid") {
            let same = |entry: &Entry| {
                entry
                    .uuid
                    .as_ref()
                    .is_some_and(|own| own.eq_ignore_ascii_case(uuid))
            };
            return by(&|device| of_entry(device, &same));
        }
        if tag("PARTLABEL", "by-partlabel").is_some() {
            let named = |name: &String| Bearer::Partition.is_sought(name, spec);
            return by(&|device| of_entry(device, &|entry| entry.name.as_ref().is_some_and(named)));
        }
        let own = self
            .devices
            .iter()
            .find(|device| device.path.as_str() == spec || device.node.as_str() == spec);
        own.or_else(linked)
    }

    /// Where a device's filesystem is mounted, in the order of mounting. A later mount may lie over an earlier one.
    pub fn mounted(&self, device: &Device) -> Vec<&MountEntry> {
        let same = |dev: Dev| {
            self.device(dev)
                .is_some_and(|other| other.dev == device.dev || is_same(device, other))
        };
        self.mounts
            .iter()
            .filter(|(_, dev)| dev.is_some_and(same))
            .map(|(mount, _)| mount)
            .collect()
    }

    /// The swap that a device is used as.
    pub fn swapping(&self, device: &Device) -> Option<&Swapping> {
        self.swaps
            .iter()
            .find(|swap| swap.path == device.path || swap.path == device.node)
    }
}

/// Whether two devices are parts of one filesystem (Btrfs on several devices; a disk that is seen by several paths).
pub fn is_same(one: &Device, other: &Device) -> bool {
    one.dev == other.dev
        || one.content_kind() == "btrfs"
            && other.content_kind() == "btrfs"
            && one.uuid().is_some()
            && one.uuid() == other.uuid()
}

#[derive(Deserialize)]
struct Output {
    blockdevices: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: Utf8PathBuf,
    kname: Utf8PathBuf,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(rename = "maj:min")]
    number: String,
    #[serde(default)]
    children: Vec<Listed>,
}

/// Understands `lsblk` with [`LSBLK_ARGS`]: every device once, whatever it lies on.
///
/// # Errors
/// The text is none that `lsblk` prints.
pub fn devices(text: &str) -> Result<Vec<Device>, String> {
    // lsblk prints nothing at all when there is no device.
    if text.trim().is_empty() {
        return Ok(vec![]);
    }
    let output: Output = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut found: Vec<Device> = Vec::new();
    let mut open: Vec<(Listed, Option<Utf8PathBuf>, u32)> = output
        .blockdevices
        .into_iter()
        .rev()
        .map(|listed| (listed, None, 0))
        .collect();
    while let Some((listed, below, depth)) = open.pop() {
        let Listed {
            name,
            kname,
            kind,
            number,
            children,
        } = listed;
        let dev = parse_dev(&number).ok_or_else(|| format!("the device number {number} of {name}"))?;
        let at = match found.iter().position(|device| device.dev == dev) {
            Some(at) => at,
            None => {
                found.push(Device {
                    path: name,
                    node: kname.clone(),
                    dev,
                    kind: kind.unwrap_or_default(),
                    ..Device::default()
                });
                found.len() - 1
            }
        };
        if let Some(device) = found.get_mut(at) {
            device.carries |= !children.is_empty();
            device
                .below
                .extend(below.filter(|one| !device.below.contains(one)));
        }
        if depth < DEPTH_MAX {
            open.extend(
                children
                    .into_iter()
                    .rev()
                    .map(|child| (child, Some(kname.clone()), depth + 1)),
            );
        }
    }
    Ok(found)
}

/// Understands `blkid -p -o export`: what is on a device, and which entry of a table it is.
pub fn content(text: &str) -> (Option<Content>, Option<Entry>) {
    let mut content = Content::default();
    let mut entry = Entry::default();
    for (key, value) in probe::pairs(text) {
        match key {
            "TYPE" => content.kind = value,
            "VERSION" => content.version = Some(value),
            "UUID" => content.uuid = Some(value),
            "LABEL" => content.label = Some(value),
            "LABEL_FATBOOT" => content.boot_label = Some(value),
            "PART_ENTRY_SCHEME" => entry.scheme = value,
            "PART_ENTRY_NUMBER" => entry.number = value.parse().unwrap_or(0),
            "PART_ENTRY_UUID" => entry.uuid = Some(value),
            "PART_ENTRY_NAME" => entry.name = Some(value),
            "PART_ENTRY_TYPE" => entry.kind = Some(value),
            _ => {}
        }
    }
    (
        (!content.kind.is_empty()).then_some(content),
        (!entry.scheme.is_empty() && entry.number > 0).then_some(entry),
    )
}

/// Understands an fstab (fstab(5)).
pub fn fstab(text: &str) -> Vec<FstabLine> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            Some(FstabLine {
                spec: unescape(fields.next()?),
                target: unescape(fields.next()?).into(),
                kind: fields.next()?.to_owned(),
                options: fields
                    .next()
                    .unwrap_or("defaults")
                    .split(',')
                    .map(str::to_owned)
                    .collect(),
            })
        })
        .collect()
}

/// Understands `/proc/swaps`.
///
/// # Errors
/// The text is none that the kernel gives.
pub fn swaps(text: &str) -> Result<Vec<Swapping>, String> {
    text.lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let mut fields = line.split_whitespace();
            let understood = || {
                let path = unescape(fields.next()?).into();
                let mut fields = fields.skip(2);
                let used_kib: u64 = fields.next()?.parse().ok()?;
                Some(Swapping {
                    path,
                    used_bytes: used_kib.saturating_mul(1024),
                    priority: fields.next()?.parse().ok()?,
                })
            };
            understood().ok_or_else(|| format!("the line {line}"))
        })
        .collect()
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
pub fn memory_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
