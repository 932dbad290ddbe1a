//! Signatures of filesystems, of other kinds of tables and of members of something larger, read directly from the device.
//!
//! It needs no program, no udev and no cache, so the same disk gives the same lines every time (a consent is bound to them).
//! It reads a bounded number of bytes and trusts none of the numbers in them. A magic of only two bytes does not count.
//! Sources: the on-disk headers of Linux 6.12 and of util-linux' libblkid.
//!
//! `volume::probe` judges whole filesystems, `members` reads a member, and `blank` says whether there is nothing.

use super::members::{self, Larger, MD_MAGIC, Zfs, clean};
use landfall_states::names::quoted;
use std::borrow::Cow;
use std::io::{self, Read, Seek, SeekFrom};

/// Something recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// As blkid calls it.
    pub kind: Cow<'static, str>,
    /// Its label, if there is one at a fixed place; of a member, the name of what it belongs to.
    pub label: Option<String>,
    /// When it is a part of something larger: of what.
    pub member_of: Option<&'static str>,
    /// Instead of kind and label, for people.
    pub words: Option<String>,
}

impl Signature {
    /// One by its name alone.
    pub fn of(kind: impl Into<Cow<'static, str>>) -> Self {
        Signature {
            kind: kind.into(),
            label: None,
            member_of: None,
            words: None,
        }
    }
}

/// Bytes from the start within which everything is that tells where something begins.
pub const HEAD: usize = 68 << 10;

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
    fn u32(&self, at: usize) -> u32 {
        self.head
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    }
    fn u64(&self, at: usize) -> u64 {
        self.head
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }
    /// Bytes at a place that may lie in the head or in the tail.
    fn anywhere(&self, at: u64, bytes: usize) -> Option<&[u8]> {
        let tail_from = self.size - self.tail.len() as u64;
        let (part, from) = if at >= tail_from {
            (self.tail, tail_from)
        } else {
            (self.head, 0)
        };
        let index = usize::try_from(at - from).unwrap_or(usize::MAX);
        part.get(index..index.checked_add(bytes)?)
    }
    fn text(&self, at: usize, bytes: usize) -> Option<String> {
        let text = clean(self.head.get(at..at + bytes)?);
        (!text.is_empty()).then_some(text)
    }
    /// Bytes counted from the end, where the device is so long.
    fn at_end(&self, back: u64, bytes: &[u8]) -> bool {
        self.size
            .checked_sub(back)
            .and_then(|at| self.anywhere(at, bytes.len()))
            == Some(bytes)
    }
}

/// A magic at fixed places.
struct Magic {
    kind: &'static str,
    bytes: &'static [u8],
    places: &'static [usize],
    /// Place and longest length of a label.
    label: Option<(usize, usize)>,
    member_of: Option<&'static str>,
}

const fn magic(kind: &'static str, bytes: &'static [u8], places: &'static [usize]) -> Magic {
    Magic {
        kind,
        bytes,
        places,
        label: None,
        member_of: None,
    }
}

impl Magic {
    const fn label(self, at: usize, bytes: usize) -> Magic {
        Magic {
            label: Some((at, bytes)),
            ..self
        }
    }
    const fn part(self, of: &'static str) -> Magic {
        Magic {
            member_of: Some(of),
            ..self
        }
    }
}

const STACK: &str = "part of a device-mapper stack";
const RAID: &str = "a member of a firmware RAID";

