//! NixOS's own programs, from a folder that the owner of a Nix machine fills, in the place of the laboratory's.
//!
//! The folder is checked as a whole before anything is started, and all its problems are reported at once. What is in it is
//! copied, never changed. `docs/develop/laboratory.md` has the command that fills it.
//!
//! ```text
//! bin/nixos-install bin/nixos-enter   wanted; others beside them are found by landfall too
//! store/<hash>-<name> registration    store paths that anything here needs, and what `nix-store --dump-db` prints of them
//! target/NAME                         in the place of a program of every system: see TARGETS
//! systems/HOST                        one line: the toplevel in store/ that is installed as this host
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::closure::{self, Closure};
use crate::command::Program;
use crate::environment::Environment;

/// Programs without which nothing can be installed.
const WANTED: [&str; 2] = ["nixos-install", "nixos-enter"];
/// What of a system can be put in place of the laboratory's.
pub const TARGETS: [&str; 3] = ["activate", "install-boot-loader", "switch-to-configuration"];
const STORE: &str = "/nix/store/";
/// Longest first line of a script, as the kernel has it.
const FIRST_LINE_MAX: usize = 256;

/// A folder that was checked.
#[derive(Debug, Clone)]
pub struct NixosTools {
    /// Programs for the installer, by name.
    pub programs: BTreeMap<String, PathBuf>,
    /// The store paths, as a closure whose tree is the folder itself; none without a `store/`.
    pub store: Option<Closure>,
    /// Programs for the systems, by their names in [`TARGETS`].
    pub targets: BTreeMap<String, Vec<u8>>,
    /// Toplevels by host.
    pub systems: BTreeMap<String, String>,
}

impl NixosTools {
    /// Reads and checks a folder.
    ///
    /// # Errors
    /// It is not as the head of this module says; the message has every reason.
    pub fn open(folder: &Path, environment: &Environment) -> Result<NixosTools> {
        let folder = fs::canonicalize(folder).context("--nixos-tools")?;
        if !folder.is_dir() {
            bail!("--nixos-tools {}: not a folder", folder.display());
        }
        let mut wrong = Vec::new();
        let store = store(&folder, &mut wrong)?;
        let has = |path: &str| in_store(store.as_ref(), path);
        let mut programs = BTreeMap::new();
        for name in names(&folder.join("bin"), &mut wrong)? {
            programs.insert(name.clone(), folder.join("bin").join(name));
        }
        for name in WANTED {
            if !programs.contains_key(name) {
                wrong.push(format!("bin/{name} is missing"));
            }
        }
        for (name, file) in &programs {
            if let Some(why) = unfit(file, true, |path| {
                Ok(has(path) || (!path.starts_with(STORE) && environment.has(path)?))
            })? {
                wrong.push(format!("bin/{name} {why}"));
            }
        }
        let mut targets = BTreeMap::new();
        for name in names(&folder.join("target"), &mut wrong)? {
            let file = folder.join("target").join(&name);
            if !TARGETS.contains(&name.as_str()) {
                wrong.push(format!("target/{name} is not one of: {}", TARGETS.join(" ")));
            } else if let Some(why) = unfit(&file, false, |path| Ok(has(path) || path.starts_with('@')))? {
                // The target has no /bin when it is activated for the first time.
                wrong.push(format!("target/{name} {why}"));
            } else {
                targets.insert(name, fs::read(&file)?);
            }
        }
        let mut systems = BTreeMap::new();
        for host in names(&folder.join("systems"), &mut wrong)? {
            let file = folder.join("systems").join(&host);
            let text = match text(&file) {
                Ok(text) => text.trim().to_owned(),
                Err(error) => {
                    wrong.push(format!("systems/{host} cannot be read: {error}"));
                    continue;
                }
            };
            let known = store.as_ref().is_some_and(|store| store.paths.contains(&text));
            if known {
                systems.insert(host, text);
            } else {
                wrong.push(format!(
                    "systems/{host} names {text}, which store/ and registration do not have"
                ));
            }
        }
        if !wrong.is_empty() {
            bail!(
                "--nixos-tools {}:\n  {}\nWhat belongs there: docs/develop/laboratory.md, \"NixOS's own programs\"",
                folder.display(),
                wrong.join("\n  ")
            );
        }
        Ok(NixosTools {
            programs,
            store,
            targets,
            systems,
        })
    }

    /// The store paths that the programs for the systems name: they become references of each system.
    pub fn target_paths(&self) -> Vec<String> {
        let Some(store) = &self.store else {
            return Vec::new();
        };
        let names = |path: &&String| {
            let needle = path.as_bytes();
            self.targets
                .values()
                .any(|text| text.windows(needle.len()).any(|bytes| bytes == needle))
        };
        store.paths.iter().filter(names).cloned().collect()
    }
}

/// Whether a path, or what it is below, is a registered store path whose file is there.
fn in_store(store: Option<&Closure>, path: &str) -> bool {
    let Some((store, inside)) = store.zip(path.strip_prefix(STORE)) else {
        return false;
    };
    let base = inside.split('/').next().unwrap_or_default();
    store.paths.contains(&format!("{STORE}{base}"))
        && fs::symlink_metadata(store.nix_tree.join("store").join(inside)).is_ok()
}

