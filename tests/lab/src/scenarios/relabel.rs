//! A host that landfall did not install moves from UUIDs to labels, and boots at every instant.
//!
//! The states between are those that QEMU's log of writes gives, after every single write. What is said about a state is read
//! from the disk, or printed by the system that was booted on it.
//!
//! `table_name_tests` has parts of a write, and writes that a cache lost out of their order, for the partition table.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::disk::{self, LogEntry, Partition, SECTOR};
use crate::install::text_of;
use crate::kit::Kit;
use crate::machine::{Ended, Machine};
use crate::resident::{CONFIGURATION, LIMIT, Names, Resident, copy, took};
use crate::samples::spread;

/// The command, with everything that has no label of its own accord.
const RELABEL: &str = "landfall relabel --label /data=data-lab --label /media=media-lab";
/// How many of the states between are booted, of each of the two runs, without `relabel-every-step`.
const BOOTED: usize = 2;
/// So much of a partition decides what it is taken for: superblocks, both LUKS2 headers, a FAT's first directory.
const HEAD_BYTES: u64 = 8 << 20;
/// Where a disk's first copy of the table ends, and its first partition begins.
const TABLE_BYTES: u64 = 1 << 20;

/// What ran between two moments at which the disk is known.
struct Recorded {
    before: PathBuf,
    log: PathBuf,
}

/// A state of the disk that differs from the one before in what it is known by.
struct State {
    /// Writes that are in it.
    writes: usize,
    /// What it is known by.
    view: Vec<String>,
}

pub fn relabel(kit: &Kit) -> Result<()> {
    moved(kit, "relabel", false)
}

/// Boots every state, and finishes from each.
pub fn relabel_every_step(kit: &Kit) -> Result<()> {
    moved(kit, "relabel-every-step", true)
}

fn moved(kit: &Kit, name: &str, every: bool) -> Result<()> {
    let mut resident = Resident::new(kit, name)?;
    let begin = Identity::of(&resident.image)?;
    let system = format!("system={} ", resident.old.toplevel);
    let file = crate::esp::sha256(Names::by_uuid().configuration().as_bytes());

    // Cut in the middle, and run again.
    let first = record(&mut resident, "1")?;
    let begun = Instant::now();
    let machine = resident.up()?;
    looked_at(&machine)?;
    let job = machine.spawn(&format!("{RELABEL} --apply --json 2>&1 | tee /dev/ttyS0"), LIMIT)?;
    machine.console_wait("\"bearer\":\"partition\".*\"event\":\"label\"", LIMIT)?;
    machine.cut_power()?;
    drop(job);
    took("power cut right after the partition's name was changed", begun);
    let recorded = [first, record(&mut resident, "2")?];
    let begun = Instant::now();
    let machine = resident.up()?;
    refused(&machine)?;
    applied(&machine)?;
    took("booted by UUIDs, and run again to its end", begun);
    rebuilt(&resident, &machine)?;
    off(machine)?;
    resident.spec.disks[0].write_log = None;

    // Every state between, after each write.
    let mut booted = 0;
    let mut views = std::collections::BTreeSet::new();
    for (at, recorded) in recorded.iter().enumerate() {
        let begun = Instant::now();
        let states = states(recorded, &begin, &resident)?;
        let new: Vec<&State> = states
            .iter()
            .filter(|state| views.insert(state.view.clone()))
            .collect();
        ensure!(!new.is_empty(), "run {} changed nothing that is seen", at + 1);
        took(
            &format!(
                "run {}: {} states that differ, after each of its writes: the same UUIDs, both tables whole",
                at + 1,
                states.len()
            ),
            begun,
        );
        let chosen = if every { new } else { spread(&new, BOOTED) };
        for state in chosen {
            boots_in(&resident, recorded, state, &system, &file, every)?;
            booted += 1;
        }
    }
    ensure!(booted > 1, "no state between was booted");

    by_labels(&resident)?;
    ensure!(Identity::of(&resident.image)? == begin, "a UUID changed");
    Ok(())
}

/// By labels, and still by UUIDs.
fn by_labels(resident: &Resident<'_>) -> Result<()> {
    let begun = Instant::now();
    let marker = resident.boots(&resident.image)?;
    let by_label = format!("system={} ", resident.new.toplevel);
    for part in [
        by_label.as_str(),
        "/=root-resident ",
        "/boot=ESP-RESIDEN ",
        "/data=data-lab ",
        "/media=media-lab ",
        "none=swap-resident ",
    ] {
        ensure!(marker.contains(part), "by labels, {part:?} is missing: {marker}");
    }
    took("boots by labels", begun);
    let begun = Instant::now();
    let machine = resident.up()?;
    let said = machine.run(RELABEL, LIMIT)?;
    ensure!(
        said.status == 0
            && said
                .text()
                .contains("nothing: this machine already boots by its labels"),
        "booted by labels, it says: {} {}",
        said.text(),
        said.error_text()
    );
    ensure!(
        !said.text().contains('→'),
        "there is something left to do: {}",
        said.text()
    );
    off(machine)?;
    took("udev has every link, and nothing is left to do", begun);
    Ok(())
}

