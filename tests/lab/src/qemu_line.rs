//! QEMU's command line for a machine.
//!
//! Devices keep their PCI addresses whatever else is there, so that a saved state fits and the firmware's entries stay true.
//! Only the credentials' files and empty logs are written.
//!
//! `machine` starts QEMU.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::json;

use crate::environment::Stick;
use crate::machine::{Attached, Disk, Failing, Iso, Spec, Start};
use crate::setup::Qemu;

/// The program and all its arguments; relative paths are in the machine's folder.
pub fn arguments(spec: &Spec, start: &Start, folder: &Path) -> Result<Vec<OsString>> {
    let Spec {
        lab,
        folder: _,
        stick,
        disks,
        network,
        credentials,
        memory_mib,
        kernel_words,
        iso,
        usb,
        sata,
        screen,
    } = spec;
    let mut line = Line(lab.qemu.program.clone());
    board(&mut line, &lab.qemu, *memory_mib, processors(start, iso.as_ref()));
    if *network {
        line.add(&["-netdev", "user,id=network"]);
        line.add(&[
            "-device",
            "virtio-net-pci,id=net0,netdev=network,addr=0x12,romfile=",
        ]);
    }
    if disks.iter().any(|disk| disk.removable) {
        line.add(&["-device", "virtio-scsi-pci,id=scsi,addr=0x13"]);
    }

    if let Some(iso) = iso {
        attach_iso(&mut line, iso);
    }
    if *usb {
        line.add(&["-device", "qemu-xhci,id=xhci,addr=0x15"]);
    }
    if let Some(ssd) = sata {
        attach_ssd(&mut line, ssd);
    }
    if let Some((width, height)) = screen {
        // The firmware has a list of modes; the kernel goes on with the one that `video=efifb:` names.
        line.add(&[
            "-device",
            &format!("VGA,addr=0x17,edid=on,xres={width},yres={height},vgamem_mb=64"),
        ]);
    }
    let by_stick = match start {
        Start::Stick | Start::Saved => true,
        Start::Firmware => false,
    };
    if by_stick {
        let stick = stick
            .as_ref()
            .context("a machine without a stick can only boot its disk")?;
        let network = if *network { " lab.network" } else { "" };
        attach_stick(&mut line, stick, network, kernel_words);
    }
    for (index, disk) in disks.iter().enumerate() {
        attach_disk(&mut line, index, disk)?;
    }
    if disks.len() > 8 {
        bail!("a machine here has at most 8 disks, not {}", disks.len());
    }
    for (index, (name, value)) in credentials.iter().enumerate() {
        // By file, for a command line has a limit and is easily seen.
        let file = format!("credential-{index}");
        fs::write(
            folder.join(&file),
            format!("io.systemd.credential.binary:{name}={}", base64(value)),
        )?;
        line.add(&["-smbios", &format!("type=11,path={file}")]);
    }
    if let Start::Saved = start {
        line.add(&["-incoming", "defer"]);
    }
    Ok(line.0)
}

/// How many processors a machine has. The installed disk boots with one: with two it was seen to hang before its kernel spoke, one
/// processor halted and the other waiting.
fn processors(start: &Start, iso: Option<&Iso>) -> u32 {
    match (start, iso) {
        (Start::Firmware, None) => 1,
        (Start::Firmware | Start::Stick | Start::Saved, _) => 2,
    }
}

