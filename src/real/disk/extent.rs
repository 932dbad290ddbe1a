//! Reads the length of a filesystem from its superblock.
//!
//! Bytes behind the end that a superblock gives are not part of the filesystem, and are looked at like a disk without a
//! table. If no end is known, everything else that begins on the disk is reported. Containers and members of something larger
//! take the whole disk.
//!
//! `outside` looks at what lies behind an end.

use super::signature::Signature;
use std::io::{self, Read, Seek, SeekFrom};

/// The end of what begins at the start of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All of the disk belongs to it.
    Whole,
    /// It ends before this byte.
    At(u64),
    /// It does not say, or there are several.
    Unknown,
}

/// Where each kind has its length, from the specifications and headers of Linux.
struct Fields<'a, D> {
    device: &'a mut D,
}

impl<D: Read + Seek> Fields<'_, D> {
    fn bytes<const N: usize>(&mut self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.device.seek(SeekFrom::Start(at))?;
        match self.device.read_exact(&mut bytes) {
            // A disk that ends here: no number that means anything.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok([0; N]),
            other => other.map(|()| bytes),
        }
    }

    fn byte(&mut self, at: u64) -> io::Result<u64> {
        Ok(u64::from(self.bytes::<1>(at)?[0]))
    }

    fn le16(&mut self, at: u64) -> io::Result<u64> {
        Ok(u64::from(u16::from_le_bytes(self.bytes(at)?)))
    }

    fn le32(&mut self, at: u64) -> io::Result<u64> {
        Ok(u64::from(u32::from_le_bytes(self.bytes(at)?)))
    }

    fn le64(&mut self, at: u64) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(at)?))
    }

    fn ext(&mut self) -> io::Result<Option<u64>> {
        const HAS_64BIT: u64 = 0x80;
        let block = shifted(1_024, self.le32(1_024 + 0x18)?);
        let high = if self.le32(1_024 + 0x60)? & HAS_64BIT == 0 {
            0
        } else {
            self.le32(1_024 + 0x150)?
        };
        let blocks = self.le32(1_024 + 0x04)? | high << 32;
        Ok(block.and_then(|block| blocks.checked_mul(block)))
    }

    fn fat(&mut self) -> io::Result<Option<u64>> {
        let (sector, small) = (self.le16(0x0B)?, self.le16(0x13)?);
        let sectors = if small == 0 { self.le32(0x20)? } else { small };
        Ok(sectors.checked_mul(sector))
    }

    fn ntfs(&mut self) -> io::Result<Option<u64>> {
        let sector = self.le16(0x0B)?;
        // Its copy of the first sector is behind what it counts.
        let sectors = self.le64(0x28)?.checked_add(1);
        Ok(sectors.and_then(|sectors| sectors.checked_mul(sector)))
    }

    /// Counted in pages of the machine that made it, in its order of bytes; the last bytes of its first page are its name.
    fn swap(&mut self) -> io::Result<Option<u64>> {
        for page in [4_096_u64, 8_192, 16_384, 32_768, 65_536] {
            let name: [u8; 10] = self.bytes(page - 10)?;
            if [b"SWAPSPACE2", b"SWAP-SPACE"].contains(&&name) {
                let (version, last): ([u8; 4], [u8; 4]) = (self.bytes(1_024)?, self.bytes(1_028)?);
                let last = if u32::from_be_bytes(version) == 1 {
                    u32::from_be_bytes(last)
                } else {
                    u32::from_le_bytes(last)
                };
                return Ok(Some((u64::from(last) + 1) * page));
            }
        }
        Ok(None)
    }

    fn length(&mut self, kind: &str) -> io::Result<Option<u64>> {
        const BTRFS: u64 = 64 << 10;
        const ISO: u64 = 16 * 2_048;
        Ok(match kind {
            "ext2" | "ext3" | "ext4" => self.ext()?,
            "vfat" => self.fat()?,
            "ntfs" => self.ntfs()?,
            "exfat" => shifted(1, self.byte(0x6C)?).and_then(|sector| {
                let sectors = self.le64(0x48).ok()?;
                sectors.checked_mul(sector)
            }),
            "xfs" => {
                let block = u64::from(u32::from_be_bytes(self.bytes(4)?));
                u64::from_be_bytes(self.bytes(8)?).checked_mul(block)
            }
            // What it has of this device.
            "btrfs" => Some(self.le64(BTRFS + 0xC9 + 8)?),
            "iso9660" => self.le32(ISO + 80)?.checked_mul(self.le16(ISO + 128)?),
            "squashfs" => Some(self.le64(40)?),
            "f2fs" => {
                let (shift, blocks) = (self.le32(1_024 + 16)?, self.le64(1_024 + 36)?);
                shifted(1, shift).and_then(|block| blocks.checked_mul(block))
            }
            "erofs" => {
                let (shift, blocks) = (self.byte(1_024 + 12)?, self.le32(1_024 + 36)?);
                shifted(1, shift).and_then(|block| blocks.checked_mul(block))
            }
            "swap" => self.swap()?,
            _ => None,
        })
    }
}

