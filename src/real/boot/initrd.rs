//! Checks what is appended to an initrd: archives, compressed or not, one after the other, with zeros between them, as the
//! kernel accepts them.
//!
//! Pure; accepts any bytes without panicking. A stream counts as complete if it can be read to its own end. A stream whose
//! compression is not known here counts as complete if it has its end and no sector of it is zeros, which is what a torn
//! write leaves.
//!
//! The contents of an archive are not checked. `boot::menu` compares the part that is a copy of the store's initrd.

use std::io;

/// How the kernel knows what comes (Linux, `lib/decompress.c`), of what is judged by its end only.
const COMPRESSED: [&[u8]; 6] = [
    b"BZh",
    b"\x5d\x00\x00",
    b"\x89LZO",
    b"\x02\x21\x4c\x18",
    b"\x04\x22\x4d\x18",
    XZ,
];
const XZ: &[u8] = b"\xfd7zXZ\0";
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// The header of a member of an archive (`newc`), in bytes.
const MEMBER_BYTES: usize = 110;
/// The last member.
const TRAILER: &[u8] = b"TRAILER!!!\0";
/// What a torn write leaves out.
const SECTOR_BYTES: usize = 512;
/// So many zeros at the end are more than any compression ends in.
const ZEROS_AT_END: usize = 9;

/// What is behind an initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// Nothing, or zeros.
    Nothing,
    /// Archives, each of them whole.
    Whole,
    /// Something that is not whole.
    Torn(&'static str),
}

/// Judges what is behind an initrd that ends at this byte of its file.
pub(crate) fn judge(bytes: &[u8], begins: u64) -> Appended {
    let mut rest = bytes;
    let mut any = false;
    loop {
        let zeros = rest.iter().position(|b| *b != 0);
        let Some(behind) = zeros.and_then(|zeros| rest.get(zeros..)) else {
            return if any { Appended::Whole } else { Appended::Nothing };
        };
        rest = behind;
        any = true;
        let at = begins + (bytes.len() - rest.len()) as u64;
        let ended = if rest.starts_with(b"070701") || rest.starts_with(b"070702") {
            archive_end(rest)
        } else if rest.starts_with(ZSTD) {
            frame_end(rest).filter(|end| rest.get(..*end).is_some_and(|frame| !lacks_a_sector(frame, at)))
        } else {
            return by_its_end(rest, at);
        };
        match ended.and_then(|end| rest.get(end..)) {
            Some(behind) => rest = behind,
            None => return Appended::Torn("ends inside an archive"),
        }
    }
}

/// Where an archive ends.
fn archive_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        let header = bytes.get(at..at.checked_add(MEMBER_BYTES)?)?;
        if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
            return None;
        }
        let number = |field: usize| {
            let digits = std::str::from_utf8(header.get(6 + 8 * field..14 + 8 * field)?).ok()?;
            usize::try_from(u32::from_str_radix(digits, 16).ok()?).ok()
        };
        let (file, name) = (number(6)?, number(11)?);
        let named = at + MEMBER_BYTES;
        let last = bytes.get(named..named.checked_add(name)?)? == TRAILER;
        let data = named.checked_add(name)?.next_multiple_of(4);
        let end = data.checked_add(file)?;
        if last {
            // What pads it is zeros, and skipped; a file may end right behind the name.
            return Some(end.min(bytes.len()));
        }
        at = end.checked_next_multiple_of(4)?;
    }
}

/// Where a frame of zstd ends, all of it unpacked.
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let unpacked = || -> io::Result<usize> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?.single_frame();
        decoder.window_log_max(31)?;
        io::copy(&mut decoder, &mut io::sink())?;
        Ok(bytes.len() - decoder.finish().len())
    };
    unpacked().ok().filter(|end| *end > 0)
}

/// Whether a sector of these bytes, which begin here in their file, is zeros all through: nothing that is compressed has one.
fn lacks_a_sector(bytes: &[u8], at: u64) -> bool {
    let to_sector = (SECTOR_BYTES as u64 - at % SECTOR_BYTES as u64) as usize % SECTOR_BYTES;
    let sectors = bytes.get(to_sector..).unwrap_or_default();
    sectors
        .chunks_exact(SECTOR_BYTES)
        .any(|sector| sector.iter().all(|b| *b == 0))
}

/// The last four bytes of gzip's stream: how long it is unpacked, which is an archive of whole words.
fn gzip_ends(bytes: &[u8]) -> bool {
    let Some(length) = bytes.last_chunk::<4>().map(|last| u32::from_le_bytes(*last)) else {
        return false;
    };
    bytes.len() >= 18
        && length % 4 == 0
        && length as usize >= MEMBER_BYTES
        && u64::from(length) <= bytes.len() as u64 * 1_040
}

