//! Names of disks.
//!
//! This module alone decides which disk a name means, and whether the name may agree to an erasure. It is used for
//! `INSTALL_DISK`, `--erase-disk`, `unattended.disk`, the credential, and for every name that landfall prints. A printed name
//! is always accepted. A name that could mean two disks means none.
//!
//! `select` has the objections to a disk, and `real::ask` asks.

use super::sysfs::{Block, Sysfs};
use super::{io_fault, proc::Dev, proc::parse_dev};
use crate::config::is_disk_name;
use crate::real::disk::kind::no_disk;
use landfall_states::disk_name::{is_bus_address, is_of_model_alone, is_unique, link_objection};
use landfall_states::fault::Fault;
use landfall_states::names::quoted;
use landfall_states::plan::DiskIdentity;
use landfall_states::untrusted_text::Shown;
use std::io;

/// Folders of links below `/dev/disk` that lead to disks by names that last.
const FOLDERS: [&str; 2] = ["by-id", "by-path"];

/// A disk, as names see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Kernel name now, `/dev/…`.
    pub device: String,
    /// Identity.
    pub identity: DiskIdentity,
    /// Where it sits.
    pub place: Option<String>,
    /// Whether a hand may put another one there: a USB port, a slot for cards, a bay. Then the place alone is no name of it.
    pub by_hand: bool,
    /// The links that lead to it, without their folder.
    pub links: Vec<String>,
}

/// By what a name means a disk, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Its World Wide Name.
    Wwn,
    /// A link in `/dev/disk/by-id` or `/dev/disk/by-path`.
    Link,
    /// Its bus address, with what sits there where that can be another one tomorrow.
    Place,
    /// Its bus address alone, where another one may sit there tomorrow.
    Port,
    /// Its serial number.
    Serial,
    /// The kernel's name of the moment.
    Kernel,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// No disk.
    Nothing,
    /// One, by its place in the list.
    One(usize, By),
    /// Several.
    Several(Vec<usize>),
}

/// A WWN without the prefixes that tools put before it.
fn bare(text: &str) -> String {
    let mut text = text.trim().to_lowercase();
    for prefix in ["wwn-", "nvme-", "scsi-3", "naa.", "eui.", "0x"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            text = rest.to_owned();
        }
    }
    text
}

/// Whether a text is a name, as it is, or as it is printed: with characters escaped that cannot be seen or turn a line round.
fn is_called(name: &str, text: &str) -> bool {
    name == text || Shown::line(name).as_str() == text
}

/// The same for a WWN, whatever prefix was put before it.
fn is_wwn(wwn: &str, text: &str) -> bool {
    bare(wwn) == bare(text) || is_called(wwn, text)
}

/// A name without the folder that it is a link in.
fn without_folder(name: &str) -> &str {
    let name = name.trim();
    FOLDERS
        .iter()
        .find_map(|folder| {
            name.strip_prefix("/dev/disk/")?
                .strip_prefix(folder)?
                .strip_prefix('/')
        })
        .unwrap_or(name)
}

impl Named {
    /// From the kernel's entry, and all links with where they lead.
    pub fn of(block: &Block, links: &[(String, Dev)]) -> Self {
        Named {
            device: block.device(),
            identity: block.identity.clone(),
            place: block.place.clone(),
            by_hand: block.is_put_in_by_hand(),
            links: links
                .iter()
                .filter(|(_, dev)| *dev == block.dev)
                // Every disk of that kind has it, and it leads to whichever was found last.
                .filter(|(link, _)| {
                    !block
                        .model
                        .as_deref()
                        .is_some_and(|model| is_of_model_alone(link, model))
                })
                .map(|(link, _)| link.clone())
                .collect(),
        }
    }

    /// The bus address; with what sits there, where a hand may change that: its serial number, and its size where that number is not
    /// the disk's own: a bridge gives its number to every disk that is put into it.
    fn seat(&self) -> Option<String> {
        let place = self.place.as_deref()?;
        if !self.by_hand {
            return Some(place.to_owned());
        }
        let size_bytes = self.identity.size_bytes;
        let is_of_bridge = self.identity.unit().is_some();
        Some(match (self.number(), is_of_bridge) {
            (None, _) => format!("{place}={size_bytes}"),
            (Some(number), true) => format!("{place}={number},{size_bytes}"),
            (Some(number), false) => format!("{place}={number}"),
        })
    }

