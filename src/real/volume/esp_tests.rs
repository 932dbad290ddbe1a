//! The ESP on plain files, with the real tools.

use super::*;
use crate::real::test_support::{self, block_on, fat_entries_of};
use crate::real::volume::block_io::write_page;
use landfall_states::VolumeState;
use proptest::prelude::*;

fn volume() -> Volume {
    test_support::volume("ESP-WEB")
}

fn image(dir: &tempfile::TempDir, name: &str) -> Utf8PathBuf {
    test_support::image(dir, name, 300 << 20)
}

fn make(device: &Utf8Path, sector_bytes: u32) {
    block_on(make_esp(
        device,
        &volume(),
        sector_bytes,
        &Reporter::default(),
        &Stop::never(),
    ))
    .unwrap();
}

fn state(device: &Utf8Path) -> VolumeState {
    let volume = volume();
    block_on(probe(device, &Reporter::default(), &Stop::never()))
        .unwrap()
        .compare(
            "vfat",
            &Volume::fat_serial_text(&volume.id),
            &Volume::fat_serial_text(&volume.provisional),
            &volume.label,
        )
}

fn tool(name: &str, args: &[&str]) -> crate::real::process::command::Ended {
    block_on(
        Program::new(name)
            .args(args.iter().copied())
            .run(&Reporter::default(), &Stop::never()),
    )
    .unwrap()
}

#[test]
fn the_esp_is_made_with_both_slots_and_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    for sector_bytes in [512, 4096] {
        let device = image(&dir, "esp");
        make(&device, sector_bytes);
        assert_eq!(state(&device), VolumeState::Complete);
        let [Some(first), Some(second)] = locate_on(&device).unwrap() else {
            panic!()
        };
        assert!(first % 4096 == 0 && second % 4096 == 0 && first != second);
        assert_eq!(read_page(&device, first).unwrap(), BLANK);
        let checked = tool("fsck.vfat", &["-n", device.as_str()]);
        assert!(checked.success(), "{}", checked.how());
        assert!(!is_dirty(&device).unwrap());
    }
}

#[test]
fn the_same_plan_makes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (image(&dir, "one"), image(&dir, "two"));
    make(&one, 512);
    make(&two, 512);
    make(&two, 512);
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
}

#[test]
fn a_slot_is_overwritten_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    make(&device, 512);
    let places = locate_on(&device).unwrap();
    let before = fs::read(&device).unwrap();
    write_page(&device, places[1].unwrap(), &[b'x'; PAGE_BYTES]).unwrap();
    assert_eq!(locate_on(&device).unwrap(), places);
    let after = fs::read(&device).unwrap();
    let changed: Vec<u64> = (0..before.len() / 4096)
        .filter(|i| before[i * 4096..][..4096] != after[i * 4096..][..4096])
        .map(|i| i as u64 * 4096)
        .collect();
    assert_eq!(changed, [places[1].unwrap()]);
}

#[test]
fn only_what_is_missing_is_allocated() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    make(&device, 512);
    let [Some(kept), Some(_)] = locate_on(&device).unwrap() else {
        panic!()
    };
    write_page(&device, kept, &[b'k'; PAGE_BYTES]).unwrap();
    let fat = fat_of(&device);
    fat.root_dir().remove("EFI/LANDFALL/CKPT1.BIN").unwrap();
    fat.unmount().unwrap();
    assert_eq!(locate_on(&device).unwrap(), [Some(kept), None]);
    allocate_on(&device, [None, Some(&BLANK)]).unwrap();
    assert!(locate_on(&device).unwrap()[1].is_some());
    assert_eq!(read_page(&device, kept).unwrap(), [b'k'; PAGE_BYTES]);
    assert_eq!(state(&device), VolumeState::Complete);
}

#[test]
fn a_slot_of_another_size_or_a_strange_fat_has_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    assert_eq!(locate_on(&device).unwrap(), [None; 2], "blank");
    make(&device, 512);
    let fat = fat_of(&device);
    fat.root_dir()
        .open_file("EFI/LANDFALL/CKPT0.BIN")
        .and_then(|mut f| f.write_all(&[0; 4097]))
        .unwrap();
    fat.unmount().unwrap();
    assert_eq!(locate_on(&device).unwrap()[0], None);
}

