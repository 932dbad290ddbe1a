//! Promise: the writing of an image can be interrupted anywhere and continues.
//!
//! A chunk is written only if its digest is right. Of work that was flushed nothing is written twice. Whatever was lost, the
//! disk ends as without the interruption. An error of the disk or of the medium is named as that. Memory does not grow with
//! the image. Needed: mke2fs, e2fsck.
//!
//! `root_image_landed` has a root filesystem that lands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

#[path = "root_image/kit.rs"]
mod kit;

use fs_err as fs;
use kit::*;
use landfall::image::bytes::Bytes;
use landfall::image::disk::Disk;
use landfall::image::open::Opened;
use landfall::image::verify::verify;
use landfall::image::write::{Counts, FLUSH_EVERY, Stamp, Writer};
use landfall::image::{Error, STOCK_BYTES_MAX, WORKERS_MAX};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// One part and its flush; gives the durable count.
fn part(writer: &mut Writer, stop: bool, told: &mut dyn FnMut(Counts)) -> Result<u64, Error> {
    writer.stretch(Duration::ZERO, &|| stop, told, &mut |_| Ok(()))?;
    Ok(writer.durable())
}

/// Writes in parts of one chunk, so that every chunk has its flush; gives the durable count.
fn write_all(writer: &mut Writer) -> Result<u64, Error> {
    let mut durable = writer.durable();
    while !writer.is_done() {
        // A wish to stop ends a part after one chunk.
        durable = part(writer, true, &mut |_| {})?;
    }
    Ok(durable)
}

fn written(image: &Opened, disk: &Arc<Memory>) {
    let mut writer = Writer::new(image, disk.clone(), None, 0).unwrap();
    assert!(
        writer.memory_bytes() <= STOCK_BYTES_MAX,
        "{}",
        writer.memory_bytes()
    );
    write_all(&mut writer).unwrap();
}

#[test]
fn a_cut_at_every_write_ends_as_without_it_and_repeats_no_flushed_work() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 14);
    let image = opened(&file);
    assert!(packed.chunks >= 4, "{packed:?}");
    let whole = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    written(&image, &whole);
    let expected = whole.contents();
    let writes = whole.state.lock().unwrap().log.len() as u64;
    let places: Vec<u64> = whole.state.lock().unwrap().log.iter().map(|w| w.0).collect();
    let first = image.manifest.zero.len();
    assert!(places[first..].is_sorted(), "not in the order of the disk");
    let chunk_max = image
        .manifest
        .chunks
        .iter()
        .map(|c| c.plain_bytes())
        .max()
        .unwrap();
    // Each cut needs a disk of its own: of many writes some are taken.
    let step = (writes / 24).max(1);
    let mut chance = Chance(11);
    for fuse in (0..writes).step_by(step as usize) {
        let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
        disk.state.lock().unwrap().fuse = Some(fuse);
        let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
        let failed = write_all(&mut writer);
        assert!(matches!(failed, Err(Error::Target { .. })), "{failed:?}");
        let durable = writer.durable();
        drop(writer);
        disk.cut(&mut chance);
        let before = disk.written.load(Ordering::SeqCst);
        let mut writer = Writer::new(&image, disk.clone(), None, durable).unwrap();
        write_all(&mut writer).unwrap();
        let counts = writer.counts();
        let again = disk.written.load(Ordering::SeqCst) - before;
        assert_eq!(again, counts.written_bytes + counts.zeroed_bytes);
        let left: u64 = image.manifest.chunks[durable as usize..]
            .iter()
            .map(|c| c.plain_bytes())
            .sum();
        assert_eq!(counts.written_bytes + counts.found_bytes, left, "cut at {fuse}");
        // What was under way is one chunk, since each has its flush here.
        assert!(counts.written_bytes + chunk_max > left - counts.found_bytes);
        assert!(
            disk.contents() == expected || compare(&image, &disk),
            "cut at {fuse}"
        );
    }
}

/// Blocks that are not in use keep what they had: then everything that counts is compared.
fn compare(image: &Opened, disk: &Arc<Memory>) -> bool {
    verify(image, &**disk, None, false, &|| false, &|_, _| {}).is_ok()
}

