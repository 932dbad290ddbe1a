//! No disk but the confirmed one is ever written.
//!
//! What must not change is compared by hash, image by image.
//!
//! The machine: the stick, which says it is not removable; a blank target; a second blank disk of the same size; a data disk
//! with more partitions; an LVM physical volume; a former system with the same labels; a disk in use as swap, and one that is
//! mounted.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::refuse;
use crate::command::Program;
use crate::disk;
use crate::install::{Install, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::{Disk, Machine};

const SHORT: Duration = Duration::from_secs(180);
const BY_ID: &str = "/dev/disk/by-id/virtio-";

/// The other disks, made and in use.
fn machine_with_others(install: &mut Install<'_>) -> Result<Machine> {
    for (serial, mib) in [
        ("LFBLANK", 4096),
        ("LFDATA", 256),
        ("LFLVM", 64),
        ("LFCLONE", 2048),
        ("LFSWAP", 64),
        ("LFMOUNTED", 64),
    ] {
        let image = install.spec.folder.join(format!("{serial}.raw"));
        disk::create(&image, mib << 20)?;
        install.spec.disks.push(Disk::new(image, serial));
    }
    let image = |serial: &str| install.spec.folder.join(format!("{serial}.raw"));
    data_disk(&image("LFDATA"))?;
    former_system(&image("LFCLONE"))?;

    let machine = install.start()?;
    machine.check(
        &format!(
            "set -e; pvcreate -q {BY_ID}LFLVM; vgcreate -q archive {BY_ID}LFLVM; lvcreate -q -y -n photos -l 100%FREE archive; \
             vgchange -q -an archive; \
             mkswap -q {BY_ID}LFSWAP; sysctl -q vm.swappiness=0; swapon {BY_ID}LFSWAP; \
             mkfs.ext4 -q {BY_ID}LFMOUNTED; mkdir -p /srv/used; mount -o ro {BY_ID}LFMOUNTED /srv/used; \
             sync; for d in /dev/vd[b-z]; do blockdev --flushbufs $d; done; udevadm settle"
        ),
        SHORT,
    )?;
    Ok(machine)
}

/// A disk in use is refused by its own name.
fn in_use(install: &Install<'_>, machine: &Machine) -> Result<()> {
    for (serial, why) in [
        ("LFSWAP", "swap is on it"),
        ("LFMOUNTED", "mounted at /srv/used"),
        ("LAB-STICK", "this system runs from it"),
    ] {
        install.configure(
            machine,
            &format!("unattended: (enable: true, disk: \"{serial}\"),"),
        )?;
        refuse(install, machine, "install", 6, &["cannot be installed on", why])?;
    }
    Ok(())
}

/// A disk with the planned labels beside the target is refused.
fn same_labels(install: &Install<'_>, machine: &Machine) -> Result<()> {
    install.configure(machine, &install.more)?;
    refuse(
        install,
        machine,
        "install",
        6,
        &[
            "labels",
            "by label",
            "LFCLONE",
            "root-lab",
            "ESP-LAB",
            "detach the other disk",
        ],
    )?;
    ensure!(
        disk::is_blank(&install.image)?,
        "the target was written beside a disk with its labels"
    );
    say("a disk with the planned labels is named before the first write; it is detached");
    Ok(())
}

pub fn wrong_disk(kit: &Kit) -> Result<()> {
    let mut install = Install::new(kit, "wrong-disk", Layout::Plain, Mode::Prebuilt)?;
    let machine = machine_with_others(&mut install)?;
    let others: Vec<PathBuf> = install.spec.disks[1..].iter().map(|d| d.image.clone()).collect();
    let hashes = others
        .iter()
        .map(|i| disk::sha256(i))
        .collect::<Result<Vec<_>>>()?;
    let unchanged = |when: &str| -> Result<()> {
        for (image, hash) in others.iter().zip(&hashes) {
            ensure!(
                disk::sha256(image)? == *hash,
                "{} has changed {when}",
                image.display()
            );
        }
        Ok(())
    };

    explained(&machine)?;
    nobody_named_one(&install, &machine)?;
    ensure!(
        disk::is_blank(&install.image)?,
        "the target was written without a word"
    );
    unchanged("without a disk being named")?;
    in_use(&install, &machine)?;
    unchanged("by being named while in use")?;
    say("not even by their names: swap, the mounted disk, the stick");

    install.more = "unattended: (enable: true, disk: \"LFTARGET\"), on_success: Stay,".into();
    same_labels(&install, &machine)?;
    detach(&machine, "LFCLONE")?;
    install.land(&machine, "install")?;
    let links = machine.check(
        "readlink -f /dev/disk/by-label/root-lab; mount | grep used",
        SHORT,
    )?;
    ensure!(
        links.contains("/srv/used"),
        "the mounted disk is no longer mounted: {links}"
    );
    machine.cut_power()?;
    unchanged("during an install on another disk")?;
    say("six disks besides the target: byte for byte what they were");
    install.spec.disks.retain(|disk| disk.serial != "LFCLONE");
    install.boot()?;
    Ok(())
}

/// `landfall disks` says of each why it is not the target.
fn explained(machine: &Machine) -> Result<()> {
    let text = machine.check(
        "landfall disks; landfall disks --json > /run/lab/disks.json",
        SHORT,
    )?;
    for part in [
        "serial LAB-STICK",
        "this system runs from it",
        "LVM",
        "swap is on it",
        "mounted at /srv/used",
        "photos-a",
        "root-lab",
    ] {
        ensure!(
            text.contains(part),
            "`landfall disks` does not say {part:?}:\n{text}"
        );
    }
    Ok(())
}

/// With nothing named, a doubt ends in a list of candidates.
fn nobody_named_one(install: &Install<'_>, machine: &Machine) -> Result<()> {
    install.configure(machine, "unattended: (enable: true),")?;
    // A former system's ESP and its partitions are no vote: it is one of the candidates.
    let doubt = [
        "choice of the disk",
        "none was named",
        "LFTARGET",
        "LFDATA",
        "LFBLANK",
    ];
    let said = refuse(
        install,
        machine,
        "install",
        6,
        &[&doubt[..], &["LFCLONE"]].concat(),
    )?;
    ensure!(
        !said.contains("consent to erase") && !said.contains("Partition disk: write"),
        "it chose, or began:\n{said}"
    );
    detach(machine, "LFCLONE")?;
    let said = refuse(install, machine, "install", 6, &doubt)?;
    for serial in ["LAB-STICK", "LFLVM", "LFSWAP", "LFMOUNTED"] {
        ensure!(said.contains(serial), "{serial} is not in the list:\n{said}");
    }
    detach(machine, "LFDATA")?;
    refuse(
        install,
        machine,
        "install",
        6,
        &[
            "several are equally large",
            "LFTARGET",
            "LFBLANK",
            "INSTALL_DISK=",
        ],
    )?;
    say("a former system, data, two equal blanks: a list, never a guess");
    // Back again, so that the install meets every one of them.
    machine.check(
        "set -e; for d in /sys/bus/virtio/devices/virtio*; do \
           [ -e $d/driver ] || [ \"$(cat $d/device)\" != 0x0002 ] || echo ${d##*/} >/sys/bus/virtio/drivers/virtio_blk/bind; \
         done; udevadm settle; ls -l /dev/disk/by-id; [ -e /dev/disk/by-id/virtio-LFCLONE-part2 ]",
        SHORT,
    )?;
    Ok(())
}

/// Pulls a disk out of the running machine.
fn detach(machine: &Machine, serial: &str) -> Result<()> {
    machine.check(
        &format!(
            "set -e; d=$(readlink -f {BY_ID}{serial}); v=$(readlink -f /sys/block/${{d##*/}}/device); \
             echo ${{v##*/}} >/sys/bus/virtio/drivers/virtio_blk/unbind; udevadm settle; [ ! -e {BY_ID}{serial} ]"
        ),
        SHORT,
    )?;
    Ok(())
}

/// More partitions than an install has, with filesystems in them.
fn data_disk(image: &std::path::Path) -> Result<()> {
    Program::new("sgdisk")
        .args(["-n1:0:+40M", "-c1:photos-a", "-n2:0:+40M", "-c2:photos-b"])
        .args(["-n3:0:+40M", "-c3:music", "-n4:0:+40M", "-c4:mail"])
        .arg(image)
        .run()?;
    for partition in disk::partitions(image)? {
        make_ext4(image, &partition, &partition.name)?;
    }
    Ok(())
}

/// The labels of the host that is to be installed, under other GUIDs.
fn former_system(image: &std::path::Path) -> Result<()> {
    Program::new("sgdisk")
        .args([
            "-n1:0:+512M",
            "-t1:ef00",
            "-c1:ESP-LAB",
            "-n2:0:0",
            "-t2:8304",
            "-c2:root-lab",
        ])
        .arg(image)
        .run()?;
    let partitions = disk::partitions(image)?;
    for partition in &partitions {
        if partition.number == 1 {
            Program::new("mkfs.vfat")
                .args(["-F", "32", "-n", "ESP-LAB", "--offset"])
                .arg((partition.start / disk::SECTOR).to_string())
                .arg(image)
                .arg((partition.size / 1024).to_string())
                .run()?;
        } else {
            make_ext4(image, partition, "root-lab")?;
        }
    }
    Ok(())
}

fn make_ext4(image: &std::path::Path, partition: &disk::Partition, label: &str) -> Result<()> {
    Program::new("mkfs.ext4")
        .args(["-q", "-F", "-L", label, "-E"])
        .arg(format!("offset={}", partition.start))
        .arg(image)
        .arg(format!("{}k", partition.size / 1024))
        .run()?;
    Ok(())
}
