//! Stage 1 of the sticks, as an initrd: busybox, a few modules, `guest/init`, and what that copies over the root.
//!
//! All changes of the laboratory to the Debian system are here and in `guest/`, so that a change costs a second and not a new
//! environment. The archive is written here, without tools of the host.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

/// Kernel modules that stage 1 loads, in this order: what it needs itself, then the network card's, so that nothing
/// has to wait for udev to find it.
const MODULES: [&str; 9] = [
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
const PROGRAMS: [&str; 17] = [
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

/// Stage 1 as a cpio archive: busybox, the modules, the script, and what it copies over the root.
pub fn archive(modules: &Path, busybox: &Path) -> Result<Vec<u8>> {
    archive_with(modules, &MODULES, busybox)
}

/// The same with these modules, which are loaded in this order.
pub fn archive_with(modules: &Path, wanted: &[impl AsRef<str>], busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = bare(busybox, include_str!("../guest/init"))?;
    let mut order = String::new();
    for module in wanted {
        let file = format!("{}.ko", module.as_ref());
        archive.file(&format!("modules/{file}"), 0o644, &fs::read(modules.join(&file))?);
        order.push_str(&file);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    guest(&mut archive, "guest/");
    Ok(archive.finish())
}

/// What the laboratory changes about the Debian system, below this prefix.
pub fn guest(archive: &mut Archive, prefix: &str) {
    for (path, mode, content) in GUEST_FILES {
        archive.file(&format!("{prefix}{path}"), mode, content.as_bytes());
    }
    for (path, target) in GUEST_LINKS {
        archive.link(&format!("{prefix}{path}"), target);
    }
    for unit in MASKED {
        archive.link(&format!("{prefix}etc/systemd/system/{unit}"), "/dev/null");
    }
    for generator in MASKED_GENERATORS {
        archive.link(
            &format!("{prefix}etc/systemd/system-generators/{generator}"),
            "/dev/null",
        );
    }
    for rules in MASKED_RULES {
        archive.link(&format!("{prefix}etc/udev/rules.d/{rules}"), "/dev/null");
    }
}

/// An archive with busybox, the mount points of a stage 1, and this script as `/init`.
pub fn bare(busybox: &Path, init: &str) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.file("init", 0o755, init.as_bytes());
    archive.file("bin/busybox", 0o755, &fs::read(busybox)?);
    for program in PROGRAMS {
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
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}