/// Everything that a magic of at least four bytes at a fixed place near the start tells.
static MAGICS: &[Magic] = &[
    magic("squashfs", b"hsqs", &[0]),
    magic("squashfs3", b"sqsh", &[0]),
    magic("f2fs", &[0x10, 0x20, 0xF5, 0xF2], &[1024]),
    magic("jfs", b"JFS1", &[32 << 10]).label((32 << 10) + 152, 16),
    magic("reiserfs", b"ReIsErFs", &[0x10034, 0x2034]),
    magic("reiserfs", b"ReIsEr2Fs", &[0x10034, 0x2034]).label(0x10000 + 100, 16),
    magic("reiserfs", b"ReIsEr3Fs", &[0x10034, 0x2034]).label(0x10000 + 100, 16),
    magic("reiser4", b"ReIsEr4", &[0x10000]),
    magic("ReFS", b"\0\0\0ReFS\0", &[0]),
    magic("apfs", b"NXSB", &[32]),
    magic("gfs2", &[0x01, 0x16, 0x19, 0x70, 0, 0, 0, 1], &[0x10000]).label(0x10000 + 160, 64),
    magic("ocfs2", b"OCFSV2", &[1024, 2048, 4096, 8192]),
    magic("ceph_bluestore", b"bluestore block device", &[0]).part("a Ceph device"),
    magic(
        "stratis",
        b"!Stra0tis\x86\xff\x02^\x41rh",
        &[512 + 4, 9 * 512 + 4],
    )
    .part("a Stratis device"),
    magic("DM_integrity", b"integrt\0", &[0]).part(STACK),
    magic("DM_verity_hash", b"verity\0\0", &[0]).part(STACK),
    magic("DM_snapshot_cow", b"SnAp", &[0]).part(STACK),
    magic("erofs", &[0xE2, 0xE1, 0xF5, 0xE0], &[1024]).label(1024 + 64, 16),
    magic(
        "ufs",
        &[0x54, 0x19, 0x01, 0x00],
        &[0x55C, 8192 + 0x55C, 65536 + 0x55C],
    ),
    magic(
        "ufs",
        &[0x00, 0x01, 0x19, 0x54],
        &[0x55C, 8192 + 0x55C, 65536 + 0x55C],
    ),
    magic(
        "ufs",
        &[0x19, 0x01, 0x54, 0x19],
        &[0x55C, 8192 + 0x55C, 65536 + 0x55C],
    ),
    magic(
        "ufs",
        &[0x19, 0x54, 0x01, 0x19],
        &[0x55C, 8192 + 0x55C, 65536 + 0x55C],
    ),
    magic("befs", b"1SFB", &[32]).label(0, 32),
    magic("befs", b"1SFB", &[512 + 32]).label(512, 32),
    magic("befs", b"BFS1", &[32]).label(0, 32),
    magic("bfs", &[0xCE, 0xFA, 0xAD, 0x1B], &[0]),
    magic("hpfs", &[0x49, 0xE8, 0x95, 0xF9], &[8192]),
    magic("vxfs", &[0xF5, 0xFC, 0x01, 0xA5], &[1024]),
    magic("vxfs", &[0xA5, 0x01, 0xFC, 0xF5], &[1024]),
    magic("cramfs", &[0x45, 0x3D, 0xCD, 0x28], &[0, 512]),
    magic("cramfs", &[0x28, 0xCD, 0x3D, 0x45], &[0, 512]),
    magic("romfs", b"-rom1fs-", &[0]).label(16, 16),
    magic("ubi", b"UBI#", &[0]),
    magic("ubifs", &[0x31, 0x18, 0x10, 0x06], &[0]),
    magic("zonefs", &[0x53, 0x46, 0x4F, 0x5A], &[0]),
    magic("xfs_external_log", &[0xFE, 0xED, 0xBA, 0xBE, 0, 0, 0], &[0, 512]),
    magic("LVM1_member", b"HM\x01\0", &[0]).part("an LVM physical volume"),
    magic("LVM1_member", b"HM\x02\0", &[0]).part("an LVM physical volume"),
    magic("hpt37x_raid_member", &[0xF0, 0x16, 0x78, 0x5A], &[4608]).part(RAID),
    magic("hpt37x_raid_member", &[0xFD, 0x16, 0x78, 0x5A], &[4608]).part(RAID),
    magic("swap suspended", b"S1SUSPEND", &[4086, 65526]),
    magic("swap suspended", b"S2SUSPEND", &[4086, 65526]),
    magic("swap suspended", b"ULSUSPEND", &[4086, 65526]),
    magic("swap suspended", b"LINHIB0001", &[4086, 65526]),
    // Tables of other kinds, and files that were written to the device itself.
    magic("BSD disklabel", &[0x57, 0x45, 0x56, 0x82], &[512, 64]),
    magic("SGI disk label", &[0x0B, 0xE5, 0xA9, 0x41], &[0]),
    magic("AIX volume", &[0xC9, 0xC2, 0xD4, 0xC1], &[0]),
    magic("DragonFly disklabel", &[0x59, 0x4C, 0x46, 0xC4], &[512]),
    magic(
        "Amiga partition table",
        b"RDSK",
        &[0, 512, 1024, 1536, 2048, 2560, 3072, 3584],
    ),
    magic("Windows dynamic disk", b"PRIVHEAD", &[6 * 512]).part("a Windows dynamic disk"),
    magic("tar archive", b"ustar", &[257]),
];

