//! Reads the checkpoint's two slots directly from the device.
//!
//! Nothing is mounted and nothing is written, because slots are read before any fsck or read-write mount. Whatever the
//! partition holds, reading ends within a bound of bytes and operations, never panics, and gives raw bytes that nothing has
//! judged yet.
//!
//! `volume::esp` allocates slots, `real::world` writes them in place, and `states::checkpoint` and `states::recovery` decode
//! and judge them.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use landfall_states::checkpoint::SLOT_BYTES;

/// The magic that every slot begins with.
pub const MAGIC: &[u8] = landfall_states::checkpoint::MAGIC.as_bytes();
/// Where the slots are on the ESP: a directory of landfall's own, because systemd-boot's builder deletes unknown files in
/// its own.
pub const DIRECTORY: [&str; 2] = ["EFI", "LANDFALL"];
/// The slots' names in [`DIRECTORY`].
pub const NAMES: [&str; 2] = ["CKPT0.BIN", "CKPT1.BIN"];

/// What one of the slots has, of what both have.
pub(in crate::real) fn of_slot<T>([first, second]: [T; 2], which: usize) -> T {
    if which & 1 == 0 { first } else { second }
}

/// How much of the ESP is scanned for slots whose directory cannot be read; a new filesystem has them right after the FATs.
const SCAN_BYTES_MAX: u64 = 64 << 20;
/// A partition that begins with so many zeros was wiped and never formatted: it has no slots.
const ZEROS_BYTES: u64 = 8 << 20;
/// Bytes that reading a slot through the filesystem may take: the directory, two slots, and the sectors of the FAT on the way.
const FAT_BYTES_MAX: u64 = 32 << 20;
/// Reads and seeks that this may take: a cyclic cluster chain ends here.
const FAT_OPERATIONS_MAX: u64 = 200_000;

/// The slots of one ESP, and how they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The raw bytes.
    pub bytes: [Option<Vec<u8>>; 2],
    /// Why the directory could not be used, when it could not; the slots are then from a scan, in order of place.
    pub unreadable: Option<String>,
}

/// A part of a device, seen as a whole. Writes are refused. Operations and bytes are counted down.
#[derive(Debug)]
pub struct Region<D> {
    device: D,
    from: u64,
    bytes: u64,
    position: u64,
    bytes_left: u64,
    operations_left: u64,
    /// The first error of the device itself, which the filesystem's reader would hide.
    failed: Option<io::Error>,
}

impl<D: Read + Seek> Region<D> {
    /// `bytes` bytes of `device` from `from`.
    pub fn new(device: D, from: u64, bytes: u64) -> Self {
        Region {
            device,
            from,
            bytes,
            position: 0,
            bytes_left: FAT_BYTES_MAX,
            operations_left: FAT_OPERATIONS_MAX,
            failed: None,
        }
    }

    fn count(&mut self) -> io::Result<()> {
        self.operations_left = self
            .operations_left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("its cluster chain is a loop"))?;
        Ok(())
    }
}

impl<D: Read + Seek> Read for Region<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.count()?;
        let room = self.bytes.saturating_sub(self.position).min(buffer.len() as u64);
        let room = usize::try_from(room).map_err(io::Error::other)?;
        if room == 0 {
            return Ok(0);
        }
        if self.bytes_left < room as u64 {
            return Err(io::Error::other("its cluster chain is a loop"));
        }
        let place = self
            .from
            .checked_add(self.position)
            .ok_or(io::ErrorKind::InvalidInput)?;
        #[expect(
            clippy::indexing_slicing,
            reason = "`room` is at most the length of the buffer"
        )]
        let read = self
            .device
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.device.read(&mut buffer[..room]));
        match read {
            Ok(n) => {
                self.position += n as u64;
                self.bytes_left -= n as u64;
                Ok(n)
            }
            Err(error) => {
                let kind = error.kind();
                if kind != io::ErrorKind::Interrupted && self.failed.is_none() {
                    self.failed = Some(error);
                }
                Err(kind.into())
            }
        }
    }
}

impl<D: Read + Seek> Seek for Region<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.count()?;
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<D> Write for Region<D> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads both slots from the ESP that lies in `from..from + bytes` of a device. An error is an I/O error of the device.
///
/// A directory that cannot be read is followed by a search for the magic. One that can be read and has no slots is
/// believed, unless `thorough`: the table says that the ESP is ours, so there should be some.
///
/// # Errors
/// The device reports an error.
pub fn read<D: Read + Seek>(device: &mut D, from: u64, bytes: u64, thorough: bool) -> io::Result<Slots> {
    let mut region = Region::new(&mut *device, from, bytes);
    // fatfs 0.3 calculates with numbers from the disk without checks and may panic; nothing it holds outlives this.
    let found = catch_unwind(AssertUnwindSafe(|| from_directory(&mut region)));
    let failed = region.failed.take();
    let unreadable = match found {
        Ok(Ok(slots)) if slots.iter().any(Option::is_some) => {
            return Ok(Slots {
                bytes: slots,
                unreadable: None,
            });
        }
        Ok(Ok(_)) if !thorough => return Ok(Slots::default()),
        Ok(Ok(_)) => "no slot in the directory".to_owned(),
        Ok(Err(why)) => why.to_string(),
        Err(_) => "the filesystem contradicts itself".to_owned(),
    };
    if let Some(error) = failed {
        return Err(error);
    }
    Ok(Slots {
        bytes: scan(device, from, bytes)?,
        unreadable: Some(unreadable),
    })
}