/// The text of a file. Anything else is told: a FIFO would be waited for.
fn text(file: &Path) -> std::io::Result<String> {
    if !fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    fs::read_to_string(file)
}

/// The names in a folder, sorted; none when it is not there.
fn names(folder: &Path, wrong: &mut Vec<String>) -> Result<Vec<String>> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(Vec::new());
    }
    if !folder.is_dir() {
        wrong.push(format!("{} is not a folder", folder.display()));
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        match entry?.file_name().into_string() {
            Ok(name) => names.push(name),
            Err(name) => wrong.push(format!("{} is not UTF-8", name.to_string_lossy())),
        }
    }
    names.sort();
    Ok(names)
}

/// `store/` and `registration`, which must tell of the same paths.
fn store(folder: &Path, wrong: &mut Vec<String>) -> Result<Option<Closure>> {
    let (tree, list) = (folder.join("store"), folder.join("registration"));
    let there: BTreeSet<String> = names(&tree, wrong)?
        .into_iter()
        .map(|name| format!("{STORE}{name}"))
        .collect();
    if !list.exists() {
        if !there.is_empty() {
            wrong.push("registration is missing: `nix-store --dump-db` of every path of store/".to_owned());
        }
        return Ok(None);
    }
    let registration = match text(&list) {
        Ok(registration) => registration,
        Err(error) => {
            wrong.push(format!("registration cannot be read: {error}"));
            return Ok(None);
        }
    };
    let records = match closure::registered(&registration) {
        Ok(records) => records,
        Err(error) => {
            wrong.push(format!("registration: {error:#}"));
            return Ok(None);
        }
    };
    let told: BTreeSet<String> = records.iter().map(|(path, _)| path.clone()).collect();
    for path in told.difference(&there) {
        wrong.push(format!("registration has {path}, store/ has not"));
    }
    for path in there.difference(&told) {
        wrong.push(format!("store/ has {path}, registration has not"));
    }
    Ok(Some(Closure {
        toplevel: String::new(),
        nix_tree: folder.to_owned(),
        registration,
        paths: told.into_iter().collect(),
        bytes: records.iter().map(|(_, size)| size).sum(),
    }))
}

/// Why a file is no program that can be started where `known` says which interpreters are there.
fn unfit(file: &Path, executable: bool, known: impl Fn(&str) -> Result<bool>) -> Result<Option<String>> {
    // A link leads into store/, which lies elsewhere here: what it leads to is looked at there.
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(error) => return Ok(Some(format!("leads nowhere: {error}"))),
    };
    if !meta.is_file() {
        return Ok(Some("is not a file".to_owned()));
    }
    if executable && meta.permissions().mode() & 0o111 == 0 {
        return Ok(Some("is not executable".to_owned()));
    }
    let bytes = fs::read(file)?;
    let Some(interpreter) = interpreter(&bytes) else {
        return Ok(Some("is neither a script with #! nor an ELF program".to_owned()));
    };
    let interpreter = match interpreter {
        Interpreter::None => return Ok(None),
        Interpreter::Path(path) => path,
    };
    Ok(if known(&interpreter)? {
        None
    } else {
        Some(format!("is run by {interpreter}, which is not there"))
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    /// A static program.
    None,
    Path(String),
}

/// What runs a program: the first word behind `#!`, or the interpreter that an ELF file for 64 bits names.
fn interpreter(bytes: &[u8]) -> Option<Interpreter> {
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(FIRST_LINE_MAX)]).into_owned();
        return line
            .split_whitespace()
            .next()
            .map(|word| Interpreter::Path(word.to_owned()));
    }
    if bytes.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<usize> {
        let slice = bytes.get(at..at.checked_add(size)?)?;
        slice.iter().rev().try_fold(0usize, |sum, byte| {
            sum.checked_mul(256)?.checked_add(usize::from(*byte))
        })
    };
    let (table, entry, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(entry)?)?;
        const PT_INTERP: usize = 3;
        if number(at, 4)? == PT_INTERP {
            let (from, length) = (number(at.checked_add(8)?, 8)?, number(at.checked_add(32)?, 8)?);
            let text = bytes.get(from..from.checked_add(length)?)?;
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            return Some(Interpreter::Path(String::from_utf8_lossy(text).into_owned()));
        }
    }
    Some(Interpreter::None)
}

impl Environment {
    /// Whether the installer environment has a file of this path.
    ///
    /// # Errors
    /// The environment cannot be read.
    pub fn has(&self, path: &str) -> Result<bool> {
        let path = path.trim_start_matches('/');
        // Debian's /bin, /sbin and /lib64 are links into /usr.
        let path = match path.split_once('/') {
            Some(("bin" | "sbin" | "lib" | "lib64", _)) => format!("usr/{path}"),
            _ => path.to_owned(),
        };
        let listed = Program::new("unsquashfs")
            .args(["-l", "-quiet"])
            .arg(&self.squashfs)
            .arg(&path)
            .output()?;
        Ok(listed
            .text()
            .lines()
            .any(|line| line.trim_end() == format!("squashfs-root/{path}")))
    }
}

#[cfg(test)]
#[path = "nixos_tools_tests.rs"]
mod tests;