#[test]
fn the_tail_is_compared_and_only_what_differs_is_written() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 14);
    let image = opened(&file);
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    written(&image, &disk);
    // The record is behind the disk by three chunks, and one of them was lost.
    let lost = &image.manifest.chunks[2];
    disk.state.lock().unwrap().bytes[lost.extents[0].at() as usize] ^= 1;
    disk.state.lock().unwrap().log.clear();
    let mut writer = Writer::new(&image, disk.clone(), None, 1).unwrap();
    write_all(&mut writer).unwrap();
    assert_eq!(writer.counts().written_bytes, lost.plain_bytes());
    assert!(compare(&image, &disk));
    assert_eq!(writer.counts().zeroed_bytes, 0);
}

#[test]
fn a_chunk_whose_digest_is_wrong_is_read_again_and_never_written() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 9);
    let bytes = fs::read(&file).unwrap();
    let chunk = opened(&file).manifest.chunks[1].clone();
    for (errors, lies, good) in [
        (2, 0, true),
        (0, 2, true),
        (1, 1, true),
        (3, 0, false),
        (0, 3, false),
    ] {
        let medium = Medium {
            at: chunk.at + chunk.packed_bytes / 2,
            errors: AtomicU32::new(errors),
            lies: AtomicU32::new(lies),
            ..Medium::new(bytes.clone())
        };
        let image = Opened::open(Arc::new(medium)).unwrap();
        let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
        let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
        let outcome = write_all(&mut writer);
        if good {
            outcome.unwrap();
            assert!(compare(&image, &disk));
            continue;
        }
        let error = outcome.unwrap_err();
        let said = error.to_string();
        assert!(
            matches!(error, Error::SourceBytes { .. } | Error::SourceRead { .. }),
            "{said}"
        );
        assert!(said.contains("chunk 1 of"), "{said}");
        let behind = chunk.extents[0].at();
        let log = disk.state.lock().unwrap().log.clone();
        let zeros = image.manifest.zero.len();
        assert!(log[zeros..].iter().all(|(at, _)| *at < behind), "it was written");
        assert_eq!(writer.durable(), 1, "what came before it stays");
    }
}

#[test]
fn the_medium_is_told_of_every_byte_once_and_not_far_ahead() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 9);
    let medium = Arc::new(Medium::new(fs::read(&file).unwrap()));
    let mut image = Opened::open(medium.clone()).unwrap();
    // As a large one has them: 3 MiB each, 192 MiB in all.
    let mut manifest = (*image.manifest).clone();
    let [first, ..] = manifest.chunks.as_slice() else {
        panic!()
    };
    let spread = |index: u64| landfall::image::manifest::Chunk {
        at: 4_096 + index * (3 << 20),
        packed_bytes: 3 << 20,
        ..first.clone()
    };
    manifest.chunks = (0..64).map(spread).collect();
    image.manifest = Arc::new(manifest);
    let from = 5;
    let mut begun = 0;
    for index in from..image.manifest.chunks.len() {
        begun = image.read_ahead(index, begun);
        let chunk = &image.manifest.chunks[index];
        assert!(begun >= chunk.at + chunk.packed_bytes && begun <= chunk.at + (32 << 20));
    }
    let told = medium.ahead.lock().unwrap().clone();
    let mut behind = image.manifest.chunks[from].at;
    for (at, bytes) in &told {
        assert_eq!(*at, behind, "{told:?}");
        behind = at + bytes;
    }
    assert_eq!(behind, begun);
    assert!(
        told.len() < image.manifest.chunks.len() / 2,
        "asked for each chunk: {told:?}"
    );
    // The control: whoever writes an image has told its medium.
    let medium = Arc::new(Medium::new(fs::read(&file).unwrap()));
    let image = Opened::open(medium.clone()).unwrap();
    written(&image, &Arc::new(Memory::new(image.manifest.filesystem_bytes)));
    assert!(!medium.ahead.lock().unwrap().is_empty());
}

