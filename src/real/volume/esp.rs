//! The ESP and the two checkpoint slots in it.
//!
//! Slots are allocated once, at full size, and then only overwritten in place. They are read from the block device, mounted
//! or not, before anything may repair or mount the filesystem.
//!
//! `states::checkpoint` says what a slot means, `checkpoint_store` chooses the slot to write, `real::world` writes it, and
//! `boot::files` has the boot loader's files.

use crate::event::Reporter;
use crate::real::RUN_DIR;
use crate::real::process::command::Program;
use crate::real::process::stop::Stop;
use crate::real::volume::block_io::{PAGE_BYTES, flush, io_fault, read_page, tool_fault, unless_read_only};
use crate::real::volume::probe::probe;
use crate::real::volume::slots::{DIRECTORY, NAMES, of_slot};
use crate::real::volume::{esp_root, slots};
use camino::{Utf8Path, Utf8PathBuf};
use fatfs::{Date, DateTime, FileSystem, FsOptions, Time, TimeProvider};
use fs_err as fs;
use landfall_states::Probe;
use landfall_states::actions::anchor_checkpoint::{EspFacts, SlotFile};
use landfall_states::fault::{DeviceFault, Fault, FaultClass};
use landfall_states::plan::Volume;
use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// Bytes that are read to find a slot: a hostile FAT can have directories without end.
const SEARCH_BYTES_MAX: usize = 16 << 20;
/// An allocated slot that was never written: no checkpoint, and easy on the eyes.
const BLANK: [u8; PAGE_BYTES] = [b'\n'; PAGE_BYTES];
/// FAT32 boot sector (Microsoft's FAT specification 1.03): volume serial number, sector of the backup, bytes per sector.
const VOLUME_ID_AT: usize = 0x43;
/// See [`VOLUME_ID_AT`].
const BACKUP_AT: usize = 0x32;
/// See [`VOLUME_ID_AT`].
const SECTOR_BYTES_AT: usize = 0x0B;

/// Where the ESP is mounted for the store, apart from the target.
pub fn store_mount() -> Utf8PathBuf {
    Utf8Path::new(RUN_DIR).join("esp")
}

/// A slot's path in a mounted ESP.
pub fn slot_path(mount: &Utf8Path, which: usize) -> Utf8PathBuf {
    DIRECTORY
        .iter()
        .fold(mount.to_owned(), |path, part| path.join(part))
        .join(of_slot(NAMES, which))
}

/// A device that tells where it was read, reads so much and no more, and may be closed to writing.
struct Watched<T> {
    inner: T,
    at: u64,
    reads: Rc<RefCell<Vec<(u64, usize)>>>,
    left: usize,
    writable: bool,
}

impl<T: Read + Seek> Read for Watched<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(buffer.len())
            .ok_or_else(|| io::Error::other("the filesystem has no end: gave up"))?;
        let read = self.inner.read(buffer)?;
        self.reads.borrow_mut().push((self.at, read));
        self.at += read as u64;
        Ok(read)
    }
}

impl<T: Write> Write for Watched<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let written = self.inner.write(buffer)?;
        self.at += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Seek> Seek for Watched<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.inner.seek(to)?;
        Ok(self.at)
    }
}

/// No clock: the same FAT is made every time (FAT time begins in 1980).
#[derive(Debug)]
struct Epoch;

impl TimeProvider for Epoch {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }
    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time {
                hour: 0,
                min: 0,
                sec: 0,
                millis: 0,
            },
        }
    }
}

fn open_fat<T: Read + Write + Seek>(
    mut inner: T,
    writable: bool,
) -> io::Result<(FileSystem<Watched<T>>, Reads)> {
    inner.seek(SeekFrom::Start(0))?;
    let reads = Reads::default();
    let disk = Watched {
        inner,
        at: 0,
        reads: reads.clone(),
        left: SEARCH_BYTES_MAX,
        writable,
    };
    let options = FsOptions::new().update_accessed_date(false).time_provider(&Epoch);
    Ok((FileSystem::new(disk, options)?, reads))
}

pub(crate) type Reads = Rc<RefCell<Vec<(u64, usize)>>>;

/// What fatfs makes of a filesystem. It calculates with numbers from the disk without checks and may panic; that is no reason to
/// fall. Nothing that it holds may outlive this.
fn borne<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(io::Error::other("the filesystem contradicts itself")))
}

/// Where the bytes of each slot lie, from the start of the FAT; `None` when it is not there, not of its size, or not in
/// one piece. Writes nothing.
///
/// # Errors
/// The FAT cannot be read or understood.
fn locate(fat: impl Read + Write + Seek) -> io::Result<[Option<u64>; 2]> {
    borne(|| find(fat))
}

