//! A kernel with USB and SATA: Debian's for real machines, beside the one for virtual machines that all other scenarios have.
//!
//! It starts the same environment from the same sticks; its modules are loaded in stage 1, because the environment has none
//! for it. The sticks are QEMU's, plugged in and pulled out by its control socket, over files that are compared from outside.
//!
//! `scenarios` use it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::json;

use crate::cache::hash;
use crate::command::Program;
use crate::debstrap::mmdebstrap;
use crate::environment::{Environment, Stick};
use crate::machine::Machine;
use crate::setup::{Lab, SUITE, package_source};
use crate::stage1;

/// For the kernel's command line: on a busy computer the emulated timer is late, and without this the kernel gives up over that
/// (Documentation/admin-guide/kernel-parameters.txt).
pub const KERNEL_WORDS: &str = "no_timer_check";
const PACKAGE: &str = "linux-image-amd64";
/// What is loaded, with what it needs before it: disks and filesystems, and what a mount looks up by name.
const WANTED: [&str; 22] = [
    "virtio_blk",
    "isofs",
    "loop",
    "squashfs",
    "overlay",
    "virtio_net",
    "sd_mod",
    "ahci",
    "xhci-pci",
    "usb-storage",
    "uas",
    "crc32c_generic",
    "ext4",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "efivarfs",
    "dm-mod",
    "dm-zero",
    "virtio-rng",
    "virtio_scsi",
];

/// The kernel and a stage 1 with its modules.
#[derive(Debug, Clone)]
pub struct UsbKernel {
    kernel: PathBuf,
    initrd: PathBuf,
}

impl UsbKernel {
    /// Takes it from Debian's package when it is missing.
    pub fn open(lab: &Lab, environment: &Environment) -> Result<UsbKernel> {
        let wanted = WANTED.join(" ");
        let inputs = [PACKAGE, SUITE, &wanted].map(str::as_bytes);
        let place = lab.cache.artefact("usb-kernel", &inputs, |scratch| {
            eprintln!("lab: taking Debian's kernel for real machines");
            let archive = scratch.join("packages.tar");
            mmdebstrap(scratch)?
                .args([
                    "--variant=extract",
                    "--format=tar",
                    &format!("--include={PACKAGE}"),
                ])
                .arg("--aptopt=APT::Install-Recommends \"false\"")
                .timeout(Duration::from_secs(900))
                .arg(SUITE)
                .arg(&archive)
                .args(package_source()?)
                .run()
                .context(
                    "cannot take the kernel; name a source of Debian 13 packages in LANDFALL_LAB_APT_SOURCE",
                )?;
            let tree = scratch.join("tree");
            fs::create_dir_all(&tree)?;
            Program::new("tar")
                .arg("-C")
                .arg(&tree)
                .args(["--wildcards", "--no-same-owner", "-xf"])
                .arg(&archive)
                .args(["./boot/vmlinuz-*", "./usr/lib/modules/*"])
                .timeout(Duration::from_secs(300))
                .run()?;
            let kernel = only(&tree.join("boot"))?;
            fs::rename(kernel, scratch.join("vmlinuz"))?;
            let modules = scratch.join("modules");
            fs::create_dir_all(&modules)?;
            let mut order = Vec::new();
            take(&only(&tree.join("usr/lib/modules"))?, &modules, &mut order)?;
            fs::write(scratch.join("order"), order.join("\n"))?;
            fs::remove_dir_all(&tree)?;
            Ok(fs::remove_file(&archive)?)
        })?;
        let order = fs::read_to_string(place.join("order"))?;
        let order: Vec<&str> = order.lines().collect();
        let archive = stage1::archive_with(&place.join("modules"), &order, &environment.busybox)?;
        let stage1 = lab.cache.artefact("usb-stage1", &[&archive], |scratch| {
            Ok(fs::write(scratch.join("initrd"), &archive)?)
        })?;
        Ok(UsbKernel {
            kernel: place.join("vmlinuz"),
            initrd: stage1.join("initrd"),
        })
    }

    /// A stick that is started with it.
    pub fn on(&self, stick: &Stick) -> Stick {
        let initrd = self.initrd.to_string_lossy();
        Stick {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            id: hash(&[stick.id.as_bytes(), initrd.as_bytes()]),
            ..stick.clone()
        }
    }
}

fn only(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => bail!("{} should have exactly one entry", folder.display()),
    }
}

