//! What the kernel says in /proc: mounts, swap, its own command line.
//!
//! A line that cannot be understood is an error: an overlooked mount could be a disk in use. Source: proc(5), and the
//! kernel's octal escapes (`\040` is a space).
//!
//! `scan` reads the files.

use crate::real::mount::table::{self, MountEntry, unescape};

/// A device number.
pub type Dev = (u32, u32);

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Device number; major 0 for filesystems that lie on no single device.
    pub dev: Dev,
    /// Where.
    pub point: String,
    /// Type.
    pub kind: String,
    /// The source as given: a device, or anything.
    pub source: String,
}

/// `8:1`.
pub fn parse_dev(text: &str) -> Option<Dev> {
    let (major, minor) = text.trim().split_once(':')?;
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => Some((major, minor)),
        (Err(_), _) | (_, Err(_)) => None,
    }
}

/// `/proc/self/mountinfo`, as far as it matters to who uses a disk.
///
/// # Errors
/// The text is none that the kernel gives.
pub fn parse_mountinfo(text: &str) -> Result<Vec<Mount>, String> {
    table::parse_mountinfo(text)?
        .into_iter()
        .map(|entry| {
            let MountEntry {
                device: (major, minor),
                root: _,
                target,
                read_only: _,
                stopped: _,
                kind,
                source,
            } = entry;
            match (u32::try_from(major), u32::try_from(minor)) {
                (Ok(major), Ok(minor)) => Ok(Mount {
                    dev: (major, minor),
                    point: target.into_string(),
                    kind,
                    source,
                }),
                (Err(_), _) | (_, Err(_)) => {
                    Err(format!("mount {target} has the device number {major}:{minor}"))
                }
            }
        })
        .collect()
}

/// `/proc/swaps`: the paths.
pub fn parse_swaps(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(unescape)
        .collect()
}

/// What the kernel's command line says of the medium it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootMedium {
    /// Filesystem labels of it.
    pub labels: Vec<String>,
    /// Filesystem or partition UUIDs of it.
    pub uuids: Vec<String>,
    /// Devices of it.
    pub devices: Vec<String>,
    /// Filesystem labels by which this system's own fstab mounts it.
    pub mounted_labels: Vec<String>,
}

impl BootMedium {
    /// Adds what an `fstab(5)` says of it. NixOS's ISO mounts itself at `/iso` by its label, and from 26.11 on nothing else says
    /// so: its kernel's command line has `root=fstab`. *Copy ISO Files to RAM* mounts memory there instead, and this line stays.
    pub fn add_fstab(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let mut fields = line.split_ascii_whitespace().map(unescape);
            let (Some(source), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if point != "/iso" || kind != "iso9660" {
                continue;
            }
            let source = source.replace('"', "");
            let label = ["/dev/disk/by-label/", "LABEL="]
                .iter()
                .find_map(|tag| source.strip_prefix(tag));
            self.mounted_labels.extend(label.map(udev_unescape));
        }
    }
}

/// Parses `/proc/cmdline`: `root=LABEL=…`, `root=live:CDLABEL=…`, `root=/dev/disk/by-label/…`.
pub fn parse_cmdline(text: &str) -> BootMedium {
    let mut medium = BootMedium::default();
    for word in text.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        if ![
            "root",
            "isoroot",
            "archisolabel",
            "archisodevice",
            "live-media",
            "inst.stage2",
        ]
        .contains(&key)
        {
            continue;
        }
        let value = value.trim_matches('"');
        let value = value
            .strip_prefix("live:")
            .or(value.strip_prefix("hd:"))
            .unwrap_or(value);
        if key == "archisolabel" {
            medium.labels.push(udev_unescape(value));
            continue;
        }
        let value = value.split(':').next().unwrap_or(value);
        let tag = |tags: &[&str]| tags.iter().find_map(|t| value.strip_prefix(t)).map(udev_unescape);
        if let Some(label) = tag(&["LABEL=", "CDLABEL=", "/dev/disk/by-label/"]) {
            medium.labels.push(label);
        } else if let Some(uuid) = tag(&[
            "UUID=",
            "PARTUUID=",
            "/dev/disk/by-uuid/",
            "/dev/disk/by-partuuid/",
        ]) {
            medium.uuids.push(uuid);
        } else if value.starts_with("/dev/") {
            medium.devices.push(value.to_owned());
        }
    }
    medium
}

