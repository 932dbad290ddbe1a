//! What no injected fault may change, looked at from outside.
//!
//! It is read from the disk's bytes, with the laboratory's own readers. Only two statements of landfall are used: which step
//! is finished, and which checkpoint is saved. From then on the disk is compared with them.
//!
//! Only the machine can see the filesystem in a LUKS container; what it saw is given to [`Checks::inside`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

use crate::disk;
use crate::slots;

/// The states, in order.
pub const STATES: [&str; 11] = [
    "Planned",
    "Partitioned",
    "Anchored",
    "Encrypted",
    "Formatted",
    "Cloned",
    "Realised",
    "Installed",
    "Bootable",
    "Provisioned",
    "Landed",
];

/// Where an ext4 says when it was made: `s_mkfs_time` of the superblock, which is at byte 1,024.
pub const EXT4_MADE_AT: u64 = 1_024 + 0x108;
/// Where it has its UUID.
pub const EXT4_UUID_AT: u64 = 1_024 + 0x68;

/// What landfall says when a checkpoint is durable in a slot: its number and its state.
pub const SAVED: &str = r"checkpoint (\d+) [(](\w+)[)] saved in slot \d";

/// The place of a state in [`STATES`].
pub fn position(state: &str) -> Option<usize> {
    STATES.iter().position(|name| *name == state)
}

/// What landfall told of an install so far.
#[derive(Debug)]
pub struct Told {
    saved: Regex,
    reached: Regex,
    claimed: Regex,
    /// The newest acknowledged checkpoint in a slot: sequence number and state.
    pub acknowledged: Option<(u64, usize)>,
    /// The furthest state that was reached.
    pub finished: usize,
}

impl Told {
    /// Nothing yet.
    pub fn new() -> Result<Told> {
        Ok(Told {
            saved: Regex::new(SAVED)?,
            reached: Regex::new(r"reached (\w+) after ")?,
            claimed: Regex::new(r"; the checkpoint says (\w+)")?,
            acknowledged: None,
            finished: 0,
        })
    }

    /// Takes in what a run printed. What it believed must be no less than what was acknowledged before.
    pub fn take_in(&mut self, text: &str) -> Result<()> {
        let before = self.acknowledged;
        for found in self.saved.captures_iter(text) {
            let Some(state) = position(&found[2]) else {
                bail!("no state is called {}", &found[2]);
            };
            let number: u64 = found[1].parse().context("a checkpoint's number")?;
            self.acknowledged = self.acknowledged.max(Some((number, state)));
            self.finished = self.finished.max(state);
        }
        for found in self.reached.captures_iter(text) {
            self.finished = self.finished.max(position(&found[1]).unwrap_or(0));
        }
        let Some((number, state)) = before else {
            return Ok(());
        };
        let known = STATES[state];
        match self.claimed.captures(text) {
            Some(found) => ensure!(
                position(&found[1]) >= Some(state),
                "a run believed a checkpoint of {}, though checkpoint {number} of {known} had been acknowledged",
                &found[1]
            ),
            None => ensure!(
                !text.contains("checked firmware"),
                "a run began without a checkpoint, though checkpoint {number} of {known} had been acknowledged"
            ),
        }
        Ok(())
    }

    /// Whether a state was finished.
    fn has(&self, state: &str) -> bool {
        position(state).is_some_and(|at| self.finished >= at)
    }
}

/// What was finished, and must stay as it is.
#[derive(Debug, Default)]
pub struct Checks {
    luks: bool,
    table: Option<Vec<u8>>,
    volumes: BTreeMap<u32, String>,
    header: Option<String>,
    inside: Option<String>,
    other: Option<String>,
    /// How many comparisons were made.
    pub compared: u64,
}

impl Checks {
    /// Nothing finished yet; `luks`: partition 2 is a LUKS container. `other` must never change.
    pub fn new(luks: bool, other: &Path) -> Result<Checks> {
        Ok(Checks {
            luks,
            other: Some(disk::sha256(other)?),
            ..Checks::default()
        })
    }