    /// The number that a disk gives, or the bridge that it sits behind, where that can be a part of a name.
    fn number(&self) -> Option<&str> {
        let identity = &self.identity;
        [&identity.serial, &identity.wwn]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|word| is_unique(word) && !word.contains('/'))
    }

    /// Whether a text is its place with the number of a bridge alone: a seat, but not the disk that sits there.
    fn is_seat_of_bridge(&self, text: &str) -> bool {
        let seat = self.place.as_deref().zip(self.number());
        self.by_hand && seat.is_some_and(|(place, number)| is_called(&format!("{place}={number}"), text))
    }

    fn is(&self, name: &str) -> Option<By> {
        let Named {
            device,
            identity,
            place,
            by_hand,
            links,
        } = self;
        let plain = without_folder(name);
        if plain.is_empty() {
            return None;
        }
        let wwn = identity
            .wwn
            .as_deref()
            .filter(|wwn| identity.unit().is_none() && is_wwn(wwn, plain));
        if wwn.is_some() {
            return Some(By::Wwn);
        }
        if self.seat().is_some_and(|seat| is_called(&seat, plain)) {
            return Some(By::Place);
        }
        let has_link = links.iter().any(|link| is_called(link, plain));
        if *by_hand && has_link && is_bus_address(plain) {
            return Some(By::Port);
        }
        if has_link {
            return Some(By::Link);
        }
        if place.as_deref().is_some_and(|place| is_called(place, plain)) || self.is_seat_of_bridge(plain) {
            return Some(By::Port);
        }
        // A WWN that several units share is no better than a serial number.
        let shared = identity.wwn.as_deref().is_some_and(|wwn| is_wwn(wwn, plain));
        let serial = identity.serial.as_deref();
        if shared || serial.is_some_and(|serial| is_called(serial, plain)) {
            return Some(By::Serial);
        }
        (device == name.trim()).then_some(By::Kernel)
    }
}

/// Which disk a name means.
pub fn meaning(name: &str, disks: &[Named]) -> Meaning {
    let found: Vec<(usize, By)> = disks
        .iter()
        .enumerate()
        .filter_map(|(index, disk)| Some((index, disk.is(name)?)))
        .collect();
    match found[..] {
        [] => Meaning::Nothing,
        [(index, by)] => Meaning::One(index, by),
        [..] => Meaning::Several(found.into_iter().map(|(index, _)| index).collect()),
    }
}

/// Whether a disk that a name means may be erased on the word of that name alone; if not, why.
fn may_agree(name: &str, index: usize, by: By, disks: &[Named]) -> Result<(), String> {
    let Some(disk) = disks.get(index) else {
        return Err("it is not there".into());
    };
    match by {
        By::Kernel => return Err("a kernel name means another disk after the next boot".into()),
        By::Serial if disk.identity.unit().is_some() => {
            return Err(
                "the serial number comes from a bridge or a device with several units, not from the disk itself"
                    .into(),
            );
        }
        By::Link => {
            let link = without_folder(name);
            let own = disk.links.iter().find(|own| is_called(own, link));
            if let Some(why) = own.and_then(|own| link_objection(own, &disk.identity)) {
                return Err(why.into());
            }
        }
        By::Wwn | By::Serial => {
            let own = match by {
                By::Wwn => &disk.identity.wwn,
                By::Link | By::Place | By::Port | By::Serial | By::Kernel => &disk.identity.serial,
            };
            if !own.as_deref().is_none_or(is_unique) {
                return Err("this name is not unique to one disk".into());
            }
        }
        By::Port => {
            return Err(
                "another disk can be put into that port or slot; the name must identify the disk itself"
                    .into(),
            );
        }
        By::Place => {}
    }
    match disks
        .iter()
        .enumerate()
        .find(|(at, d)| *at != index && d.identity == disk.identity)
    {
        Some((_, other)) => Err(format!("{} reports the same identity", other.device)),
        None => Ok(()),
    }
}

/// The name by which a disk can be named and its erasure agreed to: the strongest that means it and nothing else.
pub fn name_for(index: usize, disks: &[Named]) -> Option<String> {
    let disk = disks.get(index)?;
    let Named {
        device: _,
        identity,
        place: _,
        by_hand: _,
        links,
    } = disk;
    let seat = disk.seat();
    let means_it = |name: &String| match meaning(name, disks) {
        Meaning::One(at, by) => {
            is_disk_name(name) && at == index && may_agree(name, index, by, disks).is_ok()
        }
        Meaning::Nothing | Meaning::Several(_) => false,
    };
    let names = || {
        [&identity.wwn, &identity.serial, &seat]
            .into_iter()
            .flatten()
            .chain(links)
            // As it is printed, which is what is copied.
            .map(|name| String::from(Shown::line(name)))
            .filter(means_it)
    };
    // One that a shell takes as it stands, if there is one.
    let plain = names().find(|name| !name.contains([' ', '\\']));
    plain.or_else(|| names().next())
}

