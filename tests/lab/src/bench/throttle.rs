//! A slower and steadier disk: the kernel limits the rate at which this process and its children write to one device and read
//! from it (control groups, either version).
//!
//! The process always returns to its former group, and the new group is removed. Other devices keep their speed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use nix::sys::stat::{major, minor};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// See the module.
#[derive(Debug)]
pub struct Throttle {
    made: PathBuf,
    home: PathBuf,
}

/// Which kind of control groups there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A hierarchy for block devices.
    First,
    /// One for everything.
    Second,
}

impl Throttle {
    /// From now on this process writes so many bytes a second to the device at most, and reads so many. `None` where the kernel cannot do that.
    pub fn new(device: &Path, bytes_per_s: u64) -> Result<Option<Throttle>> {
        let mount = Path::new(MOUNT);
        let controllers = mount.join("cgroup.controllers");
        let controllers = if controllers.exists() {
            fs::read_to_string(controllers)?
        } else {
            String::new()
        };
        let has_first = mount.join("blkio/blkio.throttle.write_bps_device").exists();
        let Some(kind) = kind(has_first, &controllers) else {
            return Ok(None);
        };
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let root = match kind {
            Kind::First => mount.join("blkio"),
            Kind::Second => mount.to_owned(),
        };
        let home =
            root.join(group_of(&groups, kind).context("/proc/self/cgroup names no group for block devices")?);
        if kind == Kind::Second {
            fs::write(root.join("cgroup.subtree_control"), "+io")?;
        }
        let made = root.join(format!("landfall-bench-{}", std::process::id()));
        fs::create_dir(&made)?;
        // From here on all is undone, whatever comes.
        let throttle = Throttle { made, home };
        let number = fs::metadata(device)?.rdev();
        for (file, line) in lines(kind, major(number), minor(number), bytes_per_s) {
            fs::write(throttle.made.join(file), line)?;
        }
        enter(&throttle.made)?;
        Ok(Some(throttle))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let undone = enter(&self.home).and_then(|()| Ok(fs::remove_dir(&self.made)?));
        if let Err(error) = undone {
            eprintln!("{error:#}");
        }
    }
}

fn enter(group: &Path) -> Result<()> {
    Ok(fs::write(
        group.join("cgroup.procs"),
        std::process::id().to_string(),
    )?)
}

/// By whether there is a hierarchy for block devices, and by what the other version's root says it controls.
fn kind(has_first: bool, controllers: &str) -> Option<Kind> {
    match has_first {
        true => Some(Kind::First),
        false => controllers
            .split_whitespace()
            .any(|name| name == "io")
            .then_some(Kind::Second),
    }
}

/// The group in the text of `/proc/self/cgroup`, below its hierarchy's root.
fn group_of(text: &str, kind: Kind) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let wanted = match kind {
            Kind::First => controllers.split(',').any(|name| name == "blkio"),
            Kind::Second => controllers.is_empty(),
        };
        wanted.then(|| group.trim_start_matches('/'))
    })
}

/// Files of a group, and what is written to each.
fn lines(kind: Kind, major: u64, minor: u64, bytes_per_s: u64) -> Vec<(&'static str, String)> {
    match kind {
        Kind::First => [
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_bps_device",
        ]
        .map(|file| (file, format!("{major}:{minor} {bytes_per_s}")))
        .into(),
        Kind::Second => vec![(
            "io.max",
            format!("{major}:{minor} wbps={bytes_per_s} rbps={bytes_per_s}"),
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_process_is_found_in_either_version() {
        let both = "12:pids:/a\n7:cpu,cpuacct:/\n4:blkio:/user.slice\n0::/user.slice/session-1.scope\n";
        assert_eq!(group_of(both, Kind::First), Some("user.slice"));
        assert_eq!(group_of(both, Kind::Second), Some("user.slice/session-1.scope"));
        assert_eq!(group_of("4:blkio:/\n", Kind::First), Some(""));
        assert_eq!(group_of("4:blkio:/\n", Kind::Second), None);
    }

    #[test]
    fn a_rate_is_said_in_the_words_of_each_version() {
        let said = |kind| -> Vec<String> {
            let lines = lines(kind, 7, 3, 1_000).into_iter();
            lines.map(|(file, line)| format!("{file} {line}")).collect()
        };
        assert_eq!(
            said(Kind::First),
            [
                "blkio.throttle.write_bps_device 7:3 1000",
                "blkio.throttle.read_bps_device 7:3 1000"
            ]
        );
        assert_eq!(said(Kind::Second), ["io.max 7:3 wbps=1000 rbps=1000"]);
    }

    #[test]
    fn a_kernel_that_can_slow_nothing_down_is_known() {
        for (has_first, controllers, known) in [
            (false, "", None),
            (false, "cpu memory\n", None),
            (false, "cpu io memory\n", Some(Kind::Second)),
            (true, "cpu io\n", Some(Kind::First)),
        ] {
            assert_eq!(kind(has_first, controllers), known, "{has_first} {controllers:?}");
        }
    }
}
