//! Block devices as the kernel shows them in sysfs.
//!
//! Everything is read again at every call. An attribute that is missing, or that a failing disk cannot give, is `None`. An
//! identity comes only from the kernel's own attributes, so it does not depend on udev or its version.
//!
//! `locked` opens devices, and `select` decides.

pub use super::attributes::Sysfs;
use super::attributes::{BLOCKS_MAX, gone, tidy};
use super::place;
use super::proc::{Dev, parse_dev};
use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::actions::partition_disk::KernelPartition;
use landfall_states::disk_name::is_unique;
use landfall_states::plan::DiskIdentity;
use std::io;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name.
    pub name: String,
    /// Device number.
    pub dev: Dev,
    /// Number, start and length.
    pub kernel: KernelPartition,
    /// Kernel names of what is stacked upon it.
    pub holders: Vec<String>,
    /// PARTUUID, where the kernel tells it.
    pub partuuid: Option<String>,
}

/// One block device that is no partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Kernel name.
    pub name: String,
    /// Device number.
    pub dev: Dev,
    /// Its identity. Meaningful for disks only.
    pub identity: DiskIdentity,
    /// Model, for people.
    pub model: Option<String>,
    /// Where it sits: its bus address, as the link in `/dev/disk/by-path` is called where there is one.
    pub place: Option<String>,
    /// `usb`, `nvme`, `virtio`, `sata`, `mmc` (soldered), `sd` (a card), `scsi` or `virtual`.
    pub transport: &'static str,
    /// By which network it is reached, where it is: other machines may reach it as well.
    pub network: Option<&'static str>,
    /// By which port on the outside of the machine it is reached, where that is another one than USB.
    pub port: Option<&'static str>,
    /// The medium can be taken out, says the kernel.
    pub removable: bool,
    /// It refuses writes.
    pub read_only: bool,
    /// It is a path of something else (NVMe multipath).
    pub hidden: bool,
    /// Kernel names of what is stacked upon the whole of it.
    pub holders: Vec<String>,
    /// Kernel names of what it is stacked upon.
    pub slaves: Vec<String>,
    /// For loop devices: the file behind it.
    pub loop_file: Option<String>,
    /// For device-mapper: name and UUID.
    pub mapping: Option<(String, String)>,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

impl Block {
    /// `/dev/…`. The kernel writes `/` as `!` in names.
    pub fn device(&self) -> String {
        device(&self.name)
    }

    /// Whether a hand may put another one into its place while nobody looks.
    pub fn is_put_in_by_hand(&self) -> bool {
        self.removable || self.port.is_some() || ["usb", "sd"].contains(&self.transport)
    }
}

/// What a disk is called.
struct Names {
    wwn: Option<String>,
    serial: Option<String>,
    unit: Option<String>,
}

