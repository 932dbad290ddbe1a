//! The kernel's table of mounts, and what it means for an install.
//!
//! Pure. Any text gives an answer, and a mount is known by its device number, never by the name in the table's source column.
//!
//! `mount::attached` reads the table, mounts and unmounts.

use camino::{Utf8Path, Utf8PathBuf};
use landfall_states::names::quoted;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Device number of the filesystem.
    pub device: (u64, u64),
    /// What part of the filesystem is mounted.
    pub root: String,
    /// Where.
    pub target: Utf8PathBuf,
    /// Whether this mount or its filesystem is read-only.
    pub read_only: bool,
    /// Mounted for writing, and the kernel takes no more writes since it met an error in the filesystem.
    pub stopped: bool,
    /// Filesystem type.
    pub kind: String,
    /// The source as given: a device, or anything. For people.
    pub source: String,
}

/// Understands `/proc/<pid>/mountinfo` (proc(5)), in its order: a later mount lies over an earlier one.
///
/// # Errors
/// The text is none that the kernel gives.
pub fn parse_mountinfo(text: &str) -> Result<Vec<MountEntry>, String> {
    text.lines()
        .map(|line| {
            parse_mount(line).ok_or_else(|| format!("a line that is not understood: {}", quoted(line)))
        })
        .collect()
}

fn parse_mount(line: &str) -> Option<MountEntry> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let (major, minor) = fields.next()?.split_once(':')?;
    let root = unescape(fields.next()?);
    let target = unescape(fields.next()?).into();
    let options = fields.next()?;
    let mut rest = filesystem.split(' ');
    let (kind, source) = (rest.next()?.to_owned(), unescape(rest.next()?));
    let super_options = rest.next()?;
    let has = |options: &str, words: &[&str]| options.split(',').any(|option| words.contains(&option));
    // `errors=remount-ro` shows as `ro` until Linux 6.11, as `emergency_ro` in 6.18, and not at all in 6.12; `shutdown` takes no write either.
    let stopped = has(super_options, &["ro", "emergency_ro", "shutdown"]);
    let read_only = has(options, &["ro"]);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        target,
        read_only: read_only || stopped,
        stopped: stopped && !read_only,
        kind,
        source,
    })
}

/// Undoes the kernel's octal escapes (space, tab, newline, backslash).
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
            [] => break,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What lies at a mount point, seen from our device.
#[derive(Debug, PartialEq, Eq)]
pub enum At {
    /// No mount.
    Nothing,
    /// A mount of our device.
    Ours {
        /// Whether it can only be read.
        read_only: bool,
    },
    /// A mount of our device for writing, to which the kernel lets nobody write any more.
    Stopped,
    /// Another device; described.
    Foreign(String),
}

/// What lies at `target` on top, seen from `device`.
pub fn at(table: &[MountEntry], target: &Utf8Path, device: (u64, u64)) -> At {
    match table.iter().rfind(|m| m.target == target) {
        None => At::Nothing,
        Some(m) if m.device == device && m.root == "/" && m.stopped => At::Stopped,
        Some(m) if m.device == device && m.root == "/" => At::Ours {
            read_only: m.read_only,
        },
        Some(m) => At::Foreign(format!("{} {}:{}", m.kind, m.device.0, m.device.1)),
    }
}

