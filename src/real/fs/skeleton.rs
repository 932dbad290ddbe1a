//! Which paths of the target's root filesystem must be a directory, a file or a link before Nix and landfall work on it.
//!
//! A path of another kind is moved aside and reported, never removed. The filesystem belongs to this install, and no program
//! of an install makes such a path, but every program would fail because of it, every time.
//!
//! A link in the place of one of Nix's directories is also wrong: Nix works on the target from outside, where a link of the
//! target may lead to the installer's own store. Elsewhere a link to a directory of the target is followed, inside the
//! target.
//!
//! `nix::database` looks at Nix's database.

use crate::real::fs::target_root::{self, Root};
use crate::real::process::context::CommandContext;
use landfall_states::fault::{Fault, PlaceFault};
use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, readlinkat, renameat2};
use nix::libc;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Directories, every one after the one it lies in.
const DIRECTORIES: [&str; 20] = [
    "/nix",
    "/nix/store",
    "/nix/store/.links",
    "/nix/var",
    "/nix/var/landfall",
    "/nix/var/log",
    "/nix/var/log/nix",
    "/nix/var/log/nix/drvs",
    "/nix/var/nix",
    "/nix/var/nix/gcroots",
    "/nix/var/nix/gcroots/auto",
    "/nix/var/nix/gcroots/per-user",
    "/nix/var/nix/profiles",
    "/nix/var/nix/profiles/per-user",
    "/nix/var/nix/temproots",
    "/tmp",
    "/var",
    "/var/tmp",
    "/var/tmp/landfall",
    "/var/tmp/landfall/cache",
];
/// Regular files.
const FILES: [&str; 6] = [
    "/nix/var/landfall/activated",
    "/nix/var/landfall/activation-failures",
    "/nix/var/landfall/registration",
    "/nix/var/landfall/system",
    "/nix/var/nix/gc-socket/socket.lock",
    "/nix/var/nix/gc.lock",
];
/// Links.
const LINKS: [&str; 1] = [GC_ROOT];
/// What keeps the realised system from Nix's garbage collector until a profile does.
const GC_ROOT: &str = "/nix/var/nix/gcroots/landfall-system";
/// What is moved aside gets this behind its name, and a number where that is taken.
const ASIDE: &str = ".landfall-aside";
/// Most names that are tried to put something aside.
const ASIDE_NAMES_MAX: u32 = 64;

/// Moves aside what has another kind than it must have.
///
/// # Errors
/// The target cannot be read or written.
pub fn clear(context: &CommandContext, root: &Root) -> Result<(), Fault> {
    for (paths, kind, expected) in [
        (&DIRECTORIES[..], libc::S_IFDIR, "a directory"),
        (&FILES[..], libc::S_IFREG, "a file"),
        (&LINKS[..], libc::S_IFLNK, "a link"),
    ] {
        for path in paths {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(dir) = directory(root, above)? else {
                continue;
            };
            if kind == libc::S_IFDIR && is_followed(&dir, path, name) {
                continue;
            }
            clear_one(context, &dir, above, OsStr::new(name), kind, expected)?;
            if kind == libc::S_IFREG {
                // The name under which it is written first.
                let beside = target_root::beside(name);
                clear_one(context, &dir, above, OsStr::new(&beside), kind, expected)?;
            }
        }
    }
    clear_locks(context, root)?;
    clear_profile(context, root)
}

/// The system's profile and its generations, which Nix reads as links, and the profile's lock, which it opens as a file. Nix also takes a
/// generation's name with anything behind it for that generation, so what is moved aside gets another name.
///
/// # Errors
/// The target cannot be read or written.
pub fn clear_profile(context: &CommandContext, root: &Root) -> Result<(), Fault> {
    const PROFILES: &str = "/nix/var/nix/profiles";
    let Some(dir) = directory(root, PROFILES)? else {
        return Ok(());
    };
    let fault = |e: &io::Error| target_root::io_fault(format!("{PROFILES} on the target"), e);
    for name in target_root::names_in(&dir).map_err(|e| fault(&e))? {
        let is_lock = name == "system.lock";
        let is_link = name == "system" || is_generation(&name);
        if is_lock {
            clear_one(context, &dir, PROFILES, &name, libc::S_IFREG, "a file")?;
        } else if is_link {
            clear_one(context, &dir, PROFILES, &name, libc::S_IFLNK, "a link")?;
        }
    }
    Ok(())
}

/// Whether Nix takes this name for one of a generation of the system's profile: `system-NUMBER-link`, whatever is behind it.
fn is_generation(name: &OsStr) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(b"system-") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest.iter().skip(digits).take(5).eq(b"-link")
}

/// Directories of the target that `nixos-install` and `nixos-enter` write to, mount on and link in, from outside.
const WORKED_ON_FROM_OUTSIDE: [&str; 10] = [
    "/dev",
    "/etc",
    "/nix",
    "/nix/store",
    "/nix/var",
    "/nix/var/nix",
    "/nix/var/nix/profiles",
    "/proc",
    "/run",
    "/sys",
];

