//! Restores the settings of the running kernel that an activation changes.
//!
//! NixOS's activation writes paths of the target's store into them, even in `nixos-enter`. In the installer these paths lead
//! nowhere. landfall restores the old values after the program, whatever its result, and at the next start if landfall itself
//! was killed.
//!
//! Other settings are left: a reboot restores them, and nothing in the installer needs them.

use crate::event::Reporter;
use crate::real::fs::target_root::io_fault;
use crate::safe_open::{self, Links};
use camino::Utf8Path;
use landfall_states::fault::Fault;
use std::io::ErrorKind;

/// The program that loads modules, the one that is told of devices (old kernels), and where firmware is looked for.
const SETTINGS: [&str; 3] = [
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/sys/module/firmware_class/parameters/path",
];
/// Longest file of kept kernel settings.
const KEPT_BYTES_MAX: u64 = 64 << 10;
/// The file with what was there, in the run directory: one line for each setting, its path and its value.
const KEPT: &str = "kernel-settings";

fn value(path: &Utf8Path) -> std::io::Result<Option<String>> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\n', '\0']).to_owned())),
        // The kernel does not have it.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is kept of settings, as text.
pub fn text(kept: &[(&str, String)]) -> String {
    let line = |(path, value): &(&str, String)| format!("{path} {}\n", value.replace('\n', " "));
    kept.iter().map(line).collect()
}

/// The settings in such a text. Nothing but a setting of this module is ever one.
pub fn parse(text: &str) -> Vec<(&'static str, String)> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter_map(|(path, value)| {
            let setting = SETTINGS.into_iter().find(|one| *one == path)?;
            Some((setting, value.to_owned()))
        })
        .collect()
}

/// Keeps what the settings are, unless it is kept already: what a killed run left there is what was there before it.
///
/// # Errors
/// A setting cannot be read, or the file cannot be written.
pub fn keep(run_dir: &Utf8Path) -> Result<(), Fault> {
    keep_below(Utf8Path::new("/"), run_dir)
}

fn keep_below(top: &Utf8Path, run_dir: &Utf8Path) -> Result<(), Fault> {
    let file = run_dir.join(KEPT);
    if file.exists() {
        return Ok(());
    }
    let mut kept = vec![];
    for path in SETTINGS {
        let found = value(&top.join(path.trim_start_matches('/'))).map_err(|e| io_fault(path, &e))?;
        kept.extend(found.map(|found| (path, found)));
    }
    let text = text(&kept);
    fs_err::create_dir_all(run_dir)
        .and_then(|()| safe_open::replace(&file, 0o600, text.as_bytes()))
        .map_err(|e| io_fault(file.as_str(), &e))
}

/// Puts back what was kept, if anything was. A setting that cannot be put back is told, and is no reason to stop.
///
/// # Errors
/// The file cannot be read or removed.
pub fn put_back(run_dir: &Utf8Path, reporter: &Reporter) -> Result<(), Fault> {
    put_back_below(Utf8Path::new("/"), run_dir, reporter)
}

fn put_back_below(top: &Utf8Path, run_dir: &Utf8Path, reporter: &Reporter) -> Result<(), Fault> {
    let file = run_dir.join(KEPT);
    let kept = safe_open::read_if_there(&file, Links::Refuse, KEPT_BYTES_MAX)
        .map_err(|refused| refused.fault(file.as_str()))?;
    let Some(bytes) = kept else { return Ok(()) };
    let text = String::from_utf8_lossy(&bytes);
    for (path, was) in parse(&text) {
        let at = top.join(path.trim_start_matches('/'));
        // A write of no bytes is none. An attribute takes a NUL for an empty text.
        let bytes = if was.is_empty() && path.starts_with("/sys") {
            "\0".to_owned()
        } else {
            format!("{was}\n")
        };
        let written = value(&at).and_then(|is| match is {
            Some(is) if is != was => fs_err::write(&at, bytes),
            Some(_) | None => Ok(()),
        });
        if let Err(e) = written {
            reporter.notice(format!(
                "the installed system's activation changed {path}, and landfall could not restore \"{was}\" ({e}); kernel modules may not load until the next boot"
            ));
        }
    }
    match fs_err::remove_file(&file) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_fault(file.as_str(), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_comes_back_also_after_a_kill() {
        let keep_folder = tempfile::tempdir().unwrap();
        let top = Utf8Path::from_path(keep_folder.path()).unwrap();
        let run_dir = top.join("run");
        let modprobe = top.join("proc/sys/kernel/modprobe");
        let firmware = top.join("sys/module/firmware_class/parameters/path");
        for (path, text) in [(&modprobe, "/sbin/modprobe\n"), (&firmware, "\n")] {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let reporter = Reporter::default();
        let put_back = || put_back_below(top, &run_dir, &reporter).unwrap();
        let read = |path| fs_err::read_to_string(path).unwrap();
        put_back();
        keep_below(top, &run_dir).unwrap();
        fs_err::write(&modprobe, "/nix/store/x-kmod/bin/modprobe\n").unwrap();
        fs_err::write(&firmware, "/nix/store/x-firmware/lib/firmware\n").unwrap();
        // Killed here: the next run keeps what is kept, not what the activation wrote.
        keep_below(top, &run_dir).unwrap();
        put_back();
        assert_eq!(
            (read(&modprobe), read(&firmware)),
            ("/sbin/modprobe\n".into(), "\0".into())
        );
        assert!(!run_dir.join(KEPT).exists());
        // Nothing kept, nothing written; what is as it was is not written either.
        fs_err::write(&modprobe, "other\n").unwrap();
        put_back();
        assert_eq!(read(&modprobe), "other\n");
        // Nothing but the settings is ever written.
        fs_err::write(run_dir.join(KEPT), "/proc/sys/kernel/core_pattern x\n").unwrap();
        put_back();
        assert!(!top.join("proc/sys/kernel/core_pattern").exists());
    }
}
