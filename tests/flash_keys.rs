//! Promise: keys on a stick are found by landfall as long as a byte of them is there: put on or taken off and cut at any write, with any
//! part of what was not flushed, with the table lost, with another image written over it. The sticks are in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot go on fails

use camino::{Utf8Path, Utf8PathBuf};
use landfall::flash::error::Error;
use landfall::flash::keys::{self, Keys};
use landfall::flash::table::{self, Place};
use landfall::flash::write::Stick;
use landfall::flash::{HEAD_BYTES, TAIL_BYTES, Watch, keys_left};
use landfall::image::disk::Disk;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const MIB: usize = 1 << 20;
const STICK_BYTES: usize = 15 * MIB;
/// Where the hybrid image's keys begin, and how far their bytes reach.
const FROM: usize = 5 * MIB;
const REACH: usize = 256 << 10;
const SSH_KEY: &str = include_str!("ssh-key.txt");
const PASSPHRASE: &str = "correct horse battery";

/// Stops when it was asked so many times.
struct Patience(AtomicU64);

impl Watch for Patience {
    fn progress(&self, _: &'static str, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }
    fn stops(&self) -> bool {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        left == 0
    }
}

fn patient() -> Patience {
    Patience(AtomicU64::new(u64::MAX))
}

/// A stick with a cache: what was not flushed may be lost, in any part.
struct Cached {
    durable: Mutex<Vec<u8>>,
    pending: Mutex<Vec<(usize, Vec<u8>)>>,
    done: AtomicU64,
    dies_at: u64,
}

impl Cached {
    fn of(bytes: Vec<u8>, dies_at: u64) -> Cached {
        Cached {
            durable: Mutex::new(bytes),
            pending: Mutex::new(vec![]),
            done: AtomicU64::new(0),
            dies_at,
        }
    }

    fn lives(&self) -> io::Result<()> {
        match self.done.fetch_add(1, Ordering::SeqCst) {
            turn if turn >= self.dies_at => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            _ => Ok(()),
        }
    }

    fn now(&self) -> Vec<u8> {
        let mut bytes = self.durable.lock().unwrap().clone();
        for (at, new) in &*self.pending.lock().unwrap() {
            bytes[*at..*at + new.len()].copy_from_slice(new);
        }
        bytes
    }

    /// What may be there after the power went: of what was not flushed nothing, all, each alone, all but each, and halves of each.
    fn afterwards(&self) -> Vec<Vec<u8>> {
        let durable = self.durable.lock().unwrap().clone();
        let pending = self.pending.lock().unwrap().clone();
        let mut all = vec![durable.clone(), self.now()];
        let with = |kept: &dyn Fn(usize) -> bool, half: Option<bool>| {
            let mut bytes = durable.clone();
            for (_, (at, new)) in pending.iter().enumerate().filter(|(number, _)| kept(*number)) {
                let middle = new.len() / 1024 * 512;
                let part = match half {
                    None => 0..new.len(),
                    Some(true) => 0..middle,
                    Some(false) => middle..new.len(),
                };
                bytes[at + part.start..at + part.end].copy_from_slice(&new[part]);
            }
            bytes
        };
        for one in 0..pending.len() {
            all.push(with(&|number| number == one, None));
            all.push(with(&|number| number != one, None));
            all.push(with(&|number| number == one, Some(true)));
            all.push(with(&|number| number == one, Some(false)));
        }
        all
    }
}

impl Disk for Cached {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).unwrap();
        let to = from + bytes.len();
        bytes.copy_from_slice(&self.durable.lock().unwrap()[from..to]);
        for (at, new) in &*self.pending.lock().unwrap() {
            let (start, end) = (from.max(*at), to.min(*at + new.len()));
            if start < end {
                bytes[start - from..end - from].copy_from_slice(&new[start - at..end - at]);
            }
        }
        Ok(())
    }
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.lives()?;
        let write = (usize::try_from(at).unwrap(), bytes.to_vec());
        self.pending.lock().unwrap().push(write);
        Ok(())
    }
    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }
    fn flush(&self) -> io::Result<()> {
        self.lives()?;
        let mut durable = self.durable.lock().unwrap();
        for (at, new) in self.pending.lock().unwrap().drain(..) {
            durable[at..at + new.len()].copy_from_slice(&new);
        }
        Ok(())
    }
    fn length(&self) -> u64 {
        STICK_BYTES as u64
    }
}

fn stick(disk: &dyn Disk) -> Stick<'_> {
    Stick {
        disk,
        name: "stick".into(),
        sector_bytes: 512,
        is_gone: &|| false,
        again: "landfall flash --forget-keys /dev/stick".into(),
        device: "/dev/stick".into(),
    }
}