#[test]
fn a_dirty_esp_is_repaired_and_keeps_its_slots() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    make(&device, 512);
    let places = locate_on(&device).unwrap();
    write_page(&device, places[0].unwrap(), &[b'a'; PAGE_BYTES]).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&device).unwrap();
    file.seek(SeekFrom::Start(0x41)).unwrap();
    file.write_all(&[1]).unwrap();
    drop(file);
    assert!(is_dirty(&device).unwrap());
    block_on(repair_esp(
        &device,
        &volume(),
        &Reporter::default(),
        &Stop::never(),
    ))
    .unwrap();
    assert!(!is_dirty(&device).unwrap());
    assert_eq!(
        read_page(&device, places[0].unwrap()).unwrap(),
        [b'a'; PAGE_BYTES]
    );
}

/// A copy of so many clusters was cut off: its chain is in both FATs, and no directory has it. How many were free.
fn cut_copy(device: &Utf8Path, clusters: usize) -> usize {
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .unwrap();
    let mut boot = [0; 512];
    file.read_exact(&mut boot).unwrap();
    let number = |at: usize| u64::from(u32::from_le_bytes(boot[at..at + 4].try_into().unwrap()));
    let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]])) * 512;
    let fat_bytes = number(36) * 512;
    let count = (number(32) * 512 - reserved - 2 * fat_bytes) / PAGE_BYTES as u64;
    let mut fat = vec![0; fat_bytes as usize];
    file.seek(SeekFrom::Start(reserved)).unwrap();
    file.read_exact(&mut fat).unwrap();
    let free: Vec<usize> = (3..count as usize + 2)
        .filter(|n| fat[4 * n..4 * n + 4] == [0; 4])
        .collect();
    let chain = &free[..clusters.min(free.len())];
    let nexts = chain.iter().skip(1).copied().chain([0x0FFF_FFFF]);
    for (at, next) in chain.iter().zip(nexts) {
        fat[4 * at..4 * at + 4].copy_from_slice(&(next as u32).to_le_bytes());
    }
    for copy in 0..2 {
        file.seek(SeekFrom::Start(reserved + copy * fat_bytes)).unwrap();
        file.write_all(&fat).unwrap();
    }
    file.seek(SeekFrom::Start(0x41)).unwrap();
    file.write_all(&[1]).unwrap();
    free.len()
}

/// fsck.fat 4.2 of dosfstools.
#[test]
fn chains_that_fsck_finds_do_not_fill_the_esp() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    make(&device, 512);
    let places = locate_on(&device).unwrap();
    write_page(&device, places[0].unwrap(), &[b'a'; PAGE_BYTES]).unwrap();
    let kept = ["FSCK.REC", "FSCK0000.TXT", "EFI/FSCK0000.REC"];
    {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&device)
            .unwrap();
        let (fat, _) = open_fat(file, true).unwrap();
        for name in kept {
            fat.root_dir()
                .create_file(name)
                .and_then(|mut f| f.write_all(b"x"))
                .unwrap();
        }
        fat.unmount().unwrap();
    }
    let clusters = cut_copy(&device, 0);
    for _ in 0..3 {
        // More than half of it: the second one would not fit.
        assert_eq!(cut_copy(&device, clusters * 3 / 5), clusters);
        block_on(repair_esp(
            &device,
            &volume(),
            &Reporter::default(),
            &Stop::never(),
        ))
        .unwrap();
    }
    // All of it.
    cut_copy(&device, clusters);
    block_on(repair_esp(
        &device,
        &volume(),
        &Reporter::default(),
        &Stop::never(),
    ))
    .unwrap();
    assert_eq!(cut_copy(&device, 0), clusters);
    assert_eq!(locate_on(&device).unwrap(), places);
    assert_eq!(
        read_page(&device, places[0].unwrap()).unwrap(),
        [b'a'; PAGE_BYTES]
    );
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device)
        .unwrap();
    let (fat, _) = open_fat(file, false).unwrap();
    for name in kept {
        assert!(fat.root_dir().open_file(name).is_ok(), "{name}");
    }
}

