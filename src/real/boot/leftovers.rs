//! What interrupted installers leave, and what must be deleted before they run again.
//!
//! Only files are deleted that belong to an installer by their place and name. On the ESP: below `EFI/nixos`, `EFI/systemd`,
//! `EFI/BOOT`, `loader` and `loader/entries`, reached without following a link, crossing a mount or going up. On the root:
//! empty directories that `nixos-install` makes.
//!
//! Leftovers seen with NixOS 26.11 and systemd 257 to 260:
//! - NixOS's installer for systemd-boot: `loader/loader.tmp`, which it makes only if nothing is there, so that it fails from
//!   then on; `<final name><8 characters>.tmp` in `EFI/nixos` and `loader/entries`;
//! - `bootctl`: `.#<final name><16 digits>` in `EFI/systemd`, `EFI/BOOT` and `loader`;
//! - the installer for systemd-boot again, for the files that a host requests beside its loader: a record below
//!   `EFI/nixos/.extra-files` whose directory is gone, because the installer removes the directory first, or because of a
//!   power cut. The next run lists that directory and fails, every time;
//! - landfall: `EFI/BOOT/LANDFALL.TMP`; `.landfall-room`, with which a run checks whether there is free space;
//! - `nixos-install`: `tmp.<10 characters>` and the path of its own mount point, both empty, in the target's root;
//! - an activation after a power cut, because its files are not flushed: files of full length whose bytes are partly or
//!   completely zero. With such a `uid-map`, `gid-map` or `auto-subuid-map` in `/var/lib/nixos`, every later activation fails
//!   before it makes a user, also at boot; in `/etc/passwd` and `/etc/group` the zeros are taken for an account and stay for
//!   ever;
//! - `systemd-machine-id-setup`: an empty `/etc/machine-id`, which makes installers of NixOS up to 25.11 fail;
//! - the program that appends secrets to an initrd: `/tmp/initrd-secrets.<10 characters>` on the target, with the secrets in
//!   it.
//!
//! `volume::esp` removes `FSCK0000.REC`, after `fsck.vfat` has run.

use crate::real::fs::target_root::{Root, names_in, remove_in};
use crate::real::fs::{marks, skeleton, target_root};
use crate::real::volume::free_space;
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
/// Where NixOS's installer for systemd-boot keeps which extra files it copied: an empty file each, below here at the file's own path.
const RECORDS: &str = "EFI/nixos/.extra-files";
/// Most directories of records that wait to be read.
const RECORD_DIRS_MAX: usize = 512;

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
///
/// # Errors
/// The ESP cannot be read.
pub fn in_the_way(esp: &Root) -> Result<Vec<(&'static str, &'static str)>, Fault> {
    let mut found = vec![];
    let directories = ALL_DIRS.map(|path| (path, nix::libc::S_IFDIR, "is not a directory"));
    let files = FILES.map(|path| (path, nix::libc::S_IFREG, "is not a file"));
    for (path, kind, how) in directories.into_iter().chain(files) {
        let fault = |e: &io::Error| target_root::io_fault(format!("{path} on the ESP"), e);
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = open_dir(esp, above).map_err(|e| fault(&e))? else {
            continue;
        };
        match target_root::stat_in(&dir, name) {
            Ok(stat) if stat.st_mode & nix::libc::S_IFMT != kind => found.push((path, how)),
            Ok(_) => {}
            Err(e) if target_root::is_absent(&e) => {}
            Err(e) => return Err(fault(&e)),
        }
    }
    Ok(found)
}

/// What the records of extra files are, compared with the ESP.
#[derive(Debug, Default, PartialEq, Eq)]
struct Records {
    /// Records that lead nowhere, or to what their file cannot be: directories and names. The installer fails over them.
    astray: Vec<(String, OsString)>,
    /// Files that have a record and are gone.
    lost: Vec<String>,
}