/// What every machine has: the board, its firmware, the console, the channel to the agent, and random numbers.
fn board(line: &mut Line, qemu: &Qemu, memory_mib: u32, processors: u32) {
    line.add(&[
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-vga",
        "none",
        "-S",
    ]);
    line.add(&[
        "-name",
        "landfall-lab",
        "-machine",
        "q35,vmport=off,sata=off",
        "-accel",
        &qemu.accelerator,
    ]);
    line.add(&[
        "-cpu",
        &qemu.processor,
        "-smp",
        &processors.to_string(),
        "-m",
        &memory_mib.to_string(),
        "-rtc",
        "base=utc",
    ]);
    line.add(&[
        "-drive",
        &format!(
            "if=pflash,format=raw,unit=0,readonly=on,file={}",
            comma(&qemu.ovmf_code)
        ),
    ]);
    line.add(&["-drive", "if=pflash,format=raw,unit=1,file=vars.fd"]);
    line.add(&[
        "-chardev",
        "socket,id=qmp,path=qmp.sock,server=on,wait=off",
        "-mon",
        "chardev=qmp,mode=control",
    ]);
    line.add(&[
        "-chardev",
        "socket,id=console,path=console.sock,server=on,wait=off",
        "-serial",
        "chardev:console",
    ]);
    line.add(&["-device", "virtio-serial-pci,id=ports,addr=0x10"]);
    line.add(&["-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off"]);
    line.add(&[
        "-device",
        "virtserialport,bus=ports.0,chardev=agent,name=lab.agent",
    ]);
    line.add(&["-object", "rng-random,id=random,filename=/dev/urandom"]);
    line.add(&["-device", "virtio-rng-pci,rng=random,addr=0x11"]);
}

/// The laboratory's stick, whose kernel QEMU starts by itself.
fn attach_stick(line: &mut Line, stick: &Stick, network: &str, kernel_words: &str) {
    let Stick {
        image,
        label,
        kernel,
        initrd,
        id: _,
    } = stick;
    line.add(&[
        "-blockdev",
        &format!(
            "driver=file,node-name=stickfile,read-only=on,filename={}",
            comma(image)
        ),
    ]);
    line.add(&[
        "-blockdev",
        "driver=raw,node-name=stick,read-only=on,file=stickfile",
    ]);
    line.add(&[
        "-device",
        "virtio-blk-pci,id=stick,drive=stick,serial=LAB-STICK,addr=0x3",
    ]);
    line.0
        .extend(["-kernel".into(), kernel.into(), "-initrd".into(), initrd.into()]);
    line.add(&[
        "-append",
        &format!(
            "console=ttyS0 quiet loglevel=4 nohz=off highres=off net.ifnames=0 mitigations=off audit=0 apparmor=0 \
             systemd.show_status=no lab.stick={label}{network} {kernel_words}"
        ),
    ]);
}

/// The disk of this number: its file, what stands before it, and the device.
fn attach_disk(line: &mut Line, index: usize, disk: &Disk) -> Result<()> {
    let Disk {
        image,
        serial,
        qcow2,
        removable,
        read_only,
        write_log,
        failing,
    } = disk;
    if serial.is_empty()
        || serial.len() > 20
        || !serial.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        bail!("{serial:?} is no serial number for a disk: 1 to 20 of A-Z a-z 0-9 -");
    }
    let image = fs::canonicalize(image).context("a machine's disk must exist")?;
    let read_only = if *read_only { "on" } else { "off" };
    line.add(&[
        "-blockdev",
        &format!(
            "driver=file,node-name=file{index},read-only={read_only},discard=unmap,cache.direct=off,\
             cache.no-flush=off,filename={}",
            comma(&image)
        ),
    ]);
    let driver = if *qcow2 { "qcow2" } else { "raw" };
    let mut node = format!("format{index}");
    line.add(&[
        "-blockdev",
        &format!("driver={driver},node-name={node},read-only={read_only},discard=unmap,file=file{index}"),
    ]);
    if let Some(failing) = failing {
        let options = faulty(&format!("faulty{index}"), &node, failing);
        line.add(&["-blockdev", &options.to_string()]);
        node = format!("faulty{index}");
    }
    if let Some(log) = write_log {
        fs::File::create(log)?;
        let log = fs::canonicalize(log)?;
        line.add(&[
            "-blockdev",
            &format!("driver=file,node-name=logfile{index},filename={}", comma(&log)),
        ]);
        line.add(&[
            "-blockdev",
            &format!(
                "driver=blklogwrites,node-name=logged{index},discard=unmap,file={node},log=logfile{index},\
                 log-sector-size=512,log-super-update-interval=1"
            ),
        ]);
        node = format!("logged{index}");
    }
    let device = if *removable {
        format!("scsi-hd,bus=scsi.0,scsi-id={index},removable=on")
    } else {
        // QEMU joins neighbouring requests up to the number of pieces that a write may have (IOV_MAX); blklogwrites adds
        // one to each, and a joined request that was full fails with EIO in the guest.
        let merging = if write_log.is_some() { "off" } else { "on" };
        format!("virtio-blk-pci,addr={:#x},request-merging={merging}", 4 + index)
    };
    line.add(&[
        "-device",
        &format!("{device},id=disk{index},drive={node},serial={serial},write-cache=on"),
    ]);
    Ok(())
}

