//! Finds what the laboratory needs on this computer, and installs what is missing where it may.
//!
//! As root on Debian or Ubuntu the missing packages are installed with apt. Anywhere else nothing is changed, and the error
//! says what to install. No host name is written here: the package source for Debian 13 is the host's own with another suite.
//! KVM is off by default (see [`Qemu::accelerator`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cache::Cache;
use crate::command::{Program, find};
use crate::debstrap::mmdebstrap;

/// The release that QEMU and the installer environment come from.
pub const SUITE: &str = "trixie";

/// Programs on the host and the Debian package that has each.
const PROGRAMS: [(&str, &str); 23] = [
    ("mmdebstrap", "mmdebstrap"),
    ("sqfstar", "squashfs-tools"),
    ("mksquashfs", "squashfs-tools"),
    ("xorriso", "xorriso"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("nix-store", "nix-bin"),
    ("git", "git"),
    ("sgdisk", "gdisk"),
    ("blkid", "util-linux"),
    ("losetup", "mount"),
    ("mkfs.vfat", "dosfstools"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("cryptsetup", "cryptsetup-bin"),
    ("mcopy", "mtools"),
    ("jq", "jq"),
    ("busybox", "busybox-static"),
    ("gcc", "gcc"),
    ("pkg-config", "pkg-config"),
];

/// The laboratory, ready for use: folders and QEMU.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Where things are kept.
    pub cache: Cache,
    /// The machine emulator.
    pub qemu: Qemu,
}

/// A QEMU that boots reliably, and its firmware.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// Program and leading arguments: QEMU itself, or a dynamic linker with QEMU's libraries.
    pub program: Vec<OsString>,
    /// Environment it needs.
    pub environment: Vec<(OsString, OsString)>,
    /// UEFI firmware code.
    pub ovmf_code: PathBuf,
    /// UEFI variables, to be copied for each machine.
    pub ovmf_vars: PathBuf,
    /// `tcg,thread=multi`, or what `$LANDFALL_LAB_ACCEL` says.
    pub accelerator: String,
    /// Processor model: the oldest with AES-NI, which TCG emulates well; `host` needs hardware virtualisation.
    pub processor: String,
    /// What `--version` prints first; part of a saved state's key.
    pub version: String,
}

impl Lab {
    /// Sets everything up. Takes a minute or so the first time, no time later.
    pub fn open() -> Result<Lab> {
        let cache = Cache::open()?;
        host_packages()?;
        let qemu = qemu(&cache)?;
        Ok(Lab { cache, qemu })
    }
}

/// Where packages for [`SUITE`] come from: an apt source line, or `None` for mmdebstrap's own default.
pub fn package_source() -> Result<Option<String>> {
    if let Some(line) = std::env::var_os("LANDFALL_LAB_APT_SOURCE") {
        return Ok(Some(line.to_string_lossy().into_owned()));
    }
    let release = os_release("/etc/os-release")?;
    if release.id != "debian" {
        return Ok(None);
    }
    let mut files = Vec::new();
    let list = Path::new("/etc/apt/sources.list");
    if list.exists() {
        files.push(list.to_owned());
    }
    let folder = Path::new("/etc/apt/sources.list.d");
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => from_deb822(&text, &release.codename),
            Some("list") => from_one_line(&text, &release.codename),
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The source line for [`SUITE`] made from the stanza that serves `codename` itself, if the text has one.
fn from_deb822(text: &str, codename: &str) -> Option<String> {
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .filter(|line| !line.starts_with('#'))
                .find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.trim()
                        .eq_ignore_ascii_case(name)
                        .then(|| value.trim().to_owned())
                })
        };
        let words = |name: &str| -> Vec<String> {
            field(name)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        let off = field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if off
            || !words("Types").contains(&"deb".to_owned())
            || !words("Suites").contains(&codename.to_owned())
        {
            continue;
        }
        let Some(uri) = words("URIs").into_iter().find(|uri| !uri.starts_with("cdrom:")) else {
            continue;
        };
        let mut options = Vec::new();
        for (field_name, option) in [
            ("Signed-By", "signed-by"),
            ("Trusted", "trusted"),
            ("Check-Valid-Until", "check-valid-until"),
        ] {
            // An inline key cannot stand in a one-line source; the system's keyring serves instead.
            if let Some(value) = field(field_name).filter(|value| !value.is_empty() && !value.contains(' ')) {
                options.push(format!("{option}={value}"));
            }
        }
        return Some(line(&options, &uri));
    }
    None
}

