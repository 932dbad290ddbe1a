//! Files that are no installer's image, and what is said of each.

#![allow(clippy::unwrap_used)]
use super::*;

struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("landfall-lab-iso-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// An image as good as can be without a machine: volume, boot record, catalogue for UEFI, a FAT image with an empty loader.
fn good(scratch: &Scratch) -> Vec<u8> {
    let fat = scratch.0.join("fat");
    Program::new("mkfs.vfat")
        .arg("-C")
        .arg(&fat)
        .arg("512")
        .run()
        .unwrap();
    let drive = fat.to_string_lossy().into_owned();
    Program::new("mmd")
        .args(["-i", &drive, "::/EFI", "::/EFI/BOOT"])
        .run()
        .unwrap();
    Program::new("mcopy")
        .args(["-i", &drive, "/dev/null", &format!("::/{LOADER}")])
        .run()
        .unwrap();
    let fat = fs::read(&fat).unwrap();
    let mut bytes = vec![0; 20 * SECTOR as usize];
    let mut put = |sector: usize, at: usize, text: &[u8]| {
        let from = sector * SECTOR as usize + at;
        bytes[from..from + text.len()].copy_from_slice(text);
    };
    let sectors = 20 + fat.len() as u32 / SECTOR as u32;
    put(16, 0, b"\x01CD001\x01");
    put(16, 80, &sectors.to_le_bytes());
    put(17, 0, b"\0CD001\x01\0EL TORITO SPECIFICATION".get(..7).unwrap());
    put(17, 7, b"EL TORITO SPECIFICATION");
    put(17, 71, &19u32.to_le_bytes());
    // The validation entry for a BIOS, its default entry, then a section for UEFI.
    put(19, 0, &[1, 0]);
    put(19, 30, &[0x55, 0xaa]);
    put(19, 32, &[0x88]);
    put(19, 64, &[0x91, EFI, 1, 0]);
    put(19, 96, &[0x88]);
    put(19, 96 + 8, &20u32.to_le_bytes());
    bytes.extend(fat);
    bytes
}

fn said(scratch: &Scratch, bytes: &[u8]) -> String {
    let file = scratch.0.join("image.iso");
    fs::write(&file, bytes).unwrap();
    match check(&file) {
        Ok(()) => "good".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn an_image_with_a_loader_for_uefi_is_taken() {
    let scratch = Scratch::new("good");
    let bytes = good(&scratch);
    assert_eq!(said(&scratch, &bytes), "good");
}

#[test]
fn what_is_no_image_is_refused_with_words() {
    let scratch = Scratch::new("bad");
    let whole = good(&scratch);
    let spoilt = |sector: usize, at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[sector * SECTOR as usize + at] = byte;
        bytes
    };
    for (bytes, wanted) in [
        (Vec::new(), "has 0 bytes: that is no ISO image"),
        (vec![0; 100_000], "is no ISO 9660 image"),
        ([&b"hsqs"[..], &[0; 100_000]].concat(), "(it is a squashfs)"),
        (
            [&b"\x28\xb5\x2f\xfd"[..], &[0; 100_000]].concat(),
            "it is compressed",
        ),
        (whole[..whole.len() - 4096].to_vec(), "is cut off: its volume has"),
        (spoilt(17, 8, b'x'), "has no El Torito boot record"),
        (spoilt(19, 65, 0), "has no boot image for UEFI"),
        (spoilt(19, 64, 0), "has no boot image for UEFI"),
        (spoilt(19, 96, 0), "has no boot image for UEFI"),
        (spoilt(20, 510, 0), "is no FAT filesystem"),
        (spoilt(17, 74, 0x7f), "is not there"),
    ] {
        let text = said(&scratch, &bytes);
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let no_loader = {
        let mut bytes = whole.clone();
        let name = bytes.windows(11).position(|name| name == b"BOOTX64 EFI").unwrap();
        bytes[name..name + 7].copy_from_slice(b"BOOTAA6");
        bytes
    };
    assert!(said(&scratch, &no_loader).contains("another kind of processor"));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let scratch = Scratch::new("kinds");
    let text = |path: &Path| format!("{:#}", check(path).unwrap_err());
    assert!(text(&scratch.0).contains("is a folder"));
    let pipe = scratch.0.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(text(&pipe).contains("is a pipe"));
    assert!(text(Path::new("/dev/null")).contains("is a device"));
    assert!(text(&scratch.0.join("none")).contains("the installer's image"));
}
