//! Block devices from trees of files that look as the kernel's do.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

/// A tree with one disk of one partition.
pub struct Tree(pub tempfile::TempDir);
impl Tree {
    pub fn new() -> Self {
        Tree(tempfile::tempdir().unwrap())
    }
    pub fn sysfs(&self) -> Sysfs {
        Sysfs::below(Utf8PathBuf::from_path_buf(self.0.path().to_owned()).unwrap())
    }
    pub fn put(&self, path: &str, text: &str) {
        let path = self.sysfs().at(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    /// A disk at its place below `sys/devices`, and the link to it.
    pub fn disk_at(&self, name: &str, dev: &str, sectors: u64, hardware: &str) {
        // The kernel has no folder `block` between a controller of NVMe and its namespaces.
        let below = if hardware.ends_with(name) {
            String::new()
        } else {
            format!("/block/{name}")
        };
        let place = self.sysfs().at(&format!("sys/devices/{hardware}{below}"));
        fs_err::create_dir_all(&place).unwrap();
        let link = self.sysfs().at(&format!("sys/block/{name}"));
        fs_err::create_dir_all(link.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(&place, &link).unwrap();
        let device = place.parent().unwrap().parent().unwrap().to_owned();
        let device = if below.is_empty() {
            place.parent().unwrap().to_owned()
        } else {
            device
        };
        fs_err::os::unix::fs::symlink(device, place.join("device")).unwrap();
        self.disk(name, dev, sectors);
    }
    /// An attribute of a disk.
    pub fn put_at(&self, name: &str, attribute: &str, text: &str) {
        self.put(&format!("sys/block/{name}/{attribute}"), text);
    }
    pub fn disk(&self, name: &str, dev: &str, sectors: u64) {
        self.put(&format!("sys/block/{name}/dev"), &format!("{dev}\n"));
        self.put(&format!("sys/block/{name}/size"), &format!("{sectors}\n"));
        self.put(&format!("sys/block/{name}/queue/logical_block_size"), "512\n");
        self.put(&format!("sys/block/{name}/removable"), "0\n");
        self.put(&format!("sys/block/{name}/ro"), "0\n");
    }
}

#[test]
fn a_disk_with_a_partition_and_a_holder() {
    let tree = Tree::new();
    tree.disk("sda", "8:0", 2_097_152);
    tree.put("sys/block/sda/queue/logical_block_size", "4096\n");
    tree.put(
        "sys/block/sda/device/wwid",
        "t10.ATA     QEMU HARDDISK         LF0001  \n",
    );
    tree.put("sys/block/sda/device/vpd_pg80", "\0\u{0}\0\u{8}  LF0001");
    tree.put("sys/block/sda/device/model", "QEMU HARDDISK   \n");
    for (file, text) in [
        ("partition", "1"),
        ("dev", "8:1"),
        ("start", "2048"),
        ("size", "4096"),
        ("holders/dm-0", ""),
        ("uevent", "MAJOR=8\nPARTN=1\nPARTUUID=AB-CD\n"),
    ] {
        tree.put(&format!("sys/block/sda/sda1/{file}"), text);
    }
    let block = tree.sysfs().block("sda").unwrap().unwrap();
    assert_eq!(
        block.identity.wwn.as_deref(),
        Some("t10.ATA QEMU HARDDISK LF0001")
    );
    assert_eq!(block.identity.serial.as_deref(), Some("LF0001"));
    assert_eq!(
        (block.identity.size_bytes, block.identity.sector_bytes),
        (1 << 30, 4096)
    );
    assert_eq!(block.partitions[0].holders, ["dm-0"]);
    assert_eq!(
        (
            block.partitions[0].kernel.first_lba,
            block.partitions[0].kernel.sectors
        ),
        (256, 512)
    );
    assert_eq!(block.partitions[0].partuuid.as_deref(), Some("ab-cd"));
    assert!(tree.sysfs().block("sdb").unwrap().is_none());
    let blocks = tree.sysfs().blocks().unwrap();
    assert!(Sysfs::find(&blocks, (8, 1)).unwrap().1.is_some());
    assert!(Sysfs::find_name(&blocks, "sda").unwrap().1.is_none());
}

#[test]
fn an_identity_comes_from_the_kernel_alone() {
    let tree = Tree::new();
    tree.disk("vda", "254:0", 100);
    let identity = || tree.sysfs().block("vda").unwrap().unwrap().identity;
    let silent = identity();
    tree.put(
        "run/udev/data/b254:0",
        "S:x\nE:ID_SERIAL_SHORT=FROMUDEV\nE:ID_PATH=pci-0000:00:04.0\nE:ID_WWN=0x5000c500a0b1c2d3\n",
    );
    assert_eq!(identity(), silent, "udev's record changes nothing");
    tree.put("sys/block/vda/serial", "KERNEL");
    assert_eq!(identity().serial.as_deref(), Some("KERNEL"));
    tree.put("sys/block/vda/serial", "0000000");
    assert_eq!(identity(), silent, "a dull word is none");
}

#[test]
fn addresses_leave_out_what_is_counted() {
    let address = |p| bus_address(p).unwrap_or_default();
    assert_eq!(
        address("pci0000:00/0000:00:02.0/virtio1"),
        "pci0000:00/0000:00:02.0"
    );
    assert_eq!(
        address("pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:1:0"),
        "pci0000:00/0000:00:1f.2/0:1:0"
    );
    assert_eq!(
        address("pci0000:00/0000:00:04.0/nvme/nvme0"),
        "pci0000:00/0000:00:04.0"
    );
    assert_eq!(bus_address("virtual"), None);
    assert_eq!(bus_address(""), None);
}
