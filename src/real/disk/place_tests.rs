#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::sysfs::tests::Tree;
use super::*;

/// Places from `readlink -f /sys/block/…` of real machines, and what `ls -l /dev/disk/by-path` of systemd 252 to 257 showed there.
const REAL: [(&str, Option<u64>, &str); 19] = [
    ("pci0000:00/0000:00:04.0/virtio1", None, "pci-0000:00:04.0"),
    (
        "pci0000:00/0000:00:05.0/virtio2/host2/target2:0:0/2:0:0:1",
        None,
        "pci-0000:00:05.0-scsi-0:0:0:1",
    ),
    (
        "pci0000:00/0000:00:02.0/0000:01:01.0/virtio3/host3/target3:0:0/3:0:0:0",
        None,
        "pci-0000:01:01.0-scsi-0:0:0:0",
    ),
    (
        "pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n1",
        Some(1),
        "pci-0000:03:00.0-nvme-1",
    ),
    (
        "pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0/nvme0n2",
        Some(2),
        "pci-0000:03:00.0-nvme-2",
    ),
    (
        "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme0",
        Some(1),
        "pci-0000:00:0e.0-pci-10000:e1:00.0-nvme-1",
    ),
    (
        "pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/host4/target4:0:0/4:0:0:0",
        None,
        "pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0",
    ),
    (
        "pci0000:00/0000:00:14.0/usb2/2-3/2-3.4/2-3.4:1.0/host4/target4:0:0/4:0:0:1",
        None,
        "pci-0000:00:14.0-usb-0:3.4:1.0-scsi-0:0:0:1",
    ),
    (
        "platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa",
        None,
        "platform-fe340000.mmc",
    ),
    (
        "pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001",
        None,
        "pci-0000:00:1a.0",
    ),
    (
        "platform/soc@0/1d84000.ufshc/host0/target0:0:0/0:0:0:3",
        None,
        "platform-1d84000.ufshc-scsi-0:0:0:3",
    ),
    (
        "LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/f8b3781a-1e82-4818-a1c3-63d806ec15bb/host0/target0:0:0/0:0:0:1",
        None,
        "acpi-VMBUS:00-vmbus-f8b3781a1e824818a1c363d806ec15bb-lun-1",
    ),
    (
        "LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/MSFT1000:00/f8b3781a-1e82-4818-a1c3-63d806ec15bb/host0/target0:0:0/0:0:0:1",
        None,
        "acpi-MSFT1000:00-vmbus-f8b3781a1e824818a1c363d806ec15bb-lun-1",
    ),
    (
        "pci0000:3a/0000:3a:00.0/0000:3c:00.0/host0/scsi_host/host0/phy-0:2/port-0:2/end_device-0:2/target0:0:2/0:0:2:0",
        None,
        "pci-0000:3c:00.0-sas-end_device-0:2-lun-0",
    ),
    ("vbd-51712", None, "xen-vbd-51712"),
    (
        "platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/usb2/2-1/2-1:1.0/host0/target0:0:0/0:0:0:0",
        None,
        "platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1:1.0-scsi-0:0:0:0",
    ),
    ("css0/0.0.0000/0.0.1111/virtio1", None, "ccw-0.0.1111"),
    (
        "pci0000:00/0000:00:10.0/host2/target2:0:1/2:0:1:0",
        None,
        "pci-0000:00:10.0-scsi-0:0:1:0",
    ),
    (
        "pci0000:00/0000:00:03.0/virtio0/host0/target0:0:2/0:0:2:0",
        None,
        "pci-0000:00:03.0-scsi-0:0:2:0",
    ),
];

#[test]
fn real_places_have_the_addresses_that_udev_gives() {
    let tree = Tree::new();
    for (hardware, nsid, wanted) in REAL {
        let found = address(&tree.sysfs(), hardware, nsid).unwrap();
        assert_eq!(found.as_deref(), Some(wanted), "{hardware}");
    }
    for none in ["", "virtual", "virtual/block/loop0"] {
        assert_eq!(address(&tree.sysfs(), none, None).unwrap(), None, "{none}");
    }
}