    /// Compares the disk with what was finished, and takes in what has been finished since.
    pub fn look(&mut self, image: &Path, other: &Path, told: &Told) -> Result<()> {
        if let Some(before) = &self.other {
            ensure!(
                *before == disk::sha256(other)?,
                "another disk changed: {}",
                other.display()
            );
            self.compared += 1;
        }
        if let Some((number, state)) = told.acknowledged {
            acknowledged_is_there(image, number, state)?;
            self.compared += 1;
        }
        if !told.has("Partitioned") {
            return Ok(());
        }
        let table = disk::gpt_bytes(image)?;
        if let Some(at) = self
            .table
            .as_ref()
            .and_then(|first| first_difference(first, &table))
        {
            bail!("the partition table changed, first at byte {at} of its 67 sectors");
        }
        self.compared += u64::from(self.table.is_some());
        self.table.get_or_insert(table);
        for line in disk::identities(image)? {
            let Some(number) = line.split(' ').next().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            let finished = match number {
                1 => "Anchored",
                2 if self.luks => "Encrypted",
                _ => "Formatted",
            };
            if !told.has(finished) {
                continue;
            }
            let line = if line.contains(": ext4 ") {
                format!("{line}, made at {}", ext4_made_at(image, number)?)
            } else {
                line
            };
            self.compared += u64::from(self.volumes.contains_key(&number));
            let first = self.volumes.entry(number).or_insert_with(|| line.clone());
            ensure!(*first == line, "a finished volume changed: {first} is now {line}");
        }
        if self.luks && told.has("Encrypted") {
            let header = luks_header(image)?;
            self.compared += u64::from(self.header.is_some());
            let first = self.header.get_or_insert_with(|| header.clone());
            ensure!(
                *first == header,
                "the LUKS header changed: {first} is now {header}"
            );
        }
        Ok(())
    }

    /// The same for the filesystem within the container: what the machine has read of its superblock.
    pub fn inside(&mut self, found: &str) -> Result<()> {
        ensure!(!found.is_empty(), "the container holds no filesystem any more");
        self.compared += u64::from(self.inside.is_some());
        let first = self.inside.get_or_insert_with(|| found.to_owned());
        ensure!(
            first == found,
            "the filesystem within the container changed: {first} is now {found}"
        );
        Ok(())
    }

