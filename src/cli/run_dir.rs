//! The message for a run directory, or a file in it, that cannot be used.
//!
//! The next step follows from what is really there. It never tells the user to move something that they named.
//!
//! `crate::lock` and `progress` make and open the files.

use super::Failure;
use crate::exit::Exit;
use crate::os_error::{errno, said};
use crate::real::RUN_DIR;
use camino::Utf8Path;
use nix::errno::Errno;
use std::io;

/// Refuses what is no directory where the run directory has to be; one that is not there is that of no run.
pub(super) fn is_directory(path: &Utf8Path, command: &str) -> Result<(), Failure> {
    match fs_err::metadata(path) {
        Ok(found) if !found.is_dir() => Err(Failure::new(
            Exit::Usage,
            format!(
                "--run-dir {}: it is not a directory\n    next: landfall --run-dir DIR {command}, or leave --run-dir out",
                landfall_states::untrusted_text::Shown::line(path.as_str())
            ),
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The failure that `error` is for `path`, which is the run directory or a file in it.
pub(super) fn failure(path: &Utf8Path, error: &io::Error, command: &str, is_root: bool) -> Failure {
    let next = next(path, error, is_root, Utf8Path::new(RUN_DIR));
    let said = said(error);
    let why = said.strip_prefix(&format!("{path}: ")).unwrap_or(&said);
    Failure::new(
        Exit::Internal,
        format!("{path}: it cannot be used: {why}\n    next: {next}, then: {command}"),
    )
}

/// The part of the way to `path` that is in the way, if one is: a link to nowhere, a file where a directory has to be, or something
/// else where a file has to be.
fn in_the_way<'a>(path: &'a Utf8Path, error: &io::Error) -> Option<&'a Utf8Path> {
    let wrong = |at: &&Utf8Path| {
        let Ok(found) = fs_err::symlink_metadata(at) else {
            return false;
        };
        let is_last = *at == path;
        match fs_err::metadata(at) {
            // What it leads to is not there.
            Err(_) => found.is_symlink(),
            Ok(behind) if is_last => match errno(error).map(Errno::from_raw) {
                Some(Errno::EISDIR) => behind.is_dir(),
                Some(Errno::EEXIST | Errno::ENOTDIR) => !behind.is_dir(),
                // Refused before it was opened (`safe_open`).
                None if error.kind() == io::ErrorKind::InvalidInput => !found.is_file(),
                Some(_) | None => false,
            },
            Ok(behind) => !behind.is_dir(),
        }
    };
    path.ancestors().find(wrong)
}

/// `own`: the place that is landfall's. What is in the way of another one was named, and may have been by mistake: it stays.
fn next(path: &Utf8Path, error: &io::Error, is_root: bool, own: &Utf8Path) -> String {
    if let Some(at) = in_the_way(path, error) {
        return match at.starts_with(own) {
            true => format!("mv {at} {at}.old"),
            false => format!(
                "name another directory with --run-dir ({at} blocks this one), or leave --run-dir out"
            ),
        };
    }
    let dir = path.parent().unwrap_or(path);
    let there = dir.ancestors().find(|at| at.exists()).unwrap_or(dir);
    match errno(error).map(Errno::from_raw) {
        Some(Errno::EROFS) => {
            format!("mount -o remount,rw {there} (it is read-only), or name another directory with --run-dir")
        }
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            format!("delete files below {there} (df {there} and df -i {there} show what is full)")
        }
        Some(Errno::EACCES | Errno::EPERM) if !is_root => "run it as root, or with sudo".into(),
        Some(_) | None => format!("repair {there}, or name another directory with --run-dir"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Lock, LockError};
    use camino::Utf8PathBuf;

    fn said_of(path: &Utf8Path, number: Errno, is_root: bool) -> String {
        failure(path, &io::Error::from(number), "landfall install", is_root).text
    }

    #[test]
    fn the_next_step_follows_from_what_is_in_the_way() {
        let keep = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let run = top.join("run/landfall");
        fs_err::create_dir(top.join("run")).unwrap();
        for root in [true, false] {
            let text = said_of(&run, Errno::EROFS, root);
            assert!(text.contains(&format!("mount -o remount,rw {top}/run")), "{text}");
            let text = said_of(&run.join("lock"), Errno::ENOSPC, root);
            assert!(text.contains(&format!("df -i {top}/run")), "{text}");
        }
        assert!(said_of(&run, Errno::EACCES, false).contains("run it as root"));
        assert!(!said_of(&run, Errno::EACCES, true).contains("run it as root"));
        // A link to nowhere, and a file.
        fs_err::os::unix::fs::symlink("nowhere", &run).unwrap();
        let real = |dir: &Utf8Path| match Lock::take(dir, "install", 0).unwrap_err() {
            LockError::Io(error) => error,
            LockError::Held(..) => panic!("nobody holds it"),
        };
        let told = |path: &Utf8Path, error: &io::Error| next(path, error, true, &run);
        assert_eq!(told(&run, &real(&run)), format!("mv {run} {run}.old"));
        // Another place than landfall's own may have been named by mistake.
        let text = failure(&run, &real(&run), "landfall install --run-dir X", true).text;
        assert!(
            text.contains("name another directory with --run-dir")
                && text.ends_with("then: landfall install --run-dir X")
                && !text.contains("mv "),
            "{text}"
        );
        fs_err::remove_file(&run).unwrap();
        fs_err::write(&run, "").unwrap();
        assert_eq!(
            told(&run.join("lock"), &real(&run)),
            format!("mv {run} {run}.old")
        );
        // A directory in the place of a file.
        fs_err::remove_file(&run).unwrap();
        fs_err::create_dir_all(run.join("lock")).unwrap();
        assert_eq!(
            told(&run.join("lock"), &real(&run)),
            format!("mv {run}/lock {run}/lock.old")
        );
        let text = failure(&run.join("lock"), &real(&run), "landfall install", true).text;
        assert_eq!(text.matches("run/landfall/lock:").count(), 1, "{text}");
        fs_err::remove_dir(run.join("lock")).unwrap();
        nix::unistd::mkfifo(run.join("lock").as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let text = failure(&run.join("lock"), &real(&run), "landfall install", true).text;
        assert!(text.contains("FIFO") && !text.contains("lock.old"), "{text}");
        assert!(told(&run.join("lock"), &real(&run)).contains("lock.old"));
        // The control: with all of it right nothing is in the way.
        fs_err::remove_file(run.join("lock")).unwrap();
        drop(Lock::take(&run, "install", 0).unwrap());
        assert_eq!(in_the_way(&run.join("lock"), &io::Error::from(Errno::EIO)), None);
    }
}