/// Reads the records of extra files.
fn records(esp: &Root) -> Result<Records, Fault> {
    let mut found = Records::default();
    let fault = |e: &io::Error| target_root::io_fault(format!("{RECORDS} on the ESP"), e);
    let kind_in =
        |dir: &Option<OwnedFd>, name: &OsStr| match dir.as_ref().map(|dir| target_root::stat_in(dir, name)) {
            Some(Ok(stat)) => Ok(Some(is_dir(&stat))),
            Some(Err(e)) if !target_root::is_absent(&e) => Err(fault(&e)),
            Some(Err(_)) | None => Ok(None),
        };
    let (above, name) = RECORDS.rsplit_once('/').unwrap_or(("", RECORDS));
    let parent = open_dir(esp, above).map_err(|e| fault(&e))?;
    if kind_in(&parent, OsStr::new(name))? == Some(false) {
        found.astray.push((above.to_owned(), name.into()));
    }
    let mut to_read = vec![String::new()];
    while let Some(below) = to_read.pop() {
        let at = format!("{RECORDS}{below}");
        let Some(dir) = open_dir(esp, &at).map_err(|e| fault(&e))? else {
            continue;
        };
        let actual = open_dir(esp, below.trim_start_matches('/')).map_err(|e| fault(&e))?;
        let mut names = names_in(&dir).map_err(|e| fault(&e))?;
        names.sort();
        for name in names {
            let path = name.to_str().map(|name| format!("{below}/{name}"));
            match (
                path,
                kind_in(&Some(dir.try_clone().map_err(|e| fault(&e))?), &name)?,
                kind_in(&actual, &name)?,
            ) {
                // A directory that is there.
                (Some(path), Some(true), Some(true)) if to_read.len() < RECORD_DIRS_MAX => to_read.push(path),
                (Some(path), Some(false), None) => found.lost.push(path),
                (Some(_), Some(false), Some(false)) | (_, None, _) => {}
                // A directory of which no file can be there, a file that is a directory, or a name that nobody gave.
                (_, Some(_), _) => found.astray.push((at.clone(), name)),
            }
        }
    }
    found.lost.sort();
    Ok(found)
}

/// Extra files that the boot loader's installer recorded and that are gone from the ESP, as paths of it.
///
/// # Errors
/// The ESP cannot be read.
pub fn lost_extra_files(esp: &Root) -> Result<Vec<String>, Fault> {
    Ok(records(esp)?.lost)
}

/// Temporary files of installers on the ESP, and records that lead nowhere: their directories and their names.
fn temporary(esp: &Root) -> Result<Vec<(String, OsString)>, Fault> {
    let mut found = vec![];
    for path in BOOT_DIRS.into_iter().chain(["loader"]) {
        let fault = |e: &io::Error| target_root::io_fault(format!("{path} on the ESP"), e);
        if let Some(dir) = open_dir(esp, path).map_err(|e| fault(&e))? {
            let names = names_in(&dir).map_err(|e| fault(&e))?;
            found.extend(
                names
                    .into_iter()
                    .filter(|name| is_temporary(path, name))
                    .map(|name| (path.to_owned(), name)),
            );
        }
    }
    found.extend(records(esp)?.astray);
    found.sort();
    Ok(found)
}

/// Temporary files of installers on the ESP, as paths below it, for people.
///
/// # Errors
/// The ESP cannot be read.
pub fn on_esp(esp: &Root) -> Result<Vec<String>, Fault> {
    Ok(temporary(esp)?
        .iter()
        .map(|(dir, name)| format!("{dir}/{}", name.display()))
        .collect())
}

/// Deletes the temporary files of installers on the ESP. Flushing is the caller's.
///
/// # Errors
/// The ESP cannot be read or written.
pub fn clear_esp(esp: &Root) -> Result<Vec<String>, Fault> {
    let mut deleted = vec![];
    for (above, name) in temporary(esp)? {
        let path = format!("{above}/{}", name.display());
        let removed = open_dir(esp, &above).and_then(|dir| match dir {
            Some(dir) => remove_in(&dir, &name),
            None => Ok(()),
        });
        removed.map_err(|e| target_root::io_fault(format!("{path} on the ESP"), &e))?;
        deleted.push(path);
    }
    Ok(deleted)
}

/// Deletes a file of the ESP that is there and wrong, so that its installer writes it again. `false`: it lies where nothing
/// may be deleted. Flushing is the caller's.
///
/// # Errors
/// The ESP cannot be written.
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
        match target_root::stat_in(&dir, name) {
            // One of the boot loader's directories, which is one, or one of its files: nothing is in its way.
            Ok(stat) if is_one_of(&ALL_DIRS) && is_dir(&stat) => return Ok(false),
            Ok(stat) if is_one_of(&FILES) && stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG => {
                return Ok(false);
            }
            Ok(_) => {}
            Err(e) if target_root::is_absent(&e) => return Ok(true),
            Err(e) => return Err(e),
        }
        remove_in(&dir, OsStr::new(name))?;
        File::from(dir).sync_all().map(|()| true)
    });
    removed.map_err(|e| target_root::io_fault(format!("{path} on the ESP"), &e))
}

