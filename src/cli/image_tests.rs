//! Tests of `image`.

use super::*;
use landfall_states::fault::FaultClass;

#[test]
fn a_target_in_use_is_for_a_person_to_release() {
    let error = |number| std::io::Error::from_raw_os_error(number);
    let fault = unopened("/dev/sdb2".into(), &error(nix::libc::EBUSY));
    assert_eq!(fault.class, FaultClass::NeedsChange);
    assert!(fault.next().contains("lsblk /dev/sdb2"), "{fault:?}");
    let fault = unopened("/dev/sdb2".into(), &error(nix::libc::EIO));
    assert_eq!(fault.class, FaultClass::Hardware);
}

#[test]
fn image_commands_have_their_own_next_steps() {
    let small = Error::TooSmall { found: 1, wanted: 2 };
    let spoilt = Error::SourceBytes {
        part: "chunk 1".into(),
    };
    let full = Error::Target {
        verb: crate::image::Verb::Write,
        at: 0,
        bytes: 1,
        error: std::io::Error::from_raw_os_error(nix::libc::ENOSPC),
    };
    for (error, class, next) in [
        (
            full,
            FaultClass::NeedsChange,
            "free space where the target file is stored",
        ),
        (small, FaultClass::NeedsChange, "name a larger target"),
        (spoilt, FaultClass::Hardware, "copy the image to another medium"),
    ] {
        let fault = fault("x", error);
        assert_eq!(fault.class, class);
        assert!(fault.next().starts_with(next), "{fault:?}");
    }
    // The control: what is said of an install is kept where it fits.
    assert_eq!(fault("x", Error::Foreign), root_image::fault("x", Error::Foreign));
}

#[test]
fn what_blkid_does_not_know_is_not_written_over_unasked() {
    use fs_err::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("target")).unwrap();
    let put = |at: usize, bytes: &[u8]| {
        let mut disk = vec![0; 8 << 20];
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&path, disk).unwrap();
    };
    let refused = || refuse_full(&path).map_err(|wrong| Failure::from(wrong).text);
    put(0, &[]);
    assert!(refused().is_ok(), "the control: blank");
    // The name, and the magic, of a file in an archive.
    put(257, b"ustar\x0000");
    assert!(refused().unwrap_err().contains("tar archive"));
    // As a raw encrypted volume, or any program's own format, looks.
    let noise: Vec<u8> = (0_u32..4096)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for at in [0, 3 << 20, (8 << 20) - 4096] {
        put(at, &noise);
        assert!(refused().unwrap_err().contains("data of an unknown kind"), "{at}");
    }
    put(1080, &[0x53, 0xEF]);
    assert!(refused().is_err());
    // Of a file every byte is looked at, however long it is; and what begins behind the first MiB is told with its place.
    put(0, &[]);
    let long = || {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(64 << 30).unwrap();
        file
    };
    long();
    assert!(refused().is_ok(), "the control: blank");
    long().write_all_at(&[1], (40 << 30) + 12_345_677).unwrap();
    assert!(
        refused()
            .unwrap_err()
            .contains("data of an unknown kind, at byte 42962018637")
    );
    long().write_all_at(&[0x53, 0xEF], (1 << 20) + 1080).unwrap();
    assert!(refused().unwrap_err().contains("ext2 at byte 1048576"));
}
