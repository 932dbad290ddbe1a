//! The Debian packages that stand in nixpkgs' place.
//!
//! Nothing is installed, and nothing of this machine is used: packages of one release are unpacked into a folder of their
//! own, and a fixed list of files is taken from them. The target has the kernel of `linux-image-cloud-amd64`, as the
//! installer's environment has; neither kernel nor release can be chosen.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::setup::package_source;
use anyhow::{Context, Result, anyhow, bail};
use fs_err as fs;

use super::{BUILD_LIMIT, hex, output};
use crate::cache::made;
use crate::debstrap::mmdebstrap;

/// The Debian release whose packages the systems are made of.
const RELEASE: &str = "trixie";
/// The packages that [`debian_tree`] unpacks; what they depend on comes with them.
const PACKAGES: &[&str] = &[
    "age",
    "bash",
    "busybox-static",
    "cryptsetup-bin",
    "efibootmgr",
    "linux-image-cloud-amd64",
    "mount",
    "patchelf",
    "systemd",
    "systemd-boot-efi",
    "systemd-boot-tools",
    "util-linux",
];
/// Programs of the installed system that busybox does not have, or not well enough for nixos-install.
const PROGRAMS: &[&str] = &[
    "age",
    "bash",
    "bootctl",
    "cryptsetup",
    "efibootmgr",
    "mount",
    "systemd-tmpfiles",
    "umount",
];
/// Kernel modules in the order in which stage 1 loads them; below the mark, those that LUKS alone wants.
const MODULES: &[&str] = &[
    "drivers/block/virtio_blk",
    "drivers/scsi/scsi_common",
    "drivers/scsi/scsi_mod",
    "drivers/scsi/sd_mod",
    "drivers/scsi/virtio_scsi",
    "drivers/ata/libata",
    "drivers/ata/libahci",
    "drivers/ata/ahci",
    "drivers/char/hw_random/virtio-rng",
    "fs/nls/nls_cp437",
    "fs/nls/nls_ascii",
    "fs/nls/nls_iso8859-1",
    "fs/fat/fat",
    "fs/fat/vfat",
    "fs/efivarfs/efivarfs",
    LUKS_MARK,
    "crypto/cryptd",
    "crypto/crypto_simd",
    "lib/crypto/gf128mul",
    "crypto/xts",
    "arch/x86/crypto/aesni-intel",
    "arch/x86/crypto/sha256-ssse3",
    "crypto/af_alg",
    "crypto/algif_skcipher",
    "crypto/algif_hash",
    "drivers/md/dm-mod",
    "drivers/md/dm-crypt",
];
const LUKS_MARK: &str = "# luks";

/// What [`lay_out`] takes, for whoever has to notice that it is something else now.
pub(super) fn choice() -> impl Iterator<Item = &'static str> {
    MODULES.iter().chain(PROGRAMS).copied()
}

/// Unpacks the Debian packages that the systems are made of below `cache`, once. Installs nothing.
///
/// # Errors
/// mmdebstrap is missing or fails, which without a network it does.
pub fn debian_tree(cache: &Path) -> Result<PathBuf> {
    let key = hex(&[RELEASE.as_bytes(), PACKAGES.join(",").as_bytes()]);
    let home = cache.join("closure");
    fs::create_dir_all(&home)?;
    let tree = home.join(format!("debian-{}", &key[..12]));
    made(&home, "debian", tree, |scratch| {
        let made = scratch.join("tree");
        mmdebstrap(scratch)?
            .args(["--quiet", "--variant=extract", "--architectures=amd64"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg(RELEASE)
            .arg(&made)
            .args(package_source()?)
            .timeout(BUILD_LIMIT)
            .run()
            .context("unpacking Debian's packages")?;
        // The tree itself is the artefact.
        for entry in fs::read_dir(&made)? {
            let entry = entry?;
            fs::rename(entry.path(), scratch.join(entry.file_name()))?;
        }
        Ok(fs::remove_dir(made)?)
    })
}

/// Takes what the expressions need out of an unpacked Debian.
pub(super) fn lay_out(debian: &Path, into: &Path) -> Result<()> {
    let libraries = debian.join("usr/lib/x86_64-linux-gnu");
    let loader = debian.join("usr/lib64/ld-linux-x86-64.so.2");
    let search = format!("{0}:{0}/systemd", libraries.display());
    let program = |name: &str| -> Result<PathBuf> {
        ["usr/bin", "usr/sbin"]
            .iter()
            .map(|folder| debian.join(folder).join(name))
            .find(|file| file.exists())
            .ok_or_else(|| {
                anyhow!(
                    "Debian's packages have no {name}: {} is incomplete, delete it",
                    debian.display()
                )
            })
    };
    // The loader itself lists what a program links to, as it would find it.
    let needed = |file: &Path| -> Result<Vec<PathBuf>> {
        let mut list = Command::new(&loader);
        list.arg("--library-path").arg(&search).arg("--list").arg(file);
        let printed = output(
            list,
            &format!("listing the libraries of {}", file.display()),
            Duration::from_secs(30),
        )?;
        Ok(printed
            .lines()
            .filter_map(|line| line.split_once(" => ")?.1.split_whitespace().next())
            .filter(|path| path.starts_with('/') && !path.contains("/ld-linux-"))
            .map(PathBuf::from)
            .collect())
    };

    place(&program("busybox")?, into.join("busybox/bin/busybox"))?;
    let parts = into.join("parts");
    for (folder, programs) in [("patchelf", &["patchelf"][..]), ("tools", PROGRAMS)] {
        let (bin, lib) = match folder {
            "tools" => (parts.join("tools/bin"), parts.join("tools/lib")),
            other => (parts.join(other), parts.join(other)),
        };
        place(&loader, lib.join("ld-linux-x86-64.so.2"))?;
        for name in programs {
            let file = program(name)?;
            place(&file, bin.join(name))?;
            for library in needed(&file)? {
                let name = library
                    .file_name()
                    .context("a library without a name")?
                    .to_owned();
                place(&library, lib.join(name))?;
            }
        }
    }
    place(
        &debian.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
        parts.join("boot/systemd-bootx64.efi"),
    )?;
    lay_out_kernel(debian, &parts)
}

/// The kernel, its modules, and the order in which they are loaded.
fn lay_out_kernel(debian: &Path, parts: &Path) -> Result<()> {
    let modules = debian.join("usr/lib/modules");
    let version = only_entry(&modules)?;
    place(
        &debian.join(format!("boot/vmlinuz-{version}")),
        parts.join("kernel/vmlinuz"),
    )?;
    fs::write(parts.join("kernel/version"), &version)?;
    for module in MODULES.iter().filter(|module| **module != LUKS_MARK) {
        let file = modules.join(&version).join(format!("kernel/{module}.ko.xz"));
        let name = module.rsplit('/').next().unwrap_or(module);
        place(&file, parts.join(format!("modules/{name}.ko.xz")))?;
    }
    let names = MODULES
        .iter()
        .map(|module| module.rsplit('/').next().unwrap_or(module));
    fs::write(
        parts.join("modules/order"),
        names.fold(String::new(), |order, name| order + name + "\n"),
    )?;
    Ok(())
}

/// Copies a file; what a package has as a link is wanted as the file.
fn place(from: &Path, to: PathBuf) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(fs::canonicalize(from)?, to)?;
    Ok(())
}

/// The name of the one thing in `folder`.
fn only_entry(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => bail!("{} should hold one kernel, and holds {names:?}", folder.display()),
    }
}
