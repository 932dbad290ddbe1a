//! The disk that somebody describes to `landfall plan`, and the identity that an install on it would have.
//!
//! What `landfall disks` prints of a disk gives its identity: serial number, WWN, unit, size, and the name to use where that is an address
//! with what is in it. What no disk can have is refused.
//!
//! `plan` shows what would be written. `real::disk::sysfs` and `real::disk::named` have the rules for a disk that is there.

use super::{not_an_option, numbers};
use clap::Args;
use landfall_states::disk_name;
use landfall_states::names::{Size, quoted};
use landfall_states::plan::DiskIdentity;

/// Options that describe a disk.
#[derive(Debug, Clone, Args)]
#[command(group(clap::ArgGroup::new("described").multiple(true).args(["disk_image", "disk_size", "disk_address"])))]
pub struct DescribedDisk {
    /// Size of a disk that you describe, in bytes or with a unit (64G)
    #[arg(long, value_name = "SIZE", value_parser = disk_size)]
    pub disk_size: Option<u64>,
    /// Serial number of that disk
    #[arg(long, value_name = "SERIAL", requires = "described", allow_hyphen_values = true, value_parser = disk_serial)]
    pub disk_serial: Option<String>,
    /// World Wide Name (WWN) of that disk, as in lsblk, `landfall disks`, or a link in /dev/disk/by-id
    #[arg(long, value_name = "WWN", requires = "described", value_parser = disk_wwn)]
    pub disk_wwn: Option<String>,
    /// Unit of that disk, where `landfall disks` prints one: 0:0:1, or 2
    #[arg(long, value_name = "UNIT", requires = "described", value_parser = disk_unit)]
    pub disk_unit: Option<String>,
    /// Bus address of that disk, or the name that `landfall disks` prints (ADDRESS=SERIAL,BYTES). A disk with a serial number or a WWN
    /// is known by that, and by its unit, which the address of a USB disk has
    #[arg(long, value_name = "ADDRESS", value_parser = disk_address)]
    pub disk_address: Option<DiskAddress>,
    /// Logical sector size of that disk in bytes: 512 or 4096
    #[arg(long, value_name = "BYTES", requires = "described", default_value_t = 512, value_parser = numbers::sector_bytes)]
    pub sector_bytes: u32,
}

/// Where a disk sits, and what of it stands behind the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskAddress {
    address: String,
    inside: Option<String>,
}

impl DescribedDisk {
    /// Whether a disk is described.
    pub fn is_given(&self) -> bool {
        self.disk_size.is_some() || self.disk_address.is_some()
    }

    /// The identity of the disk; `measured`: its size, where there is an image of it.
    ///
    /// # Errors
    /// What does not fit together, or is missing, and what to do.
    pub fn identity(&self, measured: Option<u64>) -> Result<DiskIdentity, String> {
        let size_bytes = measured.or(self.disk_size);
        let inside = match &self.disk_address {
            Some(DiskAddress {
                inside: Some(inside), ..
            }) => Some(Inside::of(inside, size_bytes)?),
            Some(_) | None => None,
        };
        let size_bytes = match (size_bytes, inside.as_ref().and_then(|inside| inside.size_bytes)) {
            (Some(size), Some(told)) if size != told => {
                return Err(format!(
                    "--disk-address: the disk in this name has {told} bytes, and the one that is described has {size}\n    next: give the name and the size that landfall disks prints for one disk"
                ));
            }
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => {
                return Err(
                    "--disk-address: the size of the disk is missing\n    next: add --disk-size, with the number of bytes that landfall disks prints".to_owned(),
                );
            }
        };
        let (in_serial, in_wwn) = match inside.and_then(|inside| inside.number) {
            Some(number) if is_written_as_wwn(&number) => (None, Some(number)),
            Some(number) => (Some(number), None),
            None => (None, None),
        };
        let serial = one_of("--disk-serial", self.disk_serial.as_ref(), in_serial)?;
        let wwn = one_of("--disk-wwn", self.disk_wwn.as_ref(), in_wwn)?;
        let address = self.disk_address.as_ref().map(|at| at.address.clone());
        let path = if wwn.is_none() && serial.is_none() {
            if self.disk_unit.is_some() {
                return Err("--disk-unit: a unit belongs to a serial number or a WWN\n    next: add --disk-serial or --disk-wwn, as landfall disks prints them".to_owned());
            }
            address
        } else if self.disk_unit.is_some() {
            self.disk_unit.clone()
        } else {
            match &address {
                Some(address) => unit_of(address, wwn.is_some())?,
                None => None,
            }
        };
        Ok(DiskIdentity {
            wwn,
            serial,
            path,
            size_bytes,
            sector_bytes: self.sector_bytes,
        })
    }
}

