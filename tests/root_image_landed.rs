//! Promise: an image becomes a root filesystem that is grown, clean and under the planned id, even if growing it was
//! interrupted.
//!
//! Until the end it has the provisional id. Needed: mke2fs, e2fsck, resize2fs, tune2fs, blkid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "root_image/kit.rs"]
mod kit;

use fs_err as fs;
use kit::*;
use landfall::event::Reporter;
use landfall::image::open::Opened;
use landfall::real::process::command::Program;
use landfall::real::process::stop::Stop;
use landfall::real::volume::probe::probe;
use landfall::real::volume::root_image::{Progress, land};
use landfall_states::Probe;
use landfall_states::actions::format_volumes::ImageOrder;
use landfall_states::plan::Volume;
use uuid::Uuid;

fn volume() -> Volume {
    Volume {
        id: Uuid::from_u128(0xDEAD_BEEF << 96 | 0xA),
        provisional: Uuid::from_u128(0x0BAD_CAFE << 96 | 0xB),
        label: "root-web".into(),
    }
}

/// Lands with new progress each time, as after a kill; `orders_max` slices. True when it ended whole.
fn land_on(
    device: &camino::Utf8Path,
    image: &Opened,
    file: &camino::Utf8Path,
    from: &mut u64,
    slices_max: u32,
) -> bool {
    let (reporter, stop) = (Reporter::default(), Stop::never());
    for _ in 0..slices_max {
        let order = ImageOrder {
            image: image.manifest.summary(file.as_str(), &image.digest),
            from: *from,
        };
        let (progress, outcome) = block_on(land(
            Progress::default(),
            device,
            &volume(),
            &order,
            &reporter,
            &stop,
        ));
        outcome.unwrap();
        if let Some(image_progress) = progress.image_progress() {
            *from = image_progress.chunks;
        }
        if id_of(device) == Some(volume().id) {
            return true;
        }
        assert_eq!(id_of(device), Some(volume().provisional), "in the making");
    }
    false
}

fn id_of(device: &camino::Utf8Path) -> Option<Uuid> {
    match block_on(probe(device, &Reporter::default(), &Stop::never())).unwrap() {
        Probe::Found(found) => {
            assert_eq!(found.label.as_deref(), Some("root-web"));
            found.id.and_then(|id| id.parse().ok())
        }
        Probe::Blank | Probe::Ambiguous(_) => None,
    }
}

#[test]
fn it_lands_grown_clean_and_under_the_planned_id_also_when_growing_was_cut() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 5);
    let image = opened(&file);
    let device = folder.join("partition");
    // Three times as large, and not blank where nothing is written.
    fs::write(&device, vec![0xA5; image.manifest.filesystem_bytes as usize * 3]).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&device)
        .unwrap()
        .set_len(image.manifest.filesystem_bytes * 3)
        .unwrap();
    let mut from = 0;
    assert!(land_on(&device, &image, &file, &mut from, 20));
    assert_eq!(from, image.chunks());
    run("e2fsck", &["-f", "-n", device.as_str()]);
    let blocks = image.manifest.filesystem_bytes * 3 / 4096;
    let said = run("dumpe2fs", &["-h", device.as_str()]);
    let line = format!("Block count:              {blocks}");
    assert!(said.contains(&line), "{said}");
    // A cut before the commit: grown already, the provisional id still there. The next run ends the same.
    let grown = fs::read(&device).unwrap();
    run(
        "tune2fs",
        &["-U", &volume().provisional.to_string(), device.as_str()],
    );
    assert!(land_on(&device, &image, &file, &mut from, 2));
    run("e2fsck", &["-f", "-n", device.as_str()]);
    assert_eq!(fs::read(&device).unwrap().len(), grown.len());
    assert!(run("dumpe2fs", &["-h", device.as_str()]).contains(&line));
}

fn run(name: &str, args: &[&str]) -> String {
    let ended = block_on(
        Program::new(name)
            .args(args.iter().copied())
            .run(&Reporter::default(), &Stop::never()),
    )
    .unwrap();
    assert!(ended.success(), "{}", ended.how());
    ended.stdout
}
