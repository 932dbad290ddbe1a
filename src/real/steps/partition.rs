//! Writes the partition table.
//!
//! The disk is looked at, wiped and written under one lock and one exclusive open, after it was identified again. Each copy
//! is flushed before the next is begun. The step is done only when the kernel sees the same.
//!
//! `states::actions::partition_disk` judges, `states::consent` has the consent, and `table::gpt` the bytes of a table.

use crate::image::{BLOCK_BYTES, ext4};
use crate::real::Real;
use crate::real::disk::contents::{self, Contents, Place, ask_blkid};
use crate::real::disk::scan;
use crate::real::disk::sysfs::Block;
use crate::real::disk::usage::{Own, Uses};
use crate::real::disk::{HeldDisk, io_fault, is_there, open, os_code};
use crate::real::table::gpt;
use crate::real::volume::slots;
use crate::world::Perform;
use landfall_states::actions::partition_disk::{PartitionDisk, TableFacts, TableOrder};
use landfall_states::fault::{Fault, Kind, Remedy};
use landfall_states::plan::{DiskIdentity, GptTable};
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// Bytes wiped at the start of every planned partition: every signature at a fixed place, and ext4's and LUKS2's headers.
const WIPE_HEAD_BYTES: u64 = 8 * MIB;
/// Attempts to get the disk exclusively: udev may be looking at a partition.
const EXCLUSIVE_ATTEMPTS: u32 = 50;

impl Real {
    fn held_disk(&self) -> Result<&HeldDisk, Fault> {
        self.held
            .as_ref()
            .ok_or_else(|| Fault::defect("partition table", "no disk is held"))
    }

    /// The held disk as it is now: kernel's entry, contents, uses.
    async fn look_at_held(&self) -> Result<(Block, Contents, Uses), Fault> {
        let held = self.held_disk()?;
        let block = held.block()?;
        let machine = scan::machine(held.sysfs(), &self.reporter, &self.stop).await?;
        let mut contents = {
            let (mut file, block, plan) = (held.file()?, block.clone(), self.plan.clone());
            tokio::task::spawn_blocking(move || contents::contents(&mut file, &block.identity, plan.as_ref()))
                .await
                .map_err(|e| io_fault(held.what(), "look at it", &io::Error::other(e)))?
                .map_err(|e| io_fault(held.what(), "read it", &e))?
        };
        let size = block.identity.size_bytes;
        ask_blkid(&held.device(), size, &mut contents, &self.reporter, &self.stop).await?;
        let guid = contents.on_disk.table().map(|t| t.disk_guid);
        let uses = machine.uses(&block, &Own::of(self.plan.as_ref(), guid), &contents.signatures);
        Ok((block, contents, uses))
    }

    async fn under_lock(
        &self,
        disk: &DiskIdentity,
        table: &GptTable,
        wipe: Option<bool>,
    ) -> Result<(), Fault> {
        let held = self.held_disk()?;
        held.confirm(disk)?;
        if let Some(wipe) = wipe {
            self.write_table(disk, table, wipe).await?;
        }
        held.tell_kernel(&table.entries).await
    }

    async fn write_table(&self, disk: &DiskIdentity, table: &GptTable, wipe: bool) -> Result<(), Fault> {
        let (block, contents, uses) = self.look_at_held().await?;
        let held = self.held_disk()?;
        let what = held.what();
        if !uses.foreign_users.is_empty() {
            return Err(Fault::of(
                Kind::InUse {
                    on: what,
                    by: uses.foreign_users.clone(),
                },
                Remedy::change("unmount it, or stop what uses it"),
            ));
        }
        if !uses.own.is_empty() {
            return Err(Fault::of(
                Kind::LeftAttached {
                    on: what,
                    what: uses.own.clone(),
                },
                Remedy::change("umount -R /mnt and close the mapping (cryptsetup close)"),
            ));
        }
        let ranges = if wipe {
            wipe_ranges(disk, table, &contents.places, &block)
        } else {
            vec![]
        };
        if wipe {
            self.reporter.step(format!("wipe old signatures on {what}"));
        }
        self.reporter
            .step(format!("write GPT {} on {what}", table.disk_guid));
        let mut exclusive = exclusive(held).await?;
        // Nothing may come between this look and the first write.
        held.confirm(disk)?;
        let table = table.clone();
        let job = move || -> io::Result<()> {
            let flush = |file: &mut File| file.sync_all();
            let mut prepared = gpt::prepare(&mut exclusive, &table)?;
            if !ranges.is_empty() {
                wipe_all(&mut exclusive, &table, &ranges, flush)?;
            }
            gpt::write(&mut exclusive, &mut prepared, flush)
        };
        tokio::task::spawn_blocking(job)
            .await
            .map_err(|e| io_fault(held.what(), "write its partition table", &io::Error::other(e)))?
            .map_err(|e| io_fault(held.what(), "write its partition table", &e))
    }
}