/// See [`Block::device`].
pub fn device(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

impl Sysfs {
    /// Every block device but partitions, in order of name.
    ///
    /// # Errors
    /// `/sys` cannot be read.
    pub fn blocks(&self) -> io::Result<Vec<Block>> {
        let mut blocks = Vec::new();
        for name in self.names("sys/block")? {
            blocks.extend(self.block(&name)?);
        }
        Ok(blocks)
    }

    /// One block device; `None` when it is not there (any more).
    ///
    /// # Errors
    /// `/sys` cannot be read.
    pub fn block(&self, name: &str) -> io::Result<Option<Block>> {
        let base = format!("sys/block/{name}");
        let Some(dev) = self.text(&format!("{base}/dev"))?.as_deref().and_then(parse_dev) else {
            return Ok(None);
        };
        let sector_bytes = self
            .number(&format!("{base}/queue/logical_block_size"))?
            .unwrap_or(512);
        let sector_bytes = u32::try_from(sector_bytes).unwrap_or(0);
        let size_bytes = self
            .number(&format!("{base}/size"))?
            .unwrap_or(0)
            .saturating_mul(512);
        let hardware = self.hardware(name);
        let nsid = self.number(&format!("{base}/nsid"))?;
        let place = match place::address(self, &hardware, nsid)? {
            Some(place) => Some(place),
            None => bus_address(&hardware),
        };
        let names = self.names_of(name, &hardware, nsid)?;
        let is_of_two = self.is_of_two(name, &hardware, &names)?;
        let Names { wwn, serial, unit } = names;
        let (wwn, serial) = if is_of_two { (None, None) } else { (wwn, serial) };
        let mut partitions = self.partitions(name, sector_bytes)?;
        partitions.sort_by_key(|p| p.kernel.number);
        let mapping = match (
            self.word(&format!("{base}/dm/name"))?,
            self.word(&format!("{base}/dm/uuid"))?,
        ) {
            (Some(name), uuid) => Some((name, uuid.unwrap_or_default())),
            (None, _) => None,
        };
        let flag = |value: Option<u64>| value.is_some_and(|v| v != 0);
        let model = match self.word(&format!("{base}/device/model"))? {
            Some(model) => Some(model),
            None => self.word(&format!("{base}/device/name"))?,
        };
        Ok(Some(Block {
            name: name.to_owned(),
            dev,
            model,
            place: place.clone(),
            identity: DiskIdentity {
                path: if wwn.is_none() && serial.is_none() {
                    place
                } else {
                    unit
                },
                wwn,
                serial,
                size_bytes,
                sector_bytes,
            },
            transport: match transport(name, &hardware) {
                "mmc" if self.word(&format!("{base}/device/type"))?.as_deref() == Some("SD") => "sd",
                other => other,
            },
            network: self.network(name, &hardware),
            port: self.port(&hardware)?,
            removable: flag(self.number(&format!("{base}/removable"))?),
            read_only: flag(self.number(&format!("{base}/ro"))?),
            hidden: flag(self.number(&format!("{base}/hidden"))?),
            holders: self.names(&format!("{base}/holders"))?,
            slaves: self.names(&format!("{base}/slaves"))?,
            // As it is: names end in blanks, too.
            loop_file: self
                .text(&format!("{base}/loop/backing_file"))?
                .map(|text| text.strip_suffix('\n').unwrap_or(&text).to_owned())
                .filter(|file| !file.is_empty()),
            mapping,
            partitions,
        }))
    }

    fn partitions(&self, name: &str, sector_bytes: u32) -> io::Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        let factor = u64::from(sector_bytes / 512).max(1);
        for part in self.names(&format!("sys/block/{name}"))? {
            let base = format!("sys/block/{name}/{part}");
            let Some(number) = self.number(&format!("{base}/partition"))? else {
                continue;
            };
            let Some(dev) = self.text(&format!("{base}/dev"))?.as_deref().and_then(parse_dev) else {
                continue;
            };
            let uevent = self.text(&format!("{base}/uevent"))?.unwrap_or_default();
            partitions.push(Partition {
                dev,
                kernel: KernelPartition {
                    number: u32::try_from(number).unwrap_or(u32::MAX),
                    first_lba: self.number(&format!("{base}/start"))?.unwrap_or(0) / factor,
                    sectors: self.number(&format!("{base}/size"))?.unwrap_or(0) / factor,
                },
                holders: self.names(&format!("{base}/holders"))?,
                partuuid: uevent
                    .lines()
                    .find_map(|l| l.strip_prefix("PARTUUID="))
                    .map(str::to_lowercase),
                name: part,
            });
        }
        Ok(partitions)
    }

    /// Where the disk sits, from the root of all devices, e.g. `pci0000:00/0000:00:02.0/virtio1`. Empty when unknown.
    fn hardware(&self, name: &str) -> String {
        let Ok(full) = self.at(&format!("sys/block/{name}")).canonicalize_utf8() else {
            // A device that went away, or a tree without links (tests): it has no place.
            return String::new();
        };
        let full = match full.parent().filter(|p| p.as_str().contains("/nvme-subsystem/")) {
            Some(subsystem) => self.controller(subsystem).unwrap_or(full.clone()),
            None => full,
        };
        let full = full.as_str();
        let from = full.find("/devices/").map_or(0, |at| at + "/devices/".len());
        let to = full
            .rfind("/block/")
            .filter(|to| *to >= from)
            .unwrap_or(full.len());
        full[from..to].to_owned()
    }

    /// The place of the only controller of an NVMe subsystem, which has none of its own.
    fn controller(&self, subsystem: &Utf8Path) -> Option<Utf8PathBuf> {
        match self.controllers(subsystem).as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }
    }

    /// The places of all controllers of an NVMe subsystem.
    fn controllers(&self, subsystem: &Utf8Path) -> Vec<Utf8PathBuf> {
        let mut found = vec![];
        let Ok(listing) = subsystem.read_dir_utf8() else {
            // It went away.
            return found;
        };
        for entry in listing.flatten().take(BLOCKS_MAX) {
            let number = entry.file_name().strip_prefix("nvme").unwrap_or_default();
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                found.extend(entry.path().canonicalize_utf8());
            }
        }
        found
    }

    /// The network that a disk is reached by.
    fn network(&self, name: &str, hardware: &str) -> Option<&'static str> {
        let has = |text: &str| hardware.contains(text);
        if has("/rport-") {
            return Some("Fibre Channel");
        }
        if hardware
            .split('/')
            .any(|part| part.starts_with("session") && !part.contains('-'))
        {
            return Some("iSCSI");
        }
        let full = self.at(&format!("sys/block/{name}")).canonicalize_utf8().ok()?;
        let subsystem = full.parent().filter(|p| p.as_str().contains("/nvme-subsystem/"));
        let of_fabric = |path: &Utf8PathBuf| path.as_str().contains("/nvme-fabrics/");
        let fabric = of_fabric(&full) || subsystem.is_some_and(|s| self.controllers(s).iter().any(of_fabric));
        fabric.then_some("NVMe over Fabrics")
    }

    /// Whether another disk at another address has the same serial number, and neither has a name beside it: then it is a name of none,
    /// as one that every piece has, and the address tells them apart. Only NVMe and SATA: behind SCSI and virtio two addresses may be two
    /// ways to one disk. An NVMe disk without a name of its own gets one from Linux that is
    /// made of vendor, serial number, model and unit (`nvme.1cc1-…-00000001`).
    fn is_of_two(&self, name: &str, hardware: &str, names: &Names) -> io::Result<bool> {
        let is_made = names.wwn.as_ref().is_none_or(|wwn| wwn.starts_with("nvme."));
        if !is_made || names.wwn.is_none() && names.serial.is_none() {
            return Ok(false);
        }
        let is_ata = |part: &str| {
            part.strip_prefix("ata")
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        };
        let address = |hardware: &str| match hardware.split_once("/nvme/") {
            Some((at, _)) => Some(at.to_owned()),
            None => hardware.split('/').any(is_ata).then(|| hardware.to_owned()),
        };
        let Some(own) = address(hardware) else {
            return Ok(false);
        };
        for other in self.names("sys/block")? {
            if other == name || other.starts_with("nvme") != name.starts_with("nvme") {
                continue;
            }
            let hardware = self.hardware(&other);
            if address(&hardware).is_none_or(|at| at == own) {
                continue;
            }
            let nsid = self.number(&format!("sys/block/{other}/nsid"))?;
            let others = self.names_of(&other, &hardware, nsid)?;
            let is_same = match (&names.wwn, &others.wwn) {
                (None, None) => names.serial == others.serial,
                (own, other) => own == other,
            };
            if is_same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The port on the outside of the machine that a disk is reached by, where that is another one than USB. The kernel calls what is
    /// behind a port for PCI Express that leads outside `removable` (Linux, Documentation/ABI/testing/sysfs-devices-removable), as the
    /// firmware says it of the port; how many bridges there are says nothing.
    fn port(&self, hardware: &str) -> io::Result<Option<&'static str>> {
        let mut place = String::from("sys/devices");
        for part in hardware.split('/') {
            place = format!("{place}/{part}");
            if place::is_firewire(part) {
                return Ok(Some("FireWire"));
            }
            if part.starts_with("usb") {
                return Ok(None);
            }
            if place::is_pci(part)
                && self.word(&format!("{place}/removable"))?.as_deref() == Some("removable")
            {
                return Ok(Some("Thunderbolt or another external PCI Express port"));
            }
        }
        Ok(None)
    }

    /// What a disk is called by itself, and which unit of its device it is, where the name is the device's.
    fn names_of(&self, name: &str, hardware: &str, nsid: Option<u64>) -> io::Result<Names> {
        let base = format!("sys/block/{name}");
        let usb = hardware.contains("/usb");
        let is_bridged = usb || hardware.split('/').any(place::is_firewire);
        let mut wwn = None;
        for place in ["wwid", "device/wwid"] {
            if wwn.is_none() {
                // Judged with its blanks: they part its fields.
                let text = self.text(&format!("{base}/{place}"))?.unwrap_or_default();
                let text = text.trim_end_matches(['\n', '\0']);
                wwn = is_unique(text).then(|| tidy(text)).flatten();
            }
        }
        // Behind a bridge this is made of the bridge's own words.
        wwn = wwn.filter(|w| !(is_bridged && w.starts_with("t10.")));
        let mut serial = None;
        for place in ["serial", "device/serial"] {
            if serial.is_none() {
                serial = self.word(&format!("{base}/{place}"))?.filter(|s| is_unique(s));
            }
        }
        if serial.is_none() {
            let page = self
                .bytes(&format!("{base}/device/vpd_pg80"))?
                .unwrap_or_default();
            // SPC-4, unit serial number page: four bytes of header, then text.
            serial = page
                .get(4..)
                .and_then(|s| tidy(&String::from_utf8_lossy(s)))
                .filter(|s| is_unique(s));
        }
        if serial.is_none() && usb {
            serial = self.usb_serial(name)?;
        }
        let lun = hardware.rsplit('/').find_map(|part| {
            let [_, channel, target, lun] = part.split(':').collect::<Vec<_>>()[..] else {
                return None;
            };
            let all = [channel, target, lun];
            let numbers = all.iter().all(|n| n.bytes().all(|b| b.is_ascii_digit()));
            numbers.then(|| format!("lun {channel}:{target}:{lun}"))
        });
        let first = |lun: &String| lun.ends_with(":0");
        let unit = match (&wwn, &serial) {
            (None, None) => None,
            // The serial number is the bridge's: two bays have one.
            (None, Some(_)) if is_bridged => Some(lun.unwrap_or_else(|| "lun 0:0:0".into())),
            (Some(_), _) if is_bridged => lun.filter(|lun| !first(lun)),
            (Some(_), _) => None,
            (None, Some(_)) => match nsid {
                Some(nsid) => Some(format!("lun {nsid}")).filter(|_| nsid > 1),
                None => lun.filter(|lun| !first(lun)),
            },
        };
        Ok(Names { wwn, serial, unit })
    }

    /// The number of the block device that a link below the root leads to. In a tree of files, as tests make it, the name that
    /// the link ends in is looked up.
    pub(super) fn leads_to(&self, link: &str) -> io::Result<Option<Dev>> {
        if self.is_this_machine() {
            return device_number(&self.at(link));
        }
        let target = fs_err::read_link(self.at(link))?;
        let name = target
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        Ok(self
            .text(&format!("sys/block/{name}/dev"))?
            .as_deref()
            .and_then(parse_dev))
    }

    /// The serial number of the USB device that a disk hangs on: the first one found upwards.
    fn usb_serial(&self, name: &str) -> io::Result<Option<String>> {
        let Ok(full) = self.at(&format!("sys/block/{name}")).canonicalize_utf8() else {
            return Ok(None);
        };
        for place in full.ancestors().take(12) {
            if !place.as_str().contains("/usb") {
                break;
            }
            match fs_err::read_to_string(place.join("serial")) {
                Ok(text) => {
                    let vendor = fs_err::read_to_string(place.join("idVendor")).unwrap_or_default();
                    let vendor = vendor.trim().to_lowercase();
                    // Made of the vendor's own number, as JMicron's bridges do: every one has it.
                    let made = |s: &str| vendor.len() == 4 && s.to_lowercase().starts_with(&vendor);
                    return Ok(tidy(&text).filter(|s| is_unique(s) && !made(s)));
                }
                Err(e) if gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// The names of a device number, as whole disk and, if it is one, partition; from `blocks`.
    pub fn find(blocks: &[Block], dev: Dev) -> Option<(&Block, Option<&Partition>)> {
        blocks.iter().find_map(|block| {
            if block.dev == dev {
                return Some((block, None));
            }
            let partition = block.partitions.iter().find(|p| p.dev == dev)?;
            Some((block, Some(partition)))
        })
    }

    /// The same by kernel name.
    pub fn find_name<'a>(blocks: &'a [Block], name: &str) -> Option<(&'a Block, Option<&'a Partition>)> {
        blocks.iter().find_map(|block| {
            if block.name == name {
                return Some((block, None));
            }
            let partition = block.partitions.iter().find(|p| p.name == name)?;
            Some((block, Some(partition)))
        })
    }
}

/// The stable part of a hardware path: bus addresses, without numbers that are given out in order of discovery.
fn bus_address(hardware: &str) -> Option<String> {
    let counted = |part: &str| {
        [
            "virtio",
            "host",
            "ata",
            "target",
            "nvme",
            "mmc_host",
            "mmc",
            "port-",
            "end_device-",
            "expander-",
        ]
        .iter()
        .any(|prefix| {
            part.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    let parts: Vec<&str> = hardware
        .split('/')
        .filter(|part| {
            !part.is_empty() && !counted(part) && !["nvme", "virtual", "mmc_host", "block"].contains(part)
        })
        .map(|part| match part.split(':').collect::<Vec<_>>()[..] {
            // host:channel:target:lun: the host's number is given out in order of discovery.
            [host, .., _] if part.matches(':').count() == 3 => &part[host.len() + 1..],
            _ => part,
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn transport(name: &str, hardware: &str) -> &'static str {
    if hardware.contains("/usb") {
        "usb"
    } else if name.starts_with("nvme") {
        "nvme"
    } else if name.starts_with("mmcblk") {
        "mmc"
    } else if hardware.contains("/ata") {
        "sata"
    } else if hardware.contains("/virtio") && name.starts_with("vd") {
        "virtio"
    } else if hardware.starts_with("virtual") || hardware.is_empty() {
        "virtual"
    } else {
        "scsi"
    }
}

/// Whether a path is a link or node below `/dev` that leads to a block device; its number.
///
/// # Errors
/// The path cannot be looked at.
pub fn device_number(path: &Utf8Path) -> io::Result<Option<Dev>> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = fs_err::metadata(path)?;
    if !metadata.file_type().is_block_device() {
        return Ok(None);
    }
    let number = metadata.rdev();
    let part = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Some((
        part(nix::sys::stat::major(number)),
        part(nix::sys::stat::minor(number)),
    )))
}

#[cfg(test)]
#[path = "sysfs_tests.rs"]
pub(crate) mod tests;
