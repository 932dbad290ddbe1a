//! What the next boot looks for.
//!
//! The generation that boots by default is read in the store, and its entry on the ESP is compared with it, file by file. What cannot
//! be seen is reported as not verified.
//!
//! The user makes a generation with `nixos-rebuild`.

use super::RelabelError;
use super::facts::{self, Facts, FstabLine, PROFILE};
use super::plan::Plan;
use crate::real::boot::bootspec;
use crate::real::boot::files::observe_boot;
use crate::real::boot::loader::Variables;
use crate::real::fs::target_root::{self, Root};
use landfall_states::actions::install_boot_loader::{BootFacts, BootFile, Nvram};
use landfall_states::names::StorePath;
use landfall_states::plan::Machine;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// Largest initrd when it is unpacked.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// Bytes of an initrd in which its packed part is searched; microcode lies before it.
const PLAIN_BYTES_MAX: u64 = 256 << 20;
/// What a frame of zstd begins with (RFC 8878, section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What the next boot does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextBoot {
    /// There is no generation that could be looked at: why.
    Unseen(String),
    /// It still looks for other names: which.
    Old(Vec<String>),
    /// It looks for names that no device has: which.
    Nowhere(Vec<Sought>),
    /// It looks for labels, and the ESP does not boot it: why not.
    Broken(Vec<String>),
    /// It looks for labels, and not all of its way can be proved: what not.
    Unproved(Vec<String>),
    /// It looks for labels, and its entry on the ESP is proved.
    Proved {
        /// The system.
        system: String,
    },
}

/// A name that leads to no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The name, as the fstab has it.
    pub spec: String,
    /// For what: a mount point, or `swap`.
    pub what: String,
}

/// What a line is for: swap has no mount point.
fn used_as(line: &FstabLine) -> String {
    match line.kind.as_str() {
        "swap" => "swap".to_owned(),
        _ => line.target.to_string(),
    }
}

/// What the next fstab looks for, and boots without it at best after a time-out: names that lead to no device now.
fn nowhere(facts: &Facts, lines: &[FstabLine]) -> Vec<Sought> {
    let is_link = |spec: &str| {
        let tags = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];
        spec.starts_with("/dev/disk/") || tags.iter().any(|tag| spec.starts_with(tag))
    };
    let may_be_absent = |line: &FstabLine| {
        let words = ["noauto", "nofail", "x-systemd.automount"];
        line.options.iter().any(|option| words.contains(&option.as_str()))
    };
    let lost = lines
        .iter()
        .filter(|line| is_link(&line.spec) && !may_be_absent(line) && facts.named(&line.spec).is_none());
    lost.map(|line| Sought {
        spec: line.spec.clone(),
        what: used_as(line),
    })
    .collect()
}

/// Whether something is on this machine in which further devices may appear at boot: a container that is closed, a part of a volume
/// group or of an array that does not run.
fn has_closed(facts: &Facts) -> bool {
    let kinds = ["crypto_LUKS", "LVM2_member", "linux_raid_member"];
    facts
        .devices
        .iter()
        .any(|device| kinds.contains(&device.content_kind()) && !device.carries)
}

/// Looks at the generation that is booted by itself. `facts`: of the machine as it is now.
///
/// # Errors
/// A boot entry, the profile or an initrd cannot be read.
pub fn look(
    plan: &Plan,
    facts: &Facts,
    root: &Root,
    variables: &Variables,
) -> Result<NextBoot, RelabelError> {
    let unseen = |why: &str| Ok(NextBoot::Unseen(why.to_owned()));
    let Some(system) = target_root::follow_to_store(root, PROFILE)? else {
        return unseen("/nix/var/nix/profiles/system does not point to a system");
    };
    let Ok(path) = system.parse::<StorePath>() else {
        return unseen("/nix/var/nix/profiles/system does not point to a store path");
    };
    let Some(fstab) = target_root::read_text(root, &format!("{system}/etc/fstab"))? else {
        return unseen("the newest generation has no fstab");
    };
    let mut old = vec![];
    let fstab = facts::fstab(&fstab);
    for line in &fstab {
        if let Some(new) = plan.new_name_in_fstab(facts, &line.spec) {
            old.push(format!(
                "{} for {}, which will be {new}",
                line.spec,
                used_as(line)
            ));
        }
    }
    if !old.is_empty() {
        return Ok(NextBoot::Old(old));
    }
    let mut unproved = vec![];
    let lost = nowhere(facts, &fstab);
    if has_closed(facts) {
        let may_appear = |one: &Sought| {
            format!(
                "it looks for {} for {}, and no visible device has that name",
                one.spec, one.what
            )
        };
        unproved.extend(lost.iter().map(may_appear));
    } else if !lost.is_empty() {
        return Ok(NextBoot::Nowhere(lost));
    }
    for (link, uuid) in plan.containers() {
        match initrd_has(root, &path, &link)? {
            Some(true) => {}
            Some(false) if initrd_has(root, &path, &uuid)? == Some(true) => {
                return Ok(NextBoot::Old(vec![format!(
                    "{uuid} for its LUKS container, which will be {link}"
                )]));
            }
            Some(false) => unproved.push(format!("its initrd does not name {link}")),
            None => unproved.push(format!(
                "its initrd could not be unpacked, so landfall cannot tell whether it names {link}"
            )),
        }
    }
    let Entry {
        wrong,
        unproved: unseen,
    } = entry(root, &path, variables)?;
    if !wrong.is_empty() {
        return Ok(NextBoot::Broken(wrong));
    }
    unproved.extend(unseen);
    Ok(match unproved.is_empty() {
        true => NextBoot::Proved { system },
        false => NextBoot::Unproved(unproved),
    })
}

