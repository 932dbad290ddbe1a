//! What real programs say about what is attached, installed and known to the firmware, in the laboratory's machine.
//!
//! As in `oracles`, nothing of landfall is used; filesystems are mounted here, read-only, by `mount`.
//!
//! `oracles` has volumes and folders; every scenario ends with a boot.

use crate::oracles::{ext4, fat, said, same_bytes, told};
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// Where landfall mounts the target, and where it has what it needs while it runs.
const PLACES: [&str; 2] = ["/mnt", "/run/landfall"];
/// The path that firmware without an entry starts, and the one that it is a copy of.
const LOADERS: [&str; 2] = ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"];
/// How often a link may lead to another one.
const LINKS_MAX: usize = 8;

/// How often a partition is looked for, and how long is waited between.
const NODE_TRIES: u32 = 100;
const NODE_WAIT: Duration = Duration::from_millis(50);

/// A partition of a disk. After somebody closed the disk that had it open for writing, udev has the kernel read the table again, and the
/// nodes of the partitions go and come back.
fn partition(disk: &Utf8Path, number: u32) -> Result<Utf8PathBuf, String> {
    let node: Utf8PathBuf = format!("{disk}p{number}").into();
    for _ in 0..NODE_TRIES {
        said(Command::new("udevadm").arg("settle"))?;
        if node.exists() {
            return Ok(node);
        }
        std::thread::sleep(NODE_WAIT);
    }
    Err(format!("{node} does not come"))
}

/// No mapping at all, and no mount in landfall's places.
pub fn nothing_attached() -> Result<(), String> {
    for entry in fs_err::read_dir("/sys/class/block").map_err(told)? {
        let name = entry.map_err(told)?.path().join("dm/name");
        if name.exists() {
            let name = fs_err::read_to_string(name).map_err(told)?;
            return Err(format!("the mapping {} is left", name.trim()));
        }
    }
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").map_err(told)?;
    let left = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .find(|at| PLACES.iter().any(|place| Utf8Path::new(at).starts_with(place)));
    match left {
        Some(at) => Err(format!("{at} is still mounted")),
        None => Ok(()),
    }
}

/// Nothing is attached, the ESP is sound, the container opens.
pub fn detached(disk: &Utf8Path, key: &Utf8Path) -> Result<(), String> {
    nothing_attached()?;
    fat(&partition(disk, 1)?, &[])?;
    said(
        Command::new("cryptsetup")
            .args(["open", "--test-passphrase", "--type", "luks2", "--key-file"])
            .args([key, &partition(disk, 2)?]),
    )
    .map(drop)
}

/// A read-only mount; away when it ends.
struct Looked(Utf8PathBuf);

impl Looked {
    fn at(device: &Utf8Path, kind: &str, at: Utf8PathBuf) -> Result<Looked, String> {
        fs_err::create_dir_all(&at).map_err(told)?;
        said(
            Command::new("mount")
                .args(["-t", kind, "-o", "ro"])
                .args([device, &at]),
        )?;
        Ok(Looked(at))
    }
}

impl Drop for Looked {
    fn drop(&mut self) {
        if let Err(why) = said(Command::new("umount").arg(&self.0)) {
            eprintln!("{why}");
        }
    }
}

/// The file that a path leads to within a root filesystem.
fn within(root: &Utf8Path, path: &str) -> Result<Utf8PathBuf, String> {
    let mut at = root.join(path.trim_start_matches('/'));
    for _ in 0..LINKS_MAX {
        let metadata = fs_err::symlink_metadata(&at).map_err(told)?;
        if !metadata.is_symlink() {
            return Ok(at);
        }
        let to = fs_err::read_link(&at).map_err(told)?;
        let to = Utf8PathBuf::from_path_buf(to).map_err(|path| path.display().to_string())?;
        at = match to.strip_prefix("/") {
            Ok(rest) => root.join(rest),
            Err(_) => at.parent().unwrap_or(root).join(to),
        };
    }
    Err(format!("{path} leads nowhere"))
}

