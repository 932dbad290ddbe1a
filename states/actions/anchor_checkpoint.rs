//! Anchor the checkpoint: from **Partitioned** to **Anchored**. Makes the ESP and allocates the two checkpoint slots in it.
//!
//! An ESP with the planned volume id is complete and is never formatted again, even if its slots cannot be read.

use crate::consent::Consent;
use crate::phase::Phase;
use crate::plan::{DiskIdentity, GptEntry, Role, Volume};
use crate::state::{Partitioned, advances};
use crate::step::{Step, Verdict};
use crate::volume::{Probe, VolumeState, blank, foreign};

impl Partitioned {
    /// What leads on. A plan always has an ESP.
    #[expect(clippy::indexing_slicing, reason = "`Plan::derive` puts the ESP first")]
    pub fn action(&self, consent: Option<Consent>) -> AnchorCheckpoint {
        let plan = &self.context.plan;
        AnchorCheckpoint {
            disk: plan.disk.clone(),
            partition: plan
                .partition(Role::Esp)
                .unwrap_or(&plan.table.entries[0])
                .clone(),
            volume: plan.esp.clone(),
            claimed: self.context.claims(Phase::Anchored),
            consent,
        }
    }
}

advances!(Partitioned, AnchorProof, Anchored);

/// Make the ESP (FAT32) and its two checkpoint slots.
#[derive(Debug, Clone)]
pub struct AnchorCheckpoint {
    /// The confirmed disk.
    pub disk: DiskIdentity,
    /// The ESP's partition.
    pub partition: GptEntry,
    /// The FAT.
    pub volume: Volume,
    /// Whether the checkpoint claims that it was done.
    pub claimed: bool,
    /// What somebody agreed to.
    pub consent: Option<Consent>,
}

/// A slot file, as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotFile {
    /// There, of the right size. Its contents are nobody's business here.
    Allocated,
    /// Not there, of another size, or the directory is unreadable.
    Missing,
}

/// What is on the ESP's partition.
#[derive(Debug, Clone)]
pub struct EspFacts {
    /// The prober's word.
    pub probe: Probe,
    /// The two slots.
    pub slots: [SlotFile; 2],
}

/// What to do to the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorOrder {
    /// Make the FAT under its provisional id, allocate both slots, flush, then give it the planned id and flush.
    Format {
        /// The disk, to be identified again right before.
        disk: DiskIdentity,
        /// The partition.
        partition: GptEntry,
        /// The FAT.
        volume: Volume,
    },
    /// The FAT is whole; only slots are missing: allocate those, change nothing else.
    AllocateSlots {
        /// The disk.
        disk: DiskIdentity,
        /// The partition.
        partition: GptEntry,
        /// Which of the two.
        missing: [bool; 2],
    },
}

/// The ESP is ours and has both slots.
#[derive(Debug)]
pub struct AnchorProof(());

impl Step for AnchorCheckpoint {
    const PHASE: Phase = Phase::Partitioned;
    type Facts = EspFacts;
    type Proof = AnchorProof;
    type Order = AnchorOrder;

    fn judge(&self, facts: &EspFacts) -> Verdict<AnchorProof, AnchorOrder> {
        let (id, provisional) = (
            Volume::fat_serial_text(&self.volume.id),
            Volume::fat_serial_text(&self.volume.provisional),
        );
        let state = facts.probe.compare("vfat", &id, &provisional, &self.volume.label);
        let format = || AnchorOrder::Format {
            disk: self.disk.clone(),
            partition: self.partition.clone(),
            volume: self.volume.clone(),
        };
        match state {
            VolumeState::Complete => {
                let missing = facts.slots.map(|slot| slot == SlotFile::Missing);
                if missing == [false, false] {
                    Verdict::Done(AnchorProof(()))
                } else {
                    Verdict::Todo(AnchorOrder::AllocateSlots {
                        disk: self.disk.clone(),
                        partition: self.partition.clone(),
                        missing,
                    })
                }
            }
            // Begun and not finished holds no more than blank does.
            VolumeState::Incomplete | VolumeState::Blank => {
                blank(&self.disk, &self.partition, self.claimed, &self.consent, format)
            }
            VolumeState::Foreign => Verdict::Refuse(foreign(&self.partition, &facts.probe)),
        }
    }

