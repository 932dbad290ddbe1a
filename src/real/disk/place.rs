//! Where a disk sits: its bus address, from sysfs alone. Law: the text is the one that udev's `path_id` of systemd 257 makes, so
//! that it is the name of the link in `/dev/disk/by-path` where there is one; numbers that are given out in the order of
//! discovery are not in it; what is not known of a bus is kept as it stands, so that two disks never have one address.
//!
//! Absent: names that a disk has of itself (`sysfs`).

use super::Sysfs;
use std::io;

/// The address of the device at `hardware`, its place from the root of all devices, e.g.
/// `pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0`.
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
        if is_skipped(part) {
            continue;
        }
        if is_pci(part) {
            // The nearest to the disk counts, behind the bridge that it hangs on where that is no PCI device.
            address.bus.retain(|bus| !bus.starts_with("pci-"));
            address.bus.push(format!("pci-{part}"));
        } else if let Some(number) = part.strip_prefix("ata").filter(|n| is_number(n)) {
            let port = sysfs.text(&format!("{}/ata_port/{part}/port_no", here()))?;
            let port = port.map_or(number.to_owned(), |port| port.trim().to_owned());
            address.ata = Some(port);
        } else if let Some(rest) = usb(part) {
            address.tail = vec![format!("usb-0:{rest}")];
        } else if part.starts_with("end_device-") {
            let sas = sysfs.text(&format!("{}/sas_device/{part}/sas_address", here()))?;
            address.remote = Some(format!("sas-{}", sas.as_deref().map_or(*part, str::trim)));
        } else if part.starts_with("rport-") {
            let port = sysfs.text(&format!("{}/fc_remote_ports/{part}/port_name", here()))?;
            let port = match port {
                Some(port) => Some(port),
                None => sysfs.text(&format!("sys/class/fc_remote_ports/{part}/port_name"))?,
            };
            address.remote = Some(format!("fc-{}", port.as_deref().map_or(*part, str::trim)));
        } else if part.strip_prefix("session").is_some_and(is_number) {
            let name = sysfs.text(&format!("{}/iscsi_session/{part}/targetname", here()))?;
            address.bus = vec![];
            address.remote = Some(format!("iscsi-{}", name.as_deref().map_or(*part, str::trim)));
        } else if is_guid(part) {
            address.remote = Some(format!("vmbus-{part}"));
        } else if let Some(number) = part.strip_prefix("host").filter(|n| is_number(n)) {
            address.host = relative(sysfs, &parts[..at - 1], number)?;
        } else if let [_, channel, target, lun] = part.split(':').collect::<Vec<_>>()[..]
            && part.split(':').all(is_number)
        {
            let unit = Unit { channel, target, lun };
            address.unit(&unit);
        } else if part.starts_with("vbd-") {
            address.tail.push(format!("xen-{part}"));
        } else if *part == "nvme" {
            address.tail.push(format!("nvme-{}", namespace.unwrap_or(1)));
            break;
        } else if *part == "mmc_host" {
            break;
        } else if let Some(card) = ccw(part) {
            address.bus = vec![card];
        } else if parts.first() == Some(&"platform") || part.ends_with(":00") && parts[0].starts_with("LNX") {
            let kind = if parts[0] == "platform" {
                "platform"
            } else {
                "acpi"
            };
            address.bus = vec![format!("{kind}-{part}")];
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
            (Some(port), _) => format!("ata-{port}.{target}"),
            (None, Some(remote)) => format!("{remote}-lun-{lun}"),
            (None, None) => format!("scsi-{}:{channel}:{target}:{lun}", self.host),
        };
        self.tail.push(text);
    }

    fn text(self) -> Option<String> {
        let all: Vec<String> = self.bus.into_iter().chain(self.tail).collect();
        (!all.is_empty()).then(|| all.join("-"))
    }
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
    ["pci", "virtio", "usb", "target", "port-", "expander-", "css"]
        .iter()
        .any(|prefix| counted(prefix))
        || ["platform", "block", "soc"].contains(&part)
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
fn is_pci(part: &str) -> bool {
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

/// A channel's device on s390: `0.0.1234`.
fn ccw(part: &str) -> Option<String> {
    let fields: Vec<&str> = part.split('.').collect();
    let is = fields.len() == 3
        && fields.iter().all(|f| f.bytes().all(|b| b.is_ascii_hexdigit()))
        && fields[2].len() == 4;
    is.then(|| format!("ccw-{part}"))
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
