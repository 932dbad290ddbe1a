//! Checks that a file is an image that a UEFI machine can start, and makes one of the laboratory's own.
//!
//! An image is judged by its bytes, within bounds, before any machine is started. The message says what is wrong and what
//! would be right.
//!
//! `iso` starts it.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;

use crate::closure;
use crate::command::Program;
use crate::environment::Stick;
use crate::kit::Kit;
use crate::usb::KERNEL_WORDS;

const SECTOR: u64 = 2048;
/// Sector of the primary volume descriptor (ECMA-119, 8.4), and of El Torito's boot record (El Torito 1.0, 2.0).
const PRIMARY: u64 = 16;
const BOOT_RECORD: u64 = 17;
/// El Torito's platform for UEFI (UEFI 2.10, 13.3.2.1).
const EFI: u8 = 0xef;
const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

/// Checks that a file is an ISO 9660 image, whole, with a FAT image for UEFI that holds a loader for x86-64.
///
/// # Errors
/// It is not; the message says what it is instead.
pub fn check(path: &Path) -> Result<()> {
    let name = path.display();
    // What is no regular file may hang in `open` or never end: it is looked at first, and opened without waiting.
    let kind = fs::metadata(path).context("the installer's image")?.file_type();
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device: copy what is on it to a file"
    } else {
        ""
    };
    ensure!(what.is_empty(), "{name} is {what}, not an image file");
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .with_context(|| format!("cannot open {name}"))?;
    let bytes = file.metadata()?.len();
    let sector = |at: u64| -> Result<[u8; SECTOR as usize]> {
        let mut sector = [0; SECTOR as usize];
        file.read_exact_at(&mut sector, at * SECTOR)
            .with_context(|| format!("{name} has {bytes} bytes: sector {at} of an ISO image is not there"))?;
        Ok(sector)
    };
    if bytes < (BOOT_RECORD + 1) * SECTOR {
        bail!("{name} has {bytes} bytes: that is no ISO image");
    }
    let primary = sector(PRIMARY)?;
    ensure!(
        primary[..7] == *b"\x01CD001\x01",
        "{name} is no ISO 9660 image: there is no volume descriptor in sector 16{}",
        known(&file)?
    );
    let size = u64::from(word(&primary, 80)) * SECTOR;
    ensure!(
        size <= bytes,
        "{name} is cut off: its volume has {size} bytes, the file {bytes}"
    );
    let record = sector(BOOT_RECORD)?;
    ensure!(
        record[..7] == *b"\0CD001\x01" && record[7..30] == *b"EL TORITO SPECIFICATION",
        "{name} has no El Torito boot record: it is an ISO image that no machine starts"
    );
    let catalogue = sector(u64::from(word(&record, 71)))?;
    let start = uefi_image(&catalogue).with_context(|| {
        format!("{name} has no boot image for UEFI (El Torito platform 0xEF): only a BIOS would start it")
    })?;
    let head = sector(start)?;
    ensure!(
        head[510..512] == [0x55, 0xaa] && (head[0] == 0xeb || head[0] == 0xe9),
        "{name}: its boot image for UEFI, at sector {start}, is no FAT filesystem"
    );
    let listed = Program::new("mdir")
        .args([
            "-i",
            &format!("{name}@@{}", start * SECTOR),
            "-b",
            &format!("::/{LOADER}"),
        ])
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()?;
    ensure!(
        listed.status == 0,
        "{name}: its boot image for UEFI has no {LOADER}: it is for another kind of processor"
    );
    Ok(())
}

fn word(sector: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&sector[at..at + 4]);
    u32::from_le_bytes(four)
}

/// What else the file may be, for the message.
fn known(mut file: &std::fs::File) -> Result<&'static str> {
    let mut head = [0; 512];
    file.read_exact(&mut head)?;
    Ok(match &head {
        head if head.starts_with(b"hsqs") => " (it is a squashfs)",
        head if head.starts_with(b"QFI\xfb") => " (it is a qcow2 image)",
        head if head.starts_with(b"\x1f\x8b") || head.starts_with(b"\x28\xb5\x2f\xfd") => {
            " (it is compressed: unpack it)"
        }
        head if head[510..] == [0x55, 0xaa] => " (it may be an image of a disk)",
        _ => "",
    })
}