/// The system is installed on a disk of which nothing is attached: sound filesystems, the profile, accounts; an entry that starts it, whose
/// kernel and initrd are the store's; the loader at both its places; no temporary file.
pub fn installed(disk: &Utf8Path, place: &Utf8Path, system: &str) -> Result<(), String> {
    nothing_attached()?;
    let (esp, root) = (partition(disk, 1)?, partition(disk, 2)?);
    fat(&esp, &[])?;
    ext4(&root)?;
    let root = Looked::at(&root, "ext4", place.join("proof-root"))?;
    let esp = Looked::at(&esp, "vfat", place.join("proof-esp"))?;
    on_root(&root.0, system)?;
    on_esp(&esp.0, &root.0, system)
}

/// What is on the root filesystem.
pub fn on_root(root: &Utf8Path, system: &str) -> Result<(), String> {
    let profile = within(root, "nix/var/nix/profiles/system")?;
    if profile != root.join(system.trim_start_matches('/')) {
        return Err(format!("the profile is {profile}, not {system}"));
    }
    within(root, "etc/NIXOS")?;
    let passwd = fs_err::read_to_string(within(root, "etc/passwd")?).map_err(told)?;
    if passwd.contains('\0') || !passwd.lines().any(|line| line.starts_with("root:")) {
        return Err("/etc/passwd has no root".into());
    }
    Ok(())
}

fn files(folder: &Utf8Path, found: &mut BTreeSet<Utf8PathBuf>) -> Result<(), String> {
    for entry in folder.read_dir_utf8().map_err(told)? {
        let path = entry.map_err(told)?.into_path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// What is on the ESP.
pub fn on_esp(esp: &Utf8Path, root: &Utf8Path, system: &str) -> Result<(), String> {
    let mut all = BTreeSet::new();
    files(esp, &mut all)?;
    if let Some(left) = all
        .iter()
        .find(|path| path.as_str().to_ascii_lowercase().ends_with(".tmp"))
    {
        return Err(format!("{left} is left"));
    }
    let entries = all.iter().filter(|path| {
        path.parent() == Some(&esp.join("loader/entries"))
            && path.file_name().is_some_and(|name| name.starts_with("nixos-"))
    });
    let mut starts = false;
    for entry in entries {
        let text = fs_err::read_to_string(entry).map_err(told)?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .map(str::trim)
                .ok_or_else(|| format!("{entry} has no {name}"))
        };
        if !field("options")?.contains(&format!("init={system}/init")) {
            continue;
        }
        starts = true;
        for (name, file) in [("linux", "kernel"), ("initrd", "initrd")] {
            let there = esp.join(field(name)?.trim_start_matches('/'));
            same_bytes(&within(root, &format!("{system}/{file}"))?, &there)?;
        }
    }
    if !starts {
        return Err(format!("no entry starts {system}"));
    }
    let [fallback, loader] = LOADERS.map(|path| esp.join(path));
    same_bytes(&loader, &fallback)?;
    let bytes = fs_err::read(&loader).map_err(told)?;
    if bytes.starts_with(b"MZ") {
        Ok(())
    } else {
        Err(format!("{loader} is no program of the firmware's"))
    }
}

/// The firmware has one entry that starts this disk's ESP, and its order names it.
pub fn firmware(disk: &Utf8Path) -> Result<(), String> {
    nothing_attached()?;
    let partuuid = said(
        Command::new("blkid")
            .args(["--probe", "--match-tag", "PART_ENTRY_UUID", "--output", "value"])
            .arg(partition(disk, 1)?),
    )?;
    one_entry(&said(Command::new("efibootmgr").arg("-v"))?, &partuuid)
}

/// The same of what `efibootmgr -v` prints.
pub fn one_entry(printed: &str, partuuid: &str) -> Result<(), String> {
    let ours: Vec<&str> = printed
        .lines()
        .filter(|line| line.to_ascii_lowercase().contains(&partuuid.to_ascii_lowercase()))
        .filter_map(|line| line.strip_prefix("Boot")?.get(..4))
        .collect();
    let order = printed
        .lines()
        .find_map(|line| line.strip_prefix("BootOrder:"))
        .unwrap_or_default();
    match ours[..] {
        [one] if order.split(',').any(|number| number.trim() == one) => Ok(()),
        [one] => Err(format!("the order {order} does not name Boot{one}")),
        _ => Err(format!(
            "{} entries start the ESP {partuuid}:\n{printed}",
            ours.len()
        )),
    }
}
