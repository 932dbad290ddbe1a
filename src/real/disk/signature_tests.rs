//! Tests of `signature`: what real tools write is recognised, and any bytes are accepted without panicking.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use proptest::prelude::*;
use std::io::Cursor;

fn with(puts: &[(usize, &[u8])]) -> Vec<Signature> {
    let mut disk = vec![0_u8; 4 << 20];
    for (at, bytes) in puts {
        disk[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    let size = disk.len() as u64;
    sniff(&mut Cursor::new(disk), 0, size).unwrap()
}

#[test]
fn members_are_recognised_wherever_they_write_themselves() {
    let member = |puts: &[(usize, &[u8])]| with(puts).iter().any(|s| s.member_of.is_some());
    let md = MD_MAGIC.to_le_bytes();
    assert!(member(&[(512, b"LABELONE"), (536, b"LVM2 001")]));
    for at in [0, 4096, (4 << 20) - 8192, (4 << 20) - 65_536] {
        assert!(member(&[(at, &md)]), "md at {at}");
    }
    let stale = 0x00ba_b10c_u64.to_le_bytes();
    assert!(!member(&[((128 << 10) + 5 * 1024, &stale)]), "a former life");
    assert!(member(&[(65_600, b"_BHRfS_M"), (65_536 + 0x88, &[2])]));
    assert!(!member(&[(65_600, b"_BHRfS_M"), (65_536 + 0x88, &[1])]));
    assert!(!member(&[(0, b"LUKS\xba\xbe\0\x02")]));
}

#[test]
fn filesystems_with_their_labels() {
    let iso = with(&[(32_769, b"CD001"), (32_808, b"NIXOS-ISO   ")]);
    assert_eq!(describe(&iso).unwrap(), "iso9660 \"NIXOS-ISO\"");
    let luks = with(&[(0, b"LUKS\xba\xbe\0\x02"), (24, b"luks-web")]);
    assert_eq!(describe(&luks).unwrap(), "crypto_LUKS \"luks-web\"");
    let ext = with(&[(1080, &[0x53, 0xEF]), (1024 + 0x60, &[0x40]), (1144, b"root-web")]);
    assert_eq!(describe(&ext).unwrap(), "ext4 \"root-web\"");
    assert_eq!(describe(&with(&[])), None);
}

#[test]
fn labels_of_zfs_count_where_nothing_was_made_over_them() {
    let look = |places: &[usize], over: &[(usize, &[u8])]| {
        let mut disk = members::tests::zfs_disk("tank", places, 8 << 20);
        for (at, bytes) in over {
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let size = disk.len() as u64;
        describe(&sniff(&mut Cursor::new(disk), 0, size).unwrap())
    };
    let all = [0, 1, 2, 3];
    assert_eq!(look(&all, &[]).unwrap(), "ZFS pool tank");
    assert_eq!(look(&[2, 3], &[]).unwrap(), "ZFS pool tank");
    // A new filesystem has its own things where the first label's list was.
    assert_eq!(look(&[1, 2, 3], &[(0, b"XFSB")]).unwrap(), "xfs");
    assert_eq!(look(&[1, 2, 3], &[(3, b"NTFS    ")]).unwrap(), "ntfs");
    // Where the first label is whole, the magic of something else beside it does not hide the pool.
    assert_eq!(look(&all, &[(0, b"XFSB")]).unwrap(), "xfs and ZFS pool tank");
}

#[test]
fn firmware_raids_at_the_end_are_members() {
    let end = 4 << 20;
    for (at, bytes) in [
        (end - 1024, b"Intel Raid ISM Cfg Sig. ".as_slice()),
        (end - 512, &[0xDE, 0x11, 0xDE, 0x11]),
        (end - 1024, b"NVIDIA"),
        (end - 63 * 512, b"Promise Technology, Inc."),
        (end - 4096 + 60, &[0x83, 0x74, 0x02, 0x6D]),
    ] {
        let found = with(&[(at, bytes)]);
        assert!(found.iter().any(|s| s.member_of.is_some()), "{at}: {found:?}");
    }
}

#[test]
fn two_bytes_are_no_magic() {
    for (at, bytes) in [
        (1024, b"H+".as_slice()),
        (1024, b"BD"),
        (1030, &[0x34, 0x34]),
        (1040, &[0x7F, 0x13]),
        (508, &[0xDA, 0xBE]),
        (0, b"ER"),
    ] {
        assert_eq!(with(&[(at, bytes), (700, &[1])]), [], "{at}");
    }
    assert_eq!(with(&[(1024, b"H+\0\x04")])[0].kind, "hfsplus");
    assert_eq!(with(&[(0, b"\0\0\0ReFS\0\0\0\0")])[0].kind, "ReFS");
    assert_eq!(with(&[(32, b"NXSB")])[0].kind, "apfs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_of_any_length(bytes in proptest::collection::vec(any::<u8>(), 0..9_000), claimed in 0_u64..20_000) {
        prop_assert!(sniff(&mut Cursor::new(bytes), 0, claimed).is_ok());
    }
}