    fn describe(&self) -> String {
        format!(
            "make the ESP: FAT32 {} {} on partition {}, with two checkpoint slots in EFI/LANDFALL",
            self.volume.label,
            Volume::fat_serial_text(&self.volume.id),
            self.partition.number
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::ConsentBy;
    use crate::consent::Erasure;
    use crate::plan::tests::plan;
    use crate::state::RunContext;
    use crate::volume::Signature;

    fn action(claimed: bool) -> AnchorCheckpoint {
        let context = RunContext {
            plan: plan(false, false),
            revision: "0".repeat(40).parse().unwrap(),
            claimed: claimed.then_some(Phase::Anchored),
            unclean: false,
            is_wish: false,
            vouched: None,
        };
        Partitioned { context }.action(None)
    }

    fn facts(id: &uuid::Uuid) -> EspFacts {
        let volume = action(false).volume;
        EspFacts {
            probe: Probe::Found(Signature {
                kind: "vfat".into(),
                id: Some(Volume::fat_serial_text(id)),
                label: Some(volume.label),
            }),
            slots: [SlotFile::Allocated; 2],
        }
    }

    #[test]
    fn whole_unfinished_blank_and_foreign() {
        let (action, volume) = (action(false), action(false).volume);
        assert!(matches!(action.judge(&facts(&volume.id)), Verdict::Done(_)));
        assert!(matches!(
            action.judge(&facts(&volume.provisional)),
            Verdict::Todo(AnchorOrder::Format { .. })
        ));
        let blank = EspFacts {
            probe: Probe::Blank,
            slots: [SlotFile::Missing; 2],
        };
        assert!(matches!(
            action.judge(&blank),
            Verdict::Todo(AnchorOrder::Format { .. })
        ));
        assert!(matches!(
            action.judge(&facts(&uuid::Uuid::nil())),
            Verdict::Refuse(_)
        ));
        let torn = EspFacts {
            probe: Probe::Ambiguous("ext4, vfat".into()),
            ..blank
        };
        let Verdict::Refuse(fault) = action.judge(&torn) else {
            panic!()
        };
        assert_eq!(
            fault.to_string(),
            "partition 1 (ESP-WEB): it holds something that this install did not make: ambiguous (ext4, vfat)"
        );
    }

    #[test]
    fn lost_slots_never_cost_the_filesystem() {
        let action = action(true);
        let lost = EspFacts {
            slots: [SlotFile::Allocated, SlotFile::Missing],
            ..facts(&action.volume.id)
        };
        let Verdict::Todo(AnchorOrder::AllocateSlots { missing, .. }) = action.judge(&lost) else {
            panic!()
        };
        assert_eq!(missing, [false, true]);
    }

    #[test]
    fn blank_behind_the_checkpoint_wants_consent() {
        let mut action = action(true);
        let blank = EspFacts {
            probe: Probe::Blank,
            slots: [SlotFile::Missing; 2],
        };
        let Verdict::NeedsConsent(erasure) = action.judge(&blank) else {
            panic!()
        };
        action.consent = Consent::to(&erasure, ConsentBy::Person);
        assert!(matches!(
            action.judge(&blank),
            Verdict::Todo(AnchorOrder::Format { .. })
        ));
        let other = Erasure {
            extent: "partition 2 (root-web)".into(),
            ..erasure
        };
        action.consent = Consent::to(&other, ConsentBy::Person);
        assert!(
            matches!(action.judge(&blank), Verdict::NeedsConsent(_)),
            "it was for something else"
        );
    }
}