/// Names in the `EFI` folder of the ESP in `from..from + bytes`, so many at most. What cannot be read has none.
pub fn folders<D: Read + Seek>(device: &mut D, from: u64, bytes: u64) -> Vec<String> {
    const FOLDERS_MAX: usize = 64;
    let mut region = Region::new(&mut *device, from, bytes);
    let listed = catch_unwind(AssertUnwindSafe(|| -> io::Result<Vec<String>> {
        let fs = fatfs::FileSystem::new(&mut region, fatfs::FsOptions::new().update_accessed_date(false))?;
        let mut names = vec![];
        for entry in fs.root_dir().open_dir("EFI")?.iter().take(FOLDERS_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            if entry.is_dir() && name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }));
    match listed {
        Ok(Ok(names)) => names,
        Ok(Err(_)) | Err(_) => vec![],
    }
}

fn from_directory<D: Read + Seek>(region: &mut Region<D>) -> io::Result<[Option<Vec<u8>>; 2]> {
    let fs = fatfs::FileSystem::new(region, fatfs::FsOptions::new().update_accessed_date(false))?;
    let directory = match fs.root_dir().open_dir(&DIRECTORY.join("/")) {
        Ok(directory) => directory,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok([None, None]),
        Err(e) => return Err(e),
    };
    let mut slots = [None, None];
    for (slot, name) in slots.iter_mut().zip(NAMES) {
        let file = match directory.open_file(name) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        file.take(SLOT_BYTES as u64).read_to_end(&mut bytes)?;
        *slot = Some(bytes);
    }
    Ok(slots)
}

/// Looks for the magic at every 512 bytes. More than two finds mean that old copies lie about: the first two with
/// different contents are taken, and the recovery rules find out whether they belong together.
fn scan<D: Read + Seek>(device: &mut D, from: u64, bytes: u64) -> io::Result<[Option<Vec<u8>>; 2]> {
    const CHUNK: usize = 1 << 20;
    let end = bytes.min(SCAN_BYTES_MAX);
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut at = 0_u64;
    let mut only_zeros = true;
    while at < end && found.len() < 2 && !(only_zeros && at >= ZEROS_BYTES) {
        let mut chunk = read_up_to(
            device,
            from + at,
            CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK)),
        )?;
        if chunk.is_empty() {
            break;
        }
        let whole = chunk.len();
        only_zeros = only_zeros && chunk.iter().all(|b| *b == 0);
        // The last slot of the chunk may reach into the next one.
        let rest = usize::try_from((bytes - at).saturating_sub(whole as u64)).unwrap_or(SLOT_BYTES);
        chunk.extend(read_up_to(
            device,
            from + at + whole as u64,
            rest.min(SLOT_BYTES),
        )?);
        for offset in (0..whole).step_by(512) {
            #[expect(
                clippy::indexing_slicing,
                reason = "`offset` is below `whole`, which the chunk has at least"
            )]
            let slot = &chunk[offset..chunk.len().min(offset + SLOT_BYTES)];
            if slot.starts_with(MAGIC) && found.len() < 2 && !found.iter().any(|f| f == slot) {
                found.push(slot.to_vec());
            }
        }
        at += whole as u64;
    }
    let mut found = found.into_iter();
    Ok([found.next(), found.next()])
}

fn read_up_to<D: Read + Seek>(device: &mut D, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    device.seek(SeekFrom::Start(at))?;
    let mut buffer = Vec::with_capacity(bytes);
    device.take(bytes as u64).read_to_end(&mut buffer)?;
    Ok(buffer)
}