/// One number, that is given by an option, in the name, or alike in both.
fn one_of(option: &str, given: Option<&String>, inside: Option<String>) -> Result<Option<String>, String> {
    match (given, inside) {
        (Some(given), Some(inside)) if *given != inside => Err(format!(
            "{option} {}: the name in --disk-address has {}\n    next: give what landfall disks prints for one disk",
            quoted(given),
            quoted(&inside)
        )),
        (Some(given), _) => Ok(Some(given.clone())),
        (None, inside) => Ok(inside),
    }
}

/// What stands behind an address: what sits there.
struct Inside {
    number: Option<String>,
    size_bytes: Option<u64>,
}

impl Inside {
    /// `SERIAL,BYTES`, `SERIAL` or `BYTES`. Digits alone are the size where they are that, and else nobody knows.
    fn of(text: &str, size_bytes: Option<u64>) -> Result<Inside, String> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let of_both = text.rsplit_once(',').filter(|(_, bytes)| is_number(bytes));
        if let Some((number, bytes)) = of_both {
            let bytes = bytes.parse().map_err(|_| {
                "--disk-address: the size in this name is more than a disk has\n    next: give the name that landfall disks prints".to_owned()
            })?;
            return Ok(Inside {
                number: Some(number.to_owned()),
                size_bytes: Some(bytes),
            });
        }
        if !is_number(text) {
            return Ok(Inside {
                number: Some(text.to_owned()),
                size_bytes: None,
            });
        }
        match size_bytes {
            None => Err(format!(
                "--disk-address: {text} may be the size of the disk or its serial number\n    next: add --disk-size, with the number of bytes that landfall disks prints"
            )),
            Some(size) if text.parse() == Ok(size) => Ok(Inside {
                number: None,
                size_bytes: Some(size),
            }),
            Some(size) => Err(format!(
                "--disk-address: {text} is not the size of the disk that is described, which has {size} bytes\n    next: give the size that landfall disks prints; if {text} is the serial number, give that with --disk-serial instead of --disk-address"
            )),
        }
    }
}

fn is_written_as_wwn(number: &str) -> bool {
    ["naa.", "eui.", "nvme.", "t10."]
        .iter()
        .any(|kind| number.starts_with(kind))
}

