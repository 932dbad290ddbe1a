//! Signatures of filesystems and of members of something larger, read straight from the device. Law: it needs no
//! program, no udev and no cache, so that the same disk gives the same lines at every look (a consent is bound to them);
//! it reads a bounded number of bytes and believes none of the numbers in them.
//!
//! Absent: judging whole filesystems (blkid's business, see `volumes`). Sources: the on-disk headers of Linux 6.12 and of
//! util-linux' libblkid.

use landfall_states::names::quoted;
use std::io::{self, Read, Seek, SeekFrom};

/// Something recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// As blkid calls it.
    pub kind: &'static str,
    /// Its label, if there is one at a fixed place.
    pub label: Option<String>,
    /// When it is a part of something larger: of what.
    pub member_of: Option<&'static str>,
}

const HEAD: usize = 68 << 10;
const ZFS_MAGIC: u64 = 0x00ba_b10c;
const MD_MAGIC: u32 = 0xa92b_4efc;

struct View<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    size: u64,
}

impl View<'_> {
    /// Bytes at a place from the start.
    fn at(&self, at: usize, bytes: &[u8]) -> bool {
        self.head.get(at..at + bytes.len()) == Some(bytes)
    }
    fn u16(&self, at: usize) -> u16 {
        self.head
            .get(at..at + 2)
            .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
    }
    fn u64(&self, at: usize) -> u64 {
        self.head
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }
    /// A 32-bit number at a place that may lie in the head or in the tail.
    fn u32_anywhere(&self, at: u64) -> Option<u32> {
        let tail_from = self.size - self.tail.len() as u64;
        let (part, from) = if at >= tail_from {
            (self.tail, tail_from)
        } else {
            (self.head, 0)
        };
        let index = usize::try_from(at - from).unwrap_or(usize::MAX);
        part.get(index..index.checked_add(4)?)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
    }
    fn text(&self, at: usize, bytes: usize) -> Option<String> {
        let raw = self.head.get(at..at + bytes)?;
        let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
        let text: String = String::from_utf8_lossy(&raw[..end])
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        (!text.is_empty()).then_some(text)
    }
}

/// Everything recognised in `from..from + size` of a device.
pub fn sniff<D: Read + Seek>(device: &mut D, from: u64, size: u64) -> io::Result<Vec<Signature>> {
    let mut part = |at: u64, bytes: usize| -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(bytes);
        device.seek(SeekFrom::Start(from.saturating_add(at)))?;
        let room = (size - at).min(bytes as u64);
        (&mut *device).take(room).read_to_end(&mut buffer)?;
        Ok(buffer)
    };
    let head = part(0, HEAD)?;
    let tail = part(size - size.min(HEAD as u64 * 2), HEAD * 2)?;
    let iso = if size > 34 << 10 {
        part(32 << 10, 2048)?
    } else {
        vec![]
    };
    // ZFS: uberblocks lie in the second half of each 256 KiB label, on every kibibyte.
    let zfs = [0_u64, 256 << 10]
        .into_iter()
        .try_fold(false, |seen, label| -> io::Result<bool> {
            if seen || size < 1 << 20 {
                return Ok(seen);
            }
            let ring = part(label + (128 << 10), 128 << 10)?;
            Ok(ring.chunks_exact(1024).any(|u| {
                let magic = [u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7]];
                u64::from_le_bytes(magic) == ZFS_MAGIC || u64::from_be_bytes(magic) == ZFS_MAGIC
            }))
        })?;
    Ok(recognise(
        &View {
            head: &head,
            tail: &tail,
            size,
        },
        &iso,
        zfs,
    ))
}

