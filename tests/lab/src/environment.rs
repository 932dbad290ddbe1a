//! The installer environment and the sticks that carry it.
//!
//! Law: a stick is what a NixOS ISO is to the machine: an ISO 9660 volume with a label, a squashfs with the system
//! in it, and stage 1 that finds it by that label. Its disk says it is *not* removable, so that landfall must know
//! its own boot medium by other means. What is made from the same inputs is made once.
//!
//! On the stick:
//! ```text
//! env.squashfs        Debian 13 with systemd, Nix and every tool that the installer calls
//! payload.squashfs    optional: bin/* (linked into /usr/local/bin), nix/ (becomes /nix), nix/registration
//! landfall/           becomes /etc/landfall; landfall/*.service is started (then the console is the service's)
//! ```
//!
//! Absent: a boot loader on the stick (QEMU loads kernel and initrd through the firmware); anything of landfall's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cache::hash;
use crate::command::Program;
use crate::disk;
use crate::setup::{Lab, SUITE, package_source};

/// What Debian packages the environment consists of, beside the essential ones.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,login,systemd-cryptsetup,systemd-boot-tools,systemd-boot-efi,\
    nix-bin,git,cryptsetup-bin,libcryptsetup12,gdisk,dosfstools,e2fsprogs,util-linux,fdisk,efibootmgr,openssh-client,\
    kmod,jq,curl,ca-certificates,iproute2,lvm2,mdadm,dmsetup,procps,psmisc,zstd,xz-utils,busybox-static,\
    linux-image-cloud-amd64";