/// Whether a name is one that `mktemp -d` gave.
fn is_scratch(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Removes what a cut `nixos-install` left in the target's root: its scratch directories and the path at which it had the
/// root itself, `keep` excepted, each only when it is an empty directory and nothing is mounted there; and secrets for an
/// initrd in its `/tmp`; and what a cut activation left that the next one fails over.
///
/// # Errors
/// The target cannot be read or written.
pub fn clear_root(root: &Root, mount_point: &str, keep: &[&str]) -> Result<Vec<String>, Fault> {
    let fault =
        |e: &io::Error| target_root::io_fault(format!("leftovers of nixos-install in {}", root.as_arg()), e);
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
    // The ESP is mounted at the second.
    for path in ["", "/boot"] {
        let Some(dir) = root.dir(path)? else { continue };
        match target_root::stat_in(dir.fd(), free_space::PROBE) {
            Ok(stat) if stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG => {
                remove_in(dir.fd(), OsStr::new(free_space::PROBE)).map_err(|e| fault(&e))?;
                removed.push(format!("{path}/{}", free_space::PROBE));
            }
            Ok(_) => {}
            Err(e) if target_root::is_absent(&e) => {}
            Err(e) => return Err(fault(&e)),
        }
    }
    removed.sort();
    Ok(removed)
}

const PROFILES: &str = "nix/var/nix/profiles";

/// What the name of a link among the profiles is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// `system-1-link`.
    Whole,
    /// `system-1-link.tmp-4711-815`: Nix makes a link beside its place and renames it. One that is left it takes for the generation itself,
    /// and lets the profile lead there (Nix 2.8.0 and 2.26.3); the boot loader's installers look for `system-1-link`, which is nowhere.
    Incomplete,
    /// Something else's.
    Other,
}

fn generation(name: &OsStr) -> Generation {
    let rest = name.to_str().and_then(|name| name.strip_prefix("system-"));
    let Some((number, behind)) = rest.and_then(|rest| rest.split_once("-link")) else {
        return Generation::Other;
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Generation::Other;
    }
    match behind {
        "" => Generation::Whole,
        behind if behind.starts_with(".tmp-") => Generation::Incomplete,
        _ => Generation::Other,
    }
}

/// Whether the profile leads to a generation that was in the making when its Nix died.
///
/// # Errors
/// The target cannot be read.
pub fn profile_is_in_the_making(root: &Root) -> Result<bool, Fault> {
    let fault = |e: &io::Error| target_root::io_fault(format!("/{PROFILES} on the target"), e);
    let Some(dir) = open_dir(root, PROFILES).map_err(|e| fault(&e))? else {
        return Ok(false);
    };
    match nix::fcntl::readlinkat(&dir, "system") {
        Ok(to) => {
            let to = std::path::Path::new(&to).file_name().unwrap_or_default();
            Ok(generation(to) == Generation::Incomplete)
        }
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(false),
        Err(e) => Err(fault(&e.into())),
    }
}

/// Removes generations of the system's profile that lead nowhere, because what they led to was damaged and is gone, and those that a Nix
/// was just making when it died: installers of the boot loader read each of them and fail. With each goes why.
///
/// # Errors
/// The target cannot be read or written.
pub fn clear_generations(root: &Root) -> Result<Vec<(String, &'static str)>, Fault> {
    const GONE: &str = "the system that it pointed to is gone";
    const UNFINISHED: &str = "an interrupted run was making it";
    let fault = |e: &io::Error| target_root::io_fault(format!("/{PROFILES} on the target"), e);
    let Some(dir) = open_dir(root, PROFILES).map_err(|e| fault(&e))? else {
        return Ok(vec![]);
    };
    let leads_to = |name: &OsStr| match nix::fcntl::readlinkat(&dir, name) {
        Ok(to) => Ok(to.into_string().ok()),
        // No link.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
        Err(e) => Err(fault(&e.into())),
    };
    let mut removed = vec![];
    for name in names_in(&dir).map_err(|e| fault(&e))? {
        let why = match (generation(&name), leads_to(&name)?) {
            (Generation::Incomplete, Some(_)) => UNFINISHED,
            (Generation::Whole, Some(to))
                if to.starts_with("/nix/store/") && target_root::open_any(root, &to)?.is_none() =>
            {
                GONE
            }
            (Generation::Whole | Generation::Incomplete | Generation::Other, _) => continue,
        };
        remove_in(&dir, &name).map_err(|e| fault(&e))?;
        removed.push((name.to_string_lossy().into_owned(), why));
    }
    if let Some(to) = leads_to(OsStr::new("system"))?
        && let Some((_, why)) = removed
            .iter()
            .find(|(one, _)| *one == to || to == format!("/{PROFILES}/{one}"))
    {
        let why = *why;
        remove_in(&dir, OsStr::new("system")).map_err(|e| fault(&e))?;
        removed.push(("system".to_owned(), why));
    }
    removed.sort();
    Ok(removed)
}

