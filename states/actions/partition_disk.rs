//! Partition the disk: from **Planned** to **Partitioned**.
//!
//! A table whose two copies are ours is never written again (I4). No table is written without a consent that covers exactly
//! what is there at that moment (I2, I6).

use crate::consent::{Consent, Erasure};
use crate::fault::{Fault, Kind, Remedy};
use crate::phase::Phase;
use crate::plan::{DiskIdentity, GptTable};
use crate::state::{Planned, advances};
use crate::step::{Step, Verdict};

impl Planned {
    /// What leads on; `consent` is what somebody has agreed to so far.
    pub fn action(&self, consent: Option<Consent>) -> PartitionDisk {
        PartitionDisk {
            disk: self.context.plan.disk.clone(),
            table: self.context.plan.table.clone(),
            claimed: self.context.claims(Phase::Partitioned),
            consent,
        }
    }
}

advances!(Planned, TableProof, Partitioned);

/// Write the planned partition table over the confirmed disk.
#[derive(Debug, Clone)]
pub struct PartitionDisk {
    /// The confirmed disk.
    pub disk: DiskIdentity,
    /// The planned table.
    pub table: GptTable,
    /// Whether the checkpoint claims that it was done.
    pub claimed: bool,
    /// What somebody agreed to.
    pub consent: Option<Consent>,
}

/// One copy of a GPT, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GptCopy {
    /// No signature there.
    Absent,
    /// A signature, but a check sum or a bound is wrong.
    Damaged(String),
    /// A whole copy.
    Complete(GptTable),
}

impl GptCopy {
    /// The table, if whole.
    pub fn table(&self) -> Option<&GptTable> {
        match self {
            GptCopy::Complete(table) => Some(table),
            GptCopy::Absent | GptCopy::Damaged(_) => None,
        }
    }
}

/// A partition as the kernel sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelPartition {
    /// Number, from 1.
    pub number: u32,
    /// First sector in logical sectors of the disk.
    pub first_lba: u64,
    /// Length in logical sectors of the disk.
    pub sectors: u64,
}

/// What is on the disk, read under its lock.
#[derive(Debug, Clone)]
pub struct TableFacts {
    /// The identity, read again from the opened device.
    pub disk: DiskIdentity,
    /// Who uses the disk or a part of it (mounts, swap, holders), except mounts that this install made. One line each.
    pub in_use: Vec<String>,
    /// The copy at the start.
    pub primary: GptCopy,
    /// The copy at the end.
    pub backup: GptCopy,
    /// Whether the protective MBR is there.
    pub protective_mbr: bool,
    /// What a person should know of the disk's contents: table, partitions, filesystems. One line each.
    pub contents: Vec<String>,
    /// Whether finished work of a former landfall install was recognised.
    pub finished_work: bool,
    /// The kernel's view.
    pub kernel: Vec<KernelPartition>,
}

/// What to do to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableOrder {
    /// Wipe old signatures where partitions will begin and end, flush, then write both copies, a flush after each.
    Write {
        /// The disk, to be identified again right before.
        disk: DiskIdentity,
        /// The table.
        table: GptTable,
        /// Whether signatures are wiped first; not when one copy is ours already (they were wiped before it was written).
        wipe: bool,
    },
    /// The table is right, the kernel's view is old.
    TellKernel {
        /// The disk.
        disk: DiskIdentity,
        /// The table.
        table: GptTable,
    },
}

/// The table is ours in both copies, and the kernel knows.
#[derive(Debug)]
pub struct TableProof(());

impl PartitionDisk {
    /// What would be lost, from what is there.
    pub fn erasure(&self, facts: &TableFacts) -> Erasure {
        Erasure {
            disk: facts.disk.clone(),
            extent: "the whole disk".into(),
            contents: facts.contents.clone(),
            finished_work: facts.finished_work,
        }
    }
}

impl Step for PartitionDisk {
    const PHASE: Phase = Phase::Planned;
    type Facts = TableFacts;
    type Proof = TableProof;
    type Order = TableOrder;