fn recognise(v: &View<'_>, iso: &[u8], zfs: bool) -> Vec<Signature> {
    let mut found = Vec::new();
    let mut add = |kind, label: Option<String>, member_of| {
        found.push(Signature {
            kind,
            label,
            member_of,
        });
    };
    if (0..4).any(|sector| v.at(sector * 512, b"LABELONE") && v.at(sector * 512 + 24, b"LVM2 001")) {
        add("LVM2_member", None, Some("an LVM physical volume"));
    }
    // md 1.1 at 0, 1.2 at 4 KiB, 1.0 8–12 KiB before the end, 0.90 in the last whole 64 KiB but one.
    let md = [
        Some(0),
        Some(4096),
        v.size.checked_sub(8192).map(|at| at & !4095),
        (v.size & !0xFFFF).checked_sub(0x10000),
    ];
    if md
        .into_iter()
        .flatten()
        .any(|at| v.u32_anywhere(at) == Some(MD_MAGIC))
    {
        add("linux_raid_member", None, Some("a member of a Linux RAID (md)"));
    }
    if zfs {
        add("zfs_member", None, Some("a member of a ZFS pool"));
    }
    const BCACHE: [u8; 16] = *b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    const BCACHEFS: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    if v.at(4096 + 24, &BCACHE) {
        add("bcache", None, Some("a bcache device"));
    }
    if v.at(4096 + 24, &BCACHEFS) {
        add(
            "bcachefs",
            None,
            (v.head.get(4096 + 123).is_some_and(|n| *n > 1)).then_some("a member of a bcachefs"),
        );
    }
    if v.at((64 << 10) + 0x40, b"_BHRfS_M") {
        let many = v.u64((64 << 10) + 0x88) > 1;
        add(
            "btrfs",
            v.text((64 << 10) + 0x12B, 256),
            many.then_some("a member of a btrfs of several devices"),
        );
    }
    if v.at(0, b"LUKS\xba\xbe") {
        add(
            "crypto_LUKS",
            if v.at(6, &[0, 2]) { v.text(24, 48) } else { None },
            None,
        );
    }
    if v.at(1024 + 56, &[0x53, 0xEF]) {
        let journal = v.u16(1024 + 0x5C) & 4 != 0;
        let extents = v.u16(1024 + 0x60) & 0x40 != 0;
        let kind = match (journal, extents) {
            (_, true) => "ext4",
            (true, false) => "ext3",
            (false, false) => "ext2",
        };
        add(kind, v.text(1024 + 120, 16), None);
    }
    if v.at(0, b"XFSB") {
        add("xfs", v.text(108, 12), None);
    }
    if v.at(4086, b"SWAPSPACE2") || v.at(4086, b"SWAP-SPACE") {
        add("swap", v.text(1052, 16), None);
    }
    if v.at(3, b"NTFS    ") {
        add("ntfs", None, None);
    } else if v.at(3, b"EXFAT   ") {
        add("exfat", None, None);
    } else if v.at(3, b"-FVE-FS-") {
        add("BitLocker", None, None);
    } else if v.at(510, &[0x55, 0xAA]) && v.at(82, b"FAT32") {
        add("vfat", v.text(71, 11), None);
    } else if v.at(510, &[0x55, 0xAA]) && (v.at(54, b"FAT1") || v.at(54, b"FAT ")) {
        add("vfat", v.text(43, 11), None);
    }
    if v.at(0, b"hsqs") {
        add("squashfs", None, None);
    }
    if v.at(1024, &[0x10, 0x20, 0xF5, 0xF2]) {
        add("f2fs", None, None);
    }
    if iso.get(1..6) == Some(b"CD001") {
        let label = iso.get(40..72).map(|l| {
            String::from_utf8_lossy(l)
                .trim_matches(|c: char| c == '\0' || c.is_whitespace())
                .to_owned()
        });
        add("iso9660", label.filter(|l| !l.is_empty()), None);
    }
    found
}

/// The signatures in words; `no known signature` when there is none.
pub fn describe(found: &[Signature]) -> String {
    if found.is_empty() {
        return "no known signature".into();
    }
    let words: Vec<String> = found
        .iter()
        .map(|s| match &s.label {
            Some(label) => format!("{} {}", s.kind, quoted(label)),
            None => s.kind.to_owned(),
        })
        .collect();
    words.join(" and ")
}

#[cfg(test)]
mod tests {
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
        let zfs = ZFS_MAGIC.to_be_bytes();
        assert!(member(&[(512, b"LABELONE"), (536, b"LVM2 001")]));
        for at in [0, 4096, (4 << 20) - 8192, (4 << 20) - 65_536] {
            assert!(member(&[(at, &md)]), "md at {at}");
        }
        assert!(member(&[((128 << 10) + 5 * 1024, &zfs)]));
        assert!(member(&[((384 << 10), &ZFS_MAGIC.to_le_bytes())]));
        assert!(member(&[(65_600, b"_BHRfS_M"), (65_536 + 0x88, &[2])]));
        assert!(!member(&[(65_600, b"_BHRfS_M"), (65_536 + 0x88, &[1])]));
        assert!(!member(&[(0, b"LUKS\xba\xbe\0\x02")]));
    }

    #[test]
    fn filesystems_with_their_labels() {
        let iso = with(&[(32_769, b"CD001"), (32_808, b"NIXOS-ISO   ")]);
        assert_eq!(describe(&iso), "iso9660 \"NIXOS-ISO\"");
        let luks = with(&[(0, b"LUKS\xba\xbe\0\x02"), (24, b"luks-web")]);
        assert_eq!(describe(&luks), "crypto_LUKS \"luks-web\"");
        let ext = with(&[(1080, &[0x53, 0xEF]), (1024 + 0x60, &[0x40]), (1144, b"root-web")]);
        assert_eq!(describe(&ext), "ext4 \"root-web\"");
        assert_eq!(describe(&with(&[])), "no known signature");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_of_any_length(bytes in proptest::collection::vec(any::<u8>(), 0..9_000), claimed in 0_u64..20_000) {
            prop_assert!(sniff(&mut Cursor::new(bytes), 0, claimed).is_ok());
        }
    }
}