/// Has the next start recorded, from the disk as it is.
fn record(resident: &mut Resident<'_>, run: &str) -> Result<Recorded> {
    let folder = &resident.spec.folder;
    let (before, log) = (
        folder.join(format!("before-{run}.raw")),
        folder.join(format!("writes-{run}.log")),
    );
    copy(&resident.image, &before)?;
    resident.spec.disks[0].write_log = Some(log.clone());
    Ok(Recorded { before, log })
}

fn off(machine: Machine) -> Result<()> {
    let job = machine.spawn("systemctl poweroff", LIMIT)?;
    let ended = machine.powered_off(LIMIT)?;
    drop(job);
    ensure!(ended == Ended::PoweredOff, "it ended by {ended:?}");
    Ok(())
}

/// Labels, names and UUIDs, as the devices in a machine have them.
fn labels(machine: &Machine) -> Result<String> {
    machine.check(
        "for part in /dev/vda[1-5] /dev/mapper/cryptroot; do blkid -p -o export $part; echo; done | \
         grep -E '^(DEVNAME|UUID|LABEL|LABEL_FATBOOT|PART_ENTRY_NAME|PART_ENTRY_UUID)=|^$'",
        LIMIT,
    )
}

/// Without `--apply`: the plan, and nothing is written.
fn looked_at(machine: &Machine) -> Result<()> {
    let before = labels(machine)?;
    let plan = machine.run(RELABEL, LIMIT)?;
    ensure!(plan.status == 0, "{}\n{}", plan.text(), plan.error_text());
    for part in [
        "→ / (/dev/mapper/cryptroot, ext4): no label → root-resident",
        "→ /data (/dev/vda4, XFS): no label → data-lab",
        "→ /media (/dev/vda5, Btrfs): no label → media-lab",
        "→ the container cryptroot (/dev/vda2, LUKS2 header): no label → luks-resident",
        "→ the container cryptroot (/dev/vda2, partition name): primary → luks-resident",
        "→ swap (/dev/vda3, swap): no label → swap-resident",
        "→ /boot (/dev/vda1, FAT): no label → ESP-RESIDEN",
        "+    { device = \"/dev/disk/by-label/root-resident\";",
        "next: sudo landfall relabel --apply",
    ] {
        ensure!(
            plan.text().contains(part),
            "the plan lacks {part:?}:\n{}",
            plan.text()
        );
    }
    ensure!(labels(machine)? == before, "a plan changed a label");
    ensure!(
        text_of(machine, CONFIGURATION)? == Names::by_uuid().configuration(),
        "a plan changed the configuration"
    );
    Ok(())
}

/// What stands against it is told: a label that another disk has, before anything is written; what keeps the ESP busy, by its name, and
/// the ESP stays mounted.
fn refused(machine: &Machine) -> Result<()> {
    let before = labels(machine)?;
    machine.check(
        "truncate -s 8M /run/other.img && mkfs.ext4 -q -L swap-resident /run/other.img && losetup /dev/loop7 /run/other.img",
        LIMIT,
    )?;
    let ran = machine.run(&format!("{RELABEL} --apply"), LIMIT)?;
    machine.check("losetup --detach /dev/loop7 && udevadm settle", LIMIT)?;
    ensure!(
        ran.status == 6 && ran.error_text().contains("is already on /dev/loop7"),
        "another disk's label: {}\n{}",
        ran.text(),
        ran.error_text()
    );
    ensure!(
        labels(machine)? == before,
        "a label was changed before another disk's was seen"
    );
    let ran = machine.run(
        &format!("sleep 600 < /boot/loader/loader.conf & holder=$!; {RELABEL} --apply; status=$?; kill $holder; exit $status"),
        LIMIT,
    )?;
    ensure!(
        ran.status == 6 && ran.error_text().contains("sleep"),
        "a busy ESP ended with {}: {}\n{}",
        ran.status,
        ran.text(),
        ran.error_text()
    );
    machine.check("grep -q '^/dev/vda1 /boot ' /proc/mounts", LIMIT)?;
    ensure!(
        text_of(machine, CONFIGURATION)? == Names::by_uuid().configuration(),
        "the configuration was changed before all labels were there"
    );
    // A file that nobody can write is left to a person, and everything else is planned as it was.
    let sealed = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-source.nix";
    machine.check(&format!("cp {CONFIGURATION} {sealed}"), LIMIT)?;
    let plan = machine.run(&format!("{RELABEL} --file {sealed}"), LIMIT)?;
    ensure!(
        plan.status == 0 && plan.text().contains("cannot be written (it is in the Nix store"),
        "{}\n{}",
        plan.text(),
        plan.error_text()
    );
    machine.check(&format!("rm {sealed}"), LIMIT)?;
    Ok(())
}

