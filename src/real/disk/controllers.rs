//! Storage controllers whose disks are not visible: in a RAID mode of the firmware, or without a driver.
//!
//! They are looked for only if the machine itself has no disk. The answer names the controller and the setting to change.
//! landfall does not drive them.
//!
//! Sources: the PCI class codes, and Linux's `vmd` and `ahci` drivers.

use super::Sysfs;
use landfall_states::fault::{Fault, Kind, Remedy};
use std::io;

const INTEL: &str = "0x8086";
/// Volume Management Devices that Linux 6.12 knows.
const VMD: [&str; 10] = [
    "0x201d", "0x28c0", "0x467f", "0x4c3d", "0x7d0b", "0x9a0b", "0xa77f", "0xad0b", "0xb06f", "0xb60b",
];

/// One line for each controller of class *mass storage* that hides its disks.
///
/// # Errors
/// `/sys` cannot be read.
pub fn hidden(sysfs: &Sysfs) -> io::Result<Vec<String>> {
    let mut found = vec![];
    for address in sysfs.names("sys/bus/pci/devices")? {
        let base = format!("sys/bus/pci/devices/{address}");
        let word = |name: &str| -> io::Result<String> {
            let text = sysfs.text(&format!("{base}/{name}"))?;
            Ok(text.unwrap_or_default().trim().to_lowercase())
        };
        let class = word("class")?;
        let kind = match class.get(..6) {
            Some("0x0104") => "RAID",
            Some("0x0101") => "IDE",
            Some("0x0106") => "SATA",
            Some("0x0107") => "SAS",
            Some("0x0100") => "SCSI",
            Some("0x0108") => "NVMe",
            Some("0x0180") => "storage",
            _ => continue,
        };
        let (vendor, device) = (word("vendor")?, word("device")?);
        let driven = sysfs.at(&format!("{base}/driver")).exists();
        let ids = format!(
            "{}:{}",
            vendor.trim_start_matches("0x"),
            device.trim_start_matches("0x")
        );
        if vendor == INTEL && VMD.contains(&device.as_str()) {
            found.push(format!(
                "an Intel VMD controller at {address} ({ids}) hides the NVMe disks: switch VMD off in the firmware's setup"
            ));
        } else if vendor == INTEL && kind == "RAID" {
            found.push(format!(
                "an Intel RST controller at {address} ({ids}) is in RAID mode: set the SATA or storage mode to AHCI in the \
                 firmware's setup"
            ));
        } else if !driven {
            found.push(format!(
                "a {kind} controller at {address} ({ids}) has no driver: add its module to the installer \
                 (extraInitrdKernelModules)"
            ));
        }
    }
    Ok(found)
}

/// The same fault, with the controllers beside it.
pub fn explain(fault: Fault, hidden: &[String]) -> Fault {
    match &*fault.kind {
        Kind::NoChoice { reason, disks } => Fault::of(
            Kind::NoChoice {
                reason: format!("{reason}, and no internal disk is visible"),
                disks: disks.iter().cloned().chain(hidden.iter().cloned()).collect(),
            },
            Remedy::change_and_install(hidden.join("; ")),
        ),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::sysfs::tests::Tree;
    use super::*;

    /// lspci -nn of a Dell XPS 13 9310, an HP of 2017, and an AHCI controller that has its driver.
    #[test]
    fn controllers_that_hide_disks_are_named_with_what_to_set() {
        let tree = Tree::new();
        for (address, class, vendor, device) in [
            ("0000:00:0e.0", "0x010400", "0x8086", "0x9a0b"),
            ("0000:00:17.0", "0x010400", "0x8086", "0x282a"),
            ("0000:00:1f.2", "0x010601", "0x8086", "0x2922"),
            ("0000:01:00.0", "0x010700", "0x1000", "0x0072"),
            ("0000:00:02.0", "0x030000", "0x8086", "0x9a49"),
        ] {
            let base = format!("sys/bus/pci/devices/{address}");
            tree.put(&format!("{base}/class"), &format!("{class}\n"));
            tree.put(&format!("{base}/vendor"), &format!("{vendor}\n"));
            tree.put(&format!("{base}/device"), &format!("{device}\n"));
        }
        tree.put("sys/bus/pci/devices/0000:00:1f.2/driver/bind", "");
        let found = hidden(&tree.sysfs()).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("VMD")
                && found[0].contains("0000:00:0e.0")
                && found[0].contains("switch VMD off")
        );
        assert!(found[1].contains("RST") && found[1].contains("AHCI"));
        assert!(found[2].contains("1000:0072") && found[2].contains("no driver"));
        let none = Kind::NoChoice {
            reason: "no disk is suitable for an install".into(),
            disks: vec![],
        };
        let fault = explain(Fault::of(none, Remedy::words("x")), &found);
        assert!(fault.next().contains("switch VMD off"), "{}", fault.next());
        assert!(!fault.next().contains("INSTALL_DISK"));
    }
}