/// A cut between the end of `fsck.vfat` and the removal of what it found, or somebody who ran it by hand: nothing is marked as unclean.
#[test]
fn chains_that_fsck_found_do_not_stay_where_it_ended_well() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    make(&device, 512);
    let clusters = cut_copy(&device, 0);
    cut_copy(&device, clusters);
    tool("fsck.vfat", &["-a", device.as_str()]);
    assert!(!is_dirty(&device).unwrap());
    assert_eq!(cut_copy(&device, 0), 0, "it is full");
    tool("fsck.vfat", &["-a", device.as_str()]);
    repair(&device);
    assert_eq!(cut_copy(&device, 0), clusters);
}

/// Where the block of the root directory lies, and how long it is.
const ROOT_AT: u64 = 32 * 512;

fn root_place(device: &Utf8Path) -> u64 {
    let mut boot = [0; 512];
    fs::File::open(device).unwrap().read_exact(&mut boot).unwrap();
    let fat_sectors = u64::from(u32::from_le_bytes(boot[36..40].try_into().unwrap()));
    assert_eq!(boot[44..48], 2_u32.to_le_bytes());
    ROOT_AT + 2 * fat_sectors * 512
}

fn repair(device: &Utf8Path) {
    block_on(repair_esp(
        device,
        &volume(),
        &Reporter::default(),
        &Stop::never(),
    ))
    .unwrap();
}

fn look(device: &Utf8Path) -> EspFacts {
    block_on(observe_esp(device, &Reporter::default(), &Stop::never())).unwrap()
}

fn judged(facts: &EspFacts) -> VolumeState {
    let volume = volume();
    facts.probe.compare(
        "vfat",
        &Volume::fat_serial_text(&volume.id),
        &Volume::fat_serial_text(&volume.provisional),
        &volume.label,
    )
}

fn ruin(device: &Utf8Path, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(device).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// The FAT on a device, to be changed behind landfall's back.
fn fat_of(device: &Utf8Path) -> FileSystem<Watched<fs::File>> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .unwrap();
    open_fat(file, true).unwrap().0
}

/// A made ESP, with records in its slots and a file of 1 MiB.
fn in_use(dir: &tempfile::TempDir) -> (Utf8PathBuf, [[u8; PAGE_BYTES]; 2]) {
    let device = image(dir, "esp");
    make(&device, 512);
    let records = [b'a', b'b'].map(|mark| {
        let mut record = [mark; PAGE_BYTES];
        record[..slots::MAGIC.len()].copy_from_slice(slots::MAGIC);
        record
    });
    for (place, record) in locate_on(&device).unwrap().into_iter().zip(&records) {
        write_page(&device, place.unwrap(), record).unwrap();
    }
    let fat = fat_of(&device);
    let mut kernel = fat.root_dir().create_file("EFI/KERNEL").unwrap();
    kernel.write_all(&vec![7; 1 << 20]).unwrap();
    drop(kernel);
    fat.root_dir()
        .create_file("LOADER")
        .unwrap()
        .write_all(b"entries")
        .unwrap();
    fat.unmount().unwrap();
    (device, records)
}

