//! Keys on a medium of their own: a FAT with the label that landfall looks for.
//!
//! What the installed system has is read from its own output at the first boot. The medium is compared before and after, byte
//! by byte.
//!
//! `scenarios::unattended` and `scenarios::secrets` have keys from credentials.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::command::Program;
use crate::disk;
use crate::install::{Install, say};
use crate::kit::{Kit, Layout, Mode};
use crate::machine::Disk;

const LABEL: &str = "LF-KEYS";
const MEDIUM_BYTES: u64 = 64 << 20;
const KEYS: [(&str, &str); 2] = [
    ("deploy-key", include_str!("../../../ssh-key.txt")),
    (
        "age-identity",
        "AGE-SECRET-KEY-1CZPY26NHVM3R5XXMPPXDXJM075GT4M6SV4YT397VSR5M05LPY8YQY2EZLD\n",
    ),
];

pub fn keys_medium(kit: &Kit) -> Result<()> {
    let mut install = Install::new(kit, "keys-medium", Layout::Plain, Mode::Prebuilt)?.stay();
    install
        .more
        .push_str(" keys: (deploy_key: true, age_identity: true),");
    let medium = install.spec.folder.join("medium.raw");
    let keys = KEYS.map(|(name, text)| (name, text.as_bytes()));
    make(&medium, &keys)?;
    let before = disk::sha256(&medium)?;
    install.spec.disks.push(Disk {
        removable: true,
        ..Disk::new(&medium, "LFKEYS")
    });

    // The control: without the medium the keys are missing, and that is known before anything is written.
    let mut without = install.spec.clone();
    without.disks.truncate(1);
    let with = std::mem::replace(&mut install.spec, without);
    let machine = install.start()?;
    let ran = install.run(&machine, "install")?;
    ran.must_end("install without the medium", 6, &["deploy", LABEL])?;
    machine.cut_power()?;
    ensure!(disk::is_blank(&install.image)?, "it wrote without the keys");
    say("without the medium: stopped before the first write");

    install.spec = with;
    let machine = install.start()?;
    // A restored machine was booted with a blank medium.
    machine.check("udevadm trigger --settle", Duration::from_secs(60))?;
    install.land(&machine, "install")?;
    machine.cut_power()?;
    ensure!(disk::sha256(&medium)? == before, "the medium was written to");
    has_keys(&install.boot()?)?;
    say("keys from the medium, which is byte for byte what it was");
    Ok(())
}

/// The installed system of the host `plain` says that it has both keys, for whom they are.
pub(super) fn has_keys(marker: &str) -> Result<()> {
    for key in [
        "/etc/age:700:root:root",
        "/etc/age/plain.agekey:600:root:root",
        "/home/operator/.ssh/id_ed25519:600:operator:users",
    ] {
        ensure!(
            marker.contains(key),
            "the installed system does not have {key}: {marker}"
        );
    }
    Ok(())
}

/// A medium with these files.
pub(super) fn make(medium: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    disk::create(medium, MEDIUM_BYTES)?;
    Program::new("mkfs.vfat").args(["-n", LABEL]).arg(medium).run()?;
    for (name, content) in files {
        let file = medium.with_file_name(name);
        fs::write(&file, content)?;
        Program::new("mcopy")
            .arg("-i")
            .arg(medium)
            .arg(&file)
            .arg(format!("::{name}"))
            .run()?;
    }
    Ok(())
}