fn find(fat: impl Read + Write + Seek) -> io::Result<[Option<u64>; 2]> {
    let (fs, reads) = open_fat(fat, false)?;
    let mut places = [None; 2];
    for (place, name) in places.iter_mut().zip(NAMES) {
        let path = format!("{}/{name}", DIRECTORY.join("/"));
        let mut file = match fs.root_dir().open_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if file.seek(SeekFrom::End(0))? != PAGE_BYTES as u64 {
            continue;
        }
        file.seek(SeekFrom::Start(0))?;
        reads.borrow_mut().clear();
        file.read_exact(&mut [0; PAGE_BYTES])?;
        // The file's bytes may have been read in parts; they are in one piece when the parts follow each other. Reads
        // of the FAT in between would break the row, and then the slot is taken for missing and made again.
        let reads = reads.borrow();
        let whole = reads.iter().map(|(_, n)| n).sum::<usize>() == PAGE_BYTES
            && reads
                .windows(2)
                .all(|w| matches!(*w, [(at, n), (next, _)] if at + n as u64 == next));
        *place = reads.first().filter(|_| whole).map(|(at, _)| *at);
    }
    Ok(places)
}

/// `locate` on a device. A FAT that cannot be understood has no slots; a device that cannot be read is a fault.
///
/// # Errors
/// The device cannot be read.
pub fn locate_on(device: &Utf8Path) -> Result<[Option<u64>; 2], Fault> {
    let file = fs::File::open(device).map_err(|e| io_fault(format!("ESP {device}"), &e))?;
    match locate(file) {
        Ok(places) => Ok(places),
        Err(error) => {
            let fault = io_fault(format!("ESP {device}"), &error);
            if fault.class == FaultClass::Hardware {
                return Err(fault);
            }
            tracing::warn!(%device, %error, "the slots cannot be found");
            Ok([None; 2])
        }
    }
}

/// Allocates slots with these contents, in full. Files of another size are made again. Nothing is flushed.
///
/// # Errors
/// The FAT cannot be understood or has no room, or the device reports an error.
pub fn allocate(fat: impl Read + Write + Seek, contents: [Option<&[u8; PAGE_BYTES]>; 2]) -> io::Result<()> {
    borne(|| make_files(fat, contents))
}

fn make_files(mut fat: impl Read + Write + Seek, contents: [Option<&[u8; PAGE_BYTES]>; 2]) -> io::Result<()> {
    let mut path = String::new();
    for part in DIRECTORY {
        path = if path.is_empty() {
            part.to_owned()
        } else {
            format!("{path}/{part}")
        };
        let (fs, _reads) = open_fat(&mut fat, true)?;
        fs.root_dir().create_dir(&path)?;
        fs.unmount()?;
        straighten(&mut fat, &path)?;
    }
    let (fs, _reads) = open_fat(fat, true)?;
    {
        let dir = fs.root_dir().open_dir(&path)?;
        for (name, contents) in NAMES.iter().zip(contents) {
            let Some(contents) = contents else { continue };
            let mut file = dir.create_file(name)?;
            file.truncate()?;
            file.write_all(contents)?;
            file.flush()?;
        }
    }
    fs.unmount()
}

/// Repairs a new directory: fatfs 0.3.6 writes `.` and `..` with a long name before each, so that `.` is the second entry and
/// `..` the fourth. fsck.fat takes such a directory for damaged and "repairs" it. They become the first and the second,
/// and the two places left over are marked free.
fn straighten(mut fat: impl Read + Write + Seek, path: &str) -> io::Result<()> {
    const ENTRY: usize = 32;
    const FREE: u8 = 0xE5;
    let (fs, reads) = open_fat(&mut fat, false)?;
    let dir = fs.root_dir().open_dir(path)?;
    reads.borrow_mut().clear();
    dir.iter().next().transpose()?;
    let start = reads.borrow().first().map(|(at, _)| *at);
    drop(dir);
    drop(fs);
    let Some(start) = start else {
        return Err(io::Error::other(format!("directory {path} has no place")));
    };
    let mut entries = [0; 4 * ENTRY];
    fat.seek(SeekFrom::Start(start))?;
    fat.read_exact(&mut entries)?;
    let (dot, dots) = (&entries[ENTRY..ENTRY + 11], &entries[3 * ENTRY..3 * ENTRY + 11]);
    if dot != b".          " || dots != b"..         " {
        return Ok(());
    }
    entries.copy_within(ENTRY..2 * ENTRY, 0);
    entries.copy_within(3 * ENTRY.., ENTRY);
    if !path.contains('/') {
        // The parent is the root directory, which FAT calls cluster 0 here, whatever its number (specification 1.03,
        // section 6.5); fatfs writes its number. High half at 20, low half at 26.
        entries[ENTRY + 20..ENTRY + 22].fill(0);
        entries[ENTRY + 26..ENTRY + 28].fill(0);
    }
    entries[2 * ENTRY] = FREE;
    entries[3 * ENTRY] = FREE;
    fat.seek(SeekFrom::Start(start))?;
    fat.write_all(&entries)
}