/// Refuses a target where those programs would follow a link of the target's into the running system.
///
/// # Errors
/// There is such a link (it is named), or the target cannot be read.
pub fn refuse_links(root: &Root) -> Result<(), Fault> {
    for path in WORKED_ON_FROM_OUTSIDE {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = directory(root, above)? else {
            continue;
        };
        match readlinkat(&dir, name) {
            Ok(to) => {
                return Err(PlaceFault::LinkLeadsOut {
                    path: format!("{path} on the target"),
                    to: to.to_string_lossy().into_owned(),
                }
                .into());
            }
            // It is no link, or it is not there.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(e) => return Err(target_root::io_fault(format!("{path} on the target"), &e.into())),
        }
    }
    Ok(())
}

/// Whether a name is a link where landfall itself follows it, inside the target, makes what it leads to, and tells Nix where that
/// is; what cannot be followed is refused there by its name.
fn is_followed(dir: &OwnedFd, path: &str, name: &str) -> bool {
    !path.starts_with("/nix") && readlinkat(dir, name).is_ok()
}

/// Takes back the garbage collector root. At landing: from then on the profile keeps the system, as long as it is wanted, and nobody
/// else would ever take the root away.
///
/// # Errors
/// The target cannot be written.
pub fn release(root: &Root) -> Result<(), Fault> {
    let (above, name) = GC_ROOT.rsplit_once('/').unwrap_or(("", GC_ROOT));
    let Some(dir) = directory(root, above)? else {
        return Ok(());
    };
    match nix::unistd::unlinkat(&dir, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
        // A directory keeps nothing.
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => Ok(()),
        Err(e) => Err(target_root::io_fault(
            format!("{GC_ROOT} on the target"),
            &e.into(),
        )),
    }
}

/// Locks of store paths, which Nix opens as files.
fn clear_locks(context: &CommandContext, root: &Root) -> Result<(), Fault> {
    const STORE: &str = "/nix/store";
    let Some(store) = directory(root, STORE)? else {
        return Ok(());
    };
    let fault = |e: &io::Error| target_root::io_fault(format!("{STORE} on the target"), e);
    let entries = fs_err::read_dir(format!("/proc/self/fd/{}", store.as_raw_fd())).map_err(|e| fault(&e))?;
    for entry in entries {
        let entry = entry.map_err(|e| fault(&e))?;
        let name = entry.file_name();
        if name.as_bytes().ends_with(b".lock") && !entry.file_type().map_err(|e| fault(&e))?.is_file() {
            clear_one(context, &store, STORE, &name, libc::S_IFREG, "a file")?;
        }
    }
    Ok(())
}

/// Opens a directory; `None`: it is not there.
fn directory(root: &Root, path: &str) -> Result<Option<OwnedFd>, Fault> {
    match target_root::open(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if target_root::is_absent(&e) => Ok(None),
        Err(e) => Err(target_root::io_fault(format!("{path} on the target"), &e)),
    }
}

fn clear_one(
    context: &CommandContext,
    dir: &OwnedFd,
    above: &str,
    name: &OsStr,
    kind: libc::mode_t,
    expected: &str,
) -> Result<(), Fault> {
    let path = format!("{above}/{}", name.display());
    let fault = |e: &io::Error| target_root::io_fault(format!("{path} on the target"), e);
    match target_root::stat_in(dir, name) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == kind => return Ok(()),
        Ok(_) => {}
        Err(e) if target_root::is_absent(&e) => return Ok(()),
        Err(e) => return Err(fault(&e)),
    }
    let aside = move_aside(dir, above, name)?;
    context.reporter.notice(format!(
        "{path} on the target was not {expected}; it was renamed to {above}/{}",
        aside.display()
    ));
    Ok(())
}