/// The same for a file of one-line sources.
fn from_one_line(text: &str, codename: &str) -> Option<String> {
    for entry in text.lines() {
        let Some(rest) = entry.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            continue;
        };
        if suite != codename || uri.starts_with("cdrom:") {
            continue;
        }
        let kept = ["signed-by=", "trusted=", "check-valid-until="];
        let options: Vec<String> = options
            .split_whitespace()
            .filter(|option| kept.iter().any(|start| option.starts_with(start)))
            .map(str::to_owned)
            .collect();
        return Some(line(&options, uri));
    }
    None
}

fn line(options: &[String], uri: &str) -> String {
    let options = if options.is_empty() {
        String::new()
    } else {
        format!("[{}] ", options.join(" "))
    };
    format!("deb {options}{uri} {SUITE} main")
}

struct Release {
    id: String,
    like: String,
    codename: String,
}

fn os_release(file: &str) -> Result<Release> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    Ok(Release {
        id: field("ID"),
        like: field("ID_LIKE"),
        codename: field("VERSION_CODENAME"),
    })
}

/// Installs the missing host packages, or says which they are.
pub fn host_packages() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    let library = find("pkg-config").is_some()
        && Program::new("pkg-config")
            .args(["--exists", "libcryptsetup"])
            .output()?
            .status
            == 0;
    if !library {
        missing.push("libcryptsetup-dev");
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let release = os_release("/etc/os-release")?;
    let apt = release.id == "debian" || release.id == "ubuntu" || release.like.contains("debian");
    if release.id == "nixos" {
        bail!(
            "the laboratory needs {}; run it inside `nix develop`, which has all but mmdebstrap (docs/develop/laboratory.md)",
            missing.join(", ")
        );
    }
    if !apt {
        bail!(
            "the laboratory needs what Debian packages as {}; install them and run again",
            missing.join(" ")
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "packages are missing; run `sudo apt-get install --yes {}` and then this again",
            missing.join(" ")
        );
    }
    eprintln!("lab: installing {}", missing.join(" "));
    let apt_get = |args: &[&str]| {
        Program::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .timeout(Duration::from_secs(900))
            .run()
            .context("apt could not install the host's packages; repair apt, then run again")
    };
    apt_get(&["update", "--quiet"])?;
    let mut args = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    args.extend(&missing);
    apt_get(&args)?;
    Ok(())
}

fn qemu(cache: &Cache) -> Result<Qemu> {
    let qemu = match host_qemu()? {
        Some(qemu) => qemu,
        None => unpacked_qemu(cache)?,
    };
    Ok(qemu)
}