/// Reads a range of a range.
fn part<D: Read + Seek>(device: &mut D, from: u64, size: u64, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(bytes);
    device.seek(SeekFrom::Start(from.saturating_add(at)))?;
    let room = size.saturating_sub(at).min(bytes as u64);
    (&mut *device).take(room).read_to_end(&mut buffer)?;
    Ok(buffer)
}

/// Whether something that is recognised seems to begin with these bytes: what [`sniff`] is asked about then.
pub fn begins(head: &[u8]) -> bool {
    let view = View {
        head,
        tail: &[],
        size: head.len() as u64,
    };
    let mut found = vec![];
    recognise(&view, &mut found);
    // What `sniff` looks for beside them: LVM, ISO 9660 and UDF, and the first list of a ZFS label.
    let lvm = (0..4_usize).any(|sector| view.at(sector * 512, b"LABELONE"));
    let optical = (16..32_usize).any(|block| {
        [b"CD001", b"NSR02", b"NSR03"]
            .into_iter()
            .any(|magic| view.at(block * 2048 + 1, magic))
    });
    let zfs = view.at(16 << 10, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    !found.is_empty() || lvm || optical || zfs
}

/// Everything recognised in `from..from + size` of a device.
///
/// # Errors
/// The device reports an error.
pub fn sniff<D: Read + Seek>(device: &mut D, from: u64, size: u64) -> io::Result<Vec<Signature>> {
    let head = part(device, from, size, 0, HEAD)?;
    let tail = part(device, from, size, size - size.min(HEAD as u64 * 2), HEAD * 2)?;
    let mut found = Vec::new();
    let view = View {
        head: &head,
        tail: &tail,
        size,
    };
    if let Some(Larger { name, words }) = members::lvm(device, from, size, &head)? {
        found.push(member("LVM2_member", "an LVM physical volume", name, words));
    }
    recognise(&view, &mut found);
    // VMware's: behind the first MiB.
    for (at, bytes, kind) in [
        (1 << 20, [0x0D, 0xD0, 0x01, 0xC0], "VMFS_volume_member"),
        (2 << 20, [0x5E, 0xF1, 0xAB, 0x2F], "VMFS"),
    ] {
        if part(device, from, size, at, 4)? == bytes {
            found.push(member(
                kind,
                "a VMFS extent",
                String::new(),
                "VMFS (VMware)".into(),
            ));
        }
    }
    optical(device, from, size, &mut found)?;
    match members::zfs(device, from, size)? {
        // Written over by something else: only that counts. With nothing else there, any label does.
        Zfs::Member { pool, whole } if whole || found.is_empty() => {
            found.push(member(
                "zfs_member",
                "a member of a ZFS pool",
                pool.name,
                pool.words,
            ));
        }
        Zfs::Member { .. } | Zfs::None { .. } => {}
    }
    Ok(found)
}

fn member(
    kind: impl Into<Cow<'static, str>>,
    member_of: &'static str,
    name: String,
    words: String,
) -> Signature {
    Signature {
        label: (!name.is_empty()).then_some(name),
        member_of: Some(member_of),
        words: Some(words),
        ..Signature::of(kind)
    }
}

fn labelled(kind: &'static str, label: Option<String>) -> Signature {
    Signature {
        label,
        ..Signature::of(kind)
    }
}

fn recognise(v: &View<'_>, found: &mut Vec<Signature>) {
    members_of(v, found);
    filesystems(v, found);
    for Magic {
        kind,
        bytes,
        places,
        label,
        member_of,
    } in MAGICS
    {
        if places.iter().any(|at| v.at(*at, bytes)) {
            found.push(Signature {
                label: label.and_then(|(at, bytes)| v.text(at, bytes)),
                member_of: *member_of,
                ..Signature::of(*kind)
            });
        }
    }
    tables(v, found);
}

/// Members whose metadata lie at the end, or say more than a magic.
fn members_of(v: &View<'_>, found: &mut Vec<Signature>) {
    // md 1.1 at 0, 1.2 at 4 KiB, 1.0 8–12 KiB before the end, 0.90 in the last whole 64 KiB but one.
    let md = [
        Some(0),
        Some(4096),
        v.size.checked_sub(8192).map(|at| at & !4095),
        (v.size & !0xFFFF).checked_sub(0x10000),
    ]
    .into_iter()
    .flatten()
    .find_map(|at| {
        v.anywhere(at, 256)
            .filter(|b| b.starts_with(&MD_MAGIC.to_le_bytes()))
    });
    if let Some(superblock) = md {
        let Larger { name, words } = members::md(superblock).unwrap_or_else(|| Larger {
            name: String::new(),
            words: "Linux RAID".into(),
        });
        found.push(member(
            "linux_raid_member",
            "a member of a Linux RAID (md)",
            name,
            words,
        ));
    }
    const BCACHE: [u8; 16] = *b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    const BCACHEFS: [u8; 16] = *b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    if v.at(4096 + 24, &BCACHE) {
        found.push(Signature {
            member_of: Some("a bcache device"),
            ..Signature::of("bcache")
        });
    }
    if v.at(4096 + 24, &BCACHEFS) {
        let many = v.head.get(4096 + 123).is_some_and(|n| *n > 1);
        found.push(Signature {
            member_of: many.then_some("a member of a bcachefs"),
            ..Signature::of("bcachefs")
        });
    }
    let aligned = v.size & !4095;
    let drbd = aligned.checked_sub(4096).and_then(|at| v.anywhere(at + 60, 4));
    if let Some([0x83, 0x74, 0x02, _]) = drbd {
        found.push(Signature {
            member_of: Some("a DRBD device"),
            ..Signature::of("drbd")
        });
    }
    let firmware = [
        ("isw_raid_member", v.at_end(1024, b"Intel Raid ISM Cfg Sig. ")),
        (
            "ddf_raid_member",
            v.at_end(512, &[0xDE, 0x11, 0xDE, 0x11]) || v.at_end(512, &[0x11, 0xDE, 0x11, 0xDE]),
        ),
        ("nvidia_raid_member", v.at_end(1024, b"NVIDIA")),
        ("lsi_mega_raid_member", v.at_end(512, b"$XIDE$")),
        (
            "promise_fasttrack_raid_member",
            [63, 255, 256, 16]
                .into_iter()
                .any(|back| v.at_end(back * 512, b"Promise Technology, Inc.")),
        ),
        (
            "hpt45x_raid_member",
            v.at_end(11 * 512, &[0xF3, 0x16, 0x78, 0x5A]) || v.at_end(11 * 512, &[0xFD, 0x16, 0x78, 0x5A]),
        ),
    ];
    for (kind, _) in firmware.into_iter().filter(|(_, is)| *is) {
        found.push(Signature {
            member_of: Some(RAID),
            ..Signature::of(kind)
        });
    }
}

fn filesystems(v: &View<'_>, found: &mut Vec<Signature>) {
    if v.at((64 << 10) + 0x40, b"_BHRfS_M") {
        let many = v.u64((64 << 10) + 0x88) > 1;
        found.push(Signature {
            member_of: many.then_some("a member of a btrfs of several devices"),
            ..labelled("btrfs", v.text((64 << 10) + 0x12B, 256))
        });
    }
    if v.at(0, b"LUKS\xba\xbe") {
        let label = if v.at(6, &[0, 2]) { v.text(24, 48) } else { None };
        found.push(labelled("crypto_LUKS", label));
    } else if [0x4000, 0x8000, 0x10000]
        .iter()
        .any(|at| v.at(*at, b"SKUL\xba\xbe"))
    {
        // The second header, where the first one is gone.
        found.push(Signature::of("crypto_LUKS"));
    }
    if v.at(1024 + 56, &[0x53, 0xEF]) {
        let journal = v.u16(1024 + 0x5C) & 4 != 0;
        let features = v.u16(1024 + 0x60);
        let kind = match (features & 8 != 0, journal, features & 0x40 != 0) {
            (true, _, _) => "jbd",
            (false, _, true) => "ext4",
            (false, true, false) => "ext3",
            (false, false, false) => "ext2",
        };
        found.push(labelled(kind, v.text(1024 + 120, 16)));
    }
    if v.at(0, b"XFSB") {
        found.push(labelled("xfs", v.text(108, 12)));
    }
    if [4096, 8192, 16384, 32768, 65536]
        .iter()
        .any(|page| v.at(page - 10, b"SWAPSPACE2") || v.at(page - 10, b"SWAP-SPACE"))
    {
        found.push(labelled("swap", v.text(1052, 16)));
    }
    if v.at(3, b"NTFS    ") {
        found.push(Signature::of("ntfs"));
    } else if v.at(3, b"EXFAT   ") {
        found.push(Signature::of("exfat"));
    } else if v.at(3, b"-FVE-FS-") {
        found.push(Signature::of("BitLocker"));
    } else if v.at(510, &[0x55, 0xAA]) && v.at(82, b"FAT32") {
        found.push(labelled("vfat", v.text(71, 11)));
    } else if v.at(510, &[0x55, 0xAA]) && (v.at(54, b"FAT1") || v.at(54, b"FAT ")) {
        found.push(labelled("vfat", v.text(43, 11)));
    }
    // Magics of two bytes, with what has to be beside them.
    let hfs = v.u16(1024).swap_bytes();
    let version = v.u16(1026).swap_bytes();
    if (hfs == 0x482B && version == 4) || (hfs == 0x4858 && version == 5) {
        found.push(Signature::of("hfsplus"));
    } else if hfs == 0x4244 && v.u32(1024 + 20).swap_bytes().is_multiple_of(512) && v.u32(1024 + 20) != 0 {
        let length = usize::from(v.head.get(1060).copied().unwrap_or(0)).min(27);
        found.push(labelled("hfs", v.text(1061, length)));
    }
    if v.u16(1024 + 6) == 0x3434 && v.u32(1024) == 2 && (200..=1024).contains(&v.u16(1024 + 8)) {
        found.push(labelled("nilfs2", v.text(1024 + 168, 80)));
    }
    let inodes = v.u16(1024);
    let old_minix =
        [0x137F, 0x138F, 0x2468, 0x2478].contains(&v.u16(1040)) && inodes != 0 && v.u16(1034) == 0;
    let minix3 = v.u16(1048) == 0x4D5A && v.u32(1024) != 0 && v.u16(1052).is_power_of_two();
    if old_minix || minix3 {
        found.push(Signature::of("minix"));
    }
}

/// Tables of other kinds that need more than a magic.
fn tables(v: &View<'_>, found: &mut Vec<Signature>) {
    if v.at(0, b"ER") && [512, 1024, 2048, 4096].iter().any(|at| v.at(*at, b"PM\0\0"))
        || v.at(512, b"PM\0\0\0\0")
    {
        found.push(Signature::of("Apple partition map"));
    }
    if v.at(508, &[0xDA, 0xBE]) {
        let sum = v.head.get(..512).map_or(1, |label| {
            label
                .chunks_exact(2)
                .fold(0, |sum, word| sum ^ u16::from_be_bytes([word[0], word[1]]))
        });
        if sum == 0 {
            found.push(Signature::of("Sun disk label"));
        }
    }
}

/// ISO 9660 and UDF: volume descriptors from 32 KiB on.
fn optical<D: Read + Seek>(
    device: &mut D,
    from: u64,
    size: u64,
    found: &mut Vec<Signature>,
) -> io::Result<()> {
    let area = part(device, from, size, 32 << 10, 64 << 10)?;
    if area.get(1..6) == Some(b"CD001") {
        let label = area.get(40..72).map(clean).filter(|label| !label.is_empty());
        found.push(labelled("iso9660", label));
    }
    let udf = area
        .chunks_exact(2048)
        .any(|d| d.get(1..6) == Some(b"NSR02") || d.get(1..6) == Some(b"NSR03"));
    if udf {
        found.push(labelled("udf", udf_label(device, from, size)?));
    }
    Ok(())
}

/// The name of a UDF volume: the anchor at block 256 names a sequence of descriptors, one of which holds it.
fn udf_label<D: Read + Seek>(device: &mut D, from: u64, size: u64) -> io::Result<Option<String>> {
    let number = |raw: &[u8], at: usize| {
        raw.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    for block in [512_u64, 2048, 4096, 1024] {
        let anchor = part(device, from, size, 256 * block, 512)?;
        // A descriptor tag: what it is, and where it says that it lies.
        if anchor.get(..2) != Some(&[2, 0]) || number(&anchor, 12) != 256 {
            continue;
        }
        let (bytes, first) = (number(&anchor, 16), u64::from(number(&anchor, 20)));
        for index in 0..(u64::from(bytes) / block).min(64) {
            let descriptor = part(device, from, size, (first + index).saturating_mul(block), 512)?;
            let name = match descriptor.get(..2) {
                // Terminating descriptor.
                Some([8, 0]) => break,
                Some([6, 0]) => descriptor.get(84..212),
                _ => None,
            };
            if let Some(label) = name.and_then(dstring) {
                return Ok(Some(label));
            }
        }
    }
    Ok(None)
}

/// A string of fixed size: the first byte says 8 or 16 bits, the last one how many bytes are used.
fn dstring(raw: &[u8]) -> Option<String> {
    let (last, raw) = raw.split_last()?;
    let used = raw.get(..usize::from(*last))?;
    let text = match used.split_first()? {
        (8, text) => String::from_utf8_lossy(text).into_owned(),
        (16, text) => {
            let units: Vec<u16> = text
                .chunks_exact(2)
                .map(|unit| u16::from_be_bytes([unit[0], unit[1]]))
                .collect();
            String::from_utf16_lossy(&units)
        }
        _ => return None,
    };
    let text = clean(text.as_bytes());
    (!text.is_empty()).then_some(text)
}

/// The signatures in words; nothing when there is none.
pub fn describe(found: &[Signature]) -> Option<String> {
    let words: Vec<String> = found
        .iter()
        .map(|s| match (&s.words, &s.label) {
            (Some(words), _) => words.clone(),
            (None, Some(label)) => format!("{} {}", s.kind, quoted(label)),
            (None, None) => s.kind.to_string(),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(" and "))
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