    fn judge(&self, facts: &TableFacts) -> Verdict<TableProof, TableOrder> {
        let what = || format!("disk {}", self.disk.name());
        if facts.disk != self.disk {
            return Verdict::Refuse(Fault::of(
                Kind::OtherDisk {
                    disk: what(),
                    found: facts.disk.to_string(),
                    expected: None,
                },
                Remedy::words("attach the confirmed disk again, or start a new install: landfall install"),
            ));
        }
        let ours = |copy: &GptCopy| copy.table() == Some(&self.table);
        if ours(&facts.primary) && ours(&facts.backup) && facts.protective_mbr {
            let known = self.table.entries.iter().all(|entry| {
                facts.kernel.iter().any(|k| {
                    (k.number, k.first_lba, k.sectors) == (entry.number, entry.first_lba, entry.sectors())
                })
            });
            return if known && facts.kernel.len() == self.table.entries.len() {
                Verdict::Done(TableProof(()))
            } else {
                Verdict::Todo(TableOrder::TellKernel {
                    disk: self.disk.clone(),
                    table: self.table.clone(),
                })
            };
        }
        // Rule 11: our disk GUID over other partitions is our table, edited by hand.
        for copy in [&facts.primary, &facts.backup] {
            if let Some(found) = copy.table()
                && found.disk_guid == self.table.disk_guid
                && found != &self.table
            {
                return Verdict::Refuse(Fault::of(
                    Kind::TableChanged {
                        disk: what(),
                        differences: self.table.differences(found),
                    },
                    Remedy::words(
                        "restore the partition table, or start a new install: landfall install --reinstall",
                    ),
                ));
            }
        }
        if !facts.in_use.is_empty() {
            return Verdict::Refuse(Fault::of(
                Kind::InUse {
                    on: what(),
                    by: facts.in_use.clone(),
                },
                Remedy::change("unmount it, or stop what uses it"),
            ));
        }
        // Rule 4: one copy ours means the wipe came before and was flushed; the same table is written again.
        let half = ours(&facts.primary) || ours(&facts.backup);
        let erasure = self.erasure(facts);
        match &self.consent {
            None => Verdict::NeedsConsent(erasure),
            Some(consent) if consent.covers(&erasure) => Verdict::Todo(TableOrder::Write {
                disk: self.disk.clone(),
                table: self.table.clone(),
                wipe: !half,
            }),
            Some(_) => Verdict::Refuse(Fault::of(
                Kind::ChangedContents {
                    disk: what(),
                    after_consent: true,
                },
                Remedy::change_and_install("check its contents (landfall disks)"),
            )),
        }
    }