#[test]
fn reading_back_repairs_once_and_then_names_the_disk_or_the_medium() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 9);
    let bytes = fs::read(&file).unwrap();
    let image = opened(&file);
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    written(&image, &disk);
    let chunk = &image.manifest.chunks[1];
    let place = chunk.extents[0].at() + 5;
    let zero = image.manifest.zero[0].at() + 9;
    for place in [place, zero] {
        disk.state.lock().unwrap().bytes[place as usize] ^= 4;
    }
    let named = verify(&image, &*disk, None, false, &|| false, &|_, _| {}).unwrap_err();
    assert!(named.to_string().contains("chunk 1 of"), "{named}");
    let verified = verify(&image, &*disk, None, true, &|| false, &|_, _| {}).unwrap();
    assert_eq!(verified.repaired.len(), 2, "{verified:?}");
    assert!(
        verified.repaired[1].contains("zero bytes at byte"),
        "{verified:?}"
    );
    assert!(compare(&image, &disk));
    // A disk that spoils what is written there.
    disk.state.lock().unwrap().bytes[place as usize] ^= 4;
    disk.state.lock().unwrap().bad = Some(place);
    let blamed = verify(&image, &*disk, None, true, &|| false, &|_, _| {}).unwrap_err();
    assert!(matches!(blamed, Error::TargetBytes { .. }), "{blamed}");
    assert!(blamed.to_string().contains("the target disk is bad"), "{blamed}");
    // The image cannot give it either.
    let mut spoilt = bytes;
    spoilt[(chunk.at + chunk.packed_bytes / 2) as usize] ^= 1;
    let spoilt = Opened::open(Arc::new(Medium::new(spoilt))).unwrap();
    let blamed = verify(&spoilt, &*disk, None, true, &|| false, &|_, _| {}).unwrap_err();
    assert!(matches!(blamed, Error::SourceBytes { .. }), "{blamed}");
    assert!(
        blamed.to_string().contains("the medium with the image is bad"),
        "{blamed}"
    );
}

#[test]
fn a_sector_that_cannot_be_read_is_written_once_and_read_again() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 9);
    let image = opened(&file);
    let chunk = &image.manifest.chunks[1];
    let place = chunk.extents[0].at() + 4096;
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    written(&image, &disk);
    // What a cut inside a write has left: where a resumed run compares, and where everything is read back.
    disk.state.lock().unwrap().unreadable = Some((place, true));
    let mut writer = Writer::new(&image, disk.clone(), None, 1).unwrap();
    write_all(&mut writer).unwrap();
    assert_eq!(writer.counts().written_bytes, chunk.plain_bytes());
    assert!(compare(&image, &disk));
    let zero = image.manifest.zero[0].at();
    for place in [place, zero] {
        disk.state.lock().unwrap().unreadable = Some((place, true));
        let named = verify(&image, &*disk, None, false, &|| false, &|_, _| {}).unwrap_err();
        assert!(matches!(named, Error::TargetRead { .. }), "{named}");
        let verified = verify(&image, &*disk, None, true, &|| false, &|_, _| {}).unwrap();
        assert_eq!(verified.repaired.len(), 1, "{verified:?}");
    }
    // The control: a disk that does not get over it.
    disk.state.lock().unwrap().unreadable = Some((place, false));
    let blamed = verify(&image, &*disk, None, true, &|| false, &|_, _| {}).unwrap_err();
    assert!(matches!(blamed, Error::TargetRead { .. }), "{blamed}");
    assert!(blamed.to_string().starts_with("chunk 1 of"), "{blamed}");
}

#[test]
fn what_the_image_leaves_out_is_discarded_once_and_nothing_else_is() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 9);
    let image = opened(&file);
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes + (1 << 20)));
    let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
    // Whoever wishes to stop is heard between two extents that are zeroed, and goes on there.
    assert_eq!(part(&mut writer, true, &mut |_| {}).unwrap(), 0);
    assert_eq!(writer.counts().zeroed_bytes, image.manifest.zero[0].bytes());
    write_all(&mut writer).unwrap();
    assert_eq!(writer.counts().zeroed_bytes, image.manifest.zero_bytes());
    let discarded = disk.state.lock().unwrap().discarded.clone();
    let sum: u64 = discarded.iter().map(|(_, bytes)| bytes).sum();
    let used = image.manifest.plain_bytes() + image.manifest.zero_bytes();
    assert!(sum > 0);
    assert_eq!(sum, image.manifest.filesystem_bytes - used);
    assert_eq!(writer.counts().discarded_bytes, sum);
    let carried = image.manifest.chunks.iter().flat_map(|chunk| &chunk.extents);
    for extent in carried.chain(&image.manifest.zero) {
        let apart =
            |(at, bytes): &(u64, u64)| at + bytes <= extent.at() || extent.at() + extent.bytes() <= *at;
        assert!(discarded.iter().all(apart), "{extent:?}");
    }
    assert!(compare(&image, &disk));
    let mut writer = Writer::new(&image, disk.clone(), None, 1).unwrap();
    write_all(&mut writer).unwrap();
    assert_eq!(
        disk.state.lock().unwrap().discarded.len(),
        discarded.len(),
        "a resumed run discards"
    );
}

