//! The partition with keys behind the installer image.
//!
//! The keys are in memory that is wiped, and on the stick, and nowhere else. The filesystem is on the stick and was read back
//! before the table names it, and it is zeros again before the table forgets it. A stick has no owners and no permissions:
//! anyone who holds it has the keys, and landfall says so before they are written.
//!
//! Whenever a byte of a key is on the stick, its filesystem's boot sector is there with the label: it is durable before the
//! first key is written, and is removed after the last key is zeros. So keys that an interrupted run left are found
//! (`keys_left`), whatever happened to the table.
//!
//! A stick's chip may keep old contents of an overwritten block, where only its maker can reach them; every computer reads
//! zeros from then on.
//!
//! `flash::table` has the place in the table, `flash::keys_left` looks for keys, and `real::secrets` is what the installer
//! takes from the medium.

use super::Watch;
use super::error::Error;
use super::keys_left::{self, ZERO_BYTES, is_zero};
use super::seeking::Seeking;
use super::source::Sum;
use super::table::{self, KEYS_BYTES, Place, Table};
use super::write::Stick;
use crate::image::pool::{ALIGNMENT_BYTES, Buffer};
use crate::real::disk::key_media::LABEL;
use crate::real::disk::usage::shell;
use crate::real::secret::Secret;
use crate::real::secrets::{credentials, key_text, passphrase};
use crate::real::table::gpt;
use crate::safe_open::{self, Links};
use camino::Utf8Path;
use gptman::{GPT, GPTPartitionEntry};
use landfall_states::fault::Fault;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use uuid::Uuid;

/// Longest key.
const KEY_BYTES_MAX: usize = 64 << 10;

/// Basic data (UEFI 2.10, and Microsoft's documentation of GPT).
const TYPE_BASIC_DATA: Uuid = Uuid::from_u128(0xEBD0_A0A2_B9E5_4433_87C0_68B6_B726_99C7);

/// Keys, as they were read.
#[derive(Debug)]
pub struct Keys {
    files: Vec<(&'static str, Secret)>,
    /// Names of files that were skipped.
    pub passed_over: Vec<String>,
}

impl Keys {
    /// Names of what was read.
    pub fn names(&self) -> Vec<&'static str> {
        self.files.iter().map(|(name, _)| *name).collect()
    }
}

fn bad(reason: impl Into<String>, next: impl Into<String>) -> Error {
    Error::Keys {
        reason: reason.into(),
        next: next.into(),
    }
}

