//! What installers leave when they are cut off, and what must go before they run again. Law: deleted is only what is theirs by
//! its place and name. On the ESP: below `EFI/nixos`, `EFI/systemd`, `EFI/BOOT`, `loader` and `loader/entries`, reached
//! without following a link, crossing a mount or going up. On the root: empty directories that `nixos-install` makes.
//!
//! What they were seen to leave, of NixOS 26.11 and systemd 257 to 260:
//! - NixOS's installer for systemd-boot: `loader/loader.tmp`, which it makes only where nothing is, so that it fails for ever
//!   after; `<final name><8 characters>.tmp` in `EFI/nixos` and `loader/entries`;
//! - `bootctl`: `.#<final name><16 digits>` in `EFI/systemd`, `EFI/BOOT` and `loader`;
//! - landfall: `EFI/BOOT/LANDFALL.TMP`;
//! - `nixos-install`: `tmp.<10 characters>` and its own mount point's path, both empty, in the target's root;
//! - an activation, whose files are not flushed, after a power cut: files of their full length whose bytes are zero, in part or
//!   all. Over `uid-map`, `gid-map` and `auto-subuid-map` in `/var/lib/nixos` every later activation fails before it makes a
//!   user, also at boot; in `/etc/passwd` and `/etc/group` the zeros are taken for an account and stay for ever;
//! - what appends secrets to an initrd: `/tmp/initrd-secrets.<10 characters>` on the target, with the secrets in it.
//!
//! Absent: `FSCK0000.REC`. They take room and nothing else, and the clusters in them may be a checkpoint slot's.

use crate::real::rooted::{Root, names_in, remove_in};
use crate::real::{ground, rooted};
use landfall_states::fault::Fault;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::FileStat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// The directories of the ESP that are the boot loader's and its installer's.
const BOOT_DIRS: [&str; 4] = ["EFI/nixos", "EFI/systemd", "EFI/BOOT", "loader/entries"];
/// The same, and those above them.
const ALL_DIRS: [&str; 6] = [
    "EFI",
    "EFI/nixos",
    "EFI/systemd",
    "EFI/BOOT",
    "loader",
    "loader/entries",
];
/// Files that the boot loader and its installer write. Anything else under one of these names keeps them from it.
const FILES: [&str; 3] = ["loader/entries.srel", "loader/loader.conf", "loader/random-seed"];

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR
}