/// `--apply` to its end: labels, links, mounts, swap and the file are as they should be.
fn applied(machine: &Machine) -> Result<()> {
    let ran = machine.run(&format!("{RELABEL} --apply"), LIMIT)?;
    ensure!(ran.status == 0, "{}\n{}", ran.text(), ran.error_text());
    ensure!(
        ran.text().contains("next: sudo nixos-rebuild boot"),
        "{}",
        ran.text()
    );
    machine.check(
        "set -e; for pair in by-label/root-resident=dm-0 by-label/data-lab=vda4 by-label/media-lab=vda5 by-label/swap-resident=vda3 \
         by-label/ESP-RESIDEN=vda1 by-partlabel/luks-resident=vda2; do \
         [ \"$(readlink -f /dev/disk/${pair%=*})\" = /dev/${pair#*=} ] || { echo $pair; exit 1; }; done; \
         grep -q '^/dev/vda1 /boot ' /proc/mounts; grep -q ^/dev/vda3 /proc/swaps; \
         [ \"$(blkid -p -o value -s LABEL_FATBOOT /dev/vda1)\" = ESP-RESIDEN ]; umount /boot; fsck.vfat -n /dev/vda1; mount /boot; sfdisk --verify /dev/vda",
        LIMIT,
    )?;
    let edited = text_of(machine, CONFIGURATION)?;
    ensure!(
        edited == Names::by_label().configuration(),
        "more than the names of devices changed in the file:\n{edited}"
    );
    Ok(())
}

/// As `nixos-rebuild boot`: the new generation, and its entry. Until then the next boot looks for UUIDs, which is told.
fn rebuilt(resident: &Resident<'_>, machine: &Machine) -> Result<()> {
    let said = machine.run(RELABEL, LIMIT)?.text();
    ensure!(
        said.contains("it looks for /dev/disk/by-uuid/"),
        "before the rebuild it says:\n{said}"
    );
    let new = &resident.new.toplevel;
    machine.check(
        &format!(
            "set -e; cd /nix/var/nix/profiles; ln -s {new} system-2-link; ln -s system-2-link system.tmp; mv -T system.tmp system"
        ),
        LIMIT,
    )?;
    let said = machine.run(RELABEL, LIMIT)?.text();
    ensure!(
        said.contains("is the default and starts") && said.contains("next: landfall doctor --check esp"),
        "without an entry of the new generation it says:\n{said}"
    );
    machine.check(&format!("{new}/bin/switch-to-configuration boot"), LIMIT)?;
    let said = machine.run(RELABEL, LIMIT)?.text();
    ensure!(
        said.contains(&format!("{new} uses labels, and its boot entry is correct")),
        "after the rebuild it says:\n{said}"
    );
    Ok(())
}

/// A state, booted: by UUIDs, with the file as it was or as it becomes; and finished from there.
fn boots_in(
    resident: &Resident<'_>,
    recorded: &Recorded,
    state: &State,
    system: &str,
    file: &str,
    finish: bool,
) -> Result<()> {
    let begun = Instant::now();
    let image = resident.spec.folder.join("between.raw");
    at(recorded, state.writes, &image)?;
    let marker = resident
        .boots(&image)
        .with_context(|| format!("after {} writes: {}", state.writes, state.view.join("; ")))?;
    ensure!(marker.contains(system), "it boots another system: {marker}");
    let edited = crate::esp::sha256(Names::by_label().configuration().as_bytes());
    ensure!(
        [file, &edited]
            .iter()
            .any(|sum| marker.contains(&format!("file={sum} "))),
        "the configuration is neither as it was nor as it becomes: {marker}"
    );
    took(
        &format!(
            "after {} writes ({}): boots by UUIDs",
            state.writes,
            state.view.join("; ")
        ),
        begun,
    );
    if finish {
        let begun = Instant::now();
        let machine = resident.with_disk(&image).up()?;
        applied(&machine)?;
        machine.cut_power()?;
        took("run again from there, to its end", begun);
    }
    fs::remove_file(&image)?;
    Ok(())
}

/// What never changes.
#[derive(Debug, PartialEq, Eq)]
struct Identity(Vec<String>);

impl Identity {
    fn of(image: &Path) -> Result<Identity> {
        let partitions = disk::partitions(image)?;
        Ok(Identity(partitions.iter().map(Identity::line).collect()))
    }