/// An installer's image, from which the firmware starts before anything else.
fn attach_iso(line: &mut Line, iso: &Iso) {
    let Iso { image, attached } = iso;
    line.add(&[
        "-blockdev",
        &format!(
            "driver=file,node-name=isofile,read-only=on,filename={}",
            comma(image)
        ),
        "-blockdev",
        "driver=raw,node-name=iso,read-only=on,file=isofile",
    ]);
    match attached {
        Attached::Usb => line.add(&[
            "-device",
            "qemu-xhci,id=xhci,addr=0x14",
            "-device",
            "usb-storage,bus=xhci.0,drive=iso,removable=on,serial=LAB-ISO,bootindex=0",
        ]),
        Attached::Cd => line.add(&[
            "-device",
            "ahci,id=ahci,addr=0x14",
            "-device",
            "ide-cd,bus=ahci.0,drive=iso,bootindex=0",
        ]),
        Attached::Virtio => line.add(&[
            "-device",
            "virtio-blk-pci,id=iso,drive=iso,serial=LAB-ISO,addr=0x3,bootindex=0",
        ]),
    }
}

/// An SSD that is built in: the drive says that it does not turn, and no bit that it can be taken out.
fn attach_ssd(line: &mut Line, ssd: &Disk) {
    line.add(&[
        "-device",
        "ahci,id=sata,addr=0x16",
        "-blockdev",
        &format!("driver=file,node-name=ssdfile,filename={}", comma(&ssd.image)),
        "-blockdev",
        "driver=raw,node-name=ssd,file=ssdfile",
        "-device",
        &format!(
            "ide-hd,bus=sata.0,drive=ssd,id=sata-ssd,rotation_rate=1,serial={}",
            ssd.serial
        ),
    ]);
}

/// QEMU's filter that makes requests fail, for good, at every step of a range.
fn faulty(name: &str, below: &str, failing: &Failing) -> serde_json::Value {
    let Failing { bytes, reads, writes } = failing;
    let kinds = [(*reads, "read"), (*writes, "write"), (*writes, "write-zeroes")];
    let mut rules = Vec::new();
    for (_, kind) in kinds.iter().filter(|(fails, _)| *fails) {
        for at in bytes.clone().step_by(Failing::STEP as usize) {
            rules.push(
                json!({ "event": "none", "iotype": kind, "errno": 5, "sector": at / 512, "once": false }),
            );
        }
    }
    json!({ "driver": "blkdebug", "node-name": name, "image": below, "discard": "unmap", "inject-error": rules })
}

struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }
}

/// A path as the value of a QEMU option, where a comma is written twice.
fn comma(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// A word as a shell would have to be given it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() {
                DIGITS[value as usize] as char
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }

    #[test]
    fn each_kind_of_request_fails_by_a_rule_of_its_own() {
        let failing = Failing {
            bytes: 8192..16384,
            reads: false,
            writes: true,
        };
        let rules = &faulty("above", "below", &failing)["inject-error"];
        let told: Vec<(&str, u64)> = rules
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| (rule["iotype"].as_str().unwrap(), rule["sector"].as_u64().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                ("write", 16),
                ("write", 24),
                ("write-zeroes", 16),
                ("write-zeroes", 24)
            ]
        );
    }

    #[test]
    fn a_logged_command_can_be_pasted() {
        assert_eq!(quoted("driver=raw,file=a"), "driver=raw,file=a");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