#[test]
fn a_ruined_root_directory_costs_neither_the_filesystem_nor_the_slots() {
    let dir = tempfile::tempdir().unwrap();
    let (device, records) = in_use(&dir);
    let whole = fs::read(&device).unwrap();
    let place = root_place(&device);
    let noise: Vec<u8> = (0..4096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let label_alone = {
        let mut entry = whole[place as usize..][..32].to_vec();
        assert_eq!(&entry[..11], b"ESP-WEB    ");
        entry[0] = 0xE5;
        entry
    };
    for (what, bytes) in [
        ("its first sector zeroed", vec![0; 512]),
        ("its block zeroed", vec![0; 4096]),
        ("noise in its first sector", noise[..512].to_vec()),
        ("noise in its block", noise.clone()),
        ("its label removed", label_alone),
    ] {
        fs::write(&device, &whole).unwrap();
        ruin(&device, place, &bytes);
        let seen = tool("blkid", &["-p", "-o", "export", device.as_str()]).stdout;
        assert!(
            !seen.contains("\nLABEL=") && seen.contains("LABEL_FATBOOT=ESP-WEB"),
            "{what}: {seen}"
        );
        assert_eq!(state(&device), VolumeState::Foreign, "the control: {what}");
        assert!(is_cut_off(&device, &volume()).unwrap(), "{what}");
        let before = locate_on(&whole_on(&dir, &whole)).unwrap();
        repair(&device);
        assert!(!is_cut_off(&device, &volume()).unwrap(), "{what}");
        assert_eq!(state(&device), VolumeState::Complete, "{what}");
        // The slots are where they were.
        let places = locate_on(&device).unwrap();
        assert_eq!(places, before, "{what}");
        for (place, record) in places.into_iter().zip(&records) {
            assert!(read_page(&device, place.unwrap()).unwrap() == *record, "{what}");
        }
        let checked = tool("fsck.vfat", &["-n", device.as_str()]);
        assert!(checked.success(), "{what}: {}", checked.said());
        // What was below EFI is still there, and what was beside it is in no file any more, and takes no room.
        let kept = what == "its label removed";
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&device)
            .unwrap();
        let (fat, _) = open_fat(file, false).unwrap();
        assert!(fat.root_dir().open_file("EFI/KERNEL").is_ok(), "{what}");
        assert_eq!(fat.root_dir().open_file("LOADER").is_ok(), kept, "{what}");
        let names: Vec<String> = fat
            .root_dir()
            .iter()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(
            names,
            if kept { &["EFI", "LOADER"][..] } else { &["EFI"] },
            "{what}"
        );
    }
}

/// The blocks of the root and of the directory EFI, which follow each other, may be one block of the disk.
#[test]
fn a_root_directory_that_was_ruined_with_efi_costs_no_slot() {
    let dir = tempfile::tempdir().unwrap();
    let (device, records) = in_use(&dir);
    ruin(&device, root_place(&device), &[0xA5; 2 * 4096]);
    assert!(is_cut_off(&device, &volume()).unwrap());
    repair(&device);
    assert_eq!(state(&device), VolumeState::Complete);
    has_records(&device, &records, "both");
    let checked = tool("fsck.vfat", &["-n", device.as_str()]);
    assert!(checked.success(), "{}", checked.said());
}

fn has_records(device: &Utf8Path, records: &[[u8; PAGE_BYTES]; 2], what: &str) {
    let mut found: Vec<Vec<u8>> = locate_on(device)
        .unwrap()
        .into_iter()
        .map(|place| read_page(device, place.unwrap()).unwrap())
        .collect();
    found.sort();
    assert!(found == records, "{what}");
}

fn whole_on(dir: &tempfile::TempDir, whole: &[u8]) -> Utf8PathBuf {
    let path = Utf8Path::from_path(dir.path()).unwrap().join("whole");
    fs::write(&path, whole).unwrap();
    path
}

