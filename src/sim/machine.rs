//! The machine: disks, tmpfs, attachments, what the kernel knows. Law: a kill leaves it as it is; a power cut leaves what
//! the disks kept, and gives the disks other kernel names.
//!
//! Absent: what goes wrong while it runs; see `world`.

use super::case::Setting;
use super::disk::{Disk, Key};
use super::faults::Death;
use landfall_states::plan::GptTable;
use landfall_states::planned::{GptCopy, KernelPartition};
use std::rc::Rc;

/// Everything that outlives a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Disks; the order is the order of their kernel names in this boot.
    pub disks: Vec<Rc<Disk>>,
    /// The record of this boot.
    pub tmpfs: Option<Rc<[u8]>>,
    /// How many boots there were.
    pub boot: u32,
    /// Milliseconds since the first one.
    pub now_ms: u64,
    /// Which making of the container is mapped.
    pub mapped: Option<u32>,
    /// Whether the target is mounted.
    pub root_mounted: bool,
    /// Whether the target's ESP is mounted at /mnt/boot, for the target or for the store.
    pub esp_mounted: bool,
    /// A mapping that was there before us.
    pub stranger_mapped: bool,
    /// The kernel's partitions of the target.
    pub kernel: Vec<KernelPartition>,
    /// Whether the firmware has our entry.
    pub nvram: bool,
    /// A program that a killed run had started is still at work, and holds the lock of the disk.
    pub child: bool,
    /// Numbers for volumes that are made.
    pub makings: u32,
}

impl Machine {
    /// The machine of a case, just booted.
    pub fn new(setting: &Setting) -> Self {
        Machine {
            disks: setting.disks.clone(),
            tmpfs: None,
            boot: 1,
            now_ms: 0,
            mapped: None,
            root_mounted: false,
            esp_mounted: false,
            stranger_mapped: true,
            kernel: kernel(&setting.disks[0]),
            nvram: false,
            child: false,
            makings: 0,
        }
    }

    /// Where the target is now.
    pub fn target(&self, setting: &Setting) -> usize {
        self.disks
            .iter()
            .position(|d| d.identity == setting.plan.disk)
            .unwrap_or(0)
    }

    /// A disk, to be changed. Machines that were copied share their disks until one of them changes one.
    pub fn disk_mut(&mut self, index: usize) -> &mut Disk {
        Rc::make_mut(&mut self.disks[index])
    }

    /// A run died.
    pub fn die(&mut self, setting: &Setting, death: Death) {
        match death {
            Death::Kill => {}
            Death::Cut(keep) => {
                let target = self.target(setting);
                self.disk_mut(target).cut(keep);
                self.tmpfs = None;
                self.boot += 1;
                self.now_ms += 30_000;
                self.mapped = None;
                self.child = false;
                self.root_mounted = false;
                self.esp_mounted = false;
                self.disks.rotate_left(1);
                self.kernel = kernel(&self.disks[self.target(setting)]);
            }
        }
    }
}

/// What Linux makes of a table when it scans a disk: the primary copy, under a protective MBR.
fn kernel(disk: &Disk) -> Vec<KernelPartition> {
    match (disk.see(Key::Mbr), disk.copy(Key::Primary)) {
        (Some(_), GptCopy::Whole(table)) => partitions(&table),
        (_, GptCopy::Absent | GptCopy::Damaged(_) | GptCopy::Whole(_)) => vec![],
    }
}

/// The partitions of a table.
pub fn partitions(table: &GptTable) -> Vec<KernelPartition> {
    table
        .entries
        .iter()
        .map(|e| KernelPartition {
            number: e.number,
            first_lba: e.first_lba,
            sectors: e.sectors(),
        })
        .collect()
}