/// Opens a directory of the ESP; `None`: it is not there, or is none.
fn open_dir(esp: &Root, path: &str) -> io::Result<Option<OwnedFd>> {
    let top = esp.fd()?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
    match openat2(&top, if path.is_empty() { "." } else { path }, how) {
        Ok(dir) => Ok(Some(dir)),
        // A link, and another filesystem, are nothing of the boot loader's.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether a name in one of the boot loader's directories is a temporary file of an installer. FAT has no letter case. So is an entry
/// whose name is no text: nobody could say what it starts.
fn is_temporary(dir: &str, name: &OsStr) -> bool {
    let bytes = name.as_bytes().to_ascii_lowercase();
    let nameless = dir == "loader/entries" && name.to_str().is_none() && bytes.ends_with(b".conf");
    bytes.ends_with(b".tmp") || bytes.starts_with(b".#") || nameless
}

/// The parts of a path below the ESP, if none of them leads anywhere else.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    let plain = |part: &&str| *part != "." && *part != ".." && !part.contains('\0');
    (!parts.is_empty() && parts.iter().all(plain)).then_some(parts)
}

/// Where a file of the ESP lies that may be deleted: its directory and its name. Only what is directly in one of the boot
/// loader's directories, in any letter case, and what is no directory in the place of one of these.
fn removable(path: &str) -> Option<(String, &str)> {
    let parts = parts(path)?;
    let (name, above) = parts.split_last()?;
    let dir = above.join("/");
    let whole = parts.join("/");
    let in_one = BOOT_DIRS.iter().any(|one| dir.eq_ignore_ascii_case(one));
    let is_one = ALL_DIRS
        .iter()
        .chain(&FILES)
        .any(|one| whole.eq_ignore_ascii_case(one));
    (in_one || is_one).then_some((dir, name))
}

/// What stands on the ESP where a directory or a file of the boot loader belongs, and what it is not.
pub fn in_the_way(esp: &Root) -> Result<Vec<(&'static str, &'static str)>, Fault> {
    let mut found = vec![];
    let directories = ALL_DIRS.map(|path| (path, nix::libc::S_IFDIR, "is no directory"));
    let files = FILES.map(|path| (path, nix::libc::S_IFREG, "is no file"));
    for (path, kind, how) in directories.into_iter().chain(files) {
        let fault = |e: &io::Error| rooted::io_fault(format!("{path} on the ESP"), e);
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = open_dir(esp, above).map_err(|e| fault(&e))? else {
            continue;
        };
        match rooted::stat_in(&dir, name) {
            Ok(stat) if stat.st_mode & nix::libc::S_IFMT != kind => found.push((path, how)),
            Ok(_) => {}
            Err(e) if rooted::is_absent(&e) => {}
            Err(e) => return Err(fault(&e)),
        }
    }
    Ok(found)
}

/// Temporary files of installers on the ESP: their directories and their names.
fn temporary(esp: &Root) -> Result<Vec<(&'static str, OsString)>, Fault> {
    let mut found = vec![];
    for path in BOOT_DIRS.into_iter().chain(["loader"]) {
        let fault = |e: &io::Error| rooted::io_fault(format!("{path} on the ESP"), e);
        if let Some(dir) = open_dir(esp, path).map_err(|e| fault(&e))? {
            let names = names_in(&dir).map_err(|e| fault(&e))?;
            found.extend(
                names
                    .into_iter()
                    .filter(|name| is_temporary(path, name))
                    .map(|name| (path, name)),
            );
        }
    }
    found.sort();
    Ok(found)
}

/// Temporary files of installers on the ESP, as paths below it, for people.
pub fn on_esp(esp: &Root) -> Result<Vec<String>, Fault> {
    Ok(temporary(esp)?
        .iter()
        .map(|(dir, name)| format!("{dir}/{}", name.display()))
        .collect())
}

/// Deletes the temporary files of installers on the ESP. Flushing is the caller's.
pub fn clear_esp(esp: &Root) -> Result<Vec<String>, Fault> {
    let mut deleted = vec![];
    for (above, name) in temporary(esp)? {
        let path = format!("{above}/{}", name.display());
        let removed = open_dir(esp, above).and_then(|dir| match dir {
            Some(dir) => remove_in(&dir, &name),
            None => Ok(()),
        });
        removed.map_err(|e| rooted::io_fault(format!("{path} on the ESP"), &e))?;
        deleted.push(path);
    }
    Ok(deleted)
}

/// Deletes a file of the ESP that is there and wrong, so that its installer writes it again. `false`: it lies where nothing
/// may be deleted. Flushing is the caller's.
pub fn remove_wrong(esp: &Root, path: &str) -> Result<bool, Fault> {
    let Some((above, name)) = removable(path) else {
        return Ok(false);
    };
    let removed = open_dir(esp, &above).and_then(|dir| {
        let Some(dir) = dir else { return Ok(true) };
        let whole = format!("{above}/{name}");
        let is_one_of = |paths: &[&str]| {
            let whole = whole.trim_matches('/');
            paths.iter().any(|one| whole.eq_ignore_ascii_case(one))
        };
        match rooted::stat_in(&dir, name) {
            // One of the boot loader's directories, which is one, or one of its files: nothing is in its way.
            Ok(stat) if is_one_of(&ALL_DIRS) && is_dir(&stat) => return Ok(false),
            Ok(stat) if is_one_of(&FILES) && stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG => {
                return Ok(false);
            }
            Ok(_) => {}
            Err(e) if rooted::is_absent(&e) => return Ok(true),
            Err(e) => return Err(e),
        }
        remove_in(&dir, OsStr::new(name))?;
        File::from(dir).sync_all().map(|()| true)
    });
    removed.map_err(|e| rooted::io_fault(format!("{path} on the ESP"), &e))
}

/// Whether a name is one that `mktemp -d` gave.
fn is_scratch(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Removes what a cut `nixos-install` left in the target's root: its scratch directories and the path at which it had the
/// root itself, `keep` excepted, each only when it is an empty directory and nothing is mounted there; and secrets for an
/// initrd in its `/tmp`; and what a cut activation left that the next one fails over.
pub fn clear_root(root: &Root, mount_point: &str, keep: &[&str]) -> Result<Vec<String>, Fault> {
    let fault =
        |e: &io::Error| rooted::io_fault(format!("leftovers of nixos-install in {}", root.as_arg()), e);
    let Some(top) = open_dir(root, "").map_err(|e| fault(&e))? else {
        return Ok(vec![]);
    };
    let mount_point = mount_point.trim_matches('/');
    let mut removed = vec![];
    for name in names_in(&top).map_err(|e| fault(&e))? {
        let shown = name.to_string_lossy().into_owned();
        if keep.iter().any(|one| one.trim_matches('/') == shown)
            || !(shown == mount_point || is_scratch(&shown, "tmp."))
        {
            continue;
        }
        match unlinkat(&top, name.as_os_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) => removed.push(format!("/{shown}")),
            // Something is in it, is mounted on it, or it is no directory: somebody else's.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY | Errno::ENOTDIR | Errno::ENOENT) => {}
            Err(e) => return Err(fault(&e.into())),
        }
    }
    if let Some(tmp) = open_dir(root, "tmp").map_err(|e| fault(&e))? {
        for name in names_in(&tmp).map_err(|e| fault(&e))? {
            let shown = name.to_string_lossy().into_owned();
            if is_scratch(&shown, "initrd-secrets.") {
                remove_in(&tmp, &name).map_err(|e| fault(&e))?;
                removed.push(format!("/tmp/{shown}"));
            }
        }
    }
    removed.extend(clear_accounts(root)?);
    removed.sort();
    Ok(removed)
}

/// Files of accounts that an activation writes and does not flush: the numbers of users and groups, in JSON, and the accounts.
const ACCOUNTS: [(&str, &[&str]); 2] = [
    ("var/lib/nixos", &["uid-map", "gid-map", "auto-subuid-map"]),
    ("etc", &["passwd", "group", "shadow"]),
];
/// No file of accounts is larger.
const ACCOUNTS_BYTES_MAX: u64 = 16 << 20;

/// Whether these are names with numbers, as `update-users-groups.pl` keeps them. Perl may write a number as text.
fn is_map(bytes: &[u8]) -> bool {
    serde_json::from_slice::<std::collections::BTreeMap<String, serde_json::Value>>(bytes).is_ok_and(|map| {
        map.values().all(|value| match value {
            serde_json::Value::Number(number) => number.as_u64().is_some(),
            serde_json::Value::String(text) => text.parse::<u32>().is_ok(),
            _ => false,
        })
    })
}

/// Deletes files of accounts that hold nothing, a zero byte, which none of them may have, or not the JSON that they ought to. The
/// next activation makes them anew; before the first boot nobody has changed them. What is no file goes aside.
fn clear_accounts(root: &Root) -> Result<Vec<String>, Fault> {
    let mut removed = vec![];
    for (path, names) in ACCOUNTS {
        let fault = |e: &io::Error| rooted::io_fault(format!("/{path} on the target"), e);
        let Some(dir) = open_dir(root, path).map_err(|e| fault(&e))? else {
            continue;
        };
        for name in names {
            // Opening a socket or a device would fail over it, or do something.
            let kind = match rooted::stat_in(&dir, name) {
                Ok(stat) => stat.st_mode & nix::libc::S_IFMT,
                Err(e) if rooted::is_absent(&e) => continue,
                Err(e) => return Err(fault(&e)),
            };
            match kind {
                nix::libc::S_IFREG => {}
                nix::libc::S_IFLNK => continue,
                _ => {
                    let aside = ground::move_aside(&dir, &format!("/{path}"), OsStr::new(name))?;
                    removed.push(format!("/{path}/{name} (no file, kept as {})", aside.display()));
                    continue;
                }
            }
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let file = match nix::fcntl::openat(&dir, *name, flags, nix::sys::stat::Mode::empty()) {
                Ok(file) => File::from(file),
                Err(Errno::ENOENT | Errno::ELOOP) => continue,
                Err(e) => return Err(fault(&e.into())),
            };
            let mut bytes = vec![];
            file.take(ACCOUNTS_BYTES_MAX)
                .read_to_end(&mut bytes)
                .map_err(|e| fault(&e))?;
            if bytes.is_empty() || bytes.contains(&0) || name.ends_with("-map") && !is_map(&bytes) {
                unlinkat(&dir, *name, UnlinkatFlags::NoRemoveDir).map_err(|e| fault(&e.into()))?;
                removed.push(format!("/{path}/{name}"));
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    fn folder() -> (tempfile::TempDir, Root) {
        let keep = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        (keep, Root::at(path))
    }

    fn put(esp: &Root, path: &str) {
        let path = esp.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn temporary_files_go_and_nothing_else() {
        let (_keep, esp) = folder();
        let theirs = [
            "EFI/BOOT/.#BOOTX64.EFI0123456789abcdef",
            "EFI/BOOT/LANDFALL.TMP",
            "EFI/nixos/k.efia1b2c3d4.tmp",
            "EFI/systemd/.#systemd-bootx64.efi0123456789abcdef",
            "loader/.#entries.srel0123456789abcdef",
            "loader/entries/nixos-0.confa1b2c3d4.tmp",
            "loader/loader.tmp",
        ];
        let others = [
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/Microsoft/x.tmp",
            "EFI/landfall/a.slot",
            "EFI/nixos/k.efi",
            "FSCK0000.REC",
            "loader/entries/nixos-0.conf",
            "loader/loader.conf",
            "loader/random-seed",
            "top.tmp",
        ];
        for path in theirs.iter().chain(&others) {
            put(&esp, path);
        }
        fs::create_dir_all(esp.join("loader/entries/d.tmp").join("below/".repeat(100))).unwrap();
        let nameless = |name: &[u8]| OsStr::from_bytes(name).to_owned();
        for (dir, name) in [
            ("loader", nameless(b"\xe9.tmp")),
            ("loader/entries", nameless(b"nixos-\xe9.conf")),
        ] {
            fs::write(esp.join(dir).as_std_path().join(name), "x").unwrap();
        }
        fs::write(esp.join("EFI/nixos").as_std_path().join(nameless(b"\xe9")), "x").unwrap();
        let (_keep, outside) = folder();
        put(&outside, "loader.tmp");
        fs::os::unix::fs::symlink(outside.as_std_path(), esp.join("EFI/nixos/link.tmp")).unwrap();
        let found = on_esp(&esp).unwrap();
        assert_eq!(clear_esp(&esp).unwrap(), found);
        assert_eq!(found.len(), theirs.len() + 4, "{found:?}");
        assert_eq!(on_esp(&esp).unwrap(), [] as [String; 0]);
        for path in others {
            assert!(esp.join(path).exists(), "{path}");
        }
        assert!(
            outside.join("loader.tmp").exists(),
            "a link is removed, not followed"
        );
    }

    #[test]
    fn only_what_lies_in_the_boot_loaders_directories_is_deleted() {
        for (path, may) in [
            ("/EFI/nixos/k.efi", true),
            ("EFI\\NIXOS\\K.EFI", true),
            ("//efi//systemd/systemd-bootx64.efi", true),
            ("loader/entries/a.conf", true),
            ("EFI/nixos", true),
            ("loader", true),
            ("EFI/nixos/../../loader/random-seed", false),
            ("EFI/nixos/./k.efi", false),
            ("EFI/nixos/sub/k.efi", false),
            ("EFI/Microsoft/Boot/bootmgfw.efi", false),
            ("EFI/landfall/a.slot", false),
            ("loader/loader.conf", true),
            ("loader/other", false),
            ("k.efi", false),
            ("", false),
            ("/", false),
            ("EFI/nixos/k\0", false),
        ] {
            assert_eq!(removable(path).is_some(), may, "{path}");
        }
        let (_keep, esp) = folder();
        put(&esp, "EFI/nixos/k.efi");
        put(&esp, "EFI/nixos/dir/below/x");
        put(&esp, "loader/entries");
        put(&esp, "loader/random-seed");
        put(&esp, "loader/loader.conf/below");
        let in_the_way_now = [
            ("loader/entries", "is no directory"),
            ("loader/loader.conf", "is no file"),
        ];
        assert_eq!(in_the_way(&esp).unwrap(), in_the_way_now);
        for (path, removed) in [
            ("/EFI/nixos/k.efi", true),
            ("EFI/nixos/dir", true),
            ("EFI/nixos/gone", true),
            ("loader/entries", true),
            ("EFI/nixos", false),
            ("loader/random-seed", false),
            ("loader/loader.conf", true),
        ] {
            assert_eq!(remove_wrong(&esp, path).unwrap(), removed, "{path}");
        }
        assert_eq!(fs::read_dir(esp.join("EFI/nixos")).unwrap().count(), 0);
        assert!(esp.join("loader/random-seed").exists() && !esp.join("loader/loader.conf").exists());
        assert!(!esp.join("loader/entries").exists());
        // A directory that is a link leads nowhere.
        let (_keep, outside) = folder();
        put(&outside, "k.efi");
        fs::remove_dir_all(esp.join("EFI/nixos")).unwrap();
        fs::os::unix::fs::symlink(outside.as_std_path(), esp.join("EFI/nixos")).unwrap();
        assert_eq!(in_the_way(&esp).unwrap(), [("EFI/nixos", "is no directory")]);
        remove_wrong(&esp, "EFI/nixos/k.efi").unwrap();
        assert!(outside.join("k.efi").exists());
        remove_wrong(&esp, "EFI/nixos").unwrap();
        assert!(!esp.join("EFI/nixos").is_symlink() && outside.join("k.efi").exists());
    }

    #[test]
    fn files_of_accounts_that_a_cut_spoilt_go() {
        let (_keep, root) = folder();
        for (path, text) in [
            ("var/lib/nixos/uid-map", ""),
            ("var/lib/nixos/gid-map", "\0\0\0\0"),
            ("var/lib/nixos/auto-subuid-map", "{}"),
            ("var/lib/nixos/declarative-users", ""),
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\n\0\0\0\0"),
            ("etc/group", "root:x:0:\n"),
            ("etc/shadow", "\0\0\0\0"),
            ("etc/hostname", "\0"),
        ] {
            put(&root, path);
            fs::write(root.join(path), text).unwrap();
        }
        assert_eq!(
            clear_root(&root, "/mnt", &[]).unwrap(),
            [
                "/etc/passwd",
                "/etc/shadow",
                "/var/lib/nixos/gid-map",
                "/var/lib/nixos/uid-map"
            ]
        );
        for kept in [
            "etc/group",
            "etc/hostname",
            "var/lib/nixos/auto-subuid-map",
            "var/lib/nixos/declarative-users",
        ] {
            assert!(root.join(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn empty_directories_of_nixos_install_go() {
        let (_keep, root) = folder();
        for dir in [
            "mnt",
            "tmp",
            "tmp.AbCdEf0123",
            "tmp.short",
            "tmp.AbCdEf012-",
            "tmp.0123456789/system",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        put(&root, "tmp.aaaaaaaaaa");
        put(&root, "tmp/initrd-secrets.AbCdEf0123/etc/key");
        put(&root, "tmp/initrd-secrets.mine/key");
        assert_eq!(
            clear_root(&root, "/mnt", &["/mnt"]).unwrap(),
            ["/tmp.AbCdEf0123", "/tmp/initrd-secrets.AbCdEf0123"]
        );
        assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), ["/mnt"]);
        put(&root, "mnt/used");
        assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), [] as [String; 0]);
        for kept in [
            "tmp/initrd-secrets.mine/key",
            "tmp.short",
            "tmp.AbCdEf012-",
            "tmp.0123456789/system",
            "tmp.aaaaaaaaaa",
            "mnt/used",
        ] {
            assert!(root.join(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn files_of_accounts_that_are_no_files_or_are_cut_off_keep_no_activation_from_its_work() {
        for (path, bytes, goes) in [
            ("var/lib/nixos/uid-map", &b"{\"messagebus\":4,\"polkit"[..], true),
            ("var/lib/nixos/gid-map", b"{", true),
            ("var/lib/nixos/gid-map", b"   \n", true),
            ("var/lib/nixos/uid-map", b"[]", true),
            ("var/lib/nixos/auto-subuid-map", b"{\"a\":{}}", true),
            ("var/lib/nixos/uid-map", b"\xff\xfe\xfd", true),
            (
                "var/lib/nixos/uid-map",
                b"{\"messagebus\":4,\"nscd\":\"998\"}",
                false,
            ),
            ("var/lib/nixos/gid-map", b"{}", false),
            ("etc/passwd", b"root:x:0:0::/root:/bin/sh\n", false),
        ] {
            let (_keep, root) = folder();
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), bytes).unwrap();
            let removed = clear_root(&root, "/mnt", &[]).unwrap();
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(
                removed,
                vec![format!("/{path}"); usize::from(goes)],
                "{path}: {text}"
            );
            assert_eq!(root.join(path).exists(), !goes, "{path}: {text}");
        }
        for name in ["shadow", "passwd", "group"] {
            for kind in ["socket", "fifo", "directory", "device"] {
                let (_keep, root) = folder();
                fs::create_dir_all(root.join("etc")).unwrap();
                let at = root.join("etc").join(name);
                use nix::sys::stat::{Mode, SFlag, makedev, mknod};
                match kind {
                    "socket" => drop(std::os::unix::net::UnixListener::bind(&at).unwrap()),
                    "fifo" => nix::unistd::mkfifo(at.as_std_path(), Mode::S_IRWXU).unwrap(),
                    "directory" => fs::create_dir(&at).unwrap(),
                    // Only root may make one.
                    _ => match mknod(at.as_std_path(), SFlag::S_IFBLK, Mode::S_IRWXU, makedev(240, 77)) {
                        Ok(()) => {}
                        Err(_) => continue,
                    },
                }
                let told = format!("/etc/{name} (no file, kept as {name}.landfall-aside)");
                assert_eq!(clear_root(&root, "/mnt", &[]).unwrap(), [told], "{kind}");
                assert!(fs::symlink_metadata(&at).is_err(), "{kind}");
                assert!(
                    fs::symlink_metadata(root.join(format!("etc/{name}.landfall-aside"))).is_ok(),
                    "{kind}"
                );
                assert_eq!(
                    clear_root(&root, "/mnt", &[]).unwrap(),
                    [] as [String; 0],
                    "{kind}"
                );
            }
        }
    }
}