    fn line(partition: &Partition) -> String {
        let Partition {
            number,
            start,
            size,
            kind,
            guid,
            name: _,
            content,
        } = partition;
        format!(
            "{number} {start}+{size} {kind} {guid}: {} {}",
            content.kind, content.uuid
        )
    }
}

/// An image with so many writes of a recording.
fn at(recorded: &Recorded, writes: usize, image: &Path) -> Result<()> {
    copy(&recorded.before, image)?;
    let entries = disk::write_log(&recorded.log)?;
    let (log, to) = (
        fs::File::open(&recorded.log)?,
        fs::OpenOptions::new().write(true).open(image)?,
    );
    for entry in entries.iter().filter(|entry| entry.is_write()).take(writes) {
        put(&log, &to, entry)?;
    }
    Ok(())
}

fn put(log: &fs::File, to: &fs::File, entry: &LogEntry) -> Result<()> {
    let mut bytes = vec![0; usize::try_from(entry.length)?];
    log.file().read_exact_at(&mut bytes, entry.data)?;
    Ok(to.file().write_all_at(&bytes, entry.start)?)
}

/// The states of a recording that differ in what the disk is known by, after each write; in each the identity is the same, and both
/// copies of the table are whole.
fn states(recorded: &Recorded, identity: &Identity, resident: &Resident<'_>) -> Result<Vec<State>> {
    let image = resident.spec.folder.join("replay.raw");
    copy(&recorded.before, &image)?;
    let entries = disk::write_log(&recorded.log)?;
    let (log, to) = (
        fs::File::open(&recorded.log)?,
        fs::OpenOptions::new().write(true).open(&image)?,
    );
    let partitions = disk::partitions(&image)?;
    let end = fs::metadata(&image)?.len();
    let counts = |entry: &LogEntry| {
        let (from, until) = (entry.start, entry.start + entry.length);
        from < TABLE_BYTES
            || until > end - 33 * SECTOR
            || partitions
                .iter()
                .any(|one| until > one.start && from < one.start + HEAD_BYTES)
    };
    let mut found: Vec<State> = vec![];
    let mut last = view(&image)?;
    for (index, entry) in entries.iter().filter(|entry| entry.is_write()).enumerate() {
        put(&log, &to, entry)?;
        if !counts(entry) {
            continue;
        }
        let now = Identity::of(&image)?;
        ensure!(
            now == *identity,
            "after write {}: {now:?} was {identity:?}",
            index + 1
        );
        let view = view(&image)?;
        if view != last {
            last.clone_from(&view);
            found.push(State {
                writes: index + 1,
                view,
            });
        }
    }
    fs::remove_file(&image)?;
    Ok(found)
}

/// What a disk is known by that may change: labels, names, and where each copy of its table has its entries. A copy that is not whole is
/// an error.
fn view(image: &Path) -> Result<Vec<String>> {
    let end = fs::metadata(image)?.len();
    let mut seen = vec![];
    for (copy, at) in [("first", SECTOR), ("second", end - SECTOR)] {
        let header = disk::read_at(image, at, SECTOR as usize)?;
        let names = entries_of(image, &header).with_context(|| format!("the {copy} copy of the table"))?;
        seen.push(format!("{copy} table {names}"));
    }
    for partition in disk::partitions(image)? {
        if !partition.content.label.is_empty() {
            seen.push(format!("{} {}", partition.number, partition.content.label));
        }
        if partition.number == 1 {
            let boot = disk::read_at(image, partition.start + 71, 11)?;
            seen.push(format!("boot sector {}", String::from_utf8_lossy(&boot).trim()));
        }
    }
    Ok(seen)
}

/// The name of the second partition in the table of a header, and where the table is.
fn entries_of(image: &Path, header: &[u8]) -> Result<String> {
    let four = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    ensure!(&header[..8] == b"EFI PART", "there is no header");
    let mut blank = header[..four(12).clamp(92, 512) as usize].to_vec();
    blank[16..20].fill(0);
    ensure!(crc32(&blank) == four(16), "the header is not whole");
    let place = u64::from(four(72)) | u64::from(four(76)) << 32;
    let (count, each) = (four(80).min(1024), four(84));
    if !(128..=4096).contains(&each) {
        bail!("entries of {each} bytes");
    }
    let entries = disk::read_at(image, place * SECTOR, (count * each) as usize)?;
    ensure!(crc32(&entries) == four(88), "the entries are not whole");
    let second = &entries[each as usize + 56..each as usize + 128];
    let units: Vec<u16> = second
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    Ok(format!(
        "{} at {place}",
        String::from_utf16_lossy(&units).trim_end_matches('\0')
    ))
}

/// As a GPT has it (UEFI 2.10, section 5.3.2).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_sum_is_that_of_a_gpt() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_ne!(crc32(b"123456780"), 0xCBF4_3926);
    }
}