/// Undoes udev's `\x20`.
fn udev_unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let code = rest
            .get(at + 2..at + 4)
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                out.push_str(&rest[..at]);
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push_str(&rest[..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    /// A NixOS stick, shortened.
    const NIXOS: &str = "\
25 29 0:23 / /proc rw,nosuid shared:6 - proc proc rw
29 1 0:26 / / rw,relatime shared:1 - tmpfs tmpfs rw,mode=755
31 29 11:0 / /iso ro,relatime shared:2 - iso9660 /dev/sr0 ro
32 29 7:0 / /nix/.ro-store ro,relatime shared:3 - squashfs /dev/loop0 ro
34 29 0:28 / /nix/store rw,relatime shared:5 - overlay overlay rw,lowerdir=/mnt-root/nix/.ro-store,upperdir=/u,workdir=/w
36 29 254:2 / /mnt/my\\040disk rw,relatime - ext4 /dev/vda2 rw
";

    #[test]
    fn a_real_mountinfo() {
        let mounts = parse_mountinfo(NIXOS).unwrap();
        assert_eq!(mounts.len(), 6);
        assert_eq!(mounts[2].dev, (11, 0));
        assert_eq!(
            (mounts[5].point.as_str(), mounts[5].source.as_str()),
            ("/mnt/my disk", "/dev/vda2")
        );
        assert!(parse_mountinfo("1 2 3").is_err());
        assert!(parse_mountinfo("36 29 x:2 / /mnt rw - ext4 /dev/vda2 rw").is_err());
    }

    #[test]
    fn real_swaps() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/vda3  partition\t524284\t\t0\t\t-2\n/swap\\040file file 1 0 -3\n";
        assert_eq!(parse_swaps(text), ["/dev/vda3", "/swap file"]);
        assert!(parse_swaps("").is_empty());
    }

    #[test]
    fn real_command_lines() {
        let nixos = parse_cmdline(
            "BOOT_IMAGE=/boot/bzImage init=/nix/store/x/init root=LABEL=nixos-minimal-24.11-x86_64 copytoram boot.shell_on_fail loglevel=4",
        );
        assert_eq!(nixos.labels, ["nixos-minimal-24.11-x86_64"]);
        let fedora = parse_cmdline("root=live:CDLABEL=My\\x20Live rd.live.image quiet");
        assert_eq!(fedora.labels, ["My Live"]);
        assert_eq!(parse_cmdline("root=/dev/vda ro").devices, ["/dev/vda"]);
        assert_eq!(parse_cmdline("root=PARTUUID=ab-cd").uuids, ["ab-cd"]);
        assert_eq!(
            parse_cmdline("root=tmpfs quiet =x a="),
            BootMedium { ..Default::default() }
        );
    }

    /// `/etc/fstab` of a 26.11 ISO and of a netboot image, and the command line of both.
    #[test]
    fn a_real_fstab_names_the_medium() {
        const ISO: &str = "# This is a generated file.  Do not edit!\n#\n# <file system> <mount point>   <type>  <options>       <dump>  <pass>\n\n\
            # Filesystems.\ntmpfs / tmpfs x-initrd.mount,mode=0755 0 0\n\
            /dev/disk/by-label/LANDFALL-vault /iso iso9660 x-initrd.mount 0 0\n\
            /sysroot/iso/nix-store.squashfs /nix/.ro-store squashfs x-initrd.mount,loop,threads=multi 0 0\n\
            tmpfs /nix/.rw-store tmpfs x-initrd.mount,mode=0755 0 0\n\n";
        const NETBOOT: &str = "tmpfs / tmpfs x-initrd.mount,mode=0755 0 0\n\
            ../nix-store.squashfs /nix/.ro-store squashfs x-initrd.mount,loop,threads=multi 0 0\n";
        let cmdline = "BOOT_IMAGE=/boot//nix/store/k/bzImage init=/nix/store/x/init nohibernate root=fstab loglevel=4 copytoram";
        let mut medium = parse_cmdline(cmdline);
        assert_eq!(medium, BootMedium::default(), "the command line says nothing");
        medium.add_fstab(NETBOOT);
        assert_eq!(medium, BootMedium::default(), "there is no medium");
        medium.add_fstab(ISO);
        assert_eq!(medium.mounted_labels, ["LANDFALL-vault"]);
        let mut others = BootMedium::default();
        others.add_fstab("LABEL=\"my\\040iso\" /iso iso9660 ro\n/dev/disk/by-label/a\\x20b /iso iso9660\n");
        assert_eq!(others.mounted_labels, ["my iso", "a b"]);
        // Another medium that somebody mounts, and a system's own root, are not what this one was started from.
        others.add_fstab(
            "/dev/disk/by-label/FILMS /media/films iso9660\n/dev/disk/by-label/root-web / ext4\n/iso\n",
        );
        assert_eq!(others.mounted_labels.len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,300}") {
            let told = (parse_mountinfo(&text), parse_swaps(&text), parse_cmdline(&text), parse_dev(&text));
            BootMedium::default().add_fstab(&text);
            let shown = format!("{told:?}");
            prop_assert!(!shown.is_empty());
        }

        #[test]
        fn escapes_without_panic(text in "[\\\\x0-9 a-f]{0,60}") {
            prop_assert!(unescape(&text).len() <= text.len() * 3);
            prop_assert!(udev_unescape(&text).len() <= text.len());
        }
    }
}
