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
