//! `landfall flash` on USB sticks of a machine.
//!
//! What is on a stick is compared from outside, in the file behind it. QEMU pulls a stick out while the machine writes to it.
//!
//! The machine: the stick it runs from; an SSD on SATA; a USB stick, a slow one, one that is mounted, and a USB disk that
//! says it cannot be taken out.
//!
//! `scenarios::flash_keys` has a stick that installs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use serde_json::Value;

use crate::disk;
use crate::install::say;
use crate::kit::Kit;
use crate::machine::{Disk, Machine, Spec};
use crate::usb::{KERNEL_WORDS, UsbKernel, UsbStick};

const MIB: u64 = 1 << 20;
const SHORT: Duration = Duration::from_secs(120);
const LONG: Duration = Duration::from_secs(240);
/// Not a multiple of what is written at once, nor of a sector.
const IMAGE_BYTES: u64 = 24 * MIB + 777;
const IMAGE: &str = "/run/lab/image.raw";
const SSD: &str = "/dev/disk/by-id/ata-QEMU_HARDDISK_LFSSD";
/// The slow stick takes so much in a second.
const RATE: u64 = 2 * MIB;
const PATIENT: &str = "XDG_STATE_HOME=/run/lab/state landfall flash";

pub fn flash(kit: &Kit) -> Result<()> {
    let usb = UsbKernel::open(&kit.lab, &kit.environment)?;
    let folder = kit.lab.cache.fresh_machine("flash")?;
    let mut spec = Spec::new(&kit.lab, &folder);
    spec.stick = Some(usb.on(&kit.stick));
    spec.usb = true;
    spec.kernel_words = KERNEL_WORDS.to_owned();
    let make = |name: &str, mib: u64| -> Result<PathBuf> {
        let image = folder.join(format!("{name}.raw"));
        disk::create(&image, mib * MIB)?;
        Ok(image)
    };
    spec.sata = Some(Disk::new(make("LFSSD", 64)?, "LFSSD"));
    let images =
        ["LFPLAIN", "LFSLOW", "LFUSED", "LFFIXED"].map(|name| make(name, 64).map(|image| (name, image)));
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    let [plain, slow, used, fixed] = [0, 1, 2, 3].map(|at: usize| UsbStick {
        serial: images[at].0,
        image: &images[at].1,
        removable: images[at].0 != "LFFIXED",
        write_rate: (images[at].0 == "LFSLOW").then_some(RATE),
    });

    let mut machine = Machine::boot(&spec)?;
    machine.check(
        &format!("set -e; mkdir -p /run/lab/state /run/lab/used; head -c {IMAGE_BYTES} /dev/urandom >{IMAGE}; cd /run/lab; sha256sum image.raw >image.raw.sha256"),
        SHORT,
    )?;
    let image = machine.get(IMAGE)?;
    ensure!(image.len() as u64 == IMAGE_BYTES, "the image came over in part");
    for stick in [&plain, &slow, &used, &fixed] {
        stick.bring(&mut machine)?;
    }
    for stick in [&plain, &used, &fixed] {
        stick.plug(&mut machine)?;
    }
    machine.check(
        &format!("mkfs.ext4 -q {0} && mount {0} /run/lab/used", used.device()),
        SHORT,
    )?;
    verdicts(&machine, &[&plain, &used, &fixed])?;
    whole(&mut machine, &plain, &image)?;
    fixed_disks(
        &machine,
        &fixed,
        &image,
        spec.sata.as_ref().map(|ssd| ssd.image.as_path()),
    )?;
    pulled(&mut machine, &slow, &image)?;
    liars(&machine, &plain)?;
    machine.cut_power()
}