fn hybrid() -> Vec<u8> {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flash/hybrid.iso.zst");
    zstd::decode_all(fs_err::File::open(path).unwrap()).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Folder {
        let keep = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = keep.path().join(name);
            fs_err::write(&path, text).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        Folder(keep)
    }
    fn read(&self) -> Result<Keys, Error> {
        keys::read(&Utf8PathBuf::from_path_buf(self.0.path().to_owned()).unwrap())
    }
}

fn some_keys() -> Keys {
    Folder::with(&[("ssh-key", SSH_KEY), ("luks-passphrase", PASSPHRASE)])
        .read()
        .unwrap()
}

/// A stick with an image, and the place for keys behind it.
fn flashed() -> (Vec<u8>, Place) {
    let image = hybrid();
    let place = table::planned(&image, image.len() as u64, STICK_BYTES as u64, 512).unwrap();
    assert_eq!(place.from, FROM as u64);
    let mut bytes = vec![0; STICK_BYTES];
    bytes[..image.len()].copy_from_slice(&image);
    (bytes, place)
}

fn has_keys(bytes: &[u8]) -> bool {
    let bytes = &bytes[FROM..FROM + REACH];
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    has(PASSPHRASE.as_bytes()) || has(b"PRIVATE KEY") || has(&SSH_KEY.as_bytes()[200..240])
}

/// Whatever is found goes; nothing of the keys is left then.
#[track_caller]
fn found_and_gone(bytes: Vec<u8>, what: &str) {
    let is_there = has_keys(&bytes);
    let disk = Cached::of(bytes, u64::MAX);
    let stick = stick(&disk);
    let mut left = keys_left::on(&stick).unwrap();
    if left.is_empty() {
        left = keys_left::all_over(&stick, &patient()).unwrap();
    }
    assert!(
        !is_there || !left.places.is_empty(),
        "{what}: keys are there and are not found: {left:?}"
    );
    for place in &left.places {
        keys::forget(&stick, place, &patient()).unwrap();
    }
    keys_left::untell(&stick).unwrap();
    assert!(!has_keys(&disk.now()), "{what}: they are still there");
    assert!(keys_left::on(&stick).unwrap().is_empty(), "{what}");
}

/// Every state that a cut may leave, with the table and the block at the end, and without each.
fn every_loss(disk: &Cached, what: &str) -> usize {
    let mut with_keys = 0;
    for bytes in disk.afterwards() {
        if !has_keys(&bytes) {
            continue;
        }
        with_keys += 1;
        let mut no_table = bytes.clone();
        no_table[..HEAD_BYTES].fill(0);
        let mut neither = no_table.clone();
        neither[STICK_BYTES - TAIL_BYTES..].fill(0);
        found_and_gone(bytes, what);
        found_and_gone(no_table, &format!("{what}, the table lost"));
        found_and_gone(neither, &format!("{what}, table and end lost"));
    }
    with_keys
}

#[test]
fn keys_are_found_wherever_putting_them_on_is_cut() {
    let keys = some_keys();
    let (bytes, place) = flashed();
    let (mut cuts, mut with_keys) = (0, 0);
    loop {
        let disk = Cached::of(bytes.clone(), cuts);
        let done = keys::put(&stick(&disk), &keys, &place, &[7; 32]);
        with_keys += every_loss(&disk, &format!("put, cut at {cuts}"));
        if done.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 7 && with_keys >= 10, "{cuts} cuts, {with_keys} with keys");
}