fn by_its_end(bytes: &[u8], at: u64) -> Appended {
    let gzip = bytes.starts_with(GZIP);
    if !gzip && !COMPRESSED.iter().any(|magic| bytes.starts_with(magic)) {
        return Appended::Torn("is followed by data that is not an archive");
    }
    if lacks_a_sector(bytes, at) {
        return Appended::Torn("is followed by a sector of zeros inside an archive");
    }
    let ends = if gzip {
        gzip_ends(bytes)
    } else if bytes.starts_with(XZ) {
        bytes.ends_with(b"YZ")
    } else {
        bytes
            .last_chunk::<ZEROS_AT_END>()
            .is_some_and(|last| last.iter().any(|b| *b != 0))
    };
    if ends {
        Appended::Whole
    } else {
        Appended::Torn("ends inside an archive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::command::Program;
    use crate::real::process::stop::Stop;
    use crate::real::test_support::block_on;

    /// An archive, made by hand as cpio makes it: one file, and the trailer.
    fn archive() -> Vec<u8> {
        let mut bytes = vec![];
        for (name, data) in [("secret", &[b's'; 3000][..]), ("TRAILER!!!", b"")] {
            let mut fields = [0_u32; 13];
            (fields[1], fields[6], fields[11]) = (0o100_600, data.len() as u32, name.len() as u32 + 1);
            bytes.extend(b"070701");
            for field in fields {
                bytes.extend(format!("{field:08x}").bytes());
            }
            bytes.extend(name.bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    /// Through a real program, which puts what it made beside the file it is given; `None`: this machine has none.
    fn through(program: &str, args: &[&str], ending: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let file = camino::Utf8PathBuf::from_path_buf(dir.path().join("x")).unwrap();
        let made = format!("{file}.{ending}");
        fs_err::write(&file, bytes).unwrap();
        let program = Program::new(program)
            .args(args.iter().copied())
            .args([file.as_str()]);
        block_on(program.run(&Reporter::default(), &Stop::never())).ok()?;
        fs_err::read(made).ok()
    }

    fn noise(bytes: usize) -> Vec<u8> {
        (0..bytes as u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect()
    }

    #[test]
    fn what_is_whole_is_told_from_what_a_cut_left() {
        let plain = archive();
        let frames = zstd::encode_all(&plain[..], 3).unwrap();
        let mut kinds = vec![
            plain.clone(),
            frames,
            zstd::encode_all(&[plain.clone(), noise(9000)].concat()[..], 3).unwrap(),
        ];
        let mut padded = plain.clone();
        padded.resize(padded.len().next_multiple_of(512), 0);
        kinds.push(padded);
        let long = [plain.clone(), noise(9000)].concat();
        for (program, args, ending) in [
            ("gzip", &["-9", "-n"][..], "gz"),
            ("xz", &["--check=crc32"], "xz"),
            ("bzip2", &[], "bz2"),
            ("lz4", &["-l", "-q", "-m"], "lz4"),
        ] {
            kinds.extend(through(program, args, ending, &long));
        }
        assert!(kinds.len() > 4, "not even gzip");
        for whole in &kinds {
            let shown = &whole[..6];
            assert_eq!(judge(whole, 0), Appended::Whole, "{shown:x?}");
            assert_eq!(
                judge(&[&[0; 3], &whole[..]].concat(), 509),
                Appended::Whole,
                "{shown:x?}"
            );
            let torn = |bytes: &[u8]| matches!(judge(bytes, 0), Appended::Torn(_));
            // Its beginning, and then what was never written.
            for cut in [1, 3, 6, 100, 512, whole.len() / 2] {
                let mut rest = whole.clone();
                let end = rest.len();
                rest[cut.min(end - 12)..].fill(0);
                assert!(torn(&rest), "{shown:x?} zeros from {cut}");
            }
            for sector in 1..whole.len() / 512 {
                let mut lost = whole.clone();
                lost[512 * sector..512 * (sector + 1)].fill(0);
                // A sector of an archive that is not compressed may be its file's own, or its padding.
                if !whole.starts_with(b"0707") {
                    assert!(torn(&lost), "{shown:x?} sector {sector}");
                }
            }
        }
        // Cut short, where the end can be told.
        for whole in &kinds[..3] {
            for cut in 1..plain.len().min(whole.len()) - 8 {
                assert!(matches!(judge(&whole[..cut], 0), Appended::Torn(_)), "{cut}");
            }
        }
        // Builders of older NixOS append behind what is there.
        let both = [&kinds[1][..], &[0; 2], &plain].concat();
        assert_eq!(judge(&both, 0), Appended::Whole);
        let mut torn = kinds[1].clone();
        let half = torn.len() / 2;
        torn[half..].fill(0);
        assert!(matches!(judge(&[torn, plain].concat(), 0), Appended::Torn(_)));
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        for (bytes, right) in [
            (&b""[..], Appended::Nothing),
            (&[0; 700], Appended::Nothing),
            (b"070701", Appended::Torn("ends inside an archive")),
            (
                b"and more",
                Appended::Torn("is followed by data that is not an archive"),
            ),
        ] {
            assert_eq!(judge(bytes, 7), right);
        }
        let mut huge = archive();
        huge[6 + 48..6 + 56].copy_from_slice(b"ffffffff");
        assert!(matches!(judge(&huge, 0), Appended::Torn(_)));
        for magic in COMPRESSED.into_iter().chain([GZIP, ZSTD]) {
            assert!(matches!(judge(magic, 0), Appended::Torn(_)), "{magic:x?}");
        }
    }
}
