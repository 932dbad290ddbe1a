//! Whether a program failed for want of room on the target. Law: the filesystem is asked, not the program: Git says of a full one that
//! a directory is missing, and SQLite that the device has errors.
//!
//! Absent: how much an install needs (`preflight`).

use crate::real::rooted;
use camino::Utf8Path;
use landfall_states::fault::{Cause, Ended, Fault, FaultClass, Kind};
use nix::sys::statvfs::statvfs;

/// With less than this free, in bytes, a filesystem is full: no tool of an install does with less.
pub const LEAST: u64 = 1 << 20;

/// Bytes free on the filesystem at a directory. What ext4 keeps back counts as taken: of the clusters that it reserves for delayed
/// writes, not even root gets any, and `blocks_free` counts them.
pub fn free(at: &Utf8Path) -> Result<u64, Fault> {
    let stat = statvfs(at.as_std_path())
        .map_err(|e| rooted::io_fault(format!("room on the filesystem at {at}"), &e.into()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// What is full of the target: its root filesystem, or the ESP at `boot` in it. What is not mounted is not the target's.
fn full(root: &Utf8Path) -> Result<Option<String>, Fault> {
    let outside = rooted::device_number(root.parent().unwrap_or(root))?;
    for (at, name) in [(root.to_owned(), "root filesystem"), (root.join("boot"), "ESP")] {
        if !at.is_dir() || rooted::device_number(&at)? == outside {
            continue;
        }
        let bytes = free(&at)?;
        if bytes < LEAST {
            return Ok(Some(format!(
                " (the {name} at {at} is full: {bytes} bytes are free)"
            )));
        }
    }
    Ok(None)
}

/// The same, where a fault is at hand already: that nobody could ask adds nothing to it.
fn full_or_unknown(root: &Utf8Path) -> Option<String> {
    full(root).unwrap_or_else(|fault| {
        tracing::debug!(%fault, "whether the target is full is not known");
        None
    })
}

/// How a step ended. What a program said is passed over where the target is full; what is not known of it stays as it is.
pub fn explained<T>(root: &Utf8Path, ended: Result<T, Fault>) -> Result<T, Fault> {
    ended.map_err(|fault| {
        let in_doubt = matches!(fault.class, FaultClass::Transient | FaultClass::Permanent);
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
        let explain = |fault: Fault| explained::<()>(&root, Err(fault)).unwrap_err();
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
                nix::mount::umount(self.0.as_std_path()).unwrap();
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
            assert!(fault.next().contains("make room"), "{}", fault.next());
        }
        for class in [FaultClass::Hardware, FaultClass::Interrupted, FaultClass::Unsafe] {
            assert_eq!(explain(failed(class)), failed(class));
        }
        assert!(explained(&root, Ok(1)).is_ok());
    }
}