/// The sector at which the boot image for UEFI starts.
fn uefi_image(catalogue: &[u8; SECTOR as usize]) -> Option<u64> {
    let entry = |index: usize| -> &[u8] { &catalogue[index * 32..(index + 1) * 32] };
    let start = |entry: &[u8]| (entry[0] == 0x88).then(|| u64::from(word(entry, 8)));
    if entry(0)[0] != 1 || entry(0)[30..] != [0x55, 0xaa] {
        return None;
    }
    if entry(0)[1] == EFI {
        return start(entry(1));
    }
    let mut at = 2;
    while at + 1 < catalogue.len() / 32 {
        let header = entry(at);
        // 0x90: more sections follow, 0x91: the last one.
        if !matches!(header[0], 0x90 | 0x91) {
            return None;
        }
        if header[1] == EFI {
            return start(entry(at + 1));
        }
        if header[0] == 0x91 {
            return None;
        }
        at += 1 + usize::from(u16::from_le_bytes([header[2], header[3]]));
    }
    None
}

/// A stick of the laboratory's as an image that starts by itself: kernel and stage 1 beside systemd-boot in a FAT
/// image, which is El Torito's for a drive and a partition for anything else.
///
/// # Errors
/// xorriso or mtools fail.
pub fn make(kit: &Kit, stick: &Stick) -> Result<PathBuf> {
    let debian = closure::debian_tree(&kit.lab.cache.root)?;
    let loader = debian.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    let place = kit
        .lab
        .cache
        .artefact("installer-iso", &[stick.id.as_bytes(), KERNEL_WORDS.as_bytes()], |scratch| {
            let fat = scratch.join("efi.img");
            let entry = scratch.join("lab.conf");
            fs::write(
                &entry,
                format!(
                    "title landfall's laboratory\nlinux /linux\ninitrd /initrd\noptions console=ttyS0 quiet loglevel=4 nohz=off \
                     highres=off net.ifnames=0 systemd.show_status=no {KERNEL_WORDS} lab.stick={}\n",
                    stick.label
                ),
            )?;
            let conf = scratch.join("loader.conf");
            fs::write(&conf, "timeout 0\ndefault lab.conf\n")?;
            let mut kib = 4096;
            for file in [&stick.kernel, &stick.initrd, &loader] {
                kib += fs::metadata(file)?.len().div_ceil(1024);
            }
            Program::new("mkfs.vfat")
                .args(["-C", "-n", "LABBOOT"])
                .arg(&fat)
                .arg(kib.to_string())
                .run()?;
            let image = fat.to_string_lossy().into_owned();
            Program::new("mmd")
                .args(["-i", &image, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"])
                .run()?;
            for (file, to) in [
                (&stick.kernel, "linux"),
                (&stick.initrd, "initrd"),
                (&loader, LOADER),
                (&entry, "loader/entries/lab.conf"),
                (&conf, "loader/loader.conf"),
            ] {
                Program::new("mcopy")
                    .args(["-i", &image])
                    .arg(file)
                    .arg(format!("::/{to}"))
                    .run()?;
            }
            let tree = scratch.join("tree");
            fs::create_dir(&tree)?;
            Program::new("xorriso")
                .args(["-osirrox", "on", "-indev"])
                .arg(&stick.image)
                .args(["-extract", "/"])
                .arg(&tree)
                .timeout(Duration::from_secs(300))
                .run()?;
            Program::new("xorriso")
                .args(["-as", "mkisofs", "-quiet", "-r", "-iso-level", "3", "-V", &stick.label])
                .args(["-append_partition", "2", "0xef", &image, "-appended_part_as_gpt"])
                .args(["-e", "--interval:appended_partition_2:all::", "-no-emul-boot", "-o"])
                .arg(scratch.join("installer.iso"))
                .arg(&tree)
                .timeout(Duration::from_secs(300))
                .run()?;
            Program::new("chmod").args(["-R", "u+w"]).arg(&tree).run()?;
            fs::remove_dir_all(&tree)?;
            Ok(fs::remove_file(&fat)?)
        })?;
    Ok(place.join("installer.iso"))
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