/// Files of accounts that an activation writes and does not flush: the numbers of users and groups, in JSON, and the accounts.
const ACCOUNTS: [(&str, &[&str]); 2] = [
    ("var/lib/nixos", &["uid-map", "gid-map", "auto-subuid-map"]),
    ("etc", &["passwd", "group", "shadow"]),
];
/// Largest file of accounts.
const ACCOUNTS_BYTES_MAX: u64 = 16 << 20;

/// Made before it is written (`systemd-machine-id-setup`), and read by installers of older NixOS, which take its first line.
const MACHINE_ID: &str = "machine-id";

/// Whether this is a machine id, or what stands for none yet: machine-id(5).
fn is_machine_id(bytes: &[u8]) -> bool {
    let id = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    id == b"uninitialized"
        || id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit) && id.iter().any(|b| *b != b'0')
}

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

/// A file of the target that is not as the programs which read it need it.
struct Spoilt {
    dir: OwnedFd,
    above: &'static str,
    name: &'static str,
    /// Whether it is a file at all.
    is_file: bool,
}

/// Files that hold nothing, a zero byte, which none of them may have, or not the JSON that they ought to; and what is no file.
fn spoilt(root: &Root, files: &[(&'static str, &'static [&'static str])]) -> Result<Vec<Spoilt>, Fault> {
    let mut found = vec![];
    for &(path, names) in files {
        let fault = |e: &io::Error| target_root::io_fault(format!("/{path} on the target"), e);
        let Some(dir) = open_dir(root, path).map_err(|e| fault(&e))? else {
            continue;
        };
        for name in names {
            // Opening a socket or a device would fail over it, or do something.
            let kind = match target_root::stat_in(&dir, name) {
                Ok(stat) => stat.st_mode & nix::libc::S_IFMT,
                Err(e) if target_root::is_absent(&e) => continue,
                Err(e) => return Err(fault(&e)),
            };
            let one = |is_file| -> Result<Spoilt, Fault> {
                let dir = dir.try_clone().map_err(|e| fault(&e))?;
                Ok(Spoilt {
                    dir,
                    above: path,
                    name,
                    is_file,
                })
            };
            match kind {
                nix::libc::S_IFREG => {}
                nix::libc::S_IFLNK => continue,
                _ => {
                    found.push(one(false)?);
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
            let wrong = match *name {
                MACHINE_ID => !is_machine_id(&bytes),
                map if map.ends_with("-map") => !is_map(&bytes),
                _ => bytes.is_empty(),
            };
            if wrong || bytes.contains(&0) {
                found.push(one(true)?);
            }
        }
    }
    Ok(found)
}

/// Whether the files of accounts are such that the next activation, and whoever looks for a user, can read them.
///
/// # Errors
/// The target cannot be read.
pub fn accounts_are_whole(root: &Root) -> Result<bool, Fault> {
    Ok(spoilt(root, &ACCOUNTS)?.is_empty())
}

/// Deletes files of accounts that are spoilt, and a spoilt machine id. The next activation makes them again, and is to be done again:
/// its trace goes first. Before the first boot nobody has changed them. What is no file goes aside.
fn clear_accounts(root: &Root) -> Result<Vec<String>, Fault> {
    let mut wrong = spoilt(root, &ACCOUNTS)?;
    if !wrong.is_empty() {
        let (above, name) = marks::ACTIVATED
            .rsplit_once('/')
            .unwrap_or(("", marks::ACTIVATED));
        let fault = |e: &io::Error| target_root::io_fault(format!("{} on the target", marks::ACTIVATED), e);
        if let Some(dir) = open_dir(root, above.trim_start_matches('/')).map_err(|e| fault(&e))? {
            match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) => File::from(dir).sync_all().map_err(|e| fault(&e))?,
                // A directory is no trace.
                Err(Errno::ENOENT | Errno::EISDIR) => {}
                Err(e) => return Err(fault(&e.into())),
            }
        }
    }
    wrong.extend(spoilt(root, &[("etc", &[MACHINE_ID])])?);
    let mut removed = vec![];
    for Spoilt {
        dir,
        above,
        name,
        is_file,
    } in wrong
    {
        if is_file {
            unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)
                .map_err(|e| target_root::io_fault(format!("/{above}/{name} on the target"), &e.into()))?;
            removed.push(format!("/{above}/{name}"));
        } else {
            let aside = skeleton::move_aside(&dir, &format!("/{above}"), OsStr::new(name))?;
            removed.push(format!(
                "/{above}/{name} (not a file, renamed to {})",
                aside.display()
            ));
        }
    }
    Ok(removed)
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
