//! The machine: disks, tmpfs, attachments, what the kernel knows.
//!
//! A kill leaves it unchanged. A power cut leaves what the disks kept, and gives the disks other kernel names.
//!
//! `sim::world` has what goes wrong while it runs.

use crate::sim::model::contents::LOST;
use crate::sim::model::crash::{Crash, Keep};
use crate::sim::model::disk::{Disk, Fs, Held, Key, Region, Value};
use crate::sim::model::setting::Setting;
use landfall_states::actions::partition_disk::{GptCopy, KernelPartition};
use landfall_states::fault::{Fault, Kind, SourceFault};
use landfall_states::plan::GptTable;
use std::rc::Rc;

/// The clock on the wall, in milliseconds of Unix time, where it is right: the first boot was in 2026.
const RIGHT_MS: u64 = 1_790_000_000_000;

/// Writes that a program still has to do.
pub type Rest = Rc<[(Held, Key, Option<Value>)]>;

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
    /// The name of our mapping is there without a table: its activation was killed.
    pub mapping_empty: bool,
    /// Whether the target is mounted.
    pub root_mounted: bool,
    /// Whether the target's ESP is mounted at /mnt/boot, for the target or for the store.
    pub esp_mounted: bool,
    /// A mapping that was there before us.
    pub foreign_mapping: bool,
    /// The kernel's partitions of the target.
    pub kernel: Vec<KernelPartition>,
    /// Whether the firmware has our entry.
    pub nvram: bool,
    /// A program that a killed run had started is still at work, and holds the lock of the disk: what it will write yet.
    pub child: Option<Rest>,
    /// What is added to `now_ms` for the clock on the wall.
    pub clock_ms: u64,
    /// The target fell off its bus; until the next boot nothing reaches it.
    pub gone: bool,
    /// The boot medium was pulled; until the next boot no program starts.
    pub medium_gone: bool,
    /// Somebody has the name of our mapping, and a mount at the target.
    pub name_taken: bool,
    /// What was told to the kernel, and is not seen yet.
    pub late: bool,
    /// Metadata of the root filesystem is damaged: which of its files the repair will take away, counted from the first and round.
    pub root_damage: Option<u32>,
    /// The server wants no request before this time, in milliseconds since the first boot.
    pub closed_until_ms: u64,
    /// When the slots were written, by the clock on the wall; only a planted bug looks at it.
    pub slot_times_ms: [u64; 2],
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
            mapping_empty: false,
            root_mounted: false,
            esp_mounted: false,
            foreign_mapping: true,
            kernel: kernel(setting.target_disk()),
            nvram: false,
            child: None,
            clock_ms: RIGHT_MS,
            gone: false,
            medium_gone: false,
            name_taken: false,
            late: false,
            root_damage: None,
            closed_until_ms: 0,
            slot_times_ms: [0; 2],
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

    /// Where the root filesystem's header is, of what is attached now.
    pub fn root_region(&self) -> Region {
        self.mapped.map_or(Region::Root, |_| Region::Inner)
    }

    /// A disk.
    #[expect(
        clippy::indexing_slicing,
        reason = "a place is that of `target`, or one at which a disk was found; a machine has more than one disk"
    )]
    pub fn disk(&self, index: usize) -> &Disk {
        &self.disks[index]
    }

    /// A disk, to be changed. Machines that were copied share their disks until one of them changes one.
    #[expect(clippy::indexing_slicing, reason = "as for `disk`")]
    pub fn disk_mut(&mut self, index: usize) -> &mut Disk {
        Rc::make_mut(&mut self.disks[index])
    }

    /// Whether the clock on the wall is one that a certificate could be checked with.
    pub fn clock_is_right(&self) -> bool {
        self.clock_ms >= RIGHT_MS
    }

    /// What was late is seen.
    pub fn time_passes(&mut self, setting: &Setting) {
        if std::mem::take(&mut self.late) {
            self.read_table(self.target(setting));
        }
    }

    /// The kernel reads the table of a disk, as it was told.
    pub fn read_table(&mut self, disk: usize) {
        if let GptCopy::Complete(table) = self.disk(disk).copy(Key::Primary) {
            self.kernel = partitions(&table);
        }
    }

    /// A run stopped and said why: somebody does what it said, and comes back a minute later, or after the wait that goes with the fault.
    pub fn repair(&mut self, setting: &Setting, fault: Option<&Fault>) {
        let asked_s = fault.and_then(|fault| fault.wait_s).unwrap_or(0);
        self.now_ms += asked_s.saturating_mul(1_000).max(60_000);
        self.clock_ms = RIGHT_MS;
        self.name_taken = false;
        if fault.is_some_and(|fault| matches!(&*fault.kind, Kind::Source(SourceFault::ForeignClone { .. }))) {
            self.move_lost_clone_away(setting);
        }
        if self.gone || self.medium_gone {
            self.crash(setting, Crash::Cut(Keep::None));
        }
    }

    /// A repair of the filesystem took the mark of our clone away, so that landfall does not touch it: somebody moves it away, as asked.
    fn move_lost_clone_away(&mut self, setting: &Setting) {
        let target = self.target(setting);
        let is_lost = self.disk(target).text(Fs::Root, setting.root_region(), "clone") == Some(LOST);
        for name in ["clone", "clone.data"].into_iter().filter(|_| is_lost) {
            self.disk_mut(target).remove(Key::File(Fs::Root, name));
        }
    }

    /// A run crashed.
    pub fn crash(&mut self, setting: &Setting, crash: Crash) {
        match crash {
            Crash::Kill => {}
            Crash::Cut(keep) => {
                let target = self.target(setting);
                self.disk_mut(target).cut(keep);
                self.tmpfs = None;
                self.boot += 1;
                self.now_ms += 30_000;
                self.mapped = None;
                self.mapping_empty = false;
                self.child = None;
                (self.gone, self.medium_gone, self.name_taken) = (false, false, false);
                self.late = false;
                self.root_mounted = false;
                self.esp_mounted = false;
                self.disks.rotate_left(1);
                self.kernel = kernel(self.disk(self.target(setting)));
            }
        }
    }
}

/// What Linux makes of a table when it scans a disk: the primary copy, under a protective MBR.
fn kernel(disk: &Disk) -> Vec<KernelPartition> {
    match (disk.see(Key::Mbr), disk.copy(Key::Primary)) {
        (Some(_), GptCopy::Complete(table)) => partitions(&table),
        (_, GptCopy::Absent | GptCopy::Damaged(_) | GptCopy::Complete(_)) => vec![],
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
