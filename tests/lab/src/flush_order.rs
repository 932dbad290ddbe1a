//! Which writes a flush keeps apart, in the simulation and in a recording of a real disk.
//!
//! The simulation may never be kinder than the kernel. Where it has a flush between two writes, the recording has one between
//! them too; each writes what the other writes. A write is named by what can be seen on the disk afterwards, as `landfall
//! simulate --writes` names it. The inside of a container or a filesystem is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::Program;
use crate::disk::{self, Partition};
use crate::slots;

/// What became visible, and behind how many flushes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlushOrder(BTreeMap<String, usize>);

impl FlushOrder {
    /// What the simulation says of a configuration on a blank disk.
    pub fn simulated(program: &Path, config: &Path) -> Result<FlushOrder> {
        #[derive(Deserialize)]
        struct Told {
            writes: Vec<String>,
        }
        let output = Program::new(program)
            .args(["simulate", "--writes", "--json", "--before", "blank", "--config"])
            .arg(config)
            .run()?;
        let text = output.text();
        let told: Told =
            serde_json::from_str(&text).with_context(|| format!("not a list of writes: {text}"))?;
        Ok(FlushOrder::of(told.writes))
    }

    fn of(list: Vec<String>) -> FlushOrder {
        let mut flush_order = FlushOrder::default();
        let mut flushes = 0;
        for what in list {
            if what == "flush" {
                flushes += 1;
            } else {
                flush_order.0.entry(what).or_insert(flushes);
            }
        }
        flush_order
    }

    /// How many writes can be told apart.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same as if no flush had been recorded: the control.
    pub fn without_flushes(&self) -> FlushOrder {
        FlushOrder(self.0.keys().map(|what| (what.clone(), 0)).collect())
    }

    /// The pairs of writes that the simulation, which is `self`, keeps apart and the recording does not.
    pub fn kinder_than(&self, recorded: &FlushOrder) -> Result<Vec<(String, String)>> {
        let only = |one: &FlushOrder, other: &FlushOrder| -> Vec<String> {
            one.0
                .keys()
                .filter(|k| !other.0.contains_key(*k))
                .cloned()
                .collect()
        };
        // A step that is found done needs no attempt, and so no checkpoint of one: `nixos-install` may have installed
        // the boot loader.
        let (mut simulated, seen) = (only(self, recorded), only(recorded, self));
        simulated.retain(|what| !(what.starts_with("checkpoint ") && what.ends_with(" Begun")));
        ensure!(
            simulated.is_empty() && seen.is_empty(),
            "only the simulation writes {simulated:?}; only the recording has {seen:?}"
        );
        let mut kinder = vec![];
        let both: Vec<_> = self
            .0
            .iter()
            .filter(|(what, _)| recorded.0.contains_key(*what))
            .collect();
        for (first, at) in &both {
            for (then, later) in both.iter().filter(|(_, later)| later > at) {
                if recorded.0[*first] >= recorded.0[*then] {
                    kinder.push((format!("{first} ({at})"), format!("{then} ({later})")));
                }
            }
        }
        Ok(kinder)
    }
}

/// What can be seen on an image as it fills.
pub struct Watch {
    partitions: Vec<Partition>,
    primary: Vec<u8>,
    backup: Vec<u8>,
    slots: Vec<u64>,
    image: PathBuf,
    flush_order: FlushOrder,
    flushes: usize,
}

/// Sectors of a copy of the GPT.
const COPY_SECTORS: u64 = 33;

impl Watch {
    /// Watches `image` until it is what `finished` is.
    pub fn new(image: &Path, finished: &Path, slots: &[u64]) -> Result<Watch> {
        Ok(Watch {
            partitions: disk::partitions(finished)?,
            primary: primary(finished)?,
            backup: backup(finished)?,
            slots: slots.to_vec(),
            image: image.to_owned(),
            flush_order: FlushOrder::default(),
            flushes: 0,
        })
    }

    /// The writes before the next flush are all on the image.
    pub fn look(&mut self, something_changed: bool) -> Result<()> {
        if something_changed {
            for what in self.visible()? {
                self.flush_order.0.entry(what).or_insert(self.flushes);
            }
        }
        self.flushes += 1;
        Ok(())
    }

    /// What was seen.
    pub fn seen(self) -> FlushOrder {
        self.flush_order
    }

    /// What can be seen on the image now, in order of the text. Of the slots it is the newest that can be read: which one lies
    /// beside it depends on how many attempts a step needed, and a real program may have done two steps at once.
    pub fn visible(&self) -> Result<Vec<String>> {
        let mut visible = vec![];
        if primary(&self.image)? == self.primary {
            visible.push("table primary".to_owned());
        }
        if backup(&self.image)? == self.backup {
            visible.push("table backup".to_owned());
        }
        for Partition {
            number,
            start,
            size,
            content,
            ..
        } in &self.partitions
        {
            let now = disk::content(&self.image, *start, *size)?;
            if now == *content {
                visible.push(format!("volume {number} planned"));
            } else if !now.uuid.is_empty() {
                visible.push(format!("volume {number} provisional"));
            }
        }
        let mut newest = None;
        for at in &self.slots {
            let slot = disk::read_at(&self.image, *at, slots::SLOT_BYTES)?;
            if slots::is_whole(&slot) {
                newest = newest.max(slots::sequence(&slot).zip(slots::claim(&slot)));
            }
        }
        visible.extend(newest.map(|(_, claim)| format!("checkpoint {claim}")));
        visible.sort();
        Ok(visible)
    }
}

/// Without the protective MBR, which is no part of a copy.
fn primary(image: &Path) -> Result<Vec<u8>> {
    disk::read_at(image, disk::SECTOR, (COPY_SECTORS * disk::SECTOR) as usize)
}

fn backup(image: &Path) -> Result<Vec<u8>> {
    let size = fs_err::metadata(image)?.len();
    let bytes = COPY_SECTORS * disk::SECTOR;
    disk::read_at(image, size - bytes, bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::FlushOrder;

    fn flush_order(text: &str) -> FlushOrder {
        FlushOrder::of(text.split(',').map(|w| w.trim().to_owned()).collect())
    }

    #[test]
    fn a_flush_that_only_the_simulation_has_is_found() {
        let simulated = flush_order("a, flush, b, c");
        let same = flush_order("a, flush, flush, c, flush, b");
        assert_eq!(simulated.kinder_than(&same).unwrap(), []);
        let joined = flush_order("flush, a, b, flush, c");
        assert_eq!(
            simulated.kinder_than(&joined).unwrap(),
            [("a (0)".to_owned(), "b (1)".to_owned())]
        );
        let reversed = flush_order("b, c, flush, a");
        assert_eq!(simulated.kinder_than(&reversed).unwrap().len(), 2);
        assert_eq!(
            simulated.kinder_than(&simulated.without_flushes()).unwrap().len(),
            2
        );
    }

    #[test]
    fn what_only_one_of_them_writes_is_an_error() {
        let error = flush_order("a, b")
            .kinder_than(&flush_order("a, c"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("[\"b\"]") && error.contains("[\"c\"]"), "{error}");
    }
}