#[test]
fn a_stretch_is_of_several_parts_and_each_is_flushed() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 14);
    assert!(packed.chunks >= 4, "{packed:?}");
    let image = opened(&file);
    // A chunk takes longer than the time between two flushes.
    let slow = &mut |_| std::thread::sleep(FLUSH_EVERY + Duration::from_millis(50));
    let start = || {
        let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
        Writer::new(&image, disk, None, 0).unwrap()
    };
    let mut writer = start();
    let mut seen = vec![];
    let longest = FLUSH_EVERY + Duration::from_millis(500);
    writer
        .stretch(longest, &|| false, slow, &mut |chunks| {
            seen.push(chunks);
            Ok(())
        })
        .unwrap();
    assert_eq!((seen, writer.durable(), writer.is_done()), (vec![1, 2], 2, false));
    assert_eq!(writer.counts().flushes, 2);
    // The control: one part is one flush, and so is a stretch that somebody stops.
    let mut writer = start();
    assert_eq!(part(&mut writer, false, slow).unwrap(), 1);
    writer
        .stretch(longest, &|| true, &mut |_| {}, &mut |_| Ok(()))
        .unwrap();
    assert_eq!((writer.counts().flushes, writer.durable()), (2, 2));
}

/// A disk whose flush takes a while, and makes durable what was written before it began.
struct Slow {
    memory: Arc<Memory>,
    writes: AtomicU64,
    durable: AtomicU64,
    is_flushing: AtomicBool,
    written_meanwhile: AtomicU64,
}

impl Disk for Slow {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        self.memory.read_exact_at(bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        self.written_meanwhile.fetch_add(
            u64::from(self.is_flushing.load(Ordering::SeqCst)),
            Ordering::SeqCst,
        );
        self.memory.write_all_at(bytes, at)?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn zero(&self, at: u64, bytes: u64) -> std::io::Result<()> {
        self.memory.zero(at, bytes)
    }

    fn discard(&self, at: u64, bytes: u64) -> std::io::Result<bool> {
        self.memory.discard(at, bytes)
    }

    fn flush(&self) -> std::io::Result<()> {
        let before = self.writes.load(Ordering::SeqCst);
        self.is_flushing.store(true, Ordering::SeqCst);
        std::thread::sleep(FLUSH_EVERY);
        self.memory.flush()?;
        self.is_flushing.store(false, Ordering::SeqCst);
        self.durable.fetch_max(before, Ordering::SeqCst);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.memory.length()
    }
}

#[test]
fn what_is_written_while_the_disk_is_flushed_is_not_called_durable() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 14);
    assert!(packed.chunks >= 4, "{packed:?}");
    let image = opened(&file);
    let disk = Arc::new(Slow {
        memory: Arc::new(Memory::new(image.manifest.filesystem_bytes)),
        writes: AtomicU64::new(0),
        durable: AtomicU64::new(0),
        is_flushing: AtomicBool::new(false),
        written_meanwhile: AtomicU64::new(0),
    });
    let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
    let mut seen = vec![];
    // A part has at most two chunks.
    let slow = &mut |_| std::thread::sleep(FLUSH_EVERY / 2 + Duration::from_millis(10));
    let outcome = writer.run(&|| false, slow, &mut |chunks| {
        let writes: usize = image.manifest.chunks[..usize::try_from(chunks).unwrap()]
            .iter()
            .map(|chunk| chunk.extents.len())
            .sum();
        seen.push((chunks, writes as u64, disk.durable.load(Ordering::SeqCst)));
        Ok(())
    });
    outcome.unwrap();
    assert!(seen.len() > 1, "{seen:?}");
    assert!(
        seen.iter().all(|(_, claimed, durable)| claimed <= durable),
        "{seen:?}"
    );
    assert_eq!(seen.last().map(|seen| seen.0), Some(image.chunks()));
    // The control: it does write then.
    assert!(disk.written_meanwhile.load(Ordering::SeqCst) > 0);
    assert!(compare(&image, &disk.memory));
}

