//! Where a disk sits: its bus address, from sysfs alone.
//!
//! The text is the one that udev's `path_id` of systemd 257 makes, so it is the name of the link in `/dev/disk/by-path` if
//! there is one. It has no numbers that are given in the order of discovery. Unknown parts of an address are kept unchanged,
//! so that two disks never get the same address. If udev gives one address to several disks (drivers that number all links of
//! an expander alike), they have one here too, and the address is then no name for any of them.
//!
//! `sysfs` has the names that a disk gives itself.

use super::attributes::Sysfs;
use std::io;

/// The address of the device at `hardware`, its place from the root of all devices, e.g.
/// `pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0`.
///
/// # Errors
/// `/sys` cannot be read.
#[expect(
    clippy::indexing_slicing,
    reason = "`at` counts the parts that were read: it is at least 1, and at most their number"
)]
pub fn address(sysfs: &Sysfs, hardware: &str, namespace: Option<u64>) -> io::Result<Option<String>> {
    let parts: Vec<&str> = hardware.split('/').filter(|part| !part.is_empty()).collect();
    if parts.first().is_none_or(|root| *root == "virtual") {
        return Ok(None);
    }
    let mut address = Address::default();
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        at += 1;
        let end = at;
        let here = || format!("sys/devices/{}", parts[..end].join("/"));
        if is_skipped(part) || is_firewire(part) {
            continue;
        }
        if is_pci(part) {
            // Of those that hang on each other the nearest to the disk counts. Behind another root (a platform's bridge, a
            // Volume Management Device) they are counted again, so both stand there.
            if at >= 2 && is_pci(parts[at - 2]) {
                address.bus.pop();
            }
            address.bus.push(format!("pci-{part}"));
        } else if let Some(number) = part.strip_prefix("ata").filter(|n| is_number(n)) {
            let port = sysfs.text(&format!("{}/ata_port/{part}/port_no", here()))?;
            let port = port.map_or(number.to_owned(), |port| port.trim().to_owned());
            address.ata = Some(port);
        } else if let Some(rest) = usb(part) {
            address.tail = vec![format!("usb-0:{rest}")];
        } else if part.starts_with("end_device-") {
            address.remote = Some(sas(sysfs, &parts[..at])?);
        } else if part.starts_with("rport-") {
            let port = sysfs.text(&format!("{}/fc_remote_ports/{part}/port_name", here()))?;
            let port = match port {
                Some(port) => Some(port),
                None => sysfs.text(&format!("sys/class/fc_remote_ports/{part}/port_name"))?,
            };
            address.remote = Some(format!("fc-{}", port.as_deref().map_or(*part, str::trim)));
        } else if let Some(number) = part.strip_prefix("session").filter(|n| is_number(n)) {
            address.remote = Some(iscsi(sysfs, &here(), number)?);
        } else if is_guid(part) {
            address.remote = Some(format!("vmbus-{}", part.replace('-', "")));
        } else if let Some(number) = part.strip_prefix("host").filter(|n| is_number(n)) {
            address.host = relative(sysfs, &parts[..at - 1], number)?;
        } else if let [_, channel, target, lun] = part.split(':').collect::<Vec<_>>()[..]
            && part.split(':').all(is_number)
        {
            // On FireWire: the number that its device was made with, and its unit.
            match sysfs.text(&format!("{}/ieee1394_id", here()))? {
                Some(id) => address.tail.push(format!("ieee1394-0x{}", id.trim())),
                None => address.unit(&Unit { channel, target, lun }),
            }
        } else if part.starts_with("vbd-") {
            address.tail.push(format!("xen-{part}"));
        } else if *part == "nvme" {
            address.tail.push(format!("nvme-{}", namespace.unwrap_or(1)));
            break;
        } else if *part == "mmc_host" {
            break;
        } else if let Some(card) = ccw(part) {
            address.bus = vec![card];
        } else if parts[0] == "platform" {
            address.bus = vec![format!("platform-{part}")];
        } else if parts[0].starts_with("LNX") && is_acpi(part) {
            address.bus = vec![format!("acpi-{part}")];
        } else {
            address.tail.push((*part).to_owned());
        }
    }
    Ok(address.text())
}

#[derive(Default)]
struct Address {
    bus: Vec<String>,
    ata: Option<String>,
    remote: Option<String>,
    host: u64,
    tail: Vec<String>,
}

struct Unit<'a> {
    channel: &'a str,
    target: &'a str,
    lun: &'a str,
}

impl Address {
    /// The last part of a SCSI address, by the kind of transport.
    fn unit(&mut self, unit: &Unit<'_>) {
        let Unit { channel, target, lun } = unit;
        let text = match (&self.ata, &self.remote) {
            (Some(port), _) if *channel == "0" => format!("ata-{port}.{target}"),
            // Behind a port multiplier.
            (Some(port), _) => format!("ata-{port}.{channel}.0"),
            (None, Some(remote)) => format!("{remote}-{}", lun_text(lun)),
            (None, None) => format!("scsi-{}:{channel}:{target}:{lun}", self.host),
        };
        self.tail.push(text);
    }

    fn text(self) -> Option<String> {
        let all: Vec<String> = self.bus.into_iter().chain(self.tail).collect();
        (!all.is_empty()).then(|| all.join("-"))
    }
}

/// The number of a unit. Those of the first kind of addressing are shown as they are, the others as SCSI writes them.
fn lun_text(lun: &str) -> String {
    match lun.parse::<u64>() {
        Ok(number) if number > 255 => {
            format!(
                "lun-0x{:04x}{:04x}00000000",
                number & 0xFFFF,
                number >> 16 & 0xFFFF
            )
        }
        Ok(_) | Err(_) => format!("lun-{lun}"),
    }
}