/// Whether a name given in advance agrees to the erasure of this disk; if not, why, and by which name it would.
///
/// # Errors
/// The reason, with the name that would agree.
#[expect(clippy::indexing_slicing, reason = "`meaning` gives places among `disks`")]
pub fn agrees(name: &str, identity: &DiskIdentity, disks: &[Named]) -> Result<(), String> {
    let why = match meaning(name, disks) {
        Meaning::One(index, by) if disks[index].identity == *identity => {
            match may_agree(name, index, by, disks) {
                Ok(()) => return Ok(()),
                Err(why) => format!("consent in advance names {}: {why}", quoted(name.trim())),
            }
        }
        Meaning::One(index, _) => format!(
            "consent in advance names {}, which is {} ({}); this disk is {identity}",
            quoted(name.trim()),
            disks[index].device,
            disks[index].identity
        ),
        Meaning::Several(found) => format!(
            "consent in advance names {}, which is the name of {} disks ({}); this disk is {identity}",
            quoted(name.trim()),
            found.len(),
            found
                .iter()
                .map(|i| disks[*i].device.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Meaning::Nothing => format!(
            "consent in advance names {}, which is the name of no disk; this disk is {identity}",
            quoted(name.trim())
        ),
    };
    let own = disks.iter().position(|disk| disk.identity == *identity);
    Err(match own.and_then(|index| name_for(index, disks)) {
        Some(own) => format!("{why}; its name is {own}"),
        None => why,
    })
}

/// The links that each disk asks for, as udev's database has them. Where several ask for one, udev gives it to any of them, and
/// to another one after the next event: a serial number of several namespaces, a WWN of zeros, one path for all of a port.
fn asked_for(sysfs: &Sysfs) -> io::Result<Vec<(String, Dev)>> {
    let mut links = Vec::new();
    for name in sysfs.names("sys/block")? {
        let Some(dev) = sysfs
            .text(&format!("sys/block/{name}/dev"))?
            .as_deref()
            .and_then(parse_dev)
        else {
            continue;
        };
        let (major, minor) = dev;
        let record = sysfs.text(&format!("run/udev/data/b{major}:{minor}"))?;
        for line in record.unwrap_or_default().lines() {
            let Some(path) = line.strip_prefix("S:disk/") else {
                continue;
            };
            let plain = FOLDERS
                .iter()
                .find_map(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
            links.extend(plain.map(|plain| (plain.to_owned(), dev)));
        }
    }
    Ok(links)
}

/// The links in `/dev/disk` that lead to block devices, without their folders, and where they lead; with the devices that ask for
/// one that another has.
///
/// # Errors
/// `/dev/disk` cannot be read.
pub fn links(sysfs: &Sysfs) -> io::Result<Vec<(String, Dev)>> {
    let mut links = Vec::new();
    for folder in FOLDERS {
        let listing = match fs_err::read_dir(sysfs.at(&format!("dev/disk/{folder}"))) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in listing {
            let name = entry?.file_name().to_string_lossy().into_owned();
            match sysfs.leads_to(&format!("dev/disk/{folder}/{name}")) {
                Ok(Some(dev)) => links.push((name, dev)),
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    // Only of links that are there: the database may be older than they are.
    let there: std::collections::BTreeSet<String> = links.iter().map(|(name, _)| name.clone()).collect();
    links.extend(
        asked_for(sysfs)?
            .into_iter()
            .filter(|(name, _)| there.contains(name)),
    );
    links.sort();
    links.dedup();
    Ok(links)
}

/// Every disk of this machine, as names see it.
///
/// # Errors
/// The machine's disks cannot be looked at.
pub fn look(sysfs: &Sysfs) -> Result<Vec<Named>, Fault> {
    let fault = |e: io::Error| io_fault("disks", "list them", &e);
    let links = links(sysfs).map_err(fault)?;
    let blocks = sysfs.blocks().map_err(fault)?;
    Ok(blocks
        .iter()
        .filter(|block| no_disk(block).is_none())
        .map(|block| Named::of(block, &links))
        .collect())
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
