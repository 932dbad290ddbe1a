//! Promise: what an image is say its first bytes; one that is damaged, too large, or not the one that its list of digests names costs no
//! stick. `tests/flash_proved.rs` has what is done with a right one.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[path = "shared/noise.rs"]
mod noise;

use camino::Utf8PathBuf;
use landfall::flash::Watch;
use landfall::flash::error::Error;
use landfall::flash::source::{Digests, Source, hexadecimal};
use noise::noise;
use sha2::{Digest, Sha256};
use std::io::Write;

/// Nobody watches and nobody stops it.
struct Quiet;

impl Watch for Quiet {
    fn progress(&self, _: &'static str, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }
    fn stops(&self) -> bool {
        false
    }
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const MIB: usize = 1 << 20;

fn looked(path: &camino::Utf8Path) -> (Source, Digests) {
    let source = Source::open(path).unwrap();
    let digests = source.look(None, &Quiet).unwrap();
    (source, digests)
}

fn packed(bytes: &[u8], ending: &str) -> Vec<u8> {
    match ending {
        "zst" => {
            let mut encoder = zstd::Encoder::new(vec![], 3).unwrap();
            // As the program `zstd` does, so that damage is seen.
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(vec![], 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn packed_images_are_unpacked_and_damaged_ones_cost_no_stick() {
    let mut plain = noise(2 * MIB, SEED);
    plain.extend(vec![7; 5 * MIB]);
    let sum: [u8; 32] = Sha256::digest(&plain).into();
    let keep = tempfile::tempdir().unwrap();
    let place = |name: &str| Utf8PathBuf::from_path_buf(keep.path().join(name)).unwrap();
    for ending in ["zst", "xz", "gz"] {
        let path = place(&format!("a.iso.{ending}"));
        let whole = packed(&plain, ending);
        fs_err::write(&path, &whole).unwrap();
        assert_eq!(looked(&path).1.sha256, sum, "{ending}");
        // Several one after the other, as parallel packers write them.
        let (one, two) = plain.split_at(3 * MIB);
        fs_err::write(&path, [packed(one, ending), packed(two, ending)].concat()).unwrap();
        assert_eq!(looked(&path).1.sha256, sum, "{ending}");
        for cut in [whole.len() - 1, whole.len() / 2, 20] {
            fs_err::write(&path, &whole[..cut]).unwrap();
            let error = Source::open(&path).unwrap().look(None, &Quiet).unwrap_err();
            assert!(
                matches!(error, Error::Packed { .. }),
                "{ending} cut at {cut}: {error}"
            );
            assert!(error.to_string().contains("incomplete or damaged"), "{error}");
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 4;
        fs_err::write(&path, &damaged).unwrap();
        assert!(
            Source::open(&path).unwrap().look(None, &Quiet).is_err(),
            "{ending}"
        );
        // The name of one and the bytes of another.
        fs_err::write(&path, &plain).unwrap();
        let error = Source::open(&path).unwrap_err();
        assert!(error.to_string().contains("its name ends in"), "{error}");
    }
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"PK\x03\x04 and so on", "zip"),
        (b"<!DOCTYPE html>", "web page"),
        (b"QFI\xFB\0\0\0\x03", "qcow2"),
    ] {
        let path = place("b.iso");
        fs_err::write(&path, bytes).unwrap();
        let error = Source::open(&path).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_list_of_digests_is_obeyed() {
    let keep = tempfile::tempdir().unwrap();
    let place = |name: &str| Utf8PathBuf::from_path_buf(keep.path().join(name)).unwrap();
    let plain = noise(MIB + 5, SEED);
    let whole = packed(&plain, "zst");
    let of = |bytes: &[u8]| hexadecimal(&Sha256::digest(bytes).into());
    fs_err::write(place("a.iso"), &plain).unwrap();
    fs_err::write(place("a.iso.zst"), &whole).unwrap();
    let look = |name: &str| Source::open(&place(name)).unwrap().look(None, &Quiet);
    assert_eq!(look("a.iso").unwrap().agreed, None);
    fs_err::write(place("a.iso.sha256"), format!("{}  a.iso\n", of(&plain))).unwrap();
    assert_eq!(look("a.iso").unwrap().agreed, Some(place("a.iso.sha256")));
    // Of what is packed, and of the packed file.
    assert_eq!(look("a.iso.zst").unwrap().agreed, Some(place("a.iso.sha256")));
    fs_err::write(place("a.iso.zst.sha256"), of(&whole)).unwrap();
    assert!(look("a.iso.zst").is_ok());
    fs_err::write(place("a.iso.zst.sha256"), of(b"another")).unwrap();
    let error = look("a.iso.zst").unwrap_err();
    assert!(
        matches!(error, Error::Digest { .. })
            && error.to_string().contains("nothing was written to the stick"),
        "{error}"
    );
    for text in [format!("{}  a.iso\n", of(b"another")), "not found".into()] {
        fs_err::write(place("a.iso.sha256"), text).unwrap();
        assert!(matches!(
            look("a.iso"),
            Err(Error::Digest { .. } | Error::List { .. })
        ));
    }
}

/// A list that somebody meant, and that is not there, is no list that says nothing.
#[test]
fn a_list_that_is_a_link_to_nothing_is_told() {
    let keep = tempfile::tempdir().unwrap();
    let image = camino::Utf8PathBuf::from_path_buf(keep.path().join("a.iso")).unwrap();
    let list = camino::Utf8PathBuf::from(format!("{image}.sha256"));
    fs_err::write(&image, vec![7; 4_096]).unwrap();
    looked(&image);
    for to in ["gone", "a.iso.sha256"] {
        fs_err::os::unix::fs::symlink(to, &list).unwrap();
        let why = Source::open(&image).unwrap().look(None, &Quiet).unwrap_err();
        assert!(matches!(why, Error::List { .. }), "{why}");
        assert!(why.to_string().contains("a.iso.sha256"), "{why}");
        fs_err::remove_file(&list).unwrap();
    }
    looked(&image);
}

#[test]
fn a_packed_image_that_turns_out_too_large_is_not_unpacked_to_its_end() {
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(keep.path().join("a.iso.zst")).unwrap();
    let plain = vec![7; 64 * MIB];
    fs_err::write(&path, packed(&plain, "zst")).unwrap();
    let source = Source::open(&path).unwrap();
    let error = source.look(Some(("stick", 10 << 20)), &Quiet).unwrap_err();
    let Error::TooSmall {
        wanted_bytes,
        is_all: false,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(wanted_bytes, 12 << 20);
    assert!(error.to_string().contains("at least"), "{error}");
    assert_eq!(
        source.look(Some(("stick", 64 << 20)), &Quiet).unwrap().bytes,
        64 << 20
    );
}

/// What parallel packers begin with, what tape and block devices leave behind, and what wants more memory than there is for it.
#[test]
fn what_packers_leave_is_passed_over_and_what_wants_memory_is_told() {
    let plain = noise(3 * MIB, SEED);
    let sum: [u8; 32] = Sha256::digest(&plain).into();
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(keep.path().join("a.iso")).unwrap();
    let skipped = b"\x50\x2A\x4D\x18\x04\0\0\0pzst".to_vec();
    for bytes in [
        [skipped, packed(&plain, "zst")].concat(),
        [packed(&plain, "gz"), vec![0; 700_000]].concat(),
        [packed(&plain, "xz"), vec![0; 512]].concat(),
    ] {
        fs_err::write(&path, bytes).unwrap();
        assert_eq!(looked(&path).1.sha256, sum);
    }
    let look = |bytes: Vec<u8>| {
        fs_err::write(&path, bytes).unwrap();
        Source::open(&path).unwrap().look(None, &Quiet).unwrap_err()
    };
    // What is no padding is damage.
    for ending in ["gz", "xz", "zst"] {
        let error = look([packed(&plain, ending), b"rest of something".to_vec()].concat());
        assert!(matches!(error, Error::Packed { .. }), "{ending}: {error}");
    }
    let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(&plain).unwrap();
    let error = look(encoder.finish().unwrap());
    assert!(error.to_string().contains("memory"), "{error}");
    assert!(error.next().contains("zstd -dc --long=31"), "{}", error.next());
    // The dictionary of 2 GiB is said in the block's header (The .xz File Format 1.2.1, 3.1 and 5.3.1).
    let mut bytes = packed(&plain, "xz");
    let header = 12..12 + (usize::from(bytes[12]) + 1) * 4;
    let filter = bytes[header.clone()]
        .iter()
        .position(|byte| *byte == 0x21)
        .unwrap();
    bytes[header.start + filter + 2] = 38;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[header.start..header.end - 4]);
    bytes[header.end - 4..header.end].copy_from_slice(&crc.sum().to_le_bytes());
    let error = look(bytes);
    assert!(error.to_string().contains("memory"), "{error}");
    assert!(error.next().contains("xz -dc"), "{}", error.next());
}

#[test]
fn what_is_packed_is_an_image_itself() {
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(keep.path().join("a b.img.xz")).unwrap();
    let mut qcow = b"QFI\xFB\0\0\0\x03".to_vec();
    qcow.resize(MIB, 0);
    for (inside, word) in [
        (qcow, "qcow2"),
        (packed(&noise(MIB, SEED), "gz"), "packed again"),
        (b"<html><body>Not Found".to_vec(), "web page"),
    ] {
        fs_err::write(&path, packed(&inside, "xz")).unwrap();
        let error = Source::open(&path).unwrap().look(None, &Quiet).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.next().contains("xz -dc '"), "{}", error.next());
    }
    // The control: an image, of which it is told when nothing boots it.
    let mut plain = noise(MIB, SEED);
    plain[510..512].copy_from_slice(&[0x55, 0xAA]);
    fs_err::write(&path, packed(&plain, "xz")).unwrap();
    assert_eq!(looked(&path).1.boots_not(), None);
    plain[510] = 0;
    fs_err::write(&path, packed(&plain, "xz")).unwrap();
    assert!(looked(&path).1.boots_not().is_some());
}
