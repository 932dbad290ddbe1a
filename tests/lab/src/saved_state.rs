//! Saved states: a booted machine in a file, restored in seconds.
//!
//! A state belongs to one stick, one QEMU and one shape of machine, and is made with blank disks; what a disk holds is never
//! part of it.
//!
//! `machine` restores it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cache::hash;
use crate::disk;
use crate::machine::{Disk, Machine, Spec};
use crate::qemu_line::base64;

/// Part of a saved state's key: to be raised when what is done before saving, or a machine's command line, changes.
const SAVED_FORMAT: &str = "2";

/// The folder with `ram` and `vars.fd` of a booted machine of this shape.
pub fn folder(spec: &Spec) -> Result<PathBuf> {
    let Spec {
        lab,
        folder: _,
        stick,
        disks,
        network,
        credentials,
        memory_mib,
        kernel_words,
        iso: _,
        usb,
        sata,
        screen: _,
    } = spec;
    if *usb || sata.is_some() {
        bail!("a machine with USB or SATA is not saved: its disks come and go");
    }
    let stick = stick.as_ref().context("a saved state begins with a stick")?;
    let mut shape = format!(
        "{SAVED_FORMAT} {network} {memory_mib} {kernel_words} {}",
        lab.qemu.accelerator
    );
    let mut sizes = Vec::new();
    for disk in disks {
        let Disk {
            image,
            serial,
            qcow2,
            removable,
            read_only,
            write_log: _,
            failing: _,
        } = disk;
        if *qcow2 {
            bail!(
                "{} is a qcow2 image; a saved state needs raw disks",
                image.display()
            );
        }
        let size = fs::metadata(image)?.len();
        shape.push_str(&format!(" {serial}:{size}:{removable}:{read_only}"));
        sizes.push(size);
    }
    for (name, value) in credentials {
        shape.push_str(&format!(" {name}={}", base64(value)));
    }
    let key = hash(&[stick.id.as_bytes(), lab.qemu.version.as_bytes(), shape.as_bytes()]);
    lab.cache.artefact(&format!("saved-{key}"), &[], |scratch| {
        eprintln!("lab: booting {} once, to save its state", stick.label);
        let folder = scratch.join("machine");
        fs::create_dir_all(&folder)?;
        let mut blank = Spec {
            folder: folder.clone(),
            ..spec.clone()
        };
        for (disk, size) in blank.disks.iter_mut().zip(sizes) {
            disk.image = folder.join(&disk.serial);
            disk.write_log = None;
            disk.failing = None;
            disk::create(&disk.image, size)?;
        }
        let mut machine = Machine::boot(&blank)?;
        let limit = Duration::from_secs(120);
        machine.check(
            "systemctl is-system-running --wait >/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches",
            limit,
        )?;
        let ram = scratch.join("ram");
        machine.save(&ram)?;
        machine.stop()?;
        fs::copy(folder.join("vars.fd"), scratch.join("vars.fd"))?;
        let place = stick.image.parent().context("a stick without a folder")?;
        scratch.of(&[place])?;
        Ok(fs::remove_dir_all(&folder)?)
    })
}