/// Reads the keys of a folder: files with the names that an installer looks for. Each is one that its program loads.
///
/// # Errors
/// The folder or a file cannot be read, others may read a file, a file is none that its program takes, or there is no key.
pub fn read(folder: &Utf8Path) -> Result<Keys, Error> {
    let mut keys = Keys {
        files: vec![],
        passed_over: vec![],
    };
    let listing = fs_err::read_dir(folder).map_err(|error| {
        bad(
            crate::os_error::said(&error),
            format!("name the directory with the keys: --keys DIR ({folder} was given)"),
        )
    })?;
    for entry in listing {
        let entry =
            entry.map_err(|error| bad(crate::os_error::said(&error), "check the disk of that directory"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !credentials::NAMES.contains(&name.as_str()) {
            keys.passed_over.push(name);
        }
    }
    keys.passed_over.sort();
    for name in credentials::NAMES {
        let path = folder.join(name);
        let what = path.to_string();
        let file = match safe_open::open(&path, Links::Refuse) {
            Ok(file) => file,
            Err(safe_open::Refused::Absent) => continue,
            Err(refused) => return Err(refused.fault(what).into()),
        };
        let failed = |error: io::Error| {
            bad(
                format!("{what}: {}", crate::os_error::said(&error)),
                "check the file",
            )
        };
        let mode = file.metadata().map_err(failed)?.mode();
        if name != "consent" && mode & 0o077 != 0 {
            return Err(bad(
                format!(
                    "{what}: other users can read it (its mode is {:04o})",
                    mode & 0o7777
                ),
                format!("chmod 600 {}", shell(&what)),
            ));
        }
        let secret = Secret::read(file, KEY_BYTES_MAX).map_err(failed)?;
        let secret =
            secret.ok_or_else(|| bad(format!("{what}: it is too long for a key"), "check the file"))?;
        checked(name, &secret, &what).map_err(|fault| {
            bad(
                format!("{}: {}", fault.what(), fault.why()),
                format!("put a valid one into {what} or delete that file, then run the same command"),
            )
        })?;
        keys.files.push((name, secret));
    }
    if keys.files.is_empty() {
        return Err(bad(
            format!("{folder} has none of {}", credentials::NAMES.join(", ")),
            "give the files these names, or name their directory: --keys DIR",
        ));
    }
    Ok(keys)
}

/// What an installer would refuse is refused here.
fn checked(name: &str, secret: &Secret, what: &str) -> Result<(), Fault> {
    match name {
        "ssh-key" | "deploy-key" => key_text::ssh(secret, what).map(drop),
        "age-identity" => key_text::age(secret, what).map(drop),
        "luks-passphrase" => passphrase::line(secret, what).map(drop),
        "repository-token" => credentials::token(secret, what).map(drop),
        "record-key" => credentials::record_key(secret, what),
        "consent" => credentials::consent(secret, what),
        _ => Ok(()),
    }
}

/// Memory that is wiped, as a disk.
struct Room {
    secret: Secret,
    at: u64,
}

impl Room {
    fn rest(&mut self) -> &mut [u8] {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        self.secret.bytes_mut().get_mut(at..).unwrap_or_default()
    }
}

impl Read for Room {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = (&*self.rest()).read(buffer)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
}

impl Write for Room {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let bytes = self.rest().write(buffer)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Room {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => KEYS_BYTES.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The filesystem with the keys, in memory that is wiped.
fn filesystem(keys: &Keys, image: &Sum, sector_bytes: u32) -> io::Result<Secret> {
    // The kernel mounts no FAT whose sectors are smaller than the stick's.
    let sector_bytes = u16::try_from(sector_bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut secret = Secret::with_room(KEYS_BYTES as usize)?;
    secret.took(KEYS_BYTES as usize);
    let mut room = Room { secret, at: 0 };
    let mut label = [b' '; 11];
    for (to, from) in label.iter_mut().zip(LABEL.bytes()) {
        *to = from;
    }
    let id = u32::from_le_bytes([image[0], image[1], image[2], image[3]]);
    let options = fatfs::FormatVolumeOptions::new()
        .bytes_per_sector(sector_bytes)
        .volume_label(label)
        .volume_id(id);
    fatfs::format_volume(&mut room, options)?;
    {
        let filesystem = fatfs::FileSystem::new(&mut room, fatfs::FsOptions::new())?;
        for (name, secret) in &keys.files {
            let mut file = filesystem.root_dir().create_file(name)?;
            file.write_all(secret.bytes())?;
            file.flush()?;
        }
        filesystem.unmount()?;
    }
    Ok(room.secret)
}

/// Writes the keys, reads them back, and puts the entry into the table. What tells where they are is durable before them.
///
/// # Errors
/// The stick reports an error, or what is read back is something else.
pub fn put(stick: &Stick<'_>, keys: &Keys, place: &Place, image: &Sum) -> Result<(), Error> {
    let made = filesystem(keys, image, stick.sector_bytes).map_err(Error::Internal)?;
    let failed = |doing, error| stick.failed(doing, place.from, place.from + place.bytes, error);
    let disk = stick.disk;
    let (mark, rest) = made.bytes().split_at(ALIGNMENT_BYTES);
    keys_left::tell(stick, place)?;
    for (bytes, at) in [(mark, place.from), (rest, place.from + ALIGNMENT_BYTES as u64)] {
        disk.write_all_at(bytes, at)
            .and_then(|()| disk.flush())
            .map_err(|error| failed("written", error))?;
    }
    let mut found = Secret::with_room(made.bytes().len()).map_err(Error::Internal)?;
    found.took(made.bytes().len());
    disk.read_exact_at(found.bytes_mut(), place.from)
        .map_err(|error| failed("read", error))?;
    if found.bytes() != made.bytes() {
        return Err(bad(
            format!(
                "at byte {} the data read back differs from the data written; the image on the stick is not affected",
                place.from
            ),
            format!(
                "use another stick, and remove the keys from this one: landfall flash --forget-keys {}",
                shell(&stick.device)
            ),
        ));
    }
    name(stick, place)
}

/// Puts the entry into the table: the copy at the end of a GPT first.
fn name(stick: &Stick<'_>, place: &Place) -> Result<(), Error> {
    match place.table {
        Table::None => Ok(()),
        Table::Classic(slot) => change_sector(stick, |sector| {
            table::put_classic(sector, slot, place, stick.sector_bytes)
        }),
        Table::Gpt(number) => change_gpt(stick, place, |entry, sector| {
            let first = place.from / sector;
            // Nothing is decided by it: the label says what it is.
            let id = Uuid::new_v5(&TYPE_BASIC_DATA, format!("{LABEL} {number} {first}").as_bytes());
            *entry = GPTPartitionEntry {
                partition_type_guid: TYPE_BASIC_DATA.to_bytes_le(),
                unique_partition_guid: id.to_bytes_le(),
                starting_lba: first,
                ending_lba: (place.from + place.bytes) / sector - 1,
                attribute_bits: 0,
                partition_name: LABEL.into(),
            };
        }),
    }
}

fn change_sector(
    stick: &Stick<'_>,
    change: impl FnOnce(&mut [u8]) -> Result<(), String>,
) -> Result<(), Error> {
    let total = stick.disk.length();
    let mut block = Buffer::new(ALIGNMENT_BYTES);
    stick
        .disk
        .read_exact_at(block.bytes_mut(), 0)
        .map_err(|error| stick.failed("read", 0, total, error))?;
    let before = block.bytes().to_vec();
    #[expect(clippy::indexing_slicing, reason = "a block has more than 512 bytes")]
    change(&mut block.bytes_mut()[..512]).map_err(|reason| bad(reason, "flash the stick again"))?;
    if before == block.bytes() {
        return Ok(());
    }
    stick
        .disk
        .write_all_at(block.bytes(), 0)
        .and_then(|()| stick.disk.flush())
        .map_err(|error| stick.failed("written", 0, total, error))?;
    let mut found = Buffer::new(ALIGNMENT_BYTES);
    stick
        .disk
        .read_exact_at(found.bytes_mut(), 0)
        .map_err(|error| stick.failed("read", 0, total, error))?;
    if found.bytes() != block.bytes() {
        return Err(bad(
            "the partition table reads back differently from what was written",
            "use another stick",
        ));
    }
    Ok(())
}

fn change_gpt(
    stick: &Stick<'_>,
    place: &Place,
    change: impl FnOnce(&mut GPTPartitionEntry, u64),
) -> Result<(), Error> {
    let Table::Gpt(number) = place.table else {
        return Ok(());
    };
    let sector = u64::from(stick.sector_bytes);
    let mut disk = Seeking::new(stick.disk);
    let failed = |error: gptman::Error| {
        bad(
            format!("the partition table on the stick: {error}"),
            "flash the stick again",
        )
    };
    let mut table = GPT::read_from(&mut disk, sector).map_err(failed)?;
    table.header.update_from(&mut disk, sector).map_err(failed)?;
    if number == 0 || number > table.header.number_of_partition_entries {
        return Err(bad(
            "the partition table on the stick is too short",
            "flash it without --keys",
        ));
    }
    change(&mut table[number], sector);
    gpt::write_both(&mut disk, table, sector, |disk| disk.flush()).map_err(|error| {
        match crate::os_error::errno(&error) {
            Some(_) => stick.failed("written", 0, stick.disk.length(), error),
            // Nothing was written.
            None => bad(
                format!(
                    "the partition table on {} could not be changed: {error}; its first copy may be damaged",
                    stick.name
                ),
                "flash the stick again (that makes a new table)",
            ),
        }
    })
}

/// Makes zeros of a partition with keys, from its end to its start, and sees that they are zeros. The boot sector goes last.
///
/// # Errors
/// The stick reports an error or does not keep the zeros, or somebody stops it.
pub fn zero(stick: &Stick<'_>, place: &Place, watch: &dyn Watch) -> Result<(), Error> {
    let zeros = Buffer::new(ZERO_BYTES);
    let keep = (ALIGNMENT_BYTES as u64).min(place.bytes);
    let total = place.from + place.bytes;
    let mut end = total;
    while end > place.from {
        // Not the boot sector before all else is durable.
        let (from, is_last) = match end - place.from {
            left if left > keep => (
                place
                    .from
                    .max(end.saturating_sub(ZERO_BYTES as u64))
                    .max(place.from + keep),
                false,
            ),
            _ => (place.from, true),
        };
        if is_last {
            flush(stick, end, total)?;
        }
        if watch.stops() {
            flush(stick, end, total)?;
            return Err(Error::KeysLeft {
                stick: stick.name.clone(),
                at: end,
                again: stick.again.clone(),
            });
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "no step is longer than `ZERO_BYTES`, the last one than `keep`"
        )]
        let zeros = &zeros.bytes()[..(end - from) as usize];
        stick
            .disk
            .write_all_at(zeros, from)
            .map_err(|error| stick.failed("written", from, total, error))?;
        end = from;
        watch.progress("overwrite the keys", total - end, place.bytes);
    }
    flush(stick, place.from, total)?;
    if is_zero(stick, place).map_err(|error| stick.failed("read", place.from, total, error))? {
        return Ok(());
    }
    Err(bad(
        "the keys are still there after they were overwritten with zeros: the stick does not store what is written",
        "destroy the stick, and replace every key that was on it",
    ))
}

fn flush(stick: &Stick<'_>, at: u64, total: u64) -> Result<(), Error> {
    stick
        .disk
        .flush()
        .map_err(|error| stick.failed("flushed", at, total, error))
}

/// The same, and takes it out of the table that names it.
///
/// # Errors
/// As [`zero`]; the table cannot be written, or names something else by now.
pub fn forget(stick: &Stick<'_>, place: &Place, watch: &dyn Watch) -> Result<(), Error> {
    zero(stick, place, watch)?;
    match place.table {
        Table::Classic(slot) => change_sector(stick, |sector| {
            table::take_classic(sector, slot, place, stick.sector_bytes)
        }),
        Table::Gpt(_) => change_gpt(stick, place, |entry, _| *entry = GPTPartitionEntry::empty()),
        Table::None => Ok(()),
    }
    .map_err(|error| match error {
        Error::Keys { reason, next } => bad(
            format!("the keys are overwritten with zeros, but their partition {LABEL} is still in the table: {reason}"),
            next,
        ),
        other => other,
    })
}
