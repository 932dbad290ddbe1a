//! Mount tables as the kernel prints them.

use super::*;
use proptest::prelude::*;

const TABLE: &str = "\
22 1 8:18 / / rw,relatime shared:1 - ext4 /dev/sdb2 rw
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
30 22 8:2 / /mnt rw,noatime - ext4 /dev/sda2 rw,errors=remount-ro
31 30 8:1 / /mnt/boot rw - vfat /dev/sda1 rw
32 30 0:5 / /mnt/dev rw - devtmpfs udev rw
33 32 0:24 / /mnt/dev/pts rw - devpts devpts rw
34 30 8:18 /etc/resolv.conf /mnt/etc/resolv.conf ro - ext4 /dev/sdb2 rw
35 22 7:0 / /media/a\\040b ro - squashfs /dev/loop0 ro
";
const OURS: [(u64, u64); 2] = [(8, 1), (8, 2)];

#[test]
fn the_kernels_table_is_understood() {
    let table = parse_mountinfo(TABLE).unwrap();
    assert_eq!(table.len(), 8);
    assert_eq!(table[7].target, "/media/a b");
    assert!(table[7].read_only && !table[2].read_only);
    assert_eq!(table[6].root, "/etc/resolv.conf");
    assert!(parse_mountinfo("garbage").is_err());
    // The one of this machine.
    assert!(super::table().unwrap().iter().any(|m| m.target == "/"));
}

#[test]
fn ours_is_told_from_foreign() {
    let table = parse_mountinfo(TABLE).unwrap();
    let mnt = Utf8Path::new("/mnt");
    assert_eq!(at(&table, mnt, (8, 2)), At::Ours { read_only: false });
    assert!(matches!(at(&table, mnt, (8, 34)), At::Foreign(_)));
    assert_eq!(at(&table, Utf8Path::new("/mn"), (8, 2)), At::Nothing);
}

#[test]
fn what_a_killed_child_left_is_undone_last_first() {
    let table = parse_mountinfo(TABLE).unwrap();
    let undo = leftovers(&table, Utf8Path::new("/mnt"), &OURS).unwrap();
    let expected = [
        "/mnt/etc/resolv.conf",
        "/mnt/dev/pts",
        "/mnt/dev",
        "/mnt/boot",
        "/mnt",
    ];
    assert_eq!(undo, expected.map(Utf8PathBuf::from));
}

#[test]
fn a_disk_that_somebody_mounted_in_the_target_is_left_alone() {
    let table = parse_mountinfo(&format!("{TABLE}36 30 8:33 / /mnt/usb rw - vfat /dev/sdc1 rw\n")).unwrap();
    let fault = leftovers(&table, Utf8Path::new("/mnt"), &OURS).unwrap_err();
    assert!(fault.contains("/mnt/usb"), "{fault}");
}

proptest! {
    #[test]
    fn any_table_is_borne(text in "[0-9a-z/: ,\\\\-]{0,80}") {
        // Either answer is fine; a panic is not.
        let understood = parse_mountinfo(&text).is_ok();
        prop_assert!(understood || !text.is_empty());
        unescape(&text);
    }
}