/// What must be unmounted, in order, to free `target`, which is ours: everything on and below it, last first. An error
/// names a mount below it that none of our tools can have made: a real device that is ours nowhere and that nothing
/// outside `target` has mounted.
///
/// # Errors
/// A mount below the target that is not this install's.
pub fn leftovers(
    table: &[MountEntry],
    target: &Utf8Path,
    ours: &[(u64, u64)],
) -> Result<Vec<Utf8PathBuf>, String> {
    let mut undo = vec![];
    for mount in table.iter().filter(|m| m.target.starts_with(target)) {
        let known = mount.device.0 == 0
            || ours.contains(&mount.device)
            || table
                .iter()
                .any(|m| m.device == mount.device && !m.target.starts_with(target));
        if !known {
            return Err(format!(
                "{} ({} on device {}:{})",
                mount.target, mount.kind, mount.device.0, mount.device.1
            ));
        }
        undo.push(mount.target.clone());
    }
    undo.reverse();
    Ok(undo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "\
22 1 8:18 / / rw,relatime shared:1 - ext4 /dev/sdb2 rw
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
30 22 8:2 / /mnt rw,noatime - ext4 /dev/sda2 rw,errors=remount-ro
31 30 8:1 / /mnt/boot rw - vfat /dev/sda1 rw
32 30 0:5 / /mnt/dev rw - devtmpfs udev rw
33 32 0:24 / /mnt/dev/pts rw - devpts devpts rw
34 30 8:18 /etc/resolv.conf /mnt/etc/resolv.conf ro - ext4 /dev/sdb2 rw
35 22 7:0 / /media/a\\040b ro - squashfs /dev/loop0 ro
";
    const OURS: [(u64, u64); 2] = [(8, 1), (8, 2)];

    #[test]
    fn the_kernels_table_is_understood() {
        let table = parse_mountinfo(TABLE).unwrap();
        assert_eq!(table.len(), 8);
        assert_eq!(table[7].target, "/media/a b");
        assert!(table[7].read_only && !table[2].read_only);
        assert_eq!(table[6].root, "/etc/resolv.conf");
        assert!(parse_mountinfo("garbage").is_err());
        // The one of this machine.
        let here = fs_err::read("/proc/self/mountinfo").unwrap();
        let here = parse_mountinfo(&String::from_utf8_lossy(&here)).unwrap();
        assert!(here.iter().any(|m| m.target == "/"));
    }

    #[test]
    fn ours_is_told_from_foreign() {
        let table = parse_mountinfo(TABLE).unwrap();
        let mnt = Utf8Path::new("/mnt");
        assert_eq!(at(&table, mnt, (8, 2)), At::Ours { read_only: false });
        assert!(matches!(at(&table, mnt, (8, 34)), At::Foreign(_)));
        assert_eq!(at(&table, Utf8Path::new("/mn"), (8, 2)), At::Nothing);
    }

    /// The lines of a loop device with an ext4 of which one directory block was overwritten, behind the first look at it: Linux 6.18.44,
    /// and Linux 6.1; the last two are what `ext4_shutdown` and a mount with `-o ro` show.
    #[test]
    fn a_filesystem_that_the_kernel_stopped_is_told_from_one_that_is_mounted_read_only() {
        for (options, at_mnt) in [
            (
                "rw,relatime - ext4 /dev/loop3 rw,errors=remount-ro",
                At::Ours { read_only: false },
            ),
            (
                "rw,relatime - ext4 /dev/loop3 rw,errors=remount-ro,emergency_ro",
                At::Stopped,
            ),
            ("rw,relatime - ext4 /dev/loop3 ro,errors=remount-ro", At::Stopped),
            ("rw,relatime - ext4 /dev/loop3 rw,shutdown", At::Stopped),
            ("ro,relatime - ext4 /dev/loop3 ro", At::Ours { read_only: true }),
        ] {
            let table = parse_mountinfo(&format!("64 27 7:3 / /mnt {options}\n")).unwrap();
            assert_eq!(at(&table, Utf8Path::new("/mnt"), (7, 3)), at_mnt, "{options}");
        }
    }

    #[test]
    fn what_a_killed_child_left_is_undone_last_first() {
        let table = parse_mountinfo(TABLE).unwrap();
        let undo = leftovers(&table, Utf8Path::new("/mnt"), &OURS).unwrap();
        let expected = [
            "/mnt/etc/resolv.conf",
            "/mnt/dev/pts",
            "/mnt/dev",
            "/mnt/boot",
            "/mnt",
        ];
        assert_eq!(undo, expected.map(Utf8PathBuf::from));
    }

    #[test]
    fn a_disk_that_somebody_mounted_in_the_target_is_left_alone() {
        let table =
            parse_mountinfo(&format!("{TABLE}36 30 8:33 / /mnt/usb rw - vfat /dev/sdc1 rw\n")).unwrap();
        let fault = leftovers(&table, Utf8Path::new("/mnt"), &OURS).unwrap_err();
        assert!(fault.contains("/mnt/usb"), "{fault}");
    }

    proptest! {
        #[test]
        fn any_table_is_read_without_panic(text in "[0-9a-z/: ,\\\\-]{0,80}") {
            // Either answer is fine; a panic is not.
            let understood = parse_mountinfo(&text).is_ok();
            prop_assert!(understood || !text.is_empty());
            unescape(&text);
        }
    }
}
