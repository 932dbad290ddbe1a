//! Decides whether a program failed because there is no free space on the target.
//!
//! The filesystem is asked, by writing to it, and not the program: on a full filesystem Git says that a directory is missing,
//! and SQLite that the device has errors.
//!
//! `real::preflight` computes how much space an install needs.

use crate::real::fs::target_root::{self, Dir, Root};
use crate::real::volume::esp;
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, Kind};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use std::fs::File;
use std::io::{self, Write};

/// With less than this free, in bytes, a filesystem is full: no tool of an install does with less.
pub const LEAST: u64 = 1 << 20;

/// Most names of what `fsck.vfat` left that are reported.
const RECLAIMED_TOLD_MAX: usize = 3;

/// The name of the file that is tried to be written.
pub const PROBE: &str = ".landfall-room";

fn on(at: &Root) -> String {
    format!("room on the filesystem at {}", at.as_arg())
}

fn opened(at: &Root) -> Result<Dir, Fault> {
    at.dir("/")?
        .ok_or_else(|| target_root::io_fault(on(at), &io::ErrorKind::NotFound.into()))
}

/// Bytes free on the filesystem at a directory. What ext4 keeps back counts as taken.
///
/// # Errors
/// The directory cannot be looked at.
pub fn free(at: &Root) -> Result<u64, Fault> {
    let stat = fstatvfs(opened(at)?.fd()).map_err(|e| target_root::io_fault(on(at), &e.into()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Why the filesystem at a directory takes nothing more; `None`: it does. Tried, not reckoned: of what ext4 keeps back root gets a
/// part, of the clusters that it reserves for delayed writes nobody gets any, and inodes are another thing.
///
/// # Errors
/// The directory cannot be looked at.
pub fn refusal(at: &Root) -> Result<Option<String>, Fault> {
    let fault = |e: &io::Error| target_root::io_fault(on(at), e);
    let dir = opened(at)?;
    let remove = || target_root::remove_in(dir.fd(), PROBE.as_ref()).map_err(|e| fault(&e));
    remove()?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = openat(dir.fd(), PROBE, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let written = made.map_err(io::Error::from).and_then(|file| {
        let mut file = File::from(file);
        file.write_all(&vec![1; LEAST as usize])?;
        file.sync_all()
    });
    remove()?;
    match written {
        Ok(()) => Ok(None),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            let stat = fstatvfs(dir.fd()).map_err(|e| fault(&e.into()))?;
            Ok(Some(if stat.files() > 0 && stat.files_free() == 0 {
                "no inodes are free".to_owned()
            } else {
                format!(
                    "{} bytes are free",
                    stat.blocks_available() * stat.fragment_size()
                )
            }))
        }
        Err(e) => Err(fault(&e)),
    }
}

/// What `fsck.vfat` left in a directory of parts of files, as the thing to remove.
fn reclaimed(dir: &Dir) -> Result<String, Fault> {
    let fault = |e: &io::Error| target_root::io_fault(format!("names in {}", dir.path()), e);
    let mut names: Vec<String> = target_root::names_in(dir.fd())
        .map_err(|e| fault(&e))?
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| esp::is_reclaimed(&name.to_ascii_uppercase()))
        .collect();
    names.sort();
    if names.is_empty() {
        return Ok(String::new());
    }
    let mut bytes = 0;
    for name in &names {
        let stat = target_root::stat_in(dir.fd(), name).map_err(|e| fault(&e))?;
        bytes += u64::try_from(stat.st_size).unwrap_or(0);
    }
    let more = match names.len().saturating_sub(RECLAIMED_TOLD_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(RECLAIMED_TOLD_MAX);
    Ok(format!(
        "; {}{more} in it use {bytes} bytes (parts of files that fsck.vfat recovered): delete them; the next run does so too if it mounts it",
        names.join(", ")
    ))
}

/// What is full of the target: its root filesystem, or the ESP at `boot` in it. What is not mounted is not the target's.
fn full(root: &Root) -> Result<Option<String>, Fault> {
    let outside = target_root::device_number(&root.outside())?;
    for (path, name) in [("/", "root filesystem"), ("/boot", "ESP")] {
        let Some(dir) = root.dir(path)? else {
            continue;
        };
        if target_root::device_number(&Root::at(dir.path()))? == outside {
            continue;
        }
        if let Some(why) = refusal(&Root::at(dir.path()))? {
            let parts = reclaimed(&dir)?;
            return Ok(Some(format!(
                " (the {name} at {} is full: {why}{parts})",
                dir.path()
            )));
        }
    }
    Ok(None)
}

/// The same, where a fault is at hand already: that nobody could ask adds nothing to it.
fn full_or_unknown(root: &Root) -> Option<String> {
    full(root).unwrap_or_else(|fault| {
        tracing::debug!(%fault, "it is not known whether the target is full");
        None
    })
}

/// How a step ended. What a program said is skipped where the target is full, but not where it named another cause that is known.
///
/// # Errors
/// That of the step, or that the target is full.
pub fn explained<T>(root: &Root, ended: Result<T, Fault>) -> Result<T, Fault> {
    ended.map_err(|fault| {
        let in_doubt = matches!(fault.class, FaultClass::Transient | FaultClass::Permanent)
            && !matches!(&*fault.kind, Kind::Ending { cause, .. } if cause.is_elsewhere());
        match (&*fault.kind, in_doubt.then(|| full_or_unknown(root)).flatten()) {
            (Kind::Program { on, ended, .. } | Kind::Ending { on, ended, .. }, Some(note)) => {
                let before = ended.note.clone().unwrap_or_default();
                let ended = Ended {
                    note: Some(before + &note),
                    ..ended.clone()
                };
                Fault::ending(Cause::NoRoom, on, ended, "")
            }
            _ => fault,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reporter;
    use crate::real::process::command::Program;
    use crate::real::process::stop::Stop;
    use crate::real::test_support::block_on;
    use crate::real::tool_errors;
    use camino::Utf8PathBuf;
    use landfall_states::fault::Remedy;
    use std::io::Write;

    fn failed(class: FaultClass) -> Fault {
        let said =
            "fatal: unable to create directory for '.git/logs/refs/heads/main': No such file or directory";
        let ended = Ended {
            program: "git".into(),
            code: Some(128),
            last_lines: vec![said.into()],
            note: None,
        };
        Fault::program(class, "git checkout", ended, Remedy::resume())
    }

    #[test]
    fn a_program_that_fails_on_a_full_target_wants_room_whatever_it_says() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().join("mnt")).unwrap();
        fs_err::create_dir(&root).unwrap();
        let explain = |fault: Fault| explained::<()>(&Root::at(&root), Err(fault)).unwrap_err();
        assert_eq!(
            explain(failed(FaultClass::Transient)),
            failed(FaultClass::Transient),
            "nothing is mounted"
        );
        let options = "size=8m";
        let tmpfs = nix::mount::mount(
            Some("tmpfs"),
            root.as_std_path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(options),
        );
        // Only root may mount.
        if tmpfs.is_err() {
            return;
        }
        struct Mounted(Utf8PathBuf);
        impl Drop for Mounted {
            fn drop(&mut self) {
                nix::mount::umount2(self.0.as_std_path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
            }
        }
        let _mounted = Mounted(root.clone());
        assert_eq!(
            explain(failed(FaultClass::Transient)),
            failed(FaultClass::Transient),
            "there is room"
        );
        let mut filler = fs_err::File::create(root.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        for class in [FaultClass::Transient, FaultClass::Permanent] {
            let fault = explain(failed(class));
            assert_eq!(fault.class, FaultClass::NeedsChange);
            assert!(fault.why().contains("is full: 0 bytes are free"), "{fault}");
            assert!(fault.next().contains("free space"), "{}", fault.next());
        }
        let said = "fatal: unable to access 'https://h/': Could not resolve host: h";
        let how = Ended {
            program: "git".into(),
            code: Some(128),
            last_lines: vec![said.into()],
            note: None,
        };
        let network = tool_errors::git("fetch", how, said, tool_errors::Places(&[]));
        assert_eq!(explain(network.clone()), network, "the cause is another one");
        assert_eq!(
            refusal(&Root::at(&root)).unwrap().as_deref(),
            Some("0 bytes are free")
        );
        // A program that a test beside this one starts may hold the file open for a moment.
        filler.set_len(0).unwrap();
        drop(filler);
        fs_err::remove_file(root.join("filler")).unwrap();
        assert_eq!(refusal(&Root::at(&root)).unwrap(), None);
        assert_eq!(fs_err::read_dir(&root).unwrap().count(), 0, "the probe is gone");
        for class in [FaultClass::Hardware, FaultClass::Interrupted, FaultClass::Unsafe] {
            assert_eq!(explain(failed(class)), failed(class));
        }
        assert!(explained(&Root::at(&root), Ok(1)).is_ok());
    }

    #[test]
    fn what_fsck_left_on_a_full_esp_is_named() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().join("mnt")).unwrap();
        let boot = root.join("boot");
        let mounted = |place: &Utf8PathBuf| {
            fs_err::create_dir(place).unwrap();
            let flags = nix::mount::MsFlags::empty();
            let (kind, place, options) = (Some("tmpfs"), place.as_std_path(), Some("size=8m"));
            nix::mount::mount(kind, place, kind, flags, options).is_ok()
        };
        struct Mounted(Utf8PathBuf);
        impl Drop for Mounted {
            fn drop(&mut self) {
                nix::mount::umount2(self.0.as_std_path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
            }
        }
        // Only root may mount.
        if !mounted(&root) {
            return;
        }
        let _root = Mounted(root.clone());
        assert!(mounted(&boot));
        let _boot = Mounted(boot.clone());
        for (name, bytes) in [("FSCK0000.REC", 100), ("fsck0001.rec", 20), ("FSCK.REC", 3)] {
            fs_err::write(boot.join(name), vec![1; bytes]).unwrap();
        }
        let explain = || explained::<()>(&Root::at(&root), Err(failed(FaultClass::Transient))).unwrap_err();
        assert_eq!(explain(), failed(FaultClass::Transient), "there is room");
        let mut filler = fs_err::File::create(boot.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let fault = explain();
        let told = "FSCK0000.REC, fsck0001.rec in it use 120 bytes";
        assert!(
            fault.why().contains(told) && fault.why().contains("the ESP at"),
            "{fault}"
        );
        // The control: without them nothing is said of them.
        for name in ["FSCK0000.REC", "fsck0001.rec"] {
            fs_err::remove_file(boot.join(name)).unwrap();
        }
        while filler.write_all(&[1; 4096]).is_ok() {}
        assert!(explain().why().contains("is full") && !explain().why().contains("fsck.vfat"));
        // Where there are many, a few are named.
        // Cut first: a program that another test starts has the file open for a moment, too.
        filler.set_len(0).unwrap();
        drop(filler);
        fs_err::remove_file(boot.join("filler")).unwrap();
        for number in 0..5 {
            fs_err::write(boot.join(format!("FSCK000{number}.REC")), "x").unwrap();
        }
        let dir = Root::at(&boot).dir("/").unwrap().unwrap();
        assert!(
            reclaimed(&dir)
                .unwrap()
                .contains("FSCK0002.REC and 2 more in it use 5 bytes")
        );
    }

    /// ext4 with room for root alone, with none, and without inodes.
    #[test]
    fn root_gets_what_ext4_keeps_for_it_and_inodes_are_another_thing() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().join("mnt")).unwrap();
        let image = keep.path().join("image");
        fs_err::create_dir(&root).unwrap();
        fs_err::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        // Only root may mount, and only where loop devices are.
        let ran = |program: &str, args: &[&str]| {
            let program = Program::new(program).args(args.iter().copied());
            block_on(program.run(&Reporter::default(), &Stop::never())).is_ok_and(|ended| ended.success())
        };
        let image = image.to_str().unwrap();
        if !ran("mkfs.ext4", &["-F", "-q", "-m", "10", "-N", "64", image])
            || !ran("mount", &["-o", "loop", image, root.as_str()])
        {
            return;
        }
        struct Mounted(Utf8PathBuf);
        impl Drop for Mounted {
            fn drop(&mut self) {
                nix::mount::umount2(self.0.as_std_path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
            }
        }
        let _mounted = Mounted(root.clone());
        let bytes = free(&Root::at(&root)).unwrap();
        assert!(ran(
            "fallocate",
            &["-l", &bytes.to_string(), root.join("filler").as_str()]
        ));
        assert_eq!(
            (
                free(&Root::at(&root)).unwrap() < LEAST,
                refusal(&Root::at(&root)).unwrap()
            ),
            (true, None)
        );
        let mut more = fs_err::File::create(root.join("more")).unwrap();
        while more.write_all(&[1; 4096]).is_ok() {}
        assert!(
            refusal(&Root::at(&root))
                .unwrap()
                .unwrap()
                .contains("bytes are free")
        );
        drop(more);
        for name in ["filler", "more"] {
            fs_err::remove_file(root.join(name)).unwrap();
        }
        let made = (0..64).take_while(|n| fs_err::write(root.join(format!("{n}")), "").is_ok());
        assert!(made.count() > 0);
        assert_eq!(
            refusal(&Root::at(&root)).unwrap().as_deref(),
            Some("no inodes are free")
        );
    }
}