fn shifted(unit: u64, by: u64) -> Option<u64> {
    u32::try_from(by).ok().filter(|by| *by <= 30).map(|by| unit << by)
}

/// Where what begins at the start of a disk of this size ends.
///
/// # Errors
/// The device reports an error.
pub(crate) fn end<D: Read + Seek>(device: &mut D, found: &[Signature], size: u64) -> io::Result<End> {
    let takes_all = |signature: &Signature| {
        signature.member_of.is_some()
            || signature.kind.starts_with("crypto_")
            || signature.kind == "BitLocker"
    };
    if found.iter().any(takes_all) {
        return Ok(End::Whole);
    }
    let [signature] = found else {
        return Ok(End::Unknown);
    };
    let length = Fields { device }.length(&signature.kind)?;
    Ok(match length {
        // It says nonsense, or it is longer than the disk.
        None | Some(0) => End::Unknown,
        Some(bytes) if bytes >= size => End::Whole,
        Some(bytes) => End::At(bytes),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::signature::sniff;
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::command::Program;
    use crate::real::process::stop::Stop;
    use camino::Utf8PathBuf;

    fn made(dir: &tempfile::TempDir, program: &str, args: &[&str]) -> Utf8PathBuf {
        let path = Utf8PathBuf::from_path_buf(dir.path().join(program)).unwrap();
        let file = fs_err::File::create(&path).unwrap();
        file.set_len(400 << 20).unwrap();
        let run = Program::new(program)
            .args(args.iter().copied())
            .args([path.as_str()]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ended = runtime
            .block_on(run.run(&Reporter::default(), &Stop::never()))
            .unwrap();
        assert!(ended.success(), "{}", ended.said());
        // Put on a larger disk.
        fs_err::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        path
    }

    /// What real programs made for 400 MiB ends there, to a cluster or a sector.
    #[test]
    fn the_length_is_that_of_what_was_made() {
        let dir = tempfile::tempdir().unwrap();
        for (program, args) in [
            ("mkfs.ext4", &["-q", "-F"][..]),
            ("mkfs.vfat", &["-F", "32"]),
            ("mkswap", &[]),
            ("mkswap", &["-p", "16384"]),
            ("mkswap", &["-p", "65536"]),
        ] {
            let path = made(&dir, program, args);
            let mut file = fs_err::File::open(&path).unwrap();
            let found = sniff(&mut file, 0, 1 << 30).unwrap();
            let End::At(bytes) = end(&mut file, &found, 1 << 30).unwrap() else {
                panic!("{program}: {found:?}")
            };
            assert!(
                bytes <= 400 << 20 && bytes > (400 << 20) - (64 << 10),
                "{program}: {bytes}"
            );
            // On a disk of its own size it takes all of it.
            assert_eq!(end(&mut file, &found, bytes).unwrap(), End::Whole, "{program}");
        }
    }

    #[test]
    fn what_does_not_say_is_not_known_and_a_member_takes_all() {
        let mut nothing = io::Cursor::new(vec![0; 1 << 20]);
        let mut of = |kinds: &[&'static str]| {
            let found: Vec<Signature> = kinds.iter().map(|kind| Signature::of(*kind)).collect();
            end(&mut nothing, &found, 1 << 20).unwrap()
        };
        for kind in [
            "ext4", "vfat", "ntfs", "xfs", "btrfs", "iso9660", "udf", "f2fs", "exfat",
        ] {
            assert_eq!(of(&[kind]), End::Unknown, "{kind}");
        }
        assert_eq!(of(&["ext4", "vfat"]), End::Unknown);
        assert_eq!(of(&["crypto_LUKS"]), End::Whole);
        let member = Signature {
            member_of: Some("a member of a ZFS pool"),
            ..Signature::of("zfs_member")
        };
        assert_eq!(
            end(&mut io::Cursor::new([0; 8]), &[member], 8).unwrap(),
            End::Whole
        );
    }
}