#[test]
fn ports_and_remote_ends_come_from_their_attributes() {
    let tree = Tree::new();
    let ahci = "pci0000:00/0000:00:1f.2";
    for (ata, port, wanted) in [("ata3", "1", "ata-1.0"), ("ata4", "2", "ata-2.0")] {
        tree.put(
            &format!("sys/devices/{ahci}/{ata}/ata_port/{ata}/port_no"),
            &format!("{port}\n"),
        );
        let hardware = format!("{ahci}/{ata}/host2/target2:0:0/2:0:0:0");
        let found = address(&tree.sysfs(), &hardware, None).unwrap().unwrap();
        assert_eq!(found, format!("pci-0000:00:1f.2-{wanted}"));
    }
    let rport = "pci0000:00/0000:00:03.0/0000:05:00.0/host1/rport-1:0-2";
    tree.put(
        &format!("sys/devices/{rport}/fc_remote_ports/rport-1:0-2/port_name"),
        "0x500a098188f2b3c1\n",
    );
    let found = address(&tree.sysfs(), &format!("{rport}/target1:0:0/1:0:0:7"), None).unwrap();
    assert_eq!(found.unwrap(), "pci-0000:05:00.0-fc-0x500a098188f2b3c1-lun-7");
    // Two adapters of one function: the second one is told from the first.
    tree.put("sys/devices/pci0000:00/0000:00:1f.1/host4/x", "");
    tree.put("sys/devices/pci0000:00/0000:00:1f.1/host5/x", "");
    let found = address(
        &tree.sysfs(),
        "pci0000:00/0000:00:1f.1/host5/target5:0:0/5:0:0:0",
        None,
    );
    assert_eq!(found.unwrap().unwrap(), "pci-0000:00:1f.1-scsi-1:0:0:0");
}

/// The address of a disk in a tree that has these attributes.
fn found(hardware: &str, attributes: &[(String, &str)]) -> String {
    let tree = Tree::new();
    for (path, text) in attributes {
        tree.put(&format!("sys/devices/{path}"), &format!("{text}\n"));
    }
    address(&tree.sysfs(), hardware, None).unwrap().unwrap()
}

#[test]
fn a_disk_behind_a_port_multiplier_is_told_by_its_port() {
    let port = "pci0000:00/0000:00:1c.0/0000:02:00.0/ata7";
    let attributes = [(format!("{port}/ata_port/ata7/port_no"), "1")];
    for channel in ["0", "3"] {
        let hardware = format!("{port}/host6/target6:{channel}:0/6:{channel}:0:0");
        let address = found(&hardware, &attributes);
        let wanted = if channel == "0" { "ata-1.0" } else { "ata-1.3.0" };
        assert_eq!(address, format!("pci-0000:02:00.0-{wanted}"));
    }
}

#[test]
fn a_sas_link_of_one_phy_has_its_number_and_a_wide_one_the_address() {
    let host = "pci0000:00/0000:00:02.0/0000:01:00.0/host0";
    let behind = |port: &str, phys: &'static str| {
        let end = format!("{port}/end_device-0:0");
        let number = port.rsplit('/').next().unwrap();
        let attributes = [
            (format!("{port}/sas_port/{number}/num_phys"), phys),
            (format!("{end}/sas_device/end_device-0:0/phy_identifier"), "5"),
            (
                format!("{end}/sas_device/end_device-0:0/sas_address"),
                "0x4433221105000000",
            ),
            (
                format!("{host}/port-0:1/expander-0:1/sas_device/expander-0:1/sas_address"),
                "0x500304801f3f7f3f",
            ),
        ];
        found(&format!("{end}/target0:0:0/0:0:0:0"), &attributes)
    };
    let narrow = format!("{host}/port-0:0");
    let far = format!("{host}/port-0:1/expander-0:1/port-0:1:5");
    assert_eq!(behind(&narrow, "1"), "pci-0000:01:00.0-sas-phy5-lun-0");
    assert_eq!(
        behind(&narrow, "4"),
        "pci-0000:01:00.0-sas-0x4433221105000000-lun-0"
    );
    assert_eq!(
        behind(&far, "1"),
        "pci-0000:01:00.0-sas-exp0x500304801f3f7f3f-phy5-lun-0"
    );
}

#[test]
fn a_unit_of_the_second_kind_of_addressing_is_written_as_scsi_does() {
    let port = "css0/0.0.0015/0.0.1900/host0/rport-0:0-0";
    let attributes = [(
        format!("{port}/fc_remote_ports/rport-0:0-0/port_name"),
        "0x50050763070bc5e3",
    )];
    let address = found(&format!("{port}/target0:0:0/0:0:0:1074151462"), &attributes);
    assert_eq!(
        address,
        "ccw-0.0.1900-fc-0x50050763070bc5e3-lun-0x4026400600000000"
    );
}

#[test]
fn a_target_of_iscsi_has_its_portal() {
    let session = "platform/host3/session1";
    let portal = format!("{session}/connection1:0/iscsi_connection/connection1:0");
    let attributes = [
        (
            format!("{session}/iscsi_session/session1/targetname"),
            "iqn.2003-01.org.example:t1",
        ),
        (format!("{portal}/persistent_address"), "192.0.2.1"),
        (format!("{portal}/persistent_port"), "3260"),
    ];
    assert_eq!(
        found(&format!("{session}/target3:0:0/3:0:0:1"), &attributes),
        "ip-192.0.2.1:3260-iscsi-iqn.2003-01.org.example:t1-lun-1"
    );
}