/// The unit that the identity of a disk at this address has beside its number.
fn unit_of(address: &str, has_wwn: bool) -> Result<Option<String>, String> {
    let parts: Vec<&str> = address.split('-').collect();
    let behind = |kind: &str| {
        let at = parts.iter().rposition(|part| *part == kind)?;
        parts.get(at + 1).copied()
    };
    let scsi = behind("scsi")
        .and_then(|unit| unit.split_once(':'))
        .map(|(_, unit)| unit.to_owned());
    // GUID, directory and unit, as the kernel's `ieee1394_id` has them.
    let fire_wire = behind("ieee1394").map(|id| {
        let unit = id.rsplit(':').next().unwrap_or_default();
        format!("0:0:{}", u64::from_str_radix(unit, 16).unwrap_or_default())
    });
    let is_bridged = behind("usb").is_some() || fire_wire.is_some();
    let unit = scsi.or(fire_wire).map(|unit| format!("lun {unit}"));
    let later = |unit: &String| !unit.ends_with(":0");
    if is_bridged && !has_wwn {
        return Ok(Some(unit.unwrap_or_else(|| "lun 0:0:0".to_owned())));
    }
    if is_bridged {
        return Ok(unit.filter(later));
    }
    if has_wwn {
        return Ok(None);
    }
    if behind("lun").is_some_and(|lun| lun != "0") {
        return Err("--disk-address: it does not say the whole unit of this disk\n    next: add --disk-unit, as landfall disks prints it".to_owned());
    }
    let namespace = behind("nvme").and_then(|number| number.parse::<u64>().ok());
    Ok(match namespace {
        Some(number) => Some(format!("lun {number}")).filter(|_| number > 1),
        None => unit.filter(later),
    })
}

/// A unit, as it is printed or without its first word.
fn disk_unit(text: &str) -> Result<String, String> {
    let bare = text.trim();
    let bare = bare.strip_prefix("lun ").unwrap_or(bare);
    let numbers: Vec<&str> = bare.split(':').collect();
    let are_numbers = numbers
        .iter()
        .all(|number| number.len() <= 20 && number.parse::<u64>().is_ok_and(|n| n.to_string() == **number));
    if are_numbers && matches!(numbers.len(), 1 | 3) {
        return Ok(format!("lun {bare}"));
    }
    Err("this is not a unit, such as 0:0:1 (channel, target and number) or 2 (a namespace); landfall disks prints it".to_owned())
}

/// How addresses begin that are the identity of a disk, and no name to use.
const MORE_HEADS: [&str; 3] = ["iscsi-", "vio-", "vmbus-"];

/// A bus address that an install would know a disk by, or the name of what sits there.
fn disk_address(text: &str) -> Result<DiskAddress, String> {
    const EXAMPLE: &str =
        "give one such as pci-0000:00:05.0 or platform-fe330000.mmc (landfall disks prints it)";
    let text = text.strip_prefix("/dev/disk/by-path/").unwrap_or(text);
    let (address, inside) = match text.split_once('=') {
        Some((address, inside)) => (address, Some(inside)),
        None => (text, None),
    };
    let has_head = MORE_HEADS.iter().any(|head| address.starts_with(head));
    if !disk_name::is_bus_address(address) && !has_head {
        return Err(format!("this is not a bus address: {EXAMPLE}"));
    }
    if let Some(why) = disk_name::never_agrees(address) {
        return Err(format!("{why}: {EXAMPLE}"));
    }
    if let Some(why) = why_no_address(address) {
        return Err(format!("no disk has this bus address: {why}; {EXAMPLE}"));
    }
    if let Some(inside) = inside {
        let number = inside.rsplit_once(',').map_or(inside, |(number, _)| number);
        let is_size = inside.bytes().all(|b| b.is_ascii_digit());
        if inside.is_empty()
            || !is_size && !disk_name::is_unique(number)
            || inside.chars().any(char::is_control)
        {
            return Err("the text after the = is neither a serial number of one disk nor a size in bytes: give the whole name that landfall disks prints (ADDRESS=SERIAL, ADDRESS=SERIAL,BYTES or ADDRESS=BYTES)".to_owned());
        }
    }
    Ok(DiskAddress {
        address: address.to_owned(),
        inside: inside.map(str::to_owned),
    })
}