/// Unpacks what is wanted, and puts it in order.
fn take(release: &Path, to: &Path, order: &mut Vec<String>) -> Result<()> {
    let builtin = fs::read_to_string(release.join("modules.builtin"))?;
    let listed = fs::read_to_string(release.join("modules.order"))?;
    let mut done = BTreeSet::new();
    for line in builtin.lines() {
        done.insert(name_of(line));
    }
    let mut waiting: Vec<String> = WANTED.iter().rev().map(|name| plain(name)).collect();
    while let Some(module) = waiting.pop() {
        if done.contains(&module) {
            continue;
        }
        let line = listed.lines().find(|line| name_of(line) == module);
        let line = line.with_context(|| format!("the kernel has no module {module}"))?;
        let file = to.join(format!("{module}.ko"));
        if !file.exists() {
            let packed = release.join(format!("{line}.xz"));
            let unpacked = Program::new("xz")
                .args(["--decompress", "--stdout"])
                .arg(packed)
                .run()?;
            fs::write(&file, unpacked.stdout)?;
        }
        let missing: Vec<String> = needs(&fs::read(&file)?)
            .into_iter()
            .filter(|need| !done.contains(need))
            .collect();
        if missing.is_empty() {
            order.push(module.clone());
            done.insert(module);
        } else {
            waiting.push(module);
            waiting.extend(missing);
        }
    }
    Ok(())
}

/// A module's name: in names of files a dash may stand for the underscore.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(line: &str) -> String {
    let file = line.rsplit('/').next().unwrap_or(line);
    plain(file.strip_suffix(".ko").unwrap_or(file))
}

/// What a module says that it needs (`depends=` in its section `.modinfo`).
fn needs(module: &[u8]) -> Vec<String> {
    let word = b"\0depends=";
    let Some(at) = module.windows(word.len()).position(|window| window == word) else {
        return Vec::new();
    };
    let rest = &module[at + word.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let text = String::from_utf8_lossy(&rest[..end]);
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(plain)
        .collect()
}

/// A stick that can be plugged in.
#[derive(Debug, Clone, Copy)]
pub struct UsbStick<'a> {
    /// Its serial number; its nodes in QEMU are called so.
    pub serial: &'a str,
    /// The file behind it.
    pub image: &'a Path,
    /// Whether it says that it can be taken out, as sticks do and SSDs behind a bridge do not.
    pub removable: bool,
    /// Bytes that it takes in a second, where it is slower than the file.
    pub write_rate: Option<u64>,
}

impl UsbStick<'_> {
    /// What landfall is given for it.
    pub fn device(&self) -> String {
        format!("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_{}-0:0", self.serial)
    }

    /// Makes it known to QEMU, unplugged.
    pub fn bring(&self, machine: &mut Machine) -> Result<()> {
        let serial = self.serial;
        let image = fs::canonicalize(self.image)?;
        let file = json!({ "driver": "raw", "file": { "driver": "file", "filename": image, "cache": { "direct": false } } });
        let node = match self.write_rate {
            None => {
                let mut node = file;
                node["node-name"] = serial.into();
                node
            }
            Some(rate) => {
                machine.qmp(
                    "object-add",
                    json!({ "qom-type": "throttle-group", "id": format!("rate-{serial}"), "limits": { "bps-write": rate } }),
                )?;
                json!({ "driver": "throttle", "node-name": serial, "throttle-group": format!("rate-{serial}"), "file": file })
            }
        };
        machine.qmp("blockdev-add", node).map(drop)
    }

    /// Plugs it in, and waits until the machine has it.
    pub fn plug(&self, machine: &mut Machine) -> Result<()> {
        let serial = self.serial;
        machine.qmp(
            "device_add",
            json!({
                "driver": "usb-storage", "bus": "xhci.0", "id": format!("usb-{serial}"), "drive": serial, "serial": serial,
                "removable": self.removable,
            }),
        )?;
        let device = self.device();
        let wait = format!(
            "for i in $(seq 300); do [ -b {device} ] && break; sleep 0.1; done; udevadm settle; [ -b {device} ]"
        );
        machine.check(&wait, Duration::from_secs(90)).map(drop)
    }

    /// Pulls it out.
    pub fn pull(&self, machine: &mut Machine) -> Result<()> {
        machine.qmp("device_del", json!({ "id": format!("usb-{}", self.serial) }))?;
        let device = self.device();
        let wait = format!("for i in $(seq 300); do [ -e {device} ] || exit 0; sleep 0.1; done; exit 1");
        machine.check(&wait, Duration::from_secs(90)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_read_from_it() {
        let module = b"license=GPL\0depends=scsi_common,usb-core\0name=x\0";
        assert_eq!(needs(module), ["scsi_common", "usb_core"]);
        assert!(needs(b"license=GPL\0depends=\0name=x\0").is_empty());
        assert_eq!(
            name_of("kernel/drivers/usb/storage/usb-storage.ko"),
            "usb_storage"
        );
    }
}