fn allocate_on(device: &Utf8Path, contents: [Option<&[u8; PAGE_BYTES]>; 2]) -> Result<(), Fault> {
    let what = || format!("checkpoint slots on {device}");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|e| io_fault(what(), &e))?;
    allocate(file, contents).map_err(|e| io_fault(what(), &e))?;
    flush(device)?;
    let places = locate_on(device)?;
    for (which, (wanted, place)) in contents.into_iter().zip(places).enumerate() {
        let Some(wanted) = wanted else { continue };
        let back = place.map(|place| read_page(device, place)).transpose()?;
        if back.as_deref() != Some(wanted.as_slice()) {
            return Err(Fault::read_back(
                what(),
                format!("slot {which} reads back differently from what was written"),
            ));
        }
    }
    Ok(())
}

/// Writes the volume serial number: into the backup boot sector, flush, then into the boot sector, flush. The latter is
/// what everybody reads, so it is the commit record.
///
/// # Errors
/// The device cannot be written or flushed.
fn set_volume_id(device: &Utf8Path, id: u32) -> Result<(), Fault> {
    let what = || format!("volume id of the ESP {device}");
    let io = |e: io::Error| io_fault(what(), &e);
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(io)?;
    let mut boot = [0; 512];
    file.read_exact(&mut boot).map_err(io)?;
    let backup = u16::from_le_bytes([boot[BACKUP_AT], boot[BACKUP_AT + 1]]);
    let sector_bytes = u16::from_le_bytes([boot[SECTOR_BYTES_AT], boot[SECTOR_BYTES_AT + 1]]);
    if &boot[0x52..0x5A] != b"FAT32   " || boot[510..] != [0x55, 0xAA] || backup == 0 || backup == u16::MAX {
        return Err(Fault::read_back(
            what(),
            "the boot sector differs from the one that was written",
        ));
    }
    for sector in [backup, 0] {
        let at = u64::from(sector) * u64::from(sector_bytes) + VOLUME_ID_AT as u64;
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        file.write_all(&id.to_le_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
    }
    flush(device)
}

/// Whether the FAT was not unmounted: Linux sets bit 0 of the byte before the extended boot signature while it is
/// mounted for writing (`fs/fat/inode.c`, `fat_set_state`).
///
/// # Errors
/// The device cannot be read.
fn is_dirty(device: &Utf8Path) -> Result<bool, Fault> {
    let mut boot = [0; 0x42];
    let io = |e: io::Error| io_fault(format!("ESP {device}"), &e);
    fs::File::open(device)
        .map_err(io)?
        .read_exact(&mut boot)
        .map_err(io)?;
    Ok(boot[0x41] & 1 != 0)
}

/// Makes the ESP: FAT and slots under the provisional id, flushed; then the planned id, flushed.
///
/// # Errors
/// `mkfs.vfat` fails, or the device reports an error.
pub async fn make_esp(
    device: &Utf8Path,
    volume: &Volume,
    sector_bytes: u32,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    reporter.step(format!("mkfs.vfat {}", volume.label));
    // Clusters of 4 KiB: a slot is one cluster, and the smallest ESP still is a FAT32. `--invariant` must come before
    // the id, which it would replace; `--mbr=n`: no partition table inside the partition.
    let clusters = (PAGE_BYTES as u32 / sector_bytes.max(512)).max(1).to_string();
    let sectors = sector_bytes.to_string();
    let id = format!("{:08X}", Volume::fat_serial(&volume.provisional));
    Program::new("mkfs.vfat")
        .args([
            "--invariant",
            "--mbr=n",
            "-F",
            "32",
            "-s",
            &clusters,
            "-S",
            &sectors,
        ])
        .args(["-n", &volume.label, "-i", &id, device.as_str()])
        .deadline(Duration::from_secs(300))
        .run(reporter, stop)
        .await?
        .or_fault(|how| unless_read_only(device, tool_fault(format!("ESP {device}"), how)))?;
    allocate_on(device, [Some(&BLANK), Some(&BLANK)])?;
    set_volume_id(device, Volume::fat_serial(&volume.id))
}

/// The slots of an ESP: where they are allocated, or, where no directory has any, wherever they lie.
fn slots_of(device: &Utf8Path, places: [Option<u64>; 2]) -> Result<[Option<Vec<u8>>; 2], Fault> {
    if places == [None, None] {
        let io = |e: io::Error| io_fault(format!("ESP {device}"), &e);
        let mut file = fs::File::open(device).map_err(io)?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(io)?;
        let found = slots::read(&mut file, 0, bytes, true).map_err(io)?.bytes;
        return Ok(found.map(|slot| slot.filter(|bytes| bytes.len() == PAGE_BYTES)));
    }
    let mut slots = [None, None];
    for (slot, place) in slots.iter_mut().zip(places) {
        *slot = place.map(|place| read_page(device, place)).transpose()?;
    }
    Ok(slots)
}

/// Whether this is the finished ESP and its root directory was ruined, or a directory above the slots, which still lie on it. Such an ESP is
/// repaired while it is looked at, so that no order is made of it and no checkpoint saved: the next one has to follow these slots.
///
/// # Errors
/// The device cannot be read.
pub fn is_cut_off(device: &Utf8Path, volume: &Volume) -> Result<bool, Fault> {
    if esp_root::is_lost(device, volume)? {
        return Ok(true);
    }
    let places = locate_on(device)?;
    let is_ours = places == [None, None] && esp_root::is_of(device, volume)?;
    Ok(is_ours && slots_of(device, places)?.iter().any(Option::is_some))
}

/// Repairs an ESP that was not unmounted, or whose root directory was ruined. The slots are read first and are there afterwards,
/// whatever the repair thinks of them.
///
/// # Errors
/// `fsck.vfat` fails, or the device reports an error.
pub async fn repair_esp(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    if !is_dirty(device)? && !is_cut_off(device, volume)? {
        // A cut, or somebody who ran it by hand, may have left these.
        return remove_reclaimed(device, reporter);
    }
    repair_damaged_esp(device, volume, reporter, stop).await
}

/// How often `fsck.vfat` repairs: what it does may leave something that only its next run sees. A directory whose first cluster was not
/// allocated yet when the power went has no cluster afterwards, with which the kernel takes no directory, and the next run deletes it.
const REPAIRS_MAX: u32 = 4;

/// The same for an ESP in which the kernel met an error.
///
/// # Errors
/// As [`repair_esp`].
pub async fn repair_damaged_esp(
    device: &Utf8Path,
    volume: &Volume,
    reporter: &Reporter,
    stop: &Stop,
) -> Result<(), Fault> {
    let places = locate_on(device)?;
    let kept = slots_of(device, places)?;
    if esp_root::is_lost(device, volume)? {
        reporter.notice(
            "the root directory of the ESP was damaged; landfall makes it again, and writes the lost files again",
        );
        esp_root::put_back(device, places.iter().all(Option::is_some))?;
    }
    reporter.step("fsck.vfat: the ESP was not unmounted cleanly, or lost entries");
    for _ in 0..REPAIRS_MAX {
        let ended = Program::new("fsck.vfat")
            .args(["-a", device.as_str()])
            .deadline(Duration::from_secs(600))
            .run(reporter, stop)
            .await?;
        flush(device)?;
        match ended.code {
            Some(0) => break,
            // fsck.fat(8): 1 is "errors were found", with -a also the dirty bit itself; what counts is what is there now.
            Some(1) => {}
            _ => return Err(tool_fault(format!("ESP {device}"), ended.how())),
        }
    }
    put_slots_back(device, &kept, reporter)?;
    remove_reclaimed(device, reporter)
}

/// Allocates again what `fsck.vfat` took for damaged.
fn put_slots_back(device: &Utf8Path, kept: &[Option<Vec<u8>>; 2], reporter: &Reporter) -> Result<(), Fault> {
    let places = locate_on(device)?;
    let mut lost: [Option<[u8; PAGE_BYTES]>; 2] = [None, None];
    for ((bytes, place), lost) in kept.iter().zip(places).zip(&mut lost) {
        let Some(bytes) = bytes else { continue };
        let now = place.map(|place| read_page(device, place)).transpose()?;
        if now.as_ref() != Some(bytes) {
            *lost = Some(page(bytes)?);
        }
    }
    if lost.iter().all(Option::is_none) {
        return Ok(());
    }
    reporter.notice("the ESP lost a checkpoint slot; landfall makes it again");
    let slots = [lost[0].as_ref(), lost[1].as_ref()];
    // Chains that it kept may have taken all the room.
    if allocate_on(device, slots).is_err() {
        remove_reclaimed(device, reporter)?;
        allocate_on(device, slots)?;
    }
    Ok(())
}

/// Whether `fsck.vfat` gives this name to a chain of clusters that no file has.
pub fn is_reclaimed(name: &str) -> bool {
    let number = name
        .strip_prefix("FSCK")
        .and_then(|rest| rest.strip_suffix(".REC"));
    number.is_some_and(|number| number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()))
}

