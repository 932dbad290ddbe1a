//! Objections to a disk because of its kind.
//!
//! A disk that others may be using, or that does not stay in the machine, is not chosen without a question.
//!
//! `scan` says what is on a disk, and `usage` who uses it.

use super::sysfs::Block;

/// Models of disks that a cloud lends for as long as a machine runs: Amazon's, Google's by SCSI and by NVMe, Azure's.
const TEMPORARY: [&str; 5] = [
    "Amazon EC2 NVMe Instance Storage",
    "EphemeralDisk",
    "nvme_card",
    "Microsoft NVMe Direct Disk",
    "Microsoft NVMe Direct Disk v2",
];

/// Why it is not a target, one line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Objections {
    /// Nor when it is named.
    pub never: Vec<String>,
    /// Only when nobody named it.
    pub unless_named: Vec<String>,
}

/// What speaks against a disk of this kind.
pub fn objections(block: &Block) -> Objections {
    let mut found = Objections::default();
    let mut unless_named = |why: String| found.unless_named.push(why);
    if block.transport == "usb" && !block.removable {
        unless_named("it is attached over USB".into());
    }
    if let Some(port) = block.port {
        unless_named(format!("it is attached over {port}"));
    }
    if let Some(network) = block.network {
        unless_named(format!(
            "it is on a network ({network}): another machine may be using it"
        ));
    }
    if let Some(model) = block.model.as_deref().filter(|m| TEMPORARY.contains(m)) {
        unless_named(format!(
            "its model ({model}) is a cloud's temporary disk, which is lost with the machine"
        ));
    }
    if block.transport == "sd" {
        unless_named("it is an SD card".into());
    }
    if block.name.starts_with("dasd") {
        found.never.push("it is a DASD, which cannot hold a GPT".into());
    }
    found
}

/// What kind of thing a kernel name belongs to, when it is no disk.
pub fn no_disk(block: &Block) -> Option<&'static str> {
    let name = block.name.as_str();
    let is = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    if is("mmcblk") && (name.contains("boot") || name.contains("rpmb") || name.contains("gp")) {
        Some("an eMMC boot partition")
    } else if is("loop") {
        Some("a loop device")
    } else if is("zram") || is("ram") || is("pmem") {
        Some("memory")
    } else if is("dm-") {
        Some("a device-mapper device")
    } else if is("md") || name.starts_with("md_") {
        Some("a RAID device")
    } else if is("sr") || is("scd") {
        Some("an optical drive")
    } else if is("fd") {
        Some("a floppy drive")
    } else if is("mtdblock") || is("bcache") || is("zd") || is("drbd") || is("nbd") || is("rbd") {
        Some("not a disk of its own")
    } else if block.hidden {
        Some("a path of a multipath device")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::sysfs::tests::Tree;
    use super::*;

    fn of(name: &str, hardware: &str, attributes: &[(&str, &str)]) -> Objections {
        let tree = Tree::new();
        tree.disk_at(name, "8:0", 16_384, hardware);
        for (attribute, text) in attributes {
            tree.put_at(name, attribute, text);
        }
        objections(&tree.sysfs().block(name).unwrap().unwrap())
    }

    #[test]
    fn a_disk_of_the_network_is_not_picked_unasked() {
        for (name, hardware, network) in [
            (
                "sda",
                "pci0000:00/0000:05:00.0/host1/rport-1:0-2/target1:0:0/1:0:0:7",
                "Fibre Channel",
            ),
            ("sda", "platform/host3/session1/target3:0:0/3:0:0:1", "iSCSI"),
            (
                "nvme0n1",
                "virtual/nvme-fabrics/ctl/nvme0/nvme0n1",
                "NVMe over Fabrics",
            ),
        ] {
            let found = of(name, hardware, &[]);
            let wanted = format!("it is on a network ({network}): another machine may be using it");
            assert_eq!(found.unless_named, [wanted], "{hardware}");
            assert!(found.never.is_empty());
        }
        for (name, hardware) in [
            ("sda", "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0"),
            (
                "nvme0n1",
                "pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n1",
            ),
        ] {
            assert_eq!(of(name, hardware, &[]), Objections::default(), "{hardware}");
        }
    }

    #[test]
    fn a_disk_outside_the_machine_is_not_picked_unasked() {
        let over = |why: &str| vec![format!("it is attached over {why}")];
        let firewire = "pci0000:00/0000:00:1e.0/0000:05:01.0/fw1/fw1.0/host6/target6:0:0/6:0:0:0";
        assert_eq!(of("sda", firewire, &[]).unless_named, over("FireWire"));
        let bridges = "pci0000:00/0000:00:01.2/0000:20:00.0/0000:21:08.0/0000:2a:00.0";
        let with = |removable: Option<&str>| {
            let tree = Tree::new();
            tree.disk_at(
                "nvme0n1",
                "259:0",
                16_384,
                &format!("{bridges}/nvme/nvme0/nvme0n1"),
            );
            if let Some(text) = removable {
                tree.put(&format!("sys/devices/{bridges}/removable"), text);
            }
            objections(&tree.sysfs().block("nvme0n1").unwrap().unwrap())
        };
        let external = over("Thunderbolt or another external PCI Express port");
        assert_eq!(with(Some("removable\n")).unless_named, external);
        // The chipset of a desktop has as many bridges.
        for inside in [None, Some("fixed\n"), Some("unknown\n")] {
            assert_eq!(with(inside), Objections::default(), "{inside:?}");
        }
    }

    #[test]
    fn a_clouds_temporary_disk_is_not_picked_unasked() {
        let nvme = "pci0000:00/0000:00:1f.0/nvme/nvme1/nvme1n1";
        let model = |model: &str| of("nvme1n1", nvme, &[("device/model", model)]);
        let found = model("Amazon EC2 NVMe Instance Storage        \n");
        assert!(found.unless_named[0].contains("temporary"), "{found:?}");
        assert_eq!(
            model("Amazon Elastic Block Store              \n"),
            Objections::default()
        );
    }

    #[test]
    fn a_dasd_is_never_a_target() {
        let found = of("dasda", "css0/0.0.0000/0.0.0200", &[]);
        assert_eq!(found.never, ["it is a DASD, which cannot hold a GPT"]);
    }
}