/// The host's own QEMU, when it is new enough: 7.2 loses one boot in four under TCG.
fn host_qemu() -> Result<Option<Qemu>> {
    let Some(program) = find("qemu-system-x86_64") else {
        return Ok(None);
    };
    let version = Program::new(&program).arg("--version").run()?.text();
    if major(&version).is_none_or(|major| major < 9) {
        return Ok(None);
    }
    let share = fs::canonicalize(&program)?;
    let share = share
        .parent()
        .and_then(Path::parent)
        .map(|prefix| prefix.join("share"))
        .unwrap_or_default();
    let pairs = [
        (
            PathBuf::from("/usr/share/OVMF/OVMF_CODE_4M.fd"),
            PathBuf::from("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ),
        (
            share.join("qemu/edk2-x86_64-code.fd"),
            share.join("qemu/edk2-i386-vars.fd"),
        ),
    ];
    let Some((ovmf_code, ovmf_vars)) = pairs
        .into_iter()
        .find(|(code, vars)| code.exists() && vars.exists())
    else {
        return Ok(None);
    };
    finish(vec![program.into()], Vec::new(), ovmf_code, ovmf_vars).map(Some)
}

/// QEMU 10 of Debian 13, unpacked into the cache and started through its own dynamic linker, so that neither the
/// host's release nor its package database matters.
fn unpacked_qemu(cache: &Cache) -> Result<Qemu> {
    let packages = "qemu-system-x86,ovmf,qemu-utils,seabios,ipxe-qemu";
    let place = cache.artefact("qemu", &[packages.as_bytes(), SUITE.as_bytes()], |scratch| {
        eprintln!("lab: unpacking QEMU 10 from Debian's {SUITE} (about 50 s)");
        let source = package_source()?;
        mmdebstrap(scratch)?
            .args(["--variant=extract", &format!("--include={packages}"), SUITE])
            .arg(scratch.join("root"))
            .args(source)
            .timeout(Duration::from_secs(900))
            .run()
            .context("cannot fetch QEMU; name a source of Debian 13 packages in LANDFALL_LAB_APT_SOURCE")?;
        Ok(())
    })?;
    let root = place.join("root");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let through_linker = |program: &str, more: &[OsString]| {
        let mut line: Vec<OsString> = vec![
            libraries.join("ld-linux-x86-64.so.2").into(),
            "--library-path".into(),
            libraries.clone().into(),
            root.join("usr/bin").join(program).into(),
        ];
        line.extend_from_slice(more);
        line
    };
    let mut data = Vec::new();
    for folder in ["usr/share/qemu", "usr/share/seabios"] {
        data.extend(["-L".into(), root.join(folder).into()]);
    }
    let environment = vec![("QEMU_MODULE_DIR".into(), libraries.join("qemu").into())];
    finish(
        through_linker("qemu-system-x86_64", &data),
        environment,
        root.join("usr/share/OVMF/OVMF_CODE_4M.fd"),
        root.join("usr/share/OVMF/OVMF_VARS_4M.fd"),
    )
}

fn finish(
    program: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    ovmf_code: PathBuf,
    ovmf_vars: PathBuf,
) -> Result<Qemu> {
    let mut ask = Program::new(&program[0]).args(&program[1..]).arg("--version");
    for (key, value) in &environment {
        ask = ask.env(key, value);
    }
    let version = ask.run().context("QEMU does not start")?.text();
    let version = version.lines().next().unwrap_or_default().to_owned();
    // Hardware virtualisation hangs on some hosts that offer it, so it is asked for, not found.
    let accelerator = match std::env::var("LANDFALL_LAB_ACCEL") {
        Ok(accelerator) => accelerator,
        Err(_) => "tcg,thread=multi".to_owned(),
    };
    let processor = if accelerator.starts_with("tcg") {
        "Westmere"
    } else {
        "host"
    }
    .to_owned();
    Ok(Qemu {
        program,
        environment,
        ovmf_code,
        ovmf_vars,
        accelerator,
        processor,
        version,
    })
}

/// The major version in `QEMU emulator version 10.0.2 (…)`.
fn major(version: &str) -> Option<u32> {
    let mut words = version.split_whitespace().skip_while(|word| *word != "version");
    words.nth(1)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_alone_changes() {
        let text = "Types: deb\n# a comment: here\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By: /usr/share/keyrings/d.gpg\n";
        assert_eq!(
            from_deb822(text, "bookworm").as_deref(),
            Some("deb [signed-by=/usr/share/keyrings/d.gpg] http://mirror.example/debian trixie main")
        );
        assert_eq!(from_deb822(text, "trixie"), None);
    }

    #[test]
    fn one_line_sources_too() {
        let text = "# deb http://a.example/x bookworm main\ndeb [arch=amd64 trusted=yes] http://b.example/debian bookworm main\n";
        assert_eq!(
            from_one_line(text, "bookworm").as_deref(),
            Some("deb [trusted=yes] http://b.example/debian trixie main")
        );
        assert_eq!(
            from_one_line("deb http://c.example cloud-sdk-bookworm main", "bookworm"),
            None
        );
    }

    #[test]
    fn versions() {
        assert_eq!(major("QEMU emulator version 10.0.13 (Debian 1:10)"), Some(10));
        assert_eq!(major("QEMU emulator version 7.2.17"), Some(7));
        assert_eq!(major("nonsense"), None);
    }
}
