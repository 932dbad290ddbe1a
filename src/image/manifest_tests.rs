//! Tests of `manifest`.

use super::*;
use proptest::prelude::*;

#[test]
fn a_long_line_and_too_many_places_are_refused_early() {
    let head = "landfall-image-manifest 1\nsystem /nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-x\nfilesystem 1048576\nboot 0\n";
    let long = format!("{head}{}\n", "x".repeat(200 << 20));
    let why = parse(&long).unwrap_err();
    assert!(
        why.contains("too long") && why.len() < 1_000,
        "{} bytes",
        why.len()
    );
    let zeros = |count: usize| format!("{head}{}other\n", "zero 0 1\n".repeat(count));
    // A filesystem of 1 MiB has 256 blocks.
    let why = parse(&zeros(257)).unwrap_err();
    assert!(why.contains("more extents than the 256"), "{why}");
    let chunk = format!("{head}chunk 0 1 {} {}\n", "0".repeat(64), "0+1,".repeat(257));
    assert!(parse(&chunk).unwrap_err().contains("more extents than the 256"));
    // The control: as many as there are blocks may be, and what is wrong is the line behind them.
    assert!(
        parse(&zeros(256))
            .unwrap_err()
            .contains("\"other\" is not understood")
    );
}

fn sample() -> Manifest {
    let extent = |first, blocks| Extent { first, blocks };
    Manifest {
        system: "/nix/store/2xyifq2nh639qmif11q87l313ylaxf6d-nixos-system-web"
            .parse()
            .unwrap(),
        filesystem_bytes: 1 << 20,
        boot_bytes: 7,
        zero: vec![extent(4, 2), extent(9, 1)],
        chunks: vec![
            Chunk {
                at: 4096,
                packed_bytes: 10,
                digest: [1; 32],
                extents: vec![extent(0, 4), extent(6, 1)],
            },
            Chunk {
                at: 4106,
                packed_bytes: 20,
                digest: [0xAB; 32],
                extents: vec![extent(10, 246)],
            },
        ],
    }
}

fn header() -> Header {
    Header {
        manifest_at: 4126,
        manifest_bytes: 77,
        manifest: Digest::of(b"x"),
    }
}

#[test]
fn what_is_written_is_read() {
    let text = sample().encode();
    assert_eq!(Manifest::decode(&text, 4126).unwrap(), sample());
    assert_eq!(Header::decode(&header().encode()).unwrap(), header());
}

#[test]
fn every_flipped_bit_of_a_header_is_damage_or_foreign_and_never_newer() {
    let page = header().encode();
    for bit in 0..page.len() * 8 {
        let mut page = page.clone();
        page[bit / 8] ^= 1 << (bit % 8);
        match Header::decode(&page) {
            Err(Error::Damaged(_) | Error::Foreign) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
    }
    assert!(matches!(
        Header::decode(&header().encode_as(2)),
        Err(Error::Newer { version: 2 })
    ));
    // No landfall made that one, so there is none to look for.
    assert!(matches!(
        Header::decode(&header().encode_as(0)),
        Err(Error::Damaged(why)) if why.contains("format 0")
    ));
}

#[test]
fn a_header_that_is_cut_off_is_told_from_a_foreign_file() {
    let page = header().encode();
    for length in 1..page.len() {
        assert!(
            matches!(Header::decode(&page[..length]), Err(Error::Truncated { .. })),
            "{length}"
        );
    }
    for foreign in [&b""[..], b"\x7fELF", b"LANDFALL-CHECKPOINT 1"] {
        assert!(
            matches!(Header::decode(foreign), Err(Error::Foreign)),
            "{foreign:?}"
        );
    }
}

#[test]
fn a_manifest_that_does_not_hold_together_is_refused() {
    let text = sample().encode();
    assert!(Manifest::decode(&text, 4127).is_err(), "of another file");
    for (from, to) in [
        ("zero 9 1", "zero 3 1"),
        ("zero 9 1", "zero 6 1"),
        ("0+4,6+1", "1+3,6+1"),
        ("10+246", "10+247"),
        ("10+246", "10+0"),
        ("10+246", "18446744073709551615+2"),
        ("chunk 4106 20", "chunk 4107 20"),
        ("end 2", "end 3"),
        ("end 2\n", ""),
        ("end 2\n", "end 2\nend 2\n"),
        ("filesystem 1048576", "filesystem 1048577"),
        ("filesystem 1048576", "filesystem +1048576"),
        ("boot 7", "boot 07"),
        ("system /nix/store/2x", "system /nix/stork/2x"),
    ] {
        assert!(text.contains(from), "{from}");
        let wrong = text.replace(from, to);
        assert!(Manifest::decode(&wrong, 4126).is_err(), "{from} → {to}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..5000), text in "(zero|chunk|end|[0-9 +,\n]){0,40}") {
        let mut page = MAGIC.as_bytes().to_vec();
        page.extend_from_slice(&bytes);
        prop_assert!(Header::decode(&page).is_err());
        let text = format!("{FIRST_LINE}\nsystem {}\nfilesystem 4096\nboot 0\n{text}", sample().system);
        if let Ok(manifest) = Manifest::decode(&text, 4096) {
            prop_assert_eq!(manifest.encode(), text);
        }
    }
}