/// A second handle on the disk that nobody else can have at the same time; no mount can begin while it is open.
async fn exclusive(held: &HeldDisk) -> Result<File, Fault> {
    let mut attempt = 0;
    loop {
        match open(&held.device(), OFlag::O_RDWR | OFlag::O_EXCL) {
            Ok(file) => return Ok(file),
            Err(e) if os_code(&e) == Some(nix::libc::EBUSY) && attempt < EXCLUSIVE_ATTEMPTS => attempt += 1,
            Err(e) => return Err(io_fault(held.what(), "open it exclusively", &e)),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What is zeroed, in bytes from the start, in order, without overlap: both ends of the disk (tables and whole-disk
/// signatures), the heads and tails of planned partitions, both ends of old ones; and wherever a planned partition may hold a copy of
/// an ext4 superblock. The ids are derived: where the same install was on this disk before, such a copy has the planned id, and would
/// prove that a root filesystem is finished which is being erased.
fn wipe_ranges(disk: &DiskIdentity, table: &GptTable, old: &[Place], block: &Block) -> Vec<(u64, u64)> {
    let size = disk.size_bytes;
    let sector = u64::from(disk.sector_bytes);
    let mut ranges = vec![(0, MIB), (size.saturating_sub(MIB), size)];
    let mut ends = |first: u64, sectors: u64, head: u64| {
        let (from, to) = (
            first.saturating_mul(sector),
            first.saturating_add(sectors).saturating_mul(sector),
        );
        ranges.push((from, from.saturating_add(head).min(to)));
        ranges.push((to.saturating_sub(MIB).max(from), to));
    };
    for entry in &table.entries {
        ends(entry.first_lba, entry.sectors(), WIPE_HEAD_BYTES);
    }
    for partition in &block.partitions {
        ends(partition.kernel.first_lba, partition.kernel.sectors, MIB);
    }
    for place in old {
        let to = place.from.saturating_add(place.bytes);
        ranges.push((place.from, place.from.saturating_add(MIB).min(to)));
        ranges.push((to.saturating_sub(MIB).max(place.from), to));
    }
    for entry in &table.entries {
        let (block, first) = (BLOCK_BYTES as u64, entry.first_lba.saturating_mul(sector));
        ranges.extend(
            ext4::copies(entry.sectors().saturating_mul(sector) / block)
                .map(|copy| first.saturating_add(copy * block))
                .map(|from| (from, from.saturating_add(block))),
        );
    }
    merge(ranges, size)
}

fn merge(mut ranges: Vec<(u64, u64)>, size: u64) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = vec![];
    for (from, to) in ranges
        .into_iter()
        .map(|(from, to)| (from, to.min(size)))
        .filter(|(from, to)| from < to)
    {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => merged.push((from, to)),
        }
    }
    merged
}

/// Takes the old table away, then what it described. A table that is ours says that what it describes is in the making or
/// finished; so while any of its copies can still be read, nothing behind it may be touched. The backup copy goes first:
/// until the primary one is gone the disk is what it was, and boots.
fn wipe_all<D: Write + Seek>(
    disk: &mut D,
    table: &GptTable,
    ranges: &[(u64, u64)],
    mut flush: impl FnMut(&mut D) -> io::Result<()>,
) -> io::Result<()> {
    let sector = u64::from(table.sector_bytes);
    let size = disk.seek(SeekFrom::End(0))?;
    for header in [size.saturating_sub(sector), sector] {
        zero(disk, header, header + sector)?;
        flush(disk)?;
    }
    for (from, to) in ranges {
        zero(disk, *from, *to)?;
    }
    flush(disk)
}

fn zero(disk: &mut (impl Write + Seek), from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0_u8; MIB as usize];
    disk.seek(SeekFrom::Start(from))?;
    let mut left = to - from;
    while left > 0 {
        let step = left.min(MIB);
        #[expect(clippy::indexing_slicing, reason = "`step` is at most a MiB, as `zeros` is")]
        disk.write_all(&zeros[..step as usize])?;
        left -= step;
    }
    Ok(())
}

impl Perform<PartitionDisk> for Real {
    async fn observe(&mut self, step: &PartitionDisk) -> Result<TableFacts, Fault> {
        let (block, contents, uses) = self.look_at_held().await?;
        let Contents {
            on_disk,
            slots,
            mut lines,
            // In the lines and in the uses.
            ..
        } = contents;
        if [&on_disk.primary, &on_disk.backup]
            .iter()
            .filter(|c| is_there(c))
            .count()
            == 1
        {
            lines.push("one of the two copies of the partition table is missing".into());
        }
        tracing::debug!(disk = %step.disk, own = ?uses.own, "table observed");
        Ok(TableFacts {
            disk: block.identity,
            in_use: uses.foreign_users,
            primary: on_disk.primary,
            backup: on_disk.backup,
            protective_mbr: on_disk.protective_mbr,
            contents: lines,
            finished_work: slots::finished_work(&slots.bytes),
            kernel: block.partitions.into_iter().map(|p| p.kernel).collect(),
        })
    }

    async fn perform(&mut self, _: &PartitionDisk, order: TableOrder) -> Result<(), Fault> {
        let (disk, table, write) = match order {
            TableOrder::Write { disk, table, wipe } => (disk, table, Some(wipe)),
            TableOrder::TellKernel { disk, table } => (disk, table, None),
        };
        if let Some(held) = &mut self.held {
            held.lock().await?;
        }
        let mut done = self.under_lock(&disk, &table, write).await;
        if let Some(held) = &mut self.held {
            // udev makes its links before anybody looks for a partition; a failure of the work comes first.
            let unlocked = held.unlock(&self.reporter, &self.stop).await;
            done = done.and(unlocked);
        }
        done?;
        for entry in &table.entries {
            let node = self.held_disk()?.partition_device(entry).await?;
            tracing::debug!(%node, number = entry.number, "partition");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
pub(crate) mod tests;
