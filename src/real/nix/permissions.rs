//! Owners and permissions in the target store, which no digest covers.
//!
//! They must be as Nix leaves them (`canonicalisePathMetaData`): the owner is the installing user, the mode is `r-xr-xr-x`
//! for an executable file or a directory and `r--r--r--` for other files, and everybody may enter the store. Repairing them
//! does not need the contents.
//!
//! `nix::contents` checks whether a file should be executable, which its digest covers.

use crate::real::fs::target_root::{self, Root};
use crate::real::process::context::CommandContext;
use landfall_states::fault::Fault;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstatat};
use nix::unistd::{Uid, fchownat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

const STORE: &str = "/nix/store";
/// Directories that everybody has to enter and to read.
const OPEN: [&str; 2] = ["/nix", STORE];
/// Most paths with wrong permissions that are reported.
const TOLD_MAX: usize = 100;
/// Deepest directory of a store path whose permissions are checked; one descriptor is open for each.
const DEPTH_MAX: usize = 256;

/// Paths of the target whose owner or permissions are wrong, some of them where there are many.
///
/// # Errors
/// The target cannot be read.
pub fn wrong(root: &Root) -> Result<Vec<String>, Fault> {
    let mut found = vec![];
    each(root, &mut |path, _, _, _| {
        if found.len() < TOLD_MAX {
            found.push(path.to_owned());
        }
        Ok(())
    })?;
    Ok(found)
}

/// Makes them right.
///
/// # Errors
/// The target cannot be written.
pub fn repair(context: &CommandContext, root: &Root) -> Result<(), Fault> {
    let mut count = 0_u64;
    let mut first = None;
    each(root, &mut |path, dir, name, right| {
        fchownat(
            dir,
            name,
            Some(Uid::effective()),
            None,
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        if let Some(mode) = right {
            fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        count += 1;
        first.get_or_insert_with(|| path.to_owned());
        Ok(())
    })?;
    if let Some(first) = first {
        context.reporter.notice(format!(
            "owner or permissions of {count} file(s) in the target store were wrong, and are now corrected: {first}{}",
            if count > 1 { " and others" } else { "" }
        ));
        target_root::sync_filesystem(root)?;
    }
    Ok(())
}

/// What is done with each: its path, the directory it lies in, its name there, and the mode that is right, of what has one.
type Do<'a> = &'a mut dyn FnMut(&str, &OwnedFd, &OsStr, Option<Mode>) -> io::Result<()>;

fn each(root: &Root, act: Do<'_>) -> Result<(), Fault> {
    let fault = |path: &str, e: &io::Error| target_root::io_fault(format!("{path} on the target"), e);
    for path in OPEN {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = match target_root::open(root, above, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(dir) => dir,
            Err(e) if target_root::is_absent(&e) => return Ok(()),
            Err(e) => return Err(fault(path, &e)),
        };
        let stat = match target_root::stat_in(&dir, name) {
            Ok(stat) => stat,
            Err(e) if target_root::is_absent(&e) => return Ok(()),
            Err(e) => return Err(fault(path, &e)),
        };
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if is_dir && (stat.st_mode & 0o555 != 0o555 || stat.st_uid != Uid::effective().as_raw()) {
            let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777 | 0o755);
            act(path, &dir, OsStr::new(name), Some(mode)).map_err(|e| fault(path, &e))?;
        }
    }
    let store = match target_root::open(root, STORE, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(store) => store,
        Err(e) if target_root::is_absent(&e) => return Ok(()),
        Err(e) => return Err(fault(STORE, &e)),
    };
    for entry in entries(&store).map_err(|e| fault(STORE, &e))? {
        let path = format!("{STORE}/{}", entry.display());
        // Locks, scratch, and what was moved aside are none of a closure.
        if path.parse::<landfall_states::names::StorePath>().is_ok() && !entry.as_bytes().ends_with(b".lock")
        {
            below(&path, &store, &entry, DEPTH_MAX, act).map_err(|e| fault(&path, &e))?;
        }
    }
    Ok(())
}

/// The names in an open directory.
pub(crate) fn entries(dir: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    fs_err::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// The mode that is right, of what has one: links have none, and nothing else belongs in a store.
fn right(stat: &FileStat) -> Option<u32> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => Some(0o555),
        libc::S_IFREG if stat.st_mode & 0o100 != 0 => Some(0o555),
        libc::S_IFREG => Some(0o444),
        _ => None,
    }
}

fn below(path: &str, dir: &OwnedFd, name: &OsStr, depth: usize, act: Do<'_>) -> io::Result<()> {
    let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let wanted = right(&stat);
    let mode = wanted.map(Mode::from_bits_truncate);
    if stat.st_uid != Uid::effective().as_raw() || wanted.is_some_and(|mode| stat.st_mode & 0o7777 != mode) {
        act(path, dir, name, mode)?;
    }
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Ok(());
    }
    if depth == 0 {
        return Err(io::Error::other("too many nested directories"));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inner = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
    for name in entries(&inner)? {
        below(
            &format!("{path}/{}", name.display()),
            &inner,
            &name,
            depth - 1,
            act,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::stop::Stop;
    use camino::Utf8Path;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_nobody_could_read_or_enter_is_found_and_repaired_and_nothing_else_is_touched() {
        let keep = tempfile::tempdir().unwrap();
        let root = &Root::at(Utf8Path::from_path(keep.path()).unwrap());
        let context = CommandContext::new(Reporter::default(), Stop::never());
        assert_eq!(wrong(root).unwrap(), [] as [String; 0], "no store");
        let path = "nix/store/0123456789abcdfghijklmnpqrsvwxyz-x";
        let mode = |at: &str, mode: u32| {
            fs_err::set_permissions(root.join(at), PermissionsExt::from_mode(mode)).unwrap();
        };
        let of = |at: &str| fs_err::metadata(root.join(at)).unwrap().permissions().mode() & 0o7777;
        fs_err::create_dir_all(root.join(path).join("bin")).unwrap();
        fs_err::create_dir_all(root.join("nix/store/.links")).unwrap();
        for file in ["bin/run", "text"] {
            fs_err::write(root.join(path).join(file), "x").unwrap();
        }
        fs_err::os::unix::fs::symlink("/nowhere", root.join(path).join("link")).unwrap();
        let good = [
            ("nix", 0o755),
            ("nix/store", 0o1775),
            (path, 0o555),
            (&format!("{path}/bin"), 0o555),
            (&format!("{path}/bin/run"), 0o555),
            (&format!("{path}/text"), 0o444),
        ];
        for (at, right) in good.iter().rev() {
            mode(at, *right);
        }
        assert_eq!(wrong(root).unwrap(), [] as [String; 0]);
        for (at, bad) in [
            ("nix", 0o700),
            ("nix/store", 0o1700),
            (path, 0o755),
            (&format!("{path}/bin"), 0o700),
            (&format!("{path}/bin/run"), 0o4755),
            (&format!("{path}/text"), 0o000),
            (&format!("{path}/text"), 0o666),
        ] {
            mode(at, bad);
            assert_eq!(wrong(root).unwrap(), [format!("/{at}")], "{bad:o}");
            repair(&context, root).unwrap();
            assert_eq!(wrong(root).unwrap(), [] as [String; 0]);
        }
        for (at, right) in good {
            assert!(of(at) == right || at == "nix/store", "{at}: {:o}", of(at));
        }
        // So that it can be removed again, also by somebody who is not root.
        mode(path, 0o755);
        mode(&format!("{path}/bin"), 0o755);
    }
}