/// What `landfall flash --json` says of each, and what happens to what may not be taken.
fn verdicts(machine: &Machine, sticks: &[&UsbStick<'_>]) -> Result<()> {
    let listed = ended(machine, "--json", 0)?;
    let disks = listed["disks"].as_array().context("no list of disks")?.clone();
    let standing = |serial: &str| -> Result<(String, String)> {
        let one = disks.iter().find(|disk| disk["serial"] == serial);
        let one = one.with_context(|| format!("{serial} is not in the list: {listed}"))?;
        Ok((text(&one["standing"]), one["reasons"].to_string()))
    };
    for (serial, wanted, reason) in [
        ("LFPLAIN", "stick", ""),
        ("LFFIXED", "stick", ""),
        ("LFUSED", "never", "mounted at /run/lab/used"),
        ("LFSSD", "named", "it is a fixed disk (sata"),
        ("LAB-STICK", "never", "this system runs from it"),
    ] {
        let (found, reasons) = standing(serial)?;
        ensure!(
            found == wanted && reasons.contains(reason),
            "{serial} is {found}: {reasons}; {wanted} with {reason:?} is right"
        );
    }
    let before: Vec<String> = sticks
        .iter()
        .map(|s| disk::sha256(s.image))
        .collect::<Result<_>>()?;
    let used = sticks[1].device();
    for (device, status, why) in [
        (used.as_str(), 6, "umount"),
        ("/dev/disk/by-id/virtio-LAB-STICK", 9, "this system runs from it"),
        (SSD, 6, "--erase-disk"),
    ] {
        let refused = ended(machine, &format!("{IMAGE} {device} --yes --json"), status)?;
        ensure!(
            refused["result"] == "failed" && refused.to_string().contains(why),
            "{device}: {refused}"
        );
    }
    for (stick, hash) in sticks.iter().zip(&before) {
        ensure!(
            disk::sha256(stick.image)? == *hash,
            "{} was written",
            stick.serial
        );
    }
    say(
        "a stick and a USB disk that says it is fixed: offered; mounted, the system's own, SATA: refused, each with its reason",
    );
    Ok(())
}

/// A stick, whole, verified from outside, switched off; and once more without switching off.
fn whole(machine: &mut Machine, stick: &UsbStick<'_>, image: &[u8]) -> Result<()> {
    let done = ended(machine, &format!("{IMAGE} {} --yes --json", stick.device()), 0)?;
    ensure!(done["result"] == "flashed" && done["ejected"] == true, "{done}");
    machine.check(&format!("[ ! -e {} ]", stick.device()), SHORT)?;
    holds(stick.image, image)?;
    let peak = done["peak_bytes"].as_u64().unwrap_or(u64::MAX);
    ensure!(peak <= 64 * MIB, "it took {peak} bytes of memory");
    say(&format!(
        "written, read back, switched off; the file behind it has the image; {} MiB of memory",
        peak / MIB
    ));
    // It is switched off: as a person would, out and in again.
    machine.qmp(
        "device_del",
        serde_json::json!({ "id": format!("usb-{}", stick.serial) }),
    )?;
    std::thread::sleep(Duration::from_secs(1));
    stick.plug(machine)
}

/// A USB disk that says it is fixed is a stick; an SSD on SATA wants its name, and stays where it is.
fn fixed_disks(machine: &Machine, usb: &UsbStick<'_>, image: &[u8], ssd: Option<&Path>) -> Result<()> {
    ended(
        machine,
        &format!("{IMAGE} {} --yes --json --no-eject", usb.device()),
        0,
    )?;
    holds(usb.image, image)?;
    let done = ended(machine, &format!("{IMAGE} {SSD} --erase-disk LFSSD --json"), 0)?;
    ensure!(
        done["ejected"] == false && done["eject_error"].is_null(),
        "{done}"
    );
    machine.check(&format!("[ -b {SSD} ]"), SHORT)?;
    holds(ssd.context("no SSD")?, image)?;
    say(
        "a USB disk that says it is fixed: with a yes; SATA: with its name, and not taken out of the machine",
    );
    Ok(())
}

/// Pulled out at about half, put back, gone on with.
fn pulled(machine: &mut Machine, stick: &UsbStick<'_>, image: &[u8]) -> Result<()> {
    stick.plug(machine)?;
    let command = format!(
        "{PATIENT} {IMAGE} {} --yes --json >/run/lab/slow.json 2>/run/lab/slow.err",
        stick.device()
    );
    let job = machine.spawn(&command, LONG)?;
    let half = IMAGE_BYTES / 2;
    let deadline = Instant::now() + SHORT;
    loop {
        let line = machine.check("tail -n 1 /run/lab/slow.json 2>/dev/null || true", SHORT)?;
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        if told["what"] == "write" && told["done"].as_u64().is_some_and(|done| done >= half) {
            break;
        }
        if told["result"].is_string() || Instant::now() >= deadline {
            bail!("it was not seen at half: {line}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    stick.pull(machine)?;
    let ran = job.wait(LONG)?;
    let told = last(&machine.check("cat /run/lab/slow.json", SHORT)?)?;
    ensure!(
        ran.status == 6
            && text(&told["why"]).contains("was unplugged at byte")
            && text(&told["next"]).contains("--resume"),
        "pulled out, it ended with {}: {told}",
        ran.status
    );
    ensure!(
        disk::read_at(stick.image, 0, 512)?.iter().all(|byte| *byte == 0),
        "half a stick has a boot sector"
    );
    say(&format!(
        "pulled out while it was written: {}",
        text(&told["why"])
    ));

    stick.plug(machine)?;
    let done = ended(machine, &format!("{IMAGE} --resume --yes --json --no-eject"), 0)?;
    let (found, written) = (done["found_bytes"].as_u64(), done["written_bytes"].as_u64());
    ensure!(
        found.is_some_and(|found| found > 0) && written.is_some_and(|written| written < IMAGE_BYTES),
        "it began anew: {done}"
    );
    holds(stick.image, image)?;
    say(&format!(
        "put back, `--resume` without a name: {} of {IMAGE_BYTES} bytes were found there, the stick has the image",
        found.unwrap_or_default()
    ));
    Ok(())
}

/// Sticks that are smaller than they say, made of a true one by device-mapper: addresses that wrap, and nothing behind the end.
fn liars(machine: &Machine, stick: &UsbStick<'_>) -> Result<()> {
    let true_sectors = 10 * MIB / 512;
    let true_bytes = true_sectors * 512;
    let device = stick.device();
    let wraps: String = (0..4)
        .map(|turn| format!("{} {true_sectors} linear {device} 0\\n", turn * true_sectors))
        .collect();
    let ends = format!(
        "0 {true_sectors} linear {device} 0\\n{true_sectors} {} zero\\n",
        3 * true_sectors
    );
    for (table, cause, says) in [
        (
            wraps,
            "smaller-wraps",
            format!("it has {true_bytes} bytes, and reports {}", 4 * true_bytes),
        ),
        (ends, "smaller-ends", format!("worn out after byte {true_bytes}")),
    ] {
        let path = machine.check(
            &format!(
                "set -e; printf '{table}' | dmsetup create liar; udevadm settle; \
                 losetup --find --show --direct-io=on /dev/mapper/liar"
            ),
            SHORT,
        )?;
        let told = ended(machine, &format!("{IMAGE} {path} --yes --json --no-eject"), 8)?;
        ensure!(
            told["cause"] == cause && text(&told["why"]).contains(&says),
            "a stick that is smaller than it says: {told}"
        );
        ensure!(told["differing_bytes"].as_u64() > Some(0), "{told}");
        let head = machine.check(&format!("head -c 512 {device} | tr -d '\\0' | wc -c"), SHORT)?;
        say(&format!("{cause}: {}", text(&told["why"])));
        ensure!(
            cause != "smaller-ends" || head.trim() == "0",
            "it has a boot sector"
        );
        machine.check(
            &format!("losetup -d {path}; udevadm settle; dmsetup remove --retry liar"),
            SHORT,
        )?;
    }
    Ok(())
}

/// The image, and zeros at the end, as landfall leaves them.
fn holds(file: &Path, image: &[u8]) -> Result<()> {
    let found = fs::read(file)?;
    ensure!(found.starts_with(image), "{} has not the image", file.display());
    let tail = found.len() - MIB as usize;
    ensure!(
        found[tail..].iter().all(|byte| *byte == 0),
        "its end was not wiped"
    );
    Ok(())
}

/// Runs `landfall flash`, which must end with this status; every line of its output must be JSON. Gives the last one.
fn ended(machine: &Machine, arguments: &str, status: i32) -> Result<Value> {
    let ran = machine.run(&format!("{PATIENT} {arguments}"), LONG)?;
    ensure!(
        ran.status == status,
        "landfall flash {arguments} ended with {}, not {status}: {}\n{}",
        ran.status,
        ran.text(),
        ran.error_text()
    );
    last(&ran.text())
}

fn last(output: &str) -> Result<Value> {
    let mut last = None;
    for line in output.lines() {
        let told: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        ensure!(told.is_object(), "no object: {line}");
        last = Some(told);
    }
    last.context("nothing was printed")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
