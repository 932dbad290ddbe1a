//! The ESP on plain files, with the real tools.

use super::*;
use crate::real::bench::{self, block_on};
use landfall_states::VolumeState;
use proptest::prelude::*;

fn volume() -> Volume {
    bench::volume("ESP-WEB")
}

fn image(dir: &tempfile::TempDir, name: &str) -> Utf8PathBuf {
    bench::image(dir, name, 300 << 20)
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

fn tool(name: &str, args: &[&str]) -> crate::real::command::Ended {
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
        assert_eq!(state(&device), VolumeState::Whole);
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
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device)
        .unwrap();
    let (fat, _) = open_fat(file, true).unwrap();
    fat.root_dir().remove("EFI/LANDFALL/CKPT1.BIN").unwrap();
    fat.unmount().unwrap();
    assert_eq!(locate_on(&device).unwrap(), [Some(kept), None]);
    allocate_on(&device, [None, Some(&BLANK)]).unwrap();
    assert!(locate_on(&device).unwrap()[1].is_some());
    assert_eq!(read_page(&device, kept).unwrap(), [b'k'; PAGE_BYTES]);
    assert_eq!(state(&device), VolumeState::Whole);
}

#[test]
fn a_slot_of_another_size_or_a_strange_fat_has_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let device = image(&dir, "esp");
    assert_eq!(locate_on(&device).unwrap(), [None; 2], "blank");
    make(&device, 512);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&device)
        .unwrap();
    let (fat, _) = open_fat(file, true).unwrap();
    fat.root_dir()
        .open_file("EFI/LANDFALL/CKPT0.BIN")
        .and_then(|mut f| f.write_all(&[0; 4097]))
        .unwrap();
    fat.unmount().unwrap();
    assert_eq!(locate_on(&device).unwrap()[0], None);
}

#[test]
fn a_dirty_esp_is_mended_and_keeps_its_slots() {
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
    block_on(mend_esp(&device, &Reporter::default(), &Stop::never())).unwrap();
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
        block_on(mend_esp(&device, &Reporter::default(), &Stop::never())).unwrap();
    }
    // All of it.
    cut_copy(&device, clusters);
    block_on(mend_esp(&device, &Reporter::default(), &Stop::never())).unwrap();
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Damage anywhere in the metadata: an answer or an error, soon; never a hang.
    #[test]
    fn any_damage_is_borne(hits in proptest::collection::vec((0_usize..700_000, any::<u8>()), 1..40)) {
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
        let _either = allocate(io::Cursor::new(&mut bytes[..]), [Some(&BLANK), None]);
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
    block_on(mend_esp(&device, &Reporter::default(), &Stop::never())).unwrap();
    assert_eq!(cut_copy(&device, 0), clusters);
}
