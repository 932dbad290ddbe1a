//! What the next boot looks for. Law: the generation that is booted by itself is looked at in the store, and its entry on the ESP is
//! compared with it, file by file; what cannot be seen is said to be unproved.
//!
//! Absent: making a generation (`nixos-rebuild` is the user's).

use super::RelabelError;
use super::facts::{self, Facts};
use super::plan::Plan;
use crate::real::boot::observe_boot;
use crate::real::bootspec;
use crate::real::loader::Variables;
use crate::real::rooted::{self, Root};
use landfall_states::installed::{BootFacts, BootFile, Nvram};
use landfall_states::names::StorePath;
use landfall_states::plan::Machine;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The profile whose newest generation is booted.
const PROFILE: &str = "/nix/var/nix/profiles/system";
/// No initrd is longer when it is unpacked, in bytes.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// Bytes in which the beginning of the packed part of an initrd is looked for; microcode lies before it.
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

/// Looks at the generation that is booted by itself.
pub fn look(
    plan: &Plan,
    facts: &Facts,
    root: &Root,
    variables: &Variables,
) -> Result<NextBoot, RelabelError> {
    let unseen = |why: &str| Ok(NextBoot::Unseen(why.to_owned()));
    let Some(system) = rooted::follow_to_store(root, PROFILE)? else {
        return unseen("/nix/var/nix/profiles/system leads to no system");
    };
    let Ok(path) = system.parse::<StorePath>() else {
        return unseen("/nix/var/nix/profiles/system leads to no store path");
    };
    let Some(fstab) = rooted::read_text(root, &format!("{system}/etc/fstab"))? else {
        return unseen("the newest generation has no fstab");
    };
    let mut old = vec![];
    for line in facts::fstab(&fstab) {
        if let Some(new) = plan.new_name_in_fstab(facts, &line.spec) {
            old.push(format!("{} for {}, which is {new} then", line.spec, line.target));
        }
    }
    if !old.is_empty() {
        return Ok(NextBoot::Old(old));
    }
    let mut unproved = vec![];
    for (link, uuid) in plan.containers() {
        match initrd_has(root, &path, &link)? {
            Some(true) => {}
            Some(false) if initrd_has(root, &path, &uuid)? == Some(true) => {
                return Ok(NextBoot::Old(vec![format!(
                    "{uuid} for its LUKS container, which is {link} then"
                )]));
            }
            Some(false) => unproved.push(format!("its initrd does not name {link}")),
            None => unproved.push(format!(
                "its initrd could not be unpacked, to see whether it names {link}"
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

/// Whether the initrd of a system has this text in it; `None`: it is packed, and in another way than zstd.
fn initrd_has(root: &Root, system: &StorePath, text: &str) -> Result<Option<bool>, RelabelError> {
    let Ok(spec) = bootspec::read(root, system)? else {
        return Ok(None);
    };
    let Some(path) = spec.boot.initrd else {
        return Ok(Some(false));
    };
    let Some(mut file) = rooted::open_file(root, &path)? else {
        return Ok(None);
    };
    let found = (|| -> std::io::Result<Option<bool>> {
        // One that is not packed (`boot.initrd.compressor = "cat"`), or a part of it.
        if position(&mut (&file).take(UNPACKED_BYTES_MAX), text.as_bytes())?.is_some() {
            return Ok(Some(true));
        }
        file.seek(SeekFrom::Start(0))?;
        let Some(at) = position(&mut (&file).take(PLAIN_BYTES_MAX), &ZSTD)? else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(at))?;
        let unpacked = zstd::stream::read::Decoder::new(&file)?;
        Ok(position(&mut unpacked.take(UNPACKED_BYTES_MAX), text.as_bytes())?
            .map(|_| true)
            .or(Some(false)))
    })();
    // What cannot be unpacked to its end proves nothing.
    Ok(found.unwrap_or(None))
}

/// Where bytes are in a stream.
fn position(from: &mut impl Read, wanted: &[u8]) -> std::io::Result<Option<u64>> {
    let mut from = BufReader::new(from);
    let mut window: Vec<u8> = vec![];
    let mut passed = 0_u64;
    let mut block = vec![0_u8; 1 << 20];
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            return Ok(None);
        }
        window.extend_from_slice(block.get(..read).unwrap_or_default());
        if let Some(at) = window.windows(wanted.len()).position(|bytes| bytes == wanted) {
            return Ok(Some(passed + at as u64));
        }
        // The end may be the beginning of it.
        let kept = window.len().min(wanted.len().saturating_sub(1));
        passed += (window.len() - kept) as u64;
        window.drain(..window.len() - kept);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
#[path = "next_boot_tests.rs"]
mod tests;
