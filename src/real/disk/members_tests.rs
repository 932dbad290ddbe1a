#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;
use std::io::Cursor;

/// A pair of a list, in XDR.
fn pair(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let padded = |bytes: &[u8]| {
        let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let mut body = padded(name.as_bytes());
    body.extend(kind.to_be_bytes());
    body.extend(1_u32.to_be_bytes());
    body.extend(if kind == 9 { padded(value) } else { value.to_vec() });
    let mut out = (body.len() as u32 + 8).to_be_bytes().to_vec();
    out.extend(64_u32.to_be_bytes());
    out.extend(body);
    out
}

/// A device with the labels of a pool, at those of its four places that are given.
pub(crate) fn zfs_disk(pool: &str, places: &[usize], size: usize) -> Vec<u8> {
    let mut disk = vec![0; size];
    let ends = size & !0x3_FFFF;
    for index in places {
        let at = [0, 256 << 10, ends - (512 << 10), ends - (256 << 10)][*index];
        let mut list = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        list.extend(pair("version", 8, &5000_u64.to_be_bytes()));
        list.extend(pair("name", 9, pool.as_bytes()));
        list.extend(pair("state", 8, &0_u64.to_be_bytes()));
        list.extend(pair("pool_guid", 8, &0x1234_u64.to_be_bytes()));
        list.extend([0; 8]);
        let from = at + (16 << 10);
        disk[from..from + list.len()].copy_from_slice(&list);
        let trailer = at + (128 << 10) - 40;
        disk[trailer..trailer + 8].copy_from_slice(&ZFS_TRAILER.to_le_bytes());
        let ring = at + (128 << 10) + 4096;
        disk[ring..ring + 8].copy_from_slice(&ZFS_UBERBLOCK.to_le_bytes());
    }
    disk
}

fn look(disk: &[u8]) -> Zfs {
    zfs(&mut Cursor::new(disk), 0, disk.len() as u64).unwrap()
}

#[test]
fn only_a_set_of_labels_makes_a_member() {
    let size = 8 << 20;
    let all = zfs_disk("tank", &[0, 1, 2, 3], size);
    let Zfs::Member { pool, whole } = look(&all) else {
        panic!("no member");
    };
    assert_eq!((pool.words.as_str(), whole), ("ZFS pool tank", true));
    assert!(matches!(
        look(&zfs_disk("tank", &[1, 2, 3], size)),
        Zfs::Member { whole: false, .. }
    ));
    // Uberblocks alone, as they stay in the ring under a new filesystem.
    let mut stale = all.clone();
    for at in [0, 256 << 10, size - (512 << 10), size - (256 << 10)] {
        stale[at + (16 << 10)..at + (112 << 10)].fill(0);
    }
    assert_eq!(look(&stale), Zfs::None { remains: true });
    // Lists alone, as wipefs leaves them, and lists without their trailer.
    let mut wiped = all.clone();
    for at in [0, 256 << 10, size - (512 << 10), size - (256 << 10)] {
        wiped[at + (128 << 10)..at + (256 << 10)].fill(0);
    }
    assert_eq!(look(&wiped), Zfs::None { remains: false });
    assert_eq!(look(&vec![0; size]), Zfs::None { remains: false });
}

#[test]
fn what_the_superblocks_of_md_say() {
    let mut one = vec![0; 256];
    one[..4].copy_from_slice(&MD_MAGIC.to_le_bytes());
    one[4] = 1;
    one[32..42].copy_from_slice(b"nas:photos");
    one[72] = 1;
    one[92] = 2;
    assert_eq!(
        md(&one).unwrap().words,
        "Linux RAID nas:photos, level 1, 2 devices"
    );
    let mut old = vec![0; 256];
    old[..4].copy_from_slice(&MD_MAGIC.to_le_bytes());
    old[28..32].copy_from_slice(&(-1_i32).to_le_bytes());
    old[40] = 3;
    assert_eq!(md(&old).unwrap().words, "Linux RAID, linear, 3 devices");
    assert_eq!(md(&vec![0; 256]), None);
}

#[test]
fn the_text_of_a_volume_group() {
    let text = "archive {\nid = \"x\"\nlogical_volumes {\n\nhome {\nstatus = [\"READ\", \"VISIBLE\"]\nsegment1 {\n}\n}\n\
        hidden {\nstatus = [\"READ\"]\n}\n}\n}\n# status = \"VISIBLE\"\n";
    assert_eq!(lvm_text(text), Some(("archive".into(), 1)));
    assert_eq!(lvm_text("no group"), None);
    assert_eq!(lvm_text("{"), None);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let size = bytes.len() as u64;
        let found = lvm(&mut Cursor::new(&bytes), 0, size, &bytes);
        prop_assert!(found.is_ok());
        let shown = format!("{:?} {:?} {:?}", md(&bytes), zfs_list(&bytes), lvm_text(&String::from_utf8_lossy(&bytes)));
        prop_assert!(!shown.is_empty());
    }

    #[test]
    fn no_damage_of_a_label_panics(at in 0_usize..400, byte: u8) {
        let mut disk = zfs_disk("tank", &[0, 1, 2, 3], 2 << 20);
        disk[(16 << 10) + at] = byte;
        let shown = format!("{:?}", look(&disk));
        prop_assert!(!shown.is_empty());
    }
}