/// Left out of every package.
const EXCLUDED: [&str; 5] = [
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/bash-completion/*",
];

/// Kernel modules that stage 1 loads, in this order: what it needs itself, then the network card's, so that nothing
/// has to wait for udev to find it.
const STAGE1_MODULES: [&str; 9] = [
    "virtio_blk",
    "cdrom",
    "isofs",
    "loop",
    "squashfs",
    "overlay",
    "failover",
    "net_failover",
    "virtio_net",
];

/// Programs that stage 1 uses; all of them are busybox.
const STAGE1_PROGRAMS: [&str; 17] = [
    "sh",
    "mount",
    "insmod",
    "cat",
    "dd",
    "sleep",
    "mkdir",
    "cp",
    "ln",
    "chmod",
    "touch",
    "switch_root",
    "poweroff",
    "sync",
    "echo",
    "ls",
    "umount",
];

/// Units that only cost time in a machine that lives for a minute, or that would touch the disks by themselves.
const MASKED: [&str; 49] = [
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "sys-kernel-config.mount",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "mdmonitor.service",
    "mdmonitor-oneshot.timer",
    "mdcheck_start.timer",
    "mdcheck_continue.timer",
    "lvm2-monitor.service",
    "lvm2-lvmpolld.socket",
    "dm-event.socket",
    "blk-availability.service",
    "getty@tty1.service",
    "getty-static.service",
    "ldconfig.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-done.service",
    "systemd-machine-id-commit.service",
    "systemd-pcrmachine.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-tpm2-setup.service",
    "systemd-tpm2-setup-early.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-hibernate-clear.service",
    "systemd-random-seed.service",
    "systemd-pstore.service",
    "systemd-sysusers.service",
    "systemd-journal-flush.service",
    "systemd-rfkill.socket",
    "systemd-networkd-wait-online.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "systemd-ssh-proxy.socket",
];

/// Unit generators without work here; each is a process at boot.
const MASKED_GENERATORS: [&str; 11] = [
    "systemd-cryptsetup-generator",
    "systemd-fstab-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
    "systemd-veritysetup-generator",
];

/// Rules for devices that these machines do not have.
const MASKED_RULES: [&str; 19] = [
    "60-autosuspend.rules",
    "60-drm.rules",
    "60-evdev.rules",
    "60-fido-id.rules",
    "60-infiniband.rules",
    "60-input-id.rules",
    "60-persistent-alsa.rules",
    "60-persistent-input.rules",
    "60-persistent-storage-mtd.rules",
    "60-persistent-storage-tape.rules",
    "60-persistent-v4l.rules",
    "70-camera.rules",
    "70-joystick.rules",
    "70-memory.rules",
    "70-mouse.rules",
    "70-touchpad.rules",
    "75-probe_mtd.rules",
    "78-sound-card.rules",
    "81-net-dhcp.rules",
];

/// Files that stage 1 copies over the root, with their modes.
const GUEST_FILES: [(&str, u32, &str); 11] = [
    (
        "etc/systemd/system/systemd-udev-trigger.service.d/coldplug.conf",
        0o644,
        include_str!("../guest/coldplug.conf"),
    ),
    (
        "usr/local/lib/lab-agent.pl",
        0o755,
        include_str!("../guest/agent.pl"),
    ),
    (
        "usr/local/lib/lab-network",
        0o755,
        include_str!("../guest/lab-network"),
    ),
    (
        "etc/systemd/system/lab-agent.service",
        0o644,
        include_str!("../guest/lab-agent.service"),
    ),
    (
        "etc/systemd/system/lab-network.service",
        0o644,
        include_str!("../guest/lab-network.service"),
    ),
    (
        "etc/systemd/system/lab-payload.service",
        0o644,
        include_str!("../guest/lab-payload.service"),
    ),
    (
        "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf",
        0o644,
        include_str!("../guest/autologin.conf"),
    ),
    ("etc/nix/nix.conf", 0o644, include_str!("../guest/nix.conf")),
    // A machine that has an identity is not asked for one.
    ("etc/machine-id", 0o444, "6c616e6466616c6c6c61626f7261746f\n"),
    ("etc/hostname", 0o644, "installer\n"),
    (
        "etc/hosts",
        0o644,
        "127.0.0.1 localhost\n127.0.1.1 installer\n::1 localhost\n",
    ),
];

const GUEST_LINKS: [(&str, &str); 5] = [
    (
        "etc/systemd/system/multi-user.target.wants/lab-agent.service",
        "../lab-agent.service",
    ),
    (
        "etc/systemd/system/multi-user.target.wants/lab-network.service",
        "../lab-network.service",
    ),
    (
        "etc/systemd/system/network-online.target.wants/lab-network.service",
        "../lab-network.service",
    ),
    (
        "etc/systemd/system/multi-user.target.wants/lab-payload.service",
        "../lab-payload.service",
    ),
    (
        "etc/systemd/system/default.target",
        "/usr/lib/systemd/system/multi-user.target",
    ),
];

/// The environment, made once.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The system, as a squashfs. Debian 13; `unsquashfs` takes programs for the target system out of it.
    pub squashfs: PathBuf,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Stage 1.
    pub initrd: PathBuf,
    /// Every kernel module, decompressed, in one folder: `<name>.ko`.
    pub modules: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
}

/// What is on a stick.
#[derive(Debug, Clone, Default)]
pub struct StickSpec {
    /// Volume label: at most 32 characters without spaces. `LANDFALL_<host>` by custom.
    pub label: String,
    /// A squashfs with programs and a store.
    pub payload: Option<PathBuf>,
    /// Files in the folder `landfall/`, by their path in it.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A stick, ready to be put into a machine. Machines use it read-only, so that one serves many.
#[derive(Debug, Clone)]
pub struct Stick {
    /// The disk image.
    pub image: PathBuf,
    /// Its volume label.
    pub label: String,
    /// The kernel that the firmware is given.
    pub kernel: PathBuf,
    /// Stage 1 that goes with it.
    pub initrd: PathBuf,
    /// Hash of everything above.
    pub id: String,
}

impl Environment {
    /// The environment, built when missing: about two minutes the first time.
    pub fn open(lab: &Lab) -> Result<Environment> {
        let excluded = EXCLUDED.join(" ");
        let base = lab.cache.artefact(
            "environment",
            &[
                PACKAGES.as_bytes(),
                excluded.as_bytes(),
                SUITE.as_bytes(),
                b"lz4-hc 1",
            ],
            |scratch| {
                eprintln!("lab: making the installer environment from Debian's {SUITE} (about 2 minutes)");
                build_base(scratch)
            },
        )?;
        let kernel_release = fs::read_to_string(base.join("kernel-release"))?.trim().to_owned();
        let modules = base.join("modules");
        let busybox = base.join("busybox");
        let archive = stage1(&modules, &busybox)?;
        let initrd = lab.cache.artefact("stage1", &[&archive], |scratch| {
            Ok(fs::write(scratch.join("initrd"), &archive)?)
        })?;
        Ok(Environment {
            squashfs: base.join("env.squashfs"),
            kernel: base.join("vmlinuz"),
            initrd: initrd.join("initrd"),
            modules,
            busybox,
            kernel_release,
        })
    }

    /// An initrd of busybox (see [`STAGE1_PROGRAMS`]) and a script: the smallest system that a disk can boot.
    pub fn bare_initrd(&self, init: &str) -> Result<Vec<u8>> {
        Ok(bare_archive(&self.busybox, init)?.finish())
    }

    /// A stick with this content, built when missing: about two seconds.
    pub fn stick(&self, lab: &Lab, spec: &StickSpec) -> Result<Stick> {
        let StickSpec {
            label,
            payload,
            files,
        } = spec;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if label.is_empty() || label.len() > 32 || !label.chars().all(allowed) {
            bail!("{label:?} is no volume label: 1 to 32 of A-Z a-z 0-9 . _ -");
        }
        let base = self.squashfs.to_string_lossy();
        let payload_hash = match payload {
            Some(file) => disk::sha256(file)?,
            None => String::new(),
        };
        let mut inputs: Vec<&[u8]> = vec![label.as_bytes(), base.as_bytes(), payload_hash.as_bytes()];
        for (path, content) in files {
            inputs.push(path.as_bytes());
            inputs.push(content);
        }
        let place = lab
            .cache
            .artefact(&format!("stick-{label}"), &inputs, |scratch| {
                let folder = scratch.join("landfall");
                for (path, content) in files {
                    let file = folder.join(path);
                    if let Some(parent) = file.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    fs::write(file, content)?;
                }
                fs::create_dir_all(&folder)?;
                let graft = |at: &str, file: &Path| format!("{at}={}", file.display());
                let mut grafts = vec![
                    graft("/env.squashfs", &self.squashfs),
                    graft("/landfall", &folder),
                ];
                if let Some(file) = payload {
                    grafts.push(graft("/payload.squashfs", file));
                }
                Program::new("xorriso")
                    .args([
                        "-as",
                        "mkisofs",
                        "-quiet",
                        "-r",
                        "-iso-level",
                        "3",
                        "-V",
                        label,
                        "-graft-points",
                        "-o",
                    ])
                    .arg(scratch.join("stick.iso"))
                    .args(grafts)
                    .timeout(Duration::from_secs(300))
                    .run()?;
                Ok(fs::remove_dir_all(&folder)?)
            })?;
        let image = place.join("stick.iso");
        let id = hash(&[
            image.to_string_lossy().as_bytes(),
            self.initrd.to_string_lossy().as_bytes(),
        ]);
        Ok(Stick {
            image,
            label: label.clone(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            id,
        })
    }
}

/// Fills `scratch` with env.squashfs, vmlinuz, modules/, busybox and kernel-release.
fn build_base(scratch: &Path) -> Result<()> {
    let archive = scratch.join("base.tar");
    let mut make = Program::new("mmdebstrap")
        .args([
            "--variant=minbase",
            "--format=tar",
            &format!("--include={PACKAGES}"),
        ])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .timeout(Duration::from_secs(1800));
    for path in EXCLUDED {
        make = make.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    make.arg(SUITE)
        .arg(&archive)
        .args(package_source()?)
        .run()
        .context(
            "cannot make the environment; name a source of Debian 13 packages in LANDFALL_LAB_APT_SOURCE",
        )?;

    let unpacked = scratch.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    Program::new("tar")
        .arg("-C")
        .arg(&unpacked)
        .args(["--wildcards", "--no-same-owner", "-xf"])
        .arg(&archive)
        .args(["./boot/vmlinuz-*", "./usr/lib/modules/*", "./usr/bin/busybox"])
        .timeout(Duration::from_secs(300))
        .run()?;
    let release = only_entry(&unpacked.join("usr/lib/modules"))?;
    let name = release
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    fs::write(scratch.join("kernel-release"), &name)?;
    fs::rename(
        unpacked.join("boot").join(format!("vmlinuz-{name}")),
        scratch.join("vmlinuz"),
    )?;
    fs::rename(unpacked.join("usr/bin/busybox"), scratch.join("busybox"))?;
    let modules = scratch.join("modules");
    fs::create_dir_all(&modules)?;
    let mut packed = Vec::new();
    collect(&release.join("kernel"), &mut packed)?;
    for file in packed {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        fs::rename(&file, modules.join(name))?;
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&modules)? {
        names.push(entry?.path());
    }
    Program::new("xz")
        .args(["--decompress", "--threads=2"])
        .args(
            names
                .iter()
                .filter(|file| file.extension().is_some_and(|extension| extension == "xz")),
        )
        .timeout(Duration::from_secs(300))
        .run()?;
    fs::remove_dir_all(&unpacked)?;

    // Kernel and modules have been taken out of it; sqfstar 4.5 dies of exclusions, so tar has to make them.
    Program::new("tar")
        .args(["--delete", "--file"])
        .arg(&archive)
        .args(["./boot"])
        .timeout(Duration::from_secs(300))
        .run()?;
    // lz4: under emulation it is the decompression that costs, not the reading.
    Program::new("sqfstar")
        .args(["-quiet", "-no-progress", "-comp", "lz4", "-Xhc"])
        .arg(scratch.join("env.squashfs"))
        .input_file(&archive)
        .timeout(Duration::from_secs(900))
        .run()?;
    Ok(fs::remove_file(&archive)?)
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => bail!("{} should have exactly one entry", folder.display()),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Stage 1 as a cpio archive: busybox, the modules, the script, and what it copies over the root.
fn stage1(modules: &Path, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = bare_archive(busybox, include_str!("../guest/init"))?;
    let mut order = String::new();
    for module in STAGE1_MODULES {
        let file = format!("{module}.ko");
        archive.file(&format!("modules/{file}"), 0o644, &fs::read(modules.join(&file))?);
        order.push_str(&file);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    for (path, mode, content) in GUEST_FILES {
        archive.file(&format!("guest/{path}"), mode, content.as_bytes());
    }
    for (path, target) in GUEST_LINKS {
        archive.link(&format!("guest/{path}"), target);
    }
    for unit in MASKED {
        archive.link(&format!("guest/etc/systemd/system/{unit}"), "/dev/null");
    }
    for generator in MASKED_GENERATORS {
        archive.link(
            &format!("guest/etc/systemd/system-generators/{generator}"),
            "/dev/null",
        );
    }
    for rules in MASKED_RULES {
        archive.link(&format!("guest/etc/udev/rules.d/{rules}"), "/dev/null");
    }
    Ok(archive.finish())
}

/// An archive with busybox, the mount points of a stage 1, and this script as `/init`.
fn bare_archive(busybox: &Path, init: &str) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.file("init", 0o755, init.as_bytes());
    archive.file("bin/busybox", 0o755, &fs::read(busybox)?);
    for program in STAGE1_PROGRAMS {
        archive.link(&format!("bin/{program}"), "busybox");
    }
    for folder in ["proc", "sys", "dev"] {
        archive.folder(folder);
    }
    Ok(archive)
}

/// Writer of the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel).
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: std::collections::BTreeSet<String>,
    inode: u32,
}

impl Archive {
    /// Adds a file and the folders above it.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, 0o100000 | mode, content);
    }

    /// Adds a symbolic link and the folders above it.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, 0o120777, target.as_bytes());
    }

    /// Adds a folder and those above it.
    pub fn folder(&mut self, path: &str) {
        self.parents(path);
        if self.folders.insert(path.to_owned()) {
            self.entry(path, 0o040755, b"");
        }
    }

    /// The archive, with its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let links = 1;
        let fields = [
            self.inode,
            mode,
            0,
            0,
            links,
            0,
            content.len() as u32,
            0,
            0,
            0,
            0,
            path.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        while self.bytes.len() % 4 != 0 {
            self.bytes.push(0);
        }
    }
}