    /// Whether a table and so many volumes were finished and compared.
    pub fn is_complete(&self, volumes: usize) -> bool {
        self.table.is_some() && self.volumes.len() == volumes && self.luks == self.header.is_some()
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    one.iter().zip(other).position(|(a, b)| a != b)
}

/// A slot has this checkpoint, or a newer one that is no further back.
fn acknowledged_is_there(image: &Path, number: u64, state: usize) -> Result<()> {
    let slots = slots::find(image)?;
    let newest = slots
        .iter()
        .filter(|(_, slot)| slots::is_whole(slot))
        .filter_map(|(_, slot)| Some((slots::sequence(slot)?, slots::claim(slot)?)))
        .max();
    let wanted = format!("checkpoint {number} of {}", STATES[state]);
    let Some((found, claim)) = newest else {
        bail!("{wanted} was acknowledged and is lost: no slot is whole");
    };
    ensure!(
        found >= number,
        "{wanted} was acknowledged and is lost: the newest is {found} of {claim}"
    );
    let at = claim.split(' ').next().and_then(position);
    ensure!(
        at >= Some(state),
        "{wanted} was acknowledged, and the newest, {found}, goes back to {claim}"
    );
    Ok(())
}

/// When the ext4 in a partition was made, in seconds: a filesystem that is made again has the planned UUID again, and another time.
fn ext4_made_at(image: &Path, number: u32) -> Result<u32> {
    let partitions = disk::partitions(image)?;
    let partition = partitions
        .iter()
        .find(|partition| partition.number == number)
        .with_context(|| format!("there is no partition {number}"))?;
    let bytes = disk::read_at(image, partition.start + EXT4_MADE_AT, 4)?;
    Ok(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

/// Everything of a LUKS2 container in front of its data: both headers, the key slots, and so every salt and digest.
fn luks_header(image: &Path) -> Result<String> {
    let uuid = container(image)?.content.uuid;
    let area = luks_area(image)?;
    let length = area.end - area.start;
    let bytes = disk::read_at(image, area.start, usize::try_from(length)?)?;
    Ok(format!("{uuid} {length} bytes {}", digest(&bytes)))
}

fn container(image: &Path) -> Result<disk::Partition> {
    disk::partitions(image)?
        .into_iter()
        .find(|partition| partition.number == 2)
        .context("there is no partition 2")
}

/// Where a LUKS2 container has everything that lies in front of its data.
pub fn luks_area(image: &Path) -> Result<Range<u64>> {
    let partition = container(image)?;
    let head = disk::read_at(image, partition.start, 4_096)?;
    ensure!(
        head.starts_with(b"LUKS\xba\xbe\0\x02"),
        "partition 2 has no LUKS2 header"
    );
    let size = u64::from_be_bytes(head[8..16].try_into().context("a header's size")?);
    ensure!(
        (8_192..=4 << 20).contains(&size),
        "the LUKS2 header says that it has {size} bytes"
    );
    let area = disk::read_at(image, partition.start + 4_096, usize::try_from(size - 4_096)?)?;
    let end = area.iter().position(|byte| *byte == 0).unwrap_or(area.len());
    let json: serde_json::Value =
        serde_json::from_slice(&area[..end]).context("the LUKS2 header's JSON area")?;
    let data = json["segments"]["0"]["offset"]
        .as_str()
        .and_then(|offset| offset.parse::<u64>().ok())
        .filter(|offset| *offset <= 64 << 20)
        .context("the LUKS2 header does not say where its data begins")?;
    Ok(partition.start..partition.start + data)
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    crate::cache::hex(&sha2::Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "[ 45.1]   checkpoint 5 (Anchored) saved in slot 1\n[ 47.1] reached Formatted after 1.5 s\n\
                          [ 47.2]   checkpoint 8 (Formatted) saved in slot 0\n[ 47.9]   checkpoint 9 (Formatted) saved in tmpfs\n";

    #[test]
    fn only_what_is_in_a_slot_is_acknowledged() {
        let mut told = Told::new().unwrap();
        told.take_in(BEFORE).unwrap();
        assert_eq!(told.acknowledged, Some((8, 4)));
        assert_eq!(told.finished, 4);
        assert!(told.has("Formatted") && !told.has("Cloned"));
    }

    #[test]
    fn a_run_must_believe_what_was_acknowledged_before_it() {
        let run = |text: &str| {
            let mut told = Told::new().unwrap();
            told.take_in(BEFORE).unwrap();
            told.take_in(text).map_err(|error| error.to_string())
        };
        run("goes on; the checkpoint says Formatted\nchecked firmware: UEFI").unwrap();
        run("goes on; the checkpoint says Cloned\n[ 1.0]   checkpoint 10 (Cloned) saved in slot 1").unwrap();
        // Killed before it said anything.
        run("landfall 0.1.0: install of host plain").unwrap();
        let less = run("goes on; the checkpoint says Anchored").unwrap_err();
        assert!(less.contains("checkpoint of Anchored") && less.contains("checkpoint 8 of Formatted"));
        let none = run("carries no install (rule 3)\nchecked firmware: UEFI").unwrap_err();
        assert!(none.contains("without a checkpoint"), "{none}");
    }

    #[test]
    fn the_filesystem_within_a_container_is_held_to_its_uuid() {
        let mut checks = Checks::default();
        checks.inside("a").unwrap();
        checks.inside("a").unwrap();
        assert!(checks.inside("b").is_err() && checks.inside("").is_err());
        assert_eq!(checks.compared, 2);
    }

    #[test]
    fn a_changed_byte_of_a_table_is_found() {
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 9, 3]), Some(1));
    }
}