fn has_reclaimed(fat: impl Read + Write + Seek) -> io::Result<bool> {
    let (fs, _reads) = open_fat(fat, false)?;
    for entry in fs.root_dir().iter() {
        if is_reclaimed(&entry?.file_name()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes what `fsck.vfat` made of chains that no file has: parts of kernels and initrds that were being copied when the power
/// went, 60 MiB each time, until the ESP is full. Whoever ran it: the ESP was made empty by this install, nothing in it is older, and
/// everything in it is written again. The slots are in their files by now.
fn remove_reclaimed(device: &Utf8Path, reporter: &Reporter) -> Result<(), Fault> {
    let what = || format!("FSCK*.REC on {device}");
    let looked = fs::File::open(device).and_then(|file| borne(|| has_reclaimed(file)));
    // What cannot be read is looked at by who writes.
    if matches!(looked, Ok(false)) {
        return Ok(());
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|e| io_fault(what(), &e))?;
    let removed = borne(|| {
        let (fs, _reads) = open_fat(file, true)?;
        let mut removed = vec![];
        {
            let top = fs.root_dir();
            for entry in top.iter() {
                let entry = entry?;
                if entry.is_file() && is_reclaimed(&entry.file_name()) {
                    removed.push((entry.file_name(), entry.len()));
                }
            }
            for (name, _) in &removed {
                top.remove(name)?;
            }
        }
        fs.unmount()?;
        Ok(removed)
    });
    match removed {
        Ok(removed) if removed.is_empty() => Ok(()),
        Ok(removed) => {
            let bytes: u64 = removed.iter().map(|(_, bytes)| bytes).sum();
            reporter.step(format!(
                "delete {} file(s) FSCK*.REC from the ESP, {bytes} bytes: parts of files that fsck.vfat recovered",
                removed.len()
            ));
            flush(device)
        }
        Err(error) => {
            let fault = io_fault(what(), &error);
            if fault.class == FaultClass::Hardware {
                return Err(fault);
            }
            // They take room and nothing else.
            reporter.notice(format!(
                "the files FSCK*.REC on the ESP could not be deleted: {fault}"
            ));
            flush(device)
        }
    }
}

fn page(bytes: &[u8]) -> Result<[u8; PAGE_BYTES], Fault> {
    bytes
        .try_into()
        .map_err(|_| Fault::defect("slot", format!("{} bytes long, not {PAGE_BYTES}", bytes.len())))
}

pub(crate) fn missing(which: usize, place: &Utf8Path) -> Fault {
    DeviceFault::SlotMissing {
        slot: which as u8,
        name: of_slot(NAMES, which).to_string(),
        place: place.to_string(),
        bytes: PAGE_BYTES as u64,
    }
    .into()
}

/// Allocates the slots that are missing, and flushes. What is there by now, because it was put back, stays.
///
/// # Errors
/// The FAT has no room, or the device reports an error.
pub fn allocate_slots(device: &Utf8Path, missing: [bool; 2]) -> Result<(), Fault> {
    let places = locate_on(device)?;
    let mut wanted = [None; 2];
    for ((wanted, missing), place) in wanted.iter_mut().zip(missing).zip(places) {
        *wanted = (missing && place.is_none()).then_some(&BLANK);
    }
    allocate_on(device, wanted)
}

/// What is on the ESP's device.
///
/// # Errors
/// The device cannot be read.
pub async fn observe_esp(device: &Utf8Path, reporter: &Reporter, stop: &Stop) -> Result<EspFacts, Fault> {
    let probe = probe(device, reporter, stop).await?;
    let slots = match &probe {
        Probe::Found(found) if found.kind == "vfat" => locate_on(device)?.map(|place| match place {
            Some(_) => SlotFile::Allocated,
            None => SlotFile::Missing,
        }),
        Probe::Found(_) | Probe::Blank | Probe::Ambiguous(_) => [SlotFile::Missing; 2],
    };
    // A process that was killed between the last write and its flush leaves the flush to us.
    flush(device)?;
    Ok(EspFacts { probe, slots })
}

#[cfg(test)]
#[path = "esp_tests.rs"]
mod tests;