/// The end of a SAS link, whose place is the last of `parts`: the phy that leads to it where there is one, behind which
/// expander; else its own address, as wide ports and controllers without phys have it.
#[expect(
    clippy::indexing_slicing,
    reason = "`length` is at most that of `parts`, which are two at least"
)]
fn sas(sysfs: &Sysfs, parts: &[&str]) -> io::Result<String> {
    let [.., port, end] = parts else {
        return Ok(String::new());
    };
    let folder = |length: usize| format!("sys/devices/{}", parts[..length].join("/"));
    let word = |path: String| -> io::Result<Option<String>> {
        Ok(sysfs.text(&path)?.map(|text| text.trim().to_owned()))
    };
    let device = format!("{}/sas_device/{end}", folder(parts.len()));
    let phys = word(format!("{}/sas_port/{port}/num_phys", folder(parts.len() - 1)))?;
    if phys.as_deref() == Some("1")
        && let Some(phy) = word(format!("{device}/phy_identifier"))?
    {
        let above = parts.len() - 2;
        let expander = match parts[..above].last() {
            Some(name) => word(format!("{}/sas_device/{name}/sas_address", folder(above)))?,
            None => None,
        };
        return Ok(match expander {
            Some(expander) => format!("sas-exp{expander}-phy{phy}"),
            None => format!("sas-phy{phy}"),
        });
    }
    let own = word(format!("{device}/sas_address"))?;
    Ok(format!("sas-{}", own.as_deref().unwrap_or(end)))
}

/// A target of iSCSI and the portal that it was found at.
fn iscsi(sysfs: &Sysfs, here: &str, session: &str) -> io::Result<String> {
    let word = |path: String| -> io::Result<Option<String>> {
        Ok(sysfs.text(&path)?.map(|text| text.trim().to_owned()))
    };
    let target = word(format!("{here}/iscsi_session/session{session}/targetname"))?;
    let connection = format!("connection{session}:0");
    let of_portal = |key: &str| word(format!("{here}/{connection}/iscsi_connection/{connection}/{key}"));
    let portal = (of_portal("persistent_address")?, of_portal("persistent_port")?);
    let target = target.unwrap_or_else(|| format!("session{session}"));
    Ok(match portal {
        (Some(address), Some(port)) => format!("ip-{address}:{port}-iscsi-{target}"),
        (_, _) => format!("iscsi-{target}"),
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Parts that say nothing, or that are counted.
fn is_skipped(part: &str) -> bool {
    let counted = |prefix: &str| {
        part.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    ["pci", "virtio", "usb", "target", "port-", "phy-", "expander-", "css"]
        .iter()
        .any(|prefix| counted(prefix))
        || ["platform", "block", "soc", "scsi_host"].contains(&part)
        || part.starts_with("LNX")
        // A hub or a device, before its interface.
        || (part.contains('-') && !part.contains(':') && part.starts_with(|c: char| c.is_ascii_digit()) && usb_port(part))
}

fn usb_port(part: &str) -> bool {
    part.split_once('-')
        .is_some_and(|(bus, port)| is_number(bus) && port.split('.').all(is_number))
}

/// `1-2.1:1.0`: the interface of a USB device, without the number of its bus.
fn usb(part: &str) -> Option<&str> {
    let (bus, rest) = part.split_once('-')?;
    let (port, interface) = rest.split_once(':')?;
    (is_number(bus) && port.split('.').all(is_number) && interface.split('.').all(is_number)).then_some(rest)
}

/// `0000:00:1f.2`; domains of more than four digits occur behind VMD.
pub(super) fn is_pci(part: &str) -> bool {
    let mut fields = part.split([':', '.']);
    let hex = |text: Option<&str>, length: std::ops::RangeInclusive<usize>| {
        text.is_some_and(|t| length.contains(&t.len()) && t.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    part.matches(':').count() == 2
        && part.contains('.')
        && hex(fields.next(), 4..=8)
        && hex(fields.next(), 2..=2)
        && hex(fields.next(), 2..=2)
        && hex(fields.next(), 1..=2)
        && fields.next().is_none()
}

/// `fw1`, `fw1.0`: a device on FireWire, and its unit.
pub(super) fn is_firewire(part: &str) -> bool {
    part.strip_prefix("fw").is_some_and(|numbers| {
        numbers
            .split('.')
            .all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// A channel's device on s390: `0.0.1234`.
fn ccw(part: &str) -> Option<String> {
    let fields: Vec<&str> = part.split('.').collect();
    let is = matches!(fields[..], [_, _, number] if number.len() == 4)
        && fields.iter().all(|f| f.bytes().all(|b| b.is_ascii_hexdigit()));
    is.then(|| format!("ccw-{part}"))
}

/// `VMBUS:00`, `device:08`.
fn is_acpi(part: &str) -> bool {
    part.split_once(':').is_some_and(|(name, number)| {
        name.bytes().all(|b| b.is_ascii_alphanumeric())
            && number.len() == 2
            && number.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_guid(part: &str) -> bool {
    uuid::Uuid::try_parse(part).is_ok() && part.len() == 36
}

/// The number of a host adapter among those of the same parent: the kernel counts all of the machine.
fn relative(sysfs: &Sysfs, parent: &[&str], number: &str) -> io::Result<u64> {
    let own: u64 = number.parse().unwrap_or(0);
    let others = sysfs.names(&format!("sys/devices/{}", parent.join("/")))?;
    let lowest = others
        .iter()
        .filter_map(|name| name.strip_prefix("host")?.parse::<u64>().ok())
        .min();
    Ok(own.saturating_sub(lowest.unwrap_or(own)))
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
