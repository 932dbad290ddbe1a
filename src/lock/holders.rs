//! Finds who holds a lock or a socket, for messages.
//!
//! The answer comes from the kernel (`/proc`), never from a file. Nothing but the text of a refusal depends on it. Source: proc(5),
//! `fd`, `fdinfo` (`lock:`), and `/proc/net/unix`.

use camino::Utf8PathBuf;
use fs_err as fs;
use landfall_states::untrusted_text::Shown;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most processes that are named as users of the lock.
const NAMED_MAX: usize = 8;
/// Characters of a command line that are shown.
const SHOWN_MAX: usize = 100;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its command line, cut.
    pub command: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// What of `/proc` cannot be read is of somebody else, or gone, and names nobody.
fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let found = match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(Result::ok).map(|e| e.path()).collect(),
        Err(_) => vec![],
    };
    found.into_iter()
}

/// The processes that have a descriptor of this kind.
fn with_descriptor(wanted: impl Fn(&Path, &Path) -> bool) -> Vec<Process> {
    let mut found = vec![];
    for folder in entries(Path::new("/proc")) {
        let Some(pid) = folder
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let holds = entries(&folder.join("fd")).any(|fd| {
            fd.file_name()
                .is_some_and(|number| wanted(&fd, &folder.join("fdinfo").join(number)))
        });
        if holds && found.len() < NAMED_MAX {
            found.push(Process {
                pid,
                command: command(&folder),
            });
        }
    }
    found
}

fn command(folder: &Path) -> String {
    let text = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
    let line = String::from_utf8_lossy(&text("cmdline")).replace('\0', " ");
    let line = match line.trim() {
        "" => String::from_utf8_lossy(&text("comm")).trim().to_owned(),
        line => line.to_owned(),
    };
    let begin: String = line.chars().take(SHOWN_MAX).collect();
    Shown::name(&begin).into()
}

/// The run directory of a run: where the file `lock` is that it has open. `None`: it has none, or is somebody else's.
pub fn run_dir_of(pid: u32) -> Option<Utf8PathBuf> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    entries(&folder)
        .filter_map(|fd| fs::read_link(fd).ok())
        .filter(|to| to.file_name().is_some_and(|name| name == "lock"))
        .find_map(|to| Utf8PathBuf::from_path_buf(to.parent()?.to_owned()).ok())
}

/// The processes that hold the lock on this byte of a file, which is known by the numbers of its filesystem and of itself.
pub fn of_lock(file: (u64, u64), byte: i64) -> Vec<Process> {
    let byte = byte.to_string();
    with_descriptor(|fd, info| {
        let is_file = fs::metadata(fd).is_ok_and(|found| (found.dev(), found.ino()) == file);
        is_file
            && fs::read_to_string(info).is_ok_and(|text| {
                text.lines().any(|line| {
                    line.starts_with("lock:")
                        && line.contains("OFDLCK")
                        && line.split_whitespace().any(|word| word == byte)
                })
            })
    })
}

/// The processes that have the abstract socket of this name.
pub fn of_socket(name: &str) -> Vec<Process> {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // Num RefCount Protocol Flags Type St Inode Path
    let Some(inode) = text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(6);
        let inode = words.next()?;
        (words.next()?.strip_prefix('@')? == name).then_some(inode)
    }) else {
        return vec![];
    };
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    with_descriptor(|fd, _| fs::read_link(fd).is_ok_and(|to| to == wanted))
}
