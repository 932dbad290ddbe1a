//! Promise: a stick is bootable only when all of the image was read back from it; every interruption leaves one that is not
//! bootable, and that can be continued; a difference is reported with its cause.
//!
//! The sticks are in memory: correct ones, ones that are smaller than they say, that lose data, that change it, that are
//! pulled out. `tests/flash_stick.rs` does the same with the kernel's own devices.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

#[path = "shared/noise.rs"]
mod noise;

use camino::{Utf8Path, Utf8PathBuf};
use landfall::flash::difference::{Cause, Verdict};
use landfall::flash::error::Error;
use landfall::flash::source::{Digests, Source};
use landfall::flash::verdict::{self, Found};
use landfall::flash::write::{self, Counts, Stick};
use landfall::flash::{CHUNK_BYTES, HEAD_BYTES, Watch};
use landfall::image::disk::Disk;
use noise::noise;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nobody watches and nobody stops it.
struct Quiet;

impl Watch for Quiet {
    fn progress(&self, _: &'static str, _: u64, _: u64) {}
    fn stops(&self) -> bool {
        false
    }
}

/// What a stick does to those who trust it.
#[derive(Clone)]
enum Manner {
    Honest,
    /// It has so many bytes, and counts again behind them.
    Wraps(u64),
    /// It has so many bytes, and keeps nothing behind them.
    Ends(u64),
    /// What is written to a range stays what it was, once.
    Loses(std::ops::Range<u64>),
    /// A range reads differently every second time.
    Unsteady(std::ops::Range<u64>),
}

struct Fake {
    says: u64,
    manner: Manner,
    bytes: Mutex<Vec<u8>>,
    /// Writes and flushes that were asked for.
    done: AtomicU64,
    /// It is pulled out at this one, a part of which is still done.
    dies_at: u64,
    reads: AtomicU64,
    lost: AtomicU64,
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const OLD: u8 = 0x5A;

impl Fake {
    fn new(says: u64, manner: Manner) -> Fake {
        Fake {
            says,
            manner,
            bytes: Mutex::new(vec![OLD; usize::try_from(says).unwrap()]),
            done: AtomicU64::new(0),
            dies_at: u64::MAX,
            reads: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    fn is_dead(&self) -> bool {
        self.done.load(Ordering::SeqCst) > self.dies_at
    }

    fn gone() -> io::Error {
        io::Error::from_raw_os_error(nix::libc::EIO)
    }

    fn sector(&self, at: u64) -> Option<usize> {
        let real = match self.manner {
            Manner::Wraps(real) => at % real,
            Manner::Ends(real) if at >= real => return None,
            _ => at,
        };
        Some(usize::try_from(real).unwrap())
    }

    fn head(&self) -> Vec<u8> {
        self.bytes.lock().unwrap()[..HEAD_BYTES].to_vec()
    }
}

impl Disk for Fake {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        assert!(
            bytes.len().is_multiple_of(512) && at.is_multiple_of(512),
            "not in sectors"
        );
        if self.is_dead() {
            return Err(Fake::gone());
        }
        let turn = self.reads.fetch_add(1, Ordering::SeqCst);
        let held = self.bytes.lock().unwrap();
        for (number, sector) in bytes.chunks_mut(512).enumerate() {
            let at = at + number as u64 * 512;
            match self.sector(at) {
                Some(from) => sector.copy_from_slice(&held[from..from + 512]),
                None => sector.fill(0xFF),
            }
            if let Manner::Unsteady(range) = &self.manner
                && range.contains(&at)
                && turn.is_multiple_of(2)
            {
                sector[7] ^= 0x10;
            }
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        assert!(
            bytes.len().is_multiple_of(512) && at.is_multiple_of(512),
            "not in sectors"
        );
        assert!(at + bytes.len() as u64 <= self.says, "behind the end");
        let turn = self.done.fetch_add(1, Ordering::SeqCst);
        if turn > self.dies_at {
            return Err(Fake::gone());
        }
        let sectors = bytes.len() / 512;
        // Pulled out in the middle: a part of it is there.
        let kept = if turn == self.dies_at {
            sectors / 2
        } else {
            sectors
        };
        let mut held = self.bytes.lock().unwrap();
        for (number, sector) in bytes.chunks(512).enumerate().take(kept) {
            let at = at + number as u64 * 512;
            if let Manner::Loses(range) = &self.manner
                && range.contains(&at)
                && self.lost.load(Ordering::SeqCst) < range.end - range.start
            {
                self.lost.fetch_add(512, Ordering::SeqCst);
                continue;
            }
            if let Some(to) = self.sector(at) {
                held[to..to + 512].copy_from_slice(sector);
            }
        }
        if turn == self.dies_at {
            return Err(Fake::gone());
        }
        Ok(())
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        match self.done.fetch_add(1, Ordering::SeqCst) {
            turn if turn >= self.dies_at => Err(Fake::gone()),
            _ => Ok(()),
        }
    }

    fn length(&self) -> u64 {
        self.says
    }
}

struct Image {
    _keep: tempfile::TempDir,
    path: Utf8PathBuf,
    bytes: Vec<u8>,
}

fn image(length: usize) -> Image {
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(keep.path().join("installer.iso")).unwrap();
    let bytes = noise(length, SEED);
    fs_err::write(&path, &bytes).unwrap();
    Image {
        _keep: keep,
        path,
        bytes,
    }
}

fn stick<'a>(fake: &'a Fake, is_gone: &'a (dyn Fn() -> bool + Sync)) -> Stick<'a> {
    Stick {
        disk: fake,
        name: "stick".into(),
        sector_bytes: 512,
        is_gone,
        again: "landfall flash installer.iso stick --resume".into(),
        device: "stick".into(),
    }
}

/// All of it, as the command does it.
fn flash(
    fake: &Fake,
    source: &Source,
    digests: &Digests,
    claimed: u64,
    flushed: &mut u64,
) -> Result<Counts, Error> {
    let is_gone = || fake.is_dead();
    let stick = stick(fake, &is_gone);
    write::fits(&stick, digests.bytes)?;
    write::wipe(&stick, digests.bytes)?;
    let counts = write::body(&stick, source, digests, claimed, &Quiet, &mut |chunks| {
        *flushed = chunks;
        Ok(())
    })?;
    let found = verdict::read_back(&stick, digests, &Quiet)?;
    if !found.is_good() {
        let verdict = verdict::explain(&stick, source, digests, &found, &Quiet)?;
        return Err(Error::Differs {
            stick: stick.name.clone(),
            verdict,
        });
    }
    assert_eq!(write::head(&stick, digests)?, None);
    Ok(counts)
}

fn looked(path: &Utf8Path) -> (Source, Digests) {
    let source = Source::open(path).unwrap();
    let digests = source.look(None, &Quiet).unwrap();
    (source, digests)
}

const MIB: usize = 1 << 20;

#[test]
fn an_image_is_written_whole_and_both_ends_of_the_stick_are_wiped() {
    for length in [512, 700, MIB, MIB + 1, CHUNK_BYTES, 9 * MIB + 77, 13 * MIB] {
        let image = image(length);
        let (source, digests) = looked(&image.path);
        let sum: [u8; 32] = Sha256::digest(&image.bytes).into();
        assert_eq!((digests.bytes, digests.sha256), (length as u64, sum));
        let fake = Fake::new(16 << 20, Manner::Honest);
        let mut flushed = 0;
        flash(&fake, &source, &digests, 0, &mut flushed).unwrap();
        let bytes = fake.bytes.lock().unwrap();
        assert!(bytes[..length] == image.bytes, "{length}");
        assert_eq!(flushed, digests.chunks.len() as u64);
        assert!(bytes[15 * MIB..].iter().all(|byte| *byte == 0), "the end");
        // Behind the image, and before the end, it is as it was.
        assert!(bytes[14 * MIB..15 * MIB].iter().all(|byte| *byte == OLD));
    }
}

#[test]
fn every_cut_leaves_no_boot_sector_and_is_gone_on_with() {
    let image = image(14 * MIB + 1000);
    let (source, digests) = looked(&image.path);
    let (mut cuts, mut unbootable) = (0, 0);
    loop {
        let mut fake = Fake::new(16 << 20, Manner::Honest);
        fake.dies_at = cuts;
        let mut flushed = 0;
        let done = flash(&fake, &source, &digests, 0, &mut flushed);
        let Err(error) = done else { break };
        let Error::Gone { again, .. } = &error else {
            panic!("{error}");
        };
        assert!(again.ends_with("--resume"), "{again}");
        // Cut in the first write, the start is half of what it was; from then on there is nothing, up to the last write of all.
        let boot_sector = &fake.head()[..512];
        if cuts == 0 {
            assert_eq!(boot_sector, [0; 512]);
        } else if boot_sector == [0; 512] {
            unbootable += 1;
        } else {
            // The boot sector is there: so is everything else, but the end of its own block.
            assert!(fake.bytes.lock().unwrap()[4096..image.bytes.len()] == image.bytes[4096..]);
        }
        // Put back: what was flushed is found, and not written again.
        fake.done = AtomicU64::new(0);
        fake.dies_at = u64::MAX;
        let claimed = flushed;
        let counts = flash(&fake, &source, &digests, claimed, &mut flushed).unwrap();
        let claimed_bytes = (claimed * CHUNK_BYTES as u64).min(digests.bytes.next_multiple_of(512));
        assert_eq!(
            counts.found_bytes,
            claimed_bytes.saturating_sub(HEAD_BYTES as u64).min(claimed_bytes),
            "cut {cuts}"
        );
        assert!(fake.bytes.lock().unwrap()[..image.bytes.len()] == image.bytes);
        cuts += 1;
    }
    assert!(cuts >= 12 && unbootable >= cuts - 3, "{cuts} cuts, {unbootable}");
}

/// The control: written from the first byte to the last, as others do it, a cut leaves a boot sector before half an image, and the check
/// above would see it.
#[test]
fn a_plain_copy_that_is_cut_looks_bootable() {
    let image = image(14 * MIB);
    let mut fake = Fake::new(16 << 20, Manner::Honest);
    fake.dies_at = 2;
    let mut failed = false;
    for (number, chunk) in image.bytes.chunks(CHUNK_BYTES).enumerate() {
        failed |= fake.write_all_at(chunk, (number * CHUNK_BYTES) as u64).is_err();
    }
    assert!(failed && fake.head()[..512] == image.bytes[..512]);
    assert!(fake.bytes.lock().unwrap()[4096..image.bytes.len()] != image.bytes[4096..]);
}

/// A record may say anything: what it says is compared.
#[test]
fn a_record_is_not_trusted() {
    let image = image(14 * MIB);
    let (source, digests) = looked(&image.path);
    for claimed in [0, 2, 4, u64::MAX] {
        let fake = Fake::new(16 << 20, Manner::Honest);
        let counts = flash(&fake, &source, &digests, claimed, &mut 0).unwrap();
        assert_eq!(counts.found_bytes, 0, "nothing of it was there");
        assert!(fake.bytes.lock().unwrap()[..image.bytes.len()] == image.bytes);
    }
}

fn verdict_of(fake: &Fake, image: &Image) -> Verdict {
    let (source, digests) = looked(&image.path);
    match flash(fake, &source, &digests, 0, &mut 0) {
        Err(Error::Differs { verdict, .. }) => {
            assert!(fake.head() != image.bytes[..HEAD_BYTES], "it is bootable");
            verdict
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stick_that_is_smaller_than_it_says_is_found_out_to_the_sector() {
    for real in [
        8 * MIB as u64,
        6 * MIB as u64 + 3 * 512,
        5 * MIB as u64,
        // Written over three times.
        4 * MIB as u64 + 512,
        // Only the first MiB, which is not written yet, is hit.
        14 * MIB as u64 - 70 * 512,
    ] {
        let image = image(14 * MIB);
        let fake = Fake::new(16 << 20, Manner::Wraps(real));
        let verdict = verdict_of(&fake, &image);
        let Cause::Wraps {
            real_bytes,
            written,
            read,
        } = verdict.cause
        else {
            panic!("{real}: {verdict}");
        };
        assert_eq!(real_bytes, real, "{verdict}");
        assert_eq!(written % real, read % real, "{verdict}");
        assert!(
            verdict.to_string().contains("smaller than it reports"),
            "{verdict}"
        );
    }
    // The control: the same bytes at two places of the image are no wrap, when the stick merely lost one of them.
    let mut image = image(14 * MIB);
    let (first, second) = (5 * MIB..6 * MIB, 11 * MIB..12 * MIB);
    let copy = image.bytes[second].to_vec();
    image.bytes[first.clone()].copy_from_slice(&copy);
    fs_err::write(&image.path, &image.bytes).unwrap();
    let fake = Fake::new(16 << 20, Manner::Loses(first.start as u64..first.end as u64));
    // What lay there before is found in the image as well, further behind.
    fake.bytes.lock().unwrap()[first].copy_from_slice(&image.bytes[9 * MIB..10 * MIB]);
    assert_eq!(verdict_of(&fake, &image).cause, Cause::Lost);
}

#[test]
fn what_is_lost_what_is_unsteady_and_where_nothing_is_kept_are_told_apart() {
    let image = image(14 * MIB);
    let mib = MIB as u64;
    let verdict = |manner| verdict_of(&Fake::new(16 << 20, manner), &image);
    let found = verdict(Manner::Ends(9 * mib + 512));
    assert_eq!(found.cause, Cause::EndsAt(9 * mib + 512), "{found}");
    let found = verdict(Manner::Loses(5 * mib..5 * mib + 4096));
    assert_eq!(
        (found.cause.clone(), found.first, found.bytes, found.chunks),
        (Cause::Lost, 5 * mib, 4096, (1, 4)),
        "{found}"
    );
    // At the very end: that is lost, and not the end of the stick, for the next write there is kept.
    let found = verdict(Manner::Loses(13 * mib..14 * mib));
    assert_eq!(
        (found.cause.clone(), found.first),
        (Cause::Lost, 13 * mib),
        "{found}"
    );
    let found = verdict(Manner::Unsteady(13 * mib..13 * mib + 512));
    assert_eq!(found.cause, Cause::Unsteady, "{found}");
}

/// The first reading differed, and the second one does not: that is told, and no difference of no bytes.
#[test]
fn a_difference_of_no_bytes_is_never_told() {
    let image = image(14 * MIB);
    let (source, digests) = looked(&image.path);
    let fake = Fake::new(16 << 20, Manner::Honest);
    flash(&fake, &source, &digests, 0, &mut 0).unwrap();
    let is_gone = || false;
    let stick = stick(&fake, &is_gone);
    for (differing, first) in [(vec![2], 8 << 20), (vec![1, 3], 4 << 20)] {
        let found = Found {
            differing,
            head_was_hit: false,
        };
        let verdict = verdict::explain(&stick, &source, &digests, &found, &Quiet).unwrap();
        assert_eq!(
            (verdict.cause.clone(), verdict.first),
            (Cause::Unsteady, first),
            "{verdict}"
        );
        let said = verdict.to_string();
        assert!(
            !said.contains("0 bytes differ") && said.contains("right when"),
            "{said}"
        );
    }
    // The image is shorter by now: nothing can be said of the stick.
    fs_err::write(&image.path, &image.bytes[..8 * MIB]).unwrap();
    let found = Found {
        differing: vec![3],
        head_was_hit: false,
    };
    let verdict = verdict::explain(&stick, &source, &digests, &found, &Quiet).unwrap();
    assert_eq!(verdict.cause, Cause::ImageChanged);
    assert!(!verdict.to_string().starts_with('0'), "{verdict}");
    // A stick that cannot be read is no stick that lost something.
    let mut dead = Fake::new(16 << 20, Manner::Honest);
    dead.dies_at = 0;
    dead.done = AtomicU64::new(1);
    let is_gone = || true;
    let stick = self::stick(&dead, &is_gone);
    let found = Found {
        differing: vec![],
        head_was_hit: true,
    };
    let error = verdict::explain(&stick, &source, &digests, &found, &Quiet).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
}

/// A stick that takes its time, and reports an error of a flush once, as Linux does for an open file (fsync(2)).
struct Slow {
    fake: Fake,
    flushes: AtomicU64,
    fails_at: u64,
}

impl Disk for Slow {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.fake.read_exact_at(bytes, at)
    }
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        self.fake.write_all_at(bytes, at)
    }
    fn zero(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.fake.zero(at, bytes)
    }
    fn discard(&self, at: u64, bytes: u64) -> io::Result<bool> {
        self.fake.discard(at, bytes)
    }
    fn flush(&self) -> io::Result<()> {
        let turn = self.flushes.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        if turn == self.fails_at {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        self.fake.flush()
    }
    fn length(&self) -> u64 {
        self.fake.length()
    }
}

#[test]
fn an_error_of_a_flush_beside_the_writing_is_not_lost() {
    let image = image(14 * MIB);
    let (source, digests) = looked(&image.path);
    for (fails_at, fails) in [(0, true), (u64::MAX, false)] {
        let slow = Slow {
            fake: Fake::new(16 << 20, Manner::Honest),
            flushes: AtomicU64::new(0),
            fails_at,
        };
        let is_gone = || false;
        let stick = Stick {
            disk: &slow,
            ..stick(&slow.fake, &is_gone)
        };
        let done = write::body(&stick, &source, &digests, 0, &Quiet, &mut |_| Ok(()));
        assert!(
            slow.flushes.load(Ordering::SeqCst) >= 2 || fails,
            "no flush was beside it"
        );
        assert_eq!(
            matches!(done, Err(Error::Stick { doing: "flushed", .. })),
            fails,
            "{done:?}"
        );
    }
}

#[test]
fn an_image_that_changes_is_never_the_sticks_fault() {
    let image = image(14 * MIB);
    let (source, digests) = looked(&image.path);
    let change = |at: usize| {
        let mut bytes = image.bytes.clone();
        bytes[at] ^= 1;
        // In place: what was opened stays open.
        let mut file = fs_err::OpenOptions::new().write(true).open(&image.path).unwrap();
        file.write_all(&bytes).unwrap();
    };
    change(9 * MIB);
    let fake = Fake::new(16 << 20, Manner::Honest);
    match flash(&fake, &source, &digests, 0, &mut 0) {
        Err(Error::Changed { at, .. }) => assert_eq!(at, 8 << 20),
        other => panic!("{other:?}"),
    }
    assert!(fake.head().iter().all(|byte| *byte == 0), "it is bootable");
    // It changes while the cause of another difference is looked for.
    let is_gone = || false;
    let stick = stick(&fake, &is_gone);
    let found = Found {
        differing: vec![2],
        head_was_hit: false,
    };
    let verdict = verdict::explain(&stick, &source, &digests, &found, &Quiet).unwrap();
    assert_eq!(verdict.cause, Cause::ImageChanged);
    // It became shorter.
    let mut bytes = image.bytes.clone();
    bytes.truncate(12 << 20);
    fs_err::write(&image.path, &bytes).unwrap();
    let done = flash(&Fake::new(16 << 20, Manner::Honest), &source, &digests, 0, &mut 0);
    assert!(
        matches!(done, Err(Error::Changed { at, .. }) if at == 12 << 20),
        "{done:?}"
    );
}

#[test]
fn a_stick_that_is_too_small_is_not_touched() {
    let image = image(14 * MIB + 1);
    let (source, digests) = looked(&image.path);
    let fake = Fake::new(14 << 20, Manner::Honest);
    let done = flash(&fake, &source, &digests, 0, &mut 0);
    assert!(matches!(done, Err(Error::TooSmall { .. })), "{done:?}");
    assert_eq!(fake.done.load(Ordering::SeqCst), 0);
}