#[test]
fn keys_are_found_wherever_taking_them_off_is_cut() {
    let (bytes, place) = flashed();
    let whole = Cached::of(bytes, u64::MAX);
    keys::put(&stick(&whole), &some_keys(), &place, &[7; 32]).unwrap();
    let with = whole.now();
    let end = FROM + usize::try_from(place.bytes).unwrap();
    assert!(has_keys(&with) && with[FROM + REACH..end].iter().all(|byte| *byte == 0));
    let (mut cuts, mut with_keys) = (0, 0);
    loop {
        let disk = Cached::of(with.clone(), cuts);
        let done = keys::forget(&stick(&disk), &place, &patient());
        with_keys += every_loss(&disk, &format!("forget, cut at {cuts}"));
        if done.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(
        cuts >= 10 && with_keys >= 10,
        "{cuts} cuts, {with_keys} with keys"
    );
}

/// The control: zeros from the start on, as one would write them, leave keys that nothing finds.
#[test]
fn without_the_mark_they_are_not_found() {
    let (bytes, place) = flashed();
    let disk = Cached::of(bytes, u64::MAX);
    keys::put(&stick(&disk), &some_keys(), &place, &[7; 32]).unwrap();
    let mut bytes = disk.now();
    bytes[..HEAD_BYTES].fill(0);
    bytes[STICK_BYTES - TAIL_BYTES..].fill(0);
    let from = usize::try_from(place.from).unwrap();
    bytes[from..from + 4096].fill(0);
    assert!(has_keys(&bytes));
    let disk = Cached::of(bytes, u64::MAX);
    let stick = stick(&disk);
    assert!(keys_left::on(&stick).unwrap().is_empty());
    assert!(keys_left::all_over(&stick, &patient()).unwrap().is_empty());
}

#[test]
fn somebody_who_stops_it_is_told_that_keys_are_left_and_continues() {
    let (bytes, place) = flashed();
    let whole = Cached::of(bytes, u64::MAX);
    keys::put(&stick(&whole), &some_keys(), &place, &[7; 32]).unwrap();
    for asked in 0..9 {
        let disk = Cached::of(whole.now(), u64::MAX);
        let error = keys::forget(&stick(&disk), &place, &Patience(AtomicU64::new(asked))).unwrap_err();
        assert!(matches!(error, Error::KeysLeft { .. }), "{error}");
        assert_eq!(error.next(), "landfall flash --forget-keys /dev/stick");
        // The last piece has the mark alone; the keys go with the one before it.
        assert_eq!(has_keys(&disk.now()), asked < 8, "{asked}");
        found_and_gone(disk.now(), "stopped");
    }
}

/// Another image, written by another program, over the keys' start: it is told, and nothing of that image is touched.
#[test]
fn keys_that_something_was_written_over_are_told() {
    let (bytes, place) = flashed();
    let disk = Cached::of(bytes, u64::MAX);
    keys::put(&stick(&disk), &some_keys(), &place, &[7; 32]).unwrap();
    let mut bytes = disk.now();
    let end = usize::try_from(place.from).unwrap() + 8192;
    bytes[..end].fill(0x77);
    let disk = Cached::of(bytes, u64::MAX);
    let left = keys_left::on(&stick(&disk)).unwrap();
    assert_eq!(
        (left.places.len(), left.buried.map(|place| place.from)),
        (0, Some(place.from))
    );
    assert_eq!(disk.done.load(Ordering::SeqCst), 0, "it was written to");
}

#[test]
fn each_file_has_the_form_that_its_reader_takes() {
    let refused = |name: &str, text: &str, word: &str| {
        let error = Folder::with(&[("ssh-key", SSH_KEY), (name, text)])
            .read()
            .unwrap_err();
        let said = format!("{error} {}", error.next());
        assert!(said.contains(name) && said.contains(word), "{name}: {said}");
        assert!(text.len() < 4 || !said.contains(text.trim()), "{said} repeats it");
    };
    refused("deploy-key", "ssh-ed25519 AAAA\n", "");
    refused("age-identity", "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgp\n", "");
    refused("luks-passphrase", "\n", "");
    refused("luks-passphrase", "two\nlines\n", "");
    refused("repository-token", "two words\n", "one line");
    refused("record-key", "0123456789", "shorter than");
    refused("consent", "", "");
    refused("consent", "/dev/sda\n", "");
    refused("consent", "ONE\nTWO\n", "");
    // The control: right ones are taken.
    let keys = Folder::with(&[
        ("ssh-key", SSH_KEY),
        ("luks-passphrase", PASSPHRASE),
        ("consent", "LF0001\n"),
        ("repository-token", "user:token\n"),
        ("record-key", "0123456789012345678901234567890123456789"),
    ]);
    assert_eq!(keys.read().unwrap().names().len(), 5);
}

/// An image has an empty partition of just this size: it is the image's, until the block says that keys were there.
#[test]
fn an_empty_partition_of_the_images_own_is_no_place_of_keys() {
    let place = Place {
        table: table::Table::Classic(0),
        from: FROM as u64,
        bytes: table::KEYS_BYTES,
    };
    let mut bytes = vec![0; STICK_BYTES];
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    table::put_classic(&mut bytes[..512], 0, &place, 512).unwrap();
    let disk = Cached::of(bytes, u64::MAX);
    assert!(keys_left::on(&stick(&disk)).unwrap().places.is_empty());
    // Keys were put there once, and more of them: another place.
    let other = Place {
        bytes: table::KEYS_BYTES * 2,
        ..place
    };
    keys_left::tell(&stick(&disk), &other).unwrap();
    assert!(keys_left::on(&stick(&disk)).unwrap().places.is_empty());
    keys_left::tell(&stick(&disk), &place).unwrap();
    assert_eq!(
        keys_left::on(&stick(&disk)).unwrap().places,
        [place],
        "the control"
    );
}
