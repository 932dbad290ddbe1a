//! What is removed from the cache, and when.
//!
//! Of each kind of artefact the current one stays. When a newer one is made, the former ones of its kind are removed, with
//! what was made from them. Nothing is removed while a process uses it. Only names that the laboratory gives are touched.
//! What a finding of `chaos` left, and the folders of machines, are evidence: only `cargo lab clean` removes them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};
use fs_err as fs;

use crate::cache::{Cache, Making, alone};
use crate::removal::remove;

/// A file in an artefact: the names of others, without which it is of no use.
pub const MADE_OF: &str = "made-of";

/// How many of a kind are current. What is tested and what is measured are two builds of landfall's, and take turns.
fn current(kind: &str) -> usize {
    match kind {
        "payload" => 2,
        "saved" => usize::MAX,
        stick if stick.starts_with("stick-") => 2,
        _ => 1,
    }
}

/// Which kind's artefact has this name; `None` when it is no artefact's.
fn kind(name: &str) -> Option<&str> {
    let (mut kind, hash) = name.rsplit_once('-')?;
    if !is_hash(hash) {
        return None;
    }
    // A saved state has its key in its name.
    if let Some((shorter, hash)) = kind.rsplit_once('-')
        && is_hash(hash)
    {
        kind = shorter;
    }
    Some(kind)
}

fn is_hash(word: &str) -> bool {
    (12..=16).contains(&word.len())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// An artefact in the cache.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Artefact {
    used_last: SystemTime,
    kind: String,
    name: String,
    made_of: Option<Vec<String>>,
}

fn artefacts(home: &Path) -> Result<Vec<Artefact>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(kind) = kind(&name) else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let made_of = entry.path().join(MADE_OF);
        let made_of = match made_of.exists() {
            true => Some(fs::read_to_string(made_of)?.lines().map(str::to_owned).collect()),
            false => None,
        };
        found.push(Artefact {
            used_last: entry.metadata()?.modified()?,
            kind: kind.to_owned(),
            name,
            made_of,
        });
    }
    Ok(found)
}

/// The names that are not current: of each of these kinds all but the newest, and what is made of something that goes or is gone.
fn not_current(
    mut all: Vec<Artefact>,
    of: impl Fn(&str) -> bool,
    current: impl Fn(&str) -> usize,
) -> Vec<String> {
    all.sort_by(|one, other| other.cmp(one));
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let mut going: Vec<String> = Vec::new();
    for artefact in &all {
        let before = kept.entry(&artefact.kind).or_default();
        if of(&artefact.kind) && *before >= current(&artefact.kind) {
            going.push(artefact.name.clone());
        }
        *before += 1;
    }
    // A saved state is made of a stick, and a stick of a payload.
    for _ in 0..3 {
        for artefact in &all {
            let lacks = match &artefact.made_of {
                Some(made_of) => made_of
                    .iter()
                    .any(|name| going.contains(name) || !all.iter().any(|other| other.name == *name)),
                // One of a former version: nothing says what it is of.
                None => artefact.kind == "saved",
            };
            if lacks && !going.contains(&artefact.name) {
                going.push(artefact.name.clone());
            }
        }
    }
    going
}

/// After an artefact was made: the former ones of its kind go.
pub fn former(home: &Path, made: &Path) -> Result<()> {
    let made = made
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Some(new) = kind(&made) else {
        return Ok(());
    };
    for name in not_current(artefacts(home)?, |kind| kind == new, current) {
        retire(home, &name)?;
    }
    Ok(())
}

/// Removes an artefact, unless it is used. True when it is gone.
fn retire(home: &Path, name: &str) -> Result<bool> {
    let place = home.join(name);
    let Some(making) = Making::unless_busy(home, name)? else {
        return Ok(false);
    };
    let Some(_alone) = alone(&place)? else {
        return Ok(false);
    };
    eprintln!("lab: removing {}, which is not current", place.display());
    making.retire(&place)?;
    Ok(true)
}

/// The folders of installs that ended by SIGKILL: no finding was written into them, and nobody is at work there.
pub fn abandoned_machines(cache: &Cache, prefix: &str, finding: &str) -> Result<()> {
    for folder in machines(cache)? {
        let named = folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        if named && !folder.join(finding).exists() {
            unless_used(&folder)?;
        }
    }
    Ok(())
}

fn machines(cache: &Cache) -> Result<Vec<PathBuf>> {
    let home = cache.root.join("machines");
    let mut folders = Vec::new();
    if home.exists() {
        for entry in fs::read_dir(home)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    folders.sort();
    Ok(folders)
}

fn unless_used(folder: &Path) -> Result<bool> {
    let Some(_alone) = alone(folder)? else {
        return Ok(false);
    };
    eprintln!("lab: removing {}", folder.display());
    remove(folder)?;
    Ok(true)
}

/// What to remove.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Everything: the next command makes it again
    #[arg(long)]
    all: bool,
}

/// Folders of the laboratory's beside artefacts and machines: copies of landfall, repositories, measurements.
const OTHERS: [&str; 6] = ["git", "git-chaos", "git-drops", "mutants", "reverted", "bench"];

/// Removes what is not current, and the machines.
pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = Cache::find()?;
    cache.remove_unfinished()?;
    let mut used = Vec::new();
    let keep = |kind: &str| match arguments.all {
        true => 0,
        false => current(kind).min(if kind == "saved" { usize::MAX } else { 1 }),
    };
    for home in [cache.root.clone(), cache.root.join("closure")] {
        if !home.exists() {
            continue;
        }
        for name in not_current(artefacts(&home)?, |_| true, keep) {
            if !retire(&home, &name)? {
                used.push(home.join(name));
            }
        }
    }
    for folder in machines(&cache)? {
        if !unless_used(&folder)? {
            used.push(folder);
        }
    }
    match alone(&cache.root)? {
        Some(_alone) => others(&cache, arguments.all)?,
        None => used.push(cache.root.clone()),
    }
    let names: Vec<String> = used.iter().map(|place| place.display().to_string()).collect();
    if !names.is_empty() {
        bail!(
            "another laboratory is at work, so that this stays: {}; run this again when it has ended",
            names.join(", ")
        );
    }
    Ok(())
}

/// What has no lock of its own, while no other laboratory is at work.
fn others(cache: &Cache, all: bool) -> Result<()> {
    for name in OTHERS {
        remove(&cache.root.join(name))?;
    }
    let closure = cache.root.join("closure");
    if closure.exists() {
        for entry in fs::read_dir(&closure)? {
            let entry = entry?;
            let name = entry.file_name();
            let artefact = kind(&name.to_string_lossy()).is_some_and(|kind| kind == "debian");
            match entry.file_type()?.is_dir() {
                true if artefact && !all => {}
                true => remove(&entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    for entry in fs::read_dir(&cache.root)? {
        let place = entry?.path();
        if place.extension() == Some(OsStr::new("lock")) {
            fs::remove_file(place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "clean_tests.rs"]
mod tests;