/// The entry on the ESP.
struct Entry {
    /// What is not as the generation says.
    wrong: Vec<String>,
    /// Why that cannot be seen.
    unproved: Option<String>,
}

fn entry(root: &Root, system: &StorePath, variables: &Variables) -> Result<Entry, RelabelError> {
    let facts = observe_boot(root, system, Machine::native(), Nvram::NotWanted, variables)?;
    let BootFacts {
        loader: _,
        fallback: _,
        entry,
        kernel,
        initrd,
        others: _,
        leftovers: _,
        nvram: _,
        unproved,
        steered,
    } = facts;
    let flaws = [entry, kernel, initrd].into_iter().filter_map(|file| match file {
        BootFile::Right(_) => None,
        BootFile::Missing(path) => Some(format!("{path} is missing on the ESP")),
        BootFile::Different { path, how } => Some(format!("{path} on the ESP {how}")),
        BootFile::Elsewhere(how) => Some(how),
    });
    // Where another boot loader is at work, its own word is all there is.
    let mut wrong: Vec<String> = match &unproved {
        Some(_) => vec![],
        None => flaws.collect(),
    };
    wrong.extend(steered);
    Ok(Entry { wrong, unproved })
}

/// Whether the initrd of a system has this name in it; `None`: it is packed, and in another way than zstd.
fn initrd_has(root: &Root, system: &StorePath, name: &str) -> Result<Option<bool>, RelabelError> {
    let Ok(spec) = bootspec::read(root, system)? else {
        return Ok(None);
    };
    match spec.boot.initrd {
        Some(path) => initrd_names(root, &path, name),
        None => Ok(Some(false)),
    }
}

/// The same of an initrd in the store.
pub(super) fn initrd_names(root: &Root, initrd: &str, name: &str) -> Result<Option<bool>, RelabelError> {
    let Some(mut file) = target_root::open_file(root, initrd)? else {
        return Ok(None);
    };
    let found = (|| -> std::io::Result<Option<bool>> {
        // One that is not packed (`boot.initrd.compressor = "cat"`), or a part of it.
        if position(&mut (&file).take(UNPACKED_BYTES_MAX), name.as_bytes(), ends_name)?.is_some() {
            return Ok(Some(true));
        }
        file.seek(SeekFrom::Start(0))?;
        let Some(at) = position(&mut (&file).take(PLAIN_BYTES_MAX), &ZSTD, |_| true)? else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(at))?;
        let unpacked = zstd::stream::read::Decoder::new(&file)?;
        let at = position(&mut unpacked.take(UNPACKED_BYTES_MAX), name.as_bytes(), ends_name)?;
        Ok(Some(at.is_some()))
    })();
    // What cannot be unpacked to its end proves nothing.
    Ok(found.unwrap_or(None))
}

/// Whether what is behind a name is none of it: `luks-web` is not named by `luks-web2`, and `my` not by `my\x20data`.
fn ends_name(next: &[u8]) -> bool {
    match next {
        [b'\\', b'x' | b'\\' | b'0'..=b'3', ..] => false,
        [byte, ..] => !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | b'-'),
        [] => true,
    }
}

/// So many bytes behind a name say whether it has ended.
const BEHIND: usize = 2;

/// Where bytes are in a stream, with bytes behind them that fit, or with none.
fn position(
    from: &mut impl Read,
    wanted: &[u8],
    fits: impl Fn(&[u8]) -> bool,
) -> std::io::Result<Option<u64>> {
    let mut from = BufReader::new(from);
    let mut window: Vec<u8> = vec![];
    let mut passed = 0_u64;
    let mut block = vec![0_u8; 1 << 20];
    loop {
        let read = from.read(&mut block)?;
        window.extend_from_slice(block.get(..read).unwrap_or_default());
        let is_end = read == 0;
        let found = window.windows(wanted.len()).enumerate().position(|(at, bytes)| {
            let behind = window.get(at + wanted.len()..).unwrap_or_default();
            // What is behind it may come with the next block.
            bytes == wanted && (is_end || behind.len() >= BEHIND) && fits(behind)
        });
        if let Some(at) = found {
            return Ok(Some(passed + at as u64));
        }
        if is_end {
            return Ok(None);
        }
        // The end may be the beginning of it, or all of it but what is behind it.
        let kept = window.len().min(wanted.len() + BEHIND - 1);
        passed += (window.len() - kept) as u64;
        window.drain(..window.len() - kept);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "next_boot_tests.rs"]
mod tests;
