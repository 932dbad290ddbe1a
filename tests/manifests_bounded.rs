//! Promise: an image whose manifest holds more than any image can is refused before memory is taken for it: 75 million
//! places, or a line of 200 MB, cost neither memory nor minutes, and the refusal repeats neither.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may end where it stands

use landfall::image::manifest::{HEADER_BYTES, Header};
use sha2::Digest as _;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// An image that is its manifest alone: its first lines, then a piece of text so often. Written in small parts: a child begins
/// with the memory of its parent, which would be counted as its own.
fn image(path: &Path, filesystem_bytes: u64, piece: &str, times: usize) {
    let head = format!(
        "landfall-image-manifest 1\nsystem /nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-x\nfilesystem {filesystem_bytes}\nboot 0\n"
    );
    let many = piece.repeat((64 << 10) / piece.len() + 1);
    let mut hash = sha2::Sha256::new();
    let mut file = fs_err::File::create(path).unwrap();
    file.write_all(&[0; HEADER_BYTES]).unwrap();
    let mut length = 0;
    let mut put = |text: &[u8]| {
        hash.update(text);
        file.write_all(text).unwrap();
        length += text.len() as u64;
    };
    put(head.as_bytes());
    let mut left = piece.len() * times;
    while left > 0 {
        // A whole number of pieces, but at the end, where that is so anyway.
        let part = &many.as_bytes()[..left.min(many.len())];
        put(part);
        left -= part.len();
    }
    put(b"\n");
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let header = Header {
        manifest_at: HEADER_BYTES as u64,
        manifest_bytes: length,
        manifest: digits.parse().unwrap(),
    };
    file.rewind().unwrap();
    file.write_all(&header.encode()).unwrap();
}

/// What `landfall image info` says, how long it takes, and the most memory that any child of this test had, in KiB.
fn info(path: &Path) -> (String, Duration, i64) {
    let began = Instant::now();
    let out = Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["image", "info"])
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(out.status.code().map(|code| code == 0), Some(false));
    let said = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    (said, began.elapsed(), used.max_rss())
}

#[test]
fn what_is_too_much_is_refused_before_there_is_room_for_it() {
    let keep = tempfile::tempdir().unwrap();
    let path = keep.path().join("image");
    // The control: one that is only wrong. The memory of the program itself.
    image(&path, 1 << 30, "other", 1);
    let (said, _, plain_kib) = info(&path);
    assert!(said.contains("\"other\" is not understood"), "{said}");
    let huge = u64::MAX / 4_096 / 2 * 4_096;
    for (filesystem_bytes, piece, times, why) in [
        (1 << 30, "zero 0 1\n", 300_000, "more extents than the 262144"),
        (huge, "zero 0 1\n", 50_000_000, "more extents than the 8388608"),
        (
            huge,
            &*format!("chunk 0 1 0 {}\n", "0+1,".repeat(15_000)),
            5_000,
            "more extents than the 8388608",
        ),
        (1 << 30, "x", 200 << 20, "line 5 is too long"),
        (1 << 30, "zero 0 1\n", 75_000_000, "a manifest of"),
    ] {
        image(&path, filesystem_bytes, piece, times);
        let (said, took, kib) = info(&path);
        assert!(
            said.contains(why) && said.len() < 2_000,
            "{why}: {} bytes: {:.400}",
            said.len(),
            said
        );
        assert!(kib - plain_kib < 32 << 10, "{why}: {} KiB more", kib - plain_kib);
        assert!(took < Duration::from_secs(60), "{why}: {took:?}");
    }
}
