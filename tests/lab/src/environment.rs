//! The installer environment and the sticks that carry it.
//!
//! A stick is to the machine what a NixOS ISO is: an ISO 9660 volume with a label, a squashfs with the system in it, and a
//! stage 1 that finds it by that label. Its disk says it is *not* removable, so that landfall must recognise its own boot
//! medium by other means. Artefacts from the same inputs are made once.
//!
//! On the stick:
//!
//! ```text
//! env.squashfs        Debian 13 with systemd, Nix and every tool that the installer calls
//! payload.squashfs    optional: bin/* (linked into /usr/local/bin), nix/ (becomes /nix), nix/registration
//! landfall/           becomes /etc/landfall; landfall/*.service is started (then the console is the service's)
//! ```
//!
//! There is no boot loader on the stick (QEMU loads kernel and initrd through the firmware), and nothing of landfall.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cache::{Making, hash};
use crate::command::Program;
use crate::debstrap::mmdebstrap;
use crate::disk;
use crate::setup::{Lab, SUITE, package_source};
use crate::stage1;

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

/// The environment, made once.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The system, as a squashfs. Debian 13; `unsquashfs` takes programs for the target system out of it.
    pub squashfs: PathBuf,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Stage 1.
    pub initrd: PathBuf,
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
        let archive = stage1::archive(&modules, &busybox)?;
        let initrd = lab.cache.artefact("stage1", &[&archive], |scratch| {
            Ok(fs::write(scratch.join("initrd"), &archive)?)
        })?;
        Ok(Environment {
            squashfs: base.join("env.squashfs"),
            kernel: base.join("vmlinuz"),
            initrd: initrd.join("initrd"),
            busybox,
            kernel_release,
        })
    }

    /// An initrd of busybox (see [`stage1::bare`]) and a script: the smallest system that a disk can boot.
    pub fn bare_initrd(&self, init: &str) -> Result<Vec<u8>> {
        Ok(stage1::bare(&self.busybox, init)?.finish())
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
                let payload = payload.as_deref().and_then(Path::parent);
                let made_of: Vec<&Path> = self.squashfs.parent().into_iter().chain(payload).collect();
                scratch.of(&made_of)?;
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
fn build_base(scratch: &Making) -> Result<()> {
    let archive = scratch.join("base.tar");
    let mut make = mmdebstrap(scratch)?
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