#[test]
fn a_disk_that_goes_away_keeps_what_was_flushed_before() {
    let (_keep, folder) = folder();
    let (file, packed) = image(&folder, 24);
    assert!(packed.chunks >= 6, "{packed:?}");
    let image = opened(&file);
    let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    let mut writer = Writer::new(&image, disk.clone(), None, 0).unwrap();
    // A part has two chunks. The disk is gone behind the fifth: neither a write nor a flush succeeds any more.
    let mut chunks = 0;
    let told = &mut |_| {
        chunks += 1;
        std::thread::sleep(FLUSH_EVERY * 2 / 3);
        if chunks == 5 {
            // The flush before it ends first, on a busy computer too.
            std::thread::sleep(FLUSH_EVERY * 4);
            disk.state.lock().unwrap().fuse = Some(0);
        }
    };
    let mut claimed = 0;
    let failed = writer.run(&|| false, told, &mut |chunks| {
        claimed = chunks;
        Ok(())
    });
    assert!(matches!(failed, Err(Error::Target { .. })), "{failed:?}");
    assert!((3..=4).contains(&claimed), "{claimed}");
    assert_eq!(writer.durable(), claimed, "durable, and nobody was told");
}

/// A medium that gives one wrong byte, and at the next read of it a panic.
struct Trap(Medium);

impl Bytes for Trap {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<()> {
        let hit = (at..at + bytes.len() as u64).contains(&self.0.at);
        let sprung = self.0.lies.load(Ordering::SeqCst) == 0;
        assert!(!(hit && sprung), "a planted defect");
        self.0.read_exact_at(bytes, at)
    }

    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }

    fn forget(&self, at: u64, bytes: u64) -> std::io::Result<()> {
        self.0.forget(at, bytes)
    }
}

#[test]
fn a_worker_that_panics_is_missed_at_once() {
    let (_keep, folder) = folder();
    // More chunks than there are buffers: whoever reads waits too, and the threads do not end by themselves.
    let (file, packed) = image(&folder, 4 * (WORKERS_MAX + 8));
    assert!(packed.chunks as usize >= WORKERS_MAX + 8, "{packed:?}");
    let chunk = opened(&file).manifest.chunks[1].clone();
    // At once: in the thread that reads. Behind a wrong byte: in one that unpacks.
    for lies in [0, 1] {
        let medium = Medium {
            at: chunk.at,
            lies: AtomicU32::new(lies),
            ..Medium::new(fs::read(&file).unwrap())
        };
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let image = Opened::open(Arc::new(Trap(medium))).unwrap();
            let disk = Arc::new(Memory::new(image.manifest.filesystem_bytes));
            let mut writer = Writer::new(&image, disk, None, 0).unwrap();
            sender.send(write_all(&mut writer)).unwrap();
        });
        let outcome = ended.recv_timeout(Duration::from_secs(60));
        let outcome = outcome.expect("it waits for a thread that is gone");
        assert!(matches!(outcome, Err(Error::Worker)), "{outcome:?}");
    }
}

#[test]
fn a_stamp_is_on_the_superblock_alone() {
    let (_keep, folder) = folder();
    let (file, _) = image(&folder, 5);
    let image = opened(&file);
    let stamp = Stamp {
        id: Uuid::from_u128(7),
        label: "root-web".into(),
    };
    let plain = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    written(&image, &plain);
    let stamped = Arc::new(Memory::new(image.manifest.filesystem_bytes));
    let mut writer = Writer::new(&image, stamped.clone(), Some(stamp.clone()), 0).unwrap();
    write_all(&mut writer).unwrap();
    let (a, b) = (plain.contents(), stamped.contents());
    let differ: Vec<usize> = (0..a.len()).filter(|i| a[*i] != b[*i]).collect();
    assert!(differ.iter().all(|i| (1024..2048).contains(i)) && !differ.is_empty());
    verify(&image, &*stamped, Some(&stamp), false, &|| false, &|_, _| {}).unwrap();
    assert!(verify(&image, &*stamped, None, false, &|| false, &|_, _| {}).is_err());
}