    fn describe(&self) -> String {
        let parts: Vec<String> = self
            .table
            .entries
            .iter()
            .map(|e| {
                let mib = (e.sectors() * u64::from(self.table.sector_bytes)) >> 20;
                format!("{} {} {mib} MiB", e.number, e.name)
            })
            .collect();
        format!(
            "write GPT {} on {}: {}",
            self.table.disk_guid,
            self.disk.name(),
            parts.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::ConsentBy;
    use crate::plan::tests::plan;

    fn action(consent: Option<Consent>) -> PartitionDisk {
        Planned::new(plan(true, true), "0".repeat(40).parse().unwrap(), None, false).action(consent)
    }

    fn blank() -> TableFacts {
        TableFacts {
            disk: action(None).disk,
            in_use: vec![],
            primary: GptCopy::Absent,
            backup: GptCopy::Absent,
            protective_mbr: false,
            contents: vec!["blank".into()],
            finished_work: false,
            kernel: vec![],
        }
    }

    fn ours() -> TableFacts {
        let table = action(None).table;
        TableFacts {
            primary: GptCopy::Complete(table.clone()),
            backup: GptCopy::Complete(table.clone()),
            protective_mbr: true,
            kernel: table
                .entries
                .iter()
                .map(|e| KernelPartition {
                    number: e.number,
                    first_lba: e.first_lba,
                    sectors: e.sectors(),
                })
                .collect(),
            ..blank()
        }
    }

    fn agreed(facts: &TableFacts) -> Option<Consent> {
        Consent::to(&action(None).erasure(facts), ConsentBy::Person)
    }

    #[test]
    fn nothing_is_written_without_consent() {
        assert!(matches!(action(None).judge(&blank()), Verdict::NeedsConsent(_)));
        let Verdict::Todo(TableOrder::Write { wipe: true, .. }) = action(agreed(&blank())).judge(&blank())
        else {
            panic!("consented")
        };
    }

    #[test]
    fn a_consent_covers_only_what_was_shown() {
        let consent = agreed(&blank());
        let changed = TableFacts {
            contents: vec!["ext4 photos".into()],
            ..blank()
        };
        let Verdict::Refuse(fault) = action(consent).judge(&changed) else {
            panic!("refused")
        };
        assert!(fault.why().contains("changed after the consent"));
    }

    #[test]
    fn a_table_that_is_ours_is_never_written_again() {
        // Not even with consent at hand.
        assert!(matches!(action(agreed(&ours())).judge(&ours()), Verdict::Done(_)));
        let stale = TableFacts {
            kernel: vec![],
            ..ours()
        };
        assert!(matches!(
            action(agreed(&stale)).judge(&stale),
            Verdict::Todo(TableOrder::TellKernel { .. })
        ));
    }

    #[test]
    fn one_copy_of_ours_is_not_durable() {
        for half in [
            TableFacts {
                backup: GptCopy::Absent,
                ..ours()
            },
            TableFacts {
                primary: GptCopy::Damaged("crc".into()),
                ..ours()
            },
            TableFacts {
                protective_mbr: false,
                ..ours()
            },
        ] {
            assert!(matches!(action(None).judge(&half), Verdict::NeedsConsent(_)));
            assert!(matches!(
                action(agreed(&half)).judge(&half),
                Verdict::Todo(TableOrder::Write { wipe: false, .. })
            ));
        }
    }

    #[test]
    fn a_table_edited_by_hand_stops_with_the_difference() {
        let mut edited = action(None).table;
        edited.entries[1].last_lba -= 2048;
        let facts = TableFacts {
            primary: GptCopy::Complete(edited.clone()),
            backup: GptCopy::Complete(edited),
            ..ours()
        };
        let Verdict::Refuse(fault) = action(agreed(&facts)).judge(&facts) else {
            panic!("refused")
        };
        assert!(fault.why().contains("partition 2"), "{fault}");
    }

    #[test]
    fn somebody_else_s_table_is_not_taken_for_ours_edited() {
        let mut foreign = action(None).table;
        foreign.disk_guid = uuid::Uuid::from_u128(1);
        let facts = TableFacts {
            primary: GptCopy::Complete(foreign.clone()),
            backup: GptCopy::Complete(foreign),
            protective_mbr: true,
            ..blank()
        };
        assert!(matches!(action(None).judge(&facts), Verdict::NeedsConsent(_)));
        assert!(matches!(
            action(agreed(&facts)).judge(&facts),
            Verdict::Todo(TableOrder::Write { wipe: true, .. })
        ));
    }

    #[test]
    fn the_kernel_sees_every_partition_where_it_is_and_no_other() {
        let seen = |change: &dyn Fn(&mut Vec<KernelPartition>)| {
            let mut facts = ours();
            change(&mut facts.kernel);
            matches!(action(None).judge(&facts), Verdict::Done(_))
        };
        assert!(seen(&|_| {}));
        assert!(seen(&|kernel| kernel.reverse()), "in any order");
        assert!(!seen(&|kernel| kernel[1].sectors -= 1));
        assert!(!seen(&|kernel| kernel[0].first_lba += 1));
        assert!(!seen(&|kernel| kernel.truncate(kernel.len() - 1)));
        let more = KernelPartition {
            number: 9,
            first_lba: 1,
            sectors: 1,
        };
        assert!(
            !seen(&|kernel| kernel.push(more.clone())),
            "one that is gone from the table"
        );
        assert!(!seen(&|kernel| kernel[2] = more.clone()));
    }

    #[test]
    fn another_disk_or_one_in_use_is_refused() {
        let mut other = blank();
        other.disk.serial = Some("other".into());
        assert!(matches!(action(agreed(&other)).judge(&other), Verdict::Refuse(_)));
        let used = TableFacts {
            in_use: vec!["md0 holds partition 1".into()],
            ..blank()
        };
        assert!(matches!(action(agreed(&used)).judge(&used), Verdict::Refuse(_)));
    }

    #[test]
    fn consent_in_advance_reaches_finished_work_only_by_a_raised_plan() {
        let landed = TableFacts {
            finished_work: true,
            ..blank()
        };
        let erasure = action(None).erasure(&landed);
        let in_advance = |reinstall| ConsentBy::InAdvance {
            disk_name: "LF0001".into(),
            reinstall,
        };
        assert!(Consent::to(&erasure, in_advance(false)).is_none());
        assert!(Consent::to(&erasure, in_advance(true)).is_some());
        assert!(Consent::to(&erasure, ConsentBy::Person).is_some());
    }
}