/// Gives a name of a directory of the target another one, under which nothing is yet. Durable; the new name.
pub(in crate::real) fn move_aside(dir: &OwnedFd, above: &str, name: &OsStr) -> Result<OsString, Fault> {
    let path = format!("{above}/{}", name.display());
    let fault = |e: &io::Error| target_root::io_fault(format!("{path} on the target"), e);
    for number in 1..=ASIDE_NAMES_MAX {
        let mut aside = OsString::from_vec(name.as_bytes().to_vec());
        if is_generation(name) {
            aside = OsString::from_vec([b"not-", name.as_bytes()].concat());
        }
        aside.push(ASIDE);
        if number > 1 {
            aside.push(format!("-{number}"));
        }
        match renameat2(dir, name, dir, aside.as_os_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => {
                File::from(dir.try_clone().map_err(|e| fault(&e))?)
                    .sync_all()
                    .map_err(|e| fault(&e))?;
                return Ok(aside);
            }
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(fault(&e.into())),
        }
    }
    Err(PlaceFault::FileType {
        path: format!("{path} on the target"),
        expected: "absent, or renamed".into(),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::stop::Stop;
    use camino::Utf8Path;
    use fs_err as fs;

    #[test]
    fn the_garbage_collector_root_goes_at_landing_and_nothing_beside_it() {
        let keep = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(keep.path()).unwrap());
        release(root).unwrap();
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        fs::create_dir_all(at("/nix/var/nix/gcroots/auto")).unwrap();
        for _ in 0..2 {
            fs::os::unix::fs::symlink("/nix/store/x", at(GC_ROOT)).unwrap();
            release(root).unwrap();
            assert!(!at(GC_ROOT).is_symlink());
            release(root).unwrap();
        }
        assert!(at("/nix/var/nix/gcroots/auto").is_dir());
    }

    const PROFILES: [&str; 3] = [
        "/nix/var/nix/profiles/system",
        "/nix/var/nix/profiles/system-1-link",
        "/nix/var/nix/profiles/system-22-link",
    ];

    /// Everything that is looked at, with nothing wrong about it.
    fn everything_right(root: &Root) {
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        for path in DIRECTORIES {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in FILES {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), "x").unwrap();
        }
        for path in LINKS {
            fs::os::unix::fs::symlink("/nix/store/x", at(path)).unwrap();
        }
        fs::write(at("/nix/store/p.lock"), "").unwrap();
        for path in PROFILES {
            fs::os::unix::fs::symlink("/nix/store/x", at(path)).unwrap();
        }
        fs::write(at("/nix/var/nix/profiles/system.lock"), "").unwrap();
        fs::write(at("/nix/var/nix/profiles/system-link"), "no generation").unwrap();
    }

    #[test]
    fn what_has_the_wrong_kind_goes_aside_and_the_rest_stays() {
        let keep = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(keep.path()).unwrap());
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        let context = CommandContext::new(Reporter::default(), Stop::never());
        everything_right(root);
        clear(&context, root).unwrap();
        assert!(at("/nix/var/nix/profiles/system-link").is_file());
        for path in DIRECTORIES
            .iter()
            .chain(&PROFILES)
            .chain(&["/nix/var/nix/profiles/system.lock"])
            .chain(&FILES)
            .chain(&LINKS)
            .chain(&["/nix/store/p.lock"])
        {
            assert!(fs::symlink_metadata(at(path)).is_ok(), "nothing is wrong: {path}");
        }

        for path in DIRECTORIES.iter().rev() {
            for round in 0..2 {
                let kept = at(&format!("{path}{ASIDE}{}", if round == 0 { "" } else { "-2" }));
                fs::remove_dir_all(at(path)).unwrap();
                if round == 0 {
                    fs::write(at(path), "theirs").unwrap();
                } else {
                    fs::os::unix::fs::symlink("/", at(path)).unwrap();
                }
                clear(&context, root).unwrap();
                if round == 1 && !path.starts_with("/nix") {
                    assert!(at(path).is_symlink(), "a link is followed: {path}");
                    fs::remove_file(at(path)).unwrap();
                    fs::create_dir_all(at(path)).unwrap();
                    continue;
                }
                assert!(fs::symlink_metadata(at(path)).is_err(), "{path}");
                assert!(fs::symlink_metadata(&kept).is_ok(), "{path}");
                fs::create_dir_all(at(path)).unwrap();
            }
        }
        for path in FILES
            .iter()
            .chain(&LINKS)
            .chain(&["/nix/store/q.lock", "/nix/var/landfall/.system.landfall"])
            .chain(&[
                "/nix/var/nix/profiles/system",
                "/nix/var/nix/profiles/system.lock",
            ])
        {
            if fs::symlink_metadata(at(path)).is_ok() {
                fs::remove_file(at(path)).unwrap();
            }
            fs::create_dir_all(at(path).join("below")).unwrap();
            clear(&context, root).unwrap();
            assert!(fs::symlink_metadata(at(path)).is_err(), "{path}");
            assert!(at(&format!("{path}{ASIDE}/below")).is_dir(), "{path}");
        }
        for name in ["system-1-link", "system-22-link", "system-3-link.tmp-7"] {
            let path = format!("/nix/var/nix/profiles/{name}");
            if at(&path).is_symlink() {
                fs::remove_file(at(&path)).unwrap();
            }
            fs::write(at(&path), "theirs").unwrap();
            clear_profile(&context, root).unwrap();
            assert!(fs::symlink_metadata(at(&path)).is_err(), "{path}");
            let aside = format!("/nix/var/nix/profiles/not-{name}{ASIDE}");
            assert_eq!(fs::read_to_string(at(&aside)).unwrap(), "theirs");
        }
        assert!(at("/nix/store").is_dir());
    }
    #[test]
    fn a_link_where_programs_work_from_outside_is_refused_by_name() {
        let keep = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(keep.path()).unwrap());
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        // Nothing is there, or directories are: the control.
        refuse_links(root).unwrap();
        for path in WORKED_ON_FROM_OUTSIDE {
            fs::create_dir_all(at(path)).unwrap();
        }
        refuse_links(root).unwrap();
        for path in WORKED_ON_FROM_OUTSIDE.iter().rev() {
            fs::remove_dir_all(at(path)).unwrap();
            fs::os::unix::fs::symlink(outside.path(), at(path)).unwrap();
            let said = refuse_links(root).unwrap_err().to_string();
            assert!(
                said.contains(&format!("{path} on the target: it is a link to /")),
                "{said}"
            );
            fs::remove_file(at(path)).unwrap();
        }
    }
}