/// Whatever a cut keeps of the repairing, the next one ends it.
#[test]
fn a_root_directory_that_was_being_made_again_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (device, records) = in_use(&dir);
    ruin(&device, root_place(&device), &[0; 512]);
    let ruined = fs::read(&device).unwrap();
    let is_whole = |what: &str| {
        if is_cut_off(&device, &volume()).unwrap() || is_dirty(&device).unwrap() {
            repair(&device);
        }
        assert_eq!(state(&device), VolumeState::Complete, "{what}");
        has_records(&device, &records, what);
    };
    esp_root::put_back(&device, false).unwrap();
    assert!(is_dirty(&device).unwrap());
    is_whole("before the check");
    fs::write(&device, &ruined).unwrap();
    esp_root::put_back(&device, false).unwrap();
    tool("fsck.vfat", &["-a", device.as_str()]);
    assert!(!is_dirty(&device).unwrap());
    is_whole("behind the check");
    // Where EFI is gone too, the directory is there, and nothing in it.
    for checked in [false, true] {
        fs::write(&device, &ruined).unwrap();
        ruin(&device, root_place(&device), &[0xA5; 2 * 4096]);
        esp_root::put_back(&device, false).unwrap();
        if checked {
            tool("fsck.vfat", &["-a", device.as_str()]);
        }
        assert_eq!(locate_on(&device).unwrap(), [None, None]);
        assert!(is_cut_off(&device, &volume()).unwrap());
        is_whole("without EFI");
    }
}

/// A FAT of somebody else, and one of ours whose boot sector says another thing, are left as they are.
#[test]
fn only_a_fat_of_this_install_gets_its_root_directory_again() {
    let dir = tempfile::tempdir().unwrap();
    let (device, _) = in_use(&dir);
    let place = root_place(&device);
    ruin(&device, place, &[0; 512]);
    let ruined = fs::read(&device).unwrap();
    for (what, at, bytes) in [
        ("another id", 0x43, &b"1234"[..]),
        ("another label", 0x47, b"OTHER      "),
        ("no label", 0x47, b"NO NAME    "),
        ("no FAT32", 0x52, b"FAT16   "),
    ] {
        fs::write(&device, &ruined).unwrap();
        ruin(&device, at, bytes);
        assert!(!esp_root::is_lost(&device, &volume()).unwrap(), "{what}");
        assert_ne!(judged(&look(&device)), VolumeState::Complete, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Damage anywhere in the metadata: an answer or an error, soon; never a hang.
    #[test]
    fn any_damage_is_read_without_panic(hits in proptest::collection::vec((0_usize..700_000, any::<u8>()), 1..40)) {
        thread_local! {
            static WHOLE: Vec<u8> = {
                let dir = tempfile::tempdir().unwrap();
                let device = image(&dir, "esp");
                make(&device, 512);
                let mut bytes = fs::read(&device).unwrap();
                bytes.truncate(2 << 20);
                bytes
            };
        }
        let mut bytes = WHOLE.with(Vec::clone);
        for (at, value) in hits {
            // Half of the hits go to the boot sector.
            let at = if at % 2 == 0 { at % 512 } else { at };
            bytes[at] = value;
        }
        let _either = locate(io::Cursor::new(&mut bytes[..]));
        let _either = esp_root::lost(&mut io::Cursor::new(&mut bytes[..]));
        let _either = allocate(io::Cursor::new(&mut bytes[..]), [Some(&BLANK), None]);
    }
}

/// A power cut in the making of a directory: its entry is there, its cluster is not allocated. One run of `fsck.vfat -a` leaves it without
/// a cluster, which the kernel takes for an error (EIO, and no more writes).
#[test]
fn a_directory_without_its_cluster_is_gone_after_the_repair() {
    let dir = tempfile::tempdir().unwrap();
    let (device, records) = in_use(&dir);
    let fat = fat_of(&device);
    fat.root_dir().create_dir("EFI/HALFMADE").unwrap();
    fat.unmount().unwrap();
    let mut bytes = fs::read(&device).unwrap();
    for at in fat_entries_of(&bytes, b"HALFMADE   ") {
        bytes[at..at + 4].fill(0);
    }
    bytes[0x41] |= 1;
    fs::write(&device, &bytes).unwrap();
    // The control: the tool alone.
    tool("fsck.vfat", &["-a", device.as_str()]);
    let again = tool("fsck.vfat", &["-n", device.as_str()]);
    assert_eq!(again.code, Some(1), "{}", again.said());
    fs::write(&device, &bytes).unwrap();
    repair(&device);
    let checked = tool("fsck.vfat", &["-n", device.as_str()]);
    assert!(checked.success(), "{}", checked.said());
    has_records(&device, &records, "behind the repair");
}
