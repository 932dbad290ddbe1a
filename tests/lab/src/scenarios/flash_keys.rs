//! One stick is enough: `landfall flash --keys` in one machine writes the installer image and the keys to a USB stick;
//! another machine starts from that stick, by its firmware, and installs without a question.
//!
//! What the installed system has is read from its own output at the first boot. The stick is compared before and after.
//!
//! `scenarios::flash` has sticks with a false size and sticks that are pulled out; `scenarios::keys_medium` keys on a medium
//! of their own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;

use super::keys_medium;
use crate::command::Program;
use crate::disk;
use crate::install::{Install, RUN_LIMIT, say, wait_for};
use crate::iso;
use crate::kit::{Kit, Layout, Mode, TARGET_SERIAL};
use crate::machine::{Attached, Disk, Ended, Iso, Machine, Spec};
use crate::usb::{KERNEL_WORDS, UsbKernel, UsbStick};

const SHORT: Duration = Duration::from_secs(180);
const KEYS: &str = "/run/lab/keys";
/// What is left of the stick behind the image.
const ROOM_BYTES: u64 = 64 << 20;
const DEPLOY_KEY: &str = include_str!("../../../ssh-key.txt");
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-1CZPY26NHVM3R5XXMPPXDXJM075GT4M6SV4YT397VSR5M05LPY8YQY2EZLD\n";

pub fn flash_keys(kit: &Kit) -> Result<()> {
    let usb = UsbKernel::open(&kit.lab, &kit.environment)?;
    let mut install = Install::new(kit, "flash-keys", Layout::Plain, Mode::Prebuilt)?;
    install.more = "unattended: (enable: true), keys: (deploy_key: true, age_identity: true),".into();
    let mut install = install.with_service("flash-keys")?;
    let stick = install.spec.stick.take().context("a stick of its own")?;
    let image = iso::make(kit, &usb.on(&stick))?;
    let bytes = fs::metadata(&image)?.len();
    let medium = install.spec.folder.join("medium.squashfs");
    Program::new("mksquashfs")
        .arg(&image)
        .arg(&medium)
        .args(["-quiet", "-no-progress", "-noI", "-noD", "-noF", "-noX"])
        .timeout(SHORT)
        .run()?;

    let flashed = install.spec.folder.join("flashed.raw");
    disk::create(&flashed, bytes.next_multiple_of(1 << 20) + ROOM_BYTES)?;
    write_stick(kit, &usb, &install, &medium, &flashed)?;
    let head = disk::read_at(&flashed, 0, 512)?;
    ensure!(head == disk::read_at(&image, 0, 512)?, "another boot sector");
    let partitions = disk::partitions(&flashed)?;
    ensure!(
        partitions.iter().any(|partition| partition.name == "LF-KEYS"),
        "no partition with keys: {partitions:?}"
    );
    fs::remove_file(&medium)?;

    install.spec.network = false;
    install.spec.iso = Some(Iso {
        image: flashed.clone(),
        attached: Attached::Usb,
    });
    let before = disk::sha256(&flashed)?;
    let machine = Machine::power_on_firmware(&install.spec)?;
    wait_for(&machine, "landed: ")?;
    let asked = machine.console().text().contains("asking: ");
    let ended = machine.powered_off(RUN_LIMIT)?;
    ensure!(!asked, "something was asked");
    ensure!(ended == Ended::PoweredOff, "after landing it ended by {ended:?}");
    ensure!(disk::sha256(&flashed)? == before, "the stick was written to");
    say(
        "another machine started from that stick, landed and powered off; nothing asked, the stick as it was",
    );
    install.spec.iso = None;
    keys_medium::has_keys(&install.boot()?)?;
    fs::remove_file(&flashed)?;
    Ok(())
}

/// The operator's machine.
fn write_stick(
    kit: &Kit,
    usb: &UsbKernel,
    install: &Install<'_>,
    medium: &std::path::Path,
    flashed: &std::path::Path,
) -> Result<()> {
    let folder = kit.lab.cache.fresh_machine("flash-keys-operator")?;
    let mut spec = Spec::new(&install.spec.lab, &folder);
    spec.stick = Some(usb.on(&kit.stick));
    spec.usb = true;
    spec.kernel_words = KERNEL_WORDS.to_owned();
    spec.disks = vec![Disk {
        read_only: true,
        ..Disk::new(medium, "LFMEDIUM")
    }];
    let stick = UsbStick {
        serial: "LFKEYS",
        image: flashed,
        removable: true,
        write_rate: None,
    };
    let mut machine = Machine::boot(&spec)?;
    machine.check(
        &format!("mkdir -p /run/lab/medium && mkdir -m 700 {KEYS} && mount -r /dev/disk/by-id/virtio-LFMEDIUM /run/lab/medium"),
        SHORT,
    )?;
    for (name, text) in [
        ("deploy-key", DEPLOY_KEY),
        ("age-identity", AGE_IDENTITY),
        ("consent", TARGET_SERIAL),
    ] {
        machine.put(&format!("{KEYS}/{name}"), text.as_bytes())?;
    }
    stick.bring(&mut machine)?;
    stick.plug(&mut machine)?;
    let command = format!(
        "chmod 600 {KEYS}/*; landfall flash /run/lab/medium/installer.iso {} --yes --keys {KEYS}",
        stick.device()
    );
    let told = machine.check(&command, RUN_LIMIT)?;
    ensure!(
        told.contains("are not encrypted") && told.contains("--forget-keys") && !told.contains("AGE-SECRET"),
        "it does not warn of keys, or shows them: {told}"
    );
    let end = told
        .lines()
        .find(|line| line.contains("read back in"))
        .unwrap_or_default();
    say(end);
    machine.cut_power()
}