/// What of an address none has that landfall makes of the kernel's (`real::disk::place`).
fn why_no_address(address: &str) -> Option<&'static str> {
    let is_sign = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b',' | b'"' | b'\'' | b'\\');
    if !address.bytes().all(is_sign) {
        return Some("it has a character that none has");
    }
    let parts: Vec<&str> = address.split('-').collect();
    let is_last_empty = parts.last().is_none_or(|part| part.is_empty());
    if is_last_empty || parts.get(1).is_none_or(|part| part.is_empty()) {
        return Some("a part of it is missing");
    }
    let mut pairs = parts.iter().zip(parts.iter().skip(1));
    let is_wrong = |kind: &str, value: &str| match kind {
        "pci" => !is_pci(value),
        "ccw" => value.split('.').count() != 3 || !value.split('.').all(is_hex),
        "acpi" => !value.contains(':'),
        // The names of links: of older udev, and of one kind of USB port.
        "virtio" => value == "pci",
        "ata" => !value.split('.').all(is_number) || !value.contains('.'),
        "usb" => !value.starts_with("0:"),
        "scsi" => value.split(':').count() != 4 || !value.split(':').all(is_number),
        "usbv2" | "usbv3" => true,
        _ => false,
    };
    pairs
        .any(|(kind, value)| is_wrong(kind, value))
        .then_some("a part of it has another form than the kernel's")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `0000:00:1f.2`, in small letters as the kernel writes it.
fn is_pci(text: &str) -> bool {
    let fields: Vec<&str> = text.split([':', '.']).collect();
    let widths: Vec<usize> = fields.iter().map(|field| field.len()).collect();
    text.matches(':').count() == 2
        && text.rfind('.') > text.rfind(':')
        && matches!(widths.as_slice(), [4..=8, 2, 2, 1..=2])
        && fields.iter().all(|field| is_hex(field))
}

/// A serial number that an install would know a disk by: without the blanks around it, which the kernel's files have and names have not.
fn disk_serial(text: &str) -> Result<String, String> {
    let text = text.trim();
    not_an_option(text)?;
    if text.chars().any(char::is_control) {
        return Err("a serial number has no control characters".to_owned());
    }
    is_name(text).map(|()| text.to_owned())
}

/// A WWN as an install has it from the kernel, whatever prints it: lsblk writes 0x… for naa.…, links are called wwn-0x… and nvme-eui.….
fn disk_wwn(text: &str) -> Result<String, String> {
    let small = text.trim().to_lowercase();
    let bare = ["wwn-", "nvme-", "scsi-3"]
        .iter()
        .find_map(|link| small.strip_prefix(link))
        .unwrap_or(&small);
    let digits = bare.strip_prefix("0x").unwrap_or(bare);
    let is_number = matches!(digits.len(), 16 | 32) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    // A model is a part of these, in the case that it has.
    let has_text = ["nvme.", "t10."].iter().any(|kind| bare.starts_with(kind));
    let whole = if has_text {
        let own = text.trim();
        own.get(small.len() - bare.len()..).unwrap_or(own).to_owned()
    } else if is_number {
        // Links and lsblk write EUI-64 in the same way; what can be no NAA is one.
        let (naa, eui) = (format!("naa.{digits}"), format!("eui.{digits}"));
        if !disk_name::is_unique(&naa) && disk_name::is_unique(&eui) {
            eui
        } else {
            naa
        }
    } else {
        bare.to_owned()
    };
    is_name(&whole).map(|()| whole)
}

/// Longest number of a disk: a page of SCSI has 252 bytes for it.
const NAME_CHARS_MAX: usize = 252;

fn is_name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty: give the number of the disk (landfall disks prints it)".to_owned());
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!(
            "it has more than {NAME_CHARS_MAX} characters, as no disk has: give the number that landfall disks prints"
        ));
    }
    if disk_name::is_unique(text) {
        return Ok(());
    }
    Err("this number is not unique to one disk; an install identifies such a disk by its bus address: give that with --disk-address (landfall disks prints it)".to_owned())
}

/// `64G` or a number of bytes.
fn disk_size(text: &str) -> Result<u64, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return text
            .parse()
            .map_err(|_| "give a number of bytes below 2^64, or a size such as 64G".to_owned());
    }
    text.parse::<Size>()
        .map(Size::bytes)
        .map_err(|bad| bad.to_string())
}