/// Whether a slot claims that an install had landed. Only ever makes landfall more careful, so a look at the text is
/// enough, and a slot whose check sum is wrong counts too.
pub fn finished_work(slots: &[Option<Vec<u8>>; 2]) -> bool {
    slots
        .iter()
        .flatten()
        .any(|slot| slot.starts_with(MAGIC) && slot.windows(7).any(|window| window == b"Landed("))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    const OFFSET: usize = 1 << 20;

    fn slot(text: &str) -> Vec<u8> {
        let mut bytes = format!("LANDFALL-CHECKPOINT 1 {text}\n").into_bytes();
        bytes.resize(SLOT_BYTES, b' ');
        bytes
    }

    /// A FAT32 of 40 MiB behind one mebibyte of something else.
    fn esp(slots: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut fat = Cursor::new(vec![0_u8; 40 << 20]);
        let options = fatfs::FormatVolumeOptions::new()
            .fat_type(fatfs::FatType::Fat32)
            .bytes_per_cluster(512);
        fatfs::format_volume(&mut fat, options).unwrap();
        {
            fat.set_position(0);
            let fs = fatfs::FileSystem::new(&mut fat, fatfs::FsOptions::new()).unwrap();
            let directory = fs
                .root_dir()
                .create_dir("EFI")
                .unwrap()
                .create_dir("LANDFALL")
                .unwrap();
            for (name, bytes) in slots {
                directory.create_file(name).unwrap().write_all(bytes).unwrap();
            }
        }
        let mut disk = vec![0xA5; OFFSET];
        disk.extend(fat.into_inner());
        disk
    }

    fn look(disk: &[u8]) -> Slots {
        let size = (disk.len() - OFFSET) as u64;
        read(&mut Cursor::new(disk), OFFSET as u64, size, false).unwrap()
    }

    #[test]
    fn both_slots_one_slot_and_none() {
        let both = look(&esp(&[("CKPT0.BIN", slot("a")), ("CKPT1.BIN", slot("b"))]));
        assert_eq!(both.bytes, [Some(slot("a")), Some(slot("b"))]);
        assert_eq!(both.unreadable, None);
        assert_eq!(
            look(&esp(&[("CKPT1.BIN", slot("b"))])).bytes,
            [None, Some(slot("b"))]
        );
        assert_eq!(look(&esp(&[])).bytes, [None, None]);
    }

    #[test]
    fn without_a_directory_the_magic_is_found() {
        let mut disk = esp(&[("CKPT0.BIN", slot("a")), ("CKPT1.BIN", slot("b"))]);
        disk[OFFSET..OFFSET + 512].fill(0);
        let seen = look(&disk);
        assert_eq!(seen.bytes, [Some(slot("a")), Some(slot("b"))]);
        assert!(seen.unreadable.is_some());
    }

    #[test]
    fn slots_that_straddle_a_chunk_or_the_end_are_taken_as_far_as_they_go() {
        let mut disk = vec![0_u8; OFFSET + (2 << 20)];
        let at = OFFSET + (1 << 20) - 512;
        disk[at..at + SLOT_BYTES].copy_from_slice(&slot("straddles"));
        let end = disk.len() - 1024;
        disk[end..].copy_from_slice(&slot("cut")[..1024]);
        let seen = look(&disk).bytes;
        assert_eq!(seen[0], Some(slot("straddles")));
        assert_eq!(seen[1].as_ref().map(Vec::len), Some(1024));
    }

    #[test]
    fn a_cyclic_chain_ends() {
        let mut disk = esp(&[("CKPT0.BIN", slot("a"))]);
        // Every entry of the first FAT points to cluster 3.
        let reserved = usize::from(u16::from_le_bytes([disk[OFFSET + 14], disk[OFFSET + 15]])) * 512;
        for entry in disk[OFFSET + reserved + 8..OFFSET + reserved + 4096].chunks_mut(4) {
            entry.copy_from_slice(&3_u32.to_le_bytes());
        }
        let seen = look(&disk);
        assert!(seen.bytes.iter().flatten().next().is_some());
    }

    #[test]
    fn an_error_of_the_device_is_not_taken_for_an_empty_slot() {
        struct Bad;
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        impl Seek for Bad {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(0)
            }
        }
        assert_eq!(
            read(&mut Bad, 0, 1 << 20, false).unwrap_err().raw_os_error(),
            Some(5)
        );
    }

    #[test]
    fn finished_work_is_seen_in_the_text() {
        assert!(finished_work(&[
            None,
            Some(slot("state: Landed(\"/nix/store/x\")"))
        ]));
        assert!(!finished_work(&[
            Some(slot("state: Bootable(\"/nix/store/x\")")),
            None
        ]));
        assert!(!finished_work(&[Some(b"Landed(".to_vec()), None]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_bytes_make_reading_panic_or_hang(
            flips in proptest::collection::vec((0_usize..600, any::<u8>()), 1..40),
        ) {
            let mut disk = esp(&[("CKPT0.BIN", slot("a"))]);
            for (at, byte) in flips {
                disk[OFFSET + at] = byte;
            }
            let seen = look(&disk);
            prop_assert!(seen.bytes.iter().flatten().all(|s| s.len() <= SLOT_BYTES));
        }

        #[test]
        fn arbitrary_partitions_read(bytes in proptest::collection::vec(any::<u8>(), 0..8_192)) {
            let size = bytes.len() as u64;
            prop_assert!(read(&mut Cursor::new(bytes), 0, size, true).is_ok());
        }
    }
}
